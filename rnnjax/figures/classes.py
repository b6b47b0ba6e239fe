"""Which classes are taken for each other, and the images it happened to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import matplotlib
import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from rnnjax.config import InputError
from rnnjax.figures.style import COLOURS, INK, MUTED, RULE, styled

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

CELL = 0.42  # inches, of a class taken for another
IMAGE = 0.95  # inches, of an image
MARKS = ("o", "s", "^", "D", "v", "x", "+")  # one a colour
FEW = 5.0  # examples that have the full colour at least, so that a single error does not shout


def confusion(counts: ArrayLike, labels: Sequence[str], *, what: str = "examples") -> Figure:
    """Draw how often each class (a row) is taken for each class (a column): what is right in blue, errors in orange.

    Each colour has a scale of its own, for right answers are many and errors few.

    Args:
        counts: `[classes, classes]`, the true class first.
        labels: names of the classes.
        what: what is counted.

    Raises:
        InputError: `counts` is not square, is empty, holds a number below zero, or has other classes than `labels`.
    """
    grid = np.asarray(counts, dtype=np.float64)
    if grid.shape != (len(labels), len(labels)) or not grid.size or not np.all(grid >= 0):
        raise InputError(
            f"counts of shape {list(grid.shape)} for {len(labels)} classes",
            "in figures.confusion",
            "give [classes, classes], no number below zero",
        )
    right = np.eye(len(labels), dtype=bool)
    shares = np.zeros_like(grid)
    for part in (right, ~right):
        shares[part] = grid[part] / max(FEW, grid[part].max(initial=0.0))
    with styled():
        side = CELL * len(labels)
        figure = Figure(figsize=(side + 1.4, side + 0.9), layout="constrained")
        axes = figure.add_subplot()
        blues, oranges = (matplotlib.colormaps[name](0.1 + 0.4 * shares) for name in ("Blues", "Oranges"))
        colours = np.where(right[..., None], blues, oranges)
        axes.imshow(np.where(grid[..., None] > 0, colours, 1.0), interpolation="none")
        for (row, column), count in np.ndenumerate(grid):
            if count:
                axes.text(column, row, f"{count:,.0f}", ha="center", va="center", color=INK, fontsize=8.5)
        axes.set_xticks(np.arange(len(labels) + 1) - 0.5, minor=True)
        axes.set_yticks(np.arange(len(labels) + 1) - 0.5, minor=True)
        axes.grid(which="minor", color=RULE, linewidth=0.7)
        names = [str(label) for label in labels]
        level = max(map(len, names)) <= 5
        axes.set_xticks(range(len(names)), names, rotation=0 if level else 90, parse_math=False)
        axes.set_yticks(range(len(names)), names, parse_math=False)
        axes.tick_params(which="both", length=0)
        axes.spines[:].set_visible(False)
        axes.set(xlabel=f"taken for ({what})", ylabel="what it is")
    return figure


def pictures(images: ArrayLike, titles: Sequence[str], *, columns: int = 8) -> Figure:
    """Draw images side by side, ink on paper, each with a title of one or two lines.

    Args:
        images: `[images, rows, columns]`, from 0 (paper) to 1 (ink).
        titles: one an image.
        columns: images in a row, at most.

    Raises:
        InputError: no image, or titles that do not fit.
    """
    held = np.asarray(images, dtype=np.float64)
    if held.ndim != 3 or not len(held) or len(held) != len(titles):
        raise InputError(
            f"images of shape {list(held.shape)} for {len(titles)} titles",
            "in figures.pictures",
            "give [images, rows, columns], one at least, and a title for each",
        )
    columns = min(columns, len(held))
    rows = -(-len(held) // columns)
    lines = max(title.count("\n") + 1 for title in titles)
    with styled():
        figure = Figure(figsize=(IMAGE * columns + 0.2, (IMAGE + 0.17 * lines) * rows + 0.2), layout="constrained")
        grid = figure.subplots(rows, columns, squeeze=False)
        for axes in grid.flat:
            axes.set_axis_off()
        for axes, image, title in zip(grid.flat, held, titles, strict=False):
            axes.set_axis_on()
            axes.imshow(image, cmap="Greys", vmin=0, vmax=1, interpolation="none")
            axes.set_title(title, fontsize=8.5, color=INK, pad=2.5, parse_math=False)
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_color(MUTED)
    return figure


def plane(
    points: ArrayLike,
    classes: ArrayLike,
    labels: Sequence[str],
    *,
    axes_named: tuple[str, str],
    what: str,
    regions: ArrayLike | None = None,
    extent: float = 1.0,
) -> Figure:
    """Draw points of a plane, each class with a colour and a mark of its own.

    Args:
        points: `[points, 2]`.
        classes: of each point, by its place among `labels`, `[points]`.
        labels: names of the classes.
        axes_named: what the two coordinates are.
        what: what the classes are of, over the key.
        regions: the class answered to everywhere in the square from `-extent` to `extent`, `[side, side]`, the second
            coordinate first; shaded behind the points.
        extent: of that square.

    Raises:
        InputError: points and classes that do not fit together.
    """
    places, kinds = np.asarray(points, dtype=np.float64), np.asarray(classes)
    if places.ndim != 2 or places.shape[1] != 2 or kinds.shape != places.shape[:1] or len(labels) > len(MARKS):
        raise InputError(
            f"points of shape {list(places.shape)}, classes of shape {list(kinds.shape)}, {len(labels)} labels",
            "in figures.plane",
            f"give [points, 2], [points], and at most {len(MARKS)} labels",
        )
    with styled():
        figure = Figure(figsize=(5.2, 5.0), layout="constrained")
        axes = figure.add_subplot()
        if regions is not None:
            shades = np.asarray([to_rgb(colour) for colour in COLOURS])
            picture = 1 - 0.16 * (1 - shades[np.asarray(regions, dtype=int)])
            axes.imshow(picture, origin="lower", extent=(-extent, extent, -extent, extent), interpolation="nearest")
        for kind, label in enumerate(labels):
            here = places[kinds == kind]
            axes.plot(
                *here.T,
                MARKS[kind],
                color=COLOURS[kind],
                markersize=4.5,
                markerfacecolor="none",
                markeredgewidth=0.9,
                label=label,
            )
        axes.axhline(0, color=MUTED, linewidth=0.5, zorder=0.5)
        axes.axvline(0, color=MUTED, linewidth=0.5, zorder=0.5)
        axes.set(xlabel=axes_named[0], ylabel=axes_named[1])
        axes.set_aspect("equal", adjustable="datalim")
        axes.margins(0.06 if regions is None else 0)
        axes.spines[["top", "right"]].set_visible(False)
        key = axes.legend(
            title=what,
            alignment="left",
            loc="lower left",
            bbox_to_anchor=(-0.01, 1.0),
            ncols=len(labels),
            frameon=False,
            borderaxespad=0.2,
            handletextpad=0.2,
        )
        for text in key.get_texts():
            text.set_parse_math(False)
    return figure
