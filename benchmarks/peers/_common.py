"""What the peers share: NumPy alone. A peer loads it by path, since it runs outside any package."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from rnnjax.benchmarks.peers.worker import Job, Prepared

CHECKED = 3
"""Steps of training whose losses are shown."""
DRAWN = 20
"""Symbols that are shown of generation."""
SHORT = 32
"""Steps that are worth laying out one after the other in a program, where a library offers that."""
FEW_UNITS = 128
"""Units up to which it is."""
LONG_S = 0.05
"""Seconds of a step beyond which a call from Python costs nothing beside it."""
TRIAL_S = 0.2
"""Seconds, about, that a form is tried for, beyond one repetition."""
TRIALS = 3


def refuse(job: Job, *, generates: bool = False) -> None:
    """Raises what a peer of one model a process says to questions that it has no answer to.

    Args:
      job: what is asked.
      generates: whether the peer draws symbols.

    Raises:
      NotImplementedError: it cannot be answered.
    """
    if job.question == "population":
        raise NotImplementedError("one model a process")
    if job.question == "generation" and not generates:
        raise NotImplementedError("generation is asked of PyTorch and Keras alone")
    refuse_network(job)


def refuse_network(job: Job) -> None:
    """Raises where a question is not defined for a network.

    Raises:
      NotImplementedError: it is not.
    """
    w = job.workload
    if job.question in ("step", "population", "generation") and w["heads"] > 1:
        raise NotImplementedError("several heads are for forward and gradient alone")
    if job.question == "generation" and (not w["vocab"] or w["read"] != "every" or w["decoder_units"]):
        raise NotImplementedError("symbols are drawn by a network that reads them and answers every step")


def layer_of(job: Job, part: str = "") -> dict[str, np.ndarray]:
    """The weights of a recurrent layer by name: `input_kernel`, `recurrent_kernel`, `bias`, of a GRU `recurrent_bias`.

    Args:
      job: whose arrays they are in.
      part: `decoder`; empty: the layer that reads.
    """
    prefix = f"{part or ('encoder' if job.workload['decoder_units'] else 'stack')}.layers.0.cell."
    return {name.removeprefix(prefix): value for name, value in job.arrays.items() if name.startswith(prefix)}


def heads_of(job: Job) -> list[dict[str, np.ndarray]]:
    """The weights of each head: kernels grow by a hundredth from one to the next."""
    weights = layer_of(job)
    return [
        {name: value * np.float32(1 + 0.01 * head) if name.endswith("kernel") else value for name, value in found}
        for head in range(job.workload["heads"])
        for found in [weights.items()]
    ]


def dense(job: Job) -> np.ndarray:
    """What the recurrent layer reads where it is measured alone, ``[batch, time, width]``."""
    w = job.workload
    width = w["embedding"] or w["features"] or w["vocab"]
    return np.random.default_rng(0).standard_normal((w["batch"], w["time"], width)).astype(np.float32)


def short(job: Job) -> bool:
    """Whether the network is small and its sequences short."""
    return job.workload["time"] <= SHORT and job.workload["units"] <= FEW_UNITS


def timed(call: Callable[[], Any]) -> float:
    """Seconds that a call takes."""
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def repeated(once: Callable[[], Any], wait: Callable[[Any], Any]) -> Callable[[int], Any]:
    """A call that does something so many times, once or more, and then waits.

    Args:
      once: does it, without waiting.
      wait: is given what the last time gave, and waits for it; what it gives is given by the call.
    """

    def call(count: int) -> Any:
        for _ in range(count - 1):
            once()  # what it gives is let go, so that its memory is free for the next
        return wait(once())

    return call


def beyond_running(call: Callable[[int], Any]) -> float:
    """Seconds that a first repetition takes beyond a second: tracing and compiling."""
    first, second = timed(lambda: call(1)), timed(lambda: call(1))
    return max(0.0, first - second)


def seconds(call: Callable[[int], Any]) -> float:
    """Seconds of one repetition, the least of a few trials."""
    once = timed(lambda: call(1))
    if once > TRIAL_S:  # warming up, or a network this large
        once = timed(lambda: call(1))
    if once > TRIAL_S:
        return once
    count = max(1, int(TRIAL_S / TRIALS / once))
    return min(timed(lambda: call(count)) / count for _ in range(TRIALS))


def fastest(calls: dict[str, Callable[[int], Any]]) -> str:
    """The name of the fastest call."""
    return min(calls, key=lambda name: seconds(calls[name])) if len(calls) > 1 else next(iter(calls))


def first_losses(step: Callable[[], Any]) -> tuple[list[float], float]:
    """Losses of the first steps, and seconds that the first took beyond the fastest: tracing and compiling."""
    losses: list[float] = []
    times = [timed(lambda: losses.append(float(step()))) for _ in range(CHECKED)]
    return losses, times[0] - min(times)


def fastest_training(job: Job, trainings: dict[str, Any]) -> Prepared:
    """A step of training, in whichever form is fastest.

    Args:
      job: what is asked; `form` in its options, `loop` or `whole`, leaves no choice.
      trainings: the same training in one form or several, by the words for each. Each has the calls `loop`, step by
        step, and `whole`, all steps in one program; `check`; and `compile_s`, of a step.
    """
    name = fastest({name: training.loop for name, training in trainings.items()})
    training = trainings[name]
    calls = {"loop": training.loop, "whole": training.whole}
    if asked := job.options.get("form", ""):
        calls = {asked: calls[asked]}
    elif seconds(training.loop) > LONG_S:
        calls = {"loop": training.loop}
    compile_s = {form: beyond_running(call) for form, call in calls.items() if form == "whole"}
    compile_s["loop"] = training.compile_s
    form = fastest(calls)
    return {"call": calls[form], "form": f"{form}{name}", "check": training.check, "compile_s": compile_s[form]}
