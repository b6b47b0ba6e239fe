"""Laws of padding: a member in the arrays of a wider model trains as it does by itself, or padding is refused."""

from __future__ import annotations

import re
from functools import cache, partial
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from test_laws import quick

from rnnjax.cells import ACTIVATIONS, CELLS, Cell
from rnnjax.config import InputError
from rnnjax.experiment import Built, Experiment
from rnnjax.layers import ModelConfig
from rnnjax.padding import pad, refuse, unpad
from rnnjax.tasks import Arrays, Task, Text
from rnnjax.tasks.algorithmic import ReverseConfig
from rnnjax.train import TrainConfig, Trainer

STEPS = 20
PENALTIES = {"activity_l1": 0.02, "activity_l2": 0.03, "weight_l1": 0.01, "weight_l2": 0.02}
RULES: dict[str, dict[str, Any]] = {
    "adam": {"optimizer": "adam"},
    "adam of keras": {"optimizer": "adam", "semantics": "keras"},
    "adamw": {"optimizer": "adamw", "weight_decay": 0.3},
    "sgd": {"optimizer": "sgd"},
    "momentum": {"optimizer": "sgd", "momentum": 0.9},
    "rmsprop": {"optimizer": "rmsprop", "momentum": 0.5},
}
INERT = [cell for cell in CELLS if not CELLS[cell].reduces_units]


@cache
def ragged() -> Arrays:
    """Numbers to be answered with numbers; rows of one to five steps."""
    rng = np.random.default_rng(0)
    lengths = [5, 1, 2, 3, 4, 5, 1, 3] * 3
    return Arrays([rng.normal(size=(n, 2)) for n in lengths], [rng.normal(size=(n, 2)) for n in lengths], split=0.34)


@cache
def letters() -> Text:
    return Text("".join(np.random.default_rng(0).choice(list("abcd"), 200)), length=5)


@cache
def reversals() -> Task:
    return ReverseConfig(length=3, letters=2).build()


def trainer_of(units: Any, cell: str = "elman", *, task: Any = ragged, train: Any = None, **model: Any) -> Trainer:
    """A trainer in float64 if that is on."""
    dtype = "float64" if jax.config.read("jax_enable_x64") else "float32"
    # Drawn faster than an orthogonal one, which has to be compiled.
    drawn = {"recurrent_kernel": "glorot_uniform"} if cell in CELLS and CELLS[cell].products else {}
    config = ModelConfig(**{"cell": cell, "units": units, "dtype": dtype, "initializers": drawn, **model})
    training = TrainConfig(**{"batch": 4, "learning_rate": 0.02, **(train or {})})
    return Built(Experiment(task=task(), model=config, train=training), task()).trainer


def trained(trainer: Trainer, member: Any, steps: int = STEPS) -> Any:
    data = jax.tree.map(jnp.asarray, trainer.task.data("train"))
    return trainer.chunk(member, data, jnp.int32(0), jnp.int32(steps), jnp.bool_(True))


def named(tree: Any) -> dict[str, np.ndarray]:
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in leaves}


def apart(a: np.ndarray, b: np.ndarray) -> float:
    """The largest difference, relative to what is larger than one; not a number where only one is finite."""
    assert a.shape == b.shape and a.dtype == b.dtype
    with np.errstate(invalid="ignore"):
        return float(np.max(np.where(a == b, 0, np.abs(a - b) / (1 + np.abs(a)))))


def differences(small: Trainer, large: Trainer, steps: int = STEPS) -> tuple[dict[str, float], list[str]]:
    """How far a padded member ends from the member alone, and which of its arrays are not zero beyond it."""

    @quick
    def compared(seed):
        member = small.member(seed)
        wide = trained(large, pad(member, small, large), steps)
        found = unpad(wide, small, large)
        return trained(small, member, steps), found, wide, pad(found, small, large)

    alone, found, wide, again = map(named, compared(0))
    moved = [name for name, value in wide.items() if not np.array_equal(value, again[name], equal_nan=True)]
    return {name: apart(value, found[name]) for name, value in alone.items()}, moved


def assert_inert(small: Trainer, large: Trainer) -> None:
    """The law: padding changes nothing but rounding, and stays exactly zero."""
    assert refuse(small, large) is None
    ends, moved = differences(small, large)
    assert moved == []
    assert {name: value for name, value in ends.items() if not value <= 1e-12} == {}


