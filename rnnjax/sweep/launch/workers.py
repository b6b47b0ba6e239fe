"""What every process that works on a sweep does first, whichever engine has started it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rnnjax.experiment import own_code
from rnnjax.population import use_cores
from rnnjax.store import keep_compiled


def absolute(code: Sequence[str]) -> tuple[str, ...]:
    """Code that is named as `file.py:Name` or `module:Name`, for a process that starts in another folder."""

    def one(spec: str) -> str:
        source, _, name = spec.rpartition(":")
        return f"{Path(source).expanduser().resolve()}:{name}" if source.endswith(".py") else spec

    return tuple(map(one, code))


def get_ready(code: Sequence[str], cores: int | None = None) -> None:
    """Takes the cores, finds compiled programs where other commands keep them, and imports code of the user's own.

    Args:
      code: cells and tasks, as `file.py:Name` or `module:Name`.
      cores: as in `use_cores`.

    Raises:
      InputError: code that is not there.
    """
    use_cores(cores)
    keep_compiled()
    for spec in code:
        own_code(spec)
