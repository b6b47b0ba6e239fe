"""JAX's reference LSTM and Flax's recurrent layers, installed wherever rnnjax is; and where they are wrong."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.experimental import rnn
from peers import cell, differentiate, from_torch, stack

from rnnjax.unroll import unroll

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("x64", "as_installed")]

ROWS, STEPS, INPUTS, UNITS = 4, 6, 3, 4
LENGTHS = np.array([4, STEPS, 1, 3], np.int32)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


# jax.experimental.rnn.lstm_ref: PyTorch's layout, its parameters in one flat array.


class Reference:
    """`lstm_ref` with random weights: one layer, or two; one direction, or both."""

    def __init__(self, rng, *, layers=1, bidirectional=False):
        shape = (INPUTS, UNITS, layers, bidirectional)
        flat = rng.normal(scale=0.5, size=rnn.get_num_params_in_lstm(*shape))
        self.parts = rnn.unpack_lstm_weights(jnp.asarray(flat), *shape)
        self.options = dict(zip(("input_size", "hidden_size", "num_layers", "bidirectional"), shape, strict=True))
        ways = 2 if bidirectional else 1
        keys = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        named = {f"{key}_{k}": part[k] for key, part in zip(keys, self.parts, strict=True) for k in part}
        weights = [[from_torch("lstm", named, f"{k * ways + d}") for d in range(ways)] for k in range(layers)]
        self.stack = stack("lstm", weights)
        fields = ("forward.", "backward.") if bidirectional else ("",)
        self.places = [f"{k}.{way}" for k in range(layers) for way in fields]
        self.start = {field: rng.normal(size=(len(self.places), ROWS, UNITS)) for field in ("h", "c")}
        self.inputs = rng.normal(size=(ROWS, STEPS, INPUTS))
        self.weigh = {"outputs": rng.normal(size=(ROWS, STEPS, ways * UNITS))}
        self.weigh |= {field: rng.normal(size=value.shape) for field, value in self.start.items()}

    def named(self, arrays):
        return {f"{place}{field}": arrays[field][k] for field in ("h", "c") for k, place in enumerate(self.places)}

    def theirs(self, lengths):
        """Outputs, final state, and gradients by inputs and initial state."""

        def objective(inputs, start):
            found = rnn.lstm_ref(
                inputs, start["h"], start["c"], *self.parts, jnp.asarray(lengths), dropout=0.0, **self.options
            )
            given = dict(zip(("outputs", "h", "c"), found, strict=True))
            return sum(jnp.vdot(self.weigh[key], given[key]) for key in given), given

        derive = jax.jit(jax.value_and_grad(objective, argnums=(0, 1), has_aux=True))
        (_, given), (by_inputs, by_start) = derive(jnp.asarray(self.inputs), jax.tree.map(jnp.asarray, self.start))
        starts = {f"start.{name}": value for name, value in self.named(by_start).items()}
        return given["outputs"], self.named(given), {"inputs": by_inputs, **starts}

    def ours(self, lengths):
        weigh = {"outputs": self.weigh["outputs"], **self.named(self.weigh)}
        return differentiate(self.stack, self.inputs, weigh, state=self.named(self.start), lengths=lengths)


@pytest.mark.parametrize("shape", [(1, False), (1, True), (2, True)], ids=["one", "both", "two-layers"])
def test_lstm_ref(shape, rng, close):
    layers, bidirectional = shape
    reference = Reference(rng, layers=layers, bidirectional=bidirectional)
    outputs, state, gradients = reference.theirs(LENGTHS)
    answer = reference.ours(LENGTHS)
    close(answer.outputs, outputs, 1e-12, "outputs")
    for name, value in state.items():
        close(answer.state[name], value, 1e-12, name)
    for name, value in gradients.items():
        close(answer.gradients[name], value, 1e-12, f"gradient by {name}")


def test_fault_lstm_ref_takes_a_row_of_no_steps_through_the_padding(rng, close):
    """A row of length 0: JAX answers with the state after all of the padding, rnnjax with the initial state."""
    reference = Reference(rng)
    lengths = np.array([4, 0, 1, 3], np.int32)
    whole = np.array([4, STEPS, 1, 3], np.int32)
    _, theirs, _ = reference.theirs(lengths)
    answer = reference.ours(lengths)
    for field in ("h", "c"):
        close(theirs[f"0.{field}"][1], reference.ours(whole).state[f"0.{field}"][1], 1e-12)
        np.testing.assert_array_equal(answer.state[f"0.{field}"][1], reference.start[field][0, 1])


# Flax nnx.


def flax_cell(kind, rng):
    """A Flax cell with random weights, and the same cell here."""
    made = getattr(nnx, kind)(INPUTS, UNITS, param_dtype=jnp.float64, dtype=jnp.float64, rngs=nnx.Rngs(0))
    drawn = jax.tree.map(lambda leaf: jnp.asarray(rng.normal(scale=0.5, size=leaf.shape)), nnx.state(made, nnx.Param))
    nnx.update(made, drawn)
    held = {".".join(map(str, path)): np.asarray(leaf[...]) for path, leaf in nnx.to_flat_state(drawn)}
    if kind == "LSTMCell":  # a layer a gate
        packed = {
            "input_kernel": [held[f"{layer}.kernel"] for layer in ("ii", "if_", "ig", "io")],
            "recurrent_kernel": [held[f"{layer}.kernel"] for layer in ("hi", "hf", "hg", "ho")],
            "bias": [held[f"{layer}.bias"] for layer in ("hi", "hf", "hg", "ho")],
        }
        return made, cell("lstm", {name: np.concatenate(parts, axis=-1) for name, parts in packed.items()})
    weights = {"input_kernel": held["dense_i.kernel"], "recurrent_kernel": held["dense_h.kernel"]}
    weights["bias"] = held["dense_h.bias" if kind == "OptimizedLSTMCell" else "dense_i.bias"]
    if kind == "GRUCell":
        weights["recurrent_bias"] = np.zeros(3 * UNITS)
    return made, cell({"SimpleCell": "elman", "GRUCell": "gru", "OptimizedLSTMCell": "lstm"}[kind], weights)


def carry_of(kind, state):
    """A state by field as Flax carries it: the cell first, then the output."""
    return (state["c"], state["h"]) if "LSTM" in kind else state["h"]


def start_of(made, rng):
    return {field: jnp.asarray(rng.normal(size=(ROWS, width))) for field, width in made.widths.items()}


every_flax_cell = pytest.mark.parametrize("kind", ["SimpleCell", "LSTMCell", "OptimizedLSTMCell", "GRUCell"])


@every_flax_cell
@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
def test_flax(kind, reverse, rng, close):
    theirs, made = flax_cell(kind, rng)
    inputs, start = jnp.asarray(rng.normal(size=(ROWS, STEPS, INPUTS))), start_of(made, rng)
    layer: Any = nnx.RNN(theirs, reverse=reverse, keep_order=True, return_carry=True)
    carry, outputs = layer(inputs, initial_carry=carry_of(kind, start), seq_lengths=jnp.asarray(LENGTHS))
    result = unroll(made, inputs, state=start, lengths=LENGTHS, reverse=reverse)
    for row, length in enumerate(LENGTHS):
        close(result.outputs[row, :length], outputs[row, :length], 1e-12, "outputs")
    for own, other in zip(jax.tree.leaves(carry_of(kind, result.state)), jax.tree.leaves(carry), strict=True):
        close(own, other, 1e-12, "state")


@every_flax_cell
def test_fault_flax_takes_a_row_of_no_steps_through_the_padding(kind, rng, close):
    """A row of length 0: Flax's carry is the one after all of the padding; rnnjax gives the initial state."""
    theirs, made = flax_cell(kind, rng)
    inputs, start = jnp.asarray(rng.normal(size=(ROWS, STEPS, INPUTS))), start_of(made, rng)
    lengths = np.array([4, 0, 1, 3], np.int32)
    layer = nnx.RNN(theirs, return_carry=True)
    carry, _ = layer(inputs, initial_carry=carry_of(kind, start), seq_lengths=jnp.asarray(lengths))
    padding = carry_of(kind, unroll(made, inputs, state=start).state)
    right = unroll(made, inputs, state=start, lengths=lengths).state
    for wrong, read in zip(jax.tree.leaves(carry), jax.tree.leaves(padding), strict=True):
        close(wrong[1], read[1], 1e-12)
    for field, value in right.items():
        np.testing.assert_array_equal(value[1], start[field][1])


