"""Ray: an actor a device, and a batch a task; a lost worker's batch is trained again by another.

Whoever starts it deals out batches, and trains none. Workers are hired as long as there are devices without one and
batches without a worker, so that a node that joins in mid-sweep is used. The batch of a worker that is gone goes back
into the queue, and whoever takes it goes on from the batch's last checkpoint.
"""

from __future__ import annotations

import logging
import os
import secrets
import signal
import socket
import threading
import time
import warnings
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import jax

from rnnjax.config import InputError
from rnnjax.signals import Interrupted, listening
from rnnjax.store import atomic_write
from rnnjax.sweep.launch.addresses import await_answer, parse_address
from rnnjax.sweep.launch.workers import absolute, get_ready
from rnnjax.sweep.story import open_sweep

WHERE = "in --launch ray"

DEVICES = ("TPU", "GPU", "CPU")
"""What a worker can compute on, as Ray names it, the best first."""

WAKE_SECONDS = 5.0
"""How often the cluster is asked for new devices, and a batch that another process held is tried again."""

PATIENCE_SECONDS = 30.0
"""How long nobody has to be ready until that is told: the cluster may have no room."""

ANSWER_SECONDS = 10.0
"""How long a cluster may take to answer."""

DRAIN_SECONDS = 60.0
"""How long workers may take to save when all of it is stopped."""

LOSSES = 5
"""How many workers may be lost over a batch, or in a row before they are ready, until that is no accident."""


class Event(NamedTuple):
    """Something that happened in a sweep on Ray.

    Attributes:
      what: "joined" (a worker is ready), "waiting" (none is so far), "done" or "failed" (a batch), "held" (a batch, by
        another process; it is tried again), or "lost" (a worker, with the batch it trained, which another will take).
      worker: the name of its node and the number of its process there; "" where there is none.
      batch: number of the batch; None where there is none.
      done: batches of the sweep that are done.
      total: batches that it has.
    """

    what: str
    worker: str
    batch: int | None
    done: int
    total: int


class _Asked(Sequence[int]):
    """What a worker is asked to stop by: signals, and SIGTERM as soon as the sweep's token is gone.

    Args:
      heard: signals of this process.
      token: the file that is there for as long as the sweep goes on.
    """

    def __init__(self, heard: list[int], token: Path):
        self._heard, self._token = heard, token

    def __len__(self) -> int:
        if not self._heard and not self._token.exists():
            self._heard.append(signal.SIGTERM)
        return len(self._heard)

    def __getitem__(self, place: Any) -> Any:
        return self._heard[place]


class Worker:
    """What an actor is: it trains batches of the sweep at `path` on the devices that Ray gave it.

    Args:
      path: the sweep's folder, under the name that every node has for it.
      token: name of a file that lies in it for as long as the sweep goes on.
      code: cells and tasks of one's own to be imported first.
      cores: CPU cores to compute on; None where there is another device.
    """

    def __init__(self, path: str, token: str, code: tuple[str, ...], cores: int | None):
        self._path, self._token, self._code, self._cores = Path(path), token, code, cores

    def join(self) -> str:
        """Gets ready; gives the name of the node and the number of this process.

        Raises:
          InputError: the sweep is not here, or code that cannot be imported.
        """
        if not (self._path / self._token).is_file():
            raise InputError(
                f"'{self._path}' is not the same folder on {socket.gethostname()}",
                WHERE,
                "put the sweep on a file system that all nodes have under one name",
            )
        if self._cores is not None:
            jax.config.update("jax_platforms", "cpu")
            os.environ["PJRT_NPROC"] = str(self._cores)  # else each worker has a thread for every core of the node
        get_ready(self._code, self._cores)
        self._sweep = open_sweep(self._path)  # which keeps the program that was compiled last
        return f"{socket.gethostname()}:{os.getpid()}"

    def train(self, batch: int) -> str:
        """Trains a batch.

        Returns:
          "done"; "held", where another process trains it; or "stopped", where this one is told to end, and has saved.
        """
        with listening() as heard:
            try:
                asked = _Asked(heard, self._path / self._token)
                return "done" if self._sweep.train(batch, heard=asked) else "held"
            except Interrupted:
                return "stopped"


