import numpy as np
import pytest
from keras import ops

from keras_crsae.operators.convolution import adjoint, synthesis
from keras_crsae.operators.ridge import freedom, ridge_fit


def matrix(kernel, strides, samples):
    """A as a NumPy matrix (samples * channels, positions * filters)."""
    size, channels, filters = kernel.shape
    positions = (samples - size) // strides + 1
    made = np.zeros((samples, channels, positions, filters))
    for p in range(positions):
        made[p * strides:p * strides + size, :, p] = kernel
    return made.reshape(samples * channels, positions * filters)


CASES = [(1, 3, 1, 2.0), (4, 1, 2, 0.0), (4, 2, 2, 0.5), (3, 1, 1, 0.0)]


@pytest.mark.parametrize("strides, channels, filters, ridge", CASES)
@pytest.mark.parametrize("masked", [False, True])
def test_the_fit_is_that_of_numpy(rng, strides, channels, filters, ridge, masked):
    kernel, samples = rng.standard_normal((7, channels, filters)).astype("float32"), 43
    signal = rng.standard_normal((2, samples, channels)).astype("float32")
    observed = (rng.random(signal.shape) > 0.2).astype("float32") if masked else np.ones_like(signal)
    code, residual = ridge_fit(ops.convert_to_tensor(signal), lambda x: synthesis(x, kernel, (strides,)),
                               lambda y: adjoint(y, kernel, (strides,)), ridge,
                               ops.convert_to_tensor(observed) if masked else None, steps=200)
    a = matrix(kernel, strides, samples)
    for y, seen, fitted, left in zip(signal, observed, np.asarray(code), np.asarray(residual), strict=True):
        seen_a = seen.reshape(-1, 1) * a
        both = np.concatenate([seen_a, ridge**0.5 * np.eye(a.shape[1])])
        best = np.linalg.lstsq(both, np.append((seen * y).ravel(), np.zeros(a.shape[1])), rcond=None)[0]
        np.testing.assert_allclose(left.ravel(), (seen * y).ravel() - seen_a @ best, atol=1e-4)
        if ridge:
            np.testing.assert_allclose(fitted.ravel(), best, atol=1e-4)


@pytest.mark.parametrize("strides, channels, filters, ridge", [*CASES, (1, 1, 2, 1.0), (2, 1, 3, 0.0)])
def test_the_freedom_is_the_trace_of_the_hat_matrix(rng, strides, channels, filters, ridge):
    kernel = rng.standard_normal((7, channels, filters))
    kernel /= np.sqrt((kernel**2).sum(axis=(0, 1)))
    samples = 7 + 199 * strides
    a = matrix(kernel, strides, samples)
    hat = a @ np.linalg.solve(a.T @ a + ridge * np.eye(a.shape[1]), a.T) if ridge else a @ np.linalg.pinv(a)
    taken = np.trace(2 * hat - hat @ hat) / 200
    assert float(freedom(ops.convert_to_tensor(kernel, "float32"), (strides,), ridge)) == pytest.approx(taken, rel=0.03)


def test_the_freedom_of_images_is_that_of_a_circle(rng):
    kernel = rng.standard_normal((3, 4, 1, 2)).astype("float32")
    response = np.fft.fft2(kernel[:, :, 0], s=(60, 60), axes=(0, 1))  # the stride is 1: one phase, two filters
    power = (np.abs(response) ** 2).sum(axis=-1)
    hat = power / (power + 2.0)
    taken = float(freedom(ops.convert_to_tensor(kernel), (1, 1), 2.0))
    assert taken == pytest.approx((2 * hat - hat**2).mean(), rel=1e-3)
