"""The tuning constants of spike sorting, as one object that a user can pass and a result keeps."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypedDict, Unpack

from crsae_onnx.core.validation import as_int, as_positive

#: Smallest value of integer fields that may be zero; the others must be at least 1.
_MAY_BE_ZERO = ("epochs", "trial_split_rounds", "thorough_rounds", "synchrony_lag_samples")

#: Steps of ``sort``, in order, as ``progress`` names them.
STEPS = ("inspect the recording", "find units", "train", "refine templates", "find spikes")
#: Largest variation of a unit's amplitudes that can be asked for: beyond, amplitudes say nothing.
LARGEST_AMPLITUDE_CV = 1.0


@dataclass(frozen=True)
class SortingParameters:
    """Tuning constants of ``spike_sorting.sort``.

    The suffix of a field is its unit: ``_seconds``, ``_ms``, ``_samples``, ``_sd`` (noise standard deviations),
    ``_nats`` (natural logarithm of a probability ratio), ``_fraction``, ``_cv`` (coefficient of variation). Change a
    few with ``dataclasses.replace`` or by name; what was used is saved with the result.

    Raises:
        ValueError: a field that is not a positive number (an int where the default is one).

    Example:
        >>> from keras_crsae.applications.spike_sorting import SortingParameters
        >>> parameters = SortingParameters(refractory_ms=2.0, minimum_spikes=30)
        >>> parameters.samples(parameters.refractory_ms, sampling_frequency=30000)
        60
        >>> SortingParameters.from_dict(parameters.to_dict()) == parameters
        True
    """

    # Recording
    minimum_recording_seconds: float = 1.0  #: shortest recording that is accepted
    learning_seconds: float = 120.0  #: at most so much of the recording is used to learn, its active stretches first
    learning_values: int = 2**27  #: and at most so many samples times channels, which bounds the memory
    stretch_seconds: float = 1.0  #: length of those stretches
    maximum_stretches: int = 240  #: stretches of a long recording whose activity is compared
    saturated_fraction: float = 0.01  #: samples at one extreme value above which a channel is reported as saturated

    # Noise and whitening
    noise_threshold_sd: float = 4.0  #: samples above it, and their neighbours, are excluded from the noise estimate
    noise_margin_ms: float = 1.0  #: how far those neighbours reach
    band_pass_periods: float = 1.5  #: length of the band-pass filter, in periods of its lower edge
    whitening_memory_ms: float = 0.3  #: past that the whitening filter uses
    minimum_whitening_samples: int = 8  #: and its shortest length
    whitening_floor_fraction: float = 1e-4  #: white noise added to the estimate; bounds the gain

    # Waveforms
    template_before_ms: float = 0.7  #: part of a template before its extremum
    template_after_ms: float = 1.5  #: and after it
    refractory_ms: float = 1.0  #: smallest distance of two spikes of a unit
    template_spikes: int = 500  #: at most so many spikes of a unit are in the median that is its template

    # Detection and clustering
    detection_threshold_sd: float = 4.0  #: extrema above it start the search
    detection_distance_ms: float = 0.5  #: of extrema closer than that only the largest is kept
    minimum_spikes: int = 15  #: that a unit needs
    maximum_clusters: int = 8  #: of all detections together
    maximum_clusters_per_channel: int = 3  #: of the detections of each channel, on wide probes
    wide_probe_channels: int = 8  #: probes with more channels are clustered channel by channel
    cluster_components: int = 6  #: principal components that are clustered
    pca_waveforms: int = 1500  #: waveforms that principal components are computed from
    duplicate_correlation: float = 0.9  #: above it (over shifts) two clusters have the same shape
    duplicate_norm_ratio: float = 1.33  #: below it two clusters of one shape have the same size

    # Rounds of matching, merging, splitting and pruning
    discovery_rounds: int = 8  #: at most
    discovery_values: int = 2**25  #: samples times channels that all rounds but the last three see of a wide probe
    settled_fraction: float = 0.01  #: spikes that may change units in the last round
    trial_split_rounds: int = 2  #: rounds after the first in which units are split on weak evidence
    initial_log_odds_against_nats: float = 7.0  #: odds against a spike at a sample before rates are known: 1100 to 1
    initial_amplitude_cv: float = 0.1  #: variation of a unit's amplitudes before it is estimated
    first_rounds_amplitude_cv: float = 0.15  #: the same in the first two rounds, whose templates are rough

    # Splitting and merging
    split_separation: float = 1.9  #: Ashman's D above which a unit is split
    trial_split_separation: float = 1.5  #: the same for a split on trial, which ``merge_units`` may undo
    merge_separation: float = 1.7  #: Ashman's D below which two units are merged
    minimum_bic_difference: float = 12.0  #: Bayesian information criterion of one group minus that of two
    time_courses: int = 8  #: that waveforms of several channels are made of, in these tests
    split_components: int = 4  #: principal components that are tested for two groups
    merge_correlation: float = 0.8  #: smallest correlation over shifts of two units that are compared
    small_spike_fraction: float = 0.5  #: neighbours smaller than this fraction of a unit's norm are not subtracted

    # Pruning
    minimum_norm_sd: float = 5.2  #: of a whitened template
    maximum_false_alarm_fraction: float = 0.4  #: expected false alarms among a unit's spikes
    minimum_loss_nats: float = 1.2  #: loss a spike when other units explain it, below which a unit is dropped
    pruning_waveforms: int = 40  #: spikes of a unit that the others are fitted to
    synchrony_ratio: float = 5.0  #: a sum of two units that is so much more frequent than by chance is a unit
    synchrony_lag_samples: int = 2  #: by which the lag of those two may vary

    # Training
    iterations: int = 40  #: of FISTA in the encoder
    epochs: int = 3  #: over the active windows, if that promises something; 0: none; another number: always
    minimum_training_gain_nats: float = 0.5  #: that other templates must promise a held-out spike
    batch_size: int = 16
    window_samples: int = 2048  #: of a training window
    maximum_windows: int = 192
    full_work_channels: int = 24  #: units times channels above which fewer windows are used
    most_work_channels: int = 150  #: the same above which the default number of epochs is not spent
    learning_rate: float = 1e-3  #: of Adam, decayed to 0 by a cosine
    initial_lambda: float = 3.0  #: rate of the prior on the code, at noise 1
    prior_strength: float = 3.0  #: of the Gamma prior on lambda, see ``GammaPrior``

    # Refinement
    refinement_rounds: int = 8  #: of matching and averaging after training, at most
    thorough_rounds: int = 2  #: how many of them, the last, search distant pairs as well
    minimum_amplitude_cv: float = 0.05
    maximum_amplitude_cv: float = 0.1  #: with more, a unit takes its neighbours' spikes, which raises it further
    minimum_log_odds_against_nats: float = 5.0
    maximum_log_odds_against_nats: float = 9.0
    minimum_background_bic_difference: float = 8.0  #: for smaller spikes of other neurons, which are then left out
    timing_uncertainty_samples: float = 3.0  #: positions within which a spike is located

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(field.default, int):
                value = as_int(value, field.name, minimum=0 if field.name in _MAY_BE_ZERO else 1)
            else:
                value = as_positive(value, field.name)
            object.__setattr__(self, field.name, value)

    def samples(self, milliseconds: float, sampling_frequency: float) -> int:
        """A duration as a whole number of samples, at least 1."""
        return max(1, round(milliseconds / 1000 * sampling_frequency))

    def to_dict(self) -> dict[str, int | float]:
        """Plain numbers by name, for JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> SortingParameters:
        """The parameters with these names and values; the others keep their defaults.

        Raises:
            ValueError: an unknown name, or a value that the field does not accept.
        """
        known = [field.name for field in dataclasses.fields(cls)]
        unknown = sorted(set(values) - set(known))
        if unknown:
            raise ValueError(f"Unknown sorting parameters: {', '.join(unknown)}. Expected some of {', '.join(known)}.")
        return cls(**values)


