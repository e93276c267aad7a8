"""Every model of the zoo in onnxruntime on a GPU against the same machine's CPU.

Images of 512 x 512 pixels alone and sixteen together, a minute of recording at 30 kHz. Times are of whole calls:
checks, copies to the GPU and back, windows. "New shape" is a call whose shape differs from that of the last:
convolutions are planned anew. Needs onnxruntime-gpu and NumPy alone: ``PYTHONPATH=export python -m benchmarks.gpu``.
More files may be named, such as one with the output "denoised".
"""

import subprocess
import time
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks import common

MODELS = Path(__file__).parent.parent / "models"
SIDE, MINUTE = 512, 30_000 * 60


def device():
    """Name and memory of the first GPU, by its driver."""
    asked = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader", "--id=0"]
    return subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()


def call(encoder):
    """What a user of this file calls, and its name."""
    if "denoised" in encoder.info["outputs"]:
        return (lambda y: encoder.denoise(y, 25 / 255)), "denoise"
    return (encoder.encode, "encode") if encoder.info["rank"] == 1 else (encoder.reconstruct, "reconstruct")


def measure(path, arguments):
    """A file's name, table rows and figures."""
    from crsae_onnx import SparseEncoder
    from crsae_onnx.runtime import sessions

    ways = {"CPU": SparseEncoder(path, providers=[sessions.CPU], threads=arguments.threads), "GPU": SparseEncoder(path)}
    if ways["GPU"].provider != sessions.CUDA:
        raise SystemExit(f"No GPU runs here; the session went to {ways['GPU'].provider}.")
    info = ways["GPU"].info
    name = info.get("name") or path.stem
    runs = {way: call(encoder)[0] for way, encoder in ways.items()}
    called = call(ways["GPU"])[1]
    batches = (1, 16) if info["rank"] == 2 else (1,)
    space = (SIDE, SIDE) if info["rank"] == 2 else (MINUTE // (10 if arguments.short else 1),)
    rows, figures = [], {}
    for batch in batches:
        shape = (batch, *space, info["channels"])
        size = " x ".join(map(str, shape))
        figures[size] = found = compare(name, runs, info, shape)
        times = [common.seconds(found[way]["median"]) for way in ways]
        rows.append([name, called, size, *times, f"{found['speed']:.1f}",
                     common.seconds(found["new shape"]), f"{found['difference']:.0e}"])
    return name, rows, figures


def compare(name, runs, info, shape):
    """Times of both on white noise of a shape, and how much what they made differs."""
    signal = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    signal *= 0.3 if info["rank"] == 2 else 10 * info["sigma"]
    made = {way: run(signal) for way, run in runs.items()}
    difference = float(np.abs(made["GPU"] - made["CPU"]).max() / np.abs(made["CPU"]).max())
    if not difference < 1e-4:
        raise RuntimeError(f"{name}: GPU and CPU differ by {difference:.1e}: no times of different work.")
    times = common.alternate({way: partial(run, signal) for way, run in runs.items()}, 5, 10.0)
    start = time.perf_counter()
    runs["GPU"](signal[:, :-info["strides"][0]])  # one position fewer
    fresh = time.perf_counter() - start
    return {"difference": difference, "speed": times["CPU"]["median"] / times["GPU"]["median"], "new shape": fresh,
            **times}


def main():
    parser = common.parser(__doc__)
    parser.add_argument("files", nargs="*", type=Path, help="exported files beside those of the zoo")
    arguments = parser.parse_args()
    common.limit_threads(arguments.threads)
    import onnxruntime  # the packages onnxruntime and onnxruntime-gpu share a name: this one runs

    described = {**common.machine(arguments.threads), "gpu": device()}
    described["versions"]["onnxruntime"] = onnxruntime.__version__
    rows, data = [], {}
    for path in [*sorted(MODELS.glob("*/encoder.onnx")), *arguments.files]:
        name, made, figures = measure(path, arguments)
        data[name] = figures
        rows += made
    arguments.files = [path.name for path in arguments.files]
    headers = ["model", "call", "signal", "CPU", "GPU", "speed against CPU", "new shape", "difference"]
    section = common.report("gpu", arguments, headers, rows, data, "medians; difference to the CPU")
    common.save("gpu", arguments, described, [section])


if __name__ == "__main__":
    main()
