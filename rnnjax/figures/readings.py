"""How a verdict grows while a text is read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from rnnjax.config import InputError
from rnnjax.figures.style import COLOURS, INK, MUTED, RULE, styled


class Reading(NamedTuple):
    """One text as it was read.

    Attributes:
      title: what stands above it.
      words: as they are printed.
      probability: of the verdict after each word, from 0 to 1, ``[words]``.
    """

    title: str
    words: Sequence[str]
    probability: ArrayLike


def running(readings: Sequence[Reading], *, against: str, pro: str) -> Figure:
    """Draw a panel a text: the probability after each word, as a bar up or down from even, over the word itself.

    Args:
      readings: the texts.
      against: the verdict at probability 0.
      pro: the verdict at probability 1.

    Raises:
      InputError: no text, or not one probability from 0 to 1 for each word.
    """
    if not readings:
        raise InputError("no text", "in figures.running", "give one reading or more")
    longest = max(len(reading.words) for reading in readings)
    with styled():
        figure = Figure(figsize=(float(np.clip(1.2 + 0.24 * longest, 6.4, 12.0)), 2.3 * len(readings)))
        figure.set_layout_engine("constrained", h_pad=0.08)
        grid = figure.subplots(len(readings), 1, squeeze=False)[:, 0]
        for axes, reading in zip(grid, readings, strict=True):
            values = np.asarray(reading.probability, np.float64)
            if values.shape != (len(reading.words),) or not len(values) or not np.all((values >= 0) & (values <= 1)):
                raise InputError(
                    f"{len(reading.words)} words with probabilities of shape {list(values.shape)}",
                    "in figures.running",
                    "give each word one from 0 to 1",
                )
            places = np.arange(len(values))
            colours = [COLOURS[0] if value >= 0.5 else COLOURS[1] for value in values]
            axes.bar(places, values - 0.5, bottom=0.5, width=0.82, color=colours, zorder=2)
            axes.axhline(0.5, color=MUTED, linewidth=0.8, zorder=3)
            axes.set(ylim=(0, 1), xlim=(-0.6, longest - 0.4))
            axes.set_yticks([0, 0.5, 1], [f"0 {against}", "0.5", f"1 {pro}"])
            axes.set_xticks(
                places,
                list(reading.words),
                rotation=60,
                ha="right",
                rotation_mode="anchor",
                fontsize=8,
                color=INK,
                parse_math=False,
            )
            axes.tick_params(axis="x", length=0, pad=2)
            axes.set_title(reading.title, loc="left", color=INK, fontsize=9.5, parse_math=False)
            axes.spines[["top", "right", "bottom"]].set_visible(False)
            axes.grid(axis="y", color=RULE, linewidth=0.7)
            axes.set_axisbelow(True)
    return figure
