"""Pictures of results: beside ours, over the size of a network, and under the roof of the machine."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

from rnnjax.benchmarks.harness import OURS, PEERS
from rnnjax.benchmarks.results_files import Row, grouped
from rnnjax.figures.parts import apart, heading, legend_over, plain
from rnnjax.figures.style import COLOURS, INK, MUTED, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MARKERS = "osD^vP"
SHAPE = ("cell", "units", "batch", "time", "vocab", "embedding", "features", "outputs", "read", "heads")
"""What a network is, as fields of `rnnjax.benchmarks.workloads.Workload`."""
AXES = {"units": "units", "batch": "rows of a batch", "time": "time steps", "members": "members"}
"""What times are drawn over, and its label."""
CELLS = {"elman": "Elman", "lstm": "LSTM", "gru": "GRU"}
PANEL = 3.4  # inches
LETTERS = 13  # of a legend, an inch
FLOOR_LINE: dict[str, Any] = {"color": MUTED, "linestyle": (0, (2, 2)), "linewidth": 1.2}


def beside_ours(rows: Sequence[Row]) -> Figure | None:
    """Draw each candidate's time over ours, a line a workload, the spread over rounds as a bar.

    Args:
      rows: of one question, each with what it measured as `label`; rows of one label share a line.

    Returns:
      None where no row has a ratio.
    """
    found = [row for row in rows if row.get("ratio")]
    if not found:
        return None
    names = list(dict.fromkeys(row["label"] for row in found))
    candidates = ordered(row["candidate"] for row in found)
    with styled():
        figure = Figure(figsize=(7.4, 1.3 + 0.34 * len(names)), layout="constrained")
        axes = figure.add_subplot()
        for candidate in candidates:
            own = [row for row in found if row["candidate"] == candidate]
            # Side by side, so that bars of one line can be told apart.
            aside = 0.5 * ((candidates.index(candidate) + 0.5) / len(candidates) - 0.5)
            places = [names.index(row["label"]) + aside for row in own]
            ratios = np.array([row["ratio"] for row in own], np.float64)
            least, greatest = (
                [row.get(f"ratio_{end}") or row["ratio"] for row in own] for end in ("least", "greatest")
            )
            look = _look(candidate, candidates)
            axes.hlines(places, least, greatest, color=look["color"], linewidth=1.2, alpha=0.6)
            axes.plot(ratios, places, linestyle="", **{**look, "markersize": 5})
        axes.axvline(1, color=INK, linewidth=1)
        axes.set_xscale("log")
        low, high = axes.get_xlim()
        axes.set(xlim=(min(low, 0.8), max(high, 1.25)), ylim=(len(names) - 0.5, -0.5))
        axes.set_xlabel(f"time over that of {OURS}: right of the rule, {OURS} is faster")
        axes.set_yticks(range(len(names)), names, color=INK, parse_math=False)
        axes.tick_params(axis="y", length=0)
        _numbered(axes, "x", _times)
        plain(axes, rules="x")
        _legend(figure, candidates)
    return figure


def over_size(rows: Sequence[Row], free: str, unit: str) -> Figure | None:
    """Draw times over one size on logarithmic axes, a panel for each set of rows that share all else.

    Args:
      rows: of one question, each with the fields `SHAPE` of its network.
      free: the size, one of `AXES`.
      unit: of what a time is of, such as `step`.

    Returns:
      None where nothing was measured at two sizes.
    """
    sized = [each for row in rows if row.get("seconds") and row.get(free) for each in _sized(row, free)]
    fields = ("question", "members", "dtype", "threads", "decoder_units", "answers", *SHAPE)
    groups = grouped(sorted(sized, key=lambda row: row[free]), (name for name in fields if name != free))
    groups = {of: group for of, group in groups.items() if _has_line(group, free)}
    if not groups:
        return None
    candidates = ordered(row["candidate"] for group in groups.values() for row in group)
    across = min(3, len(groups))
    down = -(-len(groups) // across)
    with styled():
        figure = Figure(figsize=(max(6.4, PANEL * across + 0.4), 0.9 + 2.9 * down), layout="constrained")
        grid = figure.subplots(down, across, squeeze=False)
        for axes in grid.flat[len(groups) :]:
            axes.set_axis_off()
        for axes, group in zip(grid.flat, groups.values(), strict=False):
            _draw_sizes(axes, group, free, candidates)
            axes.set_ylabel(f"time of a {unit}")
        floor = any(row.get("floor") for group in groups.values() for row in group)
        _legend(figure, candidates, ["floor"] if floor else [])
    return figure


def roofline(rows: Sequence[Row]) -> Figure | None:
    """Draw achieved operations a second over operations a byte, under the roof of what the machine was seen to do.

    Args:
      rows: of one question, each with what it measured as `label`.

    Returns:
      None where no row has a floor.
    """
    found = [row for row in rows if row.get("seconds") and _known(row.get("floor"))]
    if not found:
        return None
    groups = grouped(found, ("dtype", "threads"))
    candidates = ordered(row["candidate"] for row in found)
    with styled():
        figure = Figure(figsize=(max(6.8, 5.2 * len(groups)), 4.3), layout="constrained")
        for axes, ((dtype, threads), group) in zip(
            figure.subplots(1, len(groups), squeeze=False)[0], groups.items(), strict=True
        ):
            _draw_roof(axes, group, candidates)
            told = [str(dtype or ""), f"{threads} thread{'s' * (threads != 1)}" if threads else ""]
            heading(axes, ", ".join(filter(None, told)))
        _legend(figure, candidates)
    return figure


def seconds_text(seconds: float, _position: int | None = None) -> str:
    """A time in three digits: `1.03 s`, `812 ms`, `17.2 µs`."""
    if not math.isfinite(seconds) or seconds <= 0:
        return f"{seconds:g} s"
    scale, unit = next((each for each in ((1.0, "s"), (1e-3, "ms")) if seconds >= 0.9995 * each[0]), (1e-6, "µs"))
    value = seconds / scale
    return f"{value:,.0f} {unit}" if value >= 99.95 else f"{value:.3g} {unit}"


def _sized(row: Row, free: str) -> list[Row]:
    """The row, and where its input is as wide as its layer also the same as one whose input grows with the units."""
    grows = free == "units" and row.get("features") == row["units"]
    return [row, {**row, "features": "as many as units"}] if grows else [row]


def _has_line(group: Iterable[Row], free: str) -> bool:
    sizes: dict[str, set[Any]] = {}
    for row in group:
        sizes.setdefault(row["candidate"], set()).add(row[free])
    return any(len(each) > 1 for each in sizes.values())


def _draw_sizes(axes: Axes, group: Sequence[Row], free: str, candidates: Sequence[str]) -> None:
    for candidate in candidates:
        held = {row[free]: row for row in group if row["candidate"] == candidate}  # of the same size, the last
        own = list(held.values())
        least, greatest = ([row.get(f"{end}_s") or row["seconds"] for row in own] for end in ("least", "greatest"))
        look = _look(candidate, candidates)
        axes.fill_between(list(held), least, greatest, color=look["color"], alpha=0.12, linewidth=0)
        axes.plot(list(held), [row["seconds"] for row in own], linewidth=1.5, **look)
    floors = {row[free]: row["floor"]["seconds"] for row in group if row.get("floor")}
    axes.plot(list(floors), list(floors.values()), zorder=1, **FLOOR_LINE)
    axes.set(xscale="log", yscale="log", xlabel=AXES[free])
    sizes = sorted({row[free] for row in group})
    axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
    axes.xaxis.set_minor_locator(NullLocator())
    _numbered(axes, "y", seconds_text)
    plain(axes)
    heading(axes, _shared(group[0], free))


def _shared(row: Row, free: str) -> str:
    """What the rows of a panel have in common, in words."""
    parts = [CELLS.get(row.get("cell", ""), "")]
    counts = {"units": "units", "batch": "rows", "time": "steps", "members": "members"}
    for name, word in counts.items():
        if name != free and row.get(name) and not (name == "members" and row[name] == 1):
            parts.append(f"{row[name]:,} {word}")
    parts += [str(row["dtype"])] if row.get("dtype") not in (None, "float32") else []
    return ", ".join(filter(None, parts))


def _draw_roof(axes: Axes, group: Sequence[Row], candidates: Sequence[str]) -> None:
    floors = [row["floor"] for row in group]
    peak = max(floor["peak_flops"] for floor in floors)
    bandwidth = max(floor["bandwidth"] for floor in floors)
    intensity = [_point(row)[0] for row in group]
    ridge = peak / bandwidth
    reach = np.geomspace(min(*intensity, ridge) / 3, max(*intensity, ridge) * 3, 200)
    axes.plot(reach, np.minimum(peak, bandwidth * reach) / 1e9, color=INK, linewidth=1.2)
    for candidate in candidates:
        own = [_point(row) for row in group if row["candidate"] == candidate]
        axes.plot([x for x, _ in own], [y for _, y in own], linestyle="", **_look(candidate, candidates))
    axes.set(xscale="log", yscale="log", xlim=(reach[0], reach[-1]), xlabel="operations a byte", ylabel="GFLOP/s")
    low, high = axes.get_ylim()
    axes.set_ylim(low / 2, high * 2)  # room for names below and above
    for side in ("x", "y"):
        _numbered(axes, side, _plainly)
    plain(axes, rules="both")
    told: dict[str, Any] = {"fontsize": 8.5, "color": MUTED, "textcoords": "offset points"}
    peak_text = f"{peak / 1e9:,.0f} GFLOP/s, the fastest product"
    axes.annotate(peak_text, (reach[-1], peak / 1e9), xytext=(0, 4), ha="right", va="bottom", **told)
    middle = math.sqrt(reach[0] * ridge)
    slope_text = f"{bandwidth / 1e9:.3g} GB/s"
    axes.annotate(slope_text, (middle, bandwidth * middle / 1e9), xytext=(7, -7), ha="left", va="top", **told)
    _name_lowest(axes, group)


def _point(row: Row) -> tuple[float, float]:
    """Operations a byte, and billions of operations a second."""
    floor = row["floor"]
    return floor["operations"] / floor["bytes"], floor["operations"] / row["seconds"] / 1e9


def _name_lowest(axes: Axes, group: Sequence[Row]) -> None:
    """Names what was measured under its lowest point, where there is room for it."""
    lowest: dict[str, tuple[float, float]] = {}
    for row in group:
        point = _point(row)
        lowest[row["label"]] = min(lowest.get(row["label"], point), point, key=lambda each: each[1])
    names = sorted(lowest, key=lambda label: lowest[label][1])
    points = np.array([lowest[label] for label in names])
    figure = axes.get_figure(root=True)
    assert figure is not None  # the axes were made by one
    figure.draw_without_rendering()  # where a point lies is known only then
    inches = axes.transData.transform(points) / figure.dpi
    # A name is wide and low: it needs much room beside it and little above.
    for number in apart(inches / (1.1, 0.16), 1.0):
        axes.annotate(
            names[number],
            (points[number][0], points[number][1]),
            xytext=(0, -5),
            textcoords="offset points",
            ha="center",
            va="top",
            fontsize=7.5,
            color=INK,
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 0.5},
            parse_math=False,
        )


def _known(floor: Any) -> bool:
    return bool(floor) and all(floor.get(name) for name in ("operations", "bytes", "peak_flops", "bandwidth"))


def ordered(candidates: Iterable[str]) -> list[str]:
    """Ours first, then peers as their colours are ordered, then others."""
    known = (OURS, *PEERS)
    found = dict.fromkeys(candidates)
    return sorted(found, key=lambda name: (_family(name) is None, known.index(_family(name) or OURS), len(name), name))


def _family(candidate: str) -> str | None:
    """Whose a candidate such as `2 x torch` is."""
    return next((name for name in (OURS, *PEERS) if name in candidate), None)


def _look(candidate: str, candidates: Sequence[str]) -> dict[str, Any]:
    """Colour by peer, marker by which of its candidates it is."""
    family = _family(candidate)
    others = [name for name in candidates if _family(name) == family]
    index = (OURS, *PEERS).index(family) if family else 5 + others.index(candidate)
    nth = others.index(candidate)
    hollow = {"markerfacecolor": "white"} if nth else {}
    return {
        "color": COLOURS[index % len(COLOURS)],
        "marker": MARKERS[nth % len(MARKERS)],
        "markersize": 4.5,
        "zorder": 3 if family == OURS else 2,
        **hollow,
    }


def _legend(figure: Figure, candidates: Sequence[str], besides: Sequence[str] = ()) -> None:
    lines = [Line2D([], [], label=name, linewidth=1.5, **_look(name, candidates)) for name in candidates]
    lines += [Line2D([], [], label=name, **FLOOR_LINE) for name in besides]
    longest = max(len(str(line.get_label())) for line in lines) + 8
    legend_over(figure, lines, ncols=max(1, min(len(lines), int(figure.get_figwidth() * LETTERS / longest))))


def _numbered(axes: Axes, side: str, text: Any) -> None:
    """Numbers on a logarithmic axis, as many as fit: of a short one not the powers of ten alone."""
    axis = axes.xaxis if side == "x" else axes.yaxis
    low, high = axes.get_xlim() if side == "x" else axes.get_ylim()
    decades = math.log10(high / low)
    axis.set_major_locator(LogLocator(subs=(1, 2, 5) if decades < 2.5 else (1,), numticks=12))
    axis.set_major_formatter(FuncFormatter(text))
    axis.set_minor_formatter(NullFormatter())
    axis.set_minor_locator(NullLocator())


def _times(value: float, _position: int | None = None) -> str:
    return f"{value:g}×"


def _plainly(value: float, _position: int | None = None) -> str:
    return f"{value:,g}"
