"""Several passes of one computation at a time. Threads suffice: what runs in them leaves Python's lock alone."""

import os
from collections import deque
from concurrent.futures import ThreadPoolExecutor


def cores():
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def ordered_thread_map(compute, items, workers):
    """``map(compute, items)`` with ``workers`` items computed at a time; items are made in the caller's thread.

    Example:
        >>> list(ordered_thread_map(abs, [-1, -2, 3], workers=2))
        [1, 2, 3]
    """
    if workers == 1:
        yield from map(compute, items)
        return
    with ThreadPoolExecutor(workers) as pool:
        pending = deque()
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
