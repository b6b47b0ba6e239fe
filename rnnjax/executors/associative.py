"""All steps at once, in logarithmic depth, for cells whose step is affine in the state: ``h = a h + b``.

Two steps compose to one, ``(a2, b2) (a1, b1) = (a2 a1, a2 b1 + b2)``, so ``lax.associative_scan`` computes every state
in parallel (Blelloch 1990; Martin & Cundy 2018). A masked step is ``(1, 0)``, a reset ``(0, a h_initial + b)``.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rnnjax.cells import LinearCell, split
from rnnjax.sequence import (
    Operands,
    Program,
    Result,
    Steps,
    chosen,
    input_items,
    input_part,
    keep_all,
    masked_outputs,
    naming,
)


def refuse(program: Program, operands: Operands) -> str | None:
    """Why this request cannot run in parallel over time, if so."""
    if not isinstance(program.cell, LinearCell):
        return "its step is not affine in the state"
    if any(field in program.cell.state for field, _ in program.edits):
        return "an edit of the state makes the step depend on the steps before it"
    steps, constants = operands.steps, operands.constants
    if steps.zone is not None or constants.zone_rate is not None:
        return "zoneout mixes the state before the step into the state after it"
    return "truncation stops the gradient between steps" if steps.cut is not None else None


def run(program: Program, operands: Operands) -> Result:
    """Computes the sequence; see `rnnjax.executors`."""
    cell, steps, constants = program.cell, operands.steps, operands.constants
    assert isinstance(cell, LinearCell)  # `refuse` has seen to it
    (field,) = cell.state
    x = split(input_part(operands.source, input_items(operands.source)), cell.gate_widths("input"))
    recorded = {record.field for record in program.record}
    seen = {f"input.{gate}": value for gate, value in x.items() if f"input.{gate}" in recorded}
    edited = tuple(None if when is None else when[:, None, None] for when in steps.edited)
    at = naming(program.record, program.edits, constants.edits, steps._replace(edited=edited), seen)
    a, b = cell.affine(constants.small, x, at)
    if steps.reset is not None:
        reset = steps.reset[..., None]
        a, b = jnp.where(reset, 0, a), jnp.where(reset, a * constants.initial[field][None] + b, b)
    if steps.mask is not None:
        mask = steps.mask[..., None]
        a, b = jnp.where(mask, a, 1), jnp.where(mask, b, 0)
        seen = {name: jnp.where(mask, value, 0) for name, value in seen.items()}
    first, last = (-1, 0) if program.reverse else (0, -1)
    b = b.at[first].add(a[first] * operands.state[field])

    def combine(earlier, later):
        return later[0] * earlier[0], later[0] * earlier[1] + later[1]

    _, hidden = jax.lax.associative_scan(combine, (a, b), reverse=program.reverse)
    if field in recorded:
        seen[field] = hidden
    seen = jax.lax.stop_gradient(chosen(program.record, seen))
    kept = keep_all(program.record, operands.kept, seen, Steps(steps.mask, position=steps.position))
    found = {record.field: seen[record.field] for record in program.record if record.every_step}
    return Result(masked_outputs(hidden, steps.mask), {field: hidden[last]}, found, kept)
