"""Recurrent cells, each written once as a single time step.

A cell says what happens in one step with two verbs that the engine supplies::

    step(w, s, x, dot, at) -> state

``w`` holds the small weights by name, ``s`` the state before the step, ``x`` the input part of every gate
(``inputs @ input_kernel + bias``, already split by gate), each ``[batch, units]``. ``dot(name, operand)`` is the matrix
product called `name`, and gives its gates by name; ``at(name, value)`` names a quantity, so that it can be recorded and
edited. A cell knows nothing of time, batches of sequences, masks, gradients or devices: the executors do, and every one
of them serves every cell as this table says.

================  ========  =========  ===========  ==========================================================
cell              ``scan``  ``fused``  associative  state, and the fields it names
================  ========  =========  ===========  ==========================================================
elman             yes       yes        no           h
lstm              yes       yes        no           c h; i f g o
gru               yes       yes        no           h; r z n
gru_before        yes       yes        no           h; r z n
mgu               yes       yes        no           h; f n
ctrnn             yes       yes        no           v h
peephole_lstm     yes       yes        no           c h; i f g o
layer_norm_lstm   yes       yes        no           c h; i f g o
projected_lstm    yes       yes        no           c h; i f g o m
min_gru           yes       yes        yes          h; z n
================  ========  =========  ===========  ==========================================================

``scan`` is plain ``lax.scan`` with JAX's own differentiation (forward mode too), ``fused`` has one gradient for the
whole sequence, ``associative`` is parallel in time and needs a step that is affine in the state (a `LinearCell`).

A new cell is a class of about ten lines: what it is made of, and its step::

    class Minimal(Cell):
        gates = ("f", "n")
        products = {"recurrent": ("f", "n")}
        summed = ("f", "n")
        fields = ("f", "n", "h")

        def step(self, w, s, x, dot, at):
            q = dot("recurrent", s["h"])
            f = at("f", jax.nn.sigmoid(x["f"] + q["f"]))
            n = at("n", jnp.tanh(x["n"] + q["n"]))
            return {"h": at("h", (1 - f) * s["h"] + f * n)}
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from rnnjax.config import InputError, nearest
from rnnjax.notation import Field, Gate, Operand, State

ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "tanh": jnp.tanh,
    "sigmoid": jax.nn.sigmoid,
    "hard_sigmoid": jax.nn.hard_sigmoid,
    "hard_tanh": jax.nn.hard_tanh,
    "relu": jax.nn.relu,
    "softplus": jax.nn.softplus,
    "gelu": jax.nn.gelu,
    "sine": jnp.sin,
    "identity": lambda v: v,
}

_initializers = jax.nn.initializers
INITIALIZERS: dict[str, Callable[..., jax.Array]] = {
    "glorot_uniform": _initializers.glorot_uniform(),
    "glorot_normal": _initializers.glorot_normal(),
    "he_normal": _initializers.he_normal(),
    "lecun_normal": _initializers.lecun_normal(),
    "orthogonal": _initializers.orthogonal(),
    "zeros": _initializers.zeros,
    "ones": _initializers.ones,
}


class Fixed(nnx.Variable):
    """A number of the model that is stored with it but not trained, such as a leak."""


class Weights(NamedTuple):
    """The weights of a cell as an executor wants them."""

    input_kernel: jax.Array
    """``[input, gates]``."""
    bias: jax.Array | None
    """``[gates]``, or None where the cell adds it itself or has none."""
    kernels: dict[str, jax.Array]
    """The kernel of every product inside the loop, ``[operand, gates of that product]``."""
    small: dict[str, jax.Array]
    """Everything else, by name: biases added in the step, peepholes, scales, leaks."""


@runtime_checkable
class Dot(Protocol):
    """The matrix product of a cell's step: gates by name, each ``[batch, units]``."""

    def __call__(self, name: str, operand: Operand) -> dict[str, Field]:
        """The product of `operand` and the kernel of that name."""
        ...


@runtime_checkable
class At(Protocol):
    """Names a quantity of a step, and gives it back (edited, if someone asked for that)."""

    def __call__(self, name: str, value: Field) -> Field:
        """The value that the step goes on with."""
        ...


