"""What a network makes of words of one letter each: what it draws, how far it is from the source, what its units do."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from rnnjax import figures
from rnnjax.looks.base import Sight, Subject, most_varied
from rnnjax.tasks import Table
from rnnjax.tasks.letter_words import LetterWords
from rnnjax.train import answer_sums, predict

DRAWN = 50  # symbols
QUIET = 0.1  # mean |value| under which a unit's row says nothing, and is left out
MOST_UNITS = 16  # rows that a picture of boxes has room for, those of the units that vary most
FRAMES, FILM_UNITS, FILM_ROWS = 10, 8, 48  # of the film at most: its frames, the units of each, rows in all
FILMED = 60  # symbols of its passage
PASSAGE = 2000  # symbols over which a unit's meaning is measured


def look(subject: Subject) -> Iterator[Sight]:
    """Losses beside the source's own, drawn symbols with what drew them, and what units do, as training goes."""
    yield losses(subject)
    yield from drawn(subject)
    if len(subject.checkpoints) > 1:
        yield film(subject)
    yield meanings(subject)


def losses(subject: Subject) -> Sight:
    """The loss on all targets of each split, beside that of the source's own probabilities on the same targets."""
    task = task_of(subject)
    rows, numbers = [], {"entropy_rate": task.source.entropy_rate}
    for split, name, prefix in (("validation", "held out", "validation_"), ("train", "training", "")):
        if task.data(split) is None:
            continue
        loss, true = measured(subject, split)
        excess = loss / true.mean() - 1
        rows.append((name, f"{len(true):,}", f"{loss:.4f}", f"{true.mean():.4f}", f"{100 * excess:+.2f} %"))
        numbers |= {f"{prefix}true_loss": float(true.mean()), f"{prefix}excess": float(excess)}
    seen = "all of its stream" if carried(subject) else f"at most {task.length} symbols"
    caption = (
        f"Nats a symbol, penalties left out; the source's own loss is that of its true probabilities on the same "
        f"targets, given what the network has seen: {seen}. An endless text costs {task.source.entropy_rate:.4f}."
    )
    heads = ("targets", "count", "loss", "the source's own", "excess")
    return Sight("Losses beside the source's own", caption, table=Table("losses", heads, rows), numbers=numbers)


def measured(subject: Subject, split: str) -> tuple[float, np.ndarray]:
    """The model's mean loss on all targets of a split, and the source's own loss on each of them, in nats."""
    task, train = task_of(subject), subject.built.experiment.train
    size = task.rows(split, train.batch)
    order = task.order(jax.random.key(0), split, size)
    graph, variables = nnx.split(subject.model)

    @jax.jit
    def sums(variables, data, order):
        model = nnx.merge(graph, variables)

        def add(carry, index):
            batch = task.take(data, order, index, split, size)
            prediction = predict(model, batch, carry, None)
            return None if carry is None else prediction.state, answer_sums(task, prediction, batch)[0]

        carry = model.initial_state(size) if train.carry_state else None
        return jax.lax.scan(add, carry, jnp.arange(task.steps(split, size)))[1]

    nats = np.asarray(sums(variables, jnp.asarray(task.data(split)), order), np.float64)
    true = task.true_losses(split, order, carried=train.carry_state)
    return float(nats.sum() / len(true)), true


