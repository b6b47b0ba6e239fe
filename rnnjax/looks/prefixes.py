"""What a model that answers after the last step would have answered at every step before."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx


def answers_so_far(model: Any, inputs: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Log-probabilities ``[time, examples, classes]`` after the first 1, 2, ... steps; an example that has ended keeps
    its last.

    Args:
      model: reads at the last step; in one direction or both.
      inputs: padded, ``[examples, time, ...]``.
      lengths: valid steps of each, ``[examples]``.
    """
    graph, variables = nnx.split(model)

    @jax.jit
    def found(variables, inputs, lengths):
        def after(steps):
            outputs = nnx.merge(graph, variables).unroll(inputs, lengths=jnp.minimum(lengths, steps)).outputs
            return jax.nn.log_softmax(outputs)

        return jax.lax.map(after, jnp.arange(1, inputs.shape[1] + 1))

    return np.asarray(found(variables, inputs, lengths))


def answers(model: Any, inputs: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Log-probabilities ``[examples, classes]`` after the last step; arguments as above."""
    graph, variables = nnx.split(model)
    found = jax.jit(
        lambda variables, inputs, lengths: jax.nn.log_softmax(
            nnx.merge(graph, variables).unroll(inputs, lengths=lengths).outputs
        )
    )
    return np.asarray(found(variables, inputs, lengths))
