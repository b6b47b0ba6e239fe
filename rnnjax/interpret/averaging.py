"""What units do on average: by condition, around events, and where else they do the same."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from rnnjax.config import InputError

MOST_CONDITIONS, BINS = 12, 8  # different numbers that are conditions each; bins of more


class Averages(NamedTuple):
    """What units do in each condition.

    Attributes:
      names: of the conditions.
      mean: ``[conditions, units]``.
      deviation: standard deviation over steps, or over examples if they are given, ``[conditions, units]``.
      count: steps, or examples, of each condition, ``[conditions]``.
    """

    names: tuple[str, ...]
    mean: np.ndarray
    deviation: np.ndarray
    count: np.ndarray


class Around(NamedTuple):
    """What units do around events.

    Attributes:
      offsets: steps from the event, ``[offsets]``.
      mean: ``[offsets, units]``.
      deviation: standard deviation over events, ``[offsets, units]``.
      count: events.
    """

    offsets: np.ndarray
    mean: np.ndarray
    deviation: np.ndarray
    count: int


def averages(values: Any, concept: Any, groups: Any = None) -> Averages:
    """What units do by condition, and how much that varies.

    Args:
      values: of the units, ``[steps, units]``.
      concept: the condition of each step, ``[steps]``: yes or no, classes, or numbers (of more than 12 different ones,
        eight bins that hold as many steps each).
      groups: the example of each step, ``[steps]``: each example counts once, and the spread is that between examples.

    Raises:
      InputError: shapes that do not fit.
    """
    found = _checked(values, "in interpret.averages", concept, groups)
    names, codes = _conditions(np.asarray(concept))
    if groups is not None:
        example = np.unique(np.asarray(groups), return_inverse=True)[1].reshape(-1)
        pairs, place = np.unique(codes * (example.max() + 1) + example, return_inverse=True)
        found = _sums(found, place.reshape(-1), len(pairs)) / np.bincount(place.reshape(-1))[:, None]
        codes = pairs // (example.max() + 1)
    count = np.bincount(codes, minlength=len(names))
    mean = _sums(found, codes, len(names)) / count[:, None]
    deviation = np.sqrt(_sums(np.square(found - mean[codes]), codes, len(names)) / count[:, None])
    return Averages(names, mean, deviation, count)


def around(values: Any, where: Any, before: int, after: int, groups: Any = None) -> Around:
    """The course of units around events; events too near an end, of an example or of all, are left out.

    Args:
      values: of the units, ``[steps, units]``.
      where: whether an event is at each step, ``[steps]``.
      before: steps before it.
      after: steps after it.
      groups: the example of each step, ``[steps]``.

    Raises:
      InputError: shapes that do not fit, or no event with so many steps around it.
    """
    name = "in interpret.around"
    found = _checked(values, name, where, groups)
    offsets = np.arange(-before, after + 1)
    events = np.flatnonzero(np.asarray(where, bool))
    events = events[(events >= before) & (events + after < len(found))]
    if groups is not None:
        example = np.asarray(groups)
        events = events[(example[events[:, None] + offsets] == example[events][:, None]).all(axis=1)]
    if not len(events):
        raise InputError(f"no event with {before} steps before it and {after} after", name, "take fewer steps around")
    total, squares = (np.zeros((len(offsets), found.shape[1])) for _ in range(2))
    centre = found.mean(axis=0)
    for event in events:
        course = found[event + offsets] - centre
        total += course
        squares += np.square(course)
    mean = total / len(events)
    deviation = np.sqrt(np.maximum(0, squares / len(events) - np.square(mean)))
    return Around(offsets, mean + centre, deviation, len(events))


def neighbours(values: Any, step: int, count: int = 10, apart: int = 20) -> tuple[np.ndarray, np.ndarray]:
    """Where else the state is like the state at one step: the cosine between states, every unit standardised.

    Args:
      values: of the units, ``[steps, units]``.
      step: the step.
      count: neighbours at most.
      apart: steps that they are apart at least, from the step and from each other.

    Returns:
      Their places ``[count]``, the most alike first, and how alike they are, -1 to 1.

    Raises:
      InputError: no such step.
    """
    found = _checked(values, "in interpret.neighbours")
    if not 0 <= step < len(found):
        raise InputError(f"step {step}", "in interpret.neighbours", f"there are {len(found)}, counted from 0")
    spread = found.std(axis=0)
    states = (found - found.mean(axis=0)) / np.where(spread > 0, spread, 1)
    states /= np.maximum(np.linalg.norm(states, axis=1, keepdims=True), 1e-30)
    similarity = states @ states[step]
    left, places = np.abs(np.arange(len(found)) - step) >= apart, []
    while len(places) < count and left.any():
        places.append(int(np.where(left, similarity, -np.inf).argmax()))
        left &= np.abs(np.arange(len(found)) - places[-1]) >= apart
    chosen = np.asarray(places, np.int64)
    return chosen, similarity[chosen]


def _conditions(labels: np.ndarray) -> tuple[tuple[str, ...], np.ndarray]:
    """Names of the conditions, and the condition of each step by index."""
    kinds, codes = np.unique(labels, return_inverse=True)
    codes = codes.reshape(-1)
    if labels.dtype == bool:
        return tuple("yes" if kind else "no" for kind in kinds), codes
    if labels.dtype.kind in "OUS" or len(kinds) <= MOST_CONDITIONS:
        return tuple(f"{kind:g}" if isinstance(kind, np.floating) else str(kind) for kind in kinds), codes
    edges = np.unique(np.quantile(labels, np.arange(1, BINS) / BINS))
    kinds, codes = np.unique(np.searchsorted(edges, labels, side="right"), return_inverse=True)
    ends = [labels.min(), *edges, labels.max()]
    return tuple(f"{ends[k]:.3g} to {ends[k + 1]:.3g}" for k in kinds), codes.reshape(-1)


def _sums(values: np.ndarray, codes: np.ndarray, count: int) -> np.ndarray:
    """Sums of the rows of `values` by code, ``[count, units]``."""
    order = np.argsort(codes, kind="stable")
    starts = np.searchsorted(codes[order], np.arange(count))
    return np.add.reduceat(values[order], starts, axis=0)


def _checked(values: Any, where: str, *labels: Any) -> np.ndarray:
    found = np.asarray(values, np.float64)
    if found.ndim != 2 or not found.size:
        raise InputError(f"values of shape {list(found.shape)}", where, "give [steps, units], not empty")
    for each in labels:
        if each is not None and np.shape(each) != found.shape[:1]:
            raise InputError(f"labels of shape {list(np.shape(each))}", where, f"give one a step: ({len(found)},)")
    return found
