"""Members of several widths in one program: units without weights, which stay without.

A unit whose weights are all zero is a fixed point of training. Nothing comes into it, so that it stays at zero where a
step keeps zero at zero. Nothing goes out of it, so that no gradient comes back, and its weights in have none; its
weights out have none because it is zero. Every update rule makes nothing of no gradient, a share taken off zero is
zero, and penalties have no derivative at zero (`rnnjax.train.magnitude`). So a member trained in the arrays of a wider
model is the member trained by itself, but for the rounding of sums that are grouped otherwise. It costs what the wider
model costs.

`refuse` says where that does not hold: a step that takes means over units or does not keep zero at zero, or masks that
are drawn by shape, and so come out otherwise at another width.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from rnnjax.cells import Cell, FeedBack, Structure, split
from rnnjax.config import InputError
from rnnjax.layers import Bidirectional, EncoderDecoder, FeedForward, Recurrent, SequenceModel, Stack
from rnnjax.notation import State
from rnnjax.train import Member, Trainer

FREE = ("input", "units", "state_widths", "executor", "remat", "steps_unrolled")
"""Attributes of a module in which the two may differ: widths, and how the same numbers are computed."""


def refuse(small: Trainer, large: Trainer) -> str | None:
    """Why members of `small` would not train in the arrays of `large` as they do by themselves, if so.

    The rule looks at the models alone: at a cell's declarations, at masks that training draws, and at one step of each
    cell on random numbers, with its gradient, at both widths. Layers that are equally wide in both may be anything.

    Args:
      small: trainer of the narrower model.
      large: trainer of a model that differs from it in widths alone, each at least as large; its training and task are
        taken to be the same but for numbers.
    """
    try:
        found = _Found(small, large)
    except _Unlike as error:
        return str(error)
    return next(found.reasons(), None)


def pad(member: Member, small: Trainer, large: Trainer) -> Member:
    """A member of `small` in the arrays of `large`, zeros everywhere else.

    Parameters (trained and frozen), moments of the optimiser, averaged weights and carried state are placed gate by
    gate and direction by direction; all else stays. May be traced, and lifted over members by ``jax.vmap``. Ask
    `refuse` first: this places members of any two models whose arrays correspond, whether padding is inert or not.

    Args:
      member: the member, as ``small.member(seed)`` made it, or at any time of its training.
      small: its trainer.
      large: trainer of the wider model.

    Raises:
      InputError: the models differ in more than widths, or `large` is narrower somewhere.
    """
    return _moved(member, _found(small, large), _put)


def unpad(member: Member, small: Trainer, large: Trainer) -> Member:
    """The inverse of `pad`: a member of `large` at the width of `small`, what is beyond it left out.

    Args:
      member: the member, in the arrays of `large`.
      small: trainer of the narrower model.
      large: trainer of the wider model.

    Raises:
      InputError: the models differ in more than widths, or `large` is narrower somewhere.
    """
    return _moved(member, _found(small, large), _taken)


class Axis(NamedTuple):
    """Where an axis of a small array lies in that of a large one.

    Attributes:
      places: position in the large axis of each position of the small one.
      size: of the large axis.
    """

    places: np.ndarray
    size: int

    @classmethod
    def of(cls, small: int, large: int) -> Axis:
        """The first `small` positions of `large`."""
        if small > large:
            raise _Unlike(f"{small} units do not fit into {large}")
        return cls(np.arange(small), large)

    @property
    def whole(self) -> bool:
        """Whether nothing is padded."""
        return len(self.places) == self.size


class _Unlike(Exception):
    """The arrays of two models do not correspond; the message says why."""


def _beside(*axes: Axis) -> Axis:
    """Axes that lie one after the other in one."""
    starts = np.cumsum([0, *(axis.size for axis in axes)])
    places = [axis.places + start for axis, start in zip(axes, starts[:-1], strict=True)]
    return Axis(np.concatenate(places), int(starts[-1]))


def _same(size: int) -> Axis:
    return Axis.of(size, size)


def _put(value: jax.Array, axes: tuple[Axis, ...]) -> jax.Array:
    """The value in zeros of the large shape."""
    if all(axis.whole for axis in axes):
        return value
    zeros = jnp.zeros([axis.size for axis in axes], value.dtype)
    return zeros.at[np.ix_(*(axis.places for axis in axes))].set(value)


def _taken(value: jax.Array, axes: tuple[Axis, ...]) -> jax.Array:
    """The value at the small shape."""
    return value if all(axis.whole for axis in axes) else value[np.ix_(*(axis.places for axis in axes))]


def _moved(member: Member, found: _Found, move: Callable[[jax.Array, tuple[Axis, ...]], jax.Array]) -> Member:
    """The member with `move` applied to every array that has an axis of units."""

    def moved(tree: Any) -> Any:
        """Of nested dicts of weights, or of a state of the optimiser with such dicts in it."""

        def one(path: tuple[Any, ...], value: jax.Array) -> jax.Array:
            name = _dotted(path)
            return move(value, found.variables[name]) if name in found.variables else value

        return jax.tree_util.tree_map_with_path(one, tree)

    carry = member.carry
    if carry is not None:
        carry = {name: move(value, (_same(value.shape[0]), found.states[name])) for name, value in carry.items()}
    return dataclasses.replace(
        member,
        params=moved(member.params),
        fixed=moved(member.fixed),
        optimizer=moved(member.optimizer),
        average=moved(member.average),
        carry=carry,
    )


def _found(small: Trainer, large: Trainer) -> _Found:
    try:
        return _Found(small, large)
    except _Unlike as error:
        raise InputError(
            str(error), "in padding", "pad to a model that differs in widths alone, each at least as large"
        ) from error


class _Found:
    """Where the arrays of one model lie in those of another, found by walking through both.

    Attributes:
      variables: axes of every array of the model by dotted name.
      states: the axis of units of every state that a batch may hand to the next, by layer and field.
      cells: pairs of cells that differ in width.
      activations: of layers without state that differ in width.
      drawn: what is wrong with masks that training draws.
    """

    def __init__(self, small: Trainer, large: Trainer):
        self.variables: dict[str, tuple[Axis, ...]] = {}
        self.states: dict[str, Axis] = {}
        self.cells: list[tuple[Cell, Cell]] = []
        self.activations: list[Callable[[jax.Array], jax.Array]] = []
        self.drawn: list[str] = []
        a, b = (nnx.eval_shape(lambda trainer=trainer: trainer.make(nnx.Rngs(0))) for trainer in (small, large))
        self._model(a, b)
        self._check(*({".".join(map(str, path)): v.shape for path, v in _variables(m)} for m in (a, b)))

    def reasons(self) -> Iterator[str]:
        """Why padding would not be inert."""
        yield from self.drawn
        for activation in self.activations:
            if _at_zero(activation):
                yield f"a unit without weights does not stay at zero{_at_zero(activation)}"
        for small, large in self.cells:
            why = _reason(small, large)
            if why is not None:
                yield why

    def _check(self, small: Mapping[str, tuple[int, ...]], large: Mapping[str, tuple[int, ...]]) -> None:
        """Sees that every array has its place: those that the walk did not come by must be equally large."""
        if small.keys() != large.keys():
            raise _Unlike(f"only one of the two models has '{min(small.keys() ^ large.keys())}'")
        for name, shape in small.items():
            axes = self.variables.setdefault(name, tuple(map(_same, shape)))
            if (tuple(len(axis.places) for axis in axes), tuple(axis.size for axis in axes)) != (shape, large[name]):
                raise _Unlike(f"nothing tells where '{name}' of shape {shape} lies in {large[name]}")

    def _alike(self, small: Any, large: Any) -> None:
        """Sees that two modules differ in nothing but widths and what they hold."""
        kind = type(small).__name__
        if type(small) is not type(large):
            raise _Unlike(f"{kind} is no {type(large).__name__}")
        settings = [
            {k: v for k, v in vars(m).items() if not (k.startswith("_") or k in FREE or _holds(v))}
            for m in (small, large)
        ]
        apart = [key for key in settings[0] if not np.all(settings[0][key] == settings[1].get(key))]
        if apart:
            raise _Unlike(f"the two models differ in '{apart[0]}' of {kind}")

    def _draws(self, what: str, *axes: Axis) -> None:
        """Takes down a mask that training draws, and that has the shape of the units."""
        if not all(axis.whole for axis in axes):
            self.drawn.append(f"{what} is drawn by shape, so that units of another width are dropped")

    def _cell(self, path: str, small: Cell, large: Cell, read: Axis) -> dict[str, Axis]:
        """The axes of the state, by field."""
        self._alike(small, large)
        weights, states = _axes(small, large, read)
        self.variables |= {f"{path}.{name}": axes for name, axes in weights.items() if hasattr(small, name)}
        if not all(axis.whole for axis in states.values()):
            self.cells.append((small, large))
        return states

    def _recurrent(self, path: str, small: Recurrent, large: Recurrent, read: Axis, place: str) -> Axis:
        """The axis of a layer's output; `place` is what its states are called by."""
        self._alike(small, large)
        states = self._cell(f"{path}.cell", small.cell, large.cell, read)
        self.variables[f"{path}.initial"] = (_beside(*states.values()),)
        self.states |= {f"{place}.{field}": axis for field, axis in states.items()}
        if small.recurrent_dropout is not None and "recurrent" in small.cell.products:
            self._draws("the mask of recurrent dropout", states[small.cell.output])
        if small.zoneout is not None:
            self._draws("the mask of zoneout", *states.values())
        return states[small.cell.output]

    def _stack(self, path: str, small: Stack, large: Stack, read: Axis) -> Axis:
        """The axis of the last layer's output."""
        self._alike(small, large)
        if len(small.layers) != len(large.layers):
            raise _Unlike(f"{len(small.layers)} layers are not {len(large.layers)}")
        for k, (a, b) in enumerate(zip(small.layers, large.layers, strict=True)):
            if k and small.dropout is not None:
                self._draws("the mask of dropout between layers", read)
            layer = f"{path}.layers.{k}"
            if isinstance(a, Bidirectional) and isinstance(b, Bidirectional):
                self._alike(a, b)
                ways = [
                    self._recurrent(f"{layer}.{way}", getattr(a, way), getattr(b, way), read, f"{k}.{way}")
                    for way in ("forward", "backward")
                ]
                output = _beside(*ways) if a.merge == "concat" else ways[0]
            elif isinstance(a, Recurrent) and isinstance(b, Recurrent):
                output = self._recurrent(layer, a, b, read, str(k))
            else:
                raise _Unlike(f"{type(a).__name__} is no {type(b).__name__}")
            if k and small.residual:
                self._adds(read, output)
            read = output
        return read

    def _adds(self, read: Axis, output: Axis) -> None:
        """Sees that a layer adds its input to its output in both models or in neither, unit to the same unit."""
        narrow, wide = len(read.places) == len(output.places), read.size == output.size
        if narrow != wide or (narrow and not np.array_equal(read.places, output.places)):
            raise _Unlike("a residual layer would add other units, or none")

    def _linear(self, path: str, read: Axis, output: Axis) -> None:
        self.variables |= {f"{path}.kernel": (read, output), f"{path}.bias": (output,)}

    def _model(self, small: Any, large: Any) -> None:
        self._alike(small, large)
        if isinstance(small, FeedForward):
            self._feed_forward(small, large)
        elif isinstance(small, SequenceModel):
            shown = self._stack("stack", small.stack, large.stack, _inputs(small.stack))
            self._linear("readout", shown, _same(small.readout.out_features))
        elif isinstance(small, EncoderDecoder):
            self._encoder_decoder(small, large)
        else:
            raise _Unlike(f"nothing tells where the units of {type(small).__name__} lie")

    def _feed_forward(self, small: FeedForward, large: FeedForward) -> None:
        read = _same(small.input * small.length)
        if len(small.layers) != len(large.layers):
            raise _Unlike(f"{len(small.layers)} layers are not {len(large.layers)}")
        for k, (a, b) in enumerate(zip(small.layers, large.layers, strict=True)):
            output = Axis.of(a.out_features, b.out_features)
            self._linear(f"layers.{k}", read, output)
            if small.dropout is not None:
                self._draws("the mask of dropout", output)
            if not output.whole:
                self.activations.append(small.activation)
            read = output
        self._linear("readout", read, _same(small.readout.out_features))

    def _encoder_decoder(self, small: EncoderDecoder, large: EncoderDecoder) -> None:
        context = self._stack("encoder", small.encoder, large.encoder, _inputs(small.encoder))
        answers = _same(small.vocab)
        if isinstance(small.decoder, FeedBack):
            self._alike(small.decoder, large.decoder)
            cells = small.decoder.cell, large.decoder.cell
            states = self._cell("decoder.cell", *cells, _beside(context, answers))
            self._linear("decoder.readout", states[cells[0].output], answers)
            return
        read = context if small.attention is None else _beside(context, answers)
        states = dict(self.states)
        shown = self._stack("decoder", small.decoder, large.decoder, read)
        self.states = states  # the decoder begins anew with every example
        self._linear("readout", shown, answers)
        if small.attention is not None:
            self.variables["attention.score.kernel"] = (shown, context)
            self._linear("attention.combine", _beside(shown, context), shown)


