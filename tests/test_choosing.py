"""How a training uses the machine: which ways are tried, what is remembered, and that all of them compute the same."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import jax
import numpy as np
import pytest
from small_runs import STORY, small, write_text

import rnnjax as rx
from rnnjax import choosing
from rnnjax.choosing import alone, cannot, choose, losers, programs_of
from rnnjax.cli import main
from rnnjax.population import Alone

SHARED = """
import jax, numpy as np, sys
from pathlib import Path
from rnnjax.population import Alone, Programs, use_cores
use_cores(2)
sys.path.insert(0, sys.argv[2])
from small_runs import small
from rnnjax.choosing import alone
changes = {"train__batch": 8, "train__accumulate": 2, "train__weight_l2": 1e-3, "train__activity_l1": 1e-3}
changes |= {"train__carry_state": True, "task__order": "stream"}
for more in ({}, {"train__accumulate": 1, "train__forget": 0.3}):
    built = small(Path(sys.argv[1]), model__units=20, **{**changes, **more}).built
    assert Alone(2, small=True) in alone(built), alone(built)
    ends = []
    for layout in (Alone(), Alone(2)):
        programs = Programs(built.trainer, layout)
        member = programs.first([3])
        for step in range(12):
            member = programs.chunk(member, programs.data["train"], np.int32(step), np.int32(1), np.bool_(step == 0))
        ends.append(jax.device_get((member, programs.evaluate(member, programs.data["validation"]))))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-6), *ends)
"""


@pytest.fixture
def text(tmp_path) -> Path:
    return write_text(tmp_path / "text.txt")


@pytest.fixture
def hasty(monkeypatch, tmp_path):
    """Nothing is remembered from elsewhere, and timing takes no time."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(choosing, "TIMED_SECONDS", 0.001)
    monkeypatch.setattr(choosing, "SHORT_SECONDS", 0.0)


def one_way(monkeypatch, layout: Alone) -> None:
    monkeypatch.setattr(STORY, "choose", lambda *a, **k: choosing.Choice(layout, ("by a test",)))


def test_rules_come_first(text):
    assert alone(small(text).built)[:2] == [Alone(small=True), Alone(small=True, unroll=20)]
    assert alone(small(text, model__units=64).built)[0] == Alone()
    assert alone(small(text, model__units=2000).built) == [Alone()]
    assert choose(small(text).built, measuring=False).layout == Alone(small=True)


def test_rows_are_shared_where_nothing_is_drawn_by_row(text, monkeypatch):
    monkeypatch.setattr(jax, "device_count", lambda: 4)
    ways = alone(small(text, model__units=64).built)
    assert Alone(2) in ways and Alone(4) in ways
    for changes in ({"model__dropout": 0.1}, {"train__batch": 7}, {"model__zoneout": 0.1}):
        assert {layout.devices for layout in alone(small(text, model__units=64, **changes).built)} == {1}


def test_an_executor_that_cannot_run_says_why(text):
    assert "not affine" in cannot(small(text).built.plans())["associative"]
    assert "not affine" in cannot(small(text, model__executor="scan").built.plans())["associative"]
    linear = small(text, model__cell="min_gru").built
    assert "associative" not in cannot(linear.plans())
    assert Alone(small=True, executor="fused") in alone(linear)  # the rules choose associative
    assert [way.executor for way in losers(small(text).built, Alone())] == ["scan"]
    fixed = small(text, model__executor="scan").built
    assert not any(way.executor for way in alone(fixed)) and not losers(fixed, Alone())


def test_what_was_measured_is_remembered(text, hasty):
    told: list[str] = []
    found = choose(small(text).built, measuring=True, tell=told.append)
    assert len(told) == 1 and len(found.why) == 2 and found.layout in alone(small(text).built)
    again = choose(small(text, train__learning_rate=0.1, train__epochs=7).built, measuring=False)
    assert again.layout == found.layout and again.why == tuple(f"{line} (remembered)" for line in found.why)
    assert choose(small(text, model__units=5).built, measuring=False).why == ("by rule: nothing was measured",)


def test_a_short_training_is_not_worth_measuring(text, hasty, monkeypatch):
    monkeypatch.setattr(choosing, "SHORT_SECONDS", 1e9)
    found = choose(small(text).built, measuring=True)
    assert found.layout == Alone(small=True) and "is short" in found.why[0]


def test_all_ways_compute_the_same(text):
    built = small(text, model__cell="min_gru", train__carry_state=True, task__order="stream").built
    ends = []
    for layout in (*alone(built), *losers(built, alone(built)[0])):
        programs = programs_of(built, layout)
        start, count, clear = np.int32(0), np.int32(5), np.bool_(True)
        ends.append(jax.device_get(programs.chunk(programs.first([3]), programs.data["train"], start, count, clear)))
    assert len(ends) == 4
    for end in ends[1:]:
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), ends[0], end)


def test_devices_that_share_rows_train_as_one_does(text):
    command = [sys.executable, "-c", SHARED, str(text), str(Path(__file__).parent)]
    plain = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    done = subprocess.run(command, capture_output=True, text=True, env=plain, check=False)
    assert done.returncode == 0, done.stderr


def test_a_run_goes_on_in_the_way_it_began(text, monkeypatch):
    one_way(monkeypatch, Alone(small=True, unroll=5))
    whole = rx.run(small(text, train__epochs=3), text.parent, "whole")
    rx.run(small(text, train__epochs=2), text.parent, "half")
    stored = whole.folder.environment()
    assert stored["layout"] == asdict(Alone(small=True, unroll=5)) and stored["why"] == ["by a test"]
    one_way(monkeypatch, Alone())  # which a run that goes on does not ask for
    gone_on = rx.resume(text.parent / "half", {"train.epochs": 3})
    assert gone_on.summary()["parameters_sha256"] == whole.summary()["parameters_sha256"]


def test_the_plan_is_shown_and_is_the_one_of_a_run(text, hasty, capsys):
    words = ["letter_words", "--task.held-out", "300"]
    assert main(["show", *words, "--plan"]) == 0
    shown = " ".join(capsys.readouterr().out.split())  # lines are broken where a terminal ends
    assert "chosen: on one device" in shown and "executor scan: " in shown and "not affine" in shown
    found = choose(rx.load("letter_words", {"task.held_out": 300}).built, measuring=False)
    assert f"chosen: {choosing.described(found.layout)} " in shown
    assert all(f"{line.removesuffix(' (remembered)')} " in shown for line in found.why)
