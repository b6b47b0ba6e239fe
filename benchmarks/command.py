"""What is asked on the command line, and how it is answered. Light: what measures is imported when it is needed."""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import itertools
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rnnjax.benchmarks.results_files import Row, differences, read_results, side_by_side, value_text
from rnnjax.config import InputError, nearest

if TYPE_CHECKING:
    from rnnjax.benchmarks.harness import Asked
    from rnnjax.benchmarks.workloads import Workload

Table = Callable[[str, Sequence[str], Sequence[Sequence[Any]]], None]

COMPARED = {
    "step": ("step", "run"),
    "forward": ("sequence", "forward"),
    "gradient": ("sequence", "gradient"),
    "population": ("population", "run"),
    "generation": ("generation", "run"),
    "loading": ("loading", "run"),
    "start": ("start", "run"),
}
"""Questions put to peers too: file and function."""
OURS_ALONE = (
    "linear",
    "recording",
    "dispatch",
    "streaming",
    "explorer",
    "lesions",
    "named_cells",
    "sweep_page",
    "studies",
)
"""Questions about rnnjax alone: files."""
USUAL = (*COMPARED, "linear", "recording", "dispatch")
"""What is asked if nothing is named."""
NETWORK: dict[str, tuple[Callable[[str], Any], str]] = {
    "cell": (str, "elman, lstm or gru"),
    "units": (int, "of the recurrent layer"),
    "batch": (int, "rows"),
    "time": (int, "steps"),
    "vocab": (int, "symbols that are read; 0: numbers are"),
    "embedding": (int, "width of the symbols' embedding; 0: one-hot rows"),
    "features": (int, "numbers a step, where numbers are read (default: as many as units)"),
    "dtype": (str, "float32 or bfloat16"),
}
"""Options that make a workload of one's own; each may have several values, separated by commas."""
CHOICES = {"cell": ("elman", "lstm", "gru"), "dtype": ("float32", "bfloat16")}
FAMILIES = {"keras": ("keras_jax", "keras_tensorflow")}
"""Names that stand for several peers."""
LEAST = {"vocab": 0, "embedding": 0, "features": 0}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds what can be asked."""
    parser.add_argument(
        "questions",
        nargs="*",
        metavar="QUESTION",
        help=f"of {', '.join((*COMPARED, *OURS_ALONE))} (default: the usual)",
    )
    parser.add_argument(
        "--workload", nargs="+", default=[], metavar="NAME", help="networks of benchmarks/workloads.py (default: usual)"
    )
    parser.add_argument(
        "--peers", metavar="NAMES", help="as torch,keras; all, or none (default: the usual ones of each question)"
    )
    parser.add_argument(
        "--python",
        action="append",
        default=[],
        metavar="PEER=PYTHON",
        help="the Python that has a peer (default: this)",
    )
    parser.add_argument(
        "--executors", default="", metavar="NAMES", help="of rnnjax, beside the one that it chooses, as scan,fused"
    )
    parser.add_argument("--quick", action="store_true", help="small workloads and few rounds")
    parser.add_argument("--rounds", type=int, metavar="N", help="of all candidates in turn (default: 5 or 7)")
    parser.add_argument("--threads", type=int, metavar="N", help="that each candidate may use (default: all)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="add the rows to this file, a JSON object a line")
    parser.add_argument("--compare", nargs=2, metavar=("A", "B"), help="set two such files side by side instead")
    parser.add_argument("--json", action="store_true", help="rows as JSON lines, for machines")
    network = parser.add_argument_group("a network of your own, or a change to one that is named; A,B,C gives several")
    for name, (_, about) in NETWORK.items():
        network.add_argument(f"--{name}", metavar="VALUE", help=about)
    network.add_argument("--members", metavar="N", help="of a population, as 1,16,64")


def ask(known: argparse.Namespace, table: Table) -> None:
    """Measures what is asked, or compares two files.

    Args:
      known: what `add_options` has read.
      table: shows one, given title, heads and rows.

    Raises:
      InputError: there is no such question, workload, peer or file.
    """
    if known.compare:
        _compare(known, table)
        return
    questions = [_question(name) for name in known.questions]
    if not questions:
        questions = ["step"] if _of_ones_own(known) else list(USUAL)
    asked = _asked(known)
    from rnnjax.timing import describe_environment

    began, environment, rows = time.perf_counter(), describe_environment(), list[Row]()
    with tempfile.TemporaryDirectory(prefix="rnnjax-bench-") as cache:
        asked = dataclasses.replace(asked, cache=Path(cache))
        for name in questions:
            for row in _answers(name, asked):
                rows.append({**row, "environment": environment})
                _keep(known, rows[-1])
                asked.tell(_in_a_line(row))
    asked.tell(f"done in {time.perf_counter() - began:.0f} s")
    if not known.json:
        show(rows, table)


def show(rows: Sequence[Row], table: Table) -> None:
    """Shows rows of results, a table a question."""
    for question, found in itertools.groupby(rows, lambda row: row["question"]):
        group = list(found)
        if question in COMPARED:
            heads = ("workload", "candidate", "time", "ratio", "over floor", "first", "MB")
            table(question, heads, [_cells(row) for row in group])
        else:
            plain = [{k: v for k, v in row.items() if k not in ("question", "environment")} for row in group]
            heads = list(dict.fromkeys(key for row in plain for key in row))
            table(question, heads, [[value_text(row.get(key)) for key in heads] for row in plain])


def plain_table(title: str, heads: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Prints a table where nothing but Python is there to do it."""
    lines = [list(map(str, heads)), *[list(map(str, row)) for row in rows]]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    print(title)
    for line in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
    print()


