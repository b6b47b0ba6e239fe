"""Tasks that can be named in a configuration."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
from typing import Any, NoReturn, get_type_hints

from rnnjax import config
from rnnjax.cells import lookup
from rnnjax.config import InputError
from rnnjax.tasks.base import Task


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


TASKS: dict[str, str | type] = {
    "text": "text:TextConfig",
    "letter_words": "letter_words:LetterWordsConfig",
    "addition": "addition:AdditionConfig",
    "names": "names:NamesConfig",
    "digits": "digits:DigitsConfig",
    "captions": "digits:CaptionsConfig",
    "parity": "algorithmic:ParityConfig",
    "recall": "algorithmic:RecallConfig",
    "reverse": "algorithmic:ReverseConfig",
    "dates": "dates:DatesConfig",
    "sentiment": "sentiment:SentimentConfig",
    "tags": "tags:TagsConfig",
    "sunspots": "series:SunspotsConfig",
    "ar": "series:AutoregressiveConfig",
    "vowels": "vowels:VowelsConfig",
    "arrays": "arrays:ArraysConfig",
    "own": "registry:OwnConfig",
}
"""Configurations by name: their module in this room, and their class; imported when they are asked for. A class stands
for a user's own task, or its configuration."""


def choose(kind: str) -> type:
    """The configuration of the task called `kind`.

    Raises:
      InputError: no task has that name; the message gives the nearest one.
    """
    if ":" in kind and kind not in TASKS:
        raise InputError(
            f"the task '{kind}' is code of your own, which a stored run does not import",
            "in task.kind",
            f"name it: --code {kind}, or rx.own(...) in Python",
        )
    found = lookup(TASKS, kind, "task")
    if isinstance(found, type):
        return _configuration(found, kind) if issubclass(found, Task) else found
    module, _, name = found.partition(":")
    return getattr(importlib.import_module(f"rnnjax.tasks.{module}"), name)


def _configuration(task: type[Task], kind: str) -> type:
    """A configuration made of the arguments of a task, all of which need a type and a default.

    Raises:
      InputError: one has none.
    """
    types, fields = get_type_hints(task.__init__), [("kind", str, config.field(kind, "what the data is"))]
    for name, argument in list(inspect.signature(task).parameters.items()):
        if argument.default is inspect.Parameter.empty or name not in types:
            raise InputError(
                f"its argument '{name}' has no type or no default",
                f"in the task {kind}",
                f"write it as {name}: int = 10",
            )
        fields.append((name, types[name], config.field(argument.default, f"argument of {task.__name__}")))

    def build(self: Any) -> Task:
        return task(**{name: getattr(self, name) for name, _, _ in fields[1:]})

    return dataclasses.make_dataclass(f"{task.__name__}Config", fields, frozen=True, namespace={"build": build})
