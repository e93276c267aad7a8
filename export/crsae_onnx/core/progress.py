"""Progress of long work as a bar of text (standard library alone)."""

from __future__ import annotations

import shutil
import sys
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TextIO

#: What long work calls: the name of a step (with details after the first comma), and the fraction of it that is done.
Progress = Callable[[str, float], object]

_BAR_WIDTH = 30
_STEP_WIDTH = 22
_SECONDS_BETWEEN_DRAWINGS = 0.1
#: A step that says nothing for so long is drawn again: its seconds show that work goes on.
_SECONDS_BETWEEN_TICKS = 1.0
#: Shortest time between two lines of one step in a file.
_SECONDS_BETWEEN_LINES = 10.0


class ProgressBar:
    """A bar for each step of some work, called as ``bar(step, fraction)``.

    On a terminal one line is drawn again and again: step, percentage, bar, seconds of the step, and what follows the
    first comma of ``step``. Elsewhere (a file, a notebook) each step is a line that begins with the seconds since the
    start, and a long one further lines at least ten seconds apart.

    Args:
        shown: False: nothing is written.
        file: open text file; None: ``sys.stderr``.
        clock: seconds that never go back.

    Example:
        >>> import sys
        >>> from crsae_onnx.core.progress import ProgressBar
        >>> with ProgressBar(file=sys.stdout) as bar:
        ...     bar("train, epoch 1 of 2", 0.5)
        [0 s] train 50%, epoch 1 of 2
        [0 s] done
    """

    def __init__(self, shown: bool = True, file: TextIO | None = None, clock: Callable[[], float] = time.monotonic
                 ) -> None:
        self._file = sys.stderr if file is None else file
        self._terminal = self._file.isatty()
        self.shown = bool(shown)
        self._clock = clock
        self._start = self._begin = self._written = clock()
        self._step, self._detail, self._fraction, self._tenth = "", "", 0.0, -1
        self._lock, self._closed = threading.Lock(), threading.Event()

    def __enter__(self) -> ProgressBar:
        if self.shown and self._terminal:
            threading.Thread(target=self._tick, daemon=True).start()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self._closed.set()
        with self._lock:
            if self._step and self._terminal:
                self._end_step(complete=kind is None)
            elif self._step and kind is None:
                self._print_line("done")

    def __call__(self, step: str, fraction: float) -> None:
        """Show that ``fraction``, from 0 to 1, of ``step`` is done; text after a comma says where it stands."""
        if not self.shown:
            return
        step, _, detail = step.partition(", ")
        with self._lock:
            now, new = self._clock(), step != self._step
            if new and self._step and self._terminal:
                self._end_step(complete=True)
            if new:
                self._step, self._begin, self._tenth = step, now, -1
            self._detail, self._fraction = detail, fraction
            if self._terminal:
                if new or fraction >= 1 or now - self._written >= _SECONDS_BETWEEN_DRAWINGS:
                    self._draw()
            elif new or (int(10 * fraction) > self._tenth and now - self._written >= _SECONDS_BETWEEN_LINES):
                self._tenth, self._written = int(10 * fraction), now
                self._print_line(f"{step}{f' {fraction:.0%}' * (fraction > 0)}{', ' * bool(detail)}{detail}")

    def _tick(self) -> None:
        while not self._closed.wait(_SECONDS_BETWEEN_TICKS):
            with self._lock:
                if self._step and self._clock() - self._written >= _SECONDS_BETWEEN_TICKS:
                    self._draw()

    def _draw(self) -> None:
        now, bar = self._clock(), "#" * round(_BAR_WIDTH * self._fraction)
        line = (f"{self._step:{_STEP_WIDTH}} {self._fraction:4.0%} |{bar:{_BAR_WIDTH}}| {now - self._begin:.0f} s "
                f"{self._detail}")
        # A line that is longer than the terminal could not be drawn over.
        line = line[:shutil.get_terminal_size().columns - 1]
        print(f"\r{line}\x1b[K", end="", file=self._file, flush=True)
        self._written = now

    def _end_step(self, complete: bool) -> None:
        if complete:
            self._fraction = 1.0
            self._draw()
        print(file=self._file, flush=True)
        self._step = ""

    def _print_line(self, text: str) -> None:
        print(f"[{self._clock() - self._start:.0f} s] {text}", file=self._file, flush=True)


@contextmanager
def progress_bar(progress: bool | Progress | None) -> Generator[Progress]:
    """``report(step, fraction)`` for an option ``progress``: None or False, such a function, or True: a bar.

    Raises:
        ValueError: another ``progress``.

    Example:
        >>> from crsae_onnx.core.progress import progress_bar
        >>> with progress_bar(print) as report:
        ...     report("train", 0.5)
        train 0.5
    """
    if progress is not None and not isinstance(progress, bool):
        if not callable(progress):
            raise ValueError("`progress` must be None, True or callable(step, fraction). Received: "
                             f"{progress!r}")
        yield progress
        return
    with ProgressBar(bool(progress)) as bar:
        yield bar


@contextmanager
def progress_counter(progress: bool | Callable[[int, int], object] | None, step: str, unit: str
                     ) -> Generator[Callable[[int, int], object]]:
    """``report(done, total)`` for an option ``progress``: None or False, a function of the same kind, or True: a bar.

    Raises:
        ValueError: another ``progress``.

    Example:
        >>> from crsae_onnx.core.progress import progress_counter
        >>> with progress_counter(print, "encode", "windows") as report:
        ...     _ = report(1, 2)
        1 2
    """
    if progress is not None and not isinstance(progress, bool):
        if not callable(progress):
            raise ValueError(f"`progress` must be None, True or callable(done, total). Received: {progress!r}")
        yield progress
        return
    with ProgressBar(bool(progress)) as bar:
        bar(step, 0.0)
        yield lambda done, total: bar(f"{step}, {done} of {total} {unit}", done / total)
