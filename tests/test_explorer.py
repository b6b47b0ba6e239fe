"""The explorer: what the page carries is what was recorded, and the real page, driven in Chromium from disk."""

from __future__ import annotations

import base64
import gzip
import json
import re
from collections import Counter
from functools import partial

import numpy as np
import pytest
from browsing import HOSTILE, chromium, opened_until, settled

from rnnjax.benchmarks.explorer import story, synthetic
from rnnjax.config import InputError
from rnnjax.report import Exploration, FilmOf, Layer, Note, Report, page
from rnnjax.report.explorer import quantise


def dequantised(layer: Layer) -> np.ndarray:
    """What the page has of a layer, ``[steps, units]``."""
    levels, scale, offset = quantise(layer.values)
    values = offset[:, None].astype(np.float64) + scale[:, None].astype(np.float64) * levels
    return np.where(levels == -128, np.nan, values).T


def standard(layer: Layer) -> np.ndarray:
    """The standardised levels, ``[steps, units]``."""
    levels = quantise(layer.values).levels.astype(np.float64).T
    spread = levels.std(0)
    return np.divide(levels - levels.mean(0), spread, out=np.zeros_like(levels), where=spread > 0)


def small(**changes) -> Exploration:
    draws = np.random.default_rng(0)
    symbols = list("one “two” three\n“four” five\n")
    layers = {"0.h": Layer(draws.normal(size=(len(symbols), 5))), "0.f": Layer(draws.random((len(symbols), 2)), [3, 1])}
    return Exploration(**({"name": "small", "symbols": symbols, "layers": layers} | changes))


# ---- what the page carries


@pytest.mark.parametrize("scale", [1e-20, 1.0, 1e20])
def test_values_are_within_half_a_level(scale):
    values = scale * np.random.default_rng(0).normal(size=(300, 7)) + 3 * scale
    levels, step, offset = quantise(values)
    assert levels.shape == (7, 300) and levels.dtype == np.int8
    assert levels.min(1).tolist() == [-127] * 7 and levels.max(1).tolist() == [127] * 7
    back = offset.astype(float) + step.astype(float) * levels.T
    assert np.abs(back - values).max() <= 0.5001 * step.max()


def test_values_that_are_not_finite_and_units_that_never_move():
    values = np.asarray([[1.0, np.nan, 2.0, np.inf], [1.0, np.nan, np.nan, 5.0], [1.0, np.nan, 4.0, 7.0]])
    levels, scale, offset = quantise(values)
    assert levels.tolist() == [[0, 0, 0], [-128] * 3, [-127, -128, 127], [-128, -127, 127]]
    assert scale[:2].tolist() == [0, 0] and offset.tolist() == [1, 0, 3, 6]


def test_the_page_carries_the_quantised_values():
    text = page(Report("x", explorations=[small()]))
    content = json.loads(re.findall(r'id="exploration-0">(.*?)</script>', text)[0])
    arrays = gzip.decompress(base64.b64decode(re.findall(r'id="arrays-0">(.*?)</script>', text)[0]))
    assert content["layers"]["0.f"]["units"] == [3, 1]
    for name, layer in small().layers.items():
        start, count = content["layers"][name]["levels"]
        assert arrays[start : start + count] == quantise(layer.values).levels.tobytes()
        start, count = content["layers"][name]["scale"]
        assert start % 4 == 0
        np.testing.assert_array_equal(np.frombuffer(arrays, "<f4", count, start), quantise(layer.values).scale)


def test_a_page_without_explorations_has_nothing_of_them():
    assert not re.search('id="explor|DecompressionStream|workbench', page(Report("x")))
    assert page(Report("x", explorations=[small()])) == page(Report("x", explorations=[small()]))


def test_the_first_section_is_the_explorer():
    text = page(Report("x", configuration={"a": 1}, explorations=[small()]))
    assert re.findall('<section id="(.*?)"', text) == ["explore", "configuration"]


