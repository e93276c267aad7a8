"""Units of two groups are split; jitter and halves of a unit are not."""

import numpy as np
from crsae_onnx.core.spikes.correlations import gram

from keras_crsae.applications.spike_sorting.matching import UnitSpikes, match_templates, residual, subtract_others
from keras_crsae.applications.spike_sorting.parameters import DEFAULTS
from keras_crsae.applications.spike_sorting.splitting import bimodal_labels, merge_units, split_waveforms
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
