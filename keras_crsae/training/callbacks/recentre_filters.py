"""Move filters that drifted back to the middle of their kernels."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from keras_crsae.training.callbacks.optimizer_moments import filter_moments

CENTRES = ("energy", "extremum")


def centring_shifts(filters: Any, strides: Any = 1, by: str = "energy", within: float = 1.0,
                    max_loss: float = 0.05) -> np.ndarray:
    """Shifts that bring filters to the middle of their kernels.

    Args:
        filters: (*kernel_size, channels, filters); all channels of a filter move together.
        strides: int or one an axis; only whole strides are shifted, which codes can undo.
        by: "energy" (mean position, weighted by squared values) or "extremum" (largest absolute value).
        within: samples from the middle that are no drift.
        max_loss: largest share of a filter's energy that may be pushed over the kernel's edge; a shift that
            would lose more is shortened.

    Returns:
        (filters, rank) int64; positive moves towards larger positions.

    Raises:
        ValueError: unknown ``by``.

    Example:
        >>> import numpy as np
        >>> from keras_crsae.training.callbacks.recentre_filters import centring_shifts
        >>> filters = np.zeros((9, 1, 1)); filters[7] = 1.0
        >>> centring_shifts(filters, max_loss=0.0).tolist()
        [[-3]]
    """
    if by not in CENTRES:
        raise ValueError(f"`by` must be one of {CENTRES}. Received: by={by!r}")
    energy = np.square(np.asarray(filters, np.float64)).sum(axis=-2)
    rank = energy.ndim - 1
    strides = np.broadcast_to(strides, (rank,))
    shifts = np.zeros((energy.shape[-1], rank), np.int64)
    for c in range(energy.shape[-1]):
        peak = np.unravel_index(energy[..., c].argmax(), energy.shape[:-1])
        for axis in range(rank):
            profile = energy[..., c].sum(axis=tuple(a for a in range(rank) if a != axis))
            total = profile.sum()
            if total == 0:
                continue
            at = peak[axis] if by == "extremum" else np.arange(len(profile)) @ profile / total
            drift = at - (len(profile) - 1) / 2
            if abs(drift) <= within + 1e-6:  # the mean is rounded
                continue
            steps = int(np.rint(-drift / strides[axis]))
            while steps and _lost(profile, steps * strides[axis]) > max_loss * total:
                steps -= int(np.sign(steps))
            shifts[c, axis] = steps * strides[axis]
    return shifts


def _lost(profile: np.ndarray, shift: int) -> float:
    """Energy that a shift pushes over the edge."""
    return profile[len(profile) - shift:].sum() if shift > 0 else profile[:-shift].sum()


def shift_filters(array: np.ndarray, shifts: np.ndarray) -> np.ndarray:
    """Shift each filter of (*kernel_size, ..., filters) by its row of ``shifts``; zeros move in."""
    out = np.zeros_like(array)
    for c, shift in enumerate(shifts):
        to = tuple(slice(max(s, 0), n + min(s, 0)) for s, n in zip(shift, array.shape, strict=False))
        source = tuple(slice(max(-s, 0), n - max(s, 0)) for s, n in zip(shift, array.shape, strict=False))
        out[(*to, ..., c)] = array[(*source, ..., c)]
    return out


def _norms(kernel: np.ndarray) -> np.ndarray:
    """(filters,) norms of (*kernel_size, ..., filters)."""
    return np.sqrt(np.square(kernel).sum(axis=tuple(range(kernel.ndim - 1))))


class RecentreFilters(keras.callbacks.Callback):
    """Moves filters that drifted back to the middle of their kernels, between epochs; each keeps its norm.

    A filter can slide against its code while the fit stays the same (codes slide the other way), until it
    leaves its kernel. After each epoch every filter whose centre lies more than ``within`` samples from the
    middle is shifted there, the optimiser's moments with it, and the step size is refreshed. Signals encoded
    anew then have the same reconstruction, but for what the shift cut off. Dense filters stay as they are.

    Args:
        by, within, max_loss: see ``centring_shifts``.
        every: epochs between two looks.
        until: last epoch (counted from 1) that may shift; None: all. Later epochs settle undisturbed.

    Example:
        >>> import keras_crsae as kc
        >>> templates = kc.data.spike_templates(kernel_size=45, filters=3)
        >>> signal = kc.data.simulate_spikes(templates, windows=8, samples=500, events_per_window=2).signal
        >>> model = kc.CRsAE(filters=3, kernel_size=45, iterations=20, gradient="decoder")
        >>> model.compile()
        >>> history = model.fit(signal, epochs=2, verbose=0, callbacks=[kc.callbacks.RecentreFilters(until=1)])
    """

    def __init__(self, by: str = "energy", within: float = 1.0, max_loss: float = 0.05, every: int = 1,
                 until: int | None = None) -> None:
        super().__init__()
        if by not in CENTRES:
            raise ValueError(f"`by` must be one of {CENTRES}. Received: by={by!r}")
        if not 0 <= max_loss < 1 or not within >= 0 or not every >= 1:
            raise ValueError("RecentreFilters: `max_loss` must lie in [0, 1), `within` be 0 or more, `every` 1 or "
                             f"more. Received: max_loss={max_loss!r}, within={within!r}, every={every!r}")
        self.options: dict[str, Any] = dict(by=by, within=within, max_loss=max_loss)
        self.every, self.until = every, until

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if (epoch + 1) % self.every == 0 and (self.until is None or epoch < self.until):
            self.recentre()

    def recentre(self, model: Any = None) -> np.ndarray:
        """Shift now; also without training. Returns the shifts, (filters, rank)."""
        model = self.model if model is None else model
        shifts = centring_shifts(keras.ops.convert_to_numpy(model.decoder.kernel), model.dictionary.strides,
                                 **self.options)
        shifts[model.sparse_filters:] = 0  # a dense filter has no events to be in the middle of
        if not shifts.any():
            return shifts
        for variable in filter_moments(model, spatial=True):
            variable.assign(shift_filters(keras.ops.convert_to_numpy(variable), shifts))
        for layer in model.dictionaries:  # untied kernels move together: the code ties the one to the other
            variable = layer.spatial_variable
            kernel = keras.ops.convert_to_numpy(variable)
            moved = shift_filters(kernel, shifts)
            variable.assign(moved / (_norms(moved) if layer.unit_norm else _norms(moved) / _norms(kernel)))
        model.encoder.cell.refresh_step_size()
        return shifts
