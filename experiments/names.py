"""A generator of names, one letter at a time: Elman of 25 units on 54,922 Spanish names, half of them held out.

A name of n letters is n + 1 steps: nothing is read first, a line break is answered last. `exact` is the study as it is:
one name a step of the optimiser, every letter read from the zero state, so that what is learned is which letter follows
which, though the state is carried when names are drawn. All others read the whole name.

    rnnjax run names             17 s on two cores: 2.69 bits a held-out letter, where counts of triples give 2.91
    rnnjax run names/exact       32,000 names one by one: 3.51 bits, where counts of pairs give 3.49; 3.96 as it draws
    rnnjax run names/packed      several names in a row: 0.05 % of the steps are wasted in place of 57 %; 2.69 bits
    rnnjax run names/bucketed    rows of four lengths: 13 % wasted; 2.75 bits, since the names of a batch are alike
    rnnjax run names/lstm        LSTM of 128 units, packed: 26 s, 1.97 bits, and one drawn name in six exists
"""

from rnnjax.experiment import Experiment
from rnnjax.layers import ModelConfig
from rnnjax.tasks.names import NamesConfig
from rnnjax.train import TrainConfig

EXPERIMENT = Experiment(
    task=NamesConfig(),
    model=ModelConfig(cell="elman", units=25),
    train=TrainConfig(epochs=5, batch=32, learning_rate=1e-2, schedule="cosine", semantics="keras", log_every=20),
)

VARIANTS = {
    "exact": {
        "task.independent": True,
        "train.steps": 32_000,
        "train.batch": 1,
        "train.learning_rate": 1e-3,
        "train.schedule": "constant",
        "train.log_every": 640,  # 20 rounds of 32 names
    },
    "packed": {"task.layout": "pack", "train.batch": 6},  # rows, of 32 names together
    "bucketed": {"task.layout": "bucket"},
    "lstm": {
        "model.cell": "lstm",
        "model.units": 128,
        "task.layout": "pack",
        "train.batch": 12,
        "train.learning_rate": 5e-3,
    },
}
