"""What a recording goes through before it is encoded: reference, filter, whitening (NumPy).

All of it is finite: a sample of the result depends on a bounded stretch of the recording. So a recording that arrives
in chunks gives the same numbers as the whole one.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from crsae_onnx.core.typing import Array, ArraySource, FloatArray


class Whitening:
    """Turns a recording into a signal whose noise has variance 1 and is independent over samples and channels.

    Per channel an offset is subtracted, then (optionally) the median over channels, then a finite filter is applied
    (band-pass and whitening in time), then channels are mixed (whitening in space).

    Args:
        taps: (taps, channels); output sample t is sum_j taps[j] * input[t + lead - j].
        mixing: (channels, channels); signals are multiplied by it from the right.
        offset: (channels,), in the recording's unit.
        lead: samples of the future that an output sample needs.
        common_reference: subtract the median over channels first.

    Example:
        >>> import numpy as np
        >>> from crsae_onnx.core.spikes.whitening import Whitening
        >>> whitening = Whitening(np.ones((1, 2)), np.eye(2), np.zeros(2))
        >>> whitening(np.ones((5, 2)), 1, 3).tolist()
        [[1.0, 1.0], [1.0, 1.0]]
    """

    def __init__(self, taps: Any, mixing: Any, offset: Any, lead: int = 0, common_reference: bool = False) -> None:
        self.taps, self.mixing = np.asarray(taps, np.float64), np.asarray(mixing, np.float64)
        self.offset, self.lead = np.asarray(offset, np.float64), int(lead)
        self.common_reference = bool(common_reference)

    @property
    def channels(self) -> int:
        """Channels of the recording."""
        return len(self.offset)

    @property
    def context(self) -> tuple[int, int]:
        """(past, future): samples that an output sample needs before and after itself."""
        return len(self.taps) - 1 - self.lead, self.lead

    def __call__(self, recording: ArraySource, start: int, stop: int) -> FloatArray:
        """Samples [start, stop) of the whitened recording, float32 (stop - start, channels).

        Args:
            recording: (samples, channels), or an object with ``shape`` and time slices. Outside of it the signal is
                zero after the offset. NaN samples, as in gaps, count as zero too.
            start, stop: samples; they may lie outside of the recording.
        """
        past, future = self.context
        values = self.subtract_reference(recording, start - past, stop + future)
        points = 1 << (len(values) + len(self.taps) - 1).bit_length()
        filtered = np.fft.irfft(np.fft.rfft(values, points, axis=0) * np.fft.rfft(self.taps, points, axis=0), points,
                                axis=0)[len(self.taps) - 1:len(self.taps) - 1 + stop - start]
        return (filtered @ self.mixing).astype(np.float32)

    def subtract_reference(self, recording: ArraySource, start: int, stop: int) -> Array:
        """Samples [start, stop) of the recording without offset and common reference, float64; zero outside."""
        samples = recording.shape[0]
        low, high = max(0, start), max(0, min(stop, samples))
        out = np.zeros((stop - start, self.channels))
        if high > low:
            piece = np.asarray(recording[low:high], np.float64) - self.offset
            piece[~np.isfinite(piece)] = 0
            if self.common_reference:
                piece -= np.median(piece, axis=1, keepdims=True)
            out[low - start:high - start] = piece
        return out

    def padded(self, recording: ArraySource, start: int, stop: int) -> FloatArray:
        """Samples [start, stop) of the recording itself, float32, for an encoder whose graph whitens.

        The offset stands outside of the recording and in place of NaN: whitened, it is zero.
        """
        samples = recording.shape[0]
        low, high = max(0, start), max(0, min(stop, samples))
        out = np.tile(self.offset, (stop - start, 1))
        if high > low:
            piece = np.asarray(recording[low:high], np.float64)
            out[low - start:high - start] = np.where(np.isfinite(piece), piece, self.offset)
        return out.astype(np.float32)

    def state(self) -> dict[str, Any]:
        """Arrays and numbers, for ``Whitening(**state)``."""
        return {"taps": self.taps, "mixing": self.mixing, "offset": self.offset, "lead": self.lead,
                "common_reference": self.common_reference}
