"""The oracles' own oracles: ONNX's test cases and reference evaluator, steps worked by hand, plain laws."""

from __future__ import annotations

import numpy as np
import pytest

from oracles import CELLS, random_weights, sigmoid, unroll

ROWS, STEPS, INPUTS, UNITS = 3, 6, 2, 4
every_cell = pytest.mark.parametrize("cell", CELLS)
both_directions = pytest.mark.parametrize("reverse", [False, True])


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def random_state(cell, weights, rng, rows=ROWS):
    zero = unroll(cell, weights, np.zeros((rows, 0, INPUTS)))["state"]
    return {field: rng.normal(size=value.shape) for field, value in zero.items()}


def problem(cell, rng):
    weights = random_weights(cell, INPUTS, UNITS, rng)
    return weights, rng.normal(size=(ROWS, STEPS, INPUTS)), random_state(cell, weights, rng)


def assert_same(actual, expected):
    assert actual.keys() == expected.keys()
    for name, value in expected.items():
        if isinstance(value, dict):
            assert_same(actual[name], value)
        else:
            np.testing.assert_allclose(actual[name], value, rtol=1e-13, atol=1e-15, err_msg=name)


# ONNX stacks the gates of a direction as rows, in another order.
ONNX_ORDER = {"RNN": [0], "GRU": [1, 0, 2], "LSTM": [0, 2, 3, 1]}  # h; z r h -> r z n; i o f c -> i f g o
PEEPHOLE_ORDER = [0, 2, 1]  # i o f -> i f o


def blocks(rows, order):
    parts = np.split(rows, len(order))
    return np.concatenate([parts[k] for k in order]).T


def from_onnx(op, fed, direction, reset_after):
    """The cell and weights of one direction of an ONNX node."""
    order = ONNX_ORDER[op]
    weights = {
        "input_kernel": blocks(fed["W"][direction], order),
        "recurrent_kernel": blocks(fed["R"][direction], order),
    }
    columns = weights["input_kernel"].shape[1]
    both = fed["B"][direction] if "B" in fed else np.zeros(2 * columns)
    bias, recurrent_bias = (blocks(part, order) for part in np.split(both, 2))
    if op == "GRU" and reset_after:
        return "gru", weights | {"bias": bias, "recurrent_bias": recurrent_bias}
    weights["bias"] = bias + recurrent_bias
    if "P" in fed:
        weights["peephole"] = np.reshape(fed["P"][direction], (3, -1))[PEEPHOLE_ORDER]
        return "peephole_lstm", weights
    return {"RNN": "elman", "GRU": "gru_before", "LSTM": "lstm"}[op], weights


def run_onnx_node(node, fed):
    """What the oracle says a RNN, GRU or LSTM node gives: a dict of Y, Y_h and (LSTM) Y_c."""
    import onnx

    attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    batch_first = attributes.get("layout", 0) == 1
    x = fed["X"] if batch_first else np.swapaxes(fed["X"], 0, 1)
    reverses = {b"forward": [False], b"reverse": [True], b"bidirectional": [False, True]}
    results = []
    for direction, reverse in enumerate(reverses[attributes.get("direction", b"forward")]):
        cell, weights = from_onnx(node.op_type, fed, direction, attributes.get("linear_before_reset", 0))
        state = {s: fed[f"initial_{s}"][direction] for s in CELLS[cell].state} if "initial_h" in fed else None
        lengths = fed.get("sequence_lens")
        results.append(unroll(cell, weights, x, state=state, lengths=lengths, reverse=reverse))
    y = np.stack([r["outputs"] for r in results], axis=2)  # [B, T, direction, U]
    outputs = {"Y": y if batch_first else np.moveaxis(y, 0, 2)}
    for field in results[0]["state"]:
        outputs[f"Y_{field}"] = np.stack([r["state"][field] for r in results], axis=1 if batch_first else 0)
    return outputs


