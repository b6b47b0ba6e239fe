"""Results: files read and compared, and the page of tables and pictures made of them."""

from __future__ import annotations

import json
import re
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.lines import Line2D

from rnnjax.benchmarks import page, plots
from rnnjax.benchmarks.results_files import circumstances, differences, read_results, side_by_side
from rnnjax.benchmarks.workloads import WORKLOADS
from rnnjax.config import InputError
from rnnjax.figures import Figure, svg

ENVIRONMENT = {
    "versions": {"python": "3.11.7", "jax": "0.10.2"},
    "platform": "Linux",
    "backend": "cpu",
    "device": "cpu",
    "devices": 1,
    "threads": 2,
    "xla_flags": "",
    "started": "2026-11-22T09:34:59+0000",
}


def made(candidate: str = "rnnjax", workload: str = "mid", question: str = "step", **given: Any) -> dict[str, Any]:
    """A row as the harness writes it: ours in 10 ms, a peer in a time of its own."""
    seconds = given.get("seconds", 0.01 if candidate == "rnnjax" else 0.004 * len(candidate))
    floor = {
        **{"operations": 1e9, "bytes": 2e7, "launches": 200, "operations_s": 0.0025, "bytes_s": 0.001},
        **{"launches_s": 2e-4, "seconds": 0.0025, "bound": "operations", "peak_flops": 4e11, "bandwidth": 2e10},
    }
    ours = candidate == "rnnjax"
    return {
        "question": question,
        "workload": workload,
        "candidate": candidate,
        "versions": {candidate: "1.0"},
        "form": "whole",
        "unit": "step",
        "seconds": seconds,
        "least_s": 0.95 * seconds,
        "greatest_s": 1.1 * seconds,
        "ratio": None if ours else seconds / 0.01,
        "ratio_least": None if ours else seconds / 0.011,
        "ratio_greatest": None if ours else seconds / 0.009,
        "rounds": 7,
        "repetitions": 20,
        "import_s": 1.25,
        "prepare_s": 2.5,
        "compile_s": None,
        "first_s": 0.02,
        "memory_mb": 812.3,
        "check": [4.1],
        "useful_steps_per_s": 320_000.0,
        "floor": floor,
        "over_floor": seconds / 0.0025,
        "threads": 2,
        "dtype": "float32",
        "members": 1,
        "skipped": None,
        "environment": ENVIRONMENT,
        **given,
    }


def left_out(candidate, why, **given):
    return {
        **{name: None for name in made()},
        **made(candidate, **given),
        "seconds": None,
        "ratio": None,
        "skipped": why,
    }


def stored(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


# -- files


def test_a_file_is_read_in_its_order_without_blank_lines(tmp_path):
    rows = [made(), made("torch")]
    path = stored(tmp_path / "a.jsonl", rows)
    path.write_text("\n" + path.read_text() + "\n\n")
    assert read_results(path) == read_results(str(path)) == rows


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"", ["no results"]),
        (b"\n \n", ["no results"]),
        (b'{"question": "step"}\n{"question": "st', ["not JSON", "bad.jsonl, line 2", "stopped"]),
        (b"[1]", ["JSON object", "line 1"]),
        (b'{"candidate": "torch"}', ["no 'question'", "line 1"]),
        (b"\xff\xfe", ["UTF-8"]),
    ],
)
def test_what_is_no_file_of_results(text, words, tmp_path):
    (tmp_path / "bad.jsonl").write_bytes(text)
    with pytest.raises(InputError) as found:
        read_results(tmp_path / "bad.jsonl")
    assert all(word in str(found.value) for word in words), found.value


def test_a_missing_file_is_answered_with_the_nearest_name(tmp_path):
    stored(tmp_path / "gpu.jsonl", [made()])
    with pytest.raises(InputError, match=r"did you mean '.*/gpu\.jsonl'"):
        read_results(tmp_path / "gpv.jsonl")
    with pytest.raises(InputError, match="rnnjax bench --out"):
        read_results(tmp_path / "nowhere" / "a.jsonl")
    with pytest.raises(InputError, match="is a folder"):
        read_results(tmp_path)


