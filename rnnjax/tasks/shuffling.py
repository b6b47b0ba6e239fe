"""The order of an epoch: drawn as a whole where that is cheap, worked out place by place where it is not."""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

SORTED = 4096  # places up to which an order is drawn as a whole, which sorts them
ROUNDS = 32


def shuffle(key: jax.Array, count: int, *, row: int | None = None, stride: int = 1) -> Any:
    """The numbers from 0 to `count`, without the last, in random order, each times `stride`.

    Args:
      key: randomness.
      count: how many.
      row: numbers of a row, where they are wanted as rows; a last one that is not full is left out.
      stride: what they are multiplied by.

    Returns:
      An array ``[count]`` or ``[rows, row]``; beyond `SORTED` a `Shuffled`, which is indexed in the same way. A sort in
      every program that needs an order would cost each member of a population more than its training.
    """
    if count > SORTED:
        return Shuffled(jax.random.bits(key, (2,), jnp.uint32), count, row, stride)
    drawn = jax.random.permutation(key, count) * stride
    return drawn if row is None else drawn[: count // row * row].reshape(-1, row)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Shuffled:
    """A random order of which any place can be looked up by itself: ``shuffled[index]``.

    Numbers are permuted by the swap-or-not shuffle (Hoang, Morris & Rogaway 2012), a cipher on any domain: in each
    round a number and its partner, which add up to the round's secret, change places or do not, by one bit that both
    have in common.

    Attributes:
      words: the secret, two words of 32 bits.
      count, row, stride: as in `shuffle`.
    """

    words: Any
    count: int = dataclasses.field(metadata={"static": True})
    row: int | None = dataclasses.field(metadata={"static": True})
    stride: int = dataclasses.field(metadata={"static": True})

    @property
    def shape(self) -> tuple[int, ...]:
        """As the array would have it."""
        return (self.count,) if self.row is None else (self.count // self.row, self.row)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any) -> Any:
        index = jnp.asarray(index)
        if self.row is None:
            return permuted(self.words, index, self.count) * self.stride
        places = index[..., None] * self.row + jnp.arange(self.row).reshape(*[1] * index.ndim, -1)
        return permuted(self.words, places, self.count) * self.stride

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[np.arange(len(self))], dtype)


@partial(jax.jit, static_argnums=2)
def permuted(words: Any, places: Any, count: int) -> jax.Array:
    """Where a shuffle of `count` numbers puts `places` (any shape, each at least 0 and less than `count`)."""
    places = jnp.asarray(places).astype(jnp.uint32)
    first, second = jnp.asarray(words[0]), jnp.asarray(words[1])
    for number in range(ROUNDS):
        secret = _mixed(first + jnp.uint32(number * 0x9E3779B9 % 2**32))
        turn = secret % jnp.uint32(count)
        partners = jnp.where(places <= turn, turn - places, turn + jnp.uint32(count) - places)
        both = jnp.maximum(places, partners)
        places = jnp.where(_mixed(both ^ secret ^ second) >> 31 == 1, partners, places)
    return places.astype(jnp.int32)


def _mixed(word: jax.Array) -> jax.Array:
    """A word whose every bit depends on all of `word`: the finaliser of MurmurHash3 (Appleby 2011)."""
    word = (word ^ (word >> 16)) * jnp.uint32(0x85EBCA6B)
    word = (word ^ (word >> 13)) * jnp.uint32(0xC2B2AE35)
    return word ^ (word >> 16)
