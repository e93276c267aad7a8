"""Events in the spikes of trials, beside what a neuroscientist would use: ``python -m benchmarks.neural_events``.

Overlapping events: 100 simulated trials of 3 s; the width of the smoothed raster and both thresholds of the others are
chosen with the truth of the first 50 trials, ours without; all are scored on the other 50. Two kernels, and known
onsets: error of the kernels. The real raster: log likelihood of held-out trials, see ``neural_events.HeldOut``.
"""

import dataclasses
import os
import time
from pathlib import Path

import numpy as np

from benchmarks import common

TOLERANCE_MS = 15
WIDTHS_MS = (5, 10, 15, 20, 30, 40)
#: Gaps between an event and the next, in ms; the kernel is 125 ms long.
GAPS_MS = ((30, 80), (50, 110), (120, 300))
TRIALS, LEARN = 100, 50


def main(arguments=None):
    """Measure and write the tables."""
    parser = common.parser(__doc__.splitlines()[0], threads=1)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", choices=("overlap", "kernels", "raster"), help="one table alone")
    args = parser.parse_args(arguments)
    common.limit_threads(args.threads)
    described = common.machine(args.threads)
    seeds = range(1 if args.short else args.seeds)
    tables = {"overlap": overlap, "kernels": kernels, "raster": raster}
    sections = [make(args, seeds) for name, make in tables.items() if args.only in (None, name)]
    common.save("neural_events", args, described, [section for section in sections if section])


def overlap(args, seeds):
    """F1 of events whose kernels overlap."""
    rows, data = [], []
    for gap in GAPS_MS[:1] if args.short else GAPS_MS:
        for seed in seeds:
            data.append({"gap_ms": gap, "seed": seed, **compare(gap, seed)})
            print(data[-1], flush=True)
        here = [one for one in data if one["gap_ms"] == gap]
        rows.append((f"{gap[0]} to {gap[1]}", *(f"{np.mean([one[key] for one in here]):.3f}" for key in
                                               ("ours", "smoothed", "matched", "kernel_error", "seconds"))))
    headers = ("gap (ms)", "events: F1", "smoothed raster: F1", "matched filter, learned kernel: F1", "kernel error",
               "seconds")
    return common.report("neural_events", args, headers, rows, data, f"overlapping events, {len(seeds)} seeds")


def compare(gap, seed):
    """F1 of ours and of the others on one simulation."""
    from keras_crsae.applications import neural_events
    from keras_crsae.data import simulate_neural_events
    from keras_crsae.metrics import dictionary_error

    data = simulate_neural_events(trials=TRIALS, events_per_trial=8, gap_ms=gap, amplitude=(4.0, 0.56), seed=seed)
    counts = neural_events.bin_spikes(data.spikes, 5)
    started = time.perf_counter()
    result = neural_events.fit_events(counts, kernel_ms=125, seed=seed,
                                      parameters=neural_events.EventParameters(folds=0))
    seconds = time.perf_counter() - started
    parts = [dataclasses.replace(counts, counts=counts.counts[rows]) for rows in (slice(LEARN), slice(LEARN, None))]
    true = [data.events[data.events["trial"] < LEARN], later(data.events)]
    smoothed = max((tuned(true[0], neural_events.smoothed_raster_peaks(parts[0], width)) + (width,)
                    for width in WIDTHS_MS), key=lambda one: one[1].f1)
    level, _ = tuned(true[0], neural_events.matched_filter_peaks(parts[0], result.kernels))
    scores = {"ours": later(result.events),
              "smoothed": above(neural_events.smoothed_raster_peaks(parts[1], smoothed[2]), smoothed[0]),
              "matched": above(neural_events.matched_filter_peaks(parts[1], result.kernels), level)}
    f1 = {name: neural_events.score_events(true[1], found, TOLERANCE_MS, "best").f1 for name, found in scores.items()}
    return {**f1, "kernel_error": float(dictionary_error(binned(data.kernels), result.fitted.kernel)[0]),
            "seconds": seconds, "width_ms": smoothed[2]}


