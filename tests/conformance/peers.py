"""Other libraries' weights and nodes in rnnjax's terms, and what rnnjax answers: NumPy and rnnjax alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from rnnjax.cells import CELLS
from rnnjax.layers import Bidirectional, Recurrent, Stack
from rnnjax.unroll import unroll

Arrays = dict[str, np.ndarray]

QUICK = {"xla_backend_optimization_level": 0}  # compiled once, run once

GATES = {
    "keras": {"elman": "h", "lstm": "ifgo", "gru": "zrn", "gru_before": "zrn"},
    "torch": {"elman": "h", "lstm": "ifgo", "gru": "rzn", "projected_lstm": "ifgo"},
    "onnx": {"elman": "h", "lstm": "iofg", "peephole_lstm": "iofg", "gru": "zrn", "gru_before": "zrn"},
}
"""The order in which each library packs the gates of a kernel, by rnnjax's names of cells and gates."""


def columns(library: str, name: str, packed: np.ndarray) -> np.ndarray:
    """The last axis of a packed array, its gates in rnnjax's order."""
    theirs = GATES[library][name]
    blocks = dict(zip(theirs, np.split(np.asarray(packed), len(theirs), axis=-1), strict=True))
    return np.concatenate([blocks[gate] for gate in CELLS[name].gates], axis=-1)


def from_keras(name: str, arrays: Sequence[Any]) -> Arrays:
    """Weights from those of a Keras layer, in the order of its ``get_weights()``."""
    kernel, recurrent, *biases = (np.asarray(array) for array in arrays)
    weights = {"input_kernel": columns("keras", name, kernel), "recurrent_kernel": columns("keras", name, recurrent)}
    rows = columns("keras", name, np.atleast_2d(biases[0])) if biases else ()
    return weights | dict(zip(("bias", "recurrent_bias"), rows, strict=False))


def from_torch(name: str, parameters: Mapping[str, Any], suffix: str = "l0", *, gradient: bool = False) -> Arrays:
    """Weights of one layer and direction from a PyTorch module's named parameters, or their gradients.

    Two biases that are only ever added become one; its gradient is that of either.
    """
    held = {
        key.removesuffix(f"_{suffix}"): np.asarray(v) for key, v in parameters.items() if key.endswith(f"_{suffix}")
    }
    weights = {
        "input_kernel": columns("torch", name, held["weight_ih"].T),
        "recurrent_kernel": columns("torch", name, held["weight_hh"].T),
    }
    if "bias_ih" in held:
        first, second = (columns("torch", name, held[key]) for key in ("bias_ih", "bias_hh"))
        if name == "gru":
            weights |= {"bias": first, "recurrent_bias": second}
        else:
            weights["bias"] = first if gradient else first + second
    if "weight_hr" in held:
        weights["projection_kernel"] = held["weight_hr"].T
    return weights


def from_onnx(op: str, fed: Mapping[str, np.ndarray], direction: int, reset_after: bool) -> tuple[str, Arrays]:
    """The name and weights of the cell in one direction of an ONNX node, from the node's inputs."""
    name = {"RNN": "elman", "GRU": "gru" if reset_after else "gru_before", "LSTM": "lstm"}[op]
    name = "peephole_lstm" if "P" in fed else name
    both = fed["B"][direction] if "B" in fed else np.zeros(2 * fed["W"].shape[1], fed["W"].dtype)
    bias, second = (columns("onnx", name, half) for half in np.split(both, 2))
    weights = {
        "input_kernel": columns("onnx", name, fed["W"][direction].T),
        "recurrent_kernel": columns("onnx", name, fed["R"][direction].T),
        **({"bias": bias, "recurrent_bias": second} if name == "gru" else {"bias": bias + second}),
    }
    if "P" in fed:
        i, o, f = np.split(fed["P"][direction], 3)
        weights["peephole"] = np.stack([i, f, o])
    return name, weights


