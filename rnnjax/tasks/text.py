"""A text, symbol by symbol: the answer at every step is the next symbol."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import cached_property
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax import config
from rnnjax.config import InputError
from rnnjax.tasks import concepts
from rnnjax.tasks.base import Batch, Table, Task
from rnnjax.tasks.shuffling import shuffle
from rnnjax.tasks.sources import Vocabulary, Words, plays, read_text

VALIDATION_CHUNKS = 10  # of one validation stream at least, so that most symbols are read with a long past
SHOWN = 50  # symbols that tables show


@dataclasses.dataclass(frozen=True)
class TextConfig:
    """A text to be continued."""

    kind: str = config.field("text", "what the data is")
    path: str = config.field("", "a UTF-8 file, or an http(s) address; empty: Shakespeare's plays")
    sha256: str = config.field("", "what the file's bytes must sum to; empty: anything")
    kinds: tuple[str, ...] = config.field(
        (), "of the plays: comedies, histories, problems, roman, romances, tragedies; none: all"
    )
    held_out: tuple[str, ...] = config.field((), "titles of plays kept for validation, such as king-lear")
    speech: bool = config.field(False, "whether only what is spoken in the plays is read")
    level: Literal["character", "word"] = config.field("character", "what a symbol is")
    vocabulary: int = config.field(0, "most frequent words that are symbols, the rest being one; 0: all", at_least=0)
    characters: int = config.field(0, "characters of the text to read; 0: all", at_least=0)
    length: int = config.field(100, "steps of one example", at_least=1)
    order: Literal["shuffled", "stream"] = config.field(
        "shuffled", "chunks in random order, or streams that go on from batch to batch"
    )
    split: float = config.field(0.0, "share of the text, its end, kept for validation", at_least=0, below=1)

    def build(self) -> Text:
        """Reads the text.

        Raises:
          InputError: it cannot be read, is too short or too uniform to learn from, or is asked for in two ways at once.
        """
        self._check()
        if self.path:
            text, held_out = read_text(self.path, sha256=self.sha256), None
        else:
            text = plays(self.kinds, without=self.held_out, speech=self.speech)
            held_out = plays(titles=self.held_out, speech=self.speech) if self.held_out else None
        if self.characters > len(text):
            raise InputError(
                f"{self.characters} symbols of a text of {len(text)}",
                "in task.characters",
                f"ask for at most {len(text)}, or for 0 to read all",
            )
        text = text[: self.characters or None]
        if self.level == "word":
            vocabulary = Words.of_text(text[: len(text) - round(len(text) * self.split)], self.vocabulary)
        elif self.kinds or self.held_out or self.speech:
            vocabulary = Vocabulary.of_text(plays())  # one for all choices of plays, so that their models compare
        else:
            vocabulary = None
        return Text(
            text,
            length=self.length,
            order=self.order,
            split=self.split,
            held_out=held_out,
            vocabulary=vocabulary,
            name=self.path or "the plays of Shakespeare",
        )

    def _check(self) -> None:
        """Refuses fields that contradict each other."""
        chosen = [name for name in ("kinds", "held_out", "speech") if getattr(self, name)]
        if self.path and chosen:
            raise InputError(
                f"task.{chosen[0]} with a text of its own in task.path",
                f"in task.{chosen[0]}",
                "leave one of the two out: it chooses among the plays of Shakespeare",
            )
        if self.held_out and self.split:
            raise InputError("two texts for validation", "in task.held_out and task.split", "leave one of the two out")
        if self.vocabulary and self.level == "character":
            raise InputError(
                "a vocabulary of words for characters", "in task.vocabulary", "set task.level to word, or leave it out"
            )


class Text(Task):
    """Chunks of a text: `length` symbols, and for each the one that follows.

    Args:
      text: the text.
      length: steps of one example.
      order: `shuffled`: chunks of ``length + 1`` symbols, in a new random order each epoch, the remainder that fills no
        batch dropped. `stream`: the text is cut into as many streams as a batch has rows, and each batch goes on where
        the one before ended, so that a carried state is the passage's own.
      split: share of the text, its end, kept for validation.
      held_out: a text of its own for validation, in place of `split`.
      vocabulary: the symbols; None for the characters of the text. `Words.of_text(text)` reads words.
      name: what errors call the text.

    Raises:
      InputError: fewer than two distinct symbols, fewer symbols than one example needs, or one that is unknown.
    """

    symbols = True

    def __init__(
        self,
        text: str,
        *,
        length: int = 100,
        order: str = "shuffled",
        split: float = 0.0,
        held_out: str | None = None,
        vocabulary: Vocabulary | Words | None = None,
        name: str = "the text",
    ):
        self.vocabulary = Vocabulary.of_text(text + (held_out or "")) if vocabulary is None else vocabulary
        self.inputs = self.outputs = self.vocabulary.size
        self.labels = self.alphabet = self.vocabulary.symbols
        self.length, self.streams, self.characters = length, order == "stream", len(text) + len(held_out or "")
        if self.vocabulary.size < 2:
            only = self.vocabulary.show(0)
            raise InputError(
                f"{name} has a single distinct symbol, {only}", "in the text", "give a text with two or more"
            )
        dtype = np.uint8 if self.vocabulary.size <= 256 else np.uint16 if self.vocabulary.size <= 65536 else np.int32
        tokens = self.vocabulary.encode(text).astype(dtype)
        kept = len(tokens) if held_out is not None else len(tokens) - round(len(tokens) * split)
        held = tokens[kept:] if held_out is None else self.vocabulary.encode(held_out).astype(dtype)
        self._splits = {"train": tokens[:kept], "validation": held if len(held) or held_out is not None else None}
        for part, held in self._splits.items():
            if held is not None and len(held) <= length:
                raise InputError(
                    f"{name} has {len(held)} symbols for {part}, an example needs {length + 1}",
                    "in task.length" if part == "train" else "in task.split",
                    f"give a longer text, or a task.length below {len(held)}",
                )

    def data(self, split: str) -> Any:
        """The symbols of a split by index, ``[symbols]``."""
        return self._splits[split]

    def rows(self, split: str, size: int) -> int:
        """At most the chunks of a validation split; fewer streams where they would be short."""
        if split == "train":
            return size
        chunks = len(self._splits[split]) // self._stride
        return max(1, min(size, chunks // VALIDATION_CHUNKS if self.streams else chunks))

    def steps(self, split: str, size: int) -> int:
        """Batches of an epoch."""
        held = self._splits[split]
        if held is None:
            return 0
        return (len(held) - 1) // size // self.length if self.streams else len(held) // self._stride // size

    def order(self, key: jax.Array, split: str, size: int) -> Any:
        """Where the rows of each batch begin, ``[steps, size]``."""
        steps = self.steps(split, size)
        if self.streams:
            length = (len(self._splits[split]) - 1) // size
            return jnp.arange(steps)[:, None] * self.length + jnp.arange(size)[None] * length
        chunks = len(self._splits[split]) // self._stride
        if split == "train":
            return shuffle(key, chunks, size, stride=self._stride)
        return jnp.arange(steps * size).reshape(steps, size) * self._stride

    def take(self, data: Any, order: Any, index: Any, split: str, size: int) -> Batch:
        """The symbols of one batch, and those that follow them."""
        windows = data[order[index][:, None] + np.arange(self.length + 1)[None]]
        inputs, targets = windows[:, :-1].astype(np.int32), windows[:, 1:].astype(np.int32)
        return Batch(inputs, targets, fresh=index == 0 if self.streams else None)

    def batch(self, key: jax.Array, size: int) -> Batch:
        """Chunks from anywhere in the text."""
        held = self._splits["train"]
        starts = jax.random.randint(key, (1, size), 0, len(held) - self.length)
        return dataclasses.replace(self.take(jnp.asarray(held), starts, 0, "train", size), fresh=None)

    def probe(self, steps: int, rows: int = 1) -> Batch:
        """The beginning of the held-out text, or else of the training text, as whole passages side by side."""
        train, validation = self._splits["train"], self._splits["validation"]
        held = train if validation is None else validation
        each = max(1, min(-(-steps // rows), (len(held) - 1) // rows))
        starts = np.arange(rows) * each
        windows = held[starts[:, None] + np.arange(each + 1)[None]].astype(np.int32)
        return Batch(jnp.asarray(windows[:, :-1]), jnp.asarray(windows[:, 1:]))

    def concepts(self, batch: Batch, *, written: bool = False) -> dict[str, np.ndarray]:
        """What each symbol of a passage is: see `rnnjax.tasks.concepts.of_text` and `of_words`; and which one it is."""
        tokens, exist = np.asarray(batch.inputs), np.asarray(batch.existing())
        of_row = concepts.of_words if isinstance(self.vocabulary, Words) else _of_characters
        found = concepts.by_row(tokens, exist, self.alphabet.__getitem__, of_row)
        return found | concepts.of_symbols(tokens, exist, self.symbol, "reads")

    def decode(self, indices: Any) -> str:
        """Symbols as text."""
        return self.vocabulary.decode(np.asarray(indices))

    def references(self) -> dict[str, float]:
        """Entropies of the training text, in nats a symbol: of a symbol, and given one and two symbols before it."""
        return dict(self._entropies)

    @cached_property
    def _entropies(self) -> dict[str, float]:
        tokens, size = self._splits["train"].astype(np.int64), self.vocabulary.size
        first, second, third = (tokens[k : len(tokens) - 2 + k] for k in range(3))
        before = first * size + second
        return {
            "unigram entropy": _entropy(third),
            "bigram entropy": _entropy(second * size + third) - _entropy(second),
            "trigram entropy": _entropy(before * size + third) - _entropy(before),
        }

    def tables(self) -> list[Table]:
        """The text as the study shows it: symbols with their indices, the start of it encoded, chunks, an example."""
        tokens = self._splits["train"]
        counts = np.bincount(tokens, minlength=self.vocabulary.size)
        listed = [(self.vocabulary.show(k), k, int(counts[k])) for k in range(min(self.vocabulary.size, 5 * SHOWN))]
        start = [tokens[k : k + 10] for k in range(0, min(SHOWN, len(tokens)), 10)]
        whole = len(tokens) // self._stride
        chunks = [tokens[k * self._stride : (k + 1) * self._stride] for k in range(min(10, whole))]
        facts = [
            ("characters", self.characters),
            ("symbols", self.summary()["symbols"]),
            ("distinct symbols", self.vocabulary.size),
            (f"chunks of {self._stride} to train on", whole),
        ]
        rest = self.vocabulary.size - len(listed)
        return [
            Table("the text", ("", ""), facts),
            Table(
                "its symbols" + (f", the first {len(listed)} (of {self.vocabulary.size})" if rest else ""),
                ("symbol", "index", "times"),
                listed,
            ),
            Table(
                f"its first {min(SHOWN, len(tokens))} symbols, encoded",
                ("text", "indices"),
                [(self._shown(row), " ".join(map(str, row.tolist()))) for row in start],
            ),
            Table("its first chunks", ("chunk", "text"), [(k, self._shown(row)) for k, row in enumerate(chunks)]),
            Table(
                "the first example",
                ("", "text"),
                [("input", self._shown(chunks[0][:-1])), ("target", self._shown(chunks[0][1:]))],
            ),
        ]

    def _shown(self, tokens: np.ndarray) -> str:
        return self.decode(tokens).replace("\n", "⏎")

    def summary(self) -> dict[str, Any]:
        """Counts of symbols, and the entropies."""
        train, validation = self._splits["train"], self._splits["validation"]
        symbols = len(train) + (0 if validation is None else len(validation))
        facts: dict[str, Any] = {
            "symbols": symbols,
            "training symbols": len(train),
            "validation symbols": 0 if validation is None else len(validation),
            "distinct symbols": self.vocabulary.size,
        }
        if isinstance(self.vocabulary, Words):
            unknown = {split: held for split, held in self._splits.items() if held is not None}
            facts["characters a symbol"] = round(self.characters / symbols, 3)
            facts |= {f"unknown in {split} (share)": round(float(np.mean(v == 0)), 4) for split, v in unknown.items()}
        return facts | {f"{name} (nats a symbol)": round(value, 4) for name, value in self._entropies.items()}

    @property
    def _stride(self) -> int:
        return self.length + 1


def _of_characters(symbols: Sequence[str]) -> dict[str, np.ndarray]:
    return concepts.of_text("".join(symbols))


def _entropy(codes: np.ndarray) -> float:
    """Of the empirical distribution, in nats."""
    counts = np.unique(codes, return_counts=True)[1]
    shares = counts / counts.sum()
    return float(-(shares * np.log(shares)).sum())
