"""Figures of what units do: what is drawn and where, proved against other ways of computing it."""

from __future__ import annotations

from itertools import islice, pairwise
from typing import Any
from xml.etree import ElementTree

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from matplotlib.collections import LineCollection, PathCollection, PolyCollection
from matplotlib.colors import to_rgb

import rnnjax as rx
import rnnjax.figures
from rnnjax.config import InputError
from rnnjax.figures.parts import MISSING, ORANGE, PURPLE, Scale, apart, visible
from rnnjax.figures.text import laid_out

figures: Any = rnnjax.figures  # matplotlib's own types know too little of what a figure holds

TEXT = "All:\nWe know't, we know't.\n\nFirst Citizen:\nLet us kill him, \"and we'll have corn\" at our own price.\n" * 3
HOSTILE = ["$x_1^2$", "\\alpha", "<b>&", "$$", "語", "\U0001f600", "\u202e", "\x00", "\u0301", "a" * 40, ""]


@pytest.fixture(scope="module")
def recorded():
    """All fields of a random LSTM of 8 units that reads `TEXT`, by name, ``[steps, units]``."""
    vocabulary = sorted(set(TEXT))
    tokens = jnp.asarray([[vocabulary.index(symbol) for symbol in TEXT]])
    cell: Any = rx.cells.LSTM(len(vocabulary), 8, rngs=nnx.Rngs(0))
    cell.input_kernel[...] = 9 * cell.input_kernel[...]
    found = rx.unroll(cell, tokens, record=["i", "f", "g", "o", "c", "h"]).recorded
    return {name: np.asarray(values[0]) for name, values in found.items()}


def rng():
    return np.random.default_rng(0)


def drawn(figure):
    """Both formats of a figure, which are drawn without a warning."""
    assert figures.png(figure, dpi=40).startswith(b"\x89PNG")
    text = figures.svg(figure)
    ElementTree.fromstring(text)
    return text


def texts(axes):
    return [text.get_text() for text in axes.texts]


def legends(figure):
    found = [*figure.legends, *(axes.get_legend() for axes in figure.axes if axes.get_legend())]
    return [text.get_text() for legend in found for text in legend.get_texts()]


def only(kind, artists) -> list[Any]:
    return [artist for artist in artists if isinstance(artist, kind)]


def dots(axes):
    """Points of every scatter by its name."""
    return {
        str(found.get_label()): np.asarray(found.get_offsets())
        for found in only(PathCollection, axes.collections)
        if len(found.get_offsets())
    }


def cells(figure, panel=0):
    """Left, right, top, bottom and colour of every symbol of a passage."""
    found = only(PolyCollection, figure.axes[0].collections)[panel]
    corners = np.asarray([path.vertices[:4] for path in found.get_paths()])
    box = np.stack([corners[:, 0, 0], corners[:, 1, 0], corners[:, 0, 1], corners[:, 2, 1]], axis=1)
    return box, np.asarray(found.get_facecolor())[:, :3]


class TestScale:
    def test_both_sides_of_zero_are_purple_and_orange_and_zero_is_pale(self):
        scale = Scale(np.asarray([-2.0, 1.0]), None, "here")
        low, middle, high, broken = scale.shades(np.asarray([-2.0, 0.0, 2.0, np.nan]))
        assert (scale.norm.vmin, scale.norm.vmax) == (-2.0, 2.0)
        assert low[2] > low[1] and high[0] > high[2]
        np.testing.assert_allclose(middle, 0.97, atol=0.02)
        np.testing.assert_allclose(broken, to_rgb(MISSING))

    def test_numbers_that_are_never_below_zero_have_orange_alone(self):
        scale = Scale(np.asarray([0.2, 4.0]), None, "here")
        assert (scale.norm.vmin, scale.norm.vmax, scale.signed) == (0.0, 4.0, False)
        np.testing.assert_allclose(scale.shades(np.zeros(1)), 0.97, atol=0.02)
        np.testing.assert_allclose(
            scale.shades(np.asarray([4.0])), Scale(np.asarray([-4.0]), None, "").shades(np.asarray([4.0]))
        )

    @pytest.mark.parametrize(
        ("values", "extend"), [([-3, 1], "min"), ([0, 3], "max"), ([-3, 3], "both"), ([1, -1], "neither")]
    )
    def test_what_exceeds_the_limit_is_told(self, values, extend):
        assert Scale(np.asarray(values, float), 2.0, "here").extend == extend

    @pytest.mark.parametrize("values", [[0.0], [np.nan], [np.inf, -np.inf]])
    def test_nothing_to_scale_by(self, values):
        assert Scale(np.asarray(values), None, "here").limit == 1.0


def test_labels_stand_apart_and_none_that_has_room_is_missing():
    points = rng().uniform(0, 5, (200, 2))
    points[3] = np.nan
    taken = apart(points, 0.5)
    between = np.linalg.norm(points[taken][:, None] - points[taken][None], axis=2) + np.eye(len(taken)) * 9
    assert between.min() >= 0.5
    for number in sorted({*range(200)} - {*taken, 3}):
        before = [k for k in taken if k < number]
        assert np.linalg.norm(points[before] - points[number], axis=1).min() < 0.5


@pytest.mark.parametrize(
    ("symbol", "seen"),
    [(" ", "␣"), ("\n", "⏎"), ("\t", "⇥"), ("\x07", "\\x07"), ("\u202e", "\\u202e"), ("é", "é"), ("\u0301", "◌\u0301")],
)
def test_every_symbol_can_be_seen(symbol, seen):
    assert visible(symbol) == seen


