"""The version is that of the installed distribution."""

import re
from importlib.metadata import PackageNotFoundError

from crsae_onnx.core import version


def test_the_version_is_the_distributions(monkeypatch):
    assert re.fullmatch(r"\d+\.\d+.*|unknown", version.package_version())

    def missing(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr(version, "version", missing)
    assert version.package_version() == "unknown"
