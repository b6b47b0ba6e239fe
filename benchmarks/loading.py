"""What does it cost to feed a step of training? Data on the device, data on the host, and PyTorch's `DataLoader`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rnnjax.benchmarks.harness import OURS, Asked, Candidate, measure
from rnnjax.population import HOST_STEPS

USUAL = ("mid",)
"""Symbols, of which a batch is small; of `speech320`, asked by name, a batch is 3 MB of numbers."""


def run(asked: Asked) -> Iterator[dict[str, Any]]:
    """One row a way of feeding and a workload: seconds a step of training."""
    candidates = [
        Candidate(OURS, "step", label="rnnjax, data on the device"),
        Candidate("rnnjax_loading", "loading", label="rnnjax, data on the host", block=HOST_STEPS),
    ]
    if "torch" in asked.among(["torch"]):
        candidates += [
            Candidate("torch", "step", label="torch, data on the device"),
            *[
                Candidate("torch_loading", "loading", options={"workers": n}, label=f"torch, DataLoader, {n} workers")
                for n in (0, 1)
            ],
        ]
    for workload in asked.networks(USUAL):
        yield from measure(asked, "loading", workload, candidates)
