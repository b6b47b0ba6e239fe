"""How sums are answered, what every cell does at every digit, and which cells follow something that can be named."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from rnnjax import figures
from rnnjax.looks import answers
from rnnjax.looks.answers import Written
from rnnjax.looks.base import Sight, Subject
from rnnjax.tasks import Batch, Table
from rnnjax.tasks.addition import Addition

SHOWN, CHOSEN = 45, 24  # sums in a picture: all pairs a<b of the numbers 1 to 10, or else some
MOST_CELLS = 60  # of a layer in one picture, those that vary most
LEVELS = 20  # colours of a scale
ASKED = 300  # questions over which cells are scored
PERMUTATIONS = 500
TOGETHER = 50  # in one matrix product: many small ones wait for each other's threads
THRESHOLDS = 16  # of the sum, at most
RAREST = 0.05  # share of digits that a condition must hold for, and fail for
NAMED, PICTURED = 12, 8  # cells in the table, and in the picture
ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth")
ASKED_FOR = (
    *("every first digit", "sum under 10, and more at the second digit"),
    *("second digit when the sum is under 9", "second digit when the sum is over 14"),
    *("sum over 9", "the ones carry", "a carry comes in", "a carry goes out"),
    *("the sum", "the value of the digit"),
)
"""Conditions of which the best cell is told whatever it is: those that the study named by eye, and the carry."""


class Condition(NamedTuple):
    """Something that a cell may follow: its name, and what it is at each digit of each sum, ``[sums, digits]``."""

    name: str
    labels: np.ndarray


class Naming(NamedTuple):
    """How closely cells follow conditions.

    Attributes:
      conditions: their names.
      correlation: ``[cells, conditions]``; its square is the share of a cell's variance that the condition explains.
      null: the greatest share of any cell by any condition, where digits are shuffled, ``[permutations]``.
    """

    conditions: list[str]
    correlation: np.ndarray
    null: np.ndarray

    def p(self, share: float) -> float:
        """The chance of so great a share for any cell and any condition, if no cell followed anything."""
        return (1 + int((self.null >= share).sum())) / (1 + len(self.null))


def look(subject: Subject) -> Iterator[Sight]:
    """Right answers, twenty lines, every cell at every digit of all small sums, and the cells that have a name."""
    found = answers.written(subject)
    task = task_of(subject)
    others = task.held_out_largest or task.held_out_terms
    yield answers.rates(task, found, answers.written(subject, "train") if others else None)
    yield answers.lines(task, found)
    pairs = [f"Expected={right}, Predicted={given}" for _, right, given in answers.texts(task, found)[: answers.LINES]]
    yield Sight("Expected and predicted", text="\n".join(pairs))
    batch = shown(task, found)
    for field in fields(subject):
        yield from cells(subject, batch, field)
    yield from named(subject, found, batch)


def task_of(subject: Subject) -> Addition:
    """The task, which is sums."""
    task = subject.built.task
    assert isinstance(task, Addition)
    return task


def fields(subject: Subject) -> tuple[str, ...]:
    """The quantities to draw, by name: those that the experiment records, or the decoder's output."""
    return subject.built.experiment.record.fields or subject.model.watched


def distinct_sums(task: Addition, found: Written, most: int) -> tuple[Batch, np.ndarray]:
    """The first different ones of the questions, at most so many, and their numbers with signs, ``[sums, terms]``."""
    inputs, targets = np.asarray(found.batch.inputs), np.asarray(found.batch.targets)
    first = np.sort(np.unique(inputs, axis=0, return_index=True)[1])[:most]
    terms = [list(map(int, re.findall(r"[+-]?\d+", task.decode(inputs[k])))) for k in first]
    longest = max(map(len, terms))
    numbers = np.asarray([row + [0] * (longest - len(row)) for row in terms])
    order = np.lexsort(numbers.T[::-1])
    kept = first[order]
    return Batch(jnp.asarray(inputs[kept]), jnp.asarray(targets[kept])), numbers[order]


