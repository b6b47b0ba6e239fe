"""Starting a sweep on an engine by name, and telling a person how it goes."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rnnjax.config import InputError, nearest
from rnnjax.progress import SweepDisplay
from rnnjax.sweep.launch import hosts
from rnnjax.sweep.launch.actors import Event, ray
from rnnjax.sweep.launch.jobs import slurm
from rnnjax.sweep.story import Sweep, open_sweep

ENGINES = ("slurm", "ray", "hosts")


def check(engine: str, *, workers: int | None, address: str | None, host: int | None) -> None:
    """Refuses an engine that cannot be started so, before anything is planned; arguments as of `start`.

    Raises:
      InputError: no such engine, or one that is not told what it needs.
    """
    if engine not in ENGINES:
        near = nearest(engine, ENGINES) or ENGINES
        raise InputError(f"no engine '{engine}'", "in --launch", f"choose {' or '.join(near)}")
    if engine == "hosts" and (address is None or host is None or workers is None):
        raise InputError(
            "a host that does not know the others",
            hosts.WHERE,
            "give --workers N, --host K and --address HOST:PORT of host 0, on each of them",
        )


def start(
    engine: str,
    path: str | Path,
    *,
    workers: int | None = None,
    address: str | None = None,
    host: int | None = None,
    parameters: Mapping[str, Any] | None = None,
    code: Sequence[str] = (),
    quiet: bool = True,
) -> None:
    """Has an engine train a sweep. Jobs of SLURM are submitted; Ray and hosts are waited for.

    Args:
      engine: a name of `ENGINES`.
      path: the sweep's folder.
      workers: jobs, actors or hosts; None: a job a batch, an actor a device.
      address: of the Ray cluster, or where host 0 is to be reached, as HOST:PORT.
      host: which of the hosts this is, from 0.
      parameters: what each job of SLURM asks for.
      code: cells and tasks of one's own, as `file.py:Name`.
      quiet: whether to tell nothing.

    Raises:
      InputError: no such engine, or one that is not told what it needs; also as the engine itself.
    """
    check(engine, workers=workers, address=address, host=host)
    sweep = open_sweep(path)
    sweep.begin()
    if engine == "slurm":
        jobs = slurm(path, len(sweep.plan.batches) if workers is None else workers, code=code, **(parameters or {}))
        if not quiet:
            print(f"submitted {len(jobs)} jobs, {jobs[0].job_id} to {jobs[-1].job_id}", file=sys.stderr)
    elif engine == "ray":
        with sweep.showing(quiet) as display:
            ray(path, address, workers=workers, code=code, tell=lambda event: _show(event, sweep, display))
    else:
        assert workers is not None and address is not None and host is not None  # it was checked
        hosts.start(Path(path), address, workers, host, code)


def _show(event: Event, sweep: Sweep, display: SweepDisplay | None) -> None:
    """Shows an event: batches that are done as progress, the rest as lines."""
    if display is None:
        return
    if event.what == "done":
        batch = next(each for each in sweep.plan.batches if each.index == event.batch)
        best = sweep.table().best(sweep.metric)
        value = best[0][sweep.metric] if best else None
        display.update(batch.index, len(batch.members) * (batch.until - batch.start), value)
        return
    display.say(
        {
            "joined": f"{event.worker} has joined",
            "waiting": "no worker so far: the cluster may have no room",
            "failed": f"batch {event.batch} has failed on {event.worker}",
            "held": f"batch {event.batch} is being trained by another process; it is tried again",
            "lost": f"lost {event.worker or 'a worker'}; "
            + ("another is asked for" if event.batch is None else f"batch {event.batch} goes to another"),
        }[event.what]
    )
