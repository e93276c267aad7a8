"""Paths of files: what must be there before reading, what may be written (bottom of ``data``)."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Sequence
from os import PathLike
from pathlib import Path

from crsae_onnx.core.errors import FileError

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff")
ARRAY_SUFFIXES = (".npy", ".npz")
WAV = ".wav"
#: Names of a trained model's files in a folder of its own: for Keras, and for onnxruntime.
MODEL_FILE, ENCODER_FILE = "model.keras", "encoder.onnx"


def existing_file(path: str | PathLike[str], kind: str) -> Path:
    """``path`` as a Path, or a FileError that says what was expected there."""
    if not isinstance(path, str | PathLike):
        raise FileError(f"Expected the path of {kind}. Received: {type(path).__name__}.")
    path = Path(path)
    if path.is_dir():
        raise FileError(f"{path} is a folder. Expected {kind}.")
    if not path.is_file():
        raise FileError(f"No file at {path}. Expected {kind}.")
    if path.stat().st_size == 0:
        raise FileError(f"{path} is empty (0 bytes). Expected {kind}.")
    return path


def check_output(path: str | PathLike[str], suffixes: Sequence[str], overwrite: bool = False,
                 inputs: Iterable[str | PathLike[str]] = ()) -> Path:
    """Check, before any work, that ``path`` can be written and that nothing is lost by it.

    Args:
        path: file to write.
        suffixes: allowed endings of its name.
        overwrite: an existing file may be replaced.
        inputs: files that are read; the output may be none of them.

    Returns:
        Path.

    Raises:
        FileError: wrong ending, no such folder, unwritable folder, existing file, or an input.
    """
    path = Path(path)
    if path.suffix.lower() not in suffixes:
        raise FileError(f"The output {path} must end in {' or '.join(suffixes)}.")
    if path.is_dir():
        raise FileError(f"The output {path} is a folder. Give a file name.")
    if not path.parent.is_dir():
        raise FileError(f"No folder {path.parent} for the output {path.name}. Create it first.")
    if path.exists() and any(Path(i).exists() and path.samefile(i) for i in inputs):
        raise FileError(f"The output {path} is also an input. Choose another name.")
    if path.exists() and not overwrite:
        raise FileError(f"{path} exists. Choose another name or pass --overwrite.")
    try:
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise FileError(f"The folder {path.parent.resolve()} cannot be written to ({error.strerror}). "
                        "Choose another output.") from error
    return path


def size_text(sizes: Iterable[int]) -> str:
    """Sizes as a reader writes them: "7 x 5"."""
    return " x ".join(str(n) for n in sizes)
