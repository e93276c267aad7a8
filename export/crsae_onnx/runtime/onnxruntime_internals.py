"""All that is used of onnxruntime beyond its documentation, in one place; each function says why.

``tests/export/runtime/test_onnxruntime_internals.py`` notices when a release of onnxruntime changes it.
"""

from __future__ import annotations

import contextlib
import ctypes
import io
import os
import re
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from crsae_onnx.core.errors import one_line
from crsae_onnx.core.optional import MissingPackageError

CUDA, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"


def import_onnxruntime() -> ModuleType:
    """The package onnxruntime, its usage reports switched off.

    The variable ORT_DISABLE_TELEMETRY is read when onnxruntime is imported: without it, it keeps a database in the
    home folder and reports from it. No option of its documented interface comes early enough.

    Raises:
        MissingPackageError: it is not installed.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    try:
        import onnxruntime as ort
    except ModuleNotFoundError as error:
        raise MissingPackageError("SparseEncoder needs onnxruntime. Install it with: pip install "
                                  "'keras-crsae[runtime]', or [runtime-cpu] without a GPU.", name="onnxruntime"
                                  ) from error
    return ort


def create_session(ort: ModuleType, content: bytes, options: Any, providers: Sequence[Any]) -> Any:
    """An ``InferenceSession`` that raises where a provider fails.

    ``enable_fallback=0``, an argument without documentation, keeps onnxruntime from printing a failure and choosing
    another provider by itself; ``sessions`` does so with a warning that gives the reason.
    """
    return ort.InferenceSession(content, options, providers=providers, enable_fallback=0)


@cache  # once a process: libraries that are missing would be searched for at every session
def preload_cuda(ort: ModuleType) -> None:
    """Let onnxruntime find the CUDA libraries that pip installed beside it (``onnxruntime-gpu[cuda,cudnn]``).

    It prints what it does not find; where that matters, the session falls back and the warning says why.
    """
    if hasattr(ort, "preload_dlls"):  # since 1.21, in packages with CUDA
        with contextlib.redirect_stdout(io.StringIO()):
            ort.preload_dlls()


def missing_provider_reason(ort: ModuleType, name: str) -> str:
    """Why onnxruntime did not start a provider that it offers.

    It only logs that. Most often a library is missing, so those of CUDA are loaded from their place in the package,
    the one that both providers share first.
    """
    if name != CUDA:
        return "onnxruntime could not start that provider"
    folder = Path(ort.__file__ or "").parent / "capi"
    prefix, suffix = ("", ".dll") if sys.platform == "win32" else ("lib", ".so")
    shared, cuda = (folder / f"{prefix}onnxruntime_providers_{part}{suffix}" for part in ("shared", "cuda"))
    if not cuda.is_file():
        return f"this onnxruntime has no {cuda.name}; install onnxruntime-gpu"
    try:
        if shared.is_file():
            ctypes.CDLL(str(shared), mode=ctypes.RTLD_GLOBAL)
        ctypes.CDLL(str(cuda))
    except OSError as error:
        return failure_text(error)
    return "its libraries are there, but no CUDA device answers"


def failure_text(error: Exception) -> str:
    """An error's text on one line; of CUDA's, which come with the names of C++ functions, the failure alone.

    onnxruntime raises one exception type for all of them: only the text differs.

    Example:
        >>> from crsae_onnx.runtime.onnxruntime_internals import failure_text
        >>> failure_text(RuntimeError("CudaCall(ERRTYPE) CUDA failure 100: no device ; GPU=-1"))
        'CUDA failure 100: no device'
    """
    text = one_line(error, longest=1000).rstrip(".")
    failure = re.search(r"CU\w+ failure \d+: [^;]*[^; ]", text)
    return failure[0] if failure else text
