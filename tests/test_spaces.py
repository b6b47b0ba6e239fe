"""Spaces of a sweep, their text, and the members that static samplers draw from them."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from rnnjax.config import InputError
from rnnjax.experiment import Experiment
from rnnjax.sweep.samplers import draw
from rnnjax.sweep.spaces import (
    Choice,
    Range,
    Space,
    Value,
    When,
    choice,
    grid,
    integers,
    log_uniform,
    parse,
    uniform,
    when,
)
from rnnjax.tasks import arrays
from rnnjax.tasks.letter_words import LetterWordsConfig

EXPERIMENT = Experiment(task=LetterWordsConfig())


def checked(*texts: str) -> Space:
    return Space.parse(texts).check(EXPERIMENT)


# -- text


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("64,128", Choice((64, 128))),
        ("0..3", Range(0, 3, integer=True, points=4)),
        ("-2..3", Range(-2, 3, integer=True, points=6)),
        ("0.1..0.9", Range(0.1, 0.9)),
        ("0..0.9", Range(0.0, 0.9)),
        ("-1.5..-.5", Range(-1.5, -0.5)),
        ("1e-4..1e-1:log", Range(1e-4, 1e-1, log=True)),
        ("1_000..2e4:log", Range(1000.0, 2e4, log=True)),
        ("32..512:log:int", Range(32, 512, log=True, integer=True)),
        ("32..512:int:log", Range(32, 512, log=True, integer=True)),
        ("0..31:int", Range(0, 31, integer=True)),
        ("1e-4..1e-1:log:5", Range(1e-4, 1e-1, log=True, points=5)),
        ("0..1:3", Range(0, 1, points=3)),
        ("none,1,0.5", Choice((None, 1, 0.5))),
        ("true,False", Choice((True, False))),
        (" sgd , adam ", Choice(("sgd", "adam"))),
        ("7", Choice((7,))),
        ('"7",7', Choice(("7", 7))),
        ('"a,b","c@d=e",""', Choice(("a,b", "c@d=e", ""))),
        ("../a.txt,../b.txt", Choice(("../a.txt", "../b.txt"))),
        ("../a.txt", Choice(("../a.txt",))),
        ("0.5,0.9@train.optimizer=sgd", When("train.optimizer", ("sgd",), Choice((0.5, 0.9)))),
        ("0.5..0.9@train.optimizer=sgd,adam", When("train.optimizer", ("sgd", "adam"), Range(0.5, 0.9))),
        ("1,2@a=1@b=none", When("b", (None,), When("a", (1,), Choice((1, 2))))),
    ],
)
def test_text_means(text: str, spec: Choice | Range | When):
    found = parse("key", text)
    assert found == spec
    assert parse("key", str(found)) == found
    types = [type(value) for value in found.listed or ()]
    assert types == [type(value) for value in spec.listed or ()]


@pytest.mark.parametrize(
    "value",
    [
        *("a", "7", "7.0", "true", "none", "nan", "", " a ", "a\nb"),
        *("a,b", "@", "a@b=c", "..", "0..3", "1e5", 'a"b', '"', "\\"),
        *(None, True, False, 0, -3, 0.1, 1e-05, 1e300, 2.0),
    ],
)
def test_every_value_reads_back(value: Value):
    for values in ([value], [value, "other"], ["other", value]):
        spec = Choice(tuple(values))
        again = parse("key", str(spec))
        assert again == spec and [type(each) for each in again.listed or ()] == [type(each) for each in values]
        conditional = When("k", tuple(values), spec)
        assert parse("key", str(conditional)) == conditional


@pytest.mark.parametrize(
    ("text", "what", "fix"),
    [
        ("", "missing", "single commas"),
        ("64,,128", "missing", "single commas"),
        ("64,", "missing", "single commas"),
        ("64,64", "64 is listed twice", "once"),
        ("1,1.0", "1.0 is listed twice", "once"),
        ("1..", "upper end is missing", "1e-4..1e-1:log"),
        ("..5", "lower end is missing", "1e-4..1e-1:log"),
        ("1..b", "upper end 'b' is no number", "1e-4..1e-1:log"),
        ("a..b", "lower end 'a' is no number", "1e-4..1e-1:log"),
        ("5..5", "one value", "write 5"),
        ("5..1", "ends below", "1..5"),
        ("0..1:log", "logarithm has no end at 0", "above zero"),
        ("-1..1:log", "logarithm", "above zero"),
        ("1..5:lgo", "':lgo'", "':log'"),
        ("1..5:", "says nothing", ":log"),
        ("1..5:log:log", "on top", "once"),
        ("1..5:1", "two points", "more"),
        ("1..3:int:7", "only 3 of 7", "fewer"),
        ("0.5..3:int", "integers", "'int' out"),
        ("0..99999999", "too many", "0..99999999:int"),
        ("1..2,5..6", "'1..2' is a range", "one range"),
        ("nan", "not finite", "finite"),
        ("1,inf", "not finite", "finite"),
        ("1@b", "'@b' is no condition", "1@KEY=VALUE"),
        ("1@=2", "no condition", "1@KEY=VALUE"),
        ("1@b=", "missing", "commas"),
        ('"a', "double quotes", "TEXT"),
        ('a"b"', "double quotes", "TEXT"),
    ],
)
def test_malformed_text_is_told(text: str, what: str, fix: str):
    with pytest.raises(InputError) as found:
        parse("train.key", text)
    assert what in found.value.what and fix in found.value.fix
    assert found.value.where == f"in 'train.key={text}'"


def test_python_values_are_the_same_specs():
    space = Space(
        {
            "seed": range(8),
            "train.batch": [16, 32],
            "model.units": (8, np.int32(16)),
            "train.learning-rate": log_uniform(1e-4, 1e-1),
            "train.beta1": uniform(0, 0.9),
            "model.layers": integers(1, 3),
            "train.final_scale": grid(0, 1, 3),
            "train.clip_norm": choice(None, 1.0),
            "train.momentum": when("train.clip_norm", 1.0, [0.5, 0.9]),
            "train.weight_decay": np.linspace(0, 1, 3),
        }
    )
    assert space.texts() == [
        "seed=0..7",
        "train.batch=16,32",
        "model.units=8,16",
        "train.learning_rate=0.0001..0.1:log",
        "train.beta1=0.0..0.9",
        "model.layers=1..3:int",
        "train.final_scale=0..1:3",
        "train.clip_norm=none,1.0",
        "train.momentum=0.5,0.9@train.clip_norm=1.0",
        "train.weight_decay=0.0,0.5,1.0",
    ]
    assert Space.parse(space.texts()) == space
    assert space.sampled == ("train.learning_rate", "train.beta1", "model.layers")


@pytest.mark.parametrize("thing", [3, "sgd", None, [], [[1, 2]], [float("nan")], {1: 2}, [1, 1]])
def test_what_is_no_spec_is_told(thing: object):
    with pytest.raises(InputError, match="seed"):
        Space({"seed": thing})


# -- spaces


@pytest.mark.parametrize(
    ("texts", "what", "fix"),
    [
        ([], "nothing is swept", "seed=0..7"),
        (["seed"], "'seed' names no axis", "KEY=VALUES"),
        (["=1,2"], "names no axis", "KEY=VALUES"),
        (["train.batch=1", "train.batch=2"], "given twice", "once"),
        (["a=1@a=1"], "depends on itself", "another"),
        (["a=1@b=2", "bb=3"], "'b' is not swept", "'bb'"),
        (["a=1@b=0.5", "b=0.1..0.9"], "'b' is sampled", "list the values"),
        (["a=1@b=1", "b=1@c=1", "c=1@a=1"], "conditions go round", "leave one"),
    ],
)
def test_a_space_that_does_not_hold_together_is_told(texts: list[str], what: str, fix: str):
    with pytest.raises(InputError) as found:
        Space.parse(texts)
    assert what in found.value.what and fix in found.value.fix


def test_values_take_the_types_of_their_fields():
    space = checked(
        "train.learning_rate=1,2",
        "model.bidirectional=yes,0",
        "train.clip_norm=none,1",
        "model.units=8..64:log",
        "train.batch=8..64:log:4",
        "seed=0..9999",
        "train.beta1=0..0.5",
        "train.checkpoint-every=1epoch,100",
        "train.decay_steps=10..1000:int",
        "train.final_scale=0..1:3",
        "train.patience=3,1,2",
        "train.weight_decay=1,2,3",
    )
    assert space.texts() == [
        "train.learning_rate=1.0,2.0",
        "model.bidirectional=true,false",
        "train.clip_norm=none,1.0",
        "model.units=8..64:log:int",
        "train.batch=8..64:log:int:4",
        "seed=0..9999",
        "train.beta1=0.0..0.5",
        "train.checkpoint_every=1epoch,100",
        "train.decay_steps=10..1000:int",
        "train.final_scale=0.0..1.0:3",
        "train.patience=3,1,2",
        "train.weight_decay=1.0,2.0,3.0",
    ]
    assert space.axes["train.batch"].listed == (8, 16, 32, 64)
    assert space.check(EXPERIMENT) == space == Space.parse(space.texts())


@pytest.mark.parametrize(
    ("texts", "what", "fix"),
    [
        (["train.learning_rat=1,2"], "unknown key 'train.learning_rat'", "'train.learning_rate'"),
        (["learning_rate=1,2"], "unknown key", "'train.learning_rate'"),
        (["train=1,2"], "'train' is a section", "train.epochs"),
        (["train.learning_rate=-1..1"], "cannot be '-1'", ">= 0"),
        (["train.beta1=0.5..1.5"], "cannot be '1.5'", "< 1"),
        (["seed=5,4,-1"], "cannot be '-1'", ">= 0"),
        (["seed=0.5..7.5"], "cannot be '0.5'", "integer"),
        (["train.optimizer=sgd,adm"], "cannot be 'adm'", "'adam'"),
        (["train.optimizer=1..3"], "cannot be", "'adam'"),
        (["model.cell=1..3:log"], "takes numbers", "commas"),
        (["model.bidirectional=0..1"], "takes numbers", "commas"),
        (["model.bidirectional=yes,true"], "listed twice", "once"),
        (["train.freeze=a,b"], "takes a list", "another"),
        (["train.learning_rate=0..1"], "lists whole numbers", "0.0..1.0 to sample the range, or 0,1"),
        (["train.momentum=0.5@train.optimizer=rmsprop", "train.optimizer=sgd,adam"], "is never rmsprop", "sgd,adam"),
        (["train.momentum=0.5@train.optimizer=sdg", "train.optimizer=sgd,adam"], "cannot be 'sdg'", "'sgd'"),
    ],
)
def test_what_the_configuration_does_not_take_is_told(texts: list[str], what: str, fix: str):
    with pytest.raises(InputError) as found:
        checked(*texts)
    assert what in found.value.what and fix in found.value.fix
    assert found.value.where.startswith(f"in '{texts[0].partition('=')[0]}=")


def test_a_conditional_key_is_read_where_its_condition_holds():
    # `count` is a key of letter words alone: under another task there is none.
    space = checked("task.kind=letter_words,addition", "task.count=100,200@task.kind=letter_words")
    assert draw(space, trials=None, sampler="grid", seed=0) == [
        {"task.kind": "letter_words", "task.count": 100},
        {"task.kind": "letter_words", "task.count": 200},
        {"task.kind": "addition"},
    ]
    with pytest.raises(InputError, match=r"train\.clip_norm"):
        checked("train.momentum=0.5@train.clip_norm=2", "train.clip_norm=none,1")
    assert checked("train.momentum=0.5@train.clip_norm=1", "train.clip_norm=none,1").texts()[0].endswith("=1.0")


def test_the_task_of_ones_own_is_not_swept():
    task = arrays(np.zeros((4, 3, 2), np.float32), np.zeros((4, 1), np.float32))
    with pytest.raises(InputError, match="an object of your own"):
        Space.parse(["task.seed=0,1"]).check(Experiment(task=task))
    assert Space.parse(["seed=0,1"]).check(Experiment(task=task)).texts() == ["seed=0,1"]


def test_a_long_list_is_told_in_short():
    with pytest.raises(InputError) as found:
        checked(f"train.batch={','.join(map(str, range(1000, -1, -1)))}")
    assert "cannot be '0'" in found.value.what and len(found.value.where) < 120


# -- ranges


def test_a_grid_has_both_ends_and_even_steps():
    assert Range(0.0, 1.0, points=5).listed == (0.0, 0.25, 0.5, 0.75, 1.0)
    assert Range(1e-4, 1e-1, log=True, points=4).listed == (1e-4, 1e-3, 1e-2, 1e-1)
    assert Range(2, 32, log=True, integer=True, points=5).listed == (2, 4, 8, 16, 32)
    assert Range(1, 10, integer=True, points=4).listed == (1, 4, 7, 10)
    for points in (2, 3, 7, 100):
        listed = Range(0.3, 0.7, log=True, points=points).listed
        assert listed is not None
        np.testing.assert_allclose(listed, np.geomspace(0.3, 0.7, points), rtol=1e-7)
        assert listed[0] == 0.3 and listed[-1] == 0.7


@pytest.mark.parametrize(
    "spec",
    [Range(1e-4, 1e-1, log=True), Range(-3.0, 5.0), Range(3, 17, integer=True), Range(2, 600, log=True, integer=True)],
)
def test_samples_follow_the_law(spec: Range):
    shares = (np.arange(20_000) + 0.5) / 20_000
    values = np.array([spec.at(share) for share in shares])
    assert (np.diff(values) >= 0).all() and values.min() >= spec.low and values.max() <= spec.high
    assert spec.at(0.0) == spec.low and spec.at(1.0) == spec.high
    if spec.integer:
        whole = np.arange(spec.low, spec.high + 1)
        width = np.log1p(1 / whole) if spec.log else np.ones(len(whole))
        found = np.array([(values == k).mean() for k in whole])
        np.testing.assert_allclose(found, width / width.sum(), atol=1.01e-4)
        assert all(isinstance(spec.at(share), int) for share in (0.0, 0.3, 1.0))
    else:
        ends = np.log([spec.low, spec.high]) if spec.log else np.array([spec.low, spec.high])
        expected = ends[0] + shares * (ends[1] - ends[0])
        np.testing.assert_allclose(np.log(values) if spec.log else values, expected, atol=2e-7)


def test_narrow_ranges_are_not_rounded_away():
    spec = Range(1.0, 1.0 + 1e-9)
    assert len({spec.at(share) for share in np.linspace(0, 1, 100)}) == 100


# -- members


def test_a_grid_is_the_product_in_order():
    space = checked("train.batch=8,16", "train.optimizer=sgd,adam", "seed=0..2")
    expected = [
        {"train.batch": batch, "train.optimizer": optimizer, "seed": seed}
        for batch, optimizer, seed in itertools.product((8, 16), ("sgd", "adam"), range(3))
    ]
    for sampler in ("grid", "random", "sobol"):
        assert draw(space, trials=None, sampler=sampler, seed=5) == expected
    assert draw(space, trials=12, sampler="grid", seed=0) == expected


def test_what_does_not_apply_is_absent():
    space = checked(
        "train.momentum=0.1..0.9@train.optimizer=sgd,rmsprop",
        "train.optimizer=sgd,adam,rmsprop",
        "train.schedule=linear,cosine@train.optimizer=adam",
        "train.final_scale=0.1,0.2@train.schedule=cosine",
    )
    crossings = space.crossings()
    assert crossings == [
        {"train.optimizer": "sgd"},
        {"train.optimizer": "adam", "train.schedule": "linear"},
        {"train.optimizer": "adam", "train.schedule": "cosine", "train.final_scale": 0.1},
        {"train.optimizer": "adam", "train.schedule": "cosine", "train.final_scale": 0.2},
        {"train.optimizer": "rmsprop"},
    ]
    for sampler in ("random", "sobol"):
        for member in draw(space, trials=23, sampler=sampler, seed=1):
            assert ("train.momentum" in member) == (member["train.optimizer"] != "adam")
            assert list(member) == [key for key in space.axes if key in member]


@pytest.mark.parametrize("sampler", ["random", "sobol"])
def test_listed_values_are_crossed_and_the_rest_sampled_afresh(sampler: str):
    space = checked("seed=0..2", "train.learning_rate=1e-4..1e-1:log", "model.cell=lstm,gru")
    members = draw(space, trials=32, sampler=sampler, seed=0)
    counts = [
        sum(m["seed"] == seed and m["model.cell"] == cell for m in members)
        for seed in range(3)
        for cell in ("lstm", "gru")
    ]
    assert counts == [6, 6, 5, 5, 5, 5]
    rates = [member["train.learning_rate"] for member in members]
    assert len(set(rates)) == 32 and all(isinstance(rate, float) and 1e-4 <= rate <= 1e-1 for rate in rates)


@pytest.mark.parametrize("sampler", ["random", "sobol"])
def test_a_seed_is_all_that_chance_depends_on(sampler: str):
    space = checked("seed=0..2", "train.learning_rate=1e-4..1e-1:log", "train.beta1=0.1..0.9")
    members = draw(space, trials=20, sampler=sampler, seed=3)
    assert members == draw(space, trials=20, sampler=sampler, seed=3)
    assert members != draw(space, trials=20, sampler=sampler, seed=4)


def test_a_random_sweep_goes_on_where_a_shorter_one_ends():
    space = checked("seed=0..2", "train.learning_rate=1e-4..1e-1:log")
    assert draw(space, trials=50, sampler="random", seed=3)[:20] == draw(space, trials=20, sampler="random", seed=3)
    # Another axis leaves the stream of this one as it is.
    wider = Space.parse([*space.texts(), "train.beta1=0.1..0.9"])
    rates = [member["train.learning_rate"] for member in draw(wider, trials=20, sampler="random", seed=3)]
    assert rates == [member["train.learning_rate"] for member in draw(space, trials=20, sampler="random", seed=3)]


def test_the_first_members_are_those_they_have_always_been():
    """Known numbers: a stored sweep names its members by sampler and seed alone."""
    space = Space.parse(["seed=0,1", "lr=1e-4..1e-1:log", "units=2..64:log:int", "drop=0.0..0.5"])
    assert draw(space, trials=3, sampler="random", seed=0) == [
        {"seed": 0, "lr": 0.000160006874, "units": 8, "drop": 0.005291074},
        {"seed": 1, "lr": 0.000729659001, "units": 19, "drop": 0.18096681},
        {"seed": 0, "lr": 0.000155247888, "units": 7, "drop": 0.31195566},
    ]


def test_a_sobol_sequence_fills_the_space_for_every_crossing():
    space = Space.parse(["seed=0..7", "x=0.0..1.0", "y=0.0..1.0"])
    members = draw(space, trials=8 * 64, sampler="sobol", seed=2)
    points = np.array([[m["seed"], m["x"], m["y"]] for m in members], float)
    for own in (points[:, 1:], *(points[points[:, 0] == seed][:, 1:] for seed in range(8))):
        for cells in ((len(own), 1), (1, len(own)), (8, len(own) // 8)):
            boxes = {tuple((point * cells).astype(int)) for point in own}
            assert len(boxes) == len(own), "one point in each box of a net"


@pytest.mark.parametrize(
    ("texts", "trials", "sampler", "what", "fix"),
    [
        (["a=1,2"], None, "gird", "unknown sampler", "'grid'"),
        (["a=1,2", "b=0.0..1.0"], 4, "grid", "range of 'b'", "b=0.0..1.0:5"),
        (["a=1,2", "b=0.1..1.0:log@a=1"], 4, "grid", "range of 'b'", "b=0.1..1.0:log:5"),
        (["a=1,2", "b=0.0..1.0"], None, "random", "'b' is sampled", "--trials"),
        (["a=1,2", "b=0.0..1.0"], 1, "random", "fewer than the 2 crossings", "--trials 2"),
        (["a=1,2,3"], 2, "grid", "fewer than the 3 crossings", "--trials 3"),
        (["a=1,2,3"], 0, "grid", "fewer than the 3 crossings", "--trials 3"),
        (["a=1,2,3"], 4, "random", "repeat each other", "seed=0..7"),
        (["seed=1,2,3"], 4, "grid", "repeat each other", "more values"),
        (["a=0..9999", "b=0..9999"], None, "grid", "1,000,000 crossings", ":int"),
    ],
)
def test_what_cannot_be_drawn_is_told(texts: list[str], trials: int | None, sampler: str, what: str, fix: str):
    with pytest.raises(InputError) as found:
        draw(Space.parse(texts), trials=trials, sampler=sampler, seed=0)
    assert what in found.value.what and fix in found.value.fix


def test_uniform_numbers_are_uniform():
    space = Space.parse(["x=0.0..1.0", "y=0.0..1.0"])
    members = draw(space, trials=4000, sampler="random", seed=0)
    x, y = (np.array([member[key] for member in members], float) for key in "xy")
    for values in (x, y):
        distance = np.abs(np.sort(values) - (np.arange(4000) + 0.5) / 4000).max()
        assert distance < 1.63 / math.sqrt(4000)  # Kolmogorov and Smirnov's test at 1 %
    assert abs(np.corrcoef(x, y)[0, 1]) < 0.05
