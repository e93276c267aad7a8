"""Split units whose waveforms form two groups, and merge units whose waveforms form one (NumPy, scikit-learn)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from crsae_onnx.core.spikes.correlations import gram

from keras_crsae.applications.spike_sorting.matching import UnitSpikes, subtract_others
from keras_crsae.applications.spike_sorting.parameters import DEFAULTS, SortingParameters
from keras_crsae.applications.spike_sorting.templates import as_kernel, principal_axes, template_norms, wiener_shrink


def time_courses(waves: Sequence[np.ndarray], parameters: SortingParameters = DEFAULTS) -> np.ndarray:
    """The time courses that waveforms consist of but for noise, (kernel_size, ``time_courses``), orthonormal.

    Those with most energy over all waveforms and channels. Units of similar shape differ in sums of them; along other
    directions there is only noise, which hides two groups of a few hundred waveforms.

    Args:
        waves: (spikes, kernel_size, channels) of each unit; channels may differ.
        parameters: ``time_courses``.
    """
    moment = sum(np.tensordot(w, w, axes=((0, 2), (0, 2))).astype(np.float64) for w in waves)
    return np.linalg.eigh(moment)[1][:, ::-1][:, :parameters.time_courses]


def split_waveforms(waves: np.ndarray, seed: int, trial: bool = False, parameters: SortingParameters = DEFAULTS,
                    courses: np.ndarray | None = None) -> np.ndarray | None:
    """Labels (spikes,) where the waveforms form two groups, else None.

    The axis is the line between the means of a two-component Gaussian mixture; see ``bimodal_labels``. That axis is
    approximate: similar units of small spikes only show as two after they have been matched separately, so ``trial``
    lowers the separation and asks for no evidence. ``courses``: None, or ``time_courses`` that are looked at.
    """
    if len(waves) < 3 * parameters.minimum_spikes:
        return None
    flat = _without_jitter(waves, courses)
    flat -= flat.mean(axis=0)
    most = parameters.pca_waveforms
    sample = flat if len(flat) <= most else flat[np.random.default_rng(seed).choice(len(flat), most, replace=False)]
    features = flat @ principal_axes(sample, parameters.split_components)
    means, covariances = gaussian_mixture(features, np.random.default_rng(seed))
    axis = np.linalg.solve(covariances.mean(axis=0), means[1] - means[0])
    values = features @ (axis / max(np.linalg.norm(axis), 1e-12))
    if trial:
        return bimodal_labels(values, parameters.trial_split_separation, -math.inf, parameters.minimum_spikes)
    return bimodal_labels(values, parameters.split_separation, parameters.minimum_bic_difference,
                          parameters.minimum_spikes)


def bimodal_labels(values: np.ndarray, separation: float, bic_difference: float = DEFAULTS.minimum_bic_difference,
                   minimum_count: int = DEFAULTS.minimum_spikes) -> np.ndarray | None:
    """Labels of two groups of numbers, else None.

    Two Gaussians must describe them better than one by ``bic_difference`` in the Bayesian information criterion,
    Ashman's D = sqrt(2) |difference of means| / sqrt(sum of variances) must exceed ``separation``, and both groups must
    have ``minimum_count`` members.

    Example:
        >>> import numpy as np
        >>> from keras_crsae.applications.spike_sorting.splitting import bimodal_labels
        >>> values = np.random.default_rng(0).normal(size=200)
        >>> bimodal_labels(values, separation=1.9) is None
        True
        >>> np.bincount(bimodal_labels(np.append(values, values + 8), separation=1.9)).tolist()
        [200, 200]
    """
    values = np.asarray(values, np.float64)
    count = len(values)
    variance = values.var() + 1e-6
    one = -0.5 * count * (math.log(2 * math.pi * variance) + values.var() / variance)
    means, variances, two, label = two_gaussians(values)
    distance = abs(means[0] - means[1]) * math.sqrt(2 / variances.sum())
    # Two Gaussians have three parameters more than one.
    better = 2 * (two - one) - 3 * math.log(count)
    smallest = np.bincount(label, minlength=2).min()
    return label if better > bic_difference and distance > separation and smallest >= minimum_count else None


def two_gaussians(values: np.ndarray, floor: float = 1e-3) -> tuple[np.ndarray, np.ndarray, float, np.ndarray]:
    """(means, variances, log likelihood, labels (values,)) of two Gaussians fitted to numbers by EM.

    It starts from the best of three 2-means partitions, and ends where a step gains less than 1e-3 nats a number.

    Args:
        values: (values,).
        floor: added to the variances.

    Example:
        >>> import numpy as np
        >>> from keras_crsae.applications.spike_sorting.splitting import two_gaussians
        >>> two_gaussians(np.array([0.0, 0.1, 5.0, 5.1]))[0].round(2).tolist()
        [0.05, 5.05]
    """
    weight = min((_two_means(values, fraction) for fraction in (0.1, 0.5, 0.9)), key=lambda found: found[0])[1]
    share = np.stack([1.0 - weight, weight])
    before = -math.inf
    for _ in range(100):
        total = np.maximum(share.sum(axis=1), 1e-9)
        means = share @ values / total
        off = np.square(values - means[:, None])
        variances = (share * off).sum(axis=1) / total + floor
        log_density = np.log(total / len(values))[:, None] - 0.5 * (np.log(2 * math.pi * variances)[:, None]
                                                                    + off / variances[:, None])
        log_sum = np.logaddexp(*log_density)
        share = np.exp(log_density - log_sum)
        now = float(log_sum.mean())
        if now - before < 1e-3:
            break
        before = now
    return means, variances, now * len(values), share.argmax(axis=0)


def gaussian_mixture(features: np.ndarray, rng: np.random.Generator, floor: float = 0.1
                     ) -> tuple[np.ndarray, np.ndarray]:
    """(means (2, features), covariances (2, features, features)) of two Gaussians fitted to points by EM.

    What scikit-learn's ``GaussianMixture`` computes, from 2-means, but for these few small points in a tenth of its
    time, most of which goes into checks.

    Args:
        features: (points, features).
        rng: for the first centers.
        floor: added to the variances.

    Example:
        >>> import numpy as np
        >>> from keras_crsae.applications.spike_sorting.splitting import gaussian_mixture
        >>> points = np.concatenate([np.zeros((9, 2)), np.full((9, 2), 5.0)])
        >>> sorted(gaussian_mixture(points, np.random.default_rng(0))[0][:, 0].round(2).tolist())
        [0.0, 5.0]
    """
    count, size = features.shape
    share, before = _nearest_of_two(features, rng), -math.inf
    means, covariances = np.zeros((2, size)), np.zeros((2, size, size))
    for _ in range(100):
        total = share.sum(axis=0) + 1e-12
        means = share.T @ features / total[:, None]
        log_density = np.empty((count, 2))
        for k in range(2):
            off = features - means[k]
            covariances[k] = (share[:, k, None] * off).T @ off / total[k] + floor * np.eye(size)
            root = np.linalg.inv(np.linalg.cholesky(covariances[k]))
            log_density[:, k] = (math.log(total[k] / count) + np.log(np.diag(root)).sum()
                                 - 0.5 * (size * math.log(2 * math.pi) + np.square(off @ root.T).sum(axis=1)))
        log_sum = np.logaddexp(log_density[:, 0], log_density[:, 1])
        share = np.exp(log_density - log_sum[:, None])
        now = float(log_sum.mean())
        if abs(now - before) < 1e-3:
            break
        before = now
    return means, covariances


def _nearest_of_two(features: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """1.0 at the nearer of two centers, (points, 2), by 2-means; the second center is drawn far from the first."""
    first = features[rng.integers(len(features))]
    distance = np.square(features - first).sum(axis=1)
    even = np.full(len(features), 1 / len(features))
    centers = np.stack([first, features[rng.choice(len(features), p=distance / distance.sum() if distance.any()
                                                   else even)]])
    upper = np.zeros(len(features), bool)
    for _ in range(30):
        now = np.square(features - centers[1]).sum(axis=1) < np.square(features - centers[0]).sum(axis=1)
        if (now == upper).all() or now.all() or not now.any():
            break
        upper = now
        centers = np.stack([features[~upper].mean(axis=0), features[upper].mean(axis=0)])
    return np.stack([~upper, upper], axis=1).astype(np.float64)


def _two_means(values: np.ndarray, fraction: float) -> tuple[float, np.ndarray]:
    """(sum of squared distances, 1.0 for the upper group) of 2-means that starts at a quantile."""
    border = float(np.quantile(values, fraction))
    for _ in range(30):
        upper = values > border
        if upper.all() or not upper.any():
            return math.inf, upper.astype(np.float64)
        low, high = values[~upper].mean(), values[upper].mean()
        if (low + high) / 2 == border:
            break
        border = (low + high) / 2
    return float(np.square(values - np.where(upper, high, low)).sum()), upper.astype(np.float64)


def merge_units(rest: np.ndarray, spikes: UnitSpikes, templates: np.ndarray,
                parameters: SortingParameters = DEFAULTS, courses: np.ndarray | None = None
                ) -> tuple[np.ndarray, list[int]]:
    """(templates after merging, rows that were merged into others).

    Pairs of similar shape (correlation over shifts above ``merge_correlation``) are compared, the most similar first:
    their spikes, aligned to a quarter of a sample, are projected on the difference of the two mean waveforms, and
    merged where the projections form one group.

    Args:
        rest: residual of the signal.
        spikes: matched spikes whose units are the rows of ``templates``.
        templates: (units, kernel_size, channels), new means.
        parameters: ``merge_correlation``, ``merge_separation``, ``minimum_bic_difference``, ``small_spike_fraction``.
        courses: None, or ``time_courses`` that are looked at.
    """
    kernel_size, upsampling = templates.shape[1], 4
    # The noise in the means of few long waveforms would make halves of one unit dissimilar.
    denoised = wiener_shrink(templates, np.bincount(spikes.unit_id, minlength=len(templates)))
    overlap = gram(_upsample(as_kernel(denoised), upsampling)) / upsampling
    similarity = np.triu(overlap.max(axis=2), 1)
    merged, templates = [], templates.copy()
    for flat in np.argsort(-similarity, axis=None, kind="stable"):
        i, j = (int(v) for v in np.unravel_index(flat, similarity.shape))
        if similarity[i, j] < parameters.merge_correlation:
            break
        if i in merged or j in merged:
            continue
        lag = (int(overlap[i, j].argmax()) - (kernel_size * upsampling - 1)) / upsampling
        small = parameters.small_spike_fraction * template_norms(spikes.templates[[i, j]]).min()
        reached = np.flatnonzero(spikes.templates[[i, j]].any(axis=(0, 1)))
        both = (i, 0.0), (j, -lag)
        waves = [subtract_others(rest, spikes, unit, shift, small, channels=reached) for unit, shift in both]
        if not _form_two_groups(waves, parameters, courses):
            larger, smaller = (i, j) if len(waves[0]) >= len(waves[1]) else (j, i)
            if larger == i:
                templates[i] = np.concatenate([subtract_others(rest, spikes, unit, shift, small)
                                               for unit, shift in both]).mean(axis=0)
            merged.append(smaller)
    return templates, sorted(merged)


def _form_two_groups(waves: list[np.ndarray], parameters: SortingParameters, courses: np.ndarray | None) -> bool:
    if min(map(len, waves)) < 4:  # each half needs some of both: too few to decide
        return False
    return bimodal_labels(_project_on_difference(waves, courses), parameters.merge_separation,
                          parameters.minimum_bic_difference, parameters.minimum_spikes) is not None


def _without_jitter(waves: np.ndarray, courses: np.ndarray | None) -> np.ndarray:
    """Waveforms (spikes, values) with the effect of shifts below a sample, the mean's derivative, projected out.

    With ``courses`` (kernel_size, count) the values are the waveforms' coefficients on them.
    """
    slope = np.gradient(waves.mean(axis=0), axis=0)
    if courses is not None:
        waves, slope = np.matmul(courses.T, waves), courses.T @ slope
    flat, slope = waves.reshape(len(waves), -1).astype(np.float64), slope.ravel()
    slope /= max(np.linalg.norm(slope), 1e-12)
    return flat - np.outer(flat @ slope, slope)


def _project_on_difference(waves: list[np.ndarray], courses: np.ndarray | None) -> np.ndarray:
    """Projections of two sets of waveforms on the difference of their means, (spikes of both,).

    Each half of the spikes is projected on the difference of means of the other half: on its own, the noise in the
    means of few long waveforms would separate any two sets.
    """
    both = _without_jitter(np.concatenate(waves), courses)
    both -= both.mean(axis=0)  # the halves have two axes: what all spikes share must not separate them
    first = np.arange(len(both)) < len(waves[0])
    odd = np.arange(len(both)) % 2 == 1
    values = np.empty(len(both))
    for half in (odd, ~odd):
        axis = both[first & ~half].mean(axis=0) - both[~first & ~half].mean(axis=0)
        values[half] = both[half] @ (axis / max(np.linalg.norm(axis), 1e-12))
    return values


def _upsample(kernel: np.ndarray, factor: int) -> np.ndarray:
    """A kernel at ``factor`` times the sampling frequency, by its Fourier series (padded against wrap-around)."""
    size = len(kernel)
    out, reached = np.zeros((size * factor, *kernel.shape[1:]), np.float32), np.any(kernel, axis=0)
    spectrum = np.fft.rfft(kernel[:, reached].T, 2 * size, axis=1)
    out[:, reached] = np.fft.irfft(spectrum, 2 * size * factor, axis=1).T[:size * factor] * factor
    return out
