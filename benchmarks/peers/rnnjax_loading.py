"""rnnjax with its data on the host: blocks of batches are cut there while the last are in use, as in `rnnjax run`."""

from __future__ import annotations

import dataclasses
import runpy
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from rnnjax.benchmarks.workloads import Workload, build
from rnnjax.population import Programs, fit

if TYPE_CHECKING:
    from rnnjax.benchmarks.peers.worker import Job, Prepared

common: Any = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("_common.py"))))


def versions() -> dict[str, str]:
    """Of rnnjax, and of what it computes with."""
    return {name: version(name) for name in ("rnnjax", "jax", "jaxlib", "flax")}


def prepare(job: Job) -> Prepared:
    """Steps of training, each of a batch from the host."""
    experiment = build(Workload(**job.workload)).experiment
    train = dataclasses.replace(experiment.train, residence="host")
    trainer = dataclasses.replace(experiment, train=train).built.trainer
    programs, step = Programs(trainer), 0
    member = programs.member(0)

    def call(count: int) -> None:
        nonlocal member, step
        rhythm: Any = _Straight(step + count)
        for progress in fit(programs, member, rhythm, start=step):
            member = progress.member
        step += count

    check, nats, answers = [], 0.0, 0
    for _ in range(common.CHECKED):
        call(1)
        sums = float(member.meter.nats), int(member.meter.answers)
        check.append((sums[0] - nats) / (sums[1] - answers))
        nats, answers = sums
    return {"call": call, "form": "blocks from the host", "check": check}


class _Straight:
    """A rhythm without logs, validations and ends of epochs, which a made-up data set has too many of.

    Args:
      total: step at which it ends.
    """

    def __init__(self, total: int):
        self.total = total

    def boundary(self, step: int) -> int:
        """The end is due next."""
        return self.total

    def logs(self, step: int) -> bool:
        """There is no log, and the sums go on."""
        return False

    validates = logs
