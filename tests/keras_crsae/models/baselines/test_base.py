"""The baselines train, save and export as CRsAE does."""

import keras
import numpy as np
import pytest

from keras_crsae.models.baselines import LCSC, TLAE
from keras_crsae.models.serialization import load_crsae

MODELS = {"lcsc": lambda **o: LCSC(6, 6, rank=2, iterations=4, sigma=1.0, lambda_init=0.7, seed=0, **o),
          "tlae": lambda **o: TLAE(6, 6, rank=2, sigma=1.0, lambda_init=0.7, seed=0, **o)}


@pytest.fixture
def images(rng):
    return rng.standard_normal((4, 27, 30, 1)).astype("float32")


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("shifts", [None, 3])
def test_training_lowers_the_loss_and_moves_every_kernel(images, name, shifts):
    model = MODELS[name](strides=2, training_shifts=shifts, lambda_learning="backprop")
    model.adapt(images, init="dct")
    model.compile(keras.optimizers.Adam(1e-2), keras.optimizers.Adam(1e-2))
    before = [np.array(v) for v in (*model.dictionary_variables, model.lambda_reg)]
    clean = 0.5 * images
    losses = model.fit(images, clean, epochs=8, batch_size=2, verbose=0).history["loss"]
    assert losses[-1] < 0.9 * losses[0]
    for old, variable in zip(before, (*model.dictionary_variables, model.lambda_reg), strict=True):
        assert np.abs(np.asarray(variable) - old).max() > 1e-4


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("strides", [1, (2, 3)])
def test_saved_and_exported_models_give_the_same(images, name, strides, tmp_path):
    from crsae_onnx.convert import convert
    from crsae_onnx.validate import validate

    model = MODELS[name](strides=strides)
    model.adapt(images, init="dct")
    model.compile(keras.optimizers.Adam(1e-2))
    model.fit(images, 0.5 * images, epochs=2, batch_size=2, verbose=0)
    model.save(tmp_path / "m.keras")
    loaded = load_crsae(tmp_path / "m.keras")
    np.testing.assert_allclose(loaded.encode(images), model.encode(images), atol=1e-6)
    convert(model, tmp_path / "m.onnx")
    validate(model, tmp_path / "m.onnx", shapes=[(2, 27, 31, 1), (1, 40, 22, 1)])


def test_signals_are_served_too(rng):
    model = LCSC(3, 9, iterations=5, lambda_init=0.5, seed=0)
    windows = rng.standard_normal((4, 60, 1)).astype("float32")
    model.compile(keras.optimizers.Adam(1e-2))
    assert np.isfinite(model.fit(windows, epochs=1, verbose=0).history["loss"]).all()
    assert model.encode(windows).shape == (4, 52, 3)


def test_parameters_stand_in_their_ratio():
    """LCSC has three kernels where tied CRsAE and TLAE have one: the claim about sizes."""
    counts = {}
    for name, make in MODELS.items():
        model = make()
        model.build((None, None, None, 1))
        counts[name] = sum(int(np.prod(v.shape)) for v in model.dictionary_variables)
    assert counts["lcsc"] == 3 * counts["tlae"] == 3 * 6 * 6 * 6


@pytest.mark.parametrize("make, words", [
    (lambda: LCSC(3, 9, lambda_learning="em"), "'em'"), (lambda: LCSC(3, 9, tied=True), "`tied`"),
    (lambda: LCSC(3, 9, gradient="decoder"), "`gradient`"), (lambda: TLAE(3, 9, iterations=4), "`iterations`"),
    (lambda: TLAE(3, 9, lambda_learning="em"), "'em'")])
def test_options_they_do_not_have_are_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()
