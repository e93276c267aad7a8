"""Events in the spikes of trials: kernels, and when each of them occurs."""

from typing import TYPE_CHECKING

from keras_crsae._lazy import lazy_names

if TYPE_CHECKING:
    from keras_crsae.applications.neural_events.baselines import (
        best_threshold,
        count_log_likelihood,
        matched_filter_peaks,
        psth,
        smoothed_raster_peaks,
    )
    from keras_crsae.applications.neural_events.held_out import HeldOut
    from keras_crsae.applications.neural_events.parameters import EventParameters
    from keras_crsae.applications.neural_events.pipeline import fit_events
    from keras_crsae.applications.neural_events.report import write_report
    from keras_crsae.applications.neural_events.result import NeuralEvents, load_events
    from keras_crsae.applications.neural_events.scoring import EventScores, score_events
    from keras_crsae.applications.neural_events.spike_counts import SpikeCounts, bin_spikes
    from keras_crsae.data.simulate_events import EVENT_FIELDS

__all__ = ["EVENT_FIELDS", "EventParameters", "EventScores", "HeldOut", "NeuralEvents", "SpikeCounts", "best_threshold",
           "bin_spikes", "count_log_likelihood", "fit_events", "load_events", "matched_filter_peaks", "psth",
           "score_events", "smoothed_raster_peaks", "write_report"]
_FROM = "keras_crsae.applications.neural_events"
__getattr__, __dir__ = lazy_names(__name__, {
    **{name: f"{_FROM}.baselines" for name in ("best_threshold", "count_log_likelihood", "matched_filter_peaks", "psth",
                                               "smoothed_raster_peaks")},
    **{name: f"{_FROM}.scoring" for name in ("EventScores", "score_events")},
    **{name: f"{_FROM}.spike_counts" for name in ("SpikeCounts", "bin_spikes")},
    "EVENT_FIELDS": "keras_crsae.data.simulate_events", "HeldOut": f"{_FROM}.held_out",
    "EventParameters": f"{_FROM}.parameters", "fit_events": f"{_FROM}.pipeline",
    "NeuralEvents": f"{_FROM}.result", "load_events": f"{_FROM}.result", "write_report": f"{_FROM}.report",
})