def test_notes_on_units_that_are_not_there_are_left_out():
    notes = [Note("0.h", 2, "a", 0.5), Note("0.f", 0, "b", 0.5), Note("1.h", 0, "c", 0.5)]
    text = page(Report("x", explorations=[small(notes=notes)]))
    assert json.loads(re.findall(r'id="exploration-0">(.*?)</script>', text)[0])["notes"] == [
        ["0.h", 2, "a", 0.5, 0.0, None]
    ]


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"symbols": []}, "nothing to explore"),
        ({"layers": {}}, "nothing to explore"),
        ({"layers": {"0.h": Layer(np.ones((3, 2)))}}, r"values of 0\.h of shape \[3, 2\]"),
        ({"layers": {"0.h": Layer(np.ones((28, 2)), [1])}}, r"values of 0\.h of shape \[28, 2\]"),
        ({"loss": np.ones(3)}, r"loss of shape \[3\]"),
        ({"lesions": {"0.h": np.ones(3)}}, r"lesions of 0\.h of shape \[3\]"),
        ({"lesions": {"1.h": np.ones(3)}}, "lesions of '1.h'"),
        ({"predicted": [[("a", 0.5)]]}, "predictions at 1 steps"),
        ({"answers": ["a"]}, "answers at 1 steps"),
        ({"film": FilmOf("0.h", [1], [0], [0], np.ones((1, 1, 2)))}, r"film of shape \[1, 1, 2\]"),
    ],
)
def test_what_does_not_fit_is_refused(changes, what):
    with pytest.raises(InputError, match=what):
        small(**changes)


@pytest.mark.slow
def test_the_page_of_a_large_recording_is_small():
    assert len(page(Report("x", explorations=[synthetic(2000, 1024)])).encode()) < 5e6


# ---- the real page


STEPS = 600


@pytest.fixture(scope="module")
def browser():
    yield from chromium()


@pytest.fixture(scope="module")
def run():
    return synthetic(STEPS, 128, best=16)


@pytest.fixture(scope="module")
def file(tmp_path_factory, run):
    return stored(tmp_path_factory, run)


def stored(factory, *explorations, **content):
    path = factory.mktemp("page") / "report.html"
    path.write_text(page(Report("x", explorations=explorations, **content)), encoding="utf-8")
    return path


opened = partial(opened_until, "#here h3")


@pytest.fixture(scope="module")
def calm(browser, file):
    """One tab for what only computes."""
    with opened(browser, file) as tab:
        yield tab


def chosen(tab):
    return tab.evaluate("explorer.state.views[explorer.state.active]")


def symbol(tab, step, panel=0):
    return tab.locator(".symbols").nth(panel).locator("span").nth(step)


def middle(tab, step):
    box = symbol(tab, step).bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def test_the_page_tells_what_it_shows(browser, file):
    with opened(browser, file) as tab:
        told = tab.locator(".told").inner_text()
        assert told.startswith(
            "Each symbol is coloured by unit 107 of 0.h after it was read — inside quotation (effect 0.71"
        )
        assert tab.locator("#units [role=option]").first.inner_text().split("\n") == [
            "107",
            "inside quotation",
            "effect 0.71",
        ]
        assert tab.locator("#explorer-message").is_hidden()
        assert "“" in tab.locator(".symbols").inner_text()


def test_the_page_decodes_the_quantised_numbers(calm, run):
    for field, layer in run.layers.items():
        found = calm.evaluate(
            """(field) => {
              const { units, length, value } = explorer.runs[0].layers.get(field);
              return units.map((_, place) => Array.from({ length }, (_, step) => value(place, step)));
            }""",
            field,
        )
        np.testing.assert_array_equal(np.asarray(found).T, dequantised(layer))


