"""What a person sees while a run trains: a bar with an ETA on a terminal or in a notebook, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

SHOWN = ("loss", "validation_loss", "accuracy", "symbols_per_second")
LINE_SECONDS = 2.0  # between plain lines, so that a log file stays short


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
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    if not (console.is_terminal or console.is_jupyter):
        yield Display(start, total, None, None)
        return
    columns = (
        BarColumn(30),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[numbers]}"),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("", total=total, completed=start, numbers="compiling")
        yield Display(start, total, bar, task)


def _short(key: str) -> str:
    return key.replace("symbols_per_second", "symbols/s").replace("validation_", "held-out ")


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.4f}"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}"
