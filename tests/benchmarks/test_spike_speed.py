"""How sorting time is measured over numbers of channels."""

import numpy as np
import pytest

pytest.importorskip("spikeinterface.core", reason="the extra `spikes` is not installed")

from benchmarks.spike_speed import exponent, probe  # noqa: E402


def test_generated_recordings_have_the_same_density_of_units_and_the_exponent_is_a_slope():
    recording = probe(8, 2.0)
    assert recording.traces.shape == (60_000, 8) and len(np.unique(recording.spike_units)) == 5
    assert exponent([8, 16, 64], [3.0, 6.0, 24.0]) == pytest.approx(1.0)
