"""CRsAE: the constrained recurrent sparse autoencoder as a Keras model."""

from __future__ import annotations

from typing import Any, cast

import keras
import numpy as np
from crsae_onnx.core.signals import refuse_other_containers, split_masked
from crsae_onnx.core.validation import as_positive, as_positive_int, as_rank, as_sizes
from keras import ops

from keras_crsae._validation import as_lambda, as_unit_filters
from keras_crsae.backend import strategy_scope
from keras_crsae.data.batch_order import SEED_BOUND
from keras_crsae.initializers import donoho_lambda
from keras_crsae.layers import ConvDictionary, RankOneDictionary, SparseCoding, SparseCodingCell
from keras_crsae.models import count_options, crsae_options, dense_options
from keras_crsae.models.adaptation import Adapted, first_filters, resolve, resolve_counts
from keras_crsae.models.measured_adaptation import check_first_filters, resolve_measured
from keras_crsae.models.sparse_coding_model import SparseCodingModel
from keras_crsae.operators import rank_one
from keras_crsae.problem import code_priors, likelihoods, measurements, rate_priors
from keras_crsae.problem.code_priors import CodePrior
from keras_crsae.problem.likelihoods import Likelihood
from keras_crsae.problem.measurements import observation_mask
from keras_crsae.problem.rate_priors import RatePrior
from keras_crsae.solvers import base as solvers
from keras_crsae.solvers.base import Solver
from keras_crsae.training.counts import Means
from keras_crsae.training.measured_inputs import as_data, as_operator, with_mask
from keras_crsae.training.state import TrainingState
from keras_crsae.typing import BaselineScope, Gradient, LambdaLearning, Sizes

__all__ = ["CRsAE"]
_POSITIONS_BEFORE_DATA = 1000  # N_e of Donoho's lambda before adapt has seen data


