"""Sampling from a trained model, and scoring with it: many rows at once, compiled once for all settings and lengths."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from rnnjax import config
from rnnjax.config import InputError
from rnnjax.layers import Bidirectional

SEGMENT = 256  # steps that are scored at once; a longer sequence goes on from the state that the last ones left
LOGITS = 2**25  # numbers at most in the logits of one call


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
    _check_direction(model, "in generate")
    if not prompts or any(len(prompt) == 0 for prompt in prompts):
        raise InputError("an empty prompt", "in generate", "give each prompt at least one symbol")
    if not 0 <= temperature < math.inf or not 0 < top_p <= 1 or top_k < 0 or length < 1:
        raise InputError(
            f"temperature {temperature}, top_k {top_k}, top_p {top_p}, length {length}",
            "in generate",
            "temperature and top_k are at least 0, top_p is above 0 and at most 1, length is at least 1",
        )
    lengths = np.asarray([len(prompt) for prompt in prompts], np.int32)
    padded = np.zeros((len(prompts), _power_of_two(int(lengths.max()))), np.int32)
    for row, prompt in zip(padded, prompts, strict=True):
        row[: len(prompt)] = prompt
    vocab = model.readout.out_features
    if padded.min() < 0 or padded.max() > vocab:  # the index after the last stands for no symbol
        raise InputError(
            f"symbols from {padded.min()} to {padded.max()}",
            "in the prompts",
            f"the model has symbols 0 to {vocab - 1}, and {vocab} for none",
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


class Scored(NamedTuple):
    """How likely a model finds sequences.

    Attributes:
      log_probability: of each scored symbol given those before it, in nats: an array ``[symbols]`` for each sequence.
      first: place of the first scored symbol: 0, or 1 where nothing was read before a sequence.
    """

    log_probability: list[np.ndarray]
    first: int

    @property
    def symbols(self) -> np.ndarray:
        """Symbols scored of each sequence, ``[sequences]``."""
        return np.asarray([len(values) for values in self.log_probability])

    @property
    def nats(self) -> np.ndarray:
        """Log-probability of each sequence, ``[sequences]``: given its first symbol, where that is not scored."""
        return np.asarray([values.sum(dtype=np.float64) for values in self.log_probability])

    @property
    def nats_per_symbol(self) -> np.ndarray:
        """Loss on each sequence: mean over scored symbols of the negative log-probability in nats, ``[sequences]``."""
        return -self.nats / self.symbols

    @property
    def bits_per_symbol(self) -> np.ndarray:
        """The same in bits, ``[sequences]``."""
        return self.nats_per_symbol / math.log(2)


def score(model: Any, sequences: Sequence[np.ndarray], *, before: int | None = None) -> Scored:
    """Log-probability of each symbol of some sequences given those before it, each sequence from the initial state.

    What a model says of a sequence's first symbol it says after reading something. If it was trained to begin by
    reading one symbol (a line break; or none, the index one past the last symbol, as in the study of names), give that
    as `before`: every symbol is scored. Otherwise scores begin with the second symbol, and are given the first.

    Lengths are rounded up to powers of two and to multiples of `SEGMENT`, rows to powers of two, so that few programs
    are compiled, whatever the sequences.

    Args:
      model: a module with ``unroll(tokens, state=, lengths=)`` and ``initial_state(rows)``, such as `SequenceModel`.
      sequences: symbols by index, an array ``[symbols]`` each.
      before: what is read before each sequence.

    Raises:
      InputError: a sequence with nothing to score, a symbol that the model does not have, or a model that does not
        answer step by step.
    """
    _check_direction(model, "in score")
    start = [] if before is None else [before]
    rows = [np.concatenate([start, sequence]).astype(np.int32) for sequence in sequences]
    if not rows or any(len(row) < 2 for row in rows):
        raise InputError(
            "a sequence with nothing to score",
            "in score",
            f"give each sequence at least {2 - len(start)} symbol{'' if start else 's'}",
        )
    vocab = model.readout.out_features
    low, high = (f(f(row[len(start) :]) for row in rows) for f in (min, max))
    if low < 0 or high >= vocab or not 0 <= (before or 0) <= vocab:
        raise InputError(
            f"symbols from {low} to {high}" + (f" after {before}" if start else ""),
            "in the sequences",
            f"the model has symbols 0 to {vocab - 1}",
        )
    graph, variables = nnx.split(model)
    found: list[np.ndarray] = [np.empty(0)] * len(rows)
    waiting = sorted(range(len(rows)), key=lambda place: len(rows[place]))
    while waiting:
        steps = min(SEGMENT, _power_of_two(len(rows[waiting[-1]]) - 1))
        most = min(64, 1 << max(0, (LOGITS // (steps * vocab)).bit_length() - 1))
        chosen, waiting = waiting[-most:], waiting[:-most]
        values = _score_rows(graph, variables, model.initial_state, [rows[place] for place in chosen], steps)
        for place, row in zip(chosen, values, strict=True):
            found[place] = row
    return Scored(found, first=1 - len(start))


def _score_rows(graph: Any, variables: Any, initial_state: Any, rows: list[np.ndarray], steps: int) -> list[np.ndarray]:
    """Log-probability of all symbols but the first of each row, `steps` of them in one call."""
    lengths = np.zeros(_power_of_two(len(rows)), np.int32)
    lengths[: len(rows)] = [len(row) - 1 for row in rows]
    padded = np.zeros((len(lengths), -(-int(lengths.max()) // steps) * steps + 1), np.int32)
    for row, target in zip(rows, padded, strict=False):
        target[: len(row)] = row
    state, found = initial_state(len(lengths)), []
    for start in range(0, padded.shape[1] - 1, steps):
        here = np.clip(lengths - start, 0, steps)
        state, values = _score(graph, variables, state, padded[:, start : start + steps + 1], here)
        found.append(np.asarray(values))
    whole = np.concatenate(found, axis=1)
    return [values[: len(row) - 1] for values, row in zip(whole, rows, strict=False)]


@partial(jax.jit, static_argnums=0)
def _score(graph, variables, state, tokens, lengths):
    """The state after ``tokens[:, :-1]``, and the log-probability of ``tokens[:, 1:]``."""
    read = nnx.merge(graph, variables).unroll(tokens[:, :-1], state=state, lengths=lengths)
    logits = read.outputs.astype(jnp.promote_types(read.outputs.dtype, jnp.float32))
    return read.state, jnp.take_along_axis(jax.nn.log_softmax(logits), tokens[:, 1:, None], axis=-1)[..., 0]


def _check_direction(model: Any, where: str) -> None:
    """Refuses a model that sees what comes after a symbol."""
    if model.read != "every" or any(isinstance(part, Bidirectional) for _, part in nnx.iter_graph(model)):
        raise InputError(
            "a model that sees the whole sequence", where, "give one that goes forward and reads every step"
        )


def _power_of_two(number: int) -> int:
    """The least power of two that is no less."""
    return 1 << (number - 1).bit_length()
