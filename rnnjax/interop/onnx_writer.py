"""A model as an ONNX graph."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from flax import nnx

from rnnjax.config import InputError
from rnnjax.interop.onnx_nodes import KINDS, node_attributes, node_weights, onnx_parts
from rnnjax.interop.parts import Layer, Parts, Place, Section, arrays, library

MERGES = {"sum": "Add", "multiply": "Mul", "average": "Mean"}
OPSET, IR = 17, 8  # what runtimes of 2022 and later read


def to_onnx(model: nnx.Module, *, state: bool = False) -> Any:
    """A model as an `onnx.ModelProto`.

    It reads ``inputs``: symbols ``[batch, time]`` where the model embeds them, else numbers ``[batch, time, input]``
    (one-hot rows for symbols). It gives ``outputs``, and the final state by the names that it has here, such as `0.h`.
    A direction is a node of its own.

    Args:
      model: the model.
      state: whether the state before the first step is an input too, by names such as `initial.0.h`.

    Raises:
      InputError: something that ONNX's nodes do not compute, or onnx is not installed.
    """
    found = onnx_parts(model)
    onnx = library("onnx", "ONNX")
    graph = _Graph(onnx, found, state)
    values = graph.read()
    for k, section in enumerate(found.sections):
        values = graph.stack(section, graph.repeat(values) if k else values)
    graph.answer(values)
    return graph.model()


class _Graph:
    """An ONNX graph while it is written; inside, sequences are time-major."""

    def __init__(self, onnx: Any, found: Parts, state: bool):
        self.onnx, self.found, self.state = onnx, found, state
        self.type = onnx.helper.np_dtype_to_tensor_dtype(arrays(found.first)["input_kernel"].dtype)
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.inputs: list[Any] = []
        self.outputs: list[Any] = []

    def constant(self, name: str, value: Any) -> str:
        self.constants.append(self.onnx.numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def node(self, kind: str, inputs: Sequence[str], name: str = "", **attributes: Any) -> str:
        """Adds a node of one output, and gives that output's name."""
        name = name or f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(self.onnx.helper.make_node(kind, inputs, [name], **attributes))
        return name

    def takes(self, name: str, shape: Sequence[Any], kind: Any = None) -> str:
        self.inputs.append(self.onnx.helper.make_tensor_value_info(name, kind or self.type, shape))
        return name

    def gives(self, name: str, shape: Sequence[Any]) -> str:
        self.outputs.append(self.onnx.helper.make_tensor_value_info(name, self.type, shape))
        return name

    def read(self) -> str:
        """What the first layer reads."""
        if self.found.embedding is None:
            inputs = self.takes("inputs", ["batch", "time", self.found.first.input])
        else:
            table = self.constant("embedding", arrays(self.found.embedding)["embedding"])
            symbols = self.takes("inputs", ["batch", "time"], self.onnx.TensorProto.INT64)
            inputs = self.node("Gather", [table, symbols], axis=0)
        return self.node("Transpose", [inputs], perm=[1, 0, 2])

    def stack(self, section: Section, values: str) -> str:
        """Layers one after the other: every output, or the last, as the section shows them."""
        last = values
        for k, layer in enumerate(section.layers):
            pairs = [self.unroll(place, values) for place in layer.directions]
            outputs, last = (self.join(layer, side) for side in zip(*pairs, strict=True))
            adds = section.residual and k and _width(layer) == _width(section.layers[k - 1])
            values = self.node("Add", [outputs, values]) if adds else outputs
        return values if section.shows == "every" else last

    def repeat(self, context: str) -> str:
        """What a decoder reads: the context again at every step."""
        steps = self.constant("answer_steps", np.array([self.found.answer_steps, 1, 1], np.int64))
        return self.node("Expand", [self.node("Unsqueeze", [context, self.axis(0)]), steps])

    def unroll(self, place: Place, values: str) -> tuple[str, str]:
        """One direction of a layer: its outputs, and its output when it has read everything."""
        cell, start = place.layer.cell, f"{place.name}." if place.name else ""
        weights = {name: self.constant(f"{start}{name}", value) for name, value in node_weights(cell).items()}
        states = ("h", "c") if "c" in cell.state else ("h",)
        initial = [self.initial(place, values, field) for field in states]
        inputs = [values, weights["W"], weights["R"], weights.get("B", ""), "", *initial]
        if "P" in weights:
            inputs.append(weights["P"])
        while not inputs[-1]:
            inputs.pop()
        sides = [f"{start}sequence", *(f"{start}final_{field}" for field in states)]
        attributes = node_attributes(cell) | {"direction": "reverse" if place.layer.reverse else "forward"}
        self.nodes.append(self.onnx.helper.make_node(KINDS[type(cell)], inputs, sides, **attributes))
        for field, side in zip(states, sides[1:], strict=True):
            self.node("Squeeze", [side, self.axis(0)], self.gives(f"{start}{field}", ["batch", cell.widths[field]]))
        return self.node("Squeeze", [sides[0], self.axis(1)]), f"{start}h"

    def initial(self, place: Place, values: str, field: str) -> str:
        """The state before the first step, ``[1, batch, units]``; empty stands for zero."""
        width = place.layer.cell.widths[field]
        if self.state:
            name = ".".join(filter(None, ("initial", place.name, field)))
            return self.node("Unsqueeze", [self.takes(name, ["batch", width]), self.axis(0)])
        if place.layer.initial is None:
            return ""
        row = np.asarray(place.layer.initial_state(1)[field])[None]
        name = self.constant(".".join(filter(None, (place.name, f"initial_{field}"))), row)
        batch = self.node("Shape", [values], start=1, end=2)
        one = self.axis(1)
        return self.node("Expand", [name, self.node("Concat", [one, batch, one], axis=0)])

    def axis(self, number: int) -> str:
        name = f"number_{number}"
        if name not in [each.name for each in self.constants]:
            self.constant(name, np.array([number], np.int64))
        return name

    def join(self, layer: Layer, sides: Sequence[str]) -> str:
        """The outputs of a layer's directions as one."""
        if len(sides) == 1:
            return sides[0]
        if layer.merge == "none":
            raise InputError("two outputs that are not merged", layer.where, "choose another merge")
        return self.node("Concat", sides, axis=-1) if layer.merge == "concat" else self.node(MERGES[layer.merge], sides)

    def answer(self, shown: str) -> None:
        """Reads out what the last layer shows."""
        section, readout = self.found.sections[-1], self.found.readout
        every = {"every": ["batch", "time"], "last": ["batch"], "answer": ["batch", "answer"]}[self.found.read]
        if section.shows == "every":
            shown = self.node("Transpose", [shown], perm=[1, 0, 2])
        if readout is None:
            self.node("Identity", [shown], self.gives("outputs", [*every, _width(section.layers[-1])]))
            return
        weights = {name: self.constant(f"readout {name}", value) for name, value in arrays(readout).items()}
        product = self.node("MatMul", [shown, weights["kernel"]])
        self.node("Add", [product, weights["bias"]], self.gives("outputs", [*every, readout.out_features]))

    def model(self) -> Any:
        helper = self.onnx.helper
        self.outputs.sort(key=lambda each: each.name != "outputs")
        graph = helper.make_graph(self.nodes, "rnnjax", self.inputs, self.outputs, self.constants)
        imports = [helper.make_opsetid("", OPSET)]
        made = helper.make_model(graph, opset_imports=imports, ir_version=IR, producer_name="rnnjax")
        self.onnx.checker.check_model(made, full_check=True)
        return made


def _width(layer: Layer) -> int:
    widths = [place.layer.width for place in layer.directions]
    return sum(widths) if layer.merge == "concat" else widths[0]
