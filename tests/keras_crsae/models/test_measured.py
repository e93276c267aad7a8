"""Models of measured data, end to end: training, reconstruction, saving, resuming, streams, what is refused."""

import keras
import numpy as np
import pytest
import scipy.sparse
import tensorflow as tf

import keras_crsae as kc
from keras_crsae.problem import Blur, Mask, Matrix, Subsample

RNG = np.random.default_rng(2)
PHI = (RNG.standard_normal((30, 60)) / 30**0.5).astype("float32")
STACK = (RNG.standard_normal((3, 30, 60)) / 30**0.5).astype("float32")
NUMBERS = np.arange(12) % 3


@keras.saving.register_keras_serializable(package="tests")
class Doubled:
    """A measurement of a user's own, that Keras can save."""

    norm = 2.0

    def forward(self, x):
        return 2.0 * x

    def adjoint(self, y):
        return 2.0 * y

    def get_config(self):
        return {}

    @classmethod
    def from_config(cls, config):
        return cls(**config)


@pytest.fixture(scope="module")
def signals():
    templates = kc.data.spike_templates(kernel_size=11, filters=2)
    return kc.data.simulate_spikes(templates, windows=12, samples=60, events_per_window=2, seed=1).signal


#: Name -> measurement, what gives the data of signals, options of each call, further options of the model.
CASES = {
    "matrix": (lambda: Matrix(PHI), lambda x: np.einsum("mn,bnc->bmc", PHI, x), {}, {}),
    "vectors": (lambda: Matrix(PHI, (60, 1)), lambda x: x[..., 0] @ PHI.T, {}, dict(gradient="decoder")),
    "sparse": (lambda: Matrix(scipy.sparse.coo_matrix(PHI)), lambda x: np.einsum("mn,bnc->bmc", PHI, x), {}, {}),
    "stack": (lambda: Matrix(STACK), lambda x: np.einsum("bmn,bnc->bmc", STACK[NUMBERS], x), dict(operator=NUMBERS),
              dict(lambda_learning="em_closed_form", sigma_learning=True)),
    "dense": (lambda: Matrix(PHI), lambda x: np.einsum("mn,bnc->bmc", PHI, x), {}, dict(kernel_size=60, filters=6)),
    "subsample": (lambda: Subsample(2), lambda x: x[:, ::2], {}, dict(sigma="estimate")),
    "blur": (lambda: Blur(np.ones(3) / 3), lambda x: np.asarray(Blur(np.ones(3) / 3).forward(x)), {},
             dict(sigma="estimate", gradient="truncated")),
    "valid": (lambda: Blur(np.ones(3) / 3, "valid"), lambda x: np.asarray(Blur(np.ones(3) / 3, "valid").forward(x)), {},
              dict(lambda_learning="backprop")),
    "own": (Doubled, lambda x: 2 * x, {}, {}),
}


def made(measurement, **options):
    model = kc.CRsAE(**{"filters": 2, "kernel_size": 11, "iterations": 15, "sigma": 1.0, "seed": 1, **options},
                     measurement=measurement)
    model.compile(keras.optimizers.Adam(1e-2))
    return model


