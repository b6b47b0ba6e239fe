"""Which executor runs a request, and why the others do not.

The rules below stand where nothing was measured. An executor that is asked for by name is used or refused, never
replaced.
"""

from __future__ import annotations

from types import ModuleType
from typing import NamedTuple

import jax

from rnnjax.cells import lookup
from rnnjax.config import InputError
from rnnjax.executors import associative, fused, scan
from rnnjax.sequence import Operands, Program, input_items

EXECUTORS: dict[str, ModuleType] = {"fused": fused, "associative": associative, "scan": scan}
"""Executors by name, in the order of preference."""

ASSOCIATIVE_STEPS = {"cpu": 8, "gpu": 32, "tpu": 32}
"""Steps from which what is computed for all steps at once is preferred; measured on CPU alone."""


class Plan(NamedTuple):
    """Which executor ran, why, and why each of the others did not; among those, which could not, and why."""

    executor: str
    why: str
    others: tuple[tuple[str, str], ...]
    refused: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        lines = [f"{self.executor}: {self.why}", *(f"not {name}: {why}" for name, why in self.others)]
        return "\n".join(lines)


def choose(program: Program, operands: Operands, asked: str = "auto") -> Plan:
    """Picks the executor for a request.

    Args:
      program: the static half of the request.
      operands: its traced half; only shapes are looked at.
      asked: `auto`, or the name of an executor.

    Raises:
      InputError: `asked` is no executor, or cannot run this request.
    """
    lookup({"auto": None, **EXECUTORS}, asked, "executor")
    reasons: dict[str, str | None] = {name: module.refuse(program, operands) for name, module in EXECUTORS.items()}
    refused = {name: why for name, why in reasons.items() if why}
    if asked != "auto":
        if asked in refused:
            raise InputError(
                f"executor '{asked}' cannot run {type(program.cell).__name__} here: {refused[asked]}",
                "in executor=",
                "use executor='auto'",
            )
        others = tuple((name, f"'{asked}' was asked for") for name in EXECUTORS if name != asked)
        return Plan(asked, "it was asked for", others, tuple(refused.items()))
    time, batch = input_items(operands.source).shape[:2]
    device = jax.default_backend()
    shortest = ASSOCIATIVE_STEPS.get(device)
    if reasons["associative"] is None and shortest is not None and time >= shortest:
        chosen, why = "associative", f"{time} steps at once on {device}"
        reasons |= {"fused": "it goes step by step", "scan": "it goes step by step"}
    else:
        chosen, why = "fused", f"one gradient for {time} steps of {batch} rows"
        reasons["associative"] = reasons["associative"] or (
            f"not known to pay on {device}" if shortest is None else f"{time} steps are fewer than {shortest}"
        )
        reasons["scan"] = "its gradient stores more and sums kernel gradients step by step"
    others = tuple((name, why) for name, why in reasons.items() if name != chosen and why)
    return Plan(chosen, why, others, tuple(refused.items()))
