"""Weights from and to Keras 3: SimpleRNN, LSTM, GRU (`reset_after` both ways), Bidirectional, Embedding, Dense.

Keras holds kernels as we do; its LSTM has our order of gates (it calls `g` c), its GRU `z r h` for our `r z n`. A GRU
with `reset_after=True` (Keras's default) is our `GRU`, its bias two rows, the second our `recurrent_bias`; with
`reset_after=False` it is our `GRUBefore`. Its Dense layer is our readout, without the softmax.

Layers are named as in a `.weights.h5` file: their classes in snake case, numbered from the second on (`lstm_1`).
`keras_config` describes the `keras.Sequential` that they belong to::

    model = keras.models.model_from_json(open("model.keras.json").read())
    model.load_weights("model.weights.h5")
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from flax import nnx

from rnnjax.cells import GRU, LSTM, Cell, Elman, GRUBefore
from rnnjax.config import InputError
from rnnjax.interop.parts import (
    Layer,
    Model,
    Parts,
    Place,
    activations,
    arrays,
    blank,
    check,
    has_gates,
    library,
    parts,
    put,
    reorder,
)

KINDS: dict[type[Cell], str] = {Elman: "SimpleRNN", LSTM: "LSTM", GRU: "GRU", GRUBefore: "GRU"}
ORDERS = {"SimpleRNN": ("h",), "LSTM": ("i", "f", "g", "o"), "GRU": ("z", "r", "n")}
SNAKE = {"SimpleRNN": "simple_rnn", "LSTM": "lstm", "GRU": "gru"}
MERGES = {"concat": "concat", "sum": "sum", "multiply": "mul", "average": "ave", "none": None}
ACTIVATIONS = {
    **{name: name for name in ("tanh", "sigmoid", "hard_sigmoid", "hard_tanh", "relu", "softplus")},
    "identity": "linear",
}


def to_keras(model: nnx.Module) -> dict[str, list[np.ndarray]]:
    """A model's weights by layer, each in the order of Keras's `layer.get_weights()`.

    Raises:
      InputError: something that Keras's layers do not compute.
    """
    found = _parts(model)
    weights: dict[str, list[np.ndarray]] = {}
    for name, part in _layers(found):
        if isinstance(part, nnx.Embed):
            weights[name] = [arrays(part)["embedding"]]
        elif isinstance(part, nnx.Linear):
            weights[name] = [arrays(part)["kernel"], arrays(part)["bias"]]
        else:
            weights[name] = [value for place in part.directions for value in _to(place.layer.cell)]
    return weights


def from_keras(model: Model, weights: Mapping[str, Sequence[Any]] | Sequence[Any]) -> Model:
    """The model with weights from Keras: by layer as `to_keras` gives them, or all in one list (`model.get_weights()`).

    Raises:
      InputError: weights that are not those of such a model.
    """
    expected = to_keras(blank(model))
    if not isinstance(weights, Mapping):
        weights = _by_layer(weights, expected)
    given = {f"{name}[{k}]": np.asarray(value) for name, values in weights.items() for k, value in enumerate(values)}
    check(given, {f"{name}[{k}]": v for name, values in expected.items() for k, v in enumerate(values)}, "Keras")
    model = nnx.clone(model)
    for name, part in _layers(_parts(model)):
        theirs = [given[f"{name}[{k}]"] for k in range(len(expected[name]))]
        if isinstance(part, nnx.Embed):
            put(part, {"embedding": theirs[0]})
        elif isinstance(part, nnx.Linear):
            put(part, {"kernel": theirs[0], "bias": theirs[1]})
        else:
            for place in part.directions:
                cell = place.layer.cell
                count = len(_to(cell))
                put(cell, _from(cell, theirs[:count]))
                theirs = theirs[count:]
    return model


def keras_config(model: nnx.Module) -> dict[str, Any]:
    """The `keras.Sequential` of the same layers, as plain data for `keras.models.model_from_json`.

    It reads symbols where the model embeds them, else numbers (one-hot rows for symbols), and gives logits.

    Raises:
      InputError: something that Keras's layers do not compute.
    """
    found = _parts(model)
    first = found.first
    dtype = str(first.param_dtype) if first.param_dtype == np.float64 else "float32"
    steps = {"batch_shape": [None, None, first.input], "dtype": dtype}
    if found.embedding is not None:
        steps = {"batch_shape": [None, None], "dtype": "int32"}
    layers = [_made("InputLayer", {**steps, "name": "inputs"})]
    names = (name for name, part in _layers(found) if isinstance(part, Layer))
    if found.embedding is not None:
        sizes = {"input_dim": found.embedding.num_embeddings, "output_dim": found.embedding.features}
        layers.append(_made("Embedding", {"name": "embedding", "dtype": dtype, **sizes}))
    for k, section in enumerate(found.sections):
        if k:
            layers.append(_made("RepeatVector", {"name": "repeat_vector", "n": found.answer_steps}))
        for layer in section.layers:
            every = section.shows == "every" or layer is not section.layers[-1]
            options = {"name": next(names), "dtype": dtype, "return_sequences": every}
            layers.append(_recurrent(layer, options))
    if found.readout is not None:
        layers.append(_made("Dense", {"name": "dense", "dtype": dtype, "units": found.readout.out_features}))
    return _made("Sequential", {"name": "rnnjax", "layers": layers}, "keras")


def write_h5(model: nnx.Module) -> bytes:
    """A `.weights.h5` file of the model that `keras_config` describes."""
    weights, buffer = to_keras(model), io.BytesIO()
    h5py = library("h5py", "Keras")
    with h5py.File(buffer, "w") as file:
        for name, paths in _paths(model).items():
            for path, value in zip(paths, weights[name], strict=True):
                file[path] = value
    return buffer.getvalue()


def read_h5(data: bytes) -> dict[str, np.ndarray]:
    """The weights in a `.weights.h5` file, by path; optimiser and random seeds are left out."""
    h5py = library("h5py", "Keras")
    stored: dict[str, np.ndarray] = {}

    def keep(path: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and path.startswith("layers/") and "/seed_generator/" not in path:
            stored[path] = item[()]

    with h5py.File(io.BytesIO(data), "r") as file:
        file.visititems(keep)
    return stored


def from_h5(model: Model, stored: Mapping[str, np.ndarray]) -> Model:
    """The model with the weights that `read_h5` found in a file of such layers.

    Raises:
      InputError: weights that are not those of such a model.
    """
    paths, shapes = _paths(model), to_keras(blank(model))
    expected = {path: value for name in paths for path, value in zip(paths[name], shapes[name], strict=True)}
    check(stored, expected, "Keras")
    return from_keras(model, {name: [stored[path] for path in paths[name]] for name in paths})


def _parts(model: nnx.Module) -> Parts:
    found = parts(model, "Keras", KINDS)
    if any(section.residual for section in found.sections):
        raise InputError("layers of keras.Sequential do not add their input", "in Stack", "export to onnx, flax or npz")
    for layer in found.layers:
        if layer.directions[0].layer.reverse:
            raise InputError(
                "a Keras layer that goes backwards gives its outputs in reversed order",
                layer.where,
                "export to onnx, flax or npz",
            )
    return found


def _layers(found: Parts) -> Iterator[tuple[str, nnx.Embed | Layer | nnx.Linear]]:
    """The layers by the names that a weights file has for them, in order."""
    if found.embedding is not None:
        yield "embedding", found.embedding
    seen: Counter[str] = Counter()
    for layer in found.layers:
        kind = KINDS[type(layer.directions[0].layer.cell)]
        name = "bidirectional" if len(layer.directions) == 2 else SNAKE[kind]
        yield f"{name}_{seen[name]}" if seen[name] else name, layer
        seen[name] += 1
    if found.readout is not None:
        yield "dense", found.readout


def _paths(model: nnx.Module) -> dict[str, list[str]]:
    """Where a weights file holds the weights of each layer."""
    found = {}
    for name, part in _layers(_parts(model)):
        if isinstance(part, nnx.Embed):
            found[name] = [f"layers/{name}/vars/0"]
        elif isinstance(part, nnx.Linear):
            found[name] = [f"layers/{name}/vars/{k}" for k in range(2)]
        else:
            ways = ("",) if len(part.directions) == 1 else ("forward_layer/", "backward_layer/")
            counts = [len(_to(place.layer.cell)) for place in part.directions]
            cells = [f"layers/{name}/{way}cell/vars" for way in ways]
            found[name] = [f"{cell}/{k}" for cell, n in zip(cells, counts, strict=True) for k in range(n)]
    return found


def _to(cell: Cell) -> list[np.ndarray]:
    weights, order = arrays(cell), ORDERS[KINDS[type(cell)]]
    found = [reorder(weights[name], cell.gates, order) for name in ("input_kernel", "recurrent_kernel")]
    if "recurrent_bias" in weights:
        pair = np.stack([weights["bias"], weights["recurrent_bias"]])
        return [*found, reorder(pair, cell.gates, order)]
    return [*found, reorder(weights["bias"], cell.gates, order)] if "bias" in weights else found


def _from(cell: Cell, theirs: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    order = ORDERS[KINDS[type(cell)]]
    kernel, recurrent, *biases = (reorder(value, order, cell.gates) for value in theirs)
    found = {"input_kernel": kernel, "recurrent_kernel": recurrent}
    if biases and isinstance(cell, GRU):
        found["bias"], found["recurrent_bias"] = biases[0]
    elif biases:
        found["bias"] = biases[0]
    return found


def _by_layer(weights: Sequence[Any], expected: Mapping[str, Sequence[np.ndarray]]) -> dict[str, Sequence[Any]]:
    count = sum(map(len, expected.values()))
    if len(weights) != count:
        raise InputError(
            f"{len(weights)} arrays, not {count}",
            "among the weights of Keras",
            "make a model of the same layers, directions and biases",
        )
    left = iter(weights)
    return {name: [next(left) for _ in values] for name, values in expected.items()}


def _made(kind: str, options: Mapping[str, Any], module: str = "keras.layers") -> dict[str, Any]:
    return {"module": module, "class_name": kind, "config": dict(options)}


def _recurrent(layer: Layer, options: Mapping[str, Any]) -> dict[str, Any]:
    if len(layer.directions) == 1:
        return _cell(layer.directions[0], options)
    forward, backward = layer.directions
    inner = {"return_sequences": options["return_sequences"], "dtype": options["dtype"]}
    outer = {"name": options["name"], "dtype": options["dtype"], "merge_mode": MERGES[layer.merge]}
    pair = {"layer": _cell(forward, inner), "backward_layer": _cell(backward, {**inner, "go_backwards": True})}
    return _made("Bidirectional", {**outer, **pair})


def _cell(place: Place, options: Mapping[str, Any]) -> dict[str, Any]:
    cell = place.layer.cell
    names = activations(cell)
    chosen = dict(zip(("activation", "recurrent_activation"), names[: 1 + has_gates(cell)], strict=False))
    for name in chosen.values():
        if name not in ACTIVATIONS:
            raise InputError(
                f"Keras does not compute the activation {name or 'of your own'} as we do",
                place.where,
                f"use one of {', '.join(ACTIVATIONS)}, or export to npz",
            )
    made = {**options, "units": cell.units, "use_bias": hasattr(cell, "bias")}
    made |= {key: ACTIVATIONS[name] for key, name in chosen.items()}
    if KINDS[type(cell)] == "GRU":
        made["reset_after"] = isinstance(cell, GRU)
    return _made(KINDS[type(cell)], made)
