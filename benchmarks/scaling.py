"""How time grows with signal length, filters, kernel size, iterations, batch and cores; an hour from a memmap.

Base case: one signal of 300,000 samples, 3 filters of 45, 60 iterations. Length runs from 1e5 to 1e7 samples (--short:
to 1e6) and its exponent is fitted: 1 is linear. Each number of cores is a process of its own, since thread pools are
fixed at start. ``--hour`` encodes 108 million samples from a memory-mapped file into another one, and reports the
largest resident memory over the baseline, with the pages of the two files and without.
"""

import json
import os
import statistics
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

from benchmarks import common

SAMPLES, FILTERS, SIZE, ITERATIONS = 300_000, 3, 45, 60
RATE = 30_000
#: One value at a time departs from the base case.
AXES = {"samples": (100_000, 300_000, 1_000_000, 3_000_000, 10_000_000), "filters": (1, 2, 3, 4, 8, 16, 32),
        "kernel size": (9, 17, 31, 45, 61, 91), "iterations": (15, 30, 60, 120, 240), "batch": (1, 4, 16, 64)}
SHORT = {"samples": (100_000, 300_000, 1_000_000), "filters": (1, 3, 8), "kernel size": (17, 45, 91),
         "iterations": (15, 60, 120), "batch": (1, 16)}


