"""Sweeps from beginning to end: planned, trained by this process or its share of them, and gone on with."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rnnjax import config
from rnnjax.experiment import Experiment
from rnnjax.signals import listening
from rnnjax.sweep.launch.shards import belongs
from rnnjax.sweep.settings import SweepConfig
from rnnjax.sweep.spaces import Space
from rnnjax.sweep.story import Sweep, open_sweep, prepare
from rnnjax.tasks import Task


def sweep(
    experiment: Experiment,
    axes: Mapping[str, Any],
    root: str | Path = "runs",
    name: str | None = None,
    *,
    shard: tuple[int, int] | None = None,
    quiet: bool = True,
    command: str = "",
    **settings: Any,
) -> Sweep:
    """Trains many members of one experiment, as few compiled programs.

    Args:
      experiment: the base.
      axes: what is swept, by dotted key: a list of values, which are crossed, or a range such as
        ``rx.log_uniform(1e-4, 1e-1)``, which is sampled; `seed` draws weights, order and dropout.
      root: folder that holds runs and sweeps.
      name: of the sweep's folder; a numbered one after the experiment if None.
      shard: which of so many shares of the batches is trained here, as ``(0, 4)``; all name the same folder.
      quiet: whether to show no progress.
      command: what the report says the sweep was started with.
      **settings: as in `rnnjax.sweep.settings.SweepConfig`, such as ``trials=1024``.

    Raises:
      InputError: axes, settings or data that do not go together, or a name that exists. No folder is left.
      Interrupted: a signal came; what was trained is saved, and the sweep can be resumed.
    """
    chosen = config.from_dict(SweepConfig, settings, where="in rx.sweep")
    if shard is not None and chosen.batches < shard[1]:
        chosen = config.override(chosen, {"batches": shard[1]})
    say = (lambda line: None) if quiet else print
    path = prepare(experiment, Space(axes), chosen, root, name, join=shard is not None, command=command, tell=say)
    task = experiment.task if isinstance(experiment.task, Task) else None
    return go_on(open_sweep(path, task), shard=shard, quiet=quiet)


def go_on(found: Sweep, *, shard: tuple[int, int] | None = None, quiet: bool = True) -> Sweep:
    """Trains what is left of a sweep, or of one share of it, and sums it up.

    Args:
      found: the sweep.
      shard: which of so many shares is trained here.
      quiet: whether to show no progress.

    Raises:
      InputError: another process trains one of the batches.
      Interrupted: a signal came; what was trained is saved.
    """
    mine = belongs(*(shard or (0, 1)))
    found.begin()
    with listening() as heard, found.showing(quiet) as display:
        found.work(mine=mine, display=display, heard=heard)
    return found
