"""Commands about sweeps: sweep, best, compare."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rnnjax.cli.describing import add_experiment
from rnnjax.cli.terminal import print_json, print_table
from rnnjax.config import InputError, nearest
from rnnjax.progress import teller

ENGINES = "slurm, ray or hosts"


def add_sweep(parser: argparse.ArgumentParser) -> None:
    """train many members of one experiment: KEY=VALUES are crossed or sampled, and all members trained together"""
    add_experiment(parser)
    parser.add_argument(
        "axes",
        nargs="*",
        metavar="KEY=VALUES",
        help="what is swept: seed=0..31, model.units=64,128, train.learning_rate=1e-4..1e-1:log",
    )
    parser.add_argument("--root", default="runs", help="folder that holds runs and sweeps (default: runs)")
    parser.add_argument("--name", help="of the sweep's folder (default: numbered after the experiment)")
    parser.add_argument("--dry-run", action="store_true", help="plan it and show the plan; train nothing")
    parser.add_argument("--shard", metavar="I/N", help="train this share of the batches, as 0/4; all name one folder")
    parser.add_argument("--launch", metavar="ENGINE", help=f"have others train it: {ENGINES}")
    parser.add_argument("--workers", type=int, metavar="N", help="jobs, actors or hosts, with --launch")
    parser.add_argument("--address", help="of the Ray cluster, or of host 0 as HOST:PORT, with --launch")
    parser.add_argument("--host", type=int, metavar="K", help="which of the hosts this is, with --launch hosts")
    parser.add_argument(
        "--slurm", action="append", default=[], metavar="KEY=VALUE", help="a parameter of the jobs, as partition=gpu"
    )
    parser.add_argument("--quiet", action="store_true", help="no progress")
    parser.epilog = (
        "How it is searched: --trials N, --sampler random|grid|sobol|tpe|cmaes|gp, --halving N, --first-rung STEP, "
        "--exploit-every STEPS, --width N. Any value of the experiment can be set as --section.key VALUE."
    )


def run_sweep(known: argparse.Namespace) -> None:
    """Plans and trains a sweep, or shows the plan."""
    axes, settings, overrides = _sorted_out(known)
    from rnnjax.experiment import load
    from rnnjax.run.members import located
    from rnnjax.sweep.launch.workers import get_ready
    from rnnjax.sweep.spaces import Space

    get_ready(known.code)
    experiment = load(located(known.experiment), overrides)
    space = Space.parse(axes)
    if known.dry_run:
        _dry_run(known, experiment, space, settings)
        return
    from rnnjax.run.sweeping import go_on
    from rnnjax.sweep import launch
    from rnnjax.sweep.story import open_sweep, prepare

    quiet = known.quiet or known.json
    shard = None if known.shard is None else launch.parse_shard(known.shard)
    if shard is not None and (known.launch or not known.name):
        raise InputError(
            "a share of a sweep that others cannot find", "in --shard", "give the --name that all shares have in common"
        )
    parameters = _pairs(known.slurm)
    if known.launch:
        launch.check(known.launch, workers=known.workers, address=known.address, host=known.host)
    parts = shard[1] if shard else known.workers or 1
    if settings.batches < parts:
        settings = dataclasses.replace(settings, batches=parts)
    join = shard is not None or known.launch == "hosts"
    path = prepare(
        experiment,
        space,
        settings,
        known.root,
        known.name,
        join=join,
        command=known.line,
        tell=teller(quiet=quiet),
    )
    if known.launch:
        _launch(known, path, parameters)
    else:
        go_on(open_sweep(path), shard=shard, quiet=quiet)
    print_sweep(path, known.json)


def _launch(known: argparse.Namespace, path: Path, parameters: Mapping[str, str]) -> None:
    """Has an engine train the sweep."""
    from rnnjax.sweep import launch

    launch.start(
        known.launch,
        path,
        workers=known.workers,
        address=known.address,
        host=known.host,
        parameters=parameters,
        code=known.code,
        quiet=known.quiet or known.json,
    )


def _pairs(texts: Sequence[str]) -> dict[str, str]:
    wrong = next((text for text in texts if "=" not in text), None)
    if wrong is not None:
        raise InputError(f"'{wrong}' has no value", "in --slurm", "write it as partition=gpu")
    return dict(text.split("=", 1) for text in texts)


def _sorted_out(known: argparse.Namespace) -> tuple[list[str], Any, dict[str, Any]]:
    """Axes, settings of the sweep, and values of the base experiment, in whatever order they were written."""
    from rnnjax import config
    from rnnjax.sweep.settings import SweepConfig

    axes, rest = list(known.axes), list(known.rest)
    options: list[str] = []
    waiting = False
    for token in rest:
        if token.startswith("--"):
            options.append(token)
            waiting = "=" not in token
        elif waiting:
            options.append(token)
            waiting = False
        else:
            axes.append(token)
    given = config.parse_arguments(options)
    names = {f.name for f in dataclasses.fields(SweepConfig)}
    own = {key: value for key, value in given.items() if key.replace("-", "_") in names}
    overrides = {key: value for key, value in given.items() if key not in own}
    for key in overrides:
        if "." not in key and key != "seed":
            near = nearest(key, [*names, "seed"])
            fix = f"did you mean --{near[0].replace('_', '-')}?" if near else "see 'rnnjax sweep --help'"
            raise InputError(f"unknown option '--{key}'", "after 'rnnjax sweep'", fix)
    if not axes:
        raise InputError("nothing to sweep", "after the experiment", "give axes, such as seed=0..7")
    return axes, config.override(SweepConfig(), own), overrides


def _dry_run(known: argparse.Namespace, experiment: Any, space: Any, settings: Any) -> None:
    """Shows the plan of a sweep."""
    from rnnjax.choosing import described
    from rnnjax.store import check_name
    from rnnjax.sweep.plan import shaping
    from rnnjax.sweep.story import first_stage

    check_name(known.root, known.name)
    stage = first_stage(experiment, space, settings, tell=teller(quiet=known.json))
    plan = stage.plan
    if known.json:
        print_json({"members": len(stage.choices), **plan.to_dict(), "seconds": plan.seconds, "bytes": plan.bytes})
        return
    rows = []
    for program in plan.programs:
        batches = [batch for batch in plan.batches if batch.program == program.index]
        times = [program.seconds(len(batch.members), batch.until - batch.start) for batch in batches]
        seconds = None if None in times else sum(filter(None, times))
        rows.append(
            (
                program.index,
                ", ".join(f"{key}={value}" for key, value in shaping(program.choices).items()) or "all",
                f"{program.members:,}",
                f"{len(batches)} of {program.width:,}",
                f"{program.parameters:,}",
                _megabytes(program.bytes),
                "" if program.step_seconds is None else f"{1e6 * program.step_seconds:,.1f} µs",
                "" if seconds is None else _clock(seconds),
            )
        )
    heads = ["program", "differs in", "members", "batches", "parameters", "a member", "a step of it", "time"]
    print_table("plan", heads, rows)
    for program in plan.programs:
        print(f"program {program.index}: {described(program.layout)}")
        for line in program.why:
            print(f"    {line}")
    more = "; the first generation alone" if settings.adaptive else "; up to the first rung" if settings.halving else ""
    time = "not measured" if plan.seconds is None else _clock(plan.seconds)
    programs = f"{len(plan.programs)} compiled program{'s' * (len(plan.programs) != 1)}"
    batches = f"{len(plan.batches):,} batch{'es' * (len(plan.batches) != 1)}"
    print(f"\n{len(stage.choices):,} members, {programs}, {batches}, {plan.member_steps:,} steps of members")
    print(f"memory {_megabytes(plan.bytes)} at most, time {time}{more}")


def _megabytes(count: float) -> str:
    return f"{count / 2**20:,.1f} MB" if count >= 2**20 else f"{count / 2**10:,.1f} kB"


def _clock(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def print_sweep(path: Path, as_json: bool) -> None:
    """Shows what a sweep came to."""
    from rnnjax.sweep.story import open_sweep

    found = open_sweep(path)
    summary = found.folder.summary() or found.summed_up(found.table())
    if as_json:
        print_json({"sweep": str(path), **summary})
        return
    statuses = ", ".join(f"{count:,} {status}" for status, count in summary["statuses"].items())
    pace = f", {summary['steps_per_second']:,.0f} steps of members a second" if summary["steps_per_second"] else ""
    print(f"{summary['members']:,} members: {statuses or 'none trained'}; {summary['seconds']:.1f} s{pace}")
    if summary["best"] is not None:
        chosen = "  ".join(f"{key}={value}" for key, value in summary["choices"].items())
        print(f"best: member {summary['best']}, {summary['metric']} {summary['value']:.4f}  {chosen}")
    if found.is_done():
        print(f"report: {path / 'report.html'}\nits best member as a run: rnnjax show {path}:best")
    else:
        print(f"not finished: rnnjax resume {path}, or its other shares")


def add_best(parser: argparse.ArgumentParser) -> None:
    """the best members of a sweep"""
    parser.add_argument("sweep", help="the sweep's folder")
    parser.add_argument("-n", type=int, default=10, metavar="N", help="how many (default: 10)")
    parser.add_argument("--metric", help="a column of the table (default: what the sweep compares by)")
    parser.add_argument("--direction", choices=("min", "max"), help="whether less or more is better (default: by name)")
    parser.add_argument("--json", action="store_true", help="for machines")


def best(known: argparse.Namespace) -> None:
    """Prints the best members."""
    from rnnjax.sweep.story import open_sweep

    found = open_sweep(known.sweep)
    table = found.table()
    metric = known.metric or found.metric
    rows = table.best(metric, known.direction, known.n)
    if known.json:
        print_json(rows)
        return
    if not rows:
        raise InputError("no member has been measured so far", f"in '{known.sweep}'", "let the sweep go on")
    heads = ["member", metric, *table.choices, "status", "steps"]
    print_table(f"best of {len(table):,} members", heads, [[_shown(row[name]) for name in heads] for row in rows])


def add_compare(parser: argparse.ArgumentParser) -> None:
    """members of a sweep side by side, or runs: choices and metrics"""
    parser.add_argument("what", nargs="+", help="a sweep's folder, members as SWEEP:17, or runs' folders")
    parser.add_argument("--diff-only", action="store_true", help="only what differs")
    parser.add_argument("--json", action="store_true", help="for machines")


def compare(known: argparse.Namespace) -> None:
    """Prints descriptions and metrics side by side."""
    from rnnjax.run.comparing import compared

    names, rows = compared(known.what, differing=known.diff_only)
    if known.json:
        print_json({key: dict(zip(names, values, strict=True)) for key, values in rows.items()})
        return
    print_table("", ["", *names], [[key, *map(_shown, values)] for key, values in rows.items()])


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1e-3 or abs(value) >= 1e5 else f"{value:.4f}".rstrip("0").rstrip(".")
    return "" if value is None else str(value)
