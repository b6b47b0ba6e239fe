"""Keras on TensorFlow: a step in a `tf.function`, compiled by XLA or not, one at a time or many; see `_keras.py`."""

from __future__ import annotations

import contextlib
import importlib
import itertools
import os
import runpy
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

os.environ["KERAS_BACKEND"] = "tensorflow"  # before Keras is imported
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

if TYPE_CHECKING:
    from rnnjax.benchmarks.peers.worker import Job, Prepared

tf: Any = importlib.import_module("tensorflow")
words: Any = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("_keras.py"))))
common = words.common


def versions() -> dict[str, str]:
    """Of Keras and TensorFlow."""
    return {"keras": words.keras.__version__, "tensorflow": tf.__version__}


def prepare(job: Job) -> Prepared:
    """A step of training, a layer alone, or drawing symbols."""
    common.refuse(job, generates=True)
    if words.keras.backend.backend() != "tensorflow":
        raise NotImplementedError("Keras runs on another backend here")
    if job.device == "gpu" and not tf.config.list_physical_devices("GPU"):
        raise NotImplementedError("this TensorFlow has no GPU")
    with contextlib.suppress(RuntimeError):  # it has computed already, and keeps the threads that it has
        tf.config.threading.set_intra_op_parallelism_threads(job.threads)
    return {"step": _training, "generation": words.generation}.get(job.question, _alone)(job)


def _forms(job: Job) -> dict[str, tuple[bool, bool]]:
    """Whether loops are laid out and whether XLA compiles, by the words for it."""
    unrolls = words.unrolls(job)
    compiled = {"": False, ", jit_compile": True}
    pairs = itertools.product(unrolls, compiled)
    return {f"{u}{c}": (unrolls[u], compiled[c]) for u, c in pairs}


def _training(job: Job) -> Prepared:
    forms = {name: _Training(job, *form) for name, form in _forms(job).items()}
    return common.fastest_training(job, forms)


class _Training:
    """A model, its step, and how far it is.

    Args:
      job: whose workload it is.
      unroll: whether its loops over time are laid out.
      compiled: whether XLA compiles it.

    Attributes:
      loop: so many steps, one after the other.
      check: losses of the first steps.
      compile_s: seconds that compiling a step took.
    """

    def __init__(self, job: Job, unroll: bool, compiled: bool):
        w = job.workload
        model, rule = words.network(job, unroll=unroll), words.adam(w)
        rule.build(model.trainable_variables)
        inputs, targets = tf.constant(words.inputs_of(job)), tf.constant(job.arrays["targets"])
        count = len(inputs)
        self.batches = [(inputs[k], targets[k]) for k in range(count)]

        def step(inputs: Any, targets: Any) -> Any:
            with tf.GradientTape() as tape:
                logits, hidden = model(inputs, training=True)
                whole, loss = words.loss_of(model, w, logits, hidden, targets)
            rule.apply(tape.gradient(whole, model.trainable_variables), model.trainable_variables)
            return loss

        self.step = tf.function(step, jit_compile=compiled)

        def many(done: Any, steps: Any) -> Any:
            loss = tf.zeros(())
            for k in tf.range(steps):
                at = (done + k) % count
                loss = self.step(tf.gather(inputs, at), tf.gather(targets, at))
            return loss

        self.chunk = tf.function(many, autograph=True)
        self.done = 0
        self.check, self.compile_s = common.first_losses(self.one)
        self.loop = common.repeated(self.one, lambda loss: loss.numpy())

    def one(self) -> Any:
        """One step; its loss."""
        at = self.batches[self.done % len(self.batches)]
        self.done += 1
        return self.step(*at)

    def whole(self, count: int) -> None:
        """So many steps in one function."""
        self.chunk(tf.constant(self.done), tf.constant(count)).numpy()
        self.done += count


def _alone(job: Job) -> Prepared:
    inputs, backward = tf.constant(common.dense(job)), job.question == "gradient"

    def prepared(unroll: bool, compiled: bool) -> Callable[[], Any]:
        layers = words.layers(job, unroll=unroll)
        weights = [layer.trainable_variables for layer in layers]

        def forward() -> Any:
            return [layer(inputs) for layer in layers]

        def gradient() -> Any:
            with tf.GradientTape() as tape:
                tape.watch(inputs)
                loss = _mean_square(forward())
            return loss, tape.gradient(loss, (inputs, weights))

        return tf.function(gradient if backward else forward, jit_compile=compiled)

    def wait(found: Any) -> None:
        tf.nest.map_structure(lambda value: value.numpy().size, found[:1])

    programs = {name: prepared(*form) for name, form in _forms(job).items()}
    calls = {name: common.repeated(program, wait) for name, program in programs.items()}
    compile_s = {name: common.beyond_running(call) for name, call in calls.items()}
    name = common.fastest(calls)
    found = programs[name]()
    if backward:
        recurrent = [gradients[1] for gradients in found[1][1]]
        check = [float(found[0]), sum(float(tf.reduce_sum(tf.square(each))) for each in recurrent)]
    else:
        check = [float(_mean_square(found))]
    return {"call": calls[name], "form": f"loop{name}", "check": check, "compile_s": compile_s[name]}


def _mean_square(outputs: list[Any]) -> Any:
    each = [tf.reduce_mean(tf.square(tf.cast(values, tf.float32))) for values in outputs]
    return tf.add_n(each) / len(each)
