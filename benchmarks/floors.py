"""How fast could it be at all? Work of a workload, and what the machine does of it in a second.

A time cannot be under its floor, the greatest of three: operations over the fastest matrix product seen on this machine
(same dtype, same threads), bytes over measured bandwidth, and steps that follow one another times the cost of an
iteration of a compiled loop that multiplies matrices of 4 by 4 (XLA makes one kernel of so small a loop on a CPU; on a
GPU each iteration is a launch).

**Operations** are those of matrix products alone, 2 for a multiplication and an addition. Forwards: the recurrent
product of each step; the input product, which for symbols is a look-up in a table (embedding times kernel, made once of
no more rows than there are symbols), and for one-hot rows nothing; the readout of each step that is answered. Backwards
each product has two more of its size, one by each of its factors; a training step needs none by given numbers.

**Bytes** go once over the memory: inputs, outputs and kept activations (gates and cell state, written forwards, read
backwards), weights, in a step of Adam eight numbers a parameter (parameter and both moments read and written, gradient
written and read). A recurrent kernel too large for a core's own cache is read again in every step: from the shared
cache, with a bandwidth of its own, or from memory where it does not fit there either.

**Launches** are steps of time, forwards and backwards. Members of a population share them.

Run by path in any Python that has JAX or PyTorch: ``python -P floors.py DTYPE THREADS DEVICE`` prints what the machine
can do. The measurements of several Pythons are joined by `best`.
"""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
import json
import os
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rnnjax.benchmarks.workloads import Workload

GATES = {"elman": 1, "lstm": 4, "gru": 3}
SIZES = {"cpu": (1024, 2048), "gpu": (4096, 8192)}
"""Of the square matrices that are multiplied to find the peak."""
NUMBERS = {"cpu": 2**24, "gpu": 2**27}
"""Of each of three arrays that are streamed to find the bandwidth: more than any cache holds."""
ITERATIONS = {"cpu": 10_000, "gpu": 2_000}
FLOAT = 4  # bytes: parameters, states and activations are float32 in every form


@dataclasses.dataclass(frozen=True)
class Machine:
    """What a machine does at most.

    Attributes:
      operations: of a matrix product, a second.
      bandwidth: bytes a second between memory and cores.
      cache_bandwidth: the same between the shared cache and cores.
      launch_s: seconds of an iteration of a compiled loop around a product of 4 by 4.
      cache: bytes of the shared cache.
      own_cache: bytes that need not be read again in each step: of the caches of the cores alone.
      by: the library whose product was fastest.
    """

    operations: float
    bandwidth: float
    cache_bandwidth: float
    launch_s: float
    cache: float
    own_cache: float
    by: str


@dataclasses.dataclass(frozen=True)
class Work:
    """What one repetition needs: operations, bytes from memory, bytes from the shared cache, launches."""

    operations: float
    bytes: float
    cached_bytes: float
    launches: float


