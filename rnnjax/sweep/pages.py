"""What a finished sweep leaves to look at: pictures, and the page in which its members are sorted and compared."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rnnjax import figures
from rnnjax.choosing import described
from rnnjax.config import InputError
from rnnjax.figures import sweeps
from rnnjax.figures.style import Figure
from rnnjax.report.sweep import sweep_page
from rnnjax.sweep.importance import Importance, importance_of
from rnnjax.sweep.spaces import Range, When, unconditional
from rnnjax.sweep.table import Curves, Table, direction_of

if TYPE_CHECKING:
    from rnnjax.sweep.story import Sweep

DRAWN = 2000  # members whose curves are read for a picture


def importance(sweep: Sweep, table: Table) -> Importance:
    """What explains the differences between the members of a sweep.

    Raises:
      InputError: too few members have a value.
    """
    conditional = [key for key, spec in sweep.space.axes.items() if isinstance(spec, When)]
    return importance_of(table, sweep.metric, conditional=conditional)


def pictures(sweep: Sweep, table: Table) -> tuple[dict[str, tuple[Figure, str]], Importance | None]:
    """Pictures of a sweep by title, each with a caption; and what explains its differences, if that can be told."""
    changed = [key for key in table.changed() if key in table.choices]
    metric, direction = sweep.metric, direction_of(sweep.metric)
    if not len(table) or metric not in table.metrics or not np.isfinite(table.column(metric)).any():
        return {}, None
    values = table.judged(metric, direction)
    choices = table.arrays(changed)
    log = [key for key in changed if _is_log(sweep.space.axes.get(key))]
    how: dict[str, Any] = {"label": metric.replace("_", " "), "direction": direction}
    found: dict[str, tuple[Figure, str]] = {
        "history": (
            sweeps.history(values, members=table.column("member"), **how),
            "Each member in its order, and the best so far.",
        )
    }
    if not changed:
        return found, None
    found["slices"] = (sweeps.slices(choices, values, log=log, **how), "Every member against each choice.")
    found["parallel coordinates"] = (
        sweeps.parallel(choices, values, log=log, **how),
        "A line a member, through its choices; the best stand out.",
    )
    effects = None
    with contextlib.suppress(InputError):  # too few members have a value
        effects = importance(sweep, table)
    if effects is not None and effects.choices:
        together = [*effects.choices, *effects.pairs]
        found["importance"] = (
            sweeps.importances(
                [each.keys for each in together],
                [each.share for each in together],
                [each.null for each in together],
                clear=[each.clear for each in together],
            ),
            "What each choice explains of the ranks of the members, and what chance would.",
        )
        if (pair := effects.foremost()) is not None:
            both: Any = {"names": pair, "log": set(log) & {*pair}, "members": table.column("member"), **how}
            drawn = sweeps.contour(choices[pair[0]], choices[pair[1]], values, **both)
            found["contour"] = (drawn, "The two choices that explain most, together.")
        key = effects.choices[0].keys[0]
        found |= _courses(sweep, table, key, choices[key], how["label"])
    return found, effects


def _courses(sweep: Sweep, table: Table, key: str, groups: Any, label: str) -> dict[str, tuple[Figure, str]]:
    members = table.column("member")
    places = np.unique(np.linspace(0, len(members) - 1, min(DRAWN, len(members))).astype(int))
    try:
        steps, values = Curves(sweep.path).grid(sweep.metric, members[places])
        if len(steps) == 1:  # measured in the end alone
            steps, values = Curves(sweep.path).grid("loss", members[places])
            label = "loss"
    except InputError:
        return {}  # nothing of it was logged
    drawn = sweeps.curves_by_group(steps, values, [groups[place] for place in places], key=key, label=label)
    return {"curves": (drawn, f"The course of members by {key}: median, and the middle half.")}


def _is_log(spec: Any) -> bool:
    plain = unconditional(spec) if spec is not None else None
    return isinstance(plain, Range) and plain.log


def write_pages(sweep: Sweep, table: Table, summary: Mapping[str, Any]) -> Path:
    """Writes pictures and the page into the sweep's folder, and gives the page's path."""
    found, effects = pictures(sweep, table)
    for title, (figure, _) in found.items():
        sweep.folder.write_bytes(f"figures/{title.replace(' ', '_')}.png", figures.png(figure))
    told = {**summary, "path": str(sweep.path), "command": sweep.folder.environment().get("command", "")}
    if summary.get("best") is not None:
        told["best"] = {
            "metric": summary["metric"],
            "mode": summary["direction"],
            "value": summary["value"],
            "member": summary["best"],
        }
    page = sweep_page(
        sweep.path.name,
        told,
        table.arrays(),
        {
            title: (figures.svg(figure), caption)
            for title, (figure, caption) in found.items()
            if title != "parallel coordinates"  # the page draws them itself, to be brushed
        },
        Curves(sweep.path).of(),
        notes(sweep, table, effects),
    )
    sweep.folder.write_text("report.html", page)
    return sweep.path / "report.html"


def notes(sweep: Sweep, table: Table, effects: Importance | None) -> list[str]:
    """What must be known to read the numbers: how members were computed, who was frozen, what has an effect."""
    found = []
    for program in sweep.plan.programs:
        shaping = "" if len(sweep.plan.programs) == 1 else f" {program.index}"
        found.append(
            f"Program{shaping}: {program.members:,} members, {program.parameters:,} parameters each; "
            f"{described(program.layout)}, batches of {program.width:,}."
        )
    if any(program.layout.block > 1 for program in sweep.plan.programs):
        found.append(
            "Members side by side are rounded otherwise than a member alone, and the training of some is chaotic: "
            "trained alone, or in blocks of another size, a member may end elsewhere. In blocks of the same size it "
            "ends on the same bits, whoever is beside it."
        )
    diverged = table.column("member")[table.column("status") == "diverged"] if len(table) else []
    if len(diverged):
        named = ", ".join(map(str, diverged[:20])) + (" ..." if len(diverged) > 20 else "")
        found.append(f"{len(diverged):,} members had a loss or gradient that is not finite, and were frozen: {named}.")
    if effects is not None:
        clear = [" and ".join(each.keys) for each in (*effects.choices, *effects.pairs) if each.clear]
        found.append(
            f"Differences of {effects.metric} are explained by {', '.join(clear)}."
            if clear
            else f"No choice has a clear effect on {effects.metric}."
        )
    return found
