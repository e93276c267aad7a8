"""ONNX Runtime against Keras; the exported Loop against an unrolled graph; conversion, load time, file size.

300,000 samples, 3 filters of 45, 60 iterations, and the same encoder with 400. The unrolled graph is the plain
conv/conv_transpose encoder through tf2onnx: what ``model.export(format="onnx")`` of a plain unrolled model gives.
400 unrolled iterations take minutes to convert; --short unrolls 20.
"""

import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks import common
from benchmarks.reference_implementations import momenta

SAMPLES, FILTERS, SIZE, LAMBDA = 300_000, 3, 45, 4.0


def timed(function):
    start = time.perf_counter()
    made = function()
    return made, time.perf_counter() - start


def unrolled_file(filters, iterations, step, path):
    """The plain encoder, unrolled, as an ONNX file with a dynamic time axis."""
    import tensorflow as tf
    import tf2onnx
    from keras import ops

    def encode(signal):
        code = w = ops.zeros_like(ops.conv(signal, filters, padding="valid"))
        for factor in momenta(iterations):
            residual = ops.conv_transpose(w, filters, padding="valid") - signal
            new = ops.relu(w - step * ops.conv(residual, filters, padding="valid") - step * LAMBDA)
            w, code = new + factor * (new - code), new
        return tf.identity(code, name="code")

    signature = [tf.TensorSpec((None, None, 1), tf.float32, name="signal")]
    tf2onnx.convert.from_function(tf.function(encode, input_signature=signature), signature, opset=18,
                                  output_path=str(path))
    return path


def session(path, threads):
    """An onnxruntime session of any file, on this run's threads."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, 3
    made = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda signal: made.run(None, {"signal": signal})[0]


def compare(iterations, filters, signal, arguments, unrolled, folder):
    """Rows of conversion, load, size and speed for one number of iterations."""
    from crsae_onnx import SparseEncoder
    from crsae_onnx.convert import convert

    model, _ = common.encoder_model(filters, iterations)
    path = Path(folder) / f"loop{iterations}.onnx"
    _, converting = timed(lambda: convert(model, path, outputs=("code",)))
    encoder, loading = timed(lambda: SparseEncoder(path))
    by_xla, _ = common.encoder_model(filters, iterations, xla=True)
    encoders = {"Keras": model.encode, "Keras, XLA": by_xla.encode, "ONNX": encoder.encode}
    facts = {"Keras": {}, "Keras, XLA": {},
             "ONNX": {"convert": converting, "load": loading, "bytes": path.stat().st_size}}
    if unrolled:
        path = Path(folder) / f"unrolled{iterations}.onnx"
        _, converting = timed(lambda: unrolled_file(filters, iterations, float(model.step_size), path))
        encoders["ONNX, plain unrolled"], loading = timed(lambda: session(path, arguments.threads))
        facts["ONNX, plain unrolled"] = {"convert": converting, "load": loading, "bytes": path.stat().st_size}
    reference = model.encode(signal)
    differences = common.check_same(reference, {name: encode(signal) for name, encode in encoders.items()})
    for name, difference in differences.items():
        facts[name]["difference"] = difference
    repeats, budget = (3, 10.0) if arguments.short else (11, 60.0)
    times = common.alternate({n: lambda e=e: e(signal) for n, e in encoders.items()}, repeats, budget)
    rows = []
    for name, fact in facts.items():
        made = [common.seconds(fact["convert"]), common.seconds(fact["load"]), f"{fact['bytes'] / 2**20:.3f} MiB"] \
            if "convert" in fact else ["", "", ""]
        rows.append([name, common.seconds(times[name]["median"]),
                     f"{times['Keras']['median'] / times[name]['median']:.2f}", *made, f"{fact['difference']:.0e}"])
        fact.update(times[name])
    return common.report("onnx_runtime", arguments, ["form", "median", "speed against Keras", "convert", "load",
                                                     "size", "difference"], rows, facts,
                         f"{signal.shape[1]} samples, {FILTERS} filters of {SIZE}, {iterations} iterations")


def main():
    arguments = common.parser(__doc__).parse_args()
    common.limit_threads(arguments.threads)
    described = common.machine(arguments.threads)
    recorded, templates, _ = common.recording(SAMPLES // 30_000)
    filters = (templates[:SIZE] / np.linalg.norm(templates[:SIZE], axis=(0, 1))).astype("float32")
    signal = recorded[None, :, None]
    with tempfile.TemporaryDirectory() as folder:
        # Unrolled graphs convert slowly: --short unrolls 20 iterations only.
        wanted = {20: True, 60: False, 400: False} if arguments.short else {60: True, 400: True}
        sections = [compare(n, filters, signal, arguments, unrolled, folder) for n, unrolled in wanted.items()]
    common.save("onnx_runtime", arguments, described, sections)


if __name__ == "__main__":
    main()
