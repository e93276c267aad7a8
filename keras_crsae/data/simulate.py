"""Draws from the generative model, with their truth (NumPy, seeded)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from crsae_onnx.core.validation import as_positive, as_positive_int, as_sizes
from numpy.typing import ArrayLike

from keras_crsae.typing import Shape, Sizes


@dataclass(frozen=True)
class Simulation:
    """Data with their truth.

    Attributes:
        signal: (batch, *space, channels) float32, the noisy data.
        clean: the same without noise, float64.
        code: (batch, *positions, filters) float64.
        filters: (*kernel_size, channels, filters), the true dictionary.
        sigma: noise standard deviation.
        lambda_reg: (filters,) rates of the code's prior where it was drawn from it, else None.
    """

    signal: np.ndarray
    clean: np.ndarray
    code: np.ndarray
    filters: np.ndarray
    sigma: float
    lambda_reg: np.ndarray | None = None

    @property
    def snr(self) -> float:
        """10 log10(var(D z) / sigma^2), in dB, over all samples."""
        return float(10 * np.log10(np.var(self.clean) / self.sigma**2))


def spike_templates(kernel_size: int = 45, filters: int = 3, seed: int = 0) -> np.ndarray:
    """Smooth unit-norm waveforms, (kernel_size, 1, filters): trough, rebound, and every second one a first peak.

    Widths grow from unit to unit, so that the waveforms stay apart under every shift.

    Args:
        kernel_size: samples of a waveform.
        filters: number of waveforms.
        seed: of small variations in width and rebound.

    Example:
        >>> from keras_crsae.data import spike_templates
        >>> spike_templates(45, 3).shape
        (45, 1, 3)
    """
    rng = np.random.default_rng(seed)
    time = np.linspace(0, 1, kernel_size)

    def bump(centre: float, width: float) -> np.ndarray:
        return np.exp(-0.5 * ((time - centre) / width) ** 2)

    out = []
    for i in range(filters):
        width = 0.03 * 1.9 ** (3 * i / max(filters, 3)) * (1 + 0.05 * rng.random())
        before, after = (0.8, 0.2) if i % 2 else (0.1, 0.35 + 0.15 * rng.random())
        wave = -bump(0.4, width) + before * bump(0.4 - 2.5 * width, width) + after * bump(0.4 + 3 * width, 1.5 * width)
        wave *= np.hanning(kernel_size + 2)[1:-1] ** 0.25
        out.append(wave / np.linalg.norm(wave))
    return np.stack(out, axis=-1)[:, None, :]


def simulate_spikes(filters: ArrayLike, windows: int = 100, samples: int = 2000, events_per_window: ArrayLike = 8,
                    amplitude: tuple[float, float] = (15.0, 1.5), refractory: int | None = None, sigma: float = 1.0,
                    snr: float | None = None, seed: int = 0) -> Simulation:
    """Spike trains convolved with their filters plus white noise; trains of different filters may overlap.

    Args:
        filters: (kernel_size, channels, filters).
        windows, samples: shape of the signal.
        events_per_window: mean events of each filter in a window, before the refractory time thins them;
            a number, or one a filter.
        amplitude: mean and standard deviation of the code at an event.
        refractory: least distance of two events of one filter, in samples; None: kernel_size.
        sigma: noise standard deviation.
        snr: None, or 10 log10(var(D z) / sigma^2) in dB, which then sets sigma.
        seed: int.

    Returns:
        Simulation.

    Raises:
        ValueError: a signal shorter than the filters, more events than positions, options out of range.

    Example:
        >>> from keras_crsae.data import simulate_spikes, spike_templates
        >>> data = simulate_spikes(spike_templates(45, 3), windows=2, samples=500, snr=9.0)
        >>> data.signal.shape, data.code.shape, round(data.snr, 6)
        ((2, 500, 1), (2, 456, 3), 9.0)
    """
    filters = _as_filters(filters, 1)
    size, _, count = filters.shape
    windows, positions = as_positive_int(windows, "windows"), as_positive_int(samples, "samples") - size + 1
    rates = np.broadcast_to(np.asarray(events_per_window, float), (count,))
    if positions < 1 or not (rates >= 0).all() or 2 * rates.max() > positions:
        raise ValueError(f"samples={samples} leaves {max(positions, 0)} positions for filters of {size} samples, too "
                         f"few for events_per_window={events_per_window}. Ask for longer windows or fewer events.")
    rng = np.random.default_rng(seed)
    gap = size if refractory is None else refractory
    code = np.zeros((windows, positions, count))
    for b in range(windows):
        for c in range(count):
            last = -gap
            for i in np.sort(rng.choice(positions, min(rng.poisson(rates[c]), positions), replace=False)):
                if i - last >= gap:
                    code[b, i, c] = max(rng.normal(*amplitude), 0.1 * amplitude[0])
                    last = i
    return _add_noise(code, filters, (1,), sigma, snr, rng)


def simulate_codes(filters: ArrayLike, lambda_reg: ArrayLike, space: Sizes, windows: int = 100, density: float = 1.0,
                   nonnegative: bool = True, strides: Sizes = 1, sigma: float = 1.0, snr: float | None = None,
                   seed: int = 0) -> Simulation:
    """The model of arXiv 1904.08827, section II, itself: codes from their prior, synthesis, white noise.

    Args:
        filters: (*kernel_size, channels, filters), for signals or images.
        lambda_reg: rate of the code's prior, a number or one a filter.
        space: samples of a signal, or (height, width) of an image; the code may need fewer (strides).
        windows: number of signals or images.
        density: share of positions that may be non-zero; 1 is the model itself, less thins it at random.
        nonnegative: True: z ~ Exponential(lambda); False: z ~ Laplace(lambda).
        strides, sigma, snr, seed: as elsewhere; ``snr`` (dB) sets sigma.

    Returns:
        Simulation, with ``lambda_reg``.

    Raises:
        ValueError: filters of another rank, a space smaller than they are, rates or density out of range.

    Example:
        >>> import numpy as np
        >>> from keras_crsae.data import simulate_codes
        >>> data = simulate_codes(np.ones((5, 5, 1, 2)), [2.0, 4.0], (12, 14), windows=3)
        >>> data.signal.shape, data.code.shape, data.lambda_reg.tolist()
        ((3, 12, 14, 1), (3, 8, 10, 2), [2.0, 4.0])
    """
    filters = np.asarray(filters, float)
    rank = filters.ndim - 2
    filters = _as_filters(filters, rank)
    strides, space = as_sizes(strides, rank, "strides"), as_sizes(space, rank, "space")
    count = filters.shape[-1]
    rates = np.array(np.broadcast_to(np.asarray(lambda_reg, float), (count,)))
    if not (np.isfinite(rates) & (rates > 0)).all() or not 0 < density <= 1:
        raise ValueError("`lambda_reg` must be positive and `density` lie in (0, 1]. "
                         f"Received: lambda_reg={lambda_reg!r}, density={density!r}")
    positions = tuple((n - k) // s + 1 for n, k, s in zip(space, filters.shape, strides, strict=False))
    if min(positions) < 1:
        raise ValueError(f"space={space} is smaller than the filters, {filters.shape[:rank]}.")
    rng = np.random.default_rng(seed)
    shape = (as_positive_int(windows, "windows"), *positions, count)
    code = rng.exponential(1.0 / rates, shape)
    if not nonnegative:
        code *= rng.choice([-1.0, 1.0], shape)
    if density < 1:
        code *= rng.random(shape) < density
    return _add_noise(code, filters, strides, sigma, snr, rng, rates)


def _as_filters(filters: ArrayLike, rank: int) -> np.ndarray:
    filters = np.asarray(filters, float)
    if rank not in (1, 2) or filters.ndim != rank + 2 or not np.isfinite(filters).all():
        raise ValueError("`filters` must be finite, of shape (kernel_size, channels, filters)"
                         f"{'' if rank == 1 else ' or (height, width, channels, filters)'}. "
                         f"Received: shape {filters.shape}")
    return filters


def _add_noise(code: np.ndarray, filters: np.ndarray, strides: Shape, sigma: float, snr: float | None,
              rng: np.random.Generator, rates: np.ndarray | None = None) -> Simulation:
    """``code`` with its signal: synthesis by the definition, tap after tap, and white noise."""
    rank = len(strides)
    space = tuple((m - 1) * s + k for m, s, k in zip(code.shape[1:-1], strides, filters.shape, strict=False))
    clean = np.zeros((code.shape[0], *space, filters.shape[-2]))
    for tap in np.ndindex(*filters.shape[:rank]):
        where = tuple(slice(t, t + (m - 1) * s + 1, s) for t, m, s in
                      zip(tap, code.shape[1:-1], strides, strict=True))
        clean[(slice(None), *where)] += code @ filters[tap].T
    if snr is not None:
        sigma = float(np.sqrt(np.var(clean) / 10 ** (snr / 10)))
        if not sigma > 0:
            raise ValueError("`snr` sets sigma from the clean signal, and that one is constant. Ask for more events.")
    sigma = as_positive(sigma, "sigma")
    signal = clean + sigma * rng.standard_normal(clean.shape)
    return Simulation(signal.astype("float32"), clean, code, filters, sigma, rates)


def perturb_filters(filters: np.ndarray, error: float = 0.45, seed: int = 0) -> np.ndarray:
    """Unit-norm filters at a given sqrt(1 - correlation^2) from the true ones, in a random direction.

    Args:
        filters: (*kernel_size, channels, filters), unit norm.
        error: number in [0, 1].
        seed: int.

    Returns:
        Array of the filters' shape.

    Raises:
        ValueError: an error outside [0, 1].

    Example:
        >>> import numpy as np
        >>> from keras_crsae.data import perturb_filters, spike_templates
        >>> true = spike_templates(45, 1)
        >>> round(float(np.sum(true * perturb_filters(true, error=0.6))), 6)
        0.8
    """
    if not 0 <= error <= 1:
        raise ValueError(f"`error` must lie in [0, 1]. Received: error={error!r}")
    rng = np.random.default_rng(seed)
    flat = filters.reshape(-1, filters.shape[-1])
    noise = rng.standard_normal(flat.shape)
    noise -= flat * np.sum(flat * noise, axis=0)
    noise /= np.linalg.norm(noise, axis=0)
    return (np.sqrt(1 - error**2) * flat + error * noise).reshape(filters.shape)
