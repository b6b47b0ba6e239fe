"""Spaces: what a sweep changes, and over which values; as Python values, and as text that reads back to the same.

    seed=0..31                                   every integer from 0 to 31
    model.cell=lstm,gru   train.clip_norm=none,1 listed values
    train.learning_rate=1e-4..1e-1:log           a range, to be sampled, both ends included
    model.units=32..512:log:int                  whole numbers of a range
    train.learning_rate=1e-4..1e-1:log:5         five points of a range, both ends among them
    train.momentum=0.5,0.9@train.optimizer=sgd   only where another choice is this one

A value is a number, text, true, false or none. Text that could be taken for something else stands in double quotes.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from itertools import product
from typing import Any

from rnnjax import config
from rnnjax.config import InputError, nearest
from rnnjax.experiment import Experiment
from rnnjax.tasks import Task

Value = int | float | str | bool | None
"""What one choice can be."""

MOST = 1_000_000
"""Values that an axis may list, and crossings that a space may have."""

DIGITS = 8
"""Significant digits of a sampled number: what differs between the `exp` of two machines lies far behind them."""

FORMS = "write 64,128 or 0..31 or 1e-4..1e-1:log or 32..512:log:int or 1e-4..1e-1:log:5"


@dataclass(frozen=True)
class Choice:
    """Listed values, which are crossed with those of other axes.

    Attributes:
      values: at least one, no two the same.

    Raises:
      InputError: there are none, one comes twice, or one is no plain value.
    """

    values: tuple[Value, ...]

    def __post_init__(self):
        object.__setattr__(self, "values", tuple(_plain(value) for value in self.values))
        if not self.values:
            raise InputError("no value is listed", "in a choice", "list at least one")
        seen: set[tuple[bool, Value]] = set()
        for value in self.values:
            if (isinstance(value, bool), value) in seen:
                raise InputError(f"{spelled(value)} is listed twice", "in a choice", "list it once")
            seen.add((isinstance(value, bool), value))

    @property
    def listed(self) -> tuple[Value, ...]:
        """The values."""
        return self.values

    def __str__(self) -> str:
        return ",".join(map(spelled, self.values))


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, both included: sampled, or, with `points`, a grid of so many.

    Attributes:
      low: lower end; above zero if `log`.
      high: upper end, above `low`.
      log: whether the logarithm is uniform. Of integers `k` then has a share proportional to ``log(1 + 1/k)``.
      integer: whether only whole numbers count.
      points: how many are listed, evenly from end to end; None: values are sampled.

    Raises:
      InputError: the ends do not make such a range, or it has not so many points.
    """

    low: int | float
    high: int | float
    log: bool = False
    integer: bool = False
    points: int | None = None

    def __post_init__(self):
        low, high = _plain(self.low), _plain(self.high)
        if not all(isinstance(end, int | float) and not isinstance(end, bool) for end in (low, high)):
            raise InputError("the ends of a range are numbers", f"in the range {low!r}..{high!r}", FORMS)
        assert isinstance(low, int | float) and isinstance(high, int | float)
        if self.integer:
            if low != int(low) or high != int(high):
                raise self._wrong("a range of integers has an end that is none", "give whole ends, or leave 'int' out")
            low, high = int(low), int(high)
        elif not (isinstance(low, int) and isinstance(high, int)) or not (self.log or self.points):
            low, high = float(low), float(high)
        object.__setattr__(self, "low", low)
        object.__setattr__(self, "high", high)
        if low == high:
            raise self._wrong("the range has one value", f"write {low}")
        if low > high:
            raise self._wrong("the range ends below its start", f"write {high}..{low}")
        if self.log and low <= 0:
            raise self._wrong(f"a logarithm has no end at {low}", "give an end above zero, or leave 'log' out")
        if self.points is not None:
            self._check_points(self.points)

    def _check_points(self, points: int) -> None:
        if points < 2:
            raise self._wrong("a grid has two points or more", "ask for more points")
        if points > MOST:
            raise self._wrong(f"{points:,} values are too many to list", f"sample them: {self.low}..{self.high}:int")
        distinct = len(set(self.listed or ()))
        if distinct < points:
            raise self._wrong(f"only {distinct} of {points} points differ", "ask for fewer points")

    def _wrong(self, what: str, fix: str) -> InputError:
        return InputError(what, f"in the range {self}", fix)

    @property
    def every(self) -> bool:
        """Whether it lists every integer from end to end."""
        return self.integer and not self.log and self.points == self.high - self.low + 1

    @cached_property
    def listed(self) -> tuple[int | float, ...] | None:
        """The points of a grid; None where values are sampled."""
        if self.points is None:
            return None
        if self.every:
            return tuple(range(int(self.low), int(self.high) + 1))
        between = (self._between(k / (self.points - 1)) for k in range(1, self.points - 1))
        inner = (round(value) if self.integer else self._rounded(value) for value in between)
        return (self.low, *inner, self.high)

    def at(self, share: float) -> int | float:
        """The value below which `share` of the samples lie.

        Args:
          share: from 0 to 1.

        Returns:
          A number from `low` to `high`, rounded to eight digits of what the range lets differ; an integer if `integer`.
        """
        if not self.integer:
            return self._rounded(self._between(share))
        low, high = int(self.low), int(self.high)
        if self.log:
            return min(high, max(low, math.floor(low * ((high + 1) / low) ** share)))
        return min(high, low + math.floor(share * (high + 1 - low)))

    def _between(self, share: float) -> float:
        if self.log:
            return self.low * (self.high / self.low) ** share
        return self.low + share * (self.high - self.low)

    def _rounded(self, value: float) -> float:
        width = (self.high - self.low) / max(abs(self.low), abs(self.high))
        digits = DIGITS + max(0, math.ceil(-math.log10(width)))
        return min(float(self.high), max(float(self.low), float(f"{value:.{digits}g}")))

    def __str__(self) -> str:
        if self.every:
            return f"{self.low}..{self.high}"
        flags = ("log" if self.log else "", "int" if self.integer else "", str(self.points or ""))
        return ":".join((f"{self.low!r}..{self.high!r}", *filter(None, flags)))