def work(workload: Workload, question: str, machine: Machine, members: int = 1) -> Work:
    """Work of a repetition: an evaluation, a step of training, a step of one member, or a symbol for each row."""
    w, gates = workload, GATES[workload.cell]
    trains = question in ("step", "population", "loading")
    steps = 1 if question == "generation" else w.time
    answers = w.answers or (steps if w.read == "every" else 1)
    last_units = w.decoder_units or w.units
    kernel = w.units * gates * w.units * w.heads
    decoder = 4 * w.decoder_units
    recurrent = 2 * w.batch * (steps * kernel + w.answers * w.decoder_units * decoder)
    input_rows = w.batch * steps
    if w.vocab and question not in ("forward", "gradient"):  # a look-up in a table of no more rows than symbols
        input_rows = min(w.vocab, input_rows) if w.embedding and question != "generation" else 0
    inputs = 2 * (input_rows * w.width * gates * w.units * w.heads + w.batch * w.units * decoder)
    readout = 2 * w.batch * answers * last_units * w.classes if trains or question == "generation" else 0
    by_given_numbers = trains and not w.vocab
    backwards = trains or question == "gradient"
    operations = recurrent + inputs + readout
    if backwards:
        operations += 2 * (recurrent + readout) + (1 if by_given_numbers else 2) * inputs

    parameters = _parameters(w, with_ends=trains or question == "generation")
    states = 2 if w.cell == "lstm" else 1
    rows = w.batch * steps * w.units * w.heads + w.batch * w.answers * w.decoder_units
    read = w.batch * steps * (w.width if question in ("forward", "gradient") or not w.vocab else 1)
    moved = read + parameters + rows
    if question == "generation":
        moved = w.batch * (states * w.units * 2 + w.classes)
    if backwards:
        moved += read + 2 * rows * (gates + states)
    if question == "gradient":
        moved += read + parameters  # the gradients by both
    if trains:
        moved += 2 * w.batch * answers * w.classes + 8 * parameters
    passes = 2 if backwards else 1
    again = FLOAT * passes * steps * (kernel + (w.units * w.classes if question == "generation" else 0))
    inside, cached = FLOAT * kernel <= machine.own_cache, FLOAT * kernel <= machine.cache
    return Work(
        operations=float(operations),
        bytes=float(FLOAT * moved + (0 if cached else again)),
        cached_bytes=float(again if cached and not inside else 0),
        launches=passes * (steps + w.answers) / (members if question == "population" else 1),
    )


def floor(needed: Work, machine: Machine) -> dict[str, Any]:
    """Seconds that the work takes at least, by each of the bounds, and the greatest of them."""
    seconds = {
        "operations": needed.operations / machine.operations,
        "bytes": needed.bytes / machine.bandwidth + needed.cached_bytes / machine.cache_bandwidth,
        "launches": needed.launches * machine.launch_s,
    }
    bound = max(seconds, key=lambda name: seconds[name])
    return {
        **dataclasses.asdict(needed),
        **{f"{name}_s": value for name, value in seconds.items()},
        "seconds": seconds[bound],
        "bound": bound,
        "peak_flops": machine.operations,
        "bandwidth": machine.bandwidth,
        "cache_bandwidth": machine.cache_bandwidth,
        "launch_s": machine.launch_s,
        "peak_by": machine.by,
    }


def best(machines: Iterable[Machine]) -> Machine:
    """The fastest of each thing, by whichever library."""
    machines = list(machines)
    fastest = max(machines, key=lambda machine: machine.operations)
    return dataclasses.replace(
        fastest,
        bandwidth=max(machine.bandwidth for machine in machines),
        cache_bandwidth=max(machine.cache_bandwidth for machine in machines),
        launch_s=min(machine.launch_s for machine in machines),
    )


def measure(dtype: str, threads: int, device: str) -> Machine:
    """What this process sees of the machine, with each library that it has.

    Raises:
      ImportError: it has neither JAX nor PyTorch.
    """
    seen = []
    for library, of in (("jax", _of_jax), ("torch", _of_torch)):
        if importlib.util.find_spec(library) is not None:
            seen.append(of(dtype, threads, device))
    if not seen:
        raise ImportError("neither jax nor torch is installed")
    return best(seen)


def _parameters(w: Workload, *, with_ends: bool) -> int:
    """Numbers that are trained; without embedding and readout where the recurrent layer is alone."""
    gates = GATES[w.cell]
    found = (w.width + w.units + 1) * gates * w.units * w.heads
    if with_ends:
        found += w.vocab * w.embedding + ((w.decoder_units or w.units) + 1) * w.classes
        found += (w.units + w.decoder_units + 1) * 4 * w.decoder_units
    return found


