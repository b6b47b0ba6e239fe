"""Peers of the benchmarks compute what rnnjax computes."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import rnnjax as rx
from rnnjax.benchmarks import workloads
from rnnjax.benchmarks.workloads import Workload, build, write
from rnnjax.cells import CELLS
from rnnjax.generate import generate
from rnnjax.population import Programs

WORKER = Path(workloads.__file__).parent / "peers" / "worker.py"
LIBRARIES = {
    "rnnjax": "rnnjax",
    "torch": "torch",
    "nnx": "flax",
    "haiku": "haiku",
    "equinox": "equinox",
    "keras_jax": "keras",
    "keras_tensorflow": "tensorflow",
}
PEERS = list(LIBRARIES)

SYMBOLS = Workload("symbols", "lstm", 6, 4, 5, vocab=7, embedding=3)
NETWORKS = {
    "lstm": SYMBOLS,
    "elman, one-hot": Workload("one-hot", "elman", 5, 4, 6, vocab=6, epsilon=1e-8),
    "gru, numbers": Workload("numbers", "gru", 5, 4, 6, features=3),
    "last": Workload("last", "lstm", 5, 3, 7, features=4, read="last"),
}
PRESETS = {"words": workloads.WORKLOADS["words"], "addition": workloads.WORKLOADS["addition"]}

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")


@cache
def worker() -> ModuleType:
    """The worker, loaded by path as a peer's process has it."""
    spec = importlib.util.spec_from_file_location("peers_worker", WORKER)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@cache
def peer(name: str) -> Any:
    """A peer, or a skip where its library is not installed. Keras has one backend a process."""
    if importlib.util.find_spec(LIBRARIES[name]) is None:
        pytest.skip(f"{LIBRARIES[name]} is not installed")
    if name == "keras_tensorflow" and "keras" in sys.modules:
        pytest.skip("Keras runs on another backend in this process")
    try:
        return worker()._loaded(name)
    except ImportError as reason:
        pytest.skip(str(reason))


@pytest.fixture(autouse=True)
def their_own_rules() -> Iterator[None]:
    """Other libraries broadcast axes that they do not write down."""
    with jax.numpy_rank_promotion("allow"):
        yield


