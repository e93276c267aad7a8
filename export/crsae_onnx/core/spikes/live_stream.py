"""Spikes within milliseconds, for closed loops: early reports, and their corrections (NumPy).

The recent past is whitened and matched anew with every small frame. A spike is reported once its template has passed
and some lookahead with it; until then what follows could change it. The stream of ``crsae_onnx.core.spikes.detector``
runs beside, in a thread: its spikes, those of the whole recording, come later and correct the reports.
"""

from __future__ import annotations

import time
from enum import StrEnum
from typing import Any, Literal, NamedTuple

import numpy as np

from crsae_onnx.core.signals import check_recording, refuse_other_containers
from crsae_onnx.core.spikes.background_stream import BackgroundStream
from crsae_onnx.core.spikes.detector import SpikeReader, Spikes
from crsae_onnx.core.spikes.template_matching import MatchedSpikes
from crsae_onnx.core.typing import Array, Encode
from crsae_onnx.core.validation import as_positive, as_positive_int

#: Samples of a frame, where none are given.
LIVE_FRAME_SAMPLES = 64
#: What is matched before the first position that is reported, in kernel lengths: spikes there overlap it.
_MARGIN_KERNELS = 2
#: A spike of the full answer that lies within so many seconds of a reported one corrects it.
_SAME_SPIKE_S = 0.0005
#: Changes of a peak value below this fraction are not reported.
_VALUE_TOLERANCE = 0.05


class EventKind(StrEnum):
    """What an event says of its spike."""

    REPORTED = "reported"  #: found, early
    CORRECTED = "corrected"  #: it lies elsewhere, is of another unit or has another value: what counts from now on
    WITHDRAWN = "withdrawn"  #: it was no spike
    ADDED = "added"  #: a spike that was not reported early


class SpikeEvent(NamedTuple):
    """What is said of one spike."""

    kind: EventKind
    spike: int  #: number of the spike, which later events on it repeat
    peak_sample: int  #: of the extremum of largest magnitude on the unit's best channel
    unit_id: int  #: row of the templates
    peak_value: float  #: that extremum in the recording's unit (negative for troughs)


