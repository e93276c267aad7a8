"""The sparse code of a signal by coordinate descent on correlations, as loops that numba compiles.

The encoder's objective, ``1/2 ||x - D z||^2 + sum_u w_u ||z_u||_1`` with z >= 0, in terms of the filters' correlations
with the signal and with each other: one coordinate at a time is set to its best value, the largest changes first
(Kavukcuoglu et al. 2010, "Learning Convolutional Feature Hierarchies for Visual Recognition"; in blocks: Moreau et al.
2018, "DICOD", ICML). It costs what is active, not what is long: hundreds of times less than FISTA on recordings.
"""

# Scalars are NumPy's here, as numba sees them; int and float state their kind.
# pyright: basic, reportReturnType=false, reportArgumentType=false, reportCallIssue=false
from __future__ import annotations

import numpy as np

from crsae_onnx.core.compiled import compiled
from crsae_onnx.core.spikes.search_arrays import Model
from crsae_onnx.core.typing import Array, FloatArray

#: Changes of a code that are not made, in noise standard deviations: spikes have codes of 5 and more.
TOLERANCE = 0.05
#: Passes over what has changed, at most.
_PASSES = 60
#: Positions that are looked at together where one near them has changed.
_BLOCK = 64


def sparse_code(correlation: FloatArray, model: Model, penalty_weight: Array) -> FloatArray:
    """Non-negative code (positions, units) of a signal.

    Args:
        correlation: float32 (units, positions), of unit-norm filters with the signal.
        model: ``flat_model``: correlations of the filters with each other.
        penalty_weight: (units,), weight of the l1 norm in units of the signal.

    Example:
        >>> import numpy as np
        >>> from crsae_onnx.core.spikes.coordinate_descent import sparse_code
        >>> from crsae_onnx.core.spikes.correlations import gram
        >>> from crsae_onnx.core.spikes.search_arrays import flat_model
        >>> from crsae_onnx.core.spikes.spike_search import AmplitudeModel
        >>> overlap = gram(np.ones((1, 1, 1)))
        >>> model = flat_model(AmplitudeModel.from_prior(overlap, np.array([9.0]), np.array([0.1]), np.array([7.0])))
        >>> sparse_code(np.array([[0, 9, 1]], np.float32), model, np.array([3.0])).ravel().tolist()
        [0.0, 6.0, 0.0]
    """
    code = np.zeros(correlation.shape, np.float32)
    _descend(code, np.array(correlation, np.float32), model, np.asarray(penalty_weight, np.float32))
    return np.ascontiguousarray(code.T)


@compiled
def _descend(code: FloatArray, rest: FloatArray, model: Model, weight: FloatArray) -> None:
    units, positions = code.shape
    size = (model.gram.shape[2] + 1) // 2
    changed = np.ones((units, (positions + _BLOCK - 1) // _BLOCK), np.bool_)
    for _ in range(_PASSES):
        where, step = _steps(code, rest, weight, changed)
        changed[:] = False
        for n in np.argsort(-step, kind="mergesort"):
            u, t = where[n] // positions, where[n] % positions
            value = max(code[u, t] + rest[u, t] - weight[u], np.float32(0))
            change = value - code[u, t]
            if abs(change) <= TOLERANCE:
                continue
            code[u, t] = value
            before = t - size + 1
            low, high = max(0, before), min(positions, t + size)
            for i in range(model.first_neighbour[u], model.first_neighbour[u + 1]):
                v = model.neighbours[i]
                for s in range(low, high):
                    rest[v, s] -= change * model.gram[u, v, s - before]
                for block in range(low // _BLOCK, (high - 1) // _BLOCK + 1):
                    changed[v, block] = True
        if not len(where):
            break


@compiled
def _steps(code: FloatArray, rest: FloatArray, weight: FloatArray, changed: Array) -> tuple[Array, Array]:
    """(flat index, |change|) of the coordinates that would change, in the blocks that have."""
    units, positions = code.shape
    where, step = [0 for _ in range(0)], [np.float32(0) for _ in range(0)]
    for u in range(units):
        for block in range(changed.shape[1]):
            if changed[u, block]:
                for t in range(block * _BLOCK, min((block + 1) * _BLOCK, positions)):
                    # What rest + code - weight gives below 0 is 0.
                    change = max(rest[u, t] - weight[u], -code[u, t])
                    if abs(change) > TOLERANCE:
                        where.append(u * positions + t)
                        step.append(abs(change))
    return np.array(where, np.int64), np.array(step, np.float32)
