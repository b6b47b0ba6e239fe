from __future__ import annotations

import math
import pickle
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pytest

from rnnjax import config
from rnnjax.config import InputError, field, section


@dataclass(frozen=True)
class Schedule:
    warmup: int = field(10, "steps", at_least=0)


@dataclass(frozen=True)
class Train:
    learning_rate: float = field(1e-3, "step size", above=0)
    batch: int = field(64, "rows a step", at_least=1)
    dropout: float = field(0.0, "share of units", at_least=0, below=1)
    clip_norm: float | None = field(None, "global norm", above=0)
    semantics: Literal["rnnjax", "keras"] = field("rnnjax", "whose rules")
    checkpoint_every: int | Literal["1epoch"] = field("1epoch", "steps", at_least=1)
    schedule: Schedule | None = field(None, "of the learning rate")


@dataclass(frozen=True)
class Model:
    units: tuple[int, ...] = field((128,), "of each layer", at_least=1)
    bidirectional: bool = field(False, "read both ways")
    penalties: dict[str, float] = field({"l1": 0.0}, "by name", at_least=0)


@dataclass(frozen=True)
class Text:
    kind: str = field("text", "which task")
    path: str | None = field(None, "a file")
    length: int = field(64, "symbols", at_least=1)
    order: Literal["shuffled", "stream"] = field("shuffled", "of the windows")


@dataclass(frozen=True)
class Addition:
    kind: str = field("addition", "which task")
    digits: int = field(3, "of each number")
    length: int = field(9, "symbols", at_least=1)
    order: Literal["shuffled"] = field("shuffled", "of the sums")


KINDS: dict[str, type] = {"text": Text, "addition": Addition, "sums": Addition}


def choose(kind: str) -> type:
    if kind not in KINDS:
        raise InputError(f"unknown task '{kind}'", "task.kind", f"did you mean {config.nearest(kind, KINDS)}?")
    return KINDS[kind]


@dataclass(frozen=True)
class Experiment:
    seed: int = field(0, "of weights and order")
    task: Any = section(Text(), "what is learned", choose=choose)
    model: Model = field(Model(), "the network")
    train: Train = field(Train(batch=32), "how it is trained")


@dataclass(frozen=True)
class Required:
    name: str


def read(tree: Any) -> Experiment:
    return config.from_dict(Experiment, tree, where="in a test")


def refusal(call, *arguments, **options) -> InputError:
    with pytest.raises(InputError) as caught:
        call(*arguments, **options)
    return caught.value


def test_an_error_shows_what_where_and_fix_and_survives_pickling():
    error = pickle.loads(pickle.dumps(InputError("no such thing", "here", "look there")))
    assert str(error) == "no such thing\n  where: here\n  fix: look there"
    assert (error.what, error.where, error.fix) == ("no such thing", "here", "look there")


@pytest.mark.parametrize(
    ("name", "known", "expected"),
    [
        ("learnin-rate", ["batch", "learning_rate"], ["learning_rate"]),
        ("learning_rate", ["train.batch", "train.learning_rate"], ["train.learning_rate"]),
        ("model.batch", ["model.units", "train.batch"], ["train.batch"]),
        ("trainbatch", ["train.batch", "train.clip_norm"], ["train.batch"]),
        ("validation.foo", ["validation.log"], []),
        ("UNITS", ["decoder.units", "units"], ["units", "decoder.units"]),
        ("aaaa", ["aaa1", "aaa2", "aaa3", "aaa4"], ["aaa1", "aaa2", "aaa3"]),
    ],
)
def test_nearest(name, known, expected):
    assert config.nearest(name, known) == expected


def test_missing_keys_take_the_defaults_of_the_enclosing_section():
    assert read({}) == Experiment()
    assert read({"train": {"learning-rate": 1}}).train == Train(learning_rate=1.0, batch=32)
    assert isinstance(read({"train": {"learning_rate": 1}}).train.learning_rate, float)


