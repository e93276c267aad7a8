"""CDLNet learns by the reconstruction alone, stays inside the unit ball, and is saved whole."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_crsae.applications.denoising import denoise
from keras_crsae.models.cdlnet import CDLNet
from keras_crsae.models.serialization import describe, load_crsae
from keras_crsae.operators.lipschitz import largest_eigenvalue


def batches(rng, sigma=(0.1, 0.3)):
    clean = rng.standard_normal((2, 20, 20, 1)).astype("float32")
    levels = np.array(sigma, "float32")
    noisy = clean + levels[:, None, None, None] * rng.standard_normal(clean.shape).astype("float32")
    return tf.data.Dataset.from_tensors(({"signal": noisy, "sigma": levels}, clean, levels**-2)).repeat()


def trained(rng, rate=0.05, **options):
    model = CDLNet(4, 3, iterations=2, seed=0, **options)
    data = batches(rng)
    model.adapt(next(iter(data))[0]["signal"], init="dct")
    model.compile(keras.optimizers.Adam(rate, global_clipnorm=0.05))
    history = model.fit(data, steps_per_epoch=4, epochs=3, verbose=0).history
    return model, history


def test_the_small_network_has_the_parameters_of_the_paper():
    model = CDLNet(32, 7, iterations=20)
    model.build((None, None, None, 1))
    count = sum(int(np.prod(v.shape)) for v in model.dictionary_variables)
    assert count == model.parameters(channels=1) == 64000
    assert all(v.trainable for v in model.dictionary_variables)


@pytest.mark.parametrize("options", [{"banks": "shared"}, {"threshold_offsets": False}, {"unit_ball": False},
                                     {"free_thresholds": False, "banks": "shared", "strides": 2}])
def test_every_option_is_saved(rng, tmp_path, options):
    model = CDLNet(4, 3, iterations=2, seed=0, **options)
    model.adapt(rng.standard_normal((1, 20, 20, 1)), init="dct")
    model.save(tmp_path / "m.keras")
    loaded = load_crsae(tmp_path / "m.keras")
    assert isinstance(loaded, CDLNet) and loaded.get_config() == model.get_config()
    for one, two in zip(loaded.dictionary_variables, model.dictionary_variables, strict=True):
        np.testing.assert_array_equal(one, two)


def test_filters_stay_inside_the_unit_ball_and_factors_above_zero(rng):
    model, _ = trained(rng, rate=0.3)
    norms = [np.sqrt(np.square(v).sum(axis=(0, 1, 2))) for v in model.dictionary_variables if len(v.shape) == 4]
    assert max(n.max() for n in norms) == pytest.approx(1.0, abs=1e-5) and np.min(model.encoder.factors) >= 0


def test_it_begins_as_ista_with_a_step_size_of_one(rng):
    model = CDLNet(6, 5, iterations=3, seed=0)
    model.adapt(rng.standard_normal((1, 20, 20, 1)), init="dct")
    first = np.asarray(model.dictionary.kernel)
    assert float(largest_eigenvalue(model.dictionary.kernel.value, (1, 1))) == pytest.approx(1.0, abs=1e-4)
    np.testing.assert_array_equal(np.asarray(model.encoder.analysis.kernel), np.tile(first, 3))
    np.testing.assert_array_equal(np.asarray(model.encoder.synthesis.kernel), np.tile(first, 2))


@pytest.fixture(scope="module")
def network():
    """A trained network and its history."""
    return trained(np.random.default_rng(0))


def test_the_level_of_a_call_sets_the_thresholds(rng, network):
    model, _ = network
    image = rng.random((2, 24, 24, 1)).astype("float32")
    codes = [np.count_nonzero(model.encode(image, sigma=level)) for level in (0.01, 0.1, 1.0)]
    assert codes[0] > codes[1] > codes[2]
    each = model.reconstruct(image, sigma=np.array([0.1, 0.3]))
    np.testing.assert_allclose(each[1:], model.reconstruct(image[1:], sigma=0.3), atol=1e-6)
    np.testing.assert_array_equal(model.encode(image), model.encode(image, sigma=25 / 255))
    assert denoise(image[0], model, sigma=0.1).shape == image[0].shape


def test_training_lowers_the_loss_and_goes_on_after_loading(rng, tmp_path, network):
    model, history = network
    assert history["loss"][-1] < history["loss"][0]
    model.save(tmp_path / "m.keras")
    loaded = load_crsae(tmp_path / "m.keras")
    image = rng.random((1, 19, 22, 1)).astype("float32")
    np.testing.assert_array_equal(loaded.reconstruct(image, sigma=0.2), model.reconstruct(image, sigma=0.2))
    np.testing.assert_allclose(model(image, sigma=0.2), model.reconstruct(image, sigma=0.2), atol=1e-6)
    loaded.fit(batches(rng), steps_per_epoch=1, verbose=0)
    assert int(loaded.optimizer.iterations) == 13 and describe(tmp_path / "m.keras")["training_steps"] == 12


def test_training_takes_one_pass_through_the_encoder(rng, network):
    model, history = network
    assert history["lambda_loss"] == [0.0, 0.0, 0.0] and 0 < history["sparsity"][-1] <= 1
    np.testing.assert_allclose(model.lambda_reg, 255 / 25, rtol=1e-6)
    model.evaluate(batches(rng).take(1), verbose=0)


@pytest.mark.parametrize("options, words", [
    ({"banks": "none"}, "banks"), ({"tied": False}, "no choice of `tied`"), ({"low_pass": 2.0}, "low_pass"),
    ({"sigma": "estimate"}, "sigma"), ({"lambda_learning": "em"}, "lambda_learning")])
def test_unfit_options_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        CDLNet(4, 5, iterations=2, **options)


def test_it_has_no_certificate(rng):
    model = CDLNet(4, 5, iterations=2)
    with pytest.raises(ValueError, match="no objective"):
        model.convergence(rng.random((1, 20, 20, 1)))


@pytest.mark.parametrize("options", [{}, {"banks": "shared", "threshold_offsets": False, "strides": 2}])
def test_its_file_computes_the_same_at_every_level(rng, tmp_path, options):
    from crsae_onnx import SparseEncoder
    from crsae_onnx.convert import convert
    from crsae_onnx.validate import validate

    model = CDLNet(4, 3, iterations=3, seed=0, **options)
    image = rng.random((1, 21, 24, 1)).astype("float32")
    model.adapt(image, init="dct")
    for variable in model.dictionary_variables:
        scale = np.asarray(variable) + (0.01 if variable.name == "offsets" else 0.0)
        variable.assign(scale * (1 + 0.3 * rng.standard_normal(variable.shape)))
    convert(model, tmp_path / "m.onnx", inputs=("signal", "mask", "sigma"))
    validate(model, tmp_path / "m.onnx", shapes=[(1, 19, 26, 1)])
    encoder = SparseEncoder(tmp_path / "m.onnx")
    for sigma in (0.05, 0.3):
        np.testing.assert_allclose(encoder.reconstruct(image, sigma=sigma), model.reconstruct(image, sigma=sigma),
                                   atol=1e-5)
        np.testing.assert_allclose(denoise(image[0], encoder, sigma=sigma), denoise(image[0], model, sigma=sigma),
                                   atol=1e-5)
    assert "give the level as the input `sigma`" in encoder.info["preprocessing"][1]
    spec = model.export_spec()
    assert len(spec.layers) == 3 and spec.denoiser.in_image_unit


def test_a_file_without_a_noise_level_is_refused_where_thresholds_need_it(tmp_path):
    from crsae_onnx import SparseEncoder
    from crsae_onnx.convert import convert

    model = CDLNet(2, 3, iterations=2)
    model.build((None, None, None, 1))
    with pytest.raises(ValueError, match="takes no noise level"):
        denoise(np.zeros((9, 9)), SparseEncoder(convert(model, tmp_path / "m.onnx")), sigma=0.1)
