"""What does a call of the compiled chunk cost in Python, beyond the computation? On a network of three units."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from rnnjax.benchmarks.workloads import build
from rnnjax.population import Programs
from rnnjax.timing import paired

CALLS = 500
"""Calls in one timed round."""


def run(*, quick: bool = False) -> Iterator[dict[str, Any]]:
    """Microseconds a call: of no step (all of it dispatch), and of one step."""
    trainer = build("words").trainer
    programs = Programs(trainer)
    held = {"member": programs.member(0)}
    data = jax.device_put(trainer.task.data("train"))

    def calls(steps: int) -> Any:
        start, count, clear = np.int32(0), np.int32(steps), np.bool_(False)
        for _ in range(CALLS):
            held["member"] = programs.chunk(held["member"], data, start, count, clear)
        return held["member"].step

    found = paired({"none": lambda: calls(0), "one": lambda: calls(1)}, rounds=3 if quick else 15)
    yield {
        "question": "dispatch",
        "workload": "words",
        "dispatch_us": found["none"].median / CALLS * 1e6,
        "one_step_us": found["one"].median / CALLS * 1e6,
        "leaves": len(jax.tree.leaves(held["member"])),
    }