class TestPassage:
    def test_each_symbol_stands_on_the_colour_of_its_value(self, recorded):
        values = recorded["h"][:, 2]
        figure = figures.passage(list(TEXT), values, label="0.h of unit 2")
        _, colours = cells(figure)
        np.testing.assert_allclose(colours, Scale(values.astype(float), None, "", pale=True).shades(values))
        assert texts(figure.axes[0]) == list(TEXT.replace(" ", "␣").replace("\n", "⏎"))
        assert "0.h of unit 2" in texts(figure.axes[1])

    def test_letters_stand_in_the_middle_of_their_boxes(self, recorded):
        figure = figures.passage(list(TEXT), recorded["h"][:, 2], columns=30)
        box, _ = cells(figure)
        places = np.asarray([text.get_position() for text in figure.axes[0].texts])
        np.testing.assert_allclose(places[:, 0], box[:, :2].mean(axis=1))
        assert np.all((places[:, 1] > box[:, 2]) & (places[:, 1] < box[:, 3]))

    @pytest.mark.parametrize("columns", [12, 30, 80])
    def test_lines_are_wrapped_between_words(self, columns):
        spots = laid_out(list(TEXT), list(TEXT), columns)
        assert np.all(np.diff(spots[:, 1]) >= 0)
        rows = [
            "".join(symbol for symbol, place in zip(TEXT, spots, strict=True) if place[1] == row)
            for row in range(int(spots[-1, 1]) + 1)
        ]
        assert "".join(rows) == TEXT
        assert max(len(row.rstrip()) for row in rows) <= columns
        assert all(row[-1] in " \n" for row in rows[:-1])
        for row in range(len(rows)):
            here = spots[spots[:, 1] == row]
            np.testing.assert_array_equal(here[:, 0], np.arange(len(here)))

    def test_a_word_longer_than_a_line_is_cut(self):
        spots = laid_out(["a"] * 25, ["a"] * 25, 10)
        assert [int((spots[:, 1] == row).sum()) for row in range(3)] == [10, 10, 5]

    def test_blanks_hang_beyond_a_full_line(self):
        spots = laid_out(list("aaaa bb"), list("aaaa bb"), 4)
        assert spots[:, 1].tolist() == [0, 0, 0, 0, 0, 1, 1]

    def test_wide_characters_have_twice_the_room_and_may_part_anywhere(self):
        spots = laid_out(list("日本語の文"), list("日本語の文"), 6)
        assert spots[:, 2].tolist() == [2.0] * 5
        assert spots[:, 1].tolist() == [0, 0, 0, 1, 1]

    def test_a_line_from_right_to_left_begins_at_the_right(self):
        text = "abcdefgh\n\u05e9\u05dc\u05d5\u05dd.\n"
        spots = laid_out(list(text), list(text), 80)
        assert spots[:9, 0].tolist() == list(range(9))
        assert spots[9:, 0].tolist() == [8.0, 7.0, 6.0, 5.0, 4.0, 3.0]

    def test_words_are_symbols_too(self):
        figure = figures.passage(["Let", "us", "kill", "\n", "him"], [0.1, -0.2, 0.3, 0.0, np.nan])
        box, colours = cells(figure)
        assert box[:, 2].tolist() == [0, 0, 0, 0, 1]
        assert np.all(np.diff(box[:4, 0]) > 0)
        np.testing.assert_allclose(colours[4], to_rgb(MISSING))

    def test_panels_have_titles_one_scale_and_do_not_overlap(self, recorded):
        figure = figures.passage(list(TEXT), recorded["h"][:, :3], titles=["unit 5 · vowel", "b", "c"])
        bottoms = [cells(figure, panel)[0][:, 3].max() for panel in range(3)]
        tops = [cells(figure, panel)[0][:, 2].min() for panel in range(3)]
        titles = {text.get_text(): text.get_position()[1] for text in figure.axes[0].texts[-3:]}
        assert list(titles) == ["unit 5 · vowel", "b", "c"]
        assert all(
            bottom < title < top for bottom, title, top in zip([0, *bottoms], titles.values(), tops, strict=False)
        )
        scale = Scale(recorded["h"][:, :3].astype(float), None, "", pale=True)
        np.testing.assert_allclose(cells(figure, 2)[1], scale.shades(recorded["h"][:, 2]))
        assert figures.passage(["a"], [[1.0, 2.0]]).axes[0].texts[-1].get_text() == "unit 1"

    def test_text_from_data_stays_text(self):
        svg = drawn(figures.passage(HOSTILE, np.linspace(-1, 1, len(HOSTILE)), label="$h$ <i>"))
        for seen in ("$x_1^2$", "\\alpha", "&lt;b&gt;&amp;", "語", "\U0001f600", "\\u202e", "\\x00"):
            assert seen in svg
        drawn(figures.passage(list("".join(HOSTILE)), np.zeros(len("".join(HOSTILE)))))

    @pytest.mark.parametrize(
        ("symbols", "values", "options", "message"),
        [
            ([], [], {}, r"shape \[0, 1\]"),
            (["a"], [1.0, 2.0], {}, "1 symbols for 2 steps"),
            (["a"], [[]], {}, r"shape \[1, 0\]"),
            (["a"], [[1.0] * 30], {}, "30 panels"),
            (["a"], [[1.0, 2.0]], {"titles": ["x"]}, "1 titles"),
            (["a"], [1.0], {"columns": 0}, "0 columns"),
            (["a"], [1.0], {"limit": -1.0}, "limit is -1.0"),
        ],
    )
    def test_refuses(self, symbols, values, options, message):
        with pytest.raises(InputError, match=message):
            figures.passage(symbols, values, **options)


