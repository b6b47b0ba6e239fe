"""Configuration machinery: frozen dataclasses to and from YAML, dotted overrides, and loud errors.

A room owns its dataclass and declares it with `field` and `section`; this module reads any such dataclass
from a mapping, a file or the command line, and refuses what does not fit with an `InputError`.
"""

from __future__ import annotations

import dataclasses
import math
import operator
import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import MISSING, dataclass, fields, is_dataclass
from difflib import SequenceMatcher
from functools import cache
from numbers import Integral, Real
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

Config = TypeVar("Config")

BOUNDS = {">=": operator.ge, ">": operator.gt, "<=": operator.le, "<": operator.lt}
BOOLEANS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
SCALARS = {bool: "true or false", int: "an integer", float: "a number", str: "text"}


class InputError(ValueError):
    """Bad input from a person: what is wrong, where it was found, and how to put it right."""

    def __init__(self, what: str, where: str, fix: str):
        """Keep the three parts; `str()` shows them as three lines."""
        super().__init__(what, where, fix)
        self.what, self.where, self.fix = what, where, fix

    def __str__(self) -> str:
        """Return the message as the command line prints it."""
        return f"{self.what}\n  where: {self.where}\n  fix: {self.fix}"


def nearest(name: str, known: Iterable[str], *, n: int = 3) -> list[str]:
    """Return at most `n` of the `known` names that `name` may be a misspelling of, the likeliest first.

    `-` and `_` are the same, and so are upper and lower case. Of dotted names the last parts are compared, so
    that a right key in the wrong section is found.
    """

    def canonical(text: str) -> str:
        return text.lower().replace("-", "_")

    def ratio(a: str, b: str) -> float:
        return SequenceMatcher(None, a, b).ratio()

    def likeness(candidate: str) -> tuple[float, float]:
        a, b = canonical(name), canonical(candidate)
        whole, last = ratio(a, b), ratio(a.rpartition(".")[2], b.rpartition(".")[2])
        # A section in common would make any two of its keys look alike.
        return (last if "." in a else max(whole, last)), whole

    scores = {candidate: likeness(candidate) for candidate in known}
    ranked = sorted(scores, key=lambda candidate: scores[candidate], reverse=True)
    return [candidate for candidate in ranked if scores[candidate][0] >= max(0.6, scores[ranked[0]][0] - 0.2)][:n]


