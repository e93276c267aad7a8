"""One FISTA iteration under Keras' recurrent-cell contract."""

import keras
from keras import ops

from keras_crsae.constraints import AboveBound
from keras_crsae.problem.code_priors import SHRINKAGES
from keras_crsae.solvers.fista import fista_init, fista_step
from keras_crsae.solvers.proximal_step import descent


@keras.saving.register_keras_serializable(package="keras_crsae")
class SparseCodingCell(keras.layers.Layer):
    """One iteration of x <- shrink(w + step (D^T (y - D w)), lambda sigma^2 step) with FISTA's momentum.

    Owns ``lambda_reg``, ``sigma`` and ``step_size``; shares the dictionary (arXiv 1904.08827, algorithm 1).

    Args:
        dictionary: ``ConvDictionary``.
        shrinkage: "soft" or "nonnegative_soft".
        lambda_init: rate of the code's prior, a number or one a filter.
        lambda_shared: one lambda for all filters.
        sigma: noise standard deviation, in the signal's unit.
        step_size: number, or "auto" (1 / L of the dictionary).

    Call: ``cell(signal, [x, w, t]) -> code, [x, w, t]`` with signal (batch, *space, channels),
    x and w (batch, *positions, filters), t (batch, 1).

    Raises:
        ValueError: unknown shrinkage, or a step size that is not positive.

    Example:
        >>> cell = SparseCodingCell(ConvDictionary(filters=3, kernel_size=9))
        >>> signal = keras.ops.ones((2, 100, 1))
        >>> cell.build(signal.shape)
        >>> code, states = cell(signal, cell.get_initial_state(signal=signal))
        >>> tuple(code.shape), len(states)
        ((2, 92, 3), 3)
    """

    def __init__(self, dictionary, shrinkage="nonnegative_soft", lambda_init=1.0, lambda_shared=False,
                 sigma=1.0, step_size="auto", **kwargs):
        super().__init__(**kwargs)
        if shrinkage not in SHRINKAGES:
            raise ValueError(f"`shrinkage` must be one of {sorted(SHRINKAGES)}. Received: {shrinkage!r}")
        if step_size != "auto" and not step_size > 0:
            raise ValueError(f"`step_size` must be 'auto' or a positive number. Received: {step_size!r}")
        self.dictionary = dictionary
        self.shrinkage, self.lambda_init, self.lambda_shared = shrinkage, lambda_init, lambda_shared
        self.sigma_init, self.step_size_init = sigma, step_size
        self._space = None

    def build(self, input_shape):
        if not self.dictionary.built:
            self.dictionary.build()
        self._space = tuple(input_shape[1:-1])
        count = 1 if self.lambda_shared else self.dictionary.filters
        self.lambda_reg = self.add_weight(name="lambda_reg", shape=(count,), initializer="ones",
                                          constraint=AboveBound())
        self.lambda_reg.assign(ops.broadcast_to(ops.cast(self.lambda_init, self.lambda_reg.dtype), (count,)))
        self.sigma = self.add_weight(name="sigma", shape=(), trainable=False,
                                     initializer=keras.initializers.Constant(self.sigma_init))
        self.step_size = self.add_weight(name="step_size", shape=(), trainable=False, initializer="ones")
        self.refresh_step_size()

    def refresh_step_size(self):
        """Set the step size to 1 / L of the present dictionary (or to the user's number)."""
        if self.step_size_init == "auto":
            self.step_size.assign(1.0 / self.dictionary.largest_eigenvalue())
        else:
            self.step_size.assign(self.step_size_init)

    @property
    def state_size(self):
        shape = (*self.dictionary.code_space(self._space), self.dictionary.filters)
        return [shape, shape, (1,)]

    @property
    def output_size(self):
        return self.state_size[0]

    def get_initial_state(self, batch_size=None, signal=None):
        """Zero code, zero extrapolated point, t = 1; sizes from ``signal`` where it is given."""
        if signal is None:
            space, batch, dtype = self._space, batch_size, self.compute_dtype
        else:
            batch, *space = ops.shape(signal)[:-1]
            dtype = signal.dtype
        return self.initial_state((batch, *self.dictionary.code_space(space), self.dictionary.filters), dtype)

    @staticmethod
    def initial_state(code_shape, dtype):
        """States for a code of ``code_shape``, (batch, *positions, filters), which may be one of blocks."""
        return list(fista_init(ops.zeros(code_shape, dtype=dtype)))

    def threshold(self, sigma=None):
        """Bias of the ReLU, (filters,) or (batch, 1, ..., filters): lambda sigma^2 step.

        With a ``sigma`` of the call's own (scalar or (batch,)), lambda * sigma is kept: the threshold is
        lambda * self.sigma * sigma * step, as if the signal were scaled to the model's sigma and back.
        """
        scale = self.lambda_reg * self.sigma * self.step_size
        if sigma is None:
            return scale * self.sigma
        sigma = ops.cast(sigma, self.sigma.dtype)
        if len(sigma.shape) == 1:
            sigma = ops.reshape(sigma, (-1,) + (1,) * (self.dictionary.rank + 1))
        return scale * sigma

    def descent(self, signal, kernel=None, threshold=None, strides=None, step_size=None, **options):
        """The step ``w -> shrink(w + step D^T (y - D w))`` as a function; None: what the cell and dictionary hold."""
        kernel = self.dictionary.unit_kernel() if kernel is None else kernel
        threshold = self.threshold() if threshold is None else threshold
        # The step size follows from the dictionary; no gradient is sent through it.
        step = ops.stop_gradient(self.step_size.value if step_size is None else step_size)
        kernel, threshold, step = (ops.cast(v, signal.dtype) for v in (kernel, threshold, step))
        return descent(signal, kernel, strides or self.dictionary.strides, step, threshold, self.shrinkage, **options)

    def call(self, inputs, states, descend=None, factor=None):
        """One iteration; ``descend``: ``self.descent(inputs, ...)`` where the caller takes several steps with it."""
        state = fista_step(tuple(states), descend or self.descent(inputs), factor)
        return state[0], list(state)

    def get_config(self):
        # A model may hold the dictionary as a layer of its own, too, for decoding. Keras marks what it meets twice so,
        # but loses the mark of what a layer's own config holds; with it, loading gives one dictionary again.
        dictionary = {**keras.saving.serialize_keras_object(self.dictionary), "shared_object_id": id(self.dictionary)}
        return {**super().get_config(),
                "dictionary": dictionary,
                "shrinkage": self.shrinkage, "lambda_init": self.lambda_init,
                "lambda_shared": self.lambda_shared, "sigma": self.sigma_init,
                "step_size": self.step_size_init}

    @classmethod
    def from_config(cls, config):
        config = dict(config)
        config["dictionary"] = keras.saving.deserialize_keras_object(config["dictionary"])
        return cls(**config)
