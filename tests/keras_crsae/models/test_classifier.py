"""SparseCodingClassifier: learns, is saved and resumed exactly, and refuses what does not fit."""

import os
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_crsae as kc

#: 21 signals in batches of 4: the last batch of an epoch leaves the second replica without any.
MIRRORED = """
import numpy as np, tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
import keras
import keras_crsae as kc

labels = np.arange(21) % 3
x = np.exp(-np.square(np.arange(16) - 3 - 5 * labels[:, None]) / 4)[..., None].astype("float32")
x += 0.05 * np.random.default_rng(0).standard_normal(x.shape)

def train(strategy, size, gradient, weight):
    with strategy.scope():
        encoder = kc.CRsAE(4, size, gradient=gradient, iterations=20, lambda_init=0.1, sigma=1.0, seed=0,
                           kernel_regularizer=kc.regularizers.Coherence(1e-2))
        model = kc.SparseCodingClassifier(encoder, 3, head_regularizer=keras.regularizers.L2(1e-2))
        model.compile(keras.optimizers.Adam(0.02, clipnorm=0.5))
    history = model.fit(x, labels, sample_weight=weight, epochs=2, batch_size=4, shuffle=False, verbose=0,
                        validation_data=(x[:7], labels[:7])).history
    history["evaluate"] = model.evaluate(x, labels, batch_size=4, verbose=0)
    return model, history

two = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
for case in ((16, "implicit", None), (5, "unrolled", np.linspace(0.1, 1, 21))):
    (one, first), (other, second) = train(tf.distribute.get_strategy(), *case), train(two, *case)
    assert int(one.optimizer.iterations) == 12
    for a, b in zip([*one.weights, *one.optimizer.variables], [*other.weights, *other.optimizer.variables],
                    strict=True):
        a, b = (keras.ops.convert_to_numpy(v) for v in (a, b))
        assert np.abs(a - b).max() <= 1e-4 * (np.abs(a).max() + 1e-30), (case, np.abs(a - b).max())
    assert set(first) == set(second)
    for name in first:
        np.testing.assert_allclose(first[name], second[name], rtol=1e-4, err_msg=name)
    np.testing.assert_allclose(other.predict(x[:5], verbose=0), one.predict(x[:5], verbose=0), atol=1e-4)
    np.testing.assert_allclose(other.encode(x), one.encode(x), atol=1e-4)
    print("equal")
"""


@pytest.fixture(scope="module")
def bumps():
    """(48, 16, 1) signals of norm 1, a bump in one of three places, and their labels."""
    rng = np.random.default_rng(0)
    labels = np.arange(48) % 3
    x = np.exp(-np.square(np.arange(16) - 3 - 5 * labels[:, None]) / 4) + 0.05 * rng.standard_normal((48, 16))
    return (x / np.linalg.norm(x, axis=1, keepdims=True))[..., None].astype("float32"), labels


def classifier(size=16, pooling=None, gradient="implicit", **options):
    options = {"iterations": 30, "lambda_init": 0.1, "seed": 0, **options}
    encoder = kc.CRsAE(8, size, gradient=gradient, kernel_regularizer=kc.regularizers.Coherence(1e-3), **options)
    model = kc.SparseCodingClassifier(encoder, 3, pooling=pooling, head_regularizer=keras.regularizers.L2(1e-4))
    model.compile(keras.optimizers.Adam(0.05))
    return model


@pytest.mark.parametrize("size, pooling", [(16, None), (5, None), (5, "mean"), (5, 4)])
def test_it_learns_on_dense_and_convolutional_dictionaries(size, pooling, bumps):
    model = classifier(size, pooling)
    keras.utils.set_random_seed(0)
    history = model.fit(*bumps, epochs=8, batch_size=16, verbose=0).history
    assert set(history) == {"loss", "accuracy", "cross_entropy", "reconstruction_loss"}
    assert history["loss"][-1] < history["loss"][0]
    if pooling != "mean":  # whose head does not see where the bump is
        assert model.evaluate(*bumps, verbose=0, return_dict=True)["accuracy"] == 1.0


