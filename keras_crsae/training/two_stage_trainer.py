"""The two stages of a training step of CRsAE, and what ``fit`` and ``evaluate`` need around them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from keras_crsae.backend import strategy_of, tf
from keras_crsae.data.batch_order import BatchOrder
from keras_crsae.losses import weighted_error
from keras_crsae.training import dense_updates, em_updates, inputs
from keras_crsae.training.distribution import apply_gradients, as_log, check_scope, replicas, total
from keras_crsae.training.event_refit import event_support
from keras_crsae.training.failure_handling import (
    EXPLODED,
    NONFINITE,
    SIGMA_FLOOR,
    all_finite,
    snapshot,
    undo_unless_finite,
)
from keras_crsae.training.fit_session import Arguments, batch_session, evaluation_data, fit_session
from keras_crsae.training.inputs import Batch
from keras_crsae.training.measured_inputs import compared, dictionary_of
from keras_crsae.training.trainable_model import TrainableModel
from keras_crsae.typing import Tensor

#: Share of a batch's own baseline that is averaged in, once as many batches were seen; most that it moves by before.
BASELINE_RATE, MOST_BASELINE_CHANGE = 0.1, 1.0
#: Share of the penalty that is left where amplitudes are refitted. Without any, events that are none grow into the
#: noise: errors of .28 and .30 for 60 iterations, against .15 and .21 (benchmarks/counts_recovery.py, two seeds).
REFIT_PENALTY = 0.1
#: Ways to learn lambda that need the gradient of the reconstruction loss through the encoder.
THROUGH_ENCODER = ("backprop", "bias", "em_through_code")
REPORTED = ("loss", "reconstruction_loss", "lambda_loss", "sparsity", "sigma")

#: (batch, training) -> code (batch, *positions, filters), and weighted squared error and its weight, of this replica.
ForwardPass = Callable[[Batch, bool], tuple[Tensor, tuple[Tensor, Tensor]]]


class _DictionaryStep(NamedTuple):
    """Outcome of the first stage."""

    loss: Tensor  # with the filters' penalty
    reconstruction_loss: Tensor
    finite: Tensor  # scalar bool
    exploded: Tensor  # scalar bool
    code: Tensor  # before the step
    lambda_gradient: Tensor | None = None  # of the reconstruction loss, where the second stage takes it


class TwoStageTrainer:
    """Trains a model: the filters by the reconstruction loss, lambda by its posterior, sigma by the residual.

    One batch, in order: the dictionary's step on the old lambda; filters back on the sphere; step size; codes again
    with the new dictionary; lambda's step; sigma averaged in (arXiv 1904.08827, section III).

    Args:
        model: the model that owns the trainer.

    Attributes:
        forward: the ``ForwardPass`` of the first stage; a model sets it to learn on another one.
        nonfinite: what a batch with a non-finite loss does, see ``check_compile``.
        order: ``BatchOrder`` of the epoch that runs.
        metrics: the means that the history reports.
    """

    def __init__(self, model: TrainableModel) -> None:
        self.model = model
        self.forward: ForwardPass = self.plain_forward
        self.nonfinite = "stop"
        self.default_lambda_optimizer = False
        self.order = BatchOrder()
        self.trackers = {name: keras.metrics.Mean(name=name) for name in REPORTED}

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        return list(self.trackers.values())

    # Compiling

    def check_compile(self, nonfinite: str, options: dict[str, Any]) -> None:
        """ValueError for options of ``compile`` that do not exist here."""
        if any(options.get(k) is not None for k in ("loss", "loss_weights", "metrics", "weighted_metrics")):
            raise ValueError("CRsAE brings its own losses and metrics; omit `loss` and `metrics` in compile.")
        for name in ("optimizer", "lambda_optimizer"):
            if isinstance(options.get(name), keras.optimizers.LossScaleOptimizer):
                raise ValueError(f"CRsAE does not scale its losses, which it keeps in float32, and LossScaleOptimizer "
                                 f"would divide the gradients all the same. Give `{name}` its inner optimizer.")
        if nonfinite not in NONFINITE:
            raise ValueError(f"`nonfinite` must be one of {NONFINITE}. Received: {nonfinite!r}")

    def default_lambda_rate(self) -> float:
        """Learning rate of lambda's default optimiser, in lambda's unit."""
        return 0.01 * float(np.mean(ops.convert_to_numpy(self.model.sparse_rates))) if self.model.built else 0.01

    def build_optimizers(self) -> None:
        """Variables of both optimisers, once model and optimisers are there."""
        if self.model.built and self.model.compiled:
            check_scope(strategy_of(self.model), self.model.weights, "The model")
            self.model.optimizer.build(self.model.dictionary_variables)
            self.model.lambda_optimizer.build([self.model.lambda_reg])

    # Data

    def layout(self) -> inputs.SignalLayout:
        """What arrays are checked against."""
        return self.model.layout

    def session(self, arguments: Arguments) -> AbstractContextManager[Arguments]:
        """Context of one ``fit``: gives the arguments for Keras' own; see ``fit_session``."""
        return fit_session(self, arguments)

    def batch_session(self, *data: Any) -> AbstractContextManager[inputs.Arrays]:
        """Context of one ``train_on_batch``: gives its data, checked; see ``batch_session``."""
        return batch_session(self, *data)

    def evaluation_data(self, *data: Any) -> inputs.Arrays:
        """``x``, ``y`` and ``sample_weight`` of ``evaluate``; see ``evaluation_data``."""
        return evaluation_data(self, *data)

    def variables(self) -> list[keras.Variable]:
        """Every variable that training changes."""
        model = self.model
        return [*model.weights, *model.optimizer.variables, *model.lambda_optimizer.variables]

    # One batch

    def plain_forward(self, batch: Batch, training: bool) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Code of the batch, and error and weight of its reconstruction, in the variables' precision."""
        code, eta = self._code_and_eta(batch, training)
        return (tf.cast(code, batch.target.dtype),
                weighted_error(*compared(self.model.measurement, batch, tf.cast(eta, batch.target.dtype)),
                               batch.loss_weight, self.model.likelihood))

    def _code_and_eta(self, batch: Batch, training: bool) -> tuple[Tensor, Tensor]:
        """The code, and the eta that the filters learn from: where events are refitted, that of the refitted code."""
        model = self.model
        code, eta = model.code_and_eta(batch.signal, training=training, **batch.coding())
        if not training or model.refit_distance is None:
            return code, eta
        dispersion = tf.square(model.sigma.value) if batch.dispersion is None else batch.dispersion
        free = {"support": event_support(tf.stop_gradient(code), model.refit_distance),
                "dispersion": REFIT_PENALTY * tf.broadcast_to(tf.cast(dispersion, batch.signal.dtype),
                                                              tf.shape(code)[:1])}
        return code, model.code_and_eta(batch.signal, training=True, **{**batch.coding(), **free})[1]

    def train_step(self, data: Any) -> dict[str, Tensor]:
        """Both stages on one batch of Keras' form; the means so far, by name."""
        self.model.check_built()
        model, state = self.model, self.model.training_state
        batch = inputs.replica_batch(data, model.rank, model.variable_dtype, model.likelihood, model.measurement)
        lasting = {id(v) for v in state.lasting}
        changing = [v for v in self.variables() if id(v) not in lasting]
        before = snapshot(changing)
        first = self._dictionary_step(batch)
        code, second_loss = self._second_stage(batch, first)
        finite = [first.finite, all_finite(second_loss, model.lambda_reg.value, *self._baselines())]
        if model.sigma_learning:
            self._sigma_step(batch, code)
        finite.append(all_finite(model.sigma.value))
        # A stage that failed by its update alone shows in the logs too.
        losses = tf.stack([first.loss, first.reconstruction_loss])
        losses, second_loss, sigma = (tf.where(ok, v, float("nan")) for ok, v in
                                      zip(finite, (losses, second_loss, model.sigma.value), strict=True))
        forgiven_here = self._keep_or_undo(changing, before, finite, first.exploded)
        return self._report(losses, second_loss, code, sigma, batch.count, forgiven_here)

    def test_step(self, data: Any) -> dict[str, Tensor]:
        """The losses of one batch of Keras' form; the means so far, by name."""
        self.model.check_built()
        model = self.model
        batch = inputs.replica_batch(data, model.rank, model.variable_dtype, model.likelihood, model.measurement)
        code, error = self.forward(batch, False)
        error, observed = total(list(error))
        loss = error / tf.maximum(observed, 1e-12)
        weight = batch.weight
        if weight is not None:  # cycle spinning gives the codes of the whole batch once a shift
            weight = tf.tile(weight, [tf.shape(code)[0] // tf.shape(weight)[0]])
        second_loss = self._lambda_loss(code, weight)[0] if model.has_rate_prior else tf.zeros_like(loss)
        losses = tf.stack([self._with_penalty(loss), loss])
        return self._report(losses, second_loss, code, model.sigma.value, batch.count)

    def loss(self, x: Any, y: Any, reconstruction: Any, sample_weight: Any) -> Tensor:
        """Mean squared error (or the likelihood's) of a reconstruction over observed samples, and the filters' penalty.
        """
        model = self.model
        batch = inputs.unpack((y if x is None else x, y, sample_weight), model.rank, model.variable_dtype,
                              model.likelihood, model.measurement)
        eta = tf.cast(reconstruction, batch.target.dtype)
        likelihood: Any = model.likelihood
        eta = eta if likelihood.size_name is None else likelihood.link(eta)
        error, observed = weighted_error(*compared(model.measurement, batch, eta), batch.loss_weight, model.likelihood)
        return self._with_penalty(error / tf.maximum(observed, 1e-12))

    # The stages

    def _with_penalty(self, loss: Tensor, share: float = 1.0) -> Tensor:
        """``loss``, and a share of the penalties of the filters that learn (``kernel_regularizer``)."""
        for kernel in self.model.dictionary_variables:
            if kernel.regularizer is not None:
                loss = loss + share * tf.cast(kernel.regularizer(kernel), loss.dtype)
        return loss

    def _dictionary_step(self, batch: Batch) -> _DictionaryStep:
        model = self.model
        if model.lambda_learning == "em_through_code" and replicas() > 1:
            raise ValueError("lambda_learning='em_through_code' runs on one device. Use 'em' or 'em_closed_form' on "
                             f"several. Received: {replicas()} replicas")
        filters, how = model.dictionary_variables, model.lambda_learning
        variables = [*filters, model.lambda_reg] if how in THROUGH_ENCODER else filters
        with tf.GradientTape() as tape:
            code, (error, observed) = self.forward(batch, True)
            part = error / tf.maximum(total(observed), 1e-12)  # this replica's part of the loss: their sum is the loss
            minimised = self._with_penalty(part, 1.0 / replicas())
        penalty = self._with_penalty(tf.zeros_like(part))
        loss, *gradients = total([part, *tape.gradient(minimised, [v.value for v in variables])])
        exploded = self._exploded(loss, batch)
        apply_gradients(model.optimizer, gradients[:len(filters)], filters)
        if how in ("backprop", "bias"):
            apply_gradients(model.lambda_optimizer, gradients[len(filters):], [model.lambda_reg])
        before = tf.identity(model.step_size.value)
        self._refresh_step_size()
        if how == "bias":  # it is lambda sigma^2 step
            model.lambda_reg.assign(model.lambda_reg.value * before / model.step_size.value)
        penalised = loss + penalty
        finite = tf.logical_and(all_finite(penalised, *(v.value for v in variables)), tf.logical_not(exploded))
        taken = gradients[-1] if how == "em_through_code" else None
        return _DictionaryStep(penalised, loss, finite, exploded, tf.stop_gradient(code), taken)

    def _second_stage(self, batch: Batch, first: _DictionaryStep) -> tuple[Tensor, Tensor]:
        """Code of the batch and loss of lambda; where lambda has no prior, the first stage's code, and 0."""
        model = self.model
        if not model.has_rate_prior:  # a second pass through the encoder would learn nothing
            return first.code, tf.zeros_like(first.loss)
        if first.lambda_gradient is None:
            code = self._code_of_new_filters(batch)
            return code, self._lambda_step(batch, code)
        with tf.GradientTape() as tape:
            code = self._encode(batch)
            loss, _ = self._lambda_loss(code, batch.weight)
        gradient = first.lambda_gradient + tape.gradient(loss, model.lambda_reg.value)
        apply_gradients(model.lambda_optimizer, [gradient], [model.lambda_reg])
        self._hold_below_ceiling(batch)
        return tf.stop_gradient(code), loss

    def _encode(self, batch: Batch) -> Tensor:
        code = self.model.encoder(batch.signal, training=True, **batch.coding())
        return tf.cast(code, batch.signal.dtype)

    def _code_of_new_filters(self, batch: Batch) -> Tensor:
        """The code with the new filters, constant; the baseline of counts follows it."""
        model = self.model
        if not model.baseline_learning:
            return tf.stop_gradient(self._encode(batch))
        code, eta = (tf.stop_gradient(tf.cast(a, batch.signal.dtype)) for a in self._code_and_eta(batch, True))
        baseline, steps = model.baseline.value, tf.cast(model.optimizer.iterations, eta.dtype)
        likelihood: Any = model.likelihood
        best = em_updates.best_baseline(batch, eta, baseline, likelihood, shared=model.baseline_scope == "shared")
        # The first batches lead away from the mean of the data; later ones are averaged.
        rate = tf.maximum(BASELINE_RATE, 1.0 / tf.maximum(steps, 1.0))
        model.baseline.assign(baseline + rate * tf.clip_by_value(best - baseline, -MOST_BASELINE_CHANGE,
                                                                 MOST_BASELINE_CHANGE))
        return code

    def _baselines(self) -> list[Tensor]:
        return [self.model.baseline.value] if self.model.baseline_learning else []

    def _lambda_loss(self, code: Tensor, weight: Tensor | None) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Loss of the second stage and what its closed form needs."""
        model = self.model
        norms, positions = em_updates.code_norms(model.sparse_part(code), weight, model.code_prior)
        statistics = norms, positions, model.training_state.prior_mean.value
        return model.lambda_prior.loss(model.sparse_rates, *statistics), statistics

    def _lambda_step(self, batch: Batch, code: Tensor) -> Tensor:
        model = self.model
        if model.lambda_learning == "em":
            with tf.GradientTape() as tape:
                loss, _ = self._lambda_loss(code, batch.weight)
            gradients = tape.gradient(loss, [model.lambda_reg.value])
            apply_gradients(model.lambda_optimizer, gradients, [model.lambda_reg])
        else:
            loss, statistics = self._lambda_loss(code, batch.weight)
            if model.lambda_learning == "em_closed_form":
                model.assign_rates(model.lambda_prior.closed_form(*statistics, shared=model.lambda_shared))
        self._hold_below_ceiling(batch)
        return loss

    def _hold_below_ceiling(self, batch: Batch) -> None:
        """Lambda below its ceiling, which follows the strongest batch seen: a silent batch must not lower it."""
        model, state = self.model, self.model.training_state
        here = self._half_lambda_max(batch)
        state.lambda_ceiling.assign(tf.maximum(state.lambda_ceiling.value, here))
        if model.lambda_learning is not None:
            # Zero where no data so far calls for a code, whatever lambda: that is no ceiling.
            ceiling = tf.where(state.lambda_ceiling.value > 0.0, state.lambda_ceiling.value, np.inf)
            _count(state.lambda_held, tf.reduce_any(model.lambda_reg.value > ceiling))
            model.lambda_reg.assign(tf.minimum(model.lambda_reg.value, ceiling))

    def _half_lambda_max(self, batch: Batch) -> Tensor:
        model = self.model
        if model.dense_filters:
            return dense_updates.half_lambda_max(model, batch)
        baseline = None if model.baseline is None else model.baseline.value
        dictionary = dictionary_of(model.measurement, model.dictionary, batch)
        return em_updates.half_lambda_max(batch.signal, dictionary, model.sigma.value, batch.observed,
                                          model.code_prior, model.likelihood, batch.dispersion, baseline)

    def _sigma_step(self, batch: Batch, code: Tensor) -> None:
        model, state = self.model, self.model.training_state
        signal, observed = batch.signal, batch.observed
        if model.measurement.is_mask:
            signal, observed = model.encoder.pad_to_strides(signal, observed)
        dictionary = dictionary_of(model.measurement, model.dictionary, batch)
        present = tf.cast(tf.minimum(batch.count, 1), signal.dtype)
        new = dense_updates.noise_variance(signal, code, model.encoder.cell, observed, present) \
            if model.dense_filters else em_updates.noise_variance(signal, code, dictionary, observed, present)
        old = model.sigma.value
        sigma = tf.sqrt((1.0 - model.sigma_rate) * tf.square(old) + model.sigma_rate * new)
        energy, count = total(list(weighted_error(signal, tf.zeros_like(signal), observed)))
        floor = tf.minimum(SIGMA_FLOOR * tf.sqrt(energy / tf.maximum(count, 1.0)), old)
        _count(state.sigma_held, sigma < floor)
        sigma = tf.where(energy > 0.0, tf.maximum(sigma, floor), old)  # silence says nothing about the noise
        # lambda * sigma is kept, in the prior and the ceiling too.
        for variable, power in ((model.lambda_reg, 1), (state.prior_mean, 1), (state.lambda_ceiling, 2)):
            variable.assign(variable.value * (old / sigma) ** power)
        model.sigma.assign(sigma)

    # Faults

    def _keep_or_undo(self, changing: Sequence[keras.Variable], before: Sequence[Tensor], finite: Sequence[Tensor],
                      exploded: Tensor) -> Tensor:
        """Undo the step where a stage was not finite; scalar bool: it was undone and does not count."""
        state, skip = self.model.training_state, self.nonfinite == "skip"
        running = tf.less_equal(state.failed_stage.value, 0.0)
        kept = undo_unless_finite(changing, before, finite, state.failed_stage, tf.logical_or(exploded, skip))
        _count(state.step_rescues, tf.logical_and(running, exploded))
        if self.model.encoder.cell.step_size_init != "auto":  # 1 / L is one of the values that were kept or undone
            self._refresh_step_size()
        if skip:
            _count(state.skipped_batches, tf.logical_not(tf.logical_or(kept, exploded)))
        return running & tf.logical_not(kept) & tf.logical_or(exploded, skip)

    def _exploded(self, loss: Tensor, batch: Batch) -> Tensor:
        """Scalar bool: a step size of the user's own, above 1 / L, let the iterations run away."""
        model, target, safe = self.model, batch.target, self._rescue_step_size()
        if safe is None:
            return tf.constant(False)
        zero = tf.zeros_like(target) if model.baseline is None else tf.zeros_like(target) + model.baseline.value
        energy, observed = total(list(weighted_error(target, zero, batch.observed, batch.loss_weight,
                                                     model.likelihood)))
        energy = energy / tf.maximum(observed, 1e-12)
        above = model.step_size.value > 1.001 * safe
        away = tf.logical_or(loss > EXPLODED * energy, tf.logical_not(tf.math.is_finite(loss)))
        return above & away & tf.math.is_finite(energy)

    def _refresh_step_size(self) -> None:
        """1 / L, or the user's number as long as that lets no iteration explode."""
        model = self.model
        model.encoder.cell.refresh_step_size()
        safe = self._rescue_step_size()
        if safe is not None:
            safe = tf.minimum(model.step_size.value, safe)
            model.step_size.assign(tf.where(model.training_state.step_rescues.value > 0, safe, model.step_size.value))

    def _rescue_step_size(self) -> Tensor | None:
        """1 / L where it may replace a number of the user's; None: it is the step size already, or none is safe."""
        model, cell = self.model, self.model.encoder.cell
        if cell.step_size_init == "auto" or not model.converges_at_inverse_norm:
            return None
        safe = cell.safe_step_size()
        return None if safe is None else tf.cast(safe, model.step_size.dtype)

    # Logs

    def _report(self, losses: Tensor, second_loss: Tensor, code: Tensor, sigma: Tensor, count: Tensor,
                excluded: Tensor | bool = False) -> dict[str, Tensor]:
        """Means over the epoch so far; a step that was undone and forgiven (``excluded``) has no part in them.

        ``losses`` are the first stage's with and without the filters' penalty.
        """
        code = self.model.sparse_part(code)
        counts = (tf.math.count_nonzero(code), tf.minimum(count, 1) * tf.size(code), count)
        nonzero, size, batch = total([tf.cast(n, losses.dtype) for n in counts])
        values = (losses[0], losses[1], second_loss, nonzero / tf.maximum(size, 1.0), sigma)
        batch = tf.where(excluded, tf.zeros_like(batch), batch)
        for name, value in zip(REPORTED, values, strict=True):
            self.trackers[name].update_state(tf.where(excluded, tf.zeros_like(value), value), sample_weight=batch)
        return {name: as_log(tracker.result()) for name, tracker in self.trackers.items()}


def _count(variable: keras.Variable, happened: Tensor) -> None:
    variable.assign(variable.value + tf.cast(happened, variable.dtype))