def drawn(subject: Subject) -> Iterator[Sight]:
    """Symbols drawn from a window of the text on, with the probabilities and the values that drew each."""
    task = task_of(subject)
    graph, variables = nnx.split(subject.model)
    window, key = task.window(), jax.random.key(subject.built.experiment.seed)
    found = draw(graph, carried(subject), DRAWN, variables, jnp.asarray(window), key)
    symbols, probabilities, values = (np.asarray(value, np.float64) for value in found)
    tokens = symbols.astype(np.int64)
    before, after = task.decode(window), task.decode(tokens)
    yield Sight(
        "Drawn text", f"{DRAWN} symbols drawn after a window of the text.", text=f"window: {before}\ndrawn:  {after}"
    )
    names = [task.vocabulary.show(index) for index in range(task.outputs)]
    loud = np.abs(values).mean(axis=0) >= QUIET
    numbers = [unit for unit in most_varied(values, MOST_UNITS) if loud[unit]]
    left_out = values.shape[1] - len(numbers)
    way = (
        "the state is carried on" if carried(subject) else f"each from the last {task.length} symbols and a zero state"
    )
    caption = (
        f"{DRAWN} symbols drawn, {way}. Each box is coloured by the probabilities that its symbol was drawn with; "
        f"under it are the values of the units just before the network reads it."
    )
    if left_out:
        caption += f" {left_out} of {values.shape[1]} units, with a mean magnitude under {QUIET}"
        caption += " or least varied, are left out." if values.shape[1] > MOST_UNITS else ", are left out."
    for safe in (False, True):
        colours = figures.symbol_colours(task.outputs, safe=safe)
        picture = figures.symbol_boxes(
            [names[token] for token in tokens],
            figures.blended(probabilities, colours),
            values.T[numbers],
            key=dict(zip(names, colours, strict=True)),
            key_title="probability of",
            numbers=numbers,
            safe=safe,
        )
        title = "Drawn symbols and units" + (", safe for colour-blind readers" if safe else "")
        yield Sight(title, caption, figure=picture)


