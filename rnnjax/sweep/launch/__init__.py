"""Past one process: how the batches of a sweep are shared out, a file an engine.

Each engine is given the folder of a sweep that was prepared, on a file system that all who work on it share. A batch is
trained by one of them at a time, written once, and taken up from its last checkpoint when whoever trained it is gone.
"""

from rnnjax.sweep.launch.actors import Event, ray
from rnnjax.sweep.launch.hosts import distributed
from rnnjax.sweep.launch.jobs import slurm
from rnnjax.sweep.launch.shards import parse_shard, run_shard
from rnnjax.sweep.launch.starting import ENGINES, check, start

__all__ = ["ENGINES", "Event", "check", "distributed", "parse_shard", "ray", "run_shard", "slurm", "start"]