def ray(
    path: str | Path,
    address: str | None = None,
    *,
    device: str | None = None,
    each: float = 1,
    workers: int | None = None,
    code: Sequence[str] = (),
    tell: Callable[[Event], None] | None = None,
) -> None:
    """Trains what is left of a sweep on a Ray cluster, and sums it up.

    The folder of the sweep and the installation of rnnjax must be on a file system that every node has under the same
    name. At a signal the workers save what they train, and it can be started again. One that is killed loses the steps
    since its last checkpoint.

    Args:
      path: the sweep's folder.
      address: of the cluster, as `10.0.0.1:6379`; None: what Ray finds (the variable RAY_ADDRESS, then a cluster that
        this machine belongs to), else "local": a cluster of this machine alone, which ends with the sweep.
      device: what a worker computes on: "CPU", "GPU" or "TPU"; None: the best that the cluster has.
      each: how many of them a worker gets: cores, or a share of a GPU.
      workers: how many workers; None: as many as there are devices for.
      code: cells and tasks of one's own that a worker imports first, as `file.py:Name`.
      tell: is called with each event.

    Raises:
      InputError: Ray is not installed, no such cluster, sweep or device, a node that does not see the sweep, or a batch
        that takes its workers with it. An error of one batch is raised when the others are done.
      Interrupted: there was a signal; what was trained is saved.
    """
    try:
        import ray as library
    except ImportError:
        raise InputError("Ray is not installed", WHERE, "pip install 'rnnjax[sweep]'") from None
    path = Path(path).resolve()
    sweep = open_sweep(path)
    sweep.begin()
    with _connected(library, address), _token(path) as token, listening() as heard:
        device = _device(library, device, each, workers)
        cores = max(1, int(each)) if device == "CPU" else None
        actor = library.remote(max_restarts=0, **_share(device, each))(Worker)
        crew = _Crew(
            library,
            hire=lambda: actor.remote(str(path), token, absolute(code), cores),
            places=lambda: workers or max(1, _places(library, device, each)),
            heard=heard,
        )
        try:
            while True:
                batches, done = [batch.index for batch in sweep.plan.batches], sweep.done()
                for event in crew.work([batch for batch in batches if batch not in done], len(batches)):
                    if tell is not None:
                        tell(event)
                if heard:
                    (path / token).unlink()
                    crew.drain()
                    raise Interrupted(heard[0], path, f"{len(sweep.done())} batches")
                if not sweep.advance():
                    break
        finally:
            crew.disband()
    sweep.finish()


class _Lost(Exception):
    """A worker is gone, or was told to stop."""


class _Crew:
    """The workers, and what each is at.

    Args:
      library: Ray.
      hire: starts an actor, which is ready when it has joined.
      places: how many workers there may be now.
      heard: signals, once there are any.
    """

    def __init__(self, library: Any, hire: Callable[[], Any], places: Callable[[], int], heard: Sequence[int] = ()):
        self._ray, self._hire, self._places, self._heard = library, hire, places, heard
        self._waiting, self._held = deque[int](), deque[int]()
        self._total = self._done = 0
        self._names: dict[Any, str] = {}  # of those who have joined
        self._joining: dict[Any, Any] = {}  # actors by task
        self._training: dict[Any, tuple[Any, int]] = {}  # actors and their batches by task
        self._idle: list[Any] = []
        self._losses, self._failures = Counter[int | None](), list[Exception]()

    def work(self, left: Sequence[int], total: int) -> Iterator[Event]:
        """Has batches trained, until there is a signal.

        Args:
          left: their numbers.
          total: how many batches the sweep has, with those that are done.

        Raises:
          InputError: see `ray`. Whatever a batch has raised comes when the others are done.
        """
        self._waiting, self._total, self._done = deque(left), total, total - len(left)
        began, told = time.monotonic(), False
        while self._waiting or self._held or self._training:
            if self._heard:
                return
            self._assign()
            tasks = self._wait()
            if not tasks:
                self._waiting.extend(self._held)
                self._held.clear()
                if not self._names and not told and time.monotonic() - began > PATIENCE_SECONDS:
                    told = True
                    yield self._event("waiting", "")
            for task in tasks:
                yield self._joined(task) if task in self._joining else self._trained(task)
        if self._failures:
            raise self._failures[0]

    def drain(self) -> None:
        """Waits for those who train, who were told to save; not for ever."""
        if tasks := list(self._training):
            self._ray.wait(tasks, num_returns=len(tasks), timeout=DRAIN_SECONDS)

    def disband(self) -> None:
        """Ends all workers."""
        for actor in (*self._names, *self._joining.values()):
            self._ray.kill(actor)

    def _assign(self) -> None:
        """Hires whom there is a place and a batch for, and gives batches to those who have none."""
        batches = len(self._waiting) + len(self._held) + len(self._training)
        for _ in range(min(batches, self._places()) - len(self._names) - len(self._joining)):
            actor = self._hire()
            self._joining[actor.join.remote()] = actor
        while self._idle and self._waiting:
            actor, batch = self._idle.pop(), self._waiting.popleft()
            self._training[actor.train.remote(batch)] = actor, batch

    def _wait(self) -> list[Any]:
        """The tasks that have ended, once one has; none if that takes long."""
        tasks = [*self._joining, *self._training]
        if not tasks:
            time.sleep(WAKE_SECONDS)
            return []
        return self._ray.wait(tasks, num_returns=1, timeout=WAKE_SECONDS)[0]

    def _joined(self, task: Any) -> Event:
        actor = self._joining.pop(task)
        try:
            self._names[actor] = self._result(task)
        except _Lost as error:
            self._dismiss(actor, None, error)
            return self._event("lost", "")
        self._losses[None] = 0
        self._idle.append(actor)
        return self._event("joined", self._names[actor])

    def _trained(self, task: Any) -> Event:
        actor, batch = self._training.pop(task)
        name = self._names[actor]
        try:
            outcome = self._result(task)
            if outcome == "stopped":
                raise _Lost("it was told to stop")
        except _Lost as error:
            self._waiting.appendleft(batch)
            self._dismiss(actor, batch, error)
            return self._event("lost", name, batch)
        except Exception as error:
            self._failures.append(error)
            outcome = "failed"
        self._idle.append(actor)
        self._done += outcome == "done"
        if outcome == "held":
            self._held.append(batch)
        return self._event(outcome, name, batch)

    def _result(self, task: Any) -> Any:
        """What a task gave.

        Raises:
          _Lost: its worker is gone.
          Exception: whatever the task has raised.
        """
        errors = self._ray.exceptions
        try:
            return self._ray.get(task)
        except errors.RayTaskError as error:
            raise error.cause if isinstance(error.cause, Exception) else error from error
        except errors.RayError as error:
            raise _Lost(str(error).strip().partition("\n")[0]) from error

    def _dismiss(self, actor: Any, batch: int | None, error: _Lost) -> None:
        """Forgets a worker that is gone.

        Raises:
          InputError: too many are gone for that to be an accident.
        """
        self._names.pop(actor, None)
        self._ray.kill(actor)  # it may only have been out of reach
        self._losses[batch] += 1
        if self._losses[batch] >= LOSSES:
            over = "before they were ready" if batch is None else f"over batch {batch}"
            raise InputError(
                f"{LOSSES} workers were lost {over}: {error}",
                WHERE,
                "see whether they run out of memory: ask for smaller batches, or give each worker more (each)",
            )

    def _event(self, what: str, worker: str, batch: int | None = None) -> Event:
        return Event(what, worker, batch, self._done, self._total)


