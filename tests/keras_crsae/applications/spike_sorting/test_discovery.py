"""Units found in whitened signals: the right number, the right shapes, and why others went."""

import numpy as np
import pytest

from keras_crsae.applications.spike_sorting import discovery as sd
from keras_crsae.applications.spike_sorting import templates as st
from keras_crsae.metrics import dictionary_error

SIZE, RATE = 40, 20_000


@pytest.fixture(scope="module")
def discovered(unit_signal):
    return sd.discover(unit_signal, unit_signal, RATE, SIZE, 14, seed=0, refractory=20)


def test_every_unit_is_found_and_no_other(discovered, unit_shapes):
    templates, _ = discovered
    assert len(templates) == 3
    assert dictionary_error(st.as_kernel(unit_shapes), st.as_kernel(templates)).max() < 0.25
    np.testing.assert_allclose(np.sort(st.norms(templates)), [9.0, 14.0, 16.0], rtol=0.08)


def test_the_same_seed_finds_the_same(discovered, unit_signal):
    again, _ = sd.discover(unit_signal, unit_signal, RATE, SIZE, 14, seed=0, refractory=20)
    np.testing.assert_array_equal(again, discovered[0])


def test_noise_holds_no_units():
    noise = np.random.default_rng(1).normal(size=(5 * RATE, 2)).astype(np.float32)
    templates, reasons = sd.discover(noise, noise, RATE, SIZE, 14, seed=0, refractory=20)
    assert len(templates) == 0 and all("dropped" in r for r in reasons)


def with_sum(unit_shapes, counts):
    """Templates, the last the sum of the first and the third, and as many waveforms as ``counts`` tells."""
    rng = np.random.default_rng(2)
    both = unit_shapes[0].copy()
    both[4:] += unit_shapes[2][:-4]
    templates = np.concatenate([unit_shapes, both[None]])
    return templates, [t + rng.normal(size=(n, SIZE, 2)) for t, n in zip(templates, counts, strict=True)]


def test_copies_are_explained_by_others(unit_shapes):
    rng = np.random.default_rng(2)
    templates = np.concatenate([unit_shapes, 1.02 * unit_shapes[:1]])
    waves = [t + rng.normal(size=(60, SIZE, 2)) for t in templates]
    keep, reasons = sd.prune(templates, waves, 10 * RATE, refractory=20)
    assert len(keep) == 3 and {1, 2} <= set(keep)
    assert all("explain" in text for text in reasons.values())


def test_a_sum_that_chance_explains_goes(unit_shapes):
    templates, waves = with_sum(unit_shapes, (300, 60, 300, 30))  # by chance 300 * 300 * 10 / 80,000 = 11
    keep, reasons = sd.prune(templates, waves, 80_000, refractory=20)
    assert keep == [0, 1, 2] and "explain" in reasons[3]


def test_a_unit_that_looks_like_a_sum_stays_where_chance_does_not_explain_it(unit_shapes):
    templates, waves = with_sum(unit_shapes, (300, 60, 300, 90))
    assert sd.prune(templates, waves, 80_000, refractory=20) == ([0, 1, 2, 3], {})


def test_rare_and_small_templates_go(unit_shapes):
    rng = np.random.default_rng(3)
    templates = np.concatenate([unit_shapes, unit_shapes[2:] / 3])
    waves = [t + rng.normal(size=(n, SIZE, 2)) for t, n in zip(templates, (60, 60, 8, 60), strict=True)]
    keep, reasons = sd.prune(templates, waves, 10 * RATE, refractory=20)
    assert keep == [0, 1]
    assert "only 8 spikes" in reasons[2] and "noise" in reasons[3]


def test_false_alarms_of_noise_are_as_many_as_expected():
    rng = np.random.default_rng(7)
    filters = np.diff(np.hanning(SIZE + 1))[:, None, None]
    filters = (filters / np.linalg.norm(filters)).astype(np.float32)
    noise = rng.normal(size=(400_000, 1)).astype(np.float32)
    found = st.match(noise, 4.0 * np.moveaxis(filters, -1, 0), refractory=20, spread=0.02, cost=3.0)
    expected = sd.expected_false_alarms(4.0, len(noise), cost=3.0)
    assert 0.3 * expected < len(found.unit) < 3 * expected


def test_a_sum_of_two_units_has_one_lag(unit_shapes):
    """What others explain at another lag each time is a shape that they imitate, not a unit that fires with them."""
    starts = 3 * SIZE * np.arange(40) + SIZE
    for lag, many in ((np.full(40, 4), True), (np.arange(40) % 19, False)):
        position = np.stack([starts, starts + lag], axis=1).ravel()
        others = st.Found(unit_shapes[:2], position, np.tile([0, 1], 40), np.ones(80))
        assert bool(sd._too_many(90, np.array([300, 300]), others, 40, 80_000)) is many
