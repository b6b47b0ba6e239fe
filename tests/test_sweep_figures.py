"""Figures of sweeps: what is drawn is what was given, the worst does not hide the rest, and odd input is borne."""

from __future__ import annotations

import itertools
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.colors import to_hex

from rnnjax import figures
from rnnjax.config import InputError
from rnnjax.figures import sweeps
from rnnjax.figures.members import grouped, scale_of, span_of

RATE, UNITS, CELL = "train.learning_rate", "model.units", "model.cell"
ORANGE = sweeps.STANDS_OUT


def table(n, seed=0):
    """Choices and losses of `n` members: the loss is least at a rate of 0.005, and some explode or diverge."""
    generator = np.random.default_rng(seed)
    rate = 10 ** generator.uniform(-4, -1, n)
    choices = {
        RATE: rate,
        UNITS: generator.choice([3, 32, 128], n),
        CELL: generator.choice(["gru", "lstm"], n).tolist(),
        "train.clip_norm": np.where(generator.random(n) < 0.3, np.nan, 10 ** generator.uniform(-1, 1, n)),
        "train.momentum": [None if k % 2 else float(v) for k, v in enumerate(generator.random(n))],
    }
    loss = 0.3 + (np.log10(rate) + 2.3) ** 2
    loss[generator.random(n) < 0.05] *= 1000
    loss[generator.random(n) < 0.05] = np.inf
    return choices, loss


def drawn(figure):
    """The SVG, which is XML."""
    text = figures.svg(figure)
    ElementTree.fromstring(text)
    return text


def legend(figure):
    owner = figure.axes[0].get_legend() or figure.legends[0]
    return [text.get_text() for text in owner.get_texts()]


def orange(axes):
    return [line for line in axes.lines if to_hex(line.get_color()) == ORANGE]


def test_the_colours_of_good_and_bad_differ_in_lightness():
    lightness = sweeps.SHADES(np.linspace(0, 1, 20))[:, :3] @ (0.3, 0.59, 0.11)
    assert np.all(np.diff(lightness) > 0)
    assert lightness[-1] < 0.9


# -- curves by group


def test_curves_show_median_and_quartiles_of_each_group():
    steps, groups = np.arange(0, 50, 10), ["a"] * 5 + ["b"] * 3
    values = np.arange(8.0)[:, None] + steps / 10
    figure = sweeps.curves_by_group(steps, values, groups, key=CELL)
    first, second = figure.axes[0].lines[:2]
    np.testing.assert_allclose(np.asarray(first.get_ydata()), 2 + steps / 10)
    np.testing.assert_allclose(np.asarray(second.get_ydata()), 6 + steps / 10)
    band = figure.axes[0].collections[0].get_paths()[0].vertices
    assert {(x, y) for x, y in np.asarray(band).tolist()} >= {(0, 1), (0, 3), (40, 5), (40, 7)}
    assert legend(figure) == ["a (5)", "b (3)"]
    drawn(figure)


def test_many_numbers_are_cut_into_groups_of_equally_many_members():
    rates = 10 ** np.random.default_rng(0).uniform(-4, -1, 100)
    named, ordered = grouped(rates)
    assert ordered
    assert [len(rows) for rows in named.values()] == [20] * 5
    highest = [rates[rows].max() for rows in named.values()]
    assert all(a < rates[rows].min() for a, rows in zip(highest, list(named.values())[1:], strict=False))


def test_groups_that_look_alike_stay_apart():
    named, _ = grouped(np.array([0.10000001, 0.10000002, np.nan, 0.10000001]))
    assert [rows.tolist() for rows in named.values()] == [[0, 3], [1], [2]]
    close = 1 + np.arange(100) * 1e-12
    assert sum(len(rows) for rows in grouped(close)[0].values()) == 100
    assert [rows.tolist() for rows in grouped(np.array(["none", None], object))[0].values()] == [[0, 1]]


def test_a_course_ends_where_most_of_its_members_have_ended():
    values = np.ones((3, 4))
    values[0, 2:], values[1, 3:] = np.nan, np.nan
    figure = sweeps.curves_by_group(range(4), values, ["a"] * 3)
    np.testing.assert_array_equal(np.asarray(figure.axes[0].lines[0].get_ydata()), [1, 1, 1, np.nan])


