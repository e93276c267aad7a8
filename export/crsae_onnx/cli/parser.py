"""The command line ``crsae-onnx``: its commands and options."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from typing import Any

from crsae_onnx.cli import commands
from crsae_onnx.cli.option_types import OneLineParser, live_delay, positive_int, positive_number
from crsae_onnx.cli.options import add_progress_option, add_recording_options
from crsae_onnx.cli.run import run
from crsae_onnx.core.spec import ABOUT, COUNT_OUTPUTS, INPUTS, OUTPUTS, PIPELINES, TOLERANCES
from crsae_onnx.core.version import package_version

_FILE = ("file", "exported .onnx file")


def parser() -> argparse.ArgumentParser:
    """The command line as an argparse parser; each command's function is its default ``action``."""
    top = OneLineParser(prog="crsae-onnx", epilog="`crsae-onnx COMMAND --help` lists the options of a command.",
                        description="Convert, validate, run and describe exported encoders.")
    top.add_argument("--version", action="version", version=f"crsae-onnx {package_version()}")
    subparsers = top.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, action: Callable[[argparse.Namespace], None], text: str,
                *arguments: tuple[str, str]) -> argparse.ArgumentParser:
        sub = subparsers.add_parser(name, help=text, description=text)
        for argument, explanation in arguments:
            sub.add_argument(argument, help=explanation)
        sub.set_defaults(action=action)
        return sub

    _add_convert(command("convert", commands.convert, "Keras model to ONNX (extra: export)", ("model", ".keras file"),
                         ("output", ".onnx file to write")))
    validate = command("validate", commands.validate, "compare a Keras model with its export (extra: export)",
                       ("model", ".keras file"), _FILE)
    validate.add_argument("--tolerance", type=float, help="of the largest value (default: by the file's precision)")
    validate.add_argument("--record", action="store_true", help="write the measured difference into the file")
    _add_run(command("run", run, "encode a recording or images, or find a recording's spikes", _FILE,
                     ("input", ".npy of any real dtype, read in place: a recording (samples,) or (samples, channels), "
                               "or (batch, *space, channels); the same in .npz; raw binary .dat, .bin, .raw"),
                     ("output", ".npy file to write (.npz with --sparse, .csv with --spikes)")))
    _add_repository(command("serve-repo", commands.serve_repo, "write a model repository for NVIDIA Triton or KServe",
                            ("folder", "of the repository, created if missing")))
    _add_serve(command("serve", commands.serve, "serve files over HTTP in the Open Inference Protocol (extra: serve)"))
    info = command("info", commands.info, "print what a file says about itself", _FILE)
    info.add_argument("--json", action="store_true", help="everything, as JSON")
    return top


def _add_convert(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--outputs", nargs="+", choices=(*OUTPUTS, *COUNT_OUTPUTS[1:], *PIPELINES),
                     help="default: code and reconstruction (of counts code and mean); of a sorter's model.keras code "
                          "and spikes")
    sub.add_argument("--min-peak", type=float, metavar="VALUE", help="smallest code of a spike, for the output spikes")
    sub.add_argument("--inputs", nargs="+", choices=INPUTS, default=INPUTS[:1], help="default: signal alone")
    sub.add_argument("--tolerance", type=float, help="stop below this relative change an iteration")
    sub.add_argument("--precision", choices=tuple(TOLERANCES), default="float32",
                     help="of the convolutions; float16 is for GPUs")
    sub.add_argument("--loop", choices=("auto", "yes", "no"), default="auto",
                     help="whether the iterations are a Loop of the graph, or written out, which GPUs without control "
                          "flow need (default: written out up to 20)")
    sub.add_argument("--about", nargs="+", type=_fact, default=(), metavar="KEY=VALUE",
                     help=f"facts for a user of the file: {', '.join(ABOUT)}")
    sub.add_argument("--overwrite", action="store_true", help="replace an existing output")


def _add_run(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--reconstruct", action="store_true", help="write the reconstruction in place of the code")
    sub.add_argument("--sparse", action="store_true",
                     help="write index (batch, position), filter, value and shape of the non-zero values")
    sub.add_argument("--spikes", action="store_true",
                     help="write time (s), unit, amplitude and sample of each spike; the file must come from a sorter")
    sub.add_argument("--chunk", type=float, metavar="SECONDS",
                     help="with --spikes: give the recording in such chunks, as it would arrive")
    sub.add_argument("--delay", type=live_delay, metavar="SECONDS",
                     help="with --spikes: report each spike early, at most so long after its extremum, computing not "
                          "counted, and correct the reports later; 'least': as early as possible; 'auto': half a "
                          "template later, more accurate. The .csv then holds events (default of --chunk: 64 samples)")
    sub.add_argument("--active", action="store_true",
                     help="work only where the signal holds events, and go on to the optimum there: for signals of "
                          "stride 1, several times faster where events are rare")
    add_recording_options(sub, "default: the file's; another one is refused", "default: the encoder's")
    sub.add_argument("--window", type=positive_int, metavar="SAMPLES", help="samples that one window keeps")
    sub.add_argument("--scheduler", metavar="ADDRESS",
                     help="encode on the workers of a Dask scheduler (local: processes here), from a .npy, .zarr or "
                          "FILE.h5:DATASET into a .zarr (extra: cluster); --window is then the length of a chunk")
    sub.add_argument("--sigma", type=positive_number, metavar="X", help="noise standard deviation of this signal")
    add_progress_option(sub)
    sub.add_argument("--overwrite", action="store_true", help="replace an existing output")


def _add_repository(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("files", nargs="+", help="exported .onnx files; each becomes a model")
    sub.add_argument("--max-batch", type=int, default=8, help="signals in one run (default 8)")
    sub.add_argument("--delay", type=int, default=1000, metavar="MICROSECONDS",
                     help="that a request may wait for others (default 1000; 0: no batching by the server)")
    sub.add_argument("--device", choices=("auto", "cpu", "gpu"), default="auto")
    sub.add_argument("--instances", type=int, default=1, help="sessions of each model (default 1)")
    sub.add_argument("--threads", type=int, help="of one run on the CPU")


def _add_serve(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("files", nargs="+", help="exported .onnx files; each becomes a model")
    sub.add_argument("--host", default="127.0.0.1", help="address to listen on (default: this machine alone)")
    sub.add_argument("--port", type=int, default=3000)
    sub.add_argument("--timeout", type=float, default=30.0, metavar="SECONDS", help="of a request (default 30)")
    sub.add_argument("--concurrency", type=int, default=16, help="requests at a time (default 16)")
    sub.add_argument("--max-batch", type=int, default=8,
                     help="signals of requests that wait at the same time in one run (default 8; 1: none are joined)")
    sub.add_argument("--delay", type=int, default=1000, metavar="MICROSECONDS",
                     help="that a request may wait for others that are being read (default 1000)")
    sub.add_argument("--threads", type=int, help="of one run; default: the cores")
    sub.add_argument("--largest-body", type=int, default=2**25, metavar="BYTES", help="default 32 MiB")
    sub.add_argument("--largest-signal", type=int, default=2**21, metavar="NUMBERS", help="default 2,097,152")


def _fact(text: str) -> tuple[str, Any]:
    """KEY=VALUE as a pair; values that are numbers are read as JSON."""
    key, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"expected KEY=VALUE, received {text!r}")
    if key not in ("sampling_frequency", "pixel_range"):
        return key, value
    try:
        return key, json.loads(value)
    except ValueError:
        return key, value  # refused by convert, which names what is expected
