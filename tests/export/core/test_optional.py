"""A missing package is named with the extra that brings it."""

import pytest
from crsae_onnx.core.optional import EXTRAS, MissingPackageError, import_optional, install_hint, missing_package


def test_a_package_that_no_extra_brings_is_named_as_python_names_it():
    with pytest.raises(ModuleNotFoundError, match="No module named 'there_is_no_such_module'"):
        import_optional("there_is_no_such_module", "A plot")
    assert install_hint("there_is_no_such_module") is None
    error = ModuleNotFoundError("as it was", name="there_is_no_such_module")
    assert missing_package(error, "A plot") is error


@pytest.mark.parametrize("module", EXTRAS)
def test_every_known_package_is_named_with_an_extra(module):
    error = missing_package(ModuleNotFoundError("no", name=f"{module}.part"), "It")
    assert isinstance(error, MissingPackageError) and error.name == f"{module}.part"
    assert "It cannot be used: " in str(error) and "keras-crsae[" in str(error)


def test_every_extra_of_the_table_is_in_the_project_file():
    import tomllib
    from pathlib import Path

    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())["project"]
    assert {extra for _, extra in EXTRAS.values()} <= set(project["optional-dependencies"])


def test_an_optional_module_is_given_where_it_is_installed():
    assert import_optional("json.decoder", "It").__name__ == "json.decoder"
