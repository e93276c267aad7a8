"""Motion of a probe: estimated by SpikeInterface before sorting, and taken out of the recording."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from crsae_onnx.core.optional import import_optional

from keras_crsae.applications.spike_sorting.recording import Recording, as_recording
from keras_crsae.applications.spike_sorting.recording_view import is_recording

#: Name of the step of ``sort``.
MOTION_STEP = "estimate motion"
#: ``sort(motion="follow")``: nothing is taken out of the recording; the templates change with the spikes.
FOLLOW = "follow"
#: Name of the step of ``sort`` that follows.
FOLLOW_STEP = "follow spikes"
#: Why the sorting of a probe that moved is not followed in another recording.
MOTION_WAS_TAKEN_OUT = (
    "The motion of the probe was taken out of the recording before sorting, and depths of another recording start "
    "anew. Sort each recording with motion=\"estimate\".")
#: What ``sort(motion="estimate")`` does: an estimate from the depths of spikes that needs neither torch nor a GPU.
DEFAULT_PRESET = "nonrigid_fast_and_accurate"
#: Probes shorter than this move as a whole: their windows would hold too few spikes.
RIGID_BELOW_UM = 800.0
#: Depths of channels that an estimate needs.
LEAST_DEPTHS = 4
#: Method of SpikeInterface -> packages that it does not bring.
_PRESET_NEEDS = {"dredge_ap": ("torch",), "medicine": ("torch", "medicine")}
#: How displaced traces are interpolated between channels, in all presets.
_INTERPOLATION: dict[str, Any] = {"border_mode": "force_extrapolate", "spatial_interpolation_method": "kriging",
                                  "sigma_um": 20.0, "p": 2}
#: Decimals of a displacement that is saved, micrometres.
_DECIMALS = 3


class ProbeMotion(NamedTuple):
    """How far the tissue moved along the probe; positive: towards larger depths."""

    preset: str  #: of SpikeInterface's ``correct_motion``
    displacement_um: list[np.ndarray]  #: of each segment, (times, depths)
    seconds: list[np.ndarray]  #: of each segment, (times,)
    depths_um: np.ndarray  #: (depths,); one: the probe moved as a whole

    def to_plain(self) -> dict[str, Any]:
        """Plain JSON, for ``from_plain``."""
        return {"preset": self.preset, "depths_um": self.depths_um.tolist(),
                "displacement_um": [np.round(values, _DECIMALS).tolist() for values in self.displacement_um],
                "seconds": [values.tolist() for values in self.seconds]}

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> ProbeMotion:
        """The motion that ``to_plain`` wrote."""
        return cls(plain["preset"], [np.array(values, float) for values in plain["displacement_um"]],
                   [np.array(values, float) for values in plain["seconds"]], np.array(plain["depths_um"], float))

    @property
    def range_um(self) -> float:
        """Largest difference of two displacements at one depth."""
        return float(np.ptp(np.concatenate(self.displacement_um), axis=0).max())

    @property
    def message(self) -> str:
        """The motion in a sentence."""
        return (f"The probe moved by {self.range_um:.0f} micrometres along its length, by the estimate of "
                f"SpikeInterface's {self.preset!r}: the motion was taken out before sorting.")


def check_motion(motion: str | None, locations: np.ndarray | None) -> str | None:
    """The preset of SpikeInterface that ``motion`` names, None where no motion is taken out.

    Args:
        motion: None, "follow", "estimate" or the name of a preset.
        locations: (channels, 2), micrometres, or None.

    Raises:
        ValueError: another word, or a probe without depths.
        ModuleNotFoundError: SpikeInterface is missing, or what a preset needs.

    Example:
        >>> from keras_crsae.applications.spike_sorting.motion import check_motion
        >>> check_motion(None, locations=None) is None
        True
    """
    if motion in (None, FOLLOW):
        return None
    known = import_optional("spikeinterface.preprocessing.motion", "motion=").motion_options_preset
    names = sorted(name for name in known if name)
    preset = DEFAULT_PRESET if motion == "estimate" else motion
    if preset not in names:
        raise ValueError("`motion` must be None, \"follow\", \"estimate\" or one of SpikeInterface's presets "
                         f"{', '.join(names)}. Received: motion={motion!r}.")
    if locations is None or len(np.unique(locations[:, 1])) < LEAST_DEPTHS:
        what = "no channel locations" if locations is None else "too few depths of channels"
        raise ValueError(f"The motion of a probe is estimated from channels at {LEAST_DEPTHS} depths or more, and the "
                         f"recording has {what}. Give channel_locations (channels, 2) in micrometres; for a "
                         "tetrode, motion=\"follow\" follows amplitudes that change slowly.")
    for package in _PRESET_NEEDS.get(known[preset]["estimate_motion_kwargs"].get("method", ""), ()):
        if importlib.util.find_spec(package) is None:
            raise ValueError(f"motion={preset!r} needs the package {package}, which is not installed. Install it, or "
                             f"choose motion=\"estimate\", which does without.")
    return preset


def motion_steps(motion: str | None, steps: Sequence[str]) -> tuple[str, ...]:
    """The steps of ``sort`` with that ``motion``, of those without.

    Example:
        >>> from keras_crsae.applications.spike_sorting.motion import motion_steps
        >>> motion_steps("estimate", ["find units"]), motion_steps("follow", ["find units"])
        (('estimate motion', 'find units'), ('find units', 'follow spikes'))
    """
    if motion == FOLLOW:
        return *steps, FOLLOW_STEP
    return tuple(steps) if motion is None else (MOTION_STEP, *steps)


def estimate_motion(recording: Any, checked: Recording, preset: str, band: Sequence[float] | None = None
                    ) -> ProbeMotion:
    """The motion of a probe, from the depths and amplitudes of spikes.

    Args:
        recording: as ``sort`` takes it.
        checked: ``as_recording`` of it, with locations.
        preset: of SpikeInterface; a short probe moves as a whole in any.
        band: (low, high) in Hz of a filter that is applied first; None: the recording is filtered.

    Raises:
        ValueError: too few spikes for an estimate.
    """
    preprocessing = import_optional("spikeinterface.preprocessing", "motion=")
    extractor = _extractor(recording, checked)
    if band is not None:
        high = min(band[1], 0.49 * checked.sampling_frequency)
        extractor = preprocessing.bandpass_filter(extractor, freq_min=band[0], freq_max=high, dtype="float32")
    places = checked.channel_locations
    rigid = places is not None and float(np.ptp(places[:, 1])) < RIGID_BELOW_UM
    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):  # a bar of its own on the noise
        warnings.simplefilter("ignore")  # SpikeInterface's own, and numba's
        try:
            motion = preprocessing.compute_motion(extractor, preset=preset, raise_error=True, progress_bar=False,
                                                  estimate_motion_kwargs={"rigid": True} if rigid else {})
        except (RuntimeError, ValueError, IndexError, AssertionError) as error:
            raise ValueError(f"The motion cannot be estimated, probably for lack of spikes ({error}). Omit `motion`."
                             ) from error
    return ProbeMotion(preset, [np.asarray(values, float) for values in motion.displacement],
                       [np.asarray(values, float) for values in motion.temporal_bins_s],
                       np.asarray(motion.spatial_bins_um, float))


def without_motion(recording: Any, motion: ProbeMotion, sampling_frequency: float | None = None,
                   channel_locations: Any = None) -> Any:
    """The recording with its motion taken out: a SpikeInterface recording that interpolates when it is read.

    Args:
        recording: as ``sort`` takes it.
        motion: of ``estimate_motion``, or of a result: ``result.motion``.
        sampling_frequency, channel_locations: of ``sort``.
    """
    moved = import_optional("spikeinterface.sortingcomponents.motion", "motion=")
    core = import_optional("spikeinterface.core.motion", "motion=")
    extractor = _extractor(recording, as_recording(recording, sampling_frequency, channel_locations))
    estimate = core.Motion(list(motion.displacement_um), list(motion.seconds), motion.depths_um)
    return moved.InterpolateMotionRecording(extractor, estimate, **_INTERPOLATION)


def _extractor(recording: Any, checked: Recording) -> Any:
    """The recording in SpikeInterface's class, floats, with positions."""
    core = import_optional("spikeinterface.core", "motion=")
    preprocessing = import_optional("spikeinterface.preprocessing", "motion=")
    if not is_recording(recording):
        traces = checked.traces
        recording = core.NumpyRecording([np.asarray(traces[:traces.shape[0]])], checked.sampling_frequency)
    elif not recording.has_probe():
        recording = recording.select_channels(recording.channel_ids)  # the user's own stays as it is
    if not recording.has_probe():
        recording.set_dummy_probe_from_locations(checked.channel_locations)
    if recording.has_scaleable_traces():
        return preprocessing.scale_to_uV(recording)
    return recording if np.dtype(recording.get_dtype()).kind == "f" else recording.astype("float32")


def sorted_traces(result: Any, recording: Any) -> Any:
    """The traces (samples, channels) that a result is of: those of its recording, without the motion.

    Args:
        result: with ``recording_samples``, ``templates``, ``sampling_frequency``, and ``motion`` and
            ``channel_locations`` of a probe that moved.
        recording: as ``sort`` takes it.

    Raises:
        ValueError: another length or number of channels than the one that was sorted.
    """
    frequency = None if is_recording(recording) else result.sampling_frequency
    traces = as_recording(recording, frequency).traces
    expected = (result.recording_samples, result.templates.shape[2])
    if tuple(traces.shape) != expected:
        raise ValueError(f"The recording has shape {tuple(traces.shape)}; {expected} was sorted. Give that one.")
    if getattr(result, "motion", None) is None:
        return traces
    return as_recording(without_motion(recording, result.motion, frequency, result.channel_locations)).traces
