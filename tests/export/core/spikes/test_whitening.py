"""Whitening: against direct sums; the same numbers whatever stretch is asked for."""

import numpy as np
import pytest
from crsae_onnx.core.spikes.whitening import Whitening
from hypothesis import given, settings
from hypothesis import strategies as st


@pytest.fixture(scope="module")
def recording():
    return np.random.default_rng(3).integers(-900, 900, size=(200, 3)).astype(np.int16)


@pytest.fixture(scope="module")
def whitening():
    rng = np.random.default_rng(4)
    return Whitening(rng.normal(size=(9, 3)), rng.normal(size=(3, 3)), [10.0, -5.0, 0.0], lead=2, common_reference=True)


def twin(whitening, recording):
    values = recording.astype(np.float64) - whitening.offset
    values -= np.median(values, axis=1, keepdims=True)
    padded = np.pad(values, ((20, 20), (0, 0)))
    out = np.zeros_like(values)
    for t in range(len(values)):
        for j in range(len(whitening.taps)):
            out[t] += whitening.taps[j] * padded[20 + t + whitening.lead - j]
    return out @ whitening.mixing


def test_equals_direct_sums(whitening, recording):
    expected = twin(whitening, recording)
    np.testing.assert_allclose(whitening(recording, 0, 200), expected, atol=1e-5 * np.abs(expected).max())


@given(start=st.integers(-30, 220), length=st.integers(1, 90))
@settings(deadline=None, max_examples=40)
def test_any_stretch_equals_the_whole(start, length):
    rng = np.random.default_rng(5)
    recording, whitening = rng.normal(size=(200, 2)), Whitening(rng.normal(size=(5, 2)), np.eye(2), np.zeros(2), lead=1)
    whole = whitening(recording, -60, 360)
    np.testing.assert_allclose(whitening(recording, start, start + length), whole[start + 60:start + 60 + length],
                               atol=1e-5)


def test_gaps_count_as_silence(whitening, recording):
    gap, silent = recording.astype(np.float64), recording.astype(np.float64)
    gap[50:60], silent[50:60] = np.nan, whitening.offset
    assert np.isfinite(whitening(gap, 0, 200)).all()
    np.testing.assert_allclose(whitening(gap, 0, 40), whitening(silent, 0, 40), atol=1e-4)


def test_state_restores(whitening, recording):
    again = Whitening(**whitening.state())
    np.testing.assert_array_equal(again(recording, 3, 77), whitening(recording, 3, 77))
