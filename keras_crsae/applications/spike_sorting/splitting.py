"""One unit or two: waveforms that fall into groups, and units that are one (NumPy, scikit-learn)."""

import math

import numpy as np
from crsae_onnx.core.spikes.correlations import gram

from keras_crsae.applications.spike_sorting.templates import FEWEST, SHOWN, as_kernel, cleaned, norms, shrunk

#: Ashman's D of two groups that splits a unit, and below which two units are one; and the rise of the Bayesian
#: information criterion that both need.
SEPARATION, KEEP_APART, EVIDENCE = 1.9, 1.7, 12.0
#: Ashman's D of a split on trial, which needs no evidence: once both halves have been matched, ``merge`` judges.
TRIAL = 1.5
#: Correlation over shifts from which two units are looked at together.
ALIKE = 0.8
#: Spikes of less than this share of a unit's norm stay in the waveforms that it is judged by.
SMALL = 0.5
_FEATURES = 4


def two_groups(waves, seed, trial=False):
    """Labels (spikes,) where waveforms fall into two groups, else None.

    The axis is the line between the means of a two-component Gaussian mixture; see ``apart``. That axis is a rough one:
    like units of small spikes show as two only after they have been matched apart, which ``trial`` allows for.
    """
    from sklearn.mixture import GaussianMixture

    if len(waves) < 3 * FEWEST:
        return None
    flat = _without_jitter(waves)
    flat -= flat.mean(axis=0)
    shown = flat if len(flat) <= SHOWN else flat[np.random.default_rng(seed).choice(len(flat), SHOWN, replace=False)]
    _, _, basis = np.linalg.svd(shown, full_matrices=False)
    features = flat @ basis[:_FEATURES].T
    mixture = GaussianMixture(2, reg_covar=0.1, random_state=seed).fit(features)
    axis = np.linalg.solve(mixture.covariances_.mean(axis=0), mixture.means_[1] - mixture.means_[0])
    return apart(features @ (axis / max(np.linalg.norm(axis), 1e-12)),
                 *((TRIAL, seed, -np.inf) if trial else (SEPARATION, seed)))


def apart(line, separation, seed, evidence=EVIDENCE):
    """Labels of two groups of numbers, else None.

    Two Gaussians must describe them better than one by ``evidence`` in the Bayesian information criterion, Ashman's D
    = sqrt(2) |difference of means| / sqrt(sum of variances) must pass ``separation``, and neither may be tiny.
    """
    from sklearn.mixture import GaussianMixture

    line = np.asarray(line, np.float64)[:, None]
    one = GaussianMixture(1).fit(line)
    two = GaussianMixture(2, n_init=3, reg_covar=1e-3, random_state=seed).fit(line)
    distance = abs(two.means_[0, 0] - two.means_[1, 0]) * math.sqrt(2 / two.covariances_.sum())
    label = two.predict(line)
    smallest = np.bincount(label, minlength=2).min()
    if one.bic(line) - two.bic(line) > evidence and distance > separation and smallest >= FEWEST:
        return label
    return None


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
    # The noise in the means of few long waveforms would make halves of one unit unlike.
    clean = shrunk(templates, np.bincount(found.unit, minlength=len(templates)))
    overlap = gram(_resampled(as_kernel(clean), fine)) / fine
    likeness = np.triu(overlap.max(axis=2), 1)
    gone, templates = [], templates.copy()
    for flat in np.argsort(-likeness, axis=None, kind="stable"):
        i, j = (int(v) for v in np.unravel_index(flat, likeness.shape))
        if likeness[i, j] < ALIKE:
            break
        if i in gone or j in gone:
            continue
        lag = (int(overlap[i, j].argmax()) - (size * fine - 1)) / fine
        least = SMALL * norms(found.templates[[i, j]]).min()
        own = [cleaned(rest, found, unit, shift, least) for unit, shift in ((i, 0.0), (j, -lag))]
        few = min(map(len, own)) < 4  # each half needs some of both: too few to be told apart
        if few or apart(_difference(own), KEEP_APART, seed) is None:
            kept, small = (i, j) if len(own[0]) >= len(own[1]) else (j, i)
            if kept == i:
                templates[i] = np.concatenate(own).mean(axis=0)
            gone.append(small)
    return templates, sorted(gone)


def _without_jitter(waves):
    """Waveforms (spikes, values) without what a shift of less than a sample does: the mean waveform's derivative."""
    flat = waves.reshape(len(waves), -1).astype(np.float64)
    slope = np.gradient(waves.mean(axis=0), axis=0).ravel()
    slope /= max(np.linalg.norm(slope), 1e-12)
    return flat - np.outer(flat @ slope, slope)


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
