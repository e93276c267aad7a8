"""TLAE takes one step with one kernel."""

import numpy as np
import pytest

from keras_crsae.models.baselines import TLAE
from tests.keras_crsae.models.baselines.oracle import correlate, shrink


def model_of(**options):
    return TLAE(6, 6, rank=2, sigma=1.0, lambda_init=0.7, seed=0, **options)


@pytest.fixture
def images(rng):
    return rng.standard_normal((4, 27, 30, 1)).astype("float32")


def test_tlae_takes_one_step_with_one_kernel(images):
    model = model_of(strides=3)
    model.adapt(images)
    kernel = np.asarray(model.dictionary.kernel, float)
    code = shrink(correlate(images[0, :24, :24], kernel, 3), np.asarray(model.lambda_reg, float))
    assert 0 < np.count_nonzero(code) < code.size
    np.testing.assert_allclose(model.encode(images[:1, :24, :24])[0], code, atol=1e-5)
    assert model.decoder is model.dictionary