def lookup(table: Mapping[str, Any], name: Any, what: str, where: str = "") -> Any:
    """The entry of `table` called `name`; anything that is no string is taken to be the thing itself.

    Args:
      table: what there is, by name.
      name: what is wanted.
      what: what errors call an entry.
      where: where the name was given, for errors.

    Raises:
      InputError: no entry has that name; the message gives the nearest ones.
    """
    if not isinstance(name, str):
        return name
    if name not in table:
        close = nearest(name, table)
        raise InputError(
            f"unknown {what} '{name}'",
            where or f"among names of {what}s",
            f"did you mean '{close[0]}'?" if close else f"choose one of: {', '.join(table)}",
        )
    return table[name]


def split(packed: jax.Array, widths: Mapping[str, int]) -> dict[str, jax.Array]:
    """Splits ``[..., gates]`` into gates by name."""
    ends = np.cumsum(list(widths.values()))
    return {
        gate: packed[..., end - width : end] for (gate, width), end in zip(widths.items(), ends.tolist(), strict=True)
    }


class Cell(nnx.Module):
    """One time step of a recurrent layer, with its weights.

    A subclass declares what it is made of (the class attributes below) and writes `step`; this class makes the weights.

    Args:
      input: features of one input step.
      units: width of the state.
      activation: of the candidate and the output (a name of `ACTIVATIONS`, or a function).
      recurrent_activation: of the gates.
      use_bias: whether the gates have a bias.
      unit_forget_bias: whether the forget gate's bias starts at one (Jozefowicz et al. 2015); LSTMs only.
      initializers: initialiser by weight name, such as ``{"recurrent_kernel": "glorot_uniform"}`` (a name of
        `INITIALIZERS`, or a function ``(key, shape, dtype) -> array``). Unnamed ones: glorot-uniform for the input
        kernel, orthogonal for the recurrent one, zero for biases, as in Keras.
      param_dtype: type of the stored weights.
      dtype: type of the operands of matrix products. Products accumulate, and the state is kept, in float32 (in float64
        if this is float64).
      output_width: width of the state's output field, where a cell projects it; `units` if None.
      rngs: where the initial weights come from.

    Raises:
      InputError: a width below one, or an unknown activation, initialiser or weight name.
    """

    gates: tuple[str, ...]
    """Names of the gates, in the order of the kernel's column blocks."""
    products: ClassVar[Mapping[str, tuple[str, ...]]]
    """The matrix products inside the loop, and the gates each one feeds. `name` uses the weight `name_kernel` if there
    is one, else those gates' columns of `recurrent_kernel`. Recurrent dropout acts on `recurrent` and `candidate`."""
    summed: tuple[str, ...] = ()
    """Gates that use input part and product only as their sum, so that one array can stand for both."""
    fields: tuple[str, ...]
    """All names given to `at`, in order."""
    state: tuple[str, ...] = ("h",)
    """Names of the state's fields."""
    output: str = "h"
    """The field of the state that is the layer's output."""
    reduces_units: bool = False
    """Whether a step takes a mean over units, so that padding units changes the rest."""
    bias_in_step: bool = False
    """Whether the step adds `bias` itself, instead of finding it in ``x``."""
    small: ClassVar[Mapping[str, tuple[Any, str]]] = {}
    """Shape and default initialiser of further weights. A shape may name `units` or `gates` for a width."""
    defaults: ClassVar[Mapping[str, str]] = {}
    """Default activations, where they are not tanh and sigmoid."""

    def __init__(
        self,
        input: int,
        units: int,
        *,
        activation: Any = None,
        recurrent_activation: Any = None,
        use_bias: bool = True,
        unit_forget_bias: bool = True,
        initializers: Mapping[str, Any] | None = None,
        param_dtype: Any = jnp.float32,
        dtype: Any = jnp.float32,
        output_width: int | None = None,
        rngs: nnx.Rngs,
    ):
        name = type(self).__name__
        if units < 1 or input < 0:
            raise InputError(f"{name} with {units} units on {input} inputs", f"in cells.{name}", "use at least 1 unit")
        self.input, self.units = int(input), int(units)
        named = {"activation": "tanh", "recurrent_activation": "sigmoid", **self.defaults}
        self.activation = lookup(ACTIVATIONS, activation or named["activation"], "activation")
        self.recurrent_activation = lookup(
            ACTIVATIONS, recurrent_activation or named["recurrent_activation"], "activation"
        )
        self.param_dtype, self.dtype = jnp.dtype(param_dtype), jnp.dtype(dtype)
        self.state_widths = tuple(
            output_width if output_width and field == self.output else self.units for field in self.state
        )
        shapes = {
            "input_kernel": ((self.input, self.columns), "glorot_uniform"),
            **({"recurrent_kernel": ((self.widths["h"], self.columns), "orthogonal")} if self.products else {}),
            **({"bias": ((self.columns,), "zeros")} if use_bias else {}),
            **{
                key: (tuple(self._width(axis) for axis in shape), default)
                for key, (shape, default) in self.small.items()
                if use_bias or not key.endswith("bias")
            },
        }
        chosen = dict(initializers or {})
        for key in chosen:
            if key not in shapes:
                lookup(shapes, key, f"weight of {name}", "in initializers")
        for key, (shape, default) in shapes.items():
            initializer = lookup(INITIALIZERS, chosen.get(key, default), "initializer", f"for {key}")
            drawn = initializer(rngs.params(), shape, jnp.promote_types(self.param_dtype, jnp.float32))
            value = drawn.astype(self.param_dtype)  # the orthogonal one is not made in half precision
            if key == "bias" and unit_forget_bias and "f" in self.gates and "c" in self.state and key not in chosen:
                start = self.gates.index("f") * self.units
                value = value.at[start : start + self.units].set(1)
            setattr(self, key, (Fixed if key == "leak" else nnx.Param)(value))

    @property
    def widths(self) -> dict[str, int]:
        """The width of every field of the state."""
        return dict(zip(self.state, self.state_widths, strict=True))

    def _width(self, axis: str | int) -> int:
        named = {"units": self.units, "gates": self.columns, "output": self.widths["h"]}
        return named[axis] if isinstance(axis, str) else axis

    @property
    def columns(self) -> int:
        """Columns of the input kernel: gates times units."""
        return len(self.gates) * self.units

    @property
    def state_dtype(self) -> Any:
        """The type that products accumulate in and states are kept in."""
        return jnp.promote_types(self.dtype, jnp.float32)

    def gate_widths(self, product: str) -> dict[str, int]:
        """Gate by gate, the columns that `product` (or `input`) feeds."""
        gates = self.gates if product == "input" else self.products[product]
        return {gate: self.widths.get(gate, self.units) for gate in gates}

    def split(self, packed: jax.Array) -> dict[str, jax.Array]:
        """Splits ``[..., gates]`` into its gates by name."""
        return split(packed, self.gate_widths("input"))

    def initial_state(self, batch: int) -> State:
        """The zero state for `batch` rows."""
        return {field: jnp.zeros((batch, width), self.state_dtype) for field, width in self.widths.items()}

    def weights(self) -> Weights:
        """The weights as arrays, sorted by what an executor does with them."""
        arrays = {
            key: getattr(self, key)[...]
            for key in ("input_kernel", "recurrent_kernel", "bias", *self.small)
            if hasattr(self, key)
        }
        input_kernel, recurrent = arrays.pop("input_kernel"), arrays.pop("recurrent_kernel", None)
        kernels = {}
        for name, gates in self.products.items():
            if f"{name}_kernel" in arrays:
                kernels[name] = arrays.pop(f"{name}_kernel")
            elif gates == self.gates:
                kernels[name] = recurrent
            else:
                blocks = self.split(recurrent)
                kernels[name] = jnp.concatenate([blocks[gate] for gate in gates], axis=-1)
        bias = None if self.bias_in_step else arrays.pop("bias", None)
        return Weights(input_kernel, bias, kernels, arrays)

    @abc.abstractmethod
    def step(self, w: dict[str, jax.Array], s: State, x: dict[str, Field], dot: Dot, at: At) -> State:
        """The state after one step; see the top of this module."""


