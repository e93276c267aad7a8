"""Names of a package that are imported when they are first used (PEP 562), so that ``import`` itself costs nothing."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping

from crsae_onnx.core.optional import missing_package


def lazy_names(package: str, sources: Mapping[str, str]) -> tuple[Callable[[str], object], Callable[[], list[str]]]:
    """``__getattr__`` and ``__dir__`` of a package.

    Args:
        package: its ``__name__``.
        sources: public name -> the module that defines it; that module itself where it is ``package.name``. Names with
            an underscore in front are found, and not listed.

    Returns:
        The two functions.

    Example:
        >>> from keras_crsae._lazy import lazy_names
        >>> get, names = lazy_names("keras_crsae", {"metrics": "keras_crsae.metrics"})
        >>> get("metrics").__name__, names()
        ('keras_crsae.metrics', ['metrics'])
    """
    public = sorted(name for name in sources if not name.startswith("_"))

    def get(name: str) -> object:
        if name not in sources:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        source = sources[name]
        try:
            module = importlib.import_module(source)
        except ModuleNotFoundError as error:
            raise missing_package(error, f"{package}.{name}") from error
        return module if source == f"{package}.{name}" else getattr(module, name)

    return get, lambda: list(public)
