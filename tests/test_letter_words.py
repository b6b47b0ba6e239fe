"""Random words: the source's own probabilities against sums over all its texts, and what is looked at in the end."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from matplotlib.collections import PolyCollection

from rnnjax import figures
from rnnjax.config import InputError
from rnnjax.experiment import Experiment, load
from rnnjax.looks import Subject, look
from rnnjax.looks import letter_words as looks
from rnnjax.run import run
from rnnjax.tasks.letter_words import WORDS, LetterWords, LetterWordsConfig, Source
from rnnjax.train import metrics

SMALL = {
    "task.count": 60,
    "task.held_out": 90,
    "task.length": 9,
    "task.stride": 4,
    "model.cell": "elman",
    "model.units": 3,
    "train.batch": 8,
}
STREAM = SMALL | {"task.read": "every", "task.order": "stream", "train.carry_state": True, "model.cell": "lstm"}


def chance(text: str, words: tuple[str, ...]) -> float:
    """Of reading `text` somewhere in an endless row of words: summed over all words and phases."""

    def agrees(text: str, start: str) -> bool:
        return start.startswith(text) or text.startswith(start)

    def onward(text: str) -> float:
        if not text:
            return 1.0
        fitting = [word + " " for word in words if agrees(text, word + " ")]
        return sum(onward(text[len(word) :]) for word in fitting) / len(words)

    phases = [(word + " ")[place:] for word in words for place in range(len(word) + 1)]
    return sum(onward(text[len(rest) :]) for rest in phases if agrees(text, rest)) / len(phases)


def true_loss(text: str, symbol: str, words: tuple[str, ...]) -> float:
    return -math.log(chance(text + symbol, words) / chance(text, words))


def subject(values: dict) -> tuple[Subject, LetterWords]:
    """An untrained network, as its only other checkpoint one of other weights, and the task."""
    built = Experiment(task=LetterWordsConfig()).override(values).built
    assert isinstance(built.task, LetterWords)

    def model(step):
        member = built.trainer.member(step)
        return jax.tree.map(jnp.asarray, built.trainer.model(member.params, member.fixed))

    return Subject(built, model(0), [{"step": 7, "loss": 1.0}], {}, (0, 7), model), built.task


def table(task: LetterWords) -> dict[str, str]:
    return {what: value for what, value in task.tables()[0].rows}


# The source


@pytest.mark.parametrize("words", [WORDS, ("a", "a", "ab", "ba"), ("x",), ("no", "on", "noon")])
def test_probabilities_are_those_of_all_texts(words):
    source = Source(words)
    text = " ".join(np.random.default_rng(3).choice(words, 5))
    for start in range(len(text)):
        for end in range(start + 1, min(len(text), start + 12)):
            seen = text[start:end]
            belief = source.beliefs(source.vocabulary.encode(seen)[None])[0, -1]
            expected = [chance(seen + symbol, words) / chance(seen, words) for symbol in source.vocabulary.symbols]
            np.testing.assert_allclose(source.probabilities[belief], expected, rtol=1e-12, atol=1e-15)
            assert source.letters[belief] == (len(seen) - 1 - seen.rfind(" ") if " " in seen else -1)


def test_nothing_read_is_a_stationary_phase():
    source = Source(WORDS)
    np.testing.assert_allclose(source.probabilities[0], [6 / 33, 12 / 33, 15 / 33])
    np.testing.assert_allclose(source.probabilities.sum(axis=1), 1.0)
    impossible = source.vocabulary.encode("ab")[None]
    assert source.beliefs(impossible)[0, -1] == 0


def test_words_are_drawn_uniformly_and_joined_by_single_spaces():
    source = Source(WORDS)
    drawn = np.random.default_rng(5).integers(6, size=500)
    text = source.draw(500, np.random.default_rng(5))
    assert source.vocabulary.decode(text) == " ".join(WORDS[k] for k in drawn)
    assert text.dtype == np.uint8


def test_entropy_rate():
    assert Source(WORDS).entropy_rate == pytest.approx(math.log(6) / 5.5)
    assert Source(("a", "a", "b", "b")).entropy_rate == pytest.approx(math.log(2) / 2)
    assert Source(("abc",)).entropy_rate == 0


# The task


def test_the_studys_text_has_its_counts():
    task = LetterWords()
    text = task.decode(task.data("train"))
    starts = range(0, len(text) - 20, 20)
    assert len(text.split(" ")) == 200_000 and set(text.split(" ")) == set(WORDS)
    assert task.labels == (" ", "a", "b")
    assert task.data("validation") is None and task.steps("validation", 30) == 0
    assert task.patterns("train") == len(starts) and 54_000 < len(starts) < 56_000
    assert task.steps("train", 30) == len(starts) // 30
    assert table(task)["symbols"] == f"{len(text):,}"
    assert table(task)["distinct symbols"] == "3"
    assert table(task)["window to go on from"] in text and len(table(task)["window to go on from"]) == 20
    assert task.summary()["patterns"] == len(starts)


def test_an_epoch_is_every_window_once_with_the_symbol_that_follows():
    task = LetterWords(count=60, length=9, stride=4)
    text = task.decode(task.data("train"))
    order = np.asarray(task.order(jax.random.key(1), "train", 1))
    found = set()
    for index in range(len(order)):
        batch = task.take(task.data("train"), order, index, "train", 1)
        found.add((task.decode(batch.inputs[0]), task.decode(batch.targets)))
    assert sorted(order[:, 0]) == list(range(0, len(text) - 9, 4))
    assert found == {(text[k : k + 9], text[k + 9]) for k in range(0, len(text) - 9, 4)}


def test_every_symbol_of_a_window_can_be_asked_for():
    task = LetterWords(count=60, length=9, stride=4, read="every")
    batch = task.batch(jax.random.key(0), 16)
    assert batch.inputs.shape == batch.targets.shape == (16, 9)
    np.testing.assert_array_equal(batch.inputs[:, 1:], batch.targets[:, :-1])


def test_streams_go_on_where_they_ended():
    task = LetterWords(count=200, length=7, held_out=300, read="every", order="stream")
    for split, rows in (("train", 4), ("validation", task.rows("validation", 64))):
        data, order = task.data(split), task.order(jax.random.key(0), split, rows)
        batches = [task.take(data, order, index, split, rows) for index in range(task.steps(split, rows))]
        read = np.concatenate([batch.inputs for batch in batches], axis=1)
        answers = np.concatenate([batch.targets for batch in batches], axis=1)
        np.testing.assert_array_equal(read[:, 1:], answers[:, :-1])
        np.testing.assert_array_equal(read[0], data[: read.shape[1]])
        assert [bool(batch.fresh) for batch in batches] == [True] + [False] * (len(batches) - 1)
        assert len(batches) >= 10


def test_data_have_a_seed_and_held_out_text_is_another():
    one, same, other = (LetterWords(count=50, held_out=50, seed=seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(one.data("train"), same.data("train"))
    np.testing.assert_array_equal(one.data("validation"), same.data("validation"))
    np.testing.assert_array_equal(one.window(), same.window())
    assert not np.array_equal(one.data("train")[:150], one.data("validation")[:150])
    assert not np.array_equal(one.data("train")[:150], other.data("train")[:150])


@pytest.mark.parametrize("read", ["last", "every"])
def test_true_losses_are_those_of_all_texts_given_the_window(read):
    task = LetterWords(count=30, length=9, stride=5, held_out=8, read=read)
    order = task.order(jax.random.key(0), "validation", 2)
    text = task.decode(task.data("validation"))
    first = 9 if read == "last" else 1
    windows = [text[start : start + 10] for start in np.asarray(order).reshape(-1)]
    expected = [true_loss(w[:k], w[k], WORDS) for w in windows for k in range(first, 10)]
    np.testing.assert_allclose(task.true_losses("validation", order, carried=True), expected)


def test_true_losses_of_streams_know_what_a_carried_state_has_seen():
    task = LetterWords(count=30, length=6, held_out=12, read="every", order="stream")
    order = task.order(jax.random.key(0), "validation", 2)
    text, length = task.decode(task.data("validation")), 6 * len(order)
    streams = [text[start : start + length + 1] for start in np.asarray(order)[0]]
    expected = [true_loss(s[:k], s[k], WORDS) for s in streams for k in range(1, length + 1)]
    np.testing.assert_allclose(task.true_losses("validation", order, carried=True), expected)
    assert task.true_losses("validation", order).sum() > sum(expected)


def test_a_million_targets_cost_the_entropy_rate():
    task = LetterWords(held_out=200_000, length=50, read="every", order="stream")
    order = task.order(jax.random.key(0), "validation", 32)
    losses = task.true_losses("validation", order, carried=True)
    assert len(losses) >= 1_000_000
    assert losses.mean() == pytest.approx(math.log(6) / 5.5, rel=0.005)
    assert task.references()["the source's own loss"] == pytest.approx(losses.mean())
    assert task.references()["unigram entropy"] == pytest.approx(1.0366, abs=1e-3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"words": ()}, "no words"),
        ({"words": ("a", "")}, "'' is no word"),
        ({"words": ("a b",)}, "'a b' is no word"),
        ({"count": 2, "words": ("a",)}, "text of 3 symbols.*21"),
        ({"held_out": 2}, "(?s)symbols, where an example needs 21.*task.held_out"),
        ({"order": "stream"}, "(?s)last symbol alone.*task.read"),
    ],
)
def test_what_cannot_be_drawn_is_refused(options, message):
    with pytest.raises(InputError, match=message):
        LetterWords(**options)


# The experiments


def test_the_study_has_33_parameters_and_its_variants_their_targets():
    exact, lstm = load("letter_words"), load("letter_words/lstm")
    assert sum(row["parameters"] for row in exact.built.layers()) == 33
    assert (exact.train.epochs, exact.train.batch, exact.train.activity_l1) == (50, 30, 1e-4)
    assert exact.built.trainer.epoch_steps == 1833
    assert lstm.train.activity_l1 is None
    task = lstm.built.task
    rows = task.rows("validation", lstm.train.batch)
    assert rows * task.length * task.steps("validation", rows) >= 1_000_000


@pytest.mark.slow
def test_an_lstm_comes_within_half_a_percent_of_the_source(tmp_path):
    """About half a minute on two cores."""
    found = run(load("letter_words/lstm"), tmp_path).summary()["metrics"]
    assert found["validation_excess"] <= 0.005
    excess = found["validation_loss"] / found["validation_true_loss"] - 1
    assert found["validation_excess"] == pytest.approx(excess, abs=1e-5)


# What is looked at


@pytest.mark.parametrize("values", [pytest.param(SMALL, marks=pytest.mark.slow), STREAM], ids=["last", "stream"])
def test_everything_is_looked_at(values):
    seen, task = subject(values)
    sights = look(seen)
    assert [sight.title for sight in sights] == [
        "Losses beside the source's own",
        "Drawn text",
        "Drawn symbols and units",
        "Drawn symbols and units, safe for colour-blind readers",
        "How units come to mean something",
        "What each unit goes with",
    ]
    for sight in sights:
        assert sight.caption
        assert sum((sight.figure is not None, sight.table is not None, bool(sight.text))) == 1
    assert [set(map(len, s.table.rows)) == {len(s.table.heads)} for s in sights if s.table] == [True, True]
    assert task.decode(task.window()) in sights[1].text
    trainer, numbers = seen.built.trainer, sights[0].numbers
    meter = jax.jit(trainer.evaluate)(trainer.member(0), jnp.asarray(task.data("validation")))
    order = task.order(jax.random.key(0), "validation", task.rows("validation", 8))
    true = task.true_losses("validation", order, carried=values is STREAM)
    assert int(meter.answers) == len(true)
    assert numbers["entropy_rate"] == pytest.approx(math.log(6) / 5.5)
    assert numbers["validation_true_loss"] == pytest.approx(true.mean())
    assert numbers["validation_excess"] == pytest.approx(metrics(task, meter)["loss"] / true.mean() - 1, rel=1e-4)


def test_each_drawn_symbol_has_what_drew_it_beside_it():
    """Every step reads the last symbols anew from the zero state; box i shows the state before symbol i is read."""
    seen, task = subject(SMALL | {"task.read": "every"})
    graph, variables = nnx.split(seen.model)
    window = task.window()
    drawn = looks.draw(graph, False, 30, variables, jnp.asarray(window), jax.random.key(0))
    symbols, probabilities, values = map(np.asarray, drawn)
    read = np.concatenate([window, symbols])
    found = seen.model.unroll(jnp.asarray([read[step : step + 9] for step in range(30)]))
    np.testing.assert_allclose(probabilities, jax.nn.softmax(found.outputs[:, -1]), atol=1e-6)
    np.testing.assert_allclose(values, found.state["0.h"], atol=1e-6)
    assert len(set(symbols.tolist())) > 1


def test_a_carried_state_is_carried_through_drawing_and_reading():
    seen, task = subject(STREAM)
    graph, variables = nnx.split(seen.model)
    window = jnp.asarray(task.window())
    symbols, probabilities, values = looks.draw(graph, True, 12, variables, window, jax.random.key(0))
    passage = jnp.concatenate([window, symbols])
    whole = seen.model.unroll(passage[None], record=("0.h",))
    np.testing.assert_allclose(probabilities, jax.nn.softmax(whole.outputs[0, 8:-1]), atol=1e-6)
    np.testing.assert_allclose(values, whole.recorded["0.h"][0, 8:-1], atol=1e-6)
    found = looks.values_on(seen, seen.model, np.asarray(passage))
    np.testing.assert_allclose(found, whole.recorded["0.h"][0, 9:], atol=1e-6)


def test_values_and_beliefs_are_of_the_same_symbols():
    seen, task = subject(SMALL)
    passage = task.data("validation")[:40].astype(np.int32)
    windows = np.asarray([passage[end - 9 : end] for end in range(10, 41)])
    values, beliefs = looks.values_on(seen, seen.model, passage), looks.beliefs_on(task, passage, False)
    np.testing.assert_allclose(values, seen.model.unroll(jnp.asarray(windows)).state["0.h"], atol=1e-6)
    np.testing.assert_array_equal(beliefs, task.source.beliefs(windows)[:, -1])
    carried = looks.beliefs_on(task, passage, True)
    np.testing.assert_array_equal(carried, task.source.beliefs(passage[None])[0, 9:])


def test_a_units_meaning_is_a_correlation():
    draw = np.random.default_rng(0)
    a, b = draw.normal(size=50), draw.normal(size=50)
    assert looks.correlation(a, b) == pytest.approx(np.corrcoef(a, b)[0, 1])
    assert looks.correlation(a, np.ones(50)) == 0


def test_the_film_has_ever_longer_steps_from_the_untrained_network_to_the_end():
    seen, _ = subject(SMALL)
    steps = tuple(range(0, 51 * 7, 7))
    log = [{"step": step, "loss": 1.0, "validation_loss": 2.0} for step in steps[1:]]
    many = Subject(seen.built, seen.model, log, {}, steps, seen.restored)
    found = looks.epochs(many, 10)
    assert found[0] == (0, "untrained") and found[-1][0] == steps[-1] and len(found) <= 10
    assert np.all(np.diff(np.diff([step for step, _ in found[1:]])) >= 0)
    assert all(name.endswith("loss 2.000") for _, name in found[1:])
    assert looks.epochs(seen, 10)[-1][1].endswith("loss 1.000")


# The pictures


def boxes(figure):
    parts = (part for part in figure.axes[0].collections if isinstance(part, PolyCollection))
    return [np.asarray(part.get_facecolor(), np.float64)[:, :3] for part in parts]


def test_boxes_are_red_green_and_blue_by_probability_and_red_or_cyan_by_value():
    chances = np.asarray([[1, 0, 0], [0.2, 0.3, 0.5]])
    colours = figures.blended(chances, figures.symbol_colours(3))
    figure = figures.symbol_boxes(["␣", "b"], colours, [[1.0, 0.0], [-1.0, -0.5]])
    symbols, values = boxes(figure)
    np.testing.assert_allclose(symbols, chances, atol=1e-6)
    np.testing.assert_allclose(values, [[1, 0, 0], [1, 1, 1], [0, 1, 1], [0.5, 1, 1]], atol=5e-3)
    assert [text.get_text() for text in figure.axes[0].texts] == ["␣", "b"]


def test_the_safe_twin_differs_in_lightness_and_marks_what_is_negative():
    anchors = figures.symbol_colours(3, safe=True)
    assert len({round(float(colour @ (0.2126, 0.7152, 0.0722)), 1) for colour in anchors}) == 3
    figure = figures.symbol_boxes(["a"] * 3, anchors, [[0.5, -0.5, -0.9]], safe=True)
    assert [np.asarray(line.get_xdata()).tolist() for line in figure.axes[0].lines] == [[1.5], [2.5]]
    values = boxes(figure)[1]
    assert values[0, 0] > values[0, 2] and values[1, 2] > values[1, 0]


def test_boxes_have_keys_and_the_units_own_numbers():
    def make():
        key = {"$a$": "red"}
        return figures.symbol_boxes(["a"], [[1, 1, 1]], [[2.0]], key=key, key_title="probability of", numbers=[7])

    figure = make()
    legend = figure.axes[0].get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["probability of", "$a$"]
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["drawn", "unit 7"]
    assert len(figure.axes) == 2
    assert figures.svg(figure) == figures.svg(make())
    assert figures.png(make()).startswith(b"\x89PNG")


def test_any_number_of_symbols_has_colours():
    for count in (1, 2, 5, 30):
        for safe in (False, True):
            colours = figures.symbol_colours(count, safe=safe)
            assert colours.shape == (count, 3) and colours.min() >= 0 and colours.max() <= 1
    alone = figures.symbol_boxes(["x"] * 200, np.ones((200, 3)))
    assert len(boxes(alone)) == 1 and len(alone.axes) == 1


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (([], np.zeros((0, 3))), {}, "for 0 symbols"),
        ((["a"], [[2.0, 0, 0]]), {}, "red, green and blue from 0 to 1"),
        ((["a"], [[0, 0, 0], [0, 0, 0]]), {}, r"colours of shape \[2, 3\] for 1 symbols"),
        ((["a"], [[0, 0, 0]], [0.5]), {}, r"values of shape \[1\]"),
        ((["a"], [[0, 0, 0]], [[0.5]]), {"numbers": [1, 2]}, "2 numbers for 1 units"),
        ((["a"], [[0, 0, 0]], [[0.5]]), {"limit": 0}, "limit is 0"),
    ],
)
def test_boxes_refuse(arguments, options, message):
    with pytest.raises(InputError, match=message):
        figures.symbol_boxes(*arguments, **options)


def test_a_film_is_strips_of_one_scale_named_and_numbered():
    frames = np.linspace(-2, 1, 24).reshape(2, 3, 4)
    figure = figures.film(frames, names=["untrained", "epoch 1"], symbols=list("ab␣a"), numbers=[0, 5, 9])
    axes = figure.axes[0]
    assert {image.get_clim() for image in axes.images} == {(-2.0, 2.0)}
    assert len(axes.images) == 2
    assert [label.get_text() for label in axes.get_yticklabels()] == ["untrained", "epoch 1"]
    assert [label.get_text() for label in axes.get_yticklabels(minor=True)] == ["0", "5", "9"] * 2
    assert [label.get_text() for label in axes.get_xticklabels()] == list("ab␣a")
    figures.svg(figures.film(np.full((1, 40, 200), np.nan), names=["$x$"]))


@pytest.mark.parametrize(
    ("frames", "options", "message"),
    [
        (np.zeros((2, 3)), {"names": ["a", "b"]}, r"shape \[2, 3\]"),
        (np.zeros((2, 3, 4)), {"names": ["a"]}, "1 names for 2 frames"),
        (np.zeros((1, 3, 4)), {"names": ["a"], "symbols": ["x"]}, "1 symbols for 4 time steps"),
        (np.zeros((1, 3, 4)), {"names": ["a"], "numbers": [1]}, "1 numbers for 3 units"),
        (np.zeros((1, 3, 4)), {"names": ["a"], "limit": -1.0}, "limit is -1.0"),
    ],
)
def test_a_film_refuses(frames, options, message):
    with pytest.raises(InputError, match=message):
        figures.film(frames, **options)
