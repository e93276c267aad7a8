"""`keras-crsae train --checkpoint`: a stopped training goes on, and a full disk is one line."""

import resource
from pathlib import Path

import keras
import numpy as np
import pytest

import keras_crsae as kc
from keras_crsae.cli import main
from keras_crsae.data.simulate import simulate_spikes, spike_templates
from keras_crsae.models.serialization import load_crsae

TRAIN = ["train", "y.npy", "--filters", "2", "--kernel-size", "15", "--iterations", "5", "--window", "200", "--epochs",
         "3", "--batch-size", "4"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    made = simulate_spikes(spike_templates(15, 2), windows=1, samples=3200, events_per_window=20, seed=1)
    np.save(tmp_path / "y.npy", made.signal[0])
    monkeypatch.chdir(tmp_path)


class Cut(keras.callbacks.Callback):
    """Ends training after its second epoch."""

    def on_epoch_end(self, epoch, logs=None):
        if epoch == 1:
            raise FloatingPointError("Power cut.")


def test_a_stopped_training_goes_on_to_the_same_bits(folder, monkeypatch, capsys):
    assert main([*TRAIN, "--output", "whole.keras"]) == 0
    plain = kc.CRsAE.fit
    monkeypatch.setattr(kc.CRsAE, "fit", lambda self, *given, callbacks, **options:
                        plain(self, *given, callbacks=[*callbacks, Cut()], **options))
    assert main([*TRAIN, "--output", "m.keras", "--checkpoint", "c.keras"]) == 1
    monkeypatch.setattr(kc.CRsAE, "fit", plain)
    assert Path("c.keras").is_file() and not Path("m.keras").exists()
    assert main([*TRAIN, "--output", "m.keras", "--checkpoint", "c.keras"]) == 0
    for a, b in zip(load_crsae("whole.keras").weights, load_crsae("m.keras").weights, strict=True):
        np.testing.assert_array_equal(a, b)
    capsys.readouterr()
    assert main([*TRAIN, "--output", "again.keras", "--checkpoint", "c.keras"]) == 0
    assert "nothing was left to do" in capsys.readouterr().out
    assert main([*TRAIN[:3], "3", *TRAIN[4:], "--output", "other.keras", "--checkpoint", "c.keras"]) == 2
    assert "does not fit this model" in capsys.readouterr().err


def test_an_unfit_checkpoint_is_refused_before_work(folder, capsys):
    assert main([*TRAIN, "--output", "m.keras", "--checkpoint", "none/c.keras"]) == 2
    assert "No folder none" in capsys.readouterr().err


def test_a_full_disk_is_one_line_and_no_half_file(folder, capsys):
    Path("m.keras").write_text("before")
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limit[1]))
    try:
        assert main([*TRAIN, "--output", "m.keras", "--overwrite"]) == 1
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    said = capsys.readouterr().err
    assert "m.keras could not be written (File too large)" in said and "Traceback" not in said
    assert Path("m.keras").read_text() == "before" and sorted(p.name for p in Path().iterdir()) == ["m.keras", "y.npy"]
