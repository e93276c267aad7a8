"""Run an exported encoder with NumPy and onnxruntime alone."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, overload

import numpy as np

from crsae_onnx.core.active_windows import ActiveSetParameters
from crsae_onnx.core.signals import as_finite, check_layout
from crsae_onnx.core.spec import COUNT_OUTPUTS, INPUT, INPUTS, LOGITS, OUTPUTS, PIPELINES, SPIKE_TENSORS
from crsae_onnx.core.validation import as_positive_int
from crsae_onnx.core.windowing import (
    MIN_PART_OVERLAPS,
    WINDOW_SAMPLES,
    SparseCode,
    WindowOptions,
    encode_windows,
    reconstruct_windows,
    shared_window,
)
from crsae_onnx.file_format import container
from crsae_onnx.file_format.container import ModelFileError
from crsae_onnx.file_format.facts import file_receptive_field
from crsae_onnx.runtime import sessions
from crsae_onnx.runtime.active_runner import active_engine
from crsae_onnx.runtime.feeds import Feeds, Given, windows_of
from crsae_onnx.runtime.inputs import as_array
from crsae_onnx.runtime.level_check import LevelCheck
from crsae_onnx.runtime.pickling import Pickled, restore
from crsae_onnx.runtime.sessions import RunLimits
from crsae_onnx.runtime.spike_windows import spikes_in_windows

Progress = bool | Callable[[int, int], object] | None


class SparseEncoder:
    """argmin_z sum_i value(y_i, (D z)_i) + sigma^2 sum_c lambda_c p(z_c), computed by an exported file in onnxruntime.

    It can be pickled, with the file's content: each process that receives it has a session of its own.

    onnxruntime's usage reports are switched off, unless the variable ORT_DISABLE_TELEMETRY is set already or
    onnxruntime was imported before.

    Args:
        path: ``.onnx`` file written by ``crsae_onnx.convert.convert``, or its content as bytes.
        providers: onnxruntime execution providers in order of preference; None: CUDA where this onnxruntime offers it,
            else the CPU. ``provider`` says which one runs the session.
        threads: threads of one run; None: the cores.
        arena: keep memory between runs (faster; memory stays at its peak).
        optimization: onnxruntime's graph optimisations: "all", "extended", "basic" or "none".
        spinning: let threads wait actively for the next operator. It can help where nothing else runs, and costs up to
            twice the time where something does.
        limits: how much one run computes; None: ``RunLimits()``.
        active: True: work only where a signal holds events, until no code value would move by more than a fraction of
            its penalty weight, as Keras does with ``active=True``. NumPy computes that, from the filters in the file;
            the graph and onnxruntime are not used.
        active_tolerance: that fraction; None: the model's own, else 1e-3.

    Raises:
        ModelFileError: the file cannot be read, is damaged, foreign, or of a newer format.
        ModuleNotFoundError: onnxruntime is not installed.
        ValueError: a provider that is not installed, an invalid option, a model without a search for events.

    Warns:
        RuntimeWarning: another provider runs than the first one given, and why.
        UserWarning: once, of a sorter's file: the noise of a recording is not what it was trained on.

    Example:
        >>> import numpy as np
        >>> from crsae_onnx import SparseEncoder
        >>> import keras_crsae as kc
        >>> from crsae_onnx.convert import convert
        >>> model = kc.CRsAE(filters=3, kernel_size=45, iterations=20, sigma=1.0, lambda_init=4.0)
        >>> model.set_dictionary(kc.data.spike_templates(45, 3))
        >>> path = convert(model, "encoder.onnx")
        >>> encoder = SparseEncoder(path, providers=["CPUExecutionProvider"])
        >>> encoder.encode(np.zeros((2, 1000, 1))).shape   # (batch, time, channels) -> (batch, positions, filters)
        (2, 956, 3)
        >>> encoder.provider
        'CPUExecutionProvider'
    """

    def __init__(self, path: str | os.PathLike[str] | bytes,
                 providers: sessions.Provider | Sequence[sessions.Provider] | None = None, *,
                 threads: int | None = None, arena: bool = True, optimization: str = "all", spinning: bool = False,
                 limits: RunLimits | None = None, active: bool = False,
                 active_tolerance: float | None = None) -> None:
        self.path = Path("bytes.onnx" if isinstance(path, bytes) else path)
        self.limits = limits or RunLimits()
        # Checked before any parser sees it: onnxruntime's was made for whole files.
        content, self.info = container.read(path)  #: what the file says about itself
        self._content = content
        self.level = LevelCheck(self.info, self.path.name)  #: whether recordings have the noise that the file expects
        self._arguments = {"providers": providers, "threads": threads, "arena": arena, "optimization": optimization,
                           "spinning": spinning, "limits": limits, "active": active,
                           "active_tolerance": active_tolerance}
        self.active = bool(active)  #: whether codes are searched for where signals hold events
        self._reach = dict(self.info)  #: facts that say how far a code depends on the signal
        if self.active:
            engine = active_engine(self.info, self.path.name, providers, threads, active_tolerance)
            self._reach["iterations"] = max(self.info["iterations"], ActiveSetParameters().least_iterations)
        else:
            if active_tolerance is not None:
                raise ValueError(f"`active_tolerance` is for active=True. Received: {active_tolerance!r}. Omit it.")
            engine = sessions.engine(content, self.path, providers, threads, arena, optimization, spinning,
                                     self.info["precision"])
        self.provider = engine.provider  #: what runs the file: onnxruntime's provider, or "NumPy"
        self._whole, self._split = engine.whole, engine.split
        self._inputs, self._outputs, self._on_cpu = engine.inputs, engine.outputs, engine.split.on_cpu
        self.feeds = Feeds(self.info, self._inputs)  #: how arguments become inputs of the session
        known = {*OUTPUTS, *COUNT_OUTPUTS, LOGITS, "denoised", *SPIKE_TENSORS}
        if INPUT not in self._inputs or set(self._inputs) - set(INPUTS) or set(self._outputs) - known:
            raise ModelFileError(f"{self.path} has inputs {self._inputs} and outputs {self._outputs}; expected some of "
                                 f"{INPUTS} and {OUTPUTS + COUNT_OUTPUTS + PIPELINES}. Convert the model again.")

    def __repr__(self) -> str:
        info = self.info
        return (f"SparseEncoder({str(self.path)!r}: {info['filters']} filters of {tuple(info['kernel_size'])}, "
                f"{info['channels']} channels, {info['iterations']} iterations, on {self.provider})")

    def __reduce__(self) -> Pickled:
        return restore, (SparseEncoder, self._content, str(self.path), self._arguments)

    @property
    def whitening_inside(self) -> bool:
        """Whether the graph whitens: the signal then is the recording as it is."""
        return bool(self.info.get("whitening_inside"))

    @overload
    def encode(self, signal: Any, mask: Any = None, sigma: Any = None, *, sparse: Literal[True], trials: Any = None,
               exposure: Any = None, baseline: Any = None, operator: Any = None, out: Any = None,
               window: int | None = None, overlap: int | None = None, batch_size: int | None = None,
               progress: Progress = None) -> SparseCode: ...

    @overload
    def encode(self, signal: Any, mask: Any = None, sigma: Any = None, *, sparse: Literal[False] = False,
               trials: Any = None, exposure: Any = None, baseline: Any = None, operator: Any = None, out: Any = None,
               window: int | None = None, overlap: int | None = None, batch_size: int | None = None,
               progress: Progress = None) -> np.ndarray: ...

    def encode(self, signal: Any, mask: Any = None, sigma: Any = None, *, trials: Any = None, exposure: Any = None,
               baseline: Any = None, operator: Any = None, out: Any = None, sparse: bool = False,
               window: int | None = None, overlap: int | None = None, batch_size: int | None = None,
               progress: Progress = None) -> np.ndarray | SparseCode:
        """Sparse code of a signal.

        Args:
            signal: (batch, *space, channels), any real dtype: an array, ``np.memmap``, HDF5 or Zarr dataset. Of a model
                of counts whole numbers, as they were counted: they are divided inside.
            mask: 0/1, broadcastable to the signal, or (batch, *space): the observed samples; the file must have
                this input.
            sigma: noise standard deviation, a number or one a batch entry; the file must have this input.
            trials, exposure: what counts are divided by, in place of the model's: a number, one a batch entry, or one a
                sample; the file must have this input, and so for
            baseline: eta of the zero code, a number, one a channel, or (batch, channels).
            operator: which of the file's matrices measured the signals, a number or one a batch entry.
            out, sparse, window, overlap, batch_size, progress: see ``core.windowing.encode_windows``. Signals
                of more than 2^20 samples (over the batch), and any with one of these options, are encoded in windows
                (rank 1 only); ``batch_size=None`` takes as many batch entries at a time as stay below that.

        Returns:
            float32 (batch, *positions, filters); or ``out``; or a ``SparseCode``.

        Raises:
            SignalError: an invalid signal, mask or sigma.
            ValueError: the file lacks the output or input, or an option is invalid.

        Example:
            >>> import numpy as np
            >>> from crsae_onnx import SparseEncoder
            >>> import keras_crsae as kc
            >>> from crsae_onnx.convert import convert
            >>> model = kc.CRsAE(filters=3, kernel_size=45, iterations=20, sigma=1.0, lambda_init=4.0)
            >>> model.set_dictionary(kc.data.spike_templates(45, 3))
            >>> path = convert(model, "encoder.onnx")
            >>> np.save("recording.npy", np.zeros((5000, 1), "int16"))
            >>> recording = np.load("recording.npy", mmap_mode="r")[None]
            >>> SparseEncoder(path).encode(recording, sparse=True).shape
            (1, 4956, 3)
        """
        windowed = partial(encode_windows, sparse=sparse)
        given = Given(mask, sigma, trials, exposure, baseline, operator)
        return self._encode("code", windowed, signal, given, sparse, out=out, window=window, overlap=overlap,
                            batch_size=batch_size, progress=progress)

    def reconstruct(self, signal: Any, mask: Any = None, sigma: Any = None, *, trials: Any = None,
                    exposure: Any = None, baseline: Any = None, operator: Any = None, out: Any = None,
                    window: int | None = None, overlap: int | None = None, batch_size: int | None = None,
                    progress: Progress = None) -> np.ndarray:
        """Reconstruction, float32, of the signal's shape (of counts their mean); arguments as for ``encode``."""
        return self._encode("reconstruction" if self.feeds.size_name is None else "mean", reconstruct_windows, signal,
                            Given(mask, sigma, trials, exposure, baseline, operator), False, out=out, window=window,
                            overlap=overlap, batch_size=batch_size, progress=progress)

    def mean(self, signal: Any, mask: Any = None, **options: Any) -> np.ndarray:
        """Mean of counts, the inverse link of ``linear``: expected counts / size; arguments as for ``reconstruct``."""
        return self.reconstruct(signal, mask, **options)

    def linear(self, signal: Any, mask: Any = None, *, trials: Any = None, exposure: Any = None, baseline: Any = None
               ) -> np.ndarray:
        """eta = D z + baseline of counts, float32, of the signal's shape; arguments as for ``run``."""
        return self.run(["eta"], signal, mask, trials=trials, exposure=exposure, baseline=baseline)["eta"]

    def spikes(self, signal: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Local maxima of the code over a threshold, found inside the graph (see ``crsae_onnx.core.spikes.peak_rule``).

        Args:
            signal: (batch, time, channels), any real dtype; the recording as it is where the file was converted with a
                ``SpikeReader`` (``info["whitening_inside"]``). More than 2^20 samples are searched in windows.

        Returns:
            index int64 (spikes, 2): batch entry and sample; unit int64 (spikes,); amplitude float32 (spikes,).

        Raises:
            ValueError: the file was exported without the output "spikes".
            SignalError: an invalid signal.

        Example:
            >>> from crsae_onnx import SparseEncoder
            >>> import keras_crsae as kc
            >>> from crsae_onnx.convert import convert
            >>> model = kc.CRsAE(filters=3, kernel_size=45, iterations=20, sigma=1.0, lambda_init=4.0)
            >>> model.set_dictionary(kc.data.spike_templates(45, 3))
            >>> path = convert(model, "with_spikes.onnx", outputs=("spikes",), spikes=5.0)
            >>> data = kc.data.simulate_spikes(kc.data.spike_templates(45, 3), 2, 300, events_per_window=3)
            >>> index, unit, amplitude = SparseEncoder(path).spikes(data.signal)
            >>> index.shape[1], len(unit) == len(amplitude)
            (2, True)
        """
        self._needs(SPIKE_TENSORS[0], "spikes")
        given, signal = signal, as_array(signal, INPUT)
        check_layout(signal, self.info["rank"], self.info["kernel_size"], self.info["channels"], original=given)
        if signal.shape[0] * signal.shape[1] > self.limits.signal_samples:
            return spikes_in_windows(lambda piece: tuple(self.run(SPIKE_TENSORS, piece).values()), signal, self._reach,
                                     min(WINDOW_SAMPLES, self.limits.signal_samples))
        index, unit, amplitude = self.run(SPIKE_TENSORS, signal).values()
        return index, unit, amplitude

    def denoise(self, images: Any, sigma: Any) -> np.ndarray:
        """Remove white noise from images; all shifts are averaged inside the graph.

        Args:
            images: (batch, height, width, channels), floats in [0, 1] (noise may reach beyond).
            sigma: standard deviation of the noise in this unit, a number or one an image.

        Returns:
            float32 of the same shape, in [0, 1].

        Raises:
            ValueError: the file was exported without the output "denoised".
            SignalError: invalid images or sigma.

        Example:
            >>> import numpy as np
            >>> import keras_crsae as kc
            >>> from crsae_onnx import SparseEncoder
            >>> from crsae_onnx.convert import convert
            >>> model = kc.CRsAE(4, 4, rank=2, strides=2, code_prior="soft", sigma=0.1, iterations=5)
            >>> model.build((None, None, None, 1))
            >>> path = convert(model, "denoiser.onnx", outputs=("denoised",), inputs=("signal", "sigma"))
            >>> SparseEncoder(path).denoise(np.zeros((1, 32, 32, 1)), sigma=25 / 255).shape
            (1, 32, 32, 1)
        """
        self._needs("denoised", "denoised")
        return self.run(["denoised"], images, sigma=sigma)["denoised"]

    def run(self, outputs: Sequence[str], signal: Any, mask: Any = None, sigma: Any = None, *, trials: Any = None,
            exposure: Any = None, baseline: Any = None, operator: Any = None,
            options: Any = None) -> dict[str, np.ndarray]:
        """Several outputs of one run, of a signal in one piece: what a server needs.

        Args:
            outputs: names of the file's tensors, such as "code" or "spike_index".
            signal, mask, sigma, trials, exposure, baseline, operator: as for ``encode``.
            options: None, or ``sessions.run_options()``, whose ``terminate`` ends this run from another thread.

        Returns:
            {name: array}.

        Raises:
            ValueError: the file lacks an output or input.
            SignalError: an invalid signal, mask or sigma.

        Example:
            >>> import numpy as np
            >>> from crsae_onnx import SparseEncoder
            >>> import keras_crsae as kc
            >>> from crsae_onnx.convert import convert
            >>> model = kc.CRsAE(filters=3, kernel_size=45, iterations=20, sigma=1.0, lambda_init=4.0)
            >>> model.set_dictionary(kc.data.spike_templates(45, 3))
            >>> path = convert(model, "encoder.onnx")
            >>> sorted(SparseEncoder(path).run(["code", "reconstruction"], np.zeros((1, 300, 1))))
            ['code', 'reconstruction']
        """
        feed = self.prepare(outputs, signal, Given(mask, sigma, trials, exposure, baseline, operator))
        return dict(zip(outputs, self.fetch(list(outputs), feed, options), strict=True))

    def prepare(self, outputs: Sequence[str], signal: Any, given: Given) -> sessions.Feed:
        """What ``run`` gives to ``fetch``: its arguments checked, as the file's inputs, the batch their first axis."""
        for name in outputs:
            self._needs(name, name)
        # Denoising pads: any size will do.
        least = (1,) * self.info["rank"] if set(outputs) == {"denoised"} else None
        signal, given = self.feeds.checked(signal, given, least)
        self.level.warn(signal)
        return self.feeds.feed(*self._read(signal, given))

    def fetch(self, names: list[str], feed: sessions.Feed, options: Any = None) -> list[np.ndarray]:
        """The outputs of one feed; large signals of a batch one by one, which is the faster way.

        A graph with a tolerance stops for all signals of a batch at once, and spikes are one list over the batch: these
        stay whole.
        """
        info, shape = self.info, feed[INPUT].shape
        code = math.prod(shape[1:-1]) * info["filters"] // math.prod(info["strides"])  # numbers of one signal's
        most = self.limits.code_values if self._on_cpu else self.limits.code_values_gpu
        size = max(1, most // max(1, code))
        stops = info["tolerance"] is not None and not self.active
        if size >= shape[0] or stops or set(names) & set(SPIKE_TENSORS):
            return self._whole(names, feed, options)
        return self._split(names, feed, size, options)

    def _needs(self, tensor: str, output: str) -> None:
        if tensor not in self._outputs:
            raise ValueError(f"The file was exported without {output!r}; it gives {self._outputs}. "
                             "Convert the model again with it among outputs=.")

    def _encode(self, output: str, windowed: Callable[..., Any], signal: Any, given: Given, sparse: bool, *,
                window: int | None, **options: Any) -> Any:
        self._needs(output, output)
        signal, given = self.feeds.checked(signal, given)
        self.level.warn(signal)
        options["progress"] = options["progress"] or None
        in_windows = sparse or window is not None or any(value is not None for value in options.values())
        info = self.info
        if info["rank"] == 1 and info.get("measurement") is None:
            # Threads share one signal by its windows, a batch by its signals (``fetch``). What stops, or finds its
            # steps, by the values of a whole signal is not shared; nor is one whose events are searched for, if short.
            long = in_windows or signal.shape[1] > self.limits.signal_samples
            whole = info["tolerance"] is not None or info.get("steps") == "searched"
            whole = not long if self.active else whole
            workers = self._split.threads if signal.shape[0] == 1 and not whole else 1
            most = self._window(signal.shape, workers, in_windows)
            if most is not None:
                return self._encode_windows(windowed, output, signal, given, workers, most, window, options)
        elif in_windows:
            what = "images" if info["rank"] == 2 else "measurements of whole signals"
            raise ValueError("Windows, out=, sparse= and progress= are for one-dimensional signals; this file encodes "
                             f"{what}. Omit the option.")
        return self._run(output, *self._read(signal, given))

    def _read(self, signal: Any, given: Given) -> tuple[np.ndarray, Given]:
        """Signal and what goes with it as checked arrays."""
        given = self.feeds.numbers(given, tuple(signal.shape))
        mask = None if given.mask is None else as_finite(given.mask, name="mask")
        return self.feeds.values(signal[...], mask, given.size), given._replace(mask=mask)

    def _encode_windows(self, windowed: Callable[..., Any], output: str, signal: Any, given: Given, workers: int,
                        most: int, window: int | None, options: dict[str, Any]) -> Any:
        """A signal in windows of at most ``most`` samples, ``workers`` of them at a time."""
        run_piece, given = windows_of(self.feeds, given, tuple(signal.shape), partial(self._run, output))
        info = self.info
        window = most if window is None else as_positive_int(window, "window")
        if -(-signal.shape[1] // window) < workers:
            workers = 1  # fewer windows than threads: each has all threads
        overlap, batch_size = options["overlap"], options["batch_size"]
        if overlap is None:
            overlap = file_receptive_field(self._reach)
        if batch_size is None:
            batch_size = max(1, self.limits.signal_samples // min(signal.shape[1], most))
        sizes = WindowOptions(info["kernel_size"], info["filters"], info["iterations"], info["strides"], window=window,
                              overlap=overlap, batch_size=batch_size, workers=workers, finite=not self.whitening_inside)
        run = None if workers == 1 else self._split.single()
        return windowed(partial(run_piece, run=run), signal, sizes, mask=given.mask, sigma=given.sigma,
                        out=options["out"], progress=options["progress"])

    def _window(self, shape: Sequence[int], workers: int, in_windows: bool) -> int | None:
        """Samples of a window of a long signal, or of one that the threads share; None where it stays whole."""
        overlap, longest = file_receptive_field(self._reach), self.limits.signal_samples
        if in_windows or shape[0] * shape[1] > longest:
            least = min(WINDOW_SAMPLES, max(2**16, MIN_PART_OVERLAPS * overlap))
            return max(least, min(WINDOW_SAMPLES, longest // workers)) if self._on_cpu else longest
        (size,), (stride,), filters = (self.info[name] for name in ("kernel_size", "strides", "filters"))
        window = shared_window(shape[1], kernel_size=size, strides=stride, filters=filters, overlap=overlap,
                               workers=workers, min_values=self.limits.shared_code_values,
                               min_overlaps=self.limits.shared_overlaps)
        return None if window is None or -(-shape[1] // window) < workers else window

    def _run(self, output: str, piece: np.ndarray, given: Given = Given(),  # noqa: B008  immutable
             run: sessions.Runner | None = None) -> np.ndarray:
        """One run of the session on checked float32 arrays; ``run``: of another session of the file."""
        feed = self.feeds.feed(piece, given)
        return (self.fetch([output], feed) if run is None else run([output], feed))[0]
