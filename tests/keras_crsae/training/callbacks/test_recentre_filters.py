"""Filters that drifted come back to the middle, and nothing else changes."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_crsae as kc
from keras_crsae.training.callbacks.recentre_filters import RecentreFilters, centring_shifts, shift_filters


def bumps(size, channels=2, filters=2):
    """Filters with their energy in the middle and zeros around, of random signs and amplitudes in each channel."""
    rng = np.random.default_rng(3)
    inner = [slice(5, n - 5) for n in size]
    out = np.zeros((*size, channels, filters))
    shape = out[tuple(inner)].shape
    half = rng.standard_normal(shape)
    # Symmetric energy: a centred filter has no drift.
    out[tuple(inner)] = half + half[tuple(slice(None, None, -1) for _ in size)]
    return (out / np.linalg.norm(out.reshape(-1, filters), axis=0)).astype("float32")


def model_of(filters, iterations=5, **options):
    rank = filters.ndim - 2
    model = kc.CRsAE(filters.shape[-1], filters.shape[:rank], rank=rank, iterations=iterations,
                     shrinkage="soft", lambda_init=0.3, seed=0, **options)
    model.set_dictionary(filters)
    return model


@pytest.mark.parametrize("size, drift", [((17,), [[2], [-2]]), ((13, 13), [[2, -2], [0, 2]])])
def test_filters_shifted_by_two_samples_come_back_with_the_same_reconstruction(rng, size, drift):
    filters = bumps(size)
    model = model_of(shift_filters(filters, np.array(drift)), iterations=200)
    signal = np.zeros((1, *(3 * n for n in size), 2), "float32")
    inner = (slice(None), *(slice(n, 2 * n) for n in size))
    signal[inner] = 3 * rng.standard_normal(signal[inner].shape)  # far from the borders, where positions end
    before = np.asarray(model(signal))
    shifts = RecentreFilters().recentre(model)
    np.testing.assert_array_equal(shifts, -np.array(drift))
    np.testing.assert_allclose(ops.convert_to_numpy(model.dictionary.kernel), filters, atol=1e-6)
    assert np.abs(before).max() > 1
    np.testing.assert_allclose(np.asarray(model(signal)), before, atol=2e-3 * np.abs(before).max())


def test_centred_filters_and_drifts_within_a_sample_stay():
    filters = bumps((17,))
    assert not centring_shifts(filters).any()
    assert not centring_shifts(shift_filters(filters, np.array([[1], [-1]]))).any()


def test_only_whole_strides_are_shifted():
    filters = shift_filters(bumps((21,)), np.array([[5], [-2]]))
    np.testing.assert_array_equal(centring_shifts(filters, strides=3), [[-6], [3]])


def test_a_shift_that_would_cut_a_filter_is_shortened():
    filters = np.ones((9, 1, 1))
    filters[6:] = 4.0
    assert centring_shifts(filters, max_loss=0.5)[0, 0] == -2
    assert centring_shifts(filters, max_loss=0.0)[0, 0] == 0
    spike = np.zeros((9, 1, 1))
    spike[7] = 1.0
    assert centring_shifts(spike, by="extremum", max_loss=0.0)[0, 0] == -3


def test_moments_move_with_their_filters_and_the_step_size_is_fresh():
    model = model_of(shift_filters(bumps((17,), channels=1), np.array([[2], [0]])), tied=False, gradient="decoder")
    model.compile(keras.optimizers.Adam(1e-9), run_eagerly=True)
    signal = np.random.default_rng(0).standard_normal((4, 60, 1)).astype("float32")
    model.fit(signal, verbose=0)
    shape = tuple(model.dictionary.kernel.shape)

    def moments():
        return [ops.convert_to_numpy(v) for v in model.optimizer.variables if tuple(v.shape) == shape]

    before = moments()
    shifts = RecentreFilters().recentre(model)
    np.testing.assert_array_equal(shifts, [[-2], [0]])
    assert len(before) >= 2 and any(np.abs(b).max() > 0 for b in before)
    for old, new in zip(before, moments(), strict=True):
        np.testing.assert_array_equal(new[:-2, :, 0], old[2:, :, 0])
        np.testing.assert_array_equal(new[..., 1], old[..., 1])
    assert float(model.step_size) == pytest.approx(1 / float(model.dictionary.largest_eigenvalue()), rel=1e-5)


def test_fit_brings_drifted_filters_back_between_epochs():
    filters = bumps((17,), channels=1)
    model = model_of(shift_filters(filters, np.array([[4], [-3]])))
    model.compile(keras.optimizers.Adam(1e-9), run_eagerly=True)
    signal = np.random.default_rng(0).standard_normal((4, 60, 1)).astype("float32")
    model.fit(signal, epochs=1, verbose=0, callbacks=[RecentreFilters()])
    np.testing.assert_allclose(ops.convert_to_numpy(model.dictionary.kernel), filters, atol=1e-5)


@pytest.mark.parametrize("options", [dict(by="median"), dict(max_loss=1.0), dict(within=-1), dict(every=0)])
def test_bad_options_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        RecentreFilters(**options)
