"""What a recording goes through before it is encoded: reference, filter, whitening (NumPy).

All of it is finite: a sample of the result depends on a bounded stretch of the recording. So a recording that arrives
in chunks gives the same numbers as the whole one.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from crsae_onnx.core.noise import channels_hold_noise
from crsae_onnx.core.typing import Array, ArraySource, FloatArray

#: Longer filters are applied by Fourier transforms.
_DIRECT_TAPS = 32
#: Values that are filtered together, few enough for the cache, and samples at least.
_PIECE_VALUES, _PIECE_SAMPLES = 1 << 17, 1 << 12


class Whitening:
    """Turns a recording into a signal whose noise has variance 1 and is independent over samples and channels.

    Per channel an offset is subtracted, then (optionally) the median over channels, then a finite filter is applied
    (band-pass and whitening in time), then channels are mixed (whitening in space). Samples without noise count as
    zero after the offset and have no part in the median: NaN and infinite ones, and blanks, which are stretches that
    form a straight line or stay constant (blanked around stimulation, saturated, a channel that is not connected).
    Before a band-pass filter they are bridged instead, since it would ring where a drifting signal stops: a short gap
    by a straight line, a long one by a smooth fall to zero from each side.

    Args:
        taps: (taps, channels); output sample t is sum_j taps[j] * input[t + lead - j].
        mixing: (channels, channels); signals are multiplied by it from the right.
        offset: (channels,), in the recording's unit.
        lead: samples of the future that an output sample needs.
        common_reference: subtract the median over channels first.
        blank_samples: consecutive second differences within the tolerance that make a blank; 0: none is looked for.
        blank_tolerance: a number or (channels,), in the recording's unit: largest magnitude of a second difference in
            a blank. See ``crsae_onnx.core.noise.blank_rule``.
        fall_samples: length of the fall to zero of what bridges a gap; shorter gaps than twice that get a straight
            line; 0: gaps are zero.

    Example:
        >>> import numpy as np
        >>> from crsae_onnx.core.spikes.whitening import Whitening
        >>> whitening = Whitening(np.ones((1, 2)), np.eye(2), np.zeros(2))
        >>> whitening(np.ones((5, 2)), 1, 3).tolist()
        [[1.0, 1.0], [1.0, 1.0]]
    """

    def __init__(self, taps: Any, mixing: Any, offset: Any, lead: int = 0, common_reference: bool = False,
                 blank_samples: int = 0, blank_tolerance: Any = 0.0, fall_samples: int = 0) -> None:
        self.taps, self.mixing = np.asarray(taps, np.float64), np.asarray(mixing, np.float64)
        self.offset, self.lead = np.asarray(offset, np.float64), int(lead)
        self.common_reference = bool(common_reference)
        self.blank_samples, self.fall_samples = int(blank_samples), int(fall_samples)
        self._mixes = not np.array_equal(self.mixing, np.eye(len(self.mixing)))
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
        around = self._blank_context + 2 * self.fall_samples
        return past + around, future + around

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
        out = np.empty((max(0, stop - start), self.channels), np.float32)
        piece = max(_PIECE_SAMPLES, _PIECE_VALUES // self.channels)
        for low in range(start, stop, piece):  # memory does not grow with the recording
            high = min(low + piece, stop)
            out[low - start:high - start] = self._filter(recording, low, high)
        return out

    def _filter(self, recording: ArraySource, start: int, stop: int) -> Array:
        """Samples [start, stop) of the whitened recording, float64."""
        past, future = self.filter_context
        values, taps = self.subtract_reference(recording, start - past, stop + future), len(self.taps)
        if taps <= _DIRECT_TAPS:
            filtered = values[taps - 1:] * self.taps[0]
            for j in range(1, taps):
                filtered += values[taps - 1 - j:len(values) - j] * self.taps[j]
        else:
            points = 1 << (len(values) + taps - 1).bit_length()
            spectrum = np.fft.rfft(values, points, axis=0) * np.fft.rfft(self.taps, points, axis=0)
            filtered = np.fft.irfft(spectrum, points, axis=0)[taps - 1:taps - 1 + stop - start]
        return filtered @ self.mixing if self._mixes else filtered

    def subtract_reference(self, recording: ArraySource, start: int, stop: int) -> Array:
        """Samples [start, stop) without offset and common reference, float64; zero outside, gaps zero or bridged."""
        samples = recording.shape[0]
        low, high = max(0, start), max(0, min(stop, samples))
        out = np.zeros((stop - start, self.channels))
        if high > low:
            first = max(0, low - 2 * self.fall_samples)
            piece, holds = self._read(recording, first, min(samples, high + 2 * self.fall_samples))
            infinite = np.isinf(piece)
            piece = piece.astype(np.float64) - self.offset
            piece[~holds] = 0
            if self.common_reference:
                piece -= _median(piece, holds)
                piece[~holds] = 0
            if self.fall_samples and not holds.all():
                piece = np.where(holds | infinite, piece, _bridged(piece, holds, self.fall_samples))
            out[low - start:high - start] = piece[low - first:high - first]
        return out

    def padded(self, recording: ArraySource, start: int, stop: int) -> FloatArray:
        """Samples [start, stop) of the recording itself, float32, for an encoder whose graph whitens.

        Infinity stands outside of the recording: whitened, it is zero, and not bridged.
        """
        samples = recording.shape[0]
        low, high = max(0, start), max(0, min(stop, samples))
        out = np.full((stop - start, self.channels), np.inf, np.float32)
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
        holds = channels_hold_noise(piece, self.blank_samples, self.blank_tolerance)
        inside = slice(start - first, stop - first)
        return piece[inside], holds[inside]

    def state(self) -> dict[str, Any]:
        """Arrays and numbers, for ``Whitening(**state)``."""
        return {"taps": self.taps, "mixing": self.mixing, "offset": self.offset, "lead": self.lead,
                "common_reference": self.common_reference, "blank_samples": self.blank_samples,
                "blank_tolerance": self.blank_tolerance, "fall_samples": self.fall_samples}


def _median(values: Array, holds: Array) -> Array:
    """(samples, 1): the median over the channels that hold noise; 0 where none does."""
    if holds.all():
        return np.median(values, axis=1, keepdims=True)
    count = holds.sum(axis=1, keepdims=True)
    ordered = np.sort(np.where(holds, values, np.inf), axis=1)
    middle = [np.take_along_axis(ordered, np.maximum(index, 0), axis=1) for index in ((count - 1) // 2, count // 2)]
    return np.where(count > 0, (middle[0] + middle[1]) / 2, 0)


def _bridged(values: Array, holds: Array, fall: int) -> Array:
    """(samples, channels): samples that fill the gaps of ``values``, continued from those before and after.

    In a gap of less than ``2 fall`` samples the straight line between both; otherwise, at a distance d below ``fall``
    from one of them, that value times cos^2(pi d / (2 fall)).
    """
    time = np.arange(len(values), dtype=np.float64)[:, None]
    last = np.maximum.accumulate(np.where(holds, time, -np.inf), axis=0)
    following = np.minimum.accumulate(np.where(holds, time, np.inf)[::-1], axis=0)[::-1]
    before, after = time - last, following - time
    sides = [np.take_along_axis(values, np.clip(np.where(np.isfinite(index), index, 0), 0, len(values) - 1).astype(int),
                                axis=0) for index in (last, following)]
    short = before + after <= 2 * fall
    gap = np.where(short, np.maximum(before + after, 1), 1)
    line = (np.where(short, after, 0) * sides[0] + np.where(short, before, 0) * sides[1]) / gap
    weights = [np.where(distance < fall, np.cos(np.pi / 2 * np.minimum(distance, fall) / fall) ** 2, 0)
               for distance in (before, after)]
    return np.where(short, line, weights[0] * sides[0] + weights[1] * sides[1])
