"""Candidates in processes of their own, which take turns: A B A B ..., each telling its own seconds; rows of results.

Machines are noisy, and their noise has a drift. Every candidate is therefore started, compiled and warmed up first;
then each round asks all of them in turn, and a ratio is the median over rounds of the ratio within a round. What a
candidate computed is compared with what rnnjax did before it is timed: one that computes something else has no time.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import rnnjax
from rnnjax.benchmarks import floors
from rnnjax.benchmarks.workloads import WORKLOADS, Workload, write

FOLDER = Path(__file__).parent
OURS = "rnnjax"
PEERS = ("torch", "nnx", "haiku", "equinox", "keras_jax", "keras_tensorflow")
UNITS = {
    "step": "step",
    "forward": "evaluation",
    "gradient": "evaluation",
    "population": "model_step",
    "generation": "symbol",
    "loading": "step",
}
"""What one repetition is, by question. A symbol is one of each row."""
TOLERANCE = {"float32": (1e-4, 1e-3), "bfloat16": (3e-2, 3e-2)}
"""Relative difference of the first number of a check, and of those after it, where earlier differences have grown."""
CHECKED = 3
"""Losses of training that are compared: rounding makes later ones drift apart."""
READY_S, ANSWER_S = 420.0, 120.0
"""Seconds after which a candidate that is not ready, or does not answer, is given up."""


@dataclasses.dataclass(frozen=True)
class Asked:
    """What is measured, and how carefully.

    Attributes:
      workloads: what is measured; None: what each question is usually asked of.
      peers: who is compared; None: whom each question is usually asked of.
      pythons: the Python of a peer, by its name, where it is not the one that runs.
      threads: that a candidate may use.
      device: `cpu`, `gpu` or `tpu`.
      executors: of rnnjax, which are measured beside the one that it chooses.
      members: sizes of a population; None: the usual ones.
      rounds: of all candidates in turn; None: as many as the time that a round takes allows.
      cache: a folder where rnnjax remembers from question to question what it has measured; None: where it always does.
      quick: whether to measure little.
      tell: is told what is going on.
    """

    workloads: tuple[Workload, ...] | None = None
    peers: tuple[str, ...] | None = None
    pythons: Mapping[str, str] = dataclasses.field(default_factory=dict)
    threads: int = 1
    device: str = "cpu"
    executors: tuple[str, ...] = ()
    members: tuple[int, ...] | None = None
    rounds: int | None = None
    cache: Path | None = None
    quick: bool = False
    tell: Callable[[str], None] = lambda line: None
    _machines: dict[tuple[str, int], floors.Machine | None] = dataclasses.field(default_factory=dict)

    @property
    def round_s(self) -> float:
        """Seconds that a candidate runs in a round, about."""
        return 0.05 if self.quick else 0.3

    def rounds_of(self, seconds: float) -> int:
        """How many rounds there are, if all candidates take so long together."""
        if self.rounds is not None:
            return self.rounds
        return 3 if self.quick else 7 if seconds < 5 else 5

    def among(self, usual: Sequence[str]) -> tuple[str, ...]:
        """The peers that are asked."""
        return tuple(usual) if self.peers is None else self.peers

    def networks(self, usual: Iterable[str]) -> Sequence[Workload]:
        """The workloads that are asked."""
        return self.workloads or [WORKLOADS[name] for name in usual]

    def candidates(self, question: str, usual: Sequence[str]) -> list[Candidate]:
        """rnnjax, its other executors if any are asked for, and the peers that are asked."""
        others = [
            Candidate(OURS, question, options={"executor": name}, label=f"{OURS} ({name})") for name in self.executors
        ]
        return [
            Candidate(OURS, question),
            *others,
            *(Candidate.documented(peer, question) for peer in self.among(usual)),
        ]

    def python(self, peer: str) -> str:
        """The Python that runs a peer."""
        return self.pythons.get(peer.removesuffix("_loading"), sys.executable)

    def machine(self, dtype: str, threads: int) -> floors.Machine | None:
        """What the machine does at most with so many threads, measured once; None where nothing can tell."""
        key = (dtype, threads)
        if key not in self._machines:
            self.tell(f"peak and bandwidth: {dtype}, {threads} threads")
            pythons = dict.fromkeys([sys.executable, self.python("torch")])
            seen = [found for python in pythons if (found := _machine(self, python, dtype, threads)) is not None]
            self._machines[key] = floors.best(seen) if seen else None
        return self._machines[key]


@dataclasses.dataclass(frozen=True)
class Candidate:
    """Who is measured.

    Attributes:
      peer: name of a file in `peers`.
      question: that is put to it; see `Job` in `peers/worker.py`.
      members: that it trains at once.
      processes: that do so side by side, each bound to its share of the threads.
      options: words for this peer alone.
      label: what it is called in results, if that is not the peer's name.
      block: repetitions come in multiples of it.
    """

    peer: str
    question: str
    members: int = 1
    processes: int = 1
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict, hash=False)
    label: str = ""
    block: int = 1

    @classmethod
    def documented(cls, peer: str, question: str, **more: Any) -> Candidate:
        """A peer in the form that its documentation gives: a compiled step, called in a loop of Python."""
        training = question == "step" and peer != OURS
        return cls(peer, question, options={"form": "loop"} if training else {}, **more)

    @property
    def name(self) -> str:
        """What it is called in results."""
        name = self.label or self.peer
        return f"{self.processes} x {name}" if self.processes > 1 else name

    @property
    def ours(self) -> bool:
        """Whether others are compared with it: it is rnnjax as it comes."""
        return self.peer == OURS and not self.options


class Failed(Exception):
    """A candidate that cannot be measured, and why."""


class Process:
    """A peer in a process of its own.

    Args:
      command: what starts it.
      environment: variables that it is started with.
      cores: it is bound to; all that there are if None.

    Attributes:
      ready: what it said when it was ready; see `peers/worker.py`.
      first_s: seconds until then, from its start.

    Raises:
      Failed: it has ended before, or cannot do this job.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], cores: set[int] | None = None):
        began = time.perf_counter()
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115  # it is open for as long as the process is
        try:
            with _bound(cores):
                self._process = subprocess.Popen(
                    command,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=self._errors,
                    env=dict(environment),
                )
        except OSError as error:
            self._errors.close()
            raise Failed(f"{command[0]}: {error.strerror}") from None
        self._said = b""
        try:
            self.ready = self.answer(READY_S)
            if "skipped" in self.ready:
                raise Failed(self.ready["skipped"])
        except BaseException:
            self.end()
            raise
        self.first_s = time.perf_counter() - began

    def ask(self, count: int) -> None:
        """Has it repeat what it does."""
        assert self._process.stdin is not None  # it was asked for
        try:
            self._process.stdin.write(b"%d\n" % count)
            self._process.stdin.flush()
        except BrokenPipeError:
            raise Failed(self._reason()) from None

    def answer(self, limit: float = ANSWER_S) -> dict[str, Any]:
        """What it says next, waited for; what libraries print besides is passed over.

        Raises:
          Failed: it has ended instead, or has said nothing for so many seconds.
        """
        assert self._process.stdout is not None  # it was asked for
        end = time.perf_counter() + limit
        while True:
            while b"\n" in self._said:
                line, self._said = self._said.split(b"\n", 1)
                if line.startswith(b"{"):
                    return json.loads(line)
            left = end - time.perf_counter()
            if left <= 0 or not select.select([self._process.stdout], [], [], left)[0]:
                raise Failed(f"no answer in {limit:.0f} s")
            more = os.read(self._process.stdout.fileno(), 65536)
            if not more:
                raise Failed(self._reason())
            self._said += more

    def end(self) -> None:
        """Ends it."""
        self._process.kill()
        self._process.communicate()
        self._errors.close()

    def _reason(self) -> str:
        self._process.wait()
        self._errors.seek(0)
        return _last_words(self._errors.read())


