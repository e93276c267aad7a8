"""Write a zoo model's folder: weights, encoder, config, metadata and the card, with the figures measured here.

``python -m benchmarks.zoo_card`` writes the ``encoder.onnx`` of every denoiser anew, for a new format of the file.
"""

import json
import time
from pathlib import Path

import numpy as np

from benchmarks import common, image_scores

#: Noise levels at which a model for a range is measured, in grey levels; a model for one level is measured there.
LEVELS = (15, 25, 50)
_TASK = {True: "denoise", False: "denoise (learned without clean images)"}
GREY = ("400 grey crops of 180 x 180 pixels of the Berkeley segmentation data (`train400`, the usual training set of "
         "the field)", "for non-commercial research and education; the images are not part of this repository")
_COLOUR = ("the eight photographs inside scikit-image's wheel (astronaut, brick, camera, chelsea, coffee, grass, "
           "gravel, rocket)", "CC0; astronaut and rocket public domain (NASA)")


def write(model, name, folder, recipe, record, seed, threads, cpu_minutes, starts=()):
    """Make the folder of one model, replacing its files; ``starts`` names the models that were trained before it."""
    from crsae_onnx import SparseEncoder

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    model = for_use(model)
    model.save(folder / "model.keras")
    channels = model.dictionary.channels
    data, licence = _COLOUR if channels == 3 else GREY
    commands = [f"python -m benchmarks.train_zoo {each}" for each in (*starts, name)]
    export(model, folder, {"name": name, "data": data, "training_command": " && ".join(commands)})
    encoder = SparseEncoder(folder / "encoder.onnx")
    sigma = recipe["sigma"]
    levels = LEVELS if isinstance(sigma, tuple) else (round(255 * sigma),)
    training = ("photographs",) if channels == 3 else ()
    figures = {}
    for images in image_scores.SETS:
        for level in levels:
            made = image_scores.score(model, images, level / 255)
            if made:
                figures[f"{images} at sigma {level}"] = {"psnr": made["psnr"], "ssim": made["ssim"],
                                                         "images": made["images"], "seen": images in training}
    parameters = sum(int(np.prod(v.shape)) for v in model.trainable_variables)
    (folder / "config.json").write_text(json.dumps(model.get_config(), indent=1, default=str) + "\n")
    described = common.machine(threads)
    facts = {"name": name, "task": _TASK[recipe.get("supervised", True)], "parameters": parameters,
             "sigma_in_grey_levels": [round(255 * v, 3) for v in np.atleast_1d(sigma)], "seed": seed,
             "training_command": " && ".join(commands), "data": data, "licence_of_data": licence,
             "recipe": {k: v if np.isscalar(v) or v is None else list(v) for k, v in recipe.items()},
             "steps": record["steps"], "minutes": round(record["minutes"], 1), "cpu_minutes": round(cpu_minutes, 1),
             "machine": described, "metrics": figures,
             "summary": [f"{k}: {v['psnr']:.2f} dB" for k, v in figures.items()], "speed": speed(encoder),
             "history": [{k: round(v, 4) for k, v in row.items()} for row in record["history"][::5]]}
    (folder / "metadata.json").write_text(json.dumps(facts, indent=1) + "\n")
    (folder / "README.md").write_text(card(facts, model))
    print(f"{folder}: " + ", ".join(f"{k}: {v['psnr']:.2f} dB" for k, v in figures.items()), flush=True)


def export(model, folder, facts):
    """Write ``encoder.onnx`` into a model's folder, compare it with Keras, and record both in the file.

    A CDLNet's file takes the noise level, and gives no code: that of free filters is nothing that a user would read.

    Args:
        model: the model of the folder.
        folder: Path.
        facts: "name", "data" and "training_command" of ``metadata.json``.
    """
    from crsae_onnx.convert import convert
    from crsae_onnx.validate import validate

    free = in_image_unit(model)
    about = {"name": facts["name"], "data": facts["data"], "training": facts["training_command"], "pixel_range": [0, 1],
             "unit": "gray levels in [0, 1]" if free else
             "noise standard deviations (images in [0, 1] divided by their noise level)"}
    options = dict(inputs=("signal", "mask", "sigma"), outputs=("reconstruction",)) if free else \
        dict(inputs=("signal", "mask"))
    convert(model, folder / "encoder.onnx", **options, overwrite=True, about=about)
    channels = model.dictionary.channels
    validate(model, folder / "encoder.onnx", shapes=[(1, 61, 50, channels), (2, 48, 77, channels)], record=True)


