from __future__ import annotations

import csv
import json
import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from small_models import INPUT, OUTPUTS, UNITS, built

from rnnjax.config import InputError
from rnnjax.experiment import Experiment
from rnnjax.layers import ModelConfig
from rnnjax.recording import STATISTICS, Film, Recording, observe, observe_members, stream, streaming
from rnnjax.sequence import Record, add, clamp
from rnnjax.store import ArrayGroup, Layout
from rnnjax.tasks import Batch, Text
from rnnjax.train import TrainConfig, Trainer, answer_sums

ROWS, STEPS = 4, 7
LENGTHS = np.array([7, 0, 4, 1])
RNG = np.random.default_rng(0)
INPUTS = RNG.normal(size=(ROWS, STEPS, INPUT)).astype(np.float32)
TARGETS = RNG.integers(0, OUTPUTS, (ROWS, STEPS))
LETTERS = ("a", "\n", '"quoted",', "\x00", "<b>")


@pytest.fixture(autouse=True, scope="module")
def compiled_quickly():
    """XLA's default is to spend seconds on programs that run for microseconds."""
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", before)


def ragged() -> Batch:
    return Batch(jnp.asarray(INPUTS), jnp.asarray(TARGETS), lengths=jnp.asarray(LENGTHS))


@cache
def model(cell: str = "lstm", **options: Any) -> Any:
    return built(cell, **options)


@cache
def text_trainer() -> Trainer:
    text = "".join("abcd"[k] for k in np.random.default_rng(1).integers(0, 4, 600))
    config = ModelConfig(cell="elman", units=5, executor="scan")
    return Experiment(task=Text(text, length=10), model=config, train=TrainConfig(batch=6, epochs=2)).built.trainer


def small() -> Recording:
    """Twelve steps of two examples, three units of one field and two of another, and a shorter stride."""
    return Recording.of(
        {
            "0.h": np.arange(36.0).reshape(12, 3),
            "0.i": np.arange(24.0).reshape(12, 2),
            "0.c": np.arange(12.0).reshape(4, 3),
        },
        dims={"0.c": ("step_by_3", "units")},
        units={"0.h": [0, 1, 2], "0.i": [2, 0], "0.c": [0, 1, 2]},
        coords={
            "example": [0] * 5 + [1] * 7,
            "time": [*range(5), *range(7)],
            "symbol": [LETTERS[k % 5] for k in range(12)],
            "example_by_3": [0, 0, 1, 1],
            "time_by_3": [0, 3, 1, 4],
        },
        attributes={"run": "runs/x", "stride": {"0.c": 3}},
    )


# -- arrays with labels


def test_a_recording_tells_what_it_holds():
    found = small()
    assert found.fields == ("0.h", "0.i", "0.c") and len(found) == 12
    assert found.dims("0.h") == ("step", "units") and found.dims("0.c") == ("step_by_3", "units")
    assert found.shape("0.i") == (12, 2) and found.units("0.i").tolist() == [2, 0]
    assert found.coords["symbol"].tolist() == [LETTERS[k % 5] for k in range(12)]
    assert set(found.coords) == {"example", "time", "symbol", "example_by_3", "time_by_3"}
    assert found.attributes["run"] == "runs/x"
    assert "0.h  12 step x 3 units  float64" in repr(found)


@pytest.mark.parametrize("stored", [False, True])
@pytest.mark.parametrize(
    ("chosen", "field", "expected"),
    [
        ({"unit": 2}, "0.h", np.s_[:, 2]),
        ({"unit": 2}, "0.i", np.s_[:, 0]),
        ({"unit": [2, 0]}, "0.h", np.s_[:, [2, 0]]),
        ({"unit": [0, 2]}, "0.i", np.s_[:, [1, 0]]),
        ({"unit": slice(1, None)}, "0.h", np.s_[:, 1:]),
        ({"unit": slice(0, None, 2)}, "0.i", np.s_[:, :]),
        ({"time": slice(2, 4)}, "0.h", np.s_[[2, 3, 7, 8]]),
        ({"time": 1}, "0.h", np.s_[[1, 6]]),
        ({"time": 1}, "0.c", np.s_[[2]]),
        ({"time": slice(1, None, 3)}, "0.i", np.s_[[1, 4, 6, 9]]),
        ({"example": 1}, "0.h", np.s_[5:]),
        ({"example": 1, "time": slice(0, 2), "unit": 1}, "0.h", np.s_[5:7, 1]),
        ({"field": ["0.i"], "example": [0]}, "0.i", np.s_[:5]),
    ],
)
def test_selecting_is_by_coordinates(chosen, field, expected, stored, tmp_path):
    found = small().save(tmp_path / "r.zarr") if stored else small()
    part = found.select(**chosen)
    np.testing.assert_array_equal(part[field], found[field][expected])
    assert len(part.dims(field)) == part[field].ndim
    steps = small()["0.h"][:, 0][expected[0] if isinstance(expected, tuple) else expected]
    if field != "0.c":
        assert part.coords["example"].tolist() == found.coords["example"][(steps / 3).astype(int)].tolist()


def test_what_was_selected_once_is_selected_again():
    part = small().select(time=slice(1, 5)).select(unit=[2, 1]).select(time=[1, 3], unit=2)
    assert part["0.h"].tolist() == small()["0.h"][[1, 3, 6, 8], 2].tolist()
    assert part.attributes["unit"] == 2 and part.units("0.h").tolist() == [2]
    assert small().select(unit=1).fields == ("0.h", "0.c")  # of 0.i it was not recorded


