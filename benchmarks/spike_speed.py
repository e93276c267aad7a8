"""How long does ``spike_sorting.sort`` take, and how does that grow with the channels?

The first table sorts the shared recordings, each in a process of its own, after a short recording of the same kind has
been sorted there; with ``--other CHECKOUT`` this checkout and another in turn. The second sorts recordings that
SpikeInterface generates with five units for eight channels, from 8 to 128 channels, and fits the exponent of the time
in the channels. Seconds of the processor are those of all threads.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from benchmarks import common
from benchmarks.spike_recordings import Recording, load

HERE = Path(__file__).resolve().parents[1]
KINDS = ("single_white", "tetrode", "probe32")
WARM_SECONDS = 3.0
UNITS_PER_CHANNEL = 5 / 8
#: Marks the line of a worker's answer among what libraries print.
_ANSWER = "@"


def probe(channels, duration, seed=0):
    """A generated recording of a probe with two columns of contacts, five units for eight of them."""
    from spikeinterface.core import generate_ground_truth_recording

    extractor, truth = generate_ground_truth_recording(
        durations=[duration], sampling_frequency=30_000.0, num_channels=channels,
        num_units=max(1, round(UNITS_PER_CHANNEL * channels)), seed=seed, dtype="float32",
        generate_sorting_kwargs={"firing_rates": (3.0, 15.0), "refractory_period_ms": 4.0},
        noise_kwargs={"noise_levels": 8.0, "strategy": "on_the_fly"})
    traces = extractor.get_traces()
    gain = float(np.abs(traces).max()) / 32_000
    spikes = truth.to_spike_vector()
    return Recording(f"{channels} channels", np.rint(traces / gain).astype(np.int16), gain, 30_000.0,
                     extractor.get_channel_locations(), spikes["sample_index"], spikes["unit_index"])


def work(kind, duration):
    """Sort in this process: ``kind`` a shared recording or a number of channels; prints one line."""
    from keras_crsae.applications import spike_sorting

    recording = probe(int(kind), duration) if kind.isdigit() else load(kind)
    try:
        spike_sorting.sort(recording.first(WARM_SECONDS).traces, recording.sampling_frequency)
    except ValueError:
        pass  # it was only to warm up
    start = time.perf_counter(), time.process_time()
    result = spike_sorting.sort(recording.traces, recording.sampling_frequency, seed=0)
    found = {"wall": time.perf_counter() - start[0], "processor": time.process_time() - start[1]}
    from benchmarks.spike_scores import score

    scores = score(recording, result.spike_samples, result.spike_units)
    print(_ANSWER + json.dumps(found | {
        "accuracy": scores["accuracy"], "found": result.num_units, "recording": float(recording.duration),
        "memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}), flush=True)


def measure(kind, duration, tree=HERE):
    """What ``work`` prints, in a fresh process with the sources of a checkout."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(tree), str(tree / "export"))),
                   "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run([sys.executable, "-P", __file__, "--worker", str(kind), str(duration)], cwd=tree,
                          env=environment, capture_output=True, text=True, check=False)
    answers = [line[len(_ANSWER):] for line in done.stdout.splitlines() if line.startswith(_ANSWER)]
    if done.returncode or not answers:
        raise RuntimeError(f"Sorting {kind} failed:\n{done.stderr[-2000:]}")
    return json.loads(answers[-1])


def exponent(channels, seconds):
    """Slope of log seconds over log channels, by least squares.

    Example:
        >>> from benchmarks.spike_speed import exponent
        >>> round(exponent([8, 16, 32], [1.0, 2.0, 4.0]), 3)
        1.0
    """
    return float(np.polyfit(np.log(channels), np.log(seconds), 1)[0])


def shared(arguments):
    """The table of shared recordings, with the other checkout in turn if there is one."""
    trees = {"here": HERE} | ({"there": arguments.other.resolve()} if arguments.other else {})
    rows, found = [], {}
    for kind in arguments.kinds:
        runs = {name: [] for name in trees}
        for turn in range(arguments.rounds):
            for name in list(trees)[::1 if turn % 2 else -1]:
                runs[name].append(measure(kind, 0.0, trees[name]))
                print(kind, name, runs[name][-1], file=sys.stderr, flush=True)
        found[kind] = runs
        best = {name: {key: min(run[key] for run in of) for key in ("processor", "wall")} for name, of in runs.items()}
        share = best["here"]["processor"] / best["there"]["processor"] if arguments.other else float("nan")
        for name, of in runs.items():
            rows.append([kind, name, f"{best[name]['processor']:.1f}", f"{best[name]['wall']:.1f}",
                         f"{share:.3f}" if name == "here" and arguments.other else "", f"{of[0]['accuracy']:.3f}",
                         of[0]["found"], f"{max(run['memory_mb'] for run in of):.0f}"])
    headers = ["recording", "checkout", "processor seconds", "seconds", "share", "accuracy", "units", "memory, MB"]
    return common.report("spike_speed", arguments, headers, rows, found, "shared recordings, the least of all runs")


def growth(arguments):
    """The table of numbers of channels."""
    duration = arguments.seconds
    found = {}
    for channels in arguments.channels:
        found[channels] = measure(channels, duration)
        print(channels, found[channels], file=sys.stderr, flush=True)
    slopes = {key: exponent(arguments.channels, [found[c][key] for c in arguments.channels])
              for key in ("processor", "wall")} if len(found) > 1 else {}
    rows = [[c, round(UNITS_PER_CHANNEL * c), f"{f['processor']:.1f}", f"{f['wall']:.1f}", f"{f['accuracy']:.3f}",
             f["found"], f"{f['memory_mb']:.0f}"] for c, f in found.items()]
    headers = ["channels", "true units", "processor seconds", "seconds", "accuracy", "units found", "memory, MB"]
    text = ", ".join(f"{value:.2f} of {key} seconds" for key, value in slopes.items())
    return common.report("spike_speed", arguments, headers, rows, {"runs": found, "exponents": slopes},
                         f"{duration:g} s, five units for eight channels; exponent in channels: {text}")


def main():
    parser = common.parser(__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--other", type=Path, help="folder of another checkout, measured in turn")
    parser.add_argument("--kinds", nargs="*", default=list(KINDS), help="shared recordings, perhaps none")
    parser.add_argument("--rounds", type=int, default=1, help="runs of each shared recording and checkout")
    parser.add_argument("--channels", nargs="*", type=int, default=[8, 16, 32, 64, 128], help="perhaps none")
    parser.add_argument("--seconds", type=float, default=10.0, help="of the generated recordings")
    arguments = parser.parse_args()
    if arguments.short:
        arguments.kinds, arguments.channels = arguments.kinds[:1], [c for c in arguments.channels if c <= 32]
    common.limit_threads(arguments.threads)
    described = common.machine(arguments.threads)
    sections = [shared(arguments)] if arguments.kinds else []
    sections += [growth(arguments)] if arguments.channels else []
    arguments.other = None
    common.save("spike_speed", arguments, described, sections)


if __name__ == "__main__":
    if "--worker" in sys.argv[1:2]:
        work(sys.argv[2], float(sys.argv[3]))
    else:
        main()
