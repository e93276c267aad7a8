"""Codes, reconstructions and parts of signals of any length, and how converged they are."""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import numpy as np
import tensorflow as tf
from crsae_onnx.core.errors import SignalError
from crsae_onnx.core.parallel import cores, ordered_thread_map
from crsae_onnx.core.signals import (
    as_float32,
    as_sigma,
    as_signal,
    check_layout,
    is_masked,
    refuse_other_containers,
    with_own_mask,
)
from crsae_onnx.core.validation import as_positive_int
from crsae_onnx.core.windowing import (
    MAX_WHOLE_SAMPLES,
    MIN_PART_VALUES,
    WINDOW_SAMPLES,
    WindowOptions,
    encode_windows,
    receptive_field,
    reconstruct_windows,
    shared_window,
)
from keras import ops

from keras_crsae._validation import as_sample_weight
from keras_crsae.layers import ConvDictionary, SparseCoding
from keras_crsae.models.compiled_passes import concurrent_graph
from keras_crsae.problem.code_priors import CodePrior
from keras_crsae.problem.likelihoods import Likelihood
from keras_crsae.problem.measurements import mask_or_identity, observation_mask
from keras_crsae.problem.objective import Problem, dual_objective, objective
from keras_crsae.solvers.proximal_step import in_place
from keras_crsae.training.inputs import is_array, unshuffled
from keras_crsae.typing import Tensor


class Convergence(NamedTuple):
    """How far each signal's code is from the optimum; float64 arrays (batch,)."""

    objective: np.ndarray  #: 1/2 ||y - D z||^2 + sigma^2 sum_c lambda_c ||z_c||_1
    gap: np.ndarray  #: duality gap: the optimum is lower by at most this
    remaining: np.ndarray  #: gap / (objective of the zero code - objective): bounds the share of the drop to come


#: Passes over parts of a signal or batch that run at a time, at most; more cores work inside the operators.
MOST_WORKERS = 4
_TRACING = threading.Lock()


class EncodingModel(Protocol):
    """What the encoding reads of the model that owns it; no more than this."""

    rank: int
    filters: int
    kernel_size: tuple[int, ...]
    built: bool
    dictionary: ConvDictionary
    decoder: ConvDictionary
    encoder: SparseCoding
    jit_compile: bool
    code_prior: CodePrior
    likelihood: Likelihood

    @property
    def compute_dtype(self) -> str: ...

    @property
    def variable_dtype(self) -> str: ...

    def build(self, input_shape: tuple[int | None, ...]) -> None: ...

    def crop(self, reconstruction: Tensor, signal: Tensor) -> Tensor: ...

    def check_built(self) -> None: ...

    def restore_constraints(self) -> None: ...


