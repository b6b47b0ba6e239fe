"""Figures: what is drawn, that it is the same each time, and that odd input neither breaks nor misleads."""

from __future__ import annotations

import sys
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest

from rnnjax import figures
from rnnjax.config import InputError

STEPS = np.arange(0, 500, 10)


def legend(figure):
    return [text.get_text() for text in figure.axes[0].get_legend().get_texts()]


def data_lines(figure):
    return [line for line in figure.axes[0].lines if ": " in str(line.get_label())]


def ticks(figure):
    return [label.get_text() for label in figure.axes[0].get_xticklabels()]


def test_rows_of_chosen_units_carry_their_numbers():
    figure = figures.heatmap(np.eye(3), numbers=[7, 12, 31])
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["7", "12", "31"]
    with pytest.raises(InputError, match="2 numbers for 3 units"):
        figures.heatmap(np.eye(3), numbers=[1, 2])


def test_curves_shows_every_series_with_its_last_value():
    figure = figures.curves(
        {"loss": (STEPS, np.exp(-STEPS / 100)), "validation_loss": (STEPS[::5], STEPS[::5] * 0 + 1.5)}
    )
    assert legend(figure) == [f"loss: {np.exp(-4.9):.4g}", "validation_loss: 1.5"]
    np.testing.assert_array_equal(data_lines(figure)[0].get_xdata(), STEPS)
    assert figure.axes[0].get_xlabel() == "step"
    assert figure.axes[0].get_ylabel() == "nats per symbol"


def test_series_differ_in_more_than_colour():
    figure = figures.curves({str(n): (STEPS, STEPS + n) for n in range(28)})
    drawn = data_lines(figure)
    dashes = [str(vars(line)["_dash_pattern"]) for line in drawn]
    assert len({(line.get_color(), dash) for line, dash in zip(drawn, dashes, strict=True)}) == 28
    assert all(dashes[n] != dashes[n + 1] for n in range(27))


def test_reference_is_in_view():
    figure = figures.curves({"loss": (STEPS, STEPS * 0 + 1.0)}, reference={"uniform guess": 4.17})
    low, high = figure.axes[0].get_ylim()
    assert low < 1.0 < 4.17 < high
    assert "uniform guess: 4.17" in figures.svg(figure)


@pytest.mark.parametrize(("low", "high"), [(1.31, 1.33), (1.2, 4.2), (1e-5, 1e-3), (1e-9, 1.0)])
def test_log_axis_always_has_labels_enough_to_read(low, high):
    figure = figures.curves({"rate": (STEPS, np.geomspace(low, high, len(STEPS)))}, log=True)
    figures.svg(figure)
    axis = figure.axes[0].yaxis
    low, high = figure.axes[0].get_ylim()
    assert axis.get_scale() == "log"
    assert 2 <= sum(low <= tick <= high for tick in axis.get_majorticklocs()) <= 12


def test_log_axis_needs_a_value_above_zero():
    figure = figures.curves({"loss": (STEPS, -1.0 - STEPS)}, log=True)
    assert figure.axes[0].get_yscale() == "linear"
    figures.svg(figure)


@pytest.mark.parametrize("values", [[], [np.nan, np.nan], [1.0], [np.inf, 2.0], [1.0, -np.inf, 3.0]])
@pytest.mark.parametrize("log", [False, True])
def test_curves_bear_few_and_broken_values(values, log):
    figure = figures.curves({"loss": (np.arange(len(values)), values)}, log=log)
    assert figures.svg(figure).startswith("<svg")
    assert ("nothing logged yet" in figures.svg(figure)) == (not np.any(np.isfinite(values)))


def test_no_series_at_all():
    assert "nothing logged yet" in figures.svg(figures.curves({}))


def test_thinning_keeps_ends_extremes_and_gaps():
    x = np.arange(200_000)
    y = np.sin(x / 5000)
    y[77_777], y[111_111], y[150_000:150_900] = 9.0, -9.0, np.nan
    line = data_lines(figures.curves({"loss": (x, y)}))[0]
    seen_x, seen_y = np.asarray(line.get_xdata()), np.asarray(line.get_ydata())
    assert len(seen_x) < 4000
    assert (seen_x[0], seen_x[-1], np.nanmax(seen_y), np.nanmin(seen_y)) == (0, x[-1], 9.0, -9.0)
    assert np.any(np.isnan(seen_y[(seen_x >= 150_000) & (seen_x < 150_900)]))
    assert np.all(np.diff(seen_x) > 0)


