"""``crsae-onnx``: convert, validate, run and describe exported encoders."""

import argparse
import json
import sys
from pathlib import Path

import numpy as np

from crsae_onnx.cli.spikes import run_spikes
from crsae_onnx.core.atomic_files import atomic_write
from crsae_onnx.core.raw_binary import RAW_DTYPES, RAW_SUFFIXES, open_raw
from crsae_onnx.core.signals import check_layout
from crsae_onnx.core.spec import ABOUT, INPUTS, OUTPUTS, PIPELINES, TOLERANCES
from crsae_onnx.core.windowing import code_shape
from crsae_onnx.file_format.description import describe
from crsae_onnx.runtime.sparse_encoder import SparseEncoder
from crsae_onnx.serving.triton_repository import write_repository


def _convert(args):
    from crsae_onnx.convert import convert

    model = _load(args.model)
    path = convert(model, args.output, outputs=args.outputs, inputs=args.inputs, tolerance=args.tolerance,
                   overwrite=args.overwrite, about=dict(args.about), precision=args.precision,
                   spikes=args.spike_threshold)
    print(f"{path}: {path.stat().st_size / 1024:.0f} KiB")
    if model.encoder.active:
        print(f"The model has active=True and goes on to the optimum; the file computes every position and stops after "
              f"{model.encoder.iterations} iterations.")


def _validate(args):
    from crsae_onnx.validate import validate

    report = validate(_load(args.model), args.file, tolerance=args.tolerance, record=args.record)
    print(report)
    print(f"equal to Keras within {report.difference:.1e} of the largest value")


def _load(path):
    from keras_crsae.cli.startup import start_keras
    from keras_crsae.models.serialization import load_crsae, saved_config

    saved_config(path)  # what is no model is refused before TensorFlow starts
    start_keras()
    return load_crsae(path)


def _run(args):
    output = Path(args.output)
    if args.scheduler is not None or output.suffix == ".zarr":
        return _run_cluster(args)
    _check_spikes(args, output)
    if output.exists() and not args.overwrite:
        raise FileExistsError(f"{output} exists. Choose another name or pass --overwrite.")
    if args.sparse and (args.reconstruct or output.suffix != ".npz"):
        raise ValueError("--sparse writes a code's non-zero values: name an .npz file and leave out --reconstruct.")
    if not (args.sparse or args.spikes) and output.suffix != ".npy":
        raise ValueError(f"Expected an output named .npy (.npz with --sparse, .csv with --spikes). Received: {output}")
    if output.resolve() == Path(args.input).resolve():
        raise ValueError(f"{output} is the input. Choose another name.")
    encoder = SparseEncoder(args.file)
    if args.spikes and Path(args.input).suffix.lower() in RAW_SUFFIXES and Path(args.input).is_file():
        signal = open_raw(args.input, encoder.info["channels"], args.dtype)
    else:
        signal = _open(args.input)
    options = {"progress": True if args.progress and encoder.info["rank"] == 1 else None}
    if args.window is not None:
        options["window"] = args.window
    if args.sigma is not None:
        options["sigma"] = args.sigma
    with atomic_write(output) as temporary:
        told = _write(encoder, signal, temporary, args, options)
    print(f"{output}: {told}")


def _run_cluster(args):
    from crsae_onnx.runtime.cluster import run_cluster

    unfit = [f"--{name}" for name in ("sparse", "spikes", "sigma", "chunk", "progress") if getattr(args, name)]
    if unfit:
        raise ValueError(f"On a cluster a dense array is written: leave out {', '.join(unfit)}.")
    local = args.scheduler in (None, "local")
    shape = run_cluster(args.file, args.input, args.output, None if local else args.scheduler,
                        "reconstruction" if args.reconstruct else "code", args.window, overwrite=args.overwrite)
    print(f"{args.output}: shape {shape}")


def _check_spikes(args, output):
    if not args.spikes:
        if args.chunk is not None:
            raise ValueError("--chunk is for --spikes.")
        return
    unfit = [f"--{name}" for name in ("sparse", "reconstruct", "window", "sigma") if getattr(args, name)]
    if unfit:
        raise ValueError(f"--spikes writes a table of spikes: leave out {', '.join(unfit)}.")
    if output.suffix != ".csv":
        raise ValueError(f"--spikes writes a .csv file. Received: {output}")


