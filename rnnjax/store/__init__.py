"""What lies on disk: the run folder, and groups of arrays that grow. Orbax and tensorstore live in this room alone."""

from rnnjax.store.arrays import ArrayGroup, Layout
from rnnjax.store.folder import RunFolder, atomic_write, cache_folder, check_name, digest

__all__ = ["ArrayGroup", "Layout", "RunFolder", "atomic_write", "cache_folder", "check_name", "digest"]
