"""Sweeps past one process: shards, jobs, Ray, hosts; each real thing is started by a test."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rnnjax.config import InputError
from rnnjax.experiment import load
from rnnjax.sweep import launch
from rnnjax.sweep.launch import actors, addresses, jobs, starting, workers
from rnnjax.sweep.settings import SweepConfig
from rnnjax.sweep.spaces import Space
from rnnjax.sweep.story import open_sweep, prepare

SMALL = {"train.steps": 40, "task.count": 600, "task.held_out": 60}
PATIENCE = 300.0  # seconds until something that was started is given up
MIB = 2**20


def small_sweep(root: Path, name: str, *, batches: int = 4, steps: int = 40, **settings: Any) -> Path:
    """Eight members that share a program, in four batches."""
    experiment = load("letter_words", {**SMALL, "train.steps": steps})
    space = Space.parse(["seed=0..3", "train.learning_rate=1e-3,1e-2"])
    how = SweepConfig(sampler="grid", batches=batches, measure=False, **settings)
    return prepare(experiment, space, how, root, name)


@pytest.fixture(scope="module")
def whole(tmp_path_factory, programs) -> Path:
    """The sweep, trained by one process that knows of no others."""
    path = small_sweep(tmp_path_factory.mktemp("whole"), "whole")
    open_sweep(path).work()
    return path


@pytest.fixture
def cached(tmp_path_factory, programs, monkeypatch) -> None:
    """Processes that are started keep compiled programs where this one does, and have one device."""
    monkeypatch.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    monkeypatch.setenv("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")
    monkeypatch.setenv("XLA_FLAGS", "--xla_force_host_platform_device_count=1")


def same_table(a: Path, b: Path) -> None:
    """Asserts that two sweeps have come to the same, bit for bit, but for the time they took."""
    left, right = open_sweep(a).table(), open_sweep(b).table()
    assert left.columns == right.columns
    for name in left.columns:
        if name != "seconds":
            np.testing.assert_array_equal(left.column(name), right.column(name), err_msg=name)
    assert open_sweep(b).is_done()


def complete(path: Path, batches: int = 4) -> None:
    """Asserts that each batch, and each member, is there once."""
    parts = sorted(file.name for file in (path / "table").iterdir())
    assert parts == [f"{index:04d}.parquet" for index in range(batches)]
    assert open_sweep(path).table().column("member").tolist() == list(range(8))


def wait_for(condition: Callable[[], Any], what: str) -> Any:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(0.05)
    pytest.fail(f"waited in vain for {what}")


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


# -- shards


@pytest.mark.parametrize(("text", "shard"), [("0/1", (0, 1)), ("3/4", (3, 4)), (" 1 / 12 ", (1, 12))])
def test_a_shard_is_named(text: str, shard: tuple[int, int]):
    assert launch.parse_shard(text) == shard


@pytest.mark.parametrize("text", ["", "1", "4/4", "0/0", "-1/4", "1/4/2", "a/b", "1.5/4"])
def test_what_is_no_shard_is_refused(text: str):
    with pytest.raises(InputError, match="shard"):
        launch.parse_shard(text)


@pytest.mark.slow
def test_shards_together_are_the_whole_sweep(whole, tmp_path):
    path = small_sweep(tmp_path, "parts")
    assert launch.run_shard(path, 1, 2) == [1, 3]
    assert not open_sweep(path).is_done()
    assert open_sweep(path).table().column("member").tolist() == [
        member for batch in (1, 3) for member in open_sweep(path).plan.batches[batch].members
    ]
    assert launch.run_shard(path, 0, 2) == [0, 2]
    complete(path)
    same_table(whole, path)


@pytest.mark.slow
def test_two_shards_work_at_the_same_time(whole, cached, tmp_path):
    path = small_sweep(tmp_path, "parts")
    line = "import sys; from rnnjax.sweep.launch import run_shard; run_shard(sys.argv[1], int(sys.argv[2]), 2)"
    with contextlib.ExitStack() as stack:
        both = [stack.enter_context(subprocess.Popen([sys.executable, "-c", line, path, str(k)])) for k in (0, 1)]
        stack.callback(lambda: [each.kill() for each in both])
        assert [each.wait(PATIENCE) for each in both] == [0, 0]
    complete(path)
    same_table(whole, path)


# -- SLURM


STAND_IN = """#!{python}
import pathlib, shutil, sys
shutil.copy(sys.argv[-1], "{folder}/submitted.sh")
{rest}
"""


def stand_in(folder: Path, name: str, rest: str, patch: pytest.MonkeyPatch) -> None:
    """Puts a program in the place of one of SLURM's: this is no SLURM, it only sees what is asked of it."""
    file = folder / name
    file.write_text(STAND_IN.format(python=sys.executable, folder=folder, rest=rest))
    file.chmod(file.stat().st_mode | stat.S_IXUSR)
    patch.setenv("PATH", str(folder), prepend=os.pathsep)


