"""Templates found in a whitened recording: detected, clustered, split, pruned, averaged (NumPy, scikit-learn)."""

import math
from typing import NamedTuple

import numpy as np
from crsae_onnx.matching import Matcher, gram

from keras_crsae.applications.spike_noise import channel_noise

#: Extrema above so many noise standard deviations start the search.
DETECT = 4.0
#: Spikes that a unit needs.
FEWEST = 15
#: A unit that others explain at a loss of fewer nats a spike cannot be told from them.
DISTINCT = 1.2
#: Ashman's D of two groups that splits a unit, and below which two units are one; and the rise of the Bayesian
#: information criterion that both need.
SEPARATION, KEEP_APART, EVIDENCE = 1.9, 1.7, 12.0
#: Correlation over shifts from which two units are looked at together.
ALIKE = 0.8
#: Smallest norm of a whitened template, in noise standard deviations.
SMALLEST = 5.2
#: Log odds against a spike at one sample, before rates are known: about one in a thousand.
COST = 7.0
#: Share of expected false alarms among a unit's spikes that makes it noise.
FALSE_ALARMS = 0.4
#: Seconds; of extrema closer than that the largest starts a waveform.
APART = 0.0005
#: Share of spikes that may change units in a round that counts as settled.
SETTLED = 0.01
_FEATURES, _SHOWN, _ASKED = 4, 1500, 40


class Found(NamedTuple):
    """Units and their spikes in a whitened signal."""

    templates: np.ndarray  #: (units, kernel_size, channels), mean whitened waveforms
    position: np.ndarray  #: int64, where each spike's template starts
    unit: np.ndarray  #: int64
    height: np.ndarray  #: float64, amplitude as a multiple of the unit-norm filter


def norms(templates):
    """Euclidean norm of each template, (units,)."""
    return np.sqrt(np.square(templates, dtype=np.float64).sum((1, 2)))


def as_kernel(templates):
    """(kernel_size, channels, units) unit-norm filters of templates (units, kernel_size, channels)."""
    return np.moveaxis(templates / np.maximum(norms(templates), 1e-12)[:, None, None], 0, -1).astype(np.float32)


def waveforms(signal, position, size):
    """(spikes, size, channels) of a signal (time, channels)."""
    return signal[np.asarray(position)[:, None] + np.arange(size)]


def detect(signal, noise, size, before, apart, threshold=DETECT):
    """(position, channel) of waveforms whose extremum stands out on some channel.

    Args:
        signal: (time, channels), not whitened.
        noise: (channels,) standard deviations; 0 marks a dead channel.
        size, before: samples of a waveform, and before its extremum.
        apart: samples; of extrema closer than that the largest counts.
    """
    from scipy.ndimage import maximum_filter1d

    scaled = np.abs(signal) / np.where(noise > 0, noise, np.inf)
    largest = scaled.max(axis=1)
    at = np.flatnonzero((maximum_filter1d(largest, 2 * apart + 1) == largest) & (largest > threshold))
    at = at[(at >= size) & (at < len(signal) - 2 * size)]
    return at - before, scaled[at].argmax(axis=1)


