"""What a model writes in answer to fresh questions, whatever the task."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from rnnjax.looks.base import Sight, Subject
from rnnjax.tasks import Batch, Drawn, Table, Task

QUESTIONS = 1000
LINES = 20
PLACES = 12  # places of an answer that a table has room for


class Written(NamedTuple):
    """Questions, and what a model wrote.

    Attributes:
      batch: the questions and the right answers.
      answers: what was written, ``[batch, answers]``.
      counts: which symbols of an answer count, of the same shape.
    """

    batch: Batch
    answers: np.ndarray
    counts: np.ndarray

    @property
    def right(self) -> np.ndarray:
        """Which symbols that count are right, ``[batch, answers]``."""
        return (self.answers == np.asarray(self.batch.targets)) & self.counts

    @property
    def exact(self) -> np.ndarray:
        """Which answers are right in every symbol that counts, ``[batch]``."""
        return np.all(self.right | ~self.counts, axis=1)


def look(subject: Subject) -> Iterator[Sight]:
    """How many fresh questions are answered, and twenty of them."""
    found = written(subject)
    yield rates(subject.built.task, found)
    yield lines(subject.built.task, found)


def written(subject: Subject, split: str = "validation") -> Written:
    """What the model writes, its own symbols fed back if any, in answer to fresh questions: of a drawn task new ones,
    drawn as in that split; of a stored one those of the split, or of training where it has no validation."""
    task = subject.built.task
    split = split if task.data(split) is not None else "train"
    size = task.rows(split, QUESTIONS)
    graph, variables = nnx.split(subject.model)

    @jax.jit
    def asked(variables, data):
        if isinstance(task, Drawn):
            batch = task.drawn(jax.random.fold_in(jax.random.key(QUESTIONS), 0), split, size)
        else:
            batch = task.take(data, task.order(jax.random.key(0), split, size), 0, split, size)
        return batch, nnx.merge(graph, variables).write(batch.inputs, lengths=batch.lengths, mask=batch.mask)

    batch, given = asked(variables, jax.tree.map(jnp.asarray, task.data(split)))
    counts = np.ones(batch.targets.shape, bool) if batch.counts is None else np.asarray(batch.counts)
    return Written(batch, np.asarray(given), counts)


def commonest(found: Written) -> Written:
    """What is written by one who does not read: at every place the symbol that is right there most often."""
    symbols = [
        np.bincount(column[kept], minlength=1).argmax()
        for column, kept in zip(np.asarray(found.batch.targets).T, found.counts.T, strict=True)
    ]
    return found._replace(answers=np.broadcast_to(np.asarray(symbols), found.answers.shape))


def rates(task: Task, found: Written, seen: Written | None = None) -> Sight:
    """The share of answers and of symbols that are right, beside that of one who does not read.

    Args:
      task: the task.
      found: what was written in answer to questions as in validation.
      seen: the same for questions as in training, where they are others.
    """
    compared = {"the model": ("", found), "the commonest symbol at each place": ("_unread", commonest(found))}
    if seen is not None:
        compared["the model, questions as in training"] = ("_as_trained", seen)
    places = min(found.answers.shape[1], PLACES)
    rows, numbers = [], {}
    for name, (suffix, each) in compared.items():
        exact, symbols = float(each.exact.mean()), float(each.right.sum() / max(1, each.counts.sum()))
        shares = each.right.sum(axis=0) / np.maximum(each.counts.sum(axis=0), 1)
        rows.append((name, *(f"{100 * share:.1f} %" for share in (exact, symbols, *shares[:places]))))
        numbers |= {f"exact_match{suffix}": exact, f"symbol_accuracy{suffix}": symbols}
    heads = ("", "exact match", "symbols", *(f"symbol {k + 1}" for k in range(places)))
    kind = "questions drawn anew, as in validation" if isinstance(task, Drawn) else "questions"
    caption = f"{len(found.answers):,} {kind}; each answer is written freely."
    return Sight("Right answers", caption, table=Table("right answers", heads, rows), numbers=numbers)


def lines(task: Task, found: Written) -> Sight:
    """The first of the questions, with the right answer and what was written."""
    table = Table("answers", ("Question", "Expected", "Predicted"), texts(task, found)[:LINES])
    wrong = int((~found.exact).sum())
    caption = (
        f"The first {len(table.rows)} of those questions; {wrong} of all {len(found.answers):,} are answered wrong."
    )
    return Sight("Answers", caption, table=table)


def texts(task: Task, found: Written) -> list[tuple[str, str, str]]:
    """Every question, the right answer and what was written, as text; a question of numbers is but an example."""
    inputs, targets = np.asarray(found.batch.inputs), np.asarray(found.batch.targets)
    lengths = [inputs.shape[1]] * len(inputs) if found.batch.lengths is None else np.asarray(found.batch.lengths)
    rows = []
    for k, (question, length) in enumerate(zip(inputs, lengths, strict=True)):
        read = task.decode([s for s in question[:length] if s < task.inputs]) if task.symbols else f"example {k + 1}"
        rows.append((read, task.decode(targets[k]), task.decode(found.answers[k])))
    return rows
