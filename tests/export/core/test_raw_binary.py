"""Raw recordings are mapped, sample after sample; sizes, types and channels that do not fit are refused or named."""

import numpy as np
import pytest
from crsae_onnx.core.errors import FileError
from crsae_onnx.core.raw_binary import RAW_DTYPES, open_raw


@pytest.mark.parametrize("dtype", RAW_DTYPES)
def test_every_type_is_mapped_with_the_channels_side_by_side(tmp_path, rng, dtype):
    values = rng.integers(0, 100, (50, 3)).astype(dtype)
    values.astype(np.dtype(dtype).newbyteorder("<")).tofile(tmp_path / "y.dat")
    raw = open_raw(tmp_path / "y.dat", 3, dtype)
    assert isinstance(raw, np.memmap) and not raw.flags.writeable and raw.dtype.name == dtype
    np.testing.assert_array_equal(raw, values)


def test_sizes_types_and_channels_that_do_not_fit_are_refused(tmp_path):
    (tmp_path / "odd.dat").write_bytes(bytes(7))
    (tmp_path / "none.dat").touch()
    (tmp_path / "long.dat").write_bytes(bytes(2 * 3600))
    for name, channels, dtype, words in (
            ("odd.dat", 2, "int16", "7 bytes, no multiple of 4: 2 channels of int16. No number of channels fits"),
            ("none.dat", 1, "int16", "0 bytes"), ("odd.dat", 1, "int64", "one of int16"),
            ("odd.dat", 0, "int8", "`channels` must be a positive int"),
            ("long.dat", 7, "int16", "that fit: 4, 5, 6, 8, 9, 10, 12, 15")):
        with pytest.raises(ValueError, match=words):
            open_raw(tmp_path / name, channels, dtype)
    assert open_raw(tmp_path / "odd.dat", 7, "int8").shape == (1, 7)


def test_text_and_arrays_under_another_name_are_refused(tmp_path, rng):
    np.savetxt(tmp_path / "y.dat", rng.standard_normal((50, 2)))
    with (tmp_path / "y.bin").open("wb") as file:
        np.save(file, np.zeros((50, 2), "int16"))
    for name, words in (("y.dat", "is a text file"), ("y.bin", "is a .npy file")):
        with pytest.raises(FileError, match=words):
            open_raw(tmp_path / name, 1, "int8")


def test_another_type_is_refused_with_the_likely_one_unless_unchecked(tmp_path, rng):
    rng.normal(0, 300, 8000).astype("<i2").tofile(tmp_path / "y.dat")
    with pytest.raises(FileError, match="not hold samples of type float32.*--dtype int16"):
        open_raw(tmp_path / "y.dat", 2, "float32")
    assert open_raw(tmp_path / "y.dat", 2, "float32", check=False).shape == (2000, 2)


def test_a_number_of_channels_that_only_divides_is_warned_of(tmp_path, rng):
    smooth = np.cumsum(rng.normal(0, 30, (9000, 4)), axis=0).astype("<i2")
    smooth.tofile(tmp_path / "y.dat")
    for channels in (1, 2, 8):
        with pytest.warns(UserWarning, match=f"looks like 4 channels, not {channels}"):
            open_raw(tmp_path / "y.dat", channels)
    open_raw(tmp_path / "y.dat", 4)  # warnings are errors here
