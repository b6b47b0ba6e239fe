"""Words of one letter each, joined by single spaces: a source whose every probability is known."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from functools import cached_property
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax import config
from rnnjax.config import InputError
from rnnjax.tasks.base import Batch, Table, Task
from rnnjax.tasks.shuffling import shuffle
from rnnjax.tasks.sources import Vocabulary

WORDS = ("aa", "bbb", "aaaa", "bbbbb", "aaaaaa", "bbbbbbb")
HELD_OUT, WINDOW = 1, 2  # what else is drawn from a seed, beside the text itself
VALIDATION_WINDOWS = 10  # of one validation stream at least, so that most symbols are read with a long past


class Source:
    """Words drawn uniformly and joined by single spaces, and what can be foretold of the next symbol.

    What was read tells which word is being written, and how far it has come, in so far as it can be told: that is the
    forward recursion of a hidden Markov model whose states are the letters and the space of every word (Rabiner 1989,
    eqs. 19-21). Since a space tells all there is to know, only so many beliefs are ever held: one for nothing read, and
    one for all that can be read between two spaces. So the recursion is done once for each of them.

    Args:
      words: of at least one letter, without spaces; a word that is given twice is drawn twice as often.

    Attributes:
      probabilities: of the next symbol by belief, ``[beliefs, symbols]``; belief 0 is that of a stationary phase, when
        nothing was read.
      following: the belief after the next symbol, ``[beliefs, symbols]``; 0 where that symbol cannot come.
      letters: letters read since the last space, ``[beliefs]``; -1 where no space was read.

    Raises:
      InputError: no words, an empty one, or one with a space in it.
    """

    def __init__(self, words: Sequence[str]):
        for word in words:
            if not word or " " in word:
                raise InputError(f"{word!r} is no word", "in task.words", "give letters, and no spaces among them")
        if not words:
            raise InputError("no words", "in task.words", "give one or more, such as aa,bbb")
        self.words = tuple(words)
        self.vocabulary = Vocabulary.of_text("".join((" ", *words)))
        self._written = [self.vocabulary.encode(f"{word} ") for word in words]
        self._beliefs()

    def _beliefs(self) -> None:
        """Finds every belief that can be held, from that of a stationary phase on."""
        symbol = np.concatenate(self._written)  # of each hidden state: a letter of a word, or its space
        ends = np.cumsum([len(word) for word in self._written]) - 1
        starts = np.append(0, ends[:-1] + 1)
        transition = np.eye(len(symbol), k=1)
        transition[ends] = 0
        transition[np.ix_(ends, starts)] = 1 / len(self.words)
        emission = symbol[:, None] == np.arange(self.vocabulary.size)
        texts, beliefs = [""], [np.full(len(symbol), 1 / len(symbol))]
        probabilities, following = [], []
        for text, belief in zip(texts, beliefs, strict=True):  # both grow meanwhile
            probabilities.append(belief @ emission)
            after = []
            for index, name in enumerate(self.vocabulary.symbols):
                read = " " if name == " " else text + name
                if probabilities[-1][index] > 0 and read not in texts:
                    texts.append(read)
                    beliefs.append((belief * emission[:, index] / probabilities[-1][index]) @ transition)
                after.append(texts.index(read) if probabilities[-1][index] > 0 else 0)
            following.append(after)
        self.probabilities, self.following = np.asarray(probabilities), np.asarray(following)
        self.letters = np.asarray([len(text) - 1 if text.startswith(" ") else -1 for text in texts])

    def draw(self, count: int, random: np.random.Generator) -> np.ndarray:
        """A text of `count` words, by index: uint8 ``[symbols]``."""
        longest = max(len(word) for word in self._written)
        table = np.stack([np.pad(word, (0, longest - len(word))) for word in self._written]).astype(np.uint8)
        written = np.stack([np.arange(longest) < len(word) for word in self._written])
        drawn = random.integers(len(self.words), size=count)
        return table[drawn][written[drawn]][:-1]

    def beliefs(self, texts: np.ndarray) -> np.ndarray:
        """The belief after each symbol of `texts` (``[rows, time]``), nothing being known before the first."""
        held, found = np.zeros(len(texts), np.int64), np.empty(texts.shape, np.int64)
        for step in range(texts.shape[1]):
            held = self.following[held, texts[:, step]]
            found[:, step] = held
        return found

    @property
    def entropy_rate(self) -> float:
        """Nats a symbol, of an endless text: the entropy of a word over its mean length, its space included."""
        shares = np.unique(self.words, return_counts=True)[1] / len(self.words)
        return float(-(shares * np.log(shares)).sum()) / float(np.mean([len(word) for word in self._written]))


@dataclasses.dataclass(frozen=True)
class LetterWordsConfig:
    """Words of one letter each, joined by single spaces: which symbol comes next?"""

    kind: str = config.field("letter_words", "what the data is")
    words: tuple[str, ...] = config.field(WORDS, "what is drawn from, each as likely as the others")
    count: int = config.field(200_000, "words of the text", at_least=1)
    length: int = config.field(20, "symbols of one example", at_least=1)
    stride: int = config.field(20, "symbols from one example to the next", at_least=1)
    seed: int = config.field(0, "draws the text, the held-out one, and the window that is gone on from", at_least=0)
    held_out: int = config.field(0, "words of another text, drawn for validation; 0: none", at_least=0)
    read: Literal["last", "every"] = config.field("last", "whether the symbol after the last is asked for, or every")
    order: Literal["shuffled", "stream"] = config.field(
        "shuffled", "examples in random order, or streams that go on from batch to batch"
    )

    def build(self) -> LetterWords:
        """Draws the text.

        Raises:
          InputError: words that cannot be drawn from, or fewer symbols than one example needs.
        """
        return LetterWords(
            self.words,
            count=self.count,
            length=self.length,
            stride=self.stride,
            seed=self.seed,
            held_out=self.held_out,
            read=self.read,
            order=self.order,
        )


class LetterWords(Task):
    """Windows of a text of random words, and the symbol that follows.

    Args:
      words: what is drawn from, each as likely as the others.
      count: words of the text.
      length: symbols of one example.
      stride: symbols from one example to the next; a stream goes on where it ended, whatever the stride.
      seed: draws the text, the held-out one, and the window that is gone on from.
      held_out: words of another text, drawn for validation; 0: none.
      read: `last`: the symbol after the window is the answer. `every`: all that follow a symbol of it are.
      order: `shuffled`: windows in a new random order each epoch. `stream`: the text is cut into as many streams as a
        batch has rows, and each batch goes on where the one before ended.

    Raises:
      InputError: words that cannot be drawn from, fewer symbols than one example needs, or streams that are read at the
        last symbol alone.
    """

    symbols = True

    def __init__(
        self,
        words: Sequence[str] = WORDS,
        *,
        count: int = 200_000,
        length: int = 20,
        stride: int = 20,
        seed: int = 0,
        held_out: int = 0,
        read: str = "last",
        order: str = "shuffled",
    ):
        self.source = Source(words)
        self.vocabulary = self.source.vocabulary
        self.inputs = self.outputs = self.vocabulary.size
        self.labels = self.alphabet = self.vocabulary.symbols
        self.length, self.stride, self.seed = length, stride, seed
        self.read, self.streams = read, order == "stream"
        if self.streams and read == "last":
            raise InputError(
                "streams that are read at the last symbol alone", "in task.read", "set it to every, or order=shuffled"
            )
        text = self.source.draw(count, np.random.default_rng(seed))
        other = self.source.draw(held_out, np.random.default_rng((seed, HELD_OUT))) if held_out else None
        self._splits = {"train": text, "validation": other}
        for key, held in (("count", text), ("held_out", other)):
            if held is not None and len(held) <= length:
                raise InputError(
                    f"a text of {len(held)} symbols, where an example needs {length + 1}",
                    f"in task.{key}",
                    "ask for more words, or for a smaller task.length",
                )

    def data(self, split: str) -> Any:
        """The symbols of a split by index, ``[symbols]``."""
        return self._splits[split]

    def patterns(self, split: str) -> int:
        """Windows of a split, each with the symbol that follows it."""
        return -(-(len(self._splits[split]) - self.length) // self.stride)

    def rows(self, split: str, size: int) -> int:
        """At most the windows of a validation split; fewer streams where they would be short."""
        if split == "train":
            return size
        windows = (len(self._splits[split]) - 1) // self.length // VALIDATION_WINDOWS
        return max(1, min(size, windows if self.streams else self.patterns(split)))

    def steps(self, split: str, size: int) -> int:
        """Batches of an epoch."""
        held = self._splits[split]
        if held is None:
            return 0
        return (len(held) - 1) // size // self.length if self.streams else self.patterns(split) // size

    def order(self, key: jax.Array, split: str, size: int) -> Any:
        """Where the rows of each batch begin, ``[steps, size]``."""
        steps = self.steps(split, size)
        if self.streams:
            length = (len(self._splits[split]) - 1) // size
            return jnp.arange(steps)[:, None] * self.length + jnp.arange(size)[None] * length
        if split == "train":
            return shuffle(key, self.patterns(split), size, stride=self.stride)
        return jnp.arange(steps * size).reshape(steps, size) * self.stride

    def take(self, data: Any, order: Any, index: Any, split: str, size: int) -> Batch:
        """The windows of one batch, and what follows."""
        windows = data[order[index][:, None] + np.arange(self.length + 1)[None]].astype(np.int32)
        targets = windows[:, -1] if self.read == "last" else windows[:, 1:]
        return Batch(windows[:, :-1], targets, fresh=index == 0 if self.streams else None)

    def batch(self, key: jax.Array, size: int) -> Batch:
        """Windows from anywhere in the text."""
        held = self._splits["train"]
        starts = jax.random.randint(key, (1, size), 0, len(held) - self.length)
        return dataclasses.replace(self.take(jnp.asarray(held), starts, 0, "train", size), fresh=None)

    def concepts(self, batch: Batch, *, written: bool = False) -> dict[str, np.ndarray]:
        """Symbols, letters read of a word, and what the source itself would foretell after each symbol of a window."""
        tokens = np.asarray(batch.inputs)
        beliefs = self.source.beliefs(tokens)
        letters, chances = self.source.letters[beliefs], self.source.probabilities[beliefs]
        found = {
            "position in word": np.maximum(letters, 0),
            "a word may end here": chances[..., self.vocabulary.symbols.index(" ")] > 0,
            "no space was read yet": letters < 0,
        }
        for k in range(self.inputs):
            found[f"chance that '{self.vocabulary.show(k)}' follows"] = chances[..., k]
        return found | super().concepts(batch, written=written)

    def decode(self, indices: Any) -> str:
        """Symbols as text."""
        return self.vocabulary.decode(np.asarray(indices))

    def window(self) -> np.ndarray:
        """The window of the text that is gone on from, by index: ``[length]``."""
        text = self._splits["train"]
        start = np.random.default_rng((self.seed, WINDOW)).integers(len(text) - self.length)
        return text[start : start + self.length].astype(np.int32)

    def true_losses(self, split: str, order: Any, *, carried: bool = False) -> np.ndarray:
        """The loss of the source's own probabilities, given what a model sees: nats, float64 ``[targets]``.

        Args:
          split: `train` or `validation`.
          order: where the rows of each batch begin, as `order` gives it, ``[steps, rows]``.
          carried: whether a model keeps its state from batch to batch, so that it has seen all of a stream; otherwise
            it has seen no more than the window. Nothing is known of what came before the first symbol seen.
        """
        starts = np.asarray(order)
        if carried and self.streams:
            starts, length = starts[0], starts.shape[0] * self.length
        else:
            starts, length = starts.reshape(-1), self.length
        windows = self._splits[split][starts[:, None] + np.arange(length + 1)]
        beliefs, targets = self.source.beliefs(windows[:, :-1]), windows[:, 1:]
        if self.read == "last":
            beliefs, targets = beliefs[:, -1], targets[:, -1]
        return -np.log(self.source.probabilities[beliefs, targets]).reshape(-1)

    def references(self) -> dict[str, float]:
        """Nats a symbol: the entropy of a symbol by itself, and the source's own loss.

        The latter is that of its true probabilities on the validation targets, or else on those of training, given the
        symbols before them in a window, or in a stream.
        """
        return dict(self._references)

    @cached_property
    def _references(self) -> dict[str, float]:
        shares = np.bincount(self._splits["train"], minlength=self.inputs) / len(self._splits["train"])
        split = "train" if self._splits["validation"] is None else "validation"
        order = self.order(jax.random.key(0), split, self.rows(split, 32) if self.streams else 1)
        return {
            "unigram entropy": float(-(shares[shares > 0] * np.log(shares[shares > 0])).sum()),
            "the source's own loss": float(self.true_losses(split, order, carried=True).mean()),
        }

    def summary(self) -> dict[str, Any]:
        """Counts of symbols and of patterns, and what the source itself could do."""
        text, other = self._splits["train"], self._splits["validation"]
        return {
            "symbols": len(text),
            "distinct symbols": len(np.unique(text)),
            "patterns": self.patterns("train"),
            "validation symbols": 0 if other is None else len(other),
            "entropy rate (nats a symbol)": round(self.source.entropy_rate, 4),
            **{f"{name} (nats a symbol)": round(value, 4) for name, value in self._references.items()},
        }

    def tables(self) -> list[Table]:
        """What the study prints of its text, and every symbol with its share."""
        text = self._splits["train"]
        counts = np.bincount(text, minlength=self.inputs)
        facts = [
            ("words", f"{(text == self.vocabulary.symbols.index(' ')).sum() + 1:,}"),
            ("symbols", f"{len(text):,}"),
            ("distinct symbols", str((counts > 0).sum())),
            ("patterns", f"{self.patterns('train'):,}"),
            ("symbols of a pattern", str(self.length)),
            ("first symbols", self.decode(text[:50])),
            ("window to go on from", self.decode(self.window())),
            ("entropy rate, nats a symbol", f"{self.source.entropy_rate:.4f}"),
            ("entropy rate, bits a symbol", f"{self.source.entropy_rate / math.log(2):.4f}"),
        ]
        shares = [
            (index, self.vocabulary.show(index), f"{count:,}", f"{count / len(text):.4f}")
            for index, count in enumerate(counts)
        ]
        return [
            Table("the text", ("what", "value"), facts),
            Table("its symbols", ("index", "symbol", "count", "share"), shares),
        ]