class TestGates:
    def test_gates_and_states_have_axes_of_their_own(self, recorded):
        courses = {f"0.{name}": recorded[name][:50, 1] for name in ("i", "f", "g", "o", "h")}
        courses["0.c"] = 9 * recorded["c"][:50, 1] / np.abs(recorded["c"][:50, 1]).max()
        figure = figures.gates(courses, symbols=list(TEXT[:50]), title="unit 1")
        above, middle, below = figure.axes
        assert [line.get_label() for line in above.lines] == ["0.i", "0.f", "0.o"]
        assert [line.get_label() for line in middle.lines if str(line.get_label())[0] != "_"] == ["0.g", "0.h"]
        assert [line.get_label() for line in below.lines if str(line.get_label())[0] != "_"] == ["0.c"]
        shown = [*above.lines, *middle.lines[:2], below.lines[0]]
        for line in shown:
            np.testing.assert_allclose(line.get_ydata(), courses[str(line.get_label())])
            np.testing.assert_array_equal(line.get_xdata(), np.arange(50))
        assert above.get_ylim()[0] <= 0 and above.get_ylim()[1] >= 1
        assert [tick.get_text() for tick in below.get_xticklabels()] == [visible(symbol) for symbol in TEXT[:50]]
        looks = {(line.get_color(), str(vars(line)["_dash_pattern"])) for line in shown}
        assert len(looks) == 6
        assert legends(figure) == ["0.i", "0.f", "0.o", "0.g", "0.h", "0.c"]
        assert "unit 1" in drawn(figure)

    def test_what_leaves_zero_to_one_is_no_gate(self):
        figure = figures.gates({"pre.i": [0.5, -2.0], "f": [0.5, np.nan]})
        assert [line.get_label() for line in figure.axes[0].lines] == ["f"]
        assert figure.axes[1].lines[0].get_label() == "pre.i"
        chosen = figures.gates({"v": [0.1, 0.2], "f": [0.5, 0.5]}, open_or_shut=["v"])
        assert [line.get_label() for line in chosen.axes[0].lines] == ["v"]

    def test_steps_that_are_too_many_for_symbols_are_numbered_from_the_start(self):
        figure = figures.gates({"f": np.full(900, 0.5)}, symbols=["a"] * 900, start=1000)
        figures.png(figure, dpi=40)
        names = [tick.get_text() for tick in figure.axes[0].get_xticklabels()]
        assert "1,200" in names and "a" not in names
        assert figure.axes[0].get_xlabel() == "step"

    @pytest.mark.parametrize("courses", [{"h": [0.3]}, {"f": [np.nan, np.nan]}, {"h": [0.0] * 9, "c": [np.inf] * 9}])
    def test_bears_few_and_broken_values(self, courses):
        drawn(figures.gates(courses))

    @pytest.mark.parametrize(
        ("courses", "options", "message"),
        [
            ({}, {}, "no course"),
            ({"f": []}, {}, r"'f' of shape \[0\]"),
            ({"f": [0.1], "c": [0.1, 0.2]}, {}, "2 values of 'c' for 1 steps"),
            ({"f": [0.1]}, {"symbols": ["a", "b"]}, "2 symbols for 1 steps"),
            ({"f": [0.1]}, {"open_or_shut": ["g"]}, "no course of name 'g'"),
        ],
    )
    def test_refuses(self, courses, options, message):
        with pytest.raises(InputError, match=message):
            figures.gates(courses, **options)


class TestSaturation:
    def test_shares_are_those_of_a_count(self, recorded):
        for name in ("i", "f", "o"):
            opened, shut = figures.saturated(recorded[name], 0.1, 0.9)
            for unit in range(8):
                course = [float(value) for value in recorded[name][:, unit]]
                assert opened[unit] == sum(value > 0.9 for value in course) / len(course)
                assert shut[unit] == sum(value < 0.1 for value in course) / len(course)
        assert opened.max() > 0

    def test_a_dot_a_unit_a_panel_a_gate(self, recorded):
        gates = {name: recorded[name] for name in ("i", "f", "o")}
        figure = figures.saturation(gates)
        assert [axes.get_title(loc="left") for axes in figure.axes] == ["gate i", "gate f", "gate o"]
        for axes, values in zip(figure.axes, gates.values(), strict=True):
            np.testing.assert_allclose(dots(axes)["layer "], np.stack(figures.saturated(values, 0.1, 0.9), axis=1))
        assert figure.get_supxlabel() == "steps at which the gate is open (above 0.9)"
        assert figure.get_supylabel() == "shut (below 0.1)"

    def test_layers_share_the_panel_of_their_gate(self):
        values = rng().uniform(0, 1, (20, 1024))
        figure = figures.saturation({"0.f": values, "1.f": values[:, :7], "encoder.0.f": values})
        assert len(figure.axes) == 1
        assert {name: len(points) for name, points in dots(figure.axes[0]).items()} == {
            "layer 0": 1024,
            "layer 1": 7,
            "layer encoder.0": 1024,
        }
        assert legends(figure) == ["layer 0", "layer 1", "layer encoder.0"]
        colours = [tuple(found.get_facecolor()[0]) for found in only(PathCollection, figure.axes[0].collections)]
        assert len(set(colours)) == 3
        drawn(figure)

    def test_the_extreme_units_have_their_number(self):
        values = np.full((10, 3), 0.5)
        values[:, 1], values[:8, 2] = 0.99, 0.01
        figure = figures.saturation({"f": values}, numbers=[7, 300, 42])
        assert {text.get_text(): text.xy for text in figure.axes[0].texts} == {"300": (1.0, 0.0), "42": (0.0, 0.8)}

    def test_steps_that_are_not_finite_do_not_count(self):
        opened, shut = figures.saturated([[0.95, np.nan], [np.nan, np.nan], [0.05, np.nan]], 0.1, 0.9)
        assert (opened.tolist(), shut.tolist()) == ([0.5, 0.0], [0.5, 0.0])

    @pytest.mark.parametrize(
        ("gates", "options", "message"),
        [
            ({}, {}, "0 gates"),
            ({"g": [[-0.5]]}, {}, "gate 'g' goes from -0.5"),
            ({"f": [0.5]}, {}, r"shape \[1\]"),
            ({"f": [[0.5]]}, {"low": 0.9, "high": 0.1}, "bounds 0.9 and 0.1"),
            ({"f": [[0.5]]}, {"numbers": [1, 2]}, "2 numbers for 1 units"),
        ],
    )
    def test_refuses(self, gates, options, message):
        with pytest.raises(InputError, match=message):
            figures.saturation(gates, **options)


