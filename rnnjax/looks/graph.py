"""The network of an experiment, as it is unfolded over time, with its shapes and counts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from flax import nnx

from rnnjax.cells import FeedBack
from rnnjax.config import InputError
from rnnjax.experiment import Built
from rnnjax.figures import Figure
from rnnjax.figures.networks import Layer, Network, Weight, unfolded
from rnnjax.layers import Bidirectional, EncoderDecoder, FeedForward, SequenceModel
from rnnjax.tasks import Table


def graph(built: Built) -> Figure:
    """Draws the network of an experiment; see `network`."""
    return unfolded(network(built))


def network(built: Built) -> Network:
    """The network of an experiment as a picture needs it: every layer with its shapes and parameters.

    Raises:
      InputError: a model of another kind than the house's own.
    """
    task, batch = built.task, built.experiment.train.batch
    model = nnx.eval_shape(lambda: built.make(nnx.Rngs(0)))
    time = task.length or "T"
    layers = [_input(task, batch, time)]
    if getattr(model, "embedding", None) is not None:
        layers.append(
            Layer("embedding", "embedding", _shape(batch, time, model.embedding.features), "e", _of(model.embedding))
        )
    steps, written = (task.length,), task.answer_steps
    if isinstance(model, SequenceModel):
        layers += _stack(model.stack.layers, batch, time)
        both = isinstance(model.stack.layers[-1], Bidirectional)
        end = "where each direction ends" if both else "after the last step"
        layers += _readout(task, model.readout, batch, time, once=end if task.read == "last" else "")
    elif isinstance(model, FeedForward):
        layers += _perceptron(model, task, batch, time)
    elif isinstance(model, EncoderDecoder):
        layers += _stack(model.encoder.layers, batch, time, "encoder: ")
        layers += _decoder(model, task, batch)
        steps = (task.length, written)
    else:
        raise InputError(
            f"a model of class {type(model).__name__}", "in looks.graph", "draw it with figures.networks.unfolded"
        )
    return Network(built.experiment.name, tuple(layers), steps, _caption(built, model))


def padding(lengths: Sequence[int] = (2, 3, 1, 3), features: int = 3) -> Table:
    """What padding to the longest makes of sequences of different lengths: shapes `[N, T, D]`, and steps wasted."""
    steps = np.asarray(lengths)
    if not len(steps) or steps.min() < 1:
        raise InputError(f"lengths {list(lengths)}", "in looks.graph.padding", "give sequences of one step or more")
    longest = int(steps.max())
    wasted = len(steps) * longest - int(steps.sum())
    rows = [(f"sequence {k + 1}", _shape(length, features), longest - length) for k, length in enumerate(lengths)]
    whole = len(steps) * longest
    rows += [
        (
            "padded, [N, T, D]",
            _shape(len(steps), longest, features),
            f"{wasted} of {whole}: {100 * wasted / whole:.0f} %",
        )
    ]
    groups = sorted(set(lengths))
    rows += [(f"grouped by length {n}", _shape(int((steps == n).sum()), n, features), 0) for n in groups]
    return Table("input shapes", ("what", "shape", "steps wasted"), rows)


def _caption(built: Built, model: Any) -> str:
    """What the picture leaves unsaid."""
    task = built.task
    said = ["shapes are [batch, time, features]"]
    said.append(f"drawn at T = {task.length:,}" if task.length else "T is any number of steps")
    if built.experiment.train.carry_state:
        said.append("the state is carried from batch to batch")
    if isinstance(model, EncoderDecoder):
        said.append("blue lines: the context")
        if isinstance(model.decoder, FeedBack) or model.attention is not None:
            said.append("green: the last answer (in training the right one)")
        if model.attention is not None:
            said.append("orange: what the first answer looks back at")
    return "; ".join(said)


def _input(task: Any, batch: int, time: int | str) -> Layer:
    if task.symbols:
        note = f"symbols by index, of {task.inputs:,}"
        return Layer("input", "input", _shape(batch, time), "x", note=note)
    return Layer("input", "input", _shape(batch, time, task.inputs), "x", note="numbers")


def _stack(layers: Sequence[Any], batch: int, time: int | str, name: str = "", place: int = 0) -> list[Layer]:
    """A row a recurrent layer."""
    found = []
    for k, layer in enumerate(layers):
        both = isinstance(layer, Bidirectional)
        cell = layer.forward.cell if both else layer.cell
        number = f"{name}layer {k}: {type(cell).__name__}, {cell.units:,} units"
        note = f"in both directions, {layer.merge}" if both else "backwards" if layer.reverse else ""
        weights = _of(layer.forward, "forward ") + _of(layer.backward, "backward ") if both else _of(layer)
        letter = "h" if len(layers) == 1 else f"h^{{({k})}}"
        shape = _shape(batch, time, layer.width)
        kind = "bidirectional" if both else "recurrent"
        found.append(Layer(number, kind, shape, letter, weights, note, place))
    return found


def _readout(task: Any, linear: Any, batch: int, time: int | str, *, once: str = "", place: int = 0) -> list[Layer]:
    """The readout, and what it says; `once` tells when, if not at every step."""
    shape = _shape(batch, linear.out_features) if once else _shape(batch, time, linear.out_features)
    what = f"softmax over {linear.out_features:,}" if task.answers == "classes" else "numbers"
    name = "readout: dense" + (f", {once}" if once else "")
    return [
        Layer(name, "dense", shape, "z", _of(linear), place=place, once=bool(once)),
        Layer("output", "output", shape, "y", note=what, place=place, once=bool(once)),
    ]


def _perceptron(model: FeedForward, task: Any, batch: int, time: int | str) -> list[Layer]:
    """Hidden layers over the whole example, or over each step by itself."""
    once = model.read == "last"
    found = []
    for k, linear in enumerate(model.layers):
        shape = _shape(batch, linear.out_features) if once else _shape(batch, time, linear.out_features)
        note = f"reads all {model.length} steps at once" if once and not k else ""
        name = f"layer {k}: dense, {linear.out_features:,} units"
        letter = "h" if len(model.layers) == 1 else f"h^{{({k})}}"
        found.append(Layer(name, "dense", shape, letter, _of(linear), note, once=once))
    return found + _readout(task, model.readout, batch, time, once="once" if once else "")


def _decoder(model: EncoderDecoder, task: Any, batch: int) -> list[Layer]:
    """What writes: it reads the context, and perhaps its last answer, and perhaps all that was read."""
    decoder, attention, answers = model.decoder, model.attention, task.answer_steps
    if isinstance(decoder, FeedBack):
        cell, readout, fed = decoder.cell, decoder.readout, True
        found = [
            Layer(
                f"decoder: {type(cell).__name__}, {cell.units:,} units",
                "recurrent",
                _shape(batch, answers, cell.units),
                "s",
                _of(cell),
                "reads the context, and its own last answer",
                place=1,
                fed=True,
            )
        ]
    else:
        readout, fed = model.readout, attention is not None
        found = _stack(decoder.layers, batch, answers, "decoder: ", place=1)
        first = found[0]
        says = "reads the context, and its own last answer" if fed else "reads the context at every step"
        found[0] = Layer(first.name, first.kind, first.shape, "s", first.weights, says, place=1, fed=fed)
    if attention is not None:
        width = attention.combine.out_features
        found.append(
            Layer(
                "attention",
                "dense",
                _shape(batch, answers, width),
                "a",
                _of(attention),
                "looks back at all that was read",
                place=1,
                sees=True,
            )
        )
    return found + _readout(task, readout, batch, answers, place=1)


def _of(module: Any, before: str = "") -> tuple[Weight, ...]:
    """The parameters of a module by name."""
    flat = nnx.to_flat_state(nnx.state(module, nnx.Param))
    found = []
    for path, variable in flat:
        value: jax.ShapeDtypeStruct = variable.get_value() if hasattr(variable, "get_value") else variable.value
        name = " ".join(str(part) for part in path if part != "cell").replace("_", " ")
        found.append(Weight(before + name, tuple(value.shape), int(np.prod(value.shape))))
    return tuple(sorted(found, key=lambda weight: len(weight.shape) < 2))  # biases last


def _shape(*sizes: int | str) -> str:
    return f"[{', '.join(map(str, sizes))}]"
