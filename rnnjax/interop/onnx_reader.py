"""Weights out of an ONNX graph, ours or another exporter's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from flax import nnx

from rnnjax.cells import GRU, Cell
from rnnjax.config import InputError
from rnnjax.interop.onnx_nodes import DEFAULTS, KINDS, ORDERS, cell_weights, node_activations, node_weights, onnx_parts
from rnnjax.interop.parts import Model, Parts, Place, arrays, blank, check, library, put

FOLDED = ("Constant", "Identity", "Transpose", "Unsqueeze", "Squeeze", "Reshape", "Concat", "Slice", "Cast")
"""What other exporters do to weights before a node reads them."""


def from_onnx(model: Model, proto: Any) -> Model:
    """The model with weights from an `onnx.ModelProto`, ours or another exporter's.

    Its RNN, LSTM and GRU nodes are taken to be the layers in their order; the Gather from a matrix is the embedding,
    the product with a matrix after the last of those nodes the readout.

    Raises:
      InputError: nodes that are not those of such a model, or that compute something else.
    """
    onnx = library("onnx", "ONNX")
    given = _weights(onnx, proto, onnx_parts(model))
    check(given, _expected(onnx_parts(blank(model))), "ONNX")
    model = nnx.clone(model)
    found = onnx_parts(model)
    if found.embedding is not None:
        put(found.embedding, {"embedding": given["embedding"]})
    for place in found.places:
        theirs = {name: given[_named(name, place)] for name in "WRBP" if _named(name, place) in given}
        put(place.layer.cell, cell_weights(place.layer.cell, theirs))
        if place.layer.initial is not None:
            put(place.layer, {"initial": given[_named("initial state", place)]})
    if found.readout is not None:
        put(found.readout, {name: given[f"readout {name}"] for name in arrays(found.readout)})
    return model


def _named(name: str, place: Place) -> str:
    return f"{name} of {place.name}" if place.name else name


def _expected(found: Parts) -> dict[str, np.ndarray]:
    """Names and shapes of what `_weights` must find."""
    expected = {} if found.embedding is None else {"embedding": arrays(found.embedding)["embedding"]}
    for place in found.places:
        expected |= {_named(name, place): value for name, value in node_weights(place.layer.cell).items()}
        if place.layer.initial is not None:
            expected[_named("initial state", place)] = np.asarray(place.layer.initial[...])
    if found.readout is not None:
        expected |= {f"readout {name}": value for name, value in arrays(found.readout).items()}
    return expected


def _weights(onnx: Any, proto: Any, found: Parts) -> dict[str, np.ndarray]:
    """The weights in a graph, by the names of errors: `W of 0`, `embedding`, `readout kernel`."""
    known, nodes = _constants(onnx, proto), list(proto.graph.node)
    ways = [way for node in nodes if node.op_type in ORDERS for way in _ways(onnx, node)]
    places = list(found.places)
    if len(ways) != len(places):
        raise InputError(
            f"{len(ways)} directions of recurrent layers, not {len(places)}",
            "among the nodes of ONNX",
            "make a model of the same layers and directions",
        )
    weights: dict[str, np.ndarray] = {}
    for table in (known.get(node.input[0]) for node in nodes if node.op_type == "Gather"):
        if table is not None and table.ndim == 2 and table.dtype.kind == "f":
            weights["embedding"] = table
    for place, way in zip(places, ways, strict=True):
        _check_node(place, way)
        for name, input_name in zip("XWRB", way.node.input, strict=False):
            if name != "X" and input_name:
                weights[_named(name, place)] = _one_way(known, input_name, way, name)
        if len(way.node.input) > 7:
            weights[_named("P", place)] = _one_way(known, way.node.input[7], way, "P")
        initial = _initial(known, nodes, way, place.layer.cell)
        if place.layer.initial is not None or initial.any():
            weights[_named("initial state", place)] = initial
    return weights | _readout(onnx, known, nodes)


class _Way(NamedTuple):
    """One direction of a node."""

    node: Any
    attributes: dict[str, Any]
    row: int
    direction: str


def _ways(onnx: Any, node: Any) -> Iterator[_Way]:
    attributes = {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute}
    direction = attributes.get("direction", b"forward").decode()
    both = ("forward", "reverse") if direction == "bidirectional" else (direction,)
    for row, each in enumerate(both):
        yield _Way(node, attributes, row, each)


def _check_node(place: Place, way: _Way) -> None:
    """Makes sure that a node computes what the cell does."""
    cell, kind, attributes = place.layer.cell, way.node.op_type, way.attributes
    ways = 2 if attributes.get("direction") == b"bidirectional" else 1
    names = [name.decode().lower() for name in attributes.get("activations", [])] or [
        name.lower() for name in DEFAULTS[kind] * ways
    ]
    wanted, numbers = node_activations(cell)
    wanted = [name.lower() for name in wanted]
    theirs = list(zip(attributes.get("activation_alpha", []), attributes.get("activation_beta", []), strict=False))
    reset = attributes.get("linear_before_reset", 0)
    differ = {
        f"a node {kind}": kind != KINDS[type(cell)],
        f"direction {way.direction}": (way.direction == "reverse") != place.layer.reverse,
        f"linear_before_reset={reset}": kind == "GRU" and bool(reset) != isinstance(cell, GRU),
        f"activations {', '.join(names)}": names != wanted * ways,
        "other alpha and beta": bool(numbers) and not np.allclose(theirs, numbers * ways),
        "clip": bool(attributes.get("clip", 0)),
        "input_forget": bool(attributes.get("input_forget", 0)),
    }
    for what, wrong in differ.items():
        if wrong:
            raise InputError(
                f"{what}, which {type(cell).__name__} does not compute",
                f"in the ONNX node of {place.name or 'the layer'}",
                "make a model of the same cells, directions and activations",
            )


def _one_way(known: dict[str, np.ndarray], name: str, way: _Way, role: str) -> np.ndarray:
    if name not in known:
        raise InputError(
            f"its {role}, '{name}', is computed as the graph runs",
            f"in the ONNX node of '{way.node.output[0]}'",
            "store weights as initializers",
        )
    return known[name][way.row : way.row + 1]


def _initial(known: dict[str, np.ndarray], nodes: Sequence[Any], way: _Way, cell: Cell) -> np.ndarray:
    """The trained initial state, all fields of the cell in a row; zero where the node's is none, or given by a user."""
    rows = {}
    for field, name in zip(("h", "c"), list(way.node.input)[5:7], strict=False):
        source = next((each.input[0] for each in nodes if name in each.output and each.op_type == "Expand"), name)
        value = known.get(source)
        if value is not None and np.ptp(value[way.row], axis=0).any():
            raise InputError(
                "an initial state that is another for each row",
                f"in the ONNX node of '{way.node.output[0]}'",
                "make it an input of the graph",
            )
        if value is not None:
            rows[field] = value[way.row, 0]
    dtype = arrays(cell)["input_kernel"].dtype
    return np.concatenate([rows.get(field, np.zeros(cell.widths[field], dtype)) for field in cell.state])


