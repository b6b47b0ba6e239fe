"""The description of an experiment, and where descriptions come from: presets, files and runs."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import pkgutil
import runpy
import sys
import traceback
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from rnnjax import config
from rnnjax.cells import CELLS, Cell
from rnnjax.config import InputError, nearest
from rnnjax.generate import SampleConfig
from rnnjax.layers import ModelConfig, with_numbers
from rnnjax.tasks import Arrays, ArraysConfig, Task, TextConfig, choose
from rnnjax.tasks.registry import TASKS, OwnConfig
from rnnjax.train import TrainConfig, Trainer

CONFIG_FILE = "config.yaml"
DATA_FILE = "data.npz"


@dataclasses.dataclass(frozen=True)
class RecordConfig:
    """What of the network is recorded for the report, and during training."""

    fields: tuple[str, ...] = config.field((), "quantities as LAYER.FIELD; none: the first layer's output")
    steps: int = config.field(100, "steps of the held-out passage that is recorded", at_least=1)
    units: int = config.field(32, "units shown, those that vary most", at_least=1)
    film: int = config.field(0, "steps recorded at every checkpoint: the film of learning; 0: none", at_least=0)


@dataclasses.dataclass(frozen=True)
class Experiment:
    """A task, a model, how to train it, and what to look at: all that a run needs, as data.

    `task` is a configuration (stored with the run), or a `Task` of one's own.
    """

    name: str = config.field("experiment", "what the run's folder is named after")
    seed: int = config.field(0, "draws weights, order of batches and dropout", at_least=0, at_most=2**31 - 1)
    task: Any = config.section(TextConfig(), "the data", choose=choose)
    model: ModelConfig = config.field(ModelConfig(), "the network")
    train: TrainConfig = config.field(TrainConfig(), "the training")
    sample: SampleConfig = config.field(SampleConfig(), "what is sampled in the end")
    record: RecordConfig = config.field(RecordConfig(), "what is recorded in the end")

    def override(self, values: Mapping[str, Any] | None = None, **sections: Any) -> Experiment:
        """Another experiment, with values by dotted key: ``override({"train.batch": 64})``."""
        return config.override(self, {**(values or {}), **sections}, where="in the overrides")

    @cached_property
    def built(self) -> Built:
        """Task and trainer, made once.

        Raises:
          InputError: the data cannot be read, or parts do not fit together.
        """
        task = self.task if isinstance(self.task, Task) else self.task.build()
        return Built(self, task)


class Built:
    """What an experiment describes, made: the task, and the trainer with the model inside.

    Args:
      experiment: the description.
      task: the task, its data read.
    """

    def __init__(self, experiment: Experiment, task: Task):
        self.experiment, self.task = experiment, task
        self.trainer = Trainer(task, self.make, experiment.train)

    def make(self, rngs: nnx.Rngs, numbers: Mapping[str, Any] | None = None) -> Any:
        """The model, with initial weights.

        Args:
          rngs: where weights are drawn from.
          numbers: rates and scales in place of those described, by dotted name; they may be traced.
        """
        task = self.task
        return with_numbers(self.experiment.model, numbers or {}).build(
            task.inputs,
            task.outputs,
            read=task.read,
            symbols=task.symbols,
            length=task.length,
            answer_steps=task.answer_steps,
            rngs=rngs,
        )

    def layers(self) -> list[dict[str, Any]]:
        """Every trained parameter of the model: name, shape and count."""
        named = jax.tree_util.tree_leaves_with_path(jax.eval_shape(self.trainer.member, 0).params)
        return [
            {"layer": ".".join(str(part.key) for part in path), "shape": list(v.shape), "parameters": int(v.size)}
            for path, v in named
        ]

    def plans(self, record: tuple[str, ...] = ()) -> list[dict[str, Any]]:
        """Which executor runs each layer, why not the others, and which of them cannot: found by tracing alone.

        Args:
          record: quantities to record as LAYER.FIELD, to find out whether they exist.

        Raises:
          InputError: an executor that cannot run here, or a quantity that is not there.
        """

        def predict(seed, key):
            member, batch = self.trainer.member(seed), self.task.batch(key, self.experiment.train.batch)
            model = self.trainer.model(member.params, member.fixed)
            answers = {"answers": batch.targets} if model.read == "answer" else {}
            return model.unroll(batch.inputs, lengths=batch.lengths, mask=batch.mask, record=record, **answers)

        found = jax.eval_shape(predict, 0, jax.random.key(0)).plan
        return [
            {
                "layer": layer,
                "executor": plan.executor,
                "why": [plan.why, *(f"not {name}: {why}" for name, why in plan.others)],
                "cannot": dict(plan.refused),
            }
            for layer, plan in found
        ]

    def memory(self) -> dict[str, int]:
        """Bytes that training takes, by what they hold; working memory as the compiler plans it for a step."""
        member, data = jax.eval_shape(self.trainer.member, 0), self.task.data("train")
        resides = self.experiment.train.residence == "device"
        sizes = {
            "parameters": member.params,
            "optimiser and averages": (member.optimizer, member.average),
            "carried state": member.carry,
            "data": data if resides else (),
        }
        needed = {name: sum(v.size * v.dtype.itemsize for v in jax.tree.leaves(tree)) for name, tree in sizes.items()}
        if resides:
            number, flag = jax.ShapeDtypeStruct((), jnp.int32), jax.ShapeDtypeStruct((), jnp.bool_)
            chunk = jax.jit(self.trainer.chunk, donate_argnums=0)
            found = chunk.lower(member, data, number, number, flag).compile().memory_analysis()
            needed |= {} if found is None else {"working memory of a step": int(found.temp_size_in_bytes)}
        return needed


def presets() -> dict[str, Experiment]:
    """Every preset and variant by name, such as `shakespeare` and `shakespeare/demo`."""
    package = importlib.import_module("rnnjax.experiments")
    found: dict[str, Experiment] = {}
    for module in sorted(m.name for m in pkgutil.iter_modules(package.__path__)):
        found |= _of_module(module, vars(importlib.import_module(f"rnnjax.experiments.{module}")))
    return found


def about(name: str) -> str:
    """What a preset or variant is: the opening line of its file, or what stands there behind the variant's command."""
    module, _, variant = name.partition("/")
    lines = (importlib.import_module(f"rnnjax.experiments.{module}").__doc__ or "").splitlines()
    if not variant:
        return lines[0]
    command = f"rnnjax run {name} "
    return next((line.strip().removeprefix(command).strip() for line in lines if line.strip().startswith(command)), "")


