"""Laws of training: each step against optax and an Elman network written out by hand, each lift against one member."""

from __future__ import annotations

import dataclasses
import math
from functools import cache
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from rnnjax.config import InputError
from rnnjax.experiment import Built, Experiment
from rnnjax.layers import ModelConfig
from rnnjax.population import Alone, Layout, Programs, Rhythm, fit
from rnnjax.tasks import Arrays, Batch, Task, Text
from rnnjax.train import NON_FINITE, RUNNING, Meter, TrainConfig, Trainer, learning_rate, losses, metrics

RATE = 0.05
CELL = "stack.layers.0.cell."


def trainer_of(task: Task, *, model: dict[str, Any] | None = None, **train: Any) -> Trainer:
    """A trainer of an Elman network of three units."""
    small = ModelConfig(**{"cell": "elman", "units": 3, **(model or {})})
    return Built(Experiment(task=task, model=small, train=TrainConfig(**train)), task).trainer


def ragged(count: int = 8, *, every: bool = True) -> Arrays:
    """Numbers to be answered with numbers; rows of one to five steps."""
    rng = np.random.default_rng(0)
    lengths = np.array([5, 1, 2, 3, 4, 5, 1, 3] * (count // 8))
    inputs = [rng.normal(size=(n, 2)) for n in lengths]
    answers = [rng.normal(size=(n, 2)) for n in lengths] if every else rng.normal(size=(count, 2))
    return Arrays(inputs, answers)


def letters(count: int = 200) -> str:
    return "".join(np.random.default_rng(0).choice(list("abcd"), count))


def named(tree: Any) -> dict[str, np.ndarray]:
    """Leaves by dotted name."""
    found = jax.tree_util.tree_leaves_with_path(tree)
    return {".".join(str(part.key) for part in path): np.asarray(leaf) for path, leaf in found}


def whole(task: Arrays) -> Batch:
    """All examples in one batch, in the order they came in."""
    return Batch(**{name: jnp.asarray(value) for name, value in task.data("train").items()})


def assert_same(a: Any, b: Any) -> None:
    """Equal bit for bit."""
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for (path, x), y in zip(jax.tree_util.tree_leaves_with_path(a), jax.tree.leaves(b), strict=True):
        assert_array_equal(x, y, err_msg=jax.tree_util.keystr(path))


def copy(tree: Any) -> Any:
    """A copy in the host's memory, for whoever hands the original over to a program."""
    return jax.tree.map(np.array, tree)


# The Elman network by hand


def by_hand(params: Any, batch: Batch) -> tuple[jax.Array, jax.Array]:
    """Readout and hidden state of every step."""
    w = {".".join(str(part.key) for part in path): v for path, v in jax.tree_util.tree_leaves_with_path(params)}
    h, hidden = jnp.zeros((batch.inputs.shape[0], 3)), []
    for t in range(batch.inputs.shape[1]):
        h = jnp.tanh(
            batch.inputs[:, t] @ w[CELL + "input_kernel"] + w[CELL + "bias"][None] + h @ w[CELL + "recurrent_kernel"]
        )
        hidden.append(h)
    hidden = jnp.stack(hidden, axis=1)
    return hidden @ w["readout.kernel"] + w["readout.bias"][None, None], hidden


def loss_by_hand(params: Any, batch: Batch) -> jax.Array:
    outputs, _ = by_hand(params, batch)
    squares = ((outputs - batch.targets) ** 2).mean(-1)
    rows = [squares[row, t] for row, n in enumerate(np.asarray(batch.lengths)) for t in range(n)]
    return sum(rows, start=jnp.zeros(())) / len(rows)


@cache
def problem() -> tuple[Batch, Any, Any]:
    """A ragged batch, initial parameters, and the gradient of the loss by hand."""
    task = ragged()
    batch = whole(task)
    return batch, trainer_of(task, batch=8).member(0).params, jax.jit(jax.grad(lambda p: loss_by_hand(p, batch)))


RULES = {
    "adam": (
        {"optimizer": "adam", "beta1": 0.8, "beta2": 0.95, "epsilon": 1e-5},
        optax.adam(RATE, 0.8, 0.95, 1e-5),
    ),
    "adamw": ({"optimizer": "adamw", "weight_decay": 0.3}, optax.adamw(RATE, weight_decay=0.3)),
    "momentum": ({"optimizer": "sgd", "momentum": 0.9}, optax.sgd(RATE, momentum=0.9)),
    "rmsprop": ({"optimizer": "rmsprop", "beta2": 0.9, "epsilon": 1e-6}, optax.rmsprop(RATE, 0.9, 1e-6)),
    "rmsprop with momentum": (
        {"optimizer": "rmsprop", "beta2": 0.9, "momentum": 0.5},
        optax.rmsprop(RATE, 0.9, momentum=0.5),
    ),
    "clipped": ({"optimizer": "sgd", "clip_norm": 0.1}, optax.chain(optax.clip_by_global_norm(0.1), optax.sgd(RATE))),
}


@pytest.mark.parametrize("name", RULES)
def test_steps_are_those_of_optax(name):
    settings, rule = RULES[name]
    batch, params, gradient = problem()
    trainer = trainer_of(ragged(), batch=8, learning_rate=RATE, **settings)
    member, step = trainer.member(0), jax.jit(trainer.step)
    assert_same(member.params, params)
    state, total = rule.init(params), 0.0
    for k in range(3):
        slope = gradient(params)
        total += float(optax.tree.norm(slope))
        updates, state = rule.update(slope, state, params)
        params = optax.apply_updates(params, updates)
        member = step(member, batch, np.int32(k))
    for path, value in named(member.params).items():
        assert_allclose(value, named(params)[path], rtol=2e-5, atol=2e-6, err_msg=path)
    assert_allclose(member.meter.gradient_norm, total, rtol=1e-5)  # before clipping
    assert (int(member.step), int(member.status), int(member.meter.steps)) == (3, RUNNING, 3)


def test_loss_counts_valid_answers_only():
    batch, params, _ = problem()
    trainer = trainer_of(ragged(), batch=8)
    step = jax.jit(trainer.step)
    member = step(trainer.member(0), batch, np.int32(0))
    assert int(member.meter.answers) == 24
    assert_allclose(member.meter.nats / 24, loss_by_hand(params, batch), rtol=1e-6)
    assert_allclose(metrics(trainer.task, member.meter)["loss"], loss_by_hand(params, batch), rtol=1e-6)
    assert metrics(trainer.task, member.meter).keys() == {"loss"}
    beyond = jnp.arange(5)[None] >= jnp.asarray(batch.lengths)[:, None]
    noisy = dataclasses.replace(
        batch,
        inputs=jnp.where(beyond[..., None], 7.0, batch.inputs),
        targets=jnp.where(beyond[..., None], -9.0, batch.targets),
    )
    assert_same(step(trainer.member(0), noisy, np.int32(0)), member)


PENALTIES = {"activity_l1": 0.1, "activity_l2": 0.2, "weight_l1": 0.03, "weight_l2": 0.04}


def penalty_by_hand(params: Any, batch: Batch) -> jax.Array:
    _, hidden = by_hand(params, batch)
    steps = [hidden[row, t] for row, n in enumerate(np.asarray(batch.lengths)) for t in range(n)]
    units = jnp.stack(steps)
    leaves = jax.tree_util.tree_leaves_with_path(params)
    kernels = [v for path, v in leaves if str(path[-1].key) in ("kernel", "input_kernel", "recurrent_kernel")]
    assert len(kernels) == 3
    return (
        0.1 * jnp.abs(units).sum(-1).mean()
        + 0.2 * (units**2).sum(-1).mean()
        + 0.03 * sum(jnp.abs(v).sum() for v in kernels)
        + 0.04 * sum((v**2).sum() for v in kernels)
    )


@cache
def step_in_parts(parts: int, every: bool = True) -> Any:
    task = ragged(every=every)
    settings = {"optimizer": "sgd", "learning_rate": RATE, "carry_state": True, **PENALTIES}
    trainer = trainer_of(task, batch=8, accumulate=parts, **settings)
    return copy(jax.jit(trainer.step)(trainer.member(0), whole(task), np.int32(0)))


def test_penalties_are_in_the_objective_and_not_in_the_loss():
    batch, params, _ = problem()
    objective = jax.jit(lambda p: loss_by_hand(p, batch) + penalty_by_hand(p, batch))
    member = step_in_parts(1)
    assert_allclose(member.meter.nats / 24, loss_by_hand(params, batch), rtol=1e-6)
    assert_allclose(member.meter.objective, objective(params), rtol=1e-6)
    expected = jax.tree.map(lambda p, g: p - RATE * g, params, jax.grad(objective)(params))
    for path, value in named(member.params).items():
        assert_allclose(value, named(expected)[path], rtol=1e-5, atol=1e-6, err_msg=path)


@pytest.mark.parametrize(
    ("parts", "every"), [(2, True), (4, True), (2, False)], ids=["two", "four", "two, last answers"]
)
def test_a_batch_in_parts_is_the_whole_batch(parts, every):
    one, several = step_in_parts(1, every), step_in_parts(parts, every)
    assert several.meter.steps == 1 and several.meter.answers == one.meter.answers
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(several), strict=True):
        assert a.shape == b.shape and a.dtype == b.dtype
        assert_allclose(b, a, rtol=1e-5, atol=1e-6)


def test_parts_must_divide_the_batch():
    with pytest.raises(InputError, match="batch of 8 in 3 parts"):
        trainer_of(ragged(), batch=8, accumulate=3)


# What moves, and how fast


def test_rates_decay_and_freezing_by_pattern():
    batch, params, gradient = problem()
    trainer = trainer_of(
        ragged(),
        batch=8,
        optimizer="sgd",
        learning_rate=RATE,
        weight_decay=0.5,
        average=0.9,
        freeze=("readout.b*",),
        rate_scales={"*recurrent_kernel": 0.1, "stack*": 0.5},
        no_decay=("*bias", "readout.kernel"),
    )
    before = trainer.member(0)
    assert "readout.bias" not in named(before.params) and "readout.bias" in named(before.fixed)
    after = jax.jit(trainer.step)(before, batch, np.int32(0))
    assert_same(before.fixed, after.fixed)
    slopes, start, moved = named(gradient(params)), named(params), named(after.params)
    expected = {
        "readout.kernel": (1.0, 0.0),
        CELL + "bias": (0.5, 0.0),
        CELL + "input_kernel": (0.5, 0.5),
        CELL + "recurrent_kernel": (0.05, 0.5),
    }
    assert moved.keys() == expected.keys()
    for path, (factor, decay) in expected.items():
        value = start[path] - RATE * factor * (slopes[path] + decay * start[path])
        assert_allclose(moved[path], value, rtol=1e-5, atol=1e-7, err_msg=path)
        mean = 0.9 * start[path] + 0.1 * value
        assert_allclose(named(after.average)[path], mean, rtol=1e-5, atol=1e-7, err_msg=path)


@pytest.mark.parametrize("where", ["freeze", "no_decay", "rate_scales"])
def test_a_pattern_that_nothing_is_called(where):
    patterns: Any = {"decoder*": 0.1} if where == "rate_scales" else ("decoder*",)
    with pytest.raises(InputError, match=r"no parameter is called 'decoder\*'") as caught:
        trainer_of(ragged(), batch=8, **{where: patterns})
    assert caught.value.where == f"in train.{where}" and "readout.kernel" in caught.value.fix


def test_what_cannot_be_trained():
    with pytest.raises(InputError, match="batch of 9 is larger"):
        trainer_of(ragged(), batch=9)
    with pytest.raises(InputError, match="carried state"):
        trainer_of(ragged(), batch=8, carry_state=True, model={"bidirectional": True})


def test_length_of_a_training():
    assert (trainer_of(ragged(24), batch=8, epochs=4).total, trainer_of(ragged(24), batch=8, steps=5).total) == (12, 5)


def test_the_moving_average_is_what_is_evaluated():
    task = Arrays(*(ragged(16).data("train")[name] for name in ("inputs", "targets")), split=0.5)
    trainer = trainer_of(task, batch=4, average=0.5)
    member = trainer.member(0)
    other = dataclasses.replace(member, params=jax.tree.map(lambda p: p + 1, member.params))
    held = {name: jnp.asarray(value) for name, value in task.data("validation").items()}
    batch = Batch(**held, lengths=jnp.full(8, 5))
    found = jax.jit(trainer.evaluate)(other, held)
    assert int(found.answers) == 40
    assert_allclose(found.nats / 40, loss_by_hand(member.params, batch), rtol=1e-5)


# The course of the rate


def rate_by_hand(schedule: str, step: int, *, rate: float, warmup: float, decay: float, final: float) -> float:
    rising = min(1.0, (step + 1) / warmup) if warmup >= 1 else 1.0
    done = min(1.0, max(0.0, (step - warmup) / decay))
    falling = {
        "constant": 1.0,
        "linear": 1 - done * (1 - final),
        "cosine": final + (1 - final) * (1 + math.cos(math.pi * done)) / 2,
        "exponential": max(final, 1e-8) ** done,
    }[schedule]
    return rate * rising * falling


@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine", "exponential"])
@pytest.mark.parametrize(("warmup", "decay", "final"), [(None, None, 0.1), (4.0, 10.0, 0.25), (3.0, None, 0.0)])
def test_schedules_are_their_closed_forms(schedule, warmup, decay, final):
    trainer = trainer_of(
        ragged(),
        batch=8,
        steps=20,
        learning_rate=0.5,
        schedule=schedule,
        warmup_steps=warmup,
        decay_steps=decay,
        final_scale=final,
    )
    steps = np.arange(30)
    found = jax.vmap(lambda step: learning_rate(trainer.config, trainer.hyper(), step))(steps)
    numbers = {"rate": 0.5, "warmup": warmup or 0.0, "decay": decay or 20 - (warmup or 0), "final": final}
    assert_allclose(found, [rate_by_hand(schedule, int(k), **numbers) for k in steps], rtol=1e-5, atol=1e-8)


def test_the_rate_of_a_schedule_is_the_rate_of_a_step():
    batch, params, gradient = problem()
    settings = {"optimizer": "sgd", "learning_rate": RATE, "schedule": "linear", "steps": 10, "warmup_steps": 2.0}
    trainer = trainer_of(ragged(), batch=8, **settings)
    step = jax.jit(trainer.step)
    for k in (0, 4, 9):
        rate = rate_by_hand("linear", k, rate=RATE, warmup=2, decay=8, final=0)
        expected = named(jax.tree.map(lambda p, g, rate=rate: p - rate * g, params, gradient(params)))
        for path, value in named(step(trainer.member(0), batch, np.int32(k)).params).items():
            assert_allclose(value, expected[path], rtol=1e-5, atol=1e-7)


# A carried state


@cache
def streams() -> tuple[Text, Trainer, Any]:
    task = Text(letters(), length=5, order="stream", split=0.4)
    trainer = trainer_of(task, batch=2, carry_state=True, optimizer="sgd", learning_rate=0.0)
    return task, trainer, jax.jit(trainer.step)


def test_batches_of_a_stream_are_one_long_sequence():
    task, trainer, step = streams()
    start = trainer.member(0)
    order = np.asarray(trainer.order(start.key, jnp.asarray(0)))
    batches = [task.take(task.data("train"), order, k, "train", 2) for k in range(3)]
    member = start
    for k, batch in enumerate(batches):
        member = step(member, batch, np.int32(k))
    inputs, targets = (np.concatenate([getattr(b, f) for b in batches], axis=1) for f in ("inputs", "targets"))
    long = trainer.model(start.params, start.fixed).unroll(jnp.asarray(inputs))
    nats = optax.softmax_cross_entropy_with_integer_labels(long.outputs, targets)
    assert_allclose(member.meter.nats, nats.sum(), rtol=1e-5)
    assert int(member.meter.answers) == 30
    for field, value in member.carry.items():
        assert_allclose(value, long.state[field], rtol=1e-5, atol=1e-6)
    again, anew = step(member, batches[0], np.int32(0)), step(start, batches[0], np.int32(0))
    assert_same(again.carry, anew.carry)  # the first batch of an epoch is fresh
    gone_on = step(member, dataclasses.replace(batches[0], fresh=np.bool_(False)), np.int32(0))
    assert any((np.asarray(gone_on.carry[f]) != np.asarray(anew.carry[f])).any() for f in anew.carry)


def test_a_validation_stream_is_one_long_sequence():
    task, trainer, _ = streams()
    member = trainer.member(0)
    rows = task.rows("validation", 2)
    steps = task.steps("validation", rows)
    held = task.data("validation")
    own = (len(held) - 1) // rows
    inputs = np.stack([held[row * own :][: 5 * steps] for row in range(rows)]).astype(np.int32)
    targets = np.stack([held[row * own + 1 :][: 5 * steps] for row in range(rows)]).astype(np.int32)
    outputs = trainer.model(member.params, member.fixed).unroll(jnp.asarray(inputs)).outputs
    nats = optax.softmax_cross_entropy_with_integer_labels(outputs, targets)
    found = jax.jit(trainer.evaluate)(member, held)
    assert int(found.answers) == inputs.size and int(found.steps) == steps
    assert_allclose(found.nats, nats.sum(), rtol=1e-5)
    assert int(found.correct) == int((np.asarray(outputs).argmax(-1) == targets).sum())


# What is measured


def test_metrics_of_classes_by_hand():
    meter = dataclasses.replace(Meter.empty(), nats=jnp.asarray(6.0), answers=jnp.asarray(4), correct=jnp.asarray(3))
    found = metrics(Text("abab", length=2), meter)
    assert found.keys() == {"loss", "accuracy", "bits_per_symbol", "perplexity"}
    assert (found["loss"], found["accuracy"]) == (1.5, 0.75)
    assert_allclose([found["bits_per_symbol"], found["perplexity"]], [1.5 / math.log(2), math.exp(1.5)], rtol=1e-6)
    assert metrics(ragged(), meter) == {"loss": 1.5}


def test_losses_of_each_answer_by_hand():
    rng = np.random.default_rng(0)
    logits, targets = rng.normal(size=(2, 3, 4)).astype(np.float32), rng.integers(0, 4, (2, 3))
    each, right = losses(Text("abcd", length=2), jnp.asarray(logits), Batch(jnp.zeros((2, 3)), jnp.asarray(targets)))
    probabilities = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    for place in np.ndindex(2, 3):
        assert_allclose(each[place], -math.log(probabilities[place][targets[place]]), rtol=1e-5)
        assert bool(right[place]) == (logits[place].argmax() == targets[place])
    numbers, none = losses(ragged(), jnp.asarray(logits), Batch(jnp.zeros((2, 3, 1)), jnp.ones((2, 3, 4))))
    assert_allclose(numbers, ((logits - 1) ** 2).mean(-1), rtol=1e-5)
    assert not none.any()


def test_judging_a_validation():
    trainer = trainer_of(ragged(), batch=8)
    member = trainer.member(0)
    seen = []
    for step, loss in enumerate([2.0, 1.0, 1.0, math.nan, 1.5, 0.5], start=1):
        member = dataclasses.replace(member, step=jnp.asarray(step, jnp.int32))
        member = trainer.judge(member, dataclasses.replace(Meter.empty(), nats=jnp.asarray(loss), answers=jnp.ones(())))
        seen.append((float(member.best), int(member.best_step), int(member.waited)))
    assert seen == [(2.0, 1, 0), (1.0, 2, 0), (1.0, 2, 1), (1.0, 2, 2), (1.0, 2, 3), (0.5, 6, 0)]


# Chunks and lifts


@cache
def text_trainer() -> Trainer:
    """Nine steps an epoch; everything that has a state of its own is there."""
    task = Text(letters(), length=4, split=0.1)
    return trainer_of(
        task,
        batch=4,
        epochs=3,
        carry_state=True,
        average=0.9,
        learning_rate=0.02,
        log_every=4,
        evaluate_every=7,
        checkpoint_every=5,
        model={"input_dropout": 0.2, "recurrent_dropout": 0.1},
    )


@cache
def programs_of(lift: str) -> Programs:
    return Programs(text_trainer(), {"one": Alone(), "map": Layout(1), "vmap": Layout(3), "blocks": Layout(2)}[lift])


def run_chunks(lift: str, member: Any, counts: list[int], clear: bool = False) -> Any:
    programs, data, start = programs_of(lift), jax.device_put(text_trainer().task.data("train")), 0
    for count in counts:
        member = programs.chunk(member, data, np.int32(start), np.int32(count), np.bool_(clear))
        start += count
    return copy(member)


def alone(seed: int, rate: float | None = None) -> Any:
    member = programs_of("one").member(seed)
    hyper = member.hyper if rate is None else {**member.hyper, "learning_rate": jnp.float32(rate)}
    return dataclasses.replace(member, hyper=hyper)


def several(rates: list[float] | None = None, lift: str = "map") -> Any:
    members = programs_of(lift).member(jnp.arange(3))
    hyper = members.hyper if rates is None else {**members.hyper, "learning_rate": jnp.asarray(rates, jnp.float32)}
    return dataclasses.replace(members, hyper=hyper)


def pick(members: Any, k: int) -> Any:
    return jax.tree.map(lambda leaf: leaf[k], members)


def test_how_steps_are_cut_into_chunks_does_not_matter():
    assert text_trainer().epoch_steps == 9
    long = run_chunks("one", alone(0), [20])
    assert int(long.step) == 20 and int(long.meter.steps) == 20
    assert_same(run_chunks("one", alone(0), [1] * 20), long)
    assert_same(run_chunks("one", alone(0), [2, 11, 7]), long)
    assert int(run_chunks("one", alone(0), [2, 3], clear=True).meter.steps) == 3


def test_one_program_serves_counts_numbers_and_seeds():
    program: Any = programs_of("one").chunk
    run_chunks("one", alone(0), [1, 2, 3])
    run_chunks("one", alone(1, 0.3), [5], clear=True)
    assert program._cache_size() == 1


def test_a_chunk_is_its_steps_by_hand():
    trainer, task = text_trainer(), text_trainer().task
    member, step = alone(0), jax.jit(trainer.step)
    for k in range(11):
        epoch, index = divmod(k, 9)
        order = np.asarray(trainer.order(member.key, jnp.asarray(epoch)))
        member = step(member, task.take(task.data("train"), order, index, "train", 4), np.int32(k))
    found = run_chunks("one", alone(0), [11])
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(member), strict=True):
        assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_members_in_turn_are_members_alone_bit_for_bit():
    rates = [0.02, 0.1, 0.004]
    together = run_chunks("map", several(rates), [1, 4])
    for seed, rate in enumerate(rates):
        assert_same(pick(together, seed), run_chunks("one", alone(seed, rate), [1, 4]))
    run_chunks("map", several(), [3])
    program: Any = programs_of("map").chunk
    assert program._cache_size() == 1


