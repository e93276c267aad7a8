"""Training batches from folders of images, read image by image while training runs."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from crsae_onnx.core.errors import FileError
from crsae_onnx.core.validation import as_positive_int

from keras_crsae.backend import tf
from keras_crsae.data.batch_order import BatchOrder
from keras_crsae.data.images import image_files, image_size, load_images, unit_image
from keras_crsae.data.streams.batch_source import BatchSource
from keras_crsae.data.streams.noisy_crops import blur


def image_batches(folder: str | Path | Sequence[str | Path], size: int, batch_size: int, crops: int = 1,
                  channels: int = 1, low_pass: float = 0.0, shuffle: bool = True, readers: int = 2,
                  waited: list[float] | None = None) -> BatchSource:
    """Batches of random square crops from the images of a folder for ``fit``; a few images at a time are in memory.

    An epoch sees every image once and takes ``crops`` crops of it. Order and crops are functions of the model's seed,
    the epoch and the image, so training goes on exactly after a stop, and each of several machines reads the images of
    its own part of a batch alone.

    Args:
        folder: with png, jpeg or tiff files, or a list of files; in order of name.
        size: pixels of a crop's side.
        batch_size: crops of a batch; a multiple of ``crops``.
        crops: of an image each time it is read; more make reading cheaper and the crops of a batch more alike.
        channels: 1 (gray) or 3.
        low_pass: width in pixels of the Gaussian blur of a crop that is taken away from it; 0: its mean.
        shuffle: False: images in order of name.
        readers, waited: see ``window_batches``.

    Returns:
        ``BatchSource`` of float32 (batch_size, size, size, channels); white minus black is 1.

    Raises:
        FileError: no images, or one smaller than a crop.
        ValueError: sizes that are no positive ints, other ``channels``, a batch that ``crops`` does not divide.

    Example:
        >>> import numpy as np
        >>> from pathlib import Path
        >>> from keras_crsae.data import image_batches, write_image
        >>> Path("photographs").mkdir()
        >>> for i in range(4):
        ...     write_image(f"photographs/{i}.png", np.random.default_rng(i).integers(0, 256, (80, 80), np.uint8))
        >>> batches = image_batches("photographs", size=64, batch_size=16, crops=4, low_pass=2.0)
        >>> [tuple(batch.shape) for batch in batches]
        [(16, 64, 64, 1)]
    """
    size, batch_size = as_positive_int(size, "size"), as_positive_int(batch_size, "batch_size")
    crops = as_positive_int(crops, "crops")
    if channels not in (1, 3):
        raise ValueError(f"`channels` must be 1 (gray) or 3 (colour). Received: {channels!r}")
    if batch_size % crops:
        raise ValueError(f"`batch_size` must be a multiple of `crops`. Received: {batch_size} and {crops}")
    if low_pass and size <= 4 * low_pass:
        raise ValueError(f"`size` must exceed four times `low_pass`. Received: {size} and {low_pass!r}")
    files = image_files(folder)
    if not files:
        raise FileError("No image files were given.")
    for path in files:
        height, width = image_size(path)
        if min(height, width) < size:
            raise FileError(f"{path} has {height} x {width} pixels, fewer than a crop of {size} x {size}. Omit it "
                            "or use smaller crops.")

    def read(indices: np.ndarray, order: BatchOrder) -> np.ndarray:
        begun = time.perf_counter()
        out = np.empty((len(indices) * crops, size, size, channels), np.float32)
        for i, index in enumerate(indices):
            image = unit_image(load_images(files[index], channels)[0])
            rng = np.random.default_rng([order.seed, order.epoch, int(index)])
            for j in range(crops):
                row, column = (int(rng.integers(n - size + 1)) for n in image.shape[:2])
                out[i * crops + j] = image[row:row + size, column:column + size]
        if waited is not None:
            waited.append(time.perf_counter() - begun)
        return out

    def subtract_slow_part(images: tf.Tensor) -> tf.Tensor:
        if not low_pass:
            return images - tf.reduce_mean(images, axis=(1, 2, 3), keepdims=True)
        return images - blur(images, low_pass)[:, :size, :size]  # TensorFlow's convolution of no crop has another size

    return BatchSource.from_reader(len(files), batch_size // crops, read,
                                   tf.TensorSpec((None, size, size, channels), tf.float32), subtract_slow_part,
                                   shuffle=shuffle, prefetch=2, readers=as_positive_int(readers, "readers"))
