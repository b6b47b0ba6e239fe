"""Which unit does what, against plain loops, planted units, shuffled labels and texts read by hand."""

from __future__ import annotations

import dataclasses
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from small_models import OUTPUTS, UNITS, built

from rnnjax.config import InputError
from rnnjax.experiment import load
from rnnjax.interpret import (
    around,
    averages,
    credit,
    explain,
    labelled,
    lesion_atlas,
    neighbours,
    own_concept,
    score_units,
    text_of,
)
from rnnjax.interpret.scores import _discovery_rates, _moved
from rnnjax.sequence import lesion, scale
from rnnjax.tasks import Batch, Text, arrays
from rnnjax.tasks.addition import Addition
from rnnjax.tasks.algorithmic import Parity, Recall, Reverse
from rnnjax.tasks.concepts import of_text, of_words
from rnnjax.tasks.letter_words import LetterWords
from rnnjax.tasks.names import Names
from rnnjax.tasks.tags import Tags
from rnnjax.train import answer_sums

STORY = 'It was late. "Who?" said Ann, and ran (so they say).\nBOB\nNobody came; "yes" was all he said, 1903.\n\n'


def courses(random: np.random.Generator, steps: int, units: int, memory: float) -> np.ndarray:
    """Units that keep so much of what they had, and noise of variance 1: ``[steps, units]``."""
    values = random.normal(size=(steps, units))
    for step in range(1, steps):
        values[step] = memory * values[step - 1] + np.sqrt(1 - memory**2) * values[step]
    return values


# Scores


def planted(seed: int, steps: int, units: int, concepts: int) -> tuple[np.ndarray, dict[str, np.ndarray], int]:
    """Noise, balanced labels, and the place of a unit that follows one of them at d' = 1."""
    random = np.random.default_rng(seed)
    labels = {f"label {k}": random.permutation(np.arange(steps) % 2 == 0) for k in range(concepts)}
    values, unit = random.normal(size=(steps, units)), int(random.integers(units))
    values[:, unit] += labels["label 1"]
    return values, labels, unit


def found_in(seed: int, steps: int, units: int, concepts: int = 5, grouped: bool = False) -> bool:
    values, labels, unit = planted(seed, steps, units, concepts)
    groups = np.arange(steps) // 10 if grouped else None
    return (unit, "label 1") in [(n.unit, n.concept) for n in score_units(values, labels, groups=groups).named]


@pytest.mark.parametrize("grouped", [False, True])
def test_a_planted_unit_is_found(grouped: bool):
    assert all(found_in(seed, 600, 64, grouped=grouped) for seed in range(15))


@pytest.mark.slow
@pytest.mark.parametrize(("steps", "units", "concepts"), [(600, 64, 5), (1000, 1024, 20), (3000, 256, 40)])
def test_a_planted_unit_is_found_a_hundred_times_of_a_hundred(steps: int, units: int, concepts: int):
    assert all(found_in(seed, steps, units, concepts, grouped=seed % 2 == 1) for seed in range(100))


def named_by_chance(trial: int, how: str, memory: float, units: int = 64) -> bool:
    """Whether any unit gets a name where labels of a text are moved away from their steps."""
    random = np.random.default_rng(trial)
    text = STORY * 12
    steps, groups = len(text), np.arange(len(text)) // 48
    values = courses(random, steps, units, memory)
    order = {
        "each step": random.permutation(steps),
        "a turn": (np.arange(steps) + random.integers(steps)) % steps,
        "examples": np.argsort(random.permutation(groups.max() + 1)[groups], kind="stable"),
    }[how]
    labels = {name: each[order] for name, each in of_text(text).items()}
    return bool(score_units(values, labels, groups=groups if how == "examples" else None, seed=trial).named)


SHUFFLES = ["each step", "a turn", "examples"]


@pytest.mark.parametrize("how", SHUFFLES)
def test_shuffled_labels_name_hardly_any_unit(how: str):
    assert sum(named_by_chance(trial, how, 0.9) for trial in range(8)) <= 1