def field(
    default: Any,
    doc: str,
    *,
    at_least: float | None = None,
    above: float | None = None,
    at_most: float | None = None,
    below: float | None = None,
) -> Any:
    """Declare one documented field of a frozen dataclass.

    Args:
        default: a number, string, tuple, dict, None or frozen dataclass.
        doc: one line for the help pages, with the unit if there is one.
        at_least: inclusive lower bound; of a tuple or dict, every item is held to it, as to the others.
        above: exclusive lower bound.
        at_most: inclusive upper bound.
        below: exclusive upper bound.
    """
    limits = zip(BOUNDS, (at_least, above, at_most, below), strict=True)
    metadata = {"doc": doc, "bounds": {sign: limit for sign, limit in limits if limit is not None}}
    if isinstance(default, dict):
        return dataclasses.field(default_factory=lambda: dict(default), metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def section(default: Any, doc: str, *, choose: Callable[[str], type]) -> Any:
    """Declare a section whose own key `kind` picks its dataclass.

    Args:
        default: an instance of one of the dataclasses; each of them has a field `kind: str`.
        doc: one line for the help pages.
        choose: the dataclass of a kind; raises `InputError` for a kind that it does not know.
    """
    return dataclasses.field(default=default, metadata={"doc": doc, "choose": choose})


def from_dict(cls: type[Config], tree: Mapping[str, Any], *, where: str) -> Config:
    """Read an instance of `cls` from a nested mapping; keys that are missing take their defaults.

    Raises:
        InputError: for an unknown key, a wrong type, a value out of bounds or not among the choices.
    """
    return _Reader(where, cls).section(cls, tree, "", None)


def override(config: Config, values: Mapping[str, Any], *, where: str = "on the command line") -> Config:
    """Return `config` with dotted keys changed: `{"train.learning_rate": "1e-3", "model.units": 256}`.

    A string is text as typed, parsed by the type of its field: `1e-3`, `1_000`, `yes`, `64,128`, `none`. A
    new `kind` of a section keeps what the old one said wherever it has that key and can take its value.

    Raises:
        InputError: as `from_dict`, and for a key that names a whole section.
    """
    return _Reader(where, config, keep=True).section(type(config), _nest(values, where), "", config)


def to_dict(config: Any) -> dict[str, Any]:
    """Return the configuration as plain nested dicts and lists, in the order of its fields."""
    return _plain(config)


def load(path: str | Path, cls: type[Config]) -> Config:
    """Read an instance of `cls` from a YAML file.

    Raises:
        InputError: if the file cannot be read, is not YAML or not a mapping, and as `from_dict`.
    """
    import yaml

    path = Path(path)
    try:
        tree = yaml.safe_load(path.read_bytes())
    except OSError as error:
        # Stems are compared, for the ending is the last dotted part of them all.
        files = {file.stem: file for file in path.parent.glob("*.y*ml") if file != path}
        alike = [str(files[stem]) for stem in nearest(path.stem, files)]
        fix = _did_you_mean(alike) or "give the path of a YAML file that you may read"
        raise InputError(f"cannot read '{path}': {error.strerror}", f"in {path}", fix) from None
    except (yaml.YAMLError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        problem = getattr(error, "problem", None) or str(error).partition("\n")[0]
        fix = "look for a missing space after ':', an open quote or bracket, or a tab"
        raise InputError(f"'{path}' is not YAML: {problem}", f"in {path}{place}", fix) from None
    if not isinstance(tree, Mapping):
        found = "is empty" if tree is None else f"holds a {type(tree).__name__}, not keys and values"
        raise InputError(f"'{path}' {found}", f"in {path}", "write one 'key: value' a line")
    return from_dict(cls, tree, where=f"in {path}")


def dump(config: Any) -> str:
    """Return the configuration as YAML text that `load` reads back to an equal one."""
    import yaml

    return yaml.safe_dump(to_dict(config), sort_keys=False, allow_unicode=True)


def parse_arguments(arguments: Iterable[str]) -> dict[str, str]:
    """Turn `--key value`, `--key=value` and `--flag` into overrides; of a key given twice the last counts.

    A value that begins with `-` must be a number (`--key -0.5`), or be joined to its key (`--key=-text`).

    Raises:
        InputError: for an argument that belongs to no key.
    """
    overrides: dict[str, str] = {}
    waiting: str | None = None
    for argument in arguments:
        if waiting is not None and re.match(r"[^-]|-[\d.]|-inf|$", argument):
            overrides[waiting], waiting = argument, None
        elif match := re.fullmatch(r"--([^-=][^=]*)(=(.*))?", argument, re.DOTALL):
            key, joined, value = match.groups()
            overrides.pop(key, None)
            overrides[key], waiting = (value, None) if joined else ("true", key)
        else:
            fix = "write an option as '--train.learning-rate 1e-3' or '--train.learning-rate=1e-3'"
            raise InputError(f"stray argument '{argument}'", "on the command line", fix)
    return overrides


def describe(config: Any) -> list[tuple[str, Any, str, str]]:
    """Return `(dotted key, value, type in words, doc)` of every value, in the order of the fields."""
    rows = []
    for f in fields(config):
        value = getattr(config, f.name)
        if is_dataclass(value):
            rows += [(f"{f.name}.{key}", *rest) for key, *rest in describe(value)]
        else:
            kind = _words(_hints(type(config))[f.name], f.metadata)
            rows.append((f.name, value, kind, f.metadata.get("doc", "")))
    return rows


class _Text(str):
    """Text as typed on a command line, to be parsed by the type of its field."""

    def parts(self) -> list[_Text]:
        return [_Text(item.strip()) for item in self.split(",") if item.strip()]


@dataclass(frozen=True)
class _Reader:
    where: str
    root: Any  # the whole configuration or its class, whose keys are suggested
    keep: bool = False  # whether a new kind, or a new item of a dict, keeps what was there

    def section(self, cls: type[Any], tree: Any, path: str, base: Any) -> Any:
        """Read `cls`; what `tree` leaves out comes from `base`, or is the default where that is None."""
        given, hints, values = self.names(cls, tree, path), _hints(cls), {}
        for f in fields(cls):
            key, current = _join(path, f.name), _default(f) if base is None else getattr(base, f.name)
            if f.name not in given and current is MISSING:
                fix = f"give {_words(hints[f.name], f.metadata)}"
                raise InputError(f"missing key '{key}'", self.where, fix)
            if f.name not in given:
                values[f.name] = current
            elif "choose" in f.metadata:
                values[f.name] = self.chosen(f.metadata["choose"], given[f.name], key, current)
            else:
                values[f.name] = self.value(hints[f.name], given[f.name], key, f.metadata, current)
        return cls(**values)

    def names(self, cls: type[Any], tree: Any, path: str) -> dict[str, Any]:
        """Return `tree` by the field names of `cls`."""
        known = [_join(path, f.name) for f in fields(cls)]
        if not isinstance(tree, Mapping):
            what = f"'{path}' is a section" if path else "a configuration is a mapping"
            raise InputError(f"{what}, not a value", self.where, f"give one of its keys: {', '.join(known)}")
        given = {}
        for spelled, value in tree.items():
            name = str(spelled).replace("-", "_")
            key = _join(path, name)
            if key not in known:
                others = [k for k in _keys(self.root) if not path or (k.endswith(f".{name}") and k != key)]
                alike = nearest(key, [*known, *others])
                fix = _did_you_mean(alike) or f"the keys here are {', '.join(known)}"
                raise InputError(f"unknown key '{key}'", self.where, fix)
            if name in given:
                raise InputError(f"'{key}' is given twice, with '-' and with '_'", self.where, "give it once")
            given[name] = value
        return given

    def chosen(self, choose: Callable[[str], type], tree: Any, key: str, current: Any) -> Any:
        kind = tree.get("kind", current.kind) if isinstance(tree, Mapping) else current.kind
        cls = choose(self.value(str, kind, f"{key}.kind", {}))
        if cls is type(current) and kind == current.kind:
            return self.section(cls, tree, key, current)
        return self.section(cls, {**self.shared(cls, current, key), **tree} if self.keep else tree, key, None)

    def shared(self, cls: type[Any], current: Any, key: str) -> dict[str, Any]:
        """Return what the section as it was says that `cls` can say too."""
        tree = {}
        for f in fields(cls):
            if f.name != "kind" and "choose" not in f.metadata and hasattr(current, f.name):
                plain = _plain(getattr(current, f.name))
                with suppress(InputError):
                    self.value(_hints(cls)[f.name], plain, _join(key, f.name), f.metadata)
                    tree[f.name] = plain
        return tree

    def value(self, hint: Any, value: Any, key: str, metadata: Mapping[str, Any], current: Any = None) -> Any:
        """Read one value of type `hint`; `current` is what it replaces."""
        origin, arguments = get_origin(hint), get_args(hint)
        if is_dataclass(hint):
            assert isinstance(hint, type)
            return self.section(hint, value, key, current if isinstance(current, hint) else None)
        if origin in (Union, UnionType):
            if NoneType in arguments and _is_null(value):
                return None
            arms = [arm for arm in arguments if arm is not NoneType]
            if len(arms) == 1:
                return self.value(arms[0], value, key, metadata, current)
            for arm in arms:
                with suppress(InputError):
                    return self.value(arm, value, key, metadata, current)
        elif origin is tuple and isinstance(value, _Text | list | tuple):
            items = value.parts() if isinstance(value, _Text) else value
            return tuple(self.value(arguments[0], v, f"{key}[{i}]", metadata) for i, v in enumerate(items))
        elif origin is dict and isinstance(value, Mapping) and all(isinstance(name, str) for name in value):
            kept = current if self.keep and isinstance(current, Mapping) else {}
            given = {k: self.value(arguments[1], v, f"{key}.{k}", metadata) for k, v in value.items()}
            return {**kept, **given}
        elif origin is Literal:
            for choice in arguments:
                if _same(choice, value):
                    return choice
        elif hint in SCALARS:
            with suppress(ValueError, OverflowError):
                return _scalar(hint, value, metadata.get("bounds", {}))
        alike = nearest(value, map(str, arguments)) if origin is Literal and isinstance(value, str) else []
        fix = f"{_did_you_mean(alike)} give {_words(hint, metadata)}".strip()
        found = str(value) if isinstance(value, str) else value
        raise InputError(f"'{key}' cannot be {found!r}", self.where, fix)


def _scalar(hint: type, value: Any, bounds: Mapping[str, float]) -> Any:
    """Return `value` as `hint`; ValueError if it is of another type, not a number or out of bounds."""
    typed, truth = isinstance(value, _Text), isinstance(value, bool)
    if hint is bool and (typed or truth) and str(value).lower() in BOOLEANS:
        return BOOLEANS[str(value).lower()]
    if hint is str and isinstance(value, str):
        return str(value)
    if hint is int and isinstance(value, _Text | Integral) and not truth:
        number = int(value)
    # PyYAML reads 1e-3, which has no point, as a string.
    elif hint is float and isinstance(value, str | Real) and not truth:
        number = float(value)
    else:
        raise ValueError(value)
    if not math.isfinite(number) or not all(BOUNDS[sign](number, limit) for sign, limit in bounds.items()):
        raise ValueError(value)
    return number


def _same(choice: Any, value: Any) -> bool:
    if isinstance(value, _Text):
        return value == str(choice)
    return type(value) is type(choice) and value == choice


def _words(hint: Any, metadata: Mapping[str, Any]) -> str:
    """Return what a field of type `hint` takes: `an integer >= 1 or null`."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return _either(_words(arm, metadata) for arm in arguments)
    if origin is Literal:
        return _either(map(repr, arguments))
    if origin is tuple:
        return f"a list, each item {_words(arguments[0], metadata)}"
    if origin is dict:
        return f"a mapping, each value {_words(arguments[1], metadata)}"
    if hint is NoneType:
        return "null"
    if hint not in (int, float):
        return SCALARS.get(hint, "a section")
    bounds = " and ".join(f"{sign} {limit}" for sign, limit in metadata.get("bounds", {}).items())
    return f"{SCALARS[hint]} {bounds}".rstrip()


def _either(words: Iterable[str]) -> str:
    *others, last = words
    return f"{', '.join(others)} or {last}" if others else last


def _did_you_mean(names: Iterable[str]) -> str:
    quoted = [f"'{name}'" for name in names]
    return f"did you mean {_either(quoted)}?" if quoted else ""


def _is_null(value: Any) -> bool:
    return value is None or (isinstance(value, _Text) and value.lower() in ("none", "null"))


def _default(f: dataclasses.Field) -> Any:
    return f.default if f.default_factory is MISSING else f.default_factory()


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _keys(node: Any) -> Iterable[str]:
    """Yield the dotted keys, sections included, of a configuration or, by its defaults, of its class."""
    for f in fields(node):
        yield f.name
        value = getattr(node, f.name, None)
        if is_dataclass(value):
            yield from (f"{f.name}.{key}" for key in _keys(value))


def _nest(values: Mapping[str, Any], where: str) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for key, value in sorted(values.items(), key=lambda item: item[0].count(".")):
        *parents, name = key.replace("-", "_").split(".")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
            if not isinstance(node, dict):
                raise InputError(f"'{parent}' and '{key}' are both given", where, f"leave '{parent}' out")
        if isinstance(value, str):
            value = _Text(value)
        # A copy, for a deeper key may add to it.
        node[name] = dict(value) if isinstance(value, Mapping) else value
    return tree


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        return {f.name: _plain(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return value


@cache
def _hints(cls: type[Any]) -> dict[str, Any]:
    return get_type_hints(cls)