def cluster(signal, position, channel, size, groups, seed):
    """Median waveforms of k-means clusters, (templates, size, channels); each detection channel by itself.

    Args:
        groups: clusters a channel.
    """
    from sklearn.cluster import KMeans

    found = []
    for c in np.unique(channel):
        at = position[channel == c]
        if len(at) < FEWEST:
            continue
        w = waveforms(signal, at, size).reshape(len(at), -1)
        _, _, basis = np.linalg.svd(w[:_SHOWN], full_matrices=False)
        count = int(min(groups, max(1, len(at) // (2 * FEWEST))))
        label = KMeans(count, n_init=3, random_state=seed).fit_predict(w @ basis[:6].T)
        found += [np.median(w[label == k], axis=0).reshape(size, -1) for k in range(count)
                  if np.count_nonzero(label == k) >= FEWEST // 2]
    return np.stack(found) if found else np.zeros((0, size, signal.shape[1]), np.float32)


def without_copies(templates, likeness=0.9):
    """Templates of which no other has the same shape (correlation over shifts) at about the same size."""
    order = np.argsort(-norms(templates), kind="stable")
    templates, size = templates[order], norms(templates)[order]
    overlap = gram(as_kernel(templates)).max(axis=2) if len(templates) else None
    keep = []
    for i in range(len(templates)):
        if not any(overlap[i, j] > likeness and size[j] < 1.33 * size[i] for j in keep):
            keep.append(i)
    return templates[keep]


def match(signal, templates, refractory, spread=0.1, cost=COST, code=None):
    """The spikes of ``templates`` in a whitened signal, as ``Found``; see ``crsae_onnx.matching``."""
    size, units = norms(templates), len(templates)
    matcher = Matcher(as_kernel(templates), size, np.broadcast_to(spread, units), np.broadcast_to(cost, units),
                      refractory)
    return Found(templates, *matcher.find(signal, code))


def unexplained(signal, found):
    """The signal without its spikes."""
    rest, kernel, size = signal.copy(), as_kernel(found.templates), found.templates.shape[1]
    for at, unit, height in zip(found.position, found.unit, found.height, strict=True):
        rest[at:at + size] -= np.float32(height) * kernel[:, :, unit]
    return rest


def cleaned(rest, found, unit):
    """Waveforms of a unit's spikes with every other spike subtracted, (spikes, kernel_size, channels)."""
    mine, size = found.unit == unit, found.templates.shape[1]
    own = as_kernel(found.templates[unit:unit + 1])[None, :, :, 0]
    return waveforms(rest, found.position[mine], size) + found.height[mine, None, None].astype(np.float32) * own


def two_groups(waves, seed):
    """Labels (spikes,) where waveforms fall into two groups, else None.

    The axis is the line between the means of a two-component Gaussian mixture; see ``apart``.
    """
    from sklearn.mixture import GaussianMixture

    if len(waves) < 3 * FEWEST:
        return None
    flat = _without_jitter(waves)
    flat -= flat.mean(axis=0)
    shown = flat if len(flat) <= _SHOWN else flat[np.random.default_rng(seed).choice(len(flat), _SHOWN, replace=False)]
    _, _, basis = np.linalg.svd(shown, full_matrices=False)
    features = flat @ basis[:_FEATURES].T
    mixture = GaussianMixture(2, reg_covar=0.1, random_state=seed).fit(features)
    axis = np.linalg.solve(mixture.covariances_.mean(axis=0), mixture.means_[1] - mixture.means_[0])
    return apart(features @ (axis / max(np.linalg.norm(axis), 1e-12)), SEPARATION, seed)


def apart(line, separation, seed):
    """Labels of two groups of numbers, else None.

    Two Gaussians must describe them better than one by ``EVIDENCE`` in the Bayesian information criterion, Ashman's D
    = sqrt(2) |difference of means| / sqrt(sum of variances) must pass ``separation``, and neither may be tiny.
    """
    from sklearn.mixture import GaussianMixture

    line = np.asarray(line, np.float64)[:, None]
    one = GaussianMixture(1).fit(line)
    two = GaussianMixture(2, n_init=3, reg_covar=1e-3, random_state=seed).fit(line)
    distance = abs(two.means_[0, 0] - two.means_[1, 0]) * math.sqrt(2 / two.covariances_.sum())
    label = two.predict(line)
    smallest = np.bincount(label, minlength=2).min()
    if one.bic(line) - two.bic(line) > EVIDENCE and distance > separation and smallest >= FEWEST:
        return label
    return None


def _without_jitter(waves):
    """Waveforms (spikes, values) without what a shift of less than a sample does: the mean waveform's derivative."""
    flat = waves.reshape(len(waves), -1).astype(np.float64)
    slope = np.gradient(waves.mean(axis=0), axis=0).ravel()
    slope /= max(np.linalg.norm(slope), 1e-12)
    return flat - np.outer(flat @ slope, slope)


def merge(rest, found, templates, seed):
    """Templates after those are merged whose spikes together form one group; and the rows that went.

    Pairs of like shape (correlation over shifts above ``ALIKE``) are looked at, the most alike first: their spikes,
    aligned to a quarter of a sample, are projected on the difference of the two mean waveforms.

    Args:
        rest: the signal without spikes.
        found: ``Found`` whose units are the rows of ``templates``.
        templates: (units, kernel_size, channels), new means.
    """
    size, fine = templates.shape[1], 4
    overlap = gram(_resampled(as_kernel(templates), fine)) / fine
    likeness = np.triu(overlap.max(axis=2), 1)
    gone, templates = [], templates.copy()
    for flat in np.argsort(-likeness, axis=None, kind="stable"):
        i, j = (int(v) for v in np.unravel_index(flat, likeness.shape))
        if likeness[i, j] < ALIKE:
            break
        if i in gone or j in gone:
            continue
        lag = (int(overlap[i, j].argmax()) - (size * fine - 1)) / fine
        own = [_own(rest, found, unit, shift) for unit, shift in ((i, 0.0), (j, -lag))]
        few = min(map(len, own)) < 4  # each half needs some of both: too few to be told apart
        if few or apart(_difference(own), KEEP_APART, seed) is None:
            kept, small = (i, j) if len(own[0]) >= len(own[1]) else (j, i)
            if kept == i:
                templates[i] = np.concatenate(own).mean(axis=0)
            gone.append(small)
    return templates, sorted(gone)


def _difference(own):
    """Projections of two sets of waveforms on the difference of their means, (spikes of both,).

    Each half of the spikes is projected on the difference that the other half shows: on their own, the noise in the
    means of few long waveforms would set any two sets apart.
    """
    both = _without_jitter(np.concatenate(own))
    both -= both.mean(axis=0)  # the halves are projected on two axes: what all share must not set them apart
    first = np.arange(len(both)) < len(own[0])
    odd = np.arange(len(both)) % 2 == 1
    line = np.empty(len(both))
    for half in (odd, ~odd):
        axis = both[first & ~half].mean(axis=0) - both[~first & ~half].mean(axis=0)
        line[half] = both[half] @ (axis / max(np.linalg.norm(axis), 1e-12))
    return line


def _resampled(kernel, times):
    """A kernel at ``times`` the sampling frequency, by its Fourier series (padded, so that its ends do not meet)."""
    size = len(kernel)
    return np.fft.irfft(np.fft.rfft(kernel, 2 * size, axis=0), 2 * size * times, axis=0)[:size * times] * times


def _own(rest, found, unit, shift):
    """Cleaned waveforms of a unit, cut ``shift`` samples (a fraction, too) later than its template starts."""
    whole = math.floor(shift)
    size = found.templates.shape[1]
    mine = found.unit == unit
    at, height = found.position[mine] + whole, found.height[mine]
    inside = (at >= 0) & (at + size + 1 <= len(rest))
    own = as_kernel(found.templates[unit:unit + 1])[:, :, 0]
    moved = np.zeros((size + 1, own.shape[1]), np.float32)
    low, high = max(0, -whole), min(size + 1, size - whole)
    moved[low:high] = own[low + whole:high + whole]
    waves = waveforms(rest, at[inside], size + 1) + height[inside, None, None].astype(np.float32) * moved
    if shift == whole:
        return waves[:, :size]
    points = 2 * (size + 1)
    turn = np.exp(2j * np.pi * np.fft.rfftfreq(points) * (shift - whole))
    return np.fft.irfft(np.fft.rfft(waves, points, axis=1) * turn[:, None], points, axis=1)[:, :size]


def centred(templates, before):
    """Templates moved so that their extremum lies ``before`` samples after the start; zeros come in."""
    out = np.zeros_like(templates)
    size = templates.shape[1]
    for wave, moved in zip(templates, out, strict=True):
        shift = before - int(np.abs(wave).max(axis=1).argmax())
        if shift >= 0:
            moved[shift:] = wave[:size - shift]
        else:
            moved[:shift] = wave[-shift:]
    return out


def loss_without(templates, waves, unit, refractory, spread=0.1, cost=COST):
    """Nats of fit a spike that are lost when the other units must explain a unit's cleaned waveforms.

    Small for a copy of another unit, and for the sum of two units that fire together. The cost of a spike is not
    counted, so that two spikes in place of one lose nothing where they fit as well.
    """
    size = templates.shape[1]
    signal = np.pad(waves, ((0, 0), (size, size), (0, 0))).reshape(-1, templates.shape[2]).astype(np.float32)
    own = match(signal, templates[unit:unit + 1], refractory, spread, cost)
    rest = match(signal, np.delete(templates, unit, axis=0), refractory, spread, cost)
    return (_fit(own, signal, spread) - _fit(rest, signal, spread)) / len(waves)


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
    while len(keep) > 1:
        losses = [loss_without(templates[keep], sample[row], i, refractory) for i, row in enumerate(keep)]
        weakest = int(np.argmin(losses))
        if losses[weakest] >= DISTINCT:
            break
        reasons[keep[weakest]] = f"other units explain its waveform (loss {losses[weakest]:.1f} nats a spike)"
        del keep[weakest]
    return keep, reasons


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
        made, waves, changed = _regrouped(white, found, seed, split=turn < rounds - 2)
        keep, reasons = prune(made, waves, len(white), refractory)
        if tell is not None:
            tell(f"round {turn + 1}: {len(found.unit)} spikes of {len(templates)} units; {len(keep)} units kept")
        templates = centred(made[keep], before)
        settled = not changed and len(keep) == len(made) and counts is not None and len(counts) == len(keep)
        previous, counts = counts, np.array([len(waves[row]) for row in keep])
        if not len(templates) or settled and np.abs(counts - previous).sum() < SETTLED * counts.sum():
            break
    return templates, [f"a candidate was dropped: {text}" for text in reasons.values()]


def shrunk(templates, counts):
    """Mean waveforms without what is but the noise of their mean (a Wiener filter on the waveform's local energy).

    The mean of n waveforms of white noise has energy 1 / n at a sample; a sample whose neighbourhood (7 samples of its
    channel) has energy e is multiplied by 1 - 2 / (n e), or zero. On wide probes this leaves each template the
    channels near its peak.

    Args:
        templates: (units, kernel_size, channels), of whitened signals.
        counts: (units,), spikes of each mean.
    """
    from scipy.ndimage import uniform_filter1d

    energy = uniform_filter1d(np.square(templates, dtype=np.float64), 7, axis=1, mode="constant")
    noise = 2 / np.maximum(np.asarray(counts, np.float64), 1)[:, None, None]
    return templates * np.maximum(0, 1 - noise / np.maximum(energy, 1e-12))


def _regrouped(white, found, seed, split):
    """New templates after merging and splitting, their spikes' waveforms, and whether the units changed."""
    counts = np.bincount(found.unit, minlength=len(found.templates))
    live = np.flatnonzero(counts >= FEWEST)
    rest = unexplained(white, found)
    mine = np.isin(found.unit, live)
    found = Found(found.templates[live], found.position[mine], np.searchsorted(live, found.unit[mine]),
                  found.height[mine])
    waves = [cleaned(rest, found, unit) for unit in range(len(live))]
    if not len(live):
        return found.templates, waves, True
    templates, gone = merge(rest, found, np.stack([w.mean(axis=0) for w in waves]), seed)
    made, kept, changed = [], [], bool(gone) or len(live) < len(counts)
    for unit, (template, own) in enumerate(zip(templates, waves, strict=True)):
        if unit in gone:
            continue
        label = two_groups(own, seed) if split else None
        changed |= label is not None
        for part in (own,) if label is None else (own[label == 0], own[label == 1]):
            made.append(template if label is None else part.mean(axis=0))
            kept.append(part)
    return shrunk(np.stack(made), [len(own) for own in kept]), kept, changed
