"""What a trained model answers: codes, reconstructions, parts, and how converged they are."""

import math
import os
import threading
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from crsae_onnx.core.parallel import cores, ordered_thread_map
from crsae_onnx.core.signals import as_sigma, as_signal, check_layout
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
from keras_crsae.models.compiled_passes import a_copy_for_each_call
from keras_crsae.problem.measurements import mask_or_identity, observation_mask
from keras_crsae.problem.objective import Problem, dual_objective, objective
from keras_crsae.solvers.proximal_step import in_place
from keras_crsae.training.inputs import is_array


class Convergence(NamedTuple):
    """How far each signal's code is from the optimum; float64 arrays (batch,)."""

    objective: np.ndarray  #: 1/2 ||y - D z||^2 + sigma^2 sum_c lambda_c ||z_c||_1
    gap: np.ndarray  #: duality gap: the optimum is lower by at most this
    remaining: np.ndarray  #: gap / (objective of the zero code - objective): bounds the share of the drop to come


#: Passes over parts of a signal or batch that run at a time, at most; more cores work inside the operators.
MOST_WORKERS = 4
_TRACING = threading.Lock()


class Inference:
    """Inference half of ``CRsAE``; the forward passes are compiled once and serve every length.

    With ``compile(jit_compile=True)``, or ``model.jit_compile = True``, XLA compiles those of ``encode`` and
    ``reconstruct`` on the CPU, once for each length: faster where the machine has no AVX-512 (docs/speed.md).
    """

    def encode(self, signal, mask=None, sigma=None, *, out=None, sparse=False, window=None, overlap=None,
               batch_size=None, progress=None):
        """Sparse code of a signal of any length.

        Signals (rank 1) of more than 2^20 samples are read and encoded in windows, in constant memory, equal to the
        one-piece result to rounding; so are those given with any of the options below.

        Args:
            signal: (batch, *space, channels), any real dtype: an array, ``np.memmap``, HDF5 or Zarr dataset, or any
                object with ``shape`` and ``__getitem__``.
            mask: None or 0/1, of the signal's shape: the observed samples.
            sigma: noise standard deviation of this call, a number or one a signal; None: the model's.
            out: array, memmap or dataset (batch, positions, filters) that receives the code.
            sparse: return a ``crsae_onnx.core.windowing.SparseCode`` (index, filter, value) in place of the dense code.
            window: samples that one window keeps (2^18); on the CPU as many as four are in memory.
            overlap: code positions read on each side; None: iterations * (kernel_size - 1), which is exact.
            batch_size: signals encoded at a time; None: as many as hold about 2^20 samples.
            progress: None, True (a bar) or ``callable(done, total)``.

        Returns:
            float32 NumPy (batch, *positions, filters), positions = ceil((space - kernel_size) / strides) + 1;
            or ``out``; or a ``SparseCode``.

        Raises:
            ValueError: the signal, mask or an option is unfit.

        Example:
            >>> recording = np.load("recording.npy", mmap_mode="r")[None]      # (1, samples, channels)
            >>> spikes = model.encode(recording, sparse=True, progress=True)
        """
        asked = sparse or progress or any(v is not None for v in (out, window, overlap))
        if self.rank == 1 and (asked or _is_long(signal)):
            self._check_long(signal)
            return encode_windows(self._encode_piece, signal, self._windows(window, overlap, batch_size, _workers()),
                                  out=out, sparse=sparse, progress=progress, mask=mask, sigma=sigma)
        if asked:
            raise ValueError("`out`, `sparse`, `window`, `overlap` and `progress` are for signals (rank 1). "
                             f"Received: rank={self.rank}. Encode images without them.")
        return self._pass("encode", *self._as_input(signal, mask, sigma), batch_size)

    def decode(self, code):
        """Reconstruction ``D z`` of a code.

        Args:
            code: (batch, *positions, filters).

        Returns:
            float32 NumPy (batch, (positions - 1) * strides + kernel_size, channels).

        Raises:
            ValueError: a code of another shape, or a model without filters.

        Example:
            >>> model.decode(model.encode(windows)).shape == windows.shape
            True
        """
        code = np.asarray(code)
        if not self.built:
            raise ValueError("The model has no filters yet: call build, set_dictionary, adapt or fit first.")
        if code.ndim != self.rank + 2 or code.shape[-1] != self.filters:
            raise ValueError(f"`code` must have shape (batch, {self.rank} axes of positions, {self.filters} filters). "
                             f"Received: shape {code.shape}")
        return self._run_graph("decode", code)

    def reconstruct(self, signal, mask=None, sigma=None):
        """As ``model(signal)`` on NumPy arrays, by one compiled graph for every size.

        Args:
            signal: (batch, *space, channels).
            mask, sigma: as in ``encode``.

        Returns:
            float32 NumPy of the signal's shape.

        Raises:
            ValueError: the signal is unfit.

        Example:
            >>> model.reconstruct(windows).shape == windows.shape
            True
        """
        return self._pass("reconstruct", *self._as_input(signal, mask, sigma))

    def separate(self, signal, mask=None, sigma=None):
        """Each filter's own reconstruction; their sum over filters is ``model(signal)``.

        Args:
            signal: (batch, *space, channels).
            mask, sigma: as in ``encode``.

        Returns:
            float32 NumPy (batch, *space, channels, filters).

        Raises:
            ValueError: the signal is unfit.

        Example:
            >>> model.separate(windows).shape == (*windows.shape, model.filters)
            True
        """
        signal, mask, sigma = self._as_input(signal, mask, sigma)
        code = self._pass("encode", signal, mask, sigma)
        space = tuple(slice(0, n) for n in signal.shape[1:-1])
        parts = [self.decode(np.where(np.arange(self.filters) == c, code, 0))[(slice(None), *space)]
                 for c in range(self.filters)]
        return np.stack(parts, axis=-1)

    def predict(self, x, batch_size=None, verbose="auto", steps=None, callbacks=None):
        """As ``keras.Model.predict``: reconstructions.

        Arrays are checked first; one signal of more than 2^20 samples is reconstructed in windows.
        """
        if self.rank == 1 and _is_long(x):
            self._check_long(x)
            return reconstruct_windows(self._reconstruct_piece, x, self._windows(None, None, batch_size, _workers()),
                                       progress=None if verbose in (0, "auto") else True)
        if is_array(x):
            x = as_signal(x, self.rank, self.dictionary.channels if self.built else None, self.kernel_size, "x")
        return super().predict(x, batch_size=batch_size, verbose=verbose, steps=steps, callbacks=callbacks)

    def convergence(self, signal, code=None, mask=None, sigma=None):
        """Objective and duality gap of a code: a bound on what more iterations could still gain.

        Args:
            signal: (batch, *space, channels).
            code: (batch, *positions, filters); None: ``encode(signal)``.
            mask, sigma: as in ``encode``.

        Returns:
            Convergence.

        Raises:
            ValueError: the signal is unfit, or the code has another shape than the signal's.

        Example:
            >>> bool((model.convergence(windows).remaining < 1e-2).all())
            True
        """
        signal, mask, sigma = self._as_input(signal, mask, sigma)
        code = self._pass("encode", signal, mask, sigma) if code is None else np.asarray(code, np.float32)
        expected = (len(signal), *self.dictionary.code_space(signal.shape[1:-1]), self.filters)
        if code.shape != expected:
            raise ValueError(f"`code` must have shape {expected} for a signal {signal.shape}. Received: {code.shape}")
        padded, observed = self.encoder.pad_to_strides(ops.convert_to_tensor(signal), observation_mask(mask, signal))
        problem = Problem(self.likelihood, self.code_prior, mask_or_identity(observed))
        padded, weight = problem.measurement.forward(padded), self.encoder.cell.penalty_weight(sigma)
        eta = self.dictionary(code)
        zero = objective(problem, padded, tf.zeros_like(code), tf.zeros_like(eta), weight)
        value = objective(problem, padded, code, eta, weight)
        lower = dual_objective(problem, padded, eta, self.dictionary.adjoint, weight)
        gap = tf.maximum(value - lower, 0.0)
        return Convergence(*(v.numpy() for v in (value, gap, gap / tf.maximum(zero - value, 1e-30))))

    # Pieces

    def _build_for(self, signal):
        if not self.built:
            self.build((None,) * (self.rank + 1) + (signal.shape[-1],))

    def _check_long(self, signal):
        check_layout(signal, 1, self.kernel_size, self.dictionary.channels if self.built else None)
        self._build_for(signal)

    def _as_input(self, signal, mask, sigma):
        """Signal, mask and sigma after their checks at the door."""
        signal = as_signal(signal, self.rank, self.dictionary.channels if self.built else None,
                           self.kernel_size, "signal")
        self._build_for(signal)
        if mask is not None:
            mask = np.asarray(mask)
            if mask.ndim == signal.ndim and all(m in (1, n) for m, n in zip(mask.shape, signal.shape, strict=True)):
                mask = np.broadcast_to(mask, signal.shape)
            mask = as_sample_weight(mask, signal, "mask")
            if mask.ndim == 1:
                raise ValueError(f"`mask` must have the signal's shape {signal.shape}, or that without its channels. "
                                 f"Received: shape {mask.shape}")
            mask = np.broadcast_to(mask, signal.shape)
        return signal, mask, None if sigma is None else as_sigma(sigma, len(signal))

    def _windows(self, window, overlap, batch_size, workers):
        return WindowOptions(self.kernel_size, self.filters, self.encoder.iterations, self.dictionary.strides,
                             WINDOW_SAMPLES if window is None else window, overlap,
                             1 if batch_size is None else batch_size, workers)

    def _pass(self, name, signal, mask, sigma, batch_size=None):
        """A graph run on checked arrays, on the CPU part by part, several parts at a time.

        Between operators, and where one is too small to be shared, TensorFlow leaves cores idle: two halves at a time
        took a sixth less. What stops by the values of a whole batch, or by events, stays whole.
        """
        whole = self.encoder.tolerance is not None or self.encoder.active
        workers = 1 if whole or batch_size is not None else _workers()
        if len(signal) == 1 and self.rank == 1 and name == "encode":
            (size,), (stride,) = self.kernel_size, self.dictionary.strides
            window = shared_window(signal.shape[1], kernel_size=size, strides=stride, filters=self.filters,
                                   overlap=receptive_field(self.encoder.iterations, size, stride), workers=workers)
            if window is not None:
                return encode_windows(self._encode_piece, signal, self._windows(window, None, None, workers), mask=mask,
                                      sigma=sigma)
        slices = self._batches(signal, batch_size, workers)
        parts = list(ordered_thread_map(lambda i: self._run_graph(name, signal[i], **_given(mask, sigma, i)), slices,
                                min(workers, len(slices))))
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _batches(self, signal, batch_size, workers):
        """Slices of the batch: of ``batch_size``, or of about 2^20 samples and at least one for each worker."""
        if batch_size is not None:
            size = as_positive_int(batch_size, "batch_size")
        else:
            values = signal.size // signal.shape[-1] * self.filters // math.prod(self.dictionary.strides)
            share = -(-len(signal) // max(1, min(workers, values // MIN_PART_VALUES)))
            size = max(1, min(share, MAX_WHOLE_SAMPLES // math.prod(signal.shape[1:-1])))
        return [slice(i, i + size) for i in range(0, len(signal), size)]

    def _encode_piece(self, signal, mask=None, sigma=None):
        return self._run_graph("encode", signal, mask, sigma)

    def _reconstruct_piece(self, signal, mask=None, sigma=None):
        return self._run_graph("reconstruct", signal, mask, sigma)

    def _run_graph(self, name, signal, mask=None, sigma=None):
        """Run one compiled pass on NumPy arrays: one graph for every length, since no length is traced."""
        given = {"signal": tf.convert_to_tensor(signal, self.compute_dtype)}
        if mask is not None:
            given["mask"] = observation_mask(mask, given["signal"])
        if sigma is not None:
            given["sigma"] = tf.convert_to_tensor(np.asarray(sigma), self.variable_dtype)
        encoder, xla = self.encoder, name != "decode" and self._by_xla()
        # An option of the encoder that was changed by hand asks for a graph of its own.
        key = (name, xla, *((k, v.shape.rank) for k, v in given.items()), encoder.iterations, encoder.tolerance,
               encoder.active, encoder.block, encoder.unroll)
        with _TRACING:
            if key not in self._graphs:
                self._graphs[key] = self._trace(name, given, xla)
        return self._graphs[key](**given)

    def _by_xla(self):
        """Whether ``compile(jit_compile=True)`` holds for codes: not with ``active``, whose shapes follow the signal,
        and on the CPU only, since Keras' "auto" is True on GPUs, where each new length would wait for XLA unasked.
        """
        return bool(self.jit_compile) and not self.encoder.active and _on_cpu()

    def _trace(self, name, given, xla):
        def encode(signal, **options):
            return self.encoder(signal, **options)

        def reconstruct(signal, **options):
            return self._crop(self.decoder(encode(signal, **options)), signal)

        made = {"encode": encode, "reconstruct": reconstruct, "decode": lambda signal: self.decoder(signal)}[name]
        last = self.filters if name == "decode" else self.dictionary.channels
        array = (None,) * (self.rank + 1) + (last,)
        shapes = {"signal": array, "mask": array, "sigma": (None,) * given.get("sigma", tf.zeros(())).shape.rank}
        order = list(given)
        signature = [tf.TensorSpec(shapes[k], given[k].dtype, name=k) for k in order]
        graph = tf.function(lambda *v: tf.cast(made(**dict(zip(order, v, strict=True))), tf.float32),
                            input_signature=signature, jit_compile=xla)
        with in_place():
            graph = graph.get_concrete_function()
        run = (lambda *values: graph(*values).numpy()) if xla else a_copy_for_each_call(graph, signature)
        return lambda **values: run(*(values[k] for k in order))


def _on_cpu():
    return all(device.device_type == "CPU" for device in tf.config.list_logical_devices())


def _workers():
    """Passes to run at a time: one on a GPU; on the CPU one a core, as far as TensorFlow may run operators abreast."""
    if not _on_cpu():
        return 1
    asked = os.environ.get("TF_NUM_INTEROP_THREADS", "")
    abreast = tf.config.threading.get_inter_op_parallelism_threads() or (int(asked) if asked.isdigit() else 0)
    return min(abreast or cores(), cores(), MOST_WORKERS)


def _is_long(signal):
    shape = getattr(signal, "shape", None)
    return shape is not None and len(shape) == 3 and shape[1] > MAX_WHOLE_SAMPLES


def _given(mask, sigma, entries):
    """Mask and sigma of some batch entries."""
    sigma = None if sigma is None else np.asarray(sigma, np.float32)
    return {"mask": None if mask is None else mask[entries],
            "sigma": sigma[entries] if sigma is not None and sigma.ndim else sigma}
