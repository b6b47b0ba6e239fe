"""What is asked of the other libraries, and what they answer, as nested dicts of NumPy arrays that can be stored."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax.cells import CELLS

Nested = dict[str, Any]

ROWS, STEPS, INPUTS, UNITS, WIDTH = 4, 7, 3, 5, 2
LENGTHS = np.array([4, STEPS, 1, 6], np.int32)  # in no order
TORCH = {
    "elman": ("RNN", {}),
    "elman-relu": ("RNN", {"nonlinearity": "relu"}),
    "lstm": ("LSTM", {}),
    "gru": ("GRU", {}),
    "projected_lstm": ("LSTM", {"proj_size": WIDTH}),
}
"""PyTorch's operator and options by rnnjax's name of the cell."""
KERAS = {
    "elman": ("SimpleRNN", {}),
    "lstm": ("LSTM", {}),
    "gru": ("GRU", {}),
    "gru_before": ("GRU", {"reset_after": False}),
}
"""Keras's layer and options by rnnjax's name of the cell."""


def torch_given(
    torch: Any,
    kind: str,
    *,
    layers: int = 1,
    bidirectional: bool = False,
    bias: bool = True,
    lengths: np.ndarray | None = None,
) -> Nested:
    """What a PyTorch module is asked: random parameters, inputs, initial state, and weights of all that it gives."""
    rng = np.random.default_rng(1)
    module = _module(torch, kind, layers, bidirectional, bias)
    shapes = {name: tuple(parameter.shape) for name, parameter in module.named_parameters()}
    parameters = {name: rng.normal(scale=0.5, size=shape) for name, shape in shapes.items()}
    ways = 2 if bidirectional else 1
    width = WIDTH if kind == "projected_lstm" else UNITS
    states = {"h": (layers * ways, ROWS, width)}
    if "lstm" in kind:
        states["c"] = (layers * ways, ROWS, UNITS)
    given = {
        "parameters": parameters,
        "inputs": rng.normal(size=(ROWS, STEPS, INPUTS)),
        "start": {field: rng.normal(size=shape) for field, shape in states.items()},
        "weigh": {"outputs": rng.normal(size=(ROWS, STEPS, ways * width))}
        | {field: rng.normal(size=shape) for field, shape in states.items()},
    }
    return given if lengths is None else given | {"lengths": lengths}


def torch_found(torch: Any, kind: str, given: Nested) -> Nested:
    """What PyTorch answers, in float64: outputs, final state, and gradients of their weighted sum."""
    utils, parameters = torch.nn.utils.rnn, given["parameters"]
    layers = sum(name.startswith("weight_ih") and not name.endswith("_reverse") for name in parameters)
    module = _module(torch, kind, layers, "weight_ih_l0_reverse" in parameters, "bias_ih_l0" in parameters)
    module.load_state_dict({name: torch.from_numpy(value) for name, value in parameters.items()})
    inputs = torch.tensor(given["inputs"], requires_grad=True)
    start = {field: torch.tensor(value, requires_grad=True) for field, value in given["start"].items()}
    fed, lengths = inputs, given.get("lengths")
    if lengths is not None:
        fed = utils.pack_padded_sequence(inputs, torch.from_numpy(lengths), batch_first=True, enforce_sorted=False)
    outputs, final = module(fed, tuple(start.values()) if len(start) > 1 else start["h"])
    if lengths is not None:
        outputs, _ = utils.pad_packed_sequence(outputs, batch_first=True, total_length=STEPS)
    final = dict(zip(start, final if len(start) > 1 else (final,), strict=True))
    answered = {"outputs": outputs, **final}
    parts = [(answered[key] * torch.from_numpy(value)).sum() for key, value in given["weigh"].items()]
    torch.stack(parts).sum().backward()
    return {
        "outputs": outputs.detach().numpy(),
        "final": {field: value.detach().numpy() for field, value in final.items()},
        "gradients": {
            "parameters": {name: parameter.grad.numpy() for name, parameter in module.named_parameters()},
            "inputs": inputs.grad.numpy(),
            "start": {field: value.grad.numpy() for field, value in start.items()},
        },
    }


def _module(torch: Any, kind: str, layers: int, bidirectional: bool, bias: bool) -> Any:
    op, options = TORCH[kind]
    options = {"bias": bias, "bidirectional": bidirectional, "dtype": torch.float64, **options}
    return getattr(torch.nn, op)(INPUTS, UNITS, layers, batch_first=True, **options)


def keras_given(keras: Any, kind: str, mask: np.ndarray | None = None) -> Nested:
    """What a Keras layer is asked: random weights, inputs, initial state, and weights of all that it gives."""
    rng = np.random.default_rng(2)

    def normal(*shape: int, scale: float = 1.0) -> np.ndarray:
        return rng.normal(scale=scale, size=shape).astype(np.float32)

    weights = [normal(*weight.shape, scale=0.5) for weight in _layer(keras, kind).get_weights()]
    states = {field: (ROWS, UNITS) for field in CELLS[kind].state}
    given = {
        "weights": {str(k): weight for k, weight in enumerate(weights)},
        "inputs": normal(ROWS, STEPS, INPUTS),
        "start": {field: normal(*shape) for field, shape in states.items()},
        "weigh": {"outputs": normal(ROWS, STEPS, UNITS)} | {field: normal(*shape) for field, shape in states.items()},
    }
    return given if mask is None else given | {"mask": mask}


def keras_found(keras: Any, kind: str, given: Nested) -> Nested:
    """What Keras answers on JAX, in float32: outputs (zero at masked steps), final state, and gradients."""
    layer = _layer(keras, kind)
    fixed = [variable.value for variable in layer.non_trainable_variables]
    mask = None if "mask" not in given else jnp.asarray(given["mask"])
    order = [field for field in ("h", "c") if field in given["start"]]

    def objective(weights, inputs, start):
        options = {"initial_state": [start[field] for field in order], "mask": mask}
        (outputs, *final), _ = layer.stateless_call(weights, fixed, inputs, **options)
        answered = {"outputs": outputs, **dict(zip(order, final, strict=True))}
        value = sum(jnp.vdot(factor, answered[key]) for key, factor in given["weigh"].items())
        return value, (outputs, answered)

    weights = [jnp.asarray(given["weights"][key]) for key in sorted(given["weights"])]
    derive = jax.jit(jax.value_and_grad(objective, argnums=(0, 1, 2), has_aux=True))
    start = jax.tree.map(jnp.asarray, given["start"])
    (_, (outputs, answered)), found = derive(weights, jnp.asarray(given["inputs"]), start)
    by_weights, by_inputs, by_start = jax.tree.map(np.asarray, found)
    return {
        "outputs": np.asarray(outputs),
        "final": {field: np.asarray(answered[field]) for field in order},
        "gradients": {
            "weights": {str(k): value for k, value in enumerate(by_weights)},
            "inputs": by_inputs,
            "start": by_start,
        },
    }


def _layer(keras: Any, kind: str) -> Any:
    op, options = KERAS[kind]
    made = getattr(keras.layers, op)(
        UNITS, return_sequences=True, return_state=True, zero_output_for_mask=True, **options
    )
    made.build((ROWS, STEPS, INPUTS))
    return made
