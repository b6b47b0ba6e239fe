"""PyTorch fed by its `DataLoader`: rows in memory, shuffled, collated by this process or by workers.

Options: `workers`, how many; 0 if none are given.
"""

from __future__ import annotations

import importlib
import runpy
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from rnnjax.benchmarks.peers.worker import Job, Prepared

torch: Any = importlib.import_module("torch")
resident: Any = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("torch.py"))))
ROWS = 2**24
"""Drawn before the loader begins anew, which a data set of a few batches would else do all the time."""

common, versions = resident.common, resident.versions


def prepare(job: Job) -> Prepared:
    """Steps of training of `torch.py`'s network, each on a batch of the loader."""
    w, workers = job.workload, job.options.get("workers", 0)
    if w["vocab"] and not w["embedding"]:
        raise NotImplementedError("one-hot rows are made beforehand: nothing is loaded")
    if w["dtype"] != "float32" or w["activity_l1"]:
        raise NotImplementedError("it is float32 networks without a penalty that are fed by a loader")
    device = resident.device_of(job)
    network = resident.Network(job).to(device)
    rule = resident.adam(job, network)

    def step(inputs: Any, targets: Any) -> Any:
        rule.zero_grad()
        logits, _ = network(inputs.transpose(0, 1).to(device, non_blocking=True))
        targets = targets.to(device, non_blocking=True)
        targets = targets.T if targets.ndim == 2 else targets
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, -2), targets.flatten())
        loss.backward()
        rule.step()
        return loss.detach()

    kept = {name: job.arrays[name] for name in ("inputs", "targets")}
    if w["vocab"]:
        kept["inputs"] = kept["inputs"].astype(np.int64)
    inputs, targets = torch.tensor(kept["inputs"]), torch.tensor(kept["targets"].astype(np.int64))
    check = [float(step(inputs[k], targets[k])) for k in range(min(len(inputs), common.CHECKED))]
    data = torch.utils.data.TensorDataset(inputs.flatten(0, 1), targets.flatten(0, 1))
    loader = torch.utils.data.DataLoader(
        data,
        batch_size=w["batch"],
        sampler=torch.utils.data.RandomSampler(data, num_samples=ROWS),
        num_workers=workers,
        pin_memory=job.device == "gpu",
        multiprocessing_context="spawn" if workers else None,
    )
    batches = iter(loader)
    call = common.repeated(lambda: step(*next(batches)), lambda _: resident.finish(job))
    return {"call": call, "form": f"DataLoader, {workers} workers", "check": check}
