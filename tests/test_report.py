"""The page: complete, well formed, nothing loaded, every text escaped; in a browser where there is one."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser

import numpy as np
import pytest

from rnnjax import figures
from rnnjax.looks import Sight
from rnnjax.report import Report, page
from rnnjax.tasks import Table

VOID = {"meta", "link", "img", "br", "input"}
NASTY = "</script><b>\"quoted\" & 'so' <!-- \u2028\u2029 \x00\x1b[31m ${title} $style"


class Reader(HTMLParser):
    """Reads a page strictly: end tags must match, ids must be unique."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.open, self.tags, self.texts, self.ids = [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []
        assert len(self.ids) == len(set(self.ids))

    def handle_starttag(self, tag, attrs):
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names))
        self.tags.append((tag, dict(attrs)))
        self.ids += [value for name, value in attrs if name == "id"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append((self.open[-1] if self.open else "", data))

    def text(self):
        return "".join(data for tag, data in self.texts if tag not in ("script", "style"))

    def data(self):
        return json.loads(next(data for tag, data in self.texts if tag == "script" and data.startswith("{")))


def full(**changes):
    steps = np.arange(10)
    content = {
        "name": "letters-1",
        "command": "rnnjax run letters --seed 7",
        "status": "finished",
        "configuration": {
            "seed": 7,
            "task": {"kind": "text", "cache": None},
            "model": {"readout": {"bias": True}},
        },
        "summary": {
            "metrics": {"loss": 1.23456, "validation_loss": 1.5, "exact_match": 0.25},
            "best": {"metric": "validation_loss", "mode": "min", "value": 1.4, "step": 1200},
            "parameters": 872005,
            "steps": 12000,
            "symbols_per_second": 1243210.0,
            "seconds": 412.6,
        },
        "environment": {"versions": {"jax": "0.10.2"}, "xla_flags": ""},
        "layers": [
            {"layer": "rnn.kernel", "shape": (256, 1024), "parameters": 262144},
            {"layer": "rnn.bias", "shape": (1024,), "parameters": 1024},
        ],
        "plan": [{"layer": "rnn", "executor": "fused", "why": ["fused 1.9 ms", "scan 3.1 ms"]}],
        "samples": [{"prompt": "ROMEO:", "temperature": 0.8, "text": "\n  What light"}],
        "figures": [
            ("Loss", "Over the run.", figures.curves({"loss": (steps, 1 / (1 + steps))})),
            ("Hidden state", "h after each symbol.", figures.heatmap(np.eye(10), symbols=list("to␣be␣or␣n"))),
        ],
    }
    return Report(**(content | changes))


def test_everything_is_on_the_page():
    text = Reader(page(full())).text()
    for part in (
        "letters-1",
        "finished",
        "rnnjax run letters --seed 7",
        "Learning curves",
        "Inside the network",
    ):
        assert part in text
    for number in (
        "1.235",
        "best 1.4 at step 1,200",
        "exact match",
        "872,005",
        "12,000",
        "1.24 M",
        "6 min 53 s",
    ):
        assert number in text
    for row in ("rnn.kernel", "256 × 1024", "263,168", "99.6%", "scan 3.1 ms"):
        assert row in text
    for setting in ("task.kind", "model.readout.bias", "true", "none", "versions.jax", "empty"):
        assert setting in text


def test_prompt_is_set_apart_and_white_space_kept():
    assert '<b class="prompt">ROMEO:</b>\n  What light</div>' in page(full())


def test_numbers_can_be_read_by_a_program():
    data = Reader(page(full())).data()
    assert data["summary"]["metrics"]["validation_loss"] == 1.5
    assert data["configuration"]["model"] == {"readout": {"bias": True}}


def test_what_is_empty_is_left_out():
    reader = Reader(page(Report(name="bare")))
    assert not any(tag == "section" for tag, _ in reader.tags)
    assert "bare" in reader.text()


@pytest.mark.parametrize("place", ["name", "command", "status"])
def test_text_is_escaped(place):
    reader = Reader(page(full(**{place: NASTY})))
    assert [tag for tag, _ in reader.tags] == [tag for tag, _ in Reader(page(full())).tags]
    assert NASTY.replace("\x00", "␀").replace("\x1b", "␛") in reader.text()
    assert reader.data()[place] == NASTY


def test_text_inside_sections_is_escaped():
    content = full(
        samples=[{"prompt": NASTY, "temperature": NASTY, "text": NASTY}],
        layers=[{"layer": NASTY, "shape": NASTY, "parameters": 3}],
        plan=[
            {"layer": NASTY, "executor": NASTY, "why": [NASTY]},
            {"layer": "x", "executor": "y", "why": NASTY},
        ],
        configuration={NASTY: {NASTY: NASTY}, "list": [NASTY]},
        environment={NASTY: NASTY},
        figures=[(NASTY, NASTY, figures.curves({NASTY: ([1], [2])}))],
    )
    text = page(content)
    reader = Reader(text)
    assert text.count("</script>") == 2
    assert not set(map(ord, text)) & (set(range(32)) - {10})
    assert not re.search("[\u2028\u2029]", text[text.index('id="run"') :])
    assert reader.data()["configuration"][NASTY] == {NASTY: NASTY}


def test_unpaired_surrogates_and_numbers_without_json():
    summary = {
        "metrics": {"loss": float("nan")},
        "steps": np.int64(3),
        "seconds": np.float32(2.5),
        "rates": np.ones(2),
    }
    text = page(full(summary=summary, samples=[{"prompt": "", "temperature": 1, "text": "\ud800"}]))
    text.encode("utf-8")
    assert Reader(text).data()["summary"] == {
        "metrics": {"loss": "nan"},
        "steps": 3,
        "seconds": 2.5,
        "rates": [1.0, 1.0],
    }
    assert '<dd class="number" title="nan">nan</dd>' in text


def test_loads_nothing():
    text = page(full())
    for tag, attributes in Reader(text).tags:
        for name in ("src", "href", "srcset", "action", "data", "poster"):
            assert re.match(r"data:|#|$", attributes.get(name) or ""), (tag, attributes)
    assert not re.search(r"@import|url\(|https?:|fetch\(|XMLHttpRequest", text)


def test_is_the_same_each_time():
    assert page(full()) == page(full())


def test_links_lead_somewhere_and_images_have_words():
    reader = Reader(page(full()))
    links = [attributes["href"][1:] for tag, attributes in reader.tags if tag == "a"]
    assert set(links) <= set(reader.ids)
    assert [attributes["alt"] for tag, attributes in reader.tags if tag == "img"] == [
        "Loss. Over the run.",
        "Hidden state. h after each symbol.",
    ]


PROBE = """<!DOCTYPE html><title>probe</title>
<iframe src="report.html#samples&amp;theme=dark" width="400" height="900"></iframe><script>
onload = () => {
  const inner = frames[0].document, root = inner.documentElement;
  const filter = inner.querySelector('input[type=search]');
  filter.value = "bias"; filter.dispatchEvent(new Event("input"));
  const shown = inner.querySelectorAll('#configuration dl > div:not([hidden])').length;
  const before = root.dataset.theme;
  inner.getElementById("theme").click();
  document.title = [before, root.dataset.theme, frames[0].location.hash, inner.activeElement.id, shown,
    root.scrollWidth <= 400, inner.querySelectorAll("figure .tools button").length].join(" ");
};
</script>"""


@pytest.mark.skipif(shutil.which("chromium") is None, reason="no chromium")
def test_in_a_browser(tmp_path):
    (tmp_path / "report.html").write_text(page(full(name="a very long name " * 9 + "x" * 90)), encoding="utf-8")
    (tmp_path / "probe.html").write_text(PROBE, encoding="utf-8")
    quiet = "--no-first-run --disable-background-networking --disable-component-update --disable-sync"
    flags = f"--headless --no-sandbox --disable-gpu --allow-file-access-from-files {quiet} --dump-dom"
    command = [
        "chromium",
        *flags.split(),
        f"--user-data-dir={tmp_path}/user",
        f"file://{tmp_path}/probe.html",
    ]
    dom = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    assert "<title>dark light #samples&amp;theme=light samples 1 true 4</title>" in dom


def test_findings_are_shown_in_their_order_and_escaped():
    sights = [
        Sight(
            "Losses",
            "Nats a <symbol>.",
            table=Table("losses", ("of", "loss"), [("held out & more", 0.25), ("all", 1.0)]),
        ),
        Sight("Drawn", text="a  <b>\n  c"),
        Sight("A picture", "Of nothing.", figure=figures.curves({"loss": ([1, 2], [3.0, 2.0])})),
    ]
    found = page(Report("x", sights=sights))
    section = found[found.index('<section id="findings"') :]
    places = [
        section.index(text) for text in ("Losses", "held out &amp; more", "0.25", "Drawn", "a  &lt;b&gt;", "A picture")
    ]
    assert places == sorted(places)
    assert "<symbol>" not in found and "Nats a &lt;symbol&gt;." in found
    assert 'id="findings"' not in page(Report("x"))
