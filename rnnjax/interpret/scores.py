"""Which unit follows what: every unit against every concept, on held-out steps, with a null and a bound on false names.

The steps are cut into two halves, and both directions are taken: on one half a unit chooses the concept that explains
most of it, and learns how it follows it; on the other half that is tested. The null of a test moves the labels along
the sequence without changing their order: examples change places, and each begins somewhere else in itself; of one long
sequence, a half is turned by a random offset (Theiler et al. 1992, Physica D 58, on surrogates that keep what a series
has in itself). A unit that is as slow as its labels is thus compared with labels that are as slow.

Statistics of the null are standardised unit by unit, and then pooled over all units, so that few permutations give p
values as fine as a correction for a thousand units needs. The p value of a unit is twice the mean of those of its two
directions, which holds whatever the dependence between them (Rüschendorf 1982; Vovk & Wang 2020, "Combining p-values
via averaging"). Units are named at a false-discovery rate (Benjamini & Hochberg 1995).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from rnnjax.config import InputError
from rnnjax.tasks.base import Table

PERMUTATIONS = 200
FEWEST, RAREST = 5, 0.005  # steps, and share of steps, that a concept holds for and fails for, in each half
FEW_EXAMPLES = 4  # below, examples are taken as one long sequence
BLOCKS = 16  # of one long sequence, every second of which is in the same half
MARGIN = 0.02  # of the variance, within which a concept that was given earlier is the better name
LEAST_TURN = 0.1  # of a long sequence, so that no label comes near its own place
WHERE = "in interpret.score_units"


class Named(NamedTuple):
    """A unit that follows something.

    Attributes:
      unit: its number.
      concept: what explains most of its variance on held-out steps; of those within 2 % of the best the one that was
        given first, tasks giving the simplest first.
      effect: that share of its variance.
      direction: 1 if it is higher where the concept holds or is greater, -1 if lower; 0 for classes.
      separation: d' between the steps where the concept holds and where it does not; None if it is no yes or no.
      p: the chance of following any concept so closely, if it followed none.
      q: the false-discovery rate at which it is named.
    """

    unit: int
    concept: str
    effect: float
    direction: int
    separation: float | None
    p: float
    q: float

    @property
    def way(self) -> str:
        """How it follows the concept, in words that stand before the concept's name."""
        if self.separation is None:
            return ("differs by", "rises with", "falls with")[self.direction]
        return ("", "higher where", "lower where")[self.direction]


@dataclasses.dataclass(frozen=True)
class Scores:
    """How closely units follow concepts.

    Attributes:
      field: the quantity.
      units: numbers of its units, ``[units]``.
      concepts: names.
      effects: share of each unit's variance on held-out steps that each concept explains, ``[units, concepts]``, as
        foretold from the other half; 0 where it foretells nothing.
      p: of each unit, ``[units]``.
      named: the units that follow something, the closest first.
      left_out: concepts that were not tried, each with the reason.
      steps: how many there were.
      rate: the false-discovery rate.
    """

    field: str
    units: np.ndarray
    concepts: tuple[str, ...]
    effects: np.ndarray
    p: np.ndarray
    named: list[Named]
    left_out: dict[str, str]
    steps: int
    rate: float

    def table(self) -> Table:
        """Every named unit, the closest first."""
        rows = [
            (
                each.unit,
                each.way,
                each.concept,
                f"{100 * each.effect:.0f} %",
                "" if each.separation is None else f"{each.separation:.2f}",
                f"{each.q:.2g}",
            )
            for each in self.named
        ]
        title = f"units of {self.field} that follow something" if self.field else "units that follow something"
        return Table(title, ("unit", "", "concept", "of its variance", "d'", "q"), rows)

    def effect(self, concept: str) -> np.ndarray:
        """The share of each unit's variance that one concept explains, ``[units]``."""
        return self.effects[:, self.concepts.index(concept)]


class _Concept(NamedTuple):
    """A concept as columns: itself if it is a number or a yes or no, an indicator a class otherwise."""

    name: str
    columns: np.ndarray
    """``[steps, columns]``"""
    yes_or_no: bool


class _Half(NamedTuple):
    """One half of the steps, as products: all that effects need."""

    steps: np.ndarray
    """Their places."""
    values: np.ndarray
    """Of units, centred, ``[steps, units]``."""
    variance: np.ndarray
    """Of units, ``[units]``."""
    covariance: list[np.ndarray]
    """Of units and the columns of each concept, ``[units, columns]``."""
    spread: list[np.ndarray]
    """Of the columns of each concept among themselves, ``[columns, columns]``."""
    shares: list[np.ndarray]
    """Mean of the columns of each concept, which is the share of each class, ``[columns]``."""


