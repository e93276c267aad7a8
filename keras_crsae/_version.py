"""The version, from the metadata of the installed package; pyproject.toml is where it is written."""

from crsae_onnx.core.version import package_version

__all__ = ["__version__"]

__version__ = package_version()
