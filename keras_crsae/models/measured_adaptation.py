"""Values that a model of measured data takes from them before training: noise level, lambda, its ceiling."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from keras import ops

from keras_crsae import initializers
from keras_crsae.layers import ConvDictionary
from keras_crsae.layers.measured_coding import MeasuredDictionary
from keras_crsae.models.adaptation import CEILING_EXAMPLES, Adapted, span
from keras_crsae.problem.code_priors import CodePrior
from keras_crsae.problem.measurements import Measurement


def check_sigma(measurement: Measurement, sigma: Any) -> None:
    """ValueError where a noise level is to be estimated from data that do not show it."""
    if sigma != "estimate" or measurement.data_are_signals:
        return
    raise ValueError("sigma='estimate' takes what varies from sample to sample of a signal for noise, and each datum "
                     f"of {measurement!r} is a sum of many samples. Give `sigma` a number in the unit of the data, the "
                     "standard deviation of what is measured of no signal; sigma_learning=True corrects a first guess.")


def check_first_filters(measurement: Measurement, init: str | None) -> None:
    """ValueError where first filters are to be cut from data that are no signals."""
    if init in (None, "dct") or measurement.data_are_signals:
        return
    raise ValueError(f"init={init!r} cuts filters from signals, and data of the measurement {measurement!r} are none. "
                     "Use init='dct', or model.set_dictionary(filters).")


def resolve_measured(data: np.ndarray, dictionary: ConvDictionary, sigma: float | str, donoho: bool,
                     code_prior: CodePrior, measurement: Measurement, mask: np.ndarray | None = None,
                     operator: np.ndarray | None = None) -> Adapted:
    """Sigma, lambda and its ceiling; the noise of (Phi d_c)^T v is sigma ||Phi d_c||, and so is Donoho's threshold.

    Args:
        data: y, (batch, *space, channels), checked.
        dictionary: D.
        sigma: a number, or "estimate" where the data are signals.
        donoho: True gives lambda Donoho's value for each filter.
        code_prior, measurement: of the model.
        mask: None or 0/1 of the data's shape.
        operator: None, or the number of each signal's matrix, () or (batch,).

    Raises:
        ValueError: the estimate of sigma is zero.
    """
    rank = dictionary.rank
    level = initializers.robust_sigma(data, rank, mask) if sigma == "estimate" else float(sigma)
    if not level > 0:
        raise ValueError("sigma='estimate' found a noise level of zero: give sigma a positive number in the data's "
                         f"unit. Received: {span(data, mask)}.")
    space = measurement.signal_space(data.shape[1:-1])
    value, ceiling = None, math.inf
    if donoho:
        positions = math.prod(dictionary.code_space(space))
        norms = ops.convert_to_numpy(measurement.column_norms(dictionary.unit_kernel()))
        value = norms * initializers.donoho_lambda(dictionary.filters, positions, level)
    few = slice(0, CEILING_EXAMPLES)
    numbers = operator if operator is None or not operator.ndim else operator[few]
    observed = ops.convert_to_tensor(data[few] if mask is None else (data * mask)[few])
    correlation = MeasuredDictionary(dictionary, measurement.of_batch(numbers, "float32"), observed).adjoint(observed)
    excess = [code_prior.dual_excess(c) for c in (correlation, -correlation)]  # a filter may still turn round
    if excess[0] is not None:
        ceiling = 0.5 * max(float(ops.max(e)) for e in excess) / level**2
    return Adapted(level, value, ceiling)
