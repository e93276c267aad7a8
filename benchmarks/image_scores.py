"""PSNR and SSIM of zoo models, or of model files: ``python -m benchmarks.image_scores NAME --sigma 25``.

The clean images are ``set68`` of the folder that KERAS_CRSAE_DATA names (where there is one), the photographs inside
scikit-image, and those inside scikit-learn (china.jpg and flower.jpg, CC-BY 2.0), which no model learns from. Noise is
drawn with seed 0, image by image in order of name, and is not clipped. Results are, to [0, 1], for SSIM and for PSNR at
a peak of 1, but not for PSNR at the clean image's maximum, which is how the authors of CRsAE measure.
"""

import argparse
import os
from pathlib import Path

import numpy as np

from benchmarks import common

SETS = ("set68", "photographs", "scikit-learn")


def main(arguments=None):
    """Print and return the scores."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="zoo name, .keras or .onnx file")
    parser.add_argument("--sigma", type=float, nargs="+", default=[25.0], help="noise in grey levels of 255")
    parser.add_argument("--shifts", type=int, help="shifts averaged; all without it")
    parser.add_argument("--images", nargs="+", default=list(SETS),
                        help=f"of {', '.join(SETS)}, or folders and files of one's own")
    parser.add_argument("--estimate", action="store_true", help="do not tell the model the noise level")
    parser.add_argument("--limit", type=int, help="use the first N images")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    args = parser.parse_args(arguments)
    common.limit_threads(args.threads)
    model = load(args.model)
    rows = []
    for images in args.images:
        for sigma in args.sigma:
            made = score(model, images, sigma / 255, args.shifts, args.estimate, args.limit)
            if made:
                rows.append((images, f"{sigma:g}", f"{made['psnr']:.2f}", f"{made['psnr_clean_max']:.2f}",
                             f"{made['ssim']:.4f}", made["images"]))
    print(common.table(("images", "sigma", "PSNR (dB), peak 1", "peak the clean maximum", "SSIM", "count"), rows))
    return rows


def load(name):
    """A runner for ``denoise``: the exported encoder of a zoo model, else the model itself."""
    from crsae_onnx import SparseEncoder

    from keras_crsae import zoo

    if name in zoo.names():
        return SparseEncoder(zoo.path_of(name, zoo.ENCODER))
    if str(name).endswith(".onnx"):
        return SparseEncoder(name)
    from keras_crsae.models.serialization import load_crsae

    return load_crsae(name)


def test_images(images, channels=1):
    """Names and float32 images (height, width, channels) in [0, 1] of a set; empty where it is not there."""
    from keras_crsae.data.images import PHOTOGRAPHS, load_images, photographs, unit_image

    if images == "scikit-learn":
        from importlib.util import find_spec

        found = find_spec("sklearn")
        files = [] if found is None else sorted((Path(found.origin).parent / "datasets" / "images").glob("*.jpg"))
        made = [(f.stem, load_images(f, channels)[0]) for f in files]
    elif images == "photographs":
        made = [(name, load_images(photo, channels)[0]) for name, photo in zip(PHOTOGRAPHS, photographs(), strict=True)]
    elif images == "set68":
        folder = os.environ.get("KERAS_CRSAE_DATA")
        path = Path(folder) / "images" / "set68" if folder else None
        files = sorted(path.iterdir()) if path is not None and path.is_dir() and channels == 1 else []
        made = [(f.stem, load_images(f, channels)[0]) for f in files]
    else:
        made = [(f"{Path(images).name} {i}", image) for i, image in enumerate(load_images(Path(images), channels))]
    return [(name, unit_image(image)) for name, image in made]


def noisy_pairs(images, sigma, channels=1, limit=None, seed=0):
    """(name, clean, noisy) of a set of test images."""
    rng = np.random.default_rng(seed)
    for name, clean in test_images(images, channels)[:limit]:
        yield name, clean, clean + np.float32(sigma) * rng.standard_normal(clean.shape).astype(np.float32)


def score(model, images, sigma, shifts=None, estimate=False, limit=None):
    """Mean PSNR and SSIM of a model on a set, with each image's; None where the set is missing."""
    from skimage.metrics import structural_similarity

    from keras_crsae.applications.denoising.image_model import as_image_model
    from keras_crsae.applications.denoising.pixels import from_planes, to_planes
    from keras_crsae.applications.denoising.smoothing import TILE_PIXELS, remove_noise
    from keras_crsae.initializers import robust_sigma
    from keras_crsae.metrics import psnr

    image_model, each = as_image_model(model), {}
    for name, clean, noisy in noisy_pairs(images, sigma, image_model.channels, limit):
        level = robust_sigma(noisy[None], 2) if estimate else sigma
        planes = to_planes(np.atleast_3d(noisy), image_model.channels)
        # What `denoise` gives before it clips to [0, 1].
        whole = remove_noise(planes, None, level, image_model, None, image_model.shifts(shifts), TILE_PIXELS)
        whole = from_planes(whole, planes.shape[-1]).reshape(clean.shape)
        made = whole.clip(0, 1)
        each[name] = (psnr(clean, made), psnr(clean, whole) + 20 * float(np.log10(clean.max())),
                      float(structural_similarity(clean, made, data_range=1.0, channel_axis=-1)))
    if not each:
        return None
    means = np.mean(list(each.values()), axis=0)
    return {"psnr": float(means[0]), "psnr_clean_max": float(means[1]), "ssim": float(means[2]), "images": len(each),
            "each": each}


if __name__ == "__main__":
    main()
