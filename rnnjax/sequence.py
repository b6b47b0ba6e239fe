"""What is asked of an executor: the input of a sequence, and the composed step.

A `Program` is the static half (what to compute), `Operands` the traced half (on which arrays). `composed_step` puts
everything that can happen in one time step around the cell's own step, once for all executors, in this order: a reset
gives the row its initial state, a cut stops the gradient, the cell steps (its products under recurrent dropout, its
quantities edited and recorded), zoneout keeps old values, and a masked step, which does not exist, changes nothing.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Collection, Sequence
from functools import reduce
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax.cells import At, Cell, Structure
from rnnjax.config import InputError
from rnnjax.notation import Field, Inputs, Outputs, RowMask, State, StepMask, Table, Tokens

RECURRENT_PRODUCTS = ("recurrent", "candidate")
"""The products whose operand recurrent dropout masks."""

ONE_HOT_LIMIT = 512
"""Symbols up to which the gradient of a lookup is a product with one-hot rows; beyond, rows are added one by one."""


class Dense(NamedTuple):
    """An input of numbers: ``x`` is ``[time, batch, input]``, to be multiplied by the input kernel."""

    x: Inputs
    kernel: jax.Array
    bias: jax.Array | None


class Projected(NamedTuple):
    """Numbers whose product with the input kernel is done: ``x`` is ``[time, batch, gates]``."""

    x: Outputs


class Lookup(NamedTuple):
    """An input of symbols: ``tokens`` are ``[time, batch]``, ``rows`` the input part of every gate for each symbol."""

    tokens: Tokens
    rows: Table


Source = Dense | Lookup
"""An input as it is given to an executor."""
Ready = Projected | Lookup
"""An input as a loop reads it: see `projected`."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Edit:
    """Changes a quantity inside the loop, at chosen units and steps.

    Made by `clamp`, `lesion`, `scale`, `add`, `noise` and `patch`. Several act in the order in which they are given.
    Value and key may be traced, and so may units and steps: ``jax.vmap`` makes many changed networks of one.

    Attributes:
      field: name of the quantity: as given to `at`, or ``pre.GATE``.
      kind: `clamp`, `scale`, `add` or `noise`.
      value: what it is set to, multiplied by, added to it, or the deviation of what is added; any shape that broadcasts
        with ``[batch, units]``. With `each_step` ``[batch, time, units]`` (laid out like the inputs), or
        ``[time, units]`` for every row.
      units: index, indices, slice or boolean mask of units; all if None.
      time: index, indices, slice or boolean mask of steps; all if None.
      key: randomness of noise.
      each_step: whether `value` has an axis of time.
    """

    field: str = dataclasses.field(metadata={"static": True})
    kind: str = dataclasses.field(metadata={"static": True})
    value: Any
    units: Any = None
    time: Any = None
    key: jax.Array | None = None
    each_step: bool = dataclasses.field(default=False, metadata={"static": True})


def clamp(field: str, value: Any, *, units: Any = None, time: Any = None, each_step: bool = False) -> Edit:
    """Sets `field` to `value` at `units` and `time` (see `Edit`)."""
    return Edit(field, "clamp", value, units, time, each_step=each_step)


def lesion(field: str, units: Any = None, *, time: Any = None) -> Edit:
    """Sets `field` to zero at `units` and `time` (see `Edit`)."""
    return clamp(field, 0.0, units=units, time=time)


def scale(field: str, factor: Any, *, units: Any = None, time: Any = None, each_step: bool = False) -> Edit:
    """Multiplies `field` by `factor` at `units` and `time` (see `Edit`)."""
    return Edit(field, "scale", factor, units, time, each_step=each_step)


def add(field: str, value: Any, *, units: Any = None, time: Any = None, each_step: bool = False) -> Edit:
    """Adds `value` to `field` at `units` and `time` (see `Edit`).

    The gradient of a loss by added zeros of each step is its gradient by the field at each step.
    """
    return Edit(field, "add", value, units, time, each_step=each_step)


