"""Weights to and from other libraries, without those libraries: NumPy oracles, Flax, ONNX's reference evaluator.

PyTorch, Keras and ONNX Runtime themselves are asked in conformance/test_interop_peers.py.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import flax.linen as linen
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx, serialization
from small_models import INPUT, OUTPUTS, UNITS, both_ways, built, drawn, layer

from oracles import sigmoid
from rnnjax import interop
from rnnjax.cells import CELLS
from rnnjax.config import InputError
from rnnjax.layers import Bidirectional, Stack

BATCH, TIME = 2, 6
COUNTERPARTS = {
    "torch": ("elman", "lstm", "gru", "projected_lstm"),
    "keras": ("elman", "lstm", "gru", "gru_before"),
    "nnx": ("elman", "lstm"),
    "nnx_unpacked": ("elman", "lstm"),
    "linen": ("elman", "lstm"),
    "onnx": ("elman", "lstm", "gru", "gru_before", "peephole_lstm"),
    "npz": tuple(CELLS),
}
MAPPINGS: dict[str, tuple[Callable[[Any], Any], Callable[[Any, Any], Any]]] = {
    "torch": (interop.to_torch, interop.from_torch),
    "keras": (interop.to_keras, interop.from_keras),
    "nnx": (interop.to_flax, interop.from_flax),
    "nnx_unpacked": (lambda model: interop.to_flax(model, "nnx_unpacked"), interop.from_flax),
    "linen": (lambda model: interop.to_flax(model, "linen"), interop.from_flax),
    "onnx": (interop.to_onnx, interop.from_onnx),
    "npz": (interop.to_npz, interop.from_npz),
}
PAIRS = [(library, cell) for library, cells in COUNTERPARTS.items() for cell in cells]


@pytest.fixture(autouse=True)
def _step_by_step():
    """Nothing is compiled: dozens of small models run once each."""
    with jax.disable_jit():
        yield


@pytest.fixture
def inputs() -> np.ndarray:
    return np.random.default_rng(7).normal(size=(BATCH, TIME, INPUT)).astype(np.float32)


def same(first: Any, second: Any) -> bool:
    first, second = interop.to_npz(first), interop.to_npz(second)
    return first.keys() == second.keys() and all(np.array_equal(first[name], second[name]) for name in first)


# Round trips.


@pytest.mark.parametrize(("library", "cell"), PAIRS)
def test_weights_come_back_bit_for_bit(library: str, cell: str):
    to, from_ = MAPPINGS[library]
    model, other = built(cell, layers=2, bidirectional=True), built(cell, 1, layers=2, bidirectional=True)
    before = interop.to_npz(other)
    assert same(from_(other, to(model)), model)
    assert all(np.array_equal(before[name], value) for name, value in interop.to_npz(other).items()), "another changed"


@pytest.mark.parametrize("library", MAPPINGS)
def test_embedding_comes_back(library: str):
    to, from_ = MAPPINGS[library]
    model, other = (built("lstm", seed, embedding=2, symbols=True, read="last") for seed in range(2))
    assert same(from_(other, to(model)), model)


@pytest.mark.parametrize("library", MAPPINGS)
def test_an_encoder_and_a_decoder_that_repeats_its_context_come_back(library: str):
    to, from_ = MAPPINGS[library]
    model, other = (built("lstm", seed, read="answer", answer_steps=2, decoder_units=3) for seed in range(2))
    assert same(from_(other, to(model)), model)


@pytest.mark.parametrize("library", MAPPINGS)
@pytest.mark.parametrize("make", [layer, both_ways, lambda cell: Stack([layer(cell)])])
def test_layers_alone_come_back(library: str, make: Callable[[str], Any]):
    to, from_ = MAPPINGS[library]
    model = make("lstm")
    assert same(from_(drawn(model, 99), to(model)), model)


@pytest.mark.parametrize("library", MAPPINGS)
def test_a_model_without_biases_comes_back(library: str):
    to, from_ = MAPPINGS[library]
    model, other = (layer("lstm", seed, use_bias=False) for seed in range(2))
    assert same(from_(other, to(model)), model)


def test_bfloat16_weights_come_back():
    model, other = (layer("gru", seed, param_dtype=jnp.bfloat16) for seed in range(2))
    weights = interop.to_npz(model)
    assert {value.dtype for value in weights.values()} == {np.dtype(np.float32)}
    back = interop.from_npz(other, weights)
    assert same(back, model) and back.cell.bias[...].dtype == jnp.bfloat16


# PyTorch and Keras by their own equations, in NumPy.


def torch_step(kind: str, w: Mapping[str, np.ndarray], x: np.ndarray, h: np.ndarray, c: np.ndarray):
    """One step from the equations of torch.nn's pages."""
    a, b = w["weight_ih"] @ x + w["bias_ih"], w["weight_hh"] @ h + w["bias_hh"]
    if kind == "RNN":
        return np.tanh(a + b), c
    if kind == "GRU":
        (ar, az, an), (br, bz, bn) = np.split(a, 3), np.split(b, 3)
        r, z = sigmoid(ar + br), sigmoid(az + bz)
        return (1 - z) * np.tanh(an + r * bn) + z * h, c
    i, f, g, o = np.split(a + b, 4)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    m = sigmoid(o) * np.tanh(c)
    return (w["weight_hr"] @ m if "weight_hr" in w else m), c


