"""A network on sequences whose answer is known exactly: right at which lengths, with how many numbers, and how."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from rnnjax.figures import curves
from rnnjax.figures.classes import plane
from rnnjax.layers import FeedForward, SequenceModel
from rnnjax.looks.base import Sight, Subject
from rnnjax.tasks import Table
from rnnjax.tasks.algorithmic import Parity, Recall, Sequences

ASKED = 500  # sequences of each length
LONGEST = 1000  # steps, of the longest sequences asked
FRESH = 100  # key of what is asked
WATCHED = 40  # sequences whose states are drawn
GRID = 160  # points along a side of the plane


def look(subject: Subject) -> Iterator[Sight]:
    """Accuracy by length, parameters by length, and the plane that the state moves in."""
    task, model = subject.built.task, subject.model
    assert isinstance(task, Parity | Recall)
    yield from by_length(task, model)
    yield parameters(subject, task)
    forward = not subject.built.experiment.model.bidirectional
    if forward and isinstance(model, SequenceModel) and model.stack.width > 1:
        yield states(task, model)


def by_length(task: Parity | Recall, model: Any) -> Iterator[Sight]:
    """The share of fresh sequences that are answered rightly, at lengths in training and beyond."""
    shortest, longest = task.lengths["train"]
    fixed = isinstance(model, FeedForward)
    beyond = [] if fixed else [2 * longest, 5 * longest, 10 * longest, task.lengths["validation"][1], LONGEST]
    within = [] if fixed else [shortest, shortest + 1, shortest + 2, (shortest + longest) // 2]
    lengths = sorted({*(n for n in within if n < longest), longest, *(n for n in beyond if n <= LONGEST)})
    rates = accuracies(task, model, lengths)
    guess = 1 / task.outputs
    rows = [
        (n, f"{100 * rate:.1f} %", "in training" if n <= longest else f"{n / longest:g} x the longest in training")
        for n, rate in zip(lengths, rates, strict=True)
    ]
    told = {longest, 2 * longest, max(lengths)}
    numbers = {f"accuracy_at_{n}": float(rate) for n, rate in zip(lengths, rates, strict=True) if n in told}
    caption = (
        f"{ASKED} fresh sequences of each length; baseline_accuracy is a guess, the best that can be done without "
        f"{'every bit' if isinstance(task, Parity) else 'the first symbol'}: {100 * guess:.1f} %."
        + (f" A feed-forward network reads {longest} steps, no more." if fixed else "")
    )
    yield Sight(
        "Accuracy by length",
        caption,
        table=Table("accuracy by length", ("steps", "right", ""), rows),
        numbers=numbers | {"baseline_accuracy": guess},
    )
    near = [n for n in lengths if n <= 10 * longest]
    if len(near) > 1:
        figure = curves(
            {"this network": (near, 100 * rates[: len(near)]), "a guess": (near, [100 * guess] * len(near))},
            xlabel="steps of a sequence",
            ylabel="right answers (%)",
        )
        yield Sight("Accuracy beyond the training lengths", f"Training ends at {longest} steps.", figure=figure)


def accuracies(task: Sequences, model: Any, lengths: list[int]) -> np.ndarray:
    """The share of `ASKED` sequences of each length that are answered rightly."""
    graph, variables = nnx.split(model)
    steps = jnp.repeat(jnp.asarray(lengths), ASKED)

    def shares(variables: Any, key: jax.Array) -> jax.Array:
        batch = task.sequences(key, steps, max(lengths))
        found = nnx.merge(graph, variables).unroll(batch.inputs, lengths=batch.lengths).outputs.argmax(axis=-1)
        return jnp.mean((found == batch.targets).reshape(len(lengths), ASKED), axis=1)

    return np.asarray(jax.jit(shares)(variables, jax.random.key(FRESH)))


def parameters(subject: Subject, task: Parity | Recall) -> Sight:
    """Parameters of this network at several lengths, beside those of feed-forward networks that read all at once."""
    own = sum(row["parameters"] for row in subject.built.layers())
    units = subject.built.experiment.model.units
    hidden = units if isinstance(units, int) else units[-1]
    fixed = isinstance(subject.model, FeedForward)
    rows = []
    for n in sorted({5, task.length, 2 * task.length, LONGEST}):
        each = n * task.inputs + 1 + task.outputs  # of one hidden unit
        here = f"{own:,}" if not fixed or n == task.length else "cannot read it"
        rows.append((n, here, f"{hidden * each + task.outputs:,}", f"{max(0, own - task.outputs) // each:,}"))
    heads = (
        "steps",
        "this network",
        f"feed-forward, one layer of {hidden}",
        f"hidden units that {own:,} parameters pay for there",
    )
    caption = "What is unrolled uses the same weights at every step; a feed-forward network needs its own for each."
    return Sight(
        "Parameters by length",
        caption,
        table=Table("parameters by length", heads, rows),
        numbers={
            "feedforward_parameters": float(hidden * (task.length * task.inputs + 1 + task.outputs) + task.outputs)
        },
    )


def states(task: Parity | Recall, model: Any) -> Sight:
    """The state after every step of some sequences, in the plane of two units (or in the plane it varies most in)."""
    steps = task.length
    graph, variables = nnx.split(model)

    def watched(variables: Any, key: jax.Array) -> tuple[jax.Array, jax.Array]:
        symbols = task.sequences(key, jnp.full(WATCHED, steps), steps).inputs
        so_far = [task.answered(symbols, jnp.full(WATCHED, n + 1))[0] for n in range(steps)]
        return nnx.merge(graph, variables).unroll(symbols).hidden, jnp.stack(so_far, axis=1)

    found, so_far = map(np.asarray, jax.jit(watched)(variables, jax.random.key(FRESH + 1)))
    # The last point is the state before the first step, of a class of its own.
    hidden = np.pad(found.reshape(WATCHED * steps, -1), ((0, 1), (0, 0)))
    classes = np.append(so_far, task.outputs)
    regions, extent = None, 1.0
    if hidden.shape[1] == 2:
        points, named = hidden, ("unit 0", "unit 1")
        extent = max(1.0, float(np.abs(points).max()) + 0.1)
        line = np.linspace(-extent, extent, GRID)
        everywhere = np.stack(np.meshgrid(line, line), axis=-1).astype(np.float32)
        regions = np.asarray(model.readout(jnp.asarray(everywhere)).argmax(axis=-1))
        where = "the two units; behind them, what the readout answers there"
    else:
        middle = hidden - hidden.mean(axis=0)
        _, sizes, directions = np.linalg.svd(middle, full_matrices=False)
        points = middle @ directions[:2].T
        shares = 100 * sizes**2 / np.sum(sizes**2)
        first, second = (f"principal direction {k + 1} ({shares[k]:.0f} % of the variance)" for k in range(2))
        named = (first, second)
        where = f"the two directions in which the {hidden.shape[1]} units vary most"
    meaning = "bits so far" if isinstance(task, Parity) else "symbol read first"
    caption = f"The state after every step of {WATCHED} sequences of {steps} steps, on {where}."
    labels = (*task.labels, "before the first")
    figure = plane(points, classes, labels, axes_named=named, what=meaning, regions=regions, extent=extent)
    return Sight("States by what is to be known", caption, figure=figure)
