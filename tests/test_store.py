from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnjax.config import InputError
from rnnjax.store import RunFolder, atomic_write, digest


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class Member:
    params: dict
    step: jax.Array
    best: float | None = None


def member(seed: int = 0, units: int = 3) -> Member:
    values = np.random.default_rng(seed).standard_normal((2, units)).astype(np.float32)
    params = {
        "kernel": jnp.asarray(values),
        "half": jnp.asarray(values, jnp.bfloat16).T,
        "int4": np.arange(3).astype(jnp.int4),
        "wide": values.astype(np.float64).T,
        "phase": np.exp(1j * values).astype(np.complex64),
        "flag": np.asarray(True),
        "none": np.zeros((0, 3), np.float16),
        "layers": [np.arange(4, dtype=np.uint32), {'odd "name" [0]/é.': np.int8(-3)}],
    }
    return Member(params, jnp.asarray(seed, jnp.int32))


def assert_same(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    assert digest(a) == digest(b)


@pytest.fixture
def run(tmp_path):
    folder = RunFolder.create(tmp_path / "runs", None, "seed: 0\n", {"jax": "1"}, stem="words")
    yield folder
    folder.close()


# -- the folder


def test_names_count_up_and_nothing_else_is_left(tmp_path):
    for _ in range(3):
        RunFolder.create(tmp_path, None, "", {}, stem="letter_words/lstm")
    names = ["letter_words-lstm-1", "letter_words-lstm-2", "letter_words-lstm-3"]
    assert sorted(os.listdir(tmp_path)) == names


def test_names_are_shared_out_among_writers_that_race(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        made = pool.map(lambda _: RunFolder.create(tmp_path, None, "", {}, stem="x").path.name, range(16))
    assert sorted(made) == sorted(os.listdir(tmp_path)) == sorted(f"x-{n}" for n in range(1, 17))


def test_a_name_that_is_taken_is_refused_and_left_alone(tmp_path):
    RunFolder.create(tmp_path, "x", "seed: 1\n", {}, stem="words")
    with pytest.raises(InputError, match=r"run '.*/x' exists already(.|\n)*rnnjax resume .*/x"):
        RunFolder.create(tmp_path, "x", "seed: 2\n", {}, stem="words")
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="exists already"):
        RunFolder.create(tmp_path, "file", "", {}, stem="words")
    assert RunFolder.open(tmp_path / "x").config_text() == "seed: 1\n"
    assert sorted(os.listdir(tmp_path)) == ["file", "x"]


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/a", "a/", ".hidden"])
def test_a_name_is_plain(tmp_path, name):
    with pytest.raises(InputError, match="cannot name a run"):
        RunFolder.create(tmp_path / "runs", name, "", {}, stem="words")
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("root", ["file", "file/below"])
def test_a_root_that_is_a_file(tmp_path, root):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="choose another --root"):
        RunFolder.create(tmp_path / root, None, "", {}, stem="words")


def test_open_names_what_is_missing_and_what_is_near(run):
    with pytest.raises(InputError, match=r"no such folder\n.*did you mean '.*/words-1'"):
        RunFolder.open(run.path.with_name("wrods-1"))
    (run.path / "environment.json").unlink()
    with pytest.raises(InputError, match=r"where: environment.json missing"):
        RunFolder.open(run.path)


def test_lock_keeps_others_out_and_names_them(run):
    other = RunFolder.open(run.path)
    with run.lock(), pytest.raises(InputError, match=f"by process {os.getpid()} on "), other.lock():
        pass
    with other.lock():
        pass


def test_environment_summary_and_text(run):
    run.update_environment({"threads": np.int64(2), "plan": ["fused"]})
    assert run.environment() == {"jax": "1", "threads": 2, "plan": ["fused"]}
    assert run.summary() == {}
    run.write_summary({"loss": np.float32(0.5), "metrics": {"best": float("nan")}})
    assert run.summary() == {"loss": 0.5, "metrics": {"best": None}}
    run.write_text("sample.txt", "¡olé!\n")
    run.write_bytes("figures/a.png", b"\x89")
    assert (run.path / "sample.txt").read_text(encoding="utf-8") == "¡olé!\n"
    assert os.listdir(run.path / "figures") == ["a.png"]
    (run.path / "summary.json").write_text("{")
    with pytest.raises(InputError, match=r"summary\.json"):
        run.summary()


