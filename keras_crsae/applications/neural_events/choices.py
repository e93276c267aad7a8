"""The numbers and lengths of kernels to choose from, checked before work starts (NumPy)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np
from crsae_onnx.core.validation import as_positive, as_positive_int

from keras_crsae.applications.neural_events.onsets import onset_support
from keras_crsae.applications.neural_events.parameters import EventParameters
from keras_crsae.applications.neural_events.spike_counts import SpikeCounts

#: Fewest bins of a kernel.
_LEAST_BINS = 3


def kernel_choices(counts: SpikeCounts, kernels: int | Sequence[int], kernel_ms: float | Sequence[float], onsets: Any,
                   parameters: EventParameters) -> list[tuple[int, int, np.ndarray | None]]:
    """[(number of kernels, bins of a kernel, support or None)] of every number and length, all checked.

    Args:
        counts: the spikes.
        kernels, kernel_ms: a number, or several.
        onsets: known onsets, or None; see ``onset_support``.
        parameters: ``folds``, ``jitter_ms``.

    Raises:
        ValueError: what ``fit_events`` refuses.
    """
    numbers = [as_positive_int(one, "kernels") for one in _several(kernels)]
    lengths = [as_positive(one, "kernel_ms") for one in _several(kernel_ms)]
    if not numbers or not lengths:
        raise ValueError("`kernels` and `kernel_ms` must hold at least one number each.")
    trials, bins, _ = counts.counts.shape
    if not counts.counts.any():
        raise ValueError("`spikes` holds no spike.")
    out = []
    for number, length in product(numbers, lengths):
        size = round(length / counts.bin_ms)
        if not _LEAST_BINS <= size <= bins // 2:
            raise ValueError(f"`kernel_ms` must give kernels of at least {_LEAST_BINS} bins and at most half a trial. "
                             f"Received: kernel_ms={length:g} with bins of {counts.bin_ms:g} ms and trials of "
                             f"{counts.duration_ms:g} ms.")
        out.append((number, size, None if onsets is None else
                    onset_support(onsets, counts, number, size, parameters.jitter_ms)))
    if len(out) > 1 and not parameters.folds:
        raise ValueError("The choice among several kernels or lengths is by cross-validation, which folds=0 omits. "
                         "Give EventParameters(folds=4), or one number and one length.")
    if parameters.folds > trials:
        raise ValueError(f"Cross-validation with {parameters.folds} folds needs as many trials. Received: {trials} "
                         "trials. Give EventParameters(folds=0) to omit it.")
    return out


def _several(value: Any) -> list[Any]:
    return list(value) if isinstance(value, Sequence | np.ndarray) and np.ndim(value) else [value]
