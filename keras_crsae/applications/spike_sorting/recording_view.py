"""SpikeInterface recordings as arrays; SpikeInterface itself is never imported here."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from keras_crsae.data.recordings import check_segment

#: Between two segments that are joined: longer than a waveform, so that no spike reaches from one to the other.
SEGMENT_GAP_MS = 20.0


class ArrayView:
    """A SpikeInterface recording with the interface of an array (samples, channels), read a stretch at a time.

    Indexing takes slices of time and, optionally, of channels: ``view[1000:2000]``, ``view[:, 0:4]``. Only that part
    is read, filtered and converted. Traces are in microvolts (float32) where the recording has gains, otherwise as
    stored.

    Args:
        recording: ``spikeinterface.BaseRecording``.
        scaled: True: microvolts; False: stored values; None: microvolts where gains are available.
        segment: which segment, from 0; None: the only one.

    Attributes:
        shape, ndim, dtype: of the array.
        recording, scaled, segment: as given, resolved.

    Raises:
        ValueError: not a recording, several segments and none chosen, no such segment, or microvolts without gains.

    Example:
        >>> import numpy as np
        >>> from spikeinterface.core import NumpyRecording
        >>> from keras_crsae.applications.spike_sorting.recording_view import ArrayView
        >>> view = ArrayView(NumpyRecording([np.zeros((9000, 4), np.int16)], 30000.0))
        >>> view.shape, view[:300].shape, view[:300, 1].shape
        ((9000, 4), (300, 4), (300,))
    """

    ndim = 2

    def __init__(self, recording: Any, scaled: bool | None = None, segment: int | None = None) -> None:
        if not is_recording(recording):
            raise ValueError(f"ArrayView wraps a SpikeInterface recording. Received: {type(recording).__name__}")
        self.segment = check_segment(recording, segment)
        has_gains = bool(recording.has_scaleable_traces())
        if scaled and not has_gains:
            raise ValueError("The recording has no gains, so its traces cannot be converted to microvolts. Call "
                             "recording.set_channel_gains and set_channel_offsets, or pass scaled=False.")
        self.recording, self.scaled = recording, has_gains if scaled is None else bool(scaled)
        self.shape = (int(recording.get_num_samples(self.segment)), int(recording.get_num_channels()))
        self.dtype = np.dtype(np.float32) if self.scaled else np.dtype(recording.get_dtype())

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any) -> np.ndarray:
        time, channels = index if isinstance(index, tuple) and len(index) == 2 else (index, slice(None))
        if isinstance(time, int | np.integer):
            sample = range(len(self))[time]
            return self[sample:sample + 1, channels][0]
        if not isinstance(time, slice) or (time.step or 1) < 1:
            raise IndexError("ArrayView takes a sample or a slice of time with a positive step, and optionally "
                             f"channels. Received: {index!r}")
        start, stop, step = time.indices(len(self))
        if stop <= start:
            return np.zeros((0, self.shape[1]), self.dtype)[:, channels]
        return self._read(start, stop)[::step, channels]

    def _read(self, start: int, stop: int) -> np.ndarray:
        """Samples [start, stop) of all channels."""
        return np.asarray(self.recording.get_traces(segment_index=self.segment, start_frame=start, end_frame=stop,
                                                    return_in_uV=self.scaled), self.dtype)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[:], dtype)


class JoinedSegments(ArrayView):
    """The segments of a SpikeInterface recording one after another, with gaps of NaN between them.

    Args:
        recording: ``spikeinterface.BaseRecording``.
        gap_ms: length of each gap.

    Attributes:
        segments: [(start, stop)] of each segment in samples of the view.

    Example:
        >>> import numpy as np
        >>> from spikeinterface.core import NumpyRecording
        >>> from keras_crsae.applications.spike_sorting.recording_view import JoinedSegments
        >>> recording = NumpyRecording([np.zeros((9000, 4)), np.zeros((5000, 4))], 10000.0)
        >>> view = JoinedSegments(recording, gap_ms=10)
        >>> view.shape, view.segments, np.isnan(view[8999:9001, 0]).tolist()
        ((14100, 4), [(0, 9000), (9100, 14100)], [False, True])
    """

    def __init__(self, recording: Any, gap_ms: float = SEGMENT_GAP_MS) -> None:
        super().__init__(recording, segment=0)
        parts = [ArrayView(recording, self.scaled, segment) for segment in range(recording.get_num_segments())]
        gap = round(gap_ms / 1000 * recording.get_sampling_frequency())
        starts = np.cumsum([0, *(len(part) + gap for part in parts)])
        self.segments = [(int(start), int(start) + len(part)) for start, part in zip(starts, parts, strict=False)]
        self._parts = parts
        self.shape = (self.segments[-1][1], self.shape[1])
        self.dtype = np.result_type(self.dtype, np.float32)

    def _read(self, start: int, stop: int) -> np.ndarray:
        out = np.full((stop - start, self.shape[1]), np.nan, self.dtype)
        for part, (first, last) in zip(self._parts, self.segments, strict=True):
            low, high = max(start, first), min(stop, last)
            if low < high:
                out[low - start:high - start] = part[low - first:high - first]
        return out


def is_recording(value: object) -> bool:
    """True for a SpikeInterface recording. Without SpikeInterface imported there can be none."""
    core = sys.modules.get("spikeinterface.core")
    return core is not None and isinstance(value, core.BaseRecording)


def channel_locations(recording: Any) -> np.ndarray | None:
    """Positions of a SpikeInterface recording's channels, (channels, 2) in micrometres; None where it has none."""
    has_locations = recording.has_probe() or recording.get_property("location") is not None
    return np.asarray(recording.get_channel_locations(), np.float64)[:, :2] if has_locations else None
