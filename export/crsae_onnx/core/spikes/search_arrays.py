"""What ``crsae_onnx.core.spikes.compiled_search`` works on: a model, spikes and limits as plain arrays and numbers."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from crsae_onnx.core.spikes.spike_search import AmplitudeModel, MatchingParameters
from crsae_onnx.core.typing import Array, FloatArray, IntArray


class Model(NamedTuple):
    """``AmplitudeModel`` as flat arrays, and which units overlap."""

    gram: FloatArray  #: (units, units, 2 kernel_size - 1)
    mean_term: Array  #: float64 (units,), as the next two
    quadratic: Array
    constant: Array
    min_correlation: FloatArray  #: (units,)
    opposite: Array  #: float64 (units, units): largest -gram over lags, at least 0
    first_neighbour: IntArray  #: (units + 1,): where each unit's begin in ``neighbours``
    neighbours: IntArray  #: units that it overlaps, itself among them
    overlap: Array  #: bool (units, units), the same as a matrix


class State(NamedTuple):
    """The spikes so far, sorted by start, and every unit's correlation with what they leave of the signal."""

    correlation: FloatArray  #: (units, positions)
    start: IntArray  #: with room for more, as the next two
    unit: IntArray
    amplitude: Array  #: float64
    num_spikes: IntArray  #: (1,)


class Limits(NamedTuple):
    """Refractory time and ``MatchingParameters`` in positions."""

    refractory: int
    step: int
    near: float  #: largest distance of two spikes that are moved as a pair
    pair_near: float  #: and of two that all pairs are tried for
    alone: int  #: distance from a spike within which two are tried in its place
    pair_units: int
    sweeps: int
    thorough: bool


def flat_model(model: AmplitudeModel) -> Model:
    """``Model`` of an ``AmplitudeModel``."""
    matrix: Array = np.any(model.gram, axis=2, keepdims=True)[:, :, 0] | np.eye(len(model.gram), dtype=bool)
    overlap = [np.flatnonzero(row) for row in matrix]
    mean_term, quadratic, constant = (np.ascontiguousarray(v[:, 0], np.float64)
                                      for v in (model.mean_term, model.quadratic, model.constant))
    return Model(np.ascontiguousarray(model.gram, np.float32), mean_term, quadratic, constant,
                 np.ascontiguousarray(model.min_correlation[:, 0], np.float32),
                 np.maximum(-model.gram.min(axis=2), 0).astype(np.float64),
                 np.cumsum([0, *map(len, overlap)]).astype(np.int64), np.concatenate(overlap).astype(np.int64),
                 np.ascontiguousarray(matrix))


def limits(parameters: MatchingParameters, size: int, refractory: int, thorough: bool) -> Limits:
    """``Limits`` for filters of ``size`` positions."""
    near = parameters.pair_fraction if thorough else parameters.quick_pair_fraction
    return Limits(refractory, parameters.step_samples, near * size, parameters.pair_fraction * size,
                  max(parameters.step_samples, round(parameters.split_fraction * size)), parameters.pair_units,
                  parameters.sweeps if thorough else parameters.quick_sweeps, thorough)
