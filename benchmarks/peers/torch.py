"""PyTorch: `nn.LSTM`, `nn.GRU` and `nn.RNN` (oneDNN on CPU, cuDNN on GPU), fused Adam, time first.

On CPU as many threads as are allowed, or one where that is faster. bfloat16 is autocast, as its documentation has it;
for a layer alone, whichever is faster of that and a layer whose weights are bfloat16. One bias is trained, as in the
network asked for; the second is zero and held fixed (the GRU needs both).
"""

from __future__ import annotations

import contextlib
import importlib
import runpy
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from rnnjax.benchmarks.peers.worker import Job, Prepared

torch: Any = importlib.import_module("torch")
common: Any = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("_common.py"))))

LAYERS = {"lstm": "LSTM", "gru": "GRU", "elman": "RNN"}


def versions() -> dict[str, str]:
    """Of PyTorch, and of what it computes with."""
    found = {"torch": torch.__version__}
    if torch.cuda.is_available():
        found |= {"cuda": torch.version.cuda, "cudnn": str(torch.backends.cudnn.version())}
    return found


def prepare(job: Job) -> Prepared:
    """A step of training, a layer alone, or drawing symbols."""
    common.refuse(job, generates=True)
    if job.device == "gpu" and not torch.cuda.is_available():
        raise NotImplementedError("this PyTorch has no GPU")
    return {"step": _training, "generation": _generation}.get(job.question, _alone)(job)


class Network(torch.nn.Module):
    """Embedding or one-hot rows, recurrent layer, perhaps a decoder, readout.

    Args:
      job: whose workload and weights it has.
    """

    def __init__(self, job: Job):
        super().__init__()
        w, arrays = job.workload, job.arrays
        self.last, self.answers = w["read"] == "last", w["answers"]
        self.embedding = None
        if w["embedding"]:
            self.embedding = torch.nn.Embedding.from_pretrained(
                torch.tensor(arrays["embedding.embedding"]), freeze=False
            )
        self.layer = _layer(w["cell"], common.layer_of(job))
        self.decoder = _layer("lstm", common.layer_of(job, "decoder")) if w["decoder_units"] else None
        kernel = arrays["readout.kernel"]
        self.readout = torch.nn.Linear(*kernel.shape)
        _fill({self.readout.weight: kernel.T, self.readout.bias: arrays["readout.bias"]})

    def forward(self, inputs: Any) -> tuple[Any, Any]:
        """Answers ``[time, batch, classes]``, or ``[batch, classes]``, and the state they are read from."""
        hidden = self.layer(inputs if self.embedding is None else self.embedding(inputs))[0]
        if self.decoder is not None:
            hidden = self.decoder(hidden[-1].expand(self.answers, -1, -1))[0]
        elif self.last:
            hidden = hidden[-1]
        return self.readout(hidden), hidden


def _layer(cell: str, weights: dict[str, np.ndarray]) -> Any:
    width, units = len(weights["input_kernel"]), len(weights["recurrent_kernel"])
    layer = getattr(torch.nn, LAYERS[cell])(width, units)
    second = weights.get("recurrent_bias")
    _fill(
        {
            layer.weight_ih_l0: weights["input_kernel"].T,
            layer.weight_hh_l0: weights["recurrent_kernel"].T,
            layer.bias_ih_l0: weights["bias"],
            layer.bias_hh_l0: np.zeros_like(weights["bias"]) if second is None else second,
        }
    )
    if second is None:
        layer.bias_hh_l0.requires_grad_(False)
    return layer


def _fill(given: dict[Any, np.ndarray]) -> None:
    with torch.no_grad():
        for parameter, value in given.items():
            parameter.copy_(torch.tensor(np.ascontiguousarray(value)))


def device_of(job: Job) -> Any:
    """Where it is computed; sets the number of threads."""
    torch.set_num_threads(job.threads)
    return torch.device("cuda" if job.device == "gpu" else "cpu")


def adam(job: Job, network: Network) -> Any:
    """The optimiser of a network."""
    w = job.workload
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    return torch.optim.Adam(trained, lr=w["rate"], eps=w["epsilon"], fused=True)


def finish(job: Job) -> None:
    """Waits until all is computed."""
    if job.device == "gpu":
        torch.cuda.synchronize()


def _training(job: Job) -> Prepared:
    w, device = job.workload, device_of(job)
    inputs, targets = _batches(job)
    activity = w["activity_l1"]

    def started() -> Callable[[], Any]:
        """A step, from the weights given."""
        network = Network(job).to(device)
        rule, done = adam(job, network), 0

        def step() -> Any:
            nonlocal done
            at = done % len(inputs)
            done += 1
            rule.zero_grad()
            with _precision(job):
                logits, hidden = network(inputs[at])
                loss = torch.nn.functional.cross_entropy(logits.reshape(-1, logits.shape[-1]).float(), targets[at])
            penalty = activity * hidden.abs().sum() / w["batch"] if activity else 0
            (loss + penalty).backward()
            rule.step()
            return loss.detach()

        return step

    step = started()
    check = [float(step()) for _ in range(common.CHECKED)]
    call = common.repeated(started(), lambda _: finish(job))
    return {"call": call, "form": f"loop{_threads(job, call)}{_about(job)}", "check": check}


