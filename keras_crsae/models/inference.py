"""What a model with an encoder and a decoder does with arrays: codes, means, parts, convergence."""

from __future__ import annotations

from typing import Any

import numpy as np

from keras_crsae.models.call_inputs import CallOptions
from keras_crsae.models.convergence import Convergence
from keras_crsae.models.encoding import Encoding
from keras_crsae.training.keras_internals import PrebuiltModel
from keras_crsae.training.weight_averages import with_constraints


class Inference(PrebuiltModel):
    """Keras model whose passes on NumPy arrays an ``Encoding`` runs; the base class of ``CodingModel``."""

    _encoding: Encoding

    def encode(self, signal: Any, mask: Any = None, sigma: Any = None, *, trials: Any = None, exposure: Any = None,
               support: Any = None, operator: Any = None, part: str | None = None, out: Any = None,
               sparse: bool = False, window: int | None = None, overlap: int | None = None,
               batch_size: int | None = None, progress: Any = None) -> Any:
        """Sparse code of a signal of any length.

        Signals (rank 1) of more than 2^20 samples are read and encoded in windows, in constant memory, equal to the
        one-piece result to rounding; so are those given with any of the options below.

        Args:
            signal: (batch, *space, channels), any real dtype: an array, ``np.memmap``, HDF5 or Zarr dataset, or any
                object with ``shape`` and ``__getitem__``.
            mask: None or 0/1, of the signal's shape: the observed samples.
            sigma: noise standard deviation of this call, a number or one a signal; None: the model's.
            trials, exposure: what the counts of this call are divided by, whichever the likelihood names: a number, one
                a signal, or one a sample; None: the model's.
            support: None or 0/1 of the code's shape: 0 where the code stays 0, as for known onsets.
            operator: number of the matrix that measured the signals, or one a signal, where the model's measurement is
                a stack of matrices.
            part: None (all filters), "sparse" or "dense": the code of these filters alone; see ``dense_filters``.
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
            ValueError: the signal, mask or an option is invalid.

        Example:
            >>> import numpy as np
            >>> import keras_crsae as kc
            >>> model = kc.CRsAE(filters=3, kernel_size=45, iterations=20, sigma=1.0)
            >>> model.set_dictionary(kc.data.spike_templates(kernel_size=45, filters=3))
            >>> np.save("recording.npy", np.zeros((5000, 1), "int16"))
            >>> recording = np.load("recording.npy", mmap_mode="r")[None]      # (1, samples, channels)
            >>> model.encode(recording, sparse=True).shape
            (1, 4956, 3)
        """
        return self._encoding.encode(signal, CallOptions(mask, sigma, trials, exposure, support, operator), part=part,
                                     out=out, sparse=sparse, window=window, overlap=overlap, batch_size=batch_size,
                                     progress=progress)

    def decode(self, code: Any) -> np.ndarray:
        """Reconstruction ``D z`` of a code; for counts their mean, the inverse link of D z + baseline.

        Args:
            code: (batch, *positions, filters).

        Returns:
            float32 NumPy (batch, (positions - 1) * strides + kernel_size, channels).

        Raises:
            ValueError: a code of another shape, or a model without filters.

        Example:
            >>> import keras_crsae as kc
            >>> templates = kc.data.spike_templates(kernel_size=45, filters=3)
            >>> signal = kc.data.simulate_spikes(templates, windows=2, samples=500, events_per_window=2).signal
            >>> model = kc.CRsAE(filters=3, kernel_size=45, sigma=1.0)
            >>> model.set_dictionary(templates)
            >>> model.decode(model.encode(signal)).shape == signal.shape
            True
        """
        return self._encoding.decode(code)

    def reconstruct(self, signal: Any, mask: Any = None, sigma: Any = None, *, trials: Any = None,
                    exposure: Any = None, support: Any = None, operator: Any = None) -> np.ndarray:
        """As ``model(signal)`` on NumPy arrays, by one compiled graph for every size.

        Args:
            signal: (batch, *space, channels).
            mask, sigma, trials, exposure, support, operator: as in ``encode``.

        Returns:
            float32 NumPy of the signal's shape.

        Raises:
            ValueError: the signal is invalid.

        Example:
            >>> import keras_crsae as kc
            >>> templates = kc.data.spike_templates(kernel_size=45, filters=3)
            >>> signal = kc.data.simulate_spikes(templates, windows=2, samples=500, events_per_window=2).signal
            >>> model = kc.CRsAE(filters=3, kernel_size=45, sigma=1.0)
            >>> model.set_dictionary(templates)
            >>> model.reconstruct(signal).shape == signal.shape
            True
        """
        return self._encoding.reconstruct(signal, CallOptions(mask, sigma, trials, exposure, support, operator))

    def mean(self, signal: Any, mask: Any = None, sigma: Any = None, *, trials: Any = None, exposure: Any = None,
             support: Any = None, operator: Any = None) -> np.ndarray:
        """Mean of the data, the inverse link of ``linear(signal)``: for counts those expected of one trial, or at an
        exposure of 1. It is what ``reconstruct`` gives.

        Args:
            signal: (batch, *space, channels).
            mask, sigma, trials, exposure, support, operator: as in ``encode``.

        Returns:
            float32 NumPy of the signal's shape.

        Raises:
            ValueError: the signal is invalid.

        Example:
            >>> import numpy as np
            >>> import keras_crsae as kc
            >>> counts = np.random.default_rng(0).poisson(0.5, (4, 200, 1))
            >>> model = kc.CRsAE(filters=2, kernel_size=15, likelihood="poisson", seed=0)
            >>> model.adapt(counts)
            >>> bool(np.allclose(model.mean(counts), np.exp(model.linear(counts)), rtol=1e-4))
            True
        """
        return self.reconstruct(signal, mask, sigma, trials=trials, exposure=exposure, support=support,
                                operator=operator)

    def linear(self, signal: Any, mask: Any = None, sigma: Any = None, *, trials: Any = None, exposure: Any = None,
               support: Any = None, operator: Any = None) -> np.ndarray:
        """Natural parameter eta = D z, for counts with the baseline; see ``mean``."""
        options = CallOptions(mask, sigma, trials, exposure, support, operator)
        return self._encoding.reconstruct(signal, options, "linear")

    def overdispersion(self, signal: Any, mask: Any = None, *, trials: Any = None, exposure: Any = None,
                       support: Any = None) -> float:
        """How much more counts vary than the likelihood says: Pearson's statistic over its degrees of freedom.

        About 1 where the likelihood fits; see ``problem.counts.pearson_dispersion``. It is not fed back.

        Args:
            signal: counts, (batch, *space, channels).
            mask, trials, exposure, support: as in ``encode``.

        Raises:
            ValueError: the signal is invalid, or the likelihood has no counts.
        """
        return self._encoding.overdispersion(signal, CallOptions(mask, None, trials, exposure, support))

    def separate(self, signal: Any, mask: Any = None, sigma: Any = None, *, trials: Any = None, exposure: Any = None,
                 support: Any = None, operator: Any = None, by: str = "filter") -> Any:
        """Each filter's own reconstruction, or each part's; their sum is ``model(signal)``.

        For counts each filter's part of eta; their sum and the baseline are ``linear(signal)``.

        Args:
            signal: (batch, *space, channels).
            mask, sigma, trials, exposure, support, operator: as in ``encode``.
            by: "filter", or "part": what the sparse and what the dense filters reconstruct (see ``dense_filters``).

        Returns:
            float32 NumPy (batch, *space, channels, filters); by="part": a dict of "sparse" and "dense", each of the
            signal's shape.

        Raises:
            ValueError: the signal is invalid.

        Example:
            >>> import keras_crsae as kc
            >>> templates = kc.data.spike_templates(kernel_size=45, filters=3)
            >>> signal = kc.data.simulate_spikes(templates, windows=2, samples=500, events_per_window=2).signal
            >>> model = kc.CRsAE(filters=3, kernel_size=45, sigma=1.0)
            >>> model.set_dictionary(templates)
            >>> model.separate(signal).shape == (*signal.shape, model.filters)
            True
        """
        return self._encoding.separate(signal, CallOptions(mask, sigma, trials, exposure, support, operator), by)

    def predict(self, x: Any, batch_size: int | None = None, verbose: int | str = "auto", steps: int | None = None,
                callbacks: Any = None) -> np.ndarray:
        """As ``keras.Model.predict``: reconstructions.

        Arrays are checked first; one signal of more than 2^20 samples is reconstructed in windows.
        """
        if self._encoding.predicts_in_windows(x):
            return self._encoding.predict_in_windows(x, batch_size, verbose)
        return super().predict(self._encoding.prediction_data(x), batch_size=batch_size, verbose=verbose, steps=steps,
                               callbacks=with_constraints(callbacks))

    def predict_on_batch(self, x: Any) -> np.ndarray:
        """As ``keras.Model.predict_on_batch``: reconstructions; the data are checked first."""
        return super().predict_on_batch(self._encoding.prediction_data(x))

    def convergence(self, signal: Any, code: Any = None, mask: Any = None, sigma: Any = None, *, trials: Any = None,
                    exposure: Any = None, operator: Any = None) -> Convergence:
        """Objective and duality gap of a code: a bound on what more iterations could still gain.

        Args:
            signal: (batch, *space, channels).
            code: (batch, *positions, filters); None: ``encode(signal)``.
            mask, sigma, trials, exposure, operator: as in ``encode``.

        Returns:
            Convergence.

        Raises:
            ValueError: the signal is invalid, or the code has another shape than the signal's.

        Example:
            >>> import keras_crsae as kc
            >>> templates = kc.data.spike_templates(kernel_size=45, filters=3)
            >>> signal = kc.data.simulate_spikes(templates, windows=2, samples=500, events_per_window=2).signal
            >>> model = kc.CRsAE(filters=3, kernel_size=45, sigma=1.0)
            >>> model.set_dictionary(templates)
            >>> bool((model.convergence(signal).remaining < 0.1).all())
            True
        """
        return self._encoding.convergence(signal, code, CallOptions(mask, sigma, trials, exposure, operator=operator))
