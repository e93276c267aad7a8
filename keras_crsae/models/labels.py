"""Labels of classes, checked at the door (NumPy)."""

from __future__ import annotations

from typing import Any

import numpy as np
from crsae_onnx.core.signals import refuse_other_containers


def as_labels(labels: Any, count: int, classes: int, name: str = "y") -> np.ndarray:
    """``labels`` as int32 (count,).

    Args:
        labels: (count,) or (count, 1), whole numbers from 0 to ``classes`` - 1, of any real dtype.
        count: number of signals.
        classes: number of classes.
        name: for messages.

    Raises:
        ValueError: another shape (one-hot rows too), NaN, fractions, text, a label out of range.

    Example:
        >>> from keras_crsae.models.labels import as_labels
        >>> as_labels([0.0, 2.0], count=2, classes=3).tolist()
        [0, 2]
    """
    refuse_other_containers(labels, name)
    array = np.asarray(labels)
    expected = f"`{name}` must hold a label for each of {count} signals, whole numbers from 0 to {classes - 1}."
    if array.shape == (count, classes) and classes > 1:
        raise ValueError(f"{expected} Received: shape {array.shape}, as of one-hot rows. "
                         f"Use np.argmax({name}, axis=-1).")
    if array.shape == (count, 1):
        array = array[:, 0]
    if array.shape != (count,):
        raise ValueError(f"{expected} Received: shape {array.shape}")
    if array.dtype.kind not in "fiub":
        raise ValueError(f"{expected} Received: dtype {array.dtype}. Number the classes, for example by "
                         f"np.unique({name}, return_inverse=True)[1].")
    wrong = ~np.isfinite(array) | (array != np.floor(array)) | (array < 0) | (array >= classes)
    if wrong.any():
        raise ValueError(f"{expected} Received: {array[wrong][0]} at index {int(np.argmax(wrong))}")
    return array.astype(np.int32)
