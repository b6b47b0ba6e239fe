"""Which unit does what: units are scored and named, averaged, taken away, and credited with what comes later.

`explain` names the units of a model by what its task knows of each step; `score_units` does so for any arrays, with a
null and a bound on the share of false names. `averages` and `around` are what units do by condition and around events,
`neighbours` where else the state is alike. `lesion_atlas` tells what each unit is needed for, `credit` how far back a
loss reaches.
"""

from rnnjax.interpret.averaging import Around, Averages, around, averages, neighbours
from rnnjax.interpret.explaining import Labeller, explain, labelled, own_concept, text_of
from rnnjax.interpret.lesions import Atlas, Credit, credit, lesion_atlas
from rnnjax.interpret.scores import Named, Scores, score_units

__all__ = [
    "Around",
    "Atlas",
    "Averages",
    "Credit",
    "Labeller",
    "Named",
    "Scores",
    "around",
    "averages",
    "credit",
    "explain",
    "labelled",
    "lesion_atlas",
    "neighbours",
    "own_concept",
    "score_units",
    "text_of",
]
