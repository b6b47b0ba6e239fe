"""Digits that were not trained on: how many are read, beside what needs no network, and which are not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from flax import nnx

from rnnjax.figures.classes import confusion, pictures
from rnnjax.looks import answers
from rnnjax.looks.base import Sight, Subject
from rnnjax.tasks import Table
from rnnjax.tasks.digits import NAMES, Captions, Digits, Images

ROWS = 250  # images read at once
NEIGHBOURS = 3
RIDGES = (0.01, 0.1, 1.0, 10.0, 100.0, 1000.0)
MOST = 24  # images of a picture


def look(subject: Subject) -> Iterator[Sight]:
    """Accuracy beside simpler ways, and the errors; of captions, what was written under images."""
    task = subject.built.task
    split = "train" if task.data("validation") is None else "validation"
    if isinstance(task, Captions):
        yield from answers.look(subject)
        yield from captions(subject, task, split)
    elif isinstance(task, Digits):
        yield from classes(subject, task, split)


def classes(subject: Subject, task: Digits, split: str) -> Iterator[Sight]:
    """The digits that are read, beside simpler ways; those taken for others; and the images this happened to."""
    likely = outputs(subject.model, task.data(split)["inputs"], "classes")
    images, true = task.examples(split)
    found = likely.argmax(axis=1)
    if split == "validation":
        yield beside(subject, task, found)
    counts = np.zeros((task.outputs, task.outputs), int)
    np.add.at(counts, (true, found), 1)
    wrong = np.flatnonzero(found != true)
    caption = f"{len(true):,} {name_of(split)} images; {len(wrong)} of them stand off the diagonal."
    yield Sight("Digits taken for each other", caption, figure=confusion(counts, task.labels, what="images"))
    if len(wrong):
        worst = wrong[np.argsort(-likely[wrong, found[wrong]], kind="stable")][:MOST]
        titles = [f"{true[k]} read as {found[k]}\n{100 * likely[k, found[k]]:.0f} %" for k in worst]
        caption = f"{len(worst)} of {len(wrong)} errors, the surest first, each with its probability."
        yield Sight("Images read wrong", caption, figure=pictures(images[worst], titles))


def captions(subject: Subject, task: Captions, split: str) -> Iterator[Sight]:
    """The names that are written, beside simpler ways that read a digit; and images with them, the wrong ones first."""
    texts = [task.decode(row) for row in outputs(subject.model, task.data(split)["inputs"], "answers")]
    images, true = task.examples(split)
    found = np.asarray([NAMES.index(text) if text in NAMES else -1 for text in texts])
    if split == "validation":
        yield beside(subject, task, found)
    wrong = np.flatnonzero(found != true)
    shown = np.concatenate([wrong, np.flatnonzero(found == true)])[:MOST]
    titles = [texts[k] if found[k] == true[k] else f"{texts[k]}\n(it is {NAMES[true[k]]})" for k in shown]
    caption = f"{len(wrong)} of {len(true):,} {name_of(split)} images have another name under them; those come first."
    yield Sight("Images with their names", caption, figure=pictures(images[shown], titles))


def name_of(split: str) -> str:
    """What captions call a split."""
    return "held-out" if split == "validation" else "training"


def outputs(model: Any, inputs: np.ndarray, what: str) -> np.ndarray:
    """What a model makes of images: the probabilities of `classes` ``[examples, classes]``, or the symbols of `answers`
    ``[examples, answers]``."""
    graph, variables = nnx.split(model)

    def of(variables: Any, rows: jax.Array) -> jax.Array:
        whole = nnx.merge(graph, variables)
        return whole.write(rows) if what == "answers" else jax.nn.softmax(whole.unroll(rows).outputs)

    rows, compiled = min(ROWS, len(inputs)), jax.jit(of)
    padded = np.pad(inputs, ((0, -len(inputs) % rows), (0, 0), (0, 0)))
    found = [np.asarray(compiled(variables, padded[k : k + rows])) for k in range(0, len(padded), rows)]
    return np.concatenate(found)[: len(inputs)]


def beside(subject: Subject, task: Images, found: np.ndarray) -> Sight:
    """The share of held-out images that are answered rightly: by the model (`found`, a digit each), and by three
    classifiers in closed form."""
    (seen, classes), (asked, true) = task.examples("train"), task.examples("validation")
    seen, asked = (images.reshape(len(images), -1).astype(np.float64) for images in (seen, asked))
    pixels, parameters = seen.shape[1], sum(row["parameters"] for row in subject.built.layers())
    ways = {
        "centroid": ("the nearest mean of a class", nearest_centroid(seen, classes, asked), len(NAMES) * pixels),
        "neighbours": (f"the {NEIGHBOURS} nearest images", nearest(seen, classes, asked), seen.size),
        "ridge": ("ridge regression on the classes", ridge(seen, classes, asked), len(NAMES) * (pixels + 1)),
    }
    rows = [("the model", *_rate(found, true), f"{parameters:,}")]
    rows += [(name, *_rate(taken, true), f"{kept:,}") for name, taken, kept in ways.values()]
    numbers = {f"baseline_{key}_accuracy": float(np.mean(taken == true)) for key, (_, taken, _) in ways.items()}
    numbers["baseline_accuracy"] = max(numbers.values())
    best = max(ways, key=lambda key: numbers[f"baseline_{key}_accuracy"])
    caption = (
        f"{len(true):,} held-out images, and {len(seen):,} to read from. baseline_accuracy is that of "
        f"{ways[best][0]}. The ridge is the one with the least leave-one-out error on the training images."
    )
    heads = ("read by", "right", "wrong", "numbers kept")
    table = Table("digits beside simpler ways", heads, rows)
    return Sight("Digits beside simpler ways", caption, table=table, numbers=numbers)


def nearest_centroid(seen: np.ndarray, classes: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """The class whose mean is nearest, ``[asked]``.

    Args:
      seen: training images, ``[examples, pixels]``.
      classes: of each, ``[examples]``.
      asked: images to be classified, ``[asked, pixels]``.
    """
    known = np.unique(classes)
    means = np.stack([seen[classes == kind].mean(axis=0) for kind in known])
    return known[_distances(asked, means).argmin(axis=1)]


def nearest(seen: np.ndarray, classes: np.ndarray, asked: np.ndarray, count: int = NEIGHBOURS) -> np.ndarray:
    """The class of most of the `count` nearest images, of the nearest one where they tie; arguments as above."""
    distances = _distances(asked, seen)
    near = np.argsort(distances, axis=1, kind="stable")[:, :count]
    votes = np.zeros((len(asked), int(classes.max()) + 1))
    for place in range(near.shape[1]):
        weight = 1 + (0.5 if place == 0 else 0.0)  # less than a vote: it decides ties alone
        np.add.at(votes, (np.arange(len(asked)), classes[near[:, place]]), weight)
    return votes.argmax(axis=1)


def ridge(seen: np.ndarray, classes: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """The class with the greatest output of a ridge regression on 1 (the class) and -1 (others); arguments as above.

    The ridge is the one of `RIDGES` with the least leave-one-out error, in closed form (Golub, Heath and Wahba 1979).
    """
    known = np.unique(classes)
    answers = np.where(classes[:, None] == known, 1.0, -1.0)
    middle, usual = seen.mean(axis=0), answers.mean(axis=0)
    spread, vectors = np.linalg.eigh((seen - middle).T @ (seen - middle))
    parts, aims = (seen - middle) @ vectors, answers - usual
    products, squares = parts.T @ aims, parts**2

    def left_out(size: float) -> float:
        hat = 1 / len(seen) + squares @ (1 / (spread + size))
        rest = aims - parts @ (products / (spread + size)[:, None])
        return float(np.mean((rest / (1 - hat)[:, None]) ** 2))

    size = min(RIDGES, key=left_out)
    weights = vectors @ (products / (spread + size)[:, None])
    return known[((asked - middle) @ weights + usual).argmax(axis=1)]


def _distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Squared Euclidean distances, ``[len(a), len(b)]``."""
    return (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1)[None] - 2 * a @ b.T


def _rate(found: np.ndarray, true: np.ndarray) -> tuple[str, int]:
    return f"{100 * np.mean(found == true):.2f} %", int(np.sum(found != true))
