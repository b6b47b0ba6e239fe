"""Results of a sweep as columns: Parquet, a file for each batch of members, written once; readers see their union.

    runs/letter_words-sweep-1/
      table/0003.parquet    a row for each member of batch 3
      curves/0003.parquet   a row for each line of their logs

Columns of the table: `member`, `batch`, `program`; a column for each swept key, by its dotted name; `status`, `steps`,
`seconds`; then metrics. What is missing, or is no number (NaN), is null; an infinite loss stays infinite.

Shards and workers write different files of one folder and need not know of each other. Where several files have a
row of a member, as when survivors of one batch are trained on in another, the row with the most steps counts.
"""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from rnnjax.config import InputError, nearest
from rnnjax.store import atomic_write

Direction = Literal["min", "max"]

LEAD = {"member": "int64", "batch": "int64", "program": "int64"}
TAIL = {"status": "string", "steps": "int64", "seconds": "float64"}
RISING = ("accuracy", "exact_match")
"""Endings of the names of metrics that are better when greater; all others are better when less."""


def direction_of(metric: str) -> Direction:
    """Whether less or more of a metric is better, by its name: `max` of `validation_accuracy`, `min` of `loss`."""
    return "max" if metric.endswith(RISING) else "min"


def write_part(path: str | Path, batch: int, rows: Mapping[str, Any]) -> Path:
    """Writes the rows of one batch, in one atomic step; what the batch wrote before is replaced.

    Args:
      path: of the sweep's folder.
      batch: its number.
      rows: arrays or lists of one length by name, in the order of the table: `member`, `program`, the choices,
        `status`, `steps`, `seconds`, the metrics. The choices of a key are integers, numbers, texts, true or false, or
        None; a key of which some are texts becomes texts.

    Returns:
      The path of the file.

    Raises:
      ValueError: a column is missing or not where it belongs, columns differ in length, or a member is there twice.
      InputError: pyarrow is not installed.
    """
    named = {"member": rows.get("member", ()), "batch": np.full(_length(rows), batch), **rows}
    between, after = _layout(list(named))
    if len(set(_values(named["member"]))) < _length(named):
        raise ValueError(f"a member is twice in batch {batch}")
    arrow, _ = _parquet()
    types = {**LEAD, **dict.fromkeys(between), **TAIL, **dict.fromkeys(after, "float64")}
    columns = {name: _array(named[name], kind) for name, kind in types.items()}
    table = arrow.table(columns).sort_by("member")
    return _write(Path(path) / "table", batch, table)


def write_curves(path: str | Path, batch: int, rows: Mapping[str, Any]) -> Path:
    """Writes the logged lines of one batch, in one atomic step; what the batch wrote before is replaced.

    Args:
      path: of the sweep's folder.
      batch: its number.
      rows: arrays or lists of one length by name: `member`, `step`, then metrics.

    Returns:
      The path of the file.

    Raises:
      ValueError: `member` or `step` is missing, or columns differ in length.
      InputError: pyarrow is not installed.
    """
    if not {"member", "step"} <= rows.keys():
        raise ValueError(f"curves have the columns {', '.join(rows)}; they need member and step")
    _length(rows)
    arrow, _ = _parquet()
    types = {"member": "int64", "step": "int64"}
    columns = {name: _array(rows[name], types.get(name, "float64")) for name in dict.fromkeys([*types, *rows])}
    table = arrow.table(columns).sort_by([("member", "ascending"), ("step", "ascending")])
    return _write(Path(path) / "curves", batch, table)


