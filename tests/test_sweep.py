"""Sweeps: what shares a program, members against members alone, and what a stop, a NaN or a full memory leaves."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_runs import small, write_text

import rnnjax as rx
from rnnjax import choosing, config
from rnnjax.cli import main
from rnnjax.config import InputError
from rnnjax.population import Layout, Programs
from rnnjax.run.comparing import compared
from rnnjax.run.sweeping import go_on
from rnnjax.sweep import pages, story, training
from rnnjax.sweep import plan as planning
from rnnjax.sweep.pages import write_pages
from rnnjax.sweep.plan import Plan, batches_of, groups, is_number, plan_programs
from rnnjax.sweep.rungs import exploit, rungs, survivors
from rnnjax.sweep.settings import SweepConfig
from rnnjax.sweep.spaces import Space
from rnnjax.sweep.story import open_sweep, prepare
from rnnjax.sweep.table import Curves
from rnnjax.sweep.training import narrowed

pytestmark = pytest.mark.usefixtures("programs")

slow_bits = pytest.mark.slow
"""Of tests that compare the bits of different programs, which need not agree where they are compiled in haste."""

RATES = [0.001, 0.003, 0.01, 0.03, 0.1, 0.3]


@pytest.fixture
def text(tmp_path) -> Path:
    return write_text(tmp_path / "text.txt")


def experiment(text: Path, **changes: Any) -> rx.Experiment:
    return small(text, **{"train__steps": 24, "train__checkpoint_every": 8, "train__evaluate_every": 8, **changes})


def sweep(text: Path, axes: dict[str, Any] | None = None, base: dict[str, Any] | None = None, **settings: Any) -> Any:
    axes = {"train.learning_rate": RATES} if axes is None else axes
    return rx.sweep(experiment(text, **(base or {})), axes, text.parent, measure=False, **settings)


def assert_same(a: Any, b: Any) -> None:
    jax.tree.map(np.testing.assert_array_equal, a, b)


def untimed(found: Any) -> list[dict[str, Any]]:
    return [
        {key: value for key, value in row.items() if key not in ("seconds", "batch")} for row in found.table().rows()
    ]


def with_layout(monkeypatch, layout: Layout) -> None:
    monkeypatch.setattr(planning, "candidates", lambda built, members: [layout])


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    """Members one after the other, and no page, unless a test wants it otherwise."""
    with_layout(monkeypatch, Layout(1))
    monkeypatch.setattr(pages, "write_pages", lambda *arguments: None)


# What shares a program


@pytest.mark.parametrize(
    ("key", "shares"),
    [
        ("seed", True),
        ("train.learning_rate", True),
        ("train.clip_norm", True),
        ("train.final_scale", True),
        ("train.activity_l1", True),
        ("model.dropout", True),
        ("model.zoneout", True),
        ("model.options.leak", True),
        ("model.initial_scales.recurrent_kernel", True),
        ("model.options.projection", False),
        ("model.units", False),
        ("model.cell", False),
        ("train.batch", False),
        ("train.optimizer", False),
        ("train.rate_scales", False),
        ("task.seed", False),
    ],
)
def test_which_keys_share_a_program(key, shares):
    assert is_number(key) == shares


def test_a_program_for_each_shape(text):
    axes = [
        "model.units=2,3",
        "model.cell=elman,gru",
        "train.learning_rate=0.001..0.1:log:3",
        "train.clip_norm=none,1",
    ]
    choices = Space.parse(axes).check(experiment(text)).crossings()
    found = groups(experiment(text), choices)
    assert len(choices) == 24 and len(found) == 2 * 2 * 2  # a clip is there or not, which is structure
    assert sorted(member for group in found for member in group.members) == list(range(24))
    planned = plan_programs(found, measuring=False)
    programs = tuple(program for program, _ in planned)
    batches = batches_of(planned, first=0, start=0, until=None)
    assert len({batch.program for batch in batches}) == 8
    assert {batch.until for batch in batches} == {24}
    plan = Plan(programs, batches)
    assert Plan.from_dict(json.loads(json.dumps(plan.to_dict()))) == plan
    assert plan.member_steps == 24 * 24


def test_batches_are_as_equal_as_can_be(text):
    found = groups(experiment(text), [{"seed": seed} for seed in range(10)])
    batches = batches_of(plan_programs(found, width=4, measuring=False), first=5, start=0, until=None)
    assert [len(batch.members) for batch in batches] == [4, 3, 3]
    assert [batch.index for batch in batches] == [5, 6, 7]
    assert len(batches_of(plan_programs(found, parts=5, measuring=False), first=0, start=0, until=None)) == 5


def test_programs_compiled_are_those_planned(text, monkeypatch):
    made: list[Programs] = []
    monkeypatch.setattr(story, "programs_of", lambda *a: made.append(programs := story_programs(*a)) or programs)
    found = sweep(text, {"model.units": [2, 3], "seed": [0, 1, 2, 3, 4]}, width=2)
    assert len(made) == len(found.plan.programs) == 2
    assert [programs.compiled for programs in made] == [1, 1]
    assert len(found.plan.batches) == 6


story_programs = story.programs_of


def test_what_is_measured_is_remembered(text, monkeypatch, tmp_path):
    monkeypatch.setattr(planning, "candidates", lambda built, members: [Layout(1), Layout(3)])
    monkeypatch.setattr(choosing, "TIMED_SECONDS", 0.01)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    found = groups(experiment(text), [{"train.learning_rate": rate} for rate in RATES])
    told: list[str] = []
    ((program, _),) = plan_programs(found, tell=told.append)
    assert told and program.step_seconds and program.compile_seconds and program.evaluation_seconds
    assert len(program.why) == 2 and program.layout in (Layout(1), Layout(3))
    other = groups(experiment(text), [{"train.learning_rate": rate / 2} for rate in RATES])
    ((again, _),) = plan_programs(other, tell=lambda line: pytest.fail("measured again"))
    assert again.layout == program.layout and again.why[-1].endswith(" (remembered)")


@pytest.mark.slow
def test_widths_share_a_program_where_that_takes_less_time(text, monkeypatch):
    def timed(group: Any, layouts: Any, wanted: int) -> dict[str, Any]:
        pace = slowness * group.experiment.model.units**2
        known = {"layout": Layout(1), "why": [], "evaluation_seconds": 0.0, "compile_seconds": 5.0}
        known |= {"bytes": 1000, "shared_bytes": 1000}
        return {**known, "step_seconds": pace}

    slowness = 1e-6
    monkeypatch.setattr(planning, "_measured", timed)
    axes = {"model.units": [2, 5], "model.cell": ["elman", "gru"], "seed": [0, 1]}
    found = rx.sweep(experiment(text), axes, text.parent)
    assert [program.padded for program in found.plan.programs] == [True, True]
    assert [program.members for program in found.plan.programs] == [4, 4]
    apart = sweep(text, axes)
    assert len(apart.plan.programs) == 4
    for member in range(8):
        assert found.choices[member] == apart.choices[member]
        mine, other = found.own_state(member), apart.own_state(member)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-5), mine.params, other.params)
    assert rx.open(f"{found.path}:0").summary()["parameters"] == rx.open(f"{apart.path}:0").summary()["parameters"]
    slowness = 1.0
    monkeypatch.setenv("XDG_CACHE_HOME", str(text.parent / "other"))
    found = groups(experiment(text), [{"model.units": units} for units in (2, 5)])
    assert [program.padded for program, _ in plan_programs(found)] == [False, False]


def test_memory_is_foretold_from_two_widths(text, monkeypatch):
    monkeypatch.setattr(choosing, "TIMED_SECONDS", 0.01)
    monkeypatch.setenv("XDG_CACHE_HOME", str(text.parent / "other"))
    found = groups(experiment(text, model__units=32), [{"seed": seed} for seed in range(40)])
    for layout in (Layout(1), Layout(4)):
        with_layout(monkeypatch, layout)
        ((program, _),) = plan_programs(found)
        programs = story_programs(found[0].built, layout)
        foretold = program.bytes * 40 + program.shared_bytes
        held_out = programs.data["validation"].nbytes  # which the training program does not see
        assert abs(foretold - held_out - programs.bytes(40)) < 0.25 * programs.bytes(40)


# Members


@slow_bits
def test_members_one_after_the_other_are_the_members_alone(text):
    axes = {"seed": [3, 4], "train.learning_rate": [0.01, 0.05], "model.zoneout": [0.1, 0.4]}
    found = sweep(text, axes)
    assert found.plan.programs[0].layout.block == 1
    for member, choices in enumerate(found.choices):
        alone = rx.run(experiment(text).override(choices), text.parent / "alone")
        state = jax.tree.map(lambda values: values[0], found.state_of([member]))
        assert_same(jax.tree.leaves(state.params), jax.tree.leaves(jax.device_get(alone.member().params)))
        row = found.table().member(member)
        assert row["validation_loss"] == alone.metrics()[-1]["validation_loss"]
        assert row["steps"] == 24 and row["status"] == "finished"


def test_members_side_by_side_do_not_depend_on_their_neighbours(text, monkeypatch):
    with_layout(monkeypatch, Layout(4))
    found = sweep(text, {"train.learning_rate": [*RATES, 0.02, 0.2]})
    others = sweep(text, {"train.learning_rate": [0.5, 0.02, 0.0007, 0.3]})
    same = {0.02: (6, 1), 0.3: (5, 3)}
    for here, there in same.values():
        assert_same(found.state_of([here]).params, others.state_of([there]).params)


@pytest.mark.slow
def test_across_blocks_in_float64(text, monkeypatch, x64):
    """Rounding alone differs: a hundred steps on, at usual rates, ten digits are the same."""
    losses = []
    for layout in (Layout(1), Layout(4), Layout(8)):
        with_layout(monkeypatch, layout)
        base = {"model__dtype": "float64", "train__steps": 100, "train__evaluate_every": 100}
        found = sweep(text, {"train.learning_rate": [*RATES[:4], 0.02, 0.005, 0.007, 0.05]}, base)
        losses.append(found.state_of(range(8)).params)
    for other in losses[1:]:
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-7, atol=1e-9), losses[0], other)


def test_a_member_that_diverges_leaves_the_others_alone(text, monkeypatch):
    with_layout(monkeypatch, Layout(6))
    monkeypatch.setattr(pages, "write_pages", write_pages)
    healthy = sweep(text)
    hurt = {1, 4}
    begin = training.Training._beginning

    def broken(self):
        full = begin(self)
        for leaf in jax.tree.leaves(full.params):
            leaf[sorted(hurt)] = np.nan
        return full

    monkeypatch.setattr(training.Training, "_beginning", broken)
    found = sweep(text)
    assert [row["status"] == "diverged" for row in found.table().rows()] == [member in hurt for member in range(6)]
    whole = [member for member in range(6) if member not in hurt]
    assert_same(found.state_of(whole).params, healthy.state_of(whole).params)
    assert all(row["member"] not in hurt for row in found.table().best(n=6))
    assert "2 members had a loss or gradient that is not finite" in (found.path / "report.html").read_text()


@pytest.mark.parametrize(("moving", "narrower"), [([0.01], True), ([0.01, 0.02], False)])
def test_patience_stops_members_and_narrows_the_population(text, monkeypatch, moving, narrower):
    widths: list[int] = []
    advance = training.fit

    def counted(programs, member, rhythm, *, start=0):
        widths.append(int(member.step.size))
        return advance(programs, member, rhythm, start=start)

    monkeypatch.setattr(training, "fit", counted)
    base = {"train__patience": 1, "train__steps": 80, "train__evaluate_every": 8}
    found = sweep(text, {"train.learning_rate": [0.0, *moving], "seed": [0, 1, 2]}, base)
    rows = found.table().rows()
    still = [row for row in rows if row["train.learning_rate"] == 0]
    assert len(still) == 3  # of six: half of the population; of nine, too few for a narrower one
    assert {row["status"] for row in still} == {"stopped"} and {row["steps"] for row in still} == {16}
    assert max(row["steps"] for row in rows) > 16
    assert (widths[0] > widths[-1]) == (narrower and jax.device_count() == 1)


def test_ladder():
    assert [narrowed(Layout(1), 64, members) for members in (64, 33, 32, 5, 1)] == [64, 64, 32, 8, 1]
    assert [narrowed(Layout(8, 2), 64, members) for members in (64, 32, 17, 9, 1)] == [64, 32, 32, 16, 2]


# Stops


@contextlib.contextmanager
def stopped_after(chunks: int, number: int = signal.SIGINT) -> Iterator[None]:
    """Sends this process a signal after so many chunks, each a single step."""
    fit, seen = training.fit, itertools.count(1)

    def interrupted(*arguments: Any, **options: Any) -> Iterator[Any]:
        for progress in fit(*arguments, **options):
            if next(seen) == chunks:
                os.kill(os.getpid(), number)
            yield progress

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "fit", interrupted)
        patch.setattr("rnnjax.population.CHUNK_SECONDS", 0.0)
        yield


def test_a_sweep_resumes_and_ends_with_the_same_table(text, monkeypatch):
    monkeypatch.setattr(training, "SAVE_SECONDS", 0.0)
    whole = sweep(text, width=2)
    before = untimed(whole)
    path = prepare(
        experiment(text), Space({"train.learning_rate": RATES}), SweepConfig(width=2, measure=False), text.parent, "cut"
    )
    trained: list[int] = []
    run = training.Training.run

    def noted(self, **options):
        trained.append(self.batch.index)
        return run(self, **options)

    monkeypatch.setattr(training.Training, "run", noted)
    for chunks in (3, 14, 16, 25, 2):
        with stopped_after(chunks), pytest.raises(rx.Interrupted, match="go on: rnnjax resume"):
            go_on(open_sweep(path))
        unfinished = {batch.index for batch in open_sweep(path).plan.batches} - open_sweep(path).done()
        assert unfinished
    found = go_on(open_sweep(path))
    assert untimed(found) == before
    assert all(trained.count(index) >= 1 for index in range(3)) and trained == sorted(trained)
    a, b = Curves(whole.path).of(), Curves(found.path).of()
    for name in a:
        if name != "seconds":
            np.testing.assert_array_equal(a[name], b[name])
    assert_same(whole.state_of(range(6)).params, found.state_of(range(6)).params)


@slow_bits
def test_memory_that_runs_out_halves_the_population(text, monkeypatch):
    whole = untimed(sweep(text))
    fit, widths = training.fit, []

    def short_of_memory(programs, member, rhythm, *, start=0):
        widths.append(int(member.step.size))
        if widths[-1] > 2:
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: out of memory")
        return fit(programs, member, rhythm, start=start)

    monkeypatch.setattr(training, "fit", short_of_memory)
    found = sweep(text)
    assert widths[0] > 2 and set(widths[-3:]) <= {1, 2}
    assert untimed(found) == whole


def test_two_shards_are_the_whole(text):
    whole = untimed(sweep(text, batches=2))
    half = sweep(text, shard=(1, 2), name="shared")
    assert half.done() == {1} and not half.is_done()
    both = sweep(text, shard=(0, 2), name="shared")
    assert both.is_done() and untimed(both) == whole
    with pytest.raises(InputError, match="is another sweep"):
        sweep(text, {"seed": [1, 2, 3]}, shard=(0, 2), name="shared")


# Members that end early, or change


def test_rungs():
    assert rungs(5000, 1024, 4, 500) == (500, 2000, 5000)
    assert rungs(1000, 64, 2, None) == (125, 250, 500, 1000)
    with pytest.raises(InputError, match="first rung at step 1,000 of 1,000"):
        rungs(1000, 64, 2, 1000)


def test_survivors():
    values = np.array([3.0, np.nan, 1.0, np.inf, 2.0, 5.0, 0.5, 4.0])
    assert survivors(list(range(10, 18)), values, 4) == [12, 16]
    assert survivors([7], np.array([np.nan]), 4) == []


def test_exploit():
    values = np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, np.nan, 0.8])
    numbers = {"train.learning_rate": np.ones(8)}
    taken = exploit(values, 0.25, numbers, 2.0, np.random.default_rng(0))
    assert [each.place for each in taken] == [5, 6, 7]
    assert all(each.source in (0,) for each in taken) or {each.source for each in taken} <= {0, 1}
    assert {each.factors["train.learning_rate"] for each in taken} <= {2.0, 0.5}
    assert taken == exploit(values, 0.25, numbers, 2.0, np.random.default_rng(0))


def test_halving_goes_on_with_the_best(text):
    rates = {"train.learning_rate": [0.0001, 0.0003, 0.001, 0.003, 0.01, 0.02, 0.03, 0.05]}
    whole = sweep(text, rates)
    found = sweep(text, rates, halving=2, first_rung=8)
    rows = {row["member"]: row for row in found.table().rows()}
    assert sorted(row["steps"] for row in rows.values()) == [8, 8, 8, 8, 16, 16, 24, 24]
    assert [stage.kind for stage in found.stages()] == ["start", "rung", "rung"]
    assert found.steps_to_do() == found.plan.member_steps == sum(row["steps"] for row in rows.values())
    ended = {member for member, row in rows.items() if row["status"] == "finished"}
    assert {row["status"] for member, row in rows.items() if member not in ended} == {"stopped"}
    assert_same(found.state_of(sorted(ended)).params, whole.state_of(sorted(ended)).params)
    first = Curves(whole.path).of()
    at_rung = first["step"] == 8
    order = first["member"][at_rung][np.argsort(first["validation_loss"][at_rung])]
    assert {member for member, row in rows.items() if row["steps"] > 8} == set(order[:4].tolist())


def test_population_based_training_takes_over_the_best(text):
    found = sweep(text, {"train.learning_rate": RATES}, exploit_every=8, exploit_share=0.34)
    table = found.table()
    final = table.column("final_train.learning_rate")
    assert not np.allclose(final, RATES)
    factors = np.log(final[:, None] / np.asarray(RATES)[None]) / np.log(1.25)
    assert np.all(np.abs(factors - np.round(factors)).min(axis=1) < 1e-4)  # each comes from one that there was
    again = sweep(text, {"train.learning_rate": RATES}, exploit_every=8, exploit_share=0.34)
    assert untimed(found) == untimed(again)


def test_adaptive_search_asks_for_generations(text):
    pytest.importorskip("optuna")
    axes = {"train.learning_rate": rx.log_uniform(1e-4, 1e-1), "seed": [0, 1]}
    found = sweep(text, axes, trials=10, sampler="tpe", generation=4)
    assert [len(stage.choices) for stage in found.stages()] == [4, 4, 2]
    assert len(found.table()) == 10 and found.is_done()
    assert found.table().best()[0]["member"] == found.folder.summary()["best"]
    again = sweep(text, axes, trials=10, sampler="tpe", generation=4)
    assert again.choices == found.choices


def test_what_does_not_go_together(text):
    with pytest.raises(InputError, match="halving and exploit_every at once"):
        sweep(text, halving=2, exploit_every=8)
    with pytest.raises(InputError, match="nothing for population-based training to perturb"):
        sweep(text, {"seed": [0, 1]}, exploit_every=8)
    with pytest.raises(InputError, match="halving among members of 10 to 20 steps"):
        sweep(text, {"train.steps": [10, 20]}, halving=2)
    assert not [each for each in text.parent.iterdir() if each.is_dir() and each.name != "cache"]


# In numbers


@pytest.mark.slow
def test_members_of_a_large_population_are_those_of_small_ones(text, monkeypatch):
    """32 of 64 members: alone, bit for bit; beside others, bit for bit; across blocks, to 1e-5 after a step."""
    axes = {"train.learning_rate": rx.log_uniform(1e-4, 1e-1), "seed": list(range(64))}
    alone = sweep(text, axes, {"train__steps": 1, "train__evaluate_every": 1}, trials=64)
    with_layout(monkeypatch, Layout(64))
    beside = sweep(text, axes, {"train__steps": 1, "train__evaluate_every": 1}, trials=64)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5),
        alone.state_of(range(64)).params,
        beside.state_of(range(64)).params,
    )
    chosen = np.random.default_rng(0).permutation(64)[:32]
    with_layout(monkeypatch, Layout(1))
    whole = sweep(text, axes, trials=64)
    for member in chosen.tolist():
        run = rx.run(experiment(text).override(whole.choices[member]), text.parent / "alone")
        state = jax.tree.map(lambda values: values[0], whole.state_of([member]))
        assert_same(jax.tree.leaves(state.params), jax.tree.leaves(jax.device_get(run.member().params)))


@pytest.mark.slow
def test_three_of_64_that_diverge_leave_61_alone(text, monkeypatch):
    with_layout(monkeypatch, Layout(64))
    axes = {"train.learning_rate": rx.log_uniform(1e-4, 1e-1), "seed": list(range(64))}
    healthy = sweep(text, axes, trials=64)
    begin = training.Training._beginning

    def broken(self):
        full = begin(self)
        for leaf in jax.tree.leaves(full.params):
            leaf[[5, 20, 63]] = np.nan
        return full

    monkeypatch.setattr(training.Training, "_beginning", broken)
    found = sweep(text, axes, trials=64)
    others = [member for member in range(64) if member not in (5, 20, 63)]
    assert [row["member"] for row in found.table().rows() if row["status"] == "diverged"] == [5, 20, 63]
    assert_same(found.state_of(others).params, healthy.state_of(others).params)


# A member as a run


@slow_bits
def test_a_member_becomes_a_run_that_can_go_on(text):
    found = sweep(text, {"train.learning_rate": [0.01, 0.05], "seed": [1, 2]})
    run = rx.open(f"{found.path}:2")
    assert run.path == found.path / "members" / "2"
    assert run.experiment.train.learning_rate == found.choices[2]["train.learning_rate"]
    assert run.summary()["steps"] == 24 and run.metrics()[-1]["step"] == 24
    assert_same(run.member().params, jax.tree.map(lambda values: values[0], found.state_of([2]).params))
    assert len(run.sample(["the "], length=5)[0][1]) == 5
    longer = rx.resume(f"{found.path}:2", {"train.steps": 32})
    alone = rx.run(experiment(text, train__steps=32).override(found.choices[2]), text.parent / "alone")
    assert_same(longer.member().params, alone.member().params)
    best = rx.open(f"{found.path}:best")
    assert best.path.name == str(found.table().best()[0]["member"])
    with pytest.raises(InputError, match="'9' names no member"):
        rx.open(f"{found.path}:9")
    with pytest.raises(InputError, match="is a sweep"):
        rx.open(found.path)


def test_side_by_side(text):
    found = sweep(text, {"train.learning_rate": [0.01, 0.05]})
    names, rows = compared([f"{found.path}:0", f"{found.path}:1"], differing=True)
    assert names == [f"{found.path}:0", f"{found.path}:1"]
    assert rows["train.learning_rate"] == [0.01, 0.05]
    assert "train.batch" not in rows and "validation_loss" in rows
    assert set(compared([found.path])[0]) == set(names)


def test_layouts_by_rule(text, monkeypatch):
    monkeypatch.undo()
    small_, large = (experiment(text, model__units=units, task__length=20).built for units in (4, 100))
    assert planning.candidates(small_, 100)[0].block > 1 and planning.candidates(small_, 100)[0].unroll == 20
    assert planning.candidates(large, 100)[0].block == 1
    assert planning.candidates(small_, 1)[0] == Layout(1)


def test_numbers_of_a_model_are_those_of_a_model_built_with_them(text):
    base = experiment(text, model__initial_scales__recurrent_kernel=0.5)
    member = base.built.trainer.member(0, {"model.initial_scales.recurrent_kernel": jnp.float32(2.0)})
    other = dataclasses.replace(base, model=dataclasses.replace(base.model, initial_scales={"recurrent_kernel": 2.0}))
    assert_same(member.params, other.built.trainer.member(0).params)
    with pytest.raises(InputError, match="unknown weight 'recurent_kernel'"):
        _ = experiment(text, model__initial_scales__recurent_kernel=0.5).built


# The command line


@pytest.fixture
def place(text, monkeypatch):
    """A folder with an experiment's file, to work in."""
    (text.parent / "small.yaml").write_text(config.dump(experiment(text)))
    monkeypatch.chdir(text.parent)
    return text.parent


