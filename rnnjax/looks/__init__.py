"""What is looked at when a run has ended: tables, pictures and numbers, a file a kind of task."""

from __future__ import annotations

import importlib

from rnnjax.looks.base import Sight, Subject

__all__ = ["LOOKS", "Sight", "Subject", "look"]

LOOKS = {
    "Addition": "addition",
    "Autoregressive": "series",
    "Captions": "digits",
    "Dates": "answers",
    "Digits": "digits",
    "LetterWords": "letter_words",
    "Names": "names",
    "Parity": "algorithmic",
    "Recall": "algorithmic",
    "Reverse": "answers",
    "Sentiment": "sentiment",
    "Sunspots": "series",
    "Tags": "tags",
    "Text": "text",
    "Vowels": "vowels",
}
"""Files in this room by the class of the task."""


def look(subject: Subject) -> list[Sight]:
    """Everything that is worth a look in a run: the sights of the first of its task's classes that has any."""
    for kind in type(subject.built.task).__mro__:
        if kind.__name__ in LOOKS:
            return list(importlib.import_module(f"rnnjax.looks.{LOOKS[kind.__name__]}").look(subject))
    return []
