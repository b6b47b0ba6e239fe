"""The command line: every command is one function of the package, and heavy imports wait until one runs."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from rnnjax.config import InputError, nearest, parse_arguments

BAD_INPUT = 2


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are the house's own."""

    def error(self, message: str) -> NoReturn:
        raise InputError(message, f"in '{self.prog}'", f"see '{self.prog} --help'")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; gives the exit code: 0, 2 bad input, 3 non-finite training, 130 or 143 saved after a signal."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    try:
        return _dispatch(arguments)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return BAD_INPUT
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:
        sys.stderr.close()
        return 141
    except Exception as error:
        code = getattr(error, "exit_code", None)
        if code is None:
            raise
        print(f"error: {error}", file=sys.stderr)
        return code


def _dispatch(arguments: list[str]) -> int:
    parser = _Parser(
        prog="rnnjax", description="An experiment engine for recurrent networks on JAX.", allow_abbrev=False
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=_Parser)
    for name, (add, _) in COMMANDS.items():
        add(commands.add_parser(name, help=add.__doc__, description=add.__doc__, allow_abbrev=False))
    word = next((a for a in arguments if not a.startswith("-")), None)
    if word is not None and word not in COMMANDS:
        close = nearest(word, COMMANDS)
        fix = f"did you mean '{close[0]}'?" if close else f"choose one of {', '.join(COMMANDS)}"
        raise InputError(f"unknown command '{word}'", "on the command line", fix)
    known, rest = parser.parse_known_args(arguments)
    if known.command is None:
        parser.print_help()
        return 0
    takes_overrides = known.command in ("run", "show", "resume")
    if rest and not takes_overrides:
        raise InputError(
            f"unknown option '{rest[0]}'",
            f"after 'rnnjax {known.command}'",
            f"see 'rnnjax {known.command} --help'",
        )
    known.overrides = parse_arguments(rest)
    known.line = shlex.join(["rnnjax", *arguments])
    return COMMANDS[known.command][1](known) or 0


def _add_list(parser: argparse.ArgumentParser) -> None:
    """list the experiments that can be run by name"""
    parser.add_argument("--json", action="store_true", help="for machines")


def _list(known: argparse.Namespace) -> None:
    from rnnjax.experiment import about, presets

    found = [{"name": name, "about": about(name)} for name in presets()]
    if known.json:
        _print_json(found)
        return
    for entry in found:
        print(f"{entry['name']:26s} {entry['about']}".rstrip())


