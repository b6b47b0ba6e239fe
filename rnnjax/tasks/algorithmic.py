"""Sequences whose answer is known exactly, drawn from a key inside the program: parity, recall and reversal."""

from __future__ import annotations

import abc
import dataclasses
import math
import string
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax import config
from rnnjax.config import InputError
from rnnjax.tasks.base import Batch, Drawn, Table

SHOWN = 6  # examples in a printed table
END = "·"  # stands after the last letter of an answer


class Sequences(Drawn):
    """Symbols drawn uniformly, in sequences whose lengths are drawn uniformly too. A subclass writes `answered`.

    Args:
      alphabet: the symbols, a character each.
      train: shortest and longest sequence of training, in steps.
      validation: shortest and longest sequence of validation.
      epoch_steps: batches that count as an epoch.
      validation_steps: batches of a validation.

    Raises:
      InputError: a sequence of no step, or a shortest one that is longer than the longest.
    """

    symbols = True

    def __init__(
        self,
        alphabet: str,
        *,
        train: tuple[int, int],
        validation: tuple[int, int],
        epoch_steps: int,
        validation_steps: int,
    ):
        super().__init__(epoch_steps=epoch_steps, validation_steps=validation_steps)
        for shortest, longest in (train, validation):
            if not 1 <= shortest <= longest:
                raise InputError(
                    f"sequences of {shortest} to {longest} steps",
                    "in task.shortest and task.length",
                    "give at least 1, and the shortest no more than the longest",
                )
        self.alphabet, self.inputs = tuple(alphabet), len(alphabet)
        self.lengths = {"train": train, "validation": validation}
        self.length = train[1]

    @abc.abstractmethod
    def answered(self, symbols: jax.Array, lengths: jax.Array) -> tuple[jax.Array, jax.Array | None]:
        """The right answers, and which of them count (None: all).

        Args:
          symbols: ``[batch, time]``; those beyond a row's length mean nothing.
          lengths: valid steps of each row, ``[batch]``.
        """

    def sequences(self, key: jax.Array, lengths: jax.Array, longest: int) -> Batch:
        """A sequence of each of these `lengths` ``[batch]``, padded to `longest` steps."""
        symbols = jax.random.randint(key, (lengths.shape[0], longest), 0, self.inputs)
        targets, counts = self.answered(symbols, lengths)
        there = jnp.arange(longest)[None] < lengths[:, None]
        return Batch(jnp.where(there, symbols, self.inputs), targets, lengths=lengths, counts=counts)

    def drawn(self, key: jax.Array, split: str, size: int) -> Batch:
        """Sequences as long as those of a split; where all are as long, none has a length of its own."""
        shortest, longest = self.lengths[split]
        symbol_key, length_key = jax.random.split(key)
        found = self.sequences(symbol_key, jax.random.randint(length_key, (size,), shortest, longest + 1), longest)
        return found if shortest < longest else dataclasses.replace(found, lengths=None)

    def batch(self, key: jax.Array, size: int) -> Batch:
        """Sequences as in training."""
        return self.drawn(key, "train", size)

    def text(self, symbols: Any) -> str:
        """A sequence as text, without the steps that do not exist."""
        return "".join(self.alphabet[int(k)] for k in symbols if int(k) < self.inputs)

    def tables(self) -> list[Table]:
        """A few examples."""
        drawn = jax.jit(self.batch, static_argnums=1)(jax.random.key(0), SHOWN)
        answers = np.asarray(drawn.targets).reshape(SHOWN, -1)
        rows = [
            (self.text(row), self.decode(answer)) for row, answer in zip(np.asarray(drawn.inputs), answers, strict=True)
        ]
        return [Table("examples", ("sequence", "answer"), rows)]


