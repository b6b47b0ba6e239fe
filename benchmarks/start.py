"""How long until something happens? Imports in fresh processes, and the first step of training beside every peer."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

from rnnjax.benchmarks.harness import (
    Asked,
    Candidate,
    Failed,
    Process,
    environment,
    header,
    ratios_of,
    started,
    times_of,
)
from rnnjax.benchmarks.workloads import Workload, write

LIBRARIES = "import jax, flax, optax"
COMMANDS = {
    LIBRARIES: ["-c", LIBRARIES],
    "import rnnjax": ["-c", f"{LIBRARIES}, rnnjax"],
    "import rnnjax, all that a run needs": ["-c", f"{LIBRARIES}, rnnjax; rnnjax.run; rnnjax.load"],
    "rnnjax --help": ["-m", "rnnjax", "--help"],
}
"""Each in a fresh process. What rnnjax costs is what it takes beyond the libraries that it needs."""
USUAL = "mid"
BESIDE = ("torch", "keras_jax", "haiku")
"""Peers whose first step is usually awaited; others by name."""


def run(asked: Asked) -> Iterator[dict[str, Any]]:
    """One row a command, and one a candidate: seconds from the start of a process to its first step of training."""
    yield from _commands(asked)
    for workload in asked.networks(["words" if asked.quick else USUAL]):
        yield from _first_steps(asked, workload)


def _commands(asked: Asked) -> Iterator[dict[str, Any]]:
    rounds = asked.rounds or (2 if asked.quick else 7)
    found: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for number in range(rounds + 1):
        asked.tell(f"start: imports, round {number} of {rounds}")
        for name, arguments in COMMANDS.items():
            began = time.perf_counter()
            subprocess.run(
                [sys.executable, *arguments], env=environment(asked, sys.executable), capture_output=True, check=True
            )
            if number:  # the first one brings the files into memory
                found[name].append(time.perf_counter() - began)
    for name, seconds in found.items():
        beyond = [a - b for a, b in zip(seconds, found[LIBRARIES], strict=True)]
        yield {
            "question": "start",
            "workload": "a fresh process",
            "candidate": name,
            "dtype": "",
            "members": 1,
            "threads": asked.threads,
            "processes": 1,
            "skipped": None,
            "unit": "process",
            **times_of(seconds),
            "beyond_libraries_s": median(beyond) if name.startswith("import rnnjax") else None,
        }


def _first_steps(asked: Asked, workload: Workload) -> Iterator[dict[str, Any]]:
    rounds = asked.rounds or (1 if asked.quick else 2)
    candidates = asked.candidates("step", BESIDE)
    found: dict[Candidate, list[Process]] = {candidate: [] for candidate in candidates}
    failed: dict[Candidate, str] = {}
    with tempfile.TemporaryDirectory(prefix="rnnjax-bench-") as folder:
        arrays = Path(folder) / "arrays.npz"
        write(workload, arrays)
        for number in range(rounds):
            for candidate in candidates:
                if candidate in failed:
                    continue
                asked.tell(f"start, {workload.name}: {candidate.name}, {number + 1} of {rounds}")
                try:
                    with started(asked, candidate, workload, arrays) as group:
                        found[candidate].extend(group.processes)
                except Failed as reason:
                    failed[candidate] = str(reason)
    ours = [process.first_s for process in found[candidates[0]]]
    for candidate, processes in found.items():
        row = header(asked, "start", workload, candidate)
        if candidate in failed:
            yield row | {"skipped": failed[candidate]}
            continue
        seconds = [process.first_s for process in processes]
        parts = {
            name: median(values) if (values := [v for p in processes if (v := p.ready.get(name)) is not None]) else None
            for name in ("import_s", "prepare_s", "compile_s", "memory_mb")
        }
        yield row | {
            "versions": processes[0].ready["versions"],
            "form": processes[0].ready["form"],
            "unit": "start",
            **times_of(seconds),
            **ratios_of(seconds, () if candidate.ours else ours),
            "first_s": median(seconds),
            **parts,
        }