def test_members_side_by_side_are_members_alone_for_a_few_steps():
    rates = [0.02, 0.05, 0.004]
    together = run_chunks("vmap", several(rates, "vmap"), [1, 3])
    for seed, rate in enumerate(rates):
        one, other = run_chunks("one", alone(seed, rate), [1, 3]), pick(together, seed)
        for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
            assert_allclose(b, a, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("lift", ["map", "vmap"])
def test_a_member_that_is_not_finite_leaves_the_others_alone(lift):
    rates = [0.02, math.nan, 0.02]
    found = run_chunks(lift, several(rates, lift), [1, 3])
    assert found.status.tolist() == [RUNNING, NON_FINITE, RUNNING]
    assert found.step.tolist() == [4, 1, 4]
    healthy = run_chunks(lift, several([0.02] * 3, lift), [1, 3])
    for k in (0, 2):
        assert_same(pick(found, k).params, pick(healthy, k).params)


def test_a_layout_for_devices_that_are_not_there():
    programs = Programs(text_trainer(), Layout(1, devices=999))
    with pytest.raises(InputError, match="999 devices, and there are"):
        programs.population(np.arange(999), {})
        programs.placed(np.zeros(999))


def test_a_member_s_bits_depend_on_its_block_alone():
    def trained(seeds: list[int], lift: str) -> Any:
        return run_chunks(lift, copy(programs_of(lift).population(np.asarray(seeds), {})), [3, 2], clear=True)

    four, six = trained([5, 6, 7, 8], "blocks"), trained([1, 2, 7, 3, 4, 4], "blocks")
    assert_same(pick(four, 2), pick(six, 2))
    pair = trained([7, 9], "blocks")
    assert_same(pick(four, 2), pick(pair, 0))


def test_numbers_of_members_are_those_of_members_alone():
    numbers = {"train.learning_rate": [0.01, 0.3, 0.002], "model.input_dropout": [0.1, 0.2, 0.5]}
    found = run_chunks("map", copy(programs_of("map").population(np.arange(3), numbers)), [1, 4])
    task = text_trainer().task
    for k in range(3):
        model = {"input_dropout": numbers["model.input_dropout"][k], "recurrent_dropout": 0.1}
        rate = numbers["train.learning_rate"][k]
        options: Any = {"carry_state": True, "average": 0.9, "log_every": 4, "evaluate_every": 7, "checkpoint_every": 5}
        trainer = trainer_of(task, batch=4, epochs=3, learning_rate=rate, model=model, **options)
        programs, data = Programs(trainer), jax.device_put(task.data("train"))
        member = programs.member(k)
        for start, count in [(0, 1), (1, 4)]:
            member = programs.chunk(member, data, np.int32(start), np.int32(count), np.bool_(False))
        assert_same(pick(found, k).params, copy(member).params)


def test_a_chunk_takes_over_the_member_s_memory():
    member = alone(0)
    run_chunks("one", member, [1])
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves((member.params, member.optimizer, member.average)))


