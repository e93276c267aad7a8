"""Waveforms and templates of whitened signals: norms, alignment, and removal of the noise in means (NumPy, SciPy).

Templates are arrays (units, kernel_size, channels): mean whitened waveforms.
"""

from __future__ import annotations

import math

import numpy as np
from crsae_onnx.core.spikes.correlations import gram
from numpy.typing import ArrayLike

from keras_crsae.applications.spike_sorting.parameters import DEFAULTS, SortingParameters

#: On probes with more channels a template is zero on those that it does not reach.
WIDE_PROBE_CHANNELS = 8
#: Energy of a template on a channel, in variances of the noise, below which the channel is left out.
LEAST_CHANNEL_ENERGY = 0.5


def template_norms(templates: np.ndarray) -> np.ndarray:
    """Euclidean norm of each template, (units,)."""
    return np.sqrt(np.square(templates, dtype=np.float64).sum((1, 2)))


def as_kernel(templates: np.ndarray) -> np.ndarray:
    """(kernel_size, channels, units) unit-norm filters of templates (units, kernel_size, channels)."""
    norms = np.maximum(template_norms(templates), 1e-12)
    return np.moveaxis(templates / norms[:, None, None], 0, -1).astype(np.float32)


def waveforms(signal: np.ndarray, start_sample: np.ndarray, kernel_size: int, channels: np.ndarray | None = None
              ) -> np.ndarray:
    """(spikes, kernel_size, channels) of a signal (time, channels), of all channels or of those given."""
    at = np.asarray(start_sample)[:, None] + np.arange(kernel_size)
    return signal[at] if channels is None else signal[at[:, :, None], channels]


def principal_axes(values: np.ndarray, count: int) -> np.ndarray:
    """The ``count`` unit directions in which the rows of ``values`` have most energy, (columns, count), largest first.

    Eigenvectors of the smaller one of the two matrices of products; nothing is centered.
    """
    from scipy.linalg import eigh

    values = np.asarray(values, np.float64)
    wide = values.shape[1] > values.shape[0]
    products = values @ values.T if wide else values.T @ values
    size = len(products)
    energy, vectors = eigh(products, subset_by_index=(max(0, size - count), size - 1))
    energy, vectors = energy[::-1], vectors[:, ::-1]
    return values.T @ (vectors / np.sqrt(np.maximum(energy, 1e-300))) if wide else vectors


def align_extrema(templates: np.ndarray, before: int) -> np.ndarray:
    """Templates shifted so that their extremum is ``before`` samples after the start; zeros fill the end."""
    out = np.zeros_like(templates)
    kernel_size = templates.shape[1]
    for template, shifted in zip(templates, out, strict=True):
        shift = before - int(np.abs(template).max(axis=1).argmax())
        if shift >= 0:
            shifted[shift:] = template[:kernel_size - shift]
        else:
            shifted[:shift] = template[-shift:]
    return out


def remove_duplicates(templates: np.ndarray, parameters: SortingParameters = DEFAULTS) -> np.ndarray:
    """Templates without those that have the shape (correlation over shifts) and about the size of a larger one."""
    order = np.argsort(-template_norms(templates), kind="stable")
    templates, norms = templates[order], template_norms(templates)[order]
    if not len(templates):
        return templates
    correlation = gram(as_kernel(templates)).max(axis=2)
    keep: list[int] = []
    for i in range(len(templates)):
        if not any(correlation[i, j] > parameters.duplicate_correlation
                   and norms[j] < parameters.duplicate_norm_ratio * norms[i] for j in keep):
            keep.append(i)
    return templates[keep]


