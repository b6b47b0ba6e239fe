"""What is asked of an executor: the input of a sequence, and the composed step.

A `Program` is the static half (what to compute), `Operands` the traced half (on which arrays). `composed_step` puts
everything that can happen in one time step around the cell's own step, once for all executors, in this order: a reset
gives the row its initial state, a cut stops the gradient, the cell steps (its products under recurrent dropout, its
quantities edited and recorded), zoneout keeps old values, and a masked step, which does not exist, changes nothing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax.cells import At, Cell, Structure
from rnnjax.config import InputError
from rnnjax.notation import Field, Outputs, RowMask, State, StepMask, Table, Tokens

RECURRENT_PRODUCTS = ("recurrent", "candidate")
"""The products whose operand recurrent dropout masks."""

ONE_HOT_LIMIT = 512
"""Symbols up to which the gradient of a lookup is a product with one-hot rows; beyond, rows are added one by one."""


class Projected(NamedTuple):
    """An input whose product with the input kernel is done: ``x`` is ``[time, batch, gates]``."""

    x: Outputs


class Lookup(NamedTuple):
    """An input of symbols: ``tokens`` are ``[time, batch]``, ``rows`` the input part of every gate for each symbol."""

    tokens: Tokens
    rows: Table


class Edit(NamedTuple):
    """Changes a quantity inside the loop, at chosen units and steps; made by `clamp` and `scale`.

    Attributes:
      field: name of the quantity, as given to `at`.
      kind: `clamp` or `scale`.
      value: the number that it is set to, or multiplied by; any shape that broadcasts with ``[batch, units]``.
      units: index, indices, slice or boolean mask of units; all if None.
      time: index, indices, slice or boolean mask of steps; all if None.
    """

    field: str
    kind: str
    value: Any
    units: Any = None
    time: Any = None


def clamp(field: str, value: Any, *, units: Any = None, time: Any = None) -> Edit:
    """Sets `field` to `value` at `units` and `time` (see `Edit`); a lesion is ``clamp(field, 0.0, units=...)``."""
    return Edit(field, "clamp", value, units, time)


def scale(field: str, factor: Any, *, units: Any = None, time: Any = None) -> Edit:
    """Multiplies `field` by `factor` at `units` and `time` (see `Edit`)."""
    return Edit(field, "scale", factor, units, time)


@dataclasses.dataclass(frozen=True)
class Program:
    """The static half of a request: two equal programs on equal shapes share one compilation."""

    structure: Structure
    record: tuple[str, ...] = ()
    edits: tuple[tuple[str, str], ...] = ()
    """Field and kind of each edit, in order."""
    reverse: bool = False
    remat: bool = False
    """Whether the backward pass computes the products of a step again instead of storing them."""
    unroll: int = 1

    @property
    def cell(self) -> Cell:
        """The cell, its weights being shapes only."""
        return self.structure.cell


class Steps(NamedTuple):
    """What differs from step to step, each with a leading axis of time; None where it is not asked for."""

    mask: StepMask | None = None
    reset: StepMask | None = None
    cut: jax.Array | None = None
    """``[time]``: where the gradient by the state before this step is stopped."""
    zone: dict[str, jax.Array] | None = None
    """``[time, batch, units]`` by field: True keeps the value from before the step."""
    edited: tuple[jax.Array | None, ...] = ()
    """``[time]`` for each edit that is limited in time."""


class Constants(NamedTuple):
    """What is the same at every step."""

    small: dict[str, jax.Array]
    initial: State
    """What a reset returns a row to."""
    recurrent_mask: jax.Array | None = None
    """``[batch, units]``: multiplies the operand of the recurrent products."""
    zone_rate: dict[str, Any] | None = None
    """By field, the share of the old value that is kept (zoneout in evaluation)."""
    edits: tuple[tuple[jax.Array | None, Any], ...] = ()
    """Mask of units and value of each edit."""


class Operands(NamedTuple):
    """The traced half of a request."""

    source: Projected | Lookup
    kernels: dict[str, jax.Array]
    constants: Constants
    state: State
    steps: Steps


class Result(NamedTuple):
    """What an executor gives: outputs ``[time, batch, units]``, the final state, and what was recorded, by name."""

    outputs: Outputs
    state: State
    recorded: dict[str, jax.Array]


Product = Callable[[str, jax.Array, "jax.Array | None", State], dict[str, Field]]
"""How an executor multiplies: name, operand, mask of the operand, and the state that the step began with."""


def split(packed: jax.Array, widths: dict[str, int]) -> dict[str, jax.Array]:
    """Splits ``[..., gates]`` into gates by name."""
    ends = np.cumsum(list(widths.values()))
    return {
        gate: packed[..., end - width : end] for (gate, width), end in zip(widths.items(), ends.tolist(), strict=True)
    }


def pack(gates: dict[str, jax.Array], widths: dict[str, int]) -> jax.Array:
    """The inverse of `split`."""
    parts = [gates[gate] for gate in widths]
    return parts[0] if len(parts) == 1 else jnp.concatenate(parts, axis=-1)


def matmul(cell: Cell, a: jax.Array, b: jax.Array) -> jax.Array:
    """``a @ b`` with operands in the cell's compute type, accumulated in the type of its state."""
    return jnp.matmul(a.astype(cell.dtype), b.astype(cell.dtype), preferred_element_type=cell.state_dtype)


