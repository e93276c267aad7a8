"""The true templates in the whitened signal, and the search that is given them."""

import numpy as np
import pytest
from crsae_onnx.core.spikes.whitening import Whitening

pytest.importorskip("spikeinterface.core", reason="the extra `spikes` is not installed")

from benchmarks.spike_limits import search, whitened_templates  # noqa: E402


@pytest.fixture
def whitening():
    rng = np.random.default_rng(2)
    return Whitening(rng.normal(size=(5, 2)) + np.eye(5, 2) * 3, np.array([[1.0, 0.3], [0.3, 1.0]]), [3.0, -2.0])


@pytest.fixture
def templates():
    t = np.arange(30)
    first = np.exp(-0.5 * ((t - 10) / 2.0) ** 2)
    second = np.exp(-0.5 * ((t - 14) / 3.0) ** 2)
    return np.stack([np.stack([-9 * first, -5 * first], 1), np.stack([4 * second, -8 * second], 1)])


def test_templates_are_what_whitening_makes_of_spikes(whitening, templates):
    recording = np.tile(whitening.offset, (200, 1))
    recording[60:90] += templates[1]
    white = whitening(recording, 0, 200)
    whitened = whitened_templates(templates, whitening)
    assert whitened.shape == (2, 34, 2)
    np.testing.assert_allclose(white[60:94], whitened[1], atol=1e-4)
    np.testing.assert_allclose(np.delete(white, np.s_[60:94], 0), 0, atol=1e-4)


def test_true_spikes_are_found_from_nothing_and_kept_from_the_truth(whitening, templates):
    filters = whitened_templates(templates, whitening)
    rng = np.random.default_rng(1)
    white = rng.normal(size=(3000, 2)).astype(np.float32)
    at, unit = np.array([100, 111, 700, 1500, 2400]), np.array([0, 1, 1, 0, 1])
    for t, u in zip(at, unit, strict=True):
        white[t:t + 34] += filters[u]
    for truth in (None, (at, unit)):
        found, of = search(white, filters, np.bincount(unit), 20, truth)
        assert of.tolist() == unit.tolist()
        np.testing.assert_allclose(found, at, atol=1)
