"""Looking inside the loop: what is recorded, what is changed, and the gradient by it, on every executor."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from numpy.testing import assert_allclose, assert_array_equal
from test_laws import (
    CHEAP,
    INPUTS,
    LENGTHS,
    ROWS,
    STEPS,
    UNITS,
    assert_same,
    make,
    quick,
    random_inputs,
    random_weights,
)

import oracles
from rnnjax import sequence
from rnnjax.cells import CELLS, LinearCell
from rnnjax.config import InputError
from rnnjax.executors import EXECUTORS
from rnnjax.experiment import Built, Experiment
from rnnjax.layers import ModelConfig
from rnnjax.sequence import Edit, Moments, Record, add, clamp, lesion, noise, patch, scale
from rnnjax.tasks import Text
from rnnjax.train import TrainConfig
from rnnjax.unroll import unroll

rng = np.random.default_rng(11)
MASK = rng.random((ROWS, STEPS)) < 0.8
RESET = rng.random((ROWS, STEPS)) < 0.3
EXISTS = MASK & (np.arange(STEPS) < LENGTHS[:, None])
ANSWERS = 3

pairs = [
    ("lstm", "fused"),
    ("lstm", "scan"),
    ("gru_before", "fused"),
    ("projected_lstm", "fused"),
    ("min_gru", "associative"),
]
every_way = pytest.mark.parametrize(
    ("name", "executor", "reverse"), [(*pair, reverse) for pair, reverse in zip(pairs, (1, 0, 0, 1, 1), strict=True)]
)
more_served = pytest.mark.parametrize(
    ("name", "executor"),
    [
        *(pair for pair in pairs if pair[1] != "scan"),
        *(
            pytest.param(cell, executor, marks=pytest.mark.slow)
            for cell in CELLS
            for executor in ("fused", "associative")
            if (cell, executor) not in pairs and (executor == "fused" or issubclass(CELLS[cell], LinearCell))
        ),
    ],
)


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


def refusal(call, *arguments: Any, **options: Any) -> str:
    with pytest.raises(InputError) as caught:
        call(*arguments, **options)
    return str(caught.value)


def editable_fields(cell, executor):
    return [field for field in cell.fields if not (executor == "associative" and field in cell.state)]


def applied(edits, widths):
    """An observer for the oracle that knows every kind of edit."""
    whole = [(edit.field, edit.kind, *asked(edit, widths[edit.field])) for edit in edits]

    def observer(seen, _, row, t):
        def at(name, value):
            for field, kind, where, numbers in whole:
                if field == name:
                    number = numbers[row, t]
                    new = {"clamp": number, "scale": value * number}.get(kind, value + number)
                    value = np.where(where[row, t], new, value)
            seen[name] = value
            return value

        return at

    return observer


def asked(edit: Edit, width: int):
    """Where an edit acts, and its value: both [rows, steps, width]."""
    shape = (ROWS, STEPS, width)
    where = np.zeros(shape, bool)
    time = np.arange(STEPS) if edit.time is None else np.arange(STEPS)[edit.time]
    units = np.arange(width) if edit.units is None else np.atleast_1d(edit.units)
    where[np.ix_(np.arange(ROWS), np.atleast_1d(time), units)] = True
    if edit.key is not None:
        drawn = [jax.random.normal(jax.random.fold_in(edit.key, t), (ROWS, width)) for t in range(STEPS)]
        return where, np.stack(drawn, axis=1) * edit.value
    return where, np.broadcast_to(np.asarray(edit.value), shape)


# -- edits


@every_way
def test_every_kind_of_edit_follows_the_oracle(name, executor, reverse, x64, monkeypatch):
    cell, inputs = make(name), random_inputs()
    fields = editable_fields(cell, executor)
    first, last = fields[0], fields[-1]
    widths = {field: cell.widths.get(field, UNITS) for field in fields}
    edits = [
        noise(first, 0.3, key=jax.random.key(4), units=[0, 2], time=slice(1, 6)),
        add(last, normal(ROWS, STEPS, widths[last]), time=[0, 2, 5], each_step=True),
        scale(first, 1.5, time=3),
        patch(last, normal(STEPS, widths[last], seed=1), units=[1], time=slice(4, None)),
        lesion(first, 1),
        clamp(last, normal(widths[last], seed=2), time=[1]),
        add(first, -0.2),
    ]
    monkeypatch.setattr(oracles, "observer", applied(edits, widths))
    asked = {"lengths": LENGTHS, "mask": MASK, "reset": RESET, "reverse": bool(reverse)}
    expected = oracles.unroll(name, random_weights(name), np.asarray(inputs), **asked)
    options = {"edit": edits, "record": cell.fields, "executor": executor}
    run = quick(lambda v: [unroll(cell, v, remat=remat, **asked, **options) for remat in (None, 3)])
    for found in run(inputs):
        assert_same({key: getattr(found, key) for key in expected}, expected, tolerance=1e-11)


@more_served
def test_gradients_by_every_field_are_those_of_the_scan(name, executor, x64):
    cell, inputs = make(name), random_inputs()
    names = [*editable_fields(cell, executor), *(f"pre.{gate}" for gate in cell.summed)]
    asked = {"lengths": LENGTHS, "mask": MASK, "reset": RESET, "reverse": True}

    def loss(zeros, executor, **options):
        edits = [add(field, value, each_step=True) for field, value in zeros.items()]
        edits.insert(1, scale(names[0], zeros[names[0]][:1] + 1.3, units=[0, 1], each_step=True))
        found = unroll(cell, inputs, edit=edits, executor=executor, **asked, **options)
        return jnp.sum(jnp.sin(found.outputs)) + sum(jnp.sum(jnp.cos(v)) for v in found.state.values())

    zeros = {field: jnp.zeros((ROWS, STEPS, sequence.recordable(cell)[field])) for field in names}
    expected = quick(jax.grad(partial(loss, executor="scan")))(zeros)
    for remat in (None, "step"):
        assert_same(quick(jax.grad(partial(loss, executor=executor, remat=remat)))(zeros), expected)
    assert all(np.any(value) for value in expected.values())
    assert all(not np.any(expected[field][~EXISTS]) for field in names[1:])  # the first one's scale is one row for all


def test_the_gradient_by_a_field_agrees_with_finite_differences(x64):
    cell, inputs = make("lstm"), random_inputs()

    def loss(zeros):
        edits = [add(field, value, each_step=True) for field, value in zeros.items()]
        return jnp.sum(jnp.sin(unroll(cell, inputs, edit=edits, mask=MASK, executor="fused", remat=3).outputs))

    zeros = {field: jnp.zeros((ROWS, STEPS, UNITS)) for field in ("f", "c", "h", "pre.o")}
    gradient, loss, step = quick(jax.grad(loss))(zeros), quick(loss), 1e-5
    for seed in range(8):
        direction = {field: normal(*value.shape, seed=seed) for field, value in zeros.items()}
        up, down = ({field: sign * step * v for field, v in direction.items()} for sign in (1, -1))
        along = sum(np.vdot(direction[field], gradient[field]) for field in zeros)
        assert_allclose((loss(up) - loss(down)) / (2 * step), along, rtol=1e-7)


@pytest.mark.parametrize("executor", ["fused", "scan"])
def test_a_pre_activation_that_is_set_is_what_the_gate_is_made_of(executor, x64):
    cell, inputs = make("lstm"), random_inputs()
    set_to = {"i": 0.7, "g": -0.4}
    run = partial(unroll, cell, inputs, executor=executor, record=("pre.i", "pre.f", "f"), lengths=LENGTHS)
    before = [clamp(f"pre.{gate}", value, units=[0, 3], time=slice(2, 5)) for gate, value in set_to.items()]
    gates = {"i": jax.nn.sigmoid, "g": jnp.tanh}
    after = [clamp(gate, gates[gate](value), units=[0, 3], time=slice(2, 5)) for gate, value in set_to.items()]
    found, expected = quick(lambda: run(edit=before))(), quick(lambda: run(edit=after))()
    assert_same((found.outputs, found.state), (expected.outputs, expected.state))
    assert_allclose(found.recorded["f"], np.where(EXISTS_BY_LENGTH, jax.nn.sigmoid(found.recorded["pre.f"]), 0))
    assert np.all(np.asarray(found.recorded["pre.i"])[2, 2:5, [0, 3]] == 0.7)


EXISTS_BY_LENGTH = (np.arange(STEPS) < LENGTHS[:, None])[..., None]


def test_a_pre_activation_is_the_sum_of_all_its_products():
    model: Any = writing("feedback")
    decoder = model.decoder
    context = jnp.asarray(normal(2, ANSWERS, decoder.input), jnp.float32)
    names = ["pre.z", "input.z", "feedback.z", "recurrent.z"]
    found, edited = quick(
        lambda v: (
            unroll(decoder, v, record=names).recorded,
            unroll(decoder, v, record="z", edit=clamp("pre.z", 0.5)).recorded["z"],
        )
    )(context)
    assert_allclose(found["pre.z"], sum(found[name] for name in names[1:]), rtol=1e-5, atol=1e-6)
    gate = np.asarray(jax.nn.sigmoid(0.5 + decoder.cell.recurrent_bias[...][3:6]))
    assert_allclose(edited, np.broadcast_to(gate, edited.shape), rtol=1e-6)
    assert "unknown quantity" in refusal(unroll, decoder, context, record=["pre.n"])


@pytest.mark.parametrize("executor", ["fused", "scan"])
def test_edits_side_by_side_are_edits_alone(executor):
    cell, inputs = make("gru", dtype=jnp.float32), random_inputs(dtype=jnp.float32)
    masks, keys = jnp.eye(UNITS, dtype=bool), jax.random.split(jax.random.key(0), UNITS)
    times, numbers = jnp.arange(UNITS)[:, None] > jnp.arange(STEPS)[None], jnp.linspace(-1, 1, UNITS)

    def run(mask, unit, key, time, value):
        edits = [lesion("h", mask), clamp("z", value, units=unit, time=time), noise("n", value, key=key)]
        return unroll(cell, inputs, edit=edits, executor=executor, lengths=LENGTHS).outputs

    together = quick(jax.vmap(run))(masks, jnp.arange(UNITS), keys, times, numbers)
    alone = quick(run)
    for k in range(UNITS):
        assert_allclose(together[k], alone(masks[k], k, keys[k], times[k], numbers[k]), rtol=2e-6, atol=1e-6)
        assert not np.any(together[k][..., k])


def test_noise_is_fresh_at_each_step_and_the_same_for_the_same_key():
    cell = make("elman", dtype=jnp.float32)
    inputs = jnp.zeros((64, 50, INPUTS))

    @partial(jax.jit, static_argnums=1, compiler_options=CHEAP)
    def run(key, steps):
        edits = [clamp("h", 0.0), noise("h", 0.5, key=jax.random.key(key), units=[0, 2])]
        return unroll(cell, inputs[:, :steps], edit=edits).outputs

    def drawn(key, steps=50):
        return np.asarray(run(key, steps))

    first = drawn(0)
    assert not np.any(first[..., [1, 3]])
    noisy = first[..., [0, 2]]
    assert_allclose([noisy.mean(), noisy.std()], [0, 0.5], atol=0.02)
    assert len(np.unique(noisy)) > 0.99 * noisy.size
    assert_array_equal(drawn(0, steps=20), first[:, :20])
    assert np.all(drawn(1)[..., [0, 2]] != noisy)


def test_values_of_each_step_are_laid_out_like_the_inputs(x64):
    cell, inputs, values = make("lstm"), random_inputs(), normal(ROWS, STEPS, UNITS)
    found = unroll(cell, inputs, edit=patch("h", values)).outputs
    assert_array_equal(found, values)
    flipped = unroll(cell, jnp.swapaxes(inputs, 0, 1), edit=patch("h", np.swapaxes(values, 0, 1)), time_major=True)
    assert_array_equal(flipped.outputs, np.swapaxes(values, 0, 1))
    for_all = unroll(cell, inputs, edit=patch("h", values[0])).outputs
    assert_array_equal(for_all, np.broadcast_to(values[0], values.shape))


def test_a_run_with_the_states_of_another_is_the_other(x64):
    stack: Any = built(cell="lstm", units=(3, 4), layers=2, bidirectional=True, dtype="float64").stack
    one, other = (jnp.asarray(rng.integers(5, size=(2, 6)), jnp.int32) for _ in range(2))
    read = jnp.array([6, 4])
    fields = ["0.forward.h", "0.backward.h"]

    def run(one, other):
        given = stack.unroll(one, record=fields, lengths=read)
        edits = [patch(field, given.recorded[field]) for field in fields]
        return given.outputs, stack.unroll(other, edit=edits, lengths=read).outputs

    given, found = quick(run)(one, other)
    assert_allclose(found, given, rtol=1e-12, atol=1e-14)


# -- records


@every_way
def test_chosen_units_strides_and_statistics_are_of_the_whole_course(name, executor, reverse, x64):
    cell, inputs = make(name), random_inputs()
    first, last = cell.fields[0], cell.fields[-1]
    asked = {"reset": RESET, "mask": MASK, "reverse": bool(reverse), "lengths": LENGTHS, "executor": executor}
    asked["remat"] = 3 if name != "gru_before" else None
    ways = [(2, False), (3, False), (1, True), (2, True)]
    records = [
        [
            Record(last, units=(2, 0), stride=stride, statistics=statistics),
            Record(first, stride=stride, statistics=statistics),
            *(Record(field, units=(1,)) for field in cell.fields[1:-1]),
        ]
        for stride, statistics in ways
    ]
    run = quick(lambda v: [unroll(cell, v, record=each, **asked).recorded for each in (cell.fields, *records)])
    whole, *found = (jax.tree.map(np.asarray, each) for each in run(inputs))
    for (stride, statistics), seen in zip(ways, found, strict=True):
        assert set(seen) == set(cell.fields)
        for field, values in {last: whole[last][..., [2, 0]], first: whole[first]}.items():
            if statistics:
                expect_moments(seen[field], values[:, ::stride], EXISTS[:, ::stride])
            else:
                assert_allclose(seen[field], values[:, ::stride], rtol=1e-12, atol=1e-14)
        for field in cell.fields[1:-1]:
            assert_allclose(seen[field], whole[field][..., [1]], rtol=1e-12, atol=1e-14)


def expect_moments(found: Moments, values, valid):
    assert_array_equal(found.count, valid.sum(1))
    assert np.array_equal(found.least == np.inf, np.repeat(valid.sum(1)[:, None] == 0, values.shape[2], axis=1))
    for row in np.flatnonzero(valid.sum(1)):
        here = values[row][valid[row]]
        assert_allclose(found.mean[row], here.mean(0), rtol=1e-12, atol=1e-14)
        assert_allclose(found.deviation[row], here.std(0), rtol=1e-9, atol=1e-12)
        assert_allclose(found.least[row], here.min(0), rtol=1e-12, atol=1e-14)
        assert_allclose(found.greatest[row], here.max(0), rtol=1e-12, atol=1e-14)


def test_moments_merge(x64):
    values, valid = normal(40, 3, 2) + 100, rng.random((40, 3)) < 0.7
    steps = [Moments.of(jnp.asarray(v), jnp.asarray(m)) for v, m in zip(values, valid, strict=True)]
    halves = []
    for half in (steps[:13], steps[13:]):
        total = half[0]
        for step in half[1:]:
            total = total.merged(step)
        halves.append(total)
    nothing = Moments.of(jnp.zeros((3, 2)), jnp.zeros(3, bool))
    for merged in (halves[0].merged(halves[1]), nothing.merged(halves[1]).merged(halves[0])):
        expect_moments(merged, np.swapaxes(values, 0, 1), valid.T)


@pytest.mark.parametrize("executor", ["fused", "scan"])
def test_no_gradient_flows_through_records_of_any_kind(executor, x64):
    inputs = random_inputs()
    graph, variables = nnx.split(make("lstm"))
    record = ["h", "pre.i", Record("c", units=(1,)), Record("i", stride=2), Record("f", statistics=True)]

    def loss(variables, inputs):
        found = unroll(nnx.merge(graph, variables), inputs, record=record, executor=executor, remat=3)
        return sum(jnp.sum(leaf) for leaf in jax.tree.leaves(found.recorded)), found.outputs

    gradient, _ = quick(jax.grad(loss, argnums=(0, 1), has_aux=True))(variables, inputs)
    assert all(not np.any(leaf) for leaf in jax.tree.leaves(gradient))


@pytest.mark.parametrize(
    ("record", "executor"),
    [
        (Record("h", stride=64), "fused"),
        (Record("c", statistics=True), "fused"),
        (Record("f", units=(3,)), "fused"),
        (Record("i", units=(3, 0), stride=2), "scan"),
    ],
)
def test_what_is_not_kept_is_never_held(executor, record):
    steps, rows, units = 4096, 2, 64
    cell: Any = CELLS["lstm"](2, units, rngs=nnx.Rngs(0))
    tokens = jnp.zeros((rows, steps), jnp.int32)

    def bytes_of(record):
        run = jax.jit(lambda tokens: unroll(cell, tokens, record=record, executor=executor).recorded)
        used: Any = run.lower(tokens).compile().memory_analysis()
        return used.temp_size_in_bytes + used.output_size_in_bytes

    course = steps * rows * units * 4
    assert bytes_of("c") >= course
    assert bytes_of(record) < course / 5


def test_looking_off_is_no_part_of_the_program(monkeypatch):
    cell, inputs = make("lstm", dtype=jnp.float32), random_inputs(dtype=jnp.float32)
    text = "".join("abcd"[k] for k in rng.integers(4, size=400))
    config = ModelConfig(cell="lstm", units=4)
    experiment = Experiment(task=Text(text, length=8), model=config, train=TrainConfig(batch=2))
    trainer = Built(experiment, experiment.task).trainer
    data, numbers = trainer.task.data("train"), (jnp.int32(0), jnp.int32(2), jnp.bool_(True))

    def programs(**looking):
        run = lambda v: jax.value_and_grad(lambda v: unroll(cell, v, **looking).outputs.sum())(v)  # noqa: E731
        chunk = jax.jit(lambda member, data: trainer.chunk(member, data, *numbers))
        lowered = jax.jit(run).lower(inputs), chunk.lower(trainer.member(0), data)
        return [each.as_text() for each in lowered]

    absent = programs()
    assert programs(record=(), edit=())[0] == absent[0]
    # Nor does the machinery for it leave anything behind.
    monkeypatch.setattr(sequence, "naming", lambda *_: lambda name, value: value)
    for executor in ("fused", "scan"):
        for verb in ("keep", "stacked", "with_states"):
            monkeypatch.setattr(EXECUTORS[executor], verb, lambda *_: {})
    assert programs() == absent


# -- layers and models


def built(*, read: str = "every", symbols: bool = True, length: int = 0, **options: Any) -> Any:
    config = ModelConfig(**{"cell": "gru", "units": 4, **options})
    return config.build(5, 5, read=read, symbols=symbols, length=length, answer_steps=ANSWERS, rngs=nnx.Rngs(0))


def writing(decoder: Any) -> Any:
    return built(read="answer", decoder=decoder, decoder_units=3)


MODELS = {
    "bidirectional": partial(built, bidirectional=True, layers=2),
    "last": partial(built, read="last"),
    "repeat": partial(writing, "repeat"),
    "feedback": partial(writing, "feedback"),
    "attention": partial(writing, "attention"),
    "feedforward": partial(built, cell="feedforward", layers=2),
    "feedforward at once": partial(built, cell="feedforward", read="last", length=6),
}


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow) if n in ("attention", "repeat") else n for n in MODELS]
)
def test_everything_recordable_is_recorded_as_it_says(name):
    model = MODELS[name]()
    symbols, read = jnp.asarray(rng.integers(5, size=(2, 6)), jnp.int32), np.array([6, 4])
    given = {"answers": jnp.zeros((2, ANSWERS), jnp.int32)} if model.read == "answer" else {}
    known = model.recordable
    steps = {"every": 6, "last": 1, "answer": ANSWERS}[model.read]
    edits = [clamp("logits", 2.0, units=1), add("logits", np.ones((2, steps, 5)), units=1, each_step=True)]
    asked = [
        {"lengths": read, "record": [Record(field) for field in known]},
        {"lengths": read, "record": Record("logits", (1,), statistics=True)},
        {"edit": edits},
    ]
    run = quick(lambda symbols: [model.unroll(symbols, **given, **options) for options in asked])
    found, moments, edited = run(symbols)
    for field, width in known.items():
        inside = field.startswith("encoder") or (model.read == "last" and "." in field and name == "last")
        assert found.recorded[field].shape == (2, 6 if inside else steps, width), field
    valid = (np.arange(steps) < (read[:, None] if model.read == "every" else steps))[..., None]
    outputs = np.reshape(found.outputs, (2, steps, 5))
    assert_array_equal(found.recorded["logits"], np.where(valid, outputs, 0))
    assert_allclose(found.recorded["probabilities"], np.where(valid, jax.nn.softmax(outputs), 0), rtol=1e-6)
    assert_array_equal(moments.recorded["logits"].count, [steps, 4 if model.read == "every" else steps])
    assert_array_equal(edited.outputs[..., 1], np.full(edited.outputs.shape[:-1], 3.0))
    assert "edit 'logits'" in refusal(model.unroll, symbols, edit=lesion("probabilities"), **given)
    assert "'logits'" in refusal(model.unroll, symbols, record=["logit"], **given)


def test_hidden_units_of_a_feed_forward_network_are_edited():
    model, symbols = built(cell="feedforward", layers=2, units=(4, 3)), jnp.zeros((2, 6), jnp.int32)
    values = normal(2, 6, 3).astype(np.float32)

    def loss(zeros):
        return jnp.sum(model.unroll(symbols, edit=add("0.h", zeros, each_step=True)).outputs)

    found, gradient = quick(
        lambda values: (
            model.unroll(symbols, edit=patch("1.h", values), record=["1.h"]),
            jax.grad(loss)(jnp.zeros((2, 6, 4))),
        )
    )(values)
    assert_array_equal(found.recorded["1.h"], values)
    assert_allclose(found.outputs, model.readout(jnp.asarray(values)), rtol=1e-6)
    assert np.any(gradient)


# -- what is refused


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"record": ["h", Record("h", stride=2)]}, "'h' twice"),
        ({"record": ["pree.i"]}, "did you mean 'pre.i'"),
        ({"record": Record("h", units=(0, 4))}, "unit 4"),
        ({"record": Record("h", units=(-1,))}, "unit -1"),
        ({"edit": add("pre.x", 0.0)}, "unknown quantity"),
        ({"edit": clamp("h", np.zeros(3))}, "broadcasts with"),
        ({"edit": clamp("h", np.zeros((2, 5, 4)))}, "broadcasts with"),
        ({"edit": patch("h", np.zeros((2, 4, 4)))}, "2 rows of 5 steps of 4 units"),
        ({"edit": patch("h", np.zeros((5, 2, 4)))}, "2 rows of 5 steps of 4 units"),
        ({"edit": patch("h", np.zeros(4))}, r"\[time, units\]"),
        ({"edit": lesion("h", jnp.zeros(3, bool))}, "a mask of units"),
        ({"edit": lesion("h", np.zeros(3, bool))}, "there are 4"),
        ({"edit": Edit("h", "noise", 1.0)}, "noise without a key"),
    ],
)
def test_what_does_not_fit_is_refused_with_a_fix(options: dict[str, Any], message: str):
    cell = CELLS["lstm"](3, 4, rngs=nnx.Rngs(0))
    with pytest.raises(InputError, match=message):
        unroll(cell, np.zeros((2, 5, 3), np.float32), **options)


def test_records_of_nothing_are_refused():
    assert "units=()" in refusal(Record, "h", units=())
    assert "stride=0" in refusal(Record, "h", stride=0)
