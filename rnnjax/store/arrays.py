"""Groups of arrays that grow: Zarr v3, written with TensorStore, so that a killed writer loses nothing acknowledged.

    walk.zarr/
      zarr.json              the group, with the metadata of every array in it ("consolidated")
      0.h/zarr.json          the same metadata of one array
      0.h/c.0.0  0.h/c.1.0   a file for each block that was appended

What counts is the group's `zarr.json`, and it alone. `write` puts data beyond the shapes that it states, and returns
when they are on disk; `commit` then replaces it by one with the new shapes, in one atomic step for all arrays. Plain
zarr and xarray read the same file. A block is one file (a shard) of pieces narrow in its last axis, each with a
checksum: appending costs one synchronised file an array, and one unit's whole course is read without the others.
"""

from __future__ import annotations

import fcntl
import json
import math
import os
import secrets
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from rnnjax.config import InputError
from rnnjax.store.folder import atomic_write, fsync

PIECE_BYTES = 1 << 16
"""Size aimed at for the part of a file that can be read by itself."""

RUN_BYTES = 64
"""What such a part has of each row at least: cutting rows shorter makes writing slow."""

UNBOUNDED = 1 << 50
"""Length of the first axis as TensorStore sees it while writing: shapes are our own affair."""


class Layout(NamedTuple):
    """How an array lies on disk.

    Attributes:
      dims: a name for each axis.
      shape: of the array; the first axis grows.
      dtype: name of the type of its numbers.
      block: shape of what one file holds.
      attributes: what else is known of it, as JSON.
    """

    dims: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: str
    block: tuple[int, ...]
    attributes: Mapping[str, Any]

    def metadata(self) -> dict[str, Any]:
        """What `zarr.json` says of the array."""
        dtype = np.dtype(self.dtype)
        ends = [{"name": "bytes", "configuration": {"endian": "little"}}, {"name": "crc32c"}]
        one_byte = [{"name": "bytes"}, {"name": "crc32c"}]
        last = self.block[-1]
        piece = max(RUN_BYTES, PIECE_BYTES // math.prod(self.block[:-1])) // dtype.itemsize
        codecs: list[dict[str, Any]] = ends if dtype.itemsize > 1 else one_byte
        block = self.block
        if len(block) > 1 and piece < last:
            # A block is a whole number of pieces; the array ends where its shape says.
            block = (*block[:-1], -(-last // piece) * piece)
            pieces = {
                "chunk_shape": [*block[:-1], piece],
                "codecs": codecs,
                "index_codecs": ends,
                "index_location": "end",
            }
            codecs = [{"name": "sharding_indexed", "configuration": pieces}]
        elif len(block) == 1:  # coordinates repeat themselves, and are read whole
            zstd = {"name": "zstd", "configuration": {"level": 1, "checksum": False}}
            codecs = [codecs[0], zstd, codecs[1]]
        return {
            "zarr_format": 3,
            "node_type": "array",
            "shape": list(self.shape),
            "data_type": dtype.name,
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": list(block)}},
            # Files of an array lie in one folder, which is synchronised with each of them.
            "chunk_key_encoding": {"name": "default", "configuration": {"separator": "."}},
            "fill_value": "NaN" if dtype.kind == "f" else False if dtype.kind == "b" else 0,
            "codecs": codecs,
            "attributes": dict(self.attributes),
            "dimension_names": list(self.dims),
            "storage_transformers": [],
        }


def _layout(metadata: Mapping[str, Any]) -> Layout:
    """The inverse of `Layout.metadata`."""
    return Layout(
        tuple(metadata["dimension_names"]),
        tuple(metadata["shape"]),
        metadata["data_type"],
        tuple(metadata["chunk_grid"]["configuration"]["chunk_shape"]),
        metadata["attributes"],
    )


class ArrayGroup:
    """A group of arrays on disk, made by `create` or `open`.

    Attributes:
      path: its folder.
      arrays: layout of each array by name, as acknowledged.
      attributes: of the group, as JSON.
    """

    def __init__(self, path: Path, metadata: Mapping[str, Mapping[str, Any]], attributes: Mapping[str, Any]):
        self.path, self.attributes = path, dict(attributes)
        self._metadata = {name: dict(each) for name, each in metadata.items()}
        self.arrays = {name: _layout(each) for name, each in metadata.items()}
        self._readers: dict[str, Any] = {}
        self._writers: dict[str, Any] = {}
        self._lock: int | None = None
        self._name: Path | None = None  # where it will appear

    @classmethod
    def create(cls, path: str | Path, arrays: Mapping[str, Layout], attributes: Mapping[str, Any]) -> ArrayGroup:
        """Makes a group that holds nothing yet, and locks it for writing.

        It appears under its name when `commit` is first called; closed before, it leaves nothing.

        Args:
          path: where; folders on the way are made.
          arrays: by name; the length of each first axis is taken as 0.
          attributes: of the group, as JSON.

        Raises:
          InputError: the path is taken or cannot be written to, or a name that cannot be a folder's.
        """
        path = Path(path)
        for name in arrays:
            if not name or "/" in name or name.startswith((".", "__")):
                raise InputError(f"'{name}' cannot name an array", f"in '{path}'", "choose a plain name, such as 0.h")
        if path.exists():
            raise _taken(path)
        metadata = {name: each._replace(shape=(0, *each.shape[1:])).metadata() for name, each in arrays.items()}
        part = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        group = cls(part, metadata, attributes)
        group._name = path
        try:
            for name, each in metadata.items():
                atomic_write(part / name / "zarr.json", _json(each))
            group._acquire()
        except OSError as error:
            shutil.rmtree(part, ignore_errors=True)
            raise InputError(
                f"cannot write to '{path}'", error.strerror or str(error), "choose another path"
            ) from error
        return group

    @classmethod
    def open(cls, path: str | Path, *, write: bool = False) -> ArrayGroup:
        """The group at `path`, with what had been acknowledged.

        Args:
          path: its folder.
          write: whether to lock it, so that `write` and `commit` go on from there.

        Raises:
          InputError: there is no such group, it is damaged, or another process is writing it.
        """
        path = Path(path)
        file = path / "zarr.json"
        if not file.is_file():
            known = f"there is no '{file}'" if path.is_dir() else "there is no such folder"
            raise InputError(f"'{path}' is no recording", known, "give the folder of a recording, such as walk.zarr")
        try:
            root = json.loads(file.read_bytes())
            found = {name: dict(each) for name, each in root["consolidated_metadata"]["metadata"].items()}
            group = cls(path, found, root["attributes"])
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(
                f"'{path}' is no recording, or is damaged",
                f"in '{file}': {type(error).__name__} {error}",
                "give the folder of a recording, or record again",
            ) from error
        if write:
            group._acquire()
            for name in group._metadata:
                group._renew(name)  # a killed writer may have left one that is ahead
        return group

    def write(self, name: str, start: int, values: np.ndarray) -> None:
        """Puts `values` into an array from position `start` of its first axis on; on return they are on disk.

        They are not acknowledged before `commit`. The last file of an array, where it is not full, is replaced by one
        that holds more.

        Raises:
          InputError: the disk is full, or the last file is damaged.
        """
        import tensorstore as ts

        if name not in self._writers:
            metadata = self._metadata[name]
            metadata = {**metadata, "shape": [UNBOUNDED, *metadata["shape"][1:]]}
            self._writers[name] = self._store(name, metadata)
        values = np.asarray(values, order="C")
        try:
            with ts.Transaction() as transaction:  # a file is written once, not once for each of its pieces
                store = self._writers[name].with_transaction(transaction)
                store[start : start + len(values)].write(values, can_reference_source_data_indefinitely=True).result()
        except ValueError as error:
            raise InputError(
                f"cannot write to '{self.path / name}'",
                str(error).partition(" [")[0],
                "see that there is space on the disk; what was acknowledged is kept",
            ) from error

    def commit(self, lengths: Mapping[str, int], attributes: Mapping[str, Any] | None = None) -> None:
        """Acknowledges that arrays have these lengths, all of them at once; also used to forget what came last.

        Args:
          lengths: of the first axis, by name; the other arrays stay as they are.
          attributes: of the group, replacing those it had; None keeps them.

        Raises:
          InputError: the first time, and the path has been taken meanwhile.
        """
        for name, length in lengths.items():
            layout = self.arrays[name]
            self.arrays[name] = layout._replace(shape=(length, *layout.shape[1:]))
            self._metadata[name]["shape"] = [length, *layout.shape[1:]]
            self._readers.pop(name, None)
            self._renew(name)
        if attributes is not None:
            self.attributes = dict(attributes)
        atomic_write(self.path / "zarr.json", self._root())
        if self._name is not None:
            self._appear(self._name)

    def read(self, name: str, index: Sequence[Any]) -> np.ndarray:
        """Part of an array.

        Args:
          name: of the array.
          index: for each axis a slice, an index, or an array of indices; each acts on its own axis.

        Raises:
          InputError: a file is missing or damaged.
        """
        if name not in self._readers:
            self._readers[name] = self._store(name, self._metadata[name])
        try:
            return self._readers[name].oindex[tuple(index)].read().result()
        except ValueError as error:
            raise InputError(
                f"'{self.path / name}' is damaged",
                str(error).partition(" [")[0],
                "record again, or select other steps or units",
            ) from error

    def close(self) -> None:
        """Lets go of the lock, once the metadata of each single array is on disk, too."""
        if self._lock is not None:
            if self._name is not None:
                shutil.rmtree(self.path)
            else:
                for name, metadata in self._metadata.items():
                    atomic_write(self.path / name / "zarr.json", _json(metadata))
            os.close(self._lock)
            self._lock = None
        self._readers.clear()
        self._writers.clear()

    def __enter__(self) -> ArrayGroup:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _store(self, name: str, metadata: Mapping[str, Any]) -> Any:
        import tensorstore as ts

        spec = {
            "driver": "zarr3",
            "kvstore": {"driver": "file", "path": f"{(self.path / name).resolve()}/"},
            "metadata": dict(metadata),
            "fill_missing_data_reads": False,  # a file that is gone is an error, not zeros ...
            "store_data_equal_to_fill_value": True,  # ... and none is left out when it is written
        }
        return ts.open(spec, open=True, assume_metadata=True).result()

    def _root(self) -> bytes:
        inline = {"kind": "inline", "must_understand": False, "metadata": self._metadata}
        return _json(
            {
                "zarr_format": 3,
                "node_type": "group",
                "attributes": self.attributes,
                "consolidated_metadata": inline,
            }
        )

    def _renew(self, name: str) -> None:
        """Replaces the metadata of one array, unsynchronised: after a power failure the group's is what counts."""
        file = self.path / name / "zarr.json"
        part = file.with_name(".zarr.json")
        part.write_bytes(_json(self._metadata[name]))
        os.replace(part, file)

    def _appear(self, path: Path) -> None:
        try:
            os.rename(self.path, path)
        except OSError as error:
            raise _taken(path) from error
        fsync(path.parent)
        self.path, self._name = path, None
        self._readers.clear()
        self._writers.clear()

    def _acquire(self) -> None:
        self._lock = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            self._lock = None
            raise InputError(
                f"'{self.path}' is being written", "by another process", "wait until it ends, or stop it"
            ) from None


def _json(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, allow_nan=False).encode()


def _taken(path: Path) -> InputError:
    return InputError(f"'{path}' exists already", "as the path of a recording", "choose another path, or remove it")
