"""Series that never end: the answer at every step is the next value, and rows are streams that go on."""

from __future__ import annotations

import abc
import csv
import dataclasses
import io
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax import config
from rnnjax.config import InputError
from rnnjax.tasks.base import Batch, Table, Task
from rnnjax.tasks.packages import packaged

LISTED = 8  # values in a printed table
LAGS = 3  # values before that are concepts
LEARNT, JUDGED = 100_000, 10_000  # values of a drawn series that a method is fitted to at once, and judged by


class Series(Task):
    """A series, standardised, and for each value the one that follows. A subclass says where values come from.

    The rows of a batch are streams, and each batch goes on where the one before ended, so that a carried state is the
    stream's own.

    Args:
      length: steps of one example.
      mean: what is taken off every value.
      scale: what it is then divided by.
      unit: what values count.
      time: what steps are.
      begin: when the first value of `held_out` was.
    """

    inputs = outputs = 1
    answers = "numbers"

    def __init__(self, *, length: int, mean: float, scale: float, unit: str, time: str = "step", begin: int = 0):
        self.length, self.mean, self.scale = length, mean, scale
        self.unit, self.time, self.begin = unit, time, begin

    def standardised(self, values: Any) -> Any:
        """Values as the model reads them."""
        return (values - self.mean) / self.scale

    def restored(self, values: Any) -> Any:
        """Values in the unit of the data, from those that the model reads or gives."""
        return values * self.scale + self.mean

    def concepts(self, batch: Batch, *, written: bool = False) -> dict[str, np.ndarray]:
        """The value, those before it, how it changed, the next one, and on which side of the mean it is."""
        value, following = np.asarray(batch.inputs)[..., 0], np.asarray(batch.targets)[..., 0]
        lags = {
            f"the value {k} before": np.concatenate([np.repeat(value[:, :1], k, axis=1), value[:, :-k]], axis=1)
            for k in range(1, min(LAGS, value.shape[1] - 1) + 1)
        }
        change = np.diff(value, axis=1, prepend=value[:, :1])
        return {
            "the value": value,
            **lags,
            "the next value": following,
            "the change to come": following - value,
            "the last change": change,
            "rising": change > 0,
            "over the mean": value > 0,
        }

    @abc.abstractmethod
    def held_out(self) -> tuple[np.ndarray, int]:
        """A series ``[time]`` in the unit of the data, and where in it judging begins: what is before is read only."""

    @abc.abstractmethod
    def training(self) -> np.ndarray:
        """What a method that is fitted at once may learn from: ``[time]``, in the unit of the data."""


