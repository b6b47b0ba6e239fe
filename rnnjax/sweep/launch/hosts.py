"""Several hosts as one machine: `jax.distributed`, and one program over the devices of all of them.

Every process runs the same program on its part of each population, and nothing passes between them but what is logged
and saved, which process 0 writes. They need one another: when one is gone JAX ends the others within two minutes, and
all are started again, to go on from the last checkpoint. Where hosts come and go, shards or Ray serve better.
"""

from __future__ import annotations

import ipaddress
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import jax

from rnnjax.config import InputError
from rnnjax.population import greatest
from rnnjax.signals import Interrupted, listening
from rnnjax.sweep.launch.addresses import await_answer, parse_address
from rnnjax.sweep.launch.workers import absolute, get_ready
from rnnjax.sweep.story import Sweep, open_sweep

WHERE = "in --launch hosts"

WAIT_SECONDS = 300.0
"""How long processes wait for one another in the beginning."""


def distributed(
    path: str | Path,
    coordinator: str,
    processes: int,
    index: int,
    *,
    code: Sequence[str] = (),
    wait: float = WAIT_SECONDS,
) -> None:
    """Trains what is left of a sweep as one of several processes that form one machine; process 0 sums it up.

    To be called in each of them, with the same arguments but for `index`, before JAX has computed anything. The sweep's
    folder must be on a file system that all of them have. The bits are those of the sweep on one host.

    Args:
      path: the sweep's folder.
      coordinator: where process 0 is to be reached, as `10.0.0.1:1234`: a port that is free there.
      processes: how many there are.
      index: of this one, from 0.
      code: cells and tasks of one's own to be imported first, as `file.py:Name`.
      wait: seconds until the others must be there; JAX ends process 0 (exit code 134) when they are not.

    Raises:
      InputError: no such sweep or process, an adaptive search, an address that is none, nobody there in time, JAX has
        computed already, or another process trains the sweep.
      Interrupted: there was a signal in one of the processes; what was trained is saved.
    """
    host, port = parse_address(coordinator, WHERE)
    if not 0 <= index < processes:
        raise InputError(f"there is no host {index} of {processes}", WHERE, f"count from 0 to {processes - 1}")
    sweep = open_sweep(path)
    if sweep.settings.adaptive:
        raise InputError(
            f"sampler {sweep.settings.sampler} with one program over hosts", WHERE, "use shards or Ray: --launch ray"
        )
    get_ready(code)
    if index > 0:
        await_answer(host, port, wait, WHERE)  # JAX itself would end this process without a word that helps
    try:
        jax.distributed.initialize(
            coordinator,
            processes,
            index,
            initialization_timeout=max(1, int(wait)),
            coordinator_bind_address=coordinator if _loopback(host) else None,  # else it listens to the whole network
        )
    except RuntimeError as error:
        raise InputError(
            str(error).partition("\n")[0], WHERE, "start each process afresh, with a port that is free"
        ) from error
    try:
        with listening() as heard:
            _work(sweep, heard)
    finally:
        jax.distributed.shutdown()


def _work(sweep: Sweep, heard: Sequence[int]) -> None:
    """Trains stage by stage, in step with the other processes."""
    first, more = jax.process_index() == 0, True
    while more:
        for batch in sweep.stages()[-1].plan.batches:
            if not sweep.train(batch.index, heard=heard):
                raise InputError(f"batch {batch.index} is being trained", f"in '{sweep.path}'", "wait until it ends")
        more = any(greatest(first and sweep.advance()))
    if first:
        sweep.finish()


def start(path: Path, coordinator: str, processes: int, index: int, code: Sequence[str]) -> None:
    """Has a process of its own do it: in this one JAX may have computed already. Arguments as of `distributed`.

    Raises:
      InputError: it ended with an error, which it has printed.
      Interrupted: it was stopped, and has saved.
    """
    command = [
        sys.executable,
        "-m",
        "rnnjax.sweep.launch",
        str(path),
        coordinator,
        str(processes),
        str(index),
        *absolute(code),
    ]
    with listening() as heard, subprocess.Popen(command) as process:
        while True:
            try:
                exit_code = process.wait(timeout=1)
                break
            except subprocess.TimeoutExpired:
                if heard:
                    process.send_signal(signal.SIGTERM)
                    heard.clear()
    if exit_code in (128 + signal.SIGINT, 128 + signal.SIGTERM):
        raise Interrupted(exit_code - 128, path, "the last chunk of steps")
    if exit_code:
        raise InputError(f"host {index} ended with code {exit_code}", WHERE, "see what it has printed above")


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
