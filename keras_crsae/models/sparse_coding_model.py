"""What every model with an encoder, a decoder and two training stages offers, whatever its layers."""

from __future__ import annotations

from typing import Any

import keras

from keras_crsae.backend import require_tensorflow, strategy_scope, without_autograph
from keras_crsae.models.coding_model import CodingModel
from keras_crsae.models.presets import Presets
from keras_crsae.problem.rate_priors import RatePrior
from keras_crsae.training import inputs
from keras_crsae.training.state import TrainingState
from keras_crsae.training.two_stage_trainer import ForwardPass, TwoStageTrainer
from keras_crsae.training.weight_averages import with_constraints
from keras_crsae.typing import Tensor


class SparseCodingModel(Presets, CodingModel):
    """``CodingModel`` that trains in two stages.

    The base class of ``CRsAE``. It owns a ``TwoStageTrainer`` and gives Keras' methods Keras' signatures. A subclass
    sets the attributes below, and those of ``CodingModel``, in its constructor and in ``build``.

    Attributes:
        seed: int or None.
        lambda_learning, lambda_shared, lambda_prior, sigma_learning, sigma_rate: see ``CRsAE``.
        baseline_learning, baseline_scope, refit_distance: see ``CRsAE``.
        training_state: ``TrainingState``, made by ``build``.
        training_record, training_settings: what ``applications.denoising.train_denoiser`` keeps of its run, which sets
            them; ``Denoiser`` is saved with the settings.
    """

    seed: int | None
    lambda_learning: str | None
    lambda_shared: bool
    lambda_prior: RatePrior
    sigma_learning: bool
    sigma_rate: float
    baseline_learning: bool = False
    baseline_scope: str = "channel"
    refit_distance: int | None = None
    training_state: TrainingState
    training_record: dict[str, Any]
    training_settings: dict[str, Any] | None
    #: Whether the iteration converges for step sizes of 1 / L, so that one that explodes can be estimated anew.
    converges_at_inverse_norm = True
    #: Whether lambda has a prior, so that the second stage of training has something to learn or to report.
    has_rate_prior = True

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.lambda_optimizer: Any = None
        self._trainer = TwoStageTrainer(self)
        self._own_forward: ForwardPass | None = None

    def learn_by(self, forward: ForwardPass | None) -> None:
        """Let the first stage of training, and ``evaluate``, take their loss from another forward pass.

        Call ``compile`` after it: Keras keeps the step that it traced.

        Args:
            forward: see ``training.two_stage_trainer.ForwardPass``; it is not saved with the model. None: the model's
                own again.
        """
        if self._own_forward is None:
            self._own_forward = self._trainer.forward
        self._trainer.forward = self._own_forward if forward is None else forward

    def adapt(self, data: Any, init: str | None = None, mask: Any = None, *, trials: Any = None,
              exposure: Any = None, operator: Any = None) -> None:
        """Take first values from data; ``fit`` calls it once where nobody did."""
        raise NotImplementedError

    @property
    def dictionary_variables(self) -> list[keras.Variable]:
        """Variables of the first stage: the filters that the gradient reaches."""
        raise NotImplementedError

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
        self._trainer.check_compile(nonfinite, {"optimizer": optimizer, "lambda_optimizer": lambda_optimizer, **kwargs})
        self._trainer.nonfinite = nonfinite
        with strategy_scope(self):
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
            validation_batch_size: int | None = None, validation_freq: int = 1, *, trials: Any = None,
            exposure: Any = None, support: Any = None, operator: Any = None) -> keras.callbacks.History:
        """As ``keras.Model.fit``; arrays are checked first, and ``adapt`` runs on the first batch if it has not.

        Args:
            x: signals (batch, *space, channels), a ``BatchSource``, ``tf.data.Dataset``, ``PyDataset`` or generator.
            y: None, or the clean signals of x's shape (supervised).
            sample_weight: (batch,) weighs the losses; x's shape (or without its channels): 0/1, observed samples.
            trials, exposure: what the counts of an array ``x`` are divided by, see ``encode``.
            support: 0/1 of the code's shape, where events may start; see ``encode``.
            operator: numbers of the matrices that measured the signals; see ``encode``.
            batch_size, epochs and the others: see ``keras.Model.fit``.

        A batch of a stream may be a dict in place of its signal: "signal", and "trials" or "exposure", "support" and
        "operator", each (batch, ...). So may ``x`` and the signal of ``validation_data``.

        Returns:
            ``keras.callbacks.History`` with loss, reconstruction_loss, lambda_loss, sparsity, sigma. ``loss`` is the
            reconstruction loss, and the penalty of the filters where the model has a ``kernel_regularizer``.

        Raises:
            ValueError: data that does not fit the model, or a dataset whose order would be the same in every epoch.
            FloatingPointError: a loss became NaN or infinite; the last good weights are kept.

        The order of batches of arrays and batch sources is a function of the model's ``seed`` (drawn where it is None),
        the epoch and the step. It is saved with the model, as is ``training_state.progress``: (epoch, batches of it
        done). So training that was saved in the middle of an epoch (``callbacks.SaveProgress``,
        ``keras.callbacks.BackupAndRestore``) goes on exactly.
        """
        require_tensorflow("`fit`")
        arguments = {name: value for name, value in locals().items()
                     if name not in ("self", "__class__", "trials", "exposure", "support",
                                          "operator")}
        arguments["x"] = inputs.with_parts(x, self.likelihood, trials, exposure, support, operator)
        with self._trainer.session(arguments) as prepared:
            return super().fit(**prepared)

    def evaluate(self, x: Any = None, y: Any = None, batch_size: int | None = None, verbose: int | str = "auto",
                 sample_weight: Any = None, steps: int | None = None, callbacks: Any = None, return_dict: bool = False,
                 *, trials: Any = None, exposure: Any = None, support: Any = None, operator: Any = None,
                 **kwargs: Any) -> Any:
        """As ``keras.Model.evaluate``; arrays are checked first. The first number is ``loss``, see ``fit``."""
        require_tensorflow("`evaluate`")
        x = inputs.with_parts(x, self.likelihood, trials, exposure, support, operator)
        x, y, sample_weight = self._trainer.evaluation_data(x, y, sample_weight)
        return super().evaluate(x, y, batch_size=batch_size, verbose=verbose, sample_weight=sample_weight, steps=steps,
                                callbacks=with_constraints(callbacks), return_dict=return_dict, **kwargs)

    def train_on_batch(self, x: Any, y: Any = None, sample_weight: Any = None, class_weight: Any = None,
                       return_dict: bool = False) -> Any:
        """As ``keras.Model.train_on_batch``; ``adapt`` runs on the batch if nobody did so before.

        Args:
            x, y, sample_weight: see ``fit``.
            class_weight: refused, there are no classes.
            return_dict: the means by name, in place of a list.

        Raises:
            ValueError: data that does not fit the model.
            FloatingPointError: a loss became NaN or infinite; the weights are those from before the batch, and the next
                call trains on.
        """
        require_tensorflow("`train_on_batch`")
        with self._trainer.batch_session(x, y, sample_weight, class_weight) as (x, y, sample_weight):
            return super().train_on_batch(x, y, sample_weight, return_dict=return_dict)

    def test_on_batch(self, x: Any, y: Any = None, sample_weight: Any = None, return_dict: bool = False) -> Any:
        """As ``keras.Model.test_on_batch``; the data are checked first."""
        require_tensorflow("`test_on_batch`")
        x, y, sample_weight = self._trainer.evaluation_data(x, y, sample_weight, "test_on_batch")
        return super().test_on_batch(x, y, sample_weight, return_dict=return_dict)

    # The steps branch by TensorFlow's own operations: in a `tf.function` of the user, AutoGraph has nothing to
    # convert, and would take many seconds to read them all.
    @without_autograph
    def train_step(self, data: Any) -> dict[str, Tensor]:
        """One step of both optimisers on a batch of Keras' form; see ``training.two_stage_trainer``."""
        require_tensorflow("Training")
        return self._trainer.train_step(data)

    @without_autograph
    def test_step(self, data: Any) -> dict[str, Tensor]:
        """The losses of a batch of Keras' form."""
        require_tensorflow("`evaluate`")
        return self._trainer.test_step(data)

    def compute_loss(self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None,
                     training: bool = True) -> Tensor:
        """Reconstruction loss of ``y_pred`` against ``y``, or against ``x`` where there is no target, for own loops.

        The penalty of the filters is in it, where the model has a ``kernel_regularizer``.

        Args:
            x: signals (batch, *space, channels).
            y: None, or the clean signals.
            y_pred: ``model(x)``.
            sample_weight: see ``fit``.
            training: without meaning here.

        Returns:
            Scalar tensor.
        """
        require_tensorflow("`compute_loss`")
        return self._trainer.loss(x, y, y_pred, sample_weight)
