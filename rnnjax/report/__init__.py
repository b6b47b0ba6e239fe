"""One self-contained HTML page that shows a run: what it reached, how, what it wrote and what it was.

`page` puts a `Report` into `template.html` with `style.css` and `script.js`, all beside this file. The page
loads nothing, reads without its script, prints, and carries its numbers as JSON in `<script id="run">`. What is
explored in it is made ready by `explorer.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rnnjax.report import explorer, parts
from rnnjax.report.explorer import Exploration, FilmOf, Layer, Note
from rnnjax.report.safe import as_text

if TYPE_CHECKING:
    from rnnjax.figures import Figure
    from rnnjax.looks import Sight

__all__ = ["Exploration", "FilmOf", "Layer", "Note", "Report", "page"]


@dataclass(frozen=True)
class Report:
    """What the page shows; whatever is left empty is left out of it.

    Attributes:
        name: of the run.
        command: the command line that repeats it.
        status: in a word or two: "finished", "running", "interrupted", "non-finite".
        configuration: nested, as in `config.yaml`.
        summary: as in `summary.json`. `metrics`, `parameters`, `steps`, `symbols_per_second` and `seconds`
            are shown large; `best`, if it has `metric`, `value` and `step`, with the metric it names.
        environment: nested, as in `environment.json`.
        layers: `layer`, `shape` and `parameters` of each parameter.
        plan: `layer`, `executor` and `why` (text, or a list of texts) of each layer.
        samples: `prompt`, `temperature` and `text`, the text without the prompt.
        figures: title, caption and figure; those that hold an image (heat maps) stand apart from the curves.
        sights: what was looked at: figures, tables and texts, in their order.
        explorations: the courses that the page explores: of one run, or of two to be compared.
    """

    name: str
    command: str = ""
    status: str = ""
    configuration: Mapping[str, Any] = field(default_factory=dict)
    summary: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, Any] = field(default_factory=dict)
    layers: Sequence[Mapping[str, Any]] = ()
    plan: Sequence[Mapping[str, Any]] = ()
    samples: Sequence[Mapping[str, Any]] = ()
    figures: Sequence[tuple[str, str, Figure]] = ()
    sights: Sequence[Sight] = ()
    explorations: Sequence[Exploration] = ()


def page(content: Report) -> str:
    """Give the whole page as HTML, to be stored as UTF-8.

    Every text of `content` is escaped and control characters are shown as their pictures. The same content
    gives the same page.
    """
    images = [entry for entry in content.figures if _holds_image(entry[2])]
    lines = [entry for entry in content.figures if not _holds_image(entry[2])]
    sections = [
        ("explore", "Explore", explorer.section(content.explorations)),
        ("curves", "Learning curves", _figures(lines)),
        ("samples", "Samples", _samples(content.samples)),
        ("findings", "Findings", _sights(content.sights)),
        ("inside", "Inside the network", _figures(images)),
        ("layers", "Layers", _layers(content.layers)),
        ("plan", "Executor plan", _plan(content.plan)),
        ("configuration", "Configuration", parts.settings(content.configuration, "configuration", is_open=True)),
        ("summary", "Summary", parts.settings(content.summary, "summary")),
        ("environment", "Environment", parts.settings(content.environment, "environment")),
    ]
    return parts.document(
        content.name,
        status=content.status,
        command=content.command,
        headline=_headline(content.summary),
        sections=sections,
        data={
            "name": content.name,
            "command": content.command,
            "status": content.status,
            "configuration": content.configuration,
            "summary": content.summary,
            "environment": content.environment,
        },
        style=explorer.style(content.explorations),
        scripts=explorer.scripts(content.explorations),
    )


# ---- the top of the page


def _headline(summary: Mapping[str, Any]) -> str:
    metrics = summary.get("metrics")
    numbers = dict(metrics) if isinstance(metrics, Mapping) else {}
    numbers = {name: summary.get(name) for name in ("loss", "validation_loss")} | numbers
    sizes: dict[str, Callable[[Any], str]] = {
        "parameters": parts.count,
        "steps": parts.count,
        "symbols_per_second": parts.large,
        "seconds": parts.duration,
    }
    tiles = [parts.tile(name, value, parts.significant, _best(summary, name)) for name, value in numbers.items()]
    tiles += [parts.tile(name, summary.get(name), show) for name, show in sizes.items()]
    return "".join(tiles)


def _best(summary: Mapping[str, Any], name: str) -> str:
    best = summary.get("best")
    if not isinstance(best, Mapping) or best.get("metric") != name or not parts.is_number(best.get("value")):
        return ""
    step = best.get("step")
    return f"best {parts.significant(best['value'])}" + (f" at step {step:,}" if parts.is_number(step) else "")


# ---- the sections; each is empty where there is nothing to show


def _holds_image(figure: Figure) -> bool:
    return any(axes.images for axes in figure.axes)


def _figures(entries: Sequence[tuple[str, str, Figure]]) -> str:
    return parts.pictures(_figure(*entry) for entry in entries)


def _figure(title: str, caption: str, figure: Figure) -> str:
    # Lazy, so that a page without figures does not wait for matplotlib.
    from rnnjax import figures

    width, height = figure.get_size_inches()
    return parts.picture(title, caption, figures.svg(figure), (width, height))


def _sights(sights: Sequence[Sight]) -> str:
    return "".join(_sight(number, sight) for number, sight in enumerate(sights, start=1))


def _sight(number: int, sight: Sight) -> str:
    if sight.figure is not None:
        return parts.pictures([_figure(sight.title, sight.caption, sight.figure)])
    told = [
        f"<h3>{as_text(sight.title)}</h3>",
        f'<p class="lead">{as_text(sight.caption)}</p>' if sight.caption else "",
    ]
    if sight.table is not None:
        numbers = [k for k in range(len(sight.table.heads)) if all(parts.is_number(row[k]) for row in sight.table.rows)]
        rows = [[_cell(cell) for cell in row] for row in sight.table.rows]
        heads = [as_text(head) for head in sight.table.heads]
        told.append(parts.table(heads, rows, right=numbers))
    if sight.text:
        text = as_text(sight.text)
        told.append(f'<div class="writing exact" tabindex="0" role="region" aria-label="finding {number}">{text}</div>')
    return "".join(told)


def _cell(value: Any) -> str:
    return as_text(parts.significant(value) if isinstance(value, float) and math.isfinite(value) else value)


def _samples(samples: Sequence[Mapping[str, Any]]) -> str:
    cards = [
        f'<article class="sample"><header>temperature {as_text(sample["temperature"])}</header>'
        f'<div class="writing" tabindex="0" role="region" aria-label="sample {number}">'
        f'<b class="prompt">{as_text(sample["prompt"])}</b>{as_text(sample["text"])}</div></article>'
        for number, sample in enumerate(samples, start=1)
    ]
    legend = '<p class="lead"><b class="prompt">Set apart</b> is the prompt; the model wrote the rest.</p>'
    return f'{legend}<div class="samples">{"".join(cards)}</div>' if cards else ""


def _layers(layers: Sequence[Mapping[str, Any]]) -> str:
    if not layers:
        return ""
    total = sum(int(layer["parameters"]) for layer in layers)
    rows = [
        (
            _code(layer["layer"]),
            as_text(_shape(layer["shape"])),
            f"{int(layer['parameters']):,}",
            _share(int(layer["parameters"]) / max(total, 1)),
        )
        for layer in layers
    ]
    foot = ("total", "", f"{total:,}", "")
    return parts.table(("layer", "shape", "parameters", "share"), rows, right=(2,), foot=foot)


def _shape(shape: Any) -> str:
    return (" × ".join(map(str, shape)) or "scalar") if isinstance(shape, list | tuple) else str(shape)


def _share(part: float) -> str:
    percent = f"{100 * part:.1f}%"
    return f'<span class="share"><i style="width:{percent}"></i></span><span class="percent">{percent}</span>'


def _plan(plan: Sequence[Mapping[str, Any]]) -> str:
    rows = [(_code(entry["layer"]), _code(entry["executor"]), _why(entry["why"])) for entry in plan]
    return parts.table(("layer", "executor", "why"), rows) if rows else ""


def _why(why: Any) -> str:
    if isinstance(why, list | tuple):
        return f"<ul>{''.join(f'<li>{as_text(reason)}</li>' for reason in why)}</ul>"
    return as_text(why)


def _code(value: object) -> str:
    return f"<code>{as_text(value)}</code>"
