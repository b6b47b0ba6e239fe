"""What a run leaves to be looked at: its report with tables and pictures, and the page in which it can be explored."""

from __future__ import annotations

import csv
import html
import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from rnnjax import config, figures
from rnnjax.choosing import described
from rnnjax.experiment import storable
from rnnjax.looks import Sight
from rnnjax.looks.base import most_varied
from rnnjax.population import Alone, Layout
from rnnjax.recording import Recording
from rnnjax.report import Report, page
from rnnjax.run.exploring import exploration, film_of
from rnnjax.tasks import Table, Text
from rnnjax.tasks.base import aligned

if TYPE_CHECKING:
    from rnnjax.figures import Figure
    from rnnjax.run.opened import Checkpoint, Run

Drawn = list[tuple[str, str, "Figure"]]
"""Titles, captions and figures."""

VIEW = "view.html"
STRIPS, FRAMES, STRIP_STEPS = 6, 12, 100  # units, checkpoints and steps of the film in a report


class View(NamedTuple):
    """A page on disk that a notebook shows.

    Attributes:
      path: where it lies.
    """

    path: Path

    def _repr_html_(self) -> str:
        content = html.escape(self.path.read_text(encoding="utf-8"), quote=True)
        return f'<iframe srcdoc="{content}" style="width: 100%; height: 720px; border: 0" title="explorer"></iframe>'


def write_report(run: Run, looks: bool) -> Path:
    """Sample, figures, tables and page of a run; what was measured on the way goes into its summary."""
    sights = run.looked_at() if looks else []
    numbers = {name: float(value) for sight in sights for name, value in sight.numbers.items()}
    if numbers:
        summary = run.summary()
        run.folder.write_summary({**summary, "metrics": {**summary["metrics"], **numbers}})
    samples = _samples(run)
    if samples:
        run.folder.write_text("sample.txt", "\n\n".join(s["prompt"] + s["text"] for s in samples) + "\n")
    drawn = [*_curves(run), *_activations(run), *_film(run)]
    pictures = [(title, picture) for title, _, picture in drawn]
    pictures += [(sight.title, sight.figure) for sight in sights if sight.figure is not None]
    leave_figures(run, pictures)
    for sight in sights:
        if sight.table is not None:
            run.folder.write_text(f"tables/{_file_name(sight.title)}.csv", as_csv(sight.table))
    if sights:
        run.folder.write_text("findings.txt", _as_text(sights))
    run.folder.write_text("report.html", page(_content(run, samples=samples, figures=drawn, sights=sights)))
    return run.path / "report.html"


def write_view(run: Run, beside: Run | None, steps: int, checkpoint: Checkpoint) -> View:
    """The page of a run, and perhaps of another, in which every unit can be looked at."""
    shown = [exploration(each, steps, checkpoint) for each in (run, beside) if each is not None]
    content = _content(run, samples=_samples(run), figures=_curves(run), explorations=shown)
    run.folder.write_text(VIEW, page(content))
    return View(run.path / VIEW)


def _content(run: Run, **parts: Any) -> Report:
    """What every page of a run tells, with further parts."""
    environment, summary = run.folder.environment(), run.summary()
    return Report(
        name=run.path.name,
        command=str(environment.get("command", "")),
        status=summary.get("status", ""),
        configuration=config.to_dict(storable(run.experiment)),
        summary=summary,
        environment={k: v for k, v in environment.items() if k not in ("plan", "command", "layout", "why")},
        layers=run.experiment.built.layers(),
        plan=[*_use_of_machine(environment), *environment.get("plan", [])],
        **parts,
    )


def _use_of_machine(environment: Mapping[str, Any]) -> list[dict[str, Any]]:
    """How the training of all layers used the machine, as an entry of the plan."""
    layout = environment.get("layout")
    if not isinstance(layout, dict):  # a run from before that was stored
        return []
    kind = Layout if "block" in layout else Alone
    return [{"layer": "all", "executor": described(kind(**layout)), "why": list(environment.get("why", ()))}]