def law_cases() -> list[Any]:
    """Every cell under every rule; all but three are slow."""
    pairs = [(cell, rule) for cell in INERT for rule in RULES]
    fast = [("elman", "adam"), ("elman", "rmsprop"), ("lstm", "adam")]
    return [pytest.param(*pair, marks=() if pair in fast else pytest.mark.slow) for pair in pairs]


@pytest.mark.parametrize(("cell", "rule"), law_cases())
def test_a_padded_member_is_the_member_alone(x64, cell, rule):
    train = {**RULES[rule], **PENALTIES, "clip_norm": 0.5}
    assert_inert(trainer_of(3, cell, train=train), trainer_of(5, cell, train=train))


MODELS: dict[str, dict[str, Any]] = {
    "two layers that add": {"cell": "gru", "layers": 2, "residual": True},
    "both directions, twice": {"cell": "lstm", "layers": 2, "bidirectional": True},
    "products of directions": {"cell": "elman", "bidirectional": True, "merge": "multiply"},
    "one of two layers": {"cell": "lstm", "units": ((3, 4), (5, 4))},
    "equally wide where means are taken": {"cell": "layer_norm_lstm", "units": (4, 4), "layers": 1},
    "an embedding, its input dropped": {"embedding": 3, "input_dropout": 0.3, "task": letters},
    "a learned start, carried on": {
        "cell": "lstm",
        "learned_initial": True,
        "train": {"carry_state": True, "forget": 0.3},
    },
    "averaged, in parts, on a course": {
        "cell": "min_gru",
        "train": {"average": 0.9, "accumulate": 2, "schedule": "cosine", "warmup_steps": 3, "decay_steps": 15},
    },
    "frozen and scaled": {
        "cell": "peephole_lstm",
        "train": {"freeze": ("*recurrent_kernel",), "rate_scales": {"readout*": 0.3}},
    },
    "a decoder that repeats": {"cell": "lstm", "task": reversals, "bidirectional": True},
    "a decoder fed back": {"cell": "gru", "task": reversals, "decoder": "feedback"},
    "a decoder that looks back": {"cell": "elman", "task": reversals, "decoder": "attention", "bidirectional": True},
    "a wider decoder": {"cell": "elman", "task": reversals, "decoder": "attention", "decoder_units": 4},
    "feed-forward": {"cell": "feedforward", "layers": 2},
    "other activations": {"cell": "lstm", "activation": "gelu"},
}
FAST_MODELS = ("a learned start, carried on", "one of two layers")


@pytest.mark.parametrize("name", [pytest.param(n, marks=() if n in FAST_MODELS else pytest.mark.slow) for n in MODELS])
def test_every_model_can_be_padded(x64, name):
    settings = {"units": (3, 5), **MODELS[name]}
    narrow, wide = settings.pop("units")
    assert_inert(trainer_of(narrow, **settings), trainer_of(wide, **settings))


def test_members_of_several_widths_share_a_program(x64):
    widths = (2, 3, 4)
    trainers = [trainer_of(n, "mgu", train=PENALTIES) for n in widths]
    large = trainers[-1]

    @quick
    def compared(seeds):
        members = [trainer.member(seed) for seed, trainer in zip(seeds, trainers, strict=True)]
        padded = [pad(member, trainer, large) for member, trainer in zip(members, trainers, strict=True)]
        together = jax.vmap(partial(trained, large))(jax.tree.map(lambda *leaves: jnp.stack(leaves), *padded))
        found = [jax.tree.map(lambda leaf, k=k: leaf[k], together) for k in range(len(widths))]
        found = [unpad(member, trainer, large) for member, trainer in zip(found, trainers, strict=True)]
        return found, [trained(trainer, member) for trainer, member in zip(trainers, members, strict=True)]

    for found, alone in zip(*compared(jnp.arange(3)), strict=True):
        assert {name: value for name, value in named(alone).items() if apart(value, named(found)[name]) > 1e-12} == {}