class Sunspots(Series):
    """A stored series of one value a year, the last years of which are held out.

    Validation reads the whole series as one stream, and only the held-out years count.

    Args:
      values: ``[time]``.
      begin: the year of the first.
      length: steps of one example; 0: as many as a stream has.
      split: share of the series, its end, that is held out.
      unit: what values count.

    Raises:
      InputError: values that are not finite, or too few of them.
    """

    def __init__(self, values: Any, *, begin: int = 1700, length: int = 0, split: float = 0.2, unit: str = "sunspots"):
        self.values = np.asarray(values, np.float32)
        if self.values.ndim != 1 or not np.isfinite(self.values).all():
            raise InputError(
                f"values of shape {list(self.values.shape)}", "in tasks.Sunspots", "give one finite value a year"
            )
        self.kept = len(self.values) - round(len(self.values) * split)
        if self.kept < max(2, length + 1):
            raise InputError(
                f"{self.kept} years for training, an example needs {max(2, length + 1)}",
                "in task.length",
                f"give a task.length below {self.kept}, or a smaller task.split",
            )
        known = self.values[: self.kept]
        super().__init__(
            length=length,
            mean=float(known.mean()),
            scale=float(known.std()) or 1.0,
            unit=unit,
            time="year",
            begin=begin,
        )

    def data(self, split: str) -> Any:
        """The standardised values of training, or all of them where validation reads on, ``[time]``."""
        held = self.standardised(self.values)
        return held[: self.kept] if split == "train" else held if self.kept < len(held) else None

    def rows(self, split: str, size: int) -> int:
        """Validation is one stream."""
        return size if split == "train" else 1

    def steps(self, split: str, size: int) -> int:
        """Batches of an epoch."""
        if split == "validation":
            return int(self.kept < len(self.values))
        return self._stream(size) // self._steps(size) if self._stream(size) else 0

    def order(self, key: jax.Array, split: str, size: int) -> Any:
        """Where the rows of each batch begin, ``[steps, size]``."""
        if split == "validation":
            return jnp.zeros((1, 1), jnp.int32)
        starts = jnp.arange(self.steps(split, size))[:, None] * self._steps(size)
        return starts + jnp.arange(size)[None] * self._stream(size)

    def take(self, data: Any, order: Any, index: Any, split: str, size: int) -> Batch:
        """The values of one batch, and those that follow them."""
        steps = self._steps(size) if split == "train" else len(self.values) - 1
        windows = data[order[index][:, None] + np.arange(steps + 1)[None]][..., None]
        counts = None if split == "train" else jnp.arange(1, steps + 1)[None] >= self.kept
        return Batch(windows[:, :-1], windows[:, 1:], fresh=index == 0, counts=counts)

    def batch(self, key: jax.Array, size: int) -> Batch:
        """Stretches from anywhere in the years of training."""
        steps = self._steps(size)
        starts = jax.random.randint(key, (1, size), 0, self.kept - steps)
        return dataclasses.replace(self.take(jnp.asarray(self.data("train")), starts, 0, "train", size), fresh=None)

    def held_out(self) -> tuple[np.ndarray, int]:
        """The whole series, and the place of the first year that is held out."""
        return self.values, self.kept

    def training(self) -> np.ndarray:
        """The years of training."""
        return self.values[: self.kept]

    def references(self) -> dict[str, float]:
        """Squared errors on the held-out years, in standardised units: of the value before, and of the mean."""
        held = self.standardised(self.values)
        if self.kept == len(held):
            return {}
        after, before = held[self.kept :], held[self.kept - 1 : -1]
        return {"the value before": float(np.mean((after - before) ** 2)), "the mean": float(np.mean(after**2))}

    def tables(self) -> list[Table]:
        """The first and the last years."""
        shown = [*range(LISTED), *range(len(self.values) - LISTED, len(self.values))]
        rows = [
            (self.begin + k, float(self.values[k]), "training" if k < self.kept else "held out")
            for k in shown
            if k >= 0
        ]
        return [Table("the first years and the last", ("year", self.unit, ""), rows)]

    def summary(self) -> dict[str, Any]:
        """Counts of years, and the statistics of those of training."""
        return {
            "years": len(self.values),
            "training years": self.kept,
            "held-out years": len(self.values) - self.kept,
            "first year": str(self.begin),
            "first held-out year": str(self.begin + self.kept) if self.kept < len(self.values) else "none",
            "mean of training": round(self.mean, 3),
            "standard deviation of training": round(self.scale, 3),
        }

    def _stream(self, size: int) -> int:
        """Steps of each stream."""
        return (self.kept - 1) // size

    def _steps(self, size: int) -> int:
        """Steps of one example."""
        return min(self.length, self._stream(size)) if self.length else self._stream(size)


