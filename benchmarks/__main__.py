"""``python -m rnnjax.benchmarks [--quick] [--out FILE] [QUESTION ...]``: asks questions, answers in JSON lines."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from rnnjax.benchmarks import (
    beside_keras,
    dispatch,
    executors,
    explorer,
    lesions,
    named_cells,
    recording,
    streaming,
    studies,
    sweep_page,
    sweeps,
)
from rnnjax.sweep.launch.workers import use_cores
from rnnjax.timing import describe_environment

QUESTIONS = {
    "executors": executors,
    "dispatch": dispatch,
    "studies": studies,
    "keras": beside_keras,
    "explorer": explorer,
    "recording": recording,
    "streaming": streaming,
    "lesions": lesions,
    "named_cells": named_cells,
    "sweep_page": sweep_page,
    "sweeps": sweeps,
}


def main() -> None:
    """Asks the questions named, or all."""
    parser = argparse.ArgumentParser(prog="python -m rnnjax.benchmarks", description=main.__doc__)
    parser.add_argument("questions", nargs="*", metavar="QUESTION", help=f"of {', '.join(QUESTIONS)}; none: all")
    parser.add_argument("--quick", action="store_true", help="small workloads and few rounds")
    parser.add_argument("--out", type=Path, help="file for the answers, one JSON object a line (default: printed only)")
    parser.add_argument(
        "--torch-python", default=sys.executable, metavar="PYTHON", help="the Python that has PyTorch, for sweeps"
    )
    known = parser.parse_args()
    unknown = [name for name in known.questions if name not in QUESTIONS]
    if unknown:
        parser.error(f"unknown question '{unknown[0]}': choose from {', '.join(QUESTIONS)}")
    if "sweeps" in known.questions:
        use_cores()  # a population has all of them; before JAX computes anything
    environment = describe_environment()
    for name in known.questions or QUESTIONS:
        own = {"torch_python": known.torch_python} if name == "sweeps" else {}
        for answer in QUESTIONS[name].run(quick=known.quick, **own):
            line = json.dumps({**answer, "environment": environment})
            print(json.dumps(answer), flush=True)
            if known.out is not None:
                known.out.parent.mkdir(parents=True, exist_ok=True)
                with known.out.open("a") as file:
                    print(line, file=file)
    print("done", file=sys.stderr)


if __name__ == "__main__":
    main()