def load(what: str | Path, overrides: Mapping[str, Any] | None = None) -> Experiment:
    """An experiment by name: a preset, a variant (`shakespeare/demo`), a .yaml or .py file, or a run's folder.

    Args:
      what: name or path.
      overrides: values by dotted key, as on the command line.

    Raises:
      InputError: nothing of that name, or an override that does not fit.
    """
    path = Path(what)
    if path.is_dir() and (path / CONFIG_FILE).is_file():
        experiment = _of_run(path)
    elif path.suffix in (".yaml", ".yml"):
        experiment = config.load(path, Experiment)
    elif path.suffix == ".py":
        experiment = _of_module(path.stem, _executed(path))[path.stem]
    else:
        experiment = _preset(str(what))
    return changed(experiment, _with_code(overrides)) if overrides else experiment


def own(thing: type, name: str | None = None) -> type:
    """Makes a cell, a task or a task's configuration of one's own known by name; also as a decorator.

    Args:
      thing: a subclass of `Cell` or `Task`, or a dataclass with a field `kind` and a method `build`.
      name: what configurations call it; the name of the class if None.

    Raises:
      InputError: the name is taken, or `thing` is none of these.
    """
    name = name or thing.__name__
    if isinstance(thing, type) and issubclass(thing, Cell):
        table: dict[str, Any] = CELLS
    elif isinstance(thing, type) and (issubclass(thing, Task) or (hasattr(thing, "build") and hasattr(thing, "kind"))):
        table = TASKS
    else:
        raise InputError(
            f"{name} is neither a cell nor a task", "in rx.own", "derive it from rx.cells.Cell or rx.tasks.Task"
        )
    if name in table and getattr(table[name], "__module__", None) != thing.__module__:
        raise InputError(f"the name '{name}' is taken", "in rx.own", "give name=")
    table[name] = thing
    return thing


def own_code(spec: str) -> str:
    """Imports ``module:Name`` or ``file.py:Name``, which the user named, and gives the name that it is now known by.

    Raises:
      InputError: there is no such file, module or name in it.
    """
    source, _, name = spec.rpartition(":")
    known = f"{Path(source).expanduser().resolve()}:{name}" if source.endswith(".py") else spec
    own(imported(spec), known)
    return known


