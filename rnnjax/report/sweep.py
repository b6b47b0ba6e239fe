"""The page of a sweep: one self-contained file in which its members are sorted, filtered and looked at.

The members travel as one script of JSON (names, places of the arrays) and one of base64 (all columns, joined and
gzipped); `members.js` and the scripts named in `SCRIPTS` show them. Numbers of the table are carried exactly; curves
are carried in one byte a point, thinned where there are many.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rnnjax.config import InputError
from rnnjax.report import parts
from rnnjax.report.explorer import quantise
from rnnjax.report.packing import Chest
from rnnjax.report.safe import as_json, as_text, beside, plain

__all__ = ["sweep_page"]

SCRIPTS = (  # one module, in this order
    *("packing.js", "signs.js", "canvas.js", "members.js", "filters.js", "axes.js", "parallel.js", "scatter.js"),
    *("rows.js", "member.js", "sweep.js"),
)
PLACES = ("member", "batch", "program")
COURSE = ("status", "steps", "seconds")
UNFINISHED = ("running", "stopped", "diverged")
EXACT = 2**53
"""Integers beyond it are carried as text, for a browser's numbers are float64."""

CURVE_BYTES = 700_000
"""What the points of all curves may take, before they are packed."""

CURVE_POINTS = 200
"""Points of a curve at most; the picture is not wider than two pixels a point."""

FEWEST_POINTS = 24
"""Points of a curve at least: where there are too many members, fewer metrics are carried."""

_HIGH = re.compile("accuracy|match|score|correct|reward")


class _Column(NamedTuple):
    """A column of the table.

    Attributes:
        numbers: float64 with NaN where it is missing, ``[members]``; of a text: its place in `names`.
        names: the texts there are; None: it holds numbers.
    """

    numbers: NDArray[np.float64]
    names: list[str] | None


def sweep_page(
    title: str,
    summary: Mapping[str, Any],
    table: Mapping[str, Sequence[Any] | NDArray[Any]],
    figures: Mapping[str, str | tuple[str, str]] | None = None,
    curves: Mapping[str, Sequence[Any] | NDArray[Any]] | None = None,
    notes: Sequence[str] = (),
) -> str:
    """Give the whole page as HTML, to be stored as UTF-8.

    Every text is escaped and control characters are shown as their pictures. The same content gives the same page.
    Ten thousand members with twenty columns fit into three megabytes; figures come on top of that.

    Args:
        title: name of the sweep, also the folder in the commands that the page offers, if `summary` has no `path`.
        summary: as in `summary.json`, shown whole. Used besides: `status`, `command`, `path` (of the sweep's folder),
            `seconds`, `steps_per_second`, and `best`, if it has `metric` and perhaps `mode` (`min` or `max`): the
            metric that is looked at first. Without it that is `validation_loss`, then `loss`.
        table: columns of equal length, a row a member: `member`, `batch`, `program`, then a column for each swept
            key, then `status`, `steps`, `seconds`, then metrics. None or NaN is missing.
        figures: SVG, from `<svg` on, by its title; or SVG and caption. They are shown as images.
        curves: columns of equal length, a row a line of the log: `member`, `step`, then metrics; any order.
        notes: what the reader must know, a paragraph each.

    Raises:
        InputError: columns of unequal length, or no column `member`.
    """
    rows = _length("table", table, ("member",))
    columns = {str(name): _column(values) for name, values in table.items()}
    metric, is_low_best = _metric(summary, columns)
    path = str(summary.get("path", title))
    chest = Chest()
    content = {
        "name": title,
        "path": path,
        "rows": rows,
        "metric": metric,
        "columns": [
            {
                "name": name,
                "role": role,
                "low": is_low_best if name == metric else not _HIGH.search(name),
                **_packed(chest, columns[name]),
            }
            for name, role in _roles(columns).items()
        ],
        "curves": None if curves is None else _packed_curves(chest, curves, columns["member"].numbers, metric),
    }
    arrays = chest.closed()
    drawn = [_picture(name, given) for name, given in (figures or {}).items()]
    return parts.document(
        title,
        status=str(summary.get("status", "")),
        command=str(summary.get("command", "")),
        headline=_headline(summary, columns, metric, is_low_best),
        sections=[
            ("members", "Members", beside("sweep.html")),
            ("notes", "Notes", "".join(f'<p class="note">{as_text(note)}</p>' for note in notes)),
            ("figures", "Figures", parts.pictures(drawn)),
            ("summary", "Summary", parts.settings(summary, "summary")),
        ],
        data={"name": title, "command": str(summary.get("command", "")), "summary": summary},
        style=beside("controls.css") + beside("sweep.css"),
        scripts=(
            f'<script type="application/json" id="members-content">{as_json(content)}</script>\n'
            f'<script type="text/plain" id="members-arrays">{arrays}</script>\n{parts.module(SCRIPTS)}'
        ),
    )


