"""The page of a sweep: what it carries is what was given, and the real page, driven in Chromium from disk."""

from __future__ import annotations

import base64
import csv
import gzip
import io
import json
import re
from functools import partial

import numpy as np
import pytest
from browsing import HOSTILE, chromium, opened_until, settled

from rnnjax.benchmarks.sweep_page import curves as lines
from rnnjax.benchmarks.sweep_page import made
from rnnjax.config import InputError
from rnnjax.report.sweep import sweep_page

TYPES = {"i1": np.int8, "i2": np.int16, "i4": np.int32, "f4": np.float32, "f8": np.float64}
SIGNS = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 576 288"><text>drawn</text></svg>'


COUNT = 400


def carried(text):
    """What a page carries: its JSON, and a function that reads an array."""
    content = json.loads(re.findall(r'id="members-content">(.*?)</script>', text)[0])
    arrays = gzip.decompress(base64.b64decode(re.findall(r'id="members-arrays">(.*?)</script>', text)[0]))
    return content, lambda place, dtype: np.frombuffer(arrays, np.dtype(dtype).newbyteorder("<"), place[1], place[0])


def numbers(text):
    """Every column that a page carries, by its name."""
    content, read = carried(text)
    return {column["name"]: read(column["data"], column["type"]).astype(float) for column in content["columns"]}


# ---- what the page carries


def test_numbers_are_carried_exactly():
    table = made(300)
    found = numbers(sweep_page("x", {}, table))
    assert list(found) == list(table)
    for name in ("member", "seed", "train.learning_rate", "steps", "seconds", "loss", "validation_loss"):
        np.testing.assert_array_equal(found[name], np.asarray(table[name], float))
    np.testing.assert_array_equal(found["train.clip_norm"], np.asarray(table["train.clip_norm"], float))


@pytest.mark.parametrize(
    ("values", "dtype", "names"),
    [
        ([1, 2, 127], "i1", None),
        ([1, 128], "i2", None),
        ([1, 2**31 - 1], "i4", None),
        ([1, 2**31], "f4", None),
        ([1, 2**31 + 1], "f8", None),
        ([1, None], "f4", None),
        ([0.5, float("nan"), float("-inf")], "f4", None),
        ([0.1], "f8", None),
        ([1, 2**53 + 1], "i1", ["1", "9007199254740993"]),
        (np.asarray([3, 2**63 - 1]), "i1", ["3", "9223372036854775807"]),
        ([True, False, True], "i1", ["true", "false"]),
        (["b", "a", "b", None], "f4", ["b", "a"]),
        (np.asarray(["b", "a"]), "i1", ["b", "a"]),
        ([1, "auto", 0.5, True], "i1", ["1", "auto", "0.5", "true"]),
        ([None, None], "f4", None),
    ],
)
def test_a_column_takes_what_it_needs(values, dtype, names):
    text = sweep_page("x", {}, {"member": range(len(values)), "train.k": values, "status": ["finished"] * len(values)})
    column = carried(text)[0]["columns"][1]
    assert (column["type"], column.get("names"), column["role"]) == (dtype, names, "choice")


def test_columns_are_told_apart_by_where_they_stand():
    roles = {column["name"]: column["role"] for column in carried(sweep_page("x", {}, made(9)))[0]["columns"]}
    assert [name for name, role in roles.items() if role == "choice"] == [
        "seed",
        *("train.learning_rate", "train.activity_l1", "model.cell", "train.clip_norm", "train.batch"),
    ]
    assert [name for name, role in roles.items() if role == "metric"] == ["loss", "accuracy", "validation_loss"]


def test_curves_are_within_half_a_level():
    table = made(40)
    given = lines(table)
    content, read = carried(sweep_page("x", {}, table, curves=given))
    curves = content["curves"]
    points = curves["points"]
    grids = read(curves["grids"], "i4").reshape(-1, points)[read(curves["grid"], "i4")]
    metric = curves["metrics"]["loss"]
    assert metric["log"] and curves["stride"] == 1
    levels = read(metric["levels"], "i1").reshape(-1, points).astype(float)
    scale, offset = (read(metric[part], "f4")[:, None].astype(float) for part in ("scale", "offset"))
    for member in range(40):
        mine = given["member"] == member
        taken = levels[member] > -128
        assert grids[member][taken].tolist() == given["step"][mine].tolist()
        found = (offset + scale * levels)[member][taken]
        assert np.abs(found - np.log(given["loss"][mine])).max() <= 0.51 * scale[member, 0] + 1e-6


