"""Write the tables of ``benchmarks/README.md`` from ``benchmarks/results/*.json``: everything below its last heading.

No figure is copied by hand; the machine and the date of each table come from its JSON file.
"""

import json
from pathlib import Path

FOLDER = Path(__file__).parent
#: name of the JSON file: (heading, what the titles do not say)
QUESTIONS = {
    "peak": ("Encoder against plain forms",
             "With AVX-512, where XLA loses on signals. Before the pauses between competitors, PyTorch's spinning "
             "threads ran in our time: 101 ms, and 24 to 30 times as long for PyTorch in six runs."),
    "solvers": ("Solvers to the same drop", "Ten 1-s windows of `spikes/single_white.npz`."),
    "training": ("Training", "16 windows of 2,048, 8 filters of 45, 60 iterations. Every form takes both stages of the "
                             "step."),
    "onnx_runtime": ("ONNX", ""),
    "scaling": ("Scaling", ""),
    "peak_avx2": ("Encoder against plain forms, without AVX-512",
                  "On a processor that has AVX2 alone, where TensorFlow's convolutions are Eigen's and not oneDNN's."),
    "scaling_avx2": ("Scaling, without AVX-512", "The same machine. Where the convolutions take longer, the fixed cost "
                                                 "of each iteration weighs less: the exponent is nearer to 1."),
    "zoo_runtime": ("The zoo in onnxruntime", ""),
    "gpu": ("onnxruntime on a GPU", "`denoised` is `denoise-gray` with all shifts averaged inside the file "
                                    "(`outputs=(\"denoised\",)`)."),
    "spike_sorting": ("Spike sorting", "Ours: mean accuracy over three seeds, and their range; the others ran once."),
    "spike_limits": ("What limits spike sorting",
                     "The search of `spike_sorting.sort`, given the true templates whitened."),
    "paper": ("The paper's claims on images",
              "Trained on `train400`, measured on the first images of `set68`; the last step counts. Lambda of the row "
              "\"fixed\" is 1.5 / sigma, where the others start."),
    "paper_full": ("The paper's claims, full setting",
                   "1,000 steps, all 68 images, one thread. The cells of the short set came first; what time did not "
                   "allow is shown as not run."),
    "paper_em": ("EM's prior and first filters at one noise level",
                 "The setting of the short claims. The prior was chosen by the training images."),
    "denoising_curves": ("Denoisers over training time",
                         "Each departs from the first in what its name says. Nine images of `set68`, eight shifts: to "
                         "compare, not the whole set's figures."),
    "one_image": ("One noisy image", ""),
    "streams": ("Streams and processes", "The processes share this machine and its loopback interface."),
    "soak": ("Soak", "Killed once in the first epoch, a stretch of NaN in every seventh block of 20 s."),
}
START = "## Results\n"


def options(stored):
    """The command line that made a result, as far as it departs from the defaults that matter."""
    given = stored["options"]
    shown = [f"--threads {given['threads']}"] if stored["question"] == "solvers" else []
    shown += [f"--windows {given['windows']}"] if given.get("windows") else []
    shown += ["--short"] if given.get("short") else []
    shown += ["--hour"] if given.get("hour") else []
    return " ".join(["benchmarks." + stored["question"].replace("paper_em", "paper.em"), *shown])


def machine(stored):
    described = stored["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in described["versions"].items())
    gpu = f"{described['gpu']}, " if "gpu" in described else ""
    return (f"{described['date']}, {gpu}{described['cpu']}, {described['cores']} cores, "
            f"{described['threads']} thread(s), load {described['load_at_start'][0]:g} at the start; {versions}.")


def sentence(title):
    return f"{title[:1].upper()}{title[1:]}."


def section(stored, name=None):
    heading, note = QUESTIONS[name or stored["question"]]
    parts = [f"### {heading}: `{options(stored)}`", machine(stored), *([note] if note else [])]
    for part in stored["sections"]:
        rows = [part["headers"], ["---"] * len(part["headers"]), *part["rows"]]
        lines = ["| " + " | ".join(row) + " |" for row in rows]
        parts += [*([sentence(part["title"])] if part["title"] else []), "\n".join(lines)]
    return "\n\n".join(parts)


def page(text, results):
    """``text`` with new tables behind its heading "Results"."""
    head, found, _ = text.partition(START)
    if not found:
        raise SystemExit(f"benchmarks/README.md has no heading {START.strip()!r}.")
    intro = ("`python -m benchmarks.tables` writes this part from the JSON files beside this page. The machines are "
             "virtual and shared, and change their speed by up to 1.7 within a minute: ratios within a table carry "
             "further than its times.")
    sections = [section(stored, name) for name, stored in results.items()]
    return "\n\n".join([head + START.rstrip(), intro, *sections]) + "\n"


def stored_results():
    """{name: content} of the JSON files that are there."""
    files = {name: FOLDER / "results" / f"{name}.json" for name in QUESTIONS}
    return {name: json.loads(file.read_text()) for name, file in files.items() if file.exists()}


def main():
    path = FOLDER / "README.md"
    results = stored_results()
    path.write_text(page(path.read_text(), results))
    print(f"{path}: {len(results)} of {len(QUESTIONS)} tables")


if __name__ == "__main__":
    main()
