"""Spike sorting of extracellular recordings."""

from keras_crsae.applications.spike_sorting.pipeline import NoSpikesError, SpikeSortingResult, sort

__all__ = ["NoSpikesError", "SpikeSortingResult", "sort"]
