"""Events of a code: one a filter in a neighbourhood."""

import keras
import numpy as np
import pytest

import keras_crsae as kc
from keras_crsae.training.event_refit import event_support


def support(code, distance):
    return keras.ops.convert_to_numpy(event_support(keras.ops.convert_to_tensor(code), distance))


def test_what_is_spread_over_neighbours_is_one_event_in_its_middle():
    code = np.zeros((1, 40, 2), "float32")
    code[0, 9:14, 0] = 1, 2, 3, 2, 1
    code[0, 25, 0], code[0, 30, 0] = 4, 0.5     # the second one is near, and weaker
    code[0, 12, 1], code[0, 25, 1] = -2, 1      # of the other filter; either sign
    events = np.argwhere(support(code, 6)[0])
    np.testing.assert_array_equal(events, [[11, 0], [12, 1], [25, 0], [25, 1]])


def test_a_zero_code_has_no_events():
    assert not support(np.zeros((2, 30, 3), "float32"), 4).any()


def test_events_of_images():
    code = np.zeros((1, 20, 20, 1), "float32")
    code[0, 5:8, 5:8] = 1
    np.testing.assert_array_equal(np.argwhere(support(code, 4)[0, ..., 0]), [[6, 6]])


def test_filters_of_counts_keep_their_shape_with_refitted_events():
    """Behind a link shrunk codes flatten the peak and shrink the lobes: from the true filters one drifts away."""
    true = -kc.data.spike_templates(21, 1)
    made = kc.data.simulate_spikes(true, windows=40, samples=200, events_per_window=3, amplitude=(14.0, 1.0), seed=0)
    counts = np.random.default_rng(1).binomial(25, 1 / (1 + np.exp(3.5 - made.clean)))

    def error(**options):
        model = kc.CRsAE(1, 21, iterations=30, likelihood="binomial", trials=25, gradient="decoder",
                         lambda_learning=None, seed=0, **options)
        model.set_dictionary(true)
        model.compile(keras.optimizers.Adam(2e-2))
        model.fit(counts, epochs=6, batch_size=10, verbose=0)
        return float(kc.metrics.dictionary_error(true, model.dictionary.kernel.numpy())[0])

    plain, refitted = error(), error(refit_distance=7)
    assert refitted < 0.5 * plain, (plain, refitted)


def test_it_is_refused_where_the_gradient_should_pass_the_code():
    with pytest.raises(ValueError, match="gradient='decoder'"):
        kc.CRsAE(1, 9, refit_distance=3)
