"""Signals at the door: layout, real and finite values; and the robust noise level."""

import numpy as np
import pytest
from crsae_onnx.core.errors import SignalError
from crsae_onnx.core.signals import (
    ConvertedArray,
    as_finite,
    as_sigma,
    as_signal,
    check_layout,
    refuse_other_containers,
    robust_std,
    split_masked,
)

GOOD = np.zeros((2, 50, 3))


def test_the_robust_deviation_is_that_of_the_noise_whatever_the_outliers(rng):
    noise = rng.normal(5.0, 2.0, (40_000, 2))
    noise[:2000] = 1e6
    np.testing.assert_allclose(robust_std(noise, axis=0), 2.0, rtol=0.1)
    assert robust_std(noise, axis=0).shape == (2,) and np.ndim(robust_std(noise)) == 0


def test_the_robust_deviation_around_a_given_center():
    assert robust_std([1.0, 1.0, 3.0], center=0.0) == pytest.approx(1 / 0.6745)
    assert robust_std([1.0, 1.0, 1.0]) == 0.0


@pytest.mark.parametrize("signal, options, words", [
    ([1.0], {}, "Received: list"), (np.zeros((2, 50, 3), complex), {}, "dtype complex128"),
    (np.zeros((50, 3)), {}, r"shape \(50, 3\).*Give, for example, y\[None\], of shape \(1, 50, 3\)"),
    (np.zeros((4, 2, 50, 3)), {}, "not several.*rank=2"), (np.zeros((0, 50, 3)), {}, "empty"),
    (GOOD, {"channels": 2}, r"\(batch, time, 2 channels\).*\(2, 50, 3\)"),
    (GOOD, {"kernel_size": (51,)}, "shorter than the kernel.*51"), (GOOD, {"rank": 2}, r"\(batch, height, width")])
def test_other_layouts_are_refused_with_what_was_expected(signal, options, words):
    with pytest.raises(SignalError, match=words) as caught:
        check_layout(signal, **{"rank": 1, **options}, name="y")
    assert "`y`" in str(caught.value)


def test_a_layout_is_checked_without_reading_the_values():
    class Lazy:
        shape, dtype = (1, 10**9, 4), "int16"

        def __getitem__(self, index):
            raise AssertionError("read")

    check_layout(Lazy(), 1, (45,), 4)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
def test_the_first_value_that_is_not_finite_is_named(value):
    piece = GOOD.copy()
    piece[1, 7, 2] = piece[1, 9, 0] = value
    with pytest.raises(SignalError, match=r"`mask` holds 2 NaN or infinite values of 300 .*\(1, 107, 2\)"):
        as_finite(piece, first_sample=100, name="mask")
    with pytest.raises(SignalError, match="NaN or infinite"):
        as_signal(piece, 1)
    assert not np.isfinite(as_signal(piece, 1, finite=False)[1, 7, 2])


@pytest.mark.parametrize("dtype", ["int16", "bool", "float64", "uint8"])
def test_real_types_become_float32(dtype):
    signal = as_signal(np.ones((1, 3, 1), dtype), 1, channels=1, kernel_size=(3,))
    assert signal.dtype == np.float32 and signal.flags.c_contiguous and (signal == 1).all()


def test_small_floats_of_other_libraries_are_real_numbers():
    ml_dtypes = pytest.importorskip("ml_dtypes")
    assert as_signal(np.ones((1, 3, 1), ml_dtypes.bfloat16), 1).dtype == np.float32


def test_lists_of_different_lengths_and_texts_are_refused():
    with pytest.raises(SignalError, match="one regular array .*parts have different shapes"):
        as_signal([[1.0, 2.0], [1.0]], 1)
    with pytest.raises(SignalError, match="must hold real numbers.*<U1"):
        as_signal([["a"]], 1)


def test_sigma_is_a_number_or_one_a_batch_entry():
    assert as_sigma(2, 3).shape == () and as_sigma([1, 2, 3], 3).dtype == np.float32
    for bad in (0, -1.0, np.nan, [1.0, 2.0], "x", None):
        with pytest.raises(SignalError, match="`sigma` must be a positive number or one a batch entry"):
            as_sigma(bad, 3)


MASKED = np.ma.masked_equal(np.arange(300, dtype="int16").reshape(2, 50, 3), 7)


def test_a_masked_array_becomes_values_and_a_mask_that_are_read_in_pieces():
    filled, observed = split_masked(MASKED)
    assert filled.shape == observed.shape == (2, 50, 3) and filled.dtype == np.int16 and len(filled) == 2
    assert filled[0, 2:3].tolist() == [[6, 0, 8]] and observed[0, 2:3].tolist() == [[True, False, True]]
    assert not np.ma.isMaskedArray(filled[:]) and np.asarray(observed, "float32").sum() == 299


def test_a_list_of_masked_arrays_is_one_array():
    filled, observed = split_masked([MASKED[0], MASKED[1]])
    assert filled.shape == (2, 50, 3) and np.asarray(observed).sum() == 299


@pytest.mark.parametrize("values", [GOOD, [1.0, 2.0], np.ma.array(GOOD), np.ma.array(GOOD, mask=False), None], ids=str)
def test_what_is_not_masked_comes_back_as_it_is(values):
    same, observed = split_masked(values)
    assert same is values and observed is None


def test_a_converted_array_reads_only_what_it_is_asked_for():
    read = []

    class Lazy:
        shape = (10**9, 4)

        def __getitem__(self, index):
            read.append(index)
            return np.zeros((3, 4))

    view = ConvertedArray(Lazy(), lambda piece: piece + 1, "float64")
    assert view.ndim == 2 and view[5:8].tolist() == np.ones((3, 4)).tolist() and read == [slice(5, 8)]


class Sparse:
    shape, dtype, nnz = (1, 50, 3), np.dtype("float64"), 0

    def toarray(self):
        return GOOD[:1]

    def __getitem__(self, index):
        return self


class Ragged:
    shape, dtype, row_splits, flat_values = (2, None, 3), np.dtype("float32"), [0, 1], []


class Unreadable:
    def __array__(self, dtype=None, copy=None):
        raise RuntimeError("Can't call numpy() on Tensor that requires grad.")


@pytest.mark.parametrize("values, words", [
    (MASKED, r"`y` is a masked array with masked values.*numpy\.ma\.filled\(y"),
    ([MASKED[0], MASKED[1]], "masked array"), (Sparse(), r"sparse Sparse.*y\.toarray\(\)"),
    (Ragged(), r"Ragged.*y\.to_tensor\(\)")],
    ids=["masked", "list", "sparse", "ragged"])
def test_containers_that_would_lose_something_are_refused_with_a_way_out(values, words):
    for check in (refuse_other_containers, lambda v, name: as_signal(v, 1, name=name)):
        with pytest.raises(SignalError, match=words):
            check(values, name="y")


def test_what_numpy_cannot_read_is_refused_in_its_own_words():
    with pytest.raises(SignalError, match="`data`.*Unreadable, which NumPy cannot read .*requires grad"):
        as_signal(Unreadable(), 1)


def test_the_noise_of_a_masked_array_is_not_that_of_its_masked_values():
    with pytest.raises(SignalError, match="masked"):
        robust_std(MASKED)
