"""The units of a whitened recording: round by round matched, averaged, merged, split and pruned."""

import math

import numpy as np

from keras_crsae.applications.spike_sorting.noise import channel_noise
from keras_crsae.applications.spike_sorting.splitting import SMALL, merge, two_groups
from keras_crsae.applications.spike_sorting.templates import (
    COST,
    FEWEST,
    centred,
    cleaned,
    cluster,
    detect,
    match,
    norms,
    of_units,
    shrunk,
    unexplained,
    without_copies,
)

#: A unit that others explain at a loss of fewer nats a spike cannot be told from them.
DISTINCT = 1.2
#: Smallest norm of a whitened template, in noise standard deviations.
SMALLEST = 5.2
#: Share of expected false alarms among a unit's spikes that makes it noise.
FALSE_ALARMS = 0.4
#: Seconds; of extrema closer than that the largest starts a waveform.
APART = 0.0005
#: Share of spikes that may change units in a round that counts as settled.
SETTLED = 0.01
#: Rounds (from 0) in which units are split on trial: not the first, whose clusters are raw, and never the last ones.
_TRIALS = (1, 2)
#: A waveform that is the sum of two others' is a unit of its own where it comes so many times more often than those two
#: coincide by chance.
SYNCHRONY = 5.0
#: Samples that the lag between those two may differ by.
SAME_LAG = 2
#: Spikes whose waveforms others are asked to explain.
_ASKED = 40


def discover(signal, white, sampling_frequency, size, before, *, seed=0, refractory, rounds=8, tell=None):
    """Find the units of a recording: their whitened templates.

    Detected waveforms are clustered; then, round by round, the templates are matched to the signal, averaged over
    their spikes (each with all others subtracted), merged, split and pruned, until nothing changes.

    Args:
        signal: (samples, channels), referenced and band-passed.
        white: the same, whitened.
        sampling_frequency: Hz.
        size, before: samples of a template, and before its extremum.
        seed: int.
        refractory: samples.
        rounds: at most.
        tell: None or ``callable(text)`` for what happens.

    Returns:
        (templates (units, size, channels), reasons): ``reasons`` tells what was dropped in the last round, and why.
    """
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):  # many small products: threads would wait for each other
        return _discover(signal, white, sampling_frequency, size, before, seed, refractory, rounds, tell)


def _discover(signal, white, sampling_frequency, size, before, seed, refractory, rounds, tell):
    wide = signal.shape[1] > 8
    position, channel = detect(signal, channel_noise(signal), size, before, round(APART * sampling_frequency))
    templates = without_copies(cluster(white, position, channel if wide else np.zeros_like(channel), size,
                                       3 if wide else 8, seed))
    reasons, counts = {}, None
    for turn in range(rounds if len(templates) else 0):
        found = match(white, templates, refractory, spread=0.15 if turn < 2 else 0.1)
        made, waves, changed = _regrouped(white, found, seed, split=turn < rounds - 2, trial=turn in _TRIALS)
        keep, reasons = prune(made, waves, len(white), refractory)
        if tell is not None:
            tell(f"round {turn + 1}: {len(found.unit)} spikes of {len(templates)} units; {len(keep)} units kept")
        templates = centred(made[keep], before)
        settled = not changed and len(keep) == len(made) and counts is not None and len(counts) == len(keep)
        previous, counts = counts, np.array([len(waves[row]) for row in keep])
        if not len(templates) or settled and np.abs(counts - previous).sum() < SETTLED * counts.sum():
            break
    return templates, [f"a candidate was dropped: {text}" for text in reasons.values()]


def _regrouped(white, found, seed, split, trial):
    """New templates after merging and splitting, their spikes' waveforms, and whether the units changed."""
    counts = np.bincount(found.unit, minlength=len(found.templates))
    live = np.flatnonzero(counts >= FEWEST)
    rest = unexplained(white, found)
    found = of_units(found, live)
    waves = [cleaned(rest, found, unit) for unit in range(len(live))]
    if not len(live):
        return found.templates, waves, True
    size = norms(found.templates)
    templates, gone = merge(rest, found, np.stack([w.mean(axis=0) for w in waves]), seed)
    made, kept, changed = [], [], bool(gone) or len(live) < len(counts)
    for unit, (template, own) in enumerate(zip(templates, waves, strict=True)):
        if unit in gone:
            continue
        label = two_groups(cleaned(rest, found, unit, least=SMALL * size[unit]), seed, trial) if split else None
        changed |= label is not None
        for part in (own,) if label is None else (own[label == 0], own[label == 1]):
            made.append(template if label is None else part.mean(axis=0))
            kept.append(part)
    return shrunk(np.stack(made), [len(own) for own in kept]), kept, changed


