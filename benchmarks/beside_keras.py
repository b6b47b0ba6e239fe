"""How long does a study take beside Keras? Epochs of the same networks, batches and optimiser, in turn."""

from __future__ import annotations

import importlib
import importlib.util
import os
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax
import numpy as np

from rnnjax.experiment import load
from rnnjax.population import Programs
from rnnjax.timing import paired, ratio

STUDIES = ("letter_words", "addition")


def run(*, quick: bool = False) -> Iterator[dict[str, Any]]:
    """One row a study: seconds an epoch here and with Keras on its own default backend, TensorFlow."""
    if any(importlib.util.find_spec(name) is None for name in ("keras", "tensorflow")):
        yield {"question": "keras", "skipped": "keras or tensorflow is not installed"}
        return
    os.environ["KERAS_BACKEND"] = "tensorflow"
    keras: Any = importlib.import_module("keras")
    keras.utils.set_random_seed(0)
    for name in STUDIES:
        found = paired({"rnnjax": _ours(name), "keras": _theirs(name)}, rounds=1 if quick else 3)
        yield {
            "question": "keras",
            "study": name,
            "epochs_of_the_study": load(name).train.epochs,
            "epoch_s": found["rnnjax"].median,
            "keras_epoch_s": found["keras"].median,
            "keras_over_rnnjax": ratio(found["keras"], found["rnnjax"]),
            "first_s": found["rnnjax"].first,
            "keras_first_s": found["keras"].first,
            "keras": keras.__version__,
            "backend": keras.backend.backend(),
        }


def _ours(name: str) -> Callable[[], Any]:
    """A call that trains one epoch."""
    trainer = load(name).built.trainer
    programs = Programs(trainer)
    held = {"member": programs.member(0)}
    data = jax.device_put(trainer.task.data("train"))

    def epoch() -> Any:
        steps = np.int32(trainer.epoch_steps)
        held["member"] = programs.chunk(held["member"], data, np.int32(0), steps, np.bool_(True))
        return held["member"].step

    return epoch


def _theirs(name: str) -> Callable[[], Any]:
    """The same epoch by Keras's `fit`."""
    keras: Any = importlib.import_module("keras")
    layers = keras.layers

    task, train = load(name).built.task, load(name).train
    rows = task.steps("train", train.batch) * train.batch
    batch = task.batch(jax.random.key(0), rows)
    inputs = np.eye(task.inputs, dtype=np.float32)[np.asarray(batch.inputs)]
    targets = np.eye(task.outputs, dtype=np.float32)[np.asarray(batch.targets)]
    stacks: dict[str, list[Any]] = {
        "letter_words": [layers.SimpleRNN(3, activity_regularizer=keras.regularizers.L1(1e-4))],
        "addition": [layers.LSTM(100), layers.RepeatVector(2), layers.LSTM(50, return_sequences=True)],
    }
    model = keras.Sequential([*stacks[name], layers.Dense(task.outputs, activation="softmax")])
    model.compile(optimizer="adam", loss="categorical_crossentropy", metrics=["accuracy"])
    return partial(model.fit, inputs, targets, batch_size=train.batch, epochs=1, verbose=0)
