"""The noise of samples: its level, with rounding in the model, and the stretches that hold none (NumPy).

Recordings hold stretches without noise: blanked around stimulation (zeros, a constant, a straight line), saturated,
missing (NaN). Whole-number data holds noise that rounding has changed. A median absolute deviation of all samples sees
neither.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple, cast

import numpy as np

from crsae_onnx.core.signals import robust_std
from crsae_onnx.core.typing import Array

#: A second difference below this fraction of its third quartile counts as none.
_SMOOTH_FRACTION = 0.017
#: Runs rarer than this fraction of the possible ones do not show how long chance makes them: they may be blanks.
_COMMON_RUN_FRACTION = 0.03
#: Runs as long as a blank that chance may make in all samples.
_CHANCE_RUNS = 0.005
#: Fewest second differences of a blank, and the longest run that is compared.
_SHORTEST_RUN, _LONGEST_RUN = 5, 1024
#: Second differences that show their third quartile, at least.
_QUARTILE_VALUES = 1 << 16
#: Values that show whether all are multiples of one step.
_STEP_VALUES = 8192
#: Noise of more steps than this is hardly changed by rounding.
_MODELLED_STEPS = 64
#: Half the window of the fit to rounded noise, in standard deviations: what lies outside may be spikes.
_FIT_WINDOW_SD = 2.0
#: Values cut towards zero: half the window of the fit in steps at least, and the noise in steps and the gain in nats a
#: sample (at one step) that distinguish them from rounded ones.
_CUT_WINDOW, _CUT_LEAST_SD, _CUT_GAIN_NATS = 2, 0.9, 0.04
#: Samples next to the most frequent value, as a fraction, below which a channel is constant.
_CONSTANT_FRACTION = 1e-3


class NoiseLevel(NamedTuple):
    """The noise of one channel."""

    center: float  #: its median, or the center of the normal distribution that was rounded
    std: float  #: standard deviation, before rounding; 0: no noise
    step: float  #: smallest difference of two values where noise is less than 64 of them; otherwise 0


class BlankRule(NamedTuple):
    """What counts as a stretch without noise: a straight line (a constant is one) of more than ``samples`` samples."""

    samples: int  #: consecutive second differences that must be within the tolerance; 0: no such stretch is looked for
    tolerance: float  #: largest magnitude of a second difference


def noise_std(values: Any) -> float:
    """Standard deviation of the noise of one channel: robust against spikes, blanked stretches and rounding.

    Args:
        values: (samples,), in order of time; NaN and infinite samples are left out.

    Returns:
        ``noise_level`` of the samples that ``holds_noise``; 0.0 where there is no noise.

    Example:
        >>> import numpy as np
        >>> from crsae_onnx.core.noise import noise_std
        >>> values = np.random.default_rng(0).normal(0, 0.5, 60_000).round()   # less than a step
        >>> values[20_000:40_000] = 0                                         # and a third of it blanked
        >>> round(noise_std(values), 2)
        0.5
    """
    values = np.asarray(values)
    return noise_level(values[holds_noise(values)]).std


def holds_noise(values: Any, rule: BlankRule | None = None) -> Array:
    """Boolean (samples,): finite samples outside of stretches without noise.

    Args:
        values: (samples,), in order of time.
        rule: None: ``blank_rule`` of the values.
    """
    values = np.asarray(values)
    rule = blank_rule([values]) if rule is None else rule
    return np.isfinite(values) & ~_in_blanks(values, rule)


def channels_hold_noise(values: Array, samples: int, tolerance: Array) -> Array:
    """``holds_noise`` of every channel, boolean (samples, channels).

    Args:
        values: (samples, channels), in order of time.
        samples: of ``BlankRule``, the same for all channels.
        tolerance: of ``BlankRule``, (channels,).

    Example:
        >>> import numpy as np
        >>> from crsae_onnx.core.noise import channels_hold_noise
        >>> values = np.array([[1.0, 1.0], [2.0, 1.0], [5.0, 1.0], [2.0, 1.0], [np.nan, 1.0]])
        >>> channels_hold_noise(values, 2, np.zeros(2)).sum(axis=0).tolist()
        [4, 0]
    """
    holds = np.isfinite(values)
    for c in np.flatnonzero(_have_blanks(values, samples, tolerance)).tolist():
        holds[:, c] &= ~_in_blanks(values[:, c], BlankRule(samples, float(tolerance[c])))
    return holds


def noise_level(values: Any) -> NoiseLevel:
    """``NoiseLevel`` of samples that hold noise, (samples,), in any order.

    The median absolute deviation, ``robust_std``; where all values are multiples of a step and the noise is less than
    64 of them, the most probable normal distribution whose values were rounded (or cut towards zero). It is fitted to
    the frequencies within two standard deviations, given that a sample lies there.

    Example:
        >>> import numpy as np
        >>> from crsae_onnx.core.noise import noise_level
        >>> level = noise_level(np.random.default_rng(0).normal(300.2, 0.5, 60_000).round())
        >>> round(level.center, 1), round(level.std, 2), level.step
        (300.2, 0.5, 1.0)
    """
    values = np.asarray(values)
    if not values.size:
        return NoiseLevel(0.0, 0.0, 0.0)
    center = np.median(values)
    std = robust_std(values, center=center)
    step = _step_of(values, float(center))
    if not step or std > _MODELLED_STEPS * step:
        return NoiseLevel(float(center), float(std), 0.0)
    return _rounded_level(values, step, float(std))


def _step_of(values: Array, center: float) -> float:
    """The step of which all values are multiples, as far as some of them show; 0.0: none, or a small one."""
    some = values[::max(1, len(values) // _STEP_VALUES)].astype(np.float64)
    levels = np.unique(some)
    if len(levels) < 2:
        levels = np.unique(values).astype(np.float64)
    # Gaps of rounding errors, as after a change of unit, are none.
    gaps = np.diff(levels)
    low, high = np.quantile(some, (0.05, 0.95))
    span = high - low if high > low else levels[-1] - levels[0]
    gaps = gaps[gaps > 1e-5 * span]
    if not len(gaps):
        return 0.0
    step = float(gaps.min())
    multiple = (some[np.abs(some - center) < 100 * step] - center) / step
    # The center may lie half-way between two levels.
    apart = np.abs(2 * multiple - np.round(2 * multiple)) > 0.1
    return step if len(multiple) and apart.mean() < 1e-3 else 0.0


def _rounded_level(values: Array, step: float, std: float) -> NoiseLevel:
    """``noise_level`` of multiples of ``step``; ``std`` is a first guess."""
    origin = float(values[np.argmin(np.abs(values - np.median(values)))])
    index = np.round((values.astype(np.float64) - origin) / step)
    near = index[np.abs(index) < 8 * _MODELLED_STEPS].astype(np.int64)
    most = int(np.bincount(near - near.min()).argmax() + near.min())
    if np.count_nonzero(np.abs(near - most) == 1) < _CONSTANT_FRACTION * len(values):
        return NoiseLevel(origin + most * step, 0.0, step)
    center, sigma = _fit_rounded(near, most, max(std / step, 0.3))
    zero = -origin / step
    if abs(zero - round(zero)) < 1e-3 and abs(zero - center) < 2 * sigma:
        center, sigma = _fit_cut(near, round(zero), center, sigma)
    return NoiseLevel(origin + center * step, sigma * step, step)


def _fit_rounded(index: Array, most: int, sigma: float) -> tuple[float, float]:
    """(center, standard deviation) in steps, of values that were rounded.

    Args:
        index: values in steps.
        most: the most frequent one.
        sigma: first guess.
    """
    center, width = float(most), 0
    for _ in range(8):  # the window follows the estimate
        last, width = width, max(1, round(_FIT_WINDOW_SD * sigma))
        if last == width:
            break
        cells = np.arange(round(center) - width, round(center) + width + 1)
        center, sigma, _ = _score(_counts(index, cells), cells - 0.5, cells + 0.5, center, sigma)
    return center, sigma


def _fit_cut(index: Array, zero: int, center: float, sigma: float) -> tuple[float, float]:
    """(center, standard deviation) of values that were rounded, or cut towards ``zero``, whichever fits better.

    Cut values fall on ``zero`` from an interval of two steps.
    """
    width = max(_CUT_WINDOW, round(2 * _FIT_WINDOW_SD * sigma))
    cells = np.arange(zero - width, zero + width + 1)
    counts = _counts(index, cells)
    rounded = _score(counts, cells - 0.5, cells + 0.5, center, sigma)
    low, high = np.where(cells > zero, cells, cells - 1.0), np.where(cells < zero, cells, cells + 1.0)
    cut = _score(counts, low, high, center, 2 * sigma)
    gain = cut[2] - rounded[2]
    # Spikes in finely rounded noise look like coarsely cut noise: only what is clear is taken for cut.
    return cut[:2] if cut[1] > _CUT_LEAST_SD and gain > _CUT_GAIN_NATS / max(1.0, cut[1]) else (center, sigma)


def _counts(index: Array, cells: Array) -> Array:
    """How often each of consecutive ``cells`` occurs."""
    inside = index[(index >= cells[0]) & (index <= cells[-1])] - cells[0]
    return np.bincount(inside, minlength=len(cells)).astype(np.float64)


def _score(counts: Array, low: Array, high: Array, center: float, sigma: float) -> tuple[float, float, float]:
    """The normal distribution that makes ``counts`` of intervals most probable, given that a value is in one of them.

    Fisher scoring on the center and the logarithm of the standard deviation.
    """
    total = counts.sum()
    start = sigma
    for _ in range(50):
        a, b = (low - center) / sigma, (high - center) / sigma
        mass = np.maximum(_normal_mass(a, b), 1e-300)
        density_a, density_b = np.exp(-0.5 * a * a), np.exp(-0.5 * b * b)
        root = sigma * math.sqrt(2 * math.pi)
        slopes = np.stack([(density_a - density_b) / root, (a * density_a - b * density_b) * sigma / root]) / mass
        share = mass / mass.sum()
        slopes -= (slopes * share).sum(axis=1, keepdims=True)
        information = (slopes * share) @ slopes.T + 1e-9 * np.eye(2)
        shift, growth = cast("list[float]", np.linalg.solve(information, slopes @ counts / total).tolist())
        center += min(max(shift, -0.5 * sigma), 0.5 * sigma)
        sigma = min(max(sigma * math.exp(min(max(growth, -0.3), 0.3)), 0.05), 4 * start + 1)
        if max(abs(shift), abs(growth)) < 1e-6:
            break
    mass = np.maximum(_normal_mass((low - center) / sigma, (high - center) / sigma), 1e-300)
    return center, sigma, float(counts @ np.log(mass / mass.sum()) / total)


def _normal_mass(a: Array, b: Array) -> Array:
    """P(a < x < b) of x ~ N(0, 1), from the tails, so that small ones are exact."""
    return np.array([0.5 * (math.erfc(x / math.sqrt(2)) - math.erfc(y / math.sqrt(2))) if x > 0 else
                     0.5 * (math.erfc(-y / math.sqrt(2)) - math.erfc(-x / math.sqrt(2)))
                     for x, y in zip(a.tolist(), b.tolist(), strict=True)])


def blank_rule(pieces: Any) -> BlankRule:
    """The ``BlankRule`` of a channel: runs that are longer than its other samples make by chance.

    In a blank the signal is a straight line: its second difference is 0, or small against what noise makes. In coarsely
    rounded noise that happens by chance, and often many times in a row; how often is taken from the frequencies of
    short runs, counted as runs, of which a blank makes one however long it is.

    Args:
        pieces: arrays (samples,) of one channel.

    Example:
        >>> import numpy as np
        >>> from crsae_onnx.core.noise import blank_rule
        >>> noise = np.random.default_rng(0).normal(size=100_000)
        >>> blank_rule([noise]).samples, blank_rule([(noise * 0.4).round()]).samples > 30
        (5, True)
    """
    pieces = [np.asarray(piece) for piece in pieces]
    bends = [_second_difference(piece) for piece in pieces]
    # The quartile is of what is not a line, beyond rounding errors: most of the recording may be one. The steps at the
    # borders of many short blanks lie above it.
    error = max((_rounding_error(piece) for piece in pieces), default=0.0)
    moving = np.concatenate([bend[(bend > error) & np.isfinite(bend)] for bend in bends]) if bends else np.zeros(0)
    if not moving.size:
        return BlankRule(_SHORTEST_RUN, error)
    some = moving[::max(1, len(moving) // _QUARTILE_VALUES)]
    tolerance = max(error, _SMOOTH_FRACTION * float(np.quantile(some, 0.75)))
    runs = np.zeros(_LONGEST_RUN + 1)
    possible = 0
    for bend in bends:
        flat = bend <= tolerance
        possible += int(np.count_nonzero((bend > tolerance) & np.isfinite(bend)))
        low, high = _runs(flat)
        runs += np.bincount(np.minimum(high - low, _LONGEST_RUN), minlength=_LONGEST_RUN + 1)
    longer = runs[::-1].cumsum()[::-1][1:]  # runs of at least 1, 2, ... second differences
    share = longer / max(1, possible)
    length = np.arange(1, _LONGEST_RUN + 1)
    common = share >= _COMMON_RUN_FRACTION
    chance = float(np.max(share[common] ** (1 / length[common]), initial=_COMMON_RUN_FRACTION))
    if chance >= 1:  # nearly constant: nothing tells a blank from chance
        return BlankRule(0, tolerance)
    needed = math.log(max(possible, 1) / _CHANCE_RUNS) / -math.log(chance)
    return BlankRule(int(np.clip(math.ceil(needed), _SHORTEST_RUN, _LONGEST_RUN)), tolerance)


def _second_difference(values: Array) -> Array:
    """|x[t - 1] - 2 x[t] + x[t + 1]| of t = 1 ... samples - 2; infinite where it has no value."""
    exact = values.dtype.kind == "f"
    values = values.astype(np.float64)
    with np.errstate(invalid="ignore"):
        bend = np.abs(values[2:] - 2 * values[1:-1] + values[:-2])
    return np.where(np.isfinite(bend), bend, np.inf) if exact else bend


def _rounding_error(values: Array) -> float:
    """The largest second difference that rounding to the values' dtype makes of a line; 0.0 for whole numbers."""
    if values.dtype.kind != "f":
        return 0.0
    finite = values[np.isfinite(values)]
    return float(8 * np.finfo(values.dtype).eps * np.abs(finite).max(initial=0.0))


