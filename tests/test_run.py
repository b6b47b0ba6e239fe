"""The story of a run: what it leaves on disk, and that stopping and going on changes no bit."""

from __future__ import annotations

import dataclasses
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from html.parser import HTMLParser
from importlib import import_module
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_runs import (
    SMALL,
    STORY,
    member_of,
    same_bits,
    signal_at,
    small,
    tree_of,
    without_times,
    write_text,
)

import rnnjax as rx
from rnnjax import config
from rnnjax.config import InputError
from rnnjax.experiment import Experiment, load
from rnnjax.population import Alone, Programs, Rhythm, fit
from rnnjax.signals import listening
from rnnjax.store import RunFolder, digest
from rnnjax.tasks import Batch, Drawn, arrays

pytestmark = pytest.mark.usefixtures("programs")

run, resume, open_run = STORY.run, STORY.resume, rx.open


@pytest.fixture(scope="module")
def finished(tmp_path_factory, text):
    """A finished run, to be looked at only."""
    return run(small(text), tmp_path_factory.mktemp("runs"), "small", command="rnnjax run small")


@pytest.fixture
def copy(finished, tmp_path):
    """A finished run that a test may change."""
    return Path(shutil.copytree(finished.path, tmp_path / "copy"))


# -- what a run leaves


def test_the_folder_holds_all_that_belongs_to_a_run(finished):
    found = set(tree_of(finished.path))
    assert {"config.yaml", "environment.json", "metrics.jsonl", "summary.json", "report.html", "sample.txt"} <= found
    assert {"figures/loss.png", "figures/activations_of_0.h.png"} <= found
    assert (finished.path / "figures" / "loss.png").read_bytes().startswith(b"\x89PNG")
    assert finished.folder.checkpoints() == [11, 22]
    assert not [name for name in found if "/." in name or "tmp" in name]


def test_the_configuration_round_trips(finished, text):
    stored = config.load(finished.path / "config.yaml", Experiment)
    assert dataclasses.replace(stored, task=dataclasses.replace(stored.task, sha256="")) == small(text)
    assert config.dump(stored) == (finished.path / "config.yaml").read_text()
    assert load(finished.path) == stored


def test_the_environment_says_what_bits_depend_on(finished):
    environment = json.loads((finished.path / "environment.json").read_text())
    assert environment["versions"]["jax"] == jax.__version__
    assert {"python", "rnnjax", "jaxlib", "flax", "optax", "numpy"} <= environment["versions"].keys()
    assert environment["backend"] == jax.default_backend()
    assert environment["threads"] >= 1
    assert {"device", "devices", "xla_flags", "started", "platform"} <= environment.keys()
    assert Alone(**environment["layout"]) == Alone(small=True) and environment["why"]
    assert environment["command"] == "rnnjax run small"
    (layer,) = environment["plan"]
    assert layer["layer"] == "0" and layer["executor"] == "fused" and len(layer["why"]) == 3


