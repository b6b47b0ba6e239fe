"""A model taken apart, and given other weights: what every mapping of this room has in common.

A mapping is a pair of functions between a model and a dict of NumPy arrays under another library's own names and
shapes. Either the other library computes the same from them, or the mapping refuses: nothing is left out in silence.
"""

from __future__ import annotations

import importlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from rnnjax.cells import ACTIVATIONS, CELLS, Cell
from rnnjax.config import InputError, nearest
from rnnjax.layers import Bidirectional, EncoderDecoder, Recurrent, SequenceModel, Stack

Model = TypeVar("Model", bound=nnx.Module)


class Place(NamedTuple):
    """One direction of one layer, and its name: `0`, `0.backward`, or none where the model is a single layer."""

    name: str
    layer: Recurrent

    @property
    def where(self) -> str:
        """The place in words, for errors."""
        return f"in layer {self.name}" if self.name else "in the layer"


class Layer(NamedTuple):
    """One layer: its directions, and how their outputs are joined."""

    name: str
    directions: tuple[Place, ...]
    merge: str

    @property
    def where(self) -> str:
        """The layer in words, for errors."""
        return f"in layer {self.name}" if self.name else "in the layer"


class Section(NamedTuple):
    """Layers one after the other.

    Attributes:
      name: `encoder`, `decoder`, or empty where there is but one section.
      layers: the layers, the first one first.
      residual: whether layers add their input to their output.
      shows: what goes on to the next section or the readout: `every` step, or the `last`.
    """

    name: str
    layers: tuple[Layer, ...]
    residual: bool
    shows: str


class Parts(NamedTuple):
    """What a model is made of.

    Attributes:
      embedding: what symbols are embedded in.
      sections: the recurrent layers: one section, or an encoder and a decoder, between which the last output of the
        encoder is repeated at `answer_steps` steps.
      readout: the linear layer behind the last one.
      read: `every` step is read out, the `last`, or every `answer`.
      answer_steps: answers that a decoder writes.
    """

    embedding: nnx.Embed | None
    sections: tuple[Section, ...]
    readout: nnx.Linear | None
    read: str
    answer_steps: int = 0

    @property
    def layers(self) -> Iterator[Layer]:
        """Every layer of every section."""
        for section in self.sections:
            yield from section.layers

    @property
    def places(self) -> Iterator[Place]:
        """Every direction of every layer."""
        for layer in self.layers:
            yield from layer.directions

    @property
    def first(self) -> Cell:
        """The cell that reads the inputs."""
        return next(self.places).layer.cell


def parts(model: nnx.Module, library: str, cells: Collection[type[Cell]], *, learned_initial: bool = False) -> Parts:
    """Takes a model apart.

    Args:
      model: a `Recurrent`, `Bidirectional`, `Stack`, `SequenceModel`, or an `EncoderDecoder` that repeats its context.
      library: where its weights go or come from, for errors.
      cells: the cells that library has.
      learned_initial: whether it can keep a trained initial state with the weights.

    Raises:
      InputError: a model of another kind, or something that the library does not compute.
    """
    found = _apart(model)
    for place in found.places:
        cell = type(place.layer.cell)
        if cell not in cells:
            known = ", ".join(name for name, kind in CELLS.items() if kind in cells)
            raise InputError(
                f"{library} has no counterpart of {cell.__name__}",
                place.where,
                f"it has those of {known}; export to npz keeps every model",
            )
        if place.layer.zoneout is not None and float(place.layer.zoneout[...]) > 0:
            raise InputError(f"{library} does not compute zoneout", place.where, "set zoneout to 0, or export to npz")
        if place.layer.initial is not None and not learned_initial:
            raise InputError(
                f"{library} does not keep a trained initial state with the weights",
                place.where,
                "export to onnx or npz, which do, or train with model.learned_initial=false",
            )
    return found


def _apart(model: nnx.Module) -> Parts:
    if isinstance(model, SequenceModel):
        section = _section("", model.stack, model.read)
        return Parts(model.embedding, (section,), model.readout, model.read)
    if isinstance(model, EncoderDecoder):
        if not isinstance(model.decoder, Stack) or model.attention is not None:
            raise InputError(
                "a decoder that reads its own answers",
                "in rnnjax.interop",
                "elsewhere there are counterparts of model.decoder=repeat alone; export to npz keeps every model",
            )
        both = _section("encoder", model.encoder, "last"), _section("decoder", model.decoder, "every")
        return Parts(model.embedding, both, model.readout, model.read, model.answer_steps)
    if isinstance(model, Stack):
        return Parts(None, (_section("", model, "every"),), None, "every")
    if isinstance(model, Recurrent | Bidirectional):
        return Parts(None, (Section("", (_layer("", model),), False, "every"),), None, "every")
    raise InputError(
        f"a model of type {type(model).__name__}",
        "in rnnjax.interop",
        "only recurrent layers and models have counterparts elsewhere; export to npz keeps every model",
    )


