"""From which length on does a linear cell gain by computing all steps at once? minGRU, forwards and backwards."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from rnnjax.cells import CELLS
from rnnjax.executors import EXECUTORS
from rnnjax.timing import paired, ratio
from rnnjax.unroll import unroll

TIMES = (2, 8, 32, 128, 512, 2048, 8192)
SHAPES = ((8, 64), (1, 32), (32, 256))
"""Rows and units."""
MOST = 2**25
"""Numbers of a quantity of all steps; longer sequences are left out."""


def run(*, quick: bool = False) -> Iterator[dict[str, Any]]:
    """One row a length and shape: milliseconds with each executor, and how many times as long the others take."""
    for batch, units in SHAPES[:1] if quick else SHAPES:
        for time in TIMES[1:4] if quick else TIMES:
            if time * batch * units > MOST:
                continue
            found = paired(_gradients(time, batch, units), rounds=3 if quick else 7)
            yield {
                "question": "linear",
                "cell": "min_gru",
                "time": time,
                "batch": batch,
                "units": units,
                **{f"{name}_ms": timing.median * 1e3 for name, timing in found.items()},
                "fused_over_associative": ratio(found["fused"], found["associative"]),
                "scan_over_associative": ratio(found["scan"], found["associative"]),
            }


def _gradients(time: int, batch: int, units: int) -> dict[str, Callable[[], Any]]:
    """A call for each executor, that takes the gradient of the mean square by weights and inputs."""
    graph, weights = nnx.split(CELLS["min_gru"](units, units, rngs=nnx.Rngs(0)))
    inputs = jax.random.normal(jax.random.key(0), (time, batch, units))

    def loss(executor: str, weights: Any, inputs: jax.Array) -> jax.Array:
        outputs = unroll(nnx.merge(graph, weights), inputs, executor=executor, time_major=True).outputs
        return jnp.mean(jnp.square(outputs))

    compiled = {name: jax.jit(jax.grad(partial(loss, name), (0, 1))) for name in EXECUTORS}
    return {name: partial(gradient, weights, inputs) for name, gradient in compiled.items()}