@dataclass(frozen=True)
class When:
    """Another spec, which counts only for members in which another axis has one of these values.

    Attributes:
      key: of the other axis, dotted; its values must be listed.
      values: any of them will do.
      then: the spec; may be a `When` itself: both conditions must hold.
    """

    key: str
    values: tuple[Value, ...]
    then: Spec

    def __post_init__(self):
        object.__setattr__(self, "key", _canonical(self.key))
        object.__setattr__(self, "values", Choice(self.values).values)
        object.__setattr__(self, "then", spec_of(self.then))

    @property
    def listed(self) -> tuple[Value, ...] | None:
        """The listed values of `then`; None where it is sampled."""
        return self.then.listed

    def __str__(self) -> str:
        return f"{self.then}@{self.key}={','.join(map(spelled, self.values))}"


Spec = Choice | Range | When


def uniform(low: float, high: float) -> Range:
    """Numbers from `low` to `high`, sampled evenly.

    Raises:
      InputError: as `Range`.
    """
    return Range(float(low), float(high))


def log_uniform(low: float, high: float) -> Range:
    """Numbers from `low` to `high`, their logarithms sampled evenly.

    Raises:
      InputError: as `Range`.
    """
    return Range(low, high, log=True)


def integers(low: int, high: int, log: bool = False) -> Range:
    """Whole numbers from `low` to `high`, both included, sampled.

    Raises:
      InputError: as `Range`.
    """
    return Range(low, high, log=log, integer=True)


def choice(*values: Value) -> Choice:
    """Listed values.

    Raises:
      InputError: as `Choice`.
    """
    return Choice(values)


