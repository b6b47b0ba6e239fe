"""A character model of Shakespeare: embedding 256, LSTM 1024, dense; 99,993 symbols in chunks of 101.

The study as it is: chunks in random order, and a state that is carried from batch to batch all the same, never reset.
Of the 20 checkpoints the last two are kept (64 MB each); --train.keep-latest 20 keeps them all.

    rnnjax run shakespeare               20 epochs, 10 minutes on two busy cores, mean loss of the last 1.701
    rnnjax run shakespeare/contiguous    the same text as streams, so that the carried state is the passage's own
    rnnjax run shakespeare/demo          LSTM 256 on all plays: 1,000 steps, 70 s on two cores, held-out loss 1.817
    rnnjax run shakespeare/quick         the same for 500 steps: 47 s with all pictures, held-out loss 2.023
    rnnjax run shakespeare/gru           the demo with a GRU 256
    rnnjax run shakespeare/two_layers    the demo with two layers of LSTM 256
    rnnjax run shakespeare/words         the demo word by word: the 4,999 most frequent words and marks, 600 steps
    rnnjax run shakespeare/whole         LSTM 512 on all plays, 5 million characters, twice over; the last 2 % held out
"""

from rnnjax.experiment import Experiment
from rnnjax.generate import SampleConfig
from rnnjax.layers import ModelConfig
from rnnjax.tasks import TextConfig
from rnnjax.train import TrainConfig

EXPERIMENT = Experiment(
    task=TextConfig(characters=99_993, length=100),
    model=ModelConfig(cell="lstm", units=1024, embedding=256, initializers={"recurrent_kernel": "glorot_uniform"}),
    train=TrainConfig(epochs=20, batch=64, learning_rate=1e-3, epsilon=1e-7, carry_state=True, log_every=5),
    sample=SampleConfig(prompts=("a",), length=500, temperature=0.5),
)

DEMO = {
    "task.characters": 0,
    "task.order": "stream",
    "task.split": 0.02,
    "model.units": 256,
    "model.embedding": 64,
    "train.epochs": 1,
    "train.steps": 1000,
    "train.batch": 32,
    "train.learning_rate": 4e-3,
    "train.schedule": "cosine",
    "train.warmup_steps": 50,
    "train.final_scale": 0.05,
    "train.clip_norm": 1.0,
    "train.forget": 0.05,  # so that it learns to begin from nothing, as a sample does
    "train.log_every": 50,
    "train.checkpoint_every": 100,
    "train.evaluate_every": 250,
    "sample.prompts": ["ROMEO:\n", "To be, or not to be"],
    "record.film": 500,
}

VARIANTS = {
    "contiguous": {"task.order": "stream", "task.split": 0.05},
    "demo": DEMO,
    "quick": DEMO | {"train.steps": 500},
    "gru": DEMO | {"model.cell": "gru"},
    "two_layers": DEMO | {"model.layers": 2},
    "words": DEMO
    | {
        "task.level": "word",
        "task.vocabulary": 5000,
        "task.length": 50,
        "model.embedding": 128,
        "train.steps": 600,
        "train.learning_rate": 3e-3,
        "sample.length": 120,
        "sample.temperature": 0.8,
    },
    "whole": DEMO
    | {
        "model.units": 512,
        "train.epochs": 2,
        "train.steps": None,
        "train.batch": 64,
        "train.learning_rate": 3e-3,
        "train.evaluate_every": 200,
        "train.checkpoint_every": 200,
    },
}
