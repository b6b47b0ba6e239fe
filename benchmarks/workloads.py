"""The networks that questions are asked about, as trainers on random symbols."""

from __future__ import annotations

import numpy as np

from rnnjax.experiment import Built, Experiment
from rnnjax.layers import ModelConfig
from rnnjax.tasks import Text
from rnnjax.train import TrainConfig

WORKLOADS = {
    "words": "Elman 3 on 3 symbols, batch 30, 20 steps",
    "mid": "embedding 32, LSTM 128 on 62 symbols, batch 32, 100 steps",
    "shakespeare": "embedding 256, LSTM 1024 on 62 symbols, batch 64, 100 steps",
}


def build(name: str, *, executor: str = "auto", dtype: str = "float32") -> Built:
    """The trainer of a workload."""
    vocab, embedding, cell, units, batch, steps = {
        "words": (3, 0, "elman", 3, 30, 20),
        "mid": (62, 32, "lstm", 128, 32, 100),
        "shakespeare": (62, 256, "lstm", 1024, 64, 100),
    }[name]
    symbols = np.random.default_rng(0).integers(0, vocab, (steps + 1) * batch * 8)
    text = "".join(chr(ord("0") + int(symbol)) for symbol in [*range(vocab), *symbols])
    task = Text(text, length=steps)
    model = ModelConfig(cell=cell, units=units, embedding=embedding, executor=executor, dtype=dtype)
    return Experiment(name=name, task=task, model=model, train=TrainConfig(batch=batch)).built
