"""Spike sorting results in SpikeInterface's own classes, and its recordings as plain arrays.

Needs the extra ``spikes``. ``register`` puts the sorter ``"crsae"`` (``spikeinterface_sorter.py``) where
``spikeinterface.sorters.run_sorter`` finds it.
"""

import sys

import numpy as np

from keras_crsae.applications.spike_sorting.quality import snr

#: What SpikeInterface knows the sorter by.
SORTER_NAME = "crsae"


class ArrayView:
    """A SpikeInterface recording that reads like an array (samples, channels), a stretch at a time.

    Indexing takes slices of time and, if wanted, of channels: ``view[1000:2000]``, ``view[:, 0:4]``. Only what is
    asked for is read, filtered and converted. Traces are in microvolts (float32) where the recording knows its gains,
    else as they are stored.

    Args:
        recording: ``spikeinterface.BaseRecording`` of one segment.
        scaled: True: microvolts; False: stored values; None: microvolts where gains are known.

    Attributes:
        shape, ndim, dtype: of the array it stands for.
        recording, scaled: as given, ``scaled`` resolved.

    Raises:
        ValueError: something else than a recording, several segments, or microvolts without gains.

    Example:
        >>> from spikeinterface.core import NumpyRecording
        >>> view = ArrayView(NumpyRecording([np.zeros((9000, 4), np.int16)], 30000.0))
        >>> view.shape, view[:300].shape, view[:300, 1].shape
        ((9000, 4), (300, 4), (300,))
    """

    ndim = 2

    def __init__(self, recording, scaled=None):
        if not is_recording(recording):
            raise ValueError(f"ArrayView wraps a SpikeInterface recording. Received: {type(recording).__name__}")
        segments = recording.get_num_segments()
        if segments != 1:
            raise ValueError(f"The recording has {segments} segments; one continuous stretch is expected. Join them "
                             "with spikeinterface.concatenate_recordings([recording]), or sort them one by one with "
                             "recording.select_segments([i]).")
        known = bool(recording.has_scaleable_traces())
        if scaled and not known:
            raise ValueError("The recording has no gains, so that its traces cannot be given in microvolts. Call "
                             "recording.set_channel_gains and set_channel_offsets, or pass scaled=False.")
        self.recording, self.scaled = recording, known if scaled is None else bool(scaled)
        self.shape = (int(recording.get_num_samples(0)), int(recording.get_num_channels()))
        self.dtype = np.dtype(np.float32) if self.scaled else np.dtype(recording.get_dtype())

    def __len__(self):
        return self.shape[0]

    def __getitem__(self, index):
        time, channels = index if isinstance(index, tuple) and len(index) == 2 else (index, slice(None))
        if isinstance(time, int | np.integer):
            position = range(len(self))[time]
            return self[position:position + 1, channels][0]
        if not isinstance(time, slice) or (time.step or 1) < 1:
            raise IndexError("ArrayView takes a sample or a slice of time with a positive step, and channels if "
                             f"wanted. Received: {index!r}")
        start, stop, step = time.indices(len(self))
        if stop <= start:
            return np.zeros((0, self.shape[1]), self.dtype)[:, channels]
        traces = self.recording.get_traces(segment_index=0, start_frame=start, end_frame=stop,
                                           return_in_uV=self.scaled)
        return np.asarray(traces, self.dtype)[::step, channels]

    def __array__(self, dtype=None, copy=None):
        return np.asarray(self[:], dtype)


def is_recording(value):
    """True for a SpikeInterface recording; SpikeInterface is not imported where nobody did."""
    core = sys.modules.get("spikeinterface.core")
    return core is not None and isinstance(value, core.BaseRecording)


def locations(recording):
    """Positions of a SpikeInterface recording's channels, (channels, 2) in micrometres; None where it has none."""
    known = recording.has_probe() or recording.get_property("location") is not None
    return np.asarray(recording.get_channel_locations(), np.float64)[:, :2] if known else None


def best_channels(templates):
    """Index of the channel with the largest magnitude, (units,), of templates (units, time, channels)."""
    return np.abs(templates).max(axis=1).argmax(axis=1)


