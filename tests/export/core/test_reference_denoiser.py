"""The output "denoised" in NumPy is what the application computes."""

import numpy as np
import pytest
from crsae_onnx.core.reference_denoiser import denoise_by_reference, gaussian_blur
from scipy.ndimage import gaussian_filter

import keras_crsae as kc
from keras_crsae.applications.denoising import denoise


@pytest.mark.parametrize("low_pass, strides, sigma_power", [(0.0, 2, 0.0), (1.5, 2, 0.17), (1.0, 1, 0.0)])
def test_denoising_by_reference_is_the_applications(low_pass, strides, sigma_power, rng):
    model = kc.Denoiser(12, 4, strides=strides, iterations=5, sigma=1.0, lambda_init=1.5, low_pass=low_pass,
                        sigma_power=sigma_power, seed=0)
    model.build((None, None, None, 1))
    image = rng.random((1, 23, 18, 1), dtype=np.float32)
    expected = denoise(image[0], model, sigma=0.1)
    np.testing.assert_allclose(denoise_by_reference(model, model.export_spec(), image, 0.1)[0], expected, atol=1e-5)


@pytest.mark.parametrize("width", [0.7, 2.0, 5.0])
def test_the_blur_is_scipys(width, rng):
    image = rng.random((2, 13, 17, 3))
    expected = gaussian_filter(image, (0, width, width, 0), mode="reflect")
    np.testing.assert_allclose(gaussian_blur(image, width), expected, atol=1e-12)
