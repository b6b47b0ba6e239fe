"""Laws of the tasks: which symbols and examples a batch holds, judged by slices of the data itself."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from rnnjax.config import InputError
from rnnjax.experiment import Built, Experiment
from rnnjax.layers import ModelConfig
from rnnjax.population import Programs, Rhythm, fit
from rnnjax.tasks import Arrays, ArraysConfig, Batch, Drawn, Task, Text, TextConfig, arrays, choose
from rnnjax.train import TrainConfig, metrics


def letters(count: int, seed: int = 0, symbols: str = "abcdefghij ") -> str:
    return "".join(np.random.default_rng(seed).choice(list(symbols), count))


def epoch_of(task: Task, size: int, *, split: str = "train", seed: int = 0) -> list[Batch]:
    """All batches of one epoch, from NumPy arrays."""
    order = np.asarray(task.order(jax.random.key(seed), split, size))
    return [task.take(task.data(split), order, k, split, size) for k in range(task.steps(split, size))]


def rows_of(task: Text, batches: list[Batch], field: str = "inputs") -> list[str]:
    return [task.decode(row) for batch in batches for row in getattr(batch, field)]


# Text, shuffled


def test_the_study_s_text_gives_990_chunks_and_15_batches():
    task = Text(letters(99_993), length=100)
    assert task.steps("train", 64) == 15
    starts = np.asarray(task.order(jax.random.key(0), "train", 64))
    assert starts.shape == (15, 64)
    assert len(set(starts.ravel().tolist())) == 960
    assert set(starts.ravel().tolist()) <= {101 * k for k in range(990)}
    assert task.steps("train", 990) == 1 and task.steps("train", 991) == 0


def test_every_chunk_comes_once_an_epoch_and_targets_are_inputs_shifted():
    text = letters(6 * 4 * 3 + 5)  # 12 chunks of 6, and a rest
    task = Text(text, length=5)
    batches = epoch_of(task, 4)
    chunks = [text[6 * k : 6 * k + 6] for k in range(12)]
    assert len(batches) == 3
    assert Counter(rows_of(task, batches)) == Counter(chunk[:-1] for chunk in chunks)
    both = list(zip(rows_of(task, batches), rows_of(task, batches, "targets"), strict=True))
    assert Counter(x + y[-1] for x, y in both) == Counter(chunks)
    assert all(x[1:] == y[:-1] for x, y in both)
    assert all(batch.fresh is None and batch.inputs.dtype == np.int32 for batch in batches)


def test_the_rest_that_fills_no_batch_is_dropped():
    task = Text(letters(6 * 11 + 3), length=5)
    seen = rows_of(task, epoch_of(task, 4))
    chunks = [task.decode(task.data("train")[6 * k : 6 * k + 5]) for k in range(11)]
    assert len(seen) == 8 and not Counter(seen) - Counter(chunks)


def test_each_epoch_has_an_order_of_its_own():
    task = Text(letters(600), length=5)
    orders = [np.asarray(task.order(jax.random.key(seed), "train", 10)) for seed in (0, 0, 1)]
    assert_array_equal(orders[0], orders[1])
    assert (orders[0] != orders[2]).any()
    assert sorted(orders[0].ravel()) == sorted(orders[2].ravel())
    held_out = Text(letters(600), length=5, split=0.5)
    order = [np.asarray(held_out.order(jax.random.key(seed), "validation", 5)) for seed in (0, 1)]
    assert_array_equal(order[0], order[1])


# Text, stream


@pytest.mark.parametrize(("count", "size", "length"), [(103, 4, 5), (101, 4, 5), (41, 1, 7), (64, 3, 21)])
def test_each_row_of_a_stream_goes_on_where_it_ended(count, size, length):
    text = letters(count)
    task = Text(text, length=length, order="stream")
    batches = epoch_of(task, size)
    own = (count - 1) // size
    assert len(batches) == own // length
    for row in range(size):
        inputs = "".join(task.decode(batch.inputs[row]) for batch in batches)
        targets = "".join(task.decode(batch.targets[row]) for batch in batches)
        here = text[row * own :]
        assert inputs == here[: len(batches) * length]
        assert targets == here[1 : len(batches) * length + 1]
    assert [bool(batch.fresh) for batch in batches] == [True] + [False] * (len(batches) - 1)


def test_a_stream_has_the_same_order_each_epoch():
    task = Text(letters(103), length=5, order="stream")
    orders = [np.asarray(task.order(jax.random.key(seed), "train", 4)) for seed in (0, 1)]
    assert_array_equal(orders[0], orders[1])


# Text, validation


@pytest.mark.parametrize("order", ["shuffled", "stream"])
def test_validation_is_the_text_s_end(order):
    text = letters(1000)
    task = Text(text, length=9, order=order, split=0.25)
    assert task.decode(task.data("train")) == text[:750]
    assert task.decode(task.data("validation")) == text[750:]
    assert Text(text, length=9, order=order).data("validation") is None
    assert Text(text, length=9, order=order).steps("validation", 4) == 0
    rows = task.rows("validation", 4)
    seen = "".join(rows_of(task, epoch_of(task, rows, split="validation")))
    assert set(seen) <= set(text[750:]) and len(seen) <= 250


def test_small_validation_splits_have_fewer_rows():
    shuffled = Text(letters(1000), length=9, split=0.1)  # 100 symbols: 10 chunks
    assert [shuffled.rows("validation", size) for size in (1, 10, 64)] == [1, 10, 10]
    assert shuffled.rows("train", 64) == 64
    assert shuffled.steps("validation", shuffled.rows("validation", 64)) == 1
    stream = Text(letters(1000), length=9, order="stream", split=0.1)
    assert stream.rows("validation", 64) == 1
    assert stream.steps("validation", 1) == 11
    assert Text(letters(1000), length=9, order="stream", split=0.25).rows("validation", 64) == 2
    tiny = Text(letters(1000), length=9, order="stream", split=0.01)  # ten symbols: one chunk
    assert tiny.rows("validation", 64) == 1 and tiny.steps("validation", 1) == 1


def test_a_batch_by_itself_is_from_anywhere_in_the_text():
    text = letters(40)
    task = Text(text, length=5, order="stream")
    batch = task.batch(jax.random.key(0), 400)
    windows = {text[k : k + 6] for k in range(35)}
    inputs, targets = np.asarray(batch.inputs), np.asarray(batch.targets)
    seen = {task.decode(x) + task.decode(y)[-1] for x, y in zip(inputs, targets, strict=True)}
    assert seen == windows and batch.fresh is None


# Text, facts


def conditional_entropy(text: str, order: int) -> float:
    """Entropy in nats of a symbol given `order` before it, over all but the first two symbols, counted naively."""
    pairs = [(text[t - order : t], text[t]) for t in range(2, len(text))]
    joint, contexts = Counter(pairs), Counter(context for context, _ in pairs)
    return -sum(math.log(joint[pair] / contexts[pair[0]]) for pair in pairs) / len(pairs)


@pytest.mark.parametrize("text", [letters(3000), letters(50, 1, "ab"), "aaaaab", "abc" * 9 + "ü"])
def test_entropies_are_those_of_naive_counts(text):
    found = Text(text, length=2).references()
    assert list(found) == ["unigram entropy", "bigram entropy", "trigram entropy"]
    for order, name in enumerate(found):
        assert_allclose(found[name], conditional_entropy(text, order), atol=1e-9, err_msg=name)


def test_entropies_are_of_the_training_part():
    text = letters(500)
    assert Text(text, length=5, split=0.2).references() == Text(text[:400] + text[:0], length=5).references()


def test_facts_about_a_text():
    task = Text("abracadabra" * 10, length=4, split=0.1)
    assert (task.inputs, task.outputs, task.labels) == (5, 5, ("a", "b", "c", "d", "r"))
    assert (task.symbols, task.read, task.answers) == (True, "every", "classes")
    facts = task.summary()
    assert (facts["symbols"], facts["training symbols"], facts["validation symbols"]) == (110, 99, 11)
    assert facts["distinct symbols"] == 5


def test_symbols_are_stored_in_the_fewest_bytes():
    wide = "".join(chr(0x4E00 + k) for k in range(300))
    assert Text("ab" * 9, length=2).data("train").dtype == np.uint8
    task = Text(wide, length=2)
    assert task.data("train").dtype == np.uint16
    assert task.decode(task.data("train")) == wide


def test_texts_that_cannot_be_learned_from():
    with pytest.raises(InputError, match="single distinct symbol"):
        Text("aaaa", length=2)
    with pytest.raises(InputError, match="6 symbols for train, an example needs 7"):
        Text("ababab", length=6)
    with pytest.raises(InputError, match="for validation") as caught:
        Text("ab" * 50, length=20, split=0.1)
    assert caught.value.where == "in task.split"
    Text("ababab", length=5)


def test_a_text_by_configuration(tmp_path: Path):
    file = tmp_path / "some.txt"
    file.write_text(letters(200), encoding="utf-8")
    built = TextConfig(path=str(file), characters=120, length=7, order="stream", split=0.2).build()
    assert built.decode(built.data("train")) == letters(200)[:96]
    assert built.streams and built.length == 7
    assert TextConfig(path=str(file), length=7).build().summary()["symbols"] == 200
    with pytest.raises(InputError, match="201 symbols of a text of 200") as caught:
        TextConfig(path=str(file), characters=201).build()
    assert caught.value.where == "in task.characters"


def test_tasks_by_name():
    assert choose("text") is TextConfig and choose("arrays") is ArraysConfig
    with pytest.raises(InputError, match="unknown task 'texts'") as caught:
        choose("texts")
    assert "text" in caught.value.fix
    with pytest.raises(InputError, match="your class Mine"):
        choose("own")(name="Mine").build()


# NumPy and device


def ragged(seed: int = 0, count: int = 12) -> tuple[list[np.ndarray], list[np.ndarray]]:
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 7, count)
    sizes[0] = 6
    return [rng.normal(size=(n, 2)) for n in sizes], [rng.integers(0, 3, n) for n in sizes]


@pytest.mark.parametrize(
    "task",
    [
        Text(letters(200), length=5, split=0.2),
        Text(letters(200), length=5, order="stream", split=0.4),
        Arrays(*ragged(), split=0.25),
    ],
    ids=["shuffled", "stream", "arrays"],
)
@pytest.mark.parametrize("split", ["train", "validation"])
def test_batches_are_the_same_from_numpy_and_from_the_device(task, split):
    size = task.rows(split, 3)
    order = task.order(jax.random.key(3), split, size)
    data = jax.tree.map(jnp.asarray, task.data(split))
    on_device = jax.jit(lambda data, order, k: task.take(data, order, k, split, size))
    for k in range(task.steps(split, size)):
        host = task.take(task.data(split), np.asarray(order), k, split, size)
        device = on_device(data, order, k)
        assert jax.tree.structure(host) == jax.tree.structure(device)
        for a, b in zip(jax.tree.leaves(host), jax.tree.leaves(device), strict=True):
            assert_array_equal(a, b)
            assert np.asarray(a).dtype == b.dtype


# Arrays


def test_ragged_rows_are_padded_and_counted():
    inputs, targets = ragged()
    task = arrays(inputs, targets, labels=["low", "mid", "high"])
    assert (task.inputs, task.outputs, task.symbols, task.read, task.answers) == (2, 3, False, "every", "classes")
    held = task.data("train")
    assert_array_equal(held["lengths"], [len(row) for row in inputs])
    for k, (x, y) in enumerate(zip(inputs, targets, strict=True)):
        assert_array_equal(held["inputs"][k, : len(x)], x.astype(np.float32))
        assert_array_equal(held["targets"][k, : len(y)], y)
        assert not held["inputs"][k, len(x) :].any() and not held["targets"][k, len(y) :].any()
    assert task.decode([2, 0]) == "high low"


@pytest.mark.parametrize(
    ("inputs", "targets", "expected"),
    [
        (np.zeros((4, 3, 2)), np.array([0, 1, 2, 0]), (2, 3, False, "last", "classes")),
        (np.zeros((4, 3, 2)), np.zeros((4, 3), int), (2, 1, False, "every", "classes")),
        (np.zeros((4, 3, 2)), np.zeros((4, 5)), (2, 5, False, "last", "numbers")),
        (np.zeros((4, 3, 2)), np.zeros((4, 3, 5)), (2, 5, False, "every", "numbers")),
        (np.full((4, 3), 6), np.array([True, False, True, True]), (7, 2, True, "last", "classes")),
        ([[1, 2], [3], [0]], [0, 1, 1], (4, 2, True, "last", "classes")),
        ([[1, 2], [3, 0]], [[0, 1], [1, 0]], (4, 2, True, "every", "classes")),
    ],
)
def test_what_is_read_and_answered_is_seen_from_the_arrays(inputs, targets, expected):
    task = Arrays(inputs, targets)
    assert (task.inputs, task.outputs, bool(task.symbols), task.read, task.answers) == expected
    batch = task.batch(jax.random.key(0), 2)
    assert batch.valid().shape == ((2, batch.inputs.shape[1]) if task.read == "every" else (2,))


def test_every_example_comes_once_an_epoch():
    task = Arrays(np.arange(10.0)[:, None, None], np.arange(10), split=0.2)
    seen = [int(y) for batch in epoch_of(task, 4) for y in batch.targets]
    assert sorted(seen) == list(range(8)) and seen != sorted(seen)
    assert seen != [int(y) for batch in epoch_of(task, 4, seed=1) for y in batch.targets]
    assert len(epoch_of(task, 3)) == 2
    assert task.rows("validation", 64) == 2 and task.rows("train", 64) == 64
    assert [y.tolist() for y in (b.targets for b in epoch_of(task, 2, split="validation"))] == [[8, 9]]


def test_valid_answers_are_counted_by_mask_and_length():
    inputs = jnp.zeros((2, 4, 1))
    mask = jnp.asarray([[True, False, True, True], [True, True, True, True]])
    targets = jnp.zeros((2, 4), int)
    assert Batch(inputs, targets).valid().sum() == 8
    assert Batch(inputs, targets, mask=mask, lengths=jnp.asarray([3, 1])).valid().tolist() == [
        [True, False, True, False],
        [True, False, False, False],
    ]
    assert Batch(inputs, jnp.zeros(2, int), lengths=jnp.asarray([3, 1])).valid().tolist() == [True, True]


@pytest.mark.parametrize("split", [0.0, 0.25])
def test_saved_arrays_are_read_again(tmp_path, split):
    task = Arrays(*ragged(), labels=["low", "mid", "high"], split=split)
    again = task.save(tmp_path / "data.npz").build()
    for part in ("train", "validation"):
        jax.tree.map(assert_array_equal, task.data(part), again.data(part))
    assert (again.labels, again.inputs, again.outputs, again.read) == (task.labels, 2, 3, "every")


@pytest.mark.parametrize(
    ("inputs", "targets", "options", "message"),
    [
        ([], [], {}, "0 inputs"),
        (np.zeros((2, 3, 1)), np.array([0]), {}, "2 inputs for 1 targets"),
        (np.zeros((2, 3, 1)), np.array([0, 1]), {"lengths": [1]}, "2 inputs"),
        (np.zeros((2, 3)), np.array([0, 1]), {}, "inputs of shape"),
        (np.array([["a"]]), np.array([0]), {}, "inputs of type"),
        (np.full((1, 2, 1), np.nan), np.array([0]), {}, "not finite"),
        (np.zeros((2, 3, 1)), np.full((2, 1), np.inf), {}, "targets with values that are not finite"),
        (np.zeros((2, 3, 1)), np.zeros((2, 4), int), {}, "targets of 4 steps"),
        ([np.zeros((2, 1)), np.zeros((3, 2))], [0, 1], {}, "different features in inputs"),
        ([np.zeros((2, 1)), np.zeros((3, 1))], [[0, 1, 1], [1, 2]], {}, "longer or shorter"),
    ],
)
def test_examples_that_do_not_fit(inputs, targets, options, message):
    with pytest.raises(InputError, match=message):
        Arrays(inputs, targets, **options)


@pytest.mark.parametrize(
    ("inputs", "targets", "options"),
    [
        pytest.param(np.zeros((2, 3, 1)), np.array([-1, 1]), {}, id="negative class"),
        pytest.param(np.array([[-1, 2], [0, 1]]), np.array([0, 1]), {}, id="negative symbol"),
        pytest.param(np.zeros((2, 3, 1)), np.array([0, 2]), {"labels": ["one"]}, id="too few labels"),
        pytest.param(np.zeros((2, 3, 1)), np.array([0, 1]), {"lengths": [4, 1]}, id="length beyond time"),
        pytest.param(np.zeros((2, 3, 1)), np.array([0, 1]), {"lengths": [-1, 1]}, id="negative length"),
        pytest.param(np.zeros((2, 3, 1)), np.zeros((2, 3, 1), int), {}, id="classes of three axes"),
        pytest.param(np.zeros((2, 3, 1)), np.array([0.5, 0.2]), {}, id="numbers of one axis"),
        pytest.param([[[1.0], [2.0, 3.0]]], [0], {}, id="ragged within a row"),
    ],
)
def test_values_that_mean_nothing(inputs, targets, options):
    with pytest.raises(InputError):
        Arrays(inputs, targets, **options)


def test_rows_of_whole_numbers_do_not_cut_the_others():
    task = Arrays([[[1], [2]], [[0.5], [0.25], [0.125]]], [0, 1])
    assert_array_equal(task.data("train")["inputs"][1, :, 0], [0.5, 0.25, 0.125])


@pytest.mark.parametrize("content", ["absent", "folder", "text", "empty", "npy", "torn", "objects"])
def test_files_that_hold_no_arrays(tmp_path, content):
    path = tmp_path / "data.npz"
    if content == "folder":
        path.mkdir()
    elif content == "text":
        path.write_text("hello")
    elif content == "empty":
        path.touch()
    elif content == "npy":
        with path.open("wb") as file:
            np.save(file, np.zeros(3))
    elif content == "torn":
        Arrays(*ragged()).save(path)
        path.write_bytes(path.read_bytes()[:300])
    elif content == "objects":
        np.savez(path, inputs=np.array([1, None]), targets=np.zeros(2))
    with pytest.raises(InputError, match="cannot read") as caught:
        ArraysConfig(path=str(path)).build()
    assert caught.value.where == "in task.path"


def test_a_file_that_lacks_an_array(tmp_path):
    np.savez(tmp_path / "data.npz", inputs=np.zeros((2, 3, 1)))
    with pytest.raises(InputError, match="no array called targets"):
        ArraysConfig(path=str(tmp_path / "data.npz")).build()


# Drawn


class Sign(Drawn):
    """Whether the first number was positive."""

    inputs, outputs, read = 1, 2, "last"

    def batch(self, key: jax.Array, size: int) -> Batch:
        values = jax.random.normal(key, (size, 3, 1))
        return Batch(values, (values[:, 0, 0] > 0).astype(jnp.int32))


def test_a_drawn_task_of_one_method_trains():
    task = Sign(epoch_steps=40, validation_steps=4)
    experiment = Experiment(
        task=task,
        model=ModelConfig(cell="elman", units=4),
        train=TrainConfig(batch=16, learning_rate=0.05, epochs=2, log_every=20),
    )
    trainer = Built(experiment, task).trainer
    assert trainer.total == 80
    programs = Programs(trainer)
    found = [
        (progress.step, metrics(task, progress.member.meter), progress.validation)
        for progress in fit(programs, programs.member(0), Rhythm(trainer))
    ]
    assert found[-1][0] == 80 and found[-1][1]["loss"] < 0.3 < found[0][1]["loss"]
    assert found[-1][2] is not None
    assert int(found[-1][2].answers) == 4 * 16 and metrics(task, found[-1][2])["accuracy"] > 0.8
    order = task.order(jax.random.key(0), "train", 16)
    drawn = [task.take((), order, k, "train", 16).inputs for k in (0, 0, 1)]
    assert_array_equal(drawn[0], drawn[1])
    assert (np.asarray(drawn[0]) != np.asarray(drawn[2])).any()
