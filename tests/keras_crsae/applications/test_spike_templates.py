"""Waveforms and their means."""

import numpy as np

from keras_crsae.applications import spike_templates as st

SIZE = 40


def test_means_lose_their_own_noise(unit_shapes):
    rng = np.random.default_rng(6)
    quiet = np.concatenate([unit_shapes[:1], np.zeros((1, SIZE, 2))], axis=2)  # two channels more that see nothing
    mean = quiet + rng.normal(size=quiet.shape) / np.sqrt(50)
    kept = st.shrunk(mean, [50])
    assert np.square(kept - quiet).sum() < 0.7 * np.square(mean - quiet).sum()
    assert np.square(kept[..., 2:]).sum() < 0.1 * np.square(mean[..., 2:]).sum()


def test_waveforms_shifted_by_a_fraction_are_those_of_a_shifted_unit():
    """A unit moved by whole and half samples: its waveforms cut there equal the unit's own."""
    smooth = np.zeros((1, SIZE, 2), np.float32)
    smooth[0, :, 0] = 9 * np.exp(-0.5 * ((np.arange(SIZE) - 18) / 3.0) ** 2)
    found = st.Found(smooth, np.array([100, 300]), np.array([0, 0]), st.norms(smooth)[[0, 0]])
    for shift in (0.0, 3.0, -2.0, 0.5, -1.25):
        moved = 9 * np.exp(-0.5 * ((np.arange(SIZE) + shift - 18) / 3.0) ** 2)
        waves = st.cleaned(np.zeros((500, 2), np.float32), found, 0, shift)
        np.testing.assert_allclose(waves[:, :, 0], [moved, moved], atol=0.01)


def test_shifted_waveforms_beyond_the_signal_are_left_out(unit_shapes):
    found = st.Found(unit_shapes, np.array([0, 100, 160]), np.array([0, 0, 0]), np.full(3, 16.0))
    rest = np.zeros((200, 2), np.float32)
    assert [len(st.cleaned(rest, found, 0, shift)) for shift in (0.0, -1.0, 1.0, 0.5)] == [3, 2, 2, 2]
