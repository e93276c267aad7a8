"""Events from a code: neighbouring values become one event, amplitudes are fitted, weak events are dropped (NumPy)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

#: Newton steps of the amplitudes, and the largest change of a step.
_NEWTON_STEPS, _LARGEST_STEP = 12, 2.0
#: Weight of a squared amplitude beside the negative log likelihood, which keeps amplitudes finite where every bin of
#: an event is full.
_RIDGE = 1e-3


@dataclass(frozen=True)
class Detection:
    """How events are found.

    Attributes:
        radius: bins on either side of a maximum whose code belongs to the same event.
        least_gain: log likelihood that an event must add to its trial.
        trials_per_bin: Bernoulli draws in a bin; None: Poisson.
        refine: whether an event may move by a bin where that raises the likelihood.
    """

    radius: int
    least_gain: float
    trials_per_bin: int | None
    refine: bool = True


def pool_code(code: np.ndarray, radius: int) -> tuple[np.ndarray, np.ndarray]:
    """(positions, amplitudes) of one filter's code (positions,), greedily from the largest sum of a neighbourhood.

    Values of the two signs are pooled apart.

    Example:
        >>> import numpy as np
        >>> from keras_crsae.applications.neural_events.detection import pool_code
        >>> [a.tolist() for a in pool_code(np.array([0.0, 1.0, 3.0, 0.0, 0.0, 0.0, 2.0]), radius=1)]
        [[2, 6], [4.0, 2.0]]
    """
    positions: list[int] = []
    amplitudes: list[float] = []
    window = np.ones(2 * radius + 1)
    for sign in (1.0, -1.0):
        rest = np.maximum(sign * np.asarray(code, np.float64), 0)
        for _ in range(np.count_nonzero(rest)):
            sums = np.convolve(rest, window)[radius:radius + len(rest)]
            # Of equal sums the one whose own value is largest is the middle.
            at = int(np.argmax(sums + 1e-6 * rest))
            if sums[at] <= 1e-6:
                break
            low, high = max(0, at - radius), at + radius + 1
            mass = rest[low:high]
            positions.append(int(round(float(np.arange(low, low + len(mass)) @ mass / mass.sum()))))
            amplitudes.append(sign * float(mass.sum()))
            rest[low:high] = 0
    order = np.argsort(positions, kind="stable") if positions else np.zeros(0, int)
    return np.asarray(positions, np.int64)[order], np.asarray(amplitudes)[order]


def find_events(code: np.ndarray, counts: np.ndarray, offset: np.ndarray, kernel: np.ndarray, rule: Detection
                ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Events of one signal.

    Args:
        code: (positions, kernels).
        counts: (bins, channels).
        offset: (bins, channels), eta without events.
        kernel: (kernel bins, channels, kernels), as the code is of.
        rule: how.

    Returns:
        (positions, kernels, amplitudes), amplitudes in the code's unit.
    """
    pooled = [pool_code(code[:, k], rule.radius) for k in range(code.shape[1])]
    position = np.concatenate([p for p, _ in pooled])
    which = np.concatenate([np.full(len(p), k) for k, (p, _) in enumerate(pooled)]).astype(np.int64)
    amplitude = np.concatenate([a for _, a in pooled])
    amplitude = fit_amplitudes(position, which, amplitude, counts, offset, kernel, rule.trials_per_bin)
    while len(position):
        gains = _gains(position, which, amplitude, counts, offset, kernel, rule.trials_per_bin)
        weakest = int(np.argmin(gains))
        if gains[weakest] >= rule.least_gain:
            break
        # Weak ones that do not touch each other go together.
        drop = _apart(position, gains, rule.least_gain, len(kernel))
        position, which, amplitude = position[~drop], which[~drop], amplitude[~drop]
        amplitude = fit_amplitudes(position, which, amplitude, counts, offset, kernel, rule.trials_per_bin)
    if rule.refine and len(position):
        position = _move(position, which, amplitude, counts, offset, kernel, rule.trials_per_bin)
        amplitude = fit_amplitudes(position, which, amplitude, counts, offset, kernel, rule.trials_per_bin)
    return position, which, amplitude


def _apart(position: np.ndarray, gains: np.ndarray, least: float, size: int) -> np.ndarray:
    """Events of too small a gain, the weakest first, none within a kernel's length of one that is chosen already."""
    drop = np.zeros(len(position), bool)
    for index in np.argsort(gains):
        if gains[index] >= least:
            break
        drop[index] = not (drop & (np.abs(position - position[index]) < size)).any()
    return drop


