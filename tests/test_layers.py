"""Laws of the layers and models, judged by the naive references of `oracles` where something is computed."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from numpy.testing import assert_allclose, assert_array_equal

import oracles
from rnnjax.cells import CELLS, GRU, LSTM, Cell, Elman, FeedBack
from rnnjax.config import InputError
from rnnjax.layers import Bidirectional, EncoderDecoder, ModelConfig, Recurrent, SequenceModel, Stack
from rnnjax.sequence import clamp, scale
from rnnjax.unroll import unroll


@pytest.fixture(scope="module", autouse=True)
def quick_compilation():
    """These programs are tiny: compiling them is most of the work."""
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", before)


NAMES = {kind: name for name, kind in CELLS.items()}
in_float64, slow = pytest.mark.usefixtures("x64"), pytest.mark.slow


def cell_of(name: str, input: int, units: int, seed: int = 0) -> Cell:
    """A float64 cell with the oracle's random weights."""
    weights = oracles.random_weights(name, input, units, np.random.default_rng(seed))
    options: dict[str, Any] = {"initializers": dict.fromkeys(weights, "zeros"), "rngs": nnx.Rngs(0)}
    if name == "projected_lstm":
        options["projection"] = weights["projection_kernel"].shape[1]
    cell = CELLS[name](input, units, param_dtype=np.float64, dtype=np.float64, **options)
    for key, value in weights.items():
        getattr(cell, key)[...] = value
    return cell


def pair_of(name: str, input: int, units: int | tuple[int, int], *, merge: str = "concat", seed: int = 0):
    widths = (units, units) if isinstance(units, int) else units
    forward, backward = (cell_of(name, input, width, seed + k) for k, width in enumerate(widths))
    return Bidirectional(Recurrent(forward), Recurrent(backward, reverse=True), merge=merge)


def oracle(cell: Cell, inputs: Any, **options: Any) -> dict:
    weights = {key: np.asarray(value) for key, value in nnx.to_pure_dict(nnx.state(cell)).items()}
    return oracles.unroll(NAMES[type(cell)], weights, np.asarray(inputs), **options)


def oracle_pair(pair: Bidirectional, inputs: Any, **options: Any) -> tuple[dict, dict]:
    """Both directions alone; a reset is not among the options."""
    forward = oracle(pair.forward.cell, inputs, **options)
    return forward, oracle(pair.backward.cell, inputs, reverse=True, **options)


def normal(*shape: int, seed: int = 1) -> jax.Array:
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape))


def symbols(vocab: int, *shape: int, seed: int = 2) -> jax.Array:
    return jnp.asarray(np.random.default_rng(seed).integers(vocab, size=shape), jnp.int32)


def reset_at(rows: int, steps: int, *places: tuple[int, int]) -> np.ndarray:
    reset = np.zeros((rows, steps), bool)
    for place in places:
        reset[place] = True
    return reset


def close(found: Any, expected: Any, tolerance: float = 1e-11) -> None:
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    jax.tree.map(lambda a, b: assert_allclose(a, b, rtol=tolerance, atol=tolerance), found, expected)


@nnx.jit
def called(module: Any, inputs: Any, **options: Any) -> jax.Array:
    """What calling a layer or a model gives, compiled once a structure."""
    return module(inputs, **options)


def graded(loss, *modules: Any) -> Any:
    """Value and gradient by the first module, compiled."""
    return nnx.jit(nnx.value_and_grad(loss))(*modules)


def refusal(call, *arguments: Any, **options: Any) -> str:
    with pytest.raises(InputError) as caught:
        call(*arguments, **options)
    return str(caught.value)


def copying(units: int, **options: Any) -> Any:
    """A layer whose output is its input."""
    cell: Any = Elman(units, units, activation="identity", initializers={"recurrent_kernel": "zeros"}, rngs=nnx.Rngs(0))
    cell.input_kernel[...] = jnp.eye(units)
    return Recurrent(cell, **options)


def small(*, read: str = "every", seed: int = 0, **options: Any) -> Any:
    """A model of four units on five symbols, which also writes them."""
    config = ModelConfig(**{"cell": "elman", "units": 4, **options})
    return config.build(5, 5, read=read, symbols=True, rngs=nnx.Rngs(seed))


# -- one layer


@in_float64
@pytest.mark.parametrize(
    ("name", "reverse"), [("elman", False), ("lstm", True), ("ctrnn", False), ("projected_lstm", True)]
)
def test_a_layer_is_its_cell_unrolled_and_resets_to_its_learned_initial_state(name, reverse):
    layer = Recurrent(cell_of(name, 3, 4), reverse=reverse, learned_initial=True)
    assert layer.initial is not None
    layer.initial[...] = normal(sum(layer.cell.state_widths), seed=3)
    ends = np.cumsum(layer.cell.state_widths)[:-1]
    rows = np.split(np.asarray(layer.initial[...]), ends)
    initial = dict(zip(layer.cell.state, rows, strict=True))
    inputs, lengths, reset = normal(3, 6, 3), np.array([6, 4, 0]), reset_at(3, 6, (0, 3), (1, 1))

    found = layer.unroll(inputs, lengths=jnp.asarray(lengths), reset=jnp.asarray(reset), record=["h"])
    expected = oracle(layer.cell, inputs, lengths=lengths, reset=reset, initial=initial, reverse=reverse)
    close((found.outputs, found.state), (expected["outputs"], expected["state"]))
    close(found.recorded["h"], expected["recorded"]["h"])
    state = {field: normal(3, width) for field, width in layer.cell.widths.items()}
    close(
        layer(inputs, state=state, reset=jnp.asarray(reset)),
        oracle(layer.cell, inputs, state=state, reset=reset, initial=initial, reverse=reverse)["outputs"],
    )
    assert layer.width == expected["outputs"].shape[-1]


