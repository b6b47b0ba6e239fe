"""Commands that look inside a trained model: record, explain, lesion, view."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rnnjax.cli.options import add_code, checkpoint, import_code
from rnnjax.cli.terminal import print_json, print_table
from rnnjax.config import InputError

if TYPE_CHECKING:
    from rnnjax.interpret import Scores

BARS = 24  # of the widest bar, in characters


def add_record(parser: argparse.ArgumentParser) -> None:
    """record what the units of a trained model do, step by step"""
    _add_run(parser)
    parser.add_argument(
        "--field", action="append", default=[], help="LAYER.FIELD such as 0.c; several times, if need be"
    )
    parser.add_argument("--list", action="store_true", help="list the quantities that can be recorded; record nothing")
    parser.add_argument("--passage", help="text to read (default: held-out data)")
    parser.add_argument("--steps", type=_count, default=1000, help="steps of held-out data to read (default: 1000)")
    parser.add_argument("--units", type=_numbers, help="units to record, such as 3,7,100..120 (default: all)")
    parser.add_argument("--stride", type=_count, default=1, help="keep every so many steps (default: 1)")
    parser.add_argument("--statistics", action="store_true", help="mean, deviation and range in place of values")
    parser.add_argument("--name", help="of the recording in the run's folder (default: numbered)")
    parser.add_argument("--out", metavar="FILE", help="write a .csv, .parquet or .npz file too")


def record(known: argparse.Namespace) -> None:
    """Records, and tells where it lies and what is in it."""
    from rnnjax.recording import EXPORTS
    from rnnjax.sequence import Record

    run = _opened(known)
    if known.list:
        fields = [{"field": field, "units": units} for field, units in run.recordable.items()]
        if known.json:
            print_json(fields)
        else:
            print_table("what can be recorded", ["field", "units"], [tuple(entry.values()) for entry in fields])
            print(f"and the gradient of the loss by each of them, as gradient.{run.watched[0]}")
        return
    if known.out:
        _check_out(Path(known.out), EXPORTS)
    names = known.field or run.watched
    fields = [Record(name, known.units, known.stride, known.statistics) for name in names]
    name = known.name or run.folder.free_recording()
    found = run.record(fields, known.passage, steps=known.steps, checkpoint=checkpoint(known), name=name)
    exported = None if known.out is None else str(found.export(known.out))
    path = run.folder.recording(name)
    if known.json:
        shapes = {field: dict(zip(found.dims(field), found.shape(field), strict=True)) for field in found.fields}
        print_json({"recording": str(path), "fields": shapes, "attributes": found.attributes, "exported": exported})
        return
    rows = [(f, " x ".join(map(str, found.shape(f))), ", ".join(found.dims(f))) for f in found.fields]
    print_table("recorded", ["field", "shape", "axes"], rows)
    if known.passage is None and len(found) < known.steps // known.stride and not known.statistics:
        print(f"there is no more held-out data: {len(found) * known.stride:,} steps of the {known.steps:,} asked for")
    print(f"recording: {path}")
    if exported:
        print(f"exported: {exported}")
    print(f'open it:   rx.Recording.open("{path}"), or xarray.open_zarr("{path}")')


def _check_out(path: Path, endings: Sequence[str]) -> None:
    """Refuses a file that cannot be written, before anything is recorded."""
    from rnnjax.cells import lookup

    lookup(dict.fromkeys(endings), path.suffix, "kind of file", "in --out")
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    if path.is_dir() or not folder.is_dir() or not os.access(folder, os.W_OK):
        raise InputError(f"cannot write '{path}'", "in --out", "name a file in a folder that you may write to")


def add_explain(parser: argparse.ArgumentParser) -> None:
    """find out which unit follows what, with a test against chance, and name it"""
    _add_run(parser)
    parser.add_argument("--field", help="LAYER.FIELD such as 0.c (default: the output of the first layer)")
    parser.add_argument("--steps", type=_count, default=20_000, help="steps of held-out data (default: 20000)")
    parser.add_argument(
        "--concept",
        action="append",
        default=[],
        metavar="FILE.py:FUNCTION",
        help="a function of the text that gives a value a symbol; may be given several times",
    )
    parser.add_argument("--rate", type=float, default=0.05, help="false-discovery rate (default: 0.05)")
    parser.add_argument("--top", type=_count, default=20, help="units to print (default: 20); all are in the file")


def explain(known: argparse.Namespace) -> None:
    """Scores every unit, and prints those that have a name."""
    from rnnjax.interpret import own_concept
    from rnnjax.run.pages import table_name

    run = _opened(known)
    concepts = dict(own_concept(spec) for spec in known.concept)
    found = run.explain(
        known.field, steps=known.steps, concepts=concepts, rate=known.rate, checkpoint=checkpoint(known)
    )
    if known.json:
        print_json([named._asdict() for named in found.named])
        return
    table = found.table()
    print_table(table.title, table.heads, table.rows[: known.top])
    for concept in concepts:
        print(_tried(concept, found))
    print(f"{len(found.named)} of {len(found.units)} units of {found.field} have a name")
    run.inside(found, checkpoint=checkpoint(known))
    print(f"table: {run.path / 'tables' / table_name('units', found.field)}, pictures: {run.path / 'figures'}")


def _tried(concept: str, found: Scores) -> str:
    """What became of a concept of the user's own."""
    if concept in found.left_out:
        return f"{concept}: not tried, it is {found.left_out[concept]}"
    effects = found.effect(concept)
    best = int(effects.argmax())
    return f"{concept}: explains {100 * effects[best]:.0f} % of unit {found.units[best]}, which follows it best"


