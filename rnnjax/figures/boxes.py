"""Symbols in boxes over the values of a network's units, and such values as training goes on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.collections import PolyCollection
from matplotlib.colors import LinearSegmentedColormap, Normalize, hsv_to_rgb, to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from rnnjax.config import InputError
from rnnjax.figures.style import COLOURS, INK, key_below, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from numpy.typing import ArrayLike, NDArray

CYAN_WHITE_RED = LinearSegmentedColormap.from_list("cyan_white_red", ["#00ffff", "#ffffff", "#ff0000"])
SAFE = ("#f4f4f2", "#e69f00", "#0072b2")  # lightness tells the first from the others, and yellow against blue these two
EDGE = "#b9b7b1"  # of a box, so that a white one is seen
GAP = 0.35  # boxes between the symbols and the units
MOST_WIDE = 13.0  # inches


def symbol_colours(count: int, *, safe: bool = False) -> NDArray[np.float64]:
    """A colour for each of `count` symbols, ``[count, 3]``: of three, red, green and blue.

    Args:
      count: symbols.
      safe: colours that colour-blind readers, too, can tell apart: of three, nearly white, orange and blue.
    """
    if safe:
        names = SAFE[:count] if count <= len(SAFE) else [COLOURS[k % len(COLOURS)] for k in range(count)]
        return np.asarray([to_rgb(name) for name in names])
    return hsv_to_rgb([(k / max(count, 3), 1.0, 1.0) for k in range(count)])


def blended(probabilities: ArrayLike, colours: ArrayLike) -> NDArray[np.float64]:
    """Colours mixed in the shares of `probabilities` (``[time, symbols]``): ``[time, 3]``.

    With red, green and blue, the probabilities are the colour.
    """
    return np.clip(np.asarray(probabilities, np.float64) @ np.asarray(colours, np.float64), 0.0, 1.0)


def symbol_boxes(
    symbols: Sequence[str],
    colours: ArrayLike,
    values: ArrayLike | None = None,
    *,
    key: Mapping[str, Any] | None = None,
    numbers: Sequence[int] | None = None,
    heading: str = "drawn",
    key_title: str = "colours:",
    label: str = "value of the unit",
    limit: float = 1.0,
    safe: bool = False,
) -> Figure:
    """Draw a row of boxes with a symbol in each, and under it a row of boxes a unit, coloured by the unit's value.

    Args:
      symbols: the printable name of each symbol, one a box.
      colours: of the symbols' boxes, red, green and blue from 0 to 1: ``[time, 3]``.
      values: of the units, ``[units, time]``; none draws the symbols alone. Values that are not finite are grey.
      key: colours by what they mean, shown above the boxes.
      numbers: which unit each row is, where not all are shown; counted from 0 otherwise.
      heading: what the row of symbols is.
      key_title: what the key is of.
      label: the quantity and its unit, beside the key of values.
      limit: the value of the full colour; beyond it colours stay the same, and the key has an arrow.
      safe: values from blue over white to red, negative ones marked by a bar, so that nobody needs to tell hues apart;
        otherwise from cyan over white to red.

    Raises:
      InputError: arrays of other shapes, of other lengths than `symbols`, or empty.
    """
    shades, grid = _checked(symbols, colours, values, numbers, limit)
    units, time = grid.shape
    box = float(np.clip((MOST_WIDE - 1.6) / time, 0.06, 0.24))  # inches
    height = 0.95 + box * (1 + (GAP + units if units else 0))
    with styled():
        figure = Figure(figsize=(max(4.8, 1.6 + box * time), height), layout="constrained")
        axes = figure.add_subplot()
        _draw_boxes(axes, 0.0, shades[None])
        for place, (symbol, shade) in enumerate(zip(symbols, shades, strict=True)):
            _write(axes, place, symbol, shade, box)
        ticks, names = [0.5], [heading]
        if units:
            top = 1 + GAP
            colour_map = matplotlib.colormaps["RdBu_r"] if safe else CYAN_WHITE_RED
            colour_map = colour_map.with_extremes(bad="#9a9a9a")
            scale = Normalize(-limit, limit)
            _draw_boxes(axes, top, colour_map(scale(np.ma.masked_invalid(grid)))[..., :3])
            if safe:
                _mark_negative(axes, top, grid / limit, box)
            ticks += [top + row + 0.5 for row in range(units)]
            names += [f"unit {k}" for k in (range(units) if numbers is None else numbers)]
            _value_key(figure, axes, colour_map, scale, label + (", \N{MINUS SIGN} below zero" if safe else ""), grid)
        axes.set_yticks(ticks, names)
        axes.set(xlim=(-0.05, time + 0.05), ylim=(1.05 + (GAP + units if units else 0), -0.05), aspect="equal")
        axes.set_xticks([])
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        if key:
            _symbol_key(axes, key, key_title)
    return figure


def film(
    frames: ArrayLike,
    *,
    names: Sequence[str],
    symbols: Sequence[str] | None = None,
    numbers: Sequence[int] | None = None,
    label: str = "value of the unit",
    limit: float | None = None,
    xlabel: str = "symbol read",
) -> Figure:
    """Draw what units do over the same passage at several times of training, one strip under the other.

    Args:
      frames: ``[frames, units, time]``. Values that are not finite are grey.
      names: what each frame is, such as `epoch 3`.
      symbols: the printable name of the symbol read at each step, under the last strip.
      numbers: which unit each row of a strip is; counted from 0 otherwise.
      label: the quantity and its unit, beside the colour bar.
      limit: the value of the darkest colours, by default the greatest magnitude there is.
      xlabel: what a column is.

    Raises:
      InputError: arrays or names of other shapes or lengths, or empty.
    """
    grid, bound = _checked_film(frames, names, symbols, numbers, limit)
    count, units, time = grid.shape
    row, column = float(np.clip(1.0 / units, 0.06, 0.17)), float(np.clip((MOST_WIDE - 2.6) / time, 0.05, 0.15))
    gap = 0.09 / row  # rows between strips
    height = row * (count * units + (count - 1) * gap)
    with styled():
        figure = Figure(figsize=(max(5.6, 2.6 + column * time), 0.9 + height), layout="constrained")
        axes = figure.add_subplot()
        colour_map = matplotlib.colormaps["RdBu_r"].with_extremes(bad="#9a9a9a")
        tops = [number * (units + gap) for number in range(count)]
        image = None
        for top, strip in zip(tops, grid, strict=True):
            image = axes.imshow(
                np.ma.masked_invalid(strip),
                cmap=colour_map,
                vmin=-bound,
                vmax=bound,
                extent=(-0.5, time - 0.5, top + units, top),
                aspect="auto",
                interpolation="none",
            )
        assert image is not None
        axes.set(xlim=(-0.5, time - 0.5), ylim=(tops[-1] + units, 0), xlabel=xlabel)
        axes.set_yticks([top + units / 2 for top in tops], list(names))
        for text in axes.get_yticklabels():
            text.set_parse_math(False)
        axes.tick_params(axis="y", length=0, pad=4 if row < 0.11 else 16)
        if row >= 0.11:
            shown = range(units) if numbers is None else numbers
            axes.yaxis.remove_overlapping_locs = False  # the middle row's number stands beside the name of its frame
            places = [(top + k + 0.5, str(unit)) for top in tops for k, unit in enumerate(shown)]
            axes.set_yticks([y for y, _ in places], [name for _, name in places], minor=True, fontsize=6.5)
            axes.tick_params(axis="y", which="minor", length=0, pad=2)
        axes.spines[:].set_visible(False)
        if symbols is not None and column >= 0.07:
            axes.set_xticks(
                range(time), list(symbols), family="monospace", fontsize=min(9, column * 80), parse_math=False
            )
            axes.tick_params(axis="x", length=0, pad=2, labelcolor=INK)
        bar = figure.colorbar(image, ax=axes, label=label, aspect=28, pad=0.012, extend=_beyond(grid, bound))
        bar.outline.set_visible(False)  # pyright: ignore[reportCallIssue]
    return figure


def _draw_boxes(axes: Axes, top: float, shades: NDArray[np.float64]) -> None:
    """Boxes of one unit's side from `top` down, in colours ``[rows, time, 3]``."""
    rows, time, _ = shades.shape
    corners = np.asarray([(0, 0), (1, 0), (1, 1), (0, 1)], np.float64)
    places = np.stack(np.meshgrid(np.arange(time), np.arange(rows) + top), axis=-1).reshape(-1, 1, 2)
    axes.add_collection(
        PolyCollection(list(places + corners), facecolors=shades.reshape(-1, 3), edgecolors=EDGE, linewidths=0.6)
    )