@pytest.mark.slow
@pytest.mark.parametrize("memory", [0.0, 0.95])
@pytest.mark.parametrize("how", SHUFFLES)
def test_of_a_hundred_shuffles_at_most_five_name_a_unit(how: str, memory: float):
    assert sum(named_by_chance(trial, how, memory) for trial in range(100)) <= 5


def trained_on_sums() -> tuple[np.ndarray, dict[str, np.ndarray], np.ndarray]:
    """Values of units that do follow conditions of sums, their labels and the sums they belong to."""
    task = Addition()
    batch = task.write(jnp.asarray([(a, b) for a in range(1, 11) for b in range(1, 11)]))
    labels = {name: each.reshape(-1) for name, each in task.concepts(batch, written=True).items()}
    random = np.random.default_rng(0)
    followed = [labels["the sum"], labels["every first digit"], labels["second digit when the sum is over 14"]]
    values = np.stack(followed, axis=1) @ random.normal(size=(3, 40)) + random.normal(size=(200, 40))
    return values, labels, np.repeat(np.arange(100), 2)


@pytest.mark.slow
def test_units_that_do_follow_sums_follow_no_shuffled_ones():
    values, labels, groups = trained_on_sums()
    assert len(score_units(values, labels, groups=groups).named) > 30
    found = 0
    for trial in range(100):
        order = np.random.default_rng(trial).permutation(200)
        moved = {name: each[order] for name, each in labels.items()}
        found += bool(score_units(values, moved, groups=groups, seed=trial).named)
    assert found <= 5


def test_effects_are_those_of_a_loop():
    random = np.random.default_rng(3)
    steps = 80
    kinds = random.choice(["a", "b", "c"], steps)
    labels = {"number": random.normal(size=steps), "yes": random.random(steps) < 0.4, "kind": kinds}
    values = np.stack([labels["number"] - labels["yes"], (kinds == "b") * 2.0, labels["yes"] * -1.0], axis=1)
    values += 0.3 * random.normal(size=values.shape)
    groups = np.arange(steps) // 4
    found = score_units(values, labels, groups=groups, seed=5)
    half = np.random.default_rng(5).permutation(20) % 2
    sides = [half[groups] == side for side in (0, 1)]
    for unit in range(3):
        for k, (name, label) in enumerate(labels.items()):
            shares = []
            for learnt, held in (sides, sides[::-1]):
                a, b = values[learnt, unit], values[held, unit]
                if name == "kind":
                    means = {kind: a[label[learnt] == kind].mean() - a.mean() for kind in "abc"}
                    told = np.asarray([means[kind] for kind in label[held]])
                else:
                    x = label[learnt].astype(float)
                    slope = np.cov(a, x, bias=True)[0, 1] / x.var()
                    told = slope * label[held].astype(float)
                told, b = told - told.mean(), b - b.mean()
                shares.append(1 - np.sum((b - told) ** 2) / np.sum(b**2))
            assert_allclose(found.effects[unit, k], max(0.0, np.mean(shares)), atol=1e-5)
    names = {each.unit: (each.concept, each.direction) for each in found.named}
    assert names == {0: ("number", 1), 1: ("kind", 0), 2: ("yes", -1)}
    separation = next(each.separation for each in found.named if each.unit == 2) or 0.0
    yes, no = (values[labels["yes"] == which, 2] for which in (True, False))
    assert_allclose(separation, (no.mean() - yes.mean()) / np.sqrt((no.var() + yes.var()) / 2), rtol=1e-4)
    assert found.table().rows[0][0] == found.named[0].unit and len(found.table().rows) == 3


