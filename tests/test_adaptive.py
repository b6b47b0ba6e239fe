"""Adaptive search through Optuna: asking, telling, sharing a storage, and dying in the midst of it."""

from __future__ import annotations

import importlib.util
import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages.journal import JournalFileBackend

from rnnjax.config import InputError
from rnnjax.sweep.adaptive import Adaptive, Asked, mirror
from rnnjax.sweep.samplers import draw
from rnnjax.sweep.spaces import Space
from rnnjax.sweep.storage import Journal

TEXTS = [
    "train.momentum=0.1..0.9@train.optimizer=sgd",
    "train.optimizer=sgd,adam",
    "train.learning_rate=1e-4..1e-1:log",
    "model.units=2..64:log:int",
    "train.clip_norm=none,1.0,5.0",
    "seed=0..3",
]
SPACE = Space.parse(TEXTS)
PLAIN = Space.parse(["x=-2.0..2.0", "y=1e-3..1e3:log"])


def bowl(choices: dict[str, Any]) -> float:
    """Least at x = 0.5, y = 10."""
    return (choices["x"] - 0.5) ** 2 + 0.3 * (math.log10(choices["y"]) - 1) ** 2


def trials(storage: Path | str, name: str = "search") -> list[optuna.trial.FrozenTrial]:
    """The trials as Optuna itself, and so its dashboard, finds them."""
    if isinstance(storage, Path):
        backend = JournalFileBackend(str(storage))
        return optuna.load_study(study_name=name, storage=optuna.storages.JournalStorage(backend)).trials
    opened = optuna.storages.RDBStorage(storage)
    found = optuna.load_study(study_name=name, storage=opened).trials
    opened.remove_session()
    opened.engine.dispose()
    return found


def searching(
    storage: Path | str, n: int = 20, *, space: Space = PLAIN, sampler: str = "tpe", seed: int = 0, **options
):
    return Adaptive(space, sampler, seed, n, storage, "search", **options)


@pytest.fixture(params=["journal", pytest.param("sqlite", marks=pytest.mark.slow)])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Path | str:
    return tmp_path / "search.log" if request.param == "journal" else f"sqlite:///{tmp_path}/search.db"


def test_what_is_asked_lies_in_the_space(storage: Path | str):
    with searching(storage, 12, space=SPACE) as search:
        asked = search.ask(7) + search.ask(7) + search.ask(7)
    assert [number for number, _ in asked] == list(range(12))
    for number, choices in asked:
        assert list(choices) == [key for key in SPACE.axes if key in choices]
        assert ("train.momentum" in choices) == (choices["train.optimizer"] == "sgd")
        assert 1e-4 <= choices["train.learning_rate"] <= 1e-1 and type(choices["train.learning_rate"]) is float
        assert 2 <= choices["model.units"] <= 64 and type(choices["model.units"]) is int
        assert choices["train.clip_norm"] in (None, 1.0, 5.0)
        assert choices["seed"] in range(4) and type(choices["seed"]) is int
        assert trials(storage)[number].params == choices


@pytest.mark.parametrize("sampler", ["tpe", "cmaes"])
@pytest.mark.parametrize("direction", ["min", "max"])
def test_it_learns(sampler: str, direction: str, tmp_path: Path):
    sign = 1 if direction == "min" else -1
    with searching(tmp_path / "search.log", 96, sampler=sampler, direction=direction) as search:
        means = []
        while asked := search.ask(16):
            search.tell_all([(number, sign * bowl(choices), "finished", {}) for number, choices in asked])
            means.append(sum(bowl(choices) for _, choices in asked) / len(asked))
        best = search.best()
    assert len(means) == 6 and means[-1] < means[0] / 3
    told = trials(tmp_path / "search.log")
    assert best is not None and best.value == min(sign * trial.value for trial in told if trial.value) * sign
    assert best.choices == told[best.number].params and best.value == sign * bowl(best.choices)


