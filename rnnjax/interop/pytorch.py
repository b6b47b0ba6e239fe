"""Weights from and to PyTorch: `torch.nn.RNN`, `LSTM` (with projection too), `GRU`, `Embedding` and `Linear`.

PyTorch holds kernels transposed, and its gates in our order (`i f g o`, `r z n`). Its RNN and LSTM have two biases, of
which only the sum matters: ours goes out as `bias_ih` beside a `bias_hh` of zeros, and theirs come in as their sum. The
two biases of its GRU are our `bias` and `recurrent_bias`.

A state dict of layers is that of one module (`weight_ih_l0`, ...). A model has `embedding.weight`, `rnn....` (or
`encoder....` and `decoder....`), `readout.weight` and `readout.bias`. Layers that differ in more than their inputs are
a module each: `rnn.0.weight_ih_l0`, `rnn.1.weight_ih_l0`. `torch_modules` says how to make the modules::

    def make(module):
        if isinstance(module, list):
            return torch.nn.ModuleList(map(make, module))
        return getattr(torch.nn, module["class"])(**module["arguments"])

    made = json.load(open("model.torch.json"))["modules"]
    modules = torch.nn.ModuleDict({name: make(module) for name, module in made.items()})
    modules.load_state_dict(torch.load("model.pt"))
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from flax import nnx

from rnnjax.cells import GRU, LSTM, Cell, Elman, ProjectedLSTM
from rnnjax.config import InputError
from rnnjax.interop.parts import (
    Layer,
    Model,
    Parts,
    Place,
    Section,
    activations,
    arrays,
    blank,
    check,
    has_gates,
    parts,
    put,
)

KINDS: dict[type[Cell], str] = {Elman: "RNN", LSTM: "LSTM", ProjectedLSTM: "LSTM", GRU: "GRU"}


def to_torch(model: nnx.Module) -> dict[str, np.ndarray]:
    """A model's weights as a state dict.

    Raises:
      InputError: something that PyTorch's modules do not compute, such as another activation.
    """
    found = _parts(model)
    state: dict[str, np.ndarray] = {}
    if found.embedding is not None:
        state["embedding.weight"] = arrays(found.embedding)["embedding"]
    for prefix, suffix, place in _places(found):
        weights = _to(arrays(place.layer.cell))
        state |= {f"{prefix}{name}{suffix}": value for name, value in weights.items()}
    if found.readout is not None:
        readout = arrays(found.readout)
        state |= {"readout.weight": readout["kernel"].T, "readout.bias": readout["bias"]}
    return {name: np.ascontiguousarray(value) for name, value in state.items()}


def from_torch(model: Model, state: Mapping[str, Any]) -> Model:
    """The model with weights from a state dict of arrays or tensors, named as `to_torch` names them.

    Raises:
      InputError: weights that are not those of such a model.
    """
    given = {name: _array(value) for name, value in state.items()}
    check(given, to_torch(blank(model)), "PyTorch")
    model = nnx.clone(model)
    found = _parts(model)
    if found.embedding is not None:
        put(found.embedding, {"embedding": given["embedding.weight"]})
    for prefix, suffix, place in _places(found):
        cell = place.layer.cell
        put(cell, _from(cell, {name: given[f"{prefix}{name}{suffix}"] for name in _to(arrays(cell))}))
    if found.readout is not None:
        put(found.readout, {"kernel": given["readout.weight"].T, "bias": given["readout.bias"]})
    return model


def torch_modules(model: nnx.Module) -> dict[str, Any]:
    """The modules of `torch.nn` that the weights belong to, by name: class and arguments, plain data for JSON."""
    found = _parts(model)
    made: dict[str, Any] = {}
    if found.embedding is not None:
        embedding = found.embedding
        sizes = {"num_embeddings": embedding.num_embeddings, "embedding_dim": embedding.features}
        made["embedding"] = {"class": "Embedding", "arguments": sizes}
    for section in found.sections:
        one = _one_module(section)
        layers = [_module(layer, len(section.layers) if one else 1) for layer in section.layers]
        made[section.name or "rnn"] = layers[0] if one else layers
    if found.readout is not None:
        sizes = {"in_features": found.readout.in_features, "out_features": found.readout.out_features}
        made["readout"] = {"class": "Linear", "arguments": sizes}
    return {"modules": made, "read": found.read, "answer_steps": found.answer_steps}


def _parts(model: nnx.Module) -> Parts:
    found = parts(model, "PyTorch", KINDS)
    if any(section.residual for section in found.sections):
        raise InputError("PyTorch's layers do not add their input", "in Stack", "export to onnx, flax or npz")
    for layer in found.layers:
        if len(layer.directions) == 2 and layer.merge != "concat":
            raise InputError(
                f"PyTorch does not merge directions by '{layer.merge}'",
                layer.where,
                "use merge='concat', or export to keras or onnx",
            )
        if layer.directions[0].layer.reverse:
            raise InputError(
                "PyTorch has no layer that goes backwards only", layer.where, "export to onnx, flax or npz"
            )
        if len({_signature(place.layer.cell) for place in layer.directions}) > 1:
            raise InputError(
                "the two directions of PyTorch's layers are alike",
                layer.where,
                "use the same cell, units and activation in both, or export to onnx or npz",
            )
    for place in found.places:
        _check_cell(place)
    return found


def _check_cell(place: Place) -> None:
    cell = place.layer.cell
    activation, recurrent = activations(cell)
    allowed = ("tanh",) if has_gates(cell) else ("tanh", "relu")
    if activation not in allowed or (has_gates(cell) and recurrent != "sigmoid"):
        raise InputError(
            f"PyTorch's {KINDS[type(cell)]} has no activation but {' and '.join(allowed)}",
            place.where,
            "export to keras, onnx or npz, which keep activations",
        )
    if isinstance(cell, ProjectedLSTM) and cell.widths["h"] >= cell.units:
        raise InputError(
            f"PyTorch does not project {cell.units} units to {cell.widths['h']}", place.where, "project to fewer units"
        )


def _signature(cell: Cell) -> tuple[Any, ...]:
    """What must be the same for cells to be layers of one module."""
    return KINDS[type(cell)], cell.units, cell.widths["h"], hasattr(cell, "bias"), activations(cell)


def _one_module(section: Section) -> bool:
    return len({tuple(_signature(place.layer.cell) for place in layer.directions) for layer in section.layers}) == 1


def _places(found: Parts) -> Iterator[tuple[str, str, Place]]:
    """Every direction of every layer, with what stands before and after the names of its weights."""
    for section in found.sections:
        one, start = _one_module(section), "" if found.readout is None else f"{section.name or 'rnn'}."
        for k, layer in enumerate(section.layers):
            prefix, number = (start, k) if one else (f"{start}{k}.", 0)
            for place, way in zip(layer.directions, ("", "_reverse"), strict=False):
                yield prefix, f"_l{number}{way}", place


def _to(weights: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    found = {"weight_ih": weights["input_kernel"].T, "weight_hh": weights["recurrent_kernel"].T}
    if "bias" in weights:
        second = weights.get("recurrent_bias", np.zeros_like(weights["bias"]))
        found |= {"bias_ih": weights["bias"], "bias_hh": second}
    if "projection_kernel" in weights:
        found["weight_hr"] = weights["projection_kernel"].T
    return found


def _from(cell: Cell, theirs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    found = {"input_kernel": theirs["weight_ih"].T, "recurrent_kernel": theirs["weight_hh"].T}
    if "bias_ih" in theirs and isinstance(cell, GRU):
        found |= {"bias": theirs["bias_ih"], "recurrent_bias": theirs["bias_hh"]}
    elif "bias_ih" in theirs:
        found["bias"] = theirs["bias_ih"] + theirs["bias_hh"]
    if "weight_hr" in theirs:
        found["projection_kernel"] = theirs["weight_hr"].T
    return found


def _module(layer: Layer, layers: int) -> dict[str, Any]:
    cell = layer.directions[0].layer.cell
    kind = KINDS[type(cell)]
    arguments = {
        "input_size": cell.input,
        "hidden_size": cell.units,
        "num_layers": layers,
        "bias": hasattr(cell, "bias"),
        "batch_first": True,
        "bidirectional": len(layer.directions) == 2,
    }
    if isinstance(cell, ProjectedLSTM):
        arguments["proj_size"] = cell.widths["h"]
    if kind == "RNN":
        arguments["nonlinearity"] = activations(cell)[0]
    return {"class": kind, "arguments": arguments}


def _array(value: Any) -> np.ndarray:
    """An array from an array or a tensor; NumPy has no bfloat16."""
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        value = value.float() if "bfloat16" in str(value.dtype) else value
    return np.asarray(value)
