"""Spike times from a trained encoder, offline and as the samples arrive (NumPy; the encoder is a function).

The recording is cut into frames of fixed length on a fixed grid. Each frame is whitened, encoded and matched with a
margin on both sides, and keeps the spikes that start in it. A frame's spikes depend on its samples and margins alone,
so that chunks of any size give the spikes of the whole recording, a frame and a margin late.
"""

import base64
import json
import time
from typing import NamedTuple

import numpy as np

from crsae_onnx.core.errors import SignalError
from crsae_onnx.core.spikes.template_matching import Matcher
from crsae_onnx.core.spikes.whitening import Whitening

#: Format of ``SpikeReader.to_json``.
FORMAT = 1
#: Samples of a frame, and kernel lengths of margin on each side.
FRAME, MARGIN = 8192, 4
#: Frames encoded at a time.
_BATCH = 8


class Spikes(NamedTuple):
    """Spikes in order of time."""

    sample: np.ndarray  #: int64, of the extremum of largest magnitude on the unit's best channel
    unit: np.ndarray  #: int64, row of the templates
    amplitude: np.ndarray  #: float32, that extremum in the recording's unit (negative for troughs)


class SpikeReader:
    """Reads spikes off recordings with a trained encoder.

    Args:
        whitening: ``Whitening``.
        kernel: (kernel_size, channels, units), the encoder's unit-norm filters, of whitened signals.
        amplitude: (units,), mean amplitude of the code of a unit's spikes.
        spread: (units,), standard deviation of the amplitudes as a share of the mean.
        cost: (units,), log odds against a spike at one sample.
        extremum: (units,), samples from a filter's start to the extremum of the recorded waveform.
        peak: (units,), value of that extremum in the recording's unit.
        sampling_frequency: Hz.
        refractory: seconds; spikes of one unit keep at least this distance.
        frame: samples of a frame.

    Example:
        >>> reader = SpikeReader.from_json(encoder.info["spikes"])
        >>> spikes = reader.find(encoder.encode, recording)            # (samples, channels)
    """

    def __init__(self, whitening, kernel, amplitude, spread, cost, extremum, peak, sampling_frequency,
                 refractory=0.001, frame=FRAME):
        self.whitening, self.kernel = whitening, np.asarray(kernel, np.float32)
        # Copies: the sorter sets extremum and peak in place, and may have given one array twice.
        self.amplitude, self.spread, self.cost = (np.array(v, np.float64) for v in (amplitude, spread, cost))
        self.extremum, self.peak = np.array(extremum, np.int64), np.array(peak, np.float64)
        self.sampling_frequency, self.refractory = float(sampling_frequency), float(refractory)
        self.frame = int(frame)
        self.matcher = Matcher(self.kernel, self.amplitude, self.spread, self.cost,
                               max(1, round(self.refractory * self.sampling_frequency)))

    @property
    def delay(self):
        """Seconds at most from a spike's extremum to its report, computing time apart."""
        return (self.frame + self._margin + len(self.kernel) + self.whitening.reach[1]) / self.sampling_frequency

    @property
    def _margin(self):
        return MARGIN * len(self.kernel)

    def find(self, encode, recording, progress=None):
        """Spikes of a whole recording, in constant memory.

        Args:
            encode: function from (batch, time, channels) to (batch, positions, units).
            recording: (samples, channels), any real dtype: an array, memmap, or any object with ``shape`` and time
                slices.
            progress: None or ``callable(done, total)``, in frames.

        Returns:
            ``Spikes``.

        Raises:
            SignalError: another number of axes or channels, or fewer samples than a filter.

        Example:
            >>> spikes = reader.find(model.encode, np.load("recording.npy", mmap_mode="r"))
        """
        self.check(recording)
        frames = -(-recording.shape[0] // self.frame)
        found = []
        for first in range(0, frames, _BATCH):
            some = range(first, min(first + _BATCH, frames))
            found += self._read(encode, recording, some)
            if progress is not None:
                progress(some.stop, frames)
        return self._join(found, {}, recording.shape[0])

    def stream(self, encode):
        """A ``SpikeStream``, which takes the recording in chunks as they arrive."""
        return SpikeStream(self, encode)

    def check(self, recording):
        """Raise SignalError unless the recording is (samples, channels) with the reader's channels and long enough."""
        shape = getattr(recording, "shape", ())
        if len(shape) != 2 or shape[1] != self.whitening.channels:
            raise SignalError(f"Expected a recording (samples, {self.whitening.channels} channels). "
                              f"Received: shape {tuple(shape)}.")
        if shape[0] < len(self.kernel):
            raise SignalError(f"The recording has {shape[0]} samples, fewer than the {len(self.kernel)} of a filter.")

    def _read(self, encode, recording, frames):
        """[(start, unit, height)] of each frame: where filters start, and how high they are."""
        margin, size = self._margin, len(self.kernel)
        pieces = np.stack([self.whitening(recording, f * self.frame - margin,
                                          (f + 1) * self.frame + margin + size - 1) for f in frames])
        codes = encode(pieces)
        out = []
        for f, piece, code in zip(frames, pieces, codes, strict=True):
            at, unit, height = self.matcher.find(piece, code)
            mine = (at >= margin) & (at < margin + self.frame)
            out.append((at[mine] + f * self.frame - margin, unit[mine], height[mine]))
        return out

    def _join(self, found, latest, samples):
        """Spikes of consecutive frames; ``latest`` {unit: start of its last spike} goes from call to call."""
        start, unit, height = [], [], []
        for frame in found:
            for s, u, h in zip(*(v.tolist() for v in frame), strict=True):
                # Two frames may place one spike on both sides of their border.
                if u in latest and s - latest[u] < self.matcher.refractory:
                    continue
                latest[u] = s
                start.append(s)
                unit.append(u)
                height.append(h)
        start, unit = np.array(start, np.int64), np.array(unit, np.int64)
        sample = start + self.extremum[unit]
        inside = (sample >= 0) & (sample < samples)
        order = np.lexsort((unit[inside], sample[inside]))
        value = np.array(height) / self.amplitude[unit] * self.peak[unit]
        return Spikes(sample[inside][order], unit[inside][order], value[inside][order].astype(np.float32))

    def to_json(self):
        """Everything as one JSON string; arrays in base64."""
        state = {name: getattr(self, name) for name in ("kernel", "amplitude", "spread", "cost", "extremum", "peak",
                                                        "sampling_frequency", "refractory", "frame")}
        return json.dumps({"format": FORMAT, **{k: _packed(v) for k, v in state.items()},
                           "whitening": {k: _packed(v) for k, v in self.whitening.state().items()}})

    @classmethod
    def from_json(cls, text):
        """The reader that ``to_json`` wrote.

        Raises:
            ValueError: the text was not written by ``to_json``, or by a newer version.
        """
        try:
            state = json.loads(text)
            if state.pop("format") > FORMAT:
                raise ValueError("The spike reader was written by a newer version of keras-crsae. Update it.")
            whitening = Whitening(**{k: _unpacked(v) for k, v in state.pop("whitening").items()})
            return cls(whitening, **{k: _unpacked(v) for k, v in state.items()})
        except (KeyError, TypeError, AttributeError, json.JSONDecodeError) as error:
            raise ValueError(f"Not a spike reader: {error!r}. Expected what `keras-crsae sort` wrote.") from error


class SpikeStream:
    """Takes a recording chunk by chunk and gives its spikes, equal to those of the whole recording.

    Example:
        >>> stream = reader.stream(encoder.encode)
        >>> for first in range(0, len(recording), 700):                        # any length of chunk
        ...     spikes = stream.push(recording[first:first + 700])             # complete up to stream.complete
        >>> last = stream.finish()
    """

    def __init__(self, reader, encode):
        self.reader, self.encode = reader, encode
        self.samples = 0  #: samples received
        self.seconds = 0.0  #: time spent computing
        self._buffer, self._first, self._next, self._latest = [], 0, 0, {}

    @property
    def complete(self):
        """Samples before which every spike has been given."""
        return self._next * self.reader.frame

    @property
    def real_time_factor(self):
        """Seconds of signal received for each second of computing."""
        return self.samples / self.reader.sampling_frequency / max(self.seconds, 1e-9)

    def push(self, chunk):
        """Spikes that have become certain, ``Spikes``; ``chunk``: (samples, channels)."""
        begin = time.perf_counter()
        chunk = np.asarray(chunk)
        if chunk.ndim != 2 or chunk.shape[1] != self.reader.whitening.channels:
            raise SignalError(f"Expected a chunk (samples, {self.reader.whitening.channels} channels). "
                              f"Received: shape {chunk.shape}.")
        if len(chunk):
            self._buffer.append(np.array(chunk))
            self.samples += len(chunk)
        ahead = self.reader._margin + len(self.reader.kernel) - 1 + self.reader.whitening.reach[1]
        ready = (self.samples - ahead) // self.reader.frame
        spikes = self._advance(ready)
        self.seconds += time.perf_counter() - begin
        return spikes

    def finish(self):
        """The remaining spikes; the stream then takes no more."""
        begin = time.perf_counter()
        spikes = self._advance(-(-self.samples // self.reader.frame))
        self.seconds += time.perf_counter() - begin
        return spikes

    def _advance(self, ready):
        found = []
        if ready > self._next:
            view = _Buffered(self._buffer, self._first, self.samples)
            for f in range(self._next, ready):
                found += self.reader._read(self.encode, view, [f])
            self._next = ready
            self._forget()
        return self.reader._join(found, self._latest, self.samples)

    def _forget(self):
        """Drop samples that no later frame reads."""
        needed = self._next * self.reader.frame - self.reader._margin - self.reader.whitening.reach[0]
        while self._buffer and self._first + len(self._buffer[0]) <= needed:
            self._first += len(self._buffer.pop(0))


class _Buffered:
    """The chunks kept, seen as the recording they came from."""

    def __init__(self, chunks, first, samples):
        self._values, self._first = np.concatenate(chunks), first
        self.shape = (samples, self._values.shape[1])

    def __getitem__(self, index):
        return self._values[index.start - self._first:index.stop - self._first]


def _packed(value):
    if not isinstance(value, np.ndarray):
        return value
    little = value.astype(value.dtype.newbyteorder("<"))
    return {"dtype": little.dtype.str, "shape": value.shape, "base64": base64.b64encode(little.tobytes()).decode()}


def _unpacked(value):
    if not isinstance(value, dict):
        return value
    dtype = np.dtype(value["dtype"])
    if dtype.kind not in "fi":
        raise ValueError(f"Not a spike reader: an array of dtype {dtype}.")
    return np.frombuffer(base64.b64decode(value["base64"], validate=True), dtype).reshape(value["shape"])
