"""Units of two groups are split; jitter and halves of a unit are not."""

import numpy as np
from crsae_onnx.core.spikes.correlations import gram

from keras_crsae.applications.spike_sorting.matching import UnitSpikes, match_templates, residual, subtract_others
from keras_crsae.applications.spike_sorting.parameters import DEFAULTS
from keras_crsae.applications.spike_sorting.splitting import (
    bimodal_labels,
    gaussian_mixture,
    merge_units,
    split_waveforms,
    time_courses,
)
from keras_crsae.applications.spike_sorting.templates import as_kernel, template_norms, waveforms

SIZE = 40


def test_two_groups_are_distinguished_from_one():
    rng = np.random.default_rng(4)
    assert bimodal_labels(rng.normal(size=600), DEFAULTS.split_separation) is None
    two = np.concatenate([rng.normal(size=300), 6 + rng.normal(size=300)])
    label = bimodal_labels(two, DEFAULTS.split_separation)
    assert label is not None and (label[:300] == label[0]).mean() > 0.98 and label[0] != label[-1]


def test_jitter_below_a_sample_does_not_split_a_unit(unit_shapes):
    rng = np.random.default_rng(5)
    slope = np.gradient(unit_shapes[0], axis=0)
    waves = unit_shapes[0] + rng.uniform(-0.5, 0.5, (400, 1, 1)) * slope + rng.normal(size=(400, SIZE, 2))
    assert split_waveforms(waves.astype(np.float32), seed=0) is None


def test_split_units_are_merged_again(unit_shapes, unit_signal):
    """A unit started twice, half a sample apart, is one unit at the end of a round."""
    moved = unit_shapes[0] - 0.8 * np.gradient(unit_shapes[0], axis=0)
    spikes = match_templates(unit_signal, np.concatenate([unit_shapes, moved[None]]), refractory=20)
    rest = residual(unit_signal, spikes)
    means = np.stack([subtract_others(rest, spikes, u).mean(axis=0) for u in range(4)])
    _, merged = merge_units(rest, spikes, means)
    assert len(merged) == 1 and merged[0] in (0, 3)


def test_halves_of_a_rare_unit_on_a_wide_probe_are_merged():
    """The noise in the means of a dozen waveforms of 24 channels would make the halves dissimilar."""
    rng = np.random.default_rng(8)
    shape = np.zeros((SIZE, 24))
    shape[:, 5:8] = np.hanning(SIZE)[:, None] * [2.0, 3.2, 1.5]
    at = 60 + 100 * np.arange(26)
    signal = rng.normal(size=(2800, 24)).astype(np.float32)
    for start in at:
        signal[start:start + SIZE] += shape
    half = np.arange(len(at)) % 2
    waves = waveforms(signal, at, SIZE)
    means = np.stack([waves[half == k].mean(axis=0) for k in range(2)])
    assert gram(as_kernel(means))[0, 1].max() < DEFAULTS.merge_correlation
    spikes = UnitSpikes(means, at, half, template_norms(means)[half])
    rest = residual(signal, spikes)
    _, merged = merge_units(rest, spikes, means)
    assert len(merged) == 1


def test_time_courses_show_two_units_in_few_spikes():
    """Two of cosine 0.95 on four channels, 205 spikes: along 300 dimensions noise hides them."""
    rng, time = np.random.default_rng(3), np.arange(76)[:, None]
    bump, late = np.exp(-0.5 * ((time - 22) / 3.0) ** 2), np.exp(-0.5 * ((time - 32) / 5.0) ** 2)
    one = bump * [1.0, 0.8, 0.5, 0.3] - late * [0.3, 0.3, 0.2, 0.1]
    other = one + 0.3 * late * [1.0, -0.6, 0.2, 0.6] + 0.25 * bump * [-0.5, 0.3, 0.4, -0.2]
    shapes = [14 * shape / np.linalg.norm(shape) for shape in (one, other)]
    assert 0.93 < np.sum(shapes[0] * shapes[1]) / 14**2 < 0.97
    waves = np.concatenate([shape + rng.normal(size=(n, 76, 4)) for shape, n in zip(shapes, (80, 125), strict=True)])
    label = split_waveforms(waves, seed=0, courses=time_courses([waves]))
    assert label is not None and np.bincount(label[:80]).argmax() != np.bincount(label[80:]).argmax()
    assert np.bincount(label[:80]).max() > 70 and np.bincount(label[80:]).max() > 115
    assert split_waveforms(waves[80:], seed=0, courses=time_courses([waves])) is None


def test_two_gaussians_are_those_that_points_were_drawn_from(rng):
    points = np.concatenate([rng.normal(size=(400, 3)), rng.normal([6, 0, 0], [1, 2, 1], (200, 3))])
    means, covariances = gaussian_mixture(points, np.random.default_rng(0))
    order = np.argsort(means[:, 0])
    np.testing.assert_allclose(means[order], [[0, 0, 0], [6, 0, 0]], atol=0.4)
    np.testing.assert_allclose(covariances[order][1].diagonal(), [1.1, 4.1, 1.1], rtol=0.35)
    assert np.isfinite(gaussian_mixture(np.zeros((20, 2)), np.random.default_rng(0))[0]).all()
