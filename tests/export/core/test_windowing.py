"""Windows tile a signal and change nothing; checks come before work."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from crsae_onnx.core.errors import SignalError
from crsae_onnx.core.windowing import (
    MIN_PART_VALUES,
    SparseCode,
    WindowOptions,
    code_positions,
    encode_windows,
    receptive_field,
    reconstruct_windows,
    shared_window,
    split_windows,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.twin import dictionary_matrix, fista


def numpy_encoder(kernel, strides, iterations, reconstruct=False):
    """An encoder in NumPy: FISTA on an explicit dictionary, padded samples out of the residual."""

    def encode(piece):
        assert piece.dtype == np.float32
        length, size = piece.shape[1], kernel.shape[0]
        positions = -(-(length - size) // strides) + 1
        matrix, _ = dictionary_matrix(kernel, ((positions - 1) * strides + size,), (strides,))
        matrix = matrix[:length * piece.shape[2]]
        codes = [fista(matrix, y.ravel(), 0.05, 0.1, iterations, True).reshape(positions, -1) for y in piece]
        if reconstruct:
            return np.stack([(matrix @ z.ravel()).reshape(y.shape) for z, y in zip(codes, piece, strict=True)])
        return np.stack(codes)

    return encode


sizes = {"kernel_size": st.integers(1, 9), "strides": st.integers(1, 4), "overlap": st.integers(0, 20),
         "window": st.integers(1, 50), "extra": st.integers(0, 300)}


@given(**sizes)
def test_windows_tile_the_code_and_read_what_they_keep(kernel_size, strides, overlap, window, extra):
    length = kernel_size + extra
    pieces = split_windows(length, kernel_size=kernel_size, strides=strides, overlap=overlap, window=window)
    positions = -(-(length - kernel_size) // strides) + 1
    kept = [p for _, keep in pieces for p in range(keep.start, keep.stop)]
    assert kept == list(range(positions))
    assert len({read.stop - read.start for read, _ in pieces[:-1]}) <= 1
    for read, keep in pieces:
        assert read.start % strides == 0 and 0 <= read.start and read.stop <= length
        first, last = max(0, keep.start - overlap), min(positions, keep.stop + overlap)
        assert read.start <= first * strides
        assert read.stop >= min(length, (last - 1) * strides + kernel_size)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 5), st.integers(1, 3), st.integers(1, 40), st.integers(20, 90), st.integers(1, 2),
       st.integers(1, 3), st.booleans(), st.integers(0, 1000))
def test_windowed_result_equals_one_piece(size, strides, window, extra, channels, batch_size, whole_batch, seed):
    strides, rng = min(strides, size), np.random.default_rng(seed)
    kernel = rng.standard_normal((size, channels, 2))
    signal = 3 * rng.standard_normal((3, size + extra, channels))
    options = WindowOptions(size, 2, 4, strides, window, batch_size=3 if whole_batch else batch_size)
    encode = numpy_encoder(kernel, strides, 4)
    one = encode(signal.astype(np.float32))
    code = encode_windows(encode, signal, options)
    assert np.any(one)
    np.testing.assert_allclose(code, one, rtol=0, atol=1e-6 * max(1, np.abs(one).max()))
    sparse = encode_windows(encode, signal, options, sparse=True)
    np.testing.assert_array_equal(sparse.to_dense(), code)
    assert sparse.index.dtype == np.int64 and sparse.filter.dtype == np.int32 and sparse.value.dtype == np.float32
    again = numpy_encoder(kernel, strides, 4, reconstruct=True)
    whole = again(signal.astype(np.float32))
    made = reconstruct_windows(again, signal, options)
    np.testing.assert_allclose(made, whole, rtol=0, atol=1e-6 * max(1, np.abs(whole).max()))


def test_too_short_an_overlap_shows(rng):
    kernel, signal = rng.standard_normal((5, 1, 2)), rng.standard_normal((1, 120, 1))
    options = WindowOptions(kernel_size=5, filters=2, iterations=8, window=20)
    encode = numpy_encoder(kernel, 1, 8)
    one = encode(signal.astype(np.float32))
    exact, short = (np.abs(encode_windows(encode, signal, replace(options, overlap=o)) - one).max() for o in (None, 1))
    assert exact < 1e-6 < 1e-4 < short


class Recording:
    """Integers behind `shape` and `__getitem__` alone; remembers the largest piece read."""

    def __init__(self, values):
        self.values, self.shape, self.dtype, self.largest = values, values.shape, values.dtype, 0

    def __getitem__(self, index):
        piece = self.values[index]
        self.largest = max(self.largest, piece.size)
        return piece


def moving_sum(piece):
    """A stand-in encoder with kernel 3, stride 1, two filters."""
    one = piece[:, :-2, 0] + piece[:, 1:-1, 0] + piece[:, 2:, 0]
    return np.stack([one, np.maximum(one, 0)], axis=-1)


OPTIONS = WindowOptions(kernel_size=3, filters=2, iterations=5, window=100)


def test_any_sliceable_object_of_integers_is_read_a_window_at_a_time(rng):
    recording = Recording(rng.integers(-9, 9, (2, 5000, 1)).astype(np.int16))
    code = encode_windows(moving_sum, recording, OPTIONS)
    np.testing.assert_array_equal(code, moving_sum(recording.values.astype(np.float32)))
    assert code.dtype == np.float32 and recording.largest == 100 + 2 * 10 + 2


@pytest.mark.parametrize("batch_size", [1, 2])
def test_windows_in_threads_change_nothing(rng, batch_size):
    recording, calls = rng.standard_normal((3, 2000, 1)), []
    expected = moving_sum(recording.astype(np.float32))
    options, progress = replace(OPTIONS, batch_size=batch_size, workers=3), lambda *c: calls.append(c)
    np.testing.assert_array_equal(encode_windows(moving_sum, recording, options, progress=progress), expected)
    assert calls == [(i + 1, len(calls)) for i in range(len(calls))]
    np.testing.assert_array_equal(encode_windows(moving_sum, recording, options, sparse=True).to_dense(), expected)


@pytest.mark.parametrize("length, reach, workers", [(1_000_000, 100, 2), (1_000_003, 5000, 4), (400_000, 10, 8)])
def test_a_shared_signal_makes_as_many_windows_as_it_has_workers(length, reach, workers):
    options = dict(kernel_size=10, strides=3)
    window = shared_window(length, filters=8, overlap=reach, workers=workers, **options)
    parts = split_windows(length, overlap=reach, window=window, **options)
    assert 2 <= len(parts) <= workers
    assert min(keep.stop - keep.start for _, keep in parts) * 8 >= MIN_PART_VALUES // 2


@pytest.mark.parametrize("change", [dict(length=1000), dict(overlap=10**5), dict(workers=1)])
def test_a_small_signal_is_not_shared(change):
    assert shared_window(**{**dict(length=10**6, kernel_size=10, strides=1, filters=3, overlap=10, workers=2),
                            **change}) is None


def test_a_signal_is_shared_where_its_parts_are_so_many_times_as_long_as_their_overlap():
    sizes = dict(length=10**6, kernel_size=10, strides=1, filters=3, overlap=60_000, workers=2)
    assert shared_window(**sizes) is None and shared_window(**sizes, min_overlaps=8) > 8 * 50_000


def test_memmap_in_memmap_out(tmp_path, rng):
    values = rng.standard_normal((1, 1000, 1)).astype(np.float32)
    np.save(tmp_path / "y.npy", values)
    out = np.lib.format.open_memmap(tmp_path / "z.npy", "w+", np.float32, (1, 998, 2))
    assert encode_windows(moving_sum, np.load(tmp_path / "y.npy", mmap_mode="r"), OPTIONS, out=out) is out
    out.flush()
    np.testing.assert_allclose(np.load(tmp_path / "z.npy"), moving_sum(values), atol=1e-6)


def test_unfit_destinations_are_refused_before_work(rng):
    def never(piece):
        pytest.fail("work started")

    signal = rng.standard_normal((1, 500, 1)).astype(np.float32)
    frozen = np.zeros((1, 498, 2), np.float32)
    frozen.flags.writeable = False
    for out, words in (("z.npy", "array, memmap"), (np.zeros((1, 497, 2), np.float32), "shape"),
                       (np.zeros((1, 498, 2), np.int16), "floating"), (frozen, "read-only"),
                       (np.lib.stride_tricks.as_strided(signal, (1, 498, 2), (0, 0, 4)), "shares memory")):
        with pytest.raises(ValueError, match=words):
            encode_windows(never, signal, OPTIONS, out=out)
    with pytest.raises(ValueError, match="either"):
        encode_windows(never, signal, OPTIONS, out=np.zeros((1, 498, 2), np.float32), sparse=True)


@pytest.mark.parametrize("signal, words", [
    (np.zeros((500, 1)), "shape"), (np.zeros((1, 500, 1), complex), "real"), (np.zeros((1, 2, 1)), "shorter"),
    (np.zeros((0, 500, 1)), "empty"), ([1.0, 2.0], "list"), (np.zeros((1, 500, 1), object), "real")])
def test_unfit_signals_are_refused(signal, words):
    with pytest.raises(SignalError, match=words):
        encode_windows(moving_sum, signal, OPTIONS)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e300])
def test_a_bad_sample_is_named_by_its_place_in_the_recording(bad, rng):
    signal = rng.standard_normal((2, 1000, 1))
    signal[1, 777, 0] = bad
    signal[1, 790, 0] = -bad
    with pytest.raises(SignalError, match=r"\(1, 777, 0\)"):
        encode_windows(moving_sum, signal, replace(OPTIONS, batch_size=2))


@pytest.mark.parametrize("option", [dict(window=0), dict(overlap=-1), dict(overlap=1.5), dict(batch_size=0),
                                    dict(iterations=0), dict(kernel_size=(3, 3)), dict(workers=True)])
def test_options_are_ints(option):
    with pytest.raises(ValueError, match=f"`{next(iter(option))}` must be"):
        replace(OPTIONS, **option)


@pytest.mark.parametrize("option", [dict(progress=3), dict(sigma=-1.0), dict(sigma=[1.0, 2.0, 3.0]),
                                    dict(mask=np.ones((1, 3, 1)))])
def test_other_arguments_are_refused_by_name(option):
    with pytest.raises(ValueError, match=next(iter(option))):
        encode_windows(moving_sum, np.ones((2, 500, 1)), OPTIONS, **option)


def test_options_know_the_sizes_of_the_code():
    options = WindowOptions((45,), np.int64(3), 100, (4,))
    assert options.kernel_size == 45 and options.strides == 4 and type(options.filters) is int
    assert options.code_shape((2, 1000, 1)) == (2, code_positions(1000, 45, 4), 3) == (2, 240, 3)
    assert options.receptive_field == receptive_field(100, 45, 4) == 1100
    assert replace(options, overlap=0).receptive_field == 0
    assert receptive_field(100, 45, 4, context=5) == 1102  # five samples are two positions


def test_mask_and_sigma_follow_their_windows():
    signal = np.arange(2000, dtype=np.float32).reshape(2, 1000, 1)
    seen = []

    def encode(piece, mask, sigma):
        np.testing.assert_array_equal(mask, piece % 2)
        seen.append(sigma.tolist())
        return moving_sum(piece)

    encode_windows(encode, signal, OPTIONS, mask=signal % 2, sigma=[1.0, 2.0])
    assert [1.0] in seen and [2.0] in seen and len(seen) % 2 == 0


def test_progress_counts_every_window(capsys):
    signal, calls = np.ones((2, 500, 1)), []
    encode_windows(moving_sum, signal, OPTIONS, progress=lambda *c: calls.append(c))
    assert calls == [(i + 1, len(calls)) for i in range(len(calls))] and len(calls) > 6
    encode_windows(moving_sum, signal, OPTIONS, progress=True)
    shown = capsys.readouterr().err  # no terminal: lines in place of a bar
    assert "encode" in shown and "done" in shown


def test_a_silent_code_is_sparse_and_empty():
    code = encode_windows(lambda piece: 0 * moving_sum(piece), np.ones((1, 500, 1)), OPTIONS, sparse=True)
    assert isinstance(code, SparseCode) and code.value.size == 0 and not code.to_dense().any()
    assert code.to_dense().shape == (1, 498, 2)


MEMORY = """
import resource, sys
import subprocess
import sys

