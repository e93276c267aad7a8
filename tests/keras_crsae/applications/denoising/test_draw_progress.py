"""Figures appear while a model learns, as files or in TensorBoard, and show what they say."""

import keras
import numpy as np
import pytest

import keras_crsae as kc
from keras_crsae.callbacks import DrawProgress
from keras_crsae.models.denoiser import Denoiser


def trained(rng, callback, epochs=3):
    model = Denoiser(9, 6, strides=3, iterations=3, sigma=1.0, lambda_init=1.0, seed=0)
    data = rng.standard_normal((4, 24, 24, 1)).astype("float32")
    model.compile(keras.optimizers.Adam(1e-2))
    model.fit(data, epochs=epochs, batch_size=4, verbose=0, callbacks=[callback])
    return model


def test_files_are_written_at_the_epochs_asked_for(rng, tmp_path):
    clean = np.tile(np.linspace(0, 1, 24), (24, 1))
    noisy = clean + 0.1 * rng.standard_normal(clean.shape)
    trained(rng, DrawProgress(tmp_path / "p", every=2, images=(clean, noisy), sigma=0.1), epochs=4)
    assert sorted(f.name for f in (tmp_path / "p").iterdir()) == [
        "filters-0002.png", "filters-0004.png", "image-0002.png", "image-0004.png", "lambda.png"]
    assert (tmp_path / "p" / "filters-0002.png").read_bytes() != (tmp_path / "p" / "filters-0004.png").read_bytes()


def test_tensorboard_receives_images(rng, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    trained(rng, DrawProgress(tmp_path, tensorboard=True))
    events = EventAccumulator(str(tmp_path), size_guidance={"tensors": 0})
    events.Reload()
    assert {"filters", "lambda"} <= set(events.Tags()["tensors"])
    assert [e.step for e in events.Tensors("filters")] == [0, 1, 2]


def test_signals_are_drawn_too(spikes, tmp_path):
    model = kc.CRsAE(3, 21, iterations=5, seed=0)
    model.compile(keras.optimizers.Adam(1e-2))
    model.fit(spikes.signal, epochs=1, verbose=0, callbacks=[DrawProgress(tmp_path)])
    assert (tmp_path / "filters-0001.png").stat().st_size > 1000


@pytest.mark.parametrize("options, words", [({"every": 0}, "every"), ({"images": (1, 2)}, "sigma")])
def test_invalid_requests_are_refused(tmp_path, options, words):
    with pytest.raises(ValueError, match=words):
        DrawProgress(tmp_path, **options)
