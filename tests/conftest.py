"""Proves the engine's shape annotations while tests run, and gives float64 to those that ask for it."""

from __future__ import annotations

from importlib.util import find_spec

import jax
import pytest

ANNOTATED = ("rnnjax.cells", "rnnjax.sequence", "rnnjax.executors", "rnnjax.unroll")

jax.config.update("jax_numpy_rank_promotion", "raise")  # an axis that is broadcast is written down

if find_spec("jaxtyping") and find_spec("beartype"):
    from jaxtyping import install_import_hook

    install_import_hook(ANNOTATED, "beartype.beartype")


@pytest.fixture
def x64():
    """Float64 for the length of a test."""
    with jax.enable_x64(True):
        yield
