"""Units found in whitened signals: the right number, the right shapes, and why others went."""

import numpy as np
import pytest

from keras_crsae.applications import spike_templates as st
from keras_crsae.metrics import dictionary_error

SIZE, RATE = 40, 20_000


@pytest.fixture(scope="module")
def shapes():
    """Two like units and one apart, on two channels; norms 16, 14 and 9."""
    time = np.arange(SIZE)
    trough, late = np.exp(-0.5 * ((time - 14) / 2.0) ** 2), np.exp(-0.5 * ((time - 20) / 4.0) ** 2)
    waves = np.stack([np.stack([-trough + 0.3 * late, -0.5 * trough], 1), np.stack([-0.8 * trough, -0.9 * trough], 1),
                      np.stack([0.2 * late, late - 0.5 * trough], 1)])
    return waves / st.norms(waves)[:, None, None] * np.array([16.0, 14.0, 9.0])[:, None, None]


@pytest.fixture(scope="module")
def signal(shapes):
    rng = np.random.default_rng(0)
    signal = rng.normal(size=(10 * RATE, 2))
    at = np.sort(rng.choice(np.arange(100, len(signal) - 100), 900, replace=False))
    for t in at:
        signal[t:t + SIZE] += shapes[rng.integers(3)] * (1 + 0.06 * rng.normal())
    return signal.astype(np.float32)


@pytest.fixture(scope="module")
def discovered(signal):
    return st.discover(signal, signal, RATE, SIZE, 14, seed=0, refractory=20)


def test_every_unit_is_found_and_no_other(discovered, shapes):
    templates, _ = discovered
    assert len(templates) == 3
    assert dictionary_error(st.as_kernel(shapes), st.as_kernel(templates)).max() < 0.25
    np.testing.assert_allclose(np.sort(st.norms(templates)), [9.0, 14.0, 16.0], rtol=0.08)


def test_the_same_seed_finds_the_same(discovered, signal):
    again, _ = st.discover(signal, signal, RATE, SIZE, 14, seed=0, refractory=20)
    np.testing.assert_array_equal(again, discovered[0])


def test_noise_holds_no_units():
    noise = np.random.default_rng(1).normal(size=(5 * RATE, 2)).astype(np.float32)
    templates, reasons = st.discover(noise, noise, RATE, SIZE, 14, seed=0, refractory=20)
    assert len(templates) == 0 and all("dropped" in r for r in reasons)


def test_copies_and_sums_are_explained_by_others(shapes):
    rng = np.random.default_rng(2)
    both = shapes[0].copy()
    both[4:] += shapes[2][:-4]
    templates = np.concatenate([shapes, 1.02 * shapes[:1], both[None]])
    waves = [t + rng.normal(size=(60, SIZE, 2)) for t in templates]
    keep, reasons = st.prune(templates, waves, 10 * RATE, refractory=20)
    assert len(keep) == 3 and {1, 2} <= set(keep) and 4 not in keep
    assert all("explain" in text for text in reasons.values())


def test_rare_and_small_templates_go(shapes):
    rng = np.random.default_rng(3)
    templates = np.concatenate([shapes, shapes[2:] / 3])
    waves = [t + rng.normal(size=(n, SIZE, 2)) for t, n in zip(templates, (60, 60, 8, 60), strict=True)]
    keep, reasons = st.prune(templates, waves, 10 * RATE, refractory=20)
    assert keep == [0, 1]
    assert "only 8 spikes" in reasons[2] and "noise" in reasons[3]


def test_two_groups_are_told_from_one():
    rng = np.random.default_rng(4)
    assert st.apart(rng.normal(size=600), st.SEPARATION, seed=0) is None
    label = st.apart(np.concatenate([rng.normal(size=300), 6 + rng.normal(size=300)]), st.SEPARATION, seed=0)
    assert label is not None and (label[:300] == label[0]).mean() > 0.98 and label[0] != label[-1]


def test_jitter_below_a_sample_does_not_split_a_unit(shapes):
    rng = np.random.default_rng(5)
    slope = np.gradient(shapes[0], axis=0)
    waves = shapes[0] + rng.uniform(-0.5, 0.5, (400, 1, 1)) * slope + rng.normal(size=(400, SIZE, 2))
    assert st.two_groups(waves.astype(np.float32), seed=0) is None


def test_split_units_are_merged_again(shapes, signal):
    """A unit started twice, half a sample apart, is one unit at the end of a round."""
    moved = shapes[0] - 0.8 * np.gradient(shapes[0], axis=0)
    found = st.match(signal, np.concatenate([shapes, moved[None]]), refractory=20)
    rest = st.unexplained(signal, found)
    means = np.stack([st.cleaned(rest, found, u).mean(axis=0) for u in range(4)])
    _, gone = st.merge(rest, found, means, seed=0)
    assert len(gone) == 1 and gone[0] in (0, 3)


def test_means_lose_their_own_noise(shapes):
    rng = np.random.default_rng(6)
    quiet = np.concatenate([shapes[:1], np.zeros((1, SIZE, 2))], axis=2)  # two channels more that see nothing
    mean = quiet + rng.normal(size=quiet.shape) / np.sqrt(50)
    kept = st.shrunk(mean, [50])
    assert np.square(kept - quiet).sum() < 0.7 * np.square(mean - quiet).sum()
    assert np.square(kept[..., 2:]).sum() < 0.1 * np.square(mean[..., 2:]).sum()


def test_false_alarms_of_noise_are_as_many_as_expected():
    rng = np.random.default_rng(7)
    filters = np.diff(np.hanning(SIZE + 1))[:, None, None]
    filters = (filters / np.linalg.norm(filters)).astype(np.float32)
    noise = rng.normal(size=(400_000, 1)).astype(np.float32)
    found = st.match(noise, 4.0 * np.moveaxis(filters, -1, 0), refractory=20, spread=0.02, cost=3.0)
    expected = st.expected_false_alarms(4.0, len(noise), cost=3.0)
    assert 0.3 * expected < len(found.unit) < 3 * expected
