"""PSNR against minutes of training for several denoisers: ``python -m benchmarks.denoising_curves``.

Each configuration is trained at sigma 25 on ``train400`` for the same few minutes, its learning rate falling to zero
within them. Its weights are put aside on the way and scored afterwards, outside the clock, on every eighth image of
``set68`` with eight shifts: enough to compare, not the figures of the whole set. A configuration that was run is read
from its file.
"""

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from benchmarks import common, image_scores

ROOT = Path(__file__).parent.parent
SIGMA, SHIFTS, EVERY, MARKS = 25 / 255, 8, 8, 6
#: Where the warm start takes its filters from: learned from noisy images alone, in ten minutes outside this clock.
WARM = "em-unsupervised-gray"
#: The model that the figure shows the end of.
ZOO = "crsae-gray-25"


@dataclass(frozen=True)
class Configuration:
    """What is trained; ``warm`` begins with the filters of ``WARM`` in place of a discrete cosine transform's."""

    filters: int = 128
    kernel_size: int = 12
    strides: int = 6
    iterations: int = 10
    training_shifts: int = 4
    learning_rate: float = 0.005
    warm: bool = False


#: Each departs from the first, the zoo's, in what its name says.
CONFIGURATIONS = {
    "128 of 12 x 12, stride 6, 10 iterations, 4 shifts, rate .005": Configuration(),
    "64 of 8 x 8, stride 4": Configuration(filters=64, kernel_size=8, strides=4),
    "64 filters": Configuration(filters=64),
    "5 iterations": Configuration(iterations=5),
    "1 shift": Configuration(training_shifts=1),
    "rate .02": Configuration(learning_rate=0.02),
    "rate .001": Configuration(learning_rate=0.001),
    "144 filters, from EM's": Configuration(filters=144, warm=True),
}


def main(arguments=None):
    """Train what was not, score, and write table and figure."""
    parser = common.parser(__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=2.5, help="of training for each configuration")
    parser.add_argument("--only", type=int, nargs="+", choices=range(len(CONFIGURATIONS)),
                        help="numbers of configurations to train now; the table shows all that were")
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "denoising-curves", help="folder of what was run")
    parser.add_argument("--figure", type=Path, default=ROOT / "docs" / "figures" / "denoising-curves.png")
    args = parser.parse_args(arguments)
    common.limit_threads(args.threads)
    described = common.machine(args.threads)
    minutes = 0.5 if args.short else args.minutes
    results = {}
    for number, (name, configuration) in enumerate(CONFIGURATIONS.items()):
        chosen = args.only is None or number in args.only
        result = run(configuration, minutes, args.work, chosen)
        if result is not None:
            results[name] = result
        if chosen:
            print(f"{name}: {results[name]['curve'][-1]['psnr']:.2f} dB", flush=True)
    section = common.report("denoising_curves", args, HEADERS, [row(*each) for each in results.items()], results,
                            f"{minutes:g} minutes of training each, sigma 25")
    if not args.short:
        curves = {name: made["curve"] for name, made in results.items()}
        reference = score(image_scores.load(ZOO))
        section["data"] = {**results, "reference": {"model": ZOO, "psnr": reference}}
        draw(curves, {f"{ZOO}, 25 minutes": reference}, args.figure)
    common.save("denoising_curves", args, described, [section])


HEADERS = ("configuration", "parameters", "steps", "a third of the time", "two thirds", "the end",
           "processor minutes")


def row(name, made):
    """One line of the table."""
    curve = made["curve"]
    shown = [curve[len(curve) * part // 3 - 1]["psnr"] for part in (1, 2, 3)]
    return (name, made["parameters"], curve[-1]["step"], *(f"{psnr:.2f}" for psnr in shown),
            f"{made['cpu_minutes']:.1f}")


def run(configuration, minutes, folder, train=True):
    """What one configuration gave, from its file where it is there; None where it is not and ``train`` is False."""
    facts = {**asdict(configuration), "minutes": minutes}
    path = Path(folder) / ("-".join(f"{value:g}" for value in facts.values()) + ".json")
    if path.exists():
        return json.loads(path.read_text())
    if not train:
        return None
    started = time.process_time()
    model, snapshots = fit(configuration, minutes)
    spent = time.process_time() - started
    result = {"configuration": facts, "cpu_minutes": spent / 60,
              "parameters": sum(int(np.prod(v.shape)) for v in model.trainable_variables),
              "curve": [{"step": step, "minutes": at, "psnr": score(model, weights)}
                        for step, at, weights in snapshots]}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=1) + "\n")
    return result


def fit(configuration, minutes):
    """The trained model, and (step, minutes, weights) at up to ``MARKS`` times of its training, its end the last."""
    import keras

    from benchmarks.train_zoo import train_folder
    from keras_crsae.applications.denoising import DenoiserTraining, train_denoiser

    options = {key: value for key, value in asdict(configuration).items() if key != "warm"}
    model = warm(options) if configuration.warm else None
    snapshots, began = [], time.monotonic()

    def note(*_):
        at, live = (time.monotonic() - began) / 60, callback.model
        reached = int(MARKS * at / minutes)
        if reached > callback.reached:
            callback.reached = reached
            snapshots.append((int(live.optimizer.iterations), at, live.get_weights()))

    callback = keras.callbacks.LambdaCallback(on_epoch_end=note)
    callback.reached = 0
    made = train_denoiser(train_folder(), sigma=SIGMA, steps=None, minutes=minutes, model=model, callbacks=[callback],
                          settings=DenoiserTraining(lambda_learning_rate=0.01, **options), verbose=0)
    return made, snapshots


def warm(options):
    """An untrained ``Denoiser`` whose encoder and decoder hold the filters that EM learned."""
    from keras_crsae import zoo
    from keras_crsae.models.denoiser import Denoiser

    options = {key: value for key, value in options.items() if key != "learning_rate"}
    model = Denoiser(**options, tied=False, sigma=1.0, lambda_init=1.5, lambda_learning="backprop", unroll=True, seed=0)
    learned = zoo.load_model_from_zoo(WARM)
    model.set_dictionary(np.asarray(learned.dictionary.unit_kernel()))
    model.adapt(np.random.default_rng(0).standard_normal((4, 60, 60, 1)).astype(np.float32))
    return model


def score(model, weights=None):
    """Mean PSNR over some of the test images, with the weights of one moment, or the model's own."""
    from keras_crsae.applications.denoising import denoise
    from keras_crsae.metrics import psnr

    if weights is not None:
        model.set_weights(weights)
    some = list(image_scores.noisy_pairs("set68", SIGMA))[::EVERY]
    return float(np.mean([psnr(clean, denoise(noisy, model, sigma=SIGMA, shifts=SHIFTS)) for _, clean, noisy in some]))


def draw(curves, reference, path):
    """The figure: one line a configuration, and a height for each of ``reference``."""
    from keras_crsae.plots import plot_curves

    figure = plot_curves({name: ([p["minutes"] for p in curve], [p["psnr"] for p in curve])
                          for name, curve in curves.items()}, reference,
                         title="Nine images of set68, sigma 25, eight shifts")
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
