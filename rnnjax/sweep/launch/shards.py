"""Shards: batches are dealt out by their number, so that no one has to ask anyone."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

from rnnjax.config import InputError
from rnnjax.progress import SweepDisplay
from rnnjax.sweep.plan import Batch
from rnnjax.sweep.story import open_sweep


def parse_shard(text: str) -> tuple[int, int]:
    """The shard that `i/N` names, as (i, N); shards are counted from 0.

    Raises:
      InputError: it is not written so, or there is no such shard.
    """
    match = re.fullmatch(r"\s*(\d{1,9})\s*/\s*(\d{1,9})\s*", text)
    if match is None:
        raise InputError(f"'{text}' is no shard", "in --shard", "write it as 0/4, up to 3/4")
    index, count = map(int, match.groups())
    belongs(index, count)
    return index, count


def belongs(index: int, count: int) -> Callable[[Batch], bool]:
    """Whether a batch belongs to shard `index` of `count`: its number leaves `index` when divided by `count`.

    Raises:
      InputError: there is no such shard.
    """
    if not 0 <= index < count:
        known = f"choose 0/{count} to {count - 1}/{count}" if count > 0 else "write it as 0/4, up to 3/4"
        raise InputError(f"there is no shard {index} of {count}", "in --shard", f"count from 0: {known}")
    return lambda batch: batch.index % count == index


def run_shard(
    path: str | Path, index: int, count: int, *, display: SweepDisplay | None = None, heard: Sequence[int] = ()
) -> list[int]:
    """Trains the batches of one shard. Whoever finds in the end that no batch of the sweep is left sums it up.

    Where members go from stage to stage, as in halving, a shard waits for the others at the end of each.

    Args:
      path: the sweep's folder.
      index: of the shard, from 0.
      count: how many shards there are.
      display: told how far it is.
      heard: signals, once there are any.

    Returns:
      The numbers of the shard's batches.

    Raises:
      InputError: there is no such shard or sweep, or another process trains one of its batches.
      Interrupted: there was a signal; what was trained is saved.
    """
    mine, sweep = belongs(index, count), open_sweep(path)
    sweep.work(mine=mine, display=display, heard=heard)
    return [batch.index for batch in sweep.plan.batches if mine(batch)]
