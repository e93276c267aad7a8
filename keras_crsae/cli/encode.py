"""``keras-crsae encode``: the code of a recording or of images, dense or sparse, in a file."""

from __future__ import annotations

import math
import os
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from crsae_onnx.core.atomic_files import atomic_write
from crsae_onnx.core.batches import SingleBatch, as_batch
from crsae_onnx.core.errors import FileError
from crsae_onnx.core.progress import Progress, ProgressBar
from crsae_onnx.core.raw_binary import RAW_SUFFIXES
from crsae_onnx.core.spikes.noise_level import CHECKED_SAMPLES, level_warning
from crsae_onnx.core.windowing import MAX_WHOLE_SAMPLES, WINDOW_SAMPLES

from keras_crsae.applications.denoising.low_pass import LOW_PASS_PIXELS, split_low_pass
from keras_crsae.applications.spike_sorting.recording_view import ArrayView, is_recording
from keras_crsae.applications.spike_sorting.result_folder import READER
from keras_crsae.cli.messages import say
from keras_crsae.cli.startup import start_keras
from keras_crsae.data.arrays import check_finite
from keras_crsae.data.images import drop_transparency, is_image, read_image, unit_image
from keras_crsae.data.paths import MODEL_FILE, check_output, size_text
from keras_crsae.data.recordings import open_recording
from keras_crsae.models.serialization import load_crsae, saved_config

if TYPE_CHECKING:
    from keras_crsae.models.crsae import CRsAE

_COUNT_ROWS = 2**20  # code positions that are counted at a time


def encode(args: Namespace) -> None:
    """Write the code of ``args.input`` by the model ``args.model``, or the spikes that a sorter's folder finds.

    Raises:
        FileError: invalid input, model or output.
    """
    if os.path.isdir(args.model):
        from keras_crsae.cli.sort import encode as find_spikes

        return find_spikes(args)
    if args.sparse and not args.output.endswith(".npz"):
        raise FileError(f"--sparse writes a .npz file. Received: {args.output}.")
    output = check_output(args.output, (".npy", ".npz"), args.overwrite, inputs=(args.input, args.model))
    signal = _read(args)
    _warn_of_sorter(args, signal)
    write = _write_sparse if output.suffix.lower() == ".npz" else _write_dense
    with ProgressBar(args.progress) as progress, atomic_write(output, args.overwrite) as temporary:
        progress("start TensorFlow", 0.0)
        start_keras()
        model = load_crsae(args.model)
        progress("encode", 0.0)
        shape, nonzero = write(temporary, model, signal, args, progress)
    print(f"{output}: code of shape {shape} (batch, {'position' if model.rank == 1 else 'row, column'}, filter), "
          f"{nonzero} of {math.prod(shape)} values non-zero ({nonzero / math.prod(shape):.3%})")
    if not nonzero:
        say("warning: every code value is zero. The penalty weight lambda * sigma^2 of the model lies above all of "
            "this input: look at the input's unit (`keras-crsae info` prints sigma), or train with a lower --lambda.")


def _warn_of_sorter(args: Namespace, signal: Any) -> None:
    """The model in a sorter's folder takes whitened recordings: say so of others."""
    path = Path(args.model)
    if path.name == MODEL_FILE and (path.parent / READER).is_file():
        message = level_warning(signal[0:1, 0:CHECKED_SAMPLES][0])
        if message is not None:
            say(f"warning: {message} The folder whitens, too: keras-crsae encode {path.parent} {args.input} spikes.csv")


def _read(args: Namespace) -> Any:
    """(batch, *space, channels) of the input, checked against what the model's file says before TensorFlow starts."""
    saved = saved_config(args.model)[0]
    config, channels = saved["config"], saved["build_config"]["input_shape"][-1]
    if is_image(args.input) and config["rank"] == 1:
        raise FileError(f"{args.model} encodes signals, and {args.input} is an image. Expected a recording.")
    if is_image(args.input):
        array = drop_transparency(read_image(args.input))
    elif Path(args.input).suffix.lower() in RAW_SUFFIXES and args.channels is None:
        array = open_recording(args.input, args.fs, channels, args.dtype)
    else:
        array = open_recording(args.input, args.fs, args.channels, args.dtype, args.key, args.stream, args.segment)
    if is_recording(array):
        view = ArrayView(array)
        check_finite(view, args.input)
        signal = SingleBatch(view)
    else:
        signal = as_batch(array, config["rank"], args.input)
        check_finite(array, args.input)
    _check_fits(args, signal.shape, tuple(config["kernel_size"]), channels)
    return signal


