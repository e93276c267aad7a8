"""Spikes in windows; a whole file's are compared in tests/export/cli/test_spikes.py."""

import numpy as np
import pytest
from crsae_onnx.core.spikes.peak_rule import PeakRule
from crsae_onnx.runtime.spike_windows import spikes_in_windows


@pytest.mark.parametrize("window", [30, 71, 10_000])
def test_windows_give_the_spikes_of_the_whole(window, rng):
    rule = PeakRule(np.array([1.0, 2.0]), 9, np.array([1.0, 3.0]), np.array([0, 7]), 4)
    stored = {"min_distance": 9, "exclusion": 4, "peak_offset": [0, 7]}
    info = {"iterations": 1, "kernel_size": [1], "strides": [1], "spike_rule": stored}
    code = np.float32(rng.uniform(0, 9, (2, 800, 2)) * (rng.random((2, 800, 2)) < 0.03))
    expected = rule.find(code)
    assert len(expected[1]) > 30
    for one, other in zip(spikes_in_windows(rule.find, code, info, window), expected, strict=True):
        np.testing.assert_allclose(one, other)
        assert one.dtype == other.dtype
