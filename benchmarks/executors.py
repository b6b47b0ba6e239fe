"""How much faster is one gradient for the whole sequence than differentiating the scan? On full training steps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax
import numpy as np

from rnnjax.benchmarks.workloads import build
from rnnjax.population import Programs
from rnnjax.timing import paired, ratio

STEPS = {"words": 200, "mid": 5, "shakespeare": 1}
"""Steps of one timed call, so that a call takes long enough to be timed."""


def run(*, quick: bool = False) -> Iterator[dict[str, Any]]:
    """One row a workload: milliseconds a full step with each executor, and their ratio."""
    for name in ("words", "mid") if quick else STEPS:
        steps = STEPS[name]
        candidates = {executor: _training(name, executor, steps) for executor in ("fused", "scan")}
        found = paired(candidates, rounds=3 if quick else 9)
        yield {
            "question": "executors",
            "workload": name,
            "fused_ms": found["fused"].median / steps * 1e3,
            "scan_ms": found["scan"].median / steps * 1e3,
            "scan_over_fused": ratio(found["scan"], found["fused"]),
            "fused_first_s": found["fused"].first,
            "scan_first_s": found["scan"].first,
        }


def _training(name: str, executor: str, steps: int) -> Callable[[], Any]:
    """A call that trains a workload for some steps."""
    trainer = build(name, executor=executor).trainer
    programs = Programs(trainer)
    held = {"member": programs.member(0)}
    data = jax.device_put(trainer.task.data("train"))
    chunk = partial(_advance, programs, held, data, steps)
    return chunk


def _advance(programs: Programs, held: dict[str, Any], data: Any, steps: int) -> Any:
    held["member"] = programs.chunk(held["member"], data, np.int32(0), np.int32(steps), np.bool_(True))
    return held["member"].step
