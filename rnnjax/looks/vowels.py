"""How well voices are told apart: beside simpler ways, speaker by speaker, and how soon."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from rnnjax.figures import classes, curves
from rnnjax.looks.base import Sight, Subject
from rnnjax.looks.prefixes import answers, answers_so_far
from rnnjax.tasks import Table
from rnnjax.tasks.vowels import Vowels

RIDGE = 1.0  # times the squared weights, in the baseline


def look(subject: Subject) -> Iterator[Sight]:
    """Accuracy beside baselines, the confusions, and accuracy by frames heard."""
    task = subject.built.task
    assert isinstance(task, Vowels)
    held = task.data("validation")
    if held is None:
        return
    found = answers(subject.model, held["inputs"], held["lengths"]).argmax(axis=-1)
    yield beside(task, found)
    yield confusion(task, found)
    yield soon(task, subject.model)


def beside(task: Vowels, found: np.ndarray) -> Sight:
    """Accuracy of the model, and of three ways that see the mean of each channel alone."""
    train, held = task.data("train"), task.data("validation")
    known, unknown = channel_means(train), channel_means(held)
    kinds, true = train["targets"], held["targets"]
    ways = {
        "the model": ("validation_accuracy", found),
        "ridge regression on the means": ("baseline_ridge_accuracy", by_ridge(known, kinds, unknown, task.outputs)),
        "nearest neighbour by the means": ("baseline_nearest_neighbour_accuracy", kinds[_nearest(unknown, known)]),
        "nearest centroid of the means": (
            "baseline_centroid_accuracy",
            _nearest(unknown, np.stack([known[kinds == k].mean(axis=0) for k in range(task.outputs)])),
        ),
        "always the most frequent speaker held out": (
            "baseline_majority_accuracy",
            np.full(true.shape, np.bincount(true).argmax()),
        ),
    }
    right = {name: (key, float(np.mean(guess == true))) for name, (key, guess) in ways.items()}
    rows = [(name, f"{100 * share:.2f} %", round((1 - share) * len(true))) for name, (_, share) in right.items()]
    caption = (
        f"{len(true)} held-out utterances of {task.outputs} speakers. All but the model know the mean of each channel "
        "over the utterance, and not its course."
    )
    table = Table("speakers named rightly", ("by", "right", "wrong"), rows)
    return Sight("Speakers beside simpler ways", caption, table=table, numbers=dict(right.values()))


def channel_means(held: dict[str, Any]) -> np.ndarray:
    """The mean of each channel over the frames that exist, ``[utterances, channels]``."""
    there = np.arange(held["inputs"].shape[1])[None] < held["lengths"][:, None]
    return (held["inputs"] * there[..., None]).sum(axis=1) / held["lengths"][:, None]


def by_ridge(known: np.ndarray, kinds: np.ndarray, unknown: np.ndarray, classes: int) -> np.ndarray:
    """The class whose indicator, fitted by ridge regression, is largest."""
    features = np.concatenate([known, np.ones((len(known), 1))], axis=1)
    penalty = RIDGE * np.eye(features.shape[1])
    penalty[-1, -1] = 0
    weights = np.linalg.solve(features.T @ features + penalty, features.T @ np.eye(classes)[kinds])
    return (unknown @ weights[:-1] + weights[-1]).argmax(axis=1)


def confusion(task: Vowels, found: np.ndarray) -> Sight:
    """Who is taken for whom."""
    true, counts = task.data("validation")["targets"], np.zeros((task.outputs, task.outputs), int)
    np.add.at(counts, (true, found), 1)
    figure = classes.confusion(counts, [label.removeprefix("speaker ") for label in task.labels], what="utterances")
    caption = "Held-out utterances: who speaks (rows), and whom the model takes it for (columns)."
    return Sight("Speakers taken for each other", caption, figure=figure)


def soon(task: Vowels, model: Any) -> Sight:
    """Accuracy after the first 1, 2, ... frames."""
    held = task.data("validation")
    so_far = answers_so_far(model, held["inputs"], held["lengths"]).argmax(axis=-1)
    shares = (so_far == held["targets"]).mean(axis=1)
    frames = np.arange(1, len(shares) + 1)
    level = next((int(k) for k, share in zip(frames, shares, strict=True) if share >= 0.9), 0)
    figure = curves(
        {"held-out accuracy": (frames, shares)},
        xlabel="frames heard (or all, where there are fewer)",
        ylabel="share right",
    )
    caption = "How soon a voice is known: the share of held-out utterances named rightly after their first frames."
    return Sight("How soon a voice is known", caption, figure=figure, numbers={"frames_to_90_percent": level})


def _nearest(points: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Which of the others is nearest to each point."""
    return np.square(points[:, None] - others[None]).sum(axis=-1).argmin(axis=1)