class Autoregressive(Series):
    """AR(N), drawn inside the program: each value is a weighted sum of the N before it, and normal noise.

    Every epoch is a draw of its own, which begins in the stationary state; validation is one draw, the same each time.

    Args:
      coefficients: weight of the value before, of the one before that, and so on.
      noise: standard deviation of the noise.
      length: steps of one example.
      epoch_steps: batches that count as an epoch.
      validation_steps: batches of a validation.

    Raises:
      InputError: no coefficient, or a series that would grow without bound.
    """

    def __init__(
        self,
        coefficients: Any,
        *,
        noise: float = 1.0,
        length: int = 100,
        epoch_steps: int = 50,
        validation_steps: int = 10,
    ):
        self.coefficients, self.noise = np.asarray(coefficients, np.float64), noise
        if self.coefficients.ndim != 1 or not self.coefficients.size:
            raise InputError(
                f"coefficients of shape {list(self.coefficients.shape)}", "in task.coefficients", "give one a lag"
            )
        radius = float(np.abs(np.linalg.eigvals(_companion(self.coefficients))).max())
        if not radius < 1:
            raise InputError(
                f"coefficients of a series that grows without bound (a root of modulus {radius:.3f})",
                "in task.coefficients",
                "scale coefficient k by r**k, with r below " + f"{1 / radius:.3f}",
            )
        self.epoch_steps, self.validation_steps = epoch_steps, validation_steps
        self._start = _stationary(self.coefficients) * noise  # [lag, lag]: normal draws to the values before the first
        variance = float(self._start[0] @ self._start[0])
        super().__init__(length=length, mean=0.0, scale=float(np.sqrt(variance)), unit="the series' unit")

    def data(self, split: str) -> Any:
        """Nothing is stored."""
        return ()

    def rows(self, split: str, size: int) -> int:
        """As many as are asked for."""
        return size

    def steps(self, split: str, size: int) -> int:
        """As given when the task was made."""
        return self.epoch_steps if split == "train" else self.validation_steps

    def order(self, key: jax.Array, split: str, size: int) -> Any:
        """The streams of one epoch, standardised: ``[steps, size, length + 1]``."""
        key = key if split == "train" else jax.random.fold_in(jax.random.key(0), 1)
        steps = self.steps(split, size)
        streams = self.draw(key, size, steps * self.length + 1) / self.scale
        places = jnp.arange(steps)[:, None] * self.length + jnp.arange(self.length + 1)[None]
        return streams[:, places].transpose(1, 0, 2)

    def take(self, data: Any, order: Any, index: Any, split: str, size: int) -> Batch:
        """The values of one batch, and those that follow them."""
        windows = order[index][..., None]
        return Batch(windows[:, :-1], windows[:, 1:], fresh=index == 0)

    def batch(self, key: jax.Array, size: int) -> Batch:
        """Stretches of streams of their own."""
        windows = self.draw(key, size, self.length + 1)[..., None] / self.scale
        return Batch(windows[:, :-1], windows[:, 1:])

    def draw(self, key: jax.Array, rows: int, steps: int) -> jax.Array:
        """Streams in the unit of the data, ``[rows, steps]``."""
        start_key, noise_key = jax.random.split(key)
        lags = len(self.coefficients)
        weights = jnp.asarray(self.coefficients, jnp.float32)
        before = jax.random.normal(start_key, (rows, lags)) @ jnp.asarray(self._start.T, jnp.float32)
        noise = self.noise * jax.random.normal(noise_key, (steps, rows))

        def step(before, noise):  # `before` has the latest value first
            value = before @ weights + noise
            return jnp.concatenate([value[:, None], before[:, :-1]], axis=1), value

        return jax.lax.scan(step, before, noise)[1].T

    def held_out(self) -> tuple[np.ndarray, int]:
        """A stream drawn by a key of its own; judging begins when the first example has been read."""
        return np.asarray(self._drawn(1, JUDGED + self.length)), self.length

    def training(self) -> np.ndarray:
        """A stream drawn by a key of its own."""
        return np.asarray(self._drawn(2, LEARNT))

    def _drawn(self, seed: int, steps: int) -> jax.Array:
        """One stream in the unit of the data, ``[steps]``."""
        return jax.jit(self.draw, static_argnums=(1, 2))(jax.random.key(seed), 1, steps)[0]

    def references(self) -> dict[str, float]:
        """The least squared error that can be, in standardised units, and that of the mean."""
        return {"variance of the noise": (self.noise / self.scale) ** 2, "the mean": 1.0}

    def tables(self) -> list[Table]:
        """The coefficients."""
        rows = [(lag + 1, round(float(value), 4)) for lag, value in enumerate(self.coefficients)]
        return [Table("weight of each value before", ("steps back", "coefficient"), rows)]

    def summary(self) -> dict[str, Any]:
        """Order and size of the process."""
        return {
            "values that count": len(self.coefficients),
            "standard deviation": round(self.scale, 3),
            "standard deviation of the noise": self.noise,
            "steps of an example": self.length,
            "batches of an epoch": self.epoch_steps,
        }