def keras_step(kind: str, w: Sequence[np.ndarray], x: np.ndarray, h: np.ndarray, c: np.ndarray):
    """One step from the equations of Keras's cells."""
    kernel, recurrent, bias = w
    if kind == "SimpleRNN":
        return np.tanh(x @ kernel + bias + h @ recurrent), c
    if kind == "LSTM":
        i, f, g, o = np.split(x @ kernel + h @ recurrent + bias, 4)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        return sigmoid(o) * np.tanh(c), c
    after = bias.ndim == 2
    xz, xr, xh = np.split(x @ kernel + (bias[0] if after else bias), 3)
    uz, ur, uh = np.split(recurrent, 3, axis=1)
    bz, br, bh = np.split(bias[1], 3) if after else (0, 0, 0)
    z, r = sigmoid(xz + h @ uz + bz), sigmoid(xr + h @ ur + br)
    n = np.tanh(xh + (r * (h @ uh + bh) if after else (r * h) @ uh))
    return z * h + (1 - z) * n, c


def run_over(step: Callable, kind: str, w: Any, rows: np.ndarray, units: int, width: int, reverse: bool) -> np.ndarray:
    outputs = np.zeros((*rows.shape[:2], width))
    for b, row in enumerate(rows):
        h, c = np.zeros(width), np.zeros(units)
        for t in reversed(range(len(row))) if reverse else range(len(row)):
            h, c = step(kind, w, row[t], h, c)
            outputs[b, t] = h
    return outputs


@pytest.mark.parametrize("cell", COUNTERPARTS["torch"])
def test_pytorchs_equations_give_our_outputs(cell: str, inputs: np.ndarray):
    model = built(cell, layers=2, bidirectional=True)
    state = {name: value.astype(np.float64) for name, value in interop.to_torch(model).items()}
    kind = interop.torch_modules(model)["modules"]["rnn"]["class"]
    values = inputs.astype(np.float64)
    for k in range(2):
        sides = []
        for way in ("", "_reverse"):
            end = f"_l{k}{way}"
            w = {n.removeprefix("rnn.").removesuffix(end): v for n, v in state.items() if n.endswith(end)}
            sides.append(run_over(torch_step, kind, w, values, UNITS, w["weight_hh"].shape[1], bool(way)))
        values = np.concatenate(sides, axis=-1)
    expected = values @ state["readout.weight"].T + state["readout.bias"]
    np.testing.assert_allclose(model(inputs), expected, atol=2e-6)


