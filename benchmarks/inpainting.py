"""Fill in missing pixels, against a biharmonic surface and total variation: ``python -m benchmarks.inpainting``.

PSNR of the missing pixels alone, at a peak of 1. Clean images are filled without a noise level, as a user would. On
noisy ones biharmonic (scikit-image) has two results, of which the better counts: as it is, and denoised by the same
model. Total variation keeps the observed pixels of clean images; on noisy ones it gets its best weight on a grid,
chosen with the clean image. The model has seen none of the images.
"""

import time

import numpy as np

from benchmarks import common, image_scores

SIGMA = 25 / 255
#: First the five that the project set itself, then textures, then photographs of other collections.
IMAGES = ("camera.png", "astronaut.png", "coffee.png", "chelsea.png", "rocket.jpg", "brick.png", "grass.png", "china")
SHARES, WIDTHS = (0.1, 0.3, 0.5), (1, 3)
TEXT, TEXT_PIXELS = "The quick brown fox jumps over the lazy dog. ", 14
#: Weights of total variation on noisy images, and steps of its solver, after which PSNR moves by less than .01 dB.
TV_WEIGHTS, TV_STEPS = (0.02, 0.03, 0.05, 0.08, 0.12), 500


def main(arguments=None):
    """Measure and write the tables."""
    parser = common.parser(__doc__.splitlines()[0], threads=1)
    parser.add_argument("--model", default="denoise-gray", help="zoo name, .keras or .onnx file, of gray images")
    parser.add_argument("--images", nargs="+", default=list(IMAGES))
    parser.add_argument("--pixels", type=int, default=160, help="side of the middle part that is used; 0: whole images")
    parser.add_argument("--only", choices=("clean", "noisy"), help="one table alone")
    args = parser.parse_args(arguments)
    common.limit_threads(args.threads)
    described = common.machine(args.threads)
    model = image_scores.load(args.model)
    images = {name: middle(image, 96 if args.short else args.pixels) for kind in ("photographs", "scikit-learn")
              for name, image in image_scores.test_images(kind) if name in args.images}
    sections = []
    for title, sigma in (("clean images", 0.0), ("noise of 25 gray levels", SIGMA)):
        if args.only in (None, title.split()[0].replace("noise", "noisy")):
            sections.append(table(title, args, {name: images[name] for name in args.images if name in images}, model,
                                  sigma))
    common.save("inpainting", args, described, sections)


def table(title, args, images, model, sigma):
    """One table: ours and biharmonic's PSNR for each image and mask."""
    rows, data = [], []
    for name, clean in images.items():
        facts = {kind: measure(clean, mask, model, sigma) for kind, mask in masks(clean.shape).items()}
        data.append({"image": name, **facts})
        times = sum(one["seconds"] for one in facts.values()) / sum(one["denoise_seconds"] for one in facts.values())
        rows.append((name, *(f"{one['ours']:.2f} / {one['biharmonic']:.2f} / {one['tv']:.2f}"
                             for one in facts.values()),
                     f"{min(one['ours'] - max(one['biharmonic'], one['tv']) for one in facts.values()):+.2f}",
                     f"{times:.1f}"))
        print(*rows[-1], flush=True)
    means = {key: np.mean([[facts[kind][key] for kind in masks((9, 9))] for facts in data], axis=0)
             for key in ("ours", "biharmonic", "tv")}
    rows.append(("mean", *(" / ".join(f"{value:.2f}" for value in some)
                           for some in zip(*means.values(), strict=True)), "", ""))
    gains = means["ours"] - np.maximum(means["biharmonic"], means["tv"])
    rows.append(("gain of the mean", *(f"{gain:+.2f}" for gain in gains), "", ""))
    headers = ("image", *masks((9, 9)), "smallest gain (dB)", "time, in denoises")
    return common.report("inpainting", args, headers, rows, data, f"{title}: ours / biharmonic / total variation (dB)")