def test_long_curves_are_thinned_and_keep_their_ends():
    count = 1001
    given = {"member": [3] * count, "step": range(count), "loss": np.linspace(2, 1, count)}
    content, read = carried(sweep_page("x", {}, {"member": [3], "loss": [1.0]}, curves=given))
    steps = read(content["curves"]["grids"], "i4")
    assert content["curves"]["stride"] == 6 and len(steps) <= 200
    assert steps[0] == 0 and steps[-1] == 1000 and set(np.diff(steps[:-1])) == {6}


def test_curves_of_others_are_left_out():
    given = {"member": [7, 8], "step": [1, 1], "loss": [1.0, 2.0]}
    assert carried(sweep_page("x", {}, {"member": [3]}, curves=given))[0]["curves"] is None


def test_the_metric_that_counts():
    table = made(50)
    assert carried(sweep_page("x", {}, table))[0]["metric"] == "validation_loss"
    assert carried(sweep_page("x", {"best": {"metric": "accuracy"}}, table))[0]["metric"] == "accuracy"
    assert carried(sweep_page("x", {}, {"member": [1], "loss": [0.5]}))[0]["metric"] == "loss"
    assert carried(sweep_page("x", {}, {"member": [1], "loss": [None]}))[0]["metric"] is None


def test_the_headline_names_the_best_that_did_not_diverge():
    table = {"member": [4, 5, 6], "program": [0, 0, 1], "status": ["finished", "diverged", "finished"]}
    table |= {"steps": [10, 10, 10], "seconds": [2.0, 2.0, 2.0], "loss": [0.5, 0.1, 0.25], "accuracy": [0.5, 0.9, 0.75]}
    text = re.sub(r"<[^>]+>", " ", sweep_page("x", {}, table).split("<section")[0].split("headline")[-1])
    assert re.sub(r"\s+", " ", text).strip() == (
        '"> best loss 0.25 member 6 members 3 1 diverged programs 2 member-steps 30 time 6 s'
    )
    text = sweep_page("x", {"best": {"metric": "accuracy", "mode": "max"}}, table)
    assert 'title="0.75">0.75</dd><dd class="note">member 6<' in text


@pytest.mark.parametrize(
    ("table", "curves", "what"),
    [
        ({"loss": [1.0]}, None, "no column 'member'"),
        ({"member": [1, 2], "loss": [1.0]}, None, "column 'loss' has 1 rows"),
        ({"member": [1]}, {"member": [1]}, "no column 'step'"),
        ({"member": [1]}, {"member": [1], "step": [1, 2]}, "column 'step' has 2 rows"),
    ],
)
def test_what_does_not_fit_is_refused(table, curves, what):
    with pytest.raises(InputError, match=what):
        sweep_page("x", {}, table, curves=curves)


def test_the_page_loads_nothing_and_is_the_same_each_time():
    table = made(20)
    content = ("x", {"seconds": 3.0}, table, {"Drawn": SIGNS, "Told": (SIGNS, "of it")}, lines(table), ["a note"])
    text = sweep_page(*content)
    assert text == sweep_page(*content)
    assert not re.search(
        r"@import|url\(|https?:|fetch\(|XMLHttpRequest", re.sub("http://www.w3.org/2000/svg", "", text)
    )
    assert re.findall('<section id="(.*?)"', text) == ["members", "notes", "figures", "summary"]
    assert text.count('width="768" height="384"') == 2 and "<strong>Told</strong> of it" in text


def test_ten_thousand_members_are_small():
    table = made(10_000, extra=5)
    assert len(table) == 20
    assert len(sweep_page("x", {}, table, curves=lines(table)).encode()) < 3e6


# ---- the real page


@pytest.fixture(scope="module")
def browser():
    yield from chromium()


@pytest.fixture(scope="module")
def table():
    return made(COUNT)


@pytest.fixture(scope="module")
def file(tmp_path_factory, table):
    summary = {"status": "finished", "path": "runs/my sweep"}
    return stored(tmp_path_factory, "sweep", summary, table, {"Drawn": SIGNS}, lines(table), ["A note."])


def stored(factory, *content):
    path = factory.mktemp("page") / "report.html"
    path.write_text(sweep_page(*content), encoding="utf-8")
    return path


opened = partial(opened_until, "#member :is(h3, p)")


@pytest.fixture(scope="module")
def calm(browser, file):
    """One tab for what only computes."""
    with opened(browser, file) as tab:
        yield tab


