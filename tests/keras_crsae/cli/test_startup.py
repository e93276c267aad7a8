"""The command lines start TensorFlow late and quietly."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import keras_crsae as kc

ROOTS = Path(__file__).parents[3], Path(__file__).parents[3] / "export"
SCRIPT = """
import sys
sys.argv = sys.argv[1:]
if sys.argv[0] == "keras-crsae":
    from keras_crsae.cli import main
else:
    from crsae_onnx.cli import main
try:
    status = main()
except SystemExit as end:
    status = end.code
assert ("tensorflow" in sys.modules) == (sys.argv[1] in ("info", "convert") and not status), sorted(sys.modules)
if "tensorflow" in sys.modules:
    import keras_crsae
    assert keras_crsae.CRsAE.__name__ == "CRsAE"  # the public names are there once Keras is
sys.exit(status)
"""


@pytest.fixture(scope="module")
def model_file(tmp_path_factory):
    model = kc.CRsAE(2, 7, iterations=3, lambda_init=0.7, seed=0)
    model.build((None, None, 1))
    path = tmp_path_factory.mktemp("model") / "m.keras"
    model.save(path)
    return path


@pytest.mark.parametrize("arguments, status", [
    ("keras-crsae --help", 0), ("keras-crsae train --help", 0), ("keras-crsae info none.keras", 2),
    ("keras-crsae info m.keras", 0), ("crsae-onnx --help", 0), ("crsae-onnx convert none.keras e.onnx", 2),
    ("crsae-onnx convert m.keras e.onnx", 0)])
def test_help_and_refusals_start_no_tensorflow_and_the_rest_is_quiet(tmp_path, model_file, arguments, status):
    shutil.copy(model_file, tmp_path)
    done = subprocess.run([sys.executable, "-c", SCRIPT, *arguments.split()], capture_output=True, text=True,
                          cwd=tmp_path, env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, ROOTS))})
    assert done.returncode == status, done.stderr
    assert done.stderr.count("\n") == (1 if status else 0), done.stderr
