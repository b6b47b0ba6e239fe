"""The command line: what each command prints, and what a mistake gets for an answer."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from small_runs import STORY, signal_at, small, tree_of, write_text

from rnnjax import config
from rnnjax.cli import COMMANDS, main
from rnnjax.store import RunFolder

pytestmark = pytest.mark.usefixtures("programs")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A folder with a text, an experiment's file and a finished run, to be looked at only."""
    folder = tmp_path_factory.mktemp("finished")
    text = write_text(folder / "text.txt")
    (folder / "small.yaml").write_text(config.dump(small(text, train__log_every=2)))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main(["run", "small.yaml", "--name", "done", "--quiet"]) == 0
    return folder


@pytest.fixture
def place(finished, tmp_path, monkeypatch):
    """A folder to work in, with a text, an experiment's file, and copies of nothing else."""
    for name in ("text.txt", "small.yaml"):
        shutil.copy(finished / name, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def with_run(place, finished):
    """As `place`, with a finished run that a test may change."""
    shutil.copytree(finished / "runs", place / "runs")
    return place


def answer(capsys, *arguments: str) -> tuple[int, str, str]:
    code = main(list(arguments))
    found = capsys.readouterr()
    return code, found.out, found.err


def assert_refused(capsys, place: Path, arguments: list[str], *words: str) -> str:
    """Bad input: exit code 2, three parts, no traceback, and nothing changed on disk."""
    before = tree_of(place)
    code, out, err = answer(capsys, *arguments)
    assert code == 2, err
    assert re.fullmatch(r"error: .+\n  where: .+\n  fix: .+\n", err, re.DOTALL), err
    assert len(err.splitlines()) == 3, err
    assert "Traceback" not in err and "Error(" not in err and out == ""
    after = tree_of(place)
    assert {name: data for name, data in after.items() if not name.endswith(".lock")} == {
        name: data for name, data in before.items() if not name.endswith(".lock")
    }
    assert (place / "runs").exists() == any(name.startswith("runs/") for name in before)
    for word in words:
        assert word in err, f"{word!r} is not in:\n{err}"
    return err


# -- mistakes in `run`


TEXTS = {
    "empty": (b"", ["text is empty", "lines.txt"]),
    "blank": (b" \n\n", ["text is empty"]),
    "one symbol": (b"a" * 500, ["single distinct symbol, a"]),
    "shorter than a chunk": (b"to be or not", ["symbols for train", "task.length"]),
    "too short to validate": (b"to be or not to be, that is" * 6, ["for validation", "task.split"]),
    "broken UTF-8": (b"to be\nor \xff\xfe not" * 50, ["not UTF-8", "ff", "line 2", "iconv"]),
}


@pytest.mark.parametrize("kind", TEXTS)
def test_a_text_that_cannot_be_learned_from(kind, place, capsys):
    data, words = TEXTS[kind]
    (place / "lines.txt").write_bytes(data)
    assert_refused(capsys, place, ["run", "small.yaml", "--task.path", "lines.txt"], *words)


OPTIONS = {
    "a batch larger than the data": (["--train.batch", "5000"], ["5000", "train.batch", "smaller"]),
    "missing file": (["--task.path", "textt.txt"], ["no file 'textt.txt'", "did you mean", "text.txt"]),
    "folder as file": (["--task.path", "."], ["is a folder"]),
    "wrong checksum": (["--task.sha256", "ab12"], ["checksum", "ab12"]),
    "more symbols than there are": (["--task.characters", "999999"], ["999999", "task.characters"]),
    "typo in a key": (["--train.learnin-rate", "1"], ["train.learnin_rate", "did you mean 'train.learning_rate'"]),
    "typo in a section": (["--trian.batch", "4"], ["unknown key 'trian", "'train"]),
    "a key of another section": (["--train.units", "4"], ["train.units", "model.units"]),
    "a section as a key": (["--train", "4"], ["'train' is a section", "train.batch"]),
    "wrong type": (["--train.batch", "many"], ["'train.batch' cannot be 'many'", "integer >= 1"]),
    "a fraction for a count": (["--train.batch", "4.5"], ["4.5", "integer"]),
    "no units": (["--model.units", "0"], ["model.units", "0"]),
    "negative dropout": (["--model.dropout", "-0.5"], ["model.dropout", "-0.5", ">= 0"]),
    "dropout of all": (["--model.dropout", "1"], ["model.dropout", "< 1"]),
    "unknown cell": (["--model.cell", "lstmm"], ["lstmm", "'lstm'"]),
    "unknown optimizer": (["--train.optimizer", "adm"], ["adm", "'adam'"]),
    "unknown activation": (["--model.activation", "reluu"], ["reluu", "'relu'"]),
    "unknown executor": (["--model.executor", "fusd"], ["fusd", "'fused'"]),
    "unknown merge": (["--model.bidirectional", "--model.merge", "add"], ["merge 'add'", "sum"]),
    "unknown dtype": (["--model.dtype", "float33"], ["float33", "float32"]),
    "unknown task": (["--task.kind", "txt"], ["txt", "'text'"]),
    "unknown schedule": (["--train.schedule", "cosin"], ["cosin", "'cosine'"]),
    "unknown order": (["--task.order", "shufled"], ["shufled", "'shuffled'"]),
    "an executor that cannot": (["--model.executor", "associative"], ["cannot run Elman", "affine", "auto"]),
    "a carried state both ways": (
        ["--model.bidirectional", "--train.carry-state"],
        ["carried state", "train.carry_state"],
    ),
    "no interval": (["--train.checkpoint-every", "often"], ["'often' is no interval", "checkpoint_every", "1epoch"]),
    "empty interval": (["--train.evaluate-every", "0"], ["'0' is no interval", "evaluate_every"]),
    "negative interval": (["--train.checkpoint-every", "-3"], ["'-3' is no interval"]),
    "unknown field to record": (["--record.fields", "0.q"], ["'q'", "h"]),
    "unknown layer to record": (["--record.fields", "7.h"], ["7.h", "0.h"]),
    "a prompt with an unknown symbol": (["--sample.prompts", "sÉa"], ["unknown symbol 'É' (U+00C9)", "'e'"]),
    "a rate that is no number": (["--train.learning-rate", "nan"], ["train.learning_rate", "nan"]),
    "a negative rate": (["--train.learning-rate", "-1e-3"], ["train.learning_rate", ">= 0"]),
    "no steps": (["--train.steps", "0"], ["train.steps", ">= 1"]),
    "parts that do not divide": (["--train.accumulate", "3"], ["train.accumulate", "divisor"]),
    "a pattern that nothing has": (["--train.freeze", "embeding*"], ["'embeding*'", "train.freeze"]),
    "widths for layers": (["--model.units", "4,5", "--model.layers", "3"], ["2 widths for 3 layers", "model.units"]),
    "unknown initialiser": (["--model.initializers.recurrent_kernel", "orthogonl"], ["orthogonl", "orthogonal"]),
    "an initialiser of no weight": (["--model.initializers.kernel", "zeros"], ["kernel", "input_kernel"]),
    "an option that the cell lacks": (["--model.options.leak", "0.5"], ["leak", "model.options"]),
    "bad remat": (["--model.remat", "always"], ["always", "remat"]),
    "all for validation": (["--task.split", "1"], ["task.split", "< 1"]),
    "arrays without a file": (["--task.kind", "arrays", "--task.path", "none.npz"], ["none.npz", "task.path"]),
    "a text as arrays": (["--task.kind", "arrays"], ["text.txt", ".npz"]),
    "a stray word": (["5"], ["5"]),
    "a name with a slash": (["--name", "a/b"], ["a/b", "plain name"]),
    "a hidden name": (["--name", ".."], ["'..'", "plain name"]),
    "an empty name": (["--name", ""], ["--name"]),
    "a name left out": (["--name"], ["--name"]),
    "a root that is a file": (["--root", "text.txt"], ["text.txt", "--root"]),
    "a number too large": (["--seed", "99999999999999999999"], ["seed"]),
}


@pytest.mark.parametrize("mistake", OPTIONS)
def test_a_mistake_in_an_option(mistake, place, capsys):
    options, words = OPTIONS[mistake]
    assert_refused(capsys, place, ["run", "small.yaml", *options], *words)


@pytest.mark.parametrize("command", ["show", "run"])
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("shakespear", ["unknown experiment 'shakespear'", "'shakespeare'"]),
        ("shakespeare/dmo", ["'shakespeare/demo'"]),
        ("smal.yaml", ["smal.yaml", "small.yaml"]),
        ("none.py", ["none.py"]),
        ("text.txt", ["text.txt"]),
        (".", ["'.'"]),
        ("bad.yaml", ["not YAML", "bad.yaml, line 3"]),
        ("list.yaml", ["holds a list"]),
        ("blank.yaml", ["is empty"]),
        ("typo.yaml", ["unknown key 'model.unit'", "model.units", "typo.yaml"]),
        ("without.py", ["EXPERIMENT", "without"]),
        ("broken.py", ["broken.py"]),
        ("raising.py", ["raising.py"]),
    ],
)
def test_an_experiment_that_is_none(command, name, words, place, capsys):
    (place / "bad.yaml").write_text("model:\n  cell: [lstm\n")
    (place / "list.yaml").write_text("- 1\n- 2\n")
    (place / "blank.yaml").write_text("")
    (place / "typo.yaml").write_text("model: {unit: 3}\n")
    (place / "without.py").write_text("X = 1\n")
    (place / "broken.py").write_text("def (:\n")
    (place / "raising.py").write_text("import nothing_of_this_name\n")
    assert_refused(capsys, place, [command, name], *words)


