"""Studies of Optuna's in a storage, a journal file or a database, shared by workers that may die at any time."""

from __future__ import annotations

import fcntl
import json
import math
import os
import secrets
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal

from rnnjax.config import InputError
from rnnjax.store.folder import fsync
from rnnjax.sweep.spaces import Space

Direction = Literal["min", "max"]
"""Whether the least or the greatest value is best."""


class Journal:
    """Optuna's journal file, written by whole batches.

    Between entering and leaving `held`, what is appended is kept back, and seen by this process alone; on leaving, it
    reaches the file in one piece, on disk. A last line that a kill has torn is cut off before anything follows it.

    Args:
      path: the file; made if need be.
    """

    def __init__(self, path: Path):
        self._path = path
        self._number = self._offset = 0  # of the line that is read next
        self._pending: bytearray | None = None
        self._end = 0
        self.overtaken = False
        """Whether another program has written in the middle of a batch: lines are no longer where they were."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keeps other workers from writing."""
        if self._pending is not None:
            yield
            return
        with open(self._path, "r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            self._end = self._mended(file)
            self._pending = bytearray()
            try:
                yield
            finally:
                pending, self._pending = self._pending, None
                if pending:
                    self._write(file, pending)

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:
        """The lines from that number on, the first being 0.

        Raises:
          InputError: a line is damaged.
        """
        if log_number_from != self._number:
            self._number = self._offset = 0
        for line in self._from(self._offset).splitlines(keepends=True):
            try:
                log = json.loads(line)
            except ValueError:
                raise InputError(
                    f"'{self._path}' is damaged", f"in line {self._number + 1}", "remove that line, or the file"
                ) from None
            self._number, self._offset = self._number + 1, self._offset + len(line)
            if self._number > log_number_from:
                yield log

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Adds lines at the end."""
        with self.held():
            assert self._pending is not None
            for log in logs:
                self._pending += json.dumps(log, separators=(",", ":")).encode() + b"\n"

    def _from(self, offset: int) -> bytes:
        """Whole lines from a byte on, those that are kept back included."""
        with open(self._path, "rb") as file:
            file.seek(offset)
            if self._pending is None:
                data = file.read()
                return data[: data.rfind(b"\n") + 1]
            return file.read(max(0, self._end - offset)) + self._pending[max(0, offset - self._end) :]

    def _mended(self, file: Any) -> int:
        """The length of the file, a torn last line cut off."""
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 1))
        if not size or file.read(1) == b"\n":
            return size
        with self._optunas_lock():  # who holds it may be writing that line
            file.seek(0)
            size = file.read().rfind(b"\n") + 1
            file.truncate(size)
            fsync(self._path)
        return size

    def _write(self, file: Any, data: bytes | bytearray) -> None:
        with self._optunas_lock():
            self.overtaken = file.seek(0, os.SEEK_END) != self._end
            file.write(data)
            file.flush()
            os.fsync(file.fileno())

    @contextmanager
    def _optunas_lock(self) -> Iterator[None]:
        """Keeps the dashboard from writing. Our own workers are kept off: a lock older than 3 s is a dead one's."""
        from optuna.storages.journal import JournalFileSymlinkLock

        lock = JournalFileSymlinkLock(str(self._path), grace_period=3)
        with quiet():
            lock.acquire()
        try:
            yield
        finally:
            with suppress(RuntimeError):  # another has broken it
                lock.release()


class Worker:
    """Shows other processes that this one lives: it holds a file's lock, which goes with it, whatever ends it.

    Args:
      folder: of the files, on a file system that all workers see.

    Attributes:
      name: no other worker has it.
    """

    def __init__(self, folder: Path):
        folder.mkdir(parents=True, exist_ok=True)
        self.name = f"{os.uname().nodename}-{os.getpid()}-{secrets.token_hex(4)}"
        self._path = folder / self.name
        self._lock = os.open(self._path, os.O_RDWR | os.O_CREAT)
        fcntl.flock(self._lock, fcntl.LOCK_EX)

    def close(self) -> None:
        """Shows no more."""
        self._path.unlink(missing_ok=True)
        os.close(self._lock)

    @staticmethod
    def lives(folder: Path, name: str) -> bool:
        """Whether the worker of that name still holds its file."""
        try:
            lock = os.open(folder / name, os.O_RDWR)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(lock)
        (folder / name).unlink(missing_ok=True)
        return False


class Shared:
    """A study in a storage, and a way of being alone with it.

    Args:
      storage: path of a journal file, made if need be, or a URL such as ``sqlite:///search.db``.
      name: of the study, made if need be.
      space: what it searches.
      direction: whether the least or the greatest value is best.
      folder: where lock files are; that of the storage if None.

    Attributes:
      workers: the folder for `Worker`.

    Raises:
      InputError: the storage cannot be opened, or holds another search of that name.
    """

    def __init__(
        self, storage: str | Path, name: str, space: Space, direction: Direction, folder: str | Path | None = None
    ):
        self.workers = (Path(folder) if folder else _folder(storage)) / ".workers"
        self._where, self._name, self._texts, self._direction = storage, name, space.texts(), direction
        self._open()
        try:
            with self.alone():
                pass
        except BaseException:
            self.close()
            raise

    def _open(self) -> None:
        self._study: Any = None
        self._journal: Journal | None = None
        with quiet():
            import optuna

            try:
                if _is_url(self._where):
                    self._storage: Any = optuna.storages.RDBStorage(str(self._where))
                else:
                    self._journal = Journal(Path(self._where))
                    backend: Any = self._journal  # has what a backend has, without importing Optuna for its class
                    self._storage = optuna.storages.JournalStorage(backend)
            except InputError:
                raise
            except Exception as error:  # each database has its own
                raise InputError(
                    f"cannot open the storage '{self._where}'",
                    str(error).partition("\n")[0] or type(error).__name__,
                    "give the path of a journal, or a URL such as sqlite:///search.db",
                ) from error

    @contextmanager
    def alone(self) -> Iterator[Any]:
        """Keeps other workers out, and gives the study."""
        if self._journal is not None and self._journal.overtaken:
            self._open()
        with self._lock(), quiet():
            if self._study is None:
                self._study = self._joined()
            yield self._study

    @contextmanager
    def _lock(self) -> Iterator[None]:
        if self._journal is not None:
            with self._journal.held():
                yield
            return
        self.workers.mkdir(parents=True, exist_ok=True)
        lock = os.open(self.workers / "lock", os.O_RDWR | os.O_CREAT)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def _joined(self) -> Any:
        """The study, made if there is none."""
        import optuna

        aim = "minimize" if self._direction == "min" else "maximize"
        if self._name not in optuna.get_all_study_names(self._storage):
            study = optuna.create_study(storage=self._storage, study_name=self._name, direction=aim)
            study.set_user_attr("space", self._texts)
            return study
        study = optuna.load_study(storage=self._storage, study_name=self._name)
        found, of = study.user_attrs.get("space", []), study.direction.name.lower()
        if found != self._texts or of != aim:
            raise InputError(
                f"there is another search '{self._name}', to {of} over {' '.join(found) or 'an unknown space'}",
                f"in '{self._where}'",
                "search as it does, or give another name",
            )
        return study

    def note(self, number: int, notes: Mapping[str, Any]) -> None:
        """Writes notes to a trial that is running."""
        of = self._storage.get_study_id_from_name(self._name)
        trial = self._storage.get_trial_id_from_study_id_trial_number(of, number)
        for key, value in notes.items():
            self._storage.set_trial_user_attr(trial, key, plain(value))

    def close(self) -> None:
        """Lets go of a database."""
        if self._journal is None:
            self._storage.remove_session()
            self._storage.engine.dispose()


def plain(value: Any) -> Any:
    """What JSON can hold: a number of NumPy's as Python's own; None if it is not finite."""
    value = value.item() if hasattr(value, "item") else value
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _folder(storage: str | Path) -> Path:
    """The folder of a storage that is a file."""
    if not _is_url(storage):
        return Path(storage).parent
    from sqlalchemy.engine import make_url

    url = make_url(str(storage))
    if url.get_backend_name() == "sqlite" and url.database:
        return Path(url.database).parent
    raise InputError(f"'{storage}' lies in no folder", "in the storage", "give folder=, which all workers see")


def _is_url(storage: str | Path) -> bool:
    return isinstance(storage, str) and "://" in storage


@contextmanager
def quiet() -> Iterator[None]:
    """Keeps Optuna from logging what it does, and from warning that parts of it are new."""
    from optuna import exceptions, logging

    before = logging.get_verbosity()
    with warnings.catch_warnings():
        for kind in (exceptions.ExperimentalWarning, FutureWarning, UserWarning):
            warnings.simplefilter("ignore", kind)
        logging.set_verbosity(logging.ERROR)
        try:
            yield
        finally:
            logging.set_verbosity(before)
