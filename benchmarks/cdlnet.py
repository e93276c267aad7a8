"""Train the small CDLNet on ``train400`` and measure it on ``set68``: ``python -m benchmarks.cdlnet --steps 120000``.

A run that was stopped, or killed, goes on where it was: the checkpoint (``build/cdlnet/cdlnet-25.keras``) holds
the filters, their average and the optimiser. ``--score`` measures the average of a checkpoint, also while it is being
trained. Steps can be changed on the way as long as the learning rate is still flat (the first 30 %). The images come
from the folder that KERAS_CRSAE_DATA names. With ``--loss sure`` (``cdlnet-25-sure.keras``) training sees no clean
image: each image of ``train400`` has one noise, drawn once.
"""

import argparse
import json
import os
import resource
import time
from pathlib import Path

import numpy as np

from benchmarks import image_scores, zoo_card
from benchmarks.train_zoo import ROOT, train_folder


def main(arguments=None):
    """Train or measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sigma", type=float, nargs="+", default=[25.0], help="grey levels of 255; two: a range")
    parser.add_argument("--steps", type=int, default=120_000)
    parser.add_argument("--crop", type=int, default=64)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--filters", type=int, default=32)
    parser.add_argument("--kernel", type=int, default=7, help="side of a filter, in pixels")
    parser.add_argument("--stride", type=int, default=1)
    parser.add_argument("--iterations", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--start", type=Path, help="a .keras file whose filters training begins with")
    parser.add_argument("--loss", choices=("error", "sure"), default="error",
                        help="sure: from noisy images alone, by Stein's unbiased estimate of the error")
    parser.add_argument("--checkpoint", type=Path)
    parser.add_argument("--score", action="store_true", help="measure the checkpoint, do not train")
    parser.add_argument("--every", type=int, default=8, help="measure on every so many images of set68")
    args = parser.parse_args(arguments)
    # No fixed cores: a run of hours takes what is free.
    os.environ.update(TF_NUM_INTRAOP_THREADS=str(args.threads), TF_NUM_INTEROP_THREADS=str(args.threads),
                      OMP_NUM_THREADS=str(args.threads), TF_CPP_MIN_LOG_LEVEL="3")
    level = "-".join(f"{s:g}" for s in args.sigma)
    suffix = "" if args.loss == "error" else f"-{args.loss}"
    checkpoint = args.checkpoint or ROOT / "build" / "cdlnet" / f"cdlnet-{level}{suffix}.keras"
    if args.loss == "sure" and len(args.sigma) > 1:
        parser.error("--loss sure needs one noise level: that of the images")
    return score(checkpoint, args) if args.score else train(checkpoint, args)


def train(checkpoint, args):
    """Train up to ``args.steps`` steps, over all runs; processor time goes to a file beside the checkpoint."""
    import keras

    from keras_crsae.applications.denoising import DenoiserTraining, train_denoiser

    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    spent = checkpoint.with_suffix(".cpu.json")
    before, started = (json.loads(spent.read_text())["seconds"] if spent.exists() else 0.0), time.process_time()

    def note(*_):
        spent.write_text(json.dumps({"seconds": before + time.process_time() - started,
                                     "memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))

    alone = args.loss == "sure"
    settings = DenoiserTraining.cdlnet(crop_pixels=args.crop, batch_size=args.batch, learning_rate=args.rate,
                                       filters=args.filters, kernel_size=args.kernel, strides=args.stride,
                                       iterations=args.iterations, supervised=not alone, loss=args.loss)
    sigma = args.sigma[0] / 255 if len(args.sigma) == 1 else tuple(s / 255 for s in args.sigma)
    images = noisy_images(sigma) if alone else train_folder()
    return train_denoiser(images, sigma=sigma, add_noise=not alone, steps=args.steps, seed=args.seed, settings=settings,
                          model=started_from(args.start), checkpoint=checkpoint,
                          callbacks=[keras.callbacks.LambdaCallback(on_epoch_end=note)])


def noisy_images(sigma, seed=1000):
    """The images of ``train400``, each with one noise."""
    from keras_crsae.data.images import load_images, unit_image

    rng = np.random.default_rng(seed)
    clean = (unit_image(image) for image in load_images(train_folder()))
    return [image + np.float32(sigma) * rng.standard_normal(image.shape, np.float32) for image in clean]


def started_from(path):
    """The averaged model of another training; None without a path."""
    return None if path is None else zoo_card.averaged(path)


def score(checkpoint, args):
    """Print and return PSNR (dB) of the averaged model by noise level."""
    from keras_crsae.applications.denoising import denoise
    from keras_crsae.metrics import psnr

    model = zoo_card.averaged(checkpoint)
    spent = checkpoint.with_suffix(".cpu.json")
    minutes = json.loads(spent.read_text())["seconds"] / 60 if spent.exists() else float("nan")
    scores = {}
    for sigma in args.sigma:
        pairs = list(image_scores.noisy_pairs("set68", sigma / 255))[::args.every]
        scores[sigma] = float(np.mean([psnr(clean, denoise(noisy, model, sigma=sigma / 255))
                                       for _, clean, noisy in pairs]))
        print(f"{int(model.optimizer.iterations)} steps, {minutes:.0f} processor minutes, "
              f"{sum(int(np.prod(v.shape)) for v in model.dictionary_variables)} parameters: sigma {sigma:g}, "
              f"{len(pairs)} images: {scores[sigma]:.3f} dB", flush=True)
    return scores


if __name__ == "__main__":
    main()
