"""Classification on sparse codes: an encoder and a linear head, trained together."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import keras
import numpy as np
from crsae_onnx.core.signals import as_signal
from crsae_onnx.core.spec import EncoderSpec
from crsae_onnx.core.spec_parts import HeadSpec
from crsae_onnx.core.validation import as_positive_int
from keras import ops

from keras_crsae.backend import strategy_of, strategy_scope, tf
from keras_crsae.layers import ConvDictionary
from keras_crsae.models.crsae import CRsAE
from keras_crsae.models.labels import as_labels
from keras_crsae.models.pooling import as_pooling
from keras_crsae.training import distribution
from keras_crsae.training.inputs import is_array
from keras_crsae.typing import Sizes, Tensor

__all__ = ["SparseCodingClassifier"]


@keras.saving.register_keras_serializable(package="keras_crsae")
class SparseCodingClassifier(keras.Model):
    """softmax(W z + b) of the code z = argmin 1/2 ||x - D z||^2 + sigma^2 sum_c lambda_c ||z_c||_1, D and W learned.

    The supervised sparse coding of arXiv 2010.12088. ``fit(x, labels)`` minimises the mean over a batch of

        cross-entropy + reconstruction_weight / 2 ||x - D z||^2,

    and the penalties of the filters (``kernel_regularizer=`` of the autoencoder, such as ``regularizers.Coherence``)
    and of the head, over D, W and b, by one optimiser. lambda and sigma stay as they are. With ``gradient="implicit"``
    in the autoencoder the gradient through the code is that of the optimum, so ``iterations`` (or ``tolerance``) must
    bring the code close to it.

    Args:
        autoencoder: ``CRsAE`` with a Gaussian likelihood, new or trained. Its filters are trained on. lambda and sigma
            must be numbers, or resolved from data by its ``adapt`` or ``fit``. For a dense dictionary ``kernel_size``
            is the signal's length, or 1 with the signal's values as channels.
        classes: number of classes, at least 2.
        pooling: what the head sees of the code: None, all of it (signals then have one size); "mean", the mean over all
            positions of each filter's code (any size); sizes: means over regions of so many positions on each axis.
            All are linear in the code, as certificates need.
        reconstruction_weight: non-negative.
        head_regularizer: Keras regulariser of W, or None.

    Call: signals (batch, *space, channels) -> probabilities (batch, classes); ``logits`` gives W z + b.

    Raises:
        ValueError: an autoencoder of counts, with kernels of its own in the decoder, or without numbers for lambda and
            sigma; an option out of range.

    Example:
        >>> import keras
        >>> import numpy as np
        >>> import keras_crsae as kc
        >>> labels = np.arange(64) % 2
        >>> bumps = np.exp(-np.square(np.arange(16) - 4 - 8 * labels[:, None])).astype("float32")[..., None]
        >>> encoder = kc.CRsAE(8, 16, iterations=50, lambda_init=0.1, sigma=1.0, gradient="implicit", seed=0)
        >>> model = kc.SparseCodingClassifier(encoder, classes=2)
        >>> model.compile(keras.optimizers.Adam(0.05))
        >>> history = model.fit(bumps, labels, epochs=10, verbose=0)
        >>> float(model.evaluate(bumps, labels, verbose=0, return_dict=True)["accuracy"])
        1.0
        >>> model.predict(bumps, verbose=0).shape
        (64, 2)
    """

    def __init__(self, autoencoder: CRsAE, classes: int, pooling: str | Sizes | None = None,
                 reconstruction_weight: float = 0.1, head_regularizer: Any = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        _check_autoencoder(autoencoder)
        self.autoencoder, self.classes = autoencoder, as_positive_int(classes, "classes")
        if self.classes < 2:
            raise ValueError(f"`classes` must be at least 2. Received: classes={classes!r}")
        self.pooling = as_pooling(pooling, autoencoder.rank)
        if isinstance(reconstruction_weight, (str, bool)) or not 0 <= reconstruction_weight < float("inf"):
            raise ValueError("`reconstruction_weight` must be a non-negative number. "
                             f"Received: reconstruction_weight={reconstruction_weight!r}")
        self.reconstruction_weight = float(reconstruction_weight)
        self.head_regularizer = keras.regularizers.get(head_regularizer)
        self.head = keras.layers.Dense(self.classes, kernel_initializer=keras.initializers.GlorotUniform(
            seed=autoencoder.seed), kernel_regularizer=self.head_regularizer, name="head",
                                       dtype=autoencoder.dtype_policy)
        names = ("loss", "accuracy", "cross_entropy", "reconstruction_loss")
        self._means = {name: keras.metrics.Mean(name=name) for name in names}

    # Layers

    def build(self, input_shape: Any) -> None:
        if self.built:
            return
        model, space = self.autoencoder, tuple(input_shape[1:-1])
        if len(input_shape) != model.rank + 2:
            raise ValueError(f"Expected an input shape of {model.rank + 2} axes with the channels last. "
                             f"Received: input_shape={tuple(input_shape)}")
        if not self.pooling.any_size and any(n is None for n in space):
            raise ValueError("The head sees every position of the code, so the signals' size must be known: build("
                             "(None, *space, channels)), or use pooling='mean'. "
                             f"Received: input_shape={tuple(input_shape)}")
        with strategy_scope(self):  # `fit` may build outside of the scope that the model was made in
            if not model.built:
                model.build((None,) * (model.rank + 1) + (input_shape[-1],))
            self.space = space
            if space == model.kernel_size and type(model.dictionary) is ConvDictionary:
                model.encoder.cell.one_position = True
            self.head.build((None, self.pooling.features(model.dictionary.code_space(space), model.filters)))
        distribution.check_scope(strategy_of(self), self.weights, "The model")

    def position_weights(self, positions: tuple[int, ...]) -> np.ndarray:
        """The head on the code itself: logits = sum_{p, c} weights_{p, c} z_{p, c} + b, float64.

        Args:
            positions: of the code.

        Returns:
            (*positions, filters, classes).
        """
        kernel = np.asarray(ops.convert_to_numpy(self.head.kernel), np.float64)
        return self.pooling.spread(kernel, positions, self.autoencoder.filters)

    # Forward pass

    def call(self, signal: Tensor, training: bool = False) -> Tensor:
        return ops.softmax(self.code_and_logits(signal, training)[1])

    def code_and_logits(self, signal: Tensor, training: bool = False) -> tuple[Tensor, Tensor]:
        """Code (batch, *positions, filters) and logits (batch, classes) of a tensor of signals."""
        signal = ops.cast(signal, self.autoencoder.compute_dtype)
        code = self.autoencoder.encoder(signal, training=training)
        return code, ops.cast(self.head(self.pooling.pool(code)), self.autoencoder.variable_dtype)

    def logits(self, x: Any, batch_size: int | None = None) -> np.ndarray:
        """W z + b of signals, NumPy (batch, classes); ``softmax`` of them is what ``predict`` gives."""
        return self._run("logits", x, batch_size)

    def encode(self, x: Any, batch_size: int | None = None) -> np.ndarray:
        """Codes of signals, NumPy (batch, *positions, filters)."""
        return self._run("code", x, batch_size)

    def _run(self, what: str, x: Any, batch_size: int | None) -> np.ndarray:
        x = self.check_signals(x)
        size = 256 if batch_size is None else as_positive_int(batch_size, "batch_size")
        self.autoencoder.restore_constraints()
        forward = self._graph()
        parts = [forward(x[i:i + size])[what].numpy() for i in range(0, len(x), size)]
        return np.concatenate(parts)

    def _graph(self) -> Any:
        """``code_and_logits`` of a batch, compiled once."""
        if getattr(self, "_compiled_graph", None) is None:
            def forward(signal: Tensor) -> dict[str, Tensor]:
                code, logits = self.code_and_logits(signal)
                return {"code": code, "logits": logits}

            signature = tf.TensorSpec((None, *self.space, self.autoencoder.dictionary.channels), tf.float32)
            self._compiled_graph = tf.function(forward, input_signature=[signature])
        return self._compiled_graph

    # Training

    @property
    def trainable_variables(self) -> list[keras.Variable]:
        """The filters, where they are trainable, and the head: what ``fit`` learns."""
        if not self.trainable or not self.built:
            return []
        filters = [self.autoencoder.dictionary.kernel] if self.autoencoder.trainable and \
            self.autoencoder.dictionary.trainable else []
        return [*filters, *self.head.trainable_variables]

    @property
    def trainable_weights(self) -> list[keras.Variable]:
        return self.trainable_variables

    def compile(self, optimizer: Any = "adam", **kwargs: Any) -> None:
        """``optimizer`` of filters and head; the losses are those of the class.

        Args:
            optimizer: Keras optimiser; learning-rate callbacks act on it.
            **kwargs: ``run_eagerly``, ``steps_per_execution``, ``jit_compile`` as in ``keras.Model.compile``.

        Raises:
            ValueError: ``loss`` or ``metrics``, which the model brings itself.
        """
        given = [name for name in ("loss", "metrics", "weighted_metrics", "loss_weights") if kwargs.get(name)]
        if given:
            raise ValueError("SparseCodingClassifier brings its own losses (cross-entropy and reconstruction) and "
                             f"metrics. Omit {', '.join(given)}.")
        super().compile(optimizer=optimizer, **kwargs)

    def get_compile_config(self) -> dict[str, Any]:
        config = super().get_compile_config() if self.compiled else None
        return {k: v for k, v in (config or {}).items() if k in ("optimizer", "run_eagerly", "jit_compile",
                                                                  "steps_per_execution")}

    def compile_from_config(self, config: dict[str, Any]) -> None:
        self.compile(**{k: keras.saving.deserialize_keras_object(v) for k, v in config.items()})
        if self.built:
            self.optimizer.build(self.trainable_variables)

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        return list(self._means.values())

    def losses_of(self, signal: Tensor, labels: Tensor, sample_weight: Tensor | None = None,
                  training: bool = True) -> dict[str, Tensor]:
        """Means over a batch: "loss", "cross_entropy", "reconstruction_loss", "accuracy", for loops of your own.

        Within a ``tf.distribute`` strategy they are this replica's share: sums over replicas are the means.

        Args:
            signal: (batch, *space, channels).
            labels: (batch,) ints.
            sample_weight: None, or (batch,).
            training: see ``call``.
        """
        signal = ops.cast(signal, self.autoencoder.compute_dtype)
        labels = ops.cast(ops.reshape(labels, (-1,)), "int32")
        code, logits = self.code_and_logits(signal, training)
        axes = tuple(range(1, len(signal.shape)))
        weight = ops.ones_like(logits[:, 0]) if sample_weight is None else \
            ops.cast(ops.reshape(sample_weight, (-1,)), logits.dtype)
        weight = weight / ops.maximum(distribution.total(ops.sum(weight)), 1e-12)
        entropy = ops.sum(weight * keras.losses.sparse_categorical_crossentropy(labels, logits, from_logits=True))
        decoded = self.autoencoder.crop(self.autoencoder.dictionary(code), signal)
        error = ops.cast(ops.sum(ops.square(signal - decoded), axis=axes), logits.dtype)
        reconstruction = 0.5 * ops.sum(weight * error)
        loss = entropy + self.reconstruction_weight * reconstruction
        for variable in self.trainable_variables:
            if variable.regularizer is not None:
                loss = loss + variable.regularizer(variable.value) / distribution.replicas()
        right = ops.cast(ops.equal(ops.cast(ops.argmax(logits, axis=-1), "int32"), labels), logits.dtype)
        return {"loss": loss, "accuracy": ops.sum(weight * right), "cross_entropy": entropy,
                "reconstruction_loss": reconstruction}

    def train_step(self, data: Any) -> dict[str, Tensor]:
        """One step of the optimiser on a batch of Keras' form."""
        x, y, sample_weight = distribution.never_empty(*keras.utils.unpack_x_y_sample_weight(data))
        variables = self.trainable_variables
        with tf.GradientTape() as tape:
            values = self.losses_of(x, y, sample_weight)
        gradients = distribution.total(tape.gradient(values["loss"], [v.value for v in variables]))
        distribution.apply_gradients(self.optimizer, gradients, variables)
        self.autoencoder.encoder.cell.refresh_step_size()
        return self._update(values, x, sample_weight)

    def test_step(self, data: Any) -> dict[str, Tensor]:
        """The losses and the accuracy of a batch of Keras' form."""
        x, y, sample_weight = distribution.never_empty(*keras.utils.unpack_x_y_sample_weight(data))
        return self._update(self.losses_of(x, y, sample_weight, training=False), x, sample_weight)

    def _update(self, values: dict[str, Tensor], x: Tensor, sample_weight: Tensor | None) -> dict[str, Tensor]:
        count = distribution.total(ops.shape(x)[0] if sample_weight is None else ops.sum(sample_weight))
        for name, value in values.items():
            self._means[name].update_state(distribution.total(value), sample_weight=count)
        return {name: mean.result() for name, mean in self._means.items()}

    # Doors

    def fit(self, x: Any = None, y: Any = None, **kwargs: Any) -> keras.callbacks.History:
        """As ``keras.Model.fit``, arrays are checked first.

        Args:
            x: signals (batch, *space, channels), or a stream of (signals, labels).
            y: labels (batch,), whole numbers from 0 to classes - 1.
            **kwargs: see ``keras.Model.fit``; ``validation_data`` is checked as x and y are.

        Returns:
            ``keras.callbacks.History`` with loss, accuracy, cross_entropy, reconstruction_loss.

        Raises:
            ValueError: signals or labels that do not fit.
        """
        x, y = self._checked(x, y)
        if isinstance(kwargs.get("validation_data"), (tuple, list)):
            given = tuple(kwargs["validation_data"])
            kwargs["validation_data"] = (*self._checked(*given[:2]), *given[2:])
        self._prepare()
        return super().fit(x, y, **kwargs)

    def evaluate(self, x: Any = None, y: Any = None, **kwargs: Any) -> Any:
        """As ``keras.Model.evaluate``, arrays are checked first."""
        x, y = self._checked(x, y)
        self._prepare()
        return super().evaluate(x, y, **kwargs)

    def predict(self, x: Any, **kwargs: Any) -> np.ndarray:
        """Probabilities (batch, classes), as ``keras.Model.predict``; arrays are checked first."""
        x = self.check_signals(x) if is_array(x) else x
        self._prepare()
        return super().predict(x, **kwargs)

    def save(self, *given: Any, **options: Any) -> None:
        """As ``keras.Model.save``."""
        self._prepare()
        super().save(*given, **options)

    def _prepare(self) -> None:
        if self.built:
            self.autoencoder.restore_constraints()

    def _checked(self, x: Any, y: Any) -> tuple[Any, Any]:
        """Signals and labels, both or neither as arrays."""
        if not is_array(x):
            return x, y
        x = self.check_signals(x)
        if y is None:
            raise ValueError("`y` must hold a label for each signal, whole numbers from 0 to classes - 1. "
                             "Received: None")
        return x, as_labels(y, len(x), self.classes)

    def check_signals(self, x: Any) -> np.ndarray:
        """Signals as float32, of the size that the model was built for; a model that is not built is built on them.

        Raises:
            ValueError: see ``fit``.
        """
        model = self.autoencoder
        channels = model.dictionary.channels if model.built else None
        x = as_signal(x, model.rank, channels, model.kernel_size, name="x")
        if not self.built:
            size = (None,) * model.rank if self.pooling.any_size else x.shape[1:-1]
            self.build((None, *size, x.shape[-1]))
            self.built = True
        if any(n not in (None, m) for n, m in zip(self.space, x.shape[1:-1], strict=True)):
            raise ValueError(f"The model was built for signals of {self.space} samples. "
                             f"Received: `x` of shape {x.shape}")
        return x

    # Export and saving

    def export_spec(self) -> EncoderSpec:
        """The encoder and the head in plain numbers, for exporters: "logits" are an output. Certificates are not."""
        self._prepare()
        if not self.built or any(n is None for n in self.space):
            raise ValueError("A file with logits is for signals of one size: build((None, *space, channels)) first, or "
                             "convert(model.autoencoder, path) for codes alone.")
        spec, positions = self.autoencoder.export_spec(), self.autoencoder.dictionary.code_space(self.space)
        weights = self.position_weights(positions).reshape(-1, self.classes).astype(np.float32)
        return replace(spec, head=HeadSpec(weights, ops.convert_to_numpy(self.head.bias), tuple(self.space)))

    def export_reference(self, tolerance: float | None = None) -> Any:
        """The autoencoder as its exported file computes, see ``CRsAE.export_reference``."""
        reference = self.autoencoder.export_reference(tolerance)
        reference.encoder.cell.one_position = self.autoencoder.encoder.cell.one_position
        return reference

    def get_config(self) -> dict[str, Any]:
        return {"autoencoder": keras.saving.serialize_keras_object(self.autoencoder), "classes": self.classes,
                "pooling": list(self.pooling.sizes) if self.pooling.kind == "regions" else self.pooling.kind,
                "reconstruction_weight": self.reconstruction_weight,
                "head_regularizer": keras.regularizers.serialize(self.head_regularizer), "name": self.name,
                "trainable": self.trainable}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> SparseCodingClassifier:
        config = dict(config)
        config["autoencoder"] = keras.saving.deserialize_keras_object(config["autoencoder"])
        return cls(**config)

    def get_build_config(self) -> dict[str, Any] | None:
        channels = self.autoencoder.dictionary.channels if self.built else None
        return {"input_shape": (None, *self.space, channels)} if self.built else None

    def build_from_config(self, config: dict[str, Any]) -> None:
        self.build(tuple(config["input_shape"]))
        self.built = True


