"""Give filters that died or became copies a new start."""

from __future__ import annotations

import logging
from typing import Any

import keras
import numpy as np
from crsae_onnx.core.signals import as_float32

from keras_crsae.training.callbacks.optimizer_moments import filter_moments


class ReviveFilters(keras.callbacks.Callback):
    """Gives filters that died, or became copies of others, a new start from what the model explains worst.

    After each epoch ``data`` is encoded. A filter is dead where its codes sum to less than ``least`` of the mean over
    filters, and a copy where its correlation with a filter that is used more exceeds ``copies``. Each becomes the
    window of ``data`` with the largest residual energy, not overlapping those taken before; the optimiser's moments
    of it are zeroed, and the step size is refreshed. ``revived`` lists (epoch, filter, reason), the history counts them
    as ``revived_filters``, the logger ``keras_crsae`` names each. Dense filters stay as they are.

    Args:
        data: (batch, *space, channels), some of the training data: a few hundred windows.
        least: share of the mean use below which a filter is dead.
        copies: absolute correlation, at no shift, above which two filters are one; None: copies are left.
        until: last epoch (counted from 1) that may revive; None: all. Later epochs settle undisturbed.

    Example:
        >>> import keras_crsae as kc
        >>> templates = kc.data.spike_templates(kernel_size=45, filters=3)
        >>> signal = kc.data.simulate_spikes(templates, windows=8, samples=500, events_per_window=2).signal
        >>> model = kc.CRsAE(filters=3, kernel_size=45, iterations=20, gradient="decoder")
        >>> model.compile()
        >>> revive = kc.callbacks.ReviveFilters(signal[:4], until=1)
        >>> history = model.fit(signal, epochs=2, verbose=0, callbacks=[revive])
    """

    def __init__(self, data: Any, least: float = 1e-3, copies: float | None = 0.99, until: int | None = None) -> None:
        super().__init__()
        if not 0 <= least < 1 or (copies is not None and not 0 < copies <= 1):
            raise ValueError("ReviveFilters: `least` must lie in [0, 1), `copies` in (0, 1] or be None. Received: "
                             f"least={least!r}, copies={copies!r}")
        self.data, self.least, self.copies, self.until = as_float32(data, "data"), least, copies, until
        self.revived = []

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if self.until is not None and epoch >= self.until:
            return
        revived = self.revive(self.model)
        self.revived += [(epoch, *what) for what in revived]
        if logs is not None:
            logs["revived_filters"] = float(len(revived))

    def revive(self, model: Any) -> list[tuple[int, str]]:
        """Revive now; also without training. Returns a list of (filter, "dead" or "copy")."""
        code = model.encode(self.data)
        use = np.abs(code).sum(axis=tuple(range(code.ndim - 1)))
        kernel = keras.ops.convert_to_numpy(model.decoder.kernel).copy()
        candidates = self._candidates(use, kernel, model.sparse_filters)
        if not candidates:
            return candidates
        residual = self.data - model.decode(code)[tuple(slice(0, n) for n in self.data.shape)]
        for (which, reason), window in zip(candidates, worst_windows(residual, kernel.shape[:-2], len(candidates)),
                                           strict=False):
            size = np.linalg.norm(window)
            if not size > 0:  # nothing is left to explain
                continue
            for layer in dict.fromkeys((model.decoder, model.dictionary)):
                layer.set_filter(which, window / size)
            for variable in filter_moments(model):
                values = keras.ops.convert_to_numpy(variable).copy()
                values[..., which] = 0
                variable.assign(values)
            logging.getLogger("keras_crsae").info("Filter %d (%s) begins anew from a window of the residual.", which,
                                                  reason)
        model.encoder.cell.refresh_step_size()
        return candidates

    def _candidates(self, use: np.ndarray, kernel: np.ndarray, sparse: int) -> list[tuple[int, str]]:
        """Filters that are dead or copies, with the reason; only the first ``sparse`` are looked at."""
        dead = use <= self.least * max(float(use[:sparse].mean()), 1e-30)
        dead[sparse:] = False
        candidates = [(int(c), "dead") for c in np.flatnonzero(dead)]
        if self.copies is None:
            return candidates
        flat = kernel.reshape(-1, kernel.shape[-1])
        alike = np.abs((flat / np.maximum(np.linalg.norm(flat, axis=0), 1e-12)).T @ flat) \
            / np.maximum(np.linalg.norm(flat, axis=0), 1e-12) > self.copies
        kept = list(range(sparse, len(use)))
        for c in np.argsort(-use[:sparse], kind="stable"):  # the most used of several copies stays
            if dead[c]:
                continue
            if alike[c, kept].any():
                candidates.append((int(c), "copy"))
            else:
                kept.append(c)
        return candidates


def worst_windows(residual: np.ndarray, size: tuple[int, ...], count: int) -> list[np.ndarray]:
    """Windows of the largest energy that do not overlap.

    Args:
        residual: (batch, *space, channels).
        size: of a window, one number an axis of space.
        count: windows wanted; there may be room for fewer.

    Returns:
        List of arrays (*size, channels), the strongest first.

    Example:
        >>> import numpy as np
        >>> from keras_crsae.training.callbacks.revive_filters import worst_windows
        >>> residual = np.zeros((1, 9, 1)); residual[0, 4:6] = 1.0
        >>> worst_windows(residual, (3,), 1)[0].ravel().tolist()
        [0.0, 1.0, 1.0]
    """
    energy = np.square(residual.astype(np.float64)).sum(axis=-1)
    for axis, n in enumerate(size, start=1):
        total = np.cumsum(np.moveaxis(energy, axis, 0), axis=0)
        total[n:] = total[n:] - total[:-n]
        energy = np.moveaxis(total[n - 1:], 0, axis)
    energy, windows = energy.copy(), []
    while len(windows) < count and energy.max() > 0:
        at = np.unravel_index(energy.argmax(), energy.shape)
        windows.append(residual[(at[0], *(slice(i, i + n) for i, n in zip(at[1:], size, strict=True)))])
        energy[(at[0], *(slice(max(0, i - n + 1), i + n) for i, n in zip(at[1:], size, strict=True)))] = -1.0
    return windows