def _add_experiment(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("experiment", help="a preset or variant (rnnjax list), a .yaml or .py file, or a run's folder")
    parser.add_argument("--json", action="store_true", help="for machines")
    _add_code(parser)
    parser.epilog = (
        "Any value of the description can be set as --section.key VALUE; 'rnnjax show EXPERIMENT' lists them."
    )


def _add_show(parser: argparse.ArgumentParser) -> None:
    """show an experiment: configuration, data, layers, memory, plan"""
    _add_experiment(parser)
    parser.add_argument("--data", action="store_true", help="what the data is made of, alone")
    parser.add_argument("--layer", action="store_true", help="the first recurrent layer alone: weights and shapes")
    parser.add_argument(
        "--graph", nargs="?", const="", metavar="FILE", help="draw the unfolded network into a .png or .svg file"
    )


def _add_code(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--code",
        action="append",
        default=[],
        metavar="FILE.py:NAME",
        help="import a cell or task of your own, which a stored run names but never imports",
    )


def _import_code(known: argparse.Namespace) -> None:
    if known.code:
        from rnnjax.experiment import own_code

        for spec in known.code:
            own_code(spec)


def _show(known: argparse.Namespace) -> None:
    from rnnjax import config
    from rnnjax.experiment import load

    _import_code(known)
    experiment = load(known.experiment, known.overrides)
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
        _print_json(
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
    _table("data", ["", ""], [(k, f"{v:,}" if isinstance(v, int | float) else v) for k, v in facts.items()])
    shapes = [(r["layer"], " x ".join(map(str, r["shape"])), f"{r['parameters']:,}") for r in rows]
    _table("layers", ["parameter", "shape", "numbers"], [*shapes, ("total", "", f"{total:,}")])
    _table("memory", ["", "kB"], [(k, f"{v / 1e3:,.0f}") for k, v in needed.items()])
    _table("plan", ["layer", "executor", "why"], [(p["layer"], p["executor"], "\n".join(p["why"])) for p in plan])
    settings = [(key, _plain(value), doc) for key, value, _, doc in config.describe(experiment)]
    _table("configuration (set any with --KEY VALUE)", ["key", "value", "about"], settings)


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
        _print_json([table._asdict() for table in tables])
    elif tables:
        for table in tables:
            _table(table.title, table.heads, table.rows)
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


def _add_run(parser: argparse.ArgumentParser) -> None:
    """run an experiment, leaving a folder with all that belongs to it"""
    _add_experiment(parser)
    parser.add_argument("--root", default="runs", help="folder that holds runs (default: runs)")
    parser.add_argument("--name", help="of the run's folder (default: numbered after the experiment)")
    parser.add_argument("--dry-run", action="store_true", help="check everything and show it; train nothing")
    parser.add_argument("--quiet", action="store_true", help="no progress")


def _run(known: argparse.Namespace) -> None:
    if known.dry_run:
        from rnnjax.store import check_name

        check_name(known.root, known.name)
        _show(known)
        return
    _compilation_cache()
    from rnnjax.experiment import load
    from rnnjax.run import run

    _import_code(known)
    finished = run(
        load(known.experiment, known.overrides),
        known.root,
        known.name,
        quiet=known.quiet or known.json,
        command=known.line,
    )
    _print_run(finished, known.json)


def _add_resume(parser: argparse.ArgumentParser) -> None:
    """go on with a run that was stopped"""
    parser.add_argument("run", help="the run's folder")
    _add_code(parser)
    parser.add_argument("--json", action="store_true", help="for machines")
    parser.add_argument("--quiet", action="store_true", help="no progress")
    parser.epilog = "Train longer with --train.epochs N or --train.steps N."


def _resume(known: argparse.Namespace) -> None:
    _compilation_cache()
    from rnnjax.run import resume

    _import_code(known)
    _print_run(resume(known.run, known.overrides, quiet=known.quiet or known.json), known.json)


def _add_sample(parser: argparse.ArgumentParser) -> None:
    """draw text from a trained model"""
    parser.add_argument("run", help="the run's folder")
    _add_code(parser)
    parser.add_argument("--prompt", action="append", default=[], help="text to go on from; may be given several times")
    parser.add_argument("--length", type=int, default=500, help="symbols to draw (default: 500)")
    parser.add_argument("--temperature", type=float, default=0.5, help="0 takes the likeliest symbol (default: 0.5)")
    parser.add_argument("--top-k", type=int, default=0, help="draw from so many likeliest symbols (0: from all)")
    parser.add_argument(
        "--top-p", type=float, default=1.0, help="draw from the likeliest that together have this probability"
    )
    parser.add_argument("--rows", type=int, default=1, help="continuations of each prompt")
    parser.add_argument("--seed", type=int, default=0, help="of the draws")
    parser.add_argument("--checkpoint", default="latest", help="latest, best, or a step (default: latest)")
    parser.add_argument("--json", action="store_true", help="for machines")


def _sample(known: argparse.Namespace) -> None:
    from rnnjax.run import open_run

    _import_code(known)
    drawn = open_run(known.run).sample(
        known.prompt,
        length=known.length,
        temperature=known.temperature,
        top_k=known.top_k,
        top_p=known.top_p,
        rows=known.rows,
        seed=known.seed,
        checkpoint=_checkpoint(known),
    )
    if known.json:
        _print_json([{"prompt": prompt, "text": text} for prompt, text in drawn])
        return
    print("\n\n".join(prompt + text for prompt, text in drawn))


def _add_score(parser: argparse.ArgumentParser) -> None:
    """tell how likely a trained model finds a text"""
    parser.add_argument("run", help="the run's folder")
    parser.add_argument("--text", action="append", default=[], help="a text to score; may be given several times")
    parser.add_argument("--file", action="append", default=[], help="a file whose text is scored")
    parser.add_argument("--checkpoint", default="latest", help="latest, best, or a step (default: latest)")
    _add_code(parser)
    parser.add_argument("--json", action="store_true", help="for machines, with every symbol's log-probability")


def _score(known: argparse.Namespace) -> None:
    from rnnjax.run import open_run
    from rnnjax.tasks.sources import read_text

    _import_code(known)
    texts = [*known.text, *map(read_text, known.file)]
    if not texts:
        raise InputError("nothing to score", "after 'rnnjax score'", "give --text TEXT or --file FILE")
    found = open_run(known.run).score(texts, checkpoint=_checkpoint(known))
    rows = [
        {"text": text, "symbols": int(n), "nats": float(nats), "bits_per_symbol": float(bits)}
        for text, n, nats, bits in zip(texts, found.symbols, found.nats, found.bits_per_symbol, strict=True)
    ]
    if known.json:
        _print_json([{**r, "each": v.tolist()} for r, v in zip(rows, found.log_probability, strict=True)])
        return
    lines = [(_start(r["text"]), r["symbols"], f"{r['nats']:.2f}", f"{r['bits_per_symbol']:.3f}") for r in rows]
    title = "log-probability" + (", given the first symbol" if found.first else "")
    _table(title, ["text", "symbols", "nats", "bits a symbol"], lines)


def _start(text: str) -> str:
    """The beginning of a text, on one line."""
    line = text.replace("\n", "⏎")
    return line if len(line) <= 60 else f"{line[:59]}…"


def _checkpoint(known: argparse.Namespace) -> Any:
    return int(known.checkpoint) if known.checkpoint.isdecimal() else known.checkpoint


def _add_export(parser: argparse.ArgumentParser) -> None:
    """write trained weights for another library"""
    parser.add_argument("run", help="the run's folder")
    parser.add_argument("--to", required=True, metavar="LIBRARY", help="torch, keras, flax, linen, onnx or npz")
    parser.add_argument("--out", help="what the files are called (default: in the run's folder, export/NAME)")
    parser.add_argument("--checkpoint", default="latest", help="latest, best, or a step (default: latest)")
    _add_code(parser)
    parser.add_argument("--json", action="store_true", help="for machines")


def _export(known: argparse.Namespace) -> None:
    from rnnjax.run import open_run

    _import_code(known)
    written = open_run(known.run).export(known.to, known.out, checkpoint=_checkpoint(known))
    if known.json:
        _print_json([str(path) for path in written])
        return
    for path in written:
        print(path)


def _add_doctor(parser: argparse.ArgumentParser) -> None:
    """check this installation: versions, devices, and that executors agree"""
    parser.add_argument("--json", action="store_true", help="for machines")


def _doctor(known: argparse.Namespace) -> int:
    from rnnjax.doctor import check_installation

    environment, checks = check_installation()
    well = all(good for _, good, _ in checks)
    if known.json:
        _print_json(
            {
                "environment": environment,
                "checks": [dict(zip(("name", "good", "about"), c, strict=True)) for c in checks],
            }
        )
    else:
        _table("environment", ["", ""], [(key, _plain(value)) for key, value in environment.items()])
        _table("checks", ["", "", ""], [(name, "ok" if good else "BAD", about) for name, good, about in checks])
    return 0 if well else 1


COMMANDS: dict[str, tuple[Callable[[argparse.ArgumentParser], None], Callable[[argparse.Namespace], int | None]]] = {
    "list": (_add_list, _list),
    "show": (_add_show, _show),
    "run": (_add_run, _run),
    "resume": (_add_resume, _resume),
    "sample": (_add_sample, _sample),
    "score": (_add_score, _score),
    "export": (_add_export, _export),
    "doctor": (_add_doctor, _doctor),
}


def _print_run(finished: Any, as_json: bool) -> None:
    summary = finished.summary()
    if as_json:
        _print_json({"run": str(finished.path), **summary})
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


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=2, ensure_ascii=False, default=str))


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{k} {v}" for k, v in value.items())
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def _table(title: str, heads: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(
        title=title,
        title_justify="left",
        title_style="bold",
        box=None,
        show_header=any(heads),
        pad_edge=False,
    )
    for head in heads:
        table.add_column(head, overflow="fold")
    for row in rows:
        table.add_row(*(Text(str(cell)) for cell in row))
    console = Console()
    console.print(table)
    console.print()


def _compilation_cache() -> None:
    """Keeps compiled programs on disk between commands."""
    import os
    from pathlib import Path

    import jax

    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    jax.config.update("jax_compilation_cache_dir", str(Path(base) / "rnnjax" / "xla"))
