"""The studies on the texts their figures come from; skipped where those texts are absent."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from rnnjax.experiment import load
from rnnjax.generate import SampleConfig
from rnnjax.run import run

DATA = Path(os.environ.get("RNNJAX_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))
TINY = DATA / "tinyshakespeare.txt"
SHA256 = "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"
PYTORCH_LOSS = 1.650  # nats a character in the 20th epoch of the same network on the same text


@pytest.fixture(scope="module")
def shakespeare():
    if not TINY.is_file():
        pytest.skip(f"no {TINY}")
    return load("shakespeare", {"task.path": str(TINY), "task.sha256": SHA256, "task.characters": 99_993})


def test_the_network_of_the_study_has_its_parameters(shakespeare):
    built = shakespeare.built
    assert built.task.inputs == 61
    assert sum(row["parameters"] for row in built.layers()) == 5_325_117
    assert built.trainer.epoch_steps == 15 and built.trainer.total == 300


@pytest.mark.slow
def test_twenty_epochs_end_no_worse_than_pytorch(shakespeare, tmp_path):
    """About seven minutes on two cores."""
    finished = run(shakespeare, tmp_path)
    summary = finished.summary()
    assert summary["epochs"] == 20
    assert summary["metrics"]["loss"] <= 1.02 * PYTORCH_LOSS
    assert finished.folder.checkpoints() == [285, 300]
    assert SampleConfig(("a",), 500, 0.5) == shakespeare.sample
    assert len((finished.path / "sample.txt").read_text("utf-8").strip()) > 400
    assert hashlib.sha256(TINY.read_bytes()).hexdigest() == SHA256
