"""Units merged, split and removed after sorting."""

import numpy as np
import pytest

from keras_crsae.applications.spike_sorting import load_result
from keras_crsae.applications.spike_sorting.regrouping import regroup


def rows_of(result, unit):
    return np.flatnonzero(result.spike_units == unit)


def test_all_units_kept_is_the_same_result(sorted_spikes):
    result = sorted_spikes[2]
    same = regroup(result, [rows_of(result, 0), rows_of(result, 1)])
    for name in ("spike_samples", "spike_units", "spike_amplitudes", "templates"):
        np.testing.assert_array_equal(getattr(same, name), getattr(result, name))
    for name in ("kernel", "mean_amplitude", "amplitude_cv", "log_odds_against", "peak_offset", "peak_value",
                 "penalty_weight"):
        np.testing.assert_allclose(getattr(same.reader, name), getattr(result.reader, name), rtol=1e-5, atol=1e-6)
    assert same.messages is not result.messages
    np.testing.assert_allclose(same.model.dictionary.kernel, result.model.dictionary.kernel, atol=1e-6)
    np.testing.assert_array_equal(same.model.lambda_reg, result.model.lambda_reg)


def test_a_removed_unit_is_gone_from_model_reader_and_files(sorted_spikes, tmp_path):
    recording, _, result = sorted_spikes
    kept = regroup(result, [rows_of(result, 1)])
    assert kept.num_units == 1 and kept.model.filters == 1 and kept.reader.kernel.shape[2] == 1
    np.testing.assert_array_equal(kept.spike_samples, result.spike_samples[rows_of(result, 1)])
    back = load_result(kept.save(tmp_path / "kept"))
    found = back.reader.find(back.model.encode, recording)
    assert np.isin(kept.spike_samples, found.peak_sample[:, None] + np.arange(-1, 2)).mean() > 0.95


def test_parts_of_a_unit_that_are_merged_again_are_the_unit(sorted_spikes):
    """Split by time, which needs the recording, then merged, which does not."""
    recording, _, result = sorted_spikes
    rows = rows_of(result, 0)
    with pytest.raises(ValueError, match="recording=..."):
        regroup(result, [rows[:30], rows[30:], rows_of(result, 1)])
    split = regroup(result, [rows[:30], rows[30:], rows_of(result, 1)], recording)
    assert split.num_units == 3 and np.bincount(split.spike_units)[0] == 30
    whole, parts = result.reader, split.reader
    for part in (0, 1):
        assert np.sum(parts.kernel[:, :, part] * whole.kernel[:, :, 0]) > 0.97
        assert parts.mean_amplitude[part] == pytest.approx(whole.mean_amplitude[0], rel=0.1)
        assert parts.log_odds_against[part] > whole.log_odds_against[0]
    again = regroup(split, [np.flatnonzero(split.spike_units < 2), np.flatnonzero(split.spike_units == 2)])
    np.testing.assert_array_equal(again.spike_samples, result.spike_samples)
    assert np.sum(again.reader.kernel[:, :, 0] * whole.kernel[:, :, 0]) > 0.99
    assert again.reader.log_odds_against[0] == pytest.approx(whole.log_odds_against[0], abs=0.01)
    assert again.reader.amplitude_cv[0] < 2 * whole.amplitude_cv[0]


def test_templates_are_medians_of_the_new_units_where_the_recording_is_given(sorted_spikes):
    recording, _, result = sorted_spikes
    same = regroup(result, [rows_of(result, 0), rows_of(result, 1)], recording)
    np.testing.assert_allclose(same.templates, result.templates, atol=1e-4)


def test_what_leaves_nothing_or_does_not_fit_is_refused(sorted_spikes):
    recording, _, result = sorted_spikes
    for groups in ([], [rows_of(result, 0), np.zeros(0, int)]):
        with pytest.raises(ValueError, match="No spikes would be left"):
            regroup(result, groups)
    with pytest.raises(ValueError, match="was sorted. Give that one"):
        regroup(result, [rows_of(result, 0)[:9]], recording[:20000])
    with pytest.raises(ValueError, match="Split first"):
        regroup(result, [np.concatenate([rows_of(result, 0)[:9], rows_of(result, 1)])], recording)