def test_of_concepts_that_overlap_the_nearest_gives_the_name():
    random = np.random.default_rng(0)
    place, high = np.arange(600) % 2 == 1, np.repeat(random.random(300) < 0.4, 2)
    labels = {"place": place, "high": high, "high at the place": high & place}
    values = np.stack([place, high, high & place], axis=1) + 0.4 * random.normal(size=(600, 3))
    found = score_units(values, labels, groups=np.arange(600) // 2)
    assert {each.unit: each.concept for each in found.named} == dict(enumerate(labels))


def test_what_cannot_be_tried_is_left_out_and_said():
    random = np.random.default_rng(0)
    yes = random.random(400) < 0.5
    labels = {
        "constant": np.ones(400, bool),
        "once": np.arange(400) == 7,
        "yes": yes,
        "no": ~yes,
        "one class": np.full(400, "a"),
        "number": random.normal(size=400),
    }
    found = score_units(random.normal(size=(400, 3)), labels)
    assert found.concepts == ("yes", "number")
    assert found.left_out["no"] == "the same as 'yes', or its opposite"
    assert found.left_out["constant"] == found.left_out["once"] == "constant or rare"
    with pytest.raises(InputError, match="no concept to try"):
        score_units(np.ones((400, 1)), {"once": labels["once"]})


def test_a_unit_that_does_nothing_has_no_name():
    values, labels, unit = planted(0, 400, 5, 3)
    values[:, (unit + 1) % 5] = 3.0
    found = score_units(values, labels)
    assert [each.unit for each in found.named] == [unit] and found.p[(unit + 1) % 5] == 1
    assert np.isfinite(found.effects).all()


def test_scores_are_the_same_each_time_and_units_keep_their_numbers():
    values, labels, unit = planted(1, 400, 8, 3)
    first = score_units(values, labels, units=np.arange(8) * 10, field="0.h")
    again = score_units(values, labels, units=np.arange(8) * 10, field="0.h")
    assert_array_equal(first.p, again.p)
    assert first.named[0].unit == 10 * unit and "0.h" in first.table().title


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"values": np.zeros(5)}, "give \\[steps, units\\]"),
        ({"values": np.full((8, 2), np.nan)}, "not finite"),
        ({"concepts": {"x": np.zeros(7)}}, "for 8 steps"),
        ({"groups": np.zeros(7)}, "give one a step"),
        ({"rate": 1.5}, "rate"),
        ({"permutations": 3}, "20 permutations"),
    ],
)
def test_what_does_not_fit_is_refused(change: dict[str, Any], message: str):
    given = {"values": np.zeros((8, 2)), "concepts": {"x": np.arange(8)}} | change
    with pytest.raises(InputError, match=message):
        score_units(given.pop("values"), given.pop("concepts"), **given)


def test_labels_move_with_their_order_kept():
    example = np.repeat([0, 1, 2, 3], [3, 5, 2, 4])
    lengths = {0: 3, 1: 5, 2: 2, 3: 4}
    for moved in _moved(example, 30, np.random.default_rng(0)):
        assert sorted(moved) == list(range(14))
        start = 0
        for _ in range(4):
            which = int(example[moved[start]])
            part = moved[start : start + lengths[which]] - np.flatnonzero(example == which)[0]
            assert_array_equal(part, (part[0] + np.arange(len(part))) % lengths[which])
            start += lengths[which]
    for moved in _moved(np.zeros(50, int), 30, np.random.default_rng(0)):
        assert_array_equal(moved, (np.arange(50) + moved[0]) % 50)
        assert 5 <= moved[0] <= 45


def test_discovery_rates_are_those_of_the_definition():
    p = np.random.default_rng(0).random(30) ** 3
    order = np.sort(p)
    for value, rate in zip(p, _discovery_rates(p), strict=True):
        expected = min(30 * order[k] / (k + 1) for k in range(30) if order[k] >= value)
        assert_allclose(rate, min(1.0, expected))


# Averages


def test_averages_are_those_of_a_loop():
    random = np.random.default_rng(0)
    values, kinds = random.normal(size=(60, 2)), random.choice(["x", "y", "z"], 60)
    found = averages(values, kinds)
    for name, mean, deviation, count in zip(*found, strict=True):
        assert_allclose(mean, values[kinds == name].mean(axis=0))
        assert_allclose(deviation, values[kinds == name].std(axis=0))
        assert count == np.sum(kinds == name)
    groups = np.arange(60) // 6
    found = averages(values, kinds == "x", groups)
    per_example = [values[(groups == g) & (kinds == "x")].mean(axis=0) for g in range(10) if "x" in kinds[groups == g]]
    assert found.names == ("no", "yes") and found.count[1] == len(per_example)
    assert_allclose(found.mean[1], np.mean(per_example, axis=0))
    assert_allclose(found.deviation[1], np.std(per_example, axis=0))