def imported(spec: str) -> Any:
    """What ``module:Name`` or ``file.py:Name`` names.

    Raises:
      InputError: there is no such file, module or name in it.
    """
    source, _, name = spec.rpartition(":")
    if source.endswith(".py"):
        content = _executed(Path(source).expanduser().resolve())
    else:
        sys.path.insert(0, "")  # the folder that the command is given in, as python -m has it
        try:
            content = vars(importlib.import_module(source))
        except (ImportError, ValueError) as error:
            raise InputError(
                f"cannot import '{source}': {error}", f"in '{spec}'", "give a module, or a .py file, as FILE.py:NAME"
            ) from error
        finally:
            sys.path.remove("")
    if name not in content:
        close = nearest(name, [key for key in content if not key.startswith("_")])
        fix = f"did you mean '{close[0]}'?" if close else "check the name"
        raise InputError(f"nothing is called '{name}' in {source}", f"in '{spec}'", fix)
    return content[name]


def _with_code(overrides: Mapping[str, Any]) -> dict[str, Any]:
    """The overrides, with cells and tasks that they name as code imported."""
    code = {key: str(overrides[key]) for key in ("model.cell", "task.kind") if ":" in str(overrides.get(key, ""))}
    return {**overrides, **{key: own_code(spec) for key, spec in code.items()}}


def changed(experiment: Experiment, overrides: Mapping[str, Any]) -> Experiment:
    """The experiment with values by dotted key; new epochs take the place of steps, where no steps are given."""
    keys = {key.replace("-", "_") for key in overrides}
    if "train.epochs" in keys and "train.steps" not in keys:
        overrides = {**overrides, "train.steps": None}
    return config.override(experiment, overrides)


def _of_run(folder: Path) -> Experiment:
    """The experiment of a stored run; its arrays lie beside its description."""
    experiment = config.load(folder / CONFIG_FILE, Experiment)
    if isinstance(experiment.task, ArraysConfig) and experiment.task.path == DATA_FILE:
        held = dataclasses.replace(experiment.task, path=str(folder / DATA_FILE))
        return dataclasses.replace(experiment, task=held)
    return experiment


def storable(experiment: Experiment) -> Experiment:
    """The experiment as it is written down with a run: a file by its full path and checksum, arrays by their copy."""
    task = experiment.task
    if isinstance(task, Arrays):
        stored: Any = ArraysConfig(path=DATA_FILE, split=task.split)
    elif isinstance(task, Task):
        stored = OwnConfig(name=f"{type(task).__module__}.{type(task).__qualname__}")
    elif getattr(task, "path", "") and Path(task.path).expanduser().is_file():
        path = Path(task.path).expanduser().resolve()
        found: dict[str, Any] = {"path": str(path)}
        if hasattr(task, "sha256"):
            found["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
        stored = dataclasses.replace(task, **found)
    else:
        stored = task
    return dataclasses.replace(experiment, task=stored)


def _executed(path: Path) -> dict[str, Any]:
    """The names that a Python file sets."""
    if not path.is_file():
        raise InputError(f"there is no file '{path}'", "where an experiment is named", "check the path")
    try:
        return runpy.run_path(str(path))
    except InputError:
        raise
    except Exception as error:
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
        line = error.lineno if isinstance(error, SyntaxError) else (lines or [None])[-1]
        raise InputError(f"{type(error).__name__}: {error}", f"in {path}, line {line}", "correct the file") from error


def _preset(name: str) -> Experiment:
    known = presets()
    if name not in known:
        close = nearest(name, known)
        raise InputError(
            f"unknown experiment '{name}'",
            "where an experiment is named",
            f"did you mean '{close[0]}'?" if close else f"choose one of {', '.join(known)}, a file, or a run's folder",
        )
    return known[name]


def _of_module(name: str, content: Mapping[str, Any]) -> dict[str, Experiment]:
    """The experiment of a module (`EXPERIMENT`) and its variants (`VARIANTS`: by name, overrides or experiments)."""
    if not isinstance(content.get("EXPERIMENT"), Experiment):
        raise InputError(f"no EXPERIMENT in {name}", "in the file", "set EXPERIMENT = rx.Experiment(...)")
    base = dataclasses.replace(content["EXPERIMENT"], name=name)
    found = {name: base}
    for variant, values in content.get("VARIANTS", {}).items():
        where = f"in the variant {name}/{variant}"
        changed = values if isinstance(values, Experiment) else config.override(base, values, where=where)
        found[f"{name}/{variant}"] = dataclasses.replace(changed, name=f"{name}-{variant}")
    return found
