"""Files that the tests of the command line share."""

import numpy as np
import pytest
from crsae_onnx.cli import main

import keras_crsae as kc


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """A model on disk and its export, made by the command line itself."""
    folder = tmp_path_factory.mktemp("cli")
    model = kc.CRsAE(2, 7, iterations=10, lambda_init=0.7, seed=0)
    model.build((None, None, 1))
    model.save(folder / "m.keras")
    signal = (3 * np.random.default_rng(0).standard_normal((1, 250, 1))).astype(np.int16)
    np.save(folder / "y.npy", signal)
    assert main(["convert", str(folder / "m.keras"), str(folder / "e.onnx"), "--inputs", "signal", "sigma",
                 "--loop", "yes"]) == 0
    return folder, model, signal


@pytest.fixture
def files(made, tmp_path):
    """Arguments: the export, the signal, and a function that names an output."""
    folder, model, signal = made
    return str(folder / "e.onnx"), str(folder / "y.npy"), lambda name: str(tmp_path / name), model, signal
