"""Learn filters on one noisy photograph and denoise another. Needs the extras train and images, and plots for a figure.

    python examples/denoise_photograph.py [before-after.png]

Both photographs ship with scikit-image; noise of 25 gray levels (of 255) is added to them.
"""

import sys

import keras
import numpy as np

from keras_crsae import metrics
from keras_crsae.applications.denoising import denoise
from keras_crsae.data import gray_photograph, read_image, write_image
from keras_crsae.demo.photograph import DENOISED, LEARNED_ON, NOISE, learn_image_filters

keras.utils.set_random_seed(0)
rng = np.random.default_rng(0)


def add_noise(image):
    return image + NOISE * rng.standard_normal(image.shape).astype("float32")


def figure(panels, rows=slice(95, 225), columns=slice(180, 310)):
    """A part of each image, side by side, PSNR of the whole image in its title."""
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(5.4, 3.0), layout="constrained")
    for axis, (title, image) in zip(drawn.subplots(1, len(panels)), panels.items(), strict=True):
        axis.imshow(image[rows, columns, 0], cmap="gray", vmin=0, vmax=1)
        axis.set_title(title, fontsize=10)
        axis.set_axis_off()
    return drawn


model, _ = learn_image_filters(add_noise(gray_photograph(LEARNED_ON)), rng, seed=0, epochs=3)
clean = gray_photograph(DENOISED)                                    # (height, width, 1) in [0, 1]
noisy = add_noise(clean)
denoised = denoise(noisy, model)                                        # the noise level is estimated
before, after = metrics.psnr(clean, noisy), metrics.psnr(clean, denoised)
print(f"{DENOISED}: {before:.2f} dB with noise, {after:.2f} dB without")
if len(sys.argv) > 1:
    figure({f"noisy, {before:.1f} dB": noisy, f"denoised, {after:.1f} dB": denoised}).savefig(sys.argv[1], dpi=100)
    write_image(sys.argv[1], read_image(sys.argv[1])[..., 0])               # one channel: a quarter of the size
