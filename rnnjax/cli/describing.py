"""Commands that describe: list, show, doctor."""

from __future__ import annotations

import argparse
from typing import Any

from rnnjax.cli.options import add_code, import_code
from rnnjax.cli.terminal import plain, print_json, print_table
from rnnjax.config import InputError


def add_list(parser: argparse.ArgumentParser) -> None:
    """list the experiments that can be run by name"""
    parser.add_argument("--json", action="store_true", help="for machines")


def list_experiments(known: argparse.Namespace) -> None:
    """Prints the presets and their variants."""
    from rnnjax.experiment import about, presets

    found = [{"name": name, "about": about(name)} for name in presets()]
    if known.json:
        print_json(found)
        return
    for entry in found:
        print(f"{entry['name']:26s} {entry['about']}".rstrip())


def add_experiment(parser: argparse.ArgumentParser, *, optional: bool = False) -> None:
    """The argument that names an experiment, and how overrides are written."""
    parser.add_argument(
        "experiment",
        nargs="?" if optional else None,
        help="a preset or variant (rnnjax list), a .yaml or .py file, a run's folder, or a member as SWEEP:17",
    )
    parser.add_argument("--json", action="store_true", help="for machines")
    add_code(parser)
    parser.epilog = (
        "Any value of the description can be set as --section.key VALUE; 'rnnjax show EXPERIMENT' lists them."
    )


def add_show(parser: argparse.ArgumentParser) -> None:
    """show an experiment: configuration, data, layers, memory, plan"""
    add_experiment(parser)
    parser.add_argument(
        "--plan",
        action="store_true",
        help="how it would use this machine, alone: each way timed, or why it cannot be; measured once, remembered",
    )
    parser.add_argument("--data", action="store_true", help="what the data is made of, alone")
    parser.add_argument("--layer", action="store_true", help="the first recurrent layer alone: weights and shapes")
    parser.add_argument(
        "--graph", nargs="?", const="", metavar="FILE", help="draw the unfolded network into a .png or .svg file"
    )


def show(known: argparse.Namespace) -> None:
    """Prints all that is known before training, or the part that is asked for."""
    from rnnjax import config
    from rnnjax.experiment import load
    from rnnjax.run.members import located

    planning = known.command == "show" and known.plan
    if planning:
        from rnnjax.sweep.launch.workers import get_ready

        get_ready(known.code)
    else:
        import_code(known)
    experiment = load(located(known.experiment), known.overrides)
    if planning:
        _show_plan(known, experiment)
        return
    built = experiment.built
    if known.command == "show" and _show_part(known, built):
        return
    rows, plan, needed = built.layers(), built.plans(), built.memory()
    total = sum(row["parameters"] for row in rows)
    facts = {
        **built.task.summary(),
        "steps an epoch": built.trainer.epoch_steps,
        "steps in all": built.trainer.total,
    }
    if known.json:
        print_json(
            {
                "configuration": config.to_dict(experiment),
                "data": facts,
                "layers": rows,
                "parameters": total,
                "memory": needed,
                "plan": plan,
            }
        )
        return
    print_table("data", ["", ""], [(k, f"{v:,}" if isinstance(v, int | float) else v) for k, v in facts.items()])
    shapes = [(r["layer"], " x ".join(map(str, r["shape"])), f"{r['parameters']:,}") for r in rows]
    print_table("layers", ["parameter", "shape", "numbers"], [*shapes, ("total", "", f"{total:,}")])
    print_table("memory", ["", "kB"], [(k, f"{v / 1e3:,.0f}") for k, v in needed.items()])
    print_table("plan", ["layer", "executor", "why"], [(p["layer"], p["executor"], "\n".join(p["why"])) for p in plan])
    settings = [(key, plain(value), doc) for key, value, _, doc in config.describe(experiment)]
    print_table("configuration (set any with --KEY VALUE)", ["key", "value", "about"], settings)


def _show_plan(known: argparse.Namespace, experiment: Any) -> None:
    """Prints how a training would use this machine, and what was measured of other ways."""
    from rnnjax import choosing
    from rnnjax.progress import teller

    built = experiment.built
    found = choosing.choose(built, measuring=True, short=0.0, lost=True, tell=teller(quiet=known.json))
    plan = choosing.fitted(built, found.layout).plans()
    refused = choosing.cannot(plan)
    if known.json:
        print_json({"layout": found.layout, "why": found.why, "cannot": refused, "plan": plan})
        return
    print(f"chosen: {choosing.described(found.layout)}\n")
    print_table("measured", [""], [(line,) for line in found.why])
    if refused:
        print_table("cannot run", ["executor", "why"], list(refused.items()))
    print_table("plan", ["layer", "executor", "why"], [(p["layer"], p["executor"], "\n".join(p["why"])) for p in plan])


def _show_part(known: argparse.Namespace, built: Any) -> bool:
    """Shows the data, the first layer or the graph alone, if that is what is asked for."""
    from rnnjax.tasks import Table

    if known.graph is not None:
        _draw_graph(known, built)
    tables: list[Table] = []
    if known.data:
        tables += built.task.tables() or [Table("data", ("", ""), list(built.task.summary().items()))]
    if known.layer:
        from rnnjax.looks.layer import layer_tables

        tables += layer_tables(built)
    if known.json and tables:
        print_json([table._asdict() for table in tables])
    elif tables:
        for table in tables:
            print_table(table.title, table.heads, table.rows)
    return known.data or known.layer or known.graph is not None


def _draw_graph(known: argparse.Namespace, built: Any) -> None:
    from pathlib import Path

    from rnnjax import figures
    from rnnjax.looks.graph import graph
    from rnnjax.store import atomic_write

    path = Path(known.graph or f"{built.experiment.name}-graph.png")
    if path.suffix not in (".png", ".svg"):
        raise InputError(f"a picture called '{path}'", "in --graph", "name a .png or .svg file")
    picture = graph(built)
    atomic_write(path, figures.png(picture) if path.suffix == ".png" else figures.svg(picture).encode())
    print(f"graph: {path}")


def add_doctor(parser: argparse.ArgumentParser) -> None:
    """check this installation: versions, devices, and that executors agree"""
    parser.add_argument("--json", action="store_true", help="for machines")


def doctor(known: argparse.Namespace) -> int:
    """Prints the checks; gives 1 if one of them failed."""
    from rnnjax.doctor import check_installation

    environment, checks = check_installation()
    well = all(good for _, good, _ in checks)
    if known.json:
        print_json(
            {
                "environment": environment,
                "checks": [dict(zip(("name", "good", "about"), c, strict=True)) for c in checks],
            }
        )
    else:
        print_table("environment", ["", ""], [(key, plain(value)) for key, value in environment.items()])
        print_table("checks", ["", "", ""], [(name, "ok" if good else "BAD", about) for name, good, about in checks])
    return 0 if well else 1
