"""Equinox: `eqx.nn.LSTMCell` or `GRUCell` in a `lax.scan`, written for one row and put over the batch by `jax.vmap`.

It has no cell of Elman's: that below is two `eqx.nn.Linear`. A step is jitted with the arrays of the model apart
(`eqx.partition`), which costs less a call than `eqx.filter_jit`. bfloat16 is the model and its inputs cast to it within
the step, so that states are in bfloat16 too; parameters stay in float32.
"""

from __future__ import annotations

import importlib
import runpy
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

if TYPE_CHECKING:
    from rnnjax.benchmarks.peers.worker import Job, Prepared

eqx: Any = importlib.import_module("equinox")
shared: Any = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("_jax.py"))))


def versions() -> dict[str, str]:
    """Of Equinox, and of what it computes with."""
    return shared.versions("equinox", "optax")


def prepare(job: Job) -> Prepared:
    """A step of training, or a layer alone."""
    found = shared.prepare(job, shared.unrolls(job), _network, _alone)
    if job.workload["dtype"] == "bfloat16":
        found["form"] += ", states in bfloat16"
    if job.workload["cell"] == "gru":
        found["form"] += ", second bias in the reset product alone"
    return found


class ElmanCell(eqx.Module):
    """``h = tanh(W x + U h + b)``.

    Args:
      input_size: features of an input.
      hidden_size: units.
      key: of the initial weights.
    """

    read: Any
    kept: Any

    def __init__(self, input_size: int, hidden_size: int, *, key: jax.Array):
        self.read = eqx.nn.Linear(input_size, hidden_size, key=key)
        self.kept = eqx.nn.Linear(hidden_size, hidden_size, use_bias=False, key=key)

    def __call__(self, inputs: jax.Array, state: jax.Array) -> jax.Array:
        """One step of one row."""
        return jnp.tanh(self.read(inputs) + self.kept(state))


CELLS: dict[str, Any] = {"lstm": eqx.nn.LSTMCell, "gru": eqx.nn.GRUCell, "elman": ElmanCell}


def _cell(kind: str, weights: dict[str, np.ndarray]) -> Any:
    kernels = weights["input_kernel"].T, weights["recurrent_kernel"].T
    width, units = weights["input_kernel"].shape[0], weights["recurrent_kernel"].shape[0]
    made = CELLS[kind](width, units, key=jax.random.key(0))
    values = [*kernels, weights["bias"]]
    if kind == "elman":
        where = _elman_weights
    elif kind == "gru":
        second = weights["recurrent_bias"]  # outside the reset product, two biases are one
        values[2] = values[2] + np.concatenate([second[: 2 * units], np.zeros(units, np.float32)])
        values.append(second[2 * units :])
        where = _gru_weights
    else:
        where = _lstm_weights
    return eqx.tree_at(where, made, [jnp.asarray(value) for value in values])


def _elman_weights(cell: Any) -> list[Any]:
    return [cell.read.weight, cell.kept.weight, cell.read.bias]


def _lstm_weights(cell: Any) -> list[Any]:
    return [cell.weight_ih, cell.weight_hh, cell.bias]


def _gru_weights(cell: Any) -> list[Any]:
    return [*_lstm_weights(cell), cell.bias_n]


def _scanned(cell: Any, inputs: jax.Array, units: int, unroll: int) -> jax.Array:
    """Outputs ``[time, units]`` of one row."""
    zero = jnp.zeros(units, inputs.dtype)

    def step(state: Any, read: jax.Array) -> tuple[Any, jax.Array]:
        state = cell(read, state)
        return state, state[0] if isinstance(state, tuple) else state

    start = (zero, zero) if isinstance(cell, eqx.nn.LSTMCell) else zero
    return jax.lax.scan(step, start, inputs, unroll=unroll)[1]


class Network(eqx.Module):
    """Embedding or one-hot rows, recurrent layer, perhaps a decoder, readout.

    Args:
      job: whose workload and weights it has.
      unroll: of its layers.
    """

    embedding: Any
    layer: Any
    decoder: Any
    readout: Any
    w: dict[str, Any] = eqx.field(static=True)
    unroll: int = eqx.field(static=True)

    def __init__(self, job: Job, unroll: int):
        w, arrays, key = job.workload, job.arrays, jax.random.key(0)
        self.w, self.unroll = w, unroll
        self.embedding = None
        if w["embedding"]:
            self.embedding = eqx.nn.Embedding(weight=jnp.asarray(arrays["embedding.embedding"]))
        self.layer = _cell(w["cell"], shared.common.layer_of(job))
        self.decoder = _cell("lstm", shared.common.layer_of(job, "decoder")) if w["decoder_units"] else None
        kernel = jnp.asarray(arrays["readout.kernel"])
        readout = eqx.nn.Linear(*kernel.shape, key=key)
        given = [kernel.T, jnp.asarray(arrays["readout.bias"])]
        self.readout = eqx.tree_at(lambda layer: [layer.weight, layer.bias], readout, given)

    def __call__(self, inputs: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Logits of one row, and the states they are read from."""
        w, dtype = self.w, self.readout.weight.dtype
        embedded = self.embedding is not None
        read = jax.vmap(self.embedding)(inputs) if embedded else shared.symbols(w, inputs).astype(dtype)
        hidden = _scanned(self.layer, read, w["units"], self.unroll)
        if self.decoder is not None:
            repeated = jnp.broadcast_to(hidden[-1], (w["answers"], w["units"]))
            hidden = _scanned(self.decoder, repeated, w["decoder_units"], self.unroll)
        elif w["read"] == "last":
            return self.readout(hidden[-1]), hidden[-1]
        return jax.vmap(self.readout)(hidden), hidden


def _network(job: Job, unroll: int) -> Any:
    params, static = eqx.partition(Network(job, unroll), eqx.is_array)
    answers_last = job.workload["read"] == "last"

    def predict(params: Any, inputs: jax.Array) -> tuple[jax.Array, jax.Array]:
        network = eqx.combine(_cast(job, params), static)
        return jax.vmap(network, in_axes=1, out_axes=0 if answers_last else 1)(inputs)

    return shared.Network(params, predict)


def _alone(job: Job, unroll: int) -> Any:
    w = job.workload
    split = [eqx.partition(_cell(w["cell"], weights), eqx.is_array) for weights in shared.common.heads_of(job)]
    static = split[0][1]

    def run(params: Any, inputs: jax.Array) -> jax.Array:
        cell = eqx.combine(_cast(job, params), static)
        one: Callable[[jax.Array], jax.Array] = lambda row: _scanned(cell, row, w["units"], unroll)  # noqa: E731
        return jax.vmap(one, in_axes=1, out_axes=1)(_cast(job, inputs))

    def recurrent(params: Any) -> jax.Array:
        return params.kept.weight if w["cell"] == "elman" else params.weight_hh

    return shared.Layer([params for params, _ in split], run, recurrent)


def _cast(job: Job, tree: Any) -> Any:
    return jax.tree.map(lambda value: value.astype(job.workload["dtype"]), tree)