def test_members_that_diverged_count_as_worst():
    values = np.array([[1.0], [2.0], [np.inf], [np.inf], [3.0]])
    figure = sweeps.curves_by_group([0], values, [0] * 5)
    assert np.asarray(figure.axes[0].lines[0].get_ydata()).tolist() == [3]
    drawn(figure)


# -- parallel coordinates


def test_a_line_goes_through_what_was_chosen():
    choices = {RATE: [0.001 * 10**k for k in np.linspace(0, 2, 11)], CELL: ["a", "b"] * 5 + ["a"]}
    figure = sweeps.parallel(choices, np.arange(11.0), log=[RATE], best=1)
    (best,) = orange(figure.axes[0])
    rate, cell, value = np.asarray(best.get_ydata())
    assert (rate, value) == (0, 0)
    assert cell == pytest.approx(0.25, abs=0.041)
    (rest,) = figure.axes[0].collections
    lines = {tuple(np.round(np.asarray(path.vertices)[[0, 2], 1], 6)) for path in rest.get_paths()}
    assert lines == {(round(k / 10, 6), round(k / 10, 6)) for k in range(1, 11)}
    assert legend(figure)[0] == "the best 1 of 11"


@pytest.mark.parametrize(("direction", "expected"), [("min", 0.0), ("max", 1.0)])
def test_the_best_stand_out_whichever_way_is_better(direction, expected):
    figure = sweeps.parallel({"x": np.arange(30.0)}, np.arange(30.0), direction=direction, best=3)
    ends = [np.asarray(line.get_ydata())[-1] for line in orange(figure.axes[0])]
    assert len(ends) == 3
    assert np.all(np.abs(np.array(ends) - expected) < 0.1)


def test_a_crowd_is_one_image_dark_where_the_best_went():
    n = 3000
    x = np.random.default_rng(0).random(n)
    figure = sweeps.parallel({"x": x, "y": x}, x, best=5)
    (image,) = figure.axes[0].images
    pixels = np.asarray(image.get_array())
    low, high = image.get_extent()[2:]
    start, end = ((np.array([0, 1]) - low) / (high - low) * len(pixels)).astype(int)
    inside = np.array_split(pixels[start:end, :50].mean(axis=1), 4)
    lightness = [part.mean(axis=0) @ (0.3, 0.59, 0.11) for part in inside]
    assert lightness[0] < lightness[1] < lightness[2] < lightness[3] < 0.99
    outside = pixels[: int((0 - low) / (high - low) * len(pixels)) - 1]
    np.testing.assert_allclose(outside, 1)
    assert len(drawn(figure)) < 600_000


@pytest.mark.slow
def test_ten_thousand_lines_can_be_drawn():
    choices, loss = table(10_000)
    assert len(drawn(sweeps.parallel(choices, loss, log=[RATE]))) < 1_000_000


# -- importance


def test_bars_are_sorted_and_unclear_ones_say_so():
    names = ["b", "none", ("a", "b"), ("a",)]
    figure = sweeps.importances(names, [0.2, -0.01, 0.1, 0.5], [0.02, 0.03, 0.02, 0.02])
    axes = figure.axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "b", "none", "a × b"]
    assert [bar.get_width() for bar in axes.containers[0]] == [0.5, 0.2, 0, 0.1]
    assert [text.get_text() for text in axes.texts] == ["50.0 %", "20.0 %", "no clear effect", "10.0 %"]
    assert legend(figure) == ["a choice", "two together, beyond both", "what chance explains"]
    drawn(figure)


def test_of_many_bars_the_clear_ones_stay():
    shares = np.linspace(0.5, 0.01, 30)
    clear = [False] * 29 + [True]
    figure = sweeps.importances([f"k{n}" for n in range(30)], shares, [0.6] * 30, clear=clear, most=4)
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels == ["k29", "k0", "k1", "k2"]
    with pytest.raises(InputError, match="2 names, 1 shares"):
        sweeps.importances(["a", "b"], [1.0], [0.0])


# -- slices