@pytest.mark.parametrize("cell", COUNTERPARTS["keras"])
def test_kerass_equations_give_our_outputs(cell: str, inputs: np.ndarray):
    model = built(cell, layers=2, bidirectional=True, merge="average")
    weights = {name: [v.astype(np.float64) for v in values] for name, values in interop.to_keras(model).items()}
    made = interop.keras_config(model)["config"]["layers"]
    assert [each["class_name"] for each in made] == ["InputLayer", "Bidirectional", "Bidirectional", "Dense"]
    kind = made[1]["config"]["layer"]["class_name"]
    values = inputs.astype(np.float64)
    for name in ("bidirectional", "bidirectional_1"):
        pair = weights[name][:3], weights[name][3:]
        sides = [run_over(keras_step, kind, w, values, UNITS, UNITS, bool(k)) for k, w in enumerate(pair)]
        values = (sides[0] + sides[1]) / 2
    np.testing.assert_allclose(model(inputs), values @ weights["dense"][0] + weights["dense"][1], atol=2e-6)


def test_pytorchs_two_biases_count_as_their_sum():
    model = layer("lstm")
    state = interop.to_torch(model)
    assert not state["bias_hh_l0"].any()
    halves = state | {"bias_ih_l0": state["bias_ih_l0"] / 2, "bias_hh_l0": state["bias_ih_l0"] / 2}
    assert same(interop.from_torch(layer("lstm", 1), halves), model)


def test_layers_of_different_widths_are_modules_of_their_own():
    model = built("gru", units=(4, 3), layers=2)
    assert {name.partition(".weight")[0] for name in interop.to_torch(model) if "weight_" in name} == {"rnn.0", "rnn.1"}
    first, second = interop.torch_modules(model)["modules"]["rnn"]
    assert (first["arguments"]["hidden_size"], second["arguments"]["input_size"]) == (4, 4)


def test_kerass_weights_in_one_list():
    model = built("gru", layers=2)
    flat = [value for values in interop.to_keras(model).values() for value in values]
    assert same(interop.from_keras(built("gru", 1, layers=2), flat), model)
    with pytest.raises(InputError, match="7 arrays, not 8"):
        interop.from_keras(model, flat[:-1])


# Flax.

BLANK: dict[str, Any] = {"kernel_init": jax.nn.initializers.zeros, "recurrent_kernel_init": jax.nn.initializers.zeros}
NNX_CELLS = {"elman": nnx.SimpleCell, "lstm": nnx.OptimizedLSTMCell, "gru": nnx.GRUCell}
LINEN_CELLS = {"elman": linen.SimpleCell, "lstm": linen.OptimizedLSTMCell, "gru": linen.GRUCell}


def without_second_bias(model: Any) -> Any:
    """A GRU that nnx can hold: nothing in the candidate's second bias."""
    weights = interop.to_npz(model)
    for name, value in weights.items():
        if name.endswith("recurrent_bias"):
            value[2 * UNITS :] = 0
    return interop.from_npz(model, weights)


@pytest.mark.parametrize("form", ["nnx", "nnx_unpacked"])
@pytest.mark.parametrize("cell", NNX_CELLS)
def test_nnx_gives_our_outputs(cell: str, form: str, inputs: np.ndarray):
    model = without_second_bias(both_ways(cell))
    kind = nnx.LSTMCell if form == "nnx_unpacked" and cell == "lstm" else NNX_CELLS[cell]
    forward, backward = (nnx.RNN(kind(INPUT, UNITS, rngs=nnx.Rngs(k), **BLANK)) for k in range(2))
    theirs: Any = nnx.Bidirectional(forward, backward)
    nnx.update(theirs, interop.to_flax(model, form))
    with jax.numpy_rank_promotion("allow"):
        expected = theirs(inputs)
    np.testing.assert_allclose(model(inputs), expected, atol=1e-6)
    back = interop.from_flax(drawn(model, 99), nnx.to_pure_dict(nnx.state(theirs, nnx.Param)))
    np.testing.assert_allclose(back(inputs), expected, atol=1e-6)


@pytest.mark.parametrize("cell", LINEN_CELLS)
def test_linen_gives_our_outputs(cell: str, inputs: np.ndarray):
    model = built(cell)
    tree = interop.to_flax(model, "linen")
    theirs: Any = linen.RNN(LINEN_CELLS[cell](UNITS))
    shapes = jax.eval_shape(theirs.init, jax.random.key(0), inputs)["params"]
    own = jax.tree.map(lambda leaf: np.random.default_rng(1).normal(0, 0.5, leaf.shape).astype(np.float32), shapes)
    back = interop.from_flax(model.stack.layers[0], own)
    with jax.numpy_rank_promotion("allow"):
        hidden = theirs.apply({"params": tree["layers"]["0"]}, inputs)
        np.testing.assert_allclose(back(inputs), theirs.apply({"params": own}, inputs), atol=1e-6)
    expected = hidden @ tree["readout"]["kernel"] + tree["readout"]["bias"][None, None]
    np.testing.assert_allclose(model(inputs), expected, atol=1e-6)