class TestTrajectories:
    def test_components_are_eigenvectors_of_the_covariance(self, recorded):
        values = recorded["c"].astype(np.float64)
        found = figures.principal_components(values, 4)
        variances, vectors = np.linalg.eigh(np.cov(values, rowvar=False))
        order = np.argsort(-variances)
        np.testing.assert_allclose(found.shares, (variances / variances.sum())[order[:4]])
        np.testing.assert_allclose(np.abs(np.sum(found.directions * vectors[:, order[:4]].T, axis=1)), 1.0)
        np.testing.assert_allclose(found.scores, (values - values.mean(axis=0)) @ found.directions.T)
        assert all(row[np.argmax(np.abs(row))] > 0 for row in found.directions)

    def test_steps_that_are_not_finite_do_not_count(self):
        values = rng().normal(size=(30, 4))
        broken = np.insert(values, 10, np.nan, axis=0)
        found, without = (figures.principal_components(grid) for grid in (broken, values))
        np.testing.assert_allclose(found.directions, without.directions)
        assert np.all(np.isnan(found.scores[10]))
        figure = figures.trajectories(broken)
        assert len(only(LineCollection, figure.axes[0].collections)[0].get_segments()) == 28

    def test_the_course_is_drawn_step_by_step_and_coloured_by_time(self, recorded):
        values = recorded["h"][:60].astype(np.float64)
        figure = figures.trajectories(values, field="0.h")
        found = figures.principal_components(values)
        for axes, columns in zip(figure.axes[:2], ([0, 1], [0, 2]), strict=True):
            lines = only(LineCollection, axes.collections)[0]
            points = found.scores[:, columns]
            np.testing.assert_allclose(np.asarray(lines.get_segments()), np.stack([points[:-1], points[1:]], axis=1))
            np.testing.assert_array_equal(lines.get_array(), np.arange(1, 60))
            np.testing.assert_allclose(axes.lines[0].get_xydata(), points[:1])
            np.testing.assert_allclose(axes.lines[1].get_xydata(), points[-1:])
        assert figure.axes[0].get_xlabel() == f"component 1 of 0.h ({found.shares[0]:.1%} of the variance)"
        assert figure.axes[1].get_ylabel() == f"component 3 of 0.h ({found.shares[2]:.1%} of the variance)"
        assert figure.axes[2].get_ylabel() == "step"
        assert legends(figure) == ["first step", "last step"]

    def test_examples_are_not_joined_and_have_a_time_each(self):
        figure = figures.trajectories(rng().normal(size=(12, 3)), examples=[0] * 5 + [1] * 7)
        lines = only(LineCollection, figure.axes[0].collections)[0]
        assert np.asarray(lines.get_array()).tolist() == [1, 2, 3, 4, 1, 2, 3, 4, 5, 6]
        assert len(figure.axes[0].lines[0].get_xydata()) == 2

    def test_groups_have_a_colour_and_a_mark_each_and_the_rarest_share_one(self):
        values = rng().normal(size=(100, 5))
        groups = [f"g{min(k, 9)}" for k in np.repeat(np.arange(10), np.arange(19, -1, -2))]
        figure = figures.trajectories(values, groups=groups)
        points = figures.principal_components(values).scores[:, :2]
        found = dots(figure.axes[0])
        assert list(found) == [*(f"g{k}" for k in range(6)), "others (4)"]
        for name in list(found)[:6]:
            np.testing.assert_allclose(found[name], points[np.asarray(groups) == name])
        assert len(found["others (4)"]) == sum(group in ("g6", "g7", "g8", "g9") for group in groups)
        colours = {tuple(kind.get_facecolor()[0]) for kind in only(PathCollection, figure.axes[0].collections)}
        assert len(colours) == 7
        assert legends(figure)[2:] == list(found)

    def test_symbols_stand_at_their_steps_where_there_is_room(self, recorded):
        figure = figures.trajectories(recorded["h"], symbols=list(TEXT))
        points = figures.principal_components(recorded["h"]).scores[:, :2]
        written = figure.axes[0].texts
        assert 10 < len(written) < len(TEXT)
        for text in written[:20]:
            step = int(np.argmin(np.linalg.norm(points - text.xy, axis=1)))
            np.testing.assert_allclose(points[step], text.xy)
            assert text.get_text() in {visible(TEXT[k]) for k in np.flatnonzero(np.all(points == points[step], axis=1))}

    @pytest.mark.parametrize("values", [np.ones((5, 1)), np.ones((1, 4)), np.full((6, 3), 7.7), np.eye(2)])
    def test_bears_constants_and_few_units(self, values):
        figure = figures.trajectories(values, symbols=["a"] * len(values))
        assert ("(0.0% of the variance)" in figure.axes[0].get_xlabel()) == (np.ptp(values, axis=0).max() == 0)
        drawn(figure)

    @pytest.mark.parametrize(
        ("values", "options", "message"),
        [
            (np.zeros((0, 3)), {}, r"shape \[0, 3\]"),
            (np.full((2, 2), np.nan), {}, "0 finite steps"),
            (np.eye(3), {"groups": ["a"]}, "1 groups for 3 steps"),
            (np.eye(3), {"examples": [1]}, "1 examples for 3 steps"),
            (np.eye(3), {"symbols": []}, "0 symbols for 3 steps"),
            (np.eye(3), {"planes": [(0, 1)]}, "counted from 1"),
        ],
    )
    def test_refuses(self, values, options, message):
        with pytest.raises(InputError, match=message):
            figures.trajectories(values, **options)


