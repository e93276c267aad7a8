"""Median waveforms of units in a recording, read in few pieces (NumPy)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from crsae_onnx.core.spikes.detector import Spikes
from crsae_onnx.core.spikes.whitening import Whitening

from keras_crsae.applications.spike_sorting.templates import waveforms

#: Samples that are read together at most.
_PIECE_SAMPLES = 1 << 15
#: Spikes further apart than so many waveforms are read by themselves.
_GAP_WAVEFORMS = 8
#: Values of all waveforms together at most, and spikes of a unit at least.
_MOST_VALUES, _FEWEST_SPIKES = 1 << 26, 50


def median_waveforms(traces: Any, plain: Whitening, spikes: Spikes, num_units: int, before: int, shown: int,
                     most: int) -> np.ndarray:
    """Median waveforms around the spikes, float32 (units, shown, channels); zeros of a unit without spikes.

    Args:
        traces: (samples, channels), with slices of time.
        plain: from the recording to the signal whose waveforms these are.
        spikes: of the units.
        num_units: how many there are.
        before, shown: samples before a spike's extremum, and of a waveform.
        most: spikes of a unit that are read; fewer where channels and units are many.
    """
    channels = traces.shape[1]
    most = max(min(most, _FEWEST_SPIKES), min(most, _MOST_VALUES // (num_units * shown * channels)))
    chosen = []
    for unit in range(num_units):
        start = spikes.peak_sample[spikes.unit_id == unit] - before
        start = start[(start >= 0) & (start + shown <= traces.shape[0])]
        chosen.append(start[np.linspace(0, len(start) - 1, min(most, len(start))).astype(int)])
    starts, owner = np.concatenate(chosen), np.repeat(np.arange(num_units), [len(start) for start in chosen])
    order = np.argsort(starts, kind="stable")
    waves = np.empty((len(starts), shown, channels), np.float32)
    for first, last in _groups(starts[order], shown):
        rows = order[first:last]
        low = int(starts[rows[0]])
        waves[rows] = waveforms(plain(traces, low, int(starts[rows[-1]]) + shown), starts[rows] - low, shown)
    return np.stack([np.median(waves[owner == unit], axis=0) if len(chosen[unit]) else
                     np.zeros((shown, channels), np.float32) for unit in range(num_units)])


def _groups(starts: np.ndarray, shown: int) -> Iterator[tuple[int, int]]:
    """(first, last) of sorted waveforms that are read together."""
    first = 0
    for i in range(1, len(starts) + 1):
        if i == len(starts) or starts[i] - starts[i - 1] > _GAP_WAVEFORMS * shown or \
                starts[i] + shown - starts[first] > _PIECE_SAMPLES:
            yield first, i
            first = i