def test_many_numbers_are_binned():
    number = np.random.default_rng(0).normal(size=800)
    found = averages(number[:, None], number)
    assert len(found.names) == 8 and np.all(np.diff(found.mean[:, 0]) > 0)
    assert set(found.count.tolist()) == {100}
    assert averages(number[:, None], np.arange(800) % 3).names == ("0", "1", "2")


def test_courses_around_events_are_those_of_a_loop():
    random = np.random.default_rng(0)
    values, where = random.normal(size=(50, 3)), random.random(50) < 0.3
    groups = np.arange(50) // 10
    found = around(values, where, 2, 3, groups)
    kept = [e for e in np.flatnonzero(where) if 2 <= e % 10 <= 6]
    stack = np.stack([values[e - 2 : e + 4] for e in kept])
    assert found.count == len(kept) and found.offsets.tolist() == [-2, -1, 0, 1, 2, 3]
    assert_allclose(found.mean, stack.mean(axis=0), atol=1e-12)
    assert_allclose(found.deviation, stack.std(axis=0), atol=1e-12)
    with pytest.raises(InputError, match="no event"):
        around(values, where, 30, 30)


def test_neighbours_are_alike_and_apart():
    random = np.random.default_rng(0)
    values = random.normal(size=(300, 12))
    values[[100, 200, 203]] = values[10] + 0.01 * random.normal(size=(3, 12))
    places, similarity = neighbours(values, 10, count=4, apart=20)
    standard = (values - values.mean(axis=0)) / values.std(axis=0)
    standard /= np.linalg.norm(standard, axis=1, keepdims=True)
    assert_allclose(similarity, standard[places] @ standard[10])
    assert 100 in places[:2] and len({200, 203} & set(places[:2].tolist())) == 1
    assert len(places) == 4 and np.all(np.diff(similarity) <= 0)
    assert all(abs(a - b) >= 20 for k, a in enumerate([10, *places]) for b in [10, *places][:k])
    with pytest.raises(InputError, match="step 300"):
        neighbours(values, 300)


# Lesions and credit


def numbers_task(read: str = "every") -> Any:
    random = np.random.default_rng(0)
    shape = (6, 9) if read == "every" else (6,)
    return arrays(random.normal(size=(6, 9, 3)), random.integers(0, OUTPUTS, shape), labels=list("abcde"))


@pytest.mark.parametrize(("cell", "group"), [pytest.param("lstm", None, marks=pytest.mark.slow), ("gru", 2)])
def test_an_atlas_is_a_loop_of_lesions(cell: str, group: int | None):
    model, task = built(cell), numbers_task()
    batch = dataclasses.replace(task.batch(jax.random.key(0), 4), lengths=jnp.asarray([9, 4, 7, 1]))
    batches = [batch, task.batch(jax.random.key(1), 4)]
    found = lesion_atlas(model, batches, task, "0.h", group=group)

    def loss(edit: Any) -> float:
        nats = [answer_sums(task, model.unroll(b.inputs, lengths=b.lengths, edit=edit), b)[:2] for b in batches]
        return float(sum(a for a, _ in nats) / sum(b for _, b in nats))

    assert_allclose(found.baseline, loss(()), rtol=1e-6)
    assert_allclose(found.loss, [loss(lesion("0.h", [unit])) for unit in range(UNITS)], rtol=1e-6)
    assert_allclose(found.change, found.loss - found.baseline)
    rows = found.table().rows
    assert rows[0][0] == int(np.argmax(found.change)) and len(rows) == UNITS