class TestWeights:
    def test_matrices_share_one_scale_and_gates_are_marked(self):
        kernel, bias = rng().normal(0, 0.3, (8, 32)), np.repeat([0.0, 1.0, 0.0, 0.0], 8)
        figure = figures.weights(
            {"recurrent_kernel": kernel, "bias": bias}, gates={"recurrent_kernel": "ifgo"}, limit=0.8
        )
        first, second, key = figure.axes
        np.testing.assert_allclose(first.images[0].get_array(), kernel)
        np.testing.assert_allclose(second.images[0].get_array(), bias[None])
        assert first.images[0].norm is second.images[0].norm
        assert (first.images[0].norm.vmin, first.images[0].norm.vmax) == (-0.8, 0.8)
        assert sorted({float(line.get_xdata()[0]) for line in first.lines}) == [7.5, 15.5, 23.5]
        assert {text.get_text(): text.xy[0] for text in first.texts} == {"i": 0.125, "f": 0.375, "g": 0.625, "o": 0.875}
        assert first.get_title(loc="left") == "recurrent_kernel  8 × 32"
        assert (second.get_title(loc="left"), len(second.lines)) == ("bias  32", 0)
        assert texts(key) == ["weight"]
        drawn(figure)

    def test_panels_do_not_overlap_and_stay_on_the_page(self):
        sizes = [(8, 32), (46, 32), (1, 32), (1024, 64), (30, 512), (3, 3), (2, 900)]
        figure = figures.weights({f"layer.{k}.kernel": rng().normal(size=size) for k, size in enumerate(sizes)})
        figure.canvas.draw()
        boxes = [axes.get_tightbbox() for axes in figure.axes]
        page = figure.bbox
        assert all(page.x0 <= box.x0 and box.x1 <= page.x1 and page.y0 <= box.y0 and box.y1 <= page.y1 for box in boxes)
        for number, box in enumerate(boxes):
            for other in boxes[:number]:
                assert box.x0 >= other.x1 or box.x1 <= other.x0 or box.y0 >= other.y1 or box.y1 <= other.y0

    def test_of_more_weights_than_can_be_seen_the_strongest_are(self):
        grid = rng().normal(size=(1100, 2702))
        grid[1001, 2701] = -50.0
        figure = figures.weights({"w": grid})
        shown = np.asarray(figure.axes[0].images[0].get_array())
        assert shown.shape == (367, 901)
        assert shown[333, 900] == -50.0
        block = grid[30:33, 60:63].ravel()
        assert shown[10, 20] == block[np.argmax(np.abs(block))]
        assert figure.axes[0].get_title(loc="left") == "w  1,100 × 2,702, the strongest of each 3 × 3"

    def test_a_scale_for_all_is_not_that_of_the_largest(self):
        grids = {"a": rng().normal(0, 0.1, (50, 50)), "b": rng().normal(0, 0.2, (50, 50)), "c": np.full((9, 9), 30.0)}
        norm = figures.weights({**grids, "bias": np.full(50, 99.0)}).axes[0].images[0].norm
        assert norm.vmax == np.quantile(np.abs(grids["b"]), 0.995, method="higher")

    @pytest.mark.parametrize("grid", [np.zeros((3, 3)), [[np.nan]], np.ones((1, 1)), np.zeros((2000, 1))])
    def test_bears_constants_and_broken_values(self, grid):
        drawn(figures.weights({"$w$": grid}))

    @pytest.mark.parametrize(
        ("matrices", "gates", "message"),
        [
            ({}, None, "no matrix"),
            ({"w": np.zeros((2, 2, 2))}, None, r"'w' of shape \[2, 2, 2\]"),
            ({"w": np.zeros((2, 0))}, None, r"'w' of shape \[2, 0\]"),
            ({"w": np.eye(4)}, {"v": "ifgo"}, "gates of 'v'"),
            ({"w": np.eye(4)}, {"w": "rzn"}, "3 gates for the 4 columns of 'w'"),
        ],
    )
    def test_refuses(self, matrices, gates, message):
        for make in (figures.weights, figures.spectrum):
            with pytest.raises(InputError, match=message):
                make(matrices, gates=gates)


