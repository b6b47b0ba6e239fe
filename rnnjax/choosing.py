"""How a training uses the hardware: which layouts are worth measuring, what was measured of them, and what rules say.

A candidate trains for a moment on this machine, on members that are thrown away. What was measured is remembered on
disk, by all that speed depends on: model, task, batch, device, versions. Where measuring is not wanted, the first
candidate is taken: the one that rules choose. A layout is settled before anything is lifted over members or devices,
is stored with the run or the sweep, and whoever goes on goes by it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from rnnjax import config
from rnnjax.executors import EXECUTORS
from rnnjax.experiment import Built, storable
from rnnjax.population import Alone, Layout, Programs
from rnnjax.store import atomic_write, cache_folder
from rnnjax.timing import describe_environment
from rnnjax.train import TrainConfig

SIDE_BY_SIDE = 64  # members of a block on CPU: more of them do not fit its caches
UNROLLED = 32  # steps of a loop that are laid out side by side for small networks on CPU
SMALL_UNITS = 32  # on CPU, beyond these units batched products are slower than one after the other
SHARED_UNITS = (16, 768)  # on CPU, between these units devices may share the rows of a batch: see `alone`
PATIENCE = 3.0  # a layout that takes so many times the best one's time is given up after one call
TIMED_SECONDS = 0.2  # of each call that is timed
SHORT_SECONDS = 10.0  # a training that takes no longer is not worth measuring further
FORM = 3  # of what is remembered on disk: another number where it changes

NUMBERS = frozenset(f"train.{f.name}" for f in dataclasses.fields(TrainConfig) if str(f.type).startswith("float"))
"""Keys of the training that are numbers of a compiled program, and shape nothing."""

UNHEARD = ("train.steps", "train.epochs", "train.log_every", "train.checkpoint_every", "train.evaluate_every")
"""Further keys that a step does not depend on."""


def candidates(built: Built, members: int) -> list[Layout]:
    """Layouts of a population worth measuring on this machine, the one that rules would choose first."""
    count = jax.device_count()
    devices = min(count, members)
    if jax.default_backend() != "cpu":
        layouts = [Layout(-(-members // devices), devices)]
    else:
        unroll = _unrolled(built)
        block = min(SIDE_BY_SIDE, -(-members // devices))
        wide = [Layout(block, devices, small=True, unroll=unroll)] if block > 1 else []
        each = [Layout(1, devices), Layout(1, devices, small=True)]
        layouts = [*wide, *each] if _units(built) <= SMALL_UNITS else [*each, *wide]
    return layouts + _by_other_executors(built, layouts[0])


def alone(built: Built) -> list[Alone]:
    """Layouts of a training of one member worth measuring here, the one that rules would choose first.

    Devices may share the rows of a batch where nothing is drawn by row: what is drawn would be drawn otherwise. On CPU
    that pays where a product is too small for two threads, and large beside what waiting for each other costs.
    """
    units, train, layouts = _units(built), built.experiment.train, [Alone()]
    if jax.default_backend() == "cpu" and units <= SMALL_UNITS:
        layouts = [Alone(small=True), *([Alone(small=True, unroll=_unrolled(built))] if _unrolled(built) else [])]
    least, most = SHARED_UNITS if jax.default_backend() == "cpu" else (1, units)
    if least <= units <= most and not _draws_by_row(built):
        here = range(2, jax.device_count() + 1)
        fitting = [count for count in here if train.batch % (count * train.accumulate) == 0]
        layouts += [Alone(count, small=layouts[0].small) for count in sorted({*fitting[:1], *fitting[-1:]})]
    return layouts + _by_other_executors(built, layouts[0])


def losers(built: Built, ruled: Alone) -> list[Alone]:
    """Layouts like the one of the rules that could run here, and were never found to be the fastest."""
    return _by_other_executors(built, ruled, lost=True)


def _units(built: Built) -> int:
    units = built.experiment.model.units
    return max(units) if isinstance(units, tuple) else units


def _unrolled(built: Built) -> int:
    """Steps to lay out where all of them are few; 0 where they are many, or the model says otherwise."""
    length = built.task.length
    return length if 1 < length <= UNROLLED and built.experiment.model.unroll == 1 else 0


def _draws_by_row(built: Built) -> bool:
    model, train = built.experiment.model, built.experiment.train
    rates = (model.dropout, model.input_dropout, model.recurrent_dropout, model.zoneout)
    in_parts = train.forget is not None and train.accumulate > 1  # else it is drawn for the whole batch
    return in_parts or any(rate is not None for rate in rates)


def _by_other_executors(built: Built, layout: Any, *, lost: bool = False) -> list[Any]:
    """A layout with each executor that can run all layers, beside the one of the rules: rivals, or those that lost."""
    if built.experiment.model.executor != "auto":
        return []
    plans = built.plans()
    ruled = {entry["executor"] for entry in plans}
    # On CPU the scan was never faster in training: its gradient sums kernels step by step.
    always_lost = {"scan"} if jax.default_backend() == "cpu" else set()
    able = [name for name in EXECUTORS if ruled - {name} and name not in cannot(plans)]
    return [dataclasses.replace(layout, executor=name) for name in able if (name in always_lost) == lost]


def cannot(plans: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Executors that cannot run all layers of `Built.plans`, and why."""
    return {name: why for entry in plans for name, why in entry["cannot"].items()}