def prune(templates, waves, samples, refractory):
    """(rows to keep, reasons {row: text}) of templates; copies and sums of others go one by one, the clearest first.

    Args:
        templates: (units, kernel_size, channels).
        waves: list of cleaned waveforms (spikes, kernel_size, channels), one array a unit.
        samples: of the signal searched.
        refractory: positions.
    """
    reasons, keep = {}, list(range(len(templates)))
    for row, size in enumerate(norms(templates)):
        if len(waves[row]) < FEWEST:
            reasons[row] = f"only {len(waves[row])} spikes"
        elif size < SMALLEST or expected_false_alarms(size, samples) > FALSE_ALARMS * len(waves[row]):
            reasons[row] = f"a waveform of {size:.1f} noise standard deviations, which noise imitates"
    keep = [row for row in keep if row not in reasons]
    sample = [w[:: max(1, len(w) // _ASKED)][:_ASKED] for w in waves]
    counts = np.array([len(w) for w in waves])
    while len(keep) > 1:
        told = [loss_without(templates[keep], sample[row], i, refractory) for i, row in enumerate(keep)]
        weak = [i for i, (loss, others) in enumerate(told) if loss < DISTINCT and not _too_many(
            counts[keep[i]], np.delete(counts[keep], i), others, len(sample[keep[i]]), samples)]
        if not weak:
            break
        weakest = min(weak, key=lambda i: told[i][0])
        reasons[keep[weakest]] = f"other units explain its waveform (loss {told[weakest][0]:.1f} nats a spike)"
        del keep[weakest]
    return keep, reasons


def loss_without(templates, waves, unit, refractory, spread=0.1, cost=COST):
    """(nats, others): fit a spike that is lost when the other units must explain a unit's cleaned waveforms.

    Small for a copy of another unit, and for the sum of two units that fire together. The cost of a spike is not
    counted, so that two spikes in place of one lose nothing where they fit as well. ``others`` is the ``Found`` of
    these units, in the waveforms one after the other, each between zeros of its own length.
    """
    size = templates.shape[1]
    signal = np.pad(waves, ((0, 0), (size, size), (0, 0))).reshape(-1, templates.shape[2]).astype(np.float32)
    own = match(signal, templates[unit:unit + 1], refractory, spread, cost)
    rest = match(signal, np.delete(templates, unit, axis=0), refractory, spread, cost)
    return (_fit(own, signal, spread) - _fit(rest, signal, spread)) / len(waves), rest


def _too_many(count, counts, others, waves, samples):
    """Whether ``count`` spikes, each the sum of the same two others at one lag, are more than chance brings together.

    The others may have any lag within a quarter of their length, which is generous to chance.
    """
    size = others.templates.shape[1]
    in_wave = np.searchsorted(others.position, np.arange(waves + 1) * 3 * size)
    lags = {}
    for low, high in zip(in_wave, in_wave[1:], strict=False):
        if high - low == 2:
            (first, at), (second, then) = sorted(zip(others.unit[low:high], others.position[low:high], strict=True))
            lags.setdefault((first, second), []).append(then - at)
    if not lags:
        return False
    (first, second), lag = max(lags.items(), key=lambda item: len(item[1]))
    if np.count_nonzero(np.abs(lag - np.median(lag)) <= SAME_LAG) < waves / 2:
        return False  # a copy, or something that nobody explains in one way
    chance = counts[first] * counts[second] * (size / 4) / samples
    return count > SYNCHRONY * chance


def _fit(found, signal, spread):
    mean = norms(found.templates)[found.unit]
    left = np.square(unexplained(signal, found), dtype=np.float64).sum()
    return -0.5 * left - 0.5 * np.sum(np.square((found.height - mean) / (spread * mean)))


def expected_false_alarms(size, positions, cost=COST):
    """Spikes of a template of norm ``size`` that noise alone makes at so many positions.

    A spike is taken where the correlation passes size / 2 + cost / size; neighbouring positions go together.
    """
    threshold = size / 2 + cost / size
    return 0.5 * positions * 0.5 * math.erfc(threshold / math.sqrt(2))