def _check_fits(args: Namespace, shape: tuple[int, ...], kernel_size: tuple[int, ...], channels: int) -> None:
    """Compare a signal's shape (batch, *space, channels) with the model's filters."""
    if len(shape) != len(kernel_size) + 2:
        raise FileError(f"{args.model} encodes images, and {args.input} is a recording.")
    if shape[-1] != channels:
        raise FileError(f"{args.input} has {shape[-1]} channels (as shape {shape}), and {args.model} was trained on "
                        f"{channels}. Train a model on such input, or convert the input.")
    if any(n < k for n, k in zip(shape[1:-1], kernel_size, strict=True)):
        raise FileError(f"{args.input} is smaller than the filters: {size_text(shape[1:-1])} "
                        f"{'samples' if len(kernel_size) == 1 else 'pixels'} against {size_text(kernel_size)}.")


def _code_shape(model: CRsAE, signal: Any) -> tuple[int, ...]:
    return signal.shape[0], *model.dictionary.code_space(signal.shape[1:-1]), model.dictionary.filters


def _encode_windows(model: CRsAE, signal: Any, window: int | None, progress: Progress, **options: Any) -> Any:
    """``model.encode`` of recordings of any length in constant memory."""
    window = window or (WINDOW_SAMPLES if signal.shape[1] > MAX_WHOLE_SAMPLES else MAX_WHOLE_SAMPLES)
    return model.encode(signal, window=window, batch_size=max(1, window // signal.shape[1]), **options,
                        progress=lambda done, total: progress(f"encode, {done} of {total} windows", done / total))


def _encode_images(model: CRsAE, signal: np.ndarray, low_pass: float | None, progress: Progress
                   ) -> Iterator[np.ndarray]:
    """Code of each image of a batch, (1, row, column, filter): memory stays that of one."""
    low_pass = LOW_PASS_PIXELS if low_pass is None else low_pass
    for i in range(len(signal)):
        progress(f"encode, image {i + 1} of {len(signal)}", i / len(signal))
        yield model.encode(split_low_pass(unit_image(signal[i:i + 1]), low_pass)[1])


def _write_dense(path: Path, model: CRsAE, signal: Any, args: Namespace, progress: Progress
                 ) -> tuple[tuple[int, ...], int]:
    """Write a ``.npy`` file; (shape, number of non-zero values)."""
    shape = _code_shape(model, signal)
    out = np.lib.format.open_memmap(path, "w+", np.float32, shape)
    if model.rank == 1:
        _encode_windows(model, signal, args.window, progress, out=out)
    else:
        for i, code in enumerate(_encode_images(model, signal, args.low_pass, progress)):
            out[i] = code[0]
    nonzero = sum(int(np.count_nonzero(row[i:i + _COUNT_ROWS])) for row in out
                  for i in range(0, len(row), _COUNT_ROWS))
    out.flush()
    return shape, nonzero


def _write_sparse(path: Path, model: CRsAE, signal: Any, args: Namespace, progress: Progress
                  ) -> tuple[tuple[int, ...], int]:
    """Write the non-zero values as a ``.npz`` file; (shape, number of them)."""
    shape = _code_shape(model, signal)
    if model.rank == 1:
        index, number, value, _ = _encode_windows(model, signal, args.window, progress, sparse=True)
    else:
        pieces = []
        for i, code in enumerate(_encode_images(model, signal, args.low_pass, progress)):
            where = np.nonzero(code)
            positions = np.stack([where[0] + i, *where[1:-1]], axis=1)
            pieces.append((positions, where[-1].astype(np.int32), code[where]))
        index, number, value = (np.concatenate(part) for part in zip(*pieces, strict=True))
    np.savez_compressed(path, index=index, filter=number, value=value, shape=np.array(shape))
    return shape, len(value)
