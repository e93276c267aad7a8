"""Bad input is refused before any work starts, with what was expected, what came and how to mend it."""

import re

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_crsae as kc

GOOD = np.random.default_rng(0).standard_normal((2, 50, 1)).astype("float32")


def model(rank=1, **options):
    made = kc.CRsAE(3, 21 if rank == 1 else 5, rank=rank, iterations=2, seed=0, **options)
    made.build((None,) * (rank + 1) + (1,))
    made.compile("adam", run_eagerly=True)  # one step, or none
    return made


@pytest.fixture(scope="module")
def untouched():
    """A model that every refusal leaves as it is."""
    return model()


DATA = [
    (np.zeros((2, 50)), "must have shape .*shape \\(2, 50\\).*\\w+\\[\\.\\.\\., None"),
    (np.zeros((2, 50, 2)), "1 channels"),
    (np.zeros((2, 10, 1)), "shorter than the kernel.*\\(2, 10, 1\\).*Use longer"),
    (np.where(GOOD > 2, np.nan, GOOD), "NaN or infinite values of 100.*mask"),
    (np.where(GOOD > 2, np.inf, GOOD), "NaN or infinite"), (1e300 * GOOD.astype("float64"), "as float32"),
    (np.zeros((2, 50, 1), complex), "real numbers.*complex128"), (np.zeros((0, 50, 1)), "empty"),
    (np.array([None, 1], object), "real numbers.*object"), (np.array([["a"]]), "real numbers"),
    ([[1.0, 2.0], [1.0]], "one regular array"), ([GOOD, GOOD], "\\(2, 2, 50, 1\\).*not several.*rank=2")]


@pytest.mark.parametrize("data, words", DATA)
@pytest.mark.parametrize("action", ["encode", "adapt", "fit", "evaluate", "predict"])
def test_unfit_data_is_refused_by_every_door(untouched, data, words, action):
    before = [keras.ops.convert_to_numpy(w) for w in untouched.weights]
    with pytest.raises(ValueError, match=words):
        getattr(untouched, action)(data)
    for a, b in zip(before, untouched.weights, strict=True):
        np.testing.assert_array_equal(a, keras.ops.convert_to_numpy(b))


def test_unfit_images_are_refused():
    with pytest.raises(ValueError, match=r"\(batch, height, width, 1 channels\).*\(2, 50, 1\)"):
        model(rank=2).fit(GOOD)


@pytest.mark.parametrize("options, words", [
    (dict(x=GOOD, y=GOOD[:, :40]), "clean signal.*\\(2, 40, 1\\)"), (dict(x=GOOD, y=np.full_like(GOOD, np.nan)), "NaN"),
    (dict(x=GOOD, validation_data=(GOOD[:, :10], None)), "validation_data.*shorter"),
    (dict(x=GOOD, validation_data=np.full_like(GOOD, np.inf)), "validation_data.*infinite"),
    (dict(x=GOOD, sample_weight=np.full(GOOD.shape, 0.5)), "0 or 1"),
    (dict(x=GOOD, sample_weight=np.zeros(GOOD.shape)), "every sample as missing"),
    (dict(x=GOOD, sample_weight=np.ones(3)), "\\(2,\\).*shape \\(3,\\)"),
    (dict(x=GOOD, sample_weight=np.array([1.0, -1.0])), "non-negative"),
    (dict(x=GOOD, sample_weight=np.array([1.0, np.nan])), "finite"),
    (dict(x=GOOD, class_weight={0: 1.0}), "class_weight"), (dict(), "needs `x`"),
    (dict(x=tf.data.Dataset.from_tensor_slices(GOOD[..., 0]).batch(2)), "batch, time, channels.*\\(2, 50\\)"),
    (dict(x=tf.data.Dataset.from_tensor_slices(GOOD).batch(2).take(0)), "no batch"),
    (dict(x=iter(())), "no batch")])
def test_fit_refuses_unfit_targets_weights_and_streams(options, words):
    with pytest.raises(ValueError, match=re.compile(words, re.DOTALL)):
        model().fit(**options)


def test_fit_before_compile_says_so():
    with pytest.raises(ValueError, match="Call `compile`"):
        kc.CRsAE(3, 21).fit(GOOD)


def test_losses_and_metrics_of_ones_own_are_refused():
    for extra in (dict(loss="mse"), dict(metrics=["mae"])):
        with pytest.raises(ValueError, match="its own losses"):
            kc.CRsAE(3, 21).compile("adam", **extra)


