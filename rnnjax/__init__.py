"""rnnjax: an experiment engine for recurrent networks on JAX.

>>> import rnnjax as rx
>>> run = rx.run(rx.load("shakespeare/demo"))
>>> run.sample(["ROMEO:"], temperature=0.5)

Names are imported when they are first used, so that ``import rnnjax`` costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rnnjax.lazy import attached

if TYPE_CHECKING:
    from rnnjax import cells, figures, interop, interpret, layers, recording, tasks
    from rnnjax.config import InputError
    from rnnjax.experiment import Experiment, RecordConfig, load, own, presets
    from rnnjax.generate import SampleConfig, generate
    from rnnjax.interpret import lesion_atlas
    from rnnjax.layers import (
        Bidirectional,
        EncoderDecoder,
        ModelConfig,
        Recurrent,
        SequenceModel,
        Stack,
    )
    from rnnjax.recording import Recording
    from rnnjax.run import NonFinite, Run, resume, run, sweep
    from rnnjax.run import open_run as open
    from rnnjax.sequence import Edit, Moments, Record, add, clamp, lesion, noise, patch, scale
    from rnnjax.signals import Interrupted
    from rnnjax.sweep.spaces import choice, grid, integers, log_uniform, uniform, when
    from rnnjax.train import TrainConfig
    from rnnjax.unroll import Embedded, Unrolled, unroll

_MODULES = ("cells", "figures", "interop", "interpret", "layers", "recording", "tasks")
_HOMES = {
    "InputError": "config",
    "Experiment": "experiment",
    "RecordConfig": "experiment",
    "load": "experiment",
    "own": "experiment",
    "presets": "experiment",
    "SampleConfig": "generate",
    "generate": "generate",
    "Bidirectional": "layers",
    "EncoderDecoder": "layers",
    "ModelConfig": "layers",
    "Recurrent": "layers",
    "SequenceModel": "layers",
    "Stack": "layers",
    "Interrupted": "signals",
    "NonFinite": "run",
    "Run": "run",
    "resume": "run",
    "sweep": "run",
    "choice": "sweep.spaces",
    "grid": "sweep.spaces",
    "integers": "sweep.spaces",
    "log_uniform": "sweep.spaces",
    "uniform": "sweep.spaces",
    "when": "sweep.spaces",
    "run": "run",
    "open": "run:open_run",
    "lesion_atlas": "interpret",
    "Recording": "recording",
    "Edit": "sequence",
    "Moments": "sequence",
    "Record": "sequence",
    "add": "sequence",
    "clamp": "sequence",
    "lesion": "sequence",
    "noise": "sequence",
    "patch": "sequence",
    "scale": "sequence",
    "TrainConfig": "train",
    "Embedded": "unroll",
    "Unrolled": "unroll",
    "unroll": "unroll",
}

__all__ = [
    "Bidirectional",
    "Edit",
    "Embedded",
    "EncoderDecoder",
    "Experiment",
    "InputError",
    "Interrupted",
    "ModelConfig",
    "Moments",
    "NonFinite",
    "Record",
    "RecordConfig",
    "Recording",
    "Recurrent",
    "Run",
    "SampleConfig",
    "SequenceModel",
    "Stack",
    "TrainConfig",
    "Unrolled",
    "add",
    "cells",
    "choice",
    "clamp",
    "figures",
    "generate",
    "grid",
    "integers",
    "interop",
    "interpret",
    "layers",
    "lesion",
    "lesion_atlas",
    "load",
    "log_uniform",
    "noise",
    "open",
    "own",
    "patch",
    "presets",
    "recording",
    "resume",
    "run",
    "scale",
    "sweep",
    "tasks",
    "uniform",
    "unroll",
    "when",
]


__getattr__ = attached(__name__, _HOMES, _MODULES)


def __dir__() -> list[str]:
    return __all__
