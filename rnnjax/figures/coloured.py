"""Texts whose symbols stand on colours, many panels of them on one page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.colors import Colormap, LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.path import Path
from matplotlib.textpath import TextPath
from matplotlib.transforms import Affine2D

from rnnjax.config import InputError
from rnnjax.figures.style import INK, MUTED, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import ArrayLike, NDArray

SIZE = 7.0  # points, of the texts
WIDEST = 10.8  # inches, of a page
LETTER, LINE = 0.602 * SIZE, 1.5 * SIZE  # points, of a symbol of DejaVu Sans Mono and of a line
GAP, BETWEEN = 2, 4  # letters between texts, and between panels
COLUMNS = (4, 5, 6)  # of texts in a panel: it is to be a block
BOX = 4  # letters of a box of the key
KEY = 3  # lines of the key, what it says and the space below

BLUE_RED = LinearSegmentedColormap.from_list("blue-red", ["#4aa3df", "#f8f6f6", "#f23a34"])
"""From blue (low) to red (high)."""

PURPLE_ORANGE = LinearSegmentedColormap.from_list("purple-orange", ["#8878c3", "#f7f7f7", "#e8912d"])
"""From purple (low) to orange (high), which colour-blind readers tell apart too (after Brewer's PuOr)."""


def coloured(
    texts: Sequence[str],
    values: ArrayLike,
    *,
    titles: Sequence[str],
    label: str,
    key: Sequence[str],
    limits: tuple[float, float] = (0.0, 1.0),
    colours: Colormap = BLUE_RED,
) -> Figure:
    """Draw the same texts in every panel, their symbols on colours that tell a number; above all, the key of the scale.

    Args:
        texts: what is written in each panel, column by column.
        values: `[panels, texts, symbols]`, a number for every symbol; the symbol is plain where it is not finite.
            Texts are flush right: a shorter one lacks the first symbols.
        titles: one a panel; may have several lines.
        label: the quantity and its unit.
        key: what the key says of each colour, from low to high; their number is the number of colours.
        limits: the lowest and highest number on the scale; numbers beyond get the colour of the end.
        colours: from low to high.

    Raises:
        InputError: no panel or text, or values, titles, key or limits that do not fit.
    """
    grid = np.asarray(values, dtype=np.float64)
    width = max(map(len, texts), default=0)
    where = "in figures.coloured"
    if not width or grid.shape != (len(titles), len(texts), width) or not len(titles):
        raise InputError(
            f"values of shape {list(grid.shape)} for {len(titles)} titles and {len(texts)} texts of {width} symbols",
            where,
            "give [panels, texts, symbols], and a title for each panel",
        )
    if not key or not limits[0] < limits[1]:
        raise InputError(f"limits {limits} and {len(key)} names of colours", where, "let limits rise, name each colour")
    headings = [title.split("\n") for title in titles]
    head, longest = max(map(len, headings)), max(len(line) for lines in headings for line in lines)
    rows, panel, across = _layout(len(texts), width, len(titles), head, longest)
    height = rows + head + 1
    lefts, tops = np.divmod(np.arange(len(texts)), rows)
    lefts = lefts * (width + GAP)
    wide = max(across * panel - BETWEEN, BOX * len(key))
    canvas = np.zeros((KEY - 1 + -(-len(titles) // across) * height, wide, 4), np.uint8)
    canvas[0, : BOX * len(key)] = np.repeat(_shades(colours, len(key)), BOX, axis=0)
    corners = [(number % across * panel, KEY + number // across * height + head) for number in range(len(titles))]
    for (left, top), found in zip(corners, _painted(grid, limits, _shades(colours, len(key))), strict=True):
        for place, (x, y) in enumerate(zip(lefts + left, tops + top, strict=True)):
            canvas[y, x : x + width] = found[place]
    with styled():
        figure = Figure(figsize=((wide + 2) * LETTER / 72, (len(canvas) + 0.8) * LINE / 72))
        axes = figure.add_axes((0, 0, 1, 1))
        axes.imshow(canvas, extent=(0, wide, len(canvas), 0), aspect="auto", interpolation="none")
        between = [[(0, y), (wide, y)] for y in range(KEY, len(canvas))]
        axes.add_collection(LineCollection(between, colors="white", linewidths=0.8), autolim=False)
        axes.set(xlim=(-1, wide + 1), ylim=(len(canvas) + 0.4, -0.4))
        axes.set_axis_off()
        for k, name in enumerate(key):
            axes.text(BOX * (k + 0.5), 0.5, name, va="center_baseline", ha="center", fontsize=SIZE, parse_math=False)
        axes.text(0, 1.7, label, va="center", color=MUTED, fontsize=8.5, parse_math=False)
        for (left, top), title in zip(corners, titles, strict=True):
            axes.text(
                left,
                top - 0.35,
                title,
                fontsize=7.5,
                fontweight="bold",
                linespacing=1.25,
                va="bottom",
                parse_math=False,
            )
        lines = [text.rjust(width) for text in texts]
        _write(axes, lines, np.stack([lefts, tops], axis=1), np.asarray(corners))
    return figure


def _layout(texts: int, width: int, panels: int, head: int, longest: int) -> tuple[int, int, int]:
    """Lines of texts in a panel, letters from one panel to the next, and panels side by side: the shortest page on
    which titles of `head` lines, the longest of so many letters, stand apart."""
    found = []
    for columns in COLUMNS:
        rows = -(-texts // columns)
        panel = max(-(-texts // rows) * (width + GAP) - GAP, longest) + BETWEEN
        across = int(np.clip((WIDEST * 72 / LETTER + BETWEEN) // panel, 1, panels))
        found.append((-(-panels // across) * (rows + head + 1), rows, panel, across))
    return min(found)[1:]


def _shades(colours: Colormap, count: int) -> NDArray[np.uint8]:
    """So many colours from low to high, `[colours, 4]`."""
    return colours(np.linspace(0, 1, count), bytes=True)


def _painted(values: NDArray[np.float64], limits: tuple[float, float], shades: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The colour of every number, `[..., 4]`; none where it is not finite."""
    share = np.nan_to_num((values - limits[0]) / (limits[1] - limits[0]))
    level = np.clip(np.floor(share * len(shades)), 0, len(shades) - 1).astype(int)
    return np.where(np.isfinite(values)[..., None], shades[level], np.uint8(0))


def _write(axes: Axes, texts: Sequence[str], places: NDArray[np.int64], corners: NDArray[np.int64]) -> None:
    """Draws the same texts in every panel: one path, which stands at every corner."""
    font = FontProperties(family="monospace")
    path = Path.make_compound_path(
        *(
            TextPath((left * LETTER, -(top + 0.74) * LINE), text, size=SIZE, prop=font)
            for text, (left, top) in zip(texts, places, strict=True)
        )
    )
    written = PathCollection([path], offsets=corners, offset_transform=axes.transData, facecolors=INK, linewidths=0)
    written.set_transform(Affine2D().scale(1 / 72) + axes.figure.dpi_scale_trans)
    axes.add_collection(written, autolim=False)
