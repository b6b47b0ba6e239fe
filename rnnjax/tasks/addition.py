"""Sums written as text: the question is read symbol by symbol, and the answer is written in digits."""

from __future__ import annotations

import dataclasses
import math
import re
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax import config
from rnnjax.config import InputError
from rnnjax.tasks import concepts
from rnnjax.tasks.base import Batch, Drawn, Table

EXAMPLES = 5  # shown of the data
THRESHOLDS = 20  # of the sum that are concepts, at most
EDGE = 0.1  # share of the sums on either side of such a threshold, at least


@dataclasses.dataclass(frozen=True)
class AdditionConfig:
    """Sums such as ` 7+10`, and their answers."""

    kind: str = config.field("addition", "what the data is")
    smallest: int = config.field(1, "smallest number", at_least=0)
    largest: int = config.field(10, "largest number", at_least=1, at_most=999_999)
    terms: int = config.field(2, "numbers of a sum", at_least=2, at_most=10)
    fewest_terms: int = config.field(0, "the fewest in training; 0: always as many as terms", at_least=0)
    operations: Literal["+", "-", "+-"] = config.field("+", "what stands between numbers, each drawn by itself")
    held_out_largest: int = config.field(
        0,
        "validation draws numbers above largest, up to this one; 0: the same as training",
        at_least=0,
        at_most=999_999,
    )
    held_out_terms: int = config.field(
        0, "validation draws sums of this many numbers; 0: as many as terms", at_least=0, at_most=10
    )
    epoch_steps: int = config.field(100, "batches that count as an epoch", at_least=1)
    validation_steps: int = config.field(100, "batches of a validation", at_least=1)

    def build(self) -> Addition:
        """Makes the task.

        Raises:
          InputError: numbers that leave nothing to draw.
        """
        return Addition(**{key: value for key, value in dataclasses.asdict(self).items() if key != "kind"})


