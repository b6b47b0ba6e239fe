"""Naive float64 references of the recurrent cells: one row and one time step at a time, from the equations.

Neither jax nor rnnjax is imported here, so that nothing is shared with what these references judge.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

At = Callable[[str, np.ndarray], np.ndarray]
State = dict[str, np.ndarray]
Edit = tuple[str, str, np.ndarray, float]


def sigmoid(v: np.ndarray) -> np.ndarray:
    return np.exp(-np.logaddexp(0.0, -v))


def norm(v: np.ndarray) -> np.ndarray:
    return (v - v.mean()) / np.sqrt(v.var() + 1e-5)


# One step of one row: w weights, s state before the step, u input [I], d multiplier of the recurrent operand.


def elman(w: State, s: State, u: np.ndarray, d: np.ndarray, at: At) -> State:
    x = u @ w["input_kernel"] + w["bias"]
    q = (d * s["h"]) @ w["recurrent_kernel"]
    return {"h": at("h", np.tanh(x + q))}


def lstm(w: State, s: State, u: np.ndarray, d: np.ndarray, at: At) -> State:
    x = u @ w["input_kernel"] + w["bias"]
    q = (d * s["h"]) @ w["recurrent_kernel"]
    z_i, z_f, z_g, z_o = np.split(x + q, 4)
    i = at("i", sigmoid(z_i))
    f = at("f", sigmoid(z_f))
    g = at("g", np.tanh(z_g))
    o = at("o", sigmoid(z_o))
    c = at("c", f * s["c"] + i * g)
    return {"c": c, "h": at("h", o * np.tanh(c))}


def gru(w: State, s: State, u: np.ndarray, d: np.ndarray, at: At) -> State:
    x_r, x_z, x_n = np.split(u @ w["input_kernel"] + w["bias"], 3)
    q_r, q_z, q_n = np.split((d * s["h"]) @ w["recurrent_kernel"], 3)
    b_r, b_z, b_n = np.split(w["recurrent_bias"], 3)
    r = at("r", sigmoid(x_r + q_r + b_r))
    z = at("z", sigmoid(x_z + q_z + b_z))
    n = at("n", np.tanh(x_n + r * (q_n + b_n)))
    return {"h": at("h", (1 - z) * n + z * s["h"])}


def gru_before(w: State, s: State, u: np.ndarray, d: np.ndarray, at: At) -> State:
    x_r, x_z, x_n = np.split(u @ w["input_kernel"] + w["bias"], 3)
    u_r, u_z, u_n = np.split(w["recurrent_kernel"], 3, axis=1)
    r = at("r", sigmoid(x_r + (d * s["h"]) @ u_r))
    z = at("z", sigmoid(x_z + (d * s["h"]) @ u_z))
    n = at("n", np.tanh(x_n + (r * (d * s["h"])) @ u_n))
    return {"h": at("h", (1 - z) * n + z * s["h"])}


def mgu(w: State, s: State, u: np.ndarray, d: np.ndarray, at: At) -> State:
    x_f, x_n = np.split(u @ w["input_kernel"] + w["bias"], 2)
    u_f, u_n = np.split(w["recurrent_kernel"], 2, axis=1)
    f = at("f", sigmoid(x_f + (d * s["h"]) @ u_f))
    n = at("n", np.tanh(x_n + (f * (d * s["h"])) @ u_n))
    return {"h": at("h", (1 - f) * s["h"] + f * n)}


def ctrnn(w: State, s: State, u: np.ndarray, d: np.ndarray, at: At) -> State:
    x = u @ w["input_kernel"] + w["bias"]
    q = (d * s["h"]) @ w["recurrent_kernel"]
    a = w["leak"]
    v = at("v", (1 - a) * s["v"] + a * (x + q))
    return {"v": v, "h": at("h", np.tanh(v))}


def peephole_lstm(w: State, s: State, u: np.ndarray, d: np.ndarray, at: At) -> State:
    x = u @ w["input_kernel"] + w["bias"]
    q = (d * s["h"]) @ w["recurrent_kernel"]
    z_i, z_f, z_g, z_o = np.split(x + q, 4)
    p_i, p_f, p_o = w["peephole"]
    i = at("i", sigmoid(z_i + p_i * s["c"]))
    f = at("f", sigmoid(z_f + p_f * s["c"]))
    g = at("g", np.tanh(z_g))
    c = at("c", f * s["c"] + i * g)
    o = at("o", sigmoid(z_o + p_o * c))
    return {"c": c, "h": at("h", o * np.tanh(c))}


def layer_norm_lstm(w: State, s: State, u: np.ndarray, d: np.ndarray, at: At) -> State:
    x = u @ w["input_kernel"]
    q = (d * s["h"]) @ w["recurrent_kernel"]
    z = norm(x) * w["input_scale"] + norm(q) * w["recurrent_scale"] + w["bias"]
    z_i, z_f, z_g, z_o = np.split(z, 4)
    i = at("i", sigmoid(z_i))
    f = at("f", sigmoid(z_f))
    g = at("g", np.tanh(z_g))
    o = at("o", sigmoid(z_o))
    c = at("c", f * s["c"] + i * g)
    return {"c": c, "h": at("h", o * np.tanh(norm(c) * w["cell_scale"] + w["cell_shift"]))}


def projected_lstm(w: State, s: State, u: np.ndarray, d: np.ndarray, at: At) -> State:
    x = u @ w["input_kernel"] + w["bias"]
    q = (d * s["h"]) @ w["recurrent_kernel"]
    z_i, z_f, z_g, z_o = np.split(x + q, 4)
    i = at("i", sigmoid(z_i))
    f = at("f", sigmoid(z_f))
    g = at("g", np.tanh(z_g))
    o = at("o", sigmoid(z_o))
    c = at("c", f * s["c"] + i * g)
    m = at("m", o * np.tanh(c))
    return {"c": c, "h": at("h", m @ w["projection_kernel"])}


def min_gru(w: State, s: State, u: np.ndarray, d: np.ndarray, at: At) -> State:
    x_z, x_n = np.split(u @ w["input_kernel"] + w["bias"], 2)
    z = at("z", sigmoid(x_z))
    n = at("n", x_n)
    return {"h": at("h", (1 - z) * s["h"] + z * n)}


class Cell(NamedTuple):
    step: Callable[[State, State, np.ndarray, np.ndarray, At], State]
    gates: int
    fields: tuple[str, ...]
    state: tuple[str, ...]


CELLS = {
    "elman": Cell(elman, 1, ("h",), ("h",)),
    "lstm": Cell(lstm, 4, ("i", "f", "g", "o", "c", "h"), ("c", "h")),
    "gru": Cell(gru, 3, ("r", "z", "n", "h"), ("h",)),
    "gru_before": Cell(gru_before, 3, ("r", "z", "n", "h"), ("h",)),
    "mgu": Cell(mgu, 2, ("f", "n", "h"), ("h",)),
    "ctrnn": Cell(ctrnn, 1, ("v", "h"), ("v", "h")),
    "peephole_lstm": Cell(peephole_lstm, 4, ("i", "f", "g", "o", "c", "h"), ("c", "h")),
    "layer_norm_lstm": Cell(layer_norm_lstm, 4, ("i", "f", "g", "o", "c", "h"), ("c", "h")),
    "projected_lstm": Cell(projected_lstm, 4, ("i", "f", "g", "o", "c", "m", "h"), ("c", "h")),
    "min_gru": Cell(min_gru, 2, ("z", "n", "h"), ("h",)),
}


def widths(cell: str, weights: Mapping[str, np.ndarray]) -> dict[str, int]:
    """The number of columns of each field."""
    units = weights["input_kernel"].shape[1] // CELLS[cell].gates
    output = weights["projection_kernel"].shape[1] if cell == "projected_lstm" else units
    return {field: output if field == "h" else units for field in CELLS[cell].fields}


def random_weights(cell: str, input: int, units: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Weights of the right shapes; `projected_lstm` projects to one column less than units (at least one)."""
    columns = CELLS[cell].gates * units
    projected = max(1, units - 1)
    shapes: dict[str, tuple[int, ...]] = {"input_kernel": (input, columns), "bias": (columns,)}
    if cell != "min_gru":
        shapes["recurrent_kernel"] = (projected if cell == "projected_lstm" else units, columns)
    shapes |= {
        "gru": {"recurrent_bias": (columns,)},
        "peephole_lstm": {"peephole": (3, units)},
        "projected_lstm": {"projection_kernel": (units, projected)},
        "layer_norm_lstm": {
            "input_scale": (columns,),
            "recurrent_scale": (columns,),
            "cell_scale": (units,),
            "cell_shift": (units,),
        },
    }.get(cell, {})
    weights = {name: rng.normal(scale=0.5, size=shape) for name, shape in shapes.items()}
    if cell == "ctrnn":
        weights["leak"] = np.asarray(rng.uniform(0.1, 0.9))
    return weights