def test_linens_gru_comes_back_where_only_the_candidate_has_a_second_bias():
    model = layer("gru")
    weights = interop.to_npz(model)
    weights["cell.recurrent_bias"][: 2 * UNITS] = 0
    model = interop.from_npz(model, weights)
    assert same(interop.from_flax(layer("gru", 1), interop.to_flax(model, "linen")), model)


def test_a_second_bias_that_nnx_cannot_hold_is_refused():
    with pytest.raises(InputError, match="no second bias for the candidate") as raised:
        interop.to_flax(built("gru"))
    assert "in layer 0" in str(raised.value) and "linen" in str(raised.value)


def test_a_bias_that_flax_always_has_must_be_zero_for_a_model_without():
    with pytest.raises(InputError, match="a bias that is not zero"):
        interop.from_flax(layer("lstm", use_bias=False), interop.to_flax(layer("lstm")))


def test_an_embedding_and_a_last_step_in_flax():
    model = built("lstm", embedding=2, symbols=True, read="last", bidirectional=True)
    tree = interop.to_flax(model)
    symbols = jnp.asarray(np.random.default_rng(0).integers(0, INPUT, (BATCH, TIME)))
    forward, backward = (nnx.RNN(nnx.OptimizedLSTMCell(2, UNITS, rngs=nnx.Rngs(k), **BLANK)) for k in range(2))
    theirs = nnx.Bidirectional(forward, backward, return_carry=True)
    nnx.update(theirs, tree["layers"]["0"])
    with jax.numpy_rank_promotion("allow"):
        (carries, _) = theirs(tree["embedding"]["embedding"][symbols])
    hidden = np.concatenate([h for _, h in carries], axis=-1)  # Flax's carry is (c, h)
    expected = hidden @ tree["readout"]["kernel"] + tree["readout"]["bias"][None]
    np.testing.assert_allclose(model(symbols), expected, atol=1e-6)
    assert interop.flax_modules(model)["layers"][0]["cells"][1] == {
        "class": "OptimizedLSTMCell",
        "in_features": 2,
        "hidden_features": UNITS,
        "activation_fn": "tanh",
        "gate_fn": "sigmoid",
        "reverse": True,
    }


# ONNX.

onnx = pytest.importorskip("onnx")


