"""The story of an experiment: it is described, trained, saved, summed up; and goes on where it was stopped."""

from __future__ import annotations

import dataclasses
import math
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax import config
from rnnjax.choosing import choose, fitted, measures
from rnnjax.config import InputError
from rnnjax.experiment import CONFIG_FILE, DATA_FILE, Built, Experiment, changed, storable
from rnnjax.population import Alone, Programs, Progress, Rhythm, fit
from rnnjax.progress import showing, teller
from rnnjax.recording import Film
from rnnjax.run.exploring import FILM
from rnnjax.run.opened import Run, open_run
from rnnjax.signals import Interrupted, listening
from rnnjax.store import RunFolder, check_name, digest
from rnnjax.tasks import Arrays, Task, Text
from rnnjax.timing import describe_environment
from rnnjax.train import NON_FINITE, Member, Meter, Trainer, learning_rate, metrics


class NonFinite(ArithmeticError):
    """Loss or gradient was not finite; the run keeps its last good checkpoint."""

    exit_code = 3


def run(
    experiment: Experiment,
    root: str | Path = "runs",
    name: str | None = None,
    *,
    quiet: bool = True,
    command: str = "",
    measure: bool | None = None,
) -> Run:
    """Runs an experiment: trains it, and leaves a folder with all that belongs to it.

    Args:
      experiment: the description.
      root: folder that holds runs.
      name: of the run's folder; a numbered one after the experiment if None.
      quiet: whether to show no progress.
      command: what the report says the run was started with.
      measure: whether ways to use this machine are timed, where they are not remembered; else rules choose. None:
        unless the environment variable RNNJAX_MEASURE is 0.

    Raises:
      InputError: data that cannot be read, parts that do not fit, a name that exists. No folder is left.
      NonFinite: loss or gradient was not finite; the last good checkpoint is kept.
      Interrupted: a signal came; the run is saved, and can be resumed.
    """
    built = experiment.built
    member = jax.jit(built.trainer.member)(experiment.seed)
    Rhythm(built.trainer)
    _check_looking(built)
    check_name(root, name)
    layout, why = choose(built, measuring=measures() if measure is None else measure, tell=teller(quiet=quiet))
    built = fitted(built, layout)
    environment = describe_environment() | {
        "command": command,
        "layout": dataclasses.asdict(layout),
        "why": why,
        "plan": built.plans(),
    }
    folder = RunFolder.create(root, name, config.dump(storable(experiment)), environment, stem=experiment.name)
    if isinstance(experiment.task, Arrays):
        experiment.task.save(folder.path / DATA_FILE)
    started = Run(folder.path, experiment.task if isinstance(experiment.task, Task) else None)
    with started.folder.lock():
        started.folder.save(0, member, metric=None)
        _train(started, built, layout, member, 0, quiet)
    return started


def resume(
    path: str | Path,
    overrides: Mapping[str, Any] | None = None,
    *,
    task: Task | None = None,
    quiet: bool = True,
) -> Run:
    """Goes on with the run in a folder, or with a member of a sweep; see `go_on`."""
    return go_on(open_run(path, task), overrides, quiet=quiet)


def go_on(run: Run, overrides: Mapping[str, Any] | None = None, *, quiet: bool = True) -> Run:
    """Goes on with a run from its latest checkpoint, ending bit for bit where an uninterrupted run ends.

    Args:
      run: the run.
      overrides: values by dotted key, for a longer training (`train.epochs`, `train.steps`).
      quiet: whether to show no progress.

    Raises:
      InputError: another process is at it, it has finished, or an override that a running training cannot take.
    """
    for key in overrides or {}:
        if key.replace("-", "_") not in ("train.epochs", "train.steps"):
            raise InputError(
                f"'{key}' cannot change in mid-run",
                "in resume",
                "change train.epochs or train.steps, or start a new run",
            )
    with run.folder.lock():
        experiment = changed(run.experiment, overrides) if overrides else run.experiment
        environment = run.folder.environment()
        stored = {entry["executor"] for entry in environment.get("plan", [])}
        layout = _layout(environment.get("layout"))
        if experiment.model.executor == "auto" and len(stored) == 1:
            model = dataclasses.replace(experiment.model, executor=stored.pop())
            experiment = dataclasses.replace(experiment, model=model)
        built = fitted(experiment.built, layout)
        like = jax.eval_shape(built.trainer.member, 0)
        member = jax.tree.map(jnp.asarray, run.folder.restore(like))
        step, train = int(member.step), built.trainer.config
        if step >= built.trainer.total:
            raise InputError(
                f"run '{run.path}' has done {step} steps already, and is asked for {built.trainer.total}",
                "in resume",
                f"train longer with --train.steps {2 * step}",
            )
        if train.patience is not None and int(member.waited) >= train.patience:
            raise InputError(
                f"run '{run.path}' stopped for want of a better validation",
                "in resume",
                "start a new run with a larger train.patience",
            )
        _warn_of_other_bits(run)
        run.folder.drop_metrics_after(step)
        if overrides:
            member = _extended(run, member, built)
            run.experiment = changed(run.experiment, overrides)
            run.folder.write_text(CONFIG_FILE, config.dump(storable(run.experiment)))
        _train(run, built, layout, member, step, quiet)
    return run