# ---- the top of the page


def _headline(summary: Mapping[str, Any], columns: Mapping[str, _Column], metric: str | None, is_low_best: bool) -> str:
    rows = len(columns["member"].numbers)
    best = _best(columns, metric, is_low_best)
    tiles = []
    if metric is not None and best is not None:
        member = columns["member"].numbers[best]
        tiles.append(
            parts.tile(f"best {metric}", columns[metric].numbers[best], parts.significant, f"member {member:.0f}")
        )
    states = Counter(_texts(columns["status"])) if "status" in columns else Counter()
    told = ", ".join(f"{states[state]:,} {state}" for state in UNFINISHED if states[state])
    tiles.append(parts.tile("members", rows, parts.count, told))
    programs = _distinct(columns.get("program"))
    tiles.append(parts.tile("programs", programs or None, parts.count))
    tiles.append(parts.tile("member-steps", _total(columns.get("steps")), parts.large))
    tiles.append(parts.tile("seconds", summary.get("seconds", _total(columns.get("seconds"))), parts.duration))
    tiles.append(parts.tile("steps_per_second", summary.get("steps_per_second"), parts.large))
    return "".join(tiles)


def _metric(summary: Mapping[str, Any], columns: Mapping[str, _Column]) -> tuple[str | None, bool]:
    """What the members are judged by, and whether the least of it is best."""
    best = summary.get("best")
    best = best if isinstance(best, Mapping) else {}
    for name in (str(best.get("metric")), "validation_loss", "loss"):
        if name in columns and columns[name].names is None and np.isfinite(columns[name].numbers).any():
            mode = str(best.get("mode", "")) if name == best.get("metric") else ""
            return name, not mode.startswith("max") if mode else not _HIGH.search(name)
    return None, True


def _best(columns: Mapping[str, _Column], metric: str | None, is_low_best: bool) -> int | None:
    """The row of the best member; one that diverged is none."""
    if metric is None:
        return None
    values = columns[metric].numbers if is_low_best else -columns[metric].numbers
    failed = np.isin(_texts(columns["status"]), ["diverged"]) if "status" in columns else np.zeros(len(values), bool)
    values = np.where(np.isfinite(values) & ~failed, values, np.inf)
    return int(np.argmin(values)) if np.isfinite(values).any() else None


def _texts(column: _Column) -> list[str]:
    names = column.names or []
    return ["" if math.isnan(place) else names[int(place)] for place in column.numbers] if names else []


def _distinct(column: _Column | None) -> int:
    return 0 if column is None else len(np.unique(column.numbers[np.isfinite(column.numbers)]))


def _total(column: _Column | None) -> float | None:
    return None if column is None or column.names or not len(column.numbers) else float(np.nansum(column.numbers))


def _picture(name: str, given: str | tuple[str, str]) -> str:
    svg, caption = (given, "") if isinstance(given, str) else given
    box = re.match(r'<svg[^>]*?\sviewBox="[\d.]+ [\d.]+ ([\d.]+) ([\d.]+)"', svg)  # matplotlib's are points
    size = (float(box[1]) / 72, float(box[2]) / 72) if box else None
    return parts.picture(name, caption, svg, size)


# ---- columns


def _length(what: str, columns: Mapping[str, Any], needed: Sequence[str]) -> int:
    """Rows of a table."""
    for name in needed:
        if name not in columns:
            raise InputError(f"no column '{name}'", f"in the {what}", f"there are {', '.join(columns) or 'none'}")
    lengths = {name: len(values) for name, values in columns.items()}
    rows = lengths[needed[0]]
    for name, length in lengths.items():
        if length != rows:
            what_is_wrong = f"column '{name}' has {length} rows"
            raise InputError(what_is_wrong, f"in the {what}", f"give {rows}, as many as '{needed[0]}' has")
    return rows


def _roles(columns: Mapping[str, _Column]) -> dict[str, str]:
    """What each column is, by where it stands: a `place`, a `choice`, a `course` or a `metric`."""
    names = list(columns)
    end = names.index("status") if "status" in names else len(names)
    return {
        name: "place"
        if name in PLACES
        else "course"
        if name in COURSE
        else "choice"
        if place < end and ("status" in names or "." in name or name == "seed")
        else "metric"
        for place, name in enumerate(names)
    }


