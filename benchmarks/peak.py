"""Share of the machine's matrix-product peak, real-time factor, and the encoder against the plain forms, 1-D and 2-D.

Useful arithmetic of an encoder: D and D^T, one multiplication and one addition each for every kernel sample, filter,
position and iteration, 4 * K * filters * N * iterations. Peak: the best large float32 product TensorFlow reaches on
the same threads, in the same run.
"""

import math
import tempfile
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks import common
from benchmarks.reference_implementations import keras_encoder, torch_encoder

SAMPLES, FILTERS, SIZE, ITERATIONS = 300_000, 3, 45, 60
RATE, REAL_TIME_ITERATIONS = 30_000, 100
AGAINST = ("times CRsAE's time", "times that by XLA")
IMAGE, IMAGE_FILTERS, IMAGE_SIZE, IMAGE_ITERATIONS = 256, 64, 7, 30


def matrix_peak(repeats):
    """Best float32 flops a second of square products of three sizes, inputs held as tensors."""
    import tensorflow as tf

    best = 0.0
    for size in (1024, 2048, 4096):
        a, b = (tf.random.normal((size, size), seed=s) for s in (1, 2))
        product = tf.function(tf.matmul, jit_compile=False)
        product(a, b).numpy()
        took = common.alternate({"product": lambda product=product, a=a, b=b: product(a, b)[0, 0].numpy()}, repeats)
        best = max(best, 2 * size**3 / took["product"]["minimum"])
    return best


def measure(encoders, signal, repeats, budget):
    """Codes are compared, which also warms up, then the encoders are timed in turn."""
    codes = {name: encode(signal) for name, encode in encoders.items()}
    reference = codes.pop("CRsAE")
    differences = {"CRsAE": 0.0, **common.check_same(reference, codes)}
    times = common.alternate({name: lambda e=e: e(signal) for name, e in encoders.items()}, repeats, budget)
    return {name: {**times[name], "difference": differences[name], "nonzero": float(np.mean(reference != 0))}
            for name in times}


def ours_and_keras(filters, lambda_reg, iterations, shape, strides=1):
    """The model, and encoders by name: ours and plain Keras, each compiled by TensorFlow's graph and by XLA."""
    model, _ = common.encoder_model(filters, iterations, lambda_reg, strides)
    by_xla, _ = common.encoder_model(filters, iterations, lambda_reg, strides, xla=True)
    step = float(model.step_size)  # the same step gives the same iterates, so that codes can be compared
    plain_form = partial(keras_encoder, filters, lambda_reg, iterations, shape, strides, step=step)
    return model, {"CRsAE": model.encode, "CRsAE, XLA": by_xla.encode, "plain Keras, loop": plain_form(),
                   "plain Keras, unrolled": plain_form(unroll=True), "plain Keras, XLA": plain_form(xla=True)}


def against(times, name):
    """Times of ours that one encoder takes: of the default, and of XLA's."""
    return [f"{times[name]['median'] / times[ours]['median']:.2f}" for ours in ("CRsAE", "CRsAE, XLA")]


