"""Adaptive samplers: Optuna is asked for members in batches, and told how they fared.

Several workers share a storage, each with an `Adaptive` of its own. What was asked for and never told, because its
worker died, is found again by `Adaptive.pending`. Optuna's dashboard opens the storage while a search goes on.
"""

from __future__ import annotations

import importlib.util
import math
import weakref
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeGuard

import numpy as np

from rnnjax.config import InputError, nearest
from rnnjax.sweep.spaces import Range, Space, Spec, Value, When, same, spelled, unconditional
from rnnjax.sweep.storage import Direction, Shared, Worker, plain

SAMPLERS = ("tpe", "cmaes", "gp")

STATUSES = ("finished", "stopped", "diverged", "failed")
"""What `Adaptive.tell` takes: trained to the end; ended early; not finite; lost, so that nothing is known."""

BATCH = 256
"""Members that are asked for at once, at most."""


class Asked(NamedTuple):
    """A trial that is to be run: its number in the storage, and its choices by dotted key."""

    number: int
    choices: dict[str, Any]


class Best(NamedTuple):
    """The best trial so far: its number, its choices, and the metric's value."""

    number: int
    choices: dict[str, Any]
    value: float


class Adaptive:
    """An adaptive search, shared with whoever opens the same storage under the same name.

    Listed values are categories without an order, those of ``0..31`` excepted. `tpe` and `gp` spread a batch by what
    is still running; `gp` needs PyTorch, and takes a second and more a trial. `cmaes` adapts ranges that hold for all
    members, at least two of them, a generation a batch; the other axes it draws at random. The first batch is random.

    Args:
      space: what is swept, checked.
      sampler: `tpe` (tree-structured Parzen estimators; Bergstra et al. 2011), `cmaes` (Hansen 2016) or `gp`
        (Gaussian process, expected improvement).
      seed: with the same answers in the same order, the same trials are asked for.
      trials: in all, over all workers; those that failed do not count.
      storage: path of a journal file, made if need be, or a URL such as ``sqlite:///search.db``.
      name: of the study in the storage.
      direction: whether the least or the greatest value is best.
      folder: where workers show that they live, on a file system that all of them see; that of the storage if None.

    Raises:
      InputError: Optuna or PyTorch is missing, the sampler cannot search this space, the storage cannot be opened or
        holds another search of that name.
    """

    def __init__(
        self,
        space: Space,
        sampler: str,
        seed: int,
        trials: int,
        storage: str | Path,
        name: str,
        *,
        direction: Direction = "min",
        folder: str | Path | None = None,
    ):
        _check_sampler(sampler, space)
        self.space, self.sampler, self.seed, self.trials = space, sampler, seed, trials
        self.name = name
        self.direction: Direction = direction
        self._shared = Shared(storage, name, space, direction, folder)
        self._worker = Worker(self._shared.workers)
        self._close = weakref.finalize(self, _sign_off, self._worker, self._shared)

    def ask(self, n: int) -> list[Asked]:
        """Asks for new trials: `n`, but no more than 256, and than are left.

        In a journal they appear all at once: a worker that is killed meanwhile has asked for none.
        """
        with self._shared.alone() as study:
            past = study.get_trials(deepcopy=False)
            n = min(n, BATCH, self.trials - _counted(past))
            if n < 1:
                return []
            study.sampler = _sampler(self.sampler, self.seed, len(past), n, self.space)
            asked = []
            for _ in range(n):
                trial = study.ask()
                trial.set_user_attr("worker", self._worker.name)
                asked.append(Asked(trial.number, _choices(self.space, trial)))
        return asked

    def pending(self) -> list[Asked]:
        """Takes over trials whose worker died before it told of them: they are this worker's now, to be run again."""
        from optuna.trial import FixedTrial, TrialState

        found = []
        with self._shared.alone() as study:
            for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
                worker = trial.user_attrs.get("worker")
                if worker == self._worker.name or (worker and Worker.lives(self._shared.workers, worker)):
                    continue
                try:
                    choices = _choices(self.space, FixedTrial(trial.params))
                except ValueError:  # its worker died while it asked
                    study.tell(trial.number, state=TrialState.FAIL)
                    continue
                self._shared.note(trial.number, {"worker": self._worker.name})
                found.append(Asked(trial.number, choices))
        return found

    def tell(self, number: int, value: float | None, status: str = "finished", **notes: Any) -> None:
        """Tells how a trial fared; a trial that has been told of already stays as it is.

        Args:
          number: of the trial.
          value: of the metric. Of a diverged trial none is needed: it counts as the worst there can be.
          status: one of `STATUSES`; a value that is not finite makes it diverged.
          notes: what else the dashboard shows of it, as JSON.

        Raises:
          InputError: there is no such trial or status, or a trial has finished without a value.
        """
        self.tell_all([(number, value, status, notes)])

    def tell_all(self, outcomes: Iterable[tuple[int, float | None, str, Mapping[str, Any]]]) -> None:
        """Tells of many trials at once; each is number, value, status and notes, as in `tell`.

        Raises:
          InputError: as `tell`; then nothing has been told.
        """
        ends = {n: (*_outcome(value, status, self.direction), status, notes) for n, value, status, notes in outcomes}
        with self._shared.alone() as study:
            past = study.get_trials(deepcopy=False)
            for number in ends:
                if not 0 <= number < len(past):
                    raise InputError(
                        f"there is no trial {number}", f"in the search '{self.name}'", "tell of trials it asked for"
                    )
            for number, (state, score, status, notes) in ends.items():
                if not past[number].state.is_finished():
                    self._shared.note(number, {"status": status, **notes})
                    study.tell(number, score, state=state)

    def best(self) -> Best | None:
        """The best trial so far; None while none has a finite value."""
        from optuna.trial import FixedTrial

        with self._shared.alone() as study:
            scored = [t for t in study.get_trials(deepcopy=False) if t.value is not None and math.isfinite(t.value)]
            if not scored:
                return None
            sign = 1 if self.direction == "min" else -1
            best = min(scored, key=lambda trial: (sign * trial.value, trial.number))
            return Best(best.number, _choices(self.space, FixedTrial(best.params)), best.value)

    def left(self) -> int:
        """Trials that may still be asked for, by all workers together."""
        with self._shared.alone() as study:
            return max(0, self.trials - _counted(study.get_trials(deepcopy=False)))

    def close(self) -> None:
        """Lets go of the storage; what this worker asked for and has not told is pending from now on."""
        self._close()

    def __enter__(self) -> Adaptive:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def mirror(
    space: Space,
    rows: Iterable[Mapping[str, Any]],
    storage: str | Path,
    *,
    name: str,
    metric: str | None = None,
    direction: Direction = "min",
) -> int:
    """Writes finished members of a sweep into a storage that Optuna's dashboard can open.

    Members that are there already are left out, so that it may be called again as a sweep goes on.

    Args:
      space: what is swept, checked.
      rows: of the table, one a member: `member`, `status`, a column a swept key, and metrics, which become notes.
      storage: as for `Adaptive`.
      name: of the study.
      metric: what a trial's value is; None: the validation loss, or the training loss where there is none.
      direction: of the metric.

    Returns:
      How many members it wrote.

    Raises:
      InputError: Optuna is missing, a row lacks a choice, or the storage cannot be opened or holds another space.
    """
    _check_library()
    rows = list(rows)
    if metric is None:
        metric = "validation_loss" if any(row.get("validation_loss") is not None for row in rows) else "loss"
    shared, written = Shared(storage, name, space, direction), 0
    try:
        with shared.alone() as study:
            import optuna

            known = {trial.user_attrs.get("member") for trial in study.get_trials(deepcopy=False)}
            for row in rows:
                member, status = int(row["member"]), str(row["status"])
                if status not in STATUSES or member in known:
                    continue
                fixed = optuna.trial.FixedTrial(_params(space, row))
                try:
                    _choices(space, fixed)
                except ValueError as error:
                    raise InputError(
                        f"member {member} has no such choices: {error}", "in the table", "mirror the sweep it is of"
                    ) from None
                value = plain(row.get(metric))
                state, value = _outcome(
                    value, "failed" if value is None and status != "diverged" else status, direction
                )
                notes = {key: plain(each) for key, each in row.items() if key not in space.axes}
                study.add_trial(
                    optuna.trial.create_trial(
                        state=state,
                        value=value,
                        params=fixed.params,
                        distributions=fixed.distributions,
                        user_attrs={key: each for key, each in notes.items() if each is not None},
                    )
                )
                known.add(member)
                written += 1
    finally:
        shared.close()
    return written


