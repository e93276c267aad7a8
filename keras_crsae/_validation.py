"""Checks of arguments that both layers and models take (NumPy); those of single numbers and of signals stand in
``crsae_onnx.core``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from crsae_onnx.core.signals import refuse_other_containers


def as_lambda(value: Any, filters: int, shared: bool) -> str | float | list[float]:
    """The first lambda of a model as "donoho", a float, or a list of ``filters`` floats.

    Args:
        value: "donoho", a positive number, or one for each filter.
        filters: number of filters.
        shared: one lambda for all filters; several equal numbers are then one.

    Raises:
        ValueError: anything else.

    Example:
        >>> from keras_crsae._validation import as_lambda
        >>> as_lambda([1, 2], filters=2, shared=False), as_lambda([3, 3], filters=2, shared=True)
        ([1.0, 2.0], 3.0)
    """
    if isinstance(value, str) and value == "donoho":
        return value
    expected = "'donoho', a positive number or one a filter"
    try:
        values = np.asarray(value, np.float64)
    except (TypeError, ValueError):
        values = np.asarray(-1.0)
    if values.ndim > 1 or not (np.isfinite(values) & (values > 0)).all() or (
            values.ndim and len(values) not in (1, filters)):
        raise ValueError(f"`lambda_init` must be {expected}. Received: lambda_init={value!r} with filters={filters}")
    if shared and values.ndim:
        if (values != values[0]).any():
            raise ValueError("lambda_shared=True has one lambda for all filters, and `lambda_init` gives several. "
                             f"Give one number or lambda_shared=False. Received: lambda_init={value!r}")
        values = values[0]
    return values.tolist()


def as_sample_weight(weight: Any, signal: np.ndarray, name: str = "sample_weight") -> np.ndarray | None:
    """``sample_weight`` of ``signal`` (batch, *space, channels), as float32, or None.

    Returns:
        (batch,): weights of the losses; or of signal's rank: a 0/1 mask of observed samples.

    Raises:
        ValueError: another shape, NaN, negative weights, a mask with other values than 0 and 1, nothing observed.

    Example:
        >>> import numpy as np
        >>> from keras_crsae._validation import as_sample_weight
        >>> as_sample_weight([1, 2], np.zeros((2, 50, 1))).tolist()
        [1.0, 2.0]
    """
    if weight is None:
        return None
    refuse_other_containers(weight, name)
    weight = np.asarray(weight)
    batch = signal.shape[0]
    if weight.dtype.kind not in "fiub" or not np.isfinite(weight.astype(np.float32)).all():
        raise ValueError(f"`{name}` must hold finite real numbers. Received: dtype {weight.dtype}")
    weight = weight.astype(np.float32)
    if weight.shape == (batch, 1):
        weight = weight[:, 0]
    if weight.shape == signal.shape[:-1]:
        weight = weight[..., None]
    if weight.shape == (batch,):
        if (weight < 0).any() or not weight.any():
            raise ValueError(f"`{name}` of shape (batch,) must be non-negative, with at least one positive weight. "
                             f"Received: {name}={weight}")
        return weight
    _check_mask(weight, signal.shape, name)
    return weight


def with_observed(weight: Any, observed: Any, signal: np.ndarray) -> Any:
    """``sample_weight`` with the mask of a masked array in it.

    Args:
        weight: None, or what ``fit`` was given.
        observed: None, or False where the signal, or its target, is masked.
        signal: (batch, *space, channels), for its shape.

    Raises:
        ValueError: weights of shape (batch,) beside a mask, since a batch has room for one of them.

    Example:
        >>> import numpy as np
        >>> from keras_crsae._validation import with_observed
        >>> with_observed(None, np.array([[[True], [False]]]), np.zeros((1, 2, 1))).ravel().tolist()
        [1.0, 0.0]
    """
    if observed is None:
        return weight
    observed = np.asarray(observed, np.float32)
    if weight is None:
        return observed
    mask = as_sample_weight(weight, signal)
    if mask is not None and mask.ndim == 1:
        raise ValueError("The mask of a masked array takes the place of `sample_weight`, so weights of shape (batch,) "
                         "cannot be given with it. Fill the masked values and omit them from the signals, or omit the "
                         f"weights. Received: sample_weight of shape {mask.shape}")
    return observed * mask


def _check_mask(mask: np.ndarray, shape: tuple[int, ...], name: str) -> None:
    """Raise ValueError unless ``mask`` is 0/1 and broadcastable to ``shape`` with its batch, with a 1 in it."""
    if mask.ndim != len(shape) or any(m not in (1, n) for m, n in zip(mask.shape, shape, strict=True)) \
            or mask.shape[0] != shape[0]:
        raise ValueError(f"`{name}` must be a 0/1 mask of the data's shape {shape}, or weights of shape ({shape[0]},). "
                         f"Received: shape {mask.shape}")
    if not np.isin(mask, (0.0, 1.0)).all():
        raise ValueError(f"`{name}` of the data's shape is a mask of observed samples: 0 or 1. "
                         f"Received values from {mask.min():.6g} to {mask.max():.6g}")
    if not mask.any():
        raise ValueError(f"`{name}` marks every sample as missing. Mark observed samples with 1.")


def as_unit_filters(filters: Any, expected: tuple[int | None, ...]) -> np.ndarray:
    """``filters`` as float32 with unit norms, or a ValueError; ``expected`` is its shape, None where any will do."""
    refuse_other_containers(filters, "filters")
    filters = np.asarray(filters)
    if filters.dtype.kind not in "fiu":
        raise ValueError(f"`filters` must hold real numbers. Received: dtype {filters.dtype}")
    filters = filters.astype(np.float64)
    if filters.ndim != len(expected) or any(e not in (None, n) for e, n in zip(expected, filters.shape, strict=True)):
        shown = tuple("any" if e is None else e for e in expected)
        raise ValueError(f"`filters` must have shape (*kernel_size, channels, filters) = {shown}. "
                         f"Received: shape {filters.shape}")
    norms = np.sqrt(np.sum(np.square(filters), axis=tuple(range(filters.ndim - 1))))
    if not np.isfinite(norms).all() or (norms == 0).any():
        raise ValueError(f"`filters` must be finite and none of them all zero. Received: norms {norms.tolist()}")
    return (filters / norms).astype(np.float32)