def observer(seen: State, edits: Sequence[Edit], row: int, t: int) -> At:
    """The `at` of one step of one row: edits a field the moment it is computed, and notes it in `seen`."""

    def at(name: str, value: np.ndarray) -> np.ndarray:
        for field, kind, select, number in edits:
            if field == name:
                edited = {"clamp": np.full_like(value, number), "scale": value * number}[kind]
                value = np.where(select[t, row], edited, value)
        seen[name] = value
        return value

    return at


def unroll(
    cell: str,
    weights: Mapping[str, np.ndarray],
    inputs: np.ndarray,
    *,
    state: Mapping[str, np.ndarray] | None = None,
    mask: np.ndarray | None = None,
    lengths: np.ndarray | None = None,
    reset: np.ndarray | None = None,
    initial: Mapping[str, np.ndarray] | None = None,
    reverse: bool = False,
    recurrent_dropout: np.ndarray | None = None,
    zoneout: Mapping[str, np.ndarray | None] | None = None,
    edits: Sequence[Edit] = (),
) -> dict:
    """The whole sequence of every row.

    inputs [B, T, I]; mask and reset [B, T] bool; lengths [B]; state and initial {field: [B, width]}, where
    initial is what a reset goes back to (zero if not given) and also the start if state is not given;
    recurrent_dropout [B, width of h], a multiplier; zoneout {field: [B, T, width] bool}, True keeps the
    previous value; edits: (field, "clamp" or "scale", select [T, B, width] bool, number), in the order given.

    Returns outputs [B, T, width], state {field: [B, width]} after the last step in processing order and
    recorded {field: [B, T, width]}, all indexed by input position.
    """
    step, _, fields, state_fields = CELLS[cell]
    w = {name: np.asarray(value, np.float64) for name, value in weights.items()}
    inputs = np.asarray(inputs, np.float64)
    rows, steps, _ = inputs.shape
    width = widths(cell, w)

    def whole(given: Mapping[str, np.ndarray] | None) -> State:
        given = {field: np.zeros(1) for field in state_fields} if given is None else given
        return {f: np.array(np.broadcast_to(given[f], (rows, width[f])), np.float64) for f in state_fields}

    blank = whole(initial)
    final = whole(initial if state is None else state)
    recorded = {f: np.zeros((rows, steps, width[f])) for f in fields}
    outputs = np.zeros((rows, steps, width["h"]))
    drop = np.ones((rows, width["h"])) if recurrent_dropout is None else recurrent_dropout

    for b in range(rows):
        s = {f: final[f][b] for f in state_fields}
        for t in reversed(range(steps)) if reverse else range(steps):
            masked = mask is not None and not mask[b, t]
            padding = lengths is not None and t >= lengths[b]
            seen: State = {}
            if not (masked or padding):
                if reset is not None and reset[b, t]:
                    s = {f: blank[f][b] for f in state_fields}
                new = step(w, s, inputs[b, t], drop[b], observer(seen, edits, b, t))
                for f, keep in (zoneout or {}).items():
                    if keep is not None:
                        new[f] = np.where(keep[b, t], s[f], new[f])
                s = new
                outputs[b, t] = s["h"]
            for f, value in (seen | s).items():
                recorded[f][b, t] = value
        for f in state_fields:
            final[f][b] = s[f]
    return {"outputs": outputs, "state": final, "recorded": recorded}