@keras.saving.register_keras_serializable(package="keras_crsae")
class CRsAE(SparseCodingModel):
    """min_z 1/2 ||y - D z||^2 + sigma^2 sum_c lambda_c ||z_c||_1, with D and lambda learned from data.

    The constrained recurrent sparse autoencoder (Tolooshams, Dey, Ba, arXiv 1904.08827): the encoder solves this by
    FISTA, the decoder is D z with the same filters. ``fit`` alternates two stages on each batch: the filters by the
    reconstruction loss, lambda by a loss with a Gamma prior, codes held constant. The likelihood (here Gaussian) and
    the prior of the code (here Laplace) may be others, see ``code_prior`` and ``likelihood``.

    Args:
        filters, kernel_size, strides: dictionary; sizes are ints or tuples of one int an axis.
        rank: 1 (signals) or 2 (images); None: from a tuple of sizes, else 1.
        iterations: iterations of the solver.
        shrinkage: short form of ``code_prior``, a name: "nonnegative_soft" (the default) or "soft".
        sigma: noise standard deviation, in the data's unit, or "estimate" (robust, from data, in ``adapt``).
        sigma_learning, sigma_rate: average a bias-free noise estimate into sigma after each batch.
        lambda_init: "donoho", a number, or one a filter.
        lambda_shared: one lambda for all filters.
        lambda_learning: "em" (a gradient step), "em_closed_form", "backprop" (through the reconstruction loss,
            the conventional way), "bias" (the same, of the bias lambda sigma^2 step itself, which then stays as it is
            while the step size follows the filters), "em_through_code" (as the authors' code has EM: lambda follows the
            sum of the gradients of both losses, each through the code) or None.
        lambda_prior: object of ``problem.rate_priors``, such as a GammaPrior, or its name; None: ``GammaPrior()``, for
            counts ``GammaPrior(strength=10)``, which keeps lambda within 1.1 times its first value.
        gradient, gradient_steps: see ``SparseCoding``.
        tied: False gives the decoder a kernel of its own; with gradient="decoder" only that one learns.
        step_size: "auto" (1 / L, refreshed with the dictionary) or a number.
        tolerance, active, block_size, unroll, remat: how the encoder runs, see ``SparseCoding``.
        kernel_initializer: Keras initialiser; None: random normal from ``seed``.
        seed: int.
        code_prior, likelihood: objects of ``problem.code_priors`` and ``problem.likelihoods``, or their names: for
            counts "poisson" or "binomial", whose data are whole numbers, divided inside.
        trials, exposure: what counts are divided by (binomial, Poisson), in place of 1: a number, or an array
            broadcastable to (*space, channels).
        baseline: eta of the zero code of counts: "estimate" (from data, in ``adapt``), a number, or one a channel.
        baseline_scope: "channel", "shared" (by all channels), or "signal": one of each signal and channel, found with
            its code.
        baseline_learning: whether the baseline follows the codes in training, as the filters do.
        refit_distance: None, or code positions: the filters, and the baseline, then learn from one event of a filter
            within so many positions, its amplitude refitted at a tenth of the penalty, in place of the code. Counts
            need it: behind their link shrunk codes bend a filter's shape. For gradient="decoder".
        top_k: None, or how many values of each filter's code in each signal are kept, see ``SparseCoding``.
        measurement: None (data are the signals), or what of the signals the data are, y = Phi D z + noise: an object of
            ``problem`` (``Mask``, ``Matrix``, ``Subsample``, ``Blur``), or any with ``forward``, ``adjoint`` and
            ``norm`` (``problem.OwnMeasurement``). Losses and sigma are then those of the data; ``model(y)`` is the
            signal. A target in ``fit`` is the clean signal.
        solver: object of ``solvers`` or its name, see ``SparseCoding``.
        kernel_regularizer, kernel_constraint: Keras regulariser of the filters (``regularizers.Smoothness``), which the
            first stage adds to its loss, and Keras constraint beside their norm ("non_neg"); see ``ConvDictionary``.
        dense_filters: filters beside the ``filters`` sparse ones, the last of the dictionary, so that the model has
            ``filters + dense_filters`` in all: for what is there all the time (drift, hum, shading). Their lambda is
            0, their codes have both signs, and training leaves them out of lambda; see ``docs/dense.md``. They begin as
            the slowest atoms of a cosine transform.
        dense_penalty: None, or the weight r, a number without unit, of a penalty r/2 ||x||^2 of the dense filters'
            code x: alone they then fit frequencies by |a|^2 / (|a|^2 + r), a their response (at most the root of
            ``kernel_size``, of norm 1 in the mean). Needed where they are as many as a stride has samples.
        kernel_rank: None, or 1: each filter is a map over channels times a time course, see
            ``layers.RankOneDictionary``; ``model.dictionary.maps`` and ``.time_courses`` hold them.

    Raises:
        ValueError: an option out of range; half-precision variables or float16 compute (lambda, step size and
            losses need float32; "mixed_bfloat16" keeps them so).

    Example:
        >>> import keras
        >>> import keras_crsae as kc
        >>> templates = kc.data.spike_templates(kernel_size=45, filters=3)
        >>> signal = kc.data.simulate_spikes(templates, windows=8, samples=500, events_per_window=2).signal
        >>> model = kc.CRsAE(filters=3, kernel_size=45, iterations=20, sigma="estimate")
        >>> model.compile(optimizer=keras.optimizers.Adam(1e-2))
        >>> history = model.fit(signal, epochs=2, batch_size=4, verbose=0)    # (batch, time, channels)
        >>> model.encode(signal).shape                                        # (batch, time - 44, filters)
        (8, 456, 3)
    """

    #: Name of the code prior where none is given.
    DEFAULT_CODE_PRIOR = "nonnegative_soft"
    #: Whether the data may be counts, filters of rank one, and some of them dense.
    takes_counts = takes_kernel_rank = takes_dense_filters = True

    def __init__(self, filters: int, kernel_size: Sizes, strides: Sizes = 1, rank: int | None = None,
                 iterations: int = 100, shrinkage: str | None = None, sigma: float | str = 1.0,
                 sigma_learning: bool = False, sigma_rate: float = 0.01, lambda_init: Any = "donoho",
                 lambda_shared: bool = False, lambda_learning: LambdaLearning = "em",
                 lambda_prior: RatePrior | str | None = None,
                 gradient: Gradient = "unrolled", gradient_steps: int = 10, tied: bool = True,
                 step_size: float | str = "auto", tolerance: float | None = None, active: bool = False,
                 block_size: int | str = "auto", unroll: bool = False, remat: bool = False,
                 kernel_initializer: Any = None, seed: int | None = None, code_prior: CodePrior | str | None = None,
                 likelihood: Likelihood | str = "gaussian", solver: Solver | str = "fista",
                 kernel_regularizer: Any = None, kernel_constraint: Any = None, trials: Any = None,
                 exposure: Any = None, baseline: Any = "estimate", baseline_scope: BaselineScope = "channel",
                 baseline_learning: bool = True, refit_distance: int | None = None, top_k: int | None = None,
                 measurement: Any = None, dense_filters: int = 0, dense_penalty: float | None = None,
                 kernel_rank: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        crsae_options.check_dtype(self.dtype_policy)
        self.rank = as_rank(rank, kernel_size, strides)
        sparse_filters = as_positive_int(filters, "filters")
        self.dense_filters, dense_penalty = dense_options.as_dense_options(
            dense_filters, dense_penalty, type(self), active, solver, top_k=top_k, refit_distance=refit_distance,
            kernel_rank=kernel_rank)
        self.filters = sparse_filters + self.dense_filters
        self.kernel_size = as_sizes(kernel_size, self.rank, "kernel_size")
        self.sigma_init: Any = sigma if isinstance(sigma, str) and sigma == "estimate" else as_positive(sigma, "sigma")
        self.code_prior = crsae_options.as_code_prior(code_prior, shrinkage, self.DEFAULT_CODE_PRIOR)
        self.likelihood = count_options.as_likelihood(likelihood, trials, exposure)
        crsae_options.check_learning(lambda_learning, gradient, self.likelihood)
        of_images = None if self.takes_counts else type(self).__name__
        count_options.check_noise(self.likelihood, self.sigma_init, sigma_learning, active, of_images)
        self.measurement = crsae_options.as_measurement(measurement, self.sigma_init, of_images)
        given = count_options.as_baseline(self.likelihood, baseline, baseline_scope, baseline_learning)
        self.baseline_init, self.baseline_scope, self.baseline_learning = given
        self.refit_distance = count_options.as_refit_distance(refit_distance, gradient)
        self.sigma_learning, self.sigma_rate = bool(sigma_learning), crsae_options.as_sigma_rate(sigma_rate)
        self.lambda_init = as_lambda(lambda_init, sparse_filters, lambda_shared)
        self.lambda_shared, self.lambda_learning, self.tied = bool(lambda_shared), lambda_learning, bool(tied)
        self.lambda_prior = crsae_options.as_rate_prior(lambda_prior, lambda_learning, self.likelihood)
        self.seed = None if seed is None else int(seed)
        self.kernel_initializer = crsae_options.as_initializer(kernel_initializer, self.seed)
        self.kernel_regularizer = keras.regularizers.get(kernel_regularizer)
        self.kernel_constraint = keras.constraints.get(kernel_constraint)
        self.strides = as_sizes(strides, self.rank, "strides")
        refused_by = None if self.takes_kernel_rank else type(self).__name__
        self.kernel_rank = crsae_options.as_kernel_rank(kernel_rank, refused_by)
        self._options: dict[str, Any] = dict(filters=self.filters, kernel_size=self.kernel_size, rank=self.rank,
                                             strides=self.strides)
        self._cell_options: dict[str, Any] = dict(
            code_prior=self.code_prior, likelihood=self.likelihood, lambda_shared=self.lambda_shared,
            dense_filters=self.dense_filters, dense_penalty=dense_penalty,
            measurement=self.measurement, step_size=crsae_options.as_step_size(step_size))
        self._coding_options: dict[str, Any] = dict(
            iterations=iterations if iterations == "auto" else as_positive_int(iterations, "iterations"),
            gradient=gradient, baseline_scope=baseline_scope, top_k=top_k, solver=solvers.get(solver),
            gradient_steps=as_positive_int(gradient_steps, "gradient_steps"), unroll=bool(unroll), remat=bool(remat),
            tolerance=None if tolerance is None else as_positive(tolerance, "tolerance"), active=bool(active),
            block_size=block_size if isinstance(block_size, str) else as_positive_int(block_size, "block_size"))
        # What the layers refuse is refused here, before data arrives.
        SparseCoding(SparseCodingCell(self._dictionary_class()(**self._options), **self._cell_options),
                     **self._coding_options)

    # Layers

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        if self.built:
            return
        channels = self.measurement.signal_channels(input_shape[-1])
        if len(input_shape) == 2 and self.measurement.flat:
            input_shape = (None,) * (self.rank + 2)
        input_shape = (*input_shape[:-1], channels)
        if len(input_shape) != self.rank + 2 or not channels:
            raise ValueError(f"Expected an input shape of {self.rank + 2} axes with the channels last. "
                             f"Received: input_shape={input_shape}")
        with strategy_scope(self):  # `fit` may build outside of the scope that the model was made in
            self._build_in_scope(input_shape)

    def _build_in_scope(self, input_shape: tuple[int | None, ...]) -> None:
        sigma = 1.0 if isinstance(self.sigma_init, str) else self.sigma_init
        first = self.lambda_init
        if first == "donoho":
            first = donoho_lambda(self.sparse_filters, _POSITIONS_BEFORE_DATA, sigma)
        self._build_layers(first, sigma, input_shape)
        if self.baseline is not None and self.baseline_init != "estimate":
            self.baseline.assign(count_options.of_channels(self.baseline_init, self.baseline.shape[0]))
        rates = self.sparse_rates
        state = TrainingState(rates.shape[0], name="training_state", dtype=self.dtype_policy)
        state.build((None,))
        state.prior_mean.assign(rates if self.lambda_prior.mean is None
                                else ops.full(rates.shape, self.lambda_prior.mean))
        self.training_state = state
        self.built = True
        self._trainer.build_optimizers()

    def _build_layers(self, first_lambda: Any, sigma: float, input_shape: tuple[int | None, ...]) -> None:
        """Make ``dictionary``, ``encoder`` and ``decoder``; subclasses with other layers override it."""
        options = self._dictionary_options(input_shape[-1])
        code_shape = (None,) * (self.rank + 1) + (self.filters,)
        self.dictionary = self._dictionary_class()(**options, name="dictionary")
        self.dictionary.build(code_shape)
        dense_options.begin_dense_filters(self.dictionary, self.dense_filters)
        cell = SparseCodingCell(self.dictionary, lambda_init=first_lambda, sigma=sigma, name="cell",
                                dtype=self.dtype_policy, **self._cell_options)
        self.encoder = self._new_encoder(cell)
        self.encoder.refresh_in_training = False  # train_step does so between its two stages
        self.encoder.build(input_shape)
        self.decoder = self.dictionary
        if not self.tied:
            self.decoder = self._untied_decoder(options)
            self.decoder.build(code_shape)
            for own, first in zip(self.decoder.filter_variables, self.dictionary.filter_variables, strict=True):
                own.assign(first.value)

    def _new_encoder(self, cell: SparseCodingCell) -> SparseCoding:
        """The encoder; subclasses may take another layer."""
        return SparseCoding(cell, name="encoder", dtype=self.dtype_policy, **self._coding_options)

    def _untied_decoder(self, options: dict[str, Any]) -> ConvDictionary:
        """The decoder where it has a kernel of its own; subclasses may take another layer."""
        return self._dictionary_class()(**options, name="decoder")

    def _dictionary_class(self) -> type[ConvDictionary]:
        return ConvDictionary if self.kernel_rank is None else RankOneDictionary

    def _dictionary_options(self, channels: int | None) -> dict[str, Any]:
        # Filters as long as the signal have one position: there is nothing to fold.
        dense = self.measurement.signal_space((None,) * self.rank) == self.kernel_size
        return dict(self._options, kernel_initializer=self.kernel_initializer, channels=channels,
                    kernel_regularizer=self.kernel_regularizer, kernel_constraint=self.kernel_constraint,
                    block_size=1 if dense else self._coding_options["block_size"], dtype=self.dtype_policy)

    @property
    def dictionary_variables(self) -> list[keras.Variable]:
        """Variables of the first stage: the filters that the gradient reaches."""
        if self.tied:
            return self.dictionary.filter_variables
        reached = [] if self._coding_options["gradient"] == "decoder" else self.dictionary.filter_variables
        return [*reached, *self.decoder.filter_variables]

    # Values resolved from data

    def set_dictionary(self, filters: Any) -> None:
        """Set the filters, (*kernel_size, channels, filters); normalised, step size refreshed.

        Filters that break ``kernel_constraint`` are brought to it: "non_neg" sets their negative values to zero. With
        ``kernel_rank=1`` the nearest filters of rank one are taken, with a warning where these are others.
        """
        filters = as_unit_filters(filters, (*self.kernel_size, self.dictionary.channels if self.built else None,
                                            self.filters))
        if self.kernel_rank is not None:
            crsae_options.warn_of_lost_energy(filters)
        if not self.built:
            self.build((None,) * (self.rank + 1) + (filters.shape[-2],))
        for layer in self.dictionaries:
            layer.set_kernel(filters)
        self.encoder.cell.refresh_step_size()

    def adapt(self, data: Any, init: str | None = None, mask: Any = None, *, trials: Any = None,
              exposure: Any = None, operator: Any = None) -> None:
        """Resolve sigma, lambda, its prior and, on request, first filters from data; ``fit`` calls it once.

        Of counts the baseline is taken from their mean, and sigma^2 is 1 / size.

        Args:
            data: (batch, *space, channels); masked values of a NumPy masked array are missing.
            init: first filters: None (keep), "windows" (random windows), "energy" (strong ones) or "dct". Sparse ones
                then begin with what the dense ones, which are kept, leave of the data.
            mask: None or a 0/1 mask of observed samples, broadcastable to data.
            trials, exposure: what counts are divided by, see ``encode``.
            operator: number of the matrix of a stack that measured each signal, see ``encode``.
        """
        data, observed = split_masked(data)
        data = as_data(data, self.layout, "data")
        operator = as_operator(operator, self.measurement, len(data))
        check_first_filters(self.measurement, init)
        if mask is not None:
            refuse_other_containers(mask, "mask")
            mask = ops.convert_to_numpy(observation_mask(ops.convert_to_tensor(mask), ops.convert_to_tensor(data)))
        if observed is not None:
            mask = np.asarray(observed, np.float32) * (1.0 if mask is None else mask)
        if self.measurement.observed is not None:
            mask = ops.convert_to_numpy(with_mask(self.measurement, mask, data))
        counts = count_options.adapted_counts(self.likelihood, data, mask, trials, exposure)
        channels = data.shape[-1]
        baseline: Any = None if counts is None else self._first_baseline(counts)
        if init is not None:
            # Without a seed of the model's own, the one of ``keras.utils.set_random_seed`` counts.
            seed = np.random.randint(SEED_BOUND) if self.seed is None else self.seed
            above = data if counts is None else count_options.above_baseline(self.likelihood, counts, baseline)
            first = self._first_filters(init, above, mask, seed)
            self.set_dictionary(first if self.kernel_rank is None else rank_one.nearest_rank_one(first).kernel)
        elif not self.built:
            self.build((None,) * (self.rank + 1) + (channels,))
        kernel, donoho = ops.convert_to_numpy(self.dictionary.kernel), self.lambda_init == "donoho"
        if self.dense_filters:
            resolved = dense_options.resolve(self.encoder, data, self.sigma_init, donoho, mask, self.code_prior)
        elif not self.measurement.is_mask:
            resolved = resolve_measured(data, self.dictionary, self.sigma_init, donoho, self.code_prior,
                                        self.measurement, mask, operator)
        elif counts is None:
            resolved = resolve(data, kernel, self.dictionary.strides, self.sigma_init, donoho, mask, self.code_prior,
                               self.likelihood, self.dictionary.correlation_problem)
        else:
            variable, likelihood, dispersion = (cast(Any, a) for a in (
                self.baseline, self.likelihood, counts.dispersion))
            variable.assign(baseline)
            resolved = resolve_counts(counts.signal, kernel, self.dictionary.strides, likelihood, donoho,
                                      self.code_prior, dispersion, baseline, counts.observed)
        self._take(resolved)

    def _first_filters(self, init: str, data: np.ndarray, mask: np.ndarray | None, seed: int) -> np.ndarray:
        """First filters from data; dense ones stay as they are."""
        if not self.dense_filters:
            return first_filters(init, data, self.kernel_size, self.filters, seed)
        if not self.built:
            self.build((None,) * (self.rank + 1) + (data.shape[-1],))
        return dense_options.first_sparse_filters(init, self.encoder, data, mask, seed)

    def _first_baseline(self, counts: Means) -> np.ndarray:
        """Baseline to begin with, (channels,)."""
        channels = counts.signal.shape[-1]
        if self.baseline_init != "estimate":
            return count_options.of_channels(self.baseline_init, channels)
        return count_options.estimate(self.likelihood, counts, shared=self.baseline_scope == "shared")

    def _take(self, resolved: Adapted) -> None:
        """Values that data gave into the variables."""
        self.sigma.assign(resolved.sigma)
        if resolved.lambda_reg is not None:
            lambda_reg = np.max(resolved.lambda_reg) if self.lambda_shared else resolved.lambda_reg
            lambda_reg = np.broadcast_to(np.asarray(lambda_reg, np.float64), self.sparse_rates.shape)
            self.assign_rates(ops.cast(lambda_reg, self.lambda_reg.dtype))
        if self.lambda_prior.mean is None:
            self.training_state.prior_mean.assign(self.sparse_rates)
        self.training_state.lambda_ceiling.assign(resolved.lambda_ceiling)
        self.training_state.adapted.assign(1.0)
        if self._trainer.default_lambda_optimizer:
            self.lambda_optimizer.learning_rate = self._trainer.default_lambda_rate()

    # Saving

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **self._options, **self._cell_options, **self._coding_options,
                "filters": self.sparse_filters,
                "code_prior": code_priors.serialize(self.code_prior),
                "likelihood": likelihoods.serialize(self.likelihood),
                "measurement": measurements.serialize(self.measurement),
                "solver": solvers.registry.serialize(self._coding_options["solver"]),
                "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
                "kernel_regularizer": keras.regularizers.serialize(self.kernel_regularizer),
                "kernel_constraint": keras.constraints.serialize(self.kernel_constraint),
                "sigma": self.sigma_init, "sigma_learning": self.sigma_learning, "sigma_rate": self.sigma_rate,
                "lambda_init": self.lambda_init, "lambda_learning": self.lambda_learning,
                "lambda_prior": rate_priors.serialize(self.lambda_prior),
                "baseline": self.baseline_init, "baseline_learning": self.baseline_learning,
                "refit_distance": self.refit_distance, "kernel_rank": self.kernel_rank,
                "tied": self.tied, "seed": self.seed, "name": self.name, "trainable": self.trainable,
                "dtype": keras.saving.serialize_keras_object(self.dtype_policy)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> CRsAE:
        return cls(**config)

    def get_build_config(self) -> dict[str, Any] | None:
        return {"input_shape": (None,) * (self.rank + 1) + (self.dictionary.channels,)} if self.built else None

    def build_from_config(self, config: dict[str, Any]) -> None:
        self.build(tuple(config["input_shape"]))
