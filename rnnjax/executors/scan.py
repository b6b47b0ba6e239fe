"""Plain ``lax.scan`` over the composed step, differentiated by JAX: the reference, and forward mode's executor."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rnnjax.cells import split
from rnnjax.sequence import (
    Operands,
    Program,
    Result,
    composed_step,
    input_items,
    input_part,
    keep,
    masked_outputs,
    matmul,
    projected,
    stacked,
    with_states,
)


def refuse(program: Program, operands: Operands) -> str | None:
    """Never: every request can be scanned."""
    return None


def run(program: Program, operands: Operands) -> Result:
    """Computes the sequence; see `rnnjax.executors`."""
    cell, source = program.cell, projected(program.cell, operands.source)

    def product(name, operand, mask, before):
        operand = operand if mask is None else operand * mask
        return split(matmul(cell, operand, operands.kernels[name]), cell.gate_widths(name))

    def step(carry, item):
        (state, kept), (inputs, steps) = carry, item
        x = split(input_part(source, inputs), cell.gate_widths("input"))
        after, seen = composed_step(program, operands.constants, state, x, steps, product)
        kept = keep(program.record, kept, seen, steps)
        shown = {cell.output: after[cell.output]}
        return (after, kept), (shown, stacked(program.record, seen, shown))

    (state, kept), (shown, found) = jax.lax.scan(
        jax.checkpoint(step) if program.remat else step,
        (jax.tree.map(jnp.asarray, operands.state), operands.kept),
        (input_items(source), operands.steps),
        reverse=program.reverse,
        unroll=program.unroll,
    )
    recorded = with_states(program.record, found, shown)
    return Result(masked_outputs(shown[cell.output], operands.steps.mask), state, recorded, kept)
