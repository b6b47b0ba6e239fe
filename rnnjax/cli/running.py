"""Commands that train: run, resume."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from rnnjax.cli.describing import add_experiment, show
from rnnjax.cli.options import add_code
from rnnjax.cli.sweeping import print_sweep
from rnnjax.cli.terminal import print_json
from rnnjax.config import InputError


def add_run(parser: argparse.ArgumentParser) -> None:
    """run an experiment, leaving a folder with all that belongs to it"""
    add_experiment(parser, optional=True)
    parser.add_argument("--from", dest="source", metavar="RUN", help="a run, or the best of a sweep as SWEEP:best")
    parser.add_argument("--root", default="runs", help="folder that holds runs (default: runs)")
    parser.add_argument("--name", help="of the run's folder (default: numbered after the experiment)")
    parser.add_argument("--dry-run", action="store_true", help="check everything and show it; train nothing")
    parser.add_argument("--quiet", action="store_true", help="no progress")
    parser.add_argument(
        "--no-measure", action="store_true", help="do not time ways to use this machine: take what rules choose"
    )


def run_experiment(known: argparse.Namespace) -> None:
    """Trains, or with --dry-run shows what would be trained."""
    if (known.experiment is None) == (known.source is None):
        raise InputError(
            "one experiment is to be named",
            "in 'rnnjax run'",
            "give EXPERIMENT, or --from RUN; see 'rnnjax run --help'",
        )
    known.experiment = known.experiment or known.source
    if known.dry_run:
        from rnnjax.store import check_name

        check_name(known.root, known.name)
        show(known)
        return
    from rnnjax.experiment import load
    from rnnjax.run import run
    from rnnjax.run.members import located
    from rnnjax.sweep.launch.workers import get_ready

    get_ready(known.code)
    finished = run(
        load(located(known.experiment), known.overrides),
        known.root,
        known.name,
        quiet=known.quiet or known.json,
        command=known.line,
        measure=False if known.no_measure else None,
    )
    _print_run(finished, known.json)


def add_resume(parser: argparse.ArgumentParser) -> None:
    """go on with a run that was stopped"""
    parser.add_argument("run", help="the folder of a run or a sweep, or a member as SWEEP:17")
    add_code(parser)
    parser.add_argument("--json", action="store_true", help="for machines")
    parser.add_argument("--quiet", action="store_true", help="no progress")
    parser.epilog = "Train longer with --train.epochs N or --train.steps N."


def resume_run(known: argparse.Namespace) -> None:
    """Goes on where the run or the sweep stopped."""
    from rnnjax.store import is_sweep

    if is_sweep(known.run):
        _resume_sweep(known)
        return
    from rnnjax.run import resume
    from rnnjax.sweep.launch.workers import get_ready

    get_ready(known.code)
    _print_run(resume(known.run, known.overrides, quiet=known.quiet or known.json), known.json)


def _resume_sweep(known: argparse.Namespace) -> None:
    if known.overrides:
        raise InputError(
            "a sweep goes on as it was planned", "in 'rnnjax resume'", "start another sweep, or resume a member"
        )
    from rnnjax.run.sweeping import go_on
    from rnnjax.sweep.launch.workers import get_ready
    from rnnjax.sweep.story import open_sweep

    get_ready(known.code)
    go_on(open_sweep(known.run), quiet=known.quiet or known.json)
    print_sweep(Path(known.run), known.json)


def _print_run(finished: Any, as_json: bool) -> None:
    summary = finished.summary()
    if as_json:
        print_json({"run": str(finished.path), **summary})
        return
    numbers = "  ".join(f"{key} {value:.4f}" for key, value in summary["metrics"].items() if key.endswith("loss"))
    print(f"{summary['status']}: {summary['steps']:,} steps in {summary['seconds']:.1f} s  {numbers}")
    for name, value in summary["references"].items():
        print(f"  {name}: {value:.4f}")
    for name in ("findings.txt", "sample.txt"):
        written = finished.path / name
        if written.is_file():
            print(f"\n{written.read_text(encoding='utf-8').strip()}\n")
    print(f"report: {finished.path / 'report.html'}")
