"""The story of an experiment: it is described, trained, saved, and looked at."""

from __future__ import annotations

import csv
import dataclasses
import io
import math
import re
import signal
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax import config, figures, interop
from rnnjax.config import InputError
from rnnjax.experiment import CONFIG_FILE, DATA_FILE, Built, Experiment, changed, load, storable
from rnnjax.figures import Figure
from rnnjax.generate import Generated, Scored, generate, score
from rnnjax.looks import Sight, Subject, look
from rnnjax.population import Programs, Progress, Rhythm, fit
from rnnjax.progress import showing
from rnnjax.report import Report, page
from rnnjax.store import RunFolder, digest
from rnnjax.tasks import Arrays, Batch, Table, Task, Text
from rnnjax.tasks.base import aligned
from rnnjax.tasks.names import Names
from rnnjax.timing import describe_environment
from rnnjax.train import NON_FINITE, Member, Meter, learning_rate, metrics

Checkpoint = int | Literal["latest", "best"]


class NonFinite(ArithmeticError):
    """Loss or gradient was not finite; the run keeps its last good checkpoint."""

    exit_code = 3


class Interrupted(Exception):
    """A signal stopped the run after it was saved.

    Attributes:
      exit_code: 128 and the number of the signal, as shells have it.
    """

    def __init__(self, number: int, path: Path, step: int):
        super().__init__(f"stopped by {signal.Signals(number).name}, saved at step {step}; go on: rnnjax resume {path}")
        self.exit_code = 128 + number


class Recorded(NamedTuple):
    """What was recorded of a passage: values by name, each ``[time, units]``, and the symbols that were read."""

    values: dict[str, np.ndarray]
    symbols: list[str]


