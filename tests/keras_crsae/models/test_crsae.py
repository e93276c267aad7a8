"""CRsAE's two stages move filters and lambda where they should."""

import keras
import numpy as np
import pytest

import keras_crsae as kc
from keras_crsae.initializers import window_filters
from keras_crsae.models.baselines import LCSC, TLAE


def trained(spikes, filters, epochs=3, rate=1e-2, **options):
    model = kc.CRsAE(3, 21, iterations=20, seed=0, **options)
    model.set_dictionary(filters)
    steps = epochs * len(spikes.signal) // 8
    model.compile(keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(rate, steps)))
    return model, model.fit(spikes.signal, epochs=epochs, batch_size=8, verbose=0).history


@pytest.mark.parametrize("learning, gradient, shared", [
    ("em", "unrolled", False), ("em_closed_form", "truncated", True), (None, "decoder", False),
    ("em", "decoder", True)])
def test_training_moves_filters_to_the_truth_with_living_codes(spikes, near_filters, learning, gradient, shared):
    """From an error of .45: 16 epochs of 4 batches take back at least three quarters of it."""
    model, history = trained(spikes, near_filters, lambda_learning=learning, gradient=gradient,
                             lambda_shared=shared, epochs=16, rate=2e-2)
    error = kc.metrics.dictionary_error(spikes.filters, keras.ops.convert_to_numpy(model.dictionary.kernel))
    assert error.mean() < 0.11
    events = np.count_nonzero(spikes.code) / spikes.code.size
    assert 0.5 * events < history["sparsity"][-1] < 20 * events
    norms = np.linalg.norm(keras.ops.convert_to_numpy(model.dictionary.kernel).reshape(-1, 3), axis=0)
    np.testing.assert_allclose(norms, 1, atol=1e-6)


def test_supervised_backprop_comes_close_to_what_the_true_filters_reach(spikes, near_filters):
    """The clean target is unknown to the model's own input: the error falls below half of what it was."""
    model = kc.CRsAE(3, 21, iterations=20, lambda_learning="backprop", seed=0)
    model.set_dictionary(near_filters)
    model.compile(keras.optimizers.Adam(2e-2))
    before = model.evaluate(spikes.signal, spikes.clean, verbose=0)[0]
    model.fit(spikes.signal, spikes.clean, epochs=8, batch_size=8, verbose=0)
    assert model.evaluate(spikes.signal, spikes.clean, verbose=0)[0] < 0.5 * before


def test_masked_samples_have_no_say(spikes, near_filters, rng):
    model = kc.CRsAE(3, 21, iterations=20, seed=0)
    model.set_dictionary(near_filters)
    mask = (rng.random(spikes.signal.shape) > 0.1).astype("float32")
    broken = np.where(mask > 0, spikes.signal, 1000.0).astype("float32")
    np.testing.assert_allclose(model.encode(spikes.signal, mask=mask), model.encode(broken, mask=mask), atol=1e-3)


def test_separate_sums_to_the_reconstruction(spikes, near_filters):
    model = kc.CRsAE(3, 21, strides=2, iterations=10, seed=0)
    model.set_dictionary(near_filters)
    parts = model.separate(spikes.signal[:2, :299])
    np.testing.assert_allclose(parts.sum(-1), model(spikes.signal[:2, :299]), atol=1e-4)


def test_first_filters_are_different_windows(rng):
    data = rng.standard_normal((2, 9, 1))
    for energy in (False, True):
        made = window_filters(data, (5,), 10, rng, energy=energy)  # as many as there are places
        flat = made.reshape(-1, 10) / np.linalg.norm(made.reshape(-1, 10), axis=0)
        assert np.abs(np.triu(flat.T @ flat, 1)).max() < 1 - 1e-4
        assert window_filters(data, (5,), 12, rng, energy=energy).shape == (5, 1, 12)  # more than that: some twice


@pytest.mark.parametrize("make", [kc.CRsAE, LCSC, TLAE])
def test_the_rank_is_that_of_the_sizes(make):
    assert make(3, (4, 4)).rank == 2 and make(3, 8, strides=(2, 2)).rank == 2 and make(3, 8).rank == 1
    assert make(3, (8,)).kernel_size == (8,) and make(3, 4, rank=2).kernel_size == (4, 4)
    model = make(3, (4, 5))
    assert model.encode(np.zeros((1, 9, 9, 1))).shape == (1, 6, 5, 3)
    assert make.from_config(model.get_config()).rank == 2
    with pytest.raises(ValueError, match=r"`kernel_size` must be a positive int or 1 of them.*\(rank=1\)"):
        make(3, (4, 4), rank=1)


def test_a_denoiser_is_for_images_whatever_its_sizes():
    assert kc.Denoiser(3, (4, 4)).kernel_size == kc.Denoiser(3, 4).kernel_size == (4, 4)
    with pytest.raises(ValueError, match="`kernel_size` must be a positive int or 2 of them"):
        kc.Denoiser(3, (4,))