@pytest.fixture
def planned(tmp_path, monkeypatch) -> Path:
    """A folder that is taken for a sweep of six batches."""
    plan = types.SimpleNamespace(batches=[types.SimpleNamespace(index=k) for k in range(6)])
    sweep = types.SimpleNamespace(plan=plan, begin=lambda: None)
    for module in (jobs, starting):
        monkeypatch.setattr(module, "open_sweep", lambda path: sweep)
    (tmp_path / "sweep-1").mkdir()
    return tmp_path / "sweep-1"


def test_sbatch_is_asked_for_an_array_of_shards(planned, tmp_path, monkeypatch):
    stand_in(tmp_path, "srun", "", monkeypatch)
    stand_in(tmp_path, "sbatch", "print('Submitted batch job 77')", monkeypatch)
    found = launch.slurm(planned, 4, partition="gpu", time="90", **{"gpus-per-node": "1"}, mem_gb=8, setup="module x")
    assert [job.job_id for job in found] == ["77_0", "77_1", "77_2", "77_3"]
    script = (tmp_path / "submitted.sh").read_text()
    for line in (
        "--array=0-3%4",
        "--job-name=rnnjax-sweep-1",
        "--partition=gpu",
        "--time=90",
        "--gpus-per-node=1",
        "--mem=8GB",
    ):
        assert f"#SBATCH {line}\n" in script
    assert "\nmodule x\n" in script
    assert script.index("module x") < script.index("\nsrun ")
    shards = [job.submission().function for job in found]
    assert [(each.path, each.index, each.count) for each in shards] == [(planned, k, 4) for k in range(4)]
    again = shards[2].checkpoint().function
    assert (again.path, again.index, again.count) == (planned, 2, 4)


def test_there_are_no_more_jobs_than_batches(planned, tmp_path, monkeypatch):
    stand_in(tmp_path, "srun", "", monkeypatch)
    stand_in(tmp_path, "sbatch", "print('Submitted batch job 5')", monkeypatch)
    assert len(launch.slurm(planned, 100)) == 6
    starting.start("slurm", planned, parameters={"array_parallelism": "2"})
    assert "#SBATCH --array=0-5%2\n" in (tmp_path / "submitted.sh").read_text()


def test_a_refusal_of_sbatch_is_passed_on(planned, tmp_path, monkeypatch):
    stand_in(tmp_path, "srun", "", monkeypatch)
    stand_in(tmp_path, "sbatch", "sys.exit('sbatch: error: invalid partition specified: gpuu')", monkeypatch)
    with pytest.raises(InputError, match="invalid partition specified: gpuu"):
        launch.slurm(planned, 2, partition="gpuu")


def test_without_slurm_nothing_is_submitted(planned, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(InputError, match="no SLURM here"):
        launch.slurm(planned, 2)
    assert not (planned / "slurm").exists()


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"partitoin": "gpu"}, "did you mean 'partition'"),
        ({"time": "two hours"}, "no number"),
        ({"nodes": 2}, "no parameter 'nodes'"),
    ],
)
def test_a_wrong_parameter_is_refused(planned, parameters: dict[str, Any], message: str):
    with pytest.raises(InputError, match=message):
        launch.slurm(planned, 2, cluster="local", **parameters)


