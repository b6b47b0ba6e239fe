"""What all figures have in common: colours, fonts, and how one becomes SVG or PNG."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import matplotlib
from matplotlib.figure import Figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable

# Okabe and Ito's colours (https://jfly.uni-koeln.de/color), the ones that also hold up on white paper.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#aa4499", "#b8860b", "#4d4d4d", "#56b4e9")
# One more line style than a divisor of the colours, so that the pairs repeat after 28 series and not after 7.
LINES: tuple[Any, ...] = ("-", (0, (5, 1.8)), (0, (1.2, 1.4)), (0, (6, 1.8, 1.2, 1.8)))

INK, MUTED, RULE = "#26262b", "#6b6b73", "#e3e1dc"

STYLE: dict[Any, Any] = {
    "font.size": 10,
    "font.family": "sans-serif",
    "font.sans-serif": ["Inter", "Helvetica Neue", "Arial", "Liberation Sans", "DejaVu Sans"],
    "font.monospace": ["DejaVu Sans Mono", "Menlo", "Consolas", "Liberation Mono"],
    "text.color": INK,
    "axes.edgecolor": "#b5b3ae",
    "axes.labelcolor": MUTED,
    "axes.linewidth": 0.8,
    "xtick.color": "#b5b3ae",
    "ytick.color": "#b5b3ae",
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    # Text stays text: it can be searched, edited for a paper, and drawn in scripts matplotlib's font lacks.
    "svg.fonttype": "none",
    # Without a salt the ids inside an SVG are random, and the same figure would give another text each time.
    "svg.hashsalt": "rnnjax",
}


def key_below(figure: Figure, axes: Axes, colours: ScalarMappable, label: str, **options: Any) -> Any:
    """A key of colours under `axes`, its label beside it; options are those of `Figure.colorbar`."""
    bar = figure.colorbar(
        colours, ax=axes, location="bottom", shrink=0.35, aspect=24, anchor=(0.0, 1.0), pad=0.02, **options
    )
    label_key(bar.ax, label)
    return bar


def label_key(axes: Axes, label: str) -> None:
    """Writes a label beside the axes of a key of colours."""
    axes.tick_params(length=0, labelsize=8)
    axes.annotate(
        label,
        (1, 0.5),
        xycoords="axes fraction",
        xytext=(13, 0),
        textcoords="offset points",
        va="center",
        color=MUTED,
        fontsize=9,
        parse_math=False,
    )


def svg(figure: Figure) -> str:
    """Give the figure as SVG, from `<svg` on: the same text each time, and fit for a file as for a page."""
    stream = io.StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    with styled():
        figure.savefig(stream, format="svg", metadata=nothing)
    text = stream.getvalue()
    return text[text.index("<svg") :]


def png(figure: Figure, dpi: int = 110) -> bytes:
    """Give the figure as the bytes of a PNG of `dpi` dots per inch."""
    stream = io.BytesIO()
    with styled():
        figure.savefig(stream, format="png", dpi=dpi, metadata={"Software": None})
    return stream.getvalue()


@contextmanager
def styled() -> Iterator[None]:
    """All that is drawn or saved within has the house's style."""
    with matplotlib.rc_context(STYLE), warnings.catch_warnings():
        # The symbols of a text may be in any script; an SVG draws them with the reader's own fonts.
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from font", category=UserWarning)
        yield