class Structure:
    """A cell without its weights: hashable, and equal for cells of equal structure.

    Executors take it as a static argument, so that a program is compiled once for all weights.
    """

    def __init__(self, cell: Cell):
        graph, variables = nnx.split(cell)
        shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), variables)
        self.cell = nnx.merge(graph, shapes)
        self._identity = (graph, tuple((s.shape, s.dtype) for s in jax.tree.leaves(shapes)))

    def __hash__(self) -> int:
        return hash(self._identity)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Structure) and self._identity == other._identity


class Elman(Cell):
    """``h = tanh(W x + U h + b)`` (Elman 1990, "Finding structure in time"); Keras's SimpleRNN.

    Weights: input_kernel ``[input, units]``, recurrent_kernel ``[units, units]``, bias ``[units]``.
    """

    gates = ("h",)
    products: ClassVar = {"recurrent": ("h",)}
    summed = ("h",)
    fields = ("h",)

    def step(self, w, s, x, dot, at):  # noqa: D102
        q = dot("recurrent", s["h"])
        return {"h": at("h", self.activation(x["h"] + q["h"]))}


def _lstm_gates(cell: Cell, z: dict[str, Field], at: At) -> tuple[Field, Field, Field, Field]:
    """The gates `i f g o` from their sums of input part and product."""
    sigmoid, tanh = cell.recurrent_activation, cell.activation
    return at("i", sigmoid(z["i"])), at("f", sigmoid(z["f"])), at("g", tanh(z["g"])), at("o", sigmoid(z["o"]))


