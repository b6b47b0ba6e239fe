"""Parts that several figures have: scales around zero, symbols under columns, legends above, labels apart."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.ticker import FuncFormatter, MaxNLocator

from rnnjax.config import InputError
from rnnjax.figures.coloured import PURPLE_ORANGE
from rnnjax.figures.style import INK, MUTED, RULE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure
    from numpy.typing import ArrayLike, NDArray

MISSING = "#c9c9c9"  # of what is not finite
PURPLE, ORANGE = "#5e4fa2", "#c8650a"  # below and above zero, where a line or a bar is drawn
SMALLEST = 5.5  # points, of letters that can be read in print
LONGEST_KEY = 4.0  # inches
LEGEND: dict[str, Any] = {"frameon": False, "handlelength": 2.0, "columnspacing": 1.4, "fontsize": 9}


class Scale:
    """Colours of numbers: purple below zero and orange above; of numbers that are never below, orange alone.

    Args:
      values: what is drawn.
      limit: the value of the fullest colour, by default the greatest magnitude there is.
      where: of an error.
      pale: colours that letters can be read on.

    Raises:
      InputError: `limit` is not above zero.
    """

    def __init__(self, values: NDArray[np.float64], limit: float | None, where: str, *, pale: bool = False):
        if limit is not None and not limit > 0:
            raise InputError(f"limit is {limit}", where, "give a limit above zero, or None")
        finite = values[np.isfinite(values)]
        self.limit = limit or float(np.max(np.abs(finite), initial=0.0)) or 1.0
        self.signed = bool(np.any(finite < 0))
        colours = PURPLE_ORANGE if pale else matplotlib.colormaps["PuOr_r"]
        if not self.signed:
            colours = ListedColormap(colours(np.linspace(0.5, 1, 256)))
        self.colours: Colormap = colours.with_extremes(bad=MISSING)
        self.norm = Normalize(-self.limit if self.signed else 0.0, self.limit)
        over, under = bool(np.any(finite > self.limit)), bool(np.any(finite < -self.limit))
        self.extend = ("neither", "min", "max", "both")[under + 2 * over]

    def shades(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """The colour of each number, ``[..., 3]``."""
        return self.colours(self.norm(np.ma.masked_invalid(values)))[..., :3]


def matrix(values: ArrayLike, what: str, where: str, fix: str, *, dimensions: int = 2) -> NDArray[np.float64]:
    """The values as an array of so many dimensions, none of them empty.

    Raises:
      InputError: another shape, or nothing in it.
    """
    grid = np.asarray(values, np.float64)
    if grid.ndim != dimensions or grid.size == 0:
        raise InputError(f"{what} of shape {list(grid.shape)}", where, fix)
    return grid


def numbered(numbers: Sequence[int] | None, units: int, where: str) -> list[int]:
    """Which unit each one is: as told, or counted from 0.

    Raises:
      InputError: another count of numbers than of units.
    """
    if numbers is not None and len(numbers) != units:
        raise InputError(f"{len(numbers)} numbers for {units} units", where, "give one a unit")
    return list(range(units)) if numbers is None else [int(number) for number in numbers]


def one_a_step(values: Sequence[Any] | None, steps: int, what: str, where: str) -> None:
    """Checks that there is one of `values` for each of so many steps, where there are any.

    Raises:
      InputError: there are more or fewer.
    """
    if values is not None and len(values) != steps:
        raise InputError(f"{len(values)} {what} for {steps} steps", where, "give one a step")


def visible(symbol: str) -> str:
    """A symbol as it can be seen: `␣` a space, `⏎` a line break, `⇥` a tab, and a combining mark on a ring."""

    def seen(character: str) -> str:
        mark = {" ": "␣", "\n": "⏎", "\t": "⇥"}.get(character)
        return mark or (character if character.isprintable() else ascii(character)[1:-1])

    text = "".join(map(seen, symbol))
    return "\N{DOTTED CIRCLE}" + text if text and unicodedata.combining(text[0]) else text


def symbols_below(axes: Axes, symbols: Sequence[str] | None, inches: float, *, start: int = 0) -> bool:
    """Writes the symbols under their columns, level or upright; where they cannot be read there, numbers of steps.

    Args:
      axes: with step `k` at place `k`.
      symbols: one a step; none: numbers.
      inches: from one step to the next.
      start: the number of the first step.

    Returns:
      Whether symbols are written.
    """
    names = [visible(symbol) for symbol in symbols or ()]
    column = inches * 72
    size = min(9.0, column * 1.25)
    level = bool(names) and max(map(len, names)) * 0.6 * size <= column
    size = size if level else min(9.0, column / 1.15)
    if not names or size < SMALLEST:
        steps = np.ptp(axes.get_xlim())
        axes.xaxis.set_major_locator(MaxNLocator(nbins=int(np.clip(inches * steps / 0.55, 2, 10)), integer=True))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda place, _: f"{place + start:,.0f}"))
        return False
    axes.set_xticks(
        range(len(names)),
        names,
        family="monospace",
        fontsize=size,
        color=INK,
        rotation=0 if level else 90,
        parse_math=False,
    )
    axes.tick_params(axis="x", length=0, pad=2)
    return True


def legend_above(axes: Axes, handles: Sequence[Any] | None = None, **options: Any) -> None:
    """A legend over `axes`, flush left, in as many columns as there is room for; options are those of `Axes.legend`."""
    found = list(handles) if handles is not None else axes.get_legend_handles_labels()[0]
    if not found:
        return
    inches = axes.get_figure(root=True).get_figwidth() * axes.get_position().width  # pyright: ignore[reportOptionalMemberAccess]
    settings = {"loc": "lower left", "bbox_to_anchor": (-0.01, 1.0), "borderaxespad": 0.2, **LEGEND}
    legend = axes.legend(handles=found, **{**settings, "ncols": _columns(found, inches), **options})
    for text in legend.get_texts():
        text.set_parse_math(False)


def legend_over(figure: Figure, handles: Sequence[Any], **options: Any) -> None:
    """A legend over all panels of a figure, flush left; options are those of `Figure.legend`."""
    settings = {"loc": "outside upper left", **LEGEND, "ncols": _columns(handles, figure.get_figwidth())}
    legend = figure.legend(handles=list(handles), **{**settings, **options})
    for text in legend.get_texts():
        text.set_parse_math(False)


def _columns(handles: Sequence[Any], inches: float) -> int:
    """The most columns of a legend, filled one after the other, that have room side by side."""
    lengths = [len(str(handle.get_label())) for handle in handles]
    for columns in range(len(lengths), 1, -1):
        rows = -(-len(lengths) // columns)
        if sum(max(lengths[k : k + rows]) + 8 for k in range(0, len(lengths), rows)) <= inches * 14:
            return columns
    return 1


def panels(figure: Figure, count: int, across: int) -> list[Axes]:
    """So many axes on common scales, at most `across` side by side; the lowest of each column has numbers below."""
    across = min(across, count)
    grid = figure.subplots(-(-count // across), across, sharex=True, sharey=True, squeeze=False)
    for axes in grid.flat[count:]:
        axes.set_axis_off()
    for axes in grid.flat[max(0, count - across) : count]:
        axes.tick_params(axis="x", labelbottom=True)
    return list(grid.flat[:count])


def plain(axes: Axes, *, rules: str = "y") -> None:
    """Axes without a frame above and at the right, with faint rules across (`y`, `x`, `both`)."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis=rules, color=RULE, linewidth=0.7)  # pyright: ignore[reportArgumentType]
    axes.set_axisbelow(True)


def heading(axes: Axes, text: str, **options: Any) -> None:
    """A title of `axes`, flush left."""
    axes.set_title(text, **{"loc": "left", "color": INK, "fontsize": 9.5, "parse_math": False, **options})


def key_beside(figure: Figure, axes: Any, colours: ScalarMappable, label: str, **options: Any) -> None:
    """A key of colours at the right of `axes`, one or many; options are those of `Figure.colorbar`."""
    shrink = min(1.0, LONGEST_KEY / figure.get_figheight())
    bar = figure.colorbar(colours, ax=axes, aspect=28, pad=0.012, shrink=shrink, anchor=(0.0, 1.0), **options)
    bar.set_label(label, color=MUTED, parse_math=False)
    bar.outline.set_visible(False)  # pyright: ignore[reportCallIssue]


def apart(points: NDArray[np.float64], distance: float) -> list[int]:
    """Which of the points, taken in their order, are so far apart from all taken before that a label fits at each.

    Args:
      points: ``[points, 2]``.
      distance: at least, in the same unit.
    """
    taken: list[int] = []
    for number, point in enumerate(points):
        others = points[taken]
        if np.all(np.isfinite(point)) and np.all(np.hypot(*(others - point).T) >= distance):
            taken.append(number)
    return taken