def test_a_member_made_outside_a_program_can_be_trained():
    assert_same(run_chunks("one", text_trainer().member(0), [1]).key, alone(0).key)


# Not finite


def test_a_member_that_is_not_finite_keeps_what_it_had():
    data = {name: value.copy() for name, value in ragged(24).data("train").items()}
    trainer = trainer_of(ragged(24), batch=8, average=0.9, carry_state=True)
    programs = Programs(trainer)
    order = np.asarray(trainer.order(trainer.member(0).key, jnp.asarray(0)))
    data["targets"][order[8], 0] = np.nan  # in the second batch

    def after(steps: int, values: dict[str, np.ndarray]) -> Any:
        device = jax.device_put(values)
        return copy(programs.chunk(programs.member(0), device, np.int32(0), np.int32(steps), np.bool_(True)))

    good, bad = after(1, ragged(24).data("train")), after(9, data)
    assert int(bad.status) == NON_FINITE and int(good.status) == RUNNING
    assert int(bad.step) == 1  # so that the step is named: the second
    assert_same(dataclasses.replace(bad, status=good.status), good)

    broken = programs.member(0)
    params = jax.tree.map(lambda leaf: leaf.at[0].set(jnp.inf), broken.params)
    start = copy(dataclasses.replace(broken, params=params))
    clean = jax.device_put(ragged(24).data("train"))
    found = programs.chunk(jax.device_put(start), clean, np.int32(0), np.int32(2), np.bool_(True))
    assert_same(copy(found), dataclasses.replace(start, status=np.int32(NON_FINITE)))