@partial(jax.jit, static_argnums=(0, 1, 2))
def draw(
    graph: Any, carried: bool, count: int, variables: Any, window: jax.Array, key: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Draws `count` symbols after `window`; each step reads the last symbols anew, or goes on from a carried state.

    Args:
      graph, variables: the model.
      carried: whether the state goes on; otherwise each step reads the window, slid by one, from the zero state.
      count: symbols to draw.
      window: symbols ``[length]``.
      key: randomness.

    Returns:
      Symbols ``[count]``, and the probabilities ``[count, symbols]`` and values of units ``[count, units]`` that drew
      them: those before the symbol is read.
    """
    model = nnx.merge(graph, variables)

    def after(read):
        return tuple(value[0] if value.ndim == 2 else value[0, -1] for value in (read.outputs, read.shown))

    def step(state, step_key):
        window, carry, (logits, values) = state
        symbol = jax.random.categorical(step_key, logits).astype(window.dtype)
        window = jnp.append(window[1:], symbol)
        read = model.unroll(symbol[None, None], state=carry) if carried else model.unroll(window[None])
        return (window, read.state, after(read)), (symbol, jax.nn.softmax(logits), values)

    first = model.unroll(window[None])
    return jax.lax.scan(step, (window, first.state, after(first)), jax.random.split(key, count))[1]


def film(subject: Subject) -> Sight:
    """The values of the units over the same passage, at several times of training."""
    task = task_of(subject)
    passage = passage_of(task)
    last = values_on(subject, subject.model, passage)
    units = most_varied(last, FILM_UNITS)
    frames = epochs(subject, min(FRAMES, FILM_ROWS // len(units)))
    strips = [values_on(subject, subject.restored(step), passage)[:FILMED, units].T for step, _ in frames]
    picture = figures.film(
        strips,
        names=[name for _, name in frames],
        symbols=[task.vocabulary.show(int(index)) for index in passage[task.length : task.length + FILMED]],
        numbers=units,
    )
    caption = (
        f"The {len(units)} units that vary most, of {last.shape[1]}, while the network reads the same passage, as "
        "training goes on: a unit that means something has the same colour wherever the same thing has been read."
    )
    return Sight("How units come to mean something", caption, figure=picture)


def epochs(subject: Subject, count: int) -> list[tuple[int, str]]:
    """The frames of the film: `count` checkpoints at most, ever further apart, each with its epoch and its loss."""
    steps = sorted(subject.checkpoints)
    places = {0, *np.round(np.geomspace(1, len(steps) - 1, count - 1)).astype(int).tolist()}
    chosen = [steps[place] for place in sorted(places)]
    lines = {row["step"]: row for row in subject.log}
    everywhere = all("validation_loss" in lines.get(step, {}) for step in chosen if step)
    found = []
    for step in chosen:
        name = f"epoch {step / subject.built.trainer.epoch_steps:.2g}" if step else "untrained"
        loss = lines.get(step, {}).get("validation_loss" if everywhere else "loss")
        found.append((step, name if loss is None else f"{name}, loss {loss:.3f}"))
    return found


def meanings(subject: Subject) -> Sight:
    """Which unit's value goes with what: correlations over a passage with what the source itself knows there."""
    task = task_of(subject)
    passage = passage_of(task)
    values = values_on(subject, subject.model, passage)
    beliefs = beliefs_on(task, passage, carried(subject))
    source, read = task.source, passage[task.length :]
    known = source.letters[beliefs] >= 0
    true = source.probabilities[beliefs]
    facts = {"letters since ␣": source.letters[beliefs].astype(np.float64)}
    told = range(task.outputs) if task.outputs <= 4 else [task.labels.index(" ")]
    facts |= {f"read {task.vocabulary.show(index)}": (read == index).astype(np.float64) for index in told}
    facts |= {f"next {task.vocabulary.show(index)}": true[:, index] for index in told}
    facts["unsure"] = -np.sum(true * np.log(np.where(true > 0, true, 1.0)), axis=1)
    rows = []
    for unit in most_varied(values, MOST_UNITS):
        found = {name: correlation(values[known, unit], fact[known]) for name, fact in facts.items()}
        most = max(found, key=lambda name: abs(found[name]))
        size = f"{np.abs(values[:, unit]).mean():.2f}"
        sign = "more with" if found[most] > 0 else "less with"
        rows.append((unit, size, *(f"{value:+.2f}" for value in found.values()), f"{sign} {most}"))
    caption = (
        f"Correlation over {int(known.sum()):,} symbols of each unit's value with letters read since the last space, "
        "the symbol just read, the source's true probability of the next one, and its entropy (unsure)."
    )
    heads = ("unit", "mean |value|", *facts, "in short")
    return Sight("What each unit goes with", caption, table=Table("units", heads, rows))


def task_of(subject: Subject) -> LetterWords:
    """The task, which is one of letter words."""
    assert isinstance(subject.built.task, LetterWords)
    return subject.built.task


def carried(subject: Subject) -> bool:
    """Whether the state goes on from batch to batch, as the text does."""
    return task_of(subject).streams and subject.built.experiment.train.carry_state


def passage_of(task: LetterWords) -> np.ndarray:
    """The beginning of the held-out text, or else of the text: one window, and what is looked at after it."""
    held = task.data("train" if task.data("validation") is None else "validation")
    return held[: task.length + PASSAGE].astype(np.int32)


def values_on(subject: Subject, model: Any, passage: np.ndarray) -> np.ndarray:
    """What the readout reads after every symbol of a passage but its first window: ``[time, units]``."""
    graph, variables = nnx.split(model)
    length = task_of(subject).length
    return np.asarray(_values(graph, carried(subject), length, variables, jnp.asarray(passage)), np.float64)


@partial(jax.jit, static_argnums=(0, 1, 2))
def _values(graph: Any, carried: bool, length: int, variables: Any, passage: jax.Array) -> jax.Array:
    model = nnx.merge(graph, variables)
    if carried:
        return model.unroll(passage[None]).shown[0, length:]
    shown = model.unroll(passage[_windows(length, len(passage))]).shown
    return shown if shown.ndim == 2 else shown[:, -1]


def beliefs_on(task: LetterWords, passage: np.ndarray, carried: bool) -> np.ndarray:
    """The source's belief after the same symbols, given the same past: ``[time]``."""
    if carried:
        return task.source.beliefs(passage[None])[0, task.length :]
    return task.source.beliefs(passage[_windows(task.length, len(passage))])[:, -1]


def _windows(length: int, symbols: int) -> np.ndarray:
    """Where the last `length` symbols are, after each symbol but the first `length`: ``[time, length]``."""
    return np.arange(1, symbols - length + 1)[:, None] + np.arange(length)


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Pearson's; 0 where one of the two never changes."""
    a, b = a - a.mean(), b - b.mean()
    size = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / size if size > 1e-12 else 0.0
