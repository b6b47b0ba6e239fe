"""Figures of a sweep: many members of one experiment, what was chosen for each, and what became of it.

A *choice* is an array with one entry a member: numbers, texts, true or false; None or NaN where a member has none. Up
to 8 different numbers, and all texts, are levels, drawn side by side at equal distances; more numbers have an axis,
logarithmic where the caller says so. The *value* of a member is one number of a metric. NaN is not drawn; an infinite
one, as of a member that diverged, is drawn at the edge, and so are values so bad that the others could not be told
apart. In colours, the best are dark and the worst pale; what stands out is orange.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import LinearSegmentedColormap, LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.patheffects import Normal, Stroke
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from rnnjax.config import InputError, nearest
from rnnjax.figures.members import (
    LEVELS,
    NONE_AT,
    Direction,
    Scale,
    Span,
    choice_axis,
    column_of,
    course,
    grouped,
    metric_axis,
    number,
    scale_of,
    shortened,
    span_of,
)
from rnnjax.figures.parts import key_beside, legend_above, legend_over, matrix, plain
from rnnjax.figures.style import COLOURS, INK, LINES, MUTED, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from numpy.typing import ArrayLike, NDArray

MANY = 400  # marks or lines, from where on they are pixels in an SVG and not paths
DOTS_PER_INCH = 110  # of those pixels
ACROSS = 3  # panels side by side
WINDOW, NARROWEST = 0.1, 9  # of a running median: share of the members, and members
GRID = 96  # points along each side of a contour map
CROWD = 320, 110, 4  # pixels upright and between two axes, and samples of a line in each
CONTRAST = 1.7
STANDS_OUT = COLOURS[1]
SHADES = LinearSegmentedColormap.from_list("shades", matplotlib.colormaps["viridis"](np.linspace(0, 0.95, 256)))
HALO = [Stroke(linewidth=3.6, foreground="white"), Normal()]


def curves_by_group(
    steps: ArrayLike,
    values: ArrayLike,
    groups: ArrayLike | Sequence[Any],
    *,
    key: str = "",
    label: str = "nats per symbol",
    xlabel: str = "step",
) -> Figure:
    """Draw the median course of the members that share a choice, in a band that holds their middle half.

    More than 8 different numbers are cut into 5 groups of equally many members; of more than 7 texts, those that most
    members have are drawn. A course ends where more than half of its members have ended.

    Args:
      steps: ``[points]``, increasing.
      values: ``[members, points]``; NaN where a member has no value. An infinite one, as after divergence, counts.
      groups: the choice of each member, ``[members]``.
      key: whose choice it is.
      label: the quantity and its unit.
      xlabel: what the steps count.

    Raises:
      InputError: shapes that do not fit, or nothing in them.
    """
    where = "in figures.curves_by_group"
    grid = matrix(values, "values", where, "give [members, points], neither empty")
    places, column = np.asarray(steps, np.float64), column_of(groups)
    if places.shape != grid.shape[1:] or len(column) != len(grid):
        raise InputError(
            f"{places.size} steps, {len(column)} choices, values of shape {list(grid.shape)}",
            where,
            "give a choice for each row, and a step for each column",
        )
    named, ordered = grouped(column)
    courses = np.stack([course(grid[rows]) for rows in named.values()])
    span = span_of(courses, None)
    if np.isfinite(medians := courses[:, 1]).any() and not span.log:  # a band may reach too far to be shown whole
        low, high = float(np.nanmin(medians)), float(np.nanmax(medians))
        room = 0.35 * (high - low) or np.inf
        span = span._replace(low=max(span.low, low - room), high=min(span.high, high + room))
    courses = span.clip(courses)
    with styled():
        figure = Figure(figsize=(7.2, 4.4), layout="constrained")
        axes = figure.add_subplot()
        handles = []
        for k, ((name, rows), (low, middle, high)) in enumerate(zip(named.items(), courses, strict=True)):
            colour: Any = COLOURS[k % len(COLOURS)]
            if ordered:
                colour = MUTED if name == "none" else SHADES(0.88 * k / max(1, len(named) - 1))
            style = "-" if ordered and name != "none" else LINES[k % len(LINES)]
            axes.fill_between(places, low, high, color=colour, alpha=0.14, linewidth=0)
            points = np.isfinite(middle).sum()
            (line,) = axes.plot(places, middle, color=colour, linestyle=style, marker="o" if points == 1 else None)
            line.set_label(shortened(name) + (f" ({len(rows):,})" if points else ": no values"))
            handles.append(line)
        metric_axis(axes, span, label)
        axes.set_xlabel(xlabel, parse_math=False)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=7))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: number(value)))
        axes.margins(x=0.02)
        plain(axes)
        told = f"{key}: " * bool(key) + "median and middle half of so many members"
        legend_above(axes, handles, handlelength=2.8, title=told, alignment="left", title_fontsize=9)
        axes.get_legend().get_title().set_parse_math(False)  # pyright: ignore[reportOptionalMemberAccess]
    return figure


def parallel(
    choices: Mapping[str, Any],
    values: ArrayLike,
    *,
    log: Collection[str] = (),
    label: str = "loss, nats per symbol",
    direction: Direction = "min",
    best: int = 10,
) -> Figure:
    """Draw each member as a line through what was chosen for it, to its value; the best stand out.

    Lines are coloured by the rank of their value. On levels, they are spread a little, so that they can be told apart.

    Args:
      choices: of each member, ``[members]`` by key, from left to right.
      values: ``[members]``.
      log: keys whose numbers are on a logarithmic axis.
      label: the quantity and its unit.
      direction: whether less (`min`) or more (`max`) is better.
      best: how many members stand out.

    Raises:
      InputError: no choice, arrays that differ in length, or an unknown key.
    """
    where = "in figures.parallel"
    scales, numbers = _checked(choices, values, log, where)
    span = span_of(numbers, direction)
    worst = np.inf if direction == "min" else -np.inf
    kept = np.flatnonzero(~np.isnan(numbers))
    kept = kept[np.argsort(numbers[kept] if direction == "max" else -numbers[kept], kind="stable")]  # the best last
    spread = (kept * 0.6180339887) % 1 - 0.5
    columns = [scale.places[kept] + spread * min(0.08, 0.5 / (scale.levels or np.inf)) for scale in scales]
    lines = np.stack([*columns, np.clip(span.place(numbers[kept]), 0, 1)], axis=1)
    with styled():
        width = float(np.clip(1.4 + 1.5 * len(scales), 5.6, 13.0))
        figure = Figure(figsize=(width, 4.6), layout="constrained", dpi=DOTS_PER_INCH)
        axes = figure.add_subplot()
        ahead = len(kept) - min(best, int(np.isfinite(numbers[kept]).sum()))
        ranks = np.linspace(1, 0, len(kept))
        if ahead:
            draw = _draw_lines if ahead <= MANY else _draw_crowd
            draw(axes, lines[:ahead], ranks[:ahead])
        for line in lines[ahead:]:
            axes.plot(line, color=STANDS_OUT, linewidth=1.4, path_effects=HALO, zorder=3)
        for place, scale in enumerate(scales):
            _draw_upright(axes, place, scale.ticks, scale.name)
        ticks = [(float(at), number(tick)) for tick in span.ticks() for at in span.place(np.array([tick]))]
        beyond = span.beyond(numbers)
        if beyond.any():
            edge = 1.0 if worst > 0 else 0.0
            ticks = [*((at, text) for at, text in ticks if abs(at - edge) > 0.05), (edge, "or worse")]
        _draw_upright(axes, len(scales), ticks, label, right=True)
        axes.set(xlim=(-0.02, len(scales) + 0.02), ylim=(NONE_AT - 0.03, 1.03))
        axes.set_axis_off()
        shown = [
            Line2D([], [], color=STANDS_OUT, linewidth=1.8, label=f"the best {len(kept) - ahead:,} of {len(kept):,}"),
            Line2D([], [], color=SHADES(0.12), linewidth=1.8, label="the better"),
            Line2D([], [], color=SHADES(0.9), linewidth=1.8, label="the worse"),
        ]
        legend_over(figure, shown)
    return figure


def importances(
    names: Sequence[str | Sequence[str]],
    shares: ArrayLike,
    nulls: ArrayLike,
    *,
    clear: Sequence[bool] | None = None,
    label: str = "share of the variance between members",
    most: int = 20,
) -> Figure:
    """Draw how much each choice explains, and each pair beyond its two choices, with what chance explains.

    Args:
      names: a key for a choice, by itself or in a sequence; two keys for a pair.
      shares: 1 being all, ``[names]``; drawn as 0 where below.
      nulls: what a share stays below by chance in most cases, ``[names]``, drawn as a grey range.
      clear: whether each is more than chance; by default whether it is greater than its null.
      label: what it is a share of.
      most: bars at most: the clear ones first, then those with the greatest shares.

    Raises:
      InputError: no name, or arrays that differ in length.
    """
    where = "in figures.importances"
    bars = matrix(shares, "shares", where, "give one for each name, one name at least", dimensions=1)
    limits = matrix(nulls, "nulls", where, "give one for each name, one name at least", dimensions=1)
    sure = np.asarray(bars > limits if clear is None else clear, bool)
    if not len(names) == len(bars) == len(limits) == len(sure):
        counts = f"{len(names)} names, {len(bars)} shares, {len(limits)} nulls, {len(sure)} of them judged"
        raise InputError(counts, where, "give one for each name")
    keys = [(name,) if isinstance(name, str) else tuple(name) for name in names]
    pairs = np.array([len(each) > 1 for each in keys])
    order = sorted(range(len(bars)), key=lambda k: (~sure[k], -bars[k]))[:most]
    order.sort(key=lambda k: (pairs[k], ~sure[k], -bars[k]))
    told = [" × ".join(keys[k]) for k in order]
    with styled():
        figure = Figure(figsize=(7.0, 1.35 + 0.27 * max(3, len(order))), layout="constrained")
        axes = figure.add_subplot()
        places = np.arange(len(order), dtype=float) + 0.45 * pairs[order]
        reach = np.maximum(bars[order], 0)
        colours = [("#b9b7b2", COLOURS[0], COLOURS[2])[int(sure[k]) * (1 + int(pairs[k]))] for k in order]
        axes.barh(places, reach, height=0.66, color=colours)
        axes.barh(places, np.maximum(limits[order], 0), height=0.9, color=INK, alpha=0.16)
        top = float(max(reach.max(), limits[order].max(initial=0), 1e-3))
        for place, share, null, k in zip(places, reach, np.maximum(limits[order], 0), order, strict=True):
            text = f"{100 * share:.1f} %" if sure[k] else "no clear effect"
            axes.annotate(
                text,
                (max(share, null), place),
                xytext=(5, 0),
                textcoords="offset points",
                va="center",
                color=INK if sure[k] else MUTED,
                fontsize=8.5,
            )
        axes.set_yticks(places, told, color=INK, fontsize=9, parse_math=False)
        axes.set_ylim(places[-1] + 0.6, -0.6)
        axes.set_xlim(0, top * 1.2)
        axes.tick_params(axis="y", length=0)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g} %"))
        axes.set_xlabel(label, parse_math=False)
        plain(axes, rules="x")
        axes.spines["left"].set_visible(False)
        kinds = [(COLOURS[0], "a choice", sure & ~pairs), (COLOURS[2], "two together, beyond both", sure & pairs)]
        handles = [Patch(color=colour, label=name) for colour, name, drawn in kinds if drawn[order].any()]
        handles.append(Patch(color=INK, alpha=0.16, label="what chance explains"))
        legend_above(axes, handles, handlelength=1.1, handleheight=1.0)
    return figure


def slices(
    choices: Mapping[str, Any],
    values: ArrayLike,
    *,
    log: Collection[str] = (),
    label: str = "loss, nats per symbol",
    direction: Direction = "min",
) -> Figure:
    """Draw the value of each member against each choice, a panel a choice, with the median of the members around.

    Args:
      choices: of each member, ``[members]`` by key.
      values: ``[members]``.
      log: keys whose numbers are on a logarithmic axis.
      label: the quantity and its unit.
      direction: whether less (`min`) or more (`max`) is better.

    Raises:
      InputError: no choice, arrays that differ in length, or an unknown key.
    """
    scales, numbers = _checked(choices, values, log, "in figures.slices")
    span = span_of(numbers, direction)
    across = min(ACROSS, len(scales))
    down = -(-len(scales) // across)
    with styled():
        size = (max(5.0, 1.0 + 3.1 * across), 0.7 + 2.6 * down)
        figure = Figure(figsize=size, layout="constrained", dpi=DOTS_PER_INCH)
        grid = figure.subplots(down, across, sharey=True, squeeze=False)
        for axes in grid.flat[len(scales) :]:
            axes.set_axis_off()
        for axes, scale in zip(grid.flat, scales, strict=False):
            _draw_slice(axes, scale, numbers, span)
            metric_axis(axes, span, "")
            choice_axis(axes, scale)
            plain(axes)
        figure.supylabel(label, color=MUTED, fontsize=10, parse_math=False)
        handles: list[Any] = [
            Line2D([], [], color=COLOURS[0], alpha=0.6, marker="o", markersize=4, linestyle="", label="a member"),
            Line2D([], [], color=STANDS_OUT, linewidth=1.8, label="median of those around"),
            Patch(color=STANDS_OUT, alpha=0.2, label="their middle half"),
        ]
        legend_over(figure, _with_beyond(handles, numbers, span))
    return figure


def contour(
    x: ArrayLike | Sequence[Any],
    y: ArrayLike | Sequence[Any],
    values: ArrayLike,
    *,
    members: ArrayLike | None = None,
    names: tuple[str, str] = ("x", "y"),
    log: Collection[str] = (),
    label: str = "loss, nats per symbol",
    direction: Direction = "min",
) -> Figure:
    """Draw the value of members over two choices, averaged over those nearby, and mark the best member.

    On two axes of numbers the map is smooth: an average with Gaussian weights, as wide as the number of members calls
    for, and blank where there are none nearby. With levels on an axis, its fields hold medians.

    Args:
      x: a choice of each member, ``[members]``, drawn across.
      y: another, drawn upwards.
      values: ``[members]``.
      members: their numbers, ``[members]``; counted from 0 otherwise.
      names: the keys of both.
      log: keys whose numbers are on a logarithmic axis.
      label: the quantity and its unit.
      direction: whether less (`min`) or more (`max`) is better.

    Raises:
      InputError: arrays that differ in length, the same name twice, or an unknown key.
    """
    where = "in figures.contour"
    if len(set(names)) < 2:
        raise InputError(f"'{names[0]}' on both axes", where, "give two choices")
    known = np.arange(np.size(values)) if members is None else np.asarray(members)
    (across, upwards), numbers = _checked(dict(zip(names, (x, y), strict=True)), values, log, where)
    if known.shape != numbers.shape:
        raise InputError(f"{known.size} members, {len(numbers)} values", where, "give one value a member")
    span = span_of(numbers, direction)
    shades = SHADES if direction == "min" else SHADES.reversed()
    with styled():
        figure = Figure(figsize=(6.6, 4.9), layout="constrained", dpi=DOTS_PER_INCH)
        axes = figure.add_subplot()
        smooth = not any(scale.levels or np.any(scale.places < 0) for scale in (across, upwards))
        colours = (_draw_map if smooth else _draw_fields)(axes, across, upwards, numbers, span, shades)
        shown = span._replace(low=colours.norm.vmin, high=colours.norm.vmax)
        named = FuncFormatter(lambda value, _: number(value))
        key_beside(figure, axes, colours, label, ticks=FixedLocator(shown.ticks()), format=named)
        figure.axes[-1].yaxis.set_minor_locator(NullLocator())
        choice_axis(axes, across)
        choice_axis(axes, upwards, upright=True)
        finite = np.flatnonzero(np.isfinite(numbers))
        if len(finite):
            first = finite[np.argmin(numbers[finite]) if direction == "min" else np.argmax(numbers[finite])]
            places = [scale.places[first] for scale in (across, upwards)]
            if not smooth:  # in a corner of its field, the middle of which has a number
                edges = [_edges(scale) for scale in (across, upwards)]
                ends = [np.searchsorted(edge[1:-1], at, "right") for edge, at in zip(edges, places, strict=True)]
                places = [0.18 * edge[k] + 0.82 * edge[k + 1] for edge, k in zip(edges, ends, strict=True)]
            style = {"color": STANDS_OUT, "markeredgecolor": "white", "markersize": 16, "clip_on": False, "zorder": 5}
            (star,) = axes.plot(*places, "*", linestyle="", **style)
            star.set_label(f"the best: member {known[first]}, {numbers[first]:.4g}")
            legend_above(axes, [star])
    return figure


def history(
    values: ArrayLike,
    *,
    members: ArrayLike | None = None,
    label: str = "loss, nats per symbol",
    direction: Direction = "min",
) -> Figure:
    """Draw the value of each member in their order, and the best so far.

    Args:
      values: ``[members]``.
      members: their numbers, ``[members]``, increasing; counted from 0 otherwise.
      label: the quantity and its unit.
      direction: whether less (`min`) or more (`max`) is better.

    Raises:
      InputError: no value, or arrays that differ in length.
    """
    where = "in figures.history"
    numbers = matrix(values, "values", where, "give [members], not empty", dimensions=1)
    places = np.arange(len(numbers), dtype=float) if members is None else np.asarray(members, np.float64)
    if places.shape != numbers.shape:
        raise InputError(f"{places.size} members, {len(numbers)} values", where, "give one value a member")
    span = span_of(numbers, direction)
    with styled():
        figure = Figure(figsize=(7.2, 3.9), layout="constrained", dpi=DOTS_PER_INCH)
        axes = figure.add_subplot()
        _draw_members(axes, places, numbers, span)
        finite = np.isfinite(numbers)
        running = np.minimum.accumulate if direction == "min" else np.maximum.accumulate
        start = np.inf if direction == "min" else -np.inf
        record = running(np.where(finite, numbers, start))
        told = np.isfinite(record)
        handles: list[Any] = [
            Line2D([], [], color=COLOURS[0], alpha=0.6, marker="o", markersize=4, linestyle="", label="a member")
        ]
        if told.any():
            first = int(np.argmax(record == record[-1]))
            line = {"color": STANDS_OUT, "linewidth": 1.9, "drawstyle": "steps-post", "path_effects": HALO}
            axes.plot(places[told], span.clip(record[told]), **line)
            axes.plot(
                places[first], record[-1], "*", color=STANDS_OUT, markeredgecolor="white", markersize=15, zorder=5
            )
            found = f"the best so far: {record[-1]:.4g}, member {places[first]:.0f}"
            handles.append(Line2D([], [], color=STANDS_OUT, linewidth=1.9, label=found))
        metric_axis(axes, span, label)
        axes.set_xlabel("member")
        axes.xaxis.set_major_locator(MaxNLocator(nbins=7, integer=True))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: number(value)))
        axes.margins(x=0.02)
        plain(axes)
        legend_above(axes, _with_beyond(handles, numbers, span))
    return figure


def _with_beyond(handles: list[Any], values: NDArray[np.float64], span: Span) -> list[Any]:
    count = int(span.beyond(values).sum())
    mark = Line2D([], [], color=MUTED, marker="^", markersize=4, linestyle="", label=f"{count:,} worse, or diverged")
    return [*handles, mark] if count else handles


def _checked(
    choices: Mapping[str, Any], values: ArrayLike, log: Collection[str], where: str
) -> tuple[list[Scale], NDArray[np.float64]]:
    numbers = matrix(values, "values", where, "give [members], not empty", dimensions=1)
    columns = {key: column_of(column) for key, column in choices.items()}
    odd = next((key for key, column in columns.items() if column.shape != numbers.shape), None)
    if odd is not None:
        shape = list(columns[odd].shape)
        raise InputError(f"'{odd}' of shape {shape} for {len(numbers)} values", where, "give one choice a member")
    if not columns:
        raise InputError("no choice", where, "give the choices of each member, by key")
    unknown = next((key for key in log if key not in columns), None)
    if unknown is not None:
        near = nearest(unknown, columns) or columns
        raise InputError(f"no choice '{unknown}'", f"in log, {where}", f"choose among {', '.join(near)}")
    return [scale_of(key, column, key in log) for key, column in columns.items()], numbers


def _draw_members(axes: Axes, places: NDArray[np.float64], values: NDArray[np.float64], span: Span) -> None:
    """A dot for each member; a triangle at the edge for those beyond."""
    beyond = span.beyond(values)
    alpha = float(np.clip(12 / np.sqrt(max(len(values), 1)), 0.12, 0.7))
    size = 3.2 if len(values) <= MANY else 2.2
    style: dict[str, Any] = {"linestyle": "", "markeredgewidth": 0, "rasterized": len(values) > MANY}
    axes.plot(places[~beyond], values[~beyond], "o", color=COLOURS[0], alpha=alpha, markersize=size, **style)
    mark = np.where(values[beyond] > span.high, span.high, span.low)
    axes.plot(places[beyond], mark, "^", color=MUTED, alpha=max(alpha, 0.35), markersize=3.6, **style)


def _draw_slice(axes: Axes, scale: Scale, values: NDArray[np.float64], span: Span) -> None:
    known = ~np.isnan(values)
    places, numbers = scale.places[known], values[known]
    half = 0.36 / scale.levels if scale.levels else 0.025
    named = np.unique(places) if scale.levels else [NONE_AT]
    spread = (np.arange(len(places)) * 0.6180339887 % 1 - 0.5) * 1.5 * half
    _draw_members(axes, places + spread * np.isin(places, named), numbers, span)
    band: dict[str, Any] = {"color": STANDS_OUT, "alpha": 0.2, "linewidth": 0, "zorder": 3}
    line: dict[str, Any] = {"color": STANDS_OUT, "linewidth": 1.8, "path_effects": HALO, "zorder": 4}
    for place in named:
        if np.any(here := places == place):
            low, middle, high = span.clip(course(numbers[here, None]))[:, 0]
            axes.fill_between([place - half, place + half], low, high, **band)
            axes.plot([place - half, place + half], [middle, middle], **line)
    if scale.levels:
        return
    order = np.argsort(places, kind="stable")
    order = order[places[order] >= 0]
    window = max(NARROWEST, int(WINDOW * len(order)))
    if len(order) < window:
        return
    starts = np.unique(np.linspace(0, len(order) - window, 40).astype(int))
    around = order[starts[:, None] + np.arange(window)]
    low, middle, high = span.clip(course(numbers[around].T))
    at = places[around].mean(axis=1)
    axes.fill_between(at, low, high, **band)
    axes.plot(at, middle, **line)


def _draw_map(
    axes: Axes, across: Scale, upwards: Scale, values: NDArray[np.float64], span: Span, shades: Colormap
) -> ScalarMappable:
    """A smooth map over two axes of numbers, each from 0 to 1, with the members on it; gives its colours."""
    known = ~np.isnan(values)
    x, y = across.places[known], upwards.places[known]
    seen = span.clip(values[known])
    heights = np.log(seen) if span.log else seen
    width = 0.35 * max(len(x), 1) ** (-1 / 6)  # Scott's rule in two dimensions, of a spread that fills the axes
    line = np.linspace(0, 1, GRID)
    kernels = [np.exp(-0.5 * ((line[:, None] - places) / width) ** 2) for places in (x, y)]
    weight = kernels[1] @ kernels[0].T
    total = (kernels[1] * heights) @ kernels[0].T
    mean = np.ma.masked_where(weight < 0.5, total / np.maximum(weight, 1e-12))  # half a member
    surface = np.ma.exp(mean) if span.log else mean
    colours = _coloured(surface, span, shades)
    low, high = colours.get_clim()
    levels = np.geomspace(low, high, 13) if span.log else np.linspace(low, high, 13)  # pyright: ignore[reportArgumentType, reportCallIssue]
    if surface.count():
        axes.contourf(line, line, surface, levels=levels, cmap=shades, norm=colours.norm, extend="both")
        axes.contour(line, line, surface, levels=levels, colors="white", linewidths=0.5, alpha=0.6)
    size, alpha = np.clip(36 / np.sqrt(max(len(x), 1)), 1.0, 3.5), np.clip(18 / np.sqrt(max(len(x), 1)), 0.2, 0.8)
    dots: dict[str, Any] = {"markeredgewidth": 0, "markersize": float(size), "alpha": float(alpha)}
    axes.plot(x, y, "o", color="white", rasterized=len(x) > MANY, **dots)
    axes.spines[["top", "right"]].set_visible(False)
    return colours


def _draw_fields(
    axes: Axes, across: Scale, upwards: Scale, values: NDArray[np.float64], span: Span, shades: Colormap
) -> ScalarMappable:
    """Medians in fields, a row or column for each level, up to 8 for an axis of numbers; gives their colours."""
    known = ~np.isnan(values)
    edges = [_edges(scale) for scale in (across, upwards)]
    cells = [np.digitize(s.places, edge[1:-1]) for s, edge in zip((across, upwards), edges, strict=True)]
    medians = np.full((len(edges[1]) - 1, len(edges[0]) - 1), np.nan)
    for row, column in np.ndindex(*medians.shape):
        if np.any(here := known & (cells[0] == column) & (cells[1] == row)):
            medians[row, column] = np.quantile(values[here], 0.5, method="inverted_cdf")
    surface = np.ma.masked_invalid(np.where(np.isnan(medians), np.nan, span.clip(medians)))
    colours = _coloured(surface, span, shades)
    norm: Any = colours.norm
    axes.pcolormesh(*edges, surface, cmap=shades, norm=norm, edgecolors="white", linewidth=1.5)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0, which="both")
    if medians.size <= 80:
        middles = [(edge[1:] + edge[:-1]) / 2 for edge in edges]
        for row, column in np.argwhere(~np.isnan(medians)):
            value = medians[row, column]
            shade = np.asarray(colours.to_rgba(surface[row, column]))[:3]
            ink = "white" if shade @ (0.3, 0.59, 0.11) < 0.55 else INK
            text = f"{value:.3g}" if np.isfinite(value) else "diverged"
            place = float(middles[0][column]), float(middles[1][row])
            axes.text(*place, text, ha="center", va="center", fontsize=7.5, color=ink)
    return colours


def _edges(scale: Scale) -> NDArray[np.float64]:
    """Where fields along an axis end; members that have no number get one of their own, at some distance."""
    fields = scale.levels or int(np.clip(np.sqrt(len(scale.places) / 4), 2, LEVELS))
    edges = np.linspace(0, 1, fields + 1)
    return np.concatenate([[NONE_AT - 0.05, -0.025], edges]) if np.any(scale.places < 0) else edges


def _coloured(surface: np.ma.MaskedArray[Any, Any], span: Span, shades: Colormap) -> ScalarMappable:
    """Colours from the least to the greatest value of a surface."""
    shown = span_of(surface.compressed(), None) if surface.count() else span
    return ScalarMappable((LogNorm if span.log else Normalize)(shown.low, shown.high), shades)


def _draw_lines(axes: Axes, lines: NDArray[np.float64], ranks: NDArray[np.float64]) -> None:
    """Polylines ``[lines, points]`` over points at 0, 1, 2, ..., coloured by rank from 0 (the best) to 1."""
    places = np.broadcast_to(np.arange(lines.shape[1], dtype=float), lines.shape)
    segments: Any = np.stack([places, lines], axis=-1)
    axes.add_collection(LineCollection(segments, colors=SHADES(ranks), linewidth=0.8, alpha=0.75), autolim=False)


def _draw_crowd(axes: Axes, lines: NDArray[np.float64], ranks: NDArray[np.float64]) -> None:
    """As `_draw_lines`, as one image: where many lines cross, the colour is of their mean rank, with
    more contrast, as means are near the middle.

    Matplotlib takes 10 s for 10,000 such lines, and an image of one above the other is dark all over.
    """
    rows, columns, samples = CROWD
    low, high = NONE_AT - 0.03, 1.03
    across = (np.arange(columns * samples) + 0.5) / (columns * samples)
    count, total = (np.zeros((rows, columns * (lines.shape[1] - 1))) for _ in range(2))
    for gap in range(lines.shape[1] - 1):
        height = lines[:, gap, None] + (lines[:, gap + 1] - lines[:, gap])[:, None] * across
        row = ((height - low) / (high - low) * rows).astype(np.intp)
        cells = (row * columns + np.arange(columns).repeat(samples)).ravel()
        here = slice(gap * columns, (gap + 1) * columns)
        for image, weights in ((count, None), (total, np.repeat(ranks, len(across)))):
            image[:, here] = np.bincount(cells, weights, rows * columns).reshape(rows, columns) / samples
    covered = 1 - np.exp(-count * 14 / len(lines) ** 0.75)
    mean = np.clip(0.5 + CONTRAST * (total / np.maximum(count, 1e-9) - 0.5), 0, 1)
    shade = SHADES(np.round(mean * 24) / 24)[..., :3]  # few different colours, so that the file is small
    image = 1 - (1 - shade) * np.round(covered * 10)[..., None] / 10
    axes.imshow(image, extent=(0, lines.shape[1] - 1, low, high), origin="lower", aspect="auto", interpolation="none")


def _draw_upright(
    axes: Axes, place: float, ticks: Sequence[tuple[float, str]], name: str, *, right: bool = False
) -> None:
    """An upright axis in the middle of a figure, its name above, numbers beside it on white."""
    axes.plot([place, place], [0, 1], color=MUTED, linewidth=0.9, zorder=4)
    side = 1 if right else -1
    for at, text in ticks:
        axes.plot([place, place + 0.02 * side], [at, at], color=MUTED, linewidth=0.9, zorder=4, clip_on=False)
        axes.annotate(
            text,
            (place, at),
            xytext=(5 * side, 0),
            textcoords="offset points",
            ha="left" if right else "right",
            va="center",
            fontsize=8,
            color=INK,
            parse_math=False,
            zorder=6,
            bbox={"boxstyle": "square,pad=0.12", "facecolor": "white", "alpha": 0.75, "linewidth": 0},
        )
    section, _, last = name.rpartition(".")
    axes.annotate(
        f"{section}.\n{last}" if section and not right else name.replace(", ", ",\n"),
        (place, 1),
        xytext=(0, 9),
        textcoords="offset points",
        ha="center",
        va="bottom",
        fontsize=9,
        color=INK,
        parse_math=False,
        annotation_clip=False,
    )