def _check_library() -> None:
    if importlib.util.find_spec("optuna") is None:
        raise InputError("adaptive search needs Optuna", "in --sampler", "pip install 'rnnjax[sweep]'")


def _check_sampler(sampler: str, space: Space) -> None:
    where = f"in --sampler {sampler}"
    if sampler not in SAMPLERS:
        close = nearest(sampler, SAMPLERS)
        raise InputError(
            f"unknown sampler '{sampler}'", where, f"did you mean '{close[0]}'?" if close else f"try {SAMPLERS[0]}"
        )
    _check_library()
    if sampler == "gp" and importlib.util.find_spec("torch") is None:
        raise InputError("a Gaussian process needs PyTorch", where, "pip install torch, or choose --sampler tpe")
    if sampler == "cmaes":
        if importlib.util.find_spec("cmaes") is None:
            raise InputError("CMA-ES needs the package cmaes", where, "pip install cmaes, or choose --sampler tpe")
        if _adapted(space) < 2:
            raise InputError(
                "CMA-ES adapts two ranges or more, not bound to a condition", where, "choose --sampler tpe, or give two"
            )


def _sampler(sampler: str, seed: int, past: int, batch: int, space: Space) -> Any:
    """A sampler for one batch: nothing of it but what lies in the storage outlives that."""
    import optuna

    seed = int(np.random.SeedSequence([seed, past]).generate_state(1)[0] >> 1)
    if sampler == "tpe":
        conditional = any(isinstance(spec, When) for spec in space.axes.values())
        return optuna.samplers.TPESampler(seed=seed, multivariate=True, group=conditional, constant_liar=True)
    if sampler == "gp":
        return optuna.samplers.GPSampler(seed=seed)
    # A generation is what is told together; it is never smaller than is usual for so many axes.
    usual = 4 + math.floor(3 * math.log(_adapted(space)))
    return optuna.samplers.CmaEsSampler(seed=seed, popsize=max(batch, usual))


