"""What a person sees: tables, JSON for machines."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any


def print_json(value: Any) -> None:
    """Prints a value as JSON; what JSON does not know is printed as text."""
    print(json.dumps(value, indent=2, ensure_ascii=False, default=str))


def plain(value: Any) -> str:
    """A value in one line, without brackets."""
    if isinstance(value, dict):
        return ", ".join(f"{k} {v}" for k, v in value.items())
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def print_table(title: str, heads: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Prints a table as wide as the terminal."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(
        title=title,
        title_justify="left",
        title_style="bold",
        box=None,
        show_header=any(heads),
        pad_edge=False,
    )
    for head in heads:
        table.add_column(head, overflow="fold")
    for row in rows:
        table.add_row(*(Text(str(cell)) for cell in row))
    console = Console()
    console.print(table)
    console.print()


def opening(text: str) -> str:
    """The beginning of a text, on one line."""
    line = text.replace("\n", "⏎")
    return line if len(line) <= 60 else f"{line[:59]}…"
