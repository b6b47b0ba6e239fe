"""What a model does on one long sequence, recorded to disk in bounded memory."""

from __future__ import annotations

import base64
import contextlib
import io
import math
import zlib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from rnnjax.config import InputError
from rnnjax.layers import Bidirectional
from rnnjax.recording.labelled import (
    RESERVED,
    STATISTICS,
    Recording,
    Variable,
    coordinate,
    group_attributes,
    layout_of,
    of_steps,
    storable,
    unit_axes,
)
from rnnjax.recording.moments import described, moment_rows, no_moments, pooled
from rnnjax.recording.observing import checked_records, step_axes, strides_of, symbol_codes, unit_numbers
from rnnjax.sequence import Moments, Record, Records
from rnnjax.store import ArrayGroup, Layout, digest


def stream(
    model: Any,
    inputs: Any,
    record: Records,
    path: str | Path,
    *,
    window: int = 1024,
    labels: Sequence[str] | None = None,
    state: Any = None,
    attributes: Mapping[str, Any] | None = None,
    resume: bool = False,
) -> Recording:
    """Records one long sequence to disk, in bounded memory: a window after the other, the state carried over.

    A window is acknowledged once it is on disk: whatever ends this process, the recording opens with all windows
    acknowledged, and ``resume=True`` goes on after them. While one is written, the next is computed.

    Args:
      model: reads step by step, forward: see `observe`.
      inputs: symbols by index ``[time]``, or numbers ``[time, input]``.
      record: as in `observe`; strides and statistics are those of the whole sequence.
      path: folder of the recording, by custom ``....zarr``.

    Other arguments:
      window: steps computed and appended at once (rounded up, so that every stride divides it).
      labels: names of the symbols.
      state: before the first step.
      attributes: what else the recording is to say of itself.
      resume: whether to go on with the recording at `path`, if there is one; inputs may have become longer.

    Raises:
      InputError: a model that needs the whole sequence, gradients, a path that is taken, or, in resuming, another
        model, other inputs or other fields.
    """
    path, records = Path(path), checked_records(record, None)
    _check_streams(model, records, window)
    if path.exists() and not resume:
        raise InputError(
            f"'{path}' exists already", "in stream", "go on with it by resume=True, or choose another path"
        )
    values = np.asarray(inputs)
    if not len(values):
        raise InputError("a sequence of no steps", "in stream", "give it at least one")
    step = math.lcm(*(each.stride for each in records))
    window = -(-window // step) * step
    graph, variables = nnx.split(model)
    start = jax.tree.map(jnp.asarray, model.initial_state(1) if state is None else state)
    shapes = jax.eval_shape(partial(_window, graph, records), variables, start, values[None, :window])[1]
    scroll = _Scroll(records, shapes, values, labels, window, digest(variables))
    with scroll.opened(path, attributes or {}), ThreadPoolExecutor(1) as writer:
        done, state = scroll.resumed(start)
        writing: Future[None] | None = None
        while done < len(values):
            stop = min((done // window + 1) * window, len(values))
            state, recorded = _window(graph, records, variables, state, values[None, done:stop])
            if writing is not None:
                writing.result()
            writing = writer.submit(scroll.append, done, stop, state, recorded)
            done = stop
        if writing is not None:
            writing.result()
    return Recording.open(path)


@partial(jax.jit, static_argnums=(0, 1))
def _window(graph, records, variables, state, inputs):
    """The state after some steps of one row, and what was recorded in them."""
    found = nnx.merge(graph, variables).unroll(inputs, state=state, record=records)
    return found.state, found.recorded


class _Scroll:
    """A recording that is being streamed.

    Args:
      records: what is recorded.
      shapes: of one whole window of it, by field.
      inputs: the sequence.
      labels: names of its symbols.
      window: steps of a whole window.
      weights: digest of the model's weights.
    """

    def __init__(
        self,
        records: tuple[Record, ...],
        shapes: Mapping[str, Any],
        inputs: np.ndarray,
        labels: Sequence[str] | None,
        window: int,
        weights: str,
    ):
        self._records, self._inputs, self._weights = records, inputs, weights
        kept = [each for each in records if not each.statistics]
        axes = step_axes({each: "" for each in kept})
        numbers = {each.field: unit_numbers(each, _last_axis(shapes[each.field])) for each in records}
        units = unit_axes(numbers)
        self._strides = {axes[each]: each.stride for each in kept}
        self._coords = {axis: Variable.held((axis,), numbers[field]) for field, axis in units.items()}
        if len(kept) < len(records):
            self._coords["statistic"] = coordinate("statistic", STATISTICS)
        codes, names = symbol_codes(inputs, labels)
        for axis, stride in self._strides.items():
            time = np.arange(0, len(inputs), stride, dtype=np.int32)
            along = {"example": np.zeros_like(time), "time": time}
            self._coords |= {of_steps(axis, n): Variable.held((axis,), v) for n, v in along.items()}
            if codes is not None:
                self._coords[of_steps(axis, "symbol")] = Variable.held((axis,), codes[::stride], names)
        self._layouts = {name: layout_of(each) for name, each in self._coords.items()}
        self._moments: dict[str, np.ndarray] = {}
        for each in records:
            width, axis = len(numbers[each.field]), units[each.field]
            if each.statistics:
                size = (len(STATISTICS), width)
                self._moments[each.field] = no_moments(width)
                self._layouts[each.field] = Layout(("statistic", axis), size, "float64", size, {})
            else:
                block = (window // each.stride, width)
                dtype = storable(np.empty(0, shapes[each.field].dtype)).dtype.name
                self._layouts[each.field] = Layout((axes[each], axis), block, dtype, block, {})
        self._checksum = 0

    @contextlib.contextmanager
    def opened(self, path: Path, attributes: Mapping[str, Any]) -> Iterator[None]:
        """Holds the group on disk, made new unless it is there."""
        asked = [[each.field, each.units and list(each.units), each.stride, each.statistics] for each in self._records]
        if path.exists():
            self._group = ArrayGroup.open(path, write=True)
            try:
                self._check(asked)
            except BaseException:
                self._group.close()
                raise
        else:
            facts = {**attributes, **strides_of(self._records)}
            made = group_attributes([each.field for each in self._records], self._layouts, facts)
            made[RESERVED]["progress"] = {"steps": 0, "weights": self._weights, "record": asked}
            self._group = ArrayGroup.create(path, self._layouts, made)
        with self._group as group:
            for name, each in self._coords.items():
                group.write(name, 0, each._replace(labels=None).read())
            lengths = {name: each.shape[0] for name, each in self._coords.items() if each.axes[0] not in self._strides}
            if not group.attributes[RESERVED]["progress"]["steps"]:
                for name, each in self._moments.items():
                    group.write(name, 0, described(each))
                    lengths[name] = len(STATISTICS)
            group.commit(lengths)
            yield

    def resumed(self, start: Any) -> tuple[int, Any]:
        """Steps that are acknowledged, and the state after them; `start` before the first."""
        progress = self._group.attributes[RESERVED]["progress"]
        if not progress["steps"]:
            return 0, start
        stored = np.load(io.BytesIO(base64.b64decode(progress["values"])))
        state = {name.removeprefix("state/"): stored[name] for name in stored if name.startswith("state/")}
        self._moments = {name.removeprefix("moments/"): stored[name] for name in stored if name.startswith("moments/")}
        self._checksum = progress["inputs"]
        return progress["steps"], state

    def append(self, start: int, stop: int, state: Any, recorded: Mapping[str, Any]) -> None:
        """Puts one window on disk, and acknowledges it."""
        group = self._group
        for each in self._records:
            found = recorded[each.field]
            if each.statistics:
                known = self._moments[each.field]
                self._moments[each.field] = pooled(np.concatenate([known[None], moment_rows(found)]))
                group.write(each.field, 0, described(self._moments[each.field]))
            else:
                group.write(each.field, -(-start // each.stride), storable(np.asarray(found)[0]))
        self._checksum = zlib.crc32(self._inputs[start:stop].tobytes(), self._checksum)
        held = {f"state/{name}": np.asarray(value) for name, value in state.items()}
        held |= {f"moments/{name}": value for name, value in self._moments.items()}
        packed = io.BytesIO()
        np.savez(packed, allow_pickle=False, **held)
        attributes = self._group.attributes
        progress = attributes[RESERVED]["progress"] | {
            "steps": stop,
            "inputs": self._checksum,
            "values": base64.b64encode(packed.getvalue()).decode(),
        }
        lengths = {
            name: -(-stop // self._strides[each.dims[0]])
            for name, each in self._layouts.items()
            if each.dims[0] in self._strides
        }
        group.commit(lengths, attributes | {RESERVED: attributes[RESERVED] | {"progress": progress}})

    def _check(self, asked: list[Any]) -> None:
        """Refuses to go on with the recording of something else."""
        progress = self._group.attributes.get(RESERVED, {}).get("progress", {})
        steps = progress.get("steps", 0)
        known = self._group.arrays
        same_fields = progress.get("record") == asked and known.keys() == self._layouts.keys()
        checks = {
            "fields": same_fields,
            "windows": same_fields
            and all(known[name].block[0] == each.block[0] for name, each in self._layouts.items()),
            "labels": same_fields and all(known[n].attributes == each.attributes for n, each in self._layouts.items()),
            "weights of the model": progress.get("weights") == self._weights,
            "inputs": not steps or progress["inputs"] == zlib.crc32(self._inputs[:steps].tobytes()),
        }
        for what, same in checks.items():
            if not same:
                raise InputError(
                    f"'{self._group.path}' was recorded with other {what}", "in resuming it", "choose another path"
                )


def _check_streams(model: Any, records: tuple[Record, ...], window: int) -> None:
    """Refuses what cannot be computed from one window to the next."""
    if window < 1:
        raise InputError(f"a window of {window} steps", "in stream", "give at least 1")
    both_ways = any(isinstance(part, Bidirectional) for _, part in nnx.iter_graph(model))
    if both_ways or model.read == "answer":
        raise InputError(
            "a model that needs the whole sequence at once",
            "in stream",
            "use observe, or give a model that goes forward and does not write a sequence of its own",
        )
    if model.read == "last" and (last := next((e for e in records if e.field in ("logits", "probabilities")), None)):
        raise InputError(
            f"'{last.field}' of a model that reads the last step alone", "in stream", "record states and gates"
        )


def _last_axis(shape: Any) -> int:
    return (shape.mean if isinstance(shape, Moments) else shape).shape[-1]
