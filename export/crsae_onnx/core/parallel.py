"""Several calls of one function at a time, in threads: what runs in them releases Python's lock (standard library)."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def ordered_thread_map(compute: Callable[[Item], Result], items: Iterable[Item], workers: int) -> Iterator[Result]:
    """``map(compute, items)`` with ``workers`` items computed at a time; items are drawn in the caller's thread.

    At most ``workers`` + 1 items are drawn ahead of the result that is waited for. If the caller stops, or an item
    fails, waiting items are cancelled.

    Example:
        >>> from crsae_onnx.core.parallel import ordered_thread_map
        >>> list(ordered_thread_map(abs, [-1, -2, 3], workers=2))
        [1, 2, 3]
    """
    if workers == 1:
        yield from map(compute, items)
        return
    with ThreadPoolExecutor(workers) as pool:
        pending: deque[Future[Result]] = deque()
        try:
            for item in items:
                pending.append(pool.submit(compute, item))
                if len(pending) > workers:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for waiting in pending:
                waiting.cancel()