def shown(tab, column=0):
    """The texts of a column of the table, of the rows that are there."""
    rows = tab.locator("#rows tbody tr:not(.spacer)")
    return rows.locator(f":is(th, td):nth-child({column + 1})").all_inner_texts()


def kept(tab):
    return tab.evaluate("[...members.kept.rows].map((row) => members.columnOf('member').numbers[row])")


def filters(tab):
    return dict(tab.evaluate("[...members.state.filters]"))


def member(tab):
    return int(tab.locator("#member h3").inner_text().split("\n")[0].split()[1])


def head(tab, name):
    return tab.get_by_role("columnheader", name=re.compile(f"^{re.escape(name)}[▲▼]?$")).get_by_role("button")


def test_the_page_tells_what_it_shows(browser, file, table):
    order = np.argsort(np.where(np.isnan(table["validation_loss"]), np.inf, table["validation_loss"]), kind="stable")
    with opened(browser, file) as tab:
        assert tab.locator("#sweep-message").is_hidden()
        assert tab.locator("#counted").inner_text() == "400 members"
        assert [int(text) for text in shown(tab)[:10]] == order[:10].tolist()
        best = int(order[0])
        assert member(tab) == best
        assert "the best of" in tab.locator("#member h3").inner_text()
        assert tab.locator(".commands code").all_inner_texts() == [
            f"rnnjax {verb} 'runs/my sweep:{best}'" for verb in ("run", "show", "view")
        ]
        assert tab.locator("#same").inner_text() == "The same in all: train.batch 30, seconds 12.25."
        heads = tab.locator(".heads button").all_inner_texts()
        assert heads[0] == "seed" and heads[-1] == "validation_loss"
        assert tab.locator("#member svg path.own").count() == 2


def test_the_page_decodes_the_columns(calm, table):
    for name in ("train.learning_rate", "train.clip_norm", "loss", "steps"):
        found = calm.evaluate("(name) => [...members.columnOf(name).numbers].map(String)", name)
        np.testing.assert_array_equal(np.asarray(found, float), np.asarray(table[name], float))
    found = calm.evaluate("""() => { const { names, numbers } = members.columnOf("model.cell");
        return [...numbers].map((place) => names[place]); }""")
    assert found == table["model.cell"]


def test_curves_come_back(calm, table):
    given = lines(table)
    for one in (0, 17, COUNT - 1):
        pairs = calm.evaluate(f"members.curvesOf({one}).get('loss')")
        mine = given["member"] == one
        np.testing.assert_array_equal([step for step, _ in pairs], given["step"][mine])
        np.testing.assert_allclose([value for _, value in pairs], given["loss"][mine], rtol=0.01)


RATES = {"0.001..0.01": lambda x: (x >= 0.001) & (x <= 0.01), "..1e-3": lambda x: x <= 1e-3, ">.05": lambda x: x > 0.05}
RATES |= {"!<=0.01": lambda x: ~(x <= 0.01), "<2e-4, 0.05..": lambda x: (x < 2e-4) | (x >= 0.05)}
CLIPS = {"none": np.isnan, "!none": lambda x: ~np.isnan(x), "none,>4": lambda x: np.isnan(x) | (x > 4)}


@pytest.mark.parametrize(
    ("name", "text", "wanted"),
    [
        *(("train.learning_rate", text, wanted) for text, wanted in RATES.items()),
        *(("train.clip_norm", text, wanted) for text, wanted in CLIPS.items()),
        ("train.activity_l1", "0,1e-4", lambda x: (x == 0) | (x == 1e-4)),
        ("seed", "3,7..9", lambda x: (x == 3) | ((x >= 7) & (x <= 9))),
        ("model.cell", "el,GR", lambda x: (x == "elman") | (x == "gru")),
        ("model.cell", "=lstm", lambda x: x == "lstm"),
        ("model.cell", "=lst", lambda x: x == "nothing"),
        ("model.cell", '=["lstm","gru"]', lambda x: x != "elman"),
        ("status", "!diverged", lambda x: x != "diverged"),
    ],
)
def test_filters_are_those_of_numpy(calm, table, name, text, wanted):
    ask = """([name, text]) => { const column = members.columnOf(name), { passes } = members.understood(column, text);
        return [...column.numbers].map((number) => Boolean(passes(number))); }"""
    values = np.asarray(table[name]) if isinstance(table[name][0], str) else np.asarray(table[name], float)
    assert calm.evaluate(ask, [name, text]) == wanted(values).tolist()


