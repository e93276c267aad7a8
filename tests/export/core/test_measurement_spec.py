"""Phi of a spec, in NumPy, is that of the package's measurements."""

import numpy as np
import pytest
from crsae_onnx.core.measurement_spec import MeasurementSpec, measured_layout

from keras_crsae.problem import Blur, Matrix, Subsample


@pytest.mark.parametrize("name", ["time", "flat", "subsample", "blur"])
def test_data_are_those_of_the_measurement(name, rng):
    matrix = rng.standard_normal((5, 12)).astype("float32")
    kernel = rng.standard_normal((2, 3)).astype("float32")
    blur = Blur(kernel)
    spec, measurement, shape = {
        "time": (MeasurementSpec("matrix", matrix), Matrix(matrix), (2, 12, 3)),
        "flat": (MeasurementSpec("matrix", matrix, (3, 4, 1)), Matrix(matrix, (3, 4, 1)), (2, 3, 4, 1)),
        "subsample": (MeasurementSpec("subsample", factor=(2, 1), offset=(1, 0)), Subsample((2, 1), (1, 0)),
                      (2, 6, 5, 2)),
        "blur": (MeasurementSpec("blur", kernel=blur.kernel, padding=tuple(blur.padding)), blur, (2, 6, 5, 2)),
    }[name]
    x = rng.standard_normal(shape).astype("float32")
    expected = np.asarray(measurement.forward(x))
    np.testing.assert_allclose(spec.forward(x), expected, atol=1e-5)
    assert spec.data_space(shape[1:-1]) == expected.shape[1:-1]
    assert spec.signal_space(expected.shape[1:-1]) == shape[1:-1]
    layout = measured_layout({"rank": len(shape) - 2, "channels": shape[-1], "measurement": spec.facts()})
    assert layout[1] == expected.shape[-1]
    assert all(n in (None, m) for n, m in zip(layout[0], expected.shape[1:-1], strict=True))