@pytest.mark.parametrize("op", ["RNN", "GRU", "LSTM"])
def test_onnx_node_test_cases(op):
    pytest.importorskip("onnx")
    import onnx.backend.test.case.node as node_cases

    # Importing a module registers its cases; the loader would import all of them, with their warnings.
    __import__(f"onnx.backend.test.case.node.{op.lower()}")
    cases = [case for case in node_cases._NodeTestCases if case.model.graph.node[0].op_type == op]
    assert len(cases) >= 6
    for case in cases:
        node = case.model.graph.node[0]
        for inputs, outputs in case.data_sets:
            fed = dict(zip([name for name in node.input if name], inputs, strict=True))
            expected = dict(zip([name for name in node.output if name], outputs, strict=True))
            actual = run_onnx_node(node, fed)
            for name, value in expected.items():
                assert actual[name].shape == value.shape, case.name
                np.testing.assert_allclose(actual[name], value, rtol=1e-5, atol=1e-7, err_msg=case.name)


# The published cases have constant weights, which cannot tell one gate from another.
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize(
    ("op", "peephole", "attributes"),
    [
        ("RNN", False, {}),
        ("GRU", False, {"linear_before_reset": 0}),
        ("GRU", False, {"linear_before_reset": 1}),
        ("LSTM", False, {}),
        ("LSTM", True, {}),
    ],
)
def test_onnx_reference_evaluator_with_random_weights(op, peephole, attributes, direction, rng):
    onnx = pytest.importorskip("onnx")
    evaluator = pytest.importorskip("onnx.reference").ReferenceEvaluator
    directions, columns = 1 + (direction == "bidirectional"), len(ONNX_ORDER[op]) * UNITS
    shapes = {
        "X": (STEPS, ROWS, INPUTS),
        "W": (directions, columns, INPUTS),
        "R": (directions, columns, UNITS),
        "B": (directions, 2 * columns),
        "": None,
        "initial_h": (directions, ROWS, UNITS),
    }
    if op == "LSTM":
        shapes["initial_c"] = (directions, ROWS, UNITS)
    if peephole:
        shapes["P"] = (directions, 3 * UNITS)
    outputs = ["Y", "Y_h", "Y_c"] if op == "LSTM" else ["Y", "Y_h"]
    attributes = attributes | {"hidden_size": UNITS, "direction": direction}
    node = onnx.helper.make_node(op, list(shapes), outputs, **attributes)
    fed = {name: rng.normal(size=shape) for name, shape in shapes.items() if shape}
    double = onnx.TensorProto.DOUBLE
    graph = onnx.helper.make_graph(
        [node],
        "one",
        [onnx.helper.make_tensor_value_info(name, double, value.shape) for name, value in fed.items()],
        [onnx.helper.make_tensor_value_info(name, double, None) for name in outputs],
    )
    expected = evaluator(onnx.helper.make_model(graph)).run(None, fed)
    assert_same(run_onnx_node(node, fed), dict(zip(outputs, expected, strict=True)))


def one_step(cell, weights, x, **state):
    """Every recorded field, as numbers, of one step of one unit with one input."""
    weights = {name: np.asarray(value, float) for name, value in weights.items()}
    state = {field: np.array([[value]]) for field, value in state.items()}
    recorded = unroll(cell, weights, np.array([[[x]]]), state=state)["recorded"]
    return {field: value.item() for field, value in recorded.items()}


def test_ctrnn_by_hand():
    # x = 2*3 + 1 = 7; q = 4*0.5 = 2; v = 0.75*8 + 0.25*(7 + 2) = 8.25
    weights = {"input_kernel": [[3]], "recurrent_kernel": [[4]], "bias": [1], "leak": 0.25}
    assert one_step("ctrnn", weights, 2, v=8, h=0.5) == {"v": 8.25, "h": np.tanh(8.25)}


def test_mgu_by_hand():
    # f = s(0*1 + ln 3 + 0*0.5) = 3/4; n = tanh(2*1 - 1 + 4*(3/4*0.5)) = tanh(2.5); h = 1/4*0.5 + 3/4*n
    weights = {"input_kernel": [[0, 2]], "recurrent_kernel": [[0, 4]], "bias": [np.log(3), -1]}
    expected = {"f": 0.75, "n": np.tanh(2.5), "h": 0.125 + 0.75 * np.tanh(2.5)}
    assert one_step("mgu", weights, 1, h=0.5) == pytest.approx(expected, rel=1e-15)


