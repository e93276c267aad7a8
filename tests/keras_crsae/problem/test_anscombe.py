"""The Anscombe transform gives noise of standard deviation 1, and its inverse is unbiased."""

import numpy as np
import pytest
from keras import ops

from keras_crsae.problem.anscombe import (
    ZERO,
    anscombe,
    anscombe_mean,
    inverse_anscombe,
    inverse_anscombe_tensor,
)

RATES = np.concatenate([[0.0], np.geomspace(1e-3, 400, 300)])


def test_the_series_is_the_mean_of_transformed_counts(rng):
    for rate in (0.1, 1.0, 5.0, 40.0):
        values = anscombe(rng.poisson(rate, 200_000))
        assert abs(float(anscombe_mean(rate)) - values.mean()) < 4 * values.std() / np.sqrt(values.size)


def test_noise_has_standard_deviation_one_from_a_rate_of_four_on(rng):
    for rate in (4.0, 20.0, 200.0):
        assert anscombe(rng.poisson(rate, 200_000)).std() == pytest.approx(1.0, abs=0.02)


@pytest.mark.parametrize("inverse", [
    inverse_anscombe, lambda v: ops.convert_to_numpy(inverse_anscombe_tensor(ops.convert_to_tensor(v.astype("f4"))))])
def test_the_inverse_of_the_mean_is_the_rate(inverse):
    made = inverse(anscombe_mean(RATES))
    np.testing.assert_allclose(made, RATES, atol=1e-3, rtol=1e-5)
    assert np.all(np.diff(made) > 0)


def test_the_closed_form_of_the_literature_is_near_the_table():
    """Makitalo and Foi's closed form, a fit with errors of up to 0.02."""
    values = anscombe_mean(RATES[RATES > 0.05])
    root = np.sqrt(1.5)
    closed = values**2 / 4 + root / (4 * values) - 11 / (8 * values**2) + 5 * root / (8 * values**3) - 1 / 8
    np.testing.assert_allclose(inverse_anscombe(values), closed, atol=0.02)


def test_below_the_transform_of_zero_arrays_give_zero_and_tensors_a_gradient():
    values = np.array([-3.0, 0.0, ZERO - 0.1, ZERO], "float32")
    np.testing.assert_allclose(inverse_anscombe(values), 0.0, atol=1e-6)
    made = ops.convert_to_numpy(inverse_anscombe_tensor(ops.convert_to_tensor(values)))
    assert np.all(np.diff(made) > 0) and abs(made[-1]) < 1e-5