def _layout(stored: Any) -> Alone:
    """How a run used its hardware; a member of a sweep, made a run, goes on as any single training does."""
    alone = isinstance(stored, dict) and "block" not in stored
    return Alone(**stored) if alone else Alone()


def _extended(run: Run, member: Member, built: Built) -> Member:
    """The member for a training of another length: its schedule stretched, its meter ready for the next line."""
    hyper = {key: value for key, value in built.trainer.hyper().items() if key == "decay_steps"}
    rows = run.metrics()
    logged = bool(rows) and rows[-1]["step"] == int(member.step)
    return dataclasses.replace(member, hyper=member.hyper | hyper, meter=Meter.empty() if logged else member.meter)


def _warn_of_other_bits(run: Run) -> None:
    """Says so if the run goes on where its bits may come out differently."""
    then, now = run.folder.environment(), describe_environment()
    keys = [key for key in ("versions", "device", "devices", "threads", "xla_flags") if then.get(key) != now[key]]
    if keys:
        print(f"note: {', '.join(keys)} differ from those the run began with; bits may too", file=sys.stderr)


def _train(run: Run, built: Built, layout: Alone, member: Member, start: int, quiet: bool) -> None:
    """Trains to the end, to a signal, or to a loss that is not finite; logs, saves, sums up and reports."""
    programs, rhythm, log = Programs(built.trainer, layout), Rhythm(built.trainer), _Log(run, built)
    member = programs.placed(member)
    train, status = built.trainer.config, "finished"
    with (
        _film(run, built, member, start) as film,
        listening() as heard,
        showing(start, rhythm.total, quiet=quiet) as display,
    ):
        for progress in fit(programs, member, rhythm, start=start):
            step, member = progress.step, progress.member
            if int(member.status) == NON_FINITE:
                status = f"not finite at step {int(member.step) + 1}"
                break
            row = log.line(progress) if rhythm.logs(step) else log.pass_over(progress)
            if display is not None:
                display.update(step, row)
            waited_out = train.patience is not None and int(member.waited) >= train.patience
            if rhythm.saves(step) or heard or waited_out:
                loss = None if progress.validation is None else metrics(built.task, progress.validation)["loss"]
                run.folder.save(step, member, metric=loss, latest=train.keep_latest, best=train.keep_best)
                if film is not None:
                    film.capture(step, member)
            if heard and step < rhythm.total:
                status = f"interrupted at step {step}"
                break
            if waited_out:
                status = f"finished early at step {step}: no better validation for {train.patience} times"
                break
        run.folder.write_summary(log.summary(member, status))
        run.report(looks=status.startswith("finished"))
    if status.startswith("not finite"):
        good = run.folder.checkpoints()[-1]
        raise NonFinite(f"the loss or gradient was {status}; the checkpoint of step {good} is kept in {run.path}")
    if status.startswith("interrupted"):
        raise Interrupted(heard[0], run.path, f"step {step}")


@contextmanager
def _film(run: Run, built: Built, member: Member, start: int) -> Iterator[Film | None]:
    """The film of learning, if there is to be one: up to where training goes on, its first picture taken."""
    looked_at = built.experiment.record
    if not looked_at.film:
        yield None
        return
    fields = looked_at.fields or built.trainer.watched
    with Film(run.folder.recording(FILM), built.trainer, built.task.probe(looked_at.film), fields) as film:
        film.drop_after(start)
        if start not in film.steps:
            film.capture(start, member)
        yield film


