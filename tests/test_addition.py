"""Sums and dates as text, judged by Python's own arithmetic and calendar; what is seen of the answers to them."""

from __future__ import annotations

import datetime
import math
from collections import Counter
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from rnnjax import figures
from rnnjax.config import InputError
from rnnjax.experiment import Experiment, load
from rnnjax.interpret import score_units
from rnnjax.layers import ModelConfig
from rnnjax.looks import LOOKS, Sight, Subject, addition, answers
from rnnjax.tasks import Batch, base
from rnnjax.tasks.addition import Addition, AdditionConfig
from rnnjax.tasks.dates import FORMATS, MONTHS, Dates, DatesConfig, weekday
from rnnjax.train import TrainConfig

KEY = jax.random.key(1, impl="unsafe_rbg")  # a program that draws by it is compiled in a tenth of the time


def pairs(task: Any, batch: Batch) -> list[tuple[str, str]]:
    """Questions and answers as text."""
    return [
        (task.decode(q), task.decode(a))
        for q, a in zip(np.asarray(batch.inputs), np.asarray(batch.targets), strict=True)
    ]


def drawn(task: Addition, split: str = "train", size: int = 400) -> list[tuple[str, str]]:
    return pairs(task, jax.jit(lambda key: task.write(*task.draw(key, size, split)))(KEY))


# Sums


def test_the_study_s_sums_are_five_symbols_and_two_of_an_alphabet_of_twelve():
    task = AdditionConfig().build()
    assert "".join(task.labels) == "0123456789+ "
    assert (task.inputs, task.outputs, task.length, task.answer_steps) == (12, 12, 5, 2)
    batch = task.write(jnp.asarray([[7, 10], [1, 2], [10, 10]]))
    assert pairs(task, batch) == [(" 7+10", "17"), ("  1+2", " 3"), ("10+10", "20")]
    assert batch.inputs.dtype == batch.targets.dtype == jnp.int32
    assert batch.counts is not None and batch.counts.shape == (3, 2) and batch.counts.all()
    assert task.steps("train", 10) * 10 == task.steps("validation", 10) * 10 == 1000
    alphabet, sums = task.tables()
    assert [index for _, index in alphabet.rows] == list(range(12)) and len(sums.rows) == 10


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({}, marks=pytest.mark.slow),
        {"smallest": 0, "largest": 999},
        pytest.param({"largest": 12, "operations": "-"}, marks=pytest.mark.slow),
        {"largest": 99, "terms": 4, "fewest_terms": 2, "operations": "+-"},
        pytest.param({"largest": 9, "held_out_largest": 120, "operations": "+-"}, marks=pytest.mark.slow),
        {"terms": 3, "fewest_terms": 2, "held_out_terms": 5},
    ],
)
def test_every_answer_is_right_and_as_wide_as_all(options: dict[str, Any]):
    task = Addition(**options)
    for question, answer in drawn(task, "validation" if len(options) == 3 else "train"):
        assert str(eval(question.strip())) == answer.strip()
        assert question == question.strip().rjust(task.length) and answer == answer.strip().rjust(task.answer_steps)


def test_numbers_terms_and_operations_are_drawn_evenly():
    task = Addition(smallest=3, largest=5, terms=3, fewest_terms=2, operations="+-")
    questions = [question.strip() for question, _ in drawn(task, size=4000)]
    short = [question for question in questions if len(question) == 3]
    assert abs(len(short) / 4000 - 0.5) < 0.04
    assert abs(sum("-" in question for question in short) / len(short) - 0.5) < 0.06
    assert set(Counter(question[0] for question in questions)) == set("345")
    assert all(abs(count / 4000 - 1 / 3) < 0.04 for count in Counter(question[0] for question in questions).values())


def test_what_is_held_out_never_comes_in_training():
    def range_of(split: str) -> tuple[int, int, set[int]]:
        numbers, signs = map(np.asarray, jax.jit(task.draw, static_argnums=(1, 2))(KEY, 400, split))
        return numbers.min(), numbers.max(), set(np.abs(signs).sum(axis=1).tolist())

    task = Addition(largest=9, held_out_largest=20, terms=3, fewest_terms=2, held_out_terms=4)
    assert range_of("train") == (1, 9, {2, 3})
    assert range_of("validation") == (10, 20, {4})
    assert task.length == 4 * 2 + 3 and task.answer_steps == 2


