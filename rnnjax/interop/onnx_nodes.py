"""What our cells are as RNN, LSTM and GRU nodes of ONNX: weights, order of gates, activations.

ONNX stacks transposed kernels, one gate after the other: an LSTM's in the order `i o f c` (c is our `g`), a GRU's
`z r h` for our `r z n`; `B` holds the input biases, then the recurrent ones; `P` the peepholes of `i o f`. A GRU with
``linear_before_reset=1`` is our `GRU`, with 0 (ONNX's default) our `GRUBefore`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from flax import nnx

from rnnjax.cells import GRU, LSTM, Cell, Elman, GRUBefore, PeepholeLSTM
from rnnjax.config import InputError
from rnnjax.interop.parts import Parts, activations, arrays, has_gates, parts, reorder

KINDS: dict[type[Cell], str] = {Elman: "RNN", LSTM: "LSTM", PeepholeLSTM: "LSTM", GRU: "GRU", GRUBefore: "GRU"}
ORDERS = {"RNN": ("h",), "LSTM": ("i", "o", "f", "g"), "GRU": ("z", "r", "n")}
PEEPHOLES = [0, 2, 1]  # rows i f o of ours in ONNX's order i o f; the same swap leads back
ACTIVATIONS: dict[str, tuple[str, tuple[float, ...]]] = {
    "tanh": ("Tanh", ()),
    "sigmoid": ("Sigmoid", ()),
    "relu": ("Relu", ()),
    "softplus": ("Softplus", ()),
    "hard_sigmoid": ("HardSigmoid", (1 / 6, 0.5)),
    "identity": ("Affine", (1.0, 0.0)),
}
"""By our names: ONNX's name, then its alpha and beta."""
DEFAULTS = {"RNN": ["Tanh"], "LSTM": ["Sigmoid", "Tanh", "Tanh"], "GRU": ["Sigmoid", "Tanh"]}
"""The activations of a node that says nothing of them."""


def onnx_parts(model: nnx.Module) -> Parts:
    """Takes a model apart; ONNX can keep a trained initial state."""
    return parts(model, "ONNX", KINDS, learned_initial=True)


def node_weights(cell: Cell) -> dict[str, np.ndarray]:
    """A cell's weights as a node of one direction has them: `W`, `R`, and `B` and `P` where there are any."""
    weights, order = arrays(cell), ORDERS[KINDS[type(cell)]]
    columns = {name: reorder(weights[name], cell.gates, order) for name in weights if name != "peephole"}
    found = {"W": columns["input_kernel"].T[None], "R": columns["recurrent_kernel"].T[None]}
    if "bias" in columns:
        second = columns.get("recurrent_bias", np.zeros_like(columns["bias"]))
        found["B"] = np.concatenate([columns["bias"], second])[None]
    if "peephole" in weights:
        found["P"] = weights["peephole"][PEEPHOLES].reshape(1, -1)
    return found


def cell_weights(cell: Cell, theirs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The other way round: the weights of a cell from those of a node of one direction."""
    order = ORDERS[KINDS[type(cell)]]
    found: dict[str, np.ndarray] = {}
    for ours, name in (("input_kernel", "W"), ("recurrent_kernel", "R")):
        found[ours] = reorder(theirs[name][0].T, order, cell.gates)
    if "B" in theirs:
        first, second = (reorder(part, order, cell.gates) for part in np.split(theirs["B"][0], 2))
        both = {"bias": first, "recurrent_bias": second}
        found |= both if isinstance(cell, GRU) else {"bias": first + second}
    if "P" in theirs:
        found["peephole"] = theirs["P"].reshape(3, -1)[PEEPHOLES]
    return found


def node_attributes(cell: Cell) -> dict[str, Any]:
    """What a node of the cell is told, but for its direction; activations only where they are not ONNX's own."""
    kind = KINDS[type(cell)]
    found: dict[str, Any] = {"hidden_size": cell.units}
    names, numbers = node_activations(cell)
    if names != DEFAULTS[kind]:
        found["activations"] = names
        if numbers:
            found |= {"activation_alpha": [alpha for alpha, _ in numbers], "activation_beta": [b for _, b in numbers]}
    if kind == "GRU":
        found["linear_before_reset"] = int(isinstance(cell, GRU))
    return found


def node_activations(cell: Cell) -> tuple[list[str], list[tuple[float, ...]]]:
    """ONNX's names of a cell's activations, and alpha and beta of those that have them."""
    activation, recurrent = activations(cell)
    used = [recurrent, activation, activation] if KINDS[type(cell)] == "LSTM" else [recurrent, activation]
    used = used if has_gates(cell) else [activation]
    for name in used:
        if name not in ACTIVATIONS:
            raise InputError(
                f"ONNX's nodes have no activation {name or 'of your own'}",
                f"in a cell {type(cell).__name__}",
                f"use one of {', '.join(ACTIVATIONS)}, or export to npz",
            )
    known = [ACTIVATIONS[name] for name in used]
    return [name for name, _ in known], [numbers for _, numbers in known if numbers]
