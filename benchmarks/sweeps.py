"""How fast is a population beside one model after the other? `letter_words`, here, in Haiku and in PyTorch.

The network is that of the study: Elman of 3 units on 3 symbols, 20 steps, batches of 30, Adam, activity penalty. Every
candidate trains it from the same weights on the same windows, and shows so by its losses of the first steps. Members
differ in seed and rate. Candidates take turns; a peer is a process of its own (two with ``2 x``, each bound to a core),
started and compiled before the first round.
"""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax.experiment import Built, load
from rnnjax.population import Programs
from rnnjax.run import run as run_experiment
from rnnjax.sweep.plan import candidates, programs_of
from rnnjax.timing import paired

PEERS = Path(__file__).parent / "peers"
CHECKED = 20
"""Steps whose losses a peer must show before it is timed."""


@dataclasses.dataclass(frozen=True)
class Size:
    """How much is measured.

    Attributes:
      members: of the population, at least.
      steps: of each member of it in a round.
      single_steps: of whoever trains one model after the other, in a round.
      run_steps: of one whole run.
      rounds: of everybody in turn.
    """

    members: int
    steps: int
    single_steps: int
    run_steps: int
    rounds: int


FULL, QUICK = Size(1024, 400, 10_000, 5_000, 7), Size(64, 50, 300, 100, 2)


class Peer:
    """A peer in a process of its own.

    Args:
      command: what starts it; see the files in `peers`.
      core: number of the core it is bound to, of those that there are; any if None.

    Attributes:
      about: what it said when it was ready: `version`, `form`, and `losses` of the first steps.

    Raises:
      RuntimeError: it has ended before it was ready.
      OSError: there is no such program.
    """

    def __init__(self, command: list[str], core: int | None = None):
        plain = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}  # ours are for us
        self.errors = tempfile.TemporaryFile("w+")  # noqa: SIM115  # it is open for as long as the process is
        try:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self.errors,
                text=True,
                env={**plain, "JAX_PLATFORMS": "cpu"},
            )
        except OSError:
            self.errors.close()
            raise
        if core is not None and hasattr(os, "sched_setaffinity"):
            cores = sorted(os.sched_getaffinity(0))
            os.sched_setaffinity(self.process.pid, {cores[core % len(cores)]})
        try:
            self.about = self.answer()
        except RuntimeError:
            self.end()
            raise

    def ask(self, steps: int) -> None:
        """Has it train."""
        assert self.process.stdin is not None  # it was asked for
        print(steps, file=self.process.stdin, flush=True)

    def answer(self) -> dict[str, Any]:
        """What it says next, waited for.

        Raises:
          RuntimeError: it has ended instead; the last line of what it had to say of that.
        """
        assert self.process.stdout is not None  # it was asked for
        line = self.process.stdout.readline()
        if not line:
            self.process.wait()
            self.errors.seek(0)
            raise RuntimeError((self.errors.read().strip().splitlines() or ["it ended without a word"])[-1])
        return json.loads(line)

    def end(self) -> None:
        """Ends it."""
        self.process.kill()
        self.process.communicate()
        self.errors.close()


def run(*, quick: bool = False, torch_python: str = sys.executable) -> Iterator[dict[str, Any]]:
    """One row a candidate: model-steps a second, and how many times as many a population makes in the same rounds.

    Args:
      quick: whether to measure little.
      torch_python: the Python that has PyTorch.
    """
    size, built = QUICK if quick else FULL, load("letter_words").built
    peers = {
        "haiku": (sys.executable, "haiku.py", "loop", 1),
        "2 x haiku": (sys.executable, "haiku.py", "loop", 2),
        "haiku, all steps in one program": (sys.executable, "haiku.py", "whole", 1),
        "2 x haiku, all steps in one program": (sys.executable, "haiku.py", "whole", 2),
        "2 x torch": (torch_python, "torch.py", "loop", 2),
    }
    with ExitStack() as held:
        folder = Path(held.enter_context(tempfile.TemporaryDirectory()))
        losses = write_workload(built, folder / "workload.npz")
        members, together, layout = population(built, size.members, size.steps)
        timed: dict[str, tuple[int, Callable[[], Any]]] = {
            "population": (members * size.steps, together),
            "members of rnnjax in turn, one program": (size.single_steps, in_turn(built, size.single_steps)),
            "runs of rnnjax in turn": (size.run_steps, runs(folder, size.run_steps)),
        }
        about: dict[str, dict[str, Any]] = {name: {} for name in timed}
        about["population"] = {"members": members, "layout": layout, "devices": jax.device_count()}
        for name, (python, file, form, processes) in peers.items():
            command = [python, "-P", str(PEERS / file), str(folder / "workload.npz"), form]
            try:
                started = held.enter_context(_started(command, processes))
            except (RuntimeError, OSError) as error:
                yield {"question": "sweeps", "candidate": name, "skipped": str(error)}
                continue
            timed[name] = (processes * size.single_steps, _all_trained(started, size.single_steps))
            apart = max(np.abs(np.asarray(peer.about["losses"]) - losses).max() for peer in started)
            about[name] = {
                "version": started[0].about["version"],
                "forms": [peer.about["form"] for peer in started],
                "greatest_loss_difference": float(apart),
            }
        yield from _rows(timed, about, size.rounds)


