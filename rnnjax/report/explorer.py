"""The part of the page that is explored: courses of fields over a text, packed small enough to travel in it.

Each `Exploration` becomes two scripts that run nothing: one of JSON (symbols, names, places of the arrays) and one of
base64 (all arrays, joined and gzipped), which the scripts beside this file open with the browser's own
`DecompressionStream`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rnnjax.config import InputError
from rnnjax.report.packing import Chest
from rnnjax.report.parts import module
from rnnjax.report.safe import as_json, beside

SCRIPTS = (  # one module, in this order
    *("packing.js", "courses.js", "signs.js", "canvas.js", "colours.js", "choices.js", "maps.js", "cards.js"),
    "explorer.js",
)
LEVELS = 127  # steps on each side of a unit's middle; -128 stands for what is not finite


@dataclass(frozen=True, eq=False)
class Layer:
    """The course of one field.

    Attributes:
        values: ``[steps, units]``.
        units: the number of each unit; None: 0, 1, 2, ...
    """

    values: NDArray[Any]
    units: Sequence[int] | NDArray[Any] | None = None

    @property
    def numbers(self) -> list[int]:
        """The number of each unit."""
        return _numbers(self.units, np.shape(self.values)[-1])


@dataclass(frozen=True)
class Note:
    """What a unit was found to do.

    Attributes:
        field: of the unit, such as `0.h`.
        unit: its number.
        concept: what its value goes with, in words.
        effect: share of its variance that the concept explains, on held-out steps.
        direction: above zero where its value rises with the concept, below where it falls, zero where neither is said.
        q: chance of such an effect by luck, controlled over all units; None: not known.
    """

    field: str
    unit: int
    concept: str
    effect: float
    direction: float = 0.0
    q: float | None = None


@dataclass(frozen=True, eq=False)
class FilmOf:
    """The course of some units at some steps of the text, at every checkpoint of a training.

    Attributes:
        field: of the units.
        checkpoints: the training step of each checkpoint, ``[checkpoints]``.
        steps: places in the text, ``[steps]``.
        units: the number of each unit, ``[units]``.
        values: ``[checkpoints, steps, units]``.
    """

    field: str
    checkpoints: Sequence[int] | NDArray[Any]
    steps: Sequence[int] | NDArray[Any]
    units: Sequence[int] | NDArray[Any]
    values: NDArray[Any]


@dataclass(frozen=True, eq=False)
class Exploration:
    """One run's courses over one text or sequence.

    Attributes:
        name: of the run.
        symbols: the raw text of each symbol read, one a step: characters, words or numbers, whatever they hold.
        layers: the course of each field by its name, `LAYER.FIELD`; the first one is shown first.
        notes: what units were found to do, as many a unit as there are.
        lesions: by field, how much the loss grows without each unit, in the order of that layer's units.
        loss: of what was predicted at each step, ``[steps]``, in nats.
        predicted: the likeliest next symbols at each step with their probabilities, the likeliest first.
        answers: the right answer at each step, where that is not the next symbol.
        film: the course of some units over a training; what it has beyond the end of the text is left out.
        starts: steps at which an example begins; none: all is one sequence.
        spaced: whether a space is shown between symbols; None: where most of them are longer than a character, and
            none holds white space.
    """

    name: str
    symbols: Sequence[str]
    layers: Mapping[str, Layer]
    notes: Sequence[Note] = ()
    lesions: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    loss: NDArray[Any] | None = None
    predicted: Sequence[Sequence[tuple[str, float]]] = ()
    answers: Sequence[str] = ()
    film: FilmOf | None = None
    starts: Sequence[int] | NDArray[Any] = ()
    spaced: bool | None = None

    def __post_init__(self):
        if not self.layers or not len(self.symbols):
            raise InputError("nothing to explore", self._where, "give at least one symbol and one layer")
        steps = len(self.symbols)
        for name, layer in self.layers.items():
            self._check(f"values of {name}", layer.values, (steps, len(layer.numbers)))
        for name, change in self.lesions.items():
            if name not in self.layers:
                raise InputError(f"lesions of '{name}'", self._where, f"there are {', '.join(self.layers)}")
            self._check(f"lesions of {name}", change, (len(self.layers[name].numbers),))
        if self.loss is not None:
            self._check("loss", self.loss, (steps,))
        for what, given in (("predictions", self.predicted), ("answers", self.answers)):
            if len(given) not in (0, steps):
                raise InputError(f"{what} at {len(given)} steps", self._where, f"give one for each of {steps}")
        if self.film is not None:
            film = self.film
            self._check("film", film.values, (len(film.checkpoints), len(film.steps), len(film.units)))

    @property
    def _where(self) -> str:
        return f"in the exploration of '{self.name}'"

    def _check(self, what: str, values: Any, shape: tuple[int, ...]) -> None:
        if np.shape(values) != shape:
            raise InputError(f"{what} of shape {list(np.shape(values))}", self._where, f"give shape {list(shape)}")


class Quantised(NamedTuple):
    """Values in one byte each: ``offset + scale * levels``, level -128 for what is not finite.

    Attributes:
        levels: ``[units, ...]``.
        scale: of each unit, ``[units]``, float32.
        offset: of each unit, ``[units]``, float32.
    """

    levels: NDArray[np.int8]
    scale: NDArray[np.float32]
    offset: NDArray[np.float32]


def quantise(values: NDArray[Any]) -> Quantised:
    """The values ``[..., units]`` in 255 levels from each unit's least to its greatest.

    What is read back is within half of `scale` of what was given (and float32's own rounding).
    """
    courses = np.moveaxis(np.asarray(values, np.float64), -1, 0)
    flat = courses.reshape(len(courses), -1)
    finite = np.isfinite(flat)
    least = np.min(flat, axis=1, initial=np.inf, where=finite)
    greatest = np.max(flat, axis=1, initial=-np.inf, where=finite)
    known = finite.any(axis=1)
    offset = np.where(known, least / 2 + np.where(known, greatest, 0) / 2, 0).astype(np.float32)
    scale = np.where(known, (greatest - least) / (2 * LEVELS), 0).astype(np.float32)
    steps = np.divide(
        np.where(finite, flat, 0) - offset[:, None], scale[:, None], out=np.zeros_like(flat), where=scale[:, None] > 0
    )
    levels = np.where(finite, np.clip(np.rint(steps), -LEVELS, LEVELS), -LEVELS - 1).astype(np.int8)
    return Quantised(levels.reshape(courses.shape), scale, offset)


def section(explorations: Sequence[Exploration]) -> str:
    """The section of the page, empty until its script fills it."""
    return beside("explorer.html") if explorations else ""


def style(explorations: Sequence[Exploration]) -> str:
    """What the page's style needs beyond `style.css`."""
    return beside("controls.css") + beside("explorer.css") if explorations else ""


def scripts(explorations: Sequence[Exploration]) -> str:
    """The data of the explorations and the script that shows them."""
    if not explorations:
        return ""
    parts = []
    for number, exploration in enumerate(explorations):
        content, arrays = _packed(exploration)
        parts.append(f'<script type="application/json" id="exploration-{number}">{as_json(content)}</script>')
        parts.append(f'<script type="text/plain" id="arrays-{number}">{arrays}</script>')
    return "\n".join([*parts, module(SCRIPTS)])


def _packed(exploration: Exploration) -> tuple[dict[str, Any], str]:
    """What goes into JSON, and all arrays as base64 of gzip."""
    chest = Chest()
    shown = {(name, unit) for name, layer in exploration.layers.items() for unit in layer.numbers}
    notes = [note for note in exploration.notes if (note.field, int(note.unit)) in shown]
    names, predicted = _dictionary(exploration.predicted)
    content = {
        "name": exploration.name,
        "symbols": list(map(str, exploration.symbols)),
        "spaced": _is_spaced(exploration.symbols) if exploration.spaced is None else exploration.spaced,
        "starts": [int(step) for step in exploration.starts],
        "layers": {
            name: {"units": layer.numbers, **_courses(chest, layer.values)}
            for name, layer in exploration.layers.items()
        },
        "notes": [
            [note.field, int(note.unit), note.concept, *map(_short, (note.effect, note.direction, note.q))]
            for note in notes
        ],
        "lesions": {name: list(map(_short, change)) for name, change in exploration.lesions.items()},
        "loss": None if exploration.loss is None else list(map(_short, exploration.loss)),
        "names": names,
        "predicted": predicted,
        "answers": list(map(str, exploration.answers)),
        "film": None if exploration.film is None else _film(exploration.film, len(exploration.symbols), chest),
    }
    return content, chest.closed()


def _film(film: FilmOf, length: int, chest: Chest) -> dict[str, Any]:
    known = np.asarray(film.steps) < length
    return {
        "field": film.field,
        "checkpoints": [int(step) for step in film.checkpoints],
        "steps": [int(step) for step in np.asarray(film.steps)[known]],
        "units": [int(unit) for unit in film.units],
        **_courses(chest, film.values[:, known]),
    }


def _courses(chest: Chest, values: NDArray[Any]) -> dict[str, list[int]]:
    """The places of the quantised values, of their scales and of their offsets."""
    levels, scale, offset = quantise(values)
    return {"levels": chest.put(levels), "scale": chest.put(scale), "offset": chest.put(offset)}


def _dictionary(predicted: Iterable[Sequence[tuple[str, float]]]) -> tuple[list[str], list[list[Any]]]:
    """The symbols predicted, and at each step the place of one among them, its probability, the place of the next..."""
    places: dict[str, int] = {}
    rows = [
        [part for name, chance in row for part in (places.setdefault(str(name), len(places)), _short(chance))]
        for row in predicted
    ]
    return list(places), rows


def _numbers(units: Any, count: int) -> list[int]:
    return list(range(count)) if units is None else [int(unit) for unit in units]


def _short(number: Any) -> float | None:
    """The number to four digits, for the page shows no more; None if there is none, or none that is finite."""
    return float(f"{number:.4g}") if number is not None and math.isfinite(number) else None


def _is_spaced(symbols: Sequence[str]) -> bool:
    longer = sum(len(symbol) > 1 for symbol in symbols)
    return 2 * longer > len(symbols) and not any(part.isspace() for symbol in symbols for part in str(symbol))
