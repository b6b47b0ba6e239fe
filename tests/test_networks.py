"""Pictures of networks: what is derived from a model is what the model has, and what is drawn says so."""

from __future__ import annotations

import re

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from rnnjax import figures
from rnnjax.config import InputError
from rnnjax.experiment import Experiment
from rnnjax.figures.networks import (
    NOTES,
    Layer,
    Network,
    Weight,
    feedforward_beside_recurrent,
    shapes_of_problems,
    unfolded,
    unfolding,
)
from rnnjax.layers import ModelConfig
from rnnjax.looks.graph import graph, network, padding
from rnnjax.tasks.algorithmic import RecallConfig, ReverseConfig
from rnnjax.tasks.arrays import arrays
from rnnjax.tasks.series import AutoregressiveConfig
from rnnjax.train import TrainConfig

RECALL, REVERSE = RecallConfig(length=20), ReverseConfig(length=6, letters=5)
MODELS = {
    "elman": (RECALL, ModelConfig(cell="elman", units=2)),
    "embedded": (RECALL, ModelConfig(cell="lstm", units=4, embedding=3)),
    "both": (RECALL, ModelConfig(cell="gru", units=4, layers=2, bidirectional=True)),
    "initial": (RECALL, ModelConfig(cell="lstm", units=4, learned_initial=True)),
    "perceptron": (RecallConfig(length=6, shortest=6, stretch=1), ModelConfig(cell="feedforward", units=5, layers=2)),
    "each_step": (AutoregressiveConfig(length=7), ModelConfig(cell="feedforward", units=5)),
    "series": (AutoregressiveConfig(length=7), ModelConfig(cell="gru", units=4)),
    "repeat": (REVERSE, ModelConfig(cell="lstm", units=4, decoder="repeat")),
    "feedback": (REVERSE, ModelConfig(cell="gru", units=4, decoder="feedback")),
    "attention": (REVERSE, ModelConfig(cell="gru", units=4, bidirectional=True, decoder="attention")),
}


def experiment(name: str) -> Experiment:
    task, model = MODELS[name]
    return Experiment(name=name, task=task, model=model, train=TrainConfig(batch=8))


def words(figure: figures.Figure) -> list[str]:
    return [text.get_text() for axes in figure.axes for text in axes.texts]


@pytest.mark.parametrize("name", MODELS)
def test_every_parameter_is_in_the_picture_once(name: str):
    built = experiment(name).built
    found, rows = network(built), built.layers()
    weights = [weight for layer in found.layers for weight in layer.weights]
    assert sorted(weight.shape for weight in weights) == sorted(tuple(row["shape"]) for row in rows)
    assert found.parameters == sum(weight.count for weight in weights) == sum(row["parameters"] for row in rows)
    assert f"{found.parameters:,} parameters" in " ".join(words(graph(built)))


@pytest.mark.parametrize("length", [1, 5, 6, 1000])
def test_the_lectures_own_network_has_21_parameters_at_any_length(length: int):
    task = RecallConfig(length=length)
    found = network(Experiment(task=task, model=ModelConfig(cell="elman", units=2)).built)
    assert [layer.parameters for layer in found.layers] == [0, 12, 9, 0]
    shown = words(unfolded(found))
    assert any(text.startswith("21 parameters") for text in shown)
    steps = [text for text in shown if re.fullmatch(r"\d+", text) and text not in ("9", "12")]
    assert steps == ([str(k + 1) for k in range(length)] if length <= 5 else ["1", "2", "3", str(length)])


def test_a_task_of_unknown_length_is_drawn_to_t():
    task = RECALL.build()
    task.length = 0
    shown = words(graph(Experiment(task=task, model=ModelConfig(cell="elman", units=2)).built))
    assert "T" in shown and "[32, T, 2]" in shown


@pytest.mark.parametrize(("name", "expected"), [("elman", True), ("each_step", False), ("perceptron", False)])
def test_only_recurrent_networks_claim_to_fit_any_length(name: str, expected: bool):
    assert ("at any T" in " ".join(words(graph(experiment(name).built)))) is expected