def test_validation_is_the_same_each_time_and_training_is_not():
    task, keys = Addition(largest=99), [jax.random.key(seed) for seed in (1, 2)]
    first, second = (task.take((), task.order(key, "validation", 50), 3, "validation", 50) for key in keys)
    assert_array_equal(first.inputs, second.inputs)
    first, second = (task.take((), task.order(key, "train", 50), 3, "train", 50) for key in keys)
    assert (np.asarray(first.inputs) != np.asarray(second.inputs)).any()


def test_an_epoch_drawn_at_once_has_the_batches_drawn_one_by_one(monkeypatch):
    task, key = Addition(largest=99), jax.random.key(3)
    ahead = task.order(key, "train", 10)
    monkeypatch.setattr(base, "DRAWN_AHEAD", 0)
    for index in (0, 7, 99):
        found, expected = (task.take((), order, index, "train", 10) for order in (ahead, task.order(key, "train", 10)))
        jax.tree.map(assert_array_equal, found, expected)


@pytest.mark.parametrize("options", [{}, {"terms": 3, "operations": "+-"}, {"terms": 3, "fewest_terms": 2}])
def test_the_reference_is_the_entropy_of_all_answers(options: dict[str, Any]):
    task = Addition(largest=4, **options)
    shares: Counter[int] = Counter()
    lengths = range(task.fewest_terms, task.terms + 1)
    for terms in lengths:
        sums = [0]
        for k in range(terms):
            signs = [1] if k == 0 else [{"+": 1, "-": -1}[each] for each in task.operations]
            sums = [total + sign * number for total in sums for number in range(1, 5) for sign in signs]
        for total, count in Counter(sums).items():
            shares[total] += count / len(sums) / len(lengths)
    entropy = -sum(share * math.log(share) for share in shares.values())
    assert_allclose(task.references()["entropy of the answers"], entropy / task.answer_steps, rtol=1e-12)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"smallest": 11}, "numbers from 11 to 10"),
        ({"held_out_largest": 10}, "all of which training draws"),
        ({"fewest_terms": 3}, "give 0, or 2 to 2"),
        ({"held_out_terms": 1}, "task.held_out_terms"),
        ({"operations": "*"}, "operations"),
    ],
)
def test_sums_that_cannot_be_drawn_are_refused(options: dict[str, Any], message: str):
    with pytest.raises(InputError, match=message):
        Addition(**options)


# Dates


def test_every_date_is_read_back_by_the_calendar():
    task = DatesConfig().build()
    batch = jax.jit(task.batch, static_argnums=1)(KEY, 600)
    for question, answer in pairs(task, batch):
        date = datetime.date.fromisoformat(answer)
        assert question in {written(form, date) for form in FORMATS}
    assert_array_equal(batch.lengths, [len(question) for question, _ in pairs(task, batch)])
    assert int(jnp.max(batch.lengths)) <= task.length and batch.targets.shape == (600, 10)
    assert len({answer for _, answer in pairs(task, batch)}) > 300


def written(form: str, date: datetime.date) -> str:
    """A date in one of the formats, by Python's own means."""
    ending = "th" if 10 < date.day < 20 else {1: "st", 2: "nd", 3: "rd"}.get(date.day % 10, "th")
    roman = ("i", "ii", "iii", "iv", "v", "vi", "vii", "viii", "ix", "x", "xi", "xii")[date.month - 1]
    month = MONTHS[date.month - 1]
    return form.format(
        **{"day": date.day, "d": f"{date.day:02}", "nth": f"{date.day}{ending}", "month": month, "mon": month[:3]},
        **{"m": f"{date.month:02}", "roman": roman, "year": date.year, "weekday": f"{date:%A}".lower()},
    )


