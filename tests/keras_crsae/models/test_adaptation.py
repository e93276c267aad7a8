"""First values that a model takes from data."""

import numpy as np
import pytest

import keras_crsae as kc
from keras_crsae.initializers import donoho_lambda
from keras_crsae.models.adaptation import first_filters, resolve


@pytest.fixture
def data(rng):
    return (3.0 * rng.standard_normal((4, 500, 1))).astype("float32")


def test_sigma_lambda_and_its_ceiling_follow_from_the_data(data, rng):
    filters = rng.standard_normal((9, 1, 3)).astype("float32")
    found = resolve(data, filters, (1,), "estimate", donoho=True)
    assert found.sigma == pytest.approx(3.0, rel=0.1)
    assert found.lambda_reg == pytest.approx(donoho_lambda(3, 492, found.sigma))
    assert found.lambda_ceiling == pytest.approx(0.5 * kc.lambda_max(data, filters) / found.sigma**2, rel=1e-5)
    assert resolve(data, filters, (1,), 2.0, donoho=False).lambda_reg is None


def test_missing_samples_have_no_part_in_the_ceiling(data, rng):
    filters, mask = rng.standard_normal((9, 1, 3)).astype("float32"), np.ones_like(data)
    loud = data.copy()
    loud[:, 100:140] = 1e3
    mask[:, 100:140] = 0
    found = resolve(loud, filters, (1,), 1.0, donoho=False, mask=mask).lambda_ceiling
    assert found == pytest.approx(0.5 * kc.lambda_max(loud * mask, filters), rel=1e-5)


def test_constant_data_have_no_noise_level():
    with pytest.raises(ValueError, match="noise level of zero"):
        resolve(np.ones((1, 50, 1), "float32"), np.ones((5, 1, 1), "float32"), (1,), "estimate", donoho=False)


@pytest.mark.parametrize("kind", ["dct", "windows", "energy"])
def test_first_filters_have_the_kernels_shape_and_the_same_seed_gives_the_same(data, kind):
    filters = first_filters(kind, data, (9,), 4, seed=1)
    assert filters.shape == (9, 1, 4)
    np.testing.assert_array_equal(filters, first_filters(kind, data, (9,), 4, seed=1))
    if kind != "dct":
        assert not np.array_equal(filters, first_filters(kind, data, (9,), 4, seed=2))


def test_adapt_changes_the_filters_only_on_request(data):
    model = kc.CRsAE(3, 9, seed=0)
    model.build((None, None, 1))
    before = np.array(model.dictionary.kernel)
    model.adapt(data)
    np.testing.assert_array_equal(model.dictionary.kernel, before)
    model.adapt(data, init="windows")
    assert np.abs(np.asarray(model.dictionary.kernel) - before).max() > 0.1
    with pytest.raises(ValueError, match="'dct', 'energy', 'windows'"):
        model.adapt(data, init="best")