def input_items(source: Projected | Lookup) -> jax.Array:
    """What of the input is scanned over, with a leading axis of time."""
    return source.x if isinstance(source, Projected) else source.tokens


def input_part(source: Projected | Lookup, item: jax.Array) -> jax.Array:
    """The packed input part of the gates for one item (or for all of them)."""
    return item if isinstance(source, Projected) else source.rows[item]


def lookup_gradient(tokens: jax.Array, gradient: jax.Array, vocab: int) -> jax.Array:
    """Sum of `gradient` ``[..., width]`` over the places where each of `vocab` symbols stands: ``[vocab, width]``."""
    tokens, gradient = tokens.reshape(-1), gradient.reshape(-1, gradient.shape[-1])
    if vocab <= ONE_HOT_LIMIT:
        return jax.nn.one_hot(tokens, vocab, dtype=gradient.dtype, axis=0) @ gradient
    return jnp.zeros((vocab, gradient.shape[-1]), gradient.dtype).at[tokens].add(gradient)


def naming(
    program: Program, constants: Constants, edited: tuple[jax.Array | None, ...], seen: dict[str, jax.Array]
) -> At:
    """The verb `at`: applies the program's edits, and puts what is to be recorded into `seen`.

    Args:
      program: what is asked for.
      constants: with the units and value of each edit.
      edited: whether each edit acts now (None: always), shaped to broadcast with the named quantities.
      seen: where named quantities are put.
    """

    def at(name: str, value: jax.Array) -> jax.Array:
        for (field, kind), (units, number), when in zip(program.edits, constants.edits, edited, strict=True):
            if field == name:
                number = jnp.broadcast_to(number, value.shape)
                where = [jnp.broadcast_to(mask, value.shape) for mask in (when, units) if mask is not None]
                changed = (number if kind == "clamp" else number * value).astype(value.dtype)
                value = jnp.where(reduce(jnp.logical_and, where, jnp.asarray(True)), changed, value)
        if name in program.record:
            seen[name] = value
        return value

    return at


def composed_step(
    program: Program, constants: Constants, state: State, x: dict[str, Field], steps: Steps, product: Product
) -> tuple[State, dict[str, Field]]:
    """One time step with everything around it.

    Args:
      program: what is asked for.
      constants: what is the same at every step.
      state: before the step.
      x: input part of the gates by name, each ``[batch, units]``.
      steps: what differs from step to step, at this one.
      product: the executor's matrix product.

    Returns:
      The state after the step, and what was recorded in it.
    """
    cell, seen = program.cell, {}
    before = state
    if steps.reset is not None:
        before = _where(steps.reset, constants.initial, state)
    if steps.cut is not None:
        stopped = jax.lax.stop_gradient(before)
        before = {name: jnp.where(steps.cut, stopped[name], value) for name, value in before.items()}

    def dot(name: str, operand: jax.Array) -> dict[str, jax.Array]:
        dropped = constants.recurrent_mask if name in RECURRENT_PRODUCTS else None
        gates = product(name, operand, dropped, before)
        seen.update({f"{name}.{gate}": value for gate, value in gates.items() if f"{name}.{gate}" in program.record})
        return gates

    at = naming(program, constants, steps.edited, seen)
    after = cell.step(constants.small, dict(before), x, dot, at)
    if steps.zone is not None:
        zone = steps.zone
        after = {name: jnp.where(zone[name], before[name], v) if name in zone else v for name, v in after.items()}
    if constants.zone_rate is not None:
        rate = constants.zone_rate
        after = {name: v + rate[name] * (before[name] - v) if name in rate else v for name, v in after.items()}
    seen.update({f"input.{gate}": v for gate, v in x.items() if f"input.{gate}" in program.record})
    if steps.mask is not None:
        seen = {name: jnp.where(steps.mask[:, None], value, 0) for name, value in seen.items()}
        after = _where(steps.mask, after, state)
    seen.update({name: after[name] for name in program.record if name in after})
    return after, jax.lax.stop_gradient(seen)


def masked_outputs(hidden: Outputs, mask: StepMask | None) -> Outputs:
    """The outputs of a layer from its states ``[time, batch, units]``: zero at masked steps."""
    return hidden if mask is None else jnp.where(mask[..., None], hidden, 0)


def recordable(cell: Cell) -> tuple[str, ...]:
    """Every name that can be recorded: fields, state, and the gates of each product as `product.gate`."""
    products = [f"{name}.{gate}" for name in ("input", *cell.products) for gate in cell.gate_widths(name)]
    return tuple(dict.fromkeys((*cell.fields, *cell.state, *products)))


def field_width(cell: Cell, name: str) -> int:
    """Units of the quantity called `name`."""
    return cell.widths.get(name, cell.units)


def _where(condition: RowMask, then: Any, otherwise: Any) -> Any:
    return jax.tree.map(lambda a, b: jnp.where(condition[:, None], a, b), then, otherwise)


def selection(what: Any, size: int, axis: str) -> jax.Array | None:
    """A boolean mask of `size` from an index, indices, a slice or a mask; None stays None.

    Raises:
      InputError: an index beyond `size`.
    """
    if what is None or isinstance(what, jax.Array):
        return what
    mask = np.zeros(size, bool)
    try:
        mask[what if not isinstance(what, Sequence) else np.asarray(what)] = True
    except IndexError as error:
        raise InputError(f"{axis} {what!r}", "in an edit", f"there are {size}, counted from 0") from error
    return jnp.asarray(mask)
