"""Long signals in constant memory: the one place where a recording is split into windows (NumPy).

FISTA's k-th iterate at one code position depends on codes at most ``k * ((K - 1) // stride)`` positions away: the
receptive field. A window that reads that many positions beyond those it keeps gives the same code as the whole signal,
to rounding (with a data-dependent stop, ``tolerance``, each window stops by itself and the equality is that of the
tolerance).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from crsae_onnx.core.errors import SignalError
from crsae_onnx.core.parallel import ordered_thread_map
from crsae_onnx.core.progress import progress_counter
from crsae_onnx.core.signals import as_finite, as_float32, as_sigma, check_layout
from crsae_onnx.core.typing import Array, FloatArray, IntArray, Progress, is_array
from crsae_onnx.core.validation import as_int, as_positive_int, as_sizes

#: Samples that one window keeps at most.
WINDOW_SAMPLES = 2**18
#: Signals longer than this many samples are windowed even where nobody asks for windows.
MAX_WHOLE_SAMPLES = 2**20
#: A signal is shared among workers in parts of at least this many code values.
MIN_PART_VALUES = 2**18
#: Such a part is at least this many times as long as its overlap.
MIN_PART_OVERLAPS = 16


class SparseCode(NamedTuple):
    """Non-zero values of a code (batch, positions, filters), in order of batch entry, then position."""

    index: IntArray  #: int64 (n, 2): batch entry, position.  # pyright: ignore[reportIncompatibleMethodOverride]
    filter: Array  #: int32 (n,)
    value: FloatArray  #: float32 (n,)
    shape: tuple[int, ...]  #: of the dense code

    def to_dense(self) -> FloatArray:
        """The code as a float32 array of ``shape``."""
        dense = np.zeros(self.shape, np.float32)
        dense[self.index[:, 0], self.index[:, 1], self.filter] = self.value
        return dense


@dataclass(frozen=True)
class WindowOptions:
    """Sizes of an encoder of signals, and how its windows are computed.

    Attributes:
        kernel_size, strides, filters, iterations: of the encoder; ints, or tuples of one.
        window: samples that one window keeps at most.
        overlap: code positions read beyond them on each side; None: the receptive field, which is exact to rounding;
            fewer are faster and leave errors near the windows' edges.
        batch_size: batch entries encoded at a time.
        workers: windows computed at a time, in threads.
        finite: refuse NaN and infinite values; False where the encoder takes them as gaps.

    Raises:
        ValueError: an attribute that is no positive int.

    Example:
        >>> from crsae_onnx.core.windowing import WindowOptions
        >>> WindowOptions(kernel_size=45, filters=3, iterations=100).receptive_field
        4400
    """

    kernel_size: Any
    filters: Any
    iterations: Any
    strides: Any = 1
    window: int = WINDOW_SAMPLES
    overlap: int | None = None
    batch_size: int = 1
    workers: int = 1
    finite: bool = True

    def __post_init__(self) -> None:
        for name in ("kernel_size", "strides", "filters"):
            object.__setattr__(self, name, _only(getattr(self, name), name))
        for name in ("iterations", "window", "batch_size", "workers"):
            object.__setattr__(self, name, as_positive_int(getattr(self, name), name))
        if self.overlap is not None:
            object.__setattr__(self, "overlap", as_int(self.overlap, "overlap", minimum=0))

    @property
    def receptive_field(self) -> int:
        """Code positions read on each side of the kept ones."""
        return receptive_field(self.iterations, self.kernel_size, self.strides) if self.overlap is None \
            else self.overlap

    def code_shape(self, signal_shape: Sequence[int]) -> tuple[int, int, int]:
        """(batch, positions, filters) of a signal (batch, time, channels); the last position reaches its end."""
        return signal_shape[0], code_positions(signal_shape[1], self.kernel_size, self.strides), self.filters


def code_positions(length: int, kernel_size: int, strides: int = 1) -> int:
    """Positions of the code of ``length`` samples: ceil((length - kernel_size) / strides) + 1.

    Example:
        >>> from crsae_onnx.core.windowing import code_positions
        >>> code_positions(100, kernel_size=45), code_positions(100, kernel_size=45, strides=4)
        (56, 15)
    """
    return -(-(length - kernel_size) // strides) + 1


def receptive_field(iterations: int, kernel_size: int, strides: int = 1, context: int = 0) -> int:
    """Code positions on each side that a code depends on.

    Args:
        iterations: of the encoder; each depends on the positions whose filters overlap.
        kernel_size, strides: of the dictionary, in samples.
        context: samples on each side that a filter of the signal before it, as whitening, depends on.

    Example:
        >>> from crsae_onnx.core.windowing import receptive_field
        >>> receptive_field(10, kernel_size=5, strides=2, context=7)
        24
    """
    return iterations * ((kernel_size - 1) // strides) - (-context // strides)


def split_windows(length: int, *, kernel_size: int, strides: int = 1, overlap: int, window: int = WINDOW_SAMPLES
                  ) -> list[tuple[slice, slice]]:
    """Windows over ``length`` samples.

    Args:
        length: samples of the signal.
        kernel_size, strides: of the dictionary on the time axis, in samples.
        overlap: code positions read beyond the kept ones on each side.
        window: samples that an interior window keeps at most (a multiple of the stride is taken).

    Returns:
        List of (read, keep): ``read`` a slice of samples, its start a multiple of the stride; ``keep`` a slice of
        code positions of the whole signal, inside the window's own. The kept slices tile the code. All windows read
        as many positions, so that a graph is traced once and a GPU plans its convolutions once.

    Example:
        >>> from crsae_onnx.core.windowing import split_windows
        >>> split_windows(30, kernel_size=3, overlap=2, window=10)
        [(slice(0, 14, None), slice(0, 10, None)), (slice(8, 22, None), slice(10, 18, None)), \
(slice(16, 30, None), slice(18, 28, None))]
    """
    positions = code_positions(length, kernel_size, strides)
    inner = positions - 2 * overlap
    count = max(1, -(-inner // max(1, window // strides)))
    kept_each = -(-inner // count)
    windows: list[tuple[slice, slice]] = []
    kept = 0
    for i in range(count - 1):
        start, stop = i * kept_each, (i + 1) * kept_each + 2 * overlap
        windows.append((slice(start * strides, (stop - 1) * strides + kernel_size), slice(kept, stop - overlap)))
        kept = stop - overlap
    # The last one starts earlier where the positions do not divide evenly.
    start = max(0, positions - kept_each - 2 * overlap)
    windows.append((slice(start * strides, length), slice(kept, positions)))
    return windows


def shared_window(length: int, *, kernel_size: int, strides: int, filters: int, overlap: int, workers: int,
                  min_values: int = MIN_PART_VALUES, min_overlaps: int = MIN_PART_OVERLAPS) -> int | None:
    """Window, in samples, that shares one signal among ``workers``; None where the parts would be too small to pay.

    Args:
        length: samples of the signal.
        kernel_size, strides, filters: of the dictionary.
        overlap: code positions read beyond the kept ones on each side.
        workers: parts at most.
        min_values: code values of a part at least.
        min_overlaps: a part is at least so many times as long as its overlap.

    Example:
        >>> from crsae_onnx.core.windowing import shared_window
        >>> shared_window(300_000, kernel_size=45, strides=1, filters=3, overlap=2640, workers=2)
        147338
    """
    positions = code_positions(length, kernel_size, strides)
    parts = min(workers, positions * filters // min_values, positions // max(1, min_overlaps * overlap))
    return None if parts < 2 else -(-(positions - 2 * overlap) // parts) * strides


def encode_windows(encode: Callable[..., Any], signal: Any, options: WindowOptions, *, out: Any = None,
                   sparse: bool = False, progress: bool | Progress | None = None, mask: Any = None, sigma: Any = None
                   ) -> Any:
    """Code of a signal of any length, ``options.workers`` windows in memory at a time.

    Args:
        encode: ``encode(piece)`` -> code; piece float32 (b, n, channels), code (b, m, filters). It is called with
            ``mask=`` and ``sigma=`` too where they are given, and from several threads where there are workers.
        signal: (batch, time, channels), real: an array, ``np.memmap``, HDF5 or Zarr dataset, or any object with
            ``shape`` and ``__getitem__``.
        options: ``WindowOptions``.
        out: array, memmap or dataset (batch, positions, filters) of a floating dtype that receives the code.
        sparse: return a ``SparseCode`` in place of the dense code.
        progress: None; ``callable(done, total)`` in windows; True: a bar on stderr.
        mask: 0/1, of the signal's shape: the observed samples.
        sigma: noise standard deviation of the call, a number or one a batch entry.

    Returns:
        float32 (batch, positions, filters), positions = ceil((time - kernel_size) / strides) + 1; or ``out``;
        or a ``SparseCode``.

    Raises:
        SignalError: ``signal``, ``mask`` or ``sigma`` has another layout or type (checked before work starts), or NaN
            or infinite values (as they are read, the sample named).
        ValueError: ``out`` cannot receive the code.

    Example:
        >>> import numpy as np
        >>> from crsae_onnx.core.windowing import WindowOptions, encode_windows
        >>> options = WindowOptions(kernel_size=2, filters=1, iterations=1, window=100)
        >>> recording = np.ones((1, 1000, 1), "int16")
        >>> encode_windows(lambda piece: piece[:, 1:] + piece[:, :-1], recording, options).shape
        (1, 999, 1)
    """
    check_layout(signal, 1, (options.kernel_size,))
    if sparse and out is not None:
        raise ValueError("Give either out= or sparse=True: a sparse code is returned, not written.")
    shape = options.code_shape(signal.shape)
    job = _Job(signal, options, options.receptive_field, mask, sigma)
    if sparse:
        return _sparse_code(job, encode, shape, progress)
    out = _destination(out, shape, signal)
    with _Writer(out) as writer:
        for entries, keep, start, code in job.run(encode, progress):
            writer.write((entries, keep), code[:, keep.start - start:keep.stop - start])
    return out


def _sparse_code(job: _Job, encode: Callable[..., Any], shape: tuple[int, int, int],
                 progress: bool | Progress | None) -> SparseCode:
    parts: list[tuple[IntArray, Array, FloatArray]] = []
    for entries, keep, start, code in job.run(encode, progress):
        code = code[:, keep.start - start:keep.stop - start]
        where = np.nonzero(code)
        index = np.stack([where[0] + entries.start, where[1] + keep.start], axis=1).astype(np.int64)
        parts.append((index, where[2].astype(np.int32), np.asarray(code[where], np.float32)))
    # Windows come batch entry by batch entry only for batch_size=1; the promised order holds for any.
    index, channel, value = (np.concatenate(part) for part in zip(*parts, strict=True))
    order = np.lexsort((channel, index[:, 1], index[:, 0]))
    return SparseCode(index[order], channel[order], value[order], shape)


def reconstruct_windows(reconstruct: Callable[..., Any], signal: Any, options: WindowOptions, *, out: Any = None,
                        progress: bool | Progress | None = None, mask: Any = None, sigma: Any = None) -> Any:
    """Reconstruction of a signal of any length, ``options.workers`` windows in memory at a time.

    As ``encode_windows``, with ``reconstruct(piece)`` -> (b, n, channels); returns float32 of the signal's shape,
    or ``out``.
    """
    check_layout(signal, 1, (options.kernel_size,))
    # A sample is the sum of codes that start up to (K - 1) // stride positions before it.
    stride = options.strides
    job = _Job(signal, options, options.receptive_field + (options.kernel_size - 1) // stride, mask, sigma)
    out = _destination(out, tuple(signal.shape), signal)
    with _Writer(out) as writer:
        for entries, keep, start, piece in job.run(reconstruct, progress):
            first = keep.start * stride
            last = signal.shape[1] if keep.stop == job.positions else keep.stop * stride
            writer.write((entries, slice(first, last)), piece[:, first - start * stride:last - start * stride])
    return out


class _Job:
    """One signal, its windows, and the mask and noise level that go with them."""

    def __init__(self, signal: Any, options: WindowOptions, overlap: int, mask: Any, sigma: Any) -> None:
        self.signal, self.mask, self.options = signal, mask, options
        batch, length, _ = signal.shape
        if mask is not None and tuple(getattr(mask, "shape", ())) != tuple(signal.shape):
            raise SignalError(f"`mask` must have the signal's shape {tuple(signal.shape)}. "
                              f"Received: {getattr(mask, 'shape', mask)}")
        self.sigma = None if sigma is None else as_sigma(sigma, batch)
        self.windows = split_windows(length, kernel_size=options.kernel_size, strides=options.strides,
                                     overlap=overlap, window=options.window)
        self.positions: int = self.windows[-1][1].stop

    def run(self, compute: Callable[..., Any], progress: bool | Progress | None
            ) -> Iterator[tuple[slice, slice, int, Any]]:
        """Yield (batch slice, kept positions, first position of the window, result of ``compute``)."""
        batch, size = self.signal.shape[0], self.options.batch_size
        groups = [slice(b, min(b + size, batch)) for b in range(0, batch, size)]
        windows = [(entries, read, keep) for entries in groups for read, keep in self.windows]
        with progress_counter(progress, "encode", "windows") as report:
            pieces = (self._read(entries, read) for entries, read, _ in windows)
            results = ordered_thread_map(lambda piece: compute(piece[0], **piece[1]), pieces, self.options.workers)
            for done, ((entries, read, keep), values) in enumerate(zip(windows, results, strict=True), 1):
                yield entries, keep, read.start // self.options.strides, values
                report(done, len(windows))

    def _read(self, entries: slice, read: slice) -> tuple[FloatArray, dict[str, Array]]:
        """Arguments of ``compute`` for a window."""
        piece = self.signal[entries, read]
        piece = as_finite(piece, read.start) if self.options.finite else np.ascontiguousarray(as_float32(piece))
        if self.options.workers > 1 and piece.base is not None:
            piece = piece.copy()  # a reader may fill its buffer anew while this window waits
        given: dict[str, Array] = {}
        if self.mask is not None:
            given["mask"] = as_finite(self.mask[entries, read], read.start, "mask")
        if self.sigma is not None:
            given["sigma"] = self.sigma[entries] if self.sigma.ndim else self.sigma
        return piece, given


class _Writer:
    """Writes windows into ``out`` one behind, in a thread: a new file's pages cost time that computing hides.

    At most one window waits. Leaving the block waits for the last one, and an error of writing is raised at the next
    window or there.
    """

    def __init__(self, out: Any) -> None:
        self.out, self.thread = out, ThreadPoolExecutor(max_workers=1)
        self.pending: Future[None] | None = None

    def __enter__(self) -> _Writer:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        try:
            if kind is None:
                self._wait()
        finally:
            self.thread.shutdown()

    def _wait(self) -> None:
        if self.pending is not None:
            self.pending.result()

    def write(self, index: Any, values: Any) -> None:
        """Write ``values`` at ``index`` once the write before it is done."""
        self._wait()
        self.pending = self.thread.submit(self.out.__setitem__, index, values)


def _only(value: Any, name: str) -> int:
    """A positive int, given as itself or as a tuple of one."""
    try:
        return as_sizes(value, 1, name)[0]
    except ValueError as error:
        raise ValueError(f"{error}. Windows are for one-dimensional signals.") from error


def _destination(out: Any, shape: tuple[int, ...], signal: Any) -> Any:
    """``out`` after its checks, or a new array."""
    if out is None:
        return np.zeros(shape, np.float32)
    if not all(hasattr(out, name) for name in ("shape", "dtype", "__setitem__")):
        raise ValueError(f"`out` must be an array, memmap or dataset of shape {shape}. Received: {type(out).__name__}. "
                         f"Create one, for example np.lib.format.open_memmap('code.npy', 'w+', 'float32', {shape}).")
    if tuple(out.shape) != shape or np.dtype(out.dtype).kind != "f":
        raise ValueError(f"`out` must have shape {shape} and a floating dtype. Received: shape {tuple(out.shape)}, "
                         f"dtype {out.dtype}.")
    if is_array(out):
        if not out.flags.writeable:
            raise ValueError("`out` is read-only. Open it for writing, for example mode='r+'.")
        if is_array(signal) and np.may_share_memory(out, signal):
            raise ValueError("`out` shares memory with the signal, which later windows still read. Give it its own.")
    return out
