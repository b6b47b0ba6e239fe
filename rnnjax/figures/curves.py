"""Lines over steps, and fields of units over time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from rnnjax.config import InputError
from rnnjax.figures.parts import symbols_below
from rnnjax.figures.style import COLOURS, LINES, MUTED, RULE, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import ArrayLike, NDArray

MOST_POINTS = 2000  # a line of more points than a screen has columns only makes the file larger


def curves(
    series: Mapping[str, tuple[ArrayLike, ArrayLike]],
    *,
    xlabel: str = "step",
    ylabel: str = "nats per symbol",
    reference: Mapping[str, float] | None = None,
    log: bool = False,
) -> Figure:
    """Draw named lines over a common horizontal axis; the legend gives the last finite value of each.

    Args:
        series: by name, `(steps, values)`, two arrays `[points]`. A value that is not finite leaves a gap.
            A series of more than 2000 points is thinned; the least and the greatest of each stretch stay.
        xlabel: what the steps count.
        ylabel: the quantity and its unit.
        reference: values by name, drawn as horizontal rules (a uniform guess, a published result).
        log: a logarithmic vertical axis, where any value is above zero.

    Raises:
        InputError: steps and values of a series are not one-dimensional or differ in length.
    """
    lines = {name: _line(name, *pair) for name, pair in series.items()}
    with styled():
        figure = Figure(figsize=(6.4, 3.7), layout="constrained")
        axes = figure.add_subplot()
        for number, (name, (steps, values)) in enumerate(lines.items()):
            _draw_line(axes, number, name, steps, values)
        for name, value in (reference or {}).items():
            _draw_reference(axes, name, value, below=_ends_above(value, lines.values()))
        whole = all(np.all(steps == np.round(steps)) for steps, _ in lines.values())
        axes.xaxis.set_major_locator(MaxNLocator(nbins=7, integer=whole))
        axes.xaxis.set_major_formatter(FuncFormatter(_count))
        axes.set(xlabel=xlabel, ylabel=ylabel)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", color=RULE, linewidth=0.7)
        axes.set_axisbelow(True)
        axes.margins(x=0.02)
        drawn = [values for _, values in lines.values()]
        if log and any(np.any(values > 0) for values in drawn):
            _log_scale(axes)
        if any(np.any(np.isfinite(values)) for values in drawn):
            _legend(axes)
        else:
            axes.text(0.5, 0.5, "nothing logged yet", transform=axes.transAxes, ha="center", color=MUTED)
    return figure


def heatmap(
    values: ArrayLike,
    *,
    symbols: Sequence[str] | None = None,
    numbers: Sequence[int] | None = None,
    ylabel: str = "unit",
    xlabel: str = "symbol",
    label: str = "activation",
    limit: float | None = None,
) -> Figure:
    """Draw a field of a layer, one row a unit and one column a time step, in colours centred on zero.

    Args:
        values: `[units, time]`. Values that are not finite are grey.
        symbols: the printable name of the symbol read at each time step, under its column where all fit.
        numbers: which unit each row is, where not all units are shown; counted from 0 otherwise.
        ylabel: what a row is.
        xlabel: what a column is.
        label: the quantity and its unit, beside the colour bar.
        limit: the value of the darkest colours, by default the greatest magnitude there is. Larger values get
            the same colour, and the colour bar an arrow.

    Raises:
        InputError: `values` is not `[units, time]` or is empty, `symbols` or `numbers` are of another length, or
            `limit` is not above zero.
    """
    grid = np.asarray(values, dtype=np.float64)
    bound = _check_heatmap(grid, symbols, limit)
    units, time = grid.shape
    if numbers is not None and len(numbers) != units:
        raise InputError(f"{len(numbers)} numbers for {units} units", "in figures.heatmap", "give one a unit")
    row = 0.034 if numbers is None else 0.11  # inches: every row has its number
    width, height = np.clip(1.6 + 0.11 * time, 5.6, 13.0), np.clip(1.1 + row * units, 2.3, 6.4)
    with styled():
        figure = Figure(figsize=(width, height), layout="constrained")
        axes = figure.add_subplot()
        colours = matplotlib.colormaps["RdBu_r"].with_extremes(bad="#9a9a9a")
        image = axes.imshow(
            np.ma.masked_invalid(grid),
            cmap=colours,
            vmin=-bound,
            vmax=bound,
            aspect="auto",
            interpolation="none",
        )
        axes.set(xlabel=xlabel, ylabel=ylabel)
        axes.spines[:].set_visible(False)
        if numbers is None:
            axes.yaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
        else:
            axes.set_yticks(range(units), [str(number) for number in numbers], fontsize=6)
        symbols_below(axes, symbols, float(width - 1.6) / time)
        bar = figure.colorbar(image, ax=axes, label=label, extend=_beyond(grid, bound), aspect=28, pad=0.012)
        bar.outline.set_visible(False)  # pyright: ignore[reportCallIssue]
    return figure


def _line(name: str, steps: ArrayLike, values: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    x, y = np.asarray(steps, dtype=np.float64), np.asarray(values, dtype=np.float64)
    if x.ndim != 1 or x.shape != y.shape:
        raise InputError(
            f"series {name!r} has steps {list(x.shape)} and values {list(y.shape)}",
            "in figures.curves",
            "give two one-dimensional arrays of one length",
        )
    return x, np.where(np.isfinite(y), y, np.nan)


def _thin(x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    if len(x) <= MOST_POINTS:
        return x, y
    kept = {0, len(x) - 1}
    for stretch in np.array_split(np.arange(len(x)), MOST_POINTS // 2):
        here = y[stretch]
        gaps = stretch[np.isnan(here)]
        kept.update(gaps[:1].tolist())
        if len(gaps) < len(stretch):
            kept.update((int(stretch[np.nanargmin(here)]), int(stretch[np.nanargmax(here)])))
    order = sorted(kept)
    return x[order], y[order]


def _draw_line(axes: Axes, number: int, name: str, x: NDArray[np.float64], y: NDArray[np.float64]) -> None:
    colour = COLOURS[number % len(COLOURS)]
    finite = np.flatnonzero(np.isfinite(y))
    last = f"{y[finite[-1]]:.4g}" if len(finite) else "no values"
    style = LINES[number % len(LINES)]
    axes.plot(*_thin(x, y), color=colour, linestyle=style, linewidth=1.7, label=f"{name}: {last}")
    if len(finite):
        axes.plot(x[finite[-1]], y[finite[-1]], "o", color=colour, markersize=4)


def _ends_above(value: float, lines: Iterable[tuple[NDArray[np.float64], NDArray[np.float64]]]) -> bool:
    """Whether the lines come down to `value`: what is written over it would lie on them."""
    ends = [values[np.isfinite(values)][-1:] for _, values in lines]
    last = np.concatenate([*ends, []])
    return bool(last.size) and bool(np.median(last) > value)


def _draw_reference(axes: Axes, name: str, value: float, *, below: bool) -> None:
    axes.axhline(value, color=MUTED, linewidth=0.9, linestyle=(0, (2, 3)), zorder=1)
    axes.annotate(
        f"{name}: {value:.4g}",
        (1, value),
        xycoords=("axes fraction", "data"),
        xytext=(-1, -2.5 if below else 2.5),
        textcoords="offset points",
        ha="right",
        va="top" if below else "bottom",
        color=MUTED,
        fontsize=8.5,
        parse_math=False,
    )


def _log_scale(axes: Axes) -> None:
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    decades = np.log10(high / low)
    # The fewer powers of ten there are, the more values between them have to be named.
    between = (1, 1.5, 2, 3, 4, 5, 7) if decades < 1.2 else (1, 2, 5) if decades < 3 else (1,)
    axes.yaxis.set_major_locator(LogLocator(subs=between))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.4g}"))
    axes.yaxis.set_minor_locator(NullLocator())


def _legend(axes: Axes) -> None:
    handles, labels = axes.get_legend_handles_labels()
    columns = int(np.clip(84 // (max(map(len, labels)) + 8), 1, max(len(labels), 1)))
    legend = axes.legend(
        handles,
        labels,
        loc="lower left",
        bbox_to_anchor=(-0.01, 1.0),
        ncols=columns,
        frameon=False,
        handlelength=2.4,
        borderaxespad=0.2,
    )
    for text in legend.get_texts():
        text.set_parse_math(False)


def _count(value: float, _position: int | None = None) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:g}"


def _check_heatmap(grid: NDArray[np.float64], symbols: Sequence[str] | None, limit: float | None) -> float:
    where = "in figures.heatmap"
    if grid.ndim != 2 or grid.size == 0:
        raise InputError(f"values have shape {list(grid.shape)}", where, "give [units, time], both above zero")
    if symbols is not None and len(symbols) != grid.shape[1]:
        raise InputError(f"{len(symbols)} symbols for {grid.shape[1]} time steps", where, "give one a column")
    if limit is not None and not limit > 0:
        raise InputError(f"limit is {limit}", where, "give a limit above zero, or None")
    return limit or float(np.max(np.abs(grid), initial=0.0, where=np.isfinite(grid))) or 1.0


def _beyond(grid: NDArray[np.float64], bound: float) -> str:
    finite = grid[np.isfinite(grid)]
    return ("neither", "min", "max", "both")[int(np.any(finite < -bound)) + 2 * int(np.any(finite > bound))]
