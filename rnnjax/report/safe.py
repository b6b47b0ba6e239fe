"""Texts and trees of numbers as a page can hold them, whatever is in them."""

from __future__ import annotations

import html
import json
import math
from collections.abc import Mapping
from importlib import resources
from typing import Any

# HTML has no way to write most control characters, and a model that samples bytes does write them.
_PICTURES = {code: 0x2400 + code for code in range(32) if chr(code) not in "\t\n"} | {127: 0x2421}


def as_text(value: object) -> str:
    """The value as text between tags or in an attribute: escaped, control characters shown as their pictures."""
    return html.escape(str(value).translate(_PICTURES).encode("utf-8", "replace").decode("utf-8"))


def as_json(tree: object) -> str:
    """The tree as JSON in ASCII that no tag can end; equal trees give equal texts."""
    text = json.dumps(plain(tree), allow_nan=False, separators=(",", ":"))
    for symbol in "<>&":
        text = text.replace(symbol, f"\\u{ord(symbol):04x}")
    return text


def plain(value: Any) -> Any:
    """The value as JSON can hold it: a number that is not finite becomes a text."""
    if isinstance(value, Mapping):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else str(float(value))
    if value is None or isinstance(value, bool | int | str):
        return value
    return plain(value.tolist()) if hasattr(value, "tolist") else str(value)


def beside(name: str) -> str:
    """The text of a file beside this one."""
    return resources.files("rnnjax.report").joinpath(name).read_text(encoding="utf-8")
