"""What a call is given beside the signal: shapes, refusals, and how much longer a step may be on a support."""

import numpy as np
import pytest

import keras_crsae as kc
from keras_crsae.layers.call_inputs import longer_steps


def test_a_step_is_as_long_as_without_a_support_or_longer():
    layer = kc.ConvDictionary(filters=1, kernel_size=9, kernel_initializer="ones")
    layer.build()
    support = np.zeros((3, 50, 1), "float32")
    support[0], support[1, [5, 30]] = 1, 1
    found = np.asarray(longer_steps(layer, support))
    assert longer_steps(layer, None) == 1.0
    bound = float(layer.largest_eigenvalue())  # up to .5 % above the eigenvalue, which is 9 for nine equal samples
    np.testing.assert_allclose(found, [bound / 9, bound, 1], rtol=1e-5)


def encoder(likelihood="poisson", **options):
    cell = kc.SparseCodingCell(kc.ConvDictionary(2, 5), likelihood=likelihood, lambda_init=0.5)
    layer = kc.SparseCoding(cell, iterations=40, **options)
    layer.build((None, 23, 3))
    return layer


@pytest.mark.parametrize("likelihood", ["poisson", "binomial", "gaussian"])
def test_a_baseline_has_one_meaning_in_every_shape(rng, likelihood):
    layer, signal = encoder(likelihood), (rng.random((2, 23, 3)) < 0.5).astype("float32")
    codes = {}
    for per_channel in (False, True):
        value = np.array([0.3, -1.0, 0.5] if per_channel else [0.3], "float32")
        full = np.broadcast_to(value, signal.shape)
        shapes = [value, full[:, 0], full[:, :1], full[:1], full]
        for given in shapes if per_channel else [np.float32(0.3), *shapes]:
            code = np.asarray(layer(signal, baseline=given))
            np.testing.assert_allclose(code, codes.setdefault(per_channel, code), atol=1e-5)
    assert codes[True].any() and not np.allclose(codes[True], codes[False], atol=1e-3)
    moving = full + np.linspace(-1, 1, 23, dtype="float32")[:, None]
    plain = encoder(likelihood, block_size=1)
    plain.cell.dictionary.kernel.assign(layer.cell.dictionary.kernel)
    np.testing.assert_allclose(layer(signal, baseline=moving), plain(signal, baseline=moving), atol=1e-4)


def test_the_cells_baseline_stands_where_none_is_given(rng):
    layer, signal = encoder(), rng.poisson(2.0, (2, 23, 3)).astype("float32")
    layer.cell.baseline.assign([0.1, 0.2, 0.3])
    np.testing.assert_allclose(layer(signal), layer(signal, baseline=np.array([0.1, 0.2, 0.3], "float32")), atol=1e-6)
    code, baseline = layer.code_and_baseline(signal)
    np.testing.assert_allclose(baseline, [0.1, 0.2, 0.3])
    assert encoder("gaussian").cell.baseline is None and not layer.cell.baseline.trainable


def test_a_dispersion_keeps_lambda(rng):
    layer, signal = encoder("gaussian"), rng.standard_normal((2, 23, 3)).astype("float32")
    np.testing.assert_allclose(layer.cell.penalty_weight(dispersion=np.float32(0.25)), 0.5 * 0.25 * np.ones(2))
    assert layer.cell.threshold(dispersion=np.array([1.0, 4.0], "float32")).shape == (2, 1, 2)
    weight = layer.cell.lambda_reg.value * 1.0
    code = layer(signal, dispersion=np.array([0.25, 4.0], "float32"))
    for i, sigma2 in enumerate((0.25, 4.0)):
        layer.cell.lambda_reg.assign(sigma2 * weight)
        np.testing.assert_allclose(code[i:i + 1], layer(signal[i:i + 1]), atol=1e-6)


@pytest.mark.parametrize("given, words", [
    (dict(sigma=1.0, dispersion=1.0), "give one of `sigma` and `dispersion`"),
    (dict(sigma=1.0), "no noise level of its own.*1 / exposure"),
    (dict(baseline=np.zeros((2, 3, 4, 5))), "`baseline` must have shape"),
    (dict(baseline=np.zeros(2)), "`baseline` must have shape"),
    (dict(support=np.ones((2, 19))), "`support` must be 0/1 of the code's shape")], ids=lambda v: "")
def test_what_does_not_fit_is_refused(given, words):
    with pytest.raises(ValueError, match=words):
        encoder()(np.ones((2, 23, 3), "float32"), **given)


def test_what_is_sought_is_not_given():
    with pytest.raises(ValueError, match="leave `baseline` out"):
        encoder(baseline_scope="signal")(np.ones((2, 23, 3), "float32"), baseline=0.0)
    with pytest.raises(ValueError, match="active=True searches for it"):
        encoder("gaussian", active=True)(np.ones((2, 23, 3), "float32"), support=np.ones((2, 19, 2), "float32"))
