"""What each unit is needed for, and how far back a loss reaches: networks with a change inside the loop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from rnnjax.cells import lookup
from rnnjax.config import InputError
from rnnjax.sequence import Edit, add, lesion, numbers_of
from rnnjax.tasks.base import Batch, Table, Task, losses
from rnnjax.train import answer_sums

NUMBERS = 2**24  # at most in the outputs of the networks that run side by side
SIDE_BY_SIDE = 256  # rows of all networks together, beyond which a larger product is no faster
TARGETS = 16  # steps of a row whose loss is followed back


class Atlas(NamedTuple):
    """What each unit is needed for.

    Attributes:
      field: the quantity that was changed.
      units: numbers of its units that were changed, one at a time, ``[units]``.
      baseline: loss of the network as it is, in the unit of the loss.
      loss: loss with each unit changed, ``[units]``.
    """

    field: str
    units: np.ndarray
    baseline: float
    loss: np.ndarray

    @property
    def change(self) -> np.ndarray:
        """How much the loss grows with each unit changed, ``[units]``."""
        return self.loss - self.baseline

    def table(self) -> Table:
        """Every unit, the one that is missed most first."""
        order = np.argsort(-self.change, kind="stable")
        rows = [(int(self.units[k]), f"{self.loss[k]:.6f}", f"{self.change[k]:+.6f}") for k in order]
        return Table(f"lesions of {self.field}, loss without: {self.baseline:.6f}", ("unit", "loss", "change"), rows)


class Credit(NamedTuple):
    """How much of the loss of a step comes from the state so many steps before.

    Attributes:
      lags: steps before, from 0 on, ``[lags]``.
      mean: norm over units of the gradient of the loss of one step by the quantity so many steps before: the mean over
        steps and rows, ``[lags]``.
      low: their lower quartile, ``[lags]``.
      high: their upper quartile, ``[lags]``.
      count: pairs of steps, ``[lags]``.
    """

    lags: np.ndarray
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray
    count: np.ndarray

    def horizon(self, share: float = 0.95) -> int:
        """The least lag up to which this share of all the mean norms lies: where gradients may be cut."""
        reached = np.cumsum(self.mean) >= share * self.mean.sum() * (1 - 1e-12)
        return int(self.lags[reached.argmax()])


def lesion_atlas(
    model: Any,
    batches: Sequence[Batch],
    task: Task,
    field: str,
    *,
    units: Sequence[int] | None = None,
    group: int | None = None,
    edit: Callable[[str, jax.Array], Edit] = lesion,
) -> Atlas:
    """The loss with each unit changed in turn: many networks side by side in one compiled program.

    Weights are shared, so that the recurrent product of all networks is one, of so many times the rows.

    Args:
      model: the model, as trained.
      batches: what it is tried on.
      task: what the loss is.
      field: the quantity, such as `0.h`.
      units: which are changed, one at a time; all if None.
      group: networks side by side; by memory if None.
      edit: what is done to a unit, from the field and a boolean mask of units: `lesion` sets it to zero, another is
        ``lambda field, units: rx.scale(field, 0.5, units=units)``.

    Raises:
      InputError: a quantity or unit that is not there, or nothing to try it on.
    """
    where = "in interpret.lesion_atlas"
    width = lookup(model.recordable, field, "quantity", where)
    numbers = np.arange(width) if units is None else numbers_of(units, width, where)
    if not len(batches) or (group is not None and group < 1):
        what = "no batches" if not len(batches) else f"groups of {group}"
        raise InputError(what, where, "give a batch or more, and at least 1 network side by side")
    rows, steps = batches[0].inputs.shape[:2]
    most = max(1, NUMBERS // (rows * steps * max(width, task.outputs)))
    size = min(group or min(most, max(8, SIDE_BY_SIDE // rows)), len(numbers) + 1)
    masks = np.zeros((-(-(len(numbers) + 1) // size) * size, width), bool)  # the first changes nothing
    masks[1 + np.arange(len(numbers)), numbers] = True
    graph, variables = nnx.split(model)
    nats, answers = np.zeros(len(masks)), 0
    for batch in batches:
        for first in range(0, len(masks), size):
            part = slice(first, first + size)
            found, count = _changed(graph, task, field, edit, variables, batch, masks[part])
            nats[part] += np.asarray(found, np.float64)
        answers += int(count)
    loss = nats[: 1 + len(numbers)] / max(1, answers)
    return Atlas(field, numbers, float(loss[0]), loss[1:])


@partial(jax.jit, static_argnums=(0, 1, 2, 3))
def _changed(graph, task, field, edit, variables, batch, masks) -> tuple[jax.Array, jax.Array]:
    """Sum of the loss with each mask of units, ``[masks]``, and how many answers there are."""
    model = nnx.merge(graph, variables)

    def one(mask):
        prediction = model.unroll(batch.inputs, edit=edit(field, mask), **_reading(model, batch))
        return answer_sums(task, prediction, batch)[:2]

    nats, answers = jax.vmap(one)(masks)
    return nats, answers[0]


def credit(model: Any, batch: Batch, task: Task, field: str, *, targets: int = TARGETS) -> Credit:
    """How far back the loss reaches: its gradient, at one step, by a quantity at every step before it.

    The steps whose loss is followed back lie in the second half of each row, so that all can reach far.

    Args:
      model: the model.
      batch: what it reads; fed the right answers, where it writes.
      task: what the loss is.
      field: the quantity, such as `0.h`. Of an encoder, steps are counted from the answer back through the question.
      targets: steps of each row whose loss is followed back.

    Raises:
      InputError: a quantity that is not there.
    """
    lookup(model.recordable, field, "quantity", "in interpret.credit")
    if targets < 1:
        raise InputError(f"{targets} steps of each row", "in interpret.credit", "follow the loss of at least 1 back")
    graph, variables = nnx.split(model)
    counted = np.asarray(task.counted(batch))
    if counted.ndim == 1:  # read once, after the last step
        ends = np.asarray(batch.existing()).sum(axis=1) - 1
        places = np.where(counted, ends, -1)[None]
        weights = counted.astype(np.float32)[None]
    else:
        places = _places(counted, targets)
        weights = (places[..., None] == np.arange(counted.shape[1])).astype(np.float32)
    norms = np.asarray(_norms(graph, task, field, variables, batch, weights))  # [targets, rows, steps]
    at = np.arange(norms.shape[2])
    exist = np.ones(norms.shape[1:], bool)
    if norms.shape[2] == batch.inputs.shape[1] and not field.startswith("decoder"):
        exist = np.asarray(batch.existing())
    if field.startswith("encoder"):
        places = np.where(places >= 0, places + exist.sum(axis=1), -1)
    lag = places[..., None] - at
    kept = (places[..., None] >= 0) & (lag >= 0) & exist
    found = [norms[kept & (lag == k)] for k in range(int(lag[kept].max()) + 1)]
    lags = np.asarray([k for k, each in enumerate(found) if each.size])
    found = [found[k] for k in lags]
    low, high = (np.asarray([np.quantile(each, part) for each in found]) for part in (0.25, 0.75))
    mean, count = np.asarray([each.mean() for each in found]), np.asarray([each.size for each in found])
    return Credit(lags, mean, low, high, count)


def _places(counted: np.ndarray, targets: int) -> np.ndarray:
    """Steps of each row whose loss is followed back, ``[targets, rows]``; -1 for none."""
    rows = []
    for row in counted:
        steps = np.flatnonzero(row)
        later = steps[len(steps) // 2 :]
        chosen = later[np.unique(np.linspace(0, len(later) - 1, min(targets, len(later))).astype(int))]
        rows.append(np.pad(chosen, (0, targets - len(chosen)), constant_values=-1))
    return np.stack(rows, axis=1)


@partial(jax.jit, static_argnums=(0, 1, 2))
def _norms(graph, task, field, variables, batch, weights) -> jax.Array:
    """Norm over units of the gradient of weighted losses by a quantity, ``[weights, rows, steps]``."""
    model = nnx.merge(graph, variables)

    def run(**looked):
        return model.unroll(batch.inputs, **looked, **_reading(model, batch))

    shape = jax.eval_shape(lambda: run(record=(field,)).recorded[field])

    def each(zeros):
        return losses(task, run(edit=add(field, zeros, each_step=True)).outputs, batch)[0]

    back = jax.vjp(each, jnp.zeros(shape.shape, shape.dtype))[1]
    return jax.lax.map(lambda weight: jnp.linalg.norm(back(weight)[0], axis=-1), weights)


def _reading(model: Any, batch: Batch) -> dict[str, Any]:
    """How a model reads a batch; one that writes is fed the right answers."""
    read = {"lengths": batch.lengths, "mask": batch.mask, "reset": batch.reset}
    return read | ({"answers": batch.targets} if model.read == "answer" else {})
