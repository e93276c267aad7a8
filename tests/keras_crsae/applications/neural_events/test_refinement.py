"""Kernels of given events."""

import numpy as np
import pytest

from keras_crsae.applications.neural_events.refinement import recentre, refit_kernels

TIME = np.arange(20)
TRUE = np.exp(-0.5 * ((TIME - 12) / 3.0) ** 2)


@pytest.fixture(scope="module")
def given():
    rng = np.random.default_rng(0)
    found, eta = [], np.full((80, 120, 1), -2.5)
    for signal in range(80):
        at = np.sort(rng.choice(np.arange(0, 100, 10), 3, replace=False))
        found.append((at, np.zeros(3, int), np.full(3, 3.0)))
        for start in at:
            eta[signal, start:start + 20, 0] += 3 * TRUE
    return rng.binomial(5, 1 / (1 + np.exp(-eta))).astype(float), found


def test_the_kernel_and_the_baseline_are_found(given):
    counts, found = given
    kernel, shift = refit_kernels(counts, np.full(counts.shape, -2.0), np.full((20, 1, 1), 0.1), found, 5, 1e-4)
    assert np.abs(kernel[:, 0, 0] - TRUE).max() < 0.25 and shift[0] == pytest.approx(-0.5, abs=0.1)


def test_smoothness_evens_neighbouring_bins(given):
    counts, found = given
    rough, smooth = (np.abs(np.diff(refit_kernels(counts, np.full(counts.shape, -2.5), np.zeros((20, 1, 1)), found, 5,
                                                  weight)[0][:, 0, 0])).sum() for weight in (1e-5, 1e-2))
    assert smooth < 0.9 * rough


def test_a_kernel_cut_by_its_window_moves(given):
    counts, found = given
    late = [(at + 9, which, amplitude) for at, which, amplitude in found]
    kernel = recentre(counts, np.full(counts.shape, -2.5), np.full((20, 1, 1), 0.1), late, 5, 1e-4)[:, 0, 0]
    assert max(np.correlate(kernel, TRUE, "full")) > 0.97 * np.linalg.norm(kernel) * np.linalg.norm(TRUE)


def test_without_events_kernels_stay():
    kernel = np.ones((20, 1, 2))
    nothing = [(np.zeros(0, int), np.zeros(0, int), np.zeros(0))]
    kept, shift = refit_kernels(np.zeros((1, 50, 1)), np.zeros((1, 50, 1)), kernel, nothing, 5, 1e-3)
    assert (kept == kernel).all() and shift.tolist() == [0]
