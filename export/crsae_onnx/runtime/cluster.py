"""Long recordings over many processes and machines, with Dask (extra: cluster).

The recording is cut into chunks; each is read with as many samples around it as its codes depend on
(``dask.array.map_overlap``), encoded where a worker is free, and trimmed. A worker keeps one session. Chunks of a
worker that dies are computed by another one.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from functools import lru_cache, partial
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from crsae_onnx.core.atomic_files import atomic_write
from crsae_onnx.core.batches import SingleBatch
from crsae_onnx.core.optional import import_optional
from crsae_onnx.core.signals import check_layout
from crsae_onnx.core.validation import as_positive_int
from crsae_onnx.file_format import container
from crsae_onnx.file_format.facts import file_receptive_field
from crsae_onnx.runtime.level_check import LevelCheck
from crsae_onnx.runtime.sparse_encoder import SparseEncoder

if TYPE_CHECKING:
    import dask.array

#: Samples of a chunk by default.
CHUNK = 2**19
_SESSIONS = threading.Lock()


def encode_blocks(path: str | os.PathLike[str], recording: Any, output: str = "code", chunk: int | None = None,
                  threads: int = 1) -> dask.array.Array:
    """Code or reconstruction of a recording as a Dask array, computed when its values are needed.

    Args:
        path: exported ``.onnx`` file of signals (rank 1); its bytes travel to the workers, the file need not.
        recording: (batch, time, channels), real: a Dask array, or any object with ``shape``, ``dtype`` and slices that
            workers can read (see ``open_array`` for files).
        output: "code" or "reconstruction".
        chunk: samples of a chunk; None: 2^19. Never less than what codes depend on, iterations * (kernel size - 1).
        threads: onnxruntime threads of a worker; Dask starts one worker a core by default.

    Returns:
        ``dask.array.Array`` (batch, positions, filters) or of the recording's shape, float32. To rounding it holds what
        ``SparseEncoder`` gives for the whole (a file with a ``tolerance`` stops chunk by chunk: equal to that).

    Raises:
        ModuleNotFoundError: the extra ``cluster`` is not installed.
        SignalError: an invalid recording. NaN is found when it is read, and raised by ``compute``.
        ValueError: a file of images, an output that the file lacks, an invalid chunk.

    Example:
        >>> import numpy as np
        >>> import keras_crsae as kc
        >>> from crsae_onnx.convert import convert
        >>> from crsae_onnx.runtime.cluster import encode_blocks
        >>> model = kc.CRsAE(filters=3, kernel_size=45, iterations=20, sigma=1.0, lambda_init=4.0)
        >>> model.set_dictionary(kc.data.spike_templates(45, 3))
        >>> path = convert(model, "encoder.onnx")
        >>> blocks = encode_blocks(path, np.zeros((1, 5000, 1), "float32"), chunk=20000)
        >>> blocks.shape
        (1, 4956, 3)
    """
    da = _import("dask.array")
    content, info = container.read(path)
    if info["rank"] != 1 or output not in info["outputs"] or output not in ("code", "reconstruction"):
        raise ValueError(f"Expected a file of signals (rank 1) with the output {output!r}. Received: rank "
                         f"{info['rank']}, outputs {info['outputs']}.")
    chunk = CHUNK if chunk is None else as_positive_int(chunk, "chunk")
    check_layout(recording, 1, info["kernel_size"], info["channels"])
    size, stride = info["kernel_size"][0], info["strides"][0]
    reach = file_receptive_field(info) + (0 if output == "code" else (size - 1) // stride)
    before, after = reach * stride, reach * stride + size - stride
    chunks = _chunks(recording.shape[1], chunk, max(before, after), stride)
    blocks = da.asarray(recording) if isinstance(recording, da.Array) else \
        da.from_array(recording, chunks=(1, chunks, -1), asarray=True, name=False)
    blocks = blocks.rechunk((1, chunks, -1))
    if output == "code":
        kept = [n // stride for n in chunks[:-1]] + [-(-(chunks[-1] - size) // stride) + 1]
        shape = (blocks.chunks[0], tuple(kept), (info["filters"],))
    else:
        kept, shape = list(chunks), blocks.chunks
    run = partial(_run_block, content=content, output=output, before=reach if output == "code" else before, kept=kept,
                  threads=threads)
    result = {"dtype": np.float32, "chunks": shape, "meta": np.zeros((0, 0, 0), np.float32)}
    if len(chunks) == 1:
        return da.map_blocks(run, blocks, **result)
    return da.map_overlap(run, blocks, depth={1: (before, after)}, boundary={1: "none"}, trim=False,
                          allow_rechunk=False, **result)


def _chunks(length: int, chunk: int, least: int, stride: int) -> tuple[int, ...]:
    """Chunks of a whole number of strides, none shorter than what its neighbours read of it."""
    chunk = -(-max(chunk, least, 1) // stride) * stride
    count = max(1, length // chunk)
    return (chunk,) * (count - 1) + (length - chunk * (count - 1),)


def _run_block(piece: Any, block_id: Sequence[int], *, content: bytes, output: str, before: int, kept: Sequence[int],
               threads: int) -> np.ndarray:
    """One chunk and its surroundings -> its part of the output."""
    encoder = _session(content, threads)
    result = (encoder.encode if output == "code" else encoder.reconstruct)(np.ascontiguousarray(piece))
    first = 0 if block_id[1] == 0 else before
    return result[:, first:first + kept[block_id[1]]]


def _session(content: bytes, threads: int) -> SparseEncoder:
    with _SESSIONS:  # or two threads of a worker would create one each
        return worker_session(content, threads)


@lru_cache(maxsize=4)
def worker_session(content: bytes, threads: int) -> SparseEncoder:
    """The encoder of a worker, kept between chunks."""
    return SparseEncoder(content, threads=threads)


def open_array(path: str | os.PathLike[str]) -> ArrayFile:
    """An array in a file that every worker can open: .npy, .zarr, or FILE.h5:DATASET.

    Returns:
        An object with ``shape``, ``dtype`` and slices; files are opened where they are read.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it holds no array, or is of another kind.

    Example:
        >>> import numpy as np
        >>> from crsae_onnx.runtime.cluster import open_array
        >>> np.save("recording.npy", np.zeros((300, 1)))
        >>> open_array("recording.npy").shape
        (300, 1)
    """
    return ArrayFile(os.path.abspath(path))  # a worker may stand in another folder


class ArrayFile:
    """An array in a file; only its name travels to the workers.

    Args:
        path: absolute, of a .npy, .zarr or FILE.h5:DATASET.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        array = self._open()
        self.shape, self.dtype, self.ndim = tuple(array.shape), np.dtype(array.dtype), len(array.shape)

    def __reduce__(self) -> tuple[type[ArrayFile], tuple[str]]:
        return ArrayFile, (self.path,)

    def __getitem__(self, index: Any) -> np.ndarray:
        return np.asarray(self._open()[index])

    def _open(self) -> Any:
        file, _, name = self.path.partition(".h5:")
        if name:
            file += ".h5"
        if not Path(file).exists():
            raise FileNotFoundError(f"There is nothing at {file}. Expected a .npy, .zarr or FILE.h5:DATASET.")
        try:
            if name:
                return _import("h5py").File(file, "r")[name]
            if Path(file).suffix == ".zarr":
                return _import("zarr").open_array(file, mode="r")
            return np.load(file, mmap_mode="r", allow_pickle=False)
        except ModuleNotFoundError:
            raise
        except Exception as error:  # each library has errors of its own
            raise ValueError(f"{self.path} is no array that can be read: {error}. Expected a .npy, .zarr or "
                             "FILE.h5:DATASET.") from error


