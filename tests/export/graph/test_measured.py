"""Files of models of measured data: parity with Keras, and what is refused."""

import numpy as np
import pytest
from crsae_onnx import SparseEncoder
from crsae_onnx.convert import convert
from crsae_onnx.validate import validate

import keras_crsae as kc
from keras_crsae.problem import Blur, Mask, Matrix, Subsample

RNG = np.random.default_rng(6)
PHI = (RNG.standard_normal((12, 24)) / 12**0.5).astype("float32")
STACK = (RNG.standard_normal((3, 12, 24)) / 12**0.5).astype("float32")
#: Name -> options of the model, of the conversion.
CASES = {
    "matrix": (dict(kernel_size=5, measurement=Matrix(PHI)), dict(inputs=("signal", "mask", "sigma"))),
    "channels, strides": (dict(kernel_size=6, strides=4, measurement=Matrix(PHI), code_prior="soft"), {}),
    "dense": (dict(kernel_size=24, filters=9, measurement=Matrix(PHI), iterations=40),
              dict(inputs=("signal", "mask", "sigma"))),
    "dense image": (dict(kernel_size=(4, 6), filters=9, measurement=Matrix(PHI, (4, 6, 1))), dict(loop=True)),
    "image": (dict(kernel_size=(3, 2), measurement=Matrix(PHI, (4, 6, 1)), code_prior="soft"), {}),
    "stack": (dict(kernel_size=5, measurement=Matrix(STACK), iterations=25), {}),
    "dense stack": (dict(kernel_size=24, filters=9, measurement=Matrix(STACK)), {}),
    "image stack": (dict(kernel_size=(3, 2), measurement=Matrix(STACK, (4, 6, 1))), {}),
    "subsample": (dict(kernel_size=5, strides=2, measurement=Subsample(3, 1)), dict(inputs=("signal", "mask"))),
    "subsampled image": (dict(kernel_size=(3, 3), measurement=Subsample((1, 2))), {}),
    "blur": (dict(kernel_size=5, measurement=Blur([0.2, 0.5, 0.2, 0.1]), iterations=30), dict(loop=True)),
    "valid blur": (dict(kernel_size=(3, 3), strides=2, measurement=Blur(np.ones((2, 3)) / 6, "valid")), {}),
}


def built(channels=1, **options):
    model = kc.CRsAE(**{"filters": 3, "iterations": 12, "sigma": 0.5, "lambda_init": 2.0, "seed": 3, **options})
    model.build((None,) * (model.rank + 1) + (channels,))
    return model


@pytest.mark.parametrize("name", CASES)
def test_the_file_computes_what_the_model_does(name, tmp_path):
    options, conversion = CASES[name]
    model = built(2 if "channels" in name else 1, **options)
    path = convert(model, tmp_path / "m.onnx", **conversion)
    assert validate(model, path).difference < 1e-4


def test_the_iterations_may_end_early(tmp_path):
    model = built(kernel_size=5, measurement=Matrix(PHI), iterations=60)
    assert validate(model, convert(model, tmp_path / "m.onnx", tolerance=1e-3)).difference < 1e-4


def test_each_signal_names_its_matrix_and_vectors_are_taken(tmp_path):
    model = built(kernel_size=(3, 2), measurement=Matrix(STACK, (4, 6, 1)))
    encoder = SparseEncoder(convert(model, tmp_path / "m.onnx"))
    data, numbers = RNG.standard_normal((4, 12)).astype("float32"), np.array([2, 0, 1, 2])
    each = np.concatenate([model.encode(data[i:i + 1], operator=int(k)) for i, k in enumerate(numbers)])
    np.testing.assert_allclose(encoder.encode(data, operator=numbers), each, atol=1e-4)
    assert encoder.reconstruct(data, operator=1).shape == (4, 4, 6, 1)
    assert encoder.info["measurement"]["count"] == 3 and len(str(encoder.info["config"])) < 3000
    for bad in (None, 3, [0, 1], 0.5):
        with pytest.raises(ValueError, match="which of 3 matrices"):
            encoder.encode(data, operator=bad)
    with pytest.raises(ValueError, match="must hold the measurements"):
        encoder.encode(np.zeros((1, 13, 1, 1)), operator=0)


def test_what_has_no_form_in_a_graph_is_refused(tmp_path):
    class Own:
        norm = 1.0

        def forward(self, x):
            return x

        def adjoint(self, y):
            return y

    for measurement, message in ((Own(), "encode with Keras"), (Mask(np.ones((24, 1))), "the mask with each signal")):
        with pytest.raises(ValueError, match=f"no form in an exported graph.*{message}"):
            convert(built(kernel_size=5, measurement=measurement), tmp_path / "m.onnx")
    plain, measured = built(kernel_size=5), built(kernel_size=5, measurement=Matrix(PHI))
    with pytest.raises(ValueError, match="picks one of several matrices"):
        convert(plain, tmp_path / "m.onnx", inputs=("signal", "operator"))
    with pytest.raises(ValueError, match="are in float32"):
        convert(measured, tmp_path / "m.onnx", precision="float16")
    with pytest.raises(ValueError, match="`outputs` must be some of"):
        convert(measured, tmp_path / "m.onnx", outputs=("spikes",), spikes=1.0)
    path = convert(measured, tmp_path / "m.onnx")
    with pytest.raises(ValueError, match="measurements of whole signals"):
        SparseEncoder(path).encode(np.zeros((1, 12, 1)), sparse=True)