class Table:
    """The rows of all parts that are there now, one a member, in the order of members.

    Args:
      path: of the sweep's folder. A file that cannot be read, such as one that is being copied, is left out.

    Attributes:
      path: of the sweep's folder.
      columns: names, in order.
      choices: names of those that were swept.
      metrics: names of those that were measured.
      left_out: files that could not be read, each with the reason.

    Raises:
      InputError: there is no such folder, or pyarrow is not installed.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        if not self.path.is_dir():
            near = [f"'{self.path.with_name(each)}'" for each in nearest(self.path.name, _folders(self.path.parent))]
            fix = f"did you mean {' or '.join(near)}?" if near else "give the folder of a sweep"
            raise InputError(f"'{self.path}' is no sweep", "there is no such folder", fix)
        parts, self.left_out = _read_parts(self.path / "table")
        layouts = []
        for file, part in list(parts.items()):
            try:
                layouts.append(_layout(part.column_names))
            except ValueError as error:
                self.left_out[file.name] = str(error)
                del parts[file]
        self.choices = tuple(dict.fromkeys(name for between, _ in layouts for name in between))
        self.metrics = tuple(dict.fromkeys(name for _, after in layouts for name in after))
        self.columns = (*LEAD, *self.choices, *TAIL, *self.metrics)
        fixed = {**LEAD, **TAIL, **dict.fromkeys(self.metrics, "float64")}
        self._table = _newest(_union(list(parts.values()), {name: fixed.get(name) for name in self.columns}), "steps")

    def __len__(self) -> int:
        return self._table.num_rows

    def rows(self) -> list[dict[str, Any]]:
        """All rows as plain values; what is missing is None."""
        return self._table.to_pylist()

    def column(self, name: str) -> np.ndarray:
        """One column, ``[members]``.

        Integers, numbers, and true or false have their own kinds. What is missing is NaN among numbers, which
        integers then become too, and None among other values, which are an array of objects then; so are texts.

        Raises:
          InputError: there is no such column.
        """
        self._check(name)
        column = self._table.column(name).combine_chunks()
        kind = str(column.type)
        if kind == "string" or (kind == "bool" and column.null_count):
            return np.array([*column.to_pylist(), None], dtype=object)[:-1]  # else NumPy would look into the values
        return column.to_numpy(zero_copy_only=False)

    def arrays(self, columns: Iterable[str] | None = None) -> dict[str, np.ndarray]:
        """Columns by name, all of them or those named, each as `column` gives it.

        Raises:
          InputError: there is no such column.
        """
        return {name: self.column(name) for name in (self.columns if columns is None else columns)}

    def member(self, number: int) -> dict[str, Any]:
        """The row of one member; what is missing is None.

        Raises:
          InputError: the table has no such member, or not yet.
        """
        members = self.column("member")
        place = int(np.searchsorted(members, number))
        if place == len(members) or members[place] != number:
            known = f"it has {len(members):,} members, {members[0]} to {members[-1]}" if len(members) else "it is empty"
            raise InputError(f"no member {number}", f"in the table of '{self.path}': {known}", "choose one of those")
        return self._table.slice(place, 1).to_pylist()[0]

    @property
    def metric(self) -> str:
        """What members are compared by, unless told otherwise: `validation_loss`, or `loss` where nothing has that."""
        held_out = "validation_loss"
        return held_out if held_out in self.metrics and np.isfinite(self.column(held_out)).any() else "loss"

    def order(self, metric: str | None = None, direction: Direction | None = None) -> np.ndarray:
        """Places of rows from the best to the worst; equal ones in the order of members.

        Members that diverged, or whose value is missing or not finite, are left out.

        Args:
          metric: a column of numbers; `validation_loss` by default, or `loss` where no member has that.
          direction: whether less (`min`) or more (`max`) is better; by default what `direction_of` says.

        Raises:
          InputError: there is no such column, or it holds no numbers.
        """
        metric = metric or self.metric
        if metric not in self.columns and not len(self):
            return np.arange(0)  # nothing has been measured so far
        values = self.column(metric)
        if values.dtype.kind not in "if":
            raise InputError(f"'{metric}' holds no numbers", "as a metric", f"choose among {', '.join(self.metrics)}")
        able = np.isfinite(values) & (self.column("status") != "diverged")
        sign = -1.0 if (direction or direction_of(metric)) == "max" else 1.0
        return np.flatnonzero(able)[np.argsort(sign * values[able], kind="stable")]

    def judged(self, metric: str | None = None, direction: Direction | None = None) -> np.ndarray:
        """The values of a metric as they are drawn and explained, ``[members]``.

        They are infinitely bad of members that diverged; NaN of those that are still running, or have no value.
        Arguments and errors are those of `order`.
        """
        metric = metric or self.metric
        self.order(metric, direction)  # for its errors
        if metric not in self.columns:
            return np.full(len(self), np.nan)
        worst = np.inf if (direction or direction_of(metric)) == "min" else -np.inf
        status, values = self.column("status"), self.column(metric).astype(float)
        return np.where(status == "diverged", worst, np.where(status == "running", np.nan, values))

    def best(self, metric: str | None = None, direction: Direction | None = None, n: int = 1) -> list[dict[str, Any]]:
        """The rows of the `n` best members, the best first; fewer where not so many have a value.

        Args and errors are those of `order`.
        """
        return self._table.take(self.order(metric, direction)[:n]).to_pylist()

    def changed(self) -> tuple[str, ...]:
        """The swept keys whose choices differ between the members that are here; none is a choice, too."""
        return tuple(name for name in self.choices if len(self._table.column(name).unique()) > 1)

    def write(self, path: str | Path) -> Path:
        """Writes the whole table in one atomic step, as `.parquet` or `.csv`.

        Raises:
          InputError: another ending, or the place cannot be written to.
        """
        path = Path(path)
        if path.suffix not in (".parquet", ".csv"):
            near = nearest(path.suffix, (".parquet", ".csv"))
            raise InputError(
                f"'{path.name}' is no kind of table", "as its path", f"choose {(near or ['.parquet or .csv'])[0]}"
            )
        try:
            atomic_write(path, _csv_bytes(self._table) if path.suffix == ".csv" else _parquet_bytes(self._table))
        except OSError as error:
            raise InputError(f"cannot write '{path}'", error.strerror or str(error), "choose another path") from error
        return path

    def _check(self, name: str) -> None:
        if name not in self.columns:
            near = nearest(name, self.columns) or self.columns
            raise InputError(f"no column '{name}'", f"in the table of '{self.path}'", f"choose among {', '.join(near)}")


@dataclasses.dataclass(frozen=True)
class Curves:
    """The logged lines of a sweep's members. Nothing is read before it is asked for.

    Attributes:
      path: of the sweep's folder.
    """

    path: str | Path

    def of(self, members: Iterable[int] | None = None, metrics: Sequence[str] | None = None) -> dict[str, np.ndarray]:
        """The lines of some members as columns: `member`, `step`, then metrics, ``[lines]``, in the order of those two.

        Args:
          members: their numbers; those that have logged nothing have no lines. All by default.
          metrics: names; one that no member has is NaN. All by default.

        Raises:
          InputError: pyarrow is not installed.
        """
        wanted = None if members is None else np.unique(np.fromiter(members, np.int64))
        parts, _ = _read_parts(Path(self.path) / "curves", wanted)
        found = dict.fromkeys(name for part in parts.values() for name in part.column_names[2:])
        names = ["member", "step", *(found if metrics is None else metrics)]
        types = {name: "int64" if name in ("member", "step") else "float64" for name in names}
        table = _newest(_union(list(parts.values()), types), "step", every=True)
        return {name: table.column(name).to_numpy() for name in names}

    def grid(self, metric: str, members: Sequence[int] | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """One metric of some members over all steps at which any of them logged.

        Args:
          metric: its name.
          members: their numbers, each once.

        Returns:
          `steps`, ``[points]``, and values, ``[members, points]`` in the order of `members`; NaN where a member has
          logged nothing.

        Raises:
          InputError: no member has logged such a metric, or pyarrow is not installed.
        """
        numbers = np.asarray(members, np.int64)
        lines = self.of(numbers)
        if metric not in lines or metric in ("member", "step"):
            known = [name for name in lines if name not in ("member", "step")]
            near = ", ".join(nearest(metric, known) or known) or "members that have logged something"
            raise InputError(f"no curve of '{metric}'", f"in '{Path(self.path) / 'curves'}'", f"choose {near}")
        steps, points = np.unique(lines["step"], return_inverse=True)
        order = np.argsort(numbers, kind="stable")
        values = np.full((len(numbers), len(steps)), np.nan)
        values[order[np.searchsorted(numbers[order], lines["member"])], points] = lines[metric]
        return steps, values


def _layout(names: list[str]) -> tuple[list[str], list[str]]:
    """Names of the choices and of the metrics, of a part with these columns."""
    fixed = [name for name in names if name in LEAD or name in TAIL]
    if fixed != [*LEAD, *TAIL] or names[: len(LEAD)] != list(LEAD):
        raise ValueError(f"columns {', '.join(names)}: expected {', '.join(LEAD)}, choices, {', '.join(TAIL)}, metrics")
    start, end = names.index("status"), names.index("seconds")
    if end - start != len(TAIL) - 1:
        raise ValueError(f"columns {', '.join(names[start : end + 1])} stand between status and seconds")
    return names[len(LEAD) : start], names[end + 1 :]


def _length(rows: Mapping[str, Any]) -> int:
    lengths = {name: len(values) for name, values in rows.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"columns differ in length: {', '.join(f'{name} {n}' for name, n in lengths.items())}")
    return next(iter(lengths.values()), 0)


def _values(values: Any) -> list[Any]:
    return values.tolist() if hasattr(values, "tolist") else list(values)


def _array(values: Any, kind: str | None) -> Any:
    """A column; without a kind, the narrowest of integers, numbers, true or false, and texts that holds them all."""
    arrow, _ = _parquet()
    plain = [each.item() if hasattr(each, "item") else each for each in _values(values)]
    if kind is None:
        kinds = {type(each) for each in plain if each is not None}
        kind = next((name for name, held in KINDS.items() if kinds <= held), "string")
    if kind == "string":
        plain = [_text(each) for each in plain]
    return arrow.array(plain, arrow.type_for_alias(kind), from_pandas=True)  # that is, NaN is null


KINDS = {"int64": {int}, "float64": {int, float}, "bool": {bool}}


def _text(value: Any) -> str | None:
    return str(value).lower() if isinstance(value, bool) else value if value is None else str(value)


def _union(parts: Sequence[Any], types: Mapping[str, str | None]) -> Any:
    """All parts below each other. A column without a type gets one that holds what all parts have there."""
    arrow, _ = _parquet()
    columns = {}
    for name, kind in types.items():
        pieces = [part.column(name) if name in part.column_names else arrow.nulls(len(part)) for part in parts]
        if kind is None:
            kinds = {str(piece.type) for piece in pieces if piece.null_count < len(piece)}
            named = {"int64": {"int64"}, "float64": {"int64", "double"}, "bool": {"bool"}}
            kind = next((each for each, held in named.items() if kinds <= held), "string")
            if kind == "string" and kinds != {"string"}:
                pieces = [_array(piece.to_pylist(), "string") for piece in pieces]
        target = arrow.type_for_alias(kind)
        chunks = [chunk for piece in pieces for chunk in _chunks(piece.cast(target))]
        columns[name] = arrow.chunked_array(chunks, target)
    return arrow.table(columns).combine_chunks()


def _chunks(column: Any) -> list[Any]:
    return column.chunks if hasattr(column, "chunks") else [column]


def _newest(table: Any, last: str, *, every: bool = False) -> Any:
    """In the order of members and of the column `last`: the last row of each member, or of each pair of both."""
    member, other = table.column("member").to_numpy(), table.column(last).fill_null(-1).to_numpy()
    order = np.lexsort((other, member))
    member, other = member[order], other[order]
    same = (member[1:] == member[:-1]) & ((other[1:] == other[:-1]) | (not every))
    return table.take(order[~np.append(same, False)]) if len(order) else table


def _read_parts(folder: Path, members: np.ndarray | None = None) -> tuple[dict[Path, Any], dict[str, str]]:
    """The parts in a folder, with the rows of `members` (sorted) alone if there are any; and what cannot be read."""
    arrow, parquet = _parquet()
    parts, left_out = {}, {}
    for file in sorted(folder.glob("[!.]*.parquet")):
        try:
            with parquet.ParquetFile(file) as reader:
                if reader.schema_arrow.names[:1] != ["member"]:
                    left_out[file.name] = "its first column is not member"
                elif members is None:
                    parts[file] = reader.read()
                elif _holds(reader.metadata, members):
                    part = reader.read()
                    parts[file] = part.filter(np.isin(part.column("member").to_numpy(), members))
        except (OSError, arrow.ArrowException) as error:
            left_out[file.name] = str(error).partition("\n")[0]
    return parts, left_out


def _holds(metadata: Any, members: np.ndarray) -> bool:
    """Whether a part that begins with the column `member` may hold one of these, by what its footer says."""
    for number in range(metadata.num_row_groups):
        bounds = metadata.row_group(number).column(0).statistics
        if bounds is None or not bounds.has_min_max:
            return True
        first = int(np.searchsorted(members, bounds.min))
        if first < len(members) and members[first] <= bounds.max:
            return True
    return False


def _write(folder: Path, batch: int, table: Any) -> Path:
    file = folder / f"{batch:04d}.parquet"
    atomic_write(file, _parquet_bytes(table))
    return file


def _parquet_bytes(table: Any) -> bytes:
    arrow, parquet = _parquet()
    stream = arrow.BufferOutputStream()
    parquet.write_table(table, stream, compression="zstd")
    return stream.getvalue().to_pybytes()


def _csv_bytes(table: Any) -> bytes:
    arrow, _ = _parquet()
    stream = arrow.BufferOutputStream()
    importlib.import_module("pyarrow.csv").write_csv(table, stream)
    return stream.getvalue().to_pybytes()


def _folders(parent: Path) -> list[str]:
    return [each.name for each in parent.iterdir() if each.is_dir()] if parent.is_dir() else []


def _parquet() -> tuple[Any, Any]:
    """The libraries `pyarrow` and `pyarrow.parquet`."""
    try:
        return importlib.import_module("pyarrow"), importlib.import_module("pyarrow.parquet")
    except ImportError:
        raise InputError("pyarrow is not installed", "in the table of a sweep", "pip install 'rnnjax[sweep]'") from None
