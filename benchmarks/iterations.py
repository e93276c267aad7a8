"""How many iterations are enough? What is left of the objective's drop, and of the code's error, after 5 to 1,000.

Nothing is timed, so a busy machine does no harm. Spikes are simulated; the images are patches of a photograph that
ships with scikit-image (extra ``images``; without it those rows say so).
"""

import numpy as np

from benchmarks import common

ITERATIONS = (5, 10, 20, 40, 60, 100, 200, 400, 1000)
TOLERANCES = (1e-2, 1e-3, 1e-4)
#: Iterations of the code that the others are measured against; its own duality gap is printed.
REFERENCE = 4000
HEADERS = ("iterations or tolerance", "drop left", "bound (`remaining`)", "error of D z", "error of the code")


def spikes(short):
    """Three units in white noise of sd 1, the true templates, lambda 4: (model, signals)."""
    from keras_crsae.data.simulate import simulate_spikes, spike_templates

    filters = spike_templates(45, 3)
    made = simulate_spikes(filters, windows=2 if short else 6, samples=10_000, events_per_window=5, sigma=1.0, seed=0)
    return common.encoder_model(filters, 5)[0], made.signal


def images(strides, short):
    """Patches of a noisy photograph less their slow part, 64 cosines of 8 x 8, lambda 2 / sigma: (model, patches)."""
    from keras_crsae.applications.denoising import split_low_pass
    from keras_crsae.data import gray_photograph, random_patches
    from keras_crsae.demo.photograph import NOISE
    from keras_crsae.initializers import dct_filters

    rng = np.random.default_rng(0)
    photograph = gray_photograph("camera.png")
    noisy = photograph + NOISE * rng.standard_normal(photograph.shape).astype("float32")
    # In units of the noise, as encoder_model's sigma is 1.
    patches = random_patches([split_low_pass(noisy[None])[1][0] / np.float32(NOISE)], (64, 64), 2 if short else 6, rng)
    model, _ = common.encoder_model(dct_filters((8, 8), 1, 64), 5, 2.0, strides=strides, shrinkage="soft")
    return model, patches


CASES = {
    "spikes, 3 filters of 45": spikes,
    "image patches, 64 of 8 x 8, stride 4": lambda short: images(4, short),
    "image patches, 64 of 8 x 8, stride 1": lambda short: images(1, short),
}


def measure(model, signal, iterations, reference):
    """Rows of iterations and of tolerances: what is left of the drop, its bound, relative errors of D z and code."""
    zero = 0.5 * np.sum(np.square(signal, dtype=np.float64))

    def run(count, tolerance=None):
        model.encoder.iterations, model.encoder.tolerance = count, tolerance
        code = model.encode(signal)
        return code, model.convergence(signal, code)

    best, reached = run(reference)
    drop = zero - reached.objective.sum()
    made = model.decode(best)

    def row(code, at):
        return {"left": float((at.objective - reached.objective).sum() / drop),
                "bound": float(at.gap.sum() / max(zero - at.objective.sum(), 1e-30)),
                "reconstruction": float(np.linalg.norm(model.decode(code) - made) / np.linalg.norm(made)),
                "code": float(np.linalg.norm(code - best) / np.linalg.norm(best))}

    counted = {n: row(*run(n)) for n in iterations}
    stopped = {t: row(*run(reference, t)) for t in TOLERANCES}
    return {"certified": float(reached.gap.sum() / drop), "iterations": counted, "tolerance": stopped}


def main():
    arguments = common.parser(__doc__).parse_args()
    common.limit_threads(arguments.threads)
    described, sections = common.machine(arguments.threads), []
    iterations = ITERATIONS[:6] if arguments.short else ITERATIONS
    for name, case in CASES.items():
        try:
            found = measure(*case(arguments.short), iterations, 1000 if arguments.short else REFERENCE)
        except ModuleNotFoundError as error:
            print(f"\n{name}: left out. {error}")
            continue
        rows = [[str(key), *(f"{value:.1e}" for value in r.values())]
                for kind in ("iterations", "tolerance") for key, r in found[kind].items()]
        sections.append(common.report(
            "iterations", arguments, HEADERS, rows, found,
            f"{name}; measured against a code certified to {found['certified']:.0e} of the drop"))
    common.save("iterations", arguments, described, sections)


if __name__ == "__main__":
    main()
