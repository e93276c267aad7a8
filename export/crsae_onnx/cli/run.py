"""``crsae-onnx run``: encode a file, or find the spikes of a recording."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np

from crsae_onnx.cli.spikes import run_spikes
from crsae_onnx.core.atomic_files import atomic_write
from crsae_onnx.core.raw_binary import RAW_SUFFIXES, open_raw
from crsae_onnx.core.signals import check_layout
from crsae_onnx.core.windowing import WindowOptions
from crsae_onnx.runtime.sparse_encoder import SparseEncoder


def run(args: Namespace) -> None:
    """Encode a file into another one; what fails leaves no output."""
    output = Path(args.output)
    if args.scheduler is not None or output.suffix == ".zarr":
        return _run_cluster(args)
    _check_output(args, output)
    encoder = SparseEncoder(args.file)
    if args.spikes and Path(args.input).suffix.lower() in RAW_SUFFIXES and Path(args.input).is_file():
        signal = open_raw(args.input, encoder.info["channels"], args.dtype)
    else:
        signal = open_npy(args.input)
    with atomic_write(output) as temporary:
        if args.spikes:
            message = run_spikes(encoder, signal, temporary, chunk=args.chunk, progress=args.progress)
        else:
            message = _encode(encoder, signal, temporary, args)
    print(f"{output}: {message}")


def _run_cluster(args: Namespace) -> None:
    from crsae_onnx.runtime.cluster import run_cluster

    _refuse(args, ("sparse", "spikes", "sigma", "chunk", "progress"), "On a cluster a dense array is written")
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
    elif args.chunk is not None:
        raise ValueError("--chunk is for --spikes.")
    if output.exists() and not args.overwrite:
        raise FileExistsError(f"{output} exists. Choose another name or pass --overwrite.")
    if args.sparse and (args.reconstruct or output.suffix != ".npz"):
        raise ValueError("--sparse writes a code's non-zero values: name an .npz file and omit --reconstruct.")
    if not (args.sparse or args.spikes) and output.suffix != ".npy":
        raise ValueError(f"Expected an output named .npy (.npz with --sparse, .csv with --spikes). Received: {output}")
    if output.resolve() == Path(args.input).resolve():
        raise ValueError(f"{output} is the input. Choose another name.")


def open_npy(path: str | Path) -> np.ndarray:
    """A ``.npy`` file, mapped: a recording larger than memory is read window by window.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it holds no array of numbers.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"No file at {path}. Expected a .npy array.")
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise ValueError(f"{path} is not a .npy array of numbers: {error}") from error


def _encode(encoder: SparseEncoder, signal: np.ndarray, temporary: Path, args: Namespace) -> str:
    """Write the code or the reconstruction into ``temporary``; returns a message for the user."""
    info = encoder.info
    options: dict[str, Any] = {"progress": True if args.progress and info["rank"] == 1 else None}
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