def test_a_name_that_exists_is_refused_and_left_alone(with_run, capsys):
    assert_refused(capsys, with_run, ["run", "small.yaml", "--name", "done"], "runs/done", "rnnjax resume runs/done")


def test_the_options_of_resume_are_not_those_of_run(with_run, capsys):
    assert_refused(capsys, with_run, ["resume", "runs/done", "--train.batch", "4"], "train.batch", "train.steps")


# -- mistakes elsewhere


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["rnu", "small.yaml"], ["unknown command 'rnu'", "'run'"]),
        (["frobnicate"], ["frobnicate", "list"]),
        (["--colour", "run"], ["rnnjax run --help"]),
        (["list", "--all"], ["unknown option '--all'", "rnnjax list"]),
        (["list", "--jsn"], ["--jsn"]),
        (["run"], ["experiment", "rnnjax run --help"]),
        (["show"], ["experiment"]),
        (["resume"], ["run", "rnnjax resume --help"]),
        (["resume", "runs/dome"], ["runs/dome", "runs/done"]),
        (["resume", "text.txt"], ["text.txt"]),
        (["resume", "."], ["config.yaml"]),
        (["resume", "runs"], ["config.yaml"]),
        (["resume", "runs/done"], ["has done 22 steps already", "--train.steps 44"]),
        (["resume", "runs/done", "--train.steps", "ten"], ["train.steps", "ten"]),
        (["resume", "runs/done", "--train.steps", "5"], ["22"]),
        (["resume", "runs/done", "--model.units", "9"], ["model.units"]),
        (["resume", "runs/done", "--train.stps", "90"], ["train.stps", "train.steps"]),
        (["sample", "runs/dome"], ["runs/dome", "runs/done"]),
        (["sample", "runs"], ["config.yaml"]),
        (["sample", "runs/done", "--prompt", "seÆ"], ["unknown symbol 'Æ' (U+00C6)", "position 2", "nearest"]),
        (["sample", "runs/done", "--prompt", "Sky"], ["unknown symbol 'S'", "'s'"]),
        (["sample", "runs/done", "--prompt", ""], ["empty prompt"]),
        (["sample", "runs/done", "--checkpoint", "999"], ["no checkpoint 999", "11, 22"]),
        (["sample", "runs/done", "--checkpoint", "bets"], ["bets", "best"]),
        (["sample", "runs/done", "--length", "0"], ["length"]),
        (["sample", "runs/done", "--length", "long"], ["length", "long"]),
        (["sample", "runs/done", "--temperature", "-1"], ["temperature"]),
        (["sample", "runs/done", "--temperature", "nan"], ["temperature"]),
        (["sample", "runs/done", "--top-p", "0"], ["top_p"]),
        (["sample", "runs/done", "--top-k", "-1"], ["top_k"]),
        (["sample", "runs/done", "--rows", "0"], ["rows"]),
        (["sample", "runs/done", "--seed", "x"], ["seed", "x"]),
        (["sample", "runs/done", "--prompts", "a"], ["--prompts"]),
    ],
    ids=" ".join,
)
def test_a_mistake_in_a_command(arguments, words, with_run, capsys):
    assert_refused(capsys, with_run, arguments, *words)


