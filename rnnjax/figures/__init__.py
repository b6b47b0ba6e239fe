"""Arrays in, matplotlib figures out.

Figures are made from `matplotlib.figure.Figure` itself, so that nothing here touches pyplot's global state,
opens a window or writes a file: `svg` and `png` give a figure back as text and as bytes.
"""

from rnnjax.figures.averages import around, averages
from rnnjax.figures.boxes import blended, film, symbol_boxes, symbol_colours
from rnnjax.figures.coloured import BLUE_RED, PURPLE_ORANGE, coloured
from rnnjax.figures.curves import curves, heatmap
from rnnjax.figures.effects import atlas, credit
from rnnjax.figures.films import film_strip
from rnnjax.figures.gating import gates, saturated, saturation
from rnnjax.figures.networks import feedforward_beside_recurrent, shapes_of_problems, unfolded, unfolding
from rnnjax.figures.style import Figure, png, svg
from rnnjax.figures.text import passage
from rnnjax.figures.trajectories import Components, principal_components, trajectories
from rnnjax.figures.weights import spectrum, weights

__all__ = [
    "BLUE_RED",
    "PURPLE_ORANGE",
    "Components",
    "Figure",
    "around",
    "atlas",
    "averages",
    "blended",
    "coloured",
    "credit",
    "curves",
    "feedforward_beside_recurrent",
    "film",
    "film_strip",
    "gates",
    "heatmap",
    "passage",
    "png",
    "principal_components",
    "saturated",
    "saturation",
    "shapes_of_problems",
    "spectrum",
    "svg",
    "symbol_boxes",
    "symbol_colours",
    "trajectories",
    "unfolded",
    "unfolding",
    "weights",
]
