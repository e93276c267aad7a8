"""Spike times from a trained encoder, offline and as the samples arrive (NumPy; the encoder is a function).

The recording is cut into frames of fixed length on a fixed grid. Each frame is whitened, encoded and matched with a
margin on both sides, and keeps the spikes that start in it. A frame's spikes depend on its samples and margins alone,
so that chunks of any size give the spikes of the whole recording, a frame and a margin late.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from crsae_onnx.core.json_arrays import from_plain, to_plain
from crsae_onnx.core.parallel import ordered_thread_map
from crsae_onnx.core.signals import check_recording, refuse_other_containers
from crsae_onnx.core.spikes.noise_level import whitens
from crsae_onnx.core.spikes.template_matching import MatchedSpikes, TemplateMatcher
from crsae_onnx.core.spikes.whitening import Whitening
from crsae_onnx.core.typing import Array, ArraySource, Encode, FloatArray, IntArray, Progress

#: Format of ``SpikeReader.to_json``.
FORMAT = 3
#: Samples of a frame, where none are given.
FRAME_SAMPLES = 8192
#: Margin on each side of a frame, in kernel lengths.
MARGIN_KERNELS = 4
#: Frames encoded at a time.
_FRAMES_PER_BATCH = 8
#: Arguments of ``SpikeReader`` that its text holds, besides the whitening.
_FIELDS = ("kernel", "mean_amplitude", "amplitude_cv", "log_odds_against", "peak_offset", "peak_value",
           "sampling_frequency", "refractory_s", "frame_samples", "penalty_weight", "least_amplitude")


class Spikes(NamedTuple):
    """Spikes in order of time."""

    peak_sample: IntArray  #: int64, of the extremum of largest magnitude on the unit's best channel
    unit_id: IntArray  #: int64, row of the templates
    peak_value: FloatArray  #: float32, that extremum in the recording's unit (negative for troughs)


class SpikeReader:
    """Finds the spikes of recordings with a trained encoder: whiten, encode, match templates.

    Args:
        whitening: ``Whitening``.
        kernel: (kernel_size, channels, units), the encoder's unit-norm filters, of whitened signals.
        mean_amplitude: (units,), mean code amplitude of a unit's spikes.
        amplitude_cv: (units,), coefficient of variation of the amplitudes.
        log_odds_against: (units,), logarithm of the prior odds against a spike at one sample.
        peak_offset: (units,), samples from a filter's start to the extremum of the recorded waveform.
        peak_value: (units,), value of that extremum in the recording's unit.
        sampling_frequency: Hz.
        refractory_s: seconds; spikes of one unit keep at least this distance.
        frame_samples: samples of a frame.
        penalty_weight: None, or (units,), the encoder's lambda sigma^2. With it, and where numba is installed, the
            codes that the search starts from are computed here, by coordinate descent; the encoder is not called.
        least_amplitude: None, or (units,), code amplitudes: smaller spikes are taken for other neurons' and left out.

    Example:
        >>> import numpy as np
        >>> from crsae_onnx.core.spikes.detector import SpikeReader
        >>> from crsae_onnx.core.spikes.whitening import Whitening
        >>> kernel = np.hanning(9)[:, None, None] / np.linalg.norm(np.hanning(9))
        >>> reader = SpikeReader(Whitening(np.ones((1, 1)), np.eye(1), np.zeros(1)), kernel, [9.0], [0.1], [7.0], [4],
        ...                      [-60.0], sampling_frequency=1000)
        >>> recording = np.zeros((500, 1)); recording[100:109] = 9 * kernel[:, 0]
        >>> reader.find(lambda pieces: np.zeros((len(pieces), pieces.shape[1] - 8, 1)), recording).peak_sample.tolist()
        [104]
    """

    def __init__(self, whitening: Whitening, kernel: Any, mean_amplitude: Any, amplitude_cv: Any,
                 log_odds_against: Any, peak_offset: Any, peak_value: Any, sampling_frequency: float,
                 refractory_s: float = 0.001, frame_samples: int = FRAME_SAMPLES, penalty_weight: Any = None,
                 least_amplitude: Any = None) -> None:
        self.whitening, self.kernel = whitening, np.asarray(kernel, np.float32)
        # Copies: one array may serve as two arguments, and change later.
        self.mean_amplitude, self.amplitude_cv, self.log_odds_against = (
            np.array(v, np.float64) for v in (mean_amplitude, amplitude_cv, log_odds_against))
        self.peak_offset, self.peak_value = np.array(peak_offset, np.int64), np.array(peak_value, np.float64)
        self.sampling_frequency, self.refractory_s = float(sampling_frequency), float(refractory_s)
        self.frame_samples = int(frame_samples)
        self.least_amplitude = np.zeros(len(self.mean_amplitude)) if least_amplitude is None else np.array(
            least_amplitude, np.float64)
        self.matcher = TemplateMatcher(self.kernel, self.mean_amplitude, self.amplitude_cv, self.log_odds_against,
                                       max(1, round(self.refractory_s * self.sampling_frequency)),
                                       penalty_weight=penalty_weight)
        self.penalty_weight = self.matcher.penalty_weight

    @property
    def delay_s(self) -> float:
        """Seconds at most from a spike's extremum to its report, computing time not counted."""
        return (self.frame_samples + self.margin + len(self.kernel) + self.whitening.context[1]
                ) / self.sampling_frequency

    @property
    def margin(self) -> int:
        """Samples read on each side of a frame."""
        return MARGIN_KERNELS * len(self.kernel)

    def find(self, encode: Encode, recording: ArraySource, progress: Progress | None = None, workers: int = 1
             ) -> Spikes:
        """Spikes of a whole recording, in constant memory.

        Args:
            encode: function from whitened signals (batch, time, channels) to codes (batch, positions, units), such as
                ``model.encode``; or ``SparseEncoder.encode``, also of a file that whitens inside its graph.
            recording: (samples, channels), not whitened, any real dtype: an array, memmap, or any object with ``shape``
                and time slices.
            progress: None or ``callable(done, total)``, in frames.
            workers: frames that are searched at a time, in threads.

        Raises:
            SignalError: another number of axes or channels, or fewer samples than a filter.
        """
        self.check(recording)
        frames = -(-recording.shape[0] // self.frame_samples)
        parts: list[MatchedSpikes] = []
        for first in range(0, frames, _FRAMES_PER_BATCH):
            some = range(first, min(first + _FRAMES_PER_BATCH, frames))
            parts += self.match_frames(encode, recording, some, workers)
            if progress is not None:
                progress(some.stop, frames)
        return self.join(parts, {}, recording.shape[0])

    def stream(self, encode: Encode) -> SpikeStream:
        """A ``SpikeStream``, which takes the recording in chunks as they arrive."""
        return SpikeStream(self, encode)

    def check(self, recording: Any) -> None:
        """Raise SignalError unless the recording is (samples, channels) with the reader's channels and long enough."""
        check_recording(recording, self.whitening.channels, len(self.kernel))

    def match_frames(self, encode: Encode, recording: ArraySource, frames: Sequence[int], workers: int = 1
                     ) -> list[MatchedSpikes]:
        """Spikes that start in each of the frames, by number; ``workers`` frames at a time."""
        margin, size = self.margin, len(self.kernel)
        spans = [(f * self.frame_samples - margin, (f + 1) * self.frame_samples + margin + size - 1) for f in frames]
        pieces = np.stack([self.whitening(recording, *span) for span in spans])
        # Nothing is found where nothing was recorded, and no time is spent on it.
        empty = np.array([not np.count_nonzero(piece) for piece in pieces])
        codes: Sequence[Array | None] | Array = ()
        if self.matcher.makes_codes:
            codes = [None] * len(pieces)
        elif whitens(encode) and not empty.all():
            past, future = self.whitening.context
            raw = np.stack([self.whitening.padded(recording, start - past, stop + future)
                            for (start, stop), skip in zip(spans, empty, strict=True) if not skip])
            codes = encode(raw)[:, past:past + pieces.shape[1] - size + 1]
        elif not empty.all():
            codes = encode(pieces[~empty])
        code: Iterator[Array | None] = iter(codes)
        tasks = [(f, piece, next(code)) for f, piece, skip in zip(frames, pieces, empty, strict=True) if not skip]

        def search(task: tuple[int, Array, Array | None]) -> MatchedSpikes:
            frame, piece, code = task
            start, unit, amplitude = self.matcher.find(piece, code)
            inside = (start >= margin) & (start < margin + self.frame_samples)
            inside &= amplitude >= self.least_amplitude[unit]
            return MatchedSpikes(start[inside] + frame * self.frame_samples - margin, unit[inside], amplitude[inside])

        return list(ordered_thread_map(search, tasks, max(1, min(workers, len(tasks)))))

    def join(self, parts: Iterable[MatchedSpikes], latest: dict[int, int], samples: int) -> Spikes:
        """Spikes of consecutive frames of a recording of ``samples``.

        ``latest`` {unit: start of its last spike} is kept from call to call, and changed.
        """
        starts: list[int] = []
        units: list[int] = []
        amplitudes: list[float] = []
        for part in parts:
            for start, unit, amplitude in zip(*(v.tolist() for v in part), strict=True):
                # Two frames may place one spike on both sides of their border.
                if unit in latest and start - latest[unit] < self.matcher.refractory:
                    continue
                latest[unit] = start
                starts.append(start)
                units.append(unit)
                amplitudes.append(amplitude)
        unit = np.array(units, np.int64)
        sample = np.array(starts, np.int64) + self.peak_offset[unit]
        inside = (sample >= 0) & (sample < samples)
        order = np.lexsort((unit[inside], sample[inside]))
        value = np.array(amplitudes) / self.mean_amplitude[unit] * self.peak_value[unit]
        return Spikes(sample[inside][order], unit[inside][order], value[inside][order].astype(np.float32))

    def to_json(self) -> str:
        """Everything as one JSON string; arrays in base64."""
        return json.dumps({"format": FORMAT, **{name: to_plain(getattr(self, name)) for name in _FIELDS},
                           "whitening": {k: to_plain(v) for k, v in self.whitening.state().items()}})

    @classmethod
    def from_json(cls, text: str) -> SpikeReader:
        """The reader that ``to_json`` wrote.

        Raises:
            ValueError: the text was not written by ``to_json``, or by a newer version.
        """
        try:
            state = json.loads(text)
            if state.pop("format") > FORMAT:
                raise ValueError("The spike reader was written by a newer version of keras-crsae. Update it.")
            whitening = Whitening(**{k: from_plain(v) for k, v in state.pop("whitening").items()})
            return cls(whitening, **{k: from_plain(v) for k, v in state.items()})
        except (KeyError, TypeError, AttributeError, json.JSONDecodeError) as error:
            raise ValueError(f"Not a spike reader: {error!r}. Expected what `keras-crsae sort` wrote.") from error


class SpikeStream:
    """Takes a recording chunk by chunk and gives its spikes, equal to those of the whole recording.

    Example:
        >>> import numpy as np
        >>> from crsae_onnx.core.spikes.detector import SpikeReader
        >>> from crsae_onnx.core.spikes.whitening import Whitening
        >>> kernel = np.hanning(9)[:, None, None] / np.linalg.norm(np.hanning(9))
        >>> reader = SpikeReader(Whitening(np.ones((1, 1)), np.eye(1), np.zeros(1)), kernel, [9.0], [0.1], [7.0], [4],
        ...                      [-60.0], sampling_frequency=1000)
        >>> recording = np.zeros((500, 1)); recording[100:109] = 9 * kernel[:, 0]
        >>> stream = reader.stream(lambda pieces: np.zeros((len(pieces), pieces.shape[1] - 8, 1)))
        >>> for first in range(0, len(recording), 70):                         # any length of chunk
        ...     spikes = stream.push(recording[first:first + 70])              # complete up to stream.complete
        >>> stream.finish().peak_sample.tolist()
        [104]
    """

    def __init__(self, reader: SpikeReader, encode: Encode) -> None:
        self.reader, self.encode = reader, encode
        self.samples = 0  #: samples received
        self.seconds = 0.0  #: time spent computing
        self._chunks: list[Array] = []
        self._first = self._next_frame = 0
        self._latest: dict[int, int] = {}

    @property
    def complete(self) -> int:
        """Samples before which every spike has been given."""
        return self._next_frame * self.reader.frame_samples

    @property
    def buffered(self) -> int:
        """Samples held in memory."""
        return sum(map(len, self._chunks))

    @property
    def real_time_factor(self) -> float:
        """Seconds of signal received for each second of computing."""
        return self.samples / self.reader.sampling_frequency / max(self.seconds, 1e-9)

    def push(self, chunk: Any) -> Spikes:
        """Spikes that have become certain; ``chunk``: (samples, channels).

        Raises:
            SignalError: another number of axes or channels.
        """
        begin = time.perf_counter()
        refuse_other_containers(chunk, "chunk")
        chunk = np.asarray(chunk)
        check_recording(chunk, self.reader.whitening.channels, 0, name="chunk")
        if len(chunk):
            self._chunks.append(np.array(chunk))
            self.samples += len(chunk)
        ahead = self.reader.margin + len(self.reader.kernel) - 1 + self.reader.whitening.context[1]
        spikes = self._advance((self.samples - ahead) // self.reader.frame_samples)
        self.seconds += time.perf_counter() - begin
        return spikes

    def finish(self) -> Spikes:
        """The remaining spikes; the stream then takes no more."""
        begin = time.perf_counter()
        spikes = self._advance(-(-self.samples // self.reader.frame_samples))
        self.seconds += time.perf_counter() - begin
        return spikes

    def _advance(self, frames: int) -> Spikes:
        """Spikes of the frames up to number ``frames`` that were not read yet."""
        parts: list[MatchedSpikes] = []
        if frames > self._next_frame:
            view = _Buffer(self._chunks, self._first, self.samples)
            for f in range(self._next_frame, frames):
                parts += self.reader.match_frames(self.encode, view, [f])
            self._next_frame = frames
            self._drop_read()
        return self.reader.join(parts, self._latest, self.samples)

    def _drop_read(self) -> None:
        """Drop samples that no later frame reads."""
        needed = self.complete - self.reader.margin - self.reader.whitening.context[0]
        while self._chunks and self._first + len(self._chunks[0]) <= needed:
            self._first += len(self._chunks.pop(0))


class _Buffer:
    """The chunks kept, seen as the recording they came from."""

    def __init__(self, chunks: list[Array], first: int, samples: int) -> None:
        self._values, self._first = np.concatenate(chunks), first
        self.shape: tuple[int, ...] = (samples, self._values.shape[1])

    def __getitem__(self, index: slice) -> Array:
        return self._values[index.start - self._first:index.stop - self._first]