def test_images_are_classified(rng):
    x, labels = rng.standard_normal((8, 6, 7, 1)), np.arange(8) % 2
    model = kc.SparseCodingClassifier(kc.CRsAE(4, (3, 3), lambda_init=0.2, iterations=20, gradient="implicit"), 2,
                                      pooling=(2, 2))
    model.compile("adam")
    model.fit(x, labels, verbose=0)
    assert model.predict(x, verbose=0).shape == (8, 2) and model.head.kernel.shape == (2 * 2 * 4, 2)


@pytest.mark.parametrize("gradient", ["unrolled", "decoder"])
def test_other_gradients_learn_too(gradient, bumps):
    model = classifier(gradient=gradient, iterations=10)
    history = model.fit(*bumps, epochs=4, batch_size=48, verbose=0).history
    assert history["loss"][-1] < history["loss"][0]


def test_predict_gives_the_softmax_of_the_logits_of_the_codes(bumps):
    model, (x, _) = classifier(), bumps
    logits = model.logits(x)
    np.testing.assert_allclose(model.predict(x, verbose=0), keras.ops.softmax(logits), atol=1e-6)
    np.testing.assert_allclose(model(x), keras.ops.softmax(logits), atol=1e-6)
    code = model.encode(x)
    weights = model.position_weights(code.shape[1:-1]).reshape(-1, 3)
    np.testing.assert_allclose(code.reshape(len(x), -1) @ weights, logits, atol=1e-5)


def test_filters_as_long_as_the_signal_take_the_step_of_a_matrix(bumps):
    model, (x, _) = classifier(iterations=300), bumps
    model.predict(x, verbose=0)
    matrix = model.autoencoder.dictionary.unit_kernel().numpy()[:, 0]
    largest = np.linalg.norm(matrix, 2)**2
    assert 0.95 < float(model.autoencoder.step_size) * largest <= 1.0
    assert model.autoencoder.convergence(x, model.encode(x)).gap.max() < 1e-4


def test_its_autoencoder_refuses_longer_signals_and_a_copy_takes_them(bumps, rng):
    model, longer = classifier(iterations=300), rng.standard_normal((2, 40, 1)).astype("float32")
    model.predict(bumps[0], verbose=0)
    for call in (model.autoencoder.encode, model.autoencoder, lambda x: model.autoencoder.encode(x, window=2**10)):
        with pytest.raises(ValueError, match=r"signals as long as its filters.*Received: \(40,\) samples"):
            call(longer)
    copy = kc.CRsAE.from_config(model.autoencoder.get_config())
    copy.set_dictionary(model.autoencoder.dictionary.kernel)
    assert copy.convergence(longer).remaining.max() < 1e-2


def test_lambda_and_sigma_stay_and_filters_stay_on_the_sphere(bumps):
    model = classifier()
    model.fit(*bumps, epochs=2, batch_size=16, verbose=0)
    assert [v.name for v in model.trainable_variables] == ["kernel", "kernel", "bias"]
    np.testing.assert_array_equal(model.autoencoder.lambda_reg, np.full(8, 0.1, "float32"))
    np.testing.assert_allclose(np.linalg.norm(model.autoencoder.dictionary.kernel, axis=(0, 1)), 1, atol=1e-6)


def test_a_frozen_dictionary_stays(bumps):
    model = classifier()
    model.build((None, 16, 1))
    model.autoencoder.trainable = False
    before = model.autoencoder.dictionary.kernel.numpy()
    model.fit(*bumps, verbose=0)
    np.testing.assert_array_equal(model.autoencoder.dictionary.kernel, before)


def test_a_trained_autoencoder_brings_its_filters(bumps):
    encoder = kc.CRsAE(8, 16, sigma="estimate", iterations=20, gradient="implicit")
    encoder.adapt(bumps[0])
    model = kc.SparseCodingClassifier(encoder, 3)
    model.build((None, 16, 1))
    np.testing.assert_array_equal(model.autoencoder.dictionary.kernel, encoder.dictionary.kernel)


def test_saved_and_loaded_it_is_the_same_and_trains_on_exactly(bumps, tmp_path):
    straight, stopped = classifier(), classifier()
    for model in (straight, stopped):
        model.fit(*bumps, epochs=1, batch_size=16, verbose=0, shuffle=False)
    stopped.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.predict(bumps[0], verbose=0), stopped.predict(bumps[0], verbose=0))
    for model in (straight, loaded):
        model.fit(*bumps, epochs=1, batch_size=16, verbose=0, shuffle=False)
    for a, b in zip(straight.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


@pytest.mark.slow
def test_two_replicas_learn_what_one_learns():
    """In a process of its own: devices are divided before TensorFlow starts."""
    made = subprocess.run([sys.executable, "-c", MIRRORED], cwd=pathlib.Path(__file__).parents[3], capture_output=True,
                          text=True, env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}, check=False)
    assert made.returncode == 0, made.stderr[-3000:]
    assert made.stdout.split() == ["equal"] * 2


