"""How much like a Gabor function a filter is: the share of its energy that the best fit explains."""

import numpy as np

_ANGLES, _WAVES, _WIDTHS = 12, (2.2, 2.8, 3.5, 4.5, 6.0, 8.0, 12.0, 18.0), (0.12, 0.2, 0.3, 0.45)


def gabor(size, parameters):
    """A Gabor function on a grid of pixels.

    Args:
        size: (height, width).
        parameters: row and column of the centre (pixels), angle (radians), wavelength, width along and across the wave
            (pixels), phase, amplitude.

    Returns:
        (height, width): amplitude * exp(-u^2 / 2 a^2 - v^2 / 2 b^2) * cos(2 pi u / wavelength + phase).
    """
    row, column, angle, wavelength, along, across, phase, amplitude = parameters
    rows, columns = np.mgrid[:size[0], :size[1]]
    u = (columns - column) * np.cos(angle) + (rows - row) * np.sin(angle)
    v = -(columns - column) * np.sin(angle) + (rows - row) * np.cos(angle)
    envelope = np.exp(-0.5 * (np.square(u / along) + np.square(v / across)))
    return amplitude * envelope * np.cos(2 * np.pi * u / wavelength + phase)


def fit(filter_, starts=4):
    """Best Gabor function of a filter, and R^2, the share of the filter's variance about its mean that it explains.

    A grid of angles, wavelengths and widths, phase and amplitude solved exactly, gives ``starts`` first guesses;
    least squares refines them.

    Args:
        filter_: (height, width).

    Returns:
        (parameters, R^2).

    Example:
        >>> wave = gabor((12, 12), (5.5, 5.0, 0.6, 5.0, 3.0, 4.0, 0.3, 1.0))
        >>> bool(fit(wave)[1] > 0.99)
        True
    """
    from scipy.optimize import least_squares

    target = np.asarray(filter_, float)
    target = target / max(np.linalg.norm(target), 1e-12)
    size = target.shape
    total = np.square(target - target.mean()).sum()
    energy = np.square(target)
    rows, columns = np.mgrid[:size[0], :size[1]]
    middles = [((energy * rows).sum(), (energy * columns).sum()), ((size[0] - 1) / 2, (size[1] - 1) / 2)]
    guesses = []
    for centre in middles:
        for angle in np.arange(_ANGLES) * np.pi / _ANGLES:
            for wave in _WAVES:
                for width in _WIDTHS:
                    for stretch in (1.0, 2.0):
                        first = [*centre, angle, wave, width * max(size), stretch * width * max(size)]
                        pair = np.stack([gabor(size, (*first, phase, 1.0)).ravel() for phase in (0.0, np.pi / 2)], 1)
                        weight = np.linalg.lstsq(pair, target.ravel(), rcond=None)[0]
                        error = np.square(pair @ weight - target.ravel()).sum()
                        # a cos x - b sin x = |(a, b)| cos(x + phase)
                        phase, amplitude = np.arctan2(weight[1], weight[0]), np.hypot(*weight)
                        guesses.append((error, (*first, phase, amplitude)))
    guesses.sort(key=lambda g: g[0])
    low = [-2, -2, -np.inf, 1.8, 0.4, 0.4, -np.inf, 0]
    high = [size[0] + 1, size[1] + 1, np.inf, 8 * max(size), 4 * max(size), 4 * max(size), np.inf, np.inf]
    best = guesses[0][::-1]
    for _, first in guesses[:starts]:
        first = np.clip(first, np.array(low) + 1e-6, np.array(high) - 1e-6)
        made = least_squares(lambda p: (gabor(size, p) - target).ravel(), first, bounds=(low, high), max_nfev=200)
        if 2 * made.cost < best[1]:
            best = tuple(made.x), 2 * made.cost
    return best[0], 1.0 - best[1] / max(total, 1e-12)