def test_peephole_lstm_by_hand():
    # i = s(ln 3 - 1 + 0.5*2) = 3/4; f = s(-0.5*2 + 1) = 1/2; g = tanh(1); c = 1/2*2 + 3/4*g; o = s(new c)
    weights = {
        "input_kernel": np.zeros((1, 4)),
        "recurrent_kernel": np.zeros((1, 4)),
        "bias": [np.log(3) - 1, 1, 1, 0],
        "peephole": [[0.5], [-0.5], [1]],
    }
    c = 1 + 0.75 * np.tanh(1)
    o = 1 / (1 + np.exp(-c))
    expected = {"i": 0.75, "f": 0.5, "g": np.tanh(1), "o": o, "c": c, "h": o * np.tanh(c)}
    assert one_step("peephole_lstm", weights, 5, c=2, h=1) == pytest.approx(expected, rel=1e-15)


def test_min_gru_closed_form(rng):
    weights, inputs, state = problem("min_gru", rng)
    z, n = np.split(inputs @ weights["input_kernel"] + weights["bias"], 2, axis=-1)
    z = sigmoid(z)
    # h_t = (product of all 1-z) h_0 + sum over k of (product of 1-z after k) z_k n_k
    h = np.prod(1 - z, axis=1) * state["h"]
    for k in range(STEPS):
        h += np.prod(1 - z[:, k + 1 :], axis=1) * z[:, k] * n[:, k]
    np.testing.assert_allclose(unroll("min_gru", weights, inputs, state=state)["state"]["h"], h, rtol=1e-13)


def test_zero_peepholes_and_identity_projection_are_the_lstm(rng):
    weights, inputs, state = problem("lstm", rng)
    lstm = unroll("lstm", weights, inputs, state=state)
    peephole = unroll("peephole_lstm", weights | {"peephole": np.zeros((3, UNITS))}, inputs, state=state)
    assert_same(peephole, lstm)
    projected = unroll("projected_lstm", weights | {"projection_kernel": np.eye(UNITS)}, inputs, state=state)
    np.testing.assert_array_equal(projected["recorded"].pop("m"), projected["outputs"])
    assert_same(projected, lstm)


def test_projected_lstm_of_zero_projection_sees_its_input_alone(rng):
    weights, inputs, _ = problem("projected_lstm", rng)
    outputs = unroll("projected_lstm", weights | {"projection_kernel": np.zeros((UNITS, UNITS - 1))}, inputs)
    assert outputs["outputs"].shape == (ROWS, STEPS, UNITS - 1)
    assert outputs["state"]["c"].shape == (ROWS, UNITS)
    lstm = {"recurrent_kernel": np.zeros((UNITS, 4 * UNITS))}
    lstm |= {name: weights[name] for name in ("input_kernel", "bias")}
    np.testing.assert_array_equal(outputs["recorded"]["c"], unroll("lstm", lstm, inputs)["recorded"]["c"])
    np.testing.assert_array_equal(outputs["recorded"]["m"], unroll("lstm", lstm, inputs)["outputs"])


def test_layer_norm_lstm_normalises_each_product_and_the_cell(rng):
    weights, inputs, state = problem("layer_norm_lstm", rng)
    one = np.ones(4 * UNITS)
    cell_scale = np.linspace(0.5, 1.5, UNITS)
    weights |= {"bias": 0 * one, "cell_scale": cell_scale, "cell_shift": np.zeros(UNITS)}
    inputs *= 100  # so that 1e-5 beside the variance does not show
    state = {"c": 100 * state["c"], "h": 100 * state["h"]}

    def preactivations(input_scale, recurrent_scale):
        scales = {"input_scale": input_scale * one, "recurrent_scale": recurrent_scale * one}
        seen = unroll("layer_norm_lstm", weights | scales, inputs[:, :1], state=state)["recorded"]
        seen = {field: value[:, 0] for field, value in seen.items()}
        logit = {gate: np.log(seen[gate] / (1 - seen[gate])) for gate in "ifo"}
        return np.concatenate([logit["i"], logit["f"], np.arctanh(seen["g"]), logit["o"]], axis=1), seen

    for scales in [(1, 0), (0, 1)]:
        z, seen = preactivations(*scales)
        np.testing.assert_allclose(z.mean(1), 0, atol=1e-12)
        np.testing.assert_allclose(z.var(1), 1, rtol=1e-4)
        normalised = np.arctanh(seen["h"] / seen["o"]) / cell_scale
        np.testing.assert_allclose(normalised.mean(1), 0, atol=1e-12)
        np.testing.assert_allclose(normalised.var(1), 1, rtol=1e-4)
    both = 2 * preactivations(1, 0)[0] + 3 * preactivations(0, 1)[0]
    np.testing.assert_allclose(preactivations(2, 3)[0], both, rtol=1e-8, atol=1e-12)


