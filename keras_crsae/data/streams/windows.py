"""Windows of recordings (NumPy)."""

from __future__ import annotations

import numpy as np


def window_starts(samples: int, window: int, step: int) -> np.ndarray:
    """First samples of windows that cover a recording, int64; a last one ends with it, so that no sample is left out.

    Args:
        samples: of the recording, at least ``window``.
        window: samples of a window.
        step: samples from one window to the next.

    Example:
        >>> from keras_crsae.data.streams.windows import window_starts
        >>> window_starts(25, window=10, step=10).tolist()
        [0, 10, 15]
    """
    starts = np.arange(0, samples - window + 1, step)
    return starts if starts[-1] + window >= samples else np.append(starts, samples - window)


def cut_windows(recording: np.ndarray, window: int, limit: int | None = None,
                rng: np.random.Generator | None = None) -> np.ndarray:
    """Windows of a recording, float32 (windows, window, channels).

    They lie side by side; a last one ends at the recording's end, so that no sample is left out.

    Args:
        recording: (batch, samples, channels), any real dtype; a memory-mapped one is read window by window.
        window: samples of a window, at most those of the recording.
        limit: use at most so many windows, drawn without replacement; None: all.
        rng: ``np.random.Generator`` of the draw; None: seed 0.

    Raises:
        ValueError: the recording is shorter than a window.

    Example:
        >>> import numpy as np
        >>> from keras_crsae.data import cut_windows
        >>> cut_windows(np.zeros((1, 25, 2)), 10).shape
        (3, 10, 2)
    """
    batch, samples, channels = recording.shape
    if samples < window:
        raise ValueError(f"The recording has {samples} samples, fewer than one window of {window}. "
                         "Use a shorter window or a longer recording.")
    chosen = [(b, start) for b in range(batch) for start in window_starts(samples, window, window)]
    if limit is not None and limit < len(chosen):
        rng = np.random.default_rng(0) if rng is None else rng
        chosen = [chosen[i] for i in np.sort(rng.choice(len(chosen), limit, replace=False))]
    out = np.empty((len(chosen), window, channels), np.float32)
    for i, (b, start) in enumerate(chosen):
        out[i] = recording[b, start:start + window]
    return out
