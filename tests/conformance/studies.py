"""The exact studies, whole and small, as Keras networks with batches, and rnnjax's training on the same batches.

`keras` is handed over: this module needs the library only where a network is made.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from peers import Arrays, from_keras

from rnnjax.experiment import load
from rnnjax.tasks.base import Batch, Drawn
from rnnjax.train import Trainer

STEPS = 50


class Made(NamedTuple):
    """A study as Keras has it.

    Attributes:
      network: the Keras model, compiled.
      places: where the weights of each of its layers that has any lie in rnnjax.
      batches: fields of `Batch`, stacked.
      fed: the same batches for Keras, pairs of inputs and targets.
    """

    network: Any
    places: tuple[str, ...]
    batches: Arrays
    fed: list[tuple[np.ndarray, np.ndarray]]

    def weights(self) -> Arrays:
        """The weights of the Keras model, by rnnjax's names of parameters."""
        found = {}
        layers = [layer for layer in self.network.layers if layer.trainable_weights]
        for layer, place in zip(layers, self.places, strict=True):
            kind, arrays = type(layer).__name__, [np.asarray(v.value) for v in layer.trainable_weights]
            if kind in ("SimpleRNN", "LSTM"):
                own = from_keras("lstm" if kind == "LSTM" else "elman", arrays)
            else:
                own = dict(zip(("embedding",) if kind == "Embedding" else ("kernel", "bias"), arrays, strict=True))
            found |= {f"{place}.{key}": value for key, value in own.items()}
        return found

    def losses(self) -> np.ndarray:
        """Trains the Keras model; the loss of each batch, before its step."""
        return np.array([float(self.network.train_on_batch(inputs, targets)) for inputs, targets in self.fed])