@pytest.mark.parametrize("text", ["a", "1..b", "..", "<", "1 2", "!", "1,,x"])
def test_filters_that_say_nothing(calm, text):
    assert calm.evaluate("(text) => members.understood(members.columnOf('loss'), text)", text) is None


def test_what_is_read_off_the_table_finds_its_member(calm, table):
    ask = """(text) => { const column = members.columnOf("train.learning_rate");
        return members.understood(column, text).passes(column.numbers[5]); }"""
    assert calm.evaluate(ask, f"{table['train.learning_rate'][5]:.4g}")


def test_columns_are_sorted_by_mouse_and_keys(browser, file, table):
    rate = np.asarray(table["train.learning_rate"])
    with opened(browser, file) as tab:
        head(tab, "train.learning_rate").click()
        assert kept(tab) == np.argsort(rate).tolist()
        assert tab.locator("th[aria-sort]").get_attribute("aria-sort") == "ascending"
        head(tab, "train.learning_rate").press("Enter")
        assert kept(tab) == np.argsort(-rate).tolist()
        assert tab.locator("th[aria-sort]").get_attribute("aria-sort") == "descending"
        head(tab, "model.cell").press("Space")
        assert kept(tab) == np.lexsort((-rate, table["model.cell"])).tolist()
        head(tab, "accuracy").click()
        accuracy = table["accuracy"]
        assert kept(tab)[0] == np.nanargmax(accuracy) and np.isnan(accuracy[kept(tab)[-1]])
        head(tab, "accuracy").click()
        assert np.isnan(accuracy[kept(tab)[-1]])


def test_columns_are_filtered(browser, file, table):
    rate, cell = np.asarray(table["train.learning_rate"]), np.asarray(table["model.cell"])
    with opened(browser, file) as tab:
        tab.get_by_label("Filter train.learning_rate").press_sequentially("0.001..0.01")
        tab.get_by_label("Filter model.cell").fill("gru")
        wanted = np.flatnonzero((rate >= 0.001) & (rate <= 0.01) & (cell == "gru"))
        assert sorted(kept(tab)) == wanted.tolist()
        assert tab.locator("#counted").inner_text() == f"{len(wanted)} of 400 members"
        assert set(shown(tab, 5)) == {"gru"}
        tab.get_by_label("Filter loss", exact=True).fill("0.1..x")
        assert tab.get_by_label("Filter loss", exact=True).get_attribute("aria-invalid") == "true"
        assert sorted(kept(tab)) == wanted.tolist()
        tab.get_by_label("Remove the filter of model.cell").click()
        assert len(kept(tab)) == ((rate >= 0.001) & (rate <= 0.01)).sum()
        assert tab.get_by_label("Filter model.cell").input_value() == ""
        tab.get_by_label("Filter model.cell").fill("no such cell")
        assert tab.locator("#rows tbody").inner_text() == "No member passes all filters."
        assert "left out by the filters" in tab.locator("#member h3").inner_text()
        tab.get_by_role("button", name="Clear all").click()
        assert len(kept(tab)) == COUNT and filters(tab) == {}


def test_only_the_rows_in_sight_exist(browser, file, table):
    with opened(browser, file) as tab:
        assert 15 < len(shown(tab)) < 60
        assert tab.locator("#rows table").get_attribute("aria-rowcount") == str(COUNT + 2)
        tab.evaluate("document.getElementById('rows').scrollTop = 1e9")
        settled(tab)
        assert int(shown(tab)[-1]) == kept(tab)[-1] and len(shown(tab)) < 60
        assert tab.locator("#rows tbody tr").last.get_attribute("aria-rowindex") == str(COUNT + 2)


def strip(tab, name):
    """The place of an axis on the screen: its middle, its top and its bottom."""
    axis = tab.evaluate("members.state.axes").index(name)
    tab.locator("#parallel").scroll_into_view_if_needed()
    box = tab.locator(".strips div").nth(axis).bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + 12, box["y"] + 12 + 268


def drag(tab, *places):
    tab.mouse.move(*places[0])
    tab.mouse.down()
    for place in places[1:]:
        tab.mouse.move(*place, steps=4)
    tab.mouse.up()


