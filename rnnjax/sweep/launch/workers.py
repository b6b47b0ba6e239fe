"""What every process that works on a sweep does first, whichever engine has started it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path

import jax

from rnnjax.experiment import own_code
from rnnjax.store import keep_compiled


def absolute(code: Sequence[str]) -> tuple[str, ...]:
    """Code that is named as `file.py:Name` or `module:Name`, for a process that starts in another folder."""

    def one(spec: str) -> str:
        source, _, name = spec.rpartition(":")
        return f"{Path(source).expanduser().resolve()}:{name}" if source.endswith(".py") else spec

    return tuple(map(one, code))


def use_cores(cores: int | None = None) -> None:
    """Makes a device of every core, where there is nothing but a CPU; must come before JAX computes anything.

    Where XLA_FLAGS says how many devices there are, that counts.

    Args:
      cores: how many; None: all that this process may run on.
    """
    if cores is None:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if "xla_force_host_platform_device_count" not in os.environ.get("XLA_FLAGS", ""):
        with contextlib.suppress(RuntimeError):  # JAX has computed already, and keeps the devices that it has
            jax.config.update("jax_num_cpu_devices", cores)


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
