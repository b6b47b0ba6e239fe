"""What the page of a run explores: one passage, what every unit did over it, and what is known of each unit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from rnnjax.interpret import Scores, explain, lesion_atlas
from rnnjax.looks.base import most_varied
from rnnjax.looks.units import of_layer
from rnnjax.recording import Recording, observe
from rnnjax.report.explorer import Exploration, FilmOf, Layer, Note
from rnnjax.sequence import Record
from rnnjax.tasks import Batch, Task, Text

if TYPE_CHECKING:
    from rnnjax.run.opened import Checkpoint, Run

FILM = "film"
"""The name of the recording that training makes of itself."""

ROWS = 16
"""Rows that held-out text is read in, side by side, where units are explained or switched off."""

NAMING_STEPS = 20_000
LESION_STEPS = 480  # a network of 1,024 units is run over them 1,024 times
CLOSER, NUMBERS = 64, 2_600_000  # units whose gates are shown at least, and values of all of them at most
FILMED = 128  # units of the film, those that vary most
LIKELIEST = 3  # symbols that are told at each step


def exploration(run: Run, steps: int, checkpoint: Checkpoint) -> Exploration:
    """Everything that the page shows of a run.

    Args:
      run: the run.
      steps: steps of the passage.
      checkpoint: `latest`, `best`, or a step.
    """
    task, model = run.experiment.built.task, run.model(checkpoint)
    film = film_of(run)
    if film is not None and not isinstance(task, Text):
        steps = run.experiment.record.film  # only a text begins alike however much of it is read
    batch, field = task.probe(steps), run.watched[0]
    written = field.startswith("decoder.")
    scores = explain(model, task, task.probe(NAMING_STEPS, ROWS), field)
    closer = [name for name in of_layer(run.recordable, field) if name not in run.watched]
    best = _best(scores, max(CLOSER, NUMBERS // max(1, steps * len(closer))))
    classes = task.answers == "classes" and (task.read == "every" or written)
    wanted = [*run.watched, *(Record(name, tuple(best)) for name in closer), *(["probabilities"] if classes else [])]
    found = observe(model, batch, wanted, task=task)
    length = len(found[field])
    shown = [name for name in found.fields if name != "probabilities" and len(found[name]) == length]
    atlas = lesion_atlas(model, [task.probe(LESION_STEPS, ROWS)], task, field)
    return Exploration(
        name=run.path.name,
        symbols=_symbols(task, batch, length, written=written),
        layers={name: Layer(found[name], found.units(name)) for name in shown},
        notes=[Note(field, n.unit, n.concept, n.effect, n.direction, n.q) for n in scores.named],
        lesions={field: atlas.change},
        film=None if film is None else _film(film, field),
        starts=_starts(found, field),
        **(_answered(task, batch, found["probabilities"]) if classes else {}),
    )


def film_of(run: Run) -> Recording | None:
    """The film of a run's training, if one was made."""
    if FILM not in run.folder.recordings():
        return None
    film = Recording.open(run.folder.recording(FILM))
    return film if len(film.coords["checkpoint"]) else None


def _best(scores: Scores, most: int) -> list[int]:
    """The units with the greatest effects, in the order of their numbers."""
    order = np.argsort(-scores.effects.max(axis=1, initial=0.0), kind="stable")[:most]
    return sorted(int(scores.units[k]) for k in order)


def _symbols(task: Task, batch: Batch, length: int, *, written: bool) -> list[str]:
    """What stands at each of so many steps: a symbol that is read, one that is written (the first behind its question),
    the number of the step within its example, or that of the example where it is read at once."""
    exists, inputs = np.asarray(batch.existing()), np.asarray(batch.inputs)
    if written:
        found = []
        for row, there, answer in zip(inputs, exists, np.asarray(batch.targets), strict=True):
            symbols = [task.labels[int(k)] for k in answer]
            asked = "".join(task.symbol(int(k)) for k in row[there]) if task.symbols else ""
            found += [f"{asked}→{symbols[0]}", *symbols[1:]]
        return found
    if length != exists.sum():
        return [str(number) for number in range(length)]
    if task.symbols:
        return [task.alphabet[int(k)] if int(k) < len(task.alphabet) else "" for k in inputs[exists]]
    if inputs.shape[2] == 1:
        return [f"{value:.3g}" for value in inputs[exists][:, 0]]
    return [str(place) for place in np.nonzero(exists)[1]]


def _answered(task: Task, batch: Batch, probabilities: np.ndarray) -> dict[str, Any]:
    """What the model makes of every step: its loss, the likeliest answers, and the right one where it is not the next
    symbol."""
    targets = np.asarray(batch.targets)
    targets = targets.reshape(-1) if task.read == "answer" else targets[np.asarray(batch.existing())]
    order = np.argsort(-probabilities, axis=1, kind="stable")[:, :LIKELIEST]
    continues = task.read == "every" and task.labels == task.alphabet
    return {
        "loss": -np.log(np.maximum(probabilities[np.arange(len(targets)), targets], 1e-30)),
        "predicted": [
            [(task.labels[int(k)], float(row[k])) for k in best] for best, row in zip(order, probabilities, strict=True)
        ],
        "answers": [] if continues else [task.labels[int(k)] for k in targets],
    }


def _starts(found: Recording, field: str) -> np.ndarray:
    """Steps at which an example begins; none where all is one sequence."""
    starts = np.flatnonzero(np.diff(found.along(field, "example"), prepend=-1))
    return starts if len(starts) > 1 else starts[:0]


def _film(film: Recording, field: str) -> FilmOf | None:
    """The film of the units that vary most at its end."""
    if field not in film.fields:
        return None
    values = film[field]
    chosen = most_varied(values[-1], FILMED)
    return FilmOf(
        field,
        checkpoints=film.coords["checkpoint"],
        steps=np.arange(values.shape[1]),
        units=film.units(field)[chosen],
        values=values[:, :, chosen],
    )
