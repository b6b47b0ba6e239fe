"""A peer in a process of its own: ``python -P worker.py PEER JOB.json``, `PEER` being a file beside this one.

Needs NumPy and what the peer needs, nothing of rnnjax, so that a peer may live in a Python of its own. Prints a line of
JSON when it is ready, then reads counts, one a line, and answers each with the seconds that so many
repetitions took, waited for, and the greatest memory of the process so far. A peer that cannot do a job says why in
`skipped`, and ends.

A peer file has ``versions() -> dict[str, str]`` and ``prepare(job: Job) -> Prepared``, which raises NotImplementedError
where the peer has no such thing. It imports its library at its top: the seconds that takes are measured. The files are
loaded by path, so that `torch.py` here does not stand in the way of the library of that name.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Required, TypedDict

import numpy as np


@dataclasses.dataclass(frozen=True)
class Job:
    """What a peer is asked to do.

    Attributes:
      question: `forward` (the recurrent layer on given inputs), `gradient` (that, and the gradient by inputs and
        weights of the mean square of its outputs), `step` (a full step of training: batch, loss, gradient, Adam),
        `population` (that, for `members` at once), or `generation` (symbols drawn one by one by each row).
      workload: the fields of `rnnjax.benchmarks.workloads.Workload`.
      arrays: weights and batches; see `rnnjax.benchmarks.workloads.write`.
      threads: that the peer may use.
      members: trained at once, where the question is of a population.
      device: `cpu` or `gpu`.
      options: further words for one peer alone.
    """

    question: str
    workload: dict[str, Any]
    arrays: dict[str, np.ndarray]
    threads: int
    members: int = 1
    device: str = "cpu"
    options: dict[str, Any] = dataclasses.field(default_factory=dict)


class Prepared(TypedDict, total=False):
    """What a peer is ready to do.

    Attributes:
      call: repeats it so many times, and waits until it is done. For `generation`: draws so many symbols in each row.
      form: in which form, in words.
      check: what it computed, to be compared between peers: the losses of the first steps of training; the mean square
        of the outputs, forwards; that and the sum of squares of the gradient by the recurrent kernel; of generation the
        first symbols drawn at temperature 0 by row 0.
      compile_s: seconds of compilation alone, where the peer can tell.
    """

    call: Required[Callable[[int], None]]
    form: Required[str]
    check: Required[list[float]]
    compile_s: float


def main(name: str, path: str) -> None:
    """Prepares a job, and repeats it as often as it is asked to."""
    described = json.loads(Path(path).read_text())
    threads = described["threads"]
    for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[variable] = str(threads)
    with np.load(described["arrays"]) as held:
        arrays = dict(held.items())
    job = Job(**{**described, "arrays": arrays})
    began = time.perf_counter()
    imported = began
    try:
        peer = _loaded(name)
        imported = time.perf_counter()
        prepared = peer.prepare(job)
    except (NotImplementedError, ImportError) as reason:
        print(json.dumps({"skipped": str(reason)}), flush=True)
        return
    prepared["call"](1)
    ready = {
        "versions": peer.versions(),
        "form": prepared["form"],
        "check": [float(value) for value in prepared["check"]],
        "import_s": imported - began,
        "prepare_s": time.perf_counter() - imported,
        "compile_s": prepared.get("compile_s"),
        "memory_mb": _peak_mb(),
    }
    print(json.dumps(ready), flush=True)
    for line in sys.stdin:
        start = time.perf_counter()
        prepared["call"](int(line))
        print(json.dumps({"seconds": time.perf_counter() - start, "memory_mb": _peak_mb()}), flush=True)


def _loaded(name: str) -> Any:
    file = Path(__file__).with_name(f"{name}.py")
    spec = importlib.util.spec_from_file_location(f"peer_{name}", file)
    assert spec is not None and spec.loader is not None  # it is a file of Python
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look up their annotations
    spec.loader.exec_module(module)
    return module


def _peak_mb() -> float:
    """The greatest memory of this process so far."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:  # not Linux
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    # Not `ru_maxrss`, which on Linux begins with that of the process by which this one was started.
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


if __name__ == "__main__":
    main(*sys.argv[1:])