@pytest.mark.slow
def test_a_gaussian_process_learns(tmp_path: Path):
    pytest.importorskip("torch")
    with searching(tmp_path / "search.log", 36, sampler="gp") as search:
        means = []
        while asked := search.ask(12):
            search.tell_all([(number, bowl(choices), "finished", {}) for number, choices in asked])
            means.append(sum(bowl(choices) for _, choices in asked) / len(asked))
    assert means[-1] < means[0] / 2


def test_divergence_teaches_and_never_wins(tmp_path: Path):
    with searching(tmp_path / "search.log", 40) as search:
        late: list[Asked] = []
        for _ in range(2):
            late = search.ask(20)
            for number, choices in late:
                # The bowl goes on, beyond x = 0, but nothing survives there.
                search.tell(
                    number, bowl(choices) if choices["x"] < 0 else None, "finished" if choices["x"] < 0 else "diverged"
                )
        best = search.best()
    assert best is not None and best.choices["x"] < 0 and math.isfinite(best.value)
    assert sum(choices["x"] >= 0 for _, choices in late) <= 5
    found = trials(tmp_path / "search.log")
    assert {trial.state.name for trial in found} == {"COMPLETE"}
    assert all((trial.value == math.inf) == (trial.user_attrs["status"] == "diverged") for trial in found)


def test_where_all_diverge_there_is_no_best(tmp_path: Path):
    with searching(tmp_path / "search.log", direction="max") as search:
        assert search.best() is None
        (number, _), (other, _) = search.ask(2)
        search.tell(number, float("nan"))
        search.tell(other, None, "diverged")
        assert search.best() is None
    assert [trial.value for trial in trials(tmp_path / "search.log")] == [-math.inf] * 2


def test_a_lost_trial_is_replaced(tmp_path: Path):
    with searching(tmp_path / "search.log", 4) as search:
        (number, _), *others = search.ask(10)
        assert search.left() == 0 and search.ask(1) == []
        search.tell(number, None, "failed")
        assert search.left() == 1
        again = search.ask(10)
        assert len(again) == 1 and again[0].number == 4
        for number, choices in others + again:
            search.tell(number, bowl(choices), steps=7, seconds=float("nan"))
        assert search.left() == 0 and search.ask(1) == []
    found = trials(tmp_path / "search.log")
    assert [trial.state.name for trial in found] == ["FAIL"] + ["COMPLETE"] * 4
    assert found[1].user_attrs["steps"] == 7 and found[1].user_attrs["seconds"] is None


def test_a_database_will_do(tmp_path: Path):
    url = f"sqlite:///{tmp_path}/search.db"
    with searching(url) as search:
        number, choices = search.ask(1)[0]
        search.tell(number, 1.0)
        search.tell(number, 2.0, "stopped")  # a trial is told of once
        assert search.best() == (0, choices, 1.0)
    assert [trial.value for trial in trials(url)] == [1.0]


def test_a_batch_has_256_at_most(tmp_path: Path):
    with searching(tmp_path / "search.log", 300) as search:
        assert len(search.ask(1000)) == 256
        assert len(search.ask(1000)) == 44


def test_the_seed_and_the_answers_are_all_that_counts(tmp_path: Path):
    def searched(name: str, seed: int, closing: bool) -> list[Asked]:
        path, asked = tmp_path / name, []
        search = searching(path, 36, space=SPACE, seed=seed)
        while batch := search.ask(12):
            asked += batch
            search.tell_all([(number, choices["train.learning_rate"], "finished", {}) for number, choices in batch])
            if closing:  # as a search that was stopped and goes on
                search.close()
                search = searching(path, 36, space=SPACE, seed=seed)
        search.close()
        return asked

    once = searched("a.log", 0, False)
    assert once == searched("b.log", 0, True)
    assert once != searched("c.log", 1, False)


def test_workers_share_a_search(storage: Path | str):
    with searching(storage, 30) as one, searching(storage, 30) as two:
        asked = [*one.ask(8), *two.ask(8), *one.ask(8), *two.ask(8)]
        assert [number for number, _ in asked] == list(range(30))
        assert len({choices["x"] for _, choices in asked}) == 30
        for number, choices in asked:
            (one if number % 2 else two).tell(number, bowl(choices))
        assert one.best() == two.best() is not None
        assert one.left() == two.left() == 0


