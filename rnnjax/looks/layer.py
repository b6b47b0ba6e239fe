"""A recurrent layer looked into: what it is made of, its weights by name, and the shapes that it gives."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
from flax import nnx

from rnnjax.cells import ACTIVATIONS, CELLS, lookup
from rnnjax.experiment import Built
from rnnjax.layers import Bidirectional, EncoderDecoder, FeedForward, Recurrent
from rnnjax.tasks import Table

EXAMPLES = {"Names": ("elman", 8, 4, 32, 10)}
"""The layer that a study looks into before its own, by the class of the task: arguments of `example_tables`."""

UNROLLED = 10  # steps, where a task does not say how many an example has
MOST_COLUMNS = 8  # of weights whose values are shown
INITIALIZERS = {"input_kernel": "glorot_uniform", "recurrent_kernel": "orthogonal", "bias": "zeros"}


def layer_tables(built: Built) -> list[Table]:
    """The first recurrent layer of an experiment, after the one that its study looks into."""
    experiment, task = built.experiment, built.task
    example = EXAMPLES.get(type(task).__name__)
    tables = example_tables(*example) if example else []
    model = built.make(nnx.Rngs(experiment.seed))
    if isinstance(model, FeedForward):
        return [*tables, Table("layer", ("", ""), [("recurrent layers", "none")])]
    stack = model.encoder if isinstance(model, EncoderDecoder) else model.stack
    first = stack.layers[0]
    layer = first.forward if isinstance(first, Bidirectional) else first
    options = experiment.model
    started = {**({"bias": "zeros, ones for f"} if _forgets(layer, options) else {}), **options.initializers}
    return [*tables, *tables_of(layer, experiment.train.batch, task.length or UNROLLED, started)]


def example_tables(cell: str, input: int, units: int, batch: int, time: int) -> list[Table]:
    """A layer with its first weights, run over `batch` sequences of `time` steps of `input` features."""
    made = lookup(CELLS, cell, "cell")(input, units, rngs=nnx.Rngs(0))
    return tables_of(Recurrent(made), batch, time, {})


def tables_of(layer: Recurrent, batch: int, time: int, initializers: dict[str, str]) -> list[Table]:
    """What a layer is made of, its weights, and what it gives for random numbers.

    Args:
      layer: the layer.
      batch: sequences.
      time: steps of each.
      initializers: by name of the weight, where they are not those of Keras.
    """
    cell = layer.cell
    inputs = jax.random.normal(jax.random.key(0), (batch, time, cell.input))
    found = layer.unroll(inputs)
    arrays = _arrays(layer)
    last = layer.last_output(found.state)
    kind = type(cell).__name__
    drawn = {**INITIALIZERS, **{name: start for name, (_, start) in cell.small.items()}, **initializers}
    return [
        Table(
            f"{kind} of {cell.units} units on inputs {_shape(inputs)}",
            ("", ""),
            [
                ("output after the last step", _shape(last)),
                ("whole sequence", _shape(found.outputs)),
                *((f"final state, {field}", _shape(value)) for field, value in found.state.items()),
            ],
        ),
        Table(f"configuration of {kind}", ("", ""), _configuration(layer, found.plan)),
        Table(
            f"weights of {kind}",
            ("name", "shape", "numbers", "initialiser", "least", "greatest"),
            [
                (
                    name,
                    " x ".join(map(str, value.shape)),
                    int(value.size),
                    drawn.get(name, "zeros"),
                    f"{value.min():.3f}",
                    f"{value.max():.3f}",
                )
                for name, value in arrays.items()
            ]
            + [("total", "", sum(int(value.size) for value in arrays.values()), "", "", "")],
        ),
        *(
            Table(f"{name} of {kind}", _columns(layer), [[f"{v:.3f}" for v in row] for row in np.atleast_2d(value)])
            for name, value in arrays.items()
            if value.shape[-1] == cell.columns <= MOST_COLUMNS
        ),
    ]


def _arrays(layer: Recurrent) -> dict[str, np.ndarray]:
    """All trained weights by name."""
    named = nnx.to_flat_state(nnx.state(layer, nnx.Param))
    held = {str(path[-1]): np.asarray(value[...]) for path, value in named}
    order = [name for name in INITIALIZERS if name in held]
    return {name: held[name] for name in (*order, *(name for name in held if name not in order))}


def _configuration(layer: Recurrent, plan: Any) -> list[tuple[str, Any]]:
    cell = layer.cell
    names = {function: name for name, function in ACTIVATIONS.items()}
    gates = [("recurrent activation", names.get(cell.recurrent_activation, "own"))] if len(cell.gates) > 1 else []
    rates = (("recurrent dropout", layer.recurrent_dropout), ("zoneout", layer.zoneout))
    return [
        ("cell", type(cell).__name__),
        ("input", cell.input),
        ("units", cell.units),
        ("gates", " ".join(cell.gates)),
        ("activation", names.get(cell.activation, "own")),
        *gates,
        ("bias", "yes" if hasattr(cell, "bias") else "no"),
        ("initial state", "zero" if layer.initial is None else "trained"),
        ("direction", "last to first" if layer.reverse else "first to last"),
        *((name, "none" if rate is None else float(rate[...])) for name, rate in rates),
        ("numbers", str(cell.param_dtype)),
        ("executor", plan.executor),
    ]


def _columns(layer: Recurrent) -> list[str]:
    return [f"{gate}{unit}" for gate in layer.cell.gates for unit in range(layer.cell.units)]


def _forgets(layer: Recurrent, options: Any) -> bool:
    """Whether the bias of a forget gate starts at one."""
    cell = layer.cell
    return options.unit_forget_bias and "f" in cell.gates and "c" in cell.state


def _shape(value: Any) -> str:
    return f"[{', '.join(map(str, value.shape))}]"