def grid(low: float, high: float, points: int, log: bool = False) -> Range:
    """So many points from `low` to `high`, both among them, evenly or evenly in the logarithm.

    Raises:
      InputError: as `Range`.
    """
    return Range(low, high, log=log, points=points)


def when(key: str, value: Value | list[Any] | tuple[Value, ...] | range, spec: Any) -> When:
    """A spec for members in which the axis `key` has this value, or one of these.

    Args:
      key: dotted key of another axis, with listed values.
      value: one value, or a list or tuple of them.
      spec: as `spec_of` takes it.

    Raises:
      InputError: no spec can be made of it.
    """
    return When(key, tuple(value) if isinstance(value, list | tuple | range) else (value,), spec)


def spec_of(thing: Any) -> Spec:
    """The spec that a Python value stands for: a spec itself, or a list, tuple, range or array of values.

    ``range(8)`` is what ``0..7`` is in text: every integer.

    Raises:
      InputError: it stands for none.
    """
    if isinstance(thing, Choice | Range | When):
        return thing
    if hasattr(thing, "tolist"):
        thing = thing.tolist()
    if not isinstance(thing, list | tuple | range):
        raise InputError(
            f"{thing!r} is no list of values", "in a sweep", f"write [{thing!r}], or give rx.uniform(...) or its like"
        )
    if isinstance(thing, range) and thing.step == 1 and len(thing) > 1:
        return Range(thing[0], thing[-1], integer=True, points=len(thing))
    return Choice(tuple(thing))


def parse(key: str, text: str) -> Spec:
    """Reads the text of one axis, as in ``key=text``.

    ``0..31`` lists every integer, and is refused by `Space.check` where the field takes other numbers as well.

    Args:
      key: dotted key, for the message.
      text: see the head of this module.

    Raises:
      InputError: it is malformed; says how.
    """
    body, *conditions = _split(text, "@")
    try:
        spec = _body(body.strip())
        for condition in conditions:
            other, equals, values = condition.partition("=")
            if not equals or not other.strip():
                raise InputError(
                    f"'@{condition}' is no condition", "", f"write {body}@KEY=VALUE, or put text in double quotes"
                )
            spec = When(other.strip(), tuple(map(_value, _split(values, ","))), spec)
    except InputError as error:
        raise InputError(error.what, _place(key, text), error.fix) from None
    return spec


