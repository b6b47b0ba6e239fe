"""The plan of a sweep: which members share a program, how they share the hardware, and which are trained together.

Members that differ in numbers alone share a program; what changes a shape, or what is present, starts another. How
members lie on the devices is measured once for a program and remembered on disk, or taken from rules. A plan is data:
it is stored with the sweep, and whoever goes on with the sweep goes by it.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

import jax
import numpy as np

from rnnjax.choosing import NUMBERS, Remembered, candidates, measure, programs_of
from rnnjax.config import InputError
from rnnjax.experiment import Built, Experiment, changed
from rnnjax.layers import FIXED_OPTIONS, RATES
from rnnjax.padding import refuse
from rnnjax.population import Layout, Programs, Rhythm, free_bytes

MEMORY = 0.6  # share of what is free that a batch may take
WIDEST = 1024  # members of a batch, where nobody says otherwise: what a kill loses, and what a checkpoint holds
PADDED = "model.units"  # in which members may differ and share a program, where padding is inert


def is_number(key: str) -> bool:
    """Whether members may differ in this key and share a program."""
    _, _, name = key.partition("model.")
    section, _, inner = name.partition(".")
    return (
        key == "seed"
        or key in NUMBERS
        or name in RATES
        or section == "initial_scales"
        or (section == "options" and inner in FIXED_OPTIONS)
    )


def is_free(key: str) -> bool:
    """Whether the key means nothing to training: what is drawn and shown afterwards."""
    return key.partition(".")[0] in ("sample", "record", "name")


def shaping(choices: Mapping[str, Any]) -> dict[str, Any]:
    """The choices that a program depends on: those that are neither numbers nor free."""
    return {key: value for key, value in choices.items() if not is_number(key) and not is_free(key)}


def chosen(experiment: Experiment, choices: Mapping[str, Any]) -> Experiment:
    """The experiment of a member: the base with its choices."""
    return changed(experiment, choices) if choices else experiment


@dataclasses.dataclass(frozen=True)
class Program:
    """Members that share a compiled program.

    Attributes:
      index: its number.
      choices: those of its first member.
      members: how many members it was planned for.
      numbers: keys in which its members differ.
      layout: how they share the hardware.
      why: how the layout was found, a line a candidate.
      width: members of a batch.
      steps: steps of each member's training.
      parameters: of each member.
      bytes: of each member, in training.
      shared_bytes: beside them, on each device: the data.
      step_seconds: of one step of one member; None: not measured.
      evaluation_seconds: of one validation of one member; None: not measured, or there is none.
      evaluations: validations of each member.
      compile_seconds: of the program; None: not measured.
      padded: whether members of fewer units are padded to those of its first member; see `rnnjax.padding`.
    """

    index: int
    choices: dict[str, Any]
    members: int
    numbers: tuple[str, ...]
    layout: Layout
    why: tuple[str, ...]
    width: int
    steps: int
    parameters: int
    bytes: int
    shared_bytes: int
    step_seconds: float | None = None
    evaluation_seconds: float | None = None
    evaluations: int = 0
    compile_seconds: float | None = None
    padded: bool = False

    def here(self) -> Program:
        """The same on the devices that there are: its members' numbers do not depend on how many."""
        layout = dataclasses.replace(self.layout, devices=jax.device_count())
        return dataclasses.replace(self, layout=layout, width=layout.width(self.width))

    def seconds(self, members: int, steps: int | None = None) -> float | None:
        """Time that so many members take, without compilation; None if nothing was measured."""
        if self.step_seconds is None:
            return None
        steps = self.steps if steps is None else steps
        evaluations = self.evaluations * steps / self.steps
        return members * (steps * self.step_seconds + evaluations * (self.evaluation_seconds or 0.0))


@dataclasses.dataclass(frozen=True)
class Batch:
    """Members that are trained together.

    Attributes:
      index: its number in the sweep.
      program: number of its program.
      members: their numbers.
      start: the step they have been trained to; beyond 0 they come from other batches.
      until: the step they are trained to.
    """

    index: int
    program: int
    members: tuple[int, ...]
    start: int
    until: int


