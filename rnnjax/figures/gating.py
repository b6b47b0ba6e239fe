"""Gates: what all of one unit's do over time, and how often those of many units are shut or open."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from rnnjax.config import InputError
from rnnjax.figures.classes import MARKS
from rnnjax.figures.parts import (
    apart,
    heading,
    legend_above,
    legend_over,
    matrix,
    numbered,
    one_a_step,
    panels,
    plain,
    symbols_below,
)
from rnnjax.figures.style import COLOURS, INK, LINES, MUTED, RULE, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import ArrayLike, NDArray

GATES = ("f", "i", "o", "r", "z")  # that cells name so; all are from 0 to 1
WIDE = 12.0  # inches, of a figure at most
FEW = 80  # steps, each of which has a mark
PANEL = 2.7  # inches
BOUND = 1.2  # magnitude of states that share an axis; the others have one of their own


def gates(
    courses: Mapping[str, ArrayLike],
    *,
    symbols: Sequence[str] | None = None,
    open_or_shut: Sequence[str] | None = None,
    start: int = 0,
    title: str | None = None,
    label: str = "state",
) -> Figure:
    """Draw all gates and states of one unit over time: gates, from 0 (shut) to 1 (open), above states, those that stay
    near -1 to 1 above those that do not.

    Args:
      courses: by name (`0.f`, `0.c`), the values, ``[steps]``. Those that are not finite leave a gap.
      symbols: what was read at each step, written below where there is room; numbers of steps otherwise.
      open_or_shut: which of them stand on the axis of the gates; by default those of a gate's name (`f i o r z`) that
        stay from 0 to 1.
      start: the number of the first step.
      title: what is drawn, such as `unit 107`.
      label: the quantity and its unit, at the axis of the states.

    Raises:
      InputError: no course, courses of other lengths than each other or than `symbols`, or unknown names.
    """
    where = "in figures.gates"
    if not courses:
        raise InputError("no course", where, "give one or more by name, each [steps]")
    lines = {n: matrix(v, f"{n!r}", where, "give [steps], not empty", dimensions=1) for n, v in courses.items()}
    steps = len(next(iter(lines.values())))
    for name, values in lines.items():
        one_a_step(list(values), steps, f"values of {name!r}", where)
    one_a_step(symbols, steps, "symbols", where)
    if unknown := set(open_or_shut or ()) - set(lines):
        raise InputError(f"no course of name {min(unknown)!r}", where, f"choose among {', '.join(lines)}")
    above = [name for name in lines if (_is_gate(name, lines[name]) if open_or_shut is None else name in open_or_shut)]
    rest = [name for name in lines if name not in above]
    wide = [name for name in rest if np.abs(lines[name][np.isfinite(lines[name])]).max(initial=0) > BOUND]
    parts = [part for part in (above, [name for name in rest if name not in wide], wide) if part]
    with styled():
        column = float(np.clip((WIDE - 1.0) / steps, 0.004, 0.17))
        width = float(np.clip(1.0 + column * steps, 6.4, WIDE))
        figure = Figure(figsize=(width, 0.9 + 1.9 * len(parts)), layout="constrained")
        rows = figure.subplots(len(parts), 1, sharex=True, squeeze=False)[:, 0]
        for axes, part in zip(rows, parts, strict=True):
            for name in part:
                _draw_course(axes, list(lines).index(name), name, lines[name])
            plain(axes)
            if part is above:
                axes.set(ylim=(-0.04, 1.04), ylabel="gate, 0 shut, 1 open", yticks=[0, 0.5, 1])
            else:
                axes.axhline(0, color=MUTED, linewidth=0.7, zorder=1)
                axes.set_ylabel(label, parse_math=False)
                axes.yaxis.set_major_locator(MaxNLocator(nbins=5))
            legend_above(axes)
        rows[-1].set_xlim(-0.7, steps - 0.3)
        written = symbols_below(rows[-1], symbols, (width - 1.0) / steps, start=start)
        rows[-1].set_xlabel("symbol read" if written else "step")
        if title is not None:
            figure.suptitle(title, x=0.01, ha="left", color=INK, fontsize=10.5, parse_math=False)
    return figure


def saturation(
    gates: Mapping[str, ArrayLike],
    *,
    numbers: Sequence[int] | None = None,
    low: float = 0.1,
    high: float = 0.9,
    named: int = 4,
) -> Figure:
    """Draw how often each unit's gate is open against how often it is shut: a dot a unit, a panel a gate.

    A unit in the upper left is shut nearly always, one in the lower right open, one in the lower left neither
    (Karpathy, Johnson & Fei-Fei 2015, Visualizing and understanding recurrent networks, figure 2).

    Args:
      gates: by name (`0.f`), values from 0 to 1, ``[steps, units]``. The same gate of several layers shares a panel.
        Steps that are not finite do not count.
      numbers: which unit each column is; counted from 0 otherwise.
      low: below it a gate is shut.
      high: above it a gate is open.
      named: units of a panel that have their number at most, those that are shut or open most often.

    Raises:
      InputError: no gate, shapes or numbers that do not fit, or values that are not from 0 to 1.
    """
    where = "in figures.saturation"
    if not gates or not 0 <= low < high <= 1:
        raise InputError(f"{len(gates)} gates, bounds {low} and {high}", where, "give a gate, and bounds from 0 to 1")
    shares = {name: saturated(values, low, high, f"gate {name!r}") for name, values in gates.items()}
    layers = list(dict.fromkeys(_layer(name) for name in shares))
    groups: dict[str, list[str]] = {}
    for name in shares:
        groups.setdefault(name.rpartition(".")[2], []).append(name)
    across = min(len(groups), 4)
    down = -(-len(groups) // across)
    with styled():
        figure = Figure(figsize=(0.6 + PANEL * max(across, 2), 0.75 + (PANEL + 0.05) * down), layout="constrained")
        grid = panels(figure, len(groups), across)
        for axes, (gate, names) in zip(grid, groups.items(), strict=True):
            for name in names:
                place = layers.index(_layer(name))
                _draw_shares(
                    axes, place, _layer(name), *shares[name], numbered(numbers, len(shares[name][0]), where), named
                )
            axes.plot([0, 1], [1, 0], color=MUTED, linewidth=0.7, linestyle=(0, (3, 2)), zorder=1)
            heading(axes, f"gate {gate}", fontweight="bold")
            axes.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), aspect="equal", xticks=[0, 0.5, 1], yticks=[0, 0.5, 1])
            for axis in (axes.xaxis, axes.yaxis):
                axis.set_major_formatter(PercentFormatter(1.0))
            plain(axes, rules="both")
        figure.supxlabel(f"steps at which the gate is open (above {high:g})", color=MUTED, fontsize=10)
        figure.supylabel(f"shut (below {low:g})", color=MUTED, fontsize=10)
        if layers != [""]:
            legend_over(figure, _distinct(grid), handletextpad=0.2)
    return figure


def saturated(
    values: ArrayLike, low: float, high: float, what: str = "values"
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The shares of steps at which each unit is above `high`, and at which it is below `low`, each ``[units]``.

    Args:
      values: from 0 to 1, ``[steps, units]``; steps that are not finite do not count.
      low: the lower bound.
      high: the upper bound.
      what: the values are, in an error.

    Raises:
      InputError: another shape, nothing in it, or values that are not from 0 to 1.
    """
    grid = matrix(values, what, "in figures.saturation", "give [steps, units], none empty")
    finite = np.isfinite(grid)
    if np.any(grid[finite] < -1e-6) or np.any(grid[finite] > 1 + 1e-6):
        raise InputError(
            f"{what} goes from {grid[finite].min():.3g} to {grid[finite].max():.3g}",
            "in figures.saturation",
            "give gates, from 0 to 1; states are drawn by figures.heatmap",
        )
    counts = np.maximum(finite.sum(axis=0), 1)
    return (grid > high).sum(axis=0) / counts, (grid < low).sum(axis=0) / counts


