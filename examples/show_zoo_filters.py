"""Draw the filters of a denoiser of the zoo, those that a photograph uses most first. Extras: train, images, plots.

    python examples/show_zoo_filters.py filters.png [crsae-gray-25]
"""

import sys

import numpy as np

import keras_crsae as kc
from keras_crsae.applications.denoising import split_low_pass
from keras_crsae.data import gray_photograph
from keras_crsae.plots import plot_filters

name = sys.argv[2] if len(sys.argv) > 2 else "crsae-gray-25"
model = kc.load_model_from_zoo(name)
_, detail = split_low_pass(gray_photograph("camera.png")[None])               # the image less its slow part
use = np.abs(model.encode(detail, sigma=25 / 255)).sum(axis=(0, 1, 2))  # of each filter
filters = np.asarray(model.decoder.unit_kernel())[..., np.argsort(-use)]
print(f"{name}: {filters.shape[-1]} filters of {filters.shape[0]} x {filters.shape[1]} pixels, "
      f"{np.count_nonzero(use)} of them used")
if len(sys.argv) > 1:
    plot_filters(filters, title=f"Filters of {name}, most used first").savefig(sys.argv[1], dpi=80)
