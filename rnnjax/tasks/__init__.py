"""What networks are trained on: data as pure functions of a key.

A task says what a model reads and answers (`inputs`, `outputs`, `read`, `answers`), and gives batches. Data sets are
device arrays, handed to the compiled program as arguments and indexed inside it; drawn tasks make their batches there.
"""

from rnnjax.tasks.arrays import Arrays, ArraysConfig, arrays
from rnnjax.tasks.base import Batch, Drawn, Table, Task
from rnnjax.tasks.registry import TASKS, choose
from rnnjax.tasks.text import Text, TextConfig

__all__ = [
    "TASKS",
    "Arrays",
    "ArraysConfig",
    "Batch",
    "Drawn",
    "Table",
    "Task",
    "Text",
    "TextConfig",
    "arrays",
    "choose",
]
