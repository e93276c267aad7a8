"""Progress of long work as a bar of text (standard library alone)."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TextIO

_WIDTH = 30
_SECONDS_BETWEEN = 0.1


class ProgressBar:
    """A bar for each step of some work, called as ``bar(step, fraction)``.

    On a terminal one line is drawn again and again: step, percentage, bar, seconds, and what follows the first comma
    of ``step``. In a file, each tenth of a step is a line.

    Args:
        shown: False: nothing is written; None: only on a terminal.
        file: open text file; None: ``sys.stderr``.

    Example:
        >>> import sys
        >>> from crsae_onnx.core.progress import ProgressBar
        >>> with ProgressBar(file=sys.stdout) as bar:
        ...     bar("train, epoch 1 of 2", 0.5)
        train 50%, epoch 1 of 2
    """

    def __init__(self, shown: bool | None = True, file: TextIO | None = None) -> None:
        self._file = sys.stderr if file is None else file
        self._terminal = self._file.isatty()
        self.shown = self._terminal if shown is None else shown
        self._step = ""
        self._begin = self._drawn = 0.0
        self._tenth = -1
        self._open = False  # a line that was not ended yet

    def __enter__(self) -> ProgressBar:
        return self

    def __exit__(self, *_: object) -> None:
        self._end_line()

    def __call__(self, step: str, fraction: float) -> None:
        """Show that ``fraction``, from 0 to 1, of ``step`` is done; text after a comma says where it stands."""
        if not self.shown:
            return
        step, _, detail = step.partition(", ")
        now = time.monotonic()
        if step != self._step:
            self._end_line()
            self._step, self._begin, self._drawn, self._tenth = step, now, 0.0, -1
        if self._terminal:
            if now - self._drawn >= _SECONDS_BETWEEN or fraction >= 1:
                self._draw(fraction, detail, now)
        elif int(10 * fraction) > self._tenth:
            self._tenth = int(10 * fraction)
            print(f"{step} {fraction:.0%}{', ' if detail else ''}{detail}", file=self._file, flush=True)

    def _draw(self, fraction: float, detail: str, now: float) -> None:
        bar = "#" * round(_WIDTH * fraction)
        print(f"\r{self._step:20} {fraction:4.0%} |{bar:{_WIDTH}}| {now - self._begin:.0f} s {detail}\x1b[K", end="",
              file=self._file, flush=True)
        self._drawn, self._open = now, True

    def _end_line(self) -> None:
        if self._open:
            print(file=self._file, flush=True)
        self._open = False


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
        yield lambda done, total: bar(f"{step}, {done} of {total} {unit}", done / total)
