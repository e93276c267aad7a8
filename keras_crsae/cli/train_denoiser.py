"""``keras-crsae train-denoiser``: images -> a trained, saved ``Denoiser``."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from crsae_onnx.core.atomic_files import atomic_write
from crsae_onnx.core.errors import FileError

from keras_crsae.applications.denoising.counts import NOISES, check_noise
from keras_crsae.applications.denoising.settings import DenoiserTraining
from keras_crsae.cli.startup import Failure, start_keras
from keras_crsae.data.images import load_images
from keras_crsae.data.paths import check_output, size_text

DEFAULT_MINUTES = 15.0


def train(args: Namespace) -> None:
    """Train as the parsed options say; input and output are checked before TensorFlow starts.

    Raises:
        FileError: invalid input or output.
        ValueError: invalid option.
    """
    output = check_output(args.output, (".keras",), args.overwrite, inputs=args.input)
    check_noise(args.noise, args.sigma, args.peak)
    settings = training_settings(args)
    channels = 3 if args.colour else 1
    images = load_images(args.input or None, channels)
    clean = None if args.clean is None else load_images(args.clean, channels)
    for index, image in enumerate(images):
        if min(image.shape[:2]) < settings.crop_pixels:
            raise FileError(f"Image {index} of the input has {size_text(image.shape[:2])} pixels, fewer than a crop of "
                            f"{settings.crop_pixels} x {settings.crop_pixels}. Omit it, or use smaller crops: --window "
                            "N.")
    start_keras(args.progress)
    from keras_crsae.applications.denoising.training import train_denoiser

    try:
        model = train_denoiser(
            images, sigma=None if args.sigma is None else noise_range(args.sigma), noise=args.noise, peak=args.peak,
            steps=args.steps, seed=args.seed, clean=clean, settings=settings,
            minutes=DEFAULT_MINUTES if args.steps is None and args.minutes is None else args.minutes,
            add_noise=not args.noisy, checkpoint=args.checkpoint, verbose=int(args.progress))
    except FloatingPointError as error:
        raise Failure(f"{error} No model was written; the option here is --learning-rate.") from error
    with atomic_write(output, args.overwrite) as temporary:
        model.save(temporary)
    done = model.training_record
    print(f"{output}: {model.filters} filters of {size_text(model.kernel_size)}, {done['steps']} steps in "
          f"{done['minutes']:.1f} min. Next: keras-crsae denoise IN.png OUT.png --model {output}")


def training_settings(args: Namespace) -> DenoiserTraining:
    """Settings of the options that were given; ValueError where they contradict each other."""
    if args.loss is not None and not args.unsupervised:
        raise ValueError("--loss says how --unsupervised learns. Give both, or neither to learn from clean images.")
    if args.loss == "sure" and args.noisy and (args.sigma is None or "-" in args.sigma):
        raise ValueError("--loss sure needs the noise level of images that are noisy already: --sigma X, one number. "
                         f"Received: {'none' if args.sigma is None else args.sigma}")
    given = {"filters": args.filters, "kernel_size": args.kernel_size, "strides": args.strides,
             "iterations": args.iterations, "crop_pixels": args.window, "learning_rate": args.learning_rate,
             "lambda_learning": args.lambda_learning or ("em" if args.unsupervised and args.loss != "sure" else None),
             "low_pass_pixels": args.low_pass, "supervised": False if args.unsupervised else None,
             "loss": "sure" if args.loss == "sure" else None}
    options: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    return DenoiserTraining.poisson(**options) if NOISES[args.noise] else DenoiserTraining(**options)


def noise_range(text: str) -> float | tuple[float, float]:
    """Noise in [0, 1] of "25" or "10-60" gray levels of 255.

    Example:
        >>> from keras_crsae.cli.train_denoiser import noise_range
        >>> noise_range("51"), noise_range("51-102")
        (0.2, (0.2, 0.4))
    """
    low, _, high = text.partition("-")
    return (float(low) / 255, float(high) / 255) if high else float(low) / 255
