"""Long signals in constant memory: the one place where a recording is split into windows. NumPy only.

FISTA's k-th iterate at one code position depends on codes at most ``k * ((K - 1) // stride)`` positions away, so
a window that reads that many positions beyond what it keeps gives the same code as the whole signal, to rounding
(with a data-dependent stop, ``tolerance``, each window stops by itself and the equality is that of the tolerance).
"""

from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from crsae_onnx.core.errors import SignalError
from crsae_onnx.core.parallel import ordered_thread_map
from crsae_onnx.core.progress import progress_counter
from crsae_onnx.core.signals import as_finite, as_sigma, check_layout
from crsae_onnx.core.validation import as_positive_int

#: Samples that one window keeps at most.
WINDOW = 2**18
#: Signals longer than this many samples are windowed by themselves.
LONGEST_PIECE = 2**20
#: A signal is shared among workers in parts of at least this many code values, and of this many times their overlap.
LEAST_PART, LEAST_OVERLAPS = 2**18, 16


class SparseCode(NamedTuple):
    """Non-zero values of a code (batch, positions, filters), in order of batch entry, then position."""

    index: np.ndarray  #: int64 (n, 2): batch entry, position
    filter: np.ndarray  #: int32 (n,)
    value: np.ndarray  #: float32 (n,)
    shape: tuple  #: of the dense code

    def to_dense(self):
        """The code as a float32 array of ``shape``."""
        dense = np.zeros(self.shape, np.float32)
        dense[self.index[:, 0], self.index[:, 1], self.filter] = self.value
        return dense


