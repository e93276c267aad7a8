"""The demo's recording: its templates are learned, and its spikes scored unit by unit."""

import numpy as np

from keras_crsae.data.simulate import simulate_spikes, spike_templates
from keras_crsae.demo.recording import learn_templates, score
from keras_crsae.metrics import dictionary_error, match_filters


def test_the_true_code_scores_all_spikes_and_an_empty_one_none():
    templates = spike_templates(45, 3)
    test = simulate_spikes(templates, windows=1, samples=20_000, events_per_window=10, amplitude=(150.0, 15.0),
                           sigma=10.0, seed=0)
    match = match_filters(templates, templates)
    precision, recall = score(test, test.code[0], match, sigma=10.0)
    assert precision == 1.0 and recall > 0.9  # two spikes of one unit within 0.5 ms count once
    assert score(test, np.zeros_like(test.code[0]), match, sigma=10.0) == (0.0, 0.0)
    shifted = np.roll(test.code[0], 100, axis=0)
    assert score(test, shifted, match, sigma=10.0)[1] < 0.2


def test_templates_come_nearer_to_the_true_ones():
    templates = spike_templates(45, 3)
    signal = simulate_spikes(templates, windows=1, samples=48_000, events_per_window=120, amplitude=(150.0, 15.0),
                             sigma=10.0, seed=0).signal
    model, first = learn_templates(signal, seed=0, starts=1, epochs=4)
    learned = np.asarray(model.dictionary.kernel)
    assert dictionary_error(templates, learned).mean() < 0.8 * dictionary_error(templates, first).mean()
