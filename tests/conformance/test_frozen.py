"""What Keras, PyTorch and ONNX answered when `freeze.py` asked them, held against rnnjax; needs none of the three."""

from __future__ import annotations

import frozen
import numpy as np
import pytest
from peers import QUICK, keras_answer, keras_expected, run_node, torch_answer, torch_expected
from studies import STUDIES, train

ABOUT, HELD = frozen.load()


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("kind", HELD["torch"])
def test_pytorch(kind, agree):
    case = HELD["torch"][kind]
    agree(torch_answer(kind, case["given"]), torch_expected(kind, case["given"], case["found"]), 1e-12)


@pytest.mark.parametrize("kind", HELD["keras"])
def test_keras(kind, agree):
    case = HELD["keras"][kind]
    agree(keras_answer(kind, case["given"]), keras_expected(kind, case["found"]), 3e-6)


@pytest.mark.parametrize("name", HELD["onnx"])
def test_onnx(name, close):
    case, node = HELD["onnx"][name], ABOUT["nodes"][name]
    answer = run_node(node["op"], node["attributes"], case["given"])
    for key, value in case["found"].items():
        close(answer[key], value, 1e-5, key)


@pytest.mark.parametrize("name", HELD["training"])
def test_fifty_steps_beside_keras(name, record_property):
    case = HELD["training"][name]
    losses, _ = train(STUDIES[name], case["batches"], case["weights"], compiler_options=QUICK)
    difference = float(np.max(np.abs(losses - case["losses"]) / case["losses"]))
    record_property("largest difference", difference)
    assert difference <= 1e-4


def test_the_file_says_what_made_it():
    assert len(HELD["onnx"]) == len(ABOUT["nodes"]) == 18
    assert {"keras", "torch", "onnx", "jax", "numpy", "python"} == set(ABOUT["versions"])
    assert frozen.FILE.stat().st_size < 300_000