def test_a_checkpoint_of_another_architecture(with_run, capsys):
    description = with_run / "runs" / "done" / "config.yaml"
    description.write_text(description.read_text().replace("units: 4", "units: 6"))
    err = assert_refused(
        capsys, with_run, ["sample", "runs/done"], "another architecture", "stored float32", "expected"
    )
    assert "more)" in err
    assert_refused(capsys, with_run, ["resume", "runs/done", "--train.steps", "30"], "another architecture")


def test_a_damaged_checkpoint(with_run, capsys):
    for path in (with_run / "runs" / "done" / "checkpoints" / "22" / "state").rglob("d/*"):
        path.write_bytes(path.read_bytes()[:10])
    words = ("is damaged", "checkpoints/22", "step 11")
    assert_refused(capsys, with_run, ["sample", "runs/done"], *words)
    assert_refused(capsys, with_run, ["resume", "runs/done", "--train.steps", "30"], *words)


def test_a_run_whose_checkpoints_are_gone(with_run, capsys):
    shutil.rmtree(with_run / "runs" / "done" / "checkpoints")
    assert_refused(capsys, with_run, ["sample", "runs/done"], "no checkpoint")
    assert_refused(capsys, with_run, ["resume", "runs/done", "--train.steps", "30"], "no checkpoint")


