"""Haiku: `hk.LSTM` by `hk.dynamic_unroll`, or by `hk.static_unroll` where sequences are short and that is faster.

Haiku's own `VanillaRNN` has a ReLU, and its `GRU` resets before the product: the cores below are those asked for.
bfloat16 is a policy of jmp for `hk.Linear`: its products are in bfloat16, everything else is in float32.
"""

from __future__ import annotations

import contextlib
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

hk: Any = importlib.import_module("haiku")
shared: Any = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("_jax.py"))))


def versions() -> dict[str, str]:
    """Of Haiku, and of what it computes with."""
    return shared.versions("dm-haiku", "optax")


def prepare(job: Job) -> Prepared:
    """A step of training, or a layer alone."""
    unrolls = {", dynamic_unroll": hk.dynamic_unroll}
    if shared.common.short(job):
        unrolls[", static_unroll"] = hk.static_unroll
    return shared.prepare(job, unrolls, _network, _alone)


class Elman(hk.RNNCore):
    """``h = tanh(W x + U h + b)``."""

    def __init__(self, units: int, name: str | None = None):
        super().__init__(name)
        self.units = units

    def __call__(self, inputs: jax.Array, state: jax.Array) -> tuple[jax.Array, jax.Array]:
        """One step."""
        read, kept = hk.Linear(self.units, name="input"), hk.Linear(self.units, with_bias=False, name="recurrent")
        state = jnp.tanh(read(inputs) + kept(state))
        return state, state

    def initial_state(self, batch_size: int) -> jax.Array:
        """Zero."""
        return jnp.zeros([batch_size, self.units])


class GRU(Elman):
    """A GRU that resets after the product."""

    def __call__(self, inputs: jax.Array, state: jax.Array) -> tuple[jax.Array, jax.Array]:
        """One step."""
        x = jnp.split(hk.Linear(3 * self.units, name="input")(inputs), 3, axis=-1)
        q = jnp.split(hk.Linear(3 * self.units, name="recurrent")(state), 3, axis=-1)
        r, z = jax.nn.sigmoid(x[0] + q[0]), jax.nn.sigmoid(x[1] + q[1])
        state = (1 - z) * jnp.tanh(x[2] + r * q[2]) + z * state
        return state, state


CORES = {"lstm": hk.LSTM, "gru": GRU, "elman": Elman}


def _core_params(cell: str, weights: dict[str, np.ndarray], name: str) -> dict[str, dict[str, Any]]:
    kernels = weights["input_kernel"], weights["recurrent_kernel"]
    if cell != "lstm":
        second = {"b": weights["recurrent_bias"]} if "recurrent_bias" in weights else {}
        found = {
            f"{name}/input": {"w": kernels[0], "b": weights["bias"]},
            f"{name}/recurrent": {"w": kernels[1], **second},
        }
        return jax.tree.map(jnp.asarray, found)
    i, f, g, o = (jnp.split(jnp.asarray(value), 4, axis=-1)[k] for value in [np.concatenate(kernels)] for k in range(4))
    bi, bf, bg, bo = jnp.split(jnp.asarray(weights["bias"]), 4)  # Haiku adds one to the forget gate itself
    joined = {"w": jnp.concatenate([i, g, f, o], axis=-1), "b": jnp.concatenate([bi, bg, bf - 1, bo])}
    return {f"{name}/linear": joined}


def _precision(job: Job) -> Any:
    if job.workload["dtype"] != "bfloat16":
        return contextlib.nullcontext()
    policy = importlib.import_module("jmp").get_policy("params=float32,compute=bfloat16,output=float32")
    return hk.mixed_precision.push_policy(hk.Linear, policy)


def _network(job: Job, unroll: Callable[..., Any]) -> Any:
    w, arrays = job.workload, job.arrays

    def forward(inputs: jax.Array) -> tuple[jax.Array, jax.Array]:
        with _precision(job):
            embed = hk.Embed(w["vocab"], w["embedding"], name="embedding") if w["embedding"] else None
            read = shared.symbols(w, inputs) if embed is None else embed(inputs)
            core = CORES[w["cell"]](w["units"], name="layer")
            hidden, _ = unroll(core, read, core.initial_state(w["batch"]))
            if w["decoder_units"]:
                decoder = hk.LSTM(w["decoder_units"], name="decoder")
                repeated = jnp.broadcast_to(hidden[-1], (w["answers"], *hidden.shape[1:]))
                hidden, _ = unroll(decoder, repeated, decoder.initial_state(w["batch"]))
            elif w["read"] == "last":
                hidden = hidden[-1]
            return hk.Linear(w["classes"], name="readout")(hidden), hidden

    w = {**w, "classes": arrays["readout.kernel"].shape[1]}
    params: dict[str, Any] = {
        **_core_params(w["cell"], shared.common.layer_of(job), "layer"),
        "readout": {"w": jnp.asarray(arrays["readout.kernel"]), "b": jnp.asarray(arrays["readout.bias"])},
    }
    if w["embedding"]:
        params["embedding"] = {"embeddings": jnp.asarray(arrays["embedding.embedding"])}
    if w["decoder_units"]:
        params |= _core_params("lstm", shared.common.layer_of(job, "decoder"), "decoder")
    return shared.Network(params, hk.without_apply_rng(hk.transform(forward)).apply)


def _alone(job: Job, unroll: Callable[..., Any]) -> Any:
    w = job.workload

    def forward(inputs: jax.Array) -> jax.Array:
        with _precision(job):
            core = CORES[w["cell"]](w["units"], name="layer")
            return unroll(core, inputs, core.initial_state(w["batch"]))[0]

    def recurrent(params: Any) -> jax.Array:
        return (
            params["layer/linear"]["w"][..., -w["units"] :, :]
            if w["cell"] == "lstm"
            else params["layer/recurrent"]["w"]
        )

    params = [_core_params(w["cell"], weights, "layer") for weights in shared.common.heads_of(job)]
    return shared.Layer(params, hk.without_apply_rng(hk.transform(forward)).apply, recurrent)