def _readout(onnx: Any, known: dict[str, np.ndarray], nodes: Sequence[Any]) -> dict[str, np.ndarray]:
    """The linear layer behind the last recurrent node: a product with a matrix, then perhaps a sum with a vector."""
    last = max(k for k, node in enumerate(nodes) if node.op_type in ORDERS)
    products = [
        node
        for node in nodes[last:]
        if node.op_type in ("MatMul", "Gemm") and np.ndim(known.get(node.input[1], 0)) == 2
    ]
    if not products:
        return {}
    if len(products) > 1:
        raise InputError(
            f"{len(products)} linear layers behind the recurrent ones", "among the nodes of ONNX", "our models have one"
        )
    (product,) = products
    attributes = {each.name: onnx.helper.get_attribute_value(each) for each in product.attribute}
    kernel = known[product.input[1]]
    added = [
        each
        for node in nodes
        if node.op_type == "Add" and product.output[0] in node.input
        for each in node.input
        if each in known
    ]
    found = {"readout kernel": kernel.T if attributes.get("transB", 0) else kernel}
    for name in (*product.input[2:], *added):
        found["readout bias"] = known[name]
    return found


def _constants(onnx: Any, proto: Any) -> dict[str, np.ndarray]:
    """What of a graph does not depend on its inputs: stored values, and what is made of them alone."""
    graph = proto.graph
    known = {each.name: onnx.numpy_helper.to_array(each) for each in graph.initializer}
    made: list[Any] = []
    names = set(known)
    for node in graph.node:
        if node.op_type in FOLDED and all(not name or name in names for name in node.input):
            made.append(node)
            names.update(node.output)
    if not made:
        return known
    empty = [onnx.helper.make_empty_tensor_value_info(name) for node in made for name in node.output]
    part = onnx.helper.make_graph(made, "constants", [], empty, list(graph.initializer))
    whole = onnx.helper.make_model(part, opset_imports=list(proto.opset_import))
    evaluator = library("onnx.reference", "ONNX").ReferenceEvaluator(whole)
    return known | dict(zip(evaluator.output_names, evaluator.run(None, {}), strict=True))
