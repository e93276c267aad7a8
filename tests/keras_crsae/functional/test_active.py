"""Event-driven encoding: pieces against NumPy, the optimum against the dense encoder."""

import numpy as np
import pytest
import tensorflow as tf

import keras_crsae as kc
from keras_crsae.data.simulate import simulate_spikes, spike_templates
from keras_crsae.functional import active


def test_dilate_reaches_left_and_right(rng):
    flags = rng.random((3, 40)) < 0.1
    expected = np.zeros_like(flags)
    for row, i in np.argwhere(flags):
        expected[row, max(0, i - 2):i + 4] = True
    np.testing.assert_array_equal(active.dilate(tf.constant(flags), left=2, right=3), expected)


def test_touched_runs_end_at_the_edge_of_a_row():
    flags = np.array([[1, 1, 0, 1, 1], [1, 1, 0, 0, 1]], bool)
    marks = np.array([[0, 0, 0, 0, 1], [0, 0, 1, 0, 0]], bool)
    expected = np.array([[0, 0, 0, 1, 1], [0, 0, 0, 0, 0]], bool)
    np.testing.assert_array_equal(active.touched_runs(tf.constant(flags), tf.constant(marks)), expected)


@pytest.fixture(scope="module")
def sparse_recording():
    return simulate_spikes(spike_templates(21, 3), windows=3, samples=1500, events_per_window=4, seed=3)


def encoders(recording, **options):
    made = []
    for switch in (False, True):
        model = kc.CRsAE(3, 21, iterations=1500, lambda_init=4.5, active=switch, **options)
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


def test_the_set_grows_until_the_optimality_condition_holds():
    # The second event hides behind the negative lobe of the first: D^T y is below the limit where it stands.
    filters = np.zeros((9, 1, 1))
    filters[0], filters[6] = 0.8, -0.6
    signal = np.zeros((1, 60, 1), "float32")
    for position, amplitude in ((20, 10.0), (26, 4.0)):
        signal[0, position:position + 9] += (amplitude * filters[:, :, 0]).astype("float32")
    code = []
    for switch in (False, True):
        model = kc.CRsAE(1, 9, iterations=1000, lambda_init=1.0, active=switch)
        model.set_dictionary(filters)
        code.append(model.encode(signal))
    first = model.dictionary.adjoint(tf.constant(signal))[0, :, 0].numpy() > 1.0
    reached = np.convolve(first, np.ones(2 * (9 // 4) + 1), "same") > 0
    assert not reached[26] and code[0][0, 26, 0] > 1.0, "the case must need a second round"
    np.testing.assert_allclose(code[1], code[0], atol=1e-4 * code[0].max())


def test_images_and_strides_are_refused():
    with pytest.raises(ValueError, match="active=True is for signals"):
        kc.CRsAE(2, 5, rank=2, active=True).build((None, None, None, 1))
