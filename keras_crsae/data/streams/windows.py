"""Training batches from long recordings (NumPy)."""

import numpy as np


def cut_windows(recording, window, limit=None, rng=None):
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
        >>> cut_windows(np.zeros((1, 25, 2)), 10).shape
        (3, 10, 2)
    """
    batch, samples, channels = recording.shape
    if samples < window:
        raise ValueError(f"The recording has {samples} samples, fewer than one window of {window}. "
                         "Use a shorter window or a longer recording.")
    starts = list(range(0, samples - window + 1, window))
    if starts[-1] + window < samples:
        starts.append(samples - window)
    places = [(b, start) for b in range(batch) for start in starts]
    if limit is not None and limit < len(places):
        rng = np.random.default_rng(0) if rng is None else rng
        places = [places[i] for i in np.sort(rng.choice(len(places), limit, replace=False))]
    out = np.empty((len(places), window, channels), np.float32)
    for i, (b, start) in enumerate(places):
        out[i] = recording[b, start:start + window]
    return out