class Addition(Drawn):
    """Sums of whole numbers as text, drawn anew for every batch.

    Question and answer are padded with spaces on the left to the widths of the longest there are. The alphabet is the
    ten digits, then the operations, the sign of a negative answer, and the space; each digit is its own index.

    Args:
      smallest: smallest number.
      largest: largest number.
      terms: numbers of a sum.
      fewest_terms: the fewest of a sum in training, where its terms are drawn too; 0: always `terms`.
      operations: `+`, `-` or both, each drawn by itself.
      held_out_largest: where it is not 0, every number of a validation is above `largest` and at most this one: none
        was ever seen.
      held_out_terms: where it is not 0, the numbers of a sum in validation.
      epoch_steps: batches that count as an epoch.
      validation_steps: batches of a validation: the same ones each time. Questions are drawn there as in training
        unless something is held out, so that few questions (100 of two numbers up to 10) are all seen in training.

    Raises:
      InputError: numbers that leave nothing to draw.
    """

    symbols = True
    read = "answer"

    def __init__(
        self,
        *,
        smallest: int = 1,
        largest: int = 10,
        terms: int = 2,
        fewest_terms: int = 0,
        operations: str = "+",
        held_out_largest: int = 0,
        held_out_terms: int = 0,
        epoch_steps: int = 100,
        validation_steps: int = 100,
    ):
        super().__init__(epoch_steps=epoch_steps, validation_steps=validation_steps)
        if smallest > largest:
            raise InputError(
                f"numbers from {smallest} to {largest}",
                "in task.smallest",
                f"give {largest} or less, or a task.largest",
            )
        if 0 < held_out_largest <= largest:
            raise InputError(
                f"held-out numbers up to {held_out_largest}, all of which training draws",
                "in task.held_out_largest",
                f"give more than {largest}, or 0",
            )
        if fewest_terms > terms or fewest_terms == 1 or held_out_terms == 1:
            place = "held_out_terms" if held_out_terms == 1 else "fewest_terms"
            raise InputError(
                "a sum of one number, or of fewer at most than at least",
                f"in task.{place}",
                f"give 0, or 2 to {terms}" if place == "fewest_terms" else "give 0, or 2 and more",
            )
        if operations not in ("+", "-", "+-"):
            raise InputError(f"operations '{operations}'", "in task.operations", "give +, - or +-")
        self.smallest, self.largest, self.operations = smallest, largest, operations
        self.terms, self.fewest_terms = terms, fewest_terms or terms
        self.held_out_largest, self.held_out_terms = held_out_largest, held_out_terms
        most, greatest = max(terms, held_out_terms), max(largest, held_out_largest)
        least = smallest if operations == "+" else smallest - (most - 1) * greatest
        highest = greatest - smallest if operations == "-" else most * greatest
        signs = operations + ("-" if least < 0 and "-" not in operations else "")
        self.labels = self.alphabet = (*"0123456789", *signs, " ")
        self.inputs = self.outputs = len(self.labels)
        self.blank = self.inputs - 1
        self.digits = len(str(greatest))
        self.length = most * self.digits + most - 1
        self.answer_steps = max(len(str(least)), len(str(highest)))

    def batch(self, key: jax.Array, size: int) -> Batch:
        """Sums as training draws them."""
        return self.write(*self.draw(key, size, "train"))

    def drawn(self, key: jax.Array, split: str, size: int) -> Batch:
        """Sums as the split has them."""
        return self.write(*self.draw(key, size, split))

    def draw(self, key: jax.Array, size: int, split: str) -> tuple[jax.Array, jax.Array]:
        """Numbers to add, and their signs.

        Args:
          key: what they are drawn by.
          size: sums.
          split: `train`, or `validation`, where numbers and terms may be others.

        Returns:
          Numbers ``[size, terms]``; and signs of the same shape: 1, -1, or 0 for a term that is not there.
        """
        number_key, sign_key, term_key = jax.random.split(key, 3)
        low, high, least, most = self.smallest, self.largest, self.fewest_terms, self.terms
        if split == "validation":
            if self.held_out_largest:
                low, high = self.largest + 1, self.held_out_largest
            if self.held_out_terms:
                least = most = self.held_out_terms
        numbers = jax.random.randint(number_key, (size, most), low, high + 1)
        place = jnp.arange(most)[None]
        if self.operations == "+-":
            signs = jnp.where(place > 0, jax.random.rademacher(sign_key, (size, most), jnp.int32), 1)
        else:
            signs = jnp.where((place > 0) & (self.operations == "-"), -1, jnp.ones_like(numbers))
        if least < most:
            signs = jnp.where(place < jax.random.randint(term_key, (size, 1), least, most + 1), signs, 0)
        return numbers, signs

    def write(self, numbers: jax.Array, signs: jax.Array | None = None) -> Batch:
        """Sums as symbols.

        Args:
          numbers: ``[batch, terms]``, none below 0.
          signs: of the same shape, as `draw` gives them; None: all are added.
        """
        signs = jnp.ones_like(numbers) if signs is None else signs
        parts = []
        for k in range(numbers.shape[1]):
            sign, there = signs[:, k, None], signs[:, k, None] != 0
            if k:
                parts.append(jnp.where(there, self._sign(sign), self.blank))
            parts.append(jnp.where(there, self._digits(numbers[:, k], self.digits), self.blank))
        total = jnp.sum(numbers * signs, axis=1)
        minus = jnp.where(total < 0, self._sign(total), self.blank)[:, None]
        answer = jnp.concatenate([minus, self._digits(jnp.abs(total), self.answer_steps)], axis=1)
        targets = self._justify(answer, self.answer_steps)
        return Batch(
            self._justify(jnp.concatenate(parts, axis=1), self.length), targets, counts=jnp.ones(targets.shape, bool)
        )

    def terms_of(self, batch: Batch) -> np.ndarray:
        """The numbers of each question with their signs, ``[batch, terms]``, zero for a term that is not there."""
        rows = [list(map(int, re.findall(r"[+-]?\d+", self.decode(row)))) for row in np.asarray(batch.inputs)]
        longest = max(map(len, rows))
        return np.asarray([row + [0] * (longest - len(row)) for row in rows])

    def concepts(self, batch: Batch, *, written: bool = False) -> dict[str, np.ndarray]:
        """Of the answer: places, thresholds of the sum (alone, at each digit, and in steps), carries, and the digit; of
        the question: its symbols, places, numbers, and the number and sum as they are read."""
        numbers = self.terms_of(batch)
        return self._of_answer(batch, numbers) if written else self._of_question(batch, numbers)

    def _of_answer(self, batch: Batch, numbers: np.ndarray) -> dict[str, np.ndarray]:
        digits = np.asarray(batch.targets)
        shape = digits.shape
        total = np.broadcast_to(numbers.sum(axis=1)[:, None], shape)
        place = np.broadcast_to(np.arange(shape[1])[None], shape)
        names = [concepts.ORDINALS[k] if k < len(concepts.ORDINALS) else f"{k + 1}th" for k in range(shape[1])]
        found: dict[str, np.ndarray] = {f"every {name} digit": place == k for k, name in enumerate(names)}
        found |= {"the sum": total, "the value of the digit": np.where(digits < 10, digits, 0)}
        if self.operations == "+":
            places = [10**k for k in range(shape[1], -1, -1)]
            carries = np.stack([(numbers % each).sum(axis=1) >= each for each in places], axis=1)
            found |= {"a carry comes in": carries[:, 1:], "a carry goes out": carries[:, :-1]}
            found["the ones carry"] = np.broadcast_to(carries[:, -2:-1], shape)
        found |= concepts.of_symbols(digits, np.ones(shape, bool), self.symbol, "writes")
        cuts = np.unique(total)
        cuts = cuts[[EDGE <= np.mean(total <= cut) <= 1 - EDGE for cut in cuts]]
        if len(cuts) > THRESHOLDS:
            cuts = np.unique(np.quantile(total, np.linspace(EDGE, 1 - EDGE, THRESHOLDS)).astype(int))
        found |= {f"sum over {cut}": total > cut for cut in cuts.tolist()}
        sides = {f"over {cut}": total > cut for cut in cuts.tolist()}
        sides |= {f"under {cut + 1}": total <= cut for cut in cuts.tolist()}
        pairs = [(k, name, side, holds) for side, holds in sides.items() for k, name in enumerate(names)]
        found |= {f"{name} digit when the sum is {side}": holds & (place == k) for k, name, side, holds in pairs}
        return found | {
            f"sum {side}, and more at the {name} digit": holds * (1 + (place == k)) for k, name, side, holds in pairs
        }

    def _of_question(self, batch: Batch, numbers: np.ndarray) -> dict[str, np.ndarray]:
        tokens = np.asarray(batch.inputs)
        number, term, total = (np.zeros(tokens.shape, np.int64) for _ in range(3))
        for k, row in enumerate(tokens):
            before, value, sign, seen = 0, 0, 1, 0
            for step, token in enumerate(row):
                if token < 10:
                    seen += step == 0 or row[step - 1] >= 10
                    value = 10 * value + int(token)
                elif token != self.blank:
                    before, value, sign = before + sign * value, 0, -1 if self.labels[token] == "-" else 1
                number[k, step], term[k, step], total[k, step] = value, seen, before + sign * value
        found = {
            "digit": tokens < 10,
            "the number so far": number,
            "the sum so far": total,
            "numbers begun": term,
            "the value of the digit": np.where(tokens < 10, tokens, 0),
        }
        found |= {f"number {k + 1}": np.broadcast_to(each[:, None], tokens.shape) for k, each in enumerate(numbers.T)}
        return found | super().concepts(Batch(batch.inputs, batch.targets))

    def _sign(self, value: jax.Array) -> jax.Array:
        """The symbol of a number's sign."""
        plus, minus = (self.labels.index(s) if s in self.labels else self.blank for s in "+-")
        return jnp.where(value < 0, minus, plus)

    def _digits(self, value: jax.Array, width: int) -> jax.Array:
        """Numbers ``[batch]`` as symbols ``[batch, width]``, with spaces for leading zeros."""
        places = 10 ** jnp.arange(width - 1, -1, -1)[None]
        leading = (value[:, None] < places) & (places > 1)
        return jnp.where(leading, self.blank, value[:, None] // places % 10)

    def _justify(self, text: jax.Array, width: int) -> jax.Array:
        """Rows of symbols, all their spaces moved or added to the left: ``[batch, width]``."""
        text = jnp.take_along_axis(text, jnp.argsort(text != self.blank, axis=1, stable=True), axis=1)
        missing = max(0, width - text.shape[1])
        return jnp.pad(text, ((0, 0), (missing, 0)), constant_values=self.blank)[:, -width:].astype(jnp.int32)

    def decode(self, indices: Any) -> str:
        """Symbols as text."""
        return "".join(self.labels[int(k)] for k in indices)

    def references(self) -> dict[str, float]:
        """The entropy of the answers in training, in nats a symbol: the loss where the question is not read."""
        shares: dict[int, float] = {}
        span = self.largest - self.smallest + 1
        for terms in range(self.fewest_terms, self.terms + 1):
            lowest, found = self.smallest, np.full(span, 1 / span)
            for _ in range(terms - 1):
                lowest, found = self._with_term(lowest, found, span)
            for k, share in enumerate(found):
                shares[lowest + k] = shares.get(lowest + k, 0.0) + share / (self.terms - self.fewest_terms + 1)
        entropy = -sum(share * math.log(share) for share in shares.values() if share > 0)
        return {"entropy of the answers": float(entropy) / self.answer_steps}

    def _with_term(self, lowest: int, shares: np.ndarray, span: int) -> tuple[int, np.ndarray]:
        """The distribution of a sum with one term more: its lowest value, and shares from there on."""
        sums = np.cumsum(np.pad(shares, (0, span - 1)))
        sums[span:] -= sums[:-span].copy()
        moved = sums / span  # by a number from 0 to span - 1
        after = {"+": lowest + self.smallest, "-": lowest - self.largest}
        start = min(after[operation] for operation in self.operations)
        end = max(after[operation] for operation in self.operations) + len(moved)
        joined = np.zeros(end - start)
        for operation in self.operations:
            place = after[operation] - start
            joined[place : place + len(moved)] += moved / len(self.operations)
        return start, joined

    def tables(self) -> list[Table]:
        """The alphabet, and some sums."""
        alphabet = [(repr(label), index) for index, label in enumerate(self.labels)]
        rows = []
        for split in ("train", "validation"):
            order = self.order(jax.random.key(0), split, EXAMPLES)
            batch = jax.jit(lambda order, split=split: self.take((), order, 0, split, EXAMPLES))(order)
            pairs = zip(np.asarray(batch.inputs), np.asarray(batch.targets), strict=True)
            rows += [(split, self.decode(question), self.decode(answer)) for question, answer in pairs]
        return [Table("Alphabet", ("symbol", "index"), alphabet), Table("Sums", ("split", "question", "answer"), rows)]

    def summary(self) -> dict[str, Any]:
        """Widths, and how many questions there are."""
        span, signs = self.largest - self.smallest + 1, len(self.operations)
        counts = [span**terms * signs ** (terms - 1) for terms in range(self.fewest_terms, self.terms + 1)]
        return {
            "symbols": self.inputs,
            "symbols of a question": self.length,
            "symbols of an answer": self.answer_steps,
            "distinct questions": sum(counts),
            "steps an epoch": self.epoch_steps,
        }