@in_float64
def test_the_learned_initial_state_has_the_gradient_of_finite_differences():
    layer = Recurrent(cell_of("lstm", 2, 2), learned_initial=True)
    assert layer.initial is not None
    start = np.asarray(normal(4, seed=3))
    layer.initial[...] = start
    inputs, reset, weight = normal(2, 4, 2), reset_at(2, 4, (0, 2)), np.asarray(normal(2, 4, 2, seed=4))

    def naive(row):
        initial = {"c": row[:2], "h": row[2:]}
        return (oracle(layer.cell, inputs, reset=reset, initial=initial)["outputs"] * weight).sum()

    expected = [(naive(start + d) - naive(start - d)) / 2e-6 for d in 1e-6 * np.eye(4)]
    gradients = nnx.grad(lambda layer: (layer(inputs, reset=jnp.asarray(reset)) * weight).sum())(layer)
    close(gradients["initial"][...], np.array(expected), 1e-8)


def test_a_learned_initial_state_of_several_fields_inside_of_jit():
    layer = small(cell="lstm", learned_initial=True).stack.layers[0]
    assert called(layer, symbols(5, 2, 3)).shape == (2, 3, 4)


@in_float64
def test_how_a_layer_is_computed_changes_neither_outputs_nor_gradients():
    cell, inputs = cell_of("gru", 3, 4), normal(2, 7, 3)
    ways: list[dict[str, Any]] = [
        {},
        {"executor": "scan", "remat": "step"},
        {"remat": 2, "unroll": 3, "truncate": 7},
    ]
    plain, *others = (graded(lambda layer: (layer(inputs) ** 2).sum(), Recurrent(cell, **options)) for options in ways)
    for found in others:
        close(found, plain)


@in_float64
def test_truncation_cuts_the_gradient_and_leaves_the_outputs():
    layer, inputs = Recurrent(cell_of("elman", 3, 4), truncate=3), normal(1, 7, 3)
    close(called(layer, inputs), oracle(layer.cell, inputs)["outputs"])
    gradient = jax.jit(jax.grad(lambda inputs: layer(inputs)[:, 5].sum()))(inputs)
    assert (np.abs(gradient).max(axis=(0, 2)) > 0).tolist() == [False] * 3 + [True] * 3 + [False]


# -- both directions


@in_float64
@pytest.mark.parametrize(
    ("merge", "join"),
    [
        ("concat", lambda f, b: np.concatenate([f, b], axis=-1)),
        ("sum", np.add),
        ("multiply", np.multiply),
        ("average", lambda f, b: (f + b) / 2),
        pytest.param("none", lambda f, b: (f, b)),
    ],
)
def test_merges_join_the_two_directions_computed_alone(merge, join):
    layer = pair_of("mgu", 3, 2, merge=merge)
    inputs, lengths = normal(3, 5, 3), np.array([5, 3, 1])
    forward, backward = oracle_pair(layer, inputs, lengths=lengths)
    found = layer.unroll(inputs, lengths=jnp.asarray(lengths), record=["forward.h", "backward.f"])
    close(found.outputs, join(forward["outputs"], backward["outputs"]))
    both = {"forward": forward, "backward": backward}
    close(found.state, {f"{way}.{f}": value for way, run in both.items() for f, value in run["state"].items()})
    close(found.recorded["forward.h"], forward["recorded"]["h"])
    close(found.recorded["backward.f"], backward["recorded"]["f"])
    assert sorted(found.recorded) == ["backward.f", "forward.h"]
    if merge != "none":
        assert layer.width == found.outputs.shape[-1]


@in_float64
@pytest.mark.parametrize("time_major", [False, True])
def test_sequences_packed_into_a_row_do_not_see_each_other(time_major):
    layer = pair_of("gru", 3, (2, 3))
    rows = normal(2, 7, 3)
    reset = reset_at(2, 7, (0, 3), (1, 5))
    if time_major:
        found = layer(rows.swapaxes(0, 1), reset=jnp.asarray(reset.T), time_major=True).swapaxes(0, 1)
    else:
        found = called(layer, rows, reset=reset)
    for row, cut in ((0, 3), (1, 5)):
        for piece in (slice(0, cut), slice(cut, 7)):
            alone = [way["outputs"][0] for way in oracle_pair(layer, rows[row : row + 1, piece])]
            close(found[row, piece], np.concatenate(alone, axis=-1))


@in_float64
def test_sequences_packed_with_a_gap_do_not_see_each_other():
    layer, rows = pair_of("elman", 3, 2), normal(1, 8, 3)
    mask = ~reset_at(1, 8, (0, 3), (0, 4))
    found = called(layer, rows, mask=mask, reset=reset_at(1, 8, (0, 5)))
    for piece in (slice(0, 3), slice(5, 8)):
        alone = [way["outputs"][0] for way in oracle_pair(layer, rows[:, piece])]
        close(found[0, piece], np.concatenate(alone, axis=-1))


@in_float64
def test_a_reset_on_padding_does_not_exist_for_the_backward_direction():
    layer, inputs = pair_of("elman", 3, 2), normal(1, 5, 3)
    state = {"forward.h": normal(1, 2), "backward.h": normal(1, 2, seed=5)}
    options = {"state": state, "lengths": np.array([3])}
    close(called(layer, inputs, reset=reset_at(1, 5, (0, 3)), **options), called(layer, inputs, **options))


