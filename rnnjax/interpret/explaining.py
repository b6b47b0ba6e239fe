"""From a model to the names of its units: what it reads is labelled by its task, and by functions of one's own."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from rnnjax.config import InputError
from rnnjax.experiment import imported
from rnnjax.interpret.scores import PERMUTATIONS, Scores, score_units
from rnnjax.recording import observe
from rnnjax.tasks.base import Batch, Task

Labeller = Callable[[Any], Sequence[Any]]
"""A concept as a function: of a text, a label (yes or no, a number, a class) for each of its symbols."""


def explain(
    model: Any,
    task: Task,
    batch: Batch,
    field: str,
    *,
    functions: Mapping[str, Labeller] | None = None,
    permutations: int = PERMUTATIONS,
    rate: float = 0.05,
    seed: int = 0,
) -> Scores:
    """Which unit follows what, of all that the task knows of each step.

    Examples that are alike are read once, so that none is in both halves.

    Args:
      model: the model, as trained.
      task: what the steps mean.
      batch: what is read. A model that writes is fed the right answers.
      field: the quantity, such as `0.h`.
      functions: of the text, besides what the task knows, by name; see `text_of` for what they are given.
      permutations: as in `score_units`.
      rate: share of named units that may be named by chance (false-discovery rate).
      seed: of the halves and permutations.

    Raises:
      InputError: a quantity that is not there, a function that gives no label a symbol, or too little data.
    """
    batch = _once(batch)
    written = model.read == "answer" and not field.startswith("encoder.")
    found = observe(model, batch, [field], task=task, answers=batch.targets if model.read == "answer" else None)
    values = found[field]
    answers = found.dims(field)[0].startswith("answer_")
    example = found.along(field, "example")
    exist = np.asarray(task.counted(batch)) if written else np.asarray(batch.existing())
    own = {name: labelled(task, batch, name, function, written=written) for name, function in (functions or {}).items()}
    labels = own | task.concepts(batch, written=written)  # of concepts that are the same, the first is kept
    if answers and not written:  # a network that reads an example at once: what is known after its last step
        last = exist.shape[1] - 1 - exist[:, ::-1].argmax(axis=1)
        flat = {name: each[np.arange(len(last)), last] for name, each in labels.items()}
    else:
        flat = {name: each[exist] for name, each in labels.items()}
        values, example = (values[exist.reshape(-1)], example[exist.reshape(-1)]) if written else (values, example)
    return score_units(
        values,
        flat,
        groups=example,
        field=field,
        units=found.units(field),
        permutations=permutations,
        rate=rate,
        seed=seed,
    )


def text_of(task: Task, batch: Batch, *, written: bool = False) -> list[Any]:
    """What each row of a batch says, without steps that do not exist: what functions of the text are given.

    Text, where every symbol is one character; otherwise a list of the symbols, such as words, an empty one for none.

    Args:
      task: what symbols are called.
      batch: the rows.
      written: whether it is the answers that are meant.

    Raises:
      InputError: inputs that are no symbols.
    """
    if not written and not task.symbols:
        raise InputError("inputs that are no symbols", "in a concept that is a function of the text", "use the task's")
    tokens, names = (batch.targets, task.labels) if written else (batch.inputs, task.alphabet)
    exist = np.asarray(task.counted(batch) if written else batch.existing())
    rows = []
    for row, there in zip(np.asarray(tokens), exist, strict=True):
        symbols = [names[int(k)] if int(k) < len(names) else "" for k in row[there]]
        rows.append("".join(symbols) if all(len(symbol) == 1 for symbol in symbols) else symbols)
    return rows


def labelled(task: Task, batch: Batch, name: str, function: Labeller, *, written: bool = False) -> np.ndarray:
    """A concept that is a function of the text, ``[batch, steps]``; zero where no step exists.

    Raises:
      InputError: it does not give a label for every symbol.
    """
    exist = np.asarray(task.counted(batch) if written else batch.existing())
    rows = []
    for text in text_of(task, batch, written=written):
        labels = np.asarray(_said(name, function, text))
        if labels.shape != (len(text),) or labels.dtype.kind not in "biufU":
            raise InputError(
                f"labels of shape {list(labels.shape)} and type {labels.dtype} for {len(text)} symbols",
                f"in the concept '{name}'",
                "give a list with a label for each symbol: True or False, a number, or a word",
            )
        rows.append(labels)
    joined = np.concatenate(rows)
    filled = np.zeros(exist.shape, joined.dtype)
    filled[exist] = joined
    return filled


def _said(name: str, function: Labeller, text: Any) -> list[Any]:
    """What a function of the user's own says of a text; whatever goes wrong in it is told as its own."""
    try:
        return list(function(text))
    except Exception as error:
        raise InputError(
            f"{type(error).__name__}: {error}", f"in the concept '{name}'", "correct the function: a label a symbol"
        ) from error


def own_concept(spec: str) -> tuple[str, Labeller]:
    """The function that ``FILE.py:FUNCTION`` or ``module:function`` names, and what it is called.

    Raises:
      InputError: there is no such file, or no such function in it.
    """
    function: Labeller = imported(spec)
    if not callable(function):
        raise InputError(f"'{spec}' is no function", "in --concept", "name a function of a text: FILE.py:FUNCTION")
    return spec.rpartition(":")[2].replace("_", " "), function


def _once(batch: Batch) -> Batch:
    """The batch without rows that are the same as another."""
    count = batch.inputs.shape[0]
    parts = {f.name: getattr(batch, f.name) for f in dataclasses.fields(batch)}
    by_row = {name: np.asarray(v) for name, v in parts.items() if v is not None and np.ndim(v)}
    joined = np.concatenate([each.reshape(count, -1).astype(np.float64) for each in by_row.values()], axis=1)
    first = np.sort(np.unique(joined, axis=0, return_index=True)[1])
    return dataclasses.replace(batch, **{name: each[first] for name, each in by_row.items()})
