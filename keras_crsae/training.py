"""Training of CRsAE inside Keras: two optimisers, the two stages of a batch, checked ``fit`` and ``evaluate``."""

import warnings

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from keras_crsae import batches, m_step
from keras_crsae.guard import StopOnNonFinite, all_finite, keep_or_undo, snapshot
from keras_crsae.losses import lambda_loss, reconstruction_loss
from keras_crsae.priors import closed_form_lambda

REPORTED = ("loss", "reconstruction_loss", "lambda_loss", "sparsity", "sigma")


class TwoStageTraining:
    """Mixin of ``CRsAE``: everything that ``compile``, ``fit`` and ``evaluate`` need.

    One batch, in order: the dictionary's step on the old lambda; filters back on the sphere; step size; codes again
    with the new dictionary; lambda's step; sigma averaged in (arXiv 1904.08827, section III).
    """

    def _default_lambda_rate(self):
        return 0.01 * float(np.mean(ops.convert_to_numpy(self.lambda_reg))) if self.built else 0.01

    def compile(self, optimizer="adam", lambda_optimizer=None, **kwargs):
        """Two optimisers: ``optimizer`` for the filters, ``lambda_optimizer`` for lambda.

        Args:
            optimizer: Keras optimiser of the dictionary; learning-rate callbacks act on it.
            lambda_optimizer: Keras optimiser in lambda's unit; None: Adam at 0.01 times the initial lambda.
            **kwargs: ``run_eagerly``, ``steps_per_execution``, ``jit_compile`` as in ``keras.Model.compile``.
        """
        if any(kwargs.get(k) is not None for k in ("loss", "loss_weights", "metrics", "weighted_metrics")):
            raise ValueError("CRsAE brings its own losses and metrics; leave `loss` and `metrics` out of compile.")
        super().compile(optimizer=optimizer, **kwargs)
        self._default_lambda_optimizer = lambda_optimizer is None
        self.lambda_optimizer = keras.optimizers.Adam(self._default_lambda_rate()) if lambda_optimizer is None \
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

    def _checked(self, x, y, sample_weight, name):
        """Arrays checked and cast, streams as they are."""
        if not batches.is_array(x):
            return x, y, sample_weight
        return batches.checked(x, y, sample_weight, name=name, **self._expected())

    def _expected(self):
        return dict(rank=self.rank, channels=self.dictionary.channels if self.built else None,
                    kernel_size=self.kernel_size)

    def fit(self, x=None, y=None, batch_size=None, epochs=1, *, callbacks=None, validation_data=None,
            class_weight=None, sample_weight=None, **kwargs):
        """As ``keras.Model.fit``; arrays are checked first, and ``adapt`` runs on the first batch if it has not.

        Args:
            x: signals (batch, *space, channels), or a ``tf.data.Dataset``, ``PyDataset`` or generator of them.
            y: None, or the clean signals of x's shape (supervised).
            sample_weight: (batch,) weighs the losses; x's shape (or without its channels): 0/1, observed samples.
            **kwargs: the rest of ``keras.Model.fit``'s.

        Returns:
            ``keras.callbacks.History`` with loss, reconstruction_loss, lambda_loss, sparsity, sigma.

        Raises:
            ValueError: data that does not fit the model.
            FloatingPointError: a loss became NaN or infinite; the last good weights are kept.
        """
        if not self.compiled:
            raise ValueError("Call `compile` before `fit`, for example model.compile(keras.optimizers.Adam(1e-3)).")
        if class_weight is not None:
            raise ValueError("`class_weight` has no meaning here: CRsAE has no classes. Use `sample_weight`.")
        if x is None:
            raise ValueError("`fit` needs `x`: signals (batch, *space, channels), a dataset or a generator.")
        x, y, sample_weight = self._checked(batches.stream(x), y, sample_weight, "x")
        validation_data = batches.checked_validation(validation_data, **self._expected())
        if not self.built or not float(self.adapted):
            first = (x, y, sample_weight)
            if batches.is_array(x):
                first = tuple(None if a is None else a[:batch_size or 32] for a in first)
            else:
                first, x = batches.peek(x)
            signal, _, mask, _ = batches.unpack(first, self.rank, "float32")
            self.adapt(signal, mask=mask)
        if isinstance(x, tf.data.Dataset):
            kwargs.setdefault("shuffle", False)  # Keras would warn of its own default
        held = float(self.lambda_held)
        self.failed_stage.assign(0.0)
        guard = StopOnNonFinite(self.failed_stage)
        if isinstance(callbacks, keras.callbacks.CallbackList):
            callbacks.append(guard)
        else:
            callbacks = callbacks if isinstance(callbacks, list | tuple) else [callbacks] if callbacks else []
            callbacks = [*callbacks, guard]
        history = super().fit(x, y, batch_size=batch_size, epochs=epochs, callbacks=callbacks,
                              validation_data=validation_data, sample_weight=sample_weight, **kwargs)
        self._warn_of_silence(int(float(self.lambda_held) - held), history.history.get("sparsity", [1.0])[-1])
        return history

    def evaluate(self, x=None, y=None, batch_size=None, *, sample_weight=None, **kwargs):
        """As ``keras.Model.evaluate``; arrays are checked first. The first number is the reconstruction loss."""
        x, y, sample_weight = self._checked(x, y, sample_weight, "x")
        return super().evaluate(x, y, batch_size=batch_size, sample_weight=sample_weight, **kwargs)

    def _warn_of_silence(self, held, sparsity):
        if held > 0:
            warnings.warn(f"lambda was held at half of lambda_max in {held} steps: a larger one would leave hardly any "
                          "code. Raise GammaPrior(strength=...) or lower sigma.", stacklevel=3)
        if sparsity == 0.0:
            now = float(np.max(ops.convert_to_numpy(self.lambda_reg))) * float(self.sigma) ** 2
            warnings.warn(f"All codes are zero: lambda * sigma^2 = {now:.3g} is too large for these data. The first "
                          "non-zero code comes below lambda_max(data, filters).", stacklevel=3)

    def _forward(self, signal, target, mask, weight, training):
        """Code and reconstruction loss, in the variables' precision."""
        code = self.encoder(signal, mask=mask, training=training)
        made = tf.cast(self._crop(self.decoder(code), signal), target.dtype)
        return tf.cast(code, target.dtype), reconstruction_loss(target, made, mask, weight)

    def train_step(self, data):
        signal, target, mask, weight = batches.unpack(data, self.rank, self.variable_dtype)
        changing = [*(v for v in self.weights if v is not self.failed_stage),  # a failure must outlive the undoing
                    *self.optimizer.variables, *self.lambda_optimizer.variables]
        before = snapshot(changing)
        first, backprop = self.dictionary_variables, self.lambda_learning == "backprop"
        variables = [*first, self.lambda_reg] if backprop else first
        with tf.GradientTape() as tape:
            _, loss = self._forward(signal, target, mask, weight, training=True)
        gradients = tape.gradient(loss, [v.value for v in variables])
        self.optimizer.apply(gradients[:len(first)], first)
        if backprop:
            self.lambda_optimizer.apply(gradients[len(first):], [self.lambda_reg])
        self.encoder.cell.refresh_step_size()
        finite = [all_finite(loss, *(v.value for v in variables))]
        code = tf.stop_gradient(tf.cast(self.encoder(signal, mask=mask, training=True), signal.dtype))
        stage_two = self._lambda_step(signal, code, mask, weight)
        finite.append(all_finite(stage_two, self.lambda_reg.value))
        if self.sigma_learning:
            self._sigma_step(signal, code, mask)
        finite.append(all_finite(self.sigma.value))
        # A stage that failed by its update alone shows in the logs too.
        loss, stage_two, sigma = (tf.where(ok, v, float("nan")) for ok, v in
                                  zip(finite, (loss, stage_two, self.sigma.value), strict=True))
        keep_or_undo(changing, before, finite, self.failed_stage)
        return self._report(loss, stage_two, code, sigma)

    def test_step(self, data):
        signal, target, mask, weight = batches.unpack(data, self.rank, self.variable_dtype)
        code, loss = self._forward(signal, target, mask, weight, training=False)
        return self._report(loss, self._lambda_loss(code, weight)[0], code, self.sigma.value)

    def _report(self, loss, stage_two, code, sigma):
        values = (loss, loss, stage_two, tf.reduce_mean(tf.cast(tf.not_equal(code, 0.0), loss.dtype)), sigma)
        for name, value in zip(REPORTED, values, strict=True):
            self._trackers[name].update_state(value, sample_weight=tf.shape(code)[0])
        return {name: tracker.result() for name, tracker in self._trackers.items()}

    def _lambda_loss(self, code, weight):
        """Loss of the second stage and what its closed form needs."""
        norms, positions = m_step.code_norms(code, weight)
        shape, rate = self.lambda_prior.shape_and_rate(self.prior_mean.value, positions)
        return lambda_loss(self.lambda_reg.value, norms, positions, shape, rate), (norms, positions, shape, rate)

    def _lambda_step(self, signal, code, mask, weight):
        if self.lambda_learning == "em":
            with tf.GradientTape() as tape:
                loss, _ = self._lambda_loss(code, weight)
            self.lambda_optimizer.apply(tape.gradient(loss, [self.lambda_reg.value]), [self.lambda_reg])
        else:
            loss, statistics = self._lambda_loss(code, weight)
            if self.lambda_learning == "em_closed_form":
                self.lambda_reg.assign(closed_form_lambda(*statistics, shared=self.lambda_shared))
        if self.lambda_learning is not None:
            # The ceiling follows the strongest batch seen: a silent batch must not lower it.
            here = m_step.half_lambda_max(signal, self.dictionary, self.sigma.value, mask)
            self.lambda_ceiling.assign(tf.maximum(self.lambda_ceiling.value, here))
            held = tf.reduce_any(self.lambda_reg.value > self.lambda_ceiling.value)
            self.lambda_held.assign(self.lambda_held.value + tf.cast(held, self.lambda_held.dtype))
            self.lambda_reg.assign(tf.minimum(self.lambda_reg.value, self.lambda_ceiling.value))
        return loss

    def _sigma_step(self, signal, code, mask):
        signal, mask = self.encoder.pad_to_strides(signal, mask)
        new = m_step.noise_variance(signal, code, self.dictionary, mask)
        old = self.sigma.value
        sigma = tf.sqrt((1.0 - self.sigma_rate) * tf.square(old) + self.sigma_rate * new)
        # lambda * sigma is kept, in the prior and the ceiling too.
        for variable, power in ((self.lambda_reg, 1), (self.prior_mean, 1), (self.lambda_ceiling, 2)):
            variable.assign(variable.value * (old / sigma) ** power)
        self.sigma.assign(sigma)
