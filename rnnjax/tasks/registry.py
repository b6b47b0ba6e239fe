"""Tasks that can be named in a configuration."""

from __future__ import annotations

import dataclasses
from typing import NoReturn

from rnnjax import config
from rnnjax.cells import lookup
from rnnjax.config import InputError
from rnnjax.tasks.arrays import ArraysConfig
from rnnjax.tasks.text import TextConfig


@dataclasses.dataclass(frozen=True)
class OwnConfig:
    """What is stored of a task that is a user's own object."""

    kind: str = config.field("own", "what the data is")
    name: str = config.field("", "class of the task")

    def build(self) -> NoReturn:
        """Refuses: a stored run imports no code.

        Raises:
          InputError: always.
        """
        raise InputError(
            f"the task of this run is an object of your class {self.name}",
            "in task.kind",
            "hand it over: rx.open(run, task=...) or rx.resume(run, task=...)",
        )


TASKS = {"text": TextConfig, "arrays": ArraysConfig, "own": OwnConfig}


def choose(kind: str) -> type:
    """The configuration of the task called `kind`.

    Raises:
      InputError: no task has that name; the message gives the nearest one.
    """
    return lookup(TASKS, kind, "task")