def _column(values: Sequence[Any] | NDArray[Any]) -> _Column:
    kind = values.dtype.kind if isinstance(values, np.ndarray) else ""
    if kind == "f" or (kind in ("i", "u") and np.abs(np.asarray(values, np.float64)).max(initial=0) <= EXACT):
        return _Column(np.asarray(values, np.float64), None)
    given = [entry.item() if isinstance(entry, np.generic) else entry for entry in values]
    if all(entry is None or _is_exact(entry) for entry in given):
        return _Column(np.asarray([math.nan if entry is None else entry for entry in given], np.float64), None)
    texts = [None if _is_missing(entry) else _as_name(entry) for entry in given]
    names = list(dict.fromkeys(text for text in texts if text is not None))
    places = {name: place for place, name in enumerate(names)}
    return _Column(np.asarray([math.nan if text is None else places[text] for text in texts], np.float64), names)


def _is_exact(value: Any) -> bool:
    return parts.is_number(value) and (isinstance(value, float) or abs(value) <= EXACT)


def _is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _as_name(value: Any) -> str:
    """As YAML would write it."""
    return value if isinstance(value, str) else str(value).lower() if isinstance(value, bool) else str(plain(value))


def _packed(chest: Chest, column: _Column) -> dict[str, Any]:
    """The place of a column in as few bytes as give back the same numbers."""
    dtype = next(dtype for dtype in ("i1", "i2", "i4", "f4", "f8") if _fits(column.numbers, dtype))
    entry = {"type": dtype, "data": chest.put(column.numbers.astype(dtype))}
    return entry if column.names is None else {**entry, "names": column.names}


def _fits(numbers: NDArray[np.float64], dtype: str) -> bool:
    if dtype.startswith("i"):
        limits = np.iinfo(dtype)
        return bool(np.all((numbers >= limits.min) & (numbers <= limits.max) & (numbers == np.rint(numbers))))
    with np.errstate(over="ignore"):
        return np.array_equal(numbers.astype(dtype).astype(np.float64), numbers, equal_nan=True)


# ---- curves


def _packed_curves(
    chest: Chest, curves: Mapping[str, Any], members: NDArray[np.float64], metric: str | None
) -> dict[str, Any] | None:
    """Where the curves lie: each metric as levels `[members, points]`, logarithms where all of it is above zero."""
    _length("curves", curves, ("member", "step"))
    owner, step = (np.asarray(curves[name], np.float64) for name in ("member", "step"))
    rows = {member: row for row, member in enumerate(members.tolist())}
    row = np.asarray([rows.get(member, -1) for member in owner.tolist()], np.int64)
    order = np.lexsort((step, row))
    order = order[row[order] >= 0]
    row, step = row[order], step[order]
    if not len(row):
        return None
    first = np.searchsorted(row, row)  # where the member's lines begin
    last = np.searchsorted(row, row, side="right") - 1
    place, count = np.arange(len(row)) - first, last - first + 1
    names = [name for name in (metric, "validation_loss", "loss") if name is not None and name in curves]
    names = list(dict.fromkeys([*names, *(name for name in curves if name not in ("member", "step"))]))
    room = CURVE_BYTES // len(members)
    names = names[: max(1, room // FEWEST_POINTS)]
    most = min(CURVE_POINTS, max(FEWEST_POINTS, room // max(1, len(names))))
    stride = max(1, math.ceil((count.max() - 1) / (most - 1)))
    kept = (place % stride == 0) | (place == count - 1)
    row, step, order = row[kept], step[kept], order[kept]
    place = np.arange(len(row)) - np.searchsorted(row, row)
    points = int(place.max()) + 1
    steps = np.full((len(members), points), -1.0)
    steps[row, place] = step
    grids, grid = np.unique(steps, axis=0, return_inverse=True)
    found = {}
    for name in names:
        values = np.full((points, len(members)), np.nan)
        values[place, row] = np.asarray(curves[name], np.float64)[order]
        finite = values[np.isfinite(values)]
        is_log = bool(len(finite) and finite.min() > 0)
        levels, scale, offset = quantise(np.log(values) if is_log else values)
        places = {"levels": chest.put(levels), "scale": chest.put(scale), "offset": chest.put(offset)}
        found[name] = {"log": is_log, **places}
    return {
        "points": points,
        "stride": stride,
        "grids": chest.put(grids.astype(np.int32)),
        "grid": chest.put(np.ravel(grid).astype(np.int32)),
        "metrics": found,
    }