def _open(path):
    """A ``.npy`` file, mapped: a recording larger than memory is read window by window."""
    if not Path(path).is_file():
        raise FileNotFoundError(f"No file at {path}. Expected a .npy array.")
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise ValueError(f"{path} is not a .npy array of numbers: {error}") from error


def _write(encoder, signal, temporary, args, options):
    """Encode, or find spikes, into ``temporary``; returns what to tell the user."""
    if args.spikes:
        return run_spikes(encoder, signal, temporary, chunk=args.chunk, progress=args.progress)
    if args.sparse:
        code = encoder.encode(signal, sparse=True, **options)
        with temporary.open("wb") as file:
            np.savez(file, index=code.index, filter=code.filter, value=code.value, shape=np.array(code.shape))
        return f"{len(code.value)} non-zero values of a code of shape {code.shape}"
    run, info = encoder.reconstruct if args.reconstruct else encoder.encode, encoder.info
    if info["rank"] == 1:
        check_layout(signal, 1, info["kernel_size"], info["channels"])
        shape = signal.shape if args.reconstruct else code_shape(
            signal.shape, kernel_size=info["kernel_size"], strides=info["strides"], filters=info["filters"])
        # The windows go straight to the file: a code is larger than its signal.
        made = run(signal, out=np.lib.format.open_memmap(temporary, "w+", np.float32, shape), **options)
        made.flush()
    else:
        made = run(signal, **options)
        with temporary.open("wb") as file:
            np.save(file, made)
    return f"shape {made.shape}, {np.count_nonzero(made) / made.size:.2%} non-zero"


def _info(args):
    facts, text = describe(args.file)
    print(json.dumps(facts, indent=2) if args.json else text)


def _serve_repo(args):
    made = write_repository(args.folder, args.files, max_batch=args.max_batch, delay=args.delay, device=args.device,
                            instances=args.instances, threads=args.threads)
    print("\n".join(f"{args.folder}/{name}/{version}/model.onnx" for name, version in made.items()))


def _serve(args):
    for file in args.files:
        describe(file)  # what is no encoder is refused before the server starts
    try:
        from crsae_onnx.serving.server import serve, settings
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"The server needs the package {error.name}. Install it with: "
                                  "pip install 'keras-crsae[serve]'", name=error.name) from error
    return serve(settings(args.files, args.timeout, args.concurrency, args.threads, args.largest_body,
                          args.largest_signal), args.host, args.port)


