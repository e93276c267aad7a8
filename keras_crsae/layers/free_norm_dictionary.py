"""A convolutional dictionary whose filters have norms of their own."""

import keras
from keras import ops

from keras_crsae.constraints import InsideUnitBall
from keras_crsae.layers.conv_dictionary import ConvDictionary


@keras.saving.register_keras_serializable(package="keras_crsae")
class FreeNormDictionary(ConvDictionary):
    """``ConvDictionary`` whose filters have any norm, or with ``ball`` one of at most 1.

    Args:
        ball: whether each filter is kept inside the unit ball.
        others: see ``ConvDictionary``.

    Example:
        >>> from keras_crsae.layers import FreeNormDictionary
        >>> layer = FreeNormDictionary(filters=3, kernel_size=9, ball=True)
    """

    unit_norm = False

    def __init__(self, filters, kernel_size, ball=False, **options):
        super().__init__(filters, kernel_size, **options)
        self.ball = bool(ball)

    def build(self, input_shape=None):
        self.kernel = self.add_weight(
            name="kernel", shape=(*self.kernel_size, self.channels, self.filters),
            initializer=self.kernel_initializer, constraint=InsideUnitBall() if self.ball else None)

    def unit_kernel(self):
        """The kernel as it is: its norms are learned."""
        return ops.convert_to_tensor(self.kernel)

    def get_config(self):
        return {**super().get_config(), "ball": self.ball}