def measure(clean, mask, model, sigma, seed=1):
    """PSNR of the missing pixels, ours and biharmonic's, with times."""
    from skimage.restoration import inpaint_biharmonic

    from keras_crsae.applications.denoising import denoise

    noisy = clean + np.float32(sigma) * np.random.default_rng(seed).standard_normal(clean.shape).astype(np.float32)
    broken = np.where(mask, noisy, 0).astype(np.float32)
    surface = inpaint_biharmonic(broken, ~mask).astype(np.float32)
    started = time.process_time()
    denoised = denoise(surface, model, sigma=sigma or SIGMA)
    between = time.process_time()
    ours = denoise(broken, model, sigma=sigma or None, mask=mask)
    ended = time.process_time()
    others = (surface, denoised) if sigma else (surface,)
    flat = [total_variation(broken, mask, weight) for weight in (TV_WEIGHTS if sigma else (0.0,))]
    return {"ours": missing_psnr(clean, ours, mask), "tv": max(missing_psnr(clean, one, mask) for one in flat),
            "biharmonic": max(missing_psnr(clean, one, mask) for one in others), "missing": float(1 - mask.mean()),
            "seconds": ended - between, "denoise_seconds": between - started}


def total_variation(image, mask, weight=0.0, steps=TV_STEPS):
    """argmin_u TV(u) + ||u - image||^2 / (2 weight) on the observed pixels; weight 0: u = image there.

    The primal-dual algorithm of Chambolle and Pock (2011), step sizes 1 / sqrt(8), edges mirrored.
    """
    u = np.where(mask, image, image[mask].mean()).astype(np.float64)
    bar, dual, step = u.copy(), np.zeros((2, *u.shape)), 8**-0.5
    for _ in range(steps):
        dual[0, :-1] += step * np.diff(bar, axis=0)
        dual[1, :, :-1] += step * np.diff(bar, axis=1)
        dual /= np.maximum(1.0, np.sqrt(np.square(dual).sum(axis=0)))
        divergence = dual[0] + dual[1]
        divergence[1:] -= dual[0, :-1]
        divergence[:, 1:] -= dual[1, :, :-1]
        moved = u + step * divergence
        known = (weight * moved + step * image) / (weight + step)
        new = np.where(mask, known, moved)
        bar, u = 2 * new - u, new
    return u


def missing_psnr(clean, made, mask):
    """PSNR in dB at a peak of 1 of the pixels where ``mask`` is 0."""
    return float(-10 * np.log10(np.mean(np.square(clean - np.clip(made, 0, 1))[~mask])))


def masks(shape, seed=0):
    """{name: True where a pixel of (height, width) is observed}: random pixels, and straight lines across the image."""
    rng = np.random.default_rng(seed)
    made = {f"{100 * share:.0f} % of the pixels": rng.random(shape) >= share for share in SHARES}
    for width in WIDTHS:
        made[f"lines of {width}"] = scratched(shape, width, rng)
    made["text"] = written_over(shape)
    return made


def written_over(shape):
    """Mask of lines of text over the whole image, of strokes of one to two pixels."""
    from PIL import Image, ImageDraw, ImageFont

    picture = Image.new("L", shape[::-1], 0)
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(TEXT_PIXELS)
    for number, row in enumerate(range(0, shape[0], 2 * TEXT_PIXELS)):
        draw.text((-7 * number, row), TEXT * (1 + shape[1] // 100), fill=255, font=font)
    return np.asarray(picture) < 128


def scratched(shape, width, rng):
    """Mask of a line of ``width`` pixels for every 25 rows of the image, of random place and direction."""
    mask = np.ones(shape, bool)
    along = np.arange(-sum(shape), sum(shape), 0.25)
    for _ in range(max(1, shape[0] // 25)):
        middle_of_it, angle = rng.random(2) * shape, rng.random() * np.pi
        rows, columns = (np.rint(at + along * step).astype(int)
                         for at, step in zip(middle_of_it, (np.sin(angle), np.cos(angle)), strict=True))
        for down in range(width):
            for right in range(width):
                inside = ((0 <= rows + down) & (rows + down < shape[0])
                          & (0 <= columns + right) & (columns + right < shape[1]))
                mask[(rows + down)[inside], (columns + right)[inside]] = False
    return mask


def middle(image, pixels):
    """(height, width) from the middle of (height, width, 1), of ``pixels`` a side at most; 0: all."""
    cuts = [slice(max(0, (n - pixels) // 2), (n + pixels) // 2) if pixels else slice(None) for n in image.shape[:2]]
    return image[..., 0][tuple(cuts)]


if __name__ == "__main__":
    main()