def test_directions_and_merges_are_checked():
    layers = [Recurrent(Elman(2, 2, rngs=nnx.Rngs(0)), reverse=reverse) for reverse in (False, True)]
    assert "wrong way round" in refusal(Bidirectional, layers[1], layers[0])
    assert "wrong way round" in refusal(Bidirectional, layers[0], layers[0])
    assert "did you mean 'concat'?" in refusal(Bidirectional, *layers, merge="concatenate")


# -- stacks


@in_float64
@pytest.mark.parametrize("residual", [False, True])
def test_a_stack_is_its_layers_in_turn(residual):
    layers = [
        Recurrent(cell_of("lstm", 5, 5)),  # its widths agree too, but it is the first
        pair_of("lstm", 5, (3, 2), seed=1),
        Recurrent(cell_of("gru", 5, 3, seed=3)),
        Recurrent(cell_of("elman", 3, 3, seed=4), reverse=True),
    ]
    stack, inputs, lengths = Stack(layers, residual=residual), normal(2, 6, 5), np.array([6, 4])
    first = oracle(layers[0].cell, inputs, lengths=lengths)
    forward, backward = oracle_pair(layers[1], first["outputs"], lengths=lengths)
    values = np.concatenate([forward["outputs"], backward["outputs"]], axis=-1)
    values = values + first["outputs"] if residual else values
    third = oracle(layers[2].cell, values, lengths=lengths)
    fourth = oracle(layers[3].cell, third["outputs"], lengths=lengths, reverse=True)
    values = fourth["outputs"] + third["outputs"] if residual else fourth["outputs"]

    found = stack.unroll(inputs, lengths=jnp.asarray(lengths), record=["0.h", "1.forward.i", "2.recurrent.n", "3.h"])
    close(found.outputs, values)
    runs = {"0": first, "1.forward": forward, "1.backward": backward, "2": third, "3": fourth}
    close(found.state, {f"{at}.{f}": value for at, run in runs.items() for f, value in run["state"].items()})
    assert sorted(found.recorded) == ["0.h", "1.forward.i", "2.recurrent.n", "3.h"]
    for name in ("0.h", "1.forward.i", "3.h"):
        place, _, field = name.rpartition(".")
        close(found.recorded[name], runs[place]["recorded"][field])
    assert stack.width == 3
    close(jax.tree.map(jnp.shape, stack.initial_state(2)), jax.tree.map(jnp.shape, found.state))


@in_float64
def test_two_halves_with_the_state_carried_are_the_whole():
    layers = [Recurrent(cell_of("lstm", 3, 4)), Recurrent(cell_of("gru", 4, 2), learned_initial=True)]
    stack, inputs, reset = Stack(layers, residual=True), normal(2, 7, 3), reset_at(2, 7, (0, 5))

    @nnx.jit
    def run(stack, inputs, reset, state=None):
        found = stack.unroll(inputs, reset=reset, state=state)
        return found.outputs, found.state

    whole, last = run(stack, inputs, reset)
    first, state = run(stack, inputs[:, :3], reset[:, :3])
    second, state = run(stack, inputs[:, 3:], reset[:, 3:], state)
    close((jnp.concatenate([first, second], axis=1), state), (whole, last))
    close(run(stack, inputs, reset, stack.initial_state(2)), (whole, last))


@in_float64
def test_edits_reach_the_layer_that_they_name():
    layers = [Recurrent(cell_of("lstm", 3, 4)), pair_of("elman", 4, 2)]
    stack, inputs = Stack(layers), normal(2, 5, 3)
    edits = [
        clamp("0.c", 0.5, units=[1, 3], time=2),
        scale("1.backward.h", -2.0, units=0),
        scale("0.i", 0.3, time=slice(3, None)),
    ]
    time, first = np.arange(5)[:, None, None], np.ones((5, 2, 2), bool) & (np.arange(2) == 0)
    wide = np.ones((5, 2, 4), bool)
    below = oracle(
        layers[0].cell,
        inputs,
        edits=[
            ("c", "clamp", wide & (time == 2) & (np.arange(4) % 2 == 1), 0.5),
            ("i", "scale", wide & (time > 2), 0.3),
        ],
    )["outputs"]
    forward = oracle(layers[1].forward.cell, below)["outputs"]
    backward = oracle(layers[1].backward.cell, below, reverse=True, edits=[("h", "scale", first, -2.0)])["outputs"]
    close(stack(inputs, edit=edits), np.concatenate([forward, backward], axis=-1))


@pytest.mark.parametrize("name", ["1.h", "h", "0", "00.h", "0.q", "forward.h"])
def test_unknown_names_of_layers_and_fields_are_refused(name):
    stack, inputs = small().stack, symbols(5, 1, 2)
    assert name.rpartition(".")[2] in refusal(stack.unroll, inputs, record=[name])
    assert name.rpartition(".")[2] in refusal(stack.unroll, inputs, edit=clamp(name, 0.0))


@pytest.mark.parametrize("name", ["0.h", "0.forwrad.h", "0.forward"])
def test_unknown_names_of_directions_are_refused(name):
    stack, inputs = small(bidirectional=True).stack, symbols(5, 1, 2)
    refusal(stack.unroll, inputs, record=[name])
    refusal(stack.unroll, inputs, edit=clamp(name, 0.0))


def test_states_and_stacks_that_do_not_fit_are_refused():
    stack = small(layers=2).stack
    refusal(Stack, [])
    refusal(stack.unroll, symbols(5, 2, 3), state={"0.h": jnp.zeros((2, 4))})
    refusal(stack.unroll, symbols(5, 2, 3), state=stack.initial_state(3))


# -- noise


def counting(*shape: int) -> jax.Array:
    """The number of the step, from one, at every unit of every row."""
    return jnp.broadcast_to(1 + jnp.arange(float(shape[1]))[None, :, None], shape)