def test_no_two_dates_are_written_alike():
    days = [datetime.date(2000, 1, 1) + datetime.timedelta(days=k) for k in range(366)]
    meant: dict[str, set[datetime.date]] = {}
    for day in days:
        for form in FORMATS:
            meant.setdefault(written(form, day), set()).add(day)
    assert all(len(each) == 1 for each in meant.values())


def test_weekdays_and_leap_days_are_those_of_the_calendar():
    days = [datetime.date(1600, 1, 1) + datetime.timedelta(days=97 * k) for k in range(3000)]
    found = weekday(*(np.asarray([getattr(day, part) for day in days]) for part in ("year", "month", "day")))
    assert_array_equal(found, [day.isoweekday() % 7 for day in days])
    for only, last in ((2000, 29), (1900, 28)):
        draw = jax.jit(Dates(first_year=only, last_year=only).draw, static_argnums=1)
        year, month, day = map(np.asarray, draw(KEY, 4000))
        assert set(year) == {only} and np.max(day[month == 2]) == last


def test_a_format_of_one_s_own():
    task = Dates(formats=("{m}|{d}|{year}",))
    assert task.length == 10 and "|" in task.labels and "a" not in task.labels
    for _, question, answer in task.tables()[0].rows:
        assert question == f"{answer[5:7]}|{answer[8:]}|{answer[:4]}"
    with pytest.raises(InputError, match="did you mean 'month'"):
        Dates(formats=("{day} {monht} {year}",))
    with pytest.raises(InputError, match="does not tell the day and the year"):
        Dates(formats=("{mon}",))
    with pytest.raises(InputError, match=r"in task\.formats"):
        Dates(formats=("{day",))
    with pytest.raises(InputError, match="years from 2020 to 2000"):
        Dates(first_year=2020, last_year=2000)
    with pytest.raises(InputError, match="no way to write"):
        Dates(formats=())


