"""ONNX: the node cases that it publishes, and ONNX Runtime on random weights, against `unroll` itself."""

from __future__ import annotations

import numpy as np
import pytest
from peers import GATES, run_node

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::RuntimeWarning:onnx"),  # the loader computes every operator's cases
]

CASES = (
    *("simple_rnn_defaults", "simple_rnn_with_initial_bias", "rnn_seq_length", "simple_rnn_batchwise"),
    *("simple_rnn_reverse", "simple_rnn_bidirectional"),
    *("lstm_defaults", "lstm_with_initial_bias", "lstm_with_peepholes", "lstm_batchwise", "lstm_reverse"),
    "lstm_bidirectional",
    *("gru_defaults", "gru_with_initial_bias", "gru_seq_length", "gru_batchwise", "gru_reverse", "gru_bidirectional"),
)
ROWS, STEPS, INPUTS, UNITS = 3, 6, 2, 4


@pytest.fixture(scope="module")
def published():
    """The published cases of recurrent nodes, by name."""
    loader = pytest.importorskip("onnx.backend.test.loader")
    cases = loader.load_model_tests(kind="node")
    found = {case.name: case for case in cases if case.model.graph.node[0].op_type in ("RNN", "GRU", "LSTM")}
    return {name.removeprefix("test_"): case for name, case in found.items() if len(case.model.graph.node) == 1}


def attributes_of(node):
    from onnx.helper import get_attribute_value

    found = {attribute.name: get_attribute_value(attribute) for attribute in node.attribute}
    return {name: value.decode() if isinstance(value, bytes) else value for name, value in found.items()}


def test_no_published_case_is_left_out(published):
    assert set(published) == set(CASES)


@pytest.mark.parametrize("name", CASES)
def test_published_case(published, name, close):
    case = published[name]
    node = case.model.graph.node[0]
    for inputs, outputs in case.data_sets:
        fed = dict(zip(filter(None, node.input), inputs, strict=True))
        expected = dict(zip(filter(None, node.output), outputs, strict=True))
        actual = run_node(node.op_type, attributes_of(node), fed)
        for key, value in expected.items():
            close(actual[key], value, 1e-5, key)


def random_node(op, *, peephole=False, lengths=None, **attributes):
    """Attributes and inputs of a node whose gates cannot be told from one another by symmetry."""
    rng = np.random.default_rng(0)
    directions = 2 if attributes["direction"] == "bidirectional" else 1
    rows = len(GATES["onnx"]["elman" if op == "RNN" else op.lower()]) * UNITS
    shapes = {
        "X": (STEPS, ROWS, INPUTS),
        "W": (directions, rows, INPUTS),
        "R": (directions, rows, UNITS),
        "B": (directions, 2 * rows),
        "initial_h": (directions, ROWS, UNITS),
        **({"initial_c": (directions, ROWS, UNITS)} if op == "LSTM" else {}),
        **({"P": (directions, 3 * UNITS)} if peephole else {}),
    }
    fed = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    if lengths is not None:
        fed["sequence_lens"] = np.asarray(lengths, np.int32)
    return {"hidden_size": UNITS, **attributes}, fed


def model_of(op, attributes, fed):
    """A model of that one node, and the names of what it gives."""
    from onnx import TensorProto, helper

    order = ("X", "W", "R", "B", "sequence_lens", "initial_h", *(("initial_c", "P") if op == "LSTM" else ()))
    names = ["Y", "Y_h", "Y_c"][: 3 if op == "LSTM" else 2]
    node = helper.make_node(op, [name if name in fed else "" for name in order], names, **attributes)
    kinds = {"float32": TensorProto.FLOAT, "int32": TensorProto.INT32}
    graph = helper.make_graph(
        [node],
        "one",
        [helper.make_tensor_value_info(name, kinds[str(v.dtype)], v.shape) for name, v in fed.items()],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8), names


NODES = {
    "rnn": ("RNN", {}),
    "gru": ("GRU", {"linear_before_reset": 0}),
    "gru-reset-after": ("GRU", {"linear_before_reset": 1}),
    "lstm": ("LSTM", {}),
    "lstm-peephole": ("LSTM", {"peephole": True}),
}


@pytest.mark.parametrize("lengths", [None, (4, 1, STEPS)], ids=["whole", "lengths"])
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("kind", NODES)
def test_onnx_runtime(kind, direction, lengths, close):
    runtime = pytest.importorskip("onnxruntime")
    op, options = NODES[kind]
    attributes, fed = random_node(op, direction=direction, lengths=lengths, **options)
    model, names = model_of(op, attributes, fed)
    session = runtime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    expected = dict(zip(names, session.run(None, fed), strict=True))
    actual = run_node(op, attributes, fed)
    assert actual.keys() == expected.keys()
    for name, value in expected.items():
        close(actual[name], value, 1e-5, name)


@pytest.mark.parametrize("kind", ["rnn", "gru", "lstm"])
def test_fault_the_reference_evaluator_reads_past_the_lengths(kind, close):
    """`onnx.reference` takes `sequence_lens` and does nothing with it: it reads the padding, and answers there."""
    evaluator = pytest.importorskip("onnx.reference").ReferenceEvaluator
    op, options = NODES[kind]
    attributes, fed = random_node(op, direction="forward", lengths=(4, 1, STEPS), **options)
    model, names = model_of(op, attributes, fed)
    theirs = dict(zip(names, evaluator(model).run(None, fed), strict=True))
    whole = {name: value for name, value in fed.items() if name != "sequence_lens"}
    unheeding = run_node(op, attributes, whole)
    right = run_node(op, attributes, fed)
    for name in names:
        close(theirs[name], unheeding[name], 1e-5, name)
    assert np.abs(theirs["Y_h"] - right["Y_h"])[0, :2].max() > 0.01
    for row, length in enumerate((4, 1, STEPS)):
        assert not right["Y"][length:, 0, row].any()
        np.testing.assert_array_equal(right["Y_h"][0, row], right["Y"][length - 1, 0, row])