def rate_of_zeros(values: jax.Array) -> float:
    return float((values == 0).mean())


def test_dropout_between_layers_keeps_the_mean_and_differs_from_step_to_step():
    stack, ones = Stack([copying(40), copying(40)], dropout=0.25), jnp.ones((20, 30, 40))
    key = jax.random.key(0)
    found = called(stack, ones, key=key)
    assert abs(rate_of_zeros(found) - 0.25) < 0.02  # 24,000 draws: seven standard deviations
    assert_allclose(found[found != 0], 1 / 0.75, rtol=1e-6)
    assert abs(float(found.mean()) - 1) < 0.03
    assert np.all(np.asarray(found).std(axis=1) > 0)
    assert_array_equal(called(stack, ones, key=key), found)
    assert not np.array_equal(called(stack, ones, key=jax.random.key(1)), found)
    assert_array_equal(called(stack, ones), ones)
    assert_array_equal(called(Stack([copying(40)], dropout=0.25), ones, key=key), ones)


def test_input_dropout_has_one_mask_for_all_steps():
    model = SequenceModel(Stack([copying(60)]), 2, input_dropout=0.4, rngs=nnx.Rngs(0))
    inputs = counting(100, 5, 60)
    found = model.unroll(inputs, key=jax.random.key(0)).hidden
    kept = found / inputs
    assert_allclose(kept, jnp.broadcast_to(kept[:, :1], kept.shape), rtol=1e-6)
    assert abs(rate_of_zeros(kept[:, 0]) - 0.4) < 0.04
    assert_allclose(kept[kept != 0], 1 / 0.6, rtol=1e-6)
    assert_array_equal(model.unroll(inputs).hidden, inputs)


def test_recurrent_dropout_has_one_mask_for_all_steps():
    layer = copying(60, recurrent_dropout=0.2)
    layer.cell.recurrent_kernel[...] = jnp.eye(60)
    inputs, state = jnp.zeros((100, 3, 60)), {"h": jnp.ones((100, 60))}
    found = called(layer, inputs, state=state, key=jax.random.key(0))
    assert abs(rate_of_zeros(found[:, 0]) - 0.2) < 0.03
    assert_allclose(found[:, 2], found[:, 0] ** 3, rtol=1e-5)
    assert_allclose(found[:, 0][found[:, 0] != 0], 1 / 0.8, rtol=1e-6)
    assert_array_equal(called(layer, inputs, state=state), jnp.ones_like(inputs))


def test_zoneout_keeps_old_values_at_its_rate_and_by_expectation_in_evaluation():
    layer, inputs = copying(60, zoneout=0.3), counting(30, 6, 60)
    found = np.asarray(called(layer, inputs, key=jax.random.key(0)))
    before = np.concatenate([np.zeros_like(found[:, :1]), found[:, :-1]], axis=1)
    kept = found == before
    assert np.all(kept | (found == inputs))
    assert abs(kept.mean() - 0.3) < 0.03  # 10,800 draws: seven standard deviations
    assert np.all(abs(kept.mean(axis=(0, 2)) - 0.3) < 0.08)
    expected, h = [], 0.0
    for t in range(6):
        h = 0.3 * h + 0.7 * (t + 1)
        expected.append(h)
    assert_allclose(called(layer, inputs)[0, :, 0], expected, rtol=1e-6)


def test_noise_is_the_same_for_the_same_key_and_rate_zero_is_none():
    rates = ("dropout", "input_dropout", "recurrent_dropout", "zoneout")
    key, inputs = jax.random.key(3), symbols(5, 3, 6)
    plain = called(small(layers=2), inputs)
    noisy = small(layers=2, **dict.fromkeys(rates, 0.4))
    assert_array_equal(called(noisy, inputs, key=key), called(noisy, inputs, key=key))
    assert not np.allclose(called(noisy, inputs, key=key), called(noisy, inputs, key=jax.random.key(4)))
    none = small(layers=2, **dict.fromkeys(rates, 0.0))
    assert_allclose(called(none, inputs, key=key), plain, rtol=1e-5, atol=1e-6)


# -- models


@in_float64
@pytest.mark.parametrize(
    ("vocab", "bidirectional"),
    [
        pytest.param(4, True, id="fewer symbols than steps: a table of products"),
        pytest.param(40, False, id="more: rows looked up, then multiplied"),
    ],
)
def test_an_embedding_folded_into_a_table_is_a_lookup(vocab, bidirectional):
    config = ModelConfig(cell="gru", units=3, embedding=2, bidirectional=bidirectional, dtype="float64")
    model = config.build(vocab, 5, read="every", symbols=True, rngs=nnx.Rngs(0))
    tokens, weight = symbols(vocab, 3, 6), normal(3, 6, 5)
    options = {"lengths": jnp.array([6, 2, 4]), "reset": jnp.asarray(reset_at(3, 6, (0, 2)))}

    def folded(model):
        return (model(tokens, **options) * weight).sum()

    def looked_up(model):
        return (model.readout(model.stack(model.embedding(tokens), **options)) * weight).sum()

    found = graded(folded, model)
    close(found, graded(looked_up, model))
    gradient = found[1]["embedding"]["embedding"][...]
    assert gradient.dtype == np.float64 and np.abs(gradient).max() > 0


@in_float64
@pytest.mark.parametrize("executor", ["fused", "scan"])
def test_symbols_stand_for_one_hot_rows(executor):
    model = small(cell="lstm", dtype="float64", executor=executor)
    tokens, weight = symbols(5, 3, 6), normal(3, 6, 5)
    found, expected = (
        graded(lambda model, inputs: (model(inputs) * weight).sum(), model, inputs)
        for inputs in (tokens, jnp.eye(5)[tokens])
    )
    close(found, expected)