def test_rows_of_the_same_thing_stand_side_by_side():
    a = [made(seconds=0.03), made(seconds=0.02), made("torch"), made(workload="words")]
    b = [made(seconds=0.01), made("torch", seconds=0.02), left_out("nnx", "not installed")]
    mid, torch, words, nnx = side_by_side(a, b)
    assert (mid["workload"], mid["candidate"], mid["seconds_a"], mid["seconds_b"]) == ("mid", "rnnjax", 0.02, 0.01)
    assert mid["speedup"] == 2 and mid["apart"] is True, "of what was measured twice the last counts"
    assert torch["speedup"] == 1 and torch["apart"] is False
    assert torch["ratio_a"] == torch["ratio_b"] == 2
    assert words["seconds_b"] is words["speedup"] is words["apart"] is None
    assert (words["skipped_a"], words["skipped_b"]) == (None, "not asked")
    assert (nnx["skipped_a"], nnx["skipped_b"]) == ("not asked", "not installed")
    assert "threads" not in mid


def test_members_and_dtypes_are_other_things_and_threads_where_a_file_has_several():
    many: dict[str, Any] = {"members": 16}
    half: dict[str, Any] = {"dtype": "bfloat16"}
    assert len(side_by_side([made(), made(**many), made(**half)], [made(), made(**many)])) == 3
    two, one = made(), made(threads=1, seconds=0.02)
    (across,) = side_by_side([two], [one])
    assert across["speedup"] == 0.5
    within = side_by_side([two, one], [one])
    assert [(row["threads"], row["speedup"]) for row in within] == [(2, None), (1, 1.0)]


def test_differences_of_circumstances_are_told():
    other = {**ENVIRONMENT, "device": "NVIDIA H100", "versions": {"python": "3.11.7", "jax": "0.11.0"}}
    a = [made(), made("torch"), made("nnx")]
    b = [made(environment=other, threads=16), made("torch", versions={"torch": "2.14"})]
    found = {name: (here, there) for name, here, there in differences(a, b)}
    assert found == {
        "jax": ("0.10.2", "0.10.2, 0.11.0"),
        "device": ("cpu", "NVIDIA H100, cpu"),
        "threads": ("2", "16, 2"),
        "versions of torch": ("torch 1.0", "torch 2.14"),
    }
    assert differences(a, a) == []
    assert circumstances(a)["date"] == "2026-11-22"
    assert circumstances([{"question": "start"}]) == {}


# -- the page


def table_under(text, heading):
    """Rows of the first table after a heading, as lists of cells."""
    lines = text.split(heading, 1)[1].splitlines()
    start = next(k for k, line in enumerate(lines) if line.startswith("|"))
    end = next((k for k in range(start, len(lines)) if not lines[k].startswith("|")), len(lines))
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[start:end]]


def test_the_page_has_a_summary_with_the_best_peer_in_bold():
    rows = [made(), made("torch"), made("keras_jax"), made(workload="words"), made("torch", "words", seconds=0.5)]
    text, _ = page.page(rows)
    head, _, mid, words = table_under(text, "### Training step")
    assert head == ["time over ours", "rnnjax", "over floor", "torch", "keras_jax"]
    assert mid == ["mid", "10 ms", "4.00", "**2.00**", "3.60"]
    assert words == ["words", "10 ms", "4.00", "**50.00**", ""]
    assert "| mid | torch | 20 ms | 19 ms–22 ms | 2.00 | 1.82–2.22 | 2.5 ms (operations) | 8.00 | 320,000 |" in text
    assert "| mid | torch | 1.25 s | 2.5 s | 20 ms | 812 MB | whole |" in text
    assert "| date | 2026-11-22 |" in text and "## cpu, 2 threads" in text
    assert "compile |" not in text, "nobody knew it"


def test_of_what_was_measured_twice_the_page_has_the_last():
    text, _ = page.page([made(seconds=0.5), made("torch"), made()])
    assert "500 ms" not in text and text.count("| mid | rnnjax | 10 ms") == 1