def test_the_entropy_of_dates_is_that_of_all_days():
    task = Dates(first_year=1999, last_year=2000)
    days = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31], [31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
    shares = [1 / 2 / 12 / count for year in days for count in year for _ in range(count)]
    assert_allclose(10 * task.references()["entropy of the dates"], -sum(s * math.log(s) for s in shares), rtol=1e-12)
    assert task.summary()["distinct questions"] == len(shares) * len(FORMATS)


# What is seen of the answers


@pytest.fixture(scope="module")
def subject() -> Subject:
    """A small network before its training."""
    model = ModelConfig(cell="lstm", units=6, decoder_units=5)
    built = Experiment(task=AdditionConfig(), model=model, train=TrainConfig(batch=4, epochs=1)).built
    member = jax.jit(built.trainer.member)(0)
    made = built.trainer.model(member.params, member.fixed)
    return Subject(built, made, [], {}, (), lambda step: made)


NOTHING = Batch(jnp.zeros((0, 5)), jnp.zeros((0, 2)))


def found_for(batch: Batch, given: Any, counts: Any = None) -> answers.Written:
    kept = np.ones(np.shape(given), bool) if counts is None else np.asarray(counts)
    return answers.Written(batch, np.asarray(given), kept)


def test_symbols_that_do_not_count_are_neither_right_nor_wrong():
    batch = Batch(jnp.zeros((3, 1), int), jnp.asarray([[1, 2], [1, 2], [1, 2]]))
    found = found_for(batch, [[1, 2], [1, 0], [0, 2]], [[True, True], [True, False], [True, True]])
    assert_array_equal(found.exact, [True, True, False])
    assert_array_equal(found.right, [[True, True], [True, False], [False, True]])


def test_rates_and_lines_are_those_of_a_loop():
    task = Addition()
    batch = jax.jit(lambda key: task.write(*task.draw(key, 200, "validation")))(KEY)
    targets = np.asarray(batch.targets)
    given = np.where(np.random.default_rng(0).random(targets.shape) < 0.3, 7, targets)
    found = found_for(batch, given)
    sight = answers.rates(task, found, found_for(batch, targets))
    right = [[a == b for a, b in zip(*rows, strict=True)] for rows in zip(given, targets, strict=True)]
    assert sight.numbers["exact_match"] == np.mean([all(row) for row in right])
    assert_allclose(sight.numbers["symbol_accuracy"], np.mean(right))
    assert sight.numbers["exact_match_as_trained"] == sight.numbers["symbol_accuracy_as_trained"] == 1
    first = np.mean(targets[:, 0] == 1)  # the commonest symbol there
    assert sight.table is not None and sight.table.rows[1][3] == f"{100 * first:.1f} %"
    table = answers.lines(task, found).table
    assert table is not None and len(table.rows) == 20 and tuple(table.heads) == ("Question", "Expected", "Predicted")
    for question, expected, _ in table.rows:
        assert eval(question.strip()) == int(expected)
    assert [task.decode(row) for row in given[:20]] == [row[2] for row in table.rows]


def test_the_study_has_its_network_its_pairs_and_its_epochs():
    built = load("addition").built
    assert sum(row["parameters"] for row in built.layers()) == 76_012
    assert built.trainer.epoch_steps * built.trainer.config.batch == 1000 and built.trainer.total == 3000


@pytest.fixture(scope="module")
def sights(subject: Subject) -> dict[str, Sight]:
    """All that is seen of it."""
    return {sight.title: sight for sight in addition.look(subject)}


def test_twenty_lines_are_printed_as_the_study_prints_them(sights: dict[str, Sight]):
    assert LOOKS["Addition"] == "addition"
    table, lines = sights["Answers"].table, sights["Expected and predicted"].text.split("\n")
    assert table is not None
    assert lines == [f"Expected={expected}, Predicted={predicted}" for _, expected, predicted in table.rows]
    assert len(lines) == 20
    assert 0 <= sights["Right answers"].numbers["exact_match"] < 0.5


def test_all_sums_stand_in_the_panel_of_every_cell(sights: dict[str, Sight]):
    for title, label in (("Cells of decoder.0.h", "sigmoid of"), ("Cells of decoder.0.h, full range", "in units of")):
        figure = sights[title].figure
        assert figure is not None
        said = [text.get_text() for text in figure.axes[0].texts]
        assert sum(text.startswith("cell ") for text in said) == 5 and any(label in text for text in said)
    task = Addition()
    texts = pairs(task, addition.shown(task, found_for(NOTHING, np.zeros((0, 2)))))
    assert len(texts) == 45 and texts[0] == ("  1+2", " 3") and texts[-1] == (" 9+10", "19")


def test_values_stand_at_the_symbols_they_belong_to(subject: Subject):
    task = addition.task_of(subject)
    batch = addition.shown(task, found_for(NOTHING, np.zeros((0, 2))))
    given, values = addition.record(subject.model, batch, "decoder.0.h")
    texts, painted = addition.on_texts(task, batch, given, values, written=True)
    assert max(map(len, texts)) == painted.shape[2] and np.isnan(painted[:, :, : -task.answer_steps]).all()
    assert_array_equal(np.moveaxis(painted[:, :, -task.answer_steps :], 0, 2), values)
    given, values = addition.record(subject.model, batch, "encoder.0.h")
    texts, painted = addition.on_texts(task, batch, given, values, written=False)
    assert texts[0] == f"  1+2={task.decode(given[0])}" and painted.shape == (6, 45, 5 + 1 + 2)
    assert_array_equal(np.moveaxis(painted[:, :, :5], 0, 2), values)


def test_questions_are_read_back_as_numbers():
    task = Addition(largest=99, terms=3, fewest_terms=2, operations="+-")
    numbers = jnp.asarray([[12, 5, 30], [7, 60, 1], [12, 5, 30], [7, 8, 9]])
    batch = task.write(numbers, jnp.asarray([[1, -1, 1], [1, 1, -1], [1, -1, 1], [1, -1, 0]]))
    asked, found = addition.distinct_sums(task, found_for(batch, batch.targets), 3)
    assert_array_equal(found, [[7, -8, 0], [7, 60, -1], [12, -5, 30]])
    assert [answer.strip() for _, answer in pairs(task, asked)] == ["-1", "66", "37"]
    assert len(addition.distinct_sums(task, found_for(batch, batch.targets), 2)[1]) == 2


# Cells that have a name


def all_pairs() -> tuple[Addition, np.ndarray, Batch]:
    """All pairs of 1 to 10, and their sums as symbols."""
    task, numbers = Addition(), np.asarray([(a, b) for a in range(1, 11) for b in range(1, 11)])
    return task, numbers, jax.jit(task.write)(numbers)


def test_conditions_are_what_they_are_called():
    task, numbers, batch = all_pairs()
    known = task.concepts(batch, written=True)
    assert_array_equal(task.terms_of(batch), numbers)
    carry = [a % 10 + b % 10 > 9 for a, b in numbers.tolist()]
    total = numbers.sum(axis=1)
    assert_array_equal(known["a carry comes in"], np.stack([carry, np.zeros(100)], axis=1))
    assert_array_equal(known["a carry goes out"], np.stack([np.zeros(100), carry], axis=1))
    assert_array_equal(known["the ones carry"], np.stack([carry, carry], axis=1))
    assert_array_equal(known["second digit when the sum is under 9"], np.stack([np.zeros(100), total < 9], axis=1))
    assert_array_equal(known["second digit when the sum is over 14"], np.stack([np.zeros(100), total > 14], axis=1))
    graded = known["sum under 10, and more at the second digit"]
    assert_array_equal(graded, np.stack([total < 10, 2 * (total < 10)], axis=1))
    assert set(addition.ASKED_FOR) <= set(known)
    assert "sum over 3" not in known and "sum over 17" not in known  # of a tenth of the sums at least


def test_a_planted_cell_is_found_and_noise_is_not():
    task, _, batch = all_pairs()
    known = {name: each.ravel() for name, each in task.concepts(batch, written=True).items()}
    values, sums = np.random.default_rng(1).normal(size=(200, 8)), np.repeat(np.arange(100), 2)
    assert not score_units(values, known, groups=sums).named
    kind = "second digit when the sum is over 14"
    values[:, 3] = 0.2 * values[:, 3] - 2 * known[kind]
    (cell,) = score_units(values, known, groups=sums).named
    assert (cell.unit, cell.concept, cell.direction) == (3, kind, -1) and 0.8 < cell.effect < 1


# Texts in colours


def test_each_symbol_has_the_colour_of_its_number():
    values = np.full((2, 3, 4), np.nan)
    values[0, :, 2:] = [[0.0, 0.049], [0.05, 0.5], [0.999, 7.0]]
    values[1, 0, 3] = -5.0
    figure = figures.coloured(
        ["a=12", "b=34", "=5 "],
        values,
        titles=["x", "y\nz"],
        label="number",
        key=[str(5 * k) for k in range(20)],
    )
    canvas = np.asarray(figure.axes[0].images[0].get_array())
    shades = figures.BLUE_RED(np.linspace(0, 1, 20), bytes=True)
    painted = [tuple(pixel) for row in canvas[1:] for pixel in row if pixel[3]]
    assert sorted(painted) == sorted(tuple(shades[level]) for level in (0, 0, 1, 10, 19, 19, 0))
    assert figures.svg(figure) == figures.svg(figure)
    assert [text.get_text() for text in figure.axes[0].texts] == [
        *(str(5 * k) for k in range(20)),
        "number",
        "x",
        "y\nz",
    ]


def test_values_that_do_not_fit_are_refused():
    options: dict[str, Any] = {"titles": ["x"], "label": "", "key": ["0", "1"]}
    with pytest.raises(InputError, match="texts of 2 symbols"):
        figures.coloured(["ab"], np.zeros((1, 1, 3)), **options)
    with pytest.raises(InputError, match=r"figures\.coloured"):
        figures.coloured([], np.zeros((1, 0, 0)), **options)
    with pytest.raises(InputError, match="limits rise"):
        figures.coloured(["ab"], np.zeros((1, 1, 2)), **options, limits=(1.0, 1.0))