def wiener_shrink(templates: np.ndarray, counts: ArrayLike) -> np.ndarray:
    """Mean waveforms with the noise of the mean removed, by a Wiener filter on the local energy.

    The mean of n waveforms of white noise has energy 1 / n at a sample; a sample whose neighbourhood (7 samples of its
    channel) has energy e is multiplied by 1 - 2 / (n e), or zero. On wide probes a template lives on the channels that
    it reaches (``reached_channels``) and is zero elsewhere, so that its cost does not grow with the probe.

    Args:
        templates: (units, kernel_size, channels), of whitened signals.
        counts: (units,), spikes of each mean.

    Example:
        >>> import numpy as np
        >>> from keras_crsae.applications.spike_sorting.templates import wiener_shrink
        >>> mean = np.ones((1, 20, 1))
        >>> wiener_shrink(mean, [1])[0, 10, 0].item(), wiener_shrink(mean, [100])[0, 10, 0].item()
        (0.0, 0.98)
    """
    from scipy.ndimage import uniform_filter1d

    energy = uniform_filter1d(np.square(templates, dtype=np.float64), 7, axis=1, mode="constant")
    noise = 2 / np.maximum(np.asarray(counts, np.float64), 1)[:, None, None]
    shrunk = templates * np.maximum(0, 1 - noise / np.maximum(energy, 1e-12))
    return shrunk * reached_channels(templates, counts)[:, None] if templates.shape[2] > WIDE_PROBE_CHANNELS else shrunk


def reached_channels(templates: np.ndarray, counts: ArrayLike) -> np.ndarray:
    """Boolean (units, channels): where a mean waveform's energy exceeds that of noise, and the least that matters.

    The mean of n waveforms of white noise has energy kernel_size / n on a channel, with standard deviation
    sqrt(2 kernel_size) / n. A channel left out costs half its energy in nats a spike. The largest is always kept.

    Args:
        templates: (units, kernel_size, channels), means, of whitened signals.
        counts: (units,), spikes of each mean.

    Example:
        >>> import numpy as np
        >>> from keras_crsae.applications.spike_sorting.templates import reached_channels
        >>> reached_channels(np.hanning(40)[None, :, None] * [0.02, 0.5, 3.0], [100]).tolist()
        [[False, True, True]]
    """
    energy = np.square(templates, dtype=np.float64).sum(axis=1)
    size = templates.shape[1]
    noise = (size + 4 * math.sqrt(2 * size)) / np.maximum(np.asarray(counts, np.float64), 1)[:, None]
    return (energy > np.maximum(noise, LEAST_CHANNEL_ENERGY)) | (energy == energy.max(axis=1, keepdims=True))


def low_rank_templates(templates: np.ndarray, counts: ArrayLike) -> np.ndarray:
    """Mean waveforms as mixtures of the few time courses that they share; the remainder is noise.

    The noise of a mean is that of its own spikes. Each spike therefore fits the template of its unit by
    ``kernel_size / n`` nats too well, and a spike once assigned to the wrong one of two similar units stays there.
    Every channel of every template, times the square root of its count, is one row; the singular values of these rows
    are shrunk in the optimal way for white noise of variance 1 and squared error (Gavish and Donoho 2017, "Optimal
    Shrinkage of Singular Values", IEEE Transactions on Information Theory 63(4), Frobenius loss).

    Args:
        templates: (units, kernel_size, channels), of whitened signals.
        counts: (units,), spikes of each mean.

    Returns:
        The same shape, float32; channels that are zero stay zero.

    Example:
        >>> import numpy as np
        >>> from keras_crsae.applications.spike_sorting.templates import low_rank_templates
        >>> course = np.hanning(40)[:, None] * [5.0, 3.0]                       # two channels, one time course
        >>> mean = course + np.random.default_rng(0).normal(size=(40, 2)) / 10  # of 100 spikes
        >>> shrunk = low_rank_templates(mean[None], [100])[0]
        >>> bool(np.square(shrunk - course).sum() < np.square(mean - course).sum())
        True
    """
    units, kernel_size, channels = templates.shape
    weight = np.sqrt(np.maximum(np.asarray(counts, np.float64), 1))[:, None, None]
    rows = np.moveaxis(templates * weight, 1, 2).reshape(units * channels, kernel_size)
    nonzero = np.flatnonzero(rows.any(axis=1))
    if len(nonzero):
        left, values, right = np.linalg.svd(rows[nonzero], full_matrices=False)
        few, many = sorted((len(nonzero), kernel_size))
        # Noise alone reaches the sum of the square roots; values above it are enlarged by noise, which is undone.
        above = values > math.sqrt(few) + math.sqrt(many)
        square = np.square(values[above])
        shrunk = np.sqrt(np.square(square - few - many) - 4 * few * many) / values[above]
        rows[nonzero] = (left[:, above] * shrunk) @ right[above]
    return (np.moveaxis(rows.reshape(units, channels, kernel_size), 1, 2) / weight).astype(np.float32)