@dataclass(frozen=True, init=False)
class Space:
    """The axes of a sweep, by dotted key.

    Args:
      specs: by key, or what `spec_of` makes into specs; ``-`` and ``_`` in a key are the same.

    Attributes:
      axes: the specs by key.

    Raises:
      InputError: there is no axis, a condition names none, or one that is sampled, or they go round in a circle.
    """

    axes: Mapping[str, Spec]

    def __init__(self, specs: Mapping[str, Any]):
        axes: dict[str, Spec] = {}
        for spelling, thing in specs.items():
            key = _canonical(spelling)
            if key in axes:
                raise InputError(f"'{key}' is given twice", "in the sweep", "give it once")
            try:
                axes[key] = spec_of(thing)
            except InputError as error:
                raise InputError(error.what, f"{error.where}, for '{key}'", error.fix) from None
        if not axes:
            raise InputError("nothing is swept", "in the sweep", "name an axis, such as seed=0..7")
        object.__setattr__(self, "axes", axes)
        for key in axes:
            self._check_conditions(key)
        self.order  # noqa: B018  # finds circles

    @classmethod
    def parse(cls, texts: Iterable[str]) -> Space:
        """Reads axes as a command line gives them: ``["seed=0..31", "train.learning_rate=1e-4..1e-1:log"]``.

        Raises:
          InputError: one is malformed, or two have the same key.
        """
        axes: dict[str, Spec] = {}
        for given in texts:
            key, equals, text = given.partition("=")
            key = _canonical(key.strip().removeprefix("--"))
            if not equals or not key:
                raise InputError(f"'{given}' names no axis", "in the sweep", "write it as KEY=VALUES: seed=0..31")
            if key in axes:
                raise InputError(f"'{key}' is given twice", f"in '{given}'", "give it once, with all its values")
            axes[key] = parse(key, text)
        return cls(axes)

    def texts(self) -> list[str]:
        """Every axis as text; `parse` makes an equal space of them."""
        return [f"{key}={spec}" for key, spec in self.axes.items()]

    @cached_property
    def order(self) -> tuple[str, ...]:
        """The keys, each after those that its conditions name."""
        try:
            graph = {key: [other for other, _ in conditions(spec)] for key, spec in self.axes.items()}
            return tuple(TopologicalSorter(graph).static_order())
        except CycleError as error:
            circle = " -> ".join(f"'{key}'" for key in error.args[1])
            raise InputError(f"conditions go round: {circle}", "in the sweep", "leave one of them out") from None

    @property
    def sampled(self) -> tuple[str, ...]:
        """Keys of the axes that are sampled."""
        return tuple(key for key, spec in self.axes.items() if spec.listed is None)

    def applies(self, key: str, choices: Mapping[str, Value]) -> bool:
        """Whether an axis counts for a member with these choices so far."""
        return all(
            other in choices and any(same(choices[other], value) for value in values)
            for other, values in conditions(self.axes[key])
        )

    def crossings(self) -> list[dict[str, Value]]:
        """Every combination of listed values, the first axis slowest; keys that do not apply are absent.

        Raises:
          InputError: there are more than a million.
        """
        found: list[dict[str, Value]] = [{}]
        for key in self.order:
            listed = self.axes[key].listed
            if listed is None:
                continue
            if len(found) * len(listed) > MOST:
                raise InputError(
                    f"the listed values have more than {MOST:,} crossings",
                    f"in the sweep, at '{key}'",
                    "sample some of them: 0..1000000:int",
                )
            found = [
                {**choices, **chosen}
                for choices in found
                for chosen in ([{key: value} for value in listed] if self.applies(key, choices) else [{}])
            ]
        return found

    def arranged(self, choices: Mapping[str, Value]) -> dict[str, Value]:
        """The choices in the order of the axes."""
        return {key: choices[key] for key in self.axes if key in choices}

    def check(self, experiment: Experiment) -> Space:
        """Reads every listed value and both ends of every range as the configuration would.

        Args:
          experiment: what is swept.

        Returns:
          The space with values of the types that their fields have: 1 becomes 1.0 for a rate, ``yes`` becomes true, and
          a range has whole numbers where the field has.

        Raises:
          InputError: an unknown key, a value that its field does not take, or ``0..1`` for a field that takes 0.5.
        """
        checked: dict[str, Spec] = {}
        for key in self.order:
            where = _place(key, str(self.axes[key]))
            if key.startswith("task.") and isinstance(experiment.task, Task):
                raise InputError(
                    f"'{key}' cannot be swept: the task is an object of your own", where, "sweep model and training"
                )
            try:
                checked[key] = self._checked(key, experiment, checked)
            except InputError as error:
                raise InputError(error.what, where, error.fix) from None
        return Space({key: checked[key] for key in self.axes})

    def _checked(self, key: str, experiment: Experiment, checked: Mapping[str, Spec]) -> Spec:
        """The spec of an axis as the configuration reads it, the axes that it depends on having been read."""
        when, spec = conditions(self.axes[key]), unconditional(self.axes[key])
        contexts = list(self._contexts(key))

        def read(value: Value) -> Any:
            found = [_read(experiment, key, value, context) for context in contexts]  # each must take it
            return found[0]

        if isinstance(spec, Range):
            spec = _range(spec, read)
        else:
            whole = [value for value in spec.values if type(value) is int]
            if len(whole) == len(spec.values) > 2:  # bounds have no holes: what holds at both ends holds between them
                kind = {type(read(end)) for end in (min(whole), max(whole))}.pop()
                spec = Choice(tuple(map(kind, whole)))
            else:
                spec = Choice(tuple(map(read, spec.values)))
        for other, values in when:
            base = dict(next(self._contexts(other)))
            known = [_read(experiment, other, value, base) for value in values]
            listed = checked[other].listed or ()
            for value in known:
                if not any(same(value, each) for each in listed):
                    close = nearest(spelled(value), map(spelled, listed)) or list(map(spelled, listed[:5]))
                    raise InputError(
                        f"'{other}' is never {spelled(value)}", "", f"its values are {checked[other]}: try {close[0]}"
                    )
            spec = When(other, tuple(known), spec)
        return spec

    def _contexts(self, key: str) -> Iterator[dict[str, Value]]:
        """What else must be chosen for an axis to count: each way in which its own conditions can hold."""
        given = conditions(self.axes[key])
        for values in product(*(values for _, values in given)):
            context: dict[str, Value] = {}
            for (other, _), value in zip(given, values, strict=True):
                context |= {**next(self._contexts(other)), other: value}
            yield context

    def _check_conditions(self, key: str) -> None:
        where = _place(key, str(self.axes[key]))
        for other, _ in conditions(self.axes[key]):
            if other == key:
                raise InputError(f"'{key}' depends on itself", where, "name another axis behind the '@'")
            if other not in self.axes:
                close = nearest(other, self.axes)
                fix = f"did you mean '{close[0]}'?" if close else f"sweep it too: {other}=..."
                raise InputError(f"'{other}' is not swept", where, fix)
            if self.axes[other].listed is None:
                raise InputError(
                    f"'{other}' is sampled, so that no value of it can be named", where, f"list the values of '{other}'"
                )


