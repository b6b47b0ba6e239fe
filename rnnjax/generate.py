"""Sampling from a trained model, one symbol at a time: many rows at once, compiled once for all settings."""

from __future__ import annotations

import dataclasses
import math
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from rnnjax import config
from rnnjax.config import InputError
from rnnjax.layers import Bidirectional


@dataclasses.dataclass(frozen=True)
class SampleConfig:
    """What is sampled when training ends."""

    prompts: tuple[str, ...] = config.field((), "texts to go on from; none: a line break, or the first symbol")
    length: int = config.field(500, "symbols to draw", at_least=1)
    temperature: float = config.field(
        0.5, "below 1 is bolder towards likely symbols, 0 takes the likeliest", at_least=0
    )
    top_k: int = config.field(0, "draw from so many likeliest symbols; 0: from all", at_least=0)
    top_p: float = config.field(
        1.0, "draw from the likeliest symbols that together have this probability", above=0, at_most=1
    )


class Generated(NamedTuple):
    """What was drawn: symbols ``[rows, length]``, and the log-probability (nats, at temperature 1) of each."""

    tokens: jax.Array
    log_probability: jax.Array


def generate(
    model: Any,
    prompts: list[np.ndarray],
    key: jax.Array,
    *,
    length: int = 500,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
) -> Generated:
    """Reads each prompt from the initial state, then draws `length` symbols after it.

    A row's draws depend on the key and on its place alone, not on how many rows there are. Only `length`, the number of
    rows and the prompts' length (rounded up to a power of two) are compiled in.

    Args:
      model: a module with ``unroll(tokens, state=, lengths=)``, such as `SequenceModel`.
      prompts: symbols by index, one array a row, each at least one symbol long.
      key: randomness.
      length: symbols to draw.
      temperature: divides the logits; 0 takes the likeliest symbol.
      top_k: draw from so many likeliest symbols; 0 for all.
      top_p: draw from the fewest likeliest symbols that together have this probability (Holtzman et al. 2020).

    Raises:
      InputError: an empty prompt, a number out of range, or a model that does not answer step by step.
    """
    if model.read != "every" or any(isinstance(part, Bidirectional) for _, part in nnx.iter_graph(model)):
        raise InputError(
            "a model that sees the whole sequence", "in generate", "give one that goes forward and reads every step"
        )
    if not prompts or any(len(prompt) == 0 for prompt in prompts):
        raise InputError("an empty prompt", "in generate", "give each prompt at least one symbol")
    if not 0 <= temperature < math.inf or not 0 < top_p <= 1 or top_k < 0 or length < 1:
        raise InputError(
            f"temperature {temperature}, top_k {top_k}, top_p {top_p}, length {length}",
            "in generate",
            "temperature and top_k are at least 0, top_p is above 0 and at most 1, length is at least 1",
        )
    lengths = np.asarray([len(prompt) for prompt in prompts], np.int32)
    padded = np.zeros((len(prompts), 1 << int(lengths.max() - 1).bit_length()), np.int32)
    for row, prompt in zip(padded, prompts, strict=True):
        row[: len(prompt)] = prompt
    vocab = model.readout.out_features
    if padded.min() < 0 or padded.max() >= vocab:
        raise InputError(
            f"symbols from {padded.min()} to {padded.max()}",
            "in the prompts",
            f"the model has symbols 0 to {vocab - 1}",
        )
    graph, variables = nnx.split(model)
    settings = (np.float32(temperature), np.int32(top_k), np.float32(top_p))
    return _generate(graph, length, variables, padded, lengths, key, settings)


@partial(jax.jit, static_argnums=(0, 1))
def _generate(graph, length, variables, prompts, lengths, key, settings) -> Generated:
    model = nnx.merge(graph, variables)
    rows = prompts.shape[0]
    read = model.unroll(prompts, lengths=lengths)
    logits = jnp.take_along_axis(read.outputs, (lengths - 1)[:, None, None], axis=1)[:, 0]
    keys = jax.vmap(partial(jax.random.fold_in, key))(jnp.arange(rows))

    def draw(carry, step):
        state, logits = carry
        step_keys = jax.vmap(partial(jax.random.fold_in, data=step))(keys)
        tokens = jax.vmap(partial(choose, settings=settings))(logits, step_keys)
        chosen = jnp.take_along_axis(jax.nn.log_softmax(logits), tokens[:, None], axis=1)[:, 0]
        after = model.unroll(tokens[:, None], state=state)
        return (after.state, after.outputs[:, 0]), (tokens, chosen)

    _, (tokens, chosen) = jax.lax.scan(draw, (read.state, logits), jnp.arange(length))
    return Generated(tokens.T, chosen.T)


def choose(logits: jax.Array, key: jax.Array, settings: tuple[jax.Array, jax.Array, jax.Array]) -> jax.Array:
    """Draws one symbol from logits ``[vocab]``; settings are temperature, top_k and top_p, all of them traced."""
    temperature, top_k, top_p = settings
    vocab = logits.shape[-1]
    scaled = logits / jnp.maximum(temperature, 1e-6)
    descending = jnp.sort(scaled, descending=True)
    least_of_k = descending[jnp.clip(jnp.where(top_k == 0, vocab, top_k) - 1, 0, vocab - 1)]
    before = jnp.cumsum(jax.nn.softmax(descending)) - jax.nn.softmax(descending)
    least_of_p = jnp.min(jnp.where(before < top_p, descending, jnp.inf))
    allowed = (scaled >= least_of_k) & (scaled >= least_of_p)
    drawn = jax.random.categorical(key, jnp.where(allowed, scaled, -jnp.inf))
    return jnp.where(temperature == 0, jnp.argmax(logits), drawn).astype(jnp.int32)
