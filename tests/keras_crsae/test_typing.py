"""The options that the types list are those that the code accepts."""

from typing import get_args

from keras_crsae import typing
from keras_crsae.layers.sparse_coding import GRADIENTS
from keras_crsae.models.crsae_options import LAMBDA_LEARNING


def test_literals_are_the_accepted_options():
    assert get_args(typing.Gradient) == GRADIENTS
    listed = {value for part in get_args(typing.LambdaLearning) for value in get_args(part) or (None,)}
    assert listed == set(LAMBDA_LEARNING)
