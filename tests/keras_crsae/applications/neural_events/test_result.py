"""Saving and loading."""

import json

import numpy as np
import pytest
from crsae_onnx.core.errors import FileError

from keras_crsae.applications.neural_events.result import load_events
from keras_crsae.applications.neural_events.spike_counts import bin_spikes


def test_a_loaded_result_is_the_saved_one(fitted, trials, tmp_path):
    loaded = load_events(fitted.save(tmp_path / "events"))
    for name in fitted.events.dtype.names:
        np.testing.assert_allclose(loaded.events[name], fitted.events[name], rtol=1e-8)
    np.testing.assert_allclose(loaded.rates, fitted.rates, rtol=1e-6)
    np.testing.assert_array_equal(loaded.kernels, fitted.kernels)
    assert loaded.held_out.gain == fitted.held_out.gain and loaded.parameters == fitted.parameters
    assert loaded.conditions == fitted.conditions and repr(loaded) == repr(fitted)
    assert [one.kernel_ms for one in loaded.candidates] == [one.kernel_ms for one in fitted.candidates]
    again = bin_spikes(trials.spikes[:4], 5)
    assert loaded.find(again).tolist() == fitted.find(again).tolist() != []


def test_other_bins_or_neurons_are_refused(fitted, trials):
    for counts in (bin_spikes(trials.spikes, 10), bin_spikes(trials.spikes[..., :1], 5)):
        with pytest.raises(ValueError, match="Expected bins of 5 ms of 2 neurons"):
            fitted.find(counts)


def test_an_existing_folder_is_kept(fitted, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(FileError, match="holds files"):
        fitted.save(tmp_path)
    fitted.save(tmp_path, overwrite=True)
    assert (tmp_path / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("damage, message", [
    (lambda folder: (folder / "model.keras").unlink(), "has no model.keras"),
    (lambda folder: (folder / "settings.json").write_text("{"), "cannot be read"),
    (lambda folder: (folder / "settings.json").write_text(json.dumps({"format": 99})), "format 99"),
    (lambda folder: (folder / "settings.json").write_text(json.dumps({"format": 1})), "another version"),
    (lambda folder: (folder / "events.csv").write_text("trial\n1\n"), "another version")])
def test_damaged_folders_are_refused(fitted, tmp_path, damage, message):
    folder = fitted.save(tmp_path / "events")
    damage(folder)
    with pytest.raises(FileError, match=message):
        load_events(folder)
