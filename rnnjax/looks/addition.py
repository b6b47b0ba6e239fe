"""How sums are answered, what every cell does at every digit, and which cells follow something that can be named."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from rnnjax import figures
from rnnjax.interpret import explain
from rnnjax.looks import answers
from rnnjax.looks.answers import Written
from rnnjax.looks.base import Sight, Subject, most_varied
from rnnjax.tasks import Batch, Table
from rnnjax.tasks.addition import Addition

SHOWN, CHOSEN = 45, 24  # sums in a picture: all pairs a<b of the numbers 1 to 10, or else some
MOST_CELLS = 60  # of a layer in one picture, those that vary most
LEVELS = 20  # colours of a scale
ASKED = 300  # questions over which cells are scored
NAMED, PICTURED = 12, 8  # cells in the table, and in the picture
ASKED_FOR = (
    *("every first digit", "sum under 10, and more at the second digit"),
    *("second digit when the sum is under 9", "second digit when the sum is over 14"),
    *("sum over 9", "the ones carry", "a carry comes in", "a carry goes out"),
    *("the sum", "the value of the digit"),
)
"""Conditions of which the best cell is told whatever it is: those that the study named by eye, and the carry."""


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
    numbers = task.terms_of(found.batch)[first]
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
    chosen = most_varied(values, MOST_CELLS)
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
        spanning(texts, painted[chosen], chosen, field),
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
    """Decoder cells that follow something, scored on sums that were not used to choose: tables of cells and of
    conditions, and a picture."""
    task, field = task_of(subject), subject.model.watched[-1]
    asked, numbers = distinct_sums(task, written, ASKED)
    found = explain(subject.model, task, asked, field)
    member = jax.jit(subject.built.trainer.member)(subject.built.experiment.seed)
    before = explain(subject.built.trainer.model(member.params, member.fixed), task, asked, field)
    table = found.table()
    share = f"{100 * found.rate:.0f} %"
    caption = (
        f"Over {len(numbers)} sums of {task.answer_steps} digits: of {len(found.concepts)} conditions the one that "
        f"explains most of a cell's variance on half of the sums, as learnt from the other half, each half in turn. "
        f"At most {share} of all named cells ({len(found.named)}) are expected to follow nothing: q, against sums and "
        f"digits that change places."
    )
    heads = ("cell", *table.heads[1:])
    numbers_found = {"named_cells": len(found.named), "named_cells_untrained": len(before.named)}
    yield Sight("Named cells", caption, table=Table("named cells", heads, table.rows[:NAMED]), numbers=numbers_found)
    listed = []
    for name in (name for name in ASKED_FOR if name in found.concepts):
        shares, without = found.effect(name), before.effect(name)
        cell = int(shares.argmax())
        best = found.concepts[int(found.effects[cell].argmax())]
        row = (name, cell, f"{100 * shares[cell]:.0f} %", "the same" if best == name else best)
        listed.append((*row, f"{100 * without.max():.0f} %"))
    caption = (
        "The cell that follows each condition best, what that cell itself follows best, and how well the best cell of "
        "the untrained network does: what a recurrent layer knows without learning."
    )
    if any(name == "the ones carry" for name, *_ in listed):
        caption += " The ones carry where they add to more than 9, so that 10+3 has no carry."
    heads = ("condition", "cell", "of its variance", "it follows best", "untrained")
    yield Sight("Conditions and their cells", caption, table=Table("conditions", heads, listed))
    best, greatest = found.effects.argmax(axis=1), found.effects.max(axis=1)
    chosen = np.argsort(-greatest, kind="stable")[:PICTURED]
    names = [f": {100 * greatest[cell]:.0f} %,\n{found.concepts[best[cell]]}" for cell in chosen]
    given, values = record(subject.model, batch, field)
    texts, painted = on_texts(task, batch, given, values, written=True)
    yield Sight(
        "Named cells at work",
        "The cells that follow a condition most closely, each on a scale of its own.",
        spanning(texts, painted[chosen], chosen.tolist(), field, names),
    )
