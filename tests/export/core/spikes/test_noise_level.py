"""The noise of recordings against what an encoder of whitened signals expects."""

from functools import partial

import numpy as np
import pytest
from crsae_onnx.core.spikes.noise_level import CHECKED_SAMPLES, level_warning, whitens
from crsae_onnx.core.spikes.whitening import Whitening


def noise(channels=2, samples=5000):
    return np.random.default_rng(0).standard_normal((samples, channels))


@pytest.mark.parametrize("level, warned", [(1.0, False), (0.6, False), (1.8, False), (0.3, True), (3.0, True),
                                           (1e-6, True)])
def test_a_level_far_from_one_is_named(level, warned):
    message = level_warning(noise() * [1, level])
    assert (message is not None) == warned
    if message:
        assert float(message.split("Received: ")[1].split()[0]) == pytest.approx(level, rel=0.1)
        assert "in channel 1" in message


def test_the_graph_s_whitening_is_taken_into_account():
    whitening = Whitening(np.full((1, 2), 0.05), np.eye(2), np.full(2, 300.0))
    recording = 20 * noise() + 300
    assert level_warning(recording, whitening) is None
    assert "has another unit" in level_warning(recording / 20, whitening)  # whitened already
    recording[100:1500] = np.nan
    recording[1500:3500] = 300
    assert level_warning(recording, whitening) is None


def test_samples_without_noise_have_no_say():
    recording = noise()
    recording[300:3000] = 5.0
    recording[3000:3500] = 0.0
    recording[3500:, 1] = np.nan
    assert level_warning(recording) is None
    assert level_warning(np.zeros((5000, 2))) is None and level_warning(100 * noise(samples=150)) is None


def test_of_a_file_its_beginning_alone_is_read():
    class File:
        shape = (10**12, 1)

        def __getitem__(self, index):
            assert index.stop <= CHECKED_SAMPLES
            return noise(1, index.stop)

    assert level_warning(File()) is None


def test_methods_of_encoders_that_whiten_are_known():
    class Encoder:
        whitening_inside = True

        def encode(self, signal):
            return signal

    assert whitens(Encoder().encode) and whitens(partial(Encoder().encode, window=9))
    assert not whitens(np.abs) and not whitens(lambda signal: signal)
