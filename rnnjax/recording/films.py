"""What a model does on one fixed batch, at every checkpoint of its training."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from rnnjax.config import InputError
from rnnjax.recording.labelled import COORDINATE_BLOCK, Recording, Variable, block_of, group_attributes, layout_of
from rnnjax.recording.observing import assembled, checked_records, observed_member, observed_members, strides_of
from rnnjax.sequence import Records
from rnnjax.store import ArrayGroup, Layout
from rnnjax.tasks.base import Batch
from rnnjax.train import Member, Trainer


class Film:
    """What a model does on one fixed batch, at every checkpoint of its training: axes begin with `checkpoint`.

    Looking is a program of its own, so that training goes on bit for bit as it would without. A film that exists is
    continued; call `drop_after` first, where training goes back to an earlier checkpoint.

    Args:
      path: folder of the recording, by custom ``....zarr``.
      trainer: of the member, or of a population (whose films have the axis `member`, too).
      batch: what is read.
      record: as in `observe`.
      attributes: what else the recording is to say of itself.

    Raises:
      InputError: a name that the model does not have, or a path where something else is.
    """

    def __init__(
        self,
        path: str | Path,
        trainer: Trainer,
        batch: Batch,
        record: Records,
        *,
        attributes: Mapping[str, Any] | None = None,
    ):
        self.path, self._trainer, self._batch = Path(path), trainer, batch
        self._records = checked_records(record, trainer.task)
        self._attributes = dict(attributes or {})
        self._group = ArrayGroup.open(self.path, write=True) if self.path.exists() else None
        self._known_to_fit = False

    def capture(self, step: int, member: Member) -> None:
        """Appends what a member, or all members of a population, do now; on return it is on disk.

        Args:
          step: of the training, later than those captured before.
          member: with averaged weights, those are looked at.

        Raises:
          InputError: the film at this path is of something else.
          ValueError: `step` is not later than the last.
        """
        lead = ("member",) if member.step.ndim else ()
        look = observed_members if lead else observed_member
        found, written = look(self._trainer, self._records, member, self._batch)
        seen = assembled(
            self._trainer.task.read, self._records, found, written, self._batch, self._trainer.task, lead, None
        )
        frames = {name: each._replace(axes=("checkpoint", *each.axes)) for name, each in seen.variables.items()}
        # What a decoder writes differs between checkpoints: it is no coordinate of them all.
        coords = {name: each for name, each in seen.coordinates.items() if not name.startswith("answer_symbol")}
        layouts = {name: layout_of(each) for name, each in coords.items()}
        layouts["checkpoint"] = Layout(("checkpoint",), (1,), "int64", (COORDINATE_BLOCK,), {})
        for name, each in frames.items():
            shape = (1, *each.shape)
            layouts[name] = Layout(each.axes, shape, each.dtype.name, block_of(shape, each.dtype), {})
        if self._group is None:
            facts = group_attributes(list(frames), layouts, {**self._attributes, **strides_of(self._records)})
            self._group = ArrayGroup.create(self.path, layouts, facts)
        group = self._group
        count = group.arrays["checkpoint"].shape[0] if "checkpoint" in group.arrays else 0
        if not self._known_to_fit:
            self._check(layouts, coords if count else {})
        if count and step <= (last := int(group.read("checkpoint", [count - 1]))):
            raise ValueError(f"step {step} is not later than the last captured, {last}")
        if not count:
            for name, each in coords.items():
                group.write(name, 0, each._replace(labels=None).read())
        for name in frames:
            group.write(name, count, seen[name][None])
        group.write("checkpoint", count, np.asarray([step], np.int64))
        group.commit({n: each.shape[0] if n in coords else count + 1 for n, each in layouts.items()})

    def _check(self, layouts: Mapping[str, Layout], coords: Mapping[str, Variable]) -> None:
        """Refuses to continue a film of something else."""
        known = {} if self._group is None else self._group.arrays
        kinds = [
            {name: (each.dims, each.shape[1:], each.dtype, each.attributes) for name, each in arrays.items()}
            for arrays in (known, layouts)
        ]
        same = kinds[0] == kinds[1]
        if same and coords:
            before = Recording.open(self.path).coordinates
            same = all(np.array_equal(before[name].read(), each.read()) for name, each in coords.items())
        if not same:
            raise InputError(
                f"'{self.path}' is a film of other fields, or of another batch", "in Film", "choose another path"
            )
        self._known_to_fit = True

    @property
    def steps(self) -> list[int]:
        """Steps of the training that were captured so far."""
        if self._group is None:
            return []
        return self._group.read("checkpoint", [slice(0, self._group.arrays["checkpoint"].shape[0])]).tolist()

    def drop_after(self, step: int) -> None:
        """Forgets what was captured later than `step`: training goes on from there, and comes by again."""
        steps = self.steps
        kept = sum(each <= step for each in steps)
        if self._group is not None and kept < len(steps):
            arrays = self._group.arrays
            self._group.commit({name: kept for name, each in arrays.items() if each.dims[0] == "checkpoint"})

    def recording(self) -> Recording:
        """What was captured so far.

        Raises:
          InputError: nothing was.
        """
        return Recording.open(self.path)

    def close(self) -> None:
        """Lets go of the folder, which nobody else could write to."""
        if self._group is not None:
            self._group.close()

    def __enter__(self) -> Film:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
