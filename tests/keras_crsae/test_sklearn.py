"""``SparseCoder`` among scikit-learn's own things: its checks, pipelines, searches, pickles, pandas."""

import pickle

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="the extra `sklearn` is not installed")

import joblib
from scipy import sparse
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks

import keras_crsae as kc
from keras_crsae.data.simulate import simulate_spikes, spike_templates
from keras_crsae.sklearn import SparseCoder

QUICK = dict(iterations=5, epochs=1, random_state=0)


@pytest.fixture(scope="module")
def rows():
    """(40, 120) rows of three filters of 15 samples, and the filters."""
    truth = spike_templates(15, 3)
    made = simulate_spikes(truth, windows=40, samples=120, events_per_window=3, sigma=1.0, amplitude=(15.0, 1.0))
    return made.signal[..., 0], truth


@pytest.fixture(scope="module")
def coder(rows):
    return SparseCoder(3, 15, **QUICK).fit(rows[0])


@pytest.mark.slow
@parametrize_with_checks([SparseCoder(filters=3, iterations=3, epochs=1)])
def test_scikit_learns_own_checks_pass(estimator, check, eagerly):
    check(estimator)


@pytest.mark.slow
def test_a_search_over_lambda_finds_the_one_that_fills_in_hidden_samples_best(rows):
    signal, truth = rows
    coder = SparseCoder(3, 15, init=truth, epochs=0, iterations=60, random_state=0)
    found = GridSearchCV(coder, {"lambda_init": [0.01, 2.0, 14.0]}, cv=2).fit(signal)
    assert found.best_params_ == {"lambda_init": 2.0}
    again = GridSearchCV(Pipeline([("code", coder)]), {"code__penalty_ratio": [0.1, 0.9]}, cv=2).fit(signal)
    assert again.best_params_ == {"code__penalty_ratio": 0.1}


@pytest.mark.slow
def test_a_search_is_shared_by_several_processes(rows):
    signal, truth = rows
    coder = SparseCoder(3, 15, init=truth, epochs=1, iterations=10, random_state=0)
    scores = []
    for workers in (1, 2):
        with joblib.parallel_config(backend="loky", n_jobs=workers):
            found = GridSearchCV(coder, {"lambda_init": [2.0, 14.0]}, cv=2).fit(signal)
        scores.append(found.cv_results_["mean_test_score"])
    np.testing.assert_allclose(*scores, rtol=1e-5)


def test_filters_are_learned(rows):
    signal, truth = rows
    coder = SparseCoder(3, 15, iterations=40, epochs=30, learning_rate=2e-2, random_state=1).fit(signal)
    assert kc.metrics.dictionary_error(truth, coder.dictionary_).mean() < 0.3
    assert len(coder.history_["loss"]) == 30 and coder.history_["loss"][-1] < coder.history_["loss"][0]
    assert coder.score(signal) > 0.5


def test_the_three_outputs_hold_the_same_codes_and_lead_back(rows, coder):
    signal, _ = rows
    dense = coder.transform(signal)
    array, sparse_code = (clone(coder).set_params(output=kind).fit(signal).transform(signal)
                          for kind in ("array", "sparse"))
    assert dense.shape == (40, 106 * 3) and array.shape == (40, 106, 3) and sparse.issparse(sparse_code)
    np.testing.assert_array_equal(dense, array.reshape(40, -1))
    np.testing.assert_array_equal(dense, sparse_code.toarray())
    expected = coder.model_.decode(array)[..., 0]
    for code in (dense, array, sparse_code):
        np.testing.assert_allclose(coder.inverse_transform(code), expected, atol=1e-5)


def test_columns_are_named_by_filter_and_first_sample(rows, eagerly):
    coder = SparseCoder(2, 15, strides=4, **QUICK).fit(rows[0]).set_output(transform="pandas")
    frame = coder.transform(rows[0][:3])
    assert list(frame.columns[:3]) == ["filter0_at0", "filter1_at0", "filter0_at4"]
    assert coder.inverse_transform(frame).shape == (3, 120)  # the code reaches further: the stride does not divide