def _fact(text):
    """KEY=VALUE as a pair; values that are numbers are read as JSON."""
    key, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"expected KEY=VALUE, received {text!r}")
    if key not in ("sampling_frequency", "pixel_range"):
        return key, value
    try:
        return key, json.loads(value)
    except ValueError:
        return key, value  # refused by convert, which says what it wants


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

    file, overwrite = ("file", "exported .onnx file"), dict(action="store_true", help="replace an existing output")
    convert = command("convert", _convert, "Keras model to ONNX (extra: export)", ("model", ".keras file"),
                      ("output", ".onnx file to write"))
    convert.add_argument("--outputs", nargs="+", choices=OUTPUTS + PIPELINES, default=OUTPUTS,
                         help="default: code and reconstruction")
    convert.add_argument("--spike-threshold", type=float, metavar="VALUE",
                         help="of the code, for the output spikes")
    convert.add_argument("--inputs", nargs="+", choices=INPUTS, default=INPUTS[:1], help="default: signal alone")
    convert.add_argument("--tolerance", type=float, help="stop below this relative change an iteration")
    convert.add_argument("--precision", choices=tuple(TOLERANCES), default="float32",
                         help="of the convolutions; float16 is for GPUs")
    convert.add_argument("--about", nargs="+", type=_fact, default=(), metavar="KEY=VALUE",
                         help=f"what a user of the file should know: {', '.join(ABOUT)}")
    convert.add_argument("--overwrite", **overwrite)
    validate = command("validate", _validate, "compare a Keras model with its export (extra: export)",
                       ("model", ".keras file"), file)
    validate.add_argument("--tolerance", type=float, help="of the largest value (default: by the file's precision)")
    validate.add_argument("--record", action="store_true", help="write the measured difference into the file")
    run = command("run", _run, "encode a .npy signal (batch, *space, channels), or find a recording's spikes", file,
                  ("input", ".npy signal, any real dtype, read in place; with --spikes (samples, channels) or "
                            "(samples,), or raw binary .dat, .bin, .raw"),
                  ("output", ".npy file to write (.npz with --sparse, .csv with --spikes)"))
    run.add_argument("--reconstruct", action="store_true", help="write the reconstruction in place of the code")
    run.add_argument("--sparse", action="store_true",
                     help="write index (batch, position), filter, value and shape of the non-zero values")
    run.add_argument("--spikes", action="store_true",
                     help="write time (s), unit, amplitude and sample of each spike; the file must come from a sorter")
    run.add_argument("--dtype", choices=RAW_DTYPES, default="int16",
                     help="with --spikes: type of a raw binary file's samples (default int16)")
    run.add_argument("--chunk", type=float, metavar="SECONDS",
                     help="with --spikes: give the recording in such chunks, as it would arrive")
    run.add_argument("--window", type=int, metavar="SAMPLES", help="samples that one window keeps")
    run.add_argument("--scheduler", metavar="ADDRESS",
                     help="encode on the workers of a Dask scheduler (local: processes here), from a .npy, .zarr or "
                          "FILE.h5:DATASET into a .zarr (extra: cluster); --window is then the length of a chunk")
    run.add_argument("--sigma", type=float, help="noise standard deviation of this signal")
    run.add_argument("--progress", action="store_true", help="show a bar, one step a window")
    run.add_argument("--overwrite", **overwrite)
    repo = command("serve-repo", _serve_repo, "write a model repository for NVIDIA Triton or KServe",
                   ("folder", "of the repository, made where it is missing"))
    repo.add_argument("files", nargs="+", help="exported .onnx files; each is a model of its own")
    repo.add_argument("--max-batch", type=int, default=8, help="signals in one run (default 8)")
    repo.add_argument("--delay", type=int, default=1000, metavar="MICROSECONDS",
                      help="that a request may wait for others (default 1000; 0: no batching by the server)")
    repo.add_argument("--device", choices=("auto", "cpu", "gpu"), default="auto")
    repo.add_argument("--instances", type=int, default=1, help="sessions of each model (default 1)")
    repo.add_argument("--threads", type=int, help="of one run on the CPU")
    serving = command("serve", _serve, "serve files over HTTP in the Open Inference Protocol (extra: serve)")
    serving.add_argument("files", nargs="+", help="exported .onnx files; each is a model of its own")
    serving.add_argument("--host", default="127.0.0.1", help="address to listen on (default: this machine alone)")
    serving.add_argument("--port", type=int, default=3000)
    serving.add_argument("--timeout", type=float, default=30.0, metavar="SECONDS", help="of a request (default 30)")
    serving.add_argument("--concurrency", type=int, default=8, help="requests at a time (default 8)")
    serving.add_argument("--threads", type=int, help="of one run; default: the cores")
    serving.add_argument("--largest-body", type=int, default=2**25, metavar="BYTES", help="default 32 MiB")
    serving.add_argument("--largest-signal", type=int, default=2**21, metavar="NUMBERS", help="default 2,097,152")
    info = command("info", _info, "print what a file says about itself", file)
    info.add_argument("--json", action="store_true", help="everything, as JSON")
    return top


def main(arguments=None):
    """Run the command line; errors of the user's input become one line and exit status 2."""
    args = parser().parse_args(arguments)
    try:
        return args.action(args) or 0
    except ModuleNotFoundError as error:
        hint = "" if "pip install" in str(error) else " Install it with: pip install 'keras-crsae[export]'"
        print(f"crsae-onnx: {error}.{hint}".replace("..", "."), file=sys.stderr)
        return 2
    except (ValueError, OSError) as error:
        print(f"crsae-onnx: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
