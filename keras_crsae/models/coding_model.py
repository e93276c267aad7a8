"""What every model with an encoder and a decoder offers without training: codes, reconstructions, saving, export."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from crsae_onnx.core.signals import is_masked
from crsae_onnx.core.spec import EncoderSpec
from keras import ops

from keras_crsae.layers import ConvDictionary, SparseCoding
from keras_crsae.models.encoding import Convergence, Encoding
from keras_crsae.models.export_spec import encoder_spec, reference_model
from keras_crsae.problem.code_priors import CodePrior
from keras_crsae.problem.likelihoods import Likelihood
from keras_crsae.problem.measurements import observation_mask
from keras_crsae.training.keras_internals import PrebuiltModel
from keras_crsae.training.weight_averages import with_constraints
from keras_crsae.typing import Tensor

#: Attributes that exist once a model is built.
_MADE_BY_BUILD = ("dictionary", "encoder", "decoder", "training_state", "lambda_reg", "sigma", "step_size",
                  "dictionaries", "dictionary_variables")


class CodingModel(PrebuiltModel):
    """Keras model that codes signals by an encoder and reconstructs them by a dictionary.

    It owns an ``Encoding``, which runs its passes on NumPy arrays. ``SparseCodingModel`` adds training.

    Attributes:
        rank: 1 (signals) or 2 (images).
        filters, kernel_size: of the dictionary.
        code_prior, likelihood: objects of ``problem``.
        dictionary, encoder, decoder: layers, made by ``build``.
    """

    rank: int
    filters: int
    kernel_size: tuple[int, ...]
    code_prior: CodePrior
    likelihood: Likelihood
    dictionary: ConvDictionary
    encoder: SparseCoding
    decoder: ConvDictionary

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.supports_masking = True  # `mask` marks observed samples; none is passed on
        self._encoding = Encoding(self)

    def __getattr__(self, name: str) -> Any:
        """AttributeError for attributes that are missing, with the way out for those that ``build`` makes."""
        if name in _MADE_BY_BUILD:
            raise AttributeError(f"The model has no `{name}` before it is built: call build((None, None, channels)), "
                                 "set_dictionary, adapt or fit first.")
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __call__(self, *given: Any, **options: Any) -> Any:
        """As ``keras.Model``; the mask of a NumPy masked array is the mask of observed samples."""
        if given and is_masked(given[0]):
            signal, mask, sigma = self._encoding.as_input(given[0], options.get("mask"), options.get("sigma"))
            given, options = (signal, *given[1:]), {**options, "mask": mask, "sigma": sigma}
        return super().__call__(*given, **options)

    @property
    def lambda_reg(self) -> keras.Variable:
        """Rate of the prior on the code, (filters,) or (1,) when shared."""
        return self.encoder.cell.lambda_reg

    @property
    def sigma(self) -> keras.Variable:
        """Noise standard deviation, (), in the data's unit."""
        return self.encoder.cell.sigma

    @property
    def step_size(self) -> keras.Variable:
        """Step size of the iteration, ()."""
        return self.encoder.cell.step_size

    @property
    def dictionaries(self) -> tuple[ConvDictionary, ...]:
        """The distinct dictionaries: encoder's, decoder's where it has its own."""
        return (self.dictionary,) if self.decoder is self.dictionary else (self.dictionary, self.decoder)

    def check_built(self) -> None:
        """ValueError for a model without filters."""
        if not self.built:
            raise ValueError("The model has no filters yet: call build, set_dictionary, adapt or fit first.")

    def restore_constraints(self) -> None:
        """Filters of norm 1 and a step size of 1 / L, where others than ``fit`` changed the filters.

        ``encode``, ``evaluate``, ``save``, ``fit`` and the others begin with it.
        """
        self.encoder.cell.restore_constraints()
        if self.decoder is not self.dictionary:
            self.decoder.constrain_kernel()

    def note_training(self) -> None:
        """Take filters and step size for right, as training leaves them: ``restore_constraints`` then costs no time."""
        self.encoder.cell.note_kernel()
        if self.decoder is not self.dictionary:
            self.decoder.note_kernel()

    # Forward pass

    def call(self, signal: Tensor, mask: Tensor | None = None, sigma: Any = None, training: bool = False) -> Tensor:
        """Reconstruction; ``mask`` (0/1) marks the observed samples, ``sigma`` is the noise level of this call."""
        signal = ops.cast(signal, self.compute_dtype)
        if training and self.encoder.cell.step_size_init == "auto":  # in another model, or a loop, that changes filters
            self.encoder.cell.refresh_step_size()
        code = self.encoder(signal, mask=observation_mask(mask, signal), sigma=sigma, training=training)
        return self.crop(self.decoder(code), signal)

    def compute_mask(self, *args: Any, **kwargs: Any) -> None:
        return None

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return tuple(input_shape)

    @staticmethod
    def crop(reconstruction: Tensor, signal: Tensor) -> Tensor:
        """Samples that the stride padded are cut off again."""
        space = ops.shape(signal)[1:-1]
        for axis, n in enumerate(space, start=1):
            if n is not None:
                index = [slice(None)] * (axis - 1) + [slice(None, n)]
                reconstruction = reconstruction[tuple([slice(None)] + index)]
        return reconstruction

    # Inference

    def encode(self, signal: Any, mask: Any = None, sigma: Any = None, *, out: Any = None, sparse: bool = False,
               window: int | None = None, overlap: int | None = None, batch_size: int | None = None,
               progress: Any = None) -> Any:
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
        return self._encoding.encode(signal, mask, sigma, out=out, sparse=sparse, window=window, overlap=overlap,
                                     batch_size=batch_size, progress=progress)

    def decode(self, code: Any) -> np.ndarray:
        """Reconstruction ``D z`` of a code.

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

    def reconstruct(self, signal: Any, mask: Any = None, sigma: Any = None) -> np.ndarray:
        """As ``model(signal)`` on NumPy arrays, by one compiled graph for every size.

        Args:
            signal: (batch, *space, channels).
            mask, sigma: as in ``encode``.

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
        return self._encoding.reconstruct(signal, mask, sigma)

    def separate(self, signal: Any, mask: Any = None, sigma: Any = None) -> np.ndarray:
        """Each filter's own reconstruction; their sum over filters is ``model(signal)``.

        Args:
            signal: (batch, *space, channels).
            mask, sigma: as in ``encode``.

        Returns:
            float32 NumPy (batch, *space, channels, filters).

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
        return self._encoding.separate(signal, mask, sigma)

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

    def convergence(self, signal: Any, code: Any = None, mask: Any = None, sigma: Any = None) -> Convergence:
        """Objective and duality gap of a code: a bound on what more iterations could still gain.

        Args:
            signal: (batch, *space, channels).
            code: (batch, *positions, filters); None: ``encode(signal)``.
            mask, sigma: as in ``encode``.

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
        return self._encoding.convergence(signal, code, mask, sigma)

    # Saving and export

    def save_own_variables(self, store: Any) -> None:
        if self.built:
            self.restore_constraints()  # Keras calls this before it saves the layers
        super().save_own_variables(store)

    def export(self, filepath: Any, format: str = "tf_saved_model", verbose: bool | None = None,
               input_signature: Any = None, **kwargs: Any) -> None:
        """As ``keras.Model.export``: reconstructions of signals of any length. For codes see ``crsae_onnx.convert``.

        Raises:
            ValueError: the model is not built.
        """
        self.check_built()
        self.restore_constraints()
        if input_signature is None:
            shape = (None,) * (self.rank + 1) + (self.dictionary.channels,)
            input_signature = [keras.InputSpec(shape=shape, dtype=self.compute_dtype, name="signal")]
        super().export(filepath, format=format, verbose=verbose, input_signature=input_signature, **kwargs)

    def export_spec(self) -> EncoderSpec:
        """The encoder and decoder in plain numbers, as an exporter needs them.

        Raises:
            ValueError: the model is not built, or holds values that are not finite.
        """
        if self.built:
            self.restore_constraints()
        return encoder_spec(self)

    def export_reference(self, tolerance: float | None = None) -> CodingModel:
        """The model, or a copy that computes as a file of this ``tolerance`` does: in float32, every position."""
        return reference_model(self, tolerance)
