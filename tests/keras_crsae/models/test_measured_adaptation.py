"""Values taken from measured data: sigma in their unit, Donoho's lambda of each filter, the ceiling."""

import numpy as np
import pytest
from keras import ops

from keras_crsae.initializers import donoho_lambda
from keras_crsae.layers import ConvDictionary
from keras_crsae.models.measured_adaptation import check_first_filters, check_sigma, resolve_measured
from keras_crsae.problem import Blur, Laplace, Matrix


def test_codes_of_measured_noise_are_zero_at_donohos_lambda_and_the_ceiling_is_half_of_the_least(rng):
    dictionary = ConvDictionary(3, 7, channels=1)
    dictionary.build()
    matrix = rng.standard_normal((20, 40)) / 20**0.5
    noise = 0.5 * rng.standard_normal((30, 20, 1)).astype("float32")
    found = resolve_measured(noise, dictionary, 0.5, True, Laplace(), Matrix(matrix))
    norms = np.asarray(Matrix(matrix).column_norms(dictionary.unit_kernel()))
    np.testing.assert_allclose(found.lambda_reg, norms * donoho_lambda(3, 34, 0.5), rtol=1e-6)
    back = ops.convert_to_tensor(np.einsum("mn,bmc->bnc", matrix, noise).astype("float32"))
    correlation = np.abs(np.asarray(dictionary.adjoint(back)))
    alive = (correlation > np.asarray(found.lambda_reg) * 0.5**2).any(axis=(1, 2))
    assert alive.mean() <= 0.25
    assert found.lambda_ceiling == pytest.approx(0.5 * correlation.max() / 0.5**2, rel=1e-4)


def test_sigma_of_a_blurred_signal_is_read_off_it(rng):
    dictionary = ConvDictionary(2, 7, channels=1)
    dictionary.build()
    noise = 0.3 * rng.standard_normal((4, 500, 1)).astype("float32")
    assert resolve_measured(noise, dictionary, "estimate", False, Laplace(), Blur([0.5, 0.5])).sigma == \
        pytest.approx(0.3, rel=0.1)
    with pytest.raises(ValueError, match="noise level of zero"):
        resolve_measured(0 * noise, dictionary, "estimate", False, Laplace(), Blur([0.5, 0.5]))


def test_what_sums_do_not_show_is_refused():
    matrix = Matrix(np.ones((2, 9)))
    for check, bad in ((check_sigma, "estimate"), (check_first_filters, "energy")):
        with pytest.raises(ValueError):
            check(matrix, bad)
        check(Blur([1.0]), bad)
    check_sigma(matrix, 1.0)
    check_first_filters(matrix, "dct")
