"""The plain forms compute what the package computes: a comparison of speed compares equal work."""

import sys

import numpy as np
import pytest

from benchmarks import common, solvers
from benchmarks.certificate import Problem
from benchmarks.reference_implementations import keras_encoder, lipschitz, numpy_fista


@pytest.fixture(scope="module")
def case():
    signal = np.random.default_rng(0).standard_normal((2, 120, 1)).astype("float32") * 5
    return signal, common.unit_filters((9, 1, 3))


@pytest.mark.parametrize("form", ["numpy", "keras loop", "keras unrolled"])
def test_plain_encoders_give_the_models_code(case, form):
    signal, filters = case
    model, missing = common.encoder_model(filters, 15)
    expected = model.encode(signal)
    code = numpy_fista(filters, 4.0, 15)(signal[..., 0]) if form == "numpy" else keras_encoder(
        filters, 4.0, 15, signal.shape, unroll="unrolled" in form)(signal)
    assert not missing and 0 < np.count_nonzero(expected) < expected.size
    # The step sizes differ by the bound's margin, hence the codes by a little.
    assert np.abs(code - expected).max() < 0.02 * expected.max()


def test_the_strided_plain_encoder_pads_as_the_model_does():
    image = np.random.default_rng(1).standard_normal((1, 21, 22, 1)).astype("float32") * 5
    filters = common.unit_filters((5, 5, 1, 4))
    model, _ = common.encoder_model(filters, 10, 2.0, strides=3)
    expected = model.encode(image)
    code = keras_encoder(filters, 2.0, 10, image.shape, 3, step=float(model.step_size))(image)
    assert code.shape == expected.shape and np.any(expected)
    assert np.abs(code - expected).max() < 1e-4 * expected.max()


def test_the_spectral_bound_is_no_less_than_the_true_eigenvalue(case):
    from benchmarks.certificate import dictionary_matrix

    _, filters = case
    matrix = dictionary_matrix(filters.astype(float), 300).toarray()
    true = np.linalg.eigvalsh(matrix.T @ matrix).max()
    assert true <= lipschitz(filters) < 1.05 * true


def test_a_missing_peer_is_a_row_that_names_the_extra(case, monkeypatch):
    signal, filters = case
    for name in ("alphacsc", "sporco", "cvxpy", "alphacsc.update_z_multi", "sporco.fft", "sporco.admm"):
        monkeypatch.setitem(sys.modules, name, None)
    problem = Problem(signal[..., 0], filters, solvers.LAMBDA)
    found, absent = solvers.competitors(filters, problem, problem, 1)
    _, convex = solvers.convex(filters, problem, 1.0)
    assert [s.name for s in found][0] == solvers.OURS
    assert len(absent) == 4 and len(convex) == 2
    assert all(why == common.NOT_INSTALLED and "[bench]" in why for _, why in absent + convex)


def test_the_effort_found_reaches_the_drop_and_the_one_below_does_not(case):
    signal, filters = case
    problem = Problem(signal[..., 0], filters, solvers.LAMBDA)
    solver = solvers.Solver("numpy", lambda effort: numpy_fista(filters, solvers.LAMBDA, effort))
    effort = solver.effort_for(problem, 1e-2)
    assert solver.drop(problem, effort) <= 1e-2 < solver.drop(problem, effort - 1)
