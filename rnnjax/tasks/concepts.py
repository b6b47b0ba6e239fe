"""What each step is, by name: labels that units are scored by. Pure functions of text, symbols and numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

VOWELS = frozenset("aeiouAEIOUáéíóúüÁÉÍÓÚÜàèìòùâêîôûäëïöÄËÏÖ")
OPENING, CLOSING = "([{", ")]}"
QUOTES = {"“": "”", "«": "»", "„": "“"}  # marks that open, and what closes them
APOSTROPHES = "'\u2019"
SINGLE = "\u2018\u2019"  # a closing one is an apostrophe before a letter
SENTENCE_ENDS = ".!?"
FREQUENT = 0.005  # share of the steps from which a symbol is a concept of its own
MOST_SYMBOLS, MOST_NUMBERS = 60, 32  # that are concepts of their own
ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth")

Labels = dict[str, np.ndarray]


def of_text(text: str) -> Labels:
    """What each character of a text is, ``[characters]`` each.

    Yes or no: `vowel`, `consonant`, `capital`, `space`, `punctuation`, `digit`, `line break`, `first letter of a word`,
    `last letter of a word`, `first letter of a sentence`, `inside quotation`, `inside brackets`, `speaker's name` (of a
    line in capitals, its stops included). Numbers: `position in word` (1 for the first letter, 0 outside; the length of
    the word so far), `position in line` (0 for the first character), `quote depth`, `bracket depth`, `position in
    sentence`. Depths are those after the character: inside begins with the opening mark and ends before the closing
    one. A quotation that is never closed ends with its paragraph. An apostrophe within a word belongs to it.

    Args:
      text: any text.
    """
    count = len(text)
    kinds: Labels = {
        "vowel": np.asarray([c in VOWELS for c in text], bool),
        "consonant": np.asarray([c.isalpha() and c not in VOWELS for c in text], bool),
        "capital": np.asarray([c.isupper() for c in text], bool),
        "space": np.asarray([c in " \t" for c in text], bool),
        "punctuation": np.asarray([not (c.isalnum() or c.isspace()) for c in text], bool),
        "digit": np.asarray([c.isdigit() for c in text], bool),
        "line break": np.asarray([c == "\n" for c in text], bool),
    }
    word, line, sentence = (np.zeros(count, np.int64) for _ in range(3))
    begins, opens = np.zeros(count, bool), True
    for k, symbol in enumerate(text):
        inner = symbol in APOSTROPHES and 0 < k < count - 1 and text[k - 1].isalpha() and text[k + 1].isalpha()
        word[k] = (word[k - 1] if k else 0) + 1 if symbol.isalpha() or inner else 0
        line[k] = line[k - 1] + 1 if k and text[k - 1] != "\n" else 0
        begins[k] = opens and symbol.isalpha()
        opens = (opens and not symbol.isalnum()) or symbol in SENTENCE_ENDS or text[k - 1 : k + 1] == "\n\n"
        sentence[k] = 0 if begins[k] or not k else sentence[k - 1] + 1
    quotes, brackets = _depths(text)
    return kinds | {
        "first letter of a word": word == 1,
        "last letter of a word": (word > 0) & (np.append(word[1:], 0) == 0),
        "first letter of a sentence": begins,
        "inside quotation": quotes > 0,
        "inside brackets": brackets > 0,
        "speaker's name": _in_capitals(text),
        "position in word": word,
        "position in line": line,
        "position in sentence": sentence,
        "quote depth": quotes,
        "bracket depth": brackets,
    }


def _depths(text: str) -> tuple[np.ndarray, np.ndarray]:
    """How many quotations and brackets are open after each character."""
    quotes, brackets = (np.zeros(len(text), np.int64) for _ in range(2))
    expected: list[str] = []
    depth = 0
    for k, symbol in enumerate(text):
        before, after = text[k - 1 : k], text[k + 1 : k + 2]
        if symbol == "\n" and before == "\n":
            expected, depth = [], 0
        elif expected and symbol == expected[-1] and not (symbol == SINGLE[1] and after.isalpha()):
            expected.pop()
        elif symbol == '"':
            expected.append('"')
        elif symbol in QUOTES:
            expected.append(QUOTES[symbol])
        elif symbol == SINGLE[0] and not before.isalpha():
            expected.append(SINGLE[1])
        elif symbol in OPENING:
            depth += 1
        elif symbol in CLOSING:
            depth = max(0, depth - 1)
        quotes[k], brackets[k] = len(expected), depth
    return quotes, brackets


def _in_capitals(text: str) -> np.ndarray:
    """The characters of lines that have letters, two at least, and no small ones; their line breaks left out."""
    found, place = np.zeros(len(text), bool), 0
    for line in text.split("\n"):
        letters = [c for c in line if c.isalpha()]
        found[place : place + len(line)] = len(letters) > 1 and all(c.isupper() for c in letters)
        place += len(line) + 1
    return found


def of_words(words: Sequence[str]) -> Labels:
    """What each word or mark of a text is, ``[words]`` each: yes or no, `word`, `capital`, `punctuation`, `line break`,
    `inside quotation`, `inside brackets`; numbers, `length of the word` and `position in line`.

    Args:
      words: words, punctuation marks and line breaks.
    """
    line = np.zeros(len(words), np.int64)
    for k in range(1, len(words)):
        line[k] = 0 if words[k - 1] == "\n" else line[k - 1] + 1
    marks = "".join(word if len(word) == 1 else "a" for word in words)  # one character each, for the depths
    quotes, brackets = _depths(marks)
    letters = [any(c.isalpha() for c in word) for word in words]
    return {
        "word": np.asarray(letters, bool),
        "capital": np.asarray([word[:1].isupper() for word in words], bool),
        "punctuation": np.asarray(
            [not any(c.isalnum() for c in word) and word != "\n" and word != "" for word in words], bool
        ),
        "line break": np.asarray([word == "\n" for word in words], bool),
        "inside quotation": quotes > 0,
        "inside brackets": brackets > 0,
        "length of the word": np.asarray([len(word) for word in words], np.int64) * np.asarray(letters, np.int64),
        "position in line": line,
    }


def of_symbols(tokens: Any, exist: Any, names: Callable[[int], str], verb: str) -> Labels:
    """Whether each step is each of the frequent symbols, the most frequent first, as ``VERB 'a'``.

    Args:
      tokens: symbols by index, of any shape.
      exist: which of them are there, of the same shape.
      names: what a symbol is called.
      verb: such as `reads`.
    """
    tokens = np.asarray(tokens)
    kinds, counts = np.unique(tokens[np.asarray(exist)], return_counts=True)
    order = np.argsort(-counts, kind="stable")[:MOST_SYMBOLS]
    frequent = [int(kinds[k]) for k in order if counts[k] >= FREQUENT * counts.sum()]
    return {f"{verb} '{names(kind)}'": tokens == kind for kind in frequent if names(kind)}


def of_numbers(values: Any, name: str) -> Labels:
    """Numbers with a last axis of features, each by itself, the first ones if there are many."""
    values = np.asarray(values)
    if values.shape[-1] == 1:
        return {name: values[..., 0]}
    return {f"{name} {k + 1}": values[..., k] for k in range(min(values.shape[-1], MOST_NUMBERS))}


def of_places(shape: tuple[int, int], what: str) -> Labels:
    """Where each step stands, ``[batch, steps]``: `every first WHAT` and so on of few, and the `position` of many."""
    place = np.broadcast_to(np.arange(shape[1])[None], shape)
    few = shape[1] <= len(ORDINALS)
    named = {f"every {ORDINALS[k]} {what}": place == k for k in range(shape[1])} if few else {}
    return named | {"position": place}


def since(begins: Any, shape: tuple[int, int]) -> np.ndarray:
    """Steps since the row began, or since the last step that `begins` marks, ``[batch, steps]``."""
    place = np.broadcast_to(np.arange(shape[1])[None], shape)
    return place if begins is None else place - np.maximum.accumulate(np.where(np.asarray(begins), place, 0), axis=1)


def by_row(
    tokens: Any, exist: Any, names: Callable[[int], str], labels: Callable[[list[str]], Mapping[str, Any]]
) -> Labels:
    """What a function says of the symbols of each row, ``[batch, steps]``; zero where no step exists.

    Args:
      tokens: symbols by index, ``[batch, steps]``.
      exist: which of them are there.
      names: what a symbol is called; empty for none.
      labels: of a list of symbols, labels for each.
    """
    exist = np.asarray(exist)
    filled: Labels = {}
    for k, (row, there) in enumerate(zip(np.asarray(tokens), exist, strict=True)):
        for name, found in labels([names(int(token)) for token in row[there]]).items():
            kept = filled.setdefault(name, np.zeros(exist.shape, np.asarray(found).dtype))
            kept[k, there] = found
    return filled


def as_text(symbols: Sequence[str]) -> str:
    """Symbols of one character each as a text; a line break stands for none, as before the first of all."""
    return "".join(symbol or "\n" for symbol in symbols)
