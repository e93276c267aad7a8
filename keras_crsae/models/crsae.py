"""CRsAE: the constrained recurrent sparse autoencoder as a Keras model."""

import keras
import numpy as np
from crsae_onnx.core.signals import as_signal
from crsae_onnx.core.spec import EncoderSpec
from crsae_onnx.core.validation import as_positive, as_positive_int, as_sizes
from keras import ops

from keras_crsae._validation import as_lambda, as_unit_filters
from keras_crsae.data.batch_order import SEEDS, Place
from keras_crsae.initializers import donoho_lambda
from keras_crsae.layers import ConvDictionary, SparseCoding, SparseCodingCell
from keras_crsae.models.adaptation import first_filters, resolve
from keras_crsae.models.encoding import Inference
from keras_crsae.models.export_spec import encoder_spec, reference_model
from keras_crsae.problem import code_priors, likelihoods
from keras_crsae.problem.measurements import observation_mask
from keras_crsae.problem.rate_priors import GammaPrior
from keras_crsae.solvers import base as solvers
from keras_crsae.training.two_stage_trainer import REPORTED, TwoStageTraining

__all__ = ["CRsAE"]
LAMBDA_LEARNING = ("em", "em_closed_form", "backprop", None)
#: Counted in training: batches left out, step sizes estimated anew, sigma held at its floor.
_COUNTERS = ("skipped_batches", "step_rescues", "sigma_held")
_OLDEST = 5  # variables of the model itself in files of the first version
_POSITIONS_BEFORE_DATA = 1000  # N_e of Donoho's lambda before adapt has seen data