class Group:
    """The processes of a candidate, started, ready and checked.

    Attributes:
      candidate: whose they are.
      seconds: of each round, a repetition.
      count: repetitions in a round.
    """

    def __init__(self, candidate: Candidate, processes: Sequence[Process]):
        self.candidate, self.processes = candidate, processes
        self.count, self.seconds = 1, list[float]()
        self.memory_mb = sum(process.ready.get("memory_mb") or 0.0 for process in processes)

    @property
    def share(self) -> int:
        """Models that are trained side by side."""
        return self.candidate.members * len(self.processes)

    @property
    def check(self) -> list[float]:
        """What it computed."""
        return self.processes[0].ready["check"]

    def call(self, count: int) -> float:
        """Seconds in which all of its processes have repeated it so often."""
        for process in self.processes:
            process.ask(count)
        answers = [process.answer() for process in self.processes]
        self.memory_mb = sum(answer["memory_mb"] for answer in answers)
        return max(answer["seconds"] for answer in answers)

    def calibrate(self, seconds: float) -> float:
        """Finds how many repetitions take so many seconds; gives what a round of them will take."""
        block = self.candidate.block
        blocks, took = 1, self.call(block)
        while took < seconds / 4 and blocks < 2**24:
            blocks = min(blocks * 16, math.ceil(blocks * seconds / max(took, 1e-6)))
            took = self.call(blocks * block)
        self.count = max(1, round(blocks * seconds / took)) * block
        return took / (blocks * block) * self.count

    def round(self) -> None:
        """Measures once more."""
        self.seconds.append(self.call(self.count) / (self.count * self.share))


