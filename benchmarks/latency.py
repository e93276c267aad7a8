"""How late does a live stream report a spike, and how accurately?

A tetrode is sorted and its encoder exported. Then a process without TensorFlow, on one core, receives the recording
frame by frame. Latency is what passes from the arrival of a spike's extremum to the return of the call that reports
it: recording, computing, and waiting for either. With ``--paced`` frames come in real time, and it is measured by the
clock, which needs a machine that does nothing else. Otherwise they come as fast as they are taken, and computing is the
processor's time of each call, counted as if the frames had come in real time: the same on a busy machine.
"""

import json
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks import common
from benchmarks.spike_recordings import load
from benchmarks.spike_scores import score

#: (samples of a frame, delay in s, numba)
CASES = ((64, "least", True), (64, 0.0055, True), (128, "least", True), (64, "least", False))
HEADERS = ["frame", "delay", "numba", "p50", "p99", "largest", "computing a frame, p50", "p99", "accuracy of reports",
           "after corrections", "offline", "corrected, withdrawn, added", "times real time"]


def receive(folder, frame, delay, compiled, paced):
    """Run the stream; print what was reported and when, as JSON."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:1])
    if not compiled:
        sys.modules["numba"] = None
    from crsae_onnx import EventKind, LiveStream, SparseEncoder, SpikeReader

    if "tensorflow" in sys.modules:
        raise RuntimeError("The stream shall run without TensorFlow.")
    encoder, recording = SparseEncoder(folder / "encoder.onnx"), np.load(folder / "recording.npy", mmap_mode="r")
    reader = SpikeReader.from_json(encoder.info["spikes"])
    rate, latest, latency, computing, counts = reader.sampling_frequency, {}, [], [], dict.fromkeys(EventKind, 0)
    reported, now = [], 0.0
    with LiveStream(reader, encoder.encode, frame_samples=frame, delay=delay) as stream:
        used, begin = time.process_time(), time.perf_counter()
        for start in range(0, len(recording) - frame + 1, frame):
            chunk = recording[start:start + frame]
            arrived = (start + frame) / rate
            if paced:
                time.sleep(max(0.0, begin + arrived - time.perf_counter()))
            thread = time.thread_time()
            events = stream.push(chunk)
            computing.append(time.thread_time() - thread)
            now = time.perf_counter() - begin if paced else max(now, arrived) + computing[-1]
            for event in events:
                counts[event.kind] += 1
                latest[event.spike] = event
                if event.kind == EventKind.REPORTED:
                    reported.append(event[2:4])
                    latency.append(now - event.peak_sample / rate)
        for event in stream.finish():
            counts[event.kind] += 1
            latest[event.spike] = event
        used = time.process_time() - used
    final = sorted(e[2:4] for e in latest.values() if e.kind != EventKind.WITHDRAWN)
    print(json.dumps({"reported": reported, "final": final, "delay_s": stream.delay_s,
                      "counts": {str(k): v for k, v in counts.items()},
                      "latency": np.percentile(latency, [50, 99, 100]).tolist(),
                      "computing": np.percentile(computing, [50, 99]).tolist(),
                      "real_time_factor": len(recording) / rate / used}))


def prepare(kind, seconds, folder, seed):
    """Sort the recording, and write it and the encoder; (the recording, its spikes found offline)."""
    from crsae_onnx.convert import convert

    from keras_crsae.applications import spike_sorting

    recording = load(kind, seed)
    result = spike_sorting.sort(recording.traces, recording.sampling_frequency, seed=seed)
    recording = recording.first(seconds)
    convert(result.model, folder / "encoder.onnx", outputs=("code", "spikes"), spikes=result.reader)
    np.save(folder / "recording.npy", recording.traces)
    offline = result.reader.find(result.model.encode, recording.traces)
    return recording, list(zip(offline.peak_sample.tolist(), offline.unit_id.tolist(), strict=True))


def row(recording, offline, case, found):
    """Of the table; keeps in ``found`` what is stored."""
    def accuracy(spikes):
        spikes = np.array(spikes, np.int64).reshape(-1, 2)
        return score(recording, *spikes.T)["accuracy"]

    (frame, delay, compiled), counts = case, found["counts"]
    final = [tuple(spike) for spike in found.pop("final")]
    found |= {"accuracy": accuracy(found.pop("reported")), "final_accuracy": accuracy(final),
              "offline_accuracy": accuracy(offline),
              "same_as_offline": len(set(final) & set(offline)) / max(1, len(set(final) | set(offline)))}
    p50, p99, largest = (f"{1e3 * v:.1f} ms" for v in found["latency"])
    kind = ", the least" if delay == "least" else ""
    return [frame, f"{1e3 * found['delay_s']:.1f} ms{kind}", "yes" if compiled else "no",
            p50, p99, largest, *(f"{1e3 * v:.2f} ms" for v in found["computing"]), f"{found['accuracy']:.3f}",
            f"{found['final_accuracy']:.3f}", f"{found['offline_accuracy']:.3f}",
            f"{counts['corrected']}, {counts['withdrawn']}, {counts['added']} of {counts['reported']}",
            f"{found['real_time_factor']:.1f}"]


def main(arguments=None):
    """Print and save the table."""
    parser = common.parser(__doc__.splitlines()[0], threads=1)
    parser.add_argument("--kind", default="tetrode", help="recording, see benchmarks.spike_recordings")
    parser.add_argument("--seconds", type=float, help="of recording (default: 60; --short: 10)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--paced", action="store_true", help="in real time, by the clock, on a quiet machine")
    parser.add_argument("--worker", nargs=4, metavar=("FOLDER", "FRAME", "DELAY", "NUMBA"),
                        help="what the script starts itself for")
    arguments = parser.parse_args(arguments)
    if arguments.worker:
        folder, frame, delay, compiled = arguments.worker
        delay = delay if delay == "least" else float(delay)
        return receive(Path(folder), int(frame), delay, compiled == "True", arguments.paced)
    del arguments.worker
    seconds = arguments.seconds or (10.0 if arguments.short else 60.0)
    described, rows, data = common.machine(arguments.threads), [], []
    with tempfile.TemporaryDirectory() as name:
        recording, offline = prepare(arguments.kind, seconds, Path(name), arguments.seed)
        for case in CASES[:2] if arguments.short else CASES:
            found = common.child("benchmarks.latency", "--worker", name, case[0], case[1], case[2],
                                 *["--paced"] * arguments.paced)
            rows.append(row(recording, offline, case, found))
            data.append(found)
            print(rows[-1], flush=True)
    title = (f"{'in real time, ' if arguments.paced else ''}{arguments.kind}: {recording.traces.shape[1]} channels, "
             f"{seconds:g} s at {recording.sampling_frequency:g} Hz, {len(np.unique(recording.spike_units))} units")
    common.save("latency", arguments, described,
                [common.report("latency", arguments, HEADERS, rows, data, title)])


if __name__ == "__main__":
    main()
