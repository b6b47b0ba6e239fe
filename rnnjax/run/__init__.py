"""Runs: the story of an experiment, and what can be asked of a run afterwards."""

from rnnjax.run.opened import Run, open_run
from rnnjax.run.pages import View
from rnnjax.run.story import NonFinite, resume, run
from rnnjax.run.sweeping import sweep
from rnnjax.signals import Interrupted

__all__ = ["Interrupted", "NonFinite", "Run", "View", "open_run", "resume", "run", "sweep"]
