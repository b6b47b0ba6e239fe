"""Weights from and to Flax: SimpleCell, LSTMCell, OptimizedLSTMCell and GRUCell, of nnx and of linen.

Flax holds kernels as we do and its gates in our order, packed (`dense_i`, `dense_h`) or one by one (`ii`, `if_`, ...).
What differs is which biases exist: LSTMs have one, beside the recurrent kernel; SimpleCell has one, beside the input
kernel; nnx's GRUCell has one, beside the input kernel, and linen's has a second for the candidate alone (`hn`). So the
second bias of a GRU goes into linen whole (for `r` and `z` only the sum of the two matters), into nnx only where the
candidate's is zero. Flax's cells have a bias always: of a model without, it is zero.

The three forms of a tree are ``nnx``, ``nnx_unpacked`` (`nnx.LSTMCell`) and ``linen``. A layer's branch is the state of
`RNN(cell)` or `Bidirectional(RNN(cell), RNN(cell))`, so that it can be handed over whole::

    tree = flax.serialization.msgpack_restore(open("model.flax.msgpack", "rb").read())
    nnx.update(nnx.RNN(nnx.OptimizedLSTMCell(3, 4, rngs=nnx.Rngs(0))), tree["layers"]["0"])
    nn.RNN(nn.OptimizedLSTMCell(4)).apply({"params": tree["layers"]["0"]}, inputs)    # of a tree for linen

Flax carries an LSTM's state as ``(c, h)``; PyTorch, Keras and ONNX as ``(h, c)``; ours has names.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from flax import nnx

from rnnjax.cells import GRU, LSTM, Cell, Elman, lookup
from rnnjax.config import InputError
from rnnjax.interop.parts import Model, Parts, Place, activations, arrays, blank, check, has_gates, parts, put

KINDS: dict[type[Cell], str] = {Elman: "SimpleCell", LSTM: "OptimizedLSTMCell", GRU: "GRUCell"}
FORMS = {"nnx": "nnx", "nnx_unpacked": "nnx_unpacked", "linen": "linen"}


class Block(NamedTuple):
    """Two of Flax's linear layers that belong together, and which columns of ours they hold."""

    input: str
    hidden: str
    columns: slice


def to_flax(model: nnx.Module, form: str = "nnx") -> dict[str, Any]:
    """A model's weights as a tree of arrays.

    Args:
      model: the model. It gives `embedding`, `layers` by number (or `encoder` and `decoder`) and `readout`; a stack its
        layers by number; a single layer its own branch.
      form: `nnx`, `nnx_unpacked` or `linen`.

    Raises:
      InputError: something that Flax's cells do not compute, such as a GRU's second bias.
    """
    lookup(FORMS, form, "form", "in to_flax")
    return _nested(_flat_weights(model, form))


def from_flax(model: Model, tree: Mapping[Any, Any]) -> Model:
    """The model with weights from a tree of either form (`nnx.to_pure_dict(state)`, or linen's `params`).

    Raises:
      InputError: weights that are not those of such a model, or a bias that it does not have.
    """
    given = _flat(tree)
    known = {form: _flat_weights(blank(model), form) for form in FORMS}
    form = max(FORMS, key=lambda each: len(given.keys() & known[each].keys()))
    check(given, known[form], f"Flax ({form})")
    model = nnx.clone(model)
    found = parts(model, "Flax", KINDS)
    if found.embedding is not None:
        put(found.embedding, {"embedding": given["embedding/embedding"]})
    for prefix, place in _places(found):
        theirs = {name.removeprefix(prefix): value for name, value in given.items() if name.startswith(prefix)}
        put(place.layer.cell, _from(place, form, theirs))
    if found.readout is not None:
        put(found.readout, {"kernel": given["readout/kernel"], "bias": given["readout/bias"]})
    return model


def flax_modules(model: nnx.Module) -> dict[str, Any]:
    """The modules that the weights belong to, as plain data for JSON."""
    found = parts(model, "Flax", KINDS)
    made: dict[str, Any] = {}
    if found.embedding is not None:
        made["embedding"] = {"num_embeddings": found.embedding.num_embeddings, "features": found.embedding.features}
    for section in found.sections:
        cells = [[_cell(place) for place in layer.directions] for layer in section.layers]
        layers = [{"cells": each, "merge": layer.merge} for each, layer in zip(cells, section.layers, strict=True)]
        made[section.name or "layers"] = layers
    made["residual"] = any(section.residual for section in found.sections)
    if found.readout is not None:
        made["readout"] = {"in_features": found.readout.in_features, "out_features": found.readout.out_features}
    return {**made, "read": found.read, "answer_steps": found.answer_steps}


