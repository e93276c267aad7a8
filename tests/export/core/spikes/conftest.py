"""A reader of two units, a recording with their spikes, and a stand-in encoder."""

import numpy as np
import pytest
from crsae_onnx.core.spikes.correlations import correlate
from crsae_onnx.core.spikes.detector import SpikeReader
from crsae_onnx.core.spikes.whitening import Whitening

SIZE, SAMPLES = 20, 12_000


@pytest.fixture(scope="session")
def kernel():
    """Two units on one channel, unit norm, (SIZE, 1, 2)."""
    time = np.arange(SIZE)
    narrow, wide = np.exp(-0.5 * ((time - 6) / 1.2) ** 2), np.exp(-0.5 * ((time - 7) / 3.0) ** 2)
    shapes = np.stack([narrow, wide * np.cos(time / 2)], 1)
    return (shapes / np.linalg.norm(shapes, axis=0))[:, None, :].astype(np.float32)


@pytest.fixture(scope="session")
def reader(kernel):
    """Of recordings at 10 kHz with an offset of 100 whose noise is correlated."""
    whitening = Whitening(np.array([[0.5], [0.1], [0.0]]), np.eye(1), [100.0], lead=1)
    return SpikeReader(whitening, kernel, [12.0, 14.0], [0.1, 0.1], [7.0, 7.0], [6, 7], [-50.0, 40.0], 10_000,
                       refractory_s=0.002, frame_samples=700)


@pytest.fixture(scope="session")
def recording(reader, kernel):
    """Raw samples whose whitened form holds known spikes: the whitening is undone by a solve."""
    rng = np.random.default_rng(0)
    white = rng.normal(size=SAMPLES)
    for at in range(100, SAMPLES - 100, 150):
        unit = int(rng.integers(2))
        white[at:at + SIZE] += reader.mean_amplitude[unit] * kernel[:, 0, unit]
    spectrum = np.fft.rfft(np.pad(reader.whitening.taps[:, 0], (0, SAMPLES - 3))) * np.exp(
        2j * np.pi * np.fft.rfftfreq(SAMPLES))
    return (np.fft.irfft(np.fft.rfft(white) / spectrum, SAMPLES) + 100)[:, None]


@pytest.fixture(scope="session")
def encode(kernel):
    """A stand-in encoder: thresholded correlations."""
    def run(pieces):
        return np.stack([np.maximum(correlate(p, kernel).T - 6, 0) for p in pieces])
    return run