def test_layer_norm_lstm_scales_shifts_and_epsilon_by_hand():
    # x = (1, -1, 1, -1)*a has mean 0 and variance a^2, so norm(x) = (1, -1, 1, -1)*a/sqrt(a^2 + 1e-5).
    # Before it h = 0, so that norm(q) = 0; one unit has norm(c) = 0, so that h = o*tanh(shift).
    weights = {
        "input_kernel": [[1, -1, 1, -1]],
        "recurrent_kernel": [[1, 2, 3, 4]],
        "bias": [0.5, 0.25, 0.125, 0],
        "input_scale": [1, 2, 3, 4],
        "recurrent_scale": [9, 9, 9, 9],
        "cell_scale": [7],
        "cell_shift": [0.5],
    }
    a = 0.003
    k = a / np.sqrt(a**2 + 1e-5)
    i, f, o = (1 / (1 + np.exp(-z)) for z in (k + 0.5, -2 * k + 0.25, -4 * k))
    g = np.tanh(3 * k + 0.125)
    expected = {"i": i, "f": f, "g": g, "o": o, "c": f * 2 + i * g, "h": o * np.tanh(0.5)}
    assert one_step("layer_norm_lstm", weights, a, c=2, h=0) == pytest.approx(expected, rel=1e-13)


@every_cell
def test_a_sequence_is_its_steps_one_after_another(cell, rng):
    weights, inputs, state = problem(cell, rng)
    whole = unroll(cell, weights, inputs, state=state)
    for t in range(STEPS):
        part = unroll(cell, weights, inputs[:, t : t + 1], state=state)
        state = part["state"]
        for field, value in part["recorded"].items():
            np.testing.assert_array_equal(whole["recorded"][field][:, t], value[:, 0])
    assert_same(whole["state"], state)
    np.testing.assert_array_equal(whole["outputs"], whole["recorded"]["h"])
    assert set(whole["recorded"]) == set(CELLS[cell].fields)


@every_cell
def test_reverse_is_the_flipped_sequence_indexed_by_input_position(cell, rng):
    weights, inputs, state = problem(cell, rng)
    backward = unroll(cell, weights, inputs, state=state, reverse=True)
    forward = unroll(cell, weights, inputs[:, ::-1], state=state)
    forward["recorded"] = {field: value[:, ::-1] for field, value in forward["recorded"].items()}
    assert_same(backward, forward | {"outputs": forward["outputs"][:, ::-1]})


@every_cell
@both_directions
def test_a_masked_step_does_not_exist(cell, reverse, rng):
    weights, inputs, state = problem(cell, rng)
    kept = [0, 2, 3, 5]
    mask = np.isin(np.arange(STEPS), kept) & np.ones((ROWS, 1), bool)
    inputs[:, [1, 4]] = np.nan
    options = {"state": state, "reverse": reverse}
    masked = unroll(cell, weights, inputs, mask=mask, reset=~mask, **options)
    short = unroll(cell, weights, inputs[:, kept], **options)
    assert_same(masked["state"], short["state"])
    np.testing.assert_array_equal(masked["outputs"][:, kept], short["outputs"])
    assert not masked["outputs"][:, [1, 4]].any()
    for field, value in masked["recorded"].items():
        np.testing.assert_array_equal(value[:, kept], short["recorded"][field])
        for t in (1, 4):
            carried = value[:, t + 1 if reverse else t - 1] if field in CELLS[cell].state else 0
            np.testing.assert_array_equal(value[:, t], np.broadcast_to(carried, value[:, t].shape))


