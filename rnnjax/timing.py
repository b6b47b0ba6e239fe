"""Measuring: warmed up, in pairs, blocked until ready; and what a measurement depends on.

Machines are noisy, and their noise has a drift. Candidates are therefore timed in turn (A B A B ...), and compared by
the median of the ratios of each round, which a drift leaves alone.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from statistics import median
from typing import Any, NamedTuple

import jax

PACKAGES = ("rnnjax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")


class Timing(NamedTuple):
    """Seconds that one candidate took.

    Attributes:
      first: the first call, compilation included.
      rounds: each round after it.
    """

    first: float
    rounds: tuple[float, ...]

    @property
    def median(self) -> float:
        """The middle of the rounds."""
        return median(self.rounds)

    @property
    def least(self) -> float:
        """The fastest round."""
        return min(self.rounds)


def paired(candidates: Mapping[str, Callable[[], Any]], *, rounds: int = 7) -> dict[str, Timing]:
    """Times candidates in turn.

    Args:
      candidates: functions by name; what they return is waited for.
      rounds: calls of each after the first, which is timed by itself.
    """
    first = {name: _seconds(function) for name, function in candidates.items()}
    found: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(rounds):
        for name, function in candidates.items():
            found[name].append(_seconds(function))
    return {name: Timing(first[name], tuple(times)) for name, times in found.items()}


def ratio(slower: Timing, faster: Timing) -> float:
    """How many times as long `slower` takes: the median over rounds of the ratio within each."""
    return median(a / b for a, b in zip(slower.rounds, faster.rounds, strict=True))


def describe_environment() -> dict[str, Any]:
    """Versions, device, threads and flags: what the speed and the bits of a result depend on."""

    def installed(name: str) -> str | None:
        try:
            return version(name)
        except PackageNotFoundError:
            return None

    return {
        "versions": {"python": platform.python_version(), **{name: installed(name) for name in PACKAGES}},
        "platform": platform.platform(),
        "backend": jax.default_backend(),
        "device": jax.devices()[0].device_kind,
        "devices": jax.device_count(),
        "threads": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }


def _seconds(function: Callable[[], Any]) -> float:
    began = time.perf_counter()
    jax.block_until_ready(function())
    return time.perf_counter() - began
