"""Small spikes of other neurons among those of a unit: from which amplitude on a spike is the unit's (NumPy)."""

from __future__ import annotations

import math

import numpy as np

from keras_crsae.applications.spike_sorting.matching import UnitSpikes
from keras_crsae.applications.spike_sorting.parameters import DEFAULTS, SortingParameters
from keras_crsae.applications.spike_sorting.templates import template_norms

#: Small spikes must be so many times as frequent as large ones at the same distance from the mean.
_LEAST_ASYMMETRY = 2
#: Where more of the spikes were smaller, it would not be clear which are the unit's.
_LARGEST_SHARE = 0.25
_ROUNDS = 100


def least_amplitudes(spikes: UnitSpikes, parameters: SortingParameters = DEFAULTS) -> tuple[np.ndarray, list[str]]:
    """(least amplitude of each unit's spikes as a fraction of its mean, (units,); messages); 0 where any will do.

    A template that explains a neuron's spikes also explains those of others with its shape, mostly smaller ones. No
    group of their own need show: see ``background_border``.

    Args:
        spikes: matched to the signal that is learned from.
        parameters: ``minimum_background_bic_difference`` and ``minimum_spikes``.
    """
    norms = template_norms(spikes.templates)
    out, messages = np.zeros(len(norms)), []
    for unit, norm in enumerate(norms):
        ratio = spikes.code_amplitude[spikes.unit_id == unit] / norm
        border = background_border(ratio, parameters)
        if border is not None:
            out[unit] = border
            messages.append(f"unit {unit}: spikes below {border:.0%} of its template ({np.mean(ratio < border):.0%} of "
                            "those found) are taken for other neurons' and left out; "
                            "minimum_background_bic_difference=1e9 keeps them.")
    return out, messages


def background_border(amplitude: np.ndarray, parameters: SortingParameters = DEFAULTS) -> float | None:
    """The amplitude below which spikes are more probably others' than the unit's; None where none stand out.

    The amplitudes are taken for a normal distribution and a uniform one below its mean, fitted by EM. They must
    describe them better than a normal distribution alone, by ``minimum_background_bic_difference`` in the Bayesian
    information criterion, and at least ``minimum_spikes`` must lie below the border, twice as many as at that distance
    above the mean: what varies to both sides is the unit. No more than a quarter of all may.

    Args:
        amplitude: (spikes,).
        parameters: see above.

    Example:
        >>> import numpy as np
        >>> from keras_crsae.applications.spike_sorting.background import background_border
        >>> rng = np.random.default_rng(0)
        >>> own, others = rng.normal(1, 0.08, 400), rng.uniform(0.5, 0.8, 80)
        >>> background_border(own) is None, 0.7 < background_border(np.append(own, others)) < 0.9
        (True, True)
    """
    count, least = len(amplitude), parameters.minimum_spikes
    if count < 3 * least:
        return None
    low, mean, deviation, share = amplitude.min(), np.median(amplitude), amplitude.std() + 1e-6, 0.9
    one = -count * (math.log(deviation) + 0.5)
    two = -math.inf
    for _ in range(_ROUNDS):
        own = share * np.exp(-0.5 * np.square((amplitude - mean) / deviation)) / deviation
        # Both densities without the factor 1 / sqrt(2 pi).
        others = (amplitude < mean) * (1 - share) * math.sqrt(2 * math.pi) / max(mean - low, 1e-6)
        two = float(np.log(own + others + 1e-300).sum())
        weight = own / (own + others + 1e-300)
        share = weight.mean()
        mean = weight @ amplitude / weight.sum()
        deviation = math.sqrt(weight @ np.square(amplitude - mean) / weight.sum()) + 1e-6
    # One parameter more: the share.
    if 2 * (two - one) - math.log(count) < parameters.minimum_background_bic_difference or not 0.5 < share < 1:
        return None
    grid = np.linspace(low, mean, 500)
    own = share * np.exp(-0.5 * np.square((grid - mean) / deviation)) / deviation
    border = float(grid[np.argmax(own > (1 - share) * math.sqrt(2 * math.pi) / max(mean - low, 1e-6))])
    below, above = np.count_nonzero(amplitude < border), np.count_nonzero(amplitude > 2 * mean - border)
    return border if max(least, _LEAST_ASYMMETRY * above) <= below <= _LARGEST_SHARE * count else None
