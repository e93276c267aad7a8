"""Expressions that bring an array into the expected shape, for messages: each was tried on the array's shape."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from crsae_onnx.core.typing import Array, is_array

_Change = Callable[[Array], Array]
#: Changes of signals (batch, time, channels), the likeliest first; an axis is dropped where it has one entry (squeeze).
_SIGNALS: dict[str, _Change] = {
    "[None, :, None]": lambda a: a[None, :, None], "[None]": lambda a: a[None], "[..., None]": lambda a: a[..., None],
    ".T[None]": lambda a: a.T[None], ".swapaxes(1, 2)": lambda a: a.swapaxes(1, 2),
    "[..., 0][None]": lambda a: a.squeeze(-1)[None], "[0]": lambda a: a.squeeze(0), "[..., 0]": lambda a: a.squeeze(-1)}
#: The same of images (batch, height, width, channels).
_IMAGES: dict[str, _Change] = {
    "[None, :, :, None]": lambda a: a[None, :, :, None], "[None]": lambda a: a[None],
    "[..., None]": lambda a: a[..., None], ".transpose(1, 2, 0)[None]": lambda a: a.transpose(1, 2, 0)[None],
    ".transpose(0, 2, 3, 1)": lambda a: a.transpose(0, 2, 3, 1), "[0]": lambda a: a.squeeze(0),
    "[..., 0]": lambda a: a.squeeze(-1)}
#: Of recordings (samples, channels).
_RECORDINGS: dict[str, _Change] = {
    "[:, None]": lambda a: a[:, None], ".T": lambda a: a.T, "[0]": lambda a: a.squeeze(0),
    "[..., 0]": lambda a: a.squeeze(-1), "[0].T": lambda a: a.squeeze(0).T}
#: Of images the last axis is taken for channels up to this number, where nothing else is known.
_MOST_CHANNELS = 4


def signal_hint(signal: Any, rank: int, kernel_size: Sequence[int] | None = None, channels: int | None = None,
                name: str = "signal", original: Any = None) -> str:
    """How to give an array of another layout as (batch, *space, channels): a sentence, or "" where nothing would do.

    Args:
        signal: an array, or an object with ``shape``.
        rank: axes of space.
        kernel_size, channels: see ``core.signals.check_layout``.
        name: of the array.
        original: None, or what the caller gave in place of ``signal``, such as a list.

    Example:
        >>> import numpy as np
        >>> from crsae_onnx.core.layout_hints import signal_hint
        >>> signal_hint(np.zeros((5000, 2)), rank=1, channels=2)
        'Give, for example, signal[None], of shape (1, 5000, 2).'
        >>> signal_hint(np.zeros(5000), rank=1)
        'Give, for example, signal[None, :, None], of shape (1, 5000, 1).'
    """
    shape = tuple(getattr(signal, "shape", ()))

    def valid(made: tuple[int, ...]) -> bool:
        least = (1,) * rank if kernel_size is None else tuple(kernel_size)
        plausible = channels is not None or made[-1] <= max(_MOST_CHANNELS, min(made[1:-1], default=0))
        return (len(made) == rank + 2 and channels in (None, made[-1]) and plausible
                and all(n >= k for n, k in zip(made[1:-1], least, strict=True)))

    changes = _SIGNALS if rank == 1 else _IMAGES
    if rank == 2 and len(shape) == 3:  # (height, width, channels), or several images of one channel
        other = "[..., None]" if shape[-1] <= _MOST_CHANNELS else "[None]"
        changes = {change: function for change, function in changes.items() if change != other}
    return _hint(signal if original is None else original, shape, changes, valid, name)


def recording_hint(recording: Any, channels: int | None, shortest: int, name: str) -> str:
    """The same for a recording (samples, channels).

    Example:
        >>> import numpy as np
        >>> from crsae_onnx.core.layout_hints import recording_hint
        >>> recording_hint(np.zeros((4, 9000)), channels=4, shortest=1, name="recording")
        'Give, for example, recording.T, of shape (9000, 4).'
    """
    def valid(made: tuple[int, ...]) -> bool:
        return len(made) == 2 and channels in (None, made[1]) and made[0] >= shortest and made[1] <= made[0]

    return _hint(recording, tuple(getattr(recording, "shape", ())), _RECORDINGS, valid, name)


def _hint(given: Any, shape: tuple[int, ...], changes: dict[str, _Change],
          valid: Callable[[tuple[int, ...]], bool], name: str) -> str:
    view = np.broadcast_to(np.zeros((), np.uint8), shape)  # takes no memory
    owner = name if name.isidentifier() else "array"
    if not is_array(given):  # lists have no axes, and not all arrays can be indexed by None
        owner = f"np.asarray({owner})"
    for change, function in changes.items():
        try:
            made = function(view).shape if view.size else ()
        except (IndexError, ValueError):  # it is for arrays of another number of axes
            continue
        if made and valid(made):
            return f"Give, for example, {owner}{change}, of shape {made}."
    return ""
