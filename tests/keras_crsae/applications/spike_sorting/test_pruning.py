"""Units that noise imitates or that other units explain are dropped; others stay."""

import numpy as np

from keras_crsae.applications.spike_sorting import pruning
from keras_crsae.applications.spike_sorting.matching import UnitSpikes, match_templates
from keras_crsae.applications.spike_sorting.pruning import exceeds_chance, expected_false_alarms, prune_units

SIZE, RATE = 40, 20_000


def with_sum(unit_shapes, counts):
    """Templates, the last the sum of the first and the third, and ``counts`` waveforms of each."""
    rng = np.random.default_rng(2)
    both = unit_shapes[0].copy()
    both[4:] += unit_shapes[2][:-4]
    templates = np.concatenate([unit_shapes, both[None]])
    return templates, [t + rng.normal(size=(n, SIZE, 2)) for t, n in zip(templates, counts, strict=True)]


def test_copies_are_explained_by_others(unit_shapes):
    rng = np.random.default_rng(2)
    templates = np.concatenate([unit_shapes, 1.02 * unit_shapes[:1]])
    waves = [t + rng.normal(size=(60, SIZE, 2)) for t in templates]
    keep, reasons = prune_units(templates, waves, 10 * RATE, refractory=20)
    assert len(keep) == 3 and {1, 2} <= set(keep)
    assert all("explain" in text for text in reasons.values())


def test_units_elsewhere_on_a_wide_probe_are_not_fitted(unit_shapes, monkeypatch):
    """Copies go as on a small probe, each with as many fits, however many such places there are."""
    fits, places, rng = [], 4, np.random.default_rng(2)
    here = np.concatenate([unit_shapes, 1.02 * unit_shapes[:1]])
    templates = np.zeros((places, len(here), SIZE, places, 2))
    for place in range(places):
        templates[place, :, :, place] = here
    templates = templates.reshape(-1, SIZE, 2 * places)
    waves = [t + rng.normal(size=(60, SIZE, 2 * places)) for t in templates]
    original = pruning.loss_without
    monkeypatch.setattr(pruning, "loss_without", lambda *given: fits.append(given[0].shape) or original(*given))
    keep, reasons = prune_units(templates, waves, 10 * RATE, refractory=20)
    assert len(keep) == 3 * places and len(reasons) == places
    assert set(fits) <= {(4, SIZE, 2), (3, SIZE, 2)} and len(fits) <= 10 * places


def test_a_sum_that_chance_explains_goes(unit_shapes):
    templates, waves = with_sum(unit_shapes, (300, 60, 300, 30))  # by chance 300 * 300 * 10 / 80,000 = 11
    keep, reasons = prune_units(templates, waves, 80_000, refractory=20)
    assert keep == [0, 1, 2] and "explain" in reasons[3]


def test_a_unit_that_looks_like_a_sum_stays_where_chance_does_not_explain_it(unit_shapes):
    templates, waves = with_sum(unit_shapes, (300, 60, 300, 90))
    assert prune_units(templates, waves, 80_000, refractory=20) == ([0, 1, 2, 3], {})


def test_rare_and_small_templates_go(unit_shapes):
    rng = np.random.default_rng(3)
    templates = np.concatenate([unit_shapes, unit_shapes[2:] / 3])
    waves = [t + rng.normal(size=(n, SIZE, 2)) for t, n in zip(templates, (60, 60, 8, 60), strict=True)]
    keep, reasons = prune_units(templates, waves, 10 * RATE, refractory=20)
    assert keep == [0, 1]
    assert "only 8 spikes" in reasons[2] and "noise" in reasons[3]


def test_false_alarms_of_noise_are_as_many_as_expected():
    rng = np.random.default_rng(7)
    filters = np.diff(np.hanning(SIZE + 1))[:, None, None]
    filters = (filters / np.linalg.norm(filters)).astype(np.float32)
    noise = rng.normal(size=(400_000, 1)).astype(np.float32)
    spikes = match_templates(noise, 4.0 * np.moveaxis(filters, -1, 0), refractory=20, amplitude_cv=0.02,
                             log_odds_against=3.0)
    expected = expected_false_alarms(4.0, len(noise), log_odds_against=3.0)
    assert 0.3 * expected < len(spikes.unit_id) < 3 * expected


def test_a_sum_of_two_units_has_one_lag(unit_shapes):
    """A waveform that others explain at a different lag each time is no unit that fires with them."""
    starts = 3 * SIZE * np.arange(40) + SIZE
    for lag, many in ((np.full(40, 4), True), (np.arange(40) % 19, False)):
        position = np.stack([starts, starts + lag], axis=1).ravel()
        others = UnitSpikes(unit_shapes[:2], position, np.tile([0, 1], 40), np.ones(80))
        assert bool(exceeds_chance(90, np.array([300, 300]), others, 40, 80_000)) is many
