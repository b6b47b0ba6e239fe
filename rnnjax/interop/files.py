"""Files of weights: what `export` writes, and what `load` reads."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from flax import nnx, serialization

from rnnjax.cells import lookup
from rnnjax.config import InputError
from rnnjax.interop.flax import flax_modules, from_flax, to_flax
from rnnjax.interop.keras import from_h5, keras_config, read_h5, write_h5
from rnnjax.interop.npz import from_npz, to_npz
from rnnjax.interop.onnx_reader import from_onnx
from rnnjax.interop.onnx_writer import to_onnx
from rnnjax.interop.parts import Model, library
from rnnjax.interop.pytorch import from_torch, to_torch, torch_modules


class Target(NamedTuple):
    """A library that weights go to and come from.

    Attributes:
      about: what `export` writes, in a line.
      suffix: of the file that holds the weights.
      write: the files of a model, by suffix.
      read: the weights in such a file, as the library has them.
      put: a model with those weights.
    """

    about: str
    suffix: str
    write: Callable[[Any], dict[str, bytes]]
    read: Callable[[bytes], Any]
    put: Callable[[Any, Any], Any]


def export(model: nnx.Module, target: str, path: str | Path) -> list[Path]:
    """Writes a model's weights for another library.

    Args:
      model: the model.
      target: a name of `TARGETS`.
      path: what the files are called, without suffix (one that is given is dropped), or a folder for files called
        `model`. Files of the same names are replaced.

    Returns:
      The files, the one with the weights first.

    Raises:
      InputError: an unknown target, or something in the model that it has no counterpart of; nothing is written then.
    """
    chosen = lookup(TARGETS, target, "target", "in export")
    path = Path(path)
    base = path / "model" if path.is_dir() else path.with_name(path.name.removesuffix(chosen.suffix))
    files = [(base.with_name(f"{base.name}{suffix}"), data) for suffix, data in chosen.write(model).items()]
    try:
        base.parent.mkdir(parents=True, exist_ok=True)
        for file, data in files:
            part = file.with_name(f"{file.name}.part")
            part.write_bytes(data)
            os.replace(part, file)
    except OSError as error:
        raise InputError(
            f"'{base}' cannot be written: {error.strerror}", "in export", "give a path that can be"
        ) from None
    return [file for file, _ in files]


def load(model: Model, source: str, path: str | Path) -> Model:
    """The model with weights from a file that another library, or `export`, wrote.

    Args:
      model: a model of the same layers, directions and widths.
      source: a name of `TARGETS`.
      path: the file with the weights.

    Raises:
      InputError: an unknown source, no such file, or weights that are not those of such a model.
    """
    chosen = lookup(TARGETS, source, "source", "in load")
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise InputError(
            f"'{path}' cannot be read: {error.strerror}", "in load", f"give a {chosen.suffix} file"
        ) from None
    try:
        weights = chosen.read(data)
    except InputError:
        raise
    except Exception as error:  # each library has errors of its own for a file that is not its own
        raise InputError(
            f"'{path}' is no file of weights for {source}", str(error) or "in load", "give another"
        ) from error
    return chosen.put(model, weights)


def _write_torch(model: nnx.Module) -> dict[str, bytes]:
    state, about, buffer = to_torch(model), torch_modules(model), io.BytesIO()
    torch = library("torch", "PyTorch")
    torch.save({name: torch.from_numpy(value) for name, value in state.items()}, buffer)
    return {".pt": buffer.getvalue(), ".torch.json": _json(about)}


def _read_torch(data: bytes) -> Any:
    return library("torch", "PyTorch").load(io.BytesIO(data), map_location="cpu", weights_only=True)


def _write_keras(model: nnx.Module) -> dict[str, bytes]:
    about = keras_config(model)
    return {".weights.h5": write_h5(model), ".keras.json": _json(about)}


def _write_flax(model: nnx.Module, form: str, name: str) -> dict[str, bytes]:
    about = {"form": form, **flax_modules(model)}
    return {f".{name}.msgpack": serialization.msgpack_serialize(to_flax(model, form)), f".{name}.json": _json(about)}


def _write_onnx(model: nnx.Module) -> dict[str, bytes]:
    return {".onnx": to_onnx(model).SerializeToString()}


def _read_onnx(data: bytes) -> Any:
    return library("onnx", "ONNX").load_model_from_string(data)


def _write_npz(model: nnx.Module) -> dict[str, bytes]:
    buffer, values = io.BytesIO(), to_npz(model)
    np.savez(buffer, allow_pickle=False, **values)
    return {".npz": buffer.getvalue()}


def _read_npz(data: bytes) -> dict[str, np.ndarray]:
    with np.load(io.BytesIO(data), allow_pickle=False) as values:
        return dict(values)


def _json(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, indent=2).encode() + b"\n"


TARGETS: dict[str, Target] = {
    "torch": Target("a .pt state dict, its modules as JSON", ".pt", _write_torch, _read_torch, from_torch),
    "keras": Target("a .weights.h5 file, its Sequential as JSON", ".weights.h5", _write_keras, read_h5, from_h5),
    "flax": Target(
        "a .flax.msgpack tree for nnx, its cells as JSON",
        ".flax.msgpack",
        partial(_write_flax, form="nnx", name="flax"),
        serialization.msgpack_restore,
        from_flax,
    ),
    "linen": Target(
        "a .linen.msgpack tree for linen, its cells as JSON",
        ".linen.msgpack",
        partial(_write_flax, form="linen", name="linen"),
        serialization.msgpack_restore,
        from_flax,
    ),
    "onnx": Target("an .onnx graph", ".onnx", _write_onnx, _read_onnx, from_onnx),
    "npz": Target("an .npz file of every variable", ".npz", _write_npz, _read_npz, from_npz),
}