class LSTM(Cell):
    """``c = f c + i g, h = o tanh(c)`` (Hochreiter & Schmidhuber 1997; forget gate: Gers et al. 2000).

    Weights, columns `i f g o`: input_kernel ``[input, 4 units]``, recurrent_kernel ``[units, 4 units]``, bias
    ``[4 units]``.
    """

    gates = ("i", "f", "g", "o")
    products: ClassVar = {"recurrent": gates}
    summed = gates
    fields = (*gates, "c", "h")
    state = ("c", "h")

    def step(self, w, s, x, dot, at):  # noqa: D102
        q = dot("recurrent", s["h"])
        i, f, g, o = _lstm_gates(self, {gate: x[gate] + q[gate] for gate in x}, at)
        c = at("c", f * s["c"] + i * g)
        return {"c": c, "h": at("h", o * self.activation(c))}


class GRU(Cell):
    """``h = (1 - z) n + z h``, the reset gate acting after the product (Cho et al. 2014; cuDNN's and Keras's form).

    Weights, columns `r z n`: input_kernel ``[input, 3 units]``, recurrent_kernel ``[units, 3 units]``, bias and
    recurrent_bias ``[3 units]``: the second bias stands inside the reset product, so the two cannot be merged.
    """

    gates = ("r", "z", "n")
    products: ClassVar = {"recurrent": gates}
    summed = ("r", "z")
    fields = (*gates, "h")
    small: ClassVar = {"recurrent_bias": (("gates",), "zeros")}

    def step(self, w, s, x, dot, at):  # noqa: D102
        q = dot("recurrent", s["h"])
        if "recurrent_bias" in w:
            q = jax.tree.map(jnp.add, q, self.split(w["recurrent_bias"][None]))
        r = at("r", self.recurrent_activation(x["r"] + q["r"]))
        z = at("z", self.recurrent_activation(x["z"] + q["z"]))
        n = at("n", self.activation(x["n"] + r * q["n"]))
        return {"h": at("h", (1 - z) * n + z * s["h"])}


