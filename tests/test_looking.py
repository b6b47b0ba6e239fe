"""Looking at runs: what is recorded, explained, switched off and explored, from Python and from the command line."""

from __future__ import annotations

import csv
import importlib
import json
import shutil
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from small_runs import STORY, same_bits, signal_at, small, tree_of

import rnnjax as rx
from rnnjax.cli import main
from rnnjax.config import InputError, override
from rnnjax.experiment import Experiment
from rnnjax.looks.base import most_varied
from rnnjax.population import Programs
from rnnjax.tasks import arrays

pytestmark = pytest.mark.usefixtures("programs")


@pytest.fixture(scope="module")
def filmed(tmp_path_factory, text):
    """A finished run with a film, to be looked at only."""
    experiment = small(text, model__cell="lstm", record__film=30, train__checkpoint_every=5)
    return rx.run(experiment, tmp_path_factory.mktemp("runs"), "filmed")


@pytest.fixture
def copy(filmed, tmp_path):
    """That run, to be changed."""
    return rx.open(Path(shutil.copytree(filmed.path, tmp_path / "copy")))


# -- the film of learning


def test_the_film_has_a_picture_of_every_checkpoint(filmed, text):
    film = rx.Recording.open(filmed.folder.recording("film"))
    assert film.coords["checkpoint"].tolist() == [0, 5, 10, 15, 20, 22]
    assert film.dims("0.h") == ("checkpoint", "step", "units") and film["0.h"].shape == (6, 30, 4)
    np.testing.assert_array_equal(film["0.h"][-1], filmed.record(["0.h"], steps=30)["0.h"])


def test_a_film_changes_no_bit_of_the_training(filmed, text, tmp_path, unreported):
    unfilmed = rx.run(small(text, model__cell="lstm", train__checkpoint_every=5), tmp_path, "unfilmed")
    same_bits(unfilmed.member(), filmed.member())
    assert not unfilmed.folder.recordings()


def test_the_training_program_is_the_same_with_a_film_as_without(text):
    def lowered(film: int) -> str:
        trainer = small(text, record__film=film).built.trainer
        member = jax.eval_shape(trainer.member, 0)
        number, flag = jax.ShapeDtypeStruct((), np.int32), jax.ShapeDtypeStruct((), np.bool_)
        return jax.jit(trainer.chunk).lower(member, trainer.task.data("train"), number, number, flag).as_text()

    assert lowered(30) == lowered(0)
    assert Programs(small(text, record__film=30).built.trainer)


@pytest.mark.parametrize("step", [7, 10])
def test_a_stopped_run_goes_on_with_its_film(filmed, text, tmp_path, unreported, step):
    experiment = small(text, model__cell="lstm", record__film=30, train__checkpoint_every=5)
    with pytest.MonkeyPatch.context() as patch:
        signal_at(patch, step)
        with pytest.raises(STORY.Interrupted):
            rx.run(experiment, tmp_path, "stopped")
    went_on = rx.resume(tmp_path / "stopped")
    whole, film = (rx.Recording.open(run.folder.recording("film")) for run in (filmed, went_on))
    wanted = sorted({*whole.coords["checkpoint"].tolist(), step})
    assert film.coords["checkpoint"].tolist() == wanted
    for checkpoint in whole.coords["checkpoint"].tolist():
        np.testing.assert_array_equal(
            film.select(checkpoint=checkpoint)["0.h"], whole.select(checkpoint=checkpoint)["0.h"]
        )


# -- record


def test_what_can_be_recorded_is_known_beforehand(filmed):
    assert filmed.watched == ("0.h",)
    assert {"0.h", "0.c", "0.i", "0.f", "0.g", "0.o", "0.pre.i", "logits", "probabilities"} <= set(filmed.recordable)
    assert filmed.recordable["0.c"] == 4
    assert filmed.recordable["logits"] == len(filmed.experiment.built.task.labels)


