"""Check a recording and give it one interface."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from crsae_onnx.core.layout_hints import recording_hint
from crsae_onnx.core.raw_checks import LARGEST_MAGNITUDE, SMALLEST_MAGNITUDE, holds_no_recording
from crsae_onnx.core.signals import ConvertedArray, is_masked, refuse_other_containers
from crsae_onnx.core.spikes.detector import Spikes

from keras_crsae.applications.spike_sorting.noise import band_pass
from keras_crsae.applications.spike_sorting.parameters import DEFAULTS, SortingParameters
from keras_crsae.applications.spike_sorting.recording_view import (
    SEGMENT_GAP_MS,
    ArrayView,
    JoinedSegments,
    channel_locations,
    is_recording,
)

#: Stretches whose levels are looked at, and values of each.
_LEVEL_STRETCHES, _LEVEL_VALUES = 4, 2**14


class Recording(NamedTuple):
    """A recording as sorting reads it."""

    traces: Any  #: shape (samples, channels), with slices of time
    sampling_frequency: float  #: Hz
    channel_locations: np.ndarray | None  #: (channels, 2), micrometres

    @property
    def segments(self) -> list[tuple[int, int]]:
        """[(start, stop)] of each segment, in samples of ``traces``."""
        return getattr(self.traces, "segments", [(0, self.traces.shape[0])])


def as_recording(recording: Any, sampling_frequency: float | None = None, locations: Any = None) -> Recording:
    """Check a recording and give it one interface.

    Args:
        recording: array-like with ``shape`` and slices, (samples, channels) or (samples,); or a SpikeInterface
            recording, whose segments are joined with gaps between them. Values that are masked in a NumPy masked array
            are gaps, as NaN are.
        sampling_frequency: Hz; None: the SpikeInterface recording's.
        locations: (channels, 2) or None: the SpikeInterface recording's.

    Raises:
        ValueError: another layout or dtype, no sampling frequency, or one that contradicts the recording's; values of
            magnitudes that no recording has.

    Example:
        >>> import numpy as np
        >>> from keras_crsae.applications.spike_sorting.recording import as_recording
        >>> as_recording(np.zeros(60000, np.int16), sampling_frequency=30000).traces.shape
        (60000, 1)
    """
    if is_recording(recording):
        frequency = float(recording.get_sampling_frequency())
        if sampling_frequency is not None and not np.isclose(frequency, sampling_frequency):
            raise ValueError(f"The recording has a sampling frequency of {frequency:g} Hz. Omit `sampling_frequency`. "
                             f"Received: sampling_frequency={sampling_frequency!r}.")
        view = JoinedSegments(recording) if recording.get_num_segments() > 1 else ArrayView(recording)
        _check_levels(view)
        return Recording(view, frequency, _check_locations(
            channel_locations(recording) if locations is None else locations, view.shape[1]))
    traces = _as_traces(recording)
    _check_levels(traces)
    return Recording(traces, _check_frequency(sampling_frequency), _check_locations(locations, traces.shape[1]))


def _as_traces(recording: Any) -> Any:
    if is_masked(recording):
        recording = _masked_as_gaps(np.ma.stack(recording) if isinstance(recording, list | tuple) else recording)
    refuse_other_containers(recording, "recording")
    if hasattr(recording, "columns") and hasattr(recording, "to_numpy"):
        recording = recording.to_numpy()  # a data frame's slices are no arrays
    if not hasattr(recording, "shape") or not hasattr(recording, "__getitem__"):
        try:
            recording = np.asarray(recording)
        except (TypeError, ValueError) as error:
            raise ValueError("`recording` must be an array (samples, channels) or a SpikeInterface recording. "
                             f"Received: {type(recording).__name__}.") from error
    dtype = getattr(recording, "dtype", None)
    if dtype is not None and not isinstance(dtype, np.dtype | type | str):  # a tensor of another library
        recording = np.asarray(recording)
        dtype = recording.dtype
    if dtype is not None and np.dtype(dtype).kind not in "fiu":
        raise ValueError(f"`recording` must hold real numbers. Received: dtype {dtype}.")
    if len(recording.shape) == 1:
        recording = _Column(recording)
    if len(recording.shape) != 2 or 0 in recording.shape:
        raise ValueError("`recording` must have shape (samples, channels) or (samples,), not empty. Received: shape "
                         f"{tuple(recording.shape)}. {recording_hint(recording, None, 1, 'recording')}".rstrip())
    samples, channels = recording.shape
    if channels > samples:
        raise ValueError(f"`recording` has {channels} channels and only {samples} samples. Expected (samples, "
                         f"channels): transpose it. {recording_hint(recording, None, 1, 'recording')}".rstrip())
    return recording


def _masked_as_gaps(recording: np.ma.MaskedArray) -> ConvertedArray:
    """A masked recording as floats with NaN where it is masked, read by stretches: a memory map stays on the disk."""
    dtype = np.result_type(recording.dtype, np.float32)
    return ConvertedArray(recording, lambda piece: np.ma.filled(piece.astype(dtype), np.nan), dtype)


def _check_frequency(sampling_frequency: Any) -> float:
    if sampling_frequency is None:
        raise ValueError("`sampling_frequency` (Hz) is needed for an array. Give it, for example "
                         "sampling_frequency=30000.")
    try:
        frequency = float(sampling_frequency)
    except (TypeError, ValueError):
        frequency = float("nan")
    if not 1000 <= frequency <= 1e6:
        hint = f" If that is in kHz, give {1000 * frequency:g}." if 1 <= frequency < 1000 else ""
        raise ValueError("`sampling_frequency` must be in Hz, from 1,000 to 1,000,000. Received: "
                         f"{sampling_frequency!r}.{hint}")
    return frequency


def _check_levels(traces: Any) -> None:
    """Refuse floats of magnitudes that no recording has; a few stretches are read."""
    samples, channels = traces.shape
    dtype = getattr(traces, "dtype", None)
    if dtype not in (np.float32, np.float64):
        return
    length = max(1, min(samples, _LEVEL_VALUES // channels))
    starts = np.unique(np.linspace(0, samples - length, _LEVEL_STRETCHES).astype(np.int64))
    if holds_no_recording([np.asarray(traces[start:start + length]).ravel() for start in starts]):
        raise ValueError(f"`recording` holds values that no recording has: many below {SMALLEST_MAGNITUDE:g} or above "
                         f"{LARGEST_MAGNITUDE:g}. It was probably read from a file as the wrong type. Expected {dtype} "
                         "samples in any usual unit.")


def check_options(recording: Recording, band: Sequence[float] | None = None, common_reference: bool = False,
                  parameters: SortingParameters = DEFAULTS) -> np.ndarray | None:
    """Check the options of ``sort`` against the recording, before any work.

    Args:
        recording: as ``as_recording`` gives it.
        band, common_reference, parameters: of ``sort``.

    Returns:
        Taps of the band-pass filter, or None.

    Raises:
        ValueError: too short a recording, an edge beyond half the sampling frequency, a reference of one channel.

    Example:
        >>> import numpy as np
        >>> from keras_crsae.applications.spike_sorting.recording import as_recording, check_options
        >>> recording = as_recording(np.zeros(60000, np.int16), sampling_frequency=30000)
        >>> check_options(recording, band=(300, 6000)).shape
        (151,)
    """
    if not isinstance(parameters, SortingParameters):
        raise ValueError("`parameters` must be a SortingParameters. Received: "
                         f"{type(parameters).__name__}. A dict becomes one by SortingParameters.from_dict.")
    samples, frequency = recording.traces.shape[0], recording.sampling_frequency
    if samples < parameters.minimum_recording_seconds * frequency:
        raise ValueError(f"The recording has {samples} samples, {samples / frequency:.3g} s at {frequency:g} Hz. "
                         f"Sorting needs at least {parameters.minimum_recording_seconds:g} s, since spikes must "
                         "repeat.")
    if common_reference and recording.traces.shape[1] == 1:
        raise ValueError("The common reference is the median over channels, and the recording has one channel: nothing "
                         "would remain. Omit it.")
    return None if band is None else band_pass(band, frequency, parameters.band_pass_periods)


class _Column:
    """A one-dimensional recording as one channel."""

    def __init__(self, values: Any) -> None:
        self.values, self.shape, self.dtype = values, (values.shape[0], 1), getattr(values, "dtype", None)

    def __getitem__(self, index: Any) -> np.ndarray:
        return np.asarray(self.values[index])[:, None]


def _check_locations(locations: Any, channels: int) -> np.ndarray | None:
    if locations is None:
        return None
    locations = np.asarray(locations, np.float64)
    if locations.ndim != 2 or len(locations) != channels or locations.shape[1] not in (2, 3):
        raise ValueError(f"`channel_locations` must have shape ({channels}, 2), micrometres. Received: shape "
                         f"{locations.shape}.")
    return locations[:, :2]


def inside_segments(spikes: Spikes, segments: list[tuple[int, int]]) -> Spikes:
    """The spikes whose extremum lies in one of the segments [start, stop), not in a gap between two.

    Example:
        >>> import numpy as np
        >>> from crsae_onnx.core.spikes.detector import Spikes
        >>> from keras_crsae.applications.spike_sorting.recording import inside_segments
        >>> spikes = Spikes(np.array([5, 9, 12]), np.zeros(3, int), np.ones(3))
        >>> inside_segments(spikes, [(0, 9), (12, 20)]).peak_sample.tolist()
        [5, 12]
    """
    if len(segments) == 1:
        return spikes
    starts, stops = np.array(segments).T
    segment = np.searchsorted(starts, spikes.peak_sample, side="right") - 1
    inside = spikes.peak_sample < stops[segment]
    return Spikes(spikes.peak_sample[inside], spikes.unit_id[inside], spikes.peak_value[inside])


def segment_message(segments: list[tuple[int, int]]) -> list[str]:
    """A sentence on segments that were sorted together; none for one."""
    return [] if len(segments) == 1 else [
        f"{len(segments)} segments were sorted together, with {SEGMENT_GAP_MS:g} ms between two that count as missing."]
