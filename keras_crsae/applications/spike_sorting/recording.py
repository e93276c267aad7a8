"""Recordings at the door: layout, gaps, dead and saturated channels, and the stretches to learn from."""

import numpy as np

from keras_crsae.applications.spike_sorting.noise import LOUD, channel_noise
from keras_crsae.applications.spikeinterface.convert import ArrayView, is_recording, locations

#: Share of samples at one extreme value that calls a channel saturated.
SATURATED = 0.01
#: Candidates of stretches that are looked at in a long recording.
_CANDIDATES = 240


def as_recording(recording, sampling_frequency=None, channel_locations=None):
    """(traces, sampling frequency, locations): an object with shape (samples, channels) and time slices.

    Args:
        recording: array-like with ``shape`` and slices, (samples, channels) or (samples,); or a SpikeInterface
            recording.
        sampling_frequency: Hz; None: the SpikeInterface recording's.
        channel_locations: (channels, 2) or None.

    Raises:
        ValueError: another layout or dtype, no sampling frequency, or one that contradicts the recording's.
    """
    if is_recording(recording):
        own = float(recording.get_sampling_frequency())
        if sampling_frequency is not None and not np.isclose(own, sampling_frequency):
            raise ValueError(f"The recording has a sampling frequency of {own:g} Hz. Received: "
                             f"sampling_frequency={sampling_frequency!r}. Leave it out.")
        return (ArrayView(recording), own,
                _locations(locations(recording) if channel_locations is None else channel_locations,
                           recording.get_num_channels()))
    if not hasattr(recording, "shape") or not hasattr(recording, "__getitem__"):
        try:
            recording = np.asarray(recording)
        except (TypeError, ValueError) as error:
            raise ValueError("`recording` must be an array (samples, channels) or a SpikeInterface recording. "
                             f"Received: {type(recording).__name__}.") from error
    dtype = getattr(recording, "dtype", None)
    if dtype is not None and np.dtype(dtype).kind not in "fiu":
        raise ValueError(f"`recording` must hold real numbers. Received: dtype {dtype}.")
    if len(recording.shape) == 1:
        recording = _Column(recording)
    if len(recording.shape) != 2 or 0 in recording.shape:
        raise ValueError("`recording` must have shape (samples, channels) or (samples,), not empty. "
                         f"Received: shape {tuple(recording.shape)}.")
    samples, channels = recording.shape
    if channels > samples:
        raise ValueError(f"`recording` has {channels} channels and only {samples} samples. Expected (samples, "
                         "channels): transpose it.")
    if sampling_frequency is None:
        raise ValueError("`sampling_frequency` (Hz) is needed for an array. Give it, for example "
                         "sampling_frequency=30000.")
    try:
        frequency = float(sampling_frequency)
    except (TypeError, ValueError):
        frequency = float("nan")
    if not 1000 <= frequency <= 1e6:
        raise ValueError("`sampling_frequency` must be in Hz, from 1,000 to 1,000,000. Received: "
                         f"{sampling_frequency!r}.")
    return recording, frequency, _locations(channel_locations, channels)


class _Column:
    """A one-dimensional recording as one channel."""

    def __init__(self, values):
        self.values, self.shape, self.dtype = values, (values.shape[0], 1), getattr(values, "dtype", None)

    def __getitem__(self, index):
        return np.asarray(self.values[index])[:, None]


def _locations(locations, channels):
    if locations is None:
        return None
    locations = np.asarray(locations, np.float64)
    if locations.ndim != 2 or len(locations) != channels or locations.shape[1] not in (2, 3):
        raise ValueError(f"`channel_locations` must have shape ({channels}, 2), micrometres. Received: shape "
                         f"{locations.shape}.")
    return locations[:, :2]


def learning_stretches(traces, most, length):
    """[(start, stop)] in samples: the whole recording, or its active stretches, ``most`` samples together.

    Of a long recording evenly spread stretches of ``length`` samples are read; those with the most samples beyond
    four noise standard deviations are taken, the wildest twentieth (artefacts) apart.
    """
    samples = traces.shape[0]
    if samples <= most:
        return [(0, samples)]
    length = min(length, most)
    starts = np.unique(np.linspace(0, samples - length, min(_CANDIDATES, samples // length)).astype(np.int64))
    activity = np.empty(len(starts))
    for i, start in enumerate(starts):
        piece = np.asarray(traces[start:start + length], np.float32)
        piece = np.where(np.isfinite(piece), piece, 0)
        centre = np.median(piece, axis=0)
        noise = channel_noise(piece)
        activity[i] = (np.abs(piece - centre) > LOUD * np.where(noise > 0, noise, np.inf)).any(axis=1).mean()
    wild = activity > np.quantile(activity, 0.95)
    order = np.lexsort((-activity, wild & (activity > 5 * np.median(activity))))
    chosen = np.sort(starts[order[:max(1, most // length)]])
    return [(int(s), int(s) + length) for s in chosen]


def inspect(traces, stretches):
    """(offset (channels,), messages) of a recording; gaps, dead and saturated channels are told.

    Raises:
        ValueError: every channel is constant.
    """
    piece = np.concatenate([np.asarray(traces[low:high], np.float64) for low, high in stretches])
    messages = []
    finite = np.isfinite(piece)
    if not finite.all():
        share = 1 - finite.mean()
        messages.append(f"{share:.2%} of the samples looked at are NaN or infinite: they count as zero, and no spikes "
                        "are found in them.")
        piece[~finite] = np.nan
        if not finite.any(axis=0).all():
            piece[:, ~finite.any(axis=0)] = 0
        offset = np.nanmedian(piece, axis=0)
        piece = np.where(finite, piece, offset)
    else:
        offset = np.median(piece, axis=0)
    dead = np.flatnonzero(np.median(np.abs(piece - offset), axis=0) == 0)
    if len(dead) == piece.shape[1]:
        raise ValueError("Every channel of the recording is constant, or nearly so: there is no noise to measure "
                         "spikes against. Look at the file, its dtype and its layout.")
    if len(dead):
        messages.append(f"channels {dead.tolist()} are constant for most samples: they are left out.")
    for c in np.setdiff1d(np.arange(piece.shape[1]), dead):
        share = max((piece[:, c] == piece[:, c].max()).mean(), (piece[:, c] == piece[:, c].min()).mean())
        if share > SATURATED:
            messages.append(f"channel {c} stands at one extreme value in {share:.1%} of the samples: it looks "
                            "saturated.")
    return offset, messages
