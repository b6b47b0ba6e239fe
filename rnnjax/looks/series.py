"""How well a series is foretold: a step ahead beside simpler ways, and without an end."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from rnnjax.figures.forecasts import forecasts
from rnnjax.looks.base import Sight, Subject
from rnnjax.tasks import Table
from rnnjax.tasks.series import Autoregressive, Series

LAGS = 9  # of the least-squares fit to a stored series: sunspots have been fitted so since Yule (1927) and Tong (1980)
SHOWN = 80  # steps of a figure, after those that are read only
BEFORE = 20  # steps shown of what is read only


class Fit(NamedTuple):
    """A least-squares autoregression: weight of each value before, the latest first, and a constant."""

    weights: np.ndarray
    constant: float

    def ahead(self, values: np.ndarray) -> np.ndarray:
        """What it foretells after each value from number `lags` on: ``[time - lags + 1]``."""
        return _lagged(values, len(self.weights)) @ self.weights + self.constant

    def freely(self, past: np.ndarray, steps: int) -> np.ndarray:
        """The next values, each foretold from those before, ``[steps]``."""
        values = list(past[-len(self.weights) :])
        for _ in range(steps):
            values.append(float(np.dot(values[: -len(self.weights) - 1 : -1], self.weights)) + self.constant)
        return np.asarray(values[len(self.weights) :])


def fitted(values: np.ndarray, lags: int) -> Fit:
    """The autoregression of `lags` values that errs least over a series."""
    features = _lagged(values[:-1], lags)
    features = np.concatenate([features, np.ones((len(features), 1))], axis=1)
    *weights, constant = np.linalg.lstsq(features, np.asarray(values[lags:], np.float64), rcond=None)[0]
    return Fit(np.asarray(weights), float(constant))


def look(subject: Subject) -> Iterator[Sight]:
    """Errors one step ahead, and the held-out part with what was foretold of it."""
    task = subject.built.task
    assert isinstance(task, Series)
    values, begin = task.held_out()
    if begin >= len(values):
        return
    lags = len(task.coefficients) if isinstance(task, Autoregressive) else LAGS
    fit = fitted(task.training(), lags)
    ahead = task.restored(one_ahead(subject.model, task.standardised(values[:-1])))[begin - 1 :]
    yield errors(task, values, begin, ahead, fit)
    yield picture(task, values, begin, ahead, fit, subject.model)


def one_ahead(model: Any, values: np.ndarray) -> np.ndarray:
    """What the model foretells after each value, ``[time]``; both standardised."""
    graph, variables = nnx.split(model)
    found = jax.jit(lambda variables, inputs: nnx.merge(graph, variables).unroll(inputs).outputs)
    return np.asarray(found(variables, jnp.asarray(values, jnp.float32)[None, :, None]))[0, :, 0]


def freely(model: Any, values: np.ndarray, steps: int) -> np.ndarray:
    """What the model goes on with after `values`, reading its own answers: ``[steps]``; both standardised."""
    graph, variables = nnx.split(model)

    @jax.jit
    def run(variables, inputs):
        read = nnx.merge(graph, variables).unroll(inputs)

        def step(carry, _):
            state, value = carry
            after = nnx.merge(graph, variables).unroll(value[:, None], state=state)
            return (after.state, after.outputs[:, 0]), value

        return jax.lax.scan(step, (read.state, read.outputs[:, -1]), length=steps)[1]

    return np.asarray(run(variables, jnp.asarray(values, jnp.float32)[None, :, None]))[:, 0, 0]


def errors(task: Series, values: np.ndarray, begin: int, ahead: np.ndarray, fit: Fit) -> Sight:
    """Root of the mean squared error one step ahead on the held-out part, in the unit of the data."""
    lags, known = len(fit.weights), task.training()
    true = values[begin:]
    squared = {
        "the model": ("validation_rmse", _mean_square(ahead - true)),
        f"least-squares AR({lags})": (
            f"baseline_ar{lags}_rmse",
            _mean_square(fit.ahead(values[begin - lags : -1]) - true),
        ),
        "the value before": ("baseline_persistence_rmse", _mean_square(values[begin - 1 : -1] - true)),
        "the mean of training": ("baseline_mean_rmse", _mean_square(known.mean() - true)),
    }
    if isinstance(task, Autoregressive):
        exact = Fit(task.coefficients, 0.0).ahead(values[begin - lags : -1])
        squared["the true coefficients"] = ("baseline_true_rmse", _mean_square(exact - true))
    least = squared[f"least-squares AR({lags})"][1]
    rows = [(name, f"{np.sqrt(error):.4g}", f"{error / least:.4f}") for name, (_, error) in squared.items()]
    numbers = {key: float(np.sqrt(error)) for key, error in squared.values()}
    numbers["excess_over_least_squares"] = squared["the model"][1] / least - 1
    caption = (
        f"One step ahead on {len(true):,} held-out values; the least-squares fit and the mean come from "
        f"{len(known):,} values of training. The last column compares squared errors with those of that fit."
    )
    table = Table("errors one step ahead", ("foretold by", f"root mean square, {task.unit}", "of least squares"), rows)
    return Sight("Errors one step ahead", caption, table=table, numbers=numbers)


def picture(task: Series, values: np.ndarray, begin: int, ahead: np.ndarray, fit: Fit, model: Any) -> Sight:
    """The first held-out values, foretold one step ahead and all at once."""
    lags = len(fit.weights)
    count = min(SHOWN, len(values) - begin)
    first, end = max(0, begin - BEFORE), begin + count
    times = task.begin + np.arange(begin, end)
    straight = fit.ahead(values[begin - lags : end - 1])
    free = task.restored(freely(model, task.standardised(values[:begin]), count))
    figure = forecasts(
        task.begin + np.arange(first, end),
        values[first:end],
        {
            f"one {task.time} ahead": {
                "the model": (times, ahead[:count]),
                f"least-squares AR({lags})": (times, straight),
            },
            f"all at once: after {times[0] - 1} each reads its own answers": {
                "the model": (times, free),
                f"least-squares AR({lags})": (times, fit.freely(values[:begin], count)),
            },
        },
        xlabel=task.time,
        ylabel=task.unit,
        begin=float(times[0] - 0.5),
    )
    caption = (
        f"{count} held-out values after what is read only (shaded): foretold a {task.time} at a time, and by going on "
        "alone."
    )
    wrong = _mean_square(free - values[begin:end])
    return Sight("The series foretold", caption, figure=figure, numbers={"free_running_rmse": float(np.sqrt(wrong))})


def _mean_square(difference: np.ndarray) -> float:
    return float(np.mean(np.square(difference, dtype=np.float64)))


def _lagged(values: np.ndarray, lags: int) -> np.ndarray:
    """The last `lags` values up to each from number `lags` on, the latest first: ``[time - lags + 1, lags]``."""
    return np.lib.stride_tricks.sliding_window_view(np.asarray(values, np.float64), lags)[:, ::-1]
