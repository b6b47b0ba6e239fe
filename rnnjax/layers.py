"""Layers and models made of cells: flax.nnx modules that compose with any other.

A layer called like a function gives its outputs, so that it fits into ``nnx.Sequential`` and the like; its method
`unroll` gives everything else too (final state, records, plan). Randomness comes in by ``key``: a key means training
(dropout acts), none means evaluation. Rates and other numbers are stored as `Fixed` variables: part of the model's
state, not of its trained parameters, so that members of a population may differ in them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import pairwise
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from rnnjax import config
from rnnjax.cells import ACTIVATIONS, CELLS, INITIALIZERS, Cell, FeedBack, Fixed, lookup
from rnnjax.config import InputError, nearest
from rnnjax.executors import EXECUTORS, Plan
from rnnjax.sequence import Edit, Edits, Record, Records, as_edits, as_records, recordable
from rnnjax.unroll import Embedded, Unrolled, dropout_mask, looked_at, unroll

MERGES = {
    "concat": lambda f, b: jnp.concatenate([f, b], axis=-1),
    "sum": lambda f, b: f + b,
    "multiply": lambda f, b: f * b,
    "average": lambda f, b: (f + b) / 2,
    "none": lambda f, b: (f, b),
}
"""How a bidirectional layer joins its two outputs."""

READOUT = ("logits", "probabilities")
"""What can be recorded of a model beside its layers: its outputs, and their softmax."""


def _fixed(value: Any) -> Fixed | None:
    return None if value is None else Fixed(jnp.asarray(value, jnp.float32))


def _value(variable: Fixed | None) -> jax.Array | None:
    return None if variable is None else variable[...]


class Recurrent(nnx.Module):
    """A recurrent layer: a cell unrolled over time.

    Args:
      cell: the cell, with its weights.
      reverse: whether to go from the last step to the first.
      learned_initial: whether the initial state is a trained parameter (one row, shared by all sequences).
      recurrent_dropout: rate at which units of the recurrent operand are dropped, one mask for all steps.
      zoneout: rate at which units keep their old value, for all fields of the state.
      executor, remat, truncate, unroll: as in `rnnjax.unroll`.
    """

    def __init__(
        self,
        cell: Cell,
        *,
        reverse: bool = False,
        learned_initial: bool = False,
        recurrent_dropout: float | None = None,
        zoneout: float | None = None,
        executor: str = "auto",
        remat: str | int | None = None,
        truncate: int | None = None,
        unroll: int = 1,
    ):
        self.cell, self.reverse = cell, reverse
        self.executor, self.remat, self.truncate, self.steps_unrolled = executor, remat, truncate, unroll
        self.recurrent_dropout, self.zoneout = _fixed(recurrent_dropout), _fixed(zoneout)
        self.initial = nnx.Param(jnp.zeros(sum(cell.state_widths), cell.state_dtype)) if learned_initial else None

    @property
    def width(self) -> int:
        """Features of the output."""
        return self.cell.widths[self.cell.output]

    @property
    def recordable(self) -> dict[str, int]:
        """Everything that can be recorded, and its units."""
        return recordable(self.cell)

    def initial_state(self, batch: int) -> dict[str, jax.Array]:
        """The state before the first step, by field, each ``[batch, units]``."""
        if self.initial is None:
            return self.cell.initial_state(batch)
        rows = jnp.split(self.initial[...], np.cumsum(self.cell.state_widths)[:-1].tolist())
        return {f: jnp.broadcast_to(row, (batch, row.shape[0])) for f, row in zip(self.cell.state, rows, strict=True)}

    def unroll(
        self,
        inputs: jax.Array | Embedded,
        *,
        state: Mapping[str, jax.Array] | None = None,
        record: Records = (),
        edit: Edits = None,
        key: jax.Array | None = None,
        **steps: Any,
    ) -> Unrolled:
        """Runs the layer; arguments as in `rnnjax.unroll` (`lengths`, `mask`, `reset` and `time_major` by name)."""
        values = inputs.tokens if isinstance(inputs, Embedded) else inputs
        batch = values.shape[1 if steps.get("time_major") else 0]
        rate = _value(self.zoneout)
        return unroll(
            self.cell,
            inputs,
            state=state,
            initial=self.initial_state(batch),
            reverse=self.reverse,
            record=record,
            edit=edit,
            key=key,
            recurrent_dropout=_value(self.recurrent_dropout),
            zoneout=None if rate is None else dict.fromkeys(self.cell.state, rate),
            executor=self.executor,
            remat=self.remat,
            truncate=self.truncate,
            unroll=self.steps_unrolled,
            **steps,
        )

    def last_output(self, state: Mapping[str, jax.Array]) -> jax.Array:
        """The output at the last step that exists, from the final state: ``[batch, units]``."""
        return state[self.cell.output]

    def __call__(self, inputs: jax.Array | Embedded, **options: Any) -> Any:
        """The outputs alone, ``[batch, time, units]``; options as in `unroll`."""
        return self.unroll(inputs, **options).outputs


class Bidirectional(nnx.Module):
    """Two layers over the same input, one in each direction.

    Args:
      forward: the layer that goes from the first step to the last.
      backward: the layer that goes from the last step to the first.
      merge: how outputs are joined: a name of `MERGES`; `none` gives the pair.

    State and records have names such as `forward.h`. A `reset` marks the first step of a new sequence in the order of
    the input, for both directions.
    """

    def __init__(self, forward: Recurrent, backward: Recurrent, *, merge: str = "concat"):
        if forward.reverse or not backward.reverse:
            raise InputError(
                "directions the wrong way round",
                "in Bidirectional",
                "give backward a layer with reverse=True",
            )
        lookup(MERGES, merge, "merge")
        self.forward, self.backward, self.merge = forward, backward, merge

    @property
    def width(self) -> int:
        """Features of the output."""
        return self.forward.width + self.backward.width if self.merge == "concat" else self.forward.width

    @property
    def recordable(self) -> dict[str, int]:
        """Everything that can be recorded, by direction and field, and its units."""
        return _joined({"forward": self.forward.recordable, "backward": self.backward.recordable})

    def initial_state(self, batch: int) -> dict[str, jax.Array]:
        """The state before the first step, by direction and field."""
        pair = {"forward": self.forward.initial_state(batch), "backward": self.backward.initial_state(batch)}
        return _joined(pair)

    def unroll(
        self,
        inputs: jax.Array | Embedded,
        *,
        state: Mapping[str, jax.Array] | None = None,
        record: Records = (),
        edit: Edits = None,
        key: jax.Array | None = None,
        reset: jax.Array | None = None,
        **steps: Any,
    ) -> Unrolled:
        """Runs both directions; arguments as in `Recurrent.unroll`."""
        records, edits = _placed(record, edit, self.recordable)
        keys = _keys(key, 2)
        resets = (reset, None if reset is None else _backward_reset(reset, steps))
        found = {}
        for name, layer_key, layer_reset in zip(("forward", "backward"), keys, resets, strict=True):
            found[name] = getattr(self, name).unroll(
                inputs,
                state=_within(state, name),
                record=_records_within(records, name),
                edit=_edits_within(edits, name),
                key=layer_key,
                reset=layer_reset,
                **steps,
            )
        forward, backward = found["forward"], found["backward"]
        return Unrolled(
            MERGES[self.merge](forward.outputs, backward.outputs),
            _joined({name: result.state for name, result in found.items()}),
            _joined({name: result.recorded for name, result in found.items()}),
            _plans(found),
        )

    def last_output(self, state: Mapping[str, jax.Array]) -> Any:
        """What each direction gives when it has read everything, joined, from the final state: ``[batch, units]``."""
        forward, backward = (
            getattr(self, name).last_output(_within(state, name) or {}) for name in ("forward", "backward")
        )
        return MERGES[self.merge](forward, backward)

    def __call__(self, inputs: jax.Array | Embedded, **options: Any) -> Any:
        """The joined outputs alone; options as in `unroll`."""
        return self.unroll(inputs, **options).outputs


class Stack(nnx.Module):
    """Recurrent layers one after the other, of any widths.

    Args:
      layers: `Recurrent` and `Bidirectional` layers; each reads what the one before gives.
      dropout: rate at which outputs between layers are dropped, each step by itself.
      residual: whether each layer but the first adds its input (before dropout) to its output, where widths agree.

    State and records have names such as `0.h`: the layer's place in the stack, then the field.
    """

    def __init__(
        self,
        layers: Sequence[Recurrent | Bidirectional],
        *,
        dropout: float | None = None,
        residual: bool = False,
    ):
        if not layers:
            raise InputError("a stack of no layers", "in Stack", "give at least one layer")
        self.layers, self.residual = nnx.List(layers), residual
        self.dropout = _fixed(dropout)

    @property
    def width(self) -> int:
        """Features of the output."""
        return self.layers[-1].width

    @property
    def recordable(self) -> dict[str, int]:
        """Everything that can be recorded, by layer and field, and its units."""
        return _joined({str(k): layer.recordable for k, layer in enumerate(self.layers)})

    @property
    def watched(self) -> tuple[str, ...]:
        """What is recorded where nothing else is asked for: the first layer's output."""
        first = self.layers[0]
        if isinstance(first, Bidirectional):
            pair = {"forward": first.forward, "backward": first.backward}
            return tuple(f"0.{name}.{layer.cell.output}" for name, layer in pair.items())
        return (f"0.{first.cell.output}",)

    def initial_state(self, batch: int) -> dict[str, jax.Array]:
        """The state before the first step, by layer and field."""
        return _joined({str(k): layer.initial_state(batch) for k, layer in enumerate(self.layers)})

    def unroll(
        self,
        inputs: jax.Array | Embedded,
        *,
        state: Mapping[str, jax.Array] | None = None,
        record: Records = (),
        edit: Edits = None,
        key: jax.Array | None = None,
        **steps: Any,
    ) -> Unrolled:
        """Runs all layers; arguments as in `Recurrent.unroll`."""
        records, edits = _placed(record, edit, self.recordable)
        results: dict[str, Unrolled] = {}
        values: Any = inputs
        rate = _value(self.dropout)
        for k, layer in enumerate(self.layers):
            name = str(k)
            layer_key, drop_key = _keys(None if key is None else jax.random.fold_in(key, k), 2)
            read = values
            if k and rate is not None and drop_key is not None:
                read = values * dropout_mask(drop_key, rate, values.shape, values.dtype)
            results[name] = layer.unroll(
                read,
                state=_within(state, name),
                record=_records_within(records, name),
                edit=_edits_within(edits, name),
                key=layer_key,
                **steps,
            )
            outputs = results[name].outputs
            adds = self.residual and k and outputs.shape == values.shape
            values = outputs + values if adds else outputs
        return Unrolled(
            values,
            _joined({name: result.state for name, result in results.items()}),
            _joined({name: result.recorded for name, result in results.items()}),
            _plans(results),
        )

    def last_output(self, state: Mapping[str, jax.Array]) -> Any:
        """The last layer's output when it has read everything, from the final state: ``[batch, units]``.

        Raises:
          InputError: residual layers, whose outputs are no part of the state.
        """
        if self.residual and len(self.layers) > 1:
            raise InputError(
                "residual layers read at the last step", "in Stack", "read every step, or set residual=False"
            )
        last = str(len(self.layers) - 1)
        return self.layers[-1].last_output(_within(state, last) or {})

    def __call__(self, inputs: jax.Array | Embedded, **options: Any) -> Any:
        """The last layer's outputs alone, ``[batch, time, units]``; options as in `unroll`."""
        return self.unroll(inputs, **options).outputs


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Prediction:
    """What a model gives.

    Attributes:
      outputs: logits or numbers, ``[batch, time, outputs]``; ``[batch, outputs]`` if only the last step is read.
      hidden: outputs of the last hidden layer, ``[batch, time, units]``, with gradient (for activity penalties).
      shown: what of them the readout reads, ``[batch, time, units]``; ``[batch, units]`` if only the last step is read.
      state: final state by layer and field.
      recorded: what was recorded, by layer and field; `logits` (the outputs) and `probabilities` (their softmax) are of
        one step if only the last is read.
      plan: which executor ran, by layer.
    """

    outputs: jax.Array
    hidden: jax.Array
    shown: jax.Array
    state: dict[str, jax.Array]
    recorded: dict[str, Any]
    plan: tuple[tuple[str, Plan], ...] = dataclasses.field(metadata={"static": True})


