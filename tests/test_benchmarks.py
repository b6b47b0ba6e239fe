"""The harness of the benchmarks: candidates that take turns, rows, floors, and what can be asked."""

from __future__ import annotations

import argparse
import dataclasses
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from rnnjax.benchmarks import command, floors, harness
from rnnjax.benchmarks.harness import Asked, Candidate
from rnnjax.benchmarks.workloads import WORKLOADS, Workload
from rnnjax.config import InputError

TINY = Workload("tiny", "lstm", 4, 2, 3, vocab=5)
MACHINE = floors.Machine(1e9, 1e9, 4e9, 1e-6, cache=32e6, own_cache=1e6, by="nobody")
FAKE = """
import time

def versions():
    return {"fake": "1"}

def prepare(job):
    print("words of a library")
    WHAT
    return {"call": lambda count: time.sleep(1e-4 * count), "form": "asleep", "check": [CHECK, 2.0], "compile_s": 0.0}
"""


@pytest.fixture
def peers(tmp_path, monkeypatch):
    """Makes a peer that sleeps: by name, the first number that it computes, and what else it does beforehand."""
    (tmp_path / "peers").mkdir()
    shutil.copy(harness.FOLDER / "peers" / "worker.py", tmp_path / "peers")
    monkeypatch.setattr(harness, "FOLDER", tmp_path)
    monkeypatch.setattr(harness, "_machine", lambda *_: MACHINE)

    def make(name: str, check: float = 1.0, what: str = "") -> None:
        (tmp_path / "peers" / f"{name}.py").write_text(FAKE.replace("CHECK", str(check)).replace("WHAT", what))

    make("rnnjax")
    return make


