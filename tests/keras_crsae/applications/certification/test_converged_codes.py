"""Codes at the optimum, their gaps, and the projection that certificates rest on."""

import numpy as np
import pytest

from keras_crsae.applications.certification.converged_codes import converged_code, converged_codes, with_gap


@pytest.mark.parametrize("two_sided", [False, True])
@pytest.mark.parametrize("values, atoms", [(4, 6), (20, 8), (10, 40)])
def test_the_gap_is_that_of_rounding(values, atoms, two_sided, make_problem, rng):
    problem = make_problem(0, values, atoms, two_sided=two_sided)
    signals = rng.standard_normal((20, values))
    codes = with_gap(problem, signals, converged_codes(problem, signals))
    assert codes.gap.max() < 1e-12
    assert two_sided or codes.code.min() >= 0
    assert (problem.excess(codes.dual @ problem.matrix) <= problem.weight * (1 + 1e-12)).all()


def test_every_start_leads_to_the_same_code(make_problem, rng):
    problem, signals = make_problem(1, 12, 10, two_sided=True), rng.standard_normal((8, 12))
    there = converged_codes(problem, signals)
    np.testing.assert_allclose(converged_codes(problem, signals, rng.standard_normal((8, 10))), there, atol=1e-9)


def test_dependent_atoms_end_with_a_gap_that_is_told(make_problem):
    problem = make_problem(0, 3, 4)
    problem.matrix[:, 1] = problem.matrix[:, 0]
    signals = problem.matrix[:, 0][None]
    codes = with_gap(problem, signals, np.stack([converged_code(problem, signals[0], np.array([0.1, 0.1, 0, 0]), 50)]))
    assert codes.code[0] is not None and codes.error[0] >= np.sqrt(2 * codes.gap[0])


@pytest.mark.parametrize("two_sided", [False, True])
def test_residuals_are_projections(two_sided, make_problem, rng):
    """Firmly nonexpansive: ||u - u'||^2 + ||D z - D z'||^2 <= ||x - x'||^2."""
    problem = make_problem(2, 6, 12, two_sided=two_sided)
    signals = rng.standard_normal((40, 6))
    codes = converged_codes(problem, signals)
    decoded = codes @ problem.matrix.T
    u = signals - decoded
    for a, b in zip(range(0, 40, 2), range(1, 40, 2), strict=True):
        moved = np.sum(np.square(u[a] - u[b])) + np.sum(np.square(decoded[a] - decoded[b]))
        assert moved <= np.sum(np.square(signals[a] - signals[b])) * (1 + 1e-9)


def test_the_gap_bounds_the_distance_from_the_optimum(make_problem, rng):
    problem, signals = make_problem(3, 6, 8), rng.standard_normal((30, 6))
    there = with_gap(problem, signals, converged_codes(problem, signals))
    away = with_gap(problem, signals, np.maximum(there.code + 0.05 * rng.standard_normal(there.code.shape), 0))
    assert (np.linalg.norm(away.dual - there.dual, axis=1) <= away.error).all()
    assert (np.linalg.norm((away.code - there.code) @ problem.matrix.T, axis=1) <= away.error).all()
