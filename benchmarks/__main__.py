"""``python -m rnnjax.benchmarks [QUESTION ...]``: ``rnnjax bench`` where there is only what the core needs."""

from __future__ import annotations

import argparse
import sys

from rnnjax.benchmarks.command import add_options, ask, plain_table
from rnnjax.config import InputError


def main() -> int:
    """Measures, beside peers where they are installed; gives the exit code, 2 for bad input."""
    parser = argparse.ArgumentParser(prog="python -m rnnjax.benchmarks", description=main.__doc__, allow_abbrev=False)
    add_options(parser)
    try:
        ask(parser.parse_args(), plain_table)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
