"""Cells, tasks and tables of a user's own: named, run, stored, and never imported without being asked for."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

import rnnjax as rx
from rnnjax.cli import main
from rnnjax.config import InputError
from rnnjax.tasks.arrays import ArraysConfig

README = Path(__file__).parents[1] / "README.md"
MINE = '''
import jax
import jax.numpy as jnp

import rnnjax as rx


class Minimal(rx.cells.Cell):
    gates = ("f", "n")
    products = {"recurrent": ("f", "n")}
    fields = ("f", "n", "h")

    def step(self, w, s, x, dot, at):
        q = dot("recurrent", s["h"])
        f = at("f", jax.nn.sigmoid(x["f"] + q["f"]))
        return {"h": at("h", (1 - f) * s["h"] + f * at("n", jnp.tanh(x["n"] + q["n"])))}


class Sums(rx.tasks.Drawn):
    """The sum of the numbers read so far."""

    inputs = outputs = 1
    answers = "numbers"

    def __init__(self, length: int = 5):
        super().__init__(epoch_steps=4, validation_steps=1)
        self.length = length

    def batch(self, key, size):
        numbers = jax.random.uniform(key, (size, self.length, 1))
        return rx.tasks.Batch(numbers, jnp.cumsum(numbers, axis=1))


class Demanding(rx.tasks.Drawn):
    inputs = outputs = 1

    def __init__(self, length):
        super().__init__()
'''
SMALL = ("--model.units", "3", "--train.batch", "4", "--train.epochs", "2", "--quiet")


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with code of a user's own, in which the commands are given."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(MINE)
    cells, tasks = dict(rx.cells.CELLS), dict(rx.tasks.TASKS)
    yield tmp_path
    rx.cells.CELLS.clear()
    rx.cells.CELLS.update(cells)
    rx.tasks.TASKS.clear()
    rx.tasks.TASKS.update(tasks)


def said(capsys, *arguments: str) -> tuple[int, str, str]:
    code = main(arguments)
    return code, *capsys.readouterr()


def run_mine(capsys, *arguments: str) -> None:
    code, _, err = said(
        capsys, "run", "lecture", "--model.cell", "mine.py:Minimal", "--task.kind", "mine.py:Sums", *SMALL, *arguments
    )
    assert code == 0, err


def test_a_cell_and_a_task_named_on_the_command_line(here, capsys):
    run_mine(capsys, "--task.length", "7", "--name", "mine")
    run = rx.open("runs/mine")
    task = run.experiment.built.task
    assert type(task).__name__ == "Sums" and task.length == 7
    assert run.summary()["status"] == "finished"
    assert run.summary()["metrics"]["validation_loss"] > 0
    stored = (here / "runs/mine/config.yaml").read_text()
    assert f"{here}/mine.py:Minimal" in stored and f"{here}/mine.py:Sums" in stored


def test_a_stored_run_imports_no_code_until_it_is_named(here, capsys):
    run_mine(capsys, "--name", "mine")
    for table in (rx.cells.CELLS, rx.tasks.TASKS):
        for name in [name for name in table if "mine.py" in name]:
            del table[name]
    (here / "touched.py").write_text("")
    code, out, err = said(capsys, "resume", "runs/mine", "--train.epochs", "3", "--quiet")
    assert code == 2 and out == ""
    assert "code of your own" in err and f"--code {here}/mine.py:Sums" in err
    code, _, err = said(
        capsys,
        "resume",
        "runs/mine",
        "--train.epochs",
        "3",
        "--quiet",
        "--code",
        "mine.py:Sums",
        "--code",
        "mine.py:Minimal",
    )
    assert code == 0, err
    assert rx.open("runs/mine").summary()["epochs"] == 3


@pytest.mark.parametrize(
    ("spec", "said_of_it"),
    [
        ("mine.py:Minimum", "did you mean 'Minimal'?"),
        ("nowhere.py:Minimal", "no file"),
        ("no_such_module:Minimal", "cannot import"),
        ("mine.py:jax", "neither a cell nor a task"),
    ],
)
def test_code_that_cannot_be_had(here, capsys, spec, said_of_it):
    code, out, err = said(capsys, "run", "lecture", "--model.cell", spec)
    assert code == 2 and out == "" and said_of_it in err and "Traceback" not in err
    assert not (here / "runs").exists()


def test_a_task_whose_arguments_cannot_be_configured(here, capsys):
    code, _, err = said(capsys, "run", "lecture", "--task.kind", "mine.py:Demanding")
    assert code == 2 and "length: int = 10" in err


def test_names_that_are_taken(here):
    class Elman(rx.cells.Cell):
        pass

    with pytest.raises(InputError, match="taken"):
        rx.own(Elman, name="elman")
    with pytest.raises(InputError, match="neither"):
        rx.own(int)
    assert rx.own(Elman) is Elman and rx.cells.CELLS["Elman"] is Elman


def test_the_readme_s_own_cell_and_task(here):
    blocks = [block for block in re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL) if "rx.own" in block]
    assert len(blocks) == 2
    namespace: dict = {}
    for block in blocks:
        exec(compile(block, str(README), "exec"), namespace)
    assert namespace["run"].summary()["status"] == "finished"


# -- tables


def csv_task(path: Path, text: str, **options):
    path.write_text(text)
    return ArraysConfig(path=str(path), **options).build()


def test_a_table_whose_lines_are_steps(tmp_path):
    text = "who,x,y,vowel\n1,1,2,a\n1,3,4,a\n2,5,6,o\n1,7,8,a\n"
    task = csv_task(tmp_path / "steps.csv", text, example="who")
    data = task.data("train")
    assert data["lengths"].tolist() == [3, 1] and data["targets"].tolist() == [0, 1]
    assert data["inputs"][0].tolist() == [[1, 2], [3, 4], [7, 8]] and task.labels == ("a", "o")
    assert task.read == "last"
    text = "who,x,answer\n1,1,0.5\n1,3,1.5\n2,5,2.5\n2,6,1\n"
    task = csv_task(tmp_path / "every.csv", text, example="who", target="answer")
    assert task.read == "every" and task.answers == "numbers"
    np.testing.assert_array_equal(task.data("train")["targets"][..., 0], [[0.5, 1.5], [2.5, 1]])


def test_a_table_whose_lines_are_examples(tmp_path):
    text = "class,t0,t1,t2\n3,1,2,3\n0,4,5,6\n"
    task = csv_task(tmp_path / "series.csv", text, target="class")
    assert task.data("train")["inputs"].shape == (2, 3, 1) and task.data("train")["targets"].tolist() == [3, 0]
    task = csv_task(tmp_path / "two.csv", text, target="class", columns=("t1", "t0"))
    assert task.data("train")["inputs"][0, :, 0].tolist() == [2, 1]


@pytest.mark.parametrize(
    ("text", "options", "said_of_it"),
    [
        ("a,b\n1,2\n3\n", {}, "line 3"),
        ("a,b\n1,2\nx,3\n", {}, "line 3, column a"),
        ("a,b\n1,2\n", {"target": "bb"}, "did you mean 'b'?"),
        ("a,b\n", {}, "no lines"),
        ("a,b\nnan,2\n", {}, "no number"),
    ],
)
def test_tables_that_cannot_be_read(tmp_path, text, options, said_of_it):
    with pytest.raises(InputError, match=re.escape(said_of_it)):
        csv_task(tmp_path / "bad.csv", text, **options)
