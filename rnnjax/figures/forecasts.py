"""A series, and what was foretold of it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike

from rnnjax.config import InputError
from rnnjax.figures.style import COLOURS, INK, LINES, MUTED, RULE, styled


def forecasts(
    times: ArrayLike,
    values: ArrayLike,
    panels: Mapping[str, Mapping[str, tuple[ArrayLike, ArrayLike]]],
    *,
    xlabel: str,
    ylabel: str,
    begin: float | None = None,
) -> Figure:
    """Draw a series once a panel, and over it the lines of the panel.

    Args:
        times: of the series, `[points]`.
        values: what was measured, `[points]`.
        panels: by title, the lines by name: `(times, values)`, two arrays of one length.
        xlabel: what the times count.
        ylabel: the quantity and its unit.
        begin: the time from which on things are foretold; what is before is shaded.

    Raises:
        InputError: times and values of a line that are no two arrays of one length.
    """
    known = _line("the series", times, values)
    with styled():
        figure = Figure(figsize=(7.6, 0.5 + 2.3 * len(panels)), layout="constrained")
        grid = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
        for axes, (title, lines) in zip(grid, panels.items(), strict=True):
            axes.plot(*known, color=INK, linewidth=1.0, marker="o", markersize=2.6, label="measured", zorder=3)
            for number, (name, pair) in enumerate(lines.items()):
                style = LINES[number % len(LINES)]
                axes.plot(*_line(name, *pair), color=COLOURS[number % len(COLOURS)], linestyle=style, label=name)
            if begin is not None and known[0][0] < begin:
                axes.axvspan(known[0][0], begin, color=RULE, alpha=0.55, linewidth=0, zorder=0)
            axes.set_title(title, loc="left", color=INK, fontsize=10, pad=22)
            axes.set_ylabel(ylabel)
            axes.spines[["top", "right"]].set_visible(False)
            axes.grid(axis="y", color=RULE, linewidth=0.7)
            axes.set_axisbelow(True)
            axes.margins(x=0.01)
            axes.legend(
                loc="lower left", bbox_to_anchor=(-0.01, 0.98), ncols=4, frameon=False, fontsize=8.5, labelcolor=MUTED
            )
        grid[-1].set_xlabel(xlabel)
        grid[-1].xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True))
    return figure


def _line(name: str, times: ArrayLike, values: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    x, y = np.asarray(times, np.float64), np.asarray(values, np.float64)
    if x.ndim != 1 or x.shape != y.shape or not x.size:
        raise InputError(
            f"{name} has times {list(x.shape)} and values {list(y.shape)}",
            "in figures.forecasts",
            "give two one-dimensional arrays of one length",
        )
    return x, y