class TestSpectrum:
    def test_eigenvalues_of_every_gate(self):
        kernel = rng().normal(0, 0.35, (10, 40))
        figure = figures.spectrum({"0.recurrent_kernel": kernel}, gates={"0.recurrent_kernel": "ifgo"})
        for number, (axes, gate) in enumerate(zip(figure.axes, "ifgo", strict=True)):
            want = np.linalg.eigvals(kernel[:, 10 * number : 10 * number + 10])
            found = dots(axes)
            here = np.concatenate([found.get(name, np.zeros((0, 2))) for name in ("inside it", "outside it")])
            np.testing.assert_allclose(np.sort_complex(here @ [1, 1j]), np.sort_complex(want))
            assert len(found.get("outside it", ())) == np.sum(np.abs(want) > 1)
            radius = f"spectral radius {np.abs(want).max():.3g}; {np.sum(np.abs(want) > 1)} of 10 outside"
            assert axes.get_title(loc="left") == f"0.recurrent_kernel, gate {gate}\n{radius}"
            assert (axes.patches[0].center, axes.patches[0].radius, axes.get_aspect()) == ((0, 0), 1.0, 1.0)
            assert axes.get_xlim() == axes.get_ylim()
            assert axes.get_xlim()[1] > max(1.0, np.abs(want).max())
        assert legends(figure) == ["unit circle", "inside it", "outside it"]
        assert (figure.get_supxlabel(), figure.get_supylabel()) == ("real part", "imaginary part")

    @pytest.mark.parametrize("grid", [[[0.0]], np.zeros((5, 5)), 40 * np.eye(3)])
    def test_bears_constants_and_the_large(self, grid):
        drawn(figures.spectrum({"w": grid}))

    @pytest.mark.parametrize("grid", [np.ones((2, 3)), [[np.nan]]])
    def test_refuses(self, grid):
        with pytest.raises(InputError, match="give square matrices"):
            figures.spectrum({"w": grid})


class TestFilmStrip:
    def test_a_strip_a_unit_with_checkpoints_from_above(self):
        values = rng().normal(size=(5, 30, 3))
        figure = figures.film_strip(
            values, [0, 10, 20, 500, 1000], symbols=list(TEXT[:30]), numbers=[4, 99, 7], label="0.h"
        )
        *strips, key = figure.axes
        assert [axes.get_title(loc="left") for axes in strips] == ["unit 4", "unit 99", "unit 7"]
        for number, axes in enumerate(strips):
            np.testing.assert_array_equal(axes.images[0].get_array(), values[:, :, number])
            assert axes.images[0].norm is strips[0].images[0].norm
            ticks = dict(zip(axes.get_yticks(), [tick.get_text() for tick in axes.get_yticklabels()], strict=True))
            assert ticks == dict(enumerate(["0", "10", "20", "500", "1,000"]))
        assert strips[0].images[0].norm.vmax == np.abs(values).max()
        assert [tick.get_text() for tick in strips[-1].get_xticklabels()] == [visible(symbol) for symbol in TEXT[:30]]
        assert (key.get_ylabel(), figure.get_supylabel()) == ("0.h", "training step")
        drawn(figure)

    def test_a_picture_a_checkpoint_with_units_from_above(self):
        values = rng().normal(size=(7, 40, 1024))
        figure = figures.film_strip(values, range(7), numbers=range(2000, 3024))
        pictures = [axes for axes in figure.axes if axes.images]
        assert len(pictures) == 7
        for number, axes in enumerate(pictures):
            np.testing.assert_array_equal(axes.images[0].get_array(), values[number].T)
            assert axes.get_title(loc="left") == f"step {number}"
        figures.png(figure, dpi=40)
        assert "2200" in [tick.get_text() for tick in pictures[0].get_yticklabels()]

    def test_few_units_leave_room_for_symbols(self):
        figure = figures.film_strip(np.zeros((4, 60, 8)), range(4), symbols=["x"] * 60, by="checkpoint")
        assert [tick.get_text() for tick in figure.axes[3].get_xticklabels()] == ["x"] * 60

    def test_many_checkpoints_are_numbered_where_there_is_room_and_the_last_one_is(self):
        figure = figures.film_strip(np.zeros((200, 20, 1)), range(0, 2000, 10))
        names = [tick.get_text() for tick in figure.axes[0].get_yticklabels()]
        assert names[0] == "1,990" and 5 < len(names) < 60

    @pytest.mark.parametrize(
        ("shape", "options", "message"),
        [
            ((2, 3), {}, r"shape \[2, 3\]"),
            ((2, 0, 3), {}, r"shape \[2, 0, 3\]"),
            ((3, 2, 2), {}, "2 training steps for 3 checkpoints"),
            ((2, 3, 2), {"symbols": ["a"]}, "1 symbols for 3 steps"),
            ((2, 3, 2), {"numbers": [1]}, "1 numbers for 2 units"),
            ((2, 3, 2), {"by": "time"}, "by='time'"),
            ((2, 3, 50), {"by": "unit"}, "50 pictures"),
        ],
    )
    def test_refuses(self, shape, options, message):
        with pytest.raises(InputError, match=message):
            figures.film_strip(np.zeros(shape), [0, 1], **options)


