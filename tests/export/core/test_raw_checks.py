"""The type and the channels of raw samples are told apart; recordings of many kinds raise no false alarm."""

import numpy as np
import pytest
from crsae_onnx.core.errors import FileError
from crsae_onnx.core.raw_checks import (
    check_not_text,
    fitting_channels,
    holds_no_recording,
    likely_channels,
    likely_dtype,
    sample_stretches,
)

SAMPLES = 9_000


def recordings():
    """Name -> (samples, channels) in units of the noise."""
    rng = np.random.default_rng(0)
    white = rng.standard_normal((SAMPLES, 4))
    common = rng.standard_normal((SAMPLES, 1))
    blanked = white.copy()
    blanked[:7 * SAMPLES // 10] = 0
    smooth = np.apply_along_axis(np.convolve, 0, white, np.hanning(9), "same")
    return {"white": white, "common noise": white / 2 + 2 * common, "blanked": blanked, "smooth": smooth,
            "slow": 0.3 * white + np.cumsum(0.02 * common, axis=0), "one loud": white * [1, 1, 1, 30],
            "even channels dead": white * [0, 1, 0, 1], "odd channels dead": white * [1, 0, 1, 0],
            "offsets": white + [0, 5, 10, -30], "one channel": white[:, :1]}


RECORDINGS = recordings()


def stored(name, dtype, scale=300.0):
    values = scale * RECORDINGS[name] + (32768 if dtype == "uint16" else 0)
    if np.dtype(dtype).kind != "f":
        values = np.rint(np.clip(values, np.iinfo(dtype).min, np.iinfo(dtype).max))
    return values.astype(dtype).ravel()


@pytest.mark.parametrize("name", RECORDINGS)
@pytest.mark.parametrize("dtype, scale", [("int16", 2), ("int16", 3000), ("uint16", 300), ("int32", 300),
                                          ("int32", 2e4), ("int32", 2**24), ("float32", 1e-6), ("float32", 300),
                                          ("float64", 1e-6), ("int8", 20)])
def test_the_right_type_and_channels_pass(name, dtype, scale):
    values = stored(name, dtype, scale)
    assert likely_dtype(sample_stretches(values)) is None
    assert likely_channels(values, RECORDINGS[name].shape[1]) is None


@pytest.mark.parametrize("name", ["white", "smooth", "slow", "one loud"])
@pytest.mark.parametrize("stored_as", ["int16", "uint16", "int32", "float32", "float64"])
@pytest.mark.parametrize("read_as", ["int16", "uint16", "int32", "float32", "float64"])
def test_another_type_is_found_out(name, stored_as, read_as):
    if stored_as != read_as:
        assert likely_dtype(sample_stretches(stored(name, stored_as).view(read_as))) == stored_as


def test_gaps_and_what_a_filter_leaves_of_silence_are_those_of_a_recording():
    values = stored("white", "float32")
    values[::2], values[1::10] = np.nan, np.inf
    tail = np.concatenate([stored("white", "float32"), np.full(4 * SAMPLES, 1e-42, "float32")])
    assert not holds_no_recording([values]) and not holds_no_recording([tail])
    assert holds_no_recording([np.full(100, 1e30)])


@pytest.mark.parametrize("name, channels, likely", [
    ("smooth", 1, 4), ("smooth", 2, 4), ("smooth", 3, 4), ("smooth", 8, 4), ("offsets", 2, 4), ("white", 2, None),
    ("one channel", 4, None)])
def test_wrongly_interleaved_channels_are_found_out_where_samples_tell(name, channels, likely):
    assert likely_channels(stored(name, "int16"), channels) == likely


def test_a_number_of_channels_that_does_not_divide_the_file_is_never_likely():
    assert likely_channels(stored("smooth", "int16")[:-3], 1) is None


def test_text_is_refused_and_numbers_are_not():
    for text in (b"0.1, 0.2, 0.3\n0.4, 0.5\n", b"1\t2\r\n3\t4\r\n"):
        with pytest.raises(FileError, match="y.dat is a text file: it begins with"):
            check_not_text(text, "y.dat")
    for start in (b"", bytes(4096), b"ABCDEFGH" * 512, np.arange(100, dtype="int16").tobytes()):
        check_not_text(start, "y.dat")


def test_numbers_of_channels_that_fit_are_those_close_by():
    assert fitting_channels(385 * 1000, channels=384, most=3) == [350, 385, 440]
    assert fitting_channels(7, channels=4) == [1, 7]