def cell(name: str, weights: Mapping[str, Any], **options: Any) -> Any:
    """The cell of that name with these weights, in their precision."""
    kernel = np.asarray(weights["input_kernel"])
    dtype = jnp.float64 if kernel.dtype == np.float64 else jnp.float32
    kind = CELLS[name]
    if "projection_kernel" in weights:
        options["projection"] = weights["projection_kernel"].shape[1]
    made = kind(
        kernel.shape[0],
        kernel.shape[1] // len(kind.gates),
        use_bias="bias" in weights,
        initializers=dict.fromkeys(weights, "zeros"),
        dtype=dtype,
        param_dtype=dtype,
        rngs=nnx.Rngs(0),
        **options,
    )
    for key, value in weights.items():
        assert getattr(made, key).shape == np.shape(value), key
        getattr(made, key)[...] = jnp.asarray(value, dtype)
    return made


def stack(name: str, layers: Sequence[Sequence[Mapping[str, Any]]], *, executor: str = "auto", **options: Any) -> Stack:
    """Layers one after the other from the weights of each one's directions (one or two)."""

    def layer(weights: Mapping[str, Any], reverse: bool) -> Recurrent:
        return Recurrent(cell(name, weights, **options), reverse=reverse, executor=executor)

    def joined(directions: Sequence[Mapping[str, Any]]) -> Recurrent | Bidirectional:
        parts = [layer(weights, reverse) for weights, reverse in zip(directions, (False, True), strict=False)]
        return parts[0] if len(parts) == 1 else Bidirectional(*parts)

    return Stack([joined(directions) for directions in layers])


class Answer(NamedTuple):
    """What a layer gives, and how a weighted sum of it depends on everything that went in.

    Attributes:
      outputs: ``[batch, time, units]``.
      state: final state by name.
      gradients: of the weighted sum, by parameter, and by `inputs` and ``start.FIELD``.
    """

    outputs: np.ndarray
    state: Arrays
    gradients: Arrays


def differentiate(
    layer: Recurrent | Bidirectional | Stack,
    inputs: np.ndarray,
    weigh: Mapping[str, np.ndarray],
    *,
    state: Mapping[str, np.ndarray] | None = None,
    **options: Any,
) -> Answer:
    """Runs a layer and differentiates it.

    Args:
      layer: the layer.
      inputs: ``[batch, time, input]``.
      weigh: what `outputs` and each field of the final state are multiplied by before all is summed.
      state: the state before the first step, by field.
      options: `lengths`, `mask`, `reset`.
    """
    graph, variables = nnx.split(layer)

    def objective(variables, inputs, state):
        result = nnx.merge(graph, variables).unroll(inputs, state=state, **options)
        given = {"outputs": result.outputs, **result.state}
        return sum(jnp.vdot(weigh[key], given[key]) for key in weigh), (result.outputs, result.state)

    start = None if state is None else {field: jnp.asarray(value) for field, value in state.items()}
    derive = jax.jit(jax.value_and_grad(objective, argnums=(0, 1, 2), has_aux=True), compiler_options=QUICK)
    (_, (outputs, final)), (by_variable, by_inputs, by_start) = derive(variables, jnp.asarray(inputs), start)
    gradients = {".".join(map(str, path)): leaf[...] for path, leaf in nnx.to_flat_state(by_variable)}
    gradients |= {"inputs": by_inputs, **{f"start.{field}": value for field, value in (by_start or {}).items()}}
    return Answer(np.asarray(outputs), _numpy(final), _numpy(gradients))


def torch_places(parameters: Mapping[str, np.ndarray]) -> dict[str, str]:
    """Where each layer and direction of a PyTorch module lies in a `Stack`, by the suffix of its parameters."""
    suffixes = [name.removeprefix("weight_ih_") for name in parameters if name.startswith("weight_ih_")]
    both = any(suffix.endswith("_reverse") for suffix in suffixes)

    def place(suffix: str) -> str:
        layer = suffix.removesuffix("_reverse").removeprefix("l")
        return f"{layer}.{'backward' if suffix.endswith('_reverse') else 'forward'}" if both else layer

    return {suffix: place(suffix) for suffix in suffixes}


def torch_answer(kind: str, given: Mapping[str, Any], executor: str = "auto") -> Answer:
    """rnnjax's answer to what a PyTorch module was given; see `theirs.torch_given`."""
    name, _, activation = kind.partition("-")
    places = torch_places(given["parameters"])
    layers: dict[str, list[Arrays]] = {}
    for suffix, place in places.items():
        layers.setdefault(place.partition(".")[0], []).append(from_torch(name, given["parameters"], suffix))
    made = stack(name, list(layers.values()), executor=executor, activation=activation or None)
    weigh = {"outputs": given["weigh"]["outputs"], **_by_place(places, given["weigh"])}
    lengths = given.get("lengths")
    return differentiate(made, given["inputs"], weigh, state=_by_place(places, given["start"]), lengths=lengths)


