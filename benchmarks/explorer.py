"""How large is the page that is explored, and how fast? Its size, its first view and a chosen unit, in Chromium."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from rnnjax.benchmarks.chromium import ABSENT, painted_ms, views
from rnnjax.report import Exploration, FilmOf, Layer, Note, Report, page

PARAGRAPHS = (
    "The carrier came up the hill before the rain, and nobody at the mill was ready for him.",
    "“You are early,” said Anna from the door. “We have not weighed the half of it.”",
    "He laughed, took off his hat and sat on the wall. “Then weigh it while I rest; the horse is older than I am!”",
    "So they carried the sacks out, 14 of rye and 9 of barley, and set them in a row by the gate.",
    "“Is that all?” he asked. “Last year you had thirty.”",
    "“Last year,” she said, “there was a summer.”",
    "Nobody spoke for a while. The wheel turned over, the water ran under the boards, and a cloud stood upon the hill.",
    "OLD MARTIN, who had seen worse, only shook his head: “It will do. It has done before, and it will do again.”",
)
NAMED = {  # which unit goes with what, how strongly, and which way
    107: ("inside quotation", 0.71, 1),
    12: ("position in line", 0.64, 1),
    300: ("vowel", 0.52, 1),
    45: ("capital", 0.41, -1),
    200: ("space", 0.38, 1),
    77: ("position in word", 0.33, 1),
}


def story(steps: int) -> str:
    """A text of so many characters with quotations in it."""
    text = ("\n".join(PARAGRAPHS) + "\n\n") * (steps // 900 + 1)
    return text[:steps]


def concepts(text: str) -> dict[str, np.ndarray]:
    """What each symbol is, from -1 to 1 or so, ``[steps]`` each."""
    depth = np.cumsum([(symbol == "“") - (symbol == "”") for symbol in text])
    line, word = np.zeros(len(text)), np.zeros(len(text))
    for step, symbol in enumerate(text):
        line[step] = 0 if symbol == "\n" or not step else line[step - 1] + 1
        word[step] = word[step - 1] + 1 if step and symbol.isalpha() else 0
    return {
        "inside quotation": 2.0 * depth - 1,
        "position in line": np.minimum(line / 60, 1.5) - 0.6,
        "vowel": np.asarray([2.0 * (symbol in "aeiouAEIOU") - 1 for symbol in text]),
        "capital": np.asarray([2.0 * symbol.isupper() - 1 for symbol in text]),
        "space": np.asarray([2.0 * symbol.isspace() - 1 for symbol in text]),
        "position in word": np.minimum(word / 4, 1.5) - 0.7,
    }


def synthetic(
    steps: int = 2000, units: int = 1024, *, best: int = 64, name: str = "story", seed: int = 0
) -> Exploration:
    """Units that follow a concept of a text, or the symbols, with noise; its film in every fourth step.

    Args:
        steps: symbols of the text.
        units: of the layer; those of `NAMED` that there are follow their concept.
        best: units of which the gates, the cell state and the film are there.
        name: of the run.
        seed: of the noise.
    """
    draws = np.random.default_rng(seed)
    text = story(steps)
    codes = np.unique(list(text), return_inverse=True)[1]
    drive = 0.7 * draws.normal(size=(codes.max() + 1, units))[codes] + 0.6 * draws.normal(size=(steps, units))
    for step in range(1, steps):  # each unit keeps half of what it had
        drive[step] += 0.5 * drive[step - 1]
    named = {unit: note for unit, note in NAMED.items() if unit < units}
    for unit, (concept, effect, direction) in named.items():
        drive[:, unit] = direction * concepts(text)[concept] * (0.8 + effect) + 0.25 * draws.normal(size=steps)
    h = np.tanh(drive)
    others = [unit for unit in range(units) if unit not in named]
    chosen = np.sort([*named, *draws.permutation(others)[: best - len(named)]]).astype(int)[:best]
    layers = {"0.h": Layer(h), "0.c": Layer(1.7 * drive[:, chosen], chosen)}
    for gate in "ifgo":
        course = drive[:, chosen] * draws.normal(size=len(chosen)) + draws.normal(size=(steps, len(chosen)))
        layers[f"0.{gate}"] = Layer(np.tanh(course) if gate == "g" else 1 / (1 + np.exp(-course)), chosen)
    seen, checkpoints = np.arange(0, steps, 4), [0, 100, 200, 400, 800, 1200, 1600, 2000, 2400, 2800, 3200, 3600]
    share = np.linspace(0, 1, len(checkpoints))[:, None, None]
    noise = draws.normal(size=(len(checkpoints), len(seen), len(chosen)))
    film = FilmOf("0.h", checkpoints, seen, chosen, np.tanh(share * drive[seen][:, chosen] + (1 - share) * 0.4 * noise))
    loss = draws.gamma(1.2, 0.9, steps)
    return Exploration(
        name,
        list(text),
        layers,
        notes=[Note("0.h", unit, *note, 0.001) for unit, note in named.items()],
        lesions={"0.h": np.abs(draws.normal(scale=0.004, size=units))},
        loss=loss,
        predicted=_guesses(text, loss, draws),
        film=film,
    )


def _guesses(text: str, loss: np.ndarray, draws: np.random.Generator) -> list[list[tuple[str, float]]]:
    """Five symbols at each step, the right one with the probability that the loss says."""
    letters, rows = list(" etaoinshr"), []
    for step, cost in enumerate(loss):
        right = text[(step + 1) % len(text)]
        chance = float(np.exp(-cost))
        rest = [letter for letter in draws.permutation(letters).tolist() if letter != right][:4]
        shares = (1 - chance) * 0.8 * draws.dirichlet(np.ones(4))
        rows.append(sorted([(right, chance), *zip(rest, shares.tolist(), strict=True)], key=lambda pair: -pair[1]))
    return rows


CHOOSE = "(unit) => () => explorer.choose({ unit })"


def run(*, quick: bool = False) -> Iterator[dict[str, Any]]:
    """One row: megabytes of the page, seconds to the first view, milliseconds from a chosen unit to its colours."""
    began = time.perf_counter()
    text = page(Report("story", explorations=[synthetic(500 if quick else 2000, 128 if quick else 1024)]))
    row = {"question": "explorer", "megabytes": len(text.encode()) / 1e6, "written_s": time.perf_counter() - began}
    seen = views(text, _look, quick=quick)
    if not seen:
        yield {**row, "skipped": ABSENT}
        return
    yield {
        **row,
        "first_view_s": float(np.median([view["first_view_s"] for view in seen])),
        "unit_to_paint_ms": float(np.median(np.concatenate([view["unit_ms"] for view in seen]))),
        "unit_to_paint_worst_ms": float(np.max(np.concatenate([view["unit_ms"] for view in seen]))),
        "requests": max(view["requests"] for view in seen),
        "console": max(view["console"] for view in seen),
    }


def _look(tab: Any, since: Callable[[], float]) -> dict[str, Any]:
    """One opening of the page: its times."""
    tab.wait_for_selector("#here h3")
    first = since()
    units = np.random.default_rng(0).permutation(100)[:12].tolist()
    return {"first_view_s": first, "unit_ms": painted_ms(tab, CHOOSE, units, pause_ms=150)}
