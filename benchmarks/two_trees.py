"""The speed of two checkouts, row by row: encoders, training steps, an epoch, and the convolutional baseline.

``python -m benchmarks.two_trees OTHER_CHECKOUT``: each checkout runs in a process of its own and both are asked in turn
for one call of the same row, so that a change of the machine's load meets both. Reported is this checkout's time over
the other's: of the medians, of the best quarter, and the median over the pairs. It needs an idle machine; two processes
of one checkout differ by up to 5 %, so believe a smaller difference when it comes again with the checkouts exchanged.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from benchmarks import common

HERE = Path(__file__).resolve().parents[1]
#: Marks the lines of a worker among what libraries print.
_ANSWER = "@"
_IMAGES, _SIDE = 4, 128
RATIOS = ("medians", "best quarters", "pairs")


def rows(names=()):
    """Name of a row -> one call of it, warm; ``names`` empty: all."""
    import keras

    from benchmarks import peak, training

    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    signal, filters = training.data(1)
    signals, _ = training.data(4)
    image = rng.standard_normal((1, peak.IMAGE, peak.IMAGE, 1)).astype("float32")
    image_filters = rng.standard_normal((peak.IMAGE_SIZE, peak.IMAGE_SIZE, 1, peak.IMAGE_FILTERS)).astype("float32")

    def encoder(values, kernel, iterations, **options):
        model, _ = common.encoder_model(kernel, iterations, training.LAMBDA, **options)
        return lambda: model.encode(values)

    def step(mode, xla=False):
        model = training.crsae(mode, filters, signal, xla=xla)
        return lambda: model.train_on_batch(signal)

    def epochs():
        model = training.crsae("decoder", filters, signal)
        return lambda: model.fit(signals, batch_size=training.WINDOWS, epochs=2, verbose=0)

    recording = signals.reshape(1, -1, 1)
    makers = {"encode, 1-D": lambda: encoder(recording, filters, training.ITERATIONS),
              "encode, 1-D, XLA": lambda: encoder(recording, filters, training.ITERATIONS, xla=True),
              "encode, 2-D": lambda: encoder(image, image_filters, peak.IMAGE_ITERATIONS)}
    makers |= {f"training step, {mode}": lambda mode=mode: step(mode) for mode in training.MODES}
    makers |= {"training step, decoder, XLA": lambda: step("decoder", xla=True), "two epochs of fit": epochs,
               "LCSC, training step": lambda: _lcsc(rng, train=True), "LCSC, encode": lambda: _lcsc(rng, train=False)}
    made = {name: make() for name, make in makers.items() if not names or name in names}
    for call in made.values():
        call()
        call()
    return made


def _lcsc(rng, train):
    import keras

    try:
        from keras_crsae.models import LCSC
    except ImportError:  # checkouts before the packages
        from keras_crsae.baselines import LCSC

    model = LCSC(64, 8, strides=4, rank=2, iterations=15, training_shifts=4, sigma=1.0, lambda_init=1.0, seed=0)
    images = rng.standard_normal((_IMAGES, _SIDE, _SIDE, 1)).astype("float32")
    model.adapt(images)
    model.compile(keras.optimizers.Adam(1e-3), keras.optimizers.Adam(1e-3))
    return (lambda: model.train_on_batch(images, images)) if train else (lambda: model.encode(images))


def work(names):
    """Answer each line of the standard input, a row's name, with the seconds of one call."""
    calls = rows(names)
    print(_ANSWER + json.dumps(list(calls)), flush=True)
    for line in sys.stdin:
        start = time.perf_counter()
        calls[line.strip()]()
        print(_ANSWER + json.dumps(time.perf_counter() - start), flush=True)


class Worker:
    """A process that runs the rows with the sources of one checkout."""

    def __init__(self, tree, names):
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(tree), str(tree / "export")))}
        # -P: this file's own folder is not searched, so that `benchmarks`, too, is the checkout's.
        self.process = subprocess.Popen([sys.executable, "-P", __file__, "--worker", *names], cwd=tree,
                                        env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.names = self._answer()

    def seconds(self, name):
        """Of one call of a row."""
        self.process.stdin.write(name + "\n")
        self.process.stdin.flush()
        return self._answer()

    def close(self):
        """End the process."""
        self.process.stdin.close()
        self.process.wait()

    def _answer(self):
        for line in self.process.stdout:
            if line.startswith(_ANSWER):
                return json.loads(line[len(_ANSWER):])
        raise RuntimeError(f"The process of a checkout ended with code {self.process.wait()}; its messages are above.")


def alternate(workers, name, calls):
    """Median seconds of a row in both checkouts, and the ``ratios``."""
    times = np.zeros((calls, 2))
    for call in range(calls):
        for which in (0, 1) if call % 2 else (1, 0):
            times[call, which] = workers[which].seconds(name)
    return {"seconds": np.median(times, axis=0).tolist(), **ratios(times)}


def measure(trees, names, rounds, calls):
    """Rows of every round, {name: [result of a round]}; ``trees``: this checkout and the other."""
    results = {}
    for turn in range(rounds):
        workers = [None, None]
        for which in (0, 1) if turn % 2 else (1, 0):
            workers[which] = Worker(trees[which], names)
        for name in workers[0].names:
            results.setdefault(name, []).append(alternate(workers, name, calls))
        for worker in workers:
            worker.close()
    return results


def summary(results):
    """Geometric means of a row's ratios over its rounds, mean seconds, and the range of the ratio of medians."""
    first = [result[RATIOS[0]] for result in results]
    return {"seconds": np.mean([result["seconds"] for result in results], axis=0).tolist(),
            **{kind: float(np.exp(np.mean(np.log([result[kind] for result in results])))) for kind in RATIOS},
            "range": [min(first), max(first)]}


def ratios(times):
    """This checkout's time over the other's, of (calls, 2) seconds: of medians, of the best quarters, of pairs."""
    best = np.sort(times, axis=0)[:max(1, len(times) // 4)].mean(axis=0)
    median = np.median(times, axis=0)
    pairs = np.median(times[:, 0] / times[:, 1])
    return dict(zip(RATIOS, map(float, (median[0] / median[1], best[0] / best[1], pairs)), strict=True))


def main():
    """Alternate, print, and store."""
    parser = common.parser(__doc__.splitlines()[0])
    parser.add_argument("tree", type=Path, help="folder of the other checkout")
    parser.add_argument("--rows", nargs="+", default=(), help="these alone, by name")
    parser.add_argument("--calls", type=int, default=12, help="of a row, in each checkout and round")
    parser.add_argument("--rounds", type=int, default=4, help="with new processes; an even number")
    arguments = parser.parse_args()
    common.limit_threads(arguments.threads)
    described = common.machine(arguments.threads)
    calls = max(2, arguments.calls // 4) if arguments.short else arguments.calls
    results = measure((HERE, arguments.tree.resolve()), arguments.rows, arguments.rounds, calls)
    data = {name: summary(rounds) for name, rounds in results.items()}
    table = [[name, *map(common.seconds, row["seconds"]), *(f"{row[kind]:.3f}" for kind in RATIOS),
              "{:.3f} to {:.3f}".format(*row["range"])] for name, row in data.items()]
    headers = ("row", "here", "there", "ratio of medians", "of best quarters", "median of pairs", "rounds")
    common.save("two_trees", arguments, described, [common.report("two_trees", arguments, headers, table, data)])


if __name__ == "__main__":
    if "--worker" in sys.argv[1:2]:
        work(sys.argv[2:])
    else:
        main()
