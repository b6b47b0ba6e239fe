"""The command line: every command is one function of the package, and heavy imports wait until one runs."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from rnnjax.cli import benching, describing, looking, running, sweeping, using
from rnnjax.config import InputError, nearest, parse_arguments

BAD_INPUT = 2


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are the house's own."""

    def error(self, message: str) -> NoReturn:
        raise InputError(message, f"in '{self.prog}'", f"see '{self.prog} --help'")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; gives the exit code: 0, 2 bad input, 3 non-finite training, 130 or 143 saved after a signal."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    try:
        return _dispatch(arguments)
    except InputError as error:
        return _refused(error)
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:
        sys.stderr.close()
        return 141
    except OSError as error:
        fix = "make room, or see to it that this place can be written to"
        return _refused(InputError(error.strerror or str(error), str(error.filename or "on disk"), fix))
    except Exception as error:
        code = getattr(error, "exit_code", None)
        if code is None:
            raise
        print(f"error: {error}", file=sys.stderr)
        return code


def _refused(error: InputError) -> int:
    print(f"error: {error}", file=sys.stderr)
    return BAD_INPUT


def _dispatch(arguments: list[str]) -> int:
    parser = _Parser(
        prog="rnnjax", description="An experiment engine for recurrent networks on JAX.", allow_abbrev=False
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=_Parser)
    for name, (add, _) in COMMANDS.items():
        add(commands.add_parser(name, help=add.__doc__, description=add.__doc__, allow_abbrev=False))
    word = next((a for a in arguments if not a.startswith("-")), None)
    if word is not None and word not in COMMANDS:
        close = nearest(word, COMMANDS)
        fix = f"did you mean '{close[0]}'?" if close else f"choose one of {', '.join(COMMANDS)}"
        raise InputError(f"unknown command '{word}'", "on the command line", fix)
    known, rest = parser.parse_known_args(arguments)
    if known.command is None:
        parser.print_help()
        return 0
    takes_overrides = known.command in ("run", "show", "resume", "sweep")
    if rest and not takes_overrides:
        raise InputError(
            f"unknown option '{rest[0]}'",
            f"after 'rnnjax {known.command}'",
            f"see 'rnnjax {known.command} --help'",
        )
    known.rest, known.overrides = rest, {} if known.command == "sweep" else parse_arguments(rest)
    known.line = shlex.join(["rnnjax", *arguments])
    return COMMANDS[known.command][1](known) or 0


COMMANDS: dict[str, tuple[Callable[[argparse.ArgumentParser], None], Callable[[argparse.Namespace], int | None]]] = {
    "list": (describing.add_list, describing.list_experiments),
    "show": (describing.add_show, describing.show),
    "run": (running.add_run, running.run_experiment),
    "resume": (running.add_resume, running.resume_run),
    "sweep": (sweeping.add_sweep, sweeping.run_sweep),
    "best": (sweeping.add_best, sweeping.best),
    "compare": (sweeping.add_compare, sweeping.compare),
    "sample": (using.add_sample, using.sample),
    "score": (using.add_score, using.score),
    "record": (looking.add_record, looking.record),
    "explain": (looking.add_explain, looking.explain),
    "lesion": (looking.add_lesion, looking.lesion),
    "view": (looking.add_view, looking.view),
    "export": (using.add_export, using.export),
    "bench": (benching.add_bench, benching.bench),
    "doctor": (describing.add_doctor, describing.doctor),
}
