"""``keras-crsae denoise``: an image file without its noise."""

from __future__ import annotations

import math
import os
from argparse import Namespace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from crsae_onnx.core.atomic_files import atomic_write
from crsae_onnx.core.errors import FileError
from crsae_onnx.core.optional import import_optional
from crsae_onnx.core.progress import ProgressBar

from keras_crsae.applications.denoising.counts import check_noise, peak_of
from keras_crsae.applications.denoising.image_model import zoo_denoiser
from keras_crsae.applications.denoising.pipeline import denoise as denoise_array
from keras_crsae.applications.denoising.pixels import estimate_sigma
from keras_crsae.applications.denoising.report_page import write_report
from keras_crsae.cli.messages import say
from keras_crsae.cli.startup import start_keras
from keras_crsae.data.image_files import file_kind
from keras_crsae.data.images import (
    check_image_dtype,
    decode_image,
    drop_transparency,
    read_image,
    unit_image,
    write_image,
)
from keras_crsae.data.paths import IMAGE_SUFFIXES, check_output, size_text
from keras_crsae.models.presets import ONNX, preset_file
from keras_crsae.models.serialization import load_crsae, saved_config
from keras_crsae.zoo import ENCODER, MODEL, path_of

#: Removed, in units of the noise, from which detail is missed: more than all noise.
_TOO_MUCH = 1.5


def denoise(args: Namespace) -> None:
    """Denoise ``args.input`` into ``args.output``, of the same size, depth and colours.

    Raises:
        FileError: invalid image, mask, model or output.
    """
    if check_noise(args.noise, None, args.peak):
        if args.report or args.clean:
            raise FileError("--report and --clean are for white noise, not for --noise poisson.")
        denoise_counts(args)
        return
    if args.clean is not None and args.report is None:
        raise FileError("--clean is what a report compares with: give --report PAGE.html, too.")
    decoded = decode_image(args.input)
    image = decoded.pixels
    name = model_file(args.model or zoo_denoiser(image))
    inputs = (args.input, name, *(given for given in (args.mask, args.clean) if given is not None))
    output = check_output(args.output, IMAGE_SUFFIXES, args.overwrite, inputs=inputs)
    report = None if args.report is None else _checked_report(args, inputs)
    if args.sigma == 0 and args.mask is None:
        raise FileError("With `--sigma 0` nothing is to be done. Expected a number above 0, or a `--mask` of pixels to "
                        "fill in.")
    exported = name.lower().endswith(".onnx")
    if not exported and saved_config(name)[0]["config"]["rank"] != 2:
        raise FileError(f"{name} was trained on signals, not on images. Train one with image files as input.")
    check_image_dtype(output, image)
    mask = None if args.mask is None else read_mask(args.mask, image)
    truth = None if args.clean is None else _read_clean(args.clean, image)
    estimated = args.sigma == "estimate"
    if not estimated:
        _check_sigma(args.sigma)
    with ProgressBar(args.progress) as progress:
        progress("load the model", 0.0)
        model = load_model(name, exported)
        clean = denoise_array(image, model=model, sigma=None if estimated else args.sigma / 255,
                              low_pass=args.low_pass, shifts=args.shifts, mask=mask, progress=progress,
                              quality=args.quality)
    with atomic_write(output, args.overwrite) as temporary:
        write_image(temporary, clean, decoded.icc_profile)
    sigma = 255 * estimate_sigma(image, mask) if estimated else args.sigma
    if report is not None:
        facts = {"model": args.model or zoo_denoiser(image), "file": output.name}
        write_report(report, image, clean, sigma / 255, truth, facts, estimated, f"{Path(args.input).name}, denoised")
    change = _change(image, clean, mask)
    level = _estimate_text(sigma) if estimated else f"noise {sigma:g} of 255"
    became = "" if decoded.converted_from is None else f" ({decoded.converted_from} became RGB)"
    filled = "" if mask is None else f"; {(~mask).sum():,} pixels filled in"
    print(f"{output}: {size_text(clean.shape)}, {clean.dtype}{became}; {level}; "
          f"{change:.1f} of 255 gray levels (root mean square) removed{filled}")
    if change > _TOO_MUCH * sigma + 0.5:  # half a level by rounding
        say(f"warning: {change:.1f} gray levels are more than the noise of {sigma:.3g}: detail went with "
            "it, as with models that were not trained for so little noise. The input may be the better image.")


