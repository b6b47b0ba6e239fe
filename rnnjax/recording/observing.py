"""What models do on one batch: observed once, for every member of a population, or in training."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from rnnjax.config import InputError
from rnnjax.recording.labelled import Coded, Recording, of_steps, storable
from rnnjax.recording.moments import described, moment_rows, moments_of, pooled
from rnnjax.sequence import Edits, Moments, Record, Records, add, as_edits, as_records, numbers_of
from rnnjax.tasks.base import Batch, Task
from rnnjax.train import Member, Trainer, answer_sums

GRADIENT = "gradient."
"""What the name of a gradient begins with; the field that the loss is differentiated by follows."""


def observe(
    model: Any,
    batch: Batch,
    record: Records,
    *,
    task: Task | None = None,
    edit: Edits = None,
    state: Any = None,
    answers: Any = None,
    attributes: Mapping[str, Any] | None = None,
) -> Recording:
    """What a model does inside while it reads one batch.

    Args:
      model: a module with ``unroll(inputs, lengths=, mask=, reset=, state=, record=, edit=)``.
      batch: what it reads. Steps that do not exist are left out.
      record: names of fields (see `model.recordable`), or a `Record` each. ``gradient.FIELD`` is the gradient of the
        loss, summed over the batch, by the field at each step, all that follows from its value included.

    Other arguments:
      task: what the loss is, and what symbols are called; needed for gradients.
      edit: changes inside the loop.
      state: before the first step.
      answers: what an `EncoderDecoder` is fed back, ``[batch, answers]``; what it writes by itself if None. Gradients
        are those of training, which feeds back the right answers.
      attributes: what else the recording is to say of itself.

    Raises:
      InputError: a name that the model does not have, or a gradient without a task.
    """
    records = checked_records(record, task)
    graph, variables = nnx.split(model)
    loss_of = task if any(each.field.startswith(GRADIENT) for each in records) else None
    found, written = _observed(graph, records, loss_of, variables, batch, as_edits(edit), state, answers)
    return assembled(model.read, records, found, written, batch, task, (), attributes)


def observe_members(
    trainer: Trainer,
    members: Member,
    batch: Batch,
    record: Records,
    *,
    attributes: Mapping[str, Any] | None = None,
) -> Recording:
    """The same for every member of a population, side by side in one program: axes begin with `member`.

    Args:
      trainer: of the population.
      members: with a leading axis on every leaf; averaged weights are used if there are any.
      batch: what all of them read.
      record: as in `observe`.
      attributes: what else the recording is to say of itself.
    """
    records = checked_records(record, trainer.task)
    found, written = observed_members(trainer, records, members, batch)
    return assembled(trainer.task.read, records, found, written, batch, trainer.task, ("member",), attributes)


def _watched(graph, records, task, variables, batch, edits, state, answers) -> tuple[dict[str, Any], Any]:
    """What is recorded of one batch by field, and the answers that a decoder is fed; traced."""
    model = nnx.merge(graph, variables)
    read = {"lengths": batch.lengths, "mask": batch.mask, "reset": batch.reset, "state": state}
    slopes = tuple(each for each in records if each.field.startswith(GRADIENT))
    values = tuple(each for each in records if each not in slopes)
    found: dict[str, Any] = {}
    if slopes:
        told = {**read, "answers": batch.targets} if model.read == "answer" else read
        found = _gradients(model, batch, task, slopes, edits, told)
    if model.read == "answer":
        answers = model.write(batch.inputs, edit=edits, **read) if answers is None else answers
        read["answers"] = answers
    if values:
        found |= model.unroll(batch.inputs, record=values, edit=edits, **read).recorded
    return found, answers


def _gradients(model, batch, task, slopes, edits, read) -> dict[str, jax.Array]:
    """Gradient of the summed loss by fields at each step: that by zeros which are added to them."""
    names = {each.field.removeprefix(GRADIENT): each for each in slopes}
    inside = tuple(name for name in names if name != "probabilities")

    def run(edit, record=()):
        return model.unroll(batch.inputs, record=record, edit=edit, **read)

    recorded, outputs = jax.eval_shape(lambda: (run(edits, inside).recorded, run(edits).outputs))
    zeros = {name: jnp.zeros((recorded[name] if name in inside else outputs).shape, outputs.dtype) for name in names}

    def loss(added):
        prediction = run((*edits, *(add(name, added[name], each_step=True) for name in inside)))
        if "probabilities" not in added:
            return answer_sums(task, prediction, batch)[0]
        # The logarithm of what is no longer a distribution: its normaliser, which the loss subtracts, is put back.
        outputs = jnp.log(jax.nn.softmax(prediction.outputs) + added["probabilities"])
        normaliser = jnp.where(task.counted(batch), jax.nn.logsumexp(outputs, axis=-1), 0)
        return answer_sums(task, dataclasses.replace(prediction, outputs=outputs), batch)[0] - jnp.sum(normaliser)

    found = jax.grad(loss)(zeros)
    kept = {}
    for name, each in names.items():
        value = found[name] if found[name].ndim == 3 else found[name][:, None]
        value = value[:, :: each.stride]
        if each.units is not None:
            value = value[..., jnp.asarray(numbers_of(each.units, value.shape[-1], f"in the record of '{each.field}'"))]
        kept[each.field] = value
    return kept


_watched_compiled = jax.jit(_watched, static_argnums=(0, 1, 2))


def _observed(graph, records, task, variables, batch, edits, state, answers) -> tuple[dict[str, Any], Any]:
    """As `_watched`, compiled: once for equal requests, unless there are edits, which are part of the program."""
    if not edits:
        return _watched_compiled(graph, records, task, variables, batch, (), state, answers)
    looked = jax.jit(lambda *values: _watched(graph, records, task, values[0], values[1], edits, *values[2:]))
    return looked(variables, batch, state, answers)


def _of_member(trainer, records, member, batch) -> tuple[dict[str, Any], Any]:
    params = member.params if member.average is None else member.average
    graph, variables = nnx.split(trainer.model(params, member.fixed))
    return _watched(graph, records, trainer.task, variables, batch, (), None, None)


observed_member = jax.jit(_of_member, static_argnums=(0, 1))
"""What is recorded of a member of a trainer on a batch, and the answers that a decoder is fed; compiled."""


@partial(jax.jit, static_argnums=(0, 1))
def observed_members(trainer, records, members, batch):
    """The same of members side by side, with a leading axis."""
    return jax.vmap(lambda member: _of_member(trainer, records, member, batch))(members)


def checked_records(record: Records, task: Task | None) -> tuple[Record, ...]:
    """What is asked for, checked as far as it can be without the model."""
    records = as_records(record)
    if not records:
        raise InputError("nothing to record", "in record", "name at least one field, such as 0.h")
    gradient = next((each.field for each in records if each.field.startswith(GRADIENT)), None)
    if gradient and task is None:
        raise InputError(f"'{gradient}' without a loss", "in record", "use observe, and give task=")
    if task is not None and task.answers == "numbers":
        bad = next((e.field for e in records if e.field.removeprefix(GRADIENT) == "probabilities"), None)
        if bad:
            raise InputError(f"'{bad}' of a model that answers numbers", "in record", "record logits")
    return records


def assembled(
    read: str,
    records: tuple[Record, ...],
    found: Mapping[str, Any],
    written: Any,
    batch: Batch,
    task: Task | None,
    lead: tuple[str, ...],
    attributes: Mapping[str, Any] | None,
) -> Recording:
    """A recording of what a program gave: rows joined without the steps that do not exist."""
    sides = {"": _input_steps(batch, task)}
    rows, first = np.arange(batch.inputs.shape[0]), sides[""].example[:, 0]
    values: dict[str, np.ndarray] = {}
    side_of: dict[Record, str] = {}
    for each in records:
        array = found[each.field]
        if isinstance(array, Moments):
            continue
        array = np.asarray(array)
        array = array if array.ndim == len(lead) + 3 else array[..., None, :]
        field, steps = each.field.removeprefix(GRADIENT), array.shape[-2]
        of_answers = read == "answer" and not field.startswith("encoder.")
        at_once = read == "last" and steps != -(-batch.inputs.shape[1] // each.stride)
        side_of[each] = "answer_" if of_answers or at_once else ""
        values[each.field] = array
        if side_of[each] and "answer_" not in sides:
            length = written.shape[-1] if of_answers and written is not None else steps
            shape = (len(rows), length)
            sides["answer_"] = _Steps(
                np.ones(shape, bool),
                np.broadcast_to(first[:, None], shape),
                np.broadcast_to(np.arange(length), shape),
                *_answer_symbols(written, task, lead),
            )
    axes = step_axes({each: side for each, side in side_of.items() if not each.statistics})
    arrays: dict[str, np.ndarray] = {}
    dims: dict[str, tuple[str, ...]] = {}
    coords: dict[str, Any] = {}
    for each in records:
        array = values.get(each.field)
        if array is not None:
            steps = sides[side_of[each]].strided(each.stride)
            array = array[(slice(None),) * len(lead) + (steps.exist,)]
            if not each.statistics:
                axis = axes[each]
                dims[each.field] = (*lead, axis, "units")
                arrays[each.field] = storable(array)
                coords |= {of_steps(axis, name): value for name, value in steps.coordinates().items()}
                continue
            parts = moments_of(array)
        else:
            parts = moment_rows(found[each.field])
        dims[each.field] = (*lead, "statistic", "units")
        arrays[each.field] = described(pooled(parts))
    units = {each.field: unit_numbers(each, arrays[each.field].shape[-1]) for each in records}
    facts = {**(attributes or {}), **strides_of(records)}
    return Recording.of(arrays, dims=dims, units=units, coords=coords, attributes=facts)


class _Steps(NamedTuple):
    """What is known of the steps of a batch, each ``[batch, steps]``.

    Attributes:
      exist: whether there is such a step.
      example: its example, counted through the batch.
      time: its place within the example.
      codes: its symbol, if there are symbols.
      labels: names of the symbols, if they have names.
    """

    exist: np.ndarray
    example: np.ndarray
    time: np.ndarray
    codes: np.ndarray | None = None
    labels: tuple[str, ...] | None = None

    def strided(self, stride: int) -> _Steps:
        """Those at positions 0, stride, 2 stride, ..."""
        if stride == 1:
            return self
        codes = None if self.codes is None else self.codes[:, ::stride]
        exist, example, time = (each[:, ::stride] for each in (self.exist, self.example, self.time))
        return _Steps(exist, example, time, codes, self.labels)

    def coordinates(self) -> dict[str, Any]:
        """Example, time and symbol of the steps that exist."""
        found = {"example": self.example[self.exist], "time": self.time[self.exist]}
        found = {name: each.astype(np.int32) for name, each in found.items()}
        if self.codes is None:
            return found
        codes = self.codes[self.exist]
        return found | {"symbol": codes if self.labels is None else Coded(codes, self.labels)}


def _input_steps(batch: Batch, task: Task | None) -> _Steps:
    """The steps that are read. A reset begins another example."""
    exist = np.asarray(batch.existing())
    begins = exist & (False if batch.reset is None else np.asarray(batch.reset))
    part = np.cumsum(begins, axis=1)
    first = np.take_along_axis(part, exist.argmax(axis=1)[:, None], axis=1)
    part = np.maximum(part - first, 0)  # the first step that exists begins an example, with or without a reset
    rows = np.concatenate([[0], np.cumsum(part.max(axis=1, initial=0) + 1)[:-1]])
    count = np.cumsum(exist, axis=1) - 1
    start = np.maximum.accumulate(np.where(begins, count, 0), axis=1)
    symbols = symbol_codes(np.asarray(batch.inputs), task.alphabet if task is not None and task.symbols else None)
    return _Steps(exist, part + rows[:, None], count - start, *symbols)


def symbol_codes(inputs: np.ndarray, labels: Sequence[str] | None) -> tuple[np.ndarray | None, tuple[str, ...] | None]:
    """Symbols by index, and their names; beyond the last, the empty text. None of inputs that are numbers."""
    if not np.issubdtype(inputs.dtype, np.integer):
        return None, None
    if not labels:
        return inputs.astype(np.int32), None
    return np.minimum(inputs, len(labels)).astype(np.int32), (*labels, "")


def _answer_symbols(written: Any, task: Task | None, lead: tuple[str, ...]) -> tuple[Any, Any]:
    """The symbols that a decoder is fed back; members write what they like, each for itself."""
    if written is None or lead:
        return None, None
    return symbol_codes(np.asarray(written), None if task is None else task.labels)


def strides_of(records: Sequence[Record]) -> dict[str, Any]:
    """What a recording says of its strides, where not every step is kept."""
    strides = {each.field: each.stride for each in records if each.stride > 1}
    return {"stride": strides} if strides else {}


def unit_numbers(record: Record, width: int) -> np.ndarray:
    """Numbers of the `width` units that a record keeps."""
    return np.asarray(range(width) if record.units is None else record.units, np.int32)


def step_axes(sides: Mapping[Record, str]) -> dict[Record, str]:
    """The axis of each record's steps: `step` has the shortest stride, others say theirs."""
    least = {side: min(each.stride for each in sides if sides[each] == side) for side in sides.values()}
    return {
        each: f"{side}step" + (f"_by_{each.stride}" if each.stride > least[side] else "")
        for each, side in sides.items()
    }