def test_padding_does_not_change_what_is_validated(x64):
    small, large = trainer_of(3), trainer_of(5)
    data = jax.tree.map(jnp.asarray, small.task.data("validation"))

    @quick
    def compared(seed):
        member = small.member(seed)
        return small.evaluate(member, data), large.evaluate(pad(member, small, large), data)

    alone, wide = compared(0)
    assert int(wide.answers) == int(alone.answers) > 0
    assert_allclose(wide.nats, alone.nats, rtol=1e-12)


# Where everything is put


def test_gates_and_directions_keep_their_places():
    settings: dict[str, Any] = {"cell": "lstm", "layers": 2, "bidirectional": True, "learned_initial": True}
    small, large = trainer_of(2, **settings), trainer_of(3, **settings)
    shapes = jax.eval_shape(small.member, 0)
    member = jax.tree.map(lambda v: np.arange(1, v.size + 1, dtype=v.dtype).reshape(v.shape), shapes)

    @quick
    def there_and_back(member):
        padded = pad(member, small, large)
        return padded, unpad(padded, small, large)

    padded, back = there_and_back(member)
    for tree in ("params", "optimizer"):
        narrow, wide = getattr(member, tree), getattr(padded, tree)
        narrow, wide = (narrow, wide) if tree == "params" else (narrow.nu, wide.nu)
        for way in ("forward", "backward"):
            a, b = (t["stack"]["layers"][1][way]["cell"] for t in (narrow, wide))
            for gate in range(4):
                here, there = slice(2 * gate, 2 * gate + 2), slice(3 * gate, 3 * gate + 2)
                assert_array_equal(b["bias"][there], a["bias"][here])
                assert_array_equal(b["recurrent_kernel"][:2, there], a["recurrent_kernel"][:, here])
                assert_array_equal(b["input_kernel"][:2, there], a["input_kernel"][:2, here])  # from forward
                assert_array_equal(b["input_kernel"][3:5, there], a["input_kernel"][2:, here])  # from backward
            a, b = (t["stack"]["layers"][1][way]["initial"] for t in (narrow, wide))
            assert_array_equal(b, [a[0], a[1], 0, a[2], a[3], 0])
    for a, b in zip(jax.tree.leaves(member), jax.tree.leaves(padded), strict=True):
        assert np.count_nonzero(b) == np.count_nonzero(a)
        assert a.dtype == b.dtype
    for a, b in zip(jax.tree.leaves(member), jax.tree.leaves(back), strict=True):
        assert_array_equal(a, b)


# What is refused


class Competing(Cell):
    """Units share what there is of activity, which the cell does not declare."""

    gates = ("h",)
    products: ClassVar = {"recurrent": ("h",)}
    fields = ("h",)

    def step(self, w, s, x, dot, at):
        h = jnp.tanh(x["h"] + dot("recurrent", s["h"])["h"])
        return {"h": at("h", h / (1 + jnp.sum(h * h, axis=-1, keepdims=True)))}


class Mean(Competing):
    """The same, by a mean: zeros stay zeros, but there are more of them."""

    def step(self, w, s, x, dot, at):
        h = jnp.tanh(x["h"] + dot("recurrent", s["h"])["h"])
        return {"h": at("h", h * jnp.mean(h * h, axis=-1, keepdims=True))}


class Absent(Competing):
    """What is fed back is how far a unit is from one."""

    def step(self, w, s, x, dot, at):
        return {"h": at("h", jnp.tanh(x["h"] + dot("recurrent", 1 - s["h"])["h"]))}


class Own(Competing):
    """A time constant of each unit, by which its activity is divided."""

    small: ClassVar = {"constant": (("units",), "ones")}

    def step(self, w, s, x, dot, at):
        return {"h": at("h", jnp.tanh(x["h"] + dot("recurrent", s["h"])["h"]) / w["constant"][None])}


class Scaled(Own):
    """A factor of each unit: nothing is divided by it."""

    def step(self, w, s, x, dot, at):
        return {"h": at("h", jnp.tanh(x["h"] + dot("recurrent", s["h"])["h"]) * w["constant"][None])}


OWN = {each.__name__.lower(): each for each in (Competing, Mean, Absent, Own, Scaled)}

REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "layer norm": ({"cell": "layer_norm_lstm"}, "takes means over its units"),
    "an activation": ({"activation": "sigmoid"}, "not stay at zero in Elman: its activation at zero is 0.5"),
    "an activation of a candidate": ({"cell": "gru", "activation": "softplus"}, "at zero is 0.69"),
    "an activation without state": (
        {"cell": "feedforward", "activation": "softplus"},
        "not stay at zero: its activation at zero is 0.69",
    ),
    "recurrent dropout": ({"recurrent_dropout": 0.3}, "recurrent dropout is drawn by shape"),
    "zoneout": ({"zoneout": 0.3}, "zoneout is drawn by shape"),
    "dropout": ({"layers": 2, "dropout": 0.3}, "dropout between layers is drawn by shape"),
    "dropout without state": ({"cell": "feedforward", "dropout": 0.3}, "dropout is drawn by shape"),
    "a mean nobody declared": ({"cell": "mean"}, "depends on how many others"),
    "an operand": ({"cell": "absent"}, "has a gradient"),
    "a constant": ({"cell": "own"}, "does not stay at zero in Own"),
}
ALLOWED: dict[str, dict[str, Any]] = {
    "a sum of squares": {"cell": "competing"},
    "a factor": {"cell": "scaled"},
    "dropout after nothing": {"dropout": 0.3},
    "recurrent dropout without products": {"cell": "min_gru", "recurrent_dropout": 0.3},
}


@pytest.fixture
def own_cells(monkeypatch):
    for name, cell in OWN.items():
        monkeypatch.setitem(CELLS, name, cell)


def pair(settings: dict[str, Any]) -> tuple[Trainer, Trainer]:
    return trainer_of(3, **settings), trainer_of(5, **settings)


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_inert_is_refused(own_cells, name):
    settings, why = REFUSED[name]
    found = refuse(*pair(settings))
    assert found is not None and re.search(why, found)


@pytest.mark.parametrize("name", ALLOWED)
def test_what_looks_similar_is_not(own_cells, name):
    assert refuse(*pair(ALLOWED[name])) is None


def test_loops_may_be_computed_otherwise():
    assert refuse(trainer_of(3), trainer_of(5, executor="scan", unroll=5, remat="step")) is None


@pytest.mark.parametrize(
    ("small", "large"),
    [
        (trainer_of, partial(trainer_of, 2)),
        (trainer_of, partial(trainer_of, 5, "gru")),
        (trainer_of, partial(trainer_of, 5, activation="relu")),
        (trainer_of, partial(trainer_of, 5, layers=2)),
        (trainer_of, partial(trainer_of, 5, learned_initial=True)),
        (trainer_of, partial(trainer_of, 5, bidirectional=True)),
        (trainer_of, partial(trainer_of, 5, embedding=2, task=letters)),
        (partial(trainer_of, cell="feedforward"), partial(trainer_of, 5)),
        (partial(trainer_of, layers=2, residual=True), partial(trainer_of, (4, 5), layers=2, residual=True)),
        (partial(trainer_of, bidirectional=True), partial(trainer_of, 5, bidirectional=True, merge="sum")),
    ],
)
def test_models_that_differ_in_more_than_widths(small, large):
    narrow, wide = small(3), large()
    why = refuse(narrow, wide)
    assert why
    with pytest.raises(InputError, match=re.escape(why)) as caught:
        jax.eval_shape(lambda seed: pad(narrow.member(seed), narrow, wide), 0)
    assert caught.value.where == "in padding"


ACTIVATED = [
    (cell, list(ACTIVATIONS)[(k + 3 * j) % len(ACTIVATIONS)]) for k, cell in enumerate(INERT) for j in range(3)
]
MEASURED = {
    **{name: settings for name, (settings, _) in REFUSED.items()},
    **ALLOWED,
    **{f"{cell}, {activation}": {"cell": cell, "activation": activation} for cell, activation in ACTIVATED},
}
FAST_MEASURED = ("an operand", "a factor")


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=() if n in FAST_MEASURED else pytest.mark.slow) for n in MEASURED]
)
def test_the_rule_is_what_two_steps_of_training_show(x64, own_cells, name):
    small, large = pair({**MEASURED[name], "train": {"optimizer": "sgd"}})
    ends, moved = differences(small, large, steps=2)
    inert = not moved and all(value <= 1e-12 for value in ends.values())
    assert (refuse(small, large) is None) == inert