def test_the_running_median_follows_the_valley():
    generator = np.random.default_rng(0)
    rate = 10 ** generator.uniform(-4, -1, 500)
    loss = 0.3 + (np.log10(rate) + 2.5) ** 2 + 0.05 * generator.random(500)
    figure = sweeps.slices({RATE: rate}, loss, log=[RATE])
    (line,) = orange(figure.axes[0])
    x, y = np.asarray(line.get_xdata()), np.asarray(line.get_ydata())
    assert x[np.argmin(y)] == pytest.approx(0.5, abs=0.06)  # the middle of a logarithmic axis from 1e-4 to 1e-1
    np.testing.assert_allclose(y, 0.325 + (3 * x - 1.5) ** 2, atol=0.08)
    labels = [label.get_text() for label in figure.axes[0].get_xticklabels()]
    assert {"0.001", "0.01"} <= set(labels)
    drawn(figure)


def test_levels_have_the_median_of_their_members():
    figure = sweeps.slices({UNITS: [8, 64] * 5}, [1.0, 2.0] * 5)
    medians = [np.asarray(line.get_ydata()).tolist() for line in orange(figure.axes[0])]
    assert medians == [[1, 1], [2, 2]]
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == ["8", "64"]


def test_exploded_losses_stand_at_the_edge_and_are_counted():
    loss = np.append(np.linspace(1, 2, 98), [1e9, np.inf])
    figure = sweeps.slices({"x": np.arange(100.0)}, loss)
    low, high = figure.axes[0].get_ylim()
    assert 0.9 < low < 1 < 2 < high < 2.1
    assert "2 worse, or diverged" in legend(figure)
    marks = figure.axes[0].lines[1]
    np.testing.assert_allclose(np.asarray(marks.get_xdata()), [98 / 99, 1])
    assert np.all(np.asarray(marks.get_ydata()) <= high)


def test_bad_accuracies_are_not_cut_from_a_plain_range():
    span = span_of(np.linspace(0, 1, 50), "max")
    assert (span.low, span.high, span.log) == (0, 1, False)
    assert span_of(np.append(np.linspace(0.9, 1, 99), -1e6), "max").low == 0.9


# -- contour


def test_a_smooth_map_is_least_where_the_loss_is():
    generator = np.random.default_rng(0)
    x, y = 10 ** generator.uniform(-4, -1, 600), generator.random(600)
    loss = 1 + (np.log10(x) + 2) ** 2 + 4 * (y - 0.25) ** 2
    figure = sweeps.contour(x, y, loss, members=np.arange(600) + 1000, names=(RATE, "y"), log=[RATE])
    star = figure.axes[0].lines[-1]
    at = np.asarray(star.get_xdata())[0], np.asarray(star.get_ydata())[0]
    np.testing.assert_allclose(at, (2 / 3, 0.25), atol=0.06)
    assert f"member {np.argmin(loss) + 1000}" in legend(figure)[0]
    levels = figure.axes[0].collections[0].get_paths()
    here, there = (next(k for k, path in enumerate(levels) if path.contains_point(at)) for at in (at, (0.1, 0.9)))
    assert here <= 2
    assert there >= 6
    drawn(figure)


def test_a_map_is_blank_where_no_member_is():
    x, y = np.meshgrid(np.linspace(0, 1, 12), np.linspace(0, 1, 12))
    kept = (x < 0.45) | (y < 0.45)
    figure = sweeps.contour(x[kept], y[kept], (x + y)[kept], names=("x", "y"))
    paths = [path for path in figure.axes[0].collections[0].get_paths() if len(path)]
    assert any(path.contains_point((0.2, 0.2)) for path in paths)
    assert not any(path.contains_point((0.95, 0.95)) for path in paths)


def test_fields_of_levels_hold_medians():
    pairs = list(itertools.product(["gru", "lstm"], [8, 64, 128]))
    cells, units = [c for c, _ in pairs] * 3, [u for _, u in pairs] * 3
    values = np.tile(np.arange(6.0), 3) + np.repeat([0, 1, 50], 6)
    figure = sweeps.contour(cells, units, values, names=(CELL, UNITS))
    mesh = np.asarray(figure.axes[0].collections[0].get_array())
    np.testing.assert_allclose(mesh, [[1, 4], [2, 5], [3, 6]])
    assert [text.get_text() for text in figure.axes[0].texts] == ["1", "4", "2", "5", "3", "6"]
    drawn(figure)


# -- history


