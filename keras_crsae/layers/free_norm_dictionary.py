"""A convolutional dictionary whose filters have norms of their own."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from keras_crsae.constraints import InsideUnitBall
from keras_crsae.layers.conv_dictionary import ConvDictionary
from keras_crsae.typing import BlockSize, Sizes, Tensor


@keras.saving.register_keras_serializable(package="keras_crsae")
class FreeNormDictionary(ConvDictionary):
    """D z = sum_c d_c * z_c with filters of any norm, or with ``unit_ball`` of a norm of at most 1.

    Args:
        filters, kernel_size, channels, strides, rank, kernel_initializer, block_size: see ``ConvDictionary``, as for
            further keywords.
        unit_ball: whether each filter is kept inside the unit ball.

    Example:
        >>> from keras_crsae.layers import FreeNormDictionary
        >>> layer = FreeNormDictionary(filters=3, kernel_size=9, unit_ball=True)
    """

    unit_norm = False

    def __init__(self, filters: int, kernel_size: Sizes, channels: int | None = None, strides: Sizes = 1,
                 rank: int | None = None, kernel_initializer: Any = "random_normal", block_size: BlockSize = "auto",
                 unit_ball: bool = False, **kwargs: Any) -> None:
        super().__init__(filters, kernel_size, channels=channels, strides=strides, rank=rank,
                         kernel_initializer=kernel_initializer, block_size=block_size, **kwargs)
        self.unit_ball = bool(unit_ball)

    def filter_constraint(self) -> InsideUnitBall | None:
        return InsideUnitBall() if self.unit_ball else None

    def unit_kernel(self) -> Tensor:
        """The kernel as it is: its norms are learned."""
        return ops.convert_to_tensor(self.kernel)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "unit_ball": self.unit_ball}