def _question(name: str) -> str:
    plain = name.replace("-", "_")
    if plain in COMPARED or plain in OURS_ALONE:
        return plain
    raise _unknown("question", name, (*COMPARED, *OURS_ALONE), "on the command line")


def _unknown(what: str, name: str, known: Iterable[str], where: str) -> InputError:
    close = nearest(name, known)
    fix = f"did you mean '{close[0]}'?" if close else f"choose from {', '.join(known)}"
    return InputError(f"unknown {what} '{name}'", where, fix)


def _answers(name: str, asked: Asked) -> Iterator[Row]:
    if name in COMPARED:
        module, function = COMPARED[name]
        return getattr(importlib.import_module(f"rnnjax.benchmarks.{module}"), function)(asked)
    asked.tell(f"{name} ...")
    return importlib.import_module(f"rnnjax.benchmarks.{name}").run(quick=asked.quick)


def _asked(known: argparse.Namespace) -> Asked:
    """What is measured and how.

    Raises:
      InputError: something of it is wrong.
    """
    for name in ("rounds", "threads"):
        if (value := getattr(known, name)) is not None and value < 1:
            raise InputError(f"{value} {name}", f"in --{name}", "give a number from 1 on")
    there = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads = known.threads or there
    if threads > there:
        raise InputError(f"{threads} threads", "in --threads", f"give at most the {there} cores that there are")
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # candidates have the memory of a GPU
    import jax

    from rnnjax.benchmarks import harness
    from rnnjax.executors import EXECUTORS

    executors = tuple(filter(None, known.executors.split(",")))
    for name in executors:
        if name not in EXECUTORS:
            raise _unknown("executor", name, EXECUTORS, "in --executors")
    pythons = {}
    for pair in known.python:
        names, sign, python = pair.partition("=")
        if not sign or not python:
            raise InputError(f"'{pair}' names no Python", "in --python", "give PEER=PYTHON, as torch=/usr/bin/python3")
        for name in names.split(","):
            peers = _peers(name, (*harness.PEERS, harness.OURS), "in --python")
            pythons.update(dict.fromkeys(peers, python))
    backend = jax.default_backend()
    return harness.Asked(
        workloads=workloads(known),
        peers=None if known.peers is None else chosen_peers(known.peers),
        pythons=pythons,
        threads=threads,
        device=backend if backend in ("cpu", "tpu") else "gpu",
        executors=executors,
        members=None if known.members is None else tuple(_numbers(known.members, "members")),
        rounds=known.rounds,
        quick=known.quick,
        tell=lambda line: print(line, file=sys.stderr, flush=True),
    )


def chosen_peers(text: str) -> tuple[str, ...]:
    """The peers that a comma-separated text names, or `none`, or `all`.

    Raises:
      InputError: an unknown name.
    """
    from rnnjax.benchmarks.harness import PEERS

    if text in ("none", "all"):
        return () if text == "none" else PEERS
    names = filter(None, (part.strip() for part in text.split(",")))
    return tuple(dict.fromkeys(peer for name in names for peer in _peers(name, PEERS, "in --peers")))


def _peers(name: str, known: Sequence[str], where: str) -> tuple[str, ...]:
    """The peers that a name stands for: itself, or both of Keras.

    Raises:
      InputError: there is none of that name.
    """
    plain = name.replace("-", "_")
    if plain in FAMILIES:
        return FAMILIES[plain]
    if plain in known:
        return (plain,)
    raise _unknown("peer", name, (*known, *FAMILIES), where)


def _of_ones_own(known: argparse.Namespace) -> bool:
    return any(getattr(known, name) is not None for name in NETWORK)


def workloads(known: argparse.Namespace) -> tuple[Workload, ...] | None:
    """The workloads that are named or described; None if none are.

    Raises:
      InputError: there is none of that name, or it cannot be changed so.
    """
    from rnnjax.benchmarks.workloads import WORKLOADS

    for name in known.workload:
        if name not in WORKLOADS:
            raise _unknown("workload", name, WORKLOADS, "in --workload")
    named = [WORKLOADS[name] for name in known.workload]
    if not _of_ones_own(known):
        return tuple(named) or None
    given = {name: _values(name, text) for name in NETWORK if (text := getattr(known, name)) is not None}
    changes = [dict(zip(given, values, strict=True)) for values in itertools.product(*given.values())]
    return tuple(_changed(base, change) for base in named or [None] for change in changes)


