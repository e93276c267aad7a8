"""Layers under Keras' dtype policies: half precision is computed in float32 or refused."""

import keras
import numpy as np
import pytest

import keras_crsae as kc
from keras_crsae.layers.precision import layer_policy


@pytest.fixture
def global_policy():
    before = keras.config.dtype_policy()
    yield keras.config.set_dtype_policy
    keras.config.set_dtype_policy(before)


def coder(**options):
    layer = kc.SparseCoding(kc.SparseCodingCell(kc.ConvDictionary(3, 7, **options), lambda_init=0.05, **options),
                            iterations=10, **options)
    layer.build((None, 60, 1))
    layer.cell.dictionary.kernel.assign(np.random.default_rng(1).standard_normal((7, 1, 3)))
    layer.cell.restore_constraints()
    return layer


@pytest.mark.parametrize("name, inside", [("float32", "float32"), ("float64", "float64"), ("mixed_float16", "float32"),
                                          ("mixed_bfloat16", "mixed_bfloat16")])
def test_the_policy_of_a_layer(global_policy, name, inside):
    assert layer_policy(name).name == inside and layer_policy(keras.dtype_policies.get(name)).name == inside
    global_policy(name)
    assert layer_policy(None).name == inside


@pytest.mark.parametrize("name", ["float16", "bfloat16"])
def test_variables_of_half_precision_are_refused_by_name(name):
    for make in (lambda: kc.ConvDictionary(3, 7, dtype=name), lambda: coder(dtype=name)):
        with pytest.raises(ValueError, match=f"'mixed_float16'. Received: dtype='{name}'"):
            make()


@pytest.mark.parametrize("everywhere", [False, True], ids=["layer", "global"])
@pytest.mark.parametrize("name, error", [("mixed_float16", 1e-6), ("mixed_bfloat16", 0.1), ("float64", 1e-5)])
def test_codes_and_training_under_every_policy(rng, global_policy, name, error, everywhere):
    signal = rng.standard_normal((2, 60, 1)).astype("float32")
    expected = np.asarray(coder()(signal))
    if everywhere:
        global_policy(name)
    layer = coder() if everywhere else coder(dtype=name)
    inputs = keras.Input((60, 1))
    model = keras.Model(inputs, layer.cell.dictionary(layer(inputs)))
    code = np.asarray(layer(signal), "float32")
    assert expected.any() and np.abs(code - expected).max() <= error * expected.max()
    model.compile(keras.optimizers.SGD(1e-2), "mse")
    assert np.isfinite(model.fit(signal, signal, verbose=0).history["loss"]).all()


def test_the_model_says_which_policies_it_takes(global_policy):
    global_policy("mixed_float16")
    with pytest.raises(ValueError, match="'mixed_bfloat16'. Received: dtype='mixed_float16'"):
        kc.CRsAE(2, 9)
    signal = np.ones((1, 40, 1), "float32")
    model = kc.CRsAE(2, 9, iterations=2, dtype="float32")
    assert np.asarray(model(signal)).dtype == np.float32
