"""How often are the cells found that the study of `addition` named by eye? Ten trainings, and the same untrained.

Of each training all 100 sums of 1 to 10 are read, and every decoder cell is scored by every condition that the task
knows (`rnnjax.interpret.explain`): chosen on half of the sums, tested on the other half, each half in turn. A training
has a cell of a kind, strictly, if a cell is given that very name at a false-discovery rate of 5 %, and the kind
explains at least half of its variance on sums that were not used to choose; leniently, if a named cell has at least
half of its variance explained by the kind, and at most a tenth more by what explains most, such as a threshold beside
it. `best` is the greatest share, of any cell, that the kind explains: where it is under a half, there is no such cell.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from rnnjax.benchmarks.studies import trained
from rnnjax.experiment import Built, load
from rnnjax.interpret import Scores, explain
from rnnjax.population import Programs
from rnnjax.tasks.addition import Addition

KINDS = (
    "sum under 10, and more at the second digit",
    "every first digit",
    "second digit when the sum is under 9",
    "second digit when the sum is over 14",
)
FIELD = "decoder.0.h"
SEEDS = 10
LEAST, MARGIN = 0.5, 0.1  # of a cell's variance


def run(*, quick: bool = False) -> Iterator[dict[str, Any]]:
    """A row a training, then the counts of trained and of untrained networks."""
    built = load("addition").built
    programs, seeds = Programs(built.trainer), range(2 if quick else SEEDS)
    found: dict[str, list[dict[str, Any]]] = {"trained": [], "untrained": []}
    for seed in seeds:
        ended, _ = trained(programs, programs.member(seed))
        for state, member in (("untrained", programs.member(seed)), ("trained", ended)):
            row = kinds(scored(built, member))
            found[state].append(row)
            yield {"question": "named_cells", "seed": seed, "network": state, **row}
    for state, rows in found.items():
        counts = {
            kind: {how: sum(bool(row["kinds"][kind][how]) for row in rows) for how in ("strict", "lenient")}
            for kind in KINDS
        }
        yield {"question": "named_cells", "network": state, "trainings": len(rows), "counts": counts}


def scored(built: Built, member: Any) -> Scores:
    """Every decoder cell by every condition, over all sums."""
    task = built.task
    assert isinstance(task, Addition)
    numbers = range(task.smallest, task.largest + 1)
    batch = jax.jit(task.write)(np.asarray([(a, b) for a in numbers for b in numbers]))
    return explain(built.trainer.model(member.params, member.fixed), task, batch, FIELD)


def kinds(found: Scores) -> dict[str, Any]:
    """The cells of each kind, and how many cells have a name."""
    named = {each.unit: each.concept for each in found.named}
    greatest = found.effects.max(axis=1)
    rows = {}
    for kind in KINDS:
        shares = found.effect(kind)
        close = [unit for unit in named if shares[unit] >= max(LEAST, greatest[unit] - MARGIN)]
        strict = [unit for unit in close if named[unit] == kind]
        rows[kind] = {"strict": strict, "lenient": close, "best": round(float(shares.max()), 3)}
    return {"named": len(named), "kinds": rows}
