"""A run on disk, opened: what it measured, its trained model, and everything that can be asked of it."""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax import figures, interop
from rnnjax.cells import lookup
from rnnjax.config import InputError
from rnnjax.experiment import load
from rnnjax.generate import Generated, Scored, generate, score
from rnnjax.interpret import Atlas, Scores, explain, lesion_atlas
from rnnjax.looks import Sight, Subject, look
from rnnjax.looks.units import inside
from rnnjax.recording import GRADIENT, Recording, observe, stream
from rnnjax.run.exploring import ROWS
from rnnjax.run.pages import View, as_csv, leave_figures, table_name, write_report, write_view
from rnnjax.sequence import Edit, Record, as_records
from rnnjax.store import ArrayGroup, RunFolder
from rnnjax.tasks import Batch, Table, Task, Text
from rnnjax.tasks.names import Names
from rnnjax.train import Member

Checkpoint = int | Literal["latest", "best"]


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

    @property
    def watched(self) -> tuple[str, ...]:
        """What is looked at unless told otherwise: what the experiment records, or the first layer's output."""
        return self.experiment.record.fields or self.experiment.built.trainer.watched

    @property
    def recordable(self) -> dict[str, int]:
        """Every quantity that can be recorded, as LAYER.FIELD, and its units."""
        return self.experiment.built.trainer.recordable

    def record(
        self,
        fields: Sequence[str | Record] = (),
        passage: str | None = None,
        *,
        steps: int = 100,
        edit: Edit | Sequence[Edit] | None = None,
        checkpoint: Checkpoint = "latest",
        name: str | None = None,
    ) -> Recording:
        """What the model does inside while it reads.

        Args:
          fields: quantities as LAYER.FIELD, such as `0.h`; `rx.Record` for some units, a stride, or statistics in place
            of values; `gradient.0.h` for the gradient of the loss by it. None: `watched`.
          passage: text to read; None reads held-out (or else training) data.
          steps: steps of that data.
          edit: changes inside the loop, such as `rx.lesion("0.h", units=[3])`.
          checkpoint: `latest`, `best`, or a step.
          name: of the recording in the run's folder, which a text is streamed to; None keeps it in memory.

        Raises:
          InputError: a quantity that is not there, a name that is taken, or a symbol that the model does not know.
        """
        task, wanted = self.experiment.built.task, as_records(tuple(fields) or self.watched)
        for record in wanted:
            self._known(record.field.removeprefix(GRADIENT))
        path = None if name is None else self._free(name)
        model, batch = self.model(checkpoint), self._read(passage, steps)
        about = {"run": self.path.name, "checkpoint": self.folder.resolve(checkpoint)}
        forward = not (edit or self.experiment.model.bidirectional)
        forward = forward and not any(record.field.startswith(GRADIENT) for record in wanted)
        if path is not None and isinstance(task, Text) and forward:
            inputs = np.asarray(batch.inputs[0])
            try:
                return stream(model, inputs, wanted, path, labels=task.alphabet, attributes=about)
            except BaseException:
                with contextlib.suppress(InputError):
                    _drop_if_empty(path)
                raise
        found = observe(model, batch, wanted, task=task, edit=edit, attributes=about)
        return found if path is None else found.save(path)

    def _known(self, field: str | None) -> str:
        """The quantity of that name, if there is one; the first of `watched` if None."""
        if field is None:
            return self.watched[0]
        lookup(self.recordable, field, "quantity", "among what this model can be asked for")
        return field

    def _free(self, name: str) -> Path:
        """Where a new recording of that name goes."""
        path = self.folder.recording(name)
        _drop_if_empty(path)
        if path.exists():
            raise InputError(
                f"there is a recording called '{name}'", f"in {path.parent}", "choose another name, or remove it"
            )
        return path

    def _read(self, passage: str | None, steps: int, rows: int = 1) -> Batch:
        """What is read to look at the model: a text, or held-out data."""
        if steps < 1:
            raise InputError(f"{steps} steps to read", "in steps", "ask for at least 1")
        if passage is None:
            return self.experiment.built.task.probe(steps, rows)
        symbols = _text_task(self.experiment.built.task).vocabulary.encode(passage)[None]
        if not symbols.size:
            raise InputError("an empty passage", "in passage", "give at least one symbol")
        inputs = jnp.asarray(symbols)
        targets = jnp.concatenate([inputs[:, 1:], inputs[:, -1:]], axis=1)
        known = jnp.arange(inputs.shape[1])[None] < inputs.shape[1] - 1  # what follows the last symbol is not known
        return Batch(inputs, targets, counts=known)

    def explain(
        self,
        field: str | None = None,
        *,
        steps: int = 20_000,
        concepts: Mapping[str, Callable[[str], Sequence[Any]]] | None = None,
        rate: float = 0.05,
        checkpoint: Checkpoint = "latest",
    ) -> Scores:
        """Which unit follows what, found and tested on separate halves of held-out data; see `rnnjax.interpret`.

        The table of all named units is left in the run's folder.

        Args:
          field: the quantity as LAYER.FIELD; the first of `watched` if None.
          steps: steps of held-out data.
          concepts: functions of the text besides those that the task knows, by name: each gives a value a symbol.
          rate: share of named units that may be named by chance (false-discovery rate).
          checkpoint: `latest`, `best`, or a step.

        Raises:
          InputError: a quantity that is not there, or too little data.
        """
        field, batch = self._known(field), self._read(None, steps, ROWS)
        found = explain(self.model(checkpoint), self.experiment.built.task, batch, field, functions=concepts, rate=rate)
        self._leave(table_name("units", field), found.table())
        return found

    def inside(self, scores: Scores, *, checkpoint: Checkpoint = "latest") -> list[Sight]:
        """Pictures of the network inside: named units at work, gates, courses, weights, how far back a loss reaches.

        They are left in the run's folder, in `figures/`.

        Args:
          scores: what `explain` gave.
          checkpoint: `latest`, `best`, or a step.
        """
        sights = list(inside(self.model(checkpoint), self.experiment.built.task, scores))
        leave_figures(self, [(sight.title, sight.figure) for sight in sights if sight.figure is not None])
        return sights

    def lesion(
        self,
        field: str | None = None,
        *,
        units: Sequence[int] | None = None,
        steps: int = 1000,
        checkpoint: Checkpoint = "latest",
    ) -> Atlas:
        """How much worse the model gets without each unit; a table of all is left in the run's folder.

        Args:
          field: the quantity as LAYER.FIELD that is set to zero, a unit at a time; the first of `watched` if None.
          units: which; all if None.
          steps: steps of held-out data.
          checkpoint: `latest`, `best`, or a step.

        Raises:
          InputError: a quantity or a unit that is not there.
        """
        field, batch = self._known(field), self._read(None, steps, ROWS)
        found = lesion_atlas(self.model(checkpoint), [batch], self.experiment.built.task, field, units=units)
        if units is None:
            self._leave(table_name("lesions", field), found.table())
            picture = figures.atlas(found.change, baseline=found.baseline, numbers=found.units.tolist(), field=field)
            leave_figures(self, [(f"Lesions of {field}", picture)])
        return found

    def _leave(self, name: str, table: Table) -> None:
        self.folder.write_text(f"tables/{name}", as_csv(table))

    def view(self, beside: Run | None = None, *, steps: int = 2000, checkpoint: Checkpoint = "latest") -> View:
        """The page in which the run can be explored: written into its folder as `view.html`, shown in a notebook.

        Args:
          beside: another run, to compare with.
          steps: steps of the passage that it shows.
          checkpoint: `latest`, `best`, or a step.
        """
        if steps < 1:
            raise InputError(f"{steps} steps to show", "in steps", "ask for at least 1")
        return write_view(self, beside, steps, checkpoint)

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
        return write_report(self, looks)

    def resume(self, overrides: Mapping[str, Any] | None = None, *, quiet: bool = True) -> Run:
        """Goes on from the latest checkpoint, ending bit for bit where an uninterrupted run ends."""
        from rnnjax.run.story import go_on

        return go_on(self, overrides, quiet=quiet)


def _drop_if_empty(path: Path) -> None:
    """Removes a recording that was begun, never got a step, and is not being written: its name is free then."""
    if path.exists() and not len(Recording.open(path)):
        ArrayGroup.open(path, write=True).close()  # refused while another process writes it
        shutil.rmtree(path)


def open_run(path: str | Path, task: Task | None = None) -> Run:
    """The run in a folder, or the member of a sweep that `SWEEP:best` or `SWEEP:17` names; see `Run`."""
    from rnnjax.run.members import located

    return Run(located(path, task), task)


def default_prompts(text: Text) -> tuple[str, ...]:
    """A line break if the text has one, else its first symbol."""
    return ("\n",) if "\n" in text.labels else (text.labels[0],)


def _text_task(task: Task) -> Text:
    if not isinstance(task, Text):
        raise InputError("this run is not about text", "in its task", "use run.model() and give it inputs of your own")
    return task
