"""What other libraries answered once, as it is stored: nested dicts of arrays in one file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

Nested = dict[str, Any]

FILE = Path(__file__).with_name("frozen.npz")


def flat(nested: Mapping[str, Any], place: str = "") -> dict[str, np.ndarray]:
    """Arrays by path, its parts joined by slashes."""
    found = {}
    for key, value in nested.items():
        path = f"{place}/{key}" if place else key
        found |= flat(value, path) if isinstance(value, Mapping) else {path: np.asarray(value)}
    return found


def load() -> tuple[dict[str, Any], Nested]:
    """What is known of the file (versions, nodes), and its arrays."""
    nested: Nested = {}
    with np.load(FILE) as held:
        about = json.loads(str(held["about"]))
        for path in held.files:
            if path != "about":
                *parts, key = path.split("/")
                place = nested
                for part in parts:
                    place = place.setdefault(part, {})
                place[key] = held[path]
    return about, nested