def denoise_counts(args: Namespace) -> None:
    """Denoise the counts in ``args.input`` into ``args.output``, whose white is the peak: of 16 bits, in jpeg of 8.

    Raises:
        FileError: invalid image, mask, model or output.
    """
    if args.sigma != "estimate":
        raise FileError("The noise of counts follows from them: omit --sigma, or give --peak, the counts of white.")
    counts = drop_transparency(decode_image(args.input).pixels)
    output = check_output(args.output, IMAGE_SUFFIXES, args.overwrite, inputs=(args.input,))
    mask = None if args.mask is None else read_mask(args.mask, counts)
    levels = np.uint8 if output.suffix.lower() in (".jpg", ".jpeg") else np.uint16
    check_image_dtype(output, counts.astype(levels))
    peak = (peak_of(counts, mask) or 1.0) if args.peak is None else args.peak
    with ProgressBar(args.progress) as progress:
        progress("load the model", 0.0)
        start_keras()
        name = None if args.model is None else model_file(args.model)
        model = None if name is None else load_model(name, name.lower().endswith(".onnx"))
        rates = denoise_array(counts, model=model, low_pass=args.low_pass, shifts=args.shifts, mask=mask,
                              progress=progress, noise="poisson", peak=peak, quality=args.quality)
    white = np.iinfo(levels).max
    with atomic_write(output, args.overwrite) as temporary:
        write_image(temporary, np.rint((rates / peak).clip(0.0, 1.0) * white).astype(levels))
    estimated = ", estimated from the image" if args.peak is None else ""
    print(f"{output}: {size_text(counts.shape)}, {np.dtype(levels)}; white is {peak:.3g} counts{estimated}; "
          f"{counts.mean():.3g} counts a pixel")


def _check_sigma(sigma: float) -> None:
    """Refuse noise beyond black to white, and warn of noise that looks like one in units of [0, 1]."""
    if sigma > 255:
        raise FileError(f"--sigma {sigma:g}: expected gray levels, of 0 to 255.")
    if 0 < sigma < 1:
        say(f"warning: --sigma {sigma:g} is less than one gray level of 255. Noise in units of [0, 1] is 255 times as "
            f"much here: --sigma {255 * sigma:.3g}.")


def _estimate_text(sigma: float) -> str:
    if sigma > 0:
        return f"noise {sigma:.1f} of 255, estimated from the image"
    return "no noise found in the image (give --sigma a number if there is some)"


def _change(before: np.ndarray, after: np.ndarray, mask: np.ndarray | None) -> float:
    """Root mean square of what was removed from the colours of observed pixels, in gray levels of 255."""
    first, second = (255 * unit_image(drop_transparency(image)).astype(float) for image in (before, after))
    change = (second - first) if mask is None else (second - first)[mask]
    return math.sqrt(np.mean(np.square(change)))


def model_file(name: str) -> str:
    """Path of a model as the command line names it: a file, a preset's folder, or a name of the zoo."""
    if os.path.isdir(name):
        exported = os.path.join(name, ONNX)
        return exported if os.path.isfile(exported) and find_spec("onnxruntime") else str(preset_file(name))
    if os.path.splitext(name)[1] or os.path.exists(name):
        return name
    # The exported encoder starts at once; without onnxruntime Keras runs the model.
    return str(path_of(name, ENCODER if find_spec("onnxruntime") else MODEL))


def load_model(name: str, exported: bool) -> Any:
    """A model by its file's name: an exported encoder, or a model of Keras."""
    if exported:
        from crsae_onnx.runtime.sparse_encoder import SparseEncoder

        return SparseEncoder(name)
    start_keras()
    return load_crsae(name)


def _checked_report(args: Namespace, inputs: tuple[str, ...]) -> Path:
    """Path of the report, checked before any work, as is the package that draws its map."""
    import_optional("matplotlib.figure", "--report")
    return check_output(args.report, (".html",), args.overwrite, inputs=inputs)


def _read_clean(path: str, image: np.ndarray) -> np.ndarray:
    """Image without noise, of the size and colours of ``image``, whatever its depth."""
    clean, expected = drop_transparency(read_image(path)), drop_transparency(image).shape
    if clean.shape != expected:
        raise FileError(f"The clean image {path} has the shape {clean.shape} (height, width, colours), the noisy one "
                        f"{expected}.")
    return clean


def read_mask(path: str, image: np.ndarray) -> np.ndarray:
    """0/1 (height, width) of a mask image: black and transparent pixels are missing, in jpeg what is darker than half.

    Raises:
        FileError: another size than the image's, or black everywhere.
    """
    levels = read_image(path)
    lossy = file_kind(Path(path)) == "JPEG"  # its black is not quite black
    mask = drop_transparency(levels).max(axis=-1) > (127 if lossy else 0)
    if levels.ndim == 3 and levels.shape[-1] in (2, 4):
        mask &= levels[..., -1] > 0
    if mask.shape != image.shape[:2]:
        raise FileError(f"The mask {path} has {size_text(mask.shape)} pixels, the image {size_text(image.shape[:2])}.")
    if not mask.any():
        raise FileError(f"The mask {path} is black everywhere: no pixel is left. Black and transparent "
                        "pixels are missing ones.")
    return mask
