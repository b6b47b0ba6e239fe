"""What do the studies come to, beside their baselines? Mean and spread over seeds, compiled once for all of them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import jax
import numpy as np

from rnnjax.experiment import Built, load
from rnnjax.population import Layout, Programs, Rhythm, fit
from rnnjax.train import metrics

SEEDS = {
    "addition": 10,
    **dict.fromkeys(
        [
            "lecture",
            "lecture/digits",
            "lecture/digits_mlp",
            "lecture/mnist",
            "lecture/parity",
            "lecture/parity_mlp",
            "lecture/reverse",
            "lecture/reverse_attention",
            "lecture/captions",
            "lecture/dates",
            "lecture/tags",
            "lecture/vowels",
            "lecture/sentiment",
            "lecture/sunspots",
            "lecture/ar",
        ],
        5,
    ),
}
SIDE_BY_SIDE = 32  # units up to which seeds run side by side in every operation, and one after the other beyond


def run(*, quick: bool = False) -> Iterator[dict[str, Any]]:
    """One row an experiment: every number that its looks measure, as mean, least and greatest over seeds."""
    for name in ["lecture", "addition"] if quick else SEEDS:
        yield measure(name, 2 if quick else SEEDS[name])


def measure(name: str, seeds: int) -> dict[str, Any]:
    """The row of one experiment."""
    began = time.perf_counter()
    built = load(name).built
    units = built.experiment.model.units
    widest = units if isinstance(units, int) else max(units)
    trained = _members(built, seeds, seeds if widest <= SIDE_BY_SIDE else 1)
    seconds = time.perf_counter() - began
    found = [_numbers(built, member, validation) for member, validation in trained]
    return {
        "question": "studies",
        "experiment": name,
        "seeds": seeds,
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(trained[0][0].params)),
        "seconds": seconds,
        "numbers": {
            key: {"mean": float(np.mean(values)), "least": float(np.min(values)), "greatest": float(np.max(values))}
            for key in found[0]
            for values in [[row[key] for row in found]]
        },
    }


def _members(built: Built, seeds: int, block: int) -> list[tuple[Any, Any]]:
    """Every seed's member and its last validation, trained as one population in blocks of so many."""
    programs = Programs(built.trainer, Layout(block))
    members, validation = trained(programs, programs.population(np.arange(seeds), {}))
    return [jax.tree.map(lambda values, k=k: values[k], (members, validation)) for k in range(seeds)]


def trained(programs: Programs, member: Any) -> tuple[Any, Any]:
    """A member at the end of its training, and its last validation."""
    validation = None
    for progress in fit(programs, member, Rhythm(programs.trainer)):
        member, validation = progress.member, progress.validation or validation
    return member, validation


def _numbers(built: Built, member: Any, validation: Any) -> dict[str, float]:
    """What validation and looks say of one member."""
    from rnnjax.looks import Subject, look  # its figures need matplotlib

    numbers = {} if validation is None else metrics(built.task, validation)
    numbers = {f"validation_{key}": value for key, value in numbers.items()}
    params = member.params if member.average is None else member.average
    model = built.trainer.model(params, member.fixed)
    subject = Subject(built, model, [], {"metrics": numbers}, (int(member.step),), partial(_same, model))
    for sight in look(subject):
        numbers |= {key: float(value) for key, value in sight.numbers.items()}
    return numbers


def _same(model: Any, step: int) -> Any:
    return model