def _section(name: str, stack: Stack, shows: str) -> Section:
    start = f"{name}." if name else ""
    layers = tuple(_layer(f"{start}{k}", layer) for k, layer in enumerate(stack.layers))
    return Section(name, layers, stack.residual and len(layers) > 1, shows)


def _layer(name: str, layer: nnx.Module) -> Layer:
    if isinstance(layer, Recurrent):
        return Layer(name, (Place(name, layer),), "concat")
    if isinstance(layer, Bidirectional):
        pair = (("forward", layer.forward), ("backward", layer.backward))
        return Layer(name, tuple(Place(f"{name}.{way}".lstrip("."), part) for way, part in pair), layer.merge)
    raise InputError(
        f"a layer of type {type(layer).__name__}",
        f"in layer {name}",
        "only recurrent layers have counterparts elsewhere; export to npz keeps every model",
    )


def arrays(module: nnx.Module) -> dict[str, np.ndarray]:
    """Copies of a module's variables by path, such as `cell.bias`; bfloat16 as float32, which holds it exactly."""
    return {_dotted(path): _plain(variable[...]) for path, variable in _variables(module)}


def put(module: nnx.Module, values: Mapping[str, np.ndarray]) -> None:
    """Gives a module other values by path, of the shapes that `arrays` shows; it keeps its types."""
    given = [
        (path, variable.replace(jnp.asarray(values[_dotted(path)], variable[...].dtype)))
        for path, variable in _variables(module)
        if _dotted(path) in values
    ]
    nnx.update(module, nnx.from_flat_state(given))


def _variables(module: nnx.Module) -> Iterator[tuple[tuple[Any, ...], nnx.Variable]]:
    yield from nnx.to_flat_state(nnx.state(module, nnx.Not(nnx.RngState)))


def _dotted(path: Sequence[Any]) -> str:
    return ".".join(map(str, path))


def _plain(value: jax.Array) -> np.ndarray:
    return np.array(value, np.float32 if value.dtype == jnp.bfloat16 else value.dtype)


def blank(model: Model) -> Model:
    """The model with every weight zero: its mapping shows which names and shapes are expected."""
    graph, state = nnx.split(model)
    return nnx.merge(graph, jax.tree.map(lambda value: np.zeros(value.shape, value.dtype), state))


def check(given: Mapping[str, Any], expected: Mapping[str, np.ndarray], library: str) -> None:
    """Makes sure that weights are those that the model has places for.

    Raises:
      InputError: one is missing, has no place, or has another shape.
    """
    where = f"among the weights of {library}"
    missing = [name for name in expected if name not in given]
    strange = [name for name in given if name not in expected]
    if missing:
        close = nearest(missing[0], strange)
        fix = f"is it '{close[0]}'?" if close else "make a model of the same layers, directions and biases"
        raise InputError(f"'{missing[0]}' is missing", where, fix)
    if strange:
        raise InputError(
            f"the model has no place for '{strange[0]}'",
            where,
            "make a model of the same layers, directions and biases",
        )
    for name, array in expected.items():
        if np.shape(given[name]) != array.shape:
            raise InputError(
                f"'{name}' has shape {np.shape(given[name])}, not {array.shape}",
                where,
                "make a model of the same widths",
            )


def reorder(columns: np.ndarray, gates: Sequence[str], order: Sequence[str]) -> np.ndarray:
    """Column blocks, one a gate, put from the order `gates` into another."""
    blocks = dict(zip(gates, np.split(columns, len(gates), axis=-1), strict=True))
    return np.concatenate([blocks[gate] for gate in order], axis=-1)


def activations(cell: Cell) -> tuple[str, str]:
    """Names of `ACTIVATIONS`: of candidate and output, and of the gates; empty for functions of one's own."""
    names = {function: name for name, function in ACTIVATIONS.items()}
    return names.get(cell.activation, ""), names.get(cell.recurrent_activation, "")


def has_gates(cell: Cell) -> bool:
    """Whether the cell's step uses its recurrent activation."""
    return len(cell.gates) > 1


def library(name: str, target: str) -> Any:
    """An optional library.

    Raises:
      InputError: it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError:
        raise InputError(f"{name} is not installed", f"for weights of {target}", f"pip install {name}") from None
