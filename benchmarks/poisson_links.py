"""Which link suits images of few photons: ``python -m benchmarks.poisson_links --minutes 5``.

Two encoders of the same shape are trained for the same time on the same counts of ``images/train400``: one with the log
link and the Poisson likelihood (arXiv 1907.03211), by its negative log likelihood of the clean image; one on
transformed counts (Anscombe), by the squared error of the rate. Both are scored as in ``benchmarks.poisson_images``.
"""

from benchmarks import common, image_scores, poisson_images
from benchmarks.train_zoo import train_folder

FILTERS, KERNEL, STRIDES, ITERATIONS, PEAK = 64, 8, 4, 10, (1.0, 8.0)
NAMES = {"log": "log link, Poisson likelihood", "anscombe": "Anscombe, Gaussian, exact unbiased inverse"}


def main(arguments=None):
    """Train both, and write the table."""
    parser = common.parser(__doc__.splitlines()[0], threads=1)
    parser.add_argument("--minutes", type=float, default=5)
    args = parser.parse_args(arguments)
    common.limit_threads(args.threads)
    described = common.machine(args.threads)
    images = [(name, clean[..., 0] / clean.max())
              for name, clean in image_scores.test_images("set68")[:2 if args.short else poisson_images.IMAGES]]
    if not images:
        raise SystemExit("This needs images/set68 in the folder that KERAS_CRSAE_DATA names.")
    rows, data = [], {}
    for link, label in NAMES.items():
        model = train(link, 0.1 if args.short else args.minutes)
        facts = {str(peak): {"1": poisson_images.score(images, peak, poisson_images.runner(model, peak, 1))}
                 for peak in poisson_images.PEAKS}
        data[link] = {"steps": model.training_record["steps"], **facts}
        rows.append((*poisson_images.row(label, facts), model.training_record["steps"]))
    headers = ("model", *(f"peak {peak}" for peak in poisson_images.PEAKS), "seconds an image", "steps")
    title = f"PSNR (dB) on the first {len(images)} images of set68, {args.minutes:g} minutes of training each"
    common.save("poisson_links", args, described, [common.report("poisson_links", args, headers, rows, data, title)])


def train(link, minutes):
    """A model of one link."""
    import keras_crsae as kc
    from keras_crsae.applications.denoising import DenoiserTraining, train_denoiser

    settings = DenoiserTraining(filters=FILTERS, kernel_size=KERNEL, strides=STRIDES, iterations=ITERATIONS, tied=True,
                                training_shifts=1, learning_rate=2e-3, warm_up_steps=100)
    model = None
    if link == "log":
        model = kc.CRsAE(FILTERS, KERNEL, strides=STRIDES, rank=2, iterations=ITERATIONS, likelihood="poisson",
                         code_prior="soft", lambda_init=1.5, lambda_learning="backprop", baseline_scope="signal",
                         unroll=True, seed=0)
    return train_denoiser(train_folder(), noise="poisson", peak=PEAK, steps=None, minutes=minutes, settings=settings,
                          model=model)


if __name__ == "__main__":
    main()
