"""What ``keras-crsae train`` learns from: files -> windows of signals, or patches of images."""

from __future__ import annotations

import math
import warnings
from argparse import Namespace
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from crsae_onnx.core.batches import as_batch
from crsae_onnx.core.errors import FileError

from keras_crsae.applications.denoising.low_pass import LOW_PASS_PIXELS, split_low_pass
from keras_crsae.data.arrays import check_finite, read_array
from keras_crsae.data.images import (
    drop_transparency,
    gray_image,
    has_integer_levels,
    image_files,
    is_image,
    random_patches,
    read_image,
    unit_image,
)
from keras_crsae.data.paths import size_text
from keras_crsae.data.streams.windows import cut_windows
from keras_crsae.initializers import window_noise

#: Length of a window and side of a patch, where the option is not given: these, or so many filter lengths if more.
WINDOW_SAMPLES, WINDOW_FILTERS = 2048, 8
PATCH_PIXELS, PATCH_FILTERS = 64, 4
PATCHES = 200
_HIGHEST_LEVEL = 3.0  # of floats in [0, 1] with noise

NamedArrays = list[tuple[str, np.ndarray]]


def read_inputs(args: Namespace) -> tuple[int, NamedArrays]:
    """Rank and a list of (name, array (batch, *space, channels)), integer images still integer.

    Raises:
        FileError: files that cannot be read, or do not go together.
    """
    names = [str(file) for name in args.input for file in (image_files(name) if Path(name).is_dir() else [name])]
    images = [is_image(name) for name in names]
    if any(images) and not all(images):
        raise FileError("Give either image files or arrays, not both: "
                        f"{names[images.index(True)]} and {names[images.index(False)]}.")
    if all(images):
        if args.rank == 1:
            raise FileError("--rank 1 is for signals, and the inputs are images. Omit it.")
        arrays = [(name, drop_transparency(read_image(name))) for name in names]
    else:
        arrays = [(name, read_array(name, args.key)) for name in names]
    rank = args.rank or (2 if all(images) or any(array.ndim == 4 for _, array in arrays) else 1)
    out = []
    for name, array in arrays:
        check_finite(array, name)
        out.append((name, as_batch(array, rank, name)))
    if rank == 2 and not args.gray:
        _check_alike(out, _channels, "colour and gray images. Add --gray to turn all of them gray")
    if rank == 2:
        _check_levels(out)
    if rank == 1:
        _check_alike(out, _channels, "different numbers of channels. Train one model for each")
    return rank, out


def _check_levels(arrays: NamedArrays) -> None:
    """Refuse images without any detail, and floats that are not in the unit of others, where white is 1."""
    if all(array.min() == array.max() for _, array in arrays):
        raise FileError(f"{arrays[0][0]} is of one gray level everywhere{' as are the others' * (len(arrays) > 1)}: "
                        "there is nothing to learn.")
    far = [name for name, array in arrays if not has_integer_levels(array) and array.max() > _HIGHEST_LEVEL]
    if far and len(far) < len(arrays):
        raise FileError(f"{far[0]} holds levels above 1, and {next(n for n, _ in arrays if n not in far)} those of "
                        "black 0 to white 1 (8 and 16 bits are divided by their white). Divide the first by its white.")


def _channels(array: np.ndarray) -> int:
    return array.shape[-1]


def _check_alike(arrays: NamedArrays, property_of: Callable[[np.ndarray], int], trouble: str) -> None:
    first, first_array = arrays[0]
    for name, array in arrays:
        if property_of(array) != property_of(first_array):
            raise FileError(f"{first} (shape {first_array.shape}) and {name} (shape {array.shape}) hold {trouble}.")


def sizes_of(size: int | tuple[int, ...], rank: int, option: str) -> tuple[int, ...]:
    """An option's size as one number an axis.

    Raises:
        FileError: two numbers for signals.

    Example:
        >>> from keras_crsae.cli.training_data import sizes_of
        >>> sizes_of(8, 2, "--kernel-size")
        (8, 8)
    """
    values = size if isinstance(size, tuple) else (size,) * rank
    if len(values) != rank:
        raise FileError(f"{option} {size_text(values)} names two axes, and signals have one. For images add --rank 2.")
    return values


