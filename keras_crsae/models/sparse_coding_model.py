"""What every model with an encoder, a decoder and two training stages offers, whatever its layers."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from crsae_onnx.core.spec import EncoderSpec
from keras import ops

from keras_crsae.layers import ConvDictionary, SparseCoding
from keras_crsae.models.encoding import Convergence, Encoding
from keras_crsae.models.export_spec import encoder_spec, reference_model
from keras_crsae.problem.code_priors import CodePrior
from keras_crsae.problem.likelihoods import Likelihood
from keras_crsae.problem.measurements import observation_mask
from keras_crsae.problem.rate_priors import RatePrior
from keras_crsae.training.keras_internals import PrebuiltModel
from keras_crsae.training.state import TrainingState
from keras_crsae.training.two_stage_trainer import TwoStageTrainer
from keras_crsae.typing import Tensor


class SparseCodingModel(PrebuiltModel):
    """Keras model that codes signals by an encoder, reconstructs them by a dictionary, and trains in two stages.

    The base class of ``CRsAE``. It owns two parts, a ``TwoStageTrainer`` and an ``Encoding``, and gives Keras' methods
    Keras' signatures. A subclass sets the attributes below in its constructor and in ``build``.

    Attributes:
        rank: 1 (signals) or 2 (images).
        filters, kernel_size: of the dictionary.
        seed: int or None.
        code_prior, likelihood: objects of ``problem``.
        lambda_learning, lambda_shared, lambda_prior, sigma_learning, sigma_rate: see ``CRsAE``.
        dictionary, encoder, decoder: layers, made by ``build``.
        training_state: ``TrainingState``, made by ``build``.
        training_record, training_settings: what ``applications.denoising.train_denoiser`` keeps of its run, which sets
            them; ``Denoiser`` is saved with the settings.
    """

    rank: int
    filters: int
    kernel_size: tuple[int, ...]
    seed: int | None
    code_prior: CodePrior
    likelihood: Likelihood
    lambda_learning: str | None
    lambda_shared: bool
    lambda_prior: RatePrior
    sigma_learning: bool
    sigma_rate: float
    dictionary: ConvDictionary
    encoder: SparseCoding
    decoder: ConvDictionary
    training_state: TrainingState
    training_record: dict[str, Any]
    training_settings: dict[str, Any] | None
    #: Whether the iteration converges for step sizes of 1 / L, so that one that explodes can be estimated anew.
    converges_at_inverse_norm = True

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.supports_masking = True  # `mask` marks observed samples; none is passed on
        self.lambda_optimizer: Any = None
        self._trainer, self._encoding = TwoStageTrainer(self), Encoding(self)

    def adapt(self, data: Any, init: str | None = None, mask: Any = None) -> None:
        """Take first values from data; ``fit`` calls it once where nobody did."""
        raise NotImplementedError

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

    @property
    def dictionary_variables(self) -> list[keras.Variable]:
        """Variables of the first stage: the filters that the gradient reaches."""
        raise NotImplementedError

    # Forward pass

    def call(self, signal: Tensor, mask: Tensor | None = None, sigma: Any = None, training: bool = False) -> Tensor:
        """Reconstruction; ``mask`` (0/1) marks the observed samples, ``sigma`` is the noise level of this call."""
        signal = ops.cast(signal, self.compute_dtype)
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

    # Training

    def compile(self, optimizer: Any = "adam", lambda_optimizer: Any = None, nonfinite: str = "stop",
                **kwargs: Any) -> None:
        """Two optimisers: ``optimizer`` for the filters, ``lambda_optimizer`` for lambda.

        Args:
            optimizer: Keras optimiser of the dictionary; learning-rate callbacks act on it.
            lambda_optimizer: Keras optimiser in lambda's unit; None: Adam at 0.01 times the initial lambda.
            nonfinite: what a batch with a NaN or infinite loss does: "stop" ends ``fit`` with FloatingPointError,
                "skip" omits the batch and counts it (``training_state.skipped_batches``). Neither reaches a weight.
            **kwargs: ``run_eagerly``, ``steps_per_execution``, ``jit_compile`` as in ``keras.Model.compile``.
        """
        self._trainer.check_compile(nonfinite, kwargs)
        self._trainer.nonfinite = nonfinite
        with self.distribute_strategy.scope():
            super().compile(optimizer=optimizer, **kwargs)
            self._trainer.default_lambda_optimizer = lambda_optimizer is None
            self.lambda_optimizer = keras.optimizers.Adam(self._trainer.default_lambda_rate()) \
                if lambda_optimizer is None else keras.optimizers.get(lambda_optimizer)
            self._trainer.build_optimizers()

    def get_compile_config(self) -> dict[str, Any]:
        if not self.compiled:
            return {}
        config = super().get_compile_config() or {}
        serialize = keras.saving.serialize_keras_object
        return {"optimizer": serialize(self.optimizer), "lambda_optimizer": serialize(self.lambda_optimizer),
                "default_lambda_optimizer": self._trainer.default_lambda_optimizer,
                "nonfinite": self._trainer.nonfinite,
                **{k: config[k] for k in ("run_eagerly", "steps_per_execution", "jit_compile") if k in config}}

    def compile_from_config(self, config: dict[str, Any]) -> None:
        config = dict(config)
        default = config.pop("default_lambda_optimizer", False)
        self.compile(**{k: keras.saving.deserialize_keras_object(v) for k, v in config.items()})
        self._trainer.default_lambda_optimizer = default

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        return self._trainer.metrics

    def fit(self, x: Any = None, y: Any = None, batch_size: int | None = None, epochs: int = 1,
            verbose: int | str = "auto", callbacks: Any = None, validation_split: float = 0.0,
            validation_data: Any = None, shuffle: bool = True, class_weight: Any = None, sample_weight: Any = None,
            initial_epoch: int = 0, steps_per_epoch: int | None = None, validation_steps: int | None = None,
            validation_batch_size: int | None = None, validation_freq: int = 1) -> keras.callbacks.History:
        """As ``keras.Model.fit``; arrays are checked first, and ``adapt`` runs on the first batch if it has not.

        Args:
            x: signals (batch, *space, channels), a ``BatchSource``, ``tf.data.Dataset``, ``PyDataset`` or generator.
            y: None, or the clean signals of x's shape (supervised).
            sample_weight: (batch,) weighs the losses; x's shape (or without its channels): 0/1, observed samples.
            batch_size, epochs and the others: see ``keras.Model.fit``.

        Returns:
            ``keras.callbacks.History`` with loss, reconstruction_loss, lambda_loss, sparsity, sigma.

        Raises:
            ValueError: data that does not fit the model, or a dataset whose order would be the same in every epoch.
            FloatingPointError: a loss became NaN or infinite; the last good weights are kept.

        The order of batches of arrays and batch sources is a function of the model's ``seed`` (drawn where it is None),
        the epoch and the step. It is saved with the model, as is ``training_state.progress``: (epoch, batches of it
        done). So training that was saved in the middle of an epoch (``callbacks.SaveProgress``,
        ``keras.callbacks.BackupAndRestore``) goes on exactly.
        """
        arguments = {name: value for name, value in locals().items() if name not in ("self", "__class__")}
        with self._trainer.session(arguments) as prepared:
            return super().fit(**prepared)

    def evaluate(self, x: Any = None, y: Any = None, batch_size: int | None = None, verbose: int | str = "auto",
                 sample_weight: Any = None, steps: int | None = None, callbacks: Any = None, return_dict: bool = False,
                 **kwargs: Any) -> Any:
        """As ``keras.Model.evaluate``; arrays are checked first. The first number is the reconstruction loss."""
        x, y, sample_weight = self._trainer.evaluation_data(x, y, sample_weight)
        return super().evaluate(x, y, batch_size=batch_size, verbose=verbose, sample_weight=sample_weight,
                                steps=steps, callbacks=callbacks, return_dict=return_dict, **kwargs)

    def train_step(self, data: Any) -> dict[str, Tensor]:
        """One step of both optimisers on a batch of Keras' form; see ``training.two_stage_trainer``."""
        return self._trainer.train_step(data)

    def test_step(self, data: Any) -> dict[str, Tensor]:
        """The losses of a batch of Keras' form."""
        return self._trainer.test_step(data)

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
                               callbacks=callbacks)

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

    # Export

    def export_spec(self) -> EncoderSpec:
        """The encoder and decoder in plain numbers, as an exporter needs them.

        Raises:
            ValueError: the model is not built, or holds values that are not finite.
        """
        return encoder_spec(self)

    def export_reference(self, tolerance: float | None = None) -> SparseCodingModel:
        """The model, or a copy that computes as a file of this ``tolerance`` does: in float32, every position."""
        return reference_model(self, tolerance)