def _axes(small: Cell, large: Cell, read: Axis) -> tuple[dict[str, tuple[Axis, ...]], dict[str, Axis]]:
    """The axes of a cell's weights by name, whether it has them or not, and those of its state by field."""
    units = Axis.of(small.units, large.units)
    states = {field: Axis.of(small.widths[field], large.widths[field]) for field in small.state}
    gates = _beside(*[units] * len(small.gates))
    named = {"units": units, "gates": gates, "output": states.get("h", units)}
    known = {name: shape for name, (shape, _) in small.small.items()}
    weights = {
        name: tuple(named[axis] if isinstance(axis, str) else _same(axis) for axis in shape)
        for name, shape in known.items()
    }
    return {
        **weights,
        "input_kernel": (read, gates),
        "recurrent_kernel": (named["output"], gates),
        "bias": (gates,),
    }, states


def _dotted(path: tuple[Any, ...]) -> str:
    """The name of an array by where it lies in nested dicts, whatever they lie in."""
    return ".".join(str(part.key) for part in path if isinstance(part, jax.tree_util.DictKey))


def _holds(value: Any) -> bool:
    """Whether an attribute of a module is a part of it, not a setting."""
    return isinstance(value, nnx.Variable | nnx.Module)


def _variables(model: Any) -> list[tuple[tuple[Any, ...], Any]]:
    return list(nnx.to_flat_state(nnx.state(model)))


