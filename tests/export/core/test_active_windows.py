"""Windows with one Gram matrix: places, inner products and solutions against plain NumPy and SciPy."""

import numpy as np
import pytest
from crsae_onnx.core.active_windows import (
    SHRINKAGES,
    ActiveSetParameters,
    WindowProblems,
    movement,
    row_size,
    strongest_apart,
)
from scipy.optimize import minimize

KERNEL = np.random.default_rng(0).standard_normal((7, 2, 3))
KERNEL /= np.linalg.norm(KERNEL, axis=(0, 1))


@pytest.mark.parametrize("size, filters, expected", [(61, 3, 8), (45, 3, 8), (21, 3, 4), (1, 2, 1), (45, 300, 1)])
def test_a_row_is_a_fifth_of_a_kernel_unless_there_are_many_filters(size, filters, expected):
    assert row_size(size, filters) == expected


def test_selected_places_are_apart_and_the_strongest_is_among_them(rng):
    for _ in range(20):
        score = (rng.random(200) * (rng.random(200) < 0.2)).astype("float32")
        places = strongest_apart(score, 0.3, spacing=9)
        assert np.diff(places).min(initial=9) >= 9 and (score[places] > 0.3).all()
        assert score.argmax() in places
    assert not len(strongest_apart(score, 1.0, spacing=9))


def dictionary(positions):
    """D as a matrix (samples * channels, positions * filters)."""
    matrix = np.zeros((positions + 6, 2, positions, 3))
    for p in range(positions):
        matrix[p:p + 7, :, p] = KERNEL
    return matrix.reshape(-1, positions * 3)


def test_inner_products_are_those_of_the_dictionary():
    windows = WindowProblems(KERNEL, 4, 8, SHRINKAGES["soft"], ActiveSetParameters())
    matrix = dictionary(20)
    whole = matrix.T @ matrix
    np.testing.assert_allclose(windows.cross, whole[8 * 3:12 * 3], atol=1e-6)
    np.testing.assert_allclose(windows.gram, whole[8 * 3:12 * 3, 8 * 3:12 * 3], atol=1e-6)


@pytest.mark.parametrize("prior", SHRINKAGES)
@pytest.mark.parametrize("start", [0.0, 1.0])
def test_windows_are_solved_from_any_start_and_closed_positions_hold_nothing(prior, start, rng):
    windows = WindowProblems(KERNEL, 4, 6, SHRINKAGES[prior], ActiveSetParameters())
    linear = rng.normal(0, 3, (5, 12)).astype("float32")
    weight = np.full((5, 12), 0.7, "float32")
    weight[2, 9:] = np.inf
    code = np.where(np.isfinite(weight), np.float32(start), 0)
    got = windows.solve(code, linear - code @ windows.gram, linear, weight, 500, 1e-5)
    assert not got[2, 9:].any()
    assert movement(got, linear - got @ windows.gram, weight, windows.shrinkage).max() < 1e-4
    bounds = [(0, None)] * 24 if prior == "soft" else [(0, None)] * 12 + [(0, 0)] * 12
    for row in (0, 1):
        def objective(x, row=row):
            z = x[:12] - x[12:]
            return z @ windows.gram @ z / 2 - linear[row] @ z + 0.7 * x.sum()
        best = minimize(objective, np.zeros(24), bounds=bounds, options={"maxiter": 5000, "maxfun": 10**6}).fun
        value = got[row] @ windows.gram @ got[row] / 2 - linear[row] @ got[row] + 0.7 * np.abs(got[row]).sum()
        assert value < best + 1e-4


def test_too_few_iterations_never_raise_the_objective(rng):
    hard = np.ones((7, 1, 3)) / 7**0.5 + 0.01 * rng.standard_normal((7, 1, 3))
    hard /= np.linalg.norm(hard, axis=(0, 1))
    windows = WindowProblems(hard, 4, 6, SHRINKAGES["nonnegative_soft"], ActiveSetParameters())
    linear = rng.normal(0, 3, (50, 12)).astype("float32")
    weight = np.full((1, 12), 0.1, "float32")
    code = windows.solve(np.zeros_like(linear), linear, linear, weight, 500, 1e-6)
    again = windows.solve(code, linear - code @ windows.gram, linear, weight, 10, 1e-9)
    before, after = (windows._objective(x, linear, weight) for x in (code, again))
    assert (after <= before + 1e-4 * np.abs(before)).all()
