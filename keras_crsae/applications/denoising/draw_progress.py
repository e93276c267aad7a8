"""A Keras callback that draws while a model learns: filters, lambda, an image before and after."""

import io
from pathlib import Path

import keras
import numpy as np
from crsae_onnx.core.atomic_files import atomic_write

from keras_crsae import plots
from keras_crsae.applications.denoising.pipeline import denoise


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
        >>> history = model.fit(windows, epochs=4, verbose=0, callbacks=[DrawProgress("progress")])
    """

    def __init__(self, folder, every=1, images=None, sigma=None, tensorboard=False):
        super().__init__()
        if not every >= 1:
            raise ValueError(f"`every` must be 1 or more epochs. Received: {every!r}")
        if images is not None and sigma is None:
            raise ValueError("`images` need `sigma`, the standard deviation of their noise in [0, 1].")
        self.folder, self.every, self.images, self.sigma = Path(folder), every, images, sigma
        self.tensorboard, self._writer = tensorboard, None
        self._lambdas, self._epochs = [], []

    def on_train_begin(self, logs=None):
        self.folder.mkdir(parents=True, exist_ok=True)
        if self.tensorboard:
            import tensorflow as tf

            self._writer = tf.summary.create_file_writer(str(self.folder))

    def on_epoch_end(self, epoch, logs=None):
        self._lambdas.append(keras.ops.convert_to_numpy(self.model.lambda_reg))
        self._epochs.append(epoch + 1)
        if (epoch + 1) % self.every:
            return
        kernel = keras.ops.convert_to_numpy(self.model.decoder.kernel)
        self._put("filters", epoch, plots.plot_filters(kernel, title=f"Filters after epoch {epoch + 1}"))
        self._put("lambda", epoch, plots.plot_lambda(np.stack(self._lambdas), self._epochs, float(self.model.sigma)),
                  one=True)
        if self.images is not None:
            clean, noisy = self.images
            made = denoise(noisy, self.model, sigma=self.sigma)
            self._put("image", epoch, plots.plot_denoising(clean, noisy, made, title=f"After epoch {epoch + 1}"))

    def on_train_end(self, logs=None):
        if self._writer is not None:
            self._writer.close()

    def _put(self, name, epoch, figure, one=False):
        if not self.tensorboard:
            path = self.folder / (f"{name}.png" if one else f"{name}-{epoch + 1:04d}.png")
            with atomic_write(path, overwrite=True) as temporary:  # who looks at it while training runs sees it whole
                figure.savefig(temporary, dpi=100)
            return
        import tensorflow as tf

        stream = io.BytesIO()
        figure.savefig(stream, format="png", dpi=80)
        with self._writer.as_default():
            tf.summary.image(name, tf.io.decode_png(stream.getvalue(), channels=3)[None], step=epoch)