@pytest.mark.parametrize(
    "chosen",
    [
        {"unit": 3},
        {"unit": [7]},
        {"time": 99},
        {"example": 2},
        {"member": 0},
        {"checkpoint": slice(0, 1)},
        {"field": "0.g"},
        {"unit": slice(-3, None)},
        {"statistic": "mean"},
    ],
)
def test_what_was_not_recorded_is_refused(chosen):
    with pytest.raises(InputError) as refused:
        small().select(**chosen)
    assert all(refused.value.args)


@pytest.mark.parametrize(
    "given",
    [
        {"values": {"0.h": np.zeros((3, 2)), "0.c": np.zeros((4, 2))}},
        {"values": {"0.h": np.zeros((3, 2))}, "coords": {"time": [0, 1]}},
        {"values": {"0.h": np.zeros((3, 2))}, "dims": {"0.h": ("step",)}},
        {"values": {"0.h": np.zeros((3, 2, 2, 2))}},
        {"values": {"0.h": np.zeros((3, 2))}, "units": {"0.h": [1]}},
    ],
)
def test_arrays_that_do_not_fit_together_are_refused(given):
    with pytest.raises(InputError):
        Recording.of(**given)


# -- on disk


def test_a_recording_comes_back_from_disk_bit_for_bit(tmp_path):
    found = small()
    back = found.save(tmp_path / "r.zarr")
    assert back.fields == found.fields and back.attributes == found.attributes
    for name in found.fields:
        assert back.dims(name) == found.dims(name) and back.units(name).tolist() == found.units(name).tolist()
        assert back[name].dtype == found[name].dtype and back[name].tobytes() == found[name].tobytes()
    for name, values in found.coords.items():
        assert back.coords[name].tolist() == values.tolist()
    with pytest.raises(InputError, match="exists"):
        found.save(tmp_path / "r.zarr")


def test_what_is_selected_is_saved(tmp_path):
    part = small().select(example=1, unit=[2, 0], time=slice(1, None, 2))
    back = part.save(tmp_path / "r.zarr")
    for name in part.fields:
        assert back[name].tolist() == part[name].tolist() and back.units(name).tolist() == part.units(name).tolist()
    one = small().select(field="0.h", unit=2).save(tmp_path / "one.zarr")
    assert one.dims("0.h") == ("step",) and one["0.h"].tolist() == small()["0.h"][:, 2].tolist()
    statistics = Recording.of({"0.h": np.ones((5, 3))}, dims={"0.h": ("statistic", "units")})
    with pytest.raises(InputError, match="single number"):
        statistics.select(unit=1, statistic="mean").save(tmp_path / "number.zarr")


@pytest.mark.parametrize("shape", [(0, 3), (3, 0)])
def test_an_empty_recording_is_one_too(shape, tmp_path):
    back = Recording.of({"0.h": np.zeros(shape, np.float32)}).save(tmp_path / "r.zarr")
    assert back["0.h"].shape == shape and len(back) == shape[0]
    lines = back.export(tmp_path / "r.csv").read_text().splitlines()
    assert len(lines) == 1 + shape[0] and lines[0].startswith("example,time")


@pytest.mark.parametrize("dtype", ["float64", "float16", "int8", "uint32", "bool"])
def test_every_type_comes_back(dtype, tmp_path):
    values = RNG.normal(size=(9, 3)).astype(dtype)
    assert Recording.of({"x": values}).save(tmp_path / "r.zarr")["x"].tobytes() == values.tobytes()


def test_plain_zarr_and_xarray_read_it(tmp_path):
    zarr, xarray = pytest.importorskip("zarr"), pytest.importorskip("xarray")
    found = small()
    found.save(tmp_path / "r.zarr")
    group = zarr.open_group(tmp_path / "r.zarr", mode="r")
    single = zarr.open_array(tmp_path / "r.zarr" / "0.h", mode="r")
    apart = zarr.open_group(tmp_path / "r.zarr", mode="r", use_consolidated=False)
    with xarray.open_zarr(tmp_path / "r.zarr") as data:
        for name in found.fields:
            np.testing.assert_array_equal(group[name][:], found[name])
            np.testing.assert_array_equal(apart[name][:], found[name])
            np.testing.assert_array_equal(data[name], found[name])
        np.testing.assert_array_equal(single[:], found["0.h"])
        assert single.metadata.dimension_names == ("step", "units")
        assert data["0.h"].dims == ("step", "units") and "time" in data.coords and "symbol" in data["0.h"].coords
        assert data["0.i"].sel({"0.i.units": 0}).values.tolist() == found["0.i"][:, 1].tolist()
        assert [data["symbol"].attrs["labels"][k] for k in data["symbol"].values] == found.coords["symbol"].tolist()


def test_to_xarray_has_names_and_coordinates(tmp_path):
    pytest.importorskip("xarray")
    for found in (small(), small().save(tmp_path / "r.zarr")):
        data = found.select(unit=2).to_xarray()
        assert data["0.h"].dims == ("step",) and int(data["units"]) == 2
        assert data["0.h"].where(data["example"] == 1, drop=True).values.tolist() == found["0.h"][5:, 2].tolist()
        assert data["symbol"].values.tolist() == found.coords["symbol"].tolist()


def test_only_what_is_selected_is_read(tmp_path):
    values = RNG.normal(size=(64, 40)).astype(np.float32)
    layout = Layout(("step", "units"), (0, 40), "float32", (16, 40), {})
    with ArrayGroup.create(tmp_path / "g", {"x": layout}, {}) as group:
        for start in range(0, 64, 16):
            group.write("x", start, values[start : start + 16])
        group.commit({"x": 64})
        (tmp_path / "g" / "x" / "c.1.0").unlink()
        np.testing.assert_array_equal(group.read("x", [slice(32, 64), slice(3, 5)]), values[32:, 3:5])
        with pytest.raises(InputError, match="damaged"):
            group.read("x", [slice(0, 64), 3])


