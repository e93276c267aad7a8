"""Codes, reconstructions and parts of signals of any length, and how converged they are."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from crsae_onnx.core.errors import SignalError
from crsae_onnx.core.parallel import ordered_thread_map
from crsae_onnx.core.signals import as_float32, check_layout, is_masked, refuse_other_containers, with_own_mask
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

from keras_crsae.backend import IS_TENSORFLOW, portable_pass, tf
from keras_crsae.models.call_inputs import CallInputs, CallOptions, call_inputs
from keras_crsae.models.compiled_passes import concurrent_graph
from keras_crsae.models.convergence import Convergence, convergence
from keras_crsae.models.dense_options import part_of
from keras_crsae.models.encoding_model import EncodingModel
from keras_crsae.models.long_counts import CountWindows
from keras_crsae.models.workers import available_workers, runs_on_cpu
from keras_crsae.problem.counts import pearson_dispersion
from keras_crsae.problem.measurements import Identity, observation_mask
from keras_crsae.solvers.proximal_step import in_place
from keras_crsae.training.counts import given_size
from keras_crsae.training.inputs import checked_arrays, is_array, unshuffled
from keras_crsae.typing import Tensor

_TRACING = threading.Lock()
#: Passes that take a code.
_OF_CODES = ("decode", "synthesis")


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

    def encode(self, signal: Any, given: CallOptions, *, part: str | None = None, out: Any = None,
               sparse: bool = False, window: int | None = None, overlap: int | None = None,
               batch_size: int | None = None, progress: Any = None) -> Any:
        """See ``CRsAE.encode``."""
        kept = part_of(part, self.model.filters, self.model.dense_filters)
        if sparse and self.model.dense_filters and part != "sparse":
            raise ValueError("sparse=True lists the values that are not zero, and those of dense filters all are. Use "
                             f"part='sparse', or sparse=False. Received: part={part!r}")
        in_windows = sparse or progress or any(v is not None for v in (out, window, overlap))
        if in_windows and not self._is_whole:
            raise ValueError(f"The measurement {self.model.measurement!r} acts on whole signals, and `out`, `sparse`, "
                             "`window`, `overlap` and `progress` are of windows. Leave them out.")
        if self.model.rank == 1 and (in_windows or _is_long(signal) and self._is_whole):
            signal, mask = with_own_mask(signal, given.mask)
            self._check_long(signal)
            options = self._windows(window, overlap, batch_size, self._max_workers())
            encode, mask, sigma = self._window_pass("encode", signal, given._replace(mask=mask))
            if part is not None:
                options = replace(options, filters=kept.stop - kept.start)
                encode = _of_filters(encode, kept)
            return encode_windows(encode, signal, options, out=out, sparse=sparse, progress=progress, mask=mask,
                                  sigma=sigma)
        if in_windows:
            raise ValueError("`out`, `sparse`, `window`, `overlap` and `progress` are for signals (rank 1). "
                             f"Received: rank={self.model.rank}. Encode images without them.")
        code = self._pass("encode", self.as_input(signal, given), batch_size)
        return code if part is None else np.ascontiguousarray(code[..., kept])

    def decode(self, code: Any) -> np.ndarray:
        """See ``CRsAE.decode``."""
        refuse_other_containers(code, "code")
        code = np.asarray(code)
        self.model.check_built()
        rank, filters = self.model.rank, self.model.filters
        if code.ndim != rank + 2 or code.shape[-1] != filters:
            raise ValueError(f"`code` must have shape (batch, {rank} axes of positions, {filters} filters). "
                             f"Received: shape {code.shape}")
        if self.model.encoder.baseline_scope == "signal":
            raise ValueError('baseline_scope="signal" finds the baseline of each signal with its code, so a code alone '
                             'has no mean: use model.mean(signal), or model.dictionary(code) for D z.')
        return self.run_graph("decode", code)

    def reconstruct(self, signal: Any, given: CallOptions, name: str = "reconstruct") -> np.ndarray:
        """See ``CRsAE.reconstruct``; ``name`` "linear": see ``CRsAE.linear``."""
        return self._pass(name, self.as_input(signal, given))

    def separate(self, signal: Any, given: CallOptions, by: str = "filter") -> Any:
        """See ``CRsAE.separate``."""
        if by not in ("filter", "part"):
            raise ValueError(f"`by` must be 'filter' or 'part'. Received: by={by!r}")
        inputs, filters = self.as_input(signal, given), np.arange(self.model.filters)
        code = self._pass("encode", inputs)
        space = tuple(slice(0, n) for n in self.model.measurement.signal_space(inputs.signal.shape[1:-1]))

        def synthesis(chosen: np.ndarray) -> np.ndarray:
            return self.run_graph("synthesis", np.where(chosen, code, 0))[(slice(None), *space)]

        if by == "part":
            sparse = filters < self.model.filters - self.model.dense_filters
            return {"sparse": synthesis(sparse), "dense": synthesis(~sparse)}
        return np.stack([synthesis(filters == c) for c in filters], axis=-1)

    def overdispersion(self, signal: Any, given: CallOptions) -> float:
        """See ``CRsAE.overdispersion``."""
        likelihood: Any = self.model.likelihood
        if likelihood.size_name is None:
            raise ValueError(f"Over-dispersion is that of counts, and the likelihood is {type(likelihood).__name__}. "
                             "Use likelihood='poisson' or 'binomial'.")
        inputs = self.as_input(signal, given)
        code, eta = (self._pass(name, inputs) for name in ("encode", "linear"))
        return pearson_dispersion(likelihood, inputs.counts, eta, inputs.size, int(np.count_nonzero(code)),
                                  inputs.observed)

    def predicts_in_windows(self, signal: Any) -> bool:
        """Whether ``predict`` reconstructs this signal in windows: rank 1 and more than 2^20 samples."""
        return self.model.rank == 1 and _is_long(signal) and self._is_whole

    def predict_in_windows(self, signal: Any, batch_size: int | None, verbose: int | str) -> np.ndarray:
        """Reconstruction of a signal that is too long for one piece."""
        self._check_long(signal)
        options = self._windows(None, None, batch_size, self._max_workers())
        reconstruct, mask, sigma = self._window_pass("reconstruct", signal, CallOptions())
        return reconstruct_windows(reconstruct, signal, options, mask=mask, sigma=sigma,
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
            return checked_arrays(x, None, None, self.model.layout)[0]
        refuse_other_containers(x, "x")
        return x

    def convergence(self, signal: Any, code: Any, given: CallOptions) -> Convergence:
        """See ``CRsAE.convergence``."""
        inputs = self.as_input(signal, given)
        code = self._pass("encode", inputs) if code is None else as_float32(code, "code")
        return convergence(self.model, inputs, code, self._baseline(inputs))

    def _baseline(self, inputs: CallInputs) -> Tensor | None:
        """Baseline of a call: the model's, or of each signal where the encoder finds it."""
        model = self.model
        if model.likelihood.size_name is None:
            return None
        given = {name: ops.convert_to_tensor(value) for name, value in inputs.graph_options().items()}
        return model.encoder.code_and_baseline(ops.convert_to_tensor(inputs.signal), **given)[1] \
            if model.encoder.baseline_scope == "signal" else model.baseline.value

    # Pieces

    @property
    def _is_whole(self) -> bool:
        """Whether data are signals of which everything is observed, so that a window of them is one too."""
        return isinstance(self.model.measurement, Identity)

    def _build_for(self, signal: Any) -> None:
        if not self.model.built:
            self.model.build((None,) * (self.model.rank + 1) + (signal.shape[-1],))
        self.model.encoder.cell.check_space(self.model.measurement.signal_space(signal.shape[1:-1]))
        self.model.restore_constraints()

    def _check_long(self, signal: Any) -> None:
        check_layout(signal, 1, self.model.kernel_size, self.model.dictionary.channels if self.model.built else None)
        self._build_for(signal)

    def as_input(self, signal: Any, given: CallOptions) -> CallInputs:
        """A call's signal and options after their checks at the door; builds the model where it is not."""
        inputs = call_inputs(signal, given, self.model.layout)
        self._build_for(inputs.signal)
        return inputs

    def _windows(self, window: int | None, overlap: int | None, batch_size: int | None, workers: int) -> WindowOptions:
        model = self.model
        return WindowOptions(model.kernel_size, model.filters, model.encoder.iterations, model.dictionary.strides,
                             WINDOW_SAMPLES if window is None else window, overlap,
                             1 if batch_size is None else batch_size, workers)

    def _pass(self, name: str, inputs: CallInputs, batch_size: int | None = None) -> np.ndarray:
        """A graph run on checked arrays, on the CPU part by part, several parts at a time.

        Between operators, and where one is too small to be shared, TensorFlow leaves cores idle: two halves at a time
        took a sixth less. What stops by the values of a whole batch, or by events, stays whole; so does a signal whose
        steps, or baseline, are found on the whole of it.
        """
        model, signal = self.model, inputs.signal
        own = model.measurement.is_mask
        whole = model.encoder.tolerance is not None or model.encoder.active
        workers = 1 if whole or batch_size is not None else self._max_workers()
        if own and len(signal) == 1 and model.rank == 1 and name == "encode" and self._divides() \
                and inputs.support is None:
            (size,), (stride,) = model.kernel_size, model.dictionary.strides
            window = shared_window(signal.shape[1], kernel_size=size, strides=stride, filters=model.filters,
                                   overlap=receptive_field(model.encoder.iterations, size, stride), workers=workers,
                                   min_values=self.min_values)
            if window is not None:
                dispersion = {} if inputs.dispersion is None else {"dispersion": inputs.dispersion}
                return encode_windows(lambda piece, **given: self.run_graph("encode", piece, **given, **dispersion),
                                      signal, self._windows(window, None, None, workers),
                                      mask=inputs.mask, sigma=inputs.sigma)
        slices = self._batches(signal, batch_size, workers)

        def part(where: slice) -> np.ndarray:
            some = inputs.entries(where)
            return self.run_graph(name, some.signal, **some.graph_options())

        parts = list(ordered_thread_map(part, slices, min(workers, len(slices))))
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _divides(self) -> bool:
        """Whether parts of a signal are coded as they are within the whole of it."""
        encoder = self.model.encoder
        return not encoder.solver.adaptive and encoder.baseline_scope != "signal" and encoder.top_k is None

    def _window_pass(self, name: str, signal: Any, given: CallOptions) -> tuple[Callable[..., np.ndarray], Any, Any]:
        """A graph as a function of windows, and the mask and level that go with them."""
        def run(piece: np.ndarray, **options: Any) -> np.ndarray:
            return self.run_graph(name, piece, **options)

        if given.support is not None or self.model.encoder.top_k is not None:
            raise ValueError("`support` and top_k are for signals that are coded whole. Omit `window` and the other "
                             "options of windows, or cut the signal into trials.")
        if self.model.likelihood.size_name is None:
            given_size(self.model.likelihood, given.trials, given.exposure)
            return run, given.mask, given.sigma
        if self.model.encoder.baseline_scope == "signal":
            raise ValueError('baseline_scope="signal" finds the baseline of a whole signal, and this one is coded in '
                             'windows. Cut it into trials, or use baseline_scope="channel".')
        windows = CountWindows(self.model.likelihood, run, signal.shape, given)
        return windows, windows.weights, windows.dispersion

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

    def run_graph(self, name: str, signal: np.ndarray, **options: Any) -> np.ndarray:
        """Run one compiled pass on NumPy arrays: one graph for every length, since no length is traced.

        Args:
            name: "encode", "reconstruct", "linear" (eta), "decode" or "synthesis" (D z).
            signal: (batch, *space, channels), or a code.
            **options: ``mask``, ``sigma``, ``dispersion``, ``support``, ``operator``, see ``SparseCoding.call``; None:
                left out.
        """
        given = {"signal": ops.convert_to_tensor(signal, self.model.compute_dtype)}
        for key, value in options.items():
            if key == "mask" and value is not None:
                given[key] = observation_mask(value, given["signal"])
            elif value is not None:
                kind = "int32" if key == "operator" else \
                    self.model.compute_dtype if key == "support" else self.model.variable_dtype
                given[key] = ops.convert_to_tensor(np.asarray(value), kind)
        encoder, xla = self.model.encoder, name not in _OF_CODES and self._by_xla()
        # An option of the encoder that was changed by hand asks for a graph of its own.
        key = (name, xla, *((k, len(v.shape)) for k, v in given.items()), encoder.iterations, encoder.tolerance,
               encoder.active, encoder.block, encoder.unroll, encoder.top_k)
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

    def _trace(self, name: str, given: dict[str, Tensor], xla: bool) -> Callable[..., np.ndarray]:
        model = self.model

        def linear(signal: Tensor, **options: Tensor) -> Tensor:
            return model.code_and_eta(signal, **options)[1]

        def encode(signal: Tensor, **options: Tensor) -> Tensor:
            return model.encoder(signal, **options)

        def reconstruct(signal: Tensor, **options: Tensor) -> Tensor:
            return model.likelihood.mean(linear(signal, **options))

        def decode(signal: Tensor) -> Tensor:
            eta = model.decoder(signal)
            if name == "synthesis" or model.baseline is None:
                return eta
            return model.likelihood.mean(eta + ops.cast(model.baseline, eta.dtype))

        forward = {"encode": encode, "linear": linear, "reconstruct": reconstruct}.get(name, decode)
        if not IS_TENSORFLOW:
            return portable_pass(forward, list({id(v): v for layer in (model.encoder, model.decoder)
                                                for v in layer.variables}.values()))
        last = model.filters if name in _OF_CODES else model.measurement.data_channels(model.dictionary.channels)
        array = (None,) * (model.rank + 1) + (last,)
        shapes = {"signal": array, "mask": array, "support": (None,) * (model.rank + 2)}
        shapes.update({key: (None,) * len(given[key].shape) for key in ("sigma", "dispersion", "operator")
                       if key in given})
        order = list(given)
        signature = [tf.TensorSpec(shapes[k], given[k].dtype, name=k) for k in order]
        graph = tf.function(lambda *v: tf.cast(forward(**dict(zip(order, v, strict=True))), tf.float32),
                            input_signature=signature, jit_compile=xla)
        with in_place():
            graph = graph.get_concrete_function()
        run = (lambda *values: graph(*values).numpy()) if xla else concurrent_graph(graph, signature)
        return lambda **values: run(*(values[k] for k in order))


def _is_long(signal: Any) -> bool:
    shape = getattr(signal, "shape", None)
    return shape is not None and len(shape) == 3 and shape[1] > MAX_WHOLE_SAMPLES


def _of_filters(encode: Callable[..., np.ndarray], kept: slice) -> Callable[..., np.ndarray]:
    """``encode`` of some of the filters."""
    return lambda piece, **given: encode(piece, **given)[..., kept]
