"""What a model gives without training: messages before it is built, masks, Keras' export, filters in use."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_crsae as kc
from keras_crsae.data.simulate import spike_templates

TEMPLATES = spike_templates(9, 2)


@pytest.fixture(scope="module")
def signal():
    return np.random.default_rng(3).standard_normal((2, 60, 1)).astype("float32")


@pytest.fixture(scope="module")
def masked(signal):
    """A signal whose masked values are far from the others, NaN among them."""
    values = signal.copy()
    values[0, 20:30], values[1, 5] = 1e4, np.nan
    return np.ma.masked_where(~(np.abs(values) < 100), values)


def model_of(**options):
    model = kc.CRsAE(2, 9, iterations=6, **{"sigma": 0.5, "lambda_init": 1.0, **options})
    model.set_dictionary(TEMPLATES)
    return model


@pytest.mark.parametrize("name", ["dictionary", "encoder", "decoder", "lambda_reg", "sigma", "step_size",
                                  "training_state"])
def test_what_build_makes_is_missing_with_a_way_out(name):
    model = kc.CRsAE(2, 9)
    assert not hasattr(model, name)
    with pytest.raises(AttributeError, match=f"no `{name}` before it is built: call build"):
        getattr(model, name)
    with pytest.raises(AttributeError, match="'CRsAE' object has no attribute 'dictionary_'"):
        getattr(model, "dictionary_")  # noqa: B009


@pytest.mark.parametrize("method", ["encode", "reconstruct", "separate", "__call__", "convergence"])
def test_the_mask_of_a_masked_array_is_that_of_observed_samples(signal, masked, method):
    model, mask = model_of(), (~masked.mask).astype("float32")
    run = getattr(model, method)
    expected = run(np.where(masked.mask, 0, signal), mask=mask)
    fewer = mask.copy()
    fewer[0, :5] = 0
    for ours, theirs in ((run(masked), expected), (run(list(masked)), expected),
                         (run(masked, mask=fewer), run(np.where(masked.mask, 0, signal), mask=fewer))):
        for a, b in zip(*((v,) if method != "convergence" else v for v in (ours, theirs)), strict=True):
            np.testing.assert_array_equal(a, b)


def test_a_long_masked_signal_is_encoded_in_windows_with_its_mask(masked):
    model = model_of()
    long = np.ma.concatenate([masked[:1]] * 4, axis=1)
    expected = model.encode(long)
    np.testing.assert_allclose(model.encode(long, window=64), expected, atol=1e-6)
    assert np.abs(expected).max() < 100


def test_calls_without_a_mask_refuse_masked_arrays_by_name(masked):
    model = model_of()
    for call in (lambda: model.predict(masked, verbose=0), lambda: model.predict_on_batch(masked)):
        with pytest.raises(ValueError, match=r"`predict` takes no mask.*model\.reconstruct"):
            call()
    with pytest.raises(ValueError, match="`code` is a masked array"):
        model.decode(np.ma.masked_equal(np.eye(2)[None], 0))
    with pytest.raises(ValueError, match="`filters` is a masked array"):
        model.set_dictionary(np.ma.masked_less(TEMPLATES, 0))
    with pytest.raises(ValueError, match="`mask` is a masked array"):
        model.encode(np.ma.filled(masked, 0), mask=masked)


@pytest.mark.parametrize("trained", [False, True], ids=["built", "trained"])
def test_keras_own_export_takes_signals_of_any_length(signal, tmp_path, trained):
    model = kc.CRsAE(2, 9, iterations=6, sigma=0.5, lambda_init=1.0, lambda_learning=None, gradient="decoder", seed=0)
    with pytest.raises(ValueError, match="no filters yet: call build"):
        model.export(tmp_path / "saved", verbose=False)
    model.compile()
    model.fit(signal, verbose=0) if trained else model.build((None, None, 1))
    model.export(tmp_path / "saved", verbose=False)
    saved = tf.saved_model.load(tmp_path / "saved")
    for length in (60, 31):
        expected = model.predict(signal[:, :length], verbose=0)
        assert expected.any()
        np.testing.assert_allclose(saved.serve(signal[:, :length]), expected, atol=1e-6)


def test_keras_own_export_refuses_what_onnx_has_no_operators_for(tmp_path):
    model = kc.CRsAE(2, 9, iterations=6, active=True)
    model.build((None, None, 1))
    with pytest.raises(ValueError, match="'tf_saved_model' or set model.encoder.active = False"):
        model.export(tmp_path / "m.onnx", format="onnx", verbose=False)


def changed(model, tied):
    """The model with filters of other norms and a larger L; and one that was given them as it should be."""
    kernel = 2 * np.ones_like(TEMPLATES) + TEMPLATES
    right = model_of(tied=tied)
    right.set_dictionary(kernel)
    for layer in model.dictionaries:
        layer.kernel.assign(kernel)
    return right


@pytest.mark.parametrize("door", ["encode", "predict", "evaluate", "test_on_batch", "predict_on_batch", "call", "save",
                                  "save_model", "save_weights", "export_spec", "fit", "train_on_batch"])
def test_filters_changed_from_outside_have_norm_one_and_their_own_step_size_where_they_are_used(signal, tmp_path, door):
    tied = door != "fit"
    model = model_of(tied=tied)
    model.compile(keras.optimizers.SGD(0.0))
    model.encode(signal)
    right, copy = changed(model, tied), model_of(tied=tied)
    if door == "call":
        model(signal)
    elif door == "save":
        model.save(tmp_path / "m.keras")
        model = keras.saving.load_model(tmp_path / "m.keras")
    elif door == "save_model":
        keras.saving.save_model(model, tmp_path / "m.keras")
        model = keras.saving.load_model(tmp_path / "m.keras")
    elif door == "save_weights":
        model.save_weights(tmp_path / "m.weights.h5")
        copy.load_weights(tmp_path / "m.weights.h5")
        model = copy
    elif door == "export_spec":
        model.export_spec()
    else:
        getattr(model, door)(signal, **({"verbose": 0} if door in ("predict", "evaluate", "fit") else {}))
    assert float(model.step_size) == pytest.approx(float(right.step_size), rel=1e-4)
    for layer in model.dictionaries:
        np.testing.assert_allclose(layer.kernel, right.dictionary.kernel, atol=1e-5)


def test_weights_that_are_set_bring_their_step_size_and_a_users_number_stays(signal):
    model, kernel = model_of(), 2 * np.ones_like(TEMPLATES) + TEMPLATES
    model.set_weights([kernel if w.shape == kernel.shape else w for w in model.get_weights()])
    right = model_of()
    right.set_dictionary(kernel)
    np.testing.assert_allclose(model.encode(signal), right.encode(signal), atol=1e-5)
    model = model_of(step_size=0.01)
    model.dictionary.kernel.assign(kernel)
    model.encode(signal)
    assert float(model.step_size) == pytest.approx(0.01)


def test_the_step_size_follows_filters_that_another_model_trains(signal):
    model = model_of()
    first, inputs = float(model.step_size), keras.Input((60, 1))
    outer = keras.Model(inputs, model(inputs))
    outer.compile(keras.optimizers.Adam(0.05), "mse")
    outer.fit(signal, signal, epochs=20, verbose=0)
    right = 1 / float(model.dictionary.largest_eigenvalue())
    assert abs(first / right - 1) > 0.06
    assert float(model.step_size) == pytest.approx(right, rel=0.03)  # of the filters before the last step
