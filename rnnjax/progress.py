"""What a person sees while a run trains: a bar with an ETA on a terminal or in a notebook, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

SHOWN = ("loss", "validation_loss", "accuracy", "symbols_per_second")
LINE_SECONDS = 2.0  # between plain lines, so that a log file stays short


def teller(*, quiet: bool) -> Callable[[str], None]:
    """Says on stderr what is being done, unless it is to be quiet."""
    return (lambda line: None) if quiet else partial(print, file=sys.stderr, flush=True)


class Display:
    """Shows progress; made by `showing`. `update` after every chunk, with the log's line if there is one."""

    def __init__(self, start: int, total: int, bar: Any, task: Any):
        self._total, self._bar, self._task = total, bar, task
        self._began, self._first, self._last = 0.0, start, 0.0
        self._seen: dict[str, float] = {}

    def update(self, step: int, row: Mapping[str, Any] | None) -> None:
        """Shows that `step` steps are done, and the newest numbers."""
        if not self._began:  # the first chunk compiles, and says nothing of the pace
            self._began, self._first = time.monotonic(), step
        self._seen |= {key: value for key, value in (row or {}).items() if key in SHOWN}
        numbers = "  ".join(f"{_short(key)} {_number(value)}" for key, value in self._seen.items())
        if self._bar is not None:
            self._bar.update(self._task, completed=step, numbers=numbers)
            return
        now = time.monotonic()
        if row is not None and (now - self._last > LINE_SECONDS or step == self._total or "validation_loss" in row):
            self._last = now
            print(f"step {step}/{self._total}  {numbers}{self._left(step, now)}", file=sys.stderr, flush=True)

    def _left(self, step: int, now: float) -> str:
        """Time to go, once there is a pace."""
        done = step - self._first
        return f"  {_clock((now - self._began) / done * (self._total - step))} left" if done else ""


@contextmanager
def showing(start: int, total: int, *, quiet: bool = False) -> Iterator[Display | None]:
    """A display for the steps from `start` to `total`; None if it is to be quiet."""
    if quiet:
        yield None
        return
    with _bar(start, total, counted=True) as (bar, task):
        yield Display(start, total, bar, task)


class SweepDisplay:
    """Shows how far a sweep is; made by `showing_sweep`.

    Args:
      total: steps of all members, in all batches.
      members: how many there are.
      done: steps of batches that were done before.
      rising: whether more of the metric is better.
      metric: what members are compared by.
    """

    def __init__(self, total: int, members: int, done: int, *, metric: str, rising: bool, bar: Any, task: Any):
        self.total, self.members, self._metric = total, members, metric
        self._sign, self._bar, self._task = (-1.0 if rising else 1.0), bar, task
        self._batches: dict[int, int] = {}
        self._started = self._done = done
        self._best: float | None = None
        self._began = self._last = time.monotonic()

    def update(self, batch: int, steps: int, best: float | None) -> None:
        """Shows that a batch has come so many steps of all its members, and the best value seen in it."""
        self._batches[batch] = steps
        if best is not None and (self._best is None or self._sign * best < self._sign * self._best):
            self._best = best
        done = self._started + sum(self._batches.values())
        share = done / max(1, self.total)
        numbers = f"{int(share * self.members):,} of {self.members:,} members"
        numbers += f"  best {_short(self._metric)} {_number(self._best)}" if self._best is not None else ""
        if self._bar is not None:
            self._bar.update(self._task, completed=done, total=self.total, numbers=numbers)
            return
        now = time.monotonic()
        if now - self._last > LINE_SECONDS or done >= self.total:
            self._last = now
            left = (now - self._began) / max(1, done - self._started) * (self.total - done)
            print(f"{share:4.0%}  {numbers}  {_clock(left)} left", file=sys.stderr, flush=True)

    def say(self, line: str) -> None:
        """Shows a line."""
        print(line, file=sys.stderr, flush=True)


@contextmanager
def showing_sweep(
    total: int, members: int, done: int = 0, *, metric: str, rising: bool, quiet: bool = False
) -> Iterator[SweepDisplay | None]:
    """A display for a sweep; None if it is to be quiet. Arguments as in `SweepDisplay`."""
    if quiet:
        yield None
        return
    with _bar(done, total, counted=False) as (bar, task):
        yield SweepDisplay(total, members, done, metric=metric, rising=rising, bar=bar, task=task)


@contextmanager
def _bar(start: int, total: int, *, counted: bool) -> Iterator[tuple[Any, Any]]:
    """A bar on a terminal or in a notebook, counted or in percent; elsewhere none, and lines are to be printed."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    if not (console.is_terminal or console.is_jupyter):
        yield None, None
        return
    share = MofNCompleteColumn() if counted else TextColumn("{task.percentage:>3.0f}%")
    columns = (BarColumn(30), share, TimeRemainingColumn(), TextColumn("{task.fields[numbers]}"))
    with Progress(*columns, console=console) as bar:
        yield bar, bar.add_task("", total=total, completed=start, numbers="compiling")


def _short(key: str) -> str:
    return key.replace("symbols_per_second", "symbols/s").replace("validation_", "held-out ")


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.4f}"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}"
