"""The fitted model of counts."""

import numpy as np

from keras_crsae.applications.neural_events.model import EventFitter
from keras_crsae.applications.neural_events.parameters import EventParameters
from keras_crsae.applications.neural_events.spike_counts import bin_spikes


def test_hidden_bins_have_no_say_in_the_code(fitted, trials):
    counts = fitted.counts
    observed = np.ones(counts.counts.shape, bool)
    observed[:, 50:60] = False
    other = bin_spikes(trials.spikes, 5)
    other.counts[:, 50:60] = 5
    first, second = (fitted.fitted.code(one, fitted.conditions, observed=observed) for one in (counts, other))
    np.testing.assert_allclose(first, second, atol=1e-5)
    assert np.abs(first - fitted.fitted.code(other, fitted.conditions)).max() > 0.1


def test_expected_counts_of_no_events_are_those_of_the_baseline(fitted):
    mean = fitted.fitted.mean_of_events(fitted.counts, fitted.events[:0], fitted.conditions)
    np.testing.assert_allclose(mean * 1000 / 5, fitted.baseline_hz)
    rates = fitted.counts.counts.mean((0, 1)) * 1000 / 5  # Hz, events included
    baseline = fitted.baseline_hz[0, 0]
    assert (baseline < rates).all() and baseline[0] < baseline[1]  # 5 and 12 Hz were simulated, before events


def test_a_psth_baseline_follows_the_condition():
    rng = np.random.default_rng(0)
    rate = np.where(np.arange(200) < 100, 0.02, 0.2)
    spikes = np.stack([rng.random(200) < (rate if t % 2 else rate[::-1]) for t in range(40)])
    counts = bin_spikes(spikes, 5)
    model = EventFitter(1, 8, 1, 5, EventParameters(baseline="psth", steps=1, rounds=0)).fit(counts, ["b", "a"] * 20)
    offset = model.offset(counts, ["b", "a"] * 20)[:, :, 0]
    assert (offset[0, :15] > offset[0, -15:].max()).all() and (offset[1, :15] < offset[1, -15:].min()).all()


def test_a_first_kernel_of_a_spike_learns_that_spikes_keep_apart():
    rng = np.random.default_rng(0)
    spikes = np.zeros((30, 400), int)
    for row in spikes:
        row[[at for at in np.cumsum(8 + rng.geometric(0.1, 40)) if at < 400]] = 1
    parameters = EventParameters(first_kernels="spike", rounds=0, steps=60, first_penalty=0.1, smoothness=1e-4)
    kernel = EventFitter(1, 15, 1, 2, parameters).fit(bin_spikes(spikes, 2)).kernel[:, 0, 0]
    assert kernel[7] > 0.3 and kernel[[5, 6, 8, 9]].max() < 0