@contextmanager
def _connected(library: Any, address: str | None) -> Iterator[None]:
    """A connection to a cluster, quiet, and closed in the end unless it was there before.

    Raises:
      InputError: there is no such cluster.
    """
    if library.is_initialized():
        yield
        return
    if address not in (None, "auto", "local"):
        await_answer(*parse_address(address, WHERE), ANSWER_SECONDS, WHERE)  # Ray itself takes minutes to say so
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # what Ray announces to become its default
    own = {"include_dashboard": False} if address == "local" else {}
    main = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGTERM)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "os.fork", RuntimeWarning)  # what Ray forks does nothing of JAX's
            library.init(address, log_to_driver=False, logging_level=logging.ERROR, **own)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise InputError(
            f"there is no Ray cluster at '{address}': {str(error).partition(chr(10))[0]}",
            WHERE,
            "give HOST:PORT as `ray start --head` tells it; or local, for this machine alone",
        ) from error
    # Ray prints the log of a node that died to the standard output, where a machine may be reading.
    library._private.worker._worker_logs_enabled = False
    try:
        yield
    finally:
        library.shutdown()
        library._private.worker._worker_logs_enabled = True
        if main:
            signal.signal(signal.SIGTERM, before)


@contextmanager
def _token(path: Path) -> Iterator[str]:
    """Name of a file in a sweep's folder by which a node can tell that it has the same folder."""
    token = f".ray-{secrets.token_hex(8)}"
    atomic_write(path / token, b"")
    try:
        yield token
    finally:
        (path / token).unlink(missing_ok=True)


def _device(library: Any, device: str | None, each: float, workers: int | None) -> str:
    """What workers compute on.

    Raises:
      InputError: no node has that much of it.
    """
    if not each > 0:
        raise InputError(f"{each} devices for a worker", WHERE, "give each worker 1, or a share of a GPU")
    if device is not None and device not in DEVICES:
        raise InputError(f"'{device}' is no device", WHERE, f"choose one of {', '.join(DEVICES)}")
    if workers is not None and workers < 1:
        raise InputError(f"{workers} workers", WHERE, "ask for at least one")
    found = [name for name in DEVICES if _places(library, name, each) and device in (None, name)]
    if found:
        return found[0]
    if workers is None or device is None:
        raise InputError(
            f"no node has {each:g} {device or 'CPU'} for a worker",
            WHERE,
            "give each worker less; or say device and workers, if the cluster grows on demand",
        )
    return device


def _places(library: Any, device: str, each: float) -> int:
    """How many workers the nodes that are alive have devices for."""
    alive = (node["Resources"] for node in library.nodes() if node["Alive"])
    return sum(int(resources.get(device, 0) // each) for resources in alive)


def _share(device: str, each: float) -> dict[str, Any]:
    """What an actor asks Ray for."""
    if device == "CPU":
        return {"num_cpus": each}
    share = {"num_gpus": each} if device == "GPU" else {"resources": {device: each}}
    return share | {"num_cpus": 0}