def as_sorting(result):
    """A result as SpikeInterface's ``NumpySorting``, one unit a template, unit ids 0 ... units - 1.

    Unit properties: ``peak_amplitude`` (the template's extremum on its best channel, with its sign, in the recording's
    unit), ``best_channel`` (index), ``num_spikes``, ``median_amplitude`` (of the spikes) and, where
    ``result.noise`` is known, ``snr`` (``quality.snr``).

    Args:
        result: of ``spike_sorting.sort``.

    Returns:
        ``spikeinterface.core.NumpySorting``.

    Example:
        >>> from types import SimpleNamespace
        >>> found = SimpleNamespace(spike_samples=np.array([30, 70, 90]), spike_units=np.array([0, 1, 0]),
        ...                         spike_amplitudes=-np.ones(3), templates=-np.ones((2, 20, 1)), noise=None,
        ...                         sampling_frequency=30000.0)
        >>> as_sorting(found).get_unit_spike_train(0).tolist()  # result.sorting does the same
        [30, 90]
    """
    from spikeinterface.core import NumpySorting

    templates = np.asarray(result.templates)
    units = np.arange(len(templates))
    samples, labels = np.asarray(result.spike_samples), np.asarray(result.spike_units)
    order = np.argsort(samples, kind="stable")
    sorting = NumpySorting.from_samples_and_labels([samples[order]], [labels[order]], float(result.sampling_frequency),
                                                   unit_ids=units)
    if not len(units):
        return sorting
    channels = best_channels(templates)
    waves = templates[units, :, channels]
    sorting.set_property("peak_amplitude", waves[units, np.abs(waves).argmax(axis=1)].astype(np.float32))
    sorting.set_property("best_channel", channels)
    sorting.set_property("num_spikes", np.bincount(labels, minlength=len(units)))
    amplitudes = np.asarray(result.spike_amplitudes, np.float32)
    sorting.set_property("median_amplitude", np.array(
        [np.median(amplitudes[labels == unit]) if (labels == unit).any() else np.nan for unit in units], np.float32))
    if result.noise is not None:
        sorting.set_property("snr", snr(templates, result.noise).astype(np.float32))
    return sorting


def as_templates(result, recording=None, *, in_uv=None):
    """The learned templates as SpikeInterface's ``Templates``.

    Args:
        result: of ``spike_sorting.sort``.
        recording: the recording that was sorted, or its probe (``probeinterface.Probe``): channel ids and positions.
        in_uv: whether the templates are in microvolts. None: they are if ``recording`` knows its gains.

    Returns:
        ``spikeinterface.core.Templates`` with the units' ids as in ``as_sorting``.

    Raises:
        ValueError: a recording or probe of another number of channels.
    """
    from spikeinterface.core import Templates

    templates = np.asarray(result.templates, np.float32)
    probe, channel_ids = recording, None
    if is_recording(recording):
        channel_ids = recording.get_channel_ids()
        probe = recording.get_probe() if recording.has_probe() else None
        in_uv = recording.has_scaleable_traces() if in_uv is None else in_uv
    count = len(channel_ids) if channel_ids is not None else None if probe is None else probe.get_contact_count()
    if count not in (None, templates.shape[2]):
        raise ValueError(f"The templates have {templates.shape[2]} channels, the recording or probe has {count}. "
                         "Give the one that was sorted.")
    return Templates(templates, sampling_frequency=float(result.sampling_frequency), nbefore=int(result.nbefore),
                     is_in_uV=bool(in_uv), channel_ids=channel_ids, unit_ids=np.arange(len(templates)), probe=probe)


def register():
    """Make ``spikeinterface.sorters.run_sorter("crsae", recording, folder=...)`` work in this process.

    SpikeInterface (0.105) has no entry points: its table of sorters is changed here. A process that it starts itself
    (``run_sorter_jobs`` with another engine than "loop", containers) does not know of it; call ``register`` there.
    Calling it again changes nothing.

    Returns:
        The sorter class.

    Example:
        >>> from spikeinterface.sorters import get_default_sorter_params
        >>> sorter = register()  # then: run_sorter("crsae", recording, folder="sorted")
        >>> get_default_sorter_params("crsae")["seed"]
        0
    """
    from spikeinterface.sorters import sorterlist

    from keras_crsae.applications.spikeinterface.sorter import CrsaeSorter

    sorterlist.sorter_dict[SORTER_NAME] = CrsaeSorter
    if CrsaeSorter not in sorterlist.sorter_full_list:
        sorterlist.sorter_full_list.append(CrsaeSorter)
    return CrsaeSorter