class TestAtlas:
    def test_units_are_sorted_and_named(self):
        figure = figures.atlas(
            [0.02, -0.01, 0.3], baseline=1.5, numbers=[7, 8, 900], names={900: "vowel"}, field="0.h", label="bits"
        )
        axes = figure.axes[0]
        assert [bar.get_width() for bar in axes.patches] == [0.3, 0.02, -0.01]
        assert [tick.get_text() for tick in axes.get_yticklabels()] == ["900  vowel", "7", "8"]
        assert [bar.get_facecolor()[:3] for bar in axes.patches] == [to_rgb(ORANGE), to_rgb(ORANGE), to_rgb(PURPLE)]
        assert axes.get_ylim()[0] > axes.get_ylim()[1]
        assert axes.get_xlabel() == "bits"
        assert figure.get_suptitle() == "lesion of each unit of 0.h; loss of the whole network: 1.5"
        assert legends(figure) == ["the loss grows", "it falls"]

    def test_of_many_units_all_are_ranked_and_the_worst_have_bars(self):
        change = rng().normal(0.01, 0.02, 1024)
        change[[3, 500]] = np.nan, np.inf
        figure = figures.atlas(
            change, worst=12, names={int(np.nanargmax(np.where(np.isinf(change), 0, change))): "quote"}
        )
        ranks, bars = figure.axes
        order = sorted((k for k in range(1024) if np.isfinite(change[k])), key=lambda k: -change[k])
        np.testing.assert_array_equal(ranks.lines[0].get_xydata(), [(k + 1, change[order[k]]) for k in range(12)])
        assert [bar.get_width() for bar in bars.patches] == [change[k] for k in order[:12]]
        names = [tick.get_text() for tick in bars.get_yticklabels()]
        assert names == [f"{order[0]}  quote", *map(str, order[1:12])]
        grown, fallen = only(PolyCollection, ranks.collections)
        assert np.max(grown.get_paths()[0].vertices[:, 1]) == change[order[0]]
        assert np.min(fallen.get_paths()[0].vertices[:, 1]) == change[order[-1]]
        assert "units without a finite loss, not drawn: 2" in figure.get_suptitle()
        drawn(figure)

    @pytest.mark.parametrize("change", [[0.0], [0.0] * 100, [np.nan], [np.nan] * 60])
    def test_bears_constants_and_broken_values(self, change):
        drawn(figures.atlas(change, names={0: "$<$"}))

    @pytest.mark.parametrize(
        ("change", "options", "message"),
        [([], {}, r"shape \[0\]"), ([[1.0]], {}, r"shape \[1, 1\]"), ([1.0], {"numbers": [1, 2]}, "2 numbers")],
    )
    def test_refuses(self, change, options, message):
        with pytest.raises(InputError, match=message):
            figures.atlas(change, **options)


class TestCredit:
    def test_mean_quartiles_and_horizon(self):
        lags = np.arange(50)
        mean = np.exp(-lags / 8)
        figure = figures.credit(lags, mean, mean / 2, mean * 2, marks={"90 % of it": 18, "gradient cut": 60})
        axes = figure.axes[0]
        assert axes.get_yscale() == "log"
        line, horizon, cut = axes.lines
        np.testing.assert_allclose(line.get_xydata(), np.stack([lags, mean], axis=1))
        assert (horizon.get_xdata()[0], cut.get_xdata()[0]) == (18, 60)
        assert axes.get_xlim()[1] > 60
        band = only(PolyCollection, axes.collections)[0].get_paths()[0].vertices
        for lag in (0, 17, 49):
            at = band[band[:, 0] == lag, 1]
            np.testing.assert_allclose((at.min(), at.max()), (mean[lag] / 2, mean[lag] * 2))
        assert legends(figure) == ["middle half (quartiles)", "mean", "90 % of it: 18 steps", "gradient cut: 60 steps"]
        drawn(figure)

    @pytest.mark.parametrize("mean", [[1.0, 1.0], [1e-3, 1.1e-3], [1e-30, 1.0], [3.0, 0.0], [5.0, np.nan]])
    def test_there_is_a_number_at_the_axis(self, mean):
        figure = figures.credit([0, 1], mean, mean, mean)
        drawn(figure)
        low, high = figure.axes[0].get_ylim()
        assert any(low <= tick <= high for tick in figure.axes[0].get_yticks())

    def test_no_gradient_at_all(self):
        assert "no gradient reaches back" in drawn(figures.credit([0, 1], [0, 0], [0, 0], [0, 0], marks={"cut": 1}))

    @pytest.mark.parametrize(
        ("arrays", "message"),
        [
            (([], [], [], []), r"shape \[0\]"),
            (([0], [1, 2], [1], [1]), "shapes"),
            (([0], [-1], [1], [1]), "below zero"),
        ],
    )
    def test_refuses(self, arrays, message):
        with pytest.raises(InputError, match=message):
            figures.credit(*arrays)


class TestAverages:
    def test_conditions_by_name_stand_one_under_the_other(self):
        mean, spread = rng().normal(size=(3, 2)), rng().uniform(0.1, 0.3, (3, 2))
        mean[1, 1] = np.nan
        figure = figures.averages(
            ["vowel", "line break", "$"],
            mean,
            spread,
            counts=[5, 1234, 7],
            numbers=[3, 99],
            concept="class",
            label="0.h",
        )
        for column, axes in enumerate(figure.axes):
            rows = [0, 1, 2] if column == 0 else [0, 2]
            line = axes.containers[0].lines[0]
            np.testing.assert_allclose(line.get_xydata(), np.stack([mean[rows, column], rows], axis=1))
            ends = np.asarray(axes.containers[0].lines[2][0].get_segments())[:, :, 0]
            np.testing.assert_allclose(ends.mean(axis=1), mean[rows, column])
            np.testing.assert_allclose(np.ptp(ends, axis=1) / 2, spread[rows, column])
        names = [tick.get_text() for tick in figure.axes[0].get_yticklabels()]
        assert names == ["vowel (5)", "line break (1,234)", "$ (7)"]
        assert [axes.get_title(loc="left") for axes in figure.axes] == ["unit 3", "unit 99"]
        assert figure.get_supxlabel() == "0.h, mean ± standard deviation"
        assert figure.get_supylabel() == "class"
        drawn(figure)

    def test_conditions_that_are_numbers_stand_where_they_are(self):
        mean = rng().normal(size=(4, 1))
        figure = figures.averages([0, 1, 5, 18], mean, mean * 0 + 0.1, concept="sum")
        np.testing.assert_allclose(
            figure.axes[0].containers[0].lines[0].get_xydata(), np.column_stack([[0, 1, 5, 18], mean])
        )
        assert (figure.get_supxlabel(), figure.get_supylabel()) == ("sum", "activation, mean ± standard deviation")

    def test_of_many_units_a_heat_map(self):
        mean = rng().normal(size=(3, 1024))
        figure = figures.averages(["a", "b", "c"], mean, mean * 0)
        np.testing.assert_array_equal(figure.axes[0].images[0].get_array(), mean.T)
        drawn(figure)

    @pytest.mark.parametrize("units", [1, 5, 12])
    def test_bears_constants(self, units):
        drawn(figures.averages(["a", "b"], np.zeros((2, units)), np.full((2, units), np.nan)))

    @pytest.mark.parametrize(
        ("conditions", "mean", "deviation", "options", "message"),
        [
            ([], np.zeros((0, 2)), np.zeros((0, 2)), {}, r"shape \[0, 2\]"),
            (["a"], np.zeros((2, 2)), np.zeros((2, 2)), {}, "1 conditions"),
            (["a"], [[1.0]], [[1.0, 2.0]], {}, "deviations of shape"),
            (["a"], [[1.0]], [[1.0]], {"counts": [1, 2]}, "counts of shape"),
            (["a"], [[1.0]], [[1.0]], {"numbers": []}, "0 numbers"),
        ],
    )
    def test_refuses(self, conditions, mean, deviation, options, message):
        with pytest.raises(InputError, match=message):
            figures.averages(conditions, mean, deviation, **options)