def test_a_recording_with_a_name_lies_in_the_folder(copy):
    stored = copy.record(["0.h", "0.c"], steps=60, name="both")
    again = rx.Recording.open(copy.path / "recordings" / "both.zarr")
    held = copy.record(["0.h", "0.c"], steps=60)
    for field in ("0.h", "0.c"):
        np.testing.assert_array_equal(again[field], stored[field])
        np.testing.assert_allclose(again[field], held[field], rtol=0, atol=1e-6)
    assert list(again.coords["symbol"]) == list(held.coords["symbol"])
    with pytest.raises(InputError, match="there is a recording called 'both'"):
        copy.record(["0.h"], name="both")


def test_a_passage_is_edited(filmed):
    quiet = filmed.record(["0.h"], "the rain", edit=rx.lesion("0.h", units=[2]))
    assert np.all(quiet["0.h"][:, 2] == 0) and np.any(quiet["0.h"][:, 1] != 0)


def test_a_gradient_is_recorded(filmed):
    found = filmed.record(["gradient.0.h"], "the rain falls")["gradient.0.h"]
    assert found.shape == (14, 4)
    assert np.all(found[-1] == 0), "what follows the last symbol is not known"
    assert np.all(np.any(found[:-1] != 0, axis=1))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"fields": ["0.q"]}, ["0.q"]),
        ({"passage": "the €"}, ["€"]),
        ({"passage": ""}, ["empty"]),
        ({"steps": 0}, ["0 steps"]),
        ({"name": "a/b"}, ["a/b"]),
        ({"name": "a" * 300}, ["cannot name a recording"]),
        ({"edit": "0.h"}, ["as an edit"]),
    ],
)
def test_what_cannot_be_recorded_is_refused(copy, arguments, words):
    before = tree_of(copy.path)
    with pytest.raises(InputError) as refused:
        copy.record(**arguments)
    assert all(word in str(refused.value) for word in words)
    assert tree_of(copy.path) == before


def test_a_recording_that_never_got_a_step_leaves_its_name_free(copy, monkeypatch):
    opened = importlib.import_module("rnnjax.run.opened")

    def broken(model, inputs, *rest, **options):
        stream(model, inputs[:5], *rest, **options)
        path = rest[1]
        metadata = json.loads((path / "zarr.json").read_text())
        for each in metadata["consolidated_metadata"]["metadata"].values():
            each["shape"][0] = 0
        (path / "zarr.json").write_text(json.dumps(metadata))
        raise OSError("no space is left")

    stream = opened.stream
    monkeypatch.setattr(opened, "stream", broken)
    with pytest.raises(OSError, match="no space"):
        copy.record(["0.h"], name="full")
    assert copy.folder.recordings() == ["film"]


def test_a_checkpoint_is_remembered_by_its_step(copy):
    assert copy.record(["0.h"], name="now").attributes["checkpoint"] == 22


# -- explain, lesion


def test_the_units_are_explained(copy):
    found = copy.explain(steps=600)
    assert found.field == "0.h" and found.effects.shape == (4, len(found.concepts))
    rows = (copy.path / "tables" / "units_of_0.h.csv").read_text().splitlines()
    assert len(rows) == 1 + len(found.named)


def test_a_network_without_recurrence_is_explained(tmp_path, unreported):
    random = np.random.default_rng(0)
    inputs = random.normal(size=(64, 6, 2)).astype(np.float32)
    task = arrays(inputs, (inputs.sum(axis=(1, 2)) > 0).astype(np.int32))
    chosen = {"model.cell": "feedforward", "model.units": 4, "train.batch": 8, "train.steps": 3}
    done = rx.run(override(Experiment(task=task), chosen), tmp_path, "feedforward")
    scores = done.explain(steps=300)
    assert scores.field == "0.h" and "Courses of 0.h" in [sight.title for sight in done.inside(scores)]


