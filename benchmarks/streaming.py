"""What does a long recording cost? A million steps of 512 units: memory, speed beside the disk's own, reading."""

from __future__ import annotations

import importlib
import multiprocessing
import os
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx

from rnnjax.layers import ModelConfig
from rnnjax.recording import Recording, stream
from rnnjax.store import ArrayGroup, Layout

UNITS, SYMBOLS = 512, 62
WINDOW = 1024  # steps that `stream` appends at once by default
LARGER = 8192
MEGABYTE = 1e6


def run(*, quick: bool = False) -> Iterator[dict[str, Any]]:
    """One row of `stream` with a model, in a process of its own whose memory is measured; and two of the writer alone,
    block by block in turn with a plain file of the same bytes that is synchronised, too."""
    steps = 32_768 if quick else 1_000_000
    with tempfile.TemporaryDirectory() as folder:
        yield _streamed(steps, Path(folder))
    for rows in (WINDOW, LARGER):
        with tempfile.TemporaryDirectory() as folder:
            yield _written(rows, steps // rows, Path(folder))


def _streamed(steps: int, folder: Path) -> dict[str, Any]:
    """The row of a model. Another process runs it, so that nothing that came before counts as its memory."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        found = pool.apply(_stream_and_measure, (steps, str(folder)))
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        found |= pool.apply(_read_and_measure, (str(folder / "long.zarr"),))
    return {"question": "streaming", "what": "stream", "steps": steps, "units": UNITS, "window": WINDOW, **found}


def _stream_and_measure(steps: int, folder: str) -> dict[str, Any]:
    """Seconds, and the memory that the process had at most beyond what the model and its program need."""
    config = ModelConfig(cell="elman", units=UNITS, executor="scan")
    model = config.build(SYMBOLS, SYMBOLS, read="every", symbols=True, rngs=nnx.Rngs(0))
    symbols = np.random.default_rng(0).integers(0, SYMBOLS, steps).astype(np.int32)
    model.unroll(jnp.asarray(symbols[None, :WINDOW]), record=("0.h",)).state["0.h"].block_until_ready()
    before = _most_memory()
    began = time.perf_counter()
    stream(model, symbols, ["0.h"], Path(folder) / "long.zarr", window=WINDOW)
    seconds = time.perf_counter() - began
    size = steps * UNITS * 4 / MEGABYTE
    return {
        "model": f"elman {UNITS} on {SYMBOLS} symbols",
        "megabytes": size,
        "seconds": seconds,
        "megabytes_per_second": size / seconds,
        "megabytes_of_memory_beyond_the_model": _most_memory() - before,
        "megabytes_of_memory": _most_memory(),
    }


def _read_and_measure(path: str) -> dict[str, Any]:
    """Seconds to open the recording and read one unit's whole course: from disk, and from the system's cache."""
    importlib.import_module("tensorstore")
    found: dict[str, list[float]] = {"read_unit_s": [], "read_unit_cached_s": []}
    for unit in (7, 107, 207, 307, 407):
        for name, times in found.items():
            if name == "read_unit_s":
                _forget(Path(path))
            began = time.perf_counter()
            Recording.open(path).select(unit=unit)["0.h"]
            times.append(time.perf_counter() - began)
    return {name: median(times) for name, times in found.items()}


def _written(rows: int, blocks: int, folder: Path) -> dict[str, Any]:
    """The row of the writer alone."""
    layout = Layout(("step", "units"), (0, UNITS), "float32", (rows, UNITS), {})
    draw = np.random.default_rng(0)
    ours, plain = [], []
    with ArrayGroup.create(folder / "blocks.zarr", {"0.h": layout}, {}) as group:
        group.commit({})
        for k in range(blocks):
            values = draw.standard_normal((rows, UNITS), np.float32)
            began = time.perf_counter()
            group.write("0.h", k * rows, values)
            group.commit({"0.h": (k + 1) * rows})
            ours.append(time.perf_counter() - began)
            began = time.perf_counter()
            with open(folder / f"plain-{k}", "wb") as file:
                file.write(values.data)
                file.flush()
                os.fsync(file.fileno())
            plain.append(time.perf_counter() - began)
    size = rows * UNITS * 4 / MEGABYTE
    return {
        "question": "streaming",
        "what": "writer",
        "rows_a_block": rows,
        "blocks": blocks,
        "megabytes_a_block": size,
        "megabytes_per_second": blocks * size / sum(ours),
        "plain_megabytes_per_second": blocks * size / sum(plain),
        "over_plain": median(a / b for a, b in zip(ours, plain, strict=True)),
    }


def _most_memory() -> float:
    """The most memory that this process has had, in megabytes."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most * (1 if sys.platform == "darwin" else 1024) / MEGABYTE


def _forget(path: Path) -> None:
    """Asks the system to drop its cache of files, so that the disk is read; ignored where it cannot be asked."""
    for file in path.rglob("*"):
        if file.is_file() and hasattr(os, "posix_fadvise"):
            descriptor = os.open(file, os.O_RDONLY)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(descriptor)