class GRUBefore(Cell):
    """``n = tanh(W x + U (r h) + b)``: the GRU as first published, reset before the product (Cho et al. 2014).

    Weights, columns `r z n`: input_kernel ``[input, 3 units]``, recurrent_kernel ``[units, 3 units]``, bias
    ``[3 units]``.
    """

    gates = ("r", "z", "n")
    products: ClassVar = {"recurrent": ("r", "z"), "candidate": ("n",)}
    summed = gates
    fields = (*gates, "h")

    def step(self, w, s, x, dot, at):  # noqa: D102
        q = dot("recurrent", s["h"])
        r = at("r", self.recurrent_activation(x["r"] + q["r"]))
        z = at("z", self.recurrent_activation(x["z"] + q["z"]))
        n = at("n", self.activation(x["n"] + dot("candidate", r * s["h"])["n"]))
        return {"h": at("h", (1 - z) * n + z * s["h"])}


class MGU(Cell):
    """``h = (1 - f) h + f n``, a GRU with one gate (Zhou et al. 2016, "Minimal gated unit").

    Weights, columns `f n`: input_kernel ``[input, 2 units]``, recurrent_kernel ``[units, 2 units]``, bias
    ``[2 units]``.
    """

    gates = ("f", "n")
    products: ClassVar = {"recurrent": ("f",), "candidate": ("n",)}
    summed = gates
    fields = (*gates, "h")

    def step(self, w, s, x, dot, at):  # noqa: D102
        f = at("f", self.recurrent_activation(x["f"] + dot("recurrent", s["h"])["f"]))
        n = at("n", self.activation(x["n"] + dot("candidate", f * s["h"])["n"]))
        return {"h": at("h", (1 - f) * s["h"] + f * n)}


class CTRNN(Cell):
    """Leaky continuous-time rate network, ``v = (1 - a) v + a (W x + U h + b), h = tanh(v)``.

    The Euler step of ``tau dv/dt = -v + W x + U h + b`` with ``a = dt / tau`` (Song, Yang & Wang 2016).

    Args:
      leak: ``a``, between 0 and 1; stored with the weights as `leak`, not trained.

    Weights: input_kernel ``[input, units]``, recurrent_kernel ``[units, units]``, bias ``[units]``, leak ``[]``.
    """

    gates = ("v",)
    products: ClassVar = {"recurrent": ("v",)}
    summed = ("v",)
    fields = ("v", "h")
    state = ("v", "h")
    small: ClassVar = {"leak": ((), "ones")}
    leak: Fixed

    def __init__(self, input: int, units: int, *, leak: float = 0.2, rngs: nnx.Rngs, **options: Any):
        super().__init__(input, units, rngs=rngs, **options)
        self.leak[...] = jnp.asarray(leak, self.param_dtype)

    def step(self, w, s, x, dot, at):  # noqa: D102
        drive = x["v"] + dot("recurrent", s["h"])["v"]
        v = at("v", (1 - w["leak"]) * s["v"] + w["leak"] * drive)
        return {"v": v, "h": at("h", self.activation(v))}


class PeepholeLSTM(Cell):
    """An LSTM whose gates see the cell state (Gers & Schmidhuber 2000; Graves 2013).

    Weights, columns `i f g o`: input_kernel ``[input, 4 units]``, recurrent_kernel ``[units, 4 units]``, bias
    ``[4 units]``, peephole ``[3, units]`` (rows `i f o`).
    """

    gates = ("i", "f", "g", "o")
    products: ClassVar = {"recurrent": gates}
    summed = gates
    fields = ("i", "f", "g", "c", "o", "h")
    state = ("c", "h")
    small: ClassVar = {"peephole": ((3, "units"), "glorot_uniform")}

    def step(self, w, s, x, dot, at):  # noqa: D102
        q, p = dot("recurrent", s["h"]), w["peephole"][:, None]
        i = at("i", self.recurrent_activation(x["i"] + q["i"] + p[0] * s["c"]))
        f = at("f", self.recurrent_activation(x["f"] + q["f"] + p[1] * s["c"]))
        g = at("g", self.activation(x["g"] + q["g"]))
        c = at("c", f * s["c"] + i * g)
        o = at("o", self.recurrent_activation(x["o"] + q["o"] + p[2] * c))
        return {"c": c, "h": at("h", o * self.activation(c))}


