"""What do three neurons learn? An Elman network of 3 units on random words of one letter each: 33 parameters.

The study as it is, beside it 20,000 words that are held out. Losses are compared with that of the source's true
probabilities on the same targets, the activity penalty left out.

    rnnjax run letter_words          31 s on two cores, 50 epochs: held-out loss 3.1 % above the source's own
    rnnjax run letter_words/lstm     LSTM 16 on streams, 4 epochs: 0.12 % above it, on 1,099,200 held-out targets
    rnnjax run letter_words/quick    14 s, 10 epochs at five times the rate: 3.9 % above it
"""

from rnnjax.experiment import Experiment
from rnnjax.layers import ModelConfig
from rnnjax.tasks.letter_words import LetterWordsConfig
from rnnjax.train import TrainConfig

EXPERIMENT = Experiment(
    task=LetterWordsConfig(count=200_000, length=20, stride=20, held_out=20_000),
    model=ModelConfig(cell="elman", units=3),
    train=TrainConfig(
        epochs=50,
        batch=30,
        learning_rate=1e-3,
        activity_l1=1e-4,
        semantics="keras",
        log_every=500,
        keep_latest=51,  # one an epoch and the first: the film of how units come to mean something
    ),
)

VARIANTS = {
    "lstm": {
        "task.held_out": 200_000,
        "task.read": "every",
        "task.order": "stream",
        "task.length": 50,
        "model.cell": "lstm",
        "model.units": 16,
        "train.semantics": "rnnjax",
        "train.activity_l1": None,
        "train.epochs": 4,
        "train.batch": 32,
        "train.learning_rate": 1e-2,
        "train.schedule": "cosine",
        "train.carry_state": True,
        "train.log_every": 229,  # a third of an epoch
        "train.checkpoint_every": 229,
    },
    "quick": {"train.epochs": 10, "train.learning_rate": 5e-3},
}