def test_a_run_whose_description_is_broken(with_run, capsys):
    (with_run / "runs" / "done" / "config.yaml").write_text("model: [\n")
    assert_refused(capsys, with_run, ["sample", "runs/done"], "not YAML", "config.yaml")


def test_a_run_whose_environment_is_broken(with_run, capsys):
    (with_run / "runs" / "done" / "environment.json").write_text('{"plan": [')
    assert_refused(capsys, with_run, ["resume", "runs/done", "--train.steps", "30"], "environment.json")


def test_a_run_whose_text_is_gone(with_run, capsys):
    (with_run / "text.txt").rename(with_run / "moved.txt")
    description = with_run / "runs" / "done" / "config.yaml"
    description.write_text(re.sub("path: .*", "path: text.txt", description.read_text()))
    assert_refused(capsys, with_run, ["sample", "runs/done"], "no file 'text.txt'")


def test_a_run_that_another_process_writes(with_run, capsys):
    with RunFolder.open(with_run / "runs" / "done").lock():
        assert_refused(capsys, with_run, ["resume", "runs/done", "--train.steps", "30"], "is being written", "process")


def test_training_that_is_not_finite_has_a_code_of_its_own(place, capsys):
    options = ["--train.optimizer", "sgd", "--train.learning-rate", "1e35", "--name", "wild", "--quiet"]
    code, out, err = answer(capsys, "run", "small.yaml", *options)
    assert code == 3 and out == ""
    assert re.search(r"not finite at step \d+; the checkpoint of step 0 is kept in runs/wild", err)
    assert "Traceback" not in err
    code, out, _ = answer(capsys, "sample", "runs/wild", "--length", "5")
    assert code == 0 and len(out.strip("\n")) <= 6


# -- what commands print


def test_list(capsys):
    code, out, err = answer(capsys, "list")
    assert code == 0 and err == ""
    assert any(line.startswith("shakespeare ") for line in out.splitlines())
    assert "shakespeare/demo" in out
    rows = json.loads(answer(capsys, "list", "--json")[1])
    assert {"name", "about"} == rows[0].keys()
    assert "shakespeare" in [row["name"] for row in rows]