def test_an_atlas_of_some_units_with_another_change():
    model, task = built("lstm"), numbers_task()
    batch = task.batch(jax.random.key(0), 4)
    found = lesion_atlas(
        model, [batch], task, "0.f", units=[3, 1], edit=lambda field, units: scale(field, 0.5, units=units)
    )
    for unit, loss in zip(found.units, found.loss, strict=True):
        outputs = model.unroll(batch.inputs, edit=scale("0.f", 0.5, units=[int(unit)]))
        assert_allclose(loss, answer_sums(task, outputs, batch)[0] / 36, rtol=1e-6)
    with pytest.raises(InputError, match="whole numbers from 0 to 3"):
        lesion_atlas(model, [batch], task, "0.h", units=[4])
    with pytest.raises(InputError, match=r"did you mean '0\.h'"):
        lesion_atlas(model, [batch], task, "0.hh")


def test_credit_is_the_gradient_at_each_earlier_step():
    model, task = built("lstm"), numbers_task()
    batch = task.batch(jax.random.key(0), 2)
    found = credit(model, batch, task, "0.h", targets=3)
    norms: dict[int, list[float]] = {}
    step = 1e-3
    for target in (4, 6, 8):
        for place in range(target + 1):
            for row in range(2):
                slopes = []
                for unit in range(UNITS):
                    sides = []
                    for sign in (1, -1):
                        values = np.zeros((2, 9, UNITS), np.float32)
                        values[row, place, unit] = sign * step
                        sides.append(step_loss(model, task, batch, values)[row, target])
                    slopes.append((sides[0] - sides[1]) / (2 * step))
                norms.setdefault(target - place, []).append(float(np.linalg.norm(slopes)))
    assert found.lags.tolist() == sorted(norms)
    for k, lag in enumerate(found.lags):
        assert found.count[k] == len(norms[lag])
        assert_allclose(found.mean[k], np.mean(norms[lag]), atol=2e-3)
        assert_allclose(found.low[k], np.quantile(norms[lag], 0.25), atol=2e-3)


@cache
def _step_losses() -> Any:
    from rnnjax.sequence import add
    from rnnjax.tasks.base import losses

    model, task = built("lstm"), numbers_task()
    return jax.jit(
        lambda batch, values: losses(
            task, model.unroll(batch.inputs, edit=add("0.h", values, each_step=True)).outputs, batch
        )[0]
    )


def step_loss(model: Any, task: Any, batch: Batch, values: np.ndarray) -> np.ndarray:
    return np.asarray(_step_losses()(batch, values), np.float64)


def test_credit_ends_where_the_gradient_is_cut():
    task = numbers_task()
    batch = task.batch(jax.random.key(0), 4)
    whole = credit(built("gru"), batch, task, "0.h")
    cut = credit(built("gru", truncate=3), batch, task, "0.h")
    assert whole.mean[6] > 0 and np.all(cut.mean[3:] == 0) and cut.mean[2] > 0
    assert cut.horizon(1.0) == 2 < whole.horizon(1.0)
    assert whole.horizon(1e-9) == 0


def test_credit_of_what_is_read_once_counts_from_the_last_step_that_exists():
    model, task = built("gru", read="last"), numbers_task("last")
    batch = dataclasses.replace(task.batch(jax.random.key(0), 3), lengths=jnp.asarray([9, 5, 2]))
    found = credit(model, batch, task, "0.h")
    assert found.lags.tolist() == list(range(9)) and found.count.tolist() == [3, 3, 2, 2, 2, 1, 1, 1, 1]


# What tasks know


def named_steps(labels: np.ndarray, text: str) -> str:
    """The characters at which something holds."""
    return "".join(symbol for symbol, holds in zip(text, labels, strict=True) if holds)


