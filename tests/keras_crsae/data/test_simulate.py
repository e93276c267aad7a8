"""Simulated data hold what they promise."""

import numpy as np
import pytest

from keras_crsae.data.simulate import perturb_filters, simulate_codes, simulate_spikes, spike_templates
from keras_crsae.metrics import dictionary_error
from tests.twin import dictionary_matrix


@pytest.mark.parametrize("shape, space, strides", [((7, 1, 2), 30, 1), ((6, 3, 2), 31, 4), ((4, 5, 2, 3), (11, 12), 2)])
def test_clean_signal_is_the_dictionary_times_the_code(rng, shape, space, strides):
    filters = rng.standard_normal(shape)
    made = simulate_codes(filters, 2.0, space, windows=2, strides=strides, nonnegative=False, seed=1)
    rank = len(shape) - 2
    matrix, positions = dictionary_matrix(filters, made.clean.shape[1:-1], (strides,) * rank)
    assert made.code.shape == (2, *positions, shape[-1])
    for clean, code in zip(made.clean, made.code, strict=True):
        np.testing.assert_allclose(matrix @ code.ravel(), clean.ravel(), atol=1e-12)


def test_codes_follow_their_prior_and_noise_its_sigma():
    rates = np.array([2.0, 8.0])
    made = simulate_codes(np.ones((3, 1, 2)), rates, 1000, windows=40, sigma=0.3, seed=2)
    np.testing.assert_allclose(1 / made.code.mean((0, 1)), rates, rtol=0.03)
    np.testing.assert_array_equal(made.lambda_reg, rates)
    assert made.code.min() >= 0 and np.std(made.signal - made.clean) == pytest.approx(0.3, rel=0.02)
    two_sided = simulate_codes(np.ones((3, 1, 2)), rates, 1000, windows=40, nonnegative=False, density=0.1, seed=2).code
    assert np.count_nonzero(two_sided) / two_sided.size == pytest.approx(0.1, rel=0.05)
    for c, rate in enumerate(rates):
        drawn = two_sided[..., c][two_sided[..., c] != 0]
        assert np.abs(drawn).mean() == pytest.approx(1 / rate, rel=0.05) and abs(np.mean(drawn > 0) - 0.5) < 0.03


def test_spikes_keep_refractory_time_overlap_across_filters_and_reach_the_snr():
    filters = spike_templates(15, 3)
    made = simulate_spikes(filters, windows=20, samples=1000, events_per_window=[10, 20, 30], refractory=9, snr=8.5)
    assert made.snr == pytest.approx(8.5)
    assert np.std(made.signal - made.clean) == pytest.approx(made.sigma, rel=0.03)
    counts = np.count_nonzero(made.code, axis=(0, 1)) / 20
    assert (np.diff(counts) > 3).all() and counts[0] == pytest.approx(10, rel=0.25)
    gaps = [np.diff(np.flatnonzero(w[:, c])) for w in made.code for c in range(3)]
    assert min(g.min() for g in gaps) >= 9 and min(g.min() for g in gaps) < 15
    any_filter = [np.diff(np.flatnonzero(w.any(1))) for w in made.code]
    assert min(g.min() for g in any_filter) < 9


def test_the_seed_alone_decides():
    a, b, c = (simulate_spikes(spike_templates(15, 2), windows=2, samples=200, seed=s) for s in (3, 3, 4))
    np.testing.assert_array_equal(a.signal, b.signal)
    assert not np.array_equal(a.signal, c.signal)


def test_templates_are_distinct_and_perturbed_ones_at_their_distance():
    filters = spike_templates(45, 3)
    np.testing.assert_allclose(np.linalg.norm(filters[:, 0], axis=0), 1)
    for i in range(3):
        for j in range(i):
            assert np.abs(np.correlate(filters[:, 0, i], filters[:, 0, j], "full")).max() < 0.8
    far = perturb_filters(filters, 0.45, seed=1)
    np.testing.assert_allclose(np.sum(far * filters, axis=(0, 1)), np.sqrt(1 - 0.45**2))
    assert (np.abs(dictionary_error(filters, far) - 0.45) < 0.02).all()


@pytest.mark.parametrize("call, words", [
    (lambda: simulate_spikes(np.ones((5, 2))), "must be finite, of shape"),
    (lambda: simulate_spikes(np.ones((50, 1, 2)), samples=40), "positions for filters of 50"),
    (lambda: simulate_spikes(np.ones((5, 1, 2)), samples=40, events_per_window=30), "fewer events"),
    (lambda: simulate_spikes(np.ones((5, 1, 2)), sigma=0), "sigma"),
    (lambda: simulate_codes(np.ones((5, 1, 2)), -1.0, 40), "lambda_reg"),
    (lambda: simulate_codes(np.ones((5, 1, 2)), 1.0, 4), "smaller than the filters"),
    (lambda: simulate_codes(np.ones((5, 1, 2)), 1.0, 40, density=0), "density"),
    (lambda: perturb_filters(np.ones((5, 1, 2)), 1.5), "error")])
def test_unfit_options_are_refused(call, words):
    with pytest.raises(ValueError, match=words):
        call()