def _check_autoencoder(model: Any) -> None:
    """ValueError for autoencoders whose code a head cannot be trained on."""
    if not isinstance(model, CRsAE):
        raise ValueError("`autoencoder` must be a CRsAE, such as CRsAE(64, 64, lambda_init=0.1, gradient='implicit'). "
                         f"Received: {type(model).__name__}")
    if not model.likelihood.quadratic or not model.tied:
        raise ValueError("`autoencoder` must have a Gaussian likelihood and tied=True: the head and the decoder see "
                         f"the code of one dictionary. Received: likelihood={type(model.likelihood).__name__}, "
                         f"tied={model.tied}")
    others = {name: getattr(model, name, None) for name in ("measurement", "dense_filters", "kernel_rank")}
    used = [name for name, value in others.items() if value and not getattr(value, "is_mask", False)]
    if used:
        raise ValueError("SparseCodingClassifier is for plain sparse filters on signals: make its autoencoder without "
                         f"{', '.join(used)}.")
    resolved = model.built and float(model.training_state.adapted) > 0
    if (model.sigma_init == "estimate" or model.lambda_init == "donoho") and not resolved:
        raise ValueError("lambda and sigma must be known before labels are: give numbers, such as lambda_init=0.1, "
                         "sigma=1.0, or call autoencoder.adapt(x) first. Received: "
                         f"lambda_init={model.lambda_init!r}, sigma={model.sigma_init!r}")