def _runs(flags: Array) -> tuple[Array, Array]:
    """(starts, ends) of the runs of True, ends excluded."""
    change = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(np.int8)))
    return change[::2], change[1::2]


def _have_blanks(values: Array, samples: int, tolerance: Array) -> Array:
    """Boolean (channels,): a run of at least ``samples`` second differences is within the tolerance.

    Every such run holds one whose index is a multiple of ``samples``, minus 1: only these are looked at, and the
    neighbours of those within the tolerance.
    """
    last = len(values) - 2
    if samples < 1 or last < samples:
        return np.zeros(int(values.shape[1]), np.bool_)

    def flat(index: Array, channel: Array | slice) -> Array:
        parts: list[Array] = [values[index + i, channel].astype(np.float64) for i in range(3)]
        limit: Array = tolerance[channel]
        bend = parts[0] - 2 * parts[1] + parts[2]
        return np.asarray(np.abs(bend) <= limit, np.bool_)

    with np.errstate(invalid="ignore"):
        step, channel = np.nonzero(flat(np.arange(samples - 1, last, samples), slice(None)))
        center = samples - 1 + samples * step
        around: Array = center[:, None] + np.arange(1 - samples, samples)
        near = flat(np.clip(around, 0, last - 1), np.broadcast_to(channel[:, None], around.shape))
    near &= (around >= 0) & (around < last)
    before = np.logical_and.accumulate(near[:, samples - 1::-1], axis=1).sum(axis=1)
    after = np.logical_and.accumulate(near[:, samples - 1:], axis=1).sum(axis=1)
    found = np.zeros(values.shape[1], bool)
    found[channel[before + after - 1 >= samples]] = True
    return found


def _in_blanks(values: Array, rule: BlankRule) -> Array:
    """Boolean (samples,): in a straight line of at least ``rule.samples`` second differences."""
    mark = np.zeros(len(values) + 1, np.int64)
    if rule.samples:
        low, high = _runs(_second_difference(values) <= rule.tolerance)
        long = high - low >= rule.samples
        np.add.at(mark, low[long], 1)
        np.add.at(mark, high[long] + 2, -1)
    return np.cumsum(mark[:-1]) > 0
