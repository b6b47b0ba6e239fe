"""Networks as pictures: what is unfolded over time, layer by layer, with its shapes and numbers.

Signals go upwards and time goes to the right. Every box of a row is the same layer with the same weights, at another
step.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from rnnjax.config import InputError
from rnnjax.figures.style import INK, MUTED, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Kind = Literal["input", "embedding", "recurrent", "bidirectional", "dense", "output"]

COLOURS: dict[str, tuple[str, str]] = {
    "input": ("#eceae5", "#8a8880"),
    "embedding": ("#f7ebc8", "#b8860b"),
    "recurrent": ("#cfe3f2", "#0072b2"),
    "bidirectional": ("#cfe3f2", "#0072b2"),
    "dense": ("#f9dcc7", "#d55e00"),
    "output": ("#cdeadf", "#009e73"),
}
"""Of a kind of layer: inside, and edge."""

FIRST = 3  # steps drawn before the dots, if not all are
COLUMN, BOX = 0.92, 0.5  # inches, from step to step, and the side of a box
LINE = 0.165  # inches, from line to line of what is written beside a layer
NOTES = 3.75  # inches, the width of what is written


class Weight(NamedTuple):
    """One parameter of a layer: its name, its shape, and how many numbers it holds."""

    name: str
    shape: tuple[int, ...]
    count: int


@dataclasses.dataclass(frozen=True)
class Layer:
    """One row of a picture.

    Attributes:
      name: what is written beside it.
      kind: what it is, which gives its colour and its arrows.
      shape: of what it gives, such as `[32, 20, 3]`.
      letter: in its boxes, with the step below it; none: empty boxes.
      weights: its parameters.
      note: a further line beside it.
      place: which part of the picture it belongs to: 0 what reads, 1 what writes.
      once: whether there is a single box, after the last step.
      fed: whether each box also gets an arrow from the topmost box one step before.
      sees: whether each box gets arrows from all that the first part gives.
    """

    name: str
    kind: Kind
    shape: str
    letter: str = ""
    weights: tuple[Weight, ...] = ()
    note: str = ""
    place: int = 0
    once: bool = False
    fed: bool = False
    sees: bool = False

    @property
    def parameters(self) -> int:
        """How many numbers it learns."""
        return sum(weight.count for weight in self.weights)


@dataclasses.dataclass(frozen=True)
class Network:
    """What is to be drawn.

    Attributes:
      title: above the picture.
      layers: from the input upwards; those of the first part, then those of the second.
      steps: of the first part, and of the second if there is one; 0: any number.
      caption: below the picture.
    """

    title: str
    layers: tuple[Layer, ...]
    steps: tuple[int, ...]
    caption: str = ""

    @property
    def parameters(self) -> int:
        """How many numbers the network learns."""
        return sum(layer.parameters for layer in self.layers)

    @property
    def recurs(self) -> bool:
        """Whether anything in it is recurrent."""
        return any(layer.kind in ("recurrent", "bidirectional") for layer in self.layers)


class _Column(NamedTuple):
    """A step as it is drawn: where, and how it is called (empty: dots)."""

    x: float
    step: str


class _Spot(NamedTuple):
    """A box: its middle."""

    x: float
    y: float


def unfolded(network: Network) -> Figure:
    """Draw a network unfolded over its steps: the first three, dots, and the last one, or all where there are few.

    Args:
      network: what is to be drawn.

    Raises:
      InputError: no layers, or a layer of a part that has no steps.
    """
    if not network.layers or max(layer.place for layer in network.layers) >= len(network.steps):
        raise InputError(
            f"{len(network.layers)} layers in {len(network.steps)} parts",
            "in figures.unfolded",
            "give each layer a part, and each part its steps",
        )
    columns = _columns(network)
    heights = [max(0.92, 0.34 + LINE * (_lines(layer) - 1) + 0.24) for layer in network.layers]
    width = columns[-1][-1].x + 0.62
    height = sum(heights) + 1.35
    with styled():
        figure, axes = _canvas(width, height)
        axes.text(0.1, height - 0.3, network.title, fontsize=12, fontweight="bold", color=INK, va="center")
        y, rows = 0.85, []
        for layer, room in zip(network.layers, heights, strict=True):
            middle = y + room / 2
            _notes(axes, layer, middle, room)
            numbered = network.recurs or not layer.once
            rows.append(_row(axes, layer, columns[layer.place], middle, numbered=numbered))
            y += room
        _flows(axes, network, rows)
        for place, part in enumerate(columns):
            lowest = min(row[0].y for row, layer in zip(rows, network.layers, strict=True) if layer.place == place)
            for column in part:
                axes.text(column.x, lowest - 0.43, column.step, ha="center", va="center", fontsize=8.5, color=MUTED)
        total = f"{network.parameters:,} parameters"
        if network.recurs:
            total += ", the same ones at every step: as many at any T"
        elif any(layer.once for layer in network.layers):
            total += ", for inputs of this size alone"
        axes.text(0.1, 0.34, total, fontsize=9.5, color=INK, va="center", fontweight="bold")
        axes.text(0.1, 0.13, network.caption, fontsize=8.5, color=MUTED, va="center")
    return figure


def shapes_of_problems(examples: Sequence[str] = ()) -> Figure:
    """Draw the five shapes that recurrent problems have (after Karpathy 2015, "The unreasonable effectiveness of
    recurrent neural networks").

    Args:
      examples: what is written below each; by default a problem of each shape.
    """
    shown = tuple(examples) or (
        "an image: which digit?\n(no recurrence)",
        "an image: its name,\nletter by letter",
        "a review:\nfresh or rotten?",
        "a date as it is written:\nthe same in digits",
        "a play: who says\neach character?",
    )
    kinds = (
        ("one to one", 1, (0,), (0,)),
        ("one to many", 3, (0,), (0, 1, 2)),
        ("many to one", 3, (0, 1, 2), (2,)),
        ("many to many,\ndifferent lengths", 5, (0, 1, 2), (2, 3, 4)),
        ("many to many,\nin step", 3, (0, 1, 2), (0, 1, 2)),
    )
    if len(shown) != len(kinds):
        raise InputError(f"{len(shown)} examples", "in figures.shapes_of_problems", f"give {len(kinds)}, one a shape")
    gap, side, pitch = 0.55, 0.34, 0.5
    with styled():
        width = sum(pitch * max(steps, 2.6) for _, steps, _, _ in kinds) + gap * (len(kinds) + 1)
        figure, axes = _canvas(width, 3.5)
        left = gap
        for (title, steps, reads, writes), example in zip(kinds, shown, strict=True):
            room = pitch * max(steps, 2.6)
            start = left + (room - pitch * (steps - 1)) / 2
            spots = [start + pitch * k for k in range(steps)]
            axes.text(left + room / 2, 3.2, title, ha="center", va="center", fontsize=10, fontweight="bold")
            for k, x in enumerate(spots):
                _box(axes, _Spot(x, 1.75), "recurrent" if steps > 1 else "dense", side=side)
                if k:
                    _arrow(axes, (spots[k - 1] + side / 2, 1.75), (x - side / 2, 1.75))
                if k in reads:
                    _box(axes, _Spot(x, 1.0), "input", side=side)
                    _arrow(axes, (x, 1.0 + side / 2), (x, 1.75 - side / 2))
                if k in writes:
                    _box(axes, _Spot(x, 2.5), "output", side=side)
                    _arrow(axes, (x, 1.75 + side / 2), (x, 2.5 - side / 2))
            axes.text(left + room / 2, 0.42, example, ha="center", va="center", fontsize=8.5, color=MUTED)
            left += room + gap
        for y, name in ((1.0, "in"), (1.75, "state"), (2.5, "out")):
            axes.text(0.08, y, name, ha="left", va="center", fontsize=8.5, color=MUTED)
    return figure


def feedforward_beside_recurrent(inputs: int = 3, units: int = 2, outputs: int = 3) -> Figure:
    """Draw a feed-forward network and a recurrent one of as many units, neuron by neuron, with their numbers.

    Args:
      inputs: features of an input.
      units: in the hidden layer.
      outputs: in the readout.

    Raises:
      InputError: a layer of no neuron, or of more than six.
    """
    if not all(1 <= size <= 6 for size in (inputs, units, outputs)):
        raise InputError(
            f"layers of {inputs}, {units} and {outputs}",
            "in figures.feedforward_beside_recurrent",
            "draw 1 to 6 neurons a layer",
        )
    readout = (units + 1) * outputs
    plain, recurrent = (inputs + 1) * units, (inputs + units + 1) * units
    with styled():
        figure, axes = _canvas(9.6, 4.3)
        for left, title, loops, hidden in (
            (0.0, "feed-forward", False, plain),
            (4.8, "recurrent", True, recurrent),
        ):
            axes.text(left + 2.75, 4.05, title, ha="center", va="center", fontsize=11, fontweight="bold")
            rows = [
                [_Spot(left + 2.75 + 0.8 * (k - (size - 1) / 2), y) for k in range(size)]
                for size, y in ((inputs, 0.85), (units, 2.1), (outputs, 3.35))
            ]
            for below, above in pairwise(rows):
                for a in below:
                    for b in above:
                        axes.plot((a.x, b.x), (a.y, b.y), color="#a9a7a0", linewidth=0.9, zorder=1)
            if loops:
                _loops(axes, rows[1])
            for row, kind in zip(rows, ("input", "recurrent" if loops else "dense", "output"), strict=True):
                for spot in row:
                    _neuron(axes, spot, kind)
            kernel = f"{inputs} x {units}" + (f" + {units} x {units}" if loops else "") + f" + {units} = {hidden}"
            for y, text in (
                (3.35, f"{outputs} outputs\n{units} x {outputs} + {outputs} = {readout}"),
                (2.1, f"{units} units\n{kernel}"),
                (0.85, f"{inputs} inputs"),
            ):
                axes.text(left + 0.12, y, text, ha="left", va="center", fontsize=8, color=INK, linespacing=1.4)
            last = "the same ones at each of any number of steps" if loops else "for an input of one size"
            total = f"{hidden + readout} parameters, {last}"
            axes.text(left + 2.4, 0.22, total, ha="center", va="center", fontsize=9)
    return figure


def unfolding(length: int = 5) -> Figure:
    """Draw a recurrent layer with its loop, and the same one unfolded over `length` steps, its weights named.

    Args:
      length: steps.

    Raises:
      InputError: no step, or more than twelve.
    """
    if not 1 <= length <= 12:
        raise InputError(f"{length} steps", "in figures.unfolding", "draw 1 to 12")
    pitch, left = 1.25, 4.3
    with styled():
        figure, axes = _canvas(left + pitch * (length - 1) + 0.7, 3.4)
        folded = 0.95
        _tower(axes, folded, "x_t", "h_t", "y_t")
        loop = FancyArrowPatch(
            (folded + 0.25, 1.9),
            (folded + 0.25, 1.6),
            connectionstyle="arc3,rad=-2.2",
            arrowstyle="-|>",
            mutation_scale=8,
            shrinkA=0,
            shrinkB=0,
            color="#5b5a57",
            linewidth=0.9,
        )
        axes.add_patch(loop)
        axes.text(folded + 0.64, 1.75, "$W_h$", ha="left", va="center", fontsize=10, color=COLOURS["recurrent"][1])
        axes.text(2.45, 1.75, "=", ha="center", va="center", fontsize=20, color=MUTED)
        for k in range(length):
            x = left + pitch * k
            _tower(axes, x, f"x_{{{k + 1}}}", f"h_{{{k + 1}}}", f"y_{{{k + 1}}}")
            start = x - pitch + 0.25
            _arrow(axes, (start, 1.75), (x - 0.25, 1.75))
            axes.text(x - pitch / 2, 1.9, "$W_h$", ha="center", va="bottom", fontsize=10, color=COLOURS["recurrent"][1])
            if not k:
                axes.text(start - 0.08, 1.75, "$h_0 = 0$", ha="right", va="center", fontsize=10, color=MUTED)
            axes.text(x, 0.16, f"step {k + 1}", ha="center", va="center", fontsize=8.5, color=MUTED)
        axes.text(folded, 0.16, "at any step", ha="center", va="center", fontsize=8.5, color=MUTED)
    return figure


def _columns(network: Network) -> list[list[_Column]]:
    """Where the steps of each part are drawn."""
    x, found = NOTES + 0.5, []
    for place, steps in enumerate(network.steps):
        rows = [layer for layer in network.layers if layer.place == place]
        if all(layer.once for layer in rows):
            names = [""]
        elif 0 < steps <= FIRST + 2:
            names = [str(k + 1) for k in range(steps)]
        else:
            names = [*(str(k + 1) for k in range(FIRST)), "", str(steps or "T")]
        part = []
        for name in names:
            part.append(_Column(x, name))
            x += COLUMN if name or len(names) == 1 else 0.8 * COLUMN
        found.append(part)
        x += 0.45
    return found


def _lines(layer: Layer) -> int:
    return 2 + len(layer.weights) + bool(layer.note)


def _notes(axes: Axes, layer: Layer, middle: float, room: float) -> None:
    """What is written beside a layer: name, shape, parameters."""
    edge = COLOURS[layer.kind][1]
    lines = [(layer.name, INK, "bold", 9.5), (layer.shape, MUTED, "normal", 8.5)]
    lines += [(layer.note, MUTED, "normal", 8.5)] if layer.note else []
    for weight in layer.weights:
        product = " x ".join(map(str, weight.shape))
        numbers = f"{product} = {weight.count:,}" if len(weight.shape) > 1 else f"{weight.count:,}"
        lines.append((f"{weight.name}: {numbers}", INK, "normal", 8.5))
    top = middle + LINE * (len(lines) - 1) / 2
    axes.plot((0.1, 0.1), (middle - room / 2 + 0.07, middle + room / 2 - 0.07), color=edge, linewidth=2.4)
    for k, (text, colour, weight, size) in enumerate(lines):
        axes.text(
            0.22, top - LINE * k, text, color=colour, fontweight=weight, fontsize=size, va="center", parse_math=False
        )
    if layer.weights:
        axes.text(NOTES - 0.25, top, f"{layer.parameters:,}", ha="right", va="center", fontsize=9.5, fontweight="bold")


def _row(axes: Axes, layer: Layer, columns: list[_Column], y: float, *, numbered: bool) -> list[_Spot]:
    """The boxes of a layer; where dots stand for steps, there is none."""
    shown = columns[-1:] if layer.once else columns
    spots = []
    for column in shown:
        spot = _Spot(column.x, y)
        if not column.step and len(columns) > 1:
            axes.text(spot.x, spot.y, "···", ha="center", va="center", fontsize=13, color=MUTED)
        elif layer.kind == "bidirectional":
            _pair(axes, spot)
        else:
            label = f"${layer.letter}_{{{column.step}}}$" if numbered and column.step else f"${layer.letter}$"
            _box(axes, spot, layer.kind, label if layer.letter else "")
        spots.append(spot)
    for before, after in pairwise(spots):
        if layer.kind == "recurrent":
            _arrow(axes, (_edge(before, columns, 1), y), (_edge(after, columns, -1), y))
        elif layer.kind == "bidirectional":
            _arrow(axes, (_edge(before, columns, 1), y - 0.14), (_edge(after, columns, -1), y - 0.14))
            _arrow(axes, (_edge(after, columns, -1), y + 0.14), (_edge(before, columns, 1), y + 0.14))
    return spots


def _edge(spot: _Spot, columns: list[_Column], side: int) -> float:
    """Where an arrow begins or ends: at the edge of the box, or short of the dots."""
    dots = any(column.x == spot.x and not column.step for column in columns)
    return spot.x + side * (0.26 if dots else BOX / 2)


def _flows(axes: Axes, network: Network, rows: list[list[_Spot]]) -> None:
    """The arrows from row to row."""
    layers = network.layers
    drawn = [[s for s in row if not _is_dots(network, layer, s)] for layer, row in zip(layers, rows, strict=True)]
    for k in range(1, len(layers)):
        below, above = drawn[k - 1], drawn[k]
        both = layers[k - 1].kind == "bidirectional"
        if layers[k].place != layers[k - 1].place:
            for spot in above:
                _link(axes, below[-1], spot)
            if both and len(below) > 1:
                _link(axes, below[0], above[0])
        elif both and layers[k].once:
            _ends(axes, below[0], below[-1], above[0])
        elif layers[k].once and layers[k - 1].kind in ("input", "embedding"):
            for spot in below:  # all steps are read at once
                _arrow(axes, (spot.x, spot.y + BOX / 2), (above[0].x, above[0].y - BOX / 2))
        else:
            starts = {spot.x: spot for spot in below}
            for spot in above:
                if spot.x in starts:
                    _arrow(axes, (spot.x, starts[spot.x].y + BOX / 2), (spot.x, spot.y - BOX / 2))
        if layers[k].fed:
            for before, after in zip(drawn[-1], above[1:], strict=False):
                if after.x - before.x < 1.2 * COLUMN:
                    _back(axes, before, after)
        if layers[k].sees:
            first = [i for i, layer in enumerate(layers) if layer.place == 0][-1]
            for spot in drawn[first]:
                _link(axes, spot, above[0], faint=True)


def _is_dots(network: Network, layer: Layer, spot: _Spot) -> bool:
    part = _columns(network)[layer.place]
    return len(part) > 1 and any(column.x == spot.x and not column.step for column in part)


def _canvas(width: float, height: float) -> tuple[Figure, Any]:
    """A figure and axes in which a unit is an inch."""
    figure = Figure(figsize=(width, height))
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set(xlim=(0, width), ylim=(0, height))
    axes.set_axis_off()
    return figure, axes


def _box(axes: Axes, spot: _Spot, kind: str, label: str = "", *, side: float = BOX) -> None:
    inside, edge = COLOURS[kind]
    patch = FancyBboxPatch(
        (spot.x - side / 2 + 0.04, spot.y - side / 2 + 0.04),
        side - 0.08,
        side - 0.08,
        boxstyle="round,pad=0.04,rounding_size=0.07",
        facecolor=inside,
        edgecolor=edge,
        linewidth=1.1,
        zorder=3,
    )
    axes.add_patch(patch)
    if label:
        axes.text(spot.x, spot.y, label, ha="center", va="center", fontsize=9.5, color=INK, zorder=4)


def _pair(axes: Axes, spot: _Spot) -> None:
    """A layer in both directions: what goes forward below, what goes backward above."""
    inside, edge = COLOURS["bidirectional"]
    for offset, arrow in ((-0.14, r"$\overrightarrow{h}$"), (0.14, r"$\overleftarrow{h}$")):
        patch = FancyBboxPatch(
            (spot.x - BOX / 2 + 0.04, spot.y + offset - 0.09),
            BOX - 0.08,
            0.18,
            boxstyle="round,pad=0.035,rounding_size=0.05",
            facecolor=inside,
            edgecolor=edge,
            linewidth=1.1,
            zorder=3,
        )
        axes.add_patch(patch)
        axes.text(spot.x, spot.y + offset, arrow, ha="center", va="center", fontsize=8, color=INK, zorder=4)


def _arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    axes.add_patch(
        FancyArrowPatch(
            start, end, arrowstyle="-|>", mutation_scale=8, shrinkA=0, shrinkB=0, color="#5b5a57", linewidth=0.9
        )
    )


def _link(axes: Axes, start: _Spot, end: _Spot, *, faint: bool = False) -> None:
    """From what has been read to what is written."""
    axes.add_patch(
        FancyArrowPatch(
            (start.x + BOX / 2, start.y + 0.1) if not faint else (start.x, start.y + BOX / 2),
            (end.x, end.y - BOX / 2) if not faint else (end.x - BOX / 2, end.y),
            connectionstyle="arc3,rad=0.12" if not faint else "arc3,rad=-0.15",
            arrowstyle="-|>",
            mutation_scale=8,
            shrinkA=0,
            shrinkB=0,
            color="#d55e00" if faint else "#0072b2",
            alpha=0.65,
            linewidth=0.8 if faint else 1.0,
            linestyle=(0, (3, 2)) if faint else "-",
            zorder=2,
        )
    )


def _ends(axes: Axes, first: _Spot, last: _Spot, above: _Spot) -> None:
    """From where each direction has read everything: backward at the first step, forward at the last."""
    ways = (
        ((first.x, first.y + BOX / 2), (above.x - BOX / 2, above.y), -0.18),
        ((last.x + BOX / 2, last.y - 0.14), (above.x + BOX / 2, above.y), 0.35),
    )
    for start, end, bend in ways:
        axes.add_patch(
            FancyArrowPatch(
                start,
                end,
                connectionstyle=f"arc3,rad={bend}",
                arrowstyle="-|>",
                mutation_scale=8,
                shrinkA=0,
                shrinkB=0,
                color="#5b5a57",
                linewidth=0.9,
                zorder=2,
            )
        )


def _back(axes: Axes, start: _Spot, end: _Spot) -> None:
    """From an answer to what reads it one step on."""
    axes.add_patch(
        FancyArrowPatch(
            (start.x + BOX / 2, start.y),
            (end.x - 0.12, end.y - BOX / 2),
            connectionstyle="arc3,rad=0",
            arrowstyle="-|>",
            mutation_scale=8,
            shrinkA=0,
            shrinkB=0,
            color="#009e73",
            linewidth=1.0,
            linestyle=(0, (4, 2)),
            zorder=2,
        )
    )


def _neuron(axes: Axes, spot: _Spot, kind: str) -> None:
    inside, edge = COLOURS[kind]
    axes.plot(
        spot.x, spot.y, "o", markersize=20, markerfacecolor=inside, markeredgecolor=edge, markeredgewidth=1.2, zorder=3
    )


def _loops(axes: Axes, row: list[_Spot]) -> None:
    """From every unit to every unit, itself among them."""
    for a in row:
        axes.add_patch(
            FancyArrowPatch(
                (a.x - 0.07, a.y + 0.12),
                (a.x + 0.07, a.y + 0.12),
                connectionstyle="arc3,rad=-2.6",
                arrowstyle="-|>",
                mutation_scale=8,
                shrinkA=0,
                shrinkB=0,
                color="#0072b2",
                linewidth=1.1,
                zorder=4,
            )
        )
        for b in row:
            if a is not b:
                axes.add_patch(
                    FancyArrowPatch(
                        a,
                        b,
                        connectionstyle="arc3,rad=0.35",
                        arrowstyle="-|>",
                        mutation_scale=8,
                        shrinkA=10,
                        shrinkB=10,
                        color="#0072b2",
                        linewidth=1.1,
                        zorder=2,
                    )
                )


def _tower(axes: Axes, x: float, below: str, middle: str, above: str) -> None:
    """One step: input, state, output."""
    for y, kind, label in ((0.7, "input", below), (1.75, "recurrent", middle), (2.8, "output", above)):
        _box(axes, _Spot(x, y), kind, f"${label}$")
    for y, name in ((0.7, "$W_x$"), (1.75, "$W_y$")):
        _arrow(axes, (x, y + BOX / 2), (x, y + 1.05 - BOX / 2))
        axes.text(x + 0.07, y + 0.52, name, ha="left", va="center", fontsize=10, color="#d55e00")