def _alone(job: Job) -> Prepared:
    device, backward = device_of(job), job.question == "gradient"
    inputs = torch.tensor(common.dense(job)).transpose(0, 1).contiguous().to(device)  # time first

    def layers_as(dtype: Any) -> tuple[Any, Any]:
        held = [_layer(job.workload["cell"], weights).to(device, dtype) for weights in common.heads_of(job)]
        return held, inputs.to(dtype).requires_grad_(backward)

    def prepared(held: Any, read: Any, precision: Callable[[], Any]) -> Callable[[], Any]:
        wanted = [read, *(p for layer in held for p in layer.parameters() if p.requires_grad)]

        def outputs() -> Any:
            with precision():
                return [layer(read)[0] for layer in held]

        def forward() -> Any:
            with torch.inference_mode():
                return outputs()

        def gradient() -> Any:
            loss = sum(out.float().square().mean() for out in outputs()) / len(held)
            return loss, torch.autograd.grad(loss, wanted)

        return gradient if backward else forward

    forms = {"": prepared(*layers_as(torch.float32), lambda: _precision(job))}
    if job.workload["dtype"] == "bfloat16":
        forms = {", autocast to bfloat16": forms[""]}
        forms[", weights in bfloat16"] = prepared(*layers_as(torch.bfloat16), contextlib.nullcontext)
    calls = {name: common.repeated(once, lambda _: finish(job)) for name, once in forms.items()}
    form = common.fastest(calls)
    threads = _threads(job, calls[form])
    found = forms[form]()
    if backward:
        per_head = (len(found[1]) - 1) // job.workload["heads"]
        recurrent = found[1][2::per_head]  # after the inputs: input kernel, recurrent kernel, biases, head by head
        check = [float(found[0].detach()), float(sum(g.float().square().sum() for g in recurrent))]
    else:
        check = [float(sum(out.float().square().mean() for out in found) / len(found))]
    return {"call": calls[form], "form": f"loop{threads}{form}", "check": check}


def _generation(job: Job) -> Prepared:
    w, device = job.workload, device_of(job)
    network = Network(job).to(device)
    cell = getattr(torch.nn, f"{LAYERS[w['cell']]}Cell")(network.layer.input_size, network.layer.hidden_size).to(device)
    cell.load_state_dict({name.removesuffix("_l0"): value for name, value in network.layer.state_dict().items()})
    eye = torch.cat([torch.eye(w["vocab"]), torch.zeros(1, w["vocab"])]).to(device)
    embedded = network.embedding or (lambda tokens: torch.nn.functional.embedding(tokens, eye))

    def by_cell(tokens: Any, state: Any) -> tuple[Any, Any]:
        state = cell(embedded(tokens), state)
        return network.readout(state[0] if w["cell"] == "lstm" else state), state

    def by_layer(tokens: Any, state: Any) -> tuple[Any, Any]:
        hidden, state = network.layer(embedded(tokens)[None], state)
        return network.readout(hidden[0]), state

    def likeliest(logits: Any) -> Any:
        return logits.argmax(-1)

    def drawn(logits: Any) -> Any:  # by exponentials, which is `multinomial` without its checks
        chances = torch.softmax(logits.float(), -1)
        return (chances / torch.empty_like(chances).exponential_()).argmax(-1)

    def run(step: Callable[..., Any], choose: Callable[[Any], Any], count: int) -> list[Any]:
        found, tokens, state = [], torch.zeros(w["batch"], dtype=torch.long, device=device), None
        with torch.inference_mode(), _precision(job):
            for _ in range(count):
                logits, state = step(tokens, state)
                tokens = choose(logits)
                found.append(tokens)
        finish(job)
        return found

    steps = {"nn.LSTMCell".replace("LSTM", LAYERS[w["cell"]]): by_cell, f"nn.{LAYERS[w['cell']]}, a step": by_layer}
    calls: dict[str, Callable[[int], Any]] = {
        name: lambda count, step=step: run(step, drawn, count) for name, step in steps.items()
    }
    form = common.fastest(calls)
    threads = _threads(job, calls[form])
    check = [float(tokens[0]) for tokens in run(steps[form], likeliest, common.DRAWN)]
    return {"call": calls[form], "form": f"loop, {form}{threads}{_about(job)}", "check": check}


def _batches(job: Job) -> tuple[list[Any], list[Any]]:
    """Inputs ``[time, batch]`` or ``[time, batch, input]``, and targets ``[answers]`` in the order of the logits."""
    w, device = job.workload, device_of(job)
    inputs = torch.tensor(np.swapaxes(job.arrays["inputs"], 1, 2))
    targets = torch.tensor(job.arrays["targets"]).long()
    if w["vocab"]:
        inputs = inputs.long()
        if not w["embedding"]:  # the symbol after the last stands for a row of zeros
            inputs = torch.nn.functional.one_hot(inputs, w["vocab"] + 1)[..., : w["vocab"]].float()
    if targets.ndim == 3:
        targets = targets.transpose(1, 2)
    return [x.contiguous().to(device) for x in inputs], [y.reshape(-1).to(device) for y in targets]


def _precision(job: Job) -> Any:
    if job.workload["dtype"] != "bfloat16":
        return contextlib.nullcontext()
    return torch.autocast("cuda" if job.device == "gpu" else "cpu", dtype=torch.bfloat16)


def _about(job: Job) -> str:
    return ", autocast to bfloat16" if job.workload["dtype"] == "bfloat16" else ""


def _threads(job: Job, call: Callable[[int], Any]) -> str:
    """Sets the number of threads that is faster, all or one, and says so."""
    if job.threads == 1 or job.device == "gpu":
        return ""

    def on(threads: int) -> float:
        torch.set_num_threads(threads)
        return common.seconds(call)

    best = min((job.threads, 1), key=on)
    torch.set_num_threads(best)
    return f", {best} thread{'s' if best > 1 else ''}"
