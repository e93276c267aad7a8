"""The convolutional dictionary: one kernel, both directions."""

import keras
from keras import ops

from keras_crsae.constraints import UnitNormFilters, filter_norms
from keras_crsae.functional import adjoint, code_length, largest_eigenvalue, signal_length, synthesis


def sizes(value, rank, name):
    """A positive int or tuple of ``rank`` positive ints as a tuple."""
    values = (value,) * rank if isinstance(value, int) else tuple(value)
    if len(values) != rank or any(not isinstance(v, int) or v < 1 for v in values):
        raise ValueError(f"`{name}` must be a positive int or {rank} of them. Received: {name}={value!r}")
    return values


@keras.saving.register_keras_serializable(package="keras_crsae")
class ConvDictionary(keras.layers.Layer):
    """Convolutional dictionary; ``call`` is synthesis ``D z``, ``adjoint`` is ``D^T y``.

    Filters are normalised inside the forward pass, so gradients reach the optimiser tangent to the unit
    sphere; the constraint after each step removes rounding only.

    Args:
        filters: number of filters.
        kernel_size: int or tuple of ``rank`` ints.
        channels: channels of the signal; None: set by ``build``.
        strides: int or tuple of ``rank`` ints, none larger than the kernel.
        rank: 1 (signals) or 2 (images).
        kernel_initializer: Keras initialiser of the kernel.

    Input shape: code (batch, *positions, filters). Output shape: (batch, *space, channels).

    Example:
        >>> layer = ConvDictionary(filters=3, kernel_size=9, channels=1)
        >>> layer(keras.ops.zeros((2, 92, 3))).shape
        (2, 100, 1)
    """

    def __init__(self, filters, kernel_size, channels=1, strides=1, rank=1,
                 kernel_initializer="random_normal", **kwargs):
        super().__init__(**kwargs)
        if rank not in (1, 2):
            raise ValueError(f"`rank` must be 1 (signals) or 2 (images). Received: rank={rank!r}")
        self.rank = rank
        self.filters = sizes(filters, 1, "filters")[0]
        self.channels = sizes(channels, 1, "channels")[0]
        self.kernel_size = sizes(kernel_size, rank, "kernel_size")
        self.strides = sizes(strides, rank, "strides")
        if any(s > k for s, k in zip(self.strides, self.kernel_size, strict=True)):
            raise ValueError("`strides` larger than `kernel_size` would leave samples that no filter reaches. "
                             f"Received: strides={self.strides}, kernel_size={self.kernel_size}")
        self.kernel_initializer = keras.initializers.get(kernel_initializer)

    def build(self, input_shape=None):
        self.kernel = self.add_weight(
            name="kernel", shape=(*self.kernel_size, self.channels, self.filters),
            initializer=self.kernel_initializer, constraint=UnitNormFilters())
        self.kernel.assign(UnitNormFilters()(self.kernel.value))

    def unit_kernel(self):
        """The kernel with every filter divided by its norm, differentiable."""
        kernel = ops.convert_to_tensor(self.kernel)
        return kernel / filter_norms(kernel)

    def adjoint(self, signal, kernel=None):
        """``D^T y``: (batch, *space, channels) -> (batch, *positions, filters)."""
        return adjoint(signal, self.unit_kernel() if kernel is None else kernel, self.strides)

    def call(self, code, kernel=None):
        return synthesis(code, self.unit_kernel() if kernel is None else kernel, self.strides)

    def largest_eigenvalue(self):
        """Upper bound of the largest eigenvalue of ``D^T D``."""
        return largest_eigenvalue(self.unit_kernel(), self.strides)

    def code_space(self, space):
        """Code positions on each axis for a signal's extent; None stays None."""
        return tuple(None if n is None else code_length(n, k, s)
                     for n, k, s in zip(space, self.kernel_size, self.strides, strict=True))

    def compute_output_shape(self, code_shape):
        space = tuple(None if m is None else signal_length(m, k, s) for m, k, s in
                      zip(code_shape[1:-1], self.kernel_size, self.strides, strict=True))
        return (code_shape[0], *space, self.channels)

    def get_config(self):
        return {**super().get_config(), "filters": self.filters, "kernel_size": self.kernel_size,
                "channels": self.channels, "strides": self.strides, "rank": self.rank,
                "kernel_initializer": keras.initializers.serialize(self.kernel_initializer)}
