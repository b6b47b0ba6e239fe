"""Anyone's arrays as a task: rectangular, or ragged lists padded to the longest."""

from __future__ import annotations

import csv
import dataclasses
import math
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax import config
from rnnjax.config import InputError, nearest
from rnnjax.tasks.base import Batch, Task
from rnnjax.tasks.shuffling import shuffle


def arrays(
    inputs: Any, targets: Any, lengths: Any = None, labels: Sequence[str] | None = None, **options: Any
) -> Arrays:
    """A task from NumPy arrays or ragged lists; see `Arrays`."""
    return Arrays(inputs, targets, lengths=lengths, labels=labels, **options)


class Arrays(Task):
    """Examples held in memory, shuffled anew each epoch; the remainder that fills no batch is dropped.

    Args:
      inputs: numbers ``[examples, time, input]``, symbols as integers ``[examples, time]``, or a list of such rows of
        different lengths.
      targets: integers (classes) ``[examples]`` or ``[examples, time]``; numbers ``[examples, outputs]`` or
        ``[examples, time, outputs]``; or a list of rows as long as those of `inputs`.
      lengths: valid steps of each example; taken from the rows where `inputs` is a list.
      labels: names of the classes.
      split: share of examples, the last ones, kept for validation.

    Raises:
      InputError: examples that do not fit together, or values that are no numbers.
    """

    def __init__(
        self,
        inputs: Any,
        targets: Any,
        *,
        lengths: Any = None,
        labels: Sequence[str] | None = None,
        split: float = 0.0,
    ):
        inputs, found = _padded(inputs, "inputs")
        targets, target_lengths = _padded(targets, "targets")
        lengths = found if lengths is None else np.asarray(lengths, np.int32)
        count = len(inputs)
        if not count or len(targets) != count or (lengths is not None and lengths.shape != (count,)):
            raise InputError(
                f"{count} inputs for {len(targets)} targets",
                "in tasks.arrays",
                "give as many of each, at least one",
            )
        if target_lengths is not None and (lengths is None or not np.array_equal(target_lengths, lengths)):
            raise InputError(
                "rows of targets longer or shorter than rows of inputs",
                "in tasks.arrays",
                "give one target a step",
            )
        self.symbols = np.issubdtype(inputs.dtype, np.integer)
        if inputs.ndim != (2 if self.symbols else 3):
            raise InputError(
                f"inputs of shape {inputs.shape} and type {inputs.dtype}",
                "in tasks.arrays",
                "give numbers [examples, time, input], or symbols as integers [examples, time]",
            )
        classes = np.issubdtype(targets.dtype, np.integer)
        self.answers = "classes" if classes else "numbers"
        if targets.ndim not in ((1, 2) if classes else (2, 3)):
            raise InputError(
                f"targets of shape {targets.shape} and type {targets.dtype}",
                "in tasks.arrays",
                "give classes as integers [examples] or [examples, time], or numbers with a last axis of outputs",
            )
        for name, values in (("inputs", inputs), ("targets", targets)):
            if np.issubdtype(values.dtype, np.integer) and values.min() < 0:
                raise InputError(f"{name} below zero", "in tasks.arrays", "number symbols and classes from 0")
        if lengths is not None and not 0 <= lengths.min() <= lengths.max() <= inputs.shape[1]:
            raise InputError(
                f"lengths from {lengths.min()} to {lengths.max()}",
                "in tasks.arrays",
                f"give 0 to {inputs.shape[1]}, the steps of inputs",
            )
        if labels and classes and len(labels) <= targets.max():
            raise InputError(
                f"{len(labels)} labels for {targets.max() + 1} classes", "in tasks.arrays", "name every class"
            )
        per_step = targets.ndim == (2 if classes else 3)
        if per_step and targets.shape[1] != inputs.shape[1]:
            raise InputError(
                f"targets of {targets.shape[1]} steps", "in tasks.arrays", f"inputs have {inputs.shape[1]}"
            )
        self.read = "every" if per_step else "last"
        self.inputs = int(inputs.max()) + 1 if self.symbols else inputs.shape[-1]
        self.outputs = max(int(targets.max()) + 1, len(labels or ())) if classes else targets.shape[-1]
        self.labels = tuple(labels or map(str, range(self.outputs)))
        self.length = inputs.shape[1]
        self.split = split
        kept = count - round(count * split)
        parts = {"inputs": inputs, "targets": targets, **({} if lengths is None else {"lengths": lengths})}
        self._splits = {
            "train": {name: value[:kept] for name, value in parts.items()},
            "validation": {name: value[kept:] for name, value in parts.items()} if kept < count else None,
        }

    def data(self, split: str) -> Any:
        """The arrays of a split, by name."""
        return self._splits[split]

    def rows(self, split: str, size: int) -> int:
        """At most the examples of a validation split."""
        return size if split == "train" else min(size, self._examples(split))

    def steps(self, split: str, size: int) -> int:
        """Whole batches in the split."""
        return self._examples(split) // size

    def order(self, key: jax.Array, split: str, size: int) -> Any:
        """The examples in the order of an epoch, ``[examples]``; validation keeps the order they came in."""
        count = self._examples(split)
        return shuffle(key, count, size, flat=True) if split == "train" else jnp.arange(count)

    def take(self, data: Any, order: Any, index: Any, split: str, size: int) -> Batch:
        """The examples of one batch."""
        rows = order[index * size + np.arange(size)]
        return Batch(**{name: values[rows] for name, values in data.items()})

    def _examples(self, split: str) -> int:
        data = self._splits[split]
        return 0 if data is None else len(data["inputs"])

    def batch(self, key: jax.Array, size: int) -> Batch:
        """Examples drawn with replacement."""
        data = self._splits["train"]
        rows = jax.random.randint(key, (size,), 0, len(data["inputs"]))
        return Batch(**{name: jnp.asarray(values)[rows] for name, values in data.items()})

    def save(self, path: Path) -> ArraysConfig:
        """Writes all examples to a file called `.npz`, and says how to read them again."""
        path = path.with_suffix(".npz")
        train, validation = self._splits["train"], self._splits["validation"]
        whole = train if validation is None else {k: np.concatenate([train[k], validation[k]]) for k in train}
        # NumPy's stub takes what is unpacked for `allow_pickle` too.
        np.savez(path, labels=np.asarray(self.labels), **whole)  # type: ignore[arg-type]
        return ArraysConfig(path=str(path), split=self.split)

    def summary(self) -> dict[str, Any]:
        """Counts of examples, steps, features and outputs."""
        data = self._splits["train"]
        return {
            "examples": len(data["inputs"]),
            "steps": data["inputs"].shape[1],
            "inputs": self.inputs,
            "outputs": self.outputs,
        }