def tuned(true, candidates):
    """(threshold, scores) of the best F1."""
    from keras_crsae.applications.neural_events import best_threshold

    return best_threshold(true, candidates, tolerance_ms=TOLERANCE_MS, shift_ms="best")


def above(events, level):
    """The events of at least this amplitude."""
    return events[events["amplitude"] >= level]


def later(events):
    """Events of the trials that are scored, counted from 0."""
    chosen = events[events["trial"] >= LEARN].copy()
    chosen["trial"] -= LEARN
    return chosen


def binned(kernels, size=5):
    """Kernels of 1 ms in bins, (bins, 1, kernels)."""
    return kernels.reshape(-1, size, kernels.shape[1]).mean(axis=1)[:, None, :]


def kernels(args, seeds):
    """Errors of the kernels: found and known onsets, one and two kernels."""
    from keras_crsae.applications import neural_events
    from keras_crsae.data import simulate_neural_events
    from keras_crsae.metrics import dictionary_error

    rows, data = [], []
    for number, known in ((1, False), (1, True), (2, False), (2, True)):
        for seed in seeds:
            drawn = simulate_neural_events(trials=TRIALS, kernels=number, events_per_trial=5, gap_ms=(100, 400),
                                           amplitude=(4.0, 0.56), seed=seed)
            onsets = [[drawn.onsets(t, 0, k) for t in range(TRIALS)] for k in range(number)]
            result = neural_events.fit_events(drawn.spikes, kernel_ms=125, kernels=number, seed=seed,
                                              onsets=(onsets if number > 1 else onsets[0]) if known else None,
                                              parameters=neural_events.EventParameters(folds=0))
            error = dictionary_error(binned(drawn.kernels), result.fitted.kernel)
            data.append({"kernels": number, "known": known, "seed": seed, "errors": error.tolist()})
            print(data[-1], flush=True)
        errors = np.array([one["errors"] for one in data if (one["kernels"], one["known"]) == (number, known)])
        rows.append((number, "known" if known else "found", f"{errors.mean():.3f}", f"{errors.max():.3f}"))
    headers = ("kernels", "onsets", "mean error", "largest error")
    return common.report("neural_events", args, headers, rows, data, f"{TRIALS} single trials, {len(seeds)} seeds")


def raster(args, seeds):
    """Held-out log likelihood of the real raster."""
    from scipy.io import loadmat

    from keras_crsae.applications import neural_events

    path = Path(os.environ.get("KERAS_CRSAE_DATA", "missing")) / "rasters" / "10_spikes-1.mat"
    if not path.is_file():
        print(f"no raster at {path}: set KERAS_CRSAE_DATA")
        return None
    held = loadmat(path)
    result = neural_events.fit_events(
        held["train"], bin_ms=1, kernel_ms=60, conditions=held["direction"].ravel(), window_ms=(-1000, 1000),
        parameters=neural_events.EventParameters(first_kernels="spike", baseline="psth", rounds=0, steps=200,
                                                 learning_rate=0.03, first_penalty=0.1, smoothness=1e-4,
                                                 folds=2 if args.short else 5))
    scores = result.held_out
    named = {"events on the PSTH": scores.model, "PSTH of the direction": scores.psth,
             "PSTH times the trial's gain": scores.trial_gain, "constant rate": scores.constant}
    rows, data = [], []
    for name, values in named.items():
        rest = values - scores.psth
        error = rest.std(ddof=1) / np.sqrt(len(rest))
        rows.append((name, f"{values.mean():.2f}", f"{rest.mean():+.2f} +- {error:.2f}", f"{np.mean(rest > 0):.0%}"))
        data.append({"rate": name, "mean": float(values.mean()), "above_psth": float(rest.mean()),
                     "error": float(error), "trials": values.tolist()})
    data.append({"psth_width_ms": scores.psth_width_ms, "kernel": result.kernels.ravel().tolist()})
    headers = ("rate", "nats a held-out trial", "above the PSTH", "trials above it")
    return common.report("neural_events", args, headers, rows, data,
                         f"50 trials of 2 s in bins of 1 ms, PSTH under {scores.psth_width_ms:g} ms")


if __name__ == "__main__":
    main()