def test_colours_follow_the_value(browser, file, run):
    values = dequantised(run.layers["0.h"])[:, 107]
    wanted = np.rint(20 * (1 + values / np.abs(values).max())).astype(int)
    with opened(browser, file) as tab:
        classes = tab.evaluate("[...document.querySelectorAll('.symbols span')].map((span) => span.className)")
        found = np.asarray([int(name[1:]) for name in classes])
        assert np.mean(found == wanted) > 0.99 and np.abs(found - wanted).max() <= 1
        low, high = symbol(tab, int(np.argmin(values))), symbol(tab, int(np.argmax(values)))
        assert low.evaluate("(it) => getComputedStyle(it).backgroundColor") == "rgb(146, 131, 200)"
        assert high.evaluate("(it) => getComputedStyle(it).backgroundColor") == "rgb(232, 145, 45)"
        tab.select_option("#pick-field", label="0.f")
        assert tab.locator(".key span").all_inner_texts() == ["0", "0.5", "1"]


def test_neighbours_are_those_of_numpy(calm, run):
    states = standard(run.layers["0.h"])
    length = np.linalg.norm(states, axis=1)
    for step in (0, 123, STEPS - 1):
        found = calm.evaluate(f"explorer.neighbours(explorer.runs[0].layers.get('0.h'), {step})")
        cosine = states @ states[step] / (length * length[step])
        wanted = greedy(cosine, lambda place, step=step: abs(place - step) < 20, 20)
        assert [(one["step"], pytest.approx(one["similarity"], abs=1e-5)) for one in found] == wanted


def greedy(similarity, banned, apart):
    """The most similar first, none near another."""
    kept = []
    for place in np.argsort(-similarity, kind="stable").tolist():
        if len(kept) < 8 and not banned(place) and all(abs(place - other) >= apart for other in kept):
            kept.append(place)
    return [(place, float(similarity[place])) for place in kept]


@pytest.mark.parametrize(("first", "last"), [(0, 30), (100, 100), (200, 260), (STEPS - 9, STEPS - 1)])
def test_stretches_are_those_of_numpy(calm, run, first, last):
    states, size = standard(run.layers["0.h"]), last + 1 - first
    means = np.stack([states[start : start + size].mean(0) for start in range(STEPS - size + 1)])
    length = np.linalg.norm(means, axis=1)
    cosine = means @ means[first] / (length * length[first])
    like = greedy(cosine, lambda place: abs(place - first) < size, size)

    width, after = min(5, size), states[last + 1 : last + 6]
    parts = [states[first : last + 1].mean(0) - np.delete(states, np.s_[first : last + 1], axis=0).mean(0)]
    if first:
        parts.append(states[first : first + width].mean(0) - states[max(0, first - 5) : first].mean(0))
    if len(after):
        parts.append(states[last + 1 - width : last + 1].mean(0) - after.mean(0))
    switch = np.mean(parts, axis=0)
    order = np.argsort(-np.abs(switch))[:8]
    layer = "explorer.runs[0].layers.get('0.h')"
    found = calm.evaluate(f"explorer.likeStretch({layer}, [{first}, {last}])")
    assert [(one["step"], pytest.approx(one["similarity"], abs=1e-4)) for one in found] == like
    units = calm.evaluate(f"explorer.switches({layer}, [{first}, {last}])")
    assert [one["unit"] for one in units] == order.tolist()
    np.testing.assert_allclose([one["switch"] for one in units], switch[order], atol=1e-4)


def test_a_unit_is_found_and_chosen(browser, file, run):
    with opened(browser, file) as tab:
        tab.locator("#pick-find").press_sequentially("line")
        assert tab.locator("#units b").all_inner_texts() == ["12"]
        assert tab.locator("#found").inner_text() == "1 of 128 units"
        tab.keyboard.press("Enter")
        assert chosen(tab)["unit"] == 12
        assert "symbols" in tab.evaluate("document.activeElement.className")
        tab.keyboard.press("/")
        tab.keyboard.press("Control+A")
        tab.keyboard.type("4")
        assert tab.locator("#units b").all_inner_texts() == [
            "45",
            "4",
            *map(str, range(40, 45)),
            *map(str, range(46, 50)),
        ]
        tab.locator("#units [role=option]", has_text="capital").click()
        assert chosen(tab)["unit"] == 45 and "unit 45" in tab.locator(".told").inner_text()
        tab.locator("#pick-find").fill("no such thing")
        assert tab.locator("#found").inner_text() == "0 of 128 units"
        tab.keyboard.press("Escape")
        assert tab.locator("#found").inner_text() == "128 units"