#: What ``sort`` uses unless it is given others.
DEFAULTS = SortingParameters()


class SortingOptions(TypedDict, total=False):
    """The constants that are turned most, as options of ``sort`` and of the command line."""

    threshold: float  #: noise standard deviations that an extremum must exceed to start a unit
    amplitude_variation: float  #: largest coefficient of variation of a unit's amplitudes that is expected
    epochs: int  #: of training; 0: none
    learning_seconds: float  #: at most so much of the recording is learned from


def with_options(parameters: SortingParameters, **options: Unpack[SortingOptions]) -> SortingParameters:
    """The parameters with ``SortingOptions`` in place of what they say.

    The amplitude variation bounds what is estimated for each unit, and is what is assumed before that.

    Raises:
        ValueError: an unknown option, a value out of range, or no ``SortingParameters``.

    Example:
        >>> from keras_crsae.applications.spike_sorting.parameters import SortingParameters, with_options
        >>> parameters = with_options(SortingParameters(), threshold=5, amplitude_variation=0.2)
        >>> parameters.detection_threshold_sd, parameters.maximum_amplitude_cv, parameters.initial_amplitude_cv
        (5.0, 0.2, 0.2)
    """
    known = list(SortingOptions.__annotations__)
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise ValueError(f"Unknown options: {', '.join(unknown)}. Expected some of {', '.join(known)}; all other "
                         "constants are fields of parameters=SortingParameters(...).")
    if not isinstance(parameters, SortingParameters):
        raise ValueError("`parameters` must be a SortingParameters. Received: "
                         f"{type(parameters).__name__}. A dict becomes one by SortingParameters.from_dict.")
    changes: dict[str, Any] = {}
    if "threshold" in options:
        changes["detection_threshold_sd"] = as_positive(options["threshold"], "threshold")
    if "amplitude_variation" in options:
        cv = as_positive(options["amplitude_variation"], "amplitude_variation")
        if cv > LARGEST_AMPLITUDE_CV:
            raise ValueError("`amplitude_variation` is a fraction, standard deviation over mean of its amplitudes. "
                             f"Expected at most {LARGEST_AMPLITUDE_CV:g}. Received: {cv!r}")
        changes |= {"maximum_amplitude_cv": cv, "initial_amplitude_cv": cv,
                    "first_rounds_amplitude_cv": max(cv, parameters.first_rounds_amplitude_cv),
                    "minimum_amplitude_cv": min(cv, parameters.minimum_amplitude_cv)}
    if "epochs" in options:
        changes["epochs"] = as_int(options["epochs"], "epochs", minimum=0)
    if "learning_seconds" in options:
        changes["learning_seconds"] = as_positive(options["learning_seconds"], "learning_seconds")
    return dataclasses.replace(parameters, **changes)
