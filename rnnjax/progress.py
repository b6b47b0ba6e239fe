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
        self._start, self._total, self._bar, self._task = start, total, bar, task
        self._began, self._last = time.monotonic(), 0.0
        self._seen: dict[str, float] = {}

    def update(self, step: int, row: Mapping[str, Any] | None) -> None:
        """Shows that `step` steps are done, and the newest numbers."""
        self._seen |= {key: value for key, value in (row or {}).items() if key in SHOWN}
        numbers = "  ".join(f"{_short(key)} {_number(value)}" for key, value in self._seen.items())
        if self._bar is not None:
            self._bar.update(self._task, completed=step, numbers=numbers)
            return
        now = time.monotonic()
        if row is not None and (now - self._last > LINE_SECONDS or step == self._total or "validation_loss" in row):
            self._last = now
            done = (step - self._start) / max(1, self._total - self._start)
            left = (now - self._began) / max(done, 1e-9) * (1 - done)
            print(f"step {step}/{self._total}  {numbers}  {_clock(left)} left", file=sys.stderr, flush=True)


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
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4f}"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}"
