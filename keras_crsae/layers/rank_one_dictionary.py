"""The convolutional dictionary whose filters are of rank one: a map over channels times a course over the kernel."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_crsae.constraints import ConstrainedFilters, filter_norms
from keras_crsae.layers.conv_dictionary import ConvDictionary, IteratedProblem
from keras_crsae.operators import rank_one
from keras_crsae.operators.lipschitz import largest_eigenvalue
from keras_crsae.regularizers import OfCourses, OfUnitFilters
from keras_crsae.typing import Tensor

#: Change of a value above which a map or a course has left its constraint: rounding stays below.
_MOST_ROUNDING = 1e-5


@keras.saving.register_keras_serializable(package="keras_crsae")
class RankOneDictionary(ConvDictionary):
    """D z = sum_c u_c (v_c * z_c): each filter is a map u_c over channels times a time course v_c, both of norm 1.

    The model of multivariate sparse coding of MEG and EEG (Dupre la Tour, Moreau, Jas, Gramfort, NeurIPS 2018, arXiv
    1805.09654). Both parts learn, each by a gradient tangent to its sphere. A filter has channels + samples numbers in
    place of channels * samples, and the encoder works on as few channels as there are filters, see
    ``operators.rank_one``: more channels cost one matrix product before the iterations.

    Args:
        filters, kernel_size, channels, strides, rank, kernel_initializer, block_size: see ``ConvDictionary``. The first
            maps and courses are those of the rank-one kernels nearest to what ``kernel_initializer`` gives.
        kernel_regularizer: Keras regulariser of the courses, as kernels (*kernel_size, 1, filters) of norm 1, or None.
        kernel_constraint: Keras constraint on the values of maps and courses, such as "non_neg", or None.

    Attributes:
        kernel: the filters u_c v_c^T, a tensor (*kernel_size, channels, filters); to set it, ``set_kernel``.
        map_weights, course_weights: the variables, (channels, filters) and (*kernel_size, filters).

    Input shape: code (batch, *positions, filters). Output shape: (batch, *space, channels).

    Example:
        >>> import keras
        >>> from keras_crsae.layers import RankOneDictionary
        >>> layer = RankOneDictionary(filters=3, kernel_size=9, channels=64)
        >>> tuple(layer(keras.ops.zeros((2, 92, 3))).shape)
        (2, 100, 64)
        >>> layer.maps.shape, layer.time_courses.shape
        ((64, 3), (9, 3))
    """

    def build(self, input_shape: Any = None) -> None:
        self.set_channels(1)
        drawn: list[rank_one.RankOneParts] = []

        def first(part: str) -> Any:
            def initialise(shape: Any, dtype: Any = None) -> Tensor:
                if not drawn:  # one kernel for both parts
                    kernel = self.kernel_initializer((*self.kernel_size, self.channels, self.filters), dtype=dtype)
                    drawn.append(rank_one.nearest_rank_one(ops.convert_to_numpy(kernel)))
                return ops.convert_to_tensor(getattr(drawn[0], part), dtype=dtype)

            return initialise

        constraint: Any = self.filter_constraint()
        if self.kernel_constraint is not None:
            constraint = ConstrainedFilters(self.kernel_constraint, constraint)
        regularizer = self.kernel_regularizer
        regularizer = None if regularizer is None else OfCourses(OfUnitFilters(regularizer))
        self.map_weights = self.add_weight(name="maps", shape=(self.channels, self.filters), initializer=first("maps"),
                                           constraint=constraint)
        self.course_weights = self.add_weight(name="time_courses", shape=(*self.kernel_size, self.filters),
                                              initializer=first("courses"), regularizer=regularizer,
                                              constraint=constraint)
        if self.kernel_constraint is not None:
            for variable in self.filter_variables:
                variable.assign(variable.constraint(variable.value))

    @property
    def kernel(self) -> Tensor:  # pyright: ignore[reportIncompatibleVariableOverride]  made of two variables
        """The filters u_c v_c^T, (*kernel_size, channels, filters)."""
        return self.unit_kernel()

    @property
    def filter_variables(self) -> list[keras.Variable]:
        return [self.map_weights, self.course_weights]

    @property
    def spatial_variable(self) -> keras.Variable:
        return self.course_weights

    @property
    def maps(self) -> np.ndarray:
        """(channels, filters), norm 1; the sign is the one that makes the largest absolute value of a map positive."""
        return self._signed_parts()[0]

    @property
    def time_courses(self) -> np.ndarray:
        """(*kernel_size, filters), norm 1, with the sign that belongs to ``maps``."""
        return self._signed_parts()[1]

    def _signed_parts(self) -> tuple[np.ndarray, np.ndarray]:
        maps, courses = (ops.convert_to_numpy(part) for part in self.unit_parts())
        return rank_one.with_sign(maps, courses)

    def unit_parts(self) -> tuple[Tensor, Tensor]:
        """Maps and courses divided by their norms, differentiable."""
        maps, courses = (ops.convert_to_tensor(variable) for variable in self.filter_variables)
        return maps / filter_norms(maps), courses / filter_norms(courses)

    def unit_kernel(self) -> Tensor:
        return rank_one.kernel_of(*self.unit_parts())

    def set_kernel(self, kernel: Any) -> None:
        """Take the rank-one filters that are nearest to given ones."""
        maps, courses, _ = rank_one.nearest_rank_one(ops.convert_to_numpy(kernel))
        for variable, values in zip(self.filter_variables, (maps, courses), strict=True):
            values = ops.convert_to_tensor(values, dtype=variable.dtype)
            variable.assign(values if self.kernel_constraint is None else variable.constraint(values))

    def set_filter(self, which: int, values: Any) -> None:
        maps, courses, _ = rank_one.nearest_rank_one(np.asarray(values)[..., None])
        for variable, part in zip(self.filter_variables, (maps, courses), strict=True):
            changed = ops.convert_to_numpy(variable).copy()
            changed[..., which] = part[..., 0]
            changed = ops.convert_to_tensor(changed, dtype=variable.dtype)
            variable.assign(changed if self.kernel_constraint is None else variable.constraint(changed))

    def constrain_kernel(self) -> np.ndarray:
        values = self._values()
        if self._seen is not None and np.array_equal(values, self._seen):
            return self._seen
        for variable in self.filter_variables:
            value = ops.convert_to_tensor(variable)
            constrained = variable.constraint(value)
            if float(ops.max(ops.abs(constrained - value))) > _MOST_ROUNDING:
                variable.assign(constrained)
        self._seen = self._values()
        return self._seen

    def note_kernel(self) -> np.ndarray:
        self._seen = values = self._values()
        return values

    def _values(self) -> np.ndarray:
        return np.concatenate([ops.convert_to_numpy(variable).ravel() for variable in self.filter_variables])

    # Operators: channels are mixed once, and the rest runs on as few of them as there are filters.

    @property
    def inner_channels(self) -> int:
        return min(self.channels or 1, self.filters)

    @property
    def reduces(self) -> bool:
        """Whether there are more channels than filters, so that maps span a part of the channels alone."""
        return (self.channels or 1) > self.filters

    def correlation_problem(self, signal: Tensor) -> tuple[Tensor, Tensor]:
        if not self.reduces:
            return super().correlation_problem(signal)
        maps, courses = (ops.cast(part, signal.dtype) for part in self.unit_parts())
        return rank_one.mix_channels(signal, maps), _one_channel_each(courses)

    def synthesis(self, code: Tensor, kernel: Tensor | None = None) -> Tensor:
        if kernel is not None or not self.reduces:
            return super().synthesis(code, kernel)
        maps, courses = (ops.cast(part, code.dtype) for part in self.unit_parts())
        return rank_one.mix_channels(super().synthesis(code, _one_channel_each(courses)), ops.transpose(maps))

    def iterated_problem(self, signal: Tensor, differentiable: bool = True) -> IteratedProblem:
        if not self.reduces:
            return super().iterated_problem(signal, differentiable)
        maps, courses = (ops.cast(part, signal.dtype) for part in self.unit_parts())
        if differentiable:
            gram = ops.matmul(ops.transpose(maps), maps)
            correlated, adjoint_kernel = self.correlation_problem(signal)
            return IteratedProblem(correlated, rank_one.kernel_of(gram, courses), adjoint_kernel)
        basis, mixing = (ops.cast(part, signal.dtype) for part in rank_one.channel_basis(self.unit_parts()[0]))
        return IteratedProblem(rank_one.mix_channels(signal, basis), rank_one.kernel_of(mixing, courses), None)

    def largest_eigenvalue(self) -> Tensor:
        if not self.reduces:
            return super().largest_eigenvalue()
        maps, courses = self.unit_parts()
        return largest_eigenvalue(rank_one.kernel_of(rank_one.channel_basis(maps)[1], courses), self.strides)

    def channel_subspace(self) -> np.ndarray | None:
        if not self.reduces:
            return None
        maps = ops.convert_to_numpy(self.unit_parts()[0]).astype(np.float64)
        return np.linalg.qr(maps)[0].astype(np.float32)


def _one_channel_each(courses: Tensor) -> Tensor:
    """Kernel of a dictionary whose filters have a channel each: (*kernel_size, filters, filters)."""
    return rank_one.kernel_of(ops.eye(courses.shape[-1], dtype=courses.dtype), courses)
