"""Templates and their spikes in a whitened recording: detected, clustered, matched, averaged (NumPy, scikit-learn)."""

import math
from typing import NamedTuple

import numpy as np
from crsae_onnx.core.spikes.correlations import gram
from crsae_onnx.core.spikes.template_matching import TemplateMatcher

#: Extrema above so many noise standard deviations start the search.
DETECT = 4.0
#: Spikes that a unit needs.
FEWEST = 15
#: Log odds against a spike at one sample, before rates are known: about one in a thousand.
COST = 7.0
#: Waveforms that principal components are taken of.
SHOWN = 1500


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
        _, _, basis = np.linalg.svd(w[:SHOWN], full_matrices=False)
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


def match(signal, templates, refractory, spread=0.1, cost=COST, thorough=False):
    """The spikes of ``templates`` in a whitened signal, as ``Found``; see ``core.spikes.template_matching``."""
    size, units = norms(templates), len(templates)
    matcher = TemplateMatcher(as_kernel(templates), size, np.broadcast_to(spread, units), np.broadcast_to(cost, units),
                      refractory)
    return Found(templates, *matcher.find(signal, thorough=thorough))


def of_units(found, rows):
    """``found`` without the templates, and the spikes, of units other than ``rows`` (ascending)."""
    mine = np.isin(found.unit, rows)
    return Found(found.templates[rows], found.position[mine], np.searchsorted(rows, found.unit[mine]),
                 found.height[mine])


def unexplained(signal, found):
    """The signal without its spikes."""
    rest, kernel, size = signal.copy(), as_kernel(found.templates), found.templates.shape[1]
    for at, unit, height in zip(found.position, found.unit, found.height, strict=True):
        rest[at:at + size] -= np.float32(height) * kernel[:, :, unit]
    return rest


def cleaned(rest, found, unit, shift=0.0, least=0.0):
    """Waveforms of a unit's spikes with every other spike subtracted, (spikes, kernel_size, channels).

    Args:
        rest: the signal without spikes.
        found: ``Found``.
        unit: row of ``found.templates``.
        shift: samples (a fraction, too) that the waveforms are cut after the template's start; those that then reach
            beyond the signal are left out.
        least: spikes of other templates whose norm is below it stay in. Where a large spike departs from its template,
            small ones are found beside it that make it fit: without them it would look more like the template that
            it was given to than it is.
    """
    whole = math.floor(shift)
    size = found.templates.shape[1]
    span = size + (shift != whole)  # a fraction takes one sample more
    mine = found.unit == unit
    at, height = found.position[mine] + whole, found.height[mine]
    inside = (at >= 0) & (at + span <= len(rest))
    own = as_kernel(found.templates[unit:unit + 1])[:, :, 0]
    moved = np.zeros((span, own.shape[1]), np.float32)
    low, high = max(0, -whole), min(span, size - whole)
    moved[low:high] = own[low + whole:high + whole]
    waves = waveforms(rest, at[inside], span) + height[inside, None, None].astype(np.float32) * moved
    small = np.setdiff1d(np.flatnonzero(norms(found.templates) < least), unit)
    if len(small):
        _put_back(waves, at[inside], found, small)
    if span == size:
        return waves
    points = 2 * span
    turn = np.exp(2j * np.pi * np.fft.rfftfreq(points) * (shift - whole))
    return np.fft.irfft(np.fft.rfft(waves, points, axis=1) * turn[:, None], points, axis=1)[:, :size]


def _put_back(waves, at, found, units):
    """Add the spikes of ``units`` to the waveforms (spikes, span, channels) that start ``at``, in place."""
    span, size, some = waves.shape[1], found.templates.shape[1], of_units(found, units)
    kernel = as_kernel(some.templates)
    first = np.searchsorted(some.position, at - size, side="right")
    last = np.searchsorted(some.position, at + span)
    for wave, start, i, j in zip(waves, at, first, last, strict=True):
        for k in range(i, j):
            low = int(some.position[k] - start)
            begin, end = max(0, low), min(span, low + size)
            wave[begin:end] += np.float32(some.height[k]) * kernel[begin - low:end - low, :, some.unit[k]]


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


def few_shapes(templates, counts):
    """Mean waveforms as mixtures of the few time courses that they share; the rest of them is noise.

    The noise of a mean is that of its own spikes: each spike therefore fits the template of the unit it was given to
    by ``size / n`` nats too well, and one once given to the wrong of two like units stays there. Every channel of every
    template, times the square root of its count, is one row; white noise of variance 1 is taken off the rows' singular
    values in the best way for the squared error (Gavish and Donoho 2017, "Optimal Shrinkage of Singular Values", IEEE
    Transactions on Information Theory 63(4), Frobenius loss).

    Args:
        templates: (units, kernel_size, channels), of whitened signals.
        counts: (units,), spikes of each mean.

    Returns:
        The same shape, float32; channels that are zero stay so.

    Example:
        >>> course = np.hanning(40)[:, None] * [5.0, 3.0]                       # two channels, one time course
        >>> mean = course + np.random.default_rng(0).normal(size=(40, 2)) / 10  # of 100 spikes
        >>> bool(np.square(few_shapes(mean[None], [100])[0] - course).sum() < np.square(mean - course).sum())
        True
    """
    units, size, channels = templates.shape
    weight = np.sqrt(np.maximum(np.asarray(counts, np.float64), 1))[:, None, None]
    rows = np.moveaxis(templates * weight, 1, 2).reshape(units * channels, size)
    live = np.flatnonzero(rows.any(axis=1))
    if len(live):
        left, values, right = np.linalg.svd(rows[live], full_matrices=False)
        few, many = sorted((len(live), size))
        # Noise alone reaches the square roots' sum; what passes it is enlarged by the noise, which is undone.
        clear = values > math.sqrt(few) + math.sqrt(many)
        square = np.square(values[clear])
        kept = np.sqrt(np.square(square - few - many) - 4 * few * many) / values[clear]
        rows[live] = (left[:, clear] * kept) @ right[clear]
    return (np.moveaxis(rows.reshape(units, channels, size), 1, 2) / weight).astype(np.float32)