@dataclasses.dataclass(frozen=True)
class ArraysConfig:
    """Arrays in a file.

    An .npz file holds `inputs`, `targets` and, if wanted, `lengths` and `labels`, as NumPy's `savez` writes them. A
    .csv file has a line of names first. With `example`, lines with equal values there are the steps of one example, in
    their order; without it each line is an example of its own, its columns being the steps.
    """

    kind: str = config.field("arrays", "what the data is")
    path: str = config.field("", "an .npz or .csv file")
    columns: tuple[str, ...] = config.field((), "input columns of a .csv file; none: all but target and example")
    target: str = config.field("", "its column of answers: words are classes; empty: the last column")
    example: str = config.field("", "its column that says which example a line belongs to; empty: a line is an example")
    split: float = config.field(0.0, "share of examples, the last ones, kept for validation", at_least=0, below=1)

    def build(self) -> Arrays:
        """Reads the file.

        Raises:
          InputError: the file is missing, is neither .npz nor .csv, or lacks an array or a column.
        """
        if Path(self.path).suffix == ".csv":
            inputs, targets, labels = _of_csv(self)
            return Arrays(inputs, targets, labels=labels, split=self.split)
        try:
            with open(self.path, "rb") as file:
                held = dict(np.load(file))
        except (OSError, EOFError, ValueError, TypeError, zipfile.BadZipFile) as error:
            raise InputError(
                f"cannot read '{self.path}': {error}", "in task.path", "name an .npz or .csv file"
            ) from error
        missing = {"inputs", "targets"} - held.keys()
        if missing:
            raise InputError(
                f"no array called {' or '.join(sorted(missing))}",
                f"in {self.path}",
                "save inputs= and targets=",
            )
        labels = [str(label) for label in held["labels"]] if "labels" in held else None
        return Arrays(held["inputs"], held["targets"], lengths=held.get("lengths"), labels=labels, split=self.split)