def _flat_weights(model: nnx.Module, form: str) -> dict[str, np.ndarray]:
    found = parts(model, "Flax", KINDS)
    flat: dict[str, np.ndarray] = {}
    if found.embedding is not None:
        flat["embedding/embedding"] = arrays(found.embedding)["embedding"]
    for prefix, place in _places(found):
        flat |= {f"{prefix}{name}": value for name, value in _to(place, form).items()}
    if found.readout is not None:
        flat |= {f"readout/{name}": value for name, value in arrays(found.readout).items()}
    return flat


def _places(found: Parts) -> Iterator[tuple[str, Place]]:
    """Every direction of every layer, with what stands before the names of its weights."""
    start = "layers/" if found.readout is not None and len(found.sections) == 1 else ""
    for place in found.places:
        path = place.name.replace("forward", "forward_rnn").replace("backward", "backward_rnn").replace(".", "/")
        yield f"{start}{path}/cell/".lstrip("/"), place


def _blocks(cell: Cell, form: str) -> list[Block]:
    whole, units = slice(0, cell.columns), cell.units
    if form == "nnx" or (form == "nnx_unpacked" and not isinstance(cell, LSTM)):
        return [Block("dense_i", "dense_h", whole)]
    if isinstance(cell, Elman):
        return [Block("i", "h", whole)]
    taken = "if_" if form == "nnx_unpacked" else "if"  # `if` is no name for an attribute
    return [
        Block(taken if gate == "f" else f"i{gate}", f"h{gate}", slice(k * units, (k + 1) * units))
        for k, gate in enumerate(cell.gates)
    ]


def _to(place: Place, form: str) -> dict[str, np.ndarray]:
    cell, weights = place.layer.cell, arrays(place.layer.cell)
    bias = weights.get("bias", np.zeros(cell.columns, weights["input_kernel"].dtype))
    found: dict[str, np.ndarray] = {}
    if isinstance(cell, GRU):
        gates, candidate = np.split(weights.get("recurrent_bias", np.zeros_like(bias)), [2 * cell.units])
        bias = bias + np.concatenate([gates, np.zeros_like(candidate)])
        if form == "linen":
            found["hn/bias"] = candidate
        elif candidate.any():
            raise InputError(
                "nnx.GRUCell has no second bias for the candidate, and this GRU's is not zero",
                place.where,
                "export to linen, whose GRUCell has one, or to torch, keras or onnx",
            )
    for block in _blocks(cell, form):
        found[f"{block.input}/kernel"] = weights["input_kernel"][:, block.columns]
        found[f"{block.hidden}/kernel"] = weights["recurrent_kernel"][:, block.columns]
        found[f"{_biased(cell, block)}/bias"] = bias[block.columns]
    return found


def _from(place: Place, form: str, theirs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    cell = place.layer.cell
    blocks = _blocks(cell, form)
    join = lambda names: np.concatenate([theirs[name] for name in names], axis=-1)  # noqa: E731
    found = {
        "input_kernel": join(f"{block.input}/kernel" for block in blocks),
        "recurrent_kernel": join(f"{block.hidden}/kernel" for block in blocks),
    }
    biases = {"bias": join(f"{_biased(cell, block)}/bias" for block in blocks)}
    if isinstance(cell, GRU):
        second = np.zeros_like(biases["bias"])
        second[2 * cell.units :] = theirs.get("hn/bias", 0)
        biases["recurrent_bias"] = second
    if hasattr(cell, "bias"):
        return {**found, **biases}
    if any(bias.any() for bias in biases.values()):
        raise InputError("Flax's cell has a bias that is not zero", place.where, "make the model with use_bias=True")
    return found


def _biased(cell: Cell, block: Block) -> str:
    """Which of the two linear layers holds the bias."""
    return block.hidden if isinstance(cell, LSTM) else block.input


def _cell(place: Place) -> dict[str, Any]:
    cell = place.layer.cell
    activation, recurrent = activations(cell)
    gates = {"gate_fn": recurrent or "of your own"} if has_gates(cell) else {}
    return {
        "class": KINDS[type(cell)],
        "in_features": cell.input,
        "hidden_features": cell.units,
        "activation_fn": activation or "of your own",
        **gates,
        "reverse": place.layer.reverse,
    }


def _flat(tree: Mapping[Any, Any], path: str = "") -> dict[str, np.ndarray]:
    found: dict[str, np.ndarray] = {}
    for name, value in tree.items():
        here = f"{path}{name}"
        found |= _flat(value, f"{here}/") if isinstance(value, Mapping) else {here: np.asarray(value)}
    return found


def _nested(flat: Mapping[str, np.ndarray]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for path, value in flat.items():
        *above, name = path.split("/")
        branch = tree
        for each in above:
            branch = branch.setdefault(each, {})
        branch[name] = value
    return tree
