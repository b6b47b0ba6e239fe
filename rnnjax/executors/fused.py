"""One gradient for the whole sequence, for any cell.

Forward, the loop stores the states and the recurrent products (for gates that need only the sum of input part and
product, that sum alone). Backward, a loop in the other direction replays the pointwise part of each step from them,
``dot`` giving back its stored result, and emits the gradient by every product; the gradients of all kernels are large
matrix products after it. So the backward loop holds one matrix product a product of the cell, none for the weights.

Compared with differentiating the scan: nothing is stored but states and products (an LSTM: 6 columns a row instead of
11), and the gradients of the kernels are not accumulated step by step.
"""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp

from rnnjax.cells import Cell, split
from rnnjax.notation import Field, Outputs, State
from rnnjax.sequence import (
    RECURRENT_PRODUCTS,
    Constants,
    Dense,
    Lookup,
    Operands,
    Program,
    Projected,
    Ready,
    Result,
    Source,
    Steps,
    as_rows,
    composed_step,
    in_pieces,
    input_items,
    input_part,
    keep,
    lookup_gradient,
    masked_outputs,
    matmul,
    pack,
    projected,
    stacked,
    with_items,
    with_states,
)

LARGE = 2**24
"""Bytes of the input part of all steps up to which it is made at once on CPU."""
PIECE = 2**21
"""Bytes of the input part that is made at once where it is larger: what a core's caches hold."""


def refuse(program: Program, operands: Operands) -> str | None:
    """Never: every request has a gradient of this form (forward mode alone needs `scan`)."""
    return None


def run(program: Program, operands: Operands) -> Result:
    """Computes the sequence; see `rnnjax.executors`. Reverse mode only."""
    return _run(program, operands)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _run(program: Program, operands: Operands) -> Result:
    return _loop(program, operands, store=False)[0]


def _forward(program: Program, operands: Operands):
    result, states, stored = _loop(program, operands, store=True)
    return result, (operands._replace(kept={}), states, stored)


def _loop(program: Program, operands: Operands, *, store: bool):
    """The forward loop: its result, and states and stored products of every step."""
    cell, source = program.cell, operands.source
    carry = jax.tree.map(jnp.asarray, operands.state), operands.kept

    def loop(carry, items, steps):
        return _steps(program, operands, projected(cell, with_items(source, items)), carry, steps, store=store)

    length = _projected_at_once(cell, source)
    items = (input_items(source), operands.steps)
    if length < items[0].shape[0]:
        (final, kept), found = in_pieces(lambda c, v: loop(c, *v), carry, items, length, reverse=program.reverse)
    else:
        (final, kept), found = loop(carry, *items)
    states, stored, seen = found
    outputs = masked_outputs(states[cell.output], operands.steps.mask)
    return Result(outputs, final, with_states(program.record, seen, states), kept), states, stored