class Parity(Sequences):
    """Whether a sequence of bits holds an odd number of ones, answered after the last: many to one.

    Every bit matters, and no bit says anything without all the others: a table of n bits has 2^n rows, a network with
    one bit of memory needs none (Minsky and Papert 1969; Hochreiter and Schmidhuber 1997 draw it at random lengths).

    Args:
      length: bits of the longest sequence of training.
      shortest: bits of the shortest.
      stretch: how many times as long as the longest of training all sequences of validation are.
      epoch_steps: batches that count as an epoch.
      validation_steps: batches of a validation.
    """

    read = "last"
    outputs = 2
    labels = ("even", "odd")

    def __init__(
        self,
        length: int = 20,
        *,
        shortest: int = 1,
        stretch: int = 2,
        epoch_steps: int = 100,
        validation_steps: int = 10,
    ):
        super().__init__(
            "01",
            train=(shortest, length),
            validation=(stretch * length, stretch * length),
            epoch_steps=epoch_steps,
            validation_steps=validation_steps,
        )

    def answered(self, symbols: jax.Array, lengths: jax.Array) -> tuple[jax.Array, None]:
        """1 where the count of ones is odd, ``[batch]``."""
        there = jnp.arange(symbols.shape[1])[None] < lengths[:, None]
        return jnp.sum(jnp.where(there, symbols, 0), axis=1) % 2, None

    def concepts(self, batch: Batch, *, written: bool = False) -> dict[str, np.ndarray]:
        """The bit, its place, how many ones there were so far, and whether that is odd."""
        ones = np.cumsum(np.asarray(batch.inputs) == 1, axis=1)
        so_far = {"odd so far": ones % 2 == 1, "ones so far": ones, "two bits in four": ones % 4 >= 2}
        return so_far | super().concepts(batch, written=written)

    def references(self) -> dict[str, float]:
        """The loss of a guess, in nats."""
        return {"a guess": math.log(2)}


class Recall(Sequences):
    """Which of three symbols was read first, answered after the last: the smallest problem that needs a memory.

    Args:
      length: steps of the longest sequence of training.
      shortest: steps of the shortest.
      stretch: how many times as long as the longest of training all sequences of validation are.
      epoch_steps: batches that count as an epoch.
      validation_steps: batches of a validation.
    """

    read = "last"
    outputs = 3
    labels = ("a", "b", "c")

    def __init__(
        self,
        length: int = 10,
        *,
        shortest: int = 1,
        stretch: int = 2,
        epoch_steps: int = 100,
        validation_steps: int = 10,
    ):
        super().__init__(
            "abc",
            train=(shortest, length),
            validation=(stretch * length, stretch * length),
            epoch_steps=epoch_steps,
            validation_steps=validation_steps,
        )

    def answered(self, symbols: jax.Array, lengths: jax.Array) -> tuple[jax.Array, None]:
        """The first symbol of each row, ``[batch]``."""
        return symbols[:, 0], None

    def concepts(self, batch: Batch, *, written: bool = False) -> dict[str, np.ndarray]:
        """The symbol, its place, and the first symbol of the row, which is the right answer."""
        tokens = np.asarray(batch.inputs)
        again = {"the first symbol again": (tokens == tokens[:, :1]) & (np.arange(tokens.shape[1]) > 0)[None]}
        return again | super().concepts(batch, written=written)

    def references(self) -> dict[str, float]:
        """The loss of a guess, in nats."""
        return {"a guess": math.log(3)}