def test_an_axis_is_brushed(browser, file, table):
    rate = np.asarray(table["train.learning_rate"])
    with opened(browser, file) as tab:
        x, top, bottom = strip(tab, "train.learning_rate")
        drag(tab, (x, top + 67), (x, top + 134))
        low, high = map(float, filters(tab)["train.learning_rate"].split(".."))
        least, greatest = np.log10(rate.min()), np.log10(rate.max())
        assert np.log10([low, high]) == pytest.approx(
            [(least + greatest) / 2, least + 0.75 * (greatest - least)], abs=0.03
        )
        assert sorted(kept(tab)) == np.flatnonzero((rate >= low) & (rate <= high)).tolist()
        x, top, bottom = strip(tab, "model.cell")
        drag(tab, (x, top), (x, top + 60))
        assert filters(tab)["model.cell"] == "=lstm"
        assert set(shown(tab, 5)) == {"lstm"}
        x, top, bottom = strip(tab, "train.clip_norm")
        drag(tab, (x, bottom + 12), (x, bottom + 25))
        assert filters(tab)["train.clip_norm"] == "none" and set(shown(tab, 6)) == {"–"}
        x, top, bottom = strip(tab, "model.cell")
        tab.mouse.click(x, top + 130)
        assert set(filters(tab)) == {"train.learning_rate", "train.clip_norm"}


def test_members_that_exploded_stand_at_the_end_of_their_axis(calm, table):
    ask = """(number) => { const { share, beyond } = members.axisOf(members.columnOf("validation_loss"));
        return [share(number), beyond.high, beyond.low]; }"""
    loss = table["validation_loss"]
    most = np.nanmax(loss[loss < 100])
    assert calm.evaluate(ask, 1e8)[0] == 1 and calm.evaluate(ask, float(np.nanmin(loss)))[0] == 0
    assert calm.evaluate(ask, 1.0)[1:] == [pytest.approx(most), None]


def test_a_brush_to_the_end_of_an_axis_takes_what_is_beyond(browser, file, table):
    loss = table["validation_loss"]
    with opened(browser, file) as tab:
        x, top, _ = strip(tab, "validation_loss")
        drag(tab, (x, top + 60), (x, top - 5))
        low, high = filters(tab)["validation_loss"].split("..")
        assert high == "" and sorted(kept(tab)) == np.flatnonzero(loss >= float(low)).tolist()
        assert loss[kept(tab)].max() > 1e6


def test_a_line_and_a_dot_are_clicked(browser, file, table):
    one = int(np.flatnonzero(np.isfinite(table["loss"]))[77])
    with opened(browser, file) as tab:
        settled(tab)
        tab.locator("#parallel").scroll_into_view_if_needed()
        place = "(row) => [members.parallel.gap, members.parallel.places.map((place) => place[row])]"
        gap, down = tab.evaluate(place, 99)
        box = tab.locator("#parallel .marks").bounding_box()
        tab.mouse.click(box["x"] + 44 + 0.4 * gap, box["y"] + 0.6 * down[0] + 0.4 * down[1])
        near = member(tab)
        gap, down_near = tab.evaluate(place, near)
        assert abs(0.6 * (down_near[0] - down[0]) + 0.4 * (down_near[1] - down[1])) < 2
        x, y = tab.evaluate(f"[members.scatter.at.xs[{one}], members.scatter.at.ys[{one}]]")
        tab.locator("#scatter .marks").scroll_into_view_if_needed()
        box = tab.locator("#scatter .marks").bounding_box()
        tab.mouse.move(box["x"] + x, box["y"] + y)
        tab.locator("#pointed", has_text=f"member {one} ").wait_for()
        tab.mouse.click(box["x"] + x, box["y"] + y)
        assert member(tab) == one
        settled(tab)
        assert tab.locator('#rows tr[aria-selected="true"] th').inner_text() == str(one)


def test_a_rectangle_of_dots_is_kept(browser, file):
    with opened(browser, file) as tab:
        settled(tab)
        tab.locator("#scatter .marks").scroll_into_view_if_needed()
        box = tab.locator("#scatter .marks").bounding_box()
        xs, ys = (np.asarray(tab.evaluate(f"[...members.scatter.at.{axis}]"), float) for axis in ("xs", "ys"))
        (left, right), (top, bottom) = np.nanquantile(xs, [0.3, 0.6]), np.nanquantile(ys, [0.2, 0.8])
        drag(tab, (box["x"] + left, box["y"] + top), (box["x"] + right, box["y"] + bottom))
        assert set(filters(tab)) == {"train.learning_rate", "validation_loss"}
        inside = np.flatnonzero((xs >= left + 1) & (xs <= right - 1) & (ys >= top + 1) & (ys <= bottom - 1))
        around = np.flatnonzero((xs >= left - 1) & (xs <= right + 1) & (ys >= top - 1) & (ys <= bottom + 1))
        assert set(inside) <= set(kept(tab)) <= set(around) and len(inside) > 20


