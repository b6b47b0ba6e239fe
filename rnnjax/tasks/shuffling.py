"""The order of an epoch: drawn as a whole where that is cheap, worked out place by place where it is not."""

from __future__ import annotations

import dataclasses
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

SORTED = 4096  # places up to which an order is drawn as a whole, which sorts them


def shuffle(key: jax.Array, count: int, size: int, *, stride: int = 1, flat: bool = False) -> Any:
    """The numbers from 0 to `count`, without the last, in random order, in rows of a batch, each times `stride`.

    Args:
      key: randomness.
      count: how many.
      size: numbers of a batch; in rows, what fills no batch is left out.
      stride: what they are multiplied by.
      flat: whether batches follow one another in one axis, and what fills no batch follows them.

    Returns:
      An array ``[batches, size]``, or ``[count]``; beyond `SORTED` numbers a `Shuffled`, which is indexed in the same
      way, up to the last whole batch. A sort in every chunk would cost each member of a population more than training.
    """
    batches = count // size
    if count > SORTED and batches > 1:
        kinds = jax.random.split(key, 3)
        units = jnp.asarray(_units(batches))
        step = units[jax.random.randint(kinds[0], (), 0, len(units))]
        turns = jax.random.randint(kinds[1], (size,), 0, batches, jnp.int32)
        shift = jax.random.randint(kinds[2], (), 0, count, jnp.int32)
        return Shuffled(step, turns, shift, count, stride, flat)
    drawn = jax.random.permutation(key, count) * stride
    return drawn if flat else drawn[: batches * size].reshape(batches, size)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Shuffled:
    """A random order of which any batch can be worked out by itself: ``shuffled[index]``.

    Each place in a batch has a lane of its own, an equal share of the numbers. It goes round its lane from a random
    place, all lanes in steps of one random length, which has no divisor in common with that of the lane; and where the
    first lane begins is random too. So every number comes once, is as likely at any place as at any other, and meets a
    number of another lane as often as chance has it; those of its own lane it never meets.

    Attributes:
      step: the step's length, ``[]``.
      turns: where each lane begins, ``[size]``.
      shift: where the first lane lies, ``[]``.
      count, stride, flat: as in `shuffle`.
    """

    step: Any
    turns: Any
    shift: Any
    count: int = dataclasses.field(metadata={"static": True})
    stride: int = dataclasses.field(metadata={"static": True})
    flat: bool = dataclasses.field(metadata={"static": True})

    @property
    def size(self) -> int:
        """Numbers of a batch."""
        return self.turns.shape[-1]

    @property
    def shape(self) -> tuple[int, ...]:
        """As the array would have it."""
        batches = self.count // self.size
        return (batches * self.size,) if self.flat else (batches, self.size)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any) -> Any:
        index = jnp.asarray(index, jnp.int32)
        if self.flat:
            index, lane = index // self.size, index % self.size
            return self._number(index, lane, jnp.asarray(self.turns)[lane])
        lanes = jnp.arange(self.size).reshape(*[1] * index.ndim, -1)
        return self._number(index[..., None], lanes, jnp.asarray(self.turns).reshape(lanes.shape))

    def _number(self, index: jax.Array, lane: jax.Array, turn: jax.Array) -> jax.Array:
        length = self.count // self.size
        gone = (jnp.asarray(self.step) * index.astype(jnp.uint32) % jnp.uint32(length)).astype(jnp.int32)
        place = gone + turn
        place = jnp.where(place < length, place, place - length) + lane * length + jnp.asarray(self.shift)
        return jnp.where(place < self.count, place, place - self.count) * self.stride

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[np.arange(len(self))], dtype)


@lru_cache(maxsize=8)
def _units(length: int) -> np.ndarray:
    """Numbers without a divisor in common with `length`, times any of which a place still fits into 32 bits."""
    numbers = np.arange(1, max(2, min(length, 2**32 // length, 2**16)), dtype=np.uint32)
    return numbers[np.gcd(numbers, np.uint32(length)) == 1]
