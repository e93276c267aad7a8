"""CRsAE: the constrained recurrent sparse autoencoder as a Keras model."""

import math
import warnings

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from keras_crsae import initializers
from keras_crsae.checks import as_signal
from keras_crsae.layers import ConvDictionary, SparseCoding, SparseCodingCell
from keras_crsae.layers.conv_dictionary import sizes
from keras_crsae.losses import lambda_loss, reconstruction_loss
from keras_crsae.priors import GammaPrior, closed_form_lambda

LAMBDA_LEARNING = ("em", "em_closed_form", "backprop", None)
REPORTED = ("loss", "reconstruction_loss", "lambda_loss", "sparsity", "sigma")
_POSITIONS_BEFORE_DATA = 1000  # N_e of Donoho's lambda before adapt has seen data


def lambda_max(signal, filters, strides=1):
    """Smallest ``lambda * sigma^2`` with an all-zero code: the largest |D^T y|.

    Args:
        signal: (batch, *space, channels).
        filters: (*kernel_size, channels, filters).
        strides: int or tuple.
    """
    from keras_crsae.functional import adjoint

    filters = np.asarray(filters, np.float32)
    rank = filters.ndim - 2
    signal = as_signal(signal, rank, filters.shape[-2], filters.shape[:rank], "signal")
    filters = filters / np.sqrt(np.sum(np.square(filters), axis=tuple(range(rank + 1))))
    return float(ops.max(ops.abs(adjoint(ops.convert_to_tensor(signal), ops.convert_to_tensor(filters),
                                         sizes(strides, rank, "strides")))))


