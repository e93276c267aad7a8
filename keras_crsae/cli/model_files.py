"""``keras-crsae export``, ``info`` and ``zoo``: what there is to do with models that are trained."""

from __future__ import annotations

import json
import os
import tempfile
from argparse import Namespace

from crsae_onnx.core.atomic_files import atomic_write
from crsae_onnx.core.errors import FileError
from crsae_onnx.core.spec import EXPOSURE, INPUT, SIGMA

from keras_crsae import zoo as trained_models
from keras_crsae.applications.spike_sorting.result_folder import SETTINGS, describe_sorting
from keras_crsae.cli.startup import Failure, start_keras
from keras_crsae.data.paths import check_output, existing_file
from keras_crsae.models.presets import check_preset_folder
from keras_crsae.models.serialization import describe, load_crsae, saved_config

_SHOWN = 8  # values of a list that `info` prints


def export(args: Namespace) -> None:
    """Write a model as an ONNX file, with ``--validate`` only where it gives Keras' results, or as a preset's folder.

    Raises:
        FileError: invalid model or output.
        Failure: the file differs from Keras.
    """
    if not os.path.splitext(args.output)[1]:
        _export_preset(args)
        return
    output = check_output(args.output, (".onnx",), args.overwrite, inputs=(args.model,))
    saved_config(args.model)
    start_keras()
    from crsae_onnx.cli.loaders import outputs_and_spikes
    from crsae_onnx.convert import convert
    from crsae_onnx.file_format import container
    from crsae_onnx.validate import ValidationError, validate

    outputs, spikes = outputs_and_spikes(args.model, args.outputs)
    model = load_crsae(args.model)
    with atomic_write(output, args.overwrite) as temporary:
        convert(model, temporary, outputs=outputs, spikes=spikes)
        try:
            report = validate(model, temporary) if args.validate else None
        except ValidationError as error:
            raise Failure(f"The exported file does not pass its comparison with Keras, nothing was written. {error}"
                          ) from error
    if report is not None:
        print(report)
    print(f"{output}: {output.stat().st_size / 1024:.0f} KiB, outputs {', '.join(container.read(output)[1]['outputs'])}"
          + (", equal to Keras within tolerance" if args.validate else ""))


def _export_preset(args: Namespace) -> None:
    """Write a folder with the card, the model and its ONNX file, as ``save_to_preset`` does."""
    if args.outputs or args.validate:
        raise FileError(f"The output {args.output} is a folder, whose file is written as it is by default: --outputs "
                        "and --validate are for an output that ends in .onnx.")
    saved_config(args.model)
    check_preset_folder(args.output, args.overwrite)
    start_keras()
    from crsae_onnx.cli.loaders import outputs_and_spikes
    from crsae_onnx.convert import convert

    model = load_crsae(args.model)
    # What `denoise` tells a model of images beside the image: the noise level, or the peak of counts.
    level = {None: SIGMA, EXPOSURE: EXPOSURE}.get(model.likelihood.size_name)
    inputs = (INPUT, level) if level is not None and model.rank == 2 and model.measurement.is_mask else (INPUT,)
    outputs, spikes = outputs_and_spikes(args.model, None, inputs)
    with tempfile.TemporaryDirectory() as folder:
        onnx = convert(model, os.path.join(folder, "model.onnx"), outputs=outputs, inputs=inputs, spikes=spikes)
        written = model.save_to_preset(args.output, onnx=onnx, overwrite=args.overwrite)
    print(f"{written}: README.md, model.keras, onnx/model.onnx. Say in README.md what it was trained on and how well "
          "it does, and under which licence it is given.")


def info(args: Namespace) -> None:
    """Print what a ``.keras`` or ``.onnx`` file or the folder of a sorting holds, as text or JSON.

    Raises:
        FileError: missing, damaged or another kind of file.
    """
    suffix = os.path.splitext(args.file)[1].lower()
    is_sorting = os.path.isfile(os.path.join(args.file, SETTINGS))
    path = args.file if is_sorting else existing_file(args.file, "a .keras or .onnx file")
    if is_sorting:
        facts = describe_sorting(path)
    elif suffix == ".onnx":
        from crsae_onnx.runtime.sparse_encoder import SparseEncoder

        facts = SparseEncoder(path).info
    elif suffix == ".keras":
        saved_config(args.file)
        start_keras()
        facts = describe(args.file)
    else:
        raise FileError(f"{args.file}: expected a .keras or .onnx file.")
    print(json.dumps(facts, indent=2, default=str) if args.json else facts_text(facts, args.file))


def facts_text(facts: dict[str, object], title: str) -> str:
    """Facts as aligned lines under a title; nested ones on one line each, the config left out.

    Example:
        >>> from keras_crsae.cli.model_files import facts_text
        >>> print(facts_text({"kernel_size": [7, 5], "sigma": 0.25}, "m.keras"))
        m.keras
          kernel size  7, 5
          sigma        0.25
    """
    width = max(len(name) for name in facts)

    def text(value: object) -> str:
        if isinstance(value, dict):
            return ", ".join(f"{k} {text(v)}" for k, v in value.items())
        if isinstance(value, list):
            shown = [text(v) for v in value[:_SHOWN]]
            return ", ".join(shown) + (f", ... ({len(value)} in all)" if len(value) > _SHOWN else "")
        return f"{value:.5g}" if isinstance(value, float) else str(value)

    return "\n".join([title, *(f"  {name.replace('_', ' '):{width}}  {text(value)}" for name, value in facts.items()
                               if name != "config")])


def zoo(args: Namespace) -> None:
    """List the trained models that come with the package.

    Raises:
        Failure: there are none.
    """
    cards = {name: trained_models.metadata(name) for name in trained_models.names()}
    if args.json:
        print(json.dumps(cards, indent=2))
        return
    if not cards:
        raise Failure(f"No models in {trained_models.folder()}. Reinstall keras-crsae.")
    width = max(map(len, cards))
    for name, card in cards.items():
        quality = "; ".join(card.get("summary", []))
        print(f"{name:{width}}  {card['task']}" + (f"; {quality}" if quality else ""))
    print(f"Cards and files: {trained_models.folder()}")