def test_a_dead_workers_trials_are_pending(storage: Path | str):
    one, two = searching(storage, 9), searching(storage, 9)
    asked = one.ask(6)
    one.tell(asked[0].number, 1.0)
    assert one.pending() == two.pending() == []  # `one` is still at it
    one.close()
    with searching(storage, 9) as three:
        assert two.pending() == asked[1:]
        assert two.pending() == three.pending() == []  # they are `two`'s now
        two.close()
        assert three.pending() == asked[1:]
        assert len(three.ask(9)) == 3


def test_a_trial_without_all_its_choices_has_failed(tmp_path: Path):
    path = tmp_path / "search.log"
    searching(path, 2).close()
    study = optuna.load_study(
        study_name="search",
        storage=optuna.storages.JournalStorage(JournalFileBackend(str(path))),
    )
    study.ask().suggest_float("x", -2.0, 2.0)  # and there it died
    with searching(path, 2) as search:
        assert search.pending() == [] and search.left() == 2
        assert [number for number, _ in search.ask(9)] == [1, 2]


# -- the journal


def test_a_torn_journal_is_mended(tmp_path: Path):
    path = tmp_path / "search.log"
    with searching(path) as search:
        search.tell(search.ask(3)[0].number, 1.0)
    whole = path.read_bytes()
    begins = whole[:-1].rfind(b"\n") + 1
    for cut in (begins + 1, (begins + len(whole)) // 2, len(whole) - 1):
        path.write_bytes(whole[:cut])
        with searching(path) as search:
            found = trials(path)
            assert [trial.state.name for trial in found] == ["RUNNING"] * 3  # the line that told of the first is gone
            assert path.read_bytes() == whole[:begins]
            assert [number for number, _ in search.pending()] == [0, 1, 2]
            search.tell(0, 1.0)
            assert trials(path)[0].value == 1.0


def test_another_workers_torn_line_is_mended(tmp_path: Path):
    path = tmp_path / "search.log"
    with searching(path) as one, searching(path) as two:
        first = one.ask(2)
        with path.open("ab") as file:
            file.write(b'{"op_code":4,"worker_id":"torn')
        second = two.ask(2)
        one.tell_all([(number, bowl(choices), "finished", {}) for number, choices in first + second])
    assert [trial.state.name for trial in trials(path)] == ["COMPLETE"] * 4


def test_a_batch_reaches_the_journal_in_one_piece(tmp_path: Path):
    journal = Journal(tmp_path / "a" / "search.log")
    other = Journal(tmp_path / "a" / "search.log")
    other.append_logs([{"n": 0}])
    with journal.held():
        journal.append_logs([{"n": 1}])
        with journal.held():
            journal.append_logs([{"n": 2}, {"n": 3}])
        assert [log["n"] for log in journal.read_logs(0)] == [0, 1, 2, 3]
        assert [log["n"] for log in journal.read_logs(2)] == [2, 3]
        assert [log["n"] for log in other.read_logs(0)] == [0]
    assert [log["n"] for log in other.read_logs(1)] == [1, 2, 3]
    assert [log["n"] for log in journal.read_logs(4)] == []
    other.append_logs([{"n": 4}])
    assert [log["n"] for log in journal.read_logs(4)] == [4]
    assert not journal.overtaken and not other.overtaken
    assert sorted(os.listdir(tmp_path / "a")) == ["search.log"]


def test_the_dashboard_may_write_at_any_time(tmp_path: Path):
    path = tmp_path / "search.log"
    backend = JournalFileBackend(str(path))
    with searching(path) as search:
        search.ask(2)
        foreign = optuna.load_study(study_name="search", storage=optuna.storages.JournalStorage(backend))
        with search._shared.alone():
            search._shared.note(0, {"mine": 1})
            foreign.set_user_attr("note", "of a person")
            search._shared.note(1, {"mine": 2})
        assert search._shared._journal is not None and search._shared._journal.overtaken
        search.tell_all([(0, 1.0, "finished", {}), (1, 2.0, "finished", {})])
        best = search.best()
        assert best is not None and best.value == 1.0 and len(search.ask(2)) == 2
    assert [trial.user_attrs.get("mine") for trial in trials(path)] == [1, 2, None, None]
    assert foreign.user_attrs["note"] == "of a person"


@pytest.mark.slow
def test_a_dead_programs_lock_is_broken(tmp_path: Path):
    path = tmp_path / "search.log"
    searching(path).close()
    os.symlink(path, f"{path}.lock")
    with searching(path) as search:
        search.ask(1)
    assert not os.path.lexists(f"{path}.lock")


def test_a_damaged_line_is_told(tmp_path: Path):
    path = tmp_path / "search.log"
    searching(path).close()
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([lines[0], b"\x00\x00\n", *lines[1:]]))
    with pytest.raises(InputError, match=r"damaged\n  where: in line 2"):
        searching(path)


