"""Arrays as a page can carry them: joined, gzipped, in base64; `packing.js` opens them again."""

from __future__ import annotations

import base64
import gzip
from typing import Any

import numpy as np
from numpy.typing import NDArray

WORD = 8
"""Each array starts at a multiple of so many bytes, as a view of float64 must."""


class Chest:
    """Arrays one after the other; each is known by where it starts and how many numbers it has."""

    def __init__(self):
        self._parts: list[bytes] = []
        self._size = 0

    def put(self, array: NDArray[Any]) -> list[int]:
        """Adds an array of any shape; returns its first byte and how many numbers it has."""
        start = self._size
        data = np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes()
        data += bytes(-len(data) % WORD)
        self._parts.append(data)
        self._size += len(data)
        return [start, array.size]

    def closed(self) -> str:
        """All arrays as base64 of gzip; the same arrays give the same text."""
        packed = gzip.compress(b"".join(self._parts), compresslevel=9, mtime=0)
        return base64.b64encode(packed).decode()
