"""All steps at once, for cells whose step is affine in the state: ``h = a h + b``.

What gives `a` and `b` is computed for all steps together. Two steps compose to one, ``(a2, b2) (a1, b1) = (a2 a1, a2 b1
+ b2)``, so ``lax.associative_scan`` then computes every state in logarithmic depth (Blelloch 1990; Martin & Cundy
2018). On a CPU, whose cores are few, the states are computed one after the other, in a loop that holds nothing else:
the tree does twice the arithmetic, and goes over the memory once for each of its levels. The derivative is a recurrence
of the same kind, so that nothing of the tree is stored.

A masked step is ``(1, 0)``, a reset ``(0, a h_initial + b)``.
"""

from __future__ import annotations

from functools import partial

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
    projected,
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
    source = projected(cell, operands.source)
    x = split(input_part(source, input_items(source)), cell.gate_widths("input"))
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
    hidden = recurrence(program.reverse, a, b)
    if field in recorded:
        seen[field] = hidden
    seen = jax.lax.stop_gradient(chosen(program.record, seen))
    kept = keep_all(program.record, operands.kept, seen, Steps(steps.mask, position=steps.position))
    found = {record.field: seen[record.field] for record in program.record if record.every_step}
    return Result(masked_outputs(hidden, steps.mask), {field: hidden[last]}, found, kept)


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def recurrence(reverse: bool, a: jax.Array, b: jax.Array) -> jax.Array:
    """``h[t] = a[t] h[t - 1] + b[t]`` from zero, ``[time, ...]``; with `reverse` from the last step to the first."""
    return _states(reverse, a, b)


@recurrence.defjvp
def _tangent(reverse: bool, primals: tuple[jax.Array, jax.Array], tangents: tuple[jax.Array, jax.Array]):
    (a, b), (d_a, d_b) = primals, tangents
    hidden = recurrence(reverse, a, b)
    before = _shifted(hidden, -1 if reverse else 1)
    return hidden, _states(reverse, a, d_a * before + d_b)


def _shifted(values: jax.Array, steps: int) -> jax.Array:
    """Values moved by a step, to a later one (1) or an earlier one (-1); zero where none comes from."""
    nothing = jnp.zeros_like(values[:1])
    return jnp.concatenate([nothing, values[:-1]] if steps > 0 else [values[1:], nothing])


def _states(reverse: bool, a: jax.Array, b: jax.Array) -> jax.Array:
    if jax.default_backend() == "cpu":

        def step(hidden, item):
            hidden = item[0] * hidden + item[1]
            return hidden, hidden

        return jax.lax.scan(step, jnp.zeros_like(b[0]), (a, b), reverse=reverse)[1]

    def combine(earlier, later):
        return later[0] * earlier[0], later[0] * earlier[1] + later[1]

    return jax.lax.associative_scan(combine, (a, b), reverse=reverse)[1]
