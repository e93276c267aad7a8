"""What a likelihood declares is true of its value: derivative, curvature, conjugate."""

import numpy as np
import pytest

from keras_crsae.losses import reconstruction_loss
from keras_crsae.problem import Gaussian, Likelihood, likelihoods

NAMES = [n for n in likelihoods.names() if likelihoods.registry.class_of(n).__module__.startswith("keras_crsae")]


@pytest.fixture(params=NAMES)
def likelihood(request):
    return likelihoods.get(request.param)


def test_the_residual_is_minus_the_derivative(likelihood, rng):
    y, eta = rng.standard_normal((2, 7, 1)), 2 * rng.standard_normal((2, 7, 1))
    slope = (likelihood.value(y, eta + 1e-5) - likelihood.value(y, eta - 1e-5)) / 2e-5
    np.testing.assert_allclose(likelihood.residual(y, eta), -np.asarray(slope), atol=1e-6)


def test_the_curvature_bounds_the_distance_from_the_tangent(likelihood, rng):
    y, eta, change = 3 * rng.standard_normal((3, 5, 200, 1))
    above = np.asarray(likelihood.bregman(y, eta, change))
    assert (above >= -1e-9).all()
    if likelihood.curvature is not None:
        assert (above <= 0.5 * likelihood.curvature * change**2 + 1e-9).all()
        assert (above / change**2).max() > 0.45 * likelihood.curvature  # and is the least bound


def test_the_dual_value_is_minus_the_conjugate(likelihood, rng):
    y, grid = rng.standard_normal((1, 6, 1)), np.linspace(-40, 40, 400001)
    u = np.asarray(likelihood.residual(y, 2 * rng.standard_normal(y.shape)))
    if likelihood.dual_value(y, u) is None:
        pytest.skip("no dual value is declared")
    values = [np.min(likelihood.value(np.full_like(grid, yi), grid) + ui * grid)
              for yi, ui in zip(y.ravel(), u.ravel(), strict=True)]
    np.testing.assert_allclose(np.ravel(likelihood.dual_value(y, u)), values, atol=1e-6)


def test_the_dual_scale_maximises_the_dual_along_the_residual(rng):
    y, residual = rng.standard_normal((2, 3, 8, 1))
    scale = np.asarray(Gaussian().dual_scale(y, residual))[:, None, None]
    best = np.sum(Gaussian().dual_value(y, scale * residual), axis=(1, 2))
    for other in (scale - 0.01, scale + 0.01):
        assert (np.sum(Gaussian().dual_value(y, other * residual), axis=(1, 2)) < best).all()


def test_what_the_gaussian_says(rng):
    y, eta = rng.standard_normal((2, 3, 4, 1))
    gaussian = Gaussian()
    assert gaussian.quadratic and gaussian.curvature == 1.0 and gaussian.onnx == "gaussian"
    np.testing.assert_allclose(gaussian.value(y, eta), 0.5 * (y - eta) ** 2)
    np.testing.assert_allclose(gaussian.loss(y, eta), (y - eta) ** 2)
    np.testing.assert_allclose(gaussian.mean(eta), eta)
    assert gaussian.dispersion(3.0) == 9.0 and gaussian.initial_baseline(y) == 0.0
    np.testing.assert_allclose(float(reconstruction_loss(y, eta)), np.mean((y - eta) ** 2))


def test_what_is_not_declared_is_the_cautious_answer():
    plain = Likelihood()
    assert plain.curvature is None and not plain.quadratic and plain.onnx is None
    assert plain.dual_value(1.0, 1.0) is None
    np.testing.assert_array_equal(plain.dual_scale(np.ones((3, 4, 1)), np.ones((3, 4, 1))), np.ones(3))
    with pytest.raises(NotImplementedError):
        plain.value(1.0, 1.0)
