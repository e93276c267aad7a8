"""The paper's claim in both of its senses: ``python -m benchmarks.paper.biases``. What was run is not run again.

Five ways to get the biases of the shrinkage, with the same filters, crops, shifts and steps: a fixed lambda; the free
bias, learned by the reconstruction alone, which the paper calls the conventional way; lambda by back-propagation; EM as
the paper's text has it, the code held constant in lambda's step; and EM as the authors' code has it, where lambda takes
the sum of the gradients of both losses, each through the code. Both forms of EM have the authors' prior: rate delta,
shape delta lambda_0. Supervised, trained on ``train400``, measured on ``set68`` of the folder that KERAS_CRSAE_DATA
names; the last step counts.
"""

import time
from dataclasses import replace

import numpy as np

from benchmarks import common
from benchmarks.paper.cells import FULL, SHORT, Cell, run

LEARNING = {"fixed": "fixed lambda", "bias": "free bias", "backprop": "lambda by back-propagation",
            "em": "EM, as the text has it", "em_through_code": "EM, as the code has it"}
#: The authors' delta, for images in [0, 1] and a first lambda of 20 there: in units of the noise, sigma = .078, it is
#: delta / sigma, since lambda delta has no unit.
AUTHORS_DELTA, AUTHORS_SIGMA = 100.0, 0.078
SIGMAS, SEEDS = (20, 25, 50), (0, 1, 2)


def main(arguments=None):
    """Run the cells and write the table."""
    parser = common.parser(__doc__.splitlines()[0])
    parser.add_argument("--sigmas", type=int, nargs="+", default=list(SIGMAS), help="in grey levels of 255")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
    parser.add_argument("--minutes", type=float, default=600.0,
                        help="start no further cell after this time; the next run does those left out")
    args = parser.parse_args(arguments)
    common.limit_threads(args.threads)
    described = common.machine(args.threads)
    setting = replace(SHORT if args.short else FULL, prior_rate=AUTHORS_DELTA / AUTHORS_SIGMA)
    folder = args.output / ("paper-biases-short" if args.short else "paper-biases")
    groups = [(sigma, tied) for tied in (True, False) for sigma in args.sigmas]
    results, started = {}, time.monotonic()
    for cell in (Cell(how, sigma, tied, seed=seed) for seed in args.seeds for sigma, tied in groups
                 for how in LEARNING):
        if time.monotonic() - started > 60 * args.minutes:
            break
        results[cell] = run(cell, setting, folder)
        print(f"{cell.key}: {results[cell]['psnr']:.2f} dB, {results[cell]['train_seconds']:.0f} s", flush=True)
    rows = [row for sigma, tied in groups for row in table_rows(sigma, tied, results, args.seeds)]
    headers = ("sigma", "weights", "biases", "PSNR (dB)", "spread over seeds", "against the free bias",
               "lambda * sigma: least, median, most", "seeds")
    section = common.report("paper_biases", args, headers, rows, list(results.values()), "how the biases are learned")
    common.save("paper_biases", args, described, [section])
    return results


def table_rows(sigma, tied, results, seeds):
    """Rows of one noise level: mean and spread over the seeds that were run, and the mean difference seed by seed."""
    made = {how: {seed: results[cell] for seed in seeds
                  if (cell := Cell(how, sigma, tied, seed=seed)) in results} for how in LEARNING}
    rows = []
    for how, text in LEARNING.items():
        if not made[how]:
            continue
        scores = [one["psnr"] for one in made[how].values()]
        both = [seed for seed in made[how] if seed in made["bias"]]
        gains = [made[how][seed]["psnr"] - made["bias"][seed]["psnr"] for seed in both]
        lambdas = np.mean([one["lambda"] for one in made[how].values()], axis=0)
        rows.append((sigma, "tied" if tied else "untied", text, f"{np.mean(scores):.2f}", f"{np.ptp(scores):.2f}",
                     "" if how == "bias" or not gains else f"{np.mean(gains):+.2f} ({min(gains):+.2f} to "
                                                           f"{max(gains):+.2f})",
                     " ... ".join(f"{value:.2f}" for value in lambdas), len(scores)))
    return rows


if __name__ == "__main__":
    main()
