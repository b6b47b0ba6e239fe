"""SLURM, through submitit: a sweep is an array of jobs, and each job is a shard.

A job that is about to be stopped, because its time is over or its node is wanted, saves what it trains and is put back
into the queue; it goes on from there. submitit keeps scripts, logs and results in `slurm/` in the sweep's folder.
"""

from __future__ import annotations

import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rnnjax.config import InputError, nearest
from rnnjax.signals import Interrupted
from rnnjax.sweep.launch.shards import run_shard
from rnnjax.sweep.launch.workers import absolute, get_ready
from rnnjax.sweep.story import open_sweep

if TYPE_CHECKING:
    from submitit import Job
    from submitit.helpers import DelayedSubmission

TIMEOUTS = 1000
"""How often a job may run out of time and go on: a sweep longer than a partition's limit is no mistake."""

MINUTES = 60
"""How long a job may run where nothing is said of it."""

WHERE = "in --launch slurm"

GENERAL = {name: name for name in ("mem_gb", "cpus_per_task", "gpus_per_node")} | {"time": "timeout_min"}
"""What submitit has a name of its own for, whichever the cluster."""

NUMBERS = {"mem_gb": float} | dict.fromkeys(
    ("time", "cpus_per_task", "gpus_per_node", "array_parallelism", "signal_delay_s"), int
)


class Shard:
    """One job: the shard `index` of `count` of the sweep at `path`, after the import of `code`."""

    def __init__(self, path: Path, index: int, count: int, code: tuple[str, ...] = ()):
        self.path, self.index, self.count, self.code = path, index, count, code

    def __call__(self) -> list[int]:
        """Trains the shard; before it is stopped saves, and is queued again where SLURM warns of it.

        Returns:
          The numbers of the shard's batches.
        """
        from submitit import JobEnvironment

        warning = JobEnvironment._usr_sig()  # the signal that SLURM is asked for, which a site may change
        requeue: Any = signal.getsignal(warning)  # submitit's own: it ends this process
        heard: list[int] = []
        for number in (warning, signal.SIGTERM):
            signal.signal(number, lambda number, frame: heard.append(number))
        get_ready(self.code)
        try:
            return run_shard(self.path, self.index, self.count, heard=heard)
        except Interrupted:
            if warning in heard:
                requeue(warning, None)
            raise

    def checkpoint(self) -> DelayedSubmission:
        """What runs in place of a job that was stopped: the same, since the sweep's folder knows how far it came."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


def slurm(
    path: str | Path,
    count: int,
    folder: str | Path | None = None,
    *,
    code: Sequence[str] = (),
    cluster: str = "slurm",
    **parameters: Any,
) -> list[Job[list[int]]]:
    """Submits a sweep as an array of `count` jobs, each training its shard.

    The job that ends last sums the sweep up. The folder of the sweep and the installation of rnnjax must be on a file
    system that every node has under the same name.

    Args:
      path: the sweep's folder.
      count: how many jobs; never more than there are batches.
      folder: where submitit keeps scripts, logs and results; `slurm/` in the sweep's folder if None.
      code: cells and tasks of one's own that a job imports first, as `file.py:Name`.
      cluster: "slurm"; or "local", processes of this machine in the place of jobs, which is no SLURM.
      parameters: what a job asks for, as sbatch names it: `partition`, `time` (minutes), `account`, `constraint`,
        `cpus_per_task`, `gpus_per_node`, `mem_gb`, `array_parallelism`, `setup` (a line of shell), ...

    Returns:
      The jobs, in the order of the shards. `job.job_id` names one; `job.result()` waits for the numbers of its batches.

    Raises:
      InputError: submitit is not installed, there is no SLURM here, no such sweep or parameter, or sbatch refuses.
    """
    try:
        import submitit
        from submitit.core.utils import FailedJobError
    except ImportError:
        raise InputError("submitit is not installed", WHERE, "pip install 'rnnjax[sweep]'") from None
    if count < 1:
        raise InputError(f"{count} jobs", WHERE, "ask for at least one")
    path = Path(path).resolve()
    sweep = open_sweep(path)
    sweep.begin()
    count = min(count, len(sweep.plan.batches))
    code = absolute(code)
    asked = _parameters(parameters)
    try:
        executor = submitit.AutoExecutor(
            path / "slurm" if folder is None else folder,
            cluster,
            slurm_max_num_timeout=TIMEOUTS,
            local_max_num_timeout=TIMEOUTS,
        )
    except RuntimeError:
        raise InputError(
            "there is no SLURM here: no srun is found", WHERE, "submit from a login node, or train with --shard i/N"
        ) from None
    executor.update_parameters(name=f"rnnjax-{path.name}", **{"timeout_min": MINUTES, **asked})
    try:
        return executor.submit_array([Shard(path, index, count, code) for index in range(count)])
    except (OSError, FailedJobError) as error:
        said = str(error).strip().splitlines() or ["it gives no reason"]
        raise InputError(f"the jobs were not accepted: {said[-1]}", WHERE, "change what a job asks for") from error


def _parameters(given: Mapping[str, Any]) -> dict[str, Any]:
    """What jobs ask for, under submitit's names.

    Raises:
      InputError: SLURM, as submitit knows it, has no such parameter, or it is no number.
    """
    from submitit.slurm.slurm import SlurmExecutor

    # A shard is one process, and is named after its sweep.
    known = {*SlurmExecutor._valid_parameters(), *GENERAL} - {"job_name", "nodes", "ntasks_per_node"}
    asked: dict[str, Any] = {}
    for spelled, value in given.items():
        name = spelled.replace("-", "_")
        where = f"in --slurm {name}={value}"
        if name not in known:
            alike = nearest(name, known)
            fix = f"did you mean '{alike[0]}'?" if alike else f"there are {', '.join(sorted(known))}"
            raise InputError(f"a job has no parameter '{name}'", where, fix)
        try:
            value = NUMBERS[name](value) if name in NUMBERS else value
        except (TypeError, ValueError):
            raise InputError(f"'{value}' is no number", where, "give minutes, cores or gigabytes as a number") from None
        value = [value] if name in ("setup", "teardown", "srun_args") and isinstance(value, str) else value
        asked[GENERAL.get(name, f"slurm_{name}")] = value
    return asked
