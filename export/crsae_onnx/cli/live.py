"""``crsae-onnx run --spikes --delay``: early reports and their corrections as a table, and latencies."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Literal, TextIO

import numpy as np

from crsae_onnx.core.progress import Progress
from crsae_onnx.core.spikes.detector import SpikeReader
from crsae_onnx.core.spikes.live_stream import LIVE_FRAME_SAMPLES, EventKind, LiveStream, SpikeEvent
from crsae_onnx.runtime.sparse_encoder import SparseEncoder

#: Columns: kind and number of the spike as in ``SpikeEvent``; seconds, unit, value and sample of the extremum; seconds
#: of recording that had come.
EVENT_COLUMNS = ("event", "spike", "time_s", "unit", "amplitude", "sample", "told_s")


class Latencies:
    """From a spike's extremum to its report, had the samples come in real time: with a queue where computing is late.

    Args:
        sampling_frequency: Hz.

    Example:
        >>> from crsae_onnx.cli.live import Latencies
        >>> latencies = Latencies(sampling_frequency=1000)
        >>> latencies.add(arrived=64, seconds=0.1, peak_samples=[44])             # 20 ms of recording, 100 of computing
        >>> latencies.add(arrived=128, seconds=0.002, peak_samples=[104])         # waits for the one before
        >>> [round(value, 3) for value in latencies.seconds]
        [0.12, 0.062]
    """

    def __init__(self, sampling_frequency: float) -> None:
        self._rate, self._free = sampling_frequency, 0.0
        self.seconds: list[float] = []

    def add(self, arrived: int, seconds: float, peak_samples: Iterable[int]) -> None:
        """A chunk up to sample ``arrived`` took so many seconds of computing, and these spikes were reported."""
        self._free = max(self._free, arrived / self._rate) + seconds
        self.seconds += [self._free - int(sample) / self._rate for sample in peak_samples]

    def text(self) -> str:
        """Median and 99th percentile for the user; "" where nothing was reported in chunks."""
        if not self.seconds:
            return ""
        half, most = np.percentile(self.seconds, [50, 99])
        return (f"; from a spike's extremum to its report {1e3 * half:.3g} ms (median), {1e3 * most:.3g} ms (99th "
                "percentile), computing counted")


def write_events(file: TextIO, reader: SpikeReader, encoder: SparseEncoder, recording: np.ndarray, step: int | None,
                 delay: float | Literal["least"] | None, latencies: Latencies, progress: Progress) -> str:
    """Write a ``LiveStream``'s events; which ones, as text for the user.

    Args:
        file: open for text.
        reader, encoder: as exported.
        recording: (samples, channels).
        step: samples of a chunk, which are the stream's frame too; None: 64.
        delay: as for ``LiveStream``.
        latencies: receives those of the early reports.
        progress: called with the step's name and the fraction that is done.
    """
    step = LIVE_FRAME_SAMPLES if step is None else step
    samples, rate = recording.shape[0], reader.sampling_frequency
    counts: Counter[EventKind] = Counter()

    def write(events: Sequence[SpikeEvent], known_samples: int) -> None:
        counts.update(event.kind for event in events)
        file.writelines(f"{e.kind},{e.spike},{e.peak_sample / rate:.7f},{e.unit_id},{e.peak_value:.9g},{e.peak_sample},"
                        f"{known_samples / rate:.7f}\n" for e in events)

    file.write(",".join(EVENT_COLUMNS) + "\n")
    with LiveStream(reader, encoder.encode, frame_samples=step, delay=delay) as stream:
        for start in range(0, samples, step):
            stop = min(start + step, samples)
            begin = time.perf_counter()
            events = stream.push(recording[start:stop])
            latencies.add(stop, time.perf_counter() - begin,
                          [event.peak_sample for event in events if event.kind == EventKind.REPORTED])
            write(events, stop)
            progress("find spikes", stop / samples)
        write(stream.finish(), samples)
    found = counts[EventKind.REPORTED] + counts[EventKind.ADDED] - counts[EventKind.WITHDRAWN]
    return (f"{counts[EventKind.REPORTED]} spikes reported within {1e3 * stream.delay_s:.3g} ms of recording; later "
            f"{counts[EventKind.CORRECTED]} corrected, {counts[EventKind.WITHDRAWN]} withdrawn, "
            f"{counts[EventKind.ADDED]} added: {found} spikes")