def _samples(run: Run) -> list[dict[str, Any]]:
    """What a model of text draws in the end."""
    if not isinstance(run.experiment.built.task, Text):
        return []
    chosen = run.experiment.sample
    drawn = run.sample(
        chosen.prompts,
        length=chosen.length,
        temperature=chosen.temperature,
        top_k=chosen.top_k,
        top_p=chosen.top_p,
    )
    return [{"prompt": p, "temperature": chosen.temperature, "text": text} for p, text in drawn]


def _curves(run: Run) -> Drawn:
    """The loss, if a line was logged."""
    rows = run.metrics()
    if not rows:
        return []
    unit = "nats per symbol" if run.experiment.built.task.answers == "classes" else "mean squared error"
    series = {key: [(r["step"], r[key]) for r in rows if key in r] for key in ("loss", "validation_loss")}
    curves = {key.replace("_", " "): tuple(np.asarray(pairs).T) for key, pairs in series.items() if pairs}
    references = {k: v for k, v in run.summary().get("references", {}).items() if not k.startswith("unigram")}
    picture = figures.curves(curves, ylabel=unit, reference=references)
    return [("Loss", "Mean loss between lines of the log, and on held-out data.", picture)]


def _activations(run: Run) -> Drawn:
    """What is recorded in the end, over the first example."""
    chosen, drawn = run.experiment.record, []
    recorded = run.record(steps=chosen.steps)
    for name in recorded.fields:
        values, symbols = first_example(recorded, name)
        values, symbols = values[: chosen.steps], symbols[: chosen.steps]
        shown = most_varied(values, chosen.units)
        picture = figures.heatmap(
            values[:, shown].T,
            symbols=symbols if any(symbols) and len(symbols) == len(values) else None,
            numbers=shown,
            label=name,
        )
        caption = f"{name} of the {len(shown)} units (of {values.shape[1]}) that vary most, over one passage."
        drawn.append((f"Activations of {name}", caption, picture))
    return drawn


def _film(run: Run) -> Drawn:
    """The film of learning, if training made one: the units that vary most in the end, over the first steps."""
    film = film_of(run)
    if film is None:
        return []
    drawn = []
    for name in film.fields:
        values, symbols = first_example(film, name)
        if values.ndim != 3 or film.dims(name)[:2] != ("checkpoint", "step"):
            continue
        shown = most_varied(values[-1], STRIPS)
        frames = np.unique(np.linspace(0, len(values) - 1, min(len(values), FRAMES)).astype(int))
        picture = figures.film_strip(
            values[frames][:, :STRIP_STEPS, shown],
            film.coords["checkpoint"][frames].tolist(),
            symbols=symbols[:STRIP_STEPS][: values.shape[1]] or None,
            numbers=film.units(name)[shown].tolist(),
            label=name,
        )
        drawn.append(
            (f"Film of {name}", "A strip a unit; a row is a checkpoint of the training, the first at the top.", picture)
        )
    return drawn


def first_example(recorded: Recording, field: str) -> tuple[np.ndarray, list[str]]:
    """The course of a field over the first example, ``[steps, units]``, and the symbols read meanwhile, if any."""
    first = recorded.select(example=0)
    return first[field], list(map(str, first.along(field, "symbol")))


def leave_figures(run: Run, pictures: Sequence[tuple[str, Figure]]) -> None:
    """Writes pictures into the run's folder, each under its title."""
    for title, picture in pictures:
        run.folder.write_bytes(f"figures/{_file_name(title)}.png", figures.png(picture))


def table_name(kind: str, field: str) -> str:
    """The file of a table about the units of a field."""
    return f"{_file_name(f'{kind} of {field}')}.csv"


def as_csv(table: Table) -> str:
    """The table as a file."""
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows([table.heads, *table.rows])
    return stream.getvalue()


def _file_name(title: str) -> str:
    return re.sub(r"[^a-z0-9.]+", "_", title.lower()).strip("_")


def _as_text(sights: Sequence[Sight]) -> str:
    """Tables, texts and numbers, as a terminal shows them."""
    found = []
    for sight in sights:
        lines = [sight.title, sight.caption] if sight.figure is None else []
        if sight.table is not None:
            lines += aligned(sight.table)
        if sight.text:
            lines.append(sight.text.rstrip("\n"))
        lines += [f"{name}: {float(value):.4g}" for name, value in sight.numbers.items()]
        if lines:
            found.append("\n".join(line for line in lines if line))
    return "\n\n".join(found) + "\n"