@every_cell
@both_directions
def test_lengths_are_rows_cut_short(cell, reverse, rng):
    weights, inputs, state = problem(cell, rng)
    lengths = np.array([4, 0, STEPS])
    inputs[0, 4:] = inputs[1] = np.nan
    ragged = unroll(cell, weights, inputs, state=state, lengths=lengths, reverse=reverse)
    for row, length in enumerate(lengths):
        own = {field: value[row : row + 1] for field, value in state.items()}
        short = unroll(cell, weights, inputs[row : row + 1, :length], state=own, reverse=reverse)
        np.testing.assert_array_equal(ragged["outputs"][row, :length], short["outputs"][0])
        assert not ragged["outputs"][row, length:].any()
        for field, value in short["recorded"].items():
            np.testing.assert_array_equal(ragged["recorded"][field][row, :length], value[0])
        for field, value in short["state"].items():
            np.testing.assert_array_equal(ragged["state"][field][row], value[0])
            beyond = state[field][row] if reverse else value[0]
            padding = ragged["recorded"][field][row, length:]
            np.testing.assert_array_equal(padding, np.broadcast_to(beyond, padding.shape))


@every_cell
def test_a_row_of_length_zero_returns_its_initial_state(cell, rng):
    weights, inputs, state = problem(cell, rng)
    lengths, reset = np.zeros(ROWS, int), np.ones((ROWS, STEPS), bool)
    empty = unroll(cell, weights, inputs, state=state, lengths=lengths, reset=reset)
    assert_same(empty["state"], state)
    assert not empty["outputs"].any()
    assert_same(unroll(cell, weights, inputs, initial=state, lengths=lengths)["state"], state)


@every_cell
@both_directions
def test_a_reset_starts_the_row_anew(cell, reverse, rng):
    weights, inputs, state = problem(cell, rng)
    initial = random_state(cell, weights, rng)
    reset = np.zeros((ROWS, STEPS), bool)
    reset[1, 3] = True
    before, after = (slice(4, None), slice(None, 4)) if reverse else (slice(None, 3), slice(3, None))
    plain = unroll(cell, weights, inputs, state=state, reverse=reverse)
    for blank, given in [({field: 0 * value for field, value in initial.items()}, None), (initial, initial)]:
        actual = unroll(cell, weights, inputs, state=state, reset=reset, initial=given, reverse=reverse)
        anew = unroll(cell, weights, inputs[:, after], state=blank, reverse=reverse)
        np.testing.assert_array_equal(actual["outputs"][[0, 2]], plain["outputs"][[0, 2]])
        np.testing.assert_array_equal(actual["outputs"][1, before], plain["outputs"][1, before])
        np.testing.assert_array_equal(actual["outputs"][1, after], anew["outputs"][1])
        for field in state:
            np.testing.assert_array_equal(actual["state"][field][1], anew["state"][field][1])


@every_cell
def test_zoneout_keeps_the_previous_value_after_the_whole_step(cell, rng):
    weights, inputs, state = problem(cell, rng)
    keep = {field: rng.random((ROWS, STEPS, value.shape[1])) < 0.5 for field, value in state.items()}
    zoned = unroll(cell, weights, inputs, state=state, zoneout=keep)
    for t in range(STEPS):
        free = unroll(cell, weights, inputs[:, t : t + 1], state=state)
        state = {field: np.where(keep[field][:, t], state[field], free["state"][field]) for field in state}
        for field in CELLS[cell].fields:
            expected = state.get(field, free["recorded"][field][:, 0])
            np.testing.assert_array_equal(zoned["recorded"][field][:, t], expected)
    assert_same(zoned["state"], state)
    np.testing.assert_array_equal(zoned["outputs"], zoned["recorded"]["h"])


