"""``crsae-onnx run``: encode a file, or find the spikes of a recording."""

from __future__ import annotations

import json
import zipfile
from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np

from crsae_onnx.cli.spikes import run_spikes
from crsae_onnx.core.atomic_files import atomic_write
from crsae_onnx.core.batches import as_batch
from crsae_onnx.core.progress import Progress, ProgressBar
from crsae_onnx.core.raw_binary import DEFAULT_RAW_DTYPE, RAW_SUFFIXES, open_raw
from crsae_onnx.core.signals import check_layout
from crsae_onnx.core.windowing import WindowOptions
from crsae_onnx.runtime.sparse_encoder import SparseEncoder


def run(args: Namespace) -> None:
    """Encode a file into another one; what fails leaves no output."""
    output = Path(args.output)
    if args.scheduler is not None or output.suffix == ".zarr":
        return _run_cluster(args)
    _check_output(args, output)
    encoder = SparseEncoder(args.file, active=args.active)
    _check_frequency(args, encoder)
    signal = open_signal(args.input, args.channels or encoder.info["channels"], args.dtype, args.key)
    if args.channels is not None and encoder.info["channels"] != args.channels:
        raise ValueError(f"{args.file} encodes {encoder.info['channels']} channels, not {args.channels}.")
    with atomic_write(output) as temporary, ProgressBar(args.progress) as progress:
        if args.spikes:
            message = run_spikes(encoder, signal, temporary, args.chunk, progress, args.delay)
        else:
            signal = as_batch(signal, encoder.info["rank"], args.input)
            message = _encode(encoder, signal, temporary, args, progress)
    print(f"{output}: {message}")


def _run_cluster(args: Namespace) -> None:
    from crsae_onnx.runtime.cluster import run_cluster

    _refuse(args, ("sparse", "spikes", "sigma", "chunk", "delay", "fs", "channels", "dtype", "key", "active"),
            "On a cluster a dense array is written")
    local = args.scheduler in (None, "local")
    shape = run_cluster(args.file, args.input, args.output, None if local else args.scheduler,
                        "reconstruction" if args.reconstruct else "code", args.window, overwrite=args.overwrite)
    print(f"{args.output}: shape {shape}")


def _refuse(args: Namespace, names: tuple[str, ...], reason: str) -> None:
    given = [f"--{name}" for name in names if getattr(args, name)]
    if given:
        raise ValueError(f"{reason}: omit {', '.join(given)}.")


def _check_output(args: Namespace, output: Path) -> None:
    """Refuse options that exclude each other, a wrong suffix, and an output that exists."""
    if args.spikes:
        _refuse(args, ("sparse", "reconstruct", "window", "sigma"), "--spikes writes a table of spikes")
        if output.suffix != ".csv":
            raise ValueError(f"--spikes writes a .csv file. Received: {output}")
    else:
        for name in ("chunk", "delay"):
            if getattr(args, name) is not None:
                raise ValueError(f"--{name} is for --spikes.")
    if output.exists() and not args.overwrite:
        raise FileExistsError(f"{output} exists. Choose another name or pass --overwrite.")
    if args.sparse and (args.reconstruct or output.suffix != ".npz"):
        raise ValueError("--sparse writes a code's non-zero values: name an .npz file and omit --reconstruct.")
    if not (args.sparse or args.spikes) and output.suffix != ".npy":
        raise ValueError(f"Expected an output named .npy (.npz with --sparse, .csv with --spikes). Received: {output}")
    if output.resolve() == Path(args.input).resolve():
        raise ValueError(f"{output} is the input. Choose another name.")


def _check_frequency(args: Namespace, encoder: SparseEncoder) -> None:
    """Refuse a sampling frequency that is not the one that the encoder was made for, where that is known."""
    info = encoder.info
    spikes = json.loads(info["spikes"]) if isinstance(info.get("spikes"), str) else {}
    known = spikes.get("sampling_frequency", info.get("sampling_frequency"))
    if args.fs is not None and known is not None and abs(args.fs - known) > 1e-3 * known:
        raise ValueError(f"{args.file} is for recordings sampled at {known:g} Hz. Received: --fs {args.fs:g}. Resample "
                         "the recording.")