def noise(field: str, deviation: Any, *, key: jax.Array, units: Any = None, time: Any = None) -> Edit:
    """Adds Gaussian noise to `field`, fresh at each step, row and unit (see `Edit`).

    Args:
      field: name of the quantity.
      deviation: standard deviation of the noise.
      key: what it is drawn by; step *t* has ``fold_in(key, t)``, however many steps there are.
      units: where it acts.
      time: when it acts.
    """
    return Edit(field, "noise", deviation, units, time, key)


def patch(field: str, values: Any, *, units: Any = None, time: Any = None) -> Edit:
    """Sets `field` to `values` at `units` and `time` (see `Edit`).

    Args:
      field: name of the quantity.
      values: those of another recording at each step, ``[batch, time, units]``, laid out like the inputs; or
        ``[time, units]`` for every row.
      units: where they are put; all if None.
      time: when they are put; always if None.
    """
    return clamp(field, values, units=units, time=time, each_step=True)


@dataclasses.dataclass(frozen=True)
class Record:
    """What to record of a quantity, where its name alone would record everything.

    Attributes:
      field: name of the quantity.
      units: those that are kept, in this order; all if None.
      stride: steps 0, stride, 2 stride, ... are kept, by position of the input.
      statistics: whether `Moments` of the values are recorded instead of them.

    Neither `stride` nor `statistics` holds more in memory than what it gives.

    Raises:
      InputError: no units, or a stride below one.
    """

    field: str
    units: tuple[int, ...] | None = None
    stride: int = 1
    statistics: bool = False

    def __post_init__(self) -> None:
        where = f"in the record of '{self.field}'"
        if self.units is not None:
            units = np.atleast_1d(np.asarray(self.units))
            if units.ndim != 1 or not units.size or units.dtype.kind not in "iu":
                raise InputError(f"units={self.units!r}", where, "give whole numbers, one or more")
            object.__setattr__(self, "units", tuple(units.tolist()))
        if not isinstance(self.stride, int) or not 1 <= self.stride < 2**31:
            raise InputError(f"stride={self.stride!r}", where, "give a whole number, at least 1")

    @property
    def every_step(self) -> bool:
        """Whether the value at each step is recorded."""
        return self.stride == 1 and not self.statistics


class Moments(NamedTuple):
    """Statistics over the steps that exist, by row.

    Attributes:
      count: steps, ``[batch]``.
      mean: mean over them, ``[batch, units]``; 0 of no steps.
      m2: sum of squared deviations from the mean, ``[batch, units]``.
      least: smallest value, ``[batch, units]``; infinity of no steps.
      greatest: largest value, ``[batch, units]``; minus infinity of no steps.
    """

    count: jax.Array
    mean: jax.Array
    m2: jax.Array
    least: jax.Array
    greatest: jax.Array

    @classmethod
    def of(cls, value: jax.Array, valid: jax.Array) -> Moments:
        """Those of one step: values ``[batch, units]``, of the rows where it exists ``[batch]``."""
        here = valid[:, None]
        kept = jnp.where(here, value, 0)
        low, high = jnp.where(here, value, jnp.inf), jnp.where(here, value, -jnp.inf)
        return cls(valid.astype(jnp.int32), kept, jnp.zeros_like(kept), low, high)

    @property
    def deviation(self) -> jax.Array:
        """Standard deviation over the steps, ``[batch, units]``."""
        return jnp.sqrt(self.m2 / jnp.maximum(self.count, 1)[..., None].astype(self.m2.dtype))

    def merged(self, other: Moments) -> Moments:
        """Those of the steps of both (Chan, Golub & LeVeque 1983)."""
        count, apart = self.count + other.count, other.mean - self.mean
        mine, theirs, both = (
            n[..., None].astype(apart.dtype) for n in (self.count, other.count, jnp.maximum(count, 1))
        )
        return Moments(
            count,
            self.mean + apart * theirs / both,
            self.m2 + other.m2 + apart**2 * mine * theirs / both,
            jnp.minimum(self.least, other.least),
            jnp.maximum(self.greatest, other.greatest),
        )


Records = str | Record | Sequence[str | Record]
"""What can be given as `record`: names, or `Record`s."""

