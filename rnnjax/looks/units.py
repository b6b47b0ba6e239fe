"""The inside of a trained network: named units at work, gates, courses, weights, and how far back a loss reaches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from flax import nnx

from rnnjax import figures
from rnnjax.cells import Cell
from rnnjax.config import InputError
from rnnjax.interpret import Scores, averages, credit
from rnnjax.looks.base import Sight
from rnnjax.recording import Recording, observe
from rnnjax.tasks.base import Batch, Task, printable

STEPS = 400  # of the passage that is coloured
GATE_STEPS = 80  # of the one whose gates are drawn
COLOURED, AVERAGED = 4, 6  # units, those with the greatest effects
CREDIT_STEPS, CREDIT_ROWS = 1600, 16
WIDEST = 256  # units of a layer whose eigenvalues and courses take a second, and whose weights can be seen


def inside(model: Any, task: Task, scores: Scores) -> Iterator[Sight]:
    """Pictures of a network and of its units that have a name.

    Args:
      model: the model, as trained.
      task: what it reads.
      scores: which unit follows what.
    """
    field, batch = scores.field, task.probe(STEPS)
    layer = field.rpartition(".")[0]
    near = of_layer(model.recordable, field)
    found = observe(model, batch, [field, *near], task=task)
    best = [named.unit for named in scores.named[:COLOURED]] or [int(np.argmax(found[field].std(axis=0)))]
    symbols = [printable(str(symbol)) for symbol in found.along(field, "symbol")]
    if scores.named and symbols:
        yield _coloured(scores, found[field], symbols)
    if scores.named:
        yield from _averaged(scores, task, batch, found[field])
    gates = {name: found[name] for name in near if _is_gate(found[name])}
    if gates:
        yield _gates(field, found, best[0], symbols)
        caption = "A dot is a unit: the share of steps at which its gate is shut, against that at which it is open."
        yield Sight(f"Saturation of {layer}", caption, figures.saturation(gates))
    width = found[field].shape[1]
    if 2 <= width <= WIDEST:
        picture = figures.trajectories(
            found[field][:STEPS],
            examples=found.along(field, "example")[:STEPS],
            symbols=symbols[:STEPS] or None,
            field=field,
        )
        yield Sight(
            f"Courses of {field}", "The whole state's course in the planes that hold most of its variance.", picture
        )
    if width <= WIDEST:
        yield from _weights(model)
    yield from _credit(model, task, field)


def of_layer(fields: Iterable[str], field: str) -> list[str]:
    """Those of `fields` that belong to the same layer as `field`, less itself and the parts of sums and products."""
    layer = field.rpartition(".")[0]
    return [name for name in fields if name.rpartition(".")[0] == layer and name != field]


def _coloured(scores: Scores, values: np.ndarray, symbols: list[str]) -> Sight:
    named = scores.named[:COLOURED]
    titles = [f"unit {n.unit} · {n.way} {n.concept}, {100 * n.effect:.0f} %" for n in named]
    return Sight(
        f"Named units of {scores.field}",
        "A held-out passage, coloured by the units that follow something most closely: the share of their variance.",
        figures.passage(symbols[:STEPS], values[:STEPS, [n.unit for n in named]], titles=titles, label=scores.field),
    )


def _averaged(scores: Scores, task: Task, batch: Batch, values: np.ndarray) -> Iterator[Sight]:
    """Units under each condition of the concept that most of their variance goes with."""
    concept, written = scores.named[0].concept, scores.field.startswith("decoder.")
    known = task.concepts(batch, written=written)
    if concept not in known:  # one of the user's own
        return
    exists = np.asarray(task.counted(batch) if written else batch.existing())
    labels = np.asarray(known[concept])[exists]
    if len(labels) != len(values):
        return
    units = [named.unit for named in scores.named if named.concept == concept][:AVERAGED]
    means = averages(values[:, units], labels)
    yield Sight(
        f"{concept} and units of {scores.field}",
        f"Mean and spread of the units that are named by it, for each value of '{concept}'.",
        figures.averages(
            means.names,
            means.mean,
            means.deviation,
            counts=means.count,
            numbers=units,
            concept=concept,
            label=scores.field,
        ),
    )


def _gates(field: str, found: Recording, unit: int, symbols: list[str]) -> Sight:
    courses = {name: found[name][:GATE_STEPS, unit] for name in found.fields}
    return Sight(
        f"Gates of unit {unit} of {field.rpartition('.')[0]}",
        "Every gate and state of one unit, step by step.",
        figures.gates(courses, symbols=symbols[:GATE_STEPS] or None, title=f"unit {unit}"),
    )


def _weights(model: Any) -> Iterator[Sight]:
    """Kernels and eigenvalues of the recurrent layers."""
    cells = [(_place(path), part) for path, part in nnx.iter_graph(model) if isinstance(part, Cell)]
    kernels, recurrent, blocks = {}, {}, {}
    for place, cell in cells:
        for name, kernel in (("input_kernel", cell.weights().input_kernel), *cell.weights().kernels.items()):
            gates = cell.gates if name == "input_kernel" else cell.products[name]
            title = name if name == "input_kernel" else f"{name}_kernel"
            matrix, called = np.asarray(kernel, np.float64), f"{place} {title}".strip()
            kernels[called], blocks[called] = matrix, gates
            if matrix.shape[1] == matrix.shape[0] * len(gates) and name != "input_kernel":
                recurrent[called] = matrix
    if kernels:
        caption = "Rows read, columns are fed; one scale for all, purple below zero and orange above."
        yield Sight("Weights", caption, figures.weights(kernels, gates=blocks))
    if recurrent:
        caption = "Eigenvalues of each gate's recurrent matrix, with the unit circle."
        picture = figures.spectrum(recurrent, gates={name: blocks[name] for name in recurrent})
        yield Sight("Spectrum of recurrent weights", caption, picture)


def _place(path: tuple[Any, ...]) -> str:
    return ".".join(str(part) for part in path if part not in ("stack", "layers", "cell"))


def _credit(model: Any, task: Task, field: str) -> Iterator[Sight]:
    try:
        reach = credit(model, task.probe(CREDIT_STEPS, CREDIT_ROWS), task, field)
    except InputError:  # a part of a product, or a probability: nothing can be added to it
        return
    horizon = reach.horizon()
    yield Sight(
        f"Credit of {field}",
        f"How much of a step's loss comes from the state so many steps before: 95 % of it within {horizon} steps.",
        figures.credit(reach.lags, reach.mean, reach.low, reach.high, marks={"95 % of the reach": horizon}),
        numbers={f"credit_horizon_of_{field}": horizon},
    )


def _is_gate(values: np.ndarray) -> bool:
    return bool(values.size and values.min() >= 0 and values.max() <= 1)