def open_signal(path: str | Path, channels: int, dtype: str | None = None, key: str | None = None) -> np.ndarray:
    """The array of a ``.npy`` or raw file, mapped, or of a ``.npz`` file.

    Args:
        path: the file.
        channels: of a raw file.
        dtype: of the samples; None: a raw file's are int16.
        key: name of the array of a ``.npz`` file that holds several.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it holds no array of numbers, or another type or array than the one named.

    Example:
        >>> import numpy as np
        >>> from crsae_onnx.cli.run import open_signal
        >>> np.savez("two.npz", y=np.zeros((60000, 4)), z=np.zeros(3))
        >>> open_signal("two.npz", channels=4, key="y").shape
        (60000, 4)
    """
    path = Path(path)
    if not path.is_file():
        wrong = f"{path} is a folder" if path.is_dir() else f"No file at {path}"
        raise FileNotFoundError(f"{wrong}. Expected a .npy, .npz or raw file.")
    suffix = path.suffix.lower()
    if key is not None and suffix != ".npz":
        raise ValueError(f"--key is for a .npz file. Received: {path}")
    if suffix in RAW_SUFFIXES:
        return open_raw(path, channels, dtype or DEFAULT_RAW_DTYPE)
    if suffix not in (".npy", ".npz"):
        raise ValueError(f"{path}: cannot read files of type {suffix!r}. Expected .npy, .npz, or raw binary "
                         f"{', '.join(RAW_SUFFIXES)}.")
    array = _read_npz(path, key) if suffix == ".npz" else open_npy(path)
    if dtype is not None and array.dtype != np.dtype(dtype):
        raise ValueError(f"{path} holds samples of type {array.dtype}, not {dtype}. Omit it: --dtype is for raw files.")
    return array


def open_npy(path: str | Path) -> np.ndarray:
    """A ``.npy`` file, mapped: a recording larger than memory is read window by window.

    Raises:
        ValueError: it holds no array of numbers.
    """
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise ValueError(f"{path} is not a .npy array of numbers: {error}") from error


def _read_npz(path: Path, key: str | None) -> np.ndarray:
    try:
        with np.load(path, allow_pickle=False) as archive:
            names = list(archive.files)
            if key not in names and (key is not None or len(names) != 1):
                wrong = "" if key is None else f" and no {key!r}"
                raise ValueError(f"{path} holds the arrays {', '.join(names)}{wrong}. Choose one: --key NAME.")
            return archive[names[0] if key is None else key]
    except (EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} is not a .npz file of arrays: {error}") from error


def _encode(encoder: SparseEncoder, signal: np.ndarray, temporary: Path, args: Namespace, progress: Progress) -> str:
    """Write the code or the reconstruction into ``temporary``; returns a message for the user."""
    info = encoder.info
    step = "reconstruct" if args.reconstruct else "encode"
    progress(step, 0.0)
    options: dict[str, Any] = {}
    if info["rank"] == 1:
        options["progress"] = lambda done, total: progress(f"{step}, {done} of {total} windows", done / total)
    options |= {name: getattr(args, name) for name in ("window", "sigma") if getattr(args, name) is not None}
    if args.sparse:
        code = encoder.encode(signal, sparse=True, **options)
        with temporary.open("wb") as file:
            np.savez(file, index=code.index, filter=code.filter, value=code.value, shape=np.array(code.shape))
        return f"{len(code.value)} non-zero values of a code of shape {code.shape}"
    compute = encoder.reconstruct if args.reconstruct else encoder.encode
    if info["rank"] == 1:
        check_layout(signal, 1, info["kernel_size"], info["channels"])
        sizes = WindowOptions(info["kernel_size"], info["filters"], info["iterations"], info["strides"])
        shape = signal.shape if args.reconstruct else sizes.code_shape(signal.shape)
        # The windows go straight to the file: a code is larger than its signal.
        result = np.lib.format.open_memmap(temporary, "w+", np.float32, shape)
        compute(signal, out=result, **options)
        result.flush()
    else:
        result = compute(signal, **options)
        with temporary.open("wb") as file:
            np.save(file, result)
    return f"shape {result.shape}, {np.count_nonzero(result) / result.size:.2%} non-zero"
