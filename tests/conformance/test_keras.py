"""Keras 3 on the JAX backend, over the options of its recurrent layers; and where it is wrong.

All in float32: this backend rounds float64 to float32 inside its layers.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from peers import cell, from_keras, keras_answer, keras_expected
from theirs import INPUTS, KERAS, ROWS, STEPS, UNITS, keras_found, keras_given

from rnnjax.cells import ACTIVATIONS, CELLS
from rnnjax.layers import Bidirectional, Recurrent, Stack
from rnnjax.unroll import unroll

pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("as_installed"),
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning:keras"),
]

LENGTHS = np.array([4, STEPS, 1, 0])  # the last row does not exist at all
MASKS = {
    "whole": None,
    "padded-right": np.arange(STEPS)[None] < LENGTHS[:, None],
    "padded-left": np.arange(STEPS)[None] >= STEPS - LENGTHS[:, None],
    "holes": np.random.default_rng(5).random((ROWS, STEPS)) < 0.6,
}
every_kind = pytest.mark.parametrize("kind", KERAS)
every_mask = pytest.mark.parametrize("mask", MASKS)
both_ways = pytest.mark.parametrize("reverse", [False, True], ids=["forward", "backward"])


TOLERANCE, GRADIENT_TOLERANCE = 1e-6, 3e-6  # of float32


class Normal:
    """Normal numbers in float32."""

    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)

    def __call__(self, *shape, scale=1.0):
        return self.rng.normal(scale=scale, size=shape).astype(np.float32)


@pytest.fixture
def rng():
    return Normal(0)


def keras_layer(keras, kind, rng, *, inputs=INPUTS, **options):
    """A Keras layer with random weights (biases too)."""
    op, own = KERAS[kind]
    made = getattr(keras.layers, op)(UNITS, **own, **options)
    made.build((ROWS, STEPS, inputs))
    made.set_weights([rng(*weight.shape, scale=0.5) for weight in made.get_weights()])
    return made


def called_with(layer, weights, *arguments, **options):
    """What a Keras layer gives with other weights than its own."""
    fixed = [variable.value for variable in layer.non_trainable_variables]
    return layer.stateless_call(weights, fixed, *arguments, **options)[0]


def same_cell(kind, layer, **options):
    """The cell with a Keras layer's weights."""
    return cell(kind, from_keras(kind, layer.get_weights()), **options)


def random_state(kind, rng):
    """A state by field."""
    return {field: rng(ROWS, UNITS) for field in CELLS[kind].state}


def in_order(kind, state):
    """A state by field as a list in Keras's order: output first."""
    return [jnp.asarray(state[field]) for field in ("h", "c") if field in CELLS[kind].state]


@every_kind
@every_mask
@both_ways
def test_sequence_last_output_and_state(keras, kind, mask, reverse, rng, close):
    """What each of `return_sequences`, `return_state`, `go_backwards` and `zero_output_for_mask` gives.

    At a step that is masked Keras repeats the output before it, as our records do; with `zero_output_for_mask` it gives
    zeros, as our outputs are. Backwards, its outputs come in the order of processing, ours where their inputs are.
    """
    valid, inputs, start = MASKS[mask], rng(ROWS, STEPS, INPUTS), random_state(kind, rng)
    theirs = keras_layer(keras, kind, rng, return_sequences=True, return_state=True, go_backwards=reverse)
    given = {"initial_state": in_order(kind, start), "mask": None if valid is None else jnp.asarray(valid)}
    result = unroll(same_cell(kind, theirs), inputs, state=start, mask=valid, reverse=reverse, record=("h",))
    flip = (lambda v: v[:, ::-1]) if reverse else (lambda v: v)
    outputs, *state = theirs(inputs, **given)
    close(flip(result.recorded["h"]), outputs, TOLERANCE, "sequence")
    for ours, other in zip(in_order(kind, result.state), state, strict=True):
        close(ours, other, TOLERANCE, "state")
    theirs.zero_output_for_mask = True
    close(flip(result.outputs), theirs(inputs, **given)[0], TOLERANCE, "zeros at masked steps")
    theirs.zero_output_for_mask = theirs.return_sequences = theirs.return_state = False
    close(result.state["h"], theirs(inputs, **given), TOLERANCE, "last output")