def measure(
    asked: Asked, question: str, workload: Workload, candidates: Sequence[Candidate], *, each_of_ours: bool = False
) -> Iterator[dict[str, Any]]:
    """Measures candidates on a workload, in turn.

    Args:
      asked: how carefully.
      question: under which rows are filed.
      workload: what they do it on.
      candidates: who; others are compared with those that are ours.
      each_of_ours: whether others have a row beside each of ours, whose number of members that row then has; else there
        is one of ours.

    Yields:
      A row a candidate: skipped ones first, then those that were measured, ours first.
    """
    with ExitStack() as held:
        folder = Path(held.enter_context(tempfile.TemporaryDirectory(prefix="rnnjax-bench-")))
        arrays = folder / "arrays.npz"
        write(workload, arrays)
        groups: list[Group] = []
        for candidate in candidates:
            asked.tell(f"{question}, {workload.name}: {candidate.name} starts")
            try:
                group = held.enter_context(started(asked, candidate, workload, arrays))
                reference = next((g for g in groups if g.candidate.ours), None)
                _compare(group, reference, workload.dtype)
                groups.append(group)
            except Failed as reason:
                yield _row(asked, question, workload, candidate, skipped=str(reason))
        groups, failed = _timed(asked, f"{question}, {workload.name}", groups)
        for candidate, reason in failed:
            yield _row(asked, question, workload, candidate, skipped=reason)
        ours = [group for group in groups if group.candidate.ours]
        for group in ours:
            yield _row(asked, question, workload, group.candidate, group)
        for group in groups:
            if group.candidate.ours:
                continue
            for beside in ours[: None if each_of_ours else 1] or [None]:
                yield _row(asked, question, workload, group.candidate, group, beside)


def environment(asked: Asked, python: str) -> dict[str, str]:
    """Variables that a Python is started with.

    Nothing is taken from programs that were compiled before, and memory of a GPU is shared among those that wait.
    """
    found = {name: value for name, value in os.environ.items() if name != "JAX_COMPILATION_CACHE_DIR"}
    found |= {
        "JAX_ENABLE_COMPILATION_CACHE": "false",
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
        "TF_FORCE_GPU_ALLOW_GROWTH": "true",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "PYTHONWARNINGS": "ignore",
    }
    if python == sys.executable:  # a checkout that is not installed is found there too
        here = str(Path(rnnjax.__file__).absolute().parents[1])
        found["PYTHONPATH"] = os.pathsep.join(filter(None, [here, os.environ.get("PYTHONPATH")]))
    if asked.cache is not None:
        found["XDG_CACHE_HOME"] = str(asked.cache)
    if asked.device == "cpu":
        found |= {"JAX_PLATFORMS": "cpu", "CUDA_VISIBLE_DEVICES": ""}
    return found


