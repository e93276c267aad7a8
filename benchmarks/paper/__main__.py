"""``python -m benchmarks.paper``: the paper's claims on images, as tables and figures. Stopped runs go on.

(a) the filters learned are Gabor-like; (b) learning lambda by EM beats learning it by backprop, and that a fixed one;
(c) iterations: quality against cost; (d) trainable parameters against LCSC. Trained on ``train400``, measured on
``set68`` of the folder that KERAS_CRSAE_DATA names.
"""

import os
from pathlib import Path

import numpy as np

from benchmarks import common
from benchmarks.paper.cells import FULL, SHORT, Cell, run

LEARNING = ("fixed", "backprop", "em", "em_closed_form")
SEEDED = ("fixed", "backprop", "em")
ZOO = "crsae-gray-25"
SIGMAS = (15, 20, 25, 50, 75)
#: Minutes after which no further cell starts: the tables are there within three hours on any machine.
LONGEST = 170.0


def claim_b(short):
    """Cells in order of importance: the seeded comparison, then the rest of the grid."""
    seeded = [Cell(how, sigma, seed=seed) for seed in range(3) for sigma in (25, 50) for how in SEEDED]
    if short:
        return [*seeded, Cell("em_closed_form", 25), *(Cell(how, 25, tied=False) for how in SEEDED)]
    grid = [Cell(how, sigma, tied, shared) for tied in (True, False) for shared in (False, True) for sigma in SIGMAS
            for how in LEARNING if not (shared and how == "fixed")]
    return list(dict.fromkeys([*seeded, *grid]))


def claim_c(short):
    return [Cell("backprop", 25, iterations=n) for n in ((1, 3, 10) if short else (1, 3, 10, 30))]


def claim_d():
    return [Cell("backprop", 25), Cell("backprop", 25, tied=False), Cell("backprop", 25, model="lcsc"),
            Cell("backprop", 25, model="tlae", iterations=1)]


def in_turn(wanted, claims):
    """The cells of some claims, each once: of (b) what the short set holds, then the other claims, then (b)'s grid."""
    first = claim_b(True) if "b" in claims else []
    return list(dict.fromkeys([*first, *(cell for claim in "cdab" if claim in claims for cell in wanted[claim])]))


def main(arguments=None):
    """Run the claims asked for and write tables and figures."""
    parser = common.parser(__doc__.splitlines()[0])
    parser.add_argument("--claims", nargs="+", choices=tuple("abcd"), default=list("abcd"))
    parser.add_argument("--minutes", type=float, default=LONGEST,
                        help="start no further cell after this time; the next run does those left out")
    args = parser.parse_args(arguments)
    common.limit_threads(args.threads)
    described = common.machine(args.threads)
    setting = SHORT if args.short else FULL
    folder = args.output / ("paper-short" if args.short else "paper")
    wanted = {"a": [Cell("backprop", 25, tied=False), Cell("em", 25)], "b": claim_b(args.short),
              "c": claim_c(args.short), "d": claim_d()}
    cells = in_turn(wanted, args.claims)
    results = _run_all(cells, setting, folder, args.minutes)
    sections = []
    for claim in sorted(args.claims):
        made = {"a": _gabor, "b": _learning, "c": _iterations, "d": _parameters}[claim]
        sections += made(wanted[claim], results, folder, args)
    common.save("paper", args, described, sections)


def _run_all(cells, setting, folder, minutes):
    import time

    started, results = time.monotonic(), {}
    for i, cell in enumerate(cells):
        if time.monotonic() - started > 60 * minutes:
            break
        results[cell] = run(cell, setting, folder)
        print(f"{i + 1} of {len(cells)}: {cell.key}: {results[cell]['psnr']:.2f} dB, "
              f"{results[cell]['train_seconds']:.0f} s", flush=True)
    return results


def _value(results, cells, name="psnr"):
    """Mean and, over seeds, spread of the cells that were run, as text; "" where none was."""
    values = [results[cell][name] for cell in cells if cell in results]
    if not values:
        return ""
    digits = 4 if name == "ssim" else 2
    spread = f" +- {np.std(values, ddof=1):.{digits}f} ({len(values)} seeds)" if len(values) > 1 else ""
    return f"{np.mean(values):.{digits}f}{spread}"