Edits = Edit | Sequence[Edit] | None
"""What can be given as `edit`."""


def as_records(record: Records) -> tuple[Record, ...]:
    """What was given as `record`.

    Raises:
      InputError: a field twice.
    """
    given = (record,) if isinstance(record, str | Record) else tuple(record)
    records = tuple(Record(r) if isinstance(r, str) else r for r in given)
    fields = [r.field for r in records]
    if twice := [field for field in dict.fromkeys(fields) if fields.count(field) > 1]:
        raise InputError(f"'{twice[0]}' twice", "among what to record", "record it once")
    return records


def as_edits(edit: Any) -> tuple[Edit, ...]:
    """What was given as `edit`.

    Raises:
      InputError: something that is no edit.
    """
    edits: tuple[Any, ...] = (edit,) if isinstance(edit, Edit | str) else tuple(edit or ())
    for each in edits:
        if not isinstance(each, Edit) or each.kind not in EDITS:
            raise InputError(f"{each!r} as an edit", "in edit=", f"make it with one of rx.{', rx.'.join(MAKERS)}")
    return edits


@dataclasses.dataclass(frozen=True)
class Program:
    """The static half of a request: two equal programs on equal shapes share one compilation."""

    structure: Structure
    record: tuple[Record, ...] = ()
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
    values: tuple[jax.Array | None, ...] = ()
    """``[time, batch or 1, units or 1]`` for each edit whose value differs from step to step."""
    position: jax.Array | None = None
    """``[time]``: which step this is; for records that are no stack of all steps."""


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
    """Mask of units of each edit, and its value unless that differs from step to step."""


Kept = dict[str, "jax.Array | Moments"]
"""Records that are no stack of all steps, by field: strided values and statistics, as far as they are known."""


class Operands(NamedTuple):
    """The traced half of a request."""

    source: Source
    kernels: dict[str, jax.Array]
    constants: Constants
    state: State
    steps: Steps
    kept: Kept
    """What `keep` goes on from."""


class Result(NamedTuple):
    """What an executor gives: outputs ``[time, batch, units]``, the final state, and what was recorded, by name."""

    outputs: Outputs
    state: State
    recorded: dict[str, jax.Array]
    """Of the records of every step."""
    kept: Kept
    """Of the others."""


Product = Callable[[str, jax.Array, "jax.Array | None", State], dict[str, Field]]
"""How an executor multiplies: name, operand, mask of the operand, and the state that the step began with."""


def pack(gates: dict[str, jax.Array], widths: dict[str, int]) -> jax.Array:
    """The inverse of `split`."""
    parts = [gates[gate] for gate in widths]
    return parts[0] if len(parts) == 1 else jnp.concatenate(parts, axis=-1)


def matmul(cell: Cell, a: jax.Array, b: jax.Array) -> jax.Array:
    """``a @ b`` with operands in the cell's compute type, accumulated in the type of its state.

    The leading axes of ``a`` are taken as one: of several, XLA's gradient by ``b`` would transpose the whole result.
    """
    rows, columns = as_rows(a).astype(cell.dtype), b.astype(cell.dtype)
    return jnp.matmul(rows, columns, preferred_element_type=cell.state_dtype).reshape(*a.shape[:-1], b.shape[-1])


def as_rows(values: jax.Array) -> jax.Array:
    """The leading axes as one; the last may be of no width."""
    return values.reshape(math.prod(values.shape[:-1]), values.shape[-1])


def biased(x: jax.Array, bias: jax.Array | None) -> jax.Array:
    """``x + bias``, in the type of `x`; `x` itself where there is no bias."""
    return x if bias is None else x + jnp.expand_dims(bias.astype(x.dtype), range(x.ndim - 1))


def projected(cell: Cell, source: Source) -> Ready:
    """The source with the input part of every gate: numbers times the kernel, in one product for all their steps."""
    if isinstance(source, Lookup):
        return source
    return Projected(biased(matmul(cell, source.x, source.kernel), source.bias))


