"""Small models with random weights, made without compiling anything."""

from __future__ import annotations

from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from rnnjax.cells import CELLS
from rnnjax.layers import Bidirectional, ModelConfig, Recurrent

INPUT, UNITS, OUTPUTS = 3, 4, 5


def drawn(model: Any, seed: int = 0) -> Any:
    """A model of that structure (its values do not matter) with every weight random, biases too."""
    graph, state = nnx.split(model)
    rng = np.random.default_rng(seed)

    def draw(leaf: Any) -> jax.Array:  # rates and leaks are the ones without axes
        return jnp.asarray(rng.normal(0, 0.5, leaf.shape) if leaf.shape else 0.5, leaf.dtype)

    return nnx.merge(graph, jax.tree.map(draw, state))


def built(cell: str, seed: int = 0, **options: Any) -> Any:
    return drawn(structure(cell, tuple(options.items())), seed)


@cache
def structure(cell: str, options: tuple[tuple[str, Any], ...]) -> Any:
    chosen = {"read": "every", "symbols": False, "length": 0, "answer_steps": 0, **dict(options)}
    build = {name: chosen.pop(name) for name in ("read", "symbols", "length", "answer_steps")}
    blank = {} if cell in ("min_gru", "feedforward") else {"recurrent_kernel": "zeros"}
    sizes = {"options": {"projection": chosen.pop("projection", UNITS - 1)}} if cell == "projected_lstm" else {}
    config = ModelConfig(**{"cell": cell, "units": UNITS, "executor": "scan", "initializers": blank, **sizes, **chosen})
    return nnx.eval_shape(lambda: config.build(INPUT, OUTPUTS, rngs=nnx.Rngs(0), **build))


def layer(cell: str, seed: int = 0, *, reverse: bool = False, **options: Any) -> Any:
    def make() -> Recurrent:
        made = CELLS[cell](INPUT, UNITS, rngs=nnx.Rngs(0), initializers={"recurrent_kernel": "zeros"}, **options)
        return Recurrent(made, reverse=reverse, executor="scan")

    return drawn(nnx.eval_shape(make), seed)


def both_ways(cell: str, **options: Any) -> Any:
    return Bidirectional(layer(cell), layer(cell, 1, reverse=True), **options)