class TestAround:
    def test_mean_band_and_event(self):
        offsets = np.arange(-4, 7)
        mean, spread = rng().normal(size=(11, 2)), rng().uniform(0.1, 0.3, (11, 2))
        figure = figures.around(offsets, mean, spread, numbers=[8, 9], event="a quote", count=1200, label="0.c")
        for column, axes in enumerate(figure.axes):
            np.testing.assert_allclose(axes.lines[0].get_xydata(), np.column_stack([offsets, mean[:, column]]))
            assert axes.lines[1].get_xdata()[0] == 0
            band = only(PolyCollection, axes.collections)[0].get_paths()[0].vertices
            at = band[band[:, 0] == -2, 1]
            np.testing.assert_allclose((at.min(), at.max()), mean[2, column] + np.asarray([-1, 1]) * spread[2, column])
        assert [axes.get_title(loc="left") for axes in figure.axes] == ["unit 8", "unit 9"]
        assert figure.get_supxlabel() == "steps from a quote (1,200 of them)"
        assert legends(figure) == ["± standard deviation", "mean", "a quote"]
        drawn(figure)

    def test_of_many_units_a_heat_map_with_a_rule_before_the_event(self):
        mean = rng().normal(size=(6, 300))
        figure = figures.around(np.arange(-2, 4), mean, mean * 0)
        np.testing.assert_array_equal(figure.axes[0].images[0].get_array(), mean.T)
        assert figure.axes[0].lines[0].get_xdata()[0] == 1.5
        assert [tick.get_text() for tick in figure.axes[0].get_xticklabels()] == ["-2", "-1", "0", "+1", "+2", "+3"]

    @pytest.mark.parametrize("mean", [np.zeros((3, 1)), np.full((3, 2), np.nan), np.zeros((1, 1))])
    def test_bears_constants_and_broken_values(self, mean):
        drawn(figures.around(np.arange(len(mean)), mean, mean))

    @pytest.mark.parametrize(
        ("offsets", "shape", "message"),
        [
            ([0], (0, 1), r"shape \[0, 1\]"),
            ([0], (2, 1), r"offsets of shape \[1\]"),
            ([1, 0], (2, 1), "above the one before"),
        ],
    )
    def test_refuses(self, offsets, shape, message):
        with pytest.raises(InputError, match=message):
            figures.around(offsets, np.zeros(shape), np.zeros(shape))


def everything(recorded):
    """A figure of every kind."""
    recorded = {name: values[:60] for name, values in recorded.items()}
    symbols, h = list(TEXT[:60]), recorded["h"]
    yield figures.passage(symbols, h[:, :2])
    yield figures.gates({name: values[:, 0] for name, values in recorded.items()}, symbols=symbols)
    yield figures.saturation({name: recorded[name] for name in "ifo"})
    yield figures.trajectories(h, symbols=symbols)
    yield figures.trajectories(h, groups=[symbol in "aeiou" for symbol in symbols])
    yield figures.weights({"h": h.T})
    yield figures.spectrum({"h": h[:8]})
    yield figures.film_strip(np.stack([h, h]), [0, 1], symbols=symbols)
    yield figures.atlas(h[:, 0])
    yield figures.credit(np.arange(5), h[:5, 0] ** 2, h[:5, 0] ** 2, h[:5, 0] ** 2)
    yield figures.averages(["a", "b"], h[:2], abs(h[:2]))
    yield figures.around(np.arange(5), h[:5], abs(h[:5]))


@pytest.mark.slow
def test_figures_are_the_same_each_time(recorded):
    for first, second in zip(*(islice(everything(recorded), 0, None, 3) for _ in range(2)), strict=True):
        assert figures.svg(first) == figures.svg(second)


@pytest.mark.slow
def test_nothing_written_leaves_the_page_or_lies_on_other_writing(recorded):
    for figure in everything(recorded):
        figure.canvas.draw()
        page = figure.bbox.padded(1.5)
        for axes in figure.axes:
            if not axes.axison:
                continue
            box = axes.get_tightbbox()
            assert page.x0 <= box.x0 and box.x1 <= page.x1 and page.y0 <= box.y0 and box.y1 <= page.y1, figure
            for axis in (axes.xaxis, axes.yaxis):
                boxes = [tick.get_window_extent() for tick in axis.get_ticklabels() if tick.get_text()]
                boxes = [box for box in boxes if axes.bbox.padded(3).overlaps(box) or box.overlaps(page)]
                assert not any(a.shrunk(0.9, 0.9).overlaps(b.shrunk(0.9, 0.9)) for a, b in pairwise(boxes)), axes
