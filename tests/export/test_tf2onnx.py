"""An independent converter, tf2onnx, agrees with the graph that ``convert`` writes by hand."""

import numpy as np
import onnxruntime as ort
import pytest
import tensorflow as tf
from crsae_onnx import SparseEncoder
from crsae_onnx.convert import convert

import keras_crsae as kc


@pytest.mark.parametrize("options, channels, shapes", [
    (dict(filters=3, kernel_size=9, iterations=10), 1, [(1, 9, 1), (2, 130, 1), (3, 257, 1)]),
    (dict(filters=2, kernel_size=(5, 3), rank=2, iterations=10, shrinkage="soft"), 2, [(2, 23, 31, 2)]),
], ids=["signals", "images"])
def test_graph_written_by_hand_equals_what_tf2onnx_makes_of_the_keras_model(rng, tmp_path, options, channels, shapes):
    import tf2onnx

    model = kc.CRsAE(**options, lambda_init=0.7, seed=0)
    free = (None,) * (model.rank + 1) + (channels,)
    model.build(free)

    def encode(signal):
        code = model.encoder(signal)
        return {"code": code, "reconstruction": model.decoder(code)}

    signature = [tf.TensorSpec(free, tf.float32, name="signal")]
    proto, _ = tf2onnx.convert.from_function(tf.function(encode, signature), signature, opset=18)
    session = ort.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    ours = SparseEncoder(convert(model, tmp_path / "e.onnx"))
    for shape in shapes:
        signal = 3 * rng.standard_normal(shape).astype("float32")
        code, reconstruction = session.run(["code", "reconstruction"], {"signal": signal})
        assert 0 < np.count_nonzero(code) < code.size
        np.testing.assert_allclose(ours.encode(signal), code, rtol=0, atol=1e-5 * np.abs(code).max())
        np.testing.assert_allclose(ours.reconstruct(signal), reconstruction, rtol=0,
                                   atol=1e-5 * np.abs(reconstruction).max())