def _learning(cells, results, folder, args):
    """(b): one row a way to learn lambda, one column a noise level, of the cells that were run."""
    sigmas = sorted({cell.sigma for cell in cells if cell in results})
    groups = sorted({(not cell.tied, cell.shared) for cell in cells})
    sections = []
    for name, text in (("psnr", "PSNR (dB), peak 1"), ("psnr_clean_max", "PSNR (dB), peak the clean maximum"),
                       ("ssim", "SSIM")):
        rows = []
        for untied, shared in groups:
            for how in LEARNING:
                mine = [c for c in cells if (not c.tied, c.shared, c.learning) == (untied, shared, how)
                        and c in results]
                if mine:
                    rows.append(("untied" if untied else "tied", "shared" if shared else "one a filter", how,
                                 *(_value(results, [c for c in mine if c.sigma == s], name) for s in sigmas)))
        headers = ("weights", "lambda", "learned by", *(f"sigma {s}" for s in sigmas))
        sections.append(common.report("paper", args, headers, rows, None, f"(b) learning lambda: {text}"))
    return sections


def _iterations(cells, results, folder, args):
    rows, times, quality = [], [], []
    for cell in (cell for cell in cells if cell in results):
        made = results[cell]
        times.append(made["score_seconds"] / len(made["images"]))
        quality.append(made["psnr"])
        rows.append((cell.iterations, f"{made['psnr']:.2f}", f"{made['train_seconds']:.0f} s",
                     common.seconds(times[-1])))
    if len(times) > 1:
        _curve(times, quality, [c.iterations for c in cells if c in results], folder / "iterations.png")
    return [common.report("paper", args, ("iterations", "PSNR (dB)", "training", "one test image"), rows, None,
                          "(c) iterations, tied, backprop, sigma 25")]


def _curve(times, quality, iterations, path):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 3.4), layout="constrained")
    axis = figure.subplots()
    axis.plot(times, quality, "o-", color="#0072B2")
    for x, y, n in zip(times, quality, iterations, strict=True):
        axis.annotate(f"{n}", (x, y), textcoords="offset points", xytext=(6, -10))
    axis.set_xscale("log")
    axis.set_xlabel("seconds for one test image, all shifts")
    axis.set_ylabel("PSNR (dB), set68, sigma 25")
    axis.set_title("Iterations of the encoder")
    figure.savefig(path, dpi=120)


def _parameters(cells, results, folder, args):
    names = {("crsae", True): "CRsAE, tied", ("crsae", False): "CRsAE, untied", ("lcsc", True): "LCSC",
             ("tlae", True): "TLAE"}
    rows = [(names[cell.model, cell.tied], results[cell]["parameters"], _value(results, [cell]),
             _value(results, [cell], "ssim"), f"{results[cell]['train_seconds']:.0f} s")
            for cell in cells if cell in results]
    return [common.report("paper", args, ("model", "trainable parameters", "PSNR (dB)", "SSIM", "training"), rows, None,
                          "(d) parameters, thresholds by backprop, sigma 25")]


def _gabor(cells, results, folder, args):
    """(a): the share of filters that a Gabor function explains to R^2 > 0.8, and the filters as a figure."""
    from benchmarks.paper.gabor import fit
    from keras_crsae.plots import plot_filters

    rows, kernels = [], {f"{ZOO}, {part}": kernel for part, kernel in _zoo_filters().items()}
    for cell in cells:
        if cell in results:
            kernels[cell.key] = np.load(Path(folder) / f"{cell.key}.npy")
    for name, filters in kernels.items():
        explained = np.array([fit(filters[:, :, 0, c])[1] for c in range(filters.shape[-1])])
        order = np.argsort(-explained)
        plot_filters(filters[..., order], title=f"{name}: most Gabor-like first").savefig(
            Path(folder) / f"filters-{name.replace(', ', '-').replace(' ', '-')}.png", dpi=120)
        rows.append((name, f"{np.mean(explained > 0.8):.0%}", f"{np.median(explained):.3f}", len(explained)))
    return [common.report("paper", args, ("filters of", "R^2 > 0.8", "median R^2", "filters"), rows, None,
                          "(a) Gabor functions fitted to the filters")]


def _zoo_filters():
    """Filters of the zoo's best grey model, which was trained for longer than the cells are."""
    from keras_crsae import zoo

    model = zoo.load_model_from_zoo(ZOO)
    return {part: np.asarray(layer.unit_kernel())
            for part, layer in (("encoder", model.dictionary), ("decoder", model.decoder))}


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    main()
