"""rnnjax itself, as its own commands run it: whole chunks of training in one program, `unroll` compiled, `generate`.

Options: `executor`, a name of `rnnjax.executors.EXECUTORS`; `auto` if none is given.
"""

from __future__ import annotations

import runpy
import time
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

import rnnjax as rx
from rnnjax.benchmarks.workloads import Workload, build
from rnnjax.cells import CELLS
from rnnjax.choosing import candidates, choose, described, measure, programs_of
from rnnjax.experiment import Built
from rnnjax.generate import generate
from rnnjax.population import Programs, use_cores

if TYPE_CHECKING:
    from rnnjax.benchmarks.peers.worker import Job, Prepared

common: Any = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("_common.py"))))

DRAWN_AT_ONCE = 64
"""Symbols drawn in one call of `generate`, a power of two."""


def versions() -> dict[str, str]:
    """Of rnnjax, and of what it computes with."""
    return {name: version(name) for name in ("rnnjax", "jax", "jaxlib", "flax")}


def prepare(job: Job) -> Prepared:
    """Any question."""
    common.refuse_network(job)
    questions = {"step": _training, "population": _population, "generation": _generation}
    return questions.get(job.question, _alone)(job)


def _built(job: Job) -> Built:
    return build(Workload(**job.workload), executor=_executor(job))


def _executor(job: Job) -> str:
    return job.options.get("executor", "auto")


def _training(job: Job) -> Prepared:
    use_cores(job.threads)
    built = _built(job)
    layout = choose(built, measuring=True, short=0.0).layout
    programs = programs_of(built, layout)
    training = _Chunks(programs, programs.first([0]))
    check = [training.loss() for _ in range(common.CHECKED)]
    return _prepared(job, training, check, f"whole, {described(layout)}")


def _population(job: Job) -> Prepared:
    use_cores(job.threads)
    built = _built(job)
    single = Programs(built.trainer)
    one = _Chunks(single, single.first([0]))
    check = [one.loss() for _ in range(common.CHECKED)]
    found = measure(built, candidates(built, job.members), job.members)
    layout = min(found, key=lambda each: each.step_seconds).layout
    programs, width = programs_of(built, layout), layout.width(job.members)
    rates = np.exp(np.random.default_rng(0).uniform(np.log(1e-4), np.log(1e-1), width))
    training = _Chunks(programs, programs.population(np.arange(width), {"train.learning_rate": rates}))
    training.advance(1)
    return _prepared(job, training, check, f"whole, {width} members, {described(layout)}")


def _prepared(job: Job, training: _Chunks, check: list[float], form: str) -> Prepared:
    return {
        "call": training.advance,
        "form": f"{form}, executor {_executor(job)}",
        "check": check,
        "compile_s": max(0.0, training.first_s - common.timed(lambda: training.advance(1))),
    }


class _Chunks:
    """Training in chunks, each going on where the last one ended.

    Args:
      programs: the compiled programs.
      member: who is trained.
    """

    def __init__(self, programs: Programs, member: Any):
        self.programs, self.member, self.step, self.first_s = programs, member, 0, 0.0

    def advance(self, count: int) -> None:
        """Trains for so many steps."""
        began = time.perf_counter()
        numbers = np.int32(self.step), np.int32(count), np.bool_(True)
        self.member = self.programs.chunk(self.member, self.programs.data["train"], *numbers)
        jax.block_until_ready(self.member.step)
        self.first_s = self.first_s or time.perf_counter() - began
        self.step += count

    def loss(self) -> float:
        """Trains for a step; nats a target."""
        self.advance(1)
        return float(self.member.meter.nats) / int(self.member.meter.answers)


def _alone(job: Job) -> Prepared:
    w, heads = job.workload, common.heads_of(job)
    inputs = jnp.asarray(common.dense(job)).swapaxes(0, 1)  # time first, as it is computed

    def variables(weights: dict[str, np.ndarray]) -> tuple[Any, Any]:
        make = partial(CELLS[w["cell"]], inputs.shape[-1], w["units"], dtype=w["dtype"])
        cell = nnx.eval_shape(lambda: make(rngs=nnx.Rngs(0)))
        for name, value in weights.items():
            setattr(cell, name, nnx.Param(jnp.asarray(value)))
        return nnx.split(cell)

    graph, first = variables(heads[0])
    stacked = first if len(heads) == 1 else jax.tree.map(lambda *v: jnp.stack(v), *(variables(h)[1] for h in heads))

    def outputs(weights: Any, inputs: jax.Array) -> jax.Array:
        def one(weights: Any) -> jax.Array:
            return rx.unroll(nnx.merge(graph, weights), inputs, executor=_executor(job), time_major=True).outputs

        return one(weights) if len(heads) == 1 else jax.vmap(one)(weights)

    def loss(weights: Any, inputs: jax.Array) -> jax.Array:
        return jnp.mean(jnp.square(outputs(weights, inputs)))

    backward = job.question == "gradient"
    compiled = jax.jit(jax.value_and_grad(loss, argnums=(0, 1)) if backward else outputs)

    call = common.repeated(partial(compiled, stacked, inputs), jax.block_until_ready)
    compile_s = common.beyond_running(call)
    found = call(1)
    check = [found[0], jnp.sum(jnp.square(found[1][0]["recurrent_kernel"][...]))] if backward else [jnp.mean(found**2)]
    return {
        "call": call,
        "form": f"loop, executor {_executor(job)}",
        "check": [float(value) for value in check],
        "compile_s": compile_s,
    }


def _generation(job: Job) -> Prepared:
    trainer = _built(job).trainer
    member = trainer.member(0)
    model = trainer.model(member.params, member.fixed)
    prompts = [np.zeros(1, np.int32)] * job.workload["batch"]
    draw: Callable[..., Any] = partial(generate, model, prompts, jax.random.key(0))
    check = [float(symbol) for symbol in draw(length=common.DRAWN, temperature=0.0).tokens[0]]
    first_s = common.timed(lambda: jax.block_until_ready(draw(length=DRAWN_AT_ONCE).tokens))
    lengths = [2**k for k in range(DRAWN_AT_ONCE.bit_length())]

    def call(count: int) -> None:
        found = [draw(length=DRAWN_AT_ONCE).tokens for _ in range(count // DRAWN_AT_ONCE)]
        found += [draw(length=length).tokens for length in lengths[:-1] if count % DRAWN_AT_ONCE & length]
        jax.block_until_ready(found)

    call(DRAWN_AT_ONCE - 1)  # the lengths of what is left over are compiled
    compile_s = first_s - common.timed(lambda: call(DRAWN_AT_ONCE))
    return {"call": call, "form": f"{DRAWN_AT_ONCE} symbols a program", "check": check, "compile_s": compile_s}