class Encoding:
    """Runs a model's forward passes on NumPy arrays; they are compiled once and serve every length.

    With ``compile(jit_compile=True)``, or ``model.jit_compile = True``, XLA compiles those of ``encode`` and
    ``reconstruct`` on the CPU, once for each length: faster where the machine has no AVX-512 (docs/speed.md).

    Args:
        model: the model that owns it.
        workers: passes that run at a time, at most; None: as the machine and TensorFlow's settings allow.
        min_values: numbers of a code that are worth a worker of their own.
        on_cpu: whether TensorFlow runs on CPUs alone; None: looked up.
    """

    def __init__(self, model: EncodingModel, workers: int | None = None, min_values: int = MIN_PART_VALUES,
                 on_cpu: bool | None = None) -> None:
        self.model, self.workers, self.min_values, self.on_cpu = model, workers, min_values, on_cpu
        self.graphs: dict[tuple[Any, ...], Callable[..., np.ndarray]] = {}

    def encode(self, signal: Any, mask: Any = None, sigma: Any = None, *, out: Any = None, sparse: bool = False,
               window: int | None = None, overlap: int | None = None, batch_size: int | None = None,
               progress: Any = None) -> Any:
        """See ``CRsAE.encode``."""
        in_windows = sparse or progress or any(v is not None for v in (out, window, overlap))
        if self.model.rank == 1 and (in_windows or _is_long(signal)):
            signal, mask = with_own_mask(signal, mask)
            self._check_long(signal)
            options = self._windows(window, overlap, batch_size, self._max_workers())
            return encode_windows(self._encode_piece, signal, options, out=out, sparse=sparse, progress=progress,
                                  mask=mask, sigma=sigma)
        if in_windows:
            raise ValueError("`out`, `sparse`, `window`, `overlap` and `progress` are for signals (rank 1). "
                             f"Received: rank={self.model.rank}. Encode images without them.")
        return self._pass("encode", *self.as_input(signal, mask, sigma), batch_size)

    def decode(self, code: Any) -> np.ndarray:
        """See ``CRsAE.decode``."""
        refuse_other_containers(code, "code")
        code = np.asarray(code)
        self.model.check_built()
        rank, filters = self.model.rank, self.model.filters
        if code.ndim != rank + 2 or code.shape[-1] != filters:
            raise ValueError(f"`code` must have shape (batch, {rank} axes of positions, {filters} filters). "
                             f"Received: shape {code.shape}")
        return self.run_graph("decode", code)

    def reconstruct(self, signal: Any, mask: Any = None, sigma: Any = None) -> np.ndarray:
        """See ``CRsAE.reconstruct``."""
        return self._pass("reconstruct", *self.as_input(signal, mask, sigma))

    def separate(self, signal: Any, mask: Any = None, sigma: Any = None) -> np.ndarray:
        """See ``CRsAE.separate``."""
        signal, mask, sigma = self.as_input(signal, mask, sigma)
        code = self._pass("encode", signal, mask, sigma)
        space = tuple(slice(0, n) for n in signal.shape[1:-1])
        parts = [self.decode(np.where(np.arange(self.model.filters) == c, code, 0))[(slice(None), *space)]
                 for c in range(self.model.filters)]
        return np.stack(parts, axis=-1)

    def predicts_in_windows(self, signal: Any) -> bool:
        """Whether ``predict`` reconstructs this signal in windows: rank 1 and more than 2^20 samples."""
        return self.model.rank == 1 and _is_long(signal)

    def predict_in_windows(self, signal: Any, batch_size: int | None, verbose: int | str) -> np.ndarray:
        """Reconstruction of a signal that is too long for one piece."""
        self._check_long(signal)
        options = self._windows(None, None, batch_size, self._max_workers())
        return reconstruct_windows(self._reconstruct_piece, signal, options,
                                   progress=None if verbose in (0, "auto") else True)

    def prediction_data(self, x: Any) -> Any:
        """``x`` of ``predict``: arrays checked and cast, sources in their own order, streams as they are."""
        if self.model.built:
            self.model.restore_constraints()
        if is_masked(x):
            raise SignalError("`predict` takes no mask, and `x` is a masked array with masked values: they would count "
                              "as data. Use model.reconstruct(x), which takes it.")
        x = unshuffled(x)
        if is_array(x):
            return self._as_signal(x, "x")
        refuse_other_containers(x, "x")
        return x

    def convergence(self, signal: Any, code: Any = None, mask: Any = None, sigma: Any = None) -> Convergence:
        """See ``CRsAE.convergence``."""
        model = self.model
        signal, mask, sigma = self.as_input(signal, mask, sigma)
        code = self._pass("encode", signal, mask, sigma) if code is None else as_float32(code, "code")
        expected = (len(signal), *model.dictionary.code_space(signal.shape[1:-1]), model.filters)
        if code.shape != expected:
            raise ValueError(f"`code` must have shape {expected} for a signal {signal.shape}. Received: {code.shape}")
        signal, code = (ops.cast(array, model.variable_dtype) for array in (signal, code))
        padded, observed = model.encoder.pad_to_strides(signal, observation_mask(mask, signal))
        problem = Problem(model.likelihood, model.code_prior, mask_or_identity(observed))
        padded, weight = problem.measurement.forward(padded), model.encoder.cell.penalty_weight(sigma)
        eta = ops.cast(model.dictionary(code), model.variable_dtype)
        zero = objective(problem, padded, tf.zeros_like(code), tf.zeros_like(eta), weight)
        value = objective(problem, padded, code, eta, weight)
        lower = dual_objective(problem, padded, eta, model.dictionary.adjoint, weight)
        gap = tf.maximum(value - lower, 0.0)
        return Convergence(*(v.numpy() for v in (value, gap, gap / tf.maximum(zero - value, 1e-30))))

    # Pieces

    def _as_signal(self, signal: Any, name: str) -> np.ndarray:
        model = self.model
        return as_signal(signal, model.rank, model.dictionary.channels if model.built else None, model.kernel_size,
                         name)

    def _build_for(self, signal: Any) -> None:
        if not self.model.built:
            self.model.build((None,) * (self.model.rank + 1) + (signal.shape[-1],))
        self.model.restore_constraints()

    def _check_long(self, signal: Any) -> None:
        check_layout(signal, 1, self.model.kernel_size, self.model.dictionary.channels if self.model.built else None)
        self._build_for(signal)

    def as_input(self, signal: Any, mask: Any, sigma: Any
                 ) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None]:
        """Signal, mask and sigma after their checks at the door; masked samples of a masked array are missing."""
        signal, mask = with_own_mask(signal, mask)
        signal = self._as_signal(signal, "signal")
        self._build_for(signal)
        if mask is not None:
            refuse_other_containers(mask, "mask")
            mask = np.asarray(mask)
            if mask.ndim == signal.ndim and all(m in (1, n) for m, n in zip(mask.shape, signal.shape, strict=True)):
                mask = np.broadcast_to(mask, signal.shape)
            mask = as_sample_weight(mask, signal, "mask")
            if mask.ndim == 1:
                raise ValueError(f"`mask` must have the signal's shape {signal.shape}, or that without its channels. "
                                 f"Received: shape {mask.shape}")
            mask = np.broadcast_to(mask, signal.shape)
        return signal, mask, None if sigma is None else as_sigma(sigma, len(signal))

    def _windows(self, window: int | None, overlap: int | None, batch_size: int | None, workers: int) -> WindowOptions:
        model = self.model
        return WindowOptions(model.kernel_size, model.filters, model.encoder.iterations, model.dictionary.strides,
                             WINDOW_SAMPLES if window is None else window, overlap,
                             1 if batch_size is None else batch_size, workers)

    def _pass(self, name: str, signal: np.ndarray, mask: np.ndarray | None, sigma: Any,
              batch_size: int | None = None) -> np.ndarray:
        """A graph run on checked arrays, on the CPU part by part, several parts at a time.

        Between operators, and where one is too small to be shared, TensorFlow leaves cores idle: two halves at a time
        took a sixth less. What stops by the values of a whole batch, or by events, stays whole.
        """
        model = self.model
        whole = model.encoder.tolerance is not None or model.encoder.active
        workers = 1 if whole or batch_size is not None else self._max_workers()
        if len(signal) == 1 and model.rank == 1 and name == "encode":
            (size,), (stride,) = model.kernel_size, model.dictionary.strides
            window = shared_window(signal.shape[1], kernel_size=size, strides=stride, filters=model.filters,
                                   overlap=receptive_field(model.encoder.iterations, size, stride), workers=workers,
                                   min_values=self.min_values)
            if window is not None:
                return encode_windows(self._encode_piece, signal, self._windows(window, None, None, workers),
                                      mask=mask, sigma=sigma)
        slices = self._batches(signal, batch_size, workers)
        parts = list(ordered_thread_map(lambda i: self.run_graph(name, signal[i], **_of_entries(mask, sigma, i)),
                                        slices, min(workers, len(slices))))
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _max_workers(self) -> int:
        return available_workers(on_cpu=self.on_cpu) if self.workers is None else self.workers

    def _batches(self, signal: np.ndarray, batch_size: int | None, workers: int) -> list[slice]:
        """Slices of the batch: of ``batch_size``, or of about 2^20 samples and at least one for each worker."""
        if batch_size is not None:
            size = as_positive_int(batch_size, "batch_size")
        else:
            values = signal.size // signal.shape[-1] * self.model.filters // math.prod(self.model.dictionary.strides)
            share = -(-len(signal) // max(1, min(workers, values // self.min_values)))
            size = max(1, min(share, MAX_WHOLE_SAMPLES // math.prod(signal.shape[1:-1])))
        return [slice(i, i + size) for i in range(0, len(signal), size)]

    def _encode_piece(self, signal: np.ndarray, mask: Any = None, sigma: Any = None) -> np.ndarray:
        return self.run_graph("encode", signal, mask, sigma)

    def _reconstruct_piece(self, signal: np.ndarray, mask: Any = None, sigma: Any = None) -> np.ndarray:
        return self.run_graph("reconstruct", signal, mask, sigma)

    def run_graph(self, name: str, signal: np.ndarray, mask: Any = None, sigma: Any = None) -> np.ndarray:
        """Run one compiled pass on NumPy arrays: one graph for every length, since no length is traced."""
        given = {"signal": tf.convert_to_tensor(signal, self.model.compute_dtype)}
        if mask is not None:
            given["mask"] = observation_mask(mask, given["signal"])
        if sigma is not None:
            given["sigma"] = tf.convert_to_tensor(np.asarray(sigma), self.model.variable_dtype)
        encoder, xla = self.model.encoder, name != "decode" and self._by_xla()
        # An option of the encoder that was changed by hand asks for a graph of its own.
        key = (name, xla, *((k, v.shape.rank) for k, v in given.items()), encoder.iterations, encoder.tolerance,
               encoder.active, encoder.block, encoder.unroll)
        with _TRACING:
            if key not in self.graphs:
                self.graphs[key] = self._trace(name, given, xla)
        return self.graphs[key](**given)

    def _by_xla(self) -> bool:
        """Whether ``compile(jit_compile=True)`` holds for codes: not with ``active``, whose shapes follow the signal,
        and on the CPU only, since Keras' "auto" is True on GPUs, where each new length would wait for XLA unasked.
        """
        on_cpu = runs_on_cpu() if self.on_cpu is None else self.on_cpu
        return bool(self.model.jit_compile) and not self.model.encoder.active and on_cpu

    def _trace(self, name: str, given: dict[str, tf.Tensor], xla: bool) -> Callable[..., np.ndarray]:
        model = self.model

        def encode(signal: Tensor, **options: Tensor) -> Tensor:
            return model.encoder(signal, **options)

        def reconstruct(signal: Tensor, **options: Tensor) -> Tensor:
            return model.crop(model.decoder(encode(signal, **options)), signal)

        def decode(signal: Tensor) -> Tensor:
            return model.decoder(signal)

        forward = {"encode": encode, "reconstruct": reconstruct, "decode": decode}[name]
        last = model.filters if name == "decode" else model.dictionary.channels
        array = (None,) * (model.rank + 1) + (last,)
        shapes = {"signal": array, "mask": array, "sigma": (None,) * given.get("sigma", tf.zeros(())).shape.rank}
        order = list(given)
        signature = [tf.TensorSpec(shapes[k], given[k].dtype, name=k) for k in order]
        graph = tf.function(lambda *v: tf.cast(forward(**dict(zip(order, v, strict=True))), tf.float32),
                            input_signature=signature, jit_compile=xla)
        with in_place():
            graph = graph.get_concrete_function()
        run = (lambda *values: graph(*values).numpy()) if xla else concurrent_graph(graph, signature)
        return lambda **values: run(*(values[k] for k in order))


def runs_on_cpu() -> bool:
    """Whether TensorFlow sees no other device than CPUs."""
    return all(device.device_type == "CPU" for device in tf.config.list_logical_devices())


def available_workers(cpus: int | None = None, on_cpu: bool | None = None) -> int:
    """Number of concurrent passes: 1 on a GPU, else the core count capped by TensorFlow's inter-op thread limit.

    Args:
        cpus: number of cores; None: those of this machine that the process may use.
        on_cpu: whether TensorFlow runs on CPUs alone; None: looked up.
    """
    if not (runs_on_cpu() if on_cpu is None else on_cpu):
        return 1
    cpus = cores() if cpus is None else cpus
    variable = os.environ.get("TF_NUM_INTEROP_THREADS", "")
    limit = tf.config.threading.get_inter_op_parallelism_threads() or (int(variable) if variable.isdigit() else 0)
    return min(limit or cpus, cpus, MOST_WORKERS)


def _is_long(signal: Any) -> bool:
    shape = getattr(signal, "shape", None)
    return shape is not None and len(shape) == 3 and shape[1] > MAX_WHOLE_SAMPLES


def _of_entries(mask: np.ndarray | None, sigma: Any, entries: slice) -> dict[str, Any]:
    """Mask and sigma of some batch entries."""
    sigma = None if sigma is None else np.asarray(sigma, np.float32)
    return {"mask": None if mask is None else mask[entries],
            "sigma": sigma[entries] if sigma is not None and sigma.ndim else sigma}
