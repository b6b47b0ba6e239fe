"""``python -m rnnjax.benchmarks.page RESULTS.jsonl ... --out README.md``: results as a page of tables and pictures.

The page is Markdown. Pictures lie beside it in `figures/`, as SVG.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rnnjax.benchmarks import plots
from rnnjax.benchmarks.harness import OURS
from rnnjax.benchmarks.plots import seconds_text
from rnnjax.benchmarks.results_files import (
    CIRCUMSTANCES,
    IDENTITY,
    Row,
    circumstances,
    grouped,
    read_results,
    value_text,
)
from rnnjax.benchmarks.workloads import WORKLOADS
from rnnjax.config import InputError
from rnnjax.figures.style import Figure, svg

TITLES = {
    "step": ("Training step", "A full step: batch, loss, gradient, Adam."),
    "forward": ("Recurrent layer, forwards", "The recurrent layer alone, on given inputs."),
    "gradient": ("Recurrent layer, forwards and backwards", "The layer, and its gradient by inputs and weights."),
    "population": ("Population", "A full step of every member, told as the time of one member's step."),
    "generation": ("Generation", "Symbols drawn one after the other."),
    "loading": ("Data loading", "Training steps fed in several ways."),
    "start": ("Start-up", "From nothing to the first step."),
}
"""Heading and sentence of each question; others are headed by their names."""

INTRODUCTION = f"""# Benchmarks

Every time is the median of rounds in which the candidates took turns (A B C A B C ...), warm and waited for. *Over
ours* is the median over rounds of a candidate's time divided by that of {OURS} in the same round: above 1, {OURS} is
faster. The *floor* is the least time that the machine could need: the greatest of the operations over its measured
matrix-product peak of that dtype and those threads, the bytes over its measured bandwidth, and the steps over its
launch cost; which of them it is stands beside it. Peers are in the fastest form that their documentation gives.
"""


KEYS = {
    "question, workload, candidate": "what was measured, on what, by whom",
    "network": "fields of the workload, as in `benchmarks/workloads.py`",
    "dtype, members, threads, processes": "of products; trained together; that it may use; side by side",
    "versions, form": "of the candidate, and how it does what it does",
    "unit": "what a repetition is: a step, an evaluation, a step of one model, a symbol of each row",
    "seconds, least_s, greatest_s": "of a repetition: median, least and greatest of the rounds",
    "ratio, ratio_least, ratio_greatest": f"over that of {OURS} in the same round; null of {OURS} itself",
    "beyond_libraries_s": "of an import: what it takes beyond jax, flax and optax",
    "rounds, repetitions": "how many rounds, of how many repetitions each",
    "import_s, prepare_s, compile_s": "of its library; building, compiling and warming up; compilation alone if known",
    "first_s": "from the start of its process until it was ready",
    "memory_mb": "greatest of its processes, together",
    "check": "what it computed, compared with ours",
    "useful_steps_per_s": "time steps a second that stand for data, not padding",
    "floor, over_floor": "the least time the machine could need, of which bound; seconds over it",
    "skipped": "why it was not measured",
    "environment": "versions, device, threads, flags and date",
}
"""What the keys of a row say."""


class Column(NamedTuple):
    """A column of a table: its head, and the text of a row in it; `""` where a row has no such thing."""

    head: str
    text: Callable[[Row], str]


def page(rows: Iterable[Row]) -> tuple[str, dict[str, Figure]]:
    """The page, and its pictures by the names of their files, without ending.

    Args:
      rows: of any questions and machines; of rows that measure the same thing on the same machine the last counts.
    """
    parts, pictures = [INTRODUCTION], {}
    for place in grouped([{**row, "_machine": _machine(row)} for row in rows], ["_machine"]).values():
        machine = place[0]["_machine"]
        parts.append(f"## {machine}\n")
        parts.append(_table(["", ""], [[name, told] for name, told in circumstances(place).items()]))
        for (question,), asked in grouped(place, ["question"]).items():
            title, sentence = TITLES.get(question, (question.replace("_", " ").capitalize(), ""))
            parts.append(f"### {title}\n" + (f"\n{sentence}\n" if sentence else ""))
            measured = [row for row in asked if "candidate" in row and ("seconds" in row or row.get("skipped"))]
            if measured:
                slug = "".join(c if c.isalnum() else "-" for c in f"{machine} {question}".lower())
                text, drawn = _question(_latest(measured), slug)
                parts.append(text)
                pictures |= drawn
            parts += _others([row for row in asked if row not in measured])
    parts += ["## Keys of a row\n", _table(["key", "what it says"], [[f"`{key}`", told] for key, told in KEYS.items()])]
    return "\n".join(parts), pictures


def write(rows: Iterable[Row], path: Path) -> list[Path]:
    """Writes the page and, in a folder beside it, its pictures; gives all files written."""
    text, pictures = page(rows)
    folder = path.parent / "figures"
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    written = [path]
    for name, figure in pictures.items():
        written.append(folder / f"{name}.svg")
        written[-1].write_text(svg(figure), encoding="utf-8")
    return written


def main() -> int:
    """Makes a page of files of results."""
    parser = argparse.ArgumentParser(prog="python -m rnnjax.benchmarks.page", description=main.__doc__)
    parser.add_argument("results", nargs="+", type=Path, help="file of results, JSON lines")
    parser.add_argument("--out", type=Path, default=Path("README.md"), help="the page (default: README.md)")
    known = parser.parse_args()
    try:
        written = write([row for path in known.results for row in read_results(path)], known.out)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(*written, sep="\n")
    return 0


def _machine(row: Row) -> str:
    environment = row.get("environment", {})
    device = environment.get("device") or environment.get("backend") or "unknown device"
    threads = environment.get("threads")
    on_host = environment.get("backend") in (None, "cpu") and threads
    return f"{device}, {threads} threads" if on_host else str(device)


def _latest(rows: Sequence[Row]) -> list[Row]:
    """Without what was measured again later, and with the fields of the network that each row is of."""
    last = {of: group[-1] for of, group in grouped(rows, (*IDENTITY, *CIRCUMSTANCES)).items()}
    return [{**_network(row), **row} for row in last.values()]


def _network(row: Row) -> dict[str, Any]:
    """Fields of the network: the row's own, or those of the workload it names."""
    known = WORKLOADS.get(row.get("workload", ""))
    found = row.get("network") or (dataclasses.asdict(known) if known else {})
    return {name: found[name] for name in (*plots.SHAPE, "decoder_units", "answers") if name in found}


