"""Running text, every symbol on the colour of what a unit does there."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure

from rnnjax.config import InputError
from rnnjax.figures.parts import Scale, matrix, one_a_step, visible
from rnnjax.figures.passages import CELL, LINE_ENDS
from rnnjax.figures.style import INK, key_below, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import ArrayLike, NDArray

HANGING = (" ", "␣", *LINE_ENDS)  # what may stand beyond the end of a full line, as a compositor lets it
MOST_PANELS = 24
HEAD, GAP = 1.15, 0.7  # lines, of a panel's title and between panels
NARROWEST = 4.8  # inches, that the key of colours needs


def passage(
    symbols: Sequence[str],
    values: ArrayLike,
    *,
    titles: Sequence[str] | None = None,
    label: str = "activation",
    limit: float | None = None,
    columns: int = 80,
) -> Figure:
    """Draw a text whose symbols stand on the colour of a unit's value: purple below zero, orange above.

    Spaces, tabs and line breaks are seen, and a line ends after a break. Characters are wrapped between words, and wide
    ones (Chinese, Japanese, Korean) have twice the room; lines in a script written from right to left go that way.
    All panels have one scale.

    Args:
      symbols: what was read at each step, characters or words, in any script.
      values: ``[steps]``, or ``[steps, units]`` with a panel a unit. Those that are not finite are grey.
      titles: of the panels; counted as `unit 0` on otherwise.
      label: the quantity and its unit, beside the key.
      limit: the value of the fullest colours, by default the greatest magnitude there is; the key of what goes beyond
        has an arrow.
      columns: characters of a line at most.

    Raises:
      InputError: no symbols, values or titles that do not fit, or too many panels to be read.
    """
    where, grid = "in figures.passage", np.asarray(values, np.float64)
    alone = grid.ndim == 1
    grid = matrix(grid[:, None] if alone else grid, "values", where, "give [steps] or [steps, units], none empty")
    one_a_step(symbols, len(grid), "symbols", where)
    units = grid.shape[1]
    if units > MOST_PANELS or (titles is not None and len(titles) != units) or columns < 1:
        raise InputError(
            f"{units} panels, {units if titles is None else len(titles)} titles, lines of {columns} columns",
            where,
            f"choose at most {MOST_PANELS} units, a title for each, and one column at least",
        )
    names = titles if titles is not None else [] if alone else [f"unit {number}" for number in range(units)]
    scale = Scale(grid, limit, where, pale=True)
    shown = [visible(symbol) for symbol in symbols]
    spots = laid_out(symbols, shown, columns)
    lines, across = spots[-1, 1] + 1, (spots[:, 0] + spots[:, 2]).max()
    head = HEAD if names else 0.0
    tops = [head + number * (lines + head + GAP) for number in range(units)]
    down = tops[-1] + lines
    with styled():
        width = max(NARROWEST, 0.3 + CELL[0] * across)
        figure = Figure(figsize=(width, 0.6 + 1.03 * CELL[1] * down), layout="constrained")
        axes = figure.add_subplot()
        for number, top in enumerate(tops):
            here = spots + np.asarray([0, top, 0])
            _write(axes, symbols, shown, here, scale.shades(grid[:, number]))
        for name, top in zip(names, tops, strict=False):
            axes.text(0, top - 0.25, name, va="baseline", fontsize=9.5, fontweight="bold", parse_math=False)
        axes.set(xlim=(0, max(across, (width - 0.3) / CELL[0])), ylim=(down, 0), xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
        axes.set_aspect(CELL[1] / CELL[0], anchor="NW")
        key = ScalarMappable(scale.norm, scale.colours)
        bar = key_below(figure, axes, key, label, extend=scale.extend)
        bar.outline.set_visible(False)
    return figure


def laid_out(symbols: Sequence[str], shown: Sequence[str], columns: int) -> NDArray[np.float64]:
    """Where each symbol stands in lines of so many columns: ``[symbols, 3]``, left, top and width.

    Args:
      symbols: as they are, which tells where lines end.
      shown: as they are written, which tells how wide they are.
      columns: at most, if no symbol alone is wider.
    """
    widths = [_columns(text) for text in shown]
    characters = all(len(symbol) == 1 for symbol in symbols)
    gap = 0.0 if characters else 0.8
    places, x, y, word = [], 0.0, 0.0, 0
    for number, (symbol, width) in enumerate(zip(symbols, widths, strict=True)):
        if x and x + width > columns + (symbol in HANGING):
            # A word goes to the next line as a whole, if it does not fill a line of its own.
            moved = places[word:] if characters and word < number and places[word][0] > 0 else []
            back = moved[0][0] if moved else x
            places[len(places) - len(moved) :] = [(left - back, y + 1, wide) for left, _, wide in moved]
            x, y = x - back, y + 1
        places.append((x, y, width + gap))
        x += width + gap
        if symbol.endswith(LINE_ENDS):
            x, y = 0.0, y + 1
        if not _joins(symbol):
            word = number + 1
    return _turned(np.asarray(places), symbols)


def _turned(spots: NDArray[np.float64], symbols: Sequence[str]) -> NDArray[np.float64]:
    """The same lines, those of a script that is written from right to left turned round."""
    kinds = [{unicodedata.bidirectional(character) for character in symbol} for symbol in symbols]
    side = np.asarray([bool(kind & {"R", "AL"}) - ("L" in kind) for kind in kinds], np.int64)
    right = (spots[:, 0] + spots[:, 2]).max()
    turned = np.bincount(spots[:, 1].astype(int), weights=side)[spots[:, 1].astype(int)] > 0
    lefts = np.where(turned, right - spots[:, 0] - spots[:, 2], spots[:, 0])
    return np.column_stack([lefts, spots[:, 1:]])


def _joins(symbol: str) -> bool:
    """Whether a line may not break after this symbol: letters, digits and what is written with them, of scripts that
    part words by spaces."""
    return symbol not in ("\t", "-", *HANGING) and unicodedata.east_asian_width(symbol[-1:] or " ") not in "WF"


def _columns(text: str) -> float:
    """Columns of a monospaced font: two of a wide character, none of a combining mark."""
    wide = sum(unicodedata.east_asian_width(character) in "WF" for character in text)
    return float(max(1, len(text) + wide - sum(bool(unicodedata.combining(character)) for character in text)))


def _write(
    axes: Axes,
    symbols: Sequence[str],
    shown: Sequence[str],
    spots: NDArray[np.float64],
    shades: NDArray[np.float64],
) -> None:
    """The symbols on their colours."""
    corners = np.asarray([(0, 0), (1, 0), (1, 1), (0, 1)], np.float64)
    sizes = np.stack([spots[:, 2], np.ones(len(spots))], axis=1)
    cells = spots[:, None, :2] + corners[None] * sizes[:, None]
    # Edges of the same colour close the seams that are seen between neighbours otherwise.
    axes.add_collection(PolyCollection(list(cells), facecolors=list(shades), edgecolors=list(shades), linewidths=0.3))
    for symbol, text, (left, top, width) in zip(symbols, shown, spots, strict=True):
        blank = symbol.isspace() or symbol in ("␣", "⏎")
        axes.text(
            left + width / 2,
            top + 0.54,
            text,
            ha="center",
            va="center",
            color=INK,
            alpha=0.55 if blank else None,
            family="monospace",
            fontsize=9.5,
            parse_math=False,
        )