def evaluate(proto: Any, fed: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    from onnx.reference import ReferenceEvaluator

    evaluator = ReferenceEvaluator(proto)
    found: Any = zip(evaluator.output_names, evaluator.run(None, dict(fed)), strict=True)
    return dict(found)


@pytest.mark.parametrize("read", ["every", "last"])
@pytest.mark.parametrize("cell", COUNTERPARTS["onnx"])
def test_onnx_gives_our_outputs_and_states(cell: str, read: str, inputs: np.ndarray):
    model = built(cell, layers=2, bidirectional=True, read=read)
    expected = model.unroll(inputs)
    found = evaluate(interop.to_onnx(model), {"inputs": inputs})
    np.testing.assert_allclose(found.pop("outputs"), expected.outputs, atol=1e-5)
    assert found.keys() == expected.state.keys()
    for name, value in found.items():
        np.testing.assert_allclose(value, expected.state[name], atol=1e-5, err_msg=name)


@pytest.mark.parametrize("merge", ["concat", "sum", "multiply", "average"])
def test_onnx_merges_as_we_do(merge: str, inputs: np.ndarray):
    model = both_ways("gru", merge=merge)
    np.testing.assert_allclose(
        evaluate(interop.to_onnx(model), {"inputs": inputs})["outputs"], model(inputs), atol=1e-5
    )


@pytest.mark.parametrize("options", [{"residual": True}, {"learned_initial": True}, {"activation": "identity"}])
def test_onnx_computes_what_others_do_not(options: dict[str, Any], inputs: np.ndarray):
    model, other = (built("elman", seed, layers=3, **options) for seed in range(2))
    proto = interop.to_onnx(model)
    if "activation" not in options:  # of the reference evaluator's activations, only tanh can be told from alpha
        np.testing.assert_allclose(evaluate(proto, {"inputs": inputs})["outputs"], model(inputs), atol=1e-5)
    assert same(interop.from_onnx(other, proto), model)


def test_onnx_embeds_symbols_and_goes_on_from_a_state():
    model = built("lstm", embedding=2, symbols=True, layers=2)
    symbols = np.random.default_rng(0).integers(0, INPUT, (BATCH, TIME))
    whole = model.unroll(jnp.asarray(symbols))
    proto = interop.to_onnx(model, state=True)
    fed: dict[str, np.ndarray] = {f"initial.{k}": np.asarray(v) for k, v in model.initial_state(BATCH).items()}
    half = evaluate(proto, fed | {"inputs": symbols[:, :3]})
    fed = {f"initial.{k}": v for k, v in half.items() if k != "outputs"}
    rest = evaluate(proto, fed | {"inputs": symbols[:, 3:]})
    np.testing.assert_allclose(np.concatenate([half["outputs"], rest["outputs"]], 1), whole.outputs, atol=1e-5)


@pytest.mark.usefixtures("x64")
def test_onnx_keeps_float64(inputs: np.ndarray):
    model = built("lstm", dtype="float64")
    found = evaluate(interop.to_onnx(model), {"inputs": inputs.astype(np.float64)})["outputs"]
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, model(inputs.astype(np.float64)), atol=1e-14)


def test_onnx_repeats_a_context_and_decodes_it(inputs: np.ndarray):
    model = built("lstm", read="answer", answer_steps=2, decoder_units=3, bidirectional=True)
    found = evaluate(interop.to_onnx(model), {"inputs": inputs})
    assert {"encoder.0.forward.c", "decoder.0.h"} < found.keys()
    np.testing.assert_allclose(found["outputs"], model(inputs), atol=1e-5)


def foreign(kind: str, direction: str = "bidirectional", **attributes: Any) -> Any:
    """A graph as another exporter writes it: one node of both directions, kernels behind a Transpose, a Gemm."""
    helper, rng, ways = onnx.helper, np.random.default_rng(3), 2 if direction == "bidirectional" else 1
    columns = {"RNN": 1, "LSTM": 4, "GRU": 3}[kind] * UNITS
    shapes = {"W_": (ways, INPUT, columns), "R": (ways, columns, UNITS), "B": (ways, 2 * columns)}
    shapes |= {"dense": (OUTPUTS, ways * UNITS), "dense_bias": (OUTPUTS,)}
    stored = {name: rng.normal(0, 0.5, shape).astype(np.float32) for name, shape in shapes.items()}
    stored["shape"] = np.array([-1, ways * UNITS])
    nodes = [
        helper.make_node("Transpose", ["W_"], ["W"], perm=[0, 2, 1]),
        helper.make_node(kind, ["x", "W", "R", "B"], ["y"], hidden_size=UNITS, direction=direction, **attributes),
        helper.make_node("Transpose", ["y"], ["turned"], perm=[2, 0, 1, 3]),
        helper.make_node("Reshape", ["turned", "shape"], ["rows"]),
        helper.make_node("Gemm", ["rows", "dense", "dense_bias"], ["out"], transB=1),
    ]
    kinds = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in ("x", "out")]
    constants = [onnx.numpy_helper.from_array(value, name) for name, value in stored.items()]
    graph = helper.make_graph(nodes, "foreign", kinds[:1], kinds[1:], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])