def _question(rows: Sequence[Row], slug: str) -> tuple[str, dict[str, Figure]]:
    """Text and pictures of one question on one machine."""
    rows = _labelled(rows)
    done = [row for row in rows if row.get("seconds")]
    units = {row.get("unit") for row in done}
    unit = str(next(iter(units))).replace("_", " ") if len(units) == 1 else "repetition"
    drawn = {"ratios": plots.beside_ours(done), "roofline": plots.roofline(done)}
    drawn |= {f"over-{free}": plots.over_size(done, free, unit) for free in plots.AXES}
    told = {
        "ratios": f"Time over that of {OURS}, by workload",
        "roofline": "Operations a second over operations a byte, under the roof of the machine",
        **{f"over-{free}": f"Time over {label}" for free, label in plots.AXES.items()},
    }
    parts = [_summary(done), _picture(slug, "ratios", told, drawn), _times(done, unit)]
    parts += [_picture(slug, kind, told, drawn) for kind in drawn if kind != "ratios"]
    parts += [_starts(done), _skipped(rows)]
    pictures = {f"{slug}-{kind}": figure for kind, figure in drawn.items() if figure is not None}
    return "\n".join(filter(None, parts)), pictures


def _labelled(rows: Sequence[Row]) -> list[Row]:
    """The rows with what each measured as `label`: the workload, and what else tells rows of it apart."""
    members, dtypes, threads = ({row.get(name) for row in rows} for name in ("members", "dtype", "threads"))

    def label(row: Row) -> str:
        parts = [str(row.get("workload") or "")]
        if len(members) > 1 and row.get("members"):
            parts.append(f"{row['members']:,} member{'s' * (row['members'] != 1)}")
        if len(dtypes) > 1 and row.get("dtype") not in (None, "float32") and row["dtype"] not in parts[0]:
            parts.append(row["dtype"])
        if len(threads) > 1 and row.get("threads"):
            parts.append(f"{row['threads']} thread{'s' * (row['threads'] != 1)}")
        return ", ".join(filter(None, parts)) or "—"

    return [{**row, "label": label(row)} for row in rows]


def _summary(rows: Sequence[Row]) -> str:
    """A line a workload: our time, how far it is from the floor, and each peer's time over ours, the best in bold."""
    peers = plots.ordered(row["candidate"] for row in rows if row.get("ratio"))
    if not peers:
        return ""
    lines = []
    for told in dict.fromkeys(row["label"] for row in rows):
        of = {row["candidate"]: row for row in rows if row["label"] == told}
        ratios = {peer: of[peer]["ratio"] for peer in peers if peer in of and of[peer].get("ratio")}
        if not ratios:
            continue
        best = min(ratios.values())
        cells = ["" if peer not in ratios else f"{ratios[peer]:.2f}" for peer in peers]
        cells = [f"**{cell}**" if ratios.get(peer) == best else cell for peer, cell in zip(peers, cells, strict=True)]
        ours = next((row for row in of.values() if not row.get("ratio") and row["candidate"].startswith(OURS)), {})
        lines.append([told, _seconds(ours, "seconds"), _number(ours, "over_floor"), *cells])
    return _table(["time over ours", OURS, "over floor", *peers], lines)


