"""Models that write answers, that have no recurrence, or that begin from nothing; and Keras's rules in training."""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from numpy.testing import assert_allclose, assert_array_equal

from rnnjax.config import InputError
from rnnjax.experiment import Built, Experiment
from rnnjax.layers import EncoderDecoder, FeedForward, ModelConfig, SequenceModel
from rnnjax.sequence import clamp
from rnnjax.tasks import Batch, Drawn
from rnnjax.train import TrainConfig, Trainer, losses, optimizer

DECODERS = ("repeat", "feedback", "attention")
VOCAB, ANSWERS = 5, 3


class Echo(Drawn):
    """The last three of six symbols are to be written."""

    inputs = outputs = VOCAB
    symbols, read, length, answer_steps = True, "answer", 6, ANSWERS

    def batch(self, key: jax.Array, size: int) -> Batch:
        drawn = jax.random.randint(key, (size, self.length), 0, VOCAB)
        return Batch(drawn, drawn[:, -ANSWERS:])


def writer(decoder: str, **options: Any) -> Any:
    values: dict[str, Any] = {"cell": "gru", "units": 4, "decoder": decoder, "decoder_units": 3, **options}
    config = ModelConfig(**values)
    return config.build(VOCAB, VOCAB, read="answer", symbols=True, length=6, answer_steps=ANSWERS, rngs=nnx.Rngs(0))


def tokens(*shape: int, seed: int = 0) -> jax.Array:
    return jnp.asarray(np.random.default_rng(seed).integers(0, VOCAB, shape))


def refusal(call: Any, *args: Any, **options: Any) -> str:
    with pytest.raises(InputError) as caught:
        call(*args, **options)
    return str(caught.value)


def linear(layer: nnx.Linear, values: np.ndarray) -> np.ndarray:
    product = values @ np.asarray(layer.kernel[...], np.float64)
    return product if layer.bias is None else product + np.asarray(layer.bias[...], np.float64)


# -- models that write


def step_by_step(model: EncoderDecoder, inputs: jax.Array, lengths: np.ndarray, answers: Any = None) -> np.ndarray:
    """Logits of a decoder with attention in plain NumPy, reading its own answers unless they are given."""
    read = model.encoder.unroll(inputs, lengths=lengths)
    seen, context = np.asarray(read.outputs, np.float64), model.encoder.last_output(read.state)
    state, before, logits = None, jnp.zeros((len(inputs), VOCAB)), []
    for t in range(model.answer_steps):
        after = model.decoder.unroll(jnp.concatenate([context, before], axis=-1)[:, None], state=state)
        state, h = after.state, np.asarray(after.outputs[:, 0], np.float64)
        scores = np.einsum("bu,btu->bt", linear(model.attention.score, h), seen)
        scores[np.arange(seen.shape[1])[None] >= lengths[:, None]] = -np.inf
        weights = np.exp(scores - scores.max(axis=1, keepdims=True))
        weights /= weights.sum(axis=1, keepdims=True)
        looked = np.einsum("bt,btu->bu", weights, seen)
        h = np.tanh(linear(model.attention.combine, np.concatenate([h, looked], axis=-1)))
        logits.append(linear(model.readout, h))
        chosen = logits[-1].argmax(axis=-1) if answers is None else np.asarray(answers)[:, t]
        before = jax.nn.one_hot(chosen, VOCAB)
    return np.stack(logits, axis=1)


