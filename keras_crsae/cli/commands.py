"""``keras-crsae``: learn filters, encode, denoise and export from the command line."""

import json
import math
import os
import sys
import traceback
import warnings

from crsae_onnx.core.errors import FileError

from keras_crsae.cli.parser import parser
from keras_crsae.cli.startup import Failure, start_keras
from keras_crsae.data.paths import by

#: Missing package -> the extra of keras-crsae that brings it.
EXTRAS = {"keras": "train", "tensorflow": "train", "scipy": "train", "tf2onnx": "export", "onnx": "export",
          "onnxruntime": "runtime-cpu", "imageio": "images", "pillow": "images", "PIL": "images",
          "tifffile": "images", "skimage": "images", "matplotlib": "plots", "spikeinterface": "spikes",
          "sklearn": "spikes"}


# Actions. Each imports what it needs itself, so that --help and refused input cost no start of TensorFlow.


def _demo(args):
    from pathlib import Path

    folder = Path(args.output or "demo-output")
    if folder.exists() and not folder.is_dir():
        raise FileError(f"{folder} is a file. --output names a folder.")
    # The default folder is the demo's own; a folder that the user names may hold other things.
    if args.output and folder.is_dir() and any(folder.iterdir()) and not args.overwrite:
        raise FileError(f"{folder} holds files already. Choose another folder or pass --overwrite.")
    start_keras()
    from keras_crsae.demo.run import run

    run(str(folder), seed=args.seed)


def _train(args):
    from keras_crsae.cli.train import train

    train(args)


def _sort(args):
    from keras_crsae.cli.sort import sort

    sort(args)