def training_windows(args: Namespace, arrays: NamedArrays, kernel_size: tuple[int, ...],
                     rng: np.random.Generator) -> np.ndarray:
    """float32 (windows, time, channels); arrays of three axes stay as they are unless --window is given.

    Raises:
        FileError: recordings shorter than a filter or than --window.
    """
    for name, array in arrays:
        if array.shape[1] < kernel_size[0]:
            raise FileError(f"{name} has {array.shape[1]} samples, fewer than one filter of {kernel_size[0]}. "
                            "Give a longer recording or a smaller --kernel-size.")
    window = _window_length(args, [array for _, array in arrays], kernel_size[0])
    total = sum(array.shape[0] * array.shape[1] for _, array in arrays)
    cut = []
    for _, array in arrays:
        count = None if args.limit is None else math.ceil(args.limit * array.shape[0] * array.shape[1] / total)
        cut.append(cut_windows(array, window, count, rng))
    data = np.concatenate(cut) if len(cut) > 1 else cut[0]
    if args.limit is not None and len(data) > args.limit:
        data = data[rng.permutation(len(data))[:args.limit]]
    _warn_of_offset(data)
    return data


def _window_length(args: Namespace, arrays: Sequence[np.ndarray], kernel_size: int) -> int:
    shortest = min(array.shape[1] for array in arrays)
    if args.window is not None:
        window = sizes_of(args.window, 1, "--window")[0]
        if not kernel_size <= window <= shortest:
            raise FileError(f"--window {window} must lie between the filter's length, {kernel_size}, and the "
                            f"shortest input, {shortest} samples.")
        return window
    if all(len(array) > 1 for array in arrays):  # windows already
        if any(array.shape[1] != shortest for array in arrays):
            raise FileError("The inputs hold windows of different lengths. Give --window N to cut them alike.")
        return shortest
    return min(shortest, max(WINDOW_SAMPLES, WINDOW_FILTERS * kernel_size))


def _warn_of_offset(data: np.ndarray) -> None:
    """Warn where a channel does not lie around zero, as the model supposes, or holds no noise."""
    levels = [window_noise(data[..., channel]) for channel in range(data.shape[-1])]
    silent = [channel for channel, level in enumerate(levels) if not level.std > 0]
    if 0 < len(silent) < len(levels):
        warnings.warn(f"channel{'s' * (len(silent) > 1)} {', '.join(map(str, silent))} of {len(levels)}: constant, no "
                      "noise in the training data, and no part in its noise level.", stacklevel=2)
    far = [channel for channel, level in enumerate(levels) if abs(level.center) > 2 * level.std > 0]
    if far:
        center, noise = levels[far[0]].center, levels[far[0]].std
        warnings.warn(f"channel {far[0]} has a median of {center:.4g}, far from zero against its noise of "
                      f"{noise:.4g}. The model describes data around zero: high-pass filter the recording or subtract "
                      "its median first.", stacklevel=2)


def training_patches(args: Namespace, arrays: NamedArrays, kernel_size: tuple[int, ...],
                     rng: np.random.Generator) -> np.ndarray:
    """float32 (patches, height, width, channels) of the images without their slow part, as ``denoise`` sees them.

    Raises:
        FileError: images smaller than a filter or than --window.
    """
    low_pass = LOW_PASS_PIXELS if args.low_pass is None else args.low_pass
    pictures = []
    for name, array in arrays:
        for picture in array:
            picture = unit_image(np.asarray(picture))
            if any(n < k for n, k in zip(picture.shape, kernel_size, strict=False)):
                raise FileError(f"{name} has {size_text(picture.shape[:2])} pixels, fewer than one filter of "
                                f"{size_text(kernel_size)}. Omit it or use a smaller --kernel-size.")
            pictures.append(split_low_pass((gray_image(picture) if args.gray else picture)[None], low_pass)[1][0])
    smallest = tuple(min(p.shape[axis] for p in pictures) for axis in (0, 1))
    size = tuple(min(n, max(PATCH_PIXELS, PATCH_FILTERS * k)) for n, k in zip(smallest, kernel_size, strict=True))
    if args.window is not None:
        size = sizes_of(args.window, 2, "--window")
        if any(not k <= s <= n for k, s, n in zip(kernel_size, size, smallest, strict=True)):
            raise FileError(f"--window {size_text(size)} must lie between the filter's size, {size_text(kernel_size)}, "
                            f"and the smallest image, {size_text(smallest)} pixels.")
    return random_patches(pictures, size, args.limit or PATCHES, rng)


def holds_gray_levels(arrays: NamedArrays) -> bool:
    """Whether images are of whole numbers, so that options speak of gray levels of 255.

    Example:
        >>> import numpy as np
        >>> from keras_crsae.cli.training_data import holds_gray_levels
        >>> holds_gray_levels([("a.png", np.zeros((1, 8, 8, 1), "uint8"))])
        True
    """
    return any(has_integer_levels(array) for _, array in arrays)
