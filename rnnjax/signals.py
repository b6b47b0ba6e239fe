"""Signals that stop a training: heard between chunks, so that it is saved before it ends."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class Interrupted(Exception):
    """A signal stopped the training after it was saved.

    Args:
      number: the signal.
      path: folder of what was trained.
      where: how far it came, such as ``step 20``.

    Attributes:
      exit_code: 128 and the number of the signal, as shells have it.
    """

    def __init__(self, number: int, path: Path, where: str):
        super().__init__(f"stopped by {signal.Signals(number).name}, saved at {where}; go on: rnnjax resume {path}")
        self.exit_code = 128 + number


@contextmanager
def listening() -> Iterator[list[int]]:
    """Collects SIGINT and SIGTERM instead of dying of them; a second one acts as usual."""
    heard: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield heard
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def hear(number, frame):
        heard.append(number)
        signal.signal(number, before[number])
        print("\nstopping after this chunk of steps ...", file=sys.stderr, flush=True)

    for number in before:
        signal.signal(number, hear)
    try:
        yield heard
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
