"""Images of few photons: ``python -m benchmarks.poisson_images``.

The first ten images of ``set68`` of the folder that KERAS_CRSAE_DATA names, scaled to a maximum at the peak;
counts are drawn anew for each peak with one seed, image by image in order of name. PSNR is of rate / peak, clipped to
[0, 1], at a peak of 1: that of the clean image's maximum. No model has seen these images, and all are given the peak.
"""

import json
import time
from pathlib import Path

import numpy as np

from benchmarks import common, image_scores

PEAKS, BINS, SEED, IMAGES = (4, 2, 1), (1, 2, 4), 0, 10
#: Their stored models, one for each peak, untied, 61,516 parameters, run on these images: quoted, not run here.
QUOTED = ("DCEA, three untied models of the authors (arXiv 1907.03211), quoted", (24.09, 22.95, 21.94))
#: Without training: transform, denoise, exact unbiased inverse.
BASELINE = "denoise-gray"


def main(arguments=None):
    """Measure and write the table."""
    parser = common.parser(__doc__.splitlines()[0], threads=1)
    parser.add_argument("--models", nargs="+", default=["denoise-poisson"], help="zoo names, .keras or .onnx files")
    parser.add_argument("--baseline", action="store_true", help="the models without training alone")
    parser.add_argument("--keep-baseline", action="store_true", help="take them from the JSON file, if it is there")
    args = parser.parse_args(arguments)
    common.limit_threads(args.threads)
    described = common.machine(args.threads)
    images = [(name, clean[..., 0] / clean.max())
              for name, clean in image_scores.test_images("set68")[:2 if args.short else IMAGES]]
    if not images:
        raise SystemExit("This needs images/set68 in the folder that KERAS_CRSAE_DATA names.")
    data = {"noisy": {str(peak): {"1": score(images, peak, lambda counts: counts)} for peak in PEAKS}}
    data[BASELINE] = measured_before(args) or without_training(images)
    for name in () if args.baseline else args.models:
        model = image_scores.load(name)
        data[Path(name).stem] = {str(peak): {"by itself": score(images, peak, runner(model, peak, None))}
                                 for peak in PEAKS}
    rows = [*(row(name, facts) for name, facts in data.items()), (QUOTED[0], *(f"{v:.2f}" for v in QUOTED[1]), "")]
    headers = ("method", *(f"peak {peak}" for peak in PEAKS), "seconds an image")
    title = f"PSNR (dB) on the first {len(images)} images of set68"
    common.save("poisson_images", args, described, [common.report("poisson_images", args, headers, rows, data, title)])


def without_training(images):
    """Scores of the baseline on every size of bins."""
    model = image_scores.load(BASELINE)
    return {str(peak): {str(side): score(images, peak, runner(model, peak, side)) for side in BINS} for peak in PEAKS}


def measured_before(args):
    """The baseline's scores of an earlier run with ``--keep-baseline``; else None."""
    path = args.output / "poisson_images.json"
    if not args.keep_baseline or args.short or not path.exists():
        return None
    return json.loads(path.read_text())["sections"][0]["data"][BASELINE]


def runner(model, peak, side):
    """Counts to rates by ``denoise``, all shifts, on bins of ``side`` pixels; None: as it chooses."""
    from keras_crsae.applications.denoising import denoise

    return lambda counts: denoise(counts, model, noise="poisson", peak=peak, bins=side)


def score(images, peak, rates_of):
    """Mean PSNR over the images, with each image's, and the median time."""
    rng, each, times = np.random.default_rng(SEED), {}, []
    for name, clean in images:
        counts = rng.poisson(peak * clean)
        started = time.perf_counter()
        rates = rates_of(counts)
        times.append(time.perf_counter() - started)
        each[name] = float(-10 * np.log10(np.mean(np.square((rates / peak).clip(0, 1) - clean))))
    return {"psnr": float(np.mean(list(each.values()))), "seconds": float(np.median(times)), "each": each}


def row(name, facts):
    """One line: the best bins of each peak, which it names where they are not 1."""
    cells, times = [], []
    for by_side in facts.values():
        side, best = max(by_side.items(), key=lambda pair: pair[1]["psnr"])
        cells.append(f"{best['psnr']:.2f}" + ("" if side in ("1", "by itself") else f" (bins of {side} x {side})"))
        times.append(best["seconds"])
    label = {"noisy": "the counts themselves", BASELINE: f"Anscombe, {BASELINE}, exact unbiased inverse, best bins"}
    return (label.get(name, name), *cells, "" if name == "noisy" else common.seconds(float(np.median(times))))


if __name__ == "__main__":
    main()
