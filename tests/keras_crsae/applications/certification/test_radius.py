"""Radii: order of the three bounds, a search for counterexamples, and how they shrink with the gap."""

import numpy as np
import pytest

from keras_crsae.applications.certification.converged_codes import converged_codes, with_gap
from keras_crsae.applications.certification.radius import Levels, babel_function, head_norm, path_radius, radii


def certified(problem, signals, code=None):
    codes = with_gap(problem, signals, converged_codes(problem, signals) if code is None else code)
    labels = problem.logits(codes.code).argmax(axis=1)
    return radii(problem, codes, labels), labels


@pytest.mark.parametrize("two_sided", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_no_signal_inside_the_radius_has_another_class(seed, two_sided, make_problem):
    """Brute force on small problems: many points just inside the sphere, in random and in steepest directions."""
    problem, rng = make_problem(seed, values=3, atoms=5, two_sided=two_sided), np.random.default_rng(seed)
    signals = rng.standard_normal((12, 3))
    found, labels = certified(problem, signals)
    assert (found[:, 0] > 0).sum() > 6
    for x, (radius, _, _), label in zip(signals, found, labels, strict=True):
        radius = min(radius, 10.0)
        directions = rng.standard_normal((150, 3))
        around = x + 0.9999 * radius * directions / np.linalg.norm(directions, axis=1, keepdims=True)
        assert (problem.logits(converged_codes(problem, around)).argmax(axis=1) == label).all()


@pytest.mark.parametrize("two_sided", [False, True])
@pytest.mark.parametrize("values, atoms", [(12, 8), (8, 20)])
def test_the_paths_bound_is_the_sharpest_and_the_papers_the_least(values, atoms, two_sided, make_problem, rng):
    problem = make_problem(5, values, atoms, two_sided=two_sided)
    found, _ = certified(problem, rng.standard_normal((50, values)))
    assert (found[:, 0] >= found[:, 1]).all() and (found[:, 1] >= found[:, 2] * (1 - 1e-9)).all()
    assert (found[:, 0] > 1.01 * found[:, 1]).sum() > 10


def test_with_orthogonal_atoms_the_papers_bound_is_positive(make_problem, rng):
    problem = make_problem(6, 6, 6)
    problem.matrix[:] = np.linalg.qr(problem.matrix)[0]
    found, _ = certified(problem, rng.standard_normal((20, 6)))
    assert (found[:, 2] > 0).sum() > 10 and (found[:, 1] >= found[:, 2] * (1 - 1e-9)).all()


def test_where_the_code_is_linear_the_radius_is_that_of_the_linear_classifier(make_problem):
    """Orthonormal two-sided atoms, all active: z = D^T x - w sign, so the radius is margin / ||W_y - W_k||."""
    problem = make_problem(7, 4, 4, two_sided=True, weight=1e-3)
    problem.matrix[:] = np.eye(4)
    x = np.array([[5.0, -6.0, 7.0, 8.0]])
    found, labels = certified(problem, x)
    logits = problem.logits(converged_codes(problem, x))[0]
    exact = min((logits[labels[0]] - logits[k]) / np.linalg.norm(problem.head[:, labels[0]] - problem.head[:, k])
                for k in range(3) if k != labels[0])
    assert found[0, 0] == pytest.approx(exact, rel=1e-4)


def test_radii_shrink_with_the_duality_gap(make_problem, rng):
    problem, signals = make_problem(8, 10, 8), rng.standard_normal((20, 10))
    there, change = converged_codes(problem, signals), rng.standard_normal((20, 8))
    before, _ = certified(problem, signals)
    for size in (1e-6, 1e-4, 1e-2, 1e-1):
        codes = with_gap(problem, signals, np.maximum(there + size * change, 0))
        now = radii(problem, codes, problem.logits(there).argmax(axis=1))
        assert (now <= before + 1e-12).all() and (now[:, 0] < before[:, 0])[before[:, 0] > 0].any()
        exact, _ = certified(problem, signals)
        assert (now <= exact + 1e-12).all()
        before = now if size > 1e-5 else before


def test_a_wrong_label_has_no_radius(make_problem, rng):
    problem, signals = make_problem(9), rng.standard_normal((5, 4))
    codes = with_gap(problem, signals, converged_codes(problem, signals))
    wrong = (problem.logits(codes.code).argmax(axis=1) + 1) % 3
    assert (radii(problem, codes, wrong) == 0).all()


def test_dependent_active_atoms_have_no_radius(make_problem):
    problem = make_problem(10)
    problem.matrix[:, 1] = problem.matrix[:, 0]
    code = np.array([[0.3, 0.3, 0, 0, 0, 0]])
    codes = with_gap(problem, code @ problem.matrix.T, code)
    label = problem.logits(code).argmax(axis=1)
    assert radii(problem, codes, label)[0, :2].tolist() == [0, 0]


def test_the_shortest_path_beats_every_straight_and_broken_one(rng):
    """Against a search over paths with three levels."""
    start, slope, margin = np.array([0.0, 0.2, 0.5]), np.array([[1.0], [1.5], [3.0]]), 2.0
    best = path_radius(Levels(start, slope, np.inf), np.array([margin]))
    lengths = []
    for first in np.linspace(0, 2, 201):
        for second in np.linspace(0, 4 / 3, 201):
            left = margin - first - 1.5 * second
            if left >= 0:
                lengths.append(np.hypot(0.2, first) + np.hypot(0.3, second) + left / 3)
    lengths.extend([margin, min(np.hypot(0.2, b) + (margin - b) / 1.5 for b in np.linspace(0, 2, 2001))])
    assert best == pytest.approx(min(lengths), rel=1e-3) and best <= min(lengths) * (1 + 1e-9)


def test_babel_and_head_norm_are_those_of_their_definitions(rng):
    matrix = rng.standard_normal((30, 6))
    matrix /= np.linalg.norm(matrix, axis=0)
    products = np.abs(matrix.T @ matrix) - np.eye(6)
    expected = [max(np.sort(row)[::-1][:s].sum() for row in products) for s in range(6)]
    found = babel_function(matrix)
    np.testing.assert_allclose(found, [e for e in expected if e < 1][:len(found)], atol=1e-12)
    head = rng.standard_normal((5, 4))
    assert head_norm(head) == pytest.approx(max(np.linalg.norm(a - b) for a in head.T for b in head.T))
