"""Training of CRsAE inside Keras: two optimisers, the two stages of a batch, checked ``fit`` and ``evaluate``."""

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from keras_crsae.data.batch_order import SEEDS, FollowPlace, Place, in_order, own_share
from keras_crsae.losses import weighted_error
from keras_crsae.training import em_updates as m_step
from keras_crsae.training import inputs as batches
from keras_crsae.training.distribution import (
    apply_gradients,
    as_log,
    check_scope,
    number,
    several_machines,
    synchronise,
    total,
)
from keras_crsae.training.failure_handling import (
    EXPLODED,
    NONFINITE,
    SIGMA_FLOOR,
    Faults,
    StopOnNonFinite,
    all_finite,
    keep_or_undo,
    snapshot,
    warn_of_twins,
)

_LASTING = ("failed_stage", "order_seed", "position", "skipped_batches", "step_rescues")
REPORTED = ("loss", "reconstruction_loss", "lambda_loss", "sparsity", "sigma")


class TwoStageTraining:
    """Mixin of ``CRsAE``: everything that ``compile``, ``fit`` and ``evaluate`` need.

    One batch, in order: the dictionary's step on the old lambda; filters back on the sphere; step size; codes again
    with the new dictionary; lambda's step; sigma averaged in (arXiv 1904.08827, section III).
    """

    def _default_lambda_rate(self):
        return 0.01 * float(np.mean(ops.convert_to_numpy(self.lambda_reg))) if self.built else 0.01

    def compile(self, optimizer="adam", lambda_optimizer=None, nonfinite="stop", **kwargs):
        """Two optimisers: ``optimizer`` for the filters, ``lambda_optimizer`` for lambda.

        Args:
            optimizer: Keras optimiser of the dictionary; learning-rate callbacks act on it.
            lambda_optimizer: Keras optimiser in lambda's unit; None: Adam at 0.01 times the initial lambda.
            nonfinite: what a batch with a NaN or infinite loss does: "stop" ends ``fit`` with FloatingPointError,
                "skip" leaves the batch out and counts it (``skipped_batches``). Neither reaches a weight.
            **kwargs: ``run_eagerly``, ``steps_per_execution``, ``jit_compile`` as in ``keras.Model.compile``.
        """
        if any(kwargs.get(k) is not None for k in ("loss", "loss_weights", "metrics", "weighted_metrics")):
            raise ValueError("CRsAE brings its own losses and metrics; leave `loss` and `metrics` out of compile.")
        if nonfinite not in NONFINITE:
            raise ValueError(f"`nonfinite` must be one of {NONFINITE}. Received: {nonfinite!r}")
        self.nonfinite = nonfinite
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
                "default_lambda_optimizer": self._default_lambda_optimizer, "nonfinite": self.nonfinite,
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
        return batches.checked(x, y, sample_weight, name=name, finite=self.nonfinite == "stop", **self._expected())

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

        The order of arrays' batches is a function of the model's ``seed`` (drawn where it is None), the epoch and the
        step. It is saved with the model, as is ``position``: (epoch, batches of it done). So training that was saved
        in the middle of an epoch (``callbacks.SaveProgress``, ``keras.callbacks.BackupAndRestore``) goes on exactly.
        """
        if not self.compiled:
            raise ValueError("Call `compile` before `fit`, for example model.compile(keras.optimizers.Adam(1e-3)).")
        if class_weight is not None:
            raise ValueError("`class_weight` has no meaning here: CRsAE has no classes. Use `sample_weight`.")
        if x is None:
            raise ValueError("`fit` needs `x`: signals (batch, *space, channels), a dataset or a generator.")
        x, y, sample_weight = self._checked(batches.stream(x), y, sample_weight, "x")
        if batches.is_array(x):
            (x, y, sample_weight), held_out = batches.split_off((x, y, sample_weight),
                                                                kwargs.pop("validation_split", 0.0))
            validation_data = held_out if validation_data is None else validation_data
        validation_data = batches.checked_validation(validation_data, **self._expected())
        if not self.built or not number(self.adapted):
            first = (x, y, sample_weight)
            if batches.is_array(x):
                first = tuple(None if a is None else a[:batch_size or 32] for a in first)
            else:
                first, x = batches.peek(x)
            signal, _, mask, _ = batches.unpack(first, self.rank, "float32")
            if self.nonfinite == "skip":
                signal, mask = batches.finite_signals(signal, mask)
            self.adapt(signal, mask=mask)
        check_scope(self.distribute_strategy, self.weights, "The model")
        check_scope(self.distribute_strategy, [*self.optimizer.variables, *self.lambda_optimizer.variables],
                    "An optimiser")
        if number(self.order_seed) < 0:
            self.order_seed.assign(np.random.randint(SEEDS) if self.seed is None else self.seed % SEEDS)
        synchronise(self.distribute_strategy, self._state())
        warn_of_twins(ops.convert_to_numpy(self.dictionary.kernel))
        faults = Faults(self)
        self.failed_stage.assign(0.0)
        initial_epoch = kwargs.pop("initial_epoch", 0)
        self.position.assign([initial_epoch, 0])
        self.place.skip = 0
        source = getattr(x, "place", None) or Place()
        source.failure = None
        callbacks, restored = self._with_own(callbacks, source)
        initial_epoch = initial_epoch if restored is None else restored
        if batches.is_array(x) and not kwargs.get("steps_per_epoch") and kwargs.get("shuffle", True) in (True, False):
            x = in_order((x, y, sample_weight), batch_size or 32, self.place, kwargs.pop("shuffle", True))
            y = sample_weight = batch_size = None
        if isinstance(x, tf.data.Dataset):
            kwargs.setdefault("shuffle", False)  # Keras would warn of its own default
        if several_machines(self.distribute_strategy) and hasattr(x, "share"):
            x = own_share(self.distribute_strategy, x)
        try:
            history = super().fit(x, y, batch_size=batch_size, epochs=epochs, callbacks=callbacks,
                                  initial_epoch=initial_epoch, validation_data=validation_data,
                                  sample_weight=sample_weight, **kwargs)
        except tf.errors.OpError:
            if source.failure is not None:
                raise source.failure from None
            raise
        faults.tell(history.history.get("sparsity", [1.0])[-1])
        return history

    def _with_own(self, callbacks, place):
        """The callbacks with those of ``fit`` around them, and the epoch that one of them restored, or None."""
        own = FollowPlace(self.place, place), StopOnNonFinite(self.failed_stage, self.skipped_batches)
        given = callbacks.callbacks if isinstance(callbacks, keras.callbacks.CallbackList) else \
            callbacks if isinstance(callbacks, list | tuple) else [callbacks] if callbacks else []
        # What saves comes last: it sees what the others did.
        savers = [c for c in given if hasattr(c, "restore_into")]
        ordered = [own[0], *(c for c in given if c not in savers), own[1], *savers]
        restored = [epoch for epoch in (c.restore_into(self) for c in savers) if epoch is not None]
        if isinstance(callbacks, keras.callbacks.CallbackList):
            callbacks.callbacks = ordered
            callbacks.set_model(self)
            ordered = callbacks
        return ordered, max(restored, default=None)

    def _maybe_symbolic_build(self, iterator=None, data_batch=None):
        """Nothing: ``fit`` has built all there is. Keras would average the first batch over the replicas to learn its
        shape, which fails for tuples on several machines and for parts of different sizes."""

    def make_train_function(self, force=False):
        """As Keras', but batches of an epoch that were done before training stopped are read and left out."""
        if self.train_function is not None and not force:
            return
        super().make_train_function(force)
        train, place = self.train_function, self.place
        done = [None, 0]  # epoch, batches passed by

        def train_or_pass_by(iterator):
            if done[0] != place.epoch:
                done[:] = place.epoch, 0
            if done[1] >= place.skip:
                return train(iterator)
            for _ in range(self.steps_per_execution):
                next(iterator)
            done[1] += self.steps_per_execution
            return {name: float("nan") for name in REPORTED}

        self.train_function = train_or_pass_by

    def evaluate(self, x=None, y=None, batch_size=None, *, sample_weight=None, **kwargs):
        """As ``keras.Model.evaluate``; arrays are checked first. The first number is the reconstruction loss."""
        x, y, sample_weight = self._checked(x, y, sample_weight, "x")
        return super().evaluate(x, y, batch_size=batch_size, sample_weight=sample_weight, **kwargs)

    def _state(self):
        """Every variable that training changes."""
        return [*self.weights, *self.optimizer.variables, *self.lambda_optimizer.variables]

    def _forward(self, signal, target, mask, weight, training):
        """Code, and squared error and weight of this replica's part of the batch, in the variables' precision."""
        code = self.encoder(signal, mask=mask, training=training)
        made = tf.cast(self._crop(self.decoder(code), signal), target.dtype)
        return tf.cast(code, target.dtype), weighted_error(target, made, mask, weight, self.likelihood)

    def train_step(self, data):
        signal, target, mask, weight, count = batches.part(data, self.rank, self.variable_dtype)
        # What is counted, and where training stands, outlives the undoing of a step.
        lasting = {id(getattr(self, name)) for name in _LASTING}
        changing = [v for v in self._state() if id(v) not in lasting]
        before = snapshot(changing)
        first, backprop = self.dictionary_variables, self.lambda_learning == "backprop"
        variables = [*first, self.lambda_reg] if backprop else first
        with tf.GradientTape() as tape:
            _, (error, observed) = self._forward(signal, target, mask, weight, training=True)
            part = error / tf.maximum(total(observed), 1e-12)  # this replica's part of the loss: their sum is the loss
        loss, *gradients = total([part, *tape.gradient(part, [v.value for v in variables])])
        exploded = self._exploded(loss, target, mask, weight)
        apply_gradients(self.optimizer, gradients[:len(first)], first)
        if backprop:
            apply_gradients(self.lambda_optimizer, gradients[len(first):], [self.lambda_reg])
        self._refresh_step_size()
        finite = [tf.logical_and(all_finite(loss, *(v.value for v in variables)), tf.logical_not(exploded))]
        code = tf.stop_gradient(tf.cast(self.encoder(signal, mask=mask, training=True), signal.dtype))
        stage_two = self._lambda_step(signal, code, mask, weight)
        finite.append(all_finite(stage_two, self.lambda_reg.value))
        if self.sigma_learning:
            self._sigma_step(signal, code, mask, count)
        finite.append(all_finite(self.sigma.value))
        # A stage that failed by its update alone shows in the logs too.
        loss, stage_two, sigma = (tf.where(ok, v, float("nan")) for ok, v in
                                  zip(finite, (loss, stage_two, self.sigma.value), strict=True))
        skip = self.nonfinite == "skip"
        running = tf.equal(self.failed_stage.value, 0.0)
        healthy = keep_or_undo(changing, before, finite, self.failed_stage, tf.logical_or(exploded, skip))
        self._count(self.step_rescues, tf.logical_and(running, exploded))
        if self.encoder.cell.step_size_init != "auto":  # 1 / L is one of the values that were kept or undone
            self._refresh_step_size()
        if skip:
            self._count(self.skipped_batches, tf.logical_not(tf.logical_or(healthy, exploded)))
        # A step that was undone and forgiven has no part in the epoch's means.
        left_out = tf.logical_and(tf.equal(self.failed_stage.value, 0.0), tf.logical_not(healthy))
        return self._report(loss, stage_two, code, sigma, count, left_out)

    @staticmethod
    def _count(variable, happened):
        variable.assign(variable.value + tf.cast(happened, variable.dtype))

    def _exploded(self, loss, target, mask, weight):
        """Scalar bool: a step size of the user's own, above 1 / L, let the iterations run away."""
        safe = self.encoder.cell.safe_step_size()
        if self.encoder.cell.step_size_init == "auto" or not self._rescuable or safe is None:
            return tf.constant(False)
        energy, observed = total(list(weighted_error(target, tf.zeros_like(target), mask, weight)))
        energy = energy / tf.maximum(observed, 1e-12)
        above = self.step_size.value > 1.001 * tf.cast(safe, self.step_size.dtype)
        away = tf.logical_or(loss > EXPLODED * energy, tf.logical_not(tf.math.is_finite(loss)))
        return above & away & tf.math.is_finite(energy)

    def _refresh_step_size(self):
        """1 / L, or the user's number as long as that lets no iteration explode."""
        cell = self.encoder.cell
        cell.refresh_step_size()
        safe = cell.safe_step_size()
        if cell.step_size_init != "auto" and self._rescuable and safe is not None:
            safe = tf.minimum(self.step_size.value, tf.cast(safe, self.step_size.dtype))
            self.step_size.assign(tf.where(self.step_rescues.value > 0, safe, self.step_size.value))

    def test_step(self, data):
        signal, target, mask, weight, count = batches.part(data, self.rank, self.variable_dtype)
        code, error = self._forward(signal, target, mask, weight, training=False)
        error, observed = total(list(error))
        loss = error / tf.maximum(observed, 1e-12)
        return self._report(loss, self._lambda_loss(code, weight)[0], code, self.sigma.value, count)

    def _report(self, loss, stage_two, code, sigma, count, left_out=False):
        counts = (tf.math.count_nonzero(code), tf.minimum(count, 1) * tf.size(code), count)
        nonzero, size, batch = total([tf.cast(n, loss.dtype) for n in counts])
        values = (loss, loss, stage_two, nonzero / tf.maximum(size, 1.0), sigma)
        batch = tf.where(left_out, tf.zeros_like(batch), batch)
        for name, value in zip(REPORTED, values, strict=True):
            self._trackers[name].update_state(tf.where(left_out, tf.zeros_like(value), value), sample_weight=batch)
        return {name: as_log(tracker.result()) for name, tracker in self._trackers.items()}

    def _lambda_loss(self, code, weight):
        """Loss of the second stage and what its closed form needs."""
        norms, positions = m_step.code_norms(code, weight, self.code_prior)
        statistics = norms, positions, self.prior_mean.value
        return self.lambda_prior.loss(self.lambda_reg.value, *statistics), statistics

    def _lambda_step(self, signal, code, mask, weight):
        if self.lambda_learning == "em":
            with tf.GradientTape() as tape:
                loss, _ = self._lambda_loss(code, weight)
            apply_gradients(self.lambda_optimizer, tape.gradient(loss, [self.lambda_reg.value]), [self.lambda_reg])
        else:
            loss, statistics = self._lambda_loss(code, weight)
            if self.lambda_learning == "em_closed_form":
                self.lambda_reg.assign(self.lambda_prior.closed_form(*statistics, shared=self.lambda_shared))
        # The ceiling follows the strongest batch seen: a silent batch must not lower it.
        here = m_step.half_lambda_max(signal, self.dictionary, self.sigma.value, mask, self.code_prior,
                                      self.likelihood)
        self.lambda_ceiling.assign(tf.maximum(self.lambda_ceiling.value, here))
        if self.lambda_learning is not None:
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
        energy, observed = total(list(weighted_error(signal, tf.zeros_like(signal), mask)))
        floor = tf.minimum(SIGMA_FLOOR * tf.sqrt(energy / tf.maximum(observed, 1.0)), old)
        self._count(self.sigma_held, sigma < floor)
        sigma = tf.where(energy > 0.0, tf.maximum(sigma, floor), old)  # silence tells nothing of the noise
        # lambda * sigma is kept, in the prior and the ceiling too.
        for variable, power in ((self.lambda_reg, 1), (self.prior_mean, 1), (self.lambda_ceiling, 2)):
            variable.assign(variable.value * (old / sigma) ** power)
        self.sigma.assign(sigma)
