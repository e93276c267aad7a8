"""Spike sorting of extracellular recordings."""

from typing import TYPE_CHECKING

from keras_crsae._lazy import lazy_names

if TYPE_CHECKING:
    from keras_crsae.applications.spike_sorting.following import FollowParameters, follow
    from keras_crsae.applications.spike_sorting.inspection import NoSpikesError
    from keras_crsae.applications.spike_sorting.parameters import SortingParameters
    from keras_crsae.applications.spike_sorting.persistence import load_reader
    from keras_crsae.applications.spike_sorting.pipeline import sort
    from keras_crsae.applications.spike_sorting.quality import unit_quality
    from keras_crsae.applications.spike_sorting.report import write_report
    from keras_crsae.applications.spike_sorting.result import SpikeSortingResult, load_result

__all__ = ["FollowParameters", "NoSpikesError", "SortingParameters", "SpikeSortingResult", "follow", "load_reader",
           "load_result", "sort", "unit_quality", "write_report"]
_FROM = "keras_crsae.applications.spike_sorting"
__getattr__, __dir__ = lazy_names(__name__, {
    "FollowParameters": f"{_FROM}.following", "NoSpikesError": f"{_FROM}.inspection",
    "SortingParameters": f"{_FROM}.parameters", "SpikeSortingResult": f"{_FROM}.result",
    "follow": f"{_FROM}.following", "load_reader": f"{_FROM}.persistence", "load_result": f"{_FROM}.result",
    "sort": f"{_FROM}.pipeline", "unit_quality": f"{_FROM}.quality", "write_report": f"{_FROM}.report"})
