"""Names that are imported at first use, and what is said where a package is missing."""

import pytest

from keras_crsae._extras import EXTRAS, import_optional, install_hint, missing_package
from keras_crsae._lazy import lazy_names


def test_a_name_is_imported_when_it_is_used():
    get, names = lazy_names("package", {"fraction": "fractions", "Fraction": "fractions", "_hidden": "fractions"})
    assert names() == ["Fraction", "fraction"]
    assert get("Fraction").__name__ == "Fraction"


def test_the_name_of_a_module_of_the_package_is_that_module():
    get, _ = lazy_names("json", {"decoder": "json.decoder"})
    assert get("decoder").__name__ == "json.decoder"


def test_a_function_may_have_the_name_of_its_module():
    get, _ = lazy_names("package", {"glob": "glob"})
    assert callable(get("glob"))


def test_other_names_are_attribute_errors():
    get, _ = lazy_names("package", {})
    with pytest.raises(AttributeError, match="module 'package' has no attribute 'other'"):
        get("other")


def test_a_package_that_no_extra_brings_is_named_as_python_names_it():
    get, _ = lazy_names("package", {"name": "there_is_no_such_module"})
    with pytest.raises(ModuleNotFoundError, match="No module named 'there_is_no_such_module'"):
        get("name")
    assert install_hint("there_is_no_such_module") is None
    error = ModuleNotFoundError("as it was", name="there_is_no_such_module")
    assert missing_package(error, "A plot") is error


@pytest.mark.parametrize("module", EXTRAS)
def test_every_known_package_is_named_with_an_extra(module):
    error = missing_package(ModuleNotFoundError("no", name=f"{module}.part"), "It")
    assert error.name == f"{module}.part" and "It cannot be used: " in str(error) and "keras-crsae[" in str(error)


def test_every_extra_of_the_table_is_in_the_project_file():
    import tomllib
    from pathlib import Path

    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    assert {extra for _, extra in EXTRAS.values()} <= set(project["optional-dependencies"])


def test_an_optional_module_is_given_where_it_is_installed():
    assert import_optional("json.decoder", "It").__name__ == "json.decoder"
