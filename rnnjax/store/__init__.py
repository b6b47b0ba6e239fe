"""What lies on disk: the run folder, and groups of arrays that grow. Orbax and tensorstore live in this room alone."""

from rnnjax.store.arrays import ArrayGroup, Layout
from rnnjax.store.folder import (
    SWEEP_FILE,
    RunFolder,
    atomic_write,
    cache_folder,
    check_name,
    digest,
    is_sweep,
    keep_compiled,
)

__all__ = [
    "SWEEP_FILE",
    "ArrayGroup",
    "Layout",
    "RunFolder",
    "atomic_write",
    "cache_folder",
    "check_name",
    "digest",
    "is_sweep",
    "keep_compiled",
]