def _encode(args):
    if os.path.isdir(args.model):
        from keras_crsae.cli.sort import encode

        return encode(args)
    unfit = [f"--{name}" for name in ("fs", "channels", "stream") if getattr(args, name) is not None]
    if unfit:
        raise FileError(f"{', '.join(unfit)}: for a folder that `keras-crsae sort` wrote, and {args.model} is none.")
    import numpy as np
    from crsae_onnx.core.atomic_files import atomic_write
    from crsae_onnx.core.windowing import MAX_WHOLE_SAMPLES, WINDOW_SAMPLES

    from keras_crsae.applications.denoising.pipeline import LOW_PASS, split
    from keras_crsae.data.arrays import as_batch, check_finite, read_array
    from keras_crsae.data.images import is_image, opaque, read_image, unit_image
    from keras_crsae.data.paths import check_output
    from keras_crsae.models.serialization import load_crsae, saved_config

    if args.sparse and not args.output.endswith(".npz"):
        raise FileError(f"--sparse writes a .npz file. Received: {args.output}.")
    output = check_output(args.output, (".npy", ".npz"), args.overwrite, inputs=(args.input, args.model))
    config = saved_config(args.model)[0]["config"]
    if is_image(args.input) and config["rank"] == 1:
        raise FileError(f"{args.model} encodes signals, and {args.input} is an image. Expected .npy or .npz.")
    array = opaque(read_image(args.input)) if is_image(args.input) else read_array(args.input, args.key)
    signal = as_batch(array, config["rank"], args.input)
    check_finite(array, args.input)
    start_keras()
    model = load_crsae(args.model)
    dictionary, rank = model.dictionary, model.rank
    if signal.shape[-1] != dictionary.channels:
        raise FileError(f"{args.input} has {signal.shape[-1]} channels (shape {array.shape}), and {args.model} was "
                        f"trained on {dictionary.channels}.")
    if any(n < k for n, k in zip(signal.shape[1:-1], dictionary.kernel_size, strict=True)):
        raise FileError(f"{args.input} is smaller than the filters: {by(signal.shape[1:-1])} "
                        f"{'samples' if rank == 1 else 'pixels'} against {by(dictionary.kernel_size)}.")
    low_pass = LOW_PASS if args.low_pass is None else args.low_pass
    shape = (signal.shape[0], *dictionary.code_space(signal.shape[1:-1]), dictionary.filters)
    sparse = output.suffix.lower() == ".npz"

    def run(out):
        if rank == 1:
            window = args.window or (WINDOW_SAMPLES if signal.shape[1] > MAX_WHOLE_SAMPLES else MAX_WHOLE_SAMPLES)
            return model.encode(signal, window=window, out=out, sparse=sparse,
                                batch_size=max(1, window // signal.shape[1]), progress=_progress())
        pieces = []
        for i in range(len(signal)):  # image by image: memory stays that of one
            code = model.encode(split(unit_image(signal[i:i + 1]), low_pass)[1])
            if sparse:
                where = np.nonzero(code)
                index = np.stack([where[0] + i, *where[1:-1]], axis=1)
                pieces.append((index, where[-1].astype(np.int32), code[where]))
            else:
                out[i] = code[0]
        return (*(np.concatenate(part) for part in zip(*pieces, strict=True)), shape) if sparse else None

    with atomic_write(output, args.overwrite) as temporary:
        if sparse:
            index, channel, value, _ = run(None)
            np.savez_compressed(temporary, index=index, filter=channel, value=value, shape=np.array(shape))
            nonzero = len(value)
        else:
            out = np.lib.format.open_memmap(temporary, "w+", np.float32, shape)
            run(out)
            nonzero = sum(int(np.count_nonzero(row[i:i + 2**20])) for row in out for i in range(0, len(row), 2**20))
            out.flush()
    print(f"{output}: code of shape {shape} (batch, {'position' if rank == 1 else 'row, column'}, filter), "
          f"{nonzero} of {math.prod(shape)} values non-zero ({nonzero / math.prod(shape):.3%})")
    if not nonzero:
        _say("warning: every code value is zero. The threshold lambda * sigma^2 of the model lies above all of "
             "this input: look at the input's unit (`keras-crsae info` tells sigma), or train with a lower --lambda.")


def _progress():
    """A bar where someone watches."""
    return True if sys.stderr.isatty() else None


def _zoo_file(name):
    """Path of a model that the command line names: a file, or a word that the zoo knows."""
    if os.path.splitext(name)[1] or os.path.exists(name):
        return name
    from importlib.util import find_spec

    from keras_crsae.zoo import ENCODER, MODEL, path_of

    # The exported encoder starts at once; without onnxruntime Keras does it.
    return str(path_of(name, ENCODER if find_spec("onnxruntime") else MODEL))


def _denoise(args):
    import numpy as np
    from crsae_onnx.core.atomic_files import atomic_write

    from keras_crsae.data.images import check_image_dtype, read_image, write_image
    from keras_crsae.data.paths import IMAGE_SUFFIXES, check_output
    from keras_crsae.models.serialization import load_crsae, saved_config

    name = _zoo_file(args.model)
    inputs = (args.input, name) + (() if args.mask is None else (args.mask,))
    output = check_output(args.output, IMAGE_SUFFIXES, args.overwrite, inputs=inputs)
    exported = name.lower().endswith(".onnx")
    if not exported and saved_config(name)[0]["config"]["rank"] != 2:
        raise FileError(f"{name} was trained on signals, not on images. Train one with image files as input.")
    image = read_image(args.input)
    check_image_dtype(output, image)
    mask = None if args.mask is None else _read_mask(args.mask, image)
    if exported:
        from crsae_onnx.runtime.sparse_encoder import SparseEncoder

        model = SparseEncoder(name)
    else:
        start_keras()
        model = load_crsae(name)
    from keras_crsae.applications.denoising.pipeline import denoise

    clean = denoise(image, model=model, sigma=None if args.sigma == "estimate" else args.sigma / 255,
                    low_pass=args.low_pass, shifts=args.shifts, mask=mask)
    with atomic_write(output, args.overwrite) as temporary:
        write_image(temporary, clean)
    top = np.iinfo(image.dtype).max if image.dtype.kind in "iu" else 1.0
    change = 255 / top * math.sqrt(np.mean(np.square(clean.astype(float) - image)))
    given = "estimated from the image" if args.sigma == "estimate" else f"{args.sigma:g} of 255"
    print(f"{output}: {by(clean.shape)}, {clean.dtype}; noise {given}; "
          f"{change:.1f} of 255 grey levels (root mean square) taken away")


def _read_mask(path, image):
    """0/1 (height, width) of a mask image: black pixels are missing."""
    from keras_crsae.data.images import opaque, read_image

    mask = opaque(read_image(path)).max(axis=-1) > 0
    if mask.shape != image.shape[:2]:
        raise FileError(f"The mask {path} has {by(mask.shape)} pixels, the image {by(image.shape[:2])}.")
    if not mask.any():
        raise FileError(f"The mask {path} is black everywhere: no pixel is left. Black marks missing pixels.")
    return mask


def _zoo(args):
    from keras_crsae import zoo

    facts = {name: zoo.metadata(name) for name in zoo.names()}
    if args.json:
        print(json.dumps(facts, indent=2))
        return
    if not facts:
        raise Failure(f"No models in {zoo.folder()}. Reinstall keras-crsae.")
    width = max(map(len, facts))
    for name, known in facts.items():
        quality = "; ".join(known.get("summary", []))
        print(f"{name:{width}}  {known['task']}" + (f"; {quality}" if quality else ""))
    print(f"Cards and files: {zoo.folder()}")


def _train_denoiser(args):
    from crsae_onnx.core.atomic_files import atomic_write

    from keras_crsae.data.images import load_images
    from keras_crsae.data.paths import check_output

    output = check_output(args.output, (".keras",), args.overwrite, inputs=args.input)
    channels = 3 if args.colour else 1
    images = load_images(args.input or None, channels)
    clean = None if args.clean is None else load_images(args.clean, channels)
    low, _, high = args.sigma.partition("-")
    sigma = tuple(float(v) / 255 for v in (low, high)) if high else float(low) / 255
    minutes = 15.0 if args.steps is None and args.minutes is None else args.minutes
    start_keras()
    from keras_crsae.applications.denoising.settings import DenoiserTraining
    from keras_crsae.applications.denoising.training import train_denoiser

    settings = DenoiserTraining(
        supervised=not args.unsupervised, filters=args.filters, kernel_size=args.kernel_size, strides=args.strides,
        iterations=args.iterations, crop_pixels=args.window, learning_rate=args.learning_rate,
        low_pass_pixels=args.low_pass or 0.0, lambda_learning="em" if args.unsupervised else args.lambda_learning)
    try:
        model = train_denoiser(images, sigma=sigma, steps=args.steps, minutes=minutes, seed=args.seed, clean=clean,
                               settings=settings, add_noise=not args.noisy, checkpoint=args.checkpoint)
    except FloatingPointError as error:
        raise Failure(f"{error} No model was written; the option here is --learning-rate.") from error
    with atomic_write(output, args.overwrite) as temporary:
        model.save(temporary)
    done = model.training_record
    print(f"{output}: {model.filters} filters of {by(model.kernel_size)}, {done['steps']} steps in "
          f"{done['minutes']:.1f} min. Next: keras-crsae denoise IN.png OUT.png --model {output}")


def _export(args):
    from crsae_onnx.core.atomic_files import atomic_write

    from keras_crsae.data.paths import check_output
    from keras_crsae.models.serialization import load_crsae, saved_config

    output = check_output(args.output, (".onnx",), args.overwrite, inputs=(args.model,))
    saved_config(args.model)
    start_keras()
    from crsae_onnx.convert import convert
    from crsae_onnx.validate import ValidationError, validate

    model = load_crsae(args.model)
    # Only a file that passed the comparison gets the name asked for.
    with atomic_write(output, args.overwrite) as temporary:
        convert(model, temporary, outputs=tuple(args.outputs))
        try:
            report = validate(model, temporary) if args.validate else None
        except ValidationError as error:
            raise Failure(f"The exported file does not pass its comparison with Keras, nothing was written. {error}"
                          ) from error
    if report is not None:
        print(report)
    print(f"{output}: {output.stat().st_size / 1024:.0f} KiB, outputs {', '.join(args.outputs)}"
          + (", equal to Keras within tolerance" if args.validate else ""))


def _info(args):
    from keras_crsae.data.paths import existing_file

    suffix = os.path.splitext(args.file)[1].lower()
    if suffix == ".onnx":
        from crsae_onnx.runtime.sparse_encoder import SparseEncoder

        facts = SparseEncoder(existing_file(args.file, "a .keras or .onnx file")).info
    elif suffix == ".keras":
        from keras_crsae.models.serialization import saved_config

        saved_config(args.file)
        start_keras()
        from keras_crsae.models.serialization import describe

        facts = describe(args.file)
    else:
        existing_file(args.file, "a .keras or .onnx file")
        raise FileError(f"{args.file}: expected a .keras or .onnx file.")
    print(json.dumps(facts, indent=2, default=str) if args.json else _readable(facts, args.file))


def _readable(facts, title):
    """Facts as aligned text; nested ones (config, versions) on one line each."""
    width = max(len(name) for name in facts)

    def text(value):
        if isinstance(value, dict):
            return ", ".join(f"{k} {text(v)}" for k, v in value.items())
        if isinstance(value, list):
            shown = [text(v) for v in value[:8]]
            return ", ".join(shown) + (f", ... ({len(value)} in all)" if len(value) > 8 else "")
        return f"{value:.5g}" if isinstance(value, float) else str(value)

    return "\n".join([title, *(f"  {name.replace('_', ' '):{width}}  {text(value)}" for name, value in facts.items()
                               if name != "config")])


# Start and end


def _say(text):
    print(f"keras-crsae: {' '.join(str(text).split())}", file=sys.stderr, flush=True)


def main(arguments=None):
    """Run the command line.

    Returns:
        Exit status: 0; 2 when the input, an option or an output is unfit; 1 when the work failed; 130 after Ctrl-C.
    """
    actions = {"demo": _demo, "train": _train, "encode": _encode, "denoise": _denoise, "export": _export,
               "info": _info, "zoo": _zoo, "sort": _sort, "train-denoiser": _train_denoiser}
    args = parser().parse_args(arguments)
    with warnings.catch_warnings():
        # Of the libraries below, only what is addressed to the user.
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", UserWarning)
        warnings.showwarning = lambda message, *_, **__: _say(f"warning: {message}")
        try:
            actions[args.command](args)
        except KeyboardInterrupt:
            _say("interrupted; no output was written.")
            return 130
        except ModuleNotFoundError as error:
            return _missing(error)
        except (ValueError, FileNotFoundError, FileExistsError, PermissionError, IsADirectoryError) as error:
            _say(error)
            return 2
        except (Failure, OSError) as error:
            _say(error)
            return 1
        except Exception as error:
            if isinstance(error, MemoryError) or type(error).__name__ == "ResourceExhaustedError":
                _say("out of memory. Use a smaller --batch-size or --window.")
            else:
                traceback.print_exc()
                _say("this is a defect of keras-crsae, not of your input. Please report it with the lines above.")
            return 1
    return 0


def _missing(error):
    package = (error.name or "").split(".")[0]
    if package not in EXTRAS:
        traceback.print_exc()
        _say(f"the module {error.name} is missing: the installation is damaged. Reinstall keras-crsae.")
        return 1
    _say(f"{package} is missing. Install it with: pip install 'keras-crsae[{EXTRAS[package]}]'")
    return 2