def _normalise(parts: dict[str, jax.Array]) -> dict[str, jax.Array]:
    """Zero mean and unit variance over all gates' units together (layer norm, Ba et al. 2016)."""
    count = sum(v.shape[-1] for v in parts.values())
    mean = sum(v.sum(-1, keepdims=True) for v in parts.values()) / count
    variance = sum(((v - mean) ** 2).sum(-1, keepdims=True) for v in parts.values()) / count
    return {gate: (v - mean) * jax.lax.rsqrt(variance + 1e-5) for gate, v in parts.items()}


class LayerNormLSTM(Cell):
    """An LSTM with layer normalisation of input part, product and cell state (Ba, Kiros & Hinton 2016, eqs. 20-22).

    Weights, columns `i f g o`: input_kernel ``[input, 4 units]``, recurrent_kernel ``[units, 4 units]``; bias,
    input_scale and recurrent_scale ``[4 units]``; cell_scale and cell_shift ``[units]``.
    """

    gates = ("i", "f", "g", "o")
    products: ClassVar = {"recurrent": gates}
    fields = (*gates, "c", "h")
    state = ("c", "h")
    reduces_units = True
    bias_in_step = True
    small: ClassVar = {
        "input_scale": (("gates",), "ones"),
        "recurrent_scale": (("gates",), "ones"),
        "cell_scale": (("units",), "ones"),
        "cell_shift": (("units",), "zeros"),
    }

    def step(self, w, s, x, dot, at):  # noqa: D102
        x, q = _normalise(x), _normalise(dot("recurrent", s["h"]))
        scaled = {key: self.split(w[key][None]) for key in ("input_scale", "recurrent_scale", "bias") if key in w}
        z = {k: x[k] * scaled["input_scale"][k] + q[k] * scaled["recurrent_scale"][k] for k in self.gates}
        if "bias" in scaled:
            z = jax.tree.map(jnp.add, z, scaled["bias"])
        i, f, g, o = _lstm_gates(self, z, at)
        c = at("c", f * s["c"] + i * g)
        shown = _normalise({"c": c})["c"] * w["cell_scale"][None] + w["cell_shift"][None]
        return {"c": c, "h": at("h", o * self.activation(shown))}


