"""Pipelines with defaults: denoising of images, spike sorting, SpikeInterface, events in trials, certificates."""

from typing import TYPE_CHECKING

from keras_crsae._lazy import lazy_names

if TYPE_CHECKING:
    from keras_crsae.applications import certification, denoising, neural_events, spike_sorting, spikeinterface

__all__ = ["certification", "denoising", "neural_events", "spike_sorting", "spikeinterface"]
__getattr__, __dir__ = lazy_names(__name__, {name: f"keras_crsae.applications.{name}" for name in __all__})