@keras.saving.register_keras_serializable(package="keras_crsae")
class CRsAE(TwoStageTraining, Inference, keras.Model):
    """Constrained recurrent sparse autoencoder (Tolooshams, Dey, Ba, arXiv 1904.08827).

    The encoder solves min_z 1/2 ||y - D z||^2 + sigma^2 sum_c lambda_c ||z_c||_1 by FISTA, the decoder is D z
    with the same filters. ``fit`` alternates two stages on each batch: the filters by the reconstruction loss,
    lambda by a loss with a Gamma prior, codes held constant.

    Args:
        filters, kernel_size, strides, rank: dictionary; sizes are ints or tuples of ``rank`` ints.
        iterations: iterations of the solver.
        shrinkage: short form of ``code_prior``, a name: "nonnegative_soft" (the default) or "soft".
        sigma: noise standard deviation, in the data's unit, or "estimate" (robust, from data, in ``adapt``).
        sigma_learning, sigma_rate: average a bias-free noise estimate into sigma after each batch.
        lambda_init: "donoho", a number, or one a filter.
        lambda_shared: one lambda for all filters.
        lambda_learning: "em" (a gradient step), "em_closed_form", "backprop" (through the reconstruction loss,
            the conventional way) or None.
        lambda_prior: GammaPrior.
        gradient, gradient_steps: see ``SparseCoding``.
        tied: False gives the decoder a kernel of its own; with gradient="decoder" only that one learns.
        step_size: "auto" (1 / L, refreshed with the dictionary) or a number.
        tolerance, active, block_size, unroll, remat: how the encoder runs, see ``SparseCoding``.
        kernel_initializer: Keras initialiser; None: random normal from ``seed``.
        seed: int.
        code_prior, likelihood: objects of ``problem.code_priors`` and ``problem.likelihoods``, or their names.
        solver: object of ``solvers`` or its name, see ``SparseCoding``.

    Raises:
        ValueError: an option out of range; half-precision variables or float16 compute (lambda, step size and
            losses need float32; "mixed_bfloat16" keeps them so).

    Example:
        >>> model = CRsAE(filters=3, kernel_size=45, sigma="estimate")
        >>> model.compile(optimizer=keras.optimizers.Adam(1e-2))
        >>> history = model.fit(windows, epochs=5, batch_size=16)     # (batch, time, channels)
        >>> code = model.encode(windows)                              # (batch, time - 44, 3)
    """

    #: Name of the code prior where none is given.
    DEFAULT_CODE_PRIOR = "nonnegative_soft"
    _rescuable = True  # 1 / L is a safe step size; the baselines' kernels have none

    def __init__(self, filters, kernel_size, strides=1, rank=1, iterations=100, shrinkage=None,
                 sigma=1.0, sigma_learning=False, sigma_rate=0.01, lambda_init="donoho", lambda_shared=False,
                 lambda_learning="em", lambda_prior=None, gradient="unrolled", gradient_steps=10, tied=True,
                 step_size="auto", tolerance=None, active=False, block_size="auto", unroll=False, remat=False,
                 kernel_initializer=None, seed=None, code_prior=None, likelihood="gaussian", solver="fista", **kwargs):
        super().__init__(**kwargs)
        if self.variable_dtype not in ("float32", "float64") or self.compute_dtype == "float16":
            raise ValueError("CRsAE keeps lambda, step size and losses in float32: use the dtype policy 'float32', "
                             f"'float64' or 'mixed_bfloat16'. Received: dtype={self.dtype_policy.name!r}")
        if lambda_learning not in LAMBDA_LEARNING:
            raise ValueError(f"`lambda_learning` must be one of {LAMBDA_LEARNING}. Received: {lambda_learning!r}")
        if lambda_learning == "backprop" and gradient == "decoder":
            raise ValueError("lambda_learning='backprop' needs a gradient through the encoder, and gradient='decoder' "
                             "holds the code constant. Use gradient='unrolled' or 'truncated', or other learning.")
        if lambda_prior is not None and not isinstance(lambda_prior, GammaPrior):
            raise ValueError(f"`lambda_prior` must be a GammaPrior or None. Received: {lambda_prior!r}")
        self.rank = as_positive_int(rank, "rank")
        if self.rank not in (1, 2):
            raise ValueError(f"`rank` must be 1 (signals) or 2 (images). Received: rank={rank!r}")
        self.filters = as_positive_int(filters, "filters")
        self.kernel_size = as_sizes(kernel_size, self.rank, "kernel_size")
        self.sigma_init = sigma if isinstance(sigma, str) and sigma == "estimate" else as_positive(sigma, "sigma")
        self.code_prior, self.likelihood = _code_prior(code_prior, shrinkage, self.DEFAULT_CODE_PRIOR), \
            likelihoods.get(likelihood)
        if not self.likelihood.quadratic and (self.sigma_init == "estimate" or sigma_learning):
            raise ValueError("sigma='estimate' and sigma_learning measure Gaussian noise. Give `sigma` a number and "
                             f"sigma_learning=False. Received: likelihood={type(self.likelihood).__name__}")
        self.sigma_learning, self.sigma_rate = bool(sigma_learning), as_positive(sigma_rate, "sigma_rate")
        if self.sigma_rate > 1:
            raise ValueError(f"`sigma_rate` must lie in (0, 1]. Received: sigma_rate={sigma_rate!r}")
        self.lambda_init = as_lambda(lambda_init, self.filters, lambda_shared)
        self.lambda_shared, self.lambda_learning = bool(lambda_shared), lambda_learning
        self.lambda_prior, self.tied = lambda_prior or GammaPrior(), bool(tied)
        self.seed = None if seed is None else int(seed)
        self.kernel_initializer = keras.initializers.get(kernel_initializer) \
            or keras.initializers.RandomNormal(seed=self.seed)
        self._options = dict(filters=self.filters, kernel_size=self.kernel_size, rank=self.rank,
                             strides=as_sizes(strides, self.rank, "strides"))
        self._cell_options = dict(
            code_prior=self.code_prior, likelihood=self.likelihood, lambda_shared=self.lambda_shared,
            step_size=step_size if isinstance(step_size, str) and step_size == "auto"
            else as_positive(step_size, "step_size"))
        self._coding_options = dict(
            iterations=as_positive_int(iterations, "iterations"), gradient=gradient,
            gradient_steps=as_positive_int(gradient_steps, "gradient_steps"), unroll=bool(unroll), remat=bool(remat),
            solver=solvers.get(solver),
            tolerance=None if tolerance is None else as_positive(tolerance, "tolerance"), active=bool(active),
            block_size=block_size if isinstance(block_size, str) else as_positive_int(block_size, "block_size"))
        # What the layers refuse is refused here, before data arrives.
        SparseCoding(SparseCodingCell(ConvDictionary(**self._options), **self._cell_options), **self._coding_options)
        self.supports_masking = True  # `mask` marks observed samples; none is passed on
        self.lambda_optimizer = None
        self._default_lambda_optimizer = False
        self._graphs = {}
        self.place = Place()
        self.nonfinite = "stop"
        self._trackers = {name: keras.metrics.Mean(name=name) for name in REPORTED}

    def build(self, input_shape):
        if self.built:
            return
        channels = input_shape[-1]
        if len(input_shape) != self.rank + 2 or not channels:
            raise ValueError(f"Expected an input shape of {self.rank + 2} axes with the channels last. "
                             f"Received: input_shape={input_shape}")
        with self.distribute_strategy.scope():  # `fit` may build outside of the scope that the model was made in
            self._build_in_scope(input_shape)

    def _build_in_scope(self, input_shape):
        sigma = 1.0 if self.sigma_init == "estimate" else self.sigma_init
        first = self.lambda_init
        if first == "donoho":
            first = donoho_lambda(self.filters, _POSITIONS_BEFORE_DATA, sigma)
        self._build_layers(first, sigma, input_shape)
        self.prior_mean = self.add_weight(name="prior_mean", shape=self.lambda_reg.shape, trainable=False,
                                          initializer="ones")
        self.prior_mean.assign(self.lambda_reg.value if self.lambda_prior.mean is None
                               else ops.full(self.lambda_reg.shape, self.lambda_prior.mean))
        # Files of an earlier version end with the first five: new ones go to the end (``load_own_variables``).
        for name in ("lambda_ceiling", "lambda_held", "adapted", "failed_stage", *_COUNTERS):
            setattr(self, name, self.add_weight(name=name, shape=(), trainable=False, initializer="zeros"))
        self.order_seed = self.add_weight(name="order_seed", shape=(), trainable=False,
                                          initializer=keras.initializers.Constant(-1.0))  # drawn by the first ``fit``
        self.position = self.add_weight(name="position", shape=(2,), trainable=False, initializer="zeros")
        self.built = True
        self._build_optimizers()

    def _build_layers(self, first_lambda, sigma, input_shape):
        """``dictionary``, ``encoder`` and ``decoder``."""
        options = self._dictionary_options(input_shape[-1])
        code_shape = (None,) * (self.rank + 1) + (self.filters,)
        self.dictionary = ConvDictionary(**options, name="dictionary")
        self.dictionary.build(code_shape)
        cell = SparseCodingCell(self.dictionary, lambda_init=first_lambda, sigma=sigma, name="cell",
                                dtype=self.dtype_policy, **self._cell_options)
        self.encoder = SparseCoding(cell, name="encoder", dtype=self.dtype_policy, **self._coding_options)
        self.encoder.refresh_in_training = False  # train_step does so between its two stages
        self.encoder.build(input_shape)
        self.decoder = self.dictionary
        if not self.tied:
            self.decoder = self._untied_decoder(options)
            self.decoder.build(code_shape)
            self.decoder.kernel.assign(self.dictionary.kernel.value)

    def _untied_decoder(self, options):
        return ConvDictionary(**options, name="decoder")

    def _dictionary_options(self, channels):
        return dict(self._options, kernel_initializer=self.kernel_initializer, channels=channels,
                    block_size=self._coding_options["block_size"], dtype=self.dtype_policy)

    @property
    def lambda_reg(self):
        return self.encoder.cell.lambda_reg

    @property
    def sigma(self):
        return self.encoder.cell.sigma

    @property
    def step_size(self):
        return self.encoder.cell.step_size

    @property
    def dictionary_variables(self):
        """Variables of the first stage: the filters that the gradient reaches."""
        if self.tied:
            return [self.dictionary.kernel]
        reached = [] if self._coding_options["gradient"] == "decoder" else [self.dictionary.kernel]
        return [*reached, self.decoder.kernel]

    def load_own_variables(self, store):
        """Values from a file; one of an earlier version leaves what it does not know as it is."""
        if not self.built:
            return super().load_own_variables(store)
        own = [self.prior_mean, *(getattr(self, n) for n in ("lambda_ceiling", "lambda_held", "adapted",
                                                             "failed_stage", *_COUNTERS, "order_seed", "position"))]
        if not _OLDEST <= len(store.keys()) <= len(own):
            raise ValueError(f"The file holds {len(store.keys())} values of the model itself. Expected {_OLDEST} to "
                             f"{len(own)}: it is damaged or comes from a later version.")
        for i, variable in enumerate(own[:len(store.keys())]):
            variable.assign(store[str(i)])

    # Forward pass

    def call(self, signal, mask=None, sigma=None, training=False):
        signal = ops.cast(signal, self.compute_dtype)
        code = self.encoder(signal, mask=observation_mask(mask, signal), sigma=sigma, training=training)
        return self._crop(self.decoder(code), signal)

    def compute_mask(self, *args, **kwargs):
        return None

    def compute_output_shape(self, input_shape):
        return tuple(input_shape)

    @staticmethod
    def _crop(reconstruction, signal):
        """Samples that the stride padded are cut off again."""
        space = ops.shape(signal)[1:-1]
        for axis, n in enumerate(space, start=1):
            if n is not None:
                index = [slice(None)] * (axis - 1) + [slice(None, n)]
                reconstruction = reconstruction[tuple([slice(None)] + index)]
        return reconstruction

    # Export

    def export_spec(self) -> EncoderSpec:
        """The encoder and decoder in plain numbers, as an exporter needs them.

        Raises:
            ValueError: the model is not built, or holds values that are not finite.
        """
        return encoder_spec(self)

    def export_reference(self, tolerance: float | None = None) -> "CRsAE":
        """The model, or a copy that computes as a file of this ``tolerance`` does: in float32, every position."""
        return reference_model(self, tolerance)

    # Values resolved from data

    def set_dictionary(self, filters):
        """Set the filters, (*kernel_size, channels, filters); normalised, step size refreshed."""
        filters = as_unit_filters(filters, (*self.kernel_size, self.dictionary.channels if self.built else None,
                                         self.filters))
        if not self.built:
            self.build((None,) * (self.rank + 1) + (filters.shape[-2],))
        for layer in {id(d): d for d in (self.dictionary, self.decoder)}.values():
            layer.kernel.assign(filters)
        self.encoder.cell.refresh_step_size()

    def adapt(self, data, filters=None, mask=None):
        """Resolve sigma, lambda, its prior and, where asked, first filters from data; ``fit`` calls it once.

        Args:
            data: (batch, *space, channels).
            filters: None (keep), "windows" (random windows), "energy" (strong ones) or "dct".
            mask: None or a 0/1 mask of observed samples, broadcastable to data.
        """
        data = as_signal(data, self.rank, self.dictionary.channels if self.built else None, self.kernel_size)
        if mask is not None:
            mask = ops.convert_to_numpy(observation_mask(ops.convert_to_tensor(mask), ops.convert_to_tensor(data)))
        if filters is not None:
            # Without a seed of the model's own, the one of ``keras.utils.set_random_seed`` counts.
            seed = np.random.randint(SEEDS) if self.seed is None else self.seed
            self.set_dictionary(first_filters(filters, data, self.kernel_size, self.filters, seed))
        elif not self.built:
            self.build((None,) * (self.rank + 1) + (data.shape[-1],))
        found = resolve(data, ops.convert_to_numpy(self.dictionary.kernel), self.dictionary.strides,
                        self.sigma_init, self.lambda_init == "donoho", mask, self.code_prior, self.likelihood)
        self.sigma.assign(found.sigma)
        if found.lambda_reg is not None:
            self.lambda_reg.assign(ops.full(self.lambda_reg.shape, found.lambda_reg))
        if self.lambda_prior.mean is None:
            self.prior_mean.assign(self.lambda_reg.value)
        self.lambda_ceiling.assign(found.lambda_ceiling)
        self.adapted.assign(1.0)
        if self._default_lambda_optimizer:
            self.lambda_optimizer.learning_rate = self._default_lambda_rate()

    def get_config(self):
        return {**super().get_config(), **self._options, **self._cell_options, **self._coding_options,
                "code_prior": code_priors.serialize(self.code_prior),
                "likelihood": likelihoods.serialize(self.likelihood),
                "solver": solvers.registry.serialize(self._coding_options["solver"]),
                "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
                "sigma": self.sigma_init, "sigma_learning": self.sigma_learning, "sigma_rate": self.sigma_rate,
                "lambda_init": self.lambda_init, "lambda_learning": self.lambda_learning,
                "lambda_prior": keras.saving.serialize_keras_object(self.lambda_prior),
                "tied": self.tied, "seed": self.seed, "name": self.name, "trainable": self.trainable,
                "dtype": keras.saving.serialize_keras_object(self.dtype_policy)}

    @classmethod
    def from_config(cls, config):
        config = dict(config)
        config["lambda_prior"] = keras.saving.deserialize_keras_object(config["lambda_prior"])
        return cls(**config)

    def get_build_config(self):
        return {"input_shape": (None,) * (self.rank + 1) + (self.dictionary.channels,)} if self.built else None

    def build_from_config(self, config):
        self.build(tuple(config["input_shape"]))


def _code_prior(code_prior, shrinkage, default):
    """The prior that ``code_prior`` (object or name) or its short form ``shrinkage`` (name) stands for."""
    if code_prior is None:
        return code_priors.get(default if shrinkage is None else shrinkage)
    if shrinkage is not None and code_priors.serialize(code_priors.get(code_prior)) != shrinkage:
        raise ValueError("`shrinkage` is a short form of `code_prior`: give one of them. "
                         f"Received: shrinkage={shrinkage!r}, code_prior={code_prior!r}")
    return code_priors.get(code_prior)