def test_show_and_a_dry_run_leave_nothing(place, capsys):
    before = tree_of(place)
    for command in (["show", "small.yaml"], ["run", "small.yaml", "--dry-run", "--name", "x"]):
        code, out, err = answer(capsys, *command, "--model.units", "7")
        assert code == 0 and err == ""
        for word in ("model.units", "7", "distinct symbols", "stack.layers.0.cell.recurrent_kernel", "fused", "total"):
            assert word in out
    assert tree_of(place) == before and not (place / "runs").exists()


def test_show_as_json(place, capsys):
    found = json.loads(answer(capsys, "show", "small.yaml", "--json", "--model.units=7")[1])
    assert found["configuration"]["model"]["units"] == 7
    assert found["data"]["steps in all"] == 22
    assert found["parameters"] == sum(row["parameters"] for row in found["layers"])
    assert found["plan"][0]["executor"] == "fused"
    assert found["memory"]["parameters"] == 4 * found["parameters"]


def test_a_dry_run_refuses_a_name_that_exists(with_run, capsys):
    """It checks everything."""
    assert_refused(capsys, with_run, ["run", "small.yaml", "--dry-run", "--name", "done"], "runs/done")


def test_run_as_json(place, capsys):
    code, out, err = answer(capsys, "run", "small.yaml", "--json", "--train.steps", "3", "--name", "three")
    found = json.loads(out)
    assert code == 0 and err == ""
    assert found["run"] == "runs/three" and found["steps"] == 3
    assert found["parameters_sha256"] == json.loads(Path("runs/three/summary.json").read_text())["parameters_sha256"]
    environment = json.loads(Path("runs/three/environment.json").read_text())
    assert environment["command"] == "rnnjax run small.yaml --json --train.steps 3 --name three"
    code, out, _ = answer(capsys, "resume", "runs/three", "--json", "--train.steps=5")
    assert code == 0 and json.loads(out)["steps"] == 5


def test_plain_lines_of_progress_where_there_is_no_terminal(place, capsys):
    code, out, err = answer(capsys, "run", "small.yaml", "--train.epochs", "1", "--name", "lines")
    assert code == 0
    lines = err.splitlines()
    assert re.match(r"step 2/11  loss \d\.\d{4}  accuracy 0\.\d{4}.*  \d+:\d\d left$", lines[0])
    assert re.match(r"step 11/11 .*held-out loss \d\.\d{4}  0:00 left$", lines[-1])
    assert "finished: 11 steps in" in out and "report: runs/lines/report.html" in out
    assert Path("runs/lines/sample.txt").read_text().strip() in out


def test_quiet_is_quiet(with_run, capsys):
    code, out, err = answer(capsys, "resume", "runs/done", "--train.steps", "24", "--quiet")
    assert code == 0 and err == "" and "finished: 24 steps" in out


def test_a_signal_is_an_exit_code_and_a_message(place, capsys):
    with pytest.MonkeyPatch.context() as patch:
        signal_at(patch, 5)
        code, out, err = answer(capsys, "run", "small.yaml", "--name", "stopped", "--quiet")
    assert code == 130 and out == ""
    assert "saved at step 5" in err and "rnnjax resume runs/stopped" in err
    code, out, _ = answer(capsys, "resume", "runs/stopped", "--quiet")
    assert code == 0 and "finished: 22 steps" in out


def test_a_signal_while_the_report_is_written_takes_nothing_back(place, capsys, monkeypatch):
    def pressed(self, **_):
        raise KeyboardInterrupt

    monkeypatch.setattr(STORY.Run, "report", pressed)
    code, _, err = answer(capsys, "run", "small.yaml", "--name", "stopped", "--quiet")
    assert code == 130
    assert "before anything was saved" not in err, "the run is on disk, trained to its end"


