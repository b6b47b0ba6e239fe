"""How long is a full step of training: batch, forward, backward, Adam? The studies' networks, beside every peer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rnnjax.benchmarks.harness import PEERS, Asked, Candidate, measure

BEST_IN_ONE = "haiku"
"""A peer that is measured too with all steps in one program, which its documentation does not have."""
LONG = 50_000
"""Units times steps from which a call from Python costs nothing beside a step."""
HALF = ("torch", "haiku", "keras_jax")
"""Peers that are usually asked in bfloat16: the others take minutes to get ready, and were never the fastest."""
USUAL = ("words", "addition", "names", "mid", "shakespeare", "shakespeare/bfloat16")
QUICK = ("words", "mid")


def run(asked: Asked) -> Iterator[dict[str, Any]]:
    """One row a candidate and workload: seconds a step."""
    for workload in asked.networks(QUICK if asked.quick else USUAL):
        candidates = asked.candidates("step", HALF if workload.dtype == "bfloat16" else PEERS)
        short = workload.units * workload.time < LONG
        if short and any(candidate.peer == BEST_IN_ONE for candidate in candidates):
            candidates.append(Candidate(BEST_IN_ONE, "step", options={"form": "whole"}, label=f"{BEST_IN_ONE} (whole)"))
        yield from measure(asked, "step", workload, candidates)
