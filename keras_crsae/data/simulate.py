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
    """Smooth unit-norm waveforms, (kernel_size, 1, filters): trough, rebound, and every second one a first peak.

    Widths grow from unit to unit, so that the waveforms stay apart under every shift.
    """
    rng = np.random.default_rng(seed)
    time = np.linspace(0, 1, kernel_size)

    def bump(centre, width):
        return np.exp(-0.5 * ((time - centre) / width) ** 2)

    out = []
    for i in range(filters):
        width = 0.03 * 1.9 ** (3 * i / max(filters, 3)) * (1 + 0.05 * rng.random())
        before, after = (0.8, 0.2) if i % 2 else (0.1, 0.35 + 0.15 * rng.random())
        wave = -bump(0.4, width) + before * bump(0.4 - 2.5 * width, width) + after * bump(0.4 + 3 * width, 1.5 * width)
        wave *= np.hanning(kernel_size + 2)[1:-1] ** 0.25
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