@pytest.mark.parametrize("name", CASES)
def test_it_learns_reconstructs_the_signal_and_is_saved(name, signals, tmp_path):
    measurement, measure, call, options = CASES[name]
    model, data = made(measurement(), **options), np.asarray(measure(signals), "float32")
    losses = model.fit(data, epochs=3, batch_size=4, verbose=0, **call).history["loss"]
    assert losses[-1] < losses[0]
    found, given = model.reconstruct(data, **call), {"signal": data, **call} if call else data
    assert found.shape == signals.shape and model.compute_output_shape(data.shape) == signals.shape
    np.testing.assert_allclose(model.predict(given, verbose=0), found, atol=1e-4)
    np.testing.assert_allclose(model(data, **call), found, atol=1e-4)
    np.testing.assert_allclose(model.separate(data, **call).sum(axis=-1), found, atol=1e-3)
    # The loss is that of the data.
    phi = model.measurement.of_batch(call.get("operator"), "float32")
    shaped = data.reshape(len(data), -1, 1)
    error = np.mean((shaped - np.asarray(phi.forward(found))) ** 2)
    assert model.evaluate(data, verbose=0, return_dict=True, **call)["loss"] == pytest.approx(error, rel=1e-4)
    certificate = model.convergence(data, **call)
    assert (certificate.gap >= 0).all() and (certificate.remaining < 1).all()
    model.save(tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras")
    np.testing.assert_allclose(loaded.encode(data, **call), model.encode(data, **call), atol=1e-6)
    assert type(loaded.measurement) is type(model.measurement) and float(loaded.step_size) == float(model.step_size)


def test_training_goes_on_exactly_after_loading(signals, tmp_path):
    measurement, measure, call, _ = CASES["stack"]
    data = measure(signals).astype("float32")
    whole, first = made(measurement()), made(measurement())
    whole.fit(data, epochs=2, batch_size=4, verbose=0, **call)
    first.fit(data, epochs=1, batch_size=4, verbose=0, **call)
    first.save(tmp_path / "m.keras")
    rest = keras.saving.load_model(tmp_path / "m.keras")
    rest.fit(data, epochs=2, initial_epoch=1, batch_size=4, verbose=0, **call)
    np.testing.assert_allclose(rest.dictionary.kernel, whole.dictionary.kernel, atol=1e-6)


def test_a_mask_as_measurement_is_the_mask_of_each_call_to_the_bit(signals):
    observed = (RNG.random((60, 1)) < 0.7).astype("float32")
    weight = np.broadcast_to(observed, signals.shape)
    own, plain = made(Mask(observed)), made(None)
    histories = [model.fit(signals, epochs=2, batch_size=4, verbose=0, **given).history for model, given in
                 ((own, {}), (plain, dict(sample_weight=weight)))]
    assert histories[0] == histories[1]
    for method in ("encode", "reconstruct"):
        np.testing.assert_array_equal(getattr(own, method)(signals), getattr(plain, method)(signals, mask=weight))
    np.testing.assert_array_equal(own(signals), plain(signals, mask=weight))


def test_the_identity_is_nothing_to_the_bit(signals):
    models = made(kc.problem.Identity()), made(None)
    for model in models:
        model.fit(signals, epochs=1, batch_size=4, verbose=0)
    np.testing.assert_array_equal(*(model.encode(signals) for model in models))


def test_subsampling_is_a_mask_on_the_signal_to_the_bit(signals):
    observed = np.zeros((60, 1), "float32")
    observed[::2] = 1
    models = made(Subsample(2)), made(Mask(observed))
    for model in models:
        model.set_dictionary(kc.data.spike_templates(11, 2))
    zero_filled = signals * observed
    np.testing.assert_array_equal(models[0].encode(signals[:, ::2]), models[1].encode(zero_filled))


def test_streams_name_one_matrix_for_a_batch_or_one_a_signal(signals):
    seen = np.einsum("kmn,bnc->kbmc", STACK, signals[:4]).astype("float32")
    dataset = tf.data.Dataset.from_tensor_slices({"signal": seen, "operator": np.arange(3)})
    losses = made(Matrix(STACK)).fit(dataset, epochs=3, verbose=0).history["loss"]
    assert losses[-1] < losses[0]
    data = CASES["stack"][1](signals).astype("float32")
    dataset = tf.data.Dataset.from_tensor_slices({"signal": data, "operator": NUMBERS}).batch(4)
    losses = made(Matrix(STACK)).fit(dataset, epochs=3, verbose=0).history["loss"]
    assert losses[-1] < losses[0]


def test_clean_signals_are_targets_and_masks_of_data_leave_them_out(signals):
    data = CASES["blur"][1](signals)
    supervised = made(Blur(np.ones(3) / 3), lambda_learning="backprop")
    history = supervised.fit(data, signals, epochs=2, batch_size=4, verbose=0, validation_data=(data, signals)).history
    found = supervised.reconstruct(data)
    assert history["val_loss"][-1] == pytest.approx(np.mean((signals - found) ** 2), rel=1e-3)
    spoilt, mask = data.copy(), np.ones(data.shape, "float32")
    spoilt[:, 20:24], mask[:, 20:24] = 1e3, 0
    masked, clean = made(Blur(np.ones(3) / 3)), made(Blur(np.ones(3) / 3))
    masked.fit(spoilt, sample_weight=mask, epochs=1, batch_size=4, verbose=0)
    clean.fit(np.where(mask > 0, data, 0), sample_weight=mask, epochs=1, batch_size=4, verbose=0)
    np.testing.assert_allclose(masked.dictionary.kernel, clean.dictionary.kernel, atol=1e-5)


def test_a_strategy_learns_what_a_model_without_one_does(signals):
    measurement, measure, call, _ = CASES["stack"]
    data = measure(signals).astype("float32")
    strategy = tf.distribute.MirroredStrategy(["CPU:0"])
    with strategy.scope():
        spread = made(measurement())
    alone = made(measurement())
    for model in (spread, alone):
        model.fit(data, epochs=1, batch_size=4, verbose=0, **call)
    np.testing.assert_allclose(spread.dictionary.kernel, alone.dictionary.kernel, atol=1e-5)


@pytest.mark.parametrize("name, spoil, message", [
    ("matrix", lambda y: dict(signal=np.zeros((2, 60, 1))), "must have the sizes that .* the size of the signal"),
    ("matrix", lambda y: dict(signal=np.zeros((2, 31, 1))), "must have the sizes"),
    ("matrix", lambda y: dict(signal=np.zeros((2, 30))), "must be the data of the measurement"),
    ("matrix", lambda y: dict(signal=np.where(y == y[0, 0, 0], np.nan, y)), "finite|NaN"),
    ("matrix", lambda y: dict(signal=y, operator=1), "Leave it out"),
    ("stack", lambda y: dict(signal=y), "say which one"),
    ("stack", lambda y: dict(signal=y, operator=3), "from 0 to 2"),
    ("stack", lambda y: dict(signal=y, operator=[0, 1]), "whole number or one a signal"),
    ("stack", lambda y: dict(signal=y, operator=np.zeros(12)), "whole number or one a signal"),
    ("matrix", lambda y: dict(signal=y, window=100), "acts on whole signals")])
def test_data_that_do_not_fit_are_refused_at_the_door(name, spoil, message, signals):
    measurement, measure, _, _ = CASES[name]
    model = made(measurement())
    model.set_dictionary(kc.data.spike_templates(11, 2))
    with pytest.raises(ValueError, match=message):
        model.encode(**spoil(np.asarray(measure(signals), "float32")))


@pytest.mark.parametrize("options, message", [
    (dict(measurement=Matrix(PHI), sigma="estimate"), "Give `sigma` a number in the unit of the data"),
    (dict(measurement=Matrix(PHI), active=True), "active"), (dict(measurement=Matrix(PHI), rank=2), "acts on time"),
    (dict(measurement=Matrix(PHI), likelihood="poisson"), "are for Gaussian noise"),
    (dict(measurement=PHI), "Use problem.Matrix")])
def test_options_that_exclude_a_measurement_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        kc.CRsAE(2, 11, **options)


def test_denoisers_have_no_measurement_and_filters_are_not_cut_from_sums():
    with pytest.raises(ValueError, match=r"Use CRsAE\(measurement=\)"):
        kc.Denoiser(4, 6, strides=2, measurement=Subsample(2))
    with pytest.raises(ValueError, match="init='dct'"):
        made(Matrix(PHI)).adapt(np.zeros((2, 30, 1)) + RNG.random((2, 30, 1)), init="windows")
    with pytest.raises(ValueError, match="must be the clean signals"):
        made(Matrix(PHI)).fit(np.ones((4, 30, 1)), np.ones((4, 30, 1)), verbose=0)
