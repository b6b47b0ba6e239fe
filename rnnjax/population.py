"""How members share a device and devices share members, and the loop that trains them.

A `Layout` says how a function of one member becomes one of many: members lie side by side in every operation (a block,
by ``vmap``), blocks follow one another inside the program, and devices have equal shares of the members. A member's
numbers depend on the size of its block alone, not on its neighbours nor on how many blocks there are; in blocks of one
they are those of the member alone. `fit` is a generator: it yields after each compiled chunk of steps, and whoever runs
it decides what to log, save and stop.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from rnnjax.config import InputError
from rnnjax.tasks.base import Batch
from rnnjax.train import ROWS, Member, Meter, Trainer

CHUNK_SECONDS = 2.0  # a signal is heard between chunks
HOST_STEPS = 32  # batches in one block brought from the host
SMALL_PROGRAM = {  # small products are slower by way of a library, and on several threads
    "xla_cpu_experimental_ynn_fusion_type": "",
    "xla_cpu_multi_thread_eigen": False,
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Compiled:
    """How a program is compiled, whoever is trained by it.

    Attributes:
      small: whether with XLA's options for small arrays (on CPU).
      unroll: steps of the time loop laid out side by side; 0: as the model says.
      executor: of all layers; empty: as the model says.
    """

    small: bool = False
    unroll: int = 0
    executor: str = ""


@dataclasses.dataclass(frozen=True)
class Layout(Compiled):
    """How the members of a population share the hardware.

    Attributes:
      block: members computed side by side; 1: each by itself, with the bits of a member alone.
      devices: devices with an equal share of the members each.
    """

    block: int = 1
    devices: int = 1

    @property
    def quantum(self) -> int:
        """A population has a multiple of so many members, or fewer than a block for each device."""
        return self.block * self.devices

    def width(self, members: int) -> int:
        """The least width of a population that holds so many members."""
        if members <= self.quantum:
            return -(-members // self.devices) * self.devices
        return -(-members // self.quantum) * self.quantum

    def over(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Takes ``f(member, *shared)`` to a function of all members, each leaf with a leading axis.

        Raises:
          InputError: there are fewer devices (when it is called).
        """
        if self.devices == 1:
            return self._here(function)
        parts, whole = PartitionSpec("member"), PartitionSpec()

        def shared_out(members: Any, *shared: Any) -> Any:
            specs = (parts, *[whole] * len(shared))
            # What members share is the same everywhere, which the check of varying axes cannot see in a loop's state.
            over_devices = jax.shard_map(
                self._here(function), mesh=self.mesh, in_specs=specs, out_specs=parts, check_vma=False
            )
            return over_devices(members, *shared)

        return shared_out

    def _here(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def on_one_device(members: Any, *shared: Any) -> Any:
            def one(member: Any) -> Any:
                return function(member, *shared)

            count = jax.tree.leaves(members)[0].shape[0]
            if self.block == 1:
                return jax.lax.map(one, members)
            if count <= self.block:
                return jax.vmap(one)(members)
            blocks = jax.tree.map(lambda v: v.reshape(-1, self.block, *v.shape[1:]), members)
            return jax.tree.map(lambda v: v.reshape(count, *v.shape[2:]), jax.lax.map(jax.vmap(one), blocks))

        return on_one_device

    def shared(self, trainer: Trainer) -> Trainer:
        """The training of each member: as it is."""
        return trainer

    @cached_property
    def mesh(self) -> Mesh:
        """The devices, in a row."""
        return _mesh(self.devices, "member")

    @property
    def members(self) -> PartitionSpec:
        """Where members lie: shared out."""
        return PartitionSpec("member")


@dataclasses.dataclass(frozen=True)
class Alone(Compiled):
    """How the training of one member, without an axis of members, uses the hardware.

    Attributes:
      devices: devices that share the rows of each batch. Sums over rows are added up in another order then.
    """

    devices: int = 1

    @property
    def quantum(self) -> int:
        """One member."""
        return 1

    def width(self, members: int) -> int:
        """One."""
        return 1

    def over(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Takes ``f(member, *shared)`` to what all devices compute of the same member.

        Raises:
          InputError: there are fewer devices (when it is called).
        """
        if self.devices == 1:
            return function
        whole = PartitionSpec()
        return lambda *given: jax.shard_map(
            function, mesh=self.mesh, in_specs=(whole,) * len(given), out_specs=whole, check_vma=False
        )(*given)

    def shared(self, trainer: Trainer) -> Trainer:
        """The training of a device's share of the rows."""
        return trainer if self.devices == 1 else trainer.sharing(self.devices)

    @cached_property
    def mesh(self) -> Mesh:
        """The devices, in a row."""
        return _mesh(self.devices, ROWS)

    @property
    def members(self) -> PartitionSpec:
        """Where the member lies: on every device."""
        return PartitionSpec()


def _mesh(devices: int, axis: str) -> Mesh:
    there = jax.devices()
    if len(there) < devices:
        raise InputError(
            f"{devices} devices, and there are {len(there)}",
            "in the layout",
            "plan it again here, or start it where it was planned",
        )
    return Mesh(np.asarray(there[:devices]), (axis,))


class Rhythm:
    """When to log, to validate and to save, in steps.

    Args:
      trainer: whose configuration and epoch it follows.
      until: step at which it ends, if that is not the end of the training.
      lines: at most so many lines of the log, at regular places of the whole training; None: as the configuration says.

    Raises:
      InputError: an interval that is neither a number of steps nor of epochs.
    """

    def __init__(self, trainer: Trainer, *, until: int | None = None, lines: int | None = None):
        train, self.epoch, self.total = trainer.config, trainer.epoch_steps, until or trainer.total
        self._log = train.log_every or max(1, self.epoch // 10)
        self._regular = None if lines is None else max(self._log, -(-trainer.total // lines))
        self._save = self._interval(train.checkpoint_every, "checkpoint_every")
        validates = trainer.task.data("validation") is not None
        self._validate = self._interval(train.evaluate_every, "evaluate_every") if validates else None

    def _interval(self, value: int | str, key: str) -> int:
        text = str(value).strip()
        steps = text.removesuffix("epochs").removesuffix("epoch").strip()
        if not steps.isdecimal() or int(steps) < 1:
            raise InputError(f"'{value}' is no interval", f"in train.{key}", "give steps as 500, or epochs as 1epoch")
        return int(steps) * (1 if steps == text else self.epoch)

    @property
    def validations(self) -> int:
        """How many there are from the beginning to the end."""
        return 0 if self._validate is None else -(-self.total // self._validate)

    def validates(self, step: int) -> bool:
        """Whether the validation split is measured after `step` steps."""
        return self._validate is not None and (step % self._validate == 0 or step == self.total)

    def saves(self, step: int) -> bool:
        """Whether a checkpoint is written after `step` steps."""
        return step % self._save == 0 or step == self.total

    def logs(self, step: int) -> bool:
        """Whether the log has a line at `step`: at regular places within an epoch, at its end, and at validations."""
        due = self.validates(step) or step == self.total
        if self._regular is not None:
            return due or step % self._regular == 0
        within = step % self.epoch
        return due or within == 0 or within % self._log == 0

    def boundary(self, step: int) -> int:
        """The next step at which any of these is due."""
        epoch_end = (step // self.epoch + 1) * self.epoch
        within = step % self.epoch
        of_log = step - within + (within // self._log + 1) * self._log
        if self._regular is not None:
            of_log = (step // self._regular + 1) * self._regular
        nexts = [epoch_end, of_log, (step // self._save + 1) * self._save]
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
    """The compiled programs of a trainer, for one member alone or for a population.

    Args:
      trainer: what is trained, and how.
      layout: how members share the hardware.

    Raises:
      InputError: a population that would be fed from the host, or a batch that cannot be shared out.
    """

    def __init__(self, trainer: Trainer, layout: Layout | Alone = Alone()):
        if isinstance(layout, Layout) and trainer.config.residence == "host":
            raise InputError(
                "data on the host for a population", "in train.residence", "set it to device: members differ in order"
            )
        self.trainer, self.layout = trainer, layout
        alone, shared = isinstance(layout, Alone), layout.shared(trainer)
        options = SMALL_PROGRAM if layout.small and jax.default_backend() == "cpu" else None
        self.chunk = jax.jit(layout.over(shared.chunk), donate_argnums=0, compiler_options=options)
        self.evaluate = jax.jit(layout.over(shared.evaluate), compiler_options=options)
        self.judge = jax.jit(trainer.judge if alone else jax.vmap(trainer.judge))
        # One after the other: side by side, orthogonal initialisers of several layers deadlock XLA's threads on CPU.
        self.member = jax.jit(
            trainer.member if alone else lambda *chosen: jax.lax.map(lambda one: trainer.member(*one), chosen)
        )
        self.pace: float | None = None
        self._widths: set[int] = set()

    def population(self, seeds: Any, numbers: Mapping[str, Any]) -> Member:
        """Members before their first step, where the layout wants them.

        Args:
          seeds: ``[members]``.
          numbers: of each member by dotted name, ``[members]``; see `Trainer.member`.
        """
        given = {name: jnp.asarray(values, jnp.float32) for name, values in numbers.items()}
        return self.placed(self.member(jnp.asarray(seeds, jnp.int32), given))

    def first(self, seeds: Sequence[int]) -> Member:
        """Members of these seeds before their first step, with the numbers configured; if alone, that of the first."""
        if isinstance(self.layout, Alone):
            return self.placed(self.member(seeds[0]))
        return self.population(seeds, {})

    def placed(self, tree: Any, *, shared: bool = False) -> Any:
        """Arrays on the devices of the layout: members as it has them, or the same on each (`shared`)."""
        if self.layout.devices == 1:
            return jax.device_put(tree)
        spec = PartitionSpec() if shared else self.layout.members
        return jax.device_put(tree, NamedSharding(self.layout.mesh, spec))

    @cached_property
    def data(self) -> dict[str, Any]:
        """The arrays of both splits, on the devices."""
        task = self.trainer.task
        return {split: self.placed(task.data(split), shared=True) for split in ("train", "validation")}

    def is_new(self, member: Member) -> bool:
        """Whether a population of this width is seen for the first time, and its program will be compiled."""
        width = int(member.step.size)
        first = width not in self._widths
        self._widths.add(width)
        return first

    @property
    def compiled(self) -> int:
        """Widths whose programs were compiled."""
        return len(self._widths)

    def bytes(self, width: int) -> int:
        """Bytes that training takes on each device, data included, as the compiler plans it for a width."""
        shapes = self.like(width)
        number, flag = jax.ShapeDtypeStruct((), jnp.int32), jax.ShapeDtypeStruct((), jnp.bool_)
        found = self.chunk.lower(shapes, self.data["train"], number, number, flag).compile().memory_analysis()
        if found is None:
            return 0
        taken_over = found.alias_size_in_bytes  # what is given back lies where what was given lay
        return int(found.temp_size_in_bytes + found.argument_size_in_bytes + found.output_size_in_bytes - taken_over)

    def like(self, width: int) -> Any:
        """Shapes and types of so many members."""
        return jax.eval_shape(self.member, jax.ShapeDtypeStruct((width,), jnp.int32), {})


def use_cores(cores: int | None = None) -> None:
    """Makes a device of every core, where there is nothing but a CPU; must come before JAX computes anything.

    Where XLA_FLAGS says how many devices there are, that counts.

    Args:
      cores: how many; None: all that this process may run on.
    """
    if cores is None:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if "xla_force_host_platform_device_count" not in os.environ.get("XLA_FLAGS", ""):
        with contextlib.suppress(RuntimeError):  # JAX has computed already, and keeps the devices that it has
            jax.config.update("jax_num_cpu_devices", cores)


def gathered(tree: Any) -> Any:
    """The leaves of a population as NumPy arrays, from all processes if there are several."""
    if jax.process_count() == 1:
        return jax.device_get(tree)
    from jax.experimental import multihost_utils

    return multihost_utils.process_allgather(tree, tiled=True)


def greatest(*values: float) -> tuple[float, ...]:
    """The greatest of each value that any process gives: what processes decide by has to be the same in all."""
    if jax.process_count() == 1:
        return values
    from jax.experimental import multihost_utils

    return tuple(multihost_utils.process_allgather(np.asarray(values, np.float32)).max(axis=0).tolist())


def free_bytes() -> int:
    """Bytes that one more program may take on each device: of memory that is free now."""
    stats = jax.local_devices()[0].memory_stats() or {}
    if "bytes_limit" in stats:
        return int(stats["bytes_limit"] - stats.get("bytes_in_use", 0))
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return int(free // jax.local_device_count())


def fit(programs: Programs, member: Member, rhythm: Rhythm, *, start: int = 0) -> Iterator[Progress]:
    """Trains from step `start` to the end, yielding after every chunk.

    Args:
      programs: the compiled programs.
      member: what is trained; its memory is taken over.
      rhythm: where chunks must end, and when to validate.
      start: steps done.
    """
    trainer = programs.trainer
    feed = _host_blocks(programs, member, start, rhythm) if trainer.config.residence == "host" else None
    compiled, step = programs.is_new(member), start
    data = programs.data["train"] if feed is None else None
    while step < rhythm.total:
        if feed is not None:
            count, data = next(feed)
        else:
            due, pace = rhythm.boundary(step) - step, programs.pace
            count = 1 if pace is None or compiled else max(1, min(due, int(CHUNK_SECONDS / pace)))
        began = time.perf_counter()
        member = programs.chunk(member, data, np.int32(step), np.int32(count), np.bool_(rhythm.logs(step)))
        jax.block_until_ready(member.step)
        seconds = time.perf_counter() - began
        step += count
        (programs.pace,) = greatest(seconds / count)
        validation = None
        if rhythm.validates(step):
            validation = programs.evaluate(member, programs.data["validation"])
            member = programs.judge(member, validation)
        yield Progress(step, member, seconds, count, compiled, validation)
        compiled = False


def _host_blocks(programs: Programs, member: Member, start: int, rhythm: Rhythm) -> Iterator[tuple[int, Batch]]:
    """Blocks of batches cut from the host's arrays, the next one prepared while one is in use.

    The batches are those that the program would take from device arrays. A block always has room for `HOST_STEPS`
    batches, so that all blocks run the same program.
    """
    trainer = programs.trainer
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
        return count, programs.placed(jax.tree.map(lambda *values: np.stack(values), *batches), shared=True)

    with ThreadPoolExecutor(1) as pool:
        step, coming = start, pool.submit(block, start)
        while step < rhythm.total:
            count, batches = coming.result()
            step += count
            if step < rhythm.total:
                coming = pool.submit(block, step)
            yield count, batches
