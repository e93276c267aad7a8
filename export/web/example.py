"""Write the page's examples, models and data for them, into ``example/`` beside this file.

They are shipped, so that ``make web`` needs no Python. Run this again when the file format or the zoo changes:
``python export/web/example.py``.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from crsae_onnx.convert import convert

import keras_crsae as kc
from keras_crsae.data.simulate import simulate_spikes, spike_templates

FOLDER = Path(__file__).parent / "example"


def write(folder: str | os.PathLike[str] = FOLDER) -> None:
    """Write the models and their data into a folder."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    templates = spike_templates(45, 3)
    model = kc.CRsAE(3, 45, iterations=60, sigma=1.0, lambda_init=4.0)
    model.set_dictionary(templates)
    convert(model, folder / "spikes.onnx", outputs=("spikes",), spikes=6.0, overwrite=True, loop=True,
            about={"name": "example-spikes", "unit": "noise standard deviations", "sampling_frequency": 30000,
                   "data": "none: the simulated templates themselves", "training": "none"})
    signal = simulate_spikes(templates, windows=1, samples=6000, events_per_window=25, amplitude=(14.0, 2.0),
                             seed=4).signal[0]
    np.save(folder / "recording.npy", signal.astype("float32"))
    denoiser = kc.load_model_from_zoo("denoise-gray")
    for name, loop in (("denoiser.onnx", True), ("denoiser_written_out.onnx", False)):  # the second for WebGPU
        convert(denoiser, folder / name, outputs=("denoised",), inputs=("signal", "sigma"), overwrite=True, loop=loop,
                about={"name": "denoise-gray", "pixel_range": [0, 1], "unit": "grey levels in [0, 1]"})
    np.save(folder / "image.npy", noisy_image())


def noisy_image(size: int = 128) -> np.ndarray:
    """A drawn image with noise of 25 grey levels, float32 in [0, 1]."""
    row, column = np.mgrid[:size, :size] / size
    image = 0.25 + 0.4 * (np.hypot(row - 0.4, column - 0.45) < 0.28) + 0.2 * (np.abs(row - column) < 0.06) \
        + 0.15 * np.sin(30 * column) * (row > 0.75)
    return (image + 25 / 255 * np.random.default_rng(0).standard_normal(image.shape)).astype("float32")


if __name__ == "__main__":
    write()
