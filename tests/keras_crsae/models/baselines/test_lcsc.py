"""LCSC is ISTA with three kernels, and begins as ISTA."""

import numpy as np
import pytest

from keras_crsae.models.baselines import LCSC
from keras_crsae.operators.lipschitz import largest_eigenvalue
from tests.keras_crsae.models.baselines.oracle import correlate, place, shrink


def model_of(**options):
    return LCSC(6, 6, rank=2, iterations=4, sigma=1.0, lambda_init=0.7, seed=0, **options)


@pytest.fixture
def images(rng):
    return rng.standard_normal((4, 27, 30, 1)).astype("float32")


@pytest.mark.parametrize("stride", [1, 2, 3])
def test_lcsc_is_ista_with_three_kernels(images, rng, stride):
    model = model_of(strides=stride)
    model.adapt(images)
    for layer in (model.analysis, model.dictionary, model.decoder):  # three kernels that are no longer tied
        layer.kernel.assign(layer.kernel.value * (1 + 0.3 * rng.standard_normal(layer.kernel.shape)))
    image = images[0, :24, :24]
    analysis, synthesis, decoder = (np.asarray(layer.kernel, float) for layer in
                                    (model.analysis, model.dictionary, model.decoder))
    threshold = np.asarray(model.lambda_reg, float) * float(model.sigma) ** 2
    code = shrink(correlate(image, analysis, stride), threshold)
    for _ in range(3):
        code = shrink(code + correlate(image - place(code, synthesis, stride), analysis, stride), threshold)
    assert 0 < np.count_nonzero(code) < code.size
    np.testing.assert_allclose(model.encode(image[None])[0], code, atol=1e-5)
    np.testing.assert_allclose(model.reconstruct(image[None])[0], place(code, decoder, stride), atol=1e-5)


def test_lcsc_begins_as_ista(images):
    model = model_of(strides=2)
    model.adapt(images, init="dct")
    largest = float(largest_eigenvalue(model.dictionary.unit_kernel(), (2, 2)))
    np.testing.assert_allclose(model.analysis.kernel, np.asarray(model.dictionary.kernel) / largest, rtol=1e-5)
    np.testing.assert_allclose(model.lambda_reg, 0.7 / largest, rtol=1e-5)
