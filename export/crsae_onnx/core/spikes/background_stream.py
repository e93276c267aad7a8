"""A stream of spikes in a thread of its own: samples go in at once, spikes are there when they are there."""

from __future__ import annotations

import queue
import threading
from typing import NamedTuple

import numpy as np

from crsae_onnx.core.spikes.detector import Spikes, SpikeStream
from crsae_onnx.core.typing import Array


class Answer(NamedTuple):
    """Spikes of a stretch that follows the one before."""

    spikes: Spikes
    complete: int  #: samples before which every filter that starts is among the spikes of this answer and those before


class BackgroundStream:
    """Runs a ``SpikeStream`` in a thread, a frame at a time. Compiled searches and NumPy let other threads work.

    Args:
        stream: which nobody else uses from now on.

    Example:
        >>> import numpy as np
        >>> from crsae_onnx.core.spikes.background_stream import BackgroundStream
        >>> from crsae_onnx.core.spikes.detector import SpikeReader
        >>> from crsae_onnx.core.spikes.whitening import Whitening
        >>> kernel = np.hanning(9)[:, None, None] / np.linalg.norm(np.hanning(9))
        >>> reader = SpikeReader(Whitening(np.ones((1, 1)), np.eye(1), np.zeros(1)), kernel, [9.0], [0.1], [7.0], [4],
        ...                      [-60.0], sampling_frequency=1000)
        >>> recording = np.zeros((500, 1)); recording[100:109] = 9 * kernel[:, 0]
        >>> background = BackgroundStream(reader.stream(lambda pieces: np.zeros((len(pieces), 500, 1))))
        >>> background.push(recording)
        >>> background.finish()
        >>> [int(peak) for answer in background.answers() for peak in answer.spikes.peak_sample]
        [104]
    """

    def __init__(self, stream: SpikeStream) -> None:
        self._stream = stream
        self._held: list[Array] = []
        self._held_samples = 0
        self._todo: queue.SimpleQueue[Array | None] = queue.SimpleQueue()
        self._done: queue.SimpleQueue[Answer | Exception] = queue.SimpleQueue()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True, name="crsae corrections")
        self._thread.start()

    @property
    def seconds(self) -> float:
        """Time spent computing."""
        return self._stream.seconds

    def push(self, chunk: Array) -> None:
        """Give samples; the thread is woken once a frame of them has come."""
        self._held.append(np.array(chunk))
        self._held_samples += len(chunk)
        if self._held_samples >= self._stream.reader.frame_samples:
            self._pass_on()

    def finish(self) -> None:
        """Wait for the remaining spikes."""
        if self._held:
            self._pass_on()
        self._todo.put(None)
        self._thread.join()

    def close(self) -> None:
        """Stop after the frame that is being worked on."""
        self._stopped.set()
        self._todo.put(None)
        self._thread.join()

    def answers(self) -> list[Answer]:
        """What has come since the last call, without waiting.

        Raises:
            Exception: what the thread failed with.
        """
        out: list[Answer] = []
        while True:
            try:
                answer = self._done.get_nowait()
            except queue.Empty:
                return out
            if isinstance(answer, Exception):
                raise answer
            out.append(answer)

    def _pass_on(self) -> None:
        self._todo.put(np.concatenate(self._held))
        self._held, self._held_samples = [], 0

    def _work(self) -> None:
        try:
            while (chunk := self._todo.get()) is not None and not self._stopped.is_set():
                spikes = self._stream.push(chunk)
                self._done.put(Answer(spikes, self._stream.complete))
            if not self._stopped.is_set():
                spikes = self._stream.finish()
                self._done.put(Answer(spikes, self._stream.samples + len(self._stream.reader.kernel)))
        except Exception as error:  # raised again where the answers are read
            self._done.put(error)
