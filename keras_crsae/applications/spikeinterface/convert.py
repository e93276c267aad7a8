"""Spike sorting results in SpikeInterface's classes. Needs the extra ``spikes``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from keras_crsae.applications.spike_sorting.quality import snr
from keras_crsae.applications.spike_sorting.recording_view import is_recording

if TYPE_CHECKING:
    from spikeinterface.core import NumpySorting, Templates


def best_channels(templates: np.ndarray) -> np.ndarray:
    """Index of the channel with the largest magnitude, (units,), of templates (units, time, channels)."""
    return np.abs(templates).max(axis=1).argmax(axis=1)


def as_sorting(result: Any, recording: Any = None) -> NumpySorting:
    """A result as SpikeInterface's ``NumpySorting``, one unit a template, unit ids 0 ... num_units - 1.

    It has the segments of the recording, each with samples counted from its own start.

    Unit properties: ``peak_amplitude`` (the template's extremum on its best channel, with its sign, in the recording's
    unit), ``best_channel`` (index), ``num_spikes``, ``median_amplitude`` (of the spikes) and, where ``result.noise``
    is given, ``snr`` (``quality.snr``); with ``recording`` also ``main_channel_id``, from which SpikeInterface knows
    the best channel without looking for it.

    Args:
        result: of ``spike_sorting.sort``.
        recording: the SpikeInterface recording that was sorted, for its channel ids; None: without them.

    Example:
        >>> from types import SimpleNamespace
        >>> import numpy as np
        >>> from keras_crsae.applications.spikeinterface import as_sorting
        >>> result = SimpleNamespace(spike_samples=np.array([30, 70, 90]), spike_units=np.array([0, 1, 0]),
        ...                          spike_amplitudes=-np.ones(3), templates=-np.ones((2, 20, 1)), noise=None,
        ...                          sampling_frequency=30000.0)
        >>> as_sorting(result).get_unit_spike_train(0).tolist()  # result.sorting does the same
        [30, 90]
    """
    templates = np.asarray(result.templates)
    units = np.arange(len(templates))
    labels = np.asarray(result.spike_units)
    sorting = _numpy_sorting(*_of_segments(result), float(result.sampling_frequency), units)
    if recording is not None:
        ids = np.asarray(recording.channel_ids)
        sorting.set_property("main_channel_id", ids[best_channels(templates)] if len(units) else ids[:0])
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


def _numpy_sorting(samples: list[np.ndarray], labels: list[np.ndarray], frequency: float, units: np.ndarray
                   ) -> NumpySorting:
    """``NumpySorting.from_samples_and_labels``, which itself leaves out segments without spikes at the end."""
    from spikeinterface.core import NumpySorting, SpikeVectorSortingSegment

    sorting = NumpySorting.from_samples_and_labels(samples, labels, frequency, unit_ids=units)
    spikes = sorting.to_spike_vector()
    for segment in range(sorting.get_num_segments(), len(samples)):
        sorting.add_sorting_segment(SpikeVectorSortingSegment(spikes, segment, units))
    return sorting


def _of_segments(result: Any) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """(samples, units) of the spikes of each segment, in order of time."""
    samples, labels = np.asarray(result.spike_samples), np.asarray(result.spike_units)
    order = np.argsort(samples, kind="stable")
    samples, labels = samples[order], labels[order]
    segments = getattr(result, "segments", None)
    if segments is None:
        return [samples], [labels]
    borders = [np.searchsorted(samples, border) for border in segments]
    return ([samples[low:high] - start for (start, _), (low, high) in zip(segments, borders, strict=True)],
            [labels[low:high] for low, high in borders])


def empty_sorting(recording: Any) -> NumpySorting:
    """A sorting of a SpikeInterface recording without units, with the properties that ``as_sorting`` gives, so that it
    joins others.

    Example:
        >>> import numpy as np
        >>> from spikeinterface.core import NumpyRecording
        >>> from keras_crsae.applications.spikeinterface.convert import empty_sorting
        >>> empty_sorting(NumpyRecording([np.zeros((9000, 4))], 30000.0)).get_num_units()
        0
    """
    nothing, segments = np.zeros(0, np.int64), recording.get_num_segments()
    sorting = _numpy_sorting([nothing] * segments, [nothing] * segments, float(recording.get_sampling_frequency()),
                             nothing)
    sorting.set_property("main_channel_id", np.asarray(recording.channel_ids)[:0])
    for name in ("peak_amplitude", "median_amplitude", "snr"):
        sorting.set_property(name, np.zeros(0, np.float32))
    for name in ("best_channel", "num_spikes"):
        sorting.set_property(name, nothing)
    return sorting


def as_templates(result: Any, recording: Any = None, *, in_uv: bool | None = None) -> Templates:
    """The learned templates as SpikeInterface's ``Templates``.

    Args:
        result: of ``spike_sorting.sort``.
        recording: the recording that was sorted, or its probe (``probeinterface.Probe``), for channel ids and
            positions.
        in_uv: whether the templates are in microvolts. None: they are if ``recording`` has gains.

    Returns:
        ``spikeinterface.core.Templates`` with the unit ids of ``as_sorting``.

    Raises:
        ValueError: a recording or probe of another number of channels.

    Example:
        >>> from types import SimpleNamespace
        >>> import numpy as np
        >>> from keras_crsae.applications.spikeinterface import as_templates
        >>> result = SimpleNamespace(templates=np.zeros((2, 20, 4)), nbefore=5, sampling_frequency=30000.0)
        >>> as_templates(result).num_channels
        4
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
