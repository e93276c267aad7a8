"""``keras-crsae demo``: where its figures go."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from crsae_onnx.core.errors import FileError

from keras_crsae.cli.startup import start_keras

#: Folder of the figures where none is named; an earlier demo's files there are replaced.
FOLDER = "demo-output"


def demo(args: Namespace) -> None:
    """Run the demo into a folder that holds nothing of the user's.

    Raises:
        FileError: ``args.output`` is a file, or a folder that holds files.
    """
    folder = Path(args.output or FOLDER)
    if folder.exists() and not folder.is_dir():
        raise FileError(f"{folder} is a file. --output names a folder.")
    if args.output and folder.is_dir() and any(folder.iterdir()) and not args.overwrite:
        raise FileError(f"{folder} holds files already. Choose another folder or pass --overwrite.")
    start_keras()
    from keras_crsae.demo import run_demo

    run_demo(str(folder), seed=args.seed)
