"""Parts of the benchmark of recordings with drift and hum."""

import numpy as np

from benchmarks import dense_recordings as benchmark


def test_the_recording_holds_templates_of_norm_one_and_the_drift_and_hum_that_are_said():
    recording, templates = benchmark.simulate(windows=8)
    assert recording.shape == (8, benchmark.SAMPLES, 1) and templates.shape == (benchmark.KERNEL, 1, benchmark.FILTERS)
    np.testing.assert_allclose(np.linalg.norm(templates, axis=(0, 1)), 1, atol=1e-6)
    # 12,000 samples at 10 kHz hold 60 periods of 50 Hz
    hum = 2 * np.abs(np.fft.rfft(recording.ravel())[60]) / recording.size
    assert abs(hum - 4) < 0.3
    assert 3 < recording.reshape(-1, 200).mean(axis=1).std() < 7  # means over periods of the hum: the drift