def case(samples=SAMPLES, filters=FILTERS, kernel_size=SIZE, iterations=ITERATIONS, batch=1, xla=False):
    """A warmed-up encoder call; a batch splits the samples into equal signals."""
    kernels = common.unit_filters((kernel_size, 1, filters))
    model, _ = common.encoder_model(kernels, iterations, xla=xla)
    rng = np.random.default_rng(0)
    signal = rng.standard_normal((batch, samples // batch, 1), dtype=np.float32)
    # A signal that excites every filter, and is not silence: the time of a dense encoder does not depend on it.
    signal[:, ::997] += 12
    model.encode(signal)
    return lambda: model.encode(signal)


def grow(axis, values, repeats, budget):
    """Seconds for each value, timed in turn; an axis may end in ", XLA"."""
    name, _, xla = axis.partition(", ")
    return common.alternate({v: case(**{name.replace(" ", "_"): v}, xla=bool(xla)) for v in values}, repeats, budget)


def scaling(arguments, repeats, budget):
    sections, axes = [], dict(SHORT if arguments.short else AXES)
    for axis, values in {**axes, "samples, XLA": axes["samples"]}.items():
        times = grow(axis, values, repeats, budget)
        medians = [times[v]["median"] for v in values]
        rows = [[f"{v:,}", common.seconds(m), f"{m / medians[0]:.2f}"] for v, m in zip(values, medians, strict=True)]
        slope = common.exponent(values, medians) if axis != "batch" else None
        title = axis if slope is None else f"{axis}, time ~ {axis.partition(', ')[0]}^{slope:.3f}"
        if axis == "batch":
            title = f"batch of the same {SAMPLES} samples in all"
        sections.append(common.report("scaling", arguments, [axis, "median", "times the first"], rows,
                                      {"times": {str(v): times[v] for v in values}, "exponent": slope}, title))
    return sections


def cores(arguments, repeats, budget):
    """The base case on 1, 2, ... cores, each in a fresh process."""
    counts = [n for n in (1, 2, 4, 8, 16, 32) if n <= os.cpu_count()]
    found = {n: common.child("benchmarks.scaling", "--child", repeats, "--threads", n) for n in counts}
    rows = [[n, common.seconds(t["median"]), f"{found[1]['median'] / t['median']:.2f}"] for n, t in found.items()]
    return common.report("scaling", arguments, ["cores", "median", "times faster than one"], rows, found, "cores")


class Memory:
    """Largest resident memory while the block runs: all pages, and anonymous ones (without those of mapped files).

    The baseline is read when the object is made, which may be well before the block.
    """

    def __init__(self):
        self.baseline, self.peak, self._stop = self._read(), {"VmRSS": 0, "RssAnon": 0}, threading.Event()

    def __enter__(self):
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()

    @staticmethod
    def _read():
        """Bytes by name, from /proc/self/status."""
        lines = Path("/proc/self/status").read_text().splitlines()
        pairs = (line.split(":") for line in lines if line.startswith(("VmRSS:", "RssAnon:")))
        return {name: int(value.split()[0]) * 1024 for name, value in pairs}

    def _watch(self):
        while not self._stop.wait(0.02):
            for name, value in self._read().items():
                self.peak[name] = max(self.peak[name], value)

    def over(self, name):
        """Peak over the baseline, GiB."""
        return (self.peak[name] - self.baseline[name]) / 2**30


def hour(arguments, length, xla=False):
    """``length`` samples from a memmap, against ten seconds of the same recording, which are timed in between.

    A shared machine changes its speed within seconds, so the two are taken in turn: every 40 windows the long run
    stops, and ten seconds are encoded twice; the second time counts, when the last window has been written.
    """
    recorded, templates, origin = common.recording(10)
    filters = (templates[:SIZE] / np.linalg.norm(templates[:SIZE], axis=(0, 1))).astype("float32")
    model, _ = common.encoder_model(filters, ITERATIONS, xla=xla)
    ten = recorded[None, :, None]
    model.encode(ten[:, :1000])
    memory = Memory()  # TensorFlow and the model are there, no signal has been encoded
    model.encode(ten)
    with tempfile.TemporaryDirectory() as folder:
        signal = np.memmap(Path(folder) / "signal.f32", np.float32, "w+", shape=(1, length, 1))
        for start in range(0, length, len(recorded)):
            # Each copy starts elsewhere in the ten seconds, so that no two windows are alike.
            piece = np.roll(recorded, 7919 * (start // len(recorded)))[:length - start]
            signal[0, start:start + len(piece), 0] = piece
        signal.flush()
        signal = np.memmap(Path(folder) / "signal.f32", np.float32, "r", shape=(1, length, 1))
        out = np.memmap(Path(folder) / "code.f32", np.float32, "w+", shape=(1, length - SIZE + 1, FILTERS))
        model.encode(signal[:, :2**21], out=out[:, :2**21 - SIZE + 1])  # graphs of the windows' shapes are made here
        tens, stopped = [], 0.0

        def between(done, total):
            nonlocal stopped
            if done % 40 and done != total:
                return
            pause = time.perf_counter()
            model.encode(ten)
            start = time.perf_counter()
            model.encode(ten)
            end = time.perf_counter()
            tens.append(end - start)
            stopped += end - pause

        with memory:
            start = time.perf_counter()
            model.encode(signal, out=out, progress=between)
            took = time.perf_counter() - start - stopped
        short = statistics.mean(tens) / ten.size
        nonzero = float(np.mean(out[0, :10**6] != 0))
    data = {"samples": length, "seconds": took, "per_sample": took / length, "per_sample_ten_seconds": short,
            "over_baseline_gib": memory.over("VmRSS"), "anonymous_over_baseline_gib": memory.over("RssAnon"),
            "nonzero": nonzero}
    rows = [[f"{length:,}", common.seconds(took), f"{length / RATE / took:.1f}", f"{took / length / short:.3f}",
             f"{data['anonymous_over_baseline_gib']:.2f} GiB", f"{data['over_baseline_gib']:.2f} GiB"]]
    return common.report("scaling", arguments, ["samples", "time", "times real time", "time per sample, against 10 s",
                                                "memory over baseline", "with the files' pages"], rows, data,
                         f"a long recording from a memmap{', XLA' * xla} ({origin}, repeated and shifted)")


def main():
    parser = common.parser(__doc__)
    parser.add_argument("--hour", action="store_true", help="also encode an hour at 30 kHz (about 2 GB of disk)")
    parser.add_argument("--hour-samples", type=int, default=3600 * RATE, help="samples that --hour encodes")
    parser.add_argument("--child", type=int, default=None, metavar="REPEATS",
                        help="time the base case only and print JSON: what each number of cores runs")
    arguments = parser.parse_args()
    common.limit_threads(arguments.threads)
    if arguments.child:
        print(json.dumps(common.alternate({"base": case()}, arguments.child)["base"]))
        return
    if arguments.hour and not Path("/proc/self/status").exists():
        parser.error("--hour reads memory from /proc/self/status, which this system has not")
    described = common.machine(arguments.threads)
    repeats, budget = (3, 6.0) if arguments.short else (9, 60.0)
    sections = [*scaling(arguments, repeats, budget), cores(arguments, repeats, budget)]
    if arguments.hour:
        sections += [hour(arguments, arguments.hour_samples, xla) for xla in (False, True)]
    common.save("scaling", arguments, described, sections)


if __name__ == "__main__":
    main()
