"""Runs and members of sweeps side by side: how they were described, and what they came to."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rnnjax import config
from rnnjax.config import InputError
from rnnjax.experiment import load
from rnnjax.run.members import MEMBER
from rnnjax.store import RunFolder, is_sweep
from rnnjax.sweep.story import Sweep, open_sweep
from rnnjax.sweep.table import Table

MOST = 40  # members of a sweep that are put side by side where none is named: the best


def compared(what: Sequence[str | Path], *, differing: bool = False) -> tuple[list[str], dict[str, list[Any]]]:
    """Descriptions and results of several runs or members.

    Args:
      what: folders of runs, members of sweeps as `SWEEP:17` or `SWEEP:best`, or a sweep, for its best members.
      differing: whether to leave out what all have in common.

    Returns:
      Their names, and a row of values by dotted key or name of a metric; None where one has no such thing.

    Raises:
      InputError: nothing of that name.
    """
    found: dict[str, dict[str, Any]] = {}
    for each in what:
        found |= _described(str(each))
    keys = list(dict.fromkeys(key for column in found.values() for key in column))
    rows = {key: [column.get(key) for column in found.values()] for key in keys}
    if differing:
        rows = {key: values for key, values in rows.items() if any(value != values[0] for value in values)}
    return list(found), rows


def _described(name: str) -> dict[str, dict[str, Any]]:
    match = MEMBER.fullmatch(name)
    if match and is_sweep(match["sweep"]):
        sweep = open_sweep(match["sweep"])
        member = sweep.member_of(match["member"])
        return {f"{match['sweep']}:{member}": _of_member(sweep, sweep.table(), member)}
    if is_sweep(name):
        sweep = open_sweep(name)
        table = sweep.table()
        best = table.best(sweep.metric, n=MOST)
        return {f"{name}:{row['member']}": _of_member(sweep, table, row["member"]) for row in best}
    folder = RunFolder.open(name)
    values = {key: value for key, value, *_ in config.describe(load(name))}
    summary = folder.summary()
    told = {key: summary.get(key) for key in ("status", "steps", "seconds")}
    return {name: {**values, **told, **summary.get("metrics", {})}}


def _of_member(sweep: Sweep, table: Table, member: int) -> dict[str, Any]:
    values = {key: value for key, value, *_ in config.describe(sweep.experiment_of(member))}
    try:
        row = table.member(member)
    except InputError:
        return values
    return {**values, **{key: row[key] for key in ("status", "steps", "seconds", *table.metrics)}}
