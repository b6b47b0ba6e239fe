"""How members share a device, and the loop that trains them.

A lift turns a function of one member into one of many: `one` (a single member), `vmap` (side by side in every
operation) or `map` (one after the other inside the program). `fit` is a generator: it yields after each compiled chunk
of steps, and whoever runs it decides what to log, save and stop.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import numpy as np

from rnnjax.cells import lookup
from rnnjax.config import InputError
from rnnjax.tasks.base import Batch
from rnnjax.train import Member, Meter, Trainer

CHUNK_SECONDS = 2.0  # a signal is heard between chunks
HOST_STEPS = 32  # batches in one block brought from the host


def _one(function: Callable[..., Any]) -> Callable[..., Any]:
    return function


def _vmap(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda members, *shared: jax.vmap(lambda member: function(member, *shared))(members)


def _map(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda members, *shared: jax.lax.map(lambda member: function(member, *shared), members)


LIFTS: dict[str, Callable[[Callable[..., Any]], Callable[..., Any]]] = {
    "one": _one,
    "vmap": _vmap,
    "map": _map,
}
"""Lifts by name: each takes ``f(member, *shared)`` to a function of all members."""


class Rhythm:
    """When to log, to validate and to save, in steps.

    Args:
      trainer: whose configuration and epoch it follows.

    Raises:
      InputError: an interval that is neither a number of steps nor of epochs.
    """

    def __init__(self, trainer: Trainer):
        train, self.epoch, self.total = trainer.config, trainer.epoch_steps, trainer.total
        self._log = train.log_every or max(1, self.epoch // 10)
        self._save = self._interval(train.checkpoint_every, "checkpoint_every")
        validates = trainer.task.data("validation") is not None
        self._validate = self._interval(train.evaluate_every, "evaluate_every") if validates else None

    def _interval(self, value: int | str, key: str) -> int:
        text = str(value).strip()
        steps = text.removesuffix("epochs").removesuffix("epoch").strip()
        if not steps.isdecimal() or int(steps) < 1:
            raise InputError(f"'{value}' is no interval", f"in train.{key}", "give steps as 500, or epochs as 1epoch")
        return int(steps) * (1 if steps == text else self.epoch)

    def validates(self, step: int) -> bool:
        """Whether the validation split is measured after `step` steps."""
        return self._validate is not None and (step % self._validate == 0 or step == self.total)

    def saves(self, step: int) -> bool:
        """Whether a checkpoint is written after `step` steps."""
        return step % self._save == 0 or step == self.total

    def logs(self, step: int) -> bool:
        """Whether the log has a line at `step`: at regular places within an epoch, at its end, and at validations."""
        within = step % self.epoch
        return within == 0 or within % self._log == 0 or self.validates(step) or step == self.total

    def boundary(self, step: int) -> int:
        """The next step at which any of these is due."""
        epoch_end = (step // self.epoch + 1) * self.epoch
        within = step % self.epoch
        nexts = [
            epoch_end,
            step - within + (within // self._log + 1) * self._log,
            (step // self._save + 1) * self._save,
        ]
        if self._validate is not None:
            nexts.append((step // self._validate + 1) * self._validate)
        return min(*nexts, self.total)


class Progress(NamedTuple):
    """Where training stands after a chunk.

    Attributes:
      step: steps done.
      member: the member, or members; valid until the next chunk begins, which takes over its memory.
      seconds: time that the chunk took.
      steps: steps of the chunk.
      compiled: whether that time holds a compilation.
      validation: sums over the validation split, where one was due.
    """

    step: int
    member: Member
    seconds: float
    steps: int
    compiled: bool
    validation: Meter | None


class Programs:
    """The compiled programs of a trainer under a lift.

    Args:
      trainer: what is trained, and how.
      lift: a name of `LIFTS`.

    Raises:
      InputError: no such lift, or one that cannot be fed from the host.
    """

    def __init__(self, trainer: Trainer, lift: str = "one"):
        lifted = lookup(LIFTS, lift, "lift")
        if lift != "one" and trainer.config.residence == "host":
            raise InputError(
                "data on the host for a population", "in train.residence", "set it to device: members differ in order"
            )
        self.trainer = trainer
        self.chunk = jax.jit(lifted(trainer.chunk), donate_argnums=0)
        self.evaluate = jax.jit(lifted(trainer.evaluate))
        self.judge = jax.jit(trainer.judge if lift == "one" else jax.vmap(trainer.judge))
        self.member = jax.jit(trainer.member if lift == "one" else jax.vmap(trainer.member))


def fit(programs: Programs, member: Member, rhythm: Rhythm, *, start: int = 0) -> Iterator[Progress]:
    """Trains from step `start` to the end, yielding after every chunk.

    Args:
      programs: the compiled programs.
      member: what is trained; its memory is taken over.
      rhythm: where chunks must end, and when to validate.
      start: steps done.
    """
    trainer, task = programs.trainer, programs.trainer.task
    feed = _host_blocks(trainer, member, start, rhythm) if trainer.config.residence == "host" else None
    data = jax.device_put(task.data("train")) if feed is None else None
    held_out = jax.device_put(task.data("validation"))
    pace, step = None, start
    while step < rhythm.total:
        if feed is not None:
            count, data = next(feed)
        else:
            due = rhythm.boundary(step) - step
            count = 1 if pace is None else max(1, min(due, int(CHUNK_SECONDS / pace)))
        began = time.perf_counter()
        member = programs.chunk(member, data, np.int32(step), np.int32(count), np.bool_(rhythm.logs(step)))
        jax.block_until_ready(member.step)
        seconds = time.perf_counter() - began
        step += count
        compiled, pace = pace is None, seconds / count
        validation = None
        if rhythm.validates(step):
            validation = programs.evaluate(member, held_out)
            member = programs.judge(member, validation)
        yield Progress(step, member, seconds, count, compiled, validation)


def _host_blocks(trainer: Trainer, member: Member, start: int, rhythm: Rhythm) -> Iterator[tuple[int, Batch]]:
    """Blocks of batches cut from the host's arrays, the next one prepared while one is in use.

    The batches are those that the program would take from device arrays. A block always has room for `HOST_STEPS`
    batches, so that all blocks run the same program.
    """
    task, size = trainer.task, trainer.config.batch
    data, key = task.data("train"), np.asarray(member.key)
    order_of = jax.jit(trainer.order)

    @lru_cache(maxsize=2)
    def order(epoch: int) -> Any:
        return jax.tree.map(np.asarray, order_of(key, epoch))

    def batch(step: int) -> Batch:
        epoch, index = divmod(step, trainer.epoch_steps)
        return task.take(data, order(epoch), index, "train", size)

    def block(step: int) -> tuple[int, Batch]:
        count = min(HOST_STEPS, rhythm.boundary(step) - step)
        batches = [batch(step + min(k, count - 1)) for k in range(HOST_STEPS)]
        return count, jax.device_put(jax.tree.map(lambda *values: np.stack(values), *batches))

    with ThreadPoolExecutor(1) as pool:
        step, coming = start, pool.submit(block, start)
        while step < rhythm.total:
            count, batches = coming.result()
            step += count
            if step < rhythm.total:
                coming = pool.submit(block, step)
            yield count, batches
