"""What the pages are put together from: the frame, the top, tiles, pictures, tables and settings, all as HTML.

Every text that is given is escaped, but for what is said to be HTML already.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from numbers import Real
from string import Template
from typing import Any

from rnnjax.report.safe import as_json, as_text, beside, plain

# ---- the frame


def document(
    title: str,
    *,
    status: str,
    command: str,
    headline: str,
    sections: Iterable[tuple[str, str, str]],
    data: Mapping[str, Any],
    style: str = "",
    scripts: str = "",
) -> str:
    """A whole page.

    Args:
        title: of the page.
        status: in a word or two; empty: not shown.
        command: the command line that repeats it; empty: not shown.
        headline: tiles, as HTML.
        sections: key, title and content (HTML) of each; those without content are left out.
        data: what the page carries as JSON for its own script and for other programs.
        style: what its style needs beyond `style.css`.
        scripts: what it runs or carries beyond `script.js`, as HTML.
    """
    shown = [section for section in sections if section[2]]
    return Template(beside("template.html")).substitute(
        title=as_text(title),
        status=_status(status),
        command=f'<pre class="command" data-copy="command"><code>{as_text(command)}</code></pre>' if command else "",
        headline=f'<dl class="headline">{headline}</dl>' if headline else "",
        links="".join(f'<a href="#{key}">{title}</a>' for key, title, _ in shown),
        sections="\n".join(
            f'<section id="{key}" aria-labelledby="{key}-title" tabindex="-1">\n'
            f'<h2 id="{key}-title">{title}</h2>\n{body}\n</section>'
            for key, title, body in shown
        ),
        data=as_json(data),
        style=beside("style.css") + style,
        script=beside("script.js"),
        scripts=scripts,
    )


def module(names: Iterable[str]) -> str:
    """The scripts beside this file as one module, in this order."""
    program = "\n".join(map(beside, names))
    return f'<script type="module">\n{program}</script>\n'


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


def tile(name: str, value: Any, show: Callable[[Any], str], note: str = "") -> str:
    """A number, large, under its name; empty where the value is no number."""
    if not is_number(value):
        return ""
    title = {"seconds": "time"}.get(name, name.replace("_", " "))
    shown = show(value) if math.isfinite(value) else str(float(value))
    number = f'<dd class="number" title="{as_text(value)}">{as_text(shown)}</dd>'
    return f"<div><dt>{as_text(title)}</dt>{number}" + (
        f'<dd class="note">{as_text(note)}</dd></div>' if note else "</div>"
    )


def is_number(value: Any) -> bool:
    """Whether it is a number, and no truth value."""
    return isinstance(value, Real) and not isinstance(value, bool)


def count(value: float) -> str:
    """A whole number."""
    return f"{value:,.0f}"


def significant(value: float) -> str:
    """Four digits."""
    return count(value) if abs(value) >= 1000 else f"{value:.4g}"


def large(value: float) -> str:
    """Three digits and a unit such as M."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value:.3g}"


def duration(seconds: float) -> str:
    """Seconds, minutes, or hours and minutes."""
    if seconds < 60:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


# ---- pictures


def pictures(entries: Iterable[str]) -> str:
    """Pictures side by side where there is room."""
    drawn = "".join(entries)
    return f'<div class="figures">{drawn}</div>' if drawn else ""


def picture(title: str, caption: str, svg: str, size: tuple[float, float] | None) -> str:
    """A figure with its caption.

    Args:
        title: of the figure.
        caption: beside the title.
        svg: the picture, from `<svg` on. As an image it can run nothing, and keeps its ids to itself; written into
            the page they would collide.
        size: width and height in inches; None: not known.
    """
    source = base64.b64encode(svg.encode("utf-8", "replace")).decode()
    width, height = (round(96 * inches) for inches in size or (0, 0))
    measures = f' width="{width}" height="{height}"' if size else ""
    wide = ' class="wide"' if width > 800 else ""
    return (
        f'<figure{wide}><div class="paper" tabindex="0" role="region" aria-label="{as_text(title)}">'
        f'<img src="data:image/svg+xml;base64,{source}" alt="{as_text(f"{title}. {caption}")}"{measures}>'
        f"</div><figcaption><strong>{as_text(title)}</strong> {as_text(caption)}</figcaption></figure>"
    )


# ---- tables and settings


def table(
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


def settings(tree: Mapping[str, Any], key: str, *, is_open: bool = False) -> str:
    """A fold for the plain entries of a mapping and one for each mapping in it, under their dotted names.

    Args:
        tree: what is shown.
        key: under which the page's own data has it too.
        is_open: whether the first fold is open.
    """
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