def test_units_are_sorted(browser, file, run):
    notes = {note.unit: note.concept for note in run.notes}
    deviation = dequantised(run.layers["0.h"]).std(0)
    orders = {
        "number": lambda unit: unit,
        "name": lambda unit: (notes.get(unit, "\uffff"), unit),
        "lesion": lambda unit: -run.lesions["0.h"][unit],
        "variance": lambda unit: -deviation[unit],
    }
    with opened(browser, file) as tab:
        for sort, order in orders.items():
            tab.select_option("#pick-sort", sort)
            tab.evaluate("document.getElementById('units').scrollTop = 0")
            settled(tab)
            found = [int(text) for text in tab.locator("#units b").all_inner_texts()][:10]
            assert found == sorted(range(128), key=order)[:10], sort


def test_a_symbol_is_clicked(browser, file, run):
    step = 20
    with opened(browser, file) as tab:
        symbol(tab, step).click()
        tab.locator("#here small", has_text=f"step {step} of {STEPS}").wait_for()
        assert tab.locator(".symbols [aria-current]").count() == 1
        assert tab.locator("#here mark").inner_text() == run.symbols[step]
        assert tab.locator("#here .fields button").all_inner_texts() == list(run.layers)
        came = [name for name, _ in run.predicted[step] if name == run.symbols[step + 1]]
        assert tab.locator("#here li b", has_text="(came)").count() == len(came)
        near = tab.evaluate(f"explorer.neighbours(explorer.runs[0].layers.get('0.h'), {step})")[2]["step"]
        tab.locator("#alike button").nth(2).click()
        assert chosen(tab)["step"] == near
        tab.locator("#here li button").first.click()
        assert chosen(tab)["unit"] != 107
        tab.locator("#here .fields button", has_text="0.h").click()
        assert chosen(tab)["field"] == "0.h"


def test_a_stretch_is_dragged(browser, file):
    with opened(browser, file) as tab:
        tab.locator(".symbols").scroll_into_view_if_needed()
        from_, to = middle(tab, 12), middle(tab, 40)
        tab.mouse.move(*from_)
        tab.mouse.down()
        tab.mouse.move(*middle(tab, 30), steps=3)
        tab.mouse.move(*to, steps=3)
        tab.mouse.up()
        assert chosen(tab)["stretch"] == [12, 40] and chosen(tab)["step"] == 12
        assert tab.locator(".symbols [data-in]").count() == 29
        tab.locator("#stretch small", has_text="steps 12 to 40").wait_for()
        assert tab.locator("#stretch li").count() > 8
        tab.locator("#stretch li button.context").first.click()
        first, last = chosen(tab)["stretch"]
        assert last - first == 28 and first != 12
        tab.locator("#stretch button", has_text="Clear").click()
        assert chosen(tab)["stretch"] is None and tab.locator(".symbols [data-in]").count() == 0