class ProjectedLSTM(Cell):
    """An LSTM whose output is projected before it is fed back (Sak, Senior & Beaufays 2014).

    Args:
      projection: width of the output `h`; half the units if None.

    Weights, columns `i f g o`: input_kernel ``[input, 4 units]``, recurrent_kernel ``[projection, 4 units]``, bias
    ``[4 units]``, projection_kernel ``[units, projection]``. The unprojected output is the field `m`.
    """

    gates = ("i", "f", "g", "o")
    products: ClassVar = {"recurrent": gates, "projection": ("h",)}
    summed = gates
    fields = (*gates, "c", "m", "h")
    state = ("c", "h")
    small: ClassVar = {"projection_kernel": (("units", "output"), "glorot_uniform")}

    def __init__(self, input: int, units: int, *, projection: int | None = None, rngs: nnx.Rngs, **options: Any):
        width = projection or max(1, units // 2)
        super().__init__(input, units, output_width=width, rngs=rngs, **options)

    def step(self, w, s, x, dot, at):  # noqa: D102
        q = dot("recurrent", s["h"])
        i, f, g, o = _lstm_gates(self, {gate: x[gate] + q[gate] for gate in x}, at)
        c = at("c", f * s["c"] + i * g)
        m = at("m", o * self.activation(c))
        return {"c": c, "h": at("h", dot("projection", m)["h"])}


class LinearCell(Cell):
    """A cell whose step is ``a h + b``, neither `a` nor `b` depending on the state: a subclass writes `affine`."""

    products: ClassVar = {}

    @abc.abstractmethod
    def affine(self, w: dict[str, jax.Array], x: dict[str, Gate], at: At) -> tuple[Gate, Gate]:
        """``(a, b)``, each shaped like a gate of `x`: one step ``[batch, units]``, or all ``[time, batch, units]``."""

    def step(self, w, s, x, dot, at):  # noqa: D102
        a, b = self.affine(w, x, at)
        return {"h": at("h", a * s["h"] + b)}


class MinGRU(LinearCell):
    """``h = (1 - z) h + z n`` where gate and candidate see the input alone (Feng et al. 2024).

    Weights, columns `z n`: input_kernel ``[input, 2 units]``, bias ``[2 units]``.
    """

    gates = ("z", "n")
    fields = ("z", "n", "h")
    defaults: ClassVar = {"activation": "identity"}

    def affine(self, w, x, at):  # noqa: D102
        z = at("z", self.recurrent_activation(x["z"]))
        n = at("n", self.activation(x["n"]))
        return 1 - z, z * n


class FeedBack(Cell):
    """A cell that reads its own last answer: a decoder running freely, as one composite step.

    Every step multiplies the last answer by the input kernel and the new state by the readout, both inside the loop.
    The inner cell's input is what comes from outside (the first ``cell.input - vocab`` features; possibly none),
    followed by the answer fed back. It holds no weights but those of the two modules it is made of, so that the same
    modules can be trained with the right answers fed in (teacher forcing) and run freely afterwards.

    Args:
      cell: the inner cell; its last `vocab` inputs are the answer.
      readout: a linear layer from the cell's output to ``vocab`` logits.
      feed: what is fed back: the likeliest symbol as a one-hot row (`greedy`, no gradient), or the `probabilities`.

    State: that of the cell, `logits` (the output) and `y` (what is fed back; zero before the first answer).

    Raises:
      InputError: the cell has fewer inputs than there are symbols, or `feed` is neither of the two.
    """

    output = "logits"

    def __init__(self, cell: Cell, readout: nnx.Linear, *, feed: str = "greedy"):
        self.cell, self.readout = cell, readout
        self.vocab = readout.out_features
        if cell.input < self.vocab:
            raise InputError(
                f"a cell of {cell.input} inputs",
                "in cells.FeedBack",
                f"give it at least {self.vocab}, one a symbol",
            )
        self.feed = lookup({"greedy": "greedy", "probabilities": "probabilities"}, feed, "feed")
        self.input, self.units, self.dtype = cell.input - self.vocab, cell.units, cell.dtype
        self.gates, self.summed = cell.gates, cell.summed
        self.fields, self.state = (*cell.fields, "logits", "y"), (*cell.state, "logits", "y")
        self.reduces_units = cell.reduces_units
        self.state_widths = (*cell.state_widths, self.vocab, self.vocab)

    @property
    def products(self) -> dict[str, tuple[str, ...]]:
        """Those of the cell, the product of the answer fed back, and the readout."""
        return {**self.cell.products, "feedback": self.cell.gates, "readout": ("logits",)}

    def weights(self) -> Weights:
        """Those of the cell, its input kernel cut in two, and the readout."""
        inner = self.cell.weights()
        kernels = {
            **inner.kernels,
            "feedback": inner.input_kernel[self.input :],
            "readout": self.readout.kernel[...],
        }
        small = dict(inner.small)
        if self.readout.bias is not None:
            small["readout_bias"] = self.readout.bias[...]
        return Weights(inner.input_kernel[: self.input], inner.bias, kernels, small)

    def step(self, w, s, x, dot, at):  # noqa: D102
        fed = dot("feedback", s["y"])
        after = self.cell.step(w, s, {gate: x[gate] + fed[gate] for gate in x}, dot, at)
        logits = dot("readout", after[self.cell.output])["logits"]
        logits = at("logits", logits + w["readout_bias"][None] if "readout_bias" in w else logits)
        if self.feed == "greedy":
            answer = jax.nn.one_hot(jnp.argmax(logits, -1), self.vocab, dtype=logits.dtype)
        else:
            answer = jax.nn.softmax(logits)
        return {**after, "logits": logits, "y": at("y", answer)}


CELLS: dict[str, type[Cell]] = {
    "elman": Elman,
    "lstm": LSTM,
    "gru": GRU,
    "gru_before": GRUBefore,
    "mgu": MGU,
    "ctrnn": CTRNN,
    "peephole_lstm": PeepholeLSTM,
    "layer_norm_lstm": LayerNormLSTM,
    "projected_lstm": ProjectedLSTM,
    "min_gru": MinGRU,
}