def test_a_text_is_read_as_a_person_reads_it():
    labels = of_text(STORY)
    assert all(each.shape == (len(STORY),) for each in labels.values())
    assert named_steps(labels["inside quotation"], STORY) == '"Who?"yes'
    assert named_steps(labels["inside brackets"], STORY) == "(so they say"
    assert named_steps(labels["speaker's name"], STORY) == "BOB"
    assert named_steps(labels["capital"], STORY) == "IWABOBN"
    assert named_steps(labels["digit"], STORY) == "1903"
    assert named_steps(labels["first letter of a sentence"], STORY) == "IWsB"  # after the mark in the quotation, too
    assert named_steps(labels["first letter of a word"], STORY) == "IwlWsAarstsBNcywahs"
    assert named_steps(labels["last letter of a word"], STORY) == "tseodndnoyyByessled"
    assert labels["position in word"][:7].tolist() == [1, 2, 0, 1, 2, 3, 0]
    lines = STORY.split("\n")
    assert labels["position in line"].tolist()[: len(lines[0]) + 2] == [*range(len(lines[0]) + 1), 0]
    assert labels["line break"].sum() == 4 and labels["punctuation"].sum() == sum(c in '.",()?;' for c in STORY)


@pytest.mark.parametrize(
    ("text", "inside"),
    [
        ("a “b \u2018c’ d” e", "“b \u2018c’ d"),
        ("“don’t” x", "“don’t"),
        ("he \u2018didn’t’ go", "\u2018didn’t"),
        ('"a\n\nb" c', '"a\n" c'),
        ("«a» b", "«a"),
        ("it’s o’clock", ""),
        ("", ""),
    ],
)
def test_quotations_end_where_they_are_closed_or_the_paragraph_ends(text: str, inside: str):
    assert named_steps(of_text(text)["inside quotation"], text) == inside


def test_words_are_labelled_like_letters():
    words = ["“", "Yes", ",", "”", "said", "\n", "Ann", "<unk>"]
    labels = of_words(words)
    assert labels["inside quotation"].tolist() == [True, True, True, False, False, False, False, False]
    assert labels["length of the word"].tolist() == [0, 3, 0, 0, 4, 0, 3, 5]
    assert labels["position in line"].tolist() == [0, 1, 2, 3, 4, 5, 0, 1]
    assert labels["capital"].tolist() == [False, True, False, False, False, False, True, False]


def test_sums_are_labelled_at_each_digit():
    task = Addition()
    numbers = [(7, 10), (1, 2), (9, 9), (3, 8)]
    batch = task.write(jnp.asarray(numbers))
    labels = task.concepts(batch, written=True)
    total = np.asarray([17, 3, 18, 11])
    assert_array_equal(labels["every first digit"], [[True, False]] * 4)
    assert_array_equal(labels["the sum"], np.stack([total, total], axis=1))
    assert_array_equal(labels["the ones carry"][:, 0], [False, False, True, True])
    assert_array_equal(labels["a carry goes out"], [[False, False], [False, False], [False, True], [False, True]])
    over = labels["second digit when the sum is over 11"]
    assert_array_equal(over, np.stack([np.zeros(4, bool), total > 11], axis=1))
    graded = labels["sum under 12, and more at the second digit"]
    assert_array_equal(graded, np.stack([total < 12, 2 * (total < 12)], axis=1))
    read = task.concepts(batch)
    assert task.decode(np.asarray(batch.inputs)[0]) == " 7+10"
    assert read["the number so far"][0].tolist() == [0, 7, 0, 1, 10]
    assert read["the sum so far"][0].tolist() == [0, 7, 7, 8, 17]
    assert read["numbers begun"][0].tolist() == [0, 1, 1, 2, 2]
    assert read["number 2"][:, 0].tolist() == [10, 2, 9, 8]


def small_tasks() -> list[tuple[Any, int]]:
    names = Names(["ana", "maria jose", "luis", "eva"], split=0.5)
    script = [[("speaker", "ANN"), ("speech", "Who is there?"), ("direction", "Exit")] * 4]
    return [
        (Text(STORY * 4, length=30), 2),
        (LetterWords(count=200, length=10, stride=10), 4),
        (names, 2),
        (Parity(6), 3),
        (Recall(5), 3),
        (Reverse(4), 3),
        (Tags(script, length=20), 2),
        (numbers_task(), 2),
        (numbers_task("last"), 2),
    ]