def test_other_columns_are_compared(browser, file, table):
    with opened(browser, file) as tab:
        tab.select_option("#pick-x", label="model.cell")
        tab.select_option("#pick-y", label="accuracy")
        tab.select_option("#pick-colour", label="model.cell")
        settled(tab)
        assert "model.cell across, accuracy up" in tab.locator("#scatter .lines").get_attribute("aria-label")
        assert tab.locator(".scale").inner_text().split() == ["elman", "gru", "lstm"]
        tab.locator(".heads button", has_text="seed").click()
        assert tab.locator("#pick-colour option:checked").inner_text() == "seed"
        tab.locator("#by-rank").click()
        rate = np.asarray(table["train.learning_rate"])
        found = tab.evaluate("""() => { const column = members.columnOf("train.learning_rate");
            return [...column.numbers].map(members.axisOf(column).share); }""")
        np.testing.assert_allclose(found, np.argsort(np.argsort(rate)) / (len(rate) - 1), atol=1e-6)


def test_axes_are_chosen(browser, file):
    with opened(browser, file) as tab:
        tab.locator("#pick-axes").click()
        tab.locator("#axes label", has_text="accuracy").click()
        tab.locator("#axes label", has_text="seed").click()
        axes = tab.evaluate("members.state.axes")
        assert axes[-2:] == ["accuracy", "validation_loss"] and "seed" not in axes
        assert tab.locator(".heads button").count() == len(axes)


def test_axes_are_moved(browser, file):
    with opened(browser, file) as tab:
        before = tab.evaluate("members.state.axes")
        gap = tab.evaluate("members.parallel.gap")
        tab.locator("#parallel").scroll_into_view_if_needed()
        box = tab.locator(".heads button").nth(1).bounding_box()
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        drag(tab, (x, y), (x + 2 * gap, y))
        settled(tab)
        moved = [before[0], *before[2:4], before[1], *before[4:]]
        assert tab.evaluate("members.state.axes") == moved
        assert tab.evaluate("members.state.colour") == "validation_loss"
        assert tab.evaluate("document.activeElement.innerText.replace(/\\s/g, '')") == before[1]
        for _ in range(2):
            tab.keyboard.press("Shift+ArrowLeft")
        assert tab.evaluate("members.state.axes") == before


def test_columns_that_do_not_differ_are_hidden(browser, file, table):
    with opened(browser, file) as tab:
        names = tab.locator("#rows thead th").all_inner_texts()
        assert "train.batch" not in names and "seconds" not in names and len(names) == len(table) - 2
        tab.locator("#only-changed").click()
        assert set(tab.locator("#rows thead th").all_inner_texts()) >= {"train.batch", "seconds"}
        assert tab.locator("#member .facts", has_text="train.batch").count() == 1


def test_the_table_is_downloaded_as_it_is_shown(browser, file, table):
    with opened(browser, file) as tab:
        tab.get_by_label("Filter status").fill("diverged")
        with tab.expect_download() as waiting:
            tab.locator("#save").click()
        assert waiting.value.suggested_filename == "sweep.csv"
        rows = list(csv.DictReader(io.StringIO(waiting.value.path().read_text("utf-8"))))
        assert [int(row["member"]) for row in rows] == kept(tab)
    assert list(rows[0]) == list(table)
    for row in rows:
        one = int(row["member"])
        assert float(row["train.learning_rate"]) == table["train.learning_rate"][one]
        assert row["model.cell"] == table["model.cell"][one]
        assert row["train.clip_norm"] == "" if table["train.clip_norm"][one] is None else float(row["train.clip_norm"])
        assert row["loss"] == "" if np.isnan(table["loss"][one]) else float(row["loss"]) == table["loss"][one]


def test_keys(browser, file):
    with opened(browser, file) as tab:
        order = kept(tab)
        tab.locator("#rows table").focus()
        for key, place in (
            ("ArrowDown", 1),
            ("j", 2),
            ("k", 1),
            ("ArrowUp", 0),
            ("ArrowUp", 0),
            ("PageDown", 10),
            ("End", COUNT - 1),
            ("j", COUNT - 1),
            ("Home", 0),
            ("End", COUNT - 1),
            ("b", 0),
        ):
            tab.keyboard.press(key)
            assert member(tab) == order[place], key
        tab.keyboard.press("/")
        tab.keyboard.type("<1")
        assert filters(tab) == {"validation_loss": "<1"}
        tab.keyboard.press("Escape")
        assert filters(tab) == {}
        assert tab.evaluate("document.activeElement.tagName") == "TABLE"
        tab.keyboard.press("r")
        assert tab.locator("#by-rank").get_attribute("aria-pressed") == "true"
        tab.keyboard.press("?")
        assert "numbers from the one to the other" in tab.locator("#keys").inner_text()
        tab.keyboard.press("Escape")
        assert tab.locator("#keys").is_hidden()