def cores(threads: int, part: int = 0, parts: int = 1) -> set[int] | None:
    """The cores that one of several processes is bound to; None where processes cannot be bound, or have them all."""
    if not hasattr(os, "sched_getaffinity"):
        return None
    there = sorted(os.sched_getaffinity(0))
    if parts == 1 and threads >= len(there):
        return None
    first = part * max(1, threads // parts)
    return {there[core % len(there)] for core in range(first, first + max(1, threads // parts))}


@contextmanager
def _bound(cores: set[int] | None) -> Iterator[None]:
    """Binds this thread to cores for a while, and with it the processes that it starts."""
    if cores is None:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextmanager
def started(asked: Asked, candidate: Candidate, workload: Workload, arrays: Path) -> Iterator[Group]:
    """The processes of a candidate, ready, and ended in the end.

    Raises:
      Failed: they cannot do this, or have died.
    """
    threads = max(1, asked.threads // candidate.processes)
    job = {
        "question": candidate.question,
        "workload": dataclasses.asdict(workload),
        "arrays": str(arrays),
        "threads": threads,
        "members": candidate.members,
        "device": asked.device,
        "options": dict(candidate.options),
    }
    with tempfile.TemporaryDirectory(dir=arrays.parent) as folder, ExitStack() as held:
        path = Path(folder) / "job.json"
        path.write_text(json.dumps(job))
        worker = str(FOLDER / "peers" / "worker.py")
        command = [asked.python(candidate.peer), "-P", worker, candidate.peer, str(path)]
        processes = []
        for part in range(candidate.processes):
            bound = cores(asked.threads, part, candidate.processes)
            processes.append(Process(command, environment(asked, command[0]), bound))
            held.callback(processes[-1].end)
        yield Group(candidate, processes)


def _compare(group: Group, reference: Group | None, dtype: str) -> None:
    """Refuses a candidate that computed something else than ours."""
    if reference is None or agrees(group, reference, dtype):
        return
    numbers = [", ".join(f"{value:.6g}" for value in each.check[:CHECKED]) for each in (group, reference)]
    raise Failed(f"it computes something else: {numbers[0]} where rnnjax has {numbers[1]}")


def agrees(group: Group, reference: Group, dtype: str) -> bool:
    """Whether a candidate computed what ours did."""
    if group.candidate.question == "generation":
        return group.check == reference.check
    first, later = TOLERANCE[dtype]
    pairs = list(zip(group.check, reference.check, strict=False))[:CHECKED]
    return all(math.isclose(a, b, rel_tol=later if k else first, abs_tol=1e-12) for k, (a, b) in enumerate(pairs))


def _timed(asked: Asked, what: str, groups: list[Group]) -> tuple[list[Group], list[tuple[Candidate, str]]]:
    """Calibrates and times everybody in turn; gives those that lived to the end, and what the others died of."""
    living, failed = list(groups), list[tuple[Candidate, str]]()

    def in_turn(act: Callable[[Group], Any]) -> Iterator[Any]:
        for group in list(living):
            try:
                yield act(group)
            except Failed as reason:
                living.remove(group)
                failed.append((group.candidate, str(reason)))

    asked.tell(f"{what}: calibrating")
    lasting = sum(in_turn(lambda group: group.calibrate(asked.round_s)))
    rounds = asked.rounds_of(lasting)
    for number in range(rounds):
        asked.tell(f"{what}: round {number + 1} of {rounds}")
        for _ in in_turn(Group.round):
            pass
    return living, failed


def header(asked: Asked, question: str, workload: Workload, candidate: Candidate) -> dict[str, Any]:
    """What a row is about."""
    return {
        "question": question,
        "workload": workload.name,
        "candidate": candidate.name,
        "dtype": workload.dtype,
        "members": candidate.members,
        "threads": asked.threads,
        "processes": candidate.processes,
        "skipped": None,
        "network": dataclasses.asdict(workload),
    }


def times_of(seconds: Sequence[float], repetitions: int = 1) -> dict[str, Any]:
    """What a row says of the seconds of each round."""
    return {
        "seconds": median(seconds),
        "least_s": min(seconds),
        "greatest_s": max(seconds),
        "rounds": len(seconds),
        "repetitions": repetitions,
    }


def ratios_of(seconds: Sequence[float], ours: Sequence[float]) -> dict[str, Any]:
    """What a row says of them beside ours of the same rounds; None of each where there are none of ours."""
    ratios = [a / b for a, b in zip(seconds, ours, strict=False)]
    return {
        "ratio": median(ratios) if ratios else None,
        "ratio_least": min(ratios, default=None),
        "ratio_greatest": max(ratios, default=None),
    }


def _row(
    asked: Asked,
    question: str,
    workload: Workload,
    candidate: Candidate,
    group: Group | None = None,
    beside: Group | None = None,
    skipped: str | None = None,
) -> dict[str, Any]:
    """A row of results."""
    members = beside.candidate.members if beside is not None else candidate.members
    row = header(asked, question, workload, candidate) | {"members": members, "skipped": skipped}
    if group is None:
        return row
    ready, seconds = group.processes[0].ready, median(group.seconds)
    machine = asked.machine(workload.dtype, asked.threads)
    bound = None
    if machine is not None:
        bound = floors.floor(floors.work(workload, question, machine, members), machine)
    steps = 1 if question == "generation" else workload.time
    return row | {
        "versions": ready["versions"],
        "form": ready["form"],
        "unit": UNITS[question],
        **times_of(group.seconds, group.count),
        **ratios_of(group.seconds, () if beside is None else beside.seconds),
        "import_s": ready["import_s"],
        "prepare_s": ready["prepare_s"],
        "compile_s": ready["compile_s"],
        "first_s": group.processes[0].first_s,
        "memory_mb": group.memory_mb,
        "check": ready["check"],
        "useful_steps_per_s": workload.batch * steps * workload.useful / seconds,
        "floor": bound,
        "over_floor": seconds / bound["seconds"] if bound else None,
    }


def _last_words(errors: str) -> str:
    return (errors.strip().splitlines() or ["it ended without a word"])[-1]


def _machine(asked: Asked, python: str, dtype: str, threads: int) -> floors.Machine | None:
    """What the machine does at most, as seen by a Python; None where it has no library to tell."""
    command = [python, "-P", str(FOLDER / "floors.py"), dtype, str(threads), asked.device]
    with _bound(cores(threads)):
        try:
            done = subprocess.run(
                command, env=environment(asked, python), capture_output=True, text=True, timeout=READY_S
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
    if done.returncode:
        asked.tell(f"no peak from {python}: {_last_words(done.stderr)}")
        return None
    return floors.Machine(**json.loads(done.stdout.splitlines()[-1]))