def _adapted(space: Space) -> int:
    """How many axes CMA-ES adapts."""
    return sum(_ordered(spec) for spec in space.axes.values())


def _ordered(spec: Spec) -> TypeGuard[Range]:
    """Whether all numbers of a range may be drawn, so that a sampler can go by their order."""
    return isinstance(spec, Range) and (spec.listed is None or spec.every)


def _choices(space: Space, trial: Any) -> dict[str, Value]:
    """What a trial of Optuna's chooses, axis by axis.

    Raises:
      ValueError: a fixed trial lacks a choice, or has an impossible one.
    """
    choices: dict[str, Value] = {}
    for key in space.order:
        if space.applies(key, choices):
            spec = unconditional(space.axes[key])
            if not _ordered(spec):
                choices[key] = trial.suggest_categorical(key, spec.listed)
            elif spec.integer:
                choices[key] = trial.suggest_int(key, spec.low, spec.high, log=spec.log)
            else:
                choices[key] = trial.suggest_float(key, spec.low, spec.high, log=spec.log)
    return space.arranged(choices)


def _params(space: Space, row: Mapping[str, Any]) -> dict[str, Value]:
    """The choices in a row of the table, in which listed values may have become text, and integers floats."""
    params: dict[str, Value] = {}
    for key in space.order:
        value, spec = plain(row.get(key)), unconditional(space.axes[key])
        if not space.applies(key, params):
            continue
        if not _ordered(spec):
            alike = [each for each in spec.listed or () if same(each, value) or spelled(each) == str(value)]
            if alike:
                params[key] = alike[0]
        elif value is not None:
            params[key] = int(value) if spec.integer else value
    return params


def _outcome(value: float | None, status: str, direction: Direction) -> tuple[Any, float | None]:
    """The state and value of a trial. A diverged one is the worst there can be, so that samplers learn from it."""
    from optuna.trial import TrialState

    if status not in STATUSES:
        close = nearest(status, STATUSES)
        fix = f"did you mean '{close[0]}'?" if close else f"say {', '.join(STATUSES)}"
        raise InputError(f"a trial cannot end as '{status}'", "in tell", fix)
    if status == "diverged" or (status != "failed" and value is not None and not math.isfinite(value)):
        return TrialState.COMPLETE, math.inf if direction == "min" else -math.inf
    if status == "failed":
        return TrialState.FAIL, None
    if value is None:
        raise InputError(f"a trial that is {status} needs a value", "in tell", "give its metric, or say 'failed'")
    return TrialState.COMPLETE, float(value)


def _counted(trials: Iterable[Any]) -> int:
    """Trials that have been spent: all but those that were lost."""
    return sum(trial.state.name != "FAIL" for trial in trials)


def _sign_off(worker: Worker, shared: Shared) -> None:
    worker.close()
    shared.close()
