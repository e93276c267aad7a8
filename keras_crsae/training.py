"""Training of CRsAE inside Keras: two optimisers, the two stages of a batch, checked ``fit`` and ``evaluate``."""

import warnings

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from keras_crsae import batches, m_step
from keras_crsae.guard import StopOnNonFinite, all_finite, keep_or_undo, snapshot
from keras_crsae.losses import lambda_loss, weighted_error
from keras_crsae.priors import closed_form_lambda
from keras_crsae.replicas import apply_gradients, as_log, check_scope, number, synchronise, total

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
        with self.distribute_strategy.scope():
            super().compile(optimizer=optimizer, **kwargs)
            self._default_lambda_optimizer = lambda_optimizer is None
            self.lambda_optimizer = keras.optimizers.Adam(self._default_lambda_rate()) if lambda_optimizer is None \
                else keras.optimizers.get(lambda_optimizer)
            self._build_optimizers()

    def _build_optimizers(self):
        if self.built and self.compiled:
            check_scope(self.distribute_strategy, self.weights, "The model")
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
        if isinstance(validation_data, tuple) and batches.is_array(validation_data[0]):
            kwargs["validation_batch_size"] = self._divisible(
                kwargs.get("validation_batch_size") or batch_size, len(validation_data[0]))
        if not self.built or not number(self.adapted):
            first = (x, y, sample_weight)
            if batches.is_array(x):
                first = tuple(None if a is None else a[:batch_size or 32] for a in first)
            else:
                first, x = batches.peek(x)
            signal, _, mask, _ = batches.unpack(first, self.rank, "float32")
            self.adapt(signal, mask=mask)
        self._check_division(x, batch_size)
        check_scope(self.distribute_strategy, self.weights, "The model")
        check_scope(self.distribute_strategy, [*self.optimizer.variables, *self.lambda_optimizer.variables],
                    "An optimiser")
        synchronise(self.distribute_strategy, self._state())
        if isinstance(x, tf.data.Dataset):
            kwargs.setdefault("shuffle", False)  # Keras would warn of its own default
        held = number(self.lambda_held)
        self.failed_stage.assign(0.0)
        guard = StopOnNonFinite(self.failed_stage)
        if isinstance(callbacks, keras.callbacks.CallbackList):
            callbacks.append(guard)
        else:
            callbacks = callbacks if isinstance(callbacks, list | tuple) else [callbacks] if callbacks else []
            callbacks = [*callbacks, guard]
        history = super().fit(x, y, batch_size=batch_size, epochs=epochs, callbacks=callbacks,
                              validation_data=validation_data, sample_weight=sample_weight, **kwargs)
        self._warn_of_silence(int(number(self.lambda_held) - held), history.history.get("sparsity", [1.0])[-1])
        return history

    def _check_division(self, x, batch_size):
        """Keras averages the first batch over the replicas to learn its shape, which needs parts of one size."""
        replicas = self.distribute_strategy.num_replicas_in_sync
        if replicas == 1 or not (batches.is_array(x) or isinstance(x, tf.data.Dataset)):
            return
        size = min(batch_size or 32, len(x)) if batches.is_array(x) else \
            tf.nest.flatten(batches.peek(x)[0])[0].shape[0]
        if size % replicas:
            raise ValueError(f"The first batch holds {size} signals, which {replicas} replicas cannot share evenly. "
                             f"Use a batch size that {replicas} divides (it counts the signals of all replicas); only "
                             "the last batch of an epoch may be smaller.")

    def _divisible(self, batch_size, signals):
        """The batch size, or the next lower one that the replicas can share evenly: evaluation does not depend on it."""
        replicas = self.distribute_strategy.num_replicas_in_sync
        if replicas == 1:
            return batch_size
        size = min(batch_size or 32, signals) // replicas * replicas
        if not size:
            raise ValueError(f"{signals} signals are fewer than the {replicas} replicas: give more, or evaluate outside "
                             "of the strategy.")
        return size

    def evaluate(self, x=None, y=None, batch_size=None, *, sample_weight=None, **kwargs):
        """As ``keras.Model.evaluate``; arrays are checked first. The first number is the reconstruction loss."""
        x, y, sample_weight = self._checked(x, y, sample_weight, "x")
        if batches.is_array(x):
            batch_size = self._divisible(batch_size, len(x))
        return super().evaluate(x, y, batch_size=batch_size, sample_weight=sample_weight, **kwargs)

    def _warn_of_silence(self, held, sparsity):
        if held > 0:
            warnings.warn(f"lambda was held at half of lambda_max in {held} steps: a larger one would leave hardly any "
                          "code. Raise GammaPrior(strength=...) or lower sigma.", stacklevel=3)
        if sparsity == 0.0:
            now = float(np.max(ops.convert_to_numpy(self.lambda_reg))) * number(self.sigma) ** 2
            warnings.warn(f"All codes are zero: lambda * sigma^2 = {now:.3g} is too large for these data. The first "
                          "non-zero code comes below lambda_max(data, filters).", stacklevel=3)

    def _state(self):
        """Every variable that training changes."""
        return [*self.weights, *self.optimizer.variables, *self.lambda_optimizer.variables]

    def _forward(self, signal, target, mask, weight, training):
        """Code, and squared error and weight of this replica's part of the batch, in the variables' precision."""
        code = self.encoder(signal, mask=mask, training=training)
        made = tf.cast(self._crop(self.decoder(code), signal), target.dtype)
        return tf.cast(code, target.dtype), weighted_error(target, made, mask, weight)

    def train_step(self, data):
        signal, target, mask, weight, count = batches.part(data, self.rank, self.variable_dtype)
        changing = [v for v in self._state() if v is not self.failed_stage]  # a failure must outlive the undoing
        before = snapshot(changing)
        first, backprop = self.dictionary_variables, self.lambda_learning == "backprop"
        variables = [*first, self.lambda_reg] if backprop else first
        with tf.GradientTape() as tape:
            _, (error, observed) = self._forward(signal, target, mask, weight, training=True)
            part = error / tf.maximum(total(observed), 1e-12)  # this replica's part of the loss: their sum is the loss
        loss, *gradients = total([part, *tape.gradient(part, [v.value for v in variables])])
        apply_gradients(self.optimizer, gradients[:len(first)], first)
        if backprop:
            apply_gradients(self.lambda_optimizer, gradients[len(first):], [self.lambda_reg])
        self.encoder.cell.refresh_step_size()
        finite = [all_finite(loss, *(v.value for v in variables))]
        code = tf.stop_gradient(tf.cast(self.encoder(signal, mask=mask, training=True), signal.dtype))
        stage_two = self._lambda_step(signal, code, mask, weight)
        finite.append(all_finite(stage_two, self.lambda_reg.value))
        if self.sigma_learning:
            self._sigma_step(signal, code, mask, count)
        finite.append(all_finite(self.sigma.value))
        # A stage that failed by its update alone shows in the logs too.
        loss, stage_two, sigma = (tf.where(ok, v, float("nan")) for ok, v in
                                  zip(finite, (loss, stage_two, self.sigma.value), strict=True))
        keep_or_undo(changing, before, finite, self.failed_stage)
        return self._report(loss, stage_two, code, sigma, count)

    def test_step(self, data):
        signal, target, mask, weight, count = batches.part(data, self.rank, self.variable_dtype)
        code, error = self._forward(signal, target, mask, weight, training=False)
        error, observed = total(list(error))
        loss = error / tf.maximum(observed, 1e-12)
        return self._report(loss, self._lambda_loss(code, weight)[0], code, self.sigma.value, count)

    def _report(self, loss, stage_two, code, sigma, count):
        counts = (tf.math.count_nonzero(code), tf.minimum(count, 1) * tf.size(code), count)
        nonzero, size, batch = total([tf.cast(n, loss.dtype) for n in counts])
        values = (loss, loss, stage_two, nonzero / tf.maximum(size, 1.0), sigma)
        for name, value in zip(REPORTED, values, strict=True):
            self._trackers[name].update_state(value, sample_weight=batch)
        return {name: as_log(tracker.result()) for name, tracker in self._trackers.items()}

    def _lambda_loss(self, code, weight):
        """Loss of the second stage and what its closed form needs."""
        norms, positions = m_step.code_norms(code, weight)
        shape, rate = self.lambda_prior.shape_and_rate(self.prior_mean.value, positions)
        return lambda_loss(self.lambda_reg.value, norms, positions, shape, rate), (norms, positions, shape, rate)

    def _lambda_step(self, signal, code, mask, weight):
        if self.lambda_learning == "em":
            with tf.GradientTape() as tape:
                loss, _ = self._lambda_loss(code, weight)
            apply_gradients(self.lambda_optimizer, tape.gradient(loss, [self.lambda_reg.value]), [self.lambda_reg])
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

    def _sigma_step(self, signal, code, mask, count):
        signal, mask = self.encoder.pad_to_strides(signal, mask)
        present = tf.cast(tf.minimum(count, 1), signal.dtype)
        new = m_step.noise_variance(signal, code, self.dictionary, mask, present)
        old = self.sigma.value
        sigma = tf.sqrt((1.0 - self.sigma_rate) * tf.square(old) + self.sigma_rate * new)
        # lambda * sigma is kept, in the prior and the ceiling too.
        for variable, power in ((self.lambda_reg, 1), (self.prior_mean, 1), (self.lambda_ceiling, 2)):
            variable.assign(variable.value * (old / sigma) ** power)
        self.sigma.assign(sigma)
