"""Version of the installed distribution, which holds both packages (standard library alone)."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version


def package_version() -> str:
    """Version of keras-crsae from its metadata; "unknown" in a source tree that is not installed.

    Example:
        >>> from crsae_onnx.core.version import package_version
        >>> isinstance(package_version(), str)
        True
    """
    try:
        return version("keras-crsae")
    except PackageNotFoundError:
        return "unknown"