def test_keys_outside_the_members_are_left_alone(browser, file):
    with opened(browser, file) as tab:
        before = member(tab)
        tab.keyboard.press("ArrowDown")
        tab.locator(".home").focus()
        tab.keyboard.press("j")
        assert member(tab) == before


def test_the_address_brings_the_view_back(browser, file):
    look = "(({ filters, ...rest }) => ({ ...rest, filters: [...filters] }))(members.state)"
    with opened(browser, file) as tab:
        tab.get_by_label("Filter model.cell").fill("=gru,lstm")
        head(tab, "seed").click()
        tab.select_option("#pick-x", label="seed")
        tab.locator("#by-rank").click()
        tab.locator("#only-changed").click()
        tab.locator("#rows tbody tr").nth(3).click()
        tab.locator("#theme").click()
        settled(tab)
        fragment, before = tab.evaluate("location.hash"), tab.evaluate(look)
    assert fragment.startswith("#members&theme=dark&")
    with opened(browser, file, fragment) as tab:
        assert tab.evaluate(look) == before
        assert tab.evaluate("document.documentElement.dataset.theme") == "dark"
        tab.evaluate("location.hash = '#members&member=12'")
        settled(tab)
        assert member(tab) == 12 and len(kept(tab)) == COUNT


@pytest.mark.parametrize(
    "fragment",
    [
        '#members&sort=[["nothing",1],7]&filters={"a":1}&axes=["x","x"]&member=99999&x=__proto__&colour=constructor',
        "#members&sort=%&filters=[[]]&axes=3&%ff",
    ],
)
def test_an_address_that_makes_no_sense_is_put_right(browser, file, fragment):
    with opened(browser, file, fragment) as tab:
        assert len(kept(tab)) == COUNT and tab.locator("#pick-colour option:checked").inner_text() == "validation_loss"
        assert "the best of" in tab.locator("#member h3").inner_text()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_widths_and_themes(browser, file, width, scheme):
    with opened(browser, file, width=width, height={390: 844, 1280: 900}[width], scheme=scheme) as tab:
        settled(tab)
        assert tab.evaluate("document.documentElement.scrollWidth") <= width
        filled = """(id) => { const canvas = document.querySelector(id), pen = canvas.getContext("2d");
            const { data } = pen.getImageData(0, 0, canvas.width, canvas.height);
            let count = 0; for (let at = 3; at < data.length; at += 4) if (data[at] > 40) count += 1;
            return count / (data.length / 4); }"""
        assert tab.evaluate(filled, "#parallel .lines") > 0.2 and tab.evaluate(filled, "#scatter .lines") > 0.01


def test_members_are_chosen_by_touch(browser, file):
    with opened(browser, file, width=390, height=844, has_touch=True) as tab:
        tab.locator("#rows tbody tr").nth(2).tap()
        assert member(tab) == kept(tab)[2]


def test_commands_are_copied(browser, file):
    with opened(browser, file, permissions=["clipboard-read", "clipboard-write"]) as tab:
        tab.locator(".commands button").nth(1).click()
        tab.locator(".commands button", has_text="Copied").wait_for()
        assert tab.evaluate("navigator.clipboard.readText()") == f"rnnjax show 'runs/my sweep:{member(tab)}'"


def test_printing_is_on_white(browser, file):
    with opened(browser, file, "#members&theme=dark") as tab:
        tab.emulate_media(media="print")
        assert tab.locator("#rows tbody tr").nth(5).is_visible() and tab.locator("#save").is_hidden()
        assert tab.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"


def test_a_browser_without_decompression_is_told(browser, file):
    context = browser.new_context()
    context.add_init_script("delete globalThis.DecompressionStream")
    tab = context.new_page()
    tab.goto(file.as_uri())
    tab.locator("#sweep-message", has_text="lacks DecompressionStream").wait_for(timeout=8000)
    assert tab.locator("#sweep").is_hidden()
    context.close()


