"""Parts of the benchmark of filters of rank one."""

import numpy as np
import pytest

from benchmarks import rank_one as benchmark


def test_the_simulation_is_of_rank_one_filters_of_norm_one_in_noise():
    signal, maps, courses, _ = benchmark.simulate(trials=2, samples=300, channels=9, filters=5, kernel=40, sigma=0.0)
    assert signal.shape == (2, 300, 9)
    np.testing.assert_allclose(np.linalg.norm(maps, axis=0), 1)
    np.testing.assert_allclose(np.linalg.norm(courses, axis=0), 1)
    assert np.linalg.matrix_rank(signal.reshape(-1, 9), tol=1e-4) == 5


def test_errors_are_zero_for_the_truth_in_another_order_and_sign():
    _, maps, courses, _ = benchmark.simulate(trials=1, samples=100, channels=9, filters=3, kernel=40)
    order = [2, 0, 1]
    assert max(benchmark.errors((maps, courses), (-maps[:, order], -courses[:, order]))) < 1e-6
    assert max(benchmark.errors((maps, courses), (maps[::-1], courses))) > 0.1


def test_least_squares_finds_the_filters_of_known_codes_without_noise():
    signal, maps, courses, code = benchmark.simulate(trials=3, samples=600, channels=9, filters=3, kernel=20,
                                                     density=0.03, sigma=1e-6)
    assert max(benchmark.errors((maps, courses), benchmark.least_squares(signal, code, 20))) < 1e-3


@pytest.mark.parametrize("values, expected", [([5, 4, 3, 2, 1], 2), ([5, 4], None), ([1], 0)])
def test_the_first_round_below_a_value_is_found(values, expected):
    curve = benchmark.Curve(None, {"cpu": values})
    curve.known = dict(enumerate(values))
    assert curve.first_below(3) == expected