def test_no_jobs_are_refused(planned):
    with pytest.raises(InputError, match="0 jobs"):
        launch.slurm(planned, 0, cluster="local")


@pytest.mark.slow
def test_jobs_train_a_sweep_and_one_that_is_stopped_goes_on(whole, cached, tmp_path):
    path = small_sweep(tmp_path, "jobs")
    submitted = launch.slurm(path, 2, cluster="local")  # processes of this machine: no SLURM
    try:
        trains = path / "batches" / "0001" / ".lock"
        first = wait_for(lambda: trains.is_file() and trains.read_text().split(), "the second shard to train")
        os.kill(int(first[0]), signal.SIGUSR2)  # what SLURM is asked to do some time before it ends a job
        wait_for(lambda: all(job.done() for job in submitted), "the jobs")
        assert [job.result() for job in submitted] == [[0, 2], [1, 3]]
    finally:
        for job in submitted:
            job.cancel()
    logs = [job.stderr() or "" for job in submitted]
    assert ["Requeued job" in log for log in logs] == [False, True]
    assert [(job.stdout() or "").count("Starting with") for job in submitted] == [1, 2]
    complete(path)
    same_table(whole, path)


# -- Ray


class Played:
    """Ray as far as a crew knows it, played: what each task comes to is told by a script.

    Args:
      script: takes the number of a worker and the batch, None where it joins, and gives a result or an error.
    """

    class exceptions:
        class RayError(Exception):
            pass

        class RayTaskError(RayError):
            def __init__(self, cause: Exception):
                self.cause = cause

    def __init__(self, script: Callable[[int, int | None], Any]):
        self.script, self.workers, self.killed = script, 0, list[int]()
        self.results: dict[Any, Any] = {}

    def hire(self) -> Any:
        number = self.workers
        self.workers += 1

        def remote(batch: int | None = None) -> object:
            task = object()
            self.results[task] = self.script(number, batch)
            return task

        method = types.SimpleNamespace(remote=remote)
        return PlayedActor(number, method, method)

    def wait(self, tasks: list[Any], *, num_returns: int, timeout: float) -> tuple[list[Any], list[Any]]:
        return tasks[:num_returns], tasks[num_returns:]

    def get(self, task: Any) -> Any:
        result = self.results.pop(task)
        if isinstance(result, Exception):
            raise result
        return result

    def kill(self, actor: Any) -> None:
        self.killed.append(actor.number)


class PlayedActor:
    def __init__(self, number: int, join: Any, train: Any):
        self.number, self.join, self.train = number, join, train


def crew_of(script: Callable[[int, int | None], Any], places: int) -> tuple[Played, actors._Crew]:
    library = Played(lambda number, batch: script(number, batch) or ("done" if batch is not None else f"node:{number}"))
    return library, actors._Crew(library, library.hire, lambda: places)


def test_a_crew_trains_every_batch_once():
    library, crew = crew_of(lambda number, batch: None, places=3)
    events = list(crew.work(range(2, 8), total=8))
    done = [event for event in events if event.what == "done"]
    assert {event.batch for event in done} == {2, 3, 4, 5, 6, 7}
    assert [event.done for event in done] == [3, 4, 5, 6, 7, 8] and {event.total for event in events} == {8}
    assert [event.worker for event in events if event.what == "joined"] == ["node:0", "node:1", "node:2"]
    crew.disband()
    assert sorted(library.killed) == [0, 1, 2]


def test_a_crew_is_no_larger_than_the_work():
    library, crew = crew_of(lambda number, batch: None, places=50)
    assert len(list(crew.work([0, 1], total=2))) == 4
    assert library.workers == 2


