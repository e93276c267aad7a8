"""What a user reaches from ``import keras_crsae``: every public name, and nothing else."""

import ast
import importlib
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

import keras_crsae as kc

ROOT = Path(__file__).parents[2]
NAMESPACES = ["keras_crsae", *(f"keras_crsae.{name}" for name in (
    "applications", "applications.denoising", "callbacks", "data", "layers", "metrics", "models", "plots", "zoo"))]


def run(code):
    """Run Python in a process of its own; it must end well and quietly."""
    path = os.pathsep.join((str(ROOT), str(ROOT / "export")))
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True,
                          env={**os.environ, "PYTHONPATH": path, "TF_CPP_MIN_LOG_LEVEL": "3"})
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("name", NAMESPACES)
def test_a_namespace_shows_its_public_names_alone_and_holds_each(name):
    module = importlib.import_module(name)
    assert sorted(module.__all__) == list(module.__all__) == dir(module)
    for public in module.__all__:
        if public == "spikeinterface" and find_spec("spikeinterface") is None:
            continue
        assert getattr(module, public) is not None
    with pytest.raises(AttributeError, match="nonsense"):
        _ = module.nonsense


@pytest.mark.parametrize("name", NAMESPACES)
def test_type_checkers_see_the_names_that_are_imported_late(name):
    module = importlib.import_module(name)
    if not hasattr(module, "__getattr__"):
        pytest.skip("imports its names at once")
    tree = ast.parse(Path(module.__file__).read_text())
    guarded = next(node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    seen = {alias.asname or alias.name: f"{node.module}.{alias.name}" for node in ast.walk(guarded)
            if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert {public for public in seen if not public.startswith("_")} == set(module.__all__)
    for public, path in seen.items():
        source, _, attribute = path.rpartition(".")
        found = importlib.import_module(source)
        value = getattr(found, attribute, None)
        assert getattr(module, public) is (importlib.import_module(path) if value is None else value)


def test_the_names_of_the_design_are_there():
    for name in ("CRsAE", "Denoiser", "FreeNormDictionary", "GammaPrior", "UnitNormFilters", "lambda_max",
                 "load_model_from_zoo", "metrics.dictionary_error", "zoo.names", "layers.SparseCoding", "models.LCSC",
                 "callbacks.SaveProgress", "data.window_batches", "data.record_batches", "data.image_batches",
                 "data.load_images", "data.read_recording", "data.simulate", "applications.denoising.train_denoiser",
                 "applications.denoising.denoise", "applications.spike_sorting.sort"):
        value = kc
        for part in name.split("."):
            value = getattr(value, part)


def test_the_import_loads_neither_keras_nor_tensorflow_and_takes_no_time():
    out = run("import sys, time\nbefore = time.process_time()\nimport keras_crsae as kc\n"
              "kc.zoo, kc.applications, kc.data, kc.layers, kc.models, kc.callbacks\n"
              "print(time.process_time() - before)\n"
              "assert not {'keras', 'tensorflow', 'scipy', 'matplotlib'} & set(sys.modules), 'heavy'\n"
              "assert kc.__version__")
    assert float(out) < 0.1


@pytest.mark.parametrize("missing, code, words", [
    ("keras", "kc.CRsAE", "CRsAE cannot be used: Keras is missing. "
                          "Install it with: pip install 'keras-crsae[train]'"),
    ("tensorflow", "kc.layers.SparseCoding", "keras-crsae[train]"),
    ("sklearn", "from keras_crsae.sklearn import SparseCoder", "keras-crsae[sklearn]"),
    ("matplotlib", "kc.plots.plot_filters(__import__('numpy').ones((8, 1, 2)))", "keras-crsae[plots]"),
    ("PIL", "kc.data.read_image('docs/figures/before-after.png')", "keras-crsae[images]"),
    ("skimage", "kc.data.photographs()", "keras-crsae[images]"),
])
def test_a_missing_package_is_named_with_its_extra(missing, code, words):
    out = run(f"""
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == {missing!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Missing())
import os; os.chdir({str(ROOT)!r})
import keras_crsae as kc
try:
    {code}
except ModuleNotFoundError as error:
    print(error)
""")
    assert words in out
