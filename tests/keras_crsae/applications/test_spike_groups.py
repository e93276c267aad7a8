"""One unit or two: groups are told apart, jitter and halves of a unit are not."""

import numpy as np

from keras_crsae.applications import spike_groups as sg
from keras_crsae.applications import spike_templates as st

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