def test_the_batch_of_a_lost_worker_goes_to_another():
    lost = Played.exceptions.RayError("the node died")
    library, crew = crew_of(lambda number, batch: lost if (number, batch) == (0, 2) else None, places=2)
    events = list(crew.work(range(4), total=4))
    assert ("lost", "node:0", 2) in [event[:3] for event in events]
    done = [event for event in events if event.what == "done"]
    assert {event.batch for event in done} == {0, 1, 2, 3}
    assert next(event.worker for event in done if event.batch == 2) != "node:0"
    assert library.killed == [0] and library.workers == 3  # the place is there still, so another is hired


def test_a_worker_that_is_told_to_stop_counts_as_lost():
    _, crew = crew_of(lambda number, batch: "stopped" if (number, batch) == (0, 0) else None, places=1)
    assert [event[:3] for event in crew.work([0], total=1)] == [
        ("joined", "node:0", None),
        ("lost", "node:0", 0),
        ("joined", "node:1", None),
        ("done", "node:1", 0),
    ]


def test_a_batch_that_another_process_holds_is_tried_again(monkeypatch):
    monkeypatch.setattr(actors, "WAKE_SECONDS", 0.0)
    tries = []

    def held_twice(number: int, batch: int | None) -> str | None:
        tries.append(batch)
        return "held" if batch == 0 and tries.count(0) < 3 else None

    _, crew = crew_of(held_twice, places=1)
    assert [event.what for event in crew.work([0, 1], total=2)] == ["joined", "held", "done", "held", "done"]
    assert tries == [None, 0, 1, 0, 0]


def test_an_error_of_one_batch_is_raised_when_the_others_are_done():
    wrong = Played.exceptions.RayTaskError(ZeroDivisionError("in batch 0"))
    _, crew = crew_of(lambda number, batch: wrong if batch == 0 else None, places=1)
    events = []
    with pytest.raises(ZeroDivisionError, match="in batch 0"):
        events.extend(_kept(crew.work(range(3), total=3), events))
    assert [(event.what, event.batch) for event in events] == [
        ("joined", None),
        ("failed", 0),
        ("done", 1),
        ("done", 2),
    ]


def _kept(events: Iterator[actors.Event], into: list[actors.Event]) -> list[actors.Event]:
    for event in events:
        into.append(event)
    return []


def test_a_worker_that_cannot_join_says_why():
    wrong = Played.exceptions.RayTaskError(InputError("no such folder", "on node 3", "share it"))
    _, crew = crew_of(lambda number, batch: wrong if batch is None else None, places=1)
    with pytest.raises(InputError, match="no such folder"):
        list(crew.work([0], total=1))


@pytest.mark.parametrize(("at", "named"), [(3, "over batch 3"), (None, "before they were ready")])
def test_what_takes_every_worker_with_it_is_given_up(at: int | None, named: str):
    lost = Played.exceptions.RayError("killed")
    library, crew = crew_of(lambda number, batch: lost if batch == at else None, places=1)
    with pytest.raises(InputError, match=f"{actors.LOSSES} workers were lost {named}: killed"):
        list(crew.work(range(5), total=5))
    assert library.workers == actors.LOSSES


def test_a_crew_stops_at_a_signal():
    heard: list[int] = []
    library, _ = crew_of(lambda number, batch: None, places=1)
    crew = actors._Crew(library, library.hire, lambda: 1, heard)
    events = []
    for event in crew.work(range(5), total=5):
        events.append((event.what, event.batch))
        if event.batch == 1:
            heard.append(signal.SIGTERM)
    assert events == [("joined", None), ("done", 0), ("done", 1)]


def test_a_worker_is_asked_to_stop_when_the_token_is_gone(tmp_path):
    with actors._token(tmp_path) as token:
        asked = actors._Asked([], tmp_path / token)
        assert not asked
    assert asked and asked[0] == signal.SIGTERM
    with actors._token(tmp_path) as token:
        assert list(actors._Asked([signal.SIGINT], tmp_path / token)) == [signal.SIGINT]


