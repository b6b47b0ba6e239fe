"""What is each character of a play: a speaker's name, a stage direction, or speech? An answer at every step."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax import config
from rnnjax.config import InputError
from rnnjax.tasks import concepts
from rnnjax.tasks.base import Batch, Table, Task
from rnnjax.tasks.shuffling import shuffle
from rnnjax.tasks.sources import Vocabulary, scripts

TAGS = ("speaker", "direction", "speech")
HELD_OUT = ("twelfth-night", "henry-v", "measure-for-measure", "julius-caesar", "the-tempest", "romeo-and-juliet")
SHOWN = 12  # lines that tables show

Script = Sequence[tuple[str, str]]
"""The lines of a play, each with its tag before it."""


@dataclasses.dataclass(frozen=True)
class TagsConfig:
    """Shakespeare's plays, every character of which is part of a speaker's name, of a stage direction, or of speech."""

    kind: str = config.field("tags", "what the data is")
    kinds: tuple[str, ...] = config.field(
        (), "of the plays: comedies, histories, problems, roman, romances, tragedies; none: all"
    )
    held_out: tuple[str, ...] = config.field(HELD_OUT, "titles of plays kept for validation; by default one of a kind")
    lower: bool = config.field(False, "whether all is in small letters, so that capitals give no name away")
    length: int = config.field(150, "characters of one example", at_least=1)

    def build(self) -> Tags:
        """Reads the plays.

        Raises:
          InputError: they are not installed, or a kind or title is unknown.
        """
        train = [script for _, script in scripts(self.kinds, without=self.held_out)]
        held_out = [script for _, script in scripts(titles=self.held_out)] if self.held_out else []
        return Tags(train, held_out, length=self.length, lower=self.lower)


class Tags(Task):
    """Chunks of plays, and what each of their characters is.

    The lines of all plays follow each other, each ended by a line break that has the tag of its line; nothing else
    parts speeches from directions. Training takes the chunks in a new random order each epoch and drops the remainder
    that fills no batch.

    Args:
      plays: the lines of each play, with a tag of `TAGS` before each.
      held_out: plays kept for validation.
      length: characters of a chunk.
      lower: whether all is in small letters.

    Raises:
      InputError: a tag that is none of `TAGS`, or too few characters for one chunk.
    """

    symbols, outputs, labels = True, len(TAGS), TAGS

    def __init__(
        self, plays: Sequence[Script], held_out: Sequence[Script] = (), *, length: int = 150, lower: bool = False
    ):
        texts = {"train": _joined(plays, lower), "validation": _joined(held_out, lower)}
        self.length = length
        self.vocabulary = Vocabulary.of_text("".join(text for text, _ in texts.values()) or "\n")
        self.inputs, self.alphabet = self.vocabulary.size, self.vocabulary.symbols
        self._splits: dict[str, dict[str, np.ndarray] | None] = {}
        for split, (text, tags) in texts.items():
            if len(text) < length and (text or split == "train"):
                raise InputError(
                    f"{len(text)} characters for {split}, an example needs {length}",
                    "in task.length",
                    "give more plays, or a smaller length",
                )
            tokens = self.vocabulary.encode(text).astype(np.uint8 if self.inputs <= 256 else np.int32)
            self._splits[split] = {"tokens": tokens, "tags": tags} if text else None

    def data(self, split: str) -> Any:
        """The characters of a split by index, and their tags by index, each ``[characters]``."""
        return self._splits[split]

    def rows(self, split: str, size: int) -> int:
        """At most the chunks of a validation split."""
        return size if split == "train" else min(size, self._chunks(split))

    def steps(self, split: str, size: int) -> int:
        """Whole batches of chunks."""
        return self._chunks(split) // size if size else 0

    def order(self, key: jax.Array, split: str, size: int) -> Any:
        """Where each chunk of an epoch begins, ``[steps, size]``."""
        if split == "train":
            return shuffle(key, self._chunks(split), size, stride=self.length)
        steps = self.steps(split, size)
        return jnp.arange(steps * size).reshape(steps, size) * self.length

    def take(self, data: Any, order: Any, index: Any, split: str, size: int) -> Batch:
        """The chunks of one batch, and what their characters are."""
        places = order[index][:, None] + np.arange(self.length)[None]
        return Batch(data["tokens"][places].astype(np.int32), data["tags"][places].astype(np.int32))

    def batch(self, key: jax.Array, size: int) -> Batch:
        """Chunks from anywhere in the plays."""
        held = self._splits["train"]
        assert held is not None
        starts = jax.random.randint(key, (1, size), 0, len(held["tokens"]) - self.length + 1)
        return self.take(jax.tree.map(jnp.asarray, held), starts, 0, "train", size)

    def concepts(self, batch: Batch, *, written: bool = False) -> dict[str, np.ndarray]:
        """What each character is, as in a text, and its tag, which is the right answer."""
        tokens, exist = np.asarray(batch.inputs), np.asarray(batch.existing())
        of_row = concepts.by_row(
            tokens, exist, self.alphabet.__getitem__, lambda symbols: concepts.of_text("".join(symbols))
        )
        return of_row | super().concepts(batch, written=written)

    def text(self, split: str) -> str:
        """The characters of a split."""
        held = self._splits[split]
        return "" if held is None else self.vocabulary.decode(held["tokens"])

    def lines(self, split: str) -> list[tuple[str, str]]:
        """The lines of a split, and what each is."""
        held, place, found = self._splits[split], 0, []
        for line in self.text(split).split("\n")[:-1]:
            assert held is not None
            found.append((TAGS[held["tags"][place]], line))
            place += len(line) + 1
        return found

    def references(self) -> dict[str, float]:
        """The entropy of the tags by themselves, in nats."""
        shares = np.asarray([share for share in self._shares("train") if share])
        return {"entropy of the tags": float(-(shares * np.log(shares)).sum())}

    def tables(self) -> list[Table]:
        """How often each tag is, and the first lines with theirs."""
        splits = [split for split, held in self._splits.items() if held is not None]
        shares = [self._shares(split) for split in splits]
        rows = [(tag, *(f"{100 * share[k]:.2f} %" for share in shares)) for k, tag in enumerate(TAGS)]
        return [
            Table("share of the characters", ("tag", *splits), rows),
            Table("first lines", ("tag", "line"), self.lines("train")[:SHOWN]),
        ]

    def summary(self) -> dict[str, Any]:
        """Counts of characters and of their tags."""
        return {
            **{f"{split} characters": 0 if h is None else len(h["tags"]) for split, h in self._splits.items()},
            "distinct characters": self.inputs,
            **{f"share of {tag}": round(share, 4) for tag, share in zip(TAGS, self._shares("train"), strict=True)},
        }

    def _shares(self, split: str) -> list[float]:
        held = self._splits[split]
        assert held is not None
        return (np.bincount(held["tags"], minlength=len(TAGS)) / len(held["tags"])).tolist()

    def _chunks(self, split: str) -> int:
        held = self._splits[split]
        return 0 if held is None else len(held["tokens"]) // self.length


def _joined(plays: Sequence[Script], lower: bool) -> tuple[str, np.ndarray]:
    """The text of plays, and the tag of each of its characters by index."""
    lines = [(tag, f"{line.lower() if lower else line}\n") for script in plays for tag, line in script]
    unknown = {tag for tag, _ in lines} - set(TAGS)
    if unknown:
        raise InputError(f"a tag called {min(unknown)!r}", "in tasks.tags", f"there are {', '.join(TAGS)}")
    indices = np.asarray([TAGS.index(tag) for tag, _ in lines], np.uint8)
    return "".join(line for _, line in lines), np.repeat(indices, [len(line) for _, line in lines])