@dataclasses.dataclass(frozen=True)
class Plan:
    """Programs, and the batches that they train."""

    programs: tuple[Program, ...]
    batches: tuple[Batch, ...]

    @property
    def member_steps(self) -> int:
        """Steps of all members in all batches."""
        return sum(len(batch.members) * (batch.until - batch.start) for batch in self.batches)

    @property
    def seconds(self) -> float | None:
        """Time that all of it takes on this machine, compilation included; None if some of it was not measured."""
        total = sum(program.compile_seconds or 0.0 for program in self.programs)
        for batch in self.batches:
            program = self.programs[batch.program]
            taken = program.seconds(program.layout.width(len(batch.members)), batch.until - batch.start)
            if taken is None:
                return None
            total += taken
        return total

    @property
    def bytes(self) -> int:
        """The most that a batch takes on all devices together."""
        return max(
            (
                program.bytes * program.layout.width(len(batch.members)) + program.shared_bytes * program.layout.devices
                for batch in self.batches
                for program in [self.programs[batch.program]]
            ),
            default=0,
        )

    def to_dict(self) -> dict[str, Any]:
        """As plain values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, tree: Mapping[str, Any]) -> Plan:
        """What `to_dict` gave."""
        programs = [
            Program(
                **{
                    **program,
                    "layout": Layout(**program["layout"]),
                    "numbers": tuple(program["numbers"]),
                    "why": tuple(program["why"]),
                }
            )
            for program in tree["programs"]
        ]
        batches = [Batch(**{**batch, "members": tuple(batch["members"])}) for batch in tree["batches"]]
        return cls(tuple(programs), tuple(batches))


@dataclasses.dataclass(frozen=True)
class Group:
    """Members of one program, before it is known how they share the hardware.

    Attributes:
      experiment: that of the first, with the layout's unrolling to come.
      choices: those of the first.
      members: numbers of all.
      numbers: keys in which they may differ.
      base: the experiment that was swept, whose data serves those that do not change it.
    """

    experiment: Experiment
    choices: dict[str, Any]
    members: list[int]
    numbers: tuple[str, ...]
    base: Experiment

    @cached_property
    def built(self) -> Built:
        """Task and trainer."""
        same = self.experiment.task == self.base.task
        return Built(self.experiment, self.base.built.task) if same else self.experiment.built


def groups(experiment: Experiment, choices: Sequence[Mapping[str, Any]], first: int = 0) -> list[Group]:
    """Members by program, in the order of their first members.

    Args:
      experiment: the base.
      choices: of each member by dotted key.
      first: number of the first member.
    """
    found: dict[Any, list[int]] = {}
    for place, of_member in enumerate(choices):
        found.setdefault(_structure(of_member), []).append(place)
    return [
        Group(
            chosen(experiment, choices[places[0]]),
            dict(choices[places[0]]),
            [first + place for place in places],
            tuple(key for key in choices[places[0]] if is_number(key)),
            experiment,
        )
        for places in found.values()
    ]


def _structure(choices: Mapping[str, Any]) -> Any:
    """What of a member's choices its program depends on: all that are no numbers, and which numbers there are."""
    shapes = [(key, repr(value)) for key, value in shaping(choices).items()]
    present = [key for key, value in choices.items() if is_number(key) and value is not None]
    return tuple(sorted(shapes)), tuple(sorted(present))


