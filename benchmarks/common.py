"""What every benchmark shares: threads, timing, tables, JSON, the machine's description."""

import argparse
import inspect
import json
import logging
import os
import platform
import re
import statistics
import subprocess
import sys
import time
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

import numpy as np

RESULTS = Path(__file__).parent / "results"
PACKAGES = ("numpy", "scipy", "tensorflow", "keras", "onnxruntime", "tf2onnx", "torch", "numba", "alphacsc", "sporco",
            "cvxpy", "clarabel", "osqp", "spikeinterface", "mountainsort5")
#: What a row of a missing peer says.
NOT_INSTALLED = "not installed (pip install 'keras-crsae[bench]')"
#: Seconds before each timed call.
PAUSE = 0.05
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS",
                     "TF_NUM_INTRAOP_THREADS")


def no_options(documentation):
    """Answer ``--help``, and refuse options, of a script that has none: without it, --help would start the work."""
    style = argparse.RawDescriptionHelpFormatter
    argparse.ArgumentParser(description=documentation, formatter_class=style).parse_args()


def parser(description, threads=None):
    """Command line that every script has; ``threads`` None means all cores."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    made.add_argument("--short", action="store_true", help="small sizes, few repetitions: a few minutes at most")
    made.add_argument("--threads", type=int, default=threads or os.cpu_count(), help="cores that every competitor gets")
    made.add_argument("--output", type=Path, default=RESULTS, help="folder of the JSON file")
    return made


def limit_threads(count):
    """Give this process ``count`` cores, before TensorFlow, PyTorch or a BLAS starts.

    The affinity mask is what binds every library, whatever it reads; the variables keep their pools from holding
    more threads than cores.
    """
    if "tensorflow" in sys.modules or "torch" in sys.modules:
        raise RuntimeError("limit_threads came after TensorFlow or PyTorch was imported; their thread pools are fixed. "
                           "Call it first.")
    if count < 1 or count > os.cpu_count():
        raise ValueError(f"`threads` must lie between 1 and {os.cpu_count()} on this machine. Received: {count}")
    for name in _THREAD_VARIABLES:
        os.environ[name] = str(count)
    os.environ["TF_NUM_INTEROP_THREADS"] = str(count)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    logging.getLogger("tensorflow").setLevel(logging.ERROR)  # it warns of many graphs; a search makes many
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:count])


def machine(threads):
    """The machine and the software, as plain data for the JSON file."""
    cpu = platform.processor() or "unknown"
    if Path("/proc/cpuinfo").exists():
        names = re.findall(r"^model name\s*:\s*(.*)$", Path("/proc/cpuinfo").read_text(), re.M)
        cpu = names[0] if names else cpu
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 0
    return {"cpu": cpu, "cores": os.cpu_count(), "threads": threads, "memory_gib": round(memory / 2**30, 1),
            "system": f"{platform.system()} {platform.machine()}", "python": platform.python_version(),
            "versions": versions, "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
            # A busy machine spoils a timing; the load at the start shows it.
            "load_at_start": [round(v, 2) for v in os.getloadavg()] if hasattr(os, "getloadavg") else None}


def alternate(functions, repeats=5, budget=60.0):
    """Time functions in turn, A, B, A, B, so that a drift of the machine meets all of them alike.

    Before each comes a pause: OpenMP's threads (PyTorch, SciPy) spin for a while after their work, in the next one's
    time otherwise.

    Args:
        functions: dict of name -> callable without arguments, warmed up already.
        repeats: rounds.
        budget: seconds after which one function joins no further round; each runs at least once.

    Returns:
        dict of name -> {"median", "minimum", "runs"}, seconds.
    """
    times = {name: [] for name in functions}
    for _ in range(repeats):
        for name, function in functions.items():
            if times[name] and sum(times[name]) + min(times[name]) > budget:
                continue
            time.sleep(PAUSE)
            start = time.perf_counter()
            function()
            times[name].append(time.perf_counter() - start)
    return {name: {"median": statistics.median(t), "minimum": min(t), "runs": len(t)} for name, t in times.items()}


def exponent(sizes, seconds):
    """Slope of log(seconds) over log(sizes): 1 for a linear method."""
    return float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])


def smallest_effort(efforts, reached, guess=None):
    """First entry of ``efforts`` (ascending) for which ``reached`` holds; None if there is none.

    ``reached`` is taken as monotone. The search starts at ``guess`` (None: the lowest), gallops from there, then
    halves: high efforts may take minutes and are not tried for nothing.
    """
    start, step, last = efforts.index(guess) if guess in efforts else 0, 1, len(efforts) - 1
    if reached(efforts[start]):
        low, high = start - 1, start
        while low >= 0 and reached(efforts[low]):
            low, high, step = max(low - 2 * step, -1), low, 2 * step
    else:
        low, high = start, min(start + 1, last)
        while low != last and not reached(efforts[high]):
            low, high, step = high, min(high + 2 * step, last), 2 * step
        if low == last:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if reached(efforts[middle]) else (middle, high)
    return efforts[high]


def seconds(value):
    """A time with a unit, three digits."""
    return f"{value * 1e3:.3g} ms" if value < 1 else f"{value:.3g} s"


def table(headers, rows):
    """A Markdown table as text."""
    cells = [[str(c) for c in row] for row in (headers, *rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(headers))]
    lines = ["| " + " | ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) + " |" for row in cells]
    return "\n".join([lines[0], "|" + "|".join("-" * (w + 2) for w in widths) + "|", *lines[1:]])


def report(question, arguments, headers, rows, data, title=""):
    """Print a table; the JSON file is written once, by ``save``."""
    print(f"\n{question}{': ' + title if title else ''} ({arguments.threads} thread(s)"
          f"{', short' if arguments.short else ''})\n\n{table(headers, rows)}", flush=True)
    return {"title": title, "headers": headers, "rows": [[str(c) for c in row] for row in rows], "data": data}


def save(question, arguments, described, sections, part=""):
    """Write ``<question>.json`` (with ``_<part>``, ``-short``) and the machine; says what it replaced."""
    arguments.output.mkdir(parents=True, exist_ok=True)
    path = arguments.output / f"{question}{part and '_' + part}{'-short' if arguments.short else ''}.json"
    replaced = path.exists()
    options = {k: _portable(v) if isinstance(v, Path) else v for k, v in vars(arguments).items() if k != "output"}
    path.write_text(json.dumps({"question": question, "options": options, "machine": described,
                                "sections": sections}, indent=1) + "\n")
    print(f"\nwrote {path}{' (replaced the earlier one)' if replaced else ''}", flush=True)
    return path


def _portable(path):
    """A path without the folders of this machine: from the repository's root, or its last part."""
    root = RESULTS.parent.parent.resolve()
    return path.resolve().relative_to(root).as_posix() if path.resolve().is_relative_to(root) else path.name


