"""Train the zoo's models: ``python -m benchmarks.train_zoo NAME``. A run that was stopped goes on where it was.

The images come from ``images/train400`` of the folder that KERAS_CRSAE_DATA names; figures are measured on its
``images/set68`` and on the photographs inside scikit-image. See ``benchmarks/README.md`` and the card of each model.
"""

import argparse
import json
import os
import resource
import sys
import time
from pathlib import Path

from benchmarks import common, zoo_card

ROOT = Path(__file__).parent.parent
DENOISE = dict(filters=128, kernel_size=12, strides=6, iterations=10, training_shifts=4, crop_pixels=60, batch_size=4,
               lambda_learning="backprop", learning_rate=0.005, lambda_learning_rate=0.01)
#: What each model is trained with: sigma, steps or minutes of ``train_denoiser``, and fields of ``DenoiserTraining``
#: (of architecture "cdlnet": of ``DenoiserTraining.cdlnet``).
RECIPES = {
    "denoise-gray-25": dict(architecture="cdlnet", filters=64, kernel_size=8, strides=2, iterations=10, sigma=25 / 255,
                            steps=16_000, learning_rate=5e-4),
    "crsae-gray-25": dict(DENOISE, sigma=25 / 255, minutes=25),
    "denoise-gray": dict(DENOISE, sigma=(10 / 255, 60 / 255), steps=3637, learning_rate=0.002, sigma_weight=1.0),
    # As many steps as denoise-gray has: they compare.
    **{f"denoise-gray-{level}": dict(DENOISE, sigma=level / 255, steps=3637, learning_rate=0.002)
       for level in (15, 20, 50)},
    "denoise-color": dict(DENOISE, sigma=(10 / 255, 60 / 255), minutes=5, filters=96, kernel_size=8,
                          strides=4, learning_rate=0.01),
    "em-unsupervised-gray": dict(filters=144, kernel_size=12, strides=6, crop_pixels=60, batch_size=4, sigma=25 / 255,
                                 minutes=10, supervised=False, lambda_learning="em"),
}
#: Models that go on from another one, which is trained first.
START = dict.fromkeys(("denoise-gray", "denoise-gray-15", "denoise-gray-20", "denoise-gray-50"), "crsae-gray-25")
#: Images of colour: the photographs, since the Berkeley set here is grey.
COLOUR = ("denoise-color",)


def main(arguments=None):
    """Train, measure and write one model."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", choices=RECIPES)
    parser.add_argument("--minutes", type=float, help="in place of the recipe's")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "zoo", help="folder of the checkpoints")
    parser.add_argument("--output", type=Path, default=ROOT / "models", help="folder of the finished models")
    parser.add_argument("--measure-only", action="store_true", help="write the model of the checkpoint as it is")
    args = parser.parse_args(arguments)
    common.limit_threads(args.threads)
    recipe = dict(RECIPES[args.name])
    if args.minutes is not None:
        recipe["minutes"] = args.minutes
    args.work.mkdir(parents=True, exist_ok=True)
    checkpoint = args.work / f"{args.name}.keras"
    cpu = checkpoint.with_suffix(".cpu.json")  # processor time, over all runs: the machine may be shared
    before = json.loads(cpu.read_text())["seconds"] if cpu.exists() else 0.0
    if args.measure_only:
        model = zoo_card.averaged(checkpoint)
        record = json.loads(checkpoint.with_suffix(".json").read_text())["record"]
    else:
        from keras_crsae.applications.denoising import DenoiserTraining, train_denoiser
        from keras_crsae.models.serialization import load_crsae

        limits = {"steps": None, **{k: v for k, v in recipe.items() if k in ("sigma", "steps", "minutes")}}
        make = DenoiserTraining.cdlnet if recipe.get("architecture") == "cdlnet" else DenoiserTraining
        settings = make(**{k: v for k, v in recipe.items() if k not in limits}).resolve(recipe["sigma"])
        started, start = time.process_time(), None
        if args.name in START and not checkpoint.exists():
            changes = {} if make is DenoiserTraining.cdlnet else {"sigma_power": settings.sigma_power}
            start = zoo_card.for_use(load_crsae(args.output / START[args.name] / "model.keras"), **changes)
        model = train_denoiser(_images(args.name), seed=args.seed, checkpoint=checkpoint, model=start,
                               callbacks=[_processor_time(cpu, before, started)], settings=settings, **limits)
        record = model.training_record
    seconds = json.loads(cpu.read_text())["seconds"] if cpu.exists() else before
    zoo_card.write(model, args.name, args.output / args.name, recipe, record, args.seed, args.threads, seconds / 60,
                   starts_of(args.name))


def starts_of(name):
    """Names of the models that a model's training goes on from, the first one first."""
    start = START.get(name)
    return [] if start is None else [*starts_of(start), start]


def _images(name):
    from keras_crsae.data.images import load_images

    if name in COLOUR:
        return load_images(None, 3)
    return load_images(train_folder())


def train_folder():
    """Folder of the grey training crops, or the end with a plain message."""
    folder = os.environ.get("KERAS_CRSAE_DATA")
    path = Path(folder) / "images" / "train400" if folder else None
    if path is None or not path.is_dir():
        sys.exit("Training the zoo needs images/train400 in the folder that KERAS_CRSAE_DATA names.")
    return path


def _processor_time(path, before, started):
    """Callback that keeps the processor time of all runs beside the checkpoint."""
    import keras

    def note(*_):
        path.write_text(json.dumps({"seconds": before + time.process_time() - started,
                                    "memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))

    return keras.callbacks.LambdaCallback(on_epoch_end=note, on_train_end=note)


if __name__ == "__main__":
    main()