def parsed(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    command.add_options(parser)
    return parser.parse_args(arguments)


def rows(*candidates: Candidate, **options) -> dict[str, dict]:
    asked = Asked(quick=True, rounds=2)
    return {row["candidate"]: row for row in harness.measure(asked, "step", TINY, candidates, **options)}


def test_candidates_take_turns_and_have_rows(peers):
    peers("torch", check=1.00001)
    found = rows(Candidate("rnnjax", "step"), Candidate("torch", "step"), Candidate("torch", "step", processes=2))
    assert list(found) == ["rnnjax", "torch", "2 x torch"]
    ours, theirs = found["rnnjax"], found["torch"]
    assert ours["ratio"] is None and theirs["ratio_least"] <= theirs["ratio"] <= theirs["ratio_greatest"]
    assert theirs["rounds"] == 2 and theirs["repetitions"] > 1 and theirs["unit"] == "step"
    assert theirs["first_s"] >= theirs["prepare_s"] and theirs["versions"] == {"fake": "1"}
    assert theirs["over_floor"] == theirs["seconds"] / theirs["floor"]["seconds"]
    assert theirs["useful_steps_per_s"] == 2 * 3 / theirs["seconds"]
    assert found["2 x torch"]["memory_mb"] > theirs["memory_mb"]
    assert theirs["network"] == dataclasses.asdict(TINY)
    json.dumps(found)


@pytest.mark.parametrize(
    ("check", "what", "why"),
    [
        (1.1, "", "it computes something else: 1.1, 2 where rnnjax has 1, 2"),
        (1.0, "raise NotImplementedError('one model a process')", "one model a process"),
        (1.0, "import nothing_of_this_name", "No module named 'nothing_of_this_name'"),
        (1.0, "raise ValueError('broken')", "ValueError: broken"),
        (1.0, "import os; os._exit(1)", "it ended without a word"),
    ],
)
def test_who_cannot_be_measured_is_skipped_with_a_word(peers, check, what, why):
    peers("torch", check, what)
    found = rows(Candidate("rnnjax", "step"), Candidate("torch", "step"))
    assert found["torch"]["skipped"] == why and "seconds" not in found["torch"]
    assert found["rnnjax"]["skipped"] is None and found["rnnjax"]["seconds"] > 0


def test_who_dies_while_measured_is_skipped(peers):
    peers("torch", what="import os; return {'call': lambda n: n > 1 and os._exit(1), 'form': '', 'check': [1.0, 2.0]}")
    found = rows(Candidate("rnnjax", "step"), Candidate("torch", "step"))
    assert found["torch"]["skipped"] == "it ended without a word" and found["rnnjax"]["seconds"] > 0


def test_an_absent_python_is_told():
    with pytest.raises(harness.Failed, match="No such file"):
        harness.Process(["/nowhere/python"], {})


def test_who_does_not_answer_is_given_up(monkeypatch):
    monkeypatch.setattr(harness, "READY_S", 0.2)
    with pytest.raises(harness.Failed, match="no answer in 0 s"):
        harness.Process([sys.executable, "-c", "import time; time.sleep(60)"], {})


def test_a_peer_has_a_row_beside_each_size_of_a_population(peers):
    peers("torch")
    ours = [Candidate("rnnjax", "population", members=size) for size in (1, 4)]
    asked = Asked(quick=True, rounds=2)
    found = list(
        harness.measure(asked, "population", TINY, [*ours, Candidate("torch", "step", processes=2)], each_of_ours=True)
    )
    assert [(row["candidate"], row["members"]) for row in found] == [
        ("rnnjax", 1),
        ("rnnjax", 4),
        ("2 x torch", 1),
        ("2 x torch", 4),
    ]
    assert found[2]["seconds"] == found[3]["seconds"] and found[3]["ratio"] > found[2]["ratio"]


def test_threads_are_shared_out_to_processes(monkeypatch):
    monkeypatch.setattr(harness.os, "sched_getaffinity", lambda _: {7, 2, 5, 3}, raising=False)
    assert harness.cores(4) is None and harness.cores(2) == {2, 3}
    assert [harness.cores(4, part, 2) for part in (0, 1)] == [{2, 3}, {5, 7}]
    assert [harness.cores(2, part, 2) for part in (0, 1)] == [{2}, {3}]


def test_operations_of_a_layer():
    w = Workload("w", "lstm", units=8, batch=2, time=3, features=5)
    product = 2 * 2 * 3 * 4 * 8
    forward = floors.work(w, "forward", MACHINE)
    assert forward.operations == product * (8 + 5) and forward.launches == 3
    assert floors.work(w, "gradient", MACHINE).operations == 3 * forward.operations
    readout = 2 * 2 * 3 * 8 * 10
    assert floors.work(w, "step", MACHINE).operations == product * (3 * 8 + 2 * 5) + 3 * readout
    heads = floors.work(dataclasses.replace(w, heads=3), "gradient", MACHINE)
    assert heads.operations == 9 * forward.operations


def test_symbols_are_looked_up():
    w = Workload("w", "gru", units=8, batch=2, time=30, vocab=7)
    recurrent, readout = 2 * 2 * 30 * 8 * 3 * 8, 2 * 2 * 30 * 8 * 7
    assert floors.work(w, "step", MACHINE).operations == 3 * (recurrent + readout)
    table = 2 * 7 * 4 * 3 * 8
    embedded = dataclasses.replace(w, embedding=4)
    assert floors.work(embedded, "step", MACHINE).operations == 3 * (recurrent + readout + table)
    drawn = floors.work(embedded, "generation", MACHINE)
    assert drawn.operations == (recurrent + readout) / 30 and drawn.launches == 1


def test_a_kernel_that_fits_no_cache_is_read_again():
    w = Workload("w", "elman", units=1000, batch=1, time=10, features=1)
    kernel = 4e6
    inside, shared, outside = (
        floors.work(w, "forward", dataclasses.replace(MACHINE, own_cache=own, cache=cache))
        for own, cache in ((5e6, 5e6), (1e6, 5e6), (1e6, 1e6))
    )
    assert inside.cached_bytes == 0 and inside.bytes == shared.bytes
    assert shared.cached_bytes == 10 * kernel and outside.bytes - inside.bytes == 10 * kernel


def test_a_floor_is_the_greatest_of_three():
    found = floors.floor(floors.Work(operations=2e9, bytes=1e9, cached_bytes=2e9, launches=7), MACHINE)
    assert (found["operations_s"], found["bytes_s"], found["launches_s"]) == (2.0, 1.5, 7e-6)
    assert found["seconds"] == 2.0 and found["bound"] == "operations"


@pytest.mark.parametrize("name", WORKLOADS)
def test_every_workload_has_work(name):
    for question in ("step", "forward", "gradient", "population", "generation"):
        needed = floors.work(WORKLOADS[name], question, MACHINE, members=2)
        assert needed.operations > 0 and needed.bytes > 0 and needed.launches > 0


@pytest.mark.parametrize(
    ("arguments", "what", "fix"),
    [
        (["stap"], "unknown question 'stap'", "did you mean 'step'?"),
        (["step", "--workload", "shakespear"], "unknown workload 'shakespear'", "did you mean 'shakespeare'?"),
        (["step", "--peers", "pytorch"], "unknown peer 'pytorch'", "did you mean 'torch'?"),
        (["step", "--python", "torch"], "'torch' names no Python", "give PEER=PYTHON, as torch=/usr/bin/python3"),
        (["step", "--python", "hiaku=python"], "unknown peer 'hiaku'", "did you mean 'haiku'?"),
        (["step", "--cell", "gruu"], "unknown cell 'gruu'", "did you mean 'gru'?"),
        (["step", "--dtype", "float16"], "unknown dtype 'float16'", "did you mean 'bfloat16'?"),
        (["step", "--units", "64,x"], "'64,x'", "give whole numbers from 1 on, as 64 or 64,128"),
        (["step", "--members", "0"], "'0'", "give whole numbers from 1 on, as 64 or 64,128"),
        (["step", "--executors", "fussed"], "unknown executor 'fussed'", "did you mean 'fused'?"),
        (["step", "--rounds", "0"], "0 rounds", "give a number from 1 on"),
        (["step", "--workload", "addition", "--units", "7"], "'addition' with other numbers", "it is that of its"),
        (["--compare", "nowhere.jsonl", "b"], "no file 'nowhere.jsonl'", "give a file that"),
    ],
)
def test_a_mistake_is_told(arguments, what, fix):
    with pytest.raises(InputError) as found:
        command.ask(parsed(*arguments), command.plain_table)
    assert found.value.what == what and found.value.fix.startswith(fix)


def test_a_network_of_ones_own():
    def described(*arguments: str) -> list[Workload]:
        return list(command.workloads(parsed(*arguments)) or [])

    (own,) = described("--cell", "gru", "--units", "256", "--time", "50")
    assert (own.cell, own.units, own.features, own.vocab, own.time) == ("gru", 256, 256, 0, 50)
    assert own.name == "gru 256, batch 32, time 50, features 256"
    changed = described("--workload", "mid", "words", "--units", "8,16")
    assert [w.name for w in changed] == ["mid, units 8", "mid, units 16", "words, units 8", "words, units 16"]
    assert changed[2].preset == "" and changed[0].embedding == 32
    (narrow,) = described("--workload", "addition", "--dtype", "bfloat16")
    assert narrow.preset == "addition" and narrow.dtype == "bfloat16"
    assert described("step") == []


def test_peers_by_family():
    assert command.chosen_peers("torch,keras") == ("torch", "keras_jax", "keras_tensorflow")
    assert command.chosen_peers("none") == () and command.chosen_peers("all") == harness.PEERS


def test_asking_writes_rows_that_can_be_set_side_by_side(peers, tmp_path, capsys, monkeypatch):
    peers("torch")
    monkeypatch.setattr(command, "workloads", lambda known: (TINY,))
    files = [str(tmp_path / name) for name in ("a.jsonl", "b.jsonl")]
    for file in files:
        command.ask(parsed("step", "--peers", "torch", "--quick", "--out", file), command.plain_table)
    shown = capsys.readouterr().out
    assert "over floor" in shown and "torch" in shown
    written = [json.loads(line) for line in Path(files[0]).read_text().splitlines()]
    assert [row["candidate"] for row in written] == ["rnnjax", "torch"]
    assert "jax" in written[0]["environment"]["versions"]
    command.ask(parsed("--compare", *files), command.plain_table)
    assert "times as fast" in capsys.readouterr().out
    command.ask(parsed("--compare", *files, "--json"), command.plain_table)
    assert {row["candidate"] for row in json.loads(capsys.readouterr().out)["rows"]} == {"rnnjax", "torch"}


def test_answers_of_any_shape_are_shown(capsys):
    rows = [{"question": "recording", "units": 3, "plain_ms": 0.1234567}, {"question": "recording", "skipped": "why"}]
    command.show(rows, command.plain_table)
    assert "0.1235" in capsys.readouterr().out


def test_nothing_but_the_core_is_imported():
    modules = ", ".join(
        f"rnnjax.benchmarks.{name}" for name in ("__main__", "floors", *{file for file, _ in command.COMPARED.values()})
    )
    heavy = ("matplotlib", "orbax", "pyarrow", "rnnjax.cli")
    code = f"import sys, {modules}; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.slow
def test_a_question_from_end_to_end(tmp_path):
    out = tmp_path / "results.jsonl"
    network = ["--units", "4", "--batch", "2", "--time", "3", "--vocab", "5"]
    line = [sys.executable, "-m", "rnnjax", "bench", "step", "forward", *network, "--peers", "none", "--quick"]
    done = subprocess.run([*line, "--rounds", "1", "--out", str(out)], capture_output=True, text=True, check=True)
    found = [json.loads(row) for row in out.read_text().splitlines()]
    assert [(row["question"], row["candidate"], row["skipped"]) for row in found] == [
        ("step", "rnnjax", None),
        ("forward", "rnnjax", None),
    ]
    assert "lstm 4, batch 2, time 3, vocab 5" in done.stdout
