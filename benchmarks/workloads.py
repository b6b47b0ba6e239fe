"""The networks that questions are asked about, and what a peer needs to compute the same: weights and batches."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax.experiment import Built, Experiment, load
from rnnjax.layers import ModelConfig
from rnnjax.tasks import Text, arrays
from rnnjax.train import TrainConfig

BATCHES = 8
"""Batches of an epoch of a made-up workload, and how many a peer is given."""


@dataclasses.dataclass(frozen=True)
class Workload:
    """A network and the shape of its data.

    Attributes:
      name: what it is called.
      cell: `elman`, `lstm` or `gru` (reset after the product, as in cuDNN).
      units: of its one recurrent layer.
      batch: rows.
      time: steps.
      vocab: symbols that are read; 0: numbers are.
      embedding: width of their embedding; 0: one-hot rows.
      features: numbers a step, where numbers are read.
      outputs: of the readout; 0: as many as symbols.
      read: `every` step is answered, or the `last`.
      decoder_units: of an LSTM that writes `answers` symbols from the last output, repeated; 0: there is none.
      answers: symbols that it writes.
      rate: of Adam.
      epsilon: of Adam.
      activity_l1: penalty of the last output, a row.
      useful: share of the steps that stand for data; the rest is padding.
      dtype: of the products: `float32` or `bfloat16` (parameters and states stay in float32).
      heads: networks side by side, each of `units`: a recurrent kernel in blocks.
      preset: the study it is taken from; empty: data are made up.
      source: where it comes from.
    """

    name: str
    cell: str = "lstm"
    units: int = 128
    batch: int = 32
    time: int = 100
    vocab: int = 0
    embedding: int = 0
    features: int = 0
    outputs: int = 0
    read: str = "every"
    decoder_units: int = 0
    answers: int = 0
    rate: float = 1e-3
    epsilon: float = 1e-8
    activity_l1: float = 0.0
    useful: float = 1.0
    dtype: str = "float32"
    heads: int = 1
    preset: str = ""
    source: str = ""

    @property
    def width(self) -> int:
        """Of what the recurrent layer reads."""
        return self.embedding or self.features or self.vocab

    @property
    def classes(self) -> int:
        """Outputs of the readout."""
        return self.outputs or self.vocab or 10


_STUDY = [
    Workload("words", "elman", 3, 30, 20, vocab=3, read="last", epsilon=1e-7, activity_l1=1e-4, preset="letter_words"),
    Workload(
        "addition", "lstm", 100, 10, 5, vocab=12, decoder_units=50, answers=2, epsilon=1e-7, preset="addition"
    ),  # `time` and `answers` are those of the study's task
    Workload("names", "elman", 25, 32, 20, vocab=109, useful=0.425),
    Workload("mid", "lstm", 128, 32, 100, vocab=62, embedding=32),
    Workload("shakespeare", "lstm", 1024, 64, 100, vocab=62, embedding=256),
    Workload("shakespeare/bfloat16", "lstm", 1024, 64, 100, vocab=62, embedding=256, dtype="bfloat16"),
]


def _published() -> list[Workload]:
    deep = "DeepBench"
    return [
        *[
            Workload(f"deepbench/lstm512-b{b}", "lstm", 512, b, 25, features=512, source=deep)
            for b in (16, 32, 64, 128)
        ],
        Workload("deepbench/lstm1024", "lstm", 1024, 64, 25, features=1024, source=deep),
        Workload("deepbench/lstm256", "lstm", 256, 64, 150, features=256, source=deep),
        Workload("deepbench/gru1024", "gru", 1024, 32, 25, features=1024, source=deep),
        Workload("speech320", "lstm", 320, 64, 100, features=123, source="1 layer of 320 units on 123 features"),
        Workload("flashrnn/1x768", "lstm", 768, 16, 256, features=768, source="FlashRNN"),
        Workload("flashrnn/12x64", "lstm", 64, 16, 256, features=64, heads=12, source="FlashRNN"),
        Workload("tiny", "lstm", 32, 1, 1000, features=32, read="last", source="one row of 1,000 steps"),
    ]


WORKLOADS = {workload.name: workload for workload in [*_STUDY, *_published()]}
"""By name: the studies', and published ones."""


def build(workload: Workload, *, executor: str = "auto") -> Built:
    """Task and trainer of a workload."""
    if workload.preset:
        return load(workload.preset, {"model.executor": executor, "model.dtype": workload.dtype}).built
    w, draw = workload, np.random.default_rng(0)
    model = ModelConfig(cell=w.cell, units=w.units, embedding=w.embedding, executor=executor, dtype=w.dtype)
    rows = w.batch * BATCHES
    if w.vocab and w.read == "every":
        task: Any = drawn_text(w.vocab, (w.time + 1) * rows, w.time)
    else:
        shape = (rows, w.time) if w.vocab else (rows, w.time, w.features)
        inputs = draw.integers(0, w.vocab, shape) if w.vocab else draw.standard_normal(shape).astype(np.float32)
        targets = draw.integers(0, w.classes, (rows, w.time) if w.read == "every" else rows)
        task = arrays(inputs, targets)
    train = TrainConfig(batch=w.batch, learning_rate=w.rate)
    return Experiment(name=w.name, task=task, model=model, train=train).built


def drawn_text(symbols: int, count: int, length: int) -> Text:
    """A text of so many symbols: each once, then `count` of them, drawn; read in sequences of `length`."""
    drawn = np.random.default_rng(0).integers(0, symbols, count)
    return Text("".join(chr(ord("0") + int(symbol)) for symbol in [*range(symbols), *drawn]), length=length)


def write(workload: Workload, path: Path) -> None:
    """Writes what a peer needs to train the same network on the same batches, as arrays of an ``.npz`` file.

    `inputs` and `targets` have a leading axis of `BATCHES`: the first ones of the order of seed 0, each
    ``[batch, time]`` or ``[batch, time, features]``, and ``[batch]``, ``[batch, time]`` or ``[batch, answers]``.
    Weights have the names that `rnnjax` gives them, such as ``stack.layers.0.cell.recurrent_kernel``.
    """
    trainer = build(workload).trainer
    member = trainer.member(0)
    data = jax.tree.map(jnp.asarray, trainer.task.data("train"))

    def batch(index: Any) -> Any:
        found = lambda batch: (batch.inputs, batch.targets)  # noqa: E731
        return trainer.taken(found, data, trainer.order(member.key, jnp.int32(0)), index, "train", workload.batch)

    inputs, targets = jax.lax.map(batch, jnp.arange(min(BATCHES, trainer.epoch_steps)))
    named = jax.tree_util.tree_leaves_with_path(member.params)
    weights = {".".join(str(part.key) for part in path): np.asarray(value) for path, value in named}
    held: dict[str, Any] = {"inputs": np.asarray(inputs), "targets": np.asarray(targets), **weights}
    np.savez(path, **held)
