"""Members of sweeps as ordinary runs: `SWEEP:best` or `SWEEP:17` names one wherever a run is named."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import numpy as np

from rnnjax import config
from rnnjax.config import InputError
from rnnjax.experiment import DATA_FILE, storable
from rnnjax.run.story import best_so_far, trained_so_far
from rnnjax.store import RunFolder, is_sweep
from rnnjax.sweep.story import Sweep, open_sweep
from rnnjax.sweep.table import Curves
from rnnjax.tasks import Arrays, Task

MEMBER = re.compile(r"(?P<sweep>.+):(?P<member>best|\d+)")


def located(what: str | Path, task: Task | None = None) -> str:
    """The folder of a run, where `what` names a member of a sweep; else `what` itself.

    Args:
      what: `SWEEP:best`, `SWEEP:17`, or anything else.
      task: the data, where the sweep was given a task of one's own.

    Raises:
      InputError: there is no such sweep or member, or it has not been saved so far.
    """
    match = MEMBER.fullmatch(str(what))
    if match is None or not (is_sweep(match["sweep"]) or (Path(match["sweep"]).exists() and not Path(what).is_dir())):
        return str(what)
    sweep = open_sweep(match["sweep"], task)
    return str(as_run(sweep, sweep.member_of(match["member"])).path)


def as_run(sweep: Sweep, member: int) -> RunFolder:
    """The folder of a member as a run of its own, made or brought up to date.

    Raises:
      InputError: the member has not been saved so far.
    """
    state = sweep.own_state(member)
    path = sweep.path / "members" / str(member)
    step = int(state.step)
    if path.is_dir():
        folder = RunFolder.open(path)
        if folder.checkpoints() and folder.checkpoints()[-1] >= step:
            return folder
    else:
        experiment = sweep.experiment_of(member)
        environment = sweep.folder.environment() | {
            "command": f"member {member} of {sweep.path}",
            "layout": _layout(sweep, member),
        }
        text = config.dump(storable(dataclasses.replace(experiment, name=f"{experiment.name}-{member}")))
        folder = RunFolder.create(path.parent, path.name, text, environment, stem=path.name)
        if isinstance(experiment.task, Arrays):
            experiment.task.save(folder.path / DATA_FILE)
    with folder.lock():
        folder.save(step, state, metric=None)
        rows = _rows(sweep, member)
        folder.drop_metrics_after(-1)
        folder.append_metrics(rows)
        folder.write_summary(_summary(sweep, member, state, rows))
    return folder


def _layout(sweep: Sweep, member: int) -> dict[str, Any]:
    plan = sweep.plan
    program = next(plan.programs[batch.program] for batch in plan.batches if member in batch.members)
    return dataclasses.asdict(program.layout)


def _rows(sweep: Sweep, member: int) -> list[dict[str, Any]]:
    """The member's lines of the log, as a run has them."""
    lines = Curves(sweep.path).of([member])
    lines.pop("member")
    epoch = sweep.experiment_of(member).built.trainer.epoch_steps
    columns = {"step": lines.pop("step"), **lines}
    rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    whole = ("step", "answers")
    return [
        {"step": int(row["step"]), "epoch": int(row["step"]) / epoch}
        | {key: int(value) if key in whole else float(value) for key, value in row.items() if not np.isnan(value)}
        for row in rows
    ]


def _summary(sweep: Sweep, member: int, state: Any, rows: list[dict[str, Any]]) -> dict[str, Any]:
    built = sweep.experiment_of(member).built
    try:
        row = sweep.table().member(member)
    except InputError:
        row = {"status": "running", "seconds": 0.0}
    last: dict[str, float] = {}
    for line in rows:
        last |= {key: line[key] for key in line if key.removeprefix("validation_") in ("loss", "accuracy")}
    summary: dict[str, Any] = {
        "status": row["status"],
        **trained_so_far(built.trainer, state),
        "seconds": row["seconds"],
        "steps_per_second": None,
        "symbols_per_second": None,
        "metrics": last,
        "references": built.task.references(),
        "sweep": str(sweep.path),
        "member": member,
    }
    return summary | best_so_far(state)
