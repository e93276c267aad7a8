"""The noise of samples: rounded, cut, blanked, missing; and what is a stretch without noise."""

import numpy as np
import pytest
from crsae_onnx.core.noise import BlankRule, blank_rule, holds_noise, noise_level, noise_std
from crsae_onnx.core.signals import robust_std
from scipy.signal import lfilter

SAMPLES = 60_000


@pytest.fixture(scope="module")
def white():
    return np.random.default_rng(0).normal(size=SAMPLES)


@pytest.fixture(scope="module")
def coloured():
    values = lfilter([1.0], [1.0, -0.8, 0.2], np.random.default_rng(1).normal(size=SAMPLES))
    return values / values.std()


@pytest.fixture(scope="module")
def spikes():
    """30 spikes a second of 12 noise standard deviations, at 10 kHz."""
    out, wave = np.zeros(SAMPLES), -12 * np.hanning(15)
    for at in range(100, SAMPLES - 100, 333):
        out[at:at + 15] += wave
    return out


@pytest.mark.parametrize("offset", [0, 300.3, -7.5])
@pytest.mark.parametrize("sigma", [0.3, 0.4, 0.5, 0.8, 1.0, 1.48, 2.0, 3.0, 10.0, 100.0])
def test_rounding_does_not_move_the_level(white, coloured, sigma, offset):
    for values in (white, coloured):
        level = noise_level(np.round(values * sigma + offset).astype(np.int16))
        assert level.std == pytest.approx(sigma, rel=0.03)
        assert level.center == pytest.approx(offset, abs=max(0.05, 0.03 * sigma))


@pytest.mark.parametrize("sigma", [1.0, 1.5, 3.0, 10.0])
def test_values_cut_towards_zero_are_told_from_rounded_ones(white, sigma):
    assert noise_level((white * sigma).astype(np.int16)).std == pytest.approx(sigma, rel=0.03)


@pytest.mark.parametrize("sigma", [0.4, 0.5, 0.8, 1.2, 3.0])
def test_spikes_hardly_move_the_level_of_rounded_noise(white, spikes, sigma):
    assert noise_level(np.round((white + spikes) * sigma)).std == pytest.approx(sigma, rel=0.05)


@pytest.mark.parametrize("unit", [0.195, 1e-6, 16.0])
def test_the_unit_does_not_matter(white, unit):
    counts = np.round(white * 0.6 + 12)
    level = noise_level((counts * unit).astype(np.float32))
    assert level.std == pytest.approx(0.6 * unit, rel=0.03) and level.step == pytest.approx(unit, rel=1e-3)


def test_without_rounding_and_blanks_it_is_the_median_absolute_deviation(white, spikes):
    for values in (white + spikes, np.float32(white), np.round(1000 * white).astype(np.int16)):
        assert noise_std(values) == float(robust_std(values))


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.7, 0.9])
@pytest.mark.parametrize("kind", ["zero", "constant", "nan", "hold", "ramp"])
@pytest.mark.parametrize("sigma", [0.4, 1.0, 3.0, None])
def test_blanked_samples_have_no_say(white, spikes, kind, share, sigma):
    values = white + spikes if sigma is None else np.round((white + spikes) * sigma)
    low, high = 3000, 3000 + round(share * SAMPLES)
    values[low:high] = {"zero": 0.0, "constant": 37.0, "nan": np.nan, "hold": values[low],
                        "ramp": np.linspace(values[low], 50, high - low)}[kind]
    holds = holds_noise(values)
    assert np.count_nonzero(~holds[low:high]) > 0.999 * (high - low)
    assert np.count_nonzero(~holds[:low]) + np.count_nonzero(~holds[high:]) < 2e-3 * SAMPLES + 2
    assert noise_std(values) == pytest.approx(1.0 if sigma is None else sigma, rel=0.05)


@pytest.mark.parametrize("period", [80, 150])
@pytest.mark.parametrize("sigma", [1.0, 2.0, 50.0, None])
def test_hundreds_of_short_blanks_are_found(white, sigma, period):
    """1.4 to 5 ms at 10 kHz, 66 to 125 times a second."""
    values = white if sigma is None else np.round(white * sigma)
    values, blanked = values + 300, np.zeros(SAMPLES, bool)
    for start, length in zip(range(50, SAMPLES - 100, period), np.tile([14, 20, 30, 50], SAMPLES), strict=False):
        values[start:start + length], blanked[start:start + length] = 0, True
    assert not holds_noise(values)[blanked].any()
    assert noise_std(values) == pytest.approx(sigma or 1.0, rel=0.03)


@pytest.mark.parametrize("sigma", [0.25, 0.3, 0.4, 0.6, 1.0, 3.0])
def test_long_runs_of_coarsely_rounded_noise_are_no_blanks(coloured, sigma):
    assert holds_noise(np.round(coloured * sigma)).mean() > 0.99


def test_no_noise_is_none():
    glitches = np.zeros(SAMPLES)
    glitches[::5000] = 9
    for values in (np.zeros(SAMPLES), np.full(SAMPLES, 7, np.int16), np.full(9, np.nan), np.zeros(0), [3.0],
                   np.linspace(0, 1, 1000), glitches):
        assert noise_std(values) == 0.0


def test_a_rule_of_no_samples_finds_only_what_is_not_finite():
    values = np.array([0.0, 0, 0, 0, 0, 0, 0, 0, np.nan, np.inf])
    assert holds_noise(values, BlankRule(0, 0.0)).tolist() == [True] * 8 + [False] * 2
    assert not holds_noise(values, BlankRule(5, 0.0)).any()


def test_a_blank_piece_does_not_hide_the_chance_of_the_others(white):
    pieces = [np.zeros(SAMPLES), np.round(0.4 * white), np.zeros(SAMPLES)]
    assert blank_rule(pieces).samples == pytest.approx(blank_rule(pieces[1:2]).samples, abs=2)