def input_items(source: Source | Ready) -> jax.Array:
    """What of the input is scanned over, with a leading axis of time."""
    return source.tokens if isinstance(source, Lookup) else source.x


def with_items(source: Source, items: jax.Array) -> Source:
    """The source of other steps."""
    return source._replace(tokens=items) if isinstance(source, Lookup) else source._replace(x=items)


def in_pieces(
    piece: Callable[[Any, Any], tuple[Any, Any]], carry: Any, items: Any, length: int, *, reverse: bool
) -> tuple[Any, Any]:
    """A scan over pieces of `length` steps, the last one shorter if they do not come out even.

    Args:
      piece: of the carry and the items of a piece, to the carry after it and what it gives for each step.
      carry: before the first piece.
      items: arrays with a leading axis of time.
      length: steps of a piece.
      reverse: whether the last step is the first to be processed.
    """
    time = jax.tree.leaves(items)[0].shape[0]
    edge = time % length
    start = edge if reverse else 0
    whole = jax.tree.map(lambda v: v[start : start + time - edge].reshape(-1, length, *v.shape[1:]), items)
    carry, found = jax.lax.scan(piece, carry, whole, reverse=reverse)
    found = jax.tree.map(lambda v: v.reshape(-1, *v.shape[2:]), found)
    if edge:
        rest = jax.tree.map(lambda v: v[:edge] if reverse else v[time - edge :], items)
        carry, last = piece(carry, rest)
        pair = (last, found) if reverse else (found, last)
        found = jax.tree.map(lambda *parts: jnp.concatenate(parts), *pair)
    return carry, found


def input_part(source: Ready, item: jax.Array) -> jax.Array:
    """The packed input part of the gates for one item (or for all of them)."""
    return item if isinstance(source, Projected) else source.rows[item]


def lookup_gradient(tokens: jax.Array, gradient: jax.Array, vocab: int) -> jax.Array:
    """Sum of `gradient` ``[..., width]`` over the places where each of `vocab` symbols stands: ``[vocab, width]``."""
    tokens, gradient = tokens.reshape(-1), as_rows(gradient)
    if vocab <= ONE_HOT_LIMIT:
        return jax.nn.one_hot(tokens, vocab, dtype=gradient.dtype, axis=0) @ gradient
    return jnp.zeros((vocab, gradient.shape[-1]), gradient.dtype).at[tokens].add(gradient)


EDITS: dict[str, Callable[[jax.Array, jax.Array], jax.Array]] = {
    "clamp": lambda value, number: number,
    "scale": lambda value, factor: factor * value,
    "add": lambda value, number: value + number,
    "noise": lambda value, drawn: value + drawn,
}
"""What each kind of edit does."""

MAKERS = ("clamp", "lesion", "scale", "add", "noise", "patch")
"""Names of the functions that make edits."""