def test_keys(browser, file):
    with opened(browser, file) as tab:
        symbol(tab, 50).click()
        for key, wanted in (
            ("ArrowRight", {"step": 51}),
            ("ArrowLeft", {"step": 50}),
            ("Shift+ArrowRight", {"step": 51, "stretch": [50, 51]}),
            ("Shift+ArrowRight", {"step": 52, "stretch": [50, 52]}),
            ("Shift+ArrowLeft", {"step": 51, "stretch": [50, 51]}),
            ("Escape", {"step": 51, "stretch": None}),
            ("s", {"step": 51}),
            ("ArrowLeft", {"step": 50, "stretch": [50, 51]}),
            ("Escape", {"stretch": [50, 51]}),
            ("Escape", {"stretch": None}),
            ("j", {"unit": 12}),
            ("ArrowDown", {"unit": 45}),
            ("k", {"unit": 12}),
            ("ArrowUp", {"unit": 107}),
            ("ArrowUp", {"unit": 107}),
            ("[", {"film": 11}),
            ("[", {"film": 10}),
            ("]", {"film": 11}),
            ("]", {"film": None}),
            ("End", {"step": STEPS - 1}),
            ("ArrowRight", {"step": STEPS - 1}),
            ("Home", {"step": 0}),
            ("ArrowLeft", {"step": 0}),
        ):
            tab.keyboard.press(key)
            now = chosen(tab)
            assert {name: now[name] for name in wanted} == wanted, key
        tab.keyboard.press("?")
        assert tab.locator("#keys").is_visible()
        tab.keyboard.press("Escape")
        assert tab.locator("#keys").is_hidden()
        tab.keyboard.press("n")
        assert chosen(tab)["step"] == tab.evaluate("explorer.neighbours(explorer.runs[0].layers.get('0.h'), 0)[0].step")


def test_keys_outside_the_explorer_are_left_alone(browser, file):
    with opened(browser, file) as tab:
        before = chosen(tab)
        tab.keyboard.press("ArrowDown")
        tab.keyboard.press("End")
        tab.locator(".home").focus()
        tab.keyboard.press("j")
        assert chosen(tab) == before


