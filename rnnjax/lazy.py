"""Packages whose names are imported when they are first used, so that importing the package costs nothing."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Collection, Mapping
from types import ModuleType
from typing import Any


def attached(package: str, homes: Mapping[str, str], modules: Collection[str] = ()) -> Callable[[str], Any]:
    """The `__getattr__` of a package.

    A name that is one of a module of the package too, as `rnnjax.run`, stays what `homes` says: importing that module
    would replace it.

    Args:
      package: its name.
      homes: the module of the package that each name is in, as `HOME`, or `HOME:NAME` where it is called otherwise.
      modules: names of modules that are attributes themselves.
    """

    def found(name: str) -> Any:
        if name in modules:
            return importlib.import_module(f"{package}.{name}")
        if name not in homes:
            raise AttributeError(f"module '{package}' has no attribute '{name}'")
        home, _, own = homes[name].partition(":")
        value = getattr(importlib.import_module(f"{package}.{home}"), own or name)
        vars(sys.modules[package])[name] = value
        return value

    class Package(ModuleType):
        def __setattr__(self, name: str, value: Any) -> None:
            if not (name in homes and isinstance(value, ModuleType)):
                super().__setattr__(name, value)

    sys.modules[package].__class__ = Package
    return found
