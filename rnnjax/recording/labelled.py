"""Labelled arrays, in memory or on disk."""

from __future__ import annotations

import contextlib
import csv
import importlib
import itertools
import json
import math
import os
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from rnnjax.cells import lookup
from rnnjax.config import InputError
from rnnjax.store import ArrayGroup, Layout

if TYPE_CHECKING:
    import xarray

STATISTICS = ("count", "mean", "deviation", "least", "greatest")
"""The coordinate `statistic` of fields of which statistics were recorded."""


BLOCK_BYTES = 1 << 22
"""Size aimed at for a file of a recording that is saved whole."""


COORDINATE_BLOCK = 1 << 16
"""Steps whose coordinates are one file."""


AXES = {"example", "time", "symbol", "step", "answer_step", "units", "member", "checkpoint", "statistic"}
"""Names that no field can have: those of axes and coordinates."""

EXPORTS = (".csv", ".parquet", ".npz")
"""Endings of the files that a recording can be exported to."""

RESERVED = "rnnjax_recording"
"""The attribute of the group that tells a recording from any other."""


Index = range | np.ndarray | int


class Variable(NamedTuple):
    """An array not yet read, and which part of it is selected.

    Attributes:
      axes: names of the axes of what is stored.
      index: along each, the places that are selected; a single one drops the axis.
      dtype: of the numbers.
      source: reads the places given for each axis.
      labels: what whole numbers stand for, where the values are text.
    """

    axes: tuple[str, ...]
    index: tuple[Index, ...]
    dtype: np.dtype
    source: Callable[[Sequence[Any]], np.ndarray]
    labels: tuple[str, ...] | None = None

    @classmethod
    def held(cls, axes: tuple[str, ...], values: np.ndarray, labels: Sequence[str] | None = None) -> Variable:
        """One in memory."""
        index = tuple(map(range, values.shape))
        return cls(axes, index, values.dtype, partial(_taken, values), None if labels is None else tuple(labels))

    @property
    def dims(self) -> tuple[str, ...]:
        """Names of the axes that are left."""
        return tuple(axis for axis, places in zip(self.axes, self.index, strict=True) if not isinstance(places, int))

    @property
    def shape(self) -> tuple[int, ...]:
        """Lengths of the axes that are left."""
        return tuple(len(places) for places in self.index if not isinstance(places, int))

    def narrowed(self, axis: str, places: Index | slice) -> Variable:
        """With places counted among those selected before; unchanged if it does not have that axis."""
        if axis not in self.dims:
            return self
        at = self.axes.index(axis)
        before: Any = self.index[at]
        if isinstance(before, range) and isinstance(places, np.ndarray):
            before = np.asarray(before)
        if isinstance(places, range):
            places = slice(places.start, places.stop, places.step)
        after = before[places]
        after = int(after) if isinstance(after, int | np.integer) else after
        return self._replace(index=(*self.index[:at], after, *self.index[at + 1 :]))

    def read(self) -> np.ndarray:
        """The values that are selected; text as objects."""
        slices = [slice(p.start, p.stop, p.step) if isinstance(p, range) else p for p in self.index]
        values = self.source(slices)
        return values if self.labels is None else np.asarray(self.labels, object)[values]


class Coded(NamedTuple):
    """A text at each place, as numbers and what they stand for."""

    codes: np.ndarray
    labels: tuple[str, ...]