class SequenceModel(nnx.Module):
    """Input, recurrent layers, linear readout.

    Args:
      stack: the recurrent layers.
      outputs: features of the readout (symbols, classes, numbers).
      embedding: what symbols are embedded in; None reads one-hot rows or numbers.
      read: `every` step, or the `last` valid one.
      input_dropout: rate at which input features are dropped, one mask for all steps.
      rngs: where the readout's initial weights come from.
    """

    def __init__(
        self,
        stack: Stack,
        outputs: int,
        *,
        embedding: nnx.Embed | None = None,
        read: str = "every",
        input_dropout: float | None = None,
        rngs: nnx.Rngs,
    ):
        self.embedding, self.stack = embedding, stack
        self.read = lookup({"every": "every", "last": "last"}, read, "read")
        self.input_dropout = _fixed(input_dropout)
        self.readout = nnx.Linear(
            stack.width,
            outputs,
            kernel_init=INITIALIZERS["glorot_uniform"],
            param_dtype=_param_dtype(stack),
            rngs=rngs,
        )

    def initial_state(self, batch: int) -> dict[str, jax.Array]:
        """The state before the first step, by layer and field."""
        return self.stack.initial_state(batch)

    def unroll(
        self,
        inputs: jax.Array,
        *,
        record: Records = (),
        edit: Edits = None,
        key: jax.Array | None = None,
        **options: Any,
    ) -> Prediction:
        """Runs the model on symbols ``[batch, time]`` or numbers ``[batch, time, input]``; see `Stack.unroll`."""
        if options.get("time_major"):
            raise InputError("time_major for a model", "in SequenceModel", "give it [batch, time, ...]")
        records, edits = _placed(record, edit, self.recordable)
        stack_key, drop_key = _keys(key, 2)
        read = _read(self.embedding, self.input_dropout, _first_cell(self.stack).input, inputs, drop_key)
        inside = {"record": _of_layers(records), "edit": _of_layers(edits)}
        result = self.stack.unroll(read, key=stack_key, **inside, **options)
        hidden = result.outputs
        shown = hidden if self.read == "every" else self.stack.last_output(result.state)
        exist = partial(existing, inputs.shape[:2], options.get("lengths"), options.get("mask"))
        outputs, seen = _read_out(self.readout(shown), records, edits, exist if self.read == "every" else None)
        return Prediction(outputs, hidden, shown, result.state, result.recorded | seen, _named(result.plan))

    @property
    def recordable(self) -> dict[str, int]:
        """Everything that can be recorded, and its units: by layer and field, and what is read out."""
        return self.stack.recordable | dict.fromkeys(READOUT, self.readout.out_features)

    @property
    def watched(self) -> tuple[str, ...]:
        """What is recorded where nothing else is asked for: the first layer's output."""
        return self.stack.watched

    def __call__(self, inputs: jax.Array, **options: Any) -> jax.Array:
        """The readout alone; options as in `unroll`."""
        return self.unroll(inputs, **options).outputs


