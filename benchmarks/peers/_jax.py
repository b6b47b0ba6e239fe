"""What the peers on JAX share: a step of training with Optax, a layer alone, and which form of it is faster.

A step is one jitted function with donated buffers; `loop` calls it again and again, `whole` has all steps of a call in
one program. Arrays have time first. A peer gives pure functions, in whatever words its library has for a network.
"""

from __future__ import annotations

import runpy
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

if TYPE_CHECKING:
    from rnnjax.benchmarks.peers.worker import Job, Prepared

common: Any = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("_common.py"))))


class Network(NamedTuple):
    """A network with its weights.

    Attributes:
      params: what is trained.
      predict: ``(params, inputs)`` to logits, and the states they are read from.
    """

    params: Any
    predict: Callable[[Any, Any], tuple[jax.Array, jax.Array]]


class Layer(NamedTuple):
    """A recurrent layer with its weights.

    Attributes:
      params: of each head.
      run: ``(params, inputs)`` to outputs, ``[time, batch, units]``, of one head.
      recurrent: of params, those of the recurrent kernel.
    """

    params: list[Any]
    run: Callable[[Any, jax.Array], jax.Array]
    recurrent: Callable[[Any], jax.Array]


def versions(*packages: str) -> dict[str, str]:
    """Of JAX, and of packages."""
    return {name: version(name) for name in (*packages, "jax", "jaxlib")}


def unrolls(job: Job) -> dict[str, int]:
    """Steps laid out side by side in a loop over time, by the word for it: 1, and all where that may be faster."""
    return {"": 1, ", unrolled": job.workload["time"]} if common.short(job) else {"": 1}


def symbols(w: dict[str, Any], inputs: jax.Array) -> jax.Array:
    """One-hot rows of symbols (zeros for the one after the last); numbers as they are."""
    return jax.nn.one_hot(inputs, w["vocab"]) if w["vocab"] else inputs


def batches(job: Job) -> tuple[jax.Array, jax.Array]:
    """Inputs and targets, ``[batches, time, batch, ...]``."""
    targets = job.arrays["targets"]
    return (
        jnp.asarray(np.swapaxes(job.arrays["inputs"], 1, 2)),
        jnp.asarray(np.swapaxes(targets, 1, 2) if targets.ndim == 3 else targets),
    )


def prepare(
    job: Job,
    unrolls: dict[str, Any],
    network: Callable[[Job, Any], Network],
    layer: Callable[[Job, Any], Layer],
) -> Prepared:
    """A step of training, or a layer alone, in whichever form is fastest.

    Args:
      job: what is asked.
      unrolls: ways to go over time, by the words for each.
      network: makes the network that goes one of these ways.
      layer: makes its recurrent layer.

    Raises:
      NotImplementedError: the question is none of these.
    """
    common.refuse(job)
    if job.question == "step":
        return training(job, {name: network(job, unroll) for name, unroll in unrolls.items()})
    return alone(job, {name: layer(job, unroll) for name, unroll in unrolls.items()})


def training(job: Job, networks: dict[str, Network]) -> Prepared:
    """A step of training, in whichever form is fastest.

    Args:
      job: what is asked.
      networks: the same network in one form or several, by the words for each.
    """
    w = job.workload
    rule = optax.adam(w["rate"], eps=w["epsilon"])

    def stepping(predict: Callable[[Any, Any], tuple[jax.Array, jax.Array]]) -> Callable[..., Any]:
        def objective(params: Any, inputs: jax.Array, targets: jax.Array) -> tuple[jax.Array, jax.Array]:
            logits, hidden = predict(params, inputs)
            logits = logits.astype(jnp.float32)
            loss = optax.softmax_cross_entropy_with_integer_labels(logits, targets).mean()
            penalty = w["activity_l1"] * jnp.abs(hidden).sum() / w["batch"] if w["activity_l1"] else 0.0
            return loss + penalty, loss

        def step(state: Any, inputs: jax.Array, targets: jax.Array) -> tuple[Any, jax.Array]:
            params, moments = state
            gradients, loss = jax.grad(objective, has_aux=True)(params, inputs, targets)
            updates, moments = rule.update(gradients, moments)
            return (optax.apply_updates(params, updates), moments), loss

        return step

    def form(network: Network) -> tuple[Callable[[], Any], Callable[..., Any]]:
        return lambda: (network.params, rule.init(network.params)), stepping(network.predict)

    return steps(job, {name: form(network) for name, network in networks.items()}, batches(job))


