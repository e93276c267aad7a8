"""The version, from the metadata of the installed package; pyproject.toml is where it is written."""

from importlib.metadata import PackageNotFoundError, version

__all__ = ["__version__"]

try:
    __version__ = version("keras-crsae")
except PackageNotFoundError:  # a source tree on the path
    __version__ = "unknown"