class Reverse(Sequences):
    """A string of letters, to be written backwards: many to many of different lengths.

    Answers are padded with an end symbol; of those only the first counts.

    Args:
      length: letters of the longest string.
      shortest: letters of the shortest.
      letters: distinct letters, the first of the alphabet.
      epoch_steps: batches that count as an epoch.
      validation_steps: batches of a validation.

    Raises:
      InputError: a number of letters that the alphabet does not have.
    """

    read = "answer"

    def __init__(
        self,
        length: int = 6,
        *,
        shortest: int = 1,
        letters: int = 10,
        epoch_steps: int = 100,
        validation_steps: int = 10,
    ):
        if not 2 <= letters <= len(string.ascii_lowercase):
            raise InputError(f"strings of {letters} letters", "in task.letters", "give 2 to 26")
        super().__init__(
            string.ascii_lowercase[:letters],
            train=(shortest, length),
            validation=(shortest, length),
            epoch_steps=epoch_steps,
            validation_steps=validation_steps,
        )
        self.labels, self.outputs, self.answer_steps = (*self.alphabet, END), letters + 1, length + 1

    def answered(self, symbols: jax.Array, lengths: jax.Array) -> tuple[jax.Array, jax.Array]:
        """The letters from the last to the first, then end symbols; letters and one end count."""
        places = lengths[:, None] - 1 - jnp.arange(self.answer_steps)[None]
        letters = jnp.take_along_axis(symbols, jnp.maximum(places, 0), axis=1)
        return jnp.where(places >= 0, letters, self.inputs), places >= -1

    def concepts(self, batch: Batch, *, written: bool = False) -> dict[str, np.ndarray]:
        """The letter, its place, and of the answer how many letters are to come."""
        found = super().concepts(batch, written=written)
        if not written:
            return found
        length = np.asarray(batch.existing()).sum(axis=1)[:, None]
        place = np.arange(self.answer_steps)[None]
        return found | {
            "letters to come": np.maximum(length - 1 - place, 0),
            "length of the string": length + 0 * place,
        }

    def decode(self, indices: Any) -> str:
        """The letters up to the end symbol."""
        return "".join(self.labels[int(k)] for k in indices).partition(END)[0]

    def references(self) -> dict[str, float]:
        """The loss of a guess at a letter, in nats."""
        return {"a guess at a letter": math.log(self.inputs)}


@dataclasses.dataclass(frozen=True)
class ParityConfig:
    """Bits, to be counted modulo two."""

    kind: str = config.field("parity", "what the data is")
    length: int = config.field(20, "bits of the longest sequence of training", at_least=1)
    shortest: int = config.field(1, "bits of the shortest", at_least=1)
    stretch: int = config.field(2, "how many times as long all sequences of validation are", at_least=1)
    epoch_steps: int = config.field(100, "batches that count as an epoch", at_least=1)
    validation_steps: int = config.field(10, "batches of a validation", at_least=1)

    def build(self) -> Parity:
        """Makes the task."""
        return Parity(**{key: value for key, value in dataclasses.asdict(self).items() if key != "kind"})


@dataclasses.dataclass(frozen=True)
class RecallConfig:
    """Three symbols, the first of a sequence to be remembered."""

    kind: str = config.field("recall", "what the data is")
    length: int = config.field(10, "steps of the longest sequence of training", at_least=1)
    shortest: int = config.field(1, "steps of the shortest", at_least=1)
    stretch: int = config.field(2, "how many times as long all sequences of validation are", at_least=1)
    epoch_steps: int = config.field(100, "batches that count as an epoch", at_least=1)
    validation_steps: int = config.field(10, "batches of a validation", at_least=1)

    def build(self) -> Recall:
        """Makes the task."""
        return Recall(**{key: value for key, value in dataclasses.asdict(self).items() if key != "kind"})


@dataclasses.dataclass(frozen=True)
class ReverseConfig:
    """Strings of letters, to be written backwards."""

    kind: str = config.field("reverse", "what the data is")
    length: int = config.field(6, "letters of the longest string", at_least=1)
    shortest: int = config.field(1, "letters of the shortest", at_least=1)
    letters: int = config.field(10, "distinct letters", at_least=2, at_most=26)
    epoch_steps: int = config.field(100, "batches that count as an epoch", at_least=1)
    validation_steps: int = config.field(10, "batches of a validation", at_least=1)

    def build(self) -> Reverse:
        """Makes the task."""
        return Reverse(**{key: value for key, value in dataclasses.asdict(self).items() if key != "kind"})