@in_float64
def test_reading_the_last_step_reads_the_last_that_exists():
    every, last = (small(dtype="float64", read=read) for read in ("every", "last"))
    tokens, lengths = symbols(5, 4, 6), np.array([6, 3, 1, 0])
    last.readout.bias[...] = every.readout.bias[...] = normal(5)
    whole = called(every, tokens)
    expected = np.stack([whole[0, 5], whole[1, 2], whole[2, 0], every.readout.bias[...]])
    close(called(last, tokens, lengths=lengths), expected)
    close(called(last, tokens), whole[:, -1])
    mask = np.arange(6) < lengths[:, None]
    close(called(last, tokens, mask=mask), expected)
    close(called(last, tokens, mask=mask, lengths=np.full(4, 3)), np.stack([whole[0, 2], *expected[1:]]))


@in_float64
def test_a_prediction_shows_the_layers_with_gradient_through_the_hidden_states():
    model, tokens = small(dtype="float64", layers=2), symbols(5, 2, 4)
    found, stack = model.unroll(tokens, record=["1.h"]), model.stack.unroll(tokens, record=["1.h"])
    close((found.hidden, found.state, found.recorded), (stack.outputs, stack.state, stack.recorded))
    kernel, bias = (np.asarray(v[...]) for v in (model.readout.kernel, model.readout.bias))
    close(found.outputs, np.asarray(found.hidden) @ kernel + bias)
    _, gradients = graded(lambda model: (model.unroll(tokens).hidden ** 2).sum(), model)
    assert np.abs(gradients["stack"]["layers"][0]["cell"]["input_kernel"][...]).max() > 0


@pytest.mark.parametrize("bidirectional", [False, True])
def test_input_dropout_of_symbols_drops_features_of_their_rows(bidirectional):
    model, key = small(input_dropout=0.5, bidirectional=bidirectional), jax.random.key(0)
    tokens = symbols(5, 3, 6)
    expected = called(model, jax.nn.one_hot(tokens, 5), key=key)
    assert_allclose(called(model, tokens, key=key), expected, rtol=1e-6, atol=1e-6)


def test_a_model_refuses_time_major_inputs():
    assert "[batch, time, ...]" in refusal(lambda: small()(symbols(5, 2, 4).T, time_major=True))


# -- encoder and decoder


@partial(nnx.jit, static_argnames="steps")
def written(model: EncoderDecoder, inputs: Any, steps: int, **options: Any) -> jax.Array:
    return model(inputs, steps, **options)


def context_of(encoder: Recurrent, inputs: Any, lengths: np.ndarray) -> np.ndarray:
    outputs = oracle(encoder.cell, inputs, lengths=lengths)["outputs"]
    return outputs[np.arange(len(lengths)), lengths - 1]


@in_float64
def test_a_stack_decodes_the_context_repeated_at_every_step():
    encoder = Recurrent(cell_of("lstm", 3, 4))
    layers = [Recurrent(cell_of("gru", 4, 3, seed=1)), Recurrent(cell_of("elman", 3, 2, seed=2))]
    model = EncoderDecoder(Stack([encoder]), Stack(layers), outputs=5, rngs=nnx.Rngs(0))
    assert model.readout is not None and model.readout.bias is not None
    inputs, lengths = normal(3, 6, 3), np.array([6, 4, 1])
    hidden = np.repeat(context_of(encoder, inputs, lengths)[:, None], 7, axis=1)
    for layer in layers:
        hidden = oracle(layer.cell, hidden)["outputs"]
    expected = hidden @ np.asarray(model.readout.kernel[...]) + np.asarray(model.readout.bias[...])
    close(written(model, inputs, 7, lengths=lengths), expected, 1e-6)  # the readout is float32
    assert written(model, inputs, 2).shape == (3, 2, 5)


def feedback_of(name: str, feed: str, *, context: int = 3, vocab: int = 4) -> FeedBack:
    cell = cell_of(name, context + vocab, 5)
    readout = nnx.Linear(cell.widths["h"], vocab, param_dtype=np.float64, rngs=nnx.Rngs(0))
    readout.kernel[...] = 3 * normal(*readout.kernel.shape, seed=5)
    assert readout.bias is not None
    readout.bias[...] = 0.1 * normal(vocab, seed=6)
    return FeedBack(cell, readout, feed=feed)


