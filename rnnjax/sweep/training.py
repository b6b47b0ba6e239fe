"""Training one batch of a sweep: a population, from its beginning or its checkpoint to its end."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax.config import InputError
from rnnjax.experiment import Built
from rnnjax.padding import pad
from rnnjax.population import Layout, Programs, Progress, Rhythm, fit, gathered, greatest
from rnnjax.progress import SweepDisplay
from rnnjax.store import RunFolder
from rnnjax.sweep.plan import PADDED, Batch, Program
from rnnjax.sweep.rungs import exploit
from rnnjax.sweep.table import Curves, direction_of, write_curves, write_part
from rnnjax.train import NON_FINITE, RUNNING, STOPPED, Member, means

if TYPE_CHECKING:
    from rnnjax.sweep.story import Sweep

LINES = 50  # of the log of each member, at most, beside those of validations
SAVE_SECONDS = 30.0  # between checkpoints: what a kill may cost
SMALL = ("meter", "status", "step", "best", "best_step", "waited")
"""What of a member is looked at at every line."""
UNTOLD = ("member", "step", "seconds", "objective", "gradient_norm", "answers")
"""What is in curves, and not in the table."""


class Training:
    """One batch in training.

    Args:
      sweep: whose batch it is.
      batch: its members, and from where to where they are trained.
      program: what they share.
      built: task and trainer, before the layout.
      programs: the compiled programs.
      folder: where the batch's members are saved; locked.
    """

    def __init__(
        self, sweep: Sweep, batch: Batch, program: Program, built: Built, programs: Programs, folder: RunFolder
    ):
        self.sweep, self.batch, self.program = sweep, batch, program
        self.task, self.programs, self.folder = built.task, programs, folder
        self.members = np.asarray(batch.members)
        self._width = program.width
        self._lines: list[dict[str, np.ndarray]] = []
        self._before, self._began, self._saved = 0.0, time.monotonic(), time.monotonic()

    @property
    def steps_done(self) -> int:
        """Steps of all members together, as far as they were saved."""
        return int(self._full.step.sum())

    @property
    def _seconds(self) -> float:
        return self._before + time.monotonic() - self._began

    def run(self, *, display: SweepDisplay | None = None, heard: Sequence[int] = ()) -> bool:
        """Trains to the end and writes the batch's rows; whether it came to the end, which a signal prevents."""
        self._display, self._heard, self._stopped = display, heard, False
        self._full = self._beginning()
        while len(places := self._due()):
            try:
                self._advance(places)
            except jax.errors.JaxRuntimeError as error:
                if "RESOURCE_EXHAUSTED" not in str(error) or self._width <= self.program.layout.devices:
                    raise
                self._narrower()
            if self._stopped:
                self._save()
                return False
        self._save()
        self._write_rows()
        return True

    # -- members

    def _beginning(self) -> Member:
        """The batch's members as they were saved, or else as they begin."""
        if self.folder.checkpoints():
            found = self.folder.restore(self.programs.like(len(self.members)))
            self._before = self.folder.summary().get("seconds", 0.0)
            self._full = _writable(found)
            lines = Curves(self.sweep.path).of(self.batch.members)
            self._lines = [self._until_saved(lines, after=self.batch.start)] if lines else []
            return self._full
        if self.batch.start:
            return _writable(self.states(self.sweep, self.batch.members))
        if not self.program.padded:
            return _writable(self._drawn(self.batch.members, self.programs))
        choices, by_units = self.sweep.choices, {}
        for member in self.batch.members:
            by_units.setdefault(choices[member][PADDED], []).append(member)
        order, parts = [], []
        for members in by_units.values():
            small = Programs(self.sweep.built_of(members[0]).trainer, self.program.layout)
            widened = jax.vmap(partial(pad, small=small.trainer, large=self.programs.trainer))
            parts.append(jax.device_get(widened(self._drawn(members, small))))
            order += members
        return _in_order(parts, order, self.batch.members)

    def _drawn(self, members: Sequence[int], programs: Programs) -> Member:
        """Members before their first step."""
        everybody, count = self.sweep.choices, len(members)
        choices = [everybody[member] for member in members]
        base = self.sweep.experiment_of(members[0])
        seeds = [of_member.get("seed", base.seed) for of_member in choices]
        numbers = {
            key: [of_member[key] for of_member in choices]
            for key in self.program.numbers
            if key != "seed" and choices[0][key] is not None
        }
        spread = np.resize(np.arange(count), self.program.layout.width(count))  # few widths, so that few are compiled
        everyone = programs.member(
            jnp.asarray(np.asarray(seeds)[spread], jnp.int32),
            {key: jnp.asarray(np.asarray(values)[spread], jnp.float32) for key, values in numbers.items()},
        )
        return jax.tree.map(lambda v: v[:count], jax.device_get(everyone))

    @staticmethod
    def states(sweep: Sweep, members: Sequence[int]) -> Member:
        """The newest saved states of members of one program; see `Sweep.state_of`."""
        home: dict[int, Batch] = {}
        for batch in sweep.plan.batches:
            if sweep.batch_folder(batch.index).checkpoints():
                home |= dict.fromkeys(batch.members, batch)
        unsaved = next((member for member in members if member not in home), None)
        if unsaved is not None:
            raise InputError(f"member {unsaved} has not been saved", f"in '{sweep.path}'", "let the sweep go on")
        order, parts = [], []
        for batch in {home[member].index: home[member] for member in members}.values():
            mine = [member for member in members if home[member] is batch]
            held = sweep.batch_folder(batch.index).restore(sweep.programs_of(batch.program).like(len(batch.members)))
            places = {member: place for place, member in enumerate(batch.members)}
            parts.append(jax.tree.map(lambda v, at=[places[member] for member in mine]: v[at], held))
            order += mine
        return _in_order(parts, order, members)

    def _due(self) -> np.ndarray:
        """Places of members to be trained next, all at the same step: those that are furthest behind."""
        going = (self._full.status == RUNNING) & (self._full.step < self.batch.until)
        if not going.any():
            return np.arange(0)
        behind = self._full.step[going].min()
        return np.flatnonzero(going & (self._full.step == behind))[: self._width]

    def _narrower(self) -> None:
        """Goes on with half as many members at a time: memory ran out."""
        layout, width = self.program.layout, self._width // 2
        self._width = max(layout.devices, layout.width(width) if width > layout.quantum else width)
        if self._display is not None:
            self._display.say(f"out of memory: going on with {self._width} members at a time")
        self._lines = [self._until_saved(lines) for lines in self._lines]

    # -- time

    def _advance(self, places: np.ndarray) -> None:
        """Trains the members at these places until something is to be done with them."""
        layout = self.program.layout
        fresh = not self.batch.start and len(places) == len(self.members)  # all batches of a program are as wide
        width = self._width if fresh else narrowed(layout, self._width, len(places))
        spread = np.resize(places, width)  # what fills the population up repeats its members
        start, until = int(self._full.step[places[0]]), self.batch.until
        if every := self.sweep.settings.exploit_every:
            until = min(until, (start // every + 1) * every)
        rhythm = Rhythm(self.programs.trainer, until=until, lines=LINES)
        population = self.programs.placed(jax.tree.map(lambda v: v[spread], self._full))
        for progress in fit(self.programs, population, rhythm, start=start):
            population, step = progress.member, progress.step
            seen = _small(population, len(places))
            if rhythm.logs(step):
                self._line(progress, seen, self.members[places])
            self._tell(seen, places)
            going = self.programs.trainer.going(seen["status"], seen["waited"])
            last = step == until
            self._stopped, due = map(bool, greatest(bool(self._heard), time.monotonic() - self._saved > SAVE_SECONDS))
            fewer = not going.all() and narrowed(layout, self._width, int(going.sum())) < width
            if last or fewer or self._stopped or due or not going.any():
                self._merge(population, places, seen, going)
                if last and every and step < self.batch.until:
                    self._exploit(places, step)
                if due and not self._stopped:  # where it is stopped, `run` saves
                    self._save()
                if last or fewer or self._stopped or not going.any():
                    return

    def _merge(self, population: Member, places: np.ndarray, seen: Mapping[str, np.ndarray], going: np.ndarray) -> None:
        """Takes the population's members back into the batch; those that waited out are stopped."""
        count = len(places)
        for old, new in zip(jax.tree.leaves(self._full), jax.tree.leaves(gathered(population)), strict=True):
            old[places] = new[:count]
        self._full.status[places[(seen["status"] == RUNNING) & ~going]] = STOPPED

    def _exploit(self, places: np.ndarray, step: int) -> None:
        """The worst take over the best, with numbers perturbed."""
        settings, metric = self.sweep.settings, self.sweep.metric
        values = self._last(metric)[places] * (-1.0 if direction_of(metric) == "max" else 1.0)
        generator = np.random.default_rng([settings.sampler_seed, self.batch.index, step])
        for taken in exploit(values, settings.exploit_share, self._exploited, settings.perturb, generator):
            to, source = places[taken.place], places[taken.source]
            own = self._full.key[to].copy()
            for leaf in jax.tree.leaves(self._full):
                leaf[to] = leaf[source]
            self._full.key[to] = own
            for key, factor in taken.factors.items():
                self._full.hyper[key.removeprefix("train.")][to] *= np.float32(factor)

    # -- what is seen

    @property
    def _exploited(self) -> list[str]:
        """Swept numbers of the training, which population-based training perturbs."""
        return [key for key in self.program.numbers if key.removeprefix("train.") in self._full.hyper]

    def _until_saved(self, lines: Mapping[str, np.ndarray], after: int = -1) -> dict[str, np.ndarray]:
        """The lines of members up to the steps at which they were saved."""
        saved = self._full.step[np.searchsorted(self.members, lines["member"])]
        kept = (lines["step"] <= saved) & (lines["step"] > after)
        return {name: values[kept] for name, values in lines.items()}

    def _line(self, progress: Progress, seen: Mapping[str, Any], members: np.ndarray) -> None:
        """Notes what is known of every member that is still training."""
        meter = seen["meter"]
        steps = np.maximum(1, meter.steps)
        sums = {"objective": meter.objective / steps, "gradient_norm": meter.gradient_norm / steps}
        columns = {**means(self.task, meter), **sums, "answers": meter.answers}
        if progress.validation is not None:
            held_out = _first(gathered(progress.validation), len(members))
            columns |= {f"validation_{name}": values for name, values in means(self.task, held_out).items()}
        alive = seen["status"] == RUNNING
        rows = {"member": members, "step": np.full(len(members), progress.step)}
        rows |= {"seconds": np.full(len(members), self._seconds), **columns}
        self._lines.append({name: np.asarray(values)[alive] for name, values in rows.items()})

    def _tell(self, seen: Mapping[str, np.ndarray], places: np.ndarray) -> None:
        if self._display is None:
            return
        metric = self.sweep.metric
        latest = self._lines[-1].get(metric) if self._lines else None
        best = None
        if latest is not None and np.isfinite(latest).any():
            best = float(np.nanmax(latest) if direction_of(metric) == "max" else np.nanmin(latest))
        done = self._full.step.sum() - self._full.step[places].sum() + seen["step"].sum()
        self._display.update(self.batch.index, int(done) - self.batch.start * len(self.members), best)

    def _last(self, name: str) -> np.ndarray:
        """The newest value of a metric of every member of the batch; NaN where there is none."""
        found = np.full(len(self.members), np.nan)
        for lines in self._lines:
            if name in lines:
                found[np.searchsorted(self.members, lines["member"])] = lines[name]
        return found

    # -- what is written

    def _save(self) -> None:
        """A checkpoint of the whole batch, and its curves: from process 0, where there are several."""
        self._saved = time.monotonic()
        if jax.process_index():
            return
        if self._lines:
            write_curves(self.sweep.path, self.batch.index, _joined(self._lines))
        self.folder.write_summary({"seconds": self._seconds, "members": self.members})
        number = max(self.folder.checkpoints(), default=0) + 1
        self.folder.save(number, self._full, metric=None, latest=1, best=0)

    def _write_rows(self) -> None:
        if jax.process_index():
            return
        full, everybody = self._full, self.sweep.choices
        choices = [everybody[member] for member in self.batch.members]
        keys = list(dict.fromkeys(key for of_member in everybody for key in of_member))
        metrics = list(dict.fromkeys(name for lines in self._lines for name in lines))
        rows: dict[str, Any] = {
            "member": self.members,
            "program": np.full(len(self.members), self.program.index),
            **{key: [of_member.get(key) for of_member in choices] for key in keys},
            "status": [self._status(int(code)) for code in full.status],
            "steps": full.step,
            "seconds": np.full(len(self.members), self._seconds / len(self.members)),
            **{name: self._last(name) for name in metrics if name not in UNTOLD},
        }
        if self.sweep.settings.exploit_every:
            rows |= {f"final_{key}": full.hyper[key.removeprefix("train.")] for key in self._exploited}
        if self.program.evaluations:
            found = np.isfinite(full.best)
            rows |= {
                "best_validation_loss": np.where(found, full.best, np.nan),
                "best_step": np.where(found, full.best_step, np.nan),
            }
        write_part(self.sweep.path, self.batch.index, rows)

    def _status(self, code: int) -> str:
        if code == NON_FINITE:
            return "diverged"
        if code == STOPPED:
            return "stopped"
        return "finished" if self.batch.until == self.program.steps else "running"


def narrowed(layout: Layout, width: int, members: int) -> int:
    """The narrowest population of the ladder (each half as wide as the one before) that holds so many members."""
    while width // 2 >= max(1, members) and layout.width(width // 2) == width // 2:
        width //= 2
    return width


def _small(population: Member, count: int) -> dict[str, Any]:
    """What is looked at at every line, of the first `count` members: the rest fills the population up."""
    return _first(gathered({name: getattr(population, name) for name in SMALL}), count)


def _first(tree: Any, count: int) -> Any:
    return jax.tree.map(lambda values: values[:count], tree)


def _in_order(parts: Sequence[Member], order: Sequence[int], members: Sequence[int]) -> Member:
    """Members that come in parts, in another `order`, put in the order of `members`."""
    places = {member: place for place, member in enumerate(order)}
    back = [places[member] for member in members]
    return jax.tree.map(lambda *values: np.concatenate(values)[back], *parts)


def _writable(member: Member) -> Member:
    return jax.tree.map(lambda values: np.array(values), member)


def _joined(lines: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Lines as columns; a metric that some do not have is NaN there."""
    names = list(dict.fromkeys(name for each in lines for name in each))
    absent = [np.full(len(each["member"]), np.nan) for each in lines]
    return {
        name: np.concatenate([each.get(name, nan) for each, nan in zip(lines, absent, strict=True)]) for name in names
    }