class Attention(nnx.Module):
    """Looks back at what was read: ``tanh(W [h, c])``, `c` a mean of the encoder's outputs weighted by ``h A s``
    (Luong et al. 2015, "Effective approaches to attention-based neural machine translation", the general score).

    Args:
      width: features of the decoder's output `h`.
      source: features of the encoder's outputs `s`.
      rngs: where initial weights come from.
    """

    def __init__(self, width: int, source: int, *, param_dtype: Any = jnp.float32, rngs: nnx.Rngs):
        options = {"kernel_init": INITIALIZERS["glorot_uniform"], "param_dtype": param_dtype, "rngs": rngs}
        self.score = nnx.Linear(width, source, use_bias=False, **options)
        self.combine = nnx.Linear(width + source, width, **options)

    def weigh(self, hidden: jax.Array, read: jax.Array, valid: jax.Array) -> jax.Array:
        """How much each answer looks at each step that was read, ``[batch, answers, time]``."""
        scores = jnp.einsum("bau,btu->bat", self.score(hidden), read)
        return jax.nn.softmax(jnp.where(valid[:, None], scores, -1e30), axis=-1)

    def __call__(self, hidden: jax.Array, read: jax.Array, valid: jax.Array) -> jax.Array:
        """The decoder's outputs ``[batch, answers, units]`` with what they look at.

        Args:
          hidden: outputs of the decoder, ``[batch, answers, units]``.
          read: outputs of the encoder, ``[batch, time, features]``.
          valid: steps that were read, ``[batch, time]``.
        """
        seen = jnp.einsum("bat,btu->bau", self.weigh(hidden, read, valid), read)
        return jnp.tanh(self.combine(jnp.concatenate([hidden, seen], axis=-1)))