# -- what is refused


def test_another_search_of_that_name_is_refused(storage: Path | str):
    searching(storage).close()
    with pytest.raises(InputError, match=r"to minimize over x=-2\.0\.\.2\.0 y="):
        searching(storage, space=SPACE)
    with pytest.raises(InputError, match="another search 'search', to minimize"):
        searching(storage, direction="max")
    searching(storage, sampler="cmaes", seed=7).close()  # may go on where another sampler left off


def test_samplers_that_cannot_search_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(InputError, match="did you mean 'cmaes'"):
        searching(tmp_path / "search.log", sampler="cmae")
    with pytest.raises(InputError, match="two ranges or more"):
        searching(tmp_path / "search.log", sampler="cmaes", space=Space.parse(["x=0.0..1.0", "y=1,2"]))
    for sampler, missing, fix in [
        ("gp", "torch", "pip install torch"),
        ("cmaes", "cmaes", "pip install cmaes"),
        ("tpe", "optuna", r"rnnjax\[sweep\]"),
    ]:
        with monkeypatch.context() as patch:
            patch.setattr(importlib.util, "find_spec", lambda name, missing=missing: None if name == missing else name)
            with pytest.raises(InputError, match=fix):
                searching(tmp_path / "search.log", sampler=sampler)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("where", ["no://such/database", "sqlite:////no/such/folder/a.db", "postgresql://host/base"])
def test_a_storage_that_cannot_be_opened_is_told(where: str):
    with pytest.raises(InputError, match=r"storage|folder="):
        searching(where)


def test_a_folder_is_no_storage(tmp_path: Path):
    with pytest.raises(InputError, match="cannot open the storage"):
        searching(tmp_path)


def test_what_cannot_be_told_is_refused(tmp_path: Path):
    with searching(tmp_path / "search.log") as search:
        search.ask(2)
        with pytest.raises(InputError, match="there is no trial 2"):
            search.tell_all([(0, 1.0, "finished", {}), (2, 1.0, "finished", {})])
        with pytest.raises(InputError, match="did you mean 'finished'"):
            search.tell(0, 1.0, "finish")
        with pytest.raises(InputError, match="needs a value"):
            search.tell(0, None)
        assert search.best() is None