def torch_expected(kind: str, given: Mapping[str, Any], found: Mapping[str, Any]) -> Answer:
    """What a PyTorch module answered, in rnnjax's names."""
    name, places, gradients = kind.partition("-")[0], torch_places(given["parameters"]), found["gradients"]
    named = {"inputs": gradients["inputs"]}
    named |= {f"start.{key}": value for key, value in _by_place(places, gradients["start"]).items()}
    for suffix, place in places.items():
        own = from_torch(name, gradients["parameters"], suffix, gradient=True)
        named |= {f"layers.{place}.cell.{key}": value for key, value in own.items()}
    return Answer(found["outputs"], _by_place(places, found["final"]), named)


def _by_place(places: Mapping[str, str], arrays: Mapping[str, np.ndarray]) -> Arrays:
    """States ``[layers and directions, batch, units]`` by field, taken apart."""
    fields = [field for field in arrays if field != "outputs"]
    return {f"{place}.{field}": arrays[field][k] for field in fields for k, place in enumerate(places.values())}


def keras_answer(kind: str, given: Mapping[str, Any], executor: str = "auto") -> Answer:
    """rnnjax's answer to what a Keras layer was given; see `theirs.keras_given`."""
    weights = from_keras(kind, [given["weights"][key] for key in sorted(given["weights"])])
    layer = Recurrent(cell(kind, weights), executor=executor)
    return differentiate(layer, given["inputs"], given["weigh"], state=given["start"], mask=given.get("mask"))


def keras_expected(kind: str, found: Mapping[str, Any]) -> Answer:
    """What a Keras layer answered, in rnnjax's names."""
    gradients = found["gradients"]
    own = from_keras(kind, [gradients["weights"][key] for key in sorted(gradients["weights"])])
    named = {f"cell.{key}": value for key, value in own.items()} | {"inputs": gradients["inputs"]}
    named |= {f"start.{field}": value for field, value in gradients["start"].items()}
    return Answer(found["outputs"], found["final"], named)


def run_node(op: str, attributes: Mapping[str, Any], fed: Mapping[str, np.ndarray]) -> Arrays:
    """What an ONNX RNN, GRU or LSTM node gives when rnnjax computes it: Y, Y_h and, of an LSTM, Y_c.

    Args:
      op: the node's operator.
      attributes: its attributes: `direction`, `layout`, `linear_before_reset`.
      fed: its inputs by name, those that are there.
    """
    batch_first = attributes.get("layout", 0) == 1
    way = attributes.get("direction", "forward")
    results = []
    for k, reverse in enumerate({"forward": [False], "reverse": [True], "bidirectional": [False, True]}[way]):
        name, weights = from_onnx(op, fed, k, bool(attributes.get("linear_before_reset", 0)))
        own = (slice(None), k) if batch_first else k
        start = {field: fed[f"initial_{field}"][own] for field in CELLS[name].state if f"initial_{field}" in fed}
        options = {"lengths": fed.get("sequence_lens"), "reverse": reverse, "time_major": not batch_first}
        run = jax.jit(partial(unroll, cell(name, weights), state=start or None, **options), compiler_options=QUICK)
        results.append(run(fed["X"]))
    axis = 2 if batch_first else 1  # where the directions go
    given = {"Y": np.stack([np.asarray(result.outputs) for result in results], axis=axis)}
    for field in results[0].state:
        given[f"Y_{field}"] = np.stack([np.asarray(r.state[field]) for r in results], axis=1 if batch_first else 0)
    return given


def largest_difference(actual: Any, expected: Any) -> float:
    """The largest difference of two arrays, relative to the larger of one and the largest expected value."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.shape == expected.shape, f"shape {actual.shape} where {expected.shape} is expected"
    if not expected.size:
        return 0.0
    return float(np.max(np.abs(actual - expected)) / max(1.0, float(np.max(np.abs(expected)))))


def _numpy(arrays: Mapping[str, Any]) -> Arrays:
    return {key: np.asarray(value) for key, value in arrays.items()}
