"""What a code prior declares is true of its penalty: prox, polar, sign, bias form."""

import numpy as np
import pytest
from keras import ops

from keras_crsae.problem import CodePrior, code_priors

NAMES = [n for n in code_priors.names() if code_priors.registry.class_of(n).__module__.startswith("keras_crsae")]


@pytest.fixture(params=NAMES)
def prior(request):
    return code_priors.get(request.param)


def test_the_prox_minimises_distance_and_penalty(prior):
    v, grid = np.linspace(-3, 3, 13), np.linspace(-5, 5, 20001)
    penalty = np.asarray(prior.penalty(ops.convert_to_tensor(grid), 0.8))
    best = [grid[np.argmin(0.5 * (grid - x) ** 2 + penalty)] for x in v]
    np.testing.assert_allclose(prior.prox(ops.convert_to_tensor(v), 0.8), best, atol=1e-3)


def test_the_dual_excess_is_what_moves_a_zero(prior, rng):
    x = rng.standard_normal((2, 50, 3))
    moved = np.asarray(prior.prox(x, 0.4))
    np.testing.assert_allclose(np.abs(moved), np.maximum(np.asarray(prior.dual_excess(x)) - 0.4, 0), atol=1e-12)


def test_the_penalty_is_homogeneous_and_infinite_for_excluded_codes(prior, rng):
    x = ops.convert_to_tensor(rng.standard_normal((2, 50, 3)))
    code = prior.prox(x, 0.2)
    np.testing.assert_allclose(prior.penalty(3.0 * code, 0.5), 3 * np.asarray(prior.penalty(code, 0.5)))
    np.testing.assert_allclose(prior.penalty(code, 0.5), 0.5 * np.asarray(prior.magnitude(code)))
    allowed = np.isfinite(prior.penalty(x, 1.0))
    assert allowed.all() == prior.signed and (np.asarray(x)[allowed] != 0).any()


def test_an_infinite_threshold_gives_zero(prior, rng):
    assert not np.asarray(prior.prox(rng.standard_normal((1, 9, 2)), np.inf)).any()


def test_the_bias_form_is_declared_where_it_holds(prior, rng):
    x = rng.standard_normal((2, 30, 3))
    assert prior.bias_form == np.array_equal(prior.prox(x, 0.3), np.maximum(x - 0.3, 0))


def test_what_is_not_declared_is_the_cautious_answer():
    plain = CodePrior()
    assert plain.dual_excess(np.ones(3)) is None and plain.onnx is None and not plain.bias_form
    with pytest.raises(NotImplementedError):
        plain.prox(1.0, 1.0)