class Run:
    """A run on disk: its description, what it measured, and its trained model.

    Args:
      path: the run's folder.
      task: the task, where it is an object of one's own (a stored run imports no code).

    Raises:
      InputError: the folder is no run.
    """

    def __init__(self, path: str | Path, task: Task | None = None):
        self.folder = RunFolder.open(path)
        self.path = self.folder.path
        experiment = load(self.path)
        self.experiment = experiment if task is None else dataclasses.replace(experiment, task=task)

    def __repr__(self) -> str:
        return f"Run('{self.path}', {self.summary().get('status', 'no summary yet')})"

    def summary(self) -> dict[str, Any]:
        """What the run came to: status, counts, speed, metrics, best."""
        return self.folder.summary()

    def metrics(self) -> list[dict[str, Any]]:
        """The lines of the log, one a logged step."""
        return self.folder.metrics()

    def member(self, checkpoint: Checkpoint = "latest") -> Member:
        """The whole state of training at a checkpoint: `latest`, `best`, or a step."""
        trainer = self.experiment.built.trainer
        return self.folder.restore(jax.eval_shape(trainer.member, 0), checkpoint)

    def model(self, checkpoint: Checkpoint = "latest") -> Any:
        """The trained model at a checkpoint, with averaged weights if there are any."""
        trainer = self.experiment.built.trainer
        like = jax.eval_shape(trainer.member, 0)
        weights = "params" if like.average is None else "average"
        params = self.folder.restore_part(weights, getattr(like, weights), checkpoint)
        fixed = self.folder.restore_part("fixed", like.fixed, checkpoint) if jax.tree.leaves(like.fixed) else like.fixed
        return jax.tree.map(jnp.asarray, trainer.model(params, fixed))

    def sample(
        self,
        prompts: Sequence[str] = (),
        *,
        length: int = 500,
        temperature: float = 0.5,
        top_k: int = 0,
        top_p: float = 1.0,
        rows: int = 1,
        seed: int = 0,
        checkpoint: Checkpoint = "latest",
    ) -> list[tuple[str, str]]:
        """Text that the model draws after each prompt, as pairs of prompt and continuation.

        Args:
          prompts: what to go on from; none: a line break if the text has one, else its first symbol.
          length, temperature, top_k, top_p: as in `rnnjax.generate.generate`.
          rows: continuations of each prompt.
          seed: of the draws.
          checkpoint: `latest`, `best`, or a step.

        Raises:
          InputError: a symbol that the model does not know, or a run that is not about text.
        """
        text = _text_task(self.experiment.built.task)
        if rows < 1:
            raise InputError(f"{rows} continuations of each prompt", "in rows", "ask for at least 1")
        wanted = [prompt for prompt in prompts or default_prompts(text) for _ in range(rows)]
        tokens = [text.vocabulary.encode(prompt) for prompt in wanted]
        found: Generated = generate(
            self.model(checkpoint),
            tokens,
            jax.random.key(seed),
            length=length,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
        )
        return [(prompt, text.decode(row)) for prompt, row in zip(wanted, np.asarray(found.tokens), strict=True)]

    def score(self, texts: Sequence[str], *, checkpoint: Checkpoint = "latest") -> Scored:
        """How likely the model finds texts: the log-probability of each symbol given those before it.

        A text is scored from its second symbol on, given the first. A name is scored whole, from nothing to the line
        break that ends it.

        Args:
          texts: what is scored.
          checkpoint: `latest`, `best`, or a step.

        Raises:
          InputError: a symbol that the model does not know, a text with nothing to score, or a run about other things.
        """
        task = self.experiment.built.task
        if isinstance(task, Names):
            texts, before = [f"{name}\n" for name in texts], task.inputs
        else:
            task, before = _text_task(task), None
        return score(self.model(checkpoint), [task.vocabulary.encode(text) for text in texts], before=before)

    def export(self, target: str, path: str | Path | None = None, *, checkpoint: Checkpoint = "latest") -> list[Path]:
        """Writes the trained weights for another library; gives the files.

        Args:
          target: `torch`, `keras`, `flax`, `linen`, `onnx` or `npz`.
          path: what the files are called; in the run's folder `export` if None.
          checkpoint: `latest`, `best`, or a step.
        """
        return interop.export(self.model(checkpoint), target, path or self.path / "export" / self.path.name)

    def record(
        self,
        fields: Sequence[str],
        passage: str | None = None,
        *,
        checkpoint: Checkpoint = "latest",
        steps: int = 100,
    ) -> Recorded:
        """What the model does inside while it reads one passage.

        Args:
          fields: quantities as LAYER.FIELD, such as `0.h`.
          passage: text to read; None takes the first held-out (or else training) example.
          checkpoint: `latest`, `best`, or a step.
          steps: steps to read at most.
        """
        task = self.experiment.built.task
        if passage is None:
            batch = _first_example(task)
        else:
            inputs = jnp.asarray(_text_task(task).vocabulary.encode(passage)[None])
            batch = Batch(inputs, inputs)
        read = {"lengths": batch.lengths, "mask": batch.mask, "reset": batch.reset}
        model = self.model(checkpoint)
        if task.read == "answer":
            read["answers"] = model.write(batch.inputs, **read)  # fed back, they are what it does by itself
        found = model.unroll(batch.inputs, record=tuple(fields), **read).recorded
        exist = np.asarray(batch.existing()[0])
        symbols = [task.symbol(int(k)) for k in np.asarray(batch.inputs[0])] if task.symbols else []

        def kept(values: Any) -> Any:
            """The steps that exist, where there is one a step of the input."""
            return (values[exist] if len(values) == len(exist) else values)[:steps]

        values = {name: kept(np.asarray(value[0])) for name, value in found.items()}
        return Recorded(values, list(kept(np.asarray(symbols))) if symbols else [])

    def looked_at(self) -> list[Sight]:
        """Tables, pictures and numbers of the trained model, made anew; see `rnnjax.looks`."""
        built = self.experiment.built
        steps = tuple(self.folder.checkpoints())
        return look(Subject(built, self.model(), self.metrics(), self.summary(), steps, self.model))

    def report(self, *, looks: bool = True) -> Path:
        """Writes figures, tables and the report page, and gives the page's path.

        Args:
          looks: whether to look at the trained model too.
        """
        return _write_report(self, str(self.folder.environment().get("command", "")), looks)

    def resume(self, overrides: Mapping[str, Any] | None = None, *, quiet: bool = True) -> Run:
        """Goes on from the latest checkpoint, ending bit for bit where an uninterrupted run ends.

        Args:
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
        with self.folder.lock():
            experiment = changed(self.experiment, overrides) if overrides else self.experiment
            planned = self.folder.environment().get("plan", [])
            stored = {entry["executor"] for entry in planned}
            if experiment.model.executor == "auto" and len(stored) == 1:
                model = dataclasses.replace(experiment.model, executor=stored.pop())
                experiment = dataclasses.replace(experiment, model=model)
            built = experiment.built
            like = jax.eval_shape(built.trainer.member, 0)
            member = jax.tree.map(jnp.asarray, self.folder.restore(like))
            step, train = int(member.step), built.trainer.config
            if step >= built.trainer.total:
                raise InputError(
                    f"run '{self.path}' has done {step} steps already, and is asked for {built.trainer.total}",
                    "in resume",
                    f"train longer with --train.steps {2 * step}",
                )
            if train.patience is not None and int(member.waited) >= train.patience:
                raise InputError(
                    f"run '{self.path}' stopped for want of a better validation",
                    "in resume",
                    "start a new run with a larger train.patience",
                )
            self._warn_of_other_bits()
            self.folder.drop_metrics_after(step)
            if overrides:
                member = self._extended(member, built)
                self.experiment = changed(self.experiment, overrides)
                self.folder.write_text(CONFIG_FILE, config.dump(storable(self.experiment)))
            _train(self, built, member, step, quiet)
        return self

    def _extended(self, member: Member, built: Built) -> Member:
        """The member for a training of another length: its schedule stretched, its meter ready for the next line."""
        hyper = {key: value for key, value in built.trainer.hyper().items() if key == "decay_steps"}
        rows = self.metrics()
        logged = bool(rows) and rows[-1]["step"] == int(member.step)
        return dataclasses.replace(member, hyper=member.hyper | hyper, meter=Meter.empty() if logged else member.meter)

    def _warn_of_other_bits(self) -> None:
        """Says so if the run goes on where its bits may come out differently."""
        then, now = self.folder.environment(), describe_environment()
        keys = [key for key in ("versions", "device", "devices", "threads", "xla_flags") if then.get(key) != now[key]]
        if keys:
            print(f"note: {', '.join(keys)} differ from those the run began with; bits may too", file=sys.stderr)


def run(
    experiment: Experiment,
    root: str | Path = "runs",
    name: str | None = None,
    *,
    quiet: bool = True,
    command: str = "",
) -> Run:
    """Runs an experiment: trains it, and leaves a folder with all that belongs to it.

    Args:
      experiment: the description.
      root: folder that holds runs.
      name: of the run's folder; a numbered one after the experiment if None.
      quiet: whether to show no progress.
      command: what the report says the run was started with.

    Raises:
      InputError: data that cannot be read, parts that do not fit, a name that exists. No folder is left.
      NonFinite: loss or gradient was not finite; the last good checkpoint is kept.
      Interrupted: a signal came; the run is saved, and can be resumed.
    """
    built = experiment.built
    plan = built.plans()
    member = jax.jit(built.trainer.member)(experiment.seed)
    Rhythm(built.trainer)
    _check_looking(built)
    environment = describe_environment() | {"command": command, "lift": "one", "plan": plan}
    folder = RunFolder.create(root, name, config.dump(storable(experiment)), environment, stem=experiment.name)
    if isinstance(experiment.task, Arrays):
        experiment.task.save(folder.path / DATA_FILE)
    started = Run(folder.path, experiment.task if isinstance(experiment.task, Task) else None)
    with started.folder.lock():
        started.folder.save(0, member, metric=None)
        _train(started, built, member, 0, quiet)
    return started


def resume(
    path: str | Path,
    overrides: Mapping[str, Any] | None = None,
    *,
    task: Task | None = None,
    quiet: bool = True,
) -> Run:
    """Goes on with a run; see `Run.resume`."""
    return Run(path, task).resume(overrides, quiet=quiet)


def open_run(path: str | Path, task: Task | None = None) -> Run:
    """The run in a folder; see `Run`."""
    return Run(path, task)


def _train(run: Run, built: Built, member: Member, start: int, quiet: bool) -> None:
    """Trains to the end, to a signal, or to a loss that is not finite; logs, saves, sums up and reports."""
    programs, rhythm, log = Programs(built.trainer), Rhythm(built.trainer), _Log(run, built)
    train, status = built.trainer.config, "finished"
    with _signals() as heard, showing(start, rhythm.total, quiet=quiet) as display:
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
        raise Interrupted(heard[0], run.path, step)


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
        params = jax.device_get(member.params)
        pace = self._steady.steps / self._steady.seconds if self._steady.steps else None
        symbols = [row["symbols_per_second"] for row in rows if "symbols_per_second" in row]
        summary: dict[str, Any] = {
            "status": status,
            "parameters": sum(leaf.size for leaf in jax.tree.leaves(params)),
            "parameters_sha256": digest(params),
            "steps": step,
            "epochs": step / trainer.epoch_steps,
            "seconds": self._seconds,
            "steps_per_second": pace,
            "symbols_per_second": float(np.median(symbols)) if symbols else None,
            "metrics": means,
            "references": self._built.task.references(),
        }
        if math.isfinite(float(member.best)):
            summary["best"] = {
                "metric": "validation_loss",
                "direction": "min",
                "value": float(member.best),
                "step": int(member.best_step),
            }
        return summary


def default_prompts(text: Text) -> tuple[str, ...]:
    """A line break if the text has one, else its first symbol."""
    return ("\n",) if "\n" in text.labels else (text.labels[0],)


def _text_task(task: Task) -> Text:
    if not isinstance(task, Text):
        raise InputError("this run is not about text", "in its task", "use run.model() and give it inputs of your own")
    return task


def _check_looking(built: Built) -> None:
    """Finds out before training whether what is to be sampled and recorded in the end exists."""
    experiment = built.experiment
    if isinstance(built.task, Text):
        for prompt in experiment.sample.prompts:
            if not len(built.task.vocabulary.encode(prompt)):
                raise InputError("an empty prompt", "in sample.prompts", "give each prompt at least one symbol")
    built.plans(experiment.record.fields or built.trainer.watched)


def _first_example(task: Task) -> Batch:
    """The first held-out, or else training, example."""
    split = "train" if task.data("validation") is None else "validation"
    data, order = task.data(split), task.order(jax.random.key(0), split, 1)
    batch = task.take_shaped(data, order, 0, split, 1, int(task.shape_of(order, 0)))
    return jax.tree.map(jnp.asarray, batch)


def _write_report(run: Run, command: str, looks: bool) -> Path:
    """Sample, figures, tables and page of a run; what was measured on the way goes into its summary."""
    experiment, built, summary = run.experiment, run.experiment.built, run.summary()
    sights = run.looked_at() if looks else []
    numbers = {name: float(value) for sight in sights for name, value in sight.numbers.items()}
    if numbers:
        summary = {**summary, "metrics": {**summary["metrics"], **numbers}}
        run.folder.write_summary(summary)
    samples = []
    if isinstance(built.task, Text):
        chosen = experiment.sample
        drawn = run.sample(
            chosen.prompts,
            length=chosen.length,
            temperature=chosen.temperature,
            top_k=chosen.top_k,
            top_p=chosen.top_p,
        )
        samples = [{"prompt": p, "temperature": chosen.temperature, "text": text} for p, text in drawn]
        run.folder.write_text("sample.txt", "\n\n".join(p + text for p, text in drawn) + "\n")
    rows = run.metrics()
    drawn_figures: list[tuple[str, str, Figure]] = []
    if rows:
        unit = "nats per symbol" if built.task.answers == "classes" else "mean squared error"
        series = {key: [(r["step"], r[key]) for r in rows if key in r] for key in ("loss", "validation_loss")}
        curves = {key.replace("_", " "): tuple(np.asarray(pairs).T) for key, pairs in series.items() if pairs}
        references = {k: v for k, v in summary.get("references", {}).items() if not k.startswith("unigram")}
        drawn_figures.append(
            (
                "Loss",
                "Mean loss between lines of the log, and on held-out data.",
                figures.curves(curves, ylabel=unit, reference=references),
            )
        )
    fields = experiment.record.fields or built.trainer.watched
    recorded = run.record(fields, steps=experiment.record.steps)
    for name, values in recorded.values.items():
        shown = np.sort(np.argsort(-values.std(axis=0), kind="stable")[: experiment.record.units])
        picture = figures.heatmap(
            values[:, shown].T,
            symbols=recorded.symbols if len(recorded.symbols) == len(values) else None,
            numbers=shown.tolist(),
            label=name,
        )
        caption = f"{name} of the {len(shown)} units (of {values.shape[1]}) that vary most, over one passage."
        drawn_figures.append((f"Activations of {name}", caption, picture))
    for title, picture in [(title, picture) for title, _, picture in drawn_figures] + [
        (sight.title, sight.figure) for sight in sights if sight.figure is not None
    ]:
        run.folder.write_bytes(f"figures/{_file_name(title)}.png", figures.png(picture))
    for sight in sights:
        if sight.table is not None:
            run.folder.write_text(f"tables/{_file_name(sight.title)}.csv", _as_csv(sight.table))
    if sights:
        run.folder.write_text("findings.txt", _as_text(sights))
    content = Report(
        name=run.path.name,
        command=command,
        status=summary.get("status", ""),
        configuration=config.to_dict(storable(experiment)),
        summary=summary,
        environment={k: v for k, v in run.folder.environment().items() if k not in ("plan", "command")},
        layers=built.layers(),
        plan=run.folder.environment().get("plan", []),
        samples=samples,
        figures=drawn_figures,
        sights=sights,
    )
    run.folder.write_text("report.html", page(content))
    return run.path / "report.html"


def _file_name(title: str) -> str:
    return re.sub(r"[^a-z0-9.]+", "_", title.lower()).strip("_")


def _as_csv(table: Table) -> str:
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows([table.heads, *table.rows])
    return stream.getvalue()


def _as_text(sights: Sequence[Sight]) -> str:
    """Tables, texts and numbers, as a terminal shows them."""
    found = []
    for sight in sights:
        lines = [sight.title, sight.caption] if sight.figure is None else []
        if sight.table is not None:
            lines += aligned(sight.table)
        if sight.text:
            lines.append(sight.text.rstrip("\n"))
        lines += [f"{name}: {float(value):.4g}" for name, value in sight.numbers.items()]
        if lines:
            found.append("\n".join(line for line in lines if line))
    return "\n\n".join(found) + "\n"


@contextmanager
def _signals() -> Iterator[list[int]]:
    """Collects SIGINT and SIGTERM instead of dying of them; a second one acts as usual."""
    heard: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield heard
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def hear(number, frame):
        heard.append(number)
        signal.signal(number, before[number])
        print("\nstopping after this chunk of steps ...", file=sys.stderr, flush=True)

    for number in before:
        signal.signal(number, hear)
    try:
        yield heard
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
