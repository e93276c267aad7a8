"""Whitened waveforms of a result's spikes."""

import numpy as np

from keras_crsae.applications.spike_sorting.spike_waveforms import (
    code_amplitudes,
    spike_waveforms,
    spread_rows,
    start_samples,
)


def test_waveforms_are_templates_in_white_noise(sorted_spikes):
    recording, _, result = sorted_spikes
    for unit in range(2):
        rows = np.flatnonzero(result.spike_units == unit)
        waves = spike_waveforms(result, recording, rows)
        kernel = result.reader.kernel[:, :, unit]
        noise = waves - code_amplitudes(result)[rows, None, None] * kernel
        assert waves.shape == (len(rows), *kernel.shape) and abs(noise.std() - 1) < 0.15
        assert np.corrcoef(waves.mean(axis=0).ravel(), kernel.ravel())[0, 1] > 0.98
    assert (start_samples(result) <= result.spike_samples).all()


def test_few_stretches_of_a_long_recording_are_read(sorted_spikes):
    _, _, result = sorted_spikes
    rows = spread_rows(result, 0, most=20, pieces=60)
    assert len(rows) == 20 and (result.spike_units[rows] == 0).all() and (np.diff(rows) > 0).all()
    few = spread_rows(result, 0, most=1000, pieces=1)
    assert 0 < len(few) < np.sum(result.spike_units == 0)  # 50,000 samples are more than one stretch
