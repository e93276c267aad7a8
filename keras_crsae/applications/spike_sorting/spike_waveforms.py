"""Whitened waveforms of a result's spikes in the recording, each with all other spikes subtracted (NumPy)."""

from __future__ import annotations

from typing import Any

import numpy as np

from keras_crsae.applications.spike_sorting.matching import UnitSpikes, residual

#: Samples of the recording that are read together.
PIECE_SAMPLES = 1 << 15


def start_samples(result: Any) -> np.ndarray:
    """int64 (spikes,): the sample where the filter of each spike of a ``SpikeSortingResult`` starts."""
    return result.spike_samples - result.reader.peak_offset[result.spike_units]


def code_amplitudes(result: Any) -> np.ndarray:
    """float64 (spikes,): the amplitude of each spike's unit-norm filter."""
    reader, units = result.reader, result.spike_units
    return result.spike_amplitudes / reader.peak_value[units] * reader.mean_amplitude[units]


def spike_waveforms(result: Any, traces: Any, rows: np.ndarray, channels: np.ndarray | slice = slice(None)
                    ) -> np.ndarray:
    """Whitened waveforms (spikes, kernel_size, channels) of some spikes, all others subtracted.

    Args:
        result: ``SpikeSortingResult``.
        traces: (samples, channels), with slices of time, the recording that was sorted.
        rows: int (spikes,), ascending, which spikes of the result.
        channels: which channels of the waveforms.
    """
    kernel, starts = result.reader.kernel, start_samples(result)
    amplitudes, units, size = code_amplitudes(result), result.spike_units, len(result.reader.kernel)
    out = np.empty((len(rows), size, kernel[:, channels].shape[1]), np.float32)
    pieces = starts[rows] // PIECE_SAMPLES
    for piece in np.unique(pieces):
        low = int(piece) * PIECE_SAMPLES - size
        white = result.reader.whitening(traces, low, low + PIECE_SAMPLES + 3 * size)
        near = np.flatnonzero((starts >= low) & (starts < low + PIECE_SAMPLES + 2 * size))
        spikes = UnitSpikes(np.moveaxis(kernel, -1, 0), starts[near] - low, units[near], amplitudes[near])
        rest = residual(white, spikes)[:, channels]
        chosen = np.flatnonzero(pieces == piece)
        at = rows[chosen]
        own = np.moveaxis(kernel[:, channels][:, :, units[at]], -1, 0) * amplitudes[at, None, None].astype(np.float32)
        out[chosen] = rest[(starts[at] - low)[:, None] + np.arange(size)] + own
    return out


def spread_rows(result: Any, unit: int, most: int, pieces: int) -> np.ndarray:
    """At most ``most`` spikes of a unit, rows of the result, of at most ``pieces`` stretches spread over the recording.

    Few stretches are read, however long the recording is.
    """
    rows = np.flatnonzero(result.spike_units == unit)
    piece = start_samples(result)[rows] // PIECE_SAMPLES
    count = -(-result.recording_samples // PIECE_SAMPLES)
    if count > pieces:
        rows = rows[np.isin(piece, np.linspace(0, count - 1, pieces).astype(int))]
    return rows if len(rows) <= most else rows[np.linspace(0, len(rows) - 1, most).astype(int)]