def shown(task: Addition, found: Written) -> Batch:
    """The sums of the pictures: all pairs a<b if there are few, else some of the questions, in order."""
    numbers = range(task.smallest, task.largest + 1)
    few = len(numbers) * (len(numbers) - 1) <= 2 * SHOWN and not task.held_out_largest
    if few and task.operations == "+" and max(task.terms, task.held_out_terms) == 2:
        return jax.jit(task.write)(jnp.asarray([(a, b) for a in numbers for b in numbers if a < b]))
    return distinct_sums(task, found, CHOSEN)[0]


def record(model: Any, batch: Batch, field: str) -> tuple[np.ndarray, np.ndarray]:
    """What is written freely, ``[batch, answers]``, and a quantity meanwhile, ``[batch, steps, units]``."""
    given, found = _record(*nnx.split(model), batch.inputs, field)
    return np.asarray(given), np.asarray(found, np.float64)


@partial(jax.jit, static_argnums=(0, 3))
def _record(graph: Any, variables: Any, inputs: jax.Array, field: str) -> tuple[jax.Array, jax.Array]:
    model = nnx.merge(graph, variables)
    given = model.write(inputs)
    return given, model.unroll(inputs, answers=given, record=(field,)).recorded[field]


def cells(subject: Subject, batch: Batch, field: str) -> Iterator[Sight]:
    """All cells of a layer at every digit, on the study's scale and on one that the values span."""
    given, values = record(subject.model, batch, field)
    written = field.startswith("decoder")
    texts, painted = on_texts(task_of(subject), batch, given, values, written=written)
    chosen = np.sort(np.argsort(-values.std(axis=(0, 1)), kind="stable")[:MOST_CELLS])
    where = "digits that were written" if written else "symbols that were read"
    some = "" if len(chosen) == values.shape[2] else f" The {len(chosen)} cells of {values.shape[2]} that vary most."
    yield Sight(
        f"Cells of {field}",
        f"The {where} are coloured by the sigmoid of each cell's value there; of an output between -1 and 1 it "
        f"spans 0.27 to 0.73 alone.{some}",
        figures.coloured(
            texts,
            1 / (1 + np.exp(-painted[chosen])),
            titles=[f"cell {cell}" for cell in chosen],
            label=f"sigmoid of {field}, in hundredths",
            key=[str(100 * level // LEVELS) for level in range(LEVELS)],
        ),
    )
    yield Sight(
        f"Cells of {field}, full range",
        f"The same, each cell on a scale of its own: from minus to plus its greatest magnitude, which its title "
        f"tells.{some}",
        spanning(texts, painted[chosen], chosen.tolist(), field),
    )


def on_texts(
    task: Addition, batch: Batch, given: np.ndarray, values: np.ndarray, *, written: bool
) -> tuple[list[str], np.ndarray]:
    """Sums as they are shown, such as `1+2= 3`, and the values of each cell, ``[cells, sums, symbols]``: at the symbols
    that were written, or at those that were read; elsewhere not a number."""
    texts = [f"{task.decode(q)}={task.decode(a)}" for q, a in zip(np.asarray(batch.inputs), given, strict=True)]
    painted = np.full((values.shape[2], len(texts), len(texts[0])), np.nan)
    start = task.length + 1 if written else 0
    painted[:, :, start : start + values.shape[1]] = np.moveaxis(values, 2, 0)
    if written:
        texts = [text.lstrip(" ") for text in texts]
    return texts, painted[:, :, -max(map(len, texts)) :]


def spanning(
    texts: Sequence[str], painted: np.ndarray, cells: Sequence[int], field: str, names: Sequence[str] = ()
) -> figures.Figure:
    """Texts coloured by the values of some cells, each on its own scale around zero, which its title tells."""
    greatest = np.nanmax(np.abs(painted), axis=(1, 2), keepdims=True)
    levels = [f"{2 * k / LEVELS - 1:+.1f}".replace("+0.0", "0") if k % 2 == 0 else "" for k in range(LEVELS)]
    return figures.coloured(
        texts,
        painted / np.maximum(greatest, 1e-30),
        titles=[
            f"cell {cell} (±{size:.2f}){name}"
            for cell, size, name in zip(cells, greatest.ravel(), names or [""] * len(cells), strict=True)
        ],
        label=f"{field}, in units of the cell's greatest magnitude",
        key=levels,
        limits=(-1.0, 1.0),
        colours=figures.PURPLE_ORANGE,
    )


def named(subject: Subject, written: Written, batch: Batch) -> Iterator[Sight]:
    """Decoder cells that follow a condition, with a null: tables of cells and of conditions, and a picture."""
    task, field = task_of(subject), subject.model.watched[-1]
    asked, numbers = distinct_sums(task, written, ASKED)
    known = conditions(task, numbers, np.asarray(asked.targets))
    found = name_cells(record(subject.model, asked, field)[1], known)
    member = jax.jit(subject.built.trainer.member)(subject.built.experiment.seed)
    untrained = subject.built.trainer.model(member.params, member.fixed)
    before = correlate(record(untrained, asked, field)[1], table_of(known))
    shares, floor = found.correlation**2, float(np.quantile(found.null, 0.95))
    best = shares.argmax(axis=1)
    ranked = np.argsort(-shares.max(axis=1), kind="stable")
    rows, names = [], []
    for cell in ranked[:NAMED]:
        share, name = float(shares[cell, best[cell]]), found.conditions[best[cell]]
        way = "higher" if found.correlation[cell, best[cell]] > 0 else "lower"
        rows.append((int(cell), way, name, f"{100 * share:.0f} %", f"{found.p(share):.3f}"))
        names.append(f": {100 * share:.0f} %, {way} where\n{name}")
    caption = (
        f"Over {len(numbers)} sums of {task.answer_steps} digits: of {len(found.conditions)} conditions the one that "
        f"explains most of a cell's variance. p is the chance of so much for any cell and condition, were digits "
        f"shuffled: 5 % of shufflings reach {100 * floor:.0f} %."
    )
    count = sum(found.p(float(share)) < 0.05 for share in shares.max(axis=1))
    heads = ("cell", "is", "where", "of its variance", "p")
    yield Sight("Named cells", caption, table=Table("named cells", heads, rows), numbers={"named_cells": count})
    listed = []
    for k, name in enumerate(found.conditions):
        if name in ASKED_FOR:
            cell, share = int(shares[:, k].argmax()), float(shares[:, k].max())
            without = float(np.max(before[:, k] ** 2))
            listed.append((name, cell, f"{100 * share:.0f} %", f"{found.p(share):.3f}", f"{100 * without:.0f} %"))
    caption = (
        "The cell that follows each condition best, and how well the best cell of the untrained network does: what a "
        "recurrent layer knows without learning."
    )
    if any(name == "the ones carry" for name, *_ in listed):
        caption += " The ones carry where they add to more than 9, so that 10+3 has no carry."
    yield Sight(
        "Conditions and their cells",
        caption,
        table=Table("conditions", ("condition", "cell", "of its variance", "p", "untrained"), listed),
    )
    chosen = ranked[:PICTURED]
    given, values = record(subject.model, batch, field)
    texts, painted = on_texts(task, batch, given, values, written=True)
    yield Sight(
        "Named cells at work",
        "The cells that follow a condition most closely, each on a scale of its own.",
        spanning(texts, painted[chosen], chosen.tolist(), field, names[: len(chosen)]),
    )


def conditions(task: Addition, numbers: np.ndarray, written: np.ndarray) -> list[Condition]:
    """What a cell may follow: places, thresholds of the sum, carries, and the digit itself.

    Args:
      task: the task.
      numbers: of each sum, with their signs, ``[sums, terms]``.
      written: symbols of the right answers, ``[sums, digits]``.
    """
    shape = written.shape
    total = np.broadcast_to(numbers.sum(axis=1)[:, None], shape)
    place = np.broadcast_to(np.arange(shape[1])[None], shape)
    names = [ORDINALS[k] if k < len(ORDINALS) else f"{k + 1}th" for k in range(shape[1])]
    known = [Condition(f"every {name} digit", place == k) for k, name in enumerate(names)]
    known += [Condition("the sum", total), Condition("the value of the digit", np.where(written < 10, written, 0))]
    if task.operations == "+":
        places = [10**k for k in range(shape[1], -1, -1)]
        carries = np.stack([(numbers % each).sum(axis=1) >= each for each in places], axis=1)
        known += [Condition("a carry comes in", carries[:, 1:]), Condition("a carry goes out", carries[:, :-1])]
        known.append(Condition("the ones carry", np.broadcast_to(carries[:, -2:-1], shape)))
    cuts = np.unique(total)[:-1]
    if len(cuts) > THRESHOLDS:
        cuts = np.unique(np.quantile(total, np.arange(1, THRESHOLDS) / THRESHOLDS).astype(int))
    for cut in cuts:
        sides = {f"over {cut}": total > cut, f"under {cut + 1}": total <= cut}
        known.append(Condition(f"sum over {cut}", total > cut))
        for k, name in enumerate(names):
            for side, holds in sides.items():
                known.append(Condition(f"{name} digit when the sum is {side}", holds & (place == k)))
                known.append(Condition(f"sum {side}, and more at the {name} digit", holds * (1.0 + (place == k))))
    known += [Condition(f"writes {task.labels[k]!r}", written == k) for k in np.unique(written)]
    return distinct(known)


def distinct(known: Sequence[Condition]) -> list[Condition]:
    """Those that are neither rare nor the same as, or the opposite of, one before."""
    kept: dict[bytes, Condition] = {}
    for condition in known:
        labels = condition.labels.ravel().astype(np.float64)
        share = np.mean(labels > labels.mean())
        if RAREST <= share <= 1 - RAREST:
            labels = standardised(labels[:, None])
            kept.setdefault(np.round(labels * np.sign(labels[0]), 6).tobytes(), condition)
    return list(kept.values())


def standardised(columns: np.ndarray) -> np.ndarray:
    """Columns ``[rows, columns]`` of mean 0 and variance 1; one that is constant becomes zero."""
    centred = columns - columns.mean(axis=0)
    return centred / np.maximum(centred.std(axis=0), 1e-12)


def table_of(known: Sequence[Condition]) -> np.ndarray:
    """Conditions in standard units, ``[sums * digits, conditions]``."""
    return standardised(np.stack([each.labels.ravel() for each in known], axis=1).astype(np.float64))


def correlate(values: np.ndarray, table: np.ndarray) -> np.ndarray:
    """Correlation of cells ``[sums, digits, cells]`` with the conditions of a table: ``[cells, conditions]``."""
    return standardised(values.reshape(-1, values.shape[2])).T @ table / len(table)


def name_cells(values: np.ndarray, known: Sequence[Condition], *, permutations: int = PERMUTATIONS) -> Naming:
    """Scores every cell by every condition, with a null for the best of all.

    The null: sums change places, and so do the digits within each sum, while the values of all cells at a digit stay
    together. The greatest share of any cell by any condition is then what chance gives to one who looks at all of them
    (the maximum statistic of Westfall & Young 1993, "Resampling-based multiple testing").

    Args:
      values: of the cells, ``[sums, digits, cells]``.
      known: the conditions.
      permutations: shufflings.
    """
    random, (sums, digits, units) = np.random.default_rng(0), values.shape
    table = table_of(known)
    rows = standardised(values.reshape(-1, units)).reshape(values.shape).astype(np.float32)
    columns, greatest = table.astype(np.float32) / len(table), []
    for _ in range(0, permutations, TOGETHER):
        order = random.permuted(np.tile(np.arange(sums), (TOGETHER, 1)), axis=1)
        within = random.permuted(np.tile(np.arange(digits), (TOGETHER, sums, 1)), axis=2)
        shuffled = rows[order[..., None], within].reshape(TOGETHER, -1, units).swapaxes(1, 2)
        products = shuffled.reshape(-1, len(table)) @ columns
        greatest.append(np.square(products).reshape(TOGETHER, -1).max(axis=1))
    return Naming([each.name for each in known], correlate(values, table), np.concatenate(greatest)[:permutations])
