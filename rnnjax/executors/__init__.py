"""How a whole sequence is computed.

An executor is a module with ``refuse(program, operands) -> str | None`` (why it cannot run this, if so) and
``run(program, operands) -> Result``. All of them compute the same numbers; `choose` picks one.
"""

from rnnjax.executors.choose import EXECUTORS, Plan, choose

__all__ = ["EXECUTORS", "Plan", "choose"]