def fitted(built: Built, layout: Layout | Alone) -> Built:
    """The same with loops as a layout wants them."""
    wanted: dict[str, Any] = {"unroll": layout.unroll, "executor": layout.executor}
    changes = {name: value for name, value in wanted.items() if value}
    if not changes:
        return built
    model = dataclasses.replace(built.experiment.model, **changes)
    return Built(dataclasses.replace(built.experiment, model=model), built.task)


def programs_of(built: Built, layout: Layout | Alone) -> Programs:
    """The compiled programs of a layout."""
    return Programs(fitted(built, layout).trainer, layout)


@dataclasses.dataclass(frozen=True)
class Measured:
    """What a layout costs.

    Attributes:
      layout: the layout.
      step_seconds: of one step of one member.
      compile_seconds: of its program, and what comes before its first step.
    """

    layout: Any
    step_seconds: float
    compile_seconds: float

    def __str__(self) -> str:
        whose = "" if isinstance(self.layout, Alone) else " of a member"
        return f"{described(self.layout)}: {1e6 * self.step_seconds:,.1f} µs a step{whose}"


def measure(
    built: Built,
    layouts: Sequence[Layout | Alone],
    members: int = 1,
    *,
    worth: Callable[[float], bool] = lambda seconds: True,
) -> list[Measured]:
    """Times layouts on members that are thrown away; one that cannot run here is left out.

    Args:
      built: what is trained.
      layouts: the candidates.
      members: of the population, at most.
      worth: told the seconds of a step with the first candidate, whether the others are to be timed.

    Raises:
      jax.errors.JaxRuntimeError: none can run.
    """
    found: list[Measured] = []
    for layout in layouts:
        if found and not worth(found[0].step_seconds):
            break
        programs = programs_of(built, layout)
        width = layout.width(min(layout.quantum, members))
        try:
            compiling, pace = _timed(programs, width, min((each.step_seconds for each in found), default=None))
        except jax.errors.JaxRuntimeError:  # an option that this XLA does not know, or no memory
            if layout == layouts[-1] and not found:
                raise
            continue
        found.append(Measured(layout, pace, compiling))
    return found


def _timed(programs: Programs, width: int, best: float | None) -> tuple[float, float]:
    """Seconds of compilation, and of a step of a member."""
    began = time.perf_counter()
    member = jax.block_until_ready(programs.first(range(width)))
    step = 0

    def call(count: int) -> float:
        nonlocal member, step
        start = time.perf_counter()
        member = programs.chunk(member, programs.data["train"], np.int32(step), np.int32(count), np.bool_(False))
        jax.block_until_ready(member.step)
        step += count
        return time.perf_counter() - start

    call(1)
    compiling = time.perf_counter() - began
    count, seconds = 1, call(1)
    while seconds < TIMED_SECONDS / 8:  # what a call costs besides its steps is not to be judged
        count *= 4
        seconds = call(count)
    pace = seconds / count
    if best is not None and pace / width > PATIENCE * best:
        return compiling, pace / width
    count = max(1, int(TIMED_SECONDS / pace))
    paces = [call(count) / count for _ in range(3)]
    return compiling, float(np.median(paces)) / width


def measures() -> bool:
    """Whether measuring is wanted, as far as the environment says."""
    return os.environ.get("RNNJAX_MEASURE", "1") != "0"


class Choice(NamedTuple):
    """A layout, and how it was found, a line a candidate."""

    layout: Alone
    why: tuple[str, ...]


