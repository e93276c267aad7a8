"""Event-driven encoding: pieces against NumPy, the optimum against the dense encoder."""

import numpy as np
import pytest
import tensorflow as tf

import keras_crsae as kc
from keras_crsae.data.simulate import simulate_spikes, spike_templates
from keras_crsae.functional import active


def test_picked_positions_are_the_strongest_and_never_near_each_other(rng):
    for spacing in (1, 4, 9):
        score = rng.random((3, 50)) ** 4
        picked = active.pick(tf.constant(score), 0.2, spacing).numpy()
        assert len(picked) > 0 and all(score[b, i] > 0.2 for b, i in picked)
        strongest = [b for b in range(3) if score[b].max() > 0.2]
        assert all((b, score[b].argmax()) in {tuple(p) for p in picked} for b in strongest)
        for b in range(3):
            positions = np.sort(picked[picked[:, 0] == b, 1])
            assert (np.diff(positions) >= spacing).all()


def test_of_two_equal_neighbours_one_is_picked():
    score = tf.constant([[0.0, 0.0, 1.0, 1.0, 0.0, 0.0]])
    assert len(active.pick(score, 0.5, 3)) == 1


def test_window_correlation_is_the_gram_matrix_of_the_dictionary(rng):
    from tests.twin import dictionary_matrix

    kernel = rng.standard_normal((5, 2, 3))
    matrix, positions = dictionary_matrix(kernel, (20,), (1,))
    gram = (matrix.T @ matrix).reshape(positions[0], 3, positions[0], 3)
    wide = active.window_correlation(tf.constant(kernel), 3)
    np.testing.assert_allclose(wide, gram[6:9, :, 2:13], atol=1e-12)


def test_the_eigenvalue_bound_holds_within_five_percent(rng):
    for n in (1, 5, 200):
        root = rng.standard_normal((n, n + 3))
        gram = root @ root.T
        largest = np.linalg.eigvalsh(gram)[-1]
        assert largest * (1 - 1e-9) <= float(active.largest_eigenvalue(tf.constant(gram))) <= 1.05 * largest


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


def test_images_and_strides_are_refused():
    with pytest.raises(ValueError, match="active=True is for signals"):
        kc.CRsAE(2, 5, rank=2, active=True).build((None, None, None, 1))