class Pace(NamedTuple):
    """Steps, and the seconds they took."""

    steps: int
    seconds: float


class _Log:
    """Turns what training yields into lines of the log, and lines into a summary."""

    def __init__(self, run: Run, built: Built):
        self._run, self._built = run, built
        past = run.metrics()
        self._seconds = past[-1]["seconds"] if past else 0.0
        self._steady = self._line = Pace(0, 0.0)

    def pass_over(self, progress: Progress) -> None:
        """Counts the time of a chunk; that of a compilation belongs to no speed."""
        self._seconds += progress.seconds
        if not progress.compiled:
            self._steady, self._line = (
                Pace(pace.steps + progress.steps, pace.seconds + progress.seconds)
                for pace in (self._steady, self._line)
            )

    def line(self, progress: Progress) -> dict[str, Any]:
        """Writes the line of a step, and gives it."""
        self.pass_over(progress)
        trainer, member, task = self._built.trainer, progress.member, self._built.task
        meter = jax.device_get(member.meter)
        steps = max(1, int(meter.steps))
        row: dict[str, Any] = {
            "step": progress.step,
            "epoch": progress.step / trainer.epoch_steps,
            **metrics(task, meter),
            "objective": float(meter.objective) / steps,
            "gradient_norm": float(meter.gradient_norm) / steps,
            "learning_rate": float(learning_rate(trainer.config, member.hyper, jnp.asarray(progress.step - 1))),
            "answers": int(meter.answers),
            "seconds": self._seconds,
        }
        if self._line.steps:
            row["symbols_per_second"] = int(meter.answers) / steps * self._line.steps / self._line.seconds
        if progress.validation is not None:
            row |= {f"validation_{key}": value for key, value in metrics(task, progress.validation).items()}
        self._line = Pace(0, 0.0)
        self._run.folder.append_metrics([row])
        return row

    def summary(self, member: Member, status: str) -> dict[str, Any]:
        """What the run came to."""
        rows = self._run.metrics()
        trainer, step = self._built.trainer, int(member.step)
        whole_epoch = step >= trainer.epoch_steps
        recent = [row for row in rows if whole_epoch and row["step"] > step - trainer.epoch_steps] or rows[-1:]
        answers = sum(row["answers"] for row in recent)
        means = {
            key: sum(row[key] * row["answers"] for row in recent) / max(1, answers)
            for key in ("loss", "accuracy")
            if recent and key in recent[0]
        }
        held_out = next((row for row in reversed(rows) if "validation_loss" in row), {})
        means |= {key: value for key, value in held_out.items() if key.startswith("validation_")}
        pace = self._steady.steps / self._steady.seconds if self._steady.steps else None
        symbols = [row["symbols_per_second"] for row in rows if "symbols_per_second" in row]
        summary: dict[str, Any] = {
            "status": status,
            **trained_so_far(trainer, member),
            "seconds": self._seconds,
            "steps_per_second": pace,
            "symbols_per_second": float(np.median(symbols)) if symbols else None,
            "metrics": means,
            "references": self._built.task.references(),
        }
        return summary | best_so_far(member)


def trained_so_far(trainer: Trainer, member: Member) -> dict[str, Any]:
    """What a summary says of a member's parameters and steps."""
    params, step = jax.device_get(member.params), int(member.step)
    return {
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(params)),
        "parameters_sha256": digest(params),
        "steps": step,
        "epochs": step / trainer.epoch_steps,
    }


def best_so_far(member: Member) -> dict[str, Any]:
    """What a summary says of a member's best validation, if there was one."""
    if not math.isfinite(float(member.best)):
        return {}
    value, step = float(member.best), int(member.best_step)
    return {"best": {"metric": "validation_loss", "direction": "min", "value": value, "step": step}}


def _check_looking(built: Built) -> None:
    """Finds out before training whether what is to be sampled and recorded in the end exists."""
    experiment = built.experiment
    if isinstance(built.task, Text):
        for prompt in experiment.sample.prompts:
            if not len(built.task.vocabulary.encode(prompt)):
                raise InputError("an empty prompt", "in sample.prompts", "give each prompt at least one symbol")
    built.plans(experiment.record.fields or built.trainer.watched)
