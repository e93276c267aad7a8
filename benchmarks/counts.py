"""What counts cost: encoding and training steps with the Poisson and binomial likelihoods against the Gaussian.

``python -m benchmarks.counts``: models of the same shape take turns in one process, and the ratio is that of their
processor time, which other work on the machine disturbs less than the time that passes. A Poisson iteration has a step
size a signal, that is accepted or halved; a binomial one has a fixed step and a sigmoid.
"""

import statistics
import time

import numpy as np

from benchmarks import common

#: Name -> shape of the counts, filters, kernel size, strides, iterations.
SHAPES = {"signals (16, 2048), 8 filters of 45": ((16, 2048, 1), 8, (45,), 1, 60),
          "recording (1, 100000), 3 filters of 45": ((1, 100000, 1), 3, (45,), 1, 60),
          "images (4, 96, 96), 64 filters of 7 x 7": ((4, 96, 96, 1), 64, (7, 7), 1, 15),
          "images (4, 128, 128), 64 filters of 8 x 8, stride 4": ((4, 128, 128, 1), 64, (8, 8), 4, 15)}
LIKELIHOODS = ("gaussian", "poisson", "binomial")
MODES = ("encode", "decoder", "truncated", "unrolled")


def calls(shape, filters, kernel_size, strides, iterations):
    """(work, likelihood) -> one call of it: an encode, or a training step with that ``gradient``."""
    import keras

    import keras_crsae as kc

    counts = np.random.default_rng(0).poisson(2.0, shape).astype("float32")
    made = {}
    for likelihood in LIKELIHOODS:
        sizes = {"binomial": dict(trials=20)}.get(likelihood, {})
        for mode in MODES:
            model = kc.CRsAE(filters, kernel_size, strides=strides, iterations=iterations, likelihood=likelihood,
                             lambda_init=3.0, gradient="decoder" if mode == "encode" else mode, seed=0, **sizes)
            model.adapt(counts)
            model.compile(keras.optimizers.Adam(1e-4))
            made[mode, likelihood] = (lambda model=model: model.encode(counts)) if mode == "encode" else \
                (lambda model=model: model.train_on_batch(counts))
    return made


def processor_time(made, rounds):
    """Median processor seconds of each call, all taking turns."""
    times = {key: [] for key in made}
    for call in made.values():
        call()
        call()
    for _ in range(rounds):
        for key, call in made.items():
            start = time.process_time()
            call()
            times[key].append(time.process_time() - start)
    return {key: statistics.median(values) for key, values in times.items()}


def main():
    parser = common.parser(__doc__.splitlines()[0])
    parser.add_argument("--shapes", nargs="+", default=tuple(SHAPES), help="these alone, by the beginning of the name")
    arguments = parser.parse_args()
    common.limit_threads(arguments.threads)
    described, rows, data = common.machine(arguments.threads), [], {}
    for name, sizes in SHAPES.items():
        if not name.startswith(tuple(arguments.shapes)):
            continue
        seconds = processor_time(calls(*sizes), 3 if arguments.short else 12)
        for mode in MODES:
            of = {likelihood: seconds[mode, likelihood] for likelihood in LIKELIHOODS}
            ratios = {likelihood: of[likelihood] / of["gaussian"] for likelihood in LIKELIHOODS[1:]}
            data[f"{name}, {mode}"] = {"seconds": of, "ratios": ratios}
            work = mode if mode == "encode" else f"training step, {mode}"
            rows.append([name, work, *map(common.seconds, of.values()), *(f"{v:.2f}" for v in ratios.values())])
    headers = ("shape", "work", *LIKELIHOODS, "Poisson / Gaussian", "binomial / Gaussian")
    common.save("counts", arguments, described, [common.report("counts", arguments, headers, rows, data)])


if __name__ == "__main__":
    main()
