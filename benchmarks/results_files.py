"""Files of results: JSON lines, a row a candidate and workload, read and set side by side."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from rnnjax.config import InputError, nearest

Row = dict[str, Any]

IDENTITY = ("question", "workload", "candidate", "members", "dtype")
"""What two rows must share to be measurements of the same thing."""
CIRCUMSTANCES = ("threads", "processes")
"""What they must share besides, where a file has rows that differ in nothing else."""


def read_results(path: str | Path) -> list[Row]:
    """Reads a file of results.

    Args:
        path: of JSON lines; blank lines are passed over.

    Raises:
        InputError: the file is missing, is a folder, has no row, or has a line that is no row.
    """
    path = Path(path)
    where = f"in {path}"
    fix = "give a file that 'rnnjax bench --out FILE' has written"
    if path.is_dir():
        raise InputError(f"'{path}' is a folder", "where a file of results is wanted", fix)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        beside = (each.name for each in path.parent.glob("*.jsonl"))
        close = nearest(path.name, beside)
        fix = f"did you mean '{path.with_name(close[0])}'?" if close else fix
        raise InputError(f"no file '{path}'", "where a file of results is wanted", fix) from None
    except UnicodeDecodeError:
        raise InputError("the file is not UTF-8 text", where, fix) from None
    rows = [_row(line, f"{path}, line {number}") for number, line in enumerate(lines, 1) if line.strip()]
    if not rows:
        raise InputError("the file has no results", where, fix)
    return rows


def side_by_side(a: Iterable[Row], b: Iterable[Row]) -> list[Row]:
    """Sets two files of results side by side.

    Of rows that measure the same thing the last counts: a file grows at its end.

    Returns:
        A row for each measurement of either, in the order of `a`, then of `b`: what it is of (`IDENTITY`, and
        `CIRCUMSTANCES` where they matter); `seconds_a` and `seconds_b`; `speedup`, how many times as fast `b` is;
        `apart`, whether the slowest round of one is faster than the fastest of the other; `ratio_a` and `ratio_b`,
        the candidate's time over ours as measured in either sitting; `unit`; and `skipped_a` and `skipped_b`, why
        nothing was measured. What is not known is None.
    """
    a, b = list(a), list(b)
    key = (*IDENTITY, *(name for name in CIRCUMSTANCES if _tells_apart(name, a) or _tells_apart(name, b)))
    held = [{_of(row, key): row for row in rows} for rows in (a, b)]
    return [
        _compared(dict(zip(key, of, strict=True)), *(rows.get(of) for rows in held)) for of in {**held[0], **held[1]}
    ]


def differences(a: Iterable[Row], b: Iterable[Row]) -> list[tuple[str, str, str]]:
    """What the circumstances of two files differ in: name, what it is in `a`, what it is in `b`.

    Compared are the environments of all rows, the numbers of threads, and the versions of each candidate that both
    have. Dates always differ, so they are told too, as the days from the first to the last.
    """
    of_a, of_b = circumstances(a), circumstances(b)
    shared = [
        name for name in {**of_a, **of_b} if not name.startswith("versions of") or (name in of_a and name in of_b)
    ]
    pairs = [(name, of_a.get(name, "unknown"), of_b.get(name, "unknown")) for name in shared]
    return [(name, here, there) for name, here, there in pairs if here != there]


def circumstances(rows: Iterable[Row]) -> dict[str, str]:
    """What rows were measured on and with, by name; several values are joined by commas."""
    found: dict[str, dict[str, None]] = {}

    def note(name: str, value: Any) -> None:
        if value not in (None, ""):
            found.setdefault(name, {})[str(value)] = None

    for row in rows:
        for name, value in row.get("environment", {}).items():
            if name == "started":
                note("date", str(value)[:10])
            elif isinstance(value, Mapping):
                for part, inner in value.items():
                    note(part, inner)
            elif name != "threads":  # the row's own number counts: a candidate may be given fewer
                note(name, value)
        note("threads", row.get("threads"))
        versions = row.get("versions") or {}
        peer = str(row.get("candidate")).split(" x ")[-1]  # of `2 x torch`, `torch (loop)` or `torch, 1 worker`
        peer = peer.split(" (")[0].split(",")[0]
        note(f"versions of {peer}", ", ".join(f"{name} {value}" for name, value in versions.items()))
    return {name: ", ".join(sorted(values)) for name, values in found.items()}


def grouped(rows: Iterable[Row], fields: Iterable[str]) -> dict[tuple[Any, ...], list[Row]]:
    """Rows by their values of `fields`, in the order in which these were first seen."""
    key = tuple(fields)
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(_of(row, key), []).append(row)
    return groups


def value_text(value: Any) -> str:
    """A value in a table; nothing for None."""
    return f"{value:.4g}" if isinstance(value, float) else "" if value is None else str(value)


def _row(line: str, where: str) -> Row:
    fix = "remove the line, or measure again: it may be what is left of a run that was stopped"
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise InputError(f"not JSON: {error.msg}", where, fix) from None
    if not isinstance(row, dict):
        raise InputError("not a row of results, which is a JSON object", where, fix)
    if not isinstance(row.get("question"), str):
        raise InputError("not a row of results: it has no 'question'", where, fix)
    return row


def _of(row: Row, key: Iterable[str]) -> tuple[Any, ...]:
    return tuple(row.get(name) for name in key)


def _tells_apart(name: str, rows: Iterable[Row]) -> bool:
    """Whether rows that are otherwise the same differ in it."""
    return any(len({row.get(name) for row in same}) > 1 for same in grouped(rows, IDENTITY).values())


def _compared(named: Row, a: Row | None, b: Row | None) -> Row:
    a, b = a or {}, b or {}
    here, there = a.get("seconds"), b.get("seconds")
    least_a, greatest_a, least_b, greatest_b = (row.get(name) for row in (a, b) for name in ("least_s", "greatest_s"))
    apart = None
    if not (least_a is None or greatest_a is None or least_b is None or greatest_b is None):
        apart = greatest_a < least_b or greatest_b < least_a
    return {
        **named,
        "unit": a.get("unit") or b.get("unit"),
        "seconds_a": here,
        "seconds_b": there,
        "speedup": here / there if here and there else None,
        "apart": apart,
        "ratio_a": a.get("ratio"),
        "ratio_b": b.get("ratio"),
        "skipped_a": a.get("skipped") if a else "not asked",
        "skipped_b": b.get("skipped") if b else "not asked",
    }
