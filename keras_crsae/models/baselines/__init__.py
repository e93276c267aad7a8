"""What the CRsAE paper compares with: LCSC, whose weights are all free, and TLAE, which takes one step.

Both are ``CRsAE`` models with other layers: the same ``compile``, ``fit``, ``encode``, ``denoise`` and export. LCSC:
learned convolutional sparse coding (Sreter and Giryes, arXiv 1711.00328); TLAE: a tied one-layer autoencoder.
"""

from keras_crsae.models.baselines.lcsc import LCSC
from keras_crsae.models.baselines.tlae import TLAE

__all__ = ["LCSC", "TLAE"]
