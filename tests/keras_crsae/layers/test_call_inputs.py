"""How much longer a step may be on a support; the rest is tested through the encoder."""

import numpy as np

import keras_crsae as kc
from keras_crsae.layers.call_inputs import longer_steps


def test_a_step_is_as_long_as_without_a_support_or_longer():
    layer = kc.ConvDictionary(filters=1, kernel_size=9, kernel_initializer="ones")
    layer.build()
    support = np.zeros((3, 50, 1), "float32")
    support[0], support[1, [5, 30]] = 1, 1
    found = np.asarray(longer_steps(layer, support))
    assert longer_steps(layer, None) == 1.0
    np.testing.assert_allclose(found, [1, float(layer.largest_eigenvalue()), 1], rtol=1e-5)
