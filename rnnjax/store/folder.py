"""The run folder: everything a run leaves on disk is written here, and nowhere else.

    runs/shakespeare-1/
      config.yaml  environment.json  metrics.jsonl  summary.json  sample.txt  report.html
      checkpoints/<step>/  recordings/  figures/

A checkpoint is written by Orbax as one flat dictionary, path of a leaf -> array, and read leaf by leaf with
TensorStore, so that a part of it costs only its own bytes. Beside the arrays lies one JSON object, the
record: `step`, `metric`, `mode` and `leaves` (path -> `shape`, `dtype`, `crc32`). It is compared with what a
reader expects before any array is read, and with the arrays afterwards.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import itertools
import json
import math
import os
import secrets
import shutil
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np

from rnnjax.config import InputError, nearest

REQUIRED = ("config.yaml", "environment.json")
SWEEP_FILE = "sweep.json"  # what a sweep has and a run has not


def digest(tree: Any) -> str:
    """SHA-256, in hexadecimal, over path, dtype, shape and bytes of every leaf, sorted by path."""
    total = hashlib.sha256()
    for name, array in sorted(_arrays(tree).items()):
        total.update(json.dumps([name, array.dtype.name, array.shape]).encode())
        total.update(_bytes(array))
    return total.hexdigest()


def atomic_write(path: str | Path, data: bytes) -> None:
    """Write `data` so that `path` holds either all of it or what was there before, even if the power fails.

    Folders on the way are made.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with open(part, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
    fsync(path.parent)


def cache_folder() -> Path:
    """Where what can be made again is kept between commands: compiled programs, and what was measured of them."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rnnjax"


def keep_compiled() -> None:
    """Has JAX keep compiled programs on disk between commands."""
    jax.config.update("jax_compilation_cache_dir", str(cache_folder() / "xla"))


def is_sweep(path: str | Path) -> bool:
    """Whether a folder holds a sweep."""
    return (Path(path) / SWEEP_FILE).is_file()


def check_name(root: str | Path, name: str | None) -> None:
    """Whether a new run may be called `name`; None always may.

    Raises:
        InputError: it is no plain name, or is taken.
    """
    if name is None:
        return
    if not name or name != Path(name).name or name.startswith("."):
        raise InputError(f"{name!r} cannot name a run", "in --name", "choose a plain name, without '/'")
    if (Path(root) / name).exists():
        raise _taken(Path(root) / name)


class RunFolder:
    """One run on disk. Whoever writes holds `lock`; reading needs none.

    Args:
        path: a folder made by `create`; `open` checks that it is one.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self._manager: Any = None
        self._keeping: tuple[int, int] | None = None

    @classmethod
    def create(
        cls,
        root: str | Path,
        name: str | None,
        config_yaml: str,
        environment: Mapping[str, Any],
        *,
        stem: str,
        files: Mapping[str, bytes] | None = None,
    ) -> RunFolder:
        """Make `root/name`, or, without a name, the first free of `root/stem-1`, `root/stem-2`, ...

        The folder appears under its name only once it is complete, with what else it is to hold in `files`, by path.

        Raises:
            InputError: the name is taken or no plain name, or `root` cannot be written to.
        """
        root = Path(root)
        check_name(root, name)
        names = [name] if name else (f"{stem.replace('/', '-')}-{number}" for number in itertools.count(1))
        part = root / f".new-{os.getpid()}-{secrets.token_hex(4)}"
        try:
            root.mkdir(parents=True, exist_ok=True)
            atomic_write(part / "config.yaml", config_yaml.encode())
            atomic_write(part / "environment.json", _json(environment))
            for inner, content in (files or {}).items():
                atomic_write(part / inner, content)
            path = next((root / each for each in names if _claim(part, root / each)), None)
            fsync(root)
        except OSError as error:
            raise InputError(
                f"cannot make a run in '{root}'", error.strerror or str(error), "choose another --root"
            ) from error
        finally:
            shutil.rmtree(part, ignore_errors=True)
        if path is None:
            raise _taken(root / str(name))
        return cls(path)

    @classmethod
    def open(cls, path: str | Path) -> RunFolder:
        """The run at `path`.

        Raises:
            InputError: it is not a run folder; says what is missing and which runs are near.
        """
        path = Path(path)
        if is_sweep(path):
            raise InputError(
                f"'{path}' is a sweep", "where a run is named", f"name a member: {path}:best, or {path}:0 and so on"
            )
        missing = [each for each in REQUIRED if not (path / each).is_file()]
        if missing:
            runs = [config.parent.name for config in path.parent.glob("*/config.yaml")]
            near = [f"'{path.with_name(each)}'" for each in nearest(path.name, runs)]
            raise InputError(
                f"'{path}' is not a run folder",
                f"{' and '.join(missing)} missing" if path.is_dir() else "there is no such folder",
                f"did you mean {' or '.join(near)}?" if near else "give a run's folder, such as runs/shakespeare-1",
            )
        return cls(path)

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the run for writing; leaving closes it, too.

        Raises:
            InputError: another process holds it.
        """
        with open(self.path / ".lock", "a+", encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                raise InputError(
                    f"run '{self.path}' is being written",
                    f"by process {file.read()}",
                    "wait until it ends, or stop it",
                ) from None
            file.truncate(0)
            file.write(f"{os.getpid()} on {os.uname().nodename}")
            file.flush()
            try:
                yield
            finally:
                self.close()

    def close(self) -> None:
        """Let go of what `save` keeps open between checkpoints."""
        if self._manager is not None:
            self._manager.close()
            self._manager = None

    # -- text and numbers

    def config_text(self) -> str:
        """The configuration the run was made with, as YAML text."""
        return (self.path / "config.yaml").read_text(encoding="utf-8")

    def environment(self) -> dict[str, Any]:
        """Versions, device, threads and plans the run was made with."""
        return _read_json(self.path / "environment.json")

    def update_environment(self, changes: Mapping[str, Any]) -> None:
        """Replace or add entries of `environment`."""
        atomic_write(self.path / "environment.json", _json({**self.environment(), **changes}))

    def summary(self) -> dict[str, Any]:
        """The summary written last; empty before the first."""
        return _read_json(self.path / "summary.json") if (self.path / "summary.json").exists() else {}

    def write_summary(self, summary: Mapping[str, Any]) -> None:
        """Replace the summary."""
        atomic_write(self.path / "summary.json", _json(summary))

    def write_text(self, name: str, text: str) -> None:
        """Write a file of the run as UTF-8."""
        self.write_bytes(name, text.encode())

    def write_bytes(self, relative_path: str, data: bytes) -> None:
        """Write a file of the run, making folders on the way."""
        atomic_write(self.path / relative_path, data)

    def append_metrics(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Append rows to metrics.jsonl, one JSON object a line; a non-finite number becomes null.

        After a kill the last line may be torn: `drop_metrics_after` comes before the first append.
        """
        with open(self._metrics_file, "ab", buffering=0) as file:
            file.write(b"".join(_line(row) for row in rows))  # one call: a kill tears at most the last line

    def metrics(self) -> list[dict[str, Any]]:
        """Every row logged; a last line torn by a kill is left out.

        Raises:
            InputError: another line is no JSON object.
        """
        if not self._metrics_file.exists():
            return []
        lines = self._metrics_file.read_bytes().split(b"\n")[:-1]  # what follows the last newline is torn
        return [_parse(line, f"line {n} of '{self._metrics_file}'") for n, line in enumerate(lines, start=1)]

    def drop_metrics_after(self, step: int) -> None:
        """Forget rows past `step`, and a torn last line: what a resumed run is about to log again."""
        rows = [row for row in self.metrics() if row.get("step", 0) <= step]
        atomic_write(self._metrics_file, b"".join(map(_line, rows)))

    @property
    def _metrics_file(self) -> Path:
        return self.path / "metrics.jsonl"

    # -- recordings

    def recording(self, name: str) -> Path:
        """Where the recording called `name` lies, or will lie.

        Raises:
            InputError: it is no plain name.
        """
        plain = name.isprintable() and len(name.encode("utf-8", "replace")) <= 200
        if not name or not plain or name != Path(name).name or name.startswith("."):
            raise InputError(f"{name[:60]!r} cannot name a recording", "in --name", "choose a plain name, without '/'")
        return self.path / "recordings" / f"{name}.zarr"

    def recordings(self) -> list[str]:
        """Names of the recordings there are, in alphabetical order."""
        return sorted(path.stem for path in (self.path / "recordings").glob("*.zarr"))

    def free_recording(self) -> str:
        """The first of `recording-1`, `recording-2`, ... that is no recording yet."""
        return next(n for k in itertools.count(1) if not self.recording(n := f"recording-{k}").exists())

    # -- checkpoints

    def save(
        self,
        step: int,
        tree: Any,
        *,
        metric: float | None,
        mode: Literal["min", "max"] = "min",
        latest: int = 2,
        best: int = 1,
    ) -> None:
        """Save `tree` as the checkpoint of `step`, and drop those no longer kept; on return it is on disk.

        Args:
            step: later than every step saved so far.
            tree: pytree of arrays, each fully on this host.
            metric: what `best` goes by; None or not finite: kept only while among the latest.
            mode: whether the best metric is the smallest or the largest; of equals the later is better.
            latest: how many of the last are kept; of two, one is safely on disk while the next is written.
            best: how many of the best are kept besides.

        Raises:
            ValueError: `step` is not later than those there are.
        """
        import orbax.checkpoint as ocp

        if step <= max(self.checkpoints(), default=-1):
            raise ValueError(f"step {step} is not later than the last saved, {self.checkpoints()[-1]}")
        if self._manager is None or self._keeping != (latest, best):
            self.close()
            self._manager, self._keeping = _manager(self._checkpoints, latest, best), (latest, best)
        arrays = _arrays(tree)
        leaves = {name: _seal(array) for name, array in arrays.items()}
        record = {"step": step, "metric": _plain(metric), "mode": mode, "leaves": leaves}
        filled = {name: array for name, array in arrays.items() if array.size}  # Orbax refuses empty arrays
        state = ocp.args.Composite(state=ocp.args.PyTreeSave(filled))
        self._manager.save(step, args=state, metrics=record, force=True)
        metrics = self.path.glob("metrics.jsonl")  # a resume joins the rows up to here to those that follow
        written = (*self._folder(step).rglob("*"), self._folder(step), self._checkpoints, *metrics, self.path)
        for path in written:
            fsync(path)  # Orbax itself does not

    def checkpoints(self) -> list[int]:
        """Steps saved, in order."""
        if not self._checkpoints.is_dir():
            return []
        return sorted(int(path.name) for path in self._checkpoints.iterdir() if path.name.isdecimal())

    def best_step(self) -> int | None:
        """The step with the best metric, the later of equals; None if no checkpoint has one."""
        scored = []
        for step in self.checkpoints():
            with contextlib.suppress(OSError, ValueError):  # a damaged checkpoint is no candidate
                record = self._record(step)
                if record["metric"] is not None:
                    scored.append((_score(record), step))
        return max(scored)[1] if scored else None

    def restore(self, like: Any, step: int | Literal["latest", "best"] = "latest") -> Any:
        """The tree saved at `step`: structure of `like`, leaves NumPy arrays of exactly the dtypes saved.

        Args:
            like: tree whose leaves are arrays or `jax.ShapeDtypeStruct`.
            step: a step, or the latest, or the best.

        Raises:
            InputError: no such checkpoint, another architecture than `like`, or damaged on disk.
        """
        return self._restore("", like, step)

    def restore_part(self, name: str, like: Any, step: int | Literal["latest", "best"] = "latest") -> Any:
        """As `restore`, for one top-level branch alone, reading only its bytes; `like` is that branch."""
        return self._restore(name, like, step)

    def _restore(self, branch: str, like: Any, step: int | Literal["latest", "best"]) -> Any:
        step = self.resolve(step)
        try:
            stored = self._record(step)["leaves"]
        except (OSError, ValueError) as error:
            raise self._damaged(step, error) from error
        expected = {_join(branch, name): _describe(leaf) for name, leaf in _named(like).items()}
        _same_architecture(self._folder(step), _branch(stored, branch, self._folder(step)), expected)
        try:
            arrays = self._read(step, {name: stored[name] for name in expected})
        except (OSError, ValueError) as error:
            raise self._damaged(step, error) from error
        return jax.tree.unflatten(jax.tree.structure(like), arrays)

    def resolve(self, step: int | Literal["latest", "best"]) -> int:
        """The step of a checkpoint.

        Raises:
            InputError: there is no such checkpoint.
        """
        steps = self.checkpoints()
        if not steps:
            raise InputError("there is no checkpoint", f"in '{self.path}'", "let the run save one first")
        found = steps[-1] if step == "latest" else self.best_step() if step == "best" else step
        if found is None:
            raise InputError("no checkpoint has a metric", f"in '{self.path}'", "choose 'latest', not 'best'")
        if found not in steps:
            known = ", ".join(map(str, steps))
            raise InputError(
                f"there is no checkpoint {step!r}", f"in '{self.path}'", f"choose 'latest', 'best' or one of {known}"
            )
        return found

    def _read(self, step: int, leaves: Mapping[str, Mapping[str, Any]]) -> list[np.ndarray]:
        import tensorstore as ts

        base = {"driver": "file", "path": f"{(self._folder(step) / 'state').resolve()}/"}
        context = ts.Context()
        opened = {
            name: ts.open(
                {"driver": "zarr", "kvstore": {"driver": "ocdbt", "base": base, "path": f"{name}/"}},
                read=True,
                open=True,
                context=context,
            )
            for name, leaf in leaves.items()
            if math.prod(leaf["shape"])
        }
        reading = {name: store.result().read() for name, store in opened.items()}
        arrays = []
        for name, leaf in leaves.items():
            array = reading[name].result() if name in reading else np.empty(leaf["shape"], leaf["dtype"])
            if _seal(array) != leaf:
                raise ValueError(f"{name} is not what was saved")
            arrays.append(array)
        return arrays

    def _sound(self, step: int) -> bool:
        try:
            self._read(step, self._record(step)["leaves"])
        except (OSError, ValueError):
            return False
        return True

    def _damaged(self, step: int, error: Exception) -> InputError:
        earlier = [each for each in self.checkpoints() if each < step]
        good = next(filter(self._sound, reversed(earlier)), None)
        return InputError(
            f"checkpoint '{self._folder(step)}' is damaged",
            str(error).partition("\n")[0],
            "no earlier one is sound: run the experiment again"
            if good is None
            else f"remove that folder to go on from step {good}, which is sound",
        )

    def _record(self, step: int) -> dict[str, Any]:
        return json.loads((self._folder(step) / "metrics" / "metrics").read_bytes())  # names are Orbax's

    def _folder(self, step: int) -> Path:
        return self._checkpoints / str(step)

    @property
    def _checkpoints(self) -> Path:
        return self.path / "checkpoints"


def _manager(directory: Path, latest: int, best: int) -> Any:
    """An Orbax manager that has read the records of the checkpoints there are, so that the best one stays."""
    import orbax.checkpoint as ocp
    from orbax.checkpoint.checkpoint_managers import AnyPreservationPolicy, BestN, LatestN

    # Orbax's `best_fn` with `max_to_keep` would evict the latest. BestN keeps those with the highest score.
    # A checkpoint without a record is what a kill left of one that was being deleted.
    fittest = BestN(get_metric_fn=_score, n=best, keep_checkpoints_without_metrics=False)
    keep = AnyPreservationPolicy([LatestN(latest), fittest])
    options = ocp.CheckpointManagerOptions(
        preservation_policy=keep,
        best_fn=_score,  # not asked when there is a policy, but without it Orbax writes no record
        best_mode="max",
        enable_async_checkpointing=False,  # a failed asynchronous save surfaces at the next one, and is lost
        cleanup_tmp_directories=True,
        create=False,
        # Who saves has everything at hand, and waits for no other process.
        multiprocessing_options=ocp.options.MultiprocessingOptions(
            primary_host=jax.process_index(),
            active_processes={jax.process_index()},
            barrier_sync_key_prefix=f"process-{jax.process_index()}",
        ),
    )
    # Compressing takes more than twice the time and saves 7 % of random weights. `_read` knows this format.
    handler = ocp.PyTreeCheckpointHandler(use_ocdbt=True, use_zarr3=False, use_compression=False)
    directory.mkdir(parents=True, exist_ok=True)
    return ocp.CheckpointManager(directory.resolve(), options=options, item_handlers={"state": handler})


def _score(record: Mapping[str, Any]) -> float:
    """Greater is better; without a metric nothing is worse."""
    metric = record["metric"]
    return -math.inf if metric is None else metric if record["mode"] == "max" else -metric


def _same_architecture(folder: Path, stored: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    differ = [name for name in sorted({*stored, *expected}) if _show(stored, name) != _show(expected, name)]
    if differ:
        more = f" (and {len(differ) - 1} more)" if len(differ) > 1 else ""
        raise InputError(
            f"checkpoint '{folder}' has another architecture",
            f"{differ[0]}: stored {_show(stored, differ[0])}, expected {_show(expected, differ[0])}{more}",
            f"use the configuration it was made with, '{folder.parents[1] / 'config.yaml'}'",
        )


def _branch(leaves: Mapping[str, Any], branch: str, folder: Path) -> Mapping[str, Any]:
    if not branch:
        return leaves
    found = {name: leaf for name, leaf in leaves.items() if name == branch or name.startswith(f"{branch}/")}
    if not found:
        branches = sorted({name.split("/")[0] for name in leaves})
        raise InputError(
            f"there is no part {branch!r}",
            f"in checkpoint '{folder}'",
            f"choose among {', '.join(nearest(branch, branches) or branches)}",
        )
    return found


def _show(leaves: Mapping[str, Any], name: str) -> str:
    return f"{leaves[name]['dtype']}{leaves[name]['shape']}" if name in leaves else "nothing"


def _describe(leaf: Any) -> dict[str, Any]:
    leaf = leaf if hasattr(leaf, "dtype") else np.asarray(leaf)
    return {"shape": list(leaf.shape), "dtype": np.dtype(leaf.dtype).name}


def _named(tree: Any) -> dict[str, Any]:
    """Leaves by path, in the order of the tree, as `params/layers/0/kernel`."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    named = {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}
    if len(named) != len(leaves):
        raise ValueError("two leaves of the tree have the same path")
    return named


def _arrays(tree: Any) -> dict[str, np.ndarray]:
    return {name: np.asarray(leaf, order="C") for name, leaf in _named(tree).items()}


def _seal(array: np.ndarray) -> dict[str, Any]:
    """What a leaf is checked against once it has been read."""
    return {**_describe(array), "crc32": zlib.crc32(_bytes(array))}


def _bytes(array: np.ndarray) -> memoryview:
    return np.ravel(array).view(np.uint8).data  # bfloat16 and its like have no buffer of their own


def _join(branch: str, name: str) -> str:
    return "/".join(filter(None, (branch, name)))


def _taken(path: Path) -> InputError:
    fix = f"rnnjax resume {path}, or choose another --name"
    return InputError(f"run '{path}' exists already", "in --name", fix)


def _claim(part: Path, path: Path) -> bool:
    """Give a finished folder its name unless the name is taken."""
    try:
        if not path.exists():
            os.rename(part, path)
            return True
    except OSError as error:
        another_was_quicker = error.errno in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR)
        if not another_was_quicker:
            raise
    return False


def fsync(path: str | Path) -> None:
    """Wait until a file, or the names in a folder, are on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _plain(value: Any) -> Any:
    """What JSON can hold: arrays as numbers and lists, and null where a number is not finite."""
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _json(value: Mapping[str, Any]) -> bytes:
    return json.dumps(_plain(value), indent=2, ensure_ascii=False).encode() + b"\n"


def _line(row: Mapping[str, Any]) -> bytes:
    return json.dumps(_plain(row), ensure_ascii=False).encode() + b"\n"


def _parse(text: bytes, where: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
        if isinstance(value, dict):
            return value
        problem = f"it is a {type(value).__name__}"
    except ValueError as error:
        problem = str(error)
    raise InputError("a JSON object was expected", f"{where}: {problem}", "mend it, or remove it")


def _read_json(path: Path) -> dict[str, Any]:
    return _parse(path.read_bytes(), f"'{path}'")
