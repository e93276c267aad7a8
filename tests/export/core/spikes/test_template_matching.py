"""Matching: correlations against direct sums, gains against an independent posterior, known spikes found again."""

import itertools

import numpy as np
import pytest
from crsae_onnx.core.spikes.template_matching import TemplateMatcher


@pytest.fixture(scope="module")
def kernel():
    time = np.arange(24)[:, None, None]
    shapes = [np.exp(-0.5 * ((time - 8) / 1.5) ** 2) * [[[1.0], [0.4]]],
              np.exp(-0.5 * ((time - 8) / 3.0) ** 2) * [[[0.3], [1.0]]] * np.cos(time / 3.0)]
    kernel = np.concatenate(shapes, axis=2)
    return (kernel / np.sqrt(np.square(kernel).sum((0, 1)))).astype(np.float32)


def place(kernel, spikes, samples, rng=None, noise=1.0):
    signal = np.zeros((samples, kernel.shape[1]))
    if rng is not None:
        signal += noise * rng.normal(size=signal.shape)
    for at, unit, height in spikes:
        signal[at:at + len(kernel)] += height * kernel[:, :, unit]
    return signal.astype(np.float32)


def log_posterior(signal, kernel, spikes, amplitude, spread, cost):
    """By its definition, with the amplitudes integrated out one spike at a time as the search does."""
    left = signal.astype(np.float64) - place(kernel, spikes, len(signal))
    value = -0.5 * np.square(left).sum()
    for _, unit, height in spikes:
        variance = (spread[unit] * amplitude[unit]) ** 2
        value -= 0.5 * (height - amplitude[unit]) ** 2 / variance + cost[unit] + 0.5 * np.log1p(variance)
    return value


def test_spikes_without_noise_are_found_exactly(kernel):
    spikes = [(30, 0, 9.0), (34, 1, 11.0), (90, 1, 11.0), (130, 0, 9.5)]
    matcher = TemplateMatcher(kernel, [9.0, 11.0], [0.1, 0.1], [7.0, 7.0], refractory=10)
    at, unit, height = matcher.find(place(kernel, spikes, 200))
    assert list(zip(at.tolist(), unit.tolist(), strict=True)) == [s[:2] for s in spikes]
    np.testing.assert_allclose(height, [s[2] for s in spikes], atol=0.4)


def test_nothing_is_found_in_noise(kernel, rng):
    signal = rng.normal(size=(20_000, 2)).astype(np.float32)
    at, _, _ = TemplateMatcher(kernel, [9.0, 11.0], [0.1, 0.1], [8.0, 8.0], refractory=10).find(signal)
    assert len(at) <= 1


def test_the_refractory_time_is_kept(kernel, rng):
    spikes = [(30, 0, 9.0), (36, 0, 9.0), (80, 0, 9.0), (95, 0, 9.0)]
    matcher = TemplateMatcher(kernel, [9.0, 11.0], [0.1, 0.1], [5.0, 5.0], refractory=12)
    at, unit, _ = matcher.find(place(kernel, spikes, 160, rng, 0.3))
    for u in range(2):
        assert (np.diff(at[unit == u]) >= 12).all()


def test_two_overlapping_spikes_that_resemble_one_of_a_third_unit_are_separated_by_trying_pairs(kernel):
    shifted = np.zeros_like(kernel[..., 1])
    shifted[4:] = kernel[:-4, :, 1]
    third = 9.0 * kernel[..., 0] + 6.0 * shifted
    size = float(np.sqrt(np.square(third).sum()))
    three = np.concatenate([kernel, third[..., None] / size], axis=2)
    matcher = TemplateMatcher(three, [9.0, 11.0, size], [0.1, 0.1, 0.1], [5.0, 5.0, 5.0], refractory=10)
    signal = place(kernel, [(30, 0, 9.0), (34, 1, 11.0)], 100)
    code = np.zeros((77, 3), np.float32)
    code[30, 2] = size  # the search starts from the third unit
    at, unit, _ = matcher.find(signal, code)
    assert list(zip(at.tolist(), unit.tolist(), strict=True)) == [(30, 0), (34, 1)]
    assert matcher.find(signal, code, thorough=False).unit_id.tolist() != [0, 1]


def test_result_is_the_most_probable_of_all_small_explanations(kernel, rng):
    """Exhaustive search over up to two spikes on a short signal."""
    amplitude, spread, cost = np.array([6.0, 7.0]), np.array([0.15, 0.15]), np.array([4.0, 4.0])
    matcher = TemplateMatcher(kernel, amplitude, spread, cost, refractory=8)
    for trial in range(3):
        truth = [(5 + trial, 0, 6.0), (9 + 2 * trial, 1, 7.5)]
        signal = place(kernel, truth, 50, rng)
        places = list(itertools.product(range(27), range(2)))
        found = [(int(t), int(u), float(h)) for t, u, h in zip(*matcher.find(signal), strict=True)]
        best = max((log_posterior(signal, kernel, s, amplitude, spread, cost) for s in _fitted(
            signal, kernel, places, amplitude, spread)), default=-np.inf)
        own = log_posterior(signal, kernel, _refit(signal, kernel, [f[:2] for f in found], amplitude, spread),
                            amplitude, spread, cost)
        assert own >= best - 1e-3, (trial, own, best)


def _fitted(signal, kernel, places, amplitude, spread):
    yield []
    for place_ in places:
        yield _refit(signal, kernel, [place_], amplitude, spread)
    for a, b in itertools.combinations(places, 2):
        if a[1] != b[1] or abs(a[0] - b[0]) >= 8:
            yield _refit(signal, kernel, [a, b], amplitude, spread)


def _refit(signal, kernel, places, amplitude, spread):
    """Most probable amplitudes of spikes at given places: a small ridge regression."""
    if not places:
        return []
    design = np.stack([place(kernel, [(t, u, 1.0)], len(signal)).ravel() for t, u in places], 1).astype(np.float64)
    mean = np.array([amplitude[u] for _, u in places])
    weight = 1 / np.square([spread[u] * amplitude[u] for _, u in places])
    heights = np.linalg.solve(design.T @ design + np.diag(weight), design.T @ signal.ravel() + weight * mean)
    return [(t, u, h) for (t, u), h in zip(places, heights, strict=True)]


def test_two_that_overlap_are_not_left_with_their_units_exchanged(kernel, rng):
    """Every start gives the same spikes: of two overlapping ones no single move changes both units."""
    matcher = TemplateMatcher(kernel, [9.0, 11.0], [0.1, 0.1], [5.0, 5.0], refractory=10)
    signal = place(kernel, [(30, 0, 9.0), (33, 1, 11.0)], 100, rng, 0.3)
    for start in ([(30, 1), (33, 0)], [(33, 0), (36, 1)], [(31, 0)], [(34, 1)], []):
        code = np.zeros((77, 2), np.float32)
        for at, unit in start:
            code[at, unit] = 10.0
        at, unit, _ = matcher.find(signal, code)
        assert list(zip(at.tolist(), unit.tolist(), strict=True)) == [(30, 0), (33, 1)], start


def test_a_short_filter_is_searched_beyond_its_length():
    """Pairs are looked for in stretches longer than the kernel, where two spikes do not overlap."""
    kernel = np.array([3.0, 4.0]).reshape(2, 1, 1) / 5
    signal = place(kernel, [(10, 0, 9.0), (13, 0, 9.0)], 30)
    at, _, height = TemplateMatcher(kernel, [9.0], [0.1], [5.0], refractory=1).find(signal)
    assert at.tolist() == [10, 13]
    np.testing.assert_allclose(height, 9.0, atol=0.1)
