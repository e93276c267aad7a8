"""What codes of counts predict."""

import numpy as np
import pytest
from crsae_onnx.core.count_prediction import linear_of, mean_of
from crsae_onnx.core.spec import EncoderSpec
from scipy import special


def spec(likelihood, rank=1, strides=2, **more):
    kernel = np.random.default_rng(0).standard_normal((*(5, 4)[:rank], 2, 3)) / 3
    return EncoderSpec(kernel, kernel, (strides,) * rank, 0.1, [1.0, 2.0, 0.5], 1.0, np.zeros(3), likelihood=likelihood,
                       baseline=[0.3, -0.4], **more)


@pytest.mark.parametrize("rank", [1, 2])
def test_eta_is_the_sum_of_the_filters_where_the_code_has_values(rank):
    made = spec("poisson", rank)
    code = np.zeros((1, *(6, 7)[:rank], 3))
    code[(0, *(2, 3)[:rank], 1)] = 2.0
    space = (15, 15)[:rank]
    eta = linear_of(made, code, space) - [0.3, -0.4]
    at = tuple(slice(2 * p, 2 * p + k) for p, k in zip((2, 3)[:rank], (5, 4)[:rank], strict=True))
    np.testing.assert_allclose(eta[(0, *at)], 2 * made.kernel[..., 1], rtol=1e-6)
    assert eta.shape == (1, *space, 2) and np.count_nonzero(eta) == made.kernel[..., 1].size


def test_means_are_inverse_links():
    eta = np.linspace(-3, 3, 7)
    np.testing.assert_allclose(mean_of("poisson", eta), np.exp(eta))
    np.testing.assert_allclose(mean_of("binomial", eta), special.expit(eta))
