"""The contract of a task, and the losses that tasks share."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax.layers import existing
from rnnjax.sequence import ONE_HOT_LIMIT
from rnnjax.tasks import concepts


class Table(NamedTuple):
    """Something to be printed: a title, the heads of its columns, and its rows of printable cells."""

    title: str
    heads: Sequence[str]
    rows: Sequence[Sequence[Any]]

    def __str__(self) -> str:
        return "\n".join(aligned(self))


def aligned(table: Table) -> list[str]:
    """The lines of a table in columns: heads (unless all are empty), then rows; numbers stand on the right."""
    shown = [[str(cell) for cell in row] for row in ([table.heads] if any(table.heads) else []) + list(table.rows)]
    count = max((len(row) for row in shown), default=0)
    widths = [max(len(row[k]) for row in shown if k < len(row)) for k in range(count)]
    right = [
        bool(table.rows) and all(isinstance(row[k], int | float) for row in table.rows if k < len(row))
        for k in range(count)
    ]
    return [
        "  ".join(c.rjust(w) if r else c.ljust(w) for c, w, r in zip(row, widths, right, strict=False)).rstrip()
        for row in shown
    ]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Batch:
    """Examples for one step of training, batch-major.

    Attributes:
      inputs: symbols ``[batch, time]`` (the index one past the last symbol stands for none: a zero vector) or numbers
        ``[batch, time, input]``.
      targets: what is to be answered: symbols or classes ``[batch, time]`` or ``[batch]``, or numbers with a last axis
        of outputs. Where the model writes a sequence of its own: symbols ``[batch, answers]``.
      lengths: valid steps of each row, ``[batch]``.
      mask: which steps exist, ``[batch, time]``.
      reset: rows that start anew before a step, ``[batch, time]``.
      fresh: whether a carried state is to be forgotten before this batch, ``[]``.
      counts: which targets count, shaped like the answers; None: those of steps that exist.
    """

    inputs: jax.Array
    targets: jax.Array
    lengths: jax.Array | None = None
    mask: jax.Array | None = None
    reset: jax.Array | None = None
    fresh: jax.Array | None = None
    counts: jax.Array | None = None

    def valid(self) -> jax.Array:
        """Which targets count, ``[batch, time]`` or ``[batch]``."""
        if self.counts is not None:
            return self.counts
        rows = self.inputs.shape[0]
        if self.targets.ndim == 1 or (jnp.issubdtype(self.targets.dtype, jnp.floating) and self.targets.ndim == 2):
            return jnp.ones(rows, bool)
        return self.existing()

    def existing(self) -> jax.Array:
        """Which steps exist, ``[batch, time]``."""
        return existing(self.inputs.shape[:2], self.lengths, self.mask)


def printable(symbol: str) -> str:
    """A symbol as it can be seen: `␣` for the space, `⏎` for the newline."""
    return {" ": "␣", "\n": "⏎"}.get(symbol) or (symbol if symbol.isprintable() else repr(symbol))


class Task(abc.ABC):
    """Where batches come from.

    Attributes:
      inputs: symbols, or features of an input step.
      outputs: features of the readout.
      symbols: whether inputs are symbols by index.
      read: whether there is an answer at `every` step, after the `last`, or a sequence of its own, the `answer`.
      answers: `classes` (cross-entropy) or `numbers` (squared error).
      labels: names of classes or symbols, if there are any.
      alphabet: names of the input symbols, if there are any.
      length: steps of one example, the longest in training; 0: unknown.
      answer_steps: steps of the sequence that is written, where `read` is `answer`.
    """

    inputs: int
    outputs: int
    symbols: bool = False
    read: str = "every"
    answers: str = "classes"
    labels: tuple[str, ...] = ()
    alphabet: tuple[str, ...] = ()
    length: int = 0
    answer_steps: int = 0

    @abc.abstractmethod
    def data(self, split: str) -> Any:
        """The arrays behind `train` or `validation`, as NumPy; an empty tuple where nothing is stored, None if there is
        no such split."""

    @abc.abstractmethod
    def rows(self, split: str, size: int) -> int:
        """Rows of a batch, where `size` is asked for: fewer if a validation split is small."""

    @abc.abstractmethod
    def steps(self, split: str, size: int) -> int:
        """Batches of `size` rows in one epoch."""

    @abc.abstractmethod
    def order(self, key: jax.Array, split: str, size: int) -> Any:
        """The order of one epoch, in arrays, computed inside the program; `validation` has one for all keys."""

    @abc.abstractmethod
    def take(self, data: Any, order: Any, index: Any, split: str, size: int) -> Batch:
        """Batch number `index` of an epoch: inside the program from device arrays, or outside from NumPy arrays."""

    @abc.abstractmethod
    def batch(self, key: jax.Array, size: int) -> Batch:
        """A batch drawn by itself."""

    def shapes(self, split: str) -> int:
        """How many shapes its batches have; where there are several, it writes `shape_of` and `take_shaped` too."""
        return 1

    def shape_of(self, order: Any, index: Any) -> Any:
        """Which of its shapes batch number `index` of an epoch has."""
        return jnp.zeros((), jnp.int32)

    def take_shaped(self, data: Any, order: Any, index: Any, split: str, size: int, shape: int) -> Batch:
        """The batch as `take` gives it, which is known to have shape number `shape`."""
        return self.take(data, order, index, split, size)

    def probe(self, steps: int, rows: int = 1) -> Batch:
        """Held-out data to look at, or else training data: the same each time.

        Args:
          steps: steps in all, at least, if there are so many.
          rows: rows that a text is read in, side by side; elsewhere there are as many examples as it takes.
        """
        split = "train" if self.data("validation") is None else "validation"
        examples = -(-steps // max(1, self.length))
        size = self.rows(split, examples) if split == "validation" else examples
        order = self.order(jax.random.key(0), split, size)
        batch = self.take_shaped(self.data(split), order, 0, split, size, int(self.shape_of(order, 0)))
        return jax.tree.map(jnp.asarray, batch)

    def counted(self, batch: Batch) -> jax.Array:
        """Which answers to a batch count, shaped like the answers."""
        written = self.read == "answer" and batch.counts is None
        return jnp.ones(batch.targets.shape, bool) if written else batch.valid()

    def decode(self, indices: Any) -> str:
        """Classes or symbols as text."""
        return " ".join(self.labels[int(k)] for k in indices)

    def symbol(self, index: int) -> str:
        """An input symbol as it can be seen; empty for none."""
        return printable(self.alphabet[index]) if index < len(self.alphabet) else ""

    def concepts(self, batch: Batch, *, written: bool = False) -> dict[str, np.ndarray]:
        """What each step of a batch is, by name, ``[batch, steps]``: labels that units are scored by.

        Labels are yes or no, numbers, or classes as text; at steps that do not exist they mean nothing. To these (the
        symbol or the numbers that are read, the place in the example, and the right answer) a task adds what it knows.

        Args:
          batch: what is read, and the right answers.
          written: whether the steps are those of the answer that is written, not of what is read.
        """
        targets, answer = np.asarray(batch.targets), "answer"

        def name(index: int) -> str:
            return printable(self.labels[index])

        if written:
            exist = np.asarray(self.counted(batch))
            return concepts.of_places(exist.shape, "symbol") | concepts.of_symbols(targets, exist, name, "writes")
        exist = np.asarray(batch.existing())
        inputs = np.asarray(batch.inputs)
        found = {"position": concepts.since(batch.reset, exist.shape)}
        if self.symbols:
            found |= concepts.of_symbols(inputs, exist & (inputs < self.inputs), self.symbol, "reads")
        else:
            found |= concepts.of_numbers(inputs, "the value" if self.inputs == 1 else "input")
        if self.read == "answer":
            return found
        if self.read == "last":
            targets = np.broadcast_to(targets[:, None], (*exist.shape, *targets.shape[1:]))
        if self.answers == "numbers":
            return found | concepts.of_numbers(targets, answer)
        return found | concepts.of_symbols(targets, exist, name, answer)

    def references(self) -> dict[str, float]:
        """Losses to compare with, by name (such as an entropy), in the unit of the loss."""
        return {}

    def tables(self) -> list[Table]:
        """What of the data is worth printing."""
        return []

    @abc.abstractmethod
    def summary(self) -> dict[str, Any]:
        """Facts about the data that a person wants to see before training."""


DRAWN_AHEAD = 2**16  # numbers in the batches of an epoch that is drawn at once, for each member of a population


class Drawn(Task):
    """A task whose batches are drawn from a key: endless, and never stored. A subclass writes `batch`, and `drawn` if
    validation draws others.

    Args:
      epoch_steps: batches that count as an epoch.
      validation_steps: batches of a validation, drawn by keys of their own.
    """

    def __init__(self, *, epoch_steps: int = 100, validation_steps: int = 10):
        self.epoch_steps, self.validation_steps = epoch_steps, validation_steps

    def data(self, split: str) -> Any:
        """Nothing is stored."""
        return ()

    def rows(self, split: str, size: int) -> int:
        """As many as are asked for."""
        return size

    def steps(self, split: str, size: int) -> int:
        """As given when the task was made."""
        return self.epoch_steps if split == "train" else self.validation_steps

    def drawn(self, key: jax.Array, split: str, size: int) -> Batch:
        """A batch as the split has them."""
        return self.batch(key, size)

    def order(self, key: jax.Array, split: str, size: int) -> Any:
        """The key of the epoch (validation has one of its own, the same each time); or, of a short epoch, all of its
        batches, which are drawn at once in less time than one by one."""
        key = key if split == "train" else jax.random.fold_in(jax.random.key(0), 1)
        numbers = jnp.arange(self.steps(split, size))
        one = jax.eval_shape(lambda key: self.drawn(key, split, size), key)
        if numbers.size * sum(leaf.size for leaf in jax.tree.leaves(one)) > DRAWN_AHEAD:
            return key
        return jax.vmap(lambda index: self.drawn(jax.random.fold_in(key, index), split, size))(numbers)

    def take(self, data: Any, order: Any, index: Any, split: str, size: int) -> Batch:
        """The batch drawn by the epoch's key and the batch's number."""
        if isinstance(order, Batch):
            return jax.tree.map(lambda v: v[index], order)
        return self.drawn(jax.random.fold_in(order, index), split, size)

    def summary(self) -> dict[str, Any]:
        """Widths, and batches of an epoch."""
        return {"inputs": self.inputs, "outputs": self.outputs, "steps an epoch": self.epoch_steps}


def losses(task: Task, outputs: jax.Array, batch: Batch) -> tuple[jax.Array, jax.Array]:
    """Loss and correctness of every answer, each ``[batch, time]`` or ``[batch]``.

    Classes: cross-entropy in nats, and whether the likeliest class is the right one. Numbers: mean squared error over
    the last axis, and zero.
    """
    if task.answers == "numbers":
        error = jnp.mean(jnp.square(outputs - batch.targets), axis=-1)
        return error, jnp.zeros_like(error)
    logits = outputs.astype(jnp.promote_types(outputs.dtype, jnp.float32))
    targets = batch.targets.astype(jnp.int32)
    classes = logits.shape[-1]
    number = jax.lax.broadcasted_iota(jnp.int32, logits.shape, logits.ndim - 1)
    if classes <= ONE_HOT_LIMIT:
        chosen = jnp.sum(jnp.where(number == targets[..., None], logits, 0), axis=-1)
    else:
        chosen = jnp.take_along_axis(logits, targets[..., None], axis=-1)[..., 0]
    # The first of the greatest, as `argmax` gives it, which XLA on CPU does not vectorise.
    greatest = jnp.max(jax.lax.stop_gradient(logits), axis=-1, keepdims=True)
    likeliest = jnp.min(jnp.where(logits == greatest, number, classes), axis=-1)
    return jax.nn.logsumexp(logits, axis=-1) - chosen, likeliest == targets