class EncoderDecoder(nnx.Module):
    """Reads a sequence, then writes another.

    Args:
      encoder: reads; its last output is the context.
      decoder: writes. A `Stack` reads the context again at every step (repeat-vector); a `FeedBack` cell reads the
        context and its own last answer.
      outputs: features of the readout; needed with a `Stack`, a `FeedBack` cell having its own.
      answer_steps: answers to write, where a call does not say.
      embedding: what symbols are embedded in; None reads one-hot rows or numbers.
      input_dropout: rate at which input features are dropped, one mask for all steps.
      attention: whether answers look back at all that was read; the `Stack` then reads its own last answer too.
      rngs: where the initial weights of readout and attention come from.

    Records have names such as `encoder.0.h` and `decoder.0.h`, the latter ``[batch, answers, units]``, as are `logits`
    and `probabilities`. An edit of `logits` acts on what is given back; what a `FeedBack` cell that writes freely feeds
    back is `decoder.0.logits` and `decoder.0.y`.
    """

    read = "answer"

    def __init__(
        self,
        encoder: Stack,
        decoder: Stack | FeedBack,
        *,
        outputs: int | None = None,
        answer_steps: int = 1,
        embedding: nnx.Embed | None = None,
        input_dropout: float | None = None,
        attention: bool = False,
        rngs: nnx.Rngs | None = None,
    ):
        reads = decoder.input if isinstance(decoder, FeedBack) else _first_cell(decoder).input
        expected = encoder.width + (outputs or 0 if attention else 0)
        if reads != expected:
            raise InputError(
                f"a decoder of {reads} context features",
                "in EncoderDecoder",
                f"the encoder gives {encoder.width}" + (f", the last answer {outputs}" if attention else ""),
            )
        self.embedding, self.encoder = embedding, encoder
        self.decoder: Any = decoder
        self.answer_steps, self.input_dropout = answer_steps, _fixed(input_dropout)
        attended: Attention | None = None
        readout: nnx.Linear | None = None
        if not isinstance(decoder, FeedBack):
            if outputs is None or rngs is None:
                raise InputError("a readout of no width", "in EncoderDecoder", "give outputs= and rngs=")
            init, dtype = INITIALIZERS["glorot_uniform"], _param_dtype(decoder)
            if attention:
                attended = Attention(decoder.width, encoder.width, param_dtype=dtype, rngs=rngs)
            readout = nnx.Linear(decoder.width, outputs, kernel_init=init, param_dtype=dtype, rngs=rngs)
        self.attention: Any = attended
        self.readout: Any = readout

    @property
    def vocab(self) -> int:
        """Symbols of an answer."""
        return self.decoder.vocab if self.readout is None else self.readout.out_features

    @property
    def watched(self) -> tuple[str, ...]:
        """What is recorded where nothing else is asked for: the decoder's output."""
        if isinstance(self.decoder, FeedBack):
            return (f"decoder.0.{self.decoder.cell.output}",)
        return tuple(f"decoder.{name}" for name in self.decoder.watched)

    @property
    def recordable(self) -> dict[str, int]:
        """Everything that can be recorded whatever way it writes, and its units."""
        decoder = self.decoder
        written = _joined({"0": recordable(decoder.cell)}) if isinstance(decoder, FeedBack) else decoder.recordable
        layers = _joined({"encoder": self.encoder.recordable, "decoder": written})
        return layers | dict.fromkeys(READOUT, self.vocab)

    def unroll(
        self,
        inputs: jax.Array,
        *,
        steps: int | None = None,
        lengths: jax.Array | None = None,
        mask: jax.Array | None = None,
        reset: jax.Array | None = None,
        state: Any = None,
        answers: jax.Array | None = None,
        record: Records = (),
        edit: Edits = None,
        key: jax.Array | None = None,
    ) -> Prediction:
        """Reads and writes.

        Args:
          inputs: what is read, ``[batch, time]`` symbols or ``[batch, time, input]`` numbers.
          steps: answers to write; `answer_steps` if None.
          lengths: valid steps of each row of `inputs`.
          mask: which steps of `inputs` exist.
          reset: where rows of `inputs` start anew.
          state: of the encoder before the first step.
          answers: the right answers ``[batch, steps]``, fed back in place of the decoder's own (teacher forcing).
          record: quantities to record.
          edit: changes inside the loops.
          key: randomness of dropout; None means evaluation.

        Raises:
          InputError: an unknown name, or records of a decoder with attention that writes freely.
        """
        steps = self.answer_steps if steps is None else steps
        records, edits = _placed(record, edit, self.recordable)
        read_key, write_key, drop_key = _keys(key, 3)
        read = self.encoder.unroll(
            _read(self.embedding, self.input_dropout, _first_cell(self.encoder).input, inputs, drop_key),
            lengths=lengths,
            mask=mask,
            reset=reset,
            state=state,
            record=_records_within(records, "encoder"),
            edit=_edits_within(edits, "encoder"),
            key=read_key,
        )
        context = self.encoder.last_output(read.state)
        repeated = jnp.broadcast_to(context[:, None], (context.shape[0], steps, context.shape[1]))
        looked = {"record": _records_within(records, "decoder"), "edit": _edits_within(edits, "decoder")}
        if self.attention is None:
            outputs, written = self._write(repeated, answers, looked, write_key)
        else:
            valid = existing(inputs.shape[:2], lengths, mask)
            if answers is None:
                if any(looked.values()):
                    raise InputError(
                        "a decoder that looks back and writes freely",
                        "among what to record or edit",
                        "give answers= (such as those of `write`), or record the encoder",
                    )
                answers = self._freely(repeated, read.outputs, valid)
            written = self.decoder.unroll(self._with_answers(repeated, answers), key=write_key, **looked)
            outputs = self.readout(self.attention(written.outputs, read.outputs, valid))
        results, hidden = {"encoder": read, "decoder": written}, written.outputs
        outputs, seen = _read_out(outputs, records, edits)
        recorded = _joined({name: result.recorded for name, result in results.items()}) | seen
        return Prediction(outputs, hidden, hidden, read.state, recorded, _plans(results))

    def write(self, inputs: jax.Array, **options: Any) -> jax.Array:
        """The likeliest answers, each fed back before the next is drawn: symbols ``[batch, answers]``.

        Args:
          inputs: what is read.
          options: as in `unroll`.
        """
        return jnp.argmax(self.unroll(inputs, **options).outputs, axis=-1)

    def initial_state(self, batch: int) -> dict[str, jax.Array]:
        """The encoder's state before the first step, by layer and field."""
        return self.encoder.initial_state(batch)

    def _write(
        self, repeated: jax.Array, answers: jax.Array | None, looked: dict[str, Any], key: Any
    ) -> tuple[jax.Array, Unrolled]:
        """Logits and all else of a decoder without attention."""
        if not isinstance(self.decoder, FeedBack):
            written = self.decoder.unroll(repeated, key=key, **looked)
            return self.readout(written.outputs), written
        cell = self.decoder if answers is None else self.decoder.cell
        records, edits = _placed(**looked, known=_joined({"0": recordable(cell)}))
        options = {"record": _records_within(records, "0"), "edit": _edits_within(edits, "0")}
        if answers is None:
            written = unroll(cell, repeated, **options)
            outputs = written.outputs
        else:
            written = unroll(cell, self._with_answers(repeated, answers), key=key, **options)
            outputs = self.decoder.readout(written.outputs)
        return outputs, dataclasses.replace(written, recorded=_joined({"0": written.recorded}))

    def _with_answers(self, repeated: jax.Array, answers: jax.Array) -> jax.Array:
        """What a decoder reads at every step: the context, and the answer before."""
        before = jax.nn.one_hot(answers, self.vocab, dtype=repeated.dtype)
        before = jnp.pad(before, ((0, 0), (1, 0), (0, 0)))[:, :-1]
        return jnp.concatenate([repeated, before], axis=-1)

    def _freely(self, repeated: jax.Array, read: jax.Array, valid: jax.Array) -> jax.Array:
        """The likeliest answers of a decoder with attention, one after the other, ``[batch, answers]``."""
        rows = repeated.shape[0]

        def step(carry, context):
            state, before = carry
            after = self.decoder.unroll(jnp.concatenate([context, before], axis=-1)[:, None], state=state)
            logits = self.readout(self.attention(after.outputs, read, valid))[:, 0]
            answer = jnp.argmax(logits, axis=-1)
            return (after.state, jax.nn.one_hot(answer, self.vocab, dtype=before.dtype)), answer

        start = (self.decoder.initial_state(rows), jnp.zeros((rows, self.vocab), repeated.dtype))
        return jax.lax.scan(step, start, jnp.swapaxes(repeated, 0, 1))[1].T

    def __call__(self, inputs: jax.Array, steps: int | None = None, **options: Any) -> jax.Array:
        """Logits alone, ``[batch, steps, outputs]``; options as in `unroll`."""
        return self.unroll(inputs, steps=steps, **options).outputs