def in_image_unit(model):
    """Whether a model (a CDLNet) takes images in [0, 1] and their noise level, not images in units of their noise."""
    return getattr(model, "in_image_unit", False)


def averaged(path):
    """The model of a checkpoint, with the average of its filters over the last steps, and the steps it was trained."""
    from keras_crsae.models.serialization import load_crsae

    model = load_crsae(path)
    if model.optimizer.use_ema and int(model.optimizer.iterations):
        model.optimizer.finalize_variable_values(model.dictionary_variables)
    return model


def for_use(model, **changes):
    """The same model without optimisers, its iterations as a graph loop; ``changes`` of its options."""
    config = model.get_config()
    config = {**config, **({"unroll": False} if "unroll" in config else {}), **changes}
    made = type(model).from_config(config)
    made.build((None,) * (model.rank + 1) + (model.dictionary.channels,))
    made.set_weights(model.get_weights())
    return made


def speed(encoder, size=512):
    """Seconds for one ``size`` x ``size`` image in onnxruntime, and what fewer shifts cost on camera.png."""
    from crsae_onnx.core.cycle_spinning import all_shifts

    from keras_crsae.applications.denoising import denoise
    from keras_crsae.metrics import psnr

    channels, sigma = encoder.info["channels"], 25 / 255
    clean = dict(image_scores.test_images("photographs", channels))["camera.png"][:size, :size]
    noisy = clean + sigma * np.random.default_rng(0).standard_normal(clean.shape).astype(np.float32)
    rows = {}
    for count in sorted({n for n in (4, 8, 16) if n < len(all_shifts(encoder.info["strides"]))}) + [None]:
        denoise(noisy, encoder, sigma=sigma, shifts=count)
        started = time.perf_counter()
        made = denoise(noisy, encoder, sigma=sigma, shifts=count)
        rows["all" if count is None else str(count)] = {"seconds": round(time.perf_counter() - started, 2),
                                                        "psnr": round(psnr(clean, made), 3)}
    return rows