def _mark_negative(axes: Axes, top: float, shares: NDArray[np.float64], box: float) -> None:
    """A bar in every box with a negative value, of the full colour's value: black, or white where it is dark."""
    for colour, marked in ((INK, (shares < -0.02) & (shares > -0.7)), ("white", shares <= -0.7)):
        rows, columns = np.nonzero(marked)
        axes.plot(columns + 0.5, rows + top + 0.5, "_", color=colour, markersize=box * 22, markeredgewidth=0.9)


def _write(axes: Axes, place: int, symbol: str, shade: NDArray[np.float64], box: float) -> None:
    """A symbol in its box, in whichever of black and white stands out (WCAG 2.1, relative luminance)."""
    linear = np.where(shade <= 0.04045, shade / 12.92, ((shade + 0.055) / 1.055) ** 2.4)
    light = float(linear @ (0.2126, 0.7152, 0.0722)) > 0.18
    axes.text(
        place + 0.5,
        0.53,
        symbol,
        ha="center",
        va="center",
        color=INK if light else "white",
        family="monospace",
        fontsize=box * 46 / max(1, 0.62 * len(symbol)),
        parse_math=False,
    )


def _symbol_key(axes: Axes, key: Mapping[str, Any], title: str) -> None:
    patches = [Patch(facecolor=colour, edgecolor=EDGE, linewidth=0.6, label=name) for name, colour in key.items()]
    legend = axes.legend(
        handles=[Patch(alpha=0, label=title), *patches],
        loc="lower left",
        bbox_to_anchor=(0, 1.0),
        ncols=len(patches) + 1,
        frameon=False,
        handlelength=1.1,
        handleheight=1.1,
        columnspacing=1.4,
        borderaxespad=0.0,
        borderpad=0.2,
    )
    legend.get_patches()[0].set_visible(False)
    for text in legend.get_texts()[1:]:
        text.set(family="monospace", color=INK)
    for text in legend.get_texts():
        text.set_parse_math(False)