def test_machines_questions_members_and_dtypes_are_kept_apart():
    gpu = {**ENVIRONMENT, "backend": "gpu", "device": "NVIDIA H100"}
    rows = [
        *(made(name, question="population", members=n) for n in (1, 64) for name in ("rnnjax", "torch")),
        *(made(name, dtype=dtype) for dtype in ("float32", "bfloat16") for name in ("rnnjax", "torch")),
        made(environment=gpu),
    ]
    text, pictures = page.page(rows)
    assert [row[0] for row in table_under(text, "### Population")[2:]] == ["mid, 1 member", "mid, 64 members"]
    assert [row[0] for row in table_under(text, "### Training step")[2:]] == ["mid", "mid, bfloat16"]
    assert text.index("## cpu") < text.index("### Training step") < text.index("## NVIDIA H100")
    assert "cpu--2-threads-population-over-members" in pictures
    assert len(pictures["cpu--2-threads-step-roofline"].axes) == 2


def test_numbers_of_threads_have_lines_of_their_own():
    text, _ = page.page([made(name, threads=n) for n in (1, 2) for name in ("rnnjax", "2 x torch", "torch, fed")])
    assert [row[0] for row in table_under(text, "### Training step")[2:]] == ["mid, 1 thread", "mid, 2 threads"]
    assert "| versions of torch | 2 x torch 1.0, torch, fed 1.0 |" in text


def test_who_was_skipped_is_told_with_the_reason_and_text_breaks_no_table():
    rows = [
        made(form="a | b\n<b>"),
        left_out("torch", "No module named 'torch'"),
        left_out("torch", "too | big", workload="words"),
    ]
    text, pictures = page.page(rows)
    assert "Skipped: torch at mid (No module named 'torch'); torch at words (too \\| big)." in text
    assert "a \\| b &lt;b>" in text
    assert "cpu--2-threads-step-ratios" not in pictures


def test_imports_and_ways_of_feeding_have_tables_too():
    start = [
        made(
            "import rnnjax", "a fresh process", "start", ratio=None, floor=None, over_floor=None, beyond_libraries_s=0.0
        ),
        made("import jax", "a fresh process", "start", ratio=None, unit="process"),
        made("rnnjax, on the device", "mid", "loading", seconds=0.01, ratio=None),
        made("rnnjax, on the host", "mid", "loading", seconds=0.02, ratio=2.0),
    ]
    text, _ = page.page(start)
    heads = table_under(text, "### Start-up")[0]
    assert "time of a repetition" in heads and "beyond libraries" in heads
    assert table_under(text, "### Data loading")[2] == ["mid", "10 ms", "4.00", "**2.00**"]


def test_rows_of_another_form_are_tables_of_their_numbers():
    rows = [
        {"question": "recording", "recorded": "h", "plain_ms": 706.1014, "shape": [1, 2], "environment": ENVIRONMENT},
        {"question": "recording", "recorded": "all", "over_plain": 1.04},
    ]
    text, pictures = page.page(rows)
    assert table_under(text, "### Recording")[0] == ["recorded", "plain ms"]
    assert "| h | 706.1 |" in text and "| all | 1.04 |" in text and not pictures


def test_a_page_is_written_with_its_pictures(tmp_path, capsys, monkeypatch):
    results = stored(tmp_path / "a.jsonl", [made(), made("torch")])
    out = tmp_path / "results" / "README.md"
    monkeypatch.setattr("sys.argv", ["page", str(results), "--out", str(out)])
    assert page.main() == 0
    links = re.findall(r"\]\((figures/.+?\.svg)\)", out.read_text())
    assert len(links) == 2 and all((out.parent / link).exists() for link in links)
    assert capsys.readouterr().out.split() == [str(out), *(str(out.parent / link) for link in links)]
    for link in links:
        ElementTree.parse(out.parent / link)
    monkeypatch.setattr("sys.argv", ["page", str(tmp_path / "b.jsonl")])
    assert page.main() == 2 and "no file" in capsys.readouterr().err


