"""The commands of ``crsae-onnx`` but ``run``: convert, validate, info, serve-repo, serve."""

from __future__ import annotations

import json
from argparse import Namespace

from crsae_onnx.cli.loaders import load_model, outputs_and_spikes
from crsae_onnx.core.optional import import_optional
from crsae_onnx.file_format.description import describe
from crsae_onnx.serving.triton_repository import write_repository


def convert(args: Namespace) -> None:
    """Write a model's ``.onnx`` file."""
    from crsae_onnx.convert import convert

    outputs, spikes = outputs_and_spikes(args.model, args.outputs, args.inputs, args.min_peak)
    path = convert(load_model(args.model), args.output, outputs=outputs, inputs=args.inputs,
                   tolerance=args.tolerance, overwrite=args.overwrite, about=dict(args.about),
                   precision=args.precision, spikes=spikes,
                   loop={"auto": "auto", "yes": True, "no": False}[args.loop])
    facts = describe(path)[0]
    print(f"{path}: {path.stat().st_size / 1024:.0f} KiB, outputs {', '.join(facts['outputs'])}")
    if facts["active"]:
        print("The model has active=True and goes on to the optimum; the file's graph computes every position and "
              f"stops after {facts['iterations']} iterations. `crsae-onnx run --active` goes on as the model does.")


def validate(args: Namespace) -> None:
    """Compare a model with its file, and print the differences."""
    from crsae_onnx.validate import validate

    report = validate(load_model(args.model), args.file, tolerance=args.tolerance, record=args.record)
    print(report)
    print(f"equal to Keras within {report.difference:.1e} of the largest value")


def info(args: Namespace) -> None:
    """Print what a file says about itself."""
    facts, text = describe(args.file)
    print(json.dumps(facts, indent=2) if args.json else text)


def serve_repo(args: Namespace) -> None:
    """Write a model repository."""
    versions = write_repository(args.folder, args.files, max_batch=args.max_batch, delay=args.delay,
                                device=args.device, instances=args.instances, threads=args.threads)
    print("\n".join(f"{args.folder}/{name}/{version}/model.onnx" for name, version in versions.items()))


def serve(args: Namespace) -> None:
    """Become a server of files."""
    for file in args.files:
        describe(file)  # a file that is no encoder is refused before the server starts
    server = import_optional("crsae_onnx.serving.server", "The server")
    text = server.settings(args.files, args.timeout, args.concurrency, args.threads, args.largest_body,
                           args.largest_signal, args.max_batch, args.delay)
    server.serve(text, args.host, args.port)
