"""Data: read arrays, images and recordings, simulate signals from the model, and feed training from memory or disk."""

from typing import TYPE_CHECKING

from keras_crsae._lazy import lazy_names

if TYPE_CHECKING:
    from crsae_onnx.core.errors import FileError

    from keras_crsae.data import simulate
    from keras_crsae.data.arrays import read_array
    from keras_crsae.data.images import (
        gray_photograph,
        load_images,
        photographs,
        random_patches,
        read_image,
        write_image,
    )
    from keras_crsae.data.mne import MneSignals, from_mne
    from keras_crsae.data.rasters import read_raster
    from keras_crsae.data.recordings import read_recording
    from keras_crsae.data.simulate import Simulation, perturb_filters, simulate_codes, simulate_spikes, spike_templates
    from keras_crsae.data.simulate_events import EventSimulation, response_kernels, simulate_neural_events
    from keras_crsae.data.streams.folder_crops import image_batches
    from keras_crsae.data.streams.noisy_crops import noisy_crops
    from keras_crsae.data.streams.recording_windows import window_batches
    from keras_crsae.data.streams.tfrecords import record_batches
    from keras_crsae.data.streams.windows import cut_windows

__all__ = ["EventSimulation", "FileError", "MneSignals", "Simulation", "cut_windows", "from_mne", "gray_photograph",
           "image_batches", "load_images", "noisy_crops", "perturb_filters", "photographs", "random_patches",
           "read_array", "read_image", "read_raster", "read_recording", "record_batches", "response_kernels",
           "simulate", "simulate_codes", "simulate_neural_events", "simulate_spikes", "spike_templates",
           "window_batches", "write_image"]
__getattr__, __dir__ = lazy_names(__name__, {
    "FileError": "crsae_onnx.core.errors", "read_array": "keras_crsae.data.arrays",
    **{name: "keras_crsae.data.images" for name in ("gray_photograph", "load_images", "photographs",
                                                    "random_patches", "read_image", "write_image")},
    **{name: "keras_crsae.data.simulate" for name in ("Simulation", "perturb_filters", "simulate", "simulate_codes",
                                                      "simulate_spikes", "spike_templates")},
    **{name: "keras_crsae.data.simulate_events" for name in ("EventSimulation", "response_kernels",
                                                             "simulate_neural_events")},
    "MneSignals": "keras_crsae.data.mne", "from_mne": "keras_crsae.data.mne",
    "read_raster": "keras_crsae.data.rasters", "read_recording": "keras_crsae.data.recordings",
    "image_batches": "keras_crsae.data.streams.folder_crops", "noisy_crops": "keras_crsae.data.streams.noisy_crops",
    "window_batches": "keras_crsae.data.streams.recording_windows",
    "record_batches": "keras_crsae.data.streams.tfrecords", "cut_windows": "keras_crsae.data.streams.windows",
})
