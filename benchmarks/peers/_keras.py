"""Keras, whichever backend KERAS_BACKEND names: its layers, and steps written as its guides to custom loops have them.

A step is a pure function of the state on JAX (`stateless_call`, `stateless_apply`), and a `tf.function` on TensorFlow.
Both cost less than `train_on_batch`, which brings the loss to the host after every step. Short sequences of small
networks are tried with `unroll` as well. bfloat16 is the policy `mixed_bfloat16`: parameters in float32.
"""

from __future__ import annotations

import importlib
import runpy
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from rnnjax.benchmarks.peers.worker import Job

keras: Any = importlib.import_module("keras")
common: Any = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("_common.py"))))

LAYERS = {"lstm": "LSTM", "gru": "GRU", "elman": "SimpleRNN"}


def versions(backend: str) -> dict[str, str]:
    """Of Keras and its backend."""
    return {name: version(name) for name in ("keras", backend)}


def policy(w: dict[str, Any]) -> str:
    """The dtype of its layers."""
    return "mixed_bfloat16" if w["dtype"] == "bfloat16" else "float32"


def recurrent(w: dict[str, Any], units: int, cell: str, **options: Any) -> Any:
    """A recurrent layer that gives every step."""
    kind = getattr(keras.layers, LAYERS[cell])
    return kind(units, **{"return_sequences": True, "dtype": policy(w), **options})


def fill(layer: Any, cell: str, weights: dict[str, np.ndarray]) -> None:
    """Sets the weights of a layer that is built. Keras has a GRU's gates in the order `z r n`."""
    values = [weights["input_kernel"], weights["recurrent_kernel"], weights["bias"]]
    if cell == "gru":
        values[2] = np.stack([weights["bias"], weights["recurrent_bias"]])
        values = [np.concatenate([np.split(value, 3, axis=-1)[k] for k in (1, 0, 2)], axis=-1) for value in values]
    layer.set_weights(values)


def network(job: Job, *, unroll: bool) -> Any:
    """A model from inputs ``[batch, time]`` or ``[batch, time, input]`` to logits, and the states they are read from.

    Args:
      job: whose workload and weights it has.
      unroll: whether its loops are laid out.
    """
    w, arrays = job.workload, job.arrays
    symbols = bool(w["embedding"])
    shape = (w["time"],) if symbols else (w["time"], w["vocab"] or w["features"])
    given = keras.Input(batch_shape=(w["batch"], *shape), dtype="int32" if symbols else "float32")
    embedding = keras.layers.Embedding(w["vocab"], w["embedding"], dtype=policy(w)) if symbols else None
    last = w["read"] == "last" or bool(w["decoder_units"])
    layer = recurrent(w, w["units"], w["cell"], return_sequences=not last, unroll=unroll)
    hidden = layer(given if embedding is None else embedding(given))
    decoder = None
    if w["decoder_units"]:
        decoder = recurrent(w, w["decoder_units"], "lstm", unroll=unroll)
        hidden = decoder(keras.layers.RepeatVector(w["answers"])(hidden))
    kernel = arrays["readout.kernel"]
    readout = keras.layers.Dense(kernel.shape[1], dtype=policy(w))
    model = keras.Model(given, [readout(hidden), hidden])
    fill(layer, w["cell"], common.layer_of(job))
    if decoder is not None:
        fill(decoder, "lstm", common.layer_of(job, "decoder"))
    if embedding is not None:
        embedding.set_weights([arrays["embedding.embedding"]])
    readout.set_weights([kernel, arrays["readout.bias"]])
    return model


def inputs_of(job: Job) -> np.ndarray:
    """Inputs ``[batches, batch, time, ...]``: symbols of an embedding, else numbers or one-hot rows."""
    w, inputs = job.workload, job.arrays["inputs"]
    if w["embedding"] or not w["vocab"]:
        return inputs
    rows = np.concatenate([np.eye(w["vocab"], dtype=np.float32), np.zeros((1, w["vocab"]), np.float32)])
    return rows[inputs]