def test_the_heat_map_is_linked(browser, file):
    with opened(browser, file) as tab:
        box = tab.locator("#heat canvas")
        box.scroll_into_view_if_needed()
        box.click(position={"x": 10 * 7 + 5, "y": 18 * 2 + 9})
        assert (chosen(tab)["step"], chosen(tab)["unit"]) == (7, 45)
        tab.evaluate("explorer.choose({ step: 400 })")
        settled(tab)
        assert 0 <= 4000 - tab.evaluate("document.getElementById('heat').scrollLeft") <= box.bounding_box()["width"]
        tab.locator("#zoom").click()
        settled(tab)
        box.click(position={"x": box.bounding_box()["width"] / 2, "y": 5})
        assert abs(chosen(tab)["step"] - STEPS // 2) <= 1


def test_the_film_recolours_the_text(browser, file, run):
    film = run.film
    values = dequantised(Layer(film.values.reshape(-1, len(film.units)), film.units)).reshape(film.values.shape)
    course = values[3, :, film.units.tolist().index(107)]
    with opened(browser, file) as tab:
        tab.locator("#checkpoint").evaluate("(it) => { it.value = 3; it.dispatchEvent(new Event('input')); }")
        assert "at training step 400 (150 of 600 symbols were filmed)" in tab.locator(".told").inner_text()
        classes = tab.evaluate("[...document.querySelectorAll('.symbols span')].map((span) => span.className)")
        assert [step for step, name in enumerate(classes) if name != "blank"] == film.steps.tolist()
        reach = np.abs(values[:, :, film.units.tolist().index(107)]).max()
        found = np.asarray([int(classes[step][1:]) for step in film.steps])
        assert np.abs(found - 20 * (1 + course / reach)).max() <= 0.51
        unfilmed = next(unit for unit in range(128) if unit not in film.units)
        tab.evaluate(f"explorer.choose({{ unit: {unfilmed} }})")
        settled(tab)
        assert tab.locator("#checkpoint").is_disabled() and "blank" not in symbol(tab, 1).get_attribute("class")
        tab.evaluate("explorer.choose({ unit: 107 })")
        settled(tab)
        strip = tab.locator("#strip").bounding_box()
        tab.locator("#strip").click(position={"x": strip["width"] - 1, "y": 1})
        assert (chosen(tab)["film"], chosen(tab)["step"]) == (0, film.steps[-1])


def test_two_units_are_compared(browser, file, run):
    with opened(browser, file) as tab:
        tab.locator("#compare").click()
        tab.locator("#pick-find").fill("vowel 0")
        tab.locator("#pick-find").fill("line")
        tab.keyboard.press("Enter")
        told = tab.locator(".told").all_inner_texts()
        assert "unit 107" in told[0] and "unit 12" in told[1]
        settled(tab)
        values = dequantised(run.layers["0.h"])[:, [107, 12]]
        shown = float(tab.locator("#correlation").inner_text().split()[-1].replace("−", "-"))
        assert shown == pytest.approx(np.corrcoef(values.T)[0, 1], abs=0.005)
        symbol(tab, 30, panel=0).click()
        assert tab.evaluate("explorer.state.views.map((view) => view.step)") == [30, 30]
        assert chosen(tab)["unit"] == 107
        tab.keyboard.press("x")
        assert chosen(tab)["unit"] == 12
        tab.keyboard.press("c")
        assert tab.locator(".passage:visible").count() == 1 and chosen(tab)["unit"] == 12


def test_two_runs_of_other_texts_are_compared(browser, run, tmp_path_factory):
    words = Exploration("words", story(400).split()[:50], {"0.h": Layer(np.random.default_rng(1).normal(size=(50, 9)))})
    with opened(browser, stored(tmp_path_factory, run, words)) as tab:
        assert tab.locator(".passage:visible").count() == 2
        assert tab.locator(".symbols").nth(1).inner_text().startswith("The carrier came up")
        symbol(tab, 4, panel=1).click()
        assert tab.evaluate("explorer.state.views.map((view) => view.step)") == [0, 4]
        assert tab.locator("#pick-run").input_value() == "1" and tab.locator("#film").is_hidden()
        tab.select_option("#pick-run", "0")
        assert "story" in tab.locator(".told").nth(1).inner_text() and chosen(tab)["run"] == 0


def test_the_address_brings_the_view_back(browser, file):
    with opened(browser, file) as tab:
        tab.select_option("#pick-field", label="0.c")
        tab.select_option("#pick-sort", "variance")
        tab.locator("#theme").click()
        tab.evaluate("explorer.choose({ unit: 12, step: 77, stretch: [60, 77] })")
        tab.locator("#compare").click()
        tab.evaluate("explorer.choose({ field: '0.h', unit: 107, film: 4 })")
        tab.keyboard.press("w")
        tab.locator("#one-scale").click()
        settled(tab)
        fragment = tab.evaluate("location.hash")
        before = tab.evaluate("explorer.state")
    assert fragment.startswith("#explore&theme=dark&")
    with opened(browser, file, fragment) as tab:
        assert tab.evaluate("explorer.state") == before
        assert tab.evaluate("document.documentElement.dataset.theme") == "dark"
        tab.evaluate("location.hash = '#explore&unit=45&step=5'")
        settled(tab)
        assert chosen(tab) == {"run": 0, "field": "0.h", "unit": 45, "step": 5, "stretch": None, "film": None}


@pytest.mark.parametrize(
    "fragment",
    [
        "#explore&unit=9999&step=-4&run=7&field=nothing&stretch=9-x&checkpoint=99&sort=constructor&beside=a~b",
        "#explore&%&=&field=%ff",
    ],
)
def test_an_address_that_makes_no_sense_is_put_right(browser, file, fragment):
    with opened(browser, file, fragment) as tab:
        assert (chosen(tab)["field"], chosen(tab)["unit"], chosen(tab)["step"]) == ("0.h", 107, 0)


def test_looking_alone_leaves_the_address(browser, file):
    with opened(browser, file, "#configuration") as tab:
        tab.set_viewport_size({"width": 900, "height": 700})
        settled(tab)
        assert tab.evaluate("location.hash") == "#configuration"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_widths_and_themes(browser, file, width, scheme):
    height = {390: 844, 1280: 900}[width]
    with opened(browser, file, "#explore&stretch=10-60", width=width, height=height, scheme=scheme) as tab:
        settled(tab)
        assert tab.evaluate("document.documentElement.scrollWidth") <= width
        contrasts = tab.evaluate(CONTRASTS)
        assert min(contrasts) >= 4.5


CONTRASTS = """() => {
  const light = (colour) => {
    const parts = colour.match(/[\\d.]+/g).slice(0, 3).map((part) => part / 255);
    const [r, g, b] = parts.map((part) => (part <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const probe = document.querySelectorAll(".symbols span")[30];
  return [...Array(41).keys()].map((k) => {
    probe.className = `k${k}`;
    const style = getComputedStyle(probe);
    const [one, other] = [light(style.color), light(style.backgroundColor)].sort((a, b) => b - a);
    return (one + 0.05) / (other + 0.05);
  });
}"""


def test_a_tap_chooses_and_two_taps_select(browser, file):
    with opened(browser, file, width=390, height=844, has_touch=True) as tab:
        symbol(tab, 12).tap()
        tab.locator("#from-here").tap()
        symbol(tab, 20).tap()
        assert chosen(tab)["stretch"] == [12, 20]


def test_printing_is_on_white_and_whole(browser, file):
    with opened(browser, file, "#explore&theme=dark") as tab:
        tab.emulate_media(media="print")
        assert tab.locator("#here li button").first.is_visible() and tab.locator("#compare").is_hidden()
        assert tab.locator(".picker").is_hidden() and tab.locator(".symbols").is_visible()
        style = symbol(tab, 3).evaluate(
            "(it) => [getComputedStyle(it).printColorAdjust, getComputedStyle(it.parentNode).maxHeight]"
        )
        assert style == ["exact", "none"]
        assert (
            tab.locator(".key i").evaluate("(it) => getComputedStyle(document.body).backgroundColor")
            == "rgb(255, 255, 255)"
        )


def test_a_browser_without_decompression_is_told(browser, file):
    context = browser.new_context()
    context.add_init_script("delete globalThis.DecompressionStream")
    tab = context.new_page()
    tab.goto(file.as_uri())
    tab.locator("#explorer-message", has_text="lacks DecompressionStream").wait_for(timeout=8000)
    assert tab.locator("#explorer").is_hidden()
    context.close()


def hostile_run(name):
    """Every hostile string as a symbol, a concept, a field, and what is predicted."""
    draws = np.random.default_rng(0)
    steps = len(HOSTILE)
    return Exploration(
        name,
        HOSTILE,
        {f"{text}.h": Layer(draws.normal(size=(steps, steps))) for text in HOSTILE[:-1]}
        | {"__proto__": Layer(np.eye(steps))},
        notes=[Note(f"{HOSTILE[0]}.h", unit, text, 0.5) for unit, text in enumerate(HOSTILE)],
        loss=draws.random(steps),
        predicted=[[(text, 0.5), (HOSTILE[0], float("nan"))] for text in HOSTILE],
        film=FilmOf(f"{HOSTILE[0]}.h", [1, 2], [0, 5], range(steps), draws.normal(size=(2, 2, steps))),
    )


def test_hostile_text_is_only_text(browser, tmp_path_factory):
    everywhere = {text: text for text in HOSTILE}
    content = {"command": HOSTILE[1], "status": HOSTILE[2], "configuration": everywhere, "environment": everywhere}
    path = stored(tmp_path_factory, hostile_run(HOSTILE[1]), hostile_run(HOSTILE[14]), **content)
    with opened(browser, path, width=390, height=844) as tab:
        symbols = tab.locator(".symbols").first.locator("span")
        assert symbols.count() == len(HOSTILE)
        assert all(symbols.nth(step).bounding_box()["width"] > 2 for step in range(len(HOSTILE)))
        shown = [symbols.nth(step).text_content() for step in range(len(HOSTILE))]
        assert shown[0] == HOSTILE[0] and shown[12] == "␀␁␛[31m␡⟨U+0085⟩" and shown[15] == "⟨U+D800⟩"
        assert shown[14] == "⟨U+202E⟩gnp.exe⟨U+202C⟩⟨U+2066⟩" and shown[21] == HOSTILE[21]
        assert shown[23] == "w" * 60 + "…"
        assert not re.search("[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\u2028\u2029\ud800-\udfff]", "".join(shown))
        tags = Counter(tab.evaluate("[...document.querySelectorAll('#explorer *')].map((it) => it.tagName)"))
        assert not set(tags) & {"SCRIPT", "IMG", "IFRAME", "LINK", "OBJECT"}
        assert tab.evaluate("document.documentElement.scrollWidth") <= 390
        symbols.first.click()
        for step in range(len(HOSTILE)):
            tab.evaluate(
                f"explorer.choose({{ step: {step}, unit: {step}, field: [...explorer.runs[0].layers.keys()][{step}] }})"
            )
            settled(tab) if step % 8 == 0 else None
        for find in HOSTILE[:4]:
            tab.locator("#pick-find").fill(find)
        settled(tab)
        fragment = tab.evaluate("location.hash")
        assert tab.evaluate("typeof hacked") == "undefined"
        assert tab.evaluate("document.documentElement.scrollWidth") <= 390
    with opened(browser, path, fragment, width=390, height=844) as tab:
        assert tab.evaluate("typeof hacked") == "undefined"
        assert chosen(tab)["field"] == "__proto__" and tab.locator("#pick-find").input_value() == HOSTILE[3]


def test_answers_and_a_film_longer_than_the_text(browser, tmp_path_factory):
    draws = np.random.default_rng(0)
    film = FilmOf("0.h", [1, 2], range(9), [0, 1], draws.normal(size=(2, 9, 2)))
    asked = Exploration(
        "sums",
        list("1+2=3"),
        {"0.h": Layer(draws.normal(size=(5, 3)))},
        predicted=[[("3", 0.5), ("x", 0.25)]] * 5,
        answers="33333",
        film=film,
    )
    with opened(browser, stored(tmp_path_factory, asked), "#explore&checkpoint=1&unit=1") as tab:
        assert tab.locator("#here li b").first.inner_text() == "“3” (right)"
        assert "blank" not in tab.evaluate("[...document.querySelectorAll('.symbols span')].map((it) => it.className)")
        assert "filmed" not in tab.locator(".told").inner_text()


def test_examples_begin_on_new_lines_and_numbers_are_spaced(browser, tmp_path_factory):
    values = np.random.default_rng(0).normal(size=(6, 3))
    numbers = Exploration(
        "numbers", ["0.25", "-1.5", "3.75", "10.0", "0.5", "1.5"], {"0.h": Layer(values)}, starts=[0, 3]
    )
    with opened(browser, stored(tmp_path_factory, numbers)) as tab:
        assert tab.locator(".symbols").inner_text() == "0.25 -1.5 3.75 \n10.0 0.5 1.5 "


def test_it_works_in_a_frame_without_an_address(browser, file, tmp_path):
    frame = tmp_path / "frame.html"
    frame.write_text('<meta charset="utf-8"><link rel="icon" href="data:,"><iframe width="900" height="900"></iframe>')
    context = browser.new_context()
    tab = context.new_page()
    messages = []
    tab.on("console", lambda message: messages.append(message.text))
    tab.on("pageerror", lambda error: messages.append(str(error)))
    tab.goto(frame.as_uri())
    tab.evaluate("(text) => { document.querySelector('iframe').srcdoc = text; }", file.read_text("utf-8"))
    inside = tab.frame_locator("iframe")
    inside.locator("#here h3").first.wait_for(timeout=8000)
    inside.locator(".symbols span").nth(9).click()
    inside.locator("#theme").click()
    settled(tab)
    assert "dark" in inside.locator("#theme").evaluate(
        "() => [document.documentElement.dataset.theme, location.hash].join()"
    )
    assert messages == []
    context.close()