def _of_csv(wanted: ArraysConfig) -> tuple[Any, Any, list[str] | None]:
    """Inputs, targets and names of the classes, if answers are words."""
    try:
        with open(wanted.path, newline="", encoding="utf-8-sig") as file:
            lines = [line for line in csv.reader(file) if line]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(
            f"cannot read '{wanted.path}': {error}", "in task.path", "name a .csv file in UTF-8"
        ) from error
    if len(lines) < 2:
        raise InputError(
            "no lines below the names of columns", f"in {wanted.path}", "give a table of at least one line"
        )
    names, rows = lines[0], lines[1:]
    for number, row in enumerate(rows, start=2):
        if len(row) != len(names):
            raise InputError(
                f"{len(row)} values for {len(names)} columns", f"in {wanted.path}, line {number}", "give one a column"
            )
    target = _column(names, wanted.target or names[-1], "task.target", wanted.path)
    example = _column(names, wanted.example, "task.example", wanted.path) if wanted.example else None
    columns = [_column(names, name, "task.columns", wanted.path) for name in wanted.columns] or [
        k for k in range(len(names)) if k not in (target, example)
    ]
    inputs = np.asarray([[_number(row[k], names[k], n, wanted.path) for k in columns] for n, row in enumerate(rows, 2)])
    answers, labels = _answers([row[target] for row in rows])
    if example is None:
        return inputs[:, :, None], answers, labels
    places: dict[str, list[int]] = {}
    for place, row in enumerate(rows):
        places.setdefault(row[example], []).append(place)
    steps = [answers[found] for found in places.values()]
    whole = all((each == each[0]).all() for each in steps)  # one answer an example
    return [inputs[found] for found in places.values()], np.asarray([s[0] for s in steps]) if whole else steps, labels


def _column(names: list[str], name: str, key: str, path: str) -> int:
    if name not in names:
        close = nearest(name, names)
        fix = f"did you mean '{close[0]}'?" if close else f"choose one of {', '.join(names)}"
        raise InputError(f"no column is called '{name}'", f"in {path}, asked for by {key}", fix)
    return names.index(name)


def _number(value: str, column: str, line: int, path: str) -> float:
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise InputError(f"'{value}' is no number", f"in {path}, line {line}, column {column}", "clean the table first")
    return number


def _answers(values: list[str]) -> tuple[np.ndarray, list[str] | None]:
    """Answers of a table: whole numbers and words are classes; words are numbered in their alphabetical order."""
    try:
        numbers = np.asarray([float(value) for value in values])
    except ValueError:
        labels, classes = np.unique(values, return_inverse=True)
        return classes, labels.tolist()
    whole = all(value.strip().lstrip("+-").isdecimal() for value in values)
    return (numbers.astype(np.int64) if whole else numbers[:, None]), None


def _padded(values: Any, name: str) -> tuple[np.ndarray, np.ndarray | None]:
    """An array, and the lengths of its rows if they differ."""
    if isinstance(values, np.ndarray) and values.dtype != object:
        return _numeric(values, name), None
    try:
        rows = [_numeric(np.asarray(row), name) for row in values]
    except ValueError as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"rows of different features in {name}", "in tasks.arrays", "let rows differ in length alone"
        ) from error
    if not rows or len({row.shape for row in rows}) == 1:
        return _numeric(np.asarray(rows), name), None
    if any(row.ndim == 0 or row.shape[1:] != rows[0].shape[1:] for row in rows):
        raise InputError(f"rows of different features in {name}", "in tasks.arrays", "let rows differ in length alone")
    lengths = np.asarray([len(row) for row in rows], np.int32)
    padded = np.zeros((len(rows), lengths.max(), *rows[0].shape[1:]), np.result_type(*rows))
    for row, target in zip(rows, padded, strict=True):
        target[: len(row)] = row
    return padded, lengths


def _numeric(values: np.ndarray, name: str) -> np.ndarray:
    if values.dtype == bool or np.issubdtype(values.dtype, np.integer):
        return values.astype(np.int32)
    if not np.issubdtype(values.dtype, np.floating):
        raise InputError(f"{name} of type {values.dtype}", "in tasks.arrays", "give numbers")
    if not np.isfinite(values).all():
        raise InputError(f"{name} with values that are not finite", "in tasks.arrays", "clean them first")
    return values.astype(np.float32)
