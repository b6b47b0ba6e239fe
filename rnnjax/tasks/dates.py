"""Dates as people write them, to be written as ISO 8601 has them."""

from __future__ import annotations

import dataclasses
import string
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax import config
from rnnjax.cells import lookup
from rnnjax.config import InputError
from rnnjax.tasks import concepts
from rnnjax.tasks.base import Batch, Drawn, Table

MONTHS = (
    *("january", "february", "march", "april", "may", "june"),
    *("july", "august", "september", "october", "november", "december"),
)
DAYS = ("sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday")
ROMAN = ("i", "ii", "iii", "iv", "v", "vi", "vii", "viii", "ix", "x", "xi", "xii")
LENGTHS = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)  # of the months, in days
FIRST, LAST = 1600, 2399  # years whose weekdays the calendar of today gives, and that have four digits

FORMATS = (
    "{day} {month} {year}",
    "{day} {mon} {year}",
    "{month} {day}, {year}",
    "{mon} {day}, {year}",
    "{nth} of {month} {year}",
    "{weekday}, {day} {month} {year}",
    "{day}.{roman}.{year}",
    "{year}/{m}/{d}",
    "{d}-{mon}-{year}",
)
"""Ways to write a date that can be read in one way only."""

ISO = "{year}-{m}-{d}"


def _nth(day: int) -> str:
    """A day of the month as an ordinal: `1st`, `2nd`, `3rd`, `4th`."""
    return f"{day}{'th' if day // 10 == 1 else {1: 'st', 2: 'nd', 3: 'rd'}.get(day % 10, 'th')}"


WORDS = {
    "day": ("day", [str(day) for day in range(1, 32)]),
    "d": ("day", [f"{day:02}" for day in range(1, 32)]),
    "nth": ("day", [_nth(day) for day in range(1, 32)]),
    "month": ("month", list(MONTHS)),
    "mon": ("month", [month[:3] for month in MONTHS]),
    "m": ("month", [f"{month:02}" for month in range(1, 13)]),
    "roman": ("month", list(ROMAN)),
    "weekday": ("weekday", list(DAYS)),
    "year": ("year", [str(year) for year in range(FIRST, LAST + 1)]),
}
"""What may stand in a format: the part of the date that it tells, and its words for every value of that part."""


@dataclasses.dataclass(frozen=True)
class DatesConfig:
    """Dates such as `12 march 2019`, to be written as `2019-03-12`."""

    kind: str = config.field("dates", "what the data is")
    first_year: int = config.field(1900, "the earliest year", at_least=FIRST, at_most=LAST)
    last_year: int = config.field(2099, "the latest year", at_least=FIRST, at_most=LAST)
    formats: tuple[str, ...] = config.field(
        FORMATS, "how dates may be written, each as often, with " + ", ".join(f"{{{name}}}" for name in WORDS)
    )
    epoch_steps: int = config.field(100, "batches that count as an epoch", at_least=1)
    validation_steps: int = config.field(10, "batches of a validation", at_least=1)

    def build(self) -> Dates:
        """Makes the task.

        Raises:
          InputError: years the wrong way round, or a format that does not tell a date.
        """
        return Dates(**{key: value for key, value in dataclasses.asdict(self).items() if key != "kind"})


