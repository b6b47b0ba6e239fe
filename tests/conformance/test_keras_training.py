"""The exact studies trained step for step beside Keras: the same weights at the start and batches, 50 steps of Adam.

What is compared is the loss that each of the two reports for every batch, penalty included, before its step. Network
and training are those of the experiment that `rnnjax run` runs; the data is made here.
"""

from __future__ import annotations

import numpy as np
import pytest
from studies import STUDIES, keep_state, train

pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("as_installed"),
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning:keras"),
]

TOLERANCE = 1e-4  # of the loss
WAY = 0.01  # of the way that the weights went


def made(keras, name):
    keras.utils.set_random_seed(0)
    study = STUDIES[name]
    return study, study.make(keras, np.random.default_rng(0), **study.options)


def norm(weights):
    return np.sqrt(sum(np.sum(np.square(value, dtype=np.float64)) for value in weights.values()))


@pytest.mark.parametrize("name", STUDIES)
def test_fifty_steps_beside_keras(keras, name, record_property, capsys):
    study, there = made(keras, name)
    start = there.weights()
    assert sum(value.size for value in start.values()) == study.parameters
    ours, ours_after = train(study, there.batches, start)
    theirs, theirs_after = there.losses(), there.weights()
    difference = float(np.max(np.abs(ours - theirs) / theirs))
    moved = norm({key: theirs_after[key] - start[key] for key in start})
    apart = norm({key: theirs_after[key] - ours_after[key] for key in start}) / moved
    record_property("largest difference", difference)
    with capsys.disabled():
        print(f"\n{name}: loss {theirs[0]:.4f} to {theirs[-1]:.4f}, largest relative difference {difference:.2g};")
        print(f"the weights end apart by {apart:.2g} of the way they went")
    assert difference <= TOLERANCE
    assert apart <= WAY


def test_fault_a_stateful_layer_carries_nothing_from_batch_to_batch(keras):
    """`stateful=True` on Keras's JAX backend: `fit`, `predict` and `train_on_batch` begin every batch from zero.

    Its state is among no layer's variables, so that a compiled step drops what becomes of it. Called by itself the
    layer does carry its state, and so do the steps of the TensorFlow backend.
    """
    layer = keras.layers.LSTM(4, stateful=True)
    network = keras.Sequential([keras.Input(batch_shape=(2, 3, 5)), layer])
    network.compile(optimizer=keras.optimizers.SGD(0.0), loss="mse")
    inputs, targets = np.ones((2, 3, 5), np.float32), np.zeros((2, 4), np.float32)
    assert not any(variable is state for variable in network.variables for state in layer.states)
    assert len({float(network.train_on_batch(inputs, targets)) for _ in range(3)}) == 1
    np.testing.assert_array_equal(network.predict_on_batch(inputs), network.predict_on_batch(inputs))
    first, second = np.asarray(layer(inputs)), np.asarray(layer(inputs))
    assert np.abs(first - second).max() > 0.01
    layer.reset_state()
    keep_state(layer)
    network.compile(optimizer=keras.optimizers.SGD(0.0), loss="mse")
    assert len({float(network.train_on_batch(inputs, targets)) for _ in range(3)}) == 3


def test_the_two_semantics_of_a_penalty_are_told_apart(keras):
    """A large penalty on `letter_words`: as Keras means it, of the last output; as rnnjax does, a mean over steps."""
    study, there = made(keras, "letter_words")
    there.network.layers[0].activity_regularizer = keras.regularizers.L1(0.1)
    start, theirs = there.weights(), float(there.network.train_on_batch(*there.fed[0]))
    strong = {"train.activity_l1": 0.1}
    alike, own = (
        train(study, there.batches, start, overrides=strong | {"train.semantics": semantics})[0][0]
        for semantics in ("keras", "rnnjax")
    )
    assert abs(alike / theirs - 1) < 1e-6
    assert abs(own / theirs - 1) > 1e-3
