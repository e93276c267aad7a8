"""Packages of an extra, imported where they are used (standard library)."""

import importlib
from types import ModuleType


class MissingPackageError(ModuleNotFoundError):
    """A package is not installed; the message names the extra that brings it."""


def import_optional(name: str, extra: str, purpose: str) -> ModuleType:
    """A module of a package that an extra brings.

    Args:
        name: of the module, such as "dask.array".
        extra: of keras-crsae, such as "cluster".
        purpose: what needs it, the subject of the error's sentence.

    Raises:
        MissingPackageError: it, or a package that it imports, is not installed.

    Example:
        >>> import_optional("json", "export", "Conversion").__name__
        'json'
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise MissingPackageError(f"{purpose} needs the package {error.name}. Install it with: "
                                  f"pip install 'keras-crsae[{extra}]'", name=error.name) from error