def conditions(spec: Spec) -> list[tuple[str, tuple[Value, ...]]]:
    """What must hold for a spec to count: keys, each with the values that will do; the innermost first."""
    return [*conditions(spec.then), (spec.key, spec.values)] if isinstance(spec, When) else []


def unconditional(spec: Spec) -> Choice | Range:
    """A spec without its conditions."""
    return unconditional(spec.then) if isinstance(spec, When) else spec


def same(a: Value, b: Value) -> bool:
    """Whether two values are one choice: 1 and 1.0 are, 1 and true are not."""
    return isinstance(a, bool) == isinstance(b, bool) and a == b


def spelled(value: Value) -> str:
    """A value as text that reads back to it."""
    if value is None or isinstance(value, bool):
        return str(value).lower()
    if not isinstance(value, str):
        return repr(value)
    if re.fullmatch(r'[^\s,@"]([^,@"]*[^\s,@"])?', value) and ".." not in value:
        try:
            if _value(value) == value:
                return value
        except InputError:
            pass
    return json.dumps(value).replace('\\"', "\\u0022")  # so that the quotes that are left come in pairs


def _range(spec: Range, read: Any) -> Range:
    """A range with its ends as the configuration reads them."""
    low, high = read(spec.low), read(spec.high)
    if not all(isinstance(end, int | float) and not isinstance(end, bool) for end in (low, high)):
        raise InputError("a range needs a field that takes numbers", "", "list the values, with commas")
    if isinstance(low, int) and isinstance(high, int):
        return Range(low, high, spec.log, True, spec.points)
    if spec.every:
        listed = ",".join(map(str, spec.listed or ())) if spec.high - spec.low < 8 else f"{spec}:{spec.points}"
        raise InputError(
            f"{spec} lists whole numbers, but the field takes those between them too",
            "",
            f"write {low}..{high} to sample the range, or {listed} to list them",
        )
    return spec if spec.integer else Range(low, high, spec.log, False, spec.points)