def check_labels(made: list[tuple[Any, int]]) -> None:
    """Every step of every task has labels."""
    for task, rows in made:
        batch = jax.tree.map(np.asarray, task.batch(jax.random.key(0, impl="unsafe_rbg"), rows))
        for written in (False, True) if task.read == "answer" else (False,):
            shape = np.shape(task.counted(batch)) if written else batch.inputs.shape[:2]
            labels = task.concepts(batch, written=written)
            assert labels and all(each.shape == shape for each in labels.values()), type(task)


def test_every_task_labels_each_of_its_steps():
    check_labels(small_tasks())


@pytest.mark.slow
def test_every_experiment_labels_each_of_its_steps():
    names = ("ar", "sunspots", "dates", "captions", "digits", "vowels", "sentiment", "tags")
    check_labels([(load(f"lecture/{name}").built.task, 3) for name in names])


def test_labels_of_small_tasks_are_right():
    bits = jnp.asarray([[1, 0, 1, 1, 0]])
    labels = Parity(5).concepts(Batch(bits, jnp.asarray([1])))
    assert labels["odd so far"][0].tolist() == [True, True, False, True, True]
    assert labels["ones so far"][0].tolist() == [1, 1, 2, 3, 3]
    task = LetterWords(count=50, length=8, stride=8)
    text = "aa bbb a"
    batch = Batch(jnp.asarray(task.vocabulary.encode(text)[None]), jnp.asarray([0]))
    labels = task.concepts(batch)
    assert labels["position in word"][0].tolist() == [0, 0, 0, 1, 2, 3, 0, 1]
    assert labels["a word may end here"][0].tolist()[2:] == [False, False, False, True, False, False]
    assert named_steps(labels["reads 'b'"][0], text) == "bbb"


# A model explained


def test_a_model_is_explained_by_its_task_and_by_functions_of_the_text():
    task = Text(STORY * 8, length=50)
    model = rebuilt(task)
    batch = task.probe(700, 4)

    def after_e(text: str) -> list[bool]:
        return [False, *(symbol == "e" for symbol in text[:-1])]

    found = explain(model, task, batch, "0.h", functions={"after an e": after_e})
    assert found.field == "0.h" and found.steps == 700
    assert {"after an e", "vowel", "inside quotation", "reads 'e'"} <= set(found.concepts)
    given = labelled(task, batch, "after an e", after_e)
    assert_array_equal(given[:, 1:], np.asarray(batch.inputs)[:, :-1] == task.labels.index("e"))
    assert text_of(task, batch)[0] == task.decode(np.asarray(batch.inputs)[0])
    with pytest.raises(InputError, match="in the concept 'short'"):
        explain(model, task, batch, "0.h", functions={"short": lambda text: [True]})


@cache
def rebuilt(task: Any) -> Any:
    from flax import nnx

    from rnnjax.layers import ModelConfig

    config = ModelConfig(cell="gru", units=6, executor="scan")
    return config.build(
        task.inputs,
        task.outputs,
        read=task.read,
        symbols=task.symbols,
        length=task.length,
        answer_steps=task.answer_steps,
        rngs=nnx.Rngs(0),
    )


def test_questions_and_answers_are_explained_each_question_once():
    task = Addition(largest=6)
    numbers = np.random.default_rng(0).permutation([(a, b) for a in range(1, 7) for b in range(1, 7)] * 2)
    model, batch = rebuilt(task), task.write(jnp.asarray(numbers))
    found = explain(model, task, batch, "decoder.0.h")
    assert found.steps == 2 * 36 and "the sum" in found.concepts
    read = explain(model, task, batch, "encoder.0.h")
    assert read.steps == 3 * 36 and "the number so far" in read.concepts


def test_a_function_is_found_in_a_file(tmp_path: Any):
    path = tmp_path / "own.py"
    path.write_text("def is_late(text):\n    return [k > 3 for k, _ in enumerate(text)]\n", encoding="utf-8")
    name, function = own_concept(f"{path}:is_late")
    assert name == "is late" and function("abcdef") == [False, False, False, False, True, True]
    with pytest.raises(InputError, match="is_late"):
        own_concept(f"{path}:is_lat")