# The loop


def followed(programs: Programs, *, member: Any = None, start: int = 0) -> tuple[Any, list[Any]]:
    """The member in the end, and what was yielded on the way, without timings."""
    trainer, seen = programs.trainer, []
    for progress in fit(programs, programs.member(0) if member is None else member, Rhythm(trainer), start=start):
        seen.append((progress.step, copy(progress.member), progress.validation))
    assert seen[-1][0] == trainer.total
    return seen[-1][1], seen


@cache
def on_device() -> tuple[Any, list[Any]]:
    return followed(programs_of("one"))


@pytest.mark.slow  # programs compiled in haste need not agree to the last bit
def test_data_of_the_host_is_data_of_the_device_bit_for_bit():
    trainer = Trainer(
        text_trainer().task, text_trainer().make, dataclasses.replace(text_trainer().config, residence="host")
    )
    member, seen = followed(Programs(trainer))
    assert_same(member, on_device()[0])
    validations = [copy(v) for _, _, v in seen if v is not None]
    assert_same(validations, [copy(v) for _, _, v in on_device()[1] if v is not None])


def test_the_loop_stops_where_something_is_due():
    _, seen = on_device()
    steps = [step for step, _, _ in seen]
    due = {k for k in range(1, 28) if k % 9 in (0, 4, 8) or k % 7 == 0 or k % 5 == 0 or k == 27}
    assert steps == sorted(steps) and due <= set(steps)
    assert [step for step, _, validation in seen if validation is not None] == [7, 14, 21, 27]
    assert [int(member.step) for _, member, _ in seen] == steps
    logged = [k for k in steps if k % 9 in (0, 4, 8) or k in (7, 14, 21, 27)]
    sums = {step: int(member.meter.steps) for step, member, _ in seen}
    assert [sums[step] for step in logged] == np.diff([0, *logged]).tolist()
    best = np.inf
    for step, member, validation in seen:
        if validation is not None:
            loss = metrics(text_trainer().task, validation)["loss"]
            assert int(member.waited) == 0 or loss >= best
            assert (int(member.best_step) == step) == (loss < best)
            best = min(best, loss)
            assert_allclose(member.best, best, rtol=1e-6)


