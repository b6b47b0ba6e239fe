"""Weights from and to NumPy's own file format: every model, every variable, under the names the model gives them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from flax import nnx

from rnnjax.interop.parts import Model, arrays, blank, check, put


def to_npz(model: nnx.Module) -> dict[str, np.ndarray]:
    """Every variable by its path in the model, such as `stack.layers.0.cell.input_kernel`; fixed numbers too."""
    return arrays(model)


def from_npz(model: Model, values: Mapping[str, Any]) -> Model:
    """The model with variables from such a dict, or from what `numpy.load` gives.

    Raises:
      InputError: variables that are not those of such a model.
    """
    given = {name: np.asarray(values[name]) for name in values}
    check(given, arrays(blank(model)), "npz")
    model = nnx.clone(model)
    put(model, given)
    return model
