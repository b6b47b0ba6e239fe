"""Experiments of a few hundred weights, and what tests of runs do to them."""

from __future__ import annotations

import contextlib
import os
import random
import signal
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from jax.experimental.compilation_cache import compilation_cache

from rnnjax.config import override
from rnnjax.experiment import Experiment
from rnnjax.store import RunFolder
from rnnjax.train import Member

WORDS = [
    "the",
    "of",
    "and",
    "rain",
    "falls",
    "on",
    "hills",
    "while",
    "small",
    "birds",
    "sing",
    "to",
    "a",
    "grey",
    "sky",
]
TIMES = ("seconds", "symbols_per_second", "steps_per_second")
STORY = import_module("rnnjax.run.story")

SMALL = {
    "task.length": 20,
    "task.split": 0.1,
    "model.cell": "elman",
    "model.units": 4,
    "model.embedding": 3,
    "train.batch": 8,
    "train.epochs": 2,
    "sample.length": 40,
    "record.steps": 30,
}


def write_text(path: Path, lines: int = 60) -> Path:
    """Writes a text of some two thousand symbols, of twenty kinds."""
    draw = random.Random(0)
    path.write_text("\n".join(" ".join(draw.choice(WORDS) for _ in range(8)) for _ in range(lines)))
    return path


def small(text: Path, **changes: Any) -> Experiment:
    """An Elman network of four units on `text`; changes with `__` for the dot."""
    named = {key.replace("__", "."): value for key, value in changes.items()}
    return override(Experiment(), {**SMALL, "task.path": str(text), **named})


@contextlib.contextmanager
def compiled_once(folder: Path) -> Iterator[None]:
    """Keeps every compiled program under `folder`, which is also where the command line keeps them."""
    names = {
        "jax_compilation_cache_dir": str(folder / "rnnjax" / "xla"),
        "jax_persistent_cache_min_compile_time_secs": 0,
        "jax_persistent_cache_min_entry_size_bytes": -1,
    }
    before = {name: getattr(jax.config, name) for name in names}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder))
        for name, value in names.items():
            jax.config.update(name, value)
        compilation_cache.reset_cache()
        try:
            yield
        finally:
            for name, value in before.items():
                jax.config.update(name, value)
            compilation_cache.reset_cache()


def signal_at(patch: pytest.MonkeyPatch, step: int, number: int = signal.SIGINT) -> None:
    """Sends this process a signal in the chunk that ends at `step`; chunks are single steps meanwhile."""
    fit = STORY.fit

    def interrupted(*arguments: Any, **options: Any) -> Iterator[Any]:
        for progress in fit(*arguments, **options):
            if progress.step == step:
                os.kill(os.getpid(), number)
            yield progress

    patch.setattr(STORY, "fit", interrupted)
    patch.setattr("rnnjax.population.CHUNK_SECONDS", 0.0)


def without_times(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Lines of a log, less what a clock put in."""
    return [{key: value for key, value in row.items() if key not in TIMES} for row in rows]


def same_bits(a: Member, b: Member) -> None:
    """Asserts that two members are the same in every bit."""
    left, right = (jax.tree_util.tree_leaves_with_path(member) for member in (a, b))
    assert [path for path, _ in left] == [path for path, _ in right]
    for (path, x), (_, y) in zip(left, right, strict=True):
        name, x, y = jax.tree_util.keystr(path), np.asarray(x), np.asarray(y)
        assert (x.dtype, x.shape, x.tobytes()) == (y.dtype, y.shape, y.tobytes()), name


def tree_of(folder: Path) -> dict[str, bytes]:
    """Every file under `folder` by path, with its bytes."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def member_of(path: Path, like: Experiment) -> Member:
    """The latest checkpoint of a run."""
    return RunFolder.open(path).restore(jax.eval_shape(like.built.trainer.member, 0))