def test_going_on_from_the_middle_ends_at_the_same_bits():
    _, seen = on_device()
    middle = next(member for step, member, _ in seen if step == 10)
    ended, _ = followed(programs_of("one"), member=jax.device_put(middle), start=10)
    assert_same(ended, on_device()[0])


# The rhythm


def rhythm_of(*, epoch: int = 20, total: int = 60, validation: bool = True, **train: Any) -> Rhythm:
    held: Any = SimpleNamespace(
        config=TrainConfig(**train),
        epoch_steps=epoch,
        total=total,
        task=SimpleNamespace(data=lambda split: () if validation else None),
    )
    return Rhythm(held)


@pytest.mark.parametrize(
    ("given", "every"),
    [(7, 7), ("7", 7), ("1epoch", 20), ("2epochs", 40), (" 2 epochs ", 40), ("1 epoch", 20), (1000, 1000)],
)
def test_intervals(given, every):
    rhythm = rhythm_of(checkpoint_every=given, evaluate_every=given, total=90)
    due = [k for k in range(1, 91) if k % every == 0 or k == 90]
    assert [k for k in range(1, 91) if rhythm.saves(k)] == due
    assert [k for k in range(1, 91) if rhythm.validates(k)] == due


@pytest.mark.parametrize(
    "given", ["", "0", 0, -3, "epoch", "1.5epochs", "0epochs", "two", "1 day", "-1epoch", "1e2", True]
)
@pytest.mark.parametrize("key", ["checkpoint_every", "evaluate_every"])
def test_intervals_that_are_none(given, key):
    with pytest.raises(InputError, match="is no interval") as caught:
        rhythm_of(**{key: given})
    assert caught.value.where == f"in train.{key}"