def test_atomic_write_replaces_whole_or_not_at_all(tmp_path):
    atomic_write(tmp_path / "a", b"old")
    with pytest.raises(TypeError):
        atomic_write(tmp_path / "a", "text")  # pyright: ignore[reportArgumentType]
    assert (tmp_path / "a").read_bytes() == b"old"
    atomic_write(tmp_path / "a", b"new")
    assert (tmp_path / "a").read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["a"]


def test_metrics_survive_a_torn_line_and_a_resume(run):
    assert run.metrics() == []
    run.append_metrics([{"step": n, "loss": np.float32(n / 2)} for n in (1, 2)])
    run.append_metrics([{"step": 3, "loss": jnp.inf}])
    rows = [{"step": 1, "loss": 0.5}, {"step": 2, "loss": 1.0}, {"step": 3, "loss": None}]
    assert run.metrics() == rows
    with open(run.path / "metrics.jsonl", "ab") as file:
        file.write(b'{"step": 4, "lo')
    assert run.metrics() == rows
    run.drop_metrics_after(2)
    run.append_metrics([{"step": 3}])
    assert run.metrics() == [*rows[:2], {"step": 3}]
    with open(run.path / "metrics.jsonl", "ab") as file:
        file.write(b"[1]\n")
    with pytest.raises(InputError, match="line 4 of"):
        run.metrics()


# -- checkpoints


def test_every_kind_of_leaf_comes_back_exactly(run):
    tree = member()
    run.save(1, tree, metric=None)
    shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), tree)
    for like in (tree, shapes):
        back = run.restore(like)
        assert_same(back, tree)
        assert all(type(leaf) is np.ndarray for leaf in jax.tree.leaves(back))
    assert_same(run.restore_part("params", tree.params), tree.params)
    assert_same(run.restore_part("step", tree.step), tree.step)
    with pytest.raises(InputError, match=r"no part 'parms'(.|\n)*params"):
        run.restore_part("parms", tree.params)


