"""Names that the network makes up, and what a letter costs it beside counts of letters."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from rnnjax.generate import generate
from rnnjax.looks.base import Sight, Subject
from rnnjax.tasks import Table
from rnnjax.tasks.names import END, Names
from rnnjax.train import answer_sums, predict

SHOWN = 100  # names
DRAWN = 1000  # from which shares are told
LONGEST = 50  # letters of a drawn name at most
LINE = 110  # symbols in a line of names
ROWS = 256  # of a batch
MOST_ROWS = 100_000  # of held-out names that are read again
BITS = float(np.log(2))  # nats in a bit


def look(subject: Subject) -> Iterator[Sight]:
    """A hundred names; how many exist; what a letter costs; what the layouts waste."""
    task = subject.built.task
    assert isinstance(task, Names)
    yield from sampled(subject, task)
    yield costs(subject, task)
    yield Sight(
        "Wasted steps",
        f"Steps that do not exist, of all steps of the rows for training; this run has layout {task.layout}.",
        table=task.layout_table(),
        numbers={f"wasted_{name}": share for name, share in task.waste().items()},
    )


def sampled(subject: Subject, task: Names) -> Iterator[Sight]:
    """Names drawn one letter at a time from the zero state, and how many of them exist."""
    names, ended = drawn_names(subject.model, task, DRAWN)
    train, held_out = (exist(names, task.text(split)) for split in ("train", "validation"))
    marks = np.where(train, "*", np.where(held_out, "+", ""))
    shown = [f"{name or '(no letter)'}{mark}" for name, mark in zip(names[:SHOWN], marks, strict=False)]
    width = max(map(len, shown)) + 2
    columns = max(1, LINE // width)
    lines = ["".join(name.ljust(width) for name in shown[k : k + columns]) for k in range(0, len(shown), columns)]
    yield Sight(
        f"{len(shown)} names",
        "Drawn one letter at a time from the zero state until a line break, at most 50 letters. "
        "* is in the training names, + in the held-out ones alone.",
        text="\n".join(line.rstrip() for line in lines),
    )
    real, lengths = train | held_out, np.asarray([len(name) for name in names])
    shares = {
        "real": real,
        "of these, among the training names": train,
        "of these, among the held-out names alone": held_out,
        "new": ~real,
        "without an end after 50 letters": ~ended,
    }
    yield Sight(
        "How many of the names exist",
        f"Of {len(names):,} names drawn; the whole list has {task.counts['names']:,}. "
        f"Mean length {lengths.mean():.1f} letters, that of the training names {mean_letters(task):.1f}.",
        table=Table(
            "names", ("", "names", "share"), [(n, int(v.sum()), f"{100 * v.mean():.1f} %") for n, v in shares.items()]
        ),
        numbers={
            "real_share": float(real.mean()),
            "new_share": float(1 - real.mean()),
            "training_share": float(train.mean()),
        },
    )


def mean_letters(task: Names) -> float:
    """Mean letters of a training name."""
    text = task.text("train")
    return len(text) / (text.count(END) - 1) - 1


def drawn_names(model: Any, task: Names, count: int) -> tuple[list[str], np.ndarray]:
    """Names that the model draws, and whether each came to its end, ``[count]``."""
    nothing = [np.asarray([task.inputs])] * count
    drawn = np.asarray(generate(model, nothing, jax.random.key(0), length=LONGEST).tokens)
    texts = [task.decode(row) for row in drawn]
    return [text.partition(END)[0] for text in texts], np.asarray([END in text for text in texts])


def exist(names: list[str], text: str) -> np.ndarray:
    """Whether each name is among those of a text, which stand between line breaks."""
    return np.asarray([bool(name) and f"{END}{name}{END}" in text for name in names])


def costs(subject: Subject, task: Names) -> Sight:
    """What a letter of a held-out name costs the network, and counts of letters."""
    split = "train" if task.data("validation") is None else "validation"
    nats = letter_cost(subject.model, task, split)
    rows = {**task.references()}
    numbers: dict[str, float] = {}
    if task.independent:
        carried = letter_cost(subject.model, task.unrolled(), split)
        rows |= {"the network, each letter from the zero state": nats, "the network, its state carried on": carried}
        numbers["carried_bits_per_symbol"] = carried / BITS
    else:
        rows["the network"] = nats
    which = "held-out" if split == "validation" else "training"
    return Sight(
        "What a letter costs",
        f"Mean over the {which} names, their line breaks included. Counts are those of the training names, 0.1 added "
        "to each; pairs know the letter before, triples the two before.",
        table=Table(
            "costs",
            ("", "nats a letter", "bits a letter"),
            [(name, f"{value:.4f}", f"{value / BITS:.4f}") for name, value in rows.items()],
        ),
        numbers=numbers,
    )


def letter_cost(model: Any, task: Names, split: str) -> float:
    """Mean loss of the model over the names of a split (if many, over some from all of it), in nats a letter."""
    size = task.rows(split, ROWS)
    batches = task.steps(split, size)
    stride = -(-batches * size // MOST_ROWS)
    graph, variables = nnx.split(model)
    order = task.order(jax.random.key(0), split, size)

    @jax.jit
    def total(variables, data, order):
        def add(index, sums):
            batch = task.take(data, order, index * stride, split, size)
            nats, answers, _ = answer_sums(task, predict(nnx.merge(graph, variables), batch, None, None), batch)
            return sums[0] + nats, sums[1] + answers

        return jax.lax.fori_loop(0, -(-batches // stride), add, (jnp.zeros(()), jnp.zeros((), jnp.int32)))

    nats, answers = total(variables, jax.device_put(task.data(split)), order)
    return float(nats) / int(answers)