def run_cluster(path: str | os.PathLike[str], source: str | os.PathLike[str], target: str | os.PathLike[str],
                scheduler: str | None = None, output: str = "code", chunk: int | None = None, threads: int = 1,
                overwrite: bool = False) -> tuple[int, ...]:
    """Encode a file into a Zarr array, on the workers of a Dask scheduler.

    Args:
        path: exported ``.onnx`` file.
        source: file of the recording, (samples, channels) or (batch, samples, channels); see ``open_array``.
        target: .zarr folder to write; it appears when it is whole.
        scheduler: address, such as "tcp://10.0.0.1:8786"; None: processes on this machine, one a core.
        output, chunk, threads: see ``encode_blocks``.
        overwrite: replace an existing target.

    Returns:
        Shape of what was written: (batch, positions, filters), or the recording's as (batch, samples, channels).

    Raises:
        ModuleNotFoundError: the extra ``cluster`` is not installed.
        FileExistsError, FileNotFoundError, SignalError, ValueError: an invalid file or option.
        OSError: the scheduler does not answer.
    """
    zarr, distributed, da = _import("zarr"), _import("distributed"), _import("dask.array")
    target = Path(target)
    if target.suffix != ".zarr":
        raise ValueError(f"Expected an output named .zarr. Received: {target}")
    if os.path.realpath(target) == os.path.realpath(source):
        raise ValueError(f"{target} is the input. Choose another name.")
    if target.exists() and not overwrite:
        raise FileExistsError(f"{target} exists. Choose another name or pass --overwrite.")
    file = open_array(source)
    recording = SingleBatch(file) if file.ndim == 2 else file
    blocks = encode_blocks(path, recording, output, chunk, threads)
    LevelCheck(container.read(path)[1], Path(path).name).warn(recording)  # workers would say it where nobody looks
    try:
        client = distributed.Client(scheduler, timeout="20s") if scheduler else \
            distributed.Client(processes=True, threads_per_worker=1, dashboard_address=None)
    except OSError as error:
        raise OSError(f"No Dask scheduler answers at {scheduler}: {error}. Start one with `dask scheduler`, and "
                      "workers with `dask worker ADDRESS`.") from error
    with atomic_write(target.absolute()) as temporary, client:
        # One Zarr chunk a task, but the last task, which may fill two: no two tasks write into one chunk.
        stored = zarr.open_array(str(temporary), mode="w", shape=blocks.shape, dtype="f4",
                                 chunks=tuple(c[0] for c in blocks.chunks))
        da.store(blocks, stored, lock=False)
    return tuple(int(n) for n in blocks.shape)


def _import(name: str) -> ModuleType:
    return import_optional(name, "Work on a cluster")
