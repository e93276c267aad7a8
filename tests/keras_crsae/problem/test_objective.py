"""Objective and duality gap against a reference solver and their definitions."""

from dataclasses import replace

import numpy as np
import pytest
from keras import ops

import keras_crsae as kc
from keras_crsae.operators.convolution import adjoint, synthesis
from keras_crsae.problem import Binomial, Laplace, Mask, Poisson, Problem, dual_objective, objective
from tests.twin import dictionary_matrix, minimise


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


COUNTS = {"poisson": (Poisson, np.exp, np.exp),
          "binomial": (Binomial, lambda eta: np.logaddexp(0, eta), lambda eta: 1 / (1 + np.exp(-eta)))}


@pytest.fixture(params=COUNTS)
def counted(request, rng):
    """A problem of counts whose baseline, sizes and weights differ by signal, and its optimum by SciPy."""
    make, partition, mean = COUNTS[request.param]
    kernel = rng.random((7, 1, 2))
    kernel /= np.linalg.norm(kernel, axis=0)
    matrix, (positions,) = dictionary_matrix(kernel, (40,), (1,))
    baseline, dispersion = np.array([-1.5, -0.3]).reshape(2, 1, 1), np.array([1.0, 0.2])
    weight = rng.integers(0, 4, (2, 40, 1)) / 3
    true = 2.5 * (rng.random((2, positions, 2)) < 0.04)
    eta = (true.reshape(2, -1) @ matrix.T)[..., None] + baseline
    size = np.maximum(1, np.rint(3 * weight / dispersion[:, None, None]))
    y = (rng.poisson(size * np.exp(eta)) if make is Poisson else rng.binomial(size.astype(int), mean(eta))) / size
    y, penalty = np.where(weight > 0, y, 0.0), 0.7 * dispersion
    codes, least = [], []
    for i in range(2):
        w, mu = weight[i].ravel(), baseline[i, 0, 0]
        code, value = minimise(matrix, y[i].ravel(), penalty[i], (1, -1),
                               lambda t, e, w=w, mu=mu: w * (partition(e + mu) - t * (e + mu)),
                               lambda t, e, w=w, mu=mu: w * (mean(e + mu) - t))
        codes.append(code.reshape(positions, 2))
        least.append(value)
    problem = Problem(make(), Laplace(), Mask(ops.convert_to_tensor(weight)), ops.convert_to_tensor(baseline))
    return problem, y, kernel, penalty[:, None, None], np.stack(codes), np.array(least)


def bounds(problem, y, kernel, penalty, code, dtype):
    y, kernel, code, penalty = (ops.convert_to_tensor(a, dtype) for a in (y, kernel, code, penalty))
    problem = replace(problem, baseline=ops.cast(problem.baseline, dtype))
    eta = synthesis(code, kernel, (1,))
    return [np.asarray(v) for v in (objective(problem, y, code, eta, penalty), dual_objective(
        problem, y, eta, lambda r: adjoint(r, kernel, (1,)), penalty))]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_gap_of_counts_brackets_the_optimum_and_closes(counted, dtype, rng):
    problem, y, kernel, penalty, code, least = counted
    assert 3 < np.count_nonzero(np.abs(code) > 1e-3) < 0.5 * code.size
    value, lower = bounds(problem, y, kernel, penalty, code, dtype)
    np.testing.assert_allclose(value, least, rtol=1e-6)
    assert (lower <= least + 1e-6 * np.abs(least)).all() and (value - lower < 1e-3 * np.abs(least)).all()
    for rough in (0 * code, code + 0.3 * rng.standard_normal(code.shape), 5 * code):
        value, lower = bounds(problem, y, kernel, penalty, rough, dtype)
        assert (value >= least).all() and (lower <= least + 1e-6 * np.abs(least)).all() and np.isfinite(lower).all()
        assert (value - lower > 0.01 * np.abs(least)).all()


def test_what_is_missing_may_predict_anything(counted):
    """0 * infinity once would have made both bounds NaN."""
    problem, y, kernel, penalty, code, _ = counted
    weight = np.asarray(problem.measurement.observed).copy()
    weight[:, 10:12] = 0
    problem = replace(problem, measurement=Mask(ops.convert_to_tensor(weight)))
    loud = np.where(np.arange(40)[:, None] == 10, 1e3, 0.0) + np.asarray(problem.baseline)
    found = bounds(replace(problem, baseline=ops.convert_to_tensor(loud)), y, kernel, penalty, code, "float64")
    assert np.isfinite(found).all()


@pytest.mark.parametrize("kind", COUNTS)
def test_the_largest_lambda_of_counts_is_of_what_the_baseline_leaves(kind, rng):
    make, _, mean = COUNTS[kind]
    kernel, trials = rng.random((7, 2, 3)), np.array([4, 9])
    kernel /= np.linalg.norm(kernel, axis=(0, 1))
    matrix, _ = dictionary_matrix(kernel, (40,), (1,))
    counts = rng.binomial(4, 0.3, (2, 40, 2))
    baseline = np.array([-1.0, -0.5])
    left = (counts - trials[:, None, None] * mean(baseline)).reshape(2, -1) @ matrix
    found = kc.lambda_max(counts, kernel, likelihood=kind, size=trials, baseline=baseline)
    assert found == pytest.approx(np.abs(left).max() / 9, rel=1e-5)
    rate = counts.sum(axis=(0, 1)) / (40 * trials.sum())
    left = (counts - trials[:, None, None] * rate).reshape(2, -1) @ matrix
    found = kc.lambda_max(counts, kernel, likelihood=make(), size=trials, code_prior="nonnegative_soft")
    assert found == pytest.approx(left.max() / 9, rel=1e-5)
    with pytest.raises(ValueError, match="`signal` must hold counts"):
        kc.lambda_max(counts + 0.5, kernel, likelihood=kind, size=trials)
    with pytest.raises(ValueError, match="`size` is the exposure or the trials of counts.*Gaussian"):
        kc.lambda_max(counts, kernel, size=trials)