class Recording:
    """Labelled arrays, in memory or on disk.

    Made by `observe`, `stream`, `Film`, `Recording.of` and `Recording.open`. ``recording["0.h"]`` reads a field as a
    NumPy array.

    Attributes:
      attributes: what else is known, as JSON: run, checkpoint, task, stride, ...
      path: where it lies on disk, if it does.
      variables: the fields by name, not yet read.
      coordinates: the coordinates by name, not yet read.
    """

    def __init__(
        self,
        fields: Mapping[str, Variable],
        coords: Mapping[str, Variable],
        attributes: Mapping[str, Any],
        path: Path | None = None,
    ):
        self.variables, self.coordinates = dict(fields), dict(coords)
        self.attributes, self.path = dict(attributes), path

    @classmethod
    def of(
        cls,
        values: Mapping[str, Any],
        *,
        dims: Mapping[str, tuple[str, ...]] | None = None,
        units: Mapping[str, Any] | None = None,
        coords: Mapping[str, Any] | None = None,
        attributes: Mapping[str, Any] | None = None,
    ) -> Recording:
        """A recording of arrays in memory.

        Args:
          values: an array a field.
          dims: names of the axes by field; by default ``(step, units)``, or ``(member, step, units)`` of three.
          units: numbers of the units by field; by default 0, 1, 2, ...
          coords: an array by name; `example`, `time` and `symbol` belong to the axis `step`, `answer_time` and the like
            to `answer_step`, others to the axis of their name. Left out, `example` is 0 and `time` counts.
          attributes: what else is known, as JSON.

        Raises:
          InputError: shapes that do not fit together.
        """
        arrays = {name: np.asarray(value) for name, value in values.items()}
        if taken := sorted(AXES & arrays.keys()):
            raise InputError(f"a field called '{taken[0]}'", "in Recording.of", "choose a name that no axis has")
        named = {name: tuple((dims or {}).get(name) or _default_dims(name, each)) for name, each in arrays.items()}
        numbers = {
            name: np.asarray((units or {}).get(name, np.arange(each.shape[-1])), np.int32)
            for name, each in arrays.items()
            if named[name][-1] == "units"
        }
        axes = unit_axes(numbers)
        found = {
            name: Variable.held((*named[name][:-1], axes[name]) if name in axes else named[name], each)
            for name, each in arrays.items()
        }
        given = {axis: numbers[name] for name, axis in axes.items()} | dict(coords or {})
        lengths: dict[str, int] = {}
        for name, variable in found.items():
            if len(variable.axes) != len(variable.shape):
                raise InputError(
                    f"'{name}' of shape {list(variable.shape)} with the axes {', '.join(named[name])}",
                    "in Recording.of",
                    "give dims= a name for each axis",
                )
            for axis, length in zip(variable.axes, variable.shape, strict=True):
                if lengths.setdefault(axis, length) != length:
                    raise InputError(
                        f"'{name}' has {length} along '{axis}', and other fields {lengths[axis]}",
                        "in Recording.of",
                        "give fields of the same length, or dims= other names of axes",
                    )
        for axis, length in lengths.items():
            if is_steps(axis):
                given.setdefault(of_steps(axis, "example"), np.zeros(length, np.int32))
                given.setdefault(of_steps(axis, "time"), np.arange(length, dtype=np.int32))
            elif not axis.endswith("units"):
                given.setdefault(axis, STATISTICS if axis == "statistic" else np.arange(length))
        labelled = {name: coordinate(name, value) for name, value in given.items()}
        for name, variable in labelled.items():
            if variable.shape != (lengths.get(variable.axes[0]),):
                raise InputError(
                    f"the coordinate '{name}' of shape {list(variable.shape)}",
                    "in Recording.of",
                    f"give one value a place of '{variable.axes[0]}': {lengths.get(variable.axes[0], 'there is none')}",
                )
        return cls(found, labelled, attributes or {})

    @classmethod
    def open(cls, path: str | Path) -> Recording:
        """The recording in a folder, as far as its writer has acknowledged it; nothing but names is read.

        Raises:
          InputError: it is no recording, or a damaged one.
        """
        group = ArrayGroup.open(path)
        try:
            names = list(group.attributes[RESERVED]["fields"])
            arrays = {name: _stored(group, name) for name in group.arrays}
            fields = {name: arrays.pop(name) for name in names}
        except (KeyError, TypeError) as error:
            raise InputError(
                f"'{path}' is a Zarr group, but no recording of rnnjax",
                f"in its attributes: {error} is missing",
                "open it with zarr or xarray",
            ) from error
        hidden = (RESERVED, "coordinates")
        return cls(fields, arrays, {k: v for k, v in group.attributes.items() if k not in hidden}, group.path)

    @property
    def fields(self) -> tuple[str, ...]:
        """Names of what was recorded."""
        return tuple(self.variables)

    @property
    def coords(self) -> dict[str, np.ndarray]:
        """Coordinates by name, read: `example`, `time`, `symbol`, `member`, `checkpoint`, ... (but see `units`)."""
        return {name: each.read() for name, each in self.coordinates.items() if each.dims and not is_units(name)}

    def dims(self, field: str) -> tuple[str, ...]:
        """Names of the axes of a field, such as ``("step", "units")``."""
        return tuple("units" if is_units(axis) else axis for axis in self._field(field).dims)

    def shape(self, field: str) -> tuple[int, ...]:
        """Lengths of the axes of a field."""
        return self._field(field).shape

    def units(self, field: str) -> np.ndarray:
        """Numbers of the units of a field, ``[units]``; the one that was chosen, where only one is left."""
        found = [self.coordinates[axis] for axis in self._field(field).axes if is_units(axis)]
        return np.atleast_1d(found[0].read()) if found else np.empty(0, np.int32)

    def along(self, field: str, what: str) -> np.ndarray:
        """The coordinate of a field's own steps, whichever axis they are, ``[steps]``; empty where there is none.

        Args:
          field: name of the field.
          what: `example`, `time` or `symbol`.
        """
        axis = next((axis for axis in self._field(field).dims if is_steps(axis)), None)
        found = None if axis is None else self.coordinates.get(of_steps(axis, what))
        return np.empty(0, object) if found is None else found.read()

    def __getitem__(self, field: str) -> np.ndarray:
        return self._field(field).read()

    def __len__(self) -> int:
        lengths = {axis: n for each in self.variables.values() for axis, n in zip(each.dims, each.shape, strict=True)}
        return next((lengths[axis] for axis in sorted(lengths, key=len) if is_steps(axis)), 0)

    def __repr__(self) -> str:
        where = f"'{self.path}', " if self.path else ""
        lines = [f"Recording({where}{len(self)} steps)"]
        wide = max(map(len, self.variables), default=0)
        for name, each in self.variables.items():
            axes = " x ".join(f"{n} {axis}" for n, axis in zip(each.shape, self.dims(name), strict=True))
            lines.append(f"  {name.ljust(wide)}  {axes or 'one number'}  {each.dtype.name}")
        shown = [name for name, each in self.coordinates.items() if each.dims and not is_units(name)]
        lines.append(f"  coordinates: {', '.join(shown)}")
        if self.attributes:
            lines.append("  " + ", ".join(f"{key}={value!r}" for key, value in self.attributes.items()))
        return "\n".join(lines)

    def select(
        self,
        *,
        field: str | Sequence[str] | None = None,
        unit: Any = None,
        time: Any = None,
        example: Any = None,
        member: Any = None,
        checkpoint: Any = None,
        statistic: Any = None,
    ) -> Recording:
        """Part of the recording, by coordinates; nothing is read but they.

        A single unit, member, checkpoint or statistic drops its axis. Steps stay an axis, however few they are.

        Args:
          field: names of fields.
          unit: number of a unit, a list of them in the order that is wanted, or a slice of numbers (``slice(0, 10)``
            has those below 10). A field keeps those that were recorded of it, and is left out if none were.
          time: as `unit`, counted within each example.
          example, member, checkpoint: as `unit`.
          statistic: name, or names, of `STATISTICS`.

        Raises:
          InputError: something that was not recorded.
        """
        names = self.fields if field is None else (field,) if isinstance(field, str) else tuple(field)
        fields = {name: self._field(name) for name in names}
        coords, attributes = dict(self.coordinates), dict(self.attributes)
        wanted = {"example": example, "time": time, "member": member, "checkpoint": checkpoint, "statistic": statistic}
        wanted = {what: value for what, value in {**wanted, "unit": unit}.items() if value is not None}
        for what, value in wanted.items():
            value = value if isinstance(value, slice | str) or np.ndim(value) else int(value)
            along_steps = what in ("example", "time")
            used = dict.fromkeys(axis for each in fields.values() for axis in each.dims)
            axes = [axis for axis in used if is_steps(axis)] if along_steps else [axis for axis in used if axis == what]
            axes = [axis for axis in used if is_units(axis)] if what == "unit" else axes
            found = 0
            for axis in axes:
                known = coords[of_steps(axis, what) if along_steps else axis].read()
                places = _places(known, value, along_steps)
                found += len(places)
                drops = not along_steps and isinstance(value, int | str)
                if what == "unit" and not len(places) and not isinstance(value, slice):
                    fields = {name: each for name, each in fields.items() if axis not in each.dims}
                    continue
                if drops and len(places):
                    attributes[what] = value
                chosen = int(places[0]) if drops and len(places) else _compact(places)
                fields = {name: each.narrowed(axis, chosen) for name, each in fields.items()}
                coords = {name: each.narrowed(axis, chosen) for name, each in coords.items()}
            if not found and (not axes or not isinstance(value, slice)):
                raise self._not_recorded(what, value, axes)
        used = {axis for each in fields.values() for axis in each.axes}
        coords = {name: each for name, each in coords.items() if set(each.axes) <= used}
        return Recording(fields, coords, attributes, self.path)

    def to_xarray(self) -> xarray.Dataset:
        """An `xarray.Dataset` of everything that is selected, read into memory.

        Raises:
          InputError: xarray is not installed.
        """
        library = _library("xarray", "to_xarray")
        coords = {name: (each.dims, each.read()) for name, each in self.coordinates.items()}
        arrays = {name: (each.dims, each.read()) for name, each in self.variables.items()}
        return library.Dataset(arrays, coords, self.attributes)

    def save(self, path: str | Path) -> Recording:
        """Writes a Zarr v3 group, a part at a time, and opens it.

        Raises:
          InputError: the path is taken, or a field of which only one number is left.
        """
        number = next((name for name, each in self.variables.items() if not each.dims), None)
        if number is not None:
            raise InputError(f"'{number}' is a single number", "in save", "select less narrowly: unit=[3], not unit=3")
        variables = {**self.coordinates, **self.variables}
        variables = {name: each for name, each in variables.items() if each.dims}
        layouts = {name: layout_of(each, block_of(each.shape, each.dtype)) for name, each in variables.items()}
        with ArrayGroup.create(path, layouts, group_attributes(self.fields, layouts, self.attributes)) as group:
            for name, variable in variables.items():
                step = layouts[name].block[0]
                for start in range(0, variable.shape[0], step):
                    rows = variable.narrowed(variable.dims[0], slice(start, start + step))
                    group.write(name, start, rows._replace(labels=None).read())
            group.commit({name: each.shape[0] for name, each in variables.items()})
        return Recording.open(path)

    def export(self, path: str | Path) -> Path:
        """Writes what is selected as a table, or as arrays.

        ``.csv`` and ``.parquet`` have a row a step (or a step of each member and checkpoint), and the columns
        `example`, `time`, `symbol`, then one for each unit, as `0.h.107`. ``.npz`` has fields and coordinates by name.

        Raises:
          InputError: another ending; fields that do not share their steps, in a table; pyarrow is not installed.
        """
        path = Path(path)
        writers: dict[str, Any] = dict(
            zip(EXPORTS, (self._write_csv, self._write_parquet, self._write_npz), strict=True)
        )
        write = lookup(writers, path.suffix, "kind of file", f"in export of '{path.name}'")
        part = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write(part)
            os.replace(part, path)
        except OSError as error:
            raise InputError(f"cannot write '{path}'", error.strerror or str(error), "choose another path") from error
        finally:
            part.unlink(missing_ok=True)
        return path

    def _write_csv(self, path: Path) -> None:
        with open(path, "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            for number, columns in enumerate(self._tables()):
                if not number:
                    writer.writerow(columns)
                writer.writerows(zip(*columns.values(), strict=True))

    def _write_parquet(self, path: Path) -> None:
        arrow, parquet = _library("pyarrow", "export"), _library("pyarrow.parquet", "export")
        with contextlib.ExitStack() as stack:
            writer = None
            for columns in self._tables():
                table = arrow.table({name: arrow.array(values) for name, values in columns.items()})
                writer = writer or stack.enter_context(parquet.ParquetWriter(path, table.schema))
                writer.write_table(table)

    def _write_npz(self, path: Path) -> None:
        arrays = {name: each.read() for name, each in {**self.coordinates, **self.variables}.items() if each.dims}
        arrays = {name: each.astype(str) if each.dtype == object else each for name, each in arrays.items()}
        with open(path, "wb") as file:
            np.savez(file, allow_pickle=False, attributes=json.dumps(self.attributes), **arrays)

    def _tables(self) -> Iterator[dict[str, np.ndarray]]:
        """Columns by name, a block of steps at a time."""
        rows = {name: tuple(axis for axis in each.dims if not is_units(axis)) for name, each in self.variables.items()}
        axes = next(iter(rows.values()))
        other = next((name for name in rows if rows[name] != axes), None)
        if other is not None or not axes:
            first = self.fields[0]
            raise InputError(
                f"'{first}' has the axes {', '.join(axes) or 'of one number'}"
                + (f", and '{other}' {', '.join(rows[other])}" if other is not None else ""),
                "in export of one table",
                f"export them one by one: .select(field='{other or first}'), or choose .npz",
            )
        lengths = dict(zip(self.variables[self.fields[0]].dims, self.variables[self.fields[0]].shape, strict=True))
        values = sum(math.prod(each.shape[len(axes) :]) for each in self.variables.values())
        size = max(1, BLOCK_BYTES // (8 * max(1, values)))
        last = range(lengths[axes[-1]])
        starts = range(0, max(1, len(last)), size)
        for *outer, start in itertools.product(*(range(lengths[axis]) for axis in axes[:-1]), starts):
            block = last[start : start + size]
            yield self._columns([*zip(axes[:-1], outer, strict=True), (axes[-1], block)], len(block))

    def _columns(self, here: Sequence[tuple[str, Index]], count: int) -> dict[str, np.ndarray]:
        """The columns of one block of `count` rows, whose places along each axis are given."""
        columns: dict[str, np.ndarray] = {}
        for axis, places in here:
            for name, each in self.coordinates.items():
                if each.dims == (axis,):
                    columns[name] = np.broadcast_to(each.narrowed(axis, places).read(), (count,))
        for name, each in self.variables.items():
            for axis, places in here:
                each = each.narrowed(axis, places)
            values = each.read()
            if values.ndim == 1:
                columns[name] = values
            else:
                columns |= {f"{name}.{unit}": values[:, k] for k, unit in enumerate(self.units(name))}
        return columns

    def _field(self, name: str) -> Variable:
        return lookup(self.variables, name, "field", "in this recording")

    def _not_recorded(self, what: str, value: Any, axes: Sequence[str]) -> InputError:
        if not axes:
            fix = f"it has {', '.join(dict.fromkeys(axis for name in self.fields for axis in self.dims(name)))}"
            return InputError(f"a recording without '{what}'", "in select", fix)
        known = self.coordinates[of_steps(axes[0], what) if what in ("example", "time") else axes[0]].read()
        shown = known if len(known) <= 8 else [*known[:4], "...", known[-1]]
        return InputError(f"{what} {value} was not recorded", "in select", f"there are {', '.join(map(str, shown))}")


def coordinate(name: str, values: Any) -> Variable:
    """A coordinate in memory, on the axis that its name says; texts become numbers with labels."""
    plain = name.removeprefix("answer_").partition("_by_")[0]
    axis = name.replace(plain, "step") if plain in ("example", "time", "symbol") else name
    if isinstance(values, Coded):
        return Variable.held((axis,), values.codes, values.labels)
    array = np.asarray(values)
    if array.dtype.kind not in "OUT":
        return Variable.held((axis,), array)
    labels = list(dict.fromkeys(map(str, values)))
    codes = {label: code for code, label in enumerate(labels)}
    return Variable.held((axis,), np.asarray([codes[str(each)] for each in values], np.int32), labels)


def _default_dims(name: str, array: np.ndarray) -> tuple[str, ...]:
    known = {1: ("step",), 2: ("step", "units"), 3: ("member", "step", "units")}
    if array.ndim not in known:
        raise InputError(f"'{name}' has {array.ndim} axes", "in Recording.of", "give dims= their names")
    return known[array.ndim]


def unit_axes(numbers: Mapping[str, np.ndarray]) -> dict[str, str]:
    """The axis of each field's units, as xarray needs them: `units` for the first field and all with the same units."""
    axes: dict[str, str] = {}
    known: dict[bytes, str] = {}
    for name, each in numbers.items():
        axes[name] = known.setdefault(each.tobytes(), f"{name}.units" if known else "units")
    return axes


def is_units(axis: str) -> bool:
    """Whether the places along an axis are units."""
    return axis == "units" or axis.endswith(".units")


def is_steps(axis: str) -> bool:
    """Whether the places along an axis are steps."""
    return axis.removeprefix("answer_").partition("_by_")[0] == "step"


def of_steps(axis: str, what: str) -> str:
    """The name of a coordinate along an axis of steps: `answer_time_by_10` for `answer_step_by_10`."""
    return axis.replace("step", what)


def storable(values: np.ndarray) -> np.ndarray:
    """In a type that every reader of Zarr knows: bfloat16 and its like become float32, which holds them exactly."""
    return values if values.dtype.kind in "fiub" else values.astype(np.float32)


def block_of(shape: tuple[int, ...], dtype: np.dtype) -> tuple[int, ...]:
    """What one file of an array holds that is written at once."""
    if len(shape) == 1:
        return (COORDINATE_BLOCK,)
    rows = max(1, min(shape[-2], BLOCK_BYTES // max(1, shape[-1] * dtype.itemsize)))
    return (*(1,) * (len(shape) - 2), rows, max(1, shape[-1]))


def layout_of(variable: Variable, block: tuple[int, ...] = (COORDINATE_BLOCK,)) -> Layout:
    """How a variable lies on disk, in files of `block`."""
    attributes = {} if variable.labels is None else {"labels": list(variable.labels)}
    return Layout(variable.dims, variable.shape, variable.dtype.name, block, attributes)


def group_attributes(
    fields: Sequence[str], layouts: Mapping[str, Layout], attributes: Mapping[str, Any]
) -> dict[str, Any]:
    """Attributes of a group: those of the recording, what its fields are, and its coordinates for xarray."""
    try:
        plain = json.loads(json.dumps(dict(attributes), allow_nan=False))
    except (TypeError, ValueError) as error:
        raise InputError(
            f"an attribute that JSON cannot hold: {error}", "in attributes", "give plain values"
        ) from error
    coords = " ".join(name for name in layouts if name not in fields)
    return plain | {"coordinates": coords, RESERVED: {"version": 1, "fields": list(fields)}}


def _stored(group: ArrayGroup, name: str) -> Variable:
    layout = group.arrays[name]
    labels = layout.attributes.get("labels")
    index = tuple(map(range, layout.shape))
    return Variable(
        layout.dims, index, np.dtype(layout.dtype), partial(group.read, name), None if labels is None else tuple(labels)
    )


def _taken(values: np.ndarray, index: Sequence[Any]) -> np.ndarray:
    """Part of an array in memory, each index acting on its own axis."""
    for axis in reversed(range(len(index))):
        values = values[(slice(None),) * axis + (index[axis],)]
    return values


def _places(known: np.ndarray, wanted: Any, along_steps: bool) -> np.ndarray:
    """Where along an axis the coordinates `wanted` are: a value, several, or a slice of values."""
    if isinstance(wanted, slice):
        step = 1 if wanted.step is None else wanted.step
        start = 0 if wanted.start is None else wanted.start
        if step < 1 or start < 0 or (wanted.stop is not None and wanted.stop < 0):
            raise InputError(f"the slice {wanted}", "in select", "count from 0 upwards: coordinates have no end")
        inside = (known >= start) & ((known - start) % step == 0)
        return np.flatnonzero(inside if wanted.stop is None else inside & (known < wanted.stop))
    several = np.atleast_1d(np.asarray(wanted))
    if several.ndim != 1 or (several.size and (known.dtype.kind in "iu") != (several.dtype.kind in "iu")):
        raise InputError(f"{wanted!r}", "in select", f"give values such as {known[:1].tolist()}, or a slice of them")
    if along_steps:
        return np.flatnonzero(np.isin(known, several))
    found = [np.flatnonzero(known == each) for each in several]
    return np.concatenate([np.empty(0, np.intp), *found])


def _compact(places: np.ndarray) -> Index:
    """A range, where places follow one another: it is read faster."""
    if not len(places):
        return range(0)
    if len(places) == places[-1] - places[0] + 1 and np.all(np.diff(places) == 1):
        return range(int(places[0]), int(places[-1]) + 1)
    return places


def _library(name: str, where: str) -> Any:
    package = name.partition(".")[0]
    try:
        return importlib.import_module(name)
    except ImportError:
        raise InputError(f"{package} is not installed", f"in {where}", f"pip install {package}") from None
