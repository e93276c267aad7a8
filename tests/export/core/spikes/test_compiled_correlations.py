"""Compiled products of spectra are those of NumPy."""

import numpy as np
import pytest
from crsae_onnx.core.compiled import can_compile
from crsae_onnx.core.spikes import correlations

if not can_compile():
    pytest.skip("numba is not installed", allow_module_level=True)


def test_compiled_correlations_are_those_of_numpy(rng, monkeypatch):
    kernel = rng.normal(size=(20, 5, 4)).astype(np.float32)
    kernel[:, :2, 0] = kernel[:, 3:, 1] = kernel[:, 2] = 0  # filters reach different channels, one channel none
    signal = rng.normal(size=(5000, 5)).astype(np.float32)
    compiled = correlations.Correlator(kernel, fourier=True)(signal)
    monkeypatch.setattr(correlations, "can_compile", lambda: False)
    np.testing.assert_allclose(compiled, correlations.Correlator(kernel, fourier=True)(signal), atol=1e-4)
