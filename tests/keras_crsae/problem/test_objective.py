"""Objective and duality gap against a reference solver and their definitions."""

import numpy as np
import pytest

import keras_crsae as kc
from tests.twin import dictionary_matrix


@pytest.mark.parametrize("shrinkage", ["soft", "nonnegative_soft"])
def test_the_gap_brackets_the_optimum(rng, shrinkage):
    from sklearn.linear_model import Lasso

    model = kc.CRsAE(2, 7, iterations=15, shrinkage=shrinkage, sigma=2.0, lambda_init=0.2, seed=1)
    signal = rng.standard_normal((2, 60, 1)).astype("float32")
    code = model.encode(signal)
    matrix, _ = dictionary_matrix(model.dictionary.unit_kernel().numpy().astype("float64"), (60,), (1,))
    found = model.convergence(signal, code)
    for i in range(2):
        y = signal[i].ravel().astype("float64")

        def objective(z, y=y):
            return 0.5 * np.sum((y - matrix @ z) ** 2) + 0.8 * np.abs(z).sum()

        best = Lasso(alpha=0.8 / 60, fit_intercept=False, tol=1e-12, max_iter=100000,
                     positive=shrinkage == "nonnegative_soft").fit(matrix, y).coef_
        assert found.objective[i] == pytest.approx(objective(code[i].ravel()), rel=1e-6)
        assert found.objective[i] - found.gap[i] <= objective(best) * (1 + 1e-6)
        drop = objective(np.zeros(best.size)) - objective(best)
        assert (objective(code[i].ravel()) - objective(best)) / drop <= found.remaining[i]


def test_more_iterations_close_the_gap(rng):
    signal = rng.standard_normal((2, 80, 2)).astype("float32")
    gaps = []
    for iterations in (10, 100, 2000):
        model = kc.CRsAE(3, 9, strides=2, iterations=iterations, shrinkage="soft", lambda_init=0.5, seed=1)
        gaps.append(model.convergence(signal, mask=np.arange(80)[None, :, None] % 7 > 0, sigma=[0.7, 1.4]).gap)
    assert (gaps[0] > gaps[1]).all() and (gaps[1] > gaps[2]).all() and (gaps[2] < 1e-2 * gaps[0]).all()


def test_a_code_of_another_shape_is_refused(rng):
    model = kc.CRsAE(2, 7, seed=0)
    with pytest.raises(ValueError, match="`code` must have shape"):
        model.convergence(rng.standard_normal((1, 30, 1)), code=np.zeros((1, 30, 2)))


def test_a_model_in_double_precision_has_the_gap_of_one_in_single(rng):
    signal, gaps = 3.0 * rng.standard_normal((2, 60, 1)), []
    for dtype in ("float32", "float64"):
        model = kc.CRsAE(3, 9, iterations=20, lambda_init=0.5, dtype=dtype, seed=0)
        model.set_dictionary(np.random.default_rng(1).standard_normal((9, 1, 3)))
        gaps.append(model.convergence(signal, sigma=1.0).gap)
    assert (gaps[1] > 0).all()
    np.testing.assert_allclose(gaps[0], gaps[1], rtol=1e-3)


def test_masked_values_have_no_say_in_the_largest_lambda(rng):
    filters, signal = rng.standard_normal((5, 1, 2)), rng.standard_normal((1, 30, 1))
    for name, given in (("signal", (np.ma.masked_less(signal, 0), filters)),
                        ("filters", (signal, np.ma.masked_less(filters, 0)))):
        with pytest.raises(ValueError, match=f"`{name}` is a masked array"):
            kc.lambda_max(*given)