def choose(
    built: Built,
    *,
    measuring: bool,
    short: float | None = None,
    lost: bool = False,
    tell: Callable[[str], None] = lambda line: None,
) -> Choice:
    """Finds out how the training of one member uses this machine.

    Args:
      built: what is trained.
      measuring: whether candidates are timed where they are not remembered; else the rules choose.
      short: a training that takes no longer (seconds) is not worth measuring; None: `SHORT_SECONDS`.
      lost: whether layouts that are known to lose are timed too.
      tell: told what is being measured.
    """
    layouts = alone(built)
    if built.experiment.train.residence == "host":
        return Choice(layouts[0], ("by rule: data come from the host",))
    if len(layouts) == 1 and not lost:
        return Choice(layouts[0], ("by rule: nothing else is to be tried",))
    short = SHORT_SECONDS if short is None else short
    found = _timed_once(built, layouts, short, tell) if measuring else _remembered(Remembered(built, layouts))
    if found is None:
        return Choice(layouts[0], ("by rule: nothing was measured",))
    beside = losers(built, layouts[0]) if measuring and lost else []
    return Choice(found.layout, (*found.why, *(_timed_once(built, beside, short, tell).why if beside else ())))


def _timed_once(built: Built, layouts: Sequence[Alone], short: float, tell: Callable[[str], None]) -> Choice:
    """The fastest of the layouts, measured if it is not remembered, and if a training is not short (seconds)."""
    memory = Remembered(built, layouts)
    known = _remembered(memory)
    if known is not None:
        return known
    tell(f"measuring {len(layouts)} way{'s' * (len(layouts) > 1)} to train this here; it is remembered")
    total = built.trainer.total
    found = measure(built, layouts, worth=lambda seconds: seconds * total >= short)
    if len(found) == 1 and len(layouts) > 1:
        return Choice(found[0].layout, (f"by rule: a training of {found[0].step_seconds * total:.1f} s is short",))
    best = min(found, key=lambda each: each.step_seconds)
    known = Choice(best.layout, tuple(map(str, found)))
    memory.write(known._asdict())
    return known


def _remembered(memory: Remembered) -> Choice | None:
    known = memory.read(Alone)
    return None if known is None else Choice(known["layout"], tuple(known["why"]))


def described(layout: Layout | Alone) -> str:
    """A layout in words."""
    several = f"{layout.devices} device{'s' * (layout.devices > 1)}"
    if isinstance(layout, Alone):
        parts = [f"rows shared by {several}" if layout.devices > 1 else "on one device"]
    else:
        members = "members one after the other" if layout.block == 1 else f"{layout.block} members side by side"
        parts = [members, f"on {several}"]
    parts += ["compiled for small arrays"] if layout.small else []
    parts += [f"{layout.unroll} steps of the loop laid out"] if layout.unroll else []
    parts += [f"executor {layout.executor}"] if layout.executor else []
    return ", ".join(parts)


class Remembered:
    """What was measured, on disk, by all that it depends on: model, task, training, device, versions.

    Args:
      built: what is trained.
      layouts: the candidates.
      numbers: further keys in which members differ, and that it does not depend on.
    """

    def __init__(self, built: Built, layouts: Sequence[Layout | Alone], numbers: Iterable[str] = ()):
        environment = describe_environment()
        experiment = storable(built.experiment)
        tree = config.to_dict(dataclasses.replace(experiment, seed=0, name=""))
        for section in ("record", "sample"):
            tree.pop(section, None)
        set_numbers = [key for key in NUMBERS if getattr(experiment.train, key.removeprefix("train.")) is not None]
        for key in (*set_numbers, *UNHEARD, *numbers):
            _forget(tree, key)
        about = {key: environment[key] for key in ("versions", "device", "devices", "threads", "xla_flags", "platform")}
        tried = [dataclasses.asdict(each) for each in layouts]
        text = json.dumps([FORM, tree, about, tried], sort_keys=True, default=str)
        self._file = cache_folder() / "layouts" / f"{hashlib.sha256(text.encode()).hexdigest()[:24]}.json"

    def read(self, kind: type[Layout] | type[Alone]) -> dict[str, Any] | None:
        """What was measured, the best layout being of this kind; None if nothing was."""
        try:
            found = json.loads(self._file.read_bytes())
            return {
                **found,
                "layout": kind(**found["layout"]),
                "why": [f"{line} (remembered)" for line in found["why"]],
            }
        except (OSError, ValueError, TypeError, KeyError):
            return None

    def write(self, known: Mapping[str, Any]) -> None:
        """Keeps what was measured: `layout`, `why`, and further values."""
        tree = {**known, "layout": dataclasses.asdict(known["layout"])}
        try:
            atomic_write(self._file, json.dumps(tree, indent=2).encode())
        except OSError:
            return  # it is measured again next time


def _forget(tree: dict[str, Any], key: str) -> None:
    *sections, last = key.split(".")
    for section in sections:
        tree = tree.get(section) or {}
    tree.pop(last, None)