def test_an_array_grows_by_any_number_of_rows(tmp_path):
    values = RNG.normal(size=(50, 3)).astype(np.float32)
    layout = Layout(("step", "units"), (0, 3), "float32", (8, 3), {})
    path = tmp_path / "g"
    with ArrayGroup.create(path, {"x": layout}, {"a": 1}) as group:
        group.commit({})
    for start, stop in [(0, 5), (5, 6), (6, 30), (30, 50)]:
        with ArrayGroup.open(path, write=True) as group:
            group.write("x", start, values[start:stop])
            assert ArrayGroup.open(path).arrays["x"].shape == (start, 3)  # written, not acknowledged
            group.commit({"x": stop}, {"a": stop})
        after = ArrayGroup.open(path)
        assert after.attributes == {"a": stop}
        np.testing.assert_array_equal(after.read("x", [slice(0, stop), slice(0, 3)]), values[:stop])


def test_one_process_writes_at_a_time(tmp_path):
    layout = Layout(("step",), (0,), "int32", (8,), {})
    with ArrayGroup.create(tmp_path / "g", {"x": layout}, {}) as group:
        assert not (tmp_path / "g").exists()
        group.commit({})
        with pytest.raises(InputError, match="being written"):
            ArrayGroup.open(tmp_path / "g", write=True)
        with ArrayGroup.create(tmp_path / "h", {"x": layout}, {}) as late:
            group.path.with_name("h").mkdir()
            (tmp_path / "h" / "mine").touch()
            with pytest.raises(InputError, match="exists"):
                late.commit({})
        assert [path.name for path in (tmp_path / "h").iterdir()] == ["mine"]
        ArrayGroup.open(tmp_path / "g")
    ArrayGroup.open(tmp_path / "g", write=True).close()


@pytest.mark.parametrize("name", ["", "a/b", ".hidden", "__x"])
def test_a_name_that_cannot_be_a_folders_is_refused(name, tmp_path):
    with pytest.raises(InputError, match="cannot name"):
        Recording.of({name: np.zeros((2, 2))}).save(tmp_path / "r.zarr")
    assert list(tmp_path.iterdir()) == []


def garble(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: garble(path / "0.h" / "c.0.0"),
        lambda path: (path / "0.h" / "c.0.0").unlink(),
        lambda path: (path / "0.h" / "c.0.0").write_bytes(b""),
        lambda path: (path / "0.h" / "c.0.0").write_bytes((path / "0.h" / "c.0.0").read_bytes()[:-9]),
        lambda path: (path / "zarr.json").write_text((path / "zarr.json").read_text()[:200]),
        lambda path: (path / "zarr.json").write_text("{}"),
        lambda path: (path / "zarr.json").write_text("[1]"),
        lambda path: (path / "zarr.json").unlink(),
        lambda path: path.rename(path.with_name("elsewhere")),
        lambda path: (path / "zarr.json").write_text(
            json.dumps({"attributes": {}, "consolidated_metadata": {"metadata": {}}})
        ),
    ],
)
def test_what_is_damaged_is_said_to_be(damage, tmp_path):
    small().save(tmp_path / "r.zarr")
    damage(tmp_path / "r.zarr")
    with pytest.raises(InputError) as refused:
        Recording.open(tmp_path / "r.zarr")["0.h"]
    assert all(refused.value.args) and "r.zarr" in str(refused.value)


def test_another_library_s_group_is_no_recording(tmp_path):
    zarr = pytest.importorskip("zarr")
    group = zarr.open_group(tmp_path / "r.zarr", mode="w")
    group.create_array("x", shape=(2,), dtype="f4")
    with pytest.raises(InputError, match="no recording"):
        Recording.open(tmp_path / "r.zarr")
    with pytest.warns(match="specification"):
        zarr.consolidate_metadata(group.store)
    with pytest.raises(InputError, match="no recording"):
        Recording.open(tmp_path / "r.zarr")


def test_an_attribute_that_json_cannot_hold_is_refused(tmp_path):
    with pytest.raises(InputError, match="JSON"):
        Recording.of({"x": np.zeros((2, 2))}, attributes={"a": np.zeros(2)}).save(tmp_path / "r.zarr")


# -- exported