@every_flax_cell
def test_fault_flax_answers_past_the_lengths(kind, rng, close):
    """Flax's outputs go on through the padding, though lengths are given; rnnjax gives zeros there."""
    theirs, made = flax_cell(kind, rng)
    inputs, start = jnp.asarray(rng.normal(size=(ROWS, STEPS, INPUTS))), start_of(made, rng)
    layer: Any = nnx.RNN(theirs)
    outputs = layer(inputs, initial_carry=carry_of(kind, start), seq_lengths=jnp.asarray(LENGTHS))
    close(outputs, unroll(made, inputs, state=start).outputs, 1e-12, "as if there were no lengths")
    right = unroll(made, inputs, state=start, lengths=LENGTHS).outputs
    for row, length in enumerate(LENGTHS):
        assert not np.any(right[row, length:])
        assert length == STEPS or np.all(outputs[row, length:] != 0)


def test_fault_flax_lets_padding_into_the_gradient(rng):
    """Steps that do not exist hold NaN: Flax's gradient becomes NaN, though no valid answer depends on them."""
    theirs, made = flax_cell("GRUCell", rng)
    inputs = rng.normal(size=(ROWS, STEPS, INPUTS))
    inputs[np.arange(STEPS)[None] >= LENGTHS[:, None]] = np.nan
    valid = jnp.asarray(np.arange(STEPS)[None] < LENGTHS[:, None])[..., None]

    def total(outputs):
        return jnp.where(valid, outputs, 0).sum()

    def by_flax(layer):
        return total(layer(jnp.asarray(inputs), seq_lengths=jnp.asarray(LENGTHS)))

    wrong = nnx.grad(by_flax)(nnx.RNN(theirs))
    assert np.isnan(wrong["cell"]["dense_h"]["kernel"][...]).any()
    right = nnx.grad(lambda made: total(unroll(made, inputs, lengths=LENGTHS).outputs))(made)
    assert np.isfinite(right["recurrent_kernel"][...]).all()