class FeedForward(nnx.Module):
    """A multilayer perceptron: what a recurrent network is compared with.

    Args:
      inputs: symbols, or features of an input step.
      widths: of the hidden layers.
      outputs: features of the readout.
      read: `last`: the whole example, flattened, is read at once; `every`: each step by itself.
      length: steps of an example, where it is read at once.
      activation: of the hidden layers.
      embedding: what symbols are embedded in; None reads one-hot rows or numbers.
      dropout: rate at which features of hidden layers are dropped.
      rngs: where initial weights come from.

    Records and edits have names such as `0.h`: the layer's place, then its output, ``[batch, time, units]`` (one step
    where the example is read at once).
    """

    def __init__(
        self,
        inputs: int,
        widths: Sequence[int],
        outputs: int,
        *,
        read: str,
        length: int = 1,
        activation: Any = "relu",
        embedding: nnx.Embed | None = None,
        dropout: float | None = None,
        param_dtype: Any = jnp.float32,
        rngs: nnx.Rngs,
    ):
        self.read = lookup({"every": "every", "last": "last"}, read, "read of a feed-forward network")
        if read == "last" and length < 1:
            raise InputError(
                "a feed-forward network on sequences of any length", "in model.cell", "choose a recurrent cell"
            )
        self.input = inputs if embedding is None else embedding.features
        self.embedding, self.length = embedding, length if read == "last" else 1
        self.activation = lookup(ACTIVATIONS, activation, "activation")
        sizes = [self.input * self.length, *widths]
        options = {"kernel_init": INITIALIZERS["glorot_uniform"], "param_dtype": param_dtype, "rngs": rngs}
        self.layers = nnx.List(nnx.Linear(a, b, **options) for a, b in pairwise(sizes))
        self.dropout = _fixed(dropout)
        self.readout = nnx.Linear(sizes[-1], outputs, **options)

    def initial_state(self, batch: int) -> dict[str, jax.Array]:
        """Nothing: it has no state."""
        return {}

    @property
    def watched(self) -> tuple[str, ...]:
        """What is recorded where nothing else is asked for: the first hidden layer."""
        return ("0.h",)

    @property
    def recordable(self) -> dict[str, int]:
        """Everything that can be recorded, and its units: the hidden layers, and what is read out."""
        hidden = {f"{k}.h": layer.out_features for k, layer in enumerate(self.layers)}
        return hidden | dict.fromkeys(READOUT, self.readout.out_features)

    def unroll(
        self,
        inputs: jax.Array,
        *,
        state: Any = None,
        lengths: jax.Array | None = None,
        mask: jax.Array | None = None,
        reset: jax.Array | None = None,
        record: Records = (),
        edit: Edits = None,
        key: jax.Array | None = None,
    ) -> Prediction:
        """Runs the network; steps that do not exist are read as zeros. Arguments as in `Stack.unroll`.

        Raises:
          InputError: an example of another length than it was made for, or a name it does not have.
        """
        records, edits = as_records(record), as_edits(edit)
        for asked in (*records, *edits):
            lookup(self.recordable, asked.field, "quantity", "among what to record or edit")
        values = _read(self.embedding, None, self.input, inputs, None)
        if isinstance(values, Embedded):
            values = values.table[values.tokens]
        elif jnp.issubdtype(values.dtype, jnp.integer):
            values = jax.nn.one_hot(values, self.input)
        valid: Any = existing(inputs.shape[:2], lengths, mask)
        values = jnp.where(valid[..., None], values, 0)
        if self.read == "last":
            if values.shape[1] != self.length:
                raise InputError(
                    f"an example of {values.shape[1]} steps",
                    "in a feed-forward network",
                    f"it reads {self.length}, no more and no fewer: choose a recurrent cell",
                )
            values, valid = values.reshape(values.shape[0], 1, -1), None
        rate, recorded = _value(self.dropout), {}
        for k, layer in enumerate(self.layers):
            values, seen = looked_at(f"{k}.h", self.activation(layer(values)), records, edits, valid)
            recorded |= seen
            if rate is not None and key is not None:
                values = values * dropout_mask(jax.random.fold_in(key, k), rate, values.shape, values.dtype)
        outputs, seen = _read_out(self.readout(values), records, edits, None if valid is None else lambda: valid)
        if self.read == "last":
            return Prediction(outputs[:, 0], values, values[:, 0], {}, recorded | seen, ())
        return Prediction(outputs, values, values, {}, recorded | seen, ())

    def __call__(self, inputs: jax.Array, **options: Any) -> jax.Array:
        """The readout alone; options as in `unroll`."""
        return self.unroll(inputs, **options).outputs