def test_a_field_knows_its_own_steps(filmed):
    found = filmed.record([rx.Record("0.h", stride=3), rx.Record("0.c"), rx.Record("0.f", statistics=True)], "the rain")
    assert "".join(found.along("0.c", "symbol")) == "the rain" and "".join(found.along("0.h", "symbol")) == "t i"
    assert found.along("0.h", "time").tolist() == [0, 3, 6] and set(found.along("0.c", "example")) == {0}
    assert not len(found.along("0.f", "time"))


def test_the_units_that_vary_most_stay_in_order():
    values = np.random.default_rng(0).normal(size=(5, 40, 4)) * [3, 0.1, 2, 5]
    assert most_varied(values, 3) == [0, 2, 3] and most_varied(values[0], 1) == [3]
    assert most_varied(np.ones((9, 3)), 5) == [0, 1, 2]


def test_a_concept_of_ones_own_is_a_function_of_the_text(copy):
    found = copy.explain(steps=600, concepts={"is an a": lambda passage: [symbol == "a" for symbol in passage]})
    assert "is an a" in found.concepts


def test_a_concept_that_breaks_is_told_by_its_name(copy):
    with pytest.raises(InputError, match="ZeroDivisionError") as refused:
        copy.explain(steps=600, concepts={"broken": lambda passage: [1 / 0 for _ in passage]})
    assert "'broken'" in str(refused.value)


def test_units_are_a_mask_or_numbers(copy):
    mask = np.asarray([True, False, True, False])
    assert copy.lesion(units=mask, steps=64).units.tolist() == [0, 2]
    for wrong in ([1.5], [4], [-1], ["a"]):
        with pytest.raises(InputError, match="unit"):
            copy.lesion(units=wrong, steps=64)


def test_a_lesion_atlas_is_a_loop_of_lesions(copy):
    atlas = copy.lesion(steps=160)
    task, model = copy.experiment.built.task, copy.model()
    batch = task.probe(160, 16)
    for unit, loss in zip(atlas.units, atlas.loss, strict=True):
        outputs = model.unroll(batch.inputs, edit=rx.lesion("0.h", units=[int(unit)])).outputs
        logits = np.asarray(outputs, np.float64)
        chosen = np.take_along_axis(logits, np.asarray(batch.targets)[..., None], axis=-1)[..., 0]
        each = np.log(np.exp(logits).sum(axis=-1)) - chosen
        assert loss == pytest.approx(each.mean(), rel=1e-5)
    assert (copy.path / "tables" / "lesions_of_0.h.csv").is_file()


# -- view


def test_the_page_explores_the_run(copy):
    page = copy.view(steps=200)
    assert page.path == copy.path / "view.html"
    content = page.path.read_text(encoding="utf-8")
    shown = content.split('id="exploration-0">')[1].split("</script>")[0]
    explored = json.loads(shown)
    assert len(explored["symbols"]) == 200 and set(explored["layers"]) == {"0.h", "0.c", "0.i", "0.f", "0.g", "0.o"}
    assert explored["film"]["checkpoints"] == [0, 5, 10, 15, 20, 22]
    assert len(explored["lesions"]["0.h"]) == 4 and len(explored["loss"]) == 200
    assert "<iframe srcdoc=" in page._repr_html_()


def test_two_runs_are_explored_side_by_side(copy, filmed):
    content = copy.view(filmed, steps=50).path.read_text(encoding="utf-8")
    assert 'id="exploration-0"' in content and 'id="exploration-1"' in content


QUICK = {"train.steps": 3, "train.batch": 8}


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "addition",
        "letter_words",
        "names",
        "lecture/digits",
        "lecture/digits_mlp",
        "lecture/parity",
        "lecture/ar",
        "lecture/reverse",
    ],
)
def test_every_kind_of_task_is_explored(name, tmp_path, unreported):
    done = rx.run(rx.load(name, QUICK), tmp_path, "run")
    content = done.view(steps=100).path.read_text(encoding="utf-8")
    assert 'id="exploration-0"' in content
    assert done.explain(steps=400).field == done.watched[0]
    assert len(done.lesion(steps=64).change) == done.recordable[done.watched[0]]


