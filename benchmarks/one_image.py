"""Learn on one noisy image alone, by EM and by SURE, against total variation: ``python -m benchmarks.one_image``.

Nothing clean is seen. Total variation (scikit-image, Chambolle) gets its best weight on a grid, chosen with the clean
image, so it is shown at better than it can be used.
"""

import itertools
import time

import numpy as np

from benchmarks import common

#: Steps of SURE for one of EM: its loss falls longer.
SURE_STEPS = 2
WEIGHTS = np.round(np.geomspace(0.02, 0.4, 25), 4)


def main(arguments=None):
    """Measure and write the table."""
    parser = common.parser(__doc__.splitlines()[0])
    parser.add_argument("--sigma", type=float, default=25.0, help="in grey levels of 255")
    parser.add_argument("--images", nargs="+", default=["grass.png", "brick.png", "gravel.png", "camera.png"])
    parser.add_argument("--steps", type=int, help=f"training steps; of SURE {SURE_STEPS} times as many")
    parser.add_argument("--sizes", type=int, nargs="+", default=[8, 12],
                        help="sides of the filters; of each, as many as it has pixels, at a stride of half the side")
    parser.add_argument("--losses", nargs="+", choices=("em", "sure"), default=["em", "sure"])
    args = parser.parse_args(arguments)
    common.limit_threads(args.threads)
    described = common.machine(args.threads)
    sections = [table(args, loss) for loss in args.losses]
    common.save("one_image", args, described, sections)


def table(args, loss):
    """One table: learning by EM, filters of each size, or by SURE, filters of the first."""
    rows, data = [], []
    steps = (args.steps or (300 if args.short else 600)) * (1 if loss == "em" else SURE_STEPS)
    for name, size in itertools.product(args.images, args.sizes if loss == "em" else args.sizes[:1]):
        facts = measure(name, args.sigma / 255, steps, size, loss)
        data.append(facts)
        rows.append((name, size**2, f"{size} x {size}",
                     *(f"{facts[key]:.2f}" for key in ("noisy", "tv", "learned", "gain")), f"{facts['weight']:g}",
                     f"{facts['seconds']:.0f} s"))
        print(*rows[-1], flush=True)
    learned = {"em": "EM", "sure": "SURE"}[loss]
    headers = ("image", "filters", "of", "noisy", "best TV", f"{learned} on the image", "gain (dB)", "TV weight",
               "time")
    title = f"one noisy image alone, sigma {args.sigma:g}" + ("" if loss == "em" else ", by SURE")
    return common.report("one_image", args, headers, rows, data, title)


def measure(name, sigma, steps, size, loss="em", seed=0):
    """PSNR of both methods on one photograph of scikit-image."""
    from skimage.restoration import denoise_tv_chambolle

    from keras_crsae.applications.denoising import DenoiserTraining, denoise, train_denoiser
    from keras_crsae.data.images import load_images, photographs, unit_image
    from keras_crsae.metrics import psnr

    clean = unit_image(load_images(photographs([name]), 1)[0])
    noisy = clean + np.float32(sigma) * np.random.default_rng(seed).standard_normal(clean.shape).astype(np.float32)
    flat = noisy[..., 0].astype(float)
    tv, weight = max((psnr(clean[..., 0], np.clip(denoise_tv_chambolle(flat, weight=w), 0, 1)), float(w))
                     for w in WEIGHTS)
    started = time.perf_counter()
    settings = DenoiserTraining(supervised=False, loss="error" if loss == "em" else loss, filters=size**2,
                                kernel_size=size, strides=size // 2, crop_pixels=64)
    model = train_denoiser(noisy, sigma=sigma, add_noise=False, steps=steps, seed=seed, settings=settings, verbose=0)
    learned = psnr(clean, denoise(noisy, model, sigma=sigma))
    return {"image": name, "loss": loss, "size": size, "noisy": psnr(clean, noisy), "tv": tv, "weight": weight,
            "learned": learned, "gain": learned - tv, "seconds": time.perf_counter() - started, "steps": steps}


if __name__ == "__main__":
    main()