def test_the_kind_of_a_section_picks_its_dataclass_and_its_defaults():
    assert read({"task": {"kind": "addition"}}).task == Addition()
    assert read({"task": {"kind": "sums"}}).task == Addition(kind="sums")
    assert read({"task": {"length": 5}}).task == Text(length=5)
    assert refusal(read, {"task": {"kind": "adition"}}).fix == "did you mean ['addition']?"
    assert refusal(read, {"task": {"kind": 3}}).what == "'task.kind' cannot be 3"


@pytest.mark.parametrize(
    ("tree", "what", "fix"),
    [
        (
            {"train": {"learnin_rate": 1}},
            "unknown key 'train.learnin_rate'",
            "did you mean 'train.learning_rate'?",
        ),
        ({"trian": {"batch": 1}}, "unknown key 'trian'", "did you mean 'train'?"),
        ({"batch": 1}, "unknown key 'batch'", "did you mean 'train.batch'?"),
        (
            {"model": {"xyz": 1}},
            "unknown key 'model.xyz'",
            "the keys here are model.units, model.bidirectional, model.p",
        ),
        (
            {"task": {"kind": "addition", "path": "x"}},
            "unknown key 'task.path'",
            "the keys here are task.kind, task.d",
        ),
        ({True: 1}, "unknown key 'True'", "the keys here are seed"),
        ({"train": {"clip-norm": 1, "clip_norm": 1}}, "'train.clip_norm' is given twice", "give it once"),
        (
            {"train": 3},
            "'train' is a section, not a value",
            "give one of its keys: train.learning_rate, train.batch",
        ),
        ({"task": None}, "'task' is a section, not a value", "give one of its keys: task.kind, task.path"),
        ([], "a configuration is a mapping", "give one of its keys: seed, task, model, train"),
        ({"train": {"batch": 1.5}}, "'train.batch' cannot be 1.5", "give an integer >= 1"),
        ({"train": {"batch": "64"}}, "'train.batch' cannot be '64'", "give an integer >= 1"),
        ({"train": {"batch": True}}, "'train.batch' cannot be True", "give an integer >= 1"),
        ({"train": {"batch": 0}}, "'train.batch' cannot be 0", "give an integer >= 1"),
        ({"train": {"learning_rate": 0}}, "'train.learning_rate' cannot be 0", "give a number > 0"),
        ({"train": {"learning_rate": True}}, "'train.learning_rate' cannot be True", "give a number > 0"),
        ({"train": {"learning_rate": math.nan}}, "'train.learning_rate' cannot be nan", "give a number > 0"),
        ({"train": {"learning_rate": 10**400}}, "'train.learning_rate' cannot be 1000", "give a number > 0"),
        ({"train": {"dropout": 1}}, "'train.dropout' cannot be 1", "give a number >= 0 and < 1"),
        ({"train": {"clip_norm": "big"}}, "'train.clip_norm' cannot be 'big'", "give a number > 0"),
        (
            {"train": {"semantics": "kears"}},
            "'train.semantics' cannot be 'kears'",
            "did you mean 'keras'? give 'rnnjax' or",
        ),
        (
            {"train": {"checkpoint_every": 0}},
            "'train.checkpoint_every' cannot be 0",
            "give an integer >= 1 or '1epoch'",
        ),
        (
            {"train": {"schedule": {"warm": 1}}},
            "unknown key 'train.schedule.warm'",
            "did you mean 'train.schedule.warmup'?",
        ),
        ({"model": {"units": 64}}, "'model.units' cannot be 64", "give a list, each item an integer >= 1"),
        ({"model": {"units": [64, 0]}}, "'model.units[1]' cannot be 0", "give an integer >= 1"),
        ({"model": {"bidirectional": 1}}, "'model.bidirectional' cannot be 1", "give true or false"),
        ({"model": {"penalties": {"l1": -1}}}, "'model.penalties.l1' cannot be -1", "give a number >= 0"),
        (
            {"model": {"penalties": {1: 1}}},
            "'model.penalties' cannot be {1: 1}",
            "give a mapping, each value a number >= 0",
        ),
        ({"task": {"path": 3}}, "'task.path' cannot be 3", "give text"),
    ],
)
def test_a_wrong_key_or_value_is_refused_with_the_fix(tree, what, fix):
    error = refusal(read, tree)
    assert error.what.startswith(what)
    assert error.where == "in a test"
    assert error.fix.startswith(fix)