class LiveStream:
    """Takes a recording chunk by chunk and reports each spike within milliseconds; corrections follow.

    The events depend on the samples alone, not on the chunks that they come in; only in which ``push`` the corrections
    come does. After all events the spikes are those of the whole recording (values to 5 %): ``reported``, ``added``
    and ``corrected`` set what is known of a spike, ``withdrawn`` removes it.

    Args:
        reader: ``SpikeReader``.
        encode: as for ``reader.find``. It is called for the corrections alone, and not at all where numba is installed.
        frame_samples: the search runs each time so many samples have come.
        delay: seconds at most from a spike's extremum to its report, computing time not counted; "least": as few as can
            be; None: half a template more. What is above the least is lookahead: a spike that begins meanwhile and
            overlaps is separated better.
        corrections: whether the whole recording's search runs beside, in a thread.

    Raises:
        ValueError: a delay that is too short for the template's tail, the whitening and a frame.

    Example:
        >>> import numpy as np
        >>> from crsae_onnx.core.spikes.detector import SpikeReader
        >>> from crsae_onnx.core.spikes.live_stream import LiveStream
        >>> from crsae_onnx.core.spikes.whitening import Whitening
        >>> kernel = np.hanning(9)[:, None, None] / np.linalg.norm(np.hanning(9))
        >>> reader = SpikeReader(Whitening(np.ones((1, 1)), np.eye(1), np.zeros(1)), kernel, [9.0], [0.1], [7.0], [4],
        ...                      [-60.0], sampling_frequency=1000)
        >>> recording = np.zeros((500, 1)); recording[100:109] = 9 * kernel[:, 0]
        >>> encode = lambda pieces: np.zeros((len(pieces), pieces.shape[1] - 8, 1))
        >>> with LiveStream(reader, encode, frame_samples=16) as stream:
        ...     for first in range(0, len(recording), 8):                      # any length of chunk
        ...         for event in stream.push(recording[first:first + 8]):
        ...             print(stream.samples, event.kind, event.spike, event.peak_sample, event.unit_id)
        128 reported 0 104 0
    """

    def __init__(self, reader: SpikeReader, encode: Encode, *, frame_samples: int = LIVE_FRAME_SAMPLES,
                 delay: float | Literal["least"] | None = None, corrections: bool = True) -> None:
        self.reader = reader
        self.frame_samples = as_positive_int(frame_samples, "frame_samples")
        self.samples = 0  #: samples received
        self.complete = 0  #: samples before which every filter that starts has been reported
        self.settled = 0  #: samples before which nothing will be corrected
        self.seconds = 0.0  #: time spent in ``push`` and ``finish``
        past, future = reader.whitening.context
        # What fills long gaps may change when they end. Waiting for it would take longer than all else.
        future -= 2 * reader.whitening.fall_samples
        self._future, self._lookahead = future, 0
        if delay is None:
            self._lookahead = len(reader.kernel) // 2
        elif delay != "least":
            extra = (as_positive(delay, "delay") - self.delay_s) * reader.sampling_frequency
            if extra < -1e-6:
                raise ValueError(f"`delay` must be at least {self.delay_s:.4g} s: the rest of the longest template, "
                                 f"what whitening needs, and a frame of {self.frame_samples} samples. Received: "
                                 f"{delay!r}. Give a longer one, or a smaller frame_samples.")
            self._lookahead = int(extra + 1e-6)
        self._margin = _MARGIN_KERNELS * len(reader.kernel)
        self._kept = past + future + self._margin + len(reader.kernel) + self._lookahead + self.frame_samples
        self._recent = np.zeros((0, reader.whitening.channels))
        self._first = self._frames = self._count = 0
        self._finished = False
        self._latest: dict[int, int] = {}
        self._open: dict[int, SpikeEvent] = {}
        self._warm_up()
        self._full = BackgroundStream(reader.stream(encode)) if corrections else None

    def __enter__(self) -> LiveStream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def delay_s(self) -> float:
        """Seconds at most from a spike's extremum to its report, computing time not counted."""
        tail = len(self.reader.kernel) - 1 - int(self.reader.peak_offset.min(initial=len(self.reader.kernel) - 1))
        return (tail + self._future + self._lookahead + self.frame_samples) / self.reader.sampling_frequency

    @property
    def buffered(self) -> int:
        """Samples held in memory, those that wait for the corrections' thread not counted."""
        return len(self._recent)

    @property
    def real_time_factor(self) -> float:
        """Seconds of signal received for each second of computing, that of the corrections included."""
        computing = self.seconds + (self._full.seconds if self._full else 0.0)
        return self.samples / self.reader.sampling_frequency / max(computing, 1e-9)

    def push(self, chunk: Any) -> list[SpikeEvent]:
        """What has become known; ``chunk``: (samples, channels).

        Raises:
            SignalError: another number of axes or channels.
            ValueError: the stream was finished.
        """
        begin = time.perf_counter()
        if self._finished:
            raise ValueError("This LiveStream was finished. Make a new one for another recording.")
        refuse_other_containers(chunk, "chunk")
        chunk = np.asarray(chunk)
        check_recording(chunk, self.reader.whitening.channels, 0, name="chunk")
        events: list[SpikeEvent] = []
        if len(chunk):
            self._keep(chunk)
            while (self._frames + 1) * self.frame_samples <= self.samples:
                self._frames += 1
                seen = self._frames * self.frame_samples
                events += self._report(seen, seen - self._future, self._lookahead)
            if self._full is not None:
                self._full.push(chunk)
        events += self._corrections()
        self.seconds += time.perf_counter() - begin
        return events

    def finish(self) -> list[SpikeEvent]:
        """The remaining reports, and all corrections; the stream then takes no more."""
        begin, self._finished = time.perf_counter(), True
        # As the whole recording's search does: nothing lies beyond the end.
        events = self._report(self.samples, self.samples + len(self.reader.kernel) - 1, 0)
        if self._full is not None:
            self._full.finish()
            events += self._corrections()
        self.seconds += time.perf_counter() - begin
        return events

    def close(self) -> None:
        """Stop the thread; what it had not corrected stays as it was reported."""
        if self._full is not None:
            self._full.close()

    def _warm_up(self) -> None:
        """Load or compile the search before the first sample comes."""
        kernel = self.reader.kernel
        piece = np.zeros((self._margin + 2 * len(kernel), kernel.shape[1]), np.float32)
        for unit in range(min(2, kernel.shape[2])):
            at = len(kernel) // 2 * (unit + 1)
            piece[at:at + len(kernel)] += float(self.reader.mean_amplitude[unit]) * kernel[:, :, unit]
        self.reader.whitening(piece, 0, len(piece))
        self.reader.matcher.find(piece, self._no_code(piece))

    def _no_code(self, piece: Array) -> Array:
        size, _, units = self.reader.kernel.shape
        return np.zeros((len(piece) - size + 1, units), np.float32)

    def _keep(self, chunk: Array) -> None:
        """Append a chunk to the samples kept, and drop those that no later frame reads."""
        drop = max(0, len(self._recent) - self._kept)
        self._recent = np.concatenate([self._recent[drop:], chunk]) if len(self._recent) else np.array(chunk)
        self._first += drop
        self.samples += len(chunk)

    def _report(self, seen: int, high: int, lookahead: int) -> list[SpikeEvent]:
        """Spikes that the whitened samples before ``high`` show, of the first ``seen`` samples of the recording."""
        reader = self.reader
        ready = high - len(reader.kernel) + 1 - lookahead
        if ready <= self.complete:
            return []
        low, begin = self.complete - self._margin, self.complete
        self.complete = ready
        piece = reader.whitening(_Recent(self._recent, self._first, seen), low, high)
        if not np.count_nonzero(piece):
            return []
        # From no spikes: on so few samples the search finds them itself, and a code to start from costs as much again.
        start, unit, amplitude = reader.matcher.find(piece, self._no_code(piece))
        inside = (start + low >= begin) & (start + low < ready)
        found = MatchedSpikes(start[inside] + low, unit[inside], amplitude[inside])
        events: list[SpikeEvent] = []
        for sample, unit_id, value in _spikes(reader.join([found], self._latest, seen)):
            events.append(self._new(EventKind.REPORTED, sample, unit_id, value))
            if self._full is not None:
                self._open[events[-1].spike] = events[-1]
        return events

    def _new(self, kind: EventKind, sample: int, unit: int, value: float) -> SpikeEvent:
        self._count += 1
        return SpikeEvent(kind, self._count - 1, sample, unit, value)

    def _corrections(self) -> list[SpikeEvent]:
        """What the answers that have come meanwhile say against the reports."""
        events: list[SpikeEvent] = []
        if self._full is None:
            return events
        for answer in self._full.answers():
            events += self._settle(answer.spikes, answer.complete)
            self.settled = answer.complete
        return events

    def _settle(self, spikes: Spikes, complete: int) -> list[SpikeEvent]:
        """Compare the full answer up to ``complete`` with what was reported."""
        near = max(1, round(_SAME_SPIKE_S * self.reader.sampling_frequency))
        known = {(event.peak_sample, event.unit_id): number for number, event in self._open.items()}
        others: list[tuple[int, int, float]] = []
        events: list[SpikeEvent] = []
        for sample, unit, value in _spikes(spikes):
            number = known.get((sample, unit))
            if number is None:
                others.append((sample, unit, value))
            elif abs(self._open.pop(number).peak_value - value) > _VALUE_TOLERANCE * abs(value):
                events.append(SpikeEvent(EventKind.CORRECTED, number, sample, unit, value))
        for sample, unit, value in others:
            # The same unit before others, then the nearest.
            choice = min(((event.unit_id != unit, abs(event.peak_sample - sample), number)
                          for number, event in self._open.items() if abs(event.peak_sample - sample) <= near),
                         default=None)
            if choice is None:
                events.append(self._new(EventKind.ADDED, sample, unit, value))
            else:
                del self._open[choice[2]]
                events.append(SpikeEvent(EventKind.CORRECTED, choice[2], sample, unit, value))
        # Near the border the next answer may still hold them.
        late = [event for event in self._open.values()
                if event.peak_sample - self.reader.peak_offset[event.unit_id] < complete - near]
        for event in late:
            del self._open[event.spike]
            events.append(event._replace(kind=EventKind.WITHDRAWN))
        return events


def _spikes(spikes: Spikes) -> Any:
    """(sample, unit, value) of each, as plain numbers."""
    return zip(*(v.tolist() for v in spikes), strict=True)


class _Recent:
    """The samples kept, seen as the recording's first ``samples``."""

    def __init__(self, values: Array, first: int, samples: int) -> None:
        self._values, self._first = values, first
        self.shape: tuple[int, ...] = (samples, values.shape[1])

    def __getitem__(self, index: slice) -> Array:
        return self._values[index.start - self._first:index.stop - self._first]
