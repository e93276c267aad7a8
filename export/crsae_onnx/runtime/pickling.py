"""Encoders in other processes: what is pickled, and what it becomes there."""

from __future__ import annotations

import os
import pickle
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

#: What ``__reduce__`` of an encoder returns.
Pickled = tuple[Callable[..., Any], tuple[Callable[..., Any], bytes, str, dict[str, Any]]]
_LOCK = threading.Lock()
#: Encoders by what they were made of and their process, the last one used at the end; of a process at most so many.
#: A forked process has those of its parent, too, and keeps them: to end their sessions would wait for threads for ever,
#: which exist in the parent alone.
_KEPT: dict[tuple[Any, ...], Any] = {}
_MOST_KEPT = 4


def restore(create: Callable[..., Any], content: bytes, path: str, arguments: dict[str, Any]) -> Any:
    """An encoder from its pickled parts.

    The last four of a process are kept: a pool sends the encoder with every task, and a session takes a while to start.

    Args:
        create: ``SparseEncoder``.
        content: bytes of its file.
        path: of the file where it was read; only the name is needed.
        arguments: further arguments of ``create``.

    Example:
        >>> from crsae_onnx.runtime.level_check import LevelCheck
        >>> from crsae_onnx.runtime.pickling import restore
        >>> class Encoder:
        ...     def __init__(self, content, threads):
        ...         self.content, self.level = content, LevelCheck({}, "bytes.onnx")
        >>> encoder = restore(Encoder, b"...", "encoder.onnx", {"threads": 1})
        >>> encoder.path.name, encoder is restore(Encoder, b"...", "encoder.onnx", {"threads": 1})
        ('encoder.onnx', True)
    """
    # A session does not survive a fork: another process starts its own. Arguments are a key by their bytes.
    process = os.getpid()
    key = (create, content, path, pickle.dumps(arguments), process)
    with _LOCK:  # or two threads would start one each
        encoder = _KEPT.pop(key, None)
        if encoder is None:
            encoder = create(content, **arguments)
            encoder.path, encoder.level.name = Path(path), Path(path).name
        _KEPT[key] = encoder
        own = [kept for kept in _KEPT if kept[-1] == process]
        if len(own) > _MOST_KEPT:
            del _KEPT[own[0]]
        return encoder