def naming(
    records: Sequence[Record],
    edits: Sequence[tuple[str, str]],
    constant: Sequence[tuple[jax.Array | None, Any]],
    steps: Steps,
    seen: dict[str, jax.Array],
) -> At:
    """The verb `at`: applies edits, and puts what is to be recorded into `seen`.

    Args:
      records: what is to be recorded.
      edits: field and kind of each edit, in order.
      constant: mask of units of each edit, and its value unless that differs from step to step.
      steps: when each edit acts (shaped to broadcast with the named quantities), and the values that differ.
      seen: where named quantities are put.
    """
    recorded = {record.field for record in records}

    def at(name: str, value: jax.Array) -> jax.Array:
        for (field, kind), (units, number), when, here in zip(edits, constant, steps.edited, steps.values, strict=True):
            if field == name:
                number = jnp.broadcast_to(number if here is None else here, value.shape)
                where = [jnp.broadcast_to(mask, value.shape) for mask in (when, units) if mask is not None]
                changed = EDITS[kind](value, number).astype(value.dtype)
                value = jnp.where(reduce(jnp.logical_and, where, jnp.asarray(True)), changed, value)
        if name in recorded:
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
    recorded = [record.field for record in program.record]
    at = naming(program.record, program.edits, constants.edits, steps, seen)
    before = state
    if steps.reset is not None:
        before = _where(steps.reset, constants.initial, state)
    if steps.cut is not None:
        stopped = jax.lax.stop_gradient(before)
        before = {name: jnp.where(steps.cut, stopped[name], value) for name, value in before.items()}
    products = {f"input.{gate}": value for gate, value in x.items()}
    looked_at = (*recorded, *(field for field, _ in program.edits))
    sums = {gate: x[gate] for gate in cell.summed if f"pre.{gate}" in looked_at}
    missing = {gate: {name for name, fed in cell.products.items() if gate in fed} for gate in sums}
    # An edited sum comes to the cell as a product, and its input part as zero.
    changed = {gate for gate in sums if f"pre.{gate}" in dict(program.edits)}
    x = {gate: jnp.zeros_like(value) if gate in changed else value for gate, value in x.items()}

    def dot(name: str, operand: jax.Array) -> dict[str, jax.Array]:
        dropped = constants.recurrent_mask if name in RECURRENT_PRODUCTS else None
        gates = dict(product(name, operand, dropped, before))
        products.update({f"{name}.{gate}": value for gate, value in gates.items()})
        for gate in sums.keys() & gates:
            sums[gate] = sums[gate] + gates[gate]
            missing[gate].discard(name)
            whole = jnp.zeros_like(sums[gate]) if missing[gate] else at(f"pre.{gate}", sums[gate])
            gates[gate] = whole if gate in changed else gates[gate]
        return gates

    after = cell.step(constants.small, dict(before), x, dot, at)
    if steps.zone is not None:
        zone = steps.zone
        after = {name: jnp.where(zone[name], before[name], v) if name in zone else v for name, v in after.items()}
    if constants.zone_rate is not None:
        rate = constants.zone_rate
        after = {name: v + rate[name] * (before[name] - v) if name in rate else v for name, v in after.items()}
    seen.update({name: value for name, value in products.items() if name in recorded})
    if steps.mask is not None:
        seen = {name: jnp.where(steps.mask[:, None], value, 0) for name, value in seen.items()}
        after = _where(steps.mask, after, state)
    seen.update({name: after[name] for name in recorded if name in after})
    return after, jax.lax.stop_gradient(chosen(program.record, seen))


def chosen(records: Sequence[Record], seen: dict[str, jax.Array]) -> dict[str, jax.Array]:
    """The units that are recorded of each quantity."""
    units = {record.field: list(record.units) for record in records if record.units is not None}
    return {name: value[..., units[name]] if name in units else value for name, value in seen.items()}


