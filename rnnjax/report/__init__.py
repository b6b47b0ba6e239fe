"""One self-contained HTML page that shows a run: what it reached, how, what it wrote and what it was.

`page` puts a `Report` into `template.html` with `style.css` and `script.js`, all beside this file. The page
loads nothing, reads without its script, prints, and carries its numbers as JSON in `<script id="run">`. What is
explored in it is made ready by `explorer.py`.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Real
from string import Template
from typing import TYPE_CHECKING, Any

from rnnjax.report import explorer
from rnnjax.report.explorer import Exploration, FilmOf, Layer, Note
from rnnjax.report.safe import as_json, as_text, beside, plain

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
        ("configuration", "Configuration", _settings(content.configuration, "configuration", is_open=True)),
        ("summary", "Summary", _settings(content.summary, "summary")),
        ("environment", "Environment", _settings(content.environment, "environment")),
    ]
    shown = [section for section in sections if section[2]]
    return Template(beside("template.html")).substitute(
        title=as_text(content.name),
        status=_status(content.status),
        command=_command(content.command),
        headline=_headline(content.summary),
        links="".join(f'<a href="#{key}">{title}</a>' for key, title, _ in shown),
        sections="\n".join(
            f'<section id="{key}" aria-labelledby="{key}-title" tabindex="-1">\n'
            f'<h2 id="{key}-title">{title}</h2>\n{body}\n</section>'
            for key, title, body in shown
        ),
        data=as_json(
            {
                "name": content.name,
                "command": content.command,
                "status": content.status,
                "configuration": content.configuration,
                "summary": content.summary,
                "environment": content.environment,
            }
        ),
        style=beside("style.css") + explorer.style(content.explorations),
        script=beside("script.js"),
        explorer=explorer.scripts(content.explorations),
    )


# ---- the top of the page


_STATES = {
    "good": ("finished", "complete", "done"),
    "bad": ("non-finite", "fail", "error", "diverged"),
    "wait": ("running", "interrupted", "stopped", "signal"),
}


def _status(status: str) -> str:
    if not status:
        return ""
    states = [state for state, words in _STATES.items() if any(word in status.lower() for word in words)]
    return f'<p class="status {"".join(states[:1])}"><span class="hidden">status: </span>{as_text(status)}</p>'


def _command(command: str) -> str:
    return f'<pre class="command" data-copy="command"><code>{as_text(command)}</code></pre>' if command else ""


def _headline(summary: Mapping[str, Any]) -> str:
    metrics = summary.get("metrics")
    numbers = dict(metrics) if isinstance(metrics, Mapping) else {}
    numbers = {name: summary.get(name) for name in ("loss", "validation_loss")} | numbers
    sizes: dict[str, Callable[[Any], str]] = {
        "parameters": lambda value: f"{value:,.0f}",
        "steps": lambda value: f"{value:,.0f}",
        "symbols_per_second": _large,
        "seconds": _duration,
    }
    tiles = [_tile(name, value, _significant, _best(summary, name)) for name, value in numbers.items()]
    tiles += [_tile(name, summary.get(name), show) for name, show in sizes.items()]
    return f'<dl class="headline">{"".join(tiles)}</dl>' if any(tiles) else ""


def _tile(name: str, value: Any, show: Callable[[Any], str], note: str = "") -> str:
    if not _is_number(value):
        return ""
    title = {"seconds": "time"}.get(name, name.replace("_", " "))
    shown = show(value) if math.isfinite(value) else str(float(value))
    number = f'<dd class="number" title="{as_text(value)}">{as_text(shown)}</dd>'
    return f"<div><dt>{as_text(title)}</dt>{number}" + (
        f'<dd class="note">{as_text(note)}</dd></div>' if note else "</div>"
    )


def _best(summary: Mapping[str, Any], name: str) -> str:
    best = summary.get("best")
    if not isinstance(best, Mapping) or best.get("metric") != name or not _is_number(best.get("value")):
        return ""
    step = best.get("step")
    return f"best {_significant(best['value'])}" + (f" at step {step:,}" if _is_number(step) else "")


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _significant(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _large(value: float) -> str:
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value:.3g}"


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


# ---- the sections; each is empty where there is nothing to show


def _holds_image(figure: Figure) -> bool:
    return any(axes.images for axes in figure.axes)


def _figures(entries: Sequence[tuple[str, str, Figure]]) -> str:
    return f'<div class="figures">{"".join(_figure(*entry) for entry in entries)}</div>' if entries else ""


def _figure(title: str, caption: str, figure: Figure) -> str:
    # Lazy, so that a page without figures does not wait for matplotlib.
    from rnnjax import figures

    # As an image each SVG keeps its ids to itself; written into the page they would collide.
    source = base64.b64encode(figures.svg(figure).encode()).decode()
    width, height = (round(96 * inches) for inches in figure.get_size_inches())
    alt = as_text(f"{title}. {caption}")
    wide = ' class="wide"' if width > 800 else ""
    return (
        f'<figure{wide}><div class="paper" tabindex="0" role="region" aria-label="{as_text(title)}">'
        f'<img src="data:image/svg+xml;base64,{source}" alt="{alt}" width="{width}" height="{height}">'
        f"</div><figcaption><strong>{as_text(title)}</strong> {as_text(caption)}</figcaption></figure>"
    )


def _sights(sights: Sequence[Sight]) -> str:
    return "".join(_sight(number, sight) for number, sight in enumerate(sights, start=1))


def _sight(number: int, sight: Sight) -> str:
    if sight.figure is not None:
        return f'<div class="figures">{_figure(sight.title, sight.caption, sight.figure)}</div>'
    parts = [
        f"<h3>{as_text(sight.title)}</h3>",
        f'<p class="lead">{as_text(sight.caption)}</p>' if sight.caption else "",
    ]
    if sight.table is not None:
        numbers = [k for k in range(len(sight.table.heads)) if all(_is_number(row[k]) for row in sight.table.rows)]
        rows = [[_cell(cell) for cell in row] for row in sight.table.rows]
        heads = [as_text(head) for head in sight.table.heads]
        parts.append(_table(heads, rows, right=numbers))
    if sight.text:
        text = as_text(sight.text)
        parts.append(
            f'<div class="writing exact" tabindex="0" role="region" aria-label="finding {number}">{text}</div>'
        )
    return "".join(parts)


def _cell(value: Any) -> str:
    return as_text(_significant(value) if isinstance(value, float) and math.isfinite(value) else value)


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
    return _table(("layer", "shape", "parameters", "share"), rows, right=(2,), foot=foot)


def _shape(shape: Any) -> str:
    return (" × ".join(map(str, shape)) or "scalar") if isinstance(shape, list | tuple) else str(shape)


def _share(part: float) -> str:
    percent = f"{100 * part:.1f}%"
    return f'<span class="share"><i style="width:{percent}"></i></span><span class="percent">{percent}</span>'


def _plan(plan: Sequence[Mapping[str, Any]]) -> str:
    rows = [(_code(entry["layer"]), _code(entry["executor"]), _why(entry["why"])) for entry in plan]
    return _table(("layer", "executor", "why"), rows) if rows else ""


def _why(why: Any) -> str:
    if isinstance(why, list | tuple):
        return f"<ul>{''.join(f'<li>{as_text(reason)}</li>' for reason in why)}</ul>"
    return as_text(why)


def _code(value: object) -> str:
    return f"<code>{as_text(value)}</code>"


def _table(
    heads: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    right: Sequence[int] = (),
    foot: Sequence[str] = (),
) -> str:
    """A table of cells that are HTML already, the columns numbered in `right` set to the right."""
    sides = [' class="right"' if column in right else "" for column in range(len(heads))]

    def row(cells: Sequence[str]) -> str:
        rest = zip(cells[1:], sides[1:], strict=True)
        first = f'<tr><th scope="row">{cells[0]}</th>'
        return first + "".join(f"<td{side}>{cell}</td>" for cell, side in rest) + "</tr>"

    head = "".join(f'<th scope="col"{side}>{name}</th>' for name, side in zip(heads, sides, strict=True))
    last = f"<tfoot>{row(foot)}</tfoot>" if foot else ""
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{heads[0]} table"><table>'
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(map(row, rows))}</tbody>{last}</table></div>"
    )


def _settings(tree: Mapping[str, Any], key: str, *, is_open: bool = False) -> str:
    """A fold for the plain entries of a mapping and one for each mapping in it, under their dotted names."""
    if not tree:
        return ""
    leaves = {name: value for name, value in tree.items() if not _is_branch(value)}
    folds = [_fold("general", _flat(leaves), is_open)] if leaves else []
    branches = {name: value for name, value in tree.items() if _is_branch(value)}
    folds += [_fold(name, _flat(value, f"{name}."), is_open) for name, value in branches.items()]
    return f'<div class="settings" data-filter="{key}">{"".join(folds)}</div>'


def _is_branch(value: object) -> bool:
    return isinstance(value, Mapping) and len(value) > 0


def _flat(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _fold(title: str, entries: Iterable[tuple[str, Any]], is_open: bool) -> str:
    rows = [f"<div><dt>{as_text(name)}</dt><dd>{_setting(value)}</dd></div>" for name, value in entries]
    state = " open" if is_open else ""
    count = f'<span class="count">{len(rows)}</span>'
    return f"<details{state}><summary>{as_text(title)} {count}</summary><dl>{''.join(rows)}</dl></details>"


def _setting(value: Any) -> str:
    """As YAML would show it, but for an empty text, which would show as nothing."""
    known = plain(value)
    if known is None or known == "":
        return f'<i class="faint">{"none" if known is None else "empty"}</i>'
    return as_text(known if isinstance(known, str) else json.dumps(known, ensure_ascii=False))
