"""Commands that train: run, resume."""

from __future__ import annotations

import argparse
from typing import Any

from rnnjax.cli.describing import add_experiment, show
from rnnjax.cli.options import add_code, import_code
from rnnjax.cli.terminal import print_json


def add_run(parser: argparse.ArgumentParser) -> None:
    """run an experiment, leaving a folder with all that belongs to it"""
    add_experiment(parser)
    parser.add_argument("--root", default="runs", help="folder that holds runs (default: runs)")
    parser.add_argument("--name", help="of the run's folder (default: numbered after the experiment)")
    parser.add_argument("--dry-run", action="store_true", help="check everything and show it; train nothing")
    parser.add_argument("--quiet", action="store_true", help="no progress")


def run_experiment(known: argparse.Namespace) -> None:
    """Trains, or with --dry-run shows what would be trained."""
    if known.dry_run:
        from rnnjax.store import check_name

        check_name(known.root, known.name)
        show(known)
        return
    _compilation_cache()
    from rnnjax.experiment import load
    from rnnjax.run import run

    import_code(known)
    finished = run(
        load(known.experiment, known.overrides),
        known.root,
        known.name,
        quiet=known.quiet or known.json,
        command=known.line,
    )
    _print_run(finished, known.json)


def add_resume(parser: argparse.ArgumentParser) -> None:
    """go on with a run that was stopped"""
    parser.add_argument("run", help="the run's folder")
    add_code(parser)
    parser.add_argument("--json", action="store_true", help="for machines")
    parser.add_argument("--quiet", action="store_true", help="no progress")
    parser.epilog = "Train longer with --train.epochs N or --train.steps N."


def resume_run(known: argparse.Namespace) -> None:
    """Goes on where the run stopped."""
    _compilation_cache()
    from rnnjax.run import resume

    import_code(known)
    _print_run(resume(known.run, known.overrides, quiet=known.quiet or known.json), known.json)


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


def _compilation_cache() -> None:
    """Keeps compiled programs on disk between commands."""
    import os
    from pathlib import Path

    import jax

    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    jax.config.update("jax_compilation_cache_dir", str(Path(base) / "rnnjax" / "xla"))