def test_optuna_keeps_silent(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    before = optuna.logging.get_verbosity()
    with searching(tmp_path / "search.log", space=SPACE) as search:
        search.tell_all([(number, 1.0, "finished", {}) for number, _ in search.ask(12)])
        search.ask(3)
    assert capfd.readouterr() == ("", "") and optuna.logging.get_verbosity() == before


# -- static sweeps


def test_a_mirror_shows_every_finished_member(storage: Path | str):
    members: list[dict[str, Any]] = [{**each} for each in draw(SPACE, trials=48, sampler="random", seed=0)]
    rows = [
        {
            "member": k,
            "batch": k // 8,
            **{key: choices.get(key) for key in SPACE.axes},
            "train.clip_norm": str(choices["train.clip_norm"]).lower(),  # a mixed column is one of strings
            "model.units": float(choices["model.units"]),
            "status": ("finished", "stopped", "diverged", "running")[k % 4],
            "loss": 0.1 * k,
            "validation_loss": math.nan if k % 4 == 2 else 1.0 + k,
            "accuracy": math.nan,
        }
        for k, choices in enumerate(members)
    ]
    assert mirror(SPACE, rows[:20], storage, name="search") == 15
    assert mirror(SPACE, rows[:20], storage, name="search") == 0
    assert mirror(SPACE, rows, storage, name="search") == 21
    found = trials(storage)
    assert [trial.user_attrs["member"] for trial in found] == [k for k in range(48) if k % 4 != 3]
    for trial in found:
        k = trial.user_attrs["member"]
        assert trial.params == members[k]
        assert trial.value == (math.inf if k % 4 == 2 else 1.0 + k)
        assert trial.user_attrs["loss"] == 0.1 * k and "accuracy" not in trial.user_attrs


def test_a_mirror_takes_the_loss_where_nothing_is_held_out(tmp_path: Path):
    rows = [{"member": k, "x": 0.5, "y": 1.0, "status": "finished", "loss": 3.0 - k} for k in range(3)]
    mirror(PLAIN, rows, tmp_path / "search.log", name="search")
    assert [trial.value for trial in trials(tmp_path / "search.log")] == [3.0, 2.0, 1.0]
    with pytest.raises(InputError, match="member 3 has no such choices"):
        mirror(PLAIN, [{**rows[0], "member": 3, "x": None}], tmp_path / "search.log", name="search")


# -- processes

WORKER = """
import json, sys, time
from pathlib import Path
from rnnjax.sweep.adaptive import Adaptive
from rnnjax.sweep.spaces import Space

texts, storage, n, pause = json.loads(sys.argv[1])
with Adaptive(Space.parse(texts), "tpe", 0, n, Path(storage), "search") as search:
    while batch := search.pending() or search.ask(4):
        print(len(batch), flush=True)
        time.sleep(pause)
        search.tell_all([(number, choices["x"] ** 2, "finished", {}) for number, choices in batch])
"""


@pytest.mark.slow
def test_a_worker_is_killed_and_the_others_end_its_search(tmp_path: Path):
    path = tmp_path / "search.log"

    def start(pause: float) -> subprocess.Popen[str]:
        order = json.dumps([PLAIN.texts(), str(path), 40, pause])
        return subprocess.Popen([sys.executable, "-c", WORKER, order], stdout=subprocess.PIPE, text=True)

    victim = start(1e6)
    assert victim.stdout is not None and victim.stdout.readline() == "4\n"
    victim.send_signal(signal.SIGKILL)
    victim.communicate()
    others = [start(0.01) for _ in range(2)]
    for other in others:
        output, _ = other.communicate(timeout=120)
        assert other.returncode == 0 and output
    found = trials(path)
    assert [trial.state.name for trial in found] == ["COMPLETE"] * 40
    assert not [each for each in os.listdir(tmp_path / ".workers") if each.startswith(os.uname().nodename)]


@pytest.mark.slow
def test_killed_at_any_moment_the_journal_stays_sound(tmp_path: Path):
    path = tmp_path / "search.log"
    order = json.dumps([PLAIN.texts(), str(path), 2000, 0])
    for k in range(3):
        worker = subprocess.Popen([sys.executable, "-c", WORKER, order], stdout=subprocess.PIPE, text=True)
        assert worker.stdout is not None and worker.stdout.readline()
        time.sleep(0.05 + 0.1 * k)
        worker.kill()
        worker.communicate()
    with searching(path, 2000) as search:
        waiting = search.pending()
        search.tell_all([(number, 1.0, "finished", {}) for number, _ in waiting])
        assert len(waiting) <= 4
    assert {trial.state.name for trial in trials(path)} == {"COMPLETE"}