def _of_jax(dtype: str, threads: int, device: str) -> Machine:
    import jax
    import jax.numpy as jnp

    product = jax.jit(jnp.matmul)
    triad = jax.jit(lambda a, b: 0.5 * a + b, donate_argnums=0)  # in place: fresh memory costs more than streaming
    made = jax.jit(lambda n: jnp.ones((n, n), dtype), static_argnums=0)

    def multiply(n: int) -> Callable[[], Any]:
        a = made(n)
        return lambda: product(a, a).block_until_ready()

    def stream(n: int) -> Callable[[], Any]:
        held = [jnp.ones(n), jnp.ones(n)]

        def run() -> None:
            held[0] = triad(*held).block_until_ready()

        return run

    def looped(options: dict[str, Any] | None) -> float:
        def steps(count: Any, x: jax.Array, kernel: jax.Array) -> jax.Array:
            return jax.lax.fori_loop(0, count, lambda _, x: x @ kernel, x)

        loop, x, count = jax.jit(steps, compiler_options=options), jnp.eye(4), ITERATIONS[device]
        return _least(lambda: loop(count, x, x).block_until_ready()) / count

    switches: list[dict[str, Any] | None] = [None]
    if device == "cpu":
        switches.append({"xla_cpu_experimental_ynn_fusion_type": ""})
    launches = []
    for options in switches:
        try:
            launches.append(looped(options))
        except Exception:  # a version of XLA that does not know the switch; the error has no class of its own
            continue
    return _machine("jax", device, multiply, stream, min(launches))


def _of_torch(dtype: str, threads: int, device: str) -> Machine:
    torch: Any = importlib.import_module("torch")
    torch.set_num_threads(threads)
    where = "cuda" if device == "gpu" else "cpu"

    def waited(call: Callable[[], Any]) -> Callable[[], Any]:
        def run() -> None:
            call()
            if where == "cuda":
                torch.cuda.synchronize()

        return run

    def multiply(n: int) -> Callable[[], Any]:
        a = torch.ones(n, n, dtype=getattr(torch, dtype), device=where)
        out = torch.empty_like(a)
        return waited(lambda: torch.mm(a, a, out=out))

    def stream(n: int) -> Callable[[], Any]:
        a, b = torch.ones(n, device=where), torch.ones(n, device=where)
        out = torch.empty_like(a)
        return waited(lambda: torch.add(a, b, alpha=2, out=out))

    return _machine("torch", device, multiply, stream, float("inf"))  # it has no loop of its own


def _machine(
    library: str,
    device: str,
    multiply: Callable[[int], Callable[[], Any]],
    stream: Callable[[int], Callable[[], Any]],
    launch_s: float,
) -> Machine:
    cache, own_cache = _caches(device)
    peak = max(2 * n**3 / _least(multiply(n)) for n in SIZES[device])
    many, few = NUMBERS[device], int(cache // FLOAT // 6)  # three arrays of it are half the cache
    return Machine(
        operations=peak,
        bandwidth=3 * FLOAT * many / _least(stream(many)),
        cache_bandwidth=3 * FLOAT * few / _least(stream(few)),
        launch_s=launch_s,
        cache=cache,
        own_cache=own_cache,
        by=library,
    )


def _caches(device: str) -> tuple[float, float]:
    """Bytes of the shared cache, and of a core's own; on a GPU weights may stay in its cores, and both are one."""
    if device != "cpu":
        return 50e6, 50e6
    found = {}
    for index in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*"):
        try:
            level, size = int((index / "level").read_text()), (index / "size").read_text().strip()
        except (OSError, ValueError):
            continue
        units = {"K": 2**10, "M": 2**20}
        found[level] = int(size[:-1]) * units[size[-1]] if size[-1] in units else int(size)
    return float(found.get(3, 32e6)), float(found.get(2, 1e6))


def _least(call: Callable[[], Any], seconds: float = 0.3) -> float:
    """Seconds of the fastest of several calls, warm."""
    call()
    end, found = time.perf_counter() + seconds, []
    while len(found) < 3 or (time.perf_counter() < end and len(found) < 200):
        began = time.perf_counter()
        call()
        found.append(time.perf_counter() - began)
    return min(found)


def main(dtype: str, threads: str, device: str) -> None:
    """Prints what the machine can do, as JSON."""
    for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[variable] = threads
    print(json.dumps(dataclasses.asdict(measure(dtype, int(threads), device))))


if __name__ == "__main__":
    main(*sys.argv[1:])
