"""How much of the differences between members each choice explains, and which choices explain nothing.

The importance of a choice is its first-order share of the variance (Sobol' 1993; the main effect of a functional ANOVA,
Hutter et al. 2014, "An efficient approach for assessing hyperparameter importance"), and that of a pair what both
together explain beyond the sum of the two. Both are taken from groups of members and no model: a few listed values are
groups as they are, numbers are cut into groups of equally many members, so that it does not matter whether an axis is
logarithmic. What groups explain by chance is taken off (Kelley 1935, epsilon squared): a choice without effect has a
share of 0 on average, and may come out a little below.

It is the rank of a member that is explained, so that a few exploded losses do not decide.

Each share is tested against its null, for which values are shuffled among the members; for a pair, what the two choices
leave unexplained is shuffled (Freedman & Lane 1983). Statistics of the null are standardised, each by itself, after the
cube root that makes sums of squares nearly normal (Wilson & Hilferty 1931), and pooled. Effects are named at a
false-discovery rate (Benjamini & Hochberg 1995).

Shares are of the members that there are. Where a search has looked closely at a few good places, as adaptive samplers
do, they say what matters there, and choices that go together share what they explain: then shares may sum to more
than 1.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from rnnjax.config import InputError, nearest
from rnnjax.sweep.table import Direction, Table
from rnnjax.tasks.base import Table as Printed

FEWEST = 12  # members, of which anything is said
GROUP = 8  # members in a group at least, on average
MOST = 4000  # members that are looked at: more, drawn at random, would only take longer
MOST_GROUPS, MOST_CELLS = 16, 8  # of a choice by itself, and along each side of a pair
PERMUTATIONS = 300
RATE = 0.05
WHERE = "in importance"


class Effect(NamedTuple):
    """What one choice explains, or two together beyond the sum of both.

    Attributes:
      keys: one swept key, or two.
      share: of the variance of ranks, less what chance explains; may be a little below 0.
      null: what the share stays below in 95 % of the shuffled tables.
      p: the chance of so large a share without an effect.
      q: the false-discovery rate at which it would be named.
      clear: whether it is named, at the rate asked for.
      members: how many it was taken from.
    """

    keys: tuple[str, ...]
    share: float
    null: float
    p: float
    q: float
    clear: bool
    members: int


@dataclass(frozen=True)
class Importance:
    """What explains the differences between members.

    Attributes:
      metric: whose differences.
      choices: effects of single choices, the greatest share first.
      pairs: effects of two together, the greatest share first.
      left_out: swept keys that cannot be judged, each with the reason.
      members: how many there were with a value.
    """

    metric: str
    choices: list[Effect]
    pairs: list[Effect]
    left_out: dict[str, str]
    members: int

    @property
    def rest(self) -> float:
        """The share of the variance left when all clear effects are taken off: chance, and three choices together."""
        clear = sum(each.share for each in (*self.choices, *self.pairs) if each.clear)
        return float(np.clip(1 - clear, 0, 1))

    def foremost(self) -> tuple[str, str] | None:
        """The two choices to look at together: the clear pair with the greatest share in all, or the first two choices.

        None if fewer than two choices can be judged.
        """
        alone = {each.keys[0]: max(0.0, each.share) for each in self.choices}
        if len(alone) < 2:
            return None
        clear = [each for each in self.pairs if each.clear]
        together = {each.keys: each.share + sum(alone[key] for key in each.keys) for each in clear}
        first = tuple(alone)[:2]
        together.setdefault(first, sum(alone[key] for key in first))
        a, b = max(together, key=lambda keys: together[keys])
        return a, b

    def table(self) -> Printed:
        """Every effect that can be judged, choices before pairs."""
        rows = [
            (
                " × ".join(each.keys),
                f"{100 * max(0.0, each.share):.1f} %",
                f"{100 * each.null:.1f} %",
                f"{each.q:.2g}",
                "" if each.clear else "no clear effect",
            )
            for each in (*self.choices, *self.pairs)
        ]
        title = f"what explains the ranks of {self.metric} ({self.members:,} members)"
        return Printed(title, ("choice", "share", "by chance below", "q", ""), rows)


def importance_of(
    table: Table,
    metric: str | None = None,
    direction: Direction | None = None,
    *,
    conditional: Collection[str] = (),
    pairs: bool = True,
    seed: int = 0,
) -> Importance:
    """What explains the differences between the members of a table.

    Members that diverged rank worst, and those that were stopped early count with the value that they had. Those still
    running, or without a value, are left out.

    Args:
      table: of a sweep.
      metric: a column of numbers; by default what members are compared by.
      direction: whether less (`min`) or more (`max`) is better; by default what `direction_of` says.
      conditional: as in `importance`.
      pairs: as in `importance`.
      seed: as in `importance`.

    Raises:
      InputError: there is no such column, it holds no numbers, or too few members have a value.
    """
    metric = metric or table.metric
    values, choices = table.judged(metric, direction), table.arrays(table.choices)
    return importance(choices, values, metric=metric, conditional=conditional, pairs=pairs, seed=seed)


def importance(
    choices: Mapping[str, Any],
    values: Any,
    *,
    metric: str = "loss",
    conditional: Collection[str] = (),
    pairs: bool = True,
    ranks: bool = True,
    permutations: int = PERMUTATIONS,
    rate: float = RATE,
    seed: int = 0,
) -> Importance:
    """What explains the differences between values: each choice by itself, and pairs of choices.

    Args:
      choices: of each member, ``[members]`` by key: numbers, texts, true or false. None and NaN are a choice, too.
      values: of a metric, ``[members]``. Members whose value is NaN are left out; an infinite one ranks first or last.
      metric: what the values are called.
      conditional: keys that apply to some members alone, where the others have None or NaN: these are then left out
        of what is said about the key.
      pairs: whether to look at pairs, too.
      ranks: whether ranks are explained; the values themselves otherwise, which are finite then.
      permutations: tables that are shuffled for the null of each effect.
      rate: of false discoveries.
      seed: of the shuffling.

    Raises:
      InputError: arrays of other lengths, a conditional key that is none, infinite values without ranks, or values
        of fewer than 12 members.
    """
    columns, numbers = _checked(choices, values, conditional, ranks)
    kept = np.flatnonzero(~np.isnan(numbers))
    if len(kept) > MOST:
        kept = np.sort(np.random.default_rng(seed).choice(kept, MOST, replace=False))
    if len(kept) < FEWEST:
        raise InputError(
            f"{len(kept)} members have a value of '{metric}'", WHERE, f"{FEWEST} are needed: train more members"
        )
    columns = {key: column[kept] for key, column in columns.items()}
    numbers = _ranks(numbers[kept]) if ranks else numbers[kept]
    numbers = (numbers - numbers.mean()) * bool(np.ptp(numbers))  # without a rounding error, if all are the same
    applies = {key: ~_missing(column) if key in conditional else None for key, column in columns.items()}
    left_out: dict[str, str] = {}
    tests: list[_Test] = []
    generator = np.random.default_rng(seed)
    for key, column in columns.items():
        here = _where(applies[key], len(kept))
        groups, count = _groups(column[here], MOST_GROUPS)
        reason = _not_judged(count, len(here), column[here])
        if reason:
            left_out[key] = reason
        else:
            tests.append(_alone(key, groups, count, numbers[here], permutations, generator))
    judged = sorted(key for test in tests for key in test.keys)
    crossed: list[_Test] = []
    for a, b in itertools.combinations(judged, 2) if pairs else ():
        here = np.intersect1d(_where(applies[a], len(kept)), _where(applies[b], len(kept)))
        test = _together((a, b), columns[a][here], columns[b][here], numbers[here], permutations, generator)
        if test is not None:
            crossed.append(test)
    return Importance(metric, _effects(tests, rate), _effects(crossed, rate), left_out, len(kept))


class _Test(NamedTuple):
    """An effect and what it is under shuffling: a share, and a statistic that is tested."""

    keys: tuple[str, ...]
    share: float
    statistic: float
    null_shares: np.ndarray
    null_statistics: np.ndarray
    members: int


def _checked(
    choices: Mapping[str, Any], values: Any, conditional: Collection[str], ranks: bool
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    numbers = np.asarray(values, np.float64)
    columns = {key: np.asarray(column) for key, column in choices.items()}
    odd = next((key for key, column in columns.items() if column.shape != numbers.shape), None)
    if numbers.ndim != 1 or odd is not None:
        raise InputError(
            f"values of shape {list(numbers.shape)}" + (f", '{odd}' {list(columns[odd].shape)}" if odd else ""),
            WHERE,
            "give one choice and one value a member",
        )
    unknown = next((key for key in conditional if key not in columns), None)
    if unknown is not None:
        near = nearest(unknown, columns) or columns
        raise InputError(f"no choice '{unknown}'", "among the conditional ones", f"choose among {', '.join(near)}")
    if not ranks and np.isinf(numbers).any():
        raise InputError("infinite values", WHERE, "explain their ranks, or leave those members out")
    return columns, numbers


def _alone(
    key: str, groups: np.ndarray, count: int, values: np.ndarray, permutations: int, generator: np.random.Generator
) -> _Test:
    """The main effect of a choice that cuts the members into groups."""
    n, centred = len(values), values - values.mean()
    sizes, total = np.bincount(groups, minlength=count), np.sum(centred**2) or 1.0
    sums = _sums(np.vstack([centred, _shuffled(centred, permutations, generator)]), groups, count)
    explained = np.sum(sums**2 / sizes, axis=1) / total
    shares = 1 - (1 - explained) * (n - 1) / (n - count)
    return _Test((key,), float(shares[0]), float(explained[0]), shares[1:], explained[1:], n)


def _together(
    keys: tuple[str, str],
    first: np.ndarray,
    second: np.ndarray,
    values: np.ndarray,
    permutations: int,
    generator: np.random.Generator,
) -> _Test | None:
    """The interaction of two choices; None if there are too few members for the cells that they make.

    All that is needed of the values are their sums over cells: with `u` those sums, each over the root of the cell's
    size, cells explain |u|^2, and the sum of the two choices |U'u|^2, `U` being an orthonormal basis of what such
    sums can be.
    """
    n = len(values)
    side = int(np.clip(np.sqrt(n / GROUP), 2, MOST_CELLS))
    (a, rows), (b, columns) = _groups(first, side), _groups(second, side)
    if min(rows, columns) < 2:
        return None
    _, cells, sizes = np.unique(a * columns + b, return_inverse=True, return_counts=True)
    count = len(sizes)
    if n < 2 * count:
        return None
    representative = np.unique(cells, return_index=True)[1]
    design = np.hstack([np.eye(rows)[a[representative]], np.eye(columns)[b[representative]]])
    basis, weights, _ = np.linalg.svd(np.sqrt(sizes)[:, None] * design, full_matrices=False)
    basis = basis[:, weights > 1e-9 * weights[0]]
    freedom, left = count - basis.shape[1], n - count
    if freedom < 1:
        return None
    total = np.sum((values - values.mean()) ** 2) or 1.0
    additive = basis @ (basis.T @ (_sums(values[None], cells, count)[0] / np.sqrt(sizes))) / np.sqrt(sizes)
    residual = values - additive[cells]
    sums = _sums(np.vstack([residual, _shuffled(residual, permutations, generator)]), cells, count) / np.sqrt(sizes)
    unexplained = np.sum(residual**2) - np.sum((sums @ basis) ** 2, axis=1)  # by the sum of the two
    interaction = np.sum(sums**2, axis=1) - np.sum((sums @ basis) ** 2, axis=1)
    shares = (interaction - freedom * (unexplained - interaction) / left) / total
    statistics = interaction / np.maximum(unexplained, 1e-12 * total)
    return _Test(keys, float(shares[0]), float(statistics[0]), shares[1:], statistics[1:], n)


def _effects(tests: Sequence[_Test], rate: float) -> list[Effect]:
    """Effects with their p and q values, the greatest share first."""
    if not tests:
        return []
    roots = [np.cbrt(np.maximum(test.null_statistics, 0)) for test in tests]
    scales = [(root.mean(), root.std() or 1.0) for root in roots]
    pooled = np.sort(np.concatenate([(root - m) / s for root, (m, s) in zip(roots, scales, strict=True)]))
    seen = np.array([(np.cbrt(max(0.0, t.statistic)) - m) / s for t, (m, s) in zip(tests, scales, strict=True)])
    # A table that explains as much as this one does so but for rounding.
    reached = len(pooled) - np.searchsorted(pooled, seen - 1e-9, side="left")
    p = (1 + reached) / (1 + len(pooled))
    order = np.argsort(p, kind="stable")
    q = np.empty(len(p))
    q[order] = np.minimum.accumulate((p[order] * len(p) / np.arange(1, len(p) + 1))[::-1])[::-1]
    found = [
        Effect(
            test.keys,
            test.share,
            float(np.quantile(test.null_shares, 0.95)),
            float(p[k]),
            float(q[k]),
            bool(q[k] <= rate and test.share > 0),
            test.members,
        )
        for k, test in enumerate(tests)
    ]
    return sorted(found, key=lambda each: (-each.share, each.keys))


def _groups(column: np.ndarray, most: int) -> tuple[np.ndarray, int]:
    """The group of each member and the number of groups; what is missing is a group of its own.

    Values that enough members have are groups as they are, up to `most` of numbers. More numbers are cut by rank.
    """
    missing = _missing(column)
    present = column[~missing]
    numeric = column.dtype.kind in "iuf" or all(isinstance(each, int | float) for each in present.tolist())
    present = present.astype(np.float64) if numeric else present.astype(str)
    levels, codes = np.unique(present, return_inverse=True)
    enough = len(levels) * GROUP <= len(present) and (len(levels) <= 2 * most or not numeric)
    if numeric and not enough:
        wanted = int(np.clip(round(np.sqrt(len(present)) / 2), 3, most))
        codes = np.minimum((_ranks(present) * wanted / max(1, len(present))).astype(int), wanted - 1)
        codes = np.unique(codes, return_inverse=True)[1]
    groups = np.zeros(len(column), int)
    groups[~missing] = codes
    count = int(codes.max(initial=-1)) + 1
    groups[missing] = count
    return groups, count + bool(missing.any())


def _not_judged(groups: int, members: int, column: np.ndarray) -> str:
    if members < FEWEST:
        return f"it applies to {members} members alone"
    if groups < 2:
        return "all members have the same"
    return "hardly two members have the same" if members < 2 * groups else ""


def _missing(column: np.ndarray) -> np.ndarray:
    if column.dtype.kind == "f":
        return np.isnan(column)
    if column.dtype.kind != "O":
        return np.zeros(len(column), bool)
    return np.array([each is None or each != each for each in column], bool)


def _where(mask: np.ndarray | None, members: int) -> np.ndarray:
    return np.arange(members) if mask is None else np.flatnonzero(mask)


def _ranks(values: np.ndarray) -> np.ndarray:
    """Ranks from 0.5 on, equal values sharing the mean of theirs."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - counts / 2)[place]


def _shuffled(values: np.ndarray, times: int, generator: np.random.Generator) -> np.ndarray:
    return generator.permuted(np.broadcast_to(values, (times, len(values))), axis=1)


def _sums(rows: np.ndarray, groups: np.ndarray, count: int) -> np.ndarray:
    """Sums over the groups of each row, ``[rows, groups]``."""
    places = groups + count * np.arange(len(rows))[:, None]
    return np.bincount(places.ravel(), rows.ravel(), count * len(rows)).reshape(len(rows), count)
