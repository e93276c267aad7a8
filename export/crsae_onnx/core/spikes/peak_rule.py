"""Spikes as local maxima of a code: the rule that an exported graph can hold (NumPy; the graph does the same).

It is less than ``crsae_onnx.core.spikes.template_matching``, which explains the signal by whole spikes, moves them and
weighs pairs: that is a search whose steps depend on each other, and it stays in Python. See docs/onnx.md for what the
difference costs.
"""

from typing import NamedTuple

import numpy as np

from crsae_onnx.core.spikes.template_matching import POOL

#: Share of a unit's mean amplitude that a local maximum must exceed, where a ``SpikeReader`` tells the amplitudes, and
#: share of a filter's length within which one spike alone is told: similar filters share a spike's code.
SHARE, ALONE = 0.2, 1 / 6


class SpikeRule(NamedTuple):
    """What is a spike of a code."""

    threshold: np.ndarray  #: (units,), what the code, summed over +-POOL positions, must exceed
    distance: int  #: positions; of maxima of one unit nearer than that only the largest is a spike
    gain: np.ndarray  #: (units,), from that sum to the amplitude that is told
    extremum: np.ndarray  #: (units,), samples from a filter's start to the sample that is told
    alone: int = 0  #: positions; of maxima of all units nearer than that only the largest is a spike; 0: no such rule

    def find(self, code):
        """Spikes of a code.

        Args:
            code: non-negative (batch, positions, units).

        Returns:
            index int64 (spikes, 2): batch entry and sample; unit int64 (spikes,); amplitude float32 (spikes,), in order
            of batch entry, then of the filter's start.

        Example:
            >>> rule = SpikeRule(np.array([1.0]), 3, np.array([10.0]), np.array([2]))
            >>> code = np.zeros((1, 20, 1), np.float32); code[0, 7:9] = 2
            >>> [a.tolist() for a in rule.find(code)]
            [[[0, 8]], [0], [40.0]]
        """
        pooled = _slide(np.asarray(code, np.float32), POOL, POOL, 0.0).sum(-1, dtype=np.float32)
        most = _slide(pooled, self.distance, self.distance, -1.0).max(-1)
        before = _slide(pooled, self.distance, -1, -1.0).max(-1)
        found = (pooled > self.threshold) & (pooled == most) & (pooled > before)
        if self.alone:
            found &= pooled == _slide(pooled.max(-1, keepdims=True), self.alone, self.alone, -1.0).max(-1)
        batch, position, unit = np.nonzero(found)
        amplitude = pooled[batch, position, unit] * np.asarray(self.gain, np.float32)[unit]
        return np.stack([batch, position + self.extremum[unit]], axis=1), unit, amplitude


def rule_of(spikes, kernel_size, filters):
    """The rule for a ``SpikeReader``, or for a threshold or one a filter.

    Without a reader the amplitude is the code's, the sample is where the filter starts, and spikes of a unit keep half
    a filter's length; with one they are the recording's extremum and the reader's refractory time.

    Raises:
        ValueError: thresholds that are not positive, or not one a filter.

    Example:
        >>> rule_of(5.0, 45, 3).threshold.tolist()
        [5.0, 5.0, 5.0]
    """
    if hasattr(spikes, "matcher"):
        return SpikeRule(SHARE * spikes.amplitude, max(POOL + 1, spikes.matcher.refractory - 1),
                         spikes.peak / spikes.amplitude, spikes.extremum, max(1, round(ALONE * kernel_size)))
    try:
        threshold = np.broadcast_to(np.asarray(spikes, float), (filters,)).copy()
    except (TypeError, ValueError):
        threshold = np.zeros(1)
    if not (np.isfinite(threshold).all() and (threshold > 0).all()):
        raise ValueError(f"`spikes` must be a SpikeReader, or positive thresholds on the code, one or {filters}. "
                         f"Received: {spikes!r}")
    return SpikeRule(threshold, max(POOL + 1, kernel_size // 2), np.ones(filters), np.zeros(filters, np.int64))


def _slide(array, before, after, outside):
    """Windows [i - before, i + after] along axis 1, as a last axis; ``outside`` beyond the ends."""
    padded = np.pad(array, ((0, 0), (max(before, 0), max(after, 0)), (0, 0)), constant_values=outside)
    return np.lib.stride_tricks.sliding_window_view(padded, before + after + 1, axis=1)[:, :array.shape[1]]
