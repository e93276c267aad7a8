"""``crsae-onnx``: convert, validate, run and describe exported encoders."""

import argparse
import json
import sys
from pathlib import Path

import numpy as np

from crsae_onnx.runtime import SparseEncoder


def _convert(args):
    from crsae_onnx.convert import convert

    print(convert(_load(args.model), args.output, overwrite=args.overwrite))


def _validate(args):
    from crsae_onnx.validate import validate

    for row in validate(_load(args.model), args.file):
        print(f"{row['output']:15} {str(row['shape']):20} {row['difference']:.1e}")


def _load(path):
    import keras

    import keras_crsae  # noqa: F401  registers the classes

    return keras.saving.load_model(path)


def _run(args):
    output = Path(args.output)
    if output.exists() and not args.overwrite:
        raise FileExistsError(f"{output} exists. Choose another name or pass --overwrite.")
    encoder = SparseEncoder(args.file)
    signal = np.load(args.input, allow_pickle=False)
    made = encoder.reconstruct(signal) if args.reconstruct else encoder.encode(signal)
    with output.open("wb") as file:
        np.save(file, made)
    print(f"{output}: shape {made.shape}, {np.count_nonzero(made) / made.size:.2%} non-zero")


def _info(args):
    print(json.dumps(SparseEncoder(args.file).info, indent=2))


def parser():
    """The command line as an argparse parser."""
    top = argparse.ArgumentParser(prog="crsae-onnx", description=__doc__)
    commands = top.add_subparsers(required=True, metavar="command")

    def command(name, action, text, *arguments):
        sub = commands.add_parser(name, help=text, description=text)
        for argument, explanation in arguments:
            sub.add_argument(argument, help=explanation)
        sub.set_defaults(action=action)
        return sub

    file = ("file", "exported .onnx file")
    command("convert", _convert, "Keras model to ONNX (extra: export)", ("model", ".keras file"),
            ("output", ".onnx file to write")).add_argument("--overwrite", action="store_true")
    command("validate", _validate, "compare a Keras model with its export (extra: export)",
            ("model", ".keras file"), file)
    run = command("run", _run, "encode a .npy signal (batch, *space, channels)", file, ("input", ".npy signal"),
                  ("output", ".npy code to write"))
    run.add_argument("--reconstruct", action="store_true", help="write the reconstruction in place of the code")
    run.add_argument("--overwrite", action="store_true")
    command("info", _info, "print what a file says about itself", file)
    return top


def main(arguments=None):
    """Run the command line; errors of the user's input become one line and exit status 2."""
    args = parser().parse_args(arguments)
    try:
        args.action(args)
    except (ValueError, OSError) as error:
        print(f"crsae-onnx: {error}", file=sys.stderr)
        return 2
    except ModuleNotFoundError as error:
        print(f"crsae-onnx: {error.name} is missing. Install it with: pip install 'keras-crsae[export]'",
              file=sys.stderr)
        return 2
    return 0