def test_a_part_is_read_without_the_rest(run):
    small, large = np.arange(8), np.random.default_rng(0).standard_normal((512, 1024))
    run.save(1, {"small": {"a": small}, "zlarge": large}, metric=None)
    largest = max(run.path.glob("checkpoints/1/state/**/*"), key=lambda path: path.stat().st_size)
    os.truncate(largest, largest.stat().st_size // 2)
    np.testing.assert_array_equal(run.restore_part("small", {"a": small})["a"], small)
    with pytest.raises(InputError, match="damaged"):
        run.restore_part("zlarge", large)


@pytest.mark.parametrize(("mode", "sign"), [("min", 1), ("max", -1)])
def test_best_and_latest_are_kept_across_a_resume(run, mode, sign):
    def keep(folder, step, metric):
        folder.save(step, member(step), metric=metric, mode=mode)

    for step, metric in enumerate((3.0, 1.0, 2.0, float("nan")), start=1):
        keep(run, step, np.float32(sign * metric))
    run.close()
    resumed = RunFolder.open(run.path)
    with resumed.lock():
        assert (resumed.checkpoints(), resumed.best_step()) == ([2, 3, 4], 2)
        keep(resumed, 5, None)
        keep(resumed, 6, sign * 4.0)
        assert (resumed.checkpoints(), resumed.best_step()) == ([2, 5, 6], 2)
        assert_same(resumed.restore(member(), "best"), member(2))
        assert_same(resumed.restore(member(), "latest"), member(6))
        assert_same(resumed.restore(member(), 5), member(5))
        keep(resumed, 7, sign * 1.0)
        assert (resumed.checkpoints(), resumed.best_step()) == ([6, 7], 7)


def test_without_a_metric_the_latest_are_kept(run):
    for step in range(1, 5):
        run.save(step, {"a": np.arange(step)}, metric=None, latest=3)
    assert run.checkpoints() == [2, 3, 4]
    assert run.best_step() is None
    with pytest.raises(InputError, match="no checkpoint has a metric"):
        run.restore({"a": np.arange(4)}, "best")


def test_steps_go_forward_only(run):
    run.save(2, {"a": np.ones(2)}, metric=None)
    for step in (1, 2):
        with pytest.raises(ValueError, match="not later than the last saved, 2"):
            run.save(step, {"a": np.zeros(2)}, metric=None)
    np.testing.assert_array_equal(run.restore({"a": np.ones(2)})["a"], np.ones(2))


def test_unknown_steps(run):
    with pytest.raises(InputError, match="there is no checkpoint"):
        run.restore({"a": np.ones(2)})
    run.save(2, {"a": np.ones(2)}, metric=None)
    with pytest.raises(InputError, match=r"no checkpoint 7\n(.|\n)*'best' or one of 2"):
        run.restore({"a": np.ones(2)}, 7)


@pytest.mark.parametrize(
    ("like", "where"),
    [
        ({"a": np.ones((2, 3)), "b": np.ones(1)}, r"a: stored float32\[2, 3\], expected float64\[2, 3\]$"),
        ({"a": np.ones((3, 2), "f"), "b": np.ones(2)}, r"a: .* expected float32\[3, 2\] \(and 1 more\)$"),
        ({"a": np.ones((2, 3), "f")}, r"b: stored float64\[1\], expected nothing$"),
        ({"a": np.ones((2, 3), "f"), "c": 1}, r"b: stored .*, expected nothing \(and 1 more\)$"),
    ],
)
def test_another_architecture(run, like, where):
    run.save(1, {"a": np.ones((2, 3), np.float32), "b": np.ones(1)}, metric=None)
    with pytest.raises(InputError, match="has another architecture") as caught:
        run.restore(like)
    assert re.search(where, caught.value.where)


def test_paths_that_collide_are_refused(run):
    with pytest.raises(ValueError, match="same path"):
        run.save(1, {"a/b": np.ones(1), "a": {"b": np.ones(1)}}, metric=None)


def damage(path: Path, how: str) -> None:
    data = path.read_bytes()
    if how == "missing":
        path.unlink()
    elif how == "truncated":
        path.write_bytes(data[: len(data) // 2])
    else:
        half = len(data) // 2
        path.write_bytes(data[:half] + bytes([data[half] ^ 1]) + data[half + 1 :])


@pytest.mark.parametrize(
    ("part", "how"),
    [
        *(("arrays", how) for how in ("missing", "truncated", "flipped")),
        *(("index", how) for how in ("missing", "truncated", "flipped")),
        *(("record", how) for how in ("missing", "truncated")),
    ],
)
def test_a_damaged_checkpoint_names_the_last_sound_one(run, part, how, capfd):
    rng = np.random.default_rng(0)
    trees = [{name: rng.standard_normal((64, 1024)) for name in "abcd"} for _ in range(3)]
    for step, tree in enumerate(trees):
        run.save(step, tree, metric=None, latest=3)

    def victim(step):
        folder = run.path / "checkpoints" / str(step)
        if part == "arrays":
            return max(folder.glob("state/**/*"), key=lambda path: path.stat().st_size)
        return folder / ("metrics/metrics" if part == "record" else "state/manifest.ocdbt")

    damage(victim(2), how)
    with pytest.raises(InputError, match=r"checkpoints/2' is damaged(.|\n)*step 1, which is sound"):
        run.restore(trees[2])
    damage(victim(1), how)
    with pytest.raises(InputError, match="go on from step 0"):
        run.restore(trees[2])
    assert_same(run.restore(trees[0], 0), trees[0])
    assert capfd.readouterr().err == ""


WRITER = """
    import sys
    import numpy as np
    from rnnjax.store import RunFolder

    run = RunFolder.open(sys.argv[1])
    with run.lock():
        for step in range(int(sys.argv[2]), 10_000):
            tree = {"a": np.full((256, 1024), step, np.float32), "b": np.full(3, step)}
            run.save(step, tree, metric=abs(step - 3))
            print(step, flush=True)
"""


def test_a_killed_writer_loses_nothing_it_acknowledged(run):
    like = {"a": np.zeros((256, 1024), np.float32), "b": np.zeros(3, np.int64)}
    start = 0
    for delay in (0.0, 0.013, 0.029):  # into the midst of a save, wherever that happens to be
        command = [sys.executable, "-c", textwrap.dedent(WRITER), str(run.path), str(start)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None
            said = [int(writer.stdout.readline()) for _ in range(6)]
            time.sleep(delay)
            writer.send_signal(signal.SIGKILL)
            said += [int(line) for line in writer.stdout if line.endswith("\n")]
        assert said == list(range(start, start + len(said)))
        for step, number in (("latest", run.checkpoints()[-1]), (said[-1], said[-1]), ("best", 3)):
            saved = {"a": like["a"] + np.float32(number), "b": like["b"] + number}
            assert_same(run.restore(like, step), saved)
        start = run.checkpoints()[-1] + 1
        assert said[-1] in (start - 1, start - 2)
    with run.lock():  # leftovers go as soon as somebody writes again
        run.save(start, like, metric=None)
        left = {path.name for path in (run.path / "checkpoints").iterdir()}
        assert left == {"3", str(start - 1), str(start)}


@pytest.mark.parametrize("gone", ["metrics", "state", "_CHECKPOINT_METADATA"])
def test_what_a_kill_left_of_a_deletion_goes_with_the_next_save(run, gone):
    for step in (1, 2, 3):
        run.save(step, {"a": np.ones(2)}, metric=step, latest=3)
    run.close()
    left = run.path / "checkpoints" / "2" / gone
    shutil.rmtree(left) if left.is_dir() else left.unlink()
    run.save(4, {"a": np.ones(2)}, metric=4)
    assert (run.checkpoints(), run.best_step()) == ([1, 3, 4], 1)


def test_saving_is_quiet_and_quick(run, capfd):
    started = time.perf_counter()
    for step in range(5):
        run.save(step, {"a": np.arange(3)}, metric=None)
    assert time.perf_counter() - started < 5
    assert capfd.readouterr() == ("", "")


def test_the_store_is_imported_without_orbax():
    code = "import sys, rnnjax.store; sys.exit(any(name in sys.modules for name in ('orbax', 'tensorstore')))"
    subprocess.run([sys.executable, "-c", code], check=True)


# -- digest


def test_digest_sees_values_types_shapes_and_names_but_not_order():
    tree = {"a": np.arange(6, dtype=np.float32), "b": np.zeros(2, jnp.bfloat16)}
    assert digest(tree) == digest(dict(reversed(tree.items()))) == digest(jax.tree.map(jnp.asarray, tree))
    others = [
        {**tree, "a": tree["a"] + 1},
        {**tree, "a": tree["a"].astype(np.float64)},
        {**tree, "a": tree["a"].reshape(2, 3)},
        {"a": tree["a"], "c": tree["b"]},
        {**tree, "b": tree["b"].astype(np.float16)},
    ]
    assert len({digest(tree), *map(digest, others)}) == 1 + len(others)


def test_the_record_can_be_read_by_anything(run):
    run.save(5, {"a": {"b": np.ones((2, 3), np.float32)}}, metric=0.25)
    record = json.loads((run.path / "checkpoints/5/metrics/metrics").read_text())
    assert record["leaves"]["a/b"].pop("crc32") > 0
    leaves = {"a/b": {"shape": [2, 3], "dtype": "float32"}}
    assert record == {"step": 5, "metric": 0.25, "mode": "min", "leaves": leaves}