@pytest.mark.parametrize(
    ("kind", "cell", "attributes"),
    [
        ("RNN", "elman", {}),
        ("LSTM", "lstm", {}),
        ("GRU", "gru", {"linear_before_reset": 1}),
        ("GRU", "gru_before", {}),
    ],
)
def test_another_exporters_graph_is_read(kind: str, cell: str, attributes: dict[str, Any], inputs: np.ndarray):
    proto = foreign(kind, **attributes)
    model = interop.from_onnx(built(cell, bidirectional=True), proto)
    expected = evaluate(proto, {"x": inputs.swapaxes(0, 1)})["out"].reshape(BATCH, TIME, OUTPUTS)
    np.testing.assert_allclose(model(inputs), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("cell", "proto", "message"),
    [
        ("gru", lambda: foreign("GRU"), "linear_before_reset=0"),
        ("lstm", lambda: foreign("GRU"), "a node GRU, which LSTM does not compute"),
        ("lstm", lambda: foreign("LSTM", "forward"), "1 directions of recurrent layers, not 2"),
        ("lstm", lambda: foreign("LSTM", clip=1.0), "clip"),
        ("lstm", lambda: foreign("LSTM", activations=["Relu", "Tanh", "Tanh"] * 2), "activations relu"),
        ("elman", lambda: foreign("RNN", activations=["Affine"] * 2), "activations affine"),
    ],
)
def test_a_node_that_computes_something_else_is_refused(cell: str, proto: Callable[[], Any], message: str):
    with pytest.raises(InputError, match=message):
        interop.from_onnx(built(cell, bidirectional=True), proto())


# What has no counterpart.


@pytest.mark.parametrize(
    ("library", "make", "message"),
    [
        ("torch", lambda: built("mgu"), "PyTorch has no counterpart of MGU"),
        ("torch", lambda: built("gru_before"), "no counterpart of GRUBefore"),
        ("torch", lambda: built("lstm", activation="relu"), "no activation but tanh"),
        ("torch", lambda: built("lstm", residual=True, layers=2), "do not add their input"),
        ("torch", lambda: both_ways("lstm", merge="sum"), "merge directions by 'sum'"),
        ("torch", lambda: layer("lstm", reverse=True), "goes backwards only"),
        ("torch", lambda: Bidirectional(layer("lstm"), layer("gru", reverse=True)), "are alike"),
        ("torch", lambda: built("projected_lstm", projection=UNITS), "does not project 4 units to 4"),
        ("torch", lambda: built("lstm", learned_initial=True), "a trained initial state"),
        ("keras", lambda: built("lstm", learned_initial=True), "a trained initial state"),
        ("keras", lambda: built("peephole_lstm"), "Keras has no counterpart of PeepholeLSTM"),
        ("keras", lambda: layer("lstm", reverse=True), "in reversed order"),
        ("keras", lambda: built("lstm", residual=True, layers=2), "do not add their input"),
        ("nnx", lambda: built("ctrnn"), "Flax has no counterpart of CTRNN"),
        ("nnx", lambda: built("lstm", zoneout=0.1), "does not compute zoneout"),
        ("onnx", lambda: built("projected_lstm"), "ONNX has no counterpart of ProjectedLSTM"),
        ("onnx", lambda: built("lstm", activation="sine"), "no activation sine"),
        ("onnx", lambda: both_ways("lstm", merge="none"), "not merged"),
        ("onnx", lambda: layer("lstm").cell, "a model of type LSTM"),
    ],
)
def test_what_the_other_library_does_not_compute_is_refused(library: str, make: Callable[[], Any], message: str):
    with pytest.raises(InputError, match=message):
        MAPPINGS[library][0](make())


@pytest.mark.parametrize("activation", ["gelu", "sine"])
def test_activations_that_keras_computes_otherwise_are_refused(activation: str):
    with pytest.raises(InputError, match=f"the activation {activation} as we do"):
        interop.keras_config(built("elman", activation=activation))


@pytest.mark.parametrize("decoder", ["feedback", "attention"])
def test_a_decoder_that_reads_its_own_answers_goes_to_npz_alone(decoder: str):
    model = built("lstm", read="answer", answer_steps=2, decoder=decoder)
    assert same(interop.from_npz(drawn(model, 99), interop.to_npz(model)), model)
    for library in ("torch", "keras", "nnx", "onnx"):
        with pytest.raises(InputError, match="a decoder that reads its own answers"):
            MAPPINGS[library][0](model)