def _projected_at_once(cell: Cell, source: Source) -> int:
    """Steps whose input is multiplied by the kernel in one product before the loop goes over them.

    All of them, but where that makes a large array on CPU: memory that is new in every call costs more than large
    products save, and no cache holds it.
    """
    time, batch = input_items(source).shape[:2]
    if not isinstance(source, Dense) or jax.default_backend() != "cpu":
        return time
    each = batch * source.kernel.shape[1] * jnp.dtype(cell.state_dtype).itemsize
    if time * each <= LARGE:
        return time
    most = max(1, PIECE // each)
    return next((length for length in range(most, most // 2, -1) if time % length == 0), most)


def _steps(program: Program, operands: Operands, source: Ready, carry, steps, *, store: bool):
    """The loop over the steps of a source, from a carry on: the carry after it, and what it gives for each step."""
    cell, items = program.cell, input_items(source)
    widths = cell.gate_widths("input")
    # XLA on CPU does not vectorise a loop over several slices of what is itself a slice of all steps: gates are taken
    # apart before the loop, unless their sums are stored, which have loops of their own.
    apart = isinstance(source, Projected) and not store and jax.default_backend() == "cpu"

    def step(carry, item):
        (state, kept), (inputs, steps) = carry, item
        x = inputs if apart else split(input_part(source, inputs), widths)
        sums, rest = dict(x), {}

        def product(name, operand, mask, before):
            operand = operand if mask is None else operand * mask
            q = matmul(cell, operand, operands.kernels[name])
            gates = split(q, cell.gate_widths(name))
            sums.update({gate: sums[gate] + gates[gate] for gate in gates if gate in cell.summed and gate in sums})
            if kept := _unsummed(cell, name):
                rest[name] = pack(gates, kept)
            return gates

        after, seen = composed_step(program, operands.constants, state, x, steps, product)
        kept = keep(program.record, kept, seen, steps)
        states = after if store else {cell.output: after[cell.output]}
        stored = (pack(sums, widths) if cell.summed else None, rest) if store and not program.remat else None
        return (after, kept), (states, stored, stacked(program.record, seen, states))

    items = (split(items, widths) if apart else items, steps)
    return jax.lax.scan(step, carry, items, reverse=program.reverse, unroll=program.unroll)


def _unsummed(cell: Cell, product: str) -> dict[str, int]:
    """The gates of `product` that cannot be stored as a sum with the input part."""
    return {gate: width for gate, width in cell.gate_widths(product).items() if gate not in cell.summed}


@dataclasses.dataclass(frozen=True)
class _ProductRule:
    """The static half of `_known_product`."""

    program: Program
    name: str

    def value(self, operand, mask, kernel, known):
        if not self.program.remat:
            return known
        operand = operand if mask is None else operand * mask
        q = matmul(self.program.cell, operand, kernel)
        return jax.tree.map(jnp.add, known, split(q, self.program.cell.gate_widths(self.name)))

    def operand_gradient(self, gradient, mask, transposed):
        cell = self.program.cell
        if len(transposed) == 1:
            back = matmul(cell, pack(gradient, cell.gate_widths(self.name)), transposed[0])
        else:
            gates = zip(cell.gate_widths(self.name), transposed, strict=True)
            back = sum(matmul(cell, gradient[gate], part) for gate, part in gates)
        return back if mask is None else back * mask


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _known_product(rule: _ProductRule, operand, mask, kernel, transposed, known):
    """A product inside a replayed step: `known` (its gates by name), to which a recomputed product is added.

    Its gradient goes to `known`, where the loop picks it up, and through the kernel to the operand.
    """
    return rule.value(operand, mask, kernel, known)


def _known_product_forward(rule, operand, mask, kernel, transposed, known):
    return rule.value(operand, mask, kernel, known), (mask, transposed)


def _known_product_backward(rule, residuals, gradient):
    return rule.operand_gradient(gradient, *residuals), None, None, None, gradient


_known_product.defvjp(_known_product_forward, _known_product_backward)


def _backward(program: Program, residuals, gradients: Result):
    operands, states, stored = residuals
    cell, steps = program.cell, operands.steps
    silent = dataclasses.replace(program, record=())
    widths = cell.gate_widths("input")
    packed, rest = (None, {}) if stored is None else stored
    before = _states_before(program, operands.state, states)
    ready = projected(cell, operands.source) if packed is None else Projected(packed)
    shared = _differentiable(operands)
    transposed = {name: _transposed(cell, name, kernel) for name, kernel in operands.kernels.items()}
    of_state: dict[str, str] = {}

    def step(carry, item):
        d_state, d_shared = carry
        state, x, q, here, d_hidden = item
        x = split(input_part(ready, x), widths)
        known = {
            name: {
                **{
                    gate: jnp.zeros((d_hidden.shape[0], w), cell.state_dtype)
                    for gate, w in cell.gate_widths(name).items()
                },
                **(split(q[name], _unsummed(cell, name)) if name in q else {}),
            }
            for name in cell.products
        }

        def replay(state, x, known, shared, values):
            constants = _with(operands.constants, shared)
            emitted = {}

            def product(name, operand, mask, start):
                field = next((key for key, value in start.items() if value is operand), None)
                if field is None:
                    emitted[name] = operand
                else:
                    of_state[name] = field
                rule: Any = _ProductRule(silent, name)
                kernels = operands.kernels[name], transposed[name]
                return cast("dict[str, Field]", _known_product(rule, operand, mask, *kernels, known[name]))

            after, _ = composed_step(silent, constants, state, x, here._replace(values=values), product)
            return after, emitted

        after, pull, emitted = jax.vjp(replay, state, x, known, shared, here.values, has_aux=True)
        d_state = {**d_state, cell.output: d_state[cell.output] + d_hidden}
        d_state, d_x, d_known, d_new, d_values = pull({name: d_state[name].astype(after[name].dtype) for name in after})
        d_rest = {
            name: pack(d_known[name], cell.gate_widths(name))
            for name in cell.products
            if not _is_input_gradient(cell, name)
        }
        return (d_state, jax.tree.map(jnp.add, d_shared, d_new)), (pack(d_x, widths), d_rest, emitted, d_values)

    d_hidden = masked_outputs(gradients.outputs, steps.mask)
    carry = (gradients.state, jax.tree.map(jnp.zeros_like, shared))
    items = (before, input_items(ready), rest, steps, d_hidden)
    (d_state, d_shared), (d_x, d_rest, emitted, d_values) = jax.lax.scan(
        step, carry, items, reverse=not program.reverse, unroll=program.unroll
    )
    stepped_from = _after_reset(operands, before)
    d_kernels = {
        name: _kernel_gradient(
            cell,
            emitted[name] if name in emitted else stepped_from[of_state[name]],
            operands.constants.recurrent_mask if name in RECURRENT_PRODUCTS else None,
            d_x if _is_input_gradient(cell, name) else d_rest[name],
        )
        for name in cell.products
    }
    # A cotangent is None where there is nothing to differentiate by; the types are those of the operands themselves.
    d_source = _source_gradient(cell, operands.source, d_x)
    d_kernels = jax.tree.map(lambda d, kernel: d.astype(kernel.dtype), d_kernels, operands.kernels)
    constants = Constants(
        d_shared.small,
        d_shared.initial or None,  # type: ignore[arg-type]
        zone_rate=d_shared.zone_rate,
        edits=tuple((None, d_value) for d_value in d_shared.values),
    )
    return (Operands(d_source, d_kernels, constants, d_state, Steps(edited=None, values=d_values), None),)  # type: ignore[arg-type]


_run.defvjp(_forward, _backward)


def _slow_bfloat16(cell: Cell) -> bool:
    """Whether XLA multiplies long sums of bfloat16 numbers more slowly than it should, or than float32: on CPU."""
    return cell.dtype == jnp.bfloat16 and jax.default_backend() == "cpu"


def _transposed(cell: Cell, name: str, kernel: jax.Array) -> tuple[jax.Array, ...]:
    """The transposed kernel of a product, whole or by gates.

    Laid out once: a product that transposes its kernel in every step is slower on CPU.
    """
    widths = cell.gate_widths(name) if _slow_bfloat16(cell) else {"": kernel.shape[1]}
    return jax.lax.optimization_barrier(tuple(part.T.astype(cell.dtype) for part in split(kernel, widths).values()))


class _Shared(NamedTuple):
    """What every step shares and has a gradient."""

    small: dict[str, jax.Array]
    initial: State
    zone_rate: dict[str, jax.Array] | None
    values: tuple[jax.Array | None, ...]
    """Of the edits, where they are the same at every step."""


def _differentiable(operands: Operands) -> _Shared:
    constants = operands.constants
    initial = constants.initial if operands.steps.reset is not None else {}
    return _Shared(constants.small, initial, constants.zone_rate, tuple(value for _, value in constants.edits))


def _with(constants: Constants, shared: _Shared) -> Constants:
    edits = tuple((units, value) for (units, _), value in zip(constants.edits, shared.values, strict=True))
    return constants._replace(
        small=shared.small, initial=shared.initial or constants.initial, zone_rate=shared.zone_rate, edits=edits
    )


def _is_input_gradient(cell: Cell, product: str) -> bool:
    """Whether the gradient by a product is the gradient by the packed input part."""
    return list(cell.gate_widths(product)) == [gate for gate in cell.gates if gate in cell.summed] == list(cell.gates)


def _states_before(program: Program, initial: State, states: dict[str, Outputs]) -> dict[str, Outputs]:
    """The state before each step, from the states after them."""
    if program.reverse:
        return {name: jnp.concatenate([values[1:], initial[name][None]]) for name, values in states.items()}
    return {name: jnp.concatenate([initial[name][None], values[:-1]]) for name, values in states.items()}


def _after_reset(operands: Operands, before: dict[str, Outputs]) -> dict[str, Outputs]:
    """The state that each step began with, once its reset had acted."""
    reset, initial = operands.steps.reset, operands.constants.initial
    if reset is None:
        return before
    return {name: jnp.where(reset[..., None], initial[name], values) for name, values in before.items()}


def _source_gradient(cell: Cell, source: Source, d_x: jax.Array) -> Source:
    """The gradient by the input, its kernel and its bias, or by the rows of the symbols."""
    if isinstance(source, Lookup):
        return Lookup(None, lookup_gradient(source.tokens, d_x, source.rows.shape[0]))  # type: ignore[arg-type]
    x, kernel, bias = source
    return Dense(
        matmul(cell, d_x, kernel.T).astype(x.dtype),
        _kernel_gradient(cell, x, None, d_x).astype(kernel.dtype),
        None if bias is None else jnp.sum(d_x, axis=(0, 1)).astype(bias.dtype),
    )


def _kernel_gradient(cell: Cell, operand: jax.Array, mask: jax.Array | None, gradient: jax.Array) -> jax.Array:
    """Sum over time and batch of operand times gradient, as one product: ``[operand, gates]``."""
    operand = operand if mask is None else operand * mask[None]
    operand, gradient = as_rows(operand), as_rows(gradient)
    if _slow_bfloat16(cell):
        return operand.astype(cell.state_dtype).T @ gradient
    return matmul(cell, operand.T, gradient)
