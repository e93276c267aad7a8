"""Raw recordings are mapped, sample after sample; sizes that do not divide are refused."""

import numpy as np
import pytest
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
    for name, channels, dtype, words in (("odd.dat", 2, "int16", "7 bytes, no multiple of 4: 2 channels of int16"),
                                         ("none.dat", 1, "int16", "0 bytes"), ("odd.dat", 1, "int64", "one of int16"),
                                         ("odd.dat", 0, "int8", "`channels` must be a positive int")):
        with pytest.raises(ValueError, match=words):
            open_raw(tmp_path / name, channels, dtype)
    assert open_raw(tmp_path / "odd.dat", 7, "int8").shape == (1, 7)