def test_fault_flax_has_no_place_for_the_second_bias_of_a_gru(rng, close):
    """The bias inside the reset product (PyTorch's, Keras's, cuDNN's) cannot be loaded into Flax, and it matters."""
    theirs, made = flax_cell("GRUCell", rng)
    assert theirs.dense_h.bias is None
    inputs = jnp.asarray(rng.normal(size=(ROWS, STEPS, INPUTS)))
    made.recurrent_bias[...] = jnp.asarray(rng.normal(size=3 * UNITS))
    theirs.dense_i.bias[...] += made.recurrent_bias[...]  # the best that can be done
    right = unroll(made, inputs).outputs
    assert np.abs(nnx.RNN(theirs)(inputs) - right).max() > 0.01
    kernel, recurrent, bias = (getattr(made, n)[...] for n in ("input_kernel", "recurrent_kernel", "bias"))
    names = {"weight_ih": kernel.T, "weight_hh": recurrent.T, "bias_ih": bias, "bias_hh": made.recurrent_bias[...]}
    again = cell("gru", from_torch("gru", {f"{name}_l0": np.asarray(value) for name, value in names.items()}))
    close(unroll(again, inputs).outputs, right, 1e-12)


def test_fault_flax_simple_cell_computes_in_float32():
    """Without a `dtype`, Flax's other cells follow their weights; SimpleCell rounds float64 weights to float32."""
    inputs = jnp.ones((ROWS, INPUTS), jnp.float64)
    for kind, expected in (("GRUCell", jnp.float64), ("SimpleCell", jnp.float32)):
        theirs = getattr(nnx, kind)(INPUTS, UNITS, param_dtype=jnp.float64, rngs=nnx.Rngs(0))
        assert theirs.dense_i(inputs).dtype == expected


def test_orders_of_the_carry(rng, close):
    """Flax carries ``(c, h)``, `lstm_ref` (like PyTorch and Keras) gives ``(h, c)``; here the two have names."""
    theirs, made = flax_cell("OptimizedLSTMCell", rng)
    inputs = jnp.asarray(rng.normal(size=(ROWS, STEPS, INPUTS)))
    state = unroll(made, inputs).state
    first, second = nnx.RNN(theirs, return_carry=True)(inputs)[0]
    close(first, state["c"], 1e-12)
    close(second, state["h"], 1e-12)
    reference = Reference(rng)
    _, given, _ = reference.theirs(LENGTHS)
    answer = reference.ours(LENGTHS)
    close(answer.state["0.h"], given["0.h"], 1e-12)
    close(answer.state["0.c"], given["0.c"], 1e-12)
