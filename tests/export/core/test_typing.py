"""What counts as an array."""

import numpy as np
from crsae_onnx.core.typing import is_array


def test_numpy_arrays_and_memory_maps_are_arrays(tmp_path):
    np.save(tmp_path / "y.npy", np.zeros(3))
    assert is_array(np.zeros(3)) and is_array(np.load(tmp_path / "y.npy", mmap_mode="r"))
    assert not any(map(is_array, ([1.0], 3, np.float32(1), None)))
