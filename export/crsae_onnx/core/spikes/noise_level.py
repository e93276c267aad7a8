"""Whether a recording is on the scale that a sorter's encoder was trained on: its whitened noise has variance 1."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from crsae_onnx.core.signals import robust_std
from crsae_onnx.core.spikes.whitening import Whitening
from crsae_onnx.core.typing import Array

#: Standard deviations of whitened noise that are taken for 1.
LOWEST_STD, HIGHEST_STD = 0.5, 2.0
#: Samples at the beginning of a recording that are looked at; with many channels fewer, so many values at most.
CHECKED_SAMPLES, CHECKED_VALUES = 4096, 2**18
#: A channel with fewer samples that differ from the one before is not judged: blanked stretches hold no noise.
_LEAST_SAMPLES = 200
#: Whitened values below are rounding of zeros.
_LEAST_VALUE = 1e-9


def level_warning(recording: Any, whitening: Whitening | None = None) -> str | None:
    """What is wrong with the noise level of a recording that an encoder of whitened signals is to encode.

    Only its beginning is read.

    Args:
        recording: (samples, channels), an array or an object with ``shape`` and time slices: what the encoder is given.
        whitening: None: the encoder takes whitened recordings; or the ``Whitening`` that its graph holds.

    Returns:
        A text for the user, or None where every channel's whitened noise has a standard deviation of about 1.

    Example:
        >>> import numpy as np
        >>> from crsae_onnx.core.spikes.noise_level import level_warning
        >>> noise = np.random.default_rng(0).standard_normal((5000, 1))
        >>> level_warning(noise), level_warning(10 * noise)[:45]
        (None, 'This file takes whitened recordings, whose no')
    """
    samples, channels = recording.shape
    count = min(samples, CHECKED_SAMPLES, max(1, CHECKED_VALUES // channels))
    values = np.asarray(recording[0:count], np.float64)
    whitened = values if whitening is None else whitening(values, 0, count)
    changes = np.isfinite(values[1:]) & (values[1:] != values[:-1])
    if whitening is None:
        changes &= np.abs(values[1:]) > _LEAST_VALUE
    for channel in range(channels):
        some = whitened[1:, channel][changes[:, channel]]
        if len(some) >= _LEAST_SAMPLES and not LOWEST_STD <= (level := float(robust_std(some))) <= HIGHEST_STD:
            return _whitened_expected(level, channel) if whitening is None else _other_unit(level, channel)
    return None


def _whitened_expected(level: float, channel: int) -> str:
    return ("This file takes whitened recordings, whose noise has a standard deviation of 1. Received: "
            f"{level:.3g} in channel {channel}. Codes of a recording that is not whitened mean nothing. Whiten it "
            "first (SpikeReader.from_json(encoder.info['spikes']).whitening), let the reader's `find` or `crsae-onnx "
            "run --spikes` do it, or use the encoder.onnx that `keras-crsae sort` writes, which whitens inside.")


def _other_unit(level: float, channel: int) -> str:
    return ("The recording has another unit, or another noise, than the one that was sorted: whitened as that one, its "
            f"noise should have a standard deviation of 1. Received: {level:.3g} in channel {channel}. Its spikes are "
            "not to be relied on. Give the recording in the unit that was sorted (and not whitened), or sort it anew.")


def whitens(encode: Callable[..., Array]) -> bool:
    """Whether an encoder's method ``encode`` takes recordings as they are, its graph whitening them.

    Example:
        >>> from crsae_onnx.core.spikes.noise_level import whitens
        >>> whitens(lambda signal: signal)
        False
    """
    while isinstance(encode, partial):
        encode = encode.func
    return bool(getattr(getattr(encode, "__self__", None), "whitening_inside", False))
