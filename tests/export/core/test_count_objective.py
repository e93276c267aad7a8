"""The objective of counts in NumPy, against SciPy's probabilities."""

import numpy as np
import pytest
from crsae_onnx.core.count_objective import linear_of, mean_of, objective_of
from crsae_onnx.core.spec import EncoderSpec
from scipy import stats


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


@pytest.mark.parametrize("likelihood", ["poisson", "binomial"])
def test_differences_are_those_of_the_log_likelihood_and_the_penalty(likelihood):
    rng = np.random.default_rng(1)
    made, size = spec(likelihood), np.array([4.0, 9.0])
    codes = rng.uniform(0, 1, (2, 2, 6, 3))
    counts = rng.integers(0, 4, (2, 15, 2))
    mask = rng.random(counts.shape) < 0.7
    values = []
    for code in codes:
        mean = mean_of(likelihood, linear_of(made, code, (15,)))
        per = size[:, None, None]
        logs = stats.poisson.logpmf(counts, per * mean) if likelihood == "poisson" else \
            stats.binom.logpmf(counts, per.astype(int), mean)
        values.append((-(mask * logs).sum((1, 2)) + (code * made.lambda_reg).sum((1, 2))) / size)
    found = [objective_of(made, counts, code, size, mask) for code in codes]
    np.testing.assert_allclose(found[0] - found[1], values[0] - values[1], rtol=1e-9)
