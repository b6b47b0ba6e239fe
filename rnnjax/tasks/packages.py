"""Data files that ship in installed packages; the packages themselves are never imported."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from rnnjax.config import InputError


def packaged(package: str, file: str, what: str, *, options: str = "") -> Path:
    """A file of an installed package.

    Args:
      package: its name in the registry.
      file: the file's place beside the package's folder.
      what: what the file holds, for the error.
      options: of `pip install`, where the package cannot be installed as it is.

    Raises:
      InputError: the package is not installed, or comes without the file.
    """
    install = f"pip install {options} {package}" if options else f"pip install {package} (or rnnjax[data])"
    try:
        path = Path(str(distribution(package).locate_file(file)))
    except PackageNotFoundError:
        raise InputError(f"{what} are not installed", f"in the package '{package}'", install) from None
    if not path.is_file():
        raise InputError(f"{what} are missing: no {file}", f"in the package '{package}'", f"install another: {install}")
    return path