def _is_gate(name: str, values: NDArray[np.float64]) -> bool:
    finite = values[np.isfinite(values)]
    return name.rpartition(".")[2] in GATES and bool(np.all((finite >= 0) & (finite <= 1)))


def _draw_course(axes: Axes, number: int, name: str, values: NDArray[np.float64]) -> None:
    few = len(values) <= FEW
    axes.plot(
        np.arange(len(values)),
        np.where(np.isfinite(values), values, np.nan),
        color=COLOURS[number % len(COLOURS)],
        linestyle=LINES[number % len(LINES)],
        linewidth=1.5 if few else 1.1,
        marker="o" if few else None,
        markersize=2.6,
        label=name,
    )


def _layer(name: str) -> str:
    return name.rpartition(".")[0]


def _draw_shares(
    axes: Axes,
    place: int,
    layer: str,
    opened: NDArray[np.float64],
    shut: NDArray[np.float64],
    numbers: Sequence[int],
    named: int,
) -> None:
    colour = COLOURS[place % len(COLOURS)]
    axes.scatter(
        opened,
        shut,
        s=26 if len(opened) <= 100 else 11,
        marker=MARKS[place % len(MARKS)],
        color=colour,
        alpha=0.85 if len(opened) <= 100 else 0.45,
        linewidths=0.6,
        label=f"layer {layer}",
        zorder=3,
    )
    order = np.argsort(-np.maximum(opened, shut), kind="stable")
    points = np.stack([opened, shut], axis=1)[order]
    kept = [k for k in apart(points, 0.16) if points[k].max() >= 0.25]
    for k in kept[:named]:
        right = points[k, 0] > 0.8
        axes.annotate(
            str(numbers[order[k]]),
            tuple(points[k]),
            xytext=(-4 if right else 4, 3),
            textcoords="offset points",
            ha="right" if right else "left",
            fontsize=7.5,
            color=colour,
            bbox={"boxstyle": "square,pad=0.05", "facecolor": "white", "edgecolor": RULE, "alpha": 0.8, "linewidth": 0},
            zorder=4,
        )


def _distinct(grid: Sequence[Axes]) -> list[Any]:
    """A handle of every layer."""
    found = {}
    for axes in grid:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    return list(found.values())
