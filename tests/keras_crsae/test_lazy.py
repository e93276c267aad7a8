"""Names that are imported at first use."""

import pytest

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


def test_a_missing_module_is_named_as_python_names_it():
    get, _ = lazy_names("package", {"name": "there_is_no_such_module"})
    with pytest.raises(ModuleNotFoundError, match="No module named 'there_is_no_such_module'"):
        get("name")