def child(module, *arguments):
    """Run ``python -m module`` in a fresh process and return the JSON of its last line: thread pools are set once."""
    done = subprocess.run([sys.executable, "-m", module, *map(str, arguments)], capture_output=True, text=True,
                          cwd=Path(__file__).parent.parent, check=False)
    if done.returncode:
        raise RuntimeError(f"{module} {' '.join(map(str, arguments))} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def supported(function, options):
    """(options that ``function`` takes, names it does not know): peers and releases differ in their arguments."""
    known = inspect.signature(function).parameters
    return {k: v for k, v in options.items() if k in known}, [k for k in options if k not in known]


def unit_filters(shape, seed=0):
    """Random smooth filters of unit norm, float32 (*kernel_size, channels, filters)."""
    rng = np.random.default_rng(seed)
    filters = rng.standard_normal(shape)
    for axis in range(len(shape) - 2):
        filters = filters + np.roll(filters, 1, axis)
    return (filters / np.sqrt(np.sum(filters**2, axis=tuple(range(len(shape) - 1))))).astype("float32")


def encoder_model(filters, iterations, lambda_reg=4.0, strides=1, xla=False, **options):
    """A CRsAE of given filters with sigma 1 and a fixed lambda; also the names of options this release lacks."""
    import keras_crsae as kc

    rank = filters.ndim - 2
    options, missing = supported(kc.CRsAE.__init__, options)
    model = kc.CRsAE(filters.shape[-1], filters.shape[:rank], strides=strides, rank=rank, iterations=iterations,
                     sigma=1.0, lambda_init=lambda_reg, **options)
    model.set_dictionary(filters)
    if xla:
        model.compile(jit_compile=True)
    return model, missing


def check_same(reference, others, tolerance=1e-3):
    """Largest difference to the reference code, relative to its largest value; another problem is an error."""
    scale, differences = np.abs(reference).max(), {}
    if not 0 < np.count_nonzero(reference) < reference.size:
        raise RuntimeError("The code is all zero or nowhere zero: equal codes would prove nothing. Change lambda.")
    for name, code in others.items():
        differences[name] = float(np.abs(code - reference).max() / scale)
        if not differences[name] <= tolerance:
            raise RuntimeError(f"{name} computes another code: relative difference {differences[name]:.1e}, "
                               f"tolerated {tolerance:.0e}. Its time would compare different work.")
    return differences


def recording(duration):
    """Signal (samples,) in units of the noise sd, unit-norm templates (time, 1, units), where they came from.

    ``spikes/single_white.npz`` of the folder KERAS_CRSAE_DATA names, else a simulated recording like it.
    """
    folder = os.environ.get("KERAS_CRSAE_DATA")
    path = Path(folder) / "spikes" / "single_white.npz" if folder else None
    if path is not None and path.is_file():
        with np.load(path) as stored:
            count = int(duration * int(stored["fs"]))
            signal = stored["traces_int16"][:count, 0].astype("float32") * np.float32(stored["gain"])
            templates = np.moveaxis(stored["templates"], 0, -1).astype("float64")
        if len(signal) < count:
            raise ValueError(f"{path.name} holds {len(signal)} samples; {duration} s at 30 kHz ask for {count}.")
        return signal, templates / np.linalg.norm(templates, axis=(0, 1)), "spikes/single_white.npz, true templates"
    from keras_crsae.data.simulate import simulate_spikes, spike_templates

    print("KERAS_CRSAE_DATA names no folder with spikes/single_white.npz: a simulated recording is used instead, "
          "whose figures are not those of benchmarks/README.md.", flush=True)
    filters = spike_templates(61, 3)
    made = simulate_spikes(filters, windows=1, samples=int(duration * 30000), events_per_window=16 * duration,
                           amplitude=(14.0, 2.0))
    return made.signal[0, :, 0], filters, "simulated, true templates"
