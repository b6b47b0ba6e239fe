"""How long is the recurrent layer alone, forwards, and forwards and backwards? Published networks, beside peers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rnnjax.benchmarks.harness import Asked, measure
from rnnjax.benchmarks.workloads import WORKLOADS

BESIDE = ("torch", "haiku")
"""Peers that are usually asked: the fastest with kernels of its own, and the fastest on JAX."""
SELDOM = ("deepbench/lstm512-b32", "deepbench/lstm512-b64")
"""Asked by name alone: they lie between others."""
PUBLISHED = [workload.name for workload in WORKLOADS.values() if workload.source]
USUAL = ("mid", "shakespeare", *(name for name in PUBLISHED if name not in SELDOM))
QUICK = ("tiny", "deepbench/lstm256")


def forward(asked: Asked) -> Iterator[dict[str, Any]]:
    """One row a candidate and workload: seconds of all outputs from all inputs."""
    yield from _run(asked, "forward")


def gradient(asked: Asked) -> Iterator[dict[str, Any]]:
    """One row a candidate and workload: seconds of that and of the gradients by inputs and weights."""
    yield from _run(asked, "gradient")


def _run(asked: Asked, question: str) -> Iterator[dict[str, Any]]:
    for workload in asked.networks(QUICK if asked.quick else USUAL):
        yield from measure(asked, question, workload, asked.candidates(question, BESIDE))
