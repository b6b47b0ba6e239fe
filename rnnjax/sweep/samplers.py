"""Static samplers: the choices of every member of a sweep, known before anything is trained.

Listed values are crossed. Numbers of ranges are sampled afresh for every member, from raw bits of PCG64: the same seed
gives the same members on every machine. Each axis has its own stream, so that another axis changes nothing in it.
"""

from __future__ import annotations

import warnings
import zlib

import numpy as np

from rnnjax.config import InputError, nearest
from rnnjax.sweep.spaces import Range, Space, Value, unconditional

SAMPLERS = ("grid", "random", "sobol")


def draw(space: Space, *, trials: int | None, sampler: str, seed: int) -> list[dict[str, Value]]:
    """The choices of every member, by dotted key; what does not apply to a member is absent.

    Member `k` has crossing ``k % crossings`` of the listed values: where `trials` is no multiple, the first have one
    member more. With `random`, the members of a sweep are the first ones of any longer sweep.

    Args:
      space: what is swept.
      trials: members in all; None: one for each crossing, where every axis is listed.
      sampler: `grid`: every axis is listed. `random`: each number by itself. `sobol`: one scrambled sequence over all
        members (Sobol 1967, Matousek 1998), of which each crossing has a stretch of its own; powers of two fill best.
      seed: of what is sampled.

    Raises:
      InputError: no such sampler; a range for `grid`; or more or fewer trials than can be.
    """
    if sampler not in SAMPLERS:
        close = nearest(sampler, SAMPLERS)
        fix = f"did you mean '{close[0]}'?" if close else f"choose {', '.join(SAMPLERS)}"
        raise InputError(f"unknown sampler '{sampler}'", "in --sampler", fix)
    sampled, crossings = space.sampled, space.crossings()
    ranges = [spec for spec in map(unconditional, space.axes.values()) if isinstance(spec, Range) and not spec.listed]
    if sampled and sampler == "grid":
        raise InputError(
            f"a grid has no place for the range of '{sampled[0]}'",
            f"in '{sampled[0]}={space.axes[sampled[0]]}'",
            f"give it points: {sampled[0]}={ranges[0]}:5, or choose --sampler random",
        )
    trials = _trials(trials, len(crossings), space)
    counts = [trials // len(crossings) + (c < trials % len(crossings)) for c in range(len(crossings))]
    shares = _sobol(trials, sampled, seed) if sampler == "sobol" and sampled else _random(trials, sampled, seed)
    # Members that have a crossing in common are a whole period apart. In a Sobol sequence those lie in a narrow strip.
    first = np.concatenate([[0], np.cumsum(counts)[:-1]])
    members = []
    for k in range(trials):
        turn, crossing = divmod(k, len(crossings))
        row = first[crossing] + turn if sampler == "sobol" else k
        choices = dict(crossings[crossing])
        for column, (key, spec) in enumerate(zip(sampled, ranges, strict=True)):
            if space.applies(key, choices):
                choices[key] = spec.at(float(shares[row, column]))
        members.append(space.arranged(choices))
    return members


def _trials(trials: int | None, crossings: int, space: Space) -> int:
    sampled = space.sampled
    if trials is None and not sampled:
        return crossings
    if trials is None:
        raise InputError(f"'{sampled[0]}' is sampled, as often as is wanted", "in the sweep", "say so: --trials 100")
    if trials < crossings:
        raise InputError(
            f"{trials} trials are fewer than the {crossings} crossings of listed values",
            "in --trials",
            f"give --trials {crossings} or more, or list fewer values",
        )
    if trials > crossings and not sampled:
        raise InputError(
            f"{trials} trials are more than the {crossings} crossings there are: members would repeat each other",
            "in --trials",
            f"leave it out, or {'list more values' if 'seed' in space.axes else 'sweep the seed too: seed=0..7'}",
        )
    return trials


def _random(trials: int, keys: tuple[str, ...], seed: int) -> np.ndarray:
    """Uniform numbers in [0, 1), ``[trials, keys]``."""
    bits = [_bits(seed, key).random_raw(trials) for key in keys]
    return np.stack([(each >> np.uint64(11)) * 2.0**-53 for each in bits], 1) if keys else np.zeros((trials, 0))


def _sobol(trials: int, keys: tuple[str, ...], seed: int) -> np.ndarray:
    """The first points of a scrambled Sobol sequence, ``[trials, keys]``."""
    try:
        from scipy.stats import qmc
    except ImportError:
        raise InputError("Sobol sequences need SciPy", "in --sampler sobol", "pip install 'rnnjax[sweep]'") from None

    sequence = qmc.Sobol(len(keys), scramble=True, rng=np.random.Generator(_bits(seed, "sobol")))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The balance properties of Sobol", UserWarning)  # a part of 2**n is wanted
        return sequence.random(trials)


def _bits(seed: int, name: str) -> np.random.PCG64:
    return np.random.PCG64(np.random.SeedSequence([seed, zlib.crc32(name.encode())]))
