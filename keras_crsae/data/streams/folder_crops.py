"""Training batches from folders of images, read image by image while training runs."""

import time

import numpy as np
import tensorflow as tf
from crsae_onnx.core.errors import FileError
from crsae_onnx.core.validation import as_positive_int

from keras_crsae.data.batch_order import Place, following
from keras_crsae.data.images import image_files, image_size, load_images, unit_image
from keras_crsae.data.streams.noisy_crops import blur


def image_batches(folder, size, batch_size, crops=1, channels=1, low_pass=0.0, shuffle=True, readers=2, waited=None):
    """Batches of random square crops from the images of a folder for ``fit``; a few images at a time are in memory.

    An epoch sees every image once and takes ``crops`` crops of it. Order and crops are functions of the model's seed,
    the epoch and the image, so training goes on exactly after a stop, and each of several machines reads the images of
    its own part of a batch alone.

    Args:
        folder: with png, jpeg or tiff files, or a list of files; in order of name.
        size: pixels of a crop's side.
        batch_size: crops of a batch; a multiple of ``crops``.
        crops: of an image each time it is read; more make reading cheaper and the crops of a batch more alike.
        channels: 1 (grey) or 3.
        low_pass: width in pixels of the Gaussian blur of a crop that is taken away from it; 0: its mean.
        shuffle: False: images in order of name.
        readers, waited: see ``window_batches``.

    Returns:
        ``tf.data.Dataset`` of float32 (batch_size, size, size, channels), white minus black is 1, with the attribute
        ``place`` that ``fit`` sets.

    Raises:
        FileError: no images, or one smaller than a crop.
        ValueError: sizes that are no positive ints, other ``channels``, a batch that ``crops`` does not divide.

    Example:
        >>> batches = image_batches("photographs", size=64, batch_size=16, crops=4, low_pass=2.0)
    """
    size, batch_size = as_positive_int(size, "size"), as_positive_int(batch_size, "batch_size")
    crops = as_positive_int(crops, "crops")
    if channels not in (1, 3):
        raise ValueError(f"`channels` must be 1 (grey) or 3 (colour). Received: {channels!r}")
    if batch_size % crops:
        raise ValueError(f"`batch_size` must be a multiple of `crops`. Received: {batch_size} and {crops}")
    if low_pass and size <= 4 * low_pass:
        raise ValueError(f"`size` must exceed four times `low_pass`. Received: {size} and {low_pass!r}")
    files = image_files(folder)
    if not files:
        raise FileError("No image files were given.")
    for path in files:
        found = image_size(path)
        if min(found) < size:
            raise FileError(f"{path} has {found[0]} x {found[1]} pixels, fewer than a crop of {size} x {size}. Leave "
                            "it out or use smaller crops.")
    place = Place()

    def read(indices):
        begun = time.perf_counter()
        out = np.empty((len(indices) * crops, size, size, channels), np.float32)
        for i, index in enumerate(indices):
            image = unit_image(load_images(files[index], channels)[0])
            rng = np.random.default_rng([place.seed, place.epoch, int(index)])
            for j in range(crops):
                row, column = (int(rng.integers(n - size + 1)) for n in image.shape[:2])
                out[i * crops + j] = image[row:row + size, column:column + size]
        if waited is not None:
            waited.append(time.perf_counter() - begun)
        return out

    def load(indices):
        made = tf.numpy_function(place.reading(read), [indices], tf.float32)
        made = tf.ensure_shape(made, (None, size, size, channels))
        if not low_pass:
            return made - tf.reduce_mean(made, axis=(1, 2, 3), keepdims=True)
        return made - blur(made, low_pass)[:, :size, :size]  # TensorFlow's convolution of no crop has another size

    return following(place, len(files), batch_size // crops, load, shuffle, prefetch=2,
                     num_parallel_calls=as_positive_int(readers, "readers"), deterministic=True)