def test_shapes_follow_the_arrays():
    task = arrays([[[0.0] * 3] * 2, [[1.0] * 3] * 4], [0, 1])
    built = Experiment(task=task, model=ModelConfig(cell="elman", units=2), train=TrainConfig(batch=2)).built
    assert [layer.shape for layer in network(built).layers] == ["[2, 4, 3]", "[2, 4, 2]", "[2, 2]", "[2, 2]"]


def test_a_decoder_says_what_it_reads():
    for name, links in (("repeat", (False, False)), ("feedback", (True, False)), ("attention", (True, True))):
        layers = network(experiment(name).built).layers
        assert (any(layer.fed for layer in layers), any(layer.sees for layer in layers)) == links
        assert {layer.place for layer in layers} == {0, 1}


@pytest.mark.parametrize("name", MODELS)
def test_nothing_written_leaves_the_picture_or_reaches_the_boxes(name: str):
    figure = graph(experiment(name).built)
    renderer = FigureCanvasAgg(figure).get_renderer()
    width, height = figure.get_size_inches()
    (axes,) = figure.axes
    lowest_note = min(patch.get_extents().y0 for patch in axes.patches) / figure.dpi
    for text in axes.texts:
        box = text.get_window_extent(renderer).transformed(figure.dpi_scale_trans.inverted())
        assert min(box.x0, box.y0) >= 0 and box.x1 <= width and box.y1 <= height, text.get_text()
        beside = box.x0 < NOTES and lowest_note < box.y0 < height - 0.6
        assert not beside or box.x1 < NOTES, text.get_text()


def test_the_same_network_gives_the_same_picture():
    built = experiment("repeat").built
    assert figures.svg(graph(built)) == figures.svg(graph(built))


def test_the_five_shapes():
    shown = words(shapes_of_problems())
    assert {"one to one", "one to many", "many to one"} <= set(shown)
    assert sum(text.startswith("many to many") for text in shown) == 2
    with pytest.raises(InputError, match="2 examples"):
        shapes_of_problems(("a", "b"))


@pytest.mark.parametrize(("sizes", "counts"), [((3, 2, 3), (17, 21)), ((1, 1, 1), (4, 5)), ((4, 3, 2), (23, 32))])
def test_feed_forward_beside_recurrent_counts_what_models_have(sizes: tuple[int, int, int], counts: tuple[int, int]):
    shown = words(feedforward_beside_recurrent(*sizes))
    assert tuple(int(text.split()[0]) for text in shown if "parameters" in text) == counts
    with pytest.raises(InputError, match="layers of 3, 7 and 3"):
        feedforward_beside_recurrent(3, 7, 3)


def test_the_unfolding_has_a_state_a_step():
    shown = words(unfolding(5))
    assert [text for text in shown if text.startswith("step")] == [f"step {k}" for k in range(1, 6)]
    assert shown.count("$W_h$") == 6 and shown.count("$W_x$") == 6
    with pytest.raises(InputError, match="0 steps"):
        unfolding(0)


def test_padding_of_the_lectures_lengths():
    rows = {what: (shape, wasted) for what, shape, wasted in padding((2, 3, 1, 3), features=3).rows}
    assert rows["padded, [N, T, D]"] == ("[4, 3, 3]", "3 of 12: 25 %")
    assert rows["grouped by length 3"] == ("[2, 3, 3]", 0)
    assert sum(rows[f"sequence {k}"][1] for k in range(1, 5)) == 3
    with pytest.raises(InputError, match="lengths"):
        padding((2, 0))


def test_a_network_needs_layers_and_steps():
    layer = Layer("input", "input", "[1, 1]", weights=(Weight("kernel", (2, 3), 6),), place=1)
    assert layer.parameters == 6
    for empty in (Network("none", (), (1,)), Network("part", (layer,), (1,))):
        with pytest.raises(InputError, match=r"in figures\.unfolded"):
            unfolded(empty)