# -- the command line


def answer(capsys, *arguments: Any) -> tuple[int, str, str]:
    code = main(list(map(str, arguments)))
    found = capsys.readouterr()
    return code, found.out, found.err


def test_record_tells_where_the_recording_lies(copy, capsys, tmp_path):
    out = tmp_path / "course.csv"
    arguments = ["record", copy.path, "--field", "0.c", "--units", "0,2..3", "--stride", 2, "--steps", 40, "--out", out]
    code, printed, _ = answer(capsys, *arguments)
    assert code == 0 and "recording-1.zarr" in printed
    found = rx.Recording.open(copy.path / "recordings" / "recording-1.zarr")
    assert found["0.c"].shape == (20, 3) and found.units("0.c").tolist() == [0, 2, 3]
    with out.open(newline="") as file:
        assert len(list(csv.reader(file))) == 21


def test_record_lists_what_there_is(copy, capsys):
    code, printed, _ = answer(capsys, "record", copy.path, "--list", "--json")
    assert code == 0 and {"field": "0.f", "units": 4} in json.loads(printed)


def test_explain_and_lesion_print_tables(copy, capsys, tmp_path):
    own = tmp_path / "own.py"
    own.write_text("def vowel(text):\n    return [symbol in 'aeiou' for symbol in text]\n")
    code, printed, _ = answer(capsys, "explain", copy.path, "--steps", 600, "--concept", f"{own}:vowel")
    assert code == 0 and "have a name" in printed
    code, printed, _ = answer(capsys, "lesion", copy.path, "--steps", 160, "--units", "1..2", "--json")
    assert code == 0 and {entry["unit"] for entry in json.loads(printed)["units"]} == {1, 2}
    code, printed, _ = answer(capsys, "lesion", copy.path, "--steps", 160)
    assert code == 0 and "loss of the whole network" in printed


def test_view_names_its_file(copy, capsys):
    code, printed, _ = answer(capsys, "view", copy.path, "--steps", 50)
    assert code == 0 and "view.html" in printed and (copy.path / "view.html").is_file()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["record", "--field", "0.hh"], ["0.hh", "0.h"]),
        (["record", "--field", "h"], ["'h'", "0.h"]),
        (["record", "--units", "3..1"], ["3..1"]),
        (["record", "--units", "99"], ["99", "4"]),
        (["record", "--units", "0..99999999999"], ["0..99999999999", "3,7,100..120"]),
        (["record", "--field", "gradient.0.h", "--units", "99"], ["99"]),
        (["record", "--stride", "99999999999999"], ["is no count"]),
        (["record", "--out", "/dev/null/x.csv"], ["/dev/null/x.csv", "--out"]),
        (["record", "--passage", ""], ["empty passage"]),
        (["record", "--steps", "0"], ["'0'"]),
        (["record", "--out", "x.xlsx"], [".xlsx", ".csv"]),
        (["record", "--name", "film"], ["film"]),
        (["explain", "--field", "0.z"], ["0.z"]),
        (["explain", "--concept", "nowhere.py:f"], ["nowhere.py"]),
        (["explain", "--rate", "2"], ["rate"]),
        (["view", "--steps", "0"], ["is no count"]),
        (["lesion", "--units", "17"], ["17"]),
        (["lesion", "--checkpoint", "3"], ["checkpoint"]),
        (["view", "--beside", "nowhere"], ["nowhere"]),
    ],
)
def test_mistakes_get_an_answer_of_three_parts(copy, capsys, arguments, words):
    before = tree_of(copy.path)
    code, printed, error = answer(capsys, arguments[0], copy.path, *arguments[1:])
    assert code == 2 and printed == "", error
    assert [line.split(":")[0].strip() for line in error.splitlines()] == ["error", "where", "fix"], error
    assert all(word in error for word in words), error
    assert tree_of(copy.path) == before
