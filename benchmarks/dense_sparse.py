"""Dense and sparse filters against sparse ones alone, at a fixed lambda: ``python -m benchmarks.dense_sparse``.

Two denoisers of images that differ in one thing: 63 sparse filters and 1 dense, or 64 sparse (Tasissa, Theodosis,
Tolooshams, Ba, Dense and sparse coding: theory and architectures, arXiv 2006.09534; the sizes are theirs). Both are
trained end to end on ``images/train400`` of the folder that KERAS_CRSAE_DATA names, same seed, steps, crops and noise,
and measured on the first ten images of its ``set68`` with all 25 shifts. Training goes on from its checkpoints where it
was stopped.
"""

import os
import sys
import time
from pathlib import Path

from benchmarks import common

ROOT = Path(__file__).parent.parent
#: Kernel, stride, iterations and the number of all filters are those of the paper; so is lambda, .16 in images of
#: [0, 1] at sigma 25 / 255, which is 1.6 in units of the noise.
FILTERS, SIGMA = 64, 25 / 255
SETTINGS = dict(kernel_size=7, strides=5, iterations=15, tied=True, training_shifts=4, crop_pixels=60, batch_size=4,
                lambda_learning=None, lambda_init_over_sigma=1.6, learning_rate=5e-3)
VARIANTS = {"sparse": 0, "dense and sparse": 1}
#: PSNR of the weights that the authors stored, run through our own forward pass (same ten images, one seed).
AUTHORS = {"sparse": 27.80, "dense and sparse": 28.00}


def main(arguments=None):
    """Train what is not trained yet, measure, write the result."""
    parser = common.parser(__doc__.splitlines()[0], threads=1)
    parser.add_argument("--steps", type=int, default=900)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--variant", choices=VARIANTS, help="train this one alone, without measuring")
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "dense_sparse", help="folder of the checkpoints")
    args = parser.parse_args(arguments)
    if args.short:
        args.steps = min(args.steps, 20)
    common.limit_threads(args.threads)
    if args.variant:
        _train(args.variant, args)
        return None
    described, rows, data = common.machine(args.threads), [], {}
    for name in VARIANTS:
        data[name] = _measured(_train(name, args), args)
        rows.append((name, f"{FILTERS - VARIANTS[name]} + {VARIANTS[name]}", data[name]["steps"],
                     f"{data[name]['minutes']:.1f}", f"{data[name]['psnr']:.2f}", f"{AUTHORS[name]:.2f}"))
    headers = ("model", "sparse + dense filters", "steps", "minutes", "PSNR (dB)", "the authors' weights (dB)")
    section = common.report("dense_sparse", args, headers, rows, data, "sigma 25, fixed lambda")
    return common.save("dense_sparse", args, described, [section])


def _train(name, args):
    from keras_crsae.applications.denoising import DenoiserTraining, train_denoiser

    dense = VARIANTS[name]
    options = {"dense_filters": dense} if dense else {}
    settings = DenoiserTraining(filters=FILTERS - dense, model_options=options, **SETTINGS)
    args.work.mkdir(parents=True, exist_ok=True)
    checkpoint = args.work / f"{name.replace(' ', '_')}-{args.steps}-{args.seed}.keras"
    return train_denoiser(_folder("train400"), SIGMA, steps=args.steps, seed=args.seed, settings=settings,
                          checkpoint=checkpoint)


def _measured(model, args):
    from benchmarks import image_scores

    start = time.process_time()
    shifts, images = (2, 1) if args.short else (None, 10)
    scores = image_scores.score(model, "set68", SIGMA, shifts, limit=images)
    record = model.training_record
    return {**scores, "steps": record["steps"], "minutes": record["minutes"],
            "training": record["history"], "scored_in_seconds": time.process_time() - start}


def _folder(name):
    folder = os.environ.get("KERAS_CRSAE_DATA")
    path = Path(folder) / "images" / name if folder else None
    if path is None or not path.is_dir():
        sys.exit(f"This benchmark needs images/{name} in the folder that KERAS_CRSAE_DATA names.")
    return path


if __name__ == "__main__":
    main()