import numpy as np
from crsae_onnx import SparseEncoder
encoder = SparseEncoder(sys.argv[1])
encoder.encode(np.ones((1, 2**19, 1), np.int16), sparse=True)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
code = encoder.encode(np.load(sys.argv[2], mmap_mode="r"), sparse=True)
print(len(code.value), (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="resident memory is counted in kilobytes on Linux only")
def test_a_long_recording_encodes_in_constant_memory(tmp_path, rng):
    from crsae_onnx.convert import convert

    import keras_crsae as kc

    model = kc.CRsAE(3, 45, iterations=10, lambda_init=4.0, seed=0)
    model.build((None, None, 1))
    convert(model, tmp_path / "e.onnx", outputs=("code",))
    recording = np.lib.format.open_memmap(tmp_path / "y.npy", "w+", np.int16, (1, 40_000_000, 1))
    recording[:, ::50_000] = 100
    recording.flush()
    done = subprocess.run([sys.executable, "-c", MEMORY, str(tmp_path / "e.onnx"), str(tmp_path / "y.npy")],
                          check=True, capture_output=True, text=True)
    found, grown = (float(word) for word in done.stdout.split())
    # The signal as float32 and its code would take 640 MB; the mapped file's own 80 MB are counted.
    assert found > 800 and grown < 250


def test_an_error_of_writing_reaches_the_caller():
    class Full:
        shape, dtype = (1, 96, 1), np.dtype("float32")

        def __setitem__(self, index, value):
            raise OSError("No space left on device")

    with pytest.raises(OSError, match="No space"):
        encode_windows(lambda piece: piece[:, 4:], np.zeros((1, 100, 1)), WindowOptions(5, 1, 1, window=30), out=Full())
