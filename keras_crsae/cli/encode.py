"""``keras-crsae encode``: the code of a recording or of images, dense or sparse, in a file."""

from __future__ import annotations

import math
import os
import sys
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from crsae_onnx.core.atomic_files import atomic_write
from crsae_onnx.core.errors import FileError
from crsae_onnx.core.windowing import MAX_WHOLE_SAMPLES, WINDOW_SAMPLES

from keras_crsae.applications.denoising.low_pass import LOW_PASS_PIXELS, split_low_pass
from keras_crsae.cli.messages import say
from keras_crsae.cli.startup import start_keras
from keras_crsae.data.arrays import as_batch, check_finite, read_array
from keras_crsae.data.images import drop_transparency, is_image, read_image, unit_image
from keras_crsae.data.paths import check_output, size_text
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
    invalid = [f"--{name}" for name in ("fs", "channels", "stream") if getattr(args, name) is not None]
    if invalid:
        raise FileError(f"{', '.join(invalid)}: for a folder that `keras-crsae sort` wrote, and {args.model} is none.")
    if args.sparse and not args.output.endswith(".npz"):
        raise FileError(f"--sparse writes a .npz file. Received: {args.output}.")
    output = check_output(args.output, (".npy", ".npz"), args.overwrite, inputs=(args.input, args.model))
    signal = _read(args)
    start_keras()
    model = load_crsae(args.model)
    _check_fits(args, signal, model)
    low_pass = LOW_PASS_PIXELS if args.low_pass is None else args.low_pass
    write = _write_sparse if output.suffix.lower() == ".npz" else _write_dense
    with atomic_write(output, args.overwrite) as temporary:
        shape, nonzero = write(temporary, model, signal, args.window, low_pass)
    print(f"{output}: code of shape {shape} (batch, {'position' if model.rank == 1 else 'row, column'}, filter), "
          f"{nonzero} of {math.prod(shape)} values non-zero ({nonzero / math.prod(shape):.3%})")
    if not nonzero:
        say("warning: every code value is zero. The penalty weight lambda * sigma^2 of the model lies above all of "
            "this input: look at the input's unit (`keras-crsae info` prints sigma), or train with a lower --lambda.")


def _read(args: Namespace) -> np.ndarray:
    """(batch, *space, channels) of the input, checked against what the model's file says."""
    config = saved_config(args.model)[0]["config"]
    if is_image(args.input) and config["rank"] == 1:
        raise FileError(f"{args.model} encodes signals, and {args.input} is an image. Expected .npy or .npz.")
    array = drop_transparency(read_image(args.input)) if is_image(args.input) else read_array(args.input, args.key)
    signal = as_batch(array, config["rank"], args.input)
    check_finite(array, args.input)
    return signal


def _check_fits(args: Namespace, signal: np.ndarray, model: CRsAE) -> None:
    dictionary = model.dictionary
    if signal.shape[-1] != dictionary.channels:
        raise FileError(f"{args.input} has {signal.shape[-1]} channels (as shape {signal.shape}), and {args.model} was "
                        f"trained on {dictionary.channels}.")
    if any(n < k for n, k in zip(signal.shape[1:-1], dictionary.kernel_size, strict=True)):
        raise FileError(f"{args.input} is smaller than the filters: {size_text(signal.shape[1:-1])} "
                        f"{'samples' if model.rank == 1 else 'pixels'} against {size_text(dictionary.kernel_size)}.")


def _code_shape(model: CRsAE, signal: np.ndarray) -> tuple[int, ...]:
    return signal.shape[0], *model.dictionary.code_space(signal.shape[1:-1]), model.dictionary.filters


def _encode_windows(model: CRsAE, signal: np.ndarray, window: int | None, **options: Any) -> Any:
    """``model.encode`` of recordings of any length in constant memory; a progress bar where someone watches."""
    window = window or (WINDOW_SAMPLES if signal.shape[1] > MAX_WHOLE_SAMPLES else MAX_WHOLE_SAMPLES)
    return model.encode(signal, window=window, batch_size=max(1, window // signal.shape[1]),
                        progress=True if sys.stderr.isatty() else None, **options)


def _encode_image(model: CRsAE, signal: np.ndarray, index: int, low_pass: float) -> np.ndarray:
    """Code of one image of a batch, (1, row, column, filter): memory stays that of one."""
    return model.encode(split_low_pass(unit_image(signal[index:index + 1]), low_pass)[1])


def _write_dense(path: Path, model: CRsAE, signal: np.ndarray, window: int | None, low_pass: float
                 ) -> tuple[tuple[int, ...], int]:
    """Write a ``.npy`` file; (shape, number of non-zero values)."""
    shape = _code_shape(model, signal)
    out = np.lib.format.open_memmap(path, "w+", np.float32, shape)
    if model.rank == 1:
        _encode_windows(model, signal, window, out=out)
    else:
        for i in range(len(signal)):
            out[i] = _encode_image(model, signal, i, low_pass)[0]
    nonzero = sum(int(np.count_nonzero(row[i:i + _COUNT_ROWS])) for row in out
                  for i in range(0, len(row), _COUNT_ROWS))
    out.flush()
    return shape, nonzero


def _write_sparse(path: Path, model: CRsAE, signal: np.ndarray, window: int | None, low_pass: float
                  ) -> tuple[tuple[int, ...], int]:
    """Write the non-zero values as a ``.npz`` file; (shape, number of them)."""
    shape = _code_shape(model, signal)
    if model.rank == 1:
        index, number, value, _ = _encode_windows(model, signal, window, sparse=True)
    else:
        pieces = []
        for i in range(len(signal)):
            code = _encode_image(model, signal, i, low_pass)
            where = np.nonzero(code)
            positions = np.stack([where[0] + i, *where[1:-1]], axis=1)
            pieces.append((positions, where[-1].astype(np.int32), code[where]))
        index, number, value = (np.concatenate(part) for part in zip(*pieces, strict=True))
    np.savez_compressed(path, index=index, filter=number, value=value, shape=np.array(shape))
    return shape, len(value)
