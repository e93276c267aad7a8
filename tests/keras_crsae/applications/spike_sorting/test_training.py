"""The model that starts from templates, and the windows it is trained on."""

import numpy as np

from keras_crsae.applications.spike_sorting.matching import match_templates
from keras_crsae.applications.spike_sorting.parameters import SortingParameters
from keras_crsae.applications.spike_sorting.templates import as_kernel
from keras_crsae.applications.spike_sorting.training import held_out_gain, train_model, training_windows

SHORT = SortingParameters(epochs=2, batch_size=2, window_samples=500, maximum_windows=4, iterations=5)


def test_the_windows_with_the_most_energy_are_used_in_order_of_time():
    white = np.random.default_rng(0).normal(size=(5200, 1))
    white[1000:1500] *= 3
    white[4000:4500] *= 2
    windows = training_windows(white, 1, SortingParameters(window_samples=500, maximum_windows=2, batch_size=1))
    np.testing.assert_array_equal(windows, [white[1000:1500], white[4000:4500]])


def test_wide_probes_use_fewer_windows():
    parameters = SortingParameters(window_samples=10, maximum_windows=40, batch_size=2)
    white = np.zeros((1000, 12))
    assert len(training_windows(white, 2, parameters)) == 40
    assert len(training_windows(white, 8, parameters)) == 10
    assert len(training_windows(white, 800, parameters)) == 4  # two batches at least
    assert training_windows(white[:5], 2, parameters).shape == (0, 10, 12)


def test_training_goes_through_fit_and_reports_steps(unit_shapes, unit_signal):
    done = []
    model, history = train_model(unit_shapes, unit_signal[:4000], SHORT, 0, done.append)
    assert len(history["reconstruction_loss"]) == 2 and done == [0.25, 0.5, 0.75, 1.0]
    moved = np.abs(model.dictionary.kernel.numpy() - as_kernel(unit_shapes)).max()
    assert 0 < moved < 0.05


def test_without_epochs_the_templates_are_the_filters(unit_shapes, unit_signal):
    model, history = train_model(unit_shapes, unit_signal, SortingParameters(epochs=0), 0, lambda fraction: None)
    assert history == {} and model.encoder.iterations == SortingParameters().iterations
    np.testing.assert_allclose(model.dictionary.kernel.numpy(), as_kernel(unit_shapes), atol=1e-6)


def test_templates_that_are_the_means_of_their_spikes_are_not_trained(unit_shapes, unit_signal):
    known = SortingParameters()
    right, wrong = (held_out_gain(match_templates(unit_signal, templates, 20), unit_signal) for templates in (
        unit_shapes, unit_shapes + 1.5 * np.hanning(unit_shapes.shape[1])[:, None]))
    assert abs(right) < known.minimum_training_gain_nats < wrong
    assert train_model(unit_shapes, unit_signal, known, 0, lambda fraction: None, right)[1] == {}


def test_wide_probes_with_many_units_are_trained_only_where_epochs_are_asked_for(unit_shapes, unit_signal):
    known = SortingParameters(most_work_channels=unit_shapes.shape[0] * unit_shapes.shape[2] - 1)
    assert train_model(unit_shapes, unit_signal[:4000], known, 0, lambda fraction: None)[1] == {}


def test_epochs_that_are_asked_for_are_trained(unit_shapes, unit_signal):
    _, history = train_model(unit_shapes, unit_signal[:4000], SHORT, 0, lambda fraction: None, 0.0)
    assert len(history["reconstruction_loss"]) == SHORT.epochs