class Dates(Drawn):
    """Dates in many formats, drawn anew for every batch; the answer is ten symbols such as `2019-03-12`.

    Year and month are uniform, the day is uniform in its month. A question that is shorter than the longest is padded
    on the right with no symbol. Questions and answers have one alphabet.

    Args:
      first_year: the earliest year.
      last_year: the latest year.
      formats: how dates may be written; each is drawn as often as any other. `{day}`, `{d}` (two digits) and `{nth}`
        are the day, `{month}`, `{mon}`, `{m}` (two digits) and `{roman}` the month, `{year}` the year, `{weekday}` the
        day of the week, which tells nothing new.
      epoch_steps: batches that count as an epoch.
      validation_steps: batches of a validation: the same ones each time.

    Raises:
      InputError: years the wrong way round, or a format that does not tell a date.
    """

    symbols = True
    read = "answer"

    def __init__(
        self,
        *,
        first_year: int = 1900,
        last_year: int = 2099,
        formats: tuple[str, ...] = FORMATS,
        epoch_steps: int = 100,
        validation_steps: int = 10,
    ):
        super().__init__(epoch_steps=epoch_steps, validation_steps=validation_steps)
        if not FIRST <= first_year <= last_year <= LAST:
            raise InputError(
                f"years from {first_year} to {last_year}", "in task.first_year", f"give years from {FIRST} to {LAST}"
            )
        if not formats:
            raise InputError("no way to write a date", "in task.formats", f"give one or more, such as {FORMATS[0]}")
        self.first_year, self.last_year, self.formats = first_year, last_year, tuple(formats)
        parts = [_parts(each) for each in self.formats]
        texts = {text for row in (*parts, _parts(ISO)) for words in row for text in words[1]}
        self.labels = self.alphabet = tuple(sorted(set("".join(texts))))
        self.inputs = self.outputs = len(self.labels)
        self._parts = [[(part, self._table(words)) for part, words in row] for row in parts]
        self._answer = [(part, self._table(words)) for part, words in _parts(ISO)]
        self.length = max(sum(max(map(len, words)) for _, words in row) for row in parts)
        self.answer_steps = len("2019-03-12")

    def _table(self, words: list[str]) -> np.ndarray:
        """Words as symbols, ``[words, longest]``, the shorter ones padded with no symbol."""
        table = np.full((len(words), max(map(len, words))), self.inputs, np.int32)
        for row, word in zip(table, words, strict=True):
            row[: len(word)] = [self.labels.index(letter) for letter in word]
        return table

    def batch(self, key: jax.Array, size: int) -> Batch:
        """Dates from anywhere in the years, in any of the formats."""
        date_key, format_key = jax.random.split(key)
        forms = jax.random.randint(format_key, (size,), 0, len(self.formats))
        return self.write(*self.draw(date_key, size), forms)

    def draw(self, key: jax.Array, size: int) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Year, month and day, each ``[size]``, the latter two counted from 1."""
        year_key, month_key, day_key = jax.random.split(key, 3)
        year = jax.random.randint(year_key, (size,), self.first_year, self.last_year + 1)
        month = jax.random.randint(month_key, (size,), 1, 13)
        days = jnp.asarray(LENGTHS)[month - 1] + (_leap(year) & (month == 2))
        return year, month, jax.random.randint(day_key, (size,), 1, days + 1)

    def write(self, year: jax.Array, month: jax.Array, day: jax.Array, form: jax.Array) -> Batch:
        """Dates as symbols.

        Args:
          year, month, day: ``[batch]``, months and days counted from 1.
          form: which of the formats each is written in.
        """
        rows = {"year": year - FIRST, "month": month - 1, "day": day - 1, "weekday": weekday(year, month, day)}
        texts = jnp.stack([self._text(parts, rows, self.length) for parts in self._parts])
        inputs = texts[form, jnp.arange(form.shape[0])]
        targets = self._text(self._answer, rows, self.answer_steps)
        return Batch(
            inputs, targets, lengths=jnp.sum(inputs < self.inputs, axis=1), counts=jnp.ones(targets.shape, bool)
        )

    def _text(self, parts: list[tuple[str, np.ndarray]], rows: dict[str, jax.Array], width: int) -> jax.Array:
        """The words of all parts, one after the other, what is no symbol behind them: ``[batch, width]``."""
        batch = rows["year"].shape[0]
        words = [
            jnp.asarray(table)[rows[part]] if part else jnp.broadcast_to(table, (batch, table.shape[1]))
            for part, table in parts
        ]
        text = jnp.concatenate(words, axis=1)
        text = jnp.take_along_axis(text, jnp.argsort(text == self.inputs, axis=1, stable=True), axis=1)
        return jnp.pad(text, ((0, 0), (0, max(0, width - text.shape[1]))), constant_values=self.inputs)[:, :width]

    def concepts(self, batch: Batch, *, written: bool = False) -> dict[str, np.ndarray]:
        """Symbols, their kind and place, and year, month and day of the date."""
        found = super().concepts(batch, written=written)
        steps = found["position"].shape
        dates = [[int(part) for part in self.decode(row).split("-")] for row in np.asarray(batch.targets)]
        parts = np.asarray(dates)[:, :, None] + np.zeros((1, 1, steps[1]), np.int64)
        found |= {f"the {name}": parts[:, k] for k, name in enumerate(("year", "month", "day"))}
        if written:
            places = np.broadcast_to(np.arange(steps[1])[None], steps)
            ends = {"the year": (0, 4), "the month": (5, 7), "the day": (8, 10)}
            return found | {f"writes {name}": (places >= a) & (places < b) for name, (a, b) in ends.items()}
        tokens, exist = np.asarray(batch.inputs), np.asarray(batch.existing())
        kinds = concepts.by_row(tokens, exist, self.labels.__getitem__, lambda row: concepts.of_text("".join(row)))
        wanted = ("digit", "space", "punctuation", "first letter of a word", "position in word")
        return found | {name: kinds[name] for name in wanted}

    def decode(self, indices: Any) -> str:
        """Symbols as text, no symbol as nothing."""
        return "".join(self.labels[int(k)] for k in indices if k < self.inputs)

    def references(self) -> dict[str, float]:
        """The entropy of the dates, in nats a symbol: the loss where the question is not read."""
        return {"entropy of the dates": self._entropy / self.answer_steps}

    @cached_property
    def _entropy(self) -> float:
        """Of year, month and day, in nats."""
        years = np.arange(self.first_year, self.last_year + 1)
        leap = np.mean(_leap(years))
        days = [np.log(length) for length in LENGTHS]
        days[1] = (1 - leap) * np.log(28) + leap * np.log(29)
        return float(np.log(len(years)) + np.log(12) + np.mean(days))

    def tables(self) -> list[Table]:
        """A date in every format."""
        count = len(self.formats)
        batch = jax.jit(lambda key: self.write(*self.draw(key, count), jnp.arange(count)))(jax.random.key(0))
        pairs = zip(self.formats, np.asarray(batch.inputs), np.asarray(batch.targets), strict=True)
        rows = [(form, self.decode(question), self.decode(answer)) for form, question, answer in pairs]
        return [Table("Formats", ("format", "question", "answer"), rows)]

    def summary(self) -> dict[str, Any]:
        """Counts of symbols, formats and dates."""
        years = range(self.first_year, self.last_year + 1)
        dates = 365 * len(years) + sum(bool(_leap(year)) for year in years)
        return {
            "symbols": self.inputs,
            "symbols of a question": self.length,
            "symbols of an answer": self.answer_steps,
            "formats": len(self.formats),
            "distinct questions": dates * len(self.formats),
            "steps an epoch": self.epoch_steps,
        }


def _leap(year: Any) -> Any:
    """Whether a year has 366 days, in the Gregorian calendar."""
    return (year % 4 == 0) & ((year % 100 != 0) | (year % 400 == 0))


def weekday(year: Any, month: Any, day: Any) -> Any:
    """The day of the week in the Gregorian calendar, 0 for Sunday (the congruence of Zeller 1882, of months that are
    counted from March)."""
    year = year - (month < 3)
    month = (month - 3) % 12
    return (day + (13 * month + 2) // 5 + 2 + year + year // 4 - year // 100 + year // 400) % 7


def _parts(form: str) -> list[tuple[str, list[str]]]:
    """What a format is made of: the part of a date, and its words; of fixed text no part, and that text alone.

    Raises:
      InputError: a word that is not known, or a date that cannot be told.
    """
    where = "in task.formats"
    try:
        pieces = list(string.Formatter().parse(form))
    except ValueError as error:
        raise InputError(f"'{form}': {error}", where, "write {} around each of " + ", ".join(WORDS)) from error
    parts: list[tuple[str, list[str]]] = []
    for text, name, *_ in pieces:
        parts += [("", [text])] if text else []
        parts += [] if name is None else [lookup(WORDS, name, "part of a date", where)]
    missing = {"year", "month", "day"} - {part for part, _ in parts}
    if missing:
        raise InputError(
            f"'{form}' does not tell the {' and the '.join(sorted(missing))}", where, "tell year, month and day"
        )
    return parts
