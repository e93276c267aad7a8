"""A Keras callback that draws while a model learns: filters, lambda, an image before and after."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
from crsae_onnx.core.atomic_files import atomic_write
from crsae_onnx.core.validation import as_positive_int

from keras_crsae import plots
from keras_crsae.applications.denoising.pipeline import denoise
from keras_crsae.backend import tf

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_FILE_DPI, _SUMMARY_DPI = 100, 80


class DrawProgress(keras.callbacks.Callback):
    """Draws filters, lambda and, for an image, before and after, while ``fit`` runs: as PNG files or to TensorBoard.

    Args:
        folder: for PNG files (``filters-0003.png``, ``lambda.png``, ``image-0003.png``) or TensorBoard's log folder.
        every: epochs between two drawings.
        images: None, or (clean, noisy), arrays (height, width) or (height, width, channels) in [0, 1], of which the
            model's ``denoise`` is drawn (models of images).
        sigma: noise standard deviation of ``images``, in [0, 1].
        tensorboard: write summaries in place of files.

    Raises:
        ValueError: ``every`` below 1, or ``images`` without ``sigma``.
        ModuleNotFoundError: matplotlib is missing (extra ``plots``).

    Example:
        >>> import keras_crsae as kc
        >>> templates = kc.data.spike_templates(kernel_size=21, filters=2)
        >>> windows = kc.data.simulate_spikes(templates, windows=4, samples=200, events_per_window=2).signal
        >>> model = kc.CRsAE(2, 21, sigma=1.0, iterations=5)
        >>> model.compile()
        >>> history = model.fit(windows, epochs=2, verbose=0, callbacks=[kc.callbacks.DrawProgress("progress")])
    """

    def __init__(self, folder: str | Path, every: int = 1, images: tuple[np.ndarray, np.ndarray] | None = None,
                 sigma: float | None = None, tensorboard: bool = False) -> None:
        super().__init__()
        if images is not None and sigma is None:
            raise ValueError("`images` need `sigma`, the standard deviation of their noise in [0, 1].")
        self.folder, self.every = Path(folder), as_positive_int(every, "every")
        self.images, self.sigma, self.tensorboard = images, sigma, tensorboard
        self._writer: Any = None
        self._lambdas: list[np.ndarray] = []
        self._epochs: list[int] = []

    def on_train_begin(self, logs: dict | None = None) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        if self.tensorboard:
            self._writer = tf.summary.create_file_writer(str(self.folder))

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        number = epoch + 1
        self._lambdas.append(keras.ops.convert_to_numpy(self.model.lambda_reg))
        self._epochs.append(number)
        if number % self.every:
            return
        kernel = keras.ops.convert_to_numpy(self.model.decoder.kernel)
        self._write("filters", epoch, plots.plot_filters(kernel, title=f"Filters after epoch {number}"))
        lambdas = plots.plot_lambda(np.stack(self._lambdas), self._epochs, float(self.model.sigma))
        self._write("lambda", epoch, lambdas, replace=True)
        if self.images is not None:
            clean, noisy = self.images
            denoised = denoise(noisy, self.model, sigma=self.sigma)
            self._write("image", epoch, plots.plot_denoising(clean, noisy, denoised, title=f"After epoch {number}"))

    def on_train_end(self, logs: dict | None = None) -> None:
        if self._writer is not None:
            self._writer.close()

    def _write(self, name: str, epoch: int, figure: Figure, replace: bool = False) -> None:
        """Write a figure to a numbered file, or to the same one each time (``replace``), or to TensorBoard."""
        if self._writer is not None:
            stream = io.BytesIO()
            figure.savefig(stream, format="png", dpi=_SUMMARY_DPI)
            with self._writer.as_default():
                tf.summary.image(name, tf.io.decode_png(stream.getvalue(), channels=3)[None], step=epoch)
            return
        path = self.folder / (f"{name}.png" if replace else f"{name}-{epoch + 1:04d}.png")
        with atomic_write(path) as temporary:  # a viewer sees whole files while training runs
            figure.savefig(temporary, dpi=_FILE_DPI)