@pytest.mark.parametrize("pair", [(STEPS, STEPS[1:]), (STEPS[:, None], STEPS[:, None]), (3, 4)])
def test_curves_refuse_other_shapes(pair):
    with pytest.raises(InputError, match="series 'loss' has steps"):
        figures.curves({"loss": pair})


def test_text_with_dollar_signs_stays_text():
    figure = figures.curves({"$a$ <b>": (STEPS, STEPS)}, reference={"$\\oops$": 1.0})
    assert legend(figure)[0].startswith("$a$ <b>")
    ElementTree.fromstring(figures.svg(figure))
    figures.png(figures.heatmap(np.eye(2), symbols=["$$", "$x$"]))


def test_heatmap_is_centred_and_labelled():
    values = np.linspace(-0.5, 2.0, 40).reshape(4, 10)
    figure = figures.heatmap(values, symbols=list("to be␣or⏎x"), label="h")
    image = figure.axes[0].images[0]
    assert image.get_clim() == (-2.0, 2.0)
    np.testing.assert_allclose(image.cmap(0.5)[:3], [0.97, 0.97, 0.97], atol=0.01)
    assert ticks(figure) == list("to␣be␣or⏎x")
    assert figure.axes[1].get_ylabel() == "h"


def test_labels_too_many_for_their_columns_give_way_to_numbers():
    assert ticks(figures.heatmap(np.zeros((3, 100)), symbols=["x"] * 100)) == ["x"] * 100
    assert "x" not in ticks(figures.heatmap(np.zeros((3, 1000)), symbols=["x"] * 1000))


def test_long_symbols_stand_upright():
    figure = figures.heatmap(np.zeros((3, 30)), symbols=["yesterday"] * 30)
    assert {label.get_rotation() for label in figure.axes[0].get_xticklabels()} == {90.0}


def test_limit_is_the_callers_and_what_exceeds_it_shows():
    image = figures.heatmap([[-0.2, 3.0]], limit=1.0).axes[0].images[0]
    assert image.get_clim() == (-1.0, 1.0)
    assert image.colorbar is not None
    assert image.colorbar.extend == "max"


@pytest.mark.parametrize("values", [[[0.0, 0.0]], [[np.nan, 1.0]], [[np.nan]], [[np.inf, -np.inf]]])
def test_heatmap_bears_zeros_and_broken_values(values):
    figure = figures.heatmap(values)
    assert figure.axes[0].images[0].get_clim() == (-1.0, 1.0)
    figures.svg(figure)


@pytest.mark.parametrize(
    ("values", "options", "message"),
    [
        (np.zeros(3), {}, r"shape \[3\]"),
        (np.zeros((0, 3)), {}, r"shape \[0, 3\]"),
        (np.zeros((2, 3)), {"symbols": ["a"]}, "1 symbols for 3 time steps"),
        (np.zeros((2, 3)), {"limit": 0.0}, "limit is 0.0"),
    ],
)
def test_heatmap_refuses(values, options, message):
    with pytest.raises(InputError, match=message):
        figures.heatmap(values, **options)


def test_symbols_in_scripts_the_font_lacks_stay_in_the_svg():
    text = figures.svg(figures.heatmap(np.eye(3), symbols=["𐎀", "語", "\U0001f600"]))
    assert all(symbol in text for symbol in ("𐎀", "語", "\U0001f600"))


def test_output_is_well_formed_and_the_same_each_time():
    def make():
        return figures.heatmap(np.eye(5), symbols=list("a<b&c"))

    assert figures.svg(make()) == figures.svg(make())
    assert ElementTree.fromstring(figures.svg(make())).tag.endswith("svg")
    assert figures.png(make()) == figures.png(make())
    assert figures.png(make()).startswith(b"\x89PNG\r\n\x1a\n")
    assert len(figures.png(make(), dpi=220)) > len(figures.png(make()))


def test_neither_pyplot_nor_the_global_style_is_touched():
    before = dict(matplotlib.rcParams)
    had_pyplot = "matplotlib.pyplot" in sys.modules
    figures.svg(figures.curves({"loss": (STEPS, STEPS)}))
    assert dict(matplotlib.rcParams) == before
    assert ("matplotlib.pyplot" in sys.modules) == had_pyplot