def test_a_feed_forward_network_goes_to_npz_alone():
    model = built("feedforward", read="last", length=TIME)
    assert same(interop.from_npz(drawn(model, 99), interop.to_npz(model)), model)
    with pytest.raises(InputError, match="a model of type FeedForward"):
        interop.to_torch(model)


# Weights of another model.


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rnn.weight_hh_l0": None}, r"'rnn.weight_hh_l0' is missing"),
        ({"rnn.weight_hh_l0": None, "lstm.weight_hh_l0": np.zeros(1)}, r"is it 'lstm.weight_hh_l0'\?"),
        ({"rnn.weight_ih_l1": np.zeros(1)}, r"no place for 'rnn.weight_ih_l1'"),
        ({"readout.bias": np.zeros(9)}, r"'readout.bias' has shape \(9,\), not \(5,\)"),
    ],
)
def test_weights_of_another_model_are_refused(changes: dict[str, Any], message: str):
    model = built("lstm")
    state = {name: value for name, value in (interop.to_torch(model) | changes).items() if value is not None}
    with pytest.raises(InputError, match=message) as raised:
        interop.from_torch(model, state)
    assert "among the weights of PyTorch" in str(raised.value)


# Files.


@pytest.mark.parametrize("target", ["flax", "linen", "onnx", "npz"])
def test_files_come_back(target: str, tmp_path):
    model, other = (built("lstm", seed, layers=2, embedding=2, symbols=True) for seed in range(2))
    files = interop.export(model, target, tmp_path / "deep" / "try.1")
    suffix = interop.TARGETS[target].suffix
    assert files[0] == tmp_path / "deep" / f"try.1{suffix}" and all(file.is_file() for file in files)
    assert sorted(files) == sorted((tmp_path / "deep").iterdir())
    assert same(interop.load(other, target, files[0]), model)


def test_a_suffix_is_not_doubled_and_a_folder_takes_files_called_model(tmp_path):
    model = built("elman")
    assert interop.export(model, "npz", tmp_path / "a.npz") == [tmp_path / "a.npz"]
    assert interop.export(model, "npz", str(tmp_path)) == [tmp_path / "model.npz"]
    with np.load(tmp_path / "model.npz") as stored:
        assert "stack.layers.0.cell.input_kernel" in stored


def test_the_tree_of_a_flax_file_is_described_beside_it(tmp_path):
    weights, about = interop.export(built("elman"), "linen", tmp_path / "x")
    tree: Any = serialization.msgpack_restore(weights.read_bytes())
    described = json.loads(about.read_text())
    assert about.name == "x.linen.json" and described["form"] == "linen"
    assert tree["layers"]["0"]["cell"].keys() == {"i", "h"}
    assert described["layers"][0]["cells"][0]["class"] == "SimpleCell"


@pytest.mark.parametrize("target", ["torch", "keras", "flax", "onnx"])
def test_nothing_is_written_where_a_model_is_refused(target: str, tmp_path):
    with pytest.raises(InputError, match="no counterpart of MinGRU"):
        interop.export(built("min_gru"), target, tmp_path / "new" / "x")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("target", "missing"), [("torch", "torch"), ("keras", "h5py"), ("onnx", "onnx")])
def test_a_library_that_is_not_installed_is_named(target: str, missing: str, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(InputError, match=f"{missing} is not installed") as raised:
        interop.export(built("lstm"), target, tmp_path / "x")
    assert f"pip install {missing}" in str(raised.value) and not list(tmp_path.iterdir())


def test_files_that_are_not_what_they_should_be(tmp_path):
    model, path = built("lstm"), tmp_path / "x"
    with pytest.raises(InputError, match=r"cannot be read: No such file"):
        interop.load(model, "npz", path)
    path.write_bytes(b"nothing")
    for source in ("npz", "flax", "onnx"):
        with pytest.raises(InputError, match=f"is no file of weights for {source}"):
            interop.load(model, source, path)
    with pytest.raises(InputError, match="did you mean 'onnx'"):
        interop.export(model, "onxn", path)
    with pytest.raises(InputError, match="cannot be written"):
        interop.export(model, "npz", path / "below" / "a")
