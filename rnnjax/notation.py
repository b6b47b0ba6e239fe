"""The one table of axis names, and the array types made from it.

Every array in rnnjax is described by the axes of this table, in its annotations, its docstrings and its errors.
Inside the engine sequences are time-major, ``[time, batch, units]``; at the public edge they are batch-major,
``[batch, time, units]``, unless ``time_major=True`` is asked for.
"""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Any

AXES = {
    "member": "models of a population, trained side by side",
    "batch": "independent sequences",
    "time": "steps of a sequence, indexed by the position of the input",
    "input": "features of one input step",
    "units": "units of a recurrent layer",
    "gates": "the gates of a cell side by side, each `units` wide, in the stored order of the cell",
    "vocab": "distinct symbols",
}

if TYPE_CHECKING or importlib.util.find_spec("jaxtyping"):
    from jaxtyping import Array, Bool, Float, Int

    Inputs = Float[Array, "time batch input"]
    """What a layer reads: ``[time, batch, input]``."""
    Tokens = Int[Array, "time batch"]
    """Symbols by index: ``[time, batch]``."""
    Outputs = Float[Array, "time batch _"]
    """What a layer gives at every step: ``[time, batch, units]`` for most cells."""
    StepMask = Bool[Array, "time batch"]
    """One truth value a step and row: ``[time, batch]``."""
    RowMask = Bool[Array, "batch"]
    """One truth value a row: ``[batch]``."""
    Table = Float[Array, "vocab gates"]
    """The input part of every gate for each symbol: ``[vocab, gates]``."""
    Field = Float[Array, "batch _"]
    """One named quantity at one step: ``[batch, units]`` for most cells."""
    Gate = Float[Array, "*time batch units"]
    """A gate at one step, ``[batch, units]``, or at all steps, ``[time, batch, units]``."""
    Operand = Float[Array, "batch operand"]
    """The left-hand side of a matrix product at one step: ``[batch, units]`` for most cells."""
else:  # annotations alone use these names: an accelerator box may lack jaxtyping
    Inputs = Tokens = Outputs = StepMask = RowMask = Table = Field = Gate = Operand = Any

State = dict[str, Field]
"""The state of a layer by name (`h`, `c`, ...), each field ``[batch, units]``."""
