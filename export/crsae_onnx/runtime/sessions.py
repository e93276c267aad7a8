"""Create onnxruntime sessions, explain provider fallbacks, and run batches in parts."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from crsae_onnx.core.parallel import cores, ordered_thread_map
from crsae_onnx.core.validation import as_positive_int
from crsae_onnx.core.windowing import MAX_WHOLE_SAMPLES, MIN_PART_VALUES
from crsae_onnx.file_format.container import ModelFileError
from crsae_onnx.runtime.onnxruntime_internals import (
    CPU,
    CUDA,
    create_session,
    failure_text,
    import_onnxruntime,
    missing_provider_reason,
    preload_cuda,
)

#: A provider's name, or its name and options.
Provider = str | tuple[str, Mapping[str, Any]]
Feed = dict[str, np.ndarray]
#: ``run(output names, feed, options=None)`` -> arrays.
Runner = Callable[..., list[np.ndarray]]

#: Graph optimisations of onnxruntime, by name.
OPTIMIZATION = {"all": "ORT_ENABLE_ALL", "extended": "ORT_ENABLE_EXTENDED", "basic": "ORT_ENABLE_BASIC",
                "none": "ORT_DISABLE_ALL"}
_DEVICES = {CUDA: "cuda"}
#: Options of CUDA, unless the caller says otherwise. TF32 is onnxruntime's default on GPUs since Ampere; it rounds
#: the convolutions of a float32 file to 10 bits and would miss the file's tolerance. The exhaustive search for
#: convolutions, its default too, was measured at .27 s for every change of the signal's shape, the heuristic one at
#: .05 s, and what they find runs as fast. In float16 the heuristic one fails for images of one channel: the results
#: are right, but onnxruntime prints an error for every convolution.
CUDA_OPTIONS = {"use_tf32": "0", "cudnn_conv_algo_search": "HEURISTIC"}
_SEARCH_FLOAT16 = {"cudnn_conv_algo_search": "EXHAUSTIVE"}


def session(ort: ModuleType, content: bytes, path: Path, providers: Provider | Sequence[Provider] | None = None,
            threads: int | None = None, arena: bool = True, optimization: str = "all", spinning: bool = False,
            precision: str = "float32") -> Any:
    """A session of a file's bytes; warns where another provider than the first one given runs it.

    Args:
        ort: the package onnxruntime.
        content: bytes of the file.
        path: its name, for errors.
        providers: names, or (name, options) pairs, in order of preference; None: CUDA where this onnxruntime offers
            it, then the CPU. CUDA runs with ``CUDA_OPTIONS``, unless its options here say otherwise.
        threads: threads of one run; None: onnxruntime's choice, the cores.
        arena: keep memory between runs (faster; memory stays at its peak).
        optimization: "all", "extended", "basic" or "none". Below "all" convolutions are not fused with their sums.
        spinning: let threads wait actively for the next operator. On a busy machine they then take the time of those
            that work: measured up to twice as slow.
        precision: of the file, "float32" or "float16".

    Raises:
        ModelFileError: onnxruntime cannot load the file.
        ValueError: an invalid option, a provider that is not installed.
    """
    chosen = resolve_providers(ort.get_available_providers(), providers, precision)
    first = _name(chosen[0])
    if first == CUDA:
        preload_cuda(ort)
    options = _options(ort, threads, arena, optimization, spinning)
    reason = None
    try:
        try:
            created = create_session(ort, content, options, chosen)
        except Exception as error:
            if first == CPU:
                raise
            created, reason = create_session(ort, content, options, [CPU]), failure_text(error)
    except Exception as error:  # onnxruntime raises a family of its own, with no common public base
        raise ModelFileError(f"{path} cannot be loaded by this onnxruntime ({ort.__version__}): {failure_text(error)}. "
                             "Update onnxruntime, or convert the model again.") from error
    running = created.get_providers()
    if first not in running:
        reason = reason or missing_provider_reason(ort, first)
        warnings.warn(f"{path.name} runs on {running[0]}, not on {first}: {reason}. Mend that, or pass "
                      f"providers=[{CPU!r}].", RuntimeWarning, stacklevel=4)
    return created


def resolve_providers(installed: Sequence[str], providers: Provider | Sequence[Provider] | None,
                      precision: str = "float32") -> list[Provider]:
    """Providers as onnxruntime takes them, CUDA with its options.

    Raises:
        ValueError: none, or one that is not installed.

    Example:
        >>> from crsae_onnx.runtime.sessions import resolve_providers
        >>> resolve_providers(["CUDAExecutionProvider", "CPUExecutionProvider"], "CPUExecutionProvider")
        ['CPUExecutionProvider']
    """
    if providers is None:
        chosen: list[Any] = [name for name in (CUDA, CPU) if name in installed] or list(installed)
    else:
        chosen = [providers] if isinstance(providers, str) else list(providers)
    if not chosen or any(_name(p) not in installed for p in chosen):
        raise ValueError(f"`providers` must be some of those installed: {list(installed)}. Received: {providers!r}")
    usual = CUDA_OPTIONS | (_SEARCH_FLOAT16 if precision == "float16" else {})
    return [(CUDA, {**usual, **({} if isinstance(p, str) else p[1])}) if _name(p) == CUDA else p for p in chosen]


def _name(provider: Provider) -> str:
    return provider if isinstance(provider, str) else provider[0]


def _options(ort: ModuleType, threads: int | None, arena: bool, optimization: str, spinning: bool) -> Any:
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


def runner(ort: ModuleType, created: Any) -> Runner:
    """``run(output names, feed, options=None) -> arrays`` of a session; ``options``: ``run_options`` of this run alone.

    On a GPU inputs are bound there, and results are fetched once, at the end.
    """
    usual, device = run_options(ort), _DEVICES.get(created.get_providers()[0])
    if device is None:
        return lambda names, feed, options=None: created.run(names, feed, options or usual)
    number = int(created.get_provider_options()[CUDA].get("device_id", 0))
    return lambda names, feed, options=None: run_bound(ort, created, names, feed, options or usual, device, number)


def run_options(ort: ModuleType | None = None) -> Any:
    """onnxruntime's options of one run: nothing that the outputs do not need is computed.

    Setting ``terminate`` to True from another thread ends the run at its next operator, with an error.
    """
    options = (ort or import_onnxruntime()).RunOptions()
    options.only_execute_path_to_fetches = True
    return options


@dataclass(frozen=True)
class RunLimits:
    """How much one run of the session computes. The results do not depend on it.

    Args:
        code_values: largest code (in floats; 4 MiB) computed per run when a batch can be split. Larger runs fall out of
            cache and ran up to 30 % slower.
        code_values_gpu: the same on a GPU, where a run's cost is that of starting its operators, and memory is the
            limit.
        signal_samples: longer signals (over the batch) are encoded in windows.
        shared_code_values: least part of a code for which the windows of one signal are shared among threads.
        shared_overlaps: such a part is at least so many times as long as what it computes beyond its own. Threads that
            share single operators wait for each other after each: 400 iterations of 300,000 samples took a quarter less
            time in two parts, an eighth of which is computed twice.
    """

    code_values: int = 2**20
    code_values_gpu: int = 2**25
    signal_samples: int = MAX_WHOLE_SAMPLES
    shared_code_values: int = MIN_PART_VALUES
    shared_overlaps: int = 8


class BatchSplitter:
    """Runs a batch part by part, on the CPU as many parts at a time as there are threads, each on one.

    Args:
        create: makes a session of one thread on the CPU; called when the first batch is split there.
        whole: ``runner`` of the session of the whole.
        on_cpu: whether that session runs on the CPU.
        threads: of one run of the whole; None: the cores.
    """

    def __init__(self, create: Callable[[], Runner], whole: Runner, on_cpu: bool, threads: int | None) -> None:
        self.create, self.whole, self.on_cpu = create, whole, on_cpu
        self.threads = (threads or cores()) if on_cpu else 1  # a GPU is shared by all its threads
        self._lock, self._single = threading.Lock(), None

    def __call__(self, names: list[str], feed: Feed, size: int, options: Any = None) -> list[np.ndarray]:
        """Outputs of ``feed``, whose arrays all have the batch as their first axis; ``size`` entries make a part."""
        batch = len(next(iter(feed.values())))
        starts: Sequence[int] = range(0, batch, size)
        if not self.on_cpu:
            # A GPU plans its convolutions anew for every change of shape: all parts have one size, and the last
            # computes some entries of the one before it again.
            size = -(-batch // len(starts))
            starts = [min(at, batch - size) for at in range(0, batch, size)]
        parts = [{name: array[at:at + size] for name, array in feed.items()} for at in starts]
        if 1 < self.threads <= len(parts):
            results = list(ordered_thread_map(partial(self.single(), names, options=options), parts, self.threads))
        else:
            results = [self.whole(names, part, options) for part in parts]
        if not self.on_cpu:
            results[-1] = [array[len(parts) * size - batch:] for array in results[-1]]
        return [np.concatenate(arrays) for arrays in zip(*results, strict=True)]

    def single(self) -> Runner:
        """Runner of a session of one thread, of which several run at a time."""
        with self._lock:  # created once, and only where it is needed
            self._single = self._single or self.create()
        return self._single


def run_bound(ort: ModuleType, created: Any, names: Sequence[str], feed: Feed, options: Any, device: str,
              number: int = 0) -> list[np.ndarray]:
    """One run through an I/O binding on ``device``."""
    binding = created.io_binding()
    for name, array in feed.items():
        binding.bind_ortvalue_input(name, ort.OrtValue.ortvalue_from_numpy(array, device, number))
    for name in names:
        binding.bind_output(name, device, number)
    created.run_with_iobinding(binding, options)
    return binding.copy_outputs_to_cpu()


class Engine(NamedTuple):
    """What computes an encoder's file."""

    whole: Runner
    split: BatchSplitter
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    provider: str  #: onnxruntime's (it hands single operators that it lacks to the CPU), or "NumPy"


def engine(content: bytes, path: Path, providers: Provider | Sequence[Provider] | None, threads: int | None,
           arena: bool, optimization: str, spinning: bool, precision: str) -> Engine:
    """A file's graph in onnxruntime; arguments and errors as of ``session``."""
    ort = import_onnxruntime()
    created = session(ort, content, path, providers, threads, arena, optimization, spinning, precision)
    whole, provider = runner(ort, created), created.get_providers()[0]
    split = BatchSplitter(lambda: runner(ort, session(ort, content, path, [CPU], 1, arena, optimization)), whole,
                          provider == CPU, threads)
    return Engine(whole, split, tuple(i.name for i in created.get_inputs()),
                  tuple(o.name for o in created.get_outputs()), provider)
