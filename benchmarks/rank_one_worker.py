"""One competitor of ``benchmarks.rank_one`` in a process of its own: ``python -m benchmarks.rank_one_worker NAME``.

``--folder`` holds the data, ``data-<competitor>.npz``, and receives ``<competitor>.npz``: filters after each round,
with the seconds until then. Peaks of memory are printed as JSON. Nothing is imported that the competitor does not need.
"""

import argparse
import json
import re
import resource
import sys
import time
from contextlib import nullcontext
from pathlib import Path

import numpy as np

from benchmarks import common

#: Positions within which ``run_refit`` takes one event of a filter.
REFIT_DISTANCE = 4


def run_alphacsc(path, threads, rounds):
    """``BatchCDL(rank1=True)`` with locally greedy coordinate descent, as its examples have it."""
    import warnings

    warnings.simplefilter("ignore")
    from alphacsc.learn_d_z_multi import learn_d_z_multi  # what BatchCDL calls; it takes a callback

    data = started(path)
    signal, first = data["signal"], np.concatenate([data["maps"], data["courses"]]).T
    scale, found = signal.std(), []

    def note(z_encoder, pobj):
        found.append((*spent(), np.array(z_encoder.D_hat)))

    options = dict(reg=float(data["reg"]) / scale, lmbd_max="fixed", n_iter=rounds, eps=1e-6, rank1=True,
                   uv_constraint="separate", solver_z="lgcd", solver_z_kwargs={"tol": 1e-3, "max_iter": 10**6},
                   solver_d="alternate_adaptive", solver_d_kwargs={"max_iter": 50}, D_init=first, verbose=0,
                   random_state=0, n_jobs=threads)
    learn_d_z_multi(signal, first.shape[0], data["courses"].shape[0], callback=note, **options)
    channels = signal.shape[1]
    return [(cpu, wall, atoms[:, :channels].T, atoms[:, channels:].T) for cpu, wall, atoms in found]


def run_crsae(path, threads, rounds):
    """``CRsAE(kernel_rank=1)``: EM with the code held, Adam with a falling rate, lambda fixed."""
    import keras

    import keras_crsae as kc

    data = started(path)
    signal, (kernel, filters) = data["signal"], data["courses"].shape
    batch = max(1, len(signal) // 8)
    steps = rounds * -(-len(signal) // batch)
    model = kc.CRsAE(filters, kernel, kernel_rank=1, iterations=100, gradient="decoder", sigma=1.0, seed=0,
                     lambda_init=float(data["reg"]), lambda_learning=None)
    model.set_dictionary(data["courses"][:, None] * data["maps"])
    model.compile(keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(4e-2, steps, alpha=0.02)))
    found = []

    class Note(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            found.append((*spent(), model.dictionary.maps, model.dictionary.time_courses))

    recentre = kc.callbacks.RecentreFilters(within=0.5, until=2 * rounds // 3)
    model.fit(signal, epochs=rounds, batch_size=batch, verbose=0, callbacks=[recentre, Note()])
    return found


def run_refit(path, threads, rounds):
    """What follows to recover the filters: they learn from one event at a time, its amplitude refitted.

    At its optimum an l1 penalty shares an event among neighbouring positions, which blurs edges, and blurred filters
    lower the objective further.
    """
    import keras

    import keras_crsae as kc

    data = started(path)
    with np.load(path.parent / "keras-crsae.npz") as stored:
        maps, courses = stored["maps"][-1], stored["courses"][-1]
    signal, batch = data["signal"], max(1, len(data["signal"]) // 8)
    steps = rounds * -(-len(signal) // batch)
    model = kc.CRsAE(courses.shape[1], courses.shape[0], kernel_rank=1, iterations=100, gradient="decoder", sigma=1.0,
                     seed=0, lambda_init=float(data["reg"]), lambda_learning=None, refit_distance=REFIT_DISTANCE)
    model.set_dictionary(courses[:, None] * maps)
    model.compile(keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(1.5e-2, steps, alpha=0.05)))
    model.fit(signal, epochs=rounds, batch_size=batch, verbose=0)
    return [(*spent(), model.dictionary.maps, model.dictionary.time_courses)]


RUNS = {"alphacsc": run_alphacsc, "keras-crsae": run_crsae}
_START = []


def started(path=None):
    """The clocks begin: libraries are imported. Returns the data of ``path``."""
    before = _memory()
    with np.load(path) if path else nullcontext({}) as stored:
        data = dict(stored)
    _START[:] = [_cpu(), time.perf_counter(), before]
    return data


def spent():
    """Seconds of processor and clock since ``started``, of this process and its children."""
    return _cpu() - _START[0], time.perf_counter() - _START[1]


def _cpu():
    return sum(usage.ru_utime + usage.ru_stime for usage in map(
        resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)))


def _memory():
    """Peak of this process, MB; of Linux' own note, since the other one begins with the peak of the parent."""
    status = Path("/proc/self/status")
    if status.exists():
        return int(re.search(r"^VmHWM:\s*(\d+) kB", status.read_text(), re.M)[1]) / 1e3
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)


def hour(sizes):
    """Learn from and encode an hour of many channels: seconds and the peak of memory."""
    import keras

    import keras_crsae as kc

    rng = np.random.default_rng(0)
    signal = rng.standard_normal((1, sizes["samples"], sizes["channels"]), dtype=np.float32)
    started()
    model = kc.CRsAE(sizes["filters"], sizes["kernel"], kernel_rank=1, iterations=30, gradient="decoder", sigma=1.0,
                     seed=0, code_prior="soft", lambda_learning=None)
    windows = signal.reshape(-1, sizes["window"], sizes["channels"])
    model.adapt(windows, init="windows")
    model.compile(keras.optimizers.Adam(1e-2))
    model.fit(windows, epochs=1, batch_size=16, verbose=0)
    learned = spent()
    code = model.encode(signal)
    return {"learned": learned, "encoded": spent(), "memory_mb": _memory(), "signal_mb": signal.nbytes / 1e6,
            "code_mb": code.nbytes / 1e6}


def work(name, threads, rounds, folder):
    """What a process of its own does: ``name`` is a competitor, or "hour"."""
    if name == "hour":
        return hour(json.loads((folder / "hour.json").read_text()))
    run, data = (run_refit, "keras-crsae") if name == "refit" else (RUNS[name], name)
    found = run(folder / f"data-{data}.npz", threads, rounds)
    np.savez(folder / f"{name}.npz", cpu=[f[0] for f in found], wall=[f[1] for f in found],
             maps=np.array([f[2] for f in found]), courses=np.array([f[3] for f in found]))
    return {"memory_mb": _memory(), "before_mb": _START[2]}


def main():
    """Do what the arguments name; the last line printed is JSON."""
    made = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    made.add_argument("name", choices=[*RUNS, "refit", "hour"])
    made.add_argument("--threads", type=int, default=1)
    made.add_argument("--rounds", type=int, default=1)
    made.add_argument("--folder", type=Path, required=True)
    arguments = made.parse_args()
    common.limit_threads(arguments.threads)
    print(json.dumps(work(arguments.name, arguments.threads, arguments.rounds, arguments.folder)))


if __name__ == "__main__":
    main()
