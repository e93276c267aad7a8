"""Both parts of the demo, one table, and figures in a folder."""

from __future__ import annotations

from pathlib import Path

import keras

from keras_crsae.demo.outputs import Row, table_text
from keras_crsae.demo.photograph import denoise_photograph
from keras_crsae.demo.recording import sort_recording


def run_demo(output: str | Path = "demo-output", seed: int = 0) -> list[Row]:
    """Learn, export and use two models; print one table and write figures.

    (a) Filters of images: learned by EM on a noisy photograph, exported, used in onnxruntime on another one.
    (b) Spike templates: learned from random windows of a simulated recording with three units, exported;
    spikes of a second recording are read off the codes that onnxruntime gives, and scored against the truth.

    Args:
        output: folder for figures and models, made if missing; files of an earlier demo there are replaced.
        seed: of noise, simulation and training.

    Returns:
        A list of rows (what, measure, before, after), as printed.

    Raises:
        ModuleNotFoundError: an extra is missing (needed: demo).

    Example:
        >>> from keras_crsae.demo import run_demo
        >>> rows = run_demo("demo-output")
    """
    folder = Path(output)
    folder.mkdir(parents=True, exist_ok=True)
    keras.utils.set_random_seed(seed)
    rows = [*denoise_photograph(folder, seed), *sort_recording(folder, seed)]
    print(table_text(rows))
    print(f"Figures and models: {folder}/")
    return rows
