"""Convolutional dictionary learning inside Keras: the constrained recurrent sparse autoencoder (CRsAE)."""

import sys
from pathlib import Path

# The command lines answer at once: they bring Keras in when they need it, quietly, and then reload this module.
if Path(sys.argv[0]).stem not in ("keras-crsae", "crsae-onnx") or "keras" in sys.modules:
    from keras_crsae import metrics, zoo
    from keras_crsae.constraints import UnitNormFilters
    from keras_crsae.layers import ConvDictionary, SparseCoding, SparseCodingCell
    from keras_crsae.model import CRsAE, lambda_max
    from keras_crsae.priors import GammaPrior
    from keras_crsae.zoo import load_model_from_zoo

__version__ = "0.1.0"
__all__ = ["CRsAE", "ConvDictionary", "GammaPrior", "SparseCoding", "SparseCodingCell", "UnitNormFilters",
           "lambda_max", "load_model_from_zoo", "metrics", "zoo"]