def steps(
    job: Job, forms: dict[str, tuple[Callable[[], Any], Callable[..., Any]]], data: tuple[jax.Array, jax.Array]
) -> Prepared:
    """A step of training, in whichever form is fastest.

    Args:
      job: what is asked.
      forms: by the words for each: what gives the state before the first step, and a pure function
        ``(state, inputs, targets)`` to the state after a step, and its loss.
      data: inputs and targets, batches one after the other.
    """
    trainings = {name: Training(start, step, data) for name, (start, step) in forms.items()}
    return common.fastest_training(job, trainings)


class Training:
    """The compiled programs of a training, and how far it is.

    Args:
      start: gives the state before the first step.
      step: one step, as a pure function.
      data: inputs and targets of all batches.

    Attributes:
      loop: so many steps, one after the other.
      check: losses of the first steps.
      compile_s: seconds that compiling a step took.
    """

    def __init__(self, start: Callable[[], Any], step: Callable[..., Any], data: tuple[jax.Array, jax.Array]):
        count = len(data[0])

        def whole(state: Any, data: tuple[jax.Array, jax.Array], done: jax.Array, steps: jax.Array) -> Any:
            def one(k: jax.Array, state: Any) -> Any:
                return step(state, *(values[(done + k) % count] for values in data))[0]

            return jax.lax.fori_loop(0, steps, one, state)

        self.step, self.chunk = jax.jit(step, donate_argnums=0), jax.jit(whole, donate_argnums=0)
        self.data, self.batches = data, [tuple(values[k] for values in data) for k in range(count)]
        self.state, self.done = jax.tree.map(jnp.copy, start()), 0  # copies, since a step takes over their memory
        self.check, self.compile_s = common.first_losses(self.one)
        self.loop = common.repeated(self.one, lambda _: jax.block_until_ready(self.state))

    def one(self) -> jax.Array:
        """One step; its loss."""
        self.state, loss = self.step(self.state, *self.batches[self.done % len(self.batches)])
        self.done += 1
        return loss

    def whole(self, count: int) -> None:
        """So many steps in one program."""
        self.state = self.chunk(self.state, self.data, np.int32(self.done), np.int32(count))
        self.done += count
        jax.block_until_ready(self.state)


def alone(job: Job, layers: dict[str, Layer], *, time_first: bool = True) -> Prepared:
    """A recurrent layer alone, forwards or forwards and backwards, in whichever form is fastest.

    Args:
      job: what is asked.
      layers: the same layer in one form or several, by the words for each.
      time_first: whether it reads ``[time, batch, width]``, not ``[batch, time, width]``.
    """
    dense = common.dense(job)
    inputs = jnp.asarray(np.ascontiguousarray(dense.swapaxes(0, 1)) if time_first else dense)
    backward = job.question == "gradient"

    def compiled(layer: Layer) -> Callable[[int], Any]:
        one = len(layer.params) == 1
        params = layer.params[0] if one else jax.tree.map(lambda *heads: jnp.stack(heads), *layer.params)
        outputs = layer.run if one else jax.vmap(layer.run, in_axes=(0, None))

        def loss(params: Any, inputs: jax.Array) -> jax.Array:
            return jnp.mean(jnp.square(outputs(params, inputs).astype(jnp.float32)))

        program = jax.jit(jax.value_and_grad(loss, argnums=(0, 1)) if backward else outputs)
        return common.repeated(partial(program, params, inputs), jax.block_until_ready)

    calls = {name: compiled(layer) for name, layer in layers.items()}
    compile_s = {name: common.beyond_running(call) for name, call in calls.items()}
    name = common.fastest(calls)
    found = calls[name](1)
    if backward:
        check = [found[0], jnp.sum(jnp.square(layers[name].recurrent(found[1][0]).astype(jnp.float32)))]
    else:
        check = [jnp.mean(jnp.square(found.astype(jnp.float32)))]
    return {
        "call": calls[name],
        "form": f"loop{name}",
        "check": [float(value) for value in check],
        "compile_s": compile_s[name],
    }
