"""The course of a state through its space, seen in the plane where it varies most."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import matplotlib
import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from rnnjax.config import InputError
from rnnjax.figures.classes import MARKS
from rnnjax.figures.parts import apart, key_beside, legend_over, matrix, one_a_step, plain, visible
from rnnjax.figures.style import COLOURS, INK, MUTED, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import ArrayLike, NDArray

SIDE = 4.4  # inches, of a plane
LABEL = 0.19  # inches, that a symbol needs for itself
KINDS = 7  # groups that have a colour of their own
TIME = ListedColormap(matplotlib.colormaps["cividis"](np.linspace(0, 0.92, 256)))  # its end would be lost on white


class Components(NamedTuple):
    """Principal components, the one of most variance first.

    Attributes:
      scores: each step in their coordinates, ``[steps, components]``; not a number where the values are not.
      directions: ``[components, units]``, orthonormal rows; the largest entry of each is above zero.
      shares: of the variance that each has, from 0 to 1.
      mean: of the values, ``[units]``.
    """

    scores: NDArray[np.float64]
    directions: NDArray[np.float64]
    shares: NDArray[np.float64]
    mean: NDArray[np.float64]


def principal_components(values: ArrayLike, count: int = 3) -> Components:
    """Find the directions in which values vary most, by the singular value decomposition of what is left of the mean.

    Args:
      values: ``[steps, units]``. Steps with a value that is not finite do not count.
      count: components, at most as many as units and finite steps.

    Raises:
      InputError: another shape, or no finite step.
    """
    where = "in figures.principal_components"
    grid = matrix(values, "values", where, "give [steps, units], none empty")
    finite = np.all(np.isfinite(grid), axis=1)
    if not finite.any() or count < 1:
        raise InputError(f"{int(finite.sum())} finite steps, {count} components", where, "give one of each at least")
    mean = grid[finite].mean(axis=0)
    centred = grid[finite] - mean
    _, singular, directions = np.linalg.svd(centred, full_matrices=False)
    directions = directions[:count]
    largest = np.take_along_axis(directions, np.argmax(np.abs(directions), axis=1)[:, None], axis=1)
    directions = directions * np.where(largest < 0, -1.0, 1.0)
    variance = singular**2
    scores = np.full((len(grid), len(directions)), np.nan)
    scores[finite] = centred @ directions.T
    # What rounding leaves of a constant is no variance.
    total = variance.sum()
    none = total <= (np.finfo(np.float64).eps * np.abs(grid[finite]).max(initial=0.0)) ** 2 * grid[finite].size
    shares = np.zeros(len(directions)) if none else variance[:count] / total
    return Components(scores, directions, shares, mean)


def trajectories(
    values: ArrayLike,
    *,
    groups: Sequence[object] | None = None,
    examples: ArrayLike | None = None,
    symbols: Sequence[str] | None = None,
    planes: Sequence[tuple[int, int]] = ((1, 2), (1, 3)),
    field: str = "the state",
) -> Figure:
    """Draw the course of a state in the planes of its principal components.

    Args:
      values: ``[steps, units]``. Steps that are not finite leave a gap.
      groups: what each step is, ``[steps]``, which gives its colour and mark; the rarest share one if there are many.
        None: coloured by time, from dark to light.
      examples: which example each step belongs to, ``[steps]``; courses of several are not joined, and time is counted
        in each. None: one course.
      symbols: what was read at each step, written at as many places as there is room for.
      planes: pairs of components, counted from 1. Those that do not exist are left out.
      field: what is drawn.

    Raises:
      InputError: shapes that do not fit, or no plane.
    """
    where = "in figures.trajectories"
    grid = matrix(values, "values", where, "give [steps, units], none empty")
    owner = np.zeros(len(grid), np.int64) if examples is None else np.asarray(examples)
    for what, given in (("groups", groups), ("examples", list(owner)), ("symbols", symbols)):
        one_a_step(given, len(grid), what, where)
    if not planes or min(min(pair) for pair in planes) < 1:
        raise InputError(f"planes {list(planes)}", where, "give pairs of components, counted from 1")
    found = principal_components(grid, max(max(pair) for pair in planes))
    have = len(found.shares)
    shown = [pair for pair in planes if max(pair) <= have] or [(1, 2)]
    scores, shares = found.scores, found.shares
    if have == 1:  # a single unit, or a single step
        scores, shares = np.pad(scores, ((0, 0), (0, 1))), np.pad(shares, (0, 1))
    begins = np.flatnonzero(np.concatenate([[True], owner[1:] != owner[:-1]]))
    time = np.arange(len(grid)) - np.repeat(begins, np.diff(np.append(begins, len(grid))))
    with styled():
        figure = Figure(figsize=(SIDE * len(shown) + 0.9, SIDE + 0.5), layout="constrained")
        panels = figure.subplots(1, len(shown), squeeze=False)[0]
        scale = Normalize(0, max(1, int(time.max())))
        for axes, (across, up) in zip(panels, shown, strict=True):
            points = scores[:, [across - 1, up - 1]]
            _draw_course(axes, points, time, begins, scale, timed=groups is None)
            if groups is not None:
                _draw_groups(axes, points, [str(group) for group in groups])
            if symbols is not None:
                _write_symbols(axes, points, symbols)
            for axis, number in ((axes.xaxis, across), (axes.yaxis, up)):
                axis.set_label_text(f"component {number} of {field} ({shares[number - 1]:.1%} of the variance)")
                axis.label.set_parse_math(False)
            plain(axes, rules="both")
            axes.margins(0.06)
        begun, ended = ("first step", "last step") if len(begins) == 1 else ("first steps", "last steps")
        handles = [
            *panels[0].plot([], [], "o", markerfacecolor="white", markeredgecolor=INK, markersize=6.5, label=begun),
            *panels[0].plot([], [], "s", markerfacecolor=INK, markeredgecolor=INK, markersize=5.5, label=ended),
        ]
        if groups is None:
            legend_over(figure, handles, handletextpad=0.2)
            whole = MaxNLocator(nbins=7, integer=True)
            key_beside(figure, list(panels), ScalarMappable(scale, TIME), "step", ticks=whole)
        else:
            handles += [handle for handle in panels[0].collections if not str(handle.get_label()).startswith("_")]
            legend_over(figure, handles, handletextpad=0.2)
    return figure


def _draw_course(
    axes: Axes,
    points: NDArray[np.float64],
    time: NDArray[np.int64],
    begins: NDArray[np.int64],
    scale: Normalize,
    *,
    timed: bool,
) -> None:
    """The line from step to step, and the ends of every course."""
    pieces = np.stack([points[:-1], points[1:]], axis=1)
    joined = np.all(np.isfinite(pieces), axis=(1, 2)) & ~np.isin(np.arange(1, len(points)), begins)
    lines = LineCollection(
        list(pieces[joined]), linewidths=1.0 if timed else 0.6, zorder=2, rasterized=len(points) > 5000
    )
    if timed:
        lines.set(array=time[1:][joined], cmap=TIME, norm=scale)
        axes.scatter(*points.T, c=time, cmap=TIME, norm=scale, s=7, linewidths=0, zorder=2.5)
    else:
        lines.set(color=MUTED, alpha=float(np.clip(80 / len(points), 0.12, 0.5)))
    axes.add_collection(lines)
    ends = np.append(begins[1:], len(points)) - 1
    size = 7.5 if len(begins) <= 8 else 4.5
    marks = {"linestyle": "none", "markeredgecolor": INK, "zorder": 4}
    axes.plot(*points[begins].T, marker="o", markerfacecolor="white", markersize=size, **marks)
    axes.plot(*points[ends].T, marker="s", markerfacecolor=INK, markersize=0.65 * size, **marks)
    axes.autoscale_view()


def _draw_groups(axes: Axes, points: NDArray[np.float64], groups: Sequence[str]) -> None:
    """A dot a step in the colour and shape of its group; the most frequent have one of their own."""
    names, counts = np.unique(groups, return_counts=True)
    kept = sorted(names[np.argsort(-counts, kind="stable")][: KINDS if len(names) <= KINDS else KINDS - 1])
    of_each = np.asarray(groups)
    for number, name in enumerate(kept):
        here = points[of_each == name]
        axes.scatter(
            *here.T, s=20, marker=MARKS[number], color=COLOURS[number], alpha=0.8, linewidths=0.8, label=name, zorder=3
        )
    rest = ~np.isin(of_each, kept)
    if rest.any():
        label = f"others ({len(names) - len(kept)})"
        axes.scatter(*points[rest].T, s=9, marker=".", color=MUTED, label=label, zorder=2.5)


def _write_symbols(axes: Axes, points: NDArray[np.float64], symbols: Sequence[str]) -> None:
    """Symbols beside their steps, where they stand apart."""
    spread = np.nanmax(points, axis=0) - np.nanmin(points, axis=0)
    inches = points / np.where(spread > 0, spread, 1.0) * (SIDE - 0.8)
    for number in apart(inches, LABEL):
        axes.annotate(
            visible(symbols[number]),
            tuple(points[number]),
            xytext=(3.5, 3.5),
            textcoords="offset points",
            family="monospace",
            fontsize=8,
            color=INK,
            parse_math=False,
            zorder=5,
        )