def test_a_key_without_a_default_must_be_given():
    assert refusal(config.from_dict, Required, {}, where="here").what == "missing key 'name'"
    assert config.from_dict(Required, {"name": "x"}, where="here") == Required("x")


@pytest.mark.parametrize(
    ("key", "text", "expected"),
    [
        ("seed", "1_000", 1000),
        ("seed", "-7", -7),
        ("train.learning-rate", "1e-3", 1e-3),
        ("train.clip_norm", "None", None),
        ("train.clip_norm", "5", 5.0),
        ("train.semantics", "keras", "keras"),
        ("train.checkpoint_every", "200", 200),
        ("train.checkpoint_every", "1epoch", "1epoch"),
        ("train.schedule.warmup", "3", 3),
        ("train.batch", np.int64(8), 8),
        ("train.dropout", np.float32(0.5), 0.5),
        ("model.units", "64, 128", (64, 128)),
        ("model.units", "64", (64,)),
        ("model.units", [64, 128], (64, 128)),
        ("model.bidirectional", "yes", True),
        ("model.bidirectional", "0", False),
        ("model.penalties", {"l2": 1}, {"l1": 0.0, "l2": 1.0}),
        ("model.penalties.l2", "0.5", {"l1": 0.0, "l2": 0.5}),
        ("task.path", "null", None),
        ("task.path", "12", "12"),
    ],
)
def test_overrides_are_parsed_by_the_type_of_their_field(key, text, expected):
    value: Any = config.override(Experiment(), {key: text})
    for name in key.removesuffix(".l2").replace("-", "_").split("."):
        value = getattr(value, name)
    assert value == expected
    assert type(value) is type(expected)


def test_overrides_leave_the_rest_as_it_was():
    before = read({"seed": 3, "train": {"batch": 7, "schedule": {}}, "task": {"kind": "addition", "digits": 5}})
    after = config.override(before, {"train.schedule": "none", "task.length": 2})
    assert config.override(before, {}) == before
    assert (after.seed, after.train, after.task) == (3, Train(batch=7), Addition(digits=5, length=2))


def test_a_new_kind_keeps_the_keys_that_both_have_where_their_values_fit():
    before = read({"task": {"path": "x", "length": 5, "order": "stream"}})
    assert config.override(before, {"task.digits": "4", "task.kind": "addition"}).task == Addition(digits=4, length=5)


@pytest.mark.parametrize(
    ("values", "what", "fix"),
    [
        (
            {"task": "addition"},
            "'task' is a section, not a value",
            "give one of its keys: task.kind, task.path",
        ),
        ({"task": Addition()}, "'task' is a section, not a value", "give one of its keys: task.kind"),
        (
            {"train.learnin-rate": "1"},
            "unknown key 'train.learnin_rate'",
            "did you mean 'train.learning_rate'?",
        ),
        ({"seed": "1.5"}, "'seed' cannot be '1.5'", "give an integer"),
        ({"model.bidirectional": "maybe"}, "'model.bidirectional' cannot be 'maybe'", "give true or false"),
        ({"seed.x": 1}, "'seed' cannot be {'x': 1}", "give an integer"),
        ({"train.batch": 1, "train": 2}, "'train' and 'train.batch' are both given", "leave 'train' out"),
    ],
)
def test_a_wrong_override_is_refused(values, what, fix):
    error = refusal(config.override, Experiment(), values)
    assert error.what == what
    assert error.where == "on the command line"
    assert error.fix.startswith(fix)