@pytest.mark.parametrize("options, words", [
    *[(dict([pair]), pair[0]) for pair in [
        ("sigma", 0), ("sigma", -1.0), ("sigma", np.nan), ("sigma", "guess"), ("sigma", None), ("sigma_rate", 0),
        ("sigma_rate", 1.5), ("lambda_init", -1), ("lambda_init", 0), ("lambda_init", np.inf), ("lambda_init", "high"),
        ("lambda_init", [1.0, 2.0]), ("lambda_init", [1.0, 2.0, -1.0]), ("lambda_learning", "sgd"),
        ("iterations", 0), ("iterations", 2.5), ("iterations", True), ("gradient", "none"),
        ("gradient_steps", 0), ("strides", 30), ("rank", 3),
        ("step_size", 0), ("step_size", "fixed"), ("tolerance", -1e-3), ("block_size", 0)]],
    (dict(shrinkage="hard"), "code prior.*'hard'"), (dict(lambda_prior=3.0), "prior of lambda.*3.0"),
    (dict(lambda_shared=True, lambda_init=[1.0, 2.0, 3.0]), "lambda_shared"),
    (dict(lambda_learning="backprop", gradient="decoder"), "decoder"),
    (dict(lambda_learning="em_through_code", gradient="decoder"), "decoder"),
    (dict(lambda_learning="bias", likelihood="poisson"), "Gaussian noise")], ids=str)
def test_unfit_options_are_refused_at_construction(options, words):
    with pytest.raises(ValueError, match=words):
        kc.CRsAE(3, 21, **options)


@pytest.mark.parametrize("filters, size", [(0, 21), (3, 0), (3, 2.5), (2.0, 21), (3, (3, 3, 3)), (None, 21)])
def test_unfit_sizes_are_refused_at_construction(filters, size):
    with pytest.raises(ValueError, match="positive int|rank` must be 1"):
        kc.CRsAE(filters, size)


@pytest.mark.parametrize("name", ["mean", "strength", "rate", "shape"])
def test_a_prior_needs_positive_numbers(name):
    for value in (0, -1, np.nan, np.inf, "one"):
        with pytest.raises(ValueError, match=name):
            kc.GammaPrior(**{name: value})


@pytest.mark.parametrize("filters, words", [
    (np.zeros((21, 1, 3)), "all zero"), (np.full((21, 1, 3), np.nan), "finite"),
    (np.ones((20, 1, 3)), "\\(20, 1, 3\\)"), (np.ones((21, 3)), "must have shape"),
    (np.ones((21, 2, 3)), "\\(21, 1, 3\\)"), (np.ones((21, 1, 3), complex), "real")])
def test_unfit_filters_are_refused(untouched, filters, words):
    with pytest.raises(ValueError, match=words):
        untouched.set_dictionary(filters)


def test_unknown_first_filters_and_too_many_atoms_are_refused():
    with pytest.raises(ValueError, match="windows"):
        model().adapt(GOOD, init="best")
    with pytest.raises(ValueError, match="5 atoms"):
        kc.CRsAE(6, 5).adapt(GOOD, init="dct")


def test_constant_data_gives_no_noise_level():
    with pytest.raises(ValueError, match="noise level of zero.*positive number"):
        kc.CRsAE(3, 21, sigma="estimate").adapt(np.ones((2, 50, 1)))


def test_all_zero_codes_and_a_held_lambda_are_warned_of():
    silent = model(lambda_init=1e6, lambda_learning=None)
    with pytest.warns(UserWarning, match="All codes are zero.*lambda_max"):
        silent.fit(GOOD, verbose=0)
    runaway = model(lambda_learning="em_closed_form", lambda_prior=kc.GammaPrior(strength=1e-4))
    with pytest.warns(UserWarning, match="held at half of lambda_max.*GammaPrior"):
        history = runaway.fit(GOOD, epochs=5, verbose=0).history
    assert history["sparsity"][-1] > 0
    assert float(np.max(runaway.lambda_reg)) <= float(runaway.training_state.lambda_ceiling) * (1 + 1e-6)


def test_numpy_numbers_are_taken_where_numbers_are():
    a = kc.CRsAE(np.int64(3), np.int32(21), iterations=np.int16(2), sigma=np.float32(0.5), seed=np.int64(0))
    b = kc.CRsAE(3, (21,), iterations=2, sigma=0.5, seed=0)
    assert {**a.get_config(), "name": 0} == {**b.get_config(), "name": 0}