def test_streams_weights_and_validation_data_are_taken(bumps):
    model, (x, labels) = classifier(), bumps
    model.build((None, 16, 1))
    model.fit(tf.data.Dataset.from_tensor_slices((x, labels)).batch(16), shuffle=False, verbose=0)
    history = model.fit(x, labels, sample_weight=np.linspace(0, 1, 48), validation_data=(x, labels), verbose=0).history
    assert {"val_loss", "val_accuracy"} <= set(history)


@pytest.mark.parametrize("change, message", [
    (lambda x, y: (x[:, :12], y), "built for signals of|kernel_size|shorter"),
    (lambda x, y: (x[..., 0], y), "must have shape"),
    (lambda x, y: (np.where(x > 0.3, np.nan, x), y), "NaN|finite"), (lambda x, y: (x, y + 1), "3 at index"),
    (lambda x, y: (x, y[:-1]), "shape"), (lambda x, y: (x, None), "label for each signal"),
    (lambda x, y: (x, np.eye(3)[y]), "one-hot"), (lambda x, y: (x.astype(complex), y), "complex")])
def test_data_that_do_not_fit_are_refused(change, message, bumps):
    model = classifier()
    model.build((None, 16, 1))
    with pytest.raises(ValueError, match=message):
        model.fit(*change(*bumps), verbose=0)


@pytest.mark.parametrize("make, message", [
    (lambda: kc.SparseCodingClassifier(kc.CRsAE(4, 8), 3), "must be known"),
    (lambda: kc.SparseCodingClassifier(kc.CRsAE(4, 8, lambda_init=1.0, sigma="estimate"), 3), "must be known"),
    (lambda: kc.SparseCodingClassifier(kc.CRsAE(4, 8, lambda_init=1.0, likelihood="poisson"), 3), "Gaussian"),
    (lambda: kc.SparseCodingClassifier(kc.CRsAE(4, 8, lambda_init=1.0, tied=False), 3), "tied"),
    (lambda: kc.SparseCodingClassifier(keras.layers.Dense(3), 3), "must be a CRsAE"),
    (lambda: kc.SparseCodingClassifier(kc.CRsAE(4, 8, lambda_init=1.0), 1), "at least 2"),
    (lambda: kc.SparseCodingClassifier(kc.CRsAE(4, 8, lambda_init=1.0), 3, pooling="max"), "pooling"),
    (lambda: kc.SparseCodingClassifier(kc.CRsAE(4, 8, lambda_init=1.0), 3, reconstruction_weight=-1), "non-negative"),
    (lambda: classifier().compile("adam", loss="mse"), "its own losses"),
    (lambda: classifier().build((None, None, 1)), "size must be known")])
def test_options_that_do_not_fit_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("size, pooling", [(16, None), (5, 4)])
def test_logits_are_exported_with_parity(size, pooling, bumps, tmp_path):
    pytest.importorskip("onnxruntime")
    from crsae_onnx import SparseEncoder
    from crsae_onnx.convert import convert
    from crsae_onnx.validate import validate

    model, (x, _) = classifier(size, pooling), bumps
    expected = model.logits(x)
    path = convert(model, tmp_path / "model.onnx")
    found = SparseEncoder(path).run(["code", "logits"], x)
    np.testing.assert_allclose(found["logits"], expected, atol=1e-4)
    report = validate(model, path)
    assert {row["output"] for row in report} == {"code", "logits"} and report.difference < 1e-4


def test_what_has_no_size_or_no_head_has_no_logits(tmp_path):
    pytest.importorskip("onnx")
    from crsae_onnx.convert import convert

    model = classifier(5, "mean")
    model.build((None, None, 1))
    with pytest.raises(ValueError, match="signals of one size"):
        convert(model, tmp_path / "model.onnx")
    with pytest.raises(ValueError, match="outputs"):
        convert(model.autoencoder, tmp_path / "model.onnx", outputs="logits")
