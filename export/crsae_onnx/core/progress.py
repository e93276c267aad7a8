"""Progress of long work as a bar of text (standard library alone)."""

from __future__ import annotations

import shutil
import sys
import threading
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import TextIO

#: What long work calls: the name of a step (with details after the first comma), and the fraction of it that is done.
Progress = Callable[[str, float], object]

_BAR_WIDTH = 30
_STEP_WIDTH = 22
_SECONDS_BETWEEN_DRAWINGS = 0.1
#: A step that says nothing for so long is drawn again: its seconds show that work goes on.
_SECONDS_BETWEEN_TICKS = 1.0
#: Time between two lines of one step in a file.
_SECONDS_BETWEEN_LINES = 9.0
#: Seconds and fraction of a step from which the time that is left is guessed.
_SECONDS_BEFORE_GUESS, _FRACTION_BEFORE_GUESS = 2.0, 0.02


class ProgressBar:
    """A bar for each step of some work, called as ``bar(step, fraction)``.

    On a terminal and in a notebook one line is drawn again and again: step, percentage, bar, seconds of the step, those
    that are probably left, and what follows the first comma of ``step``. In a file each step is a line that begins
    with the seconds since the start; further lines follow at least every ten seconds, whether or not there is news.

    Args:
        shown: False: nothing is written.
        file: open text file; None: ``sys.stderr``.
        clock: seconds that never go back.
        steps: names of all steps in order, if they are known: each is shown with its number.

    Example:
        >>> import sys
        >>> from crsae_onnx.core.progress import ProgressBar
        >>> with ProgressBar(file=sys.stdout, steps=("train", "test")) as bar:
        ...     bar("train, epoch 1 of 2", 0.5)
        [0 s] 1/2 train 50%, epoch 1 of 2
        [0 s] done
    """

    def __init__(self, shown: bool = True, file: TextIO | None = None, clock: Callable[[], float] = time.monotonic,
                 steps: Sequence[str] = ()) -> None:
        self._file = sys.stderr if file is None else file
        self._terminal = self._file.isatty()
        # A notebook draws over a line, too, but knows no escape sequences.
        self._redraws = self._terminal or type(self._file).__module__.startswith("ipykernel")
        self.shown = bool(shown)
        self._clock, self._steps = clock, tuple(steps)
        self._start = self._begin = self._written = clock()
        self._step, self._detail, self._fraction, self._length = "", "", 0.0, 0
        self._lock, self._closed = threading.Lock(), threading.Event()

    def __enter__(self) -> ProgressBar:
        if self.shown:
            threading.Thread(target=self._tick, daemon=True).start()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self._closed.set()
        with self._lock:
            if self._step and self._redraws:
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
            if new and self._step and self._redraws:
                self._end_step(complete=True)
            if new:
                self._step, self._begin = step, now
            self._detail, self._fraction = detail, fraction
            if new or (self._redraws and fraction >= 1) or now - self._written >= self._seconds_between:
                self._show()

    @property
    def _seconds_between(self) -> float:
        return _SECONDS_BETWEEN_DRAWINGS if self._redraws else _SECONDS_BETWEEN_LINES

    def _tick(self) -> None:
        least = _SECONDS_BETWEEN_TICKS if self._redraws else _SECONDS_BETWEEN_LINES
        while not self._closed.wait(_SECONDS_BETWEEN_TICKS):
            with self._lock:
                if self._step and not self._closed.is_set() and self._clock() - self._written >= least:
                    self._show()

    def _show(self) -> None:
        if self._redraws:
            self._draw()
            return
        share = f" {self._fraction:.0%}" if self._fraction > 0 else ""
        self._print_line(", ".join(filter(None, (f"{self._name()}{share}", self._detail, self._left()))))
        self._written = self._clock()

    def _name(self) -> str:
        """The step with its number, where the steps are known."""
        known = self._step in self._steps
        return f"{self._steps.index(self._step) + 1}/{len(self._steps)} {self._step}" if known else self._step

    def _left(self) -> str:
        """What is left of the step at the speed so far; "" where that says little."""
        gone = self._clock() - self._begin
        if gone < _SECONDS_BEFORE_GUESS or not _FRACTION_BEFORE_GUESS <= self._fraction < 1:
            return ""
        return f"about {_duration(gone * (1 - self._fraction) / self._fraction)} left"

    def _draw(self) -> None:
        now, bar = self._clock(), "#" * round(_BAR_WIDTH * self._fraction)
        left = f", {text}" if (text := self._left()) else ""
        line = (f"{self._name():{_STEP_WIDTH}} {self._fraction:4.0%} |{bar:{_BAR_WIDTH}}| {now - self._begin:.0f} s"
                f"{left} {self._detail}")
        # A line that is longer than the terminal could not be drawn over.
        line = line[:shutil.get_terminal_size().columns - 1]
        rest = "\x1b[K" if self._terminal else " " * (self._length - len(line))
        print(f"\r{line}{rest}", end="", file=self._file, flush=True)
        self._written, self._length = now, len(line)

    def _end_step(self, complete: bool) -> None:
        if complete:
            self._fraction = 1.0
            self._draw()
        print(file=self._file, flush=True)
        self._step, self._length = "", 0

    def _print_line(self, text: str) -> None:
        print(f"[{self._clock() - self._start:.0f} s] {text}", file=self._file, flush=True)


def _duration(seconds: float) -> str:
    """Seconds as a person says them."""
    for size, unit in ((3600, "h"), (60, "min")):
        if seconds >= 1.5 * size:
            return f"{seconds / size:.2g} {unit}"
    return f"{max(1.0, seconds):.0f} s"


@contextmanager
def progress_bar(progress: bool | Progress | None, steps: Sequence[str] = ()) -> Generator[Progress]:
    """``report(step, fraction)`` for an option ``progress``: None or False, such a function, or True: a bar.

    Args:
        progress: the option.
        steps: names of all steps in order, if they are known.

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
    with ProgressBar(bool(progress), steps=steps) as bar:
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
