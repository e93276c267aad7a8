"""Names of a package that are imported when they are first used (PEP 562), so that ``import`` itself costs nothing.

``after_import`` lets a package follow another one that is imported later.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.util
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType

from crsae_onnx.core.optional import missing_package

#: Actions that wait for the import of a name to end, see ``after_next_name``.
_UNFINISHED: list[Callable[[], object]] = []


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
        unfinished, _UNFINISHED[:] = _UNFINISHED[:], []
        for action in unfinished:
            action()
        return module if source == f"{package}.{name}" else getattr(module, name)

    return get, lambda: list(public)


def after_import(name: str, action: Callable[[], object]) -> None:
    """Call ``action`` once the module ``name`` has been imported: now, where that has happened already.

    Args:
        name: a top-level module.
        action: called once, in the thread that imports.

    Example:
        >>> import sys
        >>> from keras_crsae._lazy import after_import
        >>> after_import("sys", lambda: print("imported"))
        imported
    """
    if name in sys.modules:
        action()
    else:
        sys.meta_path.insert(0, _ImportWatch(name, action))


def after_next_name(action: Callable[[], object]) -> None:
    """Call ``action`` after a name has been imported by ``lazy_names``: what it needs is being imported just now."""
    _UNFINISHED.append(action)


class _ImportWatch(importlib.abc.MetaPathFinder):
    """Finds one module as the others would, and calls a function after it has been executed."""

    def __init__(self, name: str, action: Callable[[], object]) -> None:
        self.name, self.action = name, action

    def find_spec(self, fullname: str, path: Sequence[str] | None = None,
                  target: ModuleType | None = None) -> ModuleSpec | None:
        if fullname != self.name:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        if spec is not None and spec.loader is not None:
            spec.loader = _LoaderThenAction(spec.loader, self.action)
        return spec


class _LoaderThenAction(importlib.abc.Loader):
    """A loader, and a function that is called after it."""

    def __init__(self, loader: importlib.abc.Loader, action: Callable[[], object]) -> None:
        self.loader, self.action = loader, action

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        if module.__spec__ is not None:
            module.__spec__.loader = module.__loader__ = self.loader  # as if nobody had watched
        self.loader.exec_module(module)
        self.action()