def score_units(
    values: Any,
    concepts: Mapping[str, Any],
    *,
    groups: Any = None,
    field: str = "",
    units: Any = None,
    permutations: int = PERMUTATIONS,
    rate: float = 0.05,
    seed: int = 0,
) -> Scores:
    """Scores every unit by every concept on held-out steps, and names the units that follow one.

    A concept that is constant or rare (in either half it holds, or fails, for fewer than 5 steps or 0.5 % of them), or
    that says the same as one before it, is left out; `Scores.left_out` says which and why.

    Args:
      values: of the units, ``[steps, units]``.
      concepts: what each step is, by name, ``[steps]``: yes or no, numbers, or classes as text; the simplest first.
      groups: the example that each step belongs to, ``[steps]``; examples are never split between halves. None, or of
        fewer than four: one long sequence, whose blocks of time alternate between halves.
      field: what the values are called.
      units: numbers of the units; counted from 0 if None.
      permutations: of the labels, for each half.
      rate: share of named units that may be named by chance (false-discovery rate).
      seed: of the halves and the permutations.

    Raises:
      InputError: shapes that do not fit, values that are not finite, no concept that is left, or too few steps.
    """
    found = np.asarray(values, np.float32)
    _check(found, concepts, permutations, rate)
    random = np.random.default_rng(seed)
    numbers = np.arange(found.shape[1]) if units is None else np.asarray(units)
    example = _examples(len(found), groups)
    spread = found.std(axis=0)
    still = spread <= 1e-6 * np.abs(found).max(axis=0)  # but for rounding
    found = np.where(still, 0, (found - found.mean(axis=0)) / np.where(still, 1, spread))
    sides = _sides(example, random)
    tried, left_out = _tried(concepts, sides)
    if not tried:
        reasons = "; ".join(f"{name}: {why}" for name, why in list(left_out.items())[:4]) or "none was given"
        raise InputError(f"no concept to try ({reasons})", WHERE, "give more steps, or other concepts")
    halves = [_half(found, tried, steps) for steps in sides]
    pairs = [(halves[0], halves[1]), (halves[1], halves[0])]
    effects = np.mean([_foretold(learnt, held) for learnt, held in pairs], axis=0)
    p = np.minimum(1.0, sum(_p(*pair, tried, example, permutations, random) for pair in pairs))
    q = _discovery_rates(p)
    named = _named(found, numbers, tried, effects, halves, p, q, rate)
    names = tuple(each.name for each in tried)
    return Scores(field, numbers, names, np.maximum(effects, 0.0), p, named, left_out, len(found), rate)


def _check(values: np.ndarray, concepts: Mapping[str, Any], permutations: int, rate: float) -> None:
    if values.ndim != 2 or not values.size:
        raise InputError(f"values of shape {list(values.shape)}", WHERE, "give [steps, units], not empty")
    if not np.isfinite(values).all():
        raise InputError("values that are not finite", WHERE, "leave those units or steps out")
    for name, labels in concepts.items():
        if np.shape(labels) != values.shape[:1]:
            raise InputError(
                f"'{name}' of shape {list(np.shape(labels))} for {len(values)} steps", WHERE, "give one label a step"
            )
    if permutations < 20 or not 0 < rate < 1:
        raise InputError(
            f"permutations={permutations}, rate={rate}", WHERE, "give 20 permutations or more, and a rate in (0, 1)"
        )


def _examples(steps: int, groups: Any) -> np.ndarray:
    """The example of each step, counted from 0; all 0 for one long sequence."""
    if groups is None:
        return np.zeros(steps, np.int64)
    if np.shape(groups) != (steps,):
        raise InputError(f"groups of shape {list(np.shape(groups))}", WHERE, f"give one a step: ({steps},)")
    example = np.unique(np.asarray(groups), return_inverse=True)[1].reshape(-1)
    return example if example.max() + 1 >= FEW_EXAMPLES else np.zeros(steps, np.int64)


