"""Draws from the generative model, with their truth (NumPy, seeded)."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Simulation:
    """Signal (batch, time, 1), its noiseless part, code (batch, positions, filters), filters, sigma."""

    signal: np.ndarray
    clean: np.ndarray
    code: np.ndarray
    filters: np.ndarray
    sigma: float


def spike_templates(kernel_size=45, filters=3, seed=0):
    """Smooth, unit-norm, trough-first waveforms, (kernel_size, 1, filters)."""
    rng = np.random.default_rng(seed)
    time = np.linspace(0, 1, kernel_size)
    out = []
    for i in range(filters):
        centre, width = 0.3 + 0.04 * i, 0.035 + 0.03 * i + 0.005 * rng.random()
        trough = np.exp(-0.5 * ((time - centre) / width) ** 2)
        rebound = np.exp(-0.5 * ((time - centre - 0.2 - 0.06 * i) / (0.09 + 0.03 * i)) ** 2)
        wave = (-trough + (0.25 + 0.2 * i) * rebound) * np.hanning(kernel_size) ** 0.25
        out.append(wave / np.linalg.norm(wave))
    return np.stack(out, axis=-1)[:, None, :]


def simulate_spikes(filters, windows=100, samples=2000, events_per_window=8, amplitude=(15.0, 1.5),
                    refractory=None, sigma=1.0, seed=0):
    """Spike trains convolved with their filters plus white noise; trains of different filters may overlap.

    Args:
        filters: (kernel_size, 1, filters).
        windows, samples: shape of the signal.
        events_per_window: mean events of each filter in a window.
        amplitude: mean and standard deviation of the code at an event.
        refractory: least distance of two events of one filter; None: kernel_size.
        sigma: noise standard deviation.
        seed: int.

    Returns:
        Simulation.
    """
    rng = np.random.default_rng(seed)
    size, _, count = filters.shape
    gap = size if refractory is None else refractory
    positions = samples - size + 1
    code = np.zeros((windows, positions, count))
    for b in range(windows):
        for c in range(count):
            last = -gap
            for i in np.sort(rng.choice(positions, rng.poisson(events_per_window), replace=False)):
                if i - last >= gap:
                    code[b, i, c] = max(rng.normal(*amplitude), 0.1 * amplitude[0])
                    last = i
    clean = np.zeros((windows, samples, 1))
    for k in range(size):
        clean[:, k:k + positions, :] += code @ filters[k].T
    signal = clean + sigma * rng.standard_normal(clean.shape)
    return Simulation(signal.astype("float32"), clean, code, filters, sigma)


def perturb_filters(filters, error=0.45, seed=0):
    """Unit-norm filters at a given sqrt(1 - correlation^2) from the true ones, in a random direction."""
    rng = np.random.default_rng(seed)
    flat = filters.reshape(-1, filters.shape[-1])
    noise = rng.standard_normal(flat.shape)
    noise -= flat * np.sum(flat * noise, axis=0)
    noise /= np.linalg.norm(noise, axis=0)
    return (np.sqrt(1 - error**2) * flat + error * noise).reshape(filters.shape)
