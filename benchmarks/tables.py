"""Write the pages ``docs/benchmarks/*.md`` and the tables of figures from ``benchmarks/results/*.json``.

No figure is copied by hand; the machine and the date of each table come from its JSON file. Besides the pages, the
tables of figures between the marks ``<!-- figures -->`` and ``<!-- end -->`` of ``benchmarks/README.md`` and
``README.md`` are written anew.

    python -m benchmarks.tables
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path

from benchmarks import common

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"
PAGES_FOLDER = ROOT / "docs" / "benchmarks"
BEGIN, END = "<!-- figures -->", "<!-- end -->"
EDITED = "<!-- Written by `python -m benchmarks.tables`; edit that script or the results, not this page. -->"
VARIATION = ("The machines are virtual and shared, and change their speed by up to 1.7 within a minute: ratios within "
             "a table carry further than its times.")


@dataclass(frozen=True)
class Source:
    """One JSON file of ``benchmarks/results`` on a page: its name, the heading of its part, and an introduction."""

    name: str
    heading: str = ""
    note: str = ""


@dataclass(frozen=True)
class Page:
    """One page of ``docs/benchmarks``: the question that its title asks, and the sources of its tables."""

    title: str
    sources: tuple[Source, ...]
    note: str = ""


#: file name (without .md) of each page, in the order of the navigation
PAGES = {
    "encoder": Page("How fast is the encoder?", (
        Source("peak", "With AVX-512", "XLA loses here on signals and gains on images."),
        Source("peak_avx2", "With AVX2 alone", "TensorFlow's convolutions are Eigen's here, not oneDNN's.")),
        "Against plain Keras and plain PyTorch, which compute the same codes."),
    "solvers": Page("How long do other solvers take?", (Source("solvers"),),
                    "Ten windows of 1 s of `spikes/single_white.npz`, on one thread. \"Drop\" is the part of the "
                    "objective's decrease from the zero code to the optimum that is still missing."),
    "training": Page("What does a training step cost?", (Source("training"),),
                     "16 windows of 2,048 samples, 8 filters of 45, 60 iterations. Every form takes both stages of the "
                     "step."),
    "scaling": Page("How does time grow?", (
        Source("scaling", "With AVX-512"),
        Source("scaling_avx2", "With AVX2 alone", "The convolutions take longer, and the fixed cost of each iteration "
                                                  "weighs less: the exponent is nearer to 1.")),
        "300,000 samples, 3 filters of 45 and 60 iterations, unless stated otherwise."),
    "iterations": Page("How far from the optimum is a code?", (Source("iterations"),),
                       "Rows below 1 are a `tolerance`; the others are numbers of iterations."),
    "onnx": Page("How fast is the exported file?", (Source("onnx_runtime"),)),
    "zoo": Page("How fast are the models of the zoo?", (Source("zoo_runtime"),)),
    "gpu": Page("How fast is onnxruntime on a GPU?", (Source("gpu"),),
                "`denoised` is `denoise-gray` with all shifts averaged inside the file (`outputs=(\"denoised\",)`)."),
    "spike-sorting": Page("How well does it sort spikes?", (
        Source("spike_sorting", "Beside other sorters",
               "Ours: mean accuracy over three seeds, and their range; the others ran once."),
        Source("spike_limits", "With the true templates",
               "The search of `spike_sorting.sort`, given the true templates, whitened."),
        Source("matching_study", "Beside SpikeInterface's matching engines",
               "Its `MatchingStudy` on its generated recordings of a minute, true templates, the engines' own options; "
               "noise of 10 uV, 15 spikes a second of each unit, a tenth more on the very sample of another's. A "
               "collision is two spikes within 2 ms; similarity is the cosine of two templates. Means over two seeds; "
               "processor time of one process. `nearest` and `tdc-peeler` search for troughs above five times the "
               "noise."))),
    "rank-one": Page("How long do filters of rank one take?", (
        Source("rank_one", "Time"), Source("rank_one_memory", "Memory"),
        Source("rank_one_hour", "An hour of 200 channels")),
                     "A simulation of alphacsc's kind: 24 trials of 1,500 samples, 128 channels, 5 filters of 128 "
                     "samples; the same first filters and the same penalty. The penalised objective is lower at "
                     "filters that are a little blurred than at the true ones; `refit_distance` takes one event at a "
                     "time, its amplitude fitted anew. Peaks of memory contain the libraries: TensorFlow alone takes "
                     "690 MB, so with few data ours is the larger one. alphacsc 0.4.1 runs with NumPy 2.3, since its "
                     "coordinate descent fails with 2.4."),
    "spike-latency": Page(
        "How late is a spike reported?", (Source("latency"),),
        "A recording that was sorted before is received by a process without TensorFlow on one core, a frame at a "
        "time. Latency: from the arrival of a spike's extremum to the return of the call that reports it; computing is "
        "the processor's time of each call, counted as if the frames had come in real time. Accuracy (TP / (TP + FN + "
        "FP), mean over units): of the early reports, after the corrections, and offline. Times real time: seconds of "
        "recording a second of the processor's time, corrections included. The machine had other work: see its load."),
    "spike-drift": Page(
        "How well are drifting recordings sorted?", (
            Source("drift_rigid", "A probe that moves back and forth",
                   "By one micrometre a second; 32 channels, 10 units, SpikeInterface's generator."),
            Source("drift_tetrode", "A tetrode whose amplitudes change",
                   "By 30 % from the first to the last second, up or down; six units.")),
        "Mean accuracy (TP / (TP + FN + FP)) over the true units, of the same spikes and noise with and without drift. "
        "Corrected: ours by `sort(motion=\"estimate\")`, on the tetrode `motion=\"follow\"`; the others would "
        "sort the recording from which the same motion was taken out; they were not run."),
    "neural-events": Page(
        "How well are events found in spikes of trials?", (Source("neural_events"),),
        "Simulated single trials of one neuron of 8 Hz, kernels of 125 ms, bins of 5 ms; a real unit in bins of 1 "
        "ms. Width and thresholds of the smoothed raster and the matched filter are chosen with the truth of the "
        "first half of the trials, ours without; all are scored on the other half, within 15 ms. The bins of a "
        "held-out trial are predicted in five groups, each from the others; the PSTH's width is the one that makes "
        "the held-out trials most likely."),
    "compressed": Page(
        "What is learned from half as many measurements as samples?", (Source("compressed"),),
        "Recovery: sums of 4 of 60 random atoms, seen through Gaussian matrices; mean error of the atoms, three seeds. "
        "The filters are as long as the signal: one matrix for all shows them only through its rows. Digits: logistic "
        "regression on the codes of 5,000 digits, 4,000 to learn from and 1,000 to test, another matrix in each "
        "batch."),
    "certification": Page("How far may a signal change before its class does?", (
        Source("certification_digits", "Digits of 8x8 pixels", "scikit-learn's: 1,297 to learn, 500 to test."),
        Source("certification_mnist5k", "Digits of 28x28 pixels",
               "5,000 of MNIST: 4,000 to learn, as they are and moved by a pixel to each side, 1,000 to test; 100 "
               "principal components. The authors' figure: a radius of 0.064 at 0.955 clean, for 60 % of the digits.")),
                          "Share of the test images that are classified rightly and whose certificate reaches the "
                          "given l2 radius, for images of norm 1. \"Paper's\" is the bound of arXiv 2010.12088."),
    "dense-sparse": Page("What does a dense filter beside the sparse ones give?", (
        Source("dense_sparse", "Images", "Two denoisers of the same number of filters, lambda, seed, steps, crops and "
               "noise; the first ten images of `set68`, all 25 shifts. A short training (some three minutes of "
               "one core; the machine had other work): most of the difference is that sparse filters learn slow "
               "shapes late."),
        Source("dense_recordings", "Recordings with drift and hum",
               "40 windows of 1,500 samples, three templates in noise of 1, a drift of two slow sines (6 and 4) and a "
               "hum of 4."))),
    "denoising": Page("How good are denoisers after minutes?", (
        Source("denoising_curves", "Over training time",
               "Each configuration differs from the first in what its name says. Nine images of `set68`, eight "
               "shifts: for comparison, not the whole set's figures."),
        Source("one_image", "From one noisy image alone", "EM against total variation at its best weight."))),
    "inpainting": Page("How well are missing pixels filled in?", (Source("inpainting"),),
                       "PSNR of the missing pixels by `denoise(image, mask=)` with `denoise-gray`, and by "
                       "scikit-image's `inpaint_biharmonic`; on noisy images by the better of that and of that "
                       "denoised. Middle parts of 160 x 160 pixels of photographs in gray, not seen in training."),
    "poisson-images": Page("How good are images of few photons?", (Source("poisson_images"),),
                           "`set68`'s first ten images as counts whose mean is the image, its maximum the peak; PSNR "
                           "of rate / peak. The authors' figures are of their stored models, one for each peak."),
    "paper": Page("Do the paper's claims on images hold?", (
        Source("paper", "1,000 steps, 68 images",
               "Trained on `train400`, measured on `set68` after the last step. Lambda of the row \"fixed\" is "
               "1.5 / sigma, where the others start."),
        Source("paper_short", "300 steps, 10 images", "What the longer setting did not hold."),
        Source("paper_em", "The prior and the first filters of EM",
               "300 steps, 10 images. The prior was chosen by the training images."))),
    "streams": Page("Does training wait for its input?", (Source("streams"),),
                    "The processes share this machine and its loopback interface."),
    "long-run": Page("Does a long run stay flat in memory?", (Source("long_run"),),
                     "Killed once in the first epoch; a stretch of NaN in every seventh block of 20 s."),
    "serving": Page("Does the server stay right under clients of all kinds?", (Source("serving"),),
                    "A third of the requests is bad: mutated, cut short, falsely announced, dropped in the middle. The "
                    "machine was busy with other work (see the load): times are upper bounds."),
}


@dataclass(frozen=True)
class Figure:
    """One line of the table of figures.

    ``ours`` and ``other`` are (result, part of the section's title, first cells of the row, column), or a text.
    ``rank`` orders the short table of ``README.md``; 0 leaves it out there.
    """

    question: str
    page: str
    ours: tuple
    other: tuple | str
    other_name: str
    ratio: bool = True
    command: str = ""
    machine: str = "2 cores"
    short: bool = False


AVX512 = "2 cores, AVX-512"
SIGNAL, IMAGE = "300000 samples, 3 filters", "256x256, 64 filters 7x7, stride"
FIGURES = (
    Figure("Encode 300,000 samples: 3 filters of 45, 60 iterations", "encoder", ("peak", SIGNAL, ("CRsAE",), "median"),
           ("peak", SIGNAL, ("plain Keras, unrolled",), "median"), "plain Keras", machine=AVX512, short=True),
    Figure("Encode 10 s at 30 kHz: 3 units of 61, 100 iterations; `active=True`", "encoder",
           ("peak", "30 kHz", ("CRsAE, active",), "median of 10 s"), ("peak", "30 kHz", ("CRsAE",), "median of 10 s"),
           "without `active`", machine=AVX512, short=True),
    Figure("Encode an image of 256 x 256: 64 filters of 7 x 7, stride 1, XLA", "encoder",
           ("peak", IMAGE + " 1", ("CRsAE, XLA",), "median"), ("peak", IMAGE + " 1", ("plain Keras, XLA",), "median"),
           "plain Keras, XLA", machine=AVX512),
    Figure("Solve ten windows of 1 s to a thousandth of the drop, one thread; `active=True`", "solvers",
           ("solvers", "drop of 0.001 ", ("CRsAE, active",), "median time"),
           ("solvers", "drop of 0.001 ", ("alphacsc LGCD",), "median time"), "alphacsc LGCD", machine=AVX512,
           command="--threads 1 --windows 3", short=True),
    Figure("A training step, `gradient=\"unrolled\"`", "training",
           ("training", "one step", ("CRsAE, unrolled",), "median"),
           ("training", "one step", ("plain Keras",), "median"),
           "plain Keras", machine=AVX512),
    Figure("A training step, `gradient=\"decoder\"`", "training",
           ("training", "one step", ("CRsAE, decoder",), "median"),
           ("training", "one step", ("plain Keras",), "median"),
           "plain Keras", machine=AVX512, short=True),
    Figure("Encode an hour at 30 kHz from a memory-mapped file", "scaling",
           ("scaling", "a long recording from a memmap (", ("108,000,000",), "time"), "", "", machine=AVX512,
           command="--hour", short=True),
    Figure("The exported file in onnxruntime: 300,000 samples, 60 iterations", "onnx",
           ("onnx_runtime", "60 iterations", ("ONNX",), "median"),
           ("onnx_runtime", "60 iterations", ("Keras",), "median"), "`encode` in Keras", machine=AVX512, short=True),
    Figure("`denoise-gray`, one shift of 512 x 512, onnxruntime on a GPU", "gpu",
           ("gpu", "medians", ("denoise-gray", "reconstruct", "1 x 512 x 512 x 1"), "GPU"),
           ("gpu", "medians", ("denoise-gray", "reconstruct", "1 x 512 x 512 x 1"), "CPU"), "16 cores of its machine",
           machine="H100"),
    Figure("Sort one channel, three units, white noise: accuracy", "spike-sorting",
           ("spike_sorting", "single_white", ("crsae",), "accuracy"),
           ("spike_sorting", "single_white", ("mountainsort5",), "accuracy"), "mountainsort5", ratio=False),
    Figure("Sort a tetrode, six units: accuracy", "spike-sorting", ("spike_sorting", "tetrode", ("crsae",), "accuracy"),
           ("spike_sorting", "tetrode", ("lupin",), "accuracy"), "lupin", ratio=False, short=True),
    Figure("Sort a semi-real tetrode, the confirmed unit: accuracy", "spike-sorting",
           ("spike_sorting", "hc1_semireal", ("crsae",), "accuracy"),
           ("spike_sorting", "hc1_semireal", ("simple",), "accuracy"), "simple", ratio=False, short=True),
    Figure("Find overlapping events in single trials of spikes, 30 to 80 ms apart: F1", "neural-events",
           ("neural_events", "overlapping", ("30 to 80",), "events: F1"),
           ("neural_events", "overlapping", ("30 to 80",), "smoothed raster: F1"), "smoothed raster", ratio=False,
           machine="1 core", short=True),
    Figure("Predict hidden bins of held-out trials of a real unit: nats a trial", "neural-events",
           ("neural_events", "50 trials", ("events on the PSTH",), "nats a held-out trial"),
           ("neural_events", "50 trials", ("PSTH of the direction",), "nats a held-out trial"), "PSTH, best width",
           ratio=False, machine="1 core"),
    Figure("Denoise `set68`, sigma 25, untied, 300 steps: PSNR, parameters", "paper",
           ("paper_short", "(d)", ("CRsAE, untied",), "PSNR (dB)", "trainable parameters"),
           ("paper_short", "(d)", ("LCSC",), "PSNR (dB)", "trainable parameters"), "LCSC", ratio=False,
           command="--short"),
    Figure("Learn lambda by EM, tied, sigma 25: PSNR", "paper",
           ("paper", "PSNR (dB), peak 1", ("tied", "one a filter", "em"), "sigma 25"),
           ("paper", "PSNR (dB), peak 1", ("tied", "one a filter", "backprop"), "sigma 25"), "back-propagation",
           ratio=False, machine="1 core"),
    Figure("Denoise `brick.png` from itself alone, sigma 25: PSNR", "denoising",
           ("one_image", "", ("brick.png", "144"), "EM on the image"),
           ("one_image", "", ("brick.png", "144"), "best TV"),
           "total variation, best weight", ratio=False, short=True),
)


def cell(results, name, title, row, *columns):
    """Text of one cell (or several, joined by " at ") of a stored table."""
    sections = [s for s in results[name]["sections"] if title in s["title"]]
    rows = [r for r in sections[0]["rows"] if tuple(r[:len(row)]) == row] if sections else []
    if not rows:
        raise KeyError(f"{name}.json has no row {row} in a section called {title!r}.")
    return " at ".join(rows[0][sections[0]["headers"].index(column)] for column in columns)


def amount(text):
    """Seconds of a time like "91.6 ms"."""
    number, unit = re.fullmatch(r"([\d.]+) (ms|s)", text).groups()
    return float(number) * (0.001 if unit == "ms" else 1.0)


def figure_row(figure, results, folder, short=False):
    """Cells of one line of the table of figures; links are relative to ``folder``."""
    name = figure.ours[0]
    stored = results[name]
    ours = cell(results, *figure.ours)
    other = cell(results, *figure.other) if figure.other else ""
    times = f"{amount(other) / amount(ours):.3g}" if other and figure.ratio else ""
    link = "/".join([*[".."] * len(folder.relative_to(ROOT).parts), "docs", "benchmarks", f"{figure.page}.md"])
    if folder == PAGES_FOLDER:
        link = f"{figure.page}.md"
    other = f"{other} ({figure.other_name})" if other else ""
    if short:
        return [f"[{figure.question}]({link})", ours, other, times]
    command = " ".join(["benchmarks." + stored["question"].replace("paper_", "paper."), figure.command]).strip()
    return [f"[{figure.question}]({link})", ours, other, times, f"{figure.machine}, {stored['machine']['date'][:10]}",
            f"`{command}`"]


def figures(results, folder, short=False):
    """The table of figures as Markdown."""
    headers = ["question", "keras-crsae", "best other", "times"]
    headers += [] if short else ["machine, date", "command (`python -m ...`)"]
    return markdown(headers, [figure_row(f, results, folder, short) for f in FIGURES if f.short or not short])


def markdown(headers, rows):
    """A Markdown table, unaligned: a page for the reader of the site."""
    return "\n".join("| " + " | ".join(row) + " |" for row in [headers, ["---"] * len(headers), *rows])


def command(stored):
    """The command line of a result, as far as it departs from the defaults that matter."""
    given = stored["options"]
    shown = [f"--threads {given['threads']}"] if stored["question"] == "solvers" else []
    shown += [f"--windows {given['windows']}"] if given.get("windows") else []
    shown += [f"--{name}" for name in ("short", "hour") if given.get(name)]
    shown += [f"--alphacsc-rounds {given['alphacsc_rounds']}"] if given.get("part") == ["same"] else []
    shown += [f"--{key} {name}" for key in ("data", "part") if isinstance(given.get(key), list) for name in given[key]]
    return " ".join(["python -m benchmarks." + stored["question"].replace("paper_", "paper."), *shown])


def versions(stored):
    """Processor and versions, one line."""
    described = stored["machine"]
    gpu = f"{described['gpu']}; " if "gpu" in described else ""
    listed = ", ".join(f"{name} {version}" for name, version in described["versions"].items())
    return f"{gpu}{described['cpu']}, {described['cores']} cores; {listed}."


def part(source, stored):
    """Paragraphs of one source of a page: heading, command and date, note, tables."""
    described = stored["machine"]
    measured = (f"`{command(stored)}`, {described['date']}, {described['threads']} thread(s), load "
                f"{described['load_at_start'][0]:g} at the start.")
    paragraphs = [f"## {source.heading}"] if source.heading else []
    paragraphs += [measured, *([source.note] if source.note else [])]
    level = "###" if source.heading else "##"
    for section in stored["sections"]:
        title = section["title"]
        paragraphs += [f"{level} {title[:1].upper()}{title[1:]}"] if title else []
        paragraphs.append(markdown(section["headers"], section["rows"]))
    return paragraphs


def page(described, results):
    """Text of one page; the line of versions comes once where all sources share it."""
    stored = [(source, results[source.name]) for source in described.sources]
    lines = list(dict.fromkeys(versions(one) for _, one in stored))
    paragraphs = [EDITED, f"# {described.title}", *([described.note] if described.note else []), *lines]
    return "\n\n".join([*paragraphs, *(text for source, one in stored for text in part(source, one))]) + "\n"


def index(results):
    """Text of the first page: the figures, and what each page answers."""
    rows = [[f"[{described.title}]({name}.md)",
             ", ".join(dict.fromkeys(f"`{command(results[s.name])}`" for s in described.sources))]
            for name, described in PAGES.items()]
    return "\n\n".join([
        EDITED, "# Benchmarks", "The figures that matter. `benchmarks/README.md` in the source tree says how they are "
        "measured and how to run them. " + VARIATION, figures(results, PAGES_FOLDER), "## All tables",
        markdown(["page", "command"], rows)]) + "\n"


def with_figures(text, table):
    """``text`` with ``table`` between the two marks."""
    head, begun, rest = text.partition(BEGIN)
    _, ended, tail = rest.partition(END)
    if not begun or not ended:
        raise SystemExit(f"The page lacks the marks {BEGIN} and {END}, between which the table of figures stands.")
    return f"{head}{BEGIN}\n\n{table}\n\n{END}{tail}"


def stored_results(folder=RESULTS):
    """{name: content} of the JSON files that the pages are made from."""
    names = {source.name for described in PAGES.values() for source in described.sources}
    return {name: json.loads((folder / f"{name}.json").read_text()) for name in sorted(names)}


def documents(results):
    """{path: text} of all pages that hold stored figures."""
    texts = {PAGES_FOLDER / f"{name}.md": page(described, results) for name, described in PAGES.items()}
    texts[PAGES_FOLDER / "index.md"] = index(results)
    for path, short in ((ROOT / "benchmarks" / "README.md", False), (ROOT / "README.md", True)):
        texts[path] = with_figures(path.read_text(), figures(results, path.parent, short))
    return texts


def main():
    texts = documents(stored_results())
    for path, text in texts.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    print(f"{len(texts)} pages")


if __name__ == "__main__":
    common.no_options(__doc__)
    main()
