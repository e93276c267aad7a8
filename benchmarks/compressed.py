"""Learning from compressed measurements, after RandNet (arXiv 1908.09258): ``python -m benchmarks.compressed``.

Recovery: signals of 100 samples are sums of 4 of 60 atoms; each is seen through 50 random sums. A dictionary of errors
near .45 learns from them, by matrices that change from batch to batch, and by one matrix for all.

Digits: 4,000 images of 28 x 28 to learn from, 1,000 to test, each seen through 50 % or 30 % as many random sums as it
has pixels, the matrix another one in each batch. A linear classifier (scikit-learn) learns from the codes.
"""

import csv
import gzip
import os
import time
from pathlib import Path

import numpy as np

from benchmarks import common

SAMPLES, MEASUREMENTS, ATOMS, ACTIVE, SIGNALS = 100, 50, 60, 4, 4000
FRACTIONS = (1.0, 0.5, 0.3)
PIXELS, LEARN, FILTERS, PENALTY, BATCH = (28, 28, 1), 4000, 400, 0.5, 100
MATRICES = 40


def main(arguments=None):
    """Measure and write the tables."""
    parser = common.parser(__doc__.splitlines()[0], threads=1)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--only", choices=("recovery", "digits"), help="one table alone")
    args = parser.parse_args(arguments)
    common.limit_threads(args.threads)
    described = common.machine(args.threads)
    tables = {"recovery": recovery, "digits": digits}
    sections = [make(args) for name, make in tables.items() if args.only in (None, name)]
    common.save("compressed" if args.only is None else f"compressed_{args.only}", args, described,
                [section for section in sections if section])


def gaussian_matrices(count, rows, columns, seed):
    """Random matrices whose columns have norm 1, (count, rows, columns)."""
    found = np.random.default_rng(seed).standard_normal((count, rows, columns)).astype("float32")
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def recovery(args):
    """Error of a dictionary that learns from half as many measurements as samples."""
    rows, data = [], []
    for name, count in (("one for each batch", MATRICES), ("one for all", 1), ("none: the samples", 0)):
        errors = np.array([recover(count, seed, 2 if args.short else args.epochs)
                           for seed in range(1 if args.short else args.seeds)])
        rows.append([name, *(f"{error:.3f}" for error in errors.mean(axis=0))])
        data.append({"matrices": name, "errors": errors.tolist()})
    return common.report("compressed", args, ("matrices", "error at first", "after learning"), rows, data,
                         f"{MEASUREMENTS} measurements of {SAMPLES} samples, {ATOMS} atoms")


def recover(count, seed, epochs):
    """(error at first, error after learning) with ``count`` matrices, 0 for none."""
    import keras

    import keras_crsae as kc
    from keras_crsae.problem import Matrix

    rng = np.random.default_rng(seed)
    atoms = rng.standard_normal((SAMPLES, 1, ATOMS))
    atoms /= np.linalg.norm(atoms, axis=0)
    codes = np.zeros((SIGNALS, ATOMS))
    for code in codes:
        active = rng.choice(ATOMS, ACTIVE, replace=False)
        code[active] = rng.uniform(1, 2, ACTIVE) * rng.choice([-1, 1], ACTIVE)
    signals = codes @ atoms[:, 0].T
    first = atoms + 0.05 * rng.standard_normal(atoms.shape)  # of errors near .45
    matrices = gaussian_matrices(count, MEASUREMENTS, SAMPLES, seed) if count else np.eye(SAMPLES)[None]
    measurement = Matrix(matrices if count > 1 else matrices[0], signal_shape=(SAMPLES, 1))
    model = kc.CRsAE(ATOMS, SAMPLES, iterations=60, code_prior="soft", sigma=1.0, lambda_init=0.1, lambda_learning=None,
                     gradient="decoder", measurement=measurement, seed=seed)
    model.set_dictionary(first)
    steps = SIGNALS // BATCH
    rate = keras.optimizers.schedules.CosineDecay(1e-2, epochs * steps)
    model.compile(keras.optimizers.Adam(rate))
    before = mean_error(kc, atoms, model)
    model.fit(dataset(signals, matrices, (MEASUREMENTS if count else SAMPLES, 1), seed), epochs=epochs,
              steps_per_epoch=steps, verbose=0)
    return before, mean_error(kc, atoms, model)


def mean_error(kc, atoms, model):
    """Mean error of the atoms, without regard to order and sign."""
    learned = np.asarray(model.dictionary.kernel)[None, :, 0]  # samples as channels: no shift
    return float(np.mean(kc.metrics.dictionary_error(atoms[None, :, 0], learned)))


