"""Parts of a spec: how images are prepared, the noise level that a denoiser is given."""

import pytest
from crsae_onnx.core.spec_parts import DenoiserSpec, effective_sigma


def test_without_a_blur_the_mean_is_subtracted():
    assert "its mean" in DenoiserSpec(0.0).preprocessing()[0] and "**" not in DenoiserSpec(0.0).preprocessing()[1]


def test_the_reference_level_is_its_own_effective_sigma():
    assert effective_sigma(0.1, 0.3) == pytest.approx(0.1)
    assert effective_sigma(0.2, 1.0) == pytest.approx(0.4)