def _changed(base: Workload | None, change: Mapping[str, Any]) -> Workload:
    """A workload with some of its numbers changed, and a name that says so."""
    from rnnjax.benchmarks.workloads import Workload

    if base is None:
        made = Workload("", **change)
        if not made.vocab and not made.features:
            made = dataclasses.replace(made, features=made.units)
        reads = f"vocab {made.vocab}" if made.vocab else f"features {made.features}"
        if made.vocab and made.embedding:
            reads += f", embedding {made.embedding}"
        name = f"{made.cell} {made.units}, batch {made.batch}, time {made.time}, {reads}"
        return dataclasses.replace(made, name=name if made.dtype == "float32" else f"{name}, {made.dtype}")
    if base.decoder_units and set(change) - {"dtype"}:
        raise InputError(
            f"'{base.name}' with other numbers",
            "on the command line",
            "it is that of its study; only --dtype changes it",
        )
    preset = base.preset if not set(change) - {"dtype"} else ""
    name = ", ".join([base.name, *[f"{key} {value}" for key, value in change.items()]])
    return dataclasses.replace(base, **change, name=name, preset=preset)


def _values(name: str, text: str) -> list[Any]:
    """The values of an option.

    Raises:
      InputError: one that cannot be.
    """
    if NETWORK[name][0] is int:
        return _numbers(text, name, LEAST.get(name, 1))
    found = text.split(",")
    for value in found:
        if value not in CHOICES[name]:
            raise _unknown(name, value, CHOICES[name], f"in --{name}")
    return found


def _numbers(text: str, name: str, least: int = 1) -> list[int]:
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and int(part) >= least for part in parts):
        raise InputError(f"'{text}'", f"in --{name}", f"give whole numbers from {least} on, as 64 or 64,128")
    return [int(part) for part in parts]


def _keep(known: argparse.Namespace, row: Row) -> None:
    """Prints a row or appends it to a file, as is wanted."""
    line = json.dumps(row)
    if known.json:
        print(line, flush=True)
    if known.out is not None:
        known.out.parent.mkdir(parents=True, exist_ok=True)
        with known.out.open("a", encoding="utf-8") as file:
            print(line, file=file)


def _compare(known: argparse.Namespace, table: Table) -> None:
    """Shows two files of results side by side, and what their circumstances differ in."""
    a, b = (read_results(path) for path in known.compare)
    rows, apart = side_by_side(a, b), differences(a, b)
    if known.json:
        print(json.dumps({"differences": apart, "rows": rows}))
        return
    if apart:
        table("measured under other circumstances", ("", *known.compare), apart)
    cells = []
    for row in rows:
        sides = [row["skipped_a"] or _time(row["seconds_a"]), row["skipped_b"] or _time(row["seconds_b"])]
        speedup = "" if row["speedup"] is None else f"{row['speedup']:.2f}{'' if row['apart'] else ' (overlap)'}"
        cells.append((row["question"], _where(row), row["candidate"], *sides, speedup))
    table("side by side", ("question", "workload", "candidate", *known.compare, "times as fast"), cells)


def _where(row: Row) -> str:
    members = row.get("members") or 1
    return f"{row['workload']}, {members} members" if members > 1 else row["workload"]


def _cells(row: Row) -> tuple[str, ...]:
    """A row of a table of times."""
    place = (_where(row), row["candidate"])
    if row.get("skipped"):
        return (*place, f"skipped: {row['skipped']}", "", "", "", "")
    ratio = row.get("ratio")
    spread = "" if ratio is None else f"{ratio:.2f} ({row['ratio_least']:.2f}–{row['ratio_greatest']:.2f})"
    over, first, memory = (row.get(name) for name in ("over_floor", "first_s", "memory_mb"))
    return (
        *place,
        _time(row["seconds"]),
        spread,
        "" if over is None else f"{over:.1f}",
        "" if first is None else f"{first:.1f} s",
        "" if memory is None else f"{memory:.0f}",
    )


def _in_a_line(row: Row) -> str:
    if row["question"] not in COMPARED:
        return f"  {row['question']}: " + ", ".join(f"{k} {value_text(v)}" for k, v in row.items() if k != "question")
    place, name, took, ratio, *_ = _cells(row)
    return f"  {place}: {name} {took}" + (f", {ratio} times as long" if ratio else "")


def _time(seconds: float | None) -> str:
    if seconds is None:
        return ""
    unit, factor = next((u for u in (("s", 1.0), ("ms", 1e3), ("us", 1e6)) if seconds * u[1] >= 1), ("us", 1e6))
    return f"{seconds * factor:.3g} {unit}"