def dataset(signals, matrices, shape, seed):
    """Batches for ever, in random order, batch i seen through matrix i of the stack, and so on from its beginning.

    ``operator`` is one number for a batch: Keras asks generators for one a signal, datasets may have either.
    """
    import tensorflow as tf

    stack = len(matrices) > 1

    def batches():
        rng, number = np.random.default_rng(seed), 0
        while True:
            order = rng.permutation(len(signals))
            for start in range(0, len(order) - BATCH + 1, BATCH):
                operator = number % len(matrices)
                measured = (signals[order[start:start + BATCH]] @ matrices[operator].T).astype("float32")
                measured = measured.reshape(BATCH, *shape)
                yield {"signal": measured, "operator": np.int32(operator)} if stack else measured
                number += 1

    signal = tf.TensorSpec((BATCH, *shape), tf.float32)
    return tf.data.Dataset.from_generator(
        batches, output_signature={"signal": signal, "operator": tf.TensorSpec((), tf.int32)} if stack else signal)


def read_digits():
    """(images (5000, 784) in [0, 1], labels), in random order."""
    path = Path(os.environ.get("KERAS_CRSAE_DATA", "")) / "digits" / "mnist_5k.csv.gz"
    if not path.is_file():
        raise SystemExit(f"The digits are not there: {path}. Set KERAS_CRSAE_DATA to the folder of the data.")
    with gzip.open(path, "rt") as file:
        table = np.array(list(csv.reader(file)), dtype=float)
    order = np.random.default_rng(0).permutation(len(table))
    return table[order, :-1] / 255, table[order, -1].astype(int)


def digits(args):
    """Accuracy of a linear classifier on the codes of digits that are seen through few sums of their pixels."""
    images, labels = read_digits()
    rows, data, whole = [], [], None
    for fraction in FRACTIONS:
        began = time.perf_counter()
        codes, sparsity = digit_codes(images, fraction, 1 if args.short else args.epochs)
        accuracy = classify(codes, labels)
        whole = accuracy if whole is None else whole
        rows.append([f"{fraction:.0%}", f"{accuracy:.3f}", f"{100 * (whole - accuracy):+.1f}", f"{sparsity:.0f}"])
        data.append({"fraction": fraction, "accuracy": accuracy, "nonzero": sparsity,
                     "seconds": time.perf_counter() - began})
        print(data[-1], flush=True)
    pixels = classify(images, labels)
    rows.append(["pixels, no codes", f"{pixels:.3f}", f"{100 * (whole - pixels):+.1f}", ""])
    return common.report("compressed", args, ("measurements", "accuracy", "points lost", "non-zero codes"), rows,
                         [*data, {"pixels": pixels}], f"{FILTERS} atoms, penalty {PENALTY}")


def digit_codes(images, fraction, epochs):
    """Codes of all images by a model that learned on the first 4,000, and their non-zero values an image."""
    import keras

    import keras_crsae as kc
    from keras_crsae.problem import Matrix

    size, rng = images.shape[1], np.random.default_rng(1)
    count = MATRICES if fraction < 1 else 1
    matrices = gaussian_matrices(count, round(fraction * size), size, 2) if fraction < 1 else np.eye(size)[None]
    measurement = Matrix(matrices if count > 1 else matrices[0], signal_shape=PIXELS)
    model = kc.CRsAE(FILTERS, PIXELS[:2], rank=2, iterations=40, sigma=1.0, lambda_init=PENALTY, lambda_learning=None,
                     gradient="decoder", measurement=measurement, seed=0)
    chosen = rng.choice(LEARN, FILTERS, replace=False)  # first filters: digits through a matrix and back
    back = np.stack([matrices[i % count].T @ (matrices[i % count] @ images[k]) for i, k in enumerate(chosen)])
    model.set_dictionary(np.moveaxis(back.reshape(-1, *PIXELS), 0, -1))
    steps = LEARN // BATCH
    model.compile(keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(5e-3, epochs * steps)))
    model.has_rate_prior = False  # lambda does not learn: no second pass for it
    folder = Path("build/compressed")
    folder.mkdir(parents=True, exist_ok=True)
    history = model.fit(dataset(images[:LEARN], matrices, (matrices.shape[1], 1, 1), 0), epochs=epochs,
                        steps_per_epoch=steps, verbose=0)
    print(fraction, [round(v, 4) for v in history.history["loss"]], flush=True)
    model.save(folder / f"digits_{round(100 * fraction)}.keras") if count == 1 else \
        model.save_weights(folder / f"digits_{round(100 * fraction)}.weights.h5")
    codes = []
    for number, start in enumerate(range(0, len(images), BATCH)):
        operator = number % count
        measured = images[start:start + BATCH] @ matrices[operator].T
        codes.append(model.encode(measured, **({"operator": operator} if count > 1 else {})).reshape(-1, FILTERS))
    codes = np.concatenate(codes)
    return codes, float(np.count_nonzero(codes) / len(codes))


def classify(features, labels):
    """Accuracy of logistic regression on the last 1,000, its penalty chosen within the first 4,000."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import MaxAbsScaler

    model = make_pipeline(MaxAbsScaler(), LogisticRegression(max_iter=300))
    search = GridSearchCV(model, {"logisticregression__C": [0.1, 0.3, 1.0]}, cv=3)
    search.fit(features[:LEARN], labels[:LEARN])
    return float(search.score(features[LEARN:], labels[LEARN:]))


if __name__ == "__main__":
    main()
