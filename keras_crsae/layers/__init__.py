"""Keras layers: the dictionary, one iteration of the encoder as a recurrent cell, the sparse coder that drives it."""

from typing import TYPE_CHECKING

from keras_crsae._lazy import lazy_names

if TYPE_CHECKING:
    from keras_crsae.layers.conv_dictionary import ConvDictionary
    from keras_crsae.layers.free_norm_dictionary import FreeNormDictionary
    from keras_crsae.layers.rank_one_dictionary import RankOneDictionary
    from keras_crsae.layers.sparse_coding import SparseCoding
    from keras_crsae.layers.sparse_coding_cell import SparseCodingCell
    from keras_crsae.layers.unrolled_coding import UnrolledCoding

__all__ = ["ConvDictionary", "FreeNormDictionary", "RankOneDictionary", "SparseCoding", "SparseCodingCell",
           "UnrolledCoding"]
__getattr__, __dir__ = lazy_names(__name__, {
    "ConvDictionary": "keras_crsae.layers.conv_dictionary",
    "FreeNormDictionary": "keras_crsae.layers.free_norm_dictionary",
    "RankOneDictionary": "keras_crsae.layers.rank_one_dictionary",
    "SparseCoding": "keras_crsae.layers.sparse_coding",
    "SparseCodingCell": "keras_crsae.layers.sparse_coding_cell",
    "UnrolledCoding": "keras_crsae.layers.unrolled_coding",
})
