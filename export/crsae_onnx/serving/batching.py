"""Requests of one shape that wait at the same time are run as one batch; each gets its own rows of the results."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np

from crsae_onnx.core.typing import Array
from crsae_onnx.core.validation import as_int

#: Arrays by name, all with the batch as their first axis.
Arrays = dict[str, Array]


class StoppedError(RuntimeError):
    """Nobody waits for the results any more."""


class Stop:
    """Whether somebody still waits for a run's results; calling it says that nobody does.

    Example:
        >>> from crsae_onnx.serving.batching import Stop
        >>> stop, seen = Stop(), []
        >>> stop.watch(lambda: seen.append("stopped"))
        >>> stop()
        >>> stop.wanted, seen
        (True, ['stopped'])
    """

    def __init__(self) -> None:
        self.wanted = False
        self._lock, self._watchers = threading.Lock(), []

    def __call__(self) -> None:
        with self._lock:
            self.wanted, watchers = True, self._watchers
            self._watchers = []
        for watcher in watchers:
            watcher()

    def watch(self, call: Callable[[], object]) -> None:
        """Have ``call`` called once the stop is wanted, which may be now."""
        with self._lock:
            if not self.wanted:
                self._watchers.append(call)
                return
        call()


def stop_of_all(stops: Sequence[Stop]) -> Stop:
    """A stop that is wanted once all of ``stops`` are."""
    joint = Stop()
    for stop in stops:
        stop.watch(lambda: joint() if all(s.wanted for s in stops) else None)
    return joint


#: ``compute(arrays, stop)`` -> arrays whose first axis is the batch, too.
Compute = Callable[[Arrays, Stop], Arrays]


@dataclass(eq=False)
class _Request:
    feed: Arrays
    rows: int
    stop: Stop
    done: threading.Event = field(default_factory=threading.Event)
    results: Arrays = field(default_factory=dict)
    error: Exception | None = None

    def answer(self, run: Callable[[], Arrays]) -> None:
        """Keep what ``run`` gives or raises."""
        try:
            self.results = run()
        except Exception as error:  # raised where the request waits
            self.error = error
        self.done.set()

    def wait(self) -> Arrays:
        self.done.wait()
        if self.error is not None:
            raise self.error
        return self.results


@dataclass(eq=False)
class _Batch:
    requests: list[_Request] = field(default_factory=list)
    rows: int = 0

    def add(self, request: _Request) -> None:
        self.requests.append(request)
        self.rows += request.rows


@dataclass(eq=False)
class _Line:
    """Batches of one key: the one that is open to more requests, those that wait or run, those that run."""

    open: _Batch | None = None
    batches: int = 0
    running: int = 0


class Batcher:
    """Runs requests of one key together: those that come while another run goes on, or shortly one after the other.

    The thread of a batch's first request runs it. It waits while as many runs of its key go on as may; and, for at most
    ``delay`` seconds, while further requests are being read (``coming``): one client alone never waits. Where a joint
    run fails, each request is run by itself: what is wrong with one is not the others'.

    Args:
        most: rows of a batch; 1: every request is run by itself.
        delay: seconds that a request may wait for others.
        parallel: runs of one key at a time.

    Raises:
        ValueError: an invalid option.

    Example:
        >>> import numpy as np
        >>> from crsae_onnx.serving.batching import Batcher
        >>> batcher = Batcher(most=8)
        >>> batcher.run("double", {"x": np.ones((1, 3))}, lambda arrays, stop: {"y": 2 * arrays["x"]})["y"]
        array([[2., 2., 2.]])
    """

    def __init__(self, most: int = 8, delay: float = 0.001, parallel: int = 1) -> None:
        self.most, self.delay = as_int(most, "most"), float(delay)
        self.parallel = as_int(parallel, "parallel")
        if not 0 <= self.delay < float("inf"):
            raise ValueError(f"`delay` must be seconds, at least 0. Received: {delay!r}")
        self._changed = threading.Condition()
        self._lines: dict[Hashable, _Line] = {}
        self._coming = 0

    @contextmanager
    def coming(self) -> Iterator[None]:
        """While a request is read: others wait for it."""
        with self._changed:
            self._coming += 1
        try:
            yield
        finally:
            with self._changed:
                self._coming -= 1

    def run(self, key: Hashable, feed: Arrays, compute: Compute, stop: Stop | None = None) -> Arrays:
        """Results of a request's rows.

        Args:
            key: requests of one key may be run together: arrays of the same names, types and shapes but for the batch,
                the same ``compute``.
            feed: arrays of the request.
            compute: of a batch.
            stop: of this request; a joint run is stopped once all of its requests are.

        Raises:
            StoppedError: the request was stopped before it was run.
            Exception: what ``compute`` raises.
        """
        request = _Request(feed, len(next(iter(feed.values()))), stop or Stop())
        if request.rows >= self.most:
            return compute(feed, request.stop)
        with self._changed:
            line = self._lines.setdefault(key, _Line())
            batch, leads = line.open, False
            if batch is None or batch.rows + request.rows > self.most:
                batch, leads = _Batch(), True
                line.open, line.batches = batch, line.batches + 1
            batch.add(request)
            self._changed.notify_all()
            if leads:
                self._wait(line, batch)
        if leads:
            try:
                _answer(batch.requests, compute)
            finally:
                with self._changed:
                    line.running, line.batches = line.running - 1, line.batches - 1
                    if not line.batches:
                        del self._lines[key]
                    self._changed.notify_all()
        return request.wait()

    def _wait(self, line: _Line, batch: _Batch) -> None:
        """Until a batch may run; from then on it is closed."""
        until = time.monotonic() + self.delay
        while True:
            left, busy = until - time.monotonic(), line.running >= self.parallel
            more = batch is line.open and batch.rows < self.most and self._coming > 0 and left > 0
            if not busy and not more:
                break
            self._changed.wait(None if busy else left)
        line.open = None if line.open is batch else line.open
        line.running += 1


def _answer(requests: Sequence[_Request], compute: Compute) -> None:
    """Run the requests that are still waited for, together or else one by one."""
    wanted = [request for request in requests if not request.stop.wanted]
    for request in requests:
        if request not in wanted:
            request.answer(_stopped)
    if len(wanted) > 1:
        try:
            results = compute({name: np.concatenate([request.feed[name] for request in wanted])
                               for name in wanted[0].feed}, stop_of_all([request.stop for request in wanted]))
        except Exception:  # each finds out by itself what was wrong
            pass
        else:
            ends = np.cumsum([request.rows for request in wanted])
            for request, end in zip(wanted, ends, strict=True):
                rows = slice(end - request.rows, end)
                request.answer(lambda rows=rows: {name: array[rows] for name, array in results.items()})
            return
    for request in wanted:
        request.answer(lambda request=request: _stopped() if request.stop.wanted
                       else compute(request.feed, request.stop))


def _stopped() -> Arrays:
    raise StoppedError("Nobody waits for this answer any more: nothing was computed.")
