"""Proves the engine's shape annotations while tests run, and gives float64 to those that ask for it."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec

import jax
import pytest

CHEAP = "--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false"
ANNOTATED = ("rnnjax.cells", "rnnjax.sequence", "rnnjax.executors", "rnnjax.unroll")

os.environ.setdefault("RNNJAX_MEASURE", "0")  # rules choose how a test's training uses the machine
jax.config.update("jax_numpy_rank_promotion", "raise")  # an axis that is broadcast is written down

if find_spec("jaxtyping") and find_spec("beartype"):
    from jaxtyping import install_import_hook

    install_import_hook(ANNOTATED, "beartype.beartype")


def pytest_addoption(parser):
    parser.addoption("--quick", action="store_true", help="compile as fast as can be, not for speed")


def pytest_configure(config):
    """With --quick, programs that run for microseconds are not compiled for seconds, which is XLA's default.

    It is asked in a process of its own: a flag that XLA does not know ends the process.
    """
    if config.getoption("quick") and not hasattr(config, "workerinput"):
        flags = f"{os.environ.get('XLA_FLAGS', '')} {CHEAP}".strip()
        asked = [sys.executable, "-c", "import jax; jax.devices()"]
        if not subprocess.run(asked, env={**os.environ, "XLA_FLAGS": flags}, capture_output=True).returncode:
            os.environ["XLA_FLAGS"] = flags


@pytest.fixture
def x64():
    """Float64 for the length of a test."""
    with jax.enable_x64(True):
        yield


@pytest.fixture(scope="module")
def programs(tmp_path_factory):
    """Every compiled program is kept, also by the command line, for as long as the tests of a file run."""
    from small_runs import compiled_once  # here, for the hook must be in place before anything of rnnjax is imported

    with compiled_once(tmp_path_factory.getbasetemp() / "cache"):
        yield


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    """A text of some two thousand symbols."""
    from small_runs import write_text

    return write_text(tmp_path_factory.mktemp("text") / "text.txt")


@pytest.fixture
def unreported(monkeypatch):
    """Runs without sample and page, where those are not what is tested."""
    from small_runs import STORY

    monkeypatch.setattr(STORY.Run, "report", lambda self, **_: self.path)