def synthesis(position: np.ndarray, which: np.ndarray, amplitude: np.ndarray, kernel: np.ndarray, bins: int
              ) -> np.ndarray:
    """(bins, channels): the sum of the events' kernels."""
    out = np.zeros((bins, kernel.shape[1]))
    for at, k, a in zip(position, which, amplitude, strict=True):
        out[at:at + len(kernel)] += a * kernel[:, :, k]
    return out


def _mean(eta: np.ndarray, trials_per_bin: int | None) -> np.ndarray:
    """Expected count."""
    if trials_per_bin is None:
        return np.exp(np.minimum(eta, 30))
    return trials_per_bin / (1 + np.exp(-np.clip(eta, -60, 60)))


def _log_likelihood(counts: np.ndarray, eta: np.ndarray, trials_per_bin: int | None) -> np.ndarray:
    """Of each bin, up to what depends on the counts alone."""
    if trials_per_bin is None:
        return counts * eta - np.exp(np.minimum(eta, 30))
    return counts * eta - trials_per_bin * np.logaddexp(0, eta)


def fit_amplitudes(position: np.ndarray, which: np.ndarray, amplitude: np.ndarray, counts: np.ndarray,
                   offset: np.ndarray, kernel: np.ndarray, trials_per_bin: int | None) -> np.ndarray:
    """Amplitudes of largest likelihood at fixed positions, each with the sign that it has: projected Newton steps."""
    if not len(position):
        return amplitude
    bins = len(counts)
    design = np.zeros((len(position), bins, counts.shape[1]))
    for row, (at, k) in enumerate(zip(position, which, strict=True)):
        design[row, at:at + len(kernel)] = kernel[:, :, k]
    flat, sign = design.reshape(len(position), -1), np.sign(amplitude)
    y, base = counts.ravel().astype(np.float64), offset.ravel()
    for _ in range(_NEWTON_STEPS):
        mean = _mean(base + amplitude @ flat, trials_per_bin)
        weight = mean if trials_per_bin is None else mean * (1 - mean / trials_per_bin)
        gradient = flat @ (y - mean) - _RIDGE * amplitude
        free = (sign * amplitude > 0) | (sign * gradient > 0)
        if not free.any():
            break
        hessian = (flat[free] * weight) @ flat[free].T + (_RIDGE + 1e-6) * np.eye(int(free.sum()))
        step = np.zeros(len(amplitude))
        step[free] = np.linalg.solve(hessian, gradient[free])
        step *= min(1.0, _LARGEST_STEP / max(float(np.abs(step).max()), 1e-12))
        amplitude = sign * np.maximum(sign * (amplitude + step), 0)
        if np.abs(step).max() < 1e-4:
            break
    return amplitude


def _gains(position: np.ndarray, which: np.ndarray, amplitude: np.ndarray, counts: np.ndarray, offset: np.ndarray,
           kernel: np.ndarray, trials_per_bin: int | None) -> np.ndarray:
    """Log likelihood that each event adds, the others as they are."""
    eta = offset + synthesis(position, which, amplitude, kernel, len(counts))
    size, gains = len(kernel), np.zeros(len(position))
    for row, (at, k, a) in enumerate(zip(position, which, amplitude, strict=True)):
        here = slice(at, at + size)
        gains[row] = (_log_likelihood(counts[here], eta[here], trials_per_bin)
                      - _log_likelihood(counts[here], eta[here] - a * kernel[:, :, k], trials_per_bin)).sum()
    return gains


def _move(position: np.ndarray, which: np.ndarray, amplitude: np.ndarray, counts: np.ndarray, offset: np.ndarray,
          kernel: np.ndarray, trials_per_bin: int | None) -> np.ndarray:
    """Positions after each event went to the best of its neighbours, the others fixed, two rounds."""
    position, last = position.copy(), len(counts) - len(kernel)
    eta = offset + synthesis(position, which, amplitude, kernel, len(counts))
    for _ in range(2):
        for row, (k, a) in enumerate(zip(which, amplitude, strict=True)):
            shape = a * kernel[:, :, k]
            eta[position[row]:position[row] + len(kernel)] -= shape
            low, high = max(0, position[row] - 2), min(last, position[row] + 2)
            span = slice(low, high + len(kernel))
            tried = []
            for at in range(low, high + 1):
                moved = eta[span].copy()
                moved[at - low:at - low + len(kernel)] += shape
                tried.append(_log_likelihood(counts[span], moved, trials_per_bin).sum())
            position[row] = low + int(np.argmax(tried))
            eta[position[row]:position[row] + len(kernel)] += shape
    return position
