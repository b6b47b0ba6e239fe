"""How large is the page of a sweep, and how fast? Its size, its first view and a sorted column, in Chromium."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from rnnjax.benchmarks.chromium import ABSENT, painted_ms, views
from rnnjax.report.sweep import sweep_page

SORTED = ("loss", "train.learning_rate", "model.cell", "seed", "accuracy", "train.extra_0")

SORT = """(name) => {
  const input = document.querySelector(`#rows [data-column="${name}"]`);
  const heads = document.querySelectorAll("#rows thead th button");
  return () => heads[input.parentNode.cellIndex].click();
}"""


def made(count: int, *, extra: int = 0, seed: int = 0) -> dict[str, Any]:
    """A table of members as a sweep leaves it: a learning rate that matters, and some that diverged.

    Args:
        count: members.
        extra: choices that do nothing, drawn from 0 to 1.
        seed: of what is drawn.
    """
    draws = np.random.default_rng(seed)
    rate = 10 ** draws.uniform(-4, -1, count)
    loss = np.exp(0.8 * (np.log10(rate) + 2.2) ** 2 - 2 + 0.25 * draws.normal(size=count)).astype(np.float32)
    diverged = (rate > 0.05) & (draws.random(count) < 0.4)
    loss[diverged] = np.where(draws.random(diverged.sum()) < 0.5, np.nan, 1e8 * draws.random(diverged.sum()))
    cell = draws.choice(["elman", "lstm", "gru"], count)
    return {
        "member": np.arange(count),
        "batch": np.arange(count) // 256,
        "program": (cell == "lstm").astype(int),
        "seed": np.arange(count) % 32,
        "train.learning_rate": rate,
        "train.activity_l1": draws.choice([0, 1e-5, 1e-4, 1e-3], count),
        "model.cell": cell.tolist(),
        "train.clip_norm": [None if chance < 0.2 else 5 * chance for chance in draws.random(count)],
        "train.batch": np.full(count, 30),
        **{f"train.extra_{k}": draws.random(count) for k in range(extra)},
        "status": ["diverged" if failed else "finished" for failed in diverged],
        "steps": np.where(diverged, draws.integers(100, 4000, count), 5000),
        "seconds": np.full(count, 12.25),
        "loss": loss,
        "accuracy": np.clip(1 - loss / 2, 0, 1),
        "validation_loss": (1.1 * loss + 0.01).astype(np.float64),
    }


def curves(table: dict[str, Any], every: int = 250) -> dict[str, np.ndarray]:
    """Lines of a log that end where the member ended."""
    rows: dict[str, list[np.ndarray]] = {"member": [], "step": [], "loss": [], "validation_loss": []}
    for member, steps, loss in zip(table["member"], table["steps"], table["loss"], strict=True):
        taken = np.arange(0, steps + 1, every)
        course = (loss if np.isfinite(loss) else 5.0) + np.exp(-taken / 600.0)
        for name, values in zip(rows, (np.full(len(taken), member), taken, course, 1.1 * course), strict=True):
            rows[name].append(values)
    return {name: np.concatenate(parts) for name, parts in rows.items()}


def run(*, quick: bool = False) -> Iterator[dict[str, Any]]:
    """One row: megabytes of the page, seconds to the first view and to all lines, milliseconds to a sorted table."""
    count = 1000 if quick else 10_000
    table = made(count, extra=5)
    began = time.perf_counter()
    text = sweep_page("sweep", {}, table, curves=curves(table))
    row = {"question": "sweep_page", "members": count, "columns": len(table), "megabytes": len(text.encode()) / 1e6}
    row["written_s"] = time.perf_counter() - began
    seen = views(text, _look, quick=quick)
    if not seen:
        yield {**row, "skipped": ABSENT}
        return
    yield {
        **row,
        "first_view_s": float(np.median([view["first_view_s"] for view in seen])),
        "first_view_worst_s": float(np.max([view["first_view_s"] for view in seen])),
        "all_lines_s": float(np.median([view["all_lines_s"] for view in seen])),
        "sort_to_paint_ms": float(np.median([view["sort_ms"] for view in seen])),
        "sort_to_paint_worst_ms": float(np.max([view["sort_ms"] for view in seen])),
        "requests": max(view["requests"] for view in seen),
        "console": max(view["console"] for view in seen),
    }


def _look(tab: Any, since: Callable[[], float]) -> dict[str, Any]:
    """One opening of the page: its times."""
    tab.wait_for_selector("#member h3")
    first = since()
    tab.wait_for_function("members.parallel.drawn")
    lines = since()
    return {"first_view_s": first, "all_lines_s": lines, "sort_ms": painted_ms(tab, SORT, SORTED, pause_ms=300)}