@pytest.mark.parametrize(
    "table",
    [
        {"member": []},
        {"member": [3]},
        {"member": [1, 2], "batch": [0, 0], "seed": [0, 1], "status": ["running", "running"], "loss": [None, None]},
        {"member": [1, 2], "seed": [0, 1], "status": ["diverged", "diverged"], "loss": [np.inf, np.nan]},
        {"member": [1, 2], "model.cell": ["gru", "lstm"], "status": [None, "finished"], "loss": [0.5, 0.5]},
    ],
)
def test_sweeps_with_little_in_them(browser, tmp_path_factory, table):
    curves = {"member": [], "step": [], "loss": []}
    with opened(browser, stored(tmp_path_factory, "little", {}, table, {}, curves)) as tab:
        settled(tab)
        assert len(kept(tab)) == len(table["member"])
        for key in ("j", "b", "r", "c"):
            tab.keyboard.press(key)
        for select in ("#pick-x", "#pick-y", "#pick-colour"):
            for place in range(tab.locator(f"{select} option").count()):
                tab.select_option(select, index=place)
        settled(tab)


def test_hostile_text_is_only_text(browser, tmp_path_factory):
    count = len(HOSTILE)
    table = {"member": range(count), **{text: HOSTILE for text in HOSTILE}}
    table |= {"status": HOSTILE, "steps": range(count), "loss": np.linspace(1, 2, count)}
    rows = np.repeat(np.arange(count), 5)
    curves = {"member": rows, "step": np.tile(np.arange(5), count), **{text: 1.0 + rows for text in HOSTILE}}
    figures = {text: (f"<svg>{text}</svg>", text) for text in HOSTILE}
    summary = {"status": HOSTILE[1], "command": HOSTILE[0], "path": HOSTILE[7] + "\n$(x) '", HOSTILE[0]: HOSTILE}
    path = stored(tmp_path_factory, HOSTILE[2], summary, table, figures, curves, HOSTILE)
    assert path.read_text("utf-8").count("</script>") == 5
    with opened(browser, path, width=390, height=844) as tab:
        settled(tab)
        assert tab.locator("#rows tbody tr").count() > 10
        texts = tab.evaluate("[...document.querySelectorAll('#rows tbody bdi')].map((it) => it.textContent)")
        assert HOSTILE[0] in texts
        assert not re.search("[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\u2028\u2029\ud800-\udfff]", "".join(texts))
        tags = tab.evaluate("[...document.querySelectorAll('#sweep *')].map((it) => it.tagName)")
        assert not set(tags) & {"SCRIPT", "IMG", "IFRAME", "LINK", "OBJECT"}
        places = range(tab.locator("#pick-colour option").count())
        for place in [*places][:8]:
            tab.select_option("#pick-colour", index=place)
            tab.select_option("#pick-x", index=place)
        for text in HOSTILE[:8]:
            tab.evaluate("([name, text]) => members.choose({ filters: new Map([[name, text]]) })", ["__proto__", text])
        tab.evaluate(
            "(list) => members.choose({ filters: new Map(list) })", [["__proto__", "=" + json.dumps(HOSTILE[5:7])]]
        )
        assert len(kept(tab)) == 2
        tab.locator("#rows tbody tr").first.click()
        settled(tab)
        fragment = tab.evaluate("location.hash")
        with tab.expect_download() as waiting:
            tab.locator("#save").click()
        rows = list(csv.reader(io.StringIO(waiting.value.path().read_bytes().decode("utf-8"), newline="")))
        readable = [re.sub("[\ud800-\udfff]", "\ufffd", text) for text in HOSTILE]
        assert rows[0] == ["member", *readable, "status", "steps", "loss"]
        assert [row[1] for row in rows[1:]] == readable[5:7]
        assert tab.evaluate("typeof hacked") == "undefined"
        assert tab.evaluate("document.documentElement.scrollWidth") <= 390
    with opened(browser, path, fragment, width=390, height=844) as tab:
        assert tab.evaluate("typeof hacked") == "undefined"
        assert len(kept(tab)) == 2


# ---- how fast


@pytest.mark.slow
def test_ten_thousand_members_are_shown_and_sorted(browser, tmp_path_factory):
    table = made(10_000, extra=5)
    with opened(browser, stored(tmp_path_factory, "large", {}, table, {}, lines(table))) as tab:
        tab.wait_for_function("members.parallel.drawn", timeout=30_000)
        head(tab, "train.learning_rate").click()
        assert kept(tab) == np.argsort(table["train.learning_rate"]).tolist()
        assert len(shown(tab)) < 60
        tab.get_by_label("Filter train.extra_3").fill("0.25..0.5")
        assert len(kept(tab)) == np.sum((table["train.extra_3"] >= 0.25) & (table["train.extra_3"] <= 0.5))
