"""How well the characters of held-out plays are tagged: beside rules and counts, tag by tag, and on a page."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from flax import nnx

from rnnjax.figures.passages import tagged
from rnnjax.looks.base import Sight, Subject
from rnnjax.tasks import Table
from rnnjax.tasks.sources import WORD
from rnnjax.tasks.tags import TAGS, Tags

MOST = 2000  # chunks that are looked at, from all over the split
ROWS = 250  # of them at once
PAGE = 900  # characters shown
OPENINGS = {
    *("enter", "exit", "exeunt", "re-enter", "aside", "within", "flourish", "alarum", "alarums", "reads", "dies"),
    *("sings", "singing", "music", "kneels", "knocking", "drawing", "reading"),
}
"""Words that a direction begins with, to the rule."""


def look(subject: Subject) -> Iterator[Sight]:
    """Accuracy beside simpler ways, the tags taken for each other, and a page of a play."""
    task = subject.built.task
    assert isinstance(task, Tags)
    split = "train" if task.data("validation") is None else "validation"
    data, count = task.data(split), len(task.data(split)["tokens"]) // task.length
    chunks = np.arange(0, count, -(-count // MOST))
    places = chunks[:, None] * task.length + np.arange(task.length)
    found, true = predicted(subject.model, data["tokens"][places]), data["tags"][places]
    yield beside(task, split, places, found, true)
    yield confusion(found, true, split)
    yield page(task, subject.model, split)


def predicted(model: Any, tokens: np.ndarray) -> np.ndarray:
    """The likeliest tag of each character of chunks ``[chunks, length]``."""
    graph, variables = nnx.split(model)
    classes = jax.jit(lambda variables, rows: nnx.merge(graph, variables).unroll(rows).outputs.argmax(axis=-1))
    rows = min(ROWS, len(tokens))
    padded = np.pad(tokens.astype(np.int32), ((0, -len(tokens) % rows), (0, 0)))
    found = [np.asarray(classes(variables, padded[k : k + rows])) for k in range(0, len(padded), rows)]
    return np.concatenate(found)[: len(tokens)]


def beside(task: Tags, split: str, places: np.ndarray, found: np.ndarray, true: np.ndarray) -> Sight:
    """Accuracy of the model, and of what needs no network, on the same characters."""
    lines = task.lines(split)
    usual = int(np.bincount(task.data("train")["tags"], minlength=len(TAGS)).argmax())
    answers = {
        "the model": found,
        f"always {TAGS[usual]}": np.full(true.shape, usual),
        "a rule: capitals, and how directions begin": _spread(lines, [_by_rule(line) for _, line in lines])[places],
        "the words of the line, each by itself": _spread(lines, _by_words(task.lines("train"), lines))[places],
    }
    rows, numbers = [], {}
    for name, key in zip(answers, ("model", "majority", "rule", "words"), strict=True):
        right = answers[name] == true
        recall = [float(right[true == k].mean()) if (true == k).any() else math.nan for k in range(len(TAGS))]
        rows.append((name, f"{100 * right.mean():.2f} %", *(f"{100 * share:.1f} %" for share in recall)))
        numbers[f"{key}_accuracy"] = float(right.mean())
    caption = (
        f"Share of {true.size:,} characters of the {split} plays that are tagged rightly, in all and of each tag "
        "(recall). Rule and words see whole lines, and are told where they begin and end; the model has chunks of "
        f"{task.length} characters, wherever they are cut."
    )
    heads = ("tagged by", "right", *TAGS)
    return Sight(
        "Tags beside simpler ways", caption, table=Table("tags beside simpler ways", heads, rows), numbers=numbers
    )


def confusion(found: np.ndarray, true: np.ndarray, split: str) -> Sight:
    """How many characters of each tag are taken for which."""
    counts = np.zeros((len(TAGS), len(TAGS)), int)
    np.add.at(counts, (true.ravel(), found.ravel()), 1)
    right, rows, numbers = np.diag(counts), [], {}
    for k, tag in enumerate(TAGS):
        recall, precision = right[k] / max(1, counts[k].sum()), right[k] / max(1, counts[:, k].sum())
        rows.append((tag, *(f"{n:,}" for n in counts[k]), f"{100 * recall:.2f} %", f"{100 * precision:.2f} %"))
        numbers |= {f"recall_{tag}": float(recall), f"precision_{tag}": float(precision)}
    heads = ("is", *(f"taken for {tag}" for tag in TAGS), "recall", "precision")
    caption = f"Characters of the {split} plays: what they are, and what the model takes them for."
    return Sight("Tags taken for each other", caption, table=Table("tags", heads, rows), numbers=numbers)


def page(task: Tags, model: Any, split: str) -> Sight:
    """The first page on which every tag has a share of 5 % or more."""
    data, chunks = task.data(split), max(1, PAGE // task.length)
    size = min(chunks * task.length, len(data["tokens"]) // task.length * task.length)
    starts = range(0, len(data["tokens"]) - size + 1, size)
    rich = (k for k in starts if np.bincount(data["tags"][k : k + size], minlength=len(TAGS)).min() >= 0.05 * size)
    start = next(rich, 0)
    tokens, true = (data[name][start : start + size] for name in ("tokens", "tags"))
    found = predicted(model, tokens.reshape(-1, task.length)).ravel()
    shown = [task.symbol(int(k)) for k in tokens]
    caption = (
        f"Of the {split} plays, the first {size} characters with a share of 5 % of every tag: "
        f"{100 * np.mean(found == true):.1f} % are tagged rightly."
    )
    return Sight("A tagged page", caption, figure=tagged(shown, found, true, labels=TAGS))


def _by_rule(line: str) -> int:
    """A line in capitals is a speaker, one that begins as directions do is one, and all else is speech."""
    if line.isupper():
        return TAGS.index("speaker")
    first = next(iter(WORD.findall(line.lower())), "")
    return TAGS.index("direction" if first in OPENINGS else "speech")


def _by_words(train: list[tuple[str, str]], lines: list[tuple[str, str]]) -> list[int]:
    """The likeliest tag of each line by how often its words are in lines of each tag (naive Bayes)."""
    counts = {tag: Counter[str]() for tag in TAGS}
    for tag, line in train:
        counts[tag].update(WORD.findall(line))
    known = len(set().union(*counts.values()))
    kinds = Counter(tag for tag, _ in train)
    prior = np.log([(kinds[tag] + 1) / (len(train) + len(TAGS)) for tag in TAGS])
    totals = [counts[tag].total() + known for tag in TAGS]
    found = []
    for _, line in lines:
        words = WORD.findall(line)
        each = [
            sum(math.log((counts[tag][word] + 1) / total) for word in words)
            for tag, total in zip(TAGS, totals, strict=True)
        ]
        found.append(int(np.argmax(prior + each)))
    return found


def _spread(lines: list[tuple[str, str]], tags: list[int]) -> np.ndarray:
    """The tag of each line, for each of its characters."""
    return np.repeat(tags, [len(line) + 1 for _, line in lines])
