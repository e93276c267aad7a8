"""Names that are imported at first use."""

import subprocess
import sys

import pytest

from keras_crsae import zoo
from keras_crsae._lazy import after_import, lazy_names


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


def test_an_action_follows_the_import_of_a_module_once(tmp_path, monkeypatch):
    (tmp_path / "watched_module.py").write_text("value = 1")
    monkeypatch.syspath_prepend(tmp_path)
    seen = []
    after_import("watched_module", lambda: seen.append(sys.modules["watched_module"].value))
    assert seen == []
    import watched_module

    assert seen == [1] and type(watched_module.__loader__).__name__ == "SourceFileLoader"
    after_import("watched_module", lambda: seen.append(2))
    assert seen == [1, 2]


#: Runs each argument in a fork of an interpreter that has imported TensorFlow alone, which takes longest.
FORKS = """
import os, sys, traceback
import tensorflow

for code in sys.argv[1:]:
    if not os.fork():
        try:
            exec(code)
            sys.stdout.flush()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    if os.wait()[1]:
        sys.exit(code)
"""
LOAD = f"print(type(keras.saving.load_model({str(zoo.path_of('denoise-gray-25'))!r})).__name__)"


def test_keras_loads_a_saved_model_in_a_fresh_interpreter():
    """Whatever was imported first, and by its name in the zoo where nothing else has imported the model's class."""
    codes = [*(f"{imports}\n{LOAD}" for imports in (
        "import keras_crsae, keras", "import keras, keras_crsae",
        "from keras_crsae.layers import ConvDictionary; import keras",
        "import keras_crsae as kc; kc.callbacks.SaveProgress; import keras")),
        "from keras_crsae import zoo; print(type(zoo.load_model_from_zoo('denoise-gray-25')).__name__)"]
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", FORKS, *codes], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["CDLNet"] * 5


def test_every_class_that_a_file_may_hold_is_registered_by_the_import_of_the_package():
    code = """
import keras_crsae, keras, importlib, pkgutil
before = set(keras.saving.get_custom_objects())
for part in ("layers", "models", "problem", "training", "constraints", "regularizers", "losses"):
    module = importlib.import_module(f"keras_crsae.{part}")
    for each in pkgutil.walk_packages(getattr(module, "__path__", []), f"{module.__name__}."):
        importlib.import_module(each.name)
after = set(keras.saving.get_custom_objects())
print(len(after) > 10, sorted(after - before))"""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "True []", done.stdout + done.stderr