def test_workers_are_counted_node_by_node():
    nodes = [
        {"Alive": True, "Resources": {"CPU": 3.0, "GPU": 1.0}},
        {"Alive": True, "Resources": {"CPU": 5.0}},
        {"Alive": False, "Resources": {"CPU": 64.0, "GPU": 8.0}},
    ]
    library = types.SimpleNamespace(nodes=lambda: nodes)
    assert actors._places(library, "CPU", 1) == 8
    assert actors._places(library, "CPU", 2) == 3  # no worker spans two nodes
    assert actors._places(library, "GPU", 0.5) == 2
    assert actors._device(library, None, 1, None) == "GPU"
    assert actors._device(library, "CPU", 1, None) == "CPU"
    assert actors._device(library, "GPU", 4, workers=2) == "GPU"  # for a cluster that grows
    with pytest.raises(InputError, match="no node has 6 CPU"):
        actors._device(library, "CPU", 6, None)
    with pytest.raises(InputError, match="'gpu' is no device"):
        actors._device(library, "gpu", 1, None)


@pytest.mark.parametrize("address", ["10.0.0.1", "host:port", "ray://10.0.0.1:10001", "1.2.3.4:99999"])
def test_what_is_no_address_is_refused(address: str):
    with pytest.raises(InputError, match="no address"):
        addresses.parse_address(address, "here")


def test_addresses_are_read():
    assert addresses.parse_address("node-1.lab:6379", "here") == ("node-1.lab", 6379)
    assert addresses.parse_address("[::1]:80", "here") == ("::1", 80)


def test_a_port_where_nobody_listens_is_given_up():
    with pytest.raises(InputError, match="nobody answers"):
        addresses.await_answer("127.0.0.1", free_port(), 0.3, "here")


def test_a_port_that_opens_late_is_waited_for():
    with socket.socket() as late:
        late.bind(("127.0.0.1", 0))
        opening = threading.Timer(0.3, late.listen)
        opening.start()
        addresses.await_answer("127.0.0.1", late.getsockname()[1], 30.0, "here")
        opening.join()


def test_a_worker_knows_whether_it_sees_the_same_folder(tmp_path):
    with actors._token(tmp_path) as token:
        assert (tmp_path / token).is_file()
        with pytest.raises(InputError, match="not the same folder"):
            actors.Worker(str(tmp_path / "elsewhere"), token, (), None).join()
    assert list(tmp_path.iterdir()) == []


# Ray forks to start its processes, which do nothing of JAX's.
quiet = pytest.mark.filterwarnings(
    "ignore:os.fork:RuntimeWarning", "ignore::ResourceWarning", "ignore::DeprecationWarning", "ignore::FutureWarning"
)


@pytest.fixture
def cluster(cached, monkeypatch) -> Iterator[Any]:
    """A cluster of two nodes with a core each, that dies with the test."""
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    from ray.cluster_utils import Cluster

    head = {"num_cpus": 1, "include_dashboard": False, "object_store_memory": 80 * MIB}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        yield cluster
    finally:
        cluster.shutdown()


@pytest.mark.slow
@quiet
def test_a_sweep_on_ray_survives_the_death_of_a_node(whole, cluster, tmp_path):
    node = cluster.add_node(num_cpus=1, object_store_memory=80 * MIB)
    path, events = small_sweep(tmp_path, "on-ray"), []

    def tell(event: actors.Event) -> None:
        events.append(event)
        if event.what == "joined" and len(joined()) == 2:  # both are at work by the next event
            threading.Thread(target=kill).start()

    def joined() -> list[str]:
        return [event.worker for event in events if event.what == "joined"]

    def kill() -> None:
        wait_for(lambda: len(list((path / "batches").glob("*/.lock"))) == 2, "two batches that are trained")
        cluster.remove_node(node, allow_graceful=False)

    launch.ray(path, cluster.address, tell=tell)
    assert [event.what for event in events].count("lost") == 1
    lost = next(event for event in events if event.what == "lost")
    trained = {event.batch: event.worker for event in events if event.what == "done"}
    assert sorted(trained) == [0, 1, 2, 3] and lost.worker in joined()
    assert trained[lost.batch] != lost.worker
    assert [event.done for event in events if event.what == "done"] == [1, 2, 3, 4]
    complete(path)
    same_table(whole, path)
    assert list(path.glob(".ray-*")) == []