def _rows(
    timed: dict[str, tuple[int, Callable[[], Any]]], about: dict[str, dict[str, Any]], rounds: int
) -> Iterator[dict[str, Any]]:
    """Times everybody in turn."""
    found = paired({name: call for name, (_, call) in timed.items()}, rounds=rounds)
    speeds = {name: [steps / s for s in found[name].rounds] for name, (steps, _) in timed.items()}
    for name, (steps, _) in timed.items():
        ratios = [ours / theirs for ours, theirs in zip(speeds["population"], speeds[name], strict=True)]
        yield {
            "question": "sweeps",
            "candidate": name,
            "model_steps_a_round": steps,
            "model_steps_per_s": float(np.median(speeds[name])),
            "population_over_this": float(np.median(ratios)),
            "least_ratio": min(ratios),
            "greatest_ratio": max(ratios),
            "first_s": found[name].first,
            "rounds": rounds,
            **about[name],
        }


def population(built: Built, members: int, steps: int) -> tuple[int, Callable[[], Any], str]:
    """How many members there are, a call that trains each for some steps, and how they share the machine.

    This alone knows how populations are made.
    """
    layout = candidates(built, members)[0]
    programs, width = programs_of(built.experiment, built, layout), layout.width(members)
    rates = np.exp(np.random.default_rng(0).uniform(np.log(1e-4), np.log(1e-1), width))
    held = programs.population(np.arange(width), {"train.learning_rate": rates})
    return width, _training(programs, held, steps), str(layout)


def in_turn(built: Built, steps: int) -> Callable[[], Any]:
    """A call that trains one member by the compiled program of single runs."""
    programs = Programs(built.trainer)
    return _training(programs, programs.member(0), steps)


def _training(programs: Programs, member: Any, steps: int) -> Callable[[], Any]:
    """A call that goes on with the training."""
    held = {"member": member, "step": 0}

    def train() -> Any:
        start, held["step"] = held["step"], held["step"] + steps
        numbers = np.int32(start), np.int32(steps), np.bool_(True)
        held["member"] = programs.chunk(held["member"], programs.data["train"], *numbers)
        return held["member"].step

    return train


def runs(root: Path, steps: int) -> Callable[[], Any]:
    """A call that makes one whole run, with folder, checkpoints and report."""

    def whole() -> None:
        run_experiment(load("letter_words", {"train.steps": steps}), root=root)

    return whole


def write_workload(built: Built, path: Path) -> np.ndarray:
    """Writes what a peer needs: data, weights and numbers of a member, and the batches of its first epoch.

    Returns:
      The losses of its first steps, nats a symbol: ``[CHECKED]``.
    """
    trainer, task = built.trainer, built.task
    member, text = trainer.member(0), np.asarray(task.data("train"))
    starts = np.asarray(trainer.order(member.key, jnp.int32(0)))  # of windows, [steps, batch]
    length = built.experiment.task.length
    windows = text[(np.arange(starts.max() // length + 1) * length)[:, None] + np.arange(length + 1)]
    cell = member.params["stack"]["layers"][0]["cell"]
    workload: dict[str, Any] = {
        "inputs": windows[:, :-1],
        "targets": windows[:, -1],
        "order": (starts // length).astype(np.int32),
        **{name: np.asarray(value) for name, value in cell.items()},
        "readout_kernel": np.asarray(member.params["readout"]["kernel"]),
        "readout_bias": np.asarray(member.params["readout"]["bias"]),
        "rate": trainer.config.learning_rate,
        "epsilon": np.asarray(member.hyper["epsilon"]),
        "activity_l1": np.asarray(member.hyper["activity_l1"]),
        "checked": CHECKED,
    }
    np.savez(path, **workload)
    chunk, losses, data = jax.jit(trainer.chunk), [], jnp.asarray(text)
    for step in range(CHECKED):
        member = chunk(member, data, np.int32(step), np.int32(1), np.bool_(True))
        losses.append(float(member.meter.nats) / int(member.meter.answers))
    return np.asarray(losses)


@contextmanager
def _started(command: list[str], processes: int) -> Iterator[list[Peer]]:
    """Peers that are ready, and ended in the end."""
    peers: list[Peer] = []
    try:
        for core in range(processes):
            peers.append(Peer(command, core if processes > 1 else None))
        yield peers
    finally:
        for peer in peers:
            peer.end()


def _all_trained(peers: list[Peer], steps: int) -> Callable[[], Any]:
    """A call that has every peer train at the same time."""

    def train() -> None:
        for peer in peers:
            peer.ask(steps)
        for peer in peers:
            peer.answer()

    return train
