"""Who says "ae"? A speaker is named after a few frames of voice: many to one, over sequences of different lengths."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rnnjax import config
from rnnjax.config import InputError
from rnnjax.tasks.base import Table
from rnnjax.tasks.examples import Examples
from rnnjax.tasks.packages import packaged

FILES = {
    "train": "aeon/datasets/data/JapaneseVowels/JapaneseVowels_TRAIN.ts",
    "validation": "aeon/datasets/data/JapaneseVowels/JapaneseVowels_TEST.ts",
}
"""The vowels /ae/ of nine men, 12 LPC cepstrum coefficients a frame (Kudo, Toyama and Shimbo 1999; UCI, CC BY 4.0), in
the split they were published with; in aeon (BSD 3-Clause)."""


class Vowels(Examples):
    """Utterances, and who says each. Channels are standardised by the statistics of training.

    Args:
      utterances: by split (`train`, `validation`), a list of ``[frames, channels]``.
      speakers: by split, the number of who says each, from 0.

    Raises:
      InputError: no utterance, utterances of different channels or without a frame, or values that are not finite.
    """

    def __init__(self, utterances: Mapping[str, Sequence[Any]], speakers: Mapping[str, Sequence[int]]):
        held = {split: [np.asarray(one, np.float32) for one in ones] for split, ones in utterances.items()}
        every = [one for ones in held.values() for one in ones]
        shapes = {one.shape[1:] for one in every}
        if len(shapes) != 1 or len(next(iter(shapes))) != 1 or not all(len(one) for one in every):
            raise InputError(
                f"utterances of shapes {sorted({one.shape for one in every})[:4]}",
                "in tasks.Vowels",
                "give each [frames, channels], with one frame or more",
            )
        if not all(np.isfinite(one).all() for one in every):
            raise InputError("values that are not finite", "in tasks.Vowels", "clean them first")
        frames = np.concatenate(held["train"] or every)
        self.mean, self.scale = frames.mean(axis=0), frames.std(axis=0) + 1e-6
        self.inputs = frames.shape[1]
        lengths = {split: np.asarray([len(one) for one in ones], np.int32) for split, ones in held.items()}
        padded = {
            split: np.zeros((len(ones), max(map(len, every)), self.inputs), np.float32) for split, ones in held.items()
        }
        for split, ones in held.items():
            for row, one in zip(padded[split], ones, strict=True):
                row[: len(one)] = (one - self.mean) / self.scale
        classes = {split: np.asarray(ones, np.int32) for split, ones in speakers.items()}
        count = 1 + max(int(one) for ones in speakers.values() for one in ones)
        super().__init__(padded, lengths, classes, labels=tuple(f"speaker {k + 1}" for k in range(count)))

    def tables(self) -> list[Table]:
        """Utterances of each speaker, and how long they are."""
        rows = []
        for k, label in enumerate(self.labels):
            counts = []
            for split in self._splits:
                lengths = self._splits[split]["lengths"][self._splits[split]["targets"] == k]
                counts += [len(lengths), f"{lengths.min()}-{lengths.max()}" if len(lengths) else ""]
            rows.append((label, *counts))
        heads = ("speaker", "training", "frames", "held out", "frames")
        return [Table("utterances of each speaker", heads, rows)]


@dataclasses.dataclass(frozen=True)
class VowelsConfig:
    """Japanese vowels, 12 channels and 7 to 29 frames, to be told apart by who says them."""

    kind: str = config.field("vowels", "what the data is")

    def build(self) -> Vowels:
        """Reads the utterances.

        Raises:
          InputError: the package that holds them is not installed.
        """
        files = {
            split: packaged("aeon", file, "the Japanese vowels", options="--no-deps") for split, file in FILES.items()
        }
        read = {split: read_utterances(path) for split, path in files.items()}
        return Vowels(
            {split: found for split, (found, _) in read.items()}, {split: found for split, (_, found) in read.items()}
        )


def read_utterances(path: Path) -> tuple[list[np.ndarray], list[int]]:
    """The utterances ``[frames, channels]`` of a `.ts` file, and who says each, from 0.

    A line is an utterance: its channels and then the speaker's number from 1, parted by colons, each channel a list of
    numbers parted by commas.
    """
    body = path.read_text("utf-8").partition("@data")[2].split("\n")
    lines = [line.strip().split(":") for line in body if line.strip()]
    found = [np.asarray([channel.split(",") for channel in channels], np.float32).T for *channels, _ in lines]
    return found, [int(speaker) - 1 for *_, speaker in lines]