def coefficients_of(order: int, seed: int, *, radius: float = 0.95) -> np.ndarray:
    """Coefficients ``[order]`` of a stable AR(N) that swings: roots drawn within a circle, in conjugate pairs.

    Args:
      order: how many values count.
      seed: draws the roots.
      radius: modulus of the largest.
    """
    draw = np.random.default_rng(seed)
    modulus = radius * draw.uniform(0.6, 1.0, order // 2)
    if order > 1:
        modulus[0] = radius
    pairs = modulus * np.exp(1j * draw.uniform(0.1, 0.9, order // 2) * np.pi)
    single = radius * draw.uniform(-0.9, 0.9, order % 2)
    return -np.poly(np.concatenate([pairs, pairs.conj(), single])).real[1:]


@dataclasses.dataclass(frozen=True)
class SunspotsConfig:
    """Sunspots of each year from 1700 to 2008, to be foretold a year ahead."""

    kind: str = config.field("sunspots", "what the data is")
    length: int = config.field(0, "steps of one example; 0: as many as a stream has", at_least=0)
    split: float = config.field(0.2, "share of the series, its end, kept for validation", at_least=0, below=1)

    def build(self) -> Sunspots:
        """Reads the series: Wolf's yearly numbers as the National Geophysical Data Center gave them (public domain).

        Raises:
          InputError: the package that holds it is not installed, or an example longer than the series.
        """
        path = packaged("statsmodels", "statsmodels/datasets/sunspots/sunspots.csv", "the sunspots")
        rows = list(csv.DictReader(io.StringIO(path.read_text("utf-8"))))
        values = [float(row["SUNACTIVITY"]) for row in rows]
        return Sunspots(values, begin=int(float(rows[0]["YEAR"])), length=self.length, split=self.split)


@dataclasses.dataclass(frozen=True)
class AutoregressiveConfig:
    """AR(N), a series that is drawn as it is read."""

    kind: str = config.field("ar", "what the data is")
    coefficients: tuple[float, ...] = config.field((), "weight of each value before; none: drawn")
    order: int = config.field(3, "how many are drawn, where none are given", at_least=1)
    seed: int = config.field(0, "draws them", at_least=0)
    noise: float = config.field(1.0, "standard deviation of the noise", above=0)
    length: int = config.field(100, "steps of one example", at_least=1)
    epoch_steps: int = config.field(50, "batches that count as an epoch", at_least=1)
    validation_steps: int = config.field(10, "batches of a validation", at_least=1)

    def build(self) -> Autoregressive:
        """Makes the task.

        Raises:
          InputError: coefficients of a series that would grow without bound.
        """
        return Autoregressive(
            self.coefficients or coefficients_of(self.order, self.seed),
            noise=self.noise,
            length=self.length,
            epoch_steps=self.epoch_steps,
            validation_steps=self.validation_steps,
        )


def _companion(coefficients: np.ndarray) -> np.ndarray:
    """The matrix that takes the last N values, the latest first, to those one step on (without noise)."""
    below = np.eye(len(coefficients) - 1, len(coefficients))
    return np.concatenate([coefficients[None], below])


def _stationary(coefficients: np.ndarray) -> np.ndarray:
    """A root of the covariance of N successive values under noise of variance 1: ``[lag, lag]``.

    The covariance S solves S = A S A' + e e', with A the companion matrix and e the first unit vector.
    """
    lags, step = len(coefficients), _companion(coefficients)
    shock = np.zeros((lags, lags))
    shock[0, 0] = 1
    covariance = np.linalg.solve(np.eye(lags * lags) - np.kron(step, step), shock.ravel()).reshape(lags, lags)
    return np.linalg.cholesky((covariance + covariance.T) / 2)