def test_sample(finished, monkeypatch, capsys):
    monkeypatch.chdir(finished)
    code, out, err = answer(capsys, "sample", "runs/done", "--prompt", "the ", "--prompt", "sky", "--length", "9")
    assert code == 0 and err == ""
    assert out.startswith("the ") and "\n\nsky" in out
    rows = json.loads(
        answer(capsys, "sample", "runs/done", "--prompt", "the ", "--rows", "2", "--length", "9", "--json")[1]
    )
    assert [row["prompt"] for row in rows] == ["the ", "the "]
    assert all(len(row["text"]) == 9 for row in rows)
    assert out.startswith("the " + rows[0]["text"])
    best = answer(capsys, "sample", "runs/done", "--checkpoint", "best", "--length", "9")
    by_number = answer(capsys, "sample", "runs/done", "--checkpoint", "11", "--length", "9")
    assert best[0] == by_number[0] == 0


@pytest.mark.slow
def test_doctor(capsys):
    code, out, _ = answer(capsys, "doctor")
    assert code in (0, 1) and "executors agree" in out and "BAD" not in out.split("default text")[0]
    found = json.loads(answer(capsys, "doctor", "--json")[1])
    assert found["environment"]["versions"]["jax"]
    assert found["checks"][0]["good"] is True


def test_a_python_file_with_variants(place, capsys):
    (place / "mine.py").write_text(
        "import rnnjax as rx\n"
        "EXPERIMENT = rx.Experiment(task=rx.tasks.TextConfig(path='text.txt', length=20))\n"
        "VARIANTS = {'wide': {'model.units': 9}}\n"
    )
    found = json.loads(answer(capsys, "show", "mine.py", "--json", "--model.units", "5")[1])
    assert found["configuration"]["name"] == "mine"
    assert found["configuration"]["model"]["units"] == 5


def test_a_run_is_an_experiment(with_run, capsys):
    found = json.loads(answer(capsys, "show", "runs/done", "--json")[1])["configuration"]
    wanted = config.to_dict(small(with_run / "text.txt", train__log_every=2))
    assert found.pop("task").keys() == wanted.pop("task").keys()
    assert found == wanted


@pytest.mark.slow
def test_a_run_of_arrays_is_an_experiment(place, capsys):
    draw = np.random.default_rng(0)
    np.savez("some.npz", inputs=draw.normal(size=(20, 5, 2)), targets=draw.integers(0, 2, 20))
    (place / "some.yaml").write_text(
        "task: {kind: arrays, path: some.npz}\nmodel: {cell: elman, units: 4}\ntrain: {batch: 8}\n"
    )
    assert answer(capsys, "run", "some.yaml", "--name", "some", "--quiet")[0] == 0
    assert answer(capsys, "show", "runs/some", "--json")[0] == 0


@pytest.mark.parametrize("command", [[], ["--help"], *([name, "--help"] for name in COMMANDS)], ids=" ".join)
def test_help(command, capsys):
    try:
        code = main(command)
    except SystemExit as end:  # argparse's own
        code = end.code
    out = capsys.readouterr().out
    assert code == 0 and "usage: rnnjax" in out
    assert "==SUPPRESS==" not in out


def test_help_imports_nothing_heavy():
    code = """
import sys
from rnnjax.cli import main
try:
    main(["--help"])
except SystemExit:
    pass
heavy = ("jax", "flax", "optax", "numpy", "yaml", "rich", "matplotlib", "orbax", "importlib.metadata")
print([name for name in heavy if name in sys.modules], file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"


def test_what_runs_an_experiment_draws_nothing_before_its_end():
    code = """
import sys
import rnnjax
rnnjax.run, rnnjax.load
heavy = ("matplotlib", "orbax", "tensorstore", "pyarrow", "optuna", "scipy")
print([name for name in heavy if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_wrong_command_is_answered_without_heavy_imports():
    code = """
import sys
from rnnjax.cli import main
main(["rnu"])
print([name for name in ("jax", "numpy") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]" and "did you mean 'run'" in done.stderr


@pytest.mark.slow
def test_a_second_run_compiles_nothing(place, capsys):
    """Commands share their compiled programs by way of the disk."""
    import jax

    folder = Path(jax.config.values["jax_compilation_cache_dir"])
    for name in ("first", "second"):
        assert answer(capsys, "run", "small.yaml", "--name", name, "--quiet", "--train.steps", "3")[0] == 0
        programs = {path.name for path in folder.glob("*-cache")}
        if name == "first":
            before = programs
    assert programs == before