def run_freely(decoder: FeedBack, context: np.ndarray, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Logits and what is fed back, one step at a time."""
    assert decoder.readout.bias is not None
    kernel, bias = (np.asarray(v[...]) for v in (decoder.readout.kernel, decoder.readout.bias))
    answer, state, logits, answers = np.zeros((len(context), decoder.vocab)), None, [], []
    for _ in range(steps):
        inputs = np.concatenate([context, answer], axis=-1)
        run = oracle(decoder.cell, inputs[:, None], state=state)
        state = run["state"]
        logits.append(run["outputs"][:, 0] @ kernel + bias)
        if decoder.feed == "greedy":
            answer = np.eye(decoder.vocab)[logits[-1].argmax(axis=-1)]
        else:
            exponents = np.exp(logits[-1] - logits[-1].max(axis=-1, keepdims=True))
            answer = exponents / exponents.sum(axis=-1, keepdims=True)
        answers.append(answer)
    return np.stack(logits, axis=1), np.stack(answers, axis=1)


@in_float64
@pytest.mark.parametrize(
    ("name", "feed"),
    [
        *(pytest.param(n, "greedy", marks=() if n in ("elman", "gru_before", "min_gru") else slow) for n in CELLS),
        ("lstm", "probabilities"),
        pytest.param("gru", "probabilities", marks=slow),
    ],
)
def test_a_decoder_running_freely_reads_its_own_answers(name, feed):
    encoder, decoder = Recurrent(cell_of("elman", 2, 3)), feedback_of(name, feed)
    model, inputs, lengths = (
        EncoderDecoder(Stack([encoder]), decoder),
        normal(4, 5, 2),
        np.array([5, 4, 2, 1]),
    )
    context = context_of(encoder, inputs, lengths)
    logits, answers = run_freely(decoder, context, 6)
    close(written(model, inputs, 6, lengths=lengths), logits)
    if feed == "greedy":
        right = jnp.asarray(answers.argmax(axis=-1))
        assert len(np.unique(right, axis=0)) > 1
        close(written(model, inputs, 6, lengths=lengths, answers=right), logits)


@in_float64
@pytest.mark.parametrize("executor", ["fused", "scan"])
def test_what_is_fed_back_can_be_recorded(executor):
    decoder, context = feedback_of("mgu", "probabilities"), normal(2, 3)
    logits, answers = run_freely(decoder, np.asarray(context), 4)
    repeated = jnp.repeat(context[:, None], 4, axis=1)
    found = unroll(decoder, repeated, record=["y", "logits", "feedback.n"], executor=executor)
    close((found.outputs, found.recorded["logits"], found.recorded["y"]), (logits, logits, answers))
    close(found.state["y"], answers[:, -1])
    kernel = np.asarray(decoder.cell.weights().input_kernel)
    close(np.asarray(found.recorded["feedback.n"])[:, 1:], answers[:, :-1] @ kernel[3:, 5:])


@in_float64
@pytest.mark.parametrize("name", ["gru", "gru_before", pytest.param("layer_norm_lstm", marks=slow)])
def test_gradients_through_answers_fed_back(name):
    decoder, weight = feedback_of(name, "probabilities"), normal(2, 4, 4, seed=7)
    context = normal(2, 4, 3)

    def gradients(run):
        def loss(decoder, context):
            return (run(decoder, context) * weight).sum()

        return nnx.jit(nnx.grad(loss, argnums=(0, 1)))(decoder, context)

    def by_hand(decoder, context):
        answer, state, logits = jnp.zeros((2, 4)), None, []
        for t in range(4):
            inputs = jnp.concatenate([context[:, t], answer], axis=-1)[:, None]
            step = unroll(decoder.cell, inputs, state=state, executor="scan")
            state = step.state
            logits.append(decoder.readout(step.outputs[:, 0]))
            answer = jax.nn.softmax(logits[-1])
        return jnp.stack(logits, axis=1)

    expected = gradients(lambda decoder, context: unroll(decoder, context, executor="scan").outputs)
    close(gradients(lambda decoder, context: unroll(decoder, context, executor="fused").outputs), expected)
    if name == "gru":
        close(gradients(by_hand), expected)
        fused = gradients(lambda decoder, context: unroll(decoder, context, executor="fused", remat="step").outputs)
        close(fused, expected)


@in_float64
def test_the_first_free_step_of_a_decoder_sees_no_answer_and_no_input_is_needed():
    decoder = feedback_of("gru", "greedy", context=0)
    found = unroll(decoder, jnp.zeros((1, 4, 0))).outputs
    close(found, run_freely(decoder, np.zeros((1, 0)), 4)[0])


@in_float64
def test_recurrent_dropout_of_a_decoder_that_feeds_back():
    decoder = feedback_of("gru", "greedy")
    options = {"key": jax.random.key(0), "recurrent_dropout": 0.0}
    close(unroll(decoder, normal(2, 3, 3), **options).outputs, unroll(decoder, normal(2, 3, 3)).outputs)


def test_encoders_and_decoders_that_do_not_fit_are_refused():
    rngs = nnx.Rngs(0)
    encoder, decoder = (Stack([Recurrent(Elman(2, 3, rngs=rngs))]) for _ in range(2))
    assert "the encoder gives 3" in refusal(EncoderDecoder, encoder, decoder, outputs=2, rngs=rngs)
    fitting = Stack([Recurrent(Elman(3, 3, rngs=rngs))])
    assert "outputs=" in refusal(EncoderDecoder, encoder, fitting)
    readout = nnx.Linear(3, 4, rngs=rngs)
    assert "at least 4" in refusal(FeedBack, Elman(3, 3, rngs=rngs), readout)
    assert "did you mean 'greedy'?" in refusal(FeedBack, Elman(4, 3, rngs=rngs), readout, feed="greedily")
    refusal(EncoderDecoder, encoder, FeedBack(GRU(4, 3, rngs=rngs), readout))


# -- composition with flax


def test_layers_compose_in_a_sequential():
    rngs = nnx.Rngs(0)
    layers = [
        Recurrent(LSTM(3, 4, rngs=rngs)),
        nnx.LayerNorm(4, rngs=rngs),
        Bidirectional(Recurrent(GRU(4, 2, rngs=rngs)), Recurrent(GRU(4, 2, rngs=rngs), reverse=True)),
        nnx.Linear(4, 1, rngs=rngs),
    ]
    values = inputs = normal(2, 5, 3)
    for layer in layers:
        values = called(layer, values)
    assert_allclose(called(nnx.Sequential(*layers), inputs), values, rtol=1e-5, atol=1e-6)


def cross_entropy(model: SequenceModel, tokens: jax.Array, key: jax.Array | None = None) -> jax.Array:
    logits = model(tokens[:, :-1], key=key)
    return optax.softmax_cross_entropy_with_integer_labels(logits, tokens[:, 1:]).mean()


def test_an_optimizer_trains_parameters_alone_and_compiles_once():
    model = small(
        cell="ctrnn",
        layers=2,
        embedding=3,
        dropout=0.1,
        recurrent_dropout=0.1,
        zoneout=0.1,
    )
    optimizer, tokens, traces = nnx.Optimizer(model, optax.adam(0.03), wrt=nnx.Param), symbols(5, 4, 9), []
    before = nnx.to_pure_dict(nnx.state(nnx.clone(model)))

    @nnx.jit
    def step(model, optimizer, tokens, key):
        traces.append(1)
        loss, gradients = nnx.value_and_grad(cross_entropy)(model, tokens, key)
        optimizer.update(model, gradients)
        return loss

    start = float(cross_entropy(model, tokens))
    for n in range(12):
        assert np.isfinite(step(model, optimizer, tokens, jax.random.key(n)))
    assert len(traces) == 1
    assert float(cross_entropy(model, tokens)) < start - 0.05
    after = nnx.to_pure_dict(nnx.state(model))
    moved = jax.tree.map(lambda a, b: bool(np.any(a != b)), before, after)
    still = {
        jax.tree_util.keystr(path, simple=True, separator=".")
        for path, has_moved in jax.tree_util.tree_leaves_with_path(moved)
        if not has_moved
    }
    layers = {f"stack.layers.{k}.{name}" for k in (0, 1) for name in ("cell.leak", "recurrent_dropout", "zoneout")}
    assert still == {"stack.dropout", *layers}


def test_models_of_one_configuration_share_one_compilation():
    tokens, traces = symbols(5, 2, 4), []

    @nnx.jit
    def run(model, tokens):
        traces.append(1)
        return model(tokens)

    models = [small(cell="gru", embedding=3, bidirectional=True, seed=seed) for seed in (0, 1)]
    found = [run(model, tokens) for model in models]
    assert len(traces) == 1
    for model, outputs in zip(models, found, strict=True):
        assert_allclose(outputs, model(tokens), rtol=1e-5, atol=1e-6)  # outside of jit too
    assert not np.allclose(*found)


def test_everything_that_a_layer_gives_leaves_jit():
    stack, tokens = small(layers=2).stack, symbols(5, 2, 4)
    found = nnx.jit(lambda stack, tokens: stack.unroll(tokens, record=["1.h"]))(stack, tokens)
    close(found.outputs, found.recorded["1.h"])
    assert {name: plan.executor for name, plan in found.plan} == {"0": "fused", "1": "fused"}


def test_everything_that_a_model_gives_leaves_jit():
    model, tokens = small(), symbols(5, 2, 4)
    found = nnx.jit(lambda model, tokens: model.unroll(tokens))(model, tokens)
    assert_allclose(found.outputs, model(tokens), rtol=1e-5, atol=1e-6)
    assert [plan.executor for _, plan in found.plan] == ["fused"]


def test_a_population_is_its_members_side_by_side():
    config = ModelConfig(cell="elman", units=4, recurrent_dropout=0.5)
    tokens, keys = symbols(5, 2, 4), jax.random.split(jax.random.key(0), 3)

    def build(key):
        return config.build(5, 5, read="every", symbols=True, rngs=nnx.Rngs(key))

    population: Any = nnx.vmap(build)(keys)
    alone = np.stack([called(build(key), tokens) for key in keys])
    found = nnx.vmap(lambda model, tokens: model(tokens), in_axes=(0, None))(population, tokens)
    assert_allclose(found, alone, rtol=1e-5, atol=1e-6)

    graph, state = nnx.split(population)
    split = jax.vmap(lambda state: nnx.merge(graph, state)(tokens))(state)
    assert_allclose(split, alone, rtol=1e-5, atol=1e-6)

    rates = population.stack.layers[0].recurrent_dropout
    rates[...] = jnp.array([0.0, 0.5, 0.9])  # members may differ in what is not trained
    noisy = nnx.vmap(lambda model, key: model(tokens, key=key), in_axes=(0, None))(population, jax.random.key(0))
    same = [bool(np.allclose(*pair, atol=1e-6)) for pair in zip(noisy, alone, strict=True)]
    assert same == [True, False, False]


def test_a_population_trains_side_by_side():
    config, tokens = ModelConfig(cell="elman", units=4), symbols(5, 2, 6)
    keys = jax.random.split(jax.random.key(0), 2)

    def build(key):
        return config.build(5, 5, read="every", symbols=True, rngs=nnx.Rngs(key))

    def train(model):
        loss, gradients = nnx.value_and_grad(cross_entropy)(model, tokens)
        parameters = nnx.state(model, nnx.Param)
        nnx.update(model, jax.tree.map(lambda p, g: p - 0.1 * g, parameters, gradients))
        return loss, cross_entropy(model, tokens)

    population, alone = nnx.vmap(build)(keys), build(keys[1])
    before, after = nnx.jit(nnx.vmap(train))(population)
    assert np.all(np.asarray(after) < np.asarray(before))
    assert_allclose((before[1], after[1]), nnx.jit(train)(alone), rtol=1e-5)


# -- models by configuration


def parameters(vocab: int, outputs: int | None = None, **options: Any) -> int:
    def build():
        config = ModelConfig(**options)
        return config.build(vocab, outputs or vocab, read="every", symbols=True, rngs=nnx.Rngs(0))

    return sum(leaf.size for leaf in jax.tree.leaves(nnx.state(nnx.eval_shape(build), nnx.Param)))


@pytest.mark.parametrize(
    ("options", "vocab", "expected"),
    [
        ({"cell": "lstm", "units": 1024, "embedding": 256}, 62, 5_326_398),
        ({"cell": "lstm", "units": 1024, "embedding": 256}, 61, 5_325_117),
        ({"cell": "elman", "units": 3}, 3, 33),
        ({"cell": "elman", "units": 25}, 109, 6_209),
    ],
)
def test_parameters_are_as_many_as_published(options, vocab, expected):
    assert parameters(vocab, **options) == expected


@pytest.mark.parametrize("name", CELLS)
def test_every_cell_builds_with_its_weights_and_runs(name):
    i, u, p = 5, 6, 3
    expected = {
        "elman": i * u + u * u + u,
        "lstm": 4 * (i * u + u * u + u),
        "gru": 3 * (i * u + u * u + 2 * u),
        "gru_before": 3 * (i * u + u * u + u),
        "mgu": 2 * (i * u + u * u + u),
        "ctrnn": i * u + u * u + u,
        "peephole_lstm": 4 * (i * u + u * u + u) + 3 * u,
        "layer_norm_lstm": 4 * (i * u + u * u + u) + 2 * 4 * u + 2 * u,
        "projected_lstm": 4 * (i * u + p * u + u) + u * p,
        "min_gru": 2 * (i * u + u),
    }[name]
    width = p if name == "projected_lstm" else u
    assert parameters(i, 2, cell=name, units=u) == expected + width * 2 + 2

    def run():
        config = ModelConfig(cell=name, units=u, bidirectional=True, layers=2, zoneout=0.1)
        model = config.build(i, 2, read="last", symbols=True, rngs=nnx.Rngs(0))
        return model(jnp.zeros((3, 4), jnp.int32), key=jax.random.key(0))

    assert jax.eval_shape(run).shape == (3, 2)


@pytest.mark.parametrize("bidirectional", [False, True])
def test_widths_of_layers_may_differ(bidirectional):
    model = small(cell="min_gru", units=(5, 7), bidirectional=bidirectional)
    assert [layer.width for layer in model.stack.layers] == ([10, 14] if bidirectional else [5, 7])
    assert nnx.eval_shape(model, symbols(5, 2, 3)).shape == (2, 3, 5)
    assert [layer.width for layer in small(cell="min_gru", units=(5, 7), layers=2).stack.layers] == [5, 7]
    assert [layer.width for layer in small(layers=3).stack.layers] == [4, 4, 4]


def test_initial_values():
    model = small(cell="lstm", units=32, embedding=16)
    cell = model.stack.layers[0].cell
    kernel = np.asarray(cell.recurrent_kernel[...])
    assert_allclose(kernel @ kernel.T, np.eye(32), atol=1e-5)
    assert_array_equal(cell.bias[...], np.repeat([0.0, 1.0, 0.0, 0.0], 32))
    for weight, (reads, gives) in ((cell.input_kernel, (16, 128)), (model.readout.kernel, (32, 5))):
        bound, largest = np.sqrt(6 / (reads + gives)), float(np.abs(weight[...]).max())
        assert 0.9 * bound < largest <= bound
    assert 0.045 < float(np.abs(model.embedding.embedding[...]).max()) <= 0.05
    assert_array_equal(model.readout.bias[...], np.zeros(5))


def test_initial_values_that_were_asked_for():
    plain = small(cell="lstm", unit_forget_bias=False, initializers={"recurrent_kernel": "zeros"})
    for name in ("bias", "recurrent_kernel"):
        assert_array_equal(getattr(plain.stack.layers[0].cell, name)[...], 0)
    assert_array_equal(small(cell="lstm", initializers={"bias": "zeros"}).stack.layers[0].cell.bias[...], 0)
    assert float(small(cell="ctrnn", options={"leak": 0.5}).stack.layers[0].cell.leak[...]) == 0.5
    assert small(cell="projected_lstm", options={"projection": 3.0}).stack.width == 3
    cell = small(cell="elman", activation="relu").stack.layers[0].cell
    assert_array_equal(cell.activation(jnp.array([-1.0, 2.0])), [0, 2])


@pytest.mark.parametrize(
    ("options", "near"),
    [
        ({"cell": "lstn"}, "lstm"),
        ({"activation": "tahn"}, "tanh"),
        ({"initializers": {"recurent_kernel": "zeros"}}, "recurrent_kernel"),
        ({"initializers": {"bias": "zeroes"}}, "zeros"),
        ({"bidirectional": True, "merge": "concatenate"}, "concat"),
        ({"read": "lats"}, "last"),
        ({"bidirectional": True, "merge": "none"}, "merge 'none'"),
        ({"options": {"leek": 0.1}}, "'leek'"),
        ({"units": (4, 5), "layers": 3}, "2 widths for 3 layers"),
        ({"units": ()}, "no layers"),
        ({"units": 0}, "at least 1 unit"),
    ],
)
def test_wrong_names_are_refused_with_the_nearest_right_one(options, near):
    assert near in refusal(small, **options)


def test_an_unknown_executor_is_refused():
    assert "did you mean 'fused'?" in refusal(lambda: small(executor="fussed"))


@pytest.mark.parametrize(
    ("options", "near"),
    [
        pytest.param({"merge": "summ"}, "sum", id="merge is looked at with both directions only"),
        pytest.param({"remat": "stpe"}, "step", id="an unknown remat is taken for none"),
        pytest.param({"remat": 0}, "remat", id="segments of no steps"),
        pytest.param({"dtype": "flaot32"}, "dtype", id="a wrong dtype is called an option of the cell"),
    ],
)
def test_what_a_configuration_should_refuse(options, near):
    assert near in refusal(lambda: small(**options)(symbols(5, 1, 2)))
