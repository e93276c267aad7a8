"""Filters of rank one against alphacsc: seconds and memory to the same objective, and an hour of 200 channels.

The simulation is that of alphacsc's own benchmarks: triangles, squares and waves of one cycle under its Tukey window,
waves as maps, Bernoulli events of uniform amplitudes, white noise; 128 channels, 5 filters of 128 samples. Both begin
with the same filters and minimise 1/2 ||y - D z||^2 + reg ||z||_1 over z >= 0 and maps and time courses of norm 1, at
the same ``reg``. The objective is computed here, for both alike: the filters of each moment, codes at their optimum.
Each competitor runs in a process of its own, alternated; times are those of its processor and of the clock, from its
first sight of the data.
"""

import json
import subprocess
import sys
import tempfile
from argparse import Namespace
from pathlib import Path

import numpy as np
from scipy.signal.windows import tukey

from benchmarks import common
from benchmarks.common import NOT_INSTALLED, limit_threads, machine, report, save, seconds
from benchmarks.rank_one_worker import REFIT_DISTANCE, RUNS

#: Share above the lowest objective that any competitor reached, at which time is taken.
WITHIN = 1e-3
SHAPES = ("triangle", "square", "sin", "cos", "square cos")
REG = 0.05
#: What memory is measured on: data that weigh as much as the libraries.
LARGE = dict(trials=150, samples=1500, channels=400, filters=5, kernel=48)
HOUR = dict(samples=540_000, channels=200, filters=8, kernel=48, window=1500)


def time_course(shape, samples):
    """One cycle of a shape as in alphacsc's simulations, under its Tukey window, norm 1."""
    phase = (np.arange(samples) + 0.5) / samples
    course = {"triangle": 1 - np.abs(2 * phase - 1), "square": np.where(phase < 0.5, 1.0, -1.0),
              "sin": np.sin(2 * np.pi * phase), "cos": np.cos(2 * np.pi * phase),
              "square cos": np.sign(np.cos(2 * np.pi * phase))}[shape]
    course = (course - course.mean()) * tukey(samples + 2)[1:-1]
    return course / np.linalg.norm(course)


