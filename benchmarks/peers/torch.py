"""`letter_words` in PyTorch, for `rnnjax.benchmarks.sweeps`: ``python -P torch.py WORKLOAD.npz FORM``.

`FORM` is `loop`: `nn.RNN` on one-hot rows that are made beforehand, Adam in its fused form, one thread (more are slower
at this size). Prints a line of JSON when it is ready, with the losses of the first steps of the given order, and
another after each line of input, which is a number of steps to train. Without ``-P``, Python would take this file for
the library of the same name.
"""

from __future__ import annotations

import importlib
import json
import sys
from typing import Any

import numpy as np

torch: Any = importlib.import_module("torch")

UNITS, SYMBOLS = 3, 3


def main(path: str, form: str) -> None:
    """Reads the workload, shows that it is the same, and trains as often as it is asked to."""
    torch.set_num_threads(1)
    held = dict(np.load(path).items())
    inputs = torch.nn.functional.one_hot(torch.tensor(held["inputs"]).long(), SYMBOLS).float()  # [windows, time, input]
    targets, order = torch.tensor(held["targets"]).long(), torch.tensor(held["order"]).long()
    layer, readout = torch.nn.RNN(SYMBOLS, UNITS, batch_first=True), torch.nn.Linear(UNITS, SYMBOLS)
    given = {
        layer.weight_ih_l0: held["input_kernel"].T,
        layer.weight_hh_l0: held["recurrent_kernel"].T,
        layer.bias_ih_l0: held["bias"],
        layer.bias_hh_l0: np.zeros(UNITS),  # not trained: the network has one bias
        readout.weight: held["readout_kernel"].T,
        readout.bias: held["readout_bias"],
    }
    with torch.no_grad():
        for parameter, value in given.items():
            parameter.copy_(torch.tensor(np.ascontiguousarray(value)))
    layer.bias_hh_l0.requires_grad_(False)
    trained = [parameter for parameter in given if parameter.requires_grad]
    rule = torch.optim.Adam(trained, lr=float(held["rate"]), eps=float(held["epsilon"]), fused=True)
    activity = float(held["activity_l1"])

    def step(rows: Any) -> Any:
        """One step; the loss, penalty left out."""
        rule.zero_grad()
        state = layer(inputs[rows])[1][0]
        loss = torch.nn.functional.cross_entropy(readout(state), targets[rows])
        (loss + activity * state.abs().sum() / len(rows)).backward()
        rule.step()
        return loss

    losses = [float(step(order[k]).detach()) for k in range(int(held["checked"]))]
    print(json.dumps({"version": torch.__version__, "form": form, "losses": losses}), flush=True)
    done = len(losses)
    for line in sys.stdin:
        for _ in range(int(line)):
            if done == len(order):
                done, order = 0, torch.randperm(order.numel()).reshape(order.shape)
            step(order[done])
            done += 1
        print(json.dumps({"trained": int(line)}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
