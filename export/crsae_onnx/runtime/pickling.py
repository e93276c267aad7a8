"""Encoders in other processes: what is pickled, and what it becomes there."""

from __future__ import annotations

import os
import pickle
import threading
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

#: What ``__reduce__`` of an encoder returns.
Pickled = tuple[Callable[..., Any], tuple[Callable[..., Any], bytes, str, dict[str, Any]]]
_LOCK = threading.Lock()


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
    with _LOCK:  # or two threads would start one each
        # A session does not survive a fork: another process starts its own.
        return _restored(create, content, path, pickle.dumps(arguments), os.getpid())


@lru_cache(maxsize=4)
def _restored(create: Callable[..., Any], content: bytes, path: str, arguments: bytes, process: int) -> Any:
    encoder = create(content, **pickle.loads(arguments))
    encoder.path, encoder.level.name = Path(path), Path(path).name
    return encoder
