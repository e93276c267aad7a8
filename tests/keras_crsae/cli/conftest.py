"""Files that the command line wrote, for its tests."""

import types

import numpy as np
import pytest

import keras_crsae as kc
from keras_crsae.cli import main
from keras_crsae.data.images import write_image
from keras_crsae.data.simulate import simulate_spikes, spike_templates

SIGNALS = ["--filters", "3", "--kernel-size", "21", "--iterations", "15", "--window", "300", "--epochs", "3",
           "--batch-size", "8"]


@pytest.fixture(scope="module")
def recording():
    """int16, (samples,): three units, noise of standard deviation 50."""
    made = simulate_spikes(spike_templates(21, 3), windows=1, samples=9000, events_per_window=45, seed=1)
    return np.round(50 * made.signal[0, :, 0]).astype("int16")


@pytest.fixture(scope="module")
def scene():
    """(48, 56): edges and texture, in gray levels of 0..255."""
    rows, columns = np.mgrid[:48, :56]
    return 90 + 60 * ((rows // 12 + columns // 14) % 2) + 20 * np.sin(columns / 2)


@pytest.fixture(scope="module")
def photo(scene):
    """The scene as uint8 with noise of standard deviation 20."""
    noise = 20 * np.random.default_rng(0).standard_normal(scene.shape)
    return np.clip(np.rint(scene + noise), 0, 255).astype("uint8")


@pytest.fixture(scope="module")
def files(tmp_path_factory, recording, photo):
    """A folder with a recording, a photograph and a model of each, all made by the command line."""
    folder = tmp_path_factory.mktemp("cli")
    np.save(folder / "y.npy", recording)
    write_image(folder / "photo.png", photo)
    assert main(["train", str(folder / "y.npy"), "--output", str(folder / "m.keras"), *SIGNALS]) == 0
    assert main(["train", str(folder / "photo.png"), "--output", str(folder / "photo.keras"), "--filters", "6",
                 "--kernel-size", "5", "--iterations", "6", "--window", "20x24", "--limit", "24", "--sigma", "20",
                 "--init", "dct", "--epochs", "2"]) == 0
    return folder


@pytest.fixture
def no_fit(monkeypatch):
    """Skip the training itself, where only what comes before and after it matters; gives the data it got."""
    got = []

    def fit(self, data, epochs, **_):
        got.append(data)
        return types.SimpleNamespace(history={name: [1.0] * epochs for name in (
            "loss", "reconstruction_loss", "lambda_loss", "sparsity", "sigma")})

    monkeypatch.setattr(kc.CRsAE, "fit", fit)
    return got


@pytest.fixture
def inside(files, tmp_path, monkeypatch):
    """Work in an empty folder; ``files`` are reached by their full names."""
    monkeypatch.chdir(tmp_path)
    return files


@pytest.fixture
def refused(capsys):
    """Run a command that must be refused, and give the one line that it prints."""
    def run(*arguments):
        capsys.readouterr()
        try:
            status = main([str(a) for a in arguments])
        except SystemExit as stop:
            status = stop.code
        out, err = capsys.readouterr()
        assert status == 2 and out == "" and err.startswith("keras-crsae") and err.count("\n") == 1
        return err

    return run


@pytest.fixture(scope="session")
def disc():
    """(48, 48) in [0, 1]: waves and a disc."""
    rows, columns = np.mgrid[:48, :48] / 48
    return 0.5 + 0.25 * np.sin(20 * rows + 9 * columns) + 0.2 * ((rows - 0.5) ** 2 + (columns - 0.5) ** 2 < 0.08)