def plan_programs(
    found: Sequence[Group],
    *,
    width: int = 0,
    parts: int = 1,
    measuring: bool = True,
    first: int = 0,
    tell: Callable[[str], None] = lambda line: None,
) -> list[tuple[Program, list[int]]]:
    """Finds out how the members of each group share the hardware, and what that takes.

    Groups that differ in units alone share a program, padded, where that was measured to take less time.

    Args:
      found: the groups.
      width: members of a batch at most; 0: as memory allows.
      parts: batches that the sweep has at least, so that so many can share the work.
      measuring: whether layouts are timed, where they are not remembered; else rules choose.
      first: number of the first program.
      tell: told what is being measured.

    Returns:
      Programs, each with the numbers of its members.

    Raises:
      InputError: a member that does not fit in memory.
    """
    everyone = sum(len(group.members) for group in found)

    def planned(group: Group) -> Program:
        share = max(1, round(parts * len(group.members) / everyone))
        wanted = min(width or WIDEST, -(-len(group.members) // share))
        return _planned(group, first, wanted, measuring, tell)

    pairs = [(group, planned(group)) for group in found]
    if measuring:
        pairs = [pair for alike in _alike(pairs) for pair in _together(alike, planned)]
    return [
        (dataclasses.replace(program, index=index), group.members)
        for index, (group, program) in enumerate(pairs, first)
    ]


def _alike(pairs: Sequence[tuple[Group, Program]]) -> list[list[tuple[Group, Program]]]:
    """Groups that differ in units alone, the widest first."""
    found: dict[Any, list[tuple[Group, Program]]] = {}
    for group, program in pairs:
        rest = {key: value for key, value in group.choices.items() if key != PADDED}
        found.setdefault(_structure(rest), []).append((group, program))
    return [sorted(alike, key=lambda pair: -pair[1].parameters) for alike in found.values()]


def _together(alike: list[tuple[Group, Program]], planned: Callable[[Group], Program]) -> list[tuple[Group, Program]]:
    """One program for all of these, if padding is inert and takes less time than a program for each."""
    (largest, widest), *others = alike
    apart = [_whole_time(program, program.members) for _, program in alike]
    members = sorted(member for group, _ in alike for member in group.members)
    padded = _whole_time(widest, len(members))
    if not others or padded is None or None in apart or padded >= sum(filter(None, apart)):
        return alike
    if any(refuse(group.built.trainer, largest.built.trainer) for group, _ in others):
        return alike
    together = dataclasses.replace(largest, members=members)
    saved = sum(filter(None, apart)) - padded
    why = (*widest.why, f"{len(alike)} widths padded to the widest: {saved:,.1f} s less than a program for each")
    return [(together, dataclasses.replace(planned(together), padded=True, why=why))]


def _whole_time(program: Program, members: int) -> float | None:
    taken = program.seconds(members)
    return None if taken is None else taken + (program.compile_seconds or 0.0)


def _planned(group: Group, index: int, wanted: int, measuring: bool, tell: Callable[[str], None]) -> Program:
    built, layouts = group.built, candidates(group.built, wanted)
    numbers = [key for key, value in group.choices.items() if is_number(key) and value is not None]
    memory = Remembered(built, layouts, numbers)
    known = memory.read(Layout)
    if known is None and measuring:
        tell(f"measuring program {index + 1}: {_names(group)}")
        known = _measured(group, layouts, wanted)
        memory.write(known)
    best = known["layout"] if known else layouts[0]
    if known is None:
        each, shared = _rough_bytes(programs_of(built, best))
    else:
        each, shared = known["bytes"], known["shared_bytes"]
    room = MEMORY * free_bytes() - shared
    fits = int(room // max(1, each)) * best.devices
    if fits < 1:
        raise InputError(
            f"a member takes {each / 2**20:,.0f} MB, and {max(room, 0) / 2**20:,.0f} MB are to be had",
            f"in program {index} ({_names(group)})",
            "choose fewer units, a smaller batch or less data",
        )
    most = max(best.devices, min(wanted, fits))
    batches = -(-len(group.members) // most)
    width = best.width(-(-len(group.members) // batches))
    return Program(
        index=index,
        choices=group.choices,
        members=len(group.members),
        numbers=group.numbers,
        layout=best,
        why=tuple(known["why"]) if known else ("by rule: nothing was measured",),
        width=max(width, best.devices),
        steps=built.trainer.total,
        parameters=sum(layer["parameters"] for layer in built.layers()),
        bytes=each,
        shared_bytes=shared,
        step_seconds=known["step_seconds"] if known else None,
        evaluation_seconds=known["evaluation_seconds"] if known else None,
        evaluations=Rhythm(built.trainer).validations,
        compile_seconds=known["compile_seconds"] if known else None,
    )


def _measured(group: Group, layouts: list[Layout], wanted: int) -> dict[str, Any]:
    found = measure(group.built, layouts, len(group.members))
    best = min(found, key=lambda each: each.step_seconds)
    programs = programs_of(group.built, best.layout)
    evaluation = None
    compiling = best.compile_seconds
    several = max(2 * best.layout.quantum, 4 * best.layout.devices)  # a single block is compiled without a loop
    each, shared = _measured_bytes(programs, best.layout.width(min(several, wanted)), wanted)
    if programs.data["validation"] is not None:
        width = best.layout.width(min(best.layout.quantum, len(group.members)))
        member = programs.population(np.arange(width), {})
        times = []
        for _ in range(2):
            began = time.perf_counter()
            jax.block_until_ready(programs.evaluate(member, programs.data["validation"]))
            times.append(time.perf_counter() - began)
        evaluation = times[1] / width
        compiling += max(0.0, times[0] - times[1])
    return {
        "layout": best.layout,
        "why": [*map(str, found)],
        "step_seconds": best.step_seconds,
        "evaluation_seconds": evaluation,
        "compile_seconds": compiling,
        "bytes": each,
        "shared_bytes": shared,
    }


def _measured_bytes(programs: Programs, width: int, wanted: int) -> tuple[int, int]:
    """Bytes of a member in training, and of what does not grow with members, on a device: from two widths."""
    devices = programs.layout.devices
    of_training = sum(leaf.nbytes for leaf in jax.tree.leaves(programs.data["train"]))
    shared = sum(leaf.nbytes for leaf in jax.tree.leaves(programs.data))
    here, taken = max(1, width // devices), programs.bytes(width) - of_training
    if wanted <= width:
        return max(1, taken // here), int(shared)
    each = max(1, (programs.bytes(2 * width) - of_training - taken) // here)
    return each, int(shared + max(0, taken - each * here))


def _rough_bytes(programs: Programs) -> tuple[int, int]:
    """The same without compiling: a member is taken to need thrice its arrays."""
    member = jax.eval_shape(programs.trainer.member, 0)
    arrays = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(member))
    return 3 * arrays, int(sum(leaf.nbytes for leaf in jax.tree.leaves(programs.data)))


def _names(group: Group) -> str:
    return ", ".join(f"{key}={value}" for key, value in shaping(group.choices).items()) or "all members"


def batches_of(
    planned: Sequence[tuple[Program, Sequence[int]]], *, first: int, start: int, until: int | None
) -> tuple[Batch, ...]:
    """Cuts the members of each program into batches of its width, as equal as can be.

    Args:
      planned: programs, each with the numbers of its members.
      first: number of the first batch.
      start: step the members have been trained to.
      until: step they are trained to; None: the end of their training.
    """
    found: list[Batch] = []
    for program, members in planned:
        if not members:
            continue
        end = min(until or program.steps, program.steps)
        for part in np.array_split(np.asarray(members), -(-len(members) // program.width)):
            found.append(Batch(first + len(found), program.index, tuple(part.tolist()), start, end))
    return tuple(found)