@every_kind
@pytest.mark.parametrize("mask", ["whole", "holes"])
@pytest.mark.parametrize("executor", ["scan", "fused"])
def test_gradients(keras, kind, mask, executor, agree):
    given = keras_given(keras, kind, MASKS[mask])
    expected = keras_expected(kind, keras_found(keras, kind, given))
    agree(keras_answer(kind, given, executor), expected, GRADIENT_TOLERANCE)


@every_kind
def test_without_bias(keras, kind, rng, close):
    inputs = rng(ROWS, STEPS, INPUTS)
    theirs = keras_layer(keras, kind, rng, return_sequences=True, use_bias=False)
    close(unroll(same_cell(kind, theirs), inputs).outputs, theirs(inputs), TOLERANCE)


@pytest.mark.parametrize("name", ["tanh", "sigmoid", "hard_sigmoid", "relu", "softplus"])
@every_kind
def test_activations_of_the_same_name(keras, kind, name, rng, close):
    inputs = rng(ROWS, STEPS, INPUTS)
    named: dict = {"activation": name} | ({} if kind == "elman" else {"recurrent_activation": "hard_sigmoid"})
    theirs = keras_layer(keras, kind, rng, return_sequences=True, **named)
    close(unroll(same_cell(kind, theirs, **named), inputs).outputs, theirs(inputs), TOLERANCE)


@every_kind
def test_stateful(keras, kind, rng, close):
    """A layer that is `stateful` goes on where the batch before ended, until it is reset."""
    theirs = keras_layer(keras, kind, rng, return_sequences=True, stateful=True)
    made, state = same_cell(kind, theirs), None
    batches = [rng(ROWS, STEPS, INPUTS) for _ in range(3)]
    for inputs in batches:
        result = unroll(made, inputs, state=state)
        close(result.outputs, theirs(inputs), TOLERANCE)
        state = result.state
        for ours, other in zip(in_order(kind, state), theirs.states, strict=True):
            close(ours, other.value, TOLERANCE)
    theirs.reset_state()
    close(unroll(made, batches[0]).outputs, theirs(batches[0]), TOLERANCE, "after a reset")


MERGES = {"concat": "concat", "sum": "sum", "mul": "multiply", "ave": "average", None: "none"}


def bidirectional(keras, kind, merge, rng, **options):
    """A Keras layer in both directions, and the same here."""
    theirs = keras.layers.Bidirectional(keras_layer(keras, kind, rng, **options), merge_mode=merge)
    theirs.build((ROWS, STEPS, INPUTS))
    theirs.set_weights([rng(*weight.shape, scale=0.5) for weight in theirs.get_weights()])
    forward = Recurrent(same_cell(kind, theirs.forward_layer))
    backward = Recurrent(same_cell(kind, theirs.backward_layer), reverse=True)
    return theirs, Bidirectional(forward, backward, merge=MERGES[merge])


@every_kind
@pytest.mark.parametrize(
    ("merge", "mask"),
    [
        *((merge, mask) for merge in MERGES for mask in ("whole", "holes")),
        *(("concat", mask) for mask in MASKS if "-" in mask),
    ],
)
def test_both_directions(keras, kind, mask, merge, rng, close):
    valid, inputs = MASKS[mask], rng(ROWS, STEPS, INPUTS)
    theirs, ours = bidirectional(keras, kind, merge, rng, return_sequences=True, return_state=True)
    given = theirs(inputs, mask=None if valid is None else jnp.asarray(valid))
    result = ours.unroll(jnp.asarray(inputs), mask=valid)
    count = 2 if merge is None else 1
    outputs, states = given[:count], given[count:]
    for own, other in zip(result.outputs if merge is None else [result.outputs], outputs, strict=True):
        close(own, other, TOLERANCE, "sequence")
    ways = [f"{way}.{field}" for way in ("forward", "backward") for field in ("h", "c")]
    own = [result.state[name] for name in ways if name in result.state]
    for mine, other in zip(own, states, strict=True):
        close(mine, other, TOLERANCE, "state")


@every_kind
@pytest.mark.parametrize("mask", ["whole", "holes"])
def test_both_directions_last_output(keras, kind, mask, rng, close):
    valid, inputs = MASKS[mask], rng(ROWS, STEPS, INPUTS)
    theirs, ours = bidirectional(keras, kind, "concat", rng)
    result = ours.unroll(jnp.asarray(inputs), mask=valid)
    given = theirs(inputs, mask=None if valid is None else jnp.asarray(valid))
    close(ours.last_output(result.state), given, TOLERANCE)