@pytest.mark.parametrize("shape, options, positions", [
    ((20, 30, 2), dict(kernel_size=5), (26,)),
    ((20, 60), dict(kernel_size=5, signal_shape=(30, 2)), (26,)),
    ((20, 6, 7), dict(kernel_size=(3, 2)), (4, 6)),
    ((20, 6, 7, 3), dict(kernel_size=3), (4, 5)),
    ((20, 126), dict(kernel_size=(3, 2), signal_shape=(6, 7, 3)), (4, 6)),
    ((20, 30), dict(), (1,)),
])
def test_rows_of_every_layout_are_coded_and_led_back(shape, options, positions, rng, eagerly):
    x = rng.standard_normal(shape)
    coder = SparseCoder(4, **options, **QUICK).fit(x)
    assert coder.code_shape_ == (*positions, 4)
    assert coder.inverse_transform(coder.transform(x)).shape == shape
    assert len(coder.get_feature_names_out()) == coder.transform(x).shape[1]


def test_partial_fit_goes_on_where_it_was(rows, eagerly):
    signal, _ = rows
    coder = SparseCoder(3, 15, **QUICK)
    first = coder.partial_fit(signal[:20]).dictionary_
    model = coder.model_
    second = coder.partial_fit(signal[20:]).dictionary_
    assert coder.model_ is model and int(model.optimizer.iterations) == 2 and not np.allclose(first, second)
    with pytest.raises(ValueError, match="100 features"):
        coder.partial_fit(signal[:, :100])


def test_the_same_random_state_gives_the_same_filters_and_pickles_keep_them(rows, coder):
    signal, _ = rows
    again = clone(coder).fit(signal)
    np.testing.assert_array_equal(again.dictionary_, coder.dictionary_)
    loaded = pickle.loads(pickle.dumps(coder))
    np.testing.assert_array_equal(loaded.transform(signal), coder.transform(signal))


def test_known_filters_and_a_number_for_lambda_are_taken_as_they_are(rows):
    signal, truth = rows
    coder = SparseCoder(3, 15, init=truth, lambda_init=2.5, epochs=0).fit(signal)
    np.testing.assert_allclose(coder.dictionary_, truth, atol=1e-6)
    np.testing.assert_allclose(coder.lambda_reg_, 2.5)
    np.testing.assert_array_equal(coder.transform(signal).reshape(40, -1, 3), coder.model_.encode(signal[..., None]))


def test_lambda_is_the_asked_for_share_of_the_smallest_that_silences_all(rows):
    signal, truth = rows
    coder = SparseCoder(3, 15, init=truth, penalty_ratio=0.25, sigma=2.0, code_prior="soft", epochs=0).fit(signal)
    np.testing.assert_allclose(coder.lambda_reg_ * 4, 0.25 * kc.lambda_max(signal[..., None], truth), rtol=1e-5)


@pytest.mark.parametrize("options, x, words", [
    (dict(kernel_size=(3, 3)), np.ones((4, 64)), "signal_shape"),
    (dict(kernel_size=3, signal_shape=(5, 5)), np.ones((4, 64)), "signal_shape"),
    (dict(kernel_size=3, signal_shape=(4, 3)), np.ones((4, 3, 4)), "signal_shape"),
    (dict(kernel_size=9), np.ones((4, 5)), "kernel_size"),
    (dict(penalty_ratio=1.5), np.ones((4, 5)), "penalty_ratio"),
    (dict(), np.zeros((4, 5)), "all zeros"),
    (dict(filters=0), np.ones((4, 5)), "filters"),
    (dict(epochs=-1), np.ones((4, 5)), "epochs"),
    (dict(batch_size=0), np.ones((4, 5)), "batch_size"),
    (dict(model_options={"nonsense": 1}), np.ones((4, 5)), "nonsense"),
])
def test_what_does_not_fit_is_refused_with_the_way_out(options, x, words):
    with pytest.raises((ValueError, TypeError), match=words):
        SparseCoder(**options).fit(x)


def test_codes_of_another_shape_and_unknown_outputs_are_refused(rows, coder):
    with pytest.raises(ValueError, match="Codes must have shape"):
        coder.inverse_transform(np.ones((2, 5)))
    with pytest.raises(ValueError, match="output"):
        clone(coder).set_params(output="list").fit(rows[0]).transform(rows[0])
