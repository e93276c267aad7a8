"""``crsae-onnx run --spikes``: from a recording and an exported encoder to a table of spikes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np

from crsae_onnx.cli.live import Latencies, write_events
from crsae_onnx.core.progress import Progress
from crsae_onnx.core.spikes.csv_table import write_header, write_rows
from crsae_onnx.core.spikes.detector import SpikeReader, Spikes
from crsae_onnx.runtime.sparse_encoder import SparseEncoder


def reader_of(encoder: SparseEncoder) -> SpikeReader:
    """The ``SpikeReader`` that an exported encoder carries.

    Args:
        encoder: ``SparseEncoder``.

    Raises:
        ValueError: the file was exported without one, or it is damaged.

    Example:
        >>> import numpy as np
        >>> from crsae_onnx import SparseEncoder
        >>> from crsae_onnx.cli.spikes import reader_of
        >>> from keras_crsae import zoo
        >>> encoder = SparseEncoder(zoo.path_of("spikes-single-channel", "encoder.onnx"))
        >>> spikes = reader_of(encoder).find(encoder.encode, np.zeros((30000, 1)))    # (samples, channels), as recorded
        >>> len(spikes.unit_id)
        0
    """
    if "spikes" not in encoder.info:
        raise ValueError(f"{encoder.path} gives codes, not spikes: its metadata has no 'spikes'. Use the encoder.onnx "
                         "of `keras-crsae sort`, or convert the model again with spikes=result.reader.")
    if "code" not in encoder.info["outputs"]:
        raise ValueError(f"{encoder.path} gives {', '.join(encoder.info['outputs'])}; --spikes searches in its codes. "
                         "Convert the model again with 'code' among outputs=.")
    return SpikeReader.from_json(encoder.info["spikes"])


def run_spikes(encoder: SparseEncoder, recording: np.ndarray, output: Path, chunk: float | None = None,
               progress: Progress = lambda step, fraction: None,
               delay: float | Literal["least", "auto"] | None = None) -> str:
    """Write the spikes of a recording to ``output``; memory stays that of a few frames.

    Args:
        encoder: ``SparseEncoder``, exported with a reader.
        recording: (samples, channels) or (samples,), mapped.
        output: Path of the .csv file to write; what fails leaves part of it.
        chunk: None: the whole recording; or seconds, which then arrive one after the other, as in a measurement.
        progress: called with the step's name and the fraction that is done.
        delay: None, or seconds at most from a spike's extremum to its report ("least", "auto": as ``LiveStream``
            says): a ``LiveStream``'s events are written then.

    Returns:
        A message for the user.

    Raises:
        ValueError: the file carries no reader, an invalid recording, chunk or delay.
    """
    reader = reader_of(encoder)
    if len(recording.shape) == 1:
        recording = recording[:, None]  # a view: nothing is read
    reader.check(recording)
    rate = reader.sampling_frequency
    if chunk is not None and not 1 <= chunk * rate <= 2**40:
        raise ValueError(f"--chunk takes seconds, at least one sample of {1 / rate:g} s. Received: {chunk!r}.")
    step = None if chunk is None else round(chunk * rate)
    begin, latencies = time.perf_counter(), Latencies(rate)
    with output.open("w", encoding="utf-8", newline="") as file:
        progress("find spikes", 0.0)
        if delay is not None:
            text = write_events(file, reader, encoder, recording, step, None if delay == "auto" else delay, latencies,
                                progress)
        else:
            write_header(file)
            count = 0
            for spikes in _pieces(reader, encoder, recording, step, latencies, progress):
                write_rows(file, spikes, rate)
                count += len(spikes.peak_sample)
            text = f"{count} spikes"
    seconds, length = time.perf_counter() - begin, recording.shape[0] / rate
    text += (f" of {reader.kernel.shape[2]} units in {length:.4g} s of recording, in {seconds:.3g} s, "
             f"{length / seconds:.3g} times real time")
    if delay is None and step is not None:
        text += f"; chunks of {chunk:g} s, latency: at most {reader.delay_s:.3f} s of recording"
    return text + latencies.text()


def _pieces(reader: SpikeReader, encoder: SparseEncoder, recording: np.ndarray, step: int | None,
            latencies: Latencies, progress: Progress) -> Iterator[Spikes]:
    """The spikes, chunk by chunk."""
    samples = recording.shape[0]
    if step is None:
        yield reader.find(encoder.encode, recording, lambda done, total: progress(
            f"find spikes, {done} of {total} frames", done / total))
        return
    stream = reader.stream(encoder.encode)
    for start in range(0, samples, step):
        stop = min(start + step, samples)
        begin = time.perf_counter()
        spikes = stream.push(recording[start:stop])
        latencies.add(stop, time.perf_counter() - begin, spikes.peak_sample)
        yield spikes
        progress("find spikes", stop / samples)
    yield stream.finish()
