"""The convolutional dictionary: one kernel, both directions."""

from __future__ import annotations

from typing import Any, NamedTuple

import keras
import numpy as np
from crsae_onnx.core.validation import as_positive_int, as_rank, as_sizes
from keras import ops

from keras_crsae.constraints import ConstrainedFilters, UnitNormFilters, filter_norms
from keras_crsae.layers.precision import layer_policy
from keras_crsae.operators import polyphase
from keras_crsae.operators.convolution import adjoint, code_length, signal_length, synthesis
from keras_crsae.operators.lipschitz import largest_eigenvalue, matrix_eigenvalue
from keras_crsae.regularizers import OfUnitFilters
from keras_crsae.typing import BlockSize, Sizes, Tensor

#: Change of a filter's value above which it has left its constraint: rounding stays below.
_MOST_ROUNDING = 1e-5


class IteratedProblem(NamedTuple):
    """What an encoder's iterations may run on in place of signal and filters: the code is the same."""

    signal: Tensor  #: (batch, *space, inner channels)
    kernel: Tensor  #: of D, (*kernel_size, inner channels, filters)
    adjoint_kernel: Tensor | None  #: of D^T where it is another one; None: ``kernel``


@keras.saving.register_keras_serializable(package="keras_crsae")
class ConvDictionary(keras.layers.Layer):
    """D z = sum_c d_c * z_c, the sum of filters placed at the code's positions, and its adjoint D^T y.

    ``call`` is synthesis, ``adjoint`` is D^T. Filters are normalised inside the forward pass, so gradients reach the
    optimiser tangent to the unit sphere; the constraint after each step removes rounding only.

    Args:
        filters: number of filters.
        kernel_size: int or tuple of ``rank`` ints.
        channels: channels of the signal; None: those of the signal that the ``SparseCoding`` of this dictionary is
            built on, and 1 for a dictionary that is built alone, since codes do not say.
        strides: int or tuple of ``rank`` ints, none larger than the kernel.
        rank: 1 (signals) or 2 (images); None: from a tuple of sizes, else 1.
        kernel_initializer: Keras initialiser of the kernel.
        block_size: "auto", or the code positions an axis that are folded into channels (see
            ``operators.polyphase``); 1 is the plain path. The values are the same.
        kernel_regularizer: Keras regulariser of the filters, such as ``regularizers.Smoothness``, or None. It is one of
            their shapes: filters of norm 1 are given to it, so that its gradient too is tangent.
        kernel_constraint: Keras constraint on the filters' values that holds beside their norm, such as "non_neg"
            (non-negative filters), or None.

    Input shape: code (batch, *positions, filters). Output shape: (batch, *space, channels).

    Raises:
        ValueError: a size that is no positive int, strides larger than the kernel, another rank, variables of half
            precision (see ``precision.layer_policy``).

    Example:
        >>> import keras
        >>> from keras_crsae.layers import ConvDictionary
        >>> layer = ConvDictionary(filters=3, kernel_size=9, channels=1)
        >>> tuple(layer(keras.ops.zeros((2, 92, 3))).shape)
        (2, 100, 1)
    """

    #: Whether every filter has norm 1.
    unit_norm = True

    def __init__(self, filters: int, kernel_size: Sizes, channels: int | None = None, strides: Sizes = 1,
                 rank: int | None = None, kernel_initializer: Any = "random_normal", block_size: BlockSize = "auto",
                 kernel_regularizer: Any = None, kernel_constraint: Any = None, dtype: Any = None,
                 **kwargs: Any) -> None:
        super().__init__(dtype=layer_policy(dtype), **kwargs)
        self.rank = as_rank(rank, kernel_size, strides)
        self.filters = as_positive_int(filters, "filters")
        self.channels = None if channels is None else as_positive_int(channels, "channels")
        self.kernel_size = as_sizes(kernel_size, self.rank, "kernel_size")
        self.strides = as_sizes(strides, self.rank, "strides")
        if any(s > k for s, k in zip(self.strides, self.kernel_size, strict=True)):
            raise ValueError("`strides` larger than `kernel_size` would leave samples that no filter reaches. "
                             f"Received: strides={self.strides}, kernel_size={self.kernel_size}")
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.kernel_regularizer = keras.regularizers.get(kernel_regularizer)
        self.kernel_constraint = keras.constraints.get(kernel_constraint)
        self.block_size = block_size
        self.block = polyphase.resolve_block(block_size, self.kernel_size, self.strides, self.inner_channels)
        self._seen: np.ndarray | None = None  # the kernel that was last compared with its constraint

    def set_channels(self, channels: int) -> None:
        """Fix the channels where they are open (None); before ``build``."""
        if self.channels is None:
            self.channels = as_positive_int(channels, "channels")
            self.block = polyphase.resolve_block(self.block_size, self.kernel_size, self.strides, self.inner_channels)

    def build(self, input_shape: Any = None) -> None:
        self.set_channels(1)
        regularizer, constraint = self.kernel_regularizer, self.filter_constraint()
        if self.unit_norm and regularizer is not None:
            regularizer = OfUnitFilters(regularizer)
        if self.kernel_constraint is not None:
            constraint = ConstrainedFilters(self.kernel_constraint, constraint)
        self.kernel = self.add_weight(
            name="kernel", shape=(*self.kernel_size, self.channels, self.filters),
            initializer=self.kernel_initializer, regularizer=regularizer, constraint=constraint)
        self.set_kernel(UnitNormFilters()(self.kernel.value) if self.unit_norm else self.kernel.value)

    @property
    def filter_variables(self) -> list[keras.Variable]:
        """Variables that make up the filters."""
        return [self.kernel]

    @property
    def spatial_variable(self) -> keras.Variable:
        """The one of them that holds how filters run over the kernel's positions, (*kernel_size, ..., filters)."""
        return self.kernel

    @property
    def inner_channels(self) -> int:
        """Channels that the encoder's iterations work on."""
        return self.channels or 1

    def filter_constraint(self) -> keras.constraints.Constraint | None:
        """What the norm of each filter is held to in training."""
        return UnitNormFilters()

    def set_kernel(self, kernel: Any) -> None:
        """Take filters, of norm 1 where they must be, brought to ``kernel_constraint`` where there is one."""
        self.kernel.assign(kernel if self.kernel_constraint is None else
                           self.kernel.constraint(ops.convert_to_tensor(kernel, self.kernel.dtype)))

    def set_filter(self, which: int, values: Any) -> None:
        """Replace one filter, (*kernel_size, channels), of norm 1 where filters must be."""
        kernel = ops.convert_to_numpy(self.kernel).copy()
        kernel[..., which] = values
        self.set_kernel(kernel)

    def constrain_kernel(self) -> np.ndarray:
        """Put filters that others moved off their constraint back on it.

        Training keeps the constraint by itself. Averages of weights, ``set_weights`` and ``kernel.assign`` do not.

        Returns:
            The kernel's values: the same array as at the last call while no filter changes.
        """
        kernel = ops.convert_to_numpy(self.kernel)
        if self._seen is not None and np.array_equal(kernel, self._seen):
            return self._seen
        if self.kernel.constraint is not None:
            constrained = ops.convert_to_numpy(self.kernel.constraint(ops.convert_to_tensor(kernel)))
            if np.abs(constrained - kernel).max() > _MOST_ROUNDING:
                self.kernel.assign(constrained)
                kernel = constrained
        self._seen = kernel
        return kernel

    def note_kernel(self) -> np.ndarray:
        """Take the present filters for right, as a step of training leaves them; returns as ``constrain_kernel``."""
        self._seen = kernel = ops.convert_to_numpy(self.kernel)
        return kernel

    def unit_kernel(self) -> Tensor:
        """The kernel with every filter divided by its norm, differentiable."""
        kernel = ops.convert_to_tensor(self.kernel)
        return kernel / filter_norms(kernel)

    def iterated_problem(self, signal: Tensor, differentiable: bool = True) -> IteratedProblem:
        """Signal and kernels for the iterations on a Gaussian signal that is observed on all channels.

        Args:
            signal: (batch, *space, channels).
            differentiable: whether a gradient is to reach the filters through the code.
        """
        return IteratedProblem(signal, ops.cast(self.unit_kernel(), signal.dtype), None)

    def correlation_problem(self, signal: Tensor) -> tuple[Tensor, Tensor]:
        """Signal (batch, *space, some channels) and filters of unit norm with the same correlations, ``D^T y``."""
        return signal, ops.cast(self.unit_kernel(), signal.dtype)

    def channel_subspace(self) -> np.ndarray | None:
        """Orthonormal columns (channels, inner channels) that span what the filters hold; None: all channels."""
        return None

    def adjoint(self, signal: Tensor, kernel: Tensor | None = None) -> Tensor:
        """``D^T y``: (batch, *space, channels) -> (batch, *positions, filters); positions that fit whole."""
        if kernel is None:
            signal, kernel = self.correlation_problem(signal)
        kernel = ops.cast(kernel, signal.dtype)
        if self.block is None:
            return adjoint(signal, kernel, self.strides)
        positions = [(n - k) // s + 1 for n, k, s in
                     zip(ops.shape(signal)[1:-1], self.kernel_size, self.strides, strict=True)]
        folded = polyphase.fold_kernel(kernel, self.strides, self.block)
        return polyphase.block_adjoint(signal, folded, self.strides, self.block, positions)

    def call(self, code: Tensor, kernel: Tensor | None = None) -> Tensor:
        return self.synthesis(code, kernel)

    def synthesis(self, code: Tensor, kernel: Tensor | None = None) -> Tensor:
        """``D z`` in the code's own precision: (batch, *positions, filters) -> (batch, *space, channels)."""
        kernel = ops.cast(self.unit_kernel() if kernel is None else kernel, code.dtype)
        if self.block is None:
            return synthesis(code, kernel, self.strides)
        folded = polyphase.fold_kernel(kernel, self.strides, self.block)
        signal = polyphase.block_synthesis(code, folded, self.strides, self.block)
        space = [signal_length(m, k, s) for m, k, s in
                 zip(ops.shape(code)[1:-1], self.kernel_size, self.strides, strict=True)]
        return signal[(slice(None), *(slice(0, n) for n in space))]

    def largest_eigenvalue(self, one_position: bool = False) -> Tensor:
        """Upper bound of the largest eigenvalue of ``D^T D``; ``one_position``: for signals as long as the filters."""
        if one_position:
            kernel = self.unit_kernel()
            return matrix_eigenvalue(ops.reshape(kernel, (-1, kernel.shape[-1])))
        return largest_eigenvalue(self.unit_kernel(), self.strides)

    def restricted_eigenvalue(self, support: Tensor) -> Tensor:
        """Upper bound of the largest eigenvalue of ``D^T D`` on codes that are 0 outside of a support, one a signal.

        It is the largest row sum of |D_S|^T |D_S|, by two applications of the dictionary: 1 where no two filters of a
        support overlap, and far below ``largest_eigenvalue`` where it is known when things happen. Never above it.

        Args:
            support: 0/1, (batch, *positions, filters).

        Returns:
            (batch,); ``largest_eigenvalue`` for a support that is empty.

        Example:
            >>> import numpy as np
            >>> from keras_crsae.layers import ConvDictionary
            >>> layer = ConvDictionary(filters=1, kernel_size=9, kernel_initializer="ones")
            >>> layer.build()
            >>> support = np.zeros((1, 92, 1), "float32")
            >>> support[0, [10, 40, 43]] = 1
            >>> round(float(layer.restricted_eigenvalue(support)[0]), 3), round(float(layer.largest_eigenvalue()), 1)
            (1.667, 9.0)
        """
        support = ops.convert_to_tensor(support)
        magnitude = ops.cast(ops.abs(self.unit_kernel()), support.dtype)
        rows = support * self.adjoint(self.synthesis(support, magnitude), magnitude)
        largest, whole = ops.max(rows, axis=tuple(range(1, len(rows.shape)))), self.largest_eigenvalue()
        whole = ops.cast(whole, support.dtype)
        return ops.minimum(ops.where(largest > 0, largest, whole), whole)

    def code_space(self, space: Any) -> tuple[Any, ...]:
        """Code positions on each axis for a signal's extent; None stays None."""
        return tuple(None if n is None else code_length(n, k, s)
                     for n, k, s in zip(space, self.kernel_size, self.strides, strict=True))

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        space = tuple(None if m is None else signal_length(m, k, s) for m, k, s in
                      zip(input_shape[1:-1], self.kernel_size, self.strides, strict=True))
        return (input_shape[0], *space, self.channels)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "filters": self.filters, "kernel_size": self.kernel_size,
                "channels": self.channels, "strides": self.strides, "rank": self.rank,
                "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
                "block_size": self.block_size,
                "kernel_regularizer": keras.regularizers.serialize(self.kernel_regularizer),
                "kernel_constraint": keras.constraints.serialize(self.kernel_constraint)}