def test_attention_looks_at_the_steps_that_exist_alone():
    model, inputs, lengths = writer("attention"), tokens(4, 6), np.array([6, 3, 1, 5])
    right = tokens(4, ANSWERS, seed=1)
    freely = jax.jit(lambda v: model(v, lengths=lengths))(inputs)
    assert_allclose(freely, step_by_step(model, inputs, lengths), rtol=1e-5, atol=1e-6)
    forced = jax.jit(lambda v, a: model(v, lengths=lengths, answers=a))(inputs, right)
    assert_allclose(forced, step_by_step(model, inputs, lengths, right), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("decoder", [pytest.param("repeat", marks=pytest.mark.slow), *DECODERS[1:]])
def test_fed_with_its_own_answers_a_decoder_gives_the_same(decoder):
    model, inputs = writer(decoder), tokens(5, 6)
    written = jax.jit(model.write)(inputs)
    assert written.shape == (5, ANSWERS)
    forced = jax.jit(lambda v, a: model(v, answers=a))(inputs, written)
    assert_allclose(forced, jax.jit(lambda v: model(v))(inputs), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("cell", ["lstm", pytest.param("elman", marks=pytest.mark.slow)])
def test_what_a_decoder_does_is_recorded(decoder, cell):
    model, inputs = writer(decoder, cell=cell), tokens(2, 6)
    found = model.unroll(inputs, answers=tokens(2, ANSWERS), record=("encoder.0.h", *model.watched))
    assert model.watched == ("decoder.0.h",)
    assert found.recorded["encoder.0.h"].shape == (2, 6, 4)
    assert_array_equal(found.recorded["decoder.0.h"], found.hidden)
    assert found.hidden.shape == (2, ANSWERS, 3)
    assert [layer for layer, _ in found.plan] == [
        "encoder.0",
        *(["decoder.0"] if decoder != "feedback" else ["decoder"]),
    ]


@pytest.mark.parametrize("decoder", DECODERS)
def test_a_decoder_can_be_edited_while_it_writes(decoder):
    model, inputs, answers = writer(decoder), tokens(2, 6), tokens(2, ANSWERS)
    edited = model.unroll(inputs, answers=answers, edit=clamp("decoder.0.h", 0.0), record=("decoder.0.h",))
    assert_array_equal(edited.recorded["decoder.0.h"], np.zeros((2, ANSWERS, 3)))


def test_what_a_writing_model_refuses():
    model, inputs = writer("attention"), tokens(1, 6)
    assert "answers=" in refusal(model.unroll, inputs, record=("decoder.0.h",))
    assert "encoder, decoder" in refusal(model.unroll, inputs, record=("0.h",))
    assert "carried" in refusal(_trainer, Echo(), {"cell": "gru", "units": 4}, carry_state=True)


@pytest.mark.parametrize(
    "decoder", [*(pytest.param(each, marks=pytest.mark.slow) for each in DECODERS[:2]), "attention"]
)
def test_a_writing_model_learns(decoder):
    trainer = _trainer(Echo(), {"cell": "gru", "units": 8, "decoder": decoder}, batch=16, learning_rate=0.02, steps=60)
    chunk = jax.jit(trainer.chunk)
    member = trainer.member(0)
    first = chunk(member, (), 0, 5, True).meter
    last = chunk(chunk(member, (), 0, 55, True), (), 55, 5, True).meter
    assert float(last.nats) < 0.85 * float(first.nats)
    assert int(last.answers) == 5 * 16 * ANSWERS


def test_answers_that_do_not_count_are_left_out():
    class Half(Echo):
        def batch(self, key: jax.Array, size: int) -> Batch:
            batch = super().batch(key, size)
            return dataclasses.replace(batch, counts=jnp.arange(ANSWERS)[None] < jnp.full((size, 1), 2))

    trainer = _trainer(Half(), {"cell": "gru", "units": 4}, batch=4)
    meter = jax.jit(trainer.chunk)(trainer.member(0), (), 0, 1, True).meter
    assert int(meter.answers) == 8


def _trainer(task: Any, model: dict[str, Any], **train: Any) -> Trainer:
    return Built(Experiment(task=task, model=ModelConfig(**model), train=TrainConfig(**train)), task).trainer


# -- models without recurrence


def test_a_feed_forward_network_is_its_matrices():
    config = ModelConfig(cell="feedforward", units=(4, 3), layers=2)
    model = config.build(2, 5, read="last", symbols=False, length=6, rngs=nnx.Rngs(0))
    assert isinstance(model, FeedForward)
    inputs, lengths = jnp.asarray(np.random.default_rng(0).normal(size=(3, 6, 2))), np.array([6, 2, 0])
    found = model.unroll(inputs, lengths=jnp.asarray(lengths), record=("0.h", "1.h"))
    values = np.where((np.arange(6)[None] < lengths[:, None])[..., None], np.asarray(inputs, np.float64), 0)
    first = np.maximum(linear(model.layers[0], values.reshape(3, -1)), 0)
    second = np.maximum(linear(model.layers[1], first), 0)
    assert_allclose(found.recorded["0.h"][:, 0], first, rtol=1e-5, atol=1e-6)
    assert_allclose(found.outputs, linear(model.readout, second), rtol=1e-5, atol=1e-6)
    every = config.build(2, 5, read="every", symbols=False, rngs=nnx.Rngs(0))
    assert every(inputs).shape == (3, 6, 5)
    assert_allclose(every(inputs)[:, 2], every(inputs[:, 2:3])[:, 0], rtol=1e-6)  # each step by itself


def test_a_feed_forward_network_reads_symbols_and_refuses_other_lengths():
    config = ModelConfig(cell="feedforward", units=4, embedding=3)
    model = config.build(VOCAB, 2, read="last", symbols=True, length=6, rngs=nnx.Rngs(0))
    assert model(tokens(2, 6)).shape == (2, 2)
    assert "it reads 6" in refusal(model, tokens(2, 5))
    assert "any length" in refusal(config.build, 2, 2, read="last", symbols=False, rngs=nnx.Rngs(0))
    assert "choose one of: 0.h" in refusal(model.unroll, tokens(2, 6), record=("0.c",))


# -- beginning from nothing


@pytest.mark.parametrize(
    ("embedding", "executor"),
    [(0, "scan"), (3, "fused"), *(pytest.param(*pair, marks=pytest.mark.slow) for pair in ((0, "fused"), (3, "scan")))],
)
def test_the_index_after_the_last_symbol_is_a_zero_vector(embedding, executor):
    config = ModelConfig(cell="lstm", units=4, embedding=embedding, executor=executor)
    model = config.build(VOCAB, VOCAB, read="every", symbols=True, rngs=nnx.Rngs(0))
    assert isinstance(model, SequenceModel)
    inputs = tokens(3, 7).at[:, 0].set(VOCAB).at[1, 3].set(VOCAB)
    if embedding:
        assert model.embedding is not None
        table = jnp.concatenate([model.embedding.embedding[...], jnp.zeros((1, embedding))])
        values = table[inputs]
    else:
        values = jax.nn.one_hot(inputs, VOCAB)
    graph, variables = nnx.split(model)

    def loss(variables, symbols):
        model = nnx.merge(graph, variables)
        outputs = model(inputs) if symbols else model.readout(model.stack(values))
        return jnp.sum(jnp.sin(outputs)), outputs

    given, expected = (jax.value_and_grad(partial(loss, symbols=s), has_aux=True)(variables) for s in (True, False))
    assert_allclose(given[0][1], expected[0][1], rtol=1e-5, atol=1e-6)
    for (path, a), b in zip(jax.tree_util.tree_leaves_with_path(given[1]), jax.tree.leaves(expected[1]), strict=True):
        if "embedding" not in jax.tree_util.keystr(path):
            assert_allclose(a, b, rtol=1e-4, atol=1e-5)


# -- batches of several shapes


class Lengths(Drawn):
    """Batches of three or of five steps, in turn."""

    inputs = outputs = VOCAB
    symbols, length = True, 5

    def shapes(self, split: str) -> int:
        return 2

    def shape_of(self, order: Any, index: Any) -> Any:
        return index % 2

    def take_shaped(self, data: Any, order: Any, index: Any, split: str, size: int, shape: int) -> Batch:
        drawn = jax.random.randint(jax.random.fold_in(order, index), (size, (3, 5)[shape]), 0, VOCAB)
        return Batch(drawn, drawn)

    def batch(self, key: jax.Array, size: int) -> Batch:
        return self.take_shaped((), key, 1, "train", size, 1)


@pytest.mark.slow
def test_batches_of_several_shapes_in_one_program():
    task = Lengths(epoch_steps=4, validation_steps=3)
    trainer = _trainer(task, {"cell": "elman", "units": 4}, batch=2)
    chunk = jax.jit(trainer.chunk)
    member = chunk(trainer.member(0), (), 0, 6, True)
    assert int(member.meter.answers) == 2 * (3 + 5 + 3 + 5 + 3 + 5)
    by_hand = trainer.member(0)
    for step in range(6):
        epoch, index = divmod(step, 4)
        order = trainer.order(by_hand.key, jnp.asarray(epoch))
        by_hand = jax.jit(trainer.step)(by_hand, task.take_shaped((), order, index, "train", 2, index % 2), step)
    for a, b in zip(jax.tree.leaves(member.params), jax.tree.leaves(by_hand.params), strict=True):
        assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    assert int(jax.jit(trainer.evaluate)(member, ()).answers) == 2 * (3 + 5 + 3)
    assert "several shapes" in refusal(_trainer, task, {}, batch=2, residence="host")


# -- Keras's rules


def test_adam_as_keras_computes_it():
    config = TrainConfig(semantics="keras")
    rng = np.random.default_rng(0)
    hyper = {"beta1": jnp.float32(0.9), "beta2": jnp.float32(0.999), "epsilon": jnp.float32(1e-3)}
    rule = optimizer(config, hyper)
    state, mean, square = rule.init({"w": jnp.zeros(4)}), np.zeros(4), np.zeros(4)
    for t in range(1, 6):
        g = rng.normal(size=4)
        mean, square = 0.9 * mean + 0.1 * g, 0.999 * square + 0.001 * g * g
        expected = np.sqrt(1 - 0.999**t) / (1 - 0.9**t) * mean / (np.sqrt(square) + 1e-3)
        moves, state = rule.update({"w": jnp.asarray(g, jnp.float32)}, state)
        assert_allclose(jax.tree.leaves(moves)[0], expected, rtol=1e-4)
    assert float(_trainer(Echo(), {"cell": "gru"}, semantics="keras").hyper()["epsilon"]) == np.float32(1e-7)
    assert float(_trainer(Echo(), {"cell": "gru"}).hyper()["epsilon"]) == np.float32(1e-8)


@pytest.mark.parametrize("read", ["last", "every"])
@pytest.mark.parametrize("semantics", ["rnnjax", "keras"])
def test_what_an_activity_penalty_is_a_mean_over(read, semantics):
    from rnnjax.tasks import arrays

    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(6, 4, 2))
    answers = rng.integers(0, 3, (6,) if read == "last" else (6, 4))
    trainer = _trainer(
        arrays(inputs, answers), {"cell": "elman", "units": 3}, batch=6, activity_l1=0.5, semantics=semantics
    )
    member = trainer.member(0)
    batch = Batch(**{k: jnp.asarray(v) for k, v in trainer.task.data("train").items()})
    prediction = trainer.model(member.params, member.fixed).unroll(batch.inputs)
    total = jnp.asarray(batch.valid().sum()), jnp.asarray(24)
    objective, _ = trainer.objective(member.params, member, None, batch, jax.random.key(0), total)
    penalty = float(objective) - float(jnp.mean(losses(trainer.task, prediction.outputs, batch)[0]))
    size = np.abs(np.asarray(prediction.hidden)).sum(axis=-1)
    returned = size[:, -1] if read == "last" else size.sum(axis=1)  # Keras divides by the rows alone
    assert_allclose(penalty, 0.5 * (returned if semantics == "keras" else size).mean(), rtol=1e-4)