def _inputs(stack: Stack) -> Axis:
    """The axis of what the first layer reads."""
    first = stack.layers[0]
    return _same((first.forward if isinstance(first, Bidirectional) else first).cell.input)


def _reason(small: Cell, large: Cell) -> str | None:
    """Why padding changes this cell, if so."""
    kind = type(small).__name__
    if small.reduces_units:
        return f"{kind} takes means over its units"
    return _probed(Structure(small), Structure(large))


@lru_cache(maxsize=1024)
def _probed(small: Structure, large: Structure) -> str | None:
    """What one step of a cell and its gradient, on random numbers, show of padding it."""
    rng, rows = np.random.default_rng(0), 2
    weights, states = _axes(small.cell, large.cell, Axis.of(small.cell.input, large.cell.input))
    held, tree = jax.tree_util.tree_flatten_with_path(nnx.to_pure_dict(nnx.state(small.cell)))
    axes = (
        [weights.get(_dotted(path), tuple(map(_same, leaf.shape))) for path, leaf in held],
        {field: (_same(rows), axis) for field, axis in states.items()},
        (_same(rows), weights["bias"][0]),
    )
    drawn = jax.tree.map(
        lambda axes: rng.normal(0, 0.5, [len(axis.places) for axis in axes]).astype(np.float32),
        axes,
        is_leaf=lambda node: isinstance(node, tuple) and all(isinstance(axis, Axis) for axis in node),
    )

    def step(cell: Cell, values: tuple[list[jax.Array], State, jax.Array]) -> State:
        arrays, state, x = values
        made = nnx.merge(nnx.graphdef(cell), nnx.State(tree.unflatten(arrays)))
        w = made.weights()

        def dot(name: str, operand: jax.Array) -> dict[str, jax.Array]:
            return split(jnp.matmul(operand, w.kernels[name], precision="highest"), made.gate_widths(name))

        return made.step(w.small, state, made.split(x), dot, lambda _, value: value)

    @jax.jit
    def looked(drawn: Any) -> tuple[jax.Array, jax.Array, jax.Array]:
        alone = step(small.cell, drawn)
        padded, pull = jax.vjp(partial(step, large.cell), jax.tree.map(_put, drawn, axes))
        (gradient,) = pull(jax.tree.map(_put, alone, axes[1]))
        return _nothing_beyond(padded, axes[1]), _nothing_beyond(gradient, axes), _close(padded, alone, axes[1])

    stays, silent, alike = map(bool, looked(drawn))
    kind = type(small.cell).__name__
    if not stays:
        return f"a unit without weights does not stay at zero in {kind}{_at_zero(small.cell.activation)}"
    if not silent:
        return f"a unit without weights has a gradient in {kind}"
    return None if alike else f"a unit of {kind} depends on how many others there are"


def _at_zero(activation: Callable[[jax.Array], jax.Array]) -> str:
    """What to say of an activation that is not zero at zero."""
    value = float(activation(jnp.zeros(())))
    return f": its activation at zero is {value:g}" if value else ""


def _nothing_beyond(values: Any, axes: Any) -> jax.Array:
    """Whether everything is exactly zero outside the places of the small arrays."""
    rest = jax.tree.map(lambda value, places: value.at[np.ix_(*(axis.places for axis in places))].set(0), values, axes)
    return jnp.all(jnp.asarray([jnp.all(value == 0) for value in jax.tree.leaves(rest)]))


def _close(padded: State, alone: State, axes: Any) -> jax.Array:
    """Whether the states agree, but for the rounding of float32."""
    taken = jax.tree.map(_taken, padded, axes)
    return jnp.all(jnp.asarray([jnp.allclose(taken[field], alone[field], 1e-4, 1e-5) for field in alone]))
