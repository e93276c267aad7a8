"""Sorting results in SpikeInterface's classes."""

import dataclasses

import numpy as np
import pytest

from keras_crsae.applications.spikeinterface.convert import as_sorting, as_templates, empty_sorting

si = pytest.importorskip("spikeinterface.core", reason="the extra `spikes` is not installed")

FS = 20000.0
# SpikeInterface leaves closing the files it writes and maps to the garbage collector.
pytestmark = [pytest.mark.filterwarnings("ignore::ResourceWarning"),
              pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")]


def test_sorting_holds_spikes_and_unit_properties(result):
    result.noise = np.array([1.0, 2.0, 5.0, 4.0])
    sorting = as_sorting(result)
    assert sorting.get_unit_ids().tolist() == [0, 1, 2] and sorting.get_sampling_frequency() == FS
    assert sorting.get_unit_spike_train(0).tolist() == [200, 300]
    assert sorting.get_unit_spike_train(1).tolist() == [100, 150] and not len(sorting.get_unit_spike_train(2))
    assert sorting.get_property("peak_amplitude").tolist() == [-50.0, 30.0, -20.0]
    assert sorting.get_property("best_channel").tolist() == [2, 1, 3]
    assert sorting.get_property("snr").tolist() == [10.0, 15.0, 5.0]
    assert sorting.get_property("num_spikes").tolist() == [2, 2, 0]
    np.testing.assert_allclose(sorting.get_property("median_amplitude"), [1.5, 1.0, np.nan])
    result.noise = None
    assert "snr" not in as_sorting(result).get_property_keys()


def test_segments_are_apart_and_channel_ids_are_the_recordings(result, probe_recording):
    result.segments = [(0, 160), (180, 400)]
    recording = probe_recording.rename_channels(["a", "b", "c", "d"])
    sorting = as_sorting(result, recording)
    trains = [[sorting.get_unit_spike_train(unit, segment_index=segment).tolist() for unit in (0, 1)]
              for segment in (0, 1)]
    assert trains == [[[], [100, 150]], [[20, 120], []]]
    assert sorting.get_property("main_channel_id").tolist() == ["c", "b", "d"]
    none = empty_sorting(si.append_recordings([recording, recording]))
    assert none.get_num_segments() == 2
    assert set(none.get_property_keys()) == set(sorting.get_property_keys()) | {"snr"}
    result.segments = [(0, 400), (420, 500)]  # the last one has no spikes
    assert as_sorting(result).get_num_segments() == 2
    assert none.get_property("main_channel_id").dtype == recording.channel_ids.dtype


def test_a_result_without_units_is_an_empty_sorting(result):
    none = dataclasses.replace(result, spike_samples=np.zeros(0, np.int64), spike_units=np.zeros(0, np.int64),
                               templates=np.zeros((0, 30, 4)))
    assert as_sorting(none).get_num_units() == 0


@pytest.mark.filterwarnings("ignore:The extractor is not serializable")
def test_sorting_survives_saving(result, tmp_path):
    as_sorting(result).save(folder=tmp_path / "sorting")
    loaded = si.load(tmp_path / "sorting")
    assert loaded.get_unit_spike_train(0).tolist() == [200, 300]
    assert loaded.get_property("best_channel").tolist() == [2, 1, 3]


def test_templates_have_probe_channel_ids_and_unit(result, probe_recording):
    probe_recording = probe_recording.rename_channels(["a", "b", "c", "d"])
    converted = as_templates(result, probe_recording)
    assert converted.channel_ids.tolist() == ["a", "b", "c", "d"] and converted.nbefore == 10 and converted.is_in_uV
    np.testing.assert_array_equal(converted.templates_array, result.templates)
    np.testing.assert_array_equal(converted.get_channel_locations(), probe_recording.get_channel_locations())
    assert converted.get_main_channels(peak_sign="both").tolist() == [2, 1, 3]
    by_probe = as_templates(result, probe_recording.get_probe())
    assert by_probe.get_channel_locations().shape == (4, 2) and not by_probe.is_in_uV
    assert as_templates(result).num_channels == 4
    with pytest.raises(ValueError, match="has 2. Give the one that was sorted"):
        as_templates(result, probe_recording.select_channels(["a", "b"]))