def nothing_kept(records: Sequence[Record], widths: dict[str, int], time: int, batch: int, dtype: Any) -> Kept:
    """What `keep` starts from, for sequences of `time` steps."""
    kept: Kept = {}
    for record in records:
        units = widths[record.field] if record.units is None else len(record.units)
        nothing = jnp.zeros((batch, units), dtype)
        if record.statistics:
            kept[record.field] = Moments.of(nothing, jnp.zeros(batch, bool))
        elif record.stride > 1:  # its last row takes the steps between
            kept[record.field] = jnp.broadcast_to(nothing, (-(-time // record.stride) + 1, *nothing.shape))
    return kept


def keep(records: Sequence[Record], kept: Kept, seen: dict[str, jax.Array], steps: Steps) -> Kept:
    """Adds one step to what is kept of those records that are no stack of all steps."""
    found = dict(kept)
    for record in records:
        if record.every_step:
            continue
        assert steps.position is not None  # such a record comes with it
        value, so_far = seen[record.field], kept[record.field]
        at_stride = steps.position % record.stride == 0
        if isinstance(so_far, Moments):
            valid = jnp.ones(value.shape[0], bool) if steps.mask is None else steps.mask
            found[record.field] = so_far.merged(Moments.of(value.astype(so_far.mean.dtype), valid & at_stride))
        else:
            last = so_far.shape[0] - 1
            row = jnp.where(at_stride, steps.position // record.stride, last)
            found[record.field] = jax.lax.dynamic_update_index_in_dim(so_far, value.astype(so_far.dtype), row, 0)
    return found


def keep_all(records: Sequence[Record], kept: Kept, seen: dict[str, jax.Array], steps: Steps) -> Kept:
    """Adds all steps at once, their values being ``[time, batch, units]``."""
    rest = {record.field: seen[record.field] for record in records if not record.every_step}
    if not rest:
        return kept
    return jax.lax.scan(lambda kept, here: (keep(records, kept, *here), None), kept, (rest, steps))[0]


def stacked(records: Sequence[Record], seen: dict[str, jax.Array], states: Collection[str]) -> dict[str, jax.Array]:
    """What is recorded of every step, less those `states` that the executor stacks anyway."""
    wanted = [record for record in records if record.every_step]
    return {r.field: seen[r.field] for r in wanted if not (r.units is None and r.field in states)}


def with_states(
    records: Sequence[Record], found: dict[str, jax.Array], states: dict[str, Outputs]
) -> dict[str, jax.Array]:
    """What `stacked` left out, with what it did not."""
    wanted = [record.field for record in records if record.every_step]
    return {field: found[field] if field in found else jax.lax.stop_gradient(states[field]) for field in wanted}


def masked_outputs(hidden: Outputs, mask: StepMask | None) -> Outputs:
    """The outputs of a layer from its states ``[time, batch, units]``: zero at masked steps."""
    return hidden if mask is None else jnp.where(mask[..., None], hidden, 0)


def recordable(cell: Cell) -> dict[str, int]:
    """Everything that can be recorded, and its units: what can be edited, and the gates of each product."""
    products = {
        f"{name}.{gate}": width for name in ("input", *cell.products) for gate, width in cell.gate_widths(name).items()
    }
    return editable(cell) | products


def editable(cell: Cell) -> dict[str, int]:
    """Everything that can be edited, and its units: fields, state, and ``pre.GATE``.

    The last is the sum of a gate's input part and products, for the gates that use nothing but that sum. What a step
    adds to it itself (peepholes, the second bias of a GRU) is not in it.
    """
    fields = {name: cell.widths.get(name, cell.units) for name in (*cell.fields, *cell.state)}
    widths = cell.gate_widths("input")
    return fields | {f"pre.{gate}": widths[gate] for gate in cell.summed if gate in widths}


def _where(condition: RowMask, then: Any, otherwise: Any) -> Any:
    return jax.tree.map(lambda a, b: jnp.where(condition[:, None], a, b), then, otherwise)


def numbers_of(units: Any, size: int, where: str) -> np.ndarray:
    """Units by number, from numbers or a truth value for each.

    Raises:
      InputError: no units, or some that are not there.
    """
    found = np.atleast_1d(np.asarray(units))
    if found.dtype == bool and found.shape == (size,):
        found = np.flatnonzero(found)
    whole = found.dtype.kind in "iu" and found.ndim == 1
    wrong = [n for n in found.tolist() if not 0 <= n < size] if whole else [units]
    if wrong or not len(found):
        raise InputError(
            f"unit {wrong[0] if wrong else 'none'!r}",
            where,
            f"there are {size}: give whole numbers from 0 to {size - 1}",
        )
    return found


def selection(what: Any, size: int, axis: str) -> jax.Array | None:
    """A boolean mask of `size` from an index, indices, a slice or a mask; None stays None.

    Raises:
      InputError: an index beyond `size`, or a mask of another size.
    """
    if what is None:
        return None
    if isinstance(what, jax.Array) and what.dtype == bool:
        if what.shape != (size,):
            raise InputError(f"a mask of {axis} of shape {what.shape}", "in an edit", f"give one of shape ({size},)")
        return what
    mask = np.zeros(size, bool)
    try:
        mask[what if isinstance(what, slice) else np.asarray(what)] = True
    except jax.errors.TracerArrayConversionError:  # numbers of units that are known only in the program
        return jnp.zeros(size, bool).at[what].set(True)
    except IndexError as error:
        raise InputError(f"{axis} {what!r}", "in an edit", f"there are {size}, counted from 0") from error
    return jnp.asarray(mask)
