"""Names of a package that are imported when they are first used (PEP 562), so that ``import`` itself costs nothing."""

import importlib
from collections.abc import Callable, Mapping


def lazy_names(package: str, sources: Mapping[str, str]) -> tuple[Callable[[str], object], Callable[[], list[str]]]:
    """``__getattr__`` and ``__dir__`` of a package.

    Args:
        package: its ``__name__``.
        sources: public name -> the module that defines it; a name whose module ends with it is that module.

    Example:
        >>> get, names = lazy_names("keras_crsae", {"metrics": "keras_crsae.metrics"})
        >>> get("metrics").__name__, names()
        ('keras_crsae.metrics', ['metrics'])
    """

    def get(name: str) -> object:
        if name not in sources:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        source = sources[name]
        try:
            module = importlib.import_module(source)
        except ModuleNotFoundError as error:
            missing = error.name or ""
            if missing.split(".")[0] in ("keras", "tensorflow"):
                raise ModuleNotFoundError(f"{package}.{name} needs Keras and TensorFlow. Install them with: "
                                          "pip install 'keras-crsae[train]'", name=missing) from error
            raise
        return module if source.rpartition(".")[2] == name else getattr(module, name)

    return get, lambda: sorted(sources)
