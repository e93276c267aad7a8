"""Spikes as local maxima of a code: the rule that an exported graph can hold (NumPy; the graph does the same).

It is less than ``crsae_onnx.core.spikes.template_matching``, which explains the signal by whole spikes, moves them and
compares pairs: that is a search whose steps depend on each other, and it stays in Python. See docs/onnx.md for what the
difference costs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from crsae_onnx.core.spikes.correlations import POOL_RADIUS
from crsae_onnx.core.typing import Array, FloatArray, IntArray

if TYPE_CHECKING:
    from crsae_onnx.core.spikes.detector import SpikeReader

#: Fraction of a unit's mean amplitude that a local maximum must exceed, where a ``SpikeReader`` gives the amplitudes.
MIN_PEAK_FRACTION = 0.2
#: Fraction of a filter's length within which only one spike of all units is reported: similar filters share its code.
EXCLUSION_FRACTION = 1 / 6
#: A single code gives equal sums at all positions whose window holds it. With this weight the sums over shorter windows
#: are added, so that the largest is at the code itself, and not at the first of these positions.
CENTRE_WEIGHT = 2.0**-10


class PeakRule(NamedTuple):
    """Which local maxima of a code are spikes."""

    min_peak: Array  #: (units,), what the code, summed over +-POOL_RADIUS positions, must exceed
    min_distance: int  #: positions; of maxima of one unit nearer than that only the largest is a spike
    gain: Array  #: (units,), from that sum to the peak value that is reported
    peak_offset: IntArray  #: (units,), samples from a filter's start to the sample that is reported
    exclusion: int = 0  #: positions; the same of maxima of all units; 0: no such rule

    @property
    def reach(self) -> int:
        """Positions on each side whose sums are compared; a code is in the sums of its neighbours, too."""
        return max(1, int(self.min_distance) - POOL_RADIUS)

    def find(self, code: Array) -> tuple[IntArray, IntArray, FloatArray]:
        """Spikes of a code.

        Args:
            code: non-negative (batch, positions, units).

        Returns:
            index int64 (spikes, 2): batch entry and sample; unit int64 (spikes,); peak value float32 (spikes,), in
            order of batch entry, then of the filter's start.

        Example:
            >>> import numpy as np
            >>> from crsae_onnx.core.spikes.peak_rule import PeakRule
            >>> rule = PeakRule(np.array([1.0]), 3, np.array([10.0]), np.array([2]))
            >>> code = np.zeros((1, 20, 1), np.float32); code[0, 7:9] = 2
            >>> [a.tolist() for a in rule.find(code)]
            [[[0, 9]], [0], [40.0]]
        """
        sums = [_windows(np.asarray(code, np.float32), radius, radius, 0.0).sum(-1, dtype=np.float32)
                for radius in range(POOL_RADIUS + 1)]
        pooled, centred = sums[-1], sums[-1] + np.float32(CENTRE_WEIGHT) * sum(sums[:-1])
        largest = _windows(centred, self.reach, self.reach, -1.0).max(-1)
        before = _windows(centred, self.reach, -1, -1.0).max(-1)
        spike = (pooled > self.min_peak) & (centred == largest) & (centred > before)
        if self.exclusion:
            of_all = centred.max(-1, keepdims=True)
            spike &= centred == _windows(of_all, self.exclusion, self.exclusion, -1.0).max(-1)
        batch, position, unit = np.nonzero(spike)
        peak = pooled[batch, position, unit] * np.asarray(self.gain, np.float32)[unit]
        return np.stack([batch, position + self.peak_offset[unit]], axis=1), unit, peak


def peak_rule(spikes: SpikeReader | Any, kernel_size: int, filters: int) -> PeakRule:
    """The rule for a ``SpikeReader``, or for the code that a spike must pass.

    Without a reader the reported value is the code's, the sample is where the filter starts, and spikes of a unit keep
    half a filter's length; with one they are the recording's extremum and the reader's refractory time.

    Args:
        spikes: ``SpikeReader``, or the smallest peak of a spike, a number or one a filter.
        kernel_size, filters: of the encoder.

    Raises:
        ValueError: peaks that are not positive, or not one a filter.

    Example:
        >>> from crsae_onnx.core.spikes.peak_rule import peak_rule
        >>> peak_rule(5.0, 45, 3).min_peak.tolist()
        [5.0, 5.0, 5.0]
    """
    if hasattr(spikes, "matcher"):
        return PeakRule(MIN_PEAK_FRACTION * spikes.mean_amplitude, max(POOL_RADIUS + 1, spikes.matcher.refractory - 1),
                        spikes.peak_value / spikes.mean_amplitude, spikes.peak_offset,
                        max(1, round(EXCLUSION_FRACTION * kernel_size)))
    try:
        min_peak = np.broadcast_to(np.asarray(spikes, float), (filters,)).copy()
    except (TypeError, ValueError):
        min_peak = np.zeros(1)
    if not (np.isfinite(min_peak).all() and (min_peak > 0).all()):
        raise ValueError(f"`spikes` must be a SpikeReader, or the smallest peak of a spike in the code, a positive "
                         f"number or {filters} of them. Received: {spikes!r}")
    return PeakRule(min_peak, max(POOL_RADIUS + 1, kernel_size // 2), np.ones(filters), np.zeros(filters, np.int64))


def _windows(array: Array, before: int, after: int, outside: float) -> Array:
    """Windows [i - before, i + after] along axis 1, as a last axis; ``outside`` beyond the ends."""
    padded = np.pad(array, ((0, 0), (max(before, 0), max(after, 0)), (0, 0)), constant_values=outside)
    return np.lib.stride_tricks.sliding_window_view(padded, before + after + 1, axis=1)[:, :array.shape[1]]
