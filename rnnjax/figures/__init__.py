"""Arrays in, matplotlib figures out.

Figures are made from `matplotlib.figure.Figure` itself, so that nothing here touches pyplot's global state,
opens a window or writes a file: `svg` and `png` give a figure back as text and as bytes.

Names are imported when they are first used: matplotlib takes half a second, and a run needs it only at its end.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rnnjax.lazy import attached

if TYPE_CHECKING:
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

_HOMES = {
    "BLUE_RED": "coloured",
    "Components": "trajectories",
    "Figure": "style",
    "PURPLE_ORANGE": "coloured",
    "around": "averages",
    "atlas": "effects",
    "averages": "averages",
    "blended": "boxes",
    "coloured": "coloured",
    "credit": "effects",
    "curves": "curves",
    "feedforward_beside_recurrent": "networks",
    "film": "boxes",
    "film_strip": "films",
    "gates": "gating",
    "heatmap": "curves",
    "passage": "text",
    "png": "style",
    "principal_components": "trajectories",
    "saturated": "gating",
    "saturation": "gating",
    "shapes_of_problems": "networks",
    "spectrum": "weights",
    "svg": "style",
    "symbol_boxes": "boxes",
    "symbol_colours": "boxes",
    "trajectories": "trajectories",
    "unfolded": "networks",
    "unfolding": "networks",
    "weights": "weights",
}

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


__getattr__ = attached(__name__, _HOMES)


def __dir__() -> list[str]:
    return __all__
