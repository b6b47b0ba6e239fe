"""The one driver over time: puts a request together, lets an executor compute it, and hands the result back."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from rnnjax.cells import Cell, Structure, Weights, lookup
from rnnjax.config import InputError
from rnnjax.executors import EXECUTORS, Plan, choose
from rnnjax.sequence import (
    Constants,
    Dense,
    Edit,
    Edits,
    Kept,
    Lookup,
    Moments,
    Operands,
    Program,
    Record,
    Records,
    Result,
    Steps,
    as_edits,
    as_records,
    biased,
    chosen,
    editable,
    in_pieces,
    input_items,
    keep_all,
    matmul,
    naming,
    nothing_kept,
    numbers_of,
    recordable,
    selection,
    with_items,
)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Unrolled:
    """What `unroll` gives.

    Attributes:
      outputs: ``[batch, time, units]`` (or time-major, if asked for); zero at masked steps. Two of them, forward and
        backward, from a bidirectional layer that does not merge.
      state: the state after the last valid step of each row, by field, each ``[batch, units]``.
      recorded: what was recorded, by name, laid out like `outputs`: index *t* is the value at input *t*, states being
        those after it. Masked steps show the carried state, and zero for everything else; `Moments` leave them out. No
        gradient flows through it.
      plan: which executor ran, and why the others did not; of several layers, pairs of name and plan.
    """

    outputs: Any
    state: dict[str, jax.Array]
    recorded: dict[str, Any]
    plan: Plan | tuple[tuple[str, Plan], ...] = dataclasses.field(metadata={"static": True})


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Embedded:
    """Symbols and what each is embedded as: an input whose product with the input kernel is a table lookup.

    Attributes:
      tokens: indices of symbols, ``[batch, time]``.
      table: ``[vocab, input]``.
    """

    tokens: jax.Array
    table: jax.Array


def unroll(
    cell: Cell,
    inputs: ArrayLike | Embedded,
    *,
    state: Mapping[str, ArrayLike] | None = None,
    lengths: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    reset: ArrayLike | None = None,
    initial: Mapping[str, ArrayLike] | None = None,
    reverse: bool = False,
    record: Records = (),
    edit: Edits = None,
    key: jax.Array | None = None,
    recurrent_dropout: Any = None,
    zoneout: Mapping[str, Any] | None = None,
    truncate: int | None = None,
    executor: str = "auto",
    remat: str | int | None = None,
    unroll: int = 1,
    time_major: bool = False,
) -> Unrolled:
    """Runs a cell over sequences.

    Args:
      cell: the cell, with its weights.
      inputs: ``[batch, time, input]``; or symbols by index ``[batch, time]``, standing for one-hot rows
        (the index ``input``, one past the last, for a row of zeros); or `Embedded`.

    Other arguments:
      state: the state before the first step, by field, each ``[batch, units]``; `initial` if None.
      lengths: valid steps of each row, ``[batch]``; steps beyond do not exist.
      mask: which steps exist, ``[batch, time]``. A step that does not exist carries the state through unchanged (a
        reset on it has no effect) and outputs zero. With `lengths`, both must hold.
      reset: rows that start anew before a step, ``[batch, time]``, in the order of processing (with `reverse`, that is
        after the step to the right).
      initial: what a reset returns a row to; zero if None.
      reverse: whether to go from the last step to the first. Outputs stay where their inputs are.
      record: what to record: names of quantities, or `Record`s of them. States and gates by name; gates of a product as
        `recurrent.i` or `input.i`, and their sum as `pre.i`; see `recordable`.
      edit: changes inside the loop; see `Edit`.
      key: randomness for dropout and zoneout; None means evaluation.
      recurrent_dropout: rate at which units of the recurrent operand are dropped, one mask for all steps (Gal &
        Ghahramani 2016). A number, which may be traced.
      zoneout: rate by field of the state at which units keep their old value (Krueger et al. 2017); in evaluation, the
        expectation.
      truncate: steps after which the gradient is cut (truncated backpropagation through time); the state goes on.
      executor: `auto`, or a name of `EXECUTORS`.
      remat: what the backward pass computes again to save memory: None (pointwise parts at most), `step` (products too,
        so that only states are stored), or a number of steps (whole segments, so that only states between them are).
      unroll: steps of the loop laid out side by side in the program.
      time_major: whether inputs, masks and results are ``[time, batch, ...]``.

    Returns:
      Outputs, final state, records and plan; see `Unrolled`. A row of length 0 returns its initial state and zeros.

    Raises:
      InputError: shapes that do not fit together, or a name that the cell does not have (or twice).
    """
    if not (remat is None or remat == "step" or (isinstance(remat, int) and remat >= 1)):
        raise InputError(f"remat={remat!r}", "in unroll", "give None, 'step', or a number of steps, at least 1")
    records, edits = as_records(record), as_edits(edit)
    table = inputs.table if isinstance(inputs, Embedded) else None
    values = inputs.tokens if isinstance(inputs, Embedded) else jnp.asarray(inputs)
    _check_inputs(cell, values, table)
    if not time_major:
        values = jnp.swapaxes(values, 0, 1)
        mask, reset = (None if v is None else jnp.swapaxes(v, 0, 1) for v in (mask, reset))
    time, batch = values.shape[:2]
    base = cell.initial_state(batch) if initial is None else _checked_state(cell, initial, batch)
    weights = cell.weights()
    program = Program(
        Structure(cell),
        records,
        tuple((e.field, e.kind) for e in edits),
        reverse,
        remat == "step",
        unroll,
    )
    widths = recordable(cell)
    _check_names(cell, records, edits, widths)
    valid = _valid(mask, lengths, time, batch)
    if valid is not None and values.ndim == 3:
        values = jnp.where(valid[..., None], values, 0)  # else 0 * nan, in the gradient of a step that does not exist
    asked = [_asked(e, time, batch, widths[e.field], cell.state_dtype, time_major) for e in edits]
    steps = Steps(
        mask=valid,
        reset=_checked_steps(reset, time, batch, "reset"),
        cut=None if truncate is None else _cuts(time, truncate, reverse),
        edited=tuple(e.when for e in asked),
        values=tuple(e.each for e in asked),
        position=None if all(r.every_step for r in records) else jnp.arange(time),
    )
    constants = Constants(weights.small, base, edits=tuple((e.units, e.value) for e in asked))
    constants, steps = _with_noise(cell, weights, constants, steps, key, recurrent_dropout, zoneout, time, batch)
    start = _checked_state(cell, state, batch) if state is not None else base
    kept = nothing_kept(records, widths, time, batch, cell.state_dtype)
    operands = Operands(_source(cell, weights, values, table), weights.kernels, constants, start, steps, kept)
    plan = choose(program, operands, executor)
    run = partial(EXECUTORS[plan.executor].run, program)
    if isinstance(remat, int) and remat < time:
        result = _in_segments(run, operands, remat, program.reverse)
    else:
        result = run(operands)
    recorded = _laid_out(result.recorded, result.kept, time_major)
    return Unrolled(result.outputs if time_major else jnp.swapaxes(result.outputs, 0, 1), result.state, recorded, plan)


def looked_at(
    name: str, values: jax.Array, records: Sequence[Record], edits: Sequence[Edit], valid: jax.Array | None = None
) -> tuple[jax.Array, dict[str, Any]]:
    """The verb `at` for all steps of a quantity that is computed outside any loop: edits it, and records it.

    Args:
      name: name of the quantity.
      values: ``[batch, time, units]``.
      records: what is recorded, of this quantity and others.
      edits: what is edited, of this quantity and others.
      valid: which steps exist, ``[batch, time]``; all if None.

    Returns:
      The values, edited; and what was recorded of them, by name.
    """
    records, edits = [r for r in records if r.field == name], [e for e in edits if e.field == name]
    if not (records or edits):
        return values, {}
    (batch, time, width), dtype = values.shape, values.dtype
    _check_units(records, {name: width})
    asked = [_asked(edit, time, batch, width, dtype, time_major=False) for edit in edits]
    steps = Steps(
        mask=None if valid is None else valid.T,
        edited=tuple(None if each.when is None else each.when[:, None, None] for each in asked),
        values=tuple(each.each for each in asked),
        position=jnp.arange(time),
    )
    seen: dict[str, jax.Array] = {}
    at = naming(records, [(e.field, e.kind) for e in edits], [(e.units, e.value) for e in asked], steps, seen)
    value = at(name, jnp.swapaxes(values, 0, 1))
    if steps.mask is not None:
        mask = steps.mask[..., None]
        seen = {name: jnp.where(mask, value, 0) for name, value in seen.items()}
    seen = jax.lax.stop_gradient(chosen(records, seen))
    kept = nothing_kept(records, {name: width}, time, batch, dtype)
    kept = keep_all(records, kept, seen, Steps(steps.mask, position=steps.position))
    found = {record.field: seen[record.field] for record in records if record.every_step}
    return jnp.swapaxes(value, 0, 1) if edits else values, _laid_out(found, kept, time_major=False)


def _laid_out(recorded: dict[str, jax.Array], kept: Kept, time_major: bool) -> dict[str, Any]:
    """All that was recorded; values with steps are batch-major if not `time_major`."""
    arrays = {**recorded, **{name: value[:-1] for name, value in kept.items() if not isinstance(value, Moments)}}
    moments = {name: value for name, value in kept.items() if isinstance(value, Moments)}
    return moments | (arrays if time_major else {name: jnp.swapaxes(v, 0, 1) for name, v in arrays.items()})


class _Asked(NamedTuple):
    """One edit as arrays: where and when it acts (None: all), and its value, constant or of each step."""

    units: jax.Array | None
    when: jax.Array | None
    value: jax.Array | None
    each: jax.Array | None


def _asked(edit: Edit, time: int, batch: int, width: int, dtype: Any, time_major: bool) -> _Asked:
    """Checks an edit and, if it is noise, draws it."""
    where = selection(edit.units, width, "units"), selection(edit.time, time, "time")
    value = jnp.asarray(edit.value, dtype)
    if edit.each_step:
        if value.ndim == 3 and not time_major:
            value = jnp.swapaxes(value, 0, 1)
        expected = (time, batch, width)
        value = value[:, None] if value.ndim == 2 else value
        fits = value.ndim == 3 and value.shape[0] == time
    else:
        expected = (batch, width)
        fits = value.ndim <= 2
    if not fits or any(a not in (1, b) for a, b in zip(value.shape[::-1], expected[::-1], strict=False)):
        layout = f"[time, units] or {'[time, batch, units]' if time_major else '[batch, time, units]'}"
        raise InputError(
            f"values of shape {jnp.shape(edit.value)}",
            f"in an edit of '{edit.field}'",
            f"give {layout if edit.each_step else 'what broadcasts with [batch, units]'}, "
            f"there being {batch} rows of {time} steps of {width} units",
        )
    if edit.kind == "noise":
        key = edit.key
        if key is None:
            raise InputError("noise without a key", f"in an edit of '{edit.field}'", "give key=jax.random.key(0)")
        draw = lambda t: jax.random.normal(jax.random.fold_in(key, t), (batch, width), dtype)  # noqa: E731
        return _Asked(*where, None, jnp.broadcast_to(value, (time, batch, width)) * jax.vmap(draw)(jnp.arange(time)))
    return _Asked(*where, None, value) if edit.each_step else _Asked(*where, value, None)


def _source(cell: Cell, weights: Weights, values: jax.Array, table: jax.Array | None) -> Dense | Lookup:
    """What makes the input part of every gate: numbers and the kernel, or a row a symbol where symbols are fewer."""
    kernel, bias = weights.input_kernel, weights.bias
    if table is not None:
        few = table.shape[0] <= values.size
        return Lookup(values, biased(matmul(cell, table, kernel), bias)) if few else Dense(table[values], kernel, bias)
    if jnp.issubdtype(values.dtype, jnp.integer):
        rows = jnp.pad(kernel.astype(cell.dtype).astype(cell.state_dtype), ((0, 1), (0, 0)))
        return Lookup(values, biased(rows, bias))  # the last row stands for no symbol
    return Dense(values, kernel, bias)


def _in_segments(run: Callable[[Operands], Result], operands: Operands, length: int, reverse: bool) -> Result:
    """Runs segments of `length` steps, storing for the backward pass only the states between them."""
    source = operands.source

    @jax.checkpoint
    def segment(carry, piece):
        (state, kept), (items, steps) = carry, piece
        part = with_items(source, items)
        result = run(operands._replace(source=part, state=state, steps=steps, kept=kept))
        return (result.state, result.kept), (result.outputs, result.recorded)

    items = (input_items(source), operands.steps)
    (state, kept), found = in_pieces(segment, (operands.state, operands.kept), items, length, reverse=reverse)
    return Result(found[0], state, found[1], kept)


def _cuts(time: int, truncate: int, reverse: bool) -> jax.Array:
    """Where the gradient is stopped: before every `truncate`-th step in the order of processing, the first excepted."""
    if truncate < 1:
        raise InputError(f"truncate={truncate}", "in unroll", "give the number of steps, at least 1")
    position = jnp.arange(time)
    position = position[::-1] if reverse else position
    return (position % truncate == 0) & (position > 0)


def _with_noise(
    cell: Cell,
    weights: Weights,
    constants: Constants,
    steps: Steps,
    key: jax.Array | None,
    dropout: Any,
    zoneout: Any,
    time: int,
    batch: int,
) -> tuple[Constants, Steps]:
    """Draws the masks of recurrent dropout and zoneout; without a key, zoneout acts by its expectation."""
    for field in zoneout or {}:
        lookup(cell.widths, field, f"state of {type(cell).__name__}")
    if key is None:
        rates = {field: jnp.asarray(rate, cell.state_dtype) for field, rate in (zoneout or {}).items()}
        return constants._replace(zone_rate=rates or None), steps
    dropout_key, zone_key = jax.random.split(key)
    if dropout is not None and "recurrent" in weights.kernels:
        shape = (batch, weights.kernels["recurrent"].shape[0])
        constants = constants._replace(recurrent_mask=dropout_mask(dropout_key, dropout, shape, cell.state_dtype))
    if zoneout:
        zone = {
            field: jax.random.bernoulli(jax.random.fold_in(zone_key, k), rate, (time, batch, cell.widths[field]))
            for k, (field, rate) in enumerate(sorted(zoneout.items()))
        }
        steps = steps._replace(zone=zone)
    return constants, steps


def dropout_mask(key: jax.Array, rate: Any, shape: tuple[int, ...], dtype: Any) -> jax.Array:
    """Zeros at `rate`, and elsewhere what keeps the mean at one. `rate` may be traced, and may be 0 or 1."""
    rate = jax.lax.stop_gradient(rate)  # else the gradient of the scaling alone, without that of the draw
    keep = jax.random.bernoulli(key, 1 - rate, shape)
    return jnp.where(keep, 1 / jnp.maximum(1 - rate, jnp.finfo(dtype).tiny), 0).astype(dtype)


def _valid(mask, lengths, time: int, batch: int) -> jax.Array | None:
    """The steps that exist, ``[time, batch]``."""
    mask = _checked_steps(mask, time, batch, "mask")
    if lengths is None:
        return mask
    lengths = jnp.asarray(lengths, jnp.int32)
    if lengths.shape != (batch,):
        raise InputError(f"lengths of shape {lengths.shape}", "in unroll", f"give one a row: ({batch},)")
    within = jnp.arange(time)[:, None] < lengths[None]
    return within if mask is None else mask & within


def _checked_steps(value, time: int, batch: int, name: str) -> jax.Array | None:
    if value is not None and value.shape != (time, batch):
        raise InputError(
            f"{name} for {value.shape[0]} steps of {value.shape[1:]} rows",
            "in unroll",
            f"inputs have {time} of {batch}",
        )
    return None if value is None else jnp.asarray(value, bool)


def _checked_state(cell: Cell, state: Mapping[str, ArrayLike], batch: int) -> dict[str, jax.Array]:
    expected = {field: (batch, width) for field, width in cell.widths.items()}
    found = {field: jnp.shape(value) for field, value in state.items()}
    if found != expected:
        raise InputError(f"a state of {found}", f"in unroll of {type(cell).__name__}", f"give {expected}")
    return {field: jnp.asarray(state[field], cell.state_dtype) for field in cell.state}


def _check_inputs(cell: Cell, values: jax.Array, table: jax.Array | None) -> None:
    symbols = jnp.issubdtype(values.dtype, jnp.integer)
    name = type(cell).__name__
    if values.ndim != (2 if symbols else 3):
        raise InputError(
            f"inputs of shape {values.shape} and type {values.dtype}",
            f"in unroll of {name}",
            "give numbers [batch, time, input], or symbols as integers [batch, time]",
        )
    width = cell.input if table is None and symbols else (values if table is None else table).shape[-1]
    if width != cell.input:
        raise InputError(f"inputs of {width} features", f"in unroll of {name}", f"this cell was made for {cell.input}")


def _check_names(cell: Cell, records: Sequence[Record], edits: Sequence[Edit], widths: Mapping[str, int]) -> None:
    wanted = [(record.field, widths) for record in records] + [(edit.field, editable(cell)) for edit in edits]
    for name, known in wanted:
        lookup(known, name, f"quantity of {type(cell).__name__}")
    _check_units(records, widths)


def _check_units(records: Sequence[Record], widths: Mapping[str, int]) -> None:
    for record in records:
        if record.units is not None:
            numbers_of(record.units, widths[record.field], f"in the record of '{record.field}'")
