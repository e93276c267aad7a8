"""What every model with an encoder and a decoder offers without training: codes, reconstructions, saving, export."""

from __future__ import annotations

import contextlib
from typing import Any

import keras
import numpy as np
from crsae_onnx.core.signals import is_masked
from crsae_onnx.core.spec import EncoderSpec
from keras import ops

from keras_crsae.layers import ConvDictionary, SparseCoding
from keras_crsae.models.call_inputs import CallOptions
from keras_crsae.models.encoding import Encoding
from keras_crsae.models.export_spec import encoder_spec, reference_model
from keras_crsae.models.inference import Inference
from keras_crsae.problem.code_priors import CodePrior
from keras_crsae.problem.likelihoods import Likelihood
from keras_crsae.problem.measurements import Identity, Measurement, observation_mask
from keras_crsae.training.counts import as_means, refuse_sigma
from keras_crsae.training.inputs import SignalLayout, signal_parts, with_parts
from keras_crsae.training.measured_inputs import as_vectors, with_mask
from keras_crsae.typing import Tensor

#: Attributes that exist once a model is built.
_MADE_BY_BUILD = ("dictionary", "encoder", "decoder", "training_state", "lambda_reg", "sigma", "step_size",
                  "baseline", "dictionaries", "dictionary_variables")


