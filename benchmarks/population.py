"""How long is a step of one of many members trained together? Beside peers that train one model in each process.

A peer has all threads in one process, or a process on each core. It needs as long for each model however many there
are, and has a row beside each size of a population.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rnnjax.benchmarks.harness import OURS, Asked, Candidate, measure

BESIDE = ("torch", "haiku")
USUAL = {"words": (1, 16, 64, 256, 1024), "mid": (1, 16)}
"""Members, by workload."""
QUICK = {"words": (1, 16)}
OWN = (1, 16)
"""Members of a workload of one's own."""


def run(asked: Asked) -> Iterator[dict[str, Any]]:
    """One row a candidate, workload and size: seconds a step of one member."""
    usual = QUICK if asked.quick else USUAL
    for workload in asked.networks(usual):
        members = asked.members or usual.get(workload.name, OWN)
        ours = [Candidate(OURS, "population", members=size) for size in members]
        alone = [1] if asked.threads == 1 or asked.device != "cpu" else [1, asked.threads]
        peers = [Candidate.documented(peer, "step", processes=n) for peer in asked.among(BESIDE) for n in alone]
        yield from measure(asked, "population", workload, [*ours, *peers], each_of_ours=True)