def add_lesion(parser: argparse.ArgumentParser) -> None:
    """switch off every unit in turn, and tell how much worse the model gets"""
    _add_run(parser)
    parser.add_argument("--field", help="LAYER.FIELD such as 0.c (default: the output of the first layer)")
    parser.add_argument("--units", type=_numbers, help="units to switch off, such as 3,7,100..120 (default: all)")
    parser.add_argument("--steps", type=_count, default=1000, help="steps of held-out data (default: 1000)")
    parser.add_argument("--top", type=_count, default=20, help="units to print (default: 20); all are in the file")


def lesion(known: argparse.Namespace) -> None:
    """Prints the units that are missed most."""
    import numpy as np

    from rnnjax.run.pages import table_name

    run = _opened(known)
    atlas = run.lesion(known.field, units=known.units, steps=known.steps, checkpoint=checkpoint(known))
    order = np.argsort(-atlas.change, kind="stable")
    if known.json:
        units = [
            {"unit": int(atlas.units[k]), "loss": float(atlas.loss[k]), "change": float(atlas.change[k])} for k in order
        ]
        print_json({"field": atlas.field, "baseline": float(atlas.baseline), "units": units})
        return
    greatest = max(float(np.max(np.abs(atlas.change))), 1e-30)
    rows = [
        (
            int(atlas.units[k]),
            f"{atlas.loss[k]:.4f}",
            f"{atlas.change[k]:+.4f}",
            "█" * round(BARS * max(0.0, float(atlas.change[k])) / greatest),
        )
        for k in order[: known.top]
    ]
    print_table(f"units of {atlas.field}, switched off one at a time", ["unit", "loss", "change", ""], rows)
    worse = int(np.sum(atlas.change > 0))
    print(f"loss of the whole network: {atlas.baseline:.4f}; {worse} of {len(order)} units are missed")
    if known.units is None:
        print(f"table: {run.path / 'tables' / table_name('lesions', atlas.field)}, picture: {run.path / 'figures'}")


def add_view(parser: argparse.ArgumentParser) -> None:
    """make the page in which a run can be explored, unit by unit"""
    _add_run(parser, json=False)
    parser.add_argument("--beside", metavar="RUN", help="another run, to compare with")
    parser.add_argument("--steps", type=_count, default=2000, help="steps of the passage (default: 2000)")
    parser.add_argument("--open", action="store_true", help="open it in the browser")


def view(known: argparse.Namespace) -> None:
    """Makes the page and tells where it lies."""
    from rnnjax.run import open_run

    run = _opened(known)
    beside = None if known.beside is None else open_run(known.beside)
    page = run.view(beside, steps=known.steps, checkpoint=checkpoint(known))
    print(f"view: {page.path} ({page.path.stat().st_size / 1e6:.1f} MB)")
    if known.open:
        import webbrowser

        webbrowser.open(page.path.resolve().as_uri())


def _add_run(parser: argparse.ArgumentParser, *, json: bool = True) -> None:
    parser.add_argument("run", help="the run's folder")
    parser.add_argument("--checkpoint", default="latest", help="latest, best, or a step (default: latest)")
    add_code(parser)
    if json:
        parser.add_argument("--json", action="store_true", help="for machines")


def _opened(known: argparse.Namespace) -> Any:
    from rnnjax.run import open_run

    import_code(known)
    return open_run(known.run)


def _count(text: str) -> int:
    if not text.isdecimal() or len(text) > 9 or int(text) < 1:
        raise argparse.ArgumentTypeError(f"'{text[:20]}' is no count: give a whole number, at least 1")
    return int(text)


def _numbers(text: str) -> tuple[int, ...]:
    """Numbers such as ``3,7,100..120``, both ends of a range included."""
    found: list[int] = []
    for part in text.split(","):
        first, _, last = part.strip().partition("..")
        ends = (first, last or first)
        if not all(end.isdecimal() and len(end) < 7 for end in ends) or int(ends[0]) > int(ends[1]):
            raise argparse.ArgumentTypeError(f"'{part[:20]}' names no units: write them as 3,7,100..120")
        found += range(int(ends[0]), int(ends[1]) + 1)
    return tuple(dict.fromkeys(found))
