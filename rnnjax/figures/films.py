"""The film of learning: what units do over one passage, checkpoint by checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from rnnjax.config import InputError
from rnnjax.figures.parts import Scale, heading, key_beside, matrix, numbered, one_a_step, panels, symbols_below
from rnnjax.figures.style import INK, MUTED, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import ArrayLike

FEW = 8  # units that have a strip of their own
MOST_STRIPS, MOST_FRAMES = 24, 40
ACROSS = 5  # frames side by side
WIDE = 12.0  # inches
WRITTEN = 0.08  # inches, that a symbol needs


def film_strip(
    values: ArrayLike,
    checkpoints: Sequence[int],
    *,
    symbols: Sequence[str] | None = None,
    numbers: Sequence[int] | None = None,
    by: Literal["unit", "checkpoint"] | None = None,
    label: str = "activation",
    limit: float | None = None,
) -> Figure:
    """Draw what units do over the same passage as training goes on: purple below zero, orange above.

    Args:
      values: ``[checkpoints, steps, units]``. Those that are not finite are grey.
      checkpoints: the training step of each.
      symbols: what was read at each step, written below where there is room.
      numbers: which unit each one is; counted from 0 otherwise.
      by: `unit`, a strip a unit whose rows are checkpoints, the earliest at the top; or `checkpoint`, a heat map a
        checkpoint side by side, whose rows are units. By default the first of up to 8 units.
      label: the quantity and its unit, beside the key.
      limit: the value of the fullest colours, by default the greatest magnitude there is.

    Raises:
      InputError: shapes that do not fit, or more strips or frames than can be read.
    """
    where = "in figures.film_strip"
    grid = matrix(values, "values", where, "give [checkpoints, steps, units], none empty", dimensions=3)
    frames, steps, units = grid.shape
    if len(checkpoints) != frames:
        raise InputError(f"{len(checkpoints)} training steps for {frames} checkpoints", where, "give one a checkpoint")
    one_a_step(symbols, steps, "symbols", where)
    names = numbered(numbers, units, where)
    scale = Scale(grid, limit, where)
    if by is None:
        by = "unit" if units <= FEW else "checkpoint"
    if by not in ("unit", "checkpoint"):
        raise InputError(f"by={by!r}", where, "choose unit or checkpoint")
    count, most = (units, MOST_STRIPS) if by == "unit" else (frames, MOST_FRAMES)
    if count > most:
        raise InputError(f"{count} pictures of one {by} each", where, f"choose at most {most} {by}s")
    told = [f"{step:,}" for step in checkpoints]
    with styled():
        if by == "unit":
            return _by_unit(grid, told, symbols, names, scale, label)
        return _by_checkpoint(grid, told, symbols, names, scale, label)


def _by_unit(
    grid: np.ndarray, told: list[str], symbols: Sequence[str] | None, names: list[int], scale: Scale, label: str
) -> Figure:
    frames, steps, units = grid.shape
    row, column = float(np.clip(1.4 / frames, 0.035, 0.17)), float(np.clip((WIDE - 2.0) / steps, 0.02, 0.15))
    width = max(6.4, 2.0 + column * steps)
    figure = Figure(figsize=(width, 0.75 + (row * frames + 0.3) * units), layout="constrained")
    strips = figure.subplots(units, 1, sharex=True, squeeze=False)[:, 0]
    kept = np.arange(frames - 1, -1, -max(1, int(np.ceil(0.14 / row))))  # rows with room for their number
    for number, (axes, unit) in enumerate(zip(strips, names, strict=True)):
        _draw(axes, grid[:, :, number], scale)
        heading(axes, f"unit {unit}", fontsize=9, pad=3)
        axes.set_yticks(kept, [told[k] for k in kept], fontsize=7.5)
        axes.tick_params(axis="x", length=0)
    figure.supylabel("training step", color=MUTED, fontsize=10)
    _below(strips[-1], symbols, (width - 2.0) / steps)
    key_beside(figure, list(strips), ScalarMappable(scale.norm, scale.colours), label, extend=scale.extend)
    return figure


def _by_checkpoint(
    grid: np.ndarray, told: list[str], symbols: Sequence[str] | None, names: list[int], scale: Scale, label: str
) -> Figure:
    frames, steps, units = grid.shape
    numbered_rows = units <= 32
    across = min(frames, ACROSS)
    if symbols is not None and numbered_rows and steps * WRITTEN <= WIDE - 1.7:  # so that they can be read
        across = min(across, int((WIDE - 1.7) / (steps * WRITTEN)))
    down = -(-frames // across)
    column = float(np.clip((WIDE - 1.7) / across / steps, 0.004, 0.13))
    height = float(np.clip((0.13 if numbered_rows else 0.02) * units, 1.2, 4.6))
    width = max(5.0, 1.7 + column * steps * across)
    figure = Figure(figsize=(width, 0.7 + (height + 0.3) * down), layout="constrained")
    pictures = panels(figure, frames, across)
    for axes, frame, step in zip(pictures, grid, told, strict=True):
        _draw(axes, frame.T, scale)
        heading(axes, f"step {step}", fontsize=9, pad=3)
        axes.tick_params(axis="x", length=0)
        axes.tick_params(axis="y", labelsize=7.5)
    if numbered_rows:
        pictures[0].set_yticks(range(units), [str(unit) for unit in names])
    else:
        pictures[0].yaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
        pictures[0].yaxis.set_major_formatter(
            lambda place, _: str(names[int(place)]) if 0 <= place < units and place == int(place) else ""
        )
    figure.supylabel("unit", color=MUTED, fontsize=10)
    for axes in pictures[-across:]:
        _below(axes, symbols, (width - 1.7) / across / steps)
    key_beside(figure, pictures, ScalarMappable(scale.norm, scale.colours), label, extend=scale.extend)
    return figure


def _draw(axes: Axes, picture: np.ndarray, scale: Scale) -> None:
    axes.imshow(
        np.ma.masked_invalid(picture),
        cmap=scale.colours,
        norm=scale.norm,
        aspect="auto",
        interpolation="none",
    )
    axes.tick_params(axis="y", length=0, labelcolor=INK)
    axes.spines[:].set_visible(False)


def _below(axes: Axes, symbols: Sequence[str] | None, column: float) -> None:
    written = symbols_below(axes, symbols, column)
    axes.set_xlabel("symbol read" if written else "step")
