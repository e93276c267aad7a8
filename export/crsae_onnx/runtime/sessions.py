"""onnxruntime sessions: which provider runs, with which options, and why a wish was not granted."""

import contextlib
import ctypes
import io
import os
import re
import sys
import threading
import warnings
from functools import cache, partial
from pathlib import Path

import numpy as np

from crsae_onnx.core.errors import one_line
from crsae_onnx.core.parallel import cores, ordered_thread_map
from crsae_onnx.core.validation import as_positive_int
from crsae_onnx.file_format.container import ModelFileError

CUDA, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"
#: Graph optimisations of onnxruntime, by name.
OPTIMIZATION = {"all": "ORT_ENABLE_ALL", "extended": "ORT_ENABLE_EXTENDED", "basic": "ORT_ENABLE_BASIC",
                "none": "ORT_DISABLE_ALL"}
_DEVICES = {CUDA: "cuda"}
#: What CUDA runs with, unless the caller says otherwise. TF32 is onnxruntime's default on GPUs since Ampere; it rounds
#: the convolutions of a float32 file to 10 bits and would miss the contract's tolerance. The exhaustive search for
#: convolutions, its default too, was measured at .27 s for every change of the signal's shape, the heuristic one at
#: .05 s, and what they find runs as fast. In float16 the heuristic one fails for images of one channel: the results
#: are right, but onnxruntime prints an error for every convolution.
CUDA_OPTIONS = {"use_tf32": "0", "cudnn_conv_algo_search": "HEURISTIC"}
_SEARCH_FLOAT16 = {"cudnn_conv_algo_search": "EXHAUSTIVE"}


def import_onnxruntime():
    """The package onnxruntime, its usage reports switched off; the error that names the extra where it is missing."""
    # Read when onnxruntime is imported: it would keep a database in the home folder and report from it.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    try:
        import onnxruntime as ort
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("SparseEncoder needs onnxruntime. Install it with: pip install "
                                  "'keras-crsae[runtime]', or [runtime-cpu] without a GPU.",
                                  name="onnxruntime") from error
    return ort


def session(ort, content, path, providers=None, threads=None, arena=True, optimization="all", spinning=False,
            precision="float32"):
    """A session of a file's bytes; warns where another provider than the one asked for runs it.

    Args:
        ort: the package onnxruntime.
        content: bytes of the file.
        path: its name, for errors.
        providers: names, or (name, options) pairs, in order of preference; None: CUDA where this onnxruntime offers
            it, then the CPU. CUDA runs with ``CUDA_OPTIONS``, unless its own options say otherwise.
        threads: threads of one run; None: onnxruntime's choice, the cores.
        arena: keep memory between runs (faster; memory stays at its peak).
        optimization: "all", "extended", "basic" or "none". Below "all" convolutions are not fused with their sums.
        spinning: let threads wait actively for the next operator. On a busy machine they then take the time of those
            that work: measured up to twice as slow.
        precision: of the file, "float32" or "float16".

    Raises:
        ModelFileError: onnxruntime cannot load the file.
        ValueError: an unfit option, a provider that is not installed.
    """
    wanted = _wanted(ort.get_available_providers(), providers, precision)
    if _name(wanted[0]) == CUDA:
        _preload(ort)
    options = _options(ort, threads, arena, optimization, spinning)
    reason = None
    try:
        try:
            made = ort.InferenceSession(content, options, providers=wanted, enable_fallback=0)
        except Exception as error:
            if _name(wanted[0]) == CPU:
                raise
            made, reason = ort.InferenceSession(content, options, providers=[CPU], enable_fallback=0), \
                _failure(error)
    except Exception as error:  # onnxruntime raises a family of its own, with no common public base
        raise ModelFileError(f"{path} cannot be loaded by this onnxruntime ({ort.__version__}): {_failure(error)}. "
                             "Update onnxruntime, or convert the model again.") from error
    first, running = _name(wanted[0]), made.get_providers()
    if first not in running:
        reason = reason or _why_not(ort, first)
        warnings.warn(f"{path.name} runs on {running[0]}, not on {first}: {reason}. Mend that, or pass "
                      f"providers=[{CPU!r}].", RuntimeWarning, stacklevel=3)
    return made


def _wanted(installed, providers, precision="float32"):
    if providers is None:
        wanted = [name for name in (CUDA, CPU) if name in installed] or list(installed)
    else:
        wanted = [providers] if isinstance(providers, str) else list(providers)
    if not wanted or any(_name(p) not in installed for p in wanted):
        raise ValueError(f"`providers` must be some of those installed: {installed}. Received: {providers!r}")
    usual = CUDA_OPTIONS | (_SEARCH_FLOAT16 if precision == "float16" else {})
    return [(CUDA, usual | ({} if isinstance(p, str) else p[1])) if _name(p) == CUDA else p for p in wanted]


@cache  # once a process: libraries that are missing would be looked for at every session
def _preload(ort):
    """Let onnxruntime find the CUDA libraries that pip installed beside it (``onnxruntime-gpu[cuda,cudnn]``).

    It prints what it does not find; where that matters, the session falls back and the warning says why.
    """
    if hasattr(ort, "preload_dlls"):
        with contextlib.redirect_stdout(io.StringIO()):
            ort.preload_dlls()