@pytest.mark.parametrize("direction", ["min", "max"])
def test_history_keeps_the_best_so_far(direction):
    values = np.array([3.0, np.nan, 5.0, 1.0, 2.0, 4.0, np.inf if direction == "min" else -np.inf])
    figure = sweeps.history(values, direction=direction, members=np.arange(7) * 10)
    line = orange(figure.axes[0])[0]
    expected = [3, 3, 3, 1, 1, 1, 1] if direction == "min" else [3, 3, 5, 5, 5, 5, 5]
    assert np.asarray(line.get_ydata()).tolist() == expected
    best = "1, member 30" if direction == "min" else "5, member 20"
    assert legend(figure)[1] == f"the best so far: {best}"
    assert "1 worse, or diverged" in legend(figure)


# -- odd input, in all of them

MAKERS = {
    "parallel": sweeps.parallel,
    "slices": sweeps.slices,
    "contour": lambda choices, values, **options: sweeps.contour(
        *(choices[name] for name in tuple(choices)[:2]), values=values, names=tuple(choices)[:2], **options
    ),
    "history": lambda choices, values, log=(), **options: sweeps.history(values, **options),
    "curves": lambda choices, values, log=(), **options: sweeps.curves_by_group(
        [0, 1], np.stack([values, values], axis=1), next(iter(choices.values()))
    ),
}


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_the_same_members_give_the_same_picture(make):
    choices, loss = table(450)
    pair = {name: choices[name] for name in (RATE, "train.clip_norm")}
    first, second = (make(pair, loss, log=[RATE]) for _ in range(2))
    assert figures.svg(first) == figures.svg(second)
    assert figures.png(first, dpi=40).startswith(b"\x89PNG")


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
@pytest.mark.parametrize("n", [1, 2, 30])
def test_all_sizes_can_be_drawn(make, n):
    choices, loss = table(n)
    names = [RATE, "train.clip_norm", "train.momentum", CELL]
    drawn(make({name: choices[name] for name in names}, loss, log=[RATE]))


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
@pytest.mark.parametrize("direction", ["min", "max"])
@pytest.mark.parametrize(
    "values", [[np.nan] * 3, [np.inf] * 3, [2.0] * 3, [1.0, np.inf, np.nan], [1e-300, 1.0, 1e300], [-5.0, 0.0, 5.0]]
)
def test_all_values_can_be_drawn(make, direction, values):
    choices = {"x": [0.1, 0.2, 0.3], "y": ["a", None, "b"]}
    drawn(make(choices, np.array(values), direction=direction))


@pytest.mark.parametrize("make", [MAKERS[name] for name in ("parallel", "slices", "contour", "curves")])
def test_names_are_text_whatever_is_in_them(make):
    hostile = ["$x^$", "<script>&", "a" * 500, "\N{SNOWMAN}", "none", None]
    choices = {"$k$": hostile * 2, "<b>&": [True, False] * 6}
    text = drawn(make(choices, np.arange(12.0)))
    assert "<script>" not in text
    assert "a" * 100 not in text


def test_many_levels_are_not_all_named():
    scale = scale_of("x", np.array([f"level {k}" for k in range(200)]), log=False)
    assert scale.levels == 200
    assert len(scale.ticks) <= 24


def test_a_logarithmic_axis_needs_numbers_above_zero():
    numbers = np.linspace(-1, 1, 21)
    np.testing.assert_allclose(scale_of("x", numbers, log=True).places, np.linspace(0, 1, 21))
    powers = scale_of("x", 10.0 ** np.arange(12), log=True)
    np.testing.assert_allclose(powers.places, np.linspace(0, 1, 12))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: sweeps.parallel({}, [1.0]), "no choice"),
        (lambda: sweeps.slices({"x": [1, 2]}, [1.0]), "'x' of shape"),
        (lambda: sweeps.slices({"x_rate": [1.0]}, [1.0], log=["x_rat"]), "no choice 'x_rat'(?s:.*)x_rate"),
        (lambda: sweeps.contour([1], [2], [3.0], names=("x", "x")), "on both axes"),
        (lambda: sweeps.contour([1], [2], [3.0], members=[1, 2]), "2 members, 1 values"),
        (lambda: sweeps.history([]), "shape"),
        (lambda: sweeps.history([1.0], members=[1, 2]), "2 members, 1 values"),
        (lambda: sweeps.curves_by_group([1], [[1.0]], ["a", "b"]), "2 choices"),
        (lambda: sweeps.curves_by_group([1, 2], [[1.0]], ["a"]), "2 steps"),
    ],
)
def test_what_cannot_be_drawn_is_refused(make, message):
    with pytest.raises(InputError, match=message):
        make()
