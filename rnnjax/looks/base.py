"""What a look is given, and what it gives."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from rnnjax.experiment import Built
from rnnjax.tasks import Table

if TYPE_CHECKING:
    from rnnjax.figures import Figure


@dataclasses.dataclass(frozen=True)
class Subject:
    """A run that has come to its end, as it is looked at.

    Attributes:
      built: the experiment, its task and its trainer.
      model: the trained model.
      log: the lines of the log.
      summary: what the run came to.
      checkpoints: the steps of which a checkpoint is kept.
      restored: gives the model at one of them.
    """

    built: Built
    model: Any
    log: Sequence[Mapping[str, Any]]
    summary: Mapping[str, Any]
    checkpoints: tuple[int, ...]
    restored: Callable[[int], Any]


@dataclasses.dataclass(frozen=True)
class Sight:
    """One thing to look at: a figure, a table, or a text that is printed as it is.

    Attributes:
      title: what it is; names its file.
      caption: what is to be seen, in a sentence.
      figure: a picture.
      table: or a table.
      text: or a text.
      numbers: measured on the way, by name, for the run's summary.
    """

    title: str
    caption: str = ""
    figure: Figure | None = None
    table: Table | None = None
    text: str = ""
    numbers: Mapping[str, float] = dataclasses.field(default_factory=dict)


def most_varied(values: np.ndarray, count: int) -> list[int]:
    """The `count` units of ``[..., units]`` that vary most, at most, in their own order."""
    spread = values.std(axis=tuple(range(values.ndim - 1)))
    return np.sort(np.argsort(-spread, kind="stable")[:count]).tolist()
