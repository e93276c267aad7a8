import keras
import numpy as np
import pytest

import keras_crsae as kc
from keras_crsae.training import dense_updates
from keras_crsae.training.inputs import replica_batch


def drifting(rng, windows=6, samples=400, noise=1.0, drift=10.0):
    """Noise and a slow sine of each window's own phase, (windows, samples, 1)."""
    phase = rng.uniform(0, 2 * np.pi, (windows, 1, 1))
    slow = drift * np.sin(2 * np.pi * np.arange(samples)[:, None] / 300 + phase)
    return (slow + noise * rng.standard_normal((windows, samples, 1))).astype("float32")


def built(strides=1, dense_penalty=1.0, **options):
    model = kc.CRsAE(3, 21, strides=strides, iterations=20, dense_filters=1, dense_penalty=dense_penalty, seed=0,
                     **options)
    model.build((None, None, 1))
    model.compile(keras.optimizers.Adam(1e-2))
    return model


@pytest.mark.parametrize("strides, penalty", [(1, 1.0), (3, None)])
def test_twice_the_ceiling_of_lambda_is_where_sparse_codes_begin(rng, strides, penalty):
    model = built(strides, penalty, shrinkage="soft", sigma=0.7)
    signal = drifting(rng)
    batch = replica_batch((signal, signal, None), 1, "float32", model.likelihood)
    largest = 2 * float(dense_updates.half_lambda_max(model, batch))
    assert largest < 0.7 * float(kc.lambda_max(signal, model.dictionary.kernel, strides)) / 0.49
    model.encoder.iterations = 400
    for factor, silent in ((1.03, True), (0.97, False)):
        model.assign_rates(keras.ops.full((3,), factor * largest))
        assert not model.encode(signal, part="sparse").any() == silent


@pytest.mark.parametrize("strides, penalty", [(1, 1.0), (3, None)])
@pytest.mark.parametrize("masked", [False, True])
def test_the_noise_level_is_that_of_the_noise_alone(rng, strides, penalty, masked):
    model = built(strides, penalty, sigma=1.0)
    signal = drifting(rng, samples=21 + 3 * 200, windows=20)
    mask = (rng.random(signal.shape) > 0.1).astype("float32") if masked else None
    code = keras.ops.convert_to_tensor(model.encode(signal, mask=mask))
    given = None if mask is None else keras.ops.convert_to_tensor(mask)
    found = dense_updates.noise_variance(keras.ops.convert_to_tensor(signal), code, model.encoder.cell, given)
    assert float(found) ** 0.5 == pytest.approx(1.0, abs=0.1)


@pytest.mark.filterwarnings("ignore:lambda was held")
@pytest.mark.parametrize("learning, shared", [("em", False), ("em_closed_form", True), ("backprop", False),
                                              (None, True)])
def test_lambda_learns_from_sparse_filters_alone(rng, learning, shared):
    model = built(lambda_learning=learning, lambda_shared=shared, sigma="estimate", sigma_learning=True)
    signal = drifting(rng, samples=200)
    history = model.fit(signal, batch_size=3, epochs=1, verbose=0).history
    rates = np.asarray(model.lambda_reg)
    assert rates.shape == ((1,) if shared else (4,)) and np.isfinite(rates).all()
    assert shared or (rates[3] == 0 and (rates[:3] > 0).all())
    assert history["sparsity"][0] < 0.2  # the dense filter's code has no zeros


def test_the_closed_form_is_that_of_the_sparse_codes(rng):
    model = built(lambda_learning="em_closed_form", gradient="decoder")
    model.compile(keras.optimizers.SGD(0.0))
    signal = drifting(rng)
    model.adapt(signal)
    before = np.asarray(model.training_state.prior_mean)
    norms = np.abs(model.encode(signal, part="sparse")).sum(axis=1).mean(axis=0)
    positions = signal.shape[1] - 20
    shape, rate = model.lambda_prior.shape_and_rate(before, positions)
    expected = (positions + shape - 1) / (norms + rate)
    model.train_on_batch(signal)
    ceiling = float(model.training_state.lambda_ceiling)
    np.testing.assert_allclose(np.asarray(model.lambda_reg)[:3], np.minimum(expected, ceiling), rtol=1e-3)