@pytest.fixture(scope="module")
def arrays(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The arrays that a peer is given, by workload."""
    folder = tmp_path_factory.mktemp("arrays")

    @cache
    def of(workload: Workload) -> dict[str, np.ndarray]:
        path = folder / f"{workload.name.replace('/', '_')}.npz"
        write(workload, path)
        with np.load(path) as held:
            return dict(held.items())

    return of


def job(question: str, workload: Workload, arrays: Any, **options: Any) -> Any:
    return worker().Job(question, dataclasses.asdict(workload), arrays(workload), threads=1, **options)


@cache
def losses(workload: Workload) -> list[float]:
    """Of the first steps."""
    programs = Programs(build(workload, executor="scan").trainer)
    member, found = programs.member(0), []
    for step in range(3):
        member = programs.chunk(member, programs.data["train"], np.int32(step), np.int32(1), np.bool_(True))
        found.append(float(member.meter.nats) / int(member.meter.answers))
    return found


def computed(workload: Workload, given: dict[str, np.ndarray]) -> tuple[float, float]:
    """Mean square of the layer's outputs, and sum of squares of its gradient by the recurrent kernel."""
    w, prefix = workload, "stack.layers.0.cell."
    inputs = np.random.default_rng(0).standard_normal((w.batch, w.time, w.width)).astype(np.float32)
    weights = {name.removeprefix(prefix): value for name, value in given.items() if name.startswith(prefix)}

    def mean_square(recurrent: jax.Array, head: int) -> jax.Array:
        scale = 1 + 0.01 * head
        cell = nnx.eval_shape(lambda: CELLS[w.cell](w.width, w.units, rngs=nnx.Rngs(0)))
        scaled = {
            name: jnp.asarray(value) * (scale if name.endswith("kernel") else 1) for name, value in weights.items()
        }
        for name, value in {**scaled, "recurrent_kernel": recurrent}.items():
            setattr(cell, name, nnx.Param(value))
        return jnp.mean(jnp.square(rx.unroll(cell, inputs, executor="scan").outputs)) / w.heads

    recurrent = [jnp.asarray(weights["recurrent_kernel"]) * (1 + 0.01 * head) for head in range(w.heads)]
    found = [jax.value_and_grad(mean_square)(kernel, head) for head, kernel in enumerate(recurrent)]
    return sum(float(value) for value, _ in found), sum(float(jnp.sum(jnp.square(grad))) for _, grad in found)


@pytest.mark.parametrize("name", PEERS)
@pytest.mark.parametrize("network", [*NETWORKS, *(pytest.param(preset, marks=pytest.mark.slow) for preset in PRESETS)])
def test_first_losses_agree(name: str, network: str, arrays: Any) -> None:
    workload = {**NETWORKS, **PRESETS}[network]
    prepared = peer(name).prepare(job("step", workload, arrays))
    prepared["call"](1)
    prepared["call"](3)
    assert prepared["form"]
    np.testing.assert_allclose(prepared["check"][:1], losses(workload)[:1], rtol=1e-5)
    np.testing.assert_allclose(prepared["check"], losses(workload), rtol=1e-3)


@pytest.mark.parametrize("name", PEERS)
@pytest.mark.parametrize(
    ("cell", "question"), [("lstm", "forward"), ("lstm", "gradient"), ("gru", "gradient"), ("elman", "gradient")]
)
def test_a_layer_alone_agrees(name: str, cell: str, question: str, arrays: Any) -> None:
    workload = Workload(f"{cell} in heads", cell, 5, 4, 6, features=3, heads=2)
    prepared = peer(name).prepare(job(question, workload, arrays))
    prepared["call"](2)
    expected = computed(workload, arrays(workload))[: 1 if question == "forward" else 2]
    np.testing.assert_allclose(prepared["check"], expected, rtol=1e-4)


@pytest.mark.parametrize("name", PEERS)
def test_bfloat16_stays_close(name: str, arrays: Any) -> None:
    workload = dataclasses.replace(SYMBOLS, name="bfloat16", dtype="bfloat16")
    prepared = peer(name).prepare(job("step", workload, arrays))
    np.testing.assert_allclose(prepared["check"], losses(SYMBOLS), rtol=3e-2)
    alone = peer(name).prepare(job("gradient", workload, arrays))
    np.testing.assert_allclose(alone["check"][:1], computed(SYMBOLS, arrays(SYMBOLS))[:1], rtol=3e-2)


@pytest.mark.parametrize("name", ["rnnjax", "torch", "keras_jax", "keras_tensorflow"])
@pytest.mark.parametrize("network", ["lstm", "elman, one-hot"])
def test_the_likeliest_symbols_agree(name: str, network: str, arrays: Any) -> None:
    workload = NETWORKS[network]
    prepared = peer(name).prepare(job("generation", workload, arrays))
    prepared["call"](3)
    trainer = build(workload).trainer
    member = trainer.member(0)
    model = trainer.model(member.params, member.fixed)
    prompts = [np.zeros(1, np.int32)] * workload.batch
    drawn = generate(model, prompts, jax.random.key(0), length=20, temperature=0.0)
    assert prepared["check"] == [float(symbol) for symbol in drawn.tokens[0]]


def test_rnnjax_trains_a_population(arrays: Any) -> None:
    prepared = peer("rnnjax").prepare(job("population", SYMBOLS, arrays, members=3))
    prepared["call"](2)
    np.testing.assert_allclose(prepared["check"], losses(SYMBOLS), rtol=1e-4)


@pytest.mark.parametrize("name", [name for name in PEERS if name != "rnnjax"])
def test_a_peer_says_what_it_does_not_do(name: str, arrays: Any) -> None:
    with pytest.raises(NotImplementedError, match="one model a process"):
        peer(name).prepare(job("population", SYMBOLS, arrays, members=3))
    with pytest.raises(NotImplementedError, match="heads"):
        peer(name).prepare(job("step", dataclasses.replace(SYMBOLS, heads=2), arrays))


@pytest.mark.parametrize("form", ["loop", "whole"])
def test_the_form_can_be_asked_for(form: str, arrays: Any) -> None:
    prepared = peer("nnx").prepare(job("step", SYMBOLS, arrays, options={"form": form}))
    assert prepared["form"].startswith(form)


def test_a_peer_in_a_process_of_its_own_answers_line_by_line(tmp_path: Path) -> None:
    write(SYMBOLS, tmp_path / "arrays.npz")
    described = {
        "question": "forward",
        "workload": dataclasses.asdict(SYMBOLS),
        "arrays": str(tmp_path / "arrays.npz"),
        "threads": 1,
    }
    (tmp_path / "job.json").write_text(json.dumps(described))
    command = [sys.executable, "-P", str(WORKER), "nnx", str(tmp_path / "job.json")]
    done = subprocess.run(command, input="1\n2\n", capture_output=True, text=True, check=True)
    ready, first, second = map(json.loads, done.stdout.splitlines())
    assert ready["versions"]["flax"] and ready["prepare_s"] > 0
    np.testing.assert_allclose(ready["check"], computed(SYMBOLS, dict(np.load(tmp_path / "arrays.npz")))[:1], rtol=1e-4)
    assert first["seconds"] > 0 and second["memory_mb"] > 0


def test_memory_is_that_of_the_process_itself_not_of_what_started_it():
    own = f"import runpy; print(runpy.run_path({str(WORKER)!r})['_peak_mb']())"
    large = f"import subprocess, sys; held = b'x' * 2**28; subprocess.run([sys.executable, '-c', {own!r}], check=True)"
    done = subprocess.run([sys.executable, "-c", large], capture_output=True, text=True, check=True)
    assert 1 < float(done.stdout) < 200
