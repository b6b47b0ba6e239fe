"""The story of a sweep: it is planned, its batches are trained, its members compared, and the rest is summed up.

A sweep is a folder. Whoever works on it, in this process or in another, opens it, trains batches that nobody has
trained, and asks for the next stage when all are done: the survivors of a rung, or the next generation of an adaptive
search. Each batch is written once; a batch that was stopped goes on from its checkpoint.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import cached_property
from pathlib import Path
from typing import Any

import jax
import numpy as np

from rnnjax import config
from rnnjax.choosing import programs_of
from rnnjax.config import InputError, nearest
from rnnjax.experiment import CONFIG_FILE, DATA_FILE, Built, Experiment, load, storable
from rnnjax.padding import unpad
from rnnjax.population import Programs, greatest
from rnnjax.progress import SweepDisplay, showing_sweep
from rnnjax.signals import Interrupted
from rnnjax.store import SWEEP_FILE, RunFolder, atomic_write, check_name, is_sweep
from rnnjax.sweep.adaptive import Adaptive
from rnnjax.sweep.plan import Batch, Group, Plan, Program, batches_of, chosen, groups, plan_programs
from rnnjax.sweep.rungs import rungs, survivors
from rnnjax.sweep.samplers import draw
from rnnjax.sweep.settings import SweepConfig
from rnnjax.sweep.spaces import Space
from rnnjax.sweep.table import Table, direction_of, write_part
from rnnjax.sweep.training import Training
from rnnjax.tasks import Arrays, Task
from rnnjax.timing import describe_environment
from rnnjax.train import Member

STUDY_FILE = "optuna.log"
WAIT_SECONDS = 2.0  # between looks at what other workers have done


@dataclasses.dataclass(frozen=True)
class Stage:
    """Batches that can be trained side by side, once the stage before is done.

    Attributes:
      kind: `start`, `rung` or `generation`.
      first: number of its first new member.
      choices: of each new member, by dotted key.
      trials: their numbers in an adaptive search.
      plan: new programs, and its batches.
      until: the step its members are trained to; None: to the end.
    """

    kind: str
    first: int
    choices: tuple[dict[str, Any], ...]
    trials: tuple[int, ...]
    plan: Plan
    until: int | None = None

    def to_json(self) -> bytes:
        """As a file."""
        return json.dumps(dataclasses.asdict(self), default=_plain).encode()

    @classmethod
    def from_json(cls, text: bytes) -> Stage:
        """What `to_json` gave."""
        tree = json.loads(text)
        plan = Plan.from_dict(tree["plan"])
        return cls(tree["kind"], tree["first"], tuple(tree["choices"]), tuple(tree["trials"]), plan, tree["until"])


def first_stage(
    experiment: Experiment,
    space: Space,
    settings: SweepConfig,
    *,
    tell: Callable[[str], None] = lambda line: None,
) -> Stage:
    """What a sweep begins with, planned; nothing is trained or written. An adaptive search begins with its like.

    Args:
      experiment: the base.
      space: what is swept.
      settings: how.
      tell: told what is being measured.

    Raises:
      InputError: what is swept or asked for does not go together.
    """
    settings.check(space)
    space = space.check(experiment)
    if settings.adaptive:
        count = min(settings.generation, settings.trials or 1)
        choices = draw(space, trials=count, sampler="random", seed=settings.sampler_seed)
    else:
        choices = draw(space, trials=settings.trials, sampler=settings.sampler, seed=settings.sampler_seed)
    found = groups(experiment, choices)
    until = None
    if settings.halving:
        totals = {group.built.trainer.total for group in found}
        if len(totals) > 1:
            raise InputError(
                f"halving among members of {min(totals):,} to {max(totals):,} steps",
                "in --halving",
                "give all members the same train.steps",
            )
        until = rungs(totals.pop(), len(choices), settings.halving, settings.first_rung)[0]
    planned = plan_programs(found, width=settings.width, parts=settings.batches, measuring=settings.measure, tell=tell)
    batches = batches_of(planned, first=0, start=0, until=until)
    return Stage("start", 0, tuple(choices), (), Plan(tuple(program for program, _ in planned), batches), until)


def prepare(
    experiment: Experiment,
    space: Space,
    settings: SweepConfig | None = None,
    root: str | Path = "runs",
    name: str | None = None,
    *,
    join: bool = False,
    command: str = "",
    tell: Callable[[str], None] = lambda line: None,
) -> Path:
    """Plans a sweep and makes its folder; nothing is trained.

    Args:
      experiment: the base.
      space: what is swept.
      settings: how.
      root: folder that holds runs and sweeps.
      name: of the sweep's folder; a numbered one after the experiment if None.
      join: whether a sweep of that name that is the same is joined instead of refused.
      command: what the sweep was started with.
      tell: told what is being measured.

    Returns:
      The sweep's folder.

    Raises:
      InputError: what is swept does not go together, the name is taken, or names another sweep.
    """
    settings = settings or SweepConfig()
    space = space.check(experiment)
    description = {"axes": space.texts(), "settings": config.to_dict(settings), "name": experiment.name}
    text = config.dump(storable(experiment))
    if join and name and (Path(root) / name / SWEEP_FILE).is_file():
        return _joined(Path(root) / name, description, text)
    check_name(root, name)
    settings.check(space)
    environment = describe_environment() | {"command": command}
    files = {SWEEP_FILE: json.dumps(description, indent=2).encode()}
    if not settings.adaptive:
        files["stages/000.json"] = first_stage(experiment, space, settings, tell=tell).to_json()
    try:
        folder = RunFolder.create(root, name, text, environment, stem=f"{experiment.name}-sweep", files=files)
    except InputError:
        if join and name and (Path(root) / name / SWEEP_FILE).is_file():
            return _joined(Path(root) / name, description, text)
        raise
    if isinstance(experiment.task, Arrays):
        experiment.task.save(folder.path / DATA_FILE)
    return folder.path


def _joined(path: Path, description: Mapping[str, Any], text: str) -> Path:
    there = json.loads((path / SWEEP_FILE).read_bytes())
    if there != json.loads(json.dumps(description)) or (path / CONFIG_FILE).read_text(encoding="utf-8") != text:
        raise InputError(f"'{path}' is another sweep", "in --name", "give the same axes and settings, or another name")
    return path


def open_sweep(path: str | Path, task: Task | None = None) -> Sweep:
    """The sweep in a folder.

    Args:
      path: its folder.
      task: the data, where the sweep was given a task of one's own.

    Raises:
      InputError: it is no sweep.
    """
    return Sweep(path, task)


class Sweep:
    """A sweep on disk; see `open_sweep`.

    Attributes:
      path: its folder.
    """

    def __init__(self, path: str | Path, task: Task | None = None):
        self.path = Path(path)
        if not is_sweep(self.path):
            others = [each.parent.name for each in self.path.parent.glob(f"*/{SWEEP_FILE}")]
            near = [f"'{self.path.with_name(each)}'" for each in nearest(self.path.name, others)]
            raise InputError(
                f"'{self.path}' is no sweep",
                f"{SWEEP_FILE} is missing" if self.path.is_dir() else "there is no such folder",
                f"did you mean {' or '.join(near)}?" if near else "give a sweep's folder, as rnnjax sweep prints it",
            )
        self.folder, self._task = RunFolder(self.path), task
        self._programs: dict[int, tuple[Program, Group, Programs]] = {}

    # -- what it is

    @cached_property
    def description(self) -> dict[str, Any]:
        """Axes, settings and name."""
        return json.loads((self.path / SWEEP_FILE).read_bytes())

    @cached_property
    def settings(self) -> SweepConfig:
        """How it is searched."""
        return config.from_dict(SweepConfig, self.description["settings"], where=f"in {self.path / SWEEP_FILE}")

    @cached_property
    def space(self) -> Space:
        """What is swept."""
        return Space.parse(self.description["axes"])

    @cached_property
    def experiment(self) -> Experiment:
        """The base."""
        found = load(self.path)
        return found if self._task is None else dataclasses.replace(found, task=self._task)

    def stages(self) -> list[Stage]:
        """All stages so far."""
        files = sorted((self.path / "stages").glob("*.json"))
        return [self._stage(file) for file in files]

    def _stage(self, file: Path) -> Stage:
        if file not in self._read:
            self._read[file] = Stage.from_json(file.read_bytes())
        return self._read[file]

    @cached_property
    def _read(self) -> dict[Path, Stage]:
        return {}

    @property
    def plan(self) -> Plan:
        """Programs and batches of all stages so far."""
        plans = [stage.plan for stage in self.stages()]
        return Plan(
            tuple(program for plan in plans for program in plan.programs),
            tuple(batch for plan in plans for batch in plan.batches),
        )

    @property
    def choices(self) -> list[dict[str, Any]]:
        """Of every member so far."""
        return [of_member for stage in self.stages() for of_member in stage.choices]

    @cached_property
    def metric(self) -> str:
        """What members are compared by."""
        if self.settings.metric:
            return self.settings.metric
        return "loss" if self.experiment.built.task.data("validation") is None else "validation_loss"

    def table(self) -> Table:
        """The rows of members so far."""
        return Table(self.path)

    def done(self) -> set[int]:
        """Numbers of the batches that were trained."""
        return {int(file.stem) for file in (self.path / "table").glob("*.parquet") if file.stem.isdecimal()}

    def is_done(self) -> bool:
        """Whether there is nothing more to train."""
        return (self.path / "summary.json").is_file()

    # -- training

    def work(
        self,
        *,
        mine: Callable[[Batch], bool] = lambda batch: True,
        display: SweepDisplay | None = None,
        heard: Sequence[int] = (),
    ) -> None:
        """Trains what is left of the sweep and sums it up; what others train is waited for where it is needed.

        Args:
          mine: which batches are this worker's.
          display: told how far it is.
          heard: signals, once there are any.

        Raises:
          Interrupted: there was a signal; what was trained is saved.
        """
        while True:
            self.begin()
            stage = self.stages()[-1]
            for batch in stage.plan.batches:
                if mine(batch) and not self.train(batch.index, display=display, heard=heard):
                    raise InputError(f"batch {batch.index} is being trained", f"in '{self.path}'", "wait until it ends")
            left = {batch.index for batch in stage.plan.batches} - self.done()
            if left and not self._goes_on():
                return  # another shard's: whoever is last sums up
            while left:
                self._check(heard)
                time.sleep(WAIT_SECONDS)
                left -= self.done()
            if not self.advance():
                break
        self.finish()

    def _goes_on(self) -> bool:
        return bool(self.settings.halving) or self.settings.adaptive

    def train(self, index: int, *, display: SweepDisplay | None = None, heard: Sequence[int] = ()) -> bool:
        """Trains one batch, or goes on with it from its checkpoint.

        Args:
          index: its number.
          display: told how far it is.
          heard: signals, once there are any.

        Returns:
          Whether it is done; not so while another process is at it.

        Raises:
          InputError: there is no such batch.
          Interrupted: there was a signal; what was trained is saved.
        """
        batch = next((each for each in self.plan.batches if each.index == index), None)
        if batch is None:
            raise InputError(f"there is no batch {index}", f"in '{self.path}'", f"it has {len(self.plan.batches)}")
        if any(greatest(index in self.done())):
            return True
        folder = self.batch_folder(index)
        folder.path.mkdir(parents=True, exist_ok=True)
        with contextlib.ExitStack() as stack:
            held = False
            if jax.process_index() == 0:
                try:
                    stack.enter_context(folder.lock())
                except InputError:
                    held = True
            held, done = map(bool, greatest(held, index in self.done()))
            if held:
                return False
            if not done:
                program, group, programs = self._program(batch.program)
                training = Training(self, batch, program, group.built, programs, folder)
                finished = training.run(display=display, heard=heard)
                if not finished:
                    number = heard[0] if heard else signal.SIGTERM  # another process may have heard it
                    raise Interrupted(number, self.path, f"{training.steps_done:,} steps of batch {index}")
        return True

    def batch_folder(self, index: int) -> RunFolder:
        """Where a batch's members are."""
        return RunFolder(self.path / "batches" / f"{index:04d}")

    def programs_of(self, index: int) -> Programs:
        """The compiled programs of a program's number."""
        return self._program(index)[2]

    def _program(self, index: int) -> tuple[Program, Group, Programs]:
        """A program and what belongs to it; only the last is kept, for batches come program by program."""
        if index not in self._programs:
            self._programs.clear()
            program = self.plan.programs[index].here()
            (group,) = groups(self.experiment, [program.choices])
            self._programs[index] = (program, group, programs_of(group.built, program.layout))
        return self._programs[index]

    def showing(self, quiet: bool = False) -> AbstractContextManager[SweepDisplay | None]:
        """A display of how far it is; None if it is to be quiet."""
        plan, done = self.plan, self.done()
        steps = [len(batch.members) * (batch.until - batch.start) for batch in plan.batches if batch.index in done]
        rising = direction_of(self.metric) == "max"
        members = (self.settings.trials if self.settings.adaptive else None) or len(self.choices)
        return showing_sweep(self.steps_to_do(), members, sum(steps), metric=self.metric, rising=rising, quiet=quiet)

    def steps_to_do(self) -> int:
        """Steps of all members in all stages, those to come included."""
        plan, settings, members = self.plan, self.settings, len(self.choices)
        if settings.adaptive:
            return (settings.trials or members) * plan.programs[0].steps
        if not settings.halving:
            return plan.member_steps
        steps = rungs(plan.programs[0].steps, members, settings.halving, settings.first_rung)
        total = 0
        for before, until in zip((0, *steps), steps, strict=False):
            total += members * (until - before)
            members = max(1, members // settings.halving)
        return total

    # -- from stage to stage

    def begin(self) -> None:
        """Sees to it that there is a first stage."""
        if not self.stages():
            with self._alone():
                if not self.stages():
                    first = self._generation(0, 0, 0)
                    assert first is not None  # there is at least one trial
                    self._write(first)

    def advance(self) -> bool:
        """Makes the next stage once all batches of the last are done; whether there is one.

        Raises:
          InputError: batches are left.
        """
        with self._alone():
            stages = self.stages()
            if {batch.index for batch in self.plan.batches} - self.done():
                raise InputError("batches are left", f"in '{self.path}'", "train them first")
            found = self._next(stages)
            if found is not None:
                self._write(found, len(stages))
            return found is not None

    def _write(self, stage: Stage, number: int = 0) -> None:
        atomic_write(self.path / "stages" / f"{number:03d}.json", stage.to_json())

    def _next(self, stages: list[Stage]) -> Stage | None:
        last, plan = stages[-1], self.plan
        first_batch = len(plan.batches)
        if self.settings.adaptive:
            self._tell(last)
            return self._generation(len(self.choices), first_batch, len(plan.programs))
        if not self.settings.halving or last.until is None:
            return None
        steps = rungs(plan.programs[0].steps, len(self.choices), self.settings.halving, self.settings.first_rung)
        later = [step for step in steps if step > last.until]
        kept = self._survivors(last, self.settings.halving) if later else []
        if not kept:
            return None
        until = later[0]
        home = {member: batch.program for batch in last.plan.batches for member in batch.members}
        of_program: dict[int, list[int]] = {}
        for member in kept:
            of_program.setdefault(home[member], []).append(member)
        planned = [(program, of_program.get(program.index, [])) for program in plan.programs]
        batches = batches_of(planned, first=first_batch, start=last.until, until=until)
        return Stage("rung", len(self.choices), (), (), Plan((), batches), until)

    def _survivors(self, last: Stage, factor: int) -> list[int]:
        """Those that go on; the rows of the others say from now on that they were stopped."""
        table, sign = self.table(), -1.0 if direction_of(self.metric) == "max" else 1.0
        everyone = [member for batch in last.plan.batches for member in batch.members]
        places = np.searchsorted(table.column("member"), everyone)
        values = np.where(table.column("status")[places] == "running", sign * table.column(self.metric)[places], np.nan)
        kept = set(survivors(everyone, values, factor))
        rows = table.rows()
        for batch in last.plan.batches:
            mine = [dict(rows[place]) for place in np.searchsorted(table.column("member"), batch.members)]
            for row in mine:
                if row["status"] == "running" and row["member"] not in kept:
                    row["status"] = "stopped"
            columns = [name for name in table.columns if name != "batch"]
            write_part(self.path, batch.index, {name: [row[name] for row in mine] for name in columns})
        return sorted(kept)

    def _generation(self, first: int, first_batch: int, first_program: int) -> Stage | None:
        """Members that an adaptive search asks for next; None when it has asked for all."""
        with self._search() as search:
            asked = search.pending() or search.ask(self.settings.generation)
        if not asked:
            return None
        trials, choices = zip(*asked, strict=True)
        found = groups(self.experiment, choices, first)
        planned = plan_programs(
            found,
            width=self.settings.width,
            parts=self.settings.batches,
            measuring=self.settings.measure,
            first=first_program,
        )
        batches = batches_of(planned, first=first_batch, start=0, until=None)
        programs = tuple(program for program, _ in planned)
        return Stage("generation", first, choices, trials, Plan(programs, batches))

    def _tell(self, stage: Stage) -> None:
        table = self.table()
        rows = [table.member(stage.first + place) for place in range(len(stage.trials))]
        with self._search() as search:
            search.tell_all(
                (trial, row.get(self.metric), _told(row, self.metric), {"member": row["member"]})
                for trial, row in zip(stage.trials, rows, strict=True)
            )

    @contextlib.contextmanager
    def _search(self) -> Iterator[Adaptive]:
        settings = self.settings
        found = Adaptive(
            self.space.check(self.experiment),
            settings.sampler,
            settings.sampler_seed,
            settings.trials or 1,
            self.path / STUDY_FILE,
            self.path.name,
            direction=direction_of(self.metric),
            folder=self.path,
        )
        with found:
            yield found

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """One worker at a time goes from stage to stage."""
        for waited in itertools.count():
            try:
                with self.folder.lock():
                    yield
                return
            except InputError:
                if waited * WAIT_SECONDS > 600:
                    raise
                time.sleep(WAIT_SECONDS)

    def _check(self, heard: Sequence[int]) -> None:
        if heard:
            raise Interrupted(heard[0], self.path, f"{len(self.done())} batches")

    # -- what came out

    def finish(self) -> None:
        """Writes the whole table and the summary, once all is done."""
        from rnnjax.sweep.pages import write_pages  # which draws: matplotlib is not awaited until here

        table = self.table()
        table.write(self.path / "table.parquet")
        summary = self.summed_up(table)
        write_pages(self, table, summary)
        self.folder.write_summary(summary)

    def summed_up(self, table: Table) -> dict[str, Any]:
        """What the sweep came to so far."""
        statuses = table.column("status").tolist() if len(table) else []
        best = table.best(self.metric)
        steps = int(table.column("steps").sum()) if len(table) else 0
        seconds = sum(self.batch_folder(index).summary().get("seconds", 0.0) for index in self.done())
        return {
            "members": len(self.choices),
            "statuses": {status: statuses.count(status) for status in sorted(set(statuses))},
            "programs": len(self.plan.programs),
            "batches": len(self.plan.batches),
            "member_steps": steps,
            "seconds": seconds,
            "steps_per_second": steps / seconds if seconds else None,
            "best": best[0]["member"] if best else None,
            "metric": self.metric,
            "direction": direction_of(self.metric),
            "value": best[0][self.metric] if best else None,
            "choices": self.choices[best[0]["member"]] if best else None,
        }

    def member_of(self, name: str) -> int:
        """The number of a member by name: `best`, or its number.

        Raises:
          InputError: there is no such member, or none to be called the best.
        """
        if name == "best":
            best = self.table().best(self.metric)
            if not best:
                raise InputError("no member has been measured so far", f"in '{self.path}'", "let the sweep go on")
            return int(best[0]["member"])
        count = len(self.choices)
        if not name.isdecimal() or int(name) >= count:
            raise InputError(
                f"'{name}' names no member", f"in '{self.path}'", f"give best, or a number from 0 to {count - 1}"
            )
        return int(name)

    def experiment_of(self, member: int) -> Experiment:
        """A member's own experiment: the base with its choices."""
        return chosen(self.experiment, self.choices[member])

    def built_of(self, member: int) -> Built:
        """A member's own task and trainer."""
        (group,) = groups(self.experiment, [self.choices[member]])
        return group.built

    def own_state(self, member: int) -> Member:
        """The newest state of one member as it was saved, in the arrays of its own model.

        Raises:
          InputError: it has not been saved.
        """
        state = jax.tree.map(lambda values: values[0], self.state_of([member]))
        program = next(self.plan.programs[batch.program] for batch in self.plan.batches if member in batch.members)
        if not program.padded:
            return state
        wide = self.programs_of(program.index).trainer
        return jax.tree.map(np.asarray, unpad(state, self.built_of(member).trainer, wide))

    def state_of(self, members: Sequence[int]) -> Member:
        """The newest states of members of one program as they were saved, NumPy arrays with a leading axis.

        Raises:
          InputError: one has not been saved.
        """
        return Training.states(self, members)


def _plain(value: Any) -> Any:
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")


def _told(row: Mapping[str, Any], metric: str) -> str:
    """How a member fared, as an adaptive search is told."""
    return "failed" if row.get(metric) is None and row["status"] != "diverged" else row["status"]
