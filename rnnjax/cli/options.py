"""Options that several commands share."""

from __future__ import annotations

import argparse
from typing import Any


def add_code(parser: argparse.ArgumentParser) -> None:
    """The option that names code of one's own."""
    parser.add_argument(
        "--code",
        action="append",
        default=[],
        metavar="FILE.py:NAME",
        help="import a cell or task of your own, which a stored run names but never imports",
    )


def import_code(known: argparse.Namespace) -> None:
    """Imports the code that the command names."""
    if known.code:
        from rnnjax.experiment import own_code

        for spec in known.code:
            own_code(spec)


def checkpoint(known: argparse.Namespace) -> Any:
    """The checkpoint that is asked for: a name, or a step."""
    number = known.checkpoint
    return int(number) if number.isdecimal() and len(number) < 19 else number