def one_dimension(arguments, peak, repeats, budget):
    signal, templates, _ = common.recording(SAMPLES // RATE)
    filters = templates[:SIZE] / np.linalg.norm(templates[:SIZE], axis=(0, 1))
    signal = signal[None, :, None]
    model, encoders = ours_and_keras(filters, 4.0, ITERATIONS, signal.shape)
    extra = []
    try:
        encoders["plain PyTorch"] = torch_encoder(filters, 4.0, ITERATIONS, arguments.threads,
                                                        step=float(model.step_size))
    except ImportError:
        extra = [["plain PyTorch", *[""] * 5, common.NOT_INSTALLED]]
    times = measure(encoders, signal, repeats, budget)
    peak = max(peak, matrix_peak(5))  # before and after the encoders: the better one counts
    work = 4 * SIZE * FILTERS * SAMPLES * ITERATIONS
    rows = [[name, common.seconds(t["median"]), f"{work / t['median'] / 1e9:.1f}", f"{work / t['median'] / peak:.3f}",
             *against(times, name), f"difference {t['difference']:.0e}"]
            for name, t in times.items()]
    title = (f"{SAMPLES} samples, {FILTERS} filters of {SIZE}, {ITERATIONS} iterations; "
             f"peak {peak / 1e9:.0f} GFLOP/s")
    return common.report("peak", arguments, ["encoder", "median", "useful GFLOP/s", "share of peak",
                                             *AGAINST, "note"], rows + extra,
                         {"times": times, "peak": peak, "useful_flops": work}, title)


def without_tensorflow(model):
    """``encode`` of the model's exported file with ``active=True``."""
    from crsae_onnx import SparseEncoder
    from crsae_onnx.convert import convert

    with tempfile.TemporaryDirectory() as folder:
        return SparseEncoder(convert(model, Path(folder) / "encoder.onnx"), active=True).encode


def real_time(arguments, repeats, budget):
    signal, templates, origin = common.recording(10)
    filters, signal = templates.astype("float32"), signal[None, :, None]
    encoders, rows, notes = {}, [], {}
    for name, options in (("CRsAE", {}), ("CRsAE, XLA", {"xla": True}), ("CRsAE, active", {"active": True})):
        model, missing = common.encoder_model(filters, REAL_TIME_ITERATIONS, **options)
        if missing:
            rows.append([name, "", "", f"this release has no {', '.join(missing)}"])
            continue
        encoders[name] = partial(model.encode, signal)
        if options.get("active"):
            encoders["SparseEncoder, active"] = partial(without_tensorflow(model), signal)
    for name, encode in encoders.items():  # warms up, too
        notes[name] = f"remaining {model.convergence(signal, encode()).remaining.max():.0e}, {origin}"
    data = common.alternate(encoders, repeats, budget)
    rows = [[name, common.seconds(t["median"]), f"{10 / t['median']:.1f}", notes[name]]
            for name, t in data.items()] + rows
    return common.report("peak", arguments, ["encoder", "median of 10 s", "times real time", "note"], rows, data,
                         f"30 kHz, three units of {len(filters)}, {REAL_TIME_ITERATIONS} iterations")


def two_dimensions(arguments, stride, repeats, budget):
    rng = np.random.default_rng(0)
    filters = common.unit_filters((IMAGE_SIZE, IMAGE_SIZE, 1, IMAGE_FILTERS))
    image = np.add.outer(np.sin(np.arange(IMAGE) / 9), np.cos(np.arange(IMAGE) / 7)) * 4
    image = (image + rng.standard_normal(image.shape)).astype("float32")[None, ..., None]
    _, encoders = ours_and_keras(filters, 2.0, IMAGE_ITERATIONS, image.shape, stride)
    times = measure(encoders, image, repeats, budget)
    positions = math.prod(-(-(IMAGE - IMAGE_SIZE) // stride) + 1 for _ in range(2))
    work = 4 * IMAGE_SIZE**2 * IMAGE_FILTERS * positions * IMAGE_ITERATIONS
    rows = [[name, common.seconds(t["median"]), f"{work / t['median'] / 1e9:.1f}",
             *against(times, name), f"difference {t['difference']:.0e}"]
            for name, t in times.items()]
    return common.report("peak", arguments, ["encoder", "median", "useful GFLOP/s", *AGAINST, "note"], rows,
                         {"times": times, "useful_flops": work},
                         f"{IMAGE}x{IMAGE}, {IMAGE_FILTERS} filters {IMAGE_SIZE}x{IMAGE_SIZE}, stride {stride}, "
                         f"{IMAGE_ITERATIONS} iterations")


def main():
    arguments = common.parser(__doc__).parse_args()
    common.limit_threads(arguments.threads)
    described = common.machine(arguments.threads)
    repeats, budget = (3, 8.0) if arguments.short else (11, 60.0)
    peak = matrix_peak(5)
    sections = [one_dimension(arguments, peak, repeats, budget), real_time(arguments, repeats, budget),
                two_dimensions(arguments, 1, repeats, budget), two_dimensions(arguments, 5, repeats, budget)]
    common.save("peak", arguments, described, sections)


if __name__ == "__main__":
    main()
