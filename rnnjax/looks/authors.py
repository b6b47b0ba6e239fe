"""Whose words are these? Passages told apart by which of two models finds them likelier."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from rnnjax.config import InputError
from rnnjax.figures.passages import bars
from rnnjax.generate import score
from rnnjax.looks.base import Sight
from rnnjax.tasks import Table, Text
from rnnjax.tasks.sources import WORD

OTHERS = 40  # passages at most of each further text
PRIOR = 0.1  # times that a counting model takes every pair or word to have been seen before it counts


class Author(NamedTuple):
    """A model and the text that it was trained on; what that text holds out is by the same author."""

    task: Text
    model: Any


Judge = Callable[[Author, Sequence[np.ndarray]], np.ndarray]
"""Gives the log-probability of each passage for an author, in nats."""


def tell_apart(
    authors: Mapping[str, Author],
    others: Mapping[str, str] | None = None,
    *,
    symbols: int = 500,
    groups: Mapping[str, str] | None = None,
) -> Iterator[Sight]:
    """How often a held-out passage is likelier to the model of its own author, beside models that only count.

    Every passage is scored from the initial state, from its second symbol on. Nothing is fitted to held-out text: the
    likelier author is the answer.

    Args:
      authors: two, by name; both of one vocabulary, each with a validation split.
      others: further texts by name, to be given to either.
      symbols: of a passage.
      groups: what the colour of each further text stands for; its own name if None.

    Raises:
      InputError: more or fewer authors, vocabularies that differ, or no held-out text.
    """
    _check(authors)
    passages = [_passages(author.task.data("validation"), symbols) for author in authors.values()]
    rows, numbers = [], {}
    for kind, judge in JUDGES.items():
        one, two = (_leaning(judge, authors, held) for held in passages)
        shares = float(np.mean(one < 0)), float(np.mean(two > 0))
        ranked = float(np.mean(two[:, None] > one[None]))
        margin = (two.mean() - one.mean()) / 2 / math.log(2) / (symbols - 1)
        rows.append((kind, *(f"{100 * share:.1f} %" for share in (np.mean(shares), *shares, ranked)), f"{margin:+.4f}"))
        numbers |= {f"{kind.replace(' ', '_')}_accuracy": float(np.mean(shares))}
        numbers |= {f"{kind.replace(' ', '_')}_ranked": ranked}
    counts = " and ".join(f"{len(held)} of {name}" for name, held in zip(authors, passages, strict=True))
    heads = ("judged by", "right", *authors, "ranked", "margin, bits a symbol")
    caption = (
        f"Passages of {symbols} symbols from texts that no model was trained on ({counts}); right: mean over authors. "
        "Ranked: of two passages, one by each, how often the right one is likelier to be the second author's (the area "
        "under the ROC curve). The margin is how much likelier a passage is to its own author, on the average."
    )
    yield Sight("Authors told apart", caption, table=Table("authors told apart", heads, rows), numbers=numbers)
    if others:
        yield _leanings(authors, others, symbols, groups or {name: name for name in others})


def _leaning(judge: Judge, authors: Mapping[str, Author], passages: Sequence[np.ndarray]) -> np.ndarray:
    """How many nats likelier each passage is to the second author than to the first, ``[passages]``."""
    one, two = authors.values()
    return judge(two, passages) - judge(one, passages)


def _leanings(
    authors: Mapping[str, Author], others: Mapping[str, str], symbols: int, groups: Mapping[str, str]
) -> Sight:
    """The share of each text's passages that are likelier to the second author."""
    (first, second), (one, _) = authors, authors.values()
    shares = {}
    for name, text in others.items():
        passages = _passages(one.task.vocabulary.encode(text), symbols)
        chosen = passages[:: -(-len(passages) // OTHERS)]
        shares[name] = 100 * float(np.mean(_leaning(_by_model, authors, chosen) > 0))
    caption = (
        f"Passages of {symbols} symbols from texts that neither model was trained on, and the share of them that the "
        f"model of the {second} finds likelier than that of the {first}."
    )
    picture = bars(shares, groups, xlabel=f"passages likelier as {second}, % (of at most {OTHERS})", middle=50)
    return Sight("Where other texts lean", caption, figure=picture)


def _by_model(author: Author, passages: Sequence[np.ndarray]) -> np.ndarray:
    return score(author.model, passages).nats


def _by_pairs(author: Author, passages: Sequence[np.ndarray]) -> np.ndarray:
    """Log-probability of each passage after its first symbol, by counts of pairs in the author's training text."""
    size, text = author.task.vocabulary.size, author.task.data("train").astype(np.int64)
    counts = np.bincount(text[:-1] * size + text[1:], minlength=size**2).reshape(size, size) + PRIOR
    nats = np.log(counts / counts.sum(axis=1, keepdims=True))
    return np.asarray([nats[passage[:-1], passage[1:]].sum() for passage in passages])


def _by_words(author: Author, passages: Sequence[np.ndarray]) -> np.ndarray:
    """Log-probability of the words of each passage, each drawn by itself from those of the author's training text."""
    counts = Counter(WORD.findall(author.task.decode(author.task.data("train"))))
    total = counts.total() + PRIOR * 2 * len(counts)  # as many words unseen as seen
    words = (WORD.findall(author.task.decode(passage)) for passage in passages)
    return np.asarray([sum(math.log((counts[word] + PRIOR) / total) for word in found) for found in words])


JUDGES: dict[str, Judge] = {
    "the networks": _by_model,
    "pairs of symbols": _by_pairs,
    "single words": _by_words,
}
"""What passages are judged by."""


def _passages(tokens: np.ndarray, symbols: int) -> list[np.ndarray]:
    """Whole passages, one after the other."""
    return [tokens[k : k + symbols] for k in range(0, len(tokens) - symbols + 1, symbols)]


def _check(authors: Mapping[str, Author]) -> None:
    if len(authors) != 2 or len({author.task.vocabulary for author in authors.values()}) > 1:
        raise InputError(
            "authors that cannot be compared",
            "in tell_apart",
            "give two models of one vocabulary: plays chosen by task.kinds have one in common",
        )
    for name, author in authors.items():
        if author.task.data("validation") is None:
            raise InputError(f"no held-out text of {name}", "in tell_apart", "set task.held_out or task.split")
