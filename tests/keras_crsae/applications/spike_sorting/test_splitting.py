"""One unit or two: groups are told apart, jitter and halves of a unit are not."""

import numpy as np

from keras_crsae.applications.spike_sorting import splitting as sg
from keras_crsae.applications.spike_sorting import templates as st

SIZE = 40


def test_two_groups_are_told_from_one():
    rng = np.random.default_rng(4)
    assert sg.apart(rng.normal(size=600), sg.SEPARATION, seed=0) is None
    label = sg.apart(np.concatenate([rng.normal(size=300), 6 + rng.normal(size=300)]), sg.SEPARATION, seed=0)
    assert label is not None and (label[:300] == label[0]).mean() > 0.98 and label[0] != label[-1]


def test_jitter_below_a_sample_does_not_split_a_unit(unit_shapes):
    rng = np.random.default_rng(5)
    slope = np.gradient(unit_shapes[0], axis=0)
    waves = unit_shapes[0] + rng.uniform(-0.5, 0.5, (400, 1, 1)) * slope + rng.normal(size=(400, SIZE, 2))
    assert sg.two_groups(waves.astype(np.float32), seed=0) is None


def test_split_units_are_merged_again(unit_shapes, unit_signal):
    """A unit started twice, half a sample apart, is one unit at the end of a round."""
    moved = unit_shapes[0] - 0.8 * np.gradient(unit_shapes[0], axis=0)
    found = st.match(unit_signal, np.concatenate([unit_shapes, moved[None]]), refractory=20)
    rest = st.unexplained(unit_signal, found)
    means = np.stack([st.cleaned(rest, found, u).mean(axis=0) for u in range(4)])
    _, gone = sg.merge(rest, found, means, seed=0)
    assert len(gone) == 1 and gone[0] in (0, 3)


def test_halves_of_a_rare_unit_on_a_wide_probe_are_merged():
    """The noise in the means of a dozen waveforms of 24 channels would make the halves look unlike."""
    rng = np.random.default_rng(8)
    shape = np.zeros((SIZE, 24))
    shape[:, 5:8] = np.hanning(SIZE)[:, None] * [2.0, 3.2, 1.5]
    at = 60 + 100 * np.arange(26)
    signal = rng.normal(size=(2800, 24)).astype(np.float32)
    for start in at:
        signal[start:start + SIZE] += shape
    half = np.arange(len(at)) % 2
    waves = st.waveforms(signal, at, SIZE)
    means = np.stack([waves[half == k].mean(axis=0) for k in range(2)])
    assert sg.gram(st.as_kernel(means))[0, 1].max() < sg.ALIKE
    found = st.Found(means, at, half, st.norms(means)[half])
    rest = st.unexplained(signal, found)
    _, gone = sg.merge(rest, found, means, seed=0)
    assert len(gone) == 1
