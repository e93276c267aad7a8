"""What a recording goes through before it is encoded: reference, filter, whitening (NumPy).

All of it is finite: a sample of the result depends on a bounded stretch of the recording. So a recording that arrives
in chunks gives the same numbers as the whole one.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from crsae_onnx.core.noise import BlankRule, holds_noise
from crsae_onnx.core.typing import Array, ArraySource, FloatArray


class Whitening:
    """Turns a recording into a signal whose noise has variance 1 and is independent over samples and channels.

    Per channel an offset is subtracted, then (optionally) the median over channels, then a finite filter is applied
    (band-pass and whitening in time), then channels are mixed (whitening in space). Samples without noise count as
    zero after the offset and have no part in the median: NaN and infinite ones, and blanks, which are stretches that
    form a straight line or stay constant (blanked around stimulation, saturated, a channel that is not connected).

    Args:
        taps: (taps, channels); output sample t is sum_j taps[j] * input[t + lead - j].
        mixing: (channels, channels); signals are multiplied by it from the right.
        offset: (channels,), in the recording's unit.
        lead: samples of the future that an output sample needs.
        common_reference: subtract the median over channels first.
        blank_samples: consecutive second differences within the tolerance that make a blank; 0: none is looked for.
        blank_tolerance: a number or (channels,), in the recording's unit: largest magnitude of a second difference in
            a blank. See ``crsae_onnx.core.noise.blank_rule``.

    Example:
        >>> import numpy as np
        >>> from crsae_onnx.core.spikes.whitening import Whitening
        >>> whitening = Whitening(np.ones((1, 2)), np.eye(2), np.zeros(2))
        >>> whitening(np.ones((5, 2)), 1, 3).tolist()
        [[1.0, 1.0], [1.0, 1.0]]
    """

    def __init__(self, taps: Any, mixing: Any, offset: Any, lead: int = 0, common_reference: bool = False,
                 blank_samples: int = 0, blank_tolerance: Any = 0.0) -> None:
        self.taps, self.mixing = np.asarray(taps, np.float64), np.asarray(mixing, np.float64)
        self.offset, self.lead = np.asarray(offset, np.float64), int(lead)
        self.common_reference = bool(common_reference)
        self.blank_samples = int(blank_samples)
        self.blank_tolerance = np.broadcast_to(np.asarray(blank_tolerance, np.float64), self.offset.shape).copy()

    @property
    def channels(self) -> int:
        """Channels of the recording."""
        return len(self.offset)

    @property
    def filter_context(self) -> tuple[int, int]:
        """(past, future): samples that the filter needs before and after an output sample."""
        return len(self.taps) - 1 - self.lead, self.lead

    @property
    def context(self) -> tuple[int, int]:
        """(past, future): samples that an output sample depends on before and after itself."""
        past, future = self.filter_context
        return past + self._blank_context, future + self._blank_context

    @property
    def _blank_context(self) -> int:
        """Samples on each side that decide whether a sample is in a blank."""
        return self.blank_samples + 1 if self.blank_samples else 0

    def __call__(self, recording: ArraySource, start: int, stop: int) -> FloatArray:
        """Samples [start, stop) of the whitened recording, float32 (stop - start, channels).

        Args:
            recording: (samples, channels), or an object with ``shape`` and time slices. Outside of it the signal is
                zero after the offset.
            start, stop: samples; they may lie outside of the recording.
        """
        past, future = self.filter_context
        values = self.subtract_reference(recording, start - past, stop + future)
        points = 1 << (len(values) + len(self.taps) - 1).bit_length()
        filtered = np.fft.irfft(np.fft.rfft(values, points, axis=0) * np.fft.rfft(self.taps, points, axis=0), points,
                                axis=0)[len(self.taps) - 1:len(self.taps) - 1 + stop - start]
        return (filtered @ self.mixing).astype(np.float32)

    def subtract_reference(self, recording: ArraySource, start: int, stop: int) -> Array:
        """Samples [start, stop) without offset and common reference, float64; zero outside and where no noise is."""
        samples = recording.shape[0]
        low, high = max(0, start), max(0, min(stop, samples))
        out = np.zeros((stop - start, self.channels))
        if high > low:
            piece, holds = self._read(recording, low, high)
            piece = piece.astype(np.float64) - self.offset
            piece[~holds] = 0
            if self.common_reference:
                piece -= _median(piece, holds)
                piece[~holds] = 0
            out[low - start:high - start] = piece
        return out

    def padded(self, recording: ArraySource, start: int, stop: int) -> FloatArray:
        """Samples [start, stop) of the recording itself, float32, for an encoder whose graph whitens.

        NaN stands outside of the recording: whitened, it is zero.
        """
        samples = recording.shape[0]
        low, high = max(0, start), max(0, min(stop, samples))
        out = np.full((stop - start, self.channels), np.nan, np.float32)
        if high > low:
            out[low - start:high - start] = np.asarray(recording[low:high], np.float32)
        return out

    def holds_noise(self, recording: ArraySource, start: int, stop: int) -> Array:
        """Boolean (stop - start, channels) of samples [start, stop) of the recording: neither missing nor in a blank.
        """
        return self._read(recording, start, stop)[1]

    def _read(self, recording: ArraySource, start: int, stop: int) -> tuple[Array, Array]:
        """(samples [start, stop), ``holds_noise`` of them)."""
        first = max(0, start - self._blank_context)
        piece = np.asarray(recording[first:min(stop + self._blank_context, recording.shape[0])])
        holds = np.stack([holds_noise(column, BlankRule(self.blank_samples, float(tolerance)))
                          for column, tolerance in zip(piece.T, self.blank_tolerance, strict=True)], axis=1)
        inside = slice(start - first, stop - first)
        return piece[inside], holds[inside]

    def state(self) -> dict[str, Any]:
        """Arrays and numbers, for ``Whitening(**state)``."""
        return {"taps": self.taps, "mixing": self.mixing, "offset": self.offset, "lead": self.lead,
                "common_reference": self.common_reference, "blank_samples": self.blank_samples,
                "blank_tolerance": self.blank_tolerance}


def _median(values: Array, holds: Array) -> Array:
    """(samples, 1): the median over the channels that hold noise; 0 where none does."""
    if holds.all():
        return np.median(values, axis=1, keepdims=True)
    count = holds.sum(axis=1, keepdims=True)
    ordered = np.sort(np.where(holds, values, np.inf), axis=1)
    middle = [np.take_along_axis(ordered, np.maximum(index, 0), axis=1) for index in ((count - 1) // 2, count // 2)]
    return np.where(count > 0, (middle[0] + middle[1]) / 2, 0)
