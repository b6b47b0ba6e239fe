"""Labelled examples of different lengths: one class each, answered after the last step."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax.config import InputError
from rnnjax.tasks.base import Batch, Task
from rnnjax.tasks.shuffling import shuffle


class Examples(Task):
    """Examples padded to the longest, held in memory. Training shuffles them anew each epoch and drops the remainder
    that fills no batch; validation sees every held-out example once.

    Args:
      inputs: padded steps by split, `train` and `validation` (empty if nothing is held out): symbols
        ``[examples, time]`` or numbers ``[examples, time, input]``.
      lengths: valid steps of each example by split, ``[examples]``.
      classes: by split, ``[examples]``.
      labels: names of the classes.

    Raises:
      InputError: a split whose arrays do not fit together, or no example for training.
    """

    read = "last"

    def __init__(
        self,
        inputs: dict[str, np.ndarray],
        lengths: dict[str, np.ndarray],
        classes: dict[str, np.ndarray],
        labels: tuple[str, ...],
    ):
        for split in ("train", "validation"):
            count, steps = inputs[split].shape[:2]
            fits = lengths[split].shape == classes[split].shape == (count,)
            if not fits or (count and not 1 <= lengths[split].min() <= lengths[split].max() <= steps):
                raise InputError(
                    f"{count} examples of {steps} steps, with {len(lengths[split])} lengths and "
                    f"{len(classes[split])} classes",
                    f"in the {split} split",
                    "give each example a length from 1 to its steps, and a class",
                )
            if count and not 0 <= classes[split].min() <= classes[split].max() < len(labels):
                raise InputError(
                    f"classes from {classes[split].min()} to {classes[split].max()}",
                    f"in the {split} split",
                    f"number them from 0 to {len(labels) - 1}",
                )
        if not len(classes["train"]):
            raise InputError("no example to train on", "in the train split", "hold out fewer (task.split)")
        self.labels, self.outputs = labels, len(labels)
        self.length = inputs["train"].shape[1]
        self._splits = {
            split: {"inputs": inputs[split], "lengths": lengths[split], "targets": classes[split]}
            for split in ("train", "validation")
        }

    def count(self, split: str) -> int:
        """Examples of a split."""
        return len(self._splits[split]["targets"])

    def data(self, split: str) -> Any:
        """The arrays of a split: `inputs`, `lengths` and `targets`."""
        return self._splits[split] if self.count(split) else None

    def rows(self, split: str, size: int) -> int:
        """At most the examples of a validation split."""
        return size if split == "train" else min(size, self.count(split))

    def steps(self, split: str, size: int) -> int:
        """Whole batches of the training split; as many as hold all of validation."""
        return self.count(split) // size if split == "train" else -(-self.count(split) // max(1, size))

    def order(self, key: jax.Array, split: str, size: int) -> Any:
        """The examples in the order of an epoch, ``[examples]``; validation keeps the order they came in."""
        count = self.count(split)
        return shuffle(key, count, size, flat=True) if split == "train" else jnp.arange(count)

    def take(self, data: Any, order: Any, index: Any, split: str, size: int) -> Batch:
        """The examples of one batch; rows beyond the last held-out example repeat it, and do not count."""
        places = index * size + np.arange(size)
        last = self.count(split) - 1
        rows = order[places.clip(max=last)]
        return Batch(**{name: values[rows] for name, values in data.items()}, counts=places <= last)

    def batch(self, key: jax.Array, size: int) -> Batch:
        """Examples drawn with replacement."""
        rows = jax.random.randint(key, (size,), 0, self.count("train"))
        return Batch(**{name: jnp.asarray(values)[rows] for name, values in self._splits["train"].items()})

    def references(self) -> dict[str, float]:
        """The loss of a guess by how frequent each class is, in nats."""
        counts = np.bincount(self._splits["train"]["targets"], minlength=self.outputs)
        shares = counts[counts > 0] / counts.sum()
        return {"entropy of the classes": float(-(shares * np.log(shares)).sum())}

    def summary(self) -> dict[str, Any]:
        """Counts of examples and steps, and the share of steps that are padding."""
        lengths = np.concatenate([self._splits[split]["lengths"] for split in self._splits])
        return {
            "training examples": self.count("train"),
            "held-out examples": self.count("validation"),
            "shortest": int(lengths.min()),
            "longest": int(lengths.max()),
            "padding": f"{100 * (1 - lengths.mean() / self.length):.1f} % of all steps",
            "inputs": self.inputs,
            "classes": self.outputs,
        }
