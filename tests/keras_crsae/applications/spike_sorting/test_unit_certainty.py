"""Intervals hold what they say, and expected errors are those of simulated spikes."""

import numpy as np
import pytest
from crsae_onnx.core.spikes.detector import SpikeReader
from crsae_onnx.core.spikes.whitening import Whitening

from keras_crsae.applications.spike_sorting.quality import rp_violations
from keras_crsae.applications.spike_sorting.unit_certainty import (
    certain_table,
    contamination_interval,
    count_interval,
    expected_misses,
    expected_mixups,
    share_interval,
)
from keras_crsae.applications.spike_sorting.unit_table import unit_table


@pytest.fixture(scope="module")
def close_reader():
    """Two units of almost one shape, one of them small, and a third one far from both."""
    time = np.arange(30)
    first = np.exp(-0.5 * ((time - 9) / 2.0) ** 2)
    shapes = np.stack([first, first + 0.25 * np.sin(time / 2), np.cos(time)], axis=1)
    kernel = (shapes / np.linalg.norm(shapes, axis=0))[:, None]
    return SpikeReader(Whitening(np.ones((1, 1)), np.eye(1), np.zeros(1)), kernel, [6.0, 7.0, 20.0], [0.1, 0.1, 0.1],
                       [7.0, 7.0, 7.0], [9, 9, 9], [-60.0, -70.0, 90.0], 10_000)


@pytest.mark.parametrize("interval", [lambda n: share_interval(n, 400), lambda n: [v / 400 for v in count_interval(n)]])
def test_intervals_hold_the_truth_in_nineteen_of_twenty(interval, rng):
    drawn = rng.binomial(400, 0.02, 2000)
    inside = np.mean([low <= 0.02 <= high for low, high in map(interval, drawn.tolist())])
    assert 0.93 < inside < 0.99


def test_an_interval_holds_its_contamination():
    train = np.sort(np.random.default_rng(2).choice(600_000, 900, replace=False))
    value, count = rp_violations(train, 600_000, 10_000)
    low, high = contamination_interval(count, 900, 600_000, 10)
    assert count > 5 and 0 <= low < value < high <= 1 and contamination_interval(0, 1, 100, 10) == (0.0, 1.0)


def test_expected_misses_are_those_of_simulated_spikes(close_reader, rng):
    unit, lost = 0, 0
    for _ in range(300):
        signal = rng.standard_normal((90, 1)).astype(np.float32)
        signal[30:60] += rng.normal(6, 0.6) * close_reader.kernel[:, :, unit]
        lost += not len(close_reader.matcher.find(signal).start_sample)
    assert expected_misses(close_reader)[unit] == pytest.approx(lost / 300, abs=0.08)
    assert expected_misses(close_reader)[2] < 1e-6


def test_expected_mixups_are_those_of_simulated_spikes(close_reader, rng):
    nearest, share = expected_mixups(close_reader)
    assert nearest[:2].tolist() == [1, 0] and share[2] < 1e-5
    mean, shapes = close_reader.mean_amplitude[:2], close_reader.kernel[:, 0, :2].astype(float)
    spikes = rng.normal(mean[0], 0.1 * mean[0], (4000, 1)) * shapes[:, 0] + rng.standard_normal((4000, 30))
    distance = [np.square(spikes - m * s).sum(axis=1) for m, s in zip(mean, shapes.T, strict=True)]
    assert share[0] == pytest.approx(np.mean(distance[1] < distance[0]), abs=0.03)


def test_a_table_says_what_the_other_says(sorted_spikes):
    result = sorted_spikes[2]
    sure, plain = certain_table(result), unit_table(result)
    assert sure["spikes"] == plain["spikes"] and sure["presence"] == plain["presence"]
    for name in ("rate (Hz)", "SNR", "amplitude"):
        for one, other in zip(sure[name], plain[name], strict=True):
            value, error = map(float, one.split(" ± "))
            assert value == pytest.approx(float(other), rel=0.02) and 0 < error < 0.3 * abs(value)
    assert all("%" in text for name in ("< 1.5 ms", "contamination", "missed", "mixed up") for text in sure[name])