def test_every_logged_step_has_a_line(finished):
    rows = [json.loads(line) for line in (finished.path / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == list(range(1, 23))
    assert rows == finished.metrics()
    for row in rows:
        assert row["epoch"] == pytest.approx(row["step"] / 11)
        assert row["answers"] == 8 * 20
        assert row["bits_per_symbol"] == pytest.approx(row["loss"] / np.log(2))
        assert row["perplexity"] == pytest.approx(np.exp(row["loss"]), rel=1e-5)
        assert row["objective"] == pytest.approx(row["loss"], rel=1e-5)
        assert row["learning_rate"] == pytest.approx(1e-3) and row["gradient_norm"] > 0
        assert 0 <= row["accuracy"] <= 1
        assert ("validation_loss" in row) == (row["step"] in (11, 22))
    seconds = [row["seconds"] for row in rows]
    assert seconds == sorted(seconds)
    assert rows[-1]["loss"] < rows[0]["loss"] < np.log(20) + 0.1


def test_the_summary_sums_up(finished):
    summary, rows = finished.summary(), finished.metrics()
    assert summary["status"] == "finished"
    assert summary["steps"] == 22 and summary["epochs"] == 2
    params = finished.member().params
    assert summary["parameters"] == sum(leaf.size for leaf in jax.tree.leaves(params)) == 192
    assert summary["parameters_sha256"] == digest(params)
    last_epoch = [row["loss"] for row in rows if row["step"] > 11]
    assert summary["metrics"]["loss"] == pytest.approx(np.mean(last_epoch))
    assert summary["metrics"]["validation_loss"] == rows[-1]["validation_loss"]
    best = min((row for row in rows if "validation_loss" in row), key=lambda row: row["validation_loss"])
    assert summary["best"]["step"] == best["step"] and summary["best"]["direction"] == "min"
    assert summary["best"]["value"] == pytest.approx(best["validation_loss"], rel=1e-6)
    assert finished.folder.best_step() == best["step"]
    assert set(summary["references"]) == {"unigram entropy", "bigram entropy", "trigram entropy"}
    assert summary["seconds"] == rows[-1]["seconds"]


def test_steps_per_second_hold_no_compilation(finished):
    assert finished.summary()["steps_per_second"] > 100


def test_one_program_serves_every_chunk(text):
    built = small(text).built
    programs = Programs(built.trainer)
    for _ in fit(programs, programs.member(0), Rhythm(built.trainer)):
        pass
    chunk: Any = programs.chunk
    assert chunk._cache_size() == 1, "the first validation changes a type, and the chunk is compiled again"


def test_the_report_shows_sample_and_configuration(finished):
    page = (finished.path / "report.html").read_text()

    class Shown(HTMLParser):
        words: list[str]

        def __init__(self):
            super().__init__()
            self.words = []

        def handle_data(self, data):
            self.words.append(data)

    shown = Shown()
    shown.feed(page)
    text_of_page = " ".join(shown.words)
    sample = (finished.path / "sample.txt").read_text()
    assert all(line in text_of_page for line in sample.split("\n"))
    assert "train.batch" in text_of_page or ("batch" in text_of_page and "elman" in text_of_page)
    assert "rnnjax run small" in text_of_page
    assert "stack.layers.0.cell.recurrent_kernel" in text_of_page
    assert page.count("data:image/svg") >= 2


def test_sample_is_reproducible_and_goes_on_from_prompts(finished):
    (first,) = finished.sample(["the "], length=12)
    assert first[0] == "the " and len(first[1]) == 12
    assert finished.sample(["the "], length=12) == [first]
    rows = finished.sample(["the ", "sky"], length=12, rows=2, seed=1, temperature=2.0)
    assert [prompt for prompt, _ in rows] == ["the ", "the ", "sky", "sky"]
    assert rows[0][1] != rows[1][1]
    assert finished.sample(length=3)[0][0] == "\n"
    greedy = {finished.sample(["a"], length=9, temperature=0, seed=seed)[0][1] for seed in (0, 1)}
    assert len(greedy) == 1


def test_a_run_records_a_passage(finished):
    recorded = finished.record(["0.h"], "the rain")
    assert recorded["0.h"].shape == (8, 4)
    assert list(recorded.coords["symbol"]) == list("the rain")
    assert np.all(np.abs(recorded["0.h"]) < 1)
    assert finished.record(steps=7)["0.h"].shape == (7, 4)
    model = finished.model()
    tokens = finished.experiment.built.task.vocabulary.encode("the rain")[None]
    np.testing.assert_array_equal(
        model.unroll(jnp.asarray(tokens), record=("0.h",)).recorded["0.h"][0], recorded["0.h"]
    )


def test_a_field_that_no_cell_has_is_refused_when_recording(finished):
    with pytest.raises(InputError, match=r"0\.q|'q'"):
        finished.record(["0.q"], "the")


def test_the_model_of_a_checkpoint(finished, text):
    early, late = finished.model(11), finished.model("latest")
    assert not np.array_equal(early.readout.kernel[...], late.readout.kernel[...])
    best = finished.model("best")
    at_best = finished.model(finished.folder.best_step())
    np.testing.assert_array_equal(best.readout.kernel[...], at_best.readout.kernel[...])


def test_averaged_weights_are_what_a_model_is_made_of(tmp_path, text, unreported):
    trained = run(small(text, train__average=0.9, train__epochs=1), tmp_path, "averaged")
    member, kernel = trained.member(), trained.model().readout.kernel[...]
    np.testing.assert_array_equal(kernel, member.average["readout"]["kernel"])
    assert not np.array_equal(kernel, member.params["readout"]["kernel"])


def test_report_can_be_written_again(copy):
    shutil.rmtree(copy / "figures")
    (copy / "report.html").unlink()
    (copy / "sample.txt").unlink()
    page = open_run(copy).report()
    assert page == copy / "report.html" and page.is_file()
    assert (copy / "figures" / "loss.png").is_file()
    assert "copy" in repr(open_run(copy)) and "finished" in repr(open_run(copy))


def test_runs_without_a_name_are_numbered(tmp_path, text, unreported):
    experiment = dataclasses.replace(small(text, train__steps=2), name="study/small")
    assert [run(experiment, tmp_path).path.name for _ in range(2)] == ["study-small-1", "study-small-2"]


def test_two_runs_of_one_experiment_are_the_same_in_every_bit(tmp_path, text, finished, unreported):
    again = run(small(text), tmp_path, "again")
    same_bits(again.member(), finished.member())
    assert without_times(again.metrics()) == without_times(finished.metrics())
    other = run(small(text, seed=1), tmp_path, "other")
    assert other.summary()["parameters_sha256"] != again.summary()["parameters_sha256"]


def test_recording_at_the_end_changes_no_bit_of_the_training(tmp_path, text, finished):
    """Probes are programs of their own."""
    other = run(small(text, record__fields=["0.h"], record__units=2, record__steps=9), tmp_path, "recorded")
    same_bits(other.member(), finished.member())
    assert other.summary()["parameters_sha256"] == finished.summary()["parameters_sha256"]


def test_names_of_the_package_are_what_they_are_whatever_was_imported_before():
    code = """
import importlib, types
import rnnjax as rx
for name in ("cells", "config", "unroll", "generate", "run", "layers"):
    importlib.import_module(f"rnnjax.{name}")
print([name for name in ("unroll", "generate", "run") if isinstance(getattr(rx, name), types.ModuleType)])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]", "a module hides the function of its name"


# -- stopping and going on


STORIES = {
    # dropout between layers would need two of them; the recurrent mask is drawn by the same keys
    "stream": dict(
        task__order="stream",
        model__cell="lstm",
        model__units=3,
        model__recurrent_dropout=0.3,
        model__input_dropout=0.2,
        train__carry_state=True,
        train__schedule="cosine",
        train__warmup_steps=3,
        train__clip_norm=0.5,
        train__average=0.9,
        train__log_every=4,
        train__checkpoint_every=5,
    ),
    "shuffled": dict(
        model__cell="gru",
        model__units=3,
        model__layers=2,
        model__dropout=0.3,
        model__zoneout=0.1,
        train__carry_state=True,
        train__optimizer="rmsprop",
        train__momentum=0.5,
        train__schedule="exponential",
        train__average=0.8,
        train__log_every=3,
        train__checkpoint_every="1epoch",
    ),
}
STOPS = sorted(
    [("stream", step) for step in random.Random(7).sample(range(1, 22), 5)]
    + [("shuffled", step) for step in random.Random(8).sample(range(1, 22), 5)]
)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory, text):
    """Runs that nothing stopped, by story, made when first asked for."""
    made = {}

    def get(story):
        if story not in made:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(STORY.Run, "report", lambda self, **_: self.path)
                made[story] = run(small(text, **STORIES[story]), tmp_path_factory.mktemp(story), "whole")
        return made[story]

    return get


def test_the_stops_are_in_mid_epoch_and_between_lines():
    assert len(STOPS) == 10
    assert any(step % 11 and step % 4 and step % 5 for story, step in STOPS if story == "stream")
    assert any(step % 11 and (step % 11) % 3 for story, step in STOPS if story == "shuffled")


@pytest.mark.parametrize(
    ("story", "step"), [pytest.param(*stop, marks=() if stop in STOPS[-2:] else pytest.mark.slow) for stop in STOPS]
)
def test_a_stopped_run_ends_where_an_uninterrupted_one_ends(story, step, tmp_path, text, uninterrupted, unreported):
    whole = uninterrupted(story)
    with pytest.MonkeyPatch.context() as patch:
        signal_at(patch, step)
        with pytest.raises(STORY.Interrupted, match=f"SIGINT, saved at step {step}; .*rnnjax resume") as stop:
            run(small(text, **STORIES[story]), tmp_path, "stopped")
    assert stop.value.exit_code == 130
    stopped = open_run(tmp_path / "stopped")
    assert stopped.folder.checkpoints()[-1] == step
    assert stopped.summary()["status"] == f"interrupted at step {step}"
    went_on = resume(tmp_path / "stopped")
    same_bits(went_on.member(), whole.member())
    assert went_on.summary()["parameters_sha256"] == whole.summary()["parameters_sha256"]
    assert without_times(went_on.metrics()) == without_times(whole.metrics())
    for key in ("status", "steps", "epochs", "metrics", "best", "references", "parameters"):
        assert went_on.summary()[key] == whole.summary()[key], key
    assert went_on.folder.best_step() == whole.folder.best_step()


@pytest.mark.slow
def test_a_run_may_be_stopped_many_times(tmp_path, text, uninterrupted, unreported):
    whole = uninterrupted("stream")
    with pytest.MonkeyPatch.context() as patch:
        signal_at(patch, 2)
        with pytest.raises(STORY.Interrupted):
            run(small(text, **STORIES["stream"]), tmp_path, "stopped")
    for step in (3, 13, 14):
        with pytest.MonkeyPatch.context() as patch:
            signal_at(patch, step, signal.SIGTERM)
            with pytest.raises(STORY.Interrupted, match="SIGTERM") as stop:
                resume(tmp_path / "stopped")
        assert stop.value.exit_code == 143
    went_on = resume(tmp_path / "stopped")
    same_bits(went_on.member(), whole.member())
    assert without_times(went_on.metrics()) == without_times(whole.metrics())
    seconds = [row["seconds"] for row in went_on.metrics()]
    assert seconds == sorted(seconds)


@pytest.mark.slow
def test_data_on_the_host_stops_and_goes_on_as_data_on_the_device(tmp_path, text, uninterrupted, unreported):
    """Bit for bit among themselves; another program than that for data on the device, so close to it."""
    on_host = small(text, **STORIES["stream"], train__residence="host")
    whole = run(on_host, tmp_path, "whole")
    with pytest.MonkeyPatch.context() as patch:
        signal_at(patch, 8)
        with pytest.raises(STORY.Interrupted):
            run(on_host, tmp_path, "stopped")
    went_on = resume(tmp_path / "stopped")
    assert without_times(went_on.metrics()) == without_times(whole.metrics())
    same_bits(went_on.member(), whole.member())
    losses = [[row["loss"] for row in each.metrics()] for each in (whole, uninterrupted("stream"))]
    np.testing.assert_allclose(*losses, rtol=1e-5)


def test_a_signal_in_the_last_chunk_leaves_a_finished_run(tmp_path, text, unreported):
    with pytest.MonkeyPatch.context() as patch:
        signal_at(patch, 22)
        try:
            run(small(text), tmp_path, "last")
        except STORY.Interrupted as stop:
            assert "rnnjax resume" not in str(stop), "there is nothing to go on with"
    assert open_run(tmp_path / "last").summary()["status"] == "finished"


def test_signals_are_handled_as_before_once_training_has_ended():
    both = (signal.SIGINT, signal.SIGTERM)
    before = [signal.getsignal(number) for number in both]
    with listening():
        assert all(signal.getsignal(number) not in before for number in both)
    assert [signal.getsignal(number) for number in both] == before


def test_patience_ends_a_run_early(tmp_path, text, unreported):
    stuck = run(small(text, train__learning_rate=0, train__epochs=9, train__patience=2), tmp_path, "stuck")
    assert stuck.summary()["status"].startswith("finished early at step 33")
    assert stuck.summary()["best"]["step"] == 11
    assert stuck.folder.checkpoints()[-1] == 33
    with pytest.raises(InputError, match="stopped for want"):
        resume(stuck.path)


def test_a_finished_run_says_how_to_train_longer(copy):
    before = tree_of(copy)
    with pytest.raises(InputError, match="has done 22 steps already") as refused:
        resume(copy)
    assert "--train.steps 44" in refused.value.fix
    assert tree_of(copy) == before


@pytest.mark.parametrize("overrides", [{"train.steps": 30}, {"train.epochs": 3}, {"train.steps": "30"}])
def test_a_finished_run_trains_longer(overrides, copy, unreported):
    longer = resume(copy, overrides)
    steps = longer.experiment.built.trainer.total
    assert steps in (30, 33) and longer.summary()["steps"] == steps
    assert config.load(copy / "config.yaml", Experiment) == longer.experiment
    assert [row["step"] for row in longer.metrics()] == list(range(1, steps + 1))
    with pytest.raises(InputError, match=f"has done {steps} steps already"):
        resume(copy)


@pytest.mark.slow
def test_a_run_trained_longer_is_the_run_that_was_long_from_the_start(tmp_path, text, unreported):
    """The old end is a whole epoch; with a constant rate nothing else says where the end is."""
    changes = dict(train__log_every=4, train__evaluate_every="1epoch")
    long = run(small(text, train__epochs=3, **changes), tmp_path, "long")
    run(small(text, train__epochs=2, **changes), tmp_path, "short")
    longer = resume(tmp_path / "short", {"train.epochs": 3})
    same_bits(longer.member(), long.member())
    assert without_times(longer.metrics()) == without_times(long.metrics())


def test_a_longer_training_in_mid_epoch_counts_no_symbol_twice(tmp_path, text, unreported):
    run(small(text, train__steps=6, train__log_every=4), tmp_path, "short")
    longer = resume(tmp_path / "short", {"train.steps": 11})
    assert sum(row["answers"] for row in longer.metrics()) == 11 * 8 * 20


def test_a_schedule_that_ends_with_the_training_is_stretched_with_it(tmp_path, text, unreported):
    run(small(text, train__schedule="linear"), tmp_path, "short")
    try:
        longer = resume(tmp_path / "short", {"train.epochs": 4})
    except InputError as refused:
        assert "schedule" in str(refused)
    else:
        assert longer.metrics()[30]["learning_rate"] > 0, "trained on with a rate of zero"


@pytest.mark.parametrize("key", ["train.batch", "train.learning_rate", "model.units", "seed", "train.epoch", "steps"])
def test_nothing_else_changes_in_mid_run(key, copy):
    before = tree_of(copy)
    with pytest.raises(InputError, match=key):
        resume(copy, {key: 3})
    assert tree_of(copy) == before


def test_a_run_that_is_being_written_is_refused(copy):
    before = {name: data for name, data in tree_of(copy).items() if name != ".lock"}
    with RunFolder.open(copy).lock(), pytest.raises(InputError, match="is being written") as refused:
        resume(copy, {"train.steps": 40})
    assert str(os.getpid()) in refused.value.where
    assert {name: data for name, data in tree_of(copy).items() if name != ".lock"} == before


def test_a_failing_resume_changes_nothing(copy):
    before = {name: data for name, data in tree_of(copy).items() if name != ".lock"}
    with pytest.raises(InputError):
        resume(copy, {"train.steps": "many"})
    with pytest.raises(InputError):
        resume(copy, {"train.steps": 5})
    assert {name: data for name, data in tree_of(copy).items() if name != ".lock"} == before


def test_a_text_that_has_changed_is_noticed(tmp_path, unreported):
    """Parameters would fit, for the symbols are the same: the bits that come out would be another run's."""
    text = write_text(tmp_path / "text.txt")
    with pytest.MonkeyPatch.context() as patch:
        signal_at(patch, 5)
        with pytest.raises(STORY.Interrupted):
            run(small(text), tmp_path / "runs", "stopped")
    text.write_text(text.read_text()[::-1])
    with pytest.raises(InputError, match=r"text\.txt|changed|checksum"):
        resume(tmp_path / "runs" / "stopped")


def test_a_run_goes_on_from_another_folder(tmp_path, monkeypatch, unreported):
    monkeypatch.chdir(tmp_path)
    write_text(tmp_path / "text.txt")
    with pytest.MonkeyPatch.context() as patch:
        signal_at(patch, 5)
        with pytest.raises(STORY.Interrupted):
            run(small(Path("text.txt")), "runs", "stopped")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert resume("../runs/stopped").summary()["status"] == "finished"


def test_the_plan_that_a_run_began_with_is_kept(tmp_path, text, monkeypatch, unreported):
    with pytest.MonkeyPatch.context() as patch:
        signal_at(patch, 3)
        with pytest.raises(STORY.Interrupted):
            run(small(text, train__epochs=1), tmp_path, "stopped")
    asked = []
    train = STORY._train

    def spied(run, built, *rest):
        asked.append(built.experiment.model.executor)
        return train(run, built, *rest)

    monkeypatch.setattr(STORY, "_train", spied)
    resume(tmp_path / "stopped")
    assert asked == ["fused"]


# -- what goes wrong on the way


def test_training_that_is_not_finite_stops_and_keeps_the_last_good_checkpoint(tmp_path, text):
    # sgd with such a rate: weights of 1e30, whose products overflow
    wild = small(text, train__optimizer="sgd", train__learning_rate=1e35, train__checkpoint_every=1)
    with pytest.raises(STORY.NonFinite, match=r"not finite at step \d+; the checkpoint of step \d+ is kept") as stop:
        run(wild, tmp_path, "wild")
    assert stop.value.exit_code == 3
    wreck = open_run(tmp_path / "wild")
    assert wreck.summary()["status"].startswith("not finite at step")
    good = wreck.member()
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(good.params))
    assert int(good.step) == wreck.folder.checkpoints()[-1]
    assert int(wreck.summary()["status"].split()[-1]) == int(good.step) + 1
    assert (wreck.path / "report.html").is_file()
    with pytest.raises(STORY.NonFinite):
        resume(wreck.path)


@pytest.mark.parametrize(
    "changes",
    [
        {"record__fields": ["0.q"]},
        {"record__fields": ["1.h"]},
        {"record__fields": ["h"]},
        {"sample__prompts": ["ROMÉO"]},
        {"sample__prompts": [""]},
        {"train__checkpoint_every": "often"},
        {"train__evaluate_every": "0epoch"},
    ],
)
def test_what_the_end_needs_is_checked_at_the_start(changes, tmp_path, text):
    with pytest.raises(InputError):
        run(small(text, **changes), tmp_path / "runs", "refused")
    assert not (tmp_path / "runs").exists()


# -- other tasks


def number_task():
    draw = np.random.default_rng(0)
    inputs = [draw.normal(size=(n, 2)).astype(np.float32) for n in draw.integers(3, 7, 40)]
    return arrays(inputs, np.asarray([int(rows.sum() > 0) for rows in inputs]), labels=["low", "high"], split=0.2)


ARRAYS = {key: value for key, value in SMALL.items() if key.partition(".")[0] not in ("task", "sample")}


def test_arrays_are_stored_with_the_run_and_read_on_resume(tmp_path, unreported):
    experiment = dataclasses.replace(config.override(Experiment(), ARRAYS), task=number_task())
    whole = run(experiment, tmp_path, "whole")
    assert not (whole.path / "sample.txt").exists()
    stored = np.load(whole.path / "data.npz")
    assert stored["inputs"].shape == (40, 6, 2) and list(stored["labels"]) == ["low", "high"]
    with pytest.MonkeyPatch.context() as patch:
        signal_at(patch, 5)
        with pytest.raises(STORY.Interrupted):
            run(experiment, tmp_path, "stopped")
    moved = (tmp_path / "stopped").rename(tmp_path / "moved")
    went_on = resume(moved)
    assert went_on.experiment.built.task.labels == ("low", "high")
    same_bits(went_on.member(), whole.member())
    assert without_times(went_on.metrics()) == without_times(whole.metrics())
    with pytest.raises(InputError, match="not about text"):
        went_on.sample(["a"])
    assert config.load(moved / "config.yaml", Experiment).task.path == "data.npz"


@pytest.mark.slow
def test_a_run_of_arrays_has_a_report_and_is_an_experiment_again(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    experiment = dataclasses.replace(config.override(Experiment(), {**ARRAYS, "train.epochs": 1}), task=number_task())
    done = run(experiment, tmp_path / "runs", "arrays")
    assert (done.path / "report.html").is_file()
    assert "accuracy" in done.summary()["metrics"]
    again = run(load("runs/arrays"), tmp_path / "runs", "again")
    same_bits(again.member(), done.member())


class Echo(Drawn):
    """The last bit that was shown."""

    inputs, outputs, read, labels = 1, 2, "last", ("0", "1")

    def batch(self, key, size):
        bits = jax.random.bernoulli(key, 0.5, (size, 5)).astype(jnp.int32)
        return Batch(bits[..., None].astype(jnp.float32), bits[:, -1])


def test_a_task_of_ones_own_is_asked_for_by_a_stored_run(tmp_path, unreported):
    experiment = dataclasses.replace(
        config.override(Experiment(), ARRAYS), task=Echo(epoch_steps=6, validation_steps=2)
    )
    whole = run(experiment, tmp_path, "whole")
    with pytest.MonkeyPatch.context() as patch:
        signal_at(patch, 7)
        with pytest.raises(STORY.Interrupted):
            run(experiment, tmp_path, "stopped")
    with pytest.raises(InputError, match=r"your class test_run\.Echo") as refused:
        resume(tmp_path / "stopped")
    assert "task=" in refused.value.fix
    went_on = resume(tmp_path / "stopped", task=Echo(epoch_steps=6, validation_steps=2))
    same_bits(went_on.member(), whole.member())
    assert open_run(tmp_path / "whole").summary()["steps"] == 12
    opened = open_run(tmp_path / "whole", Echo())
    assert opened.record(["0.h"], steps=1)["0.h"].shape == (5, 4)


# -- real processes


RNNJAX = [sys.executable, "-m", "rnnjax"]


def start(folder: Path, name: str, cache: Path, **changes) -> subprocess.Popen:
    """A run in a process of its own, long enough to be stopped."""
    options = [f"--{key.replace('__', '.')}={value}" for key, value in changes.items()]
    (folder / "small.yaml").write_text(config.dump(small(folder / "text.txt")))
    command = [*RNNJAX, "run", "small.yaml", "--name", name, "--quiet", *options]
    return subprocess.Popen(
        command, cwd=folder, env={**os.environ, "XDG_CACHE_HOME": str(cache)}, stderr=subprocess.PIPE
    )


def wait_for_checkpoint(path: Path, process: subprocess.Popen, least: int, seconds: float = 120) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until and process.poll() is None:
        steps = [int(p.name) for p in (path / "checkpoints").glob("*") if p.name.isdecimal()]
        if max(steps, default=0) >= least:
            return
        time.sleep(0.01)
    raise AssertionError(f"no checkpoint: {process.communicate(timeout=5)[1].decode()}")


LONG = dict(train__steps=3000, train__checkpoint_every=20, train__log_every=5, model__recurrent_dropout=0.2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("processes")
    write_text(folder / "text.txt")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_a_process_that_is_stopped_or_killed_goes_on_to_the_same_bits(number, code, folder, tmp_path_factory):
    cache, name = tmp_path_factory.getbasetemp() / "cache", f"stopped-{code}"
    process = start(folder, name, cache, **LONG)
    wait_for_checkpoint(folder / "runs" / name, process, 40)
    process.send_signal(number)
    message = process.communicate(timeout=120)[1].decode()
    assert process.returncode == code
    assert "Traceback" not in message
    stopped = open_run(folder / "runs" / name)
    step = stopped.folder.checkpoints()[-1]
    assert step < 3000
    if code > 0:
        assert f"saved at step {step}" in message and "rnnjax resume" in message
        assert stopped.summary()["status"] == f"interrupted at step {step}"
    experiment = small(folder / "text.txt", **LONG)
    whole = folder / "whole" / "whole"
    if not whole.exists():
        run(experiment, whole.parent, whole.name)
    went_on = resume(folder / "runs" / name)
    same_bits(went_on.member(), member_of(whole, experiment))
    assert without_times(went_on.metrics()) == without_times(open_run(whole).metrics())
    assert went_on.summary()["parameters_sha256"] == open_run(whole).summary()["parameters_sha256"]


def test_the_public_names_are_the_functions_of_these_modules():
    assert rx.Run is STORY.Run and rx.resume is resume and rx.run is run
    assert rx.load is load and rx.Experiment is Experiment
    assert import_module("rnnjax.run").open_run is open_run
