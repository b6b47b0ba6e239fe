"""Which members go on, and which take over others: successive halving, and population-based training."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from rnnjax.config import InputError

LEFT = 5  # members that reach the end of a halving, unless the first rung is given


def ranked(values: np.ndarray) -> np.ndarray:
    """Places of the finite `values` (less is better), the best first; equal ones as they come."""
    finite = np.flatnonzero(np.isfinite(values))
    return finite[np.argsort(values[finite], kind="stable")]


def rungs(total: int, members: int, factor: int, first: int | None) -> tuple[int, ...]:
    """Steps at which members are compared, ending with the last step (Jamieson & Talwalkar 2016).

    Args:
      total: steps of a whole training.
      members: how many begin.
      factor: each rung is so many times as far as the one before, and one of so many members reaches the next.
      first: step of the first rung; None: such that about `LEFT` members are trained to the end.

    Raises:
      InputError: the first rung lies behind the end.
    """
    if first is None:
        halvings = max(1, int(np.floor(np.log(max(members / LEFT, 1.0)) / np.log(factor))))
        first = max(1, total // factor**halvings)
    if first >= total:
        raise InputError(
            f"a first rung at step {first:,} of {total:,}", "in --first-rung", "choose an earlier one, or train longer"
        )
    steps = [first]
    while steps[-1] * factor < total:
        steps.append(steps[-1] * factor)
    return (*steps, total)


def survivors(members: Sequence[int], values: np.ndarray, factor: int) -> list[int]:
    """The best of `members` that go on, in their own order: one of `factor`, and one at least if any is finite.

    Args:
      members: their numbers.
      values: of each, less is better; those that are not finite do not go on.
      factor: of so many one goes on.
    """
    order = ranked(np.asarray(values, float))
    kept = order[: max(1, len(members) // factor)]
    return [members[place] for place in sorted(kept)]


class TakenOver(NamedTuple):
    """One member that goes on from another's state: places in the population, and factors of its numbers by key."""

    place: int
    source: int
    factors: dict[str, float]


def exploit(
    values: np.ndarray, share: float, keys: Iterable[str], perturb: float, generator: np.random.Generator
) -> list[TakenOver]:
    """Who takes over whom: each of the worst draws one of the best, and perturbs its numbers (Jaderberg et al. 2017).

    Args:
      values: of each member, less is better; those that are not finite are the worst.
      share: of the members that take over, and of those that can be taken over.
      keys: of the numbers that are perturbed.
      perturb: a number is multiplied or divided by it, by a coin's toss.
      generator: randomness.
    """
    order = ranked(np.asarray(values, float))
    count = min(int(len(values) * share), len(order) // 2)
    lost = [place for place in range(len(values)) if not np.isfinite(values[place])]
    best, worst = order[:count], [*order[len(order) - count :], *(lost if count else [])]
    found = []
    for place in sorted(int(each) for each in worst):
        source = int(best[generator.integers(count)])
        factors = {key: float(perturb if generator.random() < 0.5 else 1 / perturb) for key in keys}
        found.append(TakenOver(place, source, factors))
    return found