def _name(provider):
    return provider if isinstance(provider, str) else provider[0]


def _options(ort, threads, arena, optimization, spinning):
    threads = 0 if threads is None else as_positive_int(threads, "threads")
    if optimization not in OPTIMIZATION:
        raise ValueError(f"`optimization` must be one of {tuple(OPTIMIZATION)}. Received: {optimization!r}")
    options = ort.SessionOptions()
    options.log_severity_level = 4  # what is wrong is raised or warned of; the log would repeat it
    options.intra_op_num_threads = threads
    options.enable_cpu_mem_arena = bool(arena)
    options.add_session_config_entry("session.intra_op.allow_spinning", "1" if spinning else "0")
    options.graph_optimization_level = getattr(ort.GraphOptimizationLevel, OPTIMIZATION[optimization])
    return options


def _why_not(ort, name):
    """Why onnxruntime left a provider out. It only logs that; the reason most often is a library that is missing."""
    if name != CUDA:
        return "onnxruntime could not start that provider"
    file = "onnxruntime_providers_cuda.dll" if sys.platform == "win32" else "libonnxruntime_providers_cuda.so"
    library = Path(ort.__file__).parent / "capi" / file
    if not library.is_file():
        return f"this onnxruntime has no {file}; install onnxruntime-gpu"
    try:
        ctypes.CDLL(str(library))
    except OSError as error:
        if "undefined symbol" not in str(error):  # which only says that its libraries were found
            return _failure(error)
    return "its libraries are there, but no CUDA device answers"


def _failure(error):
    """An error's text; of CUDA's, which comes with the names of C++ functions, the failure alone."""
    text = one_line(error, longest=1000).rstrip(".")
    failure = re.search(r"CU\w+ failure \d+: [^;]*[^; ]", text)
    return failure[0] if failure else text


def runner(ort, made):
    """``run(output names, feed, options=None) -> arrays`` of a session; ``options``: ``run_options`` of this run alone.

    On a GPU inputs are bound there, and results are fetched once, at the end.
    """
    own, device = run_options(ort), _DEVICES.get(made.get_providers()[0])
    if device is None:
        return lambda names, feed, options=None: made.run(names, feed, options or own)
    number = int(made.get_provider_options()[CUDA].get("device_id", 0))
    return lambda names, feed, options=None: run_bound(ort, made, names, feed, options or own, device, number)


def run_options(ort=None):
    """onnxruntime's options of one run: nothing that the outputs do not need is computed.

    Setting ``terminate`` to True from another thread ends the run at its next operator, with an error.
    """
    options = (ort or import_onnxruntime()).RunOptions()
    options.only_execute_path_to_fetches = True
    return options


class Parts:
    """Runs a batch part by part, on the CPU as many parts at a time as there are threads, each on one.

    Args:
        ort, content, path, arena, optimization: as for ``session``.
        made: the session of the whole, and ``whole``, its ``runner``.
        threads: of one run of the whole; None: the cores.
    """

    def __init__(self, ort, content, path, made, whole, threads, arena, optimization):
        self.whole, self.lock, self.one = whole, threading.Lock(), None
        self.threads = threads or cores()
        self.even = made.get_providers()[0] != CPU
        if self.even:
            self.threads = 1  # a GPU is shared by all its threads
        self.make = lambda: runner(ort, session(ort, content, path, [CPU], 1, arena, optimization))

    def __call__(self, names, feed, size, options=None):
        """Outputs of ``feed``, whose arrays all have the batch as their first axis; ``size`` entries make a part."""
        batch = len(next(iter(feed.values())))
        starts = range(0, batch, size)
        if self.even:
            # A GPU plans its convolutions anew for every change of shape: all parts have one size, and the last
            # computes some entries of the one before it again.
            size = -(-batch // len(starts))
            starts = [min(at, batch - size) for at in range(0, batch, size)]
        parts = [{name: array[at:at + size] for name, array in feed.items()} for at in starts]
        if 1 < self.threads <= len(parts):
            made = list(ordered_thread_map(partial(self.alone(), names, options=options), parts, self.threads))
        else:
            made = [self.whole(names, part, options) for part in parts]
        if self.even:
            made[-1] = [array[len(parts) * size - batch:] for array in made[-1]]
        return [np.concatenate(arrays) for arrays in zip(*made, strict=True)]

    def alone(self):
        """Runner of a session of one thread, of which several run at a time."""
        with self.lock:  # made once, and only where it is needed
            self.one = self.one or self.make()
        return self.one


def run_bound(ort, made, names, feed, options, device, number=0):
    """One run through an I/O binding on ``device``."""
    binding = made.io_binding()
    for name, array in feed.items():
        binding.bind_ortvalue_input(name, ort.OrtValue.ortvalue_from_numpy(array, device, number))
    for name in names:
        binding.bind_output(name, device, number)
    made.run_with_iobinding(binding, options)
    return binding.copy_outputs_to_cpu()
