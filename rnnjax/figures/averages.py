"""What units do on average: by condition, and around events."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from rnnjax.config import InputError
from rnnjax.figures.curves import heatmap
from rnnjax.figures.parts import heading, legend_over, matrix, numbered, panels, plain, visible
from rnnjax.figures.style import COLOURS, INK, MUTED, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import ArrayLike, NDArray

FEW = 12  # units that have a panel of their own
ACROSS = 4  # panels side by side
PANEL = 2.3, 1.9  # inches


def averages(
    conditions: Sequence[object],
    mean: ArrayLike,
    deviation: ArrayLike,
    *,
    counts: ArrayLike | None = None,
    numbers: Sequence[int] | None = None,
    concept: str = "condition",
    label: str = "activation",
) -> Figure:
    """Draw the mean of each unit under each condition, with the standard deviation: a panel a unit.

    Conditions that are numbers stand on an axis of numbers and are joined. Of more than 12 units the means alone are
    drawn, as a heat map.

    Args:
      conditions: what each row is.
      mean: ``[conditions, units]``. A condition that never occurs is not finite.
      deviation: the standard deviation, of the same shape.
      counts: steps of each condition, ``[conditions]``, told beside its name.
      numbers: which unit each column is; counted from 0 otherwise.
      concept: what the conditions are of.
      label: the quantity and its unit.

    Raises:
      InputError: shapes that do not fit.
    """
    where = "in figures.averages"
    grid = matrix(mean, "means", where, "give [conditions, units], none empty")
    spread = _same_shape(deviation, grid, where)
    units = numbered(numbers, grid.shape[1], where)
    many = None if counts is None else np.asarray(counts)
    if len(conditions) != len(grid) or (many is not None and many.shape != (len(grid),)):
        raise InputError(
            f"{len(conditions)} conditions{'' if many is None else f', counts of shape {list(many.shape)}'}, "
            f"means of shape {list(grid.shape)}",
            where,
            "give means a row a condition",
        )
    names = [visible(str(condition)).replace("␣", " ") for condition in conditions]
    places = _as_numbers(conditions)
    if len(units) > FEW:
        rows = None if len(units) > 60 else units
        return heatmap(grid.T, symbols=names, numbers=rows, xlabel=concept, label=f"mean {label}")
    told = names if many is None else [f"{name} ({count:,.0f})" for name, count in zip(names, many, strict=True)]
    longest = max(map(len, told)) * 0.075 if places is None else 0.2
    height = PANEL[1] if places is not None else 0.55 + 0.2 * len(names)
    with styled():
        across = min(ACROSS, len(units))
        down = -(-len(units) // across)
        size = (max(4.6, 0.5 + longest + PANEL[0] * across), 0.7 + height * down)
        figure = Figure(figsize=size, layout="constrained")
        grids = panels(figure, len(units), across)
        for column, (axes, unit) in enumerate(zip(grids, units, strict=True)):
            kept = np.isfinite(grid[:, column])
            middle, error = grid[kept, column], np.nan_to_num(spread[kept, column])
            style = {"color": COLOURS[0], "marker": "o", "markersize": 4, "capsize": 2.5, "elinewidth": 1.1}
            if places is None:
                axes.errorbar(middle, np.flatnonzero(kept), xerr=error, linestyle="none", **style)
                axes.axvline(0, color=MUTED, linewidth=0.7, zorder=1)
                plain(axes, rules="x")
            else:
                axes.errorbar(np.asarray(places)[kept], middle, yerr=error, linewidth=1.2, **style)
                axes.axhline(0, color=MUTED, linewidth=0.7, zorder=1)
                plain(axes)
            heading(axes, f"unit {unit}")
        first = grids[0]
        if places is None:
            first.set_yticks(range(len(told)), told, parse_math=False)
            first.set_ylim(len(told) - 0.5, -0.5)
            for axes in grids:
                axes.tick_params(axis="y", length=0, labelsize=8.5, labelcolor=INK)
                axes.xaxis.set_major_locator(MaxNLocator(nbins=4))
        else:
            whole = all(float(place).is_integer() for place in places)
            first.xaxis.set_major_locator(MaxNLocator(nbins=7, integer=whole))
        named = (figure.supylabel, figure.supxlabel) if places is None else (figure.supxlabel, figure.supylabel)
        named[0](concept, color=MUTED, fontsize=10, parse_math=False)
        named[1](f"{label}, mean ± standard deviation", color=MUTED, fontsize=10, parse_math=False)
    return figure


def around(
    offsets: ArrayLike,
    mean: ArrayLike,
    deviation: ArrayLike,
    *,
    numbers: Sequence[int] | None = None,
    event: str = "the event",
    count: int | None = None,
    label: str = "activation",
) -> Figure:
    """Draw the mean course of each unit around events, with a band of one standard deviation: a panel a unit.

    Of more than 12 units the means alone are drawn, as a heat map.

    Args:
      offsets: steps from the event, below zero before it, ``[window]``.
      mean: ``[window, units]``.
      deviation: the standard deviation, of the same shape.
      numbers: which unit each column is; counted from 0 otherwise.
      event: what happens at offset 0.
      count: of events.
      label: the quantity and its unit.

    Raises:
      InputError: shapes that do not fit, or offsets that do not rise.
    """
    where = "in figures.around"
    grid = matrix(mean, "means", where, "give [window, units], none empty")
    spread = _same_shape(deviation, grid, where)
    units = numbered(numbers, grid.shape[1], where)
    steps = np.asarray(offsets, np.float64)
    if steps.shape != (len(grid),) or np.any(np.diff(steps) <= 0):
        raise InputError(
            f"offsets of shape {list(steps.shape)} for means of shape {list(grid.shape)}",
            where,
            "give one a row, each above the one before",
        )
    xlabel = f"steps from {event}" + ("" if count is None else f" ({count:,} of them)")
    if len(units) > FEW:
        signed = [f"{step:+g}" if step else "0" for step in steps]
        rows = None if len(units) > 60 else units
        figure = heatmap(grid.T, symbols=signed, numbers=rows, xlabel=xlabel, label=f"mean {label}")
        if steps[0] <= 0 <= steps[-1]:
            figure.axes[0].axvline(float(np.interp(0, steps, np.arange(len(steps)))) - 0.5, color=INK, linewidth=0.9)
        return figure
    with styled():
        across = min(ACROSS, len(units))
        down = -(-len(units) // across)
        figure = Figure(figsize=(max(5.2, 0.7 + PANEL[0] * across), 0.9 + PANEL[1] * down), layout="constrained")
        grids = panels(figure, len(units), across)
        for column, (axes, unit) in enumerate(zip(grids, units, strict=True)):
            _draw_band(axes, steps, grid[:, column], spread[:, column], event)
            heading(axes, f"unit {unit}")
        grids[0].xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
        grids[0].set_xlim(steps[0] - 0.3, steps[-1] + 0.3)
        legend_over(figure, grids[0].get_legend_handles_labels()[0])
        figure.supxlabel(xlabel, color=MUTED, fontsize=10, parse_math=False)
        figure.supylabel(label, color=MUTED, fontsize=10, parse_math=False)
    return figure


def _draw_band(
    axes: Axes, steps: NDArray[np.float64], mean: NDArray[np.float64], spread: NDArray[np.float64], event: str
) -> None:
    axes.fill_between(
        steps, mean - spread, mean + spread, color=COLOURS[0], alpha=0.2, linewidth=0, label="± standard deviation"
    )
    axes.plot(steps, mean, color=COLOURS[0], linewidth=1.5, marker="o", markersize=2.6, label="mean")
    axes.axvline(0, color=COLOURS[1], linewidth=1.0, linestyle=(0, (3, 2)), label=event)
    axes.axhline(0, color=MUTED, linewidth=0.7, zorder=1)
    plain(axes)


def _same_shape(deviation: ArrayLike, grid: NDArray[np.float64], where: str) -> NDArray[np.float64]:
    spread = np.asarray(deviation, np.float64)
    if spread.shape != grid.shape:
        raise InputError(
            f"deviations of shape {list(spread.shape)} for means of shape {list(grid.shape)}",
            where,
            "give both of one shape",
        )
    return spread


def _as_numbers(conditions: Sequence[object]) -> list[float] | None:
    """The conditions as numbers, if all are and there are more than two."""
    try:
        numbers = [float(str(condition)) for condition in conditions]
    except ValueError:
        return None
    return numbers if len(numbers) > 2 and np.all(np.isfinite(numbers)) else None
