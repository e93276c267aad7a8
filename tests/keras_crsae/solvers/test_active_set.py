"""Event-driven encoding: pieces against NumPy, the optimum against the dense encoder."""

import numpy as np
import pytest
import tensorflow as tf

import keras_crsae as kc
from keras_crsae.data.simulate import simulate_spikes, spike_templates
from keras_crsae.solvers import active_set as active


def test_rows_of_positions_come_back_as_positions(rng):
    rows = active.Rows(size=4, window=1, reach=1, filters=3, length=tf.constant(9), positions=tf.constant(18))
    array = rng.standard_normal((2, 36, 3))
    split = rows.split(tf.constant(array))
    assert split.shape == (18, 12)
    np.testing.assert_array_equal(rows.join(split), array[:, 8:26])
    weight = rows.join(rows.weight(tf.range(18), tf.constant([1.0, 2.0, 3.0])))
    assert np.isfinite(weight).all() and np.asarray(weight)[1, 5].tolist() == [1.0, 2.0, 3.0]
    assert np.isfinite(rows.weight(tf.range(18), tf.ones(3))).sum() == 2 * 18 * 3


@pytest.fixture(scope="module")
def sparse_recording():
    return simulate_spikes(spike_templates(21, 3), windows=3, samples=1500, events_per_window=4, seed=3)


def encoders(recording, **options):
    made = []
    for switch in (False, True):
        model = kc.CRsAE(3, 21, iterations=200 if switch else 1500, lambda_init=4.5, active=switch,
                         tolerance=1e-5 if switch else None, **options)
        model.set_dictionary(recording.filters)
        made.append(model)
    return made


@pytest.mark.parametrize("shrinkage", ["soft", "nonnegative_soft"])
def test_active_encoding_reaches_the_dense_optimum(sparse_recording, shrinkage):
    dense, events = encoders(sparse_recording, shrinkage=shrinkage)
    expected = dense.encode(sparse_recording.signal)
    assert 0 < np.count_nonzero(expected) < 0.05 * expected.size
    np.testing.assert_allclose(events.encode(sparse_recording.signal), expected, atol=1e-4 * np.abs(expected).max())


def test_active_encoding_takes_masks_and_a_sigma_of_each_signal(sparse_recording, rng):
    dense, events = encoders(sparse_recording)
    mask, sigma = rng.random(sparse_recording.signal.shape) > 0.1, np.array([0.8, 1.0, 1.3], "float32")
    expected = dense.encode(sparse_recording.signal, mask=mask, sigma=sigma)
    got = events.encode(sparse_recording.signal, mask=mask, sigma=sigma)
    np.testing.assert_allclose(got, expected, atol=1e-4 * expected.max())


def test_a_signal_without_events_has_no_code(sparse_recording):
    _, events = encoders(sparse_recording)
    assert not events.encode(np.zeros((2, 100, 1))).any()


@pytest.mark.parametrize("masked", [False, True])
def test_an_event_hidden_behind_another_is_found(masked):
    # D^T y is below the limit where the second event stands: it shows only once the first one is explained.
    filters = np.zeros((9, 1, 1))
    filters[0], filters[6] = 0.8, -0.6
    signal = np.zeros((1, 60, 1), "float32")
    for position, amplitude in ((20, 10.0), (26, 4.0)):
        signal[0, position:position + 9] += (amplitude * filters[:, :, 0]).astype("float32")
    mask = np.arange(60)[None, :, None] != 40 if masked else None
    code = []
    for switch in (False, True):
        model = kc.CRsAE(1, 9, iterations=1000, lambda_init=1.0, active=switch)
        model.set_dictionary(filters)
        code.append(model.encode(signal, mask=mask))
    assert model.dictionary.adjoint(tf.constant(signal))[0, 26, 0] < 1.0 and code[0][0, 26, 0] > 1.0
    np.testing.assert_allclose(code[1], code[0], atol=1e-3 * code[0].max())


def test_events_at_the_very_ends_are_coded(sparse_recording):
    dense, events = encoders(sparse_recording)
    signal = np.zeros((1, 90, 1), "float32")
    signal[0, :21] = 20 * sparse_recording.filters[..., 0]
    signal[0, -21:] += 20 * sparse_recording.filters[..., 1]
    expected = dense.encode(signal)
    assert expected[0, 0, 0] > 5 and expected[0, -1, 1] > 5
    np.testing.assert_allclose(events.encode(signal), expected, atol=1e-3 * expected.max())


def test_a_tolerance_below_rounding_ends(sparse_recording):
    model = kc.CRsAE(3, 21, iterations=50, lambda_init=4.5, active=True, tolerance=1e-12)
    model.set_dictionary(sparse_recording.filters)
    assert model.convergence(sparse_recording.signal).remaining.max() < 1e-4


def test_events_whose_reach_overlaps_are_all_taken_away():
    # Two events just too far apart to be one window: between them is what both of them change.
    filters = np.linspace(1.0, 0.5, 21)[:, None, None] / np.linalg.norm(np.linspace(1.0, 0.5, 21))
    signal = np.zeros((40, 160, 1), "float32")
    for gap, row in enumerate(signal, start=20):
        for start in (40, 40 + gap):
            row[start:start + 21] += (20 * filters[..., 0]).astype("float32")
    model = kc.CRsAE(1, 21, lambda_init=1.0, active=True, tolerance=1e-4)
    model.set_dictionary(filters)
    assert model.convergence(signal).remaining.max() < 1e-5


def test_the_least_iterations_still_reach_the_optimum(sparse_recording):
    model = kc.CRsAE(3, 21, iterations=1, lambda_init=4.5, active=True, tolerance=1e-4)
    model.set_dictionary(sparse_recording.filters)
    assert model.convergence(sparse_recording.signal).remaining.max() < 1e-3


@pytest.mark.parametrize("block_size", [1, 3, 16])
def test_any_length_and_block_size_give_the_same_code(sparse_recording, block_size):
    models = [kc.CRsAE(3, 21, lambda_init=1.0, **options) for options in (
        dict(active=True, tolerance=1e-5, block_size=block_size), dict(iterations=1500))]
    for model in models:
        model.set_dictionary(sparse_recording.filters)
    for length in (21, 22, 150, 333):
        signal = sparse_recording.signal[:1, :length].copy()
        signal[0, -21:] += 20 * sparse_recording.filters[..., 1]
        code = [model.encode(signal) for model in models]
        assert code[1].any()
        np.testing.assert_allclose(code[0], code[1], atol=2e-3 * code[1].max(), err_msg=str(length))


def test_images_and_strides_are_refused():
    with pytest.raises(ValueError, match="active=True is for signals"):
        kc.CRsAE(2, 5, rank=2, active=True).build((None, None, None, 1))
