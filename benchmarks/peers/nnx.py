"""Flax nnx: `nnx.RNN` over `OptimizedLSTMCell`, `GRUCell` or `SimpleCell`, split once and stepped by `jax.jit`.

Calling `nnx.jit` for each step costs more; its documentation has splitting as the fast form. bfloat16 is `dtype` of the
modules: parameters and states stay in float32.
"""

from __future__ import annotations

import runpy
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

if TYPE_CHECKING:
    from rnnjax.benchmarks.peers.worker import Job, Prepared

shared: Any = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("_jax.py"))))

CELLS: dict[str, Any] = {"lstm": nnx.OptimizedLSTMCell, "gru": nnx.GRUCell, "elman": nnx.SimpleCell}


def versions() -> dict[str, str]:
    """Of Flax, and of what it computes with."""
    return shared.versions("flax", "optax")


def prepare(job: Job) -> Prepared:
    """A step of training, or a layer alone."""
    found = shared.prepare(job, shared.unrolls(job), _network, _alone)
    if job.workload["cell"] == "gru":
        found["form"] += ", one bias"
    return found


class Layer(nnx.Module):
    """A recurrent layer, time first, from the zero state.

    Args:
      cell: a name of `CELLS`.
      weights: by name.
      dtype: of the products.
      unroll: steps laid out side by side.
    """

    def __init__(self, cell: str, weights: dict[str, np.ndarray], dtype: Any, unroll: int):
        self.units, self.pair = len(weights["recurrent_kernel"]), cell == "lstm"
        made = nnx.eval_shape(
            lambda: CELLS[cell](len(weights["input_kernel"]), self.units, dtype=dtype, rngs=nnx.Rngs(0))
        )
        made.dense_i.kernel = nnx.Param(jnp.asarray(weights["input_kernel"]))
        made.dense_h.kernel = nnx.Param(jnp.asarray(weights["recurrent_kernel"]))
        (made.dense_h if self.pair else made.dense_i).bias = nnx.Param(jnp.asarray(weights["bias"]))
        self.run: Any = nnx.RNN(made, time_major=True, unroll=unroll, rngs=False)

    def __call__(self, inputs: jax.Array) -> jax.Array:
        """Outputs ``[time, batch, units]``."""
        zero = jnp.zeros((inputs.shape[1], self.units))
        return self.run(inputs, initial_carry=(zero, zero) if self.pair else zero)


class Network(nnx.Module):
    """Embedding or one-hot rows, recurrent layer, perhaps a decoder, readout.

    Args:
      job: whose workload and weights it has.
      unroll: of its layers.
    """

    def __init__(self, job: Job, unroll: int):
        w, arrays, dtype = job.workload, job.arrays, jnp.dtype(job.workload["dtype"])
        self.w = nnx.static(w)
        self.layer = Layer(w["cell"], shared.common.layer_of(job), dtype, unroll)
        decoder, embedding = None, None
        if w["decoder_units"]:
            decoder = Layer("lstm", shared.common.layer_of(job, "decoder"), dtype, unroll)
        if w["embedding"]:
            embedding = nnx.Embed(w["vocab"], w["embedding"], dtype=dtype, rngs=nnx.Rngs(0))
            embedding.embedding = nnx.Param(jnp.asarray(arrays["embedding.embedding"]))
        self.decoder, self.embedding = nnx.data(decoder), nnx.data(embedding)
        kernel = arrays["readout.kernel"]
        self.readout = nnx.Linear(*kernel.shape, dtype=dtype, rngs=nnx.Rngs(0))
        self.readout.kernel = nnx.Param(jnp.asarray(kernel))
        self.readout.bias = nnx.Param(jnp.asarray(arrays["readout.bias"]))

    def __call__(self, inputs: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Logits, and the states they are read from."""
        hidden = self.layer(shared.symbols(self.w, inputs) if self.embedding is None else self.embedding(inputs))
        if self.decoder is not None:
            hidden = self.decoder(jnp.broadcast_to(hidden[-1], (self.w["answers"], *hidden.shape[1:])))
        elif self.w["read"] == "last":
            hidden = hidden[-1]
        return self.readout(hidden), hidden


def _network(job: Job, unroll: int) -> Any:
    graph, params, rest = nnx.split(Network(job, unroll), nnx.Param, ...)
    return shared.Network(params, lambda params, inputs: nnx.merge(graph, params, rest)(inputs))


def _alone(job: Job, unroll: int) -> Any:
    w = job.workload
    layers = [Layer(w["cell"], weights, jnp.dtype(w["dtype"]), unroll) for weights in shared.common.heads_of(job)]
    split = [nnx.split(layer, nnx.Param, ...) for layer in layers]
    graph, _, rest = split[0]

    def run(params: Any, inputs: jax.Array) -> jax.Array:
        return nnx.merge(graph, params, rest)(inputs)

    def recurrent(params: Any) -> jax.Array:
        return params["run"]["cell"]["dense_h"]["kernel"][...]

    return shared.Layer([params for _, params, _ in split], run, recurrent)
