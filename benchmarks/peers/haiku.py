"""`letter_words` in Haiku and Optax, for `rnnjax.benchmarks.sweeps`: ``python -P haiku.py WORKLOAD.npz FORM``.

`FORM` is `loop` (one jitted step called again and again, its indices and data on the device, arrays donated: the form
of Haiku's own examples) or `whole` (all steps of a call in one program). Of Haiku's two unrolls the faster is used.
Prints a line of JSON when it is ready, with the losses of the first steps of the given order, and another after each
line of input, which is a number of steps to train. Without ``-P``, Python would take this file for the library of the
same name.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

hk: Any = importlib.import_module("haiku")

UNITS, SYMBOLS = 3, 3
TRIALS, STEPS_OF_TRIAL = 5, 200


class Elman(hk.RNNCore):
    """``h = tanh(W x + U h + b)``; Haiku's own VanillaRNN has a ReLU."""

    def __call__(self, inputs: jax.Array, state: jax.Array) -> tuple[jax.Array, jax.Array]:
        """One step."""
        state = jnp.tanh(hk.Linear(UNITS)(inputs) + hk.Linear(UNITS, with_bias=False)(state))
        return state, state

    def initial_state(self, batch_size: int) -> jax.Array:
        """Zero."""
        return jnp.zeros([batch_size, UNITS])


def network(unroll: Callable[..., Any]) -> Any:
    """Logits after the last symbol of ``[batch, time]``, and the state they are read from, as a pure function."""

    def forward(inputs: jax.Array) -> tuple[jax.Array, jax.Array]:
        core = Elman()
        _, state = unroll(core, jax.nn.one_hot(inputs.T, SYMBOLS), core.initial_state(inputs.shape[0]))
        return hk.Linear(SYMBOLS)(state), state

    return hk.without_apply_rng(hk.transform(forward))


class Training:
    """The compiled programs of a training.

    Args:
      held: the workload.
      unroll: `hk.dynamic_unroll`, a loop in the program, or `hk.static_unroll`, its steps one after the other.
      form: as on the command line.
    """

    def __init__(self, held: dict[str, Any], unroll: Callable[..., Any], form: str):
        inputs, targets = held["inputs"].astype(jnp.int32), held["targets"].astype(jnp.int32)
        rule, activity = optax.adam(float(held["rate"]), eps=float(held["epsilon"])), float(held["activity_l1"])
        apply, self.init, self.form = network(unroll).apply, rule.init, form

        def objective(params: Any, rows: jax.Array) -> tuple[jax.Array, jax.Array]:
            logits, state = apply(params, inputs[rows])
            loss = optax.softmax_cross_entropy_with_integer_labels(logits, targets[rows]).mean()
            return loss + activity * jnp.abs(state).sum() / rows.size, loss

        def step(state: Any, order: jax.Array) -> tuple[Any, jax.Array]:
            params, moments, k = state
            gradients, loss = jax.grad(objective, has_aux=True)(params, order[k])
            updates, moments = rule.update(gradients, moments)
            return (optax.apply_updates(params, updates), moments, k + 1), loss

        def whole(state: Any, order: jax.Array, count: jax.Array) -> Any:
            return jax.lax.fori_loop(0, count, lambda _, state: step(state, order)[0], state)

        self.step, self.whole = jax.jit(step, donate_argnums=0), jax.jit(whole, donate_argnums=0)

    def start(self, held: dict[str, Any]) -> Any:
        """Parameters, moments, and the number of the next batch."""
        params = {
            "elman/linear": {"w": held["input_kernel"], "b": held["bias"]},
            "elman/linear_1": {"w": held["recurrent_kernel"]},
            "linear": {"w": held["readout_kernel"], "b": held["readout_bias"]},
        }
        params = jax.tree.map(jnp.copy, params)
        return params, self.init(params), jnp.zeros((), jnp.int32)

    def advance(self, state: Any, order: jax.Array, count: int) -> Any:
        """So many steps within an epoch."""
        if self.form == "whole":
            return self.whole(state, order, jnp.int32(count))
        for _ in range(count):
            state, _ = self.step(state, order)
        return state

    def seconds(self, held: dict[str, Any]) -> float:
        """What some steps take, the fastest of a few times."""
        state, found = self.start(held), []
        for _ in range(TRIALS + 1):
            state = (*state[:2], jnp.zeros((), jnp.int32))
            began = time.perf_counter()
            state = jax.block_until_ready(self.advance(state, held["order"], STEPS_OF_TRIAL))
            found.append(time.perf_counter() - began)
        return min(found[1:])


def main(path: str, form: str) -> None:
    """Reads the workload, shows that it is the same, and trains as often as it is asked to."""
    held = {name: jnp.asarray(value) for name, value in np.load(path).items()}
    each = {name: Training(held, getattr(hk, name), form) for name in ("dynamic_unroll", "static_unroll")}
    chosen = min(each, key=lambda name: each[name].seconds(held))
    training, order, losses = each[chosen], held["order"], []
    shuffled = jax.jit(lambda key: jax.random.permutation(key, order.size).reshape(order.shape))
    state, given = training.start(held), order
    for _ in range(int(held["checked"])):
        state, loss = training.step(state, order)
        losses.append(float(loss))
    print(json.dumps({"version": version("dm-haiku"), "form": f"{form}, {chosen}", "losses": losses}), flush=True)
    done, epochs = len(losses), 0
    for line in sys.stdin:
        left = int(line)
        while left:
            if done == order.shape[0]:
                epochs, done = epochs + 1, 0
                given, state = shuffled(jax.random.key(epochs)), (*state[:2], jnp.zeros((), jnp.int32))
            count = min(left, order.shape[0] - done)
            state = training.advance(state, given, count)
            done, left = done + count, left - count
        jax.block_until_ready(state)
        print(json.dumps({"trained": int(line)}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
