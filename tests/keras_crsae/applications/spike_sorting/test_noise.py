"""Noise estimates: level, whiteness in time and space, the band-pass filter's response."""

import numpy as np
import pytest
from crsae_onnx.core.noise import NoiseLevel, noise_level
from scipy.signal import lfilter

from keras_crsae.applications.spike_sorting.noise import (
    band_pass,
    channel_noise,
    erode,
    filter_radius,
    fit_whitening,
    quiet_samples,
    referenced_noise,
)

RATE = 30_000


@pytest.fixture(scope="module")
def noise():
    """Coloured noise of four channels that share some of it."""
    rng = np.random.default_rng(0)
    coloured = lfilter([1.0], [1.0, -0.8, 0.2], rng.normal(size=(90_000, 4)), axis=0)
    return coloured @ (np.eye(4) + 0.5) * [1.0, 5.0, 0.2, 1.0]


@pytest.fixture(scope="module")
def bursts(noise):
    recording = noise.copy()
    for at in range(500, len(noise) - 100, 900):
        recording[at:at + 30] -= 12 * noise.std(axis=0) * np.hanning(30)[:, None]
    return recording


def test_level_ignores_spikes(noise, bursts):
    np.testing.assert_allclose(channel_noise(bursts), noise.std(axis=0), rtol=0.05)


def test_quiet_samples_leave_the_spikes_out(bursts):
    quiet = quiet_samples(bursts, RATE)
    assert not quiet[500:530].any() and 0.6 < quiet.mean() < 0.98


def test_whitened_noise_is_white(noise, bursts):
    white = fit_whitening(bursts, RATE, offset=np.zeros(4))(noise, 0, len(noise))[100:]
    np.testing.assert_allclose(np.cov(white.T), np.eye(4), atol=0.06)
    for lag in range(1, 6):
        assert np.abs(white[:-lag].T @ white[lag:] / len(white)).max() < 0.05


def test_a_silent_channel_gets_weight_zero(noise):
    recording = noise.copy()
    recording[:, 2] = 0
    white = fit_whitening(recording, RATE, offset=np.zeros(4))(recording, 0, len(noise))
    assert np.isfinite(white).all()
    assert not white[:, 2].any() and (white[:, [0, 1, 3]].std(axis=0) > 0.9).all()


def test_band_pass_keeps_the_band():
    taps = band_pass((300, 6000), RATE)
    response = np.abs(np.fft.rfft(taps, 30_000))
    assert response[20] < 0.1 and 0.9 < response[1000] < 1.1 and response[9000] < 0.05
    np.testing.assert_allclose(taps, taps[::-1])


def test_an_upper_edge_at_half_the_sampling_frequency_leaves_a_high_pass_filter():
    response = np.abs(np.fft.rfft(band_pass((300, 5000), 10_000), 10_000))
    assert response[20] < 0.1 and response[4000] > 0.9


@pytest.mark.parametrize("edges", [(300, 6000), (4999, 5000), (6000, 7000)])
def test_an_edge_beyond_half_the_sampling_frequency_is_refused_with_both_numbers(edges):
    with pytest.raises(ValueError, match=f"below half the sampling frequency: 5000 Hz at 10000 Hz. .*{edges[1]}"):
        band_pass(edges, 10_000)


@pytest.mark.parametrize("edges", [(0, 100), (500, 300), (300,), (20_000, 30_000), (-1, 5)])
def test_edges_out_of_order_are_refused(edges):
    with pytest.raises(ValueError, match="band"):
        band_pass(edges, RATE)


@pytest.mark.parametrize("kind", [0.0, np.nan])
def test_what_holds_no_noise_has_no_say(noise, bursts, kind):
    """Level, quiet samples and whitening are those of the rest, also where only one channel is blanked."""
    holds = np.ones(noise.shape, bool)
    holds[10_000:70_000], holds[70_000:75_000, 1] = False, False
    recording = np.where(holds, bursts, 0)
    np.testing.assert_allclose(channel_noise(np.where(holds, bursts, kind), holds), noise.std(axis=0), rtol=0.05)
    quiet = quiet_samples(recording, RATE, holds_noise=holds)
    assert not quiet[10_000:70_000].any() and 0.6 < quiet[75_000:].mean() < 0.98
    white = fit_whitening(recording, RATE, offset=np.zeros(4), holds_noise=holds)(noise, 0, len(noise))[100:]
    np.testing.assert_allclose(np.cov(white.T), np.eye(4), atol=0.1)


@pytest.mark.parametrize("sigma", [0.5, 0.8, 1.0, 2.0, 10.0])
@pytest.mark.parametrize("channels", [2, 4])
def test_noise_of_few_counts_after_the_common_reference(channels, sigma):
    values = np.random.default_rng(1).normal(size=(60_000, channels)) + 20
    holds = np.ones(values.shape, bool)
    rounded = np.round(sigma * values)
    levels = [noise_level(column) for column in rounded.T]
    less = [part - np.median(part, axis=1, keepdims=True) for part in (sigma * values, rounded)]
    np.testing.assert_allclose(referenced_noise(less[1], holds, levels), channel_noise(less[0]), rtol=0.1)
    np.testing.assert_array_equal(referenced_noise(less[0], holds, [NoiseLevel(0.0, 1.0, 0.0)] * channels),
                                  channel_noise(less[0]))


def test_samples_near_a_gap_are_left_out_of_filtered_noise():
    holds = np.ones((200, 2), bool)
    holds[50:60, 0], holds[::3, 1] = False, False
    eroded = erode(holds, 5)
    assert np.flatnonzero(~eroded[:, 0]).tolist() == list(range(45, 65))
    np.testing.assert_array_equal(eroded[:, 1], holds[:, 1])  # nothing would be left
    assert 5 < filter_radius(band_pass((300, 6000), RATE)) < 40