# -- pictures


def drawn(figure: Figure | None) -> Figure:
    assert figure is not None
    return figure


def places(line: Line2D) -> tuple[list[float], list[float]]:
    x, y = (np.asarray(values, np.float64).tolist() for values in line.get_data())
    return x, y


def labelled(rows):
    return [{"label": row["workload"], **row} for row in rows]


def sized(free, values, candidates=("rnnjax", "torch"), **given):
    shape = {"cell": "lstm", "units": 128, "batch": 32, "time": 100, "features": 64}
    return [
        made(name, **{**shape, free: value, "seconds": 1e-5 * value * len(name), **given})
        for value in values
        for name in candidates
    ]


@pytest.mark.parametrize("free", plots.AXES)
def test_times_over_a_size_are_lines_from_rows_that_share_all_else(free):
    rows = [*sized(free, (64, 16, 256)), *sized(free, (16, 32), cell="gru"), *sized(free, (8,), cell="elman")]
    lstm, gru = drawn(plots.over_size(rows, free, "step")).axes
    assert lstm.get_title(loc="left").startswith("LSTM") and gru.get_title(loc="left").startswith("GRU")
    assert lstm.get_xscale() == lstm.get_yscale() == "log"
    ours, torch, floor = lstm.lines
    assert places(ours)[0] == [16, 64, 256]
    np.testing.assert_allclose(places(ours)[1], 6e-5 * np.array([16, 64, 256]))
    assert ours.get_color() == plots.COLOURS[0] != torch.get_color()
    assert places(floor)[1] == [0.0025] * 3
    assert plots.over_size(sized(free, (16,)), free, "step") is None


def test_an_input_as_wide_as_the_layer_is_no_difference():
    rows = [row for units in (256, 512) for row in sized("units", [units], features=units)]
    assert len(drawn(plots.over_size(rows, "units", "step")).axes) == 1
    rows = [row for units in (256, 512) for row in sized("units", [units], features=units // 2)]
    assert plots.over_size(rows, "units", "step") is None


def test_ratios_are_drawn_at_their_lines_with_their_spread():
    rows = labelled([made(), made("torch"), made("2 x torch", seconds=0.01), made("torch", "words", ratio=0.5)])
    axes = drawn(plots.beside_ours(rows)).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["mid", "words"]
    torch, pair = axes.lines[:2]
    assert places(torch)[0] == [2.0, 0.5]
    assert [round(y) for y in places(torch)[1]] == [0, 1]
    assert torch.get_color() == pair.get_color() and torch.get_marker() != pair.get_marker()
    assert plots.beside_ours(labelled([made()])) is None


def test_the_roof_is_what_was_measured_and_no_point_is_above_it():
    rows = labelled([made(), made("torch"), made(workload="words", seconds=0.005)])
    figure = drawn(plots.roofline(rows))
    roof, *points = figure.axes[0].lines
    assert max(places(roof)[1]) == 400
    for line in points:
        for x, y in zip(*places(line), strict=True):
            assert y <= np.interp(x, *places(roof))
    assert plots.roofline(labelled([made(floor=None)])) is None
    assert ElementTree.fromstring(svg(figure)) is not None


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (1.234, "1.23 s"),
        (812e-3, "812 ms"),
        (0.99999, "1 s"),
        (17.24e-6, "17.2 µs"),
        (3e-9, "0.003 µs"),
        (1234, "1,234 s"),
    ],
)
def test_times_have_three_digits_and_a_unit(seconds, text):
    assert plots.seconds_text(seconds) == text


def test_shapes_of_known_workloads_are_known():
    rows = [made(workload=f"deepbench/lstm512-b{batch}", seconds=1e-4 * batch) for batch in (16, 32, 64, 128)]
    _, pictures = page.page([*rows, made("torch", "deepbench/lstm512-b16")])
    assert "cpu--2-threads-step-over-batch" in pictures
    assert set(plots.SHAPE) <= set(WORKLOADS["mid"].__dataclass_fields__)
