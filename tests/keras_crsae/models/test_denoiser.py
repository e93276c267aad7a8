"""A Denoiser is a CRsAE of images whose decoder may have gains, and that is saved and loaded whole."""

import keras
import numpy as np
import pytest

from keras_crsae.models.denoiser import Denoiser
from keras_crsae.models.serialization import load_crsae


def trained(rng, **options):
    model = Denoiser(9, 6, strides=3, iterations=4, sigma=1.0, lambda_init=1.0, seed=0, **options)
    noisy = rng.standard_normal((4, 24, 24, 1)).astype("float32")
    model.adapt(noisy, init="dct")
    model.compile(keras.optimizers.Adam(1e-2))
    model.fit(noisy, 0.5 * noisy, epochs=5, batch_size=4, verbose=0)
    return model, noisy


def norms(layer):
    return np.sqrt(np.square(np.asarray(layer.kernel)).sum(axis=(0, 1, 2)))


@pytest.mark.parametrize("free", [True, False])
def test_only_a_free_decoder_leaves_the_sphere(rng, free):
    model, _ = trained(rng, tied=False, free_norms=free)
    np.testing.assert_allclose(norms(model.dictionary), 1, atol=1e-5)
    assert (np.abs(norms(model.decoder) - 1).max() > 1e-3) == free
    assert sum(int(np.prod(v.shape)) for v in model.trainable_variables) == 2 * 6 * 6 * 9 + 9


def test_a_tied_one_has_one_kernel_on_the_sphere(rng):
    model, _ = trained(rng)
    assert model.decoder is model.dictionary
    np.testing.assert_allclose(norms(model.decoder), 1, atol=1e-5)


def test_weights_of_examples_count_in_evaluation_as_repeated_examples_do(rng):
    model, noisy = trained(rng, training_shifts=2)
    weighted = model.evaluate(noisy[:2], sample_weight=np.array([2.0, 1.0]), verbose=0)
    repeated = model.evaluate(noisy[[0, 0, 1]], verbose=0)
    np.testing.assert_allclose(weighted[:3], repeated[:3], rtol=1e-5)


@pytest.mark.parametrize("options", [{"tied": False}, {"tied": True, "low_pass": 2.0, "training_shifts": 2},
                                     {"sigma_power": 0.2}, {"free_thresholds": True, "training_shifts": 1}])
def test_saving_keeps_options_values_and_export(rng, options, tmp_path):
    from crsae_onnx.convert import convert
    from crsae_onnx.validate import validate

    model, noisy = trained(rng, **options)
    model.save(tmp_path / "m.keras")
    loaded = load_crsae(tmp_path / "m.keras")
    assert isinstance(loaded, Denoiser)
    for name in ("low_pass", "training_shifts", "free_norms", "tied", "sigma_power", "free_thresholds"):
        assert getattr(loaded, name) == getattr(model, name)
    np.testing.assert_allclose(loaded.reconstruct(noisy), model.reconstruct(noisy), atol=1e-6)
    convert(loaded, tmp_path / "m.onnx", inputs=("signal", "mask"))
    validate(loaded, tmp_path / "m.onnx", shapes=[(1, 31, 26, 1)])


def test_free_thresholds_begin_as_the_plain_encoder_and_learn(rng):
    plain, free = (Denoiser(9, 6, strides=3, iterations=4, sigma=1.0, lambda_init=1.0, seed=0, free_thresholds=given)
                   for given in (False, True))
    image = rng.standard_normal((1, 24, 24, 1)).astype("float32")
    for model in (plain, free):
        model.adapt(image, init="dct")
    np.testing.assert_allclose(free.encode(image, sigma=0.5), plain.encode(image, sigma=0.5), atol=1e-5)
    model, _ = trained(rng, free_thresholds=True)
    factors = np.asarray(model.encoder.factors)
    assert factors.shape == (4, 9) and np.abs(factors - 1).max() > 0.01
    np.testing.assert_allclose(norms(model.dictionary), 1, atol=1e-5)


def test_more_shifts_than_there_are_mean_all():
    assert Denoiser(4, 6, strides=(1, 2), training_shifts=50).training_shifts == 2


@pytest.mark.parametrize("options, words", [
    ({"rank": 1}, "rank"), ({"training_shifts": 0}, "training_shifts"), ({"low_pass": -1}, "low_pass"),
    ({"sigma_power": 1.5}, "sigma_power"),
    ({"free_thresholds": True, "gradient": "decoder"}, "no choice of `gradient`"),
    ({"free_thresholds": True, "dense_filters": 1, "dense_penalty": 1.0}, "do not go with `dense_penalty`")
])
def test_unfit_options_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        Denoiser(4, 6, **options)