def test_layers_one_after_the_other_under_an_embedding_that_masks(keras, rng, close):
    """`mask_zero` finds the padding, and the mask travels through the layers: our `lengths`, given once."""
    lengths = np.array([4, STEPS, 1, 3])
    tokens = np.random.default_rng(0).integers(1, 7, (ROWS, STEPS)) * (np.arange(STEPS)[None] < lengths[:, None])
    first = keras_layer(keras, "lstm", rng, return_sequences=True)
    second = keras_layer(keras, "gru", rng, inputs=UNITS)
    model = keras.Sequential([keras.layers.Embedding(7, INPUTS, mask_zero=True), first, second], name="masked")
    model.build((ROWS, STEPS))
    table = jnp.asarray(model.layers[0].get_weights()[0])
    ours = Stack([Recurrent(same_cell("lstm", first)), Recurrent(same_cell("gru", second))])
    result = ours.unroll(table[tokens], lengths=lengths)
    close(result.state["1.h"], model(tokens), TOLERANCE)


@every_kind
def test_initial_weights_are_drawn_alike(keras, kind):
    """Glorot-uniform input kernels, orthogonal recurrent ones (all gates as one matrix), forget bias one, other biases
    zero."""
    units, inputs = 24, 40
    keras.utils.set_random_seed(0)
    theirs = getattr(keras.layers, KERAS[kind][0])(units, **KERAS[kind][1])
    theirs.build((1, 1, inputs))
    ours: Any = CELLS[kind](inputs, units, rngs=nnx.Rngs(0))
    given = from_keras(kind, theirs.get_weights())
    for kernel in (given["input_kernel"], ours.input_kernel[...]):
        limit = np.sqrt(6 / (inputs + len(ours.gates) * units))
        assert 0.97 * limit < np.abs(kernel).max() <= limit * 1.00001
        assert abs(np.std(kernel) * np.sqrt(3) / limit - 1) < 0.05
    for kernel in (given["recurrent_kernel"], ours.recurrent_kernel[...]):
        np.testing.assert_allclose(kernel @ kernel.T, np.eye(units), atol=1e-5)
    for name in ("bias", "recurrent_bias"):
        if name in given:
            np.testing.assert_array_equal(given[name], getattr(ours, name)[...])


# Where Keras is wrong, or where one has to know.


def test_fault_simple_rnn_drops_its_activity_penalty(keras):
    """`SimpleRNN` takes `activity_regularizer` and forgets it; LSTM and GRU keep theirs."""
    penalty = keras.regularizers.L1(1.0)
    inputs = np.ones((ROWS, STEPS, INPUTS))
    for op, kept in (("SimpleRNN", False), ("LSTM", True), ("GRU", True)):
        layer = getattr(keras.layers, op)(UNITS, activity_regularizer=penalty)
        layer(inputs)
        assert bool(layer.losses) is kept
        assert (layer.activity_regularizer is not None) is kept


def test_fault_the_activity_penalty_depends_on_what_is_returned(keras, rng, close):
    """Keras sums what a layer returns (the last output, or all; states too; masked steps too) and divides by rows."""
    inputs, valid = rng(ROWS, STEPS, INPUTS), MASKS["padded-right"]
    penalty = keras.regularizers.L1(1.0)

    def penalised(**options):
        layer = keras_layer(keras, "lstm", Normal(1), activity_regularizer=penalty, **options)
        layer(inputs, mask=jnp.asarray(valid))
        return sum(float(loss) for loss in layer.losses)

    made = same_cell("lstm", keras_layer(keras, "lstm", Normal(1)))
    result = unroll(made, inputs, mask=valid, record=("h",))
    last, final_cell = (float(np.abs(result.state[field]).sum()) / ROWS for field in ("h", "c"))
    close(penalised(), last, TOLERANCE)
    close(penalised(return_sequences=True), float(np.abs(result.recorded["h"]).sum()) / ROWS, TOLERANCE)
    close(penalised(return_state=True), 2 * last + final_cell, TOLERANCE)


