"""Every model of the zoo: its exported file in onnxruntime against Keras ``predict``, and its cold start.

Images of 512 x 512 pixels, or signals of as many samples, in batches of one and four. Cold start is a fresh process:
Python, import, load, first answer for 128 samples an axis. --record writes the figures into ``metadata.json`` of each
model, and onto the cards of denoisers.
"""

import json
import subprocess
import sys
import time

import numpy as np

from benchmarks import common

SIZE, BATCHES = 512, (1, 4)
COLD = """
import sys
import numpy as np
from crsae_onnx import SparseEncoder
encoder = SparseEncoder(sys.argv[1])
side, info = (128,) * encoder.info["rank"], encoder.info
answer = encoder.encode if "code" in info["outputs"] else encoder.reconstruct
assert np.isfinite(answer(np.random.default_rng(0).standard_normal((1, *side, info["channels"])))).all()
"""


def cold_start(path, runs):
    """Seconds of fresh processes that encode once: [shortest, median]."""
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", COLD, str(path)], check=True)
        times.append(time.perf_counter() - start)
    return [min(times), float(np.median(times))]


def measure(name, arguments):
    """Table rows and figures of one model."""
    from crsae_onnx import SparseEncoder

    from keras_crsae import zoo

    model, path = zoo.load_model_from_zoo(name), zoo.path_of(name, zoo.ENCODER)
    encoder = SparseEncoder(path, threads=arguments.threads)
    repeats, budget = (5, 5.0) if arguments.short else (21, 30.0)
    cold = cold_start(path, 3 if arguments.short else 7)
    rows, figures = [], {"cold_start": cold}
    space = (SIZE, SIZE) if encoder.info["rank"] == 2 else (SIZE * SIZE,)
    for batch in BATCHES:
        shape = (batch, *space, encoder.info["channels"])
        signal = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
        ways = same_work(model, encoder, signal)
        difference = float(np.abs(ways["ONNX"]() - ways["Keras"]()).max() / np.abs(ways["Keras"]()).max())
        if not difference < 1e-4:
            raise RuntimeError(f"{name}: onnxruntime and Keras differ by {difference:.1e}: no times of different work.")
        times = common.alternate(ways, repeats, budget)
        speed = times["Keras"]["median"] / times["ONNX"]["median"]
        figures[str(batch)] = {"speed": speed, "difference": difference, **times}
        rows.append([name, batch, common.seconds(times["Keras"]["median"]), common.seconds(times["ONNX"]["median"]),
                     f"{speed:.2f}", common.seconds(cold[1])])
    return rows, figures


def same_work(model, encoder, signal):
    """{name: function} of the same values from Keras and from the file: reconstructions, or a sorter's codes."""
    if not encoder.whitening_inside:
        return {"Keras": lambda: model.predict(signal, batch_size=len(signal), verbose=0),
                "ONNX": lambda: encoder.reconstruct(signal)}
    from crsae_onnx.core.spikes.detector import SpikeReader

    whitening = SpikeReader.from_json(encoder.info["spikes"]).whitening
    encoder.level.active = False
    recordings = 4 * signal / np.std(whitening(signal[0], 0, len(signal[0])))  # so loud that there are codes

    def from_keras():
        return model.encode(np.stack([whitening(recording, 0, len(recording)) for recording in recordings]))

    return {"Keras": from_keras, "ONNX": lambda: encoder.encode(recordings)}


def record(name, figures, described):
    """Write the figures into a model's folder: ``metadata.json``, and the card of a denoiser."""
    from benchmarks import poisson_card, zoo_card
    from keras_crsae import zoo

    path = zoo.path_of(name, zoo.METADATA)
    facts = {**json.loads(path.read_text()), "runtime": {**figures, "machine": described}}
    path.write_text(json.dumps(facts, indent=1) + "\n")
    card = poisson_card.card if name == poisson_card.NAME else zoo_card.card
    if facts["task"].startswith("denoise") or name == poisson_card.NAME:
        zoo.path_of(name, zoo.CARD).write_text(card(facts, zoo.load_model_from_zoo(name)))


def main():
    parser = common.parser(__doc__)
    parser.add_argument("--record", action="store_true", help="write the figures into the models' folders")
    parser.add_argument("--models", nargs="+", help="names of the zoo (default: all of it)")
    arguments = parser.parse_args()
    common.limit_threads(arguments.threads)
    described = common.machine(arguments.threads)
    from keras_crsae import zoo

    rows, data = [], {}
    for name in arguments.models or zoo.names():
        made, data[name] = measure(name, arguments)
        rows += made
        if arguments.record:
            record(name, data[name], described)
    section = common.report("zoo_runtime", arguments, ["model", "batch", "Keras predict", "onnxruntime",
                                                       "speed against Keras", "cold start"], rows, data,
                            f"{SIZE} x {SIZE} pixels or samples, medians")
    common.save("zoo_runtime", arguments, described, [section])


if __name__ == "__main__":
    main()