def plan(length, *, kernel_size, strides=1, overlap, window=WINDOW):
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
        >>> plan(30, kernel_size=3, overlap=2, window=10)
        [(slice(0, 14, None), slice(0, 10, None)), (slice(8, 22, None), slice(10, 18, None)), \
(slice(16, 30, None), slice(18, 28, None))]
    """
    positions = -(-(length - kernel_size) // strides) + 1
    inner = positions - 2 * overlap
    count = max(1, -(-inner // max(1, window // strides)))
    kept_each = -(-inner // count)
    pieces, kept = [], 0
    for i in range(count - 1):
        start, stop = i * kept_each, (i + 1) * kept_each + 2 * overlap
        pieces.append((slice(start * strides, (stop - 1) * strides + kernel_size), slice(kept, stop - overlap)))
        kept = stop - overlap
    # The last one starts earlier where the positions do not divide evenly.
    start = max(0, positions - kept_each - 2 * overlap)
    pieces.append((slice(start * strides, length), slice(kept, positions)))
    return pieces


def encode_windows(encode, signal, *, kernel_size, strides=1, filters, iterations, window=WINDOW, overlap=None,
                   out=None, sparse=False, batch_size=1, progress=None, mask=None, sigma=None, workers=1):
    """Code of a signal of any length, ``workers`` windows in memory at a time.

    Args:
        encode: ``encode(piece)`` -> code; piece float32 (b, n, channels), code (b, m, filters). It is called with
            ``mask=`` and ``sigma=`` too where they are given.
        signal: (batch, time, channels), real: an array, ``np.memmap``, HDF5 or Zarr dataset, or any object with
            ``shape`` and ``__getitem__``.
        kernel_size, strides, filters, iterations: of the encoder; the sizes ints or tuples of one.
        window: samples that one window keeps at most.
        overlap: code positions read beyond them on each side; None: ``iterations * ((kernel_size - 1) // strides)``,
            which is exact to rounding; fewer are faster and leave errors near the windows' edges.
        out: array, memmap or dataset (batch, positions, filters) of a floating dtype that receives the code.
        sparse: return a ``SparseCode`` in place of the dense code.
        batch_size: batch entries encoded at a time.
        progress: None; ``callable(done, total)`` in windows; True: a bar on stderr.
        mask: 0/1, of the signal's shape: the observed samples.
        sigma: noise standard deviation of the call, a number or one a batch entry.
        workers: windows computed at a time, in threads; ``encode`` must bear that.

    Returns:
        float32 (batch, positions, filters), positions = ceil((time - kernel_size) / strides) + 1; or ``out``;
        or a ``SparseCode``.

    Raises:
        SignalError: the signal, ``mask`` or ``sigma`` is unfit (checked before work starts; NaN and infinite values
            as they are read, the sample named).
        ValueError: ``out`` or an option is unfit.

    Example:
        >>> recording = np.load("recording.npy", mmap_mode="r")[None]    # (1, 108_000_000, 1), int16
        >>> code = encode_windows(model.encode, recording, kernel_size=45, filters=3, iterations=100, sparse=True)
    """
    kernel_size, strides = _one(kernel_size, "kernel_size"), _one(strides, "strides")
    check_layout(signal, 1, (kernel_size,))
    if sparse and out is not None:
        raise ValueError("Give either out= or sparse=True: a sparse code is returned, not written.")
    shape = code_shape(signal.shape, kernel_size=kernel_size, strides=strides, filters=filters)
    job = _Job(signal, kernel_size, strides, _reach(overlap, iterations, kernel_size, strides), window,
               batch_size, mask, sigma, workers)
    found = []
    if not sparse:
        out = _destination(out, shape, signal)
    with _Writer(out) as writer:
        for entries, keep, start, code in job.run(encode, progress):
            code = code[:, keep.start - start:keep.stop - start]
            if sparse:
                where = np.nonzero(code)
                index = np.stack([where[0] + entries.start, where[1] + keep.start], axis=1).astype(np.int64)
                found.append((index, where[2].astype(np.int32), np.asarray(code[where], np.float32)))
            else:
                writer.write((entries, keep), code)
    if not sparse:
        return out
    # Windows come batch entry by batch entry only for batch_size=1; the promised order holds for any.
    index, channel, value = (np.concatenate(part) for part in zip(*found, strict=True))
    order = np.lexsort((channel, index[:, 1], index[:, 0]))
    return SparseCode(index[order], channel[order], value[order], shape)


def code_shape(signal_shape, *, kernel_size, strides=1, filters):
    """(batch, positions, filters) of a signal (batch, time, channels): positions that reach its last sample."""
    kernel_size, strides = _one(kernel_size, "kernel_size"), _one(strides, "strides")
    return signal_shape[0], -(-(signal_shape[1] - kernel_size) // strides) + 1, _one(filters, "filters")


def reconstruct_windows(reconstruct, signal, *, kernel_size, strides=1, iterations, window=WINDOW, overlap=None,
                        out=None, batch_size=1, progress=None, mask=None, sigma=None, workers=1):
    """Reconstruction of a signal of any length, ``workers`` windows in memory at a time.

    As ``encode_windows``, with ``reconstruct(piece)`` -> (b, n, channels); returns float32 of the signal's shape,
    or ``out``.
    """
    kernel_size, strides = _one(kernel_size, "kernel_size"), _one(strides, "strides")
    check_layout(signal, 1, (kernel_size,))
    # A sample is the sum of codes that start up to (K - 1) // stride positions before it.
    overlap = _reach(overlap, iterations, kernel_size, strides) + (kernel_size - 1) // strides
    job = _Job(signal, kernel_size, strides, overlap, window, batch_size, mask, sigma, workers)
    out = _destination(out, tuple(signal.shape), signal)
    with _Writer(out) as writer:
        for entries, keep, start, made in job.run(reconstruct, progress):
            first = keep.start * strides
            last = signal.shape[1] if keep.stop == job.positions else keep.stop * strides
            writer.write((entries, slice(first, last)), made[:, first - start * strides:last - start * strides])
    return out


class _Job:
    """One signal, its windows and what goes along with them."""

    def __init__(self, signal, kernel_size, strides, overlap, window, batch_size, mask, sigma, workers):
        window, self.batch_size = as_positive_int(window, "window"), as_positive_int(batch_size, "batch_size")
        self.signal, self.mask, self.workers = signal, mask, as_positive_int(workers, "workers")
        batch, length, _ = signal.shape
        if mask is not None and tuple(getattr(mask, "shape", ())) != tuple(signal.shape):
            raise SignalError(f"`mask` must have the signal's shape {tuple(signal.shape)}. "
                              f"Received: {getattr(mask, 'shape', mask)}")
        self.sigma = None if sigma is None else as_sigma(sigma, batch)
        self.strides = strides
        self.pieces = plan(length, kernel_size=kernel_size, strides=strides, overlap=overlap, window=window)
        self.positions = self.pieces[-1][1].stop

    def run(self, compute, progress):
        """Yield (batch slice, kept positions, first position of the window, what ``compute`` made of it)."""
        batch = self.signal.shape[0]
        groups = [slice(b, min(b + self.batch_size, batch)) for b in range(0, batch, self.batch_size)]
        windows = [(entries, *piece) for entries in groups for piece in self.pieces]
        with progress_counter(progress, "encode", "windows") as report:
            given = (self._read(entries, read) for entries, read, _ in windows)
            made = ordered_thread_map(lambda window: compute(window[0], **window[1]), given, self.workers)
            for done, ((entries, read, keep), values) in enumerate(zip(windows, made, strict=True), 1):
                yield entries, keep, read.start // self.strides, values
                report(done, len(windows))

    def _read(self, entries, read):
        """What ``compute`` is given for a window: the piece, and by name what goes along with it."""
        piece, given = as_finite(self.signal[entries, read], read.start), {}
        if self.workers > 1 and piece.base is not None:
            piece = piece.copy()  # a reader may fill its buffer anew while this window waits
        if self.mask is not None:
            given["mask"] = as_finite(self.mask[entries, read], read.start, "mask")
        if self.sigma is not None:
            given["sigma"] = self.sigma[entries] if self.sigma.ndim else self.sigma
        return piece, given


def shared_window(length, *, kernel_size, strides, filters, reach, workers, least_part=LEAST_PART):
    """Window, in samples, that shares one signal among ``workers``; None where parts would be too small to be worth it.

    Example:
        >>> shared_window(300_000, kernel_size=45, strides=1, filters=3, reach=2640, workers=2)
        147338
    """
    positions = -(-(length - kernel_size) // strides) + 1
    parts = min(workers, positions * filters // least_part, positions // max(1, LEAST_OVERLAPS * reach))
    return None if parts < 2 else -(-(positions - 2 * reach) // parts) * strides


class _Writer:
    """Writes windows into ``out`` one behind, in a thread: a new file's pages cost time that computing hides.

    At most one window waits. Leaving the block waits for the last one, and an error of writing is raised at the next
    window or there.
    """

    def __init__(self, out):
        self.out, self.pending, self.thread = out, None, ThreadPoolExecutor(max_workers=1)

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        try:
            if kind is None:
                self._wait()
        finally:
            self.thread.shutdown()

    def _wait(self):
        if self.pending is not None:
            self.pending.result()

    def write(self, index, values):
        self._wait()
        self.pending = self.thread.submit(self.out.__setitem__, index, values)


def _one(value, name):
    """A positive int, given as itself or as a tuple of one."""
    single = value[0] if isinstance(value, (tuple, list)) and len(value) == 1 else value
    if not isinstance(single, (int, np.integer)) or single < 1:
        raise ValueError(f"`{name}` must be a positive int: windows serve one-dimensional signals. "
                         f"Received: {name}={value!r}")
    return int(single)


def receptive_field(facts):
    """Code positions on each side that a code of a file (rank 1) with these facts depends on.

    By its iterations, and by the whitening inside its graph.

    Example:
        >>> receptive_field({"iterations": 10, "kernel_size": [5], "strides": [2], "whitening_context": [7, 3]})
        24
    """
    (size,), (stride,) = facts["kernel_size"], facts["strides"]
    return facts["iterations"] * ((size - 1) // stride) - (-max(facts.get("whitening_context", (0,))) // stride)


def _reach(overlap, iterations, kernel_size, strides):
    if overlap is None:
        return _one(iterations, "iterations") * ((kernel_size - 1) // strides)
    if not isinstance(overlap, (int, np.integer)) or overlap < 0:
        raise ValueError(f"`overlap` must be None or a number of code positions, 0 or more. Received: {overlap!r}")
    return int(overlap)


def _destination(out, shape, signal):
    """``out`` after its checks, or a new array."""
    if out is None:
        return np.zeros(shape, np.float32)
    if not all(hasattr(out, name) for name in ("shape", "dtype", "__setitem__")):
        raise ValueError(f"`out` must be an array, memmap or dataset of shape {shape}. Received: {type(out).__name__}. "
                         f"Make one, for example np.lib.format.open_memmap('code.npy', 'w+', 'float32', {shape}).")
    if tuple(out.shape) != shape or np.dtype(out.dtype).kind != "f":
        raise ValueError(f"`out` must have shape {shape} and a floating dtype. Received: shape {tuple(out.shape)}, "
                         f"dtype {out.dtype}.")
    if isinstance(out, np.ndarray) and not out.flags.writeable:
        raise ValueError("`out` is read-only. Open it for writing, for example mode='r+'.")
    if isinstance(out, np.ndarray) and isinstance(signal, np.ndarray) and np.may_share_memory(out, signal):
        raise ValueError("`out` shares memory with the signal, which later windows still read. Give it its own.")
    return out