def test_fault_unrolled_layers_do_not_zero_masked_outputs(keras, rng, close):
    """With `unroll=True` Keras's JAX backend ignores `zero_output_for_mask`, and so does Bidirectional on top of it."""
    inputs, valid = rng(ROWS, STEPS, INPUTS), MASKS["padded-right"]
    theirs = keras_layer(keras, "gru", rng, return_sequences=True, unroll=True, zero_output_for_mask=True)
    right = np.asarray(unroll(same_cell("gru", theirs), inputs, mask=valid).outputs)
    wrong = np.asarray(theirs(inputs, mask=jnp.asarray(valid)))
    close(wrong[valid], right[valid], TOLERANCE)
    np.testing.assert_array_equal(wrong[0, 4:], np.broadcast_to(wrong[0, 3], (STEPS - 4, UNITS)))
    assert not right[~valid].any()


def test_fault_unrolled_layers_forget_the_initial_state_at_masked_first_steps(keras, rng, close):
    """Before its first valid step a row's output is its initial state in a loop, and zero where Keras unrolls it."""
    inputs, valid, start = rng(ROWS, STEPS, INPUTS), MASKS["padded-left"], random_state("gru", rng)
    given = {"mask": jnp.asarray(valid), "initial_state": in_order("gru", start)}
    theirs = keras_layer(keras, "gru", rng, return_sequences=True)
    looped = np.asarray(theirs(inputs, **given))
    theirs.unroll = True
    unrolled = np.asarray(theirs(inputs, **given))
    recorded = unroll(same_cell("gru", theirs), inputs, state=start, mask=valid, record=("h",)).recorded["h"]
    close(looped, recorded, TOLERANCE)
    close(unrolled[valid], np.asarray(recorded)[valid], TOLERANCE)
    np.testing.assert_array_equal(unrolled[0, 0], 0)
    np.testing.assert_array_equal(recorded[0, 0], start["h"][0])


def test_fault_a_backward_layer_hands_its_mask_on_the_wrong_way_round(keras, rng, close):
    """`go_backwards` flips the outputs in time but not the mask: the next layer masks the wrong steps."""
    inputs, valid = rng(ROWS, STEPS, INPUTS), MASKS["padded-right"]
    first = keras_layer(keras, "lstm", rng, return_sequences=True, go_backwards=True)
    second = keras_layer(keras, "gru", rng, inputs=UNITS)
    np.testing.assert_array_equal(first.compute_mask(None, valid), valid)
    theirs = second(first(inputs, mask=jnp.asarray(valid)), mask=jnp.asarray(valid))  # as Sequential does
    backward, onward = same_cell("lstm", first), same_cell("gru", second)
    hidden = unroll(backward, inputs, mask=valid, reverse=True, record=("h",)).recorded["h"]
    wrong = unroll(onward, jnp.flip(hidden, 1), mask=valid).state["h"]
    right = unroll(onward, jnp.flip(hidden, 1), mask=valid[:, ::-1]).state["h"]
    close(theirs, wrong, TOLERANCE)
    assert np.abs(np.asarray(wrong - right))[0].max() > 0.01
    layers = Stack([Recurrent(backward, reverse=True), Recurrent(onward, reverse=True)])
    close(layers.unroll(jnp.asarray(inputs), mask=valid).state["1.h"], right, TOLERANCE, "both where their inputs are")


def test_fault_padding_gets_into_the_gradient(keras, rng):
    """Steps that do not exist hold NaN: the gradient of Keras's masked layer becomes NaN."""
    valid = MASKS["padded-right"]
    inputs = np.where(valid[..., None], rng(ROWS, STEPS, INPUTS), np.float32(np.nan))
    theirs = keras_layer(keras, "gru", rng, return_sequences=True, zero_output_for_mask=True)
    made = same_cell("gru", theirs)

    def total(weights):
        return called_with(theirs, weights, jnp.asarray(inputs), mask=jnp.asarray(valid)).sum()

    wrong = jax.grad(total)([variable.value for variable in theirs.trainable_variables])
    assert np.isnan(wrong[1]).any()
    right = nnx.grad(lambda made: unroll(made, inputs, mask=valid).outputs.sum())(made)
    assert np.isfinite(right["recurrent_kernel"][...]).all()


def test_gelu_has_two_forms(keras):
    """Keras's default is exact; JAX's, and so ours, is the approximation by tanh (Hendrycks & Gimpel 2016)."""
    values = np.linspace(-4, 4, 101, dtype=np.float32)
    ours = np.asarray(ACTIVATIONS["gelu"](jnp.asarray(values)))
    exact = np.asarray(keras.activations.gelu(values))
    np.testing.assert_allclose(ours, keras.activations.gelu(values, approximate=True), atol=1e-6)
    assert 1e-5 < np.abs(ours - exact).max() < 1e-3