def simulate(trials, samples, channels=128, filters=5, kernel=128, density=0.004, sigma=0.01, seed=0):
    """Signals (trials, samples, channels) float32, maps (channels, filters), time courses (kernel, filters), codes."""
    rng = np.random.default_rng(seed)
    courses = np.stack([time_course(shape, kernel) for shape in SHAPES[:filters]], axis=-1)
    wave = 2 * np.pi * np.arange(channels)[:, None] / channels
    maps = np.cos(wave * (1 + np.arange(filters) // 2) - np.pi / 2 * (np.arange(filters) % 2)) + 0.2
    maps /= np.linalg.norm(maps, axis=0)
    positions = samples - kernel + 1
    code = rng.uniform(0, 1, (trials, positions, filters)) * (rng.random((trials, positions, filters)) < density)
    parts = np.stack([[np.convolve(one[:, c], courses[:, c]) for c in range(filters)] for one in code])
    signal = np.einsum("nct,pc->ntp", parts, maps)
    return (signal + sigma * rng.standard_normal(signal.shape)).astype(np.float32), maps, courses, code


def first_filters(signal, kernel, filters, seed=0):
    """The rank-one filters nearest to strong windows of the data: what both begin with."""
    from keras_crsae.initializers import window_filters
    from keras_crsae.operators.rank_one import nearest_rank_one

    windows = window_filters(signal, (kernel,), filters, np.random.default_rng(seed), energy=True)
    return nearest_rank_one(windows)[:2]


def objective(data, maps, courses):
    """Objective of filters with their best codes, and its duality gap, summed over trials."""
    import keras_crsae as kc

    model = kc.CRsAE(courses.shape[1], courses.shape[0], kernel_rank=1, sigma=1.0, lambda_init=float(data["reg"]),
                     active=True, tolerance=1e-3)
    model.set_dictionary(courses[:, None] * maps)
    found = model.convergence(data["signal"])
    return float(found.objective.sum()), float(found.gap.sum())


class Curve:
    """Objective after each round of a run, computed where it is asked for."""

    def __init__(self, data, run):
        self.data, self.run, self.known = data, run, {}

    def __call__(self, k):
        k = k % len(self.run["cpu"])
        if k not in self.known:
            self.known[k] = objective(self.data, self.run["maps"][k], self.run["courses"][k])[0]
        return self.known[k]

    def first_below(self, value):
        """The first round with an objective of at most ``value``, by bisection; None: not even the last."""
        low, high = 0, len(self.run["cpu"]) - 1
        if self(high) > value:
            return None
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if self(middle) <= value else (middle + 1, high)
        return high


def errors(true, learned):
    """Largest error of maps and of time courses, filters matched by their kernels."""
    from keras_crsae.metrics import dictionary_error, match_filters

    (maps, courses), (own_maps, own_courses) = true, learned
    match = match_filters(courses[:, None] * maps, own_courses[:, None] * own_maps)
    by_map, by_course = [], []
    for i, j in zip(match.true, match.learned, strict=True):
        by_map.append(np.sqrt(max(0.0, 1 - np.dot(maps[:, i], own_maps[:, j]) ** 2 / np.sum(own_maps[:, j] ** 2))))
        by_course.append(dictionary_error(courses[:, None, [i]], own_courses[:, None, [j]])[0])
    return max(by_map), max(by_course)


def least_squares(signal, code, kernel):
    """The rank-one filters nearest to the kernels of least squares from given codes: no method can know more."""
    from keras_crsae.operators.rank_one import nearest_rank_one

    (_, samples, channels), (_, positions, filters) = signal.shape, code.shape
    gram, right = np.zeros((filters * kernel,) * 2), np.zeros((filters * kernel, channels))
    for y, z in zip(signal.astype(np.float64), code, strict=True):
        shifted = np.zeros((samples, filters, kernel))
        for k in range(kernel):
            shifted[k:k + positions, :, k] = z
        shifted = shifted.reshape(samples, -1)
        gram += shifted.T @ shifted
        right += shifted.T @ y
    kernels = np.linalg.solve(gram, right).reshape(filters, kernel, channels)
    return nearest_rank_one(kernels.transpose(1, 2, 0))[:2]


def recovery(arguments, folder, true, floor, kept):
    """Errors of filters: of least squares from the true codes, of each competitor's last, and after the refit."""
    rows = [["least squares from the true codes", "", *(f"{e:.3f}" for e in errors(true, floor))]]
    rows += [[name, seconds(kept[name]["seconds"][-1]), f"{kept[name]['map_error']:.3f}",
              f"{kept[name]['course_error']:.3f}"] for name in RUNS if name in kept]
    process(sys.executable, "refit", arguments, 2 if arguments.short else 8, folder)
    with np.load(folder / "refit.npz") as stored:
        found, cpu = errors(true, (stored["maps"][-1], stored["courses"][-1])), float(stored["cpu"][-1])
    rows.append([f"keras-crsae, then refit_distance={REFIT_DISTANCE}",
                 seconds(kept["keras-crsae"]["seconds"][-1] + cpu), *(f"{e:.3f}" for e in found)])
    headers = ["", "processor", "largest error of maps", "largest error of time courses"]
    return report("rank_one", arguments, headers, rows, {"refit": found, "refit seconds": cpu}, "recovered filters")


def process(python, name, arguments, rounds, folder):
    """The JSON that a process of its own prints; None where the package is missing."""
    command = [python, "-m", "benchmarks.rank_one_worker", name, "--threads", str(arguments.threads), "--rounds",
               str(rounds), "--folder", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parent.parent, check=False)
    if "No module named 'alphacsc'" in done.stderr:
        return None
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def python_of(name, arguments):
    """The interpreter of a competitor."""
    return arguments.alphacsc_python if name == "alphacsc" else sys.executable


def write_data(folder, data):
    """The data as each competitor works on them: alphacsc on (trials, channels, samples) in float64."""
    np.savez(folder / "data-keras-crsae.npz", **data)
    theirs = np.ascontiguousarray(data["signal"].transpose(0, 2, 1), np.float64)
    np.savez(folder / "data-alphacsc.npz", **dict(data, signal=theirs))


def memory(arguments, folder):
    """Peaks of memory on large data, one round of each: filters and codes."""
    signal, maps, courses, _ = simulate(**(dict(LARGE, trials=8) if arguments.short else LARGE))
    write_data(folder, dict(signal=signal, maps=maps, courses=courses, reg=REG))
    rows, kept = [], {}
    for name in RUNS:
        answer = process(python_of(name, arguments), name, arguments, 1, folder)
        if answer is None:
            rows.append([name, NOT_INSTALLED, *[""] * 3])
            continue
        size = signal.nbytes / 1e6 * (2 if name == "alphacsc" else 1)
        grown = answer["memory_mb"] - answer["before_mb"]
        rows.append([name, f"{size:.0f} MB", f"{answer['memory_mb']:.0f} MB", f"{grown:.0f} MB",
                     f"{grown / size:.2f} times the data"])
        kept[name] = {**answer, "data_mb": size}
    headers = ["", "data as it takes them", "peak of memory", "of it beside libraries", ""]
    return [report("rank_one", arguments, headers, rows, kept,
                   f"memory, {len(signal)} trials of {signal.shape[1]} samples, {signal.shape[2]} channels")]


def compare(arguments, folder):
    """The table of both competitors, and that of the filters they recover."""
    sizes = dict(trials=12, samples=1000, channels=32, kernel=64) if arguments.short else dict(trials=24, samples=1500)
    repeats, rounds = (1, {"alphacsc": 8, "keras-crsae": 8}) if arguments.short else (
        arguments.repeats, {"alphacsc": arguments.alphacsc_rounds, "keras-crsae": arguments.rounds})
    signal, maps, courses, code = simulate(**sizes)
    first = first_filters(signal, len(courses), courses.shape[1])
    data = dict(signal=signal, maps=first[0], courses=first[1], reg=REG)
    write_data(folder, data)
    found = {name: [] for name in RUNS}
    for _ in range(repeats):
        for name in RUNS:
            answer = process(python_of(name, arguments), name, arguments, rounds[name], folder)
            if answer is None:
                break
            with np.load(folder / f"{name}.npz") as stored:
                found[name].append({**answer, **{key: stored[key] for key in stored}})
    curves = {name: Curve(data, runs[0]) for name, runs in found.items() if runs}
    lowest = min(curve(-1) for curve in curves.values())
    theirs = curves["alphacsc"](-1) if "alphacsc" in curves else None
    rows, kept = [], {"true": objective(data, maps, courses), "lowest": lowest}
    for name, runs in found.items():
        if not runs:
            rows.append([name, NOT_INSTALLED, *[""] * 7])
            continue
        curve = curves[name]
        reached = curve.first_below((1 + WITHIN) * lowest)
        cpu, wall = ([float(run[key][-1 if reached is None else reached]) for run in runs] for key in ("cpu", "wall"))
        memory = float(np.median([run["memory_mb"] for run in runs]))
        grown = float(np.median([run["memory_mb"] - run["before_mb"] for run in runs]))
        by_map, by_course = errors((maps, courses), (runs[0]["maps"][-1], runs[0]["courses"][-1]))
        same = curve.first_below(theirs) if theirs is not None else None
        until = "" if same is None else seconds(np.median([run["cpu"][same] for run in runs]))
        rows.append([name, seconds(np.median(cpu)) + ("" if reached is not None else " (not reached)"),
                     seconds(np.median(wall)), until, f"{curve(-1):.5g}", f"{by_map:.3f}", f"{by_course:.3f}",
                     f"{memory:.0f} MB", f"{grown:.0f} MB"])
        kept[name] = dict(objective=curve.known, cpu=cpu, wall=wall, seconds=runs[0]["cpu"].tolist(), memory_mb=memory,
                          grown_mb=grown, reached=reached, map_error=by_map, course_error=by_course)
    headers = ["", f"processor, to {WITHIN:.1%} of the lowest objective", "clock",
               "processor, to alphacsc's last objective", "objective at the end",
               "maps' error", "time courses' error", "peak of memory", "of it beside libraries"]
    section = report("rank_one", arguments, headers, rows, kept, "the same objective")
    floor = least_squares(signal, code, len(courses))
    return [section, recovery(arguments, folder, (maps, courses), floor, kept)]


def an_hour(arguments, folder):
    """The table of a long recording of many channels."""
    sizes = dict(HOUR, samples=30_000, channels=40) if arguments.short else HOUR
    (folder / "hour.json").write_text(json.dumps(sizes))
    answer = process(sys.executable, "hour", arguments, 1, folder)
    rows = [[f"{sizes['samples']} samples x {sizes['channels']} channels, {sizes['filters']} filters of "
             f"{sizes['kernel']}", seconds(answer["learned"][1]),
             seconds(answer["encoded"][1] - answer["learned"][1]), f"{answer['memory_mb']:.0f} MB",
             f"{answer['signal_mb']:.0f} MB"]]
    headers = ["an hour", "one epoch", "encode", "peak of memory", "of it the signal"]
    return [report("rank_one", arguments, headers, rows, {**answer, **sizes}, "an hour at 150 Hz")]


#: Parts by the name of their result's file.
PARTS = {"": compare, "memory": memory, "hour": an_hour}


def main():
    made = common.parser(__doc__, threads=1)
    made.add_argument("--repeats", type=int, default=3, help="runs of each")
    made.add_argument("--rounds", type=int, default=16, help="epochs of keras-crsae")
    made.add_argument("--alphacsc-rounds", type=int, default=12, help="iterations of alphacsc")
    made.add_argument("--alphacsc-python", default=sys.executable, help="interpreter that has alphacsc")
    made.add_argument("--part", choices=["same", *filter(None, PARTS)], action="append",
                      help="the same objective, memory, or an hour of many channels (default: all)")
    arguments = made.parse_args()
    limit_threads(arguments.threads)
    described, options = machine(arguments.threads), Namespace(**vars(arguments))
    del options.alphacsc_python  # a path of this machine
    for name, part in PARTS.items():
        if not arguments.part or (name or "same") in arguments.part:
            options.part = [name or "same"]
            with tempfile.TemporaryDirectory() as folder:
                save("rank_one", options, described, part(arguments, Path(folder)), part=name)


if __name__ == "__main__":
    main()
