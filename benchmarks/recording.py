"""What does looking cost? The forward pass that records, over the plain one, and over the one that keeps less."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from flax import nnx

from rnnjax.cells import LSTM
from rnnjax.sequence import Record
from rnnjax.timing import paired, ratio
from rnnjax.unroll import unroll

FIELDS = ("h", "c", "i", "f", "g", "o")
RECORDS: dict[str, tuple[str | Record, ...]] = {
    "h": ("h",),
    "all": FIELDS,
    "units": tuple(Record(field, units=tuple(range(64))) for field in FIELDS),
    "stride": tuple(Record(field, stride=10) for field in FIELDS),
    "statistics": tuple(Record(field, statistics=True) for field in FIELDS),
}
"""What is recorded, by name: the output, the six quantities of an LSTM, 64 units of each, every tenth step, moments."""


def run(*, quick: bool = False) -> Iterator[dict[str, Any]]:
    """One row a way of recording: milliseconds of a forward pass with and without it, and their ratio."""
    units, inputs, batch, steps = (128, 32, 32, 100) if quick else (1024, 256, 64, 100)
    graph, variables = nnx.split(LSTM(inputs, units, rngs=nnx.Rngs(0)))
    values = jax.device_put(np.random.default_rng(0).normal(size=(batch, steps, inputs)).astype(np.float32))

    def forward(record: tuple[str | Record, ...]) -> Any:
        @jax.jit
        def run(variables: Any, values: jax.Array) -> Any:
            found = unroll(nnx.merge(graph, variables), values, record=record)
            return found.outputs, found.state, found.recorded

        return lambda: run(variables, values)

    plain = forward(())
    for name, record in RECORDS.items():
        found = paired({"plain": plain, "recording": forward(record)}, rounds=5 if quick else 7)
        yield {
            "question": "recording",
            "recorded": name,
            "units": units,
            "plain_ms": found["plain"].median * 1e3,
            "recording_ms": found["recording"].median * 1e3,
            "recording_over_plain": ratio(found["recording"], found["plain"]),
        }
