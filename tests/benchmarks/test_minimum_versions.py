"""The lowest versions that pyproject.toml allows work."""

import sys
import tomllib

import pytest

from benchmarks import minimum_versions

PROJECT = tomllib.loads((minimum_versions.ROOT / "pyproject.toml").read_text())["project"]


def test_every_requirement_has_a_lowest_version():
    for extra in PROJECT["optional-dependencies"]:
        for requirement in minimum_versions.requirements(PROJECT, (extra,)):
            # Extras of another package, whose version stands beside it.
            if "[" in requirement and "=" not in requirement or extra == "bench":
                continue
            name, _, version = minimum_versions.lowest(requirement).partition("==")
            assert requirement.startswith(name) and version in requirement


def test_a_requirement_without_a_version_is_refused():
    with pytest.raises(ValueError, match="numpy.*no lowest version"):
        minimum_versions.lowest("numpy<2")
    assert minimum_versions.lowest("dask[array]>=2025.1") == "dask==2025.1"


@pytest.mark.slow
def test_the_lowest_versions_fit_save_load_convert_and_run(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["minimum_versions"])
    said = minimum_versions.main()
    assert "numpy 2." in said and "tensorflow 2.21" in said and said.rstrip().endswith("works")
