"""What a model of a text has learnt: its samples beside those of the untrained one, and what surprises it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax.figures.passages import surprise
from rnnjax.generate import generate, score
from rnnjax.looks.base import Sight, Subject
from rnnjax.tasks import Table, Text

PASSAGE = 400  # characters of the passage whose surprises are drawn
PAST = 1000  # characters read before it
SAMPLE = 300  # characters shown of each sample


def look(subject: Subject) -> Iterator[Sight]:
    """Shapes, bits a symbol, samples before and after training, and the surprises of a passage."""
    yield shapes(subject)
    yield bits(subject)
    yield samples(subject)
    yield surprises(subject)


def shapes(subject: Subject) -> Sight:
    """What goes in and what comes out, as one batch of training has it."""
    trainer, task = subject.built.trainer, text_of(subject)
    rows = trainer.config.batch

    def outputs(seed: Any, key: Any) -> Any:
        member, batch = trainer.member(seed), task.batch(key, rows)
        return batch, trainer.model(member.params, member.fixed).unroll(batch.inputs).outputs

    batch, found = jax.eval_shape(outputs, 0, jax.random.key(0))
    listed = [
        ("input: symbols by index", _shape(batch.inputs)),
        ("output: a logit for each symbol that may follow", _shape(found)),
        ("target: the symbol that follows", _shape(batch.targets)),
        ("batches of an epoch", str(trainer.epoch_steps)),
    ]
    return Sight("Shapes of a batch", table=Table("shapes of a batch", ("", "shape"), listed))


def bits(subject: Subject) -> Sight:
    """Bits a symbol of the model, beside those of counting."""
    task, metrics = text_of(subject), subject.summary.get("metrics", {})
    known = [("any symbol, all alike", math.log(task.outputs)), *task.references().items()]
    known += [("the model, in training", metrics.get("loss")), ("the model, held out", metrics.get("validation_loss"))]
    listed = [(name, f"{nats / math.log(2):.3f}", f"{nats:.4f}") for name, nats in known if nats is not None]
    caption = (
        "Entropies are those of the training text itself: what a table of counts comes to that has seen it all. "
        "Trigrams of a short text, or of words, are few enough to be learnt by heart."
    )
    return Sight("Bits a symbol", caption, table=Table("bits a symbol", ("", "bits", "nats"), listed))


def samples(subject: Subject) -> Sight:
    """The same draws from the model before and after training."""
    task, trainer, settings = text_of(subject), subject.built.trainer, subject.built.experiment.sample
    member = jax.jit(trainer.member)(subject.built.experiment.seed)
    untrained = jax.tree.map(jnp.asarray, trainer.model(member.params, member.fixed))
    prompts = settings.prompts or ("\n" if "\n" in task.labels else task.labels[0],)
    tokens = [task.vocabulary.encode(prompt) for prompt in prompts]
    parts = []
    for name, model in (("before training", untrained), ("after training", subject.model)):
        drawn = generate(  # after all prompts, as at the run's end: one program serves both
            model,
            tokens,
            jax.random.key(0),
            length=settings.length,
            temperature=settings.temperature,
            top_k=settings.top_k,
            top_p=settings.top_p,
        )
        parts.append(f"{name}:\n{prompts[0]}{task.decode(drawn.tokens[0])[:SAMPLE]}")
    caption = f"Drawn after {prompts[0]!r} at temperature {settings.temperature}, with the same randomness."
    return Sight("Samples before and after training", caption, text="\n\n".join(parts))


def surprises(subject: Subject) -> Sight:
    """Bits of every symbol of a passage that was held out, or else of the text's start."""
    task = text_of(subject)
    held_out = task.data("validation")
    tokens = task.data("train") if held_out is None else held_out
    past = min(PAST, len(tokens) // 2)
    passage = tokens[: past + PASSAGE].astype(np.int32)
    found = score(subject.model, [passage]).log_probability[0][past - 1 :] / -math.log(2)
    shown = [task.vocabulary.show(int(k)) for k in passage[past:]]
    length = int(np.searchsorted(np.cumsum([len(symbol) for symbol in shown]), PASSAGE, side="right"))
    shown, found = shown[:length], found[:length]
    order = np.argsort(-found)[:3]
    worst = ", ".join(f"{shown[k]!r} {found[k]:.1f}" for k in order)
    where = "training text" if held_out is None else "held-out text"
    caption = (
        f"How surprised the model is by each symbol of a passage of the {where}, having read the {past} before it: "
        f"{found.mean():.2f} bits on the average; most by {worst}."
    )
    return Sight("Surprises of a passage", caption, figure=surprise(shown, found, limit=10.0))


def text_of(subject: Subject) -> Text:
    """The text that the subject was trained on."""
    task = subject.built.task
    assert isinstance(task, Text)
    return task


def _shape(value: Any) -> str:
    return "(" + ", ".join(map(str, value.shape)) + ")"