def test_yaml_text_reads_back_to_the_same_configuration(tmp_path):
    experiment = config.override(
        Experiment(),
        {
            "train.learning_rate": 1e-5,
            "train.clip_norm": 1e300,
            "task.path": "näme: 'x'\n",
            "model.units": "1,2",
        },
    )
    file = tmp_path / "config.yaml"
    file.write_text(config.dump(experiment), encoding="utf-8")
    assert config.load(file, Experiment) == experiment
    assert list(config.to_dict(experiment)) == ["seed", "task", "model", "train"]
    assert config.to_dict(experiment)["model"]["units"] == [1, 2]


def test_yaml_numbers_without_a_point_are_numbers(tmp_path):
    file = tmp_path / "config.yaml"
    file.write_text("train:\n  learning-rate: 1e-3\n")
    assert config.load(str(file), Experiment).train.learning_rate == 1e-3
    file.write_text("train: {batch: 1e3}\n")
    assert refusal(config.load, file, Experiment).where == f"in {file}"


@pytest.mark.parametrize(
    ("content", "what", "where"),
    [
        (b"", "is empty", ""),
        (b"- 1\n", "holds a list, not keys and values", ""),
        (b"seed: 1\ntrain: [1\n", "is not YAML: ", ", line 3, column 1"),
        (b"seed: \xff\n", "is not YAML: ", ""),
        (b"seed: 2020-13-45\n", "is not YAML: month must be in 1..12", ""),
    ],
)
def test_a_file_that_is_no_configuration_is_refused(tmp_path, content, what, where):
    file = tmp_path / "config.yaml"
    file.write_bytes(content)
    error = refusal(config.load, file, Experiment)
    assert error.what.startswith(f"'{file}' {what}")
    assert error.where == f"in {file}{where}"


def test_a_missing_file_is_refused_with_the_nearest_name(tmp_path):
    assert refusal(config.load, tmp_path, Experiment).what == f"cannot read '{tmp_path}': Is a directory"
    (tmp_path / "letters.yaml").touch()
    (tmp_path / "other.yaml").touch()
    error = refusal(config.load, tmp_path / "leters.yaml", Experiment)
    assert error.what.endswith("leters.yaml': No such file or directory")
    assert error.fix == f"did you mean '{tmp_path / 'letters.yaml'}'?"


def test_arguments_become_overrides():
    arguments = "--train.learning-rate 1e-3 --model.units=64 --model.bidirectional"
    arguments += " --a -0.5 --b -1 --c=-x --d= --e a=b --f"
    assert config.parse_arguments(arguments.split()) == {
        "train.learning-rate": "1e-3",
        "model.units": "64",
        "model.bidirectional": "true",
        "a": "-0.5",
        "b": "-1",
        "c": "-x",
        "d": "",
        "e": "a=b",
        "f": "true",
    }
    assert config.parse_arguments(["--a", "1", "--path", "", "--a", "2"]) == {"path": "", "a": "2"}


@pytest.mark.parametrize("arguments", [["stray"], ["--a", "1", "stray"], ["--a=1", "2"], ["-x"], ["--a", "-x"], ["--"]])
def test_a_stray_argument_is_refused(arguments):
    error = refusal(config.parse_arguments, arguments)
    assert error.what == f"stray argument '{arguments[-1]}'"


def test_describe_lists_every_value_with_its_type_and_doc():
    rows = {key: rest for key, *rest in config.describe(Experiment())}
    assert list(rows)[:3] == ["seed", "task.kind", "task.path"]
    assert rows["train.batch"] == [32, "an integer >= 1", "rows a step"]
    assert rows["train.clip_norm"] == [None, "a number > 0 or null", "global norm"]
    assert rows["train.schedule"] == [None, "a section or null", "of the learning rate"]
    assert rows["model.penalties"][1] == "a mapping, each value a number >= 0"
