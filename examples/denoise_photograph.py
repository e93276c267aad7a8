"""Learn filters on one noisy photograph and denoise another. Needs the extras train and images.

    python examples/denoise_photograph.py [NOISY_IMAGE CLEANED_IMAGE]

Without arguments a photograph that ships with scikit-image is made noisy, and nothing is written.
"""

import sys

import keras
import numpy as np

from keras_crsae import metrics
from keras_crsae.applications.denoising.pipeline import denoise
from keras_crsae.data.images import read_image, write_image
from keras_crsae.demo.run import DENOISED, LEARNED_ON, NOISE, learn_image_filters, shipped_photograph

keras.utils.set_random_seed(0)
rng = np.random.default_rng(0)


def noisy(image):
    return image + NOISE * rng.standard_normal(image.shape).astype("float32")


model, _ = learn_image_filters(noisy(shipped_photograph(LEARNED_ON)), rng, seed=0, epochs=3)
if len(sys.argv) == 3:
    write_image(sys.argv[2], denoise(read_image(sys.argv[1]), model))  # the noise level is estimated
else:
    clean = shipped_photograph(DENOISED)
    given = noisy(clean)
    print(f"{DENOISED}: {metrics.psnr(clean, given):.2f} dB with noise, "
          f"{metrics.psnr(clean, denoise(given, model)):.2f} dB without")
