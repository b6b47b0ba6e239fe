"""Sequences of different lengths in rows: padded to the longest, in buckets of a few widths, or several in a row.

A layout says which sequences lie in which row and how many steps a row has; what it wastes is known before training.
The data itself stays flat, one sequence after the other in the order of rows, so that a row is a slice of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax.config import InputError

LAYOUTS = ("pad", "bucket", "pack")
CHUNK = 1 << 18  # sequences that are moved at once, so that their indices take little memory


class Layout(NamedTuple):
    """Rows of sequences, those of the narrowest shape first.

    Attributes:
      order: the sequences in the order of rows, ``[sequences]``.
      ends: how many sequences there are up to the end of each row, ``[rows]``.
      widths: steps of a row in each shape, growing.
      rows: rows of each shape.
    """

    order: np.ndarray
    ends: np.ndarray
    widths: tuple[int, ...]
    rows: tuple[int, ...]

    @property
    def steps(self) -> int:
        """Steps of all rows, whether they exist or not."""
        return sum(width * rows for width, rows in zip(self.widths, self.rows, strict=True))

    def shapes(self, rows: np.ndarray) -> np.ndarray:
        """Which shape the rows of these numbers have."""
        return np.searchsorted(np.cumsum(self.rows), rows, side="right").astype(np.int32)


class Ragged(NamedTuple):
    """Sequences one after the other.

    Attributes:
      values: of all steps, ``[steps]``.
      starts: where each sequence begins, and where the last one ends, ``[sequences + 1]``.
    """

    values: np.ndarray
    starts: np.ndarray

    @property
    def lengths(self) -> np.ndarray:
        """Steps of each sequence."""
        return np.diff(self.starts)

    def take(self, order: np.ndarray) -> Ragged:
        """The sequences of these numbers, in their order."""
        lengths = self.lengths[order]
        starts = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
        values = np.empty(starts[-1], self.values.dtype)
        for first in range(0, len(order), CHUNK):
            chunk = slice(first, first + CHUNK)
            low, high = starts[first], starts[min(first + CHUNK, len(order))]
            shift = np.repeat(self.starts[order[chunk]] - starts[:-1][chunk], lengths[chunk])
            values[low:high] = self.values[np.arange(low, high) + shift]
        return Ragged(values, starts)


def arrange(lengths: np.ndarray, layout: str, *, widths: Sequence[int], row: int) -> Layout:
    """The layout of that name: `pad` to the widest, `bucket` or `pack`."""
    if layout == "pack":
        return pack(lengths, row)
    return bucket(lengths, widths if layout == "bucket" else (max(widths),))


def bucket(lengths: np.ndarray, widths: Sequence[int]) -> Layout:
    """A row a sequence, as wide as the narrowest of `widths` that it fits into; of one width, this is padding.

    Args:
      lengths: steps of each sequence, ``[sequences]``.
      widths: steps of a row in each shape, growing; such as `boundaries` gives.

    Raises:
      InputError: a sequence longer than all of them.
    """
    _check(lengths, max(widths))
    shapes = np.searchsorted(widths, lengths)
    order = np.argsort(shapes, kind="stable")
    rows = np.bincount(shapes, minlength=len(widths))
    return Layout(order, np.arange(1, len(lengths) + 1), tuple(map(int, widths)), tuple(rows.tolist()))


def boundaries(lengths: np.ndarray, shapes: int) -> tuple[int, ...]:
    """The widths of at most so many buckets that waste the fewest steps: dynamic programming over the lengths."""
    sizes, counts = np.unique(lengths, return_counts=True)
    held = np.concatenate([[0], np.cumsum(counts)])
    from_to = np.where(np.tri(len(sizes), dtype=bool).T, sizes * (held[1:] - held[:-1, None]), np.inf)
    best, chosen = from_to[0], []  # best[k]: fewest steps of rows for the lengths up to sizes[k]
    for _ in range(1, min(shapes, len(sizes))):
        steps = np.concatenate([[0], best[:-1]])[:, None] + from_to
        chosen.append(steps.argmin(axis=0))
        best = steps.min(axis=0)
    last, found = len(sizes) - 1, []
    for first in (*reversed(chosen), np.zeros(len(sizes), int)):
        found.append(int(sizes[last]))
        if first[last] == 0:
            break
        last = first[last] - 1
    return tuple(reversed(found))


def pack(lengths: np.ndarray, row: int) -> Layout:
    """Several sequences in a row of `row` steps.

    One row after the other takes the longest sequence that is left, and then those that fill it most (minimum bin
    slack, Fleszar & Hindi 2002). As sequences of one length are alike, a row is a pattern of lengths, which is repeated
    until one of them runs out: there are about as many patterns as lengths, however many sequences there are.

    Args:
      lengths: steps of each sequence, ``[sequences]``.
      row: steps of a row.

    Raises:
      InputError: a sequence longer than a row.
    """
    _check(lengths, row)
    counts = np.bincount(lengths, minlength=row + 1)
    by_length = np.argsort(lengths, kind="stable")
    nexts = np.cumsum(counts) - counts
    order, sizes = [by_length[:0]], [counts[:0]]
    while counts.any():
        pattern = _fullest(counts, row)
        times = min(int(counts[length]) // many for length, many in pattern.items())
        rows = [
            by_length[nexts[length] : nexts[length] + times * many].reshape(times, many)
            for length, many in pattern.items()
        ]
        for length, many in pattern.items():
            counts[length] -= times * many
            nexts[length] += times * many
        order.append(np.concatenate(rows, axis=1).ravel())
        sizes.append(np.full(times, sum(pattern.values())))
    ends = np.cumsum(np.concatenate(sizes))
    return Layout(np.concatenate(order), ends, (row,), (len(ends),))


def _fullest(counts: np.ndarray, row: int) -> dict[int, int]:
    """How many sequences of each length a row takes: the longest there is, and what fills the rest most, preferably
    long ones."""
    lengths = np.flatnonzero(counts).tolist()
    most = {length: min(int(counts[length]), row // length) for length in lengths}
    reached = [np.arange(row + 1) == 0]  # the steps that sequences of the shortest 0, 1, 2, ... lengths can fill
    for length in lengths:
        steps = reached[-1].copy()
        for many in range(1, most[length] + 1):
            steps[many * length :] |= reached[-1][: row + 1 - many * length]
        reached.append(steps)
    with_longest = np.zeros(row + 1, bool)
    for start in range(lengths[-1], lengths[-1] * most[lengths[-1]] + 1, lengths[-1]):
        with_longest[start:] |= reached[-2][: row + 1 - start]
    left = int(np.flatnonzero(with_longest)[-1])
    pattern = {}
    for length, steps in zip(reversed(lengths), reversed(reached[:-1]), strict=True):
        many = next(k for k in range(min(most[length], left // length), -1, -1) if steps[left - k * length])
        if many:
            pattern[length] = many
            left -= many * length
    return pattern


def waste(layout: Layout, lengths: np.ndarray) -> float:
    """Share of the steps of all rows that do not exist."""
    return 1 - int(lengths.sum()) / layout.steps


def shuffled(layout: Layout, key: jax.Array, size: int) -> dict[str, jax.Array]:
    """The batches of one epoch: rows ``[steps, size]``, and the shape of each batch ``[steps]``.

    Rows are shuffled within their shape, cut into batches from the narrowest to the widest, and the batches shuffled.
    A batch that holds rows of two shapes has the wider one, so that all rows are used but the few that fill no batch,
    which are of the narrowest shape.
    """
    keys = jax.random.split(key, len(layout.rows) + 1)
    firsts = np.cumsum(layout.rows) - layout.rows
    parts = [
        first + jax.random.permutation(part, count)
        for part, first, count in zip(keys[1:], firsts, layout.rows, strict=True)
    ]
    rows = jnp.concatenate(parts)
    spare = len(rows) % size
    rows = rows[spare:].reshape(-1, size)
    shapes = jnp.asarray(_shapes_of_batches(layout, np.arange(spare, len(layout.ends)), size))
    if len(layout.rows) == 1:
        return {"rows": rows, "shapes": shapes}
    places = jax.random.permutation(keys[0], len(rows))
    return {"rows": rows[places], "shapes": shapes[places]}


def in_order(layout: Layout, size: int) -> dict[str, jax.Array]:
    """All rows as they come, as in `shuffled`; one more than the last, which is empty, fills the last batch."""
    count = len(layout.ends)
    rows = np.arange(-(-count // size) * size)
    shapes = _shapes_of_batches(layout, np.minimum(rows, count - 1), size)
    return {"rows": jnp.asarray(np.minimum(rows, count).reshape(-1, size)), "shapes": jnp.asarray(shapes)}


def _shapes_of_batches(layout: Layout, rows: np.ndarray, size: int) -> np.ndarray:
    """The shape of each batch of `size`, which is that of its last row."""
    return layout.shapes(rows[size - 1 :: size])


def _check(lengths: np.ndarray, width: int) -> None:
    if len(lengths) and not 1 <= lengths.min() <= lengths.max() <= width:
        raise InputError(
            f"sequences of {lengths.min()} to {lengths.max()} steps in rows of {width}",
            "in a layout",
            "give sequences of at least one step, and rows as long as the longest",
        )