def test_commands(place, capsys):
    axes = ["seed=0,1", "train.learning_rate=0.001..0.1:log:2"]
    plan = ["sweep", "small.yaml", *axes, "--measure", "false"]
    assert main([*plan, "--dry-run"]) == 0
    shown = capsys.readouterr().out
    assert "4 members, 1 compiled program, 1 batch, 96 steps of members" in shown
    assert not (place / "runs").exists()
    assert main([*plan, "--name", "s", "--quiet"]) == 0
    assert "4 members: 4 finished" in capsys.readouterr().out
    assert main(["best", "runs/s", "-n", "2", "--json"]) == 0
    best = json.loads(capsys.readouterr().out)
    assert len(best) == 2 and best[0]["validation_loss"] <= best[1]["validation_loss"]
    assert main(["compare", "runs/s:0", "runs/s:1", "--diff-only", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert rows["train.learning_rate"] == {"runs/s:0": 0.001, "runs/s:1": 0.1}
    assert main(["run", "--from", "runs/s:best", "--dry-run", "--json"]) == 0
    described = json.loads(capsys.readouterr().out)["configuration"]
    assert described["train"]["learning_rate"] == best[0]["train.learning_rate"]
    assert main(["resume", "runs/s", "--quiet"]) == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["sed=0..3"], "unknown key 'sed'"),
        ([], "nothing to sweep"),
        (["seed=0..3", "--trial", "5"], "did you mean --trials"),
        (["train.learning_rate=0.01..0.1"], "--trials 100"),
        (["seed=0,1", "--launch", "slurn"], "no engine 'slurn'"),
        (["seed=0,1", "--launch", "hosts"], "does not know the others"),
        (["seed=0,1", "--slurm", "partition"], "'partition' has no value"),
        (["seed=0,1", "--shard", "0/2"], "give the --name"),
        (["seed=0,1", "--shard", "2/2", "--name", "x"], "there is no shard 2 of 2"),
        (["seed=0,1", "--halving", "2", "--exploit-every", "3"], "halving and exploit_every at once"),
        (["model.cell=lstn"], "model.cell"),
    ],
)
def test_mistakes_leave_nothing(place, capsys, arguments, words):
    before = sorted(place.rglob("*"))
    assert main(["sweep", "small.yaml", *arguments, "--measure", "false"]) == 2
    error = capsys.readouterr().err
    assert words in error and "where: " in error and "fix: " in error and "Traceback" not in error
    assert sorted(place.rglob("*")) == before
