"""Members of a sweep on axes: what was chosen for each, as levels or numbers, and what became of it, as a range."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullLocator

from rnnjax.figures.style import COLOURS, MUTED

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

Direction = Literal["min", "max"]

LEVELS = 8  # different numbers that are levels
GROUPS = 5  # that more numbers are cut into
MOST_NAMES = 24  # of levels on an axis
ROOM = 1.5  # times the range of the better 95 % is shown
LARGEST = 1e30  # value that is told from infinity
LONGEST = 28  # letters of a name
NONE_AT = -0.09  # the place on an axis of numbers, from 0 to 1, of members that have none


class Span(NamedTuple):
    """What is shown of a metric: an axis from `low` to `high`. Values beyond stand at its edge."""

    low: float
    high: float
    log: bool
    known: bool = True
    """Whether any member has a finite value."""

    def clip(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """The values, those beyond at the edge."""
        return np.clip(values, self.low, self.high)

    def beyond(self, values: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Which values are beyond, infinite ones among them."""
        return (values < self.low) | (values > self.high)

    def place(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Places along the axis, from 0 to 1."""
        if self.log:
            return (np.log(np.maximum(values, self.low)) - np.log(self.low)) / np.log(self.high / self.low)
        return (values - self.low) / (self.high - self.low)

    def ticks(self) -> list[float]:
        """Round values within."""
        if self.log:
            tens = np.log10(self.high / self.low)
            between = (1, 1.5, 2, 3, 5, 7) if tens < 1 else (1, 2, 5) if tens < 2 else (1, 3) if tens < 4 else (1,)
            found = LogLocator(subs=between, numticks=9).tick_values(self.low, self.high)
        else:
            found = MaxNLocator(nbins=6).tick_values(self.low, self.high)
        slack = 1e-9 * (self.high - self.low)
        return [float(tick) for tick in found if self.low - slack <= tick <= self.high + slack]


class Scale(NamedTuple):
    """A choice as an axis: where on it, from 0 to 1, each member stands."""

    name: str
    places: NDArray[np.float64]
    ticks: list[tuple[float, str]]
    between: list[float]
    """Places of small ticks, which have no name."""
    levels: int
    """How many there are, or 0 on an axis of numbers."""


def span_of(values: NDArray[np.float64], direction: Direction | None) -> Span:
    """The range of the values; if a direction is given, without those of the worst 5 % that are far from the others.

    It is logarithmic where values are above zero and differ by a factor of more than 30.
    """
    finite = values[np.abs(values) < LARGEST]
    if not len(finite):
        return Span(0.0, 1.0, False, known=False)
    low, high = float(finite.min()), float(finite.max())
    low = low if low <= 0 else max(low, 1 / LARGEST)
    if low == high:
        wide = abs(low) * 0.05 or 0.5
        return Span(low - wide, high + wide, False)
    bulk = float(np.quantile(finite, 0.05 if direction == "max" else 0.95))
    log = low > 0 and direction != "max" and max(bulk / low, (high / low) ** 0.5) > 30
    if direction:
        best = low if direction == "min" else high
        reach = np.abs(_along(finite, log) - _along(best, log)) <= ROOM * abs(_along(bulk, log) - _along(best, log))
        if bulk != best:
            low, high = float(finite[reach].min()), float(finite[reach].max())
    return Span(low, high, log)


def _along(values: Any, log: bool) -> Any:
    return np.log(np.maximum(values, 1 / LARGEST)) if log else values


def number(value: float) -> str:
    """A number as it is written at an axis."""
    return f"{value:,.0f}" if 1000 <= abs(value) < 1e6 and value == round(value) else f"{value:.4g}"


def column_of(values: Any) -> NDArray[Any]:
    """A choice as an array, whatever its entries are."""
    if isinstance(values, np.ndarray):
        return values
    entries = list(values)
    return np.array([*entries, None], dtype=object)[:-1]


def _sorted_out(column: NDArray[Any]) -> tuple[NDArray[np.bool_], NDArray[Any], bool]:
    """Which members have no choice; those of the others, as numbers or texts; and whether they are numbers."""
    entries = column.tolist()
    missing = np.array([each is None or each != each for each in entries], bool)
    present = [each for each in entries if not (each is None or each != each)]
    numeric = all(isinstance(each, int | float) and not isinstance(each, bool) for each in present)
    if numeric:
        return missing, np.array(present, np.float64), True
    return missing, np.array([str(each).lower() if isinstance(each, bool) else str(each) for each in present]), False


def scale_of(name: str, column: NDArray[Any], log: bool) -> Scale:
    """A choice as an axis, logarithmic if asked for and all its numbers are above zero."""
    missing, present, numeric = _sorted_out(column)
    levels, codes = np.unique(present, return_inverse=True)
    places = np.full(len(column), NONE_AT)
    if not numeric or len(levels) <= LEVELS:
        count = len(levels) + bool(missing.any())
        places[~missing] = (codes + 0.5) / count
        places[missing] = (count - 0.5) / count
        told = [*(_exact(level) for level in levels.tolist()), "none"][:count]
        ticks = [((k + 0.5) / count, shortened(text)) for k, text in enumerate(told)]
        return Scale(name, places, ticks[:: -(-count // MOST_NAMES)], [], count)
    span = Span(float(levels[0]), float(levels[-1]), log and bool(levels[0] > 0))
    places[~missing] = span.place(present)
    at = span.ticks()
    ticks = list(zip(span.place(np.array(at)).tolist(), map(number, at), strict=True))
    if missing.any():
        ticks = [(NONE_AT, "none"), *ticks]
    found = LogLocator(subs=range(2, 10), numticks=99).tick_values(span.low, span.high) if span.log else ()
    between = span.place(np.array([tick for tick in found if span.low < tick < span.high])).tolist()
    return Scale(name, places, ticks, between, 0)


def grouped(column: NDArray[Any]) -> tuple[dict[str, NDArray[np.intp]], bool]:
    """The rows of each group by its name, and whether the groups are in an order of numbers."""
    missing, present, numeric = _sorted_out(column)
    rows = np.flatnonzero(~missing)
    levels, codes = np.unique(present, return_inverse=True)
    if numeric and len(levels) > LEVELS:
        order = np.argsort(present, kind="stable")
        parts = np.array_split(order, GROUPS)
        named = dict(zip(_ranges([present[part] for part in parts]), (rows[part] for part in parts), strict=True))
    else:
        named = {_exact(level): rows[codes == k] for k, level in enumerate(levels.tolist())}
    if not numeric and len(named) > len(COLOURS):
        most = sorted(named, key=lambda name: -len(named[name]))[: len(COLOURS)]
        named = {name: named[name] for name in named if name in most}
    if missing.any():
        named["none"] = np.sort(np.append(named.get("none", []), np.flatnonzero(missing)).astype(np.intp))
    return named, numeric


def _ranges(parts: list[NDArray[np.float64]]) -> list[str]:
    """A name for each part of sorted numbers, with as few digits as tell them apart."""
    for digits in range(2, 18):
        ends = [[number(float(f"{part[k]:.{digits}g}")) for k in (0, -1)] for part in parts]
        names = [" to ".join(pair) for pair in ends]
        if len(set(names)) == len(names):
            return names
    return [f"{name}, {k + 1}" for k, name in enumerate(names)]


def _exact(level: float | str) -> str:
    """A level by all that tells it from others."""
    return level if isinstance(level, str) else f"{level:.15g}"


def shortened(name: str) -> str:
    """A name that has room beside an axis."""
    return name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…"


def course(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Lower quartile, median and upper quartile of rows, ``[3, points]``; NaN where most have no value."""
    ordered = np.sort(values, axis=0)  # NaN last
    counts = np.sum(~np.isnan(values), axis=0)
    places = [np.floor(share * np.maximum(counts - 1, 0) + 0.5).astype(int) for share in (0.25, 0.5, 0.75)]
    found = np.take_along_axis(ordered, np.stack(places), axis=0)
    return np.where(np.isfinite(found) & (2 * counts >= len(values)), found, np.nan)


def metric_axis(axes: Axes, span: Span, label: str) -> None:
    """The upright axis of a metric."""
    if not span.known:
        axes.text(0.5, 0.5, "no values yet", transform=axes.transAxes, ha="center", color=MUTED)
        axes.set_yticks([])
        return
    if span.log:
        axes.set_yscale("log")
        margin = (span.high / span.low) ** 0.04
        axes.set_ylim(span.low / margin, span.high * margin)
    else:
        margin = (span.high - span.low) * 0.04
        axes.set_ylim(span.low - margin, span.high + margin)
    axes.yaxis.set_major_locator(FixedLocator(span.ticks()))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: number(value)))
    axes.set_ylabel(label, parse_math=False)


def choice_axis(axes: Axes, scale: Scale, *, upright: bool = False) -> None:
    """The axis of a choice, across or upright."""
    low = NONE_AT if any(text == "none" for _, text in scale.ticks) and not scale.levels else 0.0
    at, names = [place for place, _ in scale.ticks], [text for _, text in scale.ticks]
    axis = axes.yaxis if upright else axes.xaxis
    axis.set_ticks(at, names, parse_math=False)
    axis.set_ticks(scale.between, minor=True)
    axis.set_label_text(scale.name, parse_math=False)
    (axes.set_ylim if upright else axes.set_xlim)(low - 0.03, 1.03)
    letters = sum(map(len, names))
    if not upright and letters > 34:
        axis.set_tick_params(rotation=90 if letters > 60 else 30)
