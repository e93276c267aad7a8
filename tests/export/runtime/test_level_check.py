"""The warning of a sorter's file: its cases are in ../cli/test_spikes.py and ../core/spikes/test_noise_level.py."""

import numpy as np
from crsae_onnx.runtime.level_check import LevelCheck


def test_files_without_a_reader_accept_any_level():
    check = LevelCheck({"rank": 1}, "e.onnx")
    assert check.message(np.full((1, 5000, 1), 1e9)) is None
    check.warn(1e9 * np.random.default_rng(0).standard_normal((1, 5000, 1)))