def loss_of(model: Any, w: dict[str, Any], logits: Any, hidden: Any, targets: Any) -> tuple[Any, Any]:
    """What is minimised, and the loss in it."""
    each = keras.losses.sparse_categorical_crossentropy(targets, keras.ops.cast(logits, "float32"), from_logits=True)
    loss = keras.ops.mean(each)
    size = keras.ops.sum(keras.ops.abs(hidden)) if w["activity_l1"] else 0.0
    return loss + w["activity_l1"] * size / w["batch"], loss


def adam(w: dict[str, Any]) -> Any:
    """The optimiser of a workload."""
    return keras.optimizers.Adam(w["rate"], epsilon=w["epsilon"])


def unrolls(job: Job) -> dict[str, bool]:
    """Whether loops are laid out, by the word for it."""
    return {"": False, ", unroll": True} if common.short(job) else {"": False}


def layers(job: Job, *, unroll: bool) -> list[Any]:
    """The recurrent layer of each head, built."""
    w, found = job.workload, []
    for weights in common.heads_of(job):
        layer = recurrent(w, w["units"], w["cell"], unroll=unroll)
        layer.build((w["batch"], w["time"], len(weights["input_kernel"])))
        fill(layer, w["cell"], weights)
        found.append(layer)
    return found


def generation(job: Job) -> Any:
    """Symbols drawn one by one from a model of one step, by `predict_on_batch` or by calling it."""
    w, arrays = job.workload, job.arrays
    symbols = bool(w["embedding"])
    rows = w["batch"]
    given = keras.Input(batch_shape=(rows, 1) if symbols else (rows, 1, w["vocab"]), dtype="int32" if symbols else None)
    before = [keras.Input(batch_shape=(rows, w["units"])) for _ in range(2 if w["cell"] == "lstm" else 1)]
    embedding = keras.layers.Embedding(w["vocab"], w["embedding"], dtype=policy(w)) if symbols else None
    layer = recurrent(w, w["units"], w["cell"], return_sequences=False, return_state=True)
    hidden, *after = layer(given if embedding is None else embedding(given), initial_state=before)
    readout = keras.layers.Dense(w["vocab"], dtype=policy(w))
    model = keras.Model([given, *before], [readout(hidden), *after])
    fill(layer, w["cell"], common.layer_of(job))
    if embedding is not None:
        embedding.set_weights([arrays["embedding.embedding"]])
    readout.set_weights([arrays["readout.kernel"], arrays["readout.bias"]])
    eye, draw = np.eye(w["vocab"], dtype=np.float32), np.random.default_rng(0)

    def run(step: Any, count: int, temperature: float) -> list[np.ndarray]:
        tokens, found = np.zeros(rows, np.int32), []
        state: Any = [np.zeros((rows, w["units"]), np.float32) for _ in before]
        for _ in range(count):
            logits, *state = step([tokens[:, None] if symbols else eye[tokens][:, None], *state])
            logits = np.asarray(logits, np.float32)
            noise = draw.gumbel(size=logits.shape) if temperature else 0.0
            tokens = np.argmax(logits + noise, axis=-1).astype(np.int32)
            found.append(tokens)
        return found

    def called(given: list[Any]) -> Any:
        return model([keras.ops.convert_to_tensor(value) for value in given], training=False)

    steps = {"predict_on_batch": model.predict_on_batch, "model(x)": called}
    calls = {name: lambda count, step=step: run(step, count, 1.0) for name, step in steps.items()}
    compile_s = common.beyond_running(calls["predict_on_batch"])
    name = common.fastest(calls)
    check = [float(tokens[0]) for tokens in run(steps[name], common.DRAWN, 0.0)]
    about = {"compile_s": compile_s} if name == "predict_on_batch" else {}
    return {"call": calls[name], "form": f"loop, {name}", "check": check, **about}
