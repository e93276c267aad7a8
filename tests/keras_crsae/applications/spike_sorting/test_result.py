"""A sorting result, saved and loaded."""

import json

import numpy as np
import pytest
from crsae_onnx.core.errors import FileError

from keras_crsae.applications.spike_sorting import SortingParameters, load_result
from keras_crsae.applications.spike_sorting.result_folder import SETTINGS


def test_a_saved_result_is_loaded_with_equal_fields(saved_folder, sorted_spikes):
    recording, _, result = sorted_spikes
    back = load_result(saved_folder)
    assert len(back.spike_samples) > 80
    for name in ("spike_samples", "spike_units", "spike_amplitudes", "templates", "noise"):
        one, other = getattr(result, name), getattr(back, name)
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)
    for name in ("nbefore", "sampling_frequency", "settings", "parameters", "messages", "history", "channel_locations",
                 "recording_samples"):
        assert getattr(back, name) == getattr(result, name)
    spikes = back.reader.find(back.model.encode, recording)  # the loaded sorter finds the same spikes
    np.testing.assert_array_equal(spikes.peak_sample, result.spike_samples)
    np.testing.assert_array_equal(spikes.unit_id, result.spike_units)
    np.testing.assert_allclose(spikes.peak_value, result.spike_amplitudes, rtol=1e-5)


def test_spike_amplitudes_are_in_the_recordings_unit(sorted_spikes):
    recording, _, result = sorted_spikes
    recorded = recording[result.spike_samples, 0]
    assert np.corrcoef(recorded, result.spike_amplitudes)[0, 1] > 0.8
    np.testing.assert_allclose(np.median(recorded / result.spike_amplitudes), 1, atol=0.1)


def test_settings_and_parameters_are_stored_as_plain_json(saved_folder):
    stored = json.loads((saved_folder / SETTINGS).read_text())
    assert stored["settings"] == {"units": None, "band": None, "common_reference": False, "motion": None,
                                  "seed": 0}
    assert stored["parameters"] == SortingParameters(epochs=1, iterations=30).to_dict()
    assert stored["recording_samples"] == 50000


@pytest.mark.parametrize("change, message", [
    ({"noise": ...}, "has no noise"), ({"parameters": {"no_such": 1}}, "Unknown sorting parameters: no_such"),
    ({"parameters": {"epochs": -1}}, "`epochs` must be"),
])
def test_incomplete_or_unknown_settings_are_refused(folder_copy, change, message):
    stored = json.loads((folder_copy / SETTINGS).read_text()) | change
    (folder_copy / SETTINGS).write_text(json.dumps({k: v for k, v in stored.items() if v is not ...}))
    with pytest.raises(FileError, match=message):
        load_result(folder_copy)


def test_the_text_form_gives_units_spikes_and_rate(sorted_spikes):
    result = sorted_spikes[2]
    assert repr(result) == (f"SpikeSortingResult(2 units, {len(result.spike_samples)} spikes, "
                            f"{len(result.spike_samples) / 5:.1f} a second)")