def card(facts, model):
    """The README of a model."""
    figures = common.table(("images", "PSNR (dB)", "SSIM", "images seen in training"),
                           [(k, f"{v['psnr']:.2f}", f"{v['ssim']:.4f}", "yes" if v["seen"] else "no")
                            for k, v in facts["metrics"].items()])
    speeds = common.table(("shifts", "seconds", "PSNR (dB)"),
                          [(k, v["seconds"], v["psnr"]) for k, v in facts["speed"].items()])
    levels = " to ".join(f"{v:g}" for v in facts["sigma_in_grey_levels"])
    machine, name = facts["machine"], facts["name"]
    how = "Trained with clean targets." if facts["recipe"].get("supervised", True) else \
        "Learned from noisy images alone, by the two stages of EM; nothing clean was seen."
    colours = "colour (RGB)" if model.dictionary.channels == 3 else "grey"
    size = f"{model.filters} filters of {' x '.join(str(n) for n in model.kernel_size)}"
    grid = f"stride {model.dictionary.strides[0]}, {model.encoder.iterations} iterations"
    kernels = "tied" if model.tied else "encoder and decoder filters of their own"
    kind = f"`Denoiser`, unit filters and steps of 1 / L: {size}, {grid}, {kernels}"
    unit = "Inside, values are in units of the noise: sigma scales the threshold."
    if in_image_unit(model):
        kind, unit = f"`CDLNet`: {size} in each iteration, {grid}", "Thresholds are t0 + t1 sigma."
    cpu = f"{facts['cpu_minutes']} minutes of processor time " if facts["cpu_minutes"] else ""
    usual, asked = (levels, levels) if len(facts["sigma_in_grey_levels"]) == 1 else \
        ("25", " ".join(f"{v:g}" for v in LEVELS))
    return "\n".join([
        f"# {name}", "",
        f"Takes white Gaussian noise of {levels} grey levels (of 255) from {colours} images. {how}", "",
        "```python", "from keras_crsae.applications.denoising import denoise",
        f'clean = denoise(noisy, model="{name}", sigma={usual} / 255)   # sigma=None: estimated', "```", "",
        f"`keras-crsae denoise noisy.png clean.png --model {name} --sigma {usual}`", "",
        f"- **Model**: {kind}; {facts['parameters']:,} trainable parameters. {unit}",
        f"- **Data**: {facts['data']}.", f"- **Licence of the data**: {facts['licence_of_data']}.",
        f"- **Training**: `{facts['training_command']}`, seed {facts['seed']}: {facts['steps']} steps in "
        f"{facts['minutes']} minutes, {cpu}(others used the machine too); {machine['cpu']}, {machine['threads']} "
        f"threads, {machine['memory_gib']} GiB.",
        f"- **Limits**: white Gaussian noise, of one level in the whole image. Outside {levels} grey levels quality "
        "falls; JPEG artefacts, shot noise and stripes are not what it learned. Fine repeated texture is partly "
        "smoothed.", "",
        f"Measured by `python -m benchmarks.image_scores {name} --sigma {asked}` (all shifts; peak 1; noise not "
        "clipped, results clipped):", "", figures, "", *_one_level(facts),
        f"One 512 x 512 image, camera.png at sigma 25, in onnxruntime, {machine['threads']} threads, load "
        f"{machine['load_at_start']} at the time:", "", speeds, "", *runtime_lines(facts)])


def _one_level(facts):
    """Lines about models of one level, where ``python -m benchmarks.zoo_compare`` set them beside this one."""
    rows = facts.get("one_level")
    if not rows:
        return []
    return ["Beside models of one noise level (`python -m benchmarks.zoo_compare`):", "", one_level_table(rows), ""]


def one_level_table(rows):
    """A model for a range of noise beside models of one level, as a Markdown table; rows of ``zoo_compare.compare``."""
    return common.table(("set68 at sigma", "this range's model (dB)", "one level's model (dB)", "difference (dB)",
                         "one level's model"),
                        [(row["sigma"], f"{row['range']:.2f}", f"{row['one']:.2f}", f"{row['range'] - row['one']:+.2f}",
                          f"{row['name']}, {row['training']}") for row in rows])


def runtime_lines(facts):
    """Lines about the exported file's speed, where ``python -m benchmarks.zoo_runtime --record`` measured it."""
    made = facts.get("runtime")
    if made is None:
        return []
    rows = [(batch, common.seconds(row["Keras"]["median"]), common.seconds(row["ONNX"]["median"]),
             f"{row['speed']:.2f}") for batch, row in made.items() if batch.isdigit()]
    machine = made["machine"]
    return [f"`encoder.onnx` on one shift of 512 x 512 pixels (`python -m benchmarks.zoo_runtime --record`, "
            f"{machine['threads']} threads, onnxruntime {machine['versions']['onnxruntime']}, load "
            f"{machine['load_at_start']} at the time); a fresh process gives its first answer after "
            f"{common.seconds(made['cold_start'][1])}:", "",
            common.table(("images", "Keras predict", "onnxruntime", "speed against Keras"), rows), ""]


def main():
    """Export every model of the zoo again."""
    from keras_crsae import zoo

    for name in (n for n in zoo.names() if zoo.metadata(n)["task"].startswith("denoise")):
        export(zoo.load_model_from_zoo(name), zoo.folder() / name, zoo.metadata(name))
        print(f"{name}: exported", flush=True)


if __name__ == "__main__":
    common.no_options(__doc__)
    main()