def _value_key(
    figure: Figure, axes: Axes, colour_map: Colormap, scale: Normalize, label: str, grid: NDArray[np.float64]
) -> None:
    assert scale.vmax is not None
    bar = key_below(
        figure,
        axes,
        ScalarMappable(scale, colour_map),
        label,
        extend=_beyond(grid, scale.vmax),
        ticks=np.linspace(-scale.vmax, scale.vmax, 5),
        format="{x:g}",
    )
    bar.outline.set(edgecolor=EDGE, linewidth=0.6)


def _beyond(grid: NDArray[np.float64], bound: float) -> str:
    """Whether the key of values has arrows: both, as its middle is zero."""
    return "both" if np.max(np.abs(grid), initial=0.0, where=np.isfinite(grid)) > bound else "neither"


def _checked(
    symbols: Sequence[str], colours: ArrayLike, values: ArrayLike | None, numbers: Sequence[int] | None, limit: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Colours and values as arrays, values with no units where there are none."""
    where, time = "in figures.symbol_boxes", len(symbols)
    shades = np.asarray(colours, np.float64)
    grid = np.zeros((0, time)) if values is None else np.asarray(values, np.float64)
    if not time or shades.shape != (time, 3) or not np.all((shades >= 0) & (shades <= 1)):
        raise InputError(
            f"colours of shape {list(shades.shape)} for {time} symbols",
            where,
            "give at least one symbol, and red, green and blue from 0 to 1 for each",
        )
    if grid.ndim != 2 or grid.shape[1] != time:
        raise InputError(
            f"values of shape {list(grid.shape)} for {time} symbols", where, "give [units, time], a column a symbol"
        )
    _check_numbers(numbers, len(grid), where)
    if not limit > 0:
        raise InputError(f"limit is {limit}", where, "give a limit above zero")
    return shades, grid


def _checked_film(
    frames: ArrayLike,
    names: Sequence[str],
    symbols: Sequence[str] | None,
    numbers: Sequence[int] | None,
    limit: float | None,
) -> tuple[NDArray[np.float64], float]:
    """The frames as an array, and the value of the darkest colours."""
    where, grid = "in figures.film", np.asarray(frames, np.float64)
    if grid.ndim != 3 or grid.size == 0:
        raise InputError(f"frames of shape {list(grid.shape)}", where, "give [frames, units, time], all above zero")
    if len(names) != len(grid):
        raise InputError(f"{len(names)} names for {len(grid)} frames", where, "give one a frame")
    if symbols is not None and len(symbols) != grid.shape[2]:
        raise InputError(f"{len(symbols)} symbols for {grid.shape[2]} time steps", where, "give one a column")
    _check_numbers(numbers, grid.shape[1], where)
    if limit is not None and not limit > 0:
        raise InputError(f"limit is {limit}", where, "give a limit above zero, or None")
    return grid, limit or float(np.max(np.abs(grid), initial=0.0, where=np.isfinite(grid))) or 1.0


def _check_numbers(numbers: Sequence[int] | None, units: int, where: str) -> None:
    if numbers is not None and len(numbers) != units:
        raise InputError(f"{len(numbers)} numbers for {units} units", where, "give one a unit")