def _read(
    embedding: nnx.Embed | None, dropout: Fixed | None, width: int, inputs: jax.Array, drop_key: jax.Array | None
) -> jax.Array | Embedded:
    """What a first layer of `width` features reads; an embedding stays a table unless dropout needs its rows."""
    rate = _value(dropout)
    # The last row stands for no symbol.
    table = None if embedding is None else jnp.pad(embedding.embedding[...], ((0, 1), (0, 0)))
    if rate is None or drop_key is None:
        return inputs if table is None else Embedded(inputs, table)
    if table is not None:
        values = table[inputs]
    elif jnp.issubdtype(inputs.dtype, jnp.integer):
        values = jax.nn.one_hot(inputs, width)
    else:
        values = inputs
    return values * dropout_mask(drop_key, rate, (values.shape[0], 1, values.shape[-1]), values.dtype)


def existing(shape: tuple[int, ...], lengths: jax.Array | None, mask: jax.Array | None) -> jax.Array:
    """Which steps exist, ``[batch, time]``."""
    steps = jnp.ones(shape, bool) if mask is None else mask
    return steps if lengths is None else steps & (jnp.arange(shape[1])[None] < jnp.asarray(lengths)[:, None])


def _param_dtype(stack: Stack) -> Any:
    return _first_cell(stack).param_dtype


def _first_cell(stack: Stack) -> Cell:
    first = stack.layers[0]
    return first.forward.cell if isinstance(first, Bidirectional) else first.cell


def _keys(key: jax.Array | None, count: int) -> Sequence[jax.Array | None]:
    return [None] * count if key is None else list(jax.random.split(key, count))


def _backward_reset(reset: jax.Array, steps: Mapping[str, Any]) -> jax.Array:
    """Where the backward direction starts anew: at the last step that exists before one where the forward one does."""
    swap = (lambda v: v.T) if steps.get("time_major") else (lambda v: v)
    marks = swap(jnp.asarray(reset, bool))
    places = jnp.arange(marks.shape[1])[None]
    mask, lengths = steps.get("mask"), steps.get("lengths")
    valid = jnp.ones_like(marks) if mask is None else swap(jnp.asarray(mask, bool))
    if lengths is not None:
        valid = valid & (places < jnp.asarray(lengths)[:, None])
    end = marks.shape[1]
    following = jax.lax.cummin(jnp.where(valid, places, end), axis=1, reverse=True)
    following = jnp.pad(following[:, 1:], ((0, 0), (0, 1)), constant_values=end)
    return swap(jnp.take_along_axis(jnp.pad(marks, ((0, 0), (0, 1))), following, axis=1))


