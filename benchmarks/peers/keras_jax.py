"""Keras on JAX: a stateless step, jitted with donated buffers, one at a time or many in a program; see `_keras.py`."""

from __future__ import annotations

import os
import runpy
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

os.environ["KERAS_BACKEND"] = "jax"  # before Keras is imported

if TYPE_CHECKING:
    import jax

    from rnnjax.benchmarks.peers.worker import Job, Prepared

here = Path(__file__)
shared: Any = SimpleNamespace(**runpy.run_path(str(here.with_name("_jax.py"))))
words: Any = SimpleNamespace(**runpy.run_path(str(here.with_name("_keras.py"))))


def versions() -> dict[str, str]:
    """Of Keras, and of what it computes with."""
    return words.versions("jax")


def prepare(job: Job) -> Prepared:
    """A step of training, a layer alone, or drawing symbols."""
    shared.common.refuse(job, generates=True)
    if words.keras.backend.backend() != "jax":
        raise NotImplementedError("Keras runs on another backend here")
    if job.question == "generation":
        return words.generation(job)
    unrolls = words.unrolls(job)
    if job.question == "step":
        data = tuple(map(shared.jnp.asarray, (words.inputs_of(job), job.arrays["targets"])))
        return shared.steps(job, {name: _training(job, unroll) for name, unroll in unrolls.items()}, data)
    return shared.alone(job, {name: _alone(job, unroll) for name, unroll in unrolls.items()}, time_first=False)


def _training(job: Job, unroll: bool) -> Any:
    w = job.workload
    model, rule = words.network(job, unroll=unroll), words.adam(w)
    rule.build(model.trainable_variables)

    def objective(trained: Any, fixed: Any, inputs: jax.Array, targets: jax.Array) -> Any:
        (logits, hidden), fixed = model.stateless_call(trained, fixed, inputs, training=True)
        whole, loss = words.loss_of(model, w, logits, hidden, targets)
        return whole, (loss, fixed)

    gradient = shared.jax.grad(objective, has_aux=True)

    def step(state: Any, inputs: jax.Array, targets: jax.Array) -> Any:
        trained, fixed, moments = state
        gradients, (loss, fixed) = gradient(trained, fixed, inputs, targets)
        trained, moments = rule.stateless_apply(moments, gradients, trained)
        return (trained, fixed, moments), loss

    def start() -> Any:
        held = model.trainable_variables, model.non_trainable_variables, rule.variables
        return tuple([variable.value for variable in variables] for variables in held)

    return start, step


def _alone(job: Job, unroll: bool) -> Any:
    layers = words.layers(job, unroll=unroll)
    fixed = [variable.value for variable in layers[0].non_trainable_variables]

    def run(params: Any, inputs: jax.Array) -> jax.Array:
        return layers[0].stateless_call(params, fixed, inputs)[0]

    params = [[variable.value for variable in layer.trainable_variables] for layer in layers]
    return shared.Layer(params, run, lambda params: params[1])
