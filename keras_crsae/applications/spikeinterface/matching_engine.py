"""The template matching engine ``"crsae"`` of SpikeInterface: the search of ``sort`` with templates that are given."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
from crsae_onnx.core.spikes.detector import MARGIN_KERNELS
from crsae_onnx.core.spikes.template_matching import TemplateMatcher
from crsae_onnx.core.spikes.whitening import Whitening
from crsae_onnx.core.validation import as_positive
from spikeinterface.sortingcomponents.matching import method_list
from spikeinterface.sortingcomponents.matching.base import BaseTemplateMatching

from keras_crsae.applications.spike_sorting.matching import UnitSpikes, match_pieces
from keras_crsae.applications.spike_sorting.noise import fit_whitening
from keras_crsae.applications.spike_sorting.parameters import DEFAULTS
from keras_crsae.applications.spike_sorting.refinement import estimate_spike_prior
from keras_crsae.applications.spike_sorting.templates import (
    WIDE_PROBE_CHANNELS,
    as_kernel,
    reached_channels,
    template_norms,
)

#: Name of the engine in SpikeInterface.
ENGINE_NAME = "crsae"
#: Seconds of each stretch of the recording that the noise is estimated from.
_STRETCH_SECONDS = 1.0
#: Templates of smaller norm, in noise standard deviations, are not searched for: noise would hide every spike.
_SMALLEST_NORM = 1.0
#: Given templates are exact: less variation is believed than of those that ``sort`` learns. An allowance that is not
#: needed lets one spike, louder than any, take the place of two that fall together.
_BOUNDS = dataclasses.replace(DEFAULTS, minimum_amplitude_cv=0.02)


def register_matching() -> type[CrsaeMatching]:
    """Make ``find_spikes_from_templates(recording, templates, method="crsae")`` work in this process, and sorters that
    take an engine by its name: ``run_sorter("lupin", recording, template_matching_engine="crsae")``.

    Calling it again changes nothing. The processes that SpikeInterface starts for chunks need no registration.

    Returns:
        The engine's class.

    Example:
        >>> from keras_crsae.applications.spikeinterface import register_matching
        >>> engine = register_matching()
        >>> from spikeinterface.sortingcomponents.matching.method_list import matching_methods
        >>> matching_methods["crsae"] is engine
        True
    """
    method_list.matching_methods[ENGINE_NAME] = CrsaeMatching
    return CrsaeMatching


class CrsaeMatching(BaseTemplateMatching):
    """The most probable spikes of templates in a recording (``crsae_onnx.core.spikes.template_matching``).

    The noise's level and its correlation over time and channels are estimated on stretches of the recording, so that
    its unit does not matter, and a recording that was whitened before is searched as well. Templates are whitened the
    same way; on more than eight channels each lives on those that it reaches. How much the amplitudes vary, and how
    often each unit fires, is estimated by a first search of these stretches, where it is not given.

    Args:
        recording: ``spikeinterface.BaseRecording``, filtered.
        templates: ``spikeinterface.core.Templates`` of its channels, in its stored unit, or in microvolts where
            ``is_in_uV`` and the recording has gains.
        return_output: of SpikeInterface's nodes.
        amplitude_cv: coefficient of variation of a unit's amplitudes; None: estimated for each unit.
        firing_rate_hz: spikes a second of a unit; None: estimated for each unit.
        refractory_ms: smallest distance of two spikes of a unit.
        learning_seconds: of the recording, evenly spread, for the estimates.

    Raises:
        ValueError: templates of other channels or another sampling frequency, a number that is not positive.
    """

    name = ENGINE_NAME
    need_noise_levels = False
    need_first_call_before_pipeline = True  # numba compiles the search once, before processes start
    params_doc = """
    amplitude_cv : float | None
        Coefficient of variation (standard deviation over mean) of a unit's amplitudes. None: estimated for each unit.
    firing_rate_hz : float | None
        Spikes a second of a unit. None: estimated for each unit.
    refractory_ms : float
        Smallest distance of two spikes of a unit.
    learning_seconds : float
        Seconds of the recording, evenly spread, that noise, amplitudes and rates are estimated from.
    """

    def __init__(self, recording: Any, templates: Any, return_output: bool = True, *,
                 amplitude_cv: float | None = None, firing_rate_hz: float | None = None,
                 refractory_ms: float = DEFAULTS.refractory_ms, learning_seconds: float = 10.0) -> None:
        super().__init__(recording, templates, return_output=return_output)
        frequency = float(recording.get_sampling_frequency())
        _check(templates, recording, frequency)
        refractory = max(1, round(as_positive(refractory_ms, "refractory_ms") / 1000 * frequency))
        stretches = _stretches(recording, as_positive(learning_seconds, "learning_seconds"))
        self.whitening = _fit(stretches, frequency)
        white = np.concatenate([self.whitening(stretch, 0, len(stretch)) for stretch in stretches])
        kept, filters = _whiten_templates(_stored_unit(templates, recording), self.whitening)
        self.unit_rows = kept  #: rows of ``templates`` that are searched for
        self.kernel_size = filters.shape[1]
        self.matcher = None
        if not len(kept):
            return
        self.main_channels = np.abs(templates.get_dense_templates()[kept]).max(axis=1).argmax(axis=1)
        cv = DEFAULTS.initial_amplitude_cv if amplitude_cv is None else as_positive(amplitude_cv, "amplitude_cv")
        odds = DEFAULTS.initial_log_odds_against_nats if firing_rate_hz is None else math.log(
            max(2.0, frequency / as_positive(firing_rate_hz, "firing_rate_hz")))
        prior = np.full(len(kept), cv), np.full(len(kept), odds)
        self.matcher = _matcher(filters, *prior, refractory)
        if amplitude_cv is None or firing_rate_hz is None:
            spikes = UnitSpikes(filters, *match_pieces(self.matcher, white, thorough=False))
            amplitudes, rates = estimate_spike_prior(spikes, len(white), cv, _BOUNDS)
            self.matcher = _matcher(filters, amplitudes if amplitude_cv is None else prior[0],
                                    rates if firing_rate_hz is None else prior[1], refractory)

    def get_margin(self) -> int:
        """Samples that are read on each side of a chunk."""
        return sum(self.whitening.context) + MARGIN_KERNELS * self.kernel_size + self.templates.nbefore

    def compute_matching(self, traces: np.ndarray, start_frame: int, end_frame: int, segment_index: int) -> np.ndarray:
        """Spikes in a chunk with its margins, in SpikeInterface's type; samples are counted from the chunk's first."""
        missing = max(0, self.get_margin() - start_frame)  # zeros that SpikeInterface puts before a recording
        behind = self.recording.get_num_samples(segment_index) - end_frame
        stop = len(traces) - max(0, self.get_margin() - behind)
        real = traces[missing:stop]
        spikes: Any = np.zeros(0, self.get_dtype())
        if self.matcher is not None and len(traces) >= self.kernel_size and len(real):
            white = self.whitening(real, -missing, len(traces) - missing)
            start, unit, amplitude = match_pieces(self.matcher, white, thorough=True)
            spikes = np.zeros(len(start), self.get_dtype())
            spikes["sample_index"] = start + self.templates.nbefore
            spikes["cluster_index"] = self.unit_rows[unit]
            spikes["channel_index"] = self.main_channels[unit]
            spikes["amplitude"] = amplitude / self.matcher.mean_amplitude[unit]
            spikes["segment_index"] = segment_index
        return spikes


def _check(templates: Any, recording: Any, frequency: float) -> None:
    channels = recording.get_num_channels()
    if templates.num_channels != channels:
        raise ValueError(f"The templates have {templates.num_channels} channels, the recording has {channels}. "
                         "Give templates of the same channels.")
    if not math.isclose(templates.sampling_frequency, frequency, rel_tol=1e-3):
        raise ValueError(f"The templates have a sampling frequency of {templates.sampling_frequency:g} Hz, the "
                         f"recording of {frequency:g}. Give templates of this recording.")


def _stretches(recording: Any, seconds: float) -> list[np.ndarray]:
    """Evenly spread stretches of all segments, ``seconds`` together, in the stored unit."""
    lengths = [recording.get_num_samples(segment) for segment in range(recording.get_num_segments())]
    budget = seconds * recording.get_sampling_frequency()
    out = []
    for segment, samples in enumerate(lengths):
        share = min(samples, math.ceil(budget * samples / sum(lengths)))
        length = min(share, round(_STRETCH_SECONDS * recording.get_sampling_frequency()))
        count = max(1, share // max(length, 1))
        if count * length >= samples - length:
            count, length = 1, samples
        for start in np.linspace(0, samples - length, count).astype(int):
            out.append(np.asarray(recording.get_traces(segment_index=segment, start_frame=int(start),
                                                       end_frame=int(start) + length)))
    return out


def _fit(stretches: list[np.ndarray], frequency: float) -> Whitening:
    values = np.concatenate(stretches).astype(np.float32)
    holds = np.isfinite(values)
    values[~holds] = 0
    offset = np.median(values, axis=0).astype(np.float64)
    return fit_whitening(values - offset.astype(np.float32), frequency, offset=offset, holds_noise=holds)


def _stored_unit(templates: Any, recording: Any) -> np.ndarray:
    """Templates (units, time, channels) in the unit that the recording's traces are stored in."""
    dense = np.asarray(templates.get_dense_templates(), np.float64)
    if templates.is_in_uV and recording.has_scaleable_traces():
        return dense / np.asarray(recording.get_channel_gains(), np.float64)
    return dense


def _whiten_templates(templates: np.ndarray, whitening: Whitening) -> tuple[np.ndarray, np.ndarray]:
    """(rows of the templates that stand out of the noise, these whitened, longer by the filter's length minus one)."""
    past, future = whitening.context
    white = np.stack([whitening(template + whitening.offset, -future, len(template) + past) for template in templates])
    if white.shape[2] > WIDE_PROBE_CHANNELS:  # the noise of a mean is not known; what matters little is left out
        white = white * reached_channels(white, np.full(len(white), 1e9))[:, None]
    kept = np.flatnonzero(template_norms(white) > _SMALLEST_NORM)
    return kept, white[kept]


def _matcher(filters: np.ndarray, amplitude_cv: np.ndarray, log_odds_against: np.ndarray, refractory: int
             ) -> TemplateMatcher:
    return TemplateMatcher(as_kernel(filters), template_norms(filters), amplitude_cv, log_odds_against, refractory,
                           penalty_weight=np.full(len(filters), DEFAULTS.initial_lambda))
