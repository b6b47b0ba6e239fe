"""How long does it take to draw one more symbol, each of some rows? Beside loops of PyTorch and Keras."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

from rnnjax.benchmarks.harness import Asked, measure
from rnnjax.benchmarks.workloads import WORKLOADS

BESIDE = ("torch", "keras_jax", "keras_tensorflow")
ROWS = (1, 256)


def run(asked: Asked) -> Iterator[dict[str, Any]]:
    """One row a candidate and workload: seconds until each row has one more symbol."""
    base = WORKLOADS["mid" if asked.quick else "shakespeare"]
    usual = [dataclasses.replace(base, name=f"{base.name}/rows {rows}", batch=rows) for rows in ROWS]
    for workload in asked.workloads or usual:
        yield from measure(asked, "generation", workload, asked.candidates("generation", BESIDE))
