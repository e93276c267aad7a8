"""Keras layers: the dictionary, one FISTA iteration as a recurrent cell, the sparse coder that drives it."""

from keras_crsae.layers.conv_dictionary import ConvDictionary
from keras_crsae.layers.free_norm_dictionary import FreeDictionary
from keras_crsae.layers.sparse_coding import SparseCoding
from keras_crsae.layers.sparse_coding_cell import SparseCodingCell

__all__ = ["ConvDictionary", "FreeDictionary", "SparseCoding", "SparseCodingCell"]
