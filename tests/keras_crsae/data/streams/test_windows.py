"""Windows of recordings."""

import numpy as np
import pytest

from keras_crsae.data.streams.windows import cut_windows


@pytest.mark.parametrize("samples, window", [(30, 10), (25, 10), (10, 10), (19, 10)])
def test_every_sample_is_in_a_window_and_in_place(samples, window):
    recording = np.arange(2 * samples * 3).reshape(2, samples, 3)
    windows = cut_windows(recording, window)
    assert windows.dtype == np.float32 and windows.shape[1:] == (window, 3)
    assert set(windows.ravel().astype(int)) == set(recording.ravel())
    for piece in windows:
        np.testing.assert_array_equal(np.diff(piece[:, 0]), 3)


def test_a_limit_draws_different_windows_by_seed(rng):
    recording = np.arange(1000)[None, :, None]
    drawn = cut_windows(recording, 10, limit=5, rng=rng)
    assert len(drawn) == 5 and len(np.unique(drawn[:, 0, 0])) == 5
    again = cut_windows(recording, 10, limit=5, rng=np.random.default_rng(0))
    np.testing.assert_array_equal(drawn, again)


def test_a_recording_below_a_window_is_refused():
    with pytest.raises(ValueError, match="9 samples"):
        cut_windows(np.zeros((1, 9, 1)), 10)
