"""One of several processes that form one machine, started by `hosts.start`; see `hosts.distributed`."""

from __future__ import annotations

import argparse
import sys

from rnnjax.config import InputError
from rnnjax.signals import Interrupted
from rnnjax.sweep.launch.hosts import distributed


def main() -> int:
    """Trains as the command line says; gives the exit code: 0, 2 bad input, 130 and 143 saved after a signal."""
    parser = argparse.ArgumentParser(prog="python -m rnnjax.sweep.launch", description=__doc__)
    for name, kind in (("path", str), ("coordinator", str), ("processes", int), ("index", int)):
        parser.add_argument(name, type=kind)
    parser.add_argument("code", nargs="*")
    known = parser.parse_args()
    try:
        distributed(known.path, known.coordinator, known.processes, known.index, code=known.code)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except Interrupted as stopped:
        print(stopped, file=sys.stderr)
        return stopped.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