def _sides(example: np.ndarray, random: np.random.Generator) -> list[np.ndarray]:
    """The places of the steps of each half, those of an example together."""
    count = int(example.max()) + 1
    part = random.permutation(count) % 2 if count > 1 else np.arange(BLOCKS) % 2
    block = example if count > 1 else np.arange(len(example)) * BLOCKS // len(example)
    order = np.argsort(example, kind="stable")
    return [order[part[block[order]] == side] for side in (0, 1)]


def _tried(concepts: Mapping[str, Any], sides: Sequence[np.ndarray]) -> tuple[list[_Concept], dict[str, str]]:
    """The concepts that can be scored, and why the others cannot."""
    tried, left_out, seen = [], {}, dict[bytes, str]()
    for name, given in concepts.items():
        labels = np.asarray(given)
        if labels.dtype.kind in "OUS":
            classes, codes = np.unique(labels.astype(str), return_inverse=True)
            columns = codes.reshape(-1)[:, None] == np.arange(len(classes))
            rare = [_rare(column, sides) for column in columns.T]
            columns = columns[:, ~np.asarray(rare)]  # the steps of rare classes have none
            reason = "fewer than two classes that are not rare" if columns.shape[1] < 2 else ""
        else:
            columns = labels[:, None].astype(np.float64)
            if not np.isfinite(columns).all():
                raise InputError(f"'{name}' with labels that are not finite", WHERE, "give numbers at every step")
            reason = "constant or rare" if _unvaried(columns[:, 0], sides) else ""
        if not reason:
            scaled = columns - columns.mean(axis=0)
            scaled = np.round(scaled / np.abs(scaled).max() * (1 if scaled[0, 0] > 0 else -1), 6) + 0.0
            same = seen.setdefault(scaled.tobytes(), name)
            reason = "" if same == name else f"the same as '{same}', or its opposite"
        if reason:
            left_out[name] = reason
        else:
            numeric = labels.dtype.kind not in "OUS"
            tried.append(_Concept(name, columns.astype(np.float32), numeric and len(np.unique(labels)) == 2))
    return tried, left_out


def _unvaried(column: np.ndarray, sides: Sequence[np.ndarray]) -> bool:
    """Whether numbers differ from the commonest of them in too few steps of either half."""
    kinds, counts = np.unique(column, return_counts=True)
    other = column != kinds[counts.argmax()]
    if len(kinds) == 2:
        return _rare(other, sides)
    return any(np.sum(other[side]) < _least(side) or np.ptp(column[side]) == 0 for side in sides)


def _rare(holds: np.ndarray, sides: Sequence[np.ndarray]) -> bool:
    """Whether something holds, or fails, for too few steps of either half."""
    return any(min(np.sum(holds[side]), np.sum(~holds[side])) < _least(side) for side in sides)


def _least(side: np.ndarray) -> float:
    return max(FEWEST, RAREST * len(side))


def _half(values: np.ndarray, tried: Sequence[_Concept], steps: np.ndarray) -> _Half:
    centred = values[steps] - values[steps].mean(axis=0)
    columns = [each.columns[steps] - each.columns[steps].mean(axis=0) for each in tried]
    ends = np.cumsum([each.shape[1] for each in columns])[:-1]
    products = centred.T @ np.concatenate(columns, axis=1) / len(steps)
    return _Half(
        steps,
        centred,
        np.mean(np.square(centred, dtype=np.float64), axis=0),
        [each.astype(np.float64) for each in np.split(products, ends, axis=1)],
        [(each.T @ each).astype(np.float64) / len(steps) for each in columns],
        [each.columns[steps].mean(axis=0, dtype=np.float64) for each in tried],
    )


def _learnt(half: _Half, concept: int) -> np.ndarray:
    """How each unit follows a concept: its slope, or the mean of each class, ``[units, columns]``."""
    covariance = half.covariance[concept]
    return covariance / (half.spread[concept][0] if covariance.shape[1] == 1 else half.shares[concept])


def _foretold(learnt: _Half, held: _Half) -> np.ndarray:
    """Share of variance on the held half that is explained by what was learnt on the other, ``[units, concepts]``."""
    found = []
    for k, (covariance, spread) in enumerate(zip(held.covariance, held.spread, strict=True)):
        slope = _learnt(learnt, k)
        explained = 2 * np.sum(slope * covariance, axis=1) - np.einsum("uk,kj,uj->u", slope, spread, slope)
        found.append(explained / np.maximum(held.variance, 1e-30))
    return np.stack(found, axis=1)


