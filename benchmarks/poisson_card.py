"""Write the folder of ``denoise-poisson``: ``python -m benchmarks.poisson_card MODEL.keras --steps N --cpu-minutes M``.

Its figures come from ``benchmarks/results/poisson_images.json``, so run ``python -m benchmarks.poisson_images --models
MODEL.keras`` first.
"""

import argparse
import json
from pathlib import Path

import numpy as np

from benchmarks import common, zoo_card

ROOT = Path(__file__).parent.parent
NAME, COMMAND = "denoise-poisson", "python -m benchmarks.train_poisson"


def main(arguments=None):
    """Write weights, encoder, settings, figures and card."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path, help=".keras file that `train_poisson` wrote")
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--minutes", type=float, required=True, help="of training, on a clock")
    parser.add_argument("--cpu-minutes", type=float, required=True)
    parser.add_argument("--output", type=Path, default=ROOT / "models")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args(arguments)
    from keras_crsae.models.serialization import load_crsae

    model, folder = load_crsae(args.model), args.output / NAME
    folder.mkdir(parents=True, exist_ok=True)
    model.save(folder / "model.keras")
    (folder / "config.json").write_text(json.dumps(model.get_config(), indent=1, default=str) + "\n")
    facts = describe(model, args)
    (folder / "metadata.json").write_text(json.dumps(facts, indent=1) + "\n")
    (folder / "README.md").write_text(card(facts, model))
    export(model, folder, facts)


def export(model, folder, facts):
    """Write ``encoder.onnx``, which takes the noise level, and compare it with Keras."""
    from crsae_onnx.convert import convert
    from crsae_onnx.validate import validate

    about = {"name": NAME, "data": facts["data"], "training": COMMAND, "pixel_range": [0, 1],
             "unit": "Anscombe-transformed counts, (A(n) - A(0)) / (A(peak) - A(0)); sigma = 1 / (A(peak) - A(0))"}
    convert(model, folder / "encoder.onnx", inputs=("signal", "sigma"), overwrite=True, about=about)
    validate(model, folder / "encoder.onnx", shapes=[(1, 61, 50, 1), (2, 48, 77, 1)], record=True)


def describe(model, args):
    """``metadata.json``: training and figures."""
    stored = json.loads((common.RESULTS / "poisson_images.json").read_text())
    peaks = next(section["data"] for section in stored["sections"])[args.model.stem]
    metrics = {f"set68, first ten images, at peak {peak}": {
        "psnr": by_side["by itself"]["psnr"], "images": len(by_side["by itself"]["each"]), "seen": False}
        for peak, by_side in peaks.items()}
    return {"name": NAME, "task": "rates of photon counts",
            "parameters": sum(int(np.prod(v.shape)) for v in model.trainable_variables),
            "peak": model.training_settings["peak"], "seed": 0, "training_command": COMMAND, "data": zoo_card.GREY[0],
            "licence_of_data": zoo_card.GREY[1], "steps": args.steps, "minutes": args.minutes,
            "cpu_minutes": args.cpu_minutes, "machine": common.machine(args.threads), "metrics": metrics,
            "summary": [f"{name}: {facts['psnr']:.2f} dB" for name, facts in metrics.items()]}


def card(facts, model):
    """The README of the model."""
    low, high = facts["peak"]
    figures = common.table(("images", "PSNR (dB), peak the clean maximum"),
                           [(name, f"{found['psnr']:.2f}") for name, found in facts["metrics"].items()])
    machine = facts["machine"]
    return "\n".join([
        f"# {NAME}", "",
        f"Estimates the rate of each pixel from counts of photons in gray images whose white is {low:g} to {high:g} "
        "counts. Trained with clean targets.", "",
        "```python", "from keras_crsae.applications.denoising import denoise",
        'rate = denoise(counts, noise="poisson", peak=4)   # peak=None: estimated; the model is chosen by it',
        "```", "", "`keras-crsae denoise counts.png clean.png --noise poisson --peak 4`", "",
        f"- **Model**: a CDLNet of {model.filters} filters of {model.kernel_size[0]} x {model.kernel_size[1]} in each "
        f"of {model.encoder.iterations} iterations, stride {model.dictionary.strides[0]}, thresholds t0 + t1 sigma; "
        f"{facts['parameters']:,} trainable parameters. It works on 2 sqrt(counts + 3/8), whose noise has standard "
        "deviation 1; what it gives is brought back by the exact unbiased inverse, and the loss was the error of the "
        "rate.",
        f"- **Data**: {facts['data']}; every twentieth was not used. Counts of {low:g} to {high:g} at each image's "
        "maximum, even in their logarithm.", f"- **Licence of the data**: {facts['licence_of_data']}.",
        f"- **Training**: `{COMMAND}`, seed 0, two runs, the second from the first's weights: {facts['steps']:,} "
        f"steps, {facts['cpu_minutes']} minutes of processor time within {facts['minutes']} minutes (others "
        f"used the machine too); {machine['cpu']}, {machine['threads']} threads, {machine['memory_gib']} GiB, "
        f"{machine['date']}.",
        "- **Limits**: counts alone, without read noise; of a camera, subtract its offset and divide by its gain "
        f"first. Above a peak of {high:g} `denoise` takes `denoise-gray`; below {low:g} it adds counts up on bins. "
        "Colour by colour.", "", "Measured by `python -m benchmarks.poisson_images` (all shifts):", "", figures, "",
        *zoo_card.runtime_lines(facts)])


if __name__ == "__main__":
    main()