def _read(experiment: Experiment, key: str, value: Value, context: Mapping[str, Value]) -> Any:
    """A value as the configuration holds it, with the values of `context` set as well.

    Raises:
      InputError: the field does not take it.
    """
    texts = {name: each if isinstance(each, str) else spelled(each) for name, each in {**context, key: value}.items()}
    node: Any = config.override(experiment, texts, where=f"in the sweep of '{key}'")
    for part in key.split("."):
        node = node[part] if isinstance(node, Mapping) else getattr(node, part)
    if not (node is None or isinstance(node, int | float | str | bool)):
        raise InputError(f"'{key}' takes a list, and one choice is one value", "", "sweep another key")
    return node


def _plain(value: Any) -> Value:
    """A value as Python's own type.

    Raises:
      InputError: it is none, or is not finite.
    """
    if hasattr(value, "item") and getattr(value, "ndim", None) == 0:
        value = value.item()
    if not (value is None or isinstance(value, int | float | str | bool)):
        raise InputError(f"{value!r} is no plain value", "in a sweep", "give a number, text, True, False or None")
    if isinstance(value, float) and not math.isfinite(value):
        raise InputError(f"{value!r} is not finite", "in a sweep", "give a finite number")
    return value


def _place(key: str, text: str) -> str:
    """Where an axis was given, shortened if need be."""
    return f"in '{key}={text if len(text) <= 80 else text[:77] + '...'}'"


def _canonical(key: str) -> str:
    return key.replace("-", "_")


def _split(text: str, separator: str) -> list[str]:
    """Parts between separators that stand outside double quotes."""
    return re.split(rf'{separator}(?=(?:[^"]*"[^"]*")*[^"]*$)', text)


def _body(text: str) -> Choice | Range:
    low, dots, rest = text.partition("..")
    high, *flags = rest.split(":")
    ends = low.strip(), high.strip()
    if dots and not re.search(r'[,"]', text) and (any(map(_number, ends)) or not re.search(r"[/\\]", text)):
        return _written_range(*ends, flags)
    return Choice(tuple(map(_value, _split(text, ","))))


def _written_range(low: str, high: str, flags: list[str]) -> Range:
    for name, end in (("lower", low), ("upper", high)):
        if not _number(end):
            what = f"the {name} end '{end}' is no number" if end else f"the {name} end is missing"
            raise InputError(what, "", FORMS)
    start, stop = (int(text) if isinstance(_value(text), int) else float(text) for text in (low, high))
    if not flags and isinstance(start, int) and isinstance(stop, int):
        return Range(start, stop, integer=True, points=stop - start + 1 if start < stop else None)
    given: dict[str, int] = {}
    for flag in map(str.strip, flags):
        name = "points" if flag.isdecimal() else flag
        if name not in ("points", "log", "int"):
            close = nearest(flag, ("log", "int"))
            fix = f"did you mean ':{close[0]}'?" if close else "a range takes :log, :int and a number of points"
            raise InputError(f"':{flag}' says nothing of a range", "", fix)
        if name in given:
            raise InputError(f"':{flag}' comes on top of another", "", "say it once")
        given[name] = int(flag) if flag.isdecimal() else 1
    return Range(start, stop, "log" in given, "int" in given, given.get("points"))


def _number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _value(text: str) -> Value:
    """Reads one listed value."""
    text = text.strip()
    if not text:
        raise InputError("a value is missing", "", 'list values with single commas; empty text is ""')
    if '"' in text:
        try:
            value = json.loads(text)
        except ValueError:
            value = None
        if not isinstance(value, str):
            raise InputError(f"{text} is not text in double quotes", "", 'write "TEXT", with \\u0022 for a quote in it')
        return value
    words: dict[str, Value] = {"none": None, "null": None, "true": True, "false": False}
    if text.lower() in words:
        return words[text.lower()]
    if ".." in text and not re.search(r"[/\\]", text):
        raise InputError(f"'{text}' is a range among listed values", "", "give one range, or list all values")
    for kind in (int, float):
        try:
            return _plain(kind(text))
        except InputError:
            raise InputError(f"'{text}' is not finite", "", "give a finite number") from None
        except ValueError:
            continue
    return text
