"""A passage of text, every symbol on a colour of its own: a value, or what it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.colors import Normalize, to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from rnnjax.config import InputError
from rnnjax.figures.style import COLOURS, INK, MUTED, key_below, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import ArrayLike, NDArray

CELL = 0.092, 0.23  # inches that one character takes: across, and from line to line
LINE_ENDS = ("\n", "⏎")


def surprise(
    symbols: Sequence[str],
    values: ArrayLike,
    *,
    label: str = "surprise, bits",
    limit: float | None = None,
    columns: int = 80,
) -> Figure:
    """Draw a text whose symbols stand on the colour of a value, darker the larger it is.

    Args:
      symbols: the printable name of each, characters or words; a line ends after a `⏎`.
      values: one a symbol, zero or above. Those that are not finite are grey.
      label: the quantity and its unit, beside the key.
      limit: the value of the darkest colour, by default the greatest there is.
      columns: characters of a line at most.

    Raises:
      InputError: no symbols, or not one value for each.
    """
    grid = np.asarray(values, np.float64)
    _check(symbols, grid.shape, "values", "in figures.surprise")
    bound = limit or float(np.max(grid, initial=0.0, where=np.isfinite(grid))) or 1.0
    colour_map = matplotlib.colormaps["YlOrBr"].with_extremes(bad="#c9c9c9")
    scale = Normalize(0, bound)
    shades = colour_map(scale(np.ma.masked_invalid(grid)))[:, :3]
    with styled():
        figure, axes, _ = _page(symbols, shades, columns)
        over = np.any(grid[np.isfinite(grid)] > bound)
        extend = "max" if over else "neither"
        bar = key_below(figure, axes, ScalarMappable(scale, colour_map), label, extend=extend)
        bar.outline.set_visible(False)
    return figure


def tagged(
    symbols: Sequence[str],
    predicted: ArrayLike,
    right: ArrayLike,
    *,
    labels: Sequence[str],
    columns: int = 80,
) -> Figure:
    """Draw a text whose symbols stand on the colour of their predicted class; the wrong ones are underlined in the
    colour of the right class.

    Args:
      symbols: the printable name of each, characters or words; a line ends after a `⏎`.
      predicted: the class of each symbol by index.
      right: the right class of each.
      labels: names of the classes; the last one, taken to be the usual one, stands on white.
      columns: characters of a line at most.

    Raises:
      InputError: no symbols, or not one class of each kind for each.
    """
    found, true = np.asarray(predicted), np.asarray(right)
    _check(symbols, found.shape, "predicted classes", "in figures.tagged")
    _check(symbols, true.shape, "right classes", "in figures.tagged")
    full = np.asarray([to_rgb(COLOURS[k % len(COLOURS)]) for k in range(len(labels))])
    full[-1] = to_rgb(INK)
    pale = 1 - (1 - full) * 0.32  # so that dark letters can be read on them
    pale[-1] = 1.0
    with styled():
        figure, axes, places = _page(symbols, pale[found], columns)
        wrong = np.flatnonzero(found != true)
        lines = [[(x, y + 0.94), (x + width, y + 0.94)] for x, y, width in places[wrong]]
        axes.add_collection(LineCollection(lines, colors=list(full[true[wrong]]), linewidths=2.2))
        patches: list[Any] = [
            Patch(facecolor=shade, edgecolor=colour, linewidth=0.8, label=name)
            for shade, colour, name in zip(pale, full, labels, strict=True)
        ]
        legend = axes.legend(
            handles=patches,
            title="predicted (underlined: wrong, in the colour of what is right)",
            alignment="left",
            loc="lower left",
            bbox_to_anchor=(0, 1.0),
            ncols=len(patches),
            frameon=False,
            handlelength=1.1,
            handleheight=1.1,
            borderaxespad=0.2,
        )
        legend.get_title().set(color=MUTED, fontsize=9)
        for text in legend.get_texts():
            text.set_parse_math(False)
    return figure


def bars(
    values: Mapping[str, float],
    groups: Mapping[str, str],
    *,
    xlabel: str,
    middle: float | None = None,
) -> Figure:
    """Draw a horizontal bar a name, the longest first, coloured by the group that the name belongs to.

    Args:
      values: by name.
      groups: the group of each name.
      xlabel: the quantity and its unit.
      middle: a value marked by a rule.

    Raises:
      InputError: no values, or a name without a group.
    """
    if not values or set(values) - set(groups):
        raise InputError("bars without a name or a group", "in figures.bars", "give each name a value and a group")
    names = sorted(values, key=lambda name: values[name])
    kinds = list(dict.fromkeys(groups[name] for name in values))
    colours = {kind: COLOURS[k % len(COLOURS)] for k, kind in enumerate(kinds)}
    with styled():
        figure = Figure(figsize=(6.6, 1.1 + 0.2 * len(names)), layout="constrained")
        axes = figure.add_subplot()
        axes.barh(names, [values[name] for name in names], color=[colours[groups[name]] for name in names])
        if middle is not None:
            axes.axvline(middle, color=INK, linewidth=0.9, linestyle=(0, (3, 2)))
        patches = [Patch(facecolor=colour, label=kind) for kind, colour in colours.items()]
        figure.legend(
            handles=patches,
            loc="outside upper left",
            ncols=3,
            frameon=False,
            handlelength=1.2,
            columnspacing=1.2,
        )
        axes.set(xlabel=xlabel, ylim=(-0.6, len(names) - 0.4))
        axes.tick_params(axis="y", length=0, labelsize=8.5)
        axes.spines[["top", "right", "left"]].set_visible(False)
    return figure


def _page(
    symbols: Sequence[str], shades: NDArray[np.float64], columns: int
) -> tuple[Figure, Axes, NDArray[np.float64]]:
    """The text on its colours, and where each symbol stands: ``[symbols, 3]``, left, top and width."""
    characters = max(len(symbol) for symbol in symbols) == 1
    places, x, y = [], 0.0, 0.0
    for symbol in symbols:
        width = float(len(symbol)) if characters else len(symbol) + 0.8
        if x and x + width > columns:
            x, y = 0.0, y + 1
        places.append((x, y, width))
        x += width
        if symbol in LINE_ENDS:
            x, y = 0.0, y + 1
    spots = np.asarray(places)
    across, down = (spots[:, 0] + spots[:, 2]).max(), spots[-1, 1] + 1
    figure = Figure(figsize=(max(5.2, 0.3 + CELL[0] * across), 0.9 + CELL[1] * down), layout="constrained")
    axes = figure.add_subplot()
    corners = np.asarray([(0, 0), (1, 0), (1, 1), (0, 1)], np.float64)
    size = np.stack([spots[:, 2], np.ones(len(spots))], axis=1)
    cells = spots[:, None, :2] + corners[None] * size[:, None]
    axes.add_collection(PolyCollection(list(cells), facecolors=list(shades), edgecolors="none"))
    light = shades @ (0.299, 0.587, 0.114) > 0.55
    for symbol, (left, top, width), pale in zip(symbols, spots, light, strict=True):
        axes.text(
            left + width / 2,
            top + 0.54,
            " " if symbol == "␣" else symbol,
            ha="center",
            va="center",
            color=(MUTED if symbol in LINE_ENDS else INK) if pale else "white",
            family="monospace",
            fontsize=9.5,
            parse_math=False,
        )
    axes.set(xlim=(0, max(across, (5.2 - 0.3) / CELL[0])), ylim=(down, 0))
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    return figure, axes, spots


def _check(symbols: Sequence[str], shape: tuple[int, ...], what: str, where: str) -> None:
    if not len(symbols) or shape != (len(symbols),):
        raise InputError(f"{what} of shape {list(shape)} for {len(symbols)} symbols", where, "give one a symbol")