def _joined(parts: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    return {f"{name}.{field}": value for name, part in parts.items() for field, value in part.items()}


def _plans(parts: Mapping[str, Unrolled]) -> tuple[tuple[str, Plan], ...]:
    """The plans of all layers by name."""
    found: list[tuple[str, Plan]] = []
    for name, part in parts.items():
        found += [(f"{name}.{place}".rstrip("."), plan) for place, plan in _named(part.plan)]
    return tuple(found)


def _named(plan: Plan | tuple[tuple[str, Plan], ...]) -> tuple[tuple[str, Plan], ...]:
    return (("", plan),) if isinstance(plan, Plan) else plan


def _within(state: Mapping[str, jax.Array] | None, name: str) -> dict[str, jax.Array] | None:
    if state is None:
        return None
    return {path.removeprefix(f"{name}."): value for path, value in state.items() if path.startswith(f"{name}.")}


def _records_within(records: Sequence[Record], place: str) -> tuple[Record, ...]:
    start = f"{place}."
    within = (r for r in records if r.field.startswith(start))
    return tuple(dataclasses.replace(r, field=r.field.removeprefix(start)) for r in within)


def _edits_within(edits: Sequence[Edit], place: str) -> tuple[Edit, ...]:
    start = f"{place}."
    within = (e for e in edits if e.field.startswith(start))
    return tuple(dataclasses.replace(e, field=e.field.removeprefix(start)) for e in within)


def _placed(record: Records, edit: Edits, known: Mapping[str, int]) -> tuple[tuple[Record, ...], tuple[Edit, ...]]:
    """What is recorded and edited, once each is seen to be in a place that `known` has; its layer knows its fields."""
    records, edits = as_records(record), as_edits(edit)
    places = list(dict.fromkeys(name.partition(".")[0] for name in known if "." in name))
    for name in (asked.field for asked in (*records, *edits)):
        place, _, field = name.partition(".")
        if not (name in known or (place in places and field)):
            whole = " or ".join(f"'{name}'" for name in known if "." not in name)
            example = (*nearest(name, known), f"{places[0]}.h")[0]
            raise InputError(
                f"no layer for '{name}'",
                "among what to record or edit",
                f"write LAYER.FIELD, the layer being one of {', '.join(places)}{whole and f' (or {whole})'}: "
                f"for example '{example}'",
            )
    return records, edits


def _of_layers(asked: Sequence[Any]) -> tuple[Any, ...]:
    """Those records or edits that are not of what is read out."""
    return tuple(each for each in asked if each.field not in READOUT)


def _read_out(
    logits: jax.Array,
    records: Sequence[Record],
    edits: Sequence[Edit],
    exist: Callable[[], jax.Array] | None = None,
) -> tuple[jax.Array, dict[str, Any]]:
    """The outputs once they are edited, and what was recorded of them.

    Args:
      logits: ``[batch, time, outputs]``, or ``[batch, outputs]``, one step.
      records: what is recorded, of this and of layers.
      edits: what is edited, of this and of layers.
      exist: gives the steps that exist, ``[batch, time]``; all if None.
    """
    if any(edit.field == "probabilities" for edit in edits):
        raise InputError("an edit of 'probabilities'", "among what to edit", "nothing reads them: edit 'logits'")
    if not any(asked.field in READOUT for asked in (*records, *edits)):
        return logits, {}
    valid = None if exist is None else exist()
    values, seen = looked_at("logits", logits if logits.ndim == 3 else logits[:, None], records, edits, valid)
    if any(record.field == "probabilities" for record in records):
        seen |= looked_at("probabilities", jax.nn.softmax(values), records, (), valid)[1]
    return values if logits.ndim == 3 else values[:, 0], seen


FEED_FORWARD = "feedforward"
RATES = ("dropout", "input_dropout", "recurrent_dropout", "zoneout")
FIXED_OPTIONS = ("leak",)  # options of cells that are numbers of the model's state, and shape nothing


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """The model of an experiment: recurrent layers between an input and a linear readout."""

    cell: str = config.field("lstm", f"recurrent cell: {', '.join(CELLS)}; or {FEED_FORWARD}")
    units: int | tuple[int, ...] = config.field(128, "units of each layer (one number, or one a layer)", at_least=1)
    layers: int = config.field(1, "recurrent layers", at_least=1)
    bidirectional: bool = config.field(False, "whether layers go in both directions")
    merge: str = config.field("concat", "how two directions are joined: " + ", ".join(MERGES))
    embedding: int = config.field(0, "features that symbols are embedded in; 0 reads one-hot rows", at_least=0)
    decoder: Literal["repeat", "feedback", "attention"] = config.field(
        "repeat", "where answers are written: a decoder that reads the context, or its last answer too, or all again"
    )
    decoder_units: int = config.field(0, "units of that decoder; 0: as many as the last layer before it", at_least=0)
    activation: str | None = config.field(
        None, "of candidate and output, if not the cell's own: " + ", ".join(ACTIVATIONS)
    )
    initializers: dict[str, str] = config.field({}, "initialiser by weight name, such as recurrent_kernel: orthogonal")
    initial_scales: dict[str, float] = config.field(
        {}, "what initial weights are multiplied by, by weight name, such as recurrent_kernel: 0.5", at_least=0
    )
    options: dict[str, float] = config.field({}, "further numbers of the cell, such as leak or projection")
    unit_forget_bias: bool = config.field(True, "whether the forget gate's bias starts at one")
    residual: bool = config.field(False, "whether layers add their input to their output")
    learned_initial: bool = config.field(False, "whether the initial state is trained")
    dropout: float | None = config.field(None, "rate between layers, each step by itself", at_least=0, below=1)
    input_dropout: float | None = config.field(None, "rate on the input, one mask for all steps", at_least=0, below=1)
    recurrent_dropout: float | None = config.field(
        None, "rate on the recurrent operand, one mask for all steps", at_least=0, below=1
    )
    zoneout: float | None = config.field(None, "rate at which units keep their old value", at_least=0, below=1)
    dtype: str = config.field("float32", "operands of matrix products: float32, bfloat16 or float64")
    executor: str = config.field("auto", "how sequences are computed: auto, fused, scan or associative")
    remat: int | str | None = config.field(
        None, "what is computed again backwards: step, or a number of steps a segment"
    )
    truncate: int | None = config.field(None, "steps after which the gradient is cut", at_least=1)
    unroll: int = config.field(1, "steps of the loop laid out side by side", at_least=1)

    def build(
        self,
        inputs: int,
        outputs: int,
        *,
        read: str,
        symbols: bool,
        length: int = 0,
        answer_steps: int = 0,
        rngs: nnx.Rngs,
    ) -> SequenceModel | EncoderDecoder | FeedForward:
        """Makes the model.

        Args:
          inputs: symbols, or features of an input step.
          outputs: features of the readout.
          read: `every` step, the `last` valid one, or a sequence of its own is written: the `answer`.
          symbols: whether inputs are symbols by index.
          length: steps of an example, which a feed-forward network needs to know.
          answer_steps: steps of the sequence that is written.
          rngs: where initial weights come from.

        Raises:
          InputError: an unknown name, or a number of widths that is not the number of layers.
        """
        model = self._drawn(inputs, outputs, read, symbols, length, answer_steps, rngs)
        weights = nnx.to_flat_state(nnx.state(model, nnx.Param))
        for name, factor in self.initial_scales.items():
            scaled = [variable for path, variable in weights if path[-1] == name]
            if not scaled:
                lookup({str(path[-1]): None for path, _ in weights}, name, "weight", "in model.initial_scales")
            for variable in scaled:
                variable[...] = variable[...] * jnp.asarray(factor, variable[...].dtype)
        if self.initial_scales:
            nnx.update(model, nnx.from_flat_state(weights))
        return model

    def _drawn(
        self, inputs: int, outputs: int, read: str, symbols: bool, length: int, answer_steps: int, rngs: nnx.Rngs
    ) -> SequenceModel | EncoderDecoder | FeedForward:
        """The model with its weights as they are drawn."""
        widths = self._checked_widths()
        embedding, width = None, inputs
        if self.embedding and symbols:
            uniform = lambda key, shape, dtype: jax.random.uniform(key, shape, dtype, -0.05, 0.05)  # noqa: E731 (Keras's)
            embedding = nnx.Embed(
                inputs, self.embedding, embedding_init=uniform, param_dtype=self._param_dtype, rngs=rngs
            )
            width = self.embedding
        if self.cell == FEED_FORWARD:
            return FeedForward(
                inputs,
                widths,
                outputs,
                read=read,
                length=length,
                activation=self.activation or "relu",
                embedding=embedding,
                dropout=self.dropout,
                param_dtype=self._param_dtype,
                rngs=rngs,
            )
        layers: list[Recurrent | Bidirectional] = []
        for units in widths:
            if self.bidirectional:
                pair = [self._layer(width, units, reverse, rngs) for reverse in (False, True)]
                layers.append(Bidirectional(*pair, merge=self.merge))
            else:
                layers.append(self._layer(width, units, False, rngs))
            width = layers[-1].width
        stack = Stack(layers, dropout=self.dropout, residual=self.residual)
        if read != "answer":
            return SequenceModel(
                stack, outputs, embedding=embedding, read=read, input_dropout=self.input_dropout, rngs=rngs
            )
        return EncoderDecoder(
            stack,
            self._decoder(stack.width, outputs, self.decoder_units or widths[-1], rngs),
            outputs=outputs,
            answer_steps=answer_steps,
            embedding=embedding,
            input_dropout=self.input_dropout,
            attention=self.decoder == "attention",
            rngs=rngs,
        )

    def _checked_widths(self) -> tuple[int, ...]:
        """The widths of all layers, once every name is known to exist."""
        dtypes = {name: name for name in ("float32", "bfloat16", "float64")}
        lookup(dtypes, self.dtype, "type", "in model.dtype")
        if self.dtype == "float64" and not jax.config.read("jax_enable_x64"):
            raise InputError("float64 is switched off in JAX", "in model.dtype", "set JAX_ENABLE_X64=1")
        lookup({"auto": "auto", **EXECUTORS}, self.executor, "executor", "in model.executor")
        if ":" in self.cell and self.cell not in CELLS:
            raise InputError(
                f"the cell '{self.cell}' is code of your own, which a stored run does not import",
                "in model.cell",
                f"name it: --code {self.cell}, or rx.own(...) in Python",
            )
        lookup({FEED_FORWARD: None, **CELLS}, self.cell, "cell", "in model.cell")
        lookup(MERGES, self.merge, "merge", "in model.merge")
        if not (self.remat in (None, "step") or isinstance(self.remat, int)):
            raise InputError(f"'{self.remat}' is no remat", "in model.remat", "give step, or a number of steps")
        if isinstance(self.units, tuple) and len(self.units) != self.layers and self.layers != 1:
            raise InputError(
                f"{len(self.units)} widths for {self.layers} layers",
                "in model.units",
                "give one number, or one a layer",
            )
        if self.merge == "none":
            raise InputError(
                "merge 'none' gives a pair of outputs",
                "in model.merge",
                "choose concat, sum, multiply or average",
            )
        return (self.units,) * self.layers if isinstance(self.units, int) else self.units

    def _decoder(self, context: int, outputs: int, units: int, rngs: nnx.Rngs) -> Stack | FeedBack:
        """What writes the answers."""
        if self.decoder == "repeat":
            return Stack([self._layer(context, units, False, rngs)])
        layer = self._layer(context + outputs, units, False, rngs)
        if self.decoder == "attention":
            return Stack([layer])
        init = INITIALIZERS["glorot_uniform"]
        readout = nnx.Linear(layer.width, outputs, kernel_init=init, param_dtype=self._param_dtype, rngs=rngs)
        return FeedBack(layer.cell, readout)

    @property
    def _param_dtype(self) -> Any:
        return jnp.float64 if self.dtype == "float64" else jnp.float32

    def _layer(self, inputs: int, units: int, reverse: bool, rngs: nnx.Rngs) -> Recurrent:
        kind = lookup(CELLS, self.cell, "cell", "in model.cell")
        options = {key: int(value) if key == "projection" else value for key, value in self.options.items()}
        try:
            cell = kind(
                inputs,
                units,
                activation=self.activation,
                unit_forget_bias=self.unit_forget_bias,
                initializers=self.initializers,
                param_dtype=self._param_dtype,
                dtype=self.dtype,
                rngs=rngs,
                **options,
            )
        except TypeError as error:
            raise InputError(f"{self.cell} has no such option: {error}", "in model.options", "leave it out") from error
        return Recurrent(
            cell,
            reverse=reverse,
            learned_initial=self.learned_initial,
            recurrent_dropout=self.recurrent_dropout,
            zoneout=self.zoneout,
            executor=self.executor,
            remat=self.remat,
            truncate=self.truncate,
            unroll=self.unroll,
        )


def with_numbers(model: ModelConfig, numbers: Mapping[str, Any]) -> ModelConfig:
    """The model with other `numbers`, by dotted name as `model.dropout`; they may be traced, and are not checked."""
    changes: dict[str, Any] = {}
    for key, value in numbers.items():
        _, name, *inner = key.split(".", 2)
        changes[name] = {**changes.get(name, getattr(model, name)), inner[0]: value} if inner else value
    return dataclasses.replace(model, **changes)