def _times(rows: Sequence[Row], unit: str) -> str:
    columns = [
        Column("", lambda row: row["label"]),
        Column("candidate", lambda row: row["candidate"]),
        Column("threads", lambda row: str(row.get("threads") or "")),
        Column(f"time of a {unit}", lambda row: _seconds(row, "seconds")),
        Column("rounds", lambda row: _range(row, "least_s", "greatest_s", seconds_text)),
        Column("over ours", lambda row: _number(row, "ratio")),
        Column("rounds", lambda row: _range(row, "ratio_least", "ratio_greatest", lambda value: f"{value:.2f}")),
        Column("beyond libraries", lambda row: _seconds(row, "beyond_libraries_s")),
        Column("floor", _floor),
        Column("over floor", lambda row: _number(row, "over_floor")),
        Column("useful steps/s", lambda row: _count(row, "useful_steps_per_s")),
    ]
    return _columns(columns, rows, varying=("threads",))


def _starts(rows: Sequence[Row]) -> str:
    columns = [
        Column("", lambda row: row["label"]),
        Column("candidate", lambda row: row["candidate"]),
        Column("import", lambda row: _seconds(row, "import_s")),
        Column("prepare", lambda row: _seconds(row, "prepare_s")),
        Column("compile", lambda row: _seconds(row, "compile_s")),
        Column("first", lambda row: _seconds(row, "first_s")),
        Column("memory", lambda row: f"{row['memory_mb']:,.0f} MB" if row.get("memory_mb") else ""),
        Column("form", lambda row: str(row.get("form") or "")),
    ]
    table = _columns(columns, rows)
    if not table:
        return ""
    return f"<details><summary>Import, preparation, compilation, memory, form</summary>\n\n{table}\n</details>\n"


def _skipped(rows: Sequence[Row]) -> str:
    reasons: dict[str, dict[str, list[str]]] = {}
    for row in rows:
        if row.get("skipped"):
            reasons.setdefault(row["skipped"], {}).setdefault(row["candidate"], []).append(row["label"])
    told = [
        f"{candidate} at {', '.join(dict.fromkeys(of))} ({_cell(why)})"
        if of != ["—"]
        else f"{candidate} ({_cell(why)})"
        for why, by in reasons.items()
        for candidate, of in by.items()
    ]
    return f"Skipped: {'; '.join(told)}.\n" if told else ""


def _others(rows: Sequence[Row]) -> list[str]:
    """A table of what is no measurement of candidates: a column for each number and text that any row has."""
    plain = [{name: value for name, value in row.items() if isinstance(value, str | int | float)} for row in rows]
    heads = list(dict.fromkeys(name for row in plain for name in row if name not in ("question", "_machine")))
    if not heads:
        return []
    cells = [[value_text(row.get(head)) for head in heads] for row in plain]
    return [_table([head.replace("_", " ") for head in heads], cells)]


def _picture(slug: str, kind: str, told: Mapping[str, str], drawn: Mapping[str, Figure | None]) -> str:
    return f"![{told[kind]}](figures/{slug}-{kind}.svg)\n" if drawn[kind] is not None else ""


def _columns(columns: Sequence[Column], rows: Sequence[Row], *, varying: Sequence[str] = ()) -> str:
    """A table of all columns with text but for those in `varying` that are all the same; "" of two or fewer."""
    texts = {index: [column.text(row) for row in rows] for index, column in enumerate(columns)}
    kept = [k for k, told in texts.items() if any(told) and not (columns[k].head in varying and len(set(told)) == 1)]
    if len(kept) <= 2:
        return ""
    return _table([columns[k].head for k in kept], [[texts[k][n] for k in kept] for n in range(len(rows))])


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *([_cell(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def _cell(text: str) -> str:
    """Text that neither ends a cell nor a line, nor is taken for HTML."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def _seconds(row: Row, name: str) -> str:
    return seconds_text(row[name]) if row.get(name) is not None else ""


def _number(row: Row, name: str) -> str:
    return f"{row[name]:.2f}" if row.get(name) is not None else ""


def _count(row: Row, name: str) -> str:
    return f"{float(f'{row[name]:.3g}'):,.0f}" if row.get(name) is not None else ""


def _range(row: Row, least: str, greatest: str, text: Callable[[float], str]) -> str:
    if row.get(least) is None or row.get(greatest) is None:
        return ""
    return f"{text(row[least])}–{text(row[greatest])}"


def _floor(row: Row) -> str:
    floor = row.get("floor")
    return f"{seconds_text(floor['seconds'])} ({floor['bound']})" if floor else ""


if __name__ == "__main__":
    sys.exit(main())
