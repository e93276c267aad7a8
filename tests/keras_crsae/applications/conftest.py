"""A whitened signal of three units, for the modules that find them."""

import numpy as np
import pytest

from keras_crsae.applications.spike_sorting.templates import norms

SIZE, RATE = 40, 20_000


@pytest.fixture(scope="session")
def unit_shapes():
    """Two like units and one apart, on two channels; norms 16, 14 and 9."""
    time = np.arange(SIZE)
    trough, late = np.exp(-0.5 * ((time - 14) / 2.0) ** 2), np.exp(-0.5 * ((time - 20) / 4.0) ** 2)
    waves = np.stack([np.stack([-trough + 0.3 * late, -0.5 * trough], 1), np.stack([-0.8 * trough, -0.9 * trough], 1),
                      np.stack([0.2 * late, late - 0.5 * trough], 1)])
    return waves / norms(waves)[:, None, None] * np.array([16.0, 14.0, 9.0])[:, None, None]


@pytest.fixture(scope="session")
def unit_signal(unit_shapes):
    rng = np.random.default_rng(0)
    signal = rng.normal(size=(10 * RATE, 2))
    at = np.sort(rng.choice(np.arange(100, len(signal) - 100), 900, replace=False))
    for t in at:
        signal[t:t + SIZE] += unit_shapes[rng.integers(3)] * (1 + 0.06 * rng.normal())
    return signal.astype(np.float32)
