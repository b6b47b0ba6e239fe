"""What does a call of the compiled chunk cost in Python, beyond the computation? On a network of three units."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np

from rnnjax.benchmarks.workloads import WORKLOADS, build
from rnnjax.population import Programs
from rnnjax.timing import paired

CALLS = 500
"""Calls in one timed round."""


def run(*, quick: bool = False) -> Iterator[dict[str, Any]]:
    """Microseconds a call.

    `python_us`: taking a member apart and putting it together, which is all that Python does in a call. `empty_us`: a
    compiled program of the same arguments and results that computes nothing. `one_step_us`: a chunk of one step.
    """
    trainer = build(WORKLOADS["words"]).trainer
    programs = Programs(trainer)
    held = {"member": programs.member(0)}
    data = jax.device_put(trainer.task.data("train"))
    empty = jax.jit(lambda member, data, start, count, clear: member, donate_argnums=0)
    start, count, clear = np.int32(0), np.int32(1), np.bool_(False)

    def calls(program: Callable[..., Any]) -> Any:
        for _ in range(CALLS):
            held["member"] = program(held["member"], data, start, count, clear)
        return held["member"].step

    def python() -> None:
        for _ in range(CALLS):
            leaves, structure = jax.tree.flatten(held["member"])
            jax.tree.unflatten(structure, leaves)

    candidates = {"python": python, "empty": lambda: calls(empty), "one_step": lambda: calls(programs.chunk)}
    found = paired(candidates, rounds=3 if quick else 15)
    micro = {f"{name}_us": timing.median / CALLS * 1e6 for name, timing in found.items()}
    leaves = len(jax.tree.leaves(held["member"]))
    yield {"question": "dispatch", "workload": "words", **micro, "leaves": leaves}