@pytest.mark.slow
@quiet
def test_survivors_of_a_rung_are_trained_on_ray_too(programs, cluster, tmp_path, capfd):
    alone, path = (small_sweep(tmp_path, name, halving=2, first_rung=20) for name in ("alone", "on-ray"))
    open_sweep(alone).work()
    starting.start("ray", path, address=cluster.address, quiet=False)
    assert open_sweep(path).table().column("status").tolist().count("stopped") == 4
    same_table(alone, path)
    told = capfd.readouterr()
    assert told.out == ""  # where a machine may be reading
    assert "has joined" in told.err and "8 members" in told.err


# -- hosts


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("10.0.0.1", 2, 0), "no address"),
        (("10.0.0.1:80", 2, 2), "no host 2 of 2"),
        (("10.0.0.1:80", 2, -1), "no host -1 of 2"),
    ],
)
def test_hosts_that_cannot_be_are_refused(tmp_path, arguments: tuple[Any, ...], message: str):
    with pytest.raises(InputError, match=message):
        launch.distributed(tmp_path, *arguments)


@pytest.mark.parametrize(("named", "message"), [("rai", "choose ray"), ("hosts", "does not know the others")])
def test_an_engine_is_told_what_it_needs(planned, named: str, message: str):
    with pytest.raises(InputError, match=message):
        starting.start(named, planned, workers=2)


@pytest.mark.slow
def test_two_processes_form_one_machine(whole, cached, tmp_path):
    path, address = small_sweep(tmp_path, "hosts"), f"127.0.0.1:{free_port()}"
    command = [sys.executable, "-m", "rnnjax.sweep.launch", str(path), address, "2"]
    both = [subprocess.Popen([*command, str(k)], stderr=subprocess.PIPE, text=True) for k in (1, 0)]
    try:
        told = [each.communicate(timeout=PATIENCE)[1] for each in both]
        assert [each.returncode for each in both] == [0, 0], told
    finally:
        for each in both:
            each.kill()
            each.wait()
    complete(path)
    same_table(whole, path)


@pytest.mark.slow
def test_hosts_that_are_stopped_go_on(whole, cached, tmp_path):
    path = small_sweep(tmp_path, "hosts")
    command = [sys.executable, "-m", "rnnjax.sweep.launch", str(path)]

    def started(address: str) -> list[subprocess.Popen[str]]:
        return [subprocess.Popen([*command, address, "2", str(k)], stderr=subprocess.PIPE, text=True) for k in (0, 1)]

    both = started(f"127.0.0.1:{free_port()}")
    try:
        wait_for(lambda: (path / "batches" / "0000" / ".lock").is_file(), "the first batch")
        both[1].send_signal(signal.SIGTERM)  # one is told, all stop
        told = [each.communicate(timeout=PATIENCE)[1] for each in both]
        assert [each.returncode for each in both] == [143, 143], told
        assert (path / "batches" / "0000" / "checkpoints").is_dir() and not open_sweep(path).is_done()
        both = started(f"127.0.0.1:{free_port()}")
        told = [each.communicate(timeout=PATIENCE)[1] for each in both]
        assert [each.returncode for each in both] == [0, 0], told
    finally:
        for each in both:
            each.kill()
            each.wait()
    complete(path)
    same_table(whole, path)


# -- every worker


def test_code_is_named_for_another_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert workers.absolute(["mine.py:Cell", "package.module:Task"]) == (
        f"{tmp_path}/mine.py:Cell",
        "package.module:Task",
    )
