"""Weights: matrices by name, and the eigenvalues of the recurrent ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Circle
from matplotlib.ticker import MaxNLocator

from rnnjax.config import InputError
from rnnjax.figures.parts import Scale, heading, legend_over, matrix, panels, plain
from rnnjax.figures.style import COLOURS, INK, MUTED, label_key, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import ArrayLike, NDArray

WIDE, TALL = 9.0, 3.6  # inches, of a matrix at most
NARROW, SHORT = 1.1, 0.22  # inches, of a matrix at least
CELL = 0.16  # inches, of a weight at most
LEFT, RIGHT, ABOVE, BELOW = 0.6, 0.25, 0.48, 0.32  # inches, around a matrix
GATES = 0.15  # inches, of the space above, for the names of gates
DOTS = 150  # of an inch: more weights than this can be seen, the strongest of several stands for them
PANEL = 2.75  # inches, of a spectrum


class _Panel(NamedTuple):
    """A matrix, its gates, and where it is drawn, in inches from the upper left."""

    name: str
    grid: NDArray[np.float64]
    gates: Sequence[str]
    width: float
    height: float
    left: float
    top: float


def weights(
    matrices: Mapping[str, ArrayLike],
    *,
    gates: Mapping[str, Sequence[str]] | None = None,
    limit: float | None = None,
    label: str = "weight",
) -> Figure:
    """Draw weight matrices, a row an input and a column an output, on one scale: purple below zero, orange above.

    A matrix of more weights than can be seen shows the strongest one of each small block, and says so.

    Args:
      matrices: by name, ``[rows, columns]``; a bias ``[columns]`` is a single row. What is not finite
        is grey.
      gates: of the matrices named here, the gates whose blocks of columns stand side by side, in their order.
      limit: the value of the fullest colours, by default what one weight in 200 exceeds in the middle one of the
        matrices, biases aside; what goes beyond has the same colour, and the key an arrow.
      label: what is drawn, and its unit.

    Raises:
      InputError: nothing to draw, another shape, gates of an unknown matrix or that do not divide its columns.
    """
    where = "in figures.weights"
    grids = _checked(matrices, where)
    blocks = _checked_gates(grids, gates, where)
    limit = _usual(grids) if limit is None else limit
    scale = Scale(np.concatenate([grid.ravel() for grid in grids.values()]), limit, where)
    placed, width, height = _placed(grids, blocks)
    key = 0.35  # inches, for the key above all
    with styled():
        figure = Figure(figsize=(width, height + key))
        for panel in placed:
            box = (panel.left, height - panel.top - panel.height, panel.width, panel.height)
            axes = figure.add_axes(tuple(np.divide(box, (width, height + key, width, height + key))))
            _draw_matrix(axes, panel, scale)
        bar_box = figure.add_axes((LEFT / width, 1 - 0.2 / (height + key), 1.9 / width, 0.09 / (height + key)))
        bar = figure.colorbar(
            ScalarMappable(scale.norm, scale.colours), cax=bar_box, orientation="horizontal", extend=scale.extend
        )
        bar.outline.set_visible(False)  # pyright: ignore[reportCallIssue]
        bar.locator = MaxNLocator(nbins=4, symmetric=True)
        label_key(bar_box, label)
    return figure


def spectrum(matrices: Mapping[str, ArrayLike], *, gates: Mapping[str, Sequence[str]] | None = None) -> Figure:
    """Draw the eigenvalues of recurrent matrices in the complex plane, with the unit circle: a panel a matrix.

    Of a linear system, what lies inside the circle dies out and what lies outside grows. Each panel's title has the
    spectral radius, the greatest magnitude there is.

    Args:
      matrices: by name, ``[units, units]``; or ``[units, gates x units]`` where `gates` names the blocks.
      gates: of the matrices named here, the gates of their blocks of columns, each of which has a panel.

    Raises:
      InputError: nothing to draw, matrices or blocks that are not square, or numbers that are not finite.
    """
    where = "in figures.spectrum"
    grids = _checked(matrices, where)
    blocks = _checked_gates(grids, gates, where)
    found: dict[str, NDArray[np.complex128]] = {}
    for name, grid in grids.items():
        names = [f"{name}, gate {gate}" for gate in blocks[name]] or [name]
        for title, block in zip(names, np.split(grid, len(names), axis=1), strict=True):
            if block.shape[0] != block.shape[1] or not np.all(np.isfinite(block)):
                raise InputError(
                    f"{title} of shape {list(block.shape)}",
                    where,
                    "give square matrices of finite numbers, or name the gates of their blocks",
                )
            found[title] = np.linalg.eigvals(block).astype(np.complex128)
    across = min(4, len(found))
    down = -(-len(found) // across)
    side = PANEL if across > 1 else 1.35 * PANEL
    reach = 1.08 * max(1.0, *(float(np.abs(values).max()) for values in found.values()))
    with styled():
        figure = Figure(figsize=(0.7 + side * across, 0.75 + (side + 0.2) * down), layout="constrained")
        grid = panels(figure, len(found), across)
        marked = np.linspace(-1, 1, 5) if reach < 2 else MaxNLocator(nbins=5, symmetric=True).tick_values(-reach, reach)
        for axes, (title, values) in zip(grid, found.items(), strict=True):
            _draw_spectrum(axes, title, values)
            axes.set(xticks=marked, yticks=marked, xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal")
        figure.supxlabel("real part", color=MUTED, fontsize=10)
        figure.supylabel("imaginary part", color=MUTED, fontsize=10)
        circle = Line2D([], [], color=INK, marker="o", markerfacecolor="none", linestyle="none", markersize=9)
        circle.set_label("unit circle")
        legend_over(figure, [circle, *grid[0].get_legend_handles_labels()[0]], handletextpad=0.2)
    return figure


def _checked(matrices: Mapping[str, ArrayLike], where: str) -> dict[str, NDArray[np.float64]]:
    if not matrices:
        raise InputError("no matrix", where, "give one or more by name, each [rows, columns]")
    return {
        name: matrix(np.atleast_2d(np.asarray(grid, np.float64)), f"{name!r}", where, "give [rows, columns], not empty")
        for name, grid in matrices.items()
    }


def _checked_gates(
    grids: Mapping[str, NDArray[np.float64]], gates: Mapping[str, Sequence[str]] | None, where: str
) -> dict[str, Sequence[str]]:
    for name, names in (gates or {}).items():
        if name not in grids:
            raise InputError(f"gates of {name!r}, which is not drawn", where, f"choose among {', '.join(grids)}")
        if names and grids[name].shape[1] % len(names):
            raise InputError(
                f"{len(names)} gates for the {grids[name].shape[1]} columns of {name!r}",
                where,
                "name gates whose blocks have one width",
            )
    return {name: (gates or {}).get(name, ()) for name in grids}


def _usual(grids: Mapping[str, NDArray[np.float64]]) -> float | None:
    """The magnitude of large weights in the middle one of the matrices; None if all are zero.

    Of one scale for all, a matrix of larger weights than the others would leave these pale.
    """
    chosen = [grid for grid in grids.values() if len(grid) > 1] or list(grids.values())
    sizes = [np.abs(grid[np.isfinite(grid)]) for grid in chosen]
    large = [np.quantile(size, 0.995, method="higher") for size in sizes if np.any(size > 0)]
    return float(np.quantile(large, 0.5, method="higher")) or None if large else None


def _placed(
    grids: Mapping[str, NDArray[np.float64]], blocks: Mapping[str, Sequence[str]]
) -> tuple[list[_Panel], float, float]:
    """Panels in rows, as many side by side as there is room for, and the inches that they take together."""
    placed: list[_Panel] = []
    left = top = row = widest = 0.0
    for name, grid in grids.items():
        rows, columns = grid.shape
        cell = min(CELL, WIDE / columns, TALL / rows)
        title = 0.08 * len(_title(name, grid, _stride(grid)))
        width, height = max(NARROW, cell * columns), max(SHORT, cell * rows)
        room = LEFT + max(width, title) + RIGHT
        above = ABOVE if blocks[name] else ABOVE - GATES
        if left and left + room > LEFT + WIDE + RIGHT + 0.01:
            left, top, row = 0.0, top + row, 0.0
        placed.append(_Panel(name, grid, blocks[name], width, height, left + LEFT, top + above))
        left, row = left + room, max(row, above + height + BELOW)
        widest = max(widest, left)
    return placed, max(widest, 4.0), top + row


def _stride(grid: NDArray[np.float64]) -> tuple[int, int]:
    """How many rows and columns share a point of the picture."""
    return max(1, -(-grid.shape[0] // int(TALL * DOTS))), max(1, -(-grid.shape[1] // int(WIDE * DOTS)))


def _strongest(grid: NDArray[np.float64], rows: int, columns: int) -> NDArray[np.float64]:
    """The value of greatest magnitude in each block; what is not finite is stronger than all."""
    padded = np.pad(grid, ((0, -grid.shape[0] % rows), (0, -grid.shape[1] % columns)))
    shape = (padded.shape[0] // rows, rows, padded.shape[1] // columns, columns)
    blocks = padded.reshape(shape).swapaxes(1, 2).reshape(shape[0], shape[2], -1)
    best = np.argmax(np.where(np.isfinite(blocks), np.abs(blocks), np.inf), axis=2)
    return np.take_along_axis(blocks, best[..., None], axis=2)[..., 0]


def _title(name: str, grid: NDArray[np.float64], stride: tuple[int, int]) -> str:
    shape = f"{name}  {grid.shape[1]:,}" if len(grid) == 1 else f"{name}  {grid.shape[0]:,} × {grid.shape[1]:,}"
    return shape if stride == (1, 1) else f"{shape}, the strongest of each {stride[0]} × {stride[1]}"


def _draw_matrix(axes: Axes, panel: _Panel, scale: Scale) -> None:
    rows, columns = panel.grid.shape
    stride = _stride(panel.grid)
    axes.imshow(
        np.ma.masked_invalid(_strongest(panel.grid, *stride)),
        cmap=scale.colours,
        norm=scale.norm,
        aspect="auto",
        interpolation="none",
        extent=(-0.5, columns - 0.5, rows - 0.5, -0.5),
    )
    axes.set_title(
        _title(panel.name, panel.grid, stride),
        loc="left",
        color=INK,
        fontsize=9,
        pad=15 if panel.gates else 4,
        parse_math=False,
    )
    for number, gate in enumerate(panel.gates):
        block = columns / len(panel.gates)
        if number:
            for colour, width in (("white", 2.4), (INK, 0.9)):  # seen on dark weights, too
                axes.axvline(number * block - 0.5, color=colour, linewidth=width)
        axes.annotate(
            gate,
            ((number + 0.5) / len(panel.gates), 1),
            xycoords="axes fraction",
            xytext=(0, 3),
            textcoords="offset points",
            ha="center",
            color=MUTED,
            fontsize=9,
            parse_math=False,
        )
    if len(panel.gates) > 1:  # units are counted anew in each gate
        units = columns // len(panel.gates)
        marks = [gate * units + unit for gate in range(len(panel.gates)) for unit in sorted({0, units // 2})]
        axes.set_xticks(marks, [f"{mark % units:,}" for mark in marks])
    else:
        axes.xaxis.set_major_locator(MaxNLocator(nbins=max(1, int(panel.width / 0.6)), integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=max(1, int(panel.height / 0.4)), integer=True))
    if rows == 1:
        axes.set_yticks([])
    axes.tick_params(length=2, labelsize=7.5, pad=2)
    axes.spines[:].set_linewidth(0.6)


def _draw_spectrum(axes: Axes, title: str, values: NDArray[np.complex128]) -> None:
    size = np.abs(values)
    axes.add_patch(Circle((0, 0), 1.0, fill=False, edgecolor=INK, linewidth=1.0, zorder=2))
    dot = 16 if len(values) <= 150 else 7
    for outside, colour, mark, name in ((False, COLOURS[0], "o", "inside it"), (True, COLOURS[1], "^", "outside it")):
        here = values[(size > 1) == outside]
        axes.scatter(
            here.real,
            here.imag,
            s=dot * (1 + outside),
            marker=mark,
            color=colour,
            alpha=0.75,
            linewidths=0,
            label=name,
            zorder=3,
        )
    plain(axes, rules="both")
    radius = f"spectral radius {size.max():.3g}; {np.sum(size > 1):,} of {len(values):,} outside"
    heading(axes, f"{title}\n{radius}", fontsize=8.5)
