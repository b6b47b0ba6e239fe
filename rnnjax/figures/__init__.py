"""Arrays in, matplotlib figures out.

Figures are made from `matplotlib.figure.Figure` itself, so that nothing here touches pyplot's global state,
opens a window or writes a file: `svg` and `png` give a figure back as text and as bytes.
"""

from rnnjax.figures.boxes import blended, film, symbol_boxes, symbol_colours
from rnnjax.figures.coloured import BLUE_RED, PURPLE_ORANGE, coloured
from rnnjax.figures.curves import curves, heatmap
from rnnjax.figures.networks import feedforward_beside_recurrent, shapes_of_problems, unfolded, unfolding
from rnnjax.figures.style import Figure, png, svg

__all__ = [
    "BLUE_RED",
    "PURPLE_ORANGE",
    "Figure",
    "blended",
    "coloured",
    "curves",
    "feedforward_beside_recurrent",
    "film",
    "heatmap",
    "png",
    "shapes_of_problems",
    "svg",
    "symbol_boxes",
    "symbol_colours",
    "unfolded",
    "unfolding",
]
