"""The command that measures: bench."""

from __future__ import annotations

import argparse

from rnnjax.benchmarks.command import add_options, ask
from rnnjax.cli.terminal import print_table


def add_bench(parser: argparse.ArgumentParser) -> None:
    """measure speed in pairs, beside other libraries: training steps, sequences, populations, generation, start-up"""
    add_options(parser)


def bench(known: argparse.Namespace) -> None:
    """Measures what is asked, or sets two files of results side by side."""
    ask(known, print_table)