def _chosen(half: _Half) -> np.ndarray:
    """The concept that explains most of each unit on this half, adjusted for the number of classes, ``[units]``."""
    found = []
    for k, covariance in enumerate(half.covariance):
        share = np.sum(_learnt(half, k) * covariance, axis=1) / np.maximum(half.variance, 1e-30)
        rest = max(1, len(half.steps) - 1 - covariance.shape[1])
        found.append(1 - (1 - share) * (len(half.steps) - 1) / rest)
    return np.argmax(found, axis=0)


def _p(
    learnt: _Half,
    held: _Half,
    tried: Sequence[_Concept],
    example: np.ndarray,
    permutations: int,
    random: np.random.Generator,
) -> np.ndarray:
    """The p value on one half of the concept that each unit chose on the other, ``[units]``."""
    chosen = _chosen(learnt)
    moved = np.stack(list(_moved(example[held.steps], permutations, random)))
    observed = np.zeros(len(chosen))
    null = np.zeros((permutations, len(chosen)))
    for k in np.unique(chosen):
        of = np.flatnonzero(chosen == k)
        slope, values = _learnt(learnt, k)[of], held.values[:, of]
        observed[of] = np.sum(slope * held.covariance[k][of], axis=1)
        for slopes, column in zip(slope.T, tried[k].columns[held.steps].T, strict=True):
            null[:, of] += slopes * ((column - column.mean())[moved] @ values / len(moved[0]))
    spread = null.std(axis=0)
    varies = spread > 1e-12 * max(1.0, float(np.abs(observed).max()))
    scale = np.where(varies, spread, 1.0)
    standard = (observed - null.mean(axis=0)) / scale
    pool = np.sort(((null - null.mean(axis=0)) / scale)[:, varies], axis=None)
    above = len(pool) - np.searchsorted(pool, standard, side="left")
    return np.where(varies, (1 + above) / (1 + len(pool)), 1.0)


def _moved(example: np.ndarray, count: int, random: np.random.Generator) -> Iterator[np.ndarray]:
    """Places of the labels that are laid against the steps: examples in random order, each from a random step on."""
    lengths = np.unique(example, return_counts=True)[1]
    starts = np.cumsum(lengths) - lengths
    for _ in range(count):
        order = random.permutation(len(lengths))
        if len(lengths) == 1:
            least = int(LEAST_TURN * len(example))
            turns = random.integers(max(1, least), max(2, len(example) - least), 1)
        else:
            turns = random.integers(lengths[order])
        length = lengths[order]
        within = np.arange(len(example)) - np.repeat(np.cumsum(length) - length, length)
        yield np.repeat(starts[order], length) + (within + np.repeat(turns, length)) % np.repeat(length, length)


def _discovery_rates(p: np.ndarray) -> np.ndarray:
    """The false-discovery rate at which each of these is found (Benjamini & Hochberg 1995), ``[units]``."""
    order = np.argsort(p, kind="stable")
    ranked = p[order] * len(p) / np.arange(1, len(p) + 1)
    q = np.empty_like(ranked)
    q[order] = np.minimum(1.0, np.minimum.accumulate(ranked[::-1])[::-1])
    return q


def _named(
    values: np.ndarray,
    numbers: np.ndarray,
    tried: Sequence[_Concept],
    effects: np.ndarray,
    halves: Sequence[_Half],
    p: np.ndarray,
    q: np.ndarray,
    rate: float,
) -> list[Named]:
    """The units that follow something, the closest first."""
    best, found = (effects >= effects.max(axis=1, keepdims=True) - MARGIN).argmax(axis=1), []
    for unit in np.flatnonzero((q <= rate) & (effects.max(axis=1) > MARGIN)):
        concept, separation = tried[best[unit]], None
        slope = halves[0].covariance[best[unit]][unit] + halves[1].covariance[best[unit]][unit]
        direction = int(np.sign(slope[0])) if len(slope) == 1 else 0
        if concept.yes_or_no:
            holds = concept.columns[:, 0] == concept.columns.max()
            there, elsewhere = (values[which, unit].astype(np.float64) for which in (holds, ~holds))
            spread = np.sqrt((there.var() + elsewhere.var()) / 2)
            separation = float(abs(there.mean() - elsewhere.mean()) / max(spread, 1e-12))
        effect = float(effects[unit, best[unit]])
        row = Named(int(numbers[unit]), concept.name, effect, direction, separation, float(p[unit]), float(q[unit]))
        found.append(row)
    return sorted(found, key=lambda each: (-each.effect, each.unit))