def test_a_table_has_a_row_a_step(tmp_path):
    part = small().select(field=["0.h", "0.i"])
    with open(part.export(tmp_path / "deep" / "r.csv"), newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["example", "time", "symbol", "0.h.0", "0.h.1", "0.h.2", "0.i.2", "0.i.0"]
    assert [row["symbol"] for row in rows] == part.coords["symbol"].tolist()
    assert [float(row["0.i.0"]) for row in rows] == part["0.i"][:, 1].tolist()
    assert [int(row["example"]) for row in rows] == part.coords["example"].tolist()


def test_a_table_of_members_and_checkpoints_has_their_columns(tmp_path):
    values = np.arange(24, dtype=np.float32).reshape(2, 3, 2, 2) / 3
    dims = ("checkpoint", "member", "step", "units")
    found = Recording.of({"0.h": values}, dims={"0.h": dims}, coords={"checkpoint": [0, 50], "member": [4, 5, 6]})
    with open(found.export(tmp_path / "r.csv"), newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(int(r["checkpoint"]), int(r["member"]), int(r["time"])) for r in rows] == [
        (c, m, t) for c in (0, 50) for m in (4, 5, 6) for t in (0, 1)
    ]
    assert np.asarray([r["0.h.1"] for r in rows], np.float32).tolist() == values[..., 1].ravel().tolist()
    assert found.select(checkpoint=50, member=5)["0.h"].tolist() == values[1, 1].tolist()


def test_parquet_has_the_same_columns(tmp_path, monkeypatch):
    parquet = pytest.importorskip("pyarrow.parquet")
    monkeypatch.setattr("rnnjax.recording.labelled.BLOCK_BYTES", 200)  # several blocks of rows
    table = parquet.read_table(small().select(field="0.h").export(tmp_path / "r.parquet"))
    assert table.column_names == ["example", "time", "symbol", "0.h.0", "0.h.1", "0.h.2"]
    assert table["0.h.1"].to_pylist() == small()["0.h"][:, 1].tolist()
    assert table["symbol"].to_pylist() == small().coords["symbol"].tolist()


def test_npz_has_fields_and_coordinates_by_name(tmp_path):
    stored = np.load(small().export(tmp_path / "r.npz"))
    assert stored["0.c"].tolist() == small()["0.c"].tolist() and stored["time_by_3"].tolist() == [0, 3, 1, 4]
    assert json.loads(str(stored["attributes"]))["run"] == "runs/x"


@pytest.mark.parametrize(("name", "message"), [("r.txt", "kind of file"), ("r.csv", "axes"), ("r.parquet", "axes")])
def test_an_export_that_cannot_be_is_refused(name, message, tmp_path):
    with pytest.raises(InputError, match=message):
        small().export(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("library", ["pyarrow", "xarray"])
def test_a_library_that_is_not_there_is_named(library, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(InputError, match=f"pip install {library}"):
        if library == "xarray":
            small().to_xarray()
        else:
            small().select(field="0.h").export(tmp_path / "r.parquet")


# -- observed


def test_rows_are_joined_without_steps_that_do_not_exist():
    found = observe(model(), ragged(), ["0.h", "0.i", "logits", "probabilities"])
    whole = jax.jit(lambda x, n: model().unroll(x, lengths=n, record=("0.h", "0.i")))(INPUTS, LENGTHS)
    places = [(row, step) for row in range(ROWS) for step in range(LENGTHS[row])]
    for name in ("0.h", "0.i"):
        values = np.stack([np.asarray(whole.recorded[name])[place] for place in places])
        np.testing.assert_allclose(found[name], values, rtol=1e-6, atol=1e-7)
    logits = np.stack([np.asarray(whole.outputs)[place] for place in places])
    np.testing.assert_allclose(found["logits"], logits, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found["probabilities"], jax.nn.softmax(logits), rtol=1e-5)
    assert list(zip(found.coords["example"], found.coords["time"], strict=True)) == places
    assert len(found) == len(places)


def test_gaps_and_resets_are_told_by_example_and_time():
    mask = np.array([[0, 1, 1, 0, 1, 1, 1], [1, 1, 1, 1, 1, 0, 0]], bool)
    reset = np.array([[1, 1, 0, 0, 0, 1, 0], [0, 0, 1, 1, 0, 0, 1]], bool)
    batch = Batch(jnp.asarray(INPUTS[:2]), jnp.asarray(TARGETS[:2]), mask=jnp.asarray(mask), reset=jnp.asarray(reset))
    found = observe(model(), batch, ["0.h", Record("0.c", stride=2)])
    expected, example = {}, -1
    for row in range(2):
        fresh = True
        for step in range(STEPS):
            if mask[row, step]:
                if fresh or reset[row, step]:
                    example, time, fresh = example + 1, 0, False
                expected[row, step] = (example, time)
                time += 1
    pairs = list(zip(found.coords["example"].tolist(), found.coords["time"].tolist(), strict=True))
    assert pairs == list(expected.values())
    pairs = list(zip(found.coords["example_by_2"].tolist(), found.coords["time_by_2"].tolist(), strict=True))
    assert pairs == [pair for (_, step), pair in expected.items() if step % 2 == 0]


def test_units_strides_and_statistics():
    wanted = [Record("0.h", units=(3, 1)), Record("0.c", stride=3), Record("0.i", statistics=True), "0.f"]
    found = observe(model(), ragged(), wanted)
    whole = observe(model(), ragged(), ["0.h", "0.c", "0.i", "0.f"])
    np.testing.assert_array_equal(found["0.h"], whole["0.h"][:, [3, 1]])
    assert found.units("0.h").tolist() == [3, 1] and found.select(unit=3)["0.h"].tolist() == whole["0.h"][:, 3].tolist()
    kept = whole.coords["time"] % 3 == 0
    np.testing.assert_array_equal(found["0.c"], whole["0.c"][kept])
    assert found.coords["time_by_3"].tolist() == whole.coords["time"][kept].tolist()
    assert found.attributes["stride"] == {"0.c": 3}
    values = whole["0.i"].astype(np.float64)
    expected = [np.full(UNITS, len(values)), values.mean(0), values.std(0), values.min(0), values.max(0)]
    assert found.dims("0.i") == ("statistic", "units") and found.coords["statistic"].tolist() == list(STATISTICS)
    np.testing.assert_allclose(found["0.i"], expected, rtol=1e-5, atol=1e-7)
    np.testing.assert_array_equal(found.select(statistic="mean")["0.i"], found["0.i"][1])


def test_both_directions_are_indexed_by_the_place_of_the_input():
    both = model(bidirectional=True)
    found = observe(both, ragged(), ["0.forward.h", "0.backward.h"])
    alone = jax.jit(lambda x: both.unroll(x, record=("0.backward.h",)).recorded["0.backward.h"][0])(INPUTS[:1])
    np.testing.assert_allclose(found.select(example=0)["0.backward.h"], alone, rtol=1e-5, atol=1e-6)


def test_symbols_are_called_by_their_names():
    symbols = np.asarray([[0, 1, 2, 3, 1], [2, 2, 0, 3, 3]])
    batch = Batch(jnp.asarray(symbols), jnp.asarray(symbols), lengths=jnp.asarray([5, 2]))
    task: Any = Answers("every", LETTERS[:INPUT])
    found = observe(model(symbols=True), batch, ["0.h"], task=task)
    assert found.coords["symbol"].tolist() == ["a", "\n", '"quoted",', "", "\n", '"quoted",', '"quoted",']
    assert observe(model(symbols=True), batch, ["0.h"]).coords["symbol"].tolist() == [0, 1, 2, 3, 1, 2, 2]


@pytest.mark.parametrize(
    "decoder",
    [pytest.param("repeat", marks=pytest.mark.slow), "feedback", pytest.param("attention", marks=pytest.mark.slow)],
)
def test_a_decoder_has_steps_of_its_own(decoder):
    writer = model(decoder=decoder, read="answer", answer_steps=3)
    batch = replace(ragged(), targets=jnp.asarray(TARGETS[:, :3]), lengths=jnp.asarray([7, 2, 4, 1]))
    found = observe(writer, batch, ["encoder.0.h", "decoder.0.h", "logits"])
    assert found.dims("encoder.0.h") == ("step", "units") and found.dims("logits") == ("answer_step", "units")
    assert found.shape("encoder.0.h") == (14, UNITS) and found.shape("decoder.0.h") == (12, UNITS)
    assert found.coords["answer_example"].tolist() == np.repeat(range(4), 3).tolist()
    assert found.coords["answer_time"].tolist() == [0, 1, 2] * 4
    written = jax.jit(lambda b: writer.write(b.inputs, lengths=b.lengths))(batch)
    assert np.argmax(found["logits"], -1).tolist() == np.ravel(written).tolist()
    assert found.coords["answer_symbol"].tolist() == np.ravel(written).tolist()
    told = observe(writer, batch, ["logits"], answers=batch.targets)
    expected = jax.jit(lambda b: writer.unroll(b.inputs, lengths=b.lengths, answers=b.targets).outputs)(batch)
    np.testing.assert_allclose(told["logits"], np.reshape(expected, (12, OUTPUTS)), rtol=1e-5, atol=1e-6)


def test_what_is_read_at_once_is_one_step_an_example():
    whole = model("feedforward", read="last", length=STEPS)
    found = observe(whole, Batch(jnp.asarray(INPUTS), jnp.asarray(TARGETS[:, 0])), ["0.h", "logits"])
    assert found.dims("0.h") == ("answer_step", "units") and found.coords["answer_example"].tolist() == [0, 1, 2, 3]
    last = observe(model(read="last"), replace(ragged(), targets=jnp.asarray(TARGETS[:, 0])), ["0.h", "logits"])
    assert last.shape("0.h") == (12, UNITS) and last.shape("logits") == (4, OUTPUTS)


def test_edits_and_a_state_reach_the_loop():
    state = {"0.h": jnp.ones((ROWS, UNITS)), "0.c": jnp.ones((ROWS, UNITS))}
    edit = clamp("0.c", 0.25, units=[1], time=slice(2, 4))
    found = observe(model(), ragged(), ["0.c", "0.h"], edit=edit, state=state)
    run = partial(model().unroll, record=("0.h",), edit=edit, state=state)
    whole = jax.jit(lambda x, n: run(x, lengths=n).recorded["0.h"])(INPUTS, LENGTHS)
    np.testing.assert_allclose(found["0.h"][:7], whole[0], rtol=1e-5, atol=1e-6)
    assert set(found.select(unit=1, time=[2, 3])["0.c"].tolist()) == {0.25}


# -- gradients


def double(cell: str, **options: Any) -> Any:
    graph, state = nnx.split(built(cell, dtype="float64", **options))
    draw = np.random.default_rng(5)
    return nnx.merge(graph, jax.tree.map(lambda leaf: jnp.asarray(draw.normal(0, 0.5, leaf.shape), jnp.float64), state))


@pytest.mark.parametrize(
    ("cell", "fields", "options"),
    [
        ("lstm", ("0.h", "0.c", "0.f", "pre.0"), {"executor": "fused"}),
        pytest.param("gru", ("0.forward.h", "0.backward.z"), {"bidirectional": True}, marks=pytest.mark.slow),
        ("elman", ("encoder.0.h", "decoder.0.h"), {"read": "answer", "answer_steps": 3, "decoder": "feedback"}),
    ],
)
def test_the_gradient_by_a_field_is_that_of_finite_differences(cell, fields, options, x64):
    network = double(cell, **options)
    answers = options.get("read") == "answer"
    targets = TARGETS[:, :3] if answers else TARGETS
    batch = Batch(jnp.asarray(INPUTS, jnp.float64), jnp.asarray(targets), lengths=jnp.asarray(LENGTHS))
    if answers:
        batch = replace(batch, lengths=jnp.asarray([7, 2, 4, 1]))
    task: Any = Answers("answer" if answers else "every")
    fields = tuple("0.pre.i" if field == "pre.0" else field for field in fields)
    found = observe(network, batch, [f"gradient.{field}" for field in fields], task=task)
    lengths, size = np.asarray(batch.lengths), 1e-5

    @jax.jit
    def loss(added: dict[str, jax.Array]) -> jax.Array:
        options = {"answers": batch.targets} if answers else {}
        edits = [add(field, value, each_step=True) for field, value in added.items()]
        read = network.unroll(batch.inputs, lengths=batch.lengths, edit=edits, **options)
        return answer_sums(task, read, batch)[0]

    draw = np.random.default_rng(3)
    steps = {field: 3 if field.startswith("decoder") else STEPS for field in fields}
    none = {field: jnp.zeros((ROWS, steps[field], UNITS)) for field in fields}
    for field in fields:
        side = "answer_" if steps[field] == 3 else ""
        gradient = np.zeros(none[field].shape)
        gradient[found.coords[f"{side}example"], found.coords[f"{side}time"]] = found[f"gradient.{field}"]
        assert gradient.any()
        for _ in range(4):  # along random directions
            direction = draw.normal(size=gradient.shape)
            direction *= (np.arange(steps[field]) < (3 if side else lengths[:, None]))[..., None]
            up, down = (loss({**none, field: jnp.asarray(sign * size * direction)}) for sign in (1, -1))
            np.testing.assert_allclose(np.sum(gradient * direction), (up - down) / (2 * size), rtol=1e-5, atol=1e-8)


class Answers:
    """What `losses` and `answer_sums` ask of a task."""

    answers, labels = "classes", ()

    def __init__(self, read: str, alphabet: tuple[str, ...] = ()):
        self.read, self.alphabet, self.symbols = read, alphabet, bool(alphabet)

    def counted(self, batch: Batch) -> jax.Array:
        return jnp.ones(batch.targets.shape, bool) if self.read == "answer" else batch.valid()


def test_the_gradient_by_outputs_is_what_the_formula_says():
    names = ["gradient.logits", "gradient.probabilities", "probabilities", Record("gradient.0.h", (2,), 2)]
    task: Any = Answers("every")
    found = observe(model(), ragged(), [*names, Record("gradient.0.c", statistics=True), "gradient.0.i"], task=task)
    right = TARGETS[found.coords["example"], found.coords["time"]]
    one_hot, p = np.eye(OUTPUTS)[right], found["probabilities"]
    np.testing.assert_allclose(found["gradient.logits"], p - one_hot, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found["gradient.probabilities"], -one_hot / p, rtol=1e-4, atol=1e-5)
    whole = observe(model(), ragged(), ["gradient.0.h", "gradient.0.c"], task=task)
    np.testing.assert_allclose(
        found["gradient.0.h"][:, 0], whole["gradient.0.h"][whole.coords["time"] % 2 == 0, 2], rtol=1e-4, atol=1e-7
    )
    np.testing.assert_allclose(found["gradient.0.c"][2], whole["gradient.0.c"].std(0), rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize(
    ("record", "options"),
    [
        (["gradient.0.h"], {}),
        (["0.h", "0.h"], {}),
        ([], {}),
        (["0.q"], {}),
        (["gradient.0.q"], {"task": Answers("every")}),
    ],
)
def test_what_cannot_be_observed_is_refused(record, options):
    with pytest.raises(InputError) as refused:
        observe(model(), ragged(), record, **options)
    assert all(refused.value.args)


# -- members and checkpoints


def test_members_are_what_each_is_alone():
    trainer = text_trainer()
    members = jax.tree.map(lambda leaf: leaf[:3], population())
    batch = probe(trainer, 6)
    wanted = ["0.h", Record("0.pre.h", stride=4), Record("logits", statistics=True), "gradient.0.h"]
    found = observe_members(trainer, members, batch, wanted)
    assert found.dims("0.h") == ("member", "step", "units") and found.dims("logits") == ("member", "statistic", "units")
    for k in range(3):
        single = observe(trainer.model(member(k).params, member(k).fixed), batch, wanted, task=trainer.task)
        for name in single.fields:
            np.testing.assert_allclose(found.select(member=k)[name], single[name], rtol=2e-5, atol=1e-6)
    assert found.coords["symbol"].tolist() == single.coords["symbol"].tolist()


@cache
def population() -> Any:
    """Five members before their first step."""
    return jax.jit(jax.vmap(text_trainer().member))(jnp.arange(5))


def member(number: int) -> Any:
    return jax.tree.map(lambda leaf: leaf[number], population())


def probe(trainer: Any, rows: int = 2) -> Batch:
    symbols = jnp.asarray(np.random.default_rng(2).integers(0, 4, (rows, 11)))
    return Batch(symbols[:, :-1], symbols[:, 1:])


def test_a_film_shows_every_checkpoint_and_changes_none(tmp_path):
    trainer = text_trainer()
    chunk, data = jax.jit(trainer.chunk), jax.device_put(trainer.task.data("train"))
    batch, models = probe(trainer), []

    def train(film: Film | None) -> Any:
        now = member(0)
        for step in range(0, 12, 3):
            if film is not None:
                film.capture(step, now)
                models.append(trainer.model(now.params, now.fixed))
            now = chunk(now, data, np.int32(step), np.int32(3), np.bool_(True))
        return now

    with Film(
        tmp_path / "film.zarr", trainer, batch, ["0.h", Record("0.pre.h", (1,), 4)], attributes={"run": "x"}
    ) as film:
        watched = train(film)
        with pytest.raises(ValueError, match="not later"):
            film.capture(9, watched)
    for a, b in zip(jax.tree.leaves(watched), jax.tree.leaves(train(None)), strict=True):
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()
    found = film.recording()
    assert found.dims("0.h") == ("checkpoint", "step", "units") and found.coords["checkpoint"].tolist() == [0, 3, 6, 9]
    for step, network in zip([0, 3, 6, 9], models, strict=True):
        single = observe(network, batch, ["0.h"], task=trainer.task)
        np.testing.assert_allclose(found.select(checkpoint=step)["0.h"], single["0.h"], rtol=1e-5, atol=1e-6)
    assert found.coords["symbol"].tolist() == single.coords["symbol"].tolist()
    assert found.attributes == {"run": "x", "stride": {"0.pre.h": 4}}


def test_a_film_is_continued_after_a_kill(tmp_path):
    trainer = text_trainer()
    make = partial(Film, tmp_path / "film.zarr", trainer, probe(trainer), record=["0.h"])
    with make() as film:
        for k in range(4):
            film.capture(10 * k, member(k))
        with pytest.raises(InputError, match="being written"):
            make()
        before = film.recording()["0.h"]
    with make() as film:
        film.drop_after(15)
        assert film.recording().coords["checkpoint"].tolist() == [0, 10]
        film.capture(20, member(4))
        assert film.recording().coords["checkpoint"].tolist() == [0, 10, 20]
        np.testing.assert_array_equal(film.recording()["0.h"][:2], before[:2])
        assert (film.recording()["0.h"][2] != before[2]).any()
    with make(record=["0.pre.h"]) as other, pytest.raises(InputError, match="film of"):
        other.capture(30, member(0))
    swapped = replace(probe(trainer), inputs=probe(trainer).inputs[::-1])
    with Film(tmp_path / "film.zarr", trainer, swapped, ["0.h"]) as other, pytest.raises(InputError, match="film of"):
        other.capture(30, member(0))


def test_a_population_is_filmed_too(tmp_path):
    trainer = text_trainer()
    members = jax.tree.map(lambda leaf: leaf[:2], population())
    with Film(tmp_path / "film.zarr", trainer, probe(trainer), ["0.h"]) as film:
        film.capture(0, members)
        film.capture(5, members)
        found = film.recording()
    assert found.dims("0.h") == ("checkpoint", "member", "step", "units")
    single = observe_members(trainer, members, probe(trainer), ["0.h"])
    np.testing.assert_array_equal(found.select(checkpoint=5)["0.h"], single["0.h"])


def test_a_film_of_nothing_leaves_nothing(tmp_path):
    trainer = text_trainer()
    with Film(tmp_path / "film.zarr", trainer, probe(trainer), ["0.h"]) as film:
        film.drop_after(3)
        with pytest.raises(InputError, match="no recording"):
            film.recording()
    assert list(tmp_path.iterdir()) == []


# -- streamed

WALK = RNG.normal(size=(203, INPUT)).astype(np.float32)


@cache
def whole_walk() -> dict[str, np.ndarray]:
    """What is recorded of all of `WALK` in one piece."""
    record = ("0.h", "0.c", "0.f", "logits")
    found = jax.jit(lambda walk: model().unroll(walk, record=record).recorded)(WALK[None])
    return {name: np.asarray(value[0]) for name, value in found.items()}


@pytest.mark.parametrize("steps", [203, pytest.param(192, marks=pytest.mark.slow), 5])
def test_a_stream_is_one_sequence(steps, tmp_path):
    wanted = ["0.h", Record("0.c", units=(3, 0), stride=5), Record("0.f", statistics=True), "logits"]
    program: Any = streaming._window
    program.clear_cache()
    found = stream(model(), WALK[:steps], wanted, tmp_path / "r.zarr", window=16, attributes={"run": "x"})
    assert program._cache_size() <= 2  # whole windows, and the rest
    whole = {name: values[:steps] for name, values in whole_walk().items()}
    np.testing.assert_allclose(found["0.h"], whole["0.h"], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found["logits"], whole["logits"], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(found["0.c"], whole["0.c"][::5][:, [3, 0]], rtol=1e-5, atol=1e-6)
    values = whole["0.f"].astype(np.float64)
    expected = [np.full(UNITS, steps), values.mean(0), values.std(0), values.min(0), values.max(0)]
    np.testing.assert_allclose(found["0.f"], expected, rtol=1e-5, atol=1e-6)
    assert found.coords["time"].tolist() == list(range(steps)) and not found.coords["example"].any()
    assert found.coords["time_by_5"].tolist() == list(range(0, steps, 5)) and len(found) == steps
    assert found.attributes == {"run": "x", "stride": {"0.c": 5}}


def test_a_stream_of_symbols_has_their_names(tmp_path):
    symbols = np.random.default_rng(0).integers(0, INPUT + 1, 50)
    read = model(symbols=True)
    found = stream(read, symbols, ["0.h"], tmp_path / "r.zarr", window=8, labels=LETTERS[:INPUT])
    names = [*LETTERS[:INPUT], ""]
    assert found.coords["symbol"].tolist() == [names[k] for k in symbols]
    whole = jax.jit(lambda x: read.unroll(x, record=("0.h",)).recorded["0.h"][0])(symbols[None])
    np.testing.assert_allclose(found["0.h"], whole, rtol=1e-5, atol=1e-6)


def test_plain_readers_see_a_stream_while_it_is_written(tmp_path, monkeypatch):
    zarr, xarray = pytest.importorskip("zarr"), pytest.importorskip("xarray")
    commit, seen = ArrayGroup.commit, []

    def watched(group, *arguments):
        commit(group, *arguments)
        with xarray.open_zarr(group.path) as data:
            sizes = {data.sizes.get("step", 0), len(zarr.open_group(group.path, mode="r")["0.h"][:])}
            sizes.add(zarr.open_array(group.path / "0.h", mode="r").shape[0])
        seen.append(sizes)

    monkeypatch.setattr(ArrayGroup, "commit", watched)
    stream(model(), WALK[:40], ["0.h", Record("0.c", statistics=True)], tmp_path / "r.zarr", window=16)
    assert seen == [{0}, {16}, {32}, {40}]


def test_a_stream_goes_on_where_it_ended_and_with_more(tmp_path):
    wanted = ["0.h", Record("0.c", stride=5), Record("0.f", statistics=True)]
    go = partial(stream, model(), record=wanted, path=tmp_path / "r.zarr", window=16)
    first = go(WALK[:75], attributes={"run": "x"})
    early = first["0.h"]
    with pytest.raises(InputError, match="exists"):
        go(WALK)
    found = go(WALK, resume=True)
    assert len(found) == 203 and found["0.h"][:75].tobytes() == early.tobytes()
    np.testing.assert_allclose(found["0.h"], whole_walk()["0.h"], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found["0.c"], whole_walk()["0.c"][::5], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found["0.f"][1], whole_walk()["0.f"].mean(0), rtol=1e-5)
    np.testing.assert_allclose(found["0.f"][2], whole_walk()["0.f"].std(0), rtol=1e-4)
    assert found.coords["time_by_5"].tolist() == list(range(0, 203, 5))
    assert go(WALK, resume=True)["0.h"].tobytes() == found["0.h"].tobytes()


@pytest.mark.parametrize(
    "changes",
    [
        {"inputs": WALK[::-1]},
        {"inputs": WALK[:50]},
        {"record": ["0.c"]},
        {"record": [Record("0.h", (1,))]},
        {"window": 32},
        {"model": "gru"},
    ],
)
def test_the_stream_of_something_else_is_not_continued(changes, tmp_path):
    given = {"inputs": WALK[:75], "record": ["0.h"], "window": 16, "path": tmp_path / "r.zarr"}
    stream(model(), **given)
    other = model(changes.pop("model", "lstm"))
    with pytest.raises(InputError, match="recorded with other"):
        stream(other, **{**given, **changes}, resume=True)
    stream(model(), **given, resume=True)  # the lock was let go


@pytest.mark.parametrize(
    ("network", "record", "options"),
    [
        ({"bidirectional": True}, ["0.forward.h"], {}),
        ({"read": "answer", "answer_steps": 2}, ["encoder.0.h"], {}),
        ({"read": "last"}, ["logits"], {}),
        ({}, ["gradient.0.h"], {}),
        ({}, ["0.h"], {"window": 0}),
        ({}, ["0.h"], {"inputs": WALK[:0]}),
        ({}, ["0.zzz"], {}),
        ({}, [], {}),
    ],
)
def test_what_cannot_be_streamed_is_refused(network, record, options, tmp_path):
    with pytest.raises(InputError) as refused:
        stream(model(**network), **{"inputs": WALK, "record": record, "path": tmp_path / "r.zarr", **options})
    assert all(refused.value.args) and list(tmp_path.iterdir()) == []


WRITER = """
    import sys
    import numpy as np
    from rnnjax.recording import stream
    from rnnjax.sequence import Record
    from rnnjax.store import ArrayGroup
    from small_models import INPUT, built

    commit = ArrayGroup.commit

    def acknowledged(group, lengths, *attributes):
        commit(group, lengths, *attributes)
        print(lengths.get("0.h", 0), flush=True)

    ArrayGroup.commit = acknowledged
    walk = np.random.default_rng(7).normal(size=(200_000, INPUT)).astype(np.float32)
    record = ["0.h", Record("0.c", stride=3), Record("0.f", statistics=True)]
    stream(built("lstm"), walk, record, sys.argv[1], window=16, resume=True)
"""


def test_a_killed_writer_loses_nothing_acknowledged(tmp_path):
    killed(tmp_path, rounds=2)


@pytest.mark.slow
def test_a_writer_killed_many_times_loses_nothing_acknowledged(tmp_path):
    killed(tmp_path, rounds=20)


def killed(folder: Path, rounds: int) -> None:
    """Kills a writer at random moments, and each time looks at what it left, and lets the next one go on."""
    path, draw = folder / "r.zarr", random.Random(0)
    walk = np.random.default_rng(7).normal(size=(200_000, INPUT)).astype(np.float32)
    command = [sys.executable, "-c", textwrap.dedent(WRITER), str(path)]
    environment = {**os.environ, "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}  # the bits are compared
    done, before = 0, {}
    for _ in range(rounds):
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parent, env=environment
        ) as writer:
            assert writer.stdout is not None
            for _ in range(draw.randint(2, 40)):
                line = writer.stdout.readline()
            time.sleep(draw.random() * 0.03)
            writer.send_signal(signal.SIGKILL)
            said = [line, *writer.stdout.read().split("\n")]
        acknowledged = max(int(each) for each in said if each.strip().isdecimal())
        found = Recording.open(path)
        assert len(found) >= acknowledged >= done and len(found) % 18 == 0
        done = len(found)
        assert found.coords["time"].tolist() == list(range(done))
        assert found["0.f"][0, 0] - done in (0, 18)  # statistics may be a window ahead of what is acknowledged
        for name, values in before.items():
            assert found[name][: len(values)].tobytes() == values.tobytes()
        before = {name: found[name] for name in ("0.h", "0.c")}
    wanted = ["0.h", Record("0.c", stride=3), Record("0.f", statistics=True)]
    alone = stream(model(), walk[:done], wanted, folder / "alone.zarr", window=18)
    for name, values in before.items():  # bit for bit, through every resumption
        assert alone[name].tobytes() == values.tobytes()
    assert done > 0