def letter_words(keras: Any, rng: np.random.Generator) -> Made:
    """SimpleRNN(3) reads 20 symbols, a softmax of 3 says the next.

    Keras drops the penalty of a SimpleRNN, so it is put on the layer afterwards.
    """
    letters = {" ": 0, "a": 1, "b": 2}
    words = rng.choice(["aa", "bbb", "aaaa", "bbbbb", "aaaaaa", "bbbbbbb"], 8000)
    text = np.array([letters[letter] for letter in " ".join(words)], np.int32)
    starts = rng.permutation((len(text) - 21) // 20)[: STEPS * 30].reshape(STEPS, 30) * 20
    windows = text[starts[..., None] + np.arange(21)]
    recurrent = keras.layers.SimpleRNN(3)
    recurrent.activity_regularizer = keras.regularizers.L1(1e-4)
    return Made(
        _compiled(keras, [keras.Input((20, 3)), recurrent, keras.layers.Dense(3, activation="softmax")]),
        ("stack.layers.0.cell", "readout"),
        {"inputs": windows[..., :20], "targets": windows[..., 20]},
        [(_one_hot(batch[:, :20], 3), _one_hot(batch[:, 20], 3)) for batch in windows],
    )


def addition(keras: Any, rng: np.random.Generator, *, units: int = 100, decoder_units: int = 50) -> Made:
    """An LSTM reads `a+b`; its last output is repeated; a second LSTM and a softmax of 12 write the sum."""
    alphabet = {letter: k for k, letter in enumerate("0123456789+ ")}
    pairs = rng.integers(1, 11, (STEPS, 10, 2))

    def symbols(written: Callable[[int, int], str]) -> np.ndarray:
        return np.array([[[alphabet[x] for x in written(a, b)] for a, b in batch] for batch in pairs], np.int32)

    questions, answers = symbols(lambda a, b: f"{a}+{b}".rjust(5)), symbols(lambda a, b: str(a + b).rjust(2))
    layers = [
        keras.Input((5, 12)),
        keras.layers.LSTM(units),
        keras.layers.RepeatVector(2),
        keras.layers.LSTM(decoder_units, return_sequences=True),
        keras.layers.TimeDistributed(keras.layers.Dense(12, activation="softmax")),
    ]
    return Made(
        _compiled(keras, layers),
        ("encoder.layers.0.cell", "decoder.layers.0.cell", "readout"),
        {"inputs": questions, "targets": answers},
        list(zip(_one_hot(questions, 12), _one_hot(answers, 12), strict=True)),
    )


def names(keras: Any, rng: np.random.Generator, *, symbols: int = 109, units: int = 25) -> Made:
    """A SimpleRNN learns one name a step, as n + 1 rows of length 1, each from the zero state."""
    end = symbols - 1
    letters = [rng.geometric(0.06, rng.integers(3, 9)) % end for _ in range(STEPS)]  # some are frequent
    targets = [np.append(name, end) for name in letters]
    before = [np.append(symbols, target[:-1]) for target in targets]  # before the first letter there is no symbol
    lengths = np.array([len(target) for target in targets], np.int32)

    def row(values: np.ndarray) -> np.ndarray:
        return np.pad(values, (0, lengths.max() - len(values)))[None]

    layers = [
        keras.Input((1, symbols)),
        keras.layers.SimpleRNN(units),
        keras.layers.Dense(symbols, activation="softmax"),
    ]
    return Made(
        _compiled(keras, layers),
        ("stack.layers.0.cell", "readout"),
        {
            "inputs": np.stack([row(values) for values in before]).astype(np.int32),
            "targets": np.stack([row(values) for values in targets]).astype(np.int32),
            "lengths": lengths[:, None],
            "reset": np.ones((STEPS, 1, lengths.max()), bool),
        },
        [(_one_hot(b, symbols)[:, None], _one_hot(t, symbols)) for b, t in zip(before, targets, strict=True)],
    )


def shakespeare(
    keras: Any,
    rng: np.random.Generator,
    *,
    symbols: int = 62,
    embedding: int = 256,
    units: int = 1024,
    batch: int = 64,
    length: int = 100,
) -> Made:
    """Embedding, an LSTM whose state is carried from batch to batch, and logits."""
    cumulative = rng.dirichlet(np.full(symbols, 0.05), symbols).cumsum(-1)  # each symbol has few successors
    text = np.zeros((STEPS * batch, length + 1), np.int32)
    text[:, 0] = rng.integers(0, symbols, len(text))
    for t in range(length):
        drawn = (cumulative[text[:, t]] < rng.random((len(text), 1))).sum(-1)
        text[:, t + 1] = np.minimum(drawn, symbols - 1)
    chunks = text.reshape(STEPS, batch, length + 1)
    recurrent = keras.layers.LSTM(units, return_sequences=True, stateful=True, recurrent_initializer="glorot_uniform")
    layers = [
        keras.Input(batch_shape=(batch, length), dtype="int32"),
        keras.layers.Embedding(symbols, embedding),
        recurrent,
        keras.layers.Dense(symbols),
    ]
    network = _compiled(keras, layers, keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    keep_state(recurrent)
    inputs, targets = chunks[..., :-1], chunks[..., 1:]
    return Made(
        network,
        ("embedding", "stack.layers.0.cell", "readout"),
        {"inputs": inputs, "targets": targets},
        list(zip(inputs, targets, strict=True)),
    )


def keep_state(layer: Any) -> None:
    """Makes a stateful layer's state one of its variables, which Keras forgets to do.

    Without it no batch on JAX begins with the state that the one before ended with; a test states that fault.
    """
    layer._tracker.unlock()
    for variable in layer.states:
        layer._track_variable(variable)
    layer._tracker.lock()


def _compiled(keras: Any, layers: list[Any], loss: Any = "categorical_crossentropy") -> Any:
    model = keras.Sequential(layers)
    model.compile(optimizer="adam", loss=loss)
    return model


def _one_hot(symbols: np.ndarray, count: int) -> np.ndarray:
    """Rows of one-hot vectors; the symbol `count` gives a row of zeros."""
    return np.eye(count + 1, count, dtype=np.float32)[symbols]


class Study(NamedTuple):
    """A study for both libraries.

    Attributes:
      make: makes it for Keras.
      preset: rnnjax's experiment, whose network and training are used.
      read: what of the steps is answered.
      parameters: how many both must have.
      options: sizes, for `make`.
      overrides: the same sizes, for the experiment.
    """

    make: Callable[..., Made]
    preset: str
    read: str
    parameters: int
    options: Mapping[str, int] = {}
    overrides: Mapping[str, Any] = {}


STUDIES = {
    "letter_words": Study(letter_words, "letter_words", "last", 33),
    "addition": Study(addition, "addition", "answer", 76_012),
    "names": Study(names, "names/exact", "every", 6_209),
    "shakespeare": Study(shakespeare, "shakespeare", "every", 5_326_398),
    "addition-small": Study(
        addition,
        "addition",
        "answer",
        1_980,
        {"units": 12, "decoder_units": 8},
        {"model.units": 12, "model.decoder_units": 8},
    ),
    "names-small": Study(names, "names/exact", "every", 302, {"symbols": 20, "units": 6}, {"model.units": 6}),
    "shakespeare-small": Study(
        shakespeare,
        "shakespeare",
        "every",
        13_780,
        {"symbols": 20, "embedding": 16, "units": 48, "batch": 8, "length": 25},
        {"model.embedding": 16, "model.units": 48, "train.batch": 8},
    ),
}


class Given(Drawn):
    """A task of batches that are given."""

    symbols = True

    def __init__(self, batches: Mapping[str, np.ndarray], *, symbols: int, read: str):
        super().__init__(epoch_steps=STEPS)
        self.inputs = self.outputs = symbols
        self.read, self.length = read, batches["inputs"].shape[-1]
        self.answer_steps = batches["targets"].shape[-1] if read == "answer" else 0
        whole: Any = {k: v if v.dtype == bool else v.astype(np.int32) for k, v in batches.items()}
        self._batches: Any = Batch(**whole)  # every field with an axis before its own

    def data(self, split):
        return self._batches if split == "train" else None

    def order(self, key, split, size):
        return ()

    def take(self, data, order, index, split, size):
        return jax.tree.map(lambda values: values[index], data)

    def batch(self, key, size):
        return self.take(self._batches, (), 0, "train", size)


def train(
    study: Study,
    batches: Mapping[str, np.ndarray],
    weights: Mapping[str, np.ndarray],
    *,
    compiler_options: dict[str, Any] | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> tuple[np.ndarray, Arrays]:
    """Trains rnnjax's experiment with Keras's semantics, from these weights.

    Args:
      study: the study.
      batches: fields of `Batch`, stacked.
      weights: by name of the parameter.
      compiler_options: of the program that trains.
      overrides: of the experiment.

    Returns:
      The objective of each batch, before its step; and the weights at the end.
    """
    alike = {"train.steps": STEPS, "train.semantics": "keras", "train.epsilon": None}
    experiment = load(study.preset, {**study.overrides, **alike, **(overrides or {})})
    task = Given(batches, symbols=len(weights["readout.bias"]), read=study.read)

    def make(rngs: nnx.Rngs) -> Any:
        shape = {"read": task.read, "symbols": True, "length": task.length, "answer_steps": task.answer_steps}
        return experiment.model.build(task.inputs, task.outputs, rngs=rngs, **shape)

    trainer = Trainer(task, make, experiment.train)
    abstract = jax.eval_shape(trainer.member, 0).params
    held = {".".join(map(str, path)): (path, v) for path, v in nnx.to_flat_state(nnx.State(abstract))}
    assert {name: value.shape for name, (_, value) in held.items()} == {k: np.shape(v) for k, v in weights.items()}
    params = nnx.from_flat_state([(path, jnp.asarray(weights[name])) for name, (path, _) in held.items()])
    begin = jax.jit(lambda params: dataclasses.replace(trainer.member(0), params=params))  # none of its own are drawn
    member = begin(nnx.to_pure_dict(params))
    chunk = jax.jit(trainer.chunk, compiler_options=compiler_options)
    data, objectives = jax.device_put(task.data("train")), []
    for step in range(STEPS):
        member = chunk(member, data, np.int32(step), np.int32(1), np.bool_(True))
        objectives.append(float(member.meter.objective))
    end = {".".join(map(str, path)): np.asarray(v) for path, v in nnx.to_flat_state(nnx.State(member.params))}
    return np.array(objectives), end