@keras.saving.register_keras_serializable(package="keras_crsae")
class CRsAE(keras.Model):
    """Constrained recurrent sparse autoencoder (Tolooshams, Dey, Ba, arXiv 1904.08827).

    The encoder solves min_z 1/2 ||y - D z||^2 + sigma^2 sum_c lambda_c ||z_c||_1 by FISTA, the decoder is D z
    with the same filters. ``fit`` alternates two stages on each batch: the filters by the reconstruction loss,
    lambda by a loss with a Gamma prior, codes held constant.

    Args:
        filters, kernel_size, strides, rank: dictionary; sizes are ints or tuples of ``rank`` ints.
        iterations: FISTA iterations.
        shrinkage: "nonnegative_soft" or "soft".
        sigma: noise standard deviation, in the data's unit, or "estimate" (robust, from data, in ``adapt``).
        sigma_learning, sigma_rate: average a bias-free noise estimate into sigma after each batch.
        lambda_init: "donoho", a number, or one a filter.
        lambda_shared: one lambda for all filters.
        lambda_learning: "em" (a gradient step), "em_closed_form", "backprop" (through the reconstruction loss,
            the conventional way) or None.
        lambda_prior: GammaPrior.
        gradient, gradient_steps: see ``SparseCoding``.
        tied: False gives the decoder a kernel of its own.
        step_size: "auto" (1 / L, refreshed with the dictionary) or a number.
        unroll: build the encoder without a graph loop.
        kernel_initializer: Keras initialiser; None: random normal from ``seed``.
        seed: int.

    Example:
        >>> model = CRsAE(filters=3, kernel_size=45, sigma="estimate")
        >>> model.compile(optimizer=keras.optimizers.Adam(1e-2))
        >>> history = model.fit(windows, epochs=5, batch_size=16)     # (batch, time, channels)
        >>> code = model.encode(windows)                              # (batch, time - 44, 3)
    """

    def __init__(self, filters, kernel_size, strides=1, rank=1, iterations=100, shrinkage="nonnegative_soft",
                 sigma=1.0, sigma_learning=False, sigma_rate=0.01, lambda_init="donoho", lambda_shared=False,
                 lambda_learning="em", lambda_prior=None, gradient="unrolled", gradient_steps=10, tied=True,
                 step_size="auto", unroll=False, kernel_initializer=None, seed=None, **kwargs):
        super().__init__(**kwargs)
        if lambda_learning not in LAMBDA_LEARNING:
            raise ValueError(f"`lambda_learning` must be one of {LAMBDA_LEARNING}. Received: {lambda_learning!r}")
        if lambda_learning == "backprop" and gradient == "decoder":
            raise ValueError("lambda_learning='backprop' needs a gradient through the encoder, and gradient='decoder' "
                             "holds the code constant. Use gradient='unrolled' or 'truncated', or other learning.")
        if sigma != "estimate" and not sigma > 0:
            raise ValueError(f"`sigma` must be 'estimate' or a positive number. Received: sigma={sigma!r}")
        if not 0 < sigma_rate <= 1:
            raise ValueError(f"`sigma_rate` must lie in (0, 1]. Received: sigma_rate={sigma_rate!r}")
        if not (isinstance(lambda_init, str) and lambda_init == "donoho"):
            values = np.asarray(lambda_init, np.float32)
            if values.ndim > 1 or not (values > 0).all() or (values.ndim and len(values) not in (1, filters)):
                raise ValueError("`lambda_init` must be 'donoho', a positive number or one a filter. "
                                 f"Received: lambda_init={lambda_init!r} with filters={filters}")
            lambda_init = values.tolist()
        self.rank, self.sigma_init, self.lambda_init = rank, sigma, lambda_init
        self.sigma_learning, self.sigma_rate = sigma_learning, sigma_rate
        self.lambda_shared, self.lambda_learning = lambda_shared, lambda_learning
        self.lambda_prior, self.tied, self.seed = lambda_prior or GammaPrior(), tied, seed
        self.kernel_initializer = keras.initializers.get(kernel_initializer) \
            or keras.initializers.RandomNormal(seed=seed)
        self._options = dict(filters=filters, kernel_size=kernel_size, strides=strides, rank=rank,
                             kernel_initializer=self.kernel_initializer)
        self._cell_options = dict(shrinkage=shrinkage, lambda_shared=lambda_shared, step_size=step_size)
        self._coding_options = dict(iterations=iterations, unroll=unroll, gradient=gradient,
                                    gradient_steps=gradient_steps)
        ConvDictionary(**self._options)  # bad sizes are refused here, before data arrives
        SparseCoding(None, **self._coding_options)
        self.supports_masking = True  # `mask` marks observed samples; none is passed on
        self.lambda_optimizer = None
        self._default_lambda_optimizer = False
        self._trackers = {name: keras.metrics.Mean(name=name) for name in REPORTED}

    def build(self, input_shape):
        if self.built:
            return
        channels = input_shape[-1]
        if len(input_shape) != self.rank + 2 or not channels:
            raise ValueError(f"Expected an input shape of {self.rank + 2} axes with the channels last. "
                             f"Received: input_shape={input_shape}")
        sigma = 1.0 if self.sigma_init == "estimate" else self.sigma_init
        first = self.lambda_init
        if first == "donoho":
            first = initializers.donoho_lambda(self._options["filters"], _POSITIONS_BEFORE_DATA, sigma)
        self.dictionary = ConvDictionary(**self._options, channels=channels, name="dictionary")
        cell = SparseCodingCell(self.dictionary, lambda_init=first, sigma=sigma, name="cell", **self._cell_options)
        self.encoder = SparseCoding(cell, name="encoder", **self._coding_options)
        self.encoder.build(input_shape)
        self.decoder = self.dictionary
        if not self.tied:
            self.decoder = ConvDictionary(**self._options, channels=channels, name="decoder")
            self.decoder.build()
            self.decoder.kernel.assign(self.dictionary.kernel.value)
        self.prior_mean = self.add_weight(name="prior_mean", shape=self.lambda_reg.shape, trainable=False,
                                          initializer="ones")
        self.prior_mean.assign(self.lambda_reg.value if self.lambda_prior.mean is None
                               else ops.broadcast_to(float(self.lambda_prior.mean), self.lambda_reg.shape))
        self.lambda_ceiling = self.add_weight(name="lambda_ceiling", shape=(), trainable=False, initializer="zeros")
        self.lambda_held = self.add_weight(name="lambda_held", shape=(), trainable=False, initializer="zeros")
        self.adapted = self.add_weight(name="adapted", shape=(), trainable=False, initializer="zeros")
        self.built = True
        self._build_optimizers()

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
        """Variables of the first stage."""
        return [self.dictionary.kernel] if self.tied else [self.dictionary.kernel, self.decoder.kernel]

    # Forward pass

    def call(self, signal, mask=None, sigma=None, training=False):
        code = self.encoder(signal, mask=mask, sigma=sigma, training=training)
        return self._crop(self.decoder(code), signal)

    def compute_mask(self, *args, **kwargs):
        return None

    @staticmethod
    def _crop(reconstruction, signal):
        """Samples that the stride padded are cut off again."""
        space = ops.shape(signal)[1:-1]
        for axis, n in enumerate(space, start=1):
            if n is not None:
                index = [slice(None)] * (axis - 1) + [slice(None, n)]
                reconstruction = reconstruction[tuple([slice(None)] + index)]
        return reconstruction

    def _as_input(self, signal):
        signal = as_signal(signal, self.rank, self.dictionary.channels if self.built else None,
                           sizes(self._options["kernel_size"], self.rank, "kernel_size"), "signal")
        if not self.built:
            self.build((None,) * (self.rank + 1) + (signal.shape[-1],))
        return ops.convert_to_tensor(signal)

    def encode(self, signal, mask=None, sigma=None):
        """Sparse code, float32 NumPy (batch, *positions, filters), of a signal (batch, *space, channels)."""
        signal = self._as_input(signal)
        return ops.convert_to_numpy(self.encoder(signal, mask=mask, sigma=sigma))

    def decode(self, code):
        """Reconstruction ``D z``, float32 NumPy (batch, (positions - 1) * stride + kernel, channels)."""
        return ops.convert_to_numpy(self.decoder(ops.convert_to_tensor(np.asarray(code, np.float32))))

    def separate(self, signal, mask=None, sigma=None):
        """Each filter's own reconstruction, (batch, *space, channels, filters); their sum is ``model(signal)``."""
        signal = self._as_input(signal)
        code = self.encoder(signal, mask=mask, sigma=sigma)
        parts = []
        for c in range(self.dictionary.filters):
            chosen = ops.one_hot(c, self.dictionary.filters, dtype=code.dtype)
            parts.append(self._crop(self.decoder(code * chosen), signal))
        return ops.convert_to_numpy(ops.stack(parts, axis=-1))

    # Values resolved from data

    def set_dictionary(self, filters):
        """Set the filters, (*kernel_size, channels, filters); normalised, step size refreshed."""
        filters = np.asarray(filters, np.float32)
        expected = (*sizes(self._options["kernel_size"], self.rank, "kernel_size"),
                    self.dictionary.channels if self.built else "channels", self._options["filters"])
        if filters.ndim != len(expected) or any(
                isinstance(e, int) and e != n for e, n in zip(expected, filters.shape, strict=False)):
            raise ValueError(f"`filters` must have shape {expected}. Received: shape {filters.shape}")
        norms = np.sqrt(np.sum(np.square(filters), axis=tuple(range(self.rank + 1))))
        if not np.isfinite(filters).all() or (norms == 0).any():
            raise ValueError("`filters` must be finite and none of them all zero. "
                             f"Received: norms {norms.tolist()}")
        if not self.built:
            self.build((None,) * (self.rank + 1) + (filters.shape[-2],))
        for layer in {id(d): d for d in (self.dictionary, self.decoder)}.values():
            layer.kernel.assign(filters / norms)
        self.encoder.cell.refresh_step_size()

    def adapt(self, data, filters=None):
        """Resolve sigma, lambda, its prior and, where asked, first filters from data; ``fit`` calls it once.

        Args:
            data: (batch, *space, channels).
            filters: None (keep), "windows" (random windows), "energy" (strong ones) or "dct".
        """
        kernel_size = sizes(self._options["kernel_size"], self.rank, "kernel_size")
        data = as_signal(data, self.rank, self.dictionary.channels if self.built else None, kernel_size)
        if not self.built:
            self.build((None,) * (self.rank + 1) + (data.shape[-1],))
        if filters is not None:
            rng = np.random.default_rng(self.seed)
            count = self.dictionary.filters
            made = {"windows": lambda: initializers.window_filters(data, kernel_size, count, rng),
                    "energy": lambda: initializers.window_filters(data, kernel_size, count, rng, energy=True),
                    "dct": lambda: initializers.dct_filters(kernel_size, data.shape[-1], count)}
            if filters not in made:
                raise ValueError(f"`filters` must be None or one of {sorted(made)}. Received: {filters!r}")
            self.set_dictionary(made[filters]())
        if self.sigma_init == "estimate":
            sigma = initializers.robust_sigma(data, self.rank)
            if not sigma > 0:
                raise ValueError("sigma='estimate' found a noise level of zero: more than half of the data is "
                                 "constant. Give sigma a positive number in the data's unit.")
            self.sigma.assign(sigma)
        if self.lambda_init == "donoho":
            positions = math.prod(self.dictionary.code_space(data.shape[1:-1]))
            value = initializers.donoho_lambda(self.dictionary.filters, positions, float(self.sigma))
            self.lambda_reg.assign(ops.full(self.lambda_reg.shape, value))
        if self.lambda_prior.mean is None:
            self.prior_mean.assign(self.lambda_reg.value)
        largest = float(ops.max(ops.abs(self.dictionary.adjoint(ops.convert_to_tensor(data[:64])))))
        self.lambda_ceiling.assign(0.5 * largest / float(self.sigma) ** 2)
        self.adapted.assign(1.0)
        if self._default_lambda_optimizer:
            self.lambda_optimizer.learning_rate = 0.01 * float(np.mean(self.lambda_reg))

    # Training

    def compile(self, optimizer="adam", lambda_optimizer=None, **kwargs):
        """Two optimisers: ``optimizer`` for the filters, ``lambda_optimizer`` for lambda.

        Args:
            optimizer: Keras optimiser of the dictionary; learning-rate callbacks act on it.
            lambda_optimizer: Keras optimiser in lambda's unit; None: Adam at 0.01 times the initial lambda.
            **kwargs: ``run_eagerly``, ``steps_per_execution``, ``jit_compile`` as in ``keras.Model.compile``.
        """
        if kwargs.get("loss") is not None or kwargs.get("metrics") is not None:
            raise ValueError("CRsAE brings its own losses and metrics; leave `loss` and `metrics` out of compile.")
        super().compile(optimizer=optimizer, **kwargs)
        self._default_lambda_optimizer = lambda_optimizer is None
        rate = 0.01 * float(np.mean(self.lambda_reg)) if self.built else 0.01
        self.lambda_optimizer = keras.optimizers.Adam(rate) if lambda_optimizer is None \
            else keras.optimizers.get(lambda_optimizer)
        self._build_optimizers()

    def _build_optimizers(self):
        if self.built and self.compiled:
            self.optimizer.build(self.dictionary_variables)
            self.lambda_optimizer.build([self.lambda_reg])

    def get_compile_config(self):
        if not self.compiled:
            return {}
        config = super().get_compile_config() or {}
        serialize = keras.saving.serialize_keras_object
        return {"optimizer": serialize(self.optimizer), "lambda_optimizer": serialize(self.lambda_optimizer),
                "default_lambda_optimizer": self._default_lambda_optimizer,
                **{k: config[k] for k in ("run_eagerly", "steps_per_execution", "jit_compile") if k in config}}

    def compile_from_config(self, config):
        config = dict(config)
        default = config.pop("default_lambda_optimizer", False)
        self.compile(**{k: keras.saving.deserialize_keras_object(v) for k, v in config.items()})
        self._default_lambda_optimizer = default

    @property
    def metrics(self):
        return list(self._trackers.values())

    def fit(self, x=None, y=None, **kwargs):
        """As ``keras.Model.fit``; arrays are checked first, and ``adapt`` runs on the first batch if it has not."""
        if not self.compiled:
            raise ValueError("Call `compile` before `fit`, for example model.compile(keras.optimizers.Adam(1e-3)).")
        first = x
        if isinstance(x, (np.ndarray, list, tf.Tensor)):
            x = as_signal(x, self.rank, name="x")
            y = None if y is None else as_signal(y, self.rank, name="y")
            first = x[:kwargs.get("batch_size") or 32]
        elif isinstance(x, keras.utils.PyDataset):
            first = x[0]
        elif x is not None:
            first = next(iter(x))
        first = first[0] if isinstance(first, (tuple, list)) else first
        if not self.built or not float(self.adapted):
            self.adapt(np.asarray(first))
        before = float(self.lambda_held)
        history = super().fit(x, y, **kwargs)
        if float(self.lambda_held) > before:
            warnings.warn("lambda was held at half of lambda_max in "
                          f"{int(float(self.lambda_held) - before)} steps: a larger one would leave hardly any code. "
                          "Raise GammaPrior(strength=...) or lower sigma.", stacklevel=2)
        if history.history.get("sparsity", [1.0])[-1] == 0.0:
            warnings.warn("All codes are zero: lambda * sigma^2 is too large for these data. "
                          f"It is {float(np.max(self.lambda_reg) * self.sigma**2):.3g}; the first non-zero code comes "
                          "below lambda_max(data, filters).", stacklevel=2)
        return history

    def _unpack(self, data):
        signal, target, weight = keras.utils.unpack_x_y_sample_weight(data)
        signal = tf.cast(signal, self.compute_dtype)
        target = signal if target is None else tf.cast(target, self.compute_dtype)
        mask = None
        if weight is not None:
            weight = tf.cast(weight, signal.dtype)
            if weight.shape.rank != 1:
                mask, weight = tf.broadcast_to(weight, tf.shape(signal)), None
        return signal, target, mask, weight

    def train_step(self, data):
        signal, target, mask, weight = self._unpack(data)
        through_lambda = self.lambda_learning == "backprop"
        variables = self.dictionary_variables + ([self.lambda_reg] if through_lambda else [])
        with tf.GradientTape() as tape:
            code = self.encoder(signal, mask=mask, training=True)
            loss = reconstruction_loss(target, self._crop(self.decoder(code), signal), mask, weight)
        gradients = tape.gradient(loss, [v.value for v in variables])
        count = len(self.dictionary_variables)
        self.optimizer.apply(gradients[:count], self.dictionary_variables)
        if through_lambda:
            self.lambda_optimizer.apply(gradients[count:], [self.lambda_reg])
        self.encoder.cell.refresh_step_size()
        code = tf.stop_gradient(self.encoder(signal, mask=mask))
        stage_two = self._lambda_step(signal, code)
        if self.sigma_learning:
            self._sigma_step(signal, code, mask)
        return self._report(loss, stage_two, code)

    def test_step(self, data):
        signal, target, mask, weight = self._unpack(data)
        code = self.encoder(signal, mask=mask)
        loss = reconstruction_loss(target, self._crop(self.decoder(code), signal), mask, weight)
        return self._report(loss, self._lambda_loss(code)[0], code)

    def _report(self, loss, stage_two, code):
        values = (loss, loss, stage_two, tf.reduce_mean(tf.cast(tf.not_equal(code, 0.0), loss.dtype)),
                  self.sigma.value)
        for name, value in zip(REPORTED, values, strict=True):
            self._trackers[name].update_state(value)
        return {name: tracker.result() for name, tracker in self._trackers.items()}

    def _lambda_loss(self, code):
        """Loss of the second stage and what its closed form needs."""
        axes = list(range(1, len(code.shape) - 1))
        norms = tf.reduce_mean(tf.reduce_sum(tf.abs(code), axis=axes), axis=0)
        positions = tf.cast(tf.reduce_prod(tf.shape(code)[1:-1]), code.dtype)
        shape, rate = self.lambda_prior.shape_and_rate(self.prior_mean.value, positions)
        return lambda_loss(self.lambda_reg.value, norms, positions, shape, rate), (norms, positions, shape, rate)

    def _lambda_step(self, signal, code):
        if self.lambda_learning == "em":
            with tf.GradientTape() as tape:
                loss, _ = self._lambda_loss(code)
            self.lambda_optimizer.apply(tape.gradient(loss, [self.lambda_reg.value]), [self.lambda_reg])
        else:
            loss, statistics = self._lambda_loss(code)
            if self.lambda_learning == "em_closed_form":
                self.lambda_reg.assign(closed_form_lambda(*statistics, shared=self.lambda_shared))
        if self.lambda_learning in ("em", "em_closed_form"):
            # The ceiling follows the strongest batch seen: a silent batch must not lower it.
            largest = tf.reduce_max(tf.abs(self.dictionary.adjoint(signal))) / self.sigma.value**2
            self.lambda_ceiling.assign(tf.maximum(self.lambda_ceiling.value, 0.5 * largest))
            held = tf.reduce_any(self.lambda_reg.value > self.lambda_ceiling.value)
            self.lambda_held.assign(self.lambda_held.value + tf.cast(held, signal.dtype))
            self.lambda_reg.assign(tf.minimum(self.lambda_reg.value, self.lambda_ceiling.value))
        return loss

    def _sigma_step(self, signal, code, mask):
        """Average in the residual of codes refitted on their support; the raw residual holds shrinkage bias."""
        mask = tf.ones_like(signal) if mask is None else mask
        padded, observed = self.encoder._pad(signal, mask)
        support = tf.cast(tf.not_equal(code, 0.0), code.dtype)
        refitted = code
        for _ in range(20):
            residual = observed * (self.dictionary(refitted) - padded)
            refitted = refitted - self.step_size.value * support * self.dictionary.adjoint(residual)
        residual = observed * (self.dictionary(refitted) - padded)
        free = tf.maximum(tf.reduce_sum(observed) - tf.reduce_sum(support), 1.0)
        new = tf.reduce_sum(tf.square(residual)) / free
        old = self.sigma.value
        sigma = tf.sqrt((1.0 - self.sigma_rate) * tf.square(old) + self.sigma_rate * new)
        # lambda * sigma is kept, in the prior and the ceiling too.
        for variable, power in ((self.lambda_reg, 1), (self.prior_mean, 1), (self.lambda_ceiling, 2)):
            variable.assign(variable.value * (old / sigma) ** power)
        self.sigma.assign(sigma)

    def get_config(self):
        return {**self._options, **self._cell_options, **self._coding_options,
                "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
                "sigma": self.sigma_init, "sigma_learning": self.sigma_learning, "sigma_rate": self.sigma_rate,
                "lambda_init": self.lambda_init, "lambda_learning": self.lambda_learning,
                "lambda_prior": keras.saving.serialize_keras_object(self.lambda_prior),
                "tied": self.tied, "seed": self.seed, "name": self.name}

    @classmethod
    def from_config(cls, config):
        config = dict(config)
        config["lambda_prior"] = keras.saving.deserialize_keras_object(config["lambda_prior"])
        return cls(**config)

    def get_build_config(self):
        return {"input_shape": (None,) * (self.rank + 1) + (self.dictionary.channels,)}

    def build_from_config(self, config):
        self.build(tuple(config["input_shape"]))