class CodingModel(Inference):
    """Keras model that codes signals by an encoder and reconstructs them by a dictionary.

    It owns an ``Encoding``, which runs its passes on NumPy arrays. ``SparseCodingModel`` adds training.

    Attributes:
        rank: 1 (signals) or 2 (images).
        filters, kernel_size, strides: of the dictionary; dense filters are among ``filters``, the last of them.
        dense_filters: how many filters are dense.
        code_prior, likelihood, measurement: objects of ``problem``.
        dictionary, encoder, decoder: layers, made by ``build``.
    """

    rank: int
    filters: int
    dense_filters: int = 0
    kernel_size: tuple[int, ...]
    strides: tuple[int, ...]
    code_prior: CodePrior
    likelihood: Likelihood
    measurement: Measurement = Identity()
    dictionary: ConvDictionary
    encoder: SparseCoding
    decoder: ConvDictionary

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.supports_masking = True  # `mask` marks observed samples; none is passed on
        self._encoding = Encoding(self)

    def __getattr__(self, name: str) -> Any:
        """AttributeError for attributes that are missing, with the way out for those that ``build`` makes."""
        inherited = getattr(super(), "__getattr__", None)  # under PyTorch a layer's parts are found by its own
        if inherited is not None:
            with contextlib.suppress(AttributeError):
                return inherited(name)
        if name in _MADE_BY_BUILD:
            raise AttributeError(f"The model has no `{name}` before it is built: call build((None, None, channels)), "
                                 "set_dictionary, adapt or fit first.")
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __call__(self, *given: Any, **options: Any) -> Any:
        """As ``keras.Model``; the mask of a NumPy masked array is the mask of observed samples."""
        if given and isinstance(given[0], dict) and not self.built:
            self.build(tuple(signal_parts(given[0], self.likelihood, "signal")["signal"].shape))
        masked = bool(given) and is_masked(given[0])
        if masked or given and self.likelihood.size_name is not None and _has_values(given[0]):
            names = [name for name in CallOptions._fields if name in options]
            inputs = self._encoding.as_input(given[0], CallOptions(**{name: options[name] for name in names}))
            if masked:
                signal, mask = (inputs.signal, inputs.mask) if inputs.counts is None else \
                    (inputs.counts, inputs.observed)
                given, options = (signal, *given[1:]), {**options, "mask": mask, "sigma": inputs.sigma}
        return super().__call__(*given, **options)

    @property
    def layout(self) -> SignalLayout:
        """What signals are checked against."""
        return SignalLayout(self.rank, self.dictionary.channels if self.built else None, self.kernel_size, self.strides,
                            self.filters, self.likelihood, self.measurement)

    @property
    def baseline(self) -> keras.Variable | None:
        """eta of the zero code, (channels,), where the data are counts; else None."""
        return getattr(self.encoder.cell, "baseline", None)

    @property
    def lambda_reg(self) -> keras.Variable:
        """Rate of the prior on the code, (filters,) or (1,) when shared; 0 of dense filters."""
        return self.encoder.cell.lambda_reg

    @property
    def sparse_filters(self) -> int:
        """How many filters are sparse, the first of the dictionary."""
        return self.filters - self.dense_filters

    @property
    def sparse_rates(self) -> Tensor:
        """lambda of the sparse filters, (sparse_filters,) or (1,) when shared."""
        return self.lambda_reg.value[:self.sparse_filters] if self.dense_filters else self.lambda_reg.value

    def assign_rates(self, rates: Tensor) -> None:
        """Set lambda of the sparse filters; that of dense ones is 0."""
        missing = self.lambda_reg.shape[0] - rates.shape[0]
        self.lambda_reg.assign(ops.pad(rates, [(0, missing)]) if missing else rates)

    def sparse_part(self, code: Tensor) -> Tensor:
        """The sparse filters' part of a code."""
        return code[..., :self.sparse_filters] if self.dense_filters else code

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

    def call(self, signal: Tensor, mask: Tensor | None = None, sigma: Any = None, trials: Any = None,
             exposure: Any = None, support: Any = None, operator: Any = None, training: bool = False) -> Tensor:
        """Reconstruction, for counts their mean; ``mask`` (0/1) marks the observed samples, others: see ``encode``."""
        if isinstance(mask, dict):  # as Keras gives the masks of a dict's tensors, of which none has one
            mask = mask.get("signal")
        parts = signal_parts(with_parts(signal, self.likelihood, trials, exposure, support, operator), self.likelihood,
                             "signal")
        signal, sigma = ops.cast(parts["signal"], self.compute_dtype), parts.get("sigma", sigma)
        refuse_sigma(self.likelihood, sigma)
        if training and self.encoder.cell.step_size_init == "auto":  # in another model, or a loop, that changes filters
            self.encoder.cell.refresh_step_size()
        signal = as_vectors(signal, self.measurement, self.rank)
        observed = with_mask(self.measurement, observation_mask(mask, signal), signal)
        means = as_means(self.likelihood, signal, parts.get(str(self.likelihood.size_name)), observed)
        further = {"dispersion": means.dispersion, "support": parts.get("support"), "operator": parts.get("operator")}
        eta = self.code_and_eta(means.signal, mask=means.observed, sigma=sigma, training=training,
                                **{name: value for name, value in further.items() if value is not None})[1]
        return self.likelihood.mean(eta)

    def code_and_eta(self, signal: Tensor, training: bool = False, **options: Any) -> tuple[Tensor, Tensor]:
        """Code of a signal, of counts their mean, and the natural parameter D z, for counts with the baseline.

        Args:
            signal: (batch, *space, channels).
            training: whether the solver's steps of training are taken.
            **options: of ``SparseCoding.call``.
        """
        if self.likelihood.size_name is None:
            code = self.encoder(signal, training=training, **options)
            return code, self.crop(self.decoder(code), signal)
        code, baseline = self.encoder.code_and_baseline(signal, training=training, **options)
        eta = self.crop(self.decoder(code), signal)
        return code, eta + ops.cast(baseline, eta.dtype)

    def compute_mask(self, *args: Any, **kwargs: Any) -> None:
        return None

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        shape = tuple(input_shape["signal"] if isinstance(input_shape, dict) else input_shape)
        if self.measurement.is_mask:
            return shape
        if len(shape) == 2:
            shape = (*shape, *(1,) * self.rank)
        return (shape[0], *self.measurement.signal_space(shape[1:-1]), self.measurement.signal_channels(shape[-1]))

    def crop(self, reconstruction: Tensor, signal: Tensor) -> Tensor:
        """Samples that the stride padded are cut off again; ``signal``: the data."""
        space = self.measurement.signal_space(ops.shape(signal)[1:-1])
        for axis, n in enumerate(space, start=1):
            if n is not None:
                index = [slice(None)] * (axis - 1) + [slice(None, n)]
                reconstruction = reconstruction[tuple([slice(None)] + index)]
        return reconstruction

    # Saving and export

    def save_own_variables(self, store: Any) -> None:
        if self.built:
            self.restore_constraints()  # Keras calls this before it saves the layers
        super().save_own_variables(store)

    def export(self, filepath: Any, format: str = "tf_saved_model", verbose: bool | None = None,
               input_signature: Any = None, **kwargs: Any) -> None:
        """As ``keras.Model.export``: reconstructions of signals of any length. For codes see ``crsae_onnx.convert``.

        Raises:
            ValueError: the model is not built, or has active=True where the format has no such operators.
        """
        self.check_built()
        if format in ("onnx", "openvino") and self.encoder.active:
            raise ValueError(f"active=True needs operators that format={format!r} lacks. Use 'tf_saved_model' or set "
                             "model.encoder.active = False for the export, which then runs the model's iterations; "
                             "crsae_onnx.convert.convert writes such a file by itself.")
        self.restore_constraints()
        if input_signature is None:
            shape = (None,) * (self.rank + 1) + (self.measurement.data_channels(self.dictionary.channels),)
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


def _has_values(x: Any) -> bool:
    """Whether an input holds numbers now, so that they can be checked: not one of a graph, nor a dict."""
    return isinstance(x, np.ndarray | list) or hasattr(x, "numpy") and not isinstance(x, keras.KerasTensor)
