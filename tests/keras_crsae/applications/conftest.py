"""A whitened signal of three units, and a SpikeInterface recording."""

import numpy as np
import pytest

from keras_crsae.applications.spike_sorting.templates import template_norms

SIZE, RATE = 40, 20_000


@pytest.fixture(scope="session")
def unit_shapes():
    """Two similar units and a different one, on two channels; norms 16, 14 and 9."""
    time = np.arange(SIZE)
    trough, late = np.exp(-0.5 * ((time - 14) / 2.0) ** 2), np.exp(-0.5 * ((time - 20) / 4.0) ** 2)
    waves = np.stack([np.stack([-trough + 0.3 * late, -0.5 * trough], 1), np.stack([-0.8 * trough, -0.9 * trough], 1),
                      np.stack([0.2 * late, late - 0.5 * trough], 1)])
    return waves / template_norms(waves)[:, None, None] * np.array([16.0, 14.0, 9.0])[:, None, None]


@pytest.fixture(scope="session")
def unit_signal(unit_shapes):
    rng = np.random.default_rng(0)
    signal = rng.normal(size=(10 * RATE, 2))
    at = np.sort(rng.choice(np.arange(100, len(signal) - 100), 900, replace=False))
    for t in at:
        signal[t:t + SIZE] += unit_shapes[rng.integers(3)] * (1 + 0.06 * rng.normal())
    return signal.astype(np.float32)


@pytest.fixture
def probe_recording():
    """A quarter of a second, 4 channels, int16 with gains and a probe; in memory only: it cannot be serialised.

    SpikeInterface writes all samples of such a recording as text when it saves it, ten seconds for 5 s.
    """
    si = pytest.importorskip("spikeinterface.core", reason="the extra `spikes` is not installed")
    traces = np.random.default_rng(0).integers(-300, 300, (RATE // 4, 4)).astype(np.int16)
    numpy_recording = si.NumpyRecording([traces], RATE)
    numpy_recording.set_channel_gains([0.5, 1.0, 2.0, 4.0])
    numpy_recording.set_channel_offsets([0.0, 10.0, 0.0, 0.0])
    numpy_recording.set_dummy_probe_from_locations(np.array([[0.0, 0], [20, 0], [0, 20], [20, 20]]))
    return numpy_recording
