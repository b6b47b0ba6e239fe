"""Effects: what the loss does when a unit is taken away, and how far back the gradient of the loss reaches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

from rnnjax.config import InputError
from rnnjax.figures.parts import ORANGE, PURPLE, legend_above, matrix, numbered, plain
from rnnjax.figures.style import COLOURS, INK, MUTED, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import ArrayLike, NDArray

FEW = 40  # units, each of which has a bar with its name
BAR = 0.19  # inches


def atlas(
    change: ArrayLike,
    *,
    baseline: float | None = None,
    numbers: Sequence[int] | None = None,
    names: Mapping[int, str] | None = None,
    worst: int = 15,
    field: str = "",
    label: str = "change of the loss, nats per symbol",
) -> Figure:
    """Draw how the loss changes when each unit is lesioned, sorted: orange where it grows, purple where it falls.

    Up to 40 units have a bar each. Of more, all are drawn by rank, and those whose loss grows most have bars beside it.

    Args:
      change: of the loss, ``[units]``. Units whose loss is not finite are counted below.
      baseline: the loss of the whole network, told above.
      numbers: which unit each one is; counted from 0 otherwise.
      names: of units by number, such as what they stand for, written beside the number.
      worst: bars, of many units.
      field: that was lesioned, such as `0.h`.
      label: the quantity and its unit.

    Raises:
      InputError: no unit, another shape, or numbers that do not fit.
    """
    where = "in figures.atlas"
    values = matrix(change, "changes", where, "give [units], not empty", dimensions=1)
    units = np.asarray(numbered(numbers, len(values), where))
    if worst < 1:
        raise InputError(f"{worst} of the worst", where, "show one at least")
    finite = np.isfinite(values)
    order = np.flatnonzero(finite)[np.argsort(-values[finite], kind="stable")]
    few = len(order) <= FEW
    barred = order if few else order[:worst]
    with styled():
        height = 1.25 + BAR * max(len(barred), 5 if few else 10)
        figure = Figure(figsize=(6.4 if few else 10.4, height), layout="constrained")
        panels = figure.subplots(1, 1 if few else 2, squeeze=False, width_ratios=None if few else (1.35, 1))[0]
        if not few:
            _draw_ranks(panels[0], values[order], len(barred))
            panels[0].set_xlabel("units, the most harmful lesion first")
            panels[0].set_ylabel(label, parse_math=False)
        told = [f"{unit}" + (f"  {names[unit]}" if names and unit in names else "") for unit in units[barred].tolist()]
        _draw_bars(panels[-1], values[barred], told)
        panels[-1].set_xlabel(label, parse_math=False)
        panels[-1].set_ylabel("unit" if few else f"the {len(barred)} worst")
        handles = [Patch(color=ORANGE, label="the loss grows"), Patch(color=PURPLE, label="it falls")]
        of = f"lesion of each unit of {field}" if field else "lesion of each unit"
        told_lines = [of if baseline is None else f"{of}; loss of the whole network: {baseline:.4g}"]
        if not finite.all():
            told_lines.append(f"units without a finite loss, not drawn: {int(np.sum(~finite)):,}")
        figure.suptitle("\n".join(told_lines), x=0.01, ha="left", color=INK, fontsize=10, parse_math=False)
        legend_above(panels[0], handles, ncols=2, handlelength=1.1, handleheight=1.0)
    return figure


def credit(
    lags: ArrayLike,
    mean: ArrayLike,
    low: ArrayLike,
    high: ArrayLike,
    *,
    marks: Mapping[str, float] | None = None,
    label: str = "norm of the gradient by the earlier state",
) -> Figure:
    """Draw how much of the loss's gradient reaches back so many steps, on a logarithmic axis.

    Args:
      lags: how many steps earlier, ``[lags]``.
      mean: the norm, ``[lags]``. Zeros, which a logarithmic axis does not have, leave a gap.
      low: its lower quartile, ``[lags]``.
      high: its upper quartile, ``[lags]``.
      marks: lags by name, such as a horizon or where the gradient is cut, marked by a rule.
      label: the quantity and its unit.

    Raises:
      InputError: no lag, arrays of other shapes, or norms below zero.
    """
    where = "in figures.credit"
    steps = matrix(lags, "lags", where, "give [lags], not empty", dimensions=1)
    lines = [np.asarray(line, np.float64) for line in (mean, low, high)]
    if any(line.shape != steps.shape for line in lines) or any(np.any(line < 0) for line in lines):
        raise InputError(
            f"{len(steps)} lags, norms of shapes {', '.join(str(list(line.shape)) for line in lines)}",
            where,
            "give mean, low and high for each lag, none below zero",
        )
    middle, lower, upper = (np.where(np.isfinite(line) & (line > 0), line, np.nan) for line in lines)
    drawn = np.any(np.isfinite(middle))
    with styled():
        figure = Figure(figsize=(6.8, 3.9), layout="constrained")
        axes = figure.add_subplot()
        if drawn:
            axes.set_yscale("log")
            floor = float(np.nanmin(np.stack([middle, lower])))
            below = np.where(np.isnan(lower) & np.isfinite(upper), floor, lower)
            axes.fill_between(
                steps, below, upper, color=COLOURS[0], alpha=0.2, linewidth=0, label="middle half (quartiles)"
            )
            axes.plot(steps, middle, color=COLOURS[0], linewidth=1.6, marker="o" if len(steps) <= 40 else None,
                      markersize=3, label="mean")  # fmt: skip
            low_end, high_end = axes.get_ylim()
            if high_end / low_end < 30:  # else a nearly constant norm has no number at its axis
                centre = np.sqrt(low_end * high_end)
                axes.set_ylim(centre / 30**0.5, centre * 30**0.5)
            axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axes.yaxis.set_minor_formatter(NullFormatter())
        else:
            axes.text(0.5, 0.5, "no gradient reaches back", transform=axes.transAxes, ha="center", color=MUTED)
            axes.set_yticks([])
        for number, (name, lag) in enumerate((marks or {}).items()):
            style = {
                "color": COLOURS[(number + 1) % len(COLOURS)],
                "linestyle": ((0, (3, 2)), (0, (1, 1.3)))[number % 2],
            }
            axes.axvline(lag, linewidth=1.3, label=f"{name}: {lag:g} steps", **style)
        axes.set(
            xlabel="steps earlier", xlim=(min(0.0, steps.min()), max(steps.max(), *(marks or {}).values(), 1.0) * 1.02)
        )
        axes.set_ylabel(label, parse_math=False)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True))
        plain(axes)
        legend_above(axes)
    return figure


def _draw_ranks(axes: Axes, values: NDArray[np.float64], marked: int) -> None:
    """All units by rank; those that have bars elsewhere are dots."""
    ranks = np.arange(1, len(values) + 1)
    for part, colour in ((np.maximum(values, 0), ORANGE), (np.minimum(values, 0), PURPLE)):
        axes.fill_between(ranks, 0, part, step="mid", color=colour, linewidth=0.8)
    axes.plot(ranks[:marked], values[:marked], "o", color=INK, markersize=2.4, zorder=3)
    axes.axhline(0, color=MUTED, linewidth=0.7)
    axes.set_xlim(-0.01 * len(values), len(values) * 1.01 + 1)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=7, integer=True))
    plain(axes)


def _draw_bars(axes: Axes, values: NDArray[np.float64], names: Sequence[str]) -> None:
    places = np.arange(len(values))
    axes.barh(places, values, height=0.72, color=np.where(values < 0, PURPLE, ORANGE).tolist())
    axes.set_yticks(places, list(names), fontsize=8, color=INK, parse_math=False)
    axes.set_ylim(max(len(values), 1) - 0.4, -0.6)
    axes.axvline(0, color=MUTED, linewidth=0.7)
    axes.tick_params(axis="y", length=0)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=5))
    plain(axes, rules="x")
    axes.spines["left"].set_visible(False)
