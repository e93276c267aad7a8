"""What the iterations take: a measurement on padded signals, with a mask of its data."""

import numpy as np

from keras_crsae.problem import Matrix
from keras_crsae.problem.measured_signal import MeasuredSignal


def test_padding_and_mask_are_part_of_the_operator_and_of_its_adjoint(rng):
    phi = Matrix(rng.standard_normal((6, 10)))
    observed = (rng.random((2, 6, 1)) < 0.7).astype("float32")
    measured = MeasuredSignal(phi, (10,), (13,), observed)
    x, y = rng.standard_normal((2, 13, 1)).astype("float32"), rng.standard_normal((2, 6, 1)).astype("float32")
    np.testing.assert_array_equal(measured.forward(x), phi.forward(x[:, :10]))
    np.testing.assert_allclose(np.sum(observed * measured.forward(x) * y), np.sum(x * measured.adjoint(y)), rtol=1e-4)
    assert measured.adjoint(y).shape == x.shape
