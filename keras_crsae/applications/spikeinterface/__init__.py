"""CRsAE inside SpikeInterface."""

from keras_crsae.applications.spikeinterface.convert import register

__all__ = ["register"]
