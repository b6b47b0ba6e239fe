"""Asks Keras, PyTorch and ONNX, and stores what they were asked and what they answered in frozen.npz.

`test_frozen.py` holds rnnjax against it where none of the three is installed. To make it anew, from the project's root,
with `keras`, `torch` and `onnx` installed beside the development tools:

    python tests/conformance/freeze.py
"""

from __future__ import annotations

import importlib
import json
import os
import platform
import tempfile
import warnings
from importlib.metadata import version

import numpy as np
from frozen import FILE, Nested, flat, load
from studies import STUDIES
from theirs import KERAS, LENGTHS, ROWS, STEPS, keras_found, keras_given, torch_found, torch_given

TRAINED = ("letter_words", "addition-small", "names-small", "shakespeare-small")
LIBRARIES = ("keras", "torch", "onnx", "jax", "numpy")


def of_torch() -> Nested:
    """Modules of every kind, in both directions, on packed sequences."""
    torch = importlib.import_module("torch")

    found = {}
    for kind in ("elman", "lstm", "gru", "projected_lstm"):
        given = torch_given(torch, kind, bidirectional=True, lengths=LENGTHS)
        found[kind] = {"given": given, "found": torch_found(torch, kind, given)}
    return found


def of_keras() -> Nested:
    """Every kind of layer, under a mask with holes."""
    keras = importlib.import_module("keras")

    mask = np.random.default_rng(3).random((ROWS, STEPS)) < 0.7
    found = {}
    for kind in KERAS:
        given = keras_given(keras, kind, mask)
        found[kind] = {"given": given, "found": keras_found(keras, kind, given)}
    return found


def of_training() -> Nested:
    """Losses of 50 steps of the studies, those too large at a small size."""
    keras = importlib.import_module("keras")

    found = {}
    for name in TRAINED:
        keras.utils.set_random_seed(0)
        study = STUDIES[name]
        made = study.make(keras, np.random.default_rng(0), **study.options)
        batches = {key: value.astype(bool if value.dtype == bool else np.uint8) for key, value in made.batches.items()}
        found[name] = {"batches": batches, "weights": made.weights(), "losses": made.losses()}
    return found


def of_onnx() -> tuple[Nested, dict[str, dict]]:
    """The published cases of recurrent nodes; and the operator and attributes of each."""
    load_model_tests = importlib.import_module("onnx.backend.test.loader").load_model_tests
    get_attribute_value = importlib.import_module("onnx.helper").get_attribute_value

    found, nodes = {}, {}
    for case in load_model_tests(kind="node"):
        node = case.model.graph.node[0]
        if node.op_type not in ("RNN", "GRU", "LSTM") or len(case.model.graph.node) > 1:
            continue
        attributes = {attribute.name: get_attribute_value(attribute) for attribute in node.attribute}
        attributes = {key: v.decode() if isinstance(v, bytes) else v for key, v in attributes.items()}
        ((inputs, outputs),) = case.data_sets
        name = case.name.removeprefix("test_")
        nodes[name] = {"op": node.op_type, "attributes": attributes}
        found[name] = {
            "given": dict(zip(filter(None, node.input), inputs, strict=True)),
            "found": dict(zip(filter(None, node.output), outputs, strict=True)),
        }
    return found, nodes


def main() -> None:
    """Writes the file, and says how large it is."""
    nodes_found, nodes = of_onnx()
    versions = {"python": platform.python_version(), **{name: version(name) for name in LIBRARIES}}
    about = {"versions": versions, "nodes": nodes}
    found = {"torch": of_torch(), "keras": of_keras(), "training": of_training(), "onnx": nodes_found}
    arrays: dict = {"about": np.asarray(json.dumps(about)), **flat(found)}
    np.savez_compressed(FILE, **arrays)
    assert load()[0] == about
    print(f"{FILE}: {FILE.stat().st_size / 1000:.0f} kB, {versions}")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as home, warnings.catch_warnings():
        os.environ |= {"KERAS_BACKEND": "jax", "KERAS_HOME": home}
        warnings.simplefilter("ignore")  # ONNX's loader computes the cases of every operator
        main()
