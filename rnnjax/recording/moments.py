"""Statistics of what was recorded, put together from those of rows and windows, in float64 on the host."""

from __future__ import annotations

import numpy as np

from rnnjax.sequence import Moments


def no_moments(units: int) -> np.ndarray:
    """Those of no values, ``[5, units]``."""
    return np.repeat([[0.0], [0.0], [0.0], [np.inf], [-np.inf]], units, axis=1)


def moment_rows(moments: Moments) -> np.ndarray:
    """Rows of moments as ``[..., rows, 5, units]``, in float64."""
    mean = np.asarray(moments.mean, np.float64)
    count = np.broadcast_to(np.asarray(moments.count, np.float64)[..., None], mean.shape)
    rest = (np.asarray(each, np.float64) for each in (moments.m2, moments.least, moments.greatest))
    return np.stack([count, mean, *rest], axis=-2)


def moments_of(values: np.ndarray) -> np.ndarray:
    """The same of values ``[..., steps, units]``, as one part."""
    values = values.astype(np.float64)
    count = np.full((*values.shape[:-2], values.shape[-1]), values.shape[-2], np.float64)
    mean = values.mean(axis=-2)
    m2 = np.square(values - mean[..., None, :]).sum(axis=-2)
    return np.stack([count, mean, m2, values.min(axis=-2), values.max(axis=-2)], axis=-2)[..., None, :, :]


def pooled(parts: np.ndarray) -> np.ndarray:
    """Parts ``[..., parts, 5, units]`` as one (Chan, Golub & LeVeque 1983)."""
    count, mean, m2, least, greatest = np.moveaxis(parts, -2, 0)
    total = count.sum(axis=-2)
    middle = (count * mean).sum(axis=-2) / np.maximum(total, 1)
    spread = (m2 + count * np.square(mean - middle[..., None, :])).sum(axis=-2)
    return np.stack([total, middle, spread, least.min(axis=-2), greatest.max(axis=-2)], axis=-2)


def described(moments: np.ndarray) -> np.ndarray:
    """What `STATISTICS` names, of moments ``[..., 5, units]``."""
    found = moments.copy()
    found[..., 2, :] = np.sqrt(moments[..., 2, :] / np.maximum(moments[..., 0, :], 1))
    return found
