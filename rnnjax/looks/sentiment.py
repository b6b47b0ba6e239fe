"""How well verdicts are found: beside simpler ways, and the words at which the running verdict turns."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from rnnjax.figures.readings import Reading, running
from rnnjax.looks.base import Sight, Subject
from rnnjax.looks.prefixes import answers, answers_so_far
from rnnjax.tasks import Table
from rnnjax.tasks.sentiment import Sentiment
from rnnjax.tasks.sources import WORD

READ = 300  # held-out reviews whose running verdict is followed
OFTEN = 4  # times that a word must come among them to be listed
LISTED = 10
WORDS = range(10, 27)  # of a review that is drawn


def look(subject: Subject) -> Iterator[Sight]:
    """Accuracy beside baselines, words that turn the verdict, and three reviews as they are read."""
    task = subject.built.task
    assert isinstance(task, Sentiment)
    held = task.data("validation")
    if held is None:
        return
    yield beside(task, answers(subject.model, held["inputs"], held["lengths"]))
    read = {name: values[:READ] for name, values in held.items()}
    so_far = answers_so_far(subject.model, read["inputs"], read["lengths"])
    if task.outputs == 2:
        probability = np.exp(so_far[..., 1]).T
        yield turning(task, read, probability)
        yield reviews(task, read, probability)


def beside(task: Sentiment, found: np.ndarray) -> Sight:
    """Accuracy and loss of the model, of naive Bayes over words, and of the usual verdict."""
    train, held = task.data("train"), task.data("validation")
    true = held["targets"]
    usual = np.bincount(train["targets"], minlength=task.outputs) / len(train["targets"])
    ways = {
        "the model": ("validation", found),
        "naive Bayes over words": ("baseline_naive_bayes", by_words(task, train, held)),
        "always the usual verdict": ("baseline_majority", np.log(np.tile(usual, (len(true), 1)))),
    }
    rows, numbers = [], {}
    for name, (key, guess) in ways.items():
        share = float(np.mean(guess.argmax(axis=1) == true))
        loss = float(-guess[np.arange(len(true)), true].mean())
        rows.append((name, f"{100 * share:.2f} %", f"{loss:.3f}"))
        numbers |= {f"{key}_accuracy": share, f"{key}_loss": loss}
    numbers.pop("validation_loss")  # the log has it
    caption = (
        f"{len(true):,} reviews of {task.films[1]} films that no method has seen. Naive Bayes knows which words a "
        f"review has and not their order; with {len(true):,} reviews, accuracies differ by chance by about "
        f"{100 * np.sqrt(0.25 * 0.75 / len(true)):.1f} %."
    )
    table = Table("verdicts found", ("by", "right", "loss, nats"), rows)
    return Sight("Verdicts beside simpler ways", caption, table=table, numbers=numbers)


def by_words(task: Sentiment, train: dict[str, Any], held: dict[str, Any]) -> np.ndarray:
    """Log-probabilities ``[reviews, classes]`` by naive Bayes: which words come in a review, each counted once, with
    one review more for every word and verdict than there is (Laplace)."""
    rows, words = _words_of(train["inputs"], task.inputs)
    kinds = train["targets"]
    counts = np.ones((task.outputs, task.inputs))
    np.add.at(counts, (kinds[rows], words), 1)
    weights = np.log(counts / counts.sum(axis=1, keepdims=True)).T
    rows, words = _words_of(held["inputs"], task.inputs)
    scores = np.tile(np.log(np.bincount(kinds, minlength=task.outputs) / len(kinds)), (len(held["targets"]), 1))
    np.add.at(scores, rows, weights[words])
    return scores - np.logaddexp.reduce(scores, axis=1, keepdims=True)


def turning(task: Sentiment, read: dict[str, Any], probability: np.ndarray) -> Sight:
    """The words at which the running verdict moves most, in log-odds, on average over reviews."""
    bounded = probability.clip(1e-6, 1 - 1e-6)
    odds = np.log(bounded / (1 - bounded))
    moves = np.diff(odds, axis=1, prepend=0)
    there = np.arange(moves.shape[1])[None] < read["lengths"][:, None]
    words = read["inputs"][there]
    count = np.bincount(words, minlength=task.inputs)
    mean = np.bincount(words, weights=moves[there], minlength=task.inputs) / np.maximum(count, 1)
    often = np.flatnonzero(count >= OFTEN)
    order = often[np.argsort(mean[often], kind="stable")]
    sides = (order[::-1][:LISTED], order[:LISTED])
    cells = [[(task.words.show(k), f"{mean[k]:+.2f}", int(count[k])) for k in side.tolist()] for side in sides]
    rows = [(*pro, *against) for pro, against in zip(*cells, strict=True)]
    against, pro = task.labels
    heads = (f"towards {pro}", "log-odds", "times", f"towards {against}", "log-odds", "times")
    caption = (
        f"By how much a word moves the verdict where it is read, on average over {len(read['targets'])} held-out "
        f"reviews (words that come {OFTEN} times or more)."
    )
    return Sight("Words that turn the verdict", caption, table=Table("words that turn the verdict", heads, rows))


def reviews(task: Sentiment, read: dict[str, Any], probability: np.ndarray) -> Sight:
    """The review of each verdict over which the model comes round most, and the one in which it errs most."""
    lengths, true = read["lengths"], read["targets"]
    last, signs = probability[:, -1], np.where(true == 1, 1, -1)
    round_about = (signs[:, None] * (last[:, None] - probability)).max(axis=1)
    fits, right = np.isin(lengths, WORDS), (last >= 0.5) == true
    against, pro = task.labels
    panels = []
    for wanted, value in (
        (right & (true == 1), round_about),
        (right & (true == 0), round_about),
        (~right, np.abs(last - 0.5)),
    ):
        if not (wanted & fits).any():
            continue
        k = int(np.where(wanted & fits, value, -2).argmax())
        said = pro if last[k] >= 0.5 else against
        symbols, end = read["inputs"][k], int(lengths[k])
        words = WORD.findall(task.texts["validation"][k])[-end:]
        shown = [word if symbol else f"[{word}]" for word, symbol in zip(words, symbols[:end], strict=True)]
        panels.append(Reading(f"is {task.labels[true[k]]}, found {said} ({last[k]:.2f})", shown, probability[k][:end]))
    caption = (
        f"Held-out reviews, and the probability of {pro} after each word: a bar above the middle means {pro} so far, "
        f"one below it {against}. Chosen are the review of each verdict over which the model comes round most, and the "
        "one in which it errs most. It does not know the words in brackets."
    )
    return Sight("A verdict as it grows", caption, figure=running(panels, against=against, pro=pro))


def _words_of(inputs: np.ndarray, symbols: int) -> tuple[np.ndarray, np.ndarray]:
    """Which words come in which review: two arrays ``[pairs]``, of reviews and of words, every pair once."""
    pairs = np.unique(np.arange(len(inputs))[:, None] * (symbols + 1) + inputs)
    rows, words = np.divmod(pairs, symbols + 1)
    return rows[words < symbols], words[words < symbols]
