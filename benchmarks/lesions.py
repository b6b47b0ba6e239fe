"""How much faster is a lesion atlas in one program than a loop of single lesions? LSTM of 1,024 units, 64 symbols.

The loop is one compiled program too, called with one mask of units after the other; a sample of the units stands for
all of them. Losses differ by rounding alone: the recurrent product of many networks is one product of many rows, which
sums in another order than that of a few rows.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import jax
import numpy as np
from flax import nnx

from rnnjax.benchmarks.workloads import drawn_text
from rnnjax.experiment import Experiment
from rnnjax.interpret import lesion_atlas
from rnnjax.layers import ModelConfig
from rnnjax.sequence import lesion
from rnnjax.tasks import Batch, Text
from rnnjax.train import answer_sums

SYMBOLS, STEPS, SAMPLE = 64, 100, 64


def run(*, quick: bool = False) -> Iterator[dict[str, Any]]:
    """One row a number of rows of the batch."""
    units, sample = (128, 16) if quick else (1024, SAMPLE)
    task = drawn_text(SYMBOLS, 40 * STEPS, STEPS)
    built = Experiment(task=task, model=ModelConfig(cell="lstm", units=units)).built
    member = built.trainer.member(0)
    model = built.trainer.model(member.params, member.fixed)
    for rows in (1, 4):
        yield {"question": "lesions", "units": units, **measure(model, task, task.probe(rows * STEPS, rows), sample)}


def measure(model: Any, task: Text, batch: Batch, sample: int) -> dict[str, Any]:
    """Both ways on one batch."""
    field, width = "0.h", model.recordable["0.h"]
    graph, variables = nnx.split(model)
    chosen = np.linspace(0, width - 1, sample).astype(int)
    lesion_atlas(model, [batch], task, field)  # compiles
    began = time.perf_counter()
    atlas = lesion_atlas(model, [batch], task, field)
    together = time.perf_counter() - began
    single = jax.jit(partial(_single, graph, task, field))
    masks = np.arange(width)[None] == chosen[:, None]
    jax.block_until_ready(single(variables, batch, masks[0]))
    began = time.perf_counter()
    losses = [float(single(variables, batch, mask)) for mask in masks]
    each = (time.perf_counter() - began) / sample
    apart = np.abs(np.asarray(losses) - atlas.loss[chosen])
    return {
        "rows": batch.inputs.shape[0],
        "steps": batch.inputs.shape[1],
        "atlas_s": together,
        "loop_s": each * (width + 1),
        "loop_sampled": sample,
        "times_faster": each * (width + 1) / together,
        "greatest_difference": float(apart.max()),
        "greatest_change": float(np.abs(atlas.change).max()),
    }


def _single(graph: Any, task: Text, field: str, variables: Any, batch: Batch, mask: jax.Array) -> jax.Array:
    """The loss with some units switched off."""
    prediction = nnx.merge(graph, variables).unroll(batch.inputs, edit=lesion(field, mask))
    nats, answers, _ = answer_sums(task, prediction, batch)
    return nats / answers