def test_zoneout_of_one_field_leaves_the_other_free(rng):
    weights, inputs, state = problem("lstm", rng)
    keep = np.ones((ROWS, STEPS, UNITS), bool)
    result = unroll("lstm", weights, inputs, state=state, zoneout={"c": keep, "h": None})
    recorded = result["recorded"]
    np.testing.assert_array_equal(result["state"]["c"], state["c"])
    computed = recorded["f"] * state["c"][:, None] + recorded["i"] * recorded["g"]
    np.testing.assert_allclose(result["outputs"], recorded["o"] * np.tanh(computed), rtol=1e-14)


@every_cell
def test_recurrent_dropout_scales_the_rows_of_the_recurrent_kernel(cell, rng):
    weights, inputs, state = problem(cell, rng)
    drop = rng.choice([0.0, 2.0], size=state["h"].shape)
    dropped = unroll(cell, weights, inputs, state=state, recurrent_dropout=drop)
    for row in range(ROWS):
        scaled = dict(weights)
        if cell != "min_gru":
            scaled["recurrent_kernel"] = drop[row][:, None] * weights["recurrent_kernel"]
        expected = unroll(cell, scaled, inputs, state=state)["outputs"][row]
        np.testing.assert_allclose(dropped["outputs"][row], expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(("cell", "field"), [(cell, field) for cell in CELLS for field in CELLS[cell].fields])
def test_an_edit_touches_the_chosen_alone_until_it_spreads(cell, field, rng):
    weights, inputs, _ = problem(cell, rng)
    plain = unroll(cell, weights, inputs)["recorded"]
    select = np.zeros((STEPS, ROWS, plain[field].shape[-1]), bool)
    select[2, 1, 0] = True
    clamped = unroll(cell, weights, inputs, edits=[(field, "clamp", select, 0.7)])["recorded"]
    scaled = unroll(cell, weights, inputs, edits=[(field, "scale", select, -2.0)])["recorded"]
    assert clamped[field][1, 2, 0] == 0.7
    assert scaled[field][1, 2, 0] == -2 * plain[field][1, 2, 0]
    order = CELLS[cell].fields
    for edited in (clamped, scaled):
        for name, value in edited.items():
            np.testing.assert_array_equal(value[[0, 2]], plain[name][[0, 2]])
            np.testing.assert_array_equal(value[1, :2], plain[name][1, :2])
        np.testing.assert_array_equal(edited[field][1, 2, 1:], plain[field][1, 2, 1:])
        if field != order[-1]:
            assert (edited["h"][1, 2] != plain["h"][1, 2]).any()


def test_later_quantities_of_the_step_see_the_edited_value(rng):
    weights, inputs, state = problem("lstm", rng)
    select = np.ones((STEPS, ROWS, UNITS), bool)
    edits = [("f", "clamp", select, 0.0), ("c", "scale", select, 3.0), ("c", "scale", select, 0.5)]
    seen = unroll("lstm", weights, inputs, state=state, edits=edits)["recorded"]
    np.testing.assert_allclose(seen["c"], 1.5 * seen["i"] * seen["g"], rtol=1e-14)
    np.testing.assert_allclose(seen["h"], seen["o"] * np.tanh(seen["c"]), rtol=1e-14)


def test_zoneout_and_mask_come_after_an_edit(rng):
    weights, inputs, state = problem("elman", rng)
    everywhere = np.ones((ROWS, STEPS, UNITS), bool)
    edits = [("h", "clamp", np.moveaxis(everywhere, 0, 1), 0.5)]
    zoned = unroll("elman", weights, inputs, state=state, edits=edits, zoneout={"h": everywhere})
    assert_same(zoned["state"], state)
    absent = unroll("elman", weights, inputs, state=state, edits=edits, mask=np.zeros((ROWS, STEPS), bool))
    assert_same(absent["state"], state)
    assert not absent["outputs"].any()


def test_arguments_are_left_as_they_were(rng):
    weights, inputs, state = problem("lstm", rng)
    copies = {field: value.copy() for field, value in state.items()}
    unroll("lstm", weights, inputs, state=state, initial=state)
    assert_same(state, copies)