@pytest.mark.parametrize("epoch", [1, 5, 20, 33])
@pytest.mark.parametrize("validation", [True, False])
@pytest.mark.parametrize(
    ("log", "save", "validate"), [(0, "1epoch", "1epoch"), (7, 6, "2epochs"), (100, 50, 1), (3, 1, 9)]
)
def test_the_next_boundary_is_the_next_step_at_which_something_is_due(epoch, validation, log, save, validate):
    rhythm = rhythm_of(
        epoch=epoch,
        total=70,
        validation=validation,
        log_every=log,
        checkpoint_every=save,
        evaluate_every=validate,
    )
    due = [k for k in range(1, 71) if rhythm.logs(k) or rhythm.saves(k) or rhythm.validates(k)]
    assert due[-1] == 70
    assert all(k in due for k in range(epoch, 71, epoch))
    for step in range(70):
        assert rhythm.boundary(step) == min(k for k in due if k > step)
    if not validation:
        assert not any(rhythm.validates(k) for k in range(71))
    every = log or max(1, epoch // 10)
    logged = [k for k in range(1, 71) if k % epoch % every == 0 or k == 70 or rhythm.validates(k)]
    assert [k for k in range(1, 71) if rhythm.logs(k)] == logged


# Learning


def last_loss(trainer: Trainer) -> float:
    programs = Programs(trainer)
    member = programs.member(0)
    for progress in fit(programs, member, Rhythm(trainer)):
        member = progress.member
    return metrics(trainer.task, member.meter)["loss"]


def test_an_elman_network_learns_to_alternate():
    trainer = trainer_of(Text("ab" * 200, length=8), batch=8, steps=60, learning_rate=0.1, log_every=10)
    assert last_loss(trainer) < 0.02


def test_an_lstm_learns_more_of_letter_words_than_pairs_tell():
    rng = np.random.default_rng(0)
    words = ["abcab", "bacba", "cabbc", "acbbca", "bbaacc"]
    task = Text("".join(rng.choice(words) + " " for _ in range(600)), length=24)
    settings = {"batch": 16, "steps": 250, "learning_rate": 0.02, "log_every": 10}
    trainer = trainer_of(task, model={"cell": "lstm", "units": 16}, **settings)
    assert last_loss(trainer) < 0.9 * task.references()["bigram entropy"]
